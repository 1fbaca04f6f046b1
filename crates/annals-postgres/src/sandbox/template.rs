//! Clusters kept ready to be copied, so that a sandbox need not wait for `initdb`.
//!
//! A template is what `initdb` and the platform's preparation leave, cleanly shut down. It is made
//! under an exclusive lock beside its place and renamed into it, so a template that is seen is whole;
//! copies are made under a shared lock, so none goes away under a copy. The folder is private: what
//! lies in it is run.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use annals_events::Digest;
use rustix::process::geteuid;

use super::identity;
use super::server::SandboxOptions;

/// Changes with whatever else a template depends on: the arguments of `initdb`, the layout here.
const TEMPLATE_FORMAT: u32 = 1;

/// How long a template stays that nobody uses.
const KEPT_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// The place of the template for one kind of sandbox.
pub(super) struct Template {
    cache: PathBuf,
    /// Major version, platform and installation: what one lock is for.
    family: String,
    /// Minor version and preparation.
    state: String,
}

/// Files and bytes of a tree; a template whose tally is another one is damaged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    files: u64,
    bytes: u64,
}

impl Tally {
    fn text(self) -> String {
        format!("{} files, {} bytes\n", self.files, self.bytes)
    }
}

/// The right to make the template: nobody else makes or copies one of its family meanwhile.
pub(super) struct Making {
    template: Template,
    _lock: fs::File,
}

/// What there is for a sandbox that wants to begin with a template.
pub(super) enum Found {
    /// A copy is in place.
    Copied,
    /// There is none yet.
    ToMake(Making),
}

/// The folder of the user's templates: `$XDG_CACHE_HOME/annals/sandbox`, else below `~/.cache`.
pub fn cache_folder(xdg_cache_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    // As the XDG base directory specification has it, a path that is not absolute is ignored.
    let absolute = |path: Option<&Path>| path.filter(|path| path.is_absolute()).map(Path::to_owned);
    let base = absolute(xdg_cache_home).or_else(|| Some(absolute(home)?.join(".cache")))?;
    Some(base.join("annals").join("sandbox"))
}

impl Template {
    /// The template of sandboxes like `options`; `None` where there is no cache.
    pub(super) fn of(options: &SandboxOptions<'_>) -> Option<Self> {
        let cache = options.cache?.to_owned();
        let version = options.binaries.version().ok()?;
        let major: String = version.chars().take_while(char::is_ascii_digit).collect();
        let place = Digest::of(options.binaries.folder().as_os_str().as_encoded_bytes());
        let platform = options.platform.as_str();
        let state = format!("{TEMPLATE_FORMAT} {version} {}", options.platform.preparation());
        Some(Self {
            cache,
            family: format!("pg{major}-{platform}-{}", place.short(8)),
            state: Digest::of(state.as_bytes()).short(12),
        })
    }

    fn folder(&self) -> PathBuf {
        self.cache.join(format!("{}-{}", self.family, self.state))
    }

    /// Copies the template to `data`, as `owner`'s, with an identity of its own; where there is none,
    /// gives the right to make it.
    ///
    /// # Errors
    ///
    /// When the cache cannot be used; `data` may then be there in part.
    pub(super) fn copy_or_make(self, data: &Path, owner: Option<(u32, u32)>) -> io::Result<Found> {
        make_private(&self.cache)?;
        let lock_path = self.cache.join(format!(".{}.lock", self.family));
        let mut options = fs::OpenOptions::new();
        let lock = options.read(true).write(true).create(true).truncate(false).open(lock_path)?;
        lock.lock_shared()?;
        if self.copy(data, owner)? {
            return Ok(Found::Copied);
        }
        lock.unlock()?;
        lock.lock()?;
        // Somebody else may have made it while this process waited.
        if self.copy(data, owner)? {
            return Ok(Found::Copied);
        }
        Ok(Found::ToMake(Making { template: self, _lock: lock }))
    }

