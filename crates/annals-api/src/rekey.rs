//! `backup rekey`, `backup adopt`, and the rotation of the key of backups.

use annals_operations::{
    AdoptedBackup, BackupKeyRotation, BackupKeyView, RekeyView, RekeyedBackup,
};
use serde::Serialize;

/// A backup that others open from now on.
#[derive(Debug, Clone, Serialize)]
pub struct RekeyedDocument {
    /// Its name.
    pub backup: String,
    /// The keys that opened it until now.
    pub before: Vec<String>,
    /// The keys that open it from now on.
    pub after: Vec<String>,
    /// Bytes of its file from now on.
    pub bytes: u64,
    /// SHA-256 of its file from now on.
    pub sha256: String,
}

impl From<&RekeyedBackup> for RekeyedDocument {
    fn from(rekeyed: &RekeyedBackup) -> Self {
        let RekeyedBackup { backup, before, after, bytes, sha256 } = rekeyed.clone();
        Self { backup, before, after, bytes, sha256 }
    }
}

/// `annals backup rekey`.
#[derive(Debug, Clone, Serialize)]
pub struct RekeyDocument {
    /// `annals.backup_rekey/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Those that others open from now on.
    pub rekeyed: Vec<RekeyedDocument>,
    /// Those that were for these recipients already.
    pub unchanged: Vec<String>,
    /// Those the log knows and whose file is not there.
    pub missing: Vec<String>,
    /// Files with keys of earlier rotations, which seal nothing any more.
    pub earlier_keys: Vec<String>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Events in the log.
    pub log_size: u64,
}

impl From<&RekeyView> for RekeyDocument {
    fn from(view: &RekeyView) -> Self {
        Self {
            format: "annals.backup_rekey/1",
            target: view.target.clone(),
            rekeyed: view.rekeyed.iter().map(RekeyedDocument::from).collect(),
            unchanged: view.unchanged.clone(),
            missing: view.missing.clone(),
            earlier_keys: view.earlier_keys.iter().map(|it| it.display().to_string()).collect(),
            duration_us: view.us,
            log_size: view.log_size,
        }
    }
}

/// `annals backup adopt`.
#[derive(Debug, Clone, Serialize)]
pub struct BackupAdoptDocument {
    /// `annals.backup_adopt/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The backup.
    pub backup: String,
    /// When it was taken, as it says itself.
    pub taken_at: String,
    /// `full` or `schema`.
    pub kind: &'static str,
    /// Bytes of its file.
    pub bytes: u64,
    /// Tables in it.
    pub tables: u64,
    /// Rows in it, all of them counted.
    pub rows: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Events in the log.
    pub log_size: u64,
}

impl From<&AdoptedBackup> for BackupAdoptDocument {
    fn from(adopted: &AdoptedBackup) -> Self {
        Self {
            format: "annals.backup_adopt/1",
            target: adopted.target.clone(),
            backup: adopted.backup.clone(),
            taken_at: adopted.taken_at.clone(),
            kind: adopted.kind,
            bytes: adopted.bytes,
            tables: adopted.tables,
            rows: adopted.rows,
            duration_us: adopted.us,
            log_size: adopted.log_size,
        }
    }
}

/// `annals keys rotate --backup`.
#[derive(Debug, Clone, Serialize)]
pub struct BackupKeyRotationDocument {
    /// `annals.backup_key_rotation/1`.
    pub format: &'static str,
    /// Id of the key that seals nothing any more.
    pub old: String,
    /// Id of the key backups are sealed for from now on.
    pub new: String,
    /// Where the new one is; secret.
    pub path: String,
    /// Where the old one is kept; secret.
    pub kept: String,
}

impl From<&BackupKeyRotation> for BackupKeyRotationDocument {
    fn from(rotation: &BackupKeyRotation) -> Self {
        Self {
            format: "annals.backup_key_rotation/1",
            old: rotation.old.clone(),
            new: rotation.new.clone(),
            path: rotation.path.display().to_string(),
            kept: rotation.kept.display().to_string(),
        }
    }
}

/// A key of backups in a file of the workspace.
#[derive(Debug, Clone, Serialize)]
pub struct BackupKeyDocument {
    /// Its id.
    pub id: String,
    /// Its file; secret.
    pub path: String,
    /// Whether backups are sealed for it; else it opens earlier ones.
    pub seals: bool,
}

impl From<&BackupKeyView> for BackupKeyDocument {
    fn from(view: &BackupKeyView) -> Self {
        let path = view.path.display().to_string();
        Self { id: view.id.clone(), path, seals: view.seals }
    }
}
