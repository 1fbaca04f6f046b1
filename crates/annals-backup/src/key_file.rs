//! Key files: created for their owner alone, refused when others could read them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::BackupError;
use crate::key::KeyEncryptionKey;

const MODE: u32 = 0o600;
const MODE_OF_OTHERS: u32 = 0o077;
/// A key line is 119 bytes; the rest is room for comments.
const MAX_KEY_FILE_BYTES: u64 = 4096;

impl KeyEncryptionKey {
    /// Loads a key from a file that nobody but its owner may read.
    ///
    /// # Errors
    /// [`BackupError::KeyFileRefused`] for a symbolic link, anything but a plain file, permission
    /// bits for group or others, or more than 4096 bytes; [`BackupError::KeyText`] for its content;
    /// [`BackupError::KeyFile`] where the operating system fails.
    pub fn load(path: &Path) -> Result<Self, BackupError> {
        let refuse = |reason| BackupError::KeyFileRefused { path: path.to_owned(), reason };
        // Looked at before opening: opening a pipe would wait for a writer.
        let named = fs::symlink_metadata(path).map_err(|e| failed(path, e))?;
        if !named.file_type().is_file() {
            return Err(refuse("it is not a plain file"));
        }
        let file = File::open(path).map_err(|e| failed(path, e))?;
        let opened = file.metadata().map_err(|e| failed(path, e))?;
        if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
            return Err(refuse("it was replaced while it was opened"));
        }
        if opened.mode() & MODE_OF_OTHERS != 0 {
            return Err(refuse("group or others have access to it"));
        }
        if opened.len() > MAX_KEY_FILE_BYTES {
            return Err(refuse("it is longer than 4096 bytes"));
        }
        Self::from_text(&read(file).map_err(|e| failed(path, e))?)
    }

    /// Writes the key to a new file with mode 0600, durably; an existing file is never touched.
    ///
    /// Whoever looks sees none of it or all of it, and so does whoever looks after a crash: it is
    /// written under another name, made durable, and then given its own.
    ///
    /// # Errors
    /// [`BackupError::KeyFile`] if the file exists or cannot be written.
    pub fn create_file(&self, path: &Path) -> Result<(), BackupError> {
        self.write_new(path).map_err(|e| failed(path, e))
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The end of the name stays: what is kept out of a repository by it is kept out half-made
        // too.
        let temporary = folder.join(format!(".{}.{name}", std::process::id()));
        let folder_handle = File::open(folder)?;
        // Of a process of the same number that was cut short here.
        let _ = fs::remove_file(&temporary);
        let linked = self.write_to(&temporary).and_then(|()| fs::hard_link(&temporary, path));
        let _ = fs::remove_file(&temporary);
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // A file system that knows no links: only there it may be seen half-made.
            Err(_) => self.write_to(path)?,
            Ok(()) => {}
        }
        folder_handle.sync_all()
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
        file.write_all(self.to_text().as_bytes())?;
        file.sync_all()
    }
}

fn read(file: File) -> io::Result<Zeroizing<String>> {
    let capacity = usize::try_from(MAX_KEY_FILE_BYTES).unwrap_or(usize::MAX);
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::KeyFile { path: path.to_owned(), source }
}
