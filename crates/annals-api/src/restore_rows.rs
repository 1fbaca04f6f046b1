//! `restore --tables`.

use annals_operations::{KeysFound, RowsRestore, RowsRestoreDone, TableRows};
use serde::Serialize;

use crate::change::RecoveredRun;

/// `annals restore --tables`.
#[derive(Debug, Clone, Serialize)]
pub struct RowsRestoreDocument {
    /// `annals.restore_rows/1`.
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
    /// The fingerprint of the target's schema: what `--yes-restore` takes.
    pub fingerprint: String,
    /// Which rows are to come back: `missing`, `changed`, `all`.
    pub rows: &'static str,
    /// How many that are.
    pub wanted_rows: u64,
    /// The tables; none where something is in the way.
    pub tables: Vec<TableRowsDocument>,
    /// What should be known besides.
    pub notes: Vec<String>,
    /// Why it cannot be done.
    pub obstacles: Vec<String>,
    /// What was done; nothing if it was only shown, or if there was nothing to do.
    pub done: Option<RowsRestoreDoneDocument>,
}

/// A table in the backup and in the target, compared row by row.
#[derive(Debug, Clone, Serialize)]
pub struct TableRowsDocument {
    /// The table, as SQL spells it.
    pub table: String,
    /// What its rows are told apart by, such as `(id)`.
    pub key: String,
    /// Whether that is the primary key; else a unique index over columns that are NOT NULL.
    pub primary_key: bool,
    /// Its rows in the backup.
    pub backup_rows: u64,
    /// Its rows in the target.
    pub target_rows: u64,
    /// Rows the backup has and the target has not.
    pub missing: RowsFoundDocument,
    /// Rows that both have, with another content.
    pub changed: RowsFoundDocument,
    /// Rows that only the target has; they stay.
    pub extra: RowsFoundDocument,
    /// Columns of the backup that are not compared and not put back.
    pub left_out_columns: Vec<String>,
    /// Triggers that are made for rows that are written.
    pub triggers: Vec<String>,
}

/// Rows, by their keys.
#[derive(Debug, Clone, Serialize)]
pub struct RowsFoundDocument {
    /// How many.
    pub rows: u64,
    /// The keys of some of them.
    pub keys: Vec<String>,
}

/// Rows that came back.
#[derive(Debug, Clone, Serialize)]
pub struct RowsRestoreDoneDocument {
    /// The run.
    pub run: String,
    /// Table by table.
    pub tables: Vec<RestoredTableDocument>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// For how long nobody else could write to these tables, in microseconds.
    pub locked_us: u64,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and were settled now.
    pub recovered: Vec<RecoveredRun>,
}

/// What came back into a table.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredTableDocument {
    /// The table.
    pub table: String,
    /// Rows that were missing.
    pub inserted: u64,
    /// Rows whose content was another one.
    pub replaced: u64,
}

impl From<&RowsRestore> for RowsRestoreDocument {
    fn from(view: &RowsRestore) -> Self {
        Self {
            format: "annals.restore_rows/1",
            target: view.target.clone(),
            database: view.database.clone(),
            backup: view.backup.clone(),
            taken_at: view.taken_at.to_string(),
            age_us: view.age_us,
            fingerprint: view.fingerprint.clone(),
            rows: view.wanted.as_str(),
            wanted_rows: view.rows(),
            tables: view.tables.iter().map(TableRowsDocument::from).collect(),
            notes: view.notes.clone(),
            obstacles: view.obstacles.clone(),
            done: view.done.as_ref().map(RowsRestoreDoneDocument::from),
        }
    }
}

impl From<&TableRows> for TableRowsDocument {
    fn from(table: &TableRows) -> Self {
        let found =
            |found: &KeysFound| RowsFoundDocument { rows: found.rows, keys: found.keys.clone() };
        let rows = &table.rows;
        Self {
            table: rows.table.clone(),
            key: table.key.clone(),
            primary_key: table.is_primary,
            backup_rows: rows.backup_rows,
            target_rows: rows.target_rows,
            missing: found(&rows.missing),
            changed: found(&rows.changed),
            extra: found(&rows.extra),
            left_out_columns: table.left_out.clone(),
            triggers: table.triggers.clone(),
        }
    }
}

impl From<&RowsRestoreDone> for RowsRestoreDoneDocument {
    fn from(done: &RowsRestoreDone) -> Self {
        let tables = done.tables.iter().map(|it| RestoredTableDocument {
            table: it.table.clone(),
            inserted: it.inserted,
            replaced: it.replaced,
        });
        Self {
            run: done.run.to_string(),
            tables: tables.collect(),
            duration_us: done.us,
            locked_us: done.locked_us,
            log_size: done.log_size,
            recovered: done.recovered.iter().map(RecoveredRun::from).collect(),
        }
    }
}
