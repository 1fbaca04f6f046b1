//! The contract every home of a log keeps.

use annals_events::{BlobRef, Draft, LeafHash, Origin, Recorded, SealError, Seq, Timestamp};
use annals_keys::Checkpoint;

use crate::blobs::BlobError;

/// The right edge of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of events.
    pub size: u64,
    /// Leaf hash of the last one, 64 zeroes for none.
    pub leaf: LeafHash,
}

/// An error of whatever lies below a home.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why events were not appended.
///
/// After [`Self::NotDurable`] the store is closed for writing: whether the bytes were kept is
/// unknown, and a failed `fsync` must not be tried again. Reopening decides from what is there.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended in between. Nothing was stored.
    #[error("the log has {} events, expected {}", found.size, expected.size)]
    HeadMoved {
        /// What the caller built on.
        expected: Head,
        /// What is there.
        found: Head,
    },
    /// The event cannot be stored. Nothing was.
    #[error(transparent)]
    Refused(#[from] SealError),
    /// The home said no before it took anything. Nothing was stored.
    #[error("the event store did not take an event")]
    Rejected(#[source] Cause),
    /// Whether it was stored is unknown.
    #[error("the event store could not make an event durable")]
    NotDurable(#[source] Cause),
    /// An earlier append failed.
    #[error("the event store stopped after a failed write; reopen it")]
    Stopped,
}

/// Why something else than an append failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What lies below says no.
    #[error("cannot use the event store {place}")]
    Io {
        /// The home.
        place: String,
        /// Why.
        source: Cause,
    },
    /// A checkpoint would go back.
    #[error("a checkpoint over {size} events does not replace one over {signed}")]
    OlderCheckpoint {
        /// The size offered.
        size: u64,
        /// The size published.
        signed: u64,
    },
}

/// An append-only log, open for writing.
///
/// * When [`append`](Self::append) returns `Ok`, every one of the events is durable and the head
///   has moved behind the last of them. When it returns an error other than
///   [`AppendError::NotDurable`], nothing was stored.
/// * Events of one call stand next to each other, in the order given.
/// * What was stored is returned by every later read byte for byte.
/// * A checkpoint that was published is never followed by one over fewer events.
pub trait EventStore {
    /// Names the home for people: a folder, a database.
    fn place(&self) -> String;

    /// The log's name.
    fn origin(&self) -> &Origin;

    /// The right edge.
    fn head(&self) -> Head;

    /// The right edge as a checkpoint, not signed yet.
    fn checkpoint(&self) -> Checkpoint;

    /// Events the published checkpoint vouches for.
    fn signed(&self) -> u64;

    /// Appends `drafts` behind `expected`; `now` is the clock's reading.
    ///
    /// A home with a clock of its own, shared by all its writers, takes that instead.
    fn append(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Recorded>, AppendError>>;

    /// As [`append`](Self::append), but the events may not be durable before
    /// [`sync`](Self::sync) has returned `Ok`: a crash in between keeps all of them, a beginning of
    /// them, or none. For a writer that has something else to wait for meanwhile.
    ///
    /// A home that cannot do the one without the other makes them durable here.
    fn write(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Recorded>, AppendError>> {
        self.append(expected, drafts, now)
    }

    /// Makes what was [written](Self::write) durable. An error is [`AppendError::NotDurable`] or
    /// [`AppendError::Stopped`].
    fn sync(&mut self) -> impl Future<Output = Result<(), AppendError>> {
        std::future::ready(Ok(()))
    }

    /// Publishes `note`, the signed `checkpoint`; when this returns `Ok` it is durable.
    fn publish(
        &mut self,
        checkpoint: &Checkpoint,
        note: &str,
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// Gives the stored lines from `from` on to `visit`, without LF, oldest first, in bounded
    /// memory.
    fn read(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, &[u8]),
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// Stores content beside the log; when this returns `Ok` it is durable.
    fn put_blob(&mut self, content: &[u8]) -> impl Future<Output = Result<BlobRef, BlobError>>;

    /// Fetches content and checks it against its name.
    fn get_blob(&mut self, reference: &BlobRef)
    -> impl Future<Output = Result<Vec<u8>, BlobError>>;
}
