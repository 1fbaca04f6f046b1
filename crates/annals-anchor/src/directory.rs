//! A directory as an anchor: files that are written once, and a checkpoint that is replaced.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use annals_events::Digest;
use annals_objects::Limits;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::download::LocalFile;
use crate::error::AnchorError;
use crate::exhibit::{ObjectPath, UnsafePath, is_layout_root};
use crate::limits::{MAX_NOTE_BYTES, MAX_OBJECT_BYTES};
use crate::shelf::{Found, Held, Placed, Shelf, Swap, Version};

/// Locked by the one publisher.
const LOCK: &str = "lock";

/// Between two looks at a lock that another publisher holds.
const LOCK_PAUSE_MS: u64 = 20;

/// Copied at a time, in bytes.
const COPY_BYTES: usize = 64 * 1024;

/// No published log is nested deeper: the tile of a log of 2^48 events has nine parts.
const MAX_DEPTH: usize = 12;

/// A directory that keeps copies.
///
/// It must exist, on a file system that keeps what `fsync` promised. A file is written beside its
/// place and synced, then moved there without replacing anything, and its folder is synced. Files
/// lose their write permission; the folders keep theirs, so the directory itself has to be guarded
/// by its owner or by the machine it lies on.
pub struct DirectoryShelf {
    root: PathBuf,
    limits: Limits,
    /// Folders whose names are known to be durable in their parents.
    durable: Mutex<HashSet<PathBuf>>,
}

/// Releases the lock when dropped.
pub struct DirectoryTurn(#[expect(dead_code, reason = "held, not read")] File);

/// Writes `bytes` to an unfinished file in `folder`, durable but for its name.
///
/// What an interrupted writer has left under that name is worthless. The lock of the directory
/// keeps two writers from using it at once.
fn write_unfinished(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let path = folder.join(format!(".{name}.tmp"));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Worthless, and it may be what fills the disk; failing to remove it changes nothing.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok(path)
}

/// Moves a file to a name that is not taken; `AlreadyExists` if it is.
fn move_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can: NFS cannot, and has hard links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_new(from, to),
        moved => Ok(moved?),
    }
}

fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// What a name stands for, links not followed.
fn kind_of(path: &Path) -> io::Result<Option<fs::FileType>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A file where a folder of the path should be: nothing is below it.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}

fn describe(kind: fs::FileType) -> String {
    let what = match kind {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a folder",
        kind if kind.is_file() => "a file",
        _ => "neither a file nor a folder",
    };
    what.to_owned()
}

impl DirectoryShelf {
    /// The directory `root`; nothing is opened yet.
    pub fn new(root: impl Into<PathBuf>, limits: Limits) -> Self {
        Self { root: root.into(), limits, durable: Mutex::default() }
    }

