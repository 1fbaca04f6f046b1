//! Public, versioned documents: what annals prints as JSON, and its exit codes.
//!
//! A document's `format` is `annals.<name>/<version>`; within a version members are only added.
//! Nothing here performs IO. Times are RFC 3339 in UTC, durations are in microseconds unless the
//! member's name says otherwise.

mod adopt;
mod approvals;
mod backup;
mod change;
mod ci;
mod copies;
mod diff;
mod drift;
mod drill;
mod emergency;
mod exit;
mod failure;
mod health;
mod keys;
mod locks;
mod log;
mod proof;
mod rekey;
mod replay;
mod restore;
mod restore_rows;
mod schema;
mod serve;
mod setup;
mod state;
mod status;
mod timeline;
mod verify;

pub use adopt::{AdoptDocument, AdoptedChange, ParentHead, UpgradeDocument};
pub use annals_operations::LogReport as LogVerifyDocument;
pub use approvals::{
    ApprovedDocument, ApproverDocument, ApproversDocument, GlassReviewDocument, HazardDocument,
    PlanFileDocument, PlanReviewDocument, RevokedDocument,
};
pub use backup::{
    BackupDocument, BackupEntry, BackupListDocument, BackupShowDocument, BackupVerifyDocument,
    NotIncludedDocument, PruneDocument, PrunedDocument, RestoreDocument,
};
pub use change::{
    ChangeDocument, LintDocument, LossDocument, PlanBatches, PlanDocument, PlanStatement, PlanStep,
    PlanStream, RecoveredRun, RunDocument, SettledStep, StepFailure, settled_steps,
};
pub use ci::{CiCommentDocument, CiDocument};
pub use copies::{AnchorOutcome, AnchorsDocument, ExportDocument, MovedDocument, ProofDocument};
pub use diff::{
    BetweenDocument, DiffDocument, EndedRun, GrownAnchor, ShiftDocument, TurnedApproval,
    TurnedBackup, TurnedKey, TurnedMigration, VerificationAt,
};
pub use drift::{DriftAcceptedDocument, DriftDocument, TrackDocument};
pub use drill::DrillDocument;
pub use emergency::{
    BackupToRestore, EmergencyDocument, EndedClient, LookWithoutLogDocument, StepWithoutLogDocument,
};
pub use exit::ExitCode;
pub use failure::FailureDocument;
pub use health::{
    ActivityDocument, BackupHealthDocument, BloatDocument, ConnectionsDocument,
    DatabaseHealthDocument, DriftHealthDocument, FailedBackupDocument, HealthDocument,
    IndexDocument, IntegrityHealthDocument, LastBackupDocument, LivenessDocument, LockWaitDocument,
    LogHealthDocument, LongQueryDocument, MigrationHealthDocument, NotServedDocument,
    PerformanceDocument, ReasonDocument, RunHealthDocument, StorageDocument, TableDocument,
    TablesDocument, VerifiedBackupDocument, WraparoundDocument, families,
};
pub use keys::{KeyChangeDocument, KeyDocument, KeysDocument, RotationDocument};
pub use locks::{
    HolderDocument, LocksDocument, LogLockDocument, OpenRunDocument, SessionDocument, StepDocument,
};
pub use log::{LogEvent, LogShowDocument};
pub use proof::{RehearsalDocument, RehearsedStep, UnreachedStep};
pub use rekey::{
    BackupAdoptDocument, BackupKeyDocument, BackupKeyRotationDocument, RekeyDocument,
    RekeyedDocument,
};
pub use replay::{
    AnchorClaimDocument, HistoryDocument, HistoryEntry, Place, ProvenTimeDocument,
    TimeBoundsDocument, VantageDocument,
};
pub use restore::{RestoreDoneDocument, TableLossDocument, TargetRestoreDocument};
pub use restore_rows::{
    RestoredTableDocument, RowsFoundDocument, RowsRestoreDocument, RowsRestoreDoneDocument,
    TableRowsDocument,
};
pub use schema::{
    AttributeDifference, FingerprintDocument, ObjectDifference, PictureDocument,
    SchemaDiffDocument, SchemaDocument,
};
pub use serve::{DurationDocument, DurationsDocument, LastMeasured, ServeDocument, SlowestStep};
pub use setup::{CreateDocument, InitDocument, SandboxDocument};
pub use state::{
    AnchorState, AppliedMigration, ApprovalState, BackupState, DatabaseState, EmergencyState,
    HomeState, IntegrityState, KeyState, LockHolder, MigrationsSeenState, PendingMigration,
    RunState, StateDocument, StepState,
};
pub use status::{BackfillStatus, DriftStatus, MigrationStatus, StatusDocument, UnreviewedRun};
pub use timeline::{
    ExplainDocument, ExplainedEvent, TimelineDocument, TimelineEvent, TimelineLine,
};
pub use verify::{ContentDocument, FindingDocument, NotCheckedDocument, VerifyDocument};
