//! `verify`: ledger = log = files, and the schema is what the last run left.

use annals_event_store::EventStore;
use annals_events::{CheckLevel, CheckOutcome, CheckResults, Direction, Event, IntegrityChecked};
use annals_executor::Interrupt;
use annals_integrity::{
    CheckFamily, Finding, Severity, check_files, check_schema, check_validity, compare_files,
    family_outcomes,
};
use annals_projections::RecoveryState;
use annals_schema::diff;

use crate::diverged;
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
        open::open_to_verify(environment, &workspace, &target, "annals/verify", interrupt).await?;
    let live = opened.live_schema().await.map_err(open::fault(&target))?;
    let (book, mismatches) = (&opened.recorder.book, &opened.mismatches);
    let mut findings = diverged::findings(&mut opened.session, &target, book, mismatches).await?;
    findings.extend(check_files(&compare_files(&set, opened.history())));
    findings.extend(check_validity(&live));
    findings.extend(half_done(opened.recovery()));
    findings.extend(not_compared(&opened));
    let compared = opened.expected_schema().await?;
    if let Some(expected) = &compared {
        findings.extend(check_schema(&diff(expected, &live)));
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.subject.cmp(&b.subject)));
    let checks = family_outcomes(&findings, compared.is_some());
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    let result = if failed { CheckOutcome::Failed } else { CheckOutcome::Passed };
    opened.publish().await?;
    opened.anchor(environment, &workspace, &target).await?;
    let sighting = opened.sighting(&set).await?;
    record(&mut opened, sighting, checks, result, &findings).await?;
    let view = VerifyView {
        target: target.name,
        checks,
        result,
        findings,
        log_size: opened.recorder.log.head().size,
        objects: live.len(),
        applied: opened.history().applied().len(),
        recovered: std::mem::take(&mut opened.recovered),
    };
    opened.close().await;
    Ok(view)
}

/// Why the live schema is compared with nothing.
fn not_compared(opened: &Opened<'_>) -> Option<Finding> {
    let warning = |id, subject: &str, evidence: String, remedy: &str| Finding {
        id,
        family: CheckFamily::History,
        severity: Severity::Warning,
        subject: subject.to_owned(),
        evidence,
        remedy: remedy.to_owned(),
    };
    let live = opened.session.facts().major();
    match opened.recovery().schema {
        Some(picture) if picture.server_major == live => None,
        Some(picture) => Some(warning(
            "schema.other_major",
            "server",
            format!(
                "the schema was recorded on PostgreSQL {}, the server is {live} now; they are not \
                 compared",
                picture.server_major
            ),
            "the next run records the schema anew",
        )),
        None if opened.history().changes().is_empty() => None,
        None => Some(warning(
            "schema.not_recorded",
            "schema",
            "the last run was cut short before it recorded the schema it left; there is nothing to \
             compare with"
                .to_owned(),
            "look at the schema yourself; the next run records it anew",
        )),
    }
}

/// A migration of which only some statements took effect.
fn half_done(recovery: &RecoveryState) -> impl Iterator<Item = Finding> + '_ {
    recovery.partial.values().map(|step| Finding {
        id: "step.half_done",
        family: CheckFamily::History,
        severity: Severity::Error,
        subject: step.id(),
        evidence: format!("it stopped half-way going {} at {}", step.direction, step.at.to_human()),
        remedy: match step.direction {
            Direction::Up => "finish it with: annals migrate".to_owned(),
            Direction::Down => "finish it with: annals rollback --last 1".to_owned(),
        },
    })
}

async fn record(
    opened: &mut Opened<'_>,
    sighting: Option<Event>,
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
    let report = opened.recorder.log.put_blob(report.as_bytes()).await.map_err(LogFailure::from)?;
    let (level, findings) = (CheckLevel::Quick, findings.len() as u64);
    let event = IntegrityChecked { checks, findings, level, report, result };
    let events = sighting.into_iter().chain([event.into()]).collect();
    opened.recorder.append(events).await.map_err(LogFailure::from)?;
    opened.publish().await?;
    Ok(())
}
