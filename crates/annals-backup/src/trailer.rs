//! The trailer: the end bound and the digest of everything before it, authenticated.

use crate::error::BackupError;
use crate::kdf::{self, MAC_BYTES};
use crate::secret::Secret;

/// The length of a trailer, in bytes.
pub(crate) const TRAILER_BYTES: usize = AUTHENTICATED_BYTES + MAC_BYTES;

const AUTHENTICATED_BYTES: usize = MAGIC.len() + 8 + 32;
const MAGIC: &[u8; 8] = b"ANNALEND";
const KEY_LABEL: &str = "annals-backup/v1/trailer-mac";

/// What the last bytes of a sealed backup say about the bytes before them.
#[derive(PartialEq, Eq)]
pub(crate) struct Trailer {
    /// The length of the plaintext, in bytes.
    pub(crate) plaintext_bytes: u64,
    /// The SHA-256 of every byte before the trailer.
    pub(crate) digest: [u8; 32],
}

impl Trailer {
    /// Derives the key that authenticates a trailer.
    pub(crate) fn key(data_key: &Secret) -> Secret {
        kdf::subkey(data_key, KEY_LABEL)
    }

    /// Lays out the trailer with its authentication code.
    pub(crate) fn encode(&self, key: &Secret) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.plaintext_bytes.to_be_bytes());
        bytes[16..48].copy_from_slice(&self.digest);
        let mac = kdf::authenticate(key, &bytes[..AUTHENTICATED_BYTES]);
        bytes[AUTHENTICATED_BYTES..].copy_from_slice(&mac);
        bytes
    }

    /// Reads the form of a trailer, without its authentication code.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BackupError> {
        if bytes.len() != TRAILER_BYTES || !bytes.starts_with(MAGIC) {
            return Err(BackupError::TrailerMissing);
        }
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[8..16]);
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[16..48]);
        Ok(Self { plaintext_bytes: u64::from_be_bytes(length), digest })
    }

    /// Compares with what was measured; the reason names the first field that differs.
    pub(crate) fn agrees_with(&self, measured: &Self) -> Result<(), BackupError> {
        if self.plaintext_bytes != measured.plaintext_bytes {
            return Err(refused("its plaintext length is not that of the chunks"));
        }
        if self.digest != measured.digest {
            return Err(refused("its digest is not that of the bytes before it"));
        }
        Ok(())
    }

    /// Checks the authentication code of a trailer's bytes.
    pub(crate) fn authentic(bytes: &[u8], key: &Secret) -> Result<(), BackupError> {
        let (message, mac) = bytes.split_at(AUTHENTICATED_BYTES);
        if kdf::authentic(key, message, mac) {
            Ok(())
        } else {
            Err(refused("its authentication code is wrong"))
        }
    }
}

fn refused(reason: &'static str) -> BackupError {
    BackupError::TrailerRefused { reason }
}
