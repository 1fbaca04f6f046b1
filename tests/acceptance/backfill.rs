//! Backfills: every row is met once, wherever the run is stopped.

use annals_testkit::{Cut, Outcome, Proxy, Running, Server, ServerOptions, Workspace, wait_for};

/// A table of 95 rows whose trigger notes every change of a row.
fn orders() -> Server {
    orders_on(ServerOptions::default())
}

fn orders_on(options: ServerOptions) -> Server {
    let server = Server::start_with(options);
    server.sql(
        "CREATE TABLE orders (id bigint PRIMARY KEY, cents int, note text); \
         CREATE TABLE touches (id bigint, what text); CREATE TABLE gate (id bigint); \
         CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO public.touches VALUES (NEW.id, coalesce(NEW.note, 'none')); \
             PERFORM pg_sleep(60) FROM public.gate WHERE gate.id = NEW.id; RETURN NEW; END $$; \
         CREATE TRIGGER touched AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touched(); \
         INSERT INTO orders SELECT n * 3, n, 'old' FROM generate_series(1, 95) n; ANALYZE orders",
    );
    server
}

const UP: &str = "UPDATE orders SET note = 'new' WHERE id BETWEEN :from AND :to;\n";
const DOWN: &str = "UPDATE orders SET note = 'old' WHERE id >= :from AND id <= :to;\n";

fn directives(pause: &str) -> String {
    format!("-- annals: backfill=orders.id, batch=10, pause={pause}\n")
}

/// A workspace whose only migration is a backfill in both directions.
fn backfill(server: &Server, pause: &str) -> Workspace {
    let workspace = Workspace::new(server);
    let head = directives(pause);
    workspace.migration("1_notes", &format!("{head}{UP}"), &format!("{head}{DOWN}"));
    workspace
}

#[track_caller]
fn ran(workspace: &Workspace, line: &str, code: i32) -> Outcome {
    workspace.annals(line).run().expect(code)
}

fn wait_until_nobody_works(server: &Server) {
    let backends = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%'";
    wait_for("the end of every backend of a run", || {
        server.rows(backends).is_empty().then_some(())
    });
}

fn touches(server: &Server, what: &str) -> usize {
    server.rows(&format!("SELECT id FROM touches WHERE what = '{what}'")).len()
}

/// Every one of `rows` rows was set to `what` exactly once.
#[track_caller]
fn each_once(server: &Server, what: &str, rows: usize) {
    let twice =
        format!("SELECT id FROM touches WHERE what = '{what}' GROUP BY id HAVING count(*) > 1");
    assert_eq!(server.rows(&twice), [""; 0], "rows that were met twice");
    assert_eq!(touches(server, what), rows, "rows that were met");
}

#[track_caller]
fn all_is_well(workspace: &Workspace) {
    ran(workspace, "verify", 0);
    ran(workspace, "log verify", 0);
}

/// Batches that are committed, of the backfill that was begun last.
fn batches(server: &Server) -> usize {
    let there = server.value("SELECT to_regclass('annals.backfills') IS NOT NULL");
    let newest = "SELECT batches FROM annals.backfills ORDER BY started_at DESC LIMIT 1";
    match there.as_str() {
        "true" => server.rows(newest).first().map_or(0, |batches| batches.parse().unwrap()),
        _ => 0,
    }
}

fn wait_for_batches(server: &Server, number: usize) {
    wait_for("the batches to be done", || (batches(server) >= number).then_some(()));
}

/// Points of a backfill of ten batches, and how many of them are committed there.
const POINTS: [(&str, usize); 14] = [
    ("after_statement_intent", 0),
    ("after_backfill_begun", 0),
    ("in_batch:1", 0),
    ("in_batch:4", 3),
    ("in_batch:10", 9),
    ("before_batch_commit:1", 0),
    ("before_batch_commit:5", 4),
    ("before_batch_commit:10", 9),
    ("after_batch:1", 1),
    ("after_batch:6", 6),
    ("after_batch:10", 10),
    ("after_statement_effect", 10),
    ("after_statement_row", 10),
    ("before_commit", 10),
];

