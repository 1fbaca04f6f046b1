//! What can happen, one variant a fact, in the past tense.
//!
//! A payload's fields stand in alphabetical order: that is the order RFC 8785 gives the stored
//! bytes, and a test checks it for every variant. Payloads carry digests of SQL, never SQL.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::adoption::BaselineAdopted;
use crate::digest::Digest;
use crate::drift::{DriftAccepted, DriftFound, ProofRecorded};
use crate::ids::RunId;
use crate::records::{
    ApprovalGiven, ApprovalRevoked, BackupFailed, BackupRemoved, BackupTaken, BackupVerified,
    CheckpointAnchored, EmergencyDeclared, KeyAdded, KeyRetired, LogMoved, MigrationsSeen,
    StoreInstalled, StoreUpgraded,
};
use crate::recovery::{
    ApproversChanged, BackupRekeyed, BreakGlassReviewed, BreakGlassUsed, EmergencyFinished,
    EmergencyRehearsed, ExternalBackupNamed, RestoreStarted, RowsRestoreStarted, RowsRestored,
    TargetRestored,
};
use crate::version::Version;

/// An event this version of annals does not know: kept and shown, never interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEvent {
    /// Its kind.
    pub kind: String,
    /// Its payload's schema number.
    pub schema: u32,
    /// Its payload as stored.
    pub data: String,
}

macro_rules! events {
    ($( $(#[$doc:meta])* $variant:ident($payload:ident) = $kind:literal, $schema:literal; )*) => {
        /// A recorded fact.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $( $(#[$doc])* $variant($payload), )*
            /// A fact from a newer annals.
            Unknown(UnknownEvent),
        }

        impl Event {
            /// Every kind this version writes.
            pub const KINDS: &'static [&'static str] = &[$($kind),*];

            /// The stored name of the kind.
            pub fn kind(&self) -> &str {
                match self {
                    $( Self::$variant(_) => $kind, )*
                    Self::Unknown(unknown) => &unknown.kind,
                }
            }

            /// The schema number of the payload.
            pub fn schema(&self) -> u32 {
                match self {
                    $( Self::$variant(_) => $schema, )*
                    Self::Unknown(unknown) => unknown.schema,
                }
            }

            pub(crate) fn decode(
                kind: &str, schema: u32, data: &RawValue,
            ) -> Result<Self, serde_json::Error> {
                match (kind, schema) {
                    $( ($kind, $schema) => {
                        serde_json::from_str(data.get()).map(Self::$variant)
                    } )*
                    _ => Ok(Self::Unknown(UnknownEvent {
                        kind: kind.to_owned(), schema, data: data.get().to_owned(),
                    })),
                }
            }

            pub(crate) fn write_data(&self, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
                match self {
                    $( Self::$variant(data) => serde_json::to_writer(line, data), )*
                    Self::Unknown(unknown) => {
                        line.extend_from_slice(unknown.data.as_bytes());
                        Ok(())
                    }
                }
            }
        }

        $( impl From<$payload> for Event {
            fn from(data: $payload) -> Self {
                Self::$variant(data)
            }
        } )*
    };
}

