//! An emergency whose event log cannot be reached: it goes on with a journal, which becomes part of
//! the log as soon as both are there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use annals_testkit::{Outcome, Server, Workspace};

const EMERGENCY: &str = "rollback --emergency --yes --reason down";

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).run()
}

/// Two migrations of a run that was verified, one of another run.
fn shop(server: &Server) -> Workspace {
    let workspace = Workspace::new(server);
    fill(&workspace);
    workspace
}

fn fill(workspace: &Workspace) {
    for (id, table) in [("1_a", "a"), ("2_b", "b")] {
        let up = format!("CREATE TABLE {table} (id int PRIMARY KEY);");
        workspace.migration(id, &up, &format!("DROP TABLE {table};"));
    }
    run(workspace, "migrate").expect(0);
    run(workspace, "verify").expect(0);
    for (id, table) in [("3_c", "c"), ("4_d", "d")] {
        let up = format!("CREATE TABLE {table} (id int PRIMARY KEY);");
        workspace.migration(id, &up, &format!("DROP TABLE {table};"));
    }
    run(workspace, "migrate").expect(0);
}

fn tables(server: &Server) -> Vec<String> {
    server.rows("SELECT relname FROM pg_class WHERE relname IN ('a', 'b', 'c', 'd') ORDER BY 1")
}

/// What each row of the ledger names.
fn logs(server: &Server) -> Vec<String> {
    server.rows("SELECT DISTINCT log_origin FROM annals.ledger ORDER BY 1")
}

fn away(workspace: &Workspace) -> PathBuf {
    let elsewhere = workspace.path("unmounted");
    fs::rename(workspace.path("event-store"), &elsewhere).unwrap();
    elsewhere
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-RT").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

fn back(workspace: &Workspace) {
    fs::rename(workspace.path("unmounted"), workspace.path("event-store")).unwrap();
}

/// Log and ledger say the same, every event is signed, and no journal waits.
fn all_is_well(server: &Server, workspace: &Workspace) {
    assert_eq!(logs(server), ["test/db"]);
    assert!(!workspace.path("journal/db").exists());
    run(workspace, "log verify").expect(0);
    let status = run(workspace, "status --json").expect(0).json();
    assert_eq!(status["mismatches"].as_array().map(Vec::len), Some(0), "{status}");
    run(workspace, "verify").expect(0);
}

fn changes(workspace: &Workspace) -> Vec<String> {
    let history = run(workspace, "history --json").expect(0).json();
    let entries = history["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("what"), text("version"))
        })
        .collect()
}