/// Kills a backfill at every second of the points, beginning with `from`, in both directions.
fn killed_at_points(from: usize) {
    let server = orders();
    for (n, (point, done)) in POINTS.iter().enumerate().skip(from).step_by(2) {
        let workspace = backfill(&server, "0");
        for (line, what) in [("migrate", "new"), ("rollback --last 1", "old")] {
            let about = format!("{line} at {point}");
            workspace.annals(line).env("ANNALS_FAILPOINT", point).run().expect(-1);
            wait_until_nobody_works(&server);
            let kept = (done * 10).min(95);
            assert_eq!(touches(&server, what), kept, "{about}");
            let next = ["status", "verify", "history", line][n % 4];
            let code = if next == "verify" { 11 } else { 0 };
            let settled = workspace.annals(next).run().expect(code);
            if next != "history" {
                settled.says(&["recovered a run by tester", "1_notes is half done"]);
            }
            if next == "status" && *done > 0 {
                let far = format!("{kept} of about 95 rows done, in {done} batch");
                ran(&workspace, "status", 0).says(&["half done", &far]);
            }
            if next != line {
                ran(&workspace, line, 0);
            }
            each_once(&server, what, 95);
            assert_eq!(batches(&server), 10, "{about}");
        }
        all_is_well(&workspace);
        server.sql("DROP SCHEMA annals CASCADE; TRUNCATE touches");
    }
}

#[test]
fn a_backfill_goes_on_behind_its_last_batch_wherever_it_is_killed() {
    killed_at_points(0);
}

#[test]
fn a_backfill_goes_on_behind_its_last_batch_at_the_other_points_too() {
    killed_at_points(1);
}

#[track_caller]
fn interrupted(running: Running) -> Outcome {
    running.signal("INT");
    running.wait().expect(130)
}

#[test]
fn a_backfill_is_stopped_between_two_batches() {
    let server = orders();
    let workspace = backfill(&server, "1h");
    let running = workspace.annals("migrate").start();
    wait_for_batches(&server, 1);
    interrupted(running).says(&["stopped on request"]);
    assert_eq!(touches(&server, "new"), 10);
    ran(&workspace, "status", 0).says(&["half done", "10 of about 95 rows done, in 1 batch"]);
    // Its pace may be changed.
    workspace.write("migrations/1_notes.sql", format!("{}{UP}", directives("0")));
    ran(&workspace, "migrate", 0);
    each_once(&server, "new", 95);
    all_is_well(&workspace);
}

/// Closes the gate at row 54, which is in the second batch.
fn close_gate(server: &Server) {
    server.sql("INSERT INTO gate VALUES (54)");
}

fn wait_at_gate(server: &Server) -> String {
    let asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_for("a run at the gate", || server.rows(asleep).pop())
}

#[test]
fn a_backfill_is_stopped_inside_a_batch() {
    let server = orders();
    let workspace = backfill(&server, "0");
    close_gate(&server);
    let running = workspace.annals("migrate").start();
    wait_at_gate(&server);
    interrupted(running).says(&["stopped on request"]);
    assert_eq!(touches(&server, "new"), 10, "the batch that was under way has left nothing");
    server.sql("TRUNCATE gate");
    ran(&workspace, "migrate", 0);
    each_once(&server, "new", 95);
    all_is_well(&workspace);
}

#[test]
fn a_backfill_goes_on_behind_a_crash_of_the_server() {
    let mut server = orders();
    let workspace = backfill(&server, "0");
    close_gate(&server);
    let running = workspace.annals("migrate").start();
    wait_at_gate(&server);
    server.crash();
    let stopped = running.wait();
    assert_ne!(stopped.code, 0, "{stopped:?}");
    server.start_again();
    assert_eq!(touches(&server, "new"), 10);
    server.sql("TRUNCATE gate");
    ran(&workspace, "status", 0).says(&["half done", "10 of about 95"]);
    ran(&workspace, "migrate", 0);
    each_once(&server, "new", 95);
    all_is_well(&workspace);
}