events! {
    /// The log began. Always the first event, and only the first.
    LogCreated(LogCreated) = "log_created", 1;
    /// The log was tied to a database.
    TargetRegistered(TargetRegistered) = "target_registered", 1;
    /// A plan was made and stored.
    PlanMade(PlanMade) = "plan_made", 1;
    /// A plan's execution began.
    RunStarted(RunStarted) = "run_started", 1;
    /// A step is about to touch the target.
    StepStarted(StepStarted) = "step_started", 1;
    /// A statement outside a transaction is about to run.
    StatementStarted(StatementStarted) = "statement_started", 1;
    /// A statement outside a transaction took effect.
    StatementSucceeded(StatementSucceeded) = "statement_succeeded", 1;
    /// A step took effect.
    StepSucceeded(StepSucceeded) = "step_succeeded", 1;
    /// A step did not take effect (or, outside a transaction, not wholly).
    StepFailed(StepFailed) = "step_failed", 1;
    /// A step whose outcome was unknown has been settled from evidence.
    StepReconciled(StepReconciled) = "step_reconciled", 1;
    /// A plan's execution ended.
    RunFinished(RunFinished) = "run_finished", 1;
    /// The schema as a run left it was stored.
    SchemaRecorded(SchemaRecorded) = "schema_recorded", 1;
    /// The target was verified.
    IntegrityChecked(IntegrityChecked) = "integrity_checked", 1;
    /// Unacknowledged bytes after the last event were moved aside.
    TailRepaired(TailRepaired) = "tail_repaired", 1;
    /// A key was added to those that count.
    KeyAdded(KeyAdded) = "key_added", 1;
    /// A key no longer counts.
    KeyRetired(KeyRetired) = "key_retired", 1;
    /// A place outside holds a copy of the log up to a signed head.
    CheckpointAnchored(CheckpointAnchored) = "checkpoint_anchored", 1;
    /// The log goes on in another home.
    LogMoved(LogMoved) = "log_moved", 1;
    /// Tables and functions that keep the log were created in a database.
    StoreInstalled(StoreInstalled) = "store_installed", 1;
    /// They were brought to a newer version.
    StoreUpgraded(StoreUpgraded) = "store_upgraded", 1;
    /// The workspace's migrations were read, and were others than before.
    MigrationsSeen(MigrationsSeen) = "migrations_seen", 1;
    /// A rollback was declared an emergency.
    EmergencyDeclared(EmergencyDeclared) = "emergency_declared", 1;
    /// A person approved a plan.
    ApprovalGiven(ApprovalGiven) = "approval_given", 1;
    /// An approval was taken back.
    ApprovalRevoked(ApprovalRevoked) = "approval_revoked", 1;
    /// A backup was taken.
    BackupTaken(BackupTaken) = "backup_taken", 1;
    /// A backup was verified.
    BackupVerified(BackupVerified) = "backup_verified", 1;
    /// A backup could not be taken.
    BackupFailed(BackupFailed) = "backup_failed", 1;
    /// A backup was removed.
    BackupRemoved(BackupRemoved) = "backup_removed", 1;
    /// What the target says of a change was taken over on a person's word, with its evidence.
    BaselineAdopted(BaselineAdopted) = "baseline_adopted", 1;
    /// The live schema was not what was expected.
    DriftFound(DriftFound) = "drift_found", 1;
    /// On a person's word the live schema is what is expected from now on.
    DriftAccepted(DriftAccepted) = "drift_accepted", 1;
    /// A migration and its rollback were rehearsed.
    ProofRecorded(ProofRecorded) = "proof_recorded", 1;
    /// A restored backup is about to take the place of the target.
    RestoreStarted(RestoreStarted) = "restore_started", 1;
    /// A backup took the place of the target.
    TargetRestored(TargetRestored) = "target_restored", 1;
    /// Others can open a backup from now on.
    BackupRekeyed(BackupRekeyed) = "backup_rekeyed", 1;
    /// An emergency rollback came to its verified end.
    EmergencyFinished(EmergencyFinished) = "emergency_finished", 1;
    /// An emergency rollback was rehearsed on a restored backup.
    EmergencyRehearsed(EmergencyRehearsed) = "emergency_rehearsed", 1;
    /// A run went without a safeguard, on one person's word.
    BreakGlassUsed(BreakGlassUsed) = "break_glass_used", 1;
    /// Somebody looked at such a run afterwards.
    BreakGlassReviewed(BreakGlassReviewed) = "break_glass_reviewed", 1;
    /// Who may approve was changed.
    ApproversChanged(ApproversChanged) = "approvers_changed", 1;
    /// Rows of a backup are about to be put back into the target.
    RowsRestoreStarted(RowsRestoreStarted) = "rows_restore_started", 1;
    /// Rows of a backup were put back into the target.
    RowsRestored(RowsRestored) = "rows_restored", 1;
    /// A run relies on a backup that somebody else keeps.
    ExternalBackupNamed(ExternalBackupNamed) = "external_backup_named", 1;
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident = $word:literal, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $( $(#[$vdoc])* #[serde(rename = $word)] $variant, )*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$( Self::$variant, )*];

            /// The stored word.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

impl Event {
    /// The content beside the log that this event names.
    pub fn blob(&self) -> Option<BlobRef> {
        match self {
            Self::PlanMade(made) => Some(made.plan),
            Self::SchemaRecorded(picture) => Some(picture.snapshot),
            Self::IntegrityChecked(checked) => Some(checked.report),
            Self::MigrationsSeen(seen) => Some(seen.set),
            Self::BackupTaken(taken) => Some(taken.manifest),
            Self::DriftFound(found) => Some(found.report),
            Self::DriftAccepted(accepted) => Some(accepted.report),
            Self::ProofRecorded(proof) => Some(proof.report),
            Self::ApproversChanged(changed) => Some(changed.list),
            Self::BackupRekeyed(rekeyed) => Some(rekeyed.manifest),
            Self::LogCreated(_)
            | Self::TargetRegistered(_)
            | Self::RunStarted(_)
            | Self::StepStarted(_)
            | Self::StatementStarted(_)
            | Self::StatementSucceeded(_)
            | Self::StepSucceeded(_)
            | Self::StepFailed(_)
            | Self::StepReconciled(_)
            | Self::RunFinished(_)
            | Self::TailRepaired(_)
            | Self::KeyAdded(_)
            | Self::KeyRetired(_)
            | Self::CheckpointAnchored(_)
            | Self::LogMoved(_)
            | Self::StoreInstalled(_)
            | Self::StoreUpgraded(_)
            | Self::EmergencyDeclared(_)
            | Self::BaselineAdopted(_)
            | Self::ApprovalGiven(_)
            | Self::ApprovalRevoked(_)
            | Self::BackupVerified(_)
            | Self::BackupFailed(_)
            | Self::BackupRemoved(_)
            | Self::RestoreStarted(_)
            | Self::TargetRestored(_)
            | Self::RowsRestoreStarted(_)
            | Self::RowsRestored(_)
            | Self::ExternalBackupNamed(_)
            | Self::EmergencyFinished(_)
            | Self::EmergencyRehearsed(_)
            | Self::BreakGlassUsed(_)
            | Self::BreakGlassReviewed(_)
            | Self::Unknown(_) => None,
        }
    }
}

words! {
    /// Which way a step goes.
    Direction {
        /// A migration is applied.
        Up = "up",
        /// A migration is rolled back.
        Down = "down",
    }
}

words! {
    /// How a step meets the transaction boundary.
    StepMode {
        /// The whole file and its ledger row in one transaction.
        Transactional = "transactional",
        /// One statement at a time, each with its own intent and outcome.
        StatementByStatement = "statement_by_statement",
    }
}

words! {
    /// What a failed step left behind.
    Effect {
        /// Nothing: it was rolled back or never began.
        None = "none",
        /// The statements before the failing one.
        Partial = "partial",
    }
}

words! {
    /// What the evidence says of a step whose outcome was unknown.
    ReconciledAs {
        /// It took effect.
        TookEffect = "took_effect",
        /// It did not take effect.
        NoEffect = "no_effect",
        /// Some of its statements took effect; the next run continues behind them.
        Partial = "partial",
    }
}

words! {
    /// How a run ended.
    RunOutcome {
        /// Every step took effect.
        Succeeded = "succeeded",
        /// A step failed; the steps before it stand.
        Failed = "failed",
        /// A signal or a lost connection stopped it.
        Interrupted = "interrupted",
    }
}

words! {
    /// The verdict of one family of checks.
    CheckOutcome {
        /// Checked, nothing found.
        Passed = "passed",
        /// Checked, something found.
        Failed = "failed",
        /// Not checked, so nothing is said about it.
        NotChecked = "not_checked",
    }
}

words! {
    /// How much a verification looks at.
    CheckLevel {
        /// The catalog alone.
        Quick = "quick",
        /// The catalog, and what of the data can be checked in bounded time.
        Standard = "standard",
        /// All data.
        Full = "full",
    }
}

/// Content stored beside the log under its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A file as it was when a step used it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// SHA-256 over the statements alone: line ends, BOM, trailing space and comments aside.
    pub canonical: Digest,
    /// File name, without folders.
    pub name: String,
    /// SHA-256 of the bytes.
    pub raw: Digest,
}

/// An error, without SQL values or secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedError {
    /// SQLSTATE, where the server gave one.
    pub code: Option<String>,
    /// Line of the file, from 1.
    pub line: Option<u64>,
    /// The message; at most 2,000 bytes.
    pub message: String,
    /// Statement of the file, from 1.
    pub statement: Option<u64>,
}

impl RecordedError {
    /// An error that is not the server's, and of no place in a file.
    pub fn of_message(message: impl Into<String>) -> Self {
        Self { code: None, line: None, message: message.into(), statement: None }
    }
}

/// Names one step of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepKey {
    /// The run.
    pub run: RunId,
    /// The step's place in the plan, from 0.
    pub step: u64,
}

