//! Files of every kind: data behind `COPY`, files too large for a plan.

use std::fmt::Write as _;
use std::fs;

use annals_testkit::{Server, Workspace, wait_for};

const COPIES: &str = "\
SET standard_conforming_strings = on;
CREATE TABLE shop (id int PRIMARY KEY, name text);
COPY shop (id, name) FROM stdin; -- the first ones
1\tapple; 'red'
2\t\\N
\\.
INSERT INTO shop VALUES (3, 'c;');
COPY shop FROM STDIN WITH (FORMAT csv, HEADER);\r
id,name\r
4,\"two
lines; \"\"x\"\"\"\r
\\.\r
COPY shop FROM stdin;
\\.
COPY shop FROM stdin WHERE id > 5;
5\tleft out
6\tkept
\\.
";

#[test]
fn copy_takes_its_data_from_the_file() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration("1_shop", COPIES, "DROP TABLE shop;");
    let plan = workspace.annals("plan").run().expect(0);
    plan.says(&["COPY shop (id, name) FROM stdin  [2 lines of data]", "  [0 lines of data]"]);
    let dry = workspace.annals("migrate --dry-run").run().expect(0);
    dry.says(&["1\tapple; 'red'\n2\t\\N\n\\.\n"]);
    workspace.annals("migrate").run().expect(0);
    let rows = server.rows("SELECT concat_ws('|', id, name) FROM shop ORDER BY id");
    assert_eq!(rows, ["1|apple; 'red'", "2", "3|c;", "4|two\nlines; \"x\"", "6|kept"]);
    workspace.annals("verify").run().expect(0);

    // Formatted anew, and with other data.
    let other = COPIES.replace("CREATE TABLE shop", "CREATE  TABLE\n  shop");
    workspace.write("migrations/1_shop.sql", other);
    workspace.annals("status").run().expect(0).says(&["reformatted"]);
    workspace.write("migrations/1_shop.sql", COPIES.replace("apple", "apples"));
    workspace.annals("migrate").run().expect(3).says(&["1_shop"]);
    workspace.write("migrations/1_shop.sql", COPIES);
    workspace.annals("rollback --last 1").run().expect(0);
}

#[test]
fn data_the_server_refuses_leaves_nothing_and_names_its_line() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let broken = COPIES.replace("6\tkept", "six\tkept");
    workspace.migration("1_shop", &broken, "DROP TABLE shop;");
    let outcome = workspace.annals("migrate").run().expect(4);
    outcome.says(&["1_shop.sql:17: invalid input syntax for type integer: \"…\"", "22P02"]);
    assert_eq!(server.value("SELECT to_regclass('shop') IS NULL"), "true");
    let failing = COPIES.replace("(3, 'c;')", "(1, 'c;')");
    workspace.migration("1_shop", &failing, "DROP TABLE shop;");
    workspace.annals("migrate").run().expect(4).says(&["1_shop.sql:7: duplicate key"]);
    workspace.migration("1_shop", &COPIES.replace("kept\n", "kept\n1/0\n"), "DROP TABLE shop;");
    workspace.annals("migrate").run().expect(4).says(&["1_shop.sql:18: "]);
    workspace.migration("1_shop", COPIES, "DROP TABLE shop;");
    workspace.annals("migrate").run().expect(0);
    assert_eq!(server.value("SELECT count(*) FROM shop"), "5");
}

/// A file of about `megabytes`, half statements, half data; and how many rows it makes.
fn seed(megabytes: usize) -> (String, u64) {
    let half = megabytes << 19;
    let (mut text, mut rows) = (String::with_capacity(2 * half + 4_096), 0_u64);
    text.push_str("CREATE TABLE seed (id bigint, name text);\n");
    while text.len() < half {
        rows += 1;
        let _ = writeln!(
            text,
            "INSERT INTO seed (id, name) VALUES ({rows}, 'a; ''name'' of some length, {rows}'), \
             ({rows}, $q$another; one$q$);"
        );
    }
    let mut all = 2 * rows;
    text.push_str("COPY seed (id, name) FROM stdin;\n");
    while text.len() < 2 * half {
        all += 1;
        let _ = writeln!(text, "{all}\tsome; 'text' of a row that is copied in, {all}");
    }
    text.push_str("\\.\nCREATE INDEX seed_id ON seed (id);\n");
    (text, all)
}

#[test]
fn a_seed_of_50_mb_streams() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let (text, rows) = seed(50);
    assert!(text.len() >= 50 << 20);
    workspace.migration("1_seed", &text, "DROP TABLE seed;");
    let running = workspace.annals("migrate").start();
    let status = format!("/proc/{}/status", running.pid());
    let mut peak_kib = 0;
    while let Some(kib) = own_memory(&status) {
        peak_kib = peak_kib.max(kib);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    running.wait().expect(0).says(&["applied 1_seed", "are read while it runs"]);
    assert_eq!(server.value("SELECT count(*) FROM seed"), rows.to_string());
    assert!((1..32 << 10).contains(&peak_kib), "{peak_kib} KiB");
    println!("{} bytes, {rows} rows, at most {peak_kib} KiB", text.len());
    workspace.annals("verify").run().expect(0);
    workspace.annals("status").run().expect(0).says(&["applied      1_seed"]);
}

