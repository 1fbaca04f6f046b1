//! Every kind of change of a schema shows in the picture of it, and nothing else does.
//!
//! `docs/reference/schema-changes.md` is written from the table in `changes`: with
//! `ANNALS_UPDATE_GOLDEN=1` this test writes it anew.

mod changes;
mod followed;
mod no_changes;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use annals_postgres::{
    ConnectionSpec, Platform, SchemaScope, Session, SessionSettings, read_schema,
    read_schema_inside,
};
use annals_schema::{Difference, Snapshot, diff};
use annals_testkit::Server;

use changes::{CHANGES, Change};
use no_changes::NO_CHANGES;

/// How many changes are made at once.
const WORKERS: usize = 4;

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built")
}

/// A server with the database `base`.
struct Laboratory {
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl Laboratory {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let laboratory =
            Self { server: Server::start(), runtime: runtime.expect("a runtime can be built") };
        laboratory.server.sql(include_str!("roles.sql"));
        laboratory.server.sql("CREATE DATABASE base");
        laboratory.run(async {
            let mut base = laboratory.session("base").await;
            base.run(include_str!("base.sql")).await.unwrap_or_else(|fault| panic!("{fault}"));
            base.close().await;
        });
        laboratory
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    async fn session(&self, database: &str) -> Session {
        let spec = ConnectionSpec::from_socket(self.server.folder(), "postgres", database);
        let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
        spec.connect("annals-test", &settings).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

async fn picture(session: &mut Session) -> Snapshot {
    read_schema(session, &SchemaScope::of(Platform::Plain))
        .await
        .unwrap_or_else(|fault| panic!("{fault}"))
}

/// Databases cloned from `base`, one after the other.
struct Clones<'a> {
    laboratory: &'a Laboratory,
    admin: Session,
    worker: usize,
    made: usize,
}

impl<'a> Clones<'a> {
    async fn of(laboratory: &'a Laboratory, worker: usize) -> Self {
        Self { laboratory, admin: laboratory.session("postgres").await, worker, made: 0 }
    }

    fn name(&self) -> String {
        format!("clone_{}_{}", self.worker, self.made)
    }

    async fn next(&mut self) -> Session {
        self.made += 1;
        let strategy = if self.admin.facts().major() >= 15 { " STRATEGY file_copy" } else { "" };
        let sql = format!("CREATE DATABASE {} TEMPLATE base{strategy}", self.name());
        self.admin.run(&sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
        self.laboratory.session(&self.name()).await
    }

    /// The database of the last session.
    async fn drop(&mut self, mut session: Session) {
        // A database with a subscription is not dropped.
        let sql = "DO $$ DECLARE name text; BEGIN FOR name IN SELECT subname FROM pg_subscription s \
                   JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() \
                   LOOP EXECUTE format('DROP SUBSCRIPTION %I', name); END LOOP; END $$";
        session.run("RESET ALL").await.unwrap_or_else(|fault| panic!("{fault}"));
        session.run(sql).await.unwrap_or_else(|fault| panic!("{fault}"));
        session.close().await;
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name());
        self.admin.run(&sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    }
}

fn kind_of(difference: &Difference) -> &'static str {
    difference.key().kind.as_str()
}

fn all_changes() -> impl Iterator<Item = &'static Change> {
    CHANGES.iter().copied().flatten()
}

/// What is wrong with how `change` shows.
fn complaint(change: &Change, before: &Snapshot, after: &Snapshot) -> Option<String> {
    let differences = diff(before, after);
    let kinds: BTreeSet<&str> = differences.iter().map(kind_of).collect();
    if differences.is_empty() {
        return Some("no difference".to_owned());
    }
    if before.fingerprint() == after.fingerprint() {
        return Some("the fingerprint is the same".to_owned());
    }
    let shows = change.shows.split('|').any(|kind| kinds.contains(kind));
    (!shows).then(|| format!("{kinds:?} instead of {}", change.shows))
}

/// The difference it makes in a transaction that is taken back: nothing where it cannot be made there.
async fn made_and_taken_back(session: &mut Session, change: &Change) -> Option<Option<String>> {
    let scope = SchemaScope::of(Platform::Plain);
    let mut pictures = Vec::new();
    session.run("BEGIN").await.unwrap_or_else(|fault| panic!("{fault}"));
    for sql in [change.before, change.sql] {
        if !sql.is_empty() && session.run(sql).await.is_err() {
            break;
        }
        let picture = read_schema_inside(session, &scope).await;
        pictures.push(picture.unwrap_or_else(|fault| panic!("{sql}: {fault}")));
    }
    session.run("ROLLBACK").await.unwrap_or_else(|fault| panic!("{fault}"));
    // A reset of the session that was meant for the reader is taken back too.
    session.run("RESET ALL").await.unwrap_or_else(|fault| panic!("{fault}"));
    let pictures = <[Snapshot; 2]>::try_from(pictures).ok()?;
    Some(complaint(change, &pictures[0], &pictures[1]))
}

/// Makes each of `changes` alone: one that cannot be taken back, in a clone of its own. Returns what is
/// wrong.
async fn try_changes(laboratory: &Laboratory, worker: usize, changes: &[&Change]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut clones = Clones::of(laboratory, worker).await;
    let mut shared = clones.next().await;
    let mut in_a_clone = Vec::new();
    for change in changes {
        match made_and_taken_back(&mut shared, change).await {
            Some(complaint) => complaints.extend(complaint.map(|it| said(change, &it))),
            None => in_a_clone.push(change),
        }
    }
    clones.drop(shared).await;
    for change in in_a_clone {
        let mut session = clones.next().await;
        if !change.before.is_empty() {
            let sql = change.before;
            session.run(sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
        }
        let before = picture(&mut session).await;
        let complaint = match session.run(change.sql).await {
            Ok(()) => complaint(change, &before, &picture(&mut session).await),
            Err(fault) => Some(fault.to_string()),
        };
        complaints.extend(complaint.map(|complaint| said(change, &complaint)));
        clones.drop(session).await;
    }
    complaints
}

fn said(change: &Change, complaint: &str) -> String {
    format!("{}, {}: {}\n    {complaint}", change.about, change.what, change.sql)
}

#[test]
fn every_change_shows() {
    let laboratory = Laboratory::new();
    let major: u32 =
        laboratory.server.value("SELECT current_setting('server_version_num')").parse().unwrap();
    let changes: Vec<&Change> =
        all_changes().filter(|change| change.since <= major / 10_000).collect();
    let share = changes.len().div_ceil(WORKERS);
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let laboratory = &laboratory;
        let workers: Vec<_> = changes
            .chunks(share)
            .enumerate()
            .map(|(worker, changes)| {
                scope.spawn(move || runtime().block_on(try_changes(laboratory, worker, changes)))
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let tried = changes.len();
    assert!(tried >= 120, "{tried} changes");
    assert!(complaints.is_empty(), "{} of {tried}:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn what_changes_nothing_does_not_show() {
    let laboratory = Laboratory::new();
    let mut complaints = Vec::new();
    laboratory.run(async {
        let mut clones = Clones::of(&laboratory, 0).await;
        let major = clones.admin.facts().major();
        for no_change in NO_CHANGES.iter().filter(|it| it.since <= major) {
            let mut session = clones.next().await;
            let before = picture(&mut session).await;
            for sql in no_change.sql {
                if let Err(fault) = session.run(sql).await {
                    complaints.push(format!("{sql}: {fault}"));
                }
            }
            let after = picture(&mut session).await;
            let differences = diff(&before, &after);
            if !differences.is_empty() || before.fingerprint() != after.fingerprint() {
                complaints.push(format!("{}: {differences:?}", no_change.what));
            }
            clones.drop(session).await;
        }
    });
    assert!(NO_CHANGES.len() >= 20);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// `pg_dump` that can read a server of this major version: the server's own, or a newer one.
fn pg_dump(server: &Server, major: u32) -> Option<Command> {
    let beside =
        std::env::var_os("ANNALS_PG_BIN").map(|folder| PathBuf::from(folder).join("pg_dump"));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| "pg_dump".into());
    let version = Command::new(&program).arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let found = version.split_whitespace().nth(2)?.split('.').next()?.parse::<u32>().ok()?;
    let mut command = Command::new(program);
    command.arg("-h").arg(server.folder()).args(["-U", "postgres", "base"]);
    (found >= major).then_some(command)
}

#[test]
fn a_dump_restored_elsewhere_has_the_same_fingerprint() {
    let laboratory = Laboratory::new();
    laboratory.run(async {
        let mut base = laboratory.session("base").await;
        let major = base.facts().major();
        let Some(mut dump) = pg_dump(&laboratory.server, major) else {
            eprintln!("no pg_dump for PostgreSQL {major}: nothing was dumped");
            return;
        };
        let output = dump.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut admin = laboratory.session("postgres").await;
        admin.run("CREATE DATABASE restored TEMPLATE template0").await.unwrap();
        admin.close().await;
        let mut restore = Command::new("psql");
        restore.arg("-h").arg(laboratory.server.folder());
        restore.args(["-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "restored"]);
        restore.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = restore.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &output.stdout).unwrap();
        let restored = child.wait_with_output().unwrap();
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));

        let mut restored = laboratory.session("restored").await;
        let (before, after) = (picture(&mut base).await, picture(&mut restored).await);
        assert_eq!(diff(&before, &after), []);
        assert_eq!(before.fingerprint(), after.fingerprint());
        base.close().await;
        restored.close().await;
    });
}

/// The page, from the table.
fn page() -> String {
    let mut page = String::from(
        "# Changes of a schema\n\n\
         <!-- Written by a test of annals-postgres from its table of changes: cargo xtask reference. -->\n\n\
         Each of these changes alters the fingerprint of a schema and shows as a difference of an object of\n\
         the kind in the last column. A test makes each of them alone. Those that came\n\
         with a later version than PostgreSQL 13 say so.\n",
    );
    let mut about = "";
    for change in all_changes() {
        if change.about != about {
            about = change.about;
            let _ = write!(
                page,
                "\n## {}\n\n| change | SQL | shows as |\n|---|---|---|\n",
                capital(about)
            );
        }
        let since = match change.since {
            13 => String::new(),
            since => format!(" ({since}+)"),
        };
        let sql = change.sql.replace('|', "\\|");
        let shows = change.shows.replace('_', " ").replace('|', " or ");
        let _ = writeln!(page, "| {}{since} | `{sql}` | {shows} |", change.what);
    }
    let count = all_changes().count();
    let _ = write!(page, "\n{count} changes.\n\n## What changes nothing\n\n");
    page.push_str("Behind each of these the fingerprint is what it was.\n\n");
    for no_change in NO_CHANGES {
        let _ = writeln!(page, "- {}", no_change.what);
    }
    page
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[test]
fn the_page_of_changes_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/schema-changes.md");
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page(), "{path} is not up to date: cargo xtask reference");
    let distinct: BTreeSet<(&str, &str)> =
        all_changes().map(|change| (change.about, change.what)).collect();
    assert_eq!(distinct.len(), all_changes().count(), "two changes with one name");
}
