//! Homes of the log: a folder, the target itself, another database, and the way between them.

use std::fs;

use annals_testkit::{Outcome, Server, Workspace};

fn config(workspace: &Workspace, more: &str) {
    workspace.write(
        "annals.toml",
        format!(
            "workspace = \"test\"\ndefault_target = \"db\"\n\n[targets.db]\nurl_env = \
             \"TEST_URL\"\n{more}\n"
        ),
    );
}

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).run()
}

fn state(workspace: &Workspace, more: &str) -> serde_json::Value {
    run(workspace, &format!("state --json {more}")).expect(0).json()
}

#[test]
fn a_log_in_the_target_does_all_a_log_in_a_folder_does() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    config(&workspace, "event_store = \"postgres\"");
    workspace.tables(3);
    run(&workspace, "status").expect(0);
    run(&workspace, "migrate --to 2").expect(0).says(&["log signed"]);
    run(&workspace, "rollback --last 1").expect(0);
    run(&workspace, "migrate").expect(0);
    run(&workspace, "verify").expect(0);
    run(&workspace, "status").expect(0);
    run(&workspace, "log verify").expect(0).says(&["is intact"]);
    run(&workspace, "history").expect(0).says(&["rolled back"]);
    run(&workspace, "timeline").expect(0);
    run(&workspace, "log show --kind store_installed").expect(0).says(&["postgres, format"]);
    assert!(!workspace.path("event-store/db").exists(), "a log in a database leaves no folder");
    // What leaves the house is verified like any other copy.
    run(&workspace, "log export --to copy").expect(0);
    run(&workspace, "log verify --log copy --key keys/log.pub").expect(0).says(&["tiles"]);
    run(&workspace, "log prove 3 --out p.tlog-proof").expect(0);
    run(&workspace, "log check-proof p.tlog-proof --key keys/log.pub").expect(0);
    run(&workspace, "keys rotate").expect(0);
    run(&workspace, "migrate").expect(0);
    run(&workspace, "log verify").expect(0);
}

#[test]
fn a_line_altered_in_the_target_is_named_and_nothing_more_is_written() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    config(&workspace, "event_store = \"postgres\"");
    workspace.tables(2);
    run(&workspace, "migrate --to 1").expect(0);
    server.sql(
        "ALTER TABLE annals.log_event DISABLE TRIGGER ALL; UPDATE annals.log_event SET line = \
         replace(convert_from(line, 'UTF8'), '\"steps\":1', '\"steps\":2')::bytea WHERE \
         convert_from(line, 'UTF8') LIKE '%\"run_started\"%'",
    );
    let report = run(&workspace, "log verify --json");
    assert!((20..32).contains(&report.code), "{}", report.code);
    run(&workspace, "migrate").expect(9).says(&["damaged", "next:"]);
}

#[test]
fn a_log_moves_into_a_database_and_back_byte_for_byte() {
    let (server, control) = (Server::start(), Server::start());
    let workspace = Workspace::new(&server);
    workspace.tables(4);
    run(&workspace, "migrate --to 1").expect(0);
    let before = fs::read(workspace.segment()).unwrap();

    // Into the target itself.
    run(&workspace, "log migrate --to postgres").expect(0).says(&["event_store = \"postgres\""]);
    run(&workspace, "migrate").expect(3).says(&["was moved", "event_store"]);
    run(&workspace, "log migrate --to file").expect(3).says(&["lives there already"]);
    config(&workspace, "event_store = \"postgres\"");
    run(&workspace, "log verify").expect(0);
    run(&workspace, "migrate --to 2").expect(0);

    // Into a control database.
    let url = control.url();
    run(&workspace, &format!("log migrate --to {url}")).expect(0);
    run(&workspace, "migrate").expect(3).says(&["was moved"]);
    config(&workspace, "event_store_env = \"CONTROL_URL\"");
    let annals = |line: &str| workspace.annals(line).env("CONTROL_URL", &url).run();
    annals("migrate --to 3").expect(0);

    // And home again: what stood in the folder is moved aside, not overwritten.
    annals("log migrate --to file").expect(0).says(&["kept"]);
    config(&workspace, "");
    run(&workspace, "migrate").expect(0);
    run(&workspace, "log verify").expect(0);
    let after = fs::read(workspace.segment()).unwrap();
    assert!(after.starts_with(&before), "the bytes are the same wherever the log has lived");
    assert_eq!(state(&workspace, "")["applied"].as_array().unwrap().len(), 4);
    run(&workspace, "log show --kind log_moved").expect(0).says(&["postgres:", "to file"]);
}

#[test]
fn a_home_that_would_not_take_the_log_leaves_it_where_it_is() {
    let (server, control) = (Server::start(), Server::start());
    let workspace = Workspace::new(&server);
    workspace.tables(3);
    run(&workspace, "migrate --to 1").expect(0);
    let url = control.url();
    run(&workspace, &format!("log migrate --to {url}")).expect(0);
    config(&workspace, "event_store_env = \"CONTROL_URL\"");
    let annals = |line: &str| workspace.annals(line).env("CONTROL_URL", &url).run();
    annals("log migrate --to file").expect(0);
    config(&workspace, "");
    // The database still holds what the log was when it left it.
    run(&workspace, &format!("log migrate --to {url}"))
        .expect(3)
        .says(&["older copy", "choose another home"]);
    run(&workspace, "log migrate --to postgres://nobody@127.0.0.1:1/none").expect(7);
    // Nothing was recorded: the log goes on where it is.
    run(&workspace, "migrate").expect(0);
    run(&workspace, "log verify").expect(0);
}

#[test]
fn a_move_that_was_cut_short_is_finished_by_the_next() {
    let (server, control) = (Server::start(), Server::start());
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    run(&workspace, "migrate --to 1").expect(0);
    // The log says that it moves, and then the new home is gone.
    let url = control.url();
    run(&workspace, &format!("log migrate --to {url}")).expect(0);
    control.sql(
        "DO $$ DECLARE t text; BEGIN FOREACH t IN ARRAY ARRAY['log_event', 'log_head', \
         'log_checkpoint', 'log_blob'] LOOP EXECUTE format('ALTER TABLE annals.%I DISABLE TRIGGER \
         ALL', t); END LOOP; END $$; TRUNCATE annals.log_event, annals.log_head, \
         annals.log_checkpoint, annals.log_blob;",
    );
    run(&workspace, "migrate").expect(3).says(&["was moved"]);
    run(&workspace, &format!("log migrate --to {url}")).expect(0);
    config(&workspace, "event_store_env = \"CONTROL_URL\"");
    workspace.annals("migrate").env("CONTROL_URL", &url).run().expect(0);
}

#[test]
fn a_store_that_cannot_be_reached_is_said_to_be_and_nothing_runs() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(1);
    for (more, code, says) in [
        ("event_store = \"mysql\"", 3, "event_store"),
        ("event_store = \"postgres://u:s3cret@h/d\"", 3, "password"),
        ("event_store_env = \"NOT_SET\"", 7, "NOT_SET"),
        ("event_store = \"postgres://nobody@127.0.0.1:1/none\"", 7, "cannot reach"),
        ("event_store = \"postgres\"\nevent_store_env = \"X\"", 3, "not both"),
    ] {
        config(&workspace, more);
        let outcome = run(&workspace, "migrate").expect(code).says(&[says]);
        assert!(!outcome.err.contains("s3cret"));
    }
    config(&workspace, "");
    run(&workspace, "migrate").expect(0);
}
