//! The rollback proof as a user sees it: verdicts, rows, batches, policies, what is recorded.

use annals_testkit::{Server, ServerOptions, Workspace};
use serde_json::{Value, json};

use crate::restore::ON_PLATFORM;

fn step<'a>(proof: &'a Value, version: &str) -> &'a Value {
    let steps = proof["steps"].as_array().unwrap();
    steps.iter().find(|step| step["version"] == version).unwrap_or_else(|| panic!("{proof}"))
}

fn verdicts(proof: &Value) -> Vec<&str> {
    let steps = proof["steps"].as_array().unwrap_or_else(|| panic!("{proof}"));
    steps.iter().map(|step| step["verdict"].as_str().unwrap()).collect()
}

#[test]
fn from_a_copy_of_the_target_a_migration_meets_what_only_the_target_has() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration(
        "1_items",
        "CREATE TYPE size AS ENUM ('s', 'l');\n\
         CREATE TABLE items (id int PRIMARY KEY, size size NOT NULL CHECK (size <> 'l'));\n\
         CREATE VIEW small AS SELECT id FROM items;",
        "DROP VIEW small;\nDROP TABLE items;\nDROP TYPE size;",
    );
    workspace.annals("migrate").run().expect(0);
    // What no file knows: a view on the column that is to change.
    server.sql("CREATE VIEW sizes AS SELECT size FROM items; INSERT INTO items VALUES (1, 's')");
    let was = server.rows("SELECT relname FROM pg_class WHERE oid >= 16384 ORDER BY oid");
    workspace.migration(
        "2_drop",
        "ALTER TABLE items DROP COLUMN size;",
        "ALTER TABLE items ADD COLUMN size size NOT NULL DEFAULT 's' CHECK (size <> 'l');\n\
         ALTER TABLE items ALTER size DROP DEFAULT;",
    );
    let from = |more: &str| workspace.annals(&format!("proof --json --no-record {more}")).run();
    let empty = from("");
    let target = from("--from target").expect(17).json();
    assert_ne!(verdicts(&empty.json()), ["migration_fails"]);
    assert_eq!(verdicts(&target), ["migration_fails"]);
    let failure = step(&target, "2")["report"]["failure"]["message"].to_string();
    assert!(failure.contains("other objects depend on it"), "{failure}");
    let unlike: Vec<&Value> = target["notes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|note| note.to_string().contains("cop"))
        .collect();
    assert!(unlike.is_empty(), "{unlike:?}");
    let now = server.rows("SELECT relname FROM pg_class WHERE oid >= 16384 ORDER BY oid");
    assert_eq!(was, now, "the target is only read");
    // And the other way round: what somebody has made by hand makes it work.
    server.sql("DROP VIEW sizes; CREATE TABLE by_hand (id int)");
    workspace.migration("2_drop", "ALTER TABLE by_hand ADD n int;", "ALTER TABLE by_hand DROP n;");
    assert_eq!(verdicts(&from("").expect(17).json()), ["migration_fails"]);
    let target = from("--from target").expect(0).json();
    assert_eq!(verdicts(&target), ["exact"]);
    let notes = step(&target, "2")["report"]["notes"].to_string();
    assert!(notes.contains("on a copy of the schema of db"), "{notes}");
    from("--from target 1").expect(3);
    from("--from target --all").expect(3);
}

#[test]
fn a_rehearsal_on_a_copy_of_a_supabase_target_begins_as_it_is_there() {
    let server = Server::start_with(ServerOptions { supabase: true, ..Default::default() });
    let workspace = Workspace::new(&server);
    let config = std::fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config + "platform = \"supabase\"\n");
    workspace.migration(
        "1_orders",
        "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public REVOKE ALL ON TABLES FROM anon;\n\
         REVOKE USAGE ON SCHEMA public FROM anon;\n\
         CREATE TABLE public.orders (id int PRIMARY KEY, \
             owner uuid DEFAULT auth.uid() REFERENCES auth.users (id));\n\
         ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;\n\
         CREATE POLICY own ON public.orders TO authenticated USING (owner = (SELECT auth.uid()));\n\
         ALTER PUBLICATION supabase_realtime ADD TABLE public.orders;",
        "DROP TABLE public.orders;",
    );
    workspace.migration("2_users", ON_PLATFORM.0, ON_PLATFORM.1);
    workspace.annals("migrate").run().expect(0);
    workspace.migration(
        "3_items",
        "CREATE TABLE public.items (id int, of_order int REFERENCES public.orders);",
        "DROP TABLE public.items;",
    );
    let shown = workspace.annals("proof --from target --json --no-record").run().expect(0).json();
    assert_eq!(verdicts(&shown), ["exact"]);
    let notes: Vec<&Value> = shown["notes"].as_array().unwrap().iter().collect();
    let unlike: Vec<_> = notes.iter().filter(|note| note.to_string().contains("cop")).collect();
    assert!(unlike.is_empty(), "{unlike:?}");
}

