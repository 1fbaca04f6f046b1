//! Backups in a folder: a file is there whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use annals_backup::{Examination, Receipt, examine};

use crate::error::ArchiveError;

/// What a backup's file is called behind its name.
pub(crate) const ENDING: &str = "sealed";

/// What it is called until it is whole.
const PARTIAL: &str = "partial";

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// What is read at once.
const READ_BYTES: usize = 256 << 10;

/// Why a store cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system says no.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A store of objects says no.
    #[error("cannot {what} {place}: {reason}")]
    Objects {
        /// What was tried.
        what: &'static str,
        /// With what.
        place: String,
        /// Why.
        reason: String,
    },
    /// What was written is not what stands there.
    #[error("{} does not hold what was written to it: {reason}", path.display())]
    NotAsWritten {
        /// The file.
        path: PathBuf,
        /// How that showed.
        reason: String,
    },
    /// There is none of that name.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

/// A folder with backups.
#[derive(Debug, Clone)]
pub struct FileStore {
    folder: PathBuf,
}

/// A backup's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBackup {
    /// The backup's name, as its file is called.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub bytes: u64,
}

impl FileStore {
    /// The store in `folder`, which need not be there yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where a backup of that name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ENDING}"))
    }

    /// Begins a file for a backup, for its owner alone. What others have left half-made is swept away.
    ///
    /// # Errors
    ///
    /// When the file system says no.
    pub fn begin(&self, name: &str) -> Result<PartialFile, StoreError> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(FOLDER_MODE).create(&self.folder);
        made.map_err(io("make the folder", &self.folder))?;
        self.sweep();
        let path = self.folder.join(format!(".{name}.{PARTIAL}"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(io("write", &path))?;
        // Whoever sweeps leaves alone what somebody is at.
        let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|error| io("lock", &path)(error.into()))?;
        let (whole, folder) = (self.path(name), self.folder.clone());
        Ok(PartialFile { file: Some(file), is_settled: false, path, whole, folder })
    }

    /// Removes what [`Self::begin`] began, while whoever writes to it may still be at it.
    pub fn discard(&self, name: &str) {
        let _ = fs::remove_file(self.folder.join(format!(".{name}.{PARTIAL}")));
    }

    /// Removes what was left half-made by processes that are gone.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with('.') || !name.ends_with(&format!(".{PARTIAL}")) {
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            if rustix::fs::flock(&file, lock).is_ok() {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// The backups there are, by name; those taken first come first.
    ///
    /// # Errors
    ///
    /// When the folder is there and cannot be read.
    pub fn list(&self) -> Result<Vec<StoredBackup>, StoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io("read the folder", &self.folder))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(io("read the folder", &self.folder))?.path();
            let is_sealed = path.extension().is_some_and(|ending| ending == ENDING);
            let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_sealed)
            else {
                continue;
            };
            let bytes = fs::metadata(&path).map_err(io("read", &path))?.len();
            found.push(StoredBackup { name: name.to_owned(), bytes, path: path.clone() });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Opens a backup's file.
    ///
    /// # Errors
    ///
    /// When it is not there, or cannot be read.
    pub fn open(&self, name: &str) -> Result<BufReader<File>, StoreError> {
        let path = self.path(name);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing(path)),
            file => {
                let file = file.map_err(io("read", &path))?;
                Ok(BufReader::with_capacity(READ_BYTES, file))
            }
        }
    }

    /// Reads a backup's file without any key: its header, and the measures of its bytes.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no whole container.
    pub fn examine(&self, name: &str) -> Result<Examination, ArchiveError> {
        Ok(examine(self.open(name)?)?)
    }

    /// Removes a backup's file, durably.
    ///
    /// # Errors
    ///
    /// When it is not there, or cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing(path));
            }
            removed => removed.map_err(io("remove", &path))?,
        }
        sync_folder(&self.folder)
    }
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let handle = File::open(folder).map_err(io("open the folder", folder))?;
    handle.sync_all().map_err(io("sync the folder", folder))
}

/// A file that is no backup yet. Dropped before [`Self::seal`], it is gone.
pub struct PartialFile {
    file: Option<File>,
    /// Whether it is durable, and was read again.
    is_settled: bool,
    path: PathBuf,
    whole: PathBuf,
    folder: PathBuf,
}

impl PartialFile {
    /// Makes the file durable, reads it again, and only then gives it its name.
    ///
    /// # Errors
    ///
    /// When the file system says no, something else stands there than `receipt` says, or there is a
    /// backup of that name.
    pub fn seal(mut self, receipt: &Receipt) -> Result<PathBuf, StoreError> {
        self.settle(receipt)?;
        let path = self.path.clone();
        match fs::hard_link(&path, &self.whole) {
            Ok(()) => fs::remove_file(&path).map_err(io("remove", &path))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(io("write", &self.whole)(error));
            }
            // A file system that knows no links.
            Err(_) => fs::rename(&path, &self.whole).map_err(io("rename", &path))?,
        }
        sync_folder(&self.folder)?;
        Ok(self.whole.clone())
    }

    /// Makes the file durable, reads it again, and gives it its name in the place of one that has it.
    ///
    /// Whoever looks finds the one or the other, whenever the process ends.
    ///
    /// # Errors
    ///
    /// When the file system says no, or something else stands there than `receipt` says.
    pub fn seal_over(mut self, receipt: &Receipt) -> Result<PathBuf, StoreError> {
        self.settle(receipt)?;
        fs::rename(&self.path, &self.whole).map_err(io("rename", &self.path))?;
        sync_folder(&self.folder)?;
        Ok(self.whole.clone())
    }

    /// Makes the file durable and reads it again; it has no name yet, and takes no more bytes.
    ///
    /// # Errors
    ///
    /// When the file system says no, or something else stands there than `receipt` says.
    pub fn settle(&mut self, receipt: &Receipt) -> Result<(), StoreError> {
        if self.is_settled {
            return Ok(());
        }
        let path = self.path.clone();
        let file = self.file.as_ref();
        let file = file
            .ok_or_else(|| io("write", &path)(io::Error::other("the file was given up already")))?;
        file.sync_all().map_err(io("sync", &path))?;
        let read_again = File::open(&path).map_err(io("read", &path))?;
        let examined = examine(BufReader::with_capacity(READ_BYTES, read_again));
        match examined {
            Ok(Examination { receipt: found, .. }) if found == *receipt => {}
            Ok(_) => return Err(self.other("its digest is another one")),
            Err(error) => return Err(self.other(error.to_string())),
        }
        self.is_settled = true;
        Ok(())
    }

    fn other(&self, reason: impl Into<String>) -> StoreError {
        StoreError::NotAsWritten { path: self.path.clone(), reason: reason.into() }
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) if !self.is_settled => file.write(bytes),
            _ => Err(io::Error::other("the file was given up already")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // Behind `seal` there is none of that name.
        let _ = fs::remove_file(&self.path);
    }
}
