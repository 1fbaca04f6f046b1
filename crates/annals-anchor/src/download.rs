//! Brings an anchored copy into a folder, to be verified there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;

use crate::error::AnchorError;
use crate::exhibit::ObjectPath;
use crate::shelf::{Found, Shelf};

/// What a download brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Download {
    /// Whether there was a checkpoint. Without one nothing vouches for the rest.
    pub has_checkpoint: bool,
    /// Objects, the checkpoint included.
    pub objects: u64,
    /// Their length, in bytes.
    pub bytes: u64,
    /// Names beside the published layout, which were left where they are.
    pub left: u64,
}

fn target(path: &Path) -> impl FnOnce(io::Error) -> AnchorError {
    let path = path.to_owned();
    move |source| AnchorError::Target { path, source }
}

/// Creates `into`, or accepts it if it is an empty folder.
fn empty_folder(into: &Path) -> Result<(), AnchorError> {
    fs::create_dir_all(into).map_err(target(into))?;
    let mut entries = fs::read_dir(into).map_err(target(into))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(target(into)(io::ErrorKind::DirectoryNotEmpty.into())),
    }
}

fn local(into: &Path, path: &ObjectPath) -> PathBuf {
    path.parts().fold(into.to_owned(), |folder, part| folder.join(part))
}

/// One new file of a download.
pub struct LocalFile {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl LocalFile {
    fn create(path: PathBuf) -> Result<Self, AnchorError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(target(folder))?;
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        Ok(Self { file: file.map_err(target(&path))?, path, bytes: 0 })
    }

    /// Adds `piece` at its end.
    ///
    /// # Errors
    ///
    /// [`AnchorError::Target`] when the disk does not take it.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), AnchorError> {
        self.file.write_all(piece).map_err(target(&self.path))?;
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// Its length so far, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

async fn bring<S: Shelf>(
    shelf: &S,
    into: &Path,
    path: &ObjectPath,
    brought: &mut Download,
) -> Result<(), AnchorError> {
    let mut file = LocalFile::create(local(into, path))?;
    match shelf.copy_into(path, &mut file).await? {
        Some(bytes) => {
            brought.objects += 1;
            brought.bytes += bytes;
            Ok(())
        }
        None => Err(AnchorError::Absent { place: shelf.name(), path: path.to_string() }),
    }
}

/// Brings the whole copy in `shelf` into the folder `into`, which must be empty or not there.
///
/// The checkpoint comes first: what is listed after it holds at least what it vouches for. Nothing
/// is verified here. Memory stays bounded: an object is written as it comes. The files are not made
/// durable: a crash means downloading again.
///
/// # Errors
///
/// When the place or the folder does not work, or a name in the place is not a safe one. What was
/// brought until then stays.
pub async fn download_from<S: Shelf>(shelf: &S, into: &Path) -> Result<Download, AnchorError> {
    empty_folder(into)?;
    let mut brought = Download::default();
    if let Some(held) = shelf.checkpoint().await? {
        LocalFile::create(local(into, &ObjectPath::checkpoint()))?.write(&held.note)?;
        brought.has_checkpoint = true;
        brought.objects += 1;
        brought.bytes += held.note.len() as u64;
    }
    let mut names = shelf.list();
    while let Some(found) = names.try_next().await? {
        match found {
            Found::Object(path) if path.is_checkpoint() => {}
            Found::Object(path) => bring(shelf, into, &path, &mut brought).await?,
            Found::Other(_) => brought.left += 1,
        }
    }
    Ok(brought)
}