/// Cuts the connection around the commit of the third batch: the fourth `COMMIT`, behind the one of
/// the backfill's beginning.
fn cut_around_a_commit(cut: Cut, kept: usize) {
    let server = orders_on(ServerOptions { tcp: true, ..Default::default() });
    let proxy = Proxy::start(server.tcp_port(), cut, 4);
    let (from, to) = (server.tcp_port().to_string(), proxy.port().to_string());
    let workspace = Workspace::with_url(&server.tcp_url().replace(&from, &to));
    let file = format!("{}{UP}", directives("0"));
    workspace.migration("1_notes", &file, "SELECT 1;");
    ran(&workspace, "migrate", 5).says(&["the connection was lost"]);
    wait_until_nobody_works(&server);
    assert_eq!(touches(&server, "new"), kept);
    ran(&workspace, "migrate", 0);
    each_once(&server, "new", 95);
    all_is_well(&workspace);
}

#[test]
fn a_batch_whose_commit_never_arrived_is_done_again() {
    cut_around_a_commit(Cut::BeforeCommit, 20);
}

#[test]
fn a_batch_whose_commit_was_only_not_answered_is_not_done_again() {
    cut_around_a_commit(Cut::AfterCommit, 30);
}

#[test]
fn a_batch_that_fails_keeps_those_before_it_and_the_statement_may_be_corrected() {
    let server = orders();
    let workspace = backfill(&server, "0");
    server.sql("ALTER TABLE orders ADD CHECK (id <> 150 OR note <> 'new')");
    for _ in 0..2 {
        ran(&workspace, "migrate", 5)
            .says(&["violates check constraint", "annals migrate continues"]);
        assert_eq!(touches(&server, "new"), 40);
    }
    ran(&workspace, "rollback --last 1", 3);
    let corrected = UP.replace("'new'", "CASE id WHEN 150 THEN 'other' ELSE 'new' END");
    workspace.write("migrations/1_notes.sql", format!("{}{corrected}", directives("0")));
    ran(&workspace, "migrate", 0);
    each_once(&server, "new", 94);
    each_once(&server, "other", 1);
    all_is_well(&workspace);
}

#[test]
fn rows_added_meanwhile_do_not_lead_a_backfill_on() {
    let server = orders();
    let workspace = backfill(&server, "20ms");
    let running = workspace.annals("migrate").start();
    wait_for_batches(&server, 1);
    let mut added = 0;
    while batches(&server) < 10 && added < 5_000 {
        added += 1;
        // Behind the largest key, and in the gaps between the others.
        server.sql(&format!(
            "INSERT INTO orders VALUES ({}, 0, 'late'); \
             INSERT INTO orders SELECT 3 * (1 + {added} % 95) + 1 + {added} / 95, 0, 'between' \
             WHERE {added} < 190",
            1_000 + added
        ));
    }
    running.wait().expect(0);
    assert!(added > 0);
    let met = "SELECT count(*) FROM (SELECT id FROM touches WHERE id % 3 = 0 AND id <= 285 \
               GROUP BY id HAVING count(*) = 1) q";
    assert_eq!(server.value(met), "95", "each row that was there, once");
    let twice = "SELECT id FROM touches GROUP BY id HAVING count(*) > 1";
    assert_eq!(server.rows(twice), [""; 0]);
    assert_eq!(server.rows("SELECT id FROM touches WHERE id > 285"), [""; 0]);
    assert_eq!(server.value("SELECT upper_key FROM annals.backfills"), "285");
    all_is_well(&workspace);
}

#[test]
fn a_batch_that_meets_a_lock_is_tried_again_and_smaller() {
    let server = orders();
    let workspace = Workspace::new(&server);
    let head = "-- annals: backfill=orders.id, batch=10, pause=0, lock_timeout=100ms\n";
    workspace.migration("1_notes", &format!("{head}{UP}"), "SELECT 1;");
    let holder = server.hold("SELECT FROM orders WHERE id = 54 FOR UPDATE");
    let running = workspace.annals("migrate").start();
    let waiting = "SELECT xact_start FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND application_name LIKE 'annals/%'";
    let first = wait_for("the batch to wait", || server.rows(waiting).pop());
    wait_for("the batch to be tried again", || {
        server.rows(waiting).pop().filter(|attempt| *attempt != first)
    });
    drop(holder);
    running.wait().expect(0);
    each_once(&server, "new", 95);
    assert!(batches(&server) > 10, "batches became smaller");
    all_is_well(&workspace);
}

