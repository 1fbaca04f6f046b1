//! A file that does to annals what it must not: nothing of it takes effect, and everybody can still
//! say what did.

use annals_testkit::{Server, Workspace, wait_for};

/// The directive of a file that runs statement by statement.
const OFF: &str = "-- annals: transaction=off\n";

/// A workspace with table `t1` applied.
fn workspace(server: &Server) -> Workspace {
    let workspace = Workspace::new(server);
    workspace.tables(1);
    workspace.annals("migrate").run().expect(0);
    workspace
}

/// Both are clean: the target says what the log says.
fn agrees(workspace: &Workspace) {
    workspace.annals("status").run().expect(0);
    workspace.annals("verify --quick").run().expect(0);
    workspace.annals("log verify").run().expect(0);
}

/// Ways to take away the row of the step itself, which no reading of the file finds.
const UNSEEN: &[&str] = &[
    "DELETE FROM ledger WHERE xmin = pg_current_xact_id()::xid;",
    "UPDATE ledger SET name = 'other' WHERE xmin = pg_current_xact_id()::xid;",
    "UPDATE ledger SET actor = actor WHERE xmin = pg_current_xact_id()::xid;",
    "DO $$ BEGIN EXECUTE 'TRUNCATE annals.ledger'; END $$;",
    "DO $$ BEGIN EXECUTE 'DROP TABLE annals.ledger'; END $$;",
    "DO $$ BEGIN EXECUTE 'ALTER SCHEMA annals RENAME TO gone'; END $$;",
    "DO $$ BEGIN EXECUTE 'ALTER TABLE annals.ledger ALTER COLUMN step TYPE bigint'; END $$;",
];

#[test]
fn a_file_that_takes_its_own_row_away_is_not_committed() {
    let server = Server::start();
    let workspace = workspace(&server);
    for sql in UNSEEN {
        let up =
            format!("CREATE TABLE t2 (id int);\nSET LOCAL search_path = annals, public;\n{sql}");
        workspace.migration("2_t2", &up, "DROP TABLE t2;");
        let refused = workspace.annals("migrate").run().expect(4);
        let refused = refused.says(&["removed or changed the row annals", "the schema annals"]);
        assert!(!refused.err.contains("WARNING"), "{}", refused.err);
        assert_eq!(server.value("SELECT to_regclass('public.t2') IS NULL"), "true", "{sql}");
        agrees(&workspace);
    }
    workspace.migration("2_t2", "CREATE TABLE t2 (id int);", "DROP TABLE t2;");
    workspace.annals("migrate").run().expect(0).says(&["applied 2_t2"]);
    agrees(&workspace);
}

#[test]
fn a_whole_run_in_one_transaction_needs_each_of_its_rows() {
    let server = Server::start();
    let workspace = workspace(&server);
    let mine = "DO $$ BEGIN EXECUTE 'DELETE FROM annals.ledger WHERE version = ''2'''; END $$;";
    workspace.migration("2_t2", "CREATE TABLE t2 (id int);", "DROP TABLE t2;");
    workspace.migration("3_t3", &format!("CREATE TABLE t3 (id int);\n{mine}"), "DROP TABLE t3;");
    let refused = workspace.annals("migrate --single-transaction").run().expect(4);
    refused.says(&["removed or changed the row"]);
    let none = "SELECT to_regclass('t2') IS NULL AND to_regclass('t3') IS NULL";
    assert_eq!(server.value(none), "true");
    agrees(&workspace);
}

#[test]
fn a_statement_that_takes_its_own_row_away_is_not_committed() {
    let server = Server::start();
    let workspace = workspace(&server);
    let sql =
        "DO $$ BEGIN CREATE TABLE t2 (id int); EXECUTE 'DELETE FROM annals.statements'; END $$";
    // A block that says COMMIT or ROLLBACK would be sent outside of a transaction.
    workspace.migration("2_t2", &format!("{OFF}{sql};"), &format!("{OFF}DROP TABLE t2;"));
    workspace.annals("migrate").run().expect(4).says(&["removed or changed the row"]);
    assert_eq!(server.value("SELECT to_regclass('t2') IS NULL"), "true");
    let up = format!("{OFF}CREATE TABLE t2 (id int);");
    workspace.migration("2_t2", &up, &format!("{OFF}DROP TABLE t2;"));
    workspace.annals("migrate").run().expect(0).says(&["applied 2_t2"]);
    agrees(&workspace);
}

