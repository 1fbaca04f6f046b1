//! Killed, cut off, crowded out: every migration takes effect exactly once, and the log says so.

use std::process::Command;

use annals_testkit::{
    Annals, Cut, Outcome, Proxy, Running, Server, ServerOptions, SmallDisk, Workspace, kill,
    wait_for,
};

/// Removes everything, and makes a table in which each statement of interest counts itself.
fn reset(server: &Server) {
    server.sql(
        "DROP SCHEMA IF EXISTS annals CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public; \
         CREATE TABLE effects (what text); CREATE TABLE gate (closed bool)",
    );
}

/// Three migrations of two statements each, and their rollbacks.
fn three(server: &Server) -> Workspace {
    reset(server);
    let workspace = Workspace::new(server);
    write_three(&workspace);
    workspace
}

fn write_three(workspace: &Workspace) {
    for k in 1..=3 {
        workspace.migration(
            &format!("{k}_t{k}"),
            &format!("CREATE TABLE t{k} (id int);\nINSERT INTO effects VALUES ('up {k}');\n"),
            &format!("DROP TABLE t{k};\nINSERT INTO effects VALUES ('down {k}');\n"),
        );
    }
}

/// [`three`], the second of which sleeps for a minute as long as the gate is closed.
fn three_with_gate(server: &Server) -> Workspace {
    let workspace = three(server);
    let up = "INSERT INTO effects VALUES ('up 2');\nSELECT pg_sleep(60) FROM gate;\n\
              CREATE TABLE t2 (id int);\n";
    workspace.write("migrations/2_t2.sql", up);
    server.sql("INSERT INTO gate VALUES (true)");
    workspace
}

fn open_gate(server: &Server) {
    server.sql("DELETE FROM gate");
}

fn effects(server: &Server) -> Vec<String> {
    server.rows("SELECT what FROM effects ORDER BY what")
}

/// Process ids of the backends of runs.
fn backends(server: &Server) -> Vec<String> {
    server.rows("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%'")
}

fn wait_until_nobody_works(server: &Server) {
    wait_for("the end of every backend of a run", || backends(server).is_empty().then_some(()));
}

/// Waits until a run sleeps at the gate, and returns its backend.
fn at_the_gate(server: &Server) -> u64 {
    let asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let pid = wait_for("a run at the gate", || server.rows(asleep).pop());
    pid.parse().unwrap()
}

fn ledger_rows(server: &Server) -> usize {
    let there = server.value("SELECT to_regclass('annals.ledger') IS NOT NULL");
    match there.as_str() {
        "true" => server.rows("SELECT version FROM annals.ledger").len(),
        _ => 0,
    }
}

#[track_caller]
fn ran(workspace: &Workspace, line: &str, code: i32) -> Outcome {
    workspace.annals(line).run().expect(code)
}

