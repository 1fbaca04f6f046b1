//! The sandbox server: templates, likeness, Supabase, and what is left of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod databases;
mod supabase;
mod templates;

use std::path::{Path, PathBuf};

use annals_postgres::sandbox::{
    Binaries, INSTALL_LINE, Lifetime, Sandbox, SandboxOptions, find_binaries,
};
use annals_postgres::{ConnectionSpec, Platform, Session, SessionSettings};
use sqlx::Row;

/// A folder sandboxes and their cache lie in, gone with the test.
struct Place {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        // Short, for the socket; open like /tmp, for the server's user.
        let folder = tempfile::Builder::new().prefix("annals-sb-").tempdir_in("/tmp").unwrap();
        let open = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { folder, runtime }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// What is in the cache, without locks.
    fn cached(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.cache()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }

    fn start(&self, name: &str, platform: Platform) -> Sandbox {
        self.start_with(name, platform, Some(&self.cache()))
    }

    fn start_with(&self, name: &str, platform: Platform, cache: Option<&Path>) -> Sandbox {
        let started = self.runtime.block_on(start(self.folder.path(), name, platform, cache));
        started.unwrap_or_else(|error| panic!("{error}"))
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

fn binaries() -> Binaries {
    let chosen = std::env::var_os("ANNALS_PG_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    find_binaries(chosen.as_deref(), &path)
        .unwrap_or_else(|| panic!("no PostgreSQL server is installed; install it: {INSTALL_LINE}"))
}

async fn start(
    parent: &Path,
    name: &str,
    platform: Platform,
    cache: Option<&Path>,
) -> Result<Sandbox, annals_postgres::sandbox::SandboxError> {
    let (folder, binaries) = (parent.join(name), binaries());
    let options = SandboxOptions {
        folder: &folder,
        binaries: &binaries,
        platform,
        lifetime: Lifetime::OfThisProcess,
        tcp_port: None,
        settings: &[],
        cache,
        lock: None,
    };
    Sandbox::start(&options).await
}

async fn session(spec: &ConnectionSpec) -> Session {
    let settings = SessionSettings::default();
    spec.connect("annals-test", &settings).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The one value a query gives, as text.
async fn value(session: &mut Session, query: &str) -> String {
    let wrapped = format!("SELECT ({query})::text AS value");
    let row = sqlx::query(sqlx::AssertSqlSafe(wrapped)).fetch_one(session.connection()).await;
    let row = row.unwrap_or_else(|error| panic!("{query}: {error}"));
    row.get::<Option<String>, _>("value").unwrap_or_default()
}
