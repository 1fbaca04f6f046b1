//! The header: what is public about a backup, who may open it, and the code that binds both.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::error::BackupError;
use crate::hex;
use crate::kdf::{self, MAC_BYTES};
use crate::key::KeyId;
use crate::passphrase::PassphraseRecipe;
use crate::recipients::{MAX_RECIPIENTS, MAX_STANZA_BYTES, PASSPHRASE, SYMMETRIC, Stanza};
use crate::secret::Secret;

/// The format version that is written, and the newest that is read.
pub const VERSION: u16 = 1;

/// The longest public metadata, in bytes.
pub const MAX_METADATA_BYTES: usize = 64 * 1024;

const MAGIC: &[u8; 8] = b"ANNALSBK";
const MAC_LABEL: &str = "annals-backup/v1/header-mac";

/// The identity of a backup: 16 bytes that the caller never gives twice, such as a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId([u8; 16]);

impl BackupId {
    /// Takes an id from its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Lends the bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut start = 0;
        for (index, length) in [4, 2, 2, 2, 6].into_iter().enumerate() {
            if index > 0 {
                f.write_str("-")?;
            }
            hex::write(f, &self.0[start..start + length])?;
            start += length;
        }
        Ok(())
    }
}

/// What a sealed backup says of itself in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The format version.
    pub version: u16,
    /// The backup's identity.
    pub backup_id: BackupId,
    /// The caller's bytes: authenticated, and readable without any key.
    pub public_metadata: Vec<u8>,
    /// The keys that open the backup, in the order they were given.
    pub recipients: Vec<KeyId>,
    /// How those of the keys are made that come from passphrases.
    pub passphrases: Vec<PassphraseRecipe>,
}

/// Reads the header of a sealed backup without any key, and nothing behind it; it is not authenticated.
///
/// # Errors
/// Not a backup, a version this reader does not know, or a header that is malformed or cut.
pub fn read_header<R: Read>(mut source: R) -> Result<Header, BackupError> {
    Ok(RawHeader::read(&mut source)?.header)
}

/// Builds the context of a C2SP message: its purpose, and the header it belongs to.
pub(crate) fn bound_context(label: &str, header_hash: &[u8; 32]) -> Vec<u8> {
    [label.as_bytes(), b"\0", header_hash].concat()
}

/// Hashes the prologue, the part of a header that every wrapped key and the payload are bound to.
pub(crate) fn hash_of(prologue: &[u8]) -> [u8; 32] {
    Sha256::digest(prologue).into()
}

/// Lays out magic, version, id and metadata.
pub(crate) fn prologue(backup_id: BackupId, metadata: &[u8]) -> Result<Vec<u8>, BackupError> {
    let found = metadata.len();
    let length = u32::try_from(found)
        .ok()
        .filter(|_| found <= MAX_METADATA_BYTES)
        .ok_or(BackupError::MetadataTooLong { found })?;
    let version = VERSION.to_be_bytes();
    let length = length.to_be_bytes();
    Ok([MAGIC.as_slice(), &version, backup_id.as_bytes(), &length, metadata].concat())
}

/// Completes a prologue with its stanzas and the authentication code over all of it.
pub(crate) fn complete(mut bytes: Vec<u8>, stanzas: &[Stanza], data_key: &Secret) -> Vec<u8> {
    let count = u16::try_from(stanzas.len()).expect("the number of recipients was checked");
    bytes.extend_from_slice(&count.to_be_bytes());
    stanzas.iter().for_each(|stanza| stanza.encode(&mut bytes));
    let mac = kdf::authenticate(&kdf::subkey(data_key, MAC_LABEL), &bytes);
    bytes.extend_from_slice(&mac);
    bytes
}

/// A header as it was read: well formed, not yet authenticated.
pub(crate) struct RawHeader {
    /// Every byte of it, for the digest of the file.
    pub(crate) bytes: Vec<u8>,
    /// The fields.
    pub(crate) header: Header,
    /// The stanzas of a type this reader knows.
    pub(crate) stanzas: Vec<Stanza>,
    /// The hash that wrapped keys and payload are bound to.
    pub(crate) hash: [u8; 32],
}

