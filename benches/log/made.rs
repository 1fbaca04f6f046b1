//! Logs of any length: a set of migrations that is applied and rolled back, run after run.

use std::path::{Path, PathBuf};

use annals_event_store::{EventStore, FileLog, Layout, OpenOptions};
use annals_events::{
    Actor, BlobRef, CheckLevel, CheckOutcome, CheckResults, Digest, Direction, Draft, Event,
    EventId, FORMAT_VERSION, FileRef, IntegrityChecked, LogCreated, Origin, PlanMade, RunFinished,
    RunId, RunOutcome, RunStarted, SchemaRecorded, StepMode, StepStarted, StepSucceeded,
    TargetIdentity, Timestamp,
};
use annals_keys::{KeyRing, SecretKey, write_public};
use uuid::Uuid;

/// Steps of a run.
const STEPS: u64 = 10;

/// Runs from an empty database to one with every migration, of which there are 200.
const RUNS_UP: u64 = 20;

/// Events of an append: about half a mebibyte, so that segments are closed where they would be.
const BATCH_EVENTS: usize = 600;

/// Between two appends.
const PAUSE_US: i64 = 3_600_000_000;

const BEGIN_US: i64 = 1_767_225_600_000_000;

/// A log in a folder.
pub(crate) struct MadeLog {
    pub(crate) folder: PathBuf,
    /// Its public key.
    pub(crate) key: PathBuf,
    pub(crate) events: u64,
    /// Of its lines.
    pub(crate) bytes: u64,
    /// When each batch was recorded, with its first event.
    batches: Vec<(u64, Timestamp)>,
}

/// What the events name, stored once.
struct Blobs {
    plans: Vec<BlobRef>,
    pictures: Vec<BlobRef>,
}

fn hex(n: u64, what: &str) -> Digest {
    Digest::of(format!("{what} {n}").as_bytes())
}

fn content(n: u64, what: &str, lines: u64) -> Vec<u8> {
    let line = |line| format!("{what} {n}, {line}: {}\n", hex(n * 1_000 + line, what));
    (0..lines).map(line).collect::<String>().into_bytes()
}

/// The file log never waits, so its futures are ready at the first poll.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the file log waited"),
    }
}

impl Blobs {
    fn put(log: &mut FileLog) -> Self {
        let mut put = |bytes: Vec<u8>| ready(log.put_blob(&bytes)).expect("the disk takes it");
        let plans = (0..2 * RUNS_UP).map(|n| put(content(n, "plan", 3 * STEPS))).collect();
        let pictures = (0..2 * RUNS_UP).map(|n| put(content(n, "picture", 40))).collect();
        Self { plans, pictures }
    }
}

fn draft(n: u64, event: impl Into<Event>) -> Draft {
    Draft {
        event: event.into(),
        id: EventId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + u128::from(n))),
        occurred_at: Timestamp::from_micros(BEGIN_US),
        actor: Actor {
            host: "runner-7.eu-central-1.compute.internal".into(),
            name: "lucja.nowak@example.org".into(),
            tool: "annals 0.1.0".into(),
        },
        target: Some(TargetIdentity {
            database: "app".into(),
            system_identifier: "7412345678901234567".into(),
            timeline: 1,
        }),
        incarnation: 0,
    }
}

fn step_started(run: RunId, cycle: u64, direction: Direction, migration: u64, step: u64) -> Event {
    let version = format!("20250921_{migration:06}");
    let file = |suffix: &str| FileRef {
        canonical: hex(migration, suffix),
        name: format!("{version}_add_agent_metrics_table{suffix}.sql"),
        raw: hex(migration, suffix),
    };
    let (ordinal, file, rollback) = match direction {
        Direction::Up => (2 * cycle + 1, file(""), Some(file("_rollback"))),
        Direction::Down => (2 * cycle + 2, file("_rollback"), None),
    };
    let started = StepStarted {
        direction,
        file,
        mode: StepMode::Transactional,
        name: "add_agent_metrics_table".into(),
        ordinal,
        rollback,
        run,
        statements: 6,
        step,
        version: version.parse().expect("a version"),
    };
    started.into()
}

