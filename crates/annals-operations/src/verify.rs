//! `verify`: ledger = log = files, and the schema is what the last run left.

use annals_event_store::EventStore;
use annals_events::{CheckOutcome, CheckResults, IntegrityChecked};
use annals_executor::Interrupt;
use annals_integrity::{
    CheckFamily, Finding, Severity, check_files, check_ledger, check_schema, check_validity,
    compare_files, family_outcomes,
};
use annals_schema::{Snapshot, diff};

use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::open::{self, Opened, Recovered};
use crate::targets::Target;
use crate::workspace::Workspace;

/// What `verify` found.
#[derive(Debug)]
pub struct VerifyView {
    /// The target.
    pub target: String,
    /// By family.
    pub checks: CheckResults,
    /// Failed if any family failed.
    pub result: CheckOutcome,
    /// Everything seen, worst first.
    pub findings: Vec<Finding>,
    /// Events in the log, all of them verified.
    pub log_size: u64,
    /// Objects in the live schema.
    pub objects: usize,
    /// Migrations applied.
    pub applied: usize,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
}

/// Verifies a target and records the result.
///
/// # Errors
///
/// When it could not be verified. What is wrong with it is in the result.
pub async fn verify(
    environment: &Environment,
    target: Option<&str>,
    interrupt: &mut Interrupt,
) -> Result<VerifyView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let set = workspace.load()?;
    let target = Target::resolve(environment, &workspace, target)?;
    let mut opened =
        open::open(environment, &workspace, &target, "annals/verify", interrupt).await?;
    let live = opened.live_schema().await.map_err(open::fault(&target))?;
    let mut findings = check_ledger(&opened.mismatches);
    findings.extend(check_files(&compare_files(&set, &opened.history)));
    findings.extend(check_validity(&live));
    let compared = expected_schema(&opened, &mut findings)?;
    if let Some(expected) = &compared {
        findings.extend(check_schema(&diff(expected, &live)));
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.subject.cmp(&b.subject)));
    let checks =
        family_outcomes(&findings, compared.is_some() || opened.history.changes().is_empty());
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    let result = if failed { CheckOutcome::Failed } else { CheckOutcome::Passed };
    record(&mut opened, checks, result, &findings).await?;
    let view = VerifyView {
        target: target.name,
        checks,
        result,
        findings,
        log_size: opened.recorder.log.head().size,
        objects: live.len(),
        applied: opened.history.applied().len(),
        recovered: std::mem::take(&mut opened.recovered),
    };
    opened.close().await;
    Ok(view)
}

/// The schema as the last run left it, where it can be compared with the live one.
fn expected_schema(
    opened: &Opened<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Option<Snapshot>, Failure> {
    let Some(picture) = opened.recovery.schema else {
        return Ok(None);
    };
    let live_major = opened.session.facts().major();
    if picture.server_major != live_major {
        findings.push(Finding {
            id: "schema.other_major",
            family: CheckFamily::History,
            severity: Severity::Warning,
            subject: "server".to_owned(),
            evidence: format!(
                "the schema was recorded on PostgreSQL {}, the server is {live_major} now; they \
                 are not compared",
                picture.server_major
            ),
            remedy: "the next run records the schema anew".to_owned(),
        });
        return Ok(None);
    }
    let stored = opened.recorder.log.layout().get_blob(&picture.snapshot);
    let stored = stored.map_err(LogFailure::from)?;
    Snapshot::from_json(&stored).map(Some).map_err(|error| {
        let folder = opened.recorder.log.layout().root().to_owned();
        LogFailure::Damaged { folder, reason: error.to_string() }.into()
    })
}

async fn record(
    opened: &mut Opened<'_>,
    checks: CheckResults,
    result: CheckOutcome,
    findings: &[Finding],
) -> Result<(), Failure> {
    let report: Vec<serde_json::Value> = findings
        .iter()
        .map(|finding| {
            serde_json::json!({
                "id": finding.id,
                "severity": format!("{:?}", finding.severity).to_lowercase(),
                "subject": finding.subject,
                "evidence": finding.evidence,
                "remedy": finding.remedy,
            })
        })
        .collect();
    let report = serde_json::json!({ "format": 1, "findings": report }).to_string();
    let report = opened.recorder.log.put_blob(report.as_bytes()).map_err(LogFailure::from)?;
    let event = IntegrityChecked { checks, findings: findings.len() as u64, report, result };
    opened.recorder.append(vec![event.into()]).await.map_err(LogFailure::from)?;
    opened.publish()?;
    Ok(())
}
