//! Targets that cannot be used or are not what the log says, and the documents of every command.
//!
//! As for bad input: thing, reason and next step are named, and nothing is changed.

use std::fs;

use annals_testkit::{Server, ServerOptions, Workspace, wait_for};

use crate::bad_input::{
    NOBODY, ON_A_TARGET, Witness, applied, catalog, files, fresh, keeps_secret, migrates, no_trace,
    refused, refuses, says, states,
};

// --- targets that cannot be used -----------------------------------------------------------------

#[test]
fn a_server_that_is_not_there_is_named_by_its_address() {
    let workspace = Workspace::with_url(NOBODY);
    workspace.tables(1);
    let pattern = "cannot reach 127.0.0.1:1: Connection refused … \
        check host, port and whether the server runs";
    for line in ON_A_TARGET {
        let told = refuses(|| workspace.annals(line), 7, pattern);
        keeps_secret("CANARY", &told);
    }
    no_trace(&workspace);
}

#[test]
fn a_password_is_never_printed_and_never_stored() {
    let tcp = ServerOptions { tcp: true, ..Default::default() };
    let server = Server::start_with(tcp);
    let workspace = Workspace::with_url(&server.tcp_url());
    workspace.tables(2);
    let wrong = server.tcp_url().replace(Server::PASSWORD, "CANARY-wrong");
    let pattern = format!(
        "127.0.0.1:{} refuses the login of \"postgres\": password authentication failed … \
         check user and password (URL, PGPASSWORD or ~/.pgpass)",
        server.tcp_port()
    );
    let mut told = Vec::new();
    for line in ON_A_TARGET {
        let command = || workspace.annals(line).env("TEST_URL", &wrong);
        told.extend(refuses(command, 7, &pattern));
        told.push(command().arg("-vv").run().expect(7));
    }
    no_trace(&workspace);

    let lines = ["plan", "migrate --to 1", "status", "migrate --json", "verify", "log show"];
    for line in lines {
        told.push(workspace.annals(line).arg("-vv").run().expect(0));
    }
    workspace.write("migrations/2_t2.sql", "SELECT 2;");
    told.push(workspace.annals("migrate -vv").run().expect(3));
    keeps_secret("CANARY", &told);
    let stored = files(workspace.folder());
    assert!(stored.len() > 8, "{:?}", stored.keys());
    for (path, bytes) in stored {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("CANARY"), "{} holds the password", path.display());
    }
}

fn set_read_only(server: &Server, value: &str) {
    let name = "default_transaction_read_only";
    server.sql(&format!("ALTER SYSTEM SET {name} = {value}"));
    server.sql("SELECT pg_reload_conf()");
    let query = format!("SELECT s FROM current_setting('{name}') s WHERE s = '{value}'");
    wait_for("the new setting", || server.rows(&query).pop());
}

#[test]
fn a_server_that_takes_no_writes_is_refused_before_the_first_and_can_be_looked_at() {
    let scene = applied(1);
    let (server, workspace) = &scene;
    workspace.tables(2);
    set_read_only(server, "on");
    let pattern = "the target \"db\" ( … ) is read-only (default_transaction_read_only is on): it \
        takes no writes … use the URL of the primary, or wait until it takes writes";
    for line in ["migrate", "rollback --last 1"] {
        refused(&scene, line, 7, pattern);
    }
    let before = catalog(server);
    workspace.annals("verify").run().expect(0);
    assert_eq!(catalog(server), before);
    assert_eq!(states(workspace), ["1 applied", "2 pending"]);
    let plan = workspace.annals("plan").run().expect(0);
    says(&plan.out, "CREATE TABLE t2 … 1 step up");
    set_read_only(server, "off");
    migrates(workspace, "applied 2_t2");
}

fn as_role(server: &Server, role: &str) -> String {
    let url = server.url();
    let (_, place) = url.split_once("//postgres@").expect("a superuser's URL");
    format!("postgres://{role}@{place}")
}

