//! Statements outside a transaction: what is there is looked at, and never taken for something else.

use annals_testkit::{Outcome, Server, Workspace, wait_for};

const OFF: &str = "-- annals: transaction=off\n";

/// A server with a table of a hundred rows.
fn things() -> Server {
    let server = Server::start();
    server.sql(
        "CREATE TABLE things (id int, no int, name text); \
         INSERT INTO things SELECT n, n, 'n' || n FROM generate_series(1, 100) n",
    );
    server
}

/// A workspace whose only migration is `up`, outside a transaction.
fn outside(server: &Server, up: &str, down: &str) -> Workspace {
    let workspace = Workspace::new(server);
    workspace.migration("1_it", &format!("{OFF}{up};\n"), &format!("{OFF}{down};\n"));
    workspace
}

#[track_caller]
fn ran(workspace: &Workspace, line: &str, code: i32) -> Outcome {
    workspace.annals(line).run().expect(code)
}

#[track_caller]
fn killed_at(server: &Server, workspace: &Workspace, line: &str, point: &str) {
    workspace.annals(line).env("ANNALS_FAILPOINT", point).run().expect(-1);
    wait_until_nobody_works(server);
}

fn wait_until_nobody_works(server: &Server) {
    let backends = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%'";
    wait_for("the end of every backend of a run", || {
        server.rows(backends).is_empty().then_some(())
    });
}

#[track_caller]
fn all_is_well(workspace: &Workspace) {
    ran(workspace, "verify", 0);
    ran(workspace, "log verify", 0);
}

fn oid(server: &Server, index: &str) -> String {
    server.value(&format!("SELECT '{index}'::regclass::oid"))
}

/// Starts a run, waits until its backend has come to `waiting`, and kills both.
fn killed_while(server: &Server, workspace: &Workspace, line: &str, waiting: &str) {
    let running = workspace.annals(line).start();
    let backend = format!(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%' \
         AND wait_event_type = 'Lock' AND {waiting}"
    );
    let backend = wait_for("the run to wait", || server.rows(&backend).pop());
    running.signal("KILL");
    running.wait().expect(-1);
    server.value(&format!("SELECT pg_terminate_backend({backend})"));
    wait_until_nobody_works(server);
}

#[test]
fn an_index_that_was_put_in_the_place_of_ours_is_refused_with_both_definitions() {
    let server = things();
    let build = "CREATE INDEX CONCURRENTLY new ON things (id, no)";
    let workspace = outside(&server, build, "DROP INDEX CONCURRENTLY new");
    let writer = server.hold("INSERT INTO things VALUES (0, 0)");
    killed_while(&server, &workspace, "migrate", "query LIKE 'CREATE INDEX%'");
    drop(writer);
    server.sql("DROP INDEX new");
    server.sql("CREATE INDEX new ON things (no)");
    let theirs = oid(&server, "new");
    for _ in 0..2 {
        ran(&workspace, "migrate", 5).says(&[
            "index new is there already with another definition",
            "there is: CREATE INDEX new ON public.things USING btree (no)",
            "the file wants: CREATE INDEX new ON public.things USING btree (id, no)",
        ]);
        assert_eq!(oid(&server, "new"), theirs);
    }
    server.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'new'::regclass");
    ran(&workspace, "migrate", 5).says(&["another definition"]);
    assert_eq!(oid(&server, "new"), theirs, "an INVALID one that is not ours is not dropped");
    server.sql("DROP INDEX new");
    server.sql("CREATE INDEX new ON things (id, no)");
    let same = oid(&server, "new");
    ran(&workspace, "migrate", 0);
    assert_eq!(oid(&server, "new"), same, "it is recognised by its definition");
    ran(&workspace, "log verify", 0);
}

