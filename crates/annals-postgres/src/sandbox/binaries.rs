//! Where PostgreSQL's programs are, and of which version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::SandboxError;

/// How to install a server on Debian and Ubuntu.
pub const INSTALL_LINE: &str = "apt-get install -y postgresql";

/// How to install a server of one major version there.
pub fn install_line(major: u32) -> String {
    format!("{INSTALL_LINE}-{major}")
}

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

    /// The version `postgres` says it is, such as `15.18` or `18beta2`.
    ///
    /// # Errors
    ///
    /// When it cannot be run or says something else.
    pub fn version(&self) -> Result<String, SandboxError> {
        let program = self.program("postgres");
        let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|source| SandboxError::Io {
            what: "run",
            path: program.clone(),
            source,
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
        let version = text.split_once("(PostgreSQL) ").and_then(|(_, rest)| {
            rest.split_whitespace().next().filter(|word| major_of(word).is_some())
        });
        version.map(str::to_owned).ok_or_else(|| SandboxError::Program {
            program: "postgres --version",
            output: text.trim().to_owned(),
        })
    }

    /// The folder a sandbox was set up with.
    pub(super) fn known(folder: PathBuf) -> Self {
        Self { folder }
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

/// The major version in a version such as `15.18` or `18beta2`.
pub fn major_of(version: &str) -> Option<u32> {
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

/// Where to look for servers.
#[derive(Debug, Clone, Default)]
pub struct ServerPlaces {
    /// These folders alone, if there are any: `ANNALS_PG_BIN`.
    pub only: Vec<PathBuf>,
    /// A folder for each of some major versions, looked at first.
    pub by_major: BTreeMap<u32, PathBuf>,
    /// The folders of `PATH`, looked at before those the distributions use.
    pub search_path: Vec<PathBuf>,
}

/// A server that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledServer {
    /// Its programs.
    pub binaries: Binaries,
    /// Its major version.
    pub major: u32,
    /// Its version, such as `15.18`.
    pub version: String,
}

/// The servers that are installed, the preferred one of each major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledServers {
    servers: Vec<InstalledServer>,
}

impl InstalledServers {
    /// Looks in `places`. A folder given there that has no server of that version counts as none.
    pub fn find(places: &ServerPlaces) -> Self {
        let mut servers: Vec<InstalledServer> = Vec::new();
        let mut add = |folder: &Path, wanted: Option<u32>| {
            let Some(binaries) = Binaries::in_folder(folder) else { return };
            let Ok(version) = binaries.version() else { return };
            let Some(major) = major_of(&version) else { return };
            let is_new = servers.iter().all(|known| known.major != major);
            if is_new && wanted.is_none_or(|wanted| wanted == major) {
                servers.push(InstalledServer { binaries, major, version });
            }
        };
        if !places.only.is_empty() {
            places.only.iter().for_each(|folder| add(folder, None));
            return Self { servers };
        }
        for (major, folder) in &places.by_major {
            add(folder, Some(*major));
        }
        // What a person has put into the PATH comes before what lies about.
        places.search_path.iter().for_each(|folder| add(folder, None));
        distribution_folders().iter().for_each(|folder| add(folder, None));
        Self { servers }
    }

    /// All of them, the preferred one first.
    pub fn all(&self) -> &[InstalledServer] {
        &self.servers
    }

    /// The one of major version `major`.
    ///
    /// # Errors
    ///
    /// When none is installed, or none of that version; the error names those that are.
    pub fn exactly(&self, major: u32) -> Result<&InstalledServer, SandboxError> {
        let found = self.servers.iter().find(|server| server.major == major);
        found.ok_or_else(|| match self.majors() {
            none if none.is_empty() => SandboxError::NotInstalled,
            installed => SandboxError::MajorNotInstalled { wanted: major, installed },
        })
    }

    /// The one of major version `major`, else the nearest newer one, else the newest: what a newer
    /// server takes is more often what an older one takes than the other way round. Without a
    /// version, the preferred one.
    ///
    /// # Errors
    ///
    /// When none is installed.
    pub fn nearest(&self, major: Option<u32>) -> Result<&InstalledServer, SandboxError> {
        let found = match major {
            None => self.servers.first(),
            Some(major) => {
                let newer = self.servers.iter().filter(|server| server.major >= major);
                let newest = || self.servers.iter().max_by_key(|server| server.major);
                newer.min_by_key(|server| server.major).or_else(newest)
            }
        };
        found.ok_or(SandboxError::NotInstalled)
    }

    /// The major versions there are, ascending.
    pub fn majors(&self) -> Vec<u32> {
        let mut majors: Vec<u32> = self.servers.iter().map(|server| server.major).collect();
        majors.sort_unstable();
        majors
    }
}

/// Looks for one server: `override_folder` alone if given, else the folders of `search_path`, else
/// those the distributions use, the highest version first.
pub fn find_binaries(override_folder: Option<&Path>, search_path: &[PathBuf]) -> Option<Binaries> {
    if let Some(folder) = override_folder {
        return Binaries::in_folder(folder);
    }
    let in_path = search_path.iter().find_map(|folder| Binaries::in_folder(folder));
    in_path.or_else(|| distribution_folders().iter().find_map(|folder| Binaries::in_folder(folder)))
}

/// Where distributions put the programs, the newest version first.
pub(crate) fn distribution_folders() -> Vec<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(majors: &[u32]) -> InstalledServers {
        let server = |major: &u32| InstalledServer {
            binaries: Binaries { folder: format!("/pg/{major}").into() },
            major: *major,
            version: format!("{major}.1"),
        };
        InstalledServers { servers: majors.iter().map(server).collect() }
    }

    #[test]
    fn a_missing_version_is_replaced_by_the_nearest_newer_one_else_the_newest() {
        let servers = installed(&[15, 18, 13, 17]);
        let nearest = |major| servers.nearest(major).unwrap().major;
        assert_eq!(nearest(None), 15);
        assert_eq!(nearest(Some(13)), 13);
        assert_eq!(nearest(Some(14)), 15);
        assert_eq!(nearest(Some(16)), 17);
        assert_eq!(nearest(Some(19)), 18);
        let error = servers.exactly(16).unwrap_err();
        let SandboxError::MajorNotInstalled { wanted: 16, ref installed } = error else {
            panic!("{error}");
        };
        assert_eq!(installed, &[13, 15, 17, 18]);
        assert_eq!(error.hint().unwrap().matches("postgresql-16").count(), 1);
        assert!(matches!(
            InstalledServers { servers: vec![] }.exactly(16),
            Err(SandboxError::NotInstalled)
        ));
    }

    #[test]
    fn the_major_is_the_number_a_version_begins_with() {
        assert_eq!(
            ["15.18", "18beta2", "19devel", "x"].map(major_of),
            [Some(15), Some(18), Some(19), None]
        );
    }
}