#[test]
fn a_role_that_may_not_create_the_ledger_is_told_what_it_needs() {
    let server = Server::start();
    server.sql("CREATE ROLE limited LOGIN; CREATE ROLE other LOGIN");
    let workspace = Workspace::with_url(&as_role(&server, "limited"));
    workspace.tables(1);
    let before = catalog(&server);
    let pattern = "cannot use the ledger (schema annals): permission denied for database postgres \
        … the role needs CREATE on the database once, and access to the schema annals";
    refuses(|| workspace.annals("migrate"), 7, pattern);
    assert_eq!(catalog(&server), before);
    workspace.annals("log verify").run().expect(0).says(&["is intact"]);

    server.sql("GRANT CREATE ON DATABASE postgres TO limited");
    let denied = workspace.annals("migrate").run().expect(4);
    says(&denied.err, "error: 1_t1.sql:1: permission denied for schema public (SQLSTATE 42501)");
    server.sql("GRANT CREATE ON SCHEMA public TO limited");
    migrates(&workspace, "applied 1_t1");

    let before = Witness::of(&server, &workspace);
    for line in ON_A_TARGET {
        let command = || workspace.annals(line).env("TEST_URL", as_role(&server, "other"));
        refuses(command, 7, "permission denied for schema annals … access to the schema annals");
    }
    before.nothing_changed();
}

// --- logs, ledgers and schemas that do not belong together ---------------------------------------

