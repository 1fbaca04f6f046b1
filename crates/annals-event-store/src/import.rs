//! A log that comes from another home, byte for byte.

use std::io::{self, Write};

use annals_events::{BlobRef, Recorded, Scanner, Seq};

use crate::admit::{Admission, OpenError, OpenOptions};
use crate::blobs;
use crate::disk::{self, Disk, RealDisk};
use crate::file::{FILE_HOME, FileLog, begin, take_lock};
use crate::layout::Layout;
use crate::read::ReadError;

impl FileLog<RealDisk> {
    /// Makes the log of `lines`, which `note` vouches for, and opens it for writing.
    ///
    /// The log appears at once, when all of it was verified: a crash or an error before that
    /// leaves a folder that counts as no log. Content its events name is stored before.
    ///
    /// # Errors
    ///
    /// When there is a log already, the lines are not what the note vouches for, or the disk says
    /// no.
    pub fn import(
        layout: Layout,
        note: &[u8],
        lines: impl Iterator<Item = Result<Vec<u8>, ReadError>>,
        options: &OpenOptions<'_>,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<Self, OpenError> {
        let disk = RealDisk;
        let place = layout.root().display().to_string();
        let io = |source: io::Error| OpenError::Io { place: place.clone(), source: source.into() };
        disk::create_folders(&disk, layout.root()).map_err(io)?;
        let lock = take_lock(&disk, &layout, options.holder)?;
        let admission = Admission::new(place.clone(), FILE_HOME.to_owned(), Some(note), options)?;
        let mut refused = None;
        let begun = begin(&disk, &layout, note, |file| {
            write_verified(file, lines, admission).map_err(|error| {
                refused = Some(error);
                io::Error::other("the lines are refused")
            })
        });
        match (begun, refused) {
            (Ok(()), _) => {}
            (Err(_), Some(refused)) => return Err(refused),
            (Err(error), None) => return Err(error),
        }
        drop(lock);
        Self::open(layout, options, visit)
    }
}

/// Writes the lines while they are verified, and decides when all are written.
fn write_verified<F: Write>(
    file: &mut F,
    lines: impl Iterator<Item = Result<Vec<u8>, ReadError>>,
    mut admission: Admission<'_>,
) -> Result<(), OpenError> {
    let failed =
        |source: io::Error| OpenError::Io { place: "the copy".into(), source: source.into() };
    let mut scanner = Scanner::new(&[admission.signed()]);
    let mut buffered = io::BufWriter::with_capacity(128 * 1024, file);
    // What is wrong with them the scanner keeps, and the admission tells.
    let mut fed = scanner.begin_segment(Seq(0));
    for line in lines {
        let mut line = line?;
        line.push(b'\n');
        if fed.is_ok() {
            fed = scanner.feed(&line, &mut |recorded, _| admission.watch(recorded));
        }
        buffered.write_all(&line).map_err(failed)?;
    }
    buffered.flush().map_err(failed)?;
    admission.decide(&scanner.finish())?;
    Ok(())
}

impl Layout {
    /// Stores content in the folder of a log that is not open: one that is being made.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn put_blob(&self, content: &[u8]) -> Result<BlobRef, crate::BlobError> {
        let failed = |source: io::Error| crate::BlobError::Io {
            place: self.blobs().display().to_string(),
            source: source.into(),
        };
        disk::create_folders(&RealDisk, &self.blobs()).map_err(failed)?;
        blobs::put(&RealDisk, self, content)
    }
}

/// Gives a folder of a log another name, durably.
///
/// # Errors
///
/// When the disk says no.
pub fn move_aside(from: &Layout, to: &Layout) -> io::Result<()> {
    let folder = from.root().parent().ok_or_else(|| io::Error::other("a log lies in a folder"))?;
    let mut handle = RealDisk.open_folder(folder)?;
    RealDisk.rename(from.root(), to.root())?;
    crate::disk::DiskFolder::sync(&mut handle)
}