macro_rules! step_key {
    ($($payload:ident),*) => { $( impl $payload {
        /// The step it speaks of.
        pub fn key(&self) -> StepKey {
            StepKey { run: self.run, step: self.step }
        }
    } )* };
}

step_key!(
    StepStarted,
    StatementStarted,
    StatementSucceeded,
    StepSucceeded,
    StepFailed,
    StepReconciled,
    BaselineAdopted
);

/// See [`Event::LogCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogCreated {
    /// C2SP verifier key of the first checkpoint key.
    pub checkpoint_key: String,
    /// Version of the byte format ([`crate::FORMAT_VERSION`]).
    pub format: u32,
    /// The target's name in the workspace.
    pub target: String,
    /// The workspace's name.
    pub workspace: String,
}

/// See [`Event::TargetRegistered`]. The identity itself is in the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRegistered {
    /// `plain` or `supabase`.
    pub platform: String,
    /// Why another server is the target's from now on, where a person has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// As the server spells it, such as `15.18`.
    pub server_version: String,
}

/// See [`Event::PlanMade`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanMade {
    /// Which way its steps go.
    pub direction: Direction,
    /// The plan; its digest is the plan hash.
    pub plan: BlobRef,
    /// Number of steps.
    pub steps: u64,
}

/// See [`Event::RunStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunStarted {
    /// Which way its steps go.
    pub direction: Direction,
    /// Hash of the plan.
    pub plan: Digest,
    /// The run.
    pub run: RunId,
    /// Number of steps.
    pub steps: u64,
}

