//! Why a verb did not do what was asked: by what has to be looked at next.

use std::fmt;
use std::path::PathBuf;

use annals_anchor::AnchorError;
use annals_event_store::{AppendError, BlobError, OpenError, ReadError};
use annals_event_store_postgres::{InstallError, StoreFault};
use annals_events::SealError;
use annals_executor::ReconcileError;
use annals_keys::KeyFileError;
use annals_migrations::Problem;
use annals_planner::Refusal;
use annals_postgres::sandbox::SandboxError;
use annals_postgres::{Blocker, ConnectError, Fault, LedgerError, TrackError};

use crate::backups::BackupTrouble;
use crate::config::ConfigError;
use crate::diverged::{Divergence, WAYS_OUT};
use crate::drift::DriftRefusal;
use crate::journal::stands_for;

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogFailure {
    /// It cannot be opened for writing.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An event was not appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A blob is missing or altered.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The checkpoint could not be published.
    #[error("cannot publish the checkpoint")]
    Publish(#[source] annals_event_store::StoreError),
    /// The database that holds it.
    #[error("the event log in {place}: {fault}")]
    Store {
        /// The database.
        place: String,
        /// Why.
        fault: StoreFault,
    },
    /// The tables that hold it cannot be made.
    #[error("the event log in {place}: {error}")]
    Install {
        /// The database.
        place: String,
        /// Why.
        error: InstallError,
    },
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The secret key that signs checkpoints is not here.
    #[error("the secret key of this workspace's logs is missing ({})", .0.display())]
    NoSecretKey(PathBuf),
    /// The secret key does not belong to a public key in force.
    #[error(
        "the secret key in {} is none of those in force in {}",
        secret.display(),
        public.display()
    )]
    KeyNotInForce {
        /// The secret key.
        secret: PathBuf,
        /// The public keys.
        public: PathBuf,
    },
    /// The log itself says that its key was retired.
    #[error(
        "the log says that its key {key} was retired at {size} events: its rotation was cut short"
    )]
    KeyRetired {
        /// The key.
        key: String,
        /// The largest size it counts for.
        size: u64,
    },
    /// The public key that verifies checkpoints is not here.
    #[error("the public key that verifies the log is missing ({})", .0.display())]
    NoPublicKey(PathBuf),
    /// Its checkpoint does not vouch for it.
    #[error("the event log in {place} does not verify: {reason}")]
    Unverified {
        /// The log.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// It is damaged.
    #[error("the event log in {place} is damaged: {reason}")]
    Damaged {
        /// The log.
        place: String,
        /// What and where.
        reason: String,
    },
}

/// What is wrong with a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetFailure {
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It answered with an error.
    #[error("the target {target:?}: {fault}")]
    Fault {
        /// The target.
        target: String,
        /// The error.
        fault: Fault,
    },
    /// Others are changing its schema, which cannot be read meanwhile.
    #[error(
        "the schema of the target {target:?} cannot be read: {fault}, after {waited_s} s{}",
        held_by(by)
    )]
    SchemaHeld {
        /// The target.
        target: String,
        /// Seconds they were waited for.
        waited_s: u64,
        /// Who has relations locked; empty where it was over by then.
        by: Vec<Blocker>,
        /// What the server said last.
        fault: Fault,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A step of an earlier run cannot be settled.
    #[error("a step of an interrupted run cannot be settled: {0}")]
    Reconcile(#[from] ReconcileError),
    /// It takes no writes.
    #[error("the target {target:?} ({address}) is {why}: it takes no writes")]
    ReadOnly {
        /// The target.
        target: String,
        /// Where it is.
        address: String,
        /// A standby, or read-only.
        why: &'static str,
    },
    /// It is not the database the log speaks of.
    #[error("the target {target:?} is {found}, but its log speaks of {expected}")]
    OtherDatabase {
        /// The target.
        target: String,
        /// What is there.
        found: String,
        /// What the log says.
        expected: String,
    },
    /// It was migrated with a log that is not here.
    #[error(
        "the target {target:?} was migrated with the event log {origin:?} ({rows} changes, at least \
         {size} events, {}… the last of them), which is not the one in {place}: {}",
        leaf.short(12), here.as_deref().unwrap_or("there is none")
    )]
    LogElsewhere {
        /// The target.
        target: String,
        /// The log it was migrated with.
        origin: String,
        /// Rows in its ledger.
        rows: usize,
        /// Events that log has at least.
        size: u64,
        /// Leaf hash of the last of them.
        leaf: annals_events::LeafHash,
        /// Where the log should be.
        place: String,
        /// What is there, if anything.
        here: Option<String>,
    },
    /// It has lost what the log says took effect.
    #[error("{0}")]
    Diverged(Box<Divergence>),
    /// Its schema is not as expected.
    #[error("{0}")]
    Drifted(Box<DriftRefusal>),
    /// Its schema was recorded on another major version: nothing can be compared.
    #[error(
        "the schema of {target:?} was recorded on PostgreSQL {expected}, the server is {live} now: the \
         two cannot be compared; nothing was run"
    )]
    OtherMajor {
        /// The target.
        target: String,
        /// Major version of the server it was recorded on.
        expected: u32,
        /// Major version of the server now.
        live: u32,
    },
    /// DDL cannot be written down there.
    #[error("the target {target:?}: {error}")]
    Track {
        /// The target.
        target: String,
        /// Why.
        error: TrackError,
    },
    /// Another server has taken over while a step was in doubt.
    #[error(
        "the target {target:?} was on timeline {then} when {step} was begun and is on timeline {now} \
         now: another server has taken over. {step} has no effect there, and is not run again by \
         itself"
    )]
    TakenOver {
        /// The target.
        target: String,
        /// Timeline of the server the step was begun on.
        then: u32,
        /// Timeline of the server that answers.
        now: u32,
        /// `<version>_<name>`.
        step: String,
    },
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// An anchor that did not take the log, or contradicts it.
#[derive(Debug, thiserror::Error)]
#[error("the anchor {anchor:?}: {error}")]
pub struct AnchorFailure {
    /// Its name in the workspace.
    pub anchor: String,
    /// Why.
    #[source]
    pub error: AnchorError,
}

