//! A busy database is not harmed: nobody waits long for a run, and a run that has to wait says for
//! whom, tries again, and gives up in time.

use std::fs;

use annals_testkit::{Outcome, Server, ServerOptions, Workspace, wait_for};

/// What stands in a session's query and must be seen nowhere.
const CANARY: &str = "CANARY-b7e1";

/// A workspace with table `t1` applied, under these keys of `annals.toml`.
fn workspace(server: &Server, keys: &str) -> Workspace {
    let workspace = Workspace::new(server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let (before, after) = config.split_once("[timeouts]\n").unwrap();
    workspace.write("annals.toml", format!("{before}{keys}\n{after}"));
    workspace.tables(1);
    workspace.annals("migrate").run().expect(0);
    workspace
}

/// A migration that needs t1 for itself.
fn wants_t1(workspace: &Workspace) {
    let (up, down) = ("ALTER TABLE t1 ADD note text;", "ALTER TABLE t1 DROP note;");
    workspace.migration("2_note", up, down);
}

/// Waits until a backend of annals waits for a lock.
fn wait_until_it_waits(server: &Server) {
    let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
        WHERE NOT l.granted AND a.application_name LIKE 'annals/%'";
    wait_for("annals to wait for a lock", || (server.value(waits) != "0").then_some(()));
}

/// Waits until the transaction of annals that waited has been rolled back.
fn wait_until_it_lost(server: &Server) {
    wait_until_it_waits(server);
    let open = "SELECT count(*) FROM pg_stat_activity \
        WHERE application_name LIKE 'annals/%' AND xact_start IS NOT NULL";
    wait_for("annals to roll back", || (server.value(open) == "0").then_some(()));
}

#[track_caller]
fn never_says_the_canary(workspace: &Workspace, outcome: &Outcome) {
    let log = fs::read_to_string(workspace.segment()).unwrap();
    for text in [&outcome.out, &outcome.err, &log] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

/// What a test has set up beside the migrations is no drift.
fn takes_the_scene(workspace: &Workspace) {
    workspace.annals("drift accept --reason").arg("the scene of a test").run().expect(0);
}

#[test]
fn an_application_never_waits_longer_than_the_lock_timeout() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 2\n[timeouts]\nlock = \"1s\"";
    let workspace = workspace(&server, keys);
    wants_t1(&workspace);
    let reader = server.hold(&format!("SELECT '{CANARY}' FROM t1"));
    let run = workspace.annals("migrate").start();
    wait_until_it_waits(&server);
    // It stands behind the run, which stands behind a reader that does not go away: it gets its
    // turn only because the run gives up its place.
    for _ in 0..3 {
        assert_eq!(server.value("SELECT count(*) FROM t1"), "0");
    }
    let ended = run.wait().expect(15).says(&[
        "2_note.sql:1: canceling statement due to lock timeout; given up after 3 attempts",
        "waits 2_note: blocked by backend",
        "blocked by backend",
        "role postgres, application annals-test, idle in transaction, query",
        "attempt 2 of 3",
        "attempt 3 of 3",
        "SELECT pg_terminate_backend(",
        "annals locks",
        "(SQLSTATE 55P03)",
    ]);
    never_says_the_canary(&workspace, &ended);
    drop(reader);
    workspace.annals("migrate").run().expect(0).says(&["applied 2_note"]);
}

#[test]
fn a_run_goes_on_when_the_blocker_leaves() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 30\n[timeouts]\nlock = \"400ms\"\nmax_blocked = \"0\"";
    let workspace = workspace(&server, keys);
    wants_t1(&workspace);
    let reader = server.hold("SELECT FROM t1");
    let run = workspace.annals("migrate").start();
    wait_until_it_lost(&server);
    drop(reader);
    run.wait().expect(0).says(&["again 2_note: rolled back; attempt 2 of 31", "applied 2_note"]);
    let intents = workspace.kinds().iter().filter(|kind| *kind == "step_started").count();
    assert_eq!(intents, 2, "one intent for each step, however often it was tried");
    assert_eq!(server.value("SELECT count(*) FROM annals.ledger"), "2");
    workspace.annals("verify").run().expect(0);
}