impl RawHeader {
    /// Reads a header and nothing after it, within the limits of the format.
    pub(crate) fn read(source: &mut impl Read) -> Result<Self, BackupError> {
        let mut fields = Fields { source, bytes: Vec::new() };
        let version = fields.start()?;
        let backup_id = BackupId(*fields.array()?);
        let length = u32::from_be_bytes(*fields.array()?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_METADATA_BYTES {
            return Err(malformed("public metadata is longer than its limit"));
        }
        let public_metadata = fields.take(length)?.to_vec();
        let hash = hash_of(&fields.bytes);
        let stanzas = fields.stanzas()?;
        fields.array::<MAC_BYTES>()?;
        let recipients = stanzas.iter().map(|stanza| stanza.key_id).collect();
        let passphrases = stanzas.iter().filter_map(|stanza| stanza.recipe).collect();
        let header = Header { version, backup_id, public_metadata, recipients, passphrases };
        Ok(Self { bytes: fields.bytes, header, stanzas, hash })
    }

    /// Checks the authentication code with the unwrapped data key.
    pub(crate) fn authenticate(&self, data_key: &Secret) -> Result<(), BackupError> {
        let (message, mac) = self.bytes.split_at(self.bytes.len() - MAC_BYTES);
        if kdf::authentic(&kdf::subkey(data_key, MAC_LABEL), message, mac) {
            Ok(())
        } else {
            Err(BackupError::HeaderRefused)
        }
    }
}

/// Reads header fields one after the other and keeps every byte.
struct Fields<'r, R> {
    source: &'r mut R,
    bytes: Vec<u8>,
}

impl<R: Read> Fields<'_, R> {
    fn start(&mut self) -> Result<u16, BackupError> {
        match self.array() {
            Ok(magic) if magic == MAGIC => {}
            Ok(_) | Err(BackupError::Truncated { .. }) => return Err(BackupError::NotABackup),
            Err(other) => return Err(other),
        }
        let found = u16::from_be_bytes(*self.array()?);
        if found == VERSION { Ok(found) } else { Err(BackupError::UnsupportedVersion { found }) }
    }

    fn stanzas(&mut self) -> Result<Vec<Stanza>, BackupError> {
        let count = usize::from(u16::from_be_bytes(*self.array()?));
        if !(1..=MAX_RECIPIENTS).contains(&count) {
            return Err(malformed("number of recipients is not between 1 and 32"));
        }
        let mut known = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = u16::from_be_bytes(*self.array()?);
            let length = usize::from(u16::from_be_bytes(*self.array()?));
            if length > MAX_STANZA_BYTES {
                return Err(malformed("recipient stanza is longer than its limit"));
            }
            let body = self.take(length)?;
            match kind {
                SYMMETRIC => {
                    known.push(Stanza::decode(body).ok_or(malformed("recipient stanza of type 1"))?)
                }
                PASSPHRASE => {
                    let stanza = Stanza::decode_passphrase(body);
                    known.push(stanza.ok_or(malformed("recipient stanza of type 2"))?);
                }
                _ => {}
            }
        }
        Ok(known)
    }

    fn array<const N: usize>(&mut self) -> Result<&[u8; N], BackupError> {
        let bytes = self.take(N)?;
        Ok(bytes.first_chunk().expect("exactly the bytes asked for were taken"))
    }

    fn take(&mut self, length: usize) -> Result<&[u8], BackupError> {
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        read_whole(self.source, &mut self.bytes[start..], "header")?;
        Ok(&self.bytes[start..])
    }
}

/// Fills `out`; an early end names the `part` that is cut.
pub(crate) fn read_whole(
    source: &mut impl Read,
    out: &mut [u8],
    part: &'static str,
) -> Result<(), BackupError> {
    source.read_exact(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Truncated { part },
        _ => BackupError::Read(error),
    })
}

fn malformed(reason: &'static str) -> BackupError {
    BackupError::MalformedHeader { reason }
}
