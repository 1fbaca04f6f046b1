//! Opening: nothing of a chunk leaves before its tag is verified, and no end before the trailer.

use std::io::{self, Read};
use std::ops::Range;

use crate::cobblestone::{Opener, PREFIX_BYTES};
use crate::error::BackupError;
use crate::header::{BackupId, Header, RawHeader, bound_context, read_whole};
use crate::key::KeyEncryptionKey;
use crate::receipt::{Receipt, Tally};
use crate::seal::PAYLOAD_LABEL;
use crate::secret::Secret;
use crate::trailer::{TRAILER_BYTES, Trailer};
use crate::window::{Piece, Window};

/// Opens a sealed backup with whichever of `keys` it is sealed for.
///
/// When this returns, the header is authentic and the payload belongs to it; no chunk has been read.
/// Which backup it is stays to be checked: [`SealedReader::expect_backup`].
///
/// # Errors
/// Not a backup, a version this reader does not know, no key that fits, or a header, wrapped key or
/// payload start that does not authenticate.
pub fn open<'k, R: Read>(
    mut source: R,
    keys: impl IntoIterator<Item = &'k KeyEncryptionKey>,
) -> Result<SealedReader<R>, BackupError> {
    let raw = RawHeader::read(&mut source)?;
    let data_key = unwrap(&raw, keys)?;
    raw.authenticate(&data_key)?;
    let mut prefix = [0; PREFIX_BYTES];
    read_whole(&mut source, &mut prefix, "payload")?;
    let context = bound_context(PAYLOAD_LABEL, &raw.hash);
    let opener = Opener::new(&data_key, &prefix, &context).ok_or(BackupError::PayloadRefused)?;
    let mut tally = Tally::default();
    tally.add(&raw.bytes);
    tally.add(&prefix);
    Ok(SealedReader {
        window: Window::new(source, TRAILER_BYTES),
        opener,
        trailer_key: Trailer::key(&data_key),
        header: raw.header,
        ready: 0..0,
        plaintext_bytes: 0,
        tally,
        state: State::Reading,
    })
}

/// Unwraps the data key with the first of `keys` that is a recipient.
pub(crate) fn unwrap<'k>(
    raw: &RawHeader,
    keys: impl IntoIterator<Item = &'k KeyEncryptionKey>,
) -> Result<Secret, BackupError> {
    for key in keys {
        if let Some(stanza) = raw.stanzas.iter().find(|stanza| stanza.key_id == key.id()) {
            return stanza.unwrap(key, &raw.hash);
        }
    }
    Err(BackupError::NoKeyFits { recipients: raw.header.recipients.clone() })
}

/// Hands out the plaintext of a sealed backup, verified chunk by verified chunk.
///
/// `read` returns `Ok(0)` for a non-empty buffer only after the final chunk and the trailer are
/// verified; until then the bytes handed out are a verified beginning, not a verified whole. After
/// an error every further read is refused.
pub struct SealedReader<R> {
    window: Window<R>,
    opener: Opener,
    trailer_key: Secret,
    header: Header,
    ready: Range<usize>,
    plaintext_bytes: u64,
    tally: Tally,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Reading,
    Ended(Receipt),
    Refused,
}

impl<R: Read> SealedReader<R> {
    /// Returns the authenticated header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Goes on only if this is the backup that was asked for.
    ///
    /// A whole backup in the place of another one with the same key is authentic in itself; only
    /// the caller knows which one should stand here.
    ///
    /// # Errors
    /// [`BackupError::AnotherBackup`] naming both.
    pub fn expect_backup(self, expected: BackupId) -> Result<Self, BackupError> {
        let found = self.header.backup_id;
        if found == expected {
            Ok(self)
        } else {
            Err(BackupError::AnotherBackup { expected, found })
        }
    }

    /// Returns the receipt of a backup that was read to its verified end.
    ///
    /// # Errors
    /// [`BackupError::Unfinished`] if plaintext or the end has not been read yet, and
    /// [`BackupError::AlreadyRefused`] after an error.
    pub fn finish(self) -> Result<Receipt, BackupError> {
        match self.state {
            State::Ended(receipt) if self.ready.is_empty() => Ok(receipt),
            State::Ended(_) | State::Reading => Err(BackupError::Unfinished),
            State::Refused => Err(BackupError::AlreadyRefused),
        }
    }

    fn hand_out(&mut self, out: &mut [u8]) -> usize {
        let handed = out.len().min(self.ready.len());
        let end = self.ready.start + handed;
        out[..handed].copy_from_slice(&self.window.chunk()[self.ready.start..end]);
        self.ready.start = end;
        handed
    }

    fn advance(&mut self) -> Result<(), BackupError> {
        // Until the chunk is verified, any way to leave this function leaves the reader refused.
        self.state = State::Refused;
        self.ready = 0..0;
        match self.window.advance()? {
            Piece::Full => {
                self.ready = self.open_chunk()?;
                self.state = State::Reading;
            }
            Piece::Last => {
                let trailer = Trailer::decode(self.window.tail())?;
                let verified = self.open_chunk()?;
                let receipt = self.check_end(&trailer)?;
                self.ready = verified;
                self.state = State::Ended(receipt);
            }
        }
        Ok(())
    }

    fn open_chunk(&mut self) -> Result<Range<usize>, BackupError> {
        self.tally.add(self.window.chunk());
        let length = self.opener.open(self.window.chunk())?.len();
        self.plaintext_bytes += length as u64;
        Ok(0..length)
    }

    fn check_end(&mut self, trailer: &Trailer) -> Result<Receipt, BackupError> {
        let plaintext_bytes = self.plaintext_bytes;
        trailer.agrees_with(&Trailer { plaintext_bytes, digest: self.tally.digest() })?;
        Trailer::authentic(self.window.tail(), &self.trailer_key)?;
        self.tally.add(self.window.tail());
        Ok(self.tally.receipt(self.header.backup_id, plaintext_bytes))
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.ready.is_empty() {
            match self.state {
                State::Ended(_) => return Ok(0),
                State::Refused => return Err(BackupError::AlreadyRefused.into()),
                State::Reading => {
                    if let Err(error) = self.advance() {
                        self.window.wipe();
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(self.hand_out(out))
    }
}