fn copy(from: &Workspace, to: &Workspace, part: &str) {
    for path in files(&from.path(part)).into_keys() {
        let copy = to.folder().join(path.strip_prefix(from.folder()).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(path, copy).unwrap();
    }
}

#[test]
fn a_second_checkout_without_the_log_begins_no_second_history() {
    let (server, first) = applied(2);
    let second = Workspace::new(&server);
    second.tables(3);
    let scene = (server, second);
    let (_, second) = &scene;
    let pattern = format!(
        "the target \"db\" was migrated with the event log \"test/db\" (2 changes, at least 10 \
         events, … the last of them), which is not the one in {}: there is none … fetch the log from where it is kept",
        second.path("event-store/db").display()
    );
    for line in ON_A_TARGET {
        refused(&scene, line, 3, &pattern);
    }
    no_trace(second);

    copy(&first, second, "event-store");
    fs::create_dir(second.path("keys")).unwrap();
    fs::copy(first.path("keys/log.pub"), second.path("keys/log.pub")).unwrap();
    let pattern = "the secret key of this workspace's logs is missing … keys/log.key … \
        or set ANNALS_LOG_KEY to its path";
    refused(&scene, "migrate", 3, pattern);
    copy(&first, second, "keys");
    migrates(second, "applied 3_t3");

    // What the first checkout has is now an older copy.
    let scene = (scene.0, first);
    let pattern = "the event log in … has … events … the target's ledger knows … this is an \
        older copy … fetch the newest copy of the log";
    scene.1.tables(3);
    refused(&scene, "migrate", 9, pattern);
    refused(&scene, "plan", 9, pattern);
}

#[test]
fn a_log_that_speaks_of_another_database_is_refused_there() {
    let (server, workspace) = applied(1);
    workspace.tables(2);
    let other = Server::start();
    server.sql("CREATE DATABASE second");
    let url = server.url();
    let second = format!("{}/second", url.strip_suffix("/postgres").unwrap());
    let cases = [
        (other.url(), "database \"postgres\" of system"),
        (second.clone(), "database \"second\" of system"),
    ];
    let here = Witness::of(&server, &workspace);
    for (url, found) in cases {
        let pattern = format!(
            "the target \"db\" is {found} … but its log speaks of database \"postgres\" … \
             use the right URL, or the log that belongs to this database"
        );
        for line in ON_A_TARGET {
            refuses(|| workspace.annals(line).env("TEST_URL", &url), 3, &pattern);
        }
    }
    here.nothing_changed();
    assert_eq!(catalog(&other), [""; 0]);
    let fresh = Workspace::with_url(&second);
    fresh.tables(1);
    migrates(&fresh, "applied 1_t1");
    migrates(&workspace, "applied 2_t2");
}

/// Wants `annals verify` to fail with this finding, which says what to do; gives its evidence.
#[track_caller]
fn finds(workspace: &Workspace, family: &str, id: &str, subject: &str) -> String {
    finds_with(workspace, 11, family, id, subject)
}

/// The same, with another exit code.
#[track_caller]
fn finds_with(workspace: &Workspace, code: i32, family: &str, id: &str, subject: &str) -> String {
    let told = workspace.annals("verify --json").run().expect(code).json();
    assert_eq!((&told["result"], &told["exit_code"]), (&"failed".into(), &code.into()));
    assert_eq!(told["checks"][family], "failed", "{told:#}");
    let findings = told["findings"].as_array().expect("an array");
    let found = findings.iter().find(|f| f["id"] == id && f["subject"] == subject);
    let found = found.unwrap_or_else(|| panic!("{id} {subject} not in {findings:#?}"));
    assert_ne!((&found["severity"], &found["remedy"]), (&"error".into(), &"".into()));
    found["evidence"].as_str().expect("a string").to_owned()
}

#[test]
fn a_ledger_row_deleted_or_edited_by_hand_is_named_and_stops_everything() {
    let scene = applied(2);
    let (server, workspace) = &scene;
    workspace.tables(3);
    server.sql("CREATE TABLE annals.kept AS SELECT * FROM annals.ledger WHERE version = '2'");
    server.sql("DELETE FROM annals.ledger WHERE version = '2'");
    finds_with(workspace, 14, "history", "ledger.diverged", "2_t2");
    let pattern = "DIVERGED: the ledger of the target \"db\" has no row of 1 change … 2_t2: applied at … \
        has no ledger row of change 1; … is committed there: only its row was deleted … annals adopt \
        --lost";
    for line in ["plan", "migrate", "rollback --last 1"] {
        refused(&scene, line, 14, pattern);
    }
    let status = workspace.annals("status").run().expect(14);
    says(&status.out, "error 2_t2 [ledger.diverged] … next: go back to the server that has them");
    server.sql("INSERT INTO annals.ledger SELECT * FROM annals.kept; DROP TABLE annals.kept");
    workspace.annals("verify").run().expect(0);

    server.sql("UPDATE annals.ledger SET name = 'renamed' WHERE version = '1'");
    let evidence = finds(workspace, "history", "ledger.different", "version 1");
    says(&evidence, "name is renamed in the ledger and t1 in the log");
    let pattern = "version 1: change 1: name is renamed in the ledger … one of the two was edited";
    refused(&scene, "migrate", 3, pattern);
    server.sql("UPDATE annals.ledger SET name = 't1' WHERE version = '1'");
    migrates(workspace, "applied 3_t3");
}

#[test]
fn a_ledger_row_added_by_hand_is_named_and_stops_everything() {
    let scene = applied(1);
    let (server, workspace) = &scene;
    workspace.tables(2);
    let same = "workspace, direction, file_raw, step, log_origin, intent_hash, actor";
    let row = |event: usize| {
        format!(
            "INSERT INTO annals.ledger \
                 (version, version_key, ordinal, name, run, intent_seq, {same}) \
             SELECT '9', '9', 1, 'by_hand', gen_random_uuid(), {event}, {same} \
             FROM annals.ledger"
        )
    };
    server.sql(&row(1));
    finds(workspace, "history", "ledger.unknown_row", "9_by_hand");
    let pattern = "9_by_hand: the target's ledger has its change 1 (up) by run … the log has no \
        such event … a row was added by hand, or the log was replaced";
    for line in ["plan", "migrate", "rollback --last 1"] {
        refused(&scene, line, 3, pattern);
    }
    server.sql("DELETE FROM annals.ledger WHERE version = '9'");
    migrates(workspace, "applied 2_t2");
}

const NOTES: &str = "\
CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL CHECK (body <> ''));
CREATE TABLE spare (id int);
CREATE INDEX notes_body ON notes (body);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY notes_read ON notes FOR SELECT USING (true);
GRANT SELECT ON notes TO reader;
";

/// Damage by hand, its repair, and what is found in between: family, finding, object.
const DAMAGES: [(&str, &str, &str, &str, &str); 9] = [
    (
        "DROP TABLE spare",
        "CREATE TABLE spare (id int)",
        "table_structure",
        "schema.missing",
        "table public.spare",
    ),
    (
        "CREATE TABLE extra (id int)",
        "DROP TABLE extra",
        "table_structure",
        "schema.unexpected",
        "table public.extra",
    ),
    (
        "ALTER TABLE notes ALTER body DROP NOT NULL",
        "ALTER TABLE notes ALTER body SET NOT NULL",
        "table_structure",
        "schema.changed",
        "column public.notes.body",
    ),
    (
        "ALTER TABLE notes DROP CONSTRAINT notes_body_check",
        "ALTER TABLE notes ADD CHECK (body <> '')",
        "constraints",
        "schema.missing",
        "constraint public.notes.notes_body_check",
    ),
    (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'notes_body'::regclass",
        "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'notes_body'::regclass",
        "indexes",
        "index.invalid",
        "index public.notes_body",
    ),
    (
        "DROP POLICY notes_read ON notes",
        "CREATE POLICY notes_read ON notes FOR SELECT USING (true)",
        "permissions",
        "schema.missing",
        "policy public.notes.notes_read",
    ),
    (
        "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
        "permissions",
        "policy.without_row_security",
        "policy public.notes.notes_read",
    ),
    (
        "REVOKE SELECT ON notes FROM reader",
        "GRANT SELECT ON notes TO reader",
        "permissions",
        "schema.missing",
        "grant table public.notes to reader",
    ),
    (
        "GRANT UPDATE ON notes TO reader",
        "REVOKE UPDATE ON notes FROM reader",
        "permissions",
        "schema.changed",
        "grant table public.notes to reader",
    ),
];

#[test]
fn a_schema_changed_by_hand_is_named_object_by_object() {
    let (server, workspace) = fresh();
    server.sql("CREATE ROLE reader");
    workspace.migration("1_notes", NOTES, "DROP TABLE notes, spare;");
    migrates(&workspace, "applied 1_notes");
    for (damage, repair, family, id, subject) in DAMAGES {
        server.sql(damage);
        let evidence = finds(&workspace, family, id, subject);
        if id == "schema.changed" {
            says(&evidence, " was … , is ");
        }
        server.sql(repair);
        workspace.annals("verify").run().expect(0);
    }
    server.sql("DROP POLICY notes_read ON notes");
    let found = workspace.annals("verify").run().expect(11);
    says(
        &found.out,
        "✗ permissions … error policy public.notes.notes_read [schema.missing] … it was there \
         after the last run, and is gone … next: bring it back with a new migration",
    );
}

// --- documents -----------------------------------------------------------------------------------

/// Commands that print something else than a document: a story, a shell script, the help.
/// `export` prints shapes of its own.
const NO_DOCUMENT: [&str; 4] = ["demo", "completions", "export", "help"];

/// Every command, in an order in which each has something to show: its format and exit code.
const DOCUMENTS: [(&str, &str, i32); 61] = [
    ("init inner", "annals.init/1", 0),
    ("create ä", "annals.error/1", 3),
    ("plan", "annals.plan/1", 0),
    ("plan --out plan.json", "annals.plan_file/1", 0),
    ("approve plan.json --show", "annals.plan_review/1", 0),
    ("keys approver list", "annals.error/1", 19),
    ("migrate --dry-run", "annals.plan/1", 0),
    ("migrate --to 2", "annals.change/1", 0),
    ("migrate --to 2", "annals.change/1", 0),
    ("status", "annals.status/1", 0),
    ("rollback --last 1 --dry-run", "annals.plan/1", 0),
    ("rollback --last 1", "annals.change/1", 0),
    ("migrate", "annals.change/1", 4),
    ("verify", "annals.verify/1", 0),
    ("drift", "annals.drift/1", 0),
    ("drift accept --reason none", "annals.drift_accepted/1", 0),
    ("drift track", "annals.drift_track/1", 0),
    ("schema fingerprint", "annals.schema_fingerprint/1", 0),
    ("schema show", "annals.schema/1", 0),
    ("schema diff", "annals.schema_diff/1", 0),
    ("proof 1 --no-record", "annals.proof/1", 0),
    ("ci validate", "annals.ci_validate/1", 0),
    ("ci test", "annals.ci_test/1", 11),
    ("ci comment --test none.json", "annals.error/1", 3),
    ("backup", "annals.backup/1", 0),
    ("backup list", "annals.backups/1", 0),
    ("backup show latest", "annals.backup_show/1", 0),
    ("backup verify", "annals.backup_verify/1", 0),
    ("backup prune --keep-last 1", "annals.backup_prune/1", 0),
    ("backup adopt latest", "annals.error/1", 3),
    ("keys rotate --backup", "annals.backup_key_rotation/1", 0),
    ("backup rekey --all", "annals.backup_rekey/1", 0),
    ("restore latest --into again", "annals.restore/1", 0),
    ("restore latest", "annals.restore_target/1", 0),
    ("restore latest --tables t1", "annals.restore_rows/1", 0),
    ("history", "annals.history/1", 0),
    ("history --at-seq 1", "annals.history/1", 0),
    ("state", "annals.state/3", 0),
    ("state --at 2020-01-01", "annals.state/3", 0),
    ("diff --from-seq 3 --to-seq 5", "annals.diff/1", 0),
    ("timeline", "annals.timeline/1", 0),
    ("explain 1", "annals.explain/1", 0),
    ("locks", "annals.locks/1", 0),
    ("status --performance", "annals.durations/1", 0),
    ("serve --listen 0.0.0.0:0", "annals.error/1", 3),
    ("adopt", "annals.error/1", 3),
    ("keys list", "annals.keys/1", 0),
    ("keys generate approver jon", "annals.key/1", 0),
    ("keys retire jon", "annals.key/1", 0),
    ("keys rotate", "annals.key_rotation/1", 0),
    ("log export --to copy", "annals.log_export/1", 0),
    ("log prove 1 --out p", "annals.event_proof/1", 0),
    ("log check-proof p --key keys/log.pub", "annals.event_proof/1", 0),
    ("log anchor", "annals.error/1", 3),
    ("log show", "annals.log/1", 0),
    ("log verify", "annals.log_verify/2", 0),
    ("sandbox start", "annals.sandbox/1", 0),
    ("sandbox url", "annals.sandbox/1", 0),
    ("sandbox stop", "annals.sandbox/1", 0),
    ("create a_note", "annals.create/1", 0),
    ("rollback", "annals.error/1", 2),
];

/// Leaves no server behind, whatever happens.
struct Stopped<'a>(&'a Workspace);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.annals("sandbox stop").run();
    }
}

