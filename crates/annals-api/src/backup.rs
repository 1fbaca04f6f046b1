//! `backup`, `backup list`, `show`, `verify`, `prune`, and `restore`.

use annals_operations::{
    BackupCheckView, BackupListView, BackupRow, BackupShowView, PruneView, PrunedBackup,
    RestoreView, TakenBackup,
};
use serde::Serialize;

use crate::change::RecoveredRun;
use crate::exit::ExitCode;
use crate::state::BackupState;

/// Something that is not in a backup.
#[derive(Debug, Clone, Serialize)]
pub struct NotIncludedDocument {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// `annals backup`.
#[derive(Debug, Clone, Serialize)]
pub struct BackupDocument {
    /// `annals.backup/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The backup's name.
    pub backup: String,
    /// `full`, `schema`, `data` or `tables`.
    pub kind: &'static str,
    /// Its file.
    pub path: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, as `sha256sum` prints it.
    pub sha256: String,
    /// Bytes of the rows before compression.
    pub raw_bytes: u64,
    /// Tables in it.
    pub tables: u64,
    /// Rows in it.
    pub rows: u64,
    /// The schema's fingerprint.
    pub schema_fingerprint: String,
    /// The place in the WAL the snapshot was taken at or behind.
    pub lsn: String,
    /// What is not in it.
    pub not_included: Vec<NotIncludedDocument>,
    /// Digest of the public manifest beside the log.
    pub manifest: String,
    /// The keys it is sealed for; any of them opens it.
    pub key_ids: Vec<String>,
    /// The key's file, if it was made just now.
    pub made_key: Option<String>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<RecoveredRun>,
}

impl From<&TakenBackup> for BackupDocument {
    fn from(taken: &TakenBackup) -> Self {
        let not_included = taken
            .not_included
            .iter()
            .map(|it| NotIncludedDocument { what: it.what.clone(), why: it.why.clone() });
        Self {
            format: "annals.backup/1",
            target: taken.target.clone(),
            backup: taken.backup.to_string(),
            kind: taken.kind.as_str(),
            path: taken.path.clone(),
            bytes: taken.receipt.sealed_bytes,
            sha256: taken.receipt.sha256.to_string(),
            raw_bytes: taken.raw_bytes,
            tables: taken.tables,
            rows: taken.rows,
            schema_fingerprint: taken.schema_fingerprint.clone(),
            lsn: taken.lsn.clone(),
            not_included: not_included.collect(),
            manifest: taken.manifest.digest.to_string(),
            key_ids: taken.key_ids.clone(),
            made_key: taken.made_key.as_ref().map(|path| path.display().to_string()),
            duration_us: taken.us,
            log_size: taken.log_size,
            recovered: taken.recovered.iter().map(RecoveredRun::from).collect(),
        }
    }
}

/// A backup, as log and folder know it.
#[derive(Debug, Clone, Serialize)]
pub struct BackupEntry {
    /// Its name.
    pub backup: String,
    /// As the log tells; none of a file the log knows nothing of.
    pub recorded: Option<BackupState>,
    /// Where its file is, or would be.
    pub path: String,
    /// Bytes of the file; none if it is not there.
    pub file_bytes: Option<u64>,
}

impl From<&BackupRow> for BackupEntry {
    fn from(row: &BackupRow) -> Self {
        let recorded = row.recorded.as_ref().and_then(|backup| {
            let id = row.backup.parse().ok()?;
            Some(BackupState::new(id, backup))
        });
        Self {
            backup: row.backup.clone(),
            recorded,
            path: row.path.clone(),
            file_bytes: row.file_bytes,
        }
    }
}

/// `annals backup list`.
#[derive(Debug, Clone, Serialize)]
pub struct BackupListDocument {
    /// `annals.backups/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// First taken first.
    pub backups: Vec<BackupEntry>,
}

impl From<&BackupListView> for BackupListDocument {
    fn from(view: &BackupListView) -> Self {
        Self {
            format: "annals.backups/1",
            target: view.target.clone(),
            backups: view.backups.iter().map(BackupEntry::from).collect(),
        }
    }
}

/// `annals backup show`.
#[derive(Debug, Clone, Serialize)]
pub struct BackupShowDocument {
    /// `annals.backup_show/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The backup.
    pub backup: BackupEntry,
    /// Its public manifest, as the log keeps it; none of one the log does not know.
    pub manifest: Option<serde_json::Value>,
}

impl From<&BackupShowView> for BackupShowDocument {
    fn from(view: &BackupShowView) -> Self {
        Self {
            format: "annals.backup_show/1",
            target: view.target.clone(),
            backup: BackupEntry::from(&view.row),
            manifest: view.manifest.clone(),
        }
    }
}

/// `annals backup verify`.
#[derive(Debug, Clone, Serialize)]
pub struct BackupVerifyDocument {
    /// `annals.backup_verify/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The backup.
    pub backup: String,
    /// `without_key` (presence, size and digest as the log has them), `sealed` (every byte was
    /// authenticated, every row counted) or `restored` (restored and compared).
    pub depth: &'static str,
    /// `passed` or `failed`.
    pub result: &'static str,
    /// Everything that is wrong.
    pub problems: Vec<String>,
    /// What else should be known.
    pub notes: Vec<String>,
    /// Tables that were read.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
    /// Whether the result is in the log.
    pub recorded: bool,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The process's exit code.
    pub exit_code: u8,
}

impl From<&BackupCheckView> for BackupVerifyDocument {
    fn from(view: &BackupCheckView) -> Self {
        let passed = view.problems.is_empty();
        let code = if passed { ExitCode::Success } else { ExitCode::Findings };
        Self {
            format: "annals.backup_verify/1",
            target: view.target.clone(),
            backup: view.backup.clone(),
            depth: view.depth.map_or("without_key", |depth| depth.as_str()),
            result: if passed { "passed" } else { "failed" },
            problems: view.problems.clone(),
            notes: view.notes.clone(),
            tables: view.tables,
            rows: view.rows,
            recorded: view.recorded,
            duration_us: view.us,
            exit_code: code.code(),
        }
    }
}

/// A backup that goes or stays.
#[derive(Debug, Clone, Serialize)]
pub struct PrunedDocument {
    /// Its name.
    pub backup: String,
    /// Why.
    pub reason: String,
}

impl From<&PrunedBackup> for PrunedDocument {
    fn from(pruned: &PrunedBackup) -> Self {
        Self { backup: pruned.backup.clone(), reason: pruned.reason.clone() }
    }
}

/// `annals backup prune`.
#[derive(Debug, Clone, Serialize)]
pub struct PruneDocument {
    /// `annals.backup_prune/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Whether it was only said what would go.
    pub dry_run: bool,
    /// What went, or would go.
    pub removed: Vec<PrunedDocument>,
    /// What stays.
    pub kept: Vec<PrunedDocument>,
    /// Files of backups that were removed before, which went too.
    pub swept: Vec<String>,
}

impl From<&PruneView> for PruneDocument {
    fn from(view: &PruneView) -> Self {
        Self {
            format: "annals.backup_prune/1",
            target: view.target.clone(),
            dry_run: view.dry_run,
            removed: view.removed.iter().map(PrunedDocument::from).collect(),
            kept: view.kept.iter().map(PrunedDocument::from).collect(),
            swept: view.swept.clone(),
        }
    }
}

/// `annals restore`.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreDocument {
    /// `annals.restore/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The backup.
    pub backup: String,
    /// When it was taken.
    pub taken_at: String,
    /// The database that was made.
    pub database: String,
    /// Tables.
    pub tables: u64,
    /// Rows, all of them compared.
    pub rows: u64,
    /// The schema's fingerprint.
    pub schema_fingerprint: String,
    /// Whether the schema was compared: it is not between major versions.
    pub schema_compared: bool,
    /// `data` or `tables`, where the backup holds rows and not everything: there are no indexes, constraints
    /// and triggers then.
    pub rows_only: Option<String>,
    /// Statements that were left out because the role may not do them, each with the server's words: on a
    /// managed platform.
    pub left_out: Vec<String>,
    /// How the schema differs for that.
    pub schema_differences: Vec<String>,
    /// Whether the result is in the log.
    pub recorded: bool,
    /// Why not.
    pub not_recorded: Option<String>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

impl From<&RestoreView> for RestoreDocument {
    fn from(view: &RestoreView) -> Self {
        Self {
            format: "annals.restore/1",
            target: view.target.clone(),
            backup: view.backup.clone(),
            taken_at: view.taken_at.clone(),
            database: view.database.clone(),
            tables: view.tables,
            rows: view.rows,
            schema_fingerprint: view.schema_fingerprint.clone(),
            schema_compared: view.schema_compared,
            rows_only: view.rows_only.clone(),
            left_out: view.left_out.clone(),
            schema_differences: view.schema_differences.clone(),
            recorded: view.not_recorded.is_none(),
            not_recorded: view.not_recorded.clone(),
            duration_us: view.us,
        }
    }
}
