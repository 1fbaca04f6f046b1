//! `status`.

use annals_operations::{Condition, StatusView};
use serde::Serialize;

use crate::change::RecoveredRun;
use crate::verify::FindingDocument;

/// One migration.
#[derive(Debug, Clone, Serialize)]
pub struct MigrationStatus {
    /// The version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// `applied`, `reformatted`, `changed`, `missing`, `pending`, `out of order`, `half done` or
    /// `in doubt`.
    pub state: &'static str,
    /// When it was applied.
    pub applied_at: Option<String>,
    /// Who applied it.
    pub applied_by: Option<String>,
}

/// `annals status`.
#[derive(Debug, Clone, Serialize)]
pub struct StatusDocument {
    /// `annals.status/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Where it is.
    pub address: String,
    /// The database.
    pub database: String,
    /// The server's version.
    pub server_version: String,
    /// Events in the log.
    pub log_size: u64,
    /// Every migration, in order.
    pub migrations: Vec<MigrationStatus>,
    /// How the target's ledger and the log disagree.
    pub mismatches: Vec<FindingDocument>,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<RecoveredRun>,
    /// Who is running something on the target right now.
    pub running: Option<String>,
}

fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Applied => "applied",
        Condition::Reformatted => "reformatted",
        Condition::Changed => "changed",
        Condition::Missing => "missing",
        Condition::Pending => "pending",
        Condition::OutOfOrder => "out of order",
        Condition::HalfDone => "half done",
        Condition::InDoubt => "in doubt",
    }
}

impl From<&StatusView> for StatusDocument {
    fn from(view: &StatusView) -> Self {
        let migrations = view.rows.iter().map(|row| MigrationStatus {
            version: row.version.clone(),
            name: row.name.clone(),
            state: word(row.condition),
            applied_at: row.applied_at.map(|at| at.to_string()),
            applied_by: row.applied_by.clone(),
        });
        Self {
            format: "annals.status/1",
            target: view.target.clone(),
            address: view.address.clone(),
            database: view.database.clone(),
            server_version: view.server_version.clone(),
            log_size: view.log_size,
            migrations: migrations.collect(),
            mismatches: view.mismatches.iter().map(FindingDocument::from).collect(),
            recovered: view.recovered.iter().map(RecoveredRun::from).collect(),
            running: view.running.clone(),
        }
    }
}
