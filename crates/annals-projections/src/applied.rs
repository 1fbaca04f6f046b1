//! Which migrations are applied, and the last change of each that is not.

use std::collections::BTreeMap;

use annals_events::{Direction, Recorded, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::adoption::{Adopted, Announced, insert_applied};
use crate::history::Change;
use crate::recovery::OpenStep;

/// A file that ran, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// Its name, without folders.
    pub file: String,
    /// When its taking effect was recorded.
    pub at: Timestamp,
}

/// The applied set: one change for each version that ever changed, whatever the log's length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedSet {
    applied: Vec<Change>,
    /// The last change of each version that is not applied any more.
    rolled_back: BTreeMap<Version, Change>,
    last_applied: Option<Execution>,
    last_rolled_back: Option<Execution>,
}

impl AppliedSet {
    /// The migrations applied, in the order they were applied.
    pub fn applied(&self) -> &[Change] {
        &self.applied
    }

    /// Of each migration that was applied once and is not now, its last change.
    pub fn rolled_back(&self) -> impl Iterator<Item = &Change> {
        self.rolled_back.values()
    }

    /// The last change of `version`, whichever way it went.
    pub fn last_change(&self, version: &Version) -> Option<&Change> {
        let applied = self.applied.iter().find(|change| change.version == *version);
        applied.or_else(|| self.rolled_back.get(version))
    }

    /// Whether `version` is applied.
    pub fn holds(&self, version: &Version) -> bool {
        self.applied.iter().any(|change| change.version == *version)
    }

    /// The migration file that ran last, even if it was rolled back since.
    pub fn last_applied(&self) -> Option<&Execution> {
        self.last_applied.as_ref()
    }

    /// The rollback file that ran last.
    pub fn last_rolled_back(&self) -> Option<&Execution> {
        self.last_rolled_back.as_ref()
    }

    /// Takes a step that took effect; `measured` is its duration and transaction, where known.
    pub(crate) fn take(
        &mut self,
        step: &OpenStep,
        recorded: &Recorded,
        measured: Option<(u64, String)>,
    ) {
        let (duration_us, transaction) = measured.unzip();
        let change = Change {
            direction: step.direction,
            version: step.version.clone(),
            name: step.name.clone(),
            ordinal: step.ordinal,
            file: step.file.clone(),
            rollback: step.rollback.clone(),
            key: step.key,
            intent_seq: step.seq,
            intent_hash: step.leaf,
            seq: recorded.seq,
            at: recorded.recorded_at,
            by: recorded.actor.name.clone(),
            transaction,
            duration_us,
        };
        self.put(change);
    }

    fn put(&mut self, change: Change) {
        self.applied.retain(|applied| applied.version != change.version);
        self.rolled_back.remove(&change.version);
        let execution = Execution { file: change.file.name.clone(), at: change.at };
        match change.direction {
            Direction::Up => {
                self.last_applied = Some(execution);
                self.applied.push(change);
            }
            Direction::Down => {
                self.last_rolled_back = Some(execution);
                self.rolled_back.insert(change.version.clone(), change);
            }
        }
    }
    /// Takes an entry of an adoption that has succeeded.
    pub(crate) fn adopt(&mut self, entry: &Announced) {
        match entry.effect() {
            None => {}
            Some(Adopted::Change(change)) => self.put(*change),
            Some(Adopted::Lost { version, remains, .. }) => {
                self.applied.retain(|applied| applied.version != version);
                self.rolled_back.remove(&version);
                match remains {
                    Some(change) if change.direction == Direction::Down => {
                        self.rolled_back.insert(version, *change);
                    }
                    Some(change) => insert_applied(&mut self.applied, *change),
                    None => {}
                }
            }
            Some(Adopted::Regained(change)) => {
                self.applied.retain(|applied| applied.version != change.version);
                self.rolled_back.remove(&change.version);
                match change.direction {
                    Direction::Down => {
                        self.rolled_back.insert(change.version.clone(), *change);
                    }
                    Direction::Up => insert_applied(&mut self.applied, *change),
                }
            }
        }
    }
}
