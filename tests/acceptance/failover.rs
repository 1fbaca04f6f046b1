//! Another server takes over: what it has lost is listed, and nothing is run again by itself.

use std::fs;

use annals_testkit::{Annals, Outcome, Server, Standby, Workspace};

/// A server with a standby that has only the first of three migrations, all of them acknowledged.
fn lost_two() -> (Server, Standby, Workspace) {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(3);
    workspace.annals("migrate --to 1").run().expect(0);
    let standby = Standby::of(&server);
    standby.stop_replay();
    workspace.annals("migrate").run().expect(0).says(&["applied 2_t2", "applied 3_t3"]);
    server.crash();
    standby.promote();
    (server, standby, workspace)
}

fn on(standby: &Standby, workspace: &Workspace, line: &str) -> Annals {
    workspace.annals(line).env("TEST_URL", standby.url())
}

fn run(standby: &Standby, workspace: &Workspace, line: &str) -> Outcome {
    on(standby, workspace, line).run()
}

fn tables(standby: &Standby) -> Vec<String> {
    standby.rows("SELECT relname::text FROM pg_class WHERE relname ~ '^t[0-9]$' ORDER BY relname")
}

fn fingerprint(standby: &Standby, workspace: &Workspace) -> String {
    let shown = run(standby, workspace, "adopt --lost --dry-run --json").expect(0).json();
    shown["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_failover_that_lost_acknowledged_commits_is_diverged_and_nothing_is_run_again() {
    let (_server, standby, workspace) = lost_two();
    let before = fs::read_to_string(workspace.segment()).unwrap();
    let list = ["DIVERGED", "has lost 2 changes", "2_t2: applied at", "3_t3: applied at", "run "];
    let facts = ["transaction ", "timeline 1", "on timeline 2 now", "is in the future there"];
    for line in ["plan", "migrate", "migrate --dry-run", "rollback --last 1", "rollback --to 0"] {
        let said = run(&standby, &workspace, line).expect(14).says(&list).says(&facts);
        said.says(&["fail back", "restore it", "annals adopt --lost"]);
    }
    let finding = ["DIVERGED: applied at", "2_t2 [ledger.diverged]", "3_t3 [ledger.diverged]"];
    for line in ["status", "verify"] {
        let said = run(&standby, &workspace, line).expect(14).says(&finding).says(&facts);
        assert!(!said.out.contains("1_t1 ["), "{}", said.out);
    }
    let json = run(&standby, &workspace, "migrate --json").expect(14).error_json();
    assert_eq!((&json["exit_code"], json["errors"].as_array().unwrap().len()), (&14.into(), 3));
    run(&standby, &workspace, "keys rotate").expect(0).says(&["DIVERGED"]);
    assert_eq!(tables(&standby), ["t1"]);
    let after = fs::read_to_string(workspace.segment()).unwrap();
    assert!(after.starts_with(&before));
    let said = &after[before.len()..];
    assert!(!said.contains("step_started") && !said.contains("run_started"), "{said}");
}

#[test]
fn a_loss_is_recorded_as_it_was_shown_and_then_the_migrations_are_pending_again() {
    let (mut server, standby, workspace) = lost_two();
    run(&standby, &workspace, "adopt").expect(3).says(&["is here", "nothing to take over"]);
    let shown = run(&standby, &workspace, "adopt --lost").expect(3);
    shown.says(&["lost          2_t2", "lost          3_t3", "nothing recorded yet", "--confirm"]);
    let first = fingerprint(&standby, &workspace);
    run(&standby, &workspace, "adopt --lost --confirm 00000000 --reason r").expect(3);
    run(&standby, &workspace, &format!("adopt --lost --confirm {first}"))
        .expect(3)
        .says(&["--reason"]);
    // What was shown is not what is there any more.
    standby.run("CREATE TABLE stranger ()");
    let line = format!("adopt --lost --reason failover --confirm {first}");
    run(&standby, &workspace, &line).expect(3).says(&["have changed since it was shown"]);
    run(&standby, &workspace, "status").expect(14);
    standby.run("DROP TABLE stranger");
    run(&standby, &workspace, &line).expect(0).says(&["2 changes recorded"]);

    let status = run(&standby, &workspace, "status").expect(0);
    status.says(&["applied      1_t1", "pending      2_t2", "pending      3_t3"]);
    run(&standby, &workspace, "timeline").expect(0).says(&["lost by the target: 2_t2", "failover"]);
    run(&standby, &workspace, "explain 2").expect(0).says(&["timeline_then"]);
    run(&standby, &workspace, "adopt --lost").expect(3).says(&["has everything"]);
    run(&standby, &workspace, "migrate").expect(0).says(&["applied 2_t2", "applied 3_t3"]);
    assert_eq!(tables(&standby), ["t1", "t2", "t3"]);
    run(&standby, &workspace, "verify").expect(0);
    run(&standby, &workspace, "log verify").expect(0).says(&["is intact"]);
    run(&standby, &workspace, "rollback --last 2").expect(0);
    run(&standby, &workspace, "state --json").expect(0);

    // The server that had them is another history now.
    server.start_again();
    workspace.annals("migrate").run().expect(14);
    workspace.annals("status").run().expect(14).says(&["[ledger.different]"]);
}

#[test]
fn a_lost_rollback_leaves_what_it_had_rolled_back() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate").run().expect(0);
    let standby = Standby::of(&server);
    standby.stop_replay();
    workspace.annals("rollback --last 2").run().expect(0);
    server.crash();
    standby.promote();
    let said = run(&standby, &workspace, "migrate").expect(14);
    said.says(&["2_t2: rolled back at", "1_t1: rolled back at", "change 2"]);
    let fingerprint = fingerprint(&standby, &workspace);
    let line = format!("adopt --lost --reason failover --confirm {fingerprint}");
    run(&standby, &workspace, &line).expect(0);
    let status = run(&standby, &workspace, "status").expect(0);
    status.says(&["applied      1_t1", "applied      2_t2"]);
    run(&standby, &workspace, "migrate").expect(0).says(&["nothing to do"]);
    run(&standby, &workspace, "rollback --last 1").expect(0).says(&["rolled back 2_t2"]);
    assert_eq!(tables(&standby), ["t1"]);
    run(&standby, &workspace, "verify").expect(0);
    let state = run(&standby, &workspace, "state --json").expect(0).json();
    assert_eq!(state["applied"].as_array().unwrap().len(), 1, "{state:#}");
}

