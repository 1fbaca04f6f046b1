//! A log too large to fold for every question: stored states, and what they are worth.

use std::fs;
use std::path::Path;

use annals_event_store::{EventStore, FileLog, Layout, OpenOptions};
use annals_events::{
    Actor, Digest, Direction, Draft, Event, EventId, FORMAT_VERSION, FileRef, LogCreated, Origin,
    RunFinished, RunId, RunOutcome, RunStarted, StepMode, StepStarted, StepSucceeded, Timestamp,
};
use annals_keys::{KeyRing, SecretKey, write_pair};
use annals_testkit::{Annals, Outcome};
use uuid::Uuid;

/// Runs that apply or roll back one of so many migrations.
const MIGRATIONS: u64 = 40;
const RUNS: u64 = 4_000;

struct Past {
    folder: tempfile::TempDir,
}

fn at(n: u64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + i64::try_from(n).unwrap() * 1_000_000)
}

fn draft(event: impl Into<Event>, n: u64) -> Draft {
    Draft {
        event: event.into(),
        id: EventId(Uuid::from_u128(u128::from(n) + 1)),
        occurred_at: at(n),
        actor: Actor { host: "h".into(), name: "n".into(), tool: "annals 0.1.0".into() },
        target: None,
        incarnation: 0,
    }
}

/// Run `n`: migrations go up one after the other, then down again, and so on.
fn run(n: u64) -> [Draft; 4] {
    let (round, place) = (n / MIGRATIONS, n % MIGRATIONS);
    let (direction, version) = match round % 2 {
        0 => (Direction::Up, place + 1),
        _ => (Direction::Down, MIGRATIONS - place),
    };
    let run = RunId(Uuid::from_u128(u128::from(n) + 1));
    let name = format!("{version}_t{version}.sql");
    let digest = Digest::of(name.as_bytes());
    let file = FileRef { canonical: digest, name, raw: digest };
    let started = StepStarted {
        direction,
        file,
        mode: StepMode::Transactional,
        name: format!("t{version}"),
        ordinal: round + 1,
        rollback: None,
        run,
        statements: 1,
        step: 0,
        version: version.to_string().parse().unwrap(),
    };
    let done = StepSucceeded { duration_us: 1, run, step: 0, transaction: n.to_string() };
    let outcome = RunOutcome::Succeeded;
    [
        draft(RunStarted { direction, plan: digest, run, steps: 1 }, 4 * n),
        draft(started, 4 * n + 1),
        draft(done, 4 * n + 2),
        draft(RunFinished { outcome, reason: None, run, steps_done: 1 }, 4 * n + 3),
    ]
}