    /// Says whether there is one.
    fn copy(&self, data: &Path, owner: Option<(u32, u32)>) -> io::Result<bool> {
        let folder = self.folder();
        let tally = match fs::read_to_string(folder.join("complete")) {
            Ok(tally) => tally,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // Whether it is still of use is told by when it was used.
        let _ = fs::File::open(folder.join("complete"))?.set_modified(SystemTime::now());
        let is_whole = is_unharmed(&folder)?
            && copy_tree(&folder.join("data"), data, owner).is_ok_and(|it| it.text() == tally)
            && identity::renew(data).is_ok();
        if !is_whole {
            // Damaged, or a disk that is full: without this one, a new one is made, or nothing works.
            remove_if_there(data)?;
            remove_if_there(&folder)?;
            return Ok(false);
        }
        Ok(true)
    }
}

impl Making {
    /// Keeps the stopped cluster in `data` as the template, and removes those of its family that
    /// nobody has used for long.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then there is no template.
    pub(super) fn keep(self, data: &Path) -> io::Result<()> {
        let Template { cache, family, .. } = &self.template;
        let unfinished = cache.join(format!(".{family}.new"));
        // A crash may have left one; nobody else makes one now.
        remove_if_there(&unfinished)?;
        fs::DirBuilder::new().mode(0o700).create(&unfinished)?;
        let tally = copy_tree(data, &unfinished.join("data"), None)?;
        fs::write(unfinished.join("complete"), tally.text())?;
        fs::write(unfinished.join("digest"), digest_of_tree(&unfinished.join("data"))?)?;
        fs::write(unfinished.join("boot"), boot_id())?;
        for entry in fs::read_dir(cache)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(&format!("{family}-")) && is_old(&entry.path()) {
                remove_if_there(&entry.path())?;
            }
        }
        remove_if_there(&self.template.folder())?;
        fs::rename(&unfinished, self.template.folder())
    }
}

/// Of another minor version, or of another annals, that is still in use, perhaps.
fn is_old(template: &Path) -> bool {
    let used = fs::metadata(template.join("complete")).and_then(|found| found.modified());
    let age = used.ok().and_then(|used| used.elapsed().ok());
    age.is_none_or(|age| age > KEPT_UNUSED)
}

/// Makes `folder` if need be and sees to it that nobody else may write in it or look at it.
fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        let reason = format!("{} is not private to this user", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(())
}

fn remove_if_there(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a tree of files and folders; on file systems that can, the copies share their blocks until
/// one is written. What a running server keeps for itself is left out.
fn copy_tree(from: &Path, to: &Path, owner: Option<(u32, u32)>) -> io::Result<Tally> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    let hand_over = |path: &Path| match owner {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
        None => Ok(()),
    };
    hand_over(to)?;
    let mut tally = Tally::default();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        let target = to.join(&name);
        if kind.is_dir() {
            let inner = copy_tree(&entry.path(), &target, owner)?;
            tally.files += inner.files;
            tally.bytes += inner.bytes;
        } else if kind.is_file() {
            if ["postmaster.pid", "postmaster.opts"].iter().any(|left_out| name == *left_out) {
                continue;
            }
            tally.bytes += fs::copy(entry.path(), &target)?;
            tally.files += 1;
            hand_over(&target)?;
        } else {
            let reason = format!("{} is neither a file nor a folder", entry.path().display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
    }
    Ok(tally)
}

/// Differs after each start of the machine; empty where the system does not say.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Whether the template is still what was kept. Nothing of it was synced, which takes longer than to
/// make it: a crash of the machine may have left files of the right name and length with other
/// content. So after each start of the machine the first who uses it reads all of it.
fn is_unharmed(template: &Path) -> io::Result<bool> {
    let (boot, path) = (boot_id(), template.join("boot"));
    if !boot.is_empty() && fs::read_to_string(&path).is_ok_and(|known| known == boot) {
        return Ok(true);
    }
    let expected = fs::read_to_string(template.join("digest"));
    let is_unharmed = expected.is_ok_and(|digest| {
        digest_of_tree(&template.join("data")).is_ok_and(|found| found == digest)
    });
    if is_unharmed {
        fs::write(path, boot)?;
    }
    Ok(is_unharmed)
}

fn digest_of_tree(path: &Path) -> io::Result<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let digest = match entry.file_type()?.is_dir() {
            true => digest_of_tree(&entry.path())?,
            false => Digest::of(&fs::read(entry.path())?).to_string(),
        };
        lines.push(format!("{digest} {}\n", entry.file_name().to_string_lossy()));
    }
    lines.sort();
    Ok(Digest::of(lines.concat().as_bytes()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_xdg_specification_has_it() {
        let of = |xdg: Option<&str>, home: Option<&str>| {
            cache_folder(xdg.map(Path::new), home.map(Path::new))
        };
        assert_eq!(of(Some("/c"), Some("/h")), Some("/c/annals/sandbox".into()));
        assert_eq!(of(Some("c"), Some("/h")), Some("/h/.cache/annals/sandbox".into()));
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn a_folder_others_may_enter_is_no_cache() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let cache = parent.path().join("a/b");
        make_private(&cache).unwrap();
        assert_eq!(fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_private(&cache).is_err());
    }
}