#[test]
fn without_its_log_an_emergency_takes_back_the_newest_run_and_the_log_learns_of_it() {
    let server = Server::start();
    let workspace = shop(&server);
    let elsewhere = away(&workspace);
    run(&workspace, "rollback --last 1 --yes").expect(2);
    run(&workspace, "rollback --last 1").expect(3).says(&["there is none"]);
    // What it would do, from the ledger alone; nothing is written.
    let dry = "rollback --emergency --dry-run";
    run(&workspace, dry).expect(0).says(&[
        "cannot be reached",
        "roll back 4_d",
        "4_d_rollback.sql",
    ]);
    let undone = |line: &str| {
        let look = run(&workspace, &format!("{dry} --json {line}")).expect(0).json();
        let steps = look["steps"].as_array().unwrap().iter();
        steps.map(|step| step["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(undone(""), ["4_d", "3_c"]);
    assert_eq!(undone("--to 1"), ["4_d", "3_c", "2_b"]);
    assert_eq!(undone("--last 1"), ["4_d"]);
    assert_eq!(undone("--to 0").len(), 4);
    run(&workspace, &format!("{dry} --to 7")).expect(3).says(&["is not applied"]);
    run(&workspace, &format!("{dry} --to-time 2026-01-01")).expect(3).says(&["without the log"]);
    assert!(!workspace.path("journal").exists());
    let done = run(&workspace, EMERGENCY).expect(0);
    done.says(&["cannot be reached", "journal", "journal/db", "db is back and verified"]);
    assert_eq!(tables(&server), ["a", "b"]);
    assert_eq!(logs(&server).len(), 2, "its own rows name the journal, the others the log");

    // Whoever has the log and not the journal is told where it is.
    let other = Workspace::new(&server);
    for part in ["migrations", "rollbacks", "keys"] {
        copy(&workspace.path(part), &other.path(part));
    }
    copy(&elsewhere, &other.path("event-store"));
    run(&other, "status").expect(3).says(&["journal", "annals status there"]);
    run(&other, "migrate").expect(3);

    // Again: there is nothing left to be taken back, and nothing is.
    run(&workspace, dry).expect(0).says(&["its journal says"]);
    run(&workspace, EMERGENCY).expect(0);
    assert_eq!(tables(&server), ["a", "b"]);

    back(&workspace);
    let said = run(&workspace, "status").expect(0);
    said.says(&[
        "an emergency went without this log",
        "3_c",
        "pending",
        "approve --target db --review",
    ]);
    all_is_well(&server, &workspace);
    let history = changes(&workspace);
    assert_eq!(
        history,
        ["applied 1", "applied 2", "applied 3", "applied 4", "rolled back 4", "rolled back 3"]
    );
    let kinds = workspace.kinds();
    let place = kinds.iter().position(|kind| kind == "break_glass_used").unwrap();
    assert!(kinds[place..].contains(&"emergency_declared".to_owned()));
    assert!(kinds[place..].contains(&"emergency_finished".to_owned()));
    assert_eq!(kinds.iter().filter(|kind| *kind == "log_created").count(), 1);

    // What was written instead is kept, and is what the log says it is.
    let kept: Vec<PathBuf> = fs::read_dir(workspace.path("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(kept.len(), 1);
    let sum = format!("cat '{}'/segments/* | sha256sum", kept[0].display());
    let sum = Command::new("sh").args(["-c", &sum]).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
    let log = fs::read_to_string(workspace.segment()).unwrap();
    assert!(log.contains(&format!("\"journal\":\"{sum}\"")));
    run(&workspace, "migrate").expect(0);
    assert_eq!(tables(&server), ["a", "b", "c", "d"]);
}

#[test]
fn a_log_in_another_database_may_be_down() {
    let server = Server::start();
    let mut store = Server::start();
    let workspace = Workspace::new(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", format!("{config}event_store = {:?}\n", store.url()));
    fill(&workspace);
    store.crash();
    let refused = run(&workspace, "status");
    assert_ne!(refused.code, 0);
    run(&workspace, EMERGENCY).expect(0).says(&["cannot be reached", "is back and verified"]);
    assert_eq!(tables(&server), ["a", "b"]);
    store.start_again();
    run(&workspace, "migrate --dry-run").expect(0).says(&["3_c", "4_d"]);
    all_is_well(&server, &workspace);
}

#[test]
fn what_is_killed_without_its_log_is_settled_with_it() {
    // In the journal, in the step, behind its commit, and in each part of becoming one with the log.
    let points = [
        ("journal_begun", &["a", "b", "c", "d"][..]),
        ("after_intent", &["a", "b", "c", "d"]),
        ("after_commit", &["a", "b", "c"]),
    ];
    for (point, left) in points {
        for merge_point in ["", "journal_in_log", "journal_in_ledger"] {
            let server = Server::start();
            let workspace = shop(&server);
            away(&workspace);
            let killed = workspace.annals(EMERGENCY).env("ANNALS_FAILPOINT", point);
            killed.run().expect(-1);
            assert_eq!(tables(&server), left, "{point}");
            back(&workspace);
            if !merge_point.is_empty() {
                let killed = workspace.annals("status").env("ANNALS_FAILPOINT", merge_point);
                killed.run().expect(-1);
            }
            run(&workspace, "status").expect(0);
            assert_eq!(tables(&server), left, "{point}, {merge_point}");
            all_is_well(&server, &workspace);
            run(&workspace, &format!("{EMERGENCY} --to 2")).expect(0);
            assert_eq!(tables(&server), ["a", "b"], "{point}, {merge_point}");
            all_is_well(&server, &workspace);
        }
    }
}

#[test]
fn a_journal_that_goes_on_after_its_merge_was_killed_is_in_the_log_once() {
    for merge_point in ["journal_in_log", "journal_in_ledger"] {
        let server = Server::start();
        let workspace = shop(&server);
        away(&workspace);
        run(&workspace, &format!("{EMERGENCY} --to 3")).expect(0);
        back(&workspace);
        workspace.annals("status").env("ANNALS_FAILPOINT", merge_point).run().expect(-1);
        // The log goes away once more, and what was not put away is taken up.
        away(&workspace);
        run(&workspace, &format!("{EMERGENCY} --to 2")).expect(0);
        assert_eq!(tables(&server), ["a", "b"], "{merge_point}");
        back(&workspace);
        run(&workspace, "status").expect(0);
        all_is_well(&server, &workspace);
        let history = changes(&workspace);
        assert_eq!(history[history.len() - 3..], ["applied 4", "rolled back 4", "rolled back 3"]);
        let kinds = workspace.kinds();
        let twice = kinds.iter().filter(|kind| *kind == "break_glass_used").count();
        assert_eq!(twice, 2, "{merge_point}: what was added is said to be added");
        run(&workspace, "migrate").expect(0);
        all_is_well(&server, &workspace);
    }
}

#[test]
fn a_run_that_was_killed_before_its_log_went_away_is_settled_first() {
    let server = Server::start();
    let workspace = shop(&server);
    workspace.migration("5_e", "CREATE TABLE e (id int);", "DROP TABLE e;");
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_commit").run().expect(-1);
    away(&workspace);
    // Its row is evidence, also for the journal: that is the run that is taken back.
    run(&workspace, EMERGENCY).expect(0);
    assert_eq!(server.rows("SELECT 1 FROM pg_class WHERE relname = 'e'"), [""; 0]);
    assert_eq!(tables(&server), ["a", "b", "c", "d"]);
    back(&workspace);
    run(&workspace, "status").expect(0);
    all_is_well(&server, &workspace);
    let history = changes(&workspace);
    assert_eq!(history[history.len() - 2..], ["applied 5", "rolled back 5"]);
}

#[test]
fn an_older_copy_of_the_log_takes_no_journal() {
    let server = Server::start();
    let workspace = shop(&server);
    let older = workspace.path("older");
    copy(&workspace.path("event-store"), &older);
    workspace.migration("5_e", "CREATE TABLE e (id int);", "DROP TABLE e;");
    run(&workspace, "migrate").expect(0);
    away(&workspace);
    run(&workspace, EMERGENCY).expect(0);
    fs::rename(&older, workspace.path("event-store")).unwrap();
    run(&workspace, "status").expect(9).says(&["older copy"]);
    assert!(workspace.path("journal/db").exists());
    fs::remove_dir_all(workspace.path("event-store")).unwrap();
    back(&workspace);
    run(&workspace, "status").expect(0);
    all_is_well(&server, &workspace);
}

#[test]
fn what_only_the_log_knows_is_refused_without_it() {
    let server = Server::start();
    let workspace = shop(&server);
    away(&workspace);
    let refused = run(&workspace, &format!("{EMERGENCY} --to-time 2026-01-01T00:00:00Z"));
    refused.expect(3).says(&["--to VERSION"]);
    run(&workspace, &format!("{EMERGENCY} --to 3")).expect(0);
    assert_eq!(tables(&server), ["a", "b", "c"]);
    // A target nothing was ever applied to by this log has nothing a journal could take back.
    let fresh = Server::start();
    let fresh = Workspace::new(&fresh);
    let refused = run(&fresh, EMERGENCY);
    assert_ne!(refused.code, 0);
    assert!(!fresh.path("journal").exists());
}

#[test]
fn a_log_that_is_lost_for_good_is_taken_over_with_its_journal() {
    let server = Server::start();
    let workspace = shop(&server);
    away(&workspace);
    run(&workspace, EMERGENCY).expect(0);
    let shown = run(&workspace, "adopt --dry-run --json").expect(0).json();
    let confirm = shown["fingerprint"].as_str().unwrap();
    let adopt = format!("adopt --confirm {confirm} --reason lost");
    run(&workspace, &adopt).expect(0);
    run(&workspace, "status").expect(0).says(&["2 applied, 2 pending", "left behind"]);
    run(&workspace, "status").expect(0);
    assert_eq!(logs(&server), ["test/db/2"]);
    run(&workspace, "migrate").expect(0);
    assert_eq!(tables(&server), ["a", "b", "c", "d"]);
    run(&workspace, "log verify").expect(0);
}

#[test]
fn emergencies_that_start_together_share_one_journal() {
    let server = Server::start();
    let workspace = shop(&server);
    away(&workspace);
    let line = format!("{EMERGENCY} --to 2");
    let running: Vec<_> = (0..4).map(|_| workspace.annals(&line).start()).collect();
    for each in running {
        each.wait().expect(0);
    }
    assert_eq!(tables(&server), ["a", "b"]);
    back(&workspace);
    run(&workspace, "status").expect(0);
    all_is_well(&server, &workspace);
}

#[test]
fn a_policy_that_asks_for_approvals_holds_without_the_log_too() {
    let server = Server::start();
    let workspace = shop(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let asks = |line: &str| {
        let policy = format!("{config}\n[targets.db.approvals]\nrequired = 1\n{line}\n");
        workspace.write("annals.toml", policy);
    };
    run(&workspace, "keys generate approver ada").expect(0);
    run(&workspace, "keys approver add ada").expect(0);
    asks("");
    away(&workspace);
    run(&workspace, EMERGENCY).expect(19);
    assert_eq!(tables(&server), ["a", "b", "c", "d"]);
    asks("break_glass = true");
    run(&workspace, EMERGENCY).expect(0);
    assert_eq!(tables(&server), ["a", "b"]);
    back(&workspace);
    run(&workspace, "status").expect(0).says(&["without log", "without approval"]);
    all_is_well(&server, &workspace);
}
