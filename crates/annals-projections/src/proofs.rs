//! Which migrations were rehearsed, and what each rehearsal came to.

use std::collections::BTreeMap;

use annals_events::{
    BlobRef, Digest, Event, FileRef, ProofRecorded, ProofVerdict, Recorded, Seq, Timestamp, Version,
};
use serde::{Deserialize, Serialize};

use crate::replay::Projection;

/// The last rehearsal of a migration and its rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Fingerprint of the schema the migration left; none if it failed.
    pub after: Option<Digest>,
    /// How many migrations were rolled back together: 1 is this one alone.
    pub batch: u64,
    /// Fingerprint of the schema it began with.
    pub before: Digest,
    /// The verdict when the whole chain was rolled back; none if it was not.
    pub chain: Option<ProofVerdict>,
    /// The migration's file.
    pub file: FileRef,
    /// Sample rows that were lost.
    pub lost_rows: u64,
    /// The migration's name.
    pub name: String,
    /// What was seen.
    pub report: BlobRef,
    /// The rollback's file, if there was one.
    pub rollback: Option<FileRef>,
    /// Major version of the server.
    pub server_major: u32,
    /// What it came to.
    pub verdict: ProofVerdict,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

impl Proof {
    /// Whether it speaks of these files: their statements are the same.
    pub fn is_of(&self, file: &FileRef, rollback: Option<&FileRef>) -> bool {
        let same = |a: &FileRef, b: &FileRef| a.canonical == b.canonical;
        let same_rollback = match (&self.rollback, rollback) {
            (None, None) => true,
            (Some(proven), Some(found)) => same(proven, found),
            (Some(_), None) | (None, Some(_)) => false,
        };
        same(&self.file, file) && same_rollback
    }
}

/// The last rehearsal of each migration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProofBook {
    proofs: BTreeMap<Version, Proof>,
}

impl Projection for ProofBook {
    fn apply(&mut self, recorded: &Recorded) {
        if let Event::ProofRecorded(proof) = &recorded.event {
            self.recorded(recorded, proof);
        }
    }
}

impl ProofBook {
    pub(crate) fn recorded(&mut self, recorded: &Recorded, proof: &ProofRecorded) {
        let proven = Proof {
            after: proof.after,
            batch: proof.batch,
            before: proof.before,
            chain: proof.chain,
            file: (*proof.file).clone(),
            lost_rows: proof.lost_rows,
            name: proof.name.clone(),
            report: proof.report,
            rollback: proof.rollback.as_deref().cloned(),
            server_major: proof.server_major,
            verdict: proof.verdict,
            seq: recorded.seq,
            at: recorded.recorded_at,
        };
        self.proofs.insert(proof.version.clone(), proven);
    }

    /// The last rehearsal of one migration, whatever its files were then.
    pub fn of(&self, version: &Version) -> Option<&Proof> {
        self.proofs.get(version)
    }

    /// All of them, by version.
    pub fn iter(&self) -> impl Iterator<Item = (&Version, &Proof)> {
        self.proofs.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.proofs.is_empty()
    }
}