#[test]
fn every_part_of_a_definition_counts() {
    let server = things();
    server.sql("ALTER DATABASE postgres SET allow_in_place_tablespaces = on");
    server.sql("CREATE TABLESPACE elsewhere LOCATION ''");
    // A dropped column, so that numbers of columns differ between the table and its clone.
    server.sql("ALTER TABLE things ADD COLUMN gone int; ALTER TABLE things ADD COLUMN last int");
    server.sql("ALTER TABLE things DROP COLUMN gone");
    let nulls = match server.value("SELECT current_setting('server_version_num')") {
        version if version.as_str() >= "150000" => " NULLS NOT DISTINCT",
        _ => "",
    };
    let one = |change: (&str, &str)| {
        let whole = format!(
            "UNIQUE INDEX new ON things USING btree (lower(name) COLLATE \"C\" text_pattern_ops \
             DESC, last) INCLUDE (id){nulls} WITH (fillfactor = 70) TABLESPACE elsewhere \
             WHERE no > 0"
        );
        assert!(whole.contains(change.0), "{}", change.0);
        whole.replacen(change.0, change.1, 1)
    };
    let build = one(("INDEX", "INDEX CONCURRENTLY"));
    let workspace = outside(&server, &format!("CREATE {build}"), "DROP INDEX CONCURRENTLY new");
    killed_at(&server, &workspace, "migrate", "after_statement_intent");
    let mut others = vec![
        ("UNIQUE ", ""),
        ("lower(name)", "upper(name)"),
        ("COLLATE \"C\"", "COLLATE \"POSIX\""),
        ("text_pattern_ops", "text_ops"),
        (" DESC", ""),
        (" DESC", " DESC NULLS LAST"),
        (", last", ", no"),
        (", last", ""),
        ("INCLUDE (id)", "INCLUDE (no)"),
        (" INCLUDE (id)", ""),
        ("fillfactor = 70", "fillfactor = 71"),
        (" WITH (fillfactor = 70)", ""),
        (" TABLESPACE elsewhere", ""),
        ("no > 0", "no > 1"),
        (" WHERE no > 0", ""),
    ];
    if !nulls.is_empty() {
        others.push((nulls, ""));
    }
    for other in others {
        server.sql(&format!("CREATE {}", one(other)));
        ran(&workspace, "migrate", 5).says(&["index new is there already with another definition"]);
        server.sql("DROP INDEX new");
    }
    server.sql(&format!("CREATE {}", one(("", ""))));
    let same = oid(&server, "new");
    ran(&workspace, "migrate", 0);
    assert_eq!(oid(&server, "new"), same);
    ran(&workspace, "log verify", 0);
}

#[test]
fn if_not_exists_is_not_content_with_whatever_has_the_name() {
    let server = things();
    let build = "CREATE INDEX CONCURRENTLY IF NOT EXISTS new ON things (id, no)";
    let workspace = outside(&server, build, "DROP INDEX CONCURRENTLY new");
    let refused = |make: &str, says: &[&str]| {
        server.sql(make);
        for _ in 0..2 {
            ran(&workspace, "migrate", 4).says(says);
        }
        server.sql("DROP INDEX new");
    };
    refused(
        "CREATE INDEX new ON things (id, no); \
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'new'::regclass",
        &["index new is there already, INVALID, and annals did not begin it"],
    );
    refused("CREATE INDEX new ON things (id)", &["with another definition", "(id)", "(id, no)"]);
    server.sql("CREATE TABLE others (id int)");
    refused("CREATE INDEX new ON others (id)", &["the name new is taken", "an index of others"]);
    server.sql("CREATE INDEX new ON things (id, no)");
    let same = oid(&server, "new");
    ran(&workspace, "migrate", 0);
    assert_eq!(oid(&server, "new"), same);
    all_is_well(&workspace);
}

/// A partitioned table of two levels, with names that have to be quoted.
const PARTITIONED: &str = "CREATE SCHEMA \"Old days\"; \
    CREATE TABLE events (id int, at int, what text) PARTITION BY RANGE (at); \
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10); \
    CREATE TABLE \"Old days\".\"events 2\" PARTITION OF events FOR VALUES FROM (10) TO (20); \
    CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (30) \
        PARTITION BY LIST (what); \
    CREATE TABLE events_3_a PARTITION OF events_3 FOR VALUES IN ('a'); \
    CREATE TABLE events_3_b PARTITION OF events_3 FOR VALUES IN ('b'); \
    INSERT INTO events SELECT n, n, 'a' FROM generate_series(0, 29) n";

#[test]
fn a_partitioned_parent_is_refused_before_the_run_with_what_to_write_instead() {
    let server = Server::start();
    server.sql(PARTITIONED);
    let build = "CREATE INDEX CONCURRENTLY \"By what\" ON events USING btree (lower(what), id DESC) \
                 WHERE id > 0 -- ours\n";
    let workspace = outside(&server, build, "DROP INDEX CONCURRENTLY \"By what\"");
    for line in ["plan", "migrate --dry-run", "migrate"] {
        ran(&workspace, line, 3).says(&[
            "migrations/1_it.sql:2:1: events is partitioned",
            "CREATE INDEX \"By what\" ON ONLY public.events",
        ]);
    }
    assert_eq!(server.value("SELECT to_regclass('annals.ledger') IS NULL"), "true");
    assert!(!workspace.path("event-store/db").exists(), "nothing is begun");

    let refused = ran(&workspace, "migrate --json", 3).error_json();
    let said = refused["errors"][0].as_str().unwrap();
    let (_, recipe) = said.split_once("write into a file of its own:\n\n").unwrap();
    workspace.write("migrations/1_it.sql", recipe);
    workspace.write("rollbacks/1_it_rollback.sql", "DROP INDEX \"By what\";\n");
    ran(&workspace, "migrate", 0);
    let indexes = "SELECT count(*) || ' ' || bool_and(indisvalid AND indisready) FROM pg_index i \
        JOIN pg_partition_tree('public.\"By what\"') t ON t.relid = i.indexrelid";
    assert_eq!(server.value(indexes), "6 true");
    let unlike = "SELECT indrelid::regclass FROM pg_index i \
        JOIN pg_partition_tree('public.\"By what\"') t ON t.relid = i.indexrelid \
        WHERE pg_get_indexdef(i.indexrelid) NOT LIKE '%(lower(what), id DESC) WHERE (id > 0)'";
    assert_eq!(server.rows(unlike), [""; 0]);
    ran(&workspace, "rollback --last 1", 0);
    assert_eq!(server.rows("SELECT relname FROM pg_class WHERE relname LIKE '%y what%'"), [""; 0]);
    all_is_well(&workspace);
}

