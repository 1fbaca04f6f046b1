//! What an append costs, counted by `strace`: one write and one fdatasync for a batch, whoever and
//! however many wait for it, and nobody is told before.

use std::collections::BTreeSet;
use std::path::Path;

use crate::appender::{check, place};
use crate::strace::{Traced, strace};

/// What the process did behind `ready`, in order.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The ids of the events of one write to a segment.
    Write(Vec<String>),
    /// The data of a segment has become durable.
    Synced,
    /// An event was acknowledged.
    Ack(String),
    /// Anything else on the folder of the log.
    Other(String),
}

fn trace(place: &Path, arguments: &[&str]) -> Traced {
    let log = place.join("log");
    let arguments = [&[log.to_str().unwrap()], arguments].concat();
    let calls =
        "trace=write,pwrite64,writev,fdatasync,fsync,sync_file_range,openat,rename,ftruncate";
    let traced = strace(place, &["-s", "1000000", "-e", calls], &arguments);
    assert!(traced.status.success());
    check(&log, &traced.said).unwrap();
    traced
}

fn ids(line: &str) -> Vec<String> {
    line.split(r#"\"id\":\""#).skip(1).map(|rest| rest[..36].to_owned()).collect()
}

/// The steps of a trace. A call counts when it begins, a sync when it has ended.
fn steps(traced: &Traced, place: &Path) -> Vec<Step> {
    let log = place.join("log").display().to_string();
    let ready = traced.lines.iter().position(|line| line.contains(r#""ready\n""#)).unwrap();
    let mut syncing = BTreeSet::new();
    let mut steps = Vec::new();
    for line in &traced.lines[ready + 1..] {
        let (process, call) = line.split_once(' ').unwrap();
        let (process, call) = (process.to_owned(), call.trim_start());
        let is_segment = call.contains(&format!("{log}/segments/"));
        if call.starts_with("write(1<") {
            let id = call.split_once("ack ").map(|(_, ack)| ack.split(' ').nth(2).unwrap());
            steps.extend(id.map(|id| Step::Ack(id[..36].to_owned())));
        } else if call.starts_with("write(") && is_segment {
            steps.push(Step::Write(ids(call)));
        } else if call.starts_with("fdatasync(") && is_segment {
            match call.contains("<unfinished") {
                true => assert!(syncing.insert(process), "a thread syncs once at a time"),
                false => steps.push(Step::Synced),
            }
        } else if call.starts_with("<... fdatasync resumed>") {
            assert!(syncing.remove(&process));
            steps.push(Step::Synced);
        } else if call.contains(&log) {
            steps.push(Step::Other(call.to_owned()));
        }
    }
    steps
}

/// Checks that each write is synced before the next, and each event before it is acknowledged.
///
/// Gives the number of events of each write.
fn batches(steps: &[Step]) -> Vec<usize> {
    let (mut open, mut durable) = (None::<&Vec<String>>, BTreeSet::new());
    let (mut acks, mut sizes) = (0, Vec::new());
    for step in steps {
        match step {
            Step::Write(ids) => {
                assert!(open.replace(ids).is_none(), "a second write before the first was synced");
                sizes.push(ids.len());
            }
            Step::Synced => durable.extend(open.take().expect("a sync belongs to a write")),
            Step::Ack(id) => {
                assert!(durable.contains(id), "{id} was acknowledged before it was durable");
                acks += 1;
            }
            Step::Other(call) => panic!("an append does nothing else: {call}"),
        }
    }
    assert!(open.is_none(), "a write was never synced");
    assert_eq!(sizes.iter().sum::<usize>(), acks, "every event of a write is acknowledged");
    sizes
}

#[test]
fn a_batch_is_one_write_and_one_fdatasync_and_is_then_acknowledged() {
    let place = place();
    let traced = trace(place.path(), &["--batches", "5", "--events", "3"]);
    let steps = steps(&traced, place.path());
    assert_eq!(batches(&steps), [3; 5]);
    assert_eq!(steps.iter().filter(|step| **step == Step::Synced).count(), 5);
}

#[test]
fn a_batch_of_many_threads_is_one_write_and_one_fdatasync_too() {
    let place = place();
    let traced = trace(place.path(), &["--batches", "20", "--threads", "8"]);
    let sizes = batches(&steps(&traced, place.path()));
    assert_eq!(sizes.iter().sum::<usize>(), 8 * 20);
    // While one of eight writes, others come: not every one has a write of its own.
    assert!(sizes.len() < 8 * 20, "nobody was written together: {sizes:?}");
    println!("160 events of 8 threads in {} writes", sizes.len());
}

#[test]
fn a_log_is_durable_in_the_folder_it_is_made_in_also_when_that_is_not_named() {
    let place = place();
    let here = place.path().canonicalize().unwrap();
    let traced = strace(&here, &["-e", "trace=mkdir,fsync,fdatasync"], &["log"]);
    assert!(traced.status.success());
    let find = |call: &str| traced.lines.iter().position(|line| line.contains(call));
    let made = find(r#"mkdir("log","#).expect("the folder is made");
    let synced = find(&format!("<{}>)", here.display())).expect("its entry is synced");
    assert!(made < synced);
}
