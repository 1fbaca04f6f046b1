//! EIO, ENOSPC, SIGKILL and lies at every system call by which a log is opened and appended to.

use std::fs;
use std::path::{Path, PathBuf};

use crate::appender::{check, go_on, open_knowing, place, run};
use crate::strace::{Call, Traced, calls, strace};

/// Calls that change something, or by which something is found.
const CALLS: &str = "trace=write,fdatasync,fsync,openat,rename,renameat,renameat2,mkdir,mkdirat,chmod,fchmodat,read";

/// A log before the run, and what the run does.
struct Scenario {
    prepare: fn(&Path),
    arguments: &'static [&'static str],
    /// How often it calls what makes bytes durable, on the folder of its log.
    expected: Calls,
}

/// Numbers of calls.
#[derive(Debug, PartialEq, Eq)]
struct Calls {
    write: usize,
    fdatasync: usize,
    fsync: usize,
    rename: usize,
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn of(scenario: &Scenario) -> Self {
        let folder = place();
        (scenario.prepare)(&folder.path().join("log"));
        Self { folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn strace(&self, scenario: &Scenario, options: &[&str]) -> Traced {
        let log = self.log();
        let arguments = [&[log.to_str().unwrap()], scenario.arguments].concat();
        strace(self.folder.path(), options, &arguments)
    }
}

/// The calls a run makes on the folder of its log.
fn points(scenario: &Scenario) -> Vec<Call> {
    let place = Place::of(scenario);
    let traced = place.strace(scenario, &["-e", CALLS]);
    assert!(traced.status.success(), "the run fails by itself");
    check(&place.log(), &traced.said).unwrap();
    let folder = place.folder.path().display().to_string();
    let mut calls = calls(&traced.lines);
    calls.retain(|call| call.line.contains(&folder));
    let count = |name: &str| calls.iter().filter(|call| call.name.starts_with(name)).count();
    let found = Calls {
        write: count("write"),
        fdatasync: count("fdatasync"),
        fsync: count("fsync"),
        rename: count("rename"),
    };
    assert_eq!(found, scenario.expected);
    assert!(count("openat") > 4, "files and folders are opened");
    calls
}

/// One fault at one call.
fn survive(scenario: &Scenario, call: &Call, fault: &str) -> Result<(), String> {
    let place = Place::of(scenario);
    let inject = format!("inject={}:{fault}:when={}", call.name, call.when);
    let traced = place.strace(scenario, &["-e", CALLS, "-e", &inject]);
    let folder = place.folder.path().display().to_string();
    let name = format!(" {}(", call.name);
    let is_fault = |line: &String| {
        line.contains("(INJECTED)") && line.contains(&name) && line.contains(&folder)
    };
    let is_there = traced.was_killed() || traced.lines.iter().any(is_fault);
    if !is_there {
        return Err("the fault did not happen".to_owned());
    }
    go_on(&place.log(), &traced.said)
}

fn check_all(scenario: &Scenario) {
    let faults = |name: &str| match name {
        "read" => ["error=EIO", "signal=SIGKILL"].as_slice(),
        _ => ["error=EIO", "error=ENOSPC", "signal=SIGKILL"].as_slice(),
    };
    let mut cases = 0;
    for call in points(scenario) {
        for fault in faults(&call.name) {
            cases += 1;
            if let Err(broken) = survive(scenario, &call, fault) {
                panic!("{fault} at {} {}, {}: {broken}", call.name, call.when, call.line);
            }
        }
    }
    println!("{cases} cases");
}

fn none(_: &Path) {}

fn three_events(log: &Path) {
    run(log, &["--batches", "2", "--publish"]);
}

fn not_signed(log: &Path) {
    run(log, &["--batches", "2"]);
}

fn torn(log: &Path) {
    three_events(log);
    let segment = log.join("segments/00000000000000000000.jsonl");
    let mut bytes = fs::read(&segment).unwrap();
    bytes.extend_from_within(..300);
    fs::write(&segment, bytes).unwrap();
}

fn full_segment(log: &Path) {
    run(log, &["--events", "20", "--more", "58000", "--publish"]);
}

#[test]
fn beginning_a_log_survives_a_fault_at_every_call() {
    check_all(&Scenario {
        prepare: none,
        arguments: &["--batches", "2", "--events", "2"],
        expected: Calls { write: 5, fdatasync: 2, fsync: 7, rename: 3 },
    });
}

#[test]
fn opening_a_log_and_publishing_survives_a_fault_at_every_call() {
    check_all(&Scenario {
        prepare: three_events,
        arguments: &["--batches", "2", "--publish"],
        expected: Calls { write: 4, fdatasync: 2, fsync: 3, rename: 1 },
    });
}

#[test]
fn opening_a_log_whose_end_is_not_signed_survives_a_fault_at_every_call() {
    check_all(&Scenario {
        prepare: not_signed,
        arguments: &["--batches", "2", "--publish"],
        expected: Calls { write: 5, fdatasync: 2, fsync: 5, rename: 2 },
    });
}

#[test]
fn opening_a_torn_log_survives_a_fault_at_every_call() {
    check_all(&Scenario {
        prepare: torn,
        arguments: &["--batches", "1"],
        expected: Calls { write: 5, fdatasync: 1, fsync: 7, rename: 2 },
    });
}

#[test]
fn beginning_a_new_segment_survives_a_fault_at_every_call() {
    check_all(&Scenario {
        prepare: full_segment,
        arguments: &["--batches", "2"],
        expected: Calls { write: 3, fdatasync: 2, fsync: 3, rename: 1 },
    });
}

#[test]
fn a_disk_that_claims_what_it_did_not_write_loses_nothing_unseen() {
    let scenario = Scenario {
        prepare: three_events,
        arguments: &["--batches", "3", "--events", "2", "--publish"],
        expected: Calls { write: 5, fdatasync: 3, fsync: 3, rename: 1 },
    };
    let (mut kept, mut noticed) = (0, 0);
    for call in points(&scenario).iter().filter(|call| call.name == "write") {
        let length: u64 = call.line.rsplit_once("= ").unwrap().1.trim().parse().unwrap();
        for claimed in [length, length / 2, 1] {
            let place = Place::of(&scenario);
            let inject = format!("inject=write:retval={claimed}:when={}", call.when);
            let traced = place.strace(&scenario, &["-e", CALLS, "-e", &inject]);
            assert!(traced.lines.iter().any(|line| line.contains("(INJECTED)")), "{}", call.line);
            match open_knowing(&place.log(), &traced.said) {
                Ok(Ok(())) => kept += 1,
                Ok(Err(_)) => noticed += 1,
                Err(lost) => panic!("{claimed} of {}: {lost}, and nobody noticed", call.line),
            }
        }
    }
    println!("{kept} kept all, {noticed} were noticed");
    assert!(noticed > 0, "no lie concerned the log");
}
