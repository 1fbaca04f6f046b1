//! The backup a target wants before a run: of what the plan reaches, or one that somebody else keeps.

use std::fs;

use annals_testkit::{Outcome, Server, Workspace};
use serde_json::Value;

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).run()
}

fn wants(workspace: &Workspace, policy: &str) {
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let said = format!("[targets.db]\nbackup = \"{policy}\"");
    workspace.write("annals.toml", config.replace("[targets.db]", &said));
}

/// Tables, applied and with rows: orders have lines that go with them.
fn shop(server: &Server) -> Workspace {
    let workspace = Workspace::new(server);
    workspace.migration(
        "1_shop",
        "CREATE TABLE customers (id int PRIMARY KEY);
         CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, note text);
         CREATE TABLE lines (id int PRIMARY KEY, orders int REFERENCES orders ON DELETE CASCADE);
         CREATE TABLE other (id int PRIMARY KEY);
         CREATE TABLE told (what text);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO told VALUES (TG_TABLE_NAME); RETURN NEW; END $$;
         CREATE FUNCTION shuffle() RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN UPDATE other SET id = -id; RETURN 1; END $$;
         CREATE TRIGGER telling AFTER INSERT OR UPDATE ON other FOR EACH ROW EXECUTE FUNCTION tell();",
        "SELECT 1;",
    );
    run(&workspace, "migrate").expect(0);
    server.sql(
        "INSERT INTO customers SELECT generate_series(1, 5); \
         INSERT INTO orders SELECT n, 1 FROM generate_series(1, 30) n; \
         INSERT INTO lines SELECT n, 1 FROM generate_series(1, 40) n; \
         INSERT INTO other SELECT generate_series(1, 9)",
    );
    wants(&workspace, "scoped");
    workspace
}

/// What the newest backup says of itself.
fn newest(workspace: &Workspace) -> Value {
    run(workspace, "backup show latest --json").expect(0).json()["manifest"].clone()
}

fn names(manifest: &Value) -> Vec<&str> {
    let tables = manifest["tables"].as_array().unwrap().iter();
    tables.map(|table| table["name"].as_str().unwrap()).collect()
}

#[test]
fn what_a_rehearsal_has_shown_and_what_goes_with_it_is_backed_up() {
    let server = Server::start();
    let workspace = shop(&server);
    workspace.migration(
        "2_notes",
        "DELETE FROM orders WHERE id > 20; CREATE TABLE fresh (id int);",
        "DROP TABLE fresh;",
    );
    // It takes rows away, which does not matter here: what it reaches is known.
    run(&workspace, "proof").expect(17);
    run(&workspace, "migrate --dry-run").expect(0).says(&["first: a backup (scoped) is taken"]);
    run(&workspace, "migrate").expect(0).says(&["rows of public.lines, public.orders"]);
    let manifest = newest(&workspace);
    assert_eq!(manifest["kind"], "tables");
    // Lines go with their orders, though nobody has locked them when there were none.
    assert_eq!(names(&manifest), ["public.lines", "public.orders"]);
    assert_eq!(manifest["tables"][1]["content"]["rows"], 30);
    let kinds = workspace.kinds();
    let taken = kinds.iter().position(|kind| kind == "backup_taken").unwrap();
    assert_eq!(
        kinds[taken + 1..].iter().find(|kind| *kind == "run_started").unwrap(),
        "run_started"
    );
    // What goes with a rollback is in the backup before it.
    run(&workspace, "rollback --last 1").expect(0).says(&["rows of public.fresh"]);
    let manifest = newest(&workspace);
    assert!(names(&manifest).contains(&"public.fresh"), "{manifest}");
    assert!(!names(&manifest).contains(&"public.customers"), "{manifest}");
    run(&workspace, "log verify").expect(0);

    // The rows that went come back.
    let list = run(&workspace, "backup list --json").expect(0).json();
    let first = list["backups"][0]["backup"].as_str().unwrap();
    let line = format!("restore {first} --tables orders --json");
    let shown = run(&workspace, &line).expect(0).json();
    assert_eq!(shown["wanted_rows"], 10);
}

