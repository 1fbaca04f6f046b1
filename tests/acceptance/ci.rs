//! `annals ci`: what a pipeline says of a change, and that nothing in a file breaks out of it.

use std::fs;
use std::process::Command;

use annals_testkit::{Outcome, Server, Workspace};
use serde_json::{Value, json};

use crate::bad_input::NOBODY;

/// Runs git in a workspace, with a configuration of its own.
fn git(workspace: &Workspace, line: &str) {
    let done = Command::new("git")
        .current_dir(workspace.folder())
        .args(["-c", "user.name=ada", "-c", "user.email=ada@example.com"])
        .args(line.split(' '))
        .env("HOME", workspace.folder())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is installed");
    assert!(done.status.success(), "git {line}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A workspace on a branch, two migrations behind `main`; no server is there.
fn repository() -> Workspace {
    let workspace = Workspace::with_url(NOBODY);
    git(&workspace, "init -q -b main");
    workspace.migration("1_a", "CREATE TABLE a (id int PRIMARY KEY, n int);", "DROP TABLE a;");
    workspace.migration("3_c", "CREATE TABLE c (id int PRIMARY KEY);", "DROP TABLE c;");
    git(&workspace, "add -A");
    git(&workspace, "commit -q -m base");
    git(&workspace, "checkout -q -b change");
    workspace
}

fn validate(workspace: &Workspace, more: &str, code: i32) -> Value {
    let line = format!("ci validate --against main --json {more}");
    workspace.annals(&line).run().expect(code).json()
}

/// Rule, file and line of each finding.
fn found(document: &Value) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = document["findings"].as_array().unwrap().iter();
    findings
        .map(|f| (text(&f["rule"]), text(&f["file"]), f["line"].as_u64().unwrap_or(0)))
        .collect()
}

fn one(rule: &str, file: &str, line: u64) -> Vec<(String, String, u64)> {
    vec![(rule.to_owned(), file.to_owned(), line)]
}

#[test]
fn a_change_that_may_be_merged_is_let_through() {
    let workspace = repository();
    let document = validate(&workspace, "--strict", 0);
    assert_eq!((&document["passed"], found(&document)), (&json!(true), vec![]));
    workspace.migration("4_d", "CREATE TABLE d (id int PRIMARY KEY);", "DROP TABLE d;");
    let document = validate(&workspace, "--strict", 0);
    assert_eq!((found(&document), &document["format"]), (vec![], &json!("annals.ci_validate/1")));
    let told = workspace.annals("ci validate --against main").run().expect(0);
    told.says(&["✓ test: 6 files against main (", "0 errors, 0 warnings, 0 notes"]);
}

/// Each damage is found, and nothing else.
#[test]
fn each_rule_finds_its_damage_in_a_change() {
    type Damage = (fn(&Workspace), i32, &'static str, &'static str, u64);
    let damages: [Damage; 12] = [
        (
            |w| w.write("migrations/1_a.sql", "CREATE TABLE a (id int);"),
            11,
            "file-edited",
            "migrations/1_a.sql",
            0,
        ),
        (
            |w| w.write("rollbacks/1_a_rollback.sql", "SELECT 1;"),
            11,
            "file-edited",
            "rollbacks/1_a_rollback.sql",
            0,
        ),
        (
            |w| {
                w.write("migrations/1_a.sql", "-- why\nCREATE TABLE a (id int PRIMARY KEY, n int);")
            },
            0,
            "file-reformatted",
            "migrations/1_a.sql",
            0,
        ),
        (
            |w| {
                fs::remove_file(w.path("migrations/3_c.sql")).unwrap();
                fs::remove_file(w.path("rollbacks/3_c_rollback.sql")).unwrap();
            },
            11,
            "file-removed",
            "migrations/3_c.sql",
            0,
        ),
        (
            |w| w.migration("2_b", "SELECT 1;", "SELECT 1;"),
            11,
            "version-behind",
            "migrations/2_b.sql",
            0,
        ),
        (
            |w| w.write("migrations/4_d.sql", "SELECT 1;"),
            11,
            "file-refused",
            "migrations/4_d.sql",
            0,
        ),
        (
            |w| w.migration("4 d", "SELECT 1;", "SELECT 1;"),
            11,
            "file-refused",
            "migrations/4 d.sql",
            0,
        ),
        (
            |w| w.migration("4_d", "SELECT 1;\nSELEC 2;", "SELECT 1;"),
            11,
            "sql-unreadable",
            "migrations/4_d.sql",
            2,
        ),
        (
            |w| {
                w.migration("4_d", "SELECT 1;\n\nCREATE ROLE b PASSWORD 'hunter2';", "DROP ROLE b;")
            },
            11,
            "secret",
            "migrations/4_d.sql",
            3,
        ),
        (
            |w| w.migration("4_d", "-- a\u{202e}b\nSELECT 1;", "SELECT 1;"),
            11,
            "file-refused",
            "migrations/4_d.sql",
            1,
        ),
        (
            |w| w.migration("4_d", "-- annals: irreversible=\"merged\"\nSELECT 1;", "SELECT 1;"),
            0,
            "no-way-back",
            "migrations/4_d.sql",
            0,
        ),
        (
            |w| w.migration("4_d", "ALTER TABLE a ALTER COLUMN n TYPE bigint;", "SELECT 1;"),
            0,
            "lint/column-type-changed",
            "migrations/4_d.sql",
            1,
        ),
    ];
    for (damage, code, rule, file, line) in damages {
        let workspace = repository();
        damage(&workspace);
        let document = validate(&workspace, "", code);
        let mut all = found(&document);
        // The rollback of a file that is gone is gone, too.
        all.retain(|(_, of, _)| of != "rollbacks/3_c_rollback.sql" || rule != "file-removed");
        // Without its migration a rollback is refused, too.
        all.retain(|(_, of, _)| rule != "file-refused" || !of.starts_with("rollbacks/4"));
        assert_eq!(all, one(rule, file, line), "{document:#}");
        let text = document.to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_version_that_the_branch_has_taken_meanwhile_is_told() {
    let workspace = repository();
    git(&workspace, "checkout -q main");
    workspace.migration("4_x", "SELECT 1;", "SELECT 1;");
    git(&workspace, "add -A");
    git(&workspace, "commit -q -m taken");
    git(&workspace, "checkout -q change");
    workspace.migration("4_d", "SELECT 1;", "SELECT 1;");
    let document = validate(&workspace, "", 11);
    let mut all = found(&document);
    // Its rollback is not here either.
    all.retain(|(_, file, _)| !file.starts_with("rollbacks/"));
    assert_eq!(all, one("version-taken", "migrations/4_d.sql", 0));
}

#[test]
fn what_cannot_be_compared_is_said_with_the_way_on() {
    let workspace = repository();
    let refused = workspace.annals("ci validate --against nowhere").run().expect(3);
    refused.says(&["--against nowhere: there is no such commit here", "git fetch origin"]);
    // A name is a name: not an option, not a command.
    for name in ["--output=x", "$(touch x)", "main; touch x", "-"] {
        let refused = workspace.annals("ci validate").arg(format!("--against={name}")).run();
        refused.expect(3).says(&["--against"]);
        assert!(!workspace.path("x").exists());
    }
    let alone = Workspace::with_url(NOBODY);
    alone.tables(1);
    let line = alone.annals("ci validate --against main").env("GIT_CEILING_DIRECTORIES", "/").run();
    line.expect(3).says(&["not a git repository"]);
    alone.annals("ci validate").env("PATH", "/nowhere").run().expect(0);
    let none = alone.annals("ci validate --against main").env("PATH", "/nowhere").run();
    none.expect(3).says(&["git is not installed"]);
}

#[test]
fn what_the_log_says_is_applied_is_compared_without_its_server() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate").run().expect(0);
    drop(server);
    workspace.annals("ci validate --strict").run().expect(0);
    workspace.write("migrations/1_t1.sql", "CREATE TABLE t1 (id bigint PRIMARY KEY);");
    let document = workspace.annals("ci validate --json").run().expect(11).json();
    assert_eq!(found(&document), one("file-edited", "migrations/1_t1.sql", 0));
    assert_eq!(document["findings"][0]["message"], "other SQL (applied to db)");
    // A run that took longer than it may is told, too.
    workspace.tables(2);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config + "\n[budgets]\nmigration = \"1ms\"\n");
    let document = workspace.annals("ci validate --json --strict").run().expect(11).json();
    assert_eq!(found(&document), one("over-budget", "", 0));
}

#[test]
fn what_is_allowed_is_a_note_with_its_reason() {
    let workspace = repository();
    workspace.migration("4_d", "CREATE ROLE b PASSWORD 'hunter2';", "DROP ROLE b;");
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let allow = |rule: &str, file: &str, reason: &str| {
        let table = format!(
            "\n[[ci.allow]]\nrule = \"{rule}\"\nfile = \"{file}\"\nreason = \"{reason}\"\n"
        );
        workspace.write("annals.toml", config.clone() + &table);
    };
    allow("secret", "4_d.sql", "a role of the tests");
    let document = validate(&workspace, "--strict", 0);
    let finding = &document["findings"][0];
    assert_eq!(
        (&finding["severity"], &finding["allowed"]),
        (&json!("note"), &json!("a role of the tests"))
    );
    allow("secret", "9_z.sql", "gone");
    let told = workspace.annals("ci validate --against main").run().expect(11);
    told.says(&["ci.allow: secret was not found in 9_z.sql"]);
    allow("secret", "4_d.sql", " ");
    workspace.annals("ci validate").run().expect(3).says(&["say why"]);
    allow("secrets", "4_d.sql", "x");
    workspace.annals("ci validate").run().expect(3).says(&["no rule is named \"secrets\""]);
}

fn trial() -> (Server, Workspace) {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(1);
    workspace.annals("migrate").run().expect(0);
    (server, workspace)
}

fn tested(workspace: &Workspace, code: i32) -> Value {
    workspace.annals("ci test --json").run().expect(code).json()
}

#[test]
fn a_rollback_that_does_not_lead_back_fails_the_test_with_its_place() {
    let (_server, workspace) = trial();
    workspace.migration(
        "2_b",
        "ALTER TABLE t1 ADD n int;\nCREATE INDEX b ON t1 (n);",
        "DROP INDEX b;",
    );
    let document = tested(&workspace, 11);
    assert_eq!(found(&document), one("rollback-differs", "rollbacks/2_b_rollback.sql", 0));
    assert!(
        document["findings"][0]["message"].as_str().unwrap().contains("public.t1.n"),
        "{document:#}"
    );
    workspace.migration("2_b", "ALTER TABLE t1 ADD n int;", "SELECT 1;\nDROP TABLE nothing;");
    let document = tested(&workspace, 11);
    assert_eq!(found(&document), one("rollback-fails", "rollbacks/2_b_rollback.sql", 2));
    workspace.migration("2_b", "ALTER TABLE t1 ADD n int;\nSELECT 1/0;", "SELECT 1;");
    workspace.migration("3_c", "SELECT 1;", "SELECT 1;");
    let document = tested(&workspace, 11);
    let expected = [
        one("migration-fails", "migrations/2_b.sql", 2),
        one("not-reached", "migrations/3_c.sql", 0),
    ];
    assert_eq!(found(&document), expected.concat());
}

#[test]
fn a_migration_is_tried_on_as_many_rows_as_its_file_asks_for() {
    let (_server, workspace) = trial();
    workspace.migration(
        "2_shop",
        "CREATE TYPE state AS ENUM ('new', 'paid');\n\
         CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
           email text NOT NULL UNIQUE);\n\
         CREATE TABLE orders (id int PRIMARY KEY, customer bigint NOT NULL REFERENCES customers, \
           state state NOT NULL, amount numeric(10,2) NOT NULL CHECK (amount > 0), \
           kind text NOT NULL CHECK (kind IN ('in', 'out')), at timestamptz, tags text[]);\n\
         CREATE TABLE flags (flag boolean PRIMARY KEY);",
        "DROP TABLE flags;\nDROP TABLE orders;\nDROP TABLE customers;\nDROP TYPE state;",
    );
    workspace.migration(
        "3_note",
        "-- annals: test_rows=20000\n\
         ALTER TABLE orders ADD note text NOT NULL DEFAULT clock_timestamp()::text;\n\
         CREATE INDEX orders_kind ON orders (kind);",
        "DROP INDEX orders_kind;\nALTER TABLE orders DROP note;",
    );
    workspace.migration(
        "4_few",
        "-- annals: test_rows=1000\nALTER TABLE flags ADD n int;",
        "ALTER TABLE flags DROP n;",
    );
    workspace.migration(
        "5_outside",
        "-- annals: transaction=off, test_rows=500\n\
         CREATE INDEX CONCURRENTLY orders_state ON orders (state);",
        "-- annals: transaction=off\nDROP INDEX CONCURRENTLY orders_state;",
    );
    let document = tested(&workspace, 0);
    let of = |at: usize| document["migrations"][at]["test_rows"].clone();
    assert!(of(0).is_null());
    let note = of(1);
    assert_eq!(note["asked"], 20_000);
    let full = json!([["public.customers", 20_000], ["public.orders", 20_000]]);
    assert_eq!((&note["tables"], &note["skipped"]), (&full, &json!([])), "{note:#}");
    for way in ["up", "down"] {
        let locks = note[way]["locks"].as_array().unwrap();
        let orders = locks.iter().find(|lock| lock["relation"] == "public.orders").unwrap();
        assert_eq!(orders["mode"], "ACCESS EXCLUSIVE");
        let (held, took) = (orders["us"].as_u64().unwrap(), note[way]["us"].as_u64().unwrap());
        assert!(held > 0 && held <= took, "{note:#}");
    }
    assert!(note["failure"].is_null());
    assert_eq!(of(2)["tables"], json!([["public.flags", 2]]), "what could be made is said");
    assert_eq!((&of(3)["up"]["unseen"], &of(3)["up"]["locks"]), (&json!(1), &json!([])));
    let text = workspace.annals("ci test").run().expect(0);
    text.says(&["3_note: asked for 20000 rows a table", "public.orders 20000", "access exclusive"]);

    // What works on a few rows and not on many is found.
    workspace.migration(
        "4_few",
        "-- annals: test_rows=40000\nALTER TABLE orders ADD seq int;",
        "ALTER TABLE orders ALTER id TYPE smallint;\nALTER TABLE orders ALTER id TYPE int;\n\
         ALTER TABLE orders DROP seq;",
    );
    let document = tested(&workspace, 11);
    assert!(found(&document).contains(&(
        "rollback-fails".into(),
        "rollbacks/4_few_rollback.sql".into(),
        1
    )));
    let failure = document["migrations"][2]["test_rows"]["failure"].as_str().unwrap().to_owned();
    assert!(failure.contains("smallint out of range"), "{failure}");

    // Nonsense is refused where it stands.
    workspace.migration("4_few", "SELECT 1;", "SELECT 1;");
    workspace.write("migrations/4_few.sql", "-- few\n-- annals: test_rows=0\nSELECT 1;\n");
    let document = workspace.annals("ci validate --json").run().expect(11).json();
    assert_eq!(found(&document), one("sql-unreadable", "migrations/4_few.sql", 2));
}

