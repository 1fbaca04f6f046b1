//! Copies of the log outside: anchors, exports, proofs, and what they tell.

use std::fs;
use std::path::Path;

use annals_testkit::{Outcome, Server, Workspace};

struct House {
    server: Server,
    workspace: Workspace,
}

impl House {
    /// A workspace with a directory anchor.
    fn new(policy: &str) -> Self {
        let server = Server::start();
        let workspace = Workspace::new(&server);
        fs::create_dir(workspace.path("vault")).unwrap();
        workspace.write(
            "annals.toml",
            format!(
                "workspace = \"test\"\ndefault_target = \"db\"\n\n[policy]\n{policy}\n\n\
                 [anchors.vault]\ndirectory = \"vault\"\n\n[targets.db]\nurl_env = \"TEST_URL\"\n\
                 anchors = [\"vault\"]\n"
            ),
        );
        workspace.tables(4);
        Self { server, workspace }
    }

    fn annals(&self, line: &str) -> Outcome {
        self.workspace.annals(line).run()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target)
        } else {
            fs::copy(&path, &target).map(|_| ()).unwrap()
        }
    }
}

#[test]
fn each_run_leaves_a_copy_that_verifies_by_itself() {
    let house = House::new("");
    house.annals("migrate --to 1").expect(0).says(&["vault holds the first"]);
    house.annals("migrate --to 2").expect(0);
    let copy = "vault/test/db";
    house.annals(&format!("log verify --log {copy} --key keys/log.pub")).expect(0);
    house.annals("log verify --require-known 1").expect(0).says(&[
        "anchor vault holds the head",
        "it fits",
        "unanchored",
    ]);
    house.annals("log anchor").expect(0);
    let states = house.annals("state --json").expect(0).json();
    assert_eq!(states["anchors"][0]["anchor"], "vault", "{states}");
}

#[test]
fn a_log_that_was_replaced_by_an_older_copy_is_found_out_by_the_anchor_alone() {
    let house = House::new("require_anchors = 1");
    house.annals("migrate --to 1").expect(0);
    let log = house.workspace.path("event-store/db");
    copy_folder(&log, &house.workspace.path("older"));
    house.annals("migrate --to 2").expect(0);
    // The whole past is put back: the log, and what the target knew of it.
    fs::remove_dir_all(&log).unwrap();
    fs::rename(house.workspace.path("older"), &log).unwrap();
    house.server.sql(
        "DELETE FROM annals.ledger WHERE version = '2'; DELETE FROM annals.checkpoints WHERE size \
         > (SELECT min(size) FROM annals.checkpoints); DROP TABLE t2;",
    );
    house.annals("log verify").expect(24).says(&["anchor vault", "this log has"]);
    house.annals("migrate").expect(13).says(&["vault", "next:"]);
    house.annals("status").expect(0);
}

#[test]
fn the_target_keeps_the_signed_heads_and_tells_a_cut_log() {
    let house = House::new("");
    house.annals("migrate --to 1").expect(0);
    let log = house.workspace.path("event-store/db");
    copy_folder(&log, &house.workspace.path("older"));
    // Nothing but a verification happens: no ledger row is written, only the log grows.
    house.annals("verify").expect(0);
    fs::remove_dir_all(&log).unwrap();
    fs::rename(house.workspace.path("older"), &log).unwrap();
    house.annals("migrate").expect(9).says(&["older copy", "the target's ledger knows"]);
}

#[test]
fn a_policy_stops_the_next_run_until_the_anchor_is_back() {
    let house = House::new("require_anchors = 1");
    house.annals("migrate --to 1").expect(0);
    fs::rename(house.workspace.path("vault"), house.workspace.path("away")).unwrap();
    house.annals("migrate --to 2").expect(13).says(&[
        "require_anchors",
        "does not exist",
        "log anchor",
    ]);
    house.annals("log anchor").expect(13);
    fs::rename(house.workspace.path("away"), house.workspace.path("vault")).unwrap();
    house.annals("migrate --to 2").expect(0);
}

#[test]
fn two_histories_under_one_key_leave_evidence_that_stands_by_itself() {
    let house = House::new("");
    house.annals("migrate --to 1").expect(0);
    let log = house.workspace.path("event-store/db");
    copy_folder(&log, &house.workspace.path("other"));
    house.annals("migrate --to 2").expect(0);
    fs::copy(log.join("checkpoint"), house.workspace.path("kept")).unwrap();
    // The key is used a second time on what was there before: another event, another head.
    fs::remove_dir_all(&log).unwrap();
    fs::rename(house.workspace.path("other"), &log).unwrap();
    fs::remove_dir_all(house.workspace.path("vault")).unwrap();
    fs::create_dir(house.workspace.path("vault")).unwrap();
    house.server.sql("DELETE FROM annals.checkpoints; DELETE FROM annals.ledger WHERE version = '2'; DROP TABLE t2;");
    for _ in 0..4 {
        house.annals("verify");
    }
    house.annals("migrate").expect(0);
    house
        .annals("log verify --known kept --evidence-out fork.txt")
        .expect(25)
        .says(&["two histories", "fork.txt"]);
    let text = fs::read_to_string(house.workspace.path("fork.txt")).unwrap();
    assert_eq!(text.matches("\ntest/db\n").count(), 2, "both heads stand in it: {text}");
}