#[test]
fn a_lock_that_is_never_given_back_ends_the_run_and_keeps_what_is_done() {
    let server = orders();
    let workspace = Workspace::new(&server);
    let head = "-- annals: backfill=orders.id, batch=10, pause=0, lock_timeout=1ms\n";
    workspace.migration("1_notes", &format!("{head}{UP}"), "SELECT 1;");
    let holder = server.hold("SELECT FROM orders WHERE id = 54 FOR UPDATE");
    ran(&workspace, "migrate", 5).says(&["lock timeout", "55P03"]);
    let kept = touches(&server, "new");
    assert!((10..18).contains(&kept), "{kept} rows before the locked one");
    drop(holder);
    ran(&workspace, "migrate", 0);
    each_once(&server, "new", 95);
    all_is_well(&workspace);
}

/// Goes through `keys` (SQL that gives them) of type `key` in batches of three, and wants each met
/// once; is killed on the way.
fn goes_through(server: &Server, key: &str, keys: &str) {
    server.sql(&format!(
        "CREATE TABLE \"Odd, table\" (\"The \"\"key\"\"\" {key} NOT NULL, met int NOT NULL DEFAULT 0); \
         INSERT INTO \"Odd, table\" {keys}; CREATE INDEX ON \"Odd, table\" (\"The \"\"key\"\"\")"
    ));
    let workspace = Workspace::new(server);
    let up = "-- annals: backfill=public.\"Odd, table\".\"The \"\"key\"\"\", batch=3, pause=0\n\
              UPDATE \"Odd, table\" AS t SET met = met + 1 -- :from is no placeholder here\n\
              WHERE t.\"The \"\"key\"\"\" BETWEEN :from AND :to AND ':to' = ':to';\n";
    workspace.migration("1_odd", up, "SELECT 1;");
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_batch:2").run().expect(-1);
    wait_until_nobody_works(server);
    ran(&workspace, "migrate", 0);
    let not_once = "SELECT \"The \"\"key\"\"\" FROM \"Odd, table\" WHERE met <> 1";
    assert_eq!(server.rows(not_once), [""; 0], "{key}");
    let rows = server.value("SELECT count(*) FROM \"Odd, table\"");
    assert_eq!(server.value("SELECT rows_done FROM annals.backfills"), rows, "{key}");
    all_is_well(&workspace);
    server.sql("DROP SCHEMA annals CASCADE; DROP TABLE \"Odd, table\"");
}

#[test]
fn keys_of_every_type_lead_through_the_whole_table() {
    let server = Server::start();
    // What a session shows of a time, and how it reads one, must not matter.
    server.sql("ALTER DATABASE postgres SET datestyle = 'SQL, DMY'");
    server.sql("ALTER DATABASE postgres SET timezone = 'Asia/Kolkata'");
    server.sql("CREATE DOMAIN code AS varchar(20)");
    let series = |value: &str| format!("SELECT {value} FROM generate_series(1, 20) n");
    for (key, value) in [
        ("smallint", "n - 10"),
        ("int", "n - 10"),
        ("bigint", "n * 1000000000000 - 9"),
        ("numeric(12, 3)", "n / 7.0"),
        ("uuid", "md5(n::text)::uuid"),
        ("date", "date '2020-02-25' + n"),
        ("timestamp", "timestamp '2020-03-28 23:59:59.123456' + n * interval '7 hours 1 us'"),
        (
            "timestamptz",
            "timestamptz '2020-03-28 23:59:59.123456+01' + n * interval '7 hours 1 us'",
        ),
        ("char(5)", "chr(64 + n)"),
        ("code", "chr(64 + n)"),
        ("text COLLATE \"C\"", "chr(64 + n) || chr(90 - n)"),
        // Ties: rows of one key belong to one batch.
        ("int", "n / 6"),
    ] {
        goes_through(&server, key, &series(value));
    }
}