#[test]
fn a_rehearsal_shows_locks_rewrites_and_what_would_be_lost() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration(
        "1_items",
        "CREATE TABLE items (id int PRIMARY KEY, size int NOT NULL);",
        "DROP TABLE items;",
    );
    workspace.migration(
        "2_sizes",
        "CREATE INDEX items_size ON items (size);\nALTER TABLE items ALTER size TYPE bigint;",
        "ALTER TABLE items ALTER size TYPE int;\nDROP INDEX items_size;",
    );
    workspace.migration(
        "3_outside",
        "-- annals: transaction=off\nCREATE INDEX CONCURRENTLY items_id_size ON items (id, size);",
        "-- annals: transaction=off\nDROP INDEX CONCURRENTLY items_id_size;",
    );
    let proof = workspace.annals("proof --json").run().expect(0).json();
    assert_eq!(verdicts(&proof), ["exact", "exact", "exact"]);
    assert!(proof["steps"].as_array().unwrap().iter().all(|step| step["chain"] == "exact"));
    let sizes = step(&proof, "2");
    assert_eq!(sizes["strongest_lock"], "ACCESS EXCLUSIVE");
    assert_eq!(
        (&sizes["locked"], &sizes["rewrites"]),
        (&json!("public.items"), &json!(["public.items"]))
    );
    let statements = sizes["report"]["up"]["statements"].as_array().unwrap();
    assert_eq!((&statements[0]["line"], &statements[1]["line"]), (&json!(1), &json!(2)));
    assert_eq!(statements[0]["locks"], json!([{"mode": "SHARE", "relation": "public.items"}]));
    assert_eq!(statements[0]["rewrites"], json!([]));
    // What was there survives; what is written behind the first migration goes with its table.
    let rows = &step(&proof, "2")["report"]["rows"];
    assert_eq!(
        (&rows["before"], &rows["behind"], &rows["lost"]),
        (&json!(3), &json!(3), &json!([]))
    );
    let lost = &step(&proof, "1")["report"]["rows"]["would_be_lost"][0];
    assert_eq!((&lost["table"], &lost["rows"]), (&json!("public.items"), &json!(3)));
    // Outside of a transaction nobody sees what a statement holds.
    assert_eq!(step(&proof, "3")["report"]["up"]["statements"][0]["locks"], Value::Null);
    let text = workspace.annals("proof").run().expect(0);
    text.says(&["access exclusive", "public.items", "3 of 3 accepted", "3 proofs recorded"]);
}

#[test]
fn a_schema_that_leads_back_can_still_lose_rows_or_fail_on_them() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration(
        "1_base",
        "CREATE TYPE mood AS ENUM ('good', 'bad');\n\
         CREATE DOMAIN code AS text CHECK (VALUE ~ '^[A-Z]{2,3}$');\n\
         CREATE TABLE owners (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, country code NOT NULL,\n\
           age int NOT NULL CHECK (age BETWEEN 18 AND 30), UNIQUE (country, age));\n\
         CREATE TABLE pets (id uuid PRIMARY KEY, owner bigint NOT NULL REFERENCES owners, feels mood\n\
           NOT NULL, name varchar(3) UNIQUE NOT NULL, legs int NOT NULL, note text);",
        "DROP TABLE pets, owners; DROP DOMAIN code; DROP TYPE mood;",
    );
    workspace.migration(
        "2_column",
        "ALTER TABLE pets DROP COLUMN note;",
        "ALTER TABLE pets ADD COLUMN note text;",
    );
    workspace.migration(
        "3_null",
        "ALTER TABLE pets ALTER legs DROP NOT NULL;",
        "SELECT 1;\nALTER TABLE pets ALTER legs SET NOT NULL;",
    );
    workspace.migration(
        "4_table",
        "DROP TABLE pets;",
        "CREATE TABLE pets (id uuid PRIMARY KEY, owner bigint NOT NULL REFERENCES owners, feels mood\n\
           NOT NULL, name varchar(3) UNIQUE NOT NULL, legs int);",
    );
    workspace.migration(
        "5_owners",
        "ALTER TABLE owners ADD COLUMN name text;\nCREATE INDEX ON owners (country);",
        "ALTER TABLE owners DROP COLUMN name;\nDROP INDEX owners_country_idx;",
    );
    let proof = workspace.annals("proof --json").run().expect(17).json();
    assert_eq!(
        verdicts(&proof),
        ["exact", "loses_data", "rollback_fails", "loses_data", "exact"],
        "{proof:#}"
    );
    let column = &step(&proof, "2")["report"]["rows"]["lost"][0];
    assert_eq!(column["table"], "public.pets");
    // The third row says nothing of it.
    assert_eq!(column["columns"], json!([{"column": "note", "values": 2}]));
    let failure = &step(&proof, "3")["report"]["failure"];
    assert_eq!(failure["file"], "rollbacks/3_null_rollback.sql");
    assert_eq!((&failure["line"], &failure["code"]), (&json!(2), &json!("23502")));
    assert_eq!(step(&proof, "4")["lost_rows"], 3);
    let rows = &step(&proof, "5")["report"]["rows"];
    assert_eq!(
        (&rows["lost"], &rows["before"], &rows["skipped"]),
        (&json!([]), &json!(3), &json!([]))
    );
    workspace.annals("proof 4").run().expect(17).says(&["loses data", "3 of 3 rows"]);
}

