//! A workspace of a test's own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::annals::{Annals, program};
use crate::server::Server;

/// A workspace in a temporary folder, with the target `db`.
pub struct Workspace {
    folder: tempfile::TempDir,
    url: String,
}

const CONFIG: &str = "workspace = \"test\"\ndefault_target = \"db\"\ndefault_backup = \"off\"\n\n[timeouts]\n\
    wait_for_lock = \"20s\"\n\n[targets.db]\nurl_env = \"TEST_URL\"\n";

impl Workspace {
    /// An empty workspace whose target `db` is `server`.
    pub fn new(server: &Server) -> Self {
        Self::with_url(&server.url())
    }

    /// An empty workspace whose target `db` is at `url`.
    pub fn with_url(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let workspace = Self { folder, url: url.to_owned() };
        for part in ["migrations", "rollbacks"] {
            fs::create_dir(workspace.path(part)).expect("the folder is ours");
        }
        workspace.write("annals.toml", CONFIG);
        workspace
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Writes a migration and its rollback.
    pub fn migration(&self, id: &str, up: &str, down: &str) {
        self.write(&format!("migrations/{id}.sql"), up);
        self.write(&format!("rollbacks/{id}_rollback.sql"), down);
    }

    /// Writes migrations `1_t1` to `<n>_t<n>`, each with a table `t<k>` and its rollback.
    pub fn tables(&self, n: usize) {
        for k in 1..=n {
            let (up, down) =
                (format!("CREATE TABLE t{k} (id int PRIMARY KEY);"), format!("DROP TABLE t{k};"));
            self.migration(&format!("{k}_t{k}"), &up, &down);
        }
    }

    /// `annals` in this workspace, with the given arguments.
    pub fn annals(&self, line: &str) -> Annals {
        Annals::new(&program(), self.folder()).env("TEST_URL", &self.url).args(line)
    }

    /// The only segment of the log of `db`.
    pub fn segment(&self) -> PathBuf {
        self.path("event-store/db/segments/00000000000000000000.jsonl")
    }

    /// The kinds of all events in the log of `db`, in order, as stored.
    pub fn kinds(&self) -> Vec<String> {
        let text = fs::read_to_string(self.segment()).expect("the log is there");
        let kind = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            value["kind"].as_str().expect("a kind is a string").to_owned()
        };
        text.lines().map(kind).collect()
    }
}