impl AnchorFailure {
    /// Whether the anchor holds what cannot be true beside this log.
    pub fn contradicts(&self) -> bool {
        matches!(
            self.error,
            AnchorError::Ahead { .. }
                | AnchorError::Fork { .. }
                | AnchorError::Unverified { .. }
                | AnchorError::ForeignOrigin { .. }
                | AnchorError::Conflict { .. }
        )
    }
}

/// Why a verb did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration or the arguments.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The files.
    #[error("{}", Listed(.0))]
    Files(Vec<Problem>),
    /// There is no plan.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogFailure),
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetFailure),
    /// An anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorFailure),
    /// The policy asks for more anchors than hold the log.
    #[error(
        "{holding} anchors hold the log of {target:?}, policy.require_anchors asks for {required}: \
         {}",
        problems.join("; ")
    )]
    FewAnchors {
        /// The target.
        target: String,
        /// Anchors that hold it.
        holding: usize,
        /// Anchors that must.
        required: usize,
        /// Why the others do not.
        problems: Vec<String>,
    },
    /// The rollbacks are known not to lead back.
    #[error("{step}: {reason}")]
    NoWayBack {
        /// `<version>_<name>`.
        step: String,
        /// Why.
        reason: String,
    },
    /// The policy asks for rehearsals that are not there.
    #[error(
        "targets.{target}.proof asks for an accepted proof of every migration, and {} not: {}",
        if unproven.len() == 1 { "one has".to_owned() } else { format!("{} have", unproven.len()) },
        unproven.iter().map(|(id, why)| format!("{id} ({why})")).collect::<Vec<_>>().join(", ")
    )]
    NotProven {
        /// The target.
        target: String,
        /// `<version>_<name>` of each, and in a word why.
        unproven: Vec<(String, &'static str)>,
    },
    /// What was to be done is not approved.
    #[error("{what}: {}", reasons.join("; "))]
    NotApproved {
        /// What was to be done.
        what: String,
        /// Everything that is missing or wrong.
        reasons: Vec<String>,
        /// What to type next.
        hint: String,
    },
    /// A rehearsal could not be held.
    #[error(transparent)]
    Rehearsal(#[from] annals_proof::RehearsalError),
    /// A backup.
    #[error(transparent)]
    Backup(#[from] BackupTrouble),
    /// Another run is at it.
    #[error("{what} is locked by {holder}")]
    Locked {
        /// The target or the log.
        what: String,
        /// Who.
        holder: String,
    },
    /// An argument.
    #[error("{subject}: {reason}")]
    Argument {
        /// What was given.
        subject: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// A file of the workspace cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A stop was asked for before anything was done.
    #[error("stopped on request; nothing was done")]
    Interrupted,
}

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Locked { place, holder } => {
                Self::Locked { what: format!("the event log in {place}"), holder }
            }
            error => Self::Log(error.into()),
        }
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        Self::Target(error.into())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Target(error.into())
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Target(error.into())
    }
}

