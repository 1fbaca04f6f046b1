//! Exit codes: what a script may act on.

use annals_event_store::{BlobError, OpenError, ReadError};
use annals_operations::rehearsal::RehearsalError;
use annals_operations::{
    ArchiveError, BackupTrouble, ChangeOutcome, ConfigError, Failure, LogFailure, LogReport,
    RunEnd, TargetFailure, lost_to_others,
};
use annals_postgres::DumpError;
use annals_postgres::sandbox::SandboxError;

macro_rules! exit_codes {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $code:literal, )*) => {
        /// What a command's end means. The numbers never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ExitCode {
            $( $(#[doc = $doc])+ $variant = $code, )*
        }

        impl ExitCode {
            /// Every code with its meaning, for the documentation.
            pub const ALL: &'static [(Self, &'static str)] =
                &[$( (Self::$variant, concat!($($doc),+)), )*];
        }
    };
}

exit_codes! {
    /// Done, or nothing to do.
    Success = 0,
    /// Something unexpected; please report it.
    Unexpected = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// Refused: files, configuration, arguments or history do not allow it. Nothing was changed.
    Refused = 3,
    /// A step failed and left nothing; the steps before it stand.
    StepFailed = 4,
    /// A step outside a transaction stopped half-way; the next run continues it.
    HalfDone = 5,
    /// The outcome of a commit is unknown and the target cannot be asked; the next command settles it.
    InDoubt = 6,
    /// The target cannot be reached, refuses the login, takes no writes, or was lost during a run.
    TargetUnavailable = 7,
    /// Another run holds the target or the log.
    Locked = 8,
    /// The event log is damaged, cut, older than its checkpoint, or from a newer annals.
    LogRefused = 9,
    /// The event log could not be written. Applied steps it does not show yet are named.
    LogUnwritable = 10,
    /// Verification found something wrong, or the last of a kind took longer than its budget.
    Findings = 11,
    /// No PostgreSQL server is installed for the sandbox, or none of the major version it must have.
    NoServer = 12,
    /// The log could not be anchored as the policy asks, or an anchor contradicts it.
    Unanchored = 13,
    /// The target has lost changes the log says took effect (failover, restore). Nothing was run.
    Diverged = 14,
    /// A step lost against others (locks, deadlocks, serialization) as often or as long as allowed, and
    /// left nothing. The file is fine: run it again at a better moment.
    StepBlocked = 15,
    /// The live schema is not what is expected: nothing was run.
    Drifted = 16,
    /// A migration and its rollback are not proven as the policy asks.
    NotProven = 17,
    /// A backup could not be taken, read or restored. The target was not changed, and nothing that looks
    /// like a backup or a restored database was left.
    BackupFailed = 18,
    /// The plan is not approved as the policy asks, or something has voided it. Nothing was run.
    NotApproved = 19,
    /// Log verification: a line, a tile or a blob is not what it must be by itself.
    LogContent = 20,
    /// Log verification: an event does not name the one before it.
    LogLink = 21,
    /// Log verification: an event, a file, a time or a name stands where it cannot.
    LogOrder = 22,
    /// Log verification: the log is shorter than its checkpoint says.
    LogCutTail = 23,
    /// Log verification: a head kept elsewhere is larger than the log.
    LogOlderCopy = 24,
    /// Log verification: two signed heads do not fit each other; the evidence is written.
    LogFork = 25,
    /// Log verification: there is no checkpoint, or a known key's signature does not fit.
    LogSignature = 26,
    /// Log verification: no key that counts has signed the checkpoint.
    LogUnknownKey = 27,
    /// Log verification: fewer heads kept elsewhere fit than are asked for.
    LogFewAnchors = 28,
    /// Log verification: something cannot be read, or is no log.
    LogUnreadable = 29,
    /// Log verification: there is no whole event.
    LogNothing = 30,
    /// Log verification: every line links, but they are not the ones that were signed.
    LogNotSigned = 31,
    /// Stopped on request (Ctrl-C, SIGTERM).
    Interrupted = 130,
}

impl ExitCode {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code of a command that did not begin.
    pub fn of_failure(failure: &Failure) -> Self {
        match failure {
            Failure::Config(ConfigError::NoUrl { .. } | ConfigError::BadUrl { .. }) => {
                Self::TargetUnavailable
            }
            Failure::Config(_)
            | Failure::Files(_)
            | Failure::Refused(_)
            | Failure::Argument { .. }
            | Failure::Write { .. } => Self::Refused,
            Failure::Log(error) => Self::of_log_failure(error),
            Failure::Target(error) => Self::of_target_failure(error),
            Failure::Anchor(_) | Failure::FewAnchors { .. } => Self::Unanchored,
            Failure::NotProven { .. } => Self::NotProven,
            Failure::NoWayBack { .. } => Self::Refused,
            Failure::NotApproved { .. } => Self::NotApproved,
            Failure::Rehearsal(RehearsalError::File(_) | RehearsalError::Before { .. }) => {
                Self::Refused
            }
            Failure::Rehearsal(_) => Self::TargetUnavailable,
            Failure::Backup(trouble) => Self::of_backup_trouble(trouble),
            Failure::Locked { .. } => Self::Locked,
            Failure::Interrupted => Self::Interrupted,
        }
    }

