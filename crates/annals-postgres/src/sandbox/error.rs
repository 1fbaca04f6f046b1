//! Why there is no sandbox.

use std::io;
use std::path::{Path, PathBuf};

use super::binaries::{INSTALL_LINE, install_line};
use crate::connect::ConnectError;
use crate::fault::Fault;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No server is installed.
    #[error("no PostgreSQL server is installed (looked in PATH and the usual folders)")]
    NotInstalled,
    /// Servers are installed, but none of this major version.
    #[error(
        "no PostgreSQL {wanted} is installed; installed: {}",
        installed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    )]
    MajorNotInstalled {
        /// The version that was wanted.
        wanted: u32,
        /// The versions there are, ascending.
        installed: Vec<u32>,
    },
    /// As root, the server needs another user.
    #[error("PostgreSQL does not run as root, and there is no user \"postgres\" to run it as")]
    NoUser,
    /// The folder belongs to somebody else.
    #[error("the sandbox folder {} belongs to another user", .0.display())]
    ForeignFolder(PathBuf),
    /// The file system or the operating system says no.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program of the server failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Which.
        program: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The server did not get ready.
    #[error("the sandbox server did not get ready: {0}")]
    NotReady(String),
    /// It runs, but cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Its preparation failed.
    #[error("preparing the sandbox failed: {0}")]
    Prepare(#[from] Fault),
}

impl SandboxError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotInstalled => Some(format!(
                "install one (Debian, Ubuntu: {INSTALL_LINE}), or set ANNALS_PG_BIN to the folder \
                 with initdb and postgres"
            )),
            Self::MajorNotInstalled { wanted, .. } => Some(format!(
                "install it (Debian, Ubuntu: {}; versions the distribution does not have: \
                 https://apt.postgresql.org), or name its folder: {wanted} = \"/path/to/bin\" below \
                 [sandbox.servers]",
                install_line(*wanted)
            )),
            Self::NoUser => Some("run annals as an ordinary user".to_owned()),
            Self::ForeignFolder(_) => Some("remove it, or set ANNALS_SANDBOX_DIR".to_owned()),
            _ => None,
        }
    }
}

pub(super) fn io_error<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SandboxError + 'a {
    move |source| SandboxError::Io { what, path: path.to_owned(), source }
}