#[test]
fn keys_of_any_characters_are_quoted() {
    let server = Server::start();
    let keys = "VALUES (''), (''''), ('\\'), ('\\'''), (E'a\\nb'), ('%L'), ('$1'), (':to'), ('--'), \
                ('é'), ('\"'), ('; DROP TABLE \"Odd, table\"; --'), ('E''\\'''), ('{}')";
    for off in ["on", "off"] {
        server.sql(&format!("ALTER DATABASE postgres SET standard_conforming_strings = {off}"));
        let keys = if off == "off" { keys.replace('\\', "\\\\") } else { keys.to_owned() };
        let keys = keys.replace("E'a\\\\n", "E'a\\n");
        goes_through(&server, "text", &keys);
    }
}

#[test]
fn an_empty_table_is_gone_through_at_once() {
    let server = orders();
    server.sql("TRUNCATE orders");
    let workspace = backfill(&server, "1h");
    ran(&workspace, "migrate", 0);
    ran(&workspace, "rollback --last 1", 0);
    assert_eq!(touches(&server, "new"), 0);
    all_is_well(&workspace);
}

#[test]
fn rows_are_deleted_and_copied_in_batches_too() {
    let server = orders();
    server.sql("CREATE TABLE kept (LIKE orders)");
    let workspace = Workspace::new(&server);
    let copy = "INSERT INTO kept SELECT o.* FROM orders o WHERE o.id BETWEEN :from AND :to;\n";
    let delete = "DELETE FROM orders WHERE :to >= id AND cents % 2 = 0 AND (:from <= id);\n";
    let head = directives("0");
    workspace.migration("1_copy", &format!("{head}{copy}"), "TRUNCATE kept;");
    workspace.migration("2_delete", &format!("{head}{delete}"), "SELECT 1;");
    for point in ["before_batch_commit:3", "after_batch:12"] {
        workspace.annals("migrate").env("ANNALS_FAILPOINT", point).run().expect(-1);
        wait_until_nobody_works(&server);
    }
    ran(&workspace, "migrate", 0);
    assert_eq!(server.value("SELECT count(*) || ' ' || count(DISTINCT id) FROM kept"), "95 95");
    assert_eq!(server.value("SELECT count(*) FROM orders WHERE cents % 2 = 0"), "0");
    assert_eq!(server.value("SELECT count(*) FROM orders"), "48");
    all_is_well(&workspace);
}

#[test]
fn a_key_that_leads_nowhere_is_refused_before_anything() {
    let server = orders();
    server.sql(
        "CREATE TABLE odd (a int, b int NOT NULL, c jsonb NOT NULL, d int NOT NULL, e int NOT NULL, \
         f float8 PRIMARY KEY); CREATE INDEX ON odd (a); CREATE INDEX ON odd (d) WHERE d > 0; \
         CREATE INDEX ON odd (b, e); CREATE VIEW seen AS SELECT id FROM orders",
    );
    let workspace = Workspace::new(&server);
    for (key, says) in [
        ("nothing.id", "there is no table nothing"),
        ("orders.nothing", "public.orders has no column nothing"),
        ("seen.id", "public.seen is no table"),
        ("odd.a", "public.odd.a may be NULL"),
        ("odd.c", "public.odd.c has the type jsonb"),
        ("odd.d", "public.odd.d leads no btree index"),
        ("odd.e", "public.odd.e leads no btree index"),
        ("odd.f", "public.odd.f has the type double precision"),
    ] {
        let column = key.split_once('.').unwrap().1;
        let up = format!(
            "-- annals: backfill={key}\nUPDATE orders SET cents = 0 WHERE {column} BETWEEN :from AND :to;"
        );
        workspace.migration("1_notes", &up, "SELECT 1;");
        for line in ["plan", "migrate"] {
            ran(&workspace, line, 3).says(&["migrations/1_notes.sql:2:1: ", says]);
        }
    }
    assert!(!workspace.path("event-store/db").exists(), "nothing is begun");
    assert_eq!(server.value("SELECT to_regclass('annals.ledger') IS NULL"), "true");
}

