//! What a log must be before anybody may append to it: the same for every home.

use std::collections::BTreeMap;

use annals_events::{Damage, Draft, Event, LeafHash, Recorded, Scanned, TailRepaired, Timestamp};
use annals_keys::{Checkpoint, CheckpointError, KeyRing};

use crate::read::ReadError;
use crate::store::Cause;

/// A head of this log that somebody else has seen: the target's ledger, an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHead {
    /// Events the log had at least.
    pub size: u64,
    /// Leaf hash of the last of them.
    pub leaf: LeafHash,
}

/// What is needed to open a log for writing.
pub struct OpenOptions<'a> {
    /// The keys that count.
    pub ring: &'a KeyRing,
    /// Heads somebody else has seen.
    pub known: &'a [KnownHead],
    /// The clock's reading.
    pub now: Timestamp,
    /// Shown to whoever finds the log locked: process, host, command.
    pub holder: &'a str,
    /// The envelope of a [`TailRepaired`] event, should one be needed.
    pub repair: &'a dyn Fn(TailRepaired) -> Draft,
}

/// Why a log cannot be opened for writing. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another process writes to it.
    #[error("the event log in {place} is locked by {holder}")]
    Locked {
        /// The home.
        place: String,
        /// Who.
        holder: String,
    },
    /// It has been altered.
    #[error("the event log in {place} is damaged at {damage}")]
    Damaged {
        /// The home.
        place: String,
        /// The first thing wrong.
        damage: Damage,
    },
    /// It is shorter than its checkpoint says.
    #[error(
        "the event log in {place} has {size} whole events, its checkpoint vouches for {signed}: \
         the tail is cut"
    )]
    CutTail {
        /// The home.
        place: String,
        /// Whole events.
        size: u64,
        /// Events the checkpoint vouches for.
        signed: u64,
    },
    /// Somebody has seen events this log does not have.
    #[error(
        "the event log in {place} has {size} events (the last is {}…), the target's ledger knows \
         {} ({}…): this is an older copy",
        found.short(12), known.size, known.leaf.short(12)
    )]
    Older {
        /// The home.
        place: String,
        /// Whole events.
        size: u64,
        /// Leaf hash of the last of them.
        found: LeafHash,
        /// The head that was seen.
        known: KnownHead,
    },
    /// Somebody has seen another event at a place this log has.
    #[error(
        "the event log in {place} is not the one the target's ledger knows: event {} is {}… here \
         and {}… there",
        known.size - 1, found.short(12), known.leaf.short(12)
    )]
    Forked {
        /// The home.
        place: String,
        /// Leaf hash here.
        found: LeafHash,
        /// The head that was seen.
        known: KnownHead,
    },
    /// Its checkpoint is gone.
    #[error("the event log in {place} has no checkpoint: nothing vouches for it")]
    NeverSigned {
        /// The home.
        place: String,
    },
    /// The checkpoint is not acceptable.
    #[error("the checkpoint of the event log in {place}: {source}")]
    Checkpoint {
        /// The home.
        place: String,
        /// Why.
        source: CheckpointError,
    },
    /// The signed root is not the root of these events.
    #[error(
        "the event log in {place}: its {signed} first events are not those the checkpoint vouches \
         for"
    )]
    OtherHistory {
        /// The home.
        place: String,
        /// Events the checkpoint vouches for.
        signed: u64,
    },
    /// It goes on elsewhere.
    #[error("the event log in {place} was moved to {to}: it goes on there")]
    Moved {
        /// The home.
        place: String,
        /// The home it goes on in.
        to: String,
    },
    /// It holds what only a newer annals understands.
    #[error("the event log in {place} was written by a newer annals ({what})")]
    Newer {
        /// The home.
        place: String,
        /// What is not understood.
        what: String,
    },
    /// There is one already.
    #[error("there is an event log in {place} already")]
    Exists {
        /// The home.
        place: String,
    },
    /// What lies below says no.
    #[error("cannot write the event log in {place}")]
    Io {
        /// The home.
        place: String,
        /// Why.
        source: Cause,
    },
    /// The event of a repair or of the beginning cannot be stored.
    #[error("cannot record the repair of the event log in {place}")]
    Repair {
        /// The home.
        place: String,
        /// Why.
        source: annals_events::SealError,
    },
}