/// See [`Event::StepStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepStarted {
    /// Which way.
    pub direction: Direction,
    /// The file that runs.
    pub file: FileRef,
    /// How it meets the transaction boundary.
    pub mode: StepMode,
    /// The migration's name.
    pub name: String,
    /// Which change of this version it is, from 1: odd ones apply it, even ones roll it back.
    pub ordinal: u64,
    /// Going up: the file that would undo it.
    pub rollback: Option<FileRef>,
    /// The run.
    pub run: RunId,
    /// Statements in the file.
    pub statements: u64,
    /// Place in the plan, from 0.
    pub step: u64,
    /// The migration's version.
    pub version: Version,
}

/// See [`Event::StatementStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementStarted {
    /// The run.
    pub run: RunId,
    /// SHA-256 of the statement's text.
    pub sql: Digest,
    /// Place in the file, from 1.
    pub statement: u64,
    /// Place in the plan, from 0.
    pub step: u64,
}

/// See [`Event::StatementSucceeded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementSucceeded {
    /// Microseconds it took.
    pub duration_us: u64,
    /// Set when it was not run again because its effect was found: what was found.
    pub found: Option<String>,
    /// The run.
    pub run: RunId,
    /// Place in the file, from 1.
    pub statement: u64,
    /// Place in the plan, from 0.
    pub step: u64,
}

