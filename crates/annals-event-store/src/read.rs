//! Reads a log's folder without locking: a reader never waits and never changes anything.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use annals_events::{Damage, MAX_LINE_BYTES, Recorded, Scanned, Scanner, Seq};

use crate::disk::{self, Disk, RealDisk};
use crate::layout::{Layout, segment_first};

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no event log in {0}")]
    Missing(String),
    /// The file system says no.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that does not belong there.
    #[error("{} is not part of a log", .0.display())]
    Foreign(PathBuf),
}

/// A log's folder as found: the checkpoint read first, the segments listed after it.
#[derive(Debug, Clone)]
pub struct LogFiles {
    /// The segments in order, each with the place its name gives to its first line.
    pub segments: Vec<(Seq, PathBuf)>,
    /// The signed head, if there is one.
    pub checkpoint: Option<Vec<u8>>,
}

/// Notes longer than this are cut: no checkpoint is.
const MAX_NOTE_BYTES: u64 = 64 * 1024 + 1;

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ReadError + '_ {
    move |source| ReadError::Io { path: path.to_owned(), source }
}

enum Stop {
    Disk(io::Error),
    Damage,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<Damage> for Stop {
    fn from(_: Damage) -> Self {
        // The scanner keeps it.
        Self::Damage
    }
}

/// The published note, as far as a note may be long.
pub(crate) fn read_note<D: Disk>(disk: &D, layout: &Layout) -> Result<Option<Vec<u8>>, ReadError> {
    let path = layout.checkpoint();
    let file = match disk.open_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(&path)(error)),
    };
    let mut note = Vec::new();
    let read = io::Read::read_to_end(&mut io::Read::take(file, MAX_NOTE_BYTES), &mut note);
    read.map_err(io_at(&path))?;
    Ok(Some(note))
}

impl LogFiles {
    /// Finds the log in `layout`.
    ///
    /// # Errors
    ///
    /// When there is none, or a file does not belong there.
    pub fn find(layout: &Layout) -> Result<Self, ReadError> {
        Self::find_on(&RealDisk, layout)
    }

    pub(crate) fn find_on<D: Disk>(disk: &D, layout: &Layout) -> Result<Self, ReadError> {
        let folder = layout.segments();
        if !disk.is_folder(&folder) {
            return Err(ReadError::Missing(layout.root().display().to_string()));
        }
        // The checkpoint first: the segments listed after it hold at least what it vouches for.
        let checkpoint = read_note(disk, layout)?;
        let mut segments = Vec::new();
        for name in disk.list(&folder).map_err(io_at(&folder))? {
            if name.starts_with('.') {
                continue;
            }
            let path = folder.join(&name);
            let first = segment_first(&name).ok_or_else(|| ReadError::Foreign(path.clone()))?;
            segments.push((first, path));
        }
        if segments.is_empty() {
            return Err(ReadError::Missing(layout.root().display().to_string()));
        }
        segments.sort_by_key(|(first, _)| *first);
        Ok(Self { segments, checkpoint })
    }

    /// Reads all of it in bounded memory; notes the root at each of `marks`, gives every whole
    /// event and its line to `visit`. Damage is in the result.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn scan(
        &self,
        marks: &[u64],
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> Result<Scanned, ReadError> {
        self.scan_on(&RealDisk, Scanner::new(marks), 0, visit, &mut |_, _| {})
    }

    /// As [`Self::scan`], going on with a scanner that stands where the first segment begins.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn scan_from(
        &self,
        scanner: Scanner,
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> Result<Scanned, ReadError> {
        self.scan_on(&RealDisk, scanner, 0, visit, &mut |_, _| {})
    }

    /// The lines one by one, without LF and without any check: of a log that was verified.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds a line longer than a line may be.
    pub fn lines(&self) -> Lines<'_> {
        Lines { rest: self.segments.iter(), open: None }
    }

    /// As [`Self::scan`], going on with `scanner` at the segment at place `from`; `bytes` gets the
    /// bytes of each segment as they are read.
    pub(crate) fn scan_on<D: Disk>(
        &self,
        disk: &D,
        mut scanner: Scanner,
        from: usize,
        visit: &mut dyn FnMut(&Recorded, &[u8]),
        bytes: &mut dyn FnMut(Seq, &[u8]),
    ) -> Result<Scanned, ReadError> {
        for (first, path) in &self.segments[from..] {
            if scanner.begin_segment(*first).is_err() {
                break;
            }
            let read = disk::read_pieces::<D, Stop>(disk, path, |piece| {
                bytes(*first, piece);
                Ok(scanner.feed(piece, visit)?)
            });
            match read {
                Ok(()) => {}
                Err(Stop::Damage) => break,
                Err(Stop::Disk(source)) => return Err(io_at(path)(source)),
            }
        }
        Ok(scanner.finish())
    }
}

/// See [`LogFiles::lines`].
#[derive(Debug)]
pub struct Lines<'a> {
    rest: std::slice::Iter<'a, (Seq, PathBuf)>,
    open: Option<(&'a Path, BufReader<File>)>,
}

impl Iterator for Lines<'_> {
    type Item = Result<Vec<u8>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((path, file)) = &mut self.open {
                let mut line = Vec::new();
                let mut limited = file.take(MAX_LINE_BYTES as u64 + 1);
                match limited.read_until(b'\n', &mut line) {
                    Err(error) => return Some(Err(io_at(path)(error))),
                    Ok(_) if line.pop_if(|end| *end == b'\n').is_some() => return Some(Ok(line)),
                    Ok(n) if n > MAX_LINE_BYTES => {
                        let error = io::Error::other("a line longer than a line may be");
                        return Some(Err(io_at(path)(error)));
                    }
                    // A torn tail, or the end.
                    Ok(_) => self.open = None,
                }
            }
            let (_, path) = self.rest.next()?;
            match File::open(path) {
                Ok(file) => self.open = Some((path, BufReader::new(file))),
                Err(error) => return Some(Err(io_at(path)(error))),
            }
        }
    }
}

/// The most bytes before the first line of a log: a note, and an empty line.
const MAX_HEADER_BYTES: usize = 64 * 1024 + 1;

/// The checkpoint at the beginning of an export (empty if it begins with lines at once), and the
/// bytes of lines that were read with it. The rest is still in `input`.
///
/// # Errors
///
/// When the input cannot be read, or begins with neither.
pub fn split_export(input: &mut impl Read) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut bytes, mut buffer, mut ended) = (Vec::new(), [0; 4096], false);
    while !ended {
        match input.read(&mut buffer) {
            Ok(0) => ended = true,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if matches!(bytes.first(), Some(b'{') | None) {
            return Ok((Vec::new(), bytes));
        }
        // A note has an empty line itself, before its signatures.
        let mut empty_lines = bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\n\n");
        if let Some((at, _)) = empty_lines.nth(1) {
            let lines = bytes.split_off(at + 2);
            bytes.pop();
            return Ok((bytes, lines));
        }
        if bytes.len() > MAX_HEADER_BYTES {
            break;
        }
    }
    let is_note = ended && bytes.windows(2).any(|pair| pair == b"\n\n");
    match is_note {
        true => Ok((bytes, Vec::new())),
        false => {
            let what = "it begins neither with a signed head nor with an event";
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
    }
}
