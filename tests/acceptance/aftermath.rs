//! After a run was killed, the next command of any kind says what it found, and settles it where it
//! may write; there is nothing to force.

use annals_testkit::{Outcome, Server, Workspace, wait_for};

/// A run of three that was killed in its second step, before or behind its commit.
fn killed(server: &Server, point: &str) -> Workspace {
    server.sql("DROP SCHEMA IF EXISTS annals CASCADE; DROP SCHEMA public CASCADE");
    server.sql("CREATE SCHEMA public");
    let workspace = Workspace::new(server);
    workspace.tables(3);
    workspace.annals("migrate").env("ANNALS_FAILPOINT", point).run().expect(-1);
    let backends = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%'";
    wait_for("the end of its backend", || server.rows(backends).is_empty().then_some(()));
    workspace
}

/// A point, and what is true of the second migration there.
const POINTS: [(&str, &str); 2] =
    [("before_commit:2", "2_t2 had left nothing"), ("after_commit:2", "2_t2 had taken effect")];

/// Commands that open the target for work: each settles what it finds, and says so.
const SETTLE: [(&str, i32); 5] =
    [("status", 0), ("migrate", 0), ("rollback --last 1", 0), ("verify", 0), ("keys rotate", 0)];

/// Commands that look and write nothing: each says that a run is open.
const LOOK: [(&str, i32); 8] = [
    ("plan", 3),
    ("history", 0),
    ("state", 0),
    ("timeline", 0),
    ("explain 1", 0),
    ("diff --from-seq 1 --to-seq 4", 0),
    ("log show", 0),
    ("export recovery", 0),
];

#[track_caller]
fn run(workspace: &Workspace, line: &str, code: i32) -> Outcome {
    workspace.annals(line).run().expect(code)
}

#[test]
fn every_command_that_may_write_settles_what_a_killed_run_left() {
    let server = Server::start();
    for (point, fate) in POINTS {
        for (line, code) in SETTLE {
            let workspace = killed(&server, point);
            run(&workspace, line, code).says(&["recovered a run by tester", fate]);
            let again = run(&workspace, "status", 0);
            assert!(!again.err.contains("recovered"), "{line}: {}", again.err);
            run(&workspace, "migrate", 0);
            let tables = "SELECT relname::text FROM pg_class WHERE relname ~ '^t[0-9]$'";
            assert_eq!(server.rows(tables).len(), 3, "{line} at {point}");
            run(&workspace, "verify", 0);
        }
    }
}

#[test]
fn every_command_that_only_looks_says_what_is_open_and_what_settles_it() {
    let server = Server::start();
    for (point, _) in POINTS {
        let workspace = killed(&server, point);
        for (line, code) in LOOK {
            run(&workspace, line, code).says(&["2_t2", "annals status"]);
        }
        run(&workspace, "migrate", 0);
        run(&workspace, "verify", 0);
    }
}

#[test]
fn a_backend_that_outlives_its_run_without_the_lock_is_waited_for() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    server.sql("CREATE TABLE gate (closed bool); INSERT INTO gate VALUES (true)");
    let up = "SELECT pg_advisory_unlock_all();\nSET LOCAL client_connection_check_interval = 0;\n\
              SELECT pg_sleep(60) FROM gate;\nCREATE TABLE t1 ();\n";
    workspace.migration("1_t1", up, "DROP TABLE t1;");
    let killed = workspace.annals("migrate").start();
    let asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let pid = wait_for("a run at the gate", || server.rows(asleep).pop());
    killed.signal("KILL");
    killed.wait().expect(-1);
    // Nobody holds the lock, and still nothing may be concluded: first it is waited for in vain.
    let still = format!("backend {pid} of run");
    run(&workspace, "status", 6).says(&[&still, "may still take effect", "pg_terminate_backend"]);
    server.sql(&format!("SELECT pg_terminate_backend({pid})"));
    run(&workspace, "status", 0).says(&["1_t1 had left nothing"]);
    server.sql("DELETE FROM gate");
    workspace.migration("1_t1", "CREATE TABLE t1 ();", "DROP TABLE t1;");
    run(&workspace, "migrate", 0).says(&["applied 1_t1"]);
    run(&workspace, "verify", 0);
}