#[test]
fn what_a_migration_costs_is_measured_and_compared() {
    let (_server, workspace) = trial();
    workspace.migration(
        "2_b",
        "SELECT pg_sleep(0.01);\nALTER TABLE t1 ALTER id TYPE bigint;",
        "ALTER TABLE t1 ALTER id TYPE int;",
    );
    let document = workspace.annals("ci test --record --json").run().expect(0).json();
    assert_eq!(found(&document), one("table-rewritten", "migrations/2_b.sql", 2));
    let tried = &document["migrations"][0];
    assert_eq!((&tried["id"], &tried["lock"]), (&json!("2_b"), &json!("ACCESS EXCLUSIVE")));
    assert!(tried["earlier_up_us"].is_null() && tried["up_us"].as_u64().unwrap() > 10_000);
    // The same files, and a machine on which they take longer.
    workspace.annals("ci test --strict").run().expect(11);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let with = |keys: &str| workspace.write("annals.toml", config.clone() + keys);
    with("\n[budgets]\nmigration = \"5ms\"\n");
    let document = tested(&workspace, 0);
    assert!(document["migrations"][0]["earlier_up_us"].as_u64().unwrap() > 10_000);
    assert!(found(&document).contains(&("over-budget".into(), "migrations/2_b.sql".into(), 0)));
    // The comment alone differs: what was recorded counts, and it is slower than nothing.
    with("\n[ci]\nslower_factor = 1.5\nslower_by = \"100ms\"\n");
    assert_eq!(found(&tested(&workspace, 0)).len(), 1);
    workspace.write("slow", "");
    let slow = "DO $$ BEGIN IF (pg_stat_file('SLOW', true)).size IS NOT NULL THEN PERFORM pg_sleep(0.5); END IF; END $$;";
    let slow = slow.replace("SLOW", &workspace.path("wait").display().to_string());
    workspace.migration("2_b", &slow, "SELECT 1;");
    workspace.annals("ci test --record").run().expect(0);
    workspace.write("wait", "");
    let folder = workspace.folder();
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let document = tested(&workspace, 0);
    assert_eq!(found(&document), one("slower", "migrations/2_b.sql", 0), "{document:#}");
}

