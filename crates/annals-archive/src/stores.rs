//! Where backups are kept: a folder, or an S3-compatible store; the same is promised of both.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use annals_backup::{Examination, Header, Receipt, read_header};

use crate::error::ArchiveError;
use crate::objects::{ObjectFolder, ObjectReader, ObjectUpload};
use crate::store::{FileStore, PartialFile, StoreError, StoredBackup};

/// A place with backups. What is listed there is whole.
#[derive(Clone)]
pub enum Store {
    /// A folder.
    Folder(FileStore),
    /// A folder in a bucket.
    Objects(ObjectFolder),
}

/// What a new backup does to one that has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// It must not be there.
    New,
    /// It is replaced at once: whoever looks finds one or the other.
    Replace,
}

impl Store {
    /// Where a backup of that name is.
    pub fn path(&self, name: &str) -> String {
        match self {
            Self::Folder(store) => store.path(name).display().to_string(),
            Self::Objects(store) => store.path(name),
        }
    }

    /// Begins a backup. What others left half-made is swept away.
    ///
    /// # Errors
    ///
    /// When the place says no.
    pub async fn begin(&self, name: &str) -> Result<Sink, StoreError> {
        Ok(match self {
            Self::Folder(store) => Sink::File(store.begin(name)?),
            Self::Objects(store) => Sink::Object(Box::new(store.begin(name).await?)),
        })
    }

    /// Removes what [`Self::begin`] began, while whoever writes to it may still be at it.
    pub async fn discard(&self, name: &str) {
        match self {
            Self::Folder(store) => store.discard(name),
            Self::Objects(store) => store.discard(name).await,
        }
    }

    /// The backups there are, by name; those taken first come first.
    ///
    /// # Errors
    ///
    /// When the place cannot be read.
    pub async fn list(&self) -> Result<Vec<StoredBackup>, StoreError> {
        match self {
            Self::Folder(store) => store.list(),
            Self::Objects(store) => store.list().await,
        }
    }

    /// Opens a backup, to be read in a thread that may block.
    ///
    /// # Errors
    ///
    /// When it is not there, or cannot be read.
    pub async fn open(&self, name: &str) -> Result<Source, StoreError> {
        Ok(match self {
            Self::Folder(store) => Source::File(store.open(name)?),
            Self::Objects(store) => Source::Object(Box::new(store.open_object(name).await?)),
        })
    }

    /// Reads what stands in front of a backup, without any key.
    ///
    /// # Errors
    ///
    /// When it is not there, cannot be read, or is no backup.
    pub async fn header(&self, name: &str) -> Result<Header, ArchiveError> {
        let source = self.open(name).await?;
        let read = tokio::task::spawn_blocking(move || read_header(source)).await;
        Ok(read.map_err(|error| ArchiveError::Stopped(error.to_string()))??)
    }

    /// Reads a backup without any key: its header, and the measures of its bytes.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no whole container.
    pub async fn examine(&self, name: &str) -> Result<Examination, ArchiveError> {
        match self {
            Self::Folder(store) => store.examine(name),
            Self::Objects(store) => store.examine(name).await,
        }
    }

    /// Removes a backup, durably.
    ///
    /// # Errors
    ///
    /// When it is not there, or cannot be removed.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self {
            Self::Folder(store) => store.remove(name),
            Self::Objects(store) => store.remove(name).await,
        }
    }
}

/// A backup that is not one yet. Dropped before it is named, it is gone.
pub enum Sink {
    /// A file.
    File(PartialFile),
    /// An object, in parts.
    Object(Box<ObjectUpload>),
}

impl Sink {
    /// Makes what was written durable, still under no name: a crash behind this leaves what was there.
    ///
    /// # Errors
    ///
    /// When the place says no, or something else stands there than `receipt` says.
    pub async fn settle(&mut self, receipt: &Receipt) -> Result<(), ArchiveError> {
        match self {
            Self::File(file) => Ok(file.settle(receipt)?),
            Self::Object(upload) => Ok(upload.send_rest().await?),
        }
    }

    /// Makes it durable, compares it with `receipt`, and gives it its name; says where it is.
    ///
    /// A file is read again before it has its name. An object is read again behind it: a store shows
    /// nothing that has none, but has checked the digest of each part.
    ///
    /// # Errors
    ///
    /// When the place says no, something else stands there than `receipt` says, or there is one of that
    /// name and it is not to be replaced.
    pub async fn publish(self, receipt: &Receipt, naming: Naming) -> Result<String, ArchiveError> {
        match self {
            Self::File(file) => {
                let path = match naming {
                    Naming::New => file.seal(receipt)?,
                    Naming::Replace => file.seal_over(receipt)?,
                };
                Ok(path.display().to_string())
            }
            Self::Object(upload) => upload.complete(receipt, naming).await,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Object(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A backup that is read. Blocks the thread.
pub enum Source {
    /// From a file.
    File(BufReader<File>),
    /// From an object.
    Object(Box<ObjectReader>),
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(out),
            Self::Object(object) => object.read(out),
        }
    }
}
