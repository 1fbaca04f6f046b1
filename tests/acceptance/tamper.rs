//! A log that was altered: what was done to it is named, and nothing is written on top of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use annals_events::{Draft, Event, Recorded, Segment, Seq, UnknownEvent, scan, seal};
use annals_integrity::DamageClass::{
    self, Content, CutTail, Link, NotSigned, Nothing, Order, Signature, UnknownKey,
};
use annals_testkit::{Outcome, Server, Workspace};

/// Every command that writes to the log, and has something to do.
const WRITERS: [&str; 3] = ["migrate", "rollback --to 0", "verify"];

/// A target with a past, and the log of it: up, down, up and verified, a migration pending.
struct Past {
    server: Server,
    workspace: Workspace,
}

impl Past {
    fn new() -> Self {
        let server = Server::start();
        let workspace = Workspace::new(&server);
        workspace.tables(4);
        for line in ["migrate --to 3", "rollback --last 1", "migrate --to 3", "verify"] {
            workspace.annals(line).run().expect(0);
        }
        let past = Self { server, workspace };
        past.annals("log verify").expect(0).says(&["is intact"]);
        past
    }

    fn annals(&self, line: &str) -> Outcome {
        self.workspace.annals(line).run()
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.workspace.segment()).unwrap()
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        self.log().split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    fn put(&self, log: &[u8]) {
        // A reader may hold the old file open; it keeps what it has read.
        fs::remove_file(self.workspace.segment()).unwrap();
        fs::write(self.workspace.segment(), log).unwrap();
    }

    fn checkpoint(&self) -> PathBuf {
        self.workspace.path("event-store/db/checkpoint")
    }

    fn events(&self) -> Vec<Recorded> {
        let log = self.log();
        scan(&[Segment { first: Seq(0), bytes: &log }], &[]).events
    }

    /// Everything a command could have changed: the files of the log, and the target.
    fn picture(&self) -> (BTreeMap<PathBuf, Vec<u8>>, Vec<String>) {
        let mut files = BTreeMap::new();
        read_all(&self.workspace.path("event-store"), &mut files);
        let rows = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace \
                    UNION ALL SELECT l::text FROM annals.ledger l ORDER BY 1";
        (files, self.server.rows(rows))
    }

    /// `line` refuses with `code`, says `words`, and changes nothing.
    #[track_caller]
    fn refuses_one(&self, line: &str, code: i32, words: &[&str]) {
        let before = self.picture();
        self.annals(line).expect(code).says(words);
        assert!(self.picture() == before, "{line} changed something");
    }

    /// Every writing command refuses with `code`, says `words`, and changes nothing.
    #[track_caller]
    fn refuses(&self, code: i32, words: &[&str]) {
        for line in WRITERS {
            self.refuses_one(line, code, words);
        }
    }

    /// `log verify` gives this verdict, in words and as exit code; returns the first bad place.
    #[track_caller]
    fn verdict(&self, class: DamageClass) -> Option<u64> {
        self.verdict_of(&[class]).1
    }

    /// `log verify` gives one of these verdicts; returns it with the first bad place.
    #[track_caller]
    fn verdict_of(&self, classes: &[DamageClass]) -> (DamageClass, Option<u64>) {
        let outcome = self.annals("log verify --json");
        let document = outcome.json();
        let class = classes.iter().find(|class| document["verdict"] == class.as_str());
        let class = *class.unwrap_or_else(|| panic!("not one of {classes:?}: {document}"));
        outcome.expect(i32::from(class.exit_code()));
        assert_eq!(document["exit_code"], class.exit_code(), "{document}");
        (class, document["first_bad_seq"].as_u64())
    }

    /// After the damage was undone, everything works as before.
    #[track_caller]
    fn works(&self) {
        self.annals("migrate").expect(0);
        self.annals("verify").expect(0);
        self.annals("log verify").expect(0).says(&["is intact"]);
    }
}

