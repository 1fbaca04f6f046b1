//! Bad input: what cannot be done is refused with the thing, the reason and the next step, leaves
//! target and log as they were, and goes through once it is corrected.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use annals_testkit::{Annals, Outcome, Server, Workspace, program};
use serde_json::Value;

/// Nobody listens there, and the password must not come back.
pub(crate) const NOBODY: &str =
    "postgres://postgres:CANARY-1b2c3d@127.0.0.1:1/postgres?sslmode=disable";

/// Commands that work on a target.
pub(crate) const ON_A_TARGET: [&str; 5] =
    ["status", "plan", "migrate", "rollback --last 1", "verify"];

/// Everything a migration could change, annals' own tables too.
const CATALOG: &str = "\
    SELECT concat_ws(' ', c.relkind, c.oid::regclass, c.relacl, c.relrowsecurity, \
        (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' \
            ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1";

/// A workspace and the server its target is on.
pub(crate) type Scene = (Server, Workspace);

pub(crate) fn fresh() -> Scene {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    (server, workspace)
}

/// Migrations `1_t1` to `<n>_t<n>`, all applied.
pub(crate) fn applied(n: usize) -> Scene {
    let scene = fresh();
    scene.1.tables(n);
    scene.1.annals("migrate").run().expect(0);
    scene
}

pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.insert(path, bytes);
        }
    }
    found
}

/// The log's files, but for the name of whoever opened it last.
fn log(workspace: &Workspace) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(&workspace.path("event-store"));
    files.retain(|path, _| !path.ends_with("lock"));
    files
}

fn is_there(server: &Server, query: &str) -> bool {
    !server.rows(query).is_empty()
}

fn has_table(server: &Server, name: &str) -> bool {
    is_there(server, &format!("SELECT oid FROM pg_class WHERE relname = '{name}'"))
}

pub(crate) fn catalog(server: &Server) -> Vec<String> {
    let mut lines = server.rows(CATALOG);
    if is_there(server, "SELECT oid FROM pg_namespace WHERE nspname = 'annals'") {
        lines.extend(server.rows("SELECT l::text FROM annals.ledger l ORDER BY 1"));
        lines.extend(server.rows("SELECT s::text FROM annals.statements s ORDER BY 1"));
    }
    lines
}

/// How target and log stood before.
pub(crate) struct Witness<'a> {
    scene: (&'a Server, &'a Workspace),
    catalog: Vec<String>,
    log: BTreeMap<PathBuf, Vec<u8>>,
}

impl<'a> Witness<'a> {
    pub(crate) fn of(server: &'a Server, workspace: &'a Workspace) -> Self {
        let (catalog, log) = (catalog(server), log(workspace));
        let scene = (server, workspace);
        Self { scene, catalog, log }
    }

    #[track_caller]
    pub(crate) fn nothing_changed(&self) {
        assert_eq!(catalog(self.scene.0), self.catalog, "the target was changed");
        let same = log(self.scene.1) == self.log;
        assert!(same, "the event log was changed");
    }
}

/// Neither a log nor keys were begun.
#[track_caller]
pub(crate) fn no_trace(workspace: &Workspace) {
    for part in ["event-store", "keys"] {
        assert!(!workspace.path(part).exists(), "{part} was made");
    }
}