#[test]
fn a_partitioned_parent_made_by_the_same_run_is_refused_too() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.migration("1_a", PARTITIONED, "DROP TABLE events; DROP SCHEMA \"Old days\";");
    let build = format!("{OFF}CREATE INDEX CONCURRENTLY i ON events (id);\n");
    workspace.migration("2_b", &build, "DROP INDEX i;\n");
    let refused = ran(&workspace, "migrate", 4);
    refused.says(&["2_b.sql:2: events is partitioned", "ATTACH PARTITION", "nothing of this step"]);
    assert!(!workspace.kinds().contains(&"statement_started".to_owned()));
}

#[test]
fn an_index_of_a_partitioned_table_is_not_dropped_concurrently() {
    let server = Server::start();
    server.sql(PARTITIONED);
    server.sql("CREATE INDEX i ON events (id)");
    let workspace = outside(&server, "DROP INDEX CONCURRENTLY i", "VACUUM events");
    ran(&workspace, "migrate", 3).says(&["index i is partitioned", "use DROP INDEX in a file"]);
}

#[test]
fn what_is_not_there_is_not_taken_for_dropped_by_us() {
    let server = things();
    let cases = [
        ("DROP INDEX CONCURRENTLY nothing", "there is no index nothing to drop"),
        ("DROP DATABASE nothing", "there is no database nothing to drop"),
        ("DROP TABLESPACE nothing", "there is no tablespace nothing to drop"),
        ("DROP SUBSCRIPTION nothing", "there is no subscription nothing to drop"),
    ];
    for (sql, says) in cases {
        let workspace = outside(&server, sql, "VACUUM things");
        for _ in 0..2 {
            ran(&workspace, "migrate", 4).says(&[says]);
        }
        let if_exists = format!("{OFF}{};\n", sql.replace("nothing", "IF EXISTS nothing"));
        workspace.write("migrations/1_it.sql", if_exists);
        ran(&workspace, "migrate", 0);
        server.sql("DROP SCHEMA annals CASCADE");
    }
}

#[test]
fn what_an_interrupted_reindex_of_ours_left_is_dropped() {
    let server = things();
    server.sql("CREATE INDEX by_no ON things (no); CREATE INDEX by_id ON things (id)");
    for reindex in ["REINDEX INDEX CONCURRENTLY by_no", "REINDEX TABLE CONCURRENTLY things"] {
        let workspace = outside(&server, reindex, "VACUUM things");
        let writer = server.hold("INSERT INTO things VALUES (0, 0)");
        killed_while(&server, &workspace, "migrate", "query LIKE 'REINDEX%'");
        drop(writer);
        let left = "SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)'";
        assert!(!server.rows(left).is_empty(), "{reindex} left nothing to clean up");
        ran(&workspace, "status", 0).says(&["half done"]);
        ran(&workspace, "migrate", 0);
        assert_eq!(server.rows(left), [""; 0]);
        assert_eq!(server.value("SELECT bool_and(indisvalid) FROM pg_index"), "true");
        all_is_well(&workspace);
        server.sql("DROP SCHEMA annals CASCADE");
    }
}

#[test]
fn what_somebody_elses_reindex_left_stops_the_run_and_stays() {
    let server = things();
    server.sql(
        "CREATE INDEX by_no ON things (no); CREATE INDEX by_no_ccnew ON things (no); \
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_no_ccnew'::regclass",
    );
    let workspace = outside(&server, "REINDEX TABLE CONCURRENTLY things", "VACUUM things");
    let theirs = oid(&server, "by_no_ccnew");
    for _ in 0..2 {
        let says = ["public.by_no_ccnew is INVALID", "DROP INDEX CONCURRENTLY public.by_no_ccnew"];
        ran(&workspace, "migrate", 4).says(&says);
        assert_eq!(oid(&server, "by_no_ccnew"), theirs);
    }
    server.sql("DROP INDEX by_no_ccnew");
    ran(&workspace, "migrate", 0);
}

