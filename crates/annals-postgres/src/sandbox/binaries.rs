//! Where PostgreSQL's programs are.

use std::path::{Path, PathBuf};

/// How to install a server on Debian and Ubuntu.
pub const INSTALL_LINE: &str = "apt-get install -y postgresql";

/// The folder with `initdb`, `postgres` and `pg_ctl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder `path` leads to, if it has a whole server in it.
    fn in_folder(path: &Path) -> Option<Self> {
        let whole = ["initdb", "postgres", "pg_ctl"].iter().all(|name| path.join(name).is_file());
        if !whole {
            return None;
        }
        // Debian links single programs into the PATH; initdb looks for its share files beside the
        // real one.
        let real = std::fs::canonicalize(path.join("postgres")).ok()?;
        Some(Self { folder: real.parent()?.to_owned() })
    }
}

/// Looks for a server: `override_folder` alone if given, else the folders of `search_path`, else
/// those the distributions use, the highest version first.
pub fn find_binaries(override_folder: Option<&Path>, search_path: &[PathBuf]) -> Option<Binaries> {
    if let Some(folder) = override_folder {
        return Binaries::in_folder(folder);
    }
    let in_path = search_path.iter().find_map(|folder| Binaries::in_folder(folder));
    in_path.or_else(|| distribution_folders().iter().find_map(|folder| Binaries::in_folder(folder)))
}

fn distribution_folders() -> Vec<PathBuf> {
    let versions = |parent: &str, prefix: &str| {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut found: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let version = name.strip_prefix(prefix)?.split('.').next()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        found.into_iter().map(|(_, path)| path)
    };
    let debian = versions("/usr/lib/postgresql", "");
    let red_hat = versions("/usr", "pgsql-");
    let homebrew = versions("/opt/homebrew/opt", "postgresql@");
    let plain = ["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    debian.chain(red_hat).chain(homebrew).chain(plain).collect()
}
