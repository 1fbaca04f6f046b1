//! What a command keeps of a log: read models, and what decides whether it may go on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use annals_approvals::Register;
use annals_events::{
    BlobRef, Digest, EmergencyRehearsed, Event, KeyPurpose, LeafHash, Recorded, Seq, Timestamp,
};
use annals_integrity::{LedgerMismatch, compare_ledger};
use annals_projections::{
    BackupCatalog, Change, History, LedgerRow, Projection, ProofBook, RecoveryState,
};

use crate::journal::stands_for;

/// What a command keeps of a log that went by: its read models, and what they name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    pub(crate) history: History,
    pub(crate) recovery: RecoveryState,
    /// Backups.
    pub(crate) backups: BackupCatalog,
    /// Approvals, and what they are about.
    pub(crate) register: Register,
    /// Rehearsals.
    pub(crate) proofs: ProofBook,
    /// The log's name; empty without a log.
    pub(crate) origin: String,
    /// Events.
    pub(crate) size: u64,
    /// Leaf hash of the last one.
    pub(crate) head: Option<LeafHash>,
    /// Content the events name: by which event, of which kind.
    pub(crate) blobs: Vec<(Seq, &'static str, BlobRef)>,
    /// Events each anchor holds, as the log says.
    pub(crate) anchored: BTreeMap<String, u64>,
    /// Log keys the log itself says are retired, each with the largest size it counts for.
    pub(crate) retired_keys: BTreeMap<String, u64>,
    /// The log was tied to a database.
    pub(crate) is_registered: bool,
    /// The migrations as last recorded.
    pub(crate) migrations_seen: Option<BlobRef>,
    /// When drift was last recorded, found or gone, and the differences then.
    pub(crate) drift_told: Option<(Timestamp, BlobRef)>,
    /// Somebody has taken the schema as it was for the expected one.
    pub(crate) is_schema_accepted: bool,
    /// Journals of emergencies that have become part of it, by the SHA-256 of their lines: where that
    /// is said.
    pub(crate) journals: BTreeMap<Digest, Seq>,
    /// The newest drill of an emergency, and when it was recorded.
    pub(crate) drill: Option<(Timestamp, EmergencyRehearsed)>,
    /// How often the target was restored.
    pub(crate) incarnation: u64,
    /// From which event on the server wrote on which timeline.
    timelines: Vec<(Seq, u32)>,
}

impl Book {
    pub(crate) fn apply(&mut self, recorded: &Recorded) {
        self.history.apply(recorded);
        self.recovery.apply(recorded);
        self.proofs.apply(recorded);
        self.backups.apply(recorded);
        self.register.apply(recorded);
        if self.size == 0 {
            self.origin = recorded.origin.to_string();
        }
        self.size = recorded.seq.0 + 1;
        self.head = Some(recorded.leaf);
        self.incarnation = self.incarnation.max(recorded.incarnation);
        if let Some(target) = &recorded.target
            && self.timelines.last().is_none_or(|(_, known)| *known != target.timeline)
        {
            self.timelines.push((recorded.seq, target.timeline));
        }
        if let Some(blob) = recorded.event.blob() {
            let kind = Event::KINDS.iter().find(|kind| **kind == recorded.event.kind());
            self.blobs.push((recorded.seq, kind.copied().unwrap_or_default(), blob));
        }
        match &recorded.event {
            Event::TargetRegistered(_) => self.is_registered = true,
            Event::MigrationsSeen(seen) => self.migrations_seen = Some(seen.set),
            Event::DriftAccepted(_) => self.is_schema_accepted = true,
            Event::DriftFound(found) => {
                self.drift_told = Some((recorded.recorded_at, found.report));
            }
            Event::CheckpointAnchored(anchored) => {
                self.anchored.insert(anchored.anchor.clone(), anchored.size);
            }
            Event::EmergencyRehearsed(drill) => {
                self.drill = Some((recorded.recorded_at, drill.clone()));
            }
            Event::BreakGlassUsed(used) => {
                if let Some(journal) = used.journal {
                    self.journals.insert(journal, recorded.seq);
                }
            }
            Event::KeyRetired(retired) if retired.purpose == KeyPurpose::Log => {
                let size = retired.size.unwrap_or(0);
                self.retired_keys.insert(retired.key.clone(), size);
            }
            _ => {}
        }
    }

    /// Content by its digest, among what the events name.
    pub(crate) fn named(&self, digest: &Digest) -> Option<BlobRef> {
        let mut newest_first = self.blobs.iter().rev();
        newest_first.find(|(.., blob)| blob.digest == *digest).map(|(.., blob)| *blob)
    }

    /// The timeline the server wrote on when event `seq` was recorded.
    pub(crate) fn timeline_at(&self, seq: Seq) -> Option<u32> {
        let behind = self.timelines.partition_point(|(from, _)| *from <= seq);
        behind.checked_sub(1).map(|at| self.timelines[at].1)
    }

    /// How this log and the target's ledger disagree.
    pub(crate) fn mismatches(&self, ledger: &[LedgerRow]) -> Vec<LedgerMismatch> {
        let stood_for = stands_for(&self.origin);
        let ledger: Cow<'_, [LedgerRow]> = match stood_for {
            Some(log) => ledger.iter().map(|row| self.as_taken_up(row, log)).collect(),
            None => Cow::Borrowed(ledger),
        };
        let mut mismatches = compare_ledger(&ledger, &self.history, &self.origin, self.size);
        if let Some(open) = &self.recovery.open_run {
            // What a run has left that has not ended is evidence of its outcome, and no mismatch.
            mismatches
                .retain(|m| !matches!(m, LedgerMismatch::NotInLog(row) if row.run == open.run));
        }
        mismatches
    }

    /// A row of the log a journal stands in for, as the journal has taken it up: where the two say the
    /// same, it is no mismatch that the row names that log.
    fn as_taken_up(&self, row: &LedgerRow, log: &str) -> LedgerRow {
        let mut row = row.clone();
        let same = |change: &&Change| {
            change.version == row.version
                && change.ordinal == row.ordinal
                && change.direction == row.direction
                && change.name == row.name
        };
        if row.log_origin == log
            && let Some(change) = self.history.changes().iter().find(same)
        {
            row.log_origin = self.origin.clone();
            (row.run, row.step, row.file_raw) = (change.key.run, change.key.step, change.file.raw);
            (row.intent_seq, row.intent_hash) = (change.intent_seq.0, change.intent_hash);
        }
        row
    }
}
