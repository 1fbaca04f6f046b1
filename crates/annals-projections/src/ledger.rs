//! The ledger row as a value: the target's own witness of a step.

use annals_events::{Digest, Direction, LeafHash, RunId, Version};

/// A step that took effect, as the target knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The version.
    pub version: Version,
    /// Which change of this version, from 1.
    pub ordinal: u64,
    /// Which way.
    pub direction: Direction,
    /// The migration's name.
    pub name: String,
    /// SHA-256 of the file's bytes.
    pub file_raw: Digest,
    /// The run.
    pub run: RunId,
    /// Place in the plan, from 0.
    pub step: u64,
    /// The log that holds the intent.
    pub log_origin: String,
    /// The intent's place in it.
    pub intent_seq: u64,
    /// The intent's leaf hash: a copy of the log's head at that moment.
    pub intent_hash: LeafHash,
    /// Full transaction id, in decimal.
    pub xid: String,
}