#[test]
fn a_plan_shows_how_a_backfill_is_cut() {
    let server = orders();
    let workspace = backfill(&server, "250ms");
    ran(&workspace, "plan", 0).says(&[
        "a transaction for each batch",
        "BETWEEN :from AND :to",
        "[in batches of 10 rows by orders.id, 250 ms apart]",
        "1_notes: about 95 rows of public.orders to go through, in about 10 batches",
    ]);
    let plan = ran(&workspace, "plan --json", 0).json();
    assert_eq!(plan["steps"][0]["statements"][0]["class"], "backfill");
    assert_eq!(plan["steps"][0]["statements"][0]["batches"]["rows"], 10);
}

#[test]
fn a_backfill_that_is_under_way_keeps_its_key_and_may_be_corrected() {
    let server = orders();
    server
        .sql("ALTER TABLE orders ADD other bigint; UPDATE orders SET other = id; TRUNCATE touches");
    server.sql("ALTER TABLE orders ALTER other SET NOT NULL; CREATE INDEX ON orders (other)");
    let workspace = backfill(&server, "0");
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_batch:4").run().expect(-1);
    wait_until_nobody_works(&server);
    let file = "migrations/1_notes.sql";
    let other = format!("{}{UP}", directives("0")).replace("orders.id", "orders.other");
    workspace.write(file, other.replace("WHERE id", "WHERE other"));
    ran(&workspace, "migrate", 5).says(&["4 batches by public.orders.id (bigint) are done"]);
    workspace.write(file, "-- annals: transaction=off\nUPDATE orders SET note = 'new';\n");
    ran(&workspace, "migrate", 5).says(&["4 batches by public.orders.id (bigint) are done"]);
    workspace.write(file, "UPDATE orders SET note = 'new';\n");
    ran(&workspace, "migrate", 3).says(&["1_notes", "its backfill"]);
    assert_eq!(touches(&server, "new"), 40);
    workspace.write(file, format!("{}{}", directives("0"), UP.replace("'new'", "'newer'")));
    ran(&workspace, "migrate", 0).says(&["4 batches were done in an earlier form"]);
    each_once(&server, "new", 40);
    each_once(&server, "newer", 55);
    all_is_well(&workspace);
}

#[test]
fn progress_that_was_written_by_hand_is_not_believed() {
    let server = orders();
    let workspace = backfill(&server, "0");
    workspace.migration("0_before", "SELECT 1;", "SELECT 1;");
    ran(&workspace, "migrate --to 0", 0);
    server.sql(
        "INSERT INTO annals.backfills (workspace, version_key, ordinal, statement, key_column, \
         key_type, upper_key, last_key, batches, sql_sha256, run) VALUES ('test', '1', 1, 1, \
         'public.orders.id', 'bigint', '285', '285', 10, repeat('0', 64), gen_random_uuid())",
    );
    ran(&workspace, "migrate", 5).says(&["a row of annals.backfills was added by hand"]);
    assert_eq!(touches(&server, "new"), 0);
    server.sql("DELETE FROM annals.backfills");
    ran(&workspace, "migrate", 0);
    each_once(&server, "new", 95);
}

#[test]
fn a_ledger_of_an_older_format_learns_to_keep_progress() {
    let server = orders();
    for format in [1, 2] {
        let workspace = backfill(&server, "0");
        workspace.migration("0_before", "SELECT 1;", "SELECT 1;");
        ran(&workspace, "migrate --to 0", 0);
        let older = if format == 1 { "DROP TABLE annals.checkpoints;" } else { "" };
        server.sql(&format!(
            "DROP TABLE annals.backfills; {older} \
             COMMENT ON TABLE annals.ledger IS 'annals ledger format {format}: rows'; \
             COMMENT ON SCHEMA annals IS 'annals ledger format {format}'"
        ));
        for line in ["status", "plan", "verify"] {
            ran(&workspace, line, 0);
        }
        ran(&workspace, "migrate", 0);
        each_once(&server, "new", 95);
        let said = "SELECT obj_description('annals.ledger'::regclass, 'pg_class') LIKE \
                    'annals ledger format 3:%' AND obj_description('annals'::regnamespace, \
                    'pg_namespace') = 'annals ledger format 3'";
        assert_eq!(server.value(said), "true");
        all_is_well(&workspace);
        server.sql("DROP SCHEMA annals CASCADE; TRUNCATE touches");
    }
}
