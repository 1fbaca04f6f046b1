//! What the file log asks of a disk, and how it makes writes durable.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A file that is being written.
pub trait DiskFile: Write {
    /// Makes its content durable (`fdatasync`).
    ///
    /// # Errors
    ///
    /// After an error nothing is known of what was written since the last success.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Makes its content and its metadata durable (`fsync`).
    ///
    /// # Errors
    ///
    /// As [`Self::sync_data`].
    fn sync_all(&mut self) -> io::Result<()>;
}

/// A folder opened before something in it is changed, so that no error of its write-back is lost.
pub trait DiskFolder {
    /// Makes its entries durable.
    ///
    /// # Errors
    ///
    /// After an error nothing is known of entries changed since the last success.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system, as far as a log needs one. The real one is [`RealDisk`].
pub trait Disk {
    /// A file that is being written.
    type File: DiskFile;
    /// A folder whose entries can be made durable.
    type Folder: DiskFolder;
    /// Held by the one writer; ends when dropped, or with the process.
    type Lock;

    /// Creates or empties a file.
    ///
    /// # Errors
    ///
    /// As the file system says; so in all methods.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file to write behind its end.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn open_append(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file to read.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + '_>>;
    /// Opens a folder.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn open_folder(&self, path: &Path) -> io::Result<Self::Folder>;
    /// Creates one folder.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Renames, replacing what is there.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, or a folder with all in it.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names of a folder's entries.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether there is a folder.
    fn is_folder(&self, path: &Path) -> bool;
    /// Whether there is a file.
    fn is_file(&self, path: &Path) -> bool;
    /// Takes away the right to write a file: a closed segment.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn make_read_only(&self, path: &Path) -> io::Result<()>;
    /// Locks a file and writes `holder` into it; `Err(text)` is what another holder wrote.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Self::Lock, String>>;
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        File::sync_all(self)
    }
}

impl DiskFolder for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Disk for RealDisk {
    type File = File;
    type Folder = File;
    type Lock = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        File::create(path)
    }

    fn open_append(&self, path: &Path) -> io::Result<File> {
        fs::OpenOptions::new().append(true).open(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        // Opening a pipe would wait for somebody to write into it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Box::new(File::open(path)?))
    }

    fn open_folder(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names =
            fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o444))
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<File, String>> {
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The text is a courtesy: whoever holds the lock may not have written it yet.
                let _ = file.read_to_string(&mut text);
                return Ok(Err(text.trim().to_owned()));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        file.write_all(holder.as_bytes())?;
        Ok(Ok(file))
    }
}

/// Puts what `write` writes at `path` so that a crash leaves the old content or the new, never a
/// mixture.
///
/// A temporary file beside it is written and synced, renamed over it, and the folder is synced.
/// The folder is opened first: an error of its write-back between rename and sync is then seen.
pub(crate) fn replace_with<D: Disk>(
    disk: &D,
    path: &Path,
    write: impl FnOnce(&mut D::File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file lies in a folder"))?;
    let mut folder_handle = disk.open_folder(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.tmp"));
    let written = disk.create(&temporary).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| disk.rename(&temporary, path)) {
        // The temporary file is worthless; failing to remove it changes nothing.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    folder_handle.sync()
}

/// Puts `bytes` at `path`, the old content or the new whatever happens.
pub(crate) fn replace<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(disk, path, |file| file.write_all(bytes))
}

/// The folder a path lies in; none for the root, and for where the process stands.
fn parent(path: &Path) -> Option<&Path> {
    let parent = path.parent()?;
    match (parent.as_os_str().is_empty(), path.as_os_str() == ".") {
        (true, true) => None,
        (true, false) => Some(Path::new(".")),
        (false, _) => Some(parent),
    }
}

/// Creates a folder and those above it; when this returns `Ok` they are durable in their parents.
///
/// A folder that is there already may be what an attempt left that was cut between making and
/// syncing it. As each is synced before the next is made in it, that is the lowest one at most.
pub(crate) fn create_folders<D: Disk>(disk: &D, path: &Path) -> io::Result<()> {
    let Some(above) = parent(path) else { return Ok(()) };
    if disk.is_folder(path) {
        return match disk.open_folder(above) {
            Ok(mut handle) => handle.sync(),
            // Whoever may not look into it has made nothing in it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        };
    }
    create_folders(disk, above)?;
    let mut handle = disk.open_folder(above)?;
    match disk.create_folder(path) {
        // Somebody was faster; who of the two syncs first does not matter.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && disk.is_folder(path) => {}
        made => made?,
    }
    handle.sync()
}

/// Makes the entries of a folder durable, whoever changed them.
pub(crate) fn sync_folder<D: Disk>(disk: &D, path: &Path) -> io::Result<()> {
    disk.open_folder(path)?.sync()
}

/// All bytes of a file.
pub(crate) fn read<D: Disk>(disk: &D, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.open_read(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Gives the bytes of a file to `take`, piece by piece.
pub(crate) fn read_pieces<D: Disk, E: From<io::Error>>(
    disk: &D,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = disk.open_read(path)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
