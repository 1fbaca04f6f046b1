//! Key files: `<name>.pub` to commit, `<name>.key` to keep.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::note::{ParseKeyError, SecretKey};
use crate::ring::{KeyRing, ParseRingError};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system says no.
    #[error("cannot access key file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("key file {}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ParseKeyError,
    },
    /// It holds no key ring.
    #[error("key file {}, {source}", path.display())]
    Ring {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ParseRingError,
    },
    /// Others may read a secret.
    #[error("secret key file {} has mode {mode:04o}, others may read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KeyFileError + '_ {
    move |source| KeyFileError::Io { path: path.to_owned(), source }
}

/// Writes both halves of `key`, the secret one readable by its owner only. Never overwrites.
///
/// # Errors
///
/// When a file exists already or cannot be written.
pub fn write_pair(key: &SecretKey, secret: &Path, public: &Path) -> Result<(), KeyFileError> {
    write_new(secret, 0o600, &key.expose())?;
    write_public(key, public)
}

/// Writes the secret half of `key` alone, readable by its owner only. Never overwrites.
///
/// # Errors
///
/// When the file exists already or cannot be written.
pub fn write_secret(key: &SecretKey, secret: &Path) -> Result<(), KeyFileError> {
    write_new(secret, 0o600, &key.expose())
}

/// Writes the public half of `key` alone. Never overwrites.
///
/// # Errors
///
/// When the file exists already or cannot be written.
pub fn write_public(key: &SecretKey, public: &Path) -> Result<(), KeyFileError> {
    write_new(public, 0o644, &format!("{}\n", key.verifier()))
}

/// Writes a file that is not there yet: whoever looks sees none of it or all of it, and so does
/// whoever looks after a crash.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), KeyFileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The end of the name stays: what is kept out of a repository by it is kept out half-made too.
    let temporary = folder.join(format!(".{}.{name}", std::process::id()));
    let write_to = |place: &Path| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(place)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
    };
    let write = || {
        let folder_handle = fs::File::open(folder)?;
        // Of a process of the same number that was cut short here.
        let _ = fs::remove_file(&temporary);
        let linked = write_to(&temporary).and_then(|()| fs::hard_link(&temporary, path));
        let _ = fs::remove_file(&temporary);
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(error),
            // A file system that knows no links: only there it may be seen half-made.
            Err(_) => write_to(path)?,
            Ok(()) => {}
        }
        folder_handle.sync_all()
    };
    write().map_err(io(path))
}

/// Loads a secret key, refusing one that others may read.
///
/// # Errors
///
/// When the file is missing, exposed, or holds something else.
pub fn load_secret(path: &Path) -> Result<SecretKey, KeyFileError> {
    let mode = fs::metadata(path).map_err(io(path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let text = read_text(path).map_err(io(path))?;
    SecretKey::parse(&text)
        .map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
}

/// The longest key file read: 256 KiB, some thousand keys.
const MAX_KEY_FILE_BYTES: u64 = 256 * 1024;

/// The text of a regular file of a size a key file may have.
fn read_text(path: &Path) -> std::io::Result<String> {
    let other = |reason| std::io::Error::other(reason);
    // Opening a pipe would wait for somebody to write into it.
    if !fs::metadata(path)?.is_file() {
        return Err(other("it is not a regular file"));
    }
    let mut text = String::new();
    let mut file = fs::File::open(path)?.take(MAX_KEY_FILE_BYTES + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > MAX_KEY_FILE_BYTES {
        return Err(other("it is longer than a key file is"));
    }
    Ok(text)
}

/// Loads the public keys of a file.
///
/// # Errors
///
/// When the file is missing or holds something else.
pub fn load_ring(path: &Path) -> Result<KeyRing, KeyFileError> {
    let text = read_text(path).map_err(io(path))?;
    text.parse().map_err(|source| KeyFileError::Ring { path: path.to_owned(), source })
}

/// Replaces the public keys of a file: a crash leaves the old ones or the new.
///
/// # Errors
///
/// When the disk says no.
pub fn replace_ring(path: &Path, ring: &KeyRing) -> Result<(), KeyFileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.tmp"));
    let replace = || {
        let folder_handle = fs::File::open(folder)?;
        let mut file = fs::File::create(&temporary)?;
        file.write_all(ring.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        folder_handle.sync_all()
    };
    replace().map_err(io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = (folder.path().join("log.key"), folder.path().join("log.pub"));
        let key = SecretKey::generate("demo/production").unwrap();
        write_pair(&key, &secret, &public).unwrap();
        assert_eq!(load_ring(&public).unwrap(), load_secret(&secret).unwrap().verifier().into());
        assert!(matches!(write_pair(&key, &secret, &public), Err(KeyFileError::Io { .. })));
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_secret(&secret), Err(KeyFileError::Exposed { mode: 0o640, .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_key_file_is_never_seen_half_made() {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::generate("demo/production").unwrap();
        for n in 0..200 {
            let public = folder.path().join(format!("{n}.pub"));
            let looking = public.clone();
            let (begun, begins) = std::sync::mpsc::channel();
            let looks = std::thread::spawn(move || {
                begun.send(()).unwrap();
                loop {
                    if let Ok(seen) = fs::metadata(&looking) {
                        return seen.len();
                    }
                }
            });
            begins.recv().unwrap();
            write_public(&key, &public).unwrap();
            assert_eq!(looks.join().unwrap(), fs::metadata(&public).unwrap().len());
        }
    }
}
