//! A client of ssh-agent: asks which Ed25519 keys it holds, and for signatures with one of them.
//!
//! The protocol is draft-miller-ssh-agent: a length, a type, strings. The secret key never leaves
//! the agent.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::note::VerifierKey;
use crate::ssh::{ED25519_NAME, Signature, public_of_blob, put_string, signed_bytes, take_string};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// The longest answer read: 256 KiB, as OpenSSH's own agent allows.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// How long an agent is waited for: it may ask its owner first.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why an agent gave no signature.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It cannot be spoken to.
    #[error("the ssh-agent at {} does not answer", path.display())]
    Io {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What it says is not what the protocol says.
    #[error("the ssh-agent answers with something else: {0}")]
    Protocol(&'static str),
    /// It says no.
    #[error("the ssh-agent refuses to sign")]
    Refused,
}

/// An Ed25519 key an agent holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    /// The key.
    pub public: [u8; 32],
    /// What its owner calls it.
    pub comment: String,
}

/// A conversation with an agent.
pub struct Agent {
    stream: UnixStream,
    path: PathBuf,
}

impl Agent {
    /// Begins to talk to the agent at `path` (`SSH_AUTH_SOCK`).
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub fn connect(path: &Path) -> Result<Self, AgentError> {
        let io = |source| AgentError::Io { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(io)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
        Ok(Self { stream, path: path.to_owned() })
    }

    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut exchange = || {
            let mut message = Vec::new();
            put_string(&mut message, request);
            self.stream.write_all(&message)?;
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if !(1..=MAX_ANSWER_BYTES).contains(&length) {
                return Ok(Vec::new());
            }
            let mut answer = vec![0; length];
            self.stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        exchange().map_err(|source| AgentError::Io { path: self.path.clone(), source })
    }

    /// The Ed25519 keys it holds.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn keys(&mut self) -> Result<Vec<AgentKey>, AgentError> {
        let answer = self.ask(&[REQUEST_IDENTITIES])?;
        let Some((&IDENTITIES_ANSWER, mut rest)) = answer.split_first() else {
            return Err(AgentError::Protocol("no list of keys"));
        };
        let cut = AgentError::Protocol("a list of keys that is cut");
        let Some((count, behind)) = rest.split_first_chunk::<4>() else { return Err(cut) };
        rest = behind;
        let mut keys = Vec::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let pair = take_string(&mut rest).zip(take_string(&mut rest));
            let Some((blob, comment)) = pair else { return Err(cut) };
            keys.extend(public_of_blob(blob).map(|public| AgentKey {
                public,
                comment: String::from_utf8_lossy(comment).into_owned(),
            }));
        }
        Ok(keys)
    }

    /// Lets it sign `message` in `namespace` with `key`; the signature is checked.
    ///
    /// # Errors
    ///
    /// When it refuses, or its signature does not fit.
    pub fn sign(
        &mut self,
        key: &VerifierKey,
        namespace: &str,
        message: &[u8],
    ) -> Result<Signature, AgentError> {
        let mut request = vec![SIGN_REQUEST];
        put_string(&mut request, &key.ssh_blob());
        put_string(&mut request, &signed_bytes(namespace, message));
        request.extend_from_slice(&0u32.to_be_bytes());
        let answer = self.ask(&request)?;
        let mut rest = match answer.split_first() {
            Some((&SIGN_RESPONSE, rest)) => rest,
            Some((&FAILURE, _)) => return Err(AgentError::Refused),
            _ => return Err(AgentError::Protocol("no signature")),
        };
        let mut inner = take_string(&mut rest).ok_or(AgentError::Protocol("a cut signature"))?;
        let name = take_string(&mut inner);
        let signature: Option<Signature> =
            take_string(&mut inner).and_then(|bytes| bytes.try_into().ok());
        match (name == Some(ED25519_NAME.as_bytes()), signature) {
            (true, Some(signature)) if key.has_signed(namespace, message, &signature) => {
                Ok(signature)
            }
            _ => Err(AgentError::Protocol("a signature that does not fit the key")),
        }
    }
}