/// What the log says happened, such as `applied 1`, oldest first.
fn history(workspace: &Workspace) -> Vec<String> {
    let document = ran(workspace, "history --json", 0).json();
    let entries = document["entries"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    entries
        .iter()
        .map(|entry| format!("{} {}", text(&entry["what"]), text(&entry["version"])))
        .collect()
}

/// Ledger, log, files and schema agree, and the log is intact.
#[track_caller]
fn all_is_well(workspace: &Workspace) {
    ran(workspace, "verify", 0);
    ran(workspace, "log verify", 0).says(&["is intact"]);
}

/// All three are applied, each exactly once.
#[track_caller]
fn three_are_applied(server: &Server, workspace: &Workspace) {
    assert_eq!(effects(server), ["up 1", "up 2", "up 3"]);
    let applied = |entry: &String| entry.starts_with("applied");
    let applied: Vec<String> = history(workspace).into_iter().filter(applied).collect();
    assert_eq!(applied, ["applied 1", "applied 2", "applied 3"]);
    assert_eq!(ledger_rows(server), 3);
    all_is_well(workspace);
}

#[track_caller]
fn does_not_say(outcome: &Outcome, words: &str) {
    let text = format!("{}{}", outcome.out, outcome.err);
    assert!(!text.contains(words), "{} says {words:?}:\n{text}", outcome.line);
}

/// A point of the protocol, the step of the plan (from 1) it lies in, and what a kill there leaves.
struct Point {
    name: &'static str,
    step: usize,
    leaves: Leaves,
}

#[derive(PartialEq, Eq)]
enum Leaves {
    /// An open step that left nothing.
    Nothing,
    /// An open step that took effect.
    Effect,
    /// A run that has ended; only its schema and its checkpoint are missing.
    EndedRun,
}

const fn at(name: &'static str, step: usize, leaves: Leaves) -> Point {
    Point { name, step, leaves }
}

/// Every point of a transactional step, in the first and in the second step of three.
const TRANSACTIONAL: [Point; 9] = [
    at("after_intent:1", 1, Leaves::Nothing),
    at("after_intent:2", 2, Leaves::Nothing),
    at("while_working:1", 1, Leaves::Nothing),
    at("while_working:2", 2, Leaves::Nothing),
    at("before_commit:1", 1, Leaves::Nothing),
    at("before_commit:2", 2, Leaves::Nothing),
    at("after_commit:1", 1, Leaves::Effect),
    at("after_commit:2", 2, Leaves::Effect),
    at("after_outcome", 3, Leaves::EndedRun),
];

/// Kills `line` at a point in its step on `version`, lets `next` settle it, and finishes `line`.
fn killed_and_settled(
    (server, workspace): (&Server, &Workspace),
    line: &str,
    (point, version): (&Point, usize),
    next: &str,
) {
    let before = ledger_rows(server);
    let command = workspace.annals(line).env("ANNALS_FAILPOINT", point.name);
    command.run().expect(-1);
    let steps = point.step - usize::from(point.leaves == Leaves::Nothing);
    assert_eq!(ledger_rows(server) - before, steps, "{line} at {}", point.name);
    if next == "status" {
        wait_until_nobody_works(server);
    }
    let settled = workspace.annals(next).run().expect(0);
    let fate = match point.leaves {
        Leaves::Nothing => "had left nothing",
        Leaves::Effect => "had taken effect",
        Leaves::EndedRun => return does_not_say(&settled, "recovered"),
    };
    let said = format!("cut short: {version}_t{version} {fate}");
    settled.says(&["recovered a run by tester", &said]);
    workspace.annals(line).run().expect(0);
}

fn at_every_transactional_point(next: impl Fn(&str) -> String) {
    let server = Server::start();
    for point in &TRANSACTIONAL {
        let workspace = three(&server);
        let (up, down) = ("migrate", "rollback --to 0");
        killed_and_settled((&server, &workspace), up, (point, point.step), &next(up));
        assert_eq!(effects(&server), ["up 1", "up 2", "up 3"], "{}", point.name);
        let version = 4 - point.step;
        killed_and_settled((&server, &workspace), down, (point, version), &next(down));
        let all = ["down 1", "down 2", "down 3", "up 1", "up 2", "up 3"];
        assert_eq!(effects(&server), all, "{}", point.name);
        let tables = "SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]$'";
        assert_eq!(server.rows(tables), [""; 0], "{}", point.name);

        let mut told: Vec<String> = (1..=3).map(|k| format!("applied {k}")).collect();
        let mut back: Vec<String> = (1..=3).rev().map(|k| format!("rolled back {k}")).collect();
        if point.leaves == Leaves::Nothing {
            told.insert(point.step - 1, format!("failed {}", point.step));
            back.insert(point.step - 1, format!("failed {version}"));
        }
        told.append(&mut back);
        assert_eq!(history(&workspace), told, "{}", point.name);
        all_is_well(&workspace);
    }
}

#[test]
fn status_settles_a_run_killed_at_any_point_of_a_transaction() {
    at_every_transactional_point(|_| "status".to_owned());
}

#[test]
fn the_same_command_goes_on_behind_a_kill_at_any_point_of_a_transaction() {
    at_every_transactional_point(str::to_owned);
}

#[test]
fn verify_settles_a_run_killed_at_any_point_of_a_transaction() {
    at_every_transactional_point(|_| "verify".to_owned());
}

/// A file of five statements, three of which cannot run in a transaction, in both directions.
fn outside(server: &Server) -> Workspace {
    reset(server);
    server.sql(
        "CREATE TABLE things (id int, no int); CREATE INDEX old ON things (no); \
         INSERT INTO things SELECT n, n FROM generate_series(1, 100) n",
    );
    let workspace = Workspace::new(server);
    let file = |direction: &str, built: &str, dropped: &str| {
        format!(
            "-- annals: transaction=off\n\
             INSERT INTO effects VALUES ('{direction} 1');\n{built};\nVACUUM things;\n\
             DROP INDEX CONCURRENTLY {dropped};\nINSERT INTO effects VALUES ('{direction} 5');\n"
        )
    };
    workspace.migration(
        "1_swap",
        &file("up", "CREATE INDEX CONCURRENTLY new ON things (id, no)", "old"),
        &file("down", "CREATE INDEX CONCURRENTLY old ON things (no)", "new"),
    );
    workspace
}

/// Names of the indexes of `things`, with a mark on what is not usable.
fn indexes(server: &Server) -> Vec<String> {
    server.rows(
        "SELECT c.relname || CASE WHEN i.indisvalid AND i.indisready THEN '' ELSE ' INVALID' END \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = 'things'::regclass ORDER BY 1",
    )
}

/// Every point of a step of five statements, and what the next command says of a kill there.
fn outside_points() -> Vec<(String, &'static str)> {
    let half = "is half done";
    let mut points = vec![
        ("after_intent".to_owned(), "had left nothing"),
        ("before_commit".to_owned(), half),
        ("after_commit".to_owned(), "had taken effect"),
    ];
    // Only the three that run outside a transaction have a row behind their effect.
    for (name, times) in [("intent", 5), ("effect", 5), ("row", 3), ("outcome", 5)] {
        points.extend((1..=times).map(|n| (format!("after_statement_{name}:{n}"), half)));
    }
    points
}

/// Kills every second of the points, beginning with `from`, in both directions.
fn at_points_outside_a_transaction(from: usize) {
    let server = Server::start();
    let directions = [("migrate", "up", "new"), ("rollback --last 1", "down", "old")];
    for (n, (point, fate)) in outside_points().iter().enumerate().skip(from).step_by(2) {
        let workspace = outside(&server);
        let mut counted: Vec<String> = Vec::new();
        for (line, direction, index) in directions {
            let about = format!("{line} at {point}");
            let command = workspace.annals(line).env("ANNALS_FAILPOINT", point);
            command.run().expect(-1);
            let took_effect = *fate == "had taken effect";
            let next = ["status", "verify", line][n / 2 % 3];
            // What has taken effect cannot be rolled back once more.
            let next = if took_effect { "status" } else { next };
            if next == "status" {
                wait_until_nobody_works(&server);
            }
            // What is half done is a finding.
            let code = if next == "verify" && fate.contains("half done") { 11 } else { 0 };
            let settled = workspace.annals(next).run().expect(code);
            if direction == "down" {
                does_not_say(&settled, "migrate continues it");
            }
            settled.says(&["recovered a run by tester", &format!("1_swap {fate}")]);
            if next != line && !took_effect {
                workspace.annals(line).run().expect(0);
            }
            counted.extend([format!("{direction} 1"), format!("{direction} 5")]);
            counted.sort();
            assert_eq!(effects(&server), counted, "{about}");
            assert_eq!(indexes(&server), [index], "{about}");
        }
        all_is_well(&workspace);
        let told = history(&workspace);
        let told: Vec<&String> = told.iter().filter(|entry| !entry.starts_with("failed")).collect();
        assert_eq!(told, ["applied 1", "rolled back 1"], "{point}");
    }
}

#[test]
fn statements_outside_a_transaction_take_effect_once_wherever_the_run_is_killed() {
    at_points_outside_a_transaction(0);
}

#[test]
fn statements_outside_a_transaction_take_effect_once_at_the_other_points_too() {
    at_points_outside_a_transaction(1);
}

#[test]
fn what_is_half_done_is_finished_before_anything_goes_the_other_way() {
    let server = Server::start();
    let workspace = outside(&server);
    let killed = workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_statement_outcome:3");
    killed.run().expect(-1);
    wait_until_nobody_works(&server);
    ran(&workspace, "status", 0).says(&["half done", "annals migrate"]);
    ran(&workspace, "migrate", 0);
    let killed = workspace.annals("rollback --last 1");
    let killed = killed.env("ANNALS_FAILPOINT", "after_statement_outcome:1");
    killed.run().expect(-1);
    ran(&workspace, "migrate", 3)
        .says(&["1_swap: it is rolled back half-way", "annals rollback --last 1"]);
    ran(&workspace, "rollback --last 1", 0);
    assert_eq!(effects(&server), ["down 1", "down 5", "up 1", "up 5"]);
    assert_eq!(indexes(&server), ["old"]);
    all_is_well(&workspace);
}

#[test]
fn a_statement_that_outlives_its_killed_client_is_waited_for() {
    let server = Server::start();
    let workspace = three_with_gate(&server);
    let first = workspace.annals("migrate").start();
    let old = at_the_gate(&server);
    // Standing still, it cannot notice that its client is gone.
    kill(old, "STOP");
    first.signal("KILL");
    first.wait().expect(-1);
    ran(&workspace, "status", 0).says(&["running: annals/", &format!("backend {old}"), "in doubt"]);
    let second = workspace.annals("migrate").start();
    wait_for("the second run to wait for the lock", || {
        (backends(&server).len() == 2).then_some(())
    });
    assert_eq!(effects(&server), ["up 1"]);
    open_gate(&server);
    kill(old, "CONT");
    second.wait().expect(0).says(&["recovered a run by tester", "2_t2 had left nothing"]);
    three_are_applied(&server, &workspace);
}

fn index_oid(server: &Server) -> String {
    server.value("SELECT 'new'::regclass::oid")
}

#[test]
fn an_invalid_index_an_interrupted_build_of_ours_left_is_built_anew() {
    let server = Server::start();
    let workspace = outside(&server);
    let writer = server.hold("INSERT INTO things VALUES (0, 0)");
    let building = workspace.annals("migrate").start();
    let builder = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%' \
                   AND query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'";
    let builder = wait_for("the build to wait for the writer", || server.rows(builder).pop());
    building.signal("KILL");
    building.wait().expect(-1);
    server.value(&format!("SELECT pg_terminate_backend({builder})"));
    wait_until_nobody_works(&server);
    drop(writer);
    assert_eq!(indexes(&server), ["new INVALID", "old"]);
    let left = index_oid(&server);
    ran(&workspace, "migrate", 0).says(&["recovered a run by tester", "1_swap is half done"]);
    assert_eq!(indexes(&server), ["new"]);
    assert_ne!(index_oid(&server), left, "it was built anew, not taken for finished");
    assert_eq!(effects(&server), ["up 1", "up 5"]);
    all_is_well(&workspace);
}

/// An index of the name a migration is about to build: it is never dropped, and never taken for
/// the one the migration builds, however often the migration is tried.
fn somebody_elses_index(make: &str, state: &str, says: &str) {
    let server = Server::start();
    let workspace = outside(&server);
    // Alone in its file: nothing of the step has been done when the index is found.
    let file = "-- annals: transaction=off\nCREATE INDEX CONCURRENTLY new ON things (id, no);\n";
    workspace.write("migrations/1_swap.sql", file);
    let down = "-- annals: transaction=off\nDROP INDEX CONCURRENTLY new;\n";
    workspace.write("rollbacks/1_swap_rollback.sql", down);
    server.sql(make);
    let theirs = index_oid(&server);
    for _ in 0..3 {
        let refused = ran(&workspace, "migrate", 4);
        does_not_say(&refused, "unexpected answer");
        refused.says(&["index new is there already", says, "annals did not begin it"]);
        assert_eq!(indexes(&server), [state, "old"]);
        assert_eq!(index_oid(&server), theirs);
        assert_eq!(ledger_rows(&server), 0);
    }
    server.sql("DROP INDEX new");
    ran(&workspace, "migrate", 0);
    assert_eq!(indexes(&server), ["new", "old"]);
    let columns = "SELECT indnatts FROM pg_index WHERE indexrelid = 'new'::regclass";
    assert_eq!(server.value(columns), "2");
    all_is_well(&workspace);
}

#[test]
fn an_invalid_index_that_is_not_ours_stops_the_run_and_stays() {
    let make = "CREATE INDEX new ON things (no); \
                UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'new'::regclass";
    somebody_elses_index(make, "new INVALID", "INVALID");
}

#[test]
fn a_valid_index_that_is_not_ours_is_not_taken_for_the_one_to_be_built() {
    somebody_elses_index("CREATE INDEX new ON things (no)", "new", "valid");
}

/// A server, and a workspace that talks to it as `user` through a proxy that cuts at the `nth`
/// commit.
fn cut_off(user: &str, cut: Cut, nth: usize) -> (Server, Workspace) {
    let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
    reset(&server);
    let proxy = Proxy::start(server.tcp_port(), cut, nth);
    let (from, to) = (server.tcp_port().to_string(), proxy.port().to_string());
    let url = server.tcp_url().replace(&from, &to).replace("//postgres:", &format!("//{user}:"));
    (server, Workspace::with_url(&url))
}

/// The only settled step in the log: what was found, and what `pg_xact_status` said.
fn settled(workspace: &Workspace) -> (String, String) {
    let text = std::fs::read_to_string(workspace.segment()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let events: Vec<_> = events.filter(|event| event["kind"] == "step_reconciled").collect();
    let [event] = &events[..] else { panic!("{events:?}") };
    let (found, evidence) = (event["data"]["found"].as_str(), &event["data"]["evidence"]);
    assert_eq!(evidence["ledger_row"], found == Some("took_effect"));
    let status = evidence["transaction_status"].as_str();
    (found.unwrap().to_owned(), status.unwrap().to_owned())
}

#[test]
fn a_commit_that_never_arrived_is_settled_as_not_applied() {
    let (server, workspace) = cut_off("postgres", Cut::BeforeCommit, 2);
    write_three(&workspace);
    let cut = ran(&workspace, "migrate", 4);
    does_not_say(&cut, "correct the file");
    cut.says(&[
        "2_t2.sql: the connection was lost around its commit, which did not take effect",
        "nothing of this step was kept",
    ]);
    assert_eq!(effects(&server), ["up 1"]);
    assert_eq!(settled(&workspace), ("no_effect".into(), "aborted".into()));
    ran(&workspace, "migrate", 0).says(&["2 steps of 2"]);
    three_are_applied(&server, &workspace);
}

#[test]
fn a_commit_whose_answer_was_lost_is_settled_as_applied_and_not_run_again() {
    let (server, workspace) = cut_off("postgres", Cut::AfterCommit, 2);
    write_three(&workspace);
    let cut = ran(&workspace, "migrate", 7);
    cut.says(&["the connection was lost behind 2_t2", "2 steps of 3", "annals migrate"]);
    assert_eq!(effects(&server), ["up 1", "up 2"]);
    assert_eq!(settled(&workspace), ("took_effect".into(), "committed".into()));
    ran(&workspace, "migrate", 0).says(&["1 step of 1"]);
    three_are_applied(&server, &workspace);
}

#[test]
fn a_run_whose_last_commit_was_only_not_answered_has_succeeded() {
    let (server, workspace) = cut_off("postgres", Cut::AfterCommit, 3);
    write_three(&workspace);
    ran(&workspace, "migrate", 0).says(&["succeeded", "3 steps of 3"]);
    assert_eq!(settled(&workspace), ("took_effect".into(), "committed".into()));
    ran(&workspace, "migrate", 0).says(&["nothing to do"]);
    three_are_applied(&server, &workspace);
}

#[test]
fn a_lost_answer_to_the_last_commit_outside_a_transaction_is_settled_too() {
    let (server, workspace) = cut_off("postgres", Cut::AfterCommit, 2);
    // One commit for the statement with its row, one for the ledger row of the step.
    let file = |word: &str| {
        format!(
            "-- annals: transaction=off\nINSERT INTO effects VALUES ('{word}');\nVACUUM gate;\n"
        )
    };
    workspace.migration("1_a", &file("up"), &file("down"));
    ran(&workspace, "migrate", 0).says(&["succeeded", "1 step of 1"]);
    assert_eq!(ledger_rows(&server), 1);
    assert_eq!(settled(&workspace), ("took_effect".into(), "committed".into()));
    all_is_well(&workspace);
    ran(&workspace, "rollback --to 0", 0);
    assert_eq!(effects(&server), ["down", "up"]);
    all_is_well(&workspace);
}

#[test]
fn a_commit_nobody_can_be_asked_about_stays_in_doubt_until_somebody_answers() {
    let (server, workspace) = cut_off("app", Cut::AfterCommit, 1);
    let password = Server::PASSWORD;
    server.sql(&format!("CREATE ROLE app SUPERUSER LOGIN PASSWORD '{password}'"));
    // The step's own commit shuts the door on whoever would ask.
    let up = "INSERT INTO effects VALUES ('up 1');\nALTER ROLE app NOLOGIN;\n";
    workspace.migration("1_door", up, "ALTER ROLE app LOGIN;\n");
    ran(&workspace, "migrate", 6).says(&["1_door.sql: the connection was lost", "annals status"]);
    server.sql("ALTER ROLE app LOGIN");
    ran(&workspace, "status", 0).says(&["1_door had taken effect"]);
    ran(&workspace, "migrate", 0).says(&["nothing to do"]);
    assert_eq!(effects(&server), ["up 1"]);
    all_is_well(&workspace);
}

#[test]
fn a_signal_cancels_the_statement_and_rolls_back() {
    let server = Server::start();
    for name in ["INT", "TERM"] {
        let workspace = three_with_gate(&server);
        let running = workspace.annals("migrate").start();
        at_the_gate(&server);
        running.signal(name);
        running.wait().expect(130).says(&["stopped on request in statement 2", "annals migrate"]);
        wait_until_nobody_works(&server);
        assert_eq!(effects(&server), ["up 1"]);
        assert_eq!(history(&workspace), ["applied 1", "failed 2"]);
        let state = ran(&workspace, "state --json", 0).json();
        assert_eq!(state["last_run"]["outcome"], "interrupted");
        assert_eq!(state["last_run"]["steps_done"], 1);
        assert_eq!(state["in_doubt"], serde_json::json!([]));
        all_is_well(&workspace);
        open_gate(&server);
        ran(&workspace, "migrate", 0).says(&["2 steps of 2"]);
        three_are_applied(&server, &workspace);
    }
}

#[test]
fn a_second_signal_ends_the_process_and_the_next_command_settles() {
    let server = Server::start();
    let workspace = three_with_gate(&server);
    let running = workspace.annals("migrate").start();
    let backend = at_the_gate(&server);
    // A backend that stands still does not answer the request to cancel.
    kill(backend, "STOP");
    end_with(&running, "INT");
    running.wait().expect(130);
    open_gate(&server);
    kill(backend, "CONT");
    ran(&workspace, "migrate", 0).says(&["recovered a run by tester", "2_t2 had left nothing"]);
    three_are_applied(&server, &workspace);
}

/// Sends a signal again and again until the process has ended: one that arrives together with the
/// one before counts as one.
fn end_with(running: &Running, name: &str) {
    let stat = format!("/proc/{}/stat", running.pid());
    wait_for("the end of the process", || {
        // It is a zombie until it is waited for.
        let ended = std::fs::read_to_string(&stat).unwrap_or_default().contains(") Z ");
        if !ended {
            running.signal(name);
        }
        ended.then_some(())
    });
}

#[test]
fn runners_that_start_together_apply_every_migration_once() {
    let server = Server::start();
    for runners in [2, 8] {
        let workspace = three(&server);
        let started = (0..runners).map(|_| workspace.annals("migrate").start());
        let started: Vec<Running> = started.collect();
        let ended: Vec<Outcome> = started.into_iter().map(|one| one.wait().expect(0)).collect();
        let idle = ended.iter().filter(|one| one.out.contains("nothing to do")).count();
        assert_eq!(idle, runners - 1, "one did it, the others found it done");
        three_are_applied(&server, &workspace);
    }
}

/// Another checkout of the same workspace, with whatever it holds by now.
fn checkout(workspace: &Workspace, server: &Server) -> Workspace {
    let copy = Workspace::new(server);
    let all = format!("{}/.", workspace.folder().display());
    let copied = Command::new("cp").arg("-a").arg(all).arg(copy.folder()).status();
    assert!(copied.unwrap().success());
    copy
}

/// Two checkouts migrate at the same time; one does it, the other is refused and says why.
fn race(server: &Server, workspaces: [&Workspace; 2], code: i32, refused: &[&str]) {
    let started = workspaces.map(|workspace| workspace.annals("migrate").start());
    let [first, second] = started.map(Running::wait);
    let (winner, loser) = match first.code {
        0 => (workspaces[0], second),
        _ => (workspaces[1], first),
    };
    loser.expect(code).says(refused);
    three_are_applied(server, winner);
}

#[test]
fn two_checkouts_of_a_workspace_never_apply_anything_twice() {
    let server = Server::start();
    let one = three(&server);
    let two = checkout(&one, &server);
    race(&server, [&one, &two], 3, &["was migrated with the event log \"test/db\""]);
    // Each with its own copy of the log.
    let one = three(&server);
    ran(&one, "migrate --to 1", 0);
    let two = checkout(&one, &server);
    race(&server, [&one, &two], 9, &["the target's ledger knows", "this is an older copy"]);
}

#[test]
fn who_does_not_want_to_wait_is_told_who_holds_the_target() {
    let server = Server::start();
    let workspace = three_with_gate(&server);
    let running = workspace.annals("migrate").start();
    let backend = at_the_gate(&server);
    let config = std::fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config.replace("20s", "200ms"));
    for line in ["migrate", "verify", "rollback --to 0"] {
        let refused = workspace.annals(line).run().expect(8);
        refused.says(&["locked by annals/", &format!("backend {backend}")]);
    }
    running.signal("INT");
    running.wait().expect(130);
    open_gate(&server);
    ran(&workspace, "migrate", 0);
    three_are_applied(&server, &workspace);
}

#[test]
fn a_server_that_crashes_in_a_step_ends_the_run_and_the_step_is_done_later() {
    let mut server = Server::start();
    let workspace = three_with_gate(&server);
    let running = workspace.annals("migrate").start();
    at_the_gate(&server);
    server.crash();
    let ended = running.wait().expect(7);
    does_not_say(&ended, "correct the file");
    ended.says(&["2_t2.sql", "the connection was lost", "nothing of this step was kept"]);
    ran(&workspace, "log verify", 0).says(&["is intact"]);
    assert_eq!(history(&workspace), ["applied 1", "failed 2"]);
    ran(&workspace, "migrate", 7).says(&["cannot reach"]);
    server.start_again();
    open_gate(&server);
    ran(&workspace, "migrate", 0).says(&["2 steps of 2"]);
    three_are_applied(&server, &workspace);
}

/// The workspace's log on a disk of its own.
struct Crowded {
    workspace: Workspace,
    disk: SmallDisk,
    url: String,
}

impl Crowded {
    fn new(server: &Server, workspace: Workspace) -> Self {
        let disk = SmallDisk::over(&workspace.path("event-store"), 400);
        let url = server.url();
        Self { workspace, disk, url }
    }

    fn annals(&self, line: &str) -> Annals {
        // No event fits into what is left of a page: each is longer than one.
        let name = "n".repeat(4200);
        let command = self.disk.annals(self.workspace.folder(), line);
        command.env("TEST_URL", &self.url).env("ANNALS_ACTOR", name)
    }

    fn all_is_well(&self) {
        self.annals("verify").run().expect(0);
        self.annals("log verify").run().expect(0).says(&["is intact"]);
    }
}

#[test]
fn a_full_disk_before_an_effect_refuses_and_changes_nothing() {
    let server = Server::start();
    let crowded = Crowded::new(&server, three(&server));
    crowded.annals("migrate --to 1").run().expect(0);
    let segment = crowded.disk.inside().join("db/segments/00000000000000000000.jsonl");
    let before = std::fs::read(&segment).unwrap();
    crowded.disk.fill(0);
    for line in ["migrate", "rollback --to 0", "verify"] {
        let refused = crowded.annals(line).run().expect(10);
        refused.says(&["No space left", "free space"]);
    }
    assert_eq!(effects(&server), ["up 1"]);
    assert_eq!(std::fs::read(&segment).unwrap(), before);
    crowded.disk.make_room();
    crowded.annals("migrate").run().expect(0);
    assert_eq!(effects(&server), ["up 1", "up 2", "up 3"]);
    crowded.all_is_well();
}

/// Fills the disk as soon as a run waits for the lock of somebody else.
fn fill_while_it_waits(server: &Server, disk: &SmallDisk) {
    let waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    wait_for("a run to wait", || server.rows(waiting).pop());
    disk.fill(0);
}

#[test]
fn a_disk_that_fills_during_a_step_leaves_it_applied_and_the_record_is_completed_later() {
    let server = Server::start();
    let workspace = three(&server);
    let slow = "-- annals: lock_timeout=1min\nINSERT INTO effects VALUES ('up 2');\n\
                SELECT pg_advisory_xact_lock(7);\n";
    workspace.write("migrations/2_t2.sql", slow);
    workspace.write("rollbacks/2_t2_rollback.sql", "SELECT 1;\n");
    let crowded = Crowded::new(&server, workspace);
    let gate = server.hold("SELECT pg_advisory_xact_lock(7)");
    let running = crowded.annals("migrate").start();
    fill_while_it_waits(&server, &crowded.disk);
    drop(gate);
    running.wait().expect(10).says(&["2_t2.sql: applied, not yet recorded", "No space left"]);
    assert_eq!(effects(&server), ["up 1", "up 2"]);
    crowded.disk.make_room();
    crowded.annals("status").run().expect(0).says(&["recovered a run", "2_t2 had taken effect"]);
    crowded.annals("migrate").run().expect(0).says(&["1 step of 1"]);
    assert_eq!(effects(&server), ["up 1", "up 2", "up 3"]);
    crowded.all_is_well();
}

#[test]
fn a_disk_that_fills_between_two_statements_stops_there_and_the_next_run_goes_on() {
    let server = Server::start();
    let workspace = outside(&server);
    workspace.migration("0_first", "SELECT 1;", "SELECT 1;");
    let up = "-- annals: transaction=off, lock_timeout=1min\nVACUUM things;\n\
              INSERT INTO effects SELECT 'up 2' FROM pg_advisory_xact_lock(7);\n\
              INSERT INTO effects VALUES ('up 3');\n";
    workspace.write("migrations/1_swap.sql", up);
    let crowded = Crowded::new(&server, workspace);
    let gate = server.hold("SELECT pg_advisory_xact_lock(7)");
    let running = crowded.annals("migrate").start();
    fill_while_it_waits(&server, &crowded.disk);
    drop(gate);
    let stopped = running.wait().expect(10);
    does_not_say(&stopped, "not begun");
    does_not_say(&stopped, "0_first.sql");
    stopped.says(&["1_swap.sql", "No space left"]);
    assert_eq!(effects(&server), ["up 2"]);
    crowded.disk.make_room();
    crowded.annals("migrate").run().expect(0).says(&["1_swap is half done"]);
    assert_eq!(effects(&server), ["up 2", "up 3"]);
    crowded.all_is_well();
}

#[test]
fn wherever_the_disk_fills_up_nothing_is_lost_and_nothing_happens_twice() {
    let server = Server::start();
    let mut ends = std::collections::BTreeSet::new();
    for pages in 0.. {
        let crowded = Crowded::new(&server, three(&server));
        crowded.annals("status").run().expect(0);
        crowded.annals("verify").run().expect(0);
        crowded.disk.fill(pages);
        let crowded_out = crowded.annals("migrate --to 1").run();
        let applied = !effects(&server).is_empty();
        if crowded_out.code == 0 {
            assert!(applied);
            break;
        }
        let crowded_out = crowded_out.expect(10);
        ends.insert(applied);
        if applied {
            does_not_say(&crowded_out, "nothing was changed");
            does_not_say(&crowded_out, "not begun");
        } else {
            does_not_say(&crowded_out, "✓ applied");
        }
        does_not_say(&crowded_out, "restore the blob");
        let text = format!("{}{}", crowded_out.out, crowded_out.err);
        assert!(text.contains("free space") || text.contains("make room"), "{text}");
        crowded.disk.make_room();
        crowded.annals("migrate --to 1").run().expect(0);
        assert_eq!(effects(&server), ["up 1"], "{pages} pages free");
        crowded.all_is_well();
    }
    assert_eq!(ends.len(), 2, "it was full before the effect and behind it");
}
