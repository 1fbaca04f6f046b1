//! Back again: how far, what that costs, and what to do when nobody has time to think.

use std::fs;
use std::process::{Command, Stdio};

use annals_testkit::{Outcome, Server, Workspace, wait_for};

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).run()
}

fn configure(workspace: &Workspace, from: &str, to: &str) {
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    assert!(config.contains(from), "{config}");
    workspace.write("annals.toml", config.replace(from, to));
}

/// The backend of a run that sleeps in a statement.
fn asleep(server: &Server) -> Option<String> {
    let query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                 AND application_name LIKE 'annals%'";
    server.rows(query).pop()
}

/// When the last event was recorded.
fn last_recorded_at(workspace: &Workspace) -> String {
    let log = fs::read_to_string(workspace.segment()).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    last["recorded_at"].as_str().unwrap().to_owned()
}

/// Two migrations that were verified, rows, and a third that was not.
fn shop(server: &Server) -> Workspace {
    let workspace = Workspace::new(server);
    workspace.migration(
        "1_orders",
        "CREATE TABLE orders (id int PRIMARY KEY, note text);",
        "DROP TABLE orders;",
    );
    workspace.migration(
        "2_state",
        "ALTER TABLE orders ADD COLUMN state text;",
        "ALTER TABLE orders DROP COLUMN state;",
    );
    run(&workspace, "migrate").expect(0);
    run(&workspace, "verify").expect(0);
    server.sql(
        "INSERT INTO orders SELECT n, 'x', CASE WHEN n % 2 = 0 THEN 's' END FROM generate_series(1, 1000) n",
    );
    workspace.migration(
        "3_items",
        "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items SELECT generate_series(1, 50);",
        "DELETE FROM items WHERE id > 40;\nDROP TABLE items;",
    );
    workspace
}

#[test]
fn a_rollback_says_what_it_takes_away_counted_on_the_target_as_it_is() {
    let server = Server::start();
    let workspace = shop(&server);
    run(&workspace, "migrate").expect(0);
    let before = workspace.kinds();
    let dry = run(&workspace, "rollback --last 2 --dry-run").expect(0);
    dry.says(&[
        "DROP TABLE items;",
        "some rows of items: 10 rows",
        "table items: 50 rows",
        "column orders.state: 500 rows",
        "3_items (unproven)",
        "Nothing was changed",
    ]);
    assert_eq!(workspace.kinds(), before);
    let plan = run(&workspace, "rollback --last 2 --dry-run --json").expect(0).json();
    let rows: Vec<_> = plan["losses"].as_array().unwrap().iter().map(|l| &l["rows"]).collect();
    assert_eq!(rows, [&10, &50, &500]);
    assert_eq!(plan["backup"], serde_json::Value::Null);

    // Rehearsed, it says the verdict and the strongest lock; with a backup, which.
    run(&workspace, "proof --all").expect(0);
    configure(&workspace, "[targets.db]", "[targets.db]\nbackup = \"full\"");
    run(&workspace, "rollback --last 1 --dry-run")
        .expect(0)
        .says(&["proven, locks access exclusive", "a backup (full) is taken"]);
    // Other files are not what was rehearsed.
    workspace.write("rollbacks/3_items_rollback.sql", "DROP TABLE items CASCADE;");
    let plan = run(&workspace, "rollback --last 1 --dry-run --json").expect(0).json();
    assert_eq!(
        (&plan["steps"][0]["proof"], plan["steps"][0].get("lock")),
        (&"other files".into(), None)
    );

    let outcome = run(&workspace, "rollback --last 1 --json").expect(0).json();
    assert_eq!(outcome["losses"][0]["rows"], 50);
    run(&workspace, "history").expect(0).says(&["applied     3_items", "rolled back 3_items"]);
}

