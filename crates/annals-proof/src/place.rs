//! Where rehearsals happen.

use annals_events::Version;
use annals_postgres::{ConnectError, ConnectionSpec, Fault};

/// Why a place cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot {what}: {reason}")]
pub struct PlaceError {
    /// What was asked.
    pub what: String,
    /// Why not.
    pub reason: String,
}

/// A server with databases that may be made and dropped as a rehearsal likes.
///
/// Nobody else works there. A clone has the settings of the database it is made from, and
/// [`Place::copy`] waits until whoever has just left that one is gone.
#[allow(async_fn_in_trait, reason = "used within this workspace, on one thread")]
pub trait Place {
    /// How the role that migrations run as logs in to a database.
    fn spec(&self, database: &str) -> ConnectionSpec;

    /// Makes `to` from `from`, in which nobody is.
    async fn copy(&self, from: &str, to: &str) -> Result<(), PlaceError>;

    /// Drops a database, if it is there, with whoever is in it.
    async fn discard(&self, database: &str) -> Result<(), PlaceError>;
}

/// Why nothing can be said of the migrations.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The sandbox.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It answered with an error outside of any file.
    #[error("the sandbox: {0}")]
    Fault(#[from] Fault),
    /// What must be there before the migrations to be proven cannot be made.
    #[error("{version}_{name} cannot be applied in the sandbox: {reason}")]
    Before {
        /// The version.
        version: Version,
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file that cannot be read as SQL.
    #[error("{0}")]
    File(annals_migrations::Problem),
}