impl Failure {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Config(error) => return config_hint(error),
            Self::Files(_) => "correct the files; nothing was done",
            Self::Refused(refusal) => return refusal.reasons.first().map(|reason| reason.hint()),
            Self::Log(error) => return log_hint(error),
            Self::Target(error) => return target_hint(error),
            Self::Anchor(failure) if failure.contradicts() => {
                "keep this copy of the log and the anchor's as evidence, and compare them with: annals \
                 log verify"
            }
            Self::Anchor(failure) => failure.error.next_step(),
            Self::FewAnchors { .. } => {
                "nothing was done; bring the anchors back, and publish with: annals log anchor"
            }
            Self::NoWayBack { .. } => "bring a backup back: annals backup list",
            Self::NotProven { target, .. } => {
                return Some(format!(
                    "nothing was done; rehearse them with: annals proof --target {target}"
                ));
            }
            Self::NotApproved { hint, .. } => return Some(hint.clone()),
            Self::Rehearsal(annals_proof::RehearsalError::Before { .. }) => {
                "nothing was changed; the sandbox is built from the files, so what is applied must still \
                 apply to an empty database"
            }
            Self::Rehearsal(_) => "nothing was changed; run it again",
            Self::Backup(trouble) => return trouble.hint(),
            Self::Locked { .. } => {
                "wait until it has ended; if it was killed, its lock has ended too"
            }
            Self::Argument { .. } => "correct it and run the command again; nothing was changed",
            Self::Interrupted => return None,
            Self::Write { .. } => "check permissions and free space",
        };
        Some(hint.to_owned())
    }
}

fn config_hint(error: &ConfigError) -> Option<String> {
    let hint = match error {
        ConfigError::NoWorkspace(_) => "make this folder a workspace with: annals init".to_owned(),
        ConfigError::IsWorkspace(_) => {
            "go on there with: annals create <name>; nothing was changed".to_owned()
        }
        ConfigError::BadUrl { error, .. } => error.hint(),
        ConfigError::UnknownTarget { .. } | ConfigError::NoTarget { .. } => {
            "name one with --target, or use the built-in one with --sandbox".to_owned()
        }
        ConfigError::NoUrl { variable, .. } => {
            format!("set it, like: export {variable}=postgres://user@host:5432/database")
        }
        ConfigError::Io { .. } => "check that it may be read".to_owned(),
        ConfigError::Syntax { .. } | ConfigError::Value { .. } => {
            "correct it; nothing was done".to_owned()
        }
    };
    Some(hint)
}

fn log_hint(error: &LogFailure) -> Option<String> {
    let hint = match error {
        LogFailure::Open(OpenError::Newer { .. }) => "use the newer annals for this log",
        LogFailure::Open(OpenError::Older { .. }) => {
            "fetch the newest copy of the log; nothing was written"
        }
        LogFailure::Open(OpenError::Io { .. }) => {
            "check permissions and free space; nothing was changed in the target"
        }
        LogFailure::Publish(_) => {
            "check permissions and free space; every event is recorded, and the next command signs \
             them"
        }
        LogFailure::Blob(BlobError::Io { .. }) => {
            "check permissions and free space, then run the command again"
        }
        LogFailure::Store { fault: StoreFault::Connect(_), .. } => {
            "check host, port, user and password of the database that holds the log (event_store)"
        }
        LogFailure::Store { fault: StoreFault::Newer { .. }, .. }
        | LogFailure::Install { error: InstallError::Newer { .. }, .. } => {
            "use the newer annals for this log"
        }
        LogFailure::Install { .. } => {
            "let a role that may create schemas install it once: run any command that writes as that \
             role"
        }
        LogFailure::Store { .. } => "check the database that holds the log (event_store)",
        LogFailure::Append(AppendError::Refused(SealError::ClockWentBack { .. })) => {
            "set this machine's clock right; where it was ahead before, the log takes events again \
             when the time of its last one has come"
        }
        LogFailure::Append(_) => "check permissions and free space, then run the command again",
        LogFailure::Open(
            OpenError::Damaged { .. }
            | OpenError::CutTail { .. }
            | OpenError::NeverSigned { .. }
            | OpenError::Checkpoint { .. }
            | OpenError::OtherHistory { .. }
            | OpenError::Forked { .. },
        )
        | LogFailure::Unverified { .. }
        | LogFailure::Damaged { .. } => {
            "nothing was written; keep this copy as evidence, look with `annals log verify`, and \
             restore the log from a copy that verifies"
        }
        LogFailure::Open(OpenError::Read(_)) | LogFailure::Read(ReadError::Missing(_)) => {
            "name the right target, or fetch its log"
        }
        LogFailure::Open(OpenError::Moved { .. }) => {
            "say in annals.toml where it lives now: event_store of the target"
        }
        LogFailure::KeyNotInForce { .. } => {
            "fetch the newest key of your team; a retired one signs nothing more. If a rotation was \
             cut short here, finish it: annals keys rotate"
        }
        LogFailure::KeyRetired { .. } => {
            "fetch the newest keys of your team, or finish the rotation here: annals keys rotate"
        }
        LogFailure::NoSecretKey(_) => {
            "fetch it from where your team keeps it (mode 0600), or set ANNALS_LOG_KEY to its path"
        }
        LogFailure::NoPublicKey(_) => "fetch it, or name it with --key",
        LogFailure::Key(KeyFileError::Exposed { path, .. }) => {
            return Some(format!("chmod 600 {}", path.display()));
        }
        LogFailure::Blob(_) => "restore the blob from a copy of the log",
        LogFailure::Open(
            OpenError::Locked { .. } | OpenError::Repair { .. } | OpenError::Exists { .. },
        )
        | LogFailure::Read(_)
        | LogFailure::Key(_) => return None,
    };
    Some(hint.to_owned())
}

