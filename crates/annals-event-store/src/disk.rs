//! Durable writes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts `bytes` at `path` so that a crash leaves the old content or the new, never a mixture.
///
/// A temporary file beside it is written and synced, renamed over it, and the folder is synced.
/// The folder is opened first: an error of its write-back between rename and sync is then seen.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file lies in a folder"))?;
    let folder_handle = File::open(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.tmp"));
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The temporary file is worthless; failing to remove it changes nothing.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    folder_handle.sync_all()
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Creates a folder and those above it, each durable in its parent.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
        fs::create_dir(path)?;
        return File::open(parent)?.sync_all();
    }
    fs::create_dir(path)
}
