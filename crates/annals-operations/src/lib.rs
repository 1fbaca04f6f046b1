//! One function for each verb: wires the crates; owns the clock, the identifiers and the workspace.
//!
//! Nothing here reads the process environment or touches the terminal: both come in as arguments.

mod adopt;
mod adoptable;
mod anchors;
mod approvals;
mod approve;
mod approvers;
mod backup;
mod backup_config;
mod backup_keys;
mod backups;
mod book;
mod cache;
mod ci;
mod clock;
mod config;
mod copies;
mod create;
mod diverged;
mod drift;
mod drill;
mod durations;
mod emergency;
mod environment;
mod error;
mod examine;
mod exhibit;
mod explain;
mod export;
mod git;
mod health;
mod home;
mod init;
mod journal;
mod judge;
mod keys;
mod ledger;
mod locks;
mod log_keeper;
mod logs;
mod losses;
mod metrics;
mod migrate;
mod moment;
mod monitoring;
mod moving;
mod open;
mod orphans;
mod pictures;
mod pipelines;
mod planfile;
mod preflight;
mod proof;
mod proven;
mod prune;
mod recorder;
mod rekey;
mod replay;
mod restore;
mod restore_gate;
mod restore_in_place;
mod restore_rows;
mod restore_surroundings;
mod restore_target;
mod safeguard;
mod sandbox;
mod schema;
mod scratch;
mod settle;
mod show;
mod sighting;
mod status;
mod swap;
mod targets;
mod timeline;
mod traces;
mod track;
mod twin;
mod unfinished;
mod upgraded;
mod verify;
mod way_back;
mod wish;
mod workspace;

pub use annals_verify::{DamageClass, EventProofError, ProvenEvent, Report as LogReport, Tone};

pub use adopt::{AdoptFrom, AdoptOptions, Adoption, AdoptionEntry, adopt};
pub use anchors::Anchored;
pub use annals_approvals as approval;
pub use annals_archive::{ArchiveError, Phase as BackupPhase, Watcher as BackupWatcher};
pub use annals_backup::SecretText;
pub use annals_ci as pipeline;
pub use annals_executor::{
    Advance, Interrupt, InterruptHandle, NoProgress, Patience, Progress, RunEnd, RunReport,
    Unrecorded, lost_to_others,
};
pub use annals_integrity::CheckFamily;
pub use annals_postgres::{Activity, Blocker, CheckProgress, Ended, RowCount, Storage, TableState};
pub use annals_projections::{Durations, Measure, Measured};
pub use annals_proof as rehearsal;
pub use approvals::Authority;
pub use approve::{
    ApproveOptions, Approved, PlanReview, Review, Signer, approve, approve_revoke, glass_review,
    review_plan,
};
pub use approvers::{
    ApproverSource, ApproversView, NewApprover, approver_add, approver_admit, approver_list,
    approver_sign,
};
pub use backup::{BackupKind, BackupOptions, TakenBackup, backup};
pub use backup_config::{BackupConfig, KeySource, PassphraseSource};
pub use backups::{
    BackupCheckView, BackupListView, BackupRow, BackupShowView, BackupTrouble, VerifyBackupOptions,
    backup_list, backup_show, backup_verify,
};
pub use ci::{CiTestOptions, CiValidateOptions, ci_folder, ci_test, ci_validate};
pub use clock::{Clock, IdSource, SystemClock, SystemIds};
pub use config::{CiConfig, Config, ConfigError, DriftPolicy, ProofDemand, ProofPolicy};
pub use copies::{ExportTo, Exported, log_anchor, log_check_proof, log_export, log_prove};
pub use create::{Created, create};
pub use diverged::{Divergence, LostChange};
pub use drift::{
    AcceptedDrift, DdlCommand, DriftRefusal, DriftView, DriftedAttribute, DriftedObject,
    NotCompared, drift, drift_accept, with_parts,
};
pub use drill::{Drill, DrillOptions, drill};
pub use durations::{DurationRow, DurationsView, durations};
pub use emergency::{
    EmergencyLook, EmergencyOptions, EmergencyOutcome, Journaled, LookWithoutLog, StepWithoutLog,
    emergency, emergency_look, target_name,
};
pub use environment::{Asks, Environment, Question};
pub use error::{AnchorFailure, Failure, LogFailure, TargetFailure};
pub use explain::{ExplainView, Reading, explain};
pub use export::{Export, ExportKind, export, write_export};
pub use health::{
    BackupHealth, DatabaseHealth, HealthView, IntegrityHealth, LogHealth, MigrationHealth, Monitor,
    Named, PerformanceView, Reason, RunHealth, Standing, TablesView,
};
pub use init::{Initialized, init};
pub use keys::{
    GeneratedKey, KeyStanding, KeyView, RotatedLog, Rotation, generate_approver_key,
    generate_log_key, list_keys, retire_key, rotate_log_key,
};
pub use locks::{LocksView, LogLock, StepAt, locks};
pub use log_keeper::LogFacts;
pub use logs::LogSource;
pub use losses::{StepLoss, loss_in_words, rows_lost};
pub use metrics::TargetMetrics;
pub use migrate::{
    ChangeOptions, ChangeOutcome, PlanPreview, UpGoal, carry_out_plan, migrate, plan, rollback,
};
pub use moment::{Moment, parse_moment, parse_time};
pub use monitoring::{Budgets, GroupConfig, Monitoring};
pub use moving::{MoveTo, MovedLog, log_migrate};
pub use open::Recovered;
pub use orphans::{AdoptedBackup, backup_adopt};
pub use pipelines::{PipelineFile, PipelineKind, Pipelines, Written, init_pipelines};
pub use planfile::{PlanFile, plan_out};
pub use proof::{ProofFrom, ProofOf, ProofOptions, ProofView, proof};
pub use proven::ProofState;
pub use prune::{PruneOptions, PruneView, PrunedBackup, backup_prune};
pub use rekey::{
    BackupKeyRotation, BackupKeyView, RekeyOptions, RekeyView, RekeyedBackup, backup_rekey,
    list_backup_keys, rotate_backup_key,
};
pub use replay::{Basis, DiffView, HistoryView, Pending, StateView, Vantage, diff, history, state};
pub use restore::{RestoreOptions, RestoreView, restore};
pub use restore_gate::RestoreRight;
pub use restore_rows::{
    KeysFound, RowsRestore, RowsRestoreDone, RowsRestoreOptions, TableRows, WantedRows,
    restore_rows,
};
pub use restore_target::{
    RestoreDone, TableLoss, TargetRestore, TargetRestoreOptions, restore_target,
};
pub use safeguard::{BackupPolicy, ExternalBackup};
pub use sandbox::{OtherMajor, PrivateServer, SandboxInfo, sandbox_start, sandbox_stop};
pub use schema::{
    LogMoment, SchemaDiff, SchemaSource, SchemaView, parse_schema_source, schema_diff, schema_show,
};
pub use show::{LogView, VerifyOptions, log_show, log_verify};
pub use status::StatusRow;
pub use status::{Condition, StatusView, status};
pub use targets::SANDBOX_TARGET;
pub use timeline::{Follower, TimelineOptions, TimelineView, follow, timeline};
pub use traces::TracesTo;
pub use track::{TrackView, drift_track, drift_untrack};
pub use upgraded::{Upgrade, UpgradeOptions, adopt_upgraded};
pub use verify::{IntegrityOptions, VerifyView, verify};
pub use way_back::WayBack;
pub use wish::{RolledGoal, Wish};
pub use workspace::Workspace;