#[test]
fn where_nobody_knows_everything_is_backed_up_and_the_reason_is_said() {
    for (up, why) in [
        ("UPDATE customers SET id = id;", "no rehearsal of these files"),
        ("UPDATE other SET id = id;", "the trigger telling of public.other"),
        ("DO $$ BEGIN UPDATE customers SET id = id; END $$;", "a DO block may do anything"),
        ("SELECT shuffle();", "it may call the function shuffle"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';", "it makes a function"),
        (
            "-- annals: transaction=off\nCREATE INDEX CONCURRENTLY by_id ON customers (id);",
            "could not be seen",
        ),
    ] {
        let server = Server::start();
        let workspace = shop(&server);
        workspace.migration("2_next", up, "SELECT 1;");
        if !why.starts_with("no rehearsal") {
            run(&workspace, "proof");
        }
        run(&workspace, "migrate").expect(0).says(&["that is a backup of everything, as ", why]);
        assert_eq!(newest(&workspace)["kind"], "full", "{up}");
    }
}

#[test]
fn a_backup_of_somebody_elses_is_named_with_its_evidence_or_nothing_is_run() {
    let server = Server::start();
    let workspace = shop(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config.replace("\"scoped\"", "\"external\""));
    workspace.migration("2_next", "CREATE TABLE next (id int);", "DROP TABLE next;");
    let before = workspace.kinds().len();
    run(&workspace, "migrate --dry-run").expect(0).says(&["a backup that somebody else keeps"]);
    run(&workspace, "migrate").expect(18).says(&["nothing was run", "--external-backup"]);
    assert_eq!(server.value("SELECT to_regclass('next') IS NULL"), "true");
    run(&workspace, "migrate --external-backup base").expect(2);
    let named = |line: &str, name: &str, evidence: &str| {
        let annals = workspace.annals(line).arg("--external-backup").arg(name);
        annals.arg("--backup-evidence").arg(evidence).run()
    };
    named("migrate", "base", " ").expect(3).says(&["--backup-evidence", "is empty"]);
    assert_eq!(workspace.kinds().len(), before);
    let done = named("migrate", "20260101-000000F", "pgbackrest info: ok");
    done.expect(0).says(&["relies on backup \"20260101-000000F\"", "has not seen"]);
    let kinds = workspace.kinds();
    assert_eq!(kinds[before], "external_backup_named");
    assert!(kinds[before + 1..].iter().any(|kind| kind == "run_started"), "{kinds:?}");
    run(&workspace, "log show").expect(0).says(&["20260101-000000F"]);
    run(&workspace, "timeline").expect(0).says(&["kept elsewhere"]);
    run(&workspace, "log verify").expect(0);
    // Nothing to do needs none; and it is none of ours.
    run(&workspace, "migrate").expect(0);
    let list = run(&workspace, "backup list --json").expect(0).json();
    assert_eq!(list["backups"].as_array().unwrap().len(), 0);
    run(&workspace, "rollback --last 1").expect(18);
    named("rollback --last 1", "later", "seen").expect(0);

    // Where another one is wanted it does not count.
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config.replace("\"external\"", "\"full\""));
    named("migrate", "base", "seen").expect(3).says(&["targets.db.backup is \"external\""]);
    workspace.write("annals.toml", config.replace("\"external\"", "\"some\""));
    run(&workspace, "status").expect(3).says(&["targets.db.backup", "\"scoped\" or \"external\""]);
}

#[test]
fn who_says_nothing_of_backups_has_one_before_each_run() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let with = |said: &str| {
        workspace.write("annals.toml", config.replace("default_backup = \"off\"\n", said));
    };
    let taken = || workspace.kinds().iter().filter(|kind| *kind == "backup_taken").count();
    workspace.tables(4);
    with("");
    run(&workspace, "migrate --to 1 --dry-run")
        .expect(0)
        .says(&["first: a backup (full) is taken"]);
    run(&workspace, "migrate --to 1").expect(0).says(&["was taken before the run"]);
    server.sql("INSERT INTO t1 SELECT generate_series(1, 1000)");
    // Those of the ledger are among them.
    run(&workspace, "rollback --last 1").expect(0).says(&["was taken before the run: 1002 rows"]);
    assert_eq!((taken(), newest(&workspace)["kind"].as_str()), (2, Some("full")));

    // Without its key nothing begins, and it is said who wants it.
    let key = workspace.path("keys/backup.key");
    fs::rename(&key, workspace.path("kept.key")).unwrap();
    run(&workspace, "migrate --to 1").expect(3).says(&[
        "no run begins without its backup: targets.db.backup is \"full\", see annals.toml",
        "the key of this workspace's backups is missing",
    ]);
    assert_eq!(server.value("SELECT to_regclass('t1') IS NULL"), "true");
    fs::rename(workspace.path("kept.key"), &key).unwrap();

    // For all targets, or for one, another word counts; the sandbox has none.
    with("default_backup = \"schema\"\n");
    run(&workspace, "migrate --to 1").expect(0);
    assert_eq!((taken(), newest(&workspace)["kind"].as_str()), (3, Some("schema")));
    wants(&workspace, "off");
    run(&workspace, "migrate --to 2").expect(0);
    assert_eq!(taken(), 3);
    let outcome = run(&workspace, "migrate --sandbox").expect(0);
    assert!(!(outcome.out + &outcome.err).contains("backup"));
    run(&workspace, "sandbox stop").expect(0);
    with("default_backup = \"sometimes\"\n");
    run(&workspace, "status").expect(3).says(&["default_backup", "\"scoped\""]);
}