/// Watches a log go by while it is read, for what decides whether it may be written.
#[derive(Debug)]
pub struct Admission<'a> {
    place: String,
    home: String,
    options: &'a OpenOptions<'a>,
    checkpoint: Checkpoint,
    moved_to: Option<String>,
    /// Leaf hashes somebody has seen, by the size they were the head of.
    known: BTreeMap<u64, Vec<LeafHash>>,
    /// The first known head that does not fit, behind the last one that does.
    forked: Option<(LeafHash, KnownHead)>,
}

impl std::fmt::Debug for OpenOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl<'a> Admission<'a> {
    /// Begins with the published `note`. `place` names the home for people, `home` as
    /// `log_moved` events do.
    ///
    /// # Errors
    ///
    /// When there is no checkpoint, or not one by a key that counts.
    pub fn new(
        place: String,
        home: String,
        note: Option<&[u8]>,
        options: &'a OpenOptions<'a>,
    ) -> Result<Self, OpenError> {
        let Some(note) = note else { return Err(OpenError::NeverSigned { place }) };
        match Checkpoint::open(note, options.ring) {
            Ok(checkpoint) => {
                let mut known: BTreeMap<u64, Vec<LeafHash>> = BTreeMap::new();
                for head in options.known {
                    known.entry(head.size).or_default().push(head.leaf);
                }
                let (moved_to, forked) = (None, None);
                Ok(Self { place, home, options, checkpoint, moved_to, known, forked })
            }
            Err(source) => Err(OpenError::Checkpoint { place, source }),
        }
    }

    /// The size whose root the scanner must note.
    pub fn signed(&self) -> u64 {
        self.checkpoint.size
    }

    /// Looks at one event.
    pub fn watch(&mut self, recorded: &Recorded) {
        if let Event::LogMoved(moved) = &recorded.event {
            self.moved_to = Some(moved.to.clone());
        }
        let size = recorded.seq.0 + 1;
        let Some(leaves) = self.known.get(&size) else { return };
        if leaves.contains(&recorded.leaf) {
            // The hash stands for everything before it: what did not fit there was altered there.
            self.forked = None;
        } else {
            let known = KnownHead { size, leaf: leaves[0] };
            self.forked.get_or_insert((recorded.leaf, known));
        }
    }

    /// Decides, when all has been read.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn decide(self, scanned: &Scanned) -> Result<Checkpoint, OpenError> {
        let place = self.place;
        if let Some(damage) = scanned.damage.clone() {
            return Err(OpenError::Damaged { place, damage });
        }
        let (size, signed) = (scanned.chain.size(), self.checkpoint.size);
        let is_ours = scanned.chain.origin() == Some(&self.checkpoint.origin);
        match scanned.root_at(signed) {
            None => return Err(OpenError::CutTail { place, size, signed }),
            Some(root) if root == self.checkpoint.root && is_ours => {}
            Some(_) => return Err(OpenError::OtherHistory { place, signed }),
        }
        // Before anything is written: what is appended to an older copy would fork the history.
        if let Some((found, known)) = self.forked {
            return Err(OpenError::Forked { place, found, known });
        }
        let newest = self.options.known.iter().max_by_key(|known| known.size);
        if let Some(known) = newest.copied().filter(|known| known.size > size) {
            let found = scanned.chain.last();
            return Err(OpenError::Older { place, size, found, known });
        }
        if let Some(to) = self.moved_to.filter(|to| *to != self.home) {
            return Err(OpenError::Moved { place, to });
        }
        match &scanned.newer {
            Some(newer) => {
                Err(OpenError::Newer { place, what: format!("event {}: {}", newer.at, newer.what) })
            }
            None => Ok(self.checkpoint),
        }
    }
}