    fn io<'a>(
        &'a self,
        act: &'static str,
        path: &'a (impl ToString + ?Sized),
    ) -> impl Fn(io::Error) -> AnchorError + 'a {
        move |source| AnchorError::Io { place: self.name(), act, path: path.to_string(), source }
    }

    fn stray(&self, path: &str, what: String) -> AnchorError {
        AnchorError::Stray { place: self.name(), path: path.escape_debug().to_string(), what }
    }

    fn check_there(&self) -> Result<(), AnchorError> {
        if self.root.is_dir() { Ok(()) } else { Err(AnchorError::NoPlace { place: self.name() }) }
    }

    /// The path on disk; refuses one with a link or a file among its folders.
    fn locate(&self, path: &ObjectPath) -> Result<(PathBuf, String), AnchorError> {
        let mut folder = self.root.clone();
        let mut parts = path.parts();
        let name = parts.next_back().unwrap_or_default().to_owned();
        for part in parts {
            folder.push(part);
            match kind_of(&folder).map_err(self.io("read", path))? {
                Some(kind) if !kind.is_dir() => {
                    return Err(self.stray(path.as_str(), format!("below {}", describe(kind))));
                }
                _ => {}
            }
        }
        Ok((folder, name))
    }

    fn durable_folders(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // Inserting cannot be interrupted half way, so what another thread left is right.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_durable(&self, folder: &Path) -> bool {
        self.durable_folders().contains(folder)
    }

    /// Creates the folders above an object, each durable in its parent: also those that are there,
    /// for whoever created them may have crashed.
    fn create_folders(&self, path: &ObjectPath) -> io::Result<()> {
        let mut folder = self.root.clone();
        let mut parts = path.parts();
        parts.next_back();
        for part in parts {
            let parent = folder.clone();
            folder.push(part);
            if self.is_durable(&folder) {
                continue;
            }
            let parent = File::open(parent)?;
            match DirBuilder::new().mode(0o755).create(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => parent.sync_all()?,
            }
            self.durable_folders().insert(folder.clone());
        }
        Ok(())
    }

    /// Opens an object to be read, or `None` if it is not there.
    fn open(&self, path: &ObjectPath) -> Result<Option<(File, u64)>, AnchorError> {
        let (folder, name) = self.locate(path)?;
        let file = folder.join(name);
        match kind_of(&file).map_err(self.io("read", path))? {
            None => return Ok(None),
            // Opening a pipe would wait for ever.
            Some(kind) if !kind.is_file() => {
                return Err(self.stray(path.as_str(), describe(kind)));
            }
            Some(_) => {}
        }
        let file = File::open(&file).map_err(self.io("read", path))?;
        let length = file.metadata().map_err(self.io("read", path))?.len();
        Ok(Some((file, length)))
    }

    fn read(&self, path: &ObjectPath, limit: u64) -> Result<Option<(File, Vec<u8>)>, AnchorError> {
        let Some((file, length)) = self.open(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        (&file).take(limit + 1).read_to_end(&mut bytes).map_err(self.io("read", path))?;
        if bytes.len() as u64 > limit {
            let (place, path) = (self.name(), path.to_string());
            return Err(AnchorError::TooLarge { place, path, bytes: length, limit });
        }
        Ok(Some((file, bytes)))
    }

    /// Reads what lies there and makes sure that it stays: whoever wrote it may have crashed
    /// between naming it and making the name durable.
    fn read_durable(&self, path: &ObjectPath) -> Result<Option<Vec<u8>>, AnchorError> {
        let Some((file, bytes)) = self.read(path, MAX_OBJECT_BYTES)? else { return Ok(None) };
        let (folder, _) = self.locate(path)?;
        file.sync_all()
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(self.io("sync", path))?;
        Ok(Some(bytes))
    }

    fn place_now(&self, path: &ObjectPath, bytes: &[u8]) -> Result<Placed, AnchorError> {
        let (folder, name) = self.locate(path)?;
        self.create_folders(path).map_err(self.io("write", path))?;
        if let Some(theirs) = self.read_durable(path)? {
            return Ok(Placed::Present(theirs));
        }
        // Opened first: an error of its write-back between move and sync is then seen.
        let moved = File::open(&folder).and_then(|handle| {
            let unfinished = write_unfinished(&folder, &name, bytes)?;
            let moved = move_new(&unfinished, &folder.join(&name));
            if moved.is_err() {
                let _ = fs::remove_file(&unfinished);
            }
            moved.and_then(|()| handle.sync_all())
        });
        match moved {
            Ok(()) => Ok(Placed::Written),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match self.read_durable(path)? {
                    Some(theirs) => Ok(Placed::Present(theirs)),
                    None => Err(self.io("write", path)(error)),
                }
            }
            Err(error) => Err(self.io("write", path)(error)),
        }
    }

    fn read_checkpoint(&self) -> Result<Option<Held>, AnchorError> {
        self.check_there()?;
        let found = self.read(&ObjectPath::checkpoint(), MAX_NOTE_BYTES)?;
        Ok(found.map(|(_, note)| {
            let version = Version(Digest::of(&note).to_string());
            Held { note, version }
        }))
    }

    /// Everything below the root, one name at a time.
    fn walk(&self) -> Result<Walk<'_>, AnchorError> {
        self.check_there()?;
        let entries = fs::read_dir(&self.root).map_err(self.io("list", ""))?;
        Ok(Walk { shelf: self, open: vec![(entries, String::new())], failed: false })
    }
}

/// A walk through a directory; open are the folders from the root to where it stands.
struct Walk<'a> {
    shelf: &'a DirectoryShelf,
    open: Vec<(fs::ReadDir, String)>,
    failed: bool,
}

