//! `kill -9` on a process that appends from eight threads, again and again on one log.
//!
//! `ANNALS_FAULT_KILLS=1000` kills it more often; `ANNALS_FAULT_SEED` gives other moments.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::appender::{Said, check, go_on, program};

const KILLS: usize = 30;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_eight_threads_were_told_is_there_after_every_kill() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log");
    let kills = number("ANNALS_FAULT_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let seed = number("ANNALS_FAULT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("ANNALS_FAULT_SEED={seed}");
    let (mut all, mut dice) = (Said::default(), seed);
    for kill in 0..kills {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Also before it has opened the log, and long after.
        let lines = usize::try_from((dice >> 33) % 120).unwrap();
        // Large events now and then: a kill within a long write, and a new segment.
        let more = if kill % 5 == 4 { "20000" } else { "10" };
        let mut child = Command::new(program())
            .arg(&log)
            .args(["--threads", "8", "--batches", "0", "--more", more])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = Said { is_ready: all.is_ready, ..Said::default() };
        let mut line = String::new();
        for _ in 0..lines {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "kill {kill}: it ended by itself");
            said.take(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said when it was killed is still in the pipe.
        loop {
            line.clear();
            if out.read_line(&mut line).unwrap() == 0 {
                break;
            }
            said.take(&line);
        }
        all.is_ready |= said.is_ready;
        all.acks.extend(said.acks);
        if let Err(broken) = check(&log, &all) {
            panic!("kill {kill}, ANNALS_FAULT_SEED={seed}: {broken}");
        }
    }
    println!("{} events were acknowledged", all.acks.len());
    assert!(all.acks.len() > kills, "the kills came before anything was appended");
    go_on(&log, &all).unwrap();
}
