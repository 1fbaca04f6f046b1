//! `log show` and `log verify`.

use annals_events::Recorded;
use annals_integrity::LogVerdict;
use annals_operations::{LogCheck, LogView};
use serde::Serialize;

use crate::exit::ExitCode;

/// One event.
#[derive(Debug, Clone, Serialize)]
pub struct LogEvent {
    /// Its place.
    pub seq: u64,
    /// Its leaf hash.
    pub leaf: String,
    /// When it was recorded.
    pub recorded_at: String,
    /// Its kind.
    pub kind: String,
    /// Who acted.
    pub actor: String,
    /// The fact in one line.
    pub summary: String,
}

/// `annals log show`.
#[derive(Debug, Clone, Serialize)]
pub struct LogShowDocument {
    /// `annals.log/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The events asked for.
    pub events: Vec<LogEvent>,
}

impl From<&LogView> for LogShowDocument {
    fn from(view: &LogView) -> Self {
        let events = view.events.iter().map(|recorded| LogEvent {
            seq: recorded.seq.0,
            leaf: recorded.leaf.to_string(),
            recorded_at: recorded.recorded_at.to_string(),
            kind: recorded.event.kind().to_owned(),
            actor: recorded.actor.name.clone(),
            summary: summary(recorded),
        });
        Self {
            format: "annals.log/1",
            origin: view.origin.clone(),
            log_size: view.log_size,
            events: events.collect(),
        }
    }
}

fn summary(recorded: &Recorded) -> String {
    use annals_events::Event as E;
    let step =
        |run: &annals_events::RunId, step: u64| format!("run {}, step {}", run.short(), step + 1);
    match &recorded.event {
        E::LogCreated(e) => format!("workspace {}, target {}", e.workspace, e.target),
        E::TargetRegistered(e) => format!("PostgreSQL {}, {}", e.server_version, e.platform),
        E::PlanMade(e) => {
            format!("plan {}…, {}, {} steps", e.plan.digest.short(12), e.direction, e.steps)
        }
        E::RunStarted(e) => format!("run {}, {}, {} steps", e.run.short(), e.direction, e.steps),
        E::StepStarted(e) => {
            format!("{}: {} {}_{}", step(&e.run, e.step), e.direction, e.version, e.name)
        }
        E::StatementStarted(e) => format!("{}, statement {}", step(&e.run, e.step), e.statement),
        E::StatementSucceeded(e) => {
            let found = e.found.as_ref().map(|found| format!(" ({found})")).unwrap_or_default();
            format!("{}, statement {}{found}", step(&e.run, e.step), e.statement)
        }
        E::StepSucceeded(e) => format!("{}, transaction {}", step(&e.run, e.step), e.transaction),
        E::StepFailed(e) => {
            format!("{}, effect {}: {}", step(&e.run, e.step), e.effect, e.error.message)
        }
        E::StepReconciled(e) => format!("{}: {}", step(&e.run, e.step), e.found),
        E::RunFinished(e) => {
            format!("run {}, {}, {} steps done", e.run.short(), e.outcome, e.steps_done)
        }
        E::SchemaRecorded(e) => {
            format!("{} objects, fingerprint {}…", e.objects, e.snapshot.digest.short(12))
        }
        E::IntegrityChecked(e) => format!("{}, {} findings", e.result, e.findings),
        E::TailRepaired(e) => format!("{} bytes moved to quarantine/{}", e.bytes, e.quarantined_as),
        E::Unknown(e) => format!("from a newer annals (schema {})", e.schema),
    }
}

/// `annals log verify`.
#[derive(Debug, Clone, Serialize)]
pub struct LogVerifyDocument {
    /// `annals.log_verify/1`.
    pub format: &'static str,
    /// Where the log is.
    pub folder: String,
    /// The log.
    pub origin: String,
    /// `intact`, `damaged`, `cut_tail`, `checkpoint_refused`, `other_history`, `never_signed`
    /// or `blob_damaged`.
    pub verdict: &'static str,
    /// What is wrong.
    pub reason: Option<String>,
    /// The first bad place, where there is one.
    pub first_bad_seq: Option<u64>,
    /// Events read, up to the end or the first damage.
    pub events: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Events the checkpoint vouches for.
    pub signed: u64,
    /// Events behind the signed ones: nothing vouches for their being complete.
    pub unsigned: u64,
    /// RFC 6962 root over the events read.
    pub root: String,
    /// Bytes behind the last event: an append that was cut short, or is under way.
    pub torn_bytes: u64,
    /// The process's exit code.
    pub exit_code: u8,
}

impl From<&LogCheck> for LogVerifyDocument {
    fn from(check: &LogCheck) -> Self {
        let verification = &check.verification;
        let (verdict, reason, first_bad_seq) = describe(check);
        let code = if verdict == "intact" { ExitCode::Success } else { ExitCode::LogRefused };
        Self {
            format: "annals.log_verify/1",
            folder: check.folder.display().to_string(),
            origin: check.origin.clone(),
            verdict,
            reason,
            first_bad_seq,
            events: verification.events,
            bytes: check.bytes,
            signed: verification.signed,
            unsigned: verification.events.saturating_sub(verification.signed),
            root: verification.root.to_string(),
            torn_bytes: verification.torn_bytes,
            exit_code: code.code(),
        }
    }
}

fn describe(check: &LogCheck) -> (&'static str, Option<String>, Option<u64>) {
    let verdict = &check.verification.verdict;
    let (word, at) = match verdict {
        LogVerdict::Intact => {
            return match check.blobs.first() {
                None => ("intact", None, None),
                Some((seq, reason)) => ("blob_damaged", Some(reason.clone()), Some(seq.0)),
            };
        }
        LogVerdict::Damaged { at, .. } => ("damaged", Some(at.0)),
        LogVerdict::CutTail { size, .. } => ("cut_tail", Some(*size)),
        LogVerdict::Checkpoint(_) => ("checkpoint_refused", None),
        LogVerdict::OtherHistory { signed } => ("other_history", Some(signed.saturating_sub(1))),
        LogVerdict::NeverSigned => ("never_signed", None),
    };
    let reason = verdict.to_string();
    let prefix = at.map(|at| format!("event {at}: ")).unwrap_or_default();
    (word, Some(reason.strip_prefix(&prefix).unwrap_or(&reason).to_owned()), at)
}
