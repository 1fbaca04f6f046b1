//! The file log: what it keeps, what it repairs, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use annals_event_store::{
    AppendError, EventStore, FileLog, KnownHead, Layout, LogFiles, OpenError, OpenOptions,
    ReadError, StoreError,
};
use annals_events::{
    Actor, BlobRef, Direction, Draft, Event, EventId, FORMAT_VERSION, LeafHash, LogCreated,
    LogMoved, Origin, Recorded, RunFinished, RunId, RunOutcome, RunStarted, Scanned, Seq,
    TailRepaired, Timestamp, UnknownEvent,
};
use annals_keys::{Checkpoint, KeyRing, SecretKey};
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

/// A line of some 500 bytes and `more`.
fn fact_of(n: u64, more: usize) -> Draft {
    let (outcome, run) = (RunOutcome::Failed, RunId(Uuid::from_u128(u128::from(n))));
    draft(RunFinished { outcome, reason: Some("x".repeat(more)), run, steps_done: n })
}

/// An open log and the events it was opened with.
struct Opened {
    log: FileLog,
    events: Vec<Recorded>,
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
        self.try_create().unwrap()
    }

    fn try_create(&self) -> Result<FileLog, OpenError> {
        let origin: Origin = "demo/production".parse().unwrap();
        let ring = KeyRing::from(self.key.verifier());
        let options =
            OpenOptions { ring: &ring, known: &[], now: now(0), holder: "me", repair: &repair };
        let created = LogCreated {
            checkpoint_key: self.key.verifier().to_string(),
            format: FORMAT_VERSION,
            target: "production".into(),
            workspace: "demo".into(),
        };
        let created = draft(created);
        Ok(FileLog::create(self.layout(), &origin, &created, &self.key, &options)?.0)
    }

    fn open(&self) -> Result<Opened, OpenError> {
        self.open_knowing(&[])
    }

    fn open_knowing(&self, known: &[KnownHead]) -> Result<Opened, OpenError> {
        let ring = KeyRing::from(self.key.verifier());
        let now = now(1_000_000);
        let options = OpenOptions { ring: &ring, known, now, holder: "me", repair: &repair };
        let mut events = Vec::new();
        let log = FileLog::open(self.layout(), &options, &mut |recorded| {
            events.push(recorded.clone());
        })?;
        Ok(Opened { log, events })
    }

    fn segment(&self) -> std::path::PathBuf {
        self.layout().segment(annals_events::Seq(0))
    }

    /// All whole events, and what else a reader sees.
    fn read(&self) -> (Vec<Recorded>, Scanned) {
        let mut events = Vec::new();
        let files = LogFiles::find(&self.layout()).unwrap();
        let scanned = files.scan(&[], &mut |recorded, _| events.push(recorded.clone())).unwrap();
        (events, scanned)
    }
}

fn publish(log: &mut FileLog, key: &SecretKey) -> Checkpoint {
    let checkpoint = log.checkpoint();
    log.publish_now(&checkpoint, &checkpoint.sign(key)).unwrap();
    checkpoint
}

fn put_blob(log: &mut FileLog, content: &[u8]) -> BlobRef {
    ready(log.put_blob(content)).unwrap()
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
    publish(&mut log, &home.key);
    drop(log);
    let ((written, _), bytes) = (home.read(), fs::read(home.segment()).unwrap());
    let Opened { log, events } = home.open().unwrap();
    assert_eq!((events.len(), events), (4, written));
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
    assert_eq!(home.read().0.len(), 2);
}

#[test]
fn an_unacknowledged_tail_is_moved_aside_and_recorded() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    publish(&mut log, &home.key);
    append(&mut log, &[fact(2)], 2).unwrap();
    drop(log);
    let whole = fs::read(home.segment()).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[..40]);
    overwrite(&home.segment(), &torn);
    let Opened { mut log, events } = home.open().unwrap();
    let Event::TailRepaired(repaired) = &events[3].event else { panic!("not recorded") };
    assert_eq!(repaired.bytes, 40);
    let kept = fs::read(home.layout().quarantine().join(&repaired.quarantined_as)).unwrap();
    assert_eq!(kept, &whole[..40]);
    append(&mut log, &[fact(3)], 3_000_000).unwrap();
    drop(log);
    assert_eq!(home.open().unwrap().events.len(), 5);
}