#[test]
fn an_anchor_that_contradicts_the_log_stops_everything_before_it_is_written() {
    let house = House::new("");
    house.annals("migrate --to 1").expect(0);
    let log = house.workspace.path("event-store/db");
    copy_folder(&log, &house.workspace.path("older"));
    house.annals("migrate --to 2").expect(0);
    // Database and log are restored to an earlier moment together; only the anchor knows more.
    fs::remove_dir_all(&log).unwrap();
    fs::rename(house.workspace.path("older"), &log).unwrap();
    house.server.sql(
        "DELETE FROM annals.ledger WHERE version = '2'; DELETE FROM annals.checkpoints WHERE size \
         > (SELECT min(size) FROM annals.checkpoints); DROP TABLE t2;",
    );
    let lines = || fs::read(house.workspace.segment()).unwrap();
    let before = lines();
    for line in ["migrate", "verify"] {
        house.annals(line).expect(13).says(&["vault", "evidence"]);
    }
    assert_eq!(lines(), before, "nothing was added to the log");
    assert_eq!(house.server.value("SELECT count(*) FROM annals.ledger"), "1");
}

#[test]
fn an_anchor_that_was_emptied_does_not_count_until_it_is_looked_after() {
    let house = House::new("require_anchors = 1");
    house.annals("migrate --to 1").expect(0);
    fs::remove_dir_all(house.workspace.path("vault/test")).unwrap();
    house.annals("migrate --to 2").expect(13).says(&["held only 0 events", "emptied"]);
    house.annals("migrate --to 2").expect(0);
}

#[test]
fn events_behind_the_signed_head_are_not_said_to_be_verified() {
    let house = House::new("");
    house.annals("migrate --to 1").expect(0);
    let state = |more: &str| house.annals(&format!("state --json {more}")).expect(0).json();
    assert_eq!(state("")["verified"], true);
    let note = house.workspace.path("event-store/db/checkpoint");
    let older = fs::read(&note).unwrap();
    house.annals("verify").expect(0);
    fs::write(&note, older).unwrap();
    assert_eq!(state("")["verified"], false);
    assert_eq!(state("--at-seq 3")["verified"], true);
    house.annals("verify").says(&["behind its signed head"]);
}

#[test]
fn an_export_is_brought_up_to_date_and_a_file_is_as_good() {
    let house = House::new("");
    house.annals("migrate --to 2").expect(0);
    house.annals("log export --to copy").expect(0).says(&["written"]);
    house.annals("log export --to copy").expect(0).says(&["up to date"]);
    house.annals("migrate").expect(0);
    house.annals("log export --to copy").expect(0).says(&["written"]);
    house.annals("log export --file log.export").expect(0);
    for path in ["copy", "log.export"] {
        house.annals(&format!("log verify --log {path} --key keys/log.pub")).expect(0);
        house.annals(&format!("history --log {path} --key keys/log.pub")).expect(0);
        house.annals(&format!("state --log {path} --key keys/log.pub")).expect(0);
    }
    fs::write(house.workspace.path("mine.txt"), "mine").unwrap();
    house.annals("log export --file mine.txt").expect(3).says(&["no export of this log"]);
    house.annals("log export --file log.export").expect(0);
    house.annals("log verify --log copy --key keys/log.pub --known copy").expect(3);
    // A copy of another log is not overwritten.
    fs::write(house.workspace.path("copy/checkpoint"), "other\n").unwrap();
    house.annals("log export --to copy").expect(13);
}

#[test]
fn one_event_is_proven_to_who_has_nothing_but_the_keys() {
    let house = House::new("");
    house.annals("migrate").expect(0);
    house.annals("log prove 5").expect(0).says(&["event 5", "event-5.tlog-proof"]);
    let check = "log check-proof event-5.tlog-proof --key keys/log.pub";
    house.annals(check).expect(0).says(&["event 5 of test/db is in the log"]);
    house.annals("log prove 5000").expect(3).says(&["vouches for events 0 to"]);
    let path = house.workspace.path("event-5.tlog-proof");
    let proof = fs::read_to_string(&path).unwrap();
    for (altered, code) in [
        (proof.replacen("index 5", "index 4", 1), 22),
        (proof.replacen("c2sp.org", "c2sp.net", 1), 29),
        (proof.replacen("test/db\n", "test/dc\n", 1), 26),
    ] {
        fs::write(&path, altered).unwrap();
        house.annals(check).expect(code).says(&["proves nothing"]);
    }
}
