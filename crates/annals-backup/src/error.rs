//! Every way in which sealing or opening a backup is refused.

use std::io;
use std::path::PathBuf;

use crate::header::{BackupId, VERSION};
use crate::key::KeyId;

/// A refusal to seal, to open or to read on.
///
/// Messages are lowercase fragments that name the subject; what to do next is [`hint`](Self::hint).
/// Inside an [`io::Error`] from [`SealedReader`](crate::SealedReader) or
/// [`SealedWriter`](crate::SealedWriter) the value is found by
/// `error.get_ref().and_then(|e| e.downcast_ref::<BackupError>())`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The source failed; the bytes read before it may be fine.
    #[error("sealed backup could not be read")]
    Read(#[source] io::Error),
    /// The sink failed; what stands there is not a backup.
    #[error("sealed backup could not be written")]
    Write(#[source] io::Error),
    /// The operating system gave no random bytes.
    #[error("random bytes could not be drawn from the operating system")]
    Randomness(#[source] getrandom::Error),
    /// The first eight bytes are not the magic of a sealed backup.
    #[error("input is not a sealed backup: it does not start with the magic bytes")]
    NotABackup,
    /// The version is not one this reader knows.
    #[error("sealed backup has format version {found}; this reader knows version {VERSION}")]
    UnsupportedVersion {
        /// The version in the header.
        found: u16,
    },
    /// A count or length in the header is outside its limits.
    #[error("header of the sealed backup is malformed: {reason}")]
    MalformedHeader {
        /// Which field, and which limit.
        reason: &'static str,
    },
    /// The input ended early.
    #[error("sealed backup ends inside its {part}")]
    Truncated {
        /// The part that is not whole.
        part: &'static str,
    },
    /// None of the keys given is a recipient.
    #[error("no key fits the sealed backup: it is sealed for {}", list(.recipients))]
    NoKeyFits {
        /// The keys the backup is sealed for.
        recipients: Vec<KeyId>,
    },
    /// The wrapped data key does not authenticate under the key it names.
    #[error("data key of the sealed backup does not unwrap with key {key_id}")]
    WrappedKeyRefused {
        /// The key that was tried.
        key_id: KeyId,
    },
    /// The header's authentication code does not match.
    #[error("header of the sealed backup does not authenticate")]
    HeaderRefused,
    /// The payload's commitment does not match the data key and the header.
    #[error("payload of the sealed backup does not belong to its header")]
    PayloadRefused,
    /// A chunk's tag does not match; nothing of it was released.
    #[error("chunk {position} of the sealed backup does not authenticate")]
    ChunkRefused {
        /// The chunk's position, from 0.
        position: u64,
    },
    /// The input does not end with a trailer.
    #[error("sealed backup does not end with its trailer")]
    TrailerMissing,
    /// The trailer disagrees with the bytes before it.
    #[error("trailer of the sealed backup does not match: {reason}")]
    TrailerRefused {
        /// Which field disagrees.
        reason: &'static str,
    },
    /// The backup is whole and authentic, but another one was expected.
    #[error("sealed backup is {found}, not the expected {expected}")]
    AnotherBackup {
        /// The backup that was asked for.
        expected: BackupId,
        /// The backup in the header.
        found: BackupId,
    },
    /// The plaintext exceeds what one backup can hold (2^38 chunks of 16 KiB).
    #[error("plaintext exceeds 4 PiB, the limit of one sealed backup")]
    TooLong,
    /// The reader or writer failed before; it stays refused.
    #[error("sealed backup was already refused; nothing more is read from it or written to it")]
    AlreadyRefused,
    /// The reader was finished before it reached the verified end.
    #[error("sealed backup was not read to its end, so its end is not verified")]
    Unfinished,
    /// No recipient was given.
    #[error("backup cannot be sealed without a recipient key")]
    NoRecipients,
    /// More recipients than the format allows.
    #[error(
        "backup cannot be sealed for {found} recipients; at most {} fit",
        crate::MAX_RECIPIENTS
    )]
    TooManyRecipients {
        /// The number given.
        found: usize,
    },
    /// One key was given twice.
    #[error("key {key_id} is given twice as a recipient")]
    DuplicateRecipient {
        /// The key.
        key_id: KeyId,
    },
    /// The public metadata exceeds the limit.
    #[error("public metadata has {found} bytes; at most {} fit", crate::MAX_METADATA_BYTES)]
    MetadataTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// A key-encryption key is not exactly 32 bytes; it is neither padded nor cut.
    #[error("key-encryption key has {found} bytes instead of 32")]
    KeyLength {
        /// The length given, in bytes.
        found: usize,
    },
    /// A recipe for a passphrase asks for more than its reader gives, or for nothing.
    #[error(
        "the cost of a passphrase's key is beyond its limits: {} KiB of memory, {} passes, {} lanes",
        cost.memory_kib,
        cost.iterations,
        cost.lanes
    )]
    Argon2Cost {
        /// The cost.
        cost: crate::Argon2Cost,
    },
    /// The text is not one well-formed key line.
    #[error("key text is malformed: {reason}")]
    KeyText {
        /// What is wrong; never any of the text itself.
        reason: &'static str,
    },
    /// The key file may be read or replaced by others, or is no plain file.
    #[error("key file {} is refused: {reason}", path.display())]
    KeyFileRefused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The key file could not be read or created.
    #[error("key file {} could not be used", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
}

impl BackupError {
    /// Returns what to do next, where there is something to do other than repair the cause named.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnsupportedVersion { .. } => {
                Some("open the backup with the release that sealed it, or a newer one")
            }
            Self::NoKeyFits { .. } => Some("give the key file of one of the key ids named"),
            Self::WrappedKeyRefused { .. }
            | Self::HeaderRefused
            | Self::PayloadRefused
            | Self::ChunkRefused { .. }
            | Self::TrailerRefused { .. } => Some(
                "the file is damaged or was altered: compare its sha256 with the recorded one \
                 and use another copy",
            ),
            Self::Truncated { .. } | Self::TrailerMissing => Some(
                "the file is cut, has bytes after its end, or was never finished: use another copy",
            ),
            Self::AnotherBackup { .. } => Some("look for the file of the expected backup id"),
            Self::KeyText { .. } => Some("copy the key file again from where it is kept"),
            Self::KeyFileRefused { .. } => {
                Some("make it a plain file that only its owner may read: chmod 600")
            }
            _ => None,
        }
    }
}

impl From<BackupError> for io::Error {
    fn from(error: BackupError) -> Self {
        let kind = match &error {
            BackupError::Read(source) | BackupError::Write(source) => source.kind(),
            BackupError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

fn list(keys: &[KeyId]) -> String {
    if keys.is_empty() {
        return "recipients this reader does not know".to_owned();
    }
    keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}
