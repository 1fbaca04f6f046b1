//! `status`.

use annals_operations::{Condition, StatusView};
use serde::Serialize;

use crate::change::RecoveredRun;
use crate::exit::ExitCode;
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
    /// How far the backfill is that it is half-way in.
    pub backfill: Option<BackfillStatus>,
    /// How its rehearsal stands, where it is pending and the target asks: `proven`, `unproven`, `other
    /// files`, `other major version`, `other schema`, or the verdict that is not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<&'static str>,
}

/// How far a backfill is: what is committed.
#[derive(Debug, Clone, Serialize)]
pub struct BackfillStatus {
    /// The key it goes by.
    pub key: String,
    /// Batches that are done.
    pub batches: u64,
    /// Keys they went through.
    pub keys: u64,
    /// About how many there were when it began; none if nobody knows.
    pub keys_about: Option<u64>,
    /// Rows they changed.
    pub rows: u64,
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
    /// What the log knows to be other than expected in the schema.
    pub drift: Option<DriftStatus>,
    /// Runs that went without a safeguard and that nobody else has looked at.
    pub unreviewed: Vec<UnreviewedRun>,
    /// The process's exit code.
    pub exit_code: u8,
}

/// A run that went without a safeguard.
#[derive(Debug, Clone, Serialize)]
pub struct UnreviewedRun {
    /// The run.
    pub run: String,
    /// Who ran it.
    pub by: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
    /// What it went without: `approval`, `backup` or `log`.
    pub without: &'static str,
}

/// Drift the log knows of.
#[derive(Debug, Clone, Serialize)]
pub struct DriftStatus {
    /// Objects that are not as expected.
    pub objects: u64,
    /// When that was last found.
    pub found_at: String,
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
            proof: row.proof.map(|state| state.as_str()),
            version: row.version.clone(),
            name: row.name.clone(),
            state: word(row.condition),
            applied_at: row.applied_at.map(|at| at.to_string()),
            applied_by: row.applied_by.clone(),
            backfill: row.backfill.as_ref().map(|progress| BackfillStatus {
                key: progress.key_column.clone(),
                batches: progress.batches,
                keys: progress.keys,
                keys_about: progress.keys_about,
                rows: progress.rows,
            }),
        });
        let code = match view.mismatches.as_slice() {
            [] => ExitCode::Success,
            findings => ExitCode::of_findings(findings),
        };
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
            drift: view.drift.map(|drift| DriftStatus {
                objects: drift.differences,
                found_at: drift.at.to_string(),
            }),
            unreviewed: view
                .unreviewed
                .iter()
                .map(|broken| UnreviewedRun {
                    run: broken.run.to_string(),
                    by: broken.by.clone(),
                    at: broken.at.to_string(),
                    reason: broken.reason.clone(),
                    without: broken.without,
                })
                .collect(),
            exit_code: code.code(),
        }
    }
}
