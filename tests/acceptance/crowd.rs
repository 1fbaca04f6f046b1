//! Fifty runners at once, of two checkouts of one workspace: one effect each, and nobody is left
//! waiting.

use std::fs;
use std::os::unix::fs::symlink;

use annals_testkit::{Running, Server, Workspace, wait_for};

const RUNNERS: usize = 50;
const MIGRATIONS: usize = 5;

/// With a wait that a machine under load does not use up.
fn config(workspace: &Workspace, more: &str) {
    let text = "workspace = \"test\"\ndefault_target = \"db\"\ndefault_backup = \"off\"\n\n[timeouts]\n\
                wait_for_lock = \"5min\"\n\n[targets.db]\nurl_env = \"TEST_URL\"\n";
    workspace.write("annals.toml", format!("{text}{more}\n"));
}

fn write(workspace: &Workspace) {
    for k in 1..=MIGRATIONS {
        workspace.migration(
            &format!("{k}_t{k}"),
            &format!("CREATE TABLE t{k} (id int);\nINSERT INTO effects VALUES ('up {k}');\n"),
            &format!("DROP TABLE t{k};\nINSERT INTO effects VALUES ('down {k}');\n"),
        );
    }
}

/// Two checkouts with one log and one set of keys.
fn checkouts(server: &Server, more: &str) -> [Workspace; 2] {
    server.sql("CREATE TABLE effects (what text)");
    let (first, second) = (Workspace::new(server), Workspace::new(server));
    for folder in ["event-store", "keys"] {
        fs::create_dir(first.path(folder)).unwrap();
        symlink(first.path(folder), second.path(folder)).unwrap();
    }
    for workspace in [&first, &second] {
        config(workspace, more);
        write(workspace);
    }
    [first, second]
}

/// Starts them all, and wants each to succeed; the most sessions there were at a time.
fn all_at_once(server: &Server, workspaces: &[Workspace; 2], line: &str) -> usize {
    let start = |n: usize| workspaces[n % 2].annals(line).start();
    let mut running: Vec<Running> = (0..RUNNERS).map(start).collect();
    let sessions = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals%'";
    let mut most = 0;
    wait_for("a runner to be at work", || {
        most = most.max(server.rows(sessions).len());
        (most > 1).then_some(())
    });
    let outcomes: Vec<_> = running
        .drain(..)
        .map(|runner| {
            most = most.max(server.rows(sessions).len());
            runner.wait().expect(0)
        })
        .collect();
    let worked = outcomes.iter().filter(|o| !o.out.contains("nothing to do")).count();
    assert_eq!(worked, 1, "one runner does it all, the others find it done");
    wait_for("the end of every session", || server.rows(sessions).is_empty().then_some(()));
    most
}

fn crowd(server: &Server, more: &str, sessions_each: usize) {
    let workspaces = checkouts(server, more);
    let most = all_at_once(server, &workspaces, "migrate");
    assert!(most <= RUNNERS * sessions_each, "{most} sessions");
    let effects = "SELECT what FROM effects ORDER BY what";
    let up: Vec<String> = (1..=MIGRATIONS).map(|k| format!("up {k}")).collect();
    assert_eq!(server.rows(effects), up);
    for workspace in &workspaces {
        workspace.annals("status").run().expect(0).says(&["5 applied, 0 pending"]);
        workspace.annals("verify").run().expect(0);
    }
    workspaces[0].annals("log verify").run().expect(0).says(&["is intact"]);
    let shown = workspaces[0].annals("log show --kind run_started --json").run().expect(0).json();
    assert_eq!(shown["events"].as_array().unwrap().len(), 1, "{shown:#}");
}

#[test]
fn fifty_runners_of_two_checkouts_with_one_log_in_a_folder() {
    let mut server = Server::start();
    more_connections(&mut server);
    crowd(&server, "", 1);
}

#[test]
fn fifty_runners_of_two_checkouts_with_the_log_in_the_target() {
    let mut server = Server::start();
    more_connections(&mut server);
    crowd(&server, "event_store = \"postgres\"", 3);
}

/// A server for that many sessions.
fn more_connections(server: &mut Server) {
    server.sql("ALTER SYSTEM SET max_connections = 200");
    server.sql("CHECKPOINT");
    server.crash();
    server.start_again();
}

#[test]
fn who_waits_too_long_is_told_for_whom() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    server.sql("CREATE TABLE gate (closed bool); INSERT INTO gate VALUES (true)");
    workspace.migration("1_t1", "SELECT pg_sleep(60) FROM gate;", "SELECT 1;");
    let text = "workspace = \"test\"\ndefault_target = \"db\"\n\n[timeouts]\nwait_for_lock = \
                \"300ms\"\n\n[targets.db]\nurl_env = \"TEST_URL\"\n";
    workspace.write("annals.toml", text);
    let working = workspace.annals("migrate").start();
    let asleep = "SELECT application_name FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let name = wait_for("a run that sleeps", || server.rows(asleep).pop());
    let said = workspace.annals("migrate").run().expect(8);
    said.says(&["locked by", &name, "role postgres"]);
    server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    working.wait().expect(4);
}
