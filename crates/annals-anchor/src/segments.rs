//! Lines into an anchor: continues whatever an interrupted publication has left there.
//!
//! A publication that was cut short leaves segments behind the anchor's checkpoint. The log may
//! have grown since, so the segment of the next publication has the same name and more lines. What
//! lies there is never replaced: it is compared, and the lines behind it become a segment of their
//! own. So the segments of an anchor always follow one another without gap and overlap, whoever
//! writes them, and however often it was interrupted.

use annals_events::Seq;

use crate::error::AnchorError;
use crate::exhibit::ObjectPath;
use crate::limits::MAX_OBJECT_BYTES;
use crate::shelf::{Placed, Shelf};

/// What a publication has written so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Objects written.
    pub(crate) written: u64,
    /// Their length, in bytes.
    pub(crate) written_bytes: u64,
    /// Objects that were there already, identical.
    pub(crate) present: u64,
}

impl Tally {
    pub(crate) fn add_written(&mut self, bytes: &[u8]) {
        self.written += 1;
        self.written_bytes += bytes.len() as u64;
    }
}

/// The segments of one publication, as a stream of lines.
pub(crate) struct SegmentWriter<'a, S> {
    shelf: &'a S,
    /// The next line.
    next: Seq,
    /// The last segment found in the anchor, and what it holds beyond the lines offered so far.
    found: Option<(ObjectPath, Vec<u8>)>,
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl<'a, S: Shelf> SegmentWriter<'a, S> {
    /// Continues behind the first `since_size` lines.
    pub(crate) fn new(shelf: &'a S, since_size: u64) -> Self {
        Self { shelf, next: Seq(since_size), found: None }
    }

    fn conflict(&self, path: &ObjectPath) -> AnchorError {
        AnchorError::Conflict { place: self.shelf.name(), path: path.to_string() }
    }

    /// Adds whole lines that begin with line `first`.
    pub(crate) async fn add(
        &mut self,
        first: Seq,
        lines: &[u8],
        tally: &mut Tally,
    ) -> Result<(), AnchorError> {
        if first != self.next || lines.last() != Some(&b'\n') {
            return Err(AnchorError::Incomplete {
                place: self.shelf.name(),
                size: first.0,
                shown: self.next.0,
            });
        }
        let mut rest = self.skip_found(lines)?;
        while !rest.is_empty() {
            let path = ObjectPath::segment(self.next);
            match self.shelf.place(&path, rest).await? {
                Placed::Written => {
                    tally.add_written(rest);
                    self.next.0 += count_lines(rest);
                    rest = &[];
                }
                Placed::Present(theirs) => {
                    tally.present += 1;
                    // An empty segment would be found under the same name for ever.
                    if theirs.last() != Some(&b'\n') {
                        return Err(self.conflict(&path));
                    }
                    self.found = Some((path, theirs));
                    rest = self.skip_found(rest)?;
                }
            }
        }
        Ok(())
    }

    /// Compares `lines` with what was found and returns those behind it.
    fn skip_found<'b>(&mut self, lines: &'b [u8]) -> Result<&'b [u8], AnchorError> {
        let Some((path, theirs)) = self.found.take() else { return Ok(lines) };
        let shared = theirs.len().min(lines.len());
        if theirs[..shared] != lines[..shared] {
            return Err(self.conflict(&path));
        }
        self.next.0 += count_lines(&lines[..shared]);
        if theirs.len() > shared {
            self.found = Some((path, theirs[shared..].to_vec()));
        }
        Ok(&lines[shared..])
    }

    /// Checks that the lines end where the checkpoint of `size` events does.
    pub(crate) fn finish(self, size: u64) -> Result<(), AnchorError> {
        let place = self.shelf.name();
        if self.next.0 != size {
            return Err(AnchorError::Incomplete { place, size, shown: self.next.0 });
        }
        match self.found {
            Some((path, beyond)) => Err(AnchorError::Beyond {
                place,
                path: path.to_string(),
                bytes: beyond.len() as u64,
                ours: size,
            }),
            None => Ok(()),
        }
    }
}

/// Writes an object that is the same whoever publishes it.
pub(crate) async fn add_object<S: Shelf>(
    shelf: &S,
    path: &ObjectPath,
    bytes: &[u8],
    tally: &mut Tally,
) -> Result<(), AnchorError> {
    match shelf.place(path, bytes).await? {
        Placed::Written => {
            tally.add_written(bytes);
            Ok(())
        }
        Placed::Present(theirs) if theirs == bytes => {
            tally.present += 1;
            Ok(())
        }
        Placed::Present(_) => {
            Err(AnchorError::Conflict { place: shelf.name(), path: path.to_string() })
        }
    }
}

/// Refuses an object too large to be compared later.
pub(crate) fn check_length<S: Shelf>(
    shelf: &S,
    path: &ObjectPath,
    bytes: u64,
) -> Result<(), AnchorError> {
    if bytes <= MAX_OBJECT_BYTES {
        return Ok(());
    }
    let (place, path) = (shelf.name(), path.to_string());
    Err(AnchorError::TooLarge { place, path, bytes, limit: MAX_OBJECT_BYTES })
}