#[test]
fn the_time_a_run_may_be_blocked_has_a_cap() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 1000\n[timeouts]\nlock = \"200ms\"\nmax_blocked = \"2s\"";
    let workspace = workspace(&server, keys);
    wants_t1(&workspace);
    let _reader = server.hold(&format!("SELECT '{CANARY}' FROM t1"));
    let ended = workspace.annals("migrate").run().expect(15);
    // Nobody looked within the lock timeout: whoever has locks on the table then is named.
    let ended = ended.says(&["(timeouts.max_blocked)", "blocked by backend", "annals-test"]);
    never_says_the_canary(&workspace, &ended);
    let document = workspace.annals("migrate --json").run().expect(15);
    assert_eq!(document.err, "", "a document is all that is said");
    let failure = &document.json()["run"]["failure"];
    assert_eq!(failure["code"], "55P03");
    assert_eq!(failure["effect"], "none");
}

#[test]
fn a_stop_is_heard_while_a_run_pauses_between_attempts() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 1000\n[timeouts]\nlock = \"300ms\"\nmax_blocked = \"0\"";
    let workspace = workspace(&server, keys);
    wants_t1(&workspace);
    let _reader = server.hold("SELECT FROM t1");
    let run = workspace.annals("migrate").start();
    wait_until_it_lost(&server);
    run.signal("INT");
    run.wait().expect(130).says(&["stopped on request"]);
    assert_eq!(server.value("SELECT count(*) FROM annals.ledger"), "1");
}

#[test]
fn the_victim_of_a_deadlock_is_run_again() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]\nlock = \"60s\"");
    let up = "SET LOCAL deadlock_timeout = '3s'; CREATE TABLE made (); LOCK TABLE a; LOCK TABLE b;";
    server.sql("CREATE TABLE a (); CREATE TABLE b ()");
    takes_the_scene(&workspace);
    workspace.migration("2_ab", up, "DROP TABLE made;");
    let other = "SET deadlock_timeout = '100s'; BEGIN; LOCK TABLE b; DO $$ BEGIN \
        WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass) \
        LOOP PERFORM pg_sleep(0.01); END LOOP; END $$; LOCK TABLE a; COMMIT";
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| server.sql(other));
        let has_b = "SELECT count(*) FROM pg_locks WHERE granted AND relation = 'b'::regclass";
        wait_for("b to be locked", || (server.value(has_b) == "1").then_some(()));
        let ended = workspace.annals("migrate").run().expect(0);
        ended.says(&["deadlock detected", "attempt 2 of", "applied 2_ab"]);
        holder.join().unwrap();
    });
    assert_eq!(server.value("SELECT count(*) FROM pg_tables WHERE tablename = 'made'"), "1");
}

#[test]
fn a_serialization_failure_is_run_again() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]\nlock = \"60s\"");
    server.sql("CREATE TABLE counter (n int); INSERT INTO counter VALUES (1)");
    server.sql("ALTER ROLE postgres SET default_transaction_isolation = 'repeatable read'");
    takes_the_scene(&workspace);
    let up = "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' \
        AND objid = 77) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$; UPDATE counter SET n = n * 10;";
    workspace.migration("2_tens", up, "UPDATE counter SET n = n / 10;");
    let run = workspace.annals("migrate").start();
    let at_it = "SELECT count(*) FROM pg_stat_activity \
        WHERE application_name LIKE 'annals/%' AND wait_event = 'PgSleep'";
    wait_for("the step to be under way", || (server.value(at_it) == "1").then_some(()));
    server.sql("UPDATE counter SET n = n + 1");
    let _go = server.hold("SELECT pg_advisory_lock(77)");
    run.wait().expect(0).says(&["could not serialize access", "attempt 2 of", "applied 2_tens"]);
    assert_eq!(server.value("SELECT n FROM counter"), "20");
}