#[test]
fn a_changed_byte_anywhere_refuses_to_open() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1), fact(2)], 1).unwrap();
    publish(&mut log, &home.key);
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
    publish(&mut log, &home.key);
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
    publish(&mut log, &stranger);
    drop(log);
    assert!(matches!(home.open(), Err(OpenError::Checkpoint { .. })));

    let other = Home { key: home.key, folder: tempfile::tempdir().unwrap() };
    let mut log = other.create();
    append(&mut log, &[fact(9)], 1).unwrap();
    publish(&mut log, &other.key);
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
    let (events, scanned) = home.read();
    assert_eq!((events.len(), scanned.unknown, scanned.damage), (2, 1, None));
}

#[test]
fn segments_follow_each_other_and_a_missing_one_is_noticed() {
    let home = Home::new();
    let mut log = home.create();
    for n in 0..60 {
        let batch: Vec<Draft> = (0..100).map(|m| fact(n * 1000 + m)).collect();
        append(&mut log, &batch, 1 + n as i64 * 1000).unwrap();
    }
    let events = usize::try_from(log.head().size).unwrap();
    drop(log);
    let segments = LogFiles::find(&home.layout()).unwrap().segments;
    assert!(segments.len() >= 3, "{} segments", segments.len());
    assert_eq!(home.open().unwrap().events.len(), events);
    fs::remove_file(home.layout().segment(segments[1].0)).unwrap();
    assert!(matches!(home.open(), Err(OpenError::Damaged { .. })));
}

#[test]
fn blobs_are_found_by_digest_and_an_altered_one_is_noticed() {
    let home = Home::new();
    let mut log = home.create();
    let blob = put_blob(&mut log, b"content");
    assert_eq!(put_blob(&mut log, b"content"), blob);
    assert_eq!(home.layout().get_blob(&blob).unwrap(), b"content");
    fs::write(home.layout().blob(&blob.digest), b"Content").unwrap();
    assert!(home.layout().get_blob(&blob).is_err());
    assert_eq!(put_blob(&mut log, b"content"), blob);
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
    let known = KnownHead { size: 3, leaf: LeafHash::ZERO };
    let Err(error) = home.open_knowing(&[known]) else { panic!("opened an older copy") };
    assert!(matches!(error, OpenError::Older { size: 2, .. }));
    assert_eq!(fs::read(home.segment()).unwrap(), torn);
}

#[test]
fn a_log_with_another_event_than_the_ledger_knows_is_refused_naming_both() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    let mine = log.head().leaf;
    drop(log);
    let known = KnownHead { size: 2, leaf: mine };
    assert!(home.open_knowing(&[known]).is_ok());
    let known = KnownHead { size: 2, leaf: LeafHash::of_line(b"another") };
    let Err(error) = home.open_knowing(&[known]) else { panic!("opened a fork") };
    let text = error.to_string();
    assert!(text.contains(&mine.short(12)) && text.contains(&known.leaf.short(12)), "{text}");
}

#[test]
fn of_known_heads_none_that_fits_at_the_end_means_a_fork() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    append(&mut log, &[fact(2)], 2).unwrap();
    let mine = KnownHead { size: 3, leaf: log.head().leaf };
    drop(log);
    let other = |size| KnownHead { size, leaf: LeafHash::of_line(b"another") };
    for known in [vec![other(3)], vec![other(2)], vec![other(2), other(3)]] {
        let opened = home.open_knowing(&known);
        assert!(matches!(opened, Err(OpenError::Forked { .. })), "{known:?}");
    }
    // The hash of an event stands for all before it: what does not fit there was altered where it
    // was kept, and the comparison of the ledger names it.
    for known in [vec![mine, other(3)], vec![other(3), mine], vec![other(2), mine]] {
        assert!(home.open_knowing(&known).is_ok(), "{known:?}");
    }
}

#[test]
fn an_empty_last_segment_is_the_one_that_is_written_to() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    drop(log);
    // A reader does not depend on how long segments are, and a writer does not either.
    fs::write(home.layout().segment(Seq(2)), b"").unwrap();
    let closed = fs::read(home.segment()).unwrap();
    let Opened { mut log, .. } = home.open().unwrap();
    append(&mut log, &[fact(2)], 2_000_000).unwrap();
    drop(log);
    assert_eq!(home.open().unwrap().events.len(), 3);
    assert_eq!(fs::read(home.segment()).unwrap(), closed);
}

