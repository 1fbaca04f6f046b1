//! The vocabulary of annals: typed ids, events, their stored bytes, the hash chain and the tree.
//!
//! Nothing here performs IO, reads a clock, or draws randomness. The byte format is specified in
//! `event-store/FORMAT.md`; this crate is its reference implementation.

mod adoption;
mod canonical;
mod chain;
mod digest;
mod drift;
mod envelope;
mod event;
mod ids;
mod merkle;
mod proof;
mod records;
mod recovery;
mod scan;
mod text;
mod tile;
mod time;
mod tree;
mod unwritten;
mod version;

pub use adoption::{
    AdoptedRow, AdoptionBasis, AdoptionEvidence, BaselineAdopted, EarlierChange, FileStanding,
    ParentLog,
};
pub use canonical::{CanonicalError, check as check_canonical, to_line as canonical_json};
pub use chain::{Chain, ChainError, MAX_CLOCK_REGRESSION_US};
pub use digest::{Digest, DigestBuilder, LeafHash, ParseDigestError, TreeHash};
pub use drift::{DriftAccepted, DriftFound, ProofRecorded, ProofVerdict};
pub use envelope::{
    Actor, DecodeError, Draft, FORMAT_VERSION, MAX_LINE_BYTES, Recorded, SealError, TargetIdentity,
    decode, seal,
};
pub use event::{
    BlobRef, CheckLevel, CheckOutcome, CheckResults, Direction, Effect, Event, Evidence, FileRef,
    IntegrityChecked, LogCreated, PlanMade, ReconciledAs, RecordedError, RunFinished, RunOutcome,
    RunStarted, SchemaRecorded, StatementStarted, StatementSucceeded, StepFailed, StepKey,
    StepMode, StepReconciled, StepStarted, StepSucceeded, TailRepaired, TargetRegistered,
    UnknownEvent,
};
pub use ids::{ApprovalId, BackupId, EventId, Origin, ParseOriginError, RunId, Seq};
pub use merkle::CompactRange;
pub use proof::{
    HashSource, ProofError, ProveError, ReadError, Subtree, consistency_proof, inclusion_proof,
    root as tree_root, verify_consistency, verify_inclusion,
};
pub use records::{
    ApprovalGiven, ApprovalRevoked, BackupDepth, BackupFailed, BackupRemoved, BackupTaken,
    BackupVerified, CheckpointAnchored, EmergencyDeclared, KeyAdded, KeyPurpose, KeyRetired,
    LogMoved, MigrationsSeen, StoreInstalled, StoreUpgraded,
};
pub use recovery::{
    ApproversChanged, BackupRekeyed, BreakGlassReviewed, BreakGlassUsed, EmergencyFinished,
    EmergencyRehearsed, EmergencyWay, ExternalBackupNamed, ListSignature, RestoreStarted,
    RestoredTable, RowsRestoreStarted, RowsRestored, RowsWanted, TargetRestored, WithoutSafeguard,
};
pub use scan::{Damage, Newer, Scan, Scanned, Scanner, Segment, scan};
pub use tile::{
    BundleId, MAX_BUNDLE_BYTES, TILE_HEIGHT, TILE_WIDTH, TileError, TileId, bundles_of,
    new_bundles, new_tiles, tiles_of,
};
pub use time::{ParseTimestampError, Timestamp};
pub use tree::{CompleteTiles, MemoryTree, NotGrown, Tile, TileBuilder};
pub use unwritten::MAX_APPEND_BYTES;
pub use version::{ParseVersionError, Version};