#[test]
fn a_step_gives_way_to_those_it_keeps_waiting() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 1\n[timeouts]\nmax_blocking = \"2s\"";
    let workspace = workspace(&server, keys);
    let up = "ALTER TABLE t1 ADD note text; SELECT pg_sleep(600);";
    workspace.migration("2_long", up, "ALTER TABLE t1 DROP note;");
    let run = workspace.annals("migrate").start();
    for _ in 0..2 {
        let has_t1 = "SELECT count(*) FROM pg_locks WHERE relation = 't1'::regclass \
            AND mode = 'AccessExclusiveLock' AND granted";
        wait_for("t1 to be locked", || (server.value(has_t1) == "1").then_some(()));
        // Without the watchdog it would wait for ten minutes.
        assert_eq!(server.value("SELECT count(*) FROM t1"), "0");
    }
    run.wait().expect(4).says(&[
        "warning: 2_long keeps others waiting: backend",
        "2_long.sql:1: gave way to others who would have waited for it longer than 2000 ms",
        "attempt 2 of 2",
        "given up after 2 attempts",
        "timeouts.max_blocking",
    ]);
    let columns =
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 't1'::regclass AND attnum > 0";
    assert_eq!(server.value(columns), "1", "nothing of it was kept");
}

#[test]
fn without_a_bound_others_are_told_of_and_wait() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]\nmax_blocking = \"0\"");
    let up = "ALTER TABLE t1 ADD note text; DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks \
        WHERE locktype = 'advisory' AND objid = 77) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;";
    workspace.migration("2_long", up, "ALTER TABLE t1 DROP note;");
    let run = workspace.annals("migrate").start();
    std::thread::scope(|scope| {
        let has_t1 = "SELECT count(*) FROM pg_locks WHERE relation = 't1'::regclass \
            AND mode = 'AccessExclusiveLock' AND granted";
        wait_for("t1 to be locked", || (server.value(has_t1) == "1").then_some(()));
        let application = scope.spawn(|| server.value("SELECT count(*) FROM t1"));
        // The server says for how long it has waited; the third look has told of it by then.
        let so_long = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
            AND query_start < clock_timestamp() - interval '4 s'";
        wait_for("the application to wait", || (server.value(so_long) == "1").then_some(()));
        let go = server.hold("SELECT pg_advisory_lock(77)");
        let ended = run.wait().expect(0);
        ended.says(&["warning: 2_long keeps others waiting: backend", "applied 2_long"]);
        drop(go);
        assert_eq!(application.join().unwrap(), "0");
    });
}

