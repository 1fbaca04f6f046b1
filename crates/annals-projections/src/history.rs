//! What has been applied and rolled back, in the order it happened.

use std::collections::{HashMap, HashSet};

use annals_events::{
    Direction, Event, FileRef, LeafHash, ReconciledAs, Recorded, RecordedError, RunId, Seq,
    StepKey, StepStarted, Timestamp, Version,
};
use serde::{Deserialize, Serialize};

use crate::adoption::{Adopted, Announced, announce, ended, insert_applied};
use crate::replay::Projection;

/// One step that took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Which way.
    pub direction: Direction,
    /// The version.
    pub version: Version,
    /// The migration's name.
    pub name: String,
    /// Which change of this version, from 1.
    pub ordinal: u64,
    /// The file that ran.
    pub file: FileRef,
    /// Going up: the file that would undo it.
    pub rollback: Option<FileRef>,
    /// The run and the place in it.
    pub key: StepKey,
    /// The event that announced it.
    pub intent_seq: Seq,
    /// That event's leaf hash; the target's ledger holds a copy.
    pub intent_hash: LeafHash,
    /// The event that says it took effect.
    pub seq: Seq,
    /// When that was recorded.
    pub at: Timestamp,
    /// Who ran it.
    pub by: String,
    /// The transaction that holds its ledger row; unknown when it was settled from evidence.
    pub transaction: Option<String>,
    /// Microseconds it took; unknown when it was settled from evidence.
    pub duration_us: Option<u64>,
}

impl Change {
    /// `<version>_<name>`.
    pub fn id(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }
}

/// A migration that is applied.
pub type Applied = Change;

/// A step that did not take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Which way.
    pub direction: Direction,
    /// The version.
    pub version: Version,
    /// The migration's name.
    pub name: String,
    /// The run.
    pub run: RunId,
    /// The event that says so.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
    /// Why; nothing when it was settled from evidence.
    pub error: Option<RecordedError>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Intent {
    seq: Seq,
    hash: LeafHash,
    started: StepStarted,
}

/// The migration history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    changes: Vec<Change>,
    failures: Vec<Failure>,
    applied: Vec<Change>,
    /// The versions of `applied`: thousands of steps are not each looked for among all others.
    versions: HashSet<Version>,
    open: HashMap<StepKey, Intent>,
    adopting: Vec<Announced>,
}

impl History {
    /// Every step that took effect, oldest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Every step that failed, oldest first.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The migrations applied now, in the order they were applied.
    pub fn applied(&self) -> &[Applied] {
        &self.applied
    }

    /// Whether `version` is applied.
    pub fn is_applied(&self, version: &Version) -> bool {
        self.versions.contains(version)
    }

    /// The last change of `version`, if it is applied.
    pub fn applied_version(&self, version: &Version) -> Option<&Applied> {
        self.applied.iter().find(|change| change.version == *version)
    }

    /// How often `version` has been applied or rolled back.
    pub fn ordinal(&self, version: &Version) -> u64 {
        let last = self.changes.iter().rev().find(|change| change.version == *version);
        last.map_or(0, |change| change.ordinal)
    }

    fn took_effect(&mut self, key: StepKey, recorded: &Recorded, measured: Option<(u64, String)>) {
        let Some(Intent { seq, hash, started }) = self.open.remove(&key) else {
            return;
        };
        let change = Change {
            direction: started.direction,
            version: started.version,
            name: started.name,
            ordinal: started.ordinal,
            file: started.file,
            rollback: started.rollback,
            key,
            intent_seq: seq,
            intent_hash: hash,
            seq: recorded.seq,
            at: recorded.recorded_at,
            by: recorded.actor.name.clone(),
            duration_us: measured.as_ref().map(|(duration_us, _)| *duration_us),
            transaction: measured.map(|(_, transaction)| transaction),
        };
        self.take_out(&change.version);
        if change.direction == Direction::Up {
            self.versions.insert(change.version.clone());
            self.applied.push(change.clone());
        }
        self.changes.push(change);
    }

    fn take_out(&mut self, version: &Version) {
        if self.versions.remove(version) {
            self.applied.retain(|applied| applied.version != *version);
        }
    }