#[test]
fn files_that_fail_say_where_and_what_follows_is_not_reached() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration("1_a", "CREATE TABLE a (x int);", "SELECT 1;\nDROP TABLE no_such;");
    workspace.migration("2_b", "CREATE TABLE b (x int);\nSELECT 1 / 0;", "DROP TABLE b;");
    workspace.migration("3_c", "CREATE TABLE c (x int);", "DROP TABLE c;");
    let proof = workspace.annals("proof --json").run().expect(17).json();
    assert_eq!(verdicts(&proof), ["rollback_fails", "migration_fails"]);
    let first = &step(&proof, "1")["report"]["failure"];
    assert_eq!((&first["line"], &first["code"]), (&json!(2), &json!("42P01")));
    let second = &step(&proof, "2")["report"]["failure"];
    assert_eq!((&second["line"], &second["code"]), (&json!(2), &json!("22012")));
    assert_eq!(proof["not_reached"], json!([{"version": "3", "name": "c"}]));
    assert_eq!(step(&proof, "2")["report"]["after"], Value::Null);
}

#[test]
fn what_is_declared_irreversible_is_told_and_ends_the_chain() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(1);
    workspace.write(
        "migrations/2_gone.sql",
        "-- annals: irreversible=\"the old table is not kept\"\nDROP TABLE t1;",
    );
    workspace.migration("3_t", "CREATE TABLE t3 (id int);", "DROP TABLE t3;");
    let proof = workspace.annals("proof --json").run().expect(0).json();
    assert_eq!(verdicts(&proof), ["exact", "irreversible", "exact"]);
    let chain: Vec<&Value> = (1..=3).map(|n| &step(&proof, &n.to_string())["chain"]).collect();
    assert_eq!(chain, [&Value::Null, &Value::Null, &json!("exact")]);
    workspace
        .annals("proof 2")
        .run()
        .expect(0)
        .says(&["irreversible", "the old table is not kept"]);
    workspace.write("rollbacks/2_gone_rollback.sql", "SELECT 1;");
    workspace.write("migrations/2_gone.sql", "-- annals: irreversible=\"\"\nDROP TABLE t1;");
    workspace.annals("proof").run().expect(3).says(&["say why"]);
}

#[test]
fn a_file_that_says_something_else_each_time_is_not_its_rollbacks_fault() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration(
        "1_when",
        "CREATE VIEW made AS SELECT 'now'::timestamp AS at;",
        "DROP VIEW made;",
    );
    let proof = workspace.annals("proof --json").run().expect(0).json();
    let report = &step(&proof, "1")["report"];
    assert_eq!(proof["steps"][0]["verdict"], "exact");
    assert_eq!(report["unstable"][0]["name"], "public.made");
    assert_eq!(report["again"], json!([]));
    workspace.annals("proof").run().expect(0).says(&["each time it is applied"]);
}