/// Wants the parts of `pattern`, between its ` … `, one behind the other in `text`.
#[track_caller]
pub(crate) fn says(text: &str, pattern: &str) {
    let mut rest = text;
    for part in pattern.split(" … ") {
        let at = rest.find(part);
        let at = at.unwrap_or_else(|| panic!("{part:?} is not said, or not there:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

/// Wants a refusal that says `pattern` and a next step, as text and as JSON.
#[track_caller]
pub(crate) fn refuses(command: impl Fn() -> Annals, code: i32, pattern: &str) -> [Outcome; 2] {
    let text = command().run().expect(code);
    assert_eq!(text.out, "", "{}: errors go to standard error", text.line);
    assert!(text.err.starts_with("error: "), "{}:\n{}", text.line, text.err);
    says(&text.err, pattern);
    says(&text.err, "\nnext: ");
    let json = command().arg("--json").run().expect(code);
    assert_eq!(json.out, "", "{}: errors go to standard error", json.line);
    let document = json.error_json();
    assert_eq!(document["format"], "annals.error/1");
    assert_eq!(document["exit_code"], code);
    let [errors, causes, hint] = ["errors", "causes", "hint"].map(|part| strings(&document[part]));
    assert!(!errors.is_empty() && hint.len() == 1, "{document:#}");
    let repeats = |cause: &String| errors.iter().any(|error| cause.contains(error));
    assert!(!causes.iter().any(repeats), "{document:#}");
    says(&[errors, causes, hint].concat().join("\n"), pattern);
    [text, json]
}

/// As [`refuses`], and target and log are as they were.
#[track_caller]
pub(crate) fn refused((server, workspace): &Scene, line: &str, code: i32, pattern: &str) {
    let before = Witness::of(server, workspace);
    refuses(|| workspace.annals(line), code, pattern);
    before.nothing_changed();
}

#[track_caller]
pub(crate) fn migrates(workspace: &Workspace, pattern: &str) {
    let done = workspace.annals("migrate").run().expect(0);
    says(&format!("{}{}", done.err, done.out), pattern);
    workspace.annals("verify").run().expect(0).says(&["passed"]);
    let intact = workspace.annals("log verify").run().expect(0);
    intact.says(&["is intact"]);
}

#[track_caller]
pub(crate) fn keeps_secret(secret: &str, outcomes: &[Outcome]) {
    for outcome in outcomes {
        let said = format!("{}{}", outcome.out, outcome.err);
        assert!(!said.contains(secret), "{}:\n{said}", outcome.line);
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

/// Two fields of each of `rows`, such as `2 pending`.
fn pairs(rows: &Value, fields: [&str; 2]) -> Vec<String> {
    let rows = rows.as_array().expect("an array").iter();
    rows.map(|row| fields.map(|field| row[field].as_str().expect("a string")).join(" ")).collect()
}

pub(crate) fn states(workspace: &Workspace) -> Vec<String> {
    let status = workspace.annals("status --json").run().expect(0).json();
    pairs(&status["migrations"], ["version", "state"])
}

// --- files ---------------------------------------------------------------------------------------

#[test]
fn files_that_do_not_make_one_order_are_refused_by_name() {
    let scene = applied(1);
    let (_, workspace) = &scene;
    let cases = [
        (
            "migrations/2_a.sql migrations/2_b.sql",
            "migrations/2_b.sql: has the same version as 2_a.sql; renumber one of them",
        ),
        (
            "migrations/001_b.sql rollbacks/001_b_rollback.sql",
            "migrations/1_t1.sql: has the same version as 001_b.sql",
        ),
        (
            "migrations/20250921171500_a.sql migrations/20250921_171500_b.sql",
            "20250921_171500_b.sql: has the same version as 20250921171500_a.sql",
        ),
        (
            "migrations/2_a.sql",
            "migrations/2_a.sql: has no rollback; write rollbacks/2_a_rollback.sql",
        ),
        (
            "rollbacks/2_a_rollback.sql",
            "2_a_rollback.sql: rolls back a migration that is not there (migrations/2_a.sql)",
        ),
        (
            "migrations/2_a.sql rollbacks/2_b_rollback.sql",
            "2_b_rollback.sql: rolls back 2_b, but the migration is named 2_a.sql",
        ),
    ];
    for (names, pattern) in cases {
        for name in names.split(' ') {
            workspace.write(name, "SELECT 1;");
        }
        refused(&scene, "migrate", 3, pattern);
        for name in names.split(' ') {
            fs::remove_file(workspace.path(name)).unwrap();
        }
    }
    workspace.tables(2);
    migrates(workspace, "applied 2_t2");
}

#[test]
fn a_file_name_that_names_no_migration_is_refused() {
    let scene = applied(1);
    let (_, workspace) = &scene;
    let names = [
        "migrations/init.sql",
        "migrations/v2_b.sql",
        "migrations/2-b.sql",
        "migrations/2_.sql",
        "migrations/2_Big.sql",
        "migrations/2_b c.sql",
        "migrations/2_ä.sql",
        "migrations/2_b.SQL",
        "migrations/notes.txt",
        "rollbacks/2_b.sql",
    ];
    for name in names {
        workspace.write(name, "SELECT 1;");
        let pattern = format!("{name}: the name … ; rename it … correct the files");
        refused(&scene, "plan", 3, &pattern);
        fs::remove_file(workspace.path(name)).unwrap();
    }
    let long = format!("migrations/2_{}.sql", "a".repeat(101));
    workspace.write(&long, "SELECT 1;");
    let pattern = format!("{long}: the name … is not 1 to 100 characters of a-z, 0-9 and _");
    refused(&scene, "status", 3, &pattern);
    fs::rename(workspace.path(&long), workspace.path("migrations/2_a.sql")).unwrap();
    workspace.write("rollbacks/2_a_rollback.sql", "SELECT 1;");
    migrates(workspace, "applied 2_a");
}

#[test]
fn a_file_that_is_not_plain_text_is_refused() {
    let scene = applied(1);
    let (_, workspace) = &scene;
    workspace.tables(2);
    let up = workspace.path("migrations/2_t2.sql");
    let good = fs::read(&up).unwrap();

    workspace.write("elsewhere.sql", &good);
    fs::remove_file(&up).unwrap();
    std::os::unix::fs::symlink(workspace.path("elsewhere.sql"), &up).unwrap();
    let pattern = "migrations/2_t2.sql: is a symbolic link; put the file itself here";
    refused(&scene, "migrate", 3, pattern);
    fs::remove_file(&up).unwrap();

    fs::create_dir(&up).unwrap();
    let pattern = "migrations/2_t2.sql: is not a regular file; move it elsewhere";
    refused(&scene, "migrate", 3, pattern);
    fs::remove_dir(&up).unwrap();

    fs::write(&up, b"SELECT 1;\nSELECT 'caf\xe9';").unwrap();
    let pattern = "migrations/2_t2.sql:2:12: not UTF-8; save the file as UTF-8";
    refused(&scene, "migrate", 3, pattern);

    fs::write(&up, "SELECT 1;\nSELECT '\u{202e}';").unwrap();
    let pattern = "migrations/2_t2.sql:2:9: hidden character U+202E; remove it";
    refused(&scene, "migrate", 3, pattern);

    fs::write(&up, good).unwrap();
    migrates(workspace, "applied 2_t2");
}

#[test]
fn sql_that_cannot_be_a_migration_is_refused_with_its_place() {
    let scene = applied(1);
    let (_, workspace) = &scene;
    workspace.tables(2);
    let cases = [
        ("", "1:1: the file has no statement"),
        ("-- a\n/* b; */\n;\n", "1:1: the file has no statement"),
        ("CREATE TABLE t2 (id int);\n  SELEC 2;\n", "2:3: SELEC 2 begins no statement"),
        ("CREATE TABLE t2 (\n    id int,,\n);\n", "2:12: unexpected comma"),
        ("CREATE INDEX ON t1 id;\n", "1:20: expected \"(\", found \"id\""),
        ("SELECT 1;\n\\d t1\n", "2:1: \\d is a psql meta-command, not SQL; remove it"),
        (
            "BEGIN;\nSELECT 1;\nCOMMIT;\n",
            "1:1: transaction control is annals' own task … remove it … 2_t2.sql:3:1: transaction",
        ),
        (
            "SELECT 1;\nCOPY t1 FROM STDIN;\n1\n",
            "2:1: COPY … FROM stdin takes the lines behind it, up to one with \\. alone",
        ),
        ("SELECT 1;\nCOPY t1 TO STDOUT;\n", "2:1: COPY … TO STDOUT gives its rows to nobody"),
        ("SELECT 1;\nSELECT 'a;\n", "2:8: this string is not closed"),
        (
            "-- annals: speed=fast\nSELECT 1;\n",
            "1:1: unknown directive \"speed\"; known are transaction=on|off",
        ),
        (
            "-- annals: lock_timeout=2\nSELECT 1;\n",
            "1:1: lock_timeout=\"2\": a duration is like 500ms",
        ),
        (
            "SELECT 1;\n-- annals: transaction=off\n",
            "2:1: a directive stands at the top of the file",
        ),
        (
            "SELECT 1;\nCREATE INDEX CONCURRENTLY t1_id ON t1 (id);\n",
            "2:1: this statement cannot run inside a transaction … transaction=off` at the top",
        ),
    ];
    for (sql, pattern) in cases {
        workspace.write("migrations/2_t2.sql", sql);
        let pattern = format!("migrations/2_t2.sql:{pattern} … correct the file");
        refused(&scene, "migrate", 3, &pattern);
        refuses(|| workspace.annals("plan"), 3, &pattern);
    }
    let off = "-- annals: transaction=off\nCREATE INDEX CONCURRENTLY t1_id ON t1 (id);\n";
    workspace.write("migrations/2_t2.sql", off);
    migrates(workspace, "applied 2_t2");
}

#[test]
fn a_first_run_that_is_refused_leaves_no_trace() {
    let scene = fresh();
    let (server, workspace) = &scene;
    workspace.tables(2);
    workspace.write("migrations/2_t2.sql", "CREATE TABEL t2 (id int);");
    refused(&scene, "migrate", 3, "2_t2.sql:1:1: CREATE TABEL begins no statement");
    refused(&scene, "rollback --last 1", 3, "cannot roll back the last 1: only 0 applied");
    assert_eq!(catalog(server), [""; 0]);
    no_trace(workspace);
    workspace.tables(2);
    migrates(workspace, "applied 1_t1 … applied 2_t2");
}

#[test]
fn a_rollback_nobody_could_run_is_found_before_it_is_needed() {
    let scene = applied(1);
    let (server, workspace) = &scene;
    workspace.tables(2);
    workspace.write("rollbacks/2_t2_rollback.sql", "SELECT 1;\nDORP TABLE t2;\n");
    let pattern =
        "rollbacks/2_t2_rollback.sql:2:1: DORP TABLE begins no statement … correct the file";
    refused(&scene, "plan", 3, pattern);
    refused(&scene, "migrate", 3, pattern);
    workspace.tables(2);
    migrates(workspace, "applied 2_t2");

    workspace.write("rollbacks/1_t1_rollback.sql", "DORP TABLE t1;\n");
    refused(&scene, "rollback --to 0", 3, "rollbacks/1_t1_rollback.sql:1:1: ");
    assert!(has_table(server, "t1") && has_table(server, "t2"));
    workspace.tables(2);
    workspace.annals("rollback --to 0").run().expect(0);
    assert!(!has_table(server, "t1") && !has_table(server, "t2"));
}

// --- statements that fail ------------------------------------------------------------------------

const WRONG: &str = "\
CREATE TABLE t2 (id int);
INSERT INTO t2 VALUES (1);

INSERT INTO t2
    SELECT id FROM missing;
";

#[test]
fn a_statement_that_fails_leaves_nothing_of_its_file_and_the_steps_before_it_stand() {
    let (server, workspace) = fresh();
    workspace.tables(3);
    workspace.write("migrations/2_t2.sql", WRONG);
    let failed = workspace.annals("migrate").run().expect(4);
    says(&failed.out, "failed, 1 step of 3");
    says(
        &failed.err,
        "applied 1_t1 … error: 2_t2.sql:5: relation \"missing\" does not exist (SQLSTATE 42P01) … \
         next: nothing of this step was kept: correct the file, then annals migrate",
    );
    assert!(has_table(&server, "t1") && !has_table(&server, "t2") && !has_table(&server, "t3"));
    assert_eq!(states(&workspace), ["1 applied", "2 pending", "3 pending"]);
    let history = workspace.annals("history").run().expect(0);
    says(&history.out, "applied … 1_t1 … failed … 2_t2 … relation \"missing\" does not exist");

    let again = workspace.annals("migrate --json").run().expect(4).json();
    let failure = &again["run"]["failure"];
    assert_eq!((&failure["step"], &failure["effect"]), (&"2_t2".into(), &"none".into()));
    assert_eq!((&failure["line"], &failure["statement"]), (&5.into(), &3.into()));
    assert_eq!((&again["run"]["steps_done"], &again["exit_code"]), (&0.into(), &4.into()));

    workspace.tables(3);
    migrates(&workspace, "applied 2_t2 … applied 3_t3 … 2 steps of 2");
    let history = workspace.annals("history --json").run().expect(0).json();
    let expected = ["applied 1", "failed 2", "failed 2", "applied 2", "applied 3"];
    assert_eq!(pairs(&history["entries"], ["what", "version"]), expected);
}

const COUNTED: &str = "\
-- annals: transaction=off
CREATE TABLE counted (n int);
INSERT INTO counted VALUES (1);
CREATE INDEX CONCURRENTLY counted_n ON counted (n);
INSERT INTO counted VALUES (10 / 0);
INSERT INTO counted VALUES (3);
";

#[test]
fn a_file_outside_a_transaction_goes_on_behind_the_statements_that_are_done() {
    let scene = fresh();
    let (server, workspace) = &scene;
    workspace.migration("1_counted", COUNTED, "DROP TABLE counted;");
    let counted = || server.rows("SELECT n FROM counted ORDER BY n");
    let stops = |pattern: &str| {
        says(&workspace.annals("migrate").run().expect(5).err, pattern);
        assert_eq!(counted(), server.rows("SELECT 1"));
        assert_eq!(states(workspace), ["1 half done"]);
    };
    let pattern = "error: 1_counted.sql:5: division by zero (SQLSTATE 22012) … \
        next: what took effect before stands: correct the file behind it, then annals migrate \
        continues there";
    stops(pattern);
    stops(pattern);
    let pattern = "1_counted: it is applied half-way … finish it with: annals migrate";
    refused(&scene, "rollback --to 0", 3, pattern);

    let edited = COUNTED.replace("VALUES (1)", "VALUES (7)");
    workspace.write("migrations/1_counted.sql", edited);
    stops("statement 2 has been done in another form; restore it in the file");

    let corrected = COUNTED.replace("10 / 0", "10 / 5");
    workspace.write("migrations/1_counted.sql", corrected);
    migrates(workspace, "applied 1_counted");
    assert_eq!(counted(), server.rows("SELECT generate_series(1, 3)"));
    let valid = "SELECT 1 FROM pg_index WHERE indexrelid = 'counted_n'::regclass AND indisvalid";
    assert!(is_there(server, valid));
    migrates(workspace, "nothing to do");
}

// --- files against history -----------------------------------------------------------------------

#[test]
fn an_applied_file_may_be_formatted_and_not_changed() {
    let scene = applied(2);
    let (_, workspace) = &scene;
    workspace.tables(3);
    let pattern = "2_t2: its SQL was changed after it was applied … \
        restore the file from version control, and write the change as a new migration";
    for changed in ["CREATE TABLE t2 (id bigint PRIMARY KEY);", "CREATE TABEL t2;"] {
        workspace.write("migrations/2_t2.sql", changed);
        refused(&scene, "migrate", 3, pattern);
        refused(&scene, "plan", 3, pattern);
        assert_eq!(states(workspace), ["1 applied", "2 changed", "3 pending"]);
    }
    let found = workspace.annals("verify").run().expect(11);
    says(&found.out, "2_t2 [file.changed] … its SQL was changed since … next: restore the file");

    let formatted = "-- Said more clearly.\nCREATE TABLE t2\n(\n    id int PRIMARY KEY\n)\n;\n";
    workspace.write("migrations/2_t2.sql", formatted);
    assert_eq!(states(workspace), ["1 applied", "2 reformatted", "3 pending"]);
    let note = "note: 2_t2: formatted anew since it was applied; its SQL is the same";
    migrates(workspace, &format!("applied 3_t3 … {note}"));
}

#[test]
fn an_applied_file_that_is_gone_is_refused_and_shown_as_missing() {
    let scene = applied(2);
    let (_, workspace) = &scene;
    workspace.tables(3);
    fs::remove_file(workspace.path("migrations/2_t2.sql")).unwrap();
    let pattern = "rollbacks/2_t2_rollback.sql: rolls back a migration that is not there";
    refused(&scene, "status", 3, pattern);
    fs::remove_file(workspace.path("rollbacks/2_t2_rollback.sql")).unwrap();
    let pattern =
        "2_t2: it is applied, but its file is gone … restore the file from version control";
    for line in ["plan", "migrate", "rollback --to 0", "rollback --last 1", "rollback --to 1"] {
        refused(&scene, line, 3, pattern);
    }
    assert_eq!(states(workspace), ["1 applied", "3 pending", "2 missing"]);
    let found = workspace.annals("verify").run().expect(11);
    says(&found.out, "2_t2 [file.missing] … its file is gone … next: restore the file");
    workspace.tables(3);
    migrates(workspace, "applied 3_t3");
}

#[test]
fn an_older_file_waits_until_it_is_allowed_by_name() {
    let scene = fresh();
    let (_, workspace) = &scene;
    workspace.tables(3);
    fs::remove_file(workspace.path("migrations/2_t2.sql")).unwrap();
    fs::remove_file(workspace.path("rollbacks/2_t2_rollback.sql")).unwrap();
    migrates(workspace, "applied 1_t1 … applied 3_t3");
    workspace.tables(4);
    let pattern = "2_t2: it is not applied, although the later 3_t3 is … \
        give it a newer version, or apply it knowingly with --allow-out-of-order 2";
    for line in ["migrate", "plan --to 4", "migrate --allow-out-of-order 1"] {
        refused(&scene, line, 3, pattern);
    }
    let line = "migrate --allow-out-of-order 2 --allow-out-of-order 9";
    refused(&scene, line, 3, "version 9: there is no such migration (there are 4, 1 to 4)");
    assert_eq!(states(workspace), ["1 applied", "2 out of order", "3 applied", "4 pending"]);

    let done = workspace.annals("migrate --allow-out-of-order 2").run().expect(0);
    says(&done.err, "applied 2_t2 … applied 4_t4");
    says(&done.out, "note: 2_t2: applied after the later 3_t3, as allowed");
    migrates(workspace, "nothing to do");
}

#[test]
fn a_rollback_to_nowhere_is_refused() {
    let scene = applied(3);
    let (_, workspace) = &scene;
    workspace.tables(4);
    let cases = [
        ("rollback --to 99", "version 99: there is no such migration (there are 4, 1 to 4)"),
        ("rollback --to 4", "version 4: it is not applied"),
        ("rollback --last 4", "cannot roll back the last 4: only 3 applied"),
        ("rollback --dry-run --last 9", "cannot roll back the last 9: only 3 applied"),
        ("migrate --to 99", "version 99: there is no such migration (there are 4, 1 to 4)"),
    ];
    for (line, pattern) in cases {
        let pattern = format!("{pattern} … see what is applied with: annals status");
        refused(&scene, line, 3, &pattern);
    }
    let done = workspace.annals("rollback --to 2").run().expect(0);
    done.says(&["rolled back 3_t3", "1 step of 1"]);
    assert_eq!(states(workspace), ["1 applied", "2 applied", "3 pending", "4 pending"]);
}

// --- configuration and arguments -----------------------------------------------------------------

#[test]
fn a_command_line_that_cannot_be_understood_ends_in_2() {
    let workspace = Workspace::with_url(NOBODY);
    let lines = [
        "rollback",
        "rollback --last 0",
        "rollback --to one",
        "rollback --to 1 --last 1",
        "migrate --to 2025-09-21",
        "migrate --sandbox --target db",
        "frobnicate",
    ];
    for line in lines {
        says(&workspace.annals(line).run().expect(2).err, "error: … --help");
        let told = workspace.annals(line).arg("--json").run().expect(2).error_json();
        assert_eq!((&told["format"], &told["exit_code"]), (&"annals.error/1".into(), &2.into()));
        assert_eq!(strings(&told["errors"]).len(), 1, "{told}");
        says(told["hint"].as_str().expect("a hint"), "--help");
    }
    says(&workspace.annals("migrate --to one").run().expect(2).err, "'one' … a version is digits");
    no_trace(&workspace);
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_with_its_place() {
    let workspace = Workspace::with_url(NOBODY);
    let good = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let cases = [
        ("colour = \"red\"", ":2:1: unknown field `colour`, expected one of `workspace`"),
        ("[timeouts]\n  lokc = \"2s\"", ":3:3: unknown field `lokc`, expected one of `lock`"),
        ("[targets.db", ":2:12: "),
        ("colour", ":2:"),
        ("workspace = \"again\"", ":2:1: duplicate key"),
        ("timeouts = 3", ":2:12: the value does not belong here, expected a table"),
        ("default_target = \"db\"", ": default_target: there is no target \"db\""),
        ("[timeouts]\nlock = \"2\"", ": timeouts.lock: \"2\" is not a duration like 500ms"),
        ("[targets.db]", ": targets.db: needs either url or url_env"),
        ("[targets.Db]\nurl_env = \"X\"", ": targets.Db: \"Db\" is not 1 to 60 characters of a-z"),
        ("[sandbox]\nplatform = \"x\"", ": sandbox.platform: is \"plain\" or \"supabase\""),
    ];
    for (text, pattern) in cases {
        workspace.write("annals.toml", format!("workspace = \"test\"\n{text}\n"));
        let pattern = format!("annals.toml{pattern}");
        refuses(|| workspace.annals("status"), 3, &pattern);
        refuses(|| workspace.annals("migrate"), 3, &pattern);
    }
    workspace.write("annals.toml", "workspace = \"test\"\n");
    let pattern = "no target is named, and annals.toml has no default_target … --target";
    refuses(|| workspace.annals("migrate"), 3, pattern);
    workspace.write("annals.toml", "default_target = \"sandbox\"\n");
    refuses(|| workspace.annals("status"), 3, "annals.toml:1:1: missing field `workspace`");
    workspace.write("annals.toml", &good);
    let pattern = "there is no target \"production\"; there are db … name one with --target";
    refuses(|| workspace.annals("migrate --target production"), 3, pattern);
    refuses(|| workspace.annals("history -t production"), 3, pattern);
    no_trace(&workspace);

    let server = Server::start();
    workspace.tables(1);
    let done = workspace.annals("migrate").env("TEST_URL", server.url()).run();
    done.expect(0).says(&["applied 1_t1"]);
}

#[test]
fn a_password_in_the_configuration_is_refused_and_never_repeated() {
    let workspace = Workspace::with_url(NOBODY);
    let cases = [
        (
            "url = \"postgres://u:SECRET@h/d\"",
            ": targets.db.url: holds a password; keep it out of the file: use url_env, PGPASSWORD",
        ),
        ("url = \"postgres://u@h/d?password=SECRET\"", ": targets.db.url: holds a password"),
        (
            "url_env = \"postgres://u:SECRET@h/d\"",
            ": targets.db.url_env: is not the name of an environment variable",
        ),
        ("url = \"postgres://u:SECRET@h/d", ":3:"),
        ("url = postgres://u:SECRET@h/d", ":3:"),
        ("url_env = [\"postgres://u:SECRET@h/d\"]", ":3:11: the value does not belong here"),
        ("[timeouts]\nlock = { a = \"SECRET\" }", ":4:8: the value does not belong here"),
        ("[targets]\nx = \"postgres://u:SECRET@h/d\"", ":4:5: the value does not belong here"),
    ];
    for (text, pattern) in cases {
        let text = text.replace("SECRET", "CANARY-9d8e7f");
        workspace.write("annals.toml", format!("workspace = \"test\"\n[targets.db]\n{text}\n"));
        let pattern = format!("annals.toml{pattern}");
        keeps_secret("CANARY", &refuses(|| workspace.annals("status -t db"), 3, &pattern));
        keeps_secret("CANARY", &[workspace.annals("status -t db -vv").run().expect(3)]);
    }
    no_trace(&workspace);
}

#[test]
fn a_target_without_a_url_names_the_variable_and_a_bad_url_is_not_repeated() {
    let workspace = Workspace::with_url(NOBODY);
    workspace.tables(1);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config.replace("TEST_URL", "ELSEWHERE_URL"));
    let unset = "target \"db\": the variable ELSEWHERE_URL is not set … \
        export ELSEWHERE_URL=postgres://user@host:5432/database";
    let pattern =
        "target \"db\": the variable ELSEWHERE_URL holds no PostgreSQL URL … correct the URL";
    for line in ON_A_TARGET {
        refuses(|| workspace.annals(line), 7, unset);
        for url in ["postgres//u:CANARY@h/d", "postgres://u:CANARY@h:port/d", "mysql://u:CANARY@h"]
        {
            let command = || workspace.annals(line).env("ELSEWHERE_URL", url);
            let told = refuses(command, 7, pattern);
            keeps_secret("CANARY", &told);
        }
    }
    no_trace(&workspace);
}

#[test]
fn outside_a_workspace_every_command_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let pattern = format!("no annals.toml in {here} or any folder above it … annals init");
    let others = ["history", "state", "log verify", "log show", "create a", "sandbox url"];
    for line in ON_A_TARGET.iter().chain(&others) {
        let command = || Annals::new(&program(), folder.path()).args(line);
        refuses(command, 3, &pattern);
    }
    assert!(files(folder.path()).is_empty());
}

#[test]
fn create_refuses_names_that_name_no_migration() {
    let workspace = Workspace::with_url(NOBODY);
    let before = files(workspace.folder());
    let long = "a".repeat(101);
    for name in ["", " ", "ä", "a/b", "../a", "a.b", "a;b", "\"a\"", &long] {
        let pattern =
            format!("migration name {name:?}: is not 1 to 100 characters of a-z, 0-9 and _");
        refuses(|| workspace.annals("create").arg(name), 3, &pattern);
    }
    let command = || workspace.annals("create fine -d").arg("two\nDROP TABLE t1;");
    refuses(command, 3, "description: stands on one line");
    assert_eq!(files(workspace.folder()), before);

    let created = workspace.annals("create").arg("Add Notes-table").run();
    created.expect(0).says(&["_add_notes_table.sql", "_add_notes_table_rollback.sql"]);
    assert_eq!(files(workspace.folder()).len(), before.len() + 2);
}

#[test]
fn init_leaves_a_workspace_as_it_is() {
    let workspace = Workspace::with_url(NOBODY);
    let before = files(workspace.folder());
    let folder = workspace.folder().display();
    let pattern = format!("{folder} is a workspace already (annals.toml is there) … annals create");
    refuses(|| workspace.annals("init"), 3, &pattern);
    refuses(|| workspace.annals("init --name other --supabase"), 3, &pattern);
    for name in ["Two Words", "a\"b", "", ".hidden"] {
        let pattern = format!("workspace: {name:?} is not 1 to 60 characters of a-z");
        refuses(|| workspace.annals("init inner --name").arg(name), 3, &pattern);
    }
    assert_eq!(files(workspace.folder()), before);
    assert!(!workspace.path("inner").exists());
    workspace.annals("init inner").run().expect(0).says(&["workspace inner"]);
}

#[test]
fn a_moment_or_a_log_that_is_not_there_is_named() {
    let scene = applied(1);
    let cases = [
        ("history --at yesterday", "time \"yesterday\": write it like 2026-01-31T16:30:00Z"),
        ("state --at 2026-13-01", "time \"2026-13-01\": write it like"),
        ("state --at-seq 999", "event 999: the log ends with event "),
        ("history --at-seq 999", "event 999: the log ends with event "),
        ("history --log elsewhere", "elsewhere … name the right target, or fetch its log"),
        ("log verify --log event-store/db", "public key … --key"),
    ];
    for (line, pattern) in cases {
        refused(&scene, line, 3, pattern);
    }
    let workspace = Workspace::with_url(NOBODY);
    for line in ["history", "state", "log show"] {
        refuses(|| workspace.annals(line), 3, "event-store/db … fetch its log");
    }
    // Neither key nor log: without the key nothing could be said of a log.
    refuses(|| workspace.annals("log verify"), 3, "public key … fetch it");
    no_trace(&workspace);
}
