//! What sealing, reading and examining a backup each report about the same bytes.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::header::BackupId;
use crate::hex;

/// The measures of one sealed backup; equal receipts mean equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The backup, as its header names it.
    pub backup_id: BackupId,
    /// The length of what was sealed, in bytes.
    pub plaintext_bytes: u64,
    /// The length of the sealed backup, in bytes.
    pub sealed_bytes: u64,
    /// The SHA-256 of the whole sealed backup, as `sha256sum` prints it.
    pub sha256: FileDigest,
}

/// The SHA-256 of a sealed backup.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileDigest([u8; 32]);

impl FileDigest {
    /// Takes a digest from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Lends the bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDigest({self})")
    }
}

/// Counts and hashes the bytes of a sealed backup as they pass.
#[derive(Default)]
pub(crate) struct Tally {
    digest: Sha256,
    bytes: u64,
}

impl Tally {
    /// Takes the next bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Returns the digest of the bytes so far.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }

    /// Returns the receipt over all bytes taken.
    pub(crate) fn receipt(&self, backup_id: BackupId, plaintext_bytes: u64) -> Receipt {
        Receipt {
            backup_id,
            plaintext_bytes,
            sealed_bytes: self.bytes,
            sha256: FileDigest(self.digest()),
        }
    }
}
