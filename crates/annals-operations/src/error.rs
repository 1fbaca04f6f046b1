//! Why a verb did not do what was asked: by what has to be looked at next.

use std::fmt;
use std::path::PathBuf;

use annals_event_store::{AppendError, BlobError, OpenError, ReadError};
use annals_executor::ReconcileError;
use annals_keys::KeyFileError;
use annals_migrations::Problem;
use annals_planner::Refusal;
use annals_postgres::sandbox::SandboxError;
use annals_postgres::{ConnectError, Fault, LedgerError};

use crate::config::ConfigError;

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
    Publish(#[source] std::io::Error),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The secret key that signs checkpoints is not here.
    #[error("the secret key of this workspace's logs is missing ({})", .0.display())]
    NoSecretKey(PathBuf),
    /// The public key that verifies checkpoints is not here.
    #[error("the public key that verifies the log is missing ({})", .0.display())]
    NoPublicKey(PathBuf),
    /// Its checkpoint does not vouch for it.
    #[error("the event log in {} does not verify: {reason}", folder.display())]
    Unverified {
        /// The log.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is damaged.
    #[error("the event log in {} is damaged: {reason}", folder.display())]
    Damaged {
        /// The log.
        folder: PathBuf,
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
        "the target {target:?} was migrated with the event log {origin:?} ({rows} changes), which \
         is not the one in {}",
        folder.display()
    )]
    LogElsewhere {
        /// The target.
        target: String,
        /// The log it was migrated with.
        origin: String,
        /// Rows in its ledger.
        rows: usize,
        /// Where the log should be.
        folder: PathBuf,
    },
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
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
            OpenError::Locked { folder, holder } => {
                Self::Locked { what: format!("the event log in {}", folder.display()), holder }
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
        ConfigError::BadUrl { .. } => "correct the URL".to_owned(),
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
        LogFailure::Blob(BlobError::Io { source, .. })
            if source.kind() != std::io::ErrorKind::NotFound =>
        {
            "check permissions and free space, then run the command again"
        }
        LogFailure::Append(_) => "check permissions and free space, then run the command again",
        LogFailure::Open(
            OpenError::Damaged { .. }
            | OpenError::CutTail { .. }
            | OpenError::NeverSigned { .. }
            | OpenError::Checkpoint { .. }
            | OpenError::OtherHistory { .. },
        )
        | LogFailure::Unverified { .. }
        | LogFailure::Damaged { .. } => {
            "nothing was written; keep this copy as evidence, look with `annals log verify`, and \
             restore the log from a copy that verifies"
        }
        LogFailure::Open(OpenError::Read(_)) | LogFailure::Read(ReadError::Missing(_)) => {
            "name the right target, or fetch its log"
        }
        LogFailure::NoSecretKey(_) => {
            "fetch it from where your team keeps it (mode 0600), or set ANNALS_LOG_KEY to its path"
        }
        LogFailure::NoPublicKey(_) => "fetch it, or name it with --key",
        LogFailure::Key(KeyFileError::Exposed { path, .. }) => {
            return Some(format!("chmod 600 {}", path.display()));
        }
        LogFailure::Blob(_) => "restore the blob from a copy of the log",
        LogFailure::Open(OpenError::Locked { .. } | OpenError::Repair { .. })
        | LogFailure::Read(_)
        | LogFailure::Key(_) => return None,
    };
    Some(hint.to_owned())
}

fn target_hint(error: &TargetFailure) -> Option<String> {
    let hint = match error {
        TargetFailure::Connect(ConnectError::Login { .. }) => {
            "check user and password (URL, PGPASSWORD or ~/.pgpass)"
        }
        TargetFailure::Connect(ConnectError::Unreachable { .. }) => {
            "check host, port and whether the server runs"
        }
        TargetFailure::Connect(ConnectError::Url) => "correct the URL",
        TargetFailure::ReadOnly { .. } => {
            "use the URL of the primary, or wait until it takes writes"
        }
        TargetFailure::OtherDatabase { .. } => {
            "use the right URL, or the log that belongs to this database"
        }
        TargetFailure::LogElsewhere { .. } => {
            "fetch the log from where it is kept; annals never starts a second history silently"
        }
        TargetFailure::Reconcile(_) => "run annals status again when the target can be reached",
        TargetFailure::Sandbox(error) => return error.hint(),
        TargetFailure::Ledger(LedgerError::Server(_)) => {
            "the role needs CREATE on the database once, and access to the schema annals"
        }
        TargetFailure::Connect(ConnectError::Unusable { .. })
        | TargetFailure::Fault { .. }
        | TargetFailure::Ledger(_) => return None,
    };
    Some(hint.to_owned())
}
