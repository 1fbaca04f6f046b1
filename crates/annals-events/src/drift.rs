//! Payloads of what is known of a schema beyond a run: drift, and rehearsals.
//!
//! As in [`crate::Event`], a payload's fields stand in alphabetical order.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::{BlobRef, FileRef, words};
use crate::version::Version;

words! {
    /// What a rehearsal of up, down and up again came to.
    ProofVerdict {
        /// The rollback leaves exactly what was there before, and the sample rows with it.
        Exact = "exact",
        /// It does, but for the order of columns.
        ColumnOrder = "column_order",
        /// It leaves another schema, or going up again does.
        Differs = "differs",
        /// The rollback fails.
        RollbackFails = "rollback_fails",
        /// The migration fails, the first time or again after its rollback.
        MigrationFails = "migration_fails",
        /// The schema is as before, and rows are gone.
        LosesData = "loses_data",
        /// The files declare that there is no way back.
        Irreversible = "irreversible",
    }
}

/// See [`Event::DriftFound`](crate::Event::DriftFound).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftFound {
    /// Number of objects that differ.
    pub differences: u64,
    /// Fingerprint of the expected schema.
    pub expected: Digest,
    /// Fingerprint of the live one.
    pub found: Digest,
    /// The differences, as JSON.
    pub report: BlobRef,
    /// Major version of the server.
    pub server_major: u32,
}

/// See [`Event::DriftAccepted`](crate::Event::DriftAccepted). The schema itself is recorded by the
/// event behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftAccepted {
    /// Number of objects that differed.
    pub differences: u64,
    /// Major version of the server that the expectation was of; none without an expectation. With
    /// another one than `server_major` nothing was compared: the schema is taken as it is.
    pub expected_major: Option<u32>,
    /// Why.
    pub reason: String,
    /// The differences, as JSON.
    pub report: BlobRef,
    /// Major version of the server.
    pub server_major: u32,
}

/// See [`Event::ProofRecorded`](crate::Event::ProofRecorded).
///
/// It holds for these files on a server of this major version, from this schema on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofRecorded {
    /// Fingerprint of the schema the migration left; none if it failed.
    pub after: Option<Digest>,
    /// How many migrations were rolled back together to come to this verdict: 1 is this one alone.
    pub batch: u64,
    /// Fingerprint of the schema it began with.
    pub before: Digest,
    /// The verdict at this place when the whole chain was rolled back, newest first; none if it was
    /// not.
    pub chain: Option<ProofVerdict>,
    /// The migration's file.
    pub file: Box<FileRef>,
    /// Sample rows that were there before and not after up and down.
    pub lost_rows: u64,
    /// The migration's name.
    pub name: String,
    /// What was seen, as JSON: differences, locks, rewrites, durations, lost rows.
    pub report: BlobRef,
    /// The rollback's file, if there is one.
    pub rollback: Option<Box<FileRef>>,
    /// Major version of the server it was rehearsed on.
    pub server_major: u32,
    /// What it came to.
    pub verdict: ProofVerdict,
    /// The version.
    pub version: Version,
}