impl Past {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::generate("large").unwrap();
        let (secret, public) = (folder.path().join("log.key"), folder.path().join("log.pub"));
        write_pair(&key, &secret, &public).unwrap();
        let ring = KeyRing::from(key.verifier());
        let repair = |fact| draft(Event::TailRepaired(fact), 0);
        let options =
            OpenOptions { ring: &ring, known: &[], now: at(0), holder: "me", repair: &repair };
        let created = LogCreated {
            checkpoint_key: key.verifier().to_string(),
            format: FORMAT_VERSION,
            target: "db".into(),
            workspace: "large".into(),
        };
        let origin: Origin = "large/db".parse().unwrap();
        let config = "workspace = \"large\"\ndefault_target = \"db\"\n\n[folders]\nkeys = \
                      \".\"\nevent_store = \".\"\n\n[targets.db]\nurl_env = \"NOT_NEEDED\"\n";
        fs::write(folder.path().join("annals.toml"), config).unwrap();
        let layout = Layout::new(folder.path().join("db"));
        let first = draft(created, 4 * RUNS);
        let (mut log, _) = FileLog::create(layout, &origin, &first, &key, &options).unwrap();
        for n in 0..RUNS {
            let now = at(4 * n + 3);
            log.append_each(&[&run(n)[..]], now).unwrap().pop().unwrap().unwrap();
        }
        let checkpoint = log.checkpoint();
        log.publish_now(&checkpoint, &checkpoint.sign(&key)).unwrap();
        Self { folder }
    }

    fn annals(&self, line: &str) -> Outcome {
        Annals::new(&annals_testkit::program(), self.folder.path()).args(line).run()
    }

    fn state(&self, more: &str) -> (serde_json::Value, String) {
        let line = format!("state --json {more}");
        let mut state = self.annals(&line).expect(0).json();
        let trust = state["trust"].as_str().unwrap().to_owned();
        state.as_object_mut().unwrap().remove("trust");
        // An anchor the log claims to have stands behind the moment, if anywhere.
        state.as_object_mut().unwrap().remove("time_bounds");
        state.as_object_mut().unwrap().remove("judged_at");
        (state, trust)
    }

    fn caches(&self) -> Vec<std::path::PathBuf> {
        let folder = self.folder.path().join("db/cache/state-4");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_stored_state_says_what_a_replay_says_and_is_never_trusted_beyond_the_signed_head() {
    let past = Past::new();
    let moments = [
        String::new(),
        "--at-seq 9000".to_owned(),
        "--at-seq 15990".to_owned(),
        format!("--at {}", at(30_000 / 3)),
    ];
    let replayed: Vec<_> = moments
        .iter()
        .map(|moment| {
            fs::remove_dir_all(past.folder.path().join("db/cache")).ok();
            past.state(moment)
        })
        .collect();
    assert!(replayed.iter().all(|(_, trust)| trust == "replay"), "{replayed:?}");
    assert!(past.caches().len() >= 2, "{:?}", past.caches());
    for (moment, (expected, _)) in moments.iter().zip(&replayed) {
        let (state, trust) = past.state(moment);
        assert_eq!(&state, expected, "{moment}");
        assert!(trust.starts_with("cache@"), "{moment}: {trust}");
    }
    let report = past.annals("log verify").expect(0);
    report.says(&["stored states"]);

    // One that was altered is not read, and an audit names it.
    flip(past.caches().last().unwrap());
    let (state, _) = past.state(&moments[2]);
    assert_eq!(state, replayed[2].0);
    past.annals("log verify").expect(20).says(&["stored state"]);
}

#[test]
fn a_stored_state_that_lies_well_is_found_by_the_audit() {
    let past = Past::new();
    past.state("");
    // Another state in canonical spelling: only folding the log anew can tell.
    let path = past.caches().pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lied = text.replacen("\"by\":\"n\"", "\"by\":\"m\"", 1);
    assert_ne!(lied, text);
    fs::write(&path, lied).unwrap();
    past.annals("log verify").expect(20).says(&["not what the log says"]);
    fs::remove_file(path).unwrap();
    past.annals("log verify").expect(0);
}

#[test]
fn states_that_come_with_somebody_elses_copy_are_not_read() {
    let past = Past::new();
    past.state("");
    let copied = past.annals("state --log db --key log.pub --json").expect(0).json();
    assert_eq!(copied["trust"], "replay");
    assert!(!past.caches().is_empty());
}

#[test]
fn a_rewritten_log_is_not_answered_from_the_states_of_the_old_one() {
    let past = Past::new();
    past.state("");
    // The segment behind the last stored state is altered: the signed head no longer vouches.
    let segments = past.folder.path().join("db/segments");
    let mut paths: Vec<_> = fs::read_dir(segments).unwrap().flatten().map(|e| e.path()).collect();
    paths.sort();
    let last = paths.last().unwrap();
    let text = fs::read_to_string(last).unwrap();
    fs::remove_file(last).unwrap();
    fs::write(last, text.replacen("\"duration_us\":1,", "\"duration_us\":2,", 1)).unwrap();
    past.annals("state").expect(9);
}
