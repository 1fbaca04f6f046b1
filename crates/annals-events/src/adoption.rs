//! Payloads of an adoption: what a target says of its migrations, taken over on a person's word.
//!
//! As in [`crate::Event`], a payload's fields stand in alphabetical order.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, LeafHash};
use crate::event::{Direction, FileRef, words};
use crate::ids::{RunId, Seq};
use crate::time::Timestamp;
use crate::version::Version;

words! {
    /// What an adoption rests on.
    AdoptionBasis {
        /// The rows another log has left in the target's ledger.
        Ledger = "ledger",
        /// A person's word: it was applied by hand or by another tool.
        Declared = "declared",
        /// The rows of `supabase_migrations.schema_migrations`.
        Supabase = "supabase",
        /// The target has lost what the log says took effect.
        Lost = "lost",
        /// A backup that was restored: what is in effect is what was when it was taken.
        Restored = "restored",
    }
}

words! {
    /// How the workspace's file stands to what is adopted.
    FileStanding {
        /// It is the one that ran.
        Identical = "identical",
        /// It says something else.
        Differs = "differs",
        /// There is none.
        Missing = "missing",
        /// Nothing says which one ran, or it does not matter any more.
        NotCompared = "not_compared",
    }
}

/// The ledger row an adoption takes over, as the other log has left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptedRow {
    /// SHA-256 of the bytes of the file that ran.
    pub file: Digest,
    /// Leaf hash of the event that announced it.
    pub intent_hash: LeafHash,
    /// That event's place in its log.
    pub intent_seq: u64,
    /// The log.
    pub origin: String,
    /// The run.
    pub run: RunId,
    /// Place in its plan, from 0.
    pub step: u64,
    /// Full transaction id, in decimal.
    pub transaction: String,
}

/// The newest head of another log that the target knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParentLog {
    /// Leaf hash of the last event.
    pub leaf: LeafHash,
    /// The log.
    pub origin: String,
    /// Number of events.
    pub size: u64,
}

/// What is in effect of a version after a later change of it was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierChange {
    /// When it was recorded that it took effect.
    pub at: Timestamp,
    /// Who ran it.
    pub by: String,
    /// Which way.
    pub direction: Direction,
    /// Microseconds it took, where known.
    pub duration_us: Option<u64>,
    /// The file that ran.
    pub file: FileRef,
    /// Leaf hash of the event that announced it.
    pub intent_hash: LeafHash,
    /// That event.
    pub intent_seq: Seq,
    /// The migration's name.
    pub name: String,
    /// Which change of this version, from 1.
    pub ordinal: u64,
    /// Going up: the file that would undo it.
    pub rollback: Option<FileRef>,
    /// The run.
    pub run: RunId,
    /// The event that says it took effect.
    pub seq: Seq,
    /// Place in the plan, from 0.
    pub step: u64,
    /// Its transaction, where known.
    pub transaction: Option<String>,
}

/// What one entry of an adoption rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptionEvidence {
    /// How the workspace's file stands to it.
    pub file: FileStanding,
    /// What was looked at, in words.
    pub found: String,
    /// The ledger row that was taken over.
    pub row: Option<AdoptedRow>,
    /// The server's timeline when it was looked at.
    pub timeline: Option<u32>,
    /// The server's timeline when the change was recorded.
    pub timeline_then: Option<u32>,
    /// What `pg_xact_status` says of the change's transaction.
    pub transaction_status: Option<String>,
}

/// See [`Event::BaselineAdopted`](crate::Event::BaselineAdopted).
///
/// It counts once its run has succeeded; until then it is an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineAdopted {
    /// What the adoption rests on.
    pub basis: AdoptionBasis,
    /// Which way the change went.
    pub direction: Direction,
    /// What was looked at.
    pub evidence: Box<AdoptionEvidence>,
    /// The file the change stands for.
    pub file: FileRef,
    /// Whether the change is in effect in the target.
    pub holds: bool,
    /// The migration's name.
    pub name: String,
    /// Which change of this version it is, from 1: odd ones apply it, even ones roll it back.
    pub ordinal: u64,
    /// The log that was left behind.
    pub parent: Option<Box<ParentLog>>,
    /// Why, as the person has typed it.
    pub reason: Option<String>,
    /// Of a lost change: what is in effect of the version without it.
    pub remains: Option<Box<EarlierChange>>,
    /// Going up: the file that would undo it.
    pub rollback: Option<Box<FileRef>>,
    /// The run that adopts.
    pub run: RunId,
    /// Place in the adoption, from 0.
    pub step: u64,
    /// The migration's version.
    pub version: Version,
}
