//! Re-wrapping: the same sealed payload under the same data key, for other recipients.

use std::io::{Read, Write};

use crate::cobblestone::{Opener, PREFIX_BYTES, TAG_BYTES};
use crate::entropy::{SystemEntropy, draw};
use crate::error::BackupError;
use crate::header::{self, RawHeader, bound_context, read_whole};
use crate::key::KeyEncryptionKey;
use crate::open::unwrap;
use crate::receipt::{Receipt, Tally};
use crate::recipients::Stanza;
use crate::seal::{PAYLOAD_LABEL, check};
use crate::trailer::{TRAILER_BYTES, Trailer};
use crate::window::{Piece, Window};

/// What a backup was before it was re-wrapped, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrapped {
    /// The measures of what was read.
    pub before: Receipt,
    /// The measures of what was written.
    pub after: Receipt,
}

/// Copies a sealed backup to `sink` for other recipients: nothing is decrypted but the data key.
///
/// The prologue and every byte of the payload stay; the stanzas, the header's code and the trailer are
/// written anew. What is copied is authentic: its header is checked before, its trailer, which covers
/// every byte before it, behind the copying. A backup that was altered is refused, and what reached the
/// sink is not finished then. Stanzas of types this writer does not know are left out.
///
/// Who had an old key and the old bytes can open them as before; what was read once stays read.
///
/// # Errors
/// As [`open`](crate::open) and [`seal`](crate::seal), and a trailer that does not match.
pub fn rewrap<'o, 'n, R: Read, W: Write>(
    mut source: R,
    keys: impl IntoIterator<Item = &'o KeyEncryptionKey>,
    recipients: impl IntoIterator<Item = &'n KeyEncryptionKey>,
    mut sink: W,
) -> Result<(W, Rewrapped), BackupError> {
    let recipients: Vec<_> = recipients.into_iter().collect();
    check(&recipients)?;
    let raw = RawHeader::read(&mut source)?;
    let data_key = unwrap(&raw, keys)?;
    raw.authenticate(&data_key)?;
    let mut prefix = [0; PREFIX_BYTES];
    read_whole(&mut source, &mut prefix, "payload")?;
    let context = bound_context(PAYLOAD_LABEL, &raw.hash);
    Opener::new(&data_key, &prefix, &context).ok_or(BackupError::PayloadRefused)?;

    let mut stanzas = Vec::with_capacity(recipients.len());
    for key in recipients {
        stanzas.push(Stanza::wrap(&data_key, key, &raw.hash, draw(&mut SystemEntropy)?)?);
    }
    let prologue = header::prologue(raw.header.backup_id, &raw.header.public_metadata)?;
    let header = header::complete(prologue, &stanzas, &data_key);
    let (mut old, mut new) = (Tally::default(), Tally::default());
    old.add(&raw.bytes);
    write(&mut sink, &mut new, &header)?;
    old.add(&prefix);
    write(&mut sink, &mut new, &prefix)?;

    let mut window = Window::new(source, TRAILER_BYTES);
    let mut plaintext_bytes = 0;
    loop {
        let piece = window.advance()?;
        let sealed = window.chunk();
        let inside = sealed.len().checked_sub(TAG_BYTES);
        plaintext_bytes += inside.ok_or(BackupError::Truncated { part: "final chunk" })? as u64;
        old.add(sealed);
        write(&mut sink, &mut new, sealed)?;
        if piece == Piece::Last {
            break;
        }
    }
    let key = Trailer::key(&data_key);
    let trailer = Trailer::decode(window.tail())?;
    trailer.agrees_with(&Trailer { plaintext_bytes, digest: old.digest() })?;
    Trailer::authentic(window.tail(), &key)?;
    old.add(window.tail());
    let trailer = Trailer { plaintext_bytes, digest: new.digest() }.encode(&key);
    write(&mut sink, &mut new, &trailer)?;
    sink.flush().map_err(BackupError::Write)?;
    let id = raw.header.backup_id;
    let (before, after) = (old.receipt(id, plaintext_bytes), new.receipt(id, plaintext_bytes));
    Ok((sink, Rewrapped { before, after }))
}

fn write(sink: &mut impl Write, tally: &mut Tally, bytes: &[u8]) -> Result<(), BackupError> {
    sink.write_all(bytes).map_err(BackupError::Write)?;
    tally.add(bytes);
    Ok(())
}