#[test]
fn locks_shows_who_holds_what_while_a_run_waits() {
    let server = Server::start();
    let fresh = Workspace::new(&server);
    fresh.tables(1);
    let nobody = fresh.annals("locks").run().expect(0).says(&["held by", "nobody"]);
    assert!(!nobody.out.contains("backend"), "{}", nobody.out);
    assert_eq!(server.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'annals'"), "0");
    assert!(!fresh.path("event-store").exists(), "a look makes no log");

    let workspace = workspace(&server, "[timeouts]\nlock = \"0\"");
    wants_t1(&workspace);
    let reader = server.hold(&format!("SELECT '{CANARY}' FROM t1"));
    let run = workspace.annals("migrate").start();
    wait_until_it_waits(&server);
    let shown = workspace.annals("locks --json").run().expect(0);
    never_says_the_canary(&workspace, &shown);
    let document = shown.json();
    let holder = &document["holder"];
    assert_eq!(document["format"], "annals.locks/1");
    let run_id = document["run"]["run"].as_str().unwrap();
    assert_eq!(holder["session"]["application"], format!("annals/{run_id}"));
    assert_eq!(holder["session"]["state"], "active");
    assert_eq!(holder["waits"], "Lock: relation");
    assert_eq!(holder["waits_for"][0]["application"], "annals-test");
    assert_eq!(holder["waits_for"][0]["state"], "idle in transaction");
    assert!(holder["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(document["run"]["by"], "tester");
    assert_eq!(document["run"]["at"][0]["step"], "2_note");
    assert_eq!(document["run"]["at"][0]["mode"], "transactional");
    assert_eq!(document["log_lock"]["held"], true);
    assert!(document["log_lock"]["holder"].as_str().unwrap().contains("annals migrate"));
    let words = ["held by", "2_note, one transaction", "waits for", "pg_terminate_backend"];
    workspace.annals("locks").run().expect(0).says(&words);
    drop(reader);
    run.wait().expect(0);
    let after = workspace.annals("locks --json").run().expect(0).json();
    assert!(after["holder"].is_null() && after["run"].is_null(), "{after}");
    assert_eq!(after["log_lock"]["held"], false);
}

#[test]
fn a_plan_says_what_stands_around_its_tables() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]\nlong_transaction = \"0\"");
    wants_t1(&workspace);
    server.sql(
        "CREATE FUNCTION watch_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
         CREATE EVENT TRIGGER guard ON ddl_command_end EXECUTE FUNCTION watch_ddl(); \
         CREATE PUBLICATION of_t1 FOR TABLE t1; CREATE PUBLICATION of_all FOR ALL TABLES; \
         CREATE TABLE elsewhere (); CREATE PUBLICATION of_else FOR TABLE elsewhere",
    );
    let reader = server.hold(&format!("SELECT '{CANARY}' FROM t1"));
    let aside = server.hold(&format!("SELECT '{CANARY}' FROM elsewhere"));
    let plan = workspace.annals("plan --json").run().expect(0);
    never_says_the_canary(&workspace, &plan);
    let document = plan.json();
    let notes: Vec<&str> =
        document["surroundings"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert!(notes[0].contains("(role postgres, application annals-test, idle in transaction)"));
    assert!(notes[0].ends_with("s: it holds locks on t1"), "{notes:#?}");
    let rest = [
        "event triggers fire on DDL here: guard (ddl_command_end, calls watch_ddl, of postgres)",
        "publication of_all publishes all tables, new ones too: subscribers do not get DDL",
        "publication of_t1 publishes t1: subscribers do not get DDL",
    ];
    assert_eq!(notes[1..], rest);
    drop((reader, aside));
    workspace.annals("plan").run().expect(0).says(&["note: publication of_t1"]);
    let ended = workspace.annals("migrate --allow-drift").run().expect(0).says(&["applied 2_note"]);
    let (before, _) = ended.err.split_once("applied 2_note").unwrap();
    assert!(before.contains("note: event triggers fire on DDL here: guard"), "{}", ended.err);
}

#[test]
fn a_role_that_may_see_little_is_told_so() {
    let server = Server::start_with(ServerOptions { tcp: true, ..ServerOptions::default() });
    server.sql(
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE app LOGIN PASSWORD 'p'; CREATE SCHEMA own AUTHORIZATION app; \
         GRANT CREATE ON DATABASE postgres TO app; GRANT ALL ON SCHEMA public TO app",
    );
    let url = format!("postgres://app:p@127.0.0.1:{}/postgres?sslmode=disable", server.tcp_port());
    let workspace = Workspace::with_url(&url);
    workspace.tables(1);
    workspace.annals("migrate").run().expect(0);
    wants_t1(&workspace);
    let _reader = server.hold("SELECT FROM t1");
    workspace.annals("plan").run().expect(0).says(&[
        "1 session with locks on tables of this plan; for how long is not visible to this role",
    ]);
    workspace.annals("locks").run().expect(0).says(&["nobody"]);
}

#[test]
fn what_the_server_says_of_a_file_is_shown_and_not_recorded() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]");
    let up = format!(
        "DO $$ BEGIN FOR i IN 1..25 LOOP RAISE NOTICE '{CANARY} row %', i; END LOOP; \
         RAISE WARNING 'look'; END $$;"
    );
    workspace.migration("2_talks", &up, "SELECT 1;");
    let ended = workspace.annals("migrate").run().expect(0).says(&[
        &format!("notice: {CANARY} row 1\n"),
        &format!("notice: {CANARY} row 20\n"),
        "… and 6 more of the server's messages",
    ]);
    assert!(!ended.err.contains("row 21"), "{}", ended.err);
    let log = fs::read_to_string(workspace.segment()).unwrap();
    assert!(!log.contains(CANARY));
    workspace.migration("3_talks", &up, "SELECT 1;");
    let silent = workspace.annals("migrate --json").run().expect(0);
    assert_eq!(silent.err, "");
}

