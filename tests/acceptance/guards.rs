//! What must not slip through: drift, sessions that are not clean, rows nobody announced.

use std::fs;

use annals_testkit::{Server, Workspace, wait_for};

fn workspace(server: &Server, tables: usize) -> Workspace {
    let workspace = Workspace::new(server);
    workspace.tables(tables);
    workspace
}

#[test]
fn a_run_does_not_make_somebody_elses_change_its_own() {
    let server = Server::start();
    let workspace = workspace(&server, 1);
    workspace.migration("2_i", "CREATE INDEX i ON t1 (id);", "DROP INDEX i;");
    workspace.annals("migrate").run().expect(0);
    server.sql("DROP INDEX i; CREATE TABLE stranger ()");
    let drifted = ["index public.i [schema.missing]", "table public.stranger [schema.unexpected]"];
    workspace.annals("verify").run().expect(11).says(&drifted);
    workspace.migration("3_t3", "CREATE TABLE t3 (id int PRIMARY KEY);", "DROP TABLE t3;");
    workspace.annals("migrate").run().expect(16).says(&["index public.i: is gone"]);
    workspace.annals("migrate --allow-drift").run().expect(0).says(&["are not as expected"]);
    let found = workspace.annals("verify").run().expect(11).says(&drifted);
    assert!(!found.out.contains("t3"), "{}", found.out);
    server.sql("CREATE INDEX i ON t1 (id); DROP TABLE stranger");
    workspace.annals("verify").run().expect(0).says(&["✓ indexes", "✓ table structure"]);
}

#[test]
fn what_was_never_recorded_is_not_checked_instead_of_believed() {
    let server = Server::start();
    let workspace = workspace(&server, 1);
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_outcome").run().expect(-1);
    server.sql("DROP TABLE t1");
    let verified = workspace.annals("verify").run().expect(0);
    verified.says(&["[schema.not_recorded]", "– table structure   not checked"]);
    workspace.migration("2_t2", "CREATE TABLE t2 ();", "DROP TABLE t2;");
    workspace.annals("migrate").run().expect(0);
    workspace.annals("verify").run().expect(0).says(&["✓ table structure   passed"]);
}

#[test]
fn nothing_of_a_step_reaches_the_next_one_but_what_it_committed() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    server
        .sql("CREATE ROLE other; GRANT other TO postgres; GRANT CREATE ON SCHEMA public TO other");
    let dirty = "SET ROLE other; SET search_path = pg_catalog; SET my.claims = 'evil'; \
        SET work_mem = '123MB'; CREATE TEMP TABLE scratch (); CREATE TABLE public.mine ();";
    workspace.migration("1_dirty", dirty, "DROP TABLE mine;");
    let look = "CREATE TABLE seen AS SELECT current_user::text AS who, \
        current_setting('search_path') AS path, current_setting('work_mem') AS memory, \
        coalesce(current_setting('my.claims', true), '') AS claims, \
        to_regclass('pg_temp.scratch')::text AS scratch;";
    workspace.migration("2_look", look, "DROP TABLE seen;");
    workspace.annals("migrate").run().expect(0);
    let seen = server.rows("SELECT concat_ws('|', who, path, memory, claims, scratch) FROM seen");
    assert_eq!(seen, ["postgres|\"$user\", public|4MB|"]);
    assert_eq!(
        server.rows("SELECT tableowner::text FROM pg_tables WHERE tablename = 'mine'"),
        ["other"]
    );
}

#[test]
fn a_file_cannot_change_how_the_next_one_is_read() {
    let server = Server::start();
    let role = "ALTER ROLE postgres SET standard_conforming_strings = off";
    server.sql(&format!("{role}; CREATE TABLE read (as_what text)"));
    let workspace = Workspace::new(&server);
    let lowers = "SET standard_conforming_strings = off;\nSET client_encoding = 'LATIN1';\n";
    workspace.migration("1_lowers", lowers, "SELECT 1;\n");
    let reads = "INSERT INTO read VALUES ('a\\'), ('é');\n";
    workspace.migration("2_reads", reads, "SELECT 1;\n");
    workspace.annals("migrate").run().expect(0);
    assert_eq!(server.rows("SELECT as_what FROM read ORDER BY length(as_what)"), ["é", "a\\"]);
}