/// The end of a sentence that names who holds something; nothing where nobody was seen.
fn held_by(by: &[Blocker]) -> String {
    match by {
        [] => String::new(),
        by => format!(
            ": held by {}",
            by.iter().map(Blocker::to_string).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn target_hint(error: &TargetFailure) -> Option<String> {
    let hint = match error {
        TargetFailure::Connect(error) => return error.hint(),
        TargetFailure::ReadOnly { .. } => {
            "use the URL of the primary, or wait until it takes writes"
        }
        TargetFailure::OtherDatabase { .. } => {
            "use the right URL, or the log that belongs to this database; if it is the same database on \
             another server (pg_upgrade, or a restored dump), say so: annals adopt --upgraded"
        }
        TargetFailure::LogElsewhere { origin, .. } if stands_for(origin).is_some() => {
            "an emergency went without the log, somewhere else: its journal is in the folder journal/ of \
             the workspace it was declared in. Run annals status there, with the log in reach: it \
             becomes part of it"
        }
        TargetFailure::LogElsewhere { .. } => {
            "fetch the log from where it is kept (another checkout, an anchor, or the database that \
             event_store names); if it is lost for good, take over with: annals adopt"
        }
        TargetFailure::SchemaHeld { .. } => {
            "run the command again when they are done; timeouts.max_blocked and policy.lock_retries say \
             how long is waited"
        }
        TargetFailure::Diverged(_) => WAYS_OUT,
        TargetFailure::Drifted(_) => {
            "look with: annals drift. Undo what was changed; or take it over, recorded: annals drift \
             accept --reason '…'; or go on this once: --allow-drift"
        }
        TargetFailure::OtherMajor { .. } => {
            "take the schema as it is after the upgrade, recorded: annals drift accept --reason '…'"
        }
        TargetFailure::Track { error: TrackError::NotAllowed { .. }, .. } => {
            "run it once as a superuser (on Supabase as postgres); without it annals drift knows the \
             interval between two looks, not who it was"
        }
        TargetFailure::TakenOver { .. } => {
            "find out whether the server before has it; to go on with this one, run the command again"
        }
        TargetFailure::Reconcile(ReconcileError::StillAtWork { pid, .. }) => {
            return Some(format!(
                "wait until it has ended, or end it: SELECT pg_terminate_backend({pid}); then run the \
                 command again"
            ));
        }
        TargetFailure::Reconcile(_) => "run annals status again when the target can be reached",
        TargetFailure::Sandbox(error) => return error.hint(),
        TargetFailure::Ledger(LedgerError::Server(_)) => {
            "the role needs CREATE on the database once, and access to the schema annals"
        }
        TargetFailure::Fault { .. }
        | TargetFailure::Ledger(_)
        | TargetFailure::Track { error: TrackError::Fault(_), .. } => return None,
    };
    Some(hint.to_owned())
}