#[test]
fn a_detach_that_was_cut_short_is_finished() {
    let server = Server::start();
    server.sql(PARTITIONED);
    let detach = "ALTER TABLE events DETACH PARTITION \"Old days\".\"events 2\" CONCURRENTLY";
    let attach = "ALTER TABLE events ATTACH PARTITION \"Old days\".\"events 2\" \
                  FOR VALUES FROM (10) TO (20)";
    let workspace = outside(&server, detach, attach);
    if server.value("SELECT current_setting('server_version_num')").as_str() < "140000" {
        ran(&workspace, "migrate", 5).says(&["syntax error"]);
        return;
    }
    let attached = "SELECT inhdetachpending FROM pg_inherits \
                    WHERE inhrelid = '\"Old days\".\"events 2\"'::regclass";
    let reader = server.hold("SELECT FROM events");
    killed_while(&server, &workspace, "migrate", "query LIKE 'ALTER TABLE%'");
    assert_eq!(server.rows(attached), ["true"], "the kill has left it pending");
    ran(&workspace, "verify", 11).says(&["1_it is half done"]);
    drop(reader);
    ran(&workspace, "migrate", 0);
    assert_eq!(server.rows(attached), [""; 0]);
    ran(&workspace, "rollback --last 1", 0);
    assert_eq!(server.rows(attached), ["false"]);
    killed_at(&server, &workspace, "migrate", "after_statement_effect");
    assert_eq!(server.rows(attached), [""; 0]);
    ran(&workspace, "migrate", 0);
    ran(&workspace, "rollback --last 1", 0);
    all_is_well(&workspace);

    // Of another log nobody knows who has begun it.
    server.sql("DROP SCHEMA annals CASCADE");
    let detach = "ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY";
    let reader = server.hold("SELECT FROM events");
    let theirs = outside(&server, detach, "VACUUM events");
    killed_while(&server, &theirs, "migrate", "query LIKE 'ALTER TABLE%'");
    drop(reader);
    server.sql("DROP SCHEMA annals CASCADE");
    let ours = outside(&server, detach, "VACUUM events");
    ran(&ours, "migrate", 4).says(&["being detached from events already", "FINALIZE"]);
}

/// Objects that stand outside every transaction: how they are made and dropped, and how many there
/// are.
const OBJECTS: [(&str, &str, &str); 3] = [
    (
        "CREATE DATABASE \"our db\" TEMPLATE template0",
        "DROP DATABASE \"our db\"",
        "SELECT count(*) FROM pg_database WHERE datname = 'our db'",
    ),
    (
        "CREATE TABLESPACE ours LOCATION ''",
        "DROP TABLESPACE ours",
        "SELECT count(*) FROM pg_tablespace WHERE spcname = 'ours'",
    ),
    (
        "CREATE SUBSCRIPTION ours CONNECTION 'host=nowhere' PUBLICATION p \
         WITH (connect = false, slot_name = NONE)",
        "DROP SUBSCRIPTION ours",
        "SELECT count(*) FROM pg_subscription WHERE subname = 'ours'",
    ),
];

#[test]
fn what_is_made_and_dropped_outside_transactions_is_so_once_wherever_the_run_is_killed() {
    let server = things();
    server.sql("ALTER DATABASE postgres SET allow_in_place_tablespaces = on");
    let points = [
        "after_statement_intent",
        "after_statement_effect",
        "after_statement_row",
        "before_commit",
    ];
    for (make, remove, number) in OBJECTS {
        for point in points {
            let workspace = outside(&server, make, remove);
            for (line, there) in [("migrate", "1"), ("rollback --last 1", "0")] {
                killed_at(&server, &workspace, line, point);
                ran(&workspace, "status", 0).says(&["half done"]);
                ran(&workspace, line, 0);
                assert_eq!(server.value(number), there, "{make}: {line} at {point}");
            }
            all_is_well(&workspace);
            server.sql("DROP SCHEMA annals CASCADE");
        }
    }
}

#[test]
fn what_somebody_else_has_made_is_not_taken_for_ours() {
    let server = things();
    server.sql("ALTER DATABASE postgres SET allow_in_place_tablespaces = on");
    for (make, remove, number) in OBJECTS {
        server.sql(make);
        let workspace = outside(&server, make, remove);
        for _ in 0..2 {
            ran(&workspace, "migrate", 4).says(&["is there already, and annals did not begin it"]);
        }
        server.sql(remove);
        ran(&workspace, "migrate", 0);
        assert_eq!(server.value(number), "1");
        server.sql("DROP SCHEMA annals CASCADE");
    }
}
