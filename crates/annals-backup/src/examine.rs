//! What can be said of a sealed backup without any key.

use std::io::Read;

use crate::cobblestone::{PREFIX_BYTES, TAG_BYTES};
use crate::error::BackupError;
use crate::header::{Header, RawHeader, read_whole};
use crate::receipt::{Receipt, Tally};
use crate::trailer::{TRAILER_BYTES, Trailer};
use crate::window::{Piece, Window};

/// The header as it stands, not authenticated, and the receipt of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// The header.
    pub header: Header,
    /// The measures of the file, to be compared with the recorded ones.
    pub receipt: Receipt,
}

/// Checks the form, the lengths and the trailer's digest of a sealed backup, without any key.
///
/// This finds accidents. It proves nothing against someone who can write the file: compare the
/// receipt with one that was recorded elsewhere, or [`open`](crate::open) the backup.
///
/// # Errors
/// Not a backup, a version this reader does not know, cut, or a trailer that disagrees.
pub fn examine<R: Read>(mut source: R) -> Result<Examination, BackupError> {
    let raw = RawHeader::read(&mut source)?;
    let mut prefix = [0; PREFIX_BYTES];
    read_whole(&mut source, &mut prefix, "payload")?;
    let mut tally = Tally::default();
    tally.add(&raw.bytes);
    tally.add(&prefix);
    let mut window = Window::new(source, TRAILER_BYTES);
    let plaintext_bytes = measure(&mut window, &mut tally)?;
    let trailer = Trailer::decode(window.tail())?;
    trailer.agrees_with(&Trailer { plaintext_bytes, digest: tally.digest() })?;
    tally.add(window.tail());
    let receipt = tally.receipt(raw.header.backup_id, plaintext_bytes);
    Ok(Examination { header: raw.header, receipt })
}

fn measure<R: Read>(window: &mut Window<R>, tally: &mut Tally) -> Result<u64, BackupError> {
    let mut plaintext_bytes = 0;
    loop {
        let piece = window.advance()?;
        let sealed = window.chunk();
        tally.add(sealed);
        plaintext_bytes += sealed.len().saturating_sub(TAG_BYTES) as u64;
        if piece == Piece::Last {
            let cut = sealed.len() < TAG_BYTES;
            return if cut && window.tail().len() == TRAILER_BYTES {
                Err(BackupError::Truncated { part: "final chunk" })
            } else {
                Ok(plaintext_bytes)
            };
        }
    }
}
