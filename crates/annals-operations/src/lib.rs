//! One function for each verb: wires the crates; owns the clock, the identifiers and the workspace.
//!
//! Nothing here reads the process environment or touches the terminal: both come in as arguments.

mod adopt;
mod adoptable;
mod anchors;
mod backup;
mod backups;
mod book;
mod cache;
mod clock;
mod config;
mod copies;
mod create;
mod diverged;
mod drift;
mod environment;
mod error;
mod examine;
mod exhibit;
mod explain;
mod export;
mod home;
mod init;
mod keys;
mod locks;
mod logs;
mod migrate;
mod moment;
mod moving;
mod open;
mod pictures;
mod preflight;
mod proof;
mod proven;
mod recorder;
mod replay;
mod restore;
mod sandbox;
mod schema;
mod settle;
mod show;
mod sighting;
mod status;
mod targets;
mod timeline;
mod track;
mod unfinished;
mod upgraded;
mod verify;
mod workspace;

pub use annals_verify::{DamageClass, EventProofError, ProvenEvent, Report as LogReport, Tone};

pub use adopt::{AdoptFrom, AdoptOptions, Adoption, AdoptionEntry, adopt};
pub use anchors::Anchored;
pub use annals_archive::{ArchiveError, Phase as BackupPhase, Watcher as BackupWatcher};
pub use annals_executor::{
    Advance, Interrupt, InterruptHandle, NoProgress, Patience, Progress, RunEnd, RunReport,
    Unrecorded, lost_to_others,
};
pub use annals_integrity::CheckFamily;
pub use annals_postgres::{Blocker, CheckProgress};
pub use annals_proof as rehearsal;
pub use backup::{BackupKind, BackupOptions, TakenBackup, backup};
pub use backups::{
    BackupCheckView, BackupListView, BackupRow, BackupShowView, BackupTrouble, PruneOptions,
    PruneView, PrunedBackup, VerifyBackupOptions, backup_list, backup_prune, backup_show,
    backup_verify,
};
pub use clock::{Clock, IdSource, SystemClock, SystemIds};
pub use config::{Config, ConfigError, DriftPolicy, ProofDemand, ProofPolicy};
pub use copies::{ExportTo, Exported, log_anchor, log_check_proof, log_export, log_prove};
pub use create::{Created, create};
pub use diverged::{Divergence, LostChange};
pub use drift::{
    AcceptedDrift, DdlCommand, DriftRefusal, DriftView, DriftedAttribute, DriftedObject,
    NotCompared, drift, drift_accept, with_parts,
};
pub use environment::Environment;
pub use error::{AnchorFailure, Failure, LogFailure, TargetFailure};
pub use explain::{ExplainView, Reading, explain};
pub use export::{Export, ExportKind, export, write_export};
pub use init::{Initialized, init};
pub use keys::{
    GeneratedKey, KeyStanding, KeyView, RotatedLog, Rotation, generate_approver_key,
    generate_log_key, list_keys, retire_key, rotate_log_key,
};
pub use locks::{LocksView, LogLock, StepAt, locks};
pub use logs::LogSource;
pub use migrate::{
    ChangeOptions, ChangeOutcome, PlanPreview, RolledGoal, UpGoal, migrate, plan, rollback,
};
pub use moment::{Moment, parse_moment};
pub use moving::{MoveTo, MovedLog, log_migrate};
pub use open::Recovered;
pub use proof::{ProofOf, ProofOptions, ProofView, proof};
pub use proven::ProofState;
pub use replay::{Basis, DiffView, HistoryView, Pending, StateView, Vantage, diff, history, state};
pub use restore::{RestoreOptions, RestoreView, restore};
pub use sandbox::{OtherMajor, PrivateServer, SandboxInfo, sandbox_start, sandbox_stop};
pub use schema::{
    LogMoment, SchemaDiff, SchemaSource, SchemaView, parse_schema_source, schema_diff, schema_show,
};
pub use show::{LogView, VerifyOptions, log_show, log_verify};
pub use status::StatusRow;
pub use status::{Condition, StatusView, status};
pub use targets::SANDBOX_TARGET;
pub use timeline::{Follower, TimelineOptions, TimelineView, follow, timeline};
pub use track::{TrackView, drift_track, drift_untrack};
pub use upgraded::{Upgrade, UpgradeOptions, adopt_upgraded};
pub use verify::{IntegrityOptions, VerifyView, verify};
pub use workspace::Workspace;