#[test]
fn column_order_is_a_class_of_its_own() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration("1_t", "CREATE TABLE t (a int, b int);", "DROP TABLE t;");
    workspace.migration("2_a", "ALTER TABLE t DROP a;", "ALTER TABLE t ADD a int;");
    let proof = workspace.annals("proof --json").run().expect(17).json();
    // Sample rows had values in the column.
    assert_eq!(verdicts(&proof), ["exact", "loses_data"]);
    workspace.migration(
        "2_a",
        "ALTER TABLE t ADD c int; ALTER TABLE t ADD d int;",
        "ALTER TABLE t DROP c; ALTER TABLE t DROP d; ALTER TABLE t ADD a2 int; \
         UPDATE t SET a2 = a; ALTER TABLE t DROP a; ALTER TABLE t RENAME a2 TO a;",
    );
    let proof = workspace.annals("proof --json").run().expect(0).json();
    assert_eq!(verdicts(&proof), ["exact", "column_order"], "{proof:#}");
    assert_eq!(step(&proof, "2")["chain"], "column_order");
}

#[test]
fn rollbacks_that_only_mirror_together_are_proven_together() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration("1_a", "CREATE TABLE a (x int);", "SELECT 1;");
    workspace.migration("2_b", "CREATE TABLE b (x int);", "DROP TABLE b; DROP TABLE a;");
    workspace.migration("3_c", "CREATE TABLE c (x int);", "DROP TABLE c;");
    let proof = workspace.annals("proof --json --no-record").run().expect(17).json();
    assert_eq!(verdicts(&proof), ["differs", "differs", "exact"]);
    let batch = workspace.annals("proof --json --batch 2").run().expect(0).json();
    assert_eq!(verdicts(&batch), ["exact", "exact", "exact"]);
    assert_eq!(step(&batch, "1")["report"]["group"], json!(["1", "2"]));
    let auto = workspace.annals("proof --batch auto").run().expect(0);
    auto.says(&["exact in 2", "1, 2 together do, exactly"]);
    workspace.annals("proof --batch 0").run().expect(2);
}

#[test]
fn a_target_that_requires_proofs_runs_nothing_without_them() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let config = |demand: &str| {
        format!(
            "workspace = \"test\"\ndefault_target = \"db\"\n[targets.db]\nurl_env = \"TEST_URL\"\n\
             proof = \"{demand}\"\n"
        )
    };
    workspace.write("annals.toml", config("require"));
    workspace.tables(2);
    let refused = workspace.annals("migrate --json").run().expect(17).error_json();
    assert!(refused["errors"][0].as_str().unwrap().contains("1_t1 (unproven), 2_t2 (unproven)"));
    assert!(refused["hint"].as_str().unwrap().contains("annals proof --target db"));
    // Nothing was begun: no log, no keys.
    assert!(!workspace.path("event-store").exists() && !workspace.path("keys").exists());
    let status = workspace.annals("status --json").run().expect(0).json();
    assert_eq!(status["migrations"][0]["proof"], "unproven");
    workspace.annals("plan").run().expect(0).says(&["unproven"]);

    workspace.annals("proof").run().expect(0).says(&["2 of 2 accepted", "2 proofs recorded"]);
    let plan = workspace.annals("plan --json").run().expect(0).json();
    assert_eq!(
        (&plan["steps"][0]["proof"], &plan["steps"][1]["proof"]),
        (&json!("proven"), &json!("proven"))
    );
    // Another rollback is another proof; another comment is not.
    workspace.write("rollbacks/2_t2_rollback.sql", "DROP TABLE t2; DROP TABLE IF EXISTS t9;");
    workspace.annals("migrate").run().expect(17).says(&["2_t2 (other files)"]);
    workspace.write("rollbacks/2_t2_rollback.sql", "-- said otherwise\nDROP TABLE t2;");
    workspace.annals("migrate").run().expect(0).says(&["2 steps of 2"]);

    // What is not accepted is not run either, and a target that only wants to know goes on.
    workspace.migration("3_bad", "CREATE TABLE bad (x int);", "SELECT 1;");
    workspace.annals("proof").run().expect(17).says(&["differs", "+ table public.bad"]);
    workspace.annals("migrate").run().expect(17).says(&["3_bad (differs)"]);
    workspace.write("annals.toml", config("warn"));
    workspace.annals("migrate").run().expect(0).says(&["no accepted proof", "3_bad (differs)"]);
    workspace.annals("rollback --last 1").run().expect(0);
    workspace.write("annals.toml", config("off"));
    let quiet = workspace.annals("plan --json").run().expect(0).json();
    assert_eq!((&quiet["notes"], &quiet["steps"][0]["proof"]), (&json!([]), &Value::Null));
}

