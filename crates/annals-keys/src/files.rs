//! Key files: `<name>.pub` to commit, `<name>.key` to keep.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::note::{ParseKeyError, SecretKey, VerifierKey};

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

/// Writes the public half of `key` alone. Never overwrites.
///
/// # Errors
///
/// When the file exists already or cannot be written.
pub fn write_public(key: &SecretKey, public: &Path) -> Result<(), KeyFileError> {
    write_new(public, 0o644, &format!("{}\n", key.verifier()))
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), KeyFileError> {
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).map_err(io(path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io(path))
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
    let text = fs::read_to_string(path).map_err(io(path))?;
    SecretKey::parse(&text)
        .map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
}

/// Loads a public key.
///
/// # Errors
///
/// When the file is missing or holds something else.
pub fn load_verifier(path: &Path) -> Result<VerifierKey, KeyFileError> {
    let text = fs::read_to_string(path).map_err(io(path))?;
    text.trim().parse().map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
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
        assert_eq!(load_secret(&secret).unwrap().verifier(), load_verifier(&public).unwrap());
        assert!(matches!(write_pair(&key, &secret, &public), Err(KeyFileError::Io { .. })));
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_secret(&secret), Err(KeyFileError::Exposed { mode: 0o640, .. })));
    }
}