#[test]
fn no_log_is_begun_where_one_has_lost_its_segments() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    publish(&mut log, &home.key);
    drop(log);
    let note = fs::read(home.layout().checkpoint()).unwrap();
    fs::remove_dir_all(home.layout().segments()).unwrap();
    let Err(error) = home.try_create() else { panic!("the signed head was replaced") };
    assert!(matches!(error, OpenError::CutTail { size: 0, signed: 2, .. }), "{error}");
    assert_eq!(fs::read(home.layout().checkpoint()).unwrap(), note);
}

#[test]
fn one_append_has_a_limit_and_several_are_written_by_turns() {
    let home = Home::new();
    let mut log = home.create();
    let large: Vec<Draft> = (0..100).map(|n| fact_of(n, 60_000)).collect();
    let larger: Vec<Draft> = (0..150).map(|n| fact_of(n, 60_000)).collect();
    let head = log.head();
    let refused = ready(log.append(head, &larger, now(1)));
    assert!(matches!(refused, Err(AppendError::Rejected(_))));
    let results = log.append_each(&[&large, &larger, &[fact(1)], &large], now(2)).unwrap();
    let lengths: Vec<_> =
        results.iter().map(|result| result.as_ref().map_or(0, Vec::len)).collect();
    assert_eq!(lengths, [100, 0, 1, 100]);
    assert_eq!(home.read().0.len(), 202);
    drop(log);
    assert_eq!(home.open().unwrap().events.len(), 202);
}

#[test]
fn a_segment_that_vanishes_between_listing_and_reading_is_named() {
    let home = Home::new();
    drop(home.create());
    let files = LogFiles::find(&home.layout()).unwrap();
    fs::remove_file(home.segment()).unwrap();
    let Err(error) = files.scan(&[], &mut |_, _| {}) else { panic!("read what is gone") };
    assert!(matches!(error, ReadError::Io { path, .. } if path == home.segment()));
}

#[test]
fn a_segment_that_is_a_link_becomes_a_file_of_the_log() {
    let home = Home::new();
    let mut log = home.create();
    append(&mut log, &[fact(1)], 1).unwrap();
    drop(log);
    let elsewhere = home.folder.path().join("elsewhere");
    fs::rename(home.segment(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, home.segment()).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    let Opened { mut log, .. } = home.open().unwrap();
    append(&mut log, &[fact(2)], 2_000_000).unwrap();
    drop(log);
    assert!(fs::symlink_metadata(home.segment()).unwrap().is_file());
    assert_eq!(fs::read(&elsewhere).unwrap(), before, "what the link named is not written to");
    assert_eq!(home.open().unwrap().events.len(), 3);
}

#[test]
fn what_lies_beside_a_log_in_its_folder_does_not_concern_it() {
    let home = Home::new();
    drop(home.create());
    fs::write(home.layout().segments().join(".unfinished"), b"half").unwrap();
    fs::create_dir(home.layout().root().join("cache")).unwrap();
    assert_eq!(home.open().unwrap().events.len(), 1);
    let foreign = home.layout().segments().join("notes.txt");
    fs::write(&foreign, b"").unwrap();
    assert!(
        matches!(home.open(), Err(OpenError::Read(ReadError::Foreign(path))) if path == foreign)
    );
}

#[test]
fn a_log_that_was_moved_takes_nothing_more() {
    let home = Home::new();
    let mut log = home.create();
    let moved = |to: &str| draft(LogMoved { from: "file".into(), to: to.into() });
    append(&mut log, &[moved("postgres:1/app")], 1).unwrap();
    drop(log);
    assert!(matches!(home.open(), Err(OpenError::Moved { to, .. }) if to == "postgres:1/app"));
}

#[test]
fn a_checkpoint_never_goes_back() {
    let home = Home::new();
    let mut log = home.create();
    let older = log.checkpoint();
    append(&mut log, &[fact(1)], 1).unwrap();
    publish(&mut log, &home.key);
    let refused = log.publish_now(&older, &older.sign(&home.key));
    assert!(matches!(refused, Err(StoreError::OlderCheckpoint { size: 1, signed: 2 })));
    drop(log);
    assert_eq!(home.open().unwrap().log.signed(), 2);
}