    fn of_backup_trouble(trouble: &BackupTrouble) -> Self {
        match trouble {
            BackupTrouble::Archive(ArchiveError::Connect(_)) => Self::TargetUnavailable,
            BackupTrouble::Archive(ArchiveError::Fault(fault)) if fault.ends_session() => {
                Self::TargetUnavailable
            }
            BackupTrouble::Archive(
                ArchiveError::Hidden(_)
                | ArchiveError::NotReadable(_)
                | ArchiveError::NoTable { .. }
                | ArchiveError::NotOurs(_)
                | ArchiveError::Dump(DumpError::NotInstalled { .. } | DumpError::TooOld { .. }),
            )
            | BackupTrouble::NoKey(_)
            | BackupTrouble::KeySource { .. }
            | BackupTrouble::NotAsRecorded { .. }
            | BackupTrouble::Unknown { .. }
            | BackupTrouble::Ambiguous { .. }
            | BackupTrouble::None(_)
            | BackupTrouble::DatabaseExists(_)
            | BackupTrouble::CannotTakePlace { .. }
            | BackupTrouble::CannotPutBack { .. }
            | BackupTrouble::NotConfirmed { .. } => Self::Refused,
            BackupTrouble::StillConnected { .. } => Self::Locked,
            BackupTrouble::PlaceUnknown { .. } => Self::TargetUnavailable,
            BackupTrouble::NotEqual(_) => Self::Findings,
            BackupTrouble::Archive(_)
            | BackupTrouble::Container(_)
            | BackupTrouble::NoExternal(_)
            | BackupTrouble::NotKept(_)
            | BackupTrouble::NoKeyOpens { .. } => Self::BackupFailed,
        }
    }

    fn of_log_failure(error: &LogFailure) -> Self {
        match error {
            LogFailure::Blob(BlobError::Damaged { .. } | BlobError::Missing { .. }) => {
                Self::LogRefused
            }
            LogFailure::Append(_)
            | LogFailure::Publish(_)
            | LogFailure::Blob(_)
            | LogFailure::Open(
                OpenError::Io { .. } | OpenError::Repair { .. } | OpenError::Exists { .. },
            ) => Self::LogUnwritable,
            LogFailure::Store { .. } | LogFailure::Install { .. } => Self::TargetUnavailable,
            LogFailure::Open(OpenError::Locked { .. }) => Self::Locked,
            LogFailure::Read(ReadError::Missing(_))
            | LogFailure::Open(OpenError::Read(ReadError::Missing(_)))
            | LogFailure::Key(_)
            | LogFailure::NoSecretKey(_)
            | LogFailure::KeyNotInForce { .. }
            | LogFailure::KeyRetired { .. }
            | LogFailure::Open(OpenError::Moved { .. })
            | LogFailure::NoPublicKey(_) => Self::Refused,
            LogFailure::Open(_)
            | LogFailure::Read(_)
            | LogFailure::Damaged { .. }
            | LogFailure::Unverified { .. } => Self::LogRefused,
        }
    }

    fn of_target_failure(error: &TargetFailure) -> Self {
        match error {
            TargetFailure::Sandbox(
                SandboxError::NotInstalled | SandboxError::MajorNotInstalled { .. },
            ) => Self::NoServer,
            TargetFailure::OtherDatabase { .. }
            | TargetFailure::LogElsewhere { .. }
            | TargetFailure::TakenOver { .. } => Self::Refused,
            TargetFailure::Diverged(_) => Self::Diverged,
            TargetFailure::Drifted(_) | TargetFailure::OtherMajor { .. } => Self::Drifted,
            TargetFailure::Track {
                error: annals_postgres::TrackError::NotAllowed { .. }, ..
            } => Self::Refused,
            TargetFailure::SchemaHeld { .. } => Self::StepBlocked,
            TargetFailure::Reconcile(_) => Self::InDoubt,
            TargetFailure::Connect(_)
            | TargetFailure::Track { .. }
            | TargetFailure::Fault { .. }
            | TargetFailure::Ledger(_)
            | TargetFailure::ReadOnly { .. }
            | TargetFailure::Sandbox(_) => Self::TargetUnavailable,
        }
    }

    /// The code of findings about a target.
    pub fn of_findings(findings: &[annals_integrity::Finding]) -> Self {
        match findings.iter().any(|finding| finding.id == annals_integrity::DIVERGED) {
            true => Self::Diverged,
            false => Self::Findings,
        }
    }

    /// The code of a verification of a log.
    pub fn of_log_report(report: &LogReport) -> Self {
        Self::of_number(report.exit_code)
    }

    /// The code with this number.
    pub fn of_number(number: u8) -> Self {
        let found = Self::ALL.iter().find(|(code, _)| code.code() == number);
        found.map_or(Self::Unexpected, |(code, _)| *code)
    }

    /// The code of a change that was made or not needed.
    pub fn of_change(outcome: &ChangeOutcome) -> Self {
        let of_run = |(_, report): &(_, annals_operations::RunReport)| Self::of_run(&report.end);
        match (outcome.run.as_ref().map_or(Self::Success, of_run), &outcome.unfinished) {
            (Self::Success, Some(failure)) => Self::of_failure(failure),
            (code, _) => code,
        }
    }

    /// The code of a run that began.
    pub fn of_run(end: &RunEnd) -> Self {
        match end {
            RunEnd::Succeeded => Self::Success,
            RunEnd::Failed { effect: annals_events::Effect::Partial, .. } => Self::HalfDone,
            RunEnd::Failed { error, .. } if lost_to_others(error.code.as_deref()) => {
                Self::StepBlocked
            }
            RunEnd::Failed { .. } => Self::StepFailed,
            RunEnd::Interrupted { .. } => Self::Interrupted,
            RunEnd::Disconnected { .. } => Self::TargetUnavailable,
            RunEnd::InDoubt { .. } => Self::InDoubt,
            RunEnd::NotRecorded { .. } => Self::LogUnwritable,
        }
    }
}
