//! One case's world: a database, a workspace, an application at work, and everything that was said.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use annals_testkit::{Annals, Outcome, Running, Server, ServerOptions, SmallDisk, wait_for};

use crate::link::Link;
use crate::migrations::{DEPLOYER, MIGRATIONS, SETUP};
use crate::oracle::{Invariant, Violation};
use crate::writers::Writers;

/// A server many cases share, each with a database of its own.
pub struct Stage {
    /// The server.
    pub server: Server,
    /// Whether the deploying role does not wait for durable commits.
    pub is_weak: bool,
    made: usize,
}

/// The setting by which a role does not wait.
pub const WEAK: &str = "synchronous_commit";

/// The program under test, built with its failpoints: an example of this crate.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it is");
    let candidates = own
        .ancestors()
        .skip(1)
        .take(2)
        .flat_map(|folder| [folder.join("annals"), folder.join("examples/annals")]);
    // Beside the tests lies a folder of examples; an example lies in it.
    let mut candidates = candidates.filter(|path| path.is_file());
    let found = candidates.find(|path| path.parent().is_some_and(|p| p.ends_with("examples")));
    found.unwrap_or_else(|| {
        panic!("the program under test is not built: cargo build -p annals-faults --examples")
    })
}

impl Stage {
    /// Starts a server.
    pub fn new() -> Self {
        let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
        let password = Server::PASSWORD;
        for setting in [
            "log_line_prefix = '%m [%p] %a@%d '",
            "log_lock_waits = on",
            "deadlock_timeout = '200ms'",
            "wal_writer_delay = '10s'",
        ] {
            server.sql(&format!("ALTER SYSTEM SET {setting}"));
        }
        // A standby may follow.
        let rules = server.folder().join("data/pg_hba.conf");
        let mut text = fs::read_to_string(&rules).expect("the server has rules for logins");
        text.push_str("local replication all trust\n");
        fs::write(&rules, text).expect("the server's folder is ours");
        server.sql("SELECT pg_reload_conf()");
        server.sql(&format!("CREATE ROLE {DEPLOYER} LOGIN PASSWORD '{password}'"));
        server.sql(&format!("GRANT pg_monitor TO {DEPLOYER}"));
        Self { server, is_weak: false, made: 0 }
    }

    /// The server's log.
    pub fn server_log(&self) -> PathBuf {
        self.server.folder().join("server.log")
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// A command of annals and what it came to.
#[derive(Debug)]
pub struct Said {
    /// The command line.
    pub line: String,
    /// How it ended; none of a command whose end was not waited for.
    pub outcome: Outcome,
    /// Effects in the database before it began.
    pub before: Vec<String>,
    /// Effects afterwards, when its backends were gone.
    pub after: Vec<String>,
    /// Whether no other command worked at the same time.
    pub alone: bool,
}

/// One case's world.
pub struct Scene<'s> {
    /// The server.
    pub stage: &'s mut Stage,
    /// The name of the database.
    pub database: String,
    /// The folder of the workspace.
    pub folder: tempfile::TempDir,
    /// What the commands said.
    pub said: Vec<Said>,
    /// Copies of the log, as a reader found it at some moment.
    pub copies: Vec<Vec<u8>>,
    /// What the oracle saw on the way that must not be.
    pub seen: RefCell<Vec<Violation>>,
    /// How long the application may wait because of us, in milliseconds.
    pub wait_bound_ms: u64,
    /// Arguments of the commands, as the system lists them.
    pub argv: Vec<Vec<u8>>,
    /// The small disk the log lies on, if it does.
    pub disk: Option<SmallDisk>,
    /// Whether the log is one somebody has altered just now: nobody's picture of the log.
    pub altered: bool,
    /// Another clock, for every command.
    pub clock: Option<String>,
    /// Where the server's log begins to speak of this case.
    pub server_log_from: u64,
    port: u16,
    writers: Option<Writers>,
}

/// Longest wait of annals for a lock in these workspaces, in milliseconds.
pub const LOCK_TIMEOUT_MS: u64 = 2_000;

/// How much longer than that an application may wait: the server looks for deadlocks, the machine
/// is busy, and the step itself takes its time.
pub const MARGIN_MS: u64 = 4_000;

const CONFIG: &str = "workspace = \"faults\"\ndefault_target = \"db\"\ndefault_backup = \"off\"\n\n[timeouts]\n\
    lock = \"2s\"\nwait_for_lock = \"30s\"\n\n[targets.db]\nurl_env = \"FAULTS_URL\"\n";

impl<'s> Scene<'s> {
    /// A fresh database with an application at work, and a workspace with all migrations.
    pub fn new(stage: &'s mut Stage) -> Self {
        stage.made += 1;
        let database = format!("case_{}", stage.made);
        stage.server.sql(&format!("CREATE DATABASE {database} OWNER {DEPLOYER}"));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let server_log_from = fs::metadata(stage.server_log()).map_or(0, |meta| meta.len());
        let port = stage.server.tcp_port();
        let mut scene = Self {
            stage,
            database,
            folder,
            said: Vec::new(),
            copies: Vec::new(),
            seen: RefCell::default(),
            wait_bound_ms: LOCK_TIMEOUT_MS + MARGIN_MS,
            argv: Vec::new(),
            disk: None,
            altered: false,
            clock: None,
            server_log_from,
            port,
            writers: None,
        };
        scene.sql(SETUP);
        for part in ["migrations", "rollbacks", "pause"] {
            fs::create_dir(scene.path(part)).expect("the folder is ours");
        }
        scene.write("annals.toml", CONFIG);
        for migration in MIGRATIONS {
            scene.write(&format!("migrations/{}.sql", migration.id), migration.up);
            scene.write(&format!("rollbacks/{}_rollback.sql", migration.id), migration.down);
        }
        let url = scene.own_url();
        scene.writers = Some(Writers::start(&url));
        scene
    }

