//! `rollback --emergency`.

use annals_events::CheckOutcome;
use annals_operations::{EmergencyOutcome, LookWithoutLog};
use serde::Serialize;

use crate::change::ChangeDocument;
use crate::exit::ExitCode;
use crate::failure::FailureDocument;
use crate::restore::TargetRestoreDocument;

/// A client that stood in the way and was ended.
#[derive(Debug, Clone, Serialize)]
pub struct EndedClient {
    /// Its backend.
    pub pid: i32,
    /// Its role.
    pub user: String,
    /// Its `application_name`.
    pub application: String,
}

/// `annals rollback --emergency`.
#[derive(Debug, Clone, Serialize)]
pub struct EmergencyDocument {
    /// `annals.emergency/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Whether it is back where it was good, and verified.
    pub over: bool,
    /// The rollback; none if the files do not lead back.
    pub rollback: Option<ChangeDocument>,
    /// Why they do not.
    pub no_rollback: Option<FailureDocument>,
    /// The backup that leads back instead.
    pub backup: Option<BackupToRestore>,
    /// What it came to, where it has taken the place of the target.
    pub restore: Option<TargetRestoreDocument>,
    /// `passed`, `failed` or `not_checked`: the verification behind it.
    pub verified: &'static str,
    /// What it found.
    pub findings: Vec<String>,
    /// Why it could not be made, or recorded.
    pub unfinished: Option<FailureDocument>,
    /// Clients that were ended.
    pub terminated: Vec<EndedClient>,
    /// Rows that are lost; none where not all could be counted.
    pub lost_rows: Option<u64>,
    /// What was written instead of the event log, where that could not be reached.
    pub journal: Option<JournalDocument>,
    /// From the beginning to the verified end, in microseconds.
    pub duration_us: u64,
}

/// The journal of an emergency that went without the event log.
#[derive(Debug, Clone, Serialize)]
pub struct JournalDocument {
    /// Its folder.
    pub folder: String,
    /// Why the log could not be reached.
    pub why: String,
}

/// What an emergency would take back if it went without its event log (`rollback --emergency --dry-run`).
#[derive(Debug, Clone, Serialize)]
pub struct LookWithoutLogDocument {
    /// `annals.emergency-without-log/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Why the log cannot be reached.
    pub why: String,
    /// What would be rolled back, the newest first, as the target's ledger says.
    pub steps: Vec<StepWithoutLogDocument>,
}

/// A migration that would be rolled back.
#[derive(Debug, Clone, Serialize)]
pub struct StepWithoutLogDocument {
    /// `<version>_<name>`.
    pub id: String,
    /// The file that leads back.
    pub rollback: Option<String>,
    /// Why there is no way back, as far as the files say.
    pub no_way_back: Option<String>,
}

impl From<&LookWithoutLog> for LookWithoutLogDocument {
    fn from(look: &LookWithoutLog) -> Self {
        let steps = look.steps.iter().map(|step| StepWithoutLogDocument {
            id: step.id.clone(),
            rollback: step.rollback.as_ref().map(|path| path.display().to_string()),
            no_way_back: step.no_way_back.clone(),
        });
        Self {
            format: "annals.emergency-without-log/1",
            target: look.target.clone(),
            why: look.why.clone(),
            steps: steps.collect(),
        }
    }
}

/// A backup that leads back.
#[derive(Debug, Clone, Serialize)]
pub struct BackupToRestore {
    /// Its id.
    pub backup: String,
    /// When it was taken.
    pub taken_at: String,
    /// Whether it was authenticated or restored since.
    pub verified: bool,
    /// Migrations that are applied now and were not then.
    pub undone: Vec<String>,
}

impl From<&EmergencyOutcome> for EmergencyDocument {
    fn from(outcome: &EmergencyOutcome) -> Self {
        let verified = outcome.verified.as_ref();
        let findings = verified.into_iter().flat_map(|view| &view.findings);
        let ended = outcome.terminated.iter().map(|ended| EndedClient {
            pid: ended.pid,
            user: ended.user.clone(),
            application: ended.application.clone(),
        });
        Self {
            format: "annals.emergency/1",
            target: outcome.target.clone(),
            over: outcome.is_over(),
            rollback: outcome.change.as_ref().map(ChangeDocument::from),
            no_rollback: outcome.no_rollback.as_deref().map(FailureDocument::from),
            backup: outcome.backup.as_ref().map(|way| BackupToRestore {
                backup: way.backup.to_string(),
                taken_at: way.at.to_string(),
                verified: way.is_verified,
                undone: way.undone.clone(),
            }),
            restore: outcome.restored.as_ref().map(TargetRestoreDocument::from),
            verified: verified.map_or(CheckOutcome::NotChecked, |view| view.result).as_str(),
            findings: findings
                .map(|finding| {
                    format!(
                        "{}: {}: {}",
                        finding.severity.as_str(),
                        finding.subject,
                        finding.evidence
                    )
                })
                .collect(),
            unfinished: outcome.unfinished.as_ref().map(FailureDocument::from),
            terminated: ended.collect(),
            lost_rows: outcome.lost_rows,
            journal: outcome.journal.as_ref().map(|journal| JournalDocument {
                folder: journal.folder.display().to_string(),
                why: journal.why.clone(),
            }),
            duration_us: outcome.us,
        }
    }
}

impl ExitCode {
    /// Of an emergency: how its rollback or restore ended, what the verification behind it found, or
    /// that a backup must be brought back.
    pub fn of_emergency(outcome: &EmergencyOutcome) -> Self {
        if outcome.is_restored() {
            return match (outcome.is_over(), outcome.verified.is_some()) {
                (true, _) => Self::Success,
                (false, true) => Self::Findings,
                (false, false) => Self::Unexpected,
            };
        }
        if outcome.no_rollback.is_some() {
            return Self::Refused;
        }
        let change = outcome.change.as_ref().map_or(Self::Success, Self::of_change);
        match change {
            Self::Success if outcome.is_over() => Self::Success,
            Self::Success if outcome.verified.is_some() => Self::Findings,
            Self::Success => Self::Unexpected,
            other => other,
        }
    }
}
