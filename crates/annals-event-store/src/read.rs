//! Reads a log's files without locking: a reader never waits and never changes anything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use annals_events::{Scan, Segment, Seq, scan};

use crate::layout::{Layout, segment_first};

/// A log's bytes, as found.
#[derive(Debug, Clone, Default)]
pub struct LogFiles {
    /// The segments in order, each with the place its name gives to its first line.
    pub segments: Vec<(Seq, Vec<u8>)>,
    /// The signed head, if there is one.
    pub checkpoint: Option<Vec<u8>>,
}

/// Why a log's files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no event log in {}", .0.display())]
    Missing(PathBuf),
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

impl LogFiles {
    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Scans them, noting the root at each of `sizes`.
    pub fn scan(&self, sizes: &[u64]) -> Scan {
        let segments: Vec<Segment<'_>> =
            self.segments.iter().map(|(first, bytes)| Segment { first: *first, bytes }).collect();
        scan(&segments, sizes)
    }
}

/// Reads the log in `layout`.
///
/// # Errors
///
/// When there is none, or a file cannot be read.
pub fn read_files(layout: &Layout) -> Result<LogFiles, ReadError> {
    let folder = layout.segments();
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io { path, source }
    };
    if !folder.is_dir() {
        return Err(ReadError::Missing(layout.root().to_owned()));
    }
    // The checkpoint first: the segments read after it hold at least what it vouches for.
    let checkpoint = match fs::read(layout.checkpoint()) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io(&layout.checkpoint())(error)),
    };
    let mut segments = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io(&folder))? {
        let path = entry.map_err(io(&folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let first = segment_first(&name).ok_or_else(|| ReadError::Foreign(path.clone()))?;
        segments.push((first, fs::read(&path).map_err(io(&path))?));
    }
    if segments.is_empty() {
        return Err(ReadError::Missing(layout.root().to_owned()));
    }
    segments.sort_by_key(|(first, _)| *first);
    Ok(LogFiles { segments, checkpoint })
}
