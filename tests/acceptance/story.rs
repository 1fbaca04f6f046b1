//! What a reader asks a log in which everything has happened, on a machine that has nothing else:
//! the golden log of `tests/golden/replay`, signed by a key of the test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use annals_events::{Segment, Seq, scan};
use annals_keys::{Checkpoint, SecretKey, write_public};
use annals_testkit::{Annals, Outcome, kill, program};
use serde_json::{Value, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/replay");

fn golden(name: &str) -> String {
    fs::read_to_string(Path::new(GOLDEN).join(name)).unwrap()
}

/// How many events the golden log has.
fn size() -> u64 {
    golden("log.jsonl").lines().count() as u64
}

/// When the last event of the golden log was recorded, as people read it.
fn last_at() -> String {
    let log = golden("log.jsonl");
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let at = last["recorded_at"].as_str().unwrap();
    format!("{}Z", at[..19].replace('T', " "))
}

/// The golden log in a folder of its own, its public key beside that folder.
struct Story {
    folder: tempfile::TempDir,
    key: SecretKey,
}

impl Story {
    fn new() -> Self {
        Self::with_events(usize::MAX)
    }

    /// The first `n` events of it.
    fn with_events(n: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::generate("shop").unwrap();
        let story = Self { folder, key };
        let blobs = story.path("log/blobs/sha256");
        for path in [story.path("log/segments"), blobs.clone()] {
            fs::create_dir_all(path).unwrap();
        }
        for blob in fs::read_dir(format!("{GOLDEN}/blobs/sha256")).unwrap() {
            let blob = blob.unwrap();
            fs::copy(blob.path(), blobs.join(blob.file_name())).unwrap();
        }
        write_public(&story.key, &story.path("log.pub")).unwrap();
        let log = golden("log.jsonl");
        let lines: String = log.split_inclusive('\n').take(n).collect();
        fs::write(story.segment(0), &lines).unwrap();
        let size = lines.lines().count() as u64;
        fs::write(story.path("log/checkpoint"), story.checkpoint(size, &story.key)).unwrap();
        story
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn segment(&self, first: usize) -> PathBuf {
        self.path(&format!("log/segments/{first:020}.jsonl"))
    }

    /// The head over the first `size` events of the whole story, signed.
    fn checkpoint(&self, size: u64, key: &SecretKey) -> String {
        let log = golden("log.jsonl");
        let segment = Segment { first: Seq(0), bytes: log.as_bytes() };
        let scan = scan(&[segment], &[size]);
        let (root, origin) = (scan.end.root_at(size).unwrap(), "shop/production".parse().unwrap());
        Checkpoint { origin, size, root }.sign(key)
    }

    fn line(line: &str) -> String {
        format!("{line} --log log --key log.pub")
    }

    fn annals(&self, line: &str) -> Outcome {
        Annals::new(&program(), self.folder.path()).args(&Self::line(line)).run()
    }

    fn json(&self, line: &str) -> Value {
        self.annals(&format!("{line} --json")).expect(0).json()
    }
}

fn names(list: &Value, member: &str) -> Vec<String> {
    let all = list.as_array().unwrap_or_else(|| panic!("{list}")).iter();
    all.map(|value| value[member].as_str().unwrap_or_else(|| panic!("{value}")).to_owned())
        .collect()
}

#[test]
fn the_whole_state_is_told_from_the_log_alone() {
    let story = Story::new();
    let state = story.json("state");
    assert_eq!(state["format"], "annals.state/3");
    assert_eq!(state["origin"], "shop/production");
    assert_eq!((&state["as_of"]["seq"], &state["next"]), (&json!(size() - 1), &Value::Null));
    assert_eq!((&state["verified"], &state["trust"]), (&json!(true), &json!("replay")));
    assert_eq!(names(&state["applied"], "version"), ["001", "002", "003", "004"]);
    assert_eq!(names(&state["pending"], "file"), ["005_audit.sql"]);
    assert_eq!(state["in_doubt"], json!(["005_audit"]));
    assert_eq!(state["lock_holder"]["by"], "Ada");
    assert_eq!(state["lock_holder"]["host"], "build-7");
    assert_eq!(state["last_known_good"], "003");
    assert_eq!(state["last_emergency"]["outcome"], "succeeded");
    assert_eq!(names(&state["usable_backups"], "verified"), ["restored"]);
    assert_eq!(names(&state["failed_backups"], "condition"), ["failed"]);
    assert_eq!(names(&state["anchors"], "anchor"), ["far away", "vault"]);
    assert_eq!(state["home"]["to"], "postgres:7412345678901234567/app");
    assert_eq!(names(&state["keys"], "purpose"), ["log", "approver", "log"]);
    // One approval has lapsed, one was taken back, one has no end.
    assert_eq!(names(&state["approvals"], "approver"), ["Łucja"]);
    story.annals("state").expect(0).says(&[
        &format!("shop/production after event {} of {}", size() - 1, size()),
        "trust             replay",
        "004_index  2026-01-19",
        "pending           1 migration",
        "005_audit.sql",
        "held by           Ada on build-7, as far as the log knows",
        "in doubt          005_audit up since",
        "last emergency    back to 003 at 2026-01-12 09:47:18Z by Grace, succeeded: checkout is down",
        "verified (restored) at",
        "its verification failed",
        "vault (directory) holds 81 events, says the log",
        "home of the log   postgres:7412345678901234567/app since event 46",
        "retired by event 44, counts up to 44 events",
    ]);
}

#[test]
fn a_state_at_a_moment_knows_nothing_of_what_came_later() {
    let story = Story::new();
    let at = |moment: &str| story.json(&format!("state {moment}"));
    // Half-way through a step outside a transaction, and right behind its being settled.
    let running = at("--at-seq 29");
    assert_eq!(running["in_doubt"], json!(["004_index"]));
    assert_eq!(running["steps_in_doubt"][0]["statements_done"], 1);
    assert_eq!(running["steps_in_doubt"][0]["statements"], 2);
    assert_eq!(names(&running["pending"], "version"), ["004"]);
    let settled = at("--at-seq 33");
    assert_eq!((&settled["in_doubt"], &settled["half_done"]), (&json!([]), &json!(["004_index"])));
    assert_eq!(settled["last_run"]["reason"], "its process was killed");
    // A time between two events is the earlier of them; both are named.
    let between = at("--at 2026-01-06T00:00:00Z");
    assert_eq!((&between["as_of"]["seq"], &between["next"]["seq"]), (&json!(13), &json!(14)));
    assert_eq!(between["next"]["recorded_at"], "2026-01-06T09:30:03.750000Z");
    assert_eq!(between["judged_at"], "2026-01-06T00:00:00.000000Z");
    assert_eq!(names(&between["pending"], "file"), ["003_totals.sql"]);
    assert_eq!((&between["approvals"], &between["home"]), (&json!([]), &Value::Null));
    // An approval counts for the time asked for, not for that of the last event before it.
    assert_eq!(at("--at 2026-01-07T09:30:00Z")["approvals"].as_array().unwrap().len(), 1);
    assert_eq!(at("--at 2026-01-07T09:30:04Z")["approvals"], json!([]));
    let before = at("--at 2025-12-31");
    assert_eq!((&before["as_of"], &before["next"]["seq"]), (&Value::Null, &json!(0)));
    assert!(before["pending_unknown"].is_string());
    story.annals("state --at 2025-12-31").expect(0).says(&["nothing was known yet"]);
    let behind = story.annals(&format!("state --at-seq {}", size())).expect(3);
    behind.says(&[&format!("the log ends with event {}", size() - 1)]);
}

#[test]
fn times_are_said_to_be_unproven_and_anchors_to_be_a_claim() {
    let story = Story::new();
    let bounds = |moment: &str| story.json(&format!("state {moment}"))["time_bounds"].clone();
    let now = bounds("");
    assert_eq!((&now["anchored"], &now["separated"]), (&Value::Null, &Value::Null));
    assert_eq!(now["says"], "no proven bounds: the times are the writer's own");
    let then = bounds("--at 2026-01-06");
    assert_eq!((&then["last_not_after"], &then["separated"]), (&Value::Null, &json!(false)));
    let anchored = json!({
        "anchor": "vault", "kind": "directory", "size": 48, "seq": 48,
        "recorded_at": "2026-01-11T09:41:12.250000Z",
    });
    assert_eq!(then["anchored"], anchored);
    for verb in ["state", "history"] {
        story.annals(&format!("{verb} --at 2026-01-06")).expect(0).says(&[
            "no proven bounds",
            "the log says that vault held these events before event 48",
        ]);
    }
}

#[test]
fn without_its_list_of_migrations_nothing_is_said_to_be_pending() {
    let story = Story::new();
    let set = story.json("state")["migrations_seen"]["set"].as_str().unwrap().to_owned();
    let blob = story.path(&format!("log/blobs/sha256/{set}"));
    let content = fs::read(&blob).unwrap();
    fs::write(&blob, [&content[..], b" "].concat()).unwrap();
    let altered = story.json("state");
    assert_eq!(altered["pending"], Value::Null);
    fs::remove_file(&blob).unwrap();
    let missing = story.json("state");
    assert_eq!(missing["pending"], Value::Null);
    let [altered, missing] =
        [altered, missing].map(|state| state["pending_unknown"].as_str().unwrap().to_owned());
    assert!(altered.contains("5 migrations") && missing.contains("5 migrations"), "{missing}");
    assert_ne!(altered, missing, "it is said which of the two it is");
    story.annals("state").expect(0).says(&["pending           not known: the list of the 5"]);
    // Earlier lists are there still.
    assert_eq!(names(&story.json("state --at-seq 12")["pending"], "version"), ["003"]);
}

#[test]
fn a_moment_can_be_a_checkpoint_that_was_kept_elsewhere() {
    let story = Story::new();
    fs::write(story.path("kept"), story.checkpoint(13, &story.key)).unwrap();
    let state = story.json("state --at-checkpoint kept");
    assert_eq!((&state["as_of"]["seq"], &state["next"]["seq"]), (&json!(12), &json!(13)));
    assert_eq!(state["applied"].as_array().unwrap().len(), 2);
    let history = story.json("history --at-checkpoint kept");
    assert_eq!((&history["as_of"]["seq"], &history["trust"]), (&json!(12), &json!("replay")));
    let diff = story.json("diff --from-checkpoint kept");
    assert_eq!(
        (&diff["from"]["as_of"]["seq"], &diff["to"]["as_of"]["seq"]),
        (&json!(12), &json!(size() - 1))
    );
    let export = story.json("export history --at-checkpoint kept");
    assert_eq!(export["executed"], json!(["001_users.sql", "002_orders.sql"]));
}

#[test]
fn a_checkpoint_that_does_not_fit_the_log_chooses_nothing() {
    let story = Story::with_events(40);
    let refused = |note: String, code: i32, words: &[&str]| {
        fs::write(story.path("kept"), note).unwrap();
        for line in ["state --at-checkpoint kept", "history --at-checkpoint kept"] {
            story.annals(line).expect(code).says(words);
        }
        story.annals("diff --from-seq 3 --to-checkpoint kept").expect(code).says(words);
    };
    let newer = story.checkpoint(60, &story.key);
    refused(newer, 9, &["vouches for 60 events, this log has 40"]);
    let other_root = annals_events::CompactRange::default().root();
    let origin = || "shop/production".parse().unwrap();
    let fork = Checkpoint { origin: origin(), size: 20, root: other_root };
    refused(fork.sign(&story.key), 9, &["two histories exist"]);
    let stranger = SecretKey::generate("shop").unwrap();
    refused(story.checkpoint(13, &stranger), 3, &["the checkpoint kept"]);
    refused("hello\n".to_owned(), 3, &["the checkpoint kept"]);
    fs::write(story.path("kept"), story.checkpoint(13, &story.key)).unwrap();
    let without_key = "state --at-checkpoint kept --log log";
    let outcome = Annals::new(&program(), story.folder.path()).args(without_key).run();
    outcome.expect(3).says(&["needs the log's public keys"]);
}

#[test]
fn two_moments_are_compared() {
    let story = Story::new();
    let diff = story.json("diff --from-seq 56 --to-seq 80");
    assert_eq!(diff["format"], "annals.diff/1");
    assert_eq!(
        (&diff["from"]["as_of"]["seq"], &diff["to"]["next"]["seq"]),
        (&json!(56), &json!(81))
    );
    let turned = diff["migrations"].as_array().unwrap().iter();
    let turned: Vec<_> = turned.map(|m| (m["version"].as_str(), m["what"].as_str())).collect();
    let expected =
        [(Some("005"), Some("applied and rolled back")), (Some("004"), Some("rolled back"))];
    assert_eq!(turned, expected);
    let between = &diff["between"];
    assert_eq!((&between["events"], &between["runs_failed"]), (&json!(24), &json!(1)));
    assert_eq!(names(&diff["approvals"], "what"), ["given", "given and over again"]);
    assert_eq!(diff["last_known_good"], json!({ "before": "004", "after": "003" }));
    assert_eq!(diff["last_emergency"]["after"]["outcome"], "succeeded");
    assert_eq!((&diff["keys"], &diff["home"]), (&json!([]), &Value::Null));
    story.annals("diff --from 2026-01-10 --to 2026-01-20").expect(0).says(&[
        &format!(
            "from event 42 (2026-01-08 09:41:10Z) to event {} ({}): {} events",
            size() - 1,
            last_at(),
            size() - 43
        ),
        "migration         004_index rolled back and applied again",
        " 1 failed, 2 interrupted",
        "in doubt          – → 005_audit",
        "last known good   004 → 003",
        "log key           shop+0badcafe added",
        "vault: 13 → 81 events, says the log",
        "home of the log   – → postgres:7412345678901234567/app",
    ]);
    let same = story.json("diff --from-seq 20 --to-seq 20");
    assert_eq!((&same["between"]["events"], &same["migrations"]), (&json!(0), &json!([])));
    story.annals("diff --from-seq 30 --to-seq 20").expect(3).says(&["lies behind"]);
    story.annals("diff --to-seq 20").expect(2).says(&["--from"]);
}

#[test]
fn the_timeline_tells_every_event_once() {
    let story = Story::new();
    let told = story.json("timeline");
    assert_eq!((&told["format"], &told["trust"]), (&json!("annals.timeline/1"), &json!("replay")));
    let golden = golden("timeline.txt");
    let expected: Vec<&str> = golden.lines().collect();
    let events = told["events"].as_array().unwrap();
    assert_eq!(events.len(), expected.len());
    for (event, line) in events.iter().zip(expected) {
        assert!(line.ends_with(event["text"].as_str().unwrap()), "{line}: {event}");
    }
    assert_eq!(
        (&events[7]["migration"], &events[7]["tone"]),
        (&json!("001_users"), &json!("good"))
    );
    let part = story.json("timeline --from 20 --limit 3");
    let seqs: Vec<_> = part["events"].as_array().unwrap().iter().map(|e| &e["seq"]).collect();
    assert_eq!(seqs, [20, 21, 22]);
    assert_eq!((&part["as_of"]["seq"], &part["next"]["seq"]), (&json!(22), &json!(23)));
    let last = story.json("timeline --limit 2");
    let seqs: Vec<_> = last["events"].as_array().unwrap().iter().map(|e| &e["seq"]).collect();
    assert_eq!(seqs, [size() - 2, size() - 1]);
    story.annals("timeline --from 20 --limit 2").expect(0).says(&[
        "   20  2026-01-06 09:30:05Z  Ada        003_totals failed and left nothing: relation",
        "(SQLSTATE 42P01, line 7)",
        "2 events of shop/production",
        "annals timeline --from 22",
    ]);
}

#[test]
fn a_migration_a_run_and_an_event_are_explained_with_their_evidence() {
    let story = Story::new();
    let kinds = |document: &Value| -> Vec<String> {
        let events = document["events"].as_array().unwrap().iter();
        events.map(|e| e["event"]["kind"].as_str().unwrap().to_owned()).collect()
    };
    let version = story.json("explain 005");
    assert_eq!(
        (&version["format"], &version["read_as"]),
        (&json!("annals.explain/1"), &json!("version"))
    );
    assert_eq!(version["also"], json!(["seq"]), "there is an event 5 too");
    assert_eq!(version["runs"].as_array().unwrap().len(), 4);
    let events = version["events"].as_array().unwrap();
    let of = |kind: &str| {
        let found = events.iter().find(|event| event["event"]["kind"] == kind);
        found.unwrap_or_else(|| panic!("{kind}"))
    };
    let (intent, settled) = (of("step_started"), of("step_reconciled"));
    assert_eq!(intent["evidence"]["ledger_intent_hash"], intent["leaf"]);
    assert_eq!(settled["evidence"]["intent_hash"], intent["leaf"]);
    assert_eq!(settled["evidence"]["transaction_status"], "committed");
    assert_eq!(intent["evidence"]["file"], "005_audit.sql");
    // The leaf hash is that of the line as it is stored.
    let log = golden("log.jsonl");
    let seq = usize::try_from(intent["event"]["seq"].as_u64().unwrap()).unwrap();
    let leaf = annals_events::LeafHash::of_line(log.lines().nth(seq).unwrap().as_bytes());
    assert_eq!(intent["leaf"], leaf.to_string());
    let event = story.json("explain 5 --as seq");
    assert_eq!((&event["read_as"], &event["also"]), (&json!("seq"), &json!([])));
    assert_eq!(kinds(&event)[..2], ["plan_made", "run_started"]);
    let run = event["runs"][0].as_str().unwrap().to_owned();
    let (whole, short) =
        (story.json(&format!("explain {run}")), story.json(&format!("explain {}", &run[28..])));
    assert_eq!((kinds(&whole), &whole["read_as"]), (kinds(&short), &json!("run")));
    story.annals("explain 005").expect(0).says(&[
        "version 005:",
        "settled from evidence: 005_audit had taken effect",
        "transaction_status         committed",
        "there is an event 005 too: annals explain 005 --as seq",
    ]);
    story.annals("explain 999").expect(3).says(&["the log does not speak of it"]);
    story.annals("explain yesterday").expect(3).says(&["is no version, no run"]);
}

#[test]
fn the_exports_have_exactly_their_shape() {
    let story = Story::new();
    for (kind, file) in [("history", "migration_history.json"), ("recovery", "recovery_log.json")] {
        let outcome = story.annals(&format!("export {kind}")).expect(0);
        assert_eq!(outcome.out, golden(file));
        let json = story.annals(&format!("export {kind} --json")).expect(0);
        assert_eq!(json.out, outcome.out);
        story.annals(&format!("export {kind} --out .")).expect(0).says(&["written: ", file]);
        assert_eq!(fs::read_to_string(story.path(file)).unwrap(), outcome.out);
        story.annals(&format!("export {kind} --out other.json --at-seq 12")).expect(0);
        let earlier = fs::read_to_string(story.path("other.json")).unwrap();
        assert_eq!(earlier, story.annals(&format!("export {kind} --at-seq 12")).expect(0).out);
        assert_ne!(earlier, outcome.out);
    }
    let nothing = "{\n  \"executed\": [],\n  \"last_migration\": null,\n  \"last_execution\": null,\n  \
                   \"last_rollback\": null,\n  \"last_rollback_time\": null\n}\n";
    assert_eq!(story.annals("export history --at-seq 0").expect(0).out, nothing);
    let nothing = "{\n  \"last_known_good_version\": null,\n  \"last_emergency_rollback\": {\n    \
                   \"timestamp\": null,\n    \"target_version\": null,\n    \"success\": null\n  },\n  \
                   \"integrity_checks\": []\n}\n";
    assert_eq!(story.annals("export recovery --at-seq 0").expect(0).out, nothing);
    let refused = story.annals("export history --out no/such/folder").expect(3);
    refused.says(&["cannot write no/such/folder"]);
}

#[test]
fn a_damaged_log_answers_nothing() {
    let story = Story::new();
    let text = fs::read_to_string(story.segment(0)).unwrap();
    fs::write(story.segment(0), text.replacen("\"Grace\"", "\"Heidi\"", 1)).unwrap();
    for line in [
        "state",
        "state --at-seq 3",
        "history",
        "diff --from-seq 1",
        "timeline",
        "timeline --follow",
        "explain 001",
        "export history",
        "export recovery",
    ] {
        let outcome = story.annals(line).expect(9).says(&["is damaged", "event 66"]);
        assert_eq!(outcome.out, "", "{line} answers nothing");
    }
}

#[test]
fn without_a_key_the_answer_says_that_nothing_vouches_for_it() {
    let story = Story::new();
    for line in ["state", "history", "diff --from-seq 1", "timeline", "explain 001"] {
        let run = |more: &str| {
            let line = format!("{line} --log log{more}");
            Annals::new(&program(), story.folder.path()).args(&line).run().expect(0)
        };
        assert_eq!(run(" --json").json()["verified"], false, "{line}");
        run("").says(&["only the links were checked"]);
    }
}

/// `annals timeline --follow --json`, its lines as they come.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(story: &Story, more: &str) -> Self {
        let line = Story::line(&format!("timeline --follow --json {more}"));
        let mut child = Command::new(program())
            .args(line.split_whitespace())
            .current_dir(story.folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The place of the next event; fails if none comes for half a minute.
    fn next(&self) -> u64 {
        let line = self.lines.recv_timeout(Duration::from_secs(30)).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["format"], "annals.timeline_event/1");
        assert_eq!(line["origin"], "shop/production");
        line["event"]["seq"].as_u64().unwrap()
    }

    #[track_caller]
    fn tells(&self, seqs: std::ops::Range<u64>) {
        for seq in seqs {
            assert_eq!(self.next(), seq);
        }
    }

    /// Ends it; nothing more was told.
    fn end(mut self, signal: Option<&str>) -> i32 {
        if let Some(signal) = signal {
            kill(u64::from(self.child.id()), signal);
        }
        let status = self.child.wait().unwrap();
        assert_eq!(self.lines.iter().collect::<Vec<_>>(), Vec::<String>::new());
        status.code().unwrap_or(-1)
    }
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_follower_tells_each_event_once_over_torn_writes_and_new_segments() {
    let story = Story::with_events(20);
    let log = golden("log.jsonl");
    let lines: Vec<&[u8]> = log.as_bytes().split_inclusive(|byte| *byte == b'\n').collect();
    let following = Following::start(&story, "--from 18");
    following.tells(18..20);
    // An append that is seen half-written.
    append(&story.segment(0), &lines[20][..100]);
    append(&story.segment(0), &lines[20][100..]);
    following.tells(20..21);
    append(&story.segment(0), &lines[21..30].concat());
    following.tells(21..30);
    // A torn tail that a writer replaces: what was torn is not told.
    append(&story.segment(0), b"{\"actor\":{\"host\":\"gone");
    let repaired = story.path("log/segments/.repaired");
    fs::write(&repaired, lines[..35].concat()).unwrap();
    fs::rename(&repaired, story.segment(0)).unwrap();
    following.tells(30..35);
    // Another segment, and one more, before anybody looked.
    append(&story.segment(35), &lines[35..40].concat());
    append(&story.segment(40), &lines[40..41].concat());
    following.tells(35..41);
    append(&story.segment(40), &lines[41..].concat());
    following.tells(41..size());
    assert_eq!(following.end(Some("INT")), 0);
}

#[test]
fn a_follower_begins_with_the_last_events_and_ends_at_what_does_not_fit() {
    let story = Story::with_events(20);
    let log = golden("log.jsonl");
    let lines: Vec<&[u8]> = log.as_bytes().split_inclusive(|byte| *byte == b'\n').collect();
    let following = Following::start(&story, "--limit 1");
    following.tells(19..20);
    append(&story.segment(0), lines[20]);
    following.tells(20..21);
    append(&story.segment(0), lines[22]);
    assert_eq!(following.end(None), 9);
    // A log that was replaced by a shorter one, an older copy for instance, is not followed either.
    let story = Story::with_events(20);
    let following = Following::start(&story, "--limit 1");
    following.tells(19..20);
    fs::write(story.segment(0), lines[..10].concat()).unwrap();
    assert_eq!(following.end(None), 9);
}

#[test]
fn an_export_file_answers_too_but_is_not_followed() {
    let story = Story::new();
    let note = story.checkpoint(size(), &story.key);
    fs::write(story.path("export"), format!("{note}\n{}", golden("log.jsonl"))).unwrap();
    let run = |line: &str| {
        let line = format!("{line} --log export --key log.pub");
        Annals::new(&program(), story.folder.path()).args(&line).run()
    };
    let state = run("state --json").expect(0).json();
    assert_eq!((&state["verified"], &state["pending"]), (&json!(true), &Value::Null));
    assert_eq!(state["applied"], story.json("state")["applied"]);
    assert_eq!(run("timeline --json").expect(0).json(), story.json("timeline"));
    assert_eq!(run("explain 005 --json").expect(0).json(), story.json("explain 005"));
    run("timeline --follow").expect(3).says(&["does not grow"]);
}