    /// A path in the workspace.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the workspace.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("the folder is ours");
    }

    /// The URL of the superuser, by the socket.
    pub fn own_url(&self) -> String {
        let url = self.stage.server.url();
        let (server, _) = url.rsplit_once('/').expect("a URL names its database");
        format!("{server}/{}", self.database)
    }

    /// The URL annals is given: by TCP, as the deployer, with the password.
    pub fn url(&self) -> String {
        let (password, port, database) = (Server::PASSWORD, self.port, &self.database);
        format!("postgres://{DEPLOYER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Sends annals through `port` from now on.
    pub fn through(&mut self, port: u16) {
        self.port = port;
    }

    /// Runs SQL as the superuser and wants it to succeed.
    pub fn sql(&self, sql: &str) {
        let mut link = Link::open(&self.own_url()).unwrap_or_else(|error| panic!("{error}"));
        link.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The first column of every row.
    pub fn rows(&self, query: &str) -> Vec<String> {
        let mut link = Link::open(&self.own_url()).unwrap_or_else(|error| panic!("{error}"));
        link.rows(query).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// What has taken effect, sorted, each as often as it did.
    pub fn effects(&self) -> Vec<String> {
        self.rows("SELECT what FROM harness.effects ORDER BY what")
    }

    /// Closes a gate.
    pub fn close_gate(&self, name: &str) {
        self.sql(&format!("INSERT INTO harness.gates VALUES ('{name}')"));
    }

    /// Opens all gates.
    pub fn open_gates(&self) {
        self.sql("DELETE FROM harness.gates");
    }

    /// `annals` in this workspace.
    pub fn annals(&self, line: &str) -> Annals {
        let (program, folder) = (program(), self.folder.path());
        let command = match &self.disk {
            None => Annals::new(&program, folder).args(line),
            // No event fits into what is left of a page: each is longer than one.
            Some(disk) => disk.run(&program, folder, line).env("ANNALS_ACTOR", "n".repeat(4200)),
        };
        let command = command.env("FAULTS_URL", self.url());
        match &self.clock {
            None => command,
            Some(offset) => under_another_clock(command).env("FAKETIME", offset),
        }
    }

    /// `annals`, in the pause it comes to at a failpoint.
    pub fn annals_at(&self, line: &str, failpoint: &str) -> Annals {
        let command = self.annals(line).env("ANNALS_FAILPOINT", failpoint);
        command.env("ANNALS_FAILPOINT_DIR", self.path("pause"))
    }

    /// Backends of annals in this database.
    pub fn backends(&self) -> Vec<String> {
        self.rows(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals%' \
             AND datname = current_database()",
        )
    }

    /// The backend that waits at a gate.
    pub fn at_gate(&self) -> u64 {
        wait_for("a run at the gate", || self.asleep())
    }

    /// The backend that waits at a gate, if one does.
    pub fn asleep(&self) -> Option<u64> {
        let asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
            AND application_name LIKE 'annals%' AND datname = current_database()";
        self.rows(asleep).pop()?.parse().ok()
    }

    /// Waits until a run has come to its pause.
    pub fn at_pause(&self) {
        let arrived = self.path("pause/arrived");
        wait_for("a run at its pause", || arrived.exists().then_some(()));
    }

    /// Notes the arguments of a command that runs.
    pub fn note_arguments(&mut self, running: &Running) {
        self.argv.extend(fs::read(format!("/proc/{}/cmdline", running.pid())));
    }

    /// Sets the longest silence of the server that is awaited.
    pub fn set_silence(&self, silence: &str) {
        let timeouts = format!("[timeouts]\nsilence = \"{silence}\"\n");
        self.write("annals.toml", CONFIG.replace("[timeouts]\n", &timeouts));
    }

    /// Sets the longest wait for another run, which a new command reads.
    pub fn set_patience(&self, patience: &str) {
        self.write("annals.toml", CONFIG.replace("30s", patience));
    }

    /// Lets a run go on behind its pause.
    pub fn go(&self) {
        self.write("pause/go", "");
    }

    /// Waits until every backend of annals has gone from this database.
    pub fn wait_until_nobody_works(&self) {
        wait_for("the end of every backend of a run", || self.backends().is_empty().then_some(()));
    }

    /// Remembers that an invariant does not hold.
    pub fn broken(&self, invariant: Invariant, what: impl Into<String>) {
        self.seen.borrow_mut().push(Violation { invariant, what: what.into() });
    }

    /// Remembers how a command that had the target for itself ended, and looks at what it left: is
    /// every effect announced?
    pub fn take(&mut self, line: &str, before: Vec<String>, outcome: Outcome) -> i32 {
        self.wait_until_nobody_works();
        let after = self.effects();
        if self.altered {
            let said = Said { line: line.to_owned(), outcome, before, after, alone: true };
            let code = said.outcome.code;
            self.said.push(said);
            return code;
        }
        self.copy_log();
        for effect in self.unannounced(&after) {
            let what = format!("{effect} took effect and the log has no intent");
            self.broken(Invariant::NoOrphan, what);
        }
        let code = outcome.code;
        self.said.push(Said { line: line.to_owned(), outcome, before, after, alone: true });
        code
    }

    /// Remembers what one of several commands at the same time said.
    pub fn take_beside(&mut self, line: &str, outcome: Outcome) -> i32 {
        let code = outcome.code;
        let (before, after) = (Vec::new(), Vec::new());
        self.said.push(Said { line: line.to_owned(), outcome, before, after, alone: false });
        code
    }

    /// Effects without an intent in the log.
    fn unannounced(&self, effects: &[String]) -> Vec<String> {
        let log = self.log();
        let intents: Vec<String> = events(&log)
            .filter(|event| event["kind"] == "step_started")
            .map(|event| {
                let text = |name: &str| event["data"][name].as_str().unwrap_or_default().to_owned();
                format!("{} {}", text("direction"), text("version"))
            })
            .collect();
        effects.iter().filter(|effect| !intents.contains(effect)).cloned().collect()
    }

    /// Runs a command to its end; returns its exit code.
    pub fn run(&mut self, line: &str) -> i32 {
        let before = self.effects();
        let outcome = self.annals(line).run();
        self.take(line, before, outcome)
    }

    /// What the last command printed.
    pub fn last(&self) -> String {
        let said = self.said.last().map(|said| &said.outcome);
        said.map(|outcome| format!("{}{}", outcome.out, outcome.err)).unwrap_or_default()
    }

    /// Folder of the logs, wherever it lies.
    pub fn store(&self) -> PathBuf {
        self.disk.as_ref().map_or_else(|| self.path("event-store"), SmallDisk::inside)
    }

    /// The first segment of the log, and in a short one the only.
    pub fn segment(&self) -> PathBuf {
        self.store().join("db/segments/00000000000000000000.jsonl")
    }

    /// The log, as a reader finds it now.
    pub fn log(&self) -> Vec<u8> {
        let mut segments = files_below(&self.store().join("db/segments"));
        segments.sort();
        segments.iter().flat_map(|path| fs::read(path).unwrap_or_default()).collect()
    }

    /// Keeps what a reader finds now.
    pub fn copy_log(&mut self) {
        let log = self.log();
        if self.copies.last() != Some(&log) {
            self.copies.push(log);
        }
    }

    /// Ends the application and returns what its writers know.
    pub fn stop_writers(&mut self) -> Vec<crate::writers::Journal> {
        self.writers.take().map(Writers::stop).unwrap_or_default()
    }

    /// What the server said of this database since the case began.
    pub fn server_says(&self) -> String {
        let bytes = fs::read(self.stage.server_log()).unwrap_or_default();
        let from = usize::try_from(self.server_log_from).unwrap_or_default().min(bytes.len());
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        self.stop_writers();
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database);
        // A case that failed may have left the server down; then there is nothing to remove.
        if let Ok(mut link) = Link::open(&self.stage.server.url()) {
            let _ = link.run(&drop);
        }
    }
}

/// The whole lines of a log, as JSON.
pub fn events(log: &[u8]) -> impl Iterator<Item = serde_json::Value> + '_ {
    let whole = log.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    whole.filter_map(|line| serde_json::from_slice(line).ok())
}

/// Every file below `folder`, links not followed.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

/// A command whose clock `FAKETIME` or the file `FAKETIME_TIMESTAMP_FILE` sets; what only measures
/// time goes on as it is.
pub fn under_another_clock(command: Annals) -> Annals {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    let library = library.replace("x86_64", std::env::consts::ARCH);
    assert!(
        Path::new(&library).is_file(),
        "{library} is not there; install it: apt-get install -y libfaketime"
    );
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_NO_CACHE", "1")
}