#[test]
fn proofs_are_events_of_the_target() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(1);
    workspace.annals("migrate").run().expect(0);
    workspace.migration("2_bad", "CREATE TABLE bad (x int);", "SELECT 1;");
    workspace.annals("proof --no-record").run().expect(17).says(&["nothing recorded"]);
    assert!(!workspace.kinds().contains(&"proof_recorded".to_owned()));
    workspace.annals("proof").run().expect(17);
    workspace.annals("log verify").run().expect(0).says(&["is intact"]);
    workspace.annals("explain 2").run().expect(0).says(&["differs"]);
    workspace
        .annals("timeline")
        .run()
        .expect(0)
        .says(&["2_bad", "its rollback leaves another schema"]);
    let text = std::fs::read_to_string(workspace.segment()).unwrap();
    let last: Value = serde_json::from_str(
        text.lines().find(|line| line.contains("\"kind\":\"proof_recorded\"")).unwrap(),
    )
    .unwrap();
    let data = &last["data"];
    assert_eq!(
        (&data["verdict"], &data["batch"], &data["chain"]),
        (&json!("differs"), &json!(1), &json!("differs"))
    );
    let blob = data["report"]["sha256"].as_str().or(data["report"]["digest"].as_str());
    let report = workspace
        .path("event-store/db/blobs/sha256")
        .join(blob.unwrap_or_else(|| panic!("{data}")));
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(
        (&report["format"], &report["differences"][0]["name"]),
        (&json!(1), &json!("public.bad"))
    );
    // The proof of what is applied says that it was, from the files alone.
    let all = workspace.annals("proof --all --json").run().expect(17).json();
    assert_eq!(verdicts(&all), ["exact", "differs"]);
    workspace.annals("proof 9").run().expect(3).says(&["no migration of this version"]);
}

#[test]
fn a_supabase_target_is_rehearsed_on_its_like() {
    let server = Server::start_with(ServerOptions { supabase: true, ..ServerOptions::default() });
    let workspace = Workspace::new(&server);
    workspace.write(
        "annals.toml",
        "workspace = \"test\"\ndefault_target = \"db\"\n[targets.db]\nurl_env = \"TEST_URL\"\n\
         platform = \"supabase\"\n",
    );
    workspace.migration(
        "1_profiles",
        "CREATE TABLE profiles (id uuid PRIMARY KEY REFERENCES auth.users, name text NOT NULL);\n\
         ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;\n\
         CREATE POLICY own ON profiles USING (id = (SELECT auth.uid()));",
        "DROP TABLE profiles;",
    );
    workspace.migration(
        "2_closed",
        "REVOKE ALL ON profiles FROM anon;",
        "GRANT SELECT ON profiles TO anon;",
    );
    let proof = workspace.annals("proof --json --jobs 2").run().expect(17).json();
    assert_eq!(
        (verdicts(&proof).as_slice(), &proof["lanes"]),
        (&["exact", "differs"][..], &json!(2))
    );
    let rows = &step(&proof, "1")["report"]["rows"];
    assert_eq!((&rows["skipped"], &rows["would_be_lost"][0]["rows"]), (&json!([]), &json!(3)));
    let found = step(&proof, "2")["report"]["differences"].to_string();
    assert!(found.contains("profiles") && found.contains("anon"), "{found}");
}

/// The words of a text, without its durations.
fn without_times(text: &str) -> Vec<&str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_unit = |word: Option<&&str>| matches!(word, Some(&("µs" | "ms" | "s")));
    let stays = |at: usize| {
        let is_time = is_unit(words.get(at + 1)) && words[at].parse::<f64>().is_ok();
        !is_time && !is_unit(words.get(at))
    };
    (0..words.len()).filter(|at| stays(*at)).map(|at| words[at]).collect()
}

#[test]
fn the_readme_shows_the_proof_of_this_repositorys_migrations() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, shown) = readme.split_once("`annals proof --all` says:\n\n```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let config = std::fs::read_to_string(root.join("annals.toml")).unwrap();
    workspace.write("annals.toml", config);
    for folder in ["migrations", "rollbacks"] {
        for file in std::fs::read_dir(root.join(folder)).unwrap() {
            let file = file.unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            workspace.write(&format!("{folder}/{}", file.file_name().to_str().unwrap()), text);
        }
    }
    let sandboxes = tempfile::tempdir_in("/tmp").unwrap();
    let said = workspace
        .annals("proof --all --no-record")
        .env("ANNALS_SANDBOX_DIR", sandboxes.path())
        .run()
        .expect(0);
    let (said, _) = said.out.split_once("\n✓ ").unwrap();
    assert_eq!(without_times(said), without_times(shown), "{said}");
}
