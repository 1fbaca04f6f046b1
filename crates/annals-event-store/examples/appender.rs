//! Appends to a log in a folder and says on standard output what was acknowledged, for whoever
//! kills it.
//!
//! `appender FOLDER [--batches N] [--events N] [--more BYTES] [--threads N] [--publish]`
//!
//! It opens the log, or begins one, prints `ready`, and appends N batches (0: without end) of so
//! many events in each thread, with `ack SEQ LEAF ID` for each event; `--publish` signs the end.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use annals_event_store::{EventStore, FileLog, GroupLog, Layout, OpenOptions};
use annals_events::{Draft, EventId, Recorded, Timestamp};
use uuid::Uuid;

#[allow(clippy::unwrap_used, reason = "what the tests write")]
#[path = "../tests/fixture/mod.rs"]
mod fixture;

type Done<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

struct Arguments {
    folder: String,
    batches: usize,
    events: usize,
    more: usize,
    threads: usize,
    publish: bool,
}

fn arguments() -> Done<Arguments> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("usage: appender FOLDER [--batches N] …")?;
    let (batches, events, more, threads, publish) = (1, 1, 0, 1, false);
    let mut arguments = Arguments { folder, batches, events, more, threads, publish };
    while let Some(word) = words.next() {
        let mut number = || Done::Ok(words.next().ok_or("a number is missing")?.parse()?);
        match word.as_str() {
            "--batches" => arguments.batches = number()?,
            "--events" => arguments.events = number()?,
            "--more" => arguments.more = number()?,
            "--threads" => arguments.threads = number()?,
            "--publish" => arguments.publish = true,
            other => return Err(format!("{other} is not known").into()),
        }
    }
    Ok(arguments)
}

fn now() -> Done<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp::from_micros(i64::try_from(since.as_micros())?))
}

fn open(folder: &str) -> Done<FileLog> {
    let (layout, ring, key) = (Layout::new(folder), fixture::ring(), fixture::key());
    let now = now()?;
    let options =
        OpenOptions { ring: &ring, known: &[], now, holder: "appender", repair: &fixture::repair };
    if layout.segments().is_dir() {
        return Ok(FileLog::open(layout, &options, &mut |_| {})?);
    }
    let (origin, first) = (fixture::origin(), fixture::beginning());
    Ok(FileLog::create(layout, &origin, &first, &key, &options)?.0)
}

fn batch(arguments: &Arguments) -> Vec<Draft> {
    let fact = |_| Draft { id: EventId(Uuid::now_v7()), ..fixture::fact(1, arguments.more) };
    (0..arguments.events).map(fact).collect()
}

fn acknowledge(recorded: &[Recorded]) -> Done {
    let mut out = std::io::stdout().lock();
    for event in recorded {
        writeln!(out, "ack {} {} {}", event.seq, event.leaf, event.id)?;
    }
    Ok(())
}

/// One thread's batches.
fn append(log: &GroupLog, arguments: &Arguments) -> Done {
    let without_end = arguments.batches == 0;
    let mut left = arguments.batches;
    while without_end || left > 0 {
        left = left.saturating_sub(1);
        acknowledge(&log.append(batch(arguments), now()?)?)?;
    }
    Ok(())
}

fn run() -> Done {
    let arguments = arguments()?;
    let log = GroupLog::new(open(&arguments.folder)?);
    println!("ready");
    std::thread::scope(|scope| {
        // The others first: one thread alone is this one.
        let others: Vec<_> =
            (1..arguments.threads).map(|_| scope.spawn(|| append(&log, &arguments))).collect();
        let own = append(&log, &arguments);
        others.into_iter().try_for_each(|other| {
            other.join().unwrap_or_else(|_| Err("a thread panicked".into()))
        })?;
        own
    })?;
    if arguments.publish {
        let mut log = log.into_inner();
        let checkpoint = log.checkpoint();
        log.publish_now(&checkpoint, &checkpoint.sign(&fixture::key()))?;
        println!("signed {}", checkpoint.size);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}: {:?}", error.source().map(ToString::to_string));
            ExitCode::FAILURE
        }
    }
}
