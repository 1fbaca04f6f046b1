//! A whole run in one transaction: every migration takes effect, or none does.

use annals_testkit::{Cut, Outcome, Proxy, Server, ServerOptions, Workspace, wait_for};

#[track_caller]
fn ran(workspace: &Workspace, line: &str, code: i32) -> Outcome {
    workspace.annals(line).run().expect(code)
}

/// Three migrations that count themselves; the second one holds `second`.
fn three(server: &Server, second: &str) -> Workspace {
    let workspace = Workspace::new(server);
    write_three(server, &workspace, second);
    workspace
}

fn write_three(server: &Server, workspace: &Workspace, second: &str) {
    server.sql("CREATE TABLE effects (what text, xid text DEFAULT pg_current_xact_id()::text)");
    for k in 1..=3 {
        let more = if k == 2 { second } else { "" };
        workspace.migration(
            &format!("{k}_t{k}"),
            &format!(
                "CREATE TABLE t{k} (id int);\nINSERT INTO effects VALUES ('up {k}');\n{more}\n"
            ),
            &format!("DROP TABLE t{k};\nINSERT INTO effects VALUES ('down {k}');\n"),
        );
    }
}

fn effects(server: &Server) -> Vec<String> {
    server.rows("SELECT what FROM effects ORDER BY what")
}

fn ledger_rows(server: &Server) -> Vec<String> {
    match server.value("SELECT to_regclass('annals.ledger') IS NOT NULL").as_str() {
        "true" => server.rows("SELECT version FROM annals.ledger ORDER BY intent_seq"),
        _ => Vec::new(),
    }
}

fn history(workspace: &Workspace) -> Vec<String> {
    let document = ran(workspace, "history --json", 0).json();
    let entries = document["entries"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    entries.map(|entry| format!("{} {}", text(&entry["what"]), text(&entry["version"]))).collect()
}

/// What was done was done in one transaction, once, and everything agrees.
#[track_caller]
fn all_three(server: &Server, workspace: &Workspace) {
    assert_eq!(effects(server), ["up 1", "up 2", "up 3"]);
    assert_eq!(server.value("SELECT count(DISTINCT xid) FROM effects"), "1");
    assert_eq!(ledger_rows(server), ["1", "2", "3"]);
    ran(workspace, "verify", 0);
    ran(workspace, "log verify", 0).says(&["is intact"]);
    ran(workspace, "migrate --single-transaction", 0).says(&["nothing to do"]);
}

#[test]
fn all_steps_commit_together_up_and_down() {
    let server = Server::start();
    let workspace = three(&server, "");
    ran(&workspace, "migrate --single-transaction", 0).says(&["3 steps of 3"]);
    all_three(&server, &workspace);
    assert_eq!(history(&workspace), ["applied 1", "applied 2", "applied 3"]);
    ran(&workspace, "rollback --to 0 --single-transaction", 0).says(&["3 steps of 3"]);
    let down = "SELECT count(DISTINCT xid) FROM effects WHERE what LIKE 'down%'";
    assert_eq!(server.value(down), "1");
    assert_eq!(server.rows("SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]$'"), [""; 0]);
    ran(&workspace, "verify", 0);
}

#[test]
fn one_that_fails_takes_all_back_and_is_named() {
    let server = Server::start();
    let workspace = three(&server, "SELECT 1;\nSELECT nobody FROM effects;");
    let failed = ran(&workspace, "migrate --single-transaction", 4);
    failed.says(&["2_t2.sql:4: column \"nobody\" does not exist", "0 steps of 3"]);
    assert_eq!((effects(&server), ledger_rows(&server)), (vec![], vec![]));
    assert_eq!(history(&workspace), ["failed 1", "failed 2", "failed 3"]);
    let log = ran(&workspace, "log show --json", 0).out;
    assert_eq!(log.matches("rolled back together with 2_t2").count(), 2, "{log}");
    workspace.write(
        "migrations/2_t2.sql",
        "CREATE TABLE t2 (id int);\nINSERT INTO effects VALUES ('up 2');\n",
    );
    ran(&workspace, "migrate --single-transaction", 0).says(&["3 steps of 3"]);
    all_three(&server, &workspace);
}

#[test]
fn a_kill_before_the_commit_leaves_nothing_and_after_it_everything() {
    for (point, fate) in [
        ("after_intent", "had left nothing"),
        ("before_commit", "had left nothing"),
        ("after_commit", "had taken effect"),
    ] {
        let server = Server::start();
        let workspace = three(&server, "");
        let killed = workspace.annals("migrate --single-transaction");
        killed.env("ANNALS_FAILPOINT", point).run().expect(-1);
        wait_for("the end of its backend", || {
            let alive = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%'";
            server.rows(alive).is_empty().then_some(())
        });
        let state = ran(&workspace, "state --json", 0).json();
        assert_eq!(state["in_doubt"], serde_json::json!(["1_t1", "2_t2", "3_t3"]), "{point}");
        let each = ["1_t1", "2_t2", "3_t3"].map(|id| format!("{id} {fate}"));
        let each: Vec<&str> = each.iter().map(String::as_str).collect();
        ran(&workspace, "status", 0).says(&["recovered a run by tester"]).says(&each);
        ran(&workspace, "migrate --single-transaction", 0);
        all_three(&server, &workspace);
    }
}

#[test]
fn a_commit_around_which_the_connection_is_lost_is_settled_for_all() {
    for (cut, code, first) in
        [(Cut::BeforeCommit, 4, "did not take effect"), (Cut::AfterCommit, 0, "3 steps of 3")]
    {
        let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
        let proxy = Proxy::start(server.tcp_port(), cut, 1);
        let (own, other) = (server.tcp_port().to_string(), proxy.port().to_string());
        let workspace = Workspace::with_url(&server.tcp_url().replace(&own, &other));
        write_three(&server, &workspace, "");
        ran(&workspace, "migrate --single-transaction", code).says(&[first]);
        ran(&workspace, "migrate --single-transaction", 0);
        all_three(&server, &workspace);
    }
}

#[test]
fn a_file_that_cannot_run_in_a_transaction_is_refused_before_anything_begins() {
    let server = Server::start();
    let workspace = three(&server, "");
    let up = "-- annals: transaction=off\nVACUUM effects;\n";
    workspace.migration("4_vacuum", up, "SELECT 1;\n");
    for line in ["plan --single-transaction", "migrate --single-transaction"] {
        ran(&workspace, line, 3)
            .says(&["4_vacuum: it cannot run in a transaction", "without --single-transaction"]);
    }
    assert_eq!(effects(&server), [""; 0]);
    ran(&workspace, "migrate --single-transaction --to 3", 0);
    ran(&workspace, "migrate", 0).says(&["1 step of 1"]);
}
