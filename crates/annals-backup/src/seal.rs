//! Sealing: plaintext goes in as it comes, sealed chunks go out as they fill.

use std::io::{self, Write};

use zeroize::Zeroizing;

use crate::cobblestone::{CHUNK_BYTES, SEALED_CHUNK_BYTES, Sealer};
use crate::entropy::{Entropy, SystemEntropy, draw};
use crate::error::BackupError;
use crate::header::{self, BackupId, bound_context};
use crate::key::KeyEncryptionKey;
use crate::receipt::{Receipt, Tally};
use crate::recipients::{MAX_RECIPIENTS, Stanza};
use crate::secret::Secret;
use crate::trailer::Trailer;

/// The label of the payload's context.
pub(crate) const PAYLOAD_LABEL: &str = "annals-backup/v1/payload";

/// What is fixed about a backup before its first byte.
#[derive(Debug, Clone, Copy)]
pub struct SealParams<'a> {
    /// The backup's identity, never given twice.
    pub backup_id: BackupId,
    /// Bytes that anyone may read, authenticated with the backup; no secrets. At most
    /// [`MAX_METADATA_BYTES`](crate::MAX_METADATA_BYTES).
    pub public_metadata: &'a [u8],
}

/// Starts a sealed backup on `sink`, to be opened by any one of `recipients`.
///
/// A random data key is drawn for this backup alone. The header is written at once; the backup is
/// complete only when [`SealedWriter::finish`] has returned.
///
/// # Errors
/// No recipient, more than [`MAX_RECIPIENTS`], one twice, metadata over its limit, no random bytes,
/// or the sink's own failure.
pub fn seal<'k, W: Write>(
    sink: W,
    params: &SealParams<'_>,
    recipients: impl IntoIterator<Item = &'k KeyEncryptionKey>,
) -> Result<SealedWriter<W>, BackupError> {
    let recipients: Vec<_> = recipients.into_iter().collect();
    seal_from(sink, params, &recipients, &mut SystemEntropy)
}

/// Seals with random bytes from `entropy`: data key, one salt for each recipient, payload salt.
pub(crate) fn seal_from<W: Write>(
    sink: W,
    params: &SealParams<'_>,
    recipients: &[&KeyEncryptionKey],
    entropy: &mut dyn Entropy,
) -> Result<SealedWriter<W>, BackupError> {
    check(recipients)?;
    let prologue = header::prologue(params.backup_id, params.public_metadata)?;
    let hash = header::hash_of(&prologue);
    let data_key = Secret::random(entropy)?;
    let mut stanzas = Vec::with_capacity(recipients.len());
    for key in recipients {
        stanzas.push(Stanza::wrap(&data_key, key, &hash, draw(entropy)?)?);
    }
    let header = header::complete(prologue, &stanzas, &data_key);
    let context = bound_context(PAYLOAD_LABEL, &hash);
    let (sealer, prefix) = Sealer::new(&data_key, draw(entropy)?, &context);

    let mut writer = SealedWriter {
        sink,
        sealer,
        trailer_key: Trailer::key(&data_key),
        backup_id: params.backup_id,
        chunk: Zeroizing::new(Vec::with_capacity(SEALED_CHUNK_BYTES)),
        plaintext_bytes: 0,
        tally: Tally::default(),
        refused: false,
    };
    writer.emit(&header)?;
    writer.emit(&prefix)?;
    Ok(writer)
}

/// Whether a backup may be sealed for them.
pub(crate) fn check(recipients: &[&KeyEncryptionKey]) -> Result<(), BackupError> {
    let found = recipients.len();
    if found == 0 {
        return Err(BackupError::NoRecipients);
    }
    if found > MAX_RECIPIENTS {
        return Err(BackupError::TooManyRecipients { found });
    }
    for (index, key) in recipients.iter().enumerate() {
        if recipients[..index].iter().any(|earlier| earlier.id() == key.id()) {
            return Err(BackupError::DuplicateRecipient { key_id: key.id() });
        }
    }
    Ok(())
}

/// Takes plaintext and writes sealed chunks.
///
/// Memory is one chunk. `flush` flushes the sink but cannot seal a partial chunk: bytes of it stay
/// here until it fills or [`finish`](Self::finish) is called. A writer dropped without `finish`
/// leaves bytes that no reader accepts. After an error every further call is refused, because what
/// reached the sink is unknown.
#[must_use = "a backup that is not finished cannot be opened"]
pub struct SealedWriter<W> {
    sink: W,
    sealer: Sealer,
    trailer_key: Secret,
    backup_id: BackupId,
    chunk: Zeroizing<Vec<u8>>,
    plaintext_bytes: u64,
    tally: Tally,
    refused: bool,
}

impl<W: Write> SealedWriter<W> {
    /// Writes the final chunk and the trailer, flushes, and returns the sink and the receipt.
    ///
    /// Making the bytes durable is the caller's part.
    ///
    /// # Errors
    /// The sink's failure, or [`BackupError::AlreadyRefused`] after an earlier one.
    pub fn finish(mut self) -> Result<(W, Receipt), BackupError> {
        self.check_usable()?;
        self.emit_chunk()?;
        let trailer =
            Trailer { plaintext_bytes: self.plaintext_bytes, digest: self.tally.digest() };
        let trailer = trailer.encode(&self.trailer_key);
        self.emit(&trailer)?;
        self.sink.flush().map_err(BackupError::Write)?;
        let receipt = self.tally.receipt(self.backup_id, self.plaintext_bytes);
        Ok((self.sink, receipt))
    }

    fn accept(&mut self, plaintext: &[u8]) -> Result<usize, BackupError> {
        self.check_usable()?;
        let taken = plaintext.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&plaintext[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.emit_chunk()?;
        }
        Ok(taken)
    }

    fn emit_chunk(&mut self) -> Result<(), BackupError> {
        // Until the chunk is out, any way to leave this function leaves the writer refused.
        self.refused = true;
        let length = self.chunk.len() as u64;
        self.sealer.seal(&mut self.chunk)?;
        self.sink.write_all(&self.chunk).map_err(BackupError::Write)?;
        self.tally.add(&self.chunk);
        self.plaintext_bytes += length;
        self.chunk.clear();
        self.refused = false;
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.sink.write_all(bytes).map_err(BackupError::Write)?;
        self.tally.add(bytes);
        Ok(())
    }

    fn check_usable(&self) -> Result<(), BackupError> {
        if self.refused { Err(BackupError::AlreadyRefused) } else { Ok(()) }
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        Ok(self.accept(plaintext)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check_usable()?;
        self.sink.flush()
    }
}
