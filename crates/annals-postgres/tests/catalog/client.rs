//! A session of annals on a server of the test's own.

use annals_postgres::{
    ConnectionSpec, Fault, Platform, SchemaScope, Session, SessionSettings, read_schema,
};
use annals_schema::{Object, ObjectKey, ObjectKind, Snapshot};
use annals_testkit::Server;
use tokio::runtime::Runtime;

pub(crate) struct Client {
    pub(crate) runtime: Runtime,
    pub(crate) session: Session,
}

impl Client {
    pub(crate) fn of_role(server: &Server, role: &str, database: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let spec = ConnectionSpec::from_socket(server.folder(), role, database);
        let settings = SessionSettings::default();
        let connected = spec.connect("annals-test", &settings);
        let session = runtime.block_on(connected).unwrap_or_else(|error| panic!("{role}: {error}"));
        Self { runtime, session }
    }

    pub(crate) fn new(server: &Server) -> Self {
        Self::of_role(server, "postgres", "postgres")
    }

    pub(crate) fn try_run(&mut self, sql: &str) -> Result<(), Fault> {
        self.runtime.block_on(self.session.run(sql))
    }

    pub(crate) fn run(&mut self, sql: &str) {
        self.try_run(sql).unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    }

    pub(crate) fn run_all(&mut self, statements: &[&str]) {
        let tried = statements.iter().map(|sql| (sql, self.try_run(sql)));
        let failed: Vec<String> = tried
            .filter_map(|(sql, done)| done.err().map(|fault| format!("{sql}\n  {fault}")))
            .collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    pub(crate) fn major(&self) -> u32 {
        self.session.facts().major()
    }

    pub(crate) fn read(&mut self) -> Snapshot {
        self.read_in(&SchemaScope::of(Platform::Plain))
    }

    pub(crate) fn read_in(&mut self, scope: &SchemaScope) -> Snapshot {
        let read = self.runtime.block_on(read_schema(&mut self.session, scope));
        read.unwrap_or_else(|fault| panic!("{fault}"))
    }
}

/// The statements of a file for one major version: a line `--[14+]` before one says since when, and
/// `--[-13]` until when.
pub(crate) fn statements(text: &str, major: u32) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut wanted = true;
    for line in text.lines() {
        if let Some(versions) = line.strip_prefix("--[").and_then(|line| line.strip_suffix(']')) {
            wanted = match versions.strip_prefix('-') {
                Some(last) => major <= last.parse().unwrap(),
                None => major >= versions.trim_end_matches('+').parse().unwrap(),
            };
        } else if !line.starts_with("--") && !line.is_empty() {
            if wanted {
                statements.push(line);
            }
            wanted = true;
        }
    }
    statements
}

pub(crate) fn attribute<'a>(
    snapshot: &'a Snapshot,
    kind: ObjectKind,
    name: &str,
    attribute: &str,
) -> Option<&'a str> {
    let key = ObjectKey { kind, name: name.to_owned() };
    let attributes = snapshot.get(&key).unwrap_or_else(|| panic!("there is no {key}"));
    attributes.get(attribute).map(String::as_str)
}

/// All objects in one text, one an object.
pub(crate) fn text(snapshot: &Snapshot) -> String {
    let object = |(key, attributes): (&ObjectKey, &std::collections::BTreeMap<String, String>)| {
        let object =
            Object { attributes: attributes.clone(), kind: key.kind, name: key.name.clone() };
        serde_json::to_string(&object).unwrap() + "\n"
    };
    snapshot.iter().map(object).collect()
}
