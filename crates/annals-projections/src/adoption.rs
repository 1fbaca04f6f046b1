//! Entries of an adoption: announced one by one, in effect once its run has succeeded.

use annals_events::{
    AdoptionBasis, BaselineAdopted, Direction, LeafHash, Recorded, RunFinished, RunOutcome, Seq,
    StepKey, Timestamp, Version,
};
use serde::{Deserialize, Serialize};

use crate::history::Change;

/// An entry of an adoption that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announced {
    /// What is to be adopted.
    pub adopted: BaselineAdopted,
    /// Who adopts.
    pub by: String,
    /// When it was recorded.
    pub at: Timestamp,
    /// Leaf hash of the event.
    pub leaf: LeafHash,
    /// The event.
    pub seq: Seq,
}

/// What an entry does to the changes known so far.
pub(crate) enum Adopted {
    /// A change that is in effect.
    Change(Box<Change>),
    /// A change that is not in effect any more, and what is in effect of the version instead.
    Lost { version: Version, ordinal: u64, remains: Option<Box<Change>> },
    /// A change of earlier that is in effect again, and is the last one of its version.
    Regained(Box<Change>),
}

impl Announced {
    /// Takes the event.
    pub(crate) fn new(recorded: &Recorded, adopted: &BaselineAdopted) -> Self {
        Self {
            adopted: adopted.clone(),
            by: recorded.actor.name.clone(),
            at: recorded.recorded_at,
            leaf: recorded.leaf,
            seq: recorded.seq,
        }
    }

    /// What it does once its adoption has succeeded; nothing where it only found what is known.
    pub(crate) fn effect(&self) -> Option<Adopted> {
        let adopted = &self.adopted;
        match (adopted.basis, adopted.holds) {
            (AdoptionBasis::Lost, true) => None,
            (AdoptionBasis::Restored, true) => self.remains().map(Box::new).map(Adopted::Regained),
            (AdoptionBasis::Lost | AdoptionBasis::Restored, false) => Some(Adopted::Lost {
                version: adopted.version.clone(),
                ordinal: adopted.ordinal,
                remains: self.remains().map(Box::new),
            }),
            (_, false) => None,
            (_, true) => Some(Adopted::Change(Box::new(self.change()))),
        }
    }

    fn change(&self) -> Change {
        let adopted = &self.adopted;
        Change {
            direction: adopted.direction,
            version: adopted.version.clone(),
            name: adopted.name.clone(),
            ordinal: adopted.ordinal,
            file: adopted.file.clone(),
            rollback: adopted.rollback.as_deref().cloned(),
            key: adopted.key(),
            intent_seq: self.seq,
            intent_hash: self.leaf,
            seq: self.seq,
            at: self.at,
            by: self.by.clone(),
            transaction: adopted.evidence.row.as_ref().map(|row| row.transaction.clone()),
            duration_us: None,
        }
    }

    fn remains(&self) -> Option<Change> {
        let earlier = self.adopted.remains.as_ref()?;
        Some(Change {
            direction: earlier.direction,
            version: self.adopted.version.clone(),
            name: earlier.name.clone(),
            ordinal: earlier.ordinal,
            file: earlier.file.clone(),
            rollback: earlier.rollback.clone(),
            key: StepKey { run: earlier.run, step: earlier.step },
            intent_seq: earlier.intent_seq,
            intent_hash: earlier.intent_hash,
            seq: earlier.seq,
            at: earlier.at,
            by: earlier.by.clone(),
            transaction: earlier.transaction.clone(),
            duration_us: earlier.duration_us,
        })
    }
}

/// Takes an entry up; said twice, it counts once.
pub(crate) fn announce(adopting: &mut Vec<Announced>, entry: Announced) {
    adopting.retain(|other| other.adopted.key() != entry.adopted.key());
    adopting.push(entry);
}

/// Takes the entries of the run that has ended out of `adopting`: those that count from now on.
pub(crate) fn ended(adopting: &mut Vec<Announced>, finished: &RunFinished) -> Vec<Announced> {
    let (of_run, others) =
        std::mem::take(adopting).into_iter().partition(|entry| entry.adopted.run == finished.run);
    *adopting = others;
    match finished.outcome {
        RunOutcome::Succeeded => of_run,
        RunOutcome::Failed | RunOutcome::Interrupted => Vec::new(),
    }
}

/// Puts a change among the applied ones, which stand in the order they took effect.
pub(crate) fn insert_applied(applied: &mut Vec<Change>, change: Change) {
    if change.direction == Direction::Up {
        let place = applied.partition_point(|other| other.seq <= change.seq);
        applied.insert(place, change);
    }
}
