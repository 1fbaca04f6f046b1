//! The file log: what it keeps, what it repairs, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use annals_event_store::{
    AppendError, EventStore, FileLog, Layout, OpenError, OpenOptions, read_files,
};
use annals_events::{
    Actor, Direction, Draft, Event, EventId, FORMAT_VERSION, LogCreated, Origin, RunId, RunStarted,
    TailRepaired, Timestamp, UnknownEvent,
};
use annals_keys::SecretKey;
use uuid::Uuid;

struct Home {
    folder: tempfile::TempDir,
    key: SecretKey,
}

fn now(n: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + n * 1_000)
}

fn draft(event: impl Into<Event>) -> Draft {
    Draft {
        event: event.into(),
        id: EventId(Uuid::now_v7()),
        occurred_at: now(0),
        actor: Actor { host: "h".into(), name: "n".into(), tool: "annals 0.1.0".into() },
        target: None,
        incarnation: 0,
    }
}

fn repair(fact: TailRepaired) -> Draft {
    draft(fact)
}

fn fact(n: u128) -> Draft {
    let run = RunId(Uuid::from_u128(n));
    let plan = annals_events::Digest::of(&n.to_be_bytes());
    draft(RunStarted { direction: Direction::Up, plan, run, steps: 1 })
}

impl Home {
    fn new() -> Self {
        let key = SecretKey::generate("demo/production").unwrap();
        Self { folder: tempfile::tempdir().unwrap(), key }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.folder.path().join("log"))
    }

    fn create(&self) -> FileLog {
        let origin: Origin = "demo/production".parse().unwrap();
        let verifier = self.key.verifier();
        let options = OpenOptions {
            verifier: &verifier,
            known_size: 0,
            now: now(0),
            holder: "me",
            repair: &repair,
        };
        let created = LogCreated {
            checkpoint_key: verifier.to_string(),
            format: FORMAT_VERSION,
            target: "production".into(),
            workspace: "demo".into(),
        };
        FileLog::create(self.layout(), &origin, &draft(created), &self.key, &options).unwrap()
    }

    fn open(&self) -> Result<FileLog, OpenError> {
        let verifier = self.key.verifier();
        let options = OpenOptions {
            verifier: &verifier,
            known_size: 0,
            now: now(1_000_000),
            holder: "me",
            repair: &repair,
        };
        FileLog::open(self.layout(), &options)
    }

    fn segment(&self) -> std::path::PathBuf {
        self.layout().segment(annals_events::Seq(0))
    }
}

fn append(log: &mut FileLog, drafts: &[Draft], at: i64) -> Result<(), AppendError> {
    let head = log.head();
    let runtime = ready(log.append(head, drafts, now(at)));
    runtime.map(|_| ())
}

/// The file log never waits, so its future is ready at the first poll.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the file log waited"),
    }
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_appended_is_there_after_reopening_byte_for_byte() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1), fact(2)], 1).unwrap();
    append(&mut log, &[fact(3)], 2).unwrap();
    log.publish_checkpoint(&home.key).unwrap();
    let (events, bytes) = (log.events().to_vec(), fs::read(home.segment()).unwrap());
    drop(log);
    let log = home.open().unwrap();
    assert_eq!(log.events(), events);
    assert_eq!(log.signed(), 4);
    assert_eq!(fs::read(home.segment()).unwrap(), bytes);
}

#[test]
fn a_second_writer_is_refused_and_told_who_holds_the_log() {
    let home = Home::new();
    let log = home.create();
    assert!(matches!(home.open(), Err(OpenError::Locked { holder, .. }) if holder == "me"));
    drop(log);
    assert!(home.open().is_ok());
}

#[test]
fn an_append_on_another_head_stores_nothing() {
    let home = Home::new();
    let mut log = home.create();
    let stale = log.head();
    append(&mut log, &[fact(1)], 1).unwrap();
    let error = ready(log.append(stale, &[fact(2)], now(2))).unwrap_err();
    assert!(matches!(error, AppendError::HeadMoved { .. }));
    assert_eq!(log.events().len(), 2);
}

#[test]
fn an_unacknowledged_tail_is_moved_aside_and_recorded() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    log.publish_checkpoint(&home.key).unwrap();
    append(&mut log, &[fact(2)], 2).unwrap();
    drop(log);
    let whole = fs::read(home.segment()).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[..40]);
    overwrite(&home.segment(), &torn);
    let mut log = home.open().unwrap();
    let Event::TailRepaired(repaired) = &log.events()[3].event else { panic!("not recorded") };
    assert_eq!(repaired.bytes, 40);
    let kept = fs::read(home.layout().quarantine().join(&repaired.quarantined_as)).unwrap();
    assert_eq!(kept, &whole[..40]);
    append(&mut log, &[fact(3)], 3_000_000).unwrap();
    drop(log);
    assert_eq!(home.open().unwrap().events().len(), 5);
}

