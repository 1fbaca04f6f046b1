//! Several processes that begin, or open, one log at the same moment: one of them has it.

use std::process::{Command, Stdio};
use std::sync::Barrier;

use annals_event_store::{FileLog, Layout, OpenError, OpenOptions};

use crate::appender::{Said, check, go_on, place, program};
use crate::fixture::{beginning, key, origin, repair, ring, time};

#[test]
fn of_processes_that_begin_one_log_each_has_it_alone_or_not_at_all() {
    let mut won = 0;
    for _ in 0..8 {
        let place = place();
        let log = place.path().join("logs/demo");
        let start = |_| {
            Command::new(program())
                .arg(&log)
                .args(["--batches", "20"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let children: Vec<_> = (0..6).map(start).collect();
        let mut all = Said::default();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = Said::of(&String::from_utf8(output.stdout).unwrap());
            let error = String::from_utf8(output.stderr).unwrap();
            if output.status.success() {
                assert_eq!(said.acks.len(), 20);
                won += 1;
            } else {
                let is_refusal = ["is locked by", "there is an event log in"];
                assert!(is_refusal.iter().any(|words| error.contains(words)), "{error}");
                assert!(!said.is_ready && said.acks.is_empty());
            }
            all.is_ready |= said.is_ready;
            all.acks.extend(said.acks);
        }
        assert_eq!(check(&log, &all), Ok(Some(all.acks.len() + 1)));
        go_on(&log, &all).unwrap();
    }
    assert!(won >= 8, "somebody wins each time");
}

#[test]
fn of_threads_that_begin_one_log_at_the_same_moment_one_has_it_and_the_others_are_refused() {
    let (key, ring, origin) = (key(), ring(), origin());
    for _ in 0..50 {
        let place = place();
        let log = place.path().join("a/b/logs/demo");
        let line = Barrier::new(8);
        let begin = || {
            let options = OpenOptions {
                ring: &ring,
                known: &[],
                now: time(0),
                holder: "me",
                repair: &repair,
            };
            line.wait();
            let layout = Layout::new(&log);
            FileLog::create(layout, &origin, &beginning(), &key, &options).map(drop)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            let is_refusal = matches!(error, OpenError::Locked { .. } | OpenError::Exists { .. });
            assert!(is_refusal, "{error}: {:?}", std::error::Error::source(error));
        }
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    }
}
