//! Why a backup is not taken, not read or not restored.

use annals_backup::BackupError;
use annals_migrations::CutError;
use annals_postgres::{ConnectError, DumpError, Fault};

use crate::store::StoreError;

/// Why a backup is not taken, not read or not restored.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database answered with an error, or was lost.
    #[error("the database: {0}")]
    Fault(#[from] Fault),
    /// The text of the schema.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The container is refused, or could not be written.
    #[error(transparent)]
    Container(#[from] BackupError),
    /// The place where backups are kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Policies hide rows from the role: a backup would lack them.
    #[error("row-level security hides rows of {} from this role: a backup would lack them", list(.0))]
    Hidden(Vec<String>),
    /// A name that is not that of one table.
    #[error("{}", no_table(.name, .found))]
    NoTable {
        /// As it was given.
        name: String,
        /// The tables it may mean.
        found: Vec<String>,
    },
    /// No backup holds the rows of that table.
    #[error("the rows of {0} are the platform's or an extension's: no backup holds them")]
    NotOurs(String),
    /// The role may not read them.
    #[error("this role may not read {}", list(.0))]
    NotReadable(Vec<String>),
    /// Tables that others rewrite as often as the snapshot is taken anew.
    #[error("tables are rewritten by others again and again while the snapshot is taken: {}", list(.0))]
    Rewritten(Vec<String>),
    /// The server would mean something else by the snapshot.
    #[error("the session does not know how to reach its own server again")]
    NoSpec,
    /// What the container holds has another form than a backup's.
    #[error("the backup is authentic, but its contents are malformed: {0}")]
    Malformed(String),
    /// What the container holds is not what its manifest says.
    #[error("the backup is authentic, but does not hold what its manifest says: {0}")]
    NotAsSaid(String),
    /// It was sealed by a newer annals.
    #[error("the contents of the backup have version {found}; this annals reads version {known}")]
    NewerContents {
        /// The version it has.
        found: u16,
        /// The version that is known.
        known: u16,
    },
    /// The text of a section cannot be cut into statements.
    #[error("the schema in the backup cannot be read: {0}")]
    Sql(#[from] CutError),
    /// A statement of the schema, or a table's rows, are refused.
    #[error("{what} cannot be restored: {fault}")]
    Refused {
        /// What, such as `pre-data, line 12: CREATE TABLE …`.
        what: String,
        /// Why.
        fault: Fault,
    },
    /// The backup holds no rows.
    #[error("the backup holds the schema only")]
    NoRows,
    /// A part of the work ended without a word.
    #[error("a part of the work stopped: {0}")]
    Stopped(String),
}

impl ArchiveError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connect(error) => error.hint(),
            Self::Dump(error) => error.hint(),
            Self::Hidden(_) => Some(
                "take backups as the tables' owner, or as a role with BYPASSRLS".to_owned(),
            ),
            Self::NoTable { found, .. } if found.is_empty() => None,
            Self::NoTable { .. } => Some("name its schema too".to_owned()),
            Self::NotReadable(_) => Some(
                "grant SELECT (pg_read_all_data does for tables and sequences), or take backups as \
                 the owner"
                    .to_owned(),
            ),
            Self::Refused { fault, .. } => match fault.code() {
                Some("23503") => Some(
                    "rows refer to others that are missing too: name the tables they refer to as well"
                        .to_owned(),
                ),
                Some("23505" | "23P01") => Some(
                    "another row has that value by now: bring the backup beside the target (annals \
                     restore <backup> --into <database>) and look at both"
                        .to_owned(),
                ),
                Some("53200") => Some(
                    "the server has no room for so many locks: raise max_locks_per_transaction, which \
                     takes a restart"
                        .to_owned(),
                ),
                Some("55P03") => Some(
                    "somebody else is at work on that table: annals locks shows who; try again when \
                     they are done"
                        .to_owned(),
                ),
                _ => None,
            },
            Self::Fault(Fault::Server(error)) if error.code == "55P03" => Some(
                "somebody holds a lock that excludes readers; try again when they are done"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn no_table(name: &str, found: &[String]) -> String {
    match found {
        [] => format!("there is no table {name}"),
        several => format!("{name} may be any of {}", list(several)),
    }
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