#[test]
fn what_a_file_leaves_in_the_session_is_told_and_taken_away() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]");
    server.sql("CREATE ROLE other");
    let leaves = "SELECT pg_advisory_lock(5), pg_advisory_lock(5), pg_advisory_lock_shared(1, -2); \
        SET work_mem = '123MB'; SET ROLE other; LISTEN news;";
    let leaves = leaves.replace("LISTEN news;", "DO 'BEGIN EXECUTE ''LISTEN news''; END';");
    workspace.migration("2_leaves", &leaves, "SELECT 1;");
    let look = "CREATE TABLE seen AS SELECT count(*) AS locks FROM pg_locks \
        WHERE locktype = 'advisory' AND pid = pg_backend_pid();";
    workspace.migration("3_look", look, "DROP TABLE seen;");
    let temp = "CREATE TEMP TABLE scratch (); DECLARE kept CURSOR WITH HOLD FOR SELECT 1;";
    workspace.migration("4_last", temp, "SELECT 1;");
    let ended = workspace.annals("migrate --json").run().expect(0);
    let notes = ended.json()["notes"].to_string();
    let told = [
        "2_leaves left in the session: role other; session advisory lock (1, -2), (5); \
         setting work_mem; LISTEN on news; reset",
        "4_last left in the session: temporary relation scratch; cursor WITH HOLD kept; reset",
    ];
    for line in told {
        assert!(notes.contains(line), "{notes}");
    }
    assert!(!notes.contains("3_look left"), "{notes}");
    assert_eq!(server.value("SELECT locks FROM seen"), "1", "only that of annals");
}

#[test]
fn a_concurrent_build_says_whom_it_waits_for() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]");
    let up = "-- annals: transaction=off\nCREATE INDEX CONCURRENTLY i ON t1 (id);";
    workspace.migration("2_index", up, "DROP INDEX i;");
    let writer = server.hold(&format!("INSERT INTO t1 VALUES (1); SELECT '{CANARY}'"));
    let run = workspace.annals("migrate").start();
    wait_until_it_waits(&server);
    let looked = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'annals/%/watch' \
        AND query_start > backend_start + interval '1 s'";
    wait_for("two looks at it", || (server.value(looked) != "0").then_some(()));
    // Whoever looks has no transaction open between two looks: the build would wait for it.
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'annals/%/watch' \
        AND state LIKE 'idle in transaction%'";
    assert_eq!(server.value(idle), "0");
    drop(writer);
    let ended = run.wait().expect(0).says(&[
        "waits 2_index: blocked by backend",
        "application annals-test, idle in transaction",
        "applied 2_index",
    ]);
    never_says_the_canary(&workspace, &ended);
    assert_eq!(
        server.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"),
        "true"
    );
}

#[test]
fn prepared_transactions_and_slots_are_told_of() {
    let mut server = Server::start();
    let workspace = workspace(&server, "[timeouts]");
    wants_t1(&workspace);
    server.sql("ALTER SYSTEM SET max_prepared_transactions = 2");
    server.sql("ALTER SYSTEM SET wal_level = logical");
    server.crash();
    server.start_again();
    server.sql("CREATE PUBLICATION of_t1 FOR TABLE t1");
    takes_the_scene(&workspace);
    server.sql("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')");
    server.sql("BEGIN; INSERT INTO t1 VALUES (1); PREPARE TRANSACTION 'left behind'");
    workspace.annals("plan").run().expect(0).says(&[
        "the transaction \"left behind\" of postgres has been prepared for",
        "s and holds locks on t1; it lasts until somebody ends it with COMMIT PREPARED",
        "replication slot feed: not active, so the server keeps WAL for it",
    ]);
    let keys = "[policy]\nlock_retries = 0\n";
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config.replace("[timeouts]", &format!("{keys}[timeouts]")));
    let ended = workspace.annals("migrate").run().expect(15);
    ended.says(&["given up after 1 attempt in", "blocked by a prepared transaction"]);
    server.sql("ROLLBACK PREPARED 'left behind'");
    workspace.annals("migrate").run().expect(0);
}