#[test]
fn every_form_is_what_its_readers_take() {
    let workspace = repository();
    workspace.migration("2_b", "SELECT '%,:<\"';", "SELECT 1;");
    let run = |form: &str| -> Outcome {
        workspace.annals(&format!("ci validate --against main --format {form}")).run().expect(11)
    };
    let sarif = run("sarif").json();
    assert_eq!(
        (&sarif["version"], &sarif["runs"][0]["results"][0]["level"]),
        (&json!("2.1.0"), &json!("error"))
    );
    let github = run("github").out;
    assert!(
        github.lines().all(|line| line.starts_with("::error file=migrations/2_b.sql")),
        "{github}"
    );
    assert_eq!(github.lines().count(), 1);
    let junit = run("junit").out;
    assert!(junit.contains("tests=\"6\" failures=\"1\"") && !junit.contains('\u{202e}'), "{junit}");
    for form in ["sarif", "github", "junit", "json", "human"] {
        let line = format!("ci validate --against main --format {form} --out found");
        let told = workspace.annals(&line).run().expect(11);
        assert_eq!(told.out, "", "the file has it");
        let text = fs::read_to_string(workspace.path("found")).unwrap();
        assert!(text.contains("2_b") && told.err.contains("1 error,"), "{form}: {text}");
    }
}

#[test]
fn a_comment_is_made_of_what_was_found_and_of_nothing_else() {
    let workspace = repository();
    workspace.migration("2_b", "SELECT 1;", "SELECT 1;");
    workspace.annals("ci validate --against main --format json --out v.json").run().expect(11);
    let told = workspace.annals("ci comment --validate v.json").run().expect(0);
    let told = told.says(&["<!-- annals ci -->", "must not be merged", "version\\-behind"]);
    let document = workspace.annals("ci comment --validate v.json --json").run().expect(0).json();
    assert_eq!(
        (&document["format"], &document["text"]),
        (&json!("annals.ci_comment/1"), &json!(told.out))
    );
    workspace
        .annals("ci comment --test v.json")
        .run()
        .expect(3)
        .says(&["not \"annals.ci_test/1\""]);
    workspace.write("v.json", "{}");
    workspace
        .annals("ci comment --validate v.json")
        .run()
        .expect(3)
        .says(&["is not what annals ci writes"]);
    workspace.annals("ci comment --validate none.json").run().expect(3).says(&["cannot be read"]);
    workspace.annals("ci comment").run().expect(2);
}
