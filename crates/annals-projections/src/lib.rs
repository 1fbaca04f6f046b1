//! Read models folded from events, as of any moment.
//!
//! Nothing here performs IO, reads a clock, or draws randomness: the same events give the same
//! state on every machine. `apply` is total: a recorded fact is never rejected.

mod adoption;
mod applied;
mod approvals;
mod backups;
mod bounds;
mod diff;
mod durations;
mod emergency;
mod explain;
mod export;
mod history;
mod keys;
mod ledger;
mod places;
mod proofs;
mod recovery;
mod replay;
mod seen;
mod state;
mod timeline;
mod trace;

pub use adoption::Announced;
pub use applied::{AppliedSet, Execution};
pub use approvals::{Approval, ApprovalBook, Revocation};
pub use backups::{
    Backup, BackupCatalog, BackupCheck, BackupCondition, BackupFailure, Rekeyed, Removal,
};
pub use bounds::{AnchorClaim, Chooser, ProvenTime, TimeBounds};
pub use diff::{ApprovalTurn, Between, KeyTurn, Shift, StateDiff, Turn, Turned};
pub use durations::{Durations, Measure, Measured, RunEnds};
pub use emergency::{Emergency, EmergencyEnd};
pub use explain::{Explained, Explanation, Question, Search};
pub use export::{
    EmergencyExport, IntegrityDetails, IntegrityExport, MigrationHistoryExport, RecoveryLog,
    RecoveryLogExport,
};
pub use history::{Applied, Change, Failure, History};
pub use keys::{KnownKey, KnownKeys, Retirement};
pub use ledger::LedgerRow;
pub use places::{AnchoredHead, Anchors, Home, Move, Store};
pub use proofs::{Proof, ProofBook};
pub use recovery::{
    DriftSummary, IntegritySummary, OpenRun, OpenStep, RecoveryState, RunSummary, SchemaPicture,
    StatementState,
};
pub use replay::{AsOf, Projection, Selection, replay, select};
pub use seen::{SEEN_FORMAT, SeenError, SeenMigration, SeenSet, Sighting};
pub use state::{Counts, LastEvent, PROJECTION_VERSION, Server, State, StateError};
pub use timeline::{Timeline, TimelineEntry, Tone};
pub use trace::{Moment, RunTrace, Span, SpanAttributes, SpanId, SpanStatus, SpanValue, Tracer};