    fn put_in(&mut self, change: Change) {
        if change.direction == Direction::Up {
            self.versions.insert(change.version.clone());
        }
        insert_applied(&mut self.applied, change);
    }

    fn adopt(&mut self, entry: &Announced) {
        match entry.effect() {
            None => {}
            Some(Adopted::Change(change)) => {
                self.take_out(&change.version);
                self.put_in((*change).clone());
                self.changes.push(*change);
            }
            Some(Adopted::Lost { version, ordinal, remains }) => {
                let is_lost =
                    |change: &Change| change.version == version && change.ordinal == ordinal;
                self.changes.retain(|change| !is_lost(change));
                self.take_out(&version);
                if let Some(remains) = remains {
                    self.put_in(*remains);
                }
            }
            Some(Adopted::Regained(change)) => {
                self.take_out(&change.version);
                self.put_in((*change).clone());
                let place = self.changes.partition_point(|other| other.seq <= change.seq);
                self.changes.insert(place, *change);
            }
        }
    }

    fn failed(&mut self, key: StepKey, recorded: &Recorded, error: Option<RecordedError>) {
        let Some(Intent { started, .. }) = self.open.remove(&key) else {
            return;
        };
        self.failures.push(Failure {
            direction: started.direction,
            version: started.version,
            name: started.name,
            run: key.run,
            seq: recorded.seq,
            at: recorded.recorded_at,
            error,
        });
    }
}

impl Projection for History {
    fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::StepStarted(started) => {
                let intent =
                    Intent { seq: recorded.seq, hash: recorded.leaf, started: started.clone() };
                self.open.insert(started.key(), intent);
            }
            Event::StepSucceeded(done) => {
                let measured = (done.duration_us, done.transaction.clone());
                self.took_effect(done.key(), recorded, Some(measured));
            }
            Event::StepFailed(failed) => {
                self.failed(failed.key(), recorded, Some(failed.error.clone()));
            }
            Event::StepReconciled(settled) => match settled.found {
                ReconciledAs::TookEffect => self.took_effect(settled.key(), recorded, None),
                ReconciledAs::NoEffect | ReconciledAs::Partial => {
                    self.failed(settled.key(), recorded, None);
                }
            },
            Event::BaselineAdopted(adopted) => {
                announce(&mut self.adopting, Announced::new(recorded, adopted));
            }
            Event::RunFinished(finished) => {
                for entry in ended(&mut self.adopting, finished) {
                    self.adopt(&entry);
                }
            }
            Event::LogCreated(_)
            | Event::TargetRegistered(_)
            | Event::PlanMade(_)
            | Event::RunStarted(_)
            | Event::StatementStarted(_)
            | Event::StatementSucceeded(_)
            | Event::SchemaRecorded(_)
            | Event::IntegrityChecked(_)
            | Event::DriftFound(_)
            | Event::DriftAccepted(_)
            | Event::ProofRecorded(_)
            | Event::TailRepaired(_)
            | Event::KeyAdded(_)
            | Event::KeyRetired(_)
            | Event::CheckpointAnchored(_)
            | Event::LogMoved(_)
            | Event::StoreInstalled(_)
            | Event::StoreUpgraded(_)
            | Event::MigrationsSeen(_)
            | Event::EmergencyDeclared(_)
            | Event::ApprovalGiven(_)
            | Event::ApprovalRevoked(_)
            | Event::BackupTaken(_)
            | Event::BackupVerified(_)
            | Event::BackupFailed(_)
            | Event::BackupRemoved(_)
            | Event::RestoreStarted(_)
            | Event::TargetRestored(_)
            | Event::RowsRestoreStarted(_)
            | Event::RowsRestored(_)
            | Event::ExternalBackupNamed(_)
            | Event::BackupRekeyed(_)
            | Event::EmergencyFinished(_)
            | Event::EmergencyRehearsed(_)
            | Event::BreakGlassUsed(_)
            | Event::BreakGlassReviewed(_)
            | Event::ApproversChanged(_)
            | Event::Unknown(_) => {}
        }
    }
}
