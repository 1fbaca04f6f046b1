//! Payloads of what happens around runs: keys, anchors, the store itself, approvals, backups.
//!
//! As in [`crate::Event`], a payload's fields stand in alphabetical order.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, TreeHash};
use crate::event::{BlobRef, CheckOutcome, words};
use crate::ids::{ApprovalId, BackupId, RunId};
use crate::time::Timestamp;
use crate::version::Version;

words! {
    /// What a key is for.
    KeyPurpose {
        /// Signs checkpoints of the log.
        Log = "log",
        /// Signs approvals of plans.
        Approver = "approver",
    }
}

words! {
    /// How thoroughly a backup was verified.
    BackupDepth {
        /// Its bytes were authenticated.
        Sealed = "sealed",
        /// It was restored and compared.
        Restored = "restored",
    }
}

/// See [`Event::KeyAdded`](crate::Event::KeyAdded).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAdded {
    /// C2SP verifier key.
    pub key: String,
    /// What it is for.
    pub purpose: KeyPurpose,
}

/// See [`Event::KeyRetired`](crate::Event::KeyRetired).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRetired {
    /// C2SP verifier key.
    pub key: String,
    /// What it was for.
    pub purpose: KeyPurpose,
    /// A log key: the largest log its signature counts for.
    pub size: Option<u64>,
}

/// See [`Event::CheckpointAnchored`](crate::Event::CheckpointAnchored).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointAnchored {
    /// The anchor's name in the workspace.
    pub anchor: String,
    /// What it is: `directory`, `s3`.
    pub kind: String,
    /// RFC 6962 root of the anchored checkpoint, in hexadecimal.
    pub root: TreeHash,
    /// Events it vouches for.
    pub size: u64,
}

/// See [`Event::LogMoved`](crate::Event::LogMoved).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogMoved {
    /// The home it leaves.
    pub from: String,
    /// The home it goes on in: the only one that may append behind this event.
    pub to: String,
}

/// See [`Event::StoreInstalled`](crate::Event::StoreInstalled).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreInstalled {
    /// Which back-end: `postgres`.
    pub backend: String,
    /// Version of its tables and functions.
    pub format: u32,
}

/// See [`Event::StoreUpgraded`](crate::Event::StoreUpgraded).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreUpgraded {
    /// Which back-end: `postgres`.
    pub backend: String,
    /// Version before.
    pub from: u32,
    /// Version after.
    pub to: u32,
}

/// See [`Event::MigrationsSeen`](crate::Event::MigrationsSeen).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationsSeen {
    /// Number of migrations.
    pub files: u64,
    /// The list of them.
    pub set: BlobRef,
}

/// See [`Event::EmergencyDeclared`](crate::Event::EmergencyDeclared).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyDeclared {
    /// Why.
    pub reason: String,
    /// The run that rolls back.
    pub run: RunId,
    /// The version that is to be the last one applied; none for nothing applied.
    pub to_version: Option<Version>,
}

/// See [`Event::ApprovalGiven`](crate::Event::ApprovalGiven).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalGiven {
    /// Names the approval.
    pub approval: ApprovalId,
    /// Who approves.
    pub approver: String,
    /// When it lapses.
    pub expires_at: Option<Timestamp>,
    /// C2SP verifier key it is signed with.
    pub key: String,
    /// Hash of the plan.
    pub plan: Digest,
    /// Ed25519 signature, in base64.
    pub signature: String,
}

/// See [`Event::ApprovalRevoked`](crate::Event::ApprovalRevoked).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRevoked {
    /// The approval.
    pub approval: ApprovalId,
    /// Why.
    pub reason: String,
}

/// See [`Event::BackupTaken`](crate::Event::BackupTaken).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupTaken {
    /// Names the backup.
    pub backup: BackupId,
    /// Bytes of the sealed container.
    pub bytes: u64,
    /// Microseconds from its beginning to its durable name; unknown where nobody measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// What it holds: `full`, `schema`, `tables`.
    pub kind: String,
    /// The manifest.
    pub manifest: BlobRef,
    /// The run it was taken for.
    pub run: Option<RunId>,
}

/// See [`Event::BackupVerified`](crate::Event::BackupVerified).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupVerified {
    /// The backup.
    pub backup: BackupId,
    /// How thoroughly.
    pub depth: BackupDepth,
    /// The verdict.
    pub result: CheckOutcome,
}

/// See [`Event::BackupFailed`](crate::Event::BackupFailed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFailed {
    /// Why.
    pub reason: String,
    /// The run it was meant for.
    pub run: Option<RunId>,
}

/// See [`Event::BackupRemoved`](crate::Event::BackupRemoved).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRemoved {
    /// The backup.
    pub backup: BackupId,
    /// Why.
    pub reason: String,
}
