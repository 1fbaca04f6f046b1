//! A target whose log is lost or elsewhere, or that another tool has migrated: taken over, not run
//! again.

use std::fs;

use annals_testkit::{Outcome, Server, Workspace};

const EFFECTS: &str = "CREATE TABLE IF NOT EXISTS effects (what text);";

/// Three migrations, each of which counts itself.
fn write_three(workspace: &Workspace) {
    for k in 1..=3 {
        workspace.migration(
            &format!("{k}_t{k}"),
            &format!("{EFFECTS}\nCREATE TABLE t{k} ();\nINSERT INTO effects VALUES ('up {k}');\n"),
            &format!("DROP TABLE t{k};\nINSERT INTO effects VALUES ('down {k}');\n"),
        );
    }
}

fn effects(server: &Server) -> Vec<String> {
    server.rows("SELECT what FROM effects ORDER BY what")
}

#[track_caller]
fn run(workspace: &Workspace, line: &str, code: i32) -> Outcome {
    workspace.annals(line).run().expect(code)
}

#[track_caller]
fn fingerprint(workspace: &Workspace, line: &str) -> String {
    let shown = run(workspace, &format!("{line} --dry-run --json"), 0).json();
    shown["fingerprint"].as_str().unwrap().to_owned()
}

/// Shows the list, and records it.
#[track_caller]
fn confirmed(workspace: &Workspace, line: &str) -> Outcome {
    let fingerprint = fingerprint(workspace, line);
    run(workspace, &format!("{line} --confirm {fingerprint}"), 0)
}

/// A server migrated from one checkout, and another checkout without its log.
fn two_checkouts() -> (Server, Workspace, Workspace) {
    let server = Server::start();
    let (first, second) = (Workspace::new(&server), Workspace::new(&server));
    write_three(&first);
    write_three(&second);
    run(&first, "migrate", 0);
    (server, first, second)
}

#[test]
fn a_second_checkout_without_the_log_is_refused_and_runs_nothing() {
    let (server, first, second) = two_checkouts();
    let ways = ["test/db", "there is none", "fetch the log", "annals adopt", "(3 changes"];
    for line in ["status", "plan", "migrate", "rollback --last 1", "verify"] {
        run(&second, line, 3).says(&ways);
    }
    assert!(!second.path("event-store").exists() && !second.path("keys").exists());
    assert_eq!(effects(&server), ["up 1", "up 2", "up 3"]);
    // Fetching it is one way.
    for folder in ["event-store", "keys"] {
        let copied = std::process::Command::new("cp")
            .args(["-a".as_ref(), first.path(folder).as_os_str(), second.folder().as_os_str()])
            .status();
        assert!(copied.unwrap().success());
    }
    run(&second, "migrate", 0).says(&["nothing to do"]);
    run(&second, "verify", 0);
    // The copy it was fetched from is older from now on: both sides are named.
    let ledger = server.value("SELECT max(size)::text FROM annals.checkpoints");
    let line = fs::read_to_string(first.segment()).unwrap().lines().count();
    second.migration("4_t4", "CREATE TABLE t4 ();", "DROP TABLE t4;");
    run(&second, "migrate", 0);
    let newest = server.value("SELECT max(size)::text FROM annals.checkpoints");
    assert_ne!(ledger, newest);
    let leaf =
        server.value("SELECT left(leaf, 12) FROM annals.checkpoints ORDER BY size DESC LIMIT 1");
    first.migration("4_t4", "CREATE TABLE t4 ();", "DROP TABLE t4;");
    let refused = run(&first, "migrate", 9);
    refused.says(&[&line.to_string(), &newest, &leaf, "fetch the newest copy"]);
    run(&first, "verify", 9).says(&["fetch the newest copy"]);
    assert_eq!(effects(&server), ["up 1", "up 2", "up 3"]);
}

