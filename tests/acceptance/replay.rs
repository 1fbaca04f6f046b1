//! What was true then, asked of the log of a real target whose server is gone.

use std::fs;

use annals_testkit::{Outcome, Server, Workspace};
use serde_json::{Value, json};

/// Up to 3, back by one, up to 4 with a failure, verified twice; then the server is gone.
struct Past {
    workspace: Workspace,
}

impl Past {
    fn new() -> Self {
        let server = Server::start();
        let workspace = Workspace::new(&server);
        workspace.tables(3);
        for line in ["migrate", "verify", "rollback --last 1"] {
            workspace.annals(line).run().expect(0);
        }
        workspace.migration("4_t4", "CREATE TABLE t4 (id int);\nSELECT nothing;", "DROP TABLE t4;");
        workspace.annals("migrate").run().expect(4);
        workspace.annals("verify").run().expect(0);
        drop(server);
        Self { workspace }
    }

    fn annals(&self, line: &str) -> Outcome {
        self.workspace.annals(line).run()
    }

    fn json(&self, line: &str) -> Value {
        self.annals(&format!("{line} --json")).expect(0).json()
    }

    /// The places of all events of that kind.
    fn places(&self, kind: &str) -> Vec<usize> {
        let kinds = self.workspace.kinds();
        let found = kinds.iter().enumerate().filter(|(_, found)| *found == kind);
        found.map(|(seq, _)| seq).collect()
    }
}

fn versions(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|m| m["version"].as_str().unwrap()).collect()
}

#[test]
fn with_the_server_gone_every_question_is_answered_from_the_log() {
    let past = Past::new();
    past.annals("status").expect(7);
    let state = past.json("state");
    assert_eq!(state["format"], "annals.state/3");
    assert_eq!((&state["verified"], &state["trust"]), (&json!(true), &json!("replay")));
    assert_eq!(versions(&state["applied"]), ["1", "2", "3"], "3 again, before 4 failed");
    assert_eq!((&state["open_run"], &state["lock_holder"]), (&Value::Null, &Value::Null));
    assert_eq!(state["last_run"]["outcome"], "failed");
    assert_eq!(state["last_known_good"], "3");
    // At each step of the way: what was applied follows the outcomes one by one.
    let outcomes = past.places("step_succeeded");
    let expected = [&["1"][..], &["1", "2"], &["1", "2", "3"], &["1", "2"], &["1", "2", "3"]];
    assert_eq!(outcomes.len(), expected.len());
    for (seq, applied) in outcomes.iter().zip(expected) {
        let then = past.json(&format!("state --at-seq {seq}"));
        assert_eq!(versions(&then["applied"]), applied, "after event {seq}");
        assert_eq!(then["lock_holder"]["by"], "tester");
        let before = past.json(&format!("state --at-seq {}", seq - 1));
        assert!(before["in_doubt"][0].is_string(), "announced and not known yet: {before}");
    }
    past.annals("state").expect(0).says(&["3_t3", "last verification passed", "trust "]);
}

#[test]
fn a_time_between_two_runs_is_answered_as_of_the_first_of_them() {
    let past = Past::new();
    let places = past.places("run_finished");
    let [.., rolled_back, failed] = places[..] else { panic!("{places:?}") };
    let then = past.json(&format!("state --at-seq {rolled_back}"));
    let at = then["as_of"]["recorded_at"].as_str().unwrap();
    let by_time = past.json(&format!("state --at {at}"));
    assert_eq!((&by_time["as_of"], &by_time["next"]), (&then["as_of"], &then["next"]));
    assert_eq!(versions(&by_time["applied"]), ["1", "2"]);
    assert_eq!(by_time["time_bounds"]["separated"], false, "nobody outside has vouched for it");
    let diff = past.json(&format!("diff --from {at} --to-seq {failed}"));
    assert_eq!(versions(&diff["migrations"]), ["3"]);
    assert_eq!(diff["migrations"][0]["what"], "applied");
    assert_eq!((&diff["between"]["runs_failed"], &diff["keys"]), (&json!(1), &json!([])));
    let history = past.json(&format!("history --at {at}"));
    let whats: Vec<_> = history["entries"].as_array().unwrap().iter().map(|e| &e["what"]).collect();
    assert_eq!(whats, ["applied", "applied", "applied", "rolled back"]);
    past.annals(&format!("diff --from {at}")).expect(0).says(&["3_t3 applied", "1 failed"]);
}