#[test]
fn a_row_that_is_gone_behind_a_commit_that_is_known_is_not_taken_for_no_effect() {
    let server = Server::start();
    let workspace = workspace(&server);
    // Behind the look: a trigger that fires in the commit itself.
    server.sql(
        "CREATE TABLE bait (n int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN DELETE FROM annals.ledger WHERE version = '2'; RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON bait DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION f()",
    );
    workspace.annals("drift accept --reason").arg("the scene of a test").run().expect(0);
    workspace.migration("2_bait", "INSERT INTO bait VALUES (1);", "DELETE FROM bait;");
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server.sql("SELECT pg_reload_conf()");
    let cut = workspace.annals("migrate").start();
    let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let pid = wait_for("a commit that waits", || server.rows(waiting).pop());
    server.sql(&format!("SELECT pg_terminate_backend({pid})"));
    server.sql("ALTER SYSTEM RESET synchronous_standby_names");
    server.sql("SELECT pg_reload_conf()");
    cut.wait().expect(6).says(&["has committed, and the ledger row it wrote is not there"]);
    assert_eq!(server.value("SELECT count(*) FROM bait"), "1");
}

#[test]
fn what_is_for_annals_alone_is_refused_when_the_file_is_read() {
    let server = Server::start();
    let workspace = workspace(&server);
    for (sql, said) in [
        ("SELECT 1;\nDELETE FROM annals.ledger;", "this changes the schema annals"),
        ("SELECT 1;\nSET transaction_read_only = on;", "transaction_read_only can be set before"),
    ] {
        workspace.migration("2_bad", sql, "SELECT 1;");
        workspace.annals("plan").run().expect(3).says(&["2_bad.sql:2:1", said, "remove it"]);
    }
}

#[test]
fn a_role_that_may_not_see_the_ledger_is_put_back_first() {
    let server = Server::start();
    let workspace = workspace(&server);
    server.sql("CREATE ROLE other; GRANT CREATE, USAGE ON SCHEMA public TO other");
    workspace.annals("drift accept --reason").arg("the scene of a test").run().expect(0);
    let up = "SET ROLE other;\nCREATE TABLE t2 (id int);";
    workspace.migration("2_t2", up, "DROP TABLE t2;");
    workspace.annals("migrate").run().expect(0).says(&["applied 2_t2", "role other"]);
    let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 't2'";
    assert_eq!(server.value(owner), "other");
    // No word of the file tells of it.
    server.sql(
        "CREATE FUNCTION quietly() RETURNS void LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM set_config('role', 'other', false); END $$",
    );
    workspace.annals("drift accept --reason").arg("the scene of a test").run().expect(0);
    workspace.migration("3_t3", "CREATE TABLE t3 (id int);\nSELECT quietly();", "DROP TABLE t3;");
    workspace.annals("migrate").run().expect(4).says(&["ends as another role", "RESET ROLE"]);
    workspace.migration(
        "3_t3",
        "CREATE TABLE t3 (id int);\nSELECT quietly();\nRESET ROLE;",
        "DROP TABLE t3;",
    );
    workspace.annals("migrate").run().expect(0).says(&["applied 3_t3"]);
    agrees(&workspace);
}

#[test]
fn who_lets_others_in_leaves_the_log_to_them() {
    let server = Server::start();
    let workspace = workspace(&server);
    server.sql("CREATE TABLE gate (n int)");
    workspace.annals("drift accept --reason").arg("the scene of a test").run().expect(0);
    let key = "SELECT (classid::int8 << 32 | objid::int8)::text FROM pg_locks \
               WHERE locktype = 'advisory' AND objsubid = 1";
    let up = "LOCK TABLE gate;\nSELECT pg_sleep(2);\nSELECT pg_advisory_unlock_all();\n\
              SELECT pg_sleep(2);";
    workspace.migration("2_open", up, "SELECT 1;");
    let run = workspace.annals("migrate").start();
    let held = wait_for("the lock of the run", || server.rows(key).pop());
    let free = || (server.rows(key).is_empty()).then_some(());
    wait_for("the lock to be released", free);
    let other = server.hold(&format!("SELECT pg_advisory_lock({held})"));
    let ended = run.wait();
    ended.says(&["another run holds it now"]);
    drop(other);
    let settled = workspace.annals("status").run().expect(0);
    settled.says(&["2_open had left nothing"]);
    agrees(&workspace);
}
