//! `rollback --emergency --rehearse`.

use annals_operations::Drill;
use serde::Serialize;

use crate::exit::ExitCode;

/// `annals rollback --emergency --rehearse`.
#[derive(Debug, Clone, Serialize)]
pub struct DrillDocument {
    /// `annals.drill/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Whether an emergency would have ended well.
    pub passed: bool,
    /// The backup it began from.
    pub backup: String,
    /// When that was taken.
    pub taken_at: String,
    /// Rows that were restored and compared.
    pub rows: u64,
    /// Time of bringing the backup back, in microseconds.
    pub restore_us: u64,
    /// Migrations that were applied since, and were applied here.
    pub applied: Vec<String>,
    /// Migrations that were rolled back, the first one first.
    pub rolled_back: Vec<String>,
    /// `rollback` or `backup`.
    pub way: &'static str,
    /// Why the rollbacks do not lead back, where they do not.
    pub no_rollback: Option<String>,
    /// The version that is the last one applied then.
    pub to_version: Option<String>,
    /// Time of the way and of the verification behind it, in microseconds.
    pub duration_us: u64,
    /// `passed`, `failed` or `not_checked`.
    pub verified: &'static str,
    /// What was found.
    pub findings: Vec<String>,
    /// Why it did not come to its end.
    pub failed: Option<String>,
    /// What should be known besides.
    pub notes: Vec<String>,
}

impl From<&Drill> for DrillDocument {
    fn from(drill: &Drill) -> Self {
        let findings = drill.findings.iter().map(|finding| {
            format!("{}: {}: {}", finding.severity.as_str(), finding.subject, finding.evidence)
        });
        Self {
            format: "annals.drill/1",
            target: drill.target.clone(),
            passed: drill.has_passed(),
            backup: drill.backup.clone(),
            taken_at: drill.taken_at.to_string(),
            rows: drill.rows,
            restore_us: drill.restore_us,
            applied: drill.applied.clone(),
            rolled_back: drill.rolled_back.clone(),
            way: drill.way.as_str(),
            no_rollback: drill.no_rollback.clone(),
            to_version: drill.to_version.as_ref().map(ToString::to_string),
            duration_us: drill.us,
            verified: drill.result.as_str(),
            findings: findings.collect(),
            failed: drill.failed.clone(),
            notes: drill.notes.clone(),
        }
    }
}

impl ExitCode {
    /// Of a drill: whether an emergency would have ended well.
    pub fn of_drill(drill: &Drill) -> Self {
        if drill.has_passed() { Self::Success } else { Self::Findings }
    }
}