impl Walk<'_> {
    /// Says what `entry` is, or descends into it and says nothing.
    fn see(&mut self, prefix: &str, entry: &fs::DirEntry) -> Result<Option<Found>, AnchorError> {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let at_top = prefix.is_empty();
        if name.starts_with('.') || at_top && !is_layout_root(&name) {
            return Ok(Some(Found::Other(path)));
        }
        let kind = entry.file_type().map_err(self.shelf.io("list", &path))?;
        if kind.is_dir() && path != ObjectPath::checkpoint().as_str() {
            if self.open.len() >= MAX_DEPTH {
                return Err(self.shelf.stray(&path, "nested too deeply".to_owned()));
            }
            let entries = fs::read_dir(entry.path()).map_err(self.shelf.io("list", &path))?;
            self.open.push((entries, format!("{path}/")));
            return Ok(None);
        }
        if !kind.is_file() {
            return Err(self.shelf.stray(&path, describe(kind)));
        }
        let parsed = path.parse().map(Found::Object).map(Some);
        parsed.map_err(|error: UnsafePath| AnchorError::stray(self.shelf.name(), error))
    }

    fn step(&mut self) -> Result<Option<Found>, AnchorError> {
        while let Some((entries, prefix)) = self.open.last_mut() {
            let prefix = prefix.clone();
            match entries.next() {
                None => {
                    self.open.pop();
                }
                Some(entry) => {
                    let entry = entry.map_err(self.shelf.io("list", &prefix))?;
                    if let Some(found) = self.see(&prefix, &entry)? {
                        return Ok(Some(found));
                    }
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, AnchorError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.step();
        self.failed = found.is_err();
        found.transpose()
    }
}

impl Shelf for DirectoryShelf {
    type Turn = DirectoryTurn;

    fn kind(&self) -> &'static str {
        "directory"
    }

    fn name(&self) -> String {
        self.root.display().to_string()
    }

    async fn take_turn(&self) -> Result<DirectoryTurn, AnchorError> {
        self.check_there()?;
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options
            .mode(0o644)
            .custom_flags(nofollow)
            .open(self.root.join(LOCK))
            .map_err(self.io("lock", LOCK))?;
        let mut waited_ms = 0;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(DirectoryTurn(file)),
                Err(TryLockError::Error(error)) => return Err(self.io("lock", LOCK)(error)),
                Err(TryLockError::WouldBlock) if waited_ms >= self.limits.lock_timeout_ms => {
                    return Err(AnchorError::Busy { place: self.name(), waited_ms });
                }
                Err(TryLockError::WouldBlock) => {
                    tokio::time::sleep(Duration::from_millis(LOCK_PAUSE_MS)).await;
                    waited_ms += LOCK_PAUSE_MS;
                }
            }
        }
    }

    async fn checkpoint(&self) -> Result<Option<Held>, AnchorError> {
        self.read_checkpoint()
    }

    async fn place(&self, path: &ObjectPath, bytes: &[u8]) -> Result<Placed, AnchorError> {
        self.place_now(path, bytes)
    }

    async fn swap(&self, base: Option<&Held>, note: &[u8]) -> Result<Swap, AnchorError> {
        // The lock is held: nobody changes it between this look and the rename.
        if self.read_checkpoint()?.as_ref() != base {
            return Ok(Swap::Lost);
        }
        let path = ObjectPath::checkpoint();
        let replaced = File::open(&self.root).and_then(|handle| {
            let unfinished = write_unfinished(&self.root, path.as_str(), note)?;
            // A crash before the rename leaves the old checkpoint, behind it the new one.
            fs::rename(&unfinished, self.root.join(path.as_str()))?;
            handle.sync_all()
        });
        replaced.map(|()| Swap::Done).map_err(self.io("write", &path))
    }

    async fn fetch(&self, path: &ObjectPath, limit: u64) -> Result<Option<Vec<u8>>, AnchorError> {
        self.check_there()?;
        Ok(self.read(path, limit)?.map(|(_, bytes)| bytes))
    }

    async fn copy_into(
        &self,
        path: &ObjectPath,
        file: &mut LocalFile,
    ) -> Result<Option<u64>, AnchorError> {
        self.check_there()?;
        let Some((mut from, _)) = self.open(path)? else { return Ok(None) };
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match from.read(&mut buffer).map_err(self.io("read", path))? {
                0 => return Ok(Some(file.bytes())),
                n => file.write(&buffer[..n])?,
            }
        }
    }

    fn list(&self) -> BoxStream<'_, Result<Found, AnchorError>> {
        match self.walk() {
            Ok(walk) => stream::iter(walk).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_way_of_moving_a_file_replaces_one() {
        for moves in [move_new, link_new] {
            let folder = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path().join("from"), folder.path().join("to"));
            fs::write(&from, "new").unwrap();
            moves(&from, &to).unwrap();
            assert!(!from.exists());
            fs::write(&from, "newer").unwrap();
            let error = moves(&from, &to).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        }
    }

    #[test]
    fn an_unfinished_file_of_an_interrupted_writer_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".name.tmp"), "half of somethi").unwrap();
        let path = write_unfinished(folder.path(), "name", b"whole").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"whole");
    }
}
