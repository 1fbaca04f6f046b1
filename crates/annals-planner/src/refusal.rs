//! Why there is no plan.

use std::fmt;

use annals_events::{Direction, Version};
use annals_integrity::Finding;
use annals_migrations::Problem;

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A file.
    File(Problem),
    /// An applied file was changed in substance.
    Changed {
        /// `<version>_<name>`.
        id: String,
    },
    /// An applied file is gone.
    Missing {
        /// `<version>_<name>`.
        id: String,
    },
    /// A file older than the newest applied one appeared.
    OutOfOrder {
        /// Its version.
        version: Version,
        /// `<version>_<name>`.
        id: String,
        /// The newest applied one.
        newest: String,
    },
    /// No such version.
    UnknownVersion {
        /// What was asked for.
        version: Version,
        /// The versions there are, for the message.
        known: String,
    },
    /// The version to return to is not applied.
    NotApplied {
        /// It.
        version: Version,
    },
    /// More was to be rolled back than is applied.
    TooMany {
        /// Asked for.
        asked: u64,
        /// Applied.
        applied: u64,
    },
    /// There is no file to roll it back with.
    NoRollback {
        /// `<version>_<name>`.
        id: String,
    },
    /// Ledger and log disagree.
    Ledger(Finding),
    /// A step's outcome is unknown.
    InDoubt {
        /// `<version>_<name>`.
        id: String,
    },
    /// A step stopped half-way outside a transaction, and its file is gone.
    HalfDoneMissing {
        /// `<version>_<name>`.
        id: String,
    },
    /// A step stopped half-way outside a transaction, and its file is one transaction now.
    HalfDoneOtherwise {
        /// `<version>_<name>`.
        id: String,
        /// The file.
        file: String,
    },
    /// A file outside a transaction in a run that is to be one.
    OutsideTransaction {
        /// `<version>_<name>`.
        id: String,
    },
    /// A step outside a transaction stopped half-way, in the other direction.
    HalfDone {
        /// `<version>_<name>`.
        id: String,
        /// The way it was going.
        direction: Direction,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(problem) => problem.fmt(f),
            Self::Changed { id } => write!(f, "{id}: its SQL was changed after it was applied"),
            Self::Missing { id } => write!(f, "{id}: it is applied, but its file is gone"),
            Self::OutOfOrder { id, newest, .. } => {
                write!(f, "{id}: it is not applied, although the later {newest} is")
            }
            Self::UnknownVersion { version, known } => {
                write!(f, "version {version}: there is no such migration (there are {known})")
            }
            Self::NotApplied { version } => write!(f, "version {version}: it is not applied"),
            Self::TooMany { asked, applied } => {
                write!(f, "cannot roll back the last {asked}: only {applied} applied")
            }
            Self::NoRollback { id } => write!(f, "{id}: there is no file to roll it back with"),
            Self::Ledger(finding) => write!(f, "{}: {}", finding.subject, finding.evidence),
            Self::InDoubt { id } => write!(f, "{id}: its outcome is not known yet"),
            Self::HalfDoneMissing { id } => {
                write!(f, "{id}: it is half done, and its file is gone")
            }
            Self::HalfDoneOtherwise { id, .. } => write!(
                f,
                "{id}: some of its statements are done, one by one, and its file asks for one \
                 transaction now"
            ),
            Self::OutsideTransaction { id } => {
                write!(f, "{id}: it cannot run in a transaction, and the whole run is to be one")
            }
            Self::HalfDone { id, direction: Direction::Up } => {
                write!(f, "{id}: it is applied half-way")
            }
            Self::HalfDone { id, direction: Direction::Down } => {
                write!(f, "{id}: it is rolled back half-way")
            }
        }
    }
}

impl Reason {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::File(_) => "correct the file".to_owned(),
            Self::Changed { .. } => {
                "restore the file from version control, and write the change as a new migration"
                    .to_owned()
            }
            Self::Missing { .. } => "restore the file from version control".to_owned(),
            Self::OutOfOrder { version, .. } => format!(
                "give it a newer version, or apply it knowingly with --allow-out-of-order {version}"
            ),
            Self::UnknownVersion { .. } | Self::NotApplied { .. } | Self::TooMany { .. } => {
                "see what is applied with: annals status".to_owned()
            }
            Self::NoRollback { id } => format!("write rollbacks/{id}_rollback.sql"),
            Self::Ledger(finding) => finding.remedy.clone(),
            Self::InDoubt { .. } => {
                "let it be settled from evidence with: annals status".to_owned()
            }
            Self::HalfDoneMissing { .. } => {
                "restore the file from version control, and finish it".to_owned()
            }
            Self::HalfDoneOtherwise { file, .. } => {
                format!(
                    "put `-- annals: transaction=off`, or the directives of its backfill, back at \
                     the top of {file}"
                )
            }
            Self::OutsideTransaction { .. } => {
                "run up to the file in front of it with --to, then on without --single-transaction"
                    .to_owned()
            }
            Self::HalfDone { direction: Direction::Up, .. } => {
                "finish it with: annals migrate".to_owned()
            }
            Self::HalfDone { direction: Direction::Down, .. } => {
                "finish it with: annals rollback --last 1".to_owned()
            }
        }
    }
}

/// Everything that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// At least one.
    pub reasons: Vec<Reason>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, reason) in self.reasons.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            reason.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