#[test]
fn a_changed_byte_anywhere_refuses_to_open() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1), fact(2)], 1).unwrap();
    log.publish_checkpoint(&home.key).unwrap();
    drop(log);
    let whole = fs::read(home.segment()).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x01;
        overwrite(&home.segment(), &damaged);
        let Err(error) = home.open() else { panic!("byte {at} was not noticed") };
        assert!(
            matches!(
                error,
                OpenError::Damaged { .. }
                    | OpenError::CutTail { .. }
                    | OpenError::OtherHistory { .. }
            ),
            "byte {at}: {error}"
        );
    }
}

#[test]
fn every_shorter_file_below_the_checkpoint_refuses_to_open() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1), fact(2)], 1).unwrap();
    log.publish_checkpoint(&home.key).unwrap();
    drop(log);
    let whole = fs::read(home.segment()).unwrap();
    for len in 0..whole.len() {
        overwrite(&home.segment(), &whole[..len]);
        let Err(error) = home.open() else { panic!("{len} bytes were accepted") };
        assert!(
            matches!(error, OpenError::Damaged { .. } | OpenError::CutTail { .. }),
            "{len}: {error}"
        );
    }
    fs::remove_file(home.segment()).unwrap();
    assert!(matches!(home.open(), Err(OpenError::Read(_))));
}

#[test]
fn a_checkpoint_by_another_key_or_of_another_log_refuses_to_open() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    let stranger = SecretKey::generate("demo/production").unwrap();
    log.publish_checkpoint(&stranger).unwrap();
    drop(log);
    assert!(matches!(home.open(), Err(OpenError::Checkpoint { .. })));

    let other = Home { key: home.key, folder: tempfile::tempdir().unwrap() };
    let mut log = other.create();
    append(&mut log, &[fact(9)], 1).unwrap();
    log.publish_checkpoint(&other.key).unwrap();
    drop(log);
    fs::copy(other.layout().checkpoint(), home.folder.path().join("log/checkpoint")).unwrap();
    let home = Home { key: other.key, folder: home.folder };
    assert!(matches!(home.open(), Err(OpenError::OtherHistory { signed: 2, .. })));
}

#[test]
fn a_log_from_a_newer_annals_is_read_but_not_written() {
    let home = Home::new();
    let mut log = home.create();
    let unknown = UnknownEvent { kind: "moon_landed".into(), schema: 1, data: "{}".into() };
    append(&mut log, &[draft(Event::Unknown(unknown))], 1).unwrap();
    drop(log);
    assert!(matches!(home.open(), Err(OpenError::Newer { .. })));
    let scan = read_files(&home.layout()).unwrap().scan(&[]);
    assert_eq!((scan.events.len(), scan.damage), (2, None));
}

#[test]
fn segments_follow_each_other_and_a_missing_one_is_noticed() {
    let home = Home::new();
    let mut log = home.create();
    for n in 0..60 {
        let batch: Vec<Draft> = (0..100).map(|m| fact(n * 1000 + m)).collect();
        append(&mut log, &batch, 1 + n as i64 * 1000).unwrap();
    }
    let events = log.events().len();
    drop(log);
    let segments = read_files(&home.layout()).unwrap().segments;
    assert!(segments.len() >= 3, "{} segments", segments.len());
    assert_eq!(home.open().unwrap().events().len(), events);
    fs::remove_file(home.layout().segment(segments[1].0)).unwrap();
    assert!(matches!(home.open(), Err(OpenError::Damaged { .. })));
}

#[test]
fn blobs_are_found_by_digest_and_an_altered_one_is_noticed() {
    let home = Home::new();
    let log = home.create();
    let blob = log.put_blob(b"content").unwrap();
    assert_eq!(log.put_blob(b"content").unwrap(), blob);
    assert_eq!(home.layout().get_blob(&blob).unwrap(), b"content");
    fs::write(home.layout().blob(&blob.digest), b"Content").unwrap();
    assert!(home.layout().get_blob(&blob).is_err());
    assert_eq!(log.put_blob(b"content").unwrap(), blob);
    assert_eq!(home.layout().get_blob(&blob).unwrap(), b"content");
}

#[test]
fn a_log_shorter_than_the_ledger_knows_is_refused_before_anything_is_written() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    drop(log);
    let mut torn = fs::read(home.segment()).unwrap();
    torn.extend_from_slice(b"half a li");
    overwrite(&home.segment(), &torn);
    let verifier = home.key.verifier();
    let now = now(1_000_000);
    let options =
        OpenOptions { verifier: &verifier, known_size: 3, now, holder: "me", repair: &repair };
    let opened = FileLog::open(home.layout(), &options);
    assert!(matches!(opened, Err(OpenError::Older { size: 2, known: 3, .. })));
    assert_eq!(fs::read(home.segment()).unwrap(), torn);
}
