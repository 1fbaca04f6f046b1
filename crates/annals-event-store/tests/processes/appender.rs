//! The example program `appender`, and what is checked after it has ended in whatever way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use annals_event_store::{FileLog, KnownHead, Layout, LogFiles, OpenError, OpenOptions, ReadError};
use annals_events::{LeafHash, Recorded, Timestamp};
use annals_keys::Checkpoint;

use crate::fixture::{repair, ring};

/// Where cargo puts the examples: beside the folder of the tests.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/appender");
    assert!(
        program.is_file(),
        "{} is not built: cargo build -p annals-event-store --example appender",
        program.display()
    );
    program
}

/// A folder in memory where there is one: what a killed process leaves does not depend on the disk,
/// and thousands of syncs would only take their time.
pub(crate) fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// One acknowledged event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) seq: u64,
    pub(crate) leaf: LeafHash,
    pub(crate) id: String,
}

/// What the program has said before it ended.
#[derive(Debug, Default, Clone)]
pub(crate) struct Said {
    pub(crate) is_ready: bool,
    pub(crate) acks: Vec<Ack>,
    pub(crate) signed: Option<u64>,
}

impl Said {
    /// Takes one line, LF included; one that was cut is none.
    pub(crate) fn take(&mut self, line: &str) {
        let Some(line) = line.strip_suffix('\n') else { return };
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["ready"] => self.is_ready = true,
            ["ack", seq, leaf, id] => self.acks.push(Ack {
                seq: seq.parse().unwrap(),
                leaf: leaf.parse().unwrap(),
                id: id.to_owned(),
            }),
            ["signed", size] => self.signed = Some(size.parse().unwrap()),
            _ => panic!("the program says {line:?}"),
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        let mut said = Self::default();
        text.split_inclusive('\n').for_each(|line| said.take(line));
        said
    }

    /// The head whoever was told of the acknowledged events knows.
    fn known(&self) -> Vec<KnownHead> {
        let last = self.acks.iter().max_by_key(|ack| ack.seq);
        last.map(|ack| KnownHead { size: ack.seq + 1, leaf: ack.leaf }).into_iter().collect()
    }
}

/// Runs the program to its end, undisturbed.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(program()).arg(folder).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    Said::of(&String::from_utf8(output.stdout).unwrap())
}

/// Reads the log without locking and checks that all that was said is so.
///
/// Gives the number of events; none where no log was promised and none is there.
pub(crate) fn check(folder: &Path, said: &Said) -> Result<Option<usize>, String> {
    let files = match LogFiles::find(&Layout::new(folder)) {
        Err(ReadError::Missing(_)) if !said.is_ready => return Ok(None),
        files => files.map_err(|error| error.to_string())?,
    };
    let note = files.checkpoint.as_deref().ok_or("the checkpoint is gone")?;
    let signed = Checkpoint::open(note, &ring()).map_err(|error| error.to_string())?;
    let mut events = Vec::new();
    let scanned = files
        .scan(&[signed.size], &mut |recorded, _| events.push(recorded.clone()))
        .map_err(|error| error.to_string())?;
    if let Some(damage) = scanned.damage {
        return Err(format!("damage: {damage}"));
    }
    if scanned.root_at(signed.size) != Some(signed.root) {
        return Err(format!("the checkpoint over {} does not fit", signed.size));
    }
    if said.signed.is_some_and(|size| signed.size < size) {
        return Err(format!("{:?} were signed, {} are", said.signed, signed.size));
    }
    holds(&events, said)?;
    Ok(Some(events.len()))
}

fn holds(events: &[Recorded], said: &Said) -> Result<(), String> {
    for ack in &said.acks {
        let found = events.get(usize::try_from(ack.seq).unwrap());
        let is_there =
            found.is_some_and(|event| event.leaf == ack.leaf && event.id.to_string() == ack.id);
        if !is_there {
            return Err(format!("{ack:?} was acknowledged and is not there"));
        }
    }
    Ok(())
}

/// Opens the log as one who was told of the acknowledged events would.
pub(crate) fn open_knowing(folder: &Path, said: &Said) -> Result<Result<(), OpenError>, String> {
    let (ring, known) = (ring(), said.known());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap());
    let options = OpenOptions { ring: &ring, known: &known, now, holder: "me", repair: &repair };
    let mut events = Vec::new();
    let opened = FileLog::open(Layout::new(folder), &options, &mut |recorded| {
        events.push(recorded.clone());
    });
    match opened {
        Ok(_) => holds(&events, said).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Reopens the log, or begins it again, appends, and checks all that was ever said.
pub(crate) fn go_on(folder: &Path, said: &Said) -> Result<(), String> {
    let before = check(folder, said)?;
    let next = run(folder, &["--batches", "2", "--publish"]);
    let mut all = said.clone();
    (all.is_ready, all.signed) = (true, next.signed);
    all.acks.extend(next.acks);
    let after = check(folder, &all)?.ok_or("the log is gone")?;
    // Two events, the beginning or the record of a repair.
    if after < before.unwrap_or(0) + 2 || after > before.unwrap_or(0) + 3 {
        return Err(format!("{before:?} events became {after}"));
    }
    Ok(())
}