fn read_all(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, files);
        } else if !path.ends_with("lock") {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_changed_byte_anywhere_is_found_and_nothing_is_written_on_top_of_it() {
    let past = Past::new();
    let (log, lines) = (past.log(), past.lines());
    let mut at_line = BTreeSet::new();
    for at in (0..log.len()).step_by(97) {
        let line = log[..at].iter().filter(|&&byte| byte == b'\n').count();
        let mut changed = log.clone();
        changed[at] ^= 1;
        past.put(&changed);
        let (class, bad) = past.verdict_of(&[Content, Link, Order, NotSigned]);
        let bad = bad.unwrap() as usize;
        // A line that still reads as an event is found out by the link of the next one, the last
        // one by the signature.
        let expected = match class {
            Link if bad == line => line,
            Link => line + 1,
            _ => line,
        };
        assert_eq!(bad, expected, "byte {at}, line {line}: {class:?}");
        if at_line.insert(line) {
            past.refuses_one(WRITERS[line % 3], 9, &["the event log in", "nothing was written"]);
        }
    }
    assert_eq!(at_line.len(), lines.len(), "every line was changed");
    past.put(&log);
    past.works();
}

#[test]
fn a_tail_cut_below_the_checkpoint_is_found_and_not_taken_for_a_crash() {
    let past = Past::new();
    let (log, lines) = (past.log(), past.lines());
    let size = lines.len();
    let mut start = 0;
    for (n, line) in lines.iter().enumerate() {
        for (at, end) in [start, start + line.len() / 2, start + line.len() - 1].iter().enumerate()
        {
            past.put(&log[..*end]);
            if n == 0 {
                assert_eq!(past.verdict(Nothing), Some(0));
            } else {
                assert_eq!(past.verdict(CutTail), Some(n as u64));
            }
            if n % 8 == 3 {
                let said = format!("has {n} whole events, its checkpoint vouches for {size}");
                past.refuses_one(WRITERS[at], 9, &[&said, "the tail is cut"]);
            }
        }
        start += line.len();
    }
    past.put(&log);
    past.works();
}

#[test]
fn deleted_duplicated_inserted_and_moved_lines_are_named() {
    let past = Past::new();
    let stranger = Past::new();
    let (log, lines, strange) = (past.log(), past.lines(), stranger.lines());
    for n in 0..lines.len() - 1 {
        let mut deleted = lines.clone();
        deleted.remove(n);
        let mut duplicated = lines.clone();
        duplicated.insert(n, lines[n].clone());
        let mut inserted = lines.clone();
        inserted.insert(n, strange[n].clone());
        let mut replaced = lines.clone();
        replaced[n].clone_from(&strange[n]);
        let mut moved = lines.clone();
        moved.swap(n, n + 1);
        let n = n as u64;
        let cases = [
            (deleted, Order, n),
            (duplicated, Order, n + 1),
            // The first line of another log is a good first line.
            (inserted, if n == 0 { Order } else { Link }, n.max(1)),
            (replaced, Link, n.max(1)),
            (moved, Order, n),
        ];
        for (at, (changed, class, place)) in cases.into_iter().enumerate() {
            past.put(&changed.concat());
            let bad = past.verdict(class).unwrap();
            assert_eq!(bad, place, "line {n}, case {at}");
            if n % 5 == at as u64 {
                let said = format!("is damaged at event {bad}");
                past.refuses_one(WRITERS[at % 3], 9, &[&said]);
            }
        }
    }
    past.put(&log);
    past.works();
}

/// Writes `events` anew, each with the link to the one before, as whoever knows the format could.
fn sealed(events: &[Recorded]) -> Vec<u8> {
    let (mut chain, mut lines) = (annals_events::Chain::default(), Vec::new());
    for recorded in events {
        let draft = Draft {
            event: recorded.event.clone(),
            id: recorded.id,
            occurred_at: recorded.occurred_at,
            actor: recorded.actor.clone(),
            target: recorded.target.clone(),
            incarnation: recorded.incarnation,
        };
        seal(&mut chain, &recorded.origin, &draft, recorded.recorded_at, &mut lines).unwrap();
    }
    lines
}

#[test]
fn a_history_rewritten_with_every_link_is_not_the_one_that_was_signed() {
    let past = Past::new();
    let (log, events) = (past.log(), past.events());
    assert!(sealed(&events) == log, "what is written anew without a change is the same");
    for n in (0..events.len()).step_by(4) {
        let mut changed = events.clone();
        changed[n].actor.name = "nobody".into();
        past.put(&sealed(&changed));
        assert_eq!(past.verdict(NotSigned), Some(events.len() as u64 - 1));
        let said = "are not those the checkpoint vouches for";
        past.refuses_one(WRITERS[n / 4 % 3], 9, &[said]);
    }
    let mut fewer = events.clone();
    fewer.remove(events.len() / 2);
    past.put(&sealed(&fewer));
    assert_eq!(past.verdict(CutTail), Some(fewer.len() as u64));
    past.refuses(9, &["the tail is cut"]);
    past.put(&log);
    past.works();
}

#[test]
fn a_log_without_its_checkpoint_is_not_signed_again() {
    let past = Past::new();
    let (log, lines) = (past.log(), past.lines());
    let checkpoint = fs::read(past.checkpoint()).unwrap();
    fs::remove_file(past.checkpoint()).unwrap();
    assert_eq!(past.verdict(Signature), None);
    past.refuses(9, &["has no checkpoint: nothing vouches for it"]);
    // Without the checkpoint nobody would miss the verification at the end.
    past.put(&lines[..lines.len() - 1].concat());
    assert_eq!(past.verdict(Signature), None);
    past.refuses(9, &["has no checkpoint: nothing vouches for it"]);
    past.put(&log);
    fs::write(past.checkpoint(), checkpoint).unwrap();
    past.works();
}

#[test]
fn a_checkpoint_by_another_key_or_altered_is_refused() {
    let past = Past::new();
    let stranger = Past::new();
    let checkpoint = fs::read(past.checkpoint()).unwrap();
    let strange = fs::read(stranger.checkpoint()).unwrap();
    fs::write(past.checkpoint(), strange).unwrap();
    past.verdict(UnknownKey);
    past.refuses(9, &["the checkpoint of the event log in", "not signed"]);
    for at in (0..checkpoint.len()).step_by(7) {
        let mut changed = checkpoint.clone();
        changed[at] ^= 1;
        fs::write(past.checkpoint(), changed).unwrap();
        // Where the name or the id of the key was changed, nobody known has signed.
        past.verdict_of(&[Signature, UnknownKey]);
    }
    past.refuses(9, &["the checkpoint of the event log in"]);
    fs::write(past.checkpoint(), b"").unwrap();
    past.verdict(Signature);
    past.refuses(9, &["the checkpoint of the event log in"]);
    // Another pair of keys in place of ours does not verify what ours has signed.
    fs::write(past.checkpoint(), &checkpoint).unwrap();
    let ours = past.workspace.path("ours");
    copy(&past.workspace.path("keys"), &ours);
    copy(&stranger.workspace.path("keys"), &past.workspace.path("keys"));
    past.verdict(UnknownKey);
    past.refuses(9, &["the checkpoint of the event log in"]);
    copy(&ours, &past.workspace.path("keys"));
    past.works();
}

#[test]
fn an_older_checkpoint_vouches_for_less_and_that_is_said() {
    let past = Past::new();
    let checkpoint = fs::read(past.checkpoint()).unwrap();
    let before = past.lines().len();
    past.annals("migrate").expect(0);
    let behind = past.lines().len() - before;
    fs::write(past.checkpoint(), checkpoint).unwrap();
    past.annals("log verify").expect(0).says(&[
        &format!("signed      {before} events"),
        &format!("unsigned    {behind} events behind the signed ones: nothing vouches for their"),
    ]);
    // The target's ledger vouches for what the checkpoint does not: cut, it is refused.
    let (log, lines) = (past.log(), past.lines());
    past.put(&lines[..before].concat());
    past.annals("log verify").expect(0).says(&["is intact"]);
    past.refuses(9, &["the target's ledger knows", "this is an older copy"]);
    past.put(&log);
    past.works();
}

#[test]
fn an_older_copy_of_the_log_is_refused_and_nothing_is_added_to_it() {
    let past = Past::new();
    let store = past.workspace.path("event-store");
    let (older, newest) = (past.workspace.path("older"), past.workspace.path("newest"));
    copy(&store, &older);
    let had = past.lines().len();
    let next = past.annals("migrate");
    next.expect(0);
    copy(&store, &newest);
    copy(&older, &store);
    past.annals("log verify").expect(0).says(&["is intact"]);
    let ledger = past.server.value("SELECT max(intent_seq) FROM annals.ledger");
    past.annals("status").expect(11).says(&[
        &format!("the target's ledger names event {ledger}"),
        &format!("this log ends with {had} events"),
        "fetch the newest one",
    ]);
    let known = past.server.value("SELECT max(size) FROM annals.checkpoints");
    let (has, knows) = (format!("has {had} events"), format!("the target's ledger knows {known}"));
    past.refuses(9, &[&has, &knows, "this is an older copy", "fetch the newest copy"]);
    copy(&newest, &store);
    past.annals("migrate").expect(0).says(&["nothing to do"]);
    past.works();
}

#[test]
fn a_copy_of_the_log_taken_during_a_run_is_refused_and_nothing_is_added_to_it() {
    let past = Past::new();
    past.workspace.tables(6);
    let killed = past.workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_commit:1");
    killed.run().expect(-1);
    let store = past.workspace.path("event-store");
    let older = past.workspace.path("older");
    copy(&store, &older);
    past.annals("migrate").expect(0).says(&["recovered a run", "2 steps of 2"]);
    copy(&older, &store);
    past.refuses(9, &["the target's ledger knows", "this is an older copy"]);
}

#[test]
fn the_log_of_another_database_is_refused() {
    let past = Past::new();
    let stranger = Past::new();
    for part in ["event-store", "keys"] {
        copy(&stranger.workspace.path(part), &past.workspace.path(part));
    }
    past.annals("log verify").expect(0).says(&["is intact"]);
    past.refuses(3, &["but its log speaks of database \"postgres\" of system"]);
}

#[test]
fn a_ledger_edited_by_hand_is_found_against_the_log() {
    let past = Past::new();
    past.server.sql("CREATE TABLE kept AS SELECT * FROM annals.ledger");
    let cases = [
        ("DELETE FROM annals.ledger WHERE version = '2'", "has no ledger row of change 1", 14),
        (
            "UPDATE annals.ledger SET name = 'other' WHERE version = '2'",
            "name is other in the ledger and t2 in the log",
            3,
        ),
        (
            "INSERT INTO annals.ledger SELECT workspace, '9', 1, 'up', '9', 't9', file_raw, \
             gen_random_uuid(), 0, log_origin, 1, intent_hash, actor \
             FROM annals.ledger WHERE version = '2'",
            "the log has no such event",
            3,
        ),
    ];
    for (edit, says, code) in cases {
        past.server.sql(edit);
        past.annals("migrate").expect(code).says(&[says]);
        past.annals("rollback --to 0").expect(code).says(&[says]);
        let found = if code == 3 { 11 } else { code };
        past.annals("verify").expect(found).says(&[says]);
        past.annals("status").expect(found).says(&[says]);
        past.server.sql("DELETE FROM annals.ledger; INSERT INTO annals.ledger SELECT * FROM kept");
    }
    past.server.sql("DROP TABLE kept");
    past.works();
}

#[test]
fn a_log_with_an_event_of_a_newer_annals_is_read_but_not_written() {
    let past = Past::new();
    let (log, mut events) = (past.log(), past.events());
    let mut newer = events.last().unwrap().clone();
    newer.recorded_at = newer.recorded_at.plus_micros(1);
    newer.event = Event::Unknown(UnknownEvent {
        kind: "step_dreamt".into(),
        schema: 1,
        data: "{\"deep\":true}".into(),
    });
    let seq = events.len();
    events.push(newer);
    past.put(&sealed(&events));
    past.annals("log verify").expect(0).says(&[
        "is intact",
        "1 events behind the signed ones: nothing vouches for their number",
        "1 events are from a newer annals: verified, not understood",
    ]);
    past.annals("history").expect(0).says(&["applied"]);
    let said = format!("event {seq}: step_dreamt, schema 1");
    past.refuses(9, &["was written by a newer annals", &said, "use the newer annals"]);
    past.put(&log);
    past.works();
}

#[test]
fn a_log_somebody_else_writes_to_is_waited_for_and_then_refused_by_name() {
    let past = Past::new();
    let config = fs::read_to_string(past.workspace.path("annals.toml")).unwrap();
    past.workspace.write("annals.toml", config.replace("20s", "200ms"));
    let path = past.workspace.path("event-store/db/lock");
    let lock = fs::File::options().write(true).open(&path).unwrap();
    lock.lock().unwrap();
    fs::write(&path, "process 4711 on build-7 (annals migrate)").unwrap();
    past.refuses(8, &["the event log in", "is locked by process 4711 on build-7 (annals migrate)"]);
    past.annals("status").expect(0);
    past.annals("log verify").expect(0);
    drop(lock);
    past.works();
}

#[test]
fn a_torn_tail_is_moved_aside_and_recorded() {
    let past = Past::new();
    let next = past.lines().pop().unwrap();
    // One byte, half a line, and a whole line that was not ended.
    for length in [1, next.len() / 2, next.len() - 1] {
        let (before, torn) = (past.log(), &next[..length]);
        let size = past.lines().len();
        past.put(&[before.as_slice(), torn].concat());
        let said = format!("{length} bytes of an append that was cut short");
        past.annals("log verify").expect(0).says(&["is intact", &said]);
        past.annals("verify").expect(0);
        assert!(past.log().starts_with(&before), "what was recorded stands");
        let kinds = past.workspace.kinds();
        assert_eq!(kinds[size..], ["tail_repaired", "integrity_checked"]);
        let repaired = &past.events()[size];
        let Event::TailRepaired(fact) = &repaired.event else { panic!("{repaired:?}") };
        assert_eq!(fact.bytes, length as u64);
        let aside = past.workspace.path("event-store/db/quarantine").join(&fact.quarantined_as);
        assert_eq!(fs::read(aside).unwrap(), torn);
        let checked = past.annals("log verify --json").expect(0).json();
        assert_eq!(checked["torn_bytes"], 0);
        assert_eq!(checked["unsigned"], 0);
    }
    past.works();
}

#[test]
fn what_is_not_a_segment_in_place_of_one_is_refused() {
    let past = Past::new();
    let segment = past.workspace.segment();
    let aside = past.workspace.path("aside");
    fs::rename(&segment, &aside).unwrap();
    fs::write(&segment, b"").unwrap();
    assert_eq!(past.verdict(Nothing), Some(0));
    past.refuses(9, &["there is no whole event"]);
    fs::remove_file(&segment).unwrap();

    fs::create_dir(&segment).unwrap();
    past.annals("log verify").expect(29).says(&["00000000000000000000.jsonl"]);
    past.refuses(9, &["cannot read", "00000000000000000000.jsonl"]);
    fs::remove_dir(&segment).unwrap();

    // The segment is gone, its folder is not: that is no log, and no second one is begun.
    past.annals("log verify").expect(29).says(&["there is no event log in"]);
    past.refuses(3, &["there is no event log in"]);
    fs::rename(&aside, &segment).unwrap();

    let foreign = segment.with_file_name("notes.txt");
    fs::write(&foreign, "hello").unwrap();
    past.annals("log verify").expect(29).says(&["notes.txt is not part of a log"]);
    past.refuses(9, &["notes.txt is not part of a log"]);
    fs::remove_file(&foreign).unwrap();

    let size = past.lines().len();
    let gap = segment.with_file_name(format!("{:020}.jsonl", size + 1));
    fs::write(&gap, b"").unwrap();
    assert_eq!(past.verdict(Order), Some(size as u64));
    let said = format!("event {size}: the next segment begins at {}", size + 1);
    past.refuses(9, &[&said]);
    fs::remove_file(&gap).unwrap();

    let folder = past.workspace.path("event-store/db/segments");
    let moved = past.workspace.path("moved");
    fs::rename(&folder, &moved).unwrap();
    past.refuses(3, &["was migrated with the event log \"test/db\"", "which is not the one in"]);
    fs::rename(&moved, &folder).unwrap();
    past.works();
}

#[test]
fn without_the_secret_key_or_with_one_others_may_read_nothing_is_written() {
    let past = Past::new();
    let (secret, public) =
        (past.workspace.path("keys/log.key"), past.workspace.path("keys/log.pub"));
    let aside = past.workspace.path("aside");
    fs::rename(&secret, &aside).unwrap();
    past.refuses(3, &["the secret key of this workspace's logs is missing", "ANNALS_LOG_KEY"]);
    past.annals("log verify").expect(0);
    fs::rename(&aside, &secret).unwrap();

    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let said = format!("mode {mode:04o}, others may read it");
        past.refuses(3, &[&said, &format!("chmod 600 {}", secret.display())]);
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();

    fs::rename(&public, &aside).unwrap();
    past.refuses(3, &["the public key that verifies the log is missing"]);
    past.annals("log verify").expect(3).says(&["public key"]);
    // Both gone: a new pair would vouch for a log it knows nothing of.
    let both = past.workspace.path("both");
    fs::rename(&secret, &both).unwrap();
    past.refuses(3, &["the public key that verifies the log is missing"]);
    fs::rename(&aside, &public).unwrap();

    fs::write(&secret, "PRIVATE+KEY+CANARY\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = past.annals("migrate").expect(3);
    assert!(!refused.err.contains("CANARY"), "{}", refused.err);
    refused.says(&["log.key"]);
    fs::rename(&both, &secret).unwrap();
    past.works();
}

#[test]
fn an_altered_or_missing_picture_of_the_schema_is_not_compared_with() {
    let past = Past::new();
    let mut pictures = past.events().into_iter().filter_map(|recorded| match recorded.event {
        Event::SchemaRecorded(picture) => Some(picture.snapshot.digest.to_string()),
        _ => None,
    });
    let digest = pictures.next_back().unwrap();
    let blob = past.workspace.path("event-store/db/blobs/sha256").join(&digest);
    let content = fs::read(&blob).unwrap();
    let mut changed = content.clone();
    changed[content.len() / 2] ^= 1;
    fs::write(&blob, changed).unwrap();
    past.refuses_one("verify", 9, &[&digest, "holds other content than its name says", "restore"]);
    fs::remove_file(&blob).unwrap();
    past.refuses_one("verify", 9, &["blob", &digest, "is missing", "restore"]);
    fs::write(&blob, content).unwrap();
    past.works();
}
