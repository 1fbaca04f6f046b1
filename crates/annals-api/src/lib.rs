//! Public, versioned documents: what annals prints as JSON, and its exit codes.
//!
//! A document's `format` is `annals.<name>/<version>`; within a version members are only added.
//! Nothing here performs IO. Times are RFC 3339 in UTC, durations are in microseconds unless the
//! member's name says otherwise.

mod adopt;
mod backup;
mod change;
mod copies;
mod diff;
mod drift;
mod exit;
mod failure;
mod keys;
mod locks;
mod log;
mod proof;
mod replay;
mod schema;
mod setup;
mod state;
mod status;
mod timeline;
mod verify;

pub use adopt::{AdoptDocument, AdoptedChange, ParentHead, UpgradeDocument};
pub use annals_operations::LogReport as LogVerifyDocument;
pub use backup::{
    BackupDocument, BackupEntry, BackupListDocument, BackupShowDocument, BackupVerifyDocument,
    NotIncludedDocument, PruneDocument, PrunedDocument, RestoreDocument,
};
pub use change::{
    ChangeDocument, LintDocument, PlanBatches, PlanDocument, PlanStatement, PlanStep, PlanStream,
    RecoveredRun, RunDocument, SettledStep, StepFailure, settled_steps,
};
pub use copies::{AnchorOutcome, AnchorsDocument, ExportDocument, MovedDocument, ProofDocument};
pub use diff::{
    BetweenDocument, DiffDocument, EndedRun, GrownAnchor, ShiftDocument, TurnedApproval,
    TurnedBackup, TurnedKey, TurnedMigration, VerificationAt,
};
pub use drift::{DriftAcceptedDocument, DriftDocument, TrackDocument};
pub use exit::ExitCode;
pub use failure::FailureDocument;
pub use keys::{KeyChangeDocument, KeyDocument, KeysDocument, RotationDocument};
pub use locks::{
    HolderDocument, LocksDocument, LogLockDocument, OpenRunDocument, SessionDocument, StepDocument,
};
pub use log::{LogEvent, LogShowDocument};
pub use proof::{RehearsalDocument, RehearsedStep, UnreachedStep};
pub use replay::{
    AnchorClaimDocument, HistoryDocument, HistoryEntry, Place, ProvenTimeDocument,
    TimeBoundsDocument, VantageDocument,
};
pub use schema::{
    AttributeDifference, FingerprintDocument, ObjectDifference, PictureDocument,
    SchemaDiffDocument, SchemaDocument,
};
pub use setup::{CreateDocument, InitDocument, SandboxDocument};
pub use state::{
    AnchorState, AppliedMigration, ApprovalState, BackupState, DatabaseState, EmergencyState,
    HomeState, IntegrityState, KeyState, LockHolder, MigrationsSeenState, PendingMigration,
    RunState, StateDocument, StepState,
};
pub use status::{BackfillStatus, DriftStatus, MigrationStatus, StatusDocument};
pub use timeline::{
    ExplainDocument, ExplainedEvent, TimelineDocument, TimelineEvent, TimelineLine,
};
pub use verify::{ContentDocument, FindingDocument, NotCheckedDocument, VerifyDocument};