/// See [`Event::StepSucceeded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSucceeded {
    /// Microseconds from intent to commit.
    pub duration_us: u64,
    /// The run.
    pub run: RunId,
    /// Place in the plan, from 0.
    pub step: u64,
    /// Full transaction id (`xid8`, in decimal) that holds the ledger row.
    pub transaction: String,
}

/// See [`Event::StepFailed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepFailed {
    /// Microseconds from intent to failure.
    pub duration_us: u64,
    /// What is left of it in the target.
    pub effect: Effect,
    /// Why.
    pub error: RecordedError,
    /// The run.
    pub run: RunId,
    /// Place in the plan, from 0.
    pub step: u64,
}

/// What a reconciliation rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Whether the step's ledger row is in the target.
    pub ledger_row: bool,
    /// Statements the target's own journal shows as done; 0 for transactional steps.
    pub statements_done: u64,
    /// Full transaction id of the step, where known.
    pub transaction: Option<String>,
    /// What `pg_xact_status` says of it.
    pub transaction_status: Option<String>,
}

/// See [`Event::StepReconciled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepReconciled {
    /// What was looked at.
    pub evidence: Evidence,
    /// What it says.
    pub found: ReconciledAs,
    /// The run.
    pub run: RunId,
    /// Place in the plan, from 0.
    pub step: u64,
}

/// See [`Event::RunFinished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFinished {
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why, unless it succeeded.
    pub reason: Option<String>,
    /// The run.
    pub run: RunId,
    /// Steps that took effect.
    pub steps_done: u64,
}

/// See [`Event::SchemaRecorded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRecorded {
    /// What the picture is told by: SHA-256 over the digests of its objects.
    pub fingerprint: Digest,
    /// Number of objects in it.
    pub objects: u64,
    /// The run that left it so.
    pub run: Option<RunId>,
    /// Major version of the server; pictures of different majors are not compared.
    pub server_major: u32,
    /// The picture: all of it, or what differs from an earlier one.
    pub snapshot: BlobRef,
    /// The step of the run it was taken after; none for one taken at the end of a run, or of none.
    pub step: Option<u64>,
}

/// A verdict for each family of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckResults {
    /// Constraints present and valid.
    pub constraints: CheckOutcome,
    /// Rows satisfy what the schema promises.
    pub data_consistency: CheckOutcome,
    /// Ledger, log and files agree.
    pub history: CheckOutcome,
    /// Indexes present and valid.
    pub indexes: CheckOutcome,
    /// Policies, row security and grants as expected.
    pub permissions: CheckOutcome,
    /// Tables, columns and other objects as expected.
    pub table_structure: CheckOutcome,
}

/// See [`Event::IntegrityChecked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntegrityChecked {
    /// By family.
    pub checks: CheckResults,
    /// Microseconds from the lock to the verdict; unknown where nobody measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// Number of findings.
    pub findings: u64,
    /// How much was looked at.
    pub level: CheckLevel,
    /// The findings, as JSON.
    pub report: BlobRef,
    /// Failed if any family failed.
    pub result: CheckOutcome,
}

/// See [`Event::TailRepaired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailRepaired {
    /// Bytes moved aside.
    pub bytes: u64,
    /// Their SHA-256.
    pub digest: Digest,
    /// File name below `quarantine/`.
    pub quarantined_as: String,
}