#[test]
fn what_cannot_be_counted_is_estimated_or_said_and_keeps_nobody_waiting() {
    let server = Server::start();
    let workspace = shop(&server);
    run(&workspace, "migrate").expect(0);
    server.sql("ANALYZE items");
    // Somebody alters the table now.
    let holder = server.hold("BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
    let plan = run(&workspace, "rollback --last 1 --dry-run --json").expect(0).json();
    drop(holder);
    let all = &plan["losses"][1];
    assert_eq!((&all["rows"], &all["estimated"]), (&50.into(), &true.into()));
    workspace.write(
        "rollbacks/3_items_rollback.sql",
        "DO $$ BEGIN DELETE FROM items; END $$;\nTRUNCATE nowhere;\nDROP TABLE items;",
    );
    run(&workspace, "rollback --last 1 --dry-run").expect(0).says(&[
        "a DO block may do anything",
        "rows of nowhere: not counted: there is no such table now",
        "table items: 50 rows",
    ]);
}

#[test]
fn back_to_a_time_is_back_to_what_was_applied_then() {
    let server = Server::start();
    let workspace = shop(&server);
    let two = last_recorded_at(&workspace);
    run(&workspace, "migrate").expect(0);
    let three = last_recorded_at(&workspace);
    let dry = |time: &str| workspace.annals("rollback --dry-run --json --to-time").arg(time).run();
    let steps = |plan: serde_json::Value| plan["steps"].as_array().unwrap().len();
    assert_eq!(steps(dry(&two).expect(0).json()), 1);
    assert_eq!(steps(dry(&three).expect(0).json()), 0);
    assert_eq!(steps(dry("2020-01-01").expect(0).json()), 3);
    dry("yesterday").expect(3).says(&["write it like 2026-01-31T16:30:00Z"]);
    run(&workspace, "rollback --last 2").expect(0);
    dry(&three).expect(3).says(&["was applied then and is not now"]);
    run(&workspace, "rollback").expect(2);
    run(&workspace, "rollback --last 1 --to-time 2020-01-01").expect(2);
}

#[test]
fn an_emergency_goes_back_to_what_was_verified_last_and_says_what_it_cost() {
    let server = Server::start();
    let workspace = shop(&server);
    run(&workspace, "migrate").expect(0);
    // Nobody at a terminal: it must be said.
    run(&workspace, "rollback --emergency").expect(3).says(&["say --yes"]);
    // Drift does not stop it.
    server.sql("CREATE INDEX by_hand ON items (id)");
    let line = "rollback --emergency --yes --reason checkout_is_down --json";
    let over = run(&workspace, line).expect(0).json();
    assert_eq!((&over["over"], &over["verified"]), (&true.into(), &"passed".into()), "{over:#}");
    assert_eq!(over["lost_rows"], 50, "{over:#}");
    assert!(over["duration_us"].as_u64().unwrap() > 0);
    assert_eq!(server.value("SELECT count(*) FROM orders"), "1000");
    let kinds = workspace.kinds();
    let at = |kind: &str| kinds.iter().rposition(|found| found == kind).unwrap();
    assert!(at("emergency_declared") < at("step_started"), "{kinds:?}");
    assert!(at("integrity_checked") < at("emergency_finished"), "{kinds:?}");
    run(&workspace, "state").expect(0).says(&["last emergency", "checkout_is_down"]);
    run(&workspace, "timeline").expect(0).says(&["50 rows lost"]);
    // Again there is nothing to do, and it is verified all the same.
    let again = run(&workspace, "rollback --emergency --yes --json").expect(0).json();
    assert_eq!(again["over"], true);
    run(&workspace, "log verify").expect(0);
}

#[test]
fn an_emergency_settles_what_was_cut_short_and_can_be_cut_short_itself() {
    let server = Server::start();
    let workspace = shop(&server);
    workspace.write("migrations/3_items.sql", "CREATE TABLE items (id int);\nSELECT pg_sleep(30);");
    let running = workspace.annals("migrate").start();
    wait_for("the statement", || asleep(&server));
    running.signal("KILL");
    running.wait();
    wait_for("the backend's end", || asleep(&server).is_none().then_some(()));
    workspace.write("migrations/3_items.sql", "CREATE TABLE items (id int);");
    let over = run(&workspace, "rollback --emergency --yes --json").expect(0).json();
    assert_eq!(over["over"], true, "{over:#}");
    assert_eq!(over["rollback"]["recovered"].as_array().unwrap().len(), 1);

    run(&workspace, "migrate").expect(0);
    workspace.write(
        "rollbacks/3_items_rollback.sql",
        "DROP TABLE items;\nSELECT pg_sleep(CASE WHEN current_setting('my.fast', true) IS NULL THEN 30 ELSE 0 END);",
    );
    let running = workspace.annals("rollback --emergency --yes").start();
    wait_for("the statement", || asleep(&server));
    running.signal("KILL");
    running.wait();
    wait_for("the backend's end", || asleep(&server).is_none().then_some(()));
    workspace.write("rollbacks/3_items_rollback.sql", "DROP TABLE items;");
    let over = run(&workspace, "rollback --emergency --yes --json").expect(0).json();
    assert_eq!(over["over"], true, "{over:#}");
    assert_eq!(server.value("SELECT to_regclass('items') IS NULL"), "true");
    run(&workspace, "verify").expect(0);
}

#[test]
fn who_stands_in_the_way_is_ended_only_where_the_policy_says_so() {
    let server = Server::start();
    let workspace = shop(&server);
    run(&workspace, "migrate").expect(0);
    server.sql("CREATE ROLE web LOGIN; GRANT SELECT ON items TO web");
    run(&workspace, "drift accept --reason test").expect(0);
    let url = server.url().replace("postgres://postgres@", "postgres://web@");
    let mut holder = Command::new("psql")
        .args([&url, "-c", "BEGIN; SELECT count(*) FROM items; SELECT pg_sleep(120)"])
        .env("PGAPPNAME", "web")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let held =
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'web' AND wait_event = 'PgSleep'";
    wait_for("a reader with a lock", || server.rows(held).pop());
    configure(&workspace, "[targets.db]", "[policy]\nlock_retries = 1\n\n[targets.db]");
    let blocked = run(&workspace, "rollback --emergency --yes --json").expect(15).json();
    assert_eq!(
        (&blocked["over"], blocked["terminated"].as_array().unwrap().len()),
        (&false.into(), 0)
    );
    configure(&workspace, "lock_retries = 1", "lock_retries = 1\nterminate_blockers = true");
    let over = run(&workspace, "rollback --emergency --yes --json").expect(0).json();
    assert_eq!(over["over"], true, "{over:#}");
    assert_eq!(over["terminated"][0]["application"], "web");
    holder.wait().unwrap();
}

/// A third migration that cannot be undone, applied behind a backup; rows came since.
fn without_a_way_back(server: &Server) -> Workspace {
    let workspace = shop(server);
    configure(&workspace, "[targets.db]", "[targets.db]\nbackup = \"full\"");
    workspace.write(
        "rollbacks/3_items_rollback.sql",
        "-- annals: irreversible=\"the rows were merged\"\nSELECT 1;",
    );
    run(&workspace, "migrate").expect(0);
    server.sql("INSERT INTO orders SELECT generate_series(1001, 1007)");
    workspace
}

#[test]
fn without_a_way_back_the_backup_of_before_takes_the_place_of_the_target() {
    let server = Server::start();
    let workspace = without_a_way_back(&server);
    // A backup of what is broken leads nowhere, however new it is.
    run(&workspace, "backup").expect(0);
    let before = workspace.kinds();
    let looked = run(&workspace, "rollback --emergency --dry-run").expect(0);
    looked.says(&["declared irreversible", "leads back", "not applied then: 3_items"]);
    assert_eq!(workspace.kinds(), before);
    let look = run(&workspace, "rollback --emergency --dry-run --json").expect(0).json();
    let over = run(&workspace, "rollback --emergency --yes --reason down --json").expect(0).json();
    assert_eq!(over["over"], true, "{over:#}");
    assert_eq!(over["backup"]["backup"], look["backup"]["backup"], "{over:#}");
    // 50 items, and 7 orders that came behind the backup.
    assert_eq!((&over["lost_rows"], &over["verified"]), (&57.into(), &"passed".into()), "{over:#}");
    let there =
        "SELECT (SELECT count(*) FROM orders) || ' ' || coalesce(to_regclass('items')::text, '-')";
    assert_eq!(server.value(there), "1000 -");
    let kinds = workspace.kinds();
    let at = |kind: &str| kinds.iter().rposition(|known| known == kind).unwrap();
    assert!(at("emergency_declared") < at("restore_started"), "{kinds:?}");
    assert!(at("restore_started") < at("integrity_checked"), "{kinds:?}");
    assert!(at("integrity_checked") < at("emergency_finished"), "{kinds:?}");
    run(&workspace, "state").expect(0).says(&["last emergency", "down"]);
    run(&workspace, "status").expect(0).says(&["2 applied, 1 pending"]);
    run(&workspace, "log verify").expect(0);
    let kept = over["restore"]["done"]["kept_as"].as_str().unwrap();
    assert_eq!(
        server.value(&format!("SELECT count(*) FROM pg_database WHERE datname = '{kept}'")),
        "1"
    );
}

#[test]
fn a_rollback_that_fails_for_a_reason_of_its_own_is_no_way_back_either() {
    let server = Server::start();
    let workspace = without_a_way_back(&server);
    workspace.write("rollbacks/3_items_rollback.sql", "DROP TABLE no_such_table;");
    let over = run(&workspace, "rollback --emergency --yes --json").expect(0).json();
    assert_eq!(
        (&over["over"], &over["rollback"]["run"]["outcome"]),
        (&true.into(), &"failed".into())
    );
    assert_eq!(server.value("SELECT to_regclass('items') IS NULL"), "true");
    run(&workspace, "status").expect(0);
}

#[test]
fn an_emergency_that_is_killed_in_its_restore_is_gone_on_with() {
    let server = Server::start();
    for point in ["restore_prepared", "restore_announced"] {
        let workspace = without_a_way_back(&server);
        let killed = workspace.annals("rollback --emergency --yes").env("ANNALS_FAILPOINT", point);
        killed.run().expect(-1);
        let over = run(&workspace, "rollback --emergency --yes --json").expect(0).json();
        assert_eq!(over["over"], true, "{point}: {over:#}");
        run(&workspace, "status").expect(0);
        run(&workspace, "log verify").expect(0);
        server.sql("DROP SCHEMA IF EXISTS annals CASCADE; DROP TABLE IF EXISTS orders, items");
    }
}

#[test]
fn where_the_policy_keeps_a_person_in_it_the_backup_is_named() {
    let server = Server::start();
    let workspace = without_a_way_back(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", format!("{config}\n[policy]\nemergency_restore = false\n"));
    let over = run(&workspace, "rollback --emergency --yes --json").expect(3).json();
    let backup = over["backup"]["backup"].as_str().unwrap().to_owned();
    assert_eq!((&over["over"], over["no_rollback"].is_object()), (&false.into(), true), "{over:#}");
    run(&workspace, "rollback --emergency --yes")
        .expect(3)
        .says(&["do not lead back", &format!("annals restore {backup}")]);
    assert_eq!(server.value("SELECT count(*) FROM items"), "50");
    // A target that was never verified has no last known good version.
    let other = Server::start();
    let fresh = Workspace::new(&other);
    fresh.tables(1);
    run(&fresh, "migrate").expect(0);
    run(&fresh, "rollback --emergency --yes").expect(3).says(&["no verification has ever passed"]);
}

#[test]
fn a_drill_goes_the_way_of_an_emergency_elsewhere_and_records_how_long_it_took() {
    let server = Server::start();
    let workspace = shop(&server);
    run(&workspace, "rollback --emergency --rehearse").expect(3).says(&["there is no backup"]);
    configure(&workspace, "[targets.db]", "[targets.db]\nbackup = \"full\"");
    run(&workspace, "migrate").expect(0);
    let state = || {
        server.value("SELECT (SELECT count(*) FROM items) || ' ' || count(*) FROM annals.ledger")
    };
    let before = (state(), workspace.kinds().len());
    // The backup is of before 3_items: that is applied there, and rolled back as an emergency would.
    let drill = run(&workspace, "rollback --emergency --rehearse --json").expect(0).json();
    assert_eq!((&drill["passed"], &drill["way"]), (&true.into(), &"rollback".into()), "{drill:#}");
    assert_eq!(drill["applied"], serde_json::json!(["3_items"]), "{drill:#}");
    assert_eq!(drill["rolled_back"], serde_json::json!(["3_items"]), "{drill:#}");
    assert_eq!((&drill["to_version"], drill["rows"].as_u64().unwrap() > 1000), (&"2".into(), true));
    assert_eq!(state(), before.0);
    assert_eq!(workspace.kinds()[before.1..], ["emergency_rehearsed"]);
    run(&workspace, "timeline").expect(0).says(&["emergency rehearsed by rollback: passed"]);

    // From a backup of now, nothing is applied first.
    run(&workspace, "backup").expect(0);
    let drill = run(&workspace, "rollback --emergency --rehearse").expect(0);
    drill.says(&["rolled back: 3_items", "would be back at version 2", "was not compared"]);

    // A rollback that leaves something behind, and one that fails, are found before they are needed.
    workspace.write("rollbacks/3_items_rollback.sql", "DROP TABLE no_such_table;");
    let drill = run(&workspace, "rollback --emergency --rehearse").expect(11);
    drill.says(&["would not have ended well", "no_such_table"]);

    // Declared irreversible, the way is a backup, and the newest is one of what is broken.
    let never = "-- annals: irreversible=\"the rows were merged\"\nSELECT 1;";
    workspace.write("rollbacks/3_items_rollback.sql", never);
    let drill = run(&workspace, "rollback --emergency --rehearse").expect(11);
    drill.says(&["rows were merged", "when 3 was applied already"]);
    assert_eq!(state(), before.0);
    run(&workspace, "log verify").expect(0);
}

#[test]
fn a_drill_finds_what_a_rollback_leaves_behind() {
    let server = Server::start();
    let workspace = shop(&server);
    configure(&workspace, "[targets.db]", "[targets.db]\nbackup = \"full\"");
    workspace
        .write("rollbacks/3_items_rollback.sql", "DROP TABLE items; CREATE TABLE left_over ();");
    run(&workspace, "migrate").expect(0);
    let drill = run(&workspace, "rollback --emergency --rehearse --json").expect(11).json();
    assert_eq!((&drill["passed"], &drill["failed"]), (&false.into(), &serde_json::Value::Null));
    assert!(drill["findings"][0].as_str().unwrap().contains("left_over"), "{drill:#}");
    // A drill of a target that is good goes by the backup.
    run(&workspace, "verify").expect(0);
    let drill = run(&workspace, "rollback --emergency --rehearse --json").expect(0).json();
    assert_eq!((&drill["way"], &drill["rolled_back"]), (&"backup".into(), &serde_json::json!([])));
}

/// The commands of `docs/guide/recovery.md`, in its order, on one target.
#[test]
fn the_recovery_guide_works_as_it_is_written() {
    let guide =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/recovery.md"));
    let guide = guide.unwrap();
    let server = Server::start();
    let workspace = Workspace::new(&server);
    configure(&workspace, "[targets.db]", "[targets.production]\nbackup = \"full\"");
    configure(&workspace, "default_target = \"db\"\n", "");
    workspace.migration("1_a", "CREATE TABLE a (id int PRIMARY KEY);", "DROP TABLE a;");
    run(&workspace, "migrate --target production").expect(0).says(&["was taken before the run"]);
    run(&workspace, "verify --target production").expect(0);
    workspace.migration(
        "3_items",
        "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items SELECT generate_series(1, 50);",
        "DELETE FROM items WHERE id > 40;\nDROP TABLE items;",
    );
    run(&workspace, "proof --all --target production").expect(0);
    run(&workspace, "migrate --target production").expect(0);
    run(&workspace, "backup verify --deep --target production").expect(0);
    let mut ran = 0;
    for block in guide.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()) {
        // Those that name a backup or a fingerprint are run in `restore_rows`, with what they need.
        let whole = block.replace("\\\n", "");
        for command in whole.lines().filter(|line| !line.contains('<')) {
            let command = command.split('#').next().unwrap().trim();
            let arguments = command.strip_prefix("annals ").unwrap();
            let mut words = workspace.annals("");
            // The guide's only quoted word.
            for (at, part) in arguments.split('"').enumerate() {
                words = match at % 2 {
                    0 => words.args(part),
                    _ => words.arg(part),
                };
            }
            if arguments.contains("--emergency") && !arguments.contains("--rehearse") {
                words = words.arg("--yes");
            }
            let outcome = words.run().expect(0);
            match ran {
                0 => drop(outcome.says(&[
                    "proven, locks access exclusive",
                    "some rows of items: 10 rows",
                    "table items: 50 rows",
                    "first: a backup (full) is taken and read again",
                ])),
                1 => drop(outcome.says(&["production is back and verified", "50 rows lost"])),
                _ => {}
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 11);
}
