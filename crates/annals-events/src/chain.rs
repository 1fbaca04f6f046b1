//! The chain: each event names the leaf hash of the one before it.

use crate::digest::{LeafHash, TreeHash};
use crate::envelope::{DecodeError, Recorded, decode};
use crate::ids::{Origin, Seq};
use crate::merkle::CompactRange;
use crate::time::Timestamp;

/// How far back the clock may have moved since the last event before appending is refused: 5 s.
///
/// Less is clamped to one microsecond after the last event.
pub const MAX_CLOCK_REGRESSION_US: i64 = 5_000_000;

/// The right edge of a log: what the next line must continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    tree: CompactRange,
    last: LeafHash,
    recorded_at: Option<Timestamp>,
    origin: Option<Origin>,
}

/// Why a line does not continue the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The line itself is not a well-formed event.
    #[error("event {at}: {source}")]
    Content {
        /// The place the line stands at.
        at: Seq,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The line claims another place than the one it stands at.
    #[error("event {at}: the line says seq {found}")]
    Order {
        /// The place the line stands at.
        at: Seq,
        /// The place it claims.
        found: Seq,
    },
    /// `prev` is not the hash of the line before.
    #[error("event {at}: prev is {found}, the event before it hashes to {expected}")]
    Link {
        /// The place the line stands at.
        at: Seq,
        /// Leaf hash of the line before.
        expected: LeafHash,
        /// What the line says.
        found: LeafHash,
    },
    /// `recorded_at` does not increase.
    #[error("event {at}: recorded at {found}, not after {previous}")]
    Time {
        /// The place the line stands at.
        at: Seq,
        /// Time of the event before.
        previous: Timestamp,
        /// Time the line states.
        found: Timestamp,
    },
    /// The line belongs to another log.
    #[error("event {at}: belongs to log {found}, not to {expected}")]
    Origin {
        /// The place the line stands at.
        at: Seq,
        /// The log's origin.
        expected: Origin,
        /// The line's origin.
        found: Origin,
    },
}

impl ChainError {
    /// The first bad place.
    pub fn at(&self) -> Seq {
        match self {
            Self::Content { at, .. }
            | Self::Order { at, .. }
            | Self::Link { at, .. }
            | Self::Time { at, .. }
            | Self::Origin { at, .. } => *at,
        }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            tree: CompactRange::default(),
            last: LeafHash::ZERO,
            recorded_at: None,
            origin: None,
        }
    }
}

impl Chain {
    /// A chain known from elsewhere: the tree, the last leaf, its time, the log's name.
    ///
    /// Nothing is checked: what goes on from here is as true as these.
    pub fn resume(
        tree: CompactRange,
        last: LeafHash,
        recorded_at: Option<Timestamp>,
        origin: Option<Origin>,
    ) -> Self {
        Self { tree, last, recorded_at, origin }
    }

    /// The tree over all events so far.
    pub fn tree(&self) -> &CompactRange {
        &self.tree
    }

    /// Events so far.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The place the next event takes.
    pub fn next_seq(&self) -> Seq {
        Seq(self.size())
    }

    /// Leaf hash of the last event, 64 zeroes before the first.
    pub fn last(&self) -> LeafHash {
        self.last
    }

    /// When the last event was recorded.
    pub fn recorded_at(&self) -> Option<Timestamp> {
        self.recorded_at
    }

    /// The log's name, once it has an event.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// RFC 6962 root over all events so far.
    pub fn root(&self) -> TreeHash {
        self.tree.root()
    }

    /// Checks that `line` (without LF) continues the log, and steps over it.
    ///
    /// # Errors
    ///
    /// The first rule the line breaks; the chain is then unchanged.
    pub fn accept(&mut self, line: &[u8]) -> Result<Recorded, ChainError> {
        let at = self.next_seq();
        let recorded = decode(line).map_err(|source| ChainError::Content { at, source })?;
        if recorded.seq != at {
            return Err(ChainError::Order { at, found: recorded.seq });
        }
        if recorded.prev != self.last {
            return Err(ChainError::Link { at, expected: self.last, found: recorded.prev });
        }
        if let Some(previous) = self.recorded_at
            && recorded.recorded_at <= previous
        {
            return Err(ChainError::Time { at, previous, found: recorded.recorded_at });
        }
        if let Some(expected) = &self.origin
            && recorded.origin != *expected
        {
            let (expected, found) = (expected.clone(), recorded.origin);
            return Err(ChainError::Origin { at, expected, found });
        }
        self.step(recorded.leaf, recorded.recorded_at, &recorded.origin);
        Ok(recorded)
    }

    /// Steps over an event this process has just sealed onto this chain.
    pub(crate) fn step(&mut self, leaf: LeafHash, recorded_at: Timestamp, origin: &Origin) {
        self.tree.push(leaf);
        self.last = leaf;
        self.recorded_at = Some(recorded_at);
        if self.origin.is_none() {
            self.origin = Some(origin.clone());
        }
    }
}
