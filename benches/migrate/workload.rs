//! The workload: many small migrations, each a table and two indexes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use annals_testkit::{Server, Workspace};

/// The SQL of migration `n`.
pub(crate) fn up(n: usize) -> String {
    format!(
        "CREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz);\n\
         CREATE INDEX t{n}_name ON t{n} (name);\nCREATE INDEX t{n}_at ON t{n} (at);\n"
    )
}

/// What takes it back.
pub(crate) fn down(n: usize) -> String {
    format!("DROP TABLE t{n};\n")
}

/// Lays the migrations out for annals, and `all.sql` for `psql`.
pub(crate) fn fill(workspace: &Workspace, count: usize) {
    let mut script = String::new();
    for n in 1..=count {
        workspace.migration(&format!("{n:05}_t{n}"), &up(n), &down(n));
        let _ = write!(script, "BEGIN;\n\\i migrations/{n:05}_t{n}.sql\nCOMMIT;\n");
    }
    workspace.write("all.sql", script);
}

/// `psql` itself: what Debian has on the PATH is a script that looks for it first.
pub(crate) fn psql_itself() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("psql"));
    let found = found.find(|program| program.is_file());
    let found = found.expect("psql is installed (apt-get install -y postgresql-client)");
    if !found.canonicalize().is_ok_and(|program| program.ends_with("pg_wrapper")) {
        return found;
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin/psql"));
    programs.filter(|program| program.is_file()).max().unwrap_or(found)
}

/// The floor: one session that runs each file between `BEGIN` and `COMMIT`.
pub(crate) fn psql(folder: &Path, url: &str) -> Command {
    let mut command = Command::new(psql_itself());
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "all.sql", "-d", url]);
    command.current_dir(folder);
    command
}

/// annals in a workspace.
pub(crate) fn annals(folder: &Path, url: &str, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.arg(verb).current_dir(folder).env("TEST_URL", url).env("ANNALS_ACTOR", "bench");
    command
}

/// Takes the log away, for a first run.
pub(crate) fn forget(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder.join("event-store"));
}

/// A URL with another database.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    let (start, rest) = url.rsplit_once('/').expect("a URL names a database");
    let query = rest.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    format!("{start}/{name}{query}")
}

/// A fresh database, with nothing of the last run left to write.
pub(crate) fn fresh_database(server: &Server, name: &str) {
    server.sql(&format!("CREATE DATABASE {name} TEMPLATE template0"));
    server.sql("CHECKPOINT");
}

/// Drops a database, once nobody is in it.
pub(crate) fn drop_database(server: &Server, name: &str) {
    server.sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
}