#[test]
fn a_lost_log_is_taken_over_and_the_old_one_can_append_no_more() {
    let (server, first, second) = two_checkouts();
    run(&first, "rollback --last 1", 0);
    let shown = run(&second, "adopt", 3);
    shown.says(&["identical     1_t1", "identical     2_t2", "test/db", "test/db/2 takes over"]);
    assert!(!second.path("event-store").exists(), "showing records nothing");
    run(&second, "adopt --confirm 12345678", 3).says(&["does not confirm"]);
    confirmed(&second, "adopt").says(&["4 changes recorded", "log test/db/2"]);

    let status = run(&second, "status", 0);
    status.says(&["applied      1_t1", "applied      2_t2", "pending      3_t3"]);
    run(&second, "history", 0).says(&["1_t1", "2_t2"]);
    run(&second, "timeline", 0).says(&["adopted as applied (ledger): 1_t1"]);
    run(&second, "explain 1", 0).says(&["earlier_log_origin", "parent_head", "test/db, "]);
    run(&second, "migrate", 0).says(&["applied 3_t3"]);
    assert_eq!(effects(&server), ["down 3", "up 1", "up 2", "up 3", "up 3"]);
    run(&second, "verify", 0);
    run(&second, "log verify", 0).says(&["is intact"]);
    run(&second, "state", 0);
    run(&second, "rollback --last 1", 0).says(&["rolled back 3_t3"]);
    run(&second, "adopt", 3).says(&["is here", "nothing to take over"]);
    run(&second, "log migrate --to postgres", 3).says(&["took over", "kept in a folder"]);

    // The runner that still has the old log.
    for line in ["status", "plan", "migrate", "rollback --last 1", "verify"] {
        run(&first, line, 3).says(&["test/db/2", "\"test/db\", "]);
    }
    run(&first, "log verify", 0);
}

#[test]
fn a_file_that_differs_from_the_one_that_ran_is_adopted_by_name_only() {
    let (_server, _first, second) = two_checkouts();
    second.write("migrations/2_t2.sql", "CREATE TABLE other ();");
    fs::remove_file(second.path("migrations/3_t3.sql")).unwrap();
    fs::remove_file(second.path("rollbacks/3_t3_rollback.sql")).unwrap();
    run(&second, "adopt --dry-run", 0).says(&[
        "file differs  2_t2",
        "file missing  3_t3",
        "the file here is not the one that ran",
        "--accept 2",
    ]);
    run(&second, "adopt", 3).says(&["--accept 2"]);
    let fingerprint = fingerprint(&second, "adopt --accept 2");
    let line = format!("adopt --accept 2 --confirm {fingerprint}");
    run(&second, &line, 3).says(&["--reason"]);
    run(&second, &format!("{line} --reason rewritten"), 0);
    run(&second, "status", 0).says(&["applied      2_t2", "missing      3_t3"]);
    run(&second, "migrate", 3).says(&["3_t3: it is applied, but its file is gone"]);
    write_three(&second);
    second.write("migrations/2_t2.sql", "CREATE TABLE other ();");
    run(&second, "migrate", 0).says(&["nothing to do"]);
    run(&second, "verify", 0);
}

#[test]
fn what_was_applied_by_hand_is_a_baseline() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    write_three(&workspace);
    server.sql("CREATE TABLE t1 (); CREATE TABLE t2 (); CREATE TABLE effects (what text)");
    run(&workspace, "adopt", 3).says(&["no rows of this workspace", "--baseline"]);
    run(&workspace, "adopt --baseline 9", 3).says(&["there is no such migration"]);
    let confirm = fingerprint(&workspace, "adopt --baseline 2");
    let line = format!("adopt --baseline 2 --confirm {confirm}");
    run(&workspace, &line, 3).says(&["--reason"]);
    run(&workspace, &format!("{line} --reason by-hand"), 0).says(&["2 changes recorded"]);
    run(&workspace, "status", 0).says(&["applied      2_t2", "pending      3_t3"]);
    run(&workspace, "verify", 0);
    run(&workspace, "migrate", 0).says(&["applied 3_t3"]);
    assert_eq!(effects(&server), ["up 3"]);
    run(&workspace, "adopt --baseline 3", 3).says(&["rows already"]);
    run(&workspace, "rollback --to 1", 0).says(&["rolled back 2_t2"]);
    run(&workspace, "verify", 0);
}

/// Supabase's own table, with the statements of two files and of one that is not here.
fn supabase(server: &Server) {
    server.sql(
        "CREATE SCHEMA supabase_migrations; CREATE TABLE supabase_migrations.schema_migrations \
         (version text PRIMARY KEY, statements text[], name text, created_by text); \
         CREATE TABLE t1 (); CREATE TABLE t2 (); CREATE TABLE effects (what text); \
         INSERT INTO supabase_migrations.schema_migrations VALUES \
         ('1', ARRAY['-- a note\nCREATE TABLE IF NOT EXISTS effects  (what text)', \
          'CREATE TABLE t1 ()', 'INSERT INTO effects VALUES (''up 1'')'], 't1', 'x'), \
         ('2', ARRAY['CREATE TABLE t2 (id int)'], 't2', 'x')",
    );
}

