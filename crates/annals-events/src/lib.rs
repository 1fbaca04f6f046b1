//! The vocabulary of annals: typed ids, events, their stored bytes, the hash chain and the tree.
//!
//! Nothing here performs IO, reads a clock, or draws randomness. The byte format is specified in
//! `event-store/FORMAT.md`; this crate is its reference implementation.

mod canonical;
mod chain;
mod digest;
mod envelope;
mod event;
mod ids;
mod merkle;
mod scan;
mod time;
mod version;

pub use canonical::{CanonicalError, check as check_canonical, to_line as canonical_json};
pub use chain::{Chain, ChainError, MAX_CLOCK_REGRESSION_US};
pub use digest::{Digest, LeafHash, ParseDigestError, TreeHash};
pub use envelope::{
    Actor, DecodeError, Draft, FORMAT_VERSION, MAX_LINE_BYTES, Recorded, SealError, TargetIdentity,
    decode, seal,
};
pub use event::{
    BlobRef, CheckOutcome, CheckResults, Direction, Effect, Event, Evidence, FileRef,
    IntegrityChecked, LogCreated, PlanMade, ReconciledAs, RecordedError, RunFinished, RunOutcome,
    RunStarted, SchemaRecorded, StatementStarted, StatementSucceeded, StepFailed, StepKey,
    StepMode, StepReconciled, StepStarted, StepSucceeded, TailRepaired, TargetRegistered,
    UnknownEvent,
};
pub use ids::{EventId, Origin, ParseOriginError, RunId, Seq};
pub use merkle::CompactRange;
pub use scan::{Damage, Scan, Segment, scan};
pub use time::{ParseTimestampError, Timestamp};
pub use version::{ParseVersionError, Version};
