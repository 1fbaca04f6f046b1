//! The two files other tools read: `migration_history.json` and `recovery_log.json`.
//!
//! Their members, and the order of these, are fixed.

use annals_events::{Event, Recorded, RunOutcome};
use serde::Serialize;

use crate::replay::Projection;
use crate::state::State;

/// `migration_history.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationHistoryExport {
    /// File names of the migrations applied, in the order they were applied.
    pub executed: Vec<String>,
    /// File name of the migration that ran last, even if it was rolled back since.
    pub last_migration: Option<String>,
    /// When that took effect.
    pub last_execution: Option<String>,
    /// File name of the rollback that ran last.
    pub last_rollback: Option<String>,
    /// When that took effect.
    pub last_rollback_time: Option<String>,
}

impl From<&State> for MigrationHistoryExport {
    fn from(state: &State) -> Self {
        let executed = state.applied.applied().iter().map(|change| change.file.name.clone());
        let (up, down) = (state.applied.last_applied(), state.applied.last_rolled_back());
        Self {
            executed: executed.collect(),
            last_migration: up.map(|execution| execution.file.clone()),
            last_execution: up.map(|execution| execution.at.to_string()),
            last_rollback: down.map(|execution| execution.file.clone()),
            last_rollback_time: down.map(|execution| execution.at.to_string()),
        }
    }
}

/// The last emergency rollback; every member is null while there was none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EmergencyExport {
    /// When it was declared.
    pub timestamp: Option<String>,
    /// The version that was to be the last one applied; null for nothing applied.
    pub target_version: Option<String>,
    /// Whether its run succeeded; null while that is not known.
    pub success: Option<bool>,
}

/// The verdict of each family of checks: `passed`, `failed` or `not_checked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntegrityDetails {
    /// Tables, columns and other objects.
    pub table_structure: &'static str,
    /// Rows satisfy what the schema promises.
    pub data_consistency: &'static str,
    /// Constraints.
    pub constraints: &'static str,
    /// Indexes.
    pub indexes: &'static str,
    /// Policies, row security and grants.
    pub permissions: &'static str,
}

/// A verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntegrityExport {
    /// When it was recorded.
    pub timestamp: String,
    /// `passed`, `failed` or `not_checked`. It fails too where ledger, log and files disagree.
    pub result: &'static str,
    /// By family.
    pub details: IntegrityDetails,
}

/// `recovery_log.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveryLogExport {
    /// The newest version applied when a verification last passed.
    pub last_known_good_version: Option<String>,
    /// The last emergency rollback.
    pub last_emergency_rollback: EmergencyExport,
    /// Every verification, oldest first.
    pub integrity_checks: Vec<IntegrityExport>,
}

/// What `recovery_log.json` is made of: the state, and every verification there was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryLog {
    state: State,
    checks: Vec<IntegrityExport>,
}

impl Projection for RecoveryLog {
    fn apply(&mut self, recorded: &Recorded) {
        self.state.apply(recorded);
        if let Event::IntegrityChecked(checked) = &recorded.event {
            let checks = &checked.checks;
            self.checks.push(IntegrityExport {
                timestamp: recorded.recorded_at.to_string(),
                result: checked.result.as_str(),
                details: IntegrityDetails {
                    table_structure: checks.table_structure.as_str(),
                    data_consistency: checks.data_consistency.as_str(),
                    constraints: checks.constraints.as_str(),
                    indexes: checks.indexes.as_str(),
                    permissions: checks.permissions.as_str(),
                },
            });
        }
    }
}

impl From<&RecoveryLog> for RecoveryLogExport {
    fn from(log: &RecoveryLog) -> Self {
        let declared = log.state.emergency.as_ref();
        let emergency = declared.map(|emergency| EmergencyExport {
            timestamp: Some(emergency.at.to_string()),
            target_version: emergency.to_version.as_ref().map(ToString::to_string),
            success: emergency.end.as_ref().map(|end| match end.outcome {
                RunOutcome::Succeeded => true,
                RunOutcome::Failed | RunOutcome::Interrupted => false,
            }),
        });
        let good = log.state.recovery.last_known_good.as_ref();
        Self {
            last_known_good_version: good.map(ToString::to_string),
            last_emergency_rollback: emergency.unwrap_or_default(),
            integrity_checks: log.checks.clone(),
        }
    }
}
