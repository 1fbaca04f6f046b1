//! The contract every home of a log keeps.

use annals_events::{Draft, LeafHash, Recorded, SealError, Timestamp};

/// The right edge of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of events.
    pub size: u64,
    /// Leaf hash of the last one, 64 zeroes for none.
    pub leaf: LeafHash,
}

/// Why events were not appended.
///
/// After [`Self::NotDurable`] the store is closed for writing: whether the bytes reached the disk
/// is unknown, and a failed `fsync` must not be tried again. Reopening decides from what is there.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended in between.
    #[error("the log has {} events, expected {}", found.size, expected.size)]
    HeadMoved {
        /// What the caller built on.
        expected: Head,
        /// What is there.
        found: Head,
    },
    /// The event cannot be stored.
    #[error(transparent)]
    Refused(#[from] SealError),
    /// The disk did not take it.
    #[error("the event store could not make an event durable")]
    NotDurable(#[source] std::io::Error),
    /// An earlier append failed.
    #[error("the event store stopped after a failed write; reopen it")]
    Stopped,
}

/// An append-only log with one writer.
///
/// * When [`append`](Self::append) returns `Ok`, every one of the events is durable and the head
///   has moved behind the last of them. When it returns an error other than
///   [`AppendError::NotDurable`], nothing was stored.
/// * Events of one call stand next to each other, in the order given.
/// * What was stored is returned by every later read byte for byte.
pub trait EventStore {
    /// The right edge.
    fn head(&self) -> Head;

    /// All events, oldest first.
    fn events(&self) -> &[Recorded];

    /// Appends `drafts` behind `expected`; `now` is the clock's reading.
    ///
    /// # Errors
    ///
    /// See [`AppendError`].
    fn append(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Recorded>, AppendError>>;
}
