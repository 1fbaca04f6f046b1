//! Public, versioned documents: what annals prints as JSON, and its exit codes.
//!
//! A document's `format` is `annals.<name>/<version>`; within a version members are only added.
//! Nothing here performs IO. Times are RFC 3339 in UTC, durations are in microseconds unless the
//! member's name says otherwise.

mod change;
mod exit;
mod failure;
mod log;
mod replay;
mod setup;
mod status;
mod verify;

pub use change::{
    ChangeDocument, LintDocument, PlanDocument, PlanStatement, PlanStep, RecoveredRun, RunDocument,
    StepFailure,
};
pub use exit::ExitCode;
pub use failure::FailureDocument;
pub use log::{LogEvent, LogShowDocument, LogVerifyDocument};
pub use replay::{AppliedMigration, HistoryDocument, HistoryEntry, Place, StateDocument};
pub use setup::{CreateDocument, InitDocument, SandboxDocument};
pub use status::{MigrationStatus, StatusDocument};
pub use verify::{FindingDocument, VerifyDocument};
