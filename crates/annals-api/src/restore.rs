//! `restore` onto the target.

use annals_operations::{RestoreDone, TableLoss, TargetRestore};
use serde::Serialize;

use crate::change::RecoveredRun;

/// `annals restore` without `--into`.
#[derive(Debug, Clone, Serialize)]
pub struct TargetRestoreDocument {
    /// `annals.restore_target/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Its database.
    pub database: String,
    /// The backup.
    pub backup: String,
    /// When it was taken.
    pub taken_at: String,
    /// How long ago, in microseconds.
    pub age_us: u64,
    /// The fingerprint of the target's schema before: what `--yes-restore` takes.
    pub fingerprint: String,
    /// The fingerprint of the schema in the backup.
    pub backup_fingerprint: String,
    /// Tables whose number of rows is another one than in the backup.
    pub tables: Vec<TableLossDocument>,
    /// How many tables have as many rows; their content may differ.
    pub same_tables: u64,
    /// Migrations that are applied and are not in the backup: pending again.
    pub undone: Vec<String>,
    /// Migrations that are in the backup and are not applied now.
    pub redone: Vec<String>,
    /// Whether it replaces what is in the target's own database; else a database beside it takes its name.
    pub in_place: bool,
    /// Who is connected to the target, and is cut off; nobody is where it is done in place.
    pub sessions: Vec<String>,
    /// What should be known besides.
    pub notes: Vec<String>,
    /// Why it cannot be done.
    pub obstacles: Vec<String>,
    /// What was done; nothing if it was only shown.
    pub done: Option<RestoreDoneDocument>,
}

/// The rows of a table, now and in the backup.
#[derive(Debug, Clone, Serialize)]
pub struct TableLossDocument {
    /// The table.
    pub table: String,
    /// Its rows now; none if it is not there.
    pub now: Option<u64>,
    /// Whether they were counted; else the server's estimate.
    pub exact: bool,
    /// Its rows in the backup; none if it is not in it.
    pub backup: Option<u64>,
}

/// A backup that has taken the place of the target.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreDoneDocument {
    /// The run.
    pub run: String,
    /// The name of the database that was there before; none where it was done in place.
    pub kept_as: Option<String>,
    /// The backup of what was there before; none where that was kept as a database, or not at all.
    pub backup_before: Option<String>,
    /// Sessions that were ended.
    pub ended_sessions: Vec<String>,
    /// Tables, all of them compared.
    pub tables: u64,
    /// Rows, all of them compared.
    pub rows: u64,
    /// Whether the schema was compared: it is not between major versions.
    pub schema_compared: bool,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// For how long nobody could connect, or read the project's tables where it was done in place; in
    /// microseconds.
    pub closed_us: u64,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and were settled now.
    pub recovered: Vec<RecoveredRun>,
}

impl From<&TargetRestore> for TargetRestoreDocument {
    fn from(view: &TargetRestore) -> Self {
        Self {
            format: "annals.restore_target/1",
            target: view.target.clone(),
            database: view.database.clone(),
            backup: view.backup.clone(),
            taken_at: view.taken_at.to_string(),
            age_us: view.age_us,
            fingerprint: view.fingerprint.clone(),
            backup_fingerprint: view.backup_fingerprint.clone(),
            tables: view.tables.iter().map(TableLossDocument::from).collect(),
            same_tables: view.same_tables,
            undone: view.undone.clone(),
            redone: view.redone.clone(),
            in_place: view.in_place,
            sessions: view.sessions.clone(),
            notes: view.notes.clone(),
            obstacles: view.obstacles.clone(),
            done: view.done.as_ref().map(RestoreDoneDocument::from),
        }
    }
}

impl From<&TableLoss> for TableLossDocument {
    fn from(loss: &TableLoss) -> Self {
        let table = loss.name.clone();
        Self { table, now: loss.now, exact: loss.is_exact, backup: loss.backup }
    }
}

impl From<&RestoreDone> for RestoreDoneDocument {
    fn from(done: &RestoreDone) -> Self {
        Self {
            run: done.run.to_string(),
            kept_as: done.kept_as.clone(),
            backup_before: done.backup_before.map(|backup| backup.to_string()),
            ended_sessions: done.ended.clone(),
            tables: done.tables,
            rows: done.rows,
            schema_compared: done.schema_compared,
            duration_us: done.us,
            closed_us: done.closed_us,
            log_size: done.log_size,
            recovered: done.recovered.iter().map(RecoveredRun::from).collect(),
        }
    }
}