#[test]
fn what_supabase_has_applied_is_adopted_and_its_table_is_left_alone() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    write_three(&workspace);
    run(&workspace, "adopt --from-supabase", 3).says(&["has no rows"]);
    supabase(&server);
    let rows = "SELECT s::text FROM supabase_migrations.schema_migrations s ORDER BY version";
    let before = server.rows(rows);
    run(&workspace, "adopt --from-supabase --dry-run", 0).says(&[
        "identical     1_t1",
        "file differs  2_t2",
        "not those of the file",
    ]);
    run(&workspace, "adopt --from-supabase", 3).says(&["--accept-differing"]);
    let line = "adopt --from-supabase --accept-differing --reason dashboard";
    confirmed(&workspace, line).says(&["2 changes recorded"]);
    assert_eq!(server.rows(rows), before);
    run(&workspace, "status", 0).says(&["applied      2_t2", "pending      3_t3"]);
    run(&workspace, "migrate", 0).says(&["applied 3_t3"]);
    assert_eq!(effects(&server), ["up 3"]);
    run(&workspace, "verify", 0);
}

#[test]
fn a_row_of_supabase_without_its_file_is_missed_not_forgotten() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    write_three(&workspace);
    supabase(&server);
    server.sql(
        "DELETE FROM supabase_migrations.schema_migrations WHERE version = '2'; \
         INSERT INTO supabase_migrations.schema_migrations VALUES \
         ('20260101000000', ARRAY['CREATE TABLE t9 ()'], 'from_dashboard', 'x')",
    );
    confirmed(&workspace, "adopt --from-supabase");
    run(&workspace, "migrate", 3).says(&["20260101000000_from_dashboard: it is applied, but"]);
    workspace.migration("20260101000000_from_dashboard", "CREATE TABLE t9 ();", "DROP TABLE t9;");
    run(&workspace, "status", 0).says(&["20260101000000_from_dashboard", "out of order 2_t2"]);
}

/// Kills an adoption at each of its points, and runs it again.
fn killed(prepare: impl Fn() -> (Server, Workspace, &'static str)) {
    for point in ["adoption_announced", "adoption_in_ledger", "adoption_ended"] {
        let (server, workspace, line) = prepare();
        let confirm = fingerprint(&workspace, line);
        let command = workspace.annals(&format!("{line} --confirm {confirm}"));
        command.env("ANNALS_FAILPOINT", point).run().expect(-1);
        if point == "adoption_in_ledger" {
            let said = ["the adoption of", "its outcome is not known yet", "annals status"];
            run(&workspace, "plan", 3).says(&said);
        }
        let next = workspace.annals("status").run();
        match (point, next.code) {
            // The old log's rows are still there: adopting again is the way on.
            ("adoption_announced", 3) => {
                next.says(&["annals adopt"]);
            }
            ("adoption_announced", _) => {
                next.expect(0).says(&["the adoption of", "had left nothing", "pending"]);
            }
            ("adoption_in_ledger", _) => {
                next.expect(0).says(&["the adoption of", "had taken effect", "applied"]);
            }
            _ => {
                next.expect(0).says(&["applied"]);
            }
        }
        if point == "adoption_announced" {
            confirmed(&workspace, line);
        }
        run(&workspace, "status", 0).says(&["applied      2_t2"]);
        run(&workspace, "migrate", 0);
        run(&workspace, "verify", 0);
        run(&workspace, "log verify", 0).says(&["is intact"]);
        let applied = server.value("SELECT count(*)::text FROM annals.ledger");
        assert_eq!(applied, "3", "{line} at {point}");
    }
}

#[test]
fn a_takeover_that_is_killed_anywhere_is_settled() {
    killed(|| {
        let (server, _first, second) = two_checkouts();
        (server, second, "adopt")
    });
}

#[test]
fn a_baseline_that_is_killed_anywhere_is_settled() {
    killed(|| {
        let server = Server::start();
        let workspace = Workspace::new(&server);
        write_three(&workspace);
        server.sql("CREATE TABLE t1 (); CREATE TABLE t2 (); CREATE TABLE effects (what text)");
        (server, workspace, "adopt --baseline 2 --reason by-hand")
    });
}

#[test]
fn the_record_of_a_loss_that_is_killed_anywhere_is_settled() {
    for point in ["adoption_announced", "adoption_in_ledger", "adoption_ended"] {
        let server = Server::start();
        let workspace = Workspace::new(&server);
        workspace.tables(2);
        run(&workspace, "migrate", 0);
        server.sql("DELETE FROM annals.ledger WHERE version = '2'");
        let line = "adopt --lost --reason deleted";
        let confirm = fingerprint(&workspace, line);
        let command = workspace.annals(&format!("{line} --confirm {confirm}"));
        command.env("ANNALS_FAILPOINT", point).run().expect(-1);
        // Before the row is put back it is still missed; behind that it is there.
        let missing = point == "adoption_announced";
        run(&workspace, "status", if missing { 14 } else { 0 });
        if missing {
            confirmed(&workspace, line);
        }
        run(&workspace, "migrate", 0).says(&["nothing to do"]);
        run(&workspace, "verify", 0);
    }
}