/// What a process has of its own: the program's pages, of which a debug build has many, are the
/// file's. The kernel keeps the highest sum of both.
pub(crate) fn own_memory(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let of = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    let highest = of("VmHWM:")?.saturating_sub(of("RssFile:")?);
    Some(highest.max(of("RssAnon:")?))
}

#[test]
fn a_plan_shows_of_a_large_file_what_it_is() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let (text, _) = seed(2);
    workspace.migration("1_seed", &text, "DROP TABLE seed;");
    let statements = text.matches(";\n").count();
    let plan = workspace.annals("plan").run().expect(0);
    plan.says(&[
        &format!("{statements} statements"),
        &format!("{} bytes of 1_seed.sql, with data for 1 COPY, are read", text.len()),
        "the safety rules have not seen its SQL",
    ]);
    let dry = workspace.annals("migrate --dry-run --json").run().expect(0).json();
    let streamed = &dry["steps"][0]["streamed"];
    assert_eq!(streamed["bytes"], text.len());
    assert_eq!((&streamed["statements"], &streamed["copies"]), (&statements.into(), &1.into()));

    // What stands in it is refused as in any file, with its place.
    let broken = format!("{text}\n  SELEC 1;\n");
    let lines = text.lines().count();
    workspace.write("migrations/1_seed.sql", broken);
    let place = format!("migrations/1_seed.sql:{}:3: SELEC 1 begins no statement", lines + 2);
    workspace.annals("migrate").run().expect(3).says(&[&place]);
    let off = format!("-- annals: transaction=off\n{text}");
    workspace.write("migrations/1_seed.sql", off);
    workspace.annals("migrate").run().expect(3).says(&["a file larger than 1 MiB is one"]);
    // And what the server refuses, with its line.
    let failing = text.replace("CREATE INDEX seed_id", "\n\nCREATE INDEX seed_id ON none (id); --");
    workspace.write("migrations/1_seed.sql", failing);
    let place = format!("1_seed.sql:{}: relation \"none\" does not exist", lines + 2);
    workspace.annals("migrate").run().expect(4).says(&[&place]);
    let failing = text.replace("\\.\n", "x\ty\n\\.\n");
    workspace.write("migrations/1_seed.sql", failing);
    let place = format!("1_seed.sql:{}: invalid input syntax", lines - 1);
    workspace.annals("migrate").run().expect(4).says(&[&place]);
    assert_eq!(server.value("SELECT to_regclass('seed') IS NULL"), "true");
}

#[test]
fn a_large_file_that_changes_behind_its_plan_is_rolled_back() {
    let server = Server::start();
    server.sql("CREATE TABLE busy ()");
    let workspace = Workspace::new(&server);
    let (text, rows) = seed(3);
    let wait = "-- annals: lock_timeout=60s\nLOCK TABLE busy;\nCREATE TABLE before_it ();\n";
    workspace.migration("1_waits", wait, "DROP TABLE before_it;");
    workspace.migration("2_seed", &text, "DROP TABLE seed;");
    // The last block is another one, and would end the transaction if it were sent.
    let altered = text.replace("CREATE INDEX seed_id ON seed", "COMMIT; DROP TABLE busy --");
    for (name, other) in
        [("altered", altered.as_str()), ("shorter", &text[..2 << 20]), ("empty", "")]
    {
        let held = server.hold("LOCK TABLE busy");
        let running = workspace.annals("migrate").start();
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'";
        wait_for("the first file to wait", || (server.value(waits) == "1").then_some(()));
        workspace.write("migrations/2_seed.sql", other);
        drop(held);
        let outcome = running.wait().expect(4);
        outcome.says(&["migrations/2_seed.sql: cannot be read: the file has changed since"]);
        assert_eq!(server.value("SELECT to_regclass('seed') IS NULL"), "true", "{name}");
        assert_eq!(server.value("SELECT to_regclass('busy') IS NULL"), "false", "{name}");
        workspace.write("migrations/2_seed.sql", &text);
        workspace.annals("rollback --last 1").run().expect(0);
    }
    workspace.annals("migrate").run().expect(0);
    assert_eq!(server.value("SELECT count(*) FROM seed"), rows.to_string());
}

#[test]
fn a_stop_is_heeded_inside_a_large_file() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let (text, _) = seed(2);
    let slow = text.replace("\\.\n", "\\.\nSELECT pg_sleep(60);\n");
    workspace.migration("1_seed", &slow, "DROP TABLE seed;");
    let running = workspace.annals("migrate").start();
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_for("the file to be under way", || (server.value(sleeps) == "1").then_some(()));
    running.signal("INT");
    running.wait().expect(130);
    assert_eq!(server.value("SELECT to_regclass('seed') IS NULL"), "true");
    workspace.write("migrations/1_seed.sql", text);
    workspace.annals("migrate").run().expect(0);
}
