//! Cuts a byte stream into sealed chunks and the bytes after the last of them.

use std::io::{self, Read};

use zeroize::{Zeroize, Zeroizing};

use crate::cobblestone::SEALED_CHUNK_BYTES;
use crate::error::BackupError;

/// Which piece of the stream the window stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A chunk of full length; another piece follows.
    Full,
    /// What is left for the final chunk, always shorter than a full one, and the tail after it.
    Last,
}

/// A window of one sealed chunk and one tail over a source.
///
/// It knows the final chunk without being told: only there do fewer bytes than a full chunk and
/// the tail remain. Memory is bounded by the window, whatever the source holds.
pub(crate) struct Window<R> {
    source: R,
    buffer: Zeroizing<Vec<u8>>,
    filled: usize,
    chunk: usize,
}

impl<R: Read> Window<R> {
    /// Starts before the first chunk of `source`, expecting `tail_bytes` after the last one.
    pub(crate) fn new(source: R, tail_bytes: usize) -> Self {
        let buffer = Zeroizing::new(vec![0; SEALED_CHUNK_BYTES + tail_bytes]);
        Self { source, buffer, filled: 0, chunk: 0 }
    }

    /// Moves to the next piece. Not called again after [`Piece::Last`].
    pub(crate) fn advance(&mut self) -> Result<Piece, BackupError> {
        self.buffer.copy_within(self.chunk..self.filled, 0);
        self.filled -= self.chunk;
        self.chunk = 0;
        self.fill().map_err(BackupError::Read)?;
        if self.filled == self.buffer.len() {
            self.chunk = SEALED_CHUNK_BYTES;
            return Ok(Piece::Full);
        }
        let tail_bytes = self.buffer.len() - SEALED_CHUNK_BYTES;
        self.chunk = self.filled.saturating_sub(tail_bytes);
        Ok(Piece::Last)
    }

    /// Lends the chunk of the current piece; opened in place.
    pub(crate) fn chunk(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.chunk]
    }

    /// Lends the bytes after the chunk; the tail of the stream on [`Piece::Last`].
    pub(crate) fn tail(&self) -> &[u8] {
        &self.buffer[self.chunk..self.filled]
    }

    /// Overwrites what the window holds.
    pub(crate) fn wipe(&mut self) {
        self.buffer.as_mut_slice().zeroize();
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.filled < self.buffer.len() {
            match self.source.read(&mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