/// The events of the run of that number.
fn events_of_run(number: u64, blobs: &Blobs) -> Vec<Event> {
    let (cycle, place) = (number / (2 * RUNS_UP), number % (2 * RUNS_UP));
    let direction = if place < RUNS_UP { Direction::Up } else { Direction::Down };
    let index = usize::try_from(place).expect("it is small");
    let run =
        RunId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)));
    let (plan, snapshot) = (blobs.plans[index], blobs.pictures[index]);
    let mut events: Vec<Event> = vec![
        PlanMade { direction, plan, steps: STEPS }.into(),
        RunStarted { direction, plan: plan.digest, run, steps: STEPS }.into(),
    ];
    for step in 0..STEPS {
        let up = |place: u64| place * STEPS + step;
        let migration = match direction {
            Direction::Up => up(place),
            Direction::Down => 2 * RUNS_UP * STEPS - 1 - up(place),
        };
        events.push(step_started(run, cycle, direction, migration, step));
        let transaction = (7_000 + number * STEPS + step).to_string();
        events.push(StepSucceeded { duration_us: 5_120, run, step, transaction }.into());
    }
    let outcome = RunOutcome::Succeeded;
    events.push(RunFinished { outcome, reason: None, run, steps_done: STEPS }.into());
    let (objects, server_major) = (400, 15);
    let (fingerprint, step) = (snapshot.digest, None);
    let run = Some(run);
    let picture = SchemaRecorded { fingerprint, objects, run, server_major, snapshot, step };
    events.push(picture.into());
    if number % 8 == 7 {
        let passed = CheckOutcome::Passed;
        let checks = CheckResults {
            constraints: passed,
            data_consistency: passed,
            history: passed,
            indexes: passed,
            permissions: passed,
            table_structure: passed,
        };
        let (report, result) = (blobs.plans[index], passed);
        let level = CheckLevel::Standard;
        events.push(
            IntegrityChecked { checks, duration_us: None, findings: 0, level, report, result }
                .into(),
        );
    }
    events
}

impl MadeLog {
    /// Makes a log of so many events below `folder`.
    pub(crate) fn make(folder: &Path, events: u64) -> Self {
        let (layout, key) = (Layout::new(folder.join("log")), folder.join("log.pub"));
        let secret = SecretKey::generate("demo/production").expect("a name");
        write_public(&secret, &key).expect("the disk takes it");
        let mut log = begin(layout.clone(), &secret);
        let blobs = Blobs::put(&mut log);
        let facts = (0..).flat_map(|number| events_of_run(number, &blobs));
        let mut drafts = (1..events).zip(facts).map(|(n, fact)| draft(n, fact));
        let (mut batches, mut now) = (Vec::new(), Timestamp::from_micros(BEGIN_US));
        loop {
            let batch: Vec<Draft> = drafts.by_ref().take(BATCH_EVENTS).collect();
            if batch.is_empty() {
                break;
            }
            now = now.plus_micros(PAUSE_US);
            batches.push((log.head().size, now));
            let done = log.append_each(&[&batch], now).expect("the disk takes it");
            assert!(done.iter().all(Result::is_ok), "every draft fits");
        }
        let checkpoint = log.checkpoint();
        assert_eq!(checkpoint.size, events);
        log.publish_now(&checkpoint, &checkpoint.sign(&secret)).expect("the disk takes it");
        let segments = std::fs::read_dir(layout.segments()).expect("a folder").flatten();
        let bytes = segments.map(|entry| entry.metadata().expect("a file").len()).sum();
        Self { folder: layout.root().to_owned(), key, events, bytes, batches }
    }

    /// When the event at place `seq` was recorded.
    pub(crate) fn time_of(&self, seq: u64) -> String {
        let batch = self.batches.partition_point(|(first, _)| *first <= seq) - 1;
        let (first, at) = self.batches[batch];
        at.plus_micros((seq - first).cast_signed()).to_string()
    }

    /// Appends `batches` of `events` each to a new log in `folder`, for whoever counts from outside.
    pub(crate) fn append(folder: &Path, batches: u64, events: u64) {
        let secret = SecretKey::generate("demo/production").expect("a name");
        let mut log = begin(Layout::new(folder.join("log")), &secret);
        let now = Timestamp::from_micros(BEGIN_US + PAUSE_US);
        for batch in 0..batches {
            let run = RunId(Uuid::from_u128(u128::from(batch)));
            let fact = |step| step_started(run, batch, Direction::Up, step, step);
            let drafts = (0..events).map(|n| draft(1 + batch * events + n, fact(n)));
            let drafts: Vec<Draft> = drafts.collect();
            log.append_each(&[&drafts], now).expect("the disk takes it");
        }
    }
}

fn begin(layout: Layout, secret: &SecretKey) -> FileLog {
    let created = LogCreated {
        checkpoint_key: secret.verifier().to_string(),
        format: FORMAT_VERSION,
        target: "production".into(),
        workspace: "demo".into(),
    };
    let ring = KeyRing::from(secret.verifier());
    let options = OpenOptions {
        ring: &ring,
        known: &[],
        now: Timestamp::from_micros(BEGIN_US),
        holder: "a benchmark",
        repair: &|_| panic!("a new log needs no repair"),
    };
    let origin: Origin = "demo/production".parse().expect("an origin");
    let first = draft(0, created);
    let log = FileLog::create(layout, &origin, &first, secret, &options);
    log.expect("the disk takes it").0
}
