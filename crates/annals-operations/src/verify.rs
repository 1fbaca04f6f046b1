//! `verify`: ledger = log = files, the schema is what the last run left, and the database keeps what
//! it promises: its catalog, its rows and its files are checked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use annals_event_store::EventStore;
use annals_events::{
    CheckLevel, CheckOutcome, CheckResults, Direction, Event, IntegrityChecked, canonical_json,
};
use annals_executor::Interrupt;
use annals_integrity::{
    Check, CheckFamily, CheckScope, ContentMethod, Finding, NotMade, Severity, TableContent,
    check_files, check_schema, compare_files, family_outcomes,
};
use annals_postgres::{
    CheckLimits, CheckOptions, CheckProgress, CheckReport, Session, check_integrity, check_names,
};
use annals_projections::RecoveryState;
use annals_schema::diff;

use crate::diverged;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::open::{self, Opened, Recovered};
use crate::targets::Target;
use crate::workspace::Workspace;

/// Version of the stored report.
const REPORT_FORMAT: u32 = 2;

/// How thoroughly a target is verified, and for how long.
#[derive(Debug, Clone)]
pub struct IntegrityOptions {
    /// How thoroughly.
    pub level: CheckLevel,
    /// Only these families; all of them if there is none.
    pub only: Vec<CheckFamily>,
    /// Longest time for the checks of the database. By default a minute, for all data ten.
    pub time_budget: Option<Duration>,
    /// Connections at a time for all data.
    pub jobs: usize,
    /// Warnings count as errors.
    pub strict: bool,
}

impl IntegrityOptions {
    /// The time there is.
    pub fn budget(&self) -> Duration {
        let usual = match self.level {
            CheckLevel::Quick | CheckLevel::Standard => Duration::from_secs(60),
            CheckLevel::Full => Duration::from_secs(600),
        };
        self.time_budget.unwrap_or(usual)
    }

    fn families(&self) -> Vec<CheckFamily> {
        match self.only.is_empty() {
            true => CheckFamily::ALL.to_vec(),
            false => self.only.clone(),
        }
    }
}

/// What `verify` found.
#[derive(Debug)]
pub struct VerifyView {
    /// The target.
    pub target: String,
    /// How thoroughly.
    pub level: CheckLevel,
    /// By family.
    pub checks: CheckResults,
    /// Failed if any family failed, or with warnings where they count.
    pub result: CheckOutcome,
    /// Everything seen, worst first.
    pub findings: Vec<Finding>,
    /// What could not be checked, or not to its end.
    pub not_made: Vec<NotMade>,
    /// What the tables hold, where all data was read.
    pub contents: Vec<TableContent>,
    /// Tables read to the end.
    pub tables_read: u64,
    /// Rows read.
    pub rows_read: u64,
    /// Events in the log, all of them verified.
    pub log_size: u64,
    /// Objects in the live schema.
    pub objects: usize,
    /// Migrations applied.
    pub applied: usize,
    /// How long it took from the lock to the verdict, in microseconds.
    pub us: u64,
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
    options: &IntegrityOptions,
    progress: &mut dyn CheckProgress,
    interrupt: &mut Interrupt,
) -> Result<VerifyView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let set = workspace.load()?;
    let target = Target::resolve(environment, &workspace, target)?;
    let mut opened =
        open::open_to_verify(environment, &workspace, &target, "annals/verify", interrupt).await?;
    let began = Instant::now();
    let live = opened.live_schema(&target.name).await?;
    let (book, mismatches) = (&opened.recorder.book, &opened.mismatches);
    let mut findings = diverged::findings(&mut opened.session, &target, book, mismatches).await?;
    findings.extend(check_files(&compare_files(&set, opened.history())));
    findings.extend(half_done(opened.recovery()));
    findings.extend(not_compared(&opened));
    let compared = opened.expected_schema().await?;
    if let Some(expected) = &compared {
        findings.extend(check_schema(&diff(expected, &live)));
    }
    let report = examine(&opened, &workspace, &target, options, progress, interrupt).await?;
    findings.extend(report.seen.iter().filter_map(|seen| {
        Check::find(seen.check)
            .map(|check| check.finding(seen.subject.clone(), seen.evidence.clone()))
    }));
    let scope = CheckScope {
        level: options.level,
        families: options.families(),
        schema_compared: compared.is_some(),
    };
    findings.retain(|finding| scope.has(finding.family));
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.subject.cmp(&b.subject)));
    let not_made: Vec<NotMade> = report.unmade.iter().filter_map(not_made).collect();
    let checks = family_outcomes(&findings, &not_made, &scope);
    let counts = if options.strict { Severity::Warning } else { Severity::Error };
    let failed = findings.iter().any(|finding| finding.severity >= counts);
    let result = if failed { CheckOutcome::Failed } else { CheckOutcome::Passed };
    let major = opened.session.facts().major();
    let contents = report.contents.into_iter().map(|content| TableContent {
        table: content.table,
        columns: content.columns,
        method: if content.as_text { ContentMethod::Text } else { ContentMethod::Record },
        server_major: major,
        rows: content.rows,
        sums: content.sums,
        parts: content.parts,
    });
    let mut view = VerifyView {
        target: target.name.clone(),
        level: options.level,
        checks,
        result,
        findings,
        not_made,
        contents: contents.collect(),
        tables_read: report.tables,
        rows_read: report.rows,
        log_size: 0,
        objects: live.len(),
        applied: opened.history().applied().len(),
        us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        recovered: std::mem::take(&mut opened.recovered),
    };
    opened.publish().await?;
    opened.anchor(environment, &workspace, &target).await?;
    let sighting = opened.sighting(&set).await?;
    record(&mut opened, sighting, &view).await?;
    view.log_size = opened.recorder.log.head().size;
    opened.close().await;
    Ok(view)
}

