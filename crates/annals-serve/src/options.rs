//! Where to listen, and who may ask.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A token has at least so many characters: it is not to be guessed.
const LEAST_TOKEN: usize = 16;

/// Where a server listens, and who may ask it.
#[derive(Clone)]
pub struct ServeOptions {
    /// Where.
    pub listen: SocketAddr,
    /// Files with the certificates and with the key, both PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// The token itself, from the environment; the file comes first.
    pub token: Option<String>,
    /// Names besides its address that a request may ask for.
    pub hosts: Vec<String>,
}

/// Why nobody is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could connect, and read along or ask for whatever they like.
    #[error(
        "--listen {address} can be reached from other machines, and there is no {missing}: give \
         --tls-cert and --tls-key, and a token by --token-file or ANNALS_SERVE_TOKEN; or listen on \
         127.0.0.1"
    )]
    Exposed {
        /// Where.
        address: SocketAddr,
        /// What there is not.
        missing: &'static str,
    },
    /// It cannot be listened on.
    #[error("--listen {address}: {source}; choose another address or port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read a secret.
    #[error("{0} can be read by others: chmod 600 {0}", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
    },
    /// The token is none.
    #[error(
        "{place}: a token is one line of {LEAST_TOKEN} or more visible ASCII characters: make one \
         with: openssl rand -hex 32"
    )]
    Token {
        /// Where it stands.
        place: String,
    },
    /// A certificate or a key cannot be used.
    #[error("{}: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The machine has no randomness.
    #[error("no random numbers are to be had")]
    Random,
}

impl ServeOptions {
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        let has_token = self.token_file.is_some() || self.token.is_some();
        let missing = match (self.tls.is_some(), has_token) {
            (true, true) => return Ok(()),
            (false, false) => "TLS and no token",
            (false, true) => "TLS",
            (true, false) => "token",
        };
        Err(ServeError::Exposed { address: self.listen, missing })
    }

    /// The token, if one is asked for.
    pub(crate) fn read_token(&self) -> Result<Option<String>, ServeError> {
        let (text, place) = match (&self.token_file, &self.token) {
            (Some(path), _) => {
                let text = read_secret(path)?;
                (String::from_utf8_lossy(&text).into_owned(), path.display().to_string())
            }
            (None, Some(token)) => (token.clone(), "ANNALS_SERVE_TOKEN".to_owned()),
            (None, None) => return Ok(None),
        };
        let token = text.trim_end_matches(['\r', '\n']);
        if token.len() < LEAST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ServeError::Token { place });
        }
        Ok(Some(token.to_owned()))
    }
}

/// Reads a file nobody else may read.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, ServeError> {
    let read = |source| ServeError::Read { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(read)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(ServeError::Readable { path: path.to_owned() });
    }
    std::fs::read(path).map_err(read)
}
