//! Payloads of what happens when things went wrong: restores, emergencies, broken glass; and of
//! who may approve.
//!
//! As in [`crate::Event`], a payload's fields stand in alphabetical order.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::{BlobRef, CheckOutcome, words};
use crate::ids::{BackupId, RunId};
use crate::version::Version;

words! {
    /// How an emergency was met.
    EmergencyWay {
        /// The migrations' own rollbacks.
        Rollback = "rollback",
        /// A backup was brought back.
        Backup = "backup",
    }
}

words! {
    /// What a run went without.
    WithoutSafeguard {
        /// The approvals its target asks for.
        Approval = "approval",
        /// The backup its target asks for.
        Backup = "backup",
        /// The log: it could not be reached, and a journal was written instead.
        Log = "log",
    }
}

words! {
    /// Which rows of a backup are put back.
    RowsWanted {
        /// Those whose key the target does not have.
        Missing = "missing",
        /// Those the target has with another content.
        Changed = "changed",
        /// Both.
        All = "all",
    }
}

/// See [`Event::TargetRestored`](crate::Event::TargetRestored).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRestored {
    /// Fingerprint of the schema as it was restored.
    pub after: Digest,
    /// The backup.
    pub backup: BackupId,
    /// Fingerprint of the schema that was there before; none where it could not be read.
    pub before: Option<Digest>,
    /// The name under which the database of before is kept; none where it is not.
    pub kept_as: Option<String>,
    /// Events in the log when the backup was taken.
    pub log_size: u64,
    /// The run that restored it, whose entries say what is in effect from now on.
    pub run: RunId,
    /// Major version of the server.
    pub server_major: u32,
}

/// See [`Event::RestoreStarted`](crate::Event::RestoreStarted).
///
/// A database restored beside the target takes its name: databases keep their numbers when they are renamed, and
/// which of the two has the target's name says what has happened.
///
/// Where `keep_as`, `restored_oid` and `scratch` are missing, the backup replaces what is in the target's own
/// database, in one transaction, and a row about the run in that database says what has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreStarted {
    /// Fingerprint of the restored schema.
    pub after: Digest,
    /// The backup.
    pub backup: BackupId,
    /// Fingerprint of the target's schema.
    pub before: Digest,
    /// The name the target's database gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_as: Option<String>,
    /// Events in the log when the backup was taken.
    pub log_size: u64,
    /// Number (`oid`) of the restored database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_oid: Option<u32>,
    /// The run.
    pub run: RunId,
    /// The name the restored database has so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<String>,
    /// Major version of the server.
    pub server_major: u32,
    /// Number (`oid`) of the target's database.
    pub target_oid: u32,
}

impl RestoreStarted {
    /// Whether the backup replaces what is in the target's own database.
    pub const fn is_in_place(&self) -> bool {
        self.restored_oid.is_none()
    }
}

/// See [`Event::RowsRestoreStarted`](crate::Event::RowsRestoreStarted).
///
/// The rows come with a row about the run, in one transaction: that row says what has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsRestoreStarted {
    /// The backup.
    pub backup: BackupId,
    /// Which rows.
    pub rows: RowsWanted,
    /// The run.
    pub run: RunId,
    /// The tables, as SQL spells them.
    pub tables: Vec<String>,
}

/// See [`Event::RowsRestored`](crate::Event::RowsRestored).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsRestored {
    /// The backup.
    pub backup: BackupId,
    /// The run.
    pub run: RunId,
    /// Every table that was named.
    pub tables: Vec<RestoredTable>,
}

/// What was put back into one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoredTable {
    /// Rows that were missing.
    pub inserted: u64,
    /// Rows whose content was another one.
    pub replaced: u64,
    /// The table, as SQL spells it.
    pub table: String,
}

/// See [`Event::ExternalBackupNamed`](crate::Event::ExternalBackupNamed).
///
/// The log vouches for what was said, and when; not for the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalBackupNamed {
    /// What shows that it is there, in the words of whoever named it.
    pub evidence: String,
    /// The place in the WAL of the target when it was named.
    pub lsn: String,
    /// What its keeper calls it.
    pub name: String,
    /// The run that relies on it.
    pub run: RunId,
}

/// See [`Event::BackupRekeyed`](crate::Event::BackupRekeyed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRekeyed {
    /// The backup.
    pub backup: BackupId,
    /// Bytes of the sealed container from now on.
    pub bytes: u64,
    /// The public manifest, with the digest of the container as it is from now on.
    pub manifest: BlobRef,
    /// Who can open it from now on: names of keys, never keys.
    pub recipients: Vec<String>,
}

/// See [`Event::EmergencyFinished`](crate::Event::EmergencyFinished).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyFinished {
    /// Time from the declaration to the verified end, in µs.
    pub duration_us: u64,
    /// Rows that were lost, as far as they were counted.
    pub lost_rows: Option<u64>,
    /// What the verification behind it says.
    pub result: CheckOutcome,
    /// The run that rolled back.
    pub run: RunId,
    /// Backends that stood in the way and were ended.
    pub terminated: u64,
    /// How it was met.
    pub way: EmergencyWay,
}

/// See [`Event::EmergencyRehearsed`](crate::Event::EmergencyRehearsed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyRehearsed {
    /// The backup the rehearsal began from.
    pub backup: BackupId,
    /// Time from the beginning to the verified end, without that of bringing the backup back, in µs.
    pub duration_us: u64,
    /// Time of bringing the backup back, in µs.
    pub restore_us: u64,
    /// What the verification behind it says.
    pub result: CheckOutcome,
    /// Steps that were rolled back.
    pub steps: u64,
    /// The version that was the last one applied; none for nothing applied.
    pub to_version: Option<Version>,
    /// How it was met.
    pub way: EmergencyWay,
}

/// See [`Event::BreakGlassUsed`](crate::Event::BreakGlassUsed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassUsed {
    /// SHA-256 of the journal that was written instead of the log; none where the log was written.
    pub journal: Option<Digest>,
    /// Why.
    pub reason: String,
    /// The run.
    pub run: RunId,
    /// What the run went without.
    pub without: WithoutSafeguard,
}

/// See [`Event::BreakGlassReviewed`](crate::Event::BreakGlassReviewed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassReviewed {
    /// What the reviewer says.
    pub note: String,
    /// The run.
    pub run: RunId,
}

/// See [`Event::ApproversChanged`](crate::Event::ApproversChanged).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproversChanged {
    /// Number of approvers from now on.
    pub approvers: u64,
    /// SHA-256 of the list that counted until now; none for the first one.
    pub before: Option<Digest>,
    /// The list: the file as it was.
    pub list: BlobRef,
    /// The signatures of people on the list before it that admit it; none of the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<ListSignature>,
}

/// One person's word that a list of approvers takes the place of the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSignature {
    /// Who.
    pub approver: String,
    /// C2SP verifier key it is signed with.
    pub key: String,
    /// Ed25519 signature of the form of SSH, in base64.
    pub signature: String,
}