#[test]
fn a_failover_that_lost_nothing_is_noted_once() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    let standby = Standby::of(&server);
    run(&standby, &workspace, "migrate").expect(7).says(&["a standby", "takes no writes"]);
    server.crash();
    standby.promote();
    run(&standby, &workspace, "status").expect(0);
    let noted = "on timeline 2, the log last saw timeline 1";
    run(&standby, &workspace, "migrate").expect(0).says(&[noted, "applied 2_t2"]);
    for line in ["migrate", "verify", "status", "rollback --last 1"] {
        let said = run(&standby, &workspace, line).expect(0);
        assert!(!said.err.contains("timeline"), "{line}: {}", said.err);
    }
}

#[test]
fn a_commit_in_doubt_when_another_server_takes_over_is_not_silently_run_again() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    let standby = Standby::of(&server);
    standby.stop_replay();
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_commit").run().expect(-1);
    server.crash();
    standby.promote();
    let stopped = run(&standby, &workspace, "migrate").expect(3);
    stopped.says(&["2_t2 had left nothing", "another server has taken over", "timeline 2"]);
    assert_eq!(tables(&standby), ["t1"]);
    run(&standby, &workspace, "migrate").expect(0).says(&["applied 2_t2"]);
    run(&standby, &workspace, "verify").expect(0);
}

#[test]
fn a_commit_in_doubt_that_the_other_server_has_is_found_there() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    let standby = Standby::of(&server);
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_commit").run().expect(-1);
    standby.catches_up(&server);
    server.crash();
    standby.promote();
    let said = run(&standby, &workspace, "migrate").expect(0);
    said.says(&["2_t2 had taken effect", "nothing to do"]);
    run(&standby, &workspace, "verify").expect(0);
}

#[test]
fn a_deleted_row_whose_effect_is_there_is_put_back_not_run_again() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate").run().expect(0);
    server.sql("DELETE FROM annals.ledger WHERE version = '2'");
    workspace.annals("migrate").run().expect(14).says(&["is committed there"]);
    let shown = workspace.annals("adopt --lost --dry-run --json").run().expect(0).json();
    assert_eq!(shown["changes"][0]["holds"], true, "{shown:#}");
    let fingerprint = shown["fingerprint"].as_str().unwrap();
    let line = format!("adopt --lost --reason deleted --confirm {fingerprint}");
    workspace.annals(&line).run().expect(0);
    workspace.annals("migrate").run().expect(0).says(&["nothing to do"]);
    workspace.annals("verify").run().expect(0);

    // Without its effect nobody can say what became of it.
    server.sql("DELETE FROM annals.ledger WHERE version = '2'; DROP TABLE t2");
    let refused = workspace.annals("adopt --lost").run().expect(3);
    refused.says(&["nothing shows whether its effect is", "backup"]);
}