#[test]
fn what_was_pending_then_is_told_without_the_files() {
    let past = Past::new();
    fs::remove_dir_all(past.workspace.path("migrations")).unwrap();
    fs::remove_dir_all(past.workspace.path("rollbacks")).unwrap();
    let pending = |moment: String| -> Vec<String> {
        let state = past.json(&format!("state {moment}"));
        let pending = state["pending"].as_array().unwrap_or_else(|| panic!("{state}")).iter();
        pending.map(|migration| migration["file"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(pending(String::new()), ["4_t4.sql"]);
    let first = past.places("step_succeeded")[0];
    assert_eq!(pending(format!("--at-seq {first}")), ["2_t2.sql", "3_t3.sql"]);
    let rolled_back = past.places("run_finished")[1];
    assert_eq!(pending(format!("--at-seq {rolled_back}")), ["3_t3.sql"], "4 was not there yet");
    past.annals("state").expect(0).says(&["pending           1 migration", "4_t4.sql"]);
}

#[test]
fn the_exports_follow_the_log_of_a_real_target() {
    let past = Past::new();
    let history = past.json("export history");
    assert_eq!(history["executed"], json!(["1_t1.sql", "2_t2.sql", "3_t3.sql"]));
    assert_eq!(history["last_migration"], "3_t3.sql");
    assert_eq!(history["last_rollback"], "3_t3_rollback.sql");
    let entries = past.json("history");
    let entries = entries["entries"].as_array().unwrap();
    assert_eq!(history["last_rollback_time"], entries[3]["at"]);
    assert_eq!(history["last_execution"], entries[4]["at"]);
    let recovery = past.json("export recovery");
    assert_eq!(recovery["last_known_good_version"], "3");
    assert_eq!(recovery["last_emergency_rollback"]["timestamp"], Value::Null);
    let checks = recovery["integrity_checks"].as_array().unwrap();
    assert_eq!(checks.len(), 2);
    assert_eq!(checks[0]["result"], "passed");
    assert_eq!(checks[0]["details"]["table_structure"], "passed");
    let members: Vec<_> = checks[0]["details"].as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 5);
    let rolled_back = past.places("step_succeeded")[3];
    let then = past.json(&format!("export history --at-seq {rolled_back}"));
    assert_eq!(then["executed"], json!(["1_t1.sql", "2_t2.sql"]));
    assert_eq!(then["last_migration"], "3_t3.sql", "the last that ran, though it is rolled back");
}

#[test]
fn a_failed_migration_is_explained_with_its_error_and_its_plan() {
    let past = Past::new();
    let explained = past.json("explain 4 --as version");
    let events = explained["events"].as_array().unwrap();
    let of = |kind: &str| events.iter().find(|e| e["event"]["kind"] == kind).unwrap();
    let failed = of("step_failed");
    assert_eq!(failed["evidence"]["effect"], "none");
    assert_eq!(failed["evidence"]["sqlstate"], "42703");
    assert_eq!(failed["evidence"]["line"], "2");
    assert_eq!(failed["evidence"]["intent_hash"], of("step_started")["leaf"]);
    let plan = of("plan_made")["evidence"]["plan"].as_str().unwrap();
    assert_eq!(of("run_started")["evidence"]["plan"], plan);
    assert!(past.workspace.path(&format!("event-store/db/blobs/sha256/{plan}")).is_file());
    let run = explained["runs"][0].as_str().unwrap();
    let short = past.json(&format!("explain {} --as run", &run[28..]));
    assert_eq!(short["runs"], json!([run]));
    past.annals("explain 4 --as version")
        .expect(0)
        .says(&["4_t4 failed and left nothing", "42703"]);
}

#[test]
fn a_copy_of_the_log_answers_the_same_where_there_is_nothing_else() {
    let past = Past::new();
    let elsewhere = tempfile::tempdir().unwrap();
    copy(&past.workspace.path("event-store/db"), &elsewhere.path().join("log"));
    fs::copy(past.workspace.path("keys/log.pub"), elsewhere.path().join("log.pub")).unwrap();
    for line in [
        "state --at-seq 12",
        "history",
        "diff --from-seq 3 --to-seq 20",
        "timeline",
        "explain 2 --as version",
        "export history",
        "export recovery",
    ] {
        let there = annals_testkit::Annals::new(&annals_testkit::program(), elsewhere.path())
            .args(&format!("{line} --json --log log --key log.pub"))
            .run()
            .expect(0);
        assert_eq!(there.json(), past.json(line), "{line}");
        let human = annals_testkit::Annals::new(&annals_testkit::program(), elsewhere.path())
            .args(&format!("{line} --log log --key log.pub"))
            .run()
            .expect(0);
        assert_eq!(human.out, past.annals(line).expect(0).out, "{line}");
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => fs::copy(entry.path(), to).map(|_| ()).unwrap(),
        }
    }
}