#[test]
fn all_steps_of_one_transaction_are_run_again_together() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 30\n[timeouts]\nlock = \"400ms\"\nmax_blocked = \"0\"";
    let workspace = workspace(&server, keys);
    workspace.migration("2_made", "CREATE TABLE made ();", "DROP TABLE made;");
    workspace.migration("3_note", "ALTER TABLE t1 ADD note text;", "ALTER TABLE t1 DROP note;");
    let reader = server.hold("SELECT FROM t1");
    let run = workspace.annals("migrate --single-transaction").start();
    wait_until_it_lost(&server);
    assert_eq!(server.value("SELECT count(*) FROM pg_tables WHERE tablename = 'made'"), "0");
    drop(reader);
    run.wait().expect(0).says(&["again 3_note: rolled back", "applied 2_made", "applied 3_note"]);
    assert_eq!(server.value("SELECT count(DISTINCT xid) FROM annals.ledger"), "2");
    workspace.annals("verify").run().expect(0);
}

// --- files outside a transaction -----------------------------------------------------------------

const OFF: &str = "-- annals: transaction=off\n";

#[test]
fn a_statement_of_a_file_without_a_transaction_is_tried_again_too() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 2\n[timeouts]\nlock = \"400ms\"";
    let workspace = workspace(&server, keys);
    let (up, down) = ("ALTER TABLE t1 ADD note text;", "ALTER TABLE t1 DROP note;");
    workspace.migration("2_note", &format!("{OFF}{up}"), &format!("{OFF}{down}"));
    let reader = server.hold(&format!("SELECT '{CANARY}' FROM t1"));
    let ended = workspace.annals("migrate").run().expect(15).says(&[
        "given up after 3 attempts",
        "attempt 3 of 3",
        "blocked by backend",
        "SELECT pg_terminate_backend(",
        "the file is fine",
    ]);
    never_says_the_canary(&workspace, &ended);
    drop(reader);
    workspace.annals("migrate").run().expect(0).says(&["applied 2_note"]);
}

#[test]
fn a_statement_of_a_file_without_a_transaction_gives_way_too() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 1\n[timeouts]\nmax_blocking = \"1500ms\"";
    let workspace = workspace(&server, keys);
    let up = "DO $$ BEGIN ALTER TABLE t1 ADD note text; PERFORM pg_sleep(20); END $$;";
    let down = "ALTER TABLE t1 DROP note;";
    workspace.migration("2_note", &format!("{OFF}{up}"), &format!("{OFF}{down}"));
    let run = workspace.annals("migrate").start();
    let asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_for("the run to sleep with its lock", || server.rows(asleep).pop());
    assert_eq!(server.value("SELECT count(*) FROM t1"), "0", "it gets its turn");
    assert!(run.wait().expect(0).says(&["gave way to others", "applied 2_note"]).err.len() > 1);
}

#[test]
fn a_backfill_is_tried_as_often_as_the_policy_says() {
    let server = Server::start();
    let keys = "[policy]\nlock_retries = 2\n[timeouts]\nlock = \"300ms\"";
    let workspace = workspace(&server, keys);
    server.sql(
        "CREATE TABLE rows_of (id int PRIMARY KEY, done bool); \
                INSERT INTO rows_of SELECT n, false FROM generate_series(1, 100) n",
    );
    takes_the_scene(&workspace);
    let up = "-- annals: backfill=rows_of.id, batch=50\n\
              UPDATE rows_of SET done = true WHERE id BETWEEN :from AND :to;\n";
    workspace.migration("2_fill", up, &format!("{OFF}UPDATE rows_of SET done = false;"));
    let holder = server.hold("LOCK TABLE rows_of IN SHARE MODE");
    let ended = workspace.annals("migrate").run().expect(5);
    ended.says(&["attempt 3 of 3", "given up after 3 attempts", "blocked by", "the file is fine"]);
    drop(holder);
    workspace.annals("migrate").run().expect(0).says(&["applied 2_fill"]);
}