/// Makes the checks of the database on connections of their own: the session that holds the lock
/// keeps its state.
async fn examine(
    opened: &Opened<'_>,
    workspace: &Workspace,
    target: &Target,
    options: &IntegrityOptions,
    progress: &mut dyn CheckProgress,
    interrupt: &mut Interrupt,
) -> Result<CheckReport, Failure> {
    let (names, families) = (check_names(), options.families());
    let wanted = Check::all().filter(|check| {
        check.level <= options.level && families.contains(&check.family) && names.contains(check.id)
    });
    let checks: BTreeSet<&'static str> = wanted.map(|check| check.id).collect();
    if checks.is_empty() {
        return Ok(CheckReport::default());
    }
    let excluded = target.scope.excluded();
    let settings = target.settings(workspace);
    let asked = CheckOptions {
        checks: &checks,
        excluded: &excluded,
        limits: CheckLimits::default(),
        lock_timeout_ms: settings.lock_timeout_ms,
        statement_timeout_ms: workspace.config().statement_timeout_ms,
        budget: Some(options.budget()),
    };
    let jobs = if options.level == CheckLevel::Full { options.jobs.max(1) } else { 1 };
    let mut sessions: Vec<Session> = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        match opened.spec.connect("annals/verify", &settings).await {
            Ok(session) => sessions.push(session),
            Err(error) if sessions.is_empty() => return Err(error.into()),
            // The server has no room for more of them: fewer do it too.
            Err(_) => break,
        }
    }
    tokio::select! {
        biased;
        () = interrupt.wait() => Err(Failure::Interrupted),
        report = check_integrity(sessions, &asked, progress) => report.map_err(open::fault(target)),
    }
}

/// As the verifiers say it.
fn not_made(unmade: &annals_postgres::Unmade) -> Option<NotMade> {
    let check = Check::find(unmade.check)?;
    Some(NotMade {
        id: check.id,
        family: check.family,
        subject: unmade.subject.clone(),
        kind: unmade.why.kind(),
        reason: unmade.why.to_string(),
    })
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
            "take it as it is, recorded: annals drift accept --reason '…'",
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

/// The report as it is kept: findings, what was not checked, and what the tables hold.
fn stored_report(view: &VerifyView) -> String {
    let finding = |finding: &Finding| {
        serde_json::json!({
            "evidence": finding.evidence,
            "family": finding.family.as_str(),
            "id": finding.id,
            "remedy": finding.remedy,
            "severity": finding.severity.as_str(),
            "subject": finding.subject,
        })
    };
    let not_made = |not_made: &NotMade| {
        serde_json::json!({
            "family": not_made.family.as_str(),
            "id": not_made.id,
            "kind": not_made.kind,
            "reason": not_made.reason,
            "subject": not_made.subject,
        })
    };
    // Sums of 64 bits are more than a number of JSON holds everywhere.
    let content = |content: &TableContent| {
        serde_json::json!({
            "columns": content.columns,
            "method": content.method.as_str(),
            "parts": content.parts,
            "rows": content.rows,
            "server_major": content.server_major,
            "sums": content.sums.map(|sum| format!("{sum:016x}")),
            "table": content.table,
        })
    };
    let report = serde_json::json!({
        "contents": view.contents.iter().map(content).collect::<Vec<_>>(),
        "findings": view.findings.iter().map(finding).collect::<Vec<_>>(),
        "format": REPORT_FORMAT,
        "not_checked": view.not_made.iter().map(not_made).collect::<Vec<_>>(),
    });
    canonical_json(&report).expect("invariant: the members' names are ASCII, the numbers whole")
}

async fn record(
    opened: &mut Opened<'_>,
    sighting: Option<Event>,
    view: &VerifyView,
) -> Result<(), Failure> {
    let report = stored_report(view);
    let report = opened.recorder.log.put_blob(report.as_bytes()).await.map_err(LogFailure::from)?;
    let event = IntegrityChecked {
        checks: view.checks,
        duration_us: Some(view.us),
        findings: view.findings.len() as u64,
        level: view.level,
        report,
        result: view.result,
    };
    let events = sighting.into_iter().chain([event.into()]).collect();
    opened.recorder.append(events).await.map_err(LogFailure::from)?;
    opened.publish().await?;
    Ok(())
}