#[test]
fn a_file_cannot_make_its_own_commit_unsafe() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let at_commit = "SET synchronous_commit = off; CREATE TABLE seen (setting text); \
        CREATE TABLE t (id int); CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED \
        FOR EACH ROW EXECUTE FUNCTION look(); INSERT INTO t VALUES (1);";
    workspace.migration("1_late", at_commit, "DROP TABLE t, seen; DROP FUNCTION look();");
    workspace.annals("migrate").run().expect(0);
    assert_eq!(server.rows("SELECT setting FROM seen"), ["on"]);
}

#[test]
fn a_statement_the_log_never_announced_is_not_taken_for_done() {
    let server = Server::start();
    let workspace = workspace(&server, 1);
    workspace.annals("migrate").run().expect(0);
    let sql = "CREATE TABLE must_exist ();";
    let off = format!("-- annals: transaction=off\n{sql}\nVACUUM t1;");
    workspace.migration("2_off", &off, "DROP TABLE must_exist;");
    server.sql(&format!(
        "INSERT INTO annals.statements VALUES ('test', '2', 1, 1, \
         encode(sha256('{sql}'), 'hex'), gen_random_uuid())"
    ));
    let refused = workspace.annals("migrate").run().expect(5);
    refused.says(&["statement 1 as done, but the log has no intent of it"]);
    server.sql("DELETE FROM annals.statements");
    workspace.annals("migrate").run().expect(0);
    assert_eq!(server.value("SELECT count(*) FROM pg_tables WHERE tablename = 'must_exist'"), "1");
    server.sql("UPDATE annals.ledger SET xid = '1' WHERE version = '2'");
    workspace.annals("verify").run().expect(11).says(&["ledger.different", "transaction is 1"]);
}

#[test]
fn a_half_done_migration_is_a_finding_and_its_file_is_missed() {
    let server = Server::start();
    let workspace = workspace(&server, 1);
    let off = "-- annals: transaction=off\nCREATE TABLE a ();\nVACUUM nowhere;";
    workspace.migration("2_off", off, "DROP TABLE a;");
    workspace.annals("migrate").run().expect(5);
    workspace.annals("verify").run().expect(11).says(&["2_off [step.half_done]"]);
    for name in ["migrations/2_off.sql", "rollbacks/2_off_rollback.sql"] {
        fs::remove_file(workspace.path(name)).unwrap();
    }
    workspace.annals("status").run().expect(0).says(&["half done    2_off"]);
    for command in ["plan", "migrate", "rollback --last 1"] {
        let refused = workspace.annals(command).run().expect(3);
        refused.says(&["2_off: it is half done, and its file is gone", "restore the file"]);
    }
}

#[test]
fn whoever_looks_while_a_run_works_raises_no_false_alarm() {
    let server = Server::start();
    let workspace = workspace(&server, 40);
    workspace.migration("99_slow", "SELECT pg_sleep(0.5);", "SELECT 1;");
    let run = workspace.annals("migrate").start();
    let (mut looks, mut locked) = (0, 0);
    wait_for("the run to end", || {
        workspace.annals("status").run().expect(0);
        let plan = workspace.annals("plan").run();
        assert!([0, 8].contains(&plan.code), "{} {}", plan.code, plan.err);
        looks += 1;
        locked += usize::from(plan.code == 8);
        let log = fs::read_to_string(workspace.segment()).unwrap_or_default();
        log.contains("\"kind\":\"run_finished\"").then_some(())
    });
    run.wait().expect(0);
    assert!(looks > 3 && locked > 0, "{looks} looks, {locked} of them while it worked");
}