#[test]
fn an_unfinished_index_of_ours_is_dropped_when_its_table_is_free() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]\nlock = \"300ms\"");
    let (up, down) = ("CREATE INDEX CONCURRENTLY i1 ON t1 (id);", "DROP INDEX CONCURRENTLY i1;");
    workspace.migration("2_i1", &format!("{OFF}{up}"), &format!("{OFF}{down}"));
    let writer = server.hold("INSERT INTO t1 VALUES (1)");
    let killed = workspace.annals("migrate").start();
    let there = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%' \
        AND wait_event_type = 'Lock'";
    let backend = wait_for("the build to wait", || server.rows(there).pop());
    killed.signal("KILL");
    killed.wait();
    server.sql(&format!("SELECT pg_terminate_backend({backend})"));
    let again = workspace.annals("migrate").start();
    let dropping = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DROP INDEX CONCURRENTLY%' \
        AND wait_event_type = 'Lock'";
    wait_for("the drop to wait", || server.rows(dropping).pop());
    // Longer than a lock of a transaction is awaited.
    std::thread::sleep(std::time::Duration::from_secs(1));
    drop(writer);
    again.wait().expect(0).says(&["applied 2_i1"]);
    assert_eq!(
        server.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i1'::regclass"),
        "true"
    );
}

#[test]
fn a_file_that_lets_others_in_is_stopped_and_named() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]");
    // A block that ends transactions is outside of any: what it did stays.
    let up = "DO $$ BEGIN COMMIT; PERFORM pg_advisory_unlock_all(); END $$;";
    workspace.migration("2_open", &format!("{OFF}{up}"), &format!("{OFF}SELECT 1;"));
    workspace.annals("migrate").run().expect(5).says(&["has released the lock of the run"]);
    workspace.annals("migrate").run().expect(0).says(&["applied 2_open"]);
    let up = "SELECT pg_advisory_unlock_all();\nCREATE TABLE t3 (id int);";
    workspace.migration("3_t3", &format!("{OFF}{up}"), &format!("{OFF}DROP TABLE t3;"));
    workspace.annals("migrate").run().expect(4).says(&["released the lock of the run"]);
    workspace.migration("3_t3", up, "DROP TABLE t3;");
    let ended = workspace.annals("migrate").run().expect(4);
    ended.says(&["3_t3", "released the lock of the run", "pg_advisory_unlock(key)"]);
    assert_eq!(server.value("SELECT to_regclass('t3') IS NULL"), "true");
}

#[test]
fn a_table_that_somebody_changes_is_waited_for_when_the_schema_is_read() {
    let server = Server::start();
    let workspace = workspace(&server, "[timeouts]\nlock = \"400ms\"");
    server.sql("CREATE TABLE apart (id int DEFAULT 1)");
    let holder = server.hold("ALTER TABLE apart ADD note text DEFAULT 'none'");
    let verified = workspace.annals("verify").start();
    wait_until_it_waits(&server);
    std::thread::sleep(std::time::Duration::from_millis(700));
    drop(holder);
    verified.wait().expect(11).says(&["table public.apart"]);
}

#[test]
fn who_changes_a_table_for_too_long_is_named_and_nothing_is_run() {
    let server = Server::start();
    let said = "[policy]\nlock_retries = 1\n[timeouts]\nlock = \"200ms\"";
    let workspace = workspace(&server, said);
    workspace.migration("2_one", "CREATE TABLE one (id int);", "DROP TABLE one;");
    server.sql("CREATE TABLE apart (id int DEFAULT 1)");
    let _holder = server.hold("ALTER TABLE apart ADD note text DEFAULT 'none'");
    for command in ["verify", "migrate"] {
        let ended = workspace.annals(command).run().expect(15);
        ended.says(&["cannot be read", "held by backend", "role", "run the command again"]);
    }
    assert_eq!(server.value("SELECT to_regclass('one') IS NULL"), "true");
}