#[test]
fn every_command_prints_one_document_that_says_its_format() {
    let (_server, workspace) = fresh();
    let _stopped = Stopped(&workspace);
    workspace.tables(2);
    workspace.migration("3_wrong", "SELECT 1 / 0;", "SELECT 1;");
    for (line, format, code) in DOCUMENTS {
        let told = workspace.annals(line).arg("--json").run().expect(code);
        let document = match format {
            "annals.error/1" => told.error_json(),
            _ => told.json(),
        };
        assert_eq!(document["format"], format, "{line}");
        if let Some(said) = document.get("exit_code") {
            assert_eq!(said, code, "{line}");
        }
    }
}

#[test]
fn no_command_is_without_a_document() {
    let workspace = Workspace::with_url(NOBODY);
    let help = workspace.annals("--help").run().expect(0).out;
    let (_, listed) = help.split_once("Commands:\n").unwrap();
    let (listed, _) = listed.split_once("\n\n").unwrap();
    let lines = listed.lines().filter(|line| !line.starts_with("   "));
    let commands: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"migrate"), "{help}");
    for command in commands {
        let shown = DOCUMENTS.iter().any(|(line, ..)| line.split(' ').next() == Some(command));
        assert!(shown || NO_DOCUMENT.contains(&command), "{command} stands in no list");
    }
}
