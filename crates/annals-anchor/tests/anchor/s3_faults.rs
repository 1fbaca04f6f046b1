//! A store that fails: each request lost before or behind the server, each answer another one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use annals_anchor::{Anchor, AnchorError, AnchorPlace, Limits, Shelf, Swap};
use annals_s3_server::{Answer, Fate, Front, S3Server, Seen};

use crate::s3::{anchor_at, place, server, shelf_at};
use crate::sample::{OPEN, Sample};
use crate::whole::{check, download_and_check, quick};

/// The checkpoint, behind two segments, fifteen blobs, a tile and a bundle.
const LAST_WRITE: usize = 19;

fn status(status: u16) -> Answer {
    Answer::Status(status, String::new())
}

/// One log in one prefix of `server`: 40 events are anchored, then 190 are published through a
/// front that gives `fate` to write number `nth` as often as `times`, then 195 without.
/// Returns what the publication came to, or `None` if there were fewer writes.
async fn one_fault(
    server: &S3Server,
    prefix: &str,
    nth: usize,
    times: usize,
    fate: Fate,
    limits: Limits,
) -> Option<Result<(), AnchorError>> {
    let anchor = anchor_at(&server.endpoint(), prefix);
    anchor.publish(&Sample::new(40), OPEN).await.unwrap();
    let writes = AtomicUsize::new(0);
    let struck = Arc::new(AtomicUsize::new(0));
    let strikes = Arc::clone(&struck);
    let first: Mutex<Option<String>> = Mutex::default();
    // Repetitions of a write are the same write.
    let front = Front::start(server.address(), move |seen: &Seen| {
        if seen.method != "PUT" {
            return Fate::Pass;
        }
        let mut first = first.lock().unwrap();
        let number = match first.as_ref() {
            Some(path) if *path == seen.path => nth,
            Some(_) => nth + 1,
            None => writes.fetch_add(1, Ordering::SeqCst),
        };
        if number == nth && strikes.load(Ordering::SeqCst) < times {
            *first = Some(seen.path.clone());
            strikes.fetch_add(1, Ordering::SeqCst);
            return fate.clone();
        }
        Fate::Pass
    });
    let place = AnchorPlace::S3(place(&front.endpoint(), prefix));
    let faulty = Anchor::open(&place, &S3Server::variables(), limits).unwrap();
    let came_to = faulty.publish(&Sample::new(190), OPEN).await;
    let what = format!("{prefix}: {:?}", came_to.as_ref().err());
    let size = check(&server.bucket().join(prefix), &Sample::new(190));
    assert!(size == 190 || came_to.is_err() && size == 40, "{what}");
    anchor.publish(&Sample::new(195), OPEN).await.unwrap();
    assert_eq!(check(&server.bucket().join(prefix), &Sample::new(195)), 195, "{what}");
    (struck.load(Ordering::SeqCst) > 0).then(|| came_to.map(|_| ()))
}

/// Gives `fate` once to every single write of a publication, which ends well all the same.
async fn every_write_once(name: &str, fate: Fate, limits: Limits) {
    let server = server();
    let mut nth = 0;
    loop {
        let prefix = format!("{name}-{nth}");
        match one_fault(&server, &prefix, nth, 1, fate.clone(), limits.clone()).await {
            Some(came_to) => came_to.unwrap_or_else(|error| panic!("write {nth}: {error}")),
            None => break,
        }
        nth += 1;
    }
    println!("{nth} writes, each met by {fate:?}");
    assert_eq!(nth, LAST_WRITE + 1);
}

#[tokio::test]
async fn a_conflict_without_a_write_is_no_write() {
    every_write_once("conflict", Fate::Instead(status(409)), quick()).await;
    every_write_once("failed", Fate::Instead(status(412)), quick()).await;
}

#[tokio::test]
async fn a_conflict_behind_a_write_is_a_write() {
    every_write_once("conflict", Fate::Behind(status(409)), quick()).await;
    every_write_once("failed", Fate::Behind(status(412)), quick()).await;
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_to_be_done() {
    let server = server();
    for answer in [status(409), status(412), status(500), Answer::Cut] {
        let struck = AtomicUsize::new(0);
        let front = Front::start(server.address(), move |seen: &Seen| {
            let first_put = seen.method == "PUT" && struck.fetch_add(1, Ordering::SeqCst) == 0;
            if first_put { Fate::Behind(answer.clone()) } else { Fate::Pass }
        });
        let (faulty, direct) = (shelf_at(&front.endpoint()), shelf_at(&server.endpoint()));
        let held = direct.checkpoint().await.unwrap();
        let note = format!("note {}", front.endpoint()).into_bytes();
        assert_eq!(faulty.swap(held.as_ref(), &note).await.unwrap(), Swap::Done);
        assert_eq!(direct.checkpoint().await.unwrap().unwrap().note, note);
        assert_eq!(faulty.swap(held.as_ref(), b"another").await.unwrap(), Swap::Lost);
        assert_eq!(direct.checkpoint().await.unwrap().unwrap().note, note);
    }
}

#[tokio::test]
async fn a_server_error_is_met_by_trying_again() {
    every_write_once("before", Fate::Instead(status(500)), quick()).await;
    every_write_once("behind", Fate::Behind(status(503)), quick()).await;
}

#[tokio::test]
async fn a_cut_connection_is_met_by_looking_and_trying_again() {
    every_write_once("before", Fate::Instead(Answer::Cut), quick()).await;
    every_write_once("behind", Fate::Behind(Answer::Cut), quick()).await;
    every_write_once("half", Fate::Behind(Answer::Half), quick()).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_waited_for_and_then_looked_after() {
    let limits = Limits { answer_timeout_ms: 300, ..quick() };
    every_write_once("before", Fate::Instead(Answer::Silence), limits.clone()).await;
    every_write_once("behind", Fate::Behind(Answer::Silence), limits).await;
}

#[tokio::test]
async fn a_fault_that_stays_ends_in_an_error_and_in_bounded_time() {
    let server = server();
    let limits = Limits { answer_timeout_ms: 300, ..quick() };
    let answers =
        [status(409), status(412), status(500), status(403), Answer::Cut, Answer::Silence];
    for nth in [0, 3, LAST_WRITE] {
        for (n, answer) in answers.iter().enumerate() {
            let began = Instant::now();
            let (prefix, fate) = (format!("stays-{nth}-{n}"), Fate::Instead(answer.clone()));
            let came_to = one_fault(&server, &prefix, nth, usize::MAX, fate, limits.clone()).await;
            let error = came_to.expect("there are that many writes").unwrap_err();
            let expected = matches!(
                error,
                AnchorError::Unreachable { act: "write", .. }
                    | AnchorError::Refused { act: "write", .. }
            );
            assert!(expected, "{answer:?}: {error}");
            assert!(began.elapsed() < Duration::from_secs(20), "{answer:?}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn a_read_that_fails_once_is_tried_again() {
    let server = server();
    let log = Sample::new(120);
    anchor_at(&server.endpoint(), "log").publish(&log, OPEN).await.unwrap();
    let limits = Limits { answer_timeout_ms: 300, ..quick() };
    for answer in [status(500), status(503), Answer::Cut, Answer::Silence] {
        for fate in [Fate::Instead(answer.clone()), Fate::Behind(answer)] {
            let struck: Mutex<std::collections::HashSet<String>> = Mutex::default();
            let fault = fate.clone();
            let front = Front::start(server.address(), move |seen| {
                let first = struck.lock().unwrap().insert(seen.path.clone());
                // Silence costs its whole time: not for every object.
                let costly =
                    matches!(fault, Fate::Instead(Answer::Silence) | Fate::Behind(Answer::Silence));
                let met =
                    !costly || seen.path.contains("checkpoint") || seen.path.contains("/tile/");
                if first && met { fault.clone() } else { Fate::Pass }
            });
            let place = AnchorPlace::S3(place(&front.endpoint(), "log"));
            let anchor = Anchor::open(&place, &S3Server::variables(), limits.clone()).unwrap();
            println!("{fate:?}");
            assert_eq!(download_and_check(&anchor, &log).await, 120);
        }
    }
}

#[tokio::test]
async fn half_an_object_is_never_taken_for_a_whole_one() {
    let server = server();
    let log = Sample::new(120);
    anchor_at(&server.endpoint(), "log").publish(&log, OPEN).await.unwrap();
    let halves = |seen: &Seen| {
        let object = seen.method == "GET" && seen.path.contains("/log/");
        if object { Fate::Behind(Answer::Half) } else { Fate::Pass }
    };
    let front = Front::start(server.address(), halves);
    let anchor = anchor_at(&front.endpoint(), "log");
    let error = anchor.read_checkpoint().await.unwrap_err();
    assert!(matches!(error, AnchorError::Unreachable { act: "read", .. }), "{error}");
    let path = log.fixed_objects().remove(0).path;
    let error = anchor.fetch(&path).await.unwrap_err();
    assert!(matches!(error, AnchorError::Unreachable { act: "read", .. }), "{error}");
    let into = tempfile::tempdir().unwrap();
    let error = anchor.download(into.path()).await.unwrap_err();
    assert!(matches!(error, AnchorError::Unreachable { act: "read", .. }), "{error}");
}

#[tokio::test]
async fn a_server_killed_at_any_write_is_completed_when_it_is_back() {
    let server = Arc::new(Mutex::new(server()));
    let (address, bucket) = {
        let server = server.lock().unwrap();
        (server.address(), server.bucket())
    };
    let mut kills = 0;
    for nth in [0, 1, 2, 9, 17, 18, LAST_WRITE] {
        for behind in [false, true] {
            let prefix = format!("killed-{nth}-{behind}");
            let direct = anchor_at(&format!("http://{address}"), &prefix);
            direct.publish(&Sample::new(40), OPEN).await.unwrap();
            let (victim, writes) = (Arc::clone(&server), AtomicUsize::new(0));
            let front = Front::start(address, move |seen| {
                let number = match seen.method == "PUT" {
                    true => writes.fetch_add(1, Ordering::SeqCst),
                    false => usize::MAX,
                };
                // Behind: this write is carried out, and the server dies before the next request.
                if number == nth && behind {
                    return Fate::Behind(Answer::Cut);
                }
                if number == nth || writes.load(Ordering::SeqCst) > nth {
                    victim.lock().unwrap().kill();
                }
                Fate::Pass
            });
            let came_to =
                anchor_at(&front.endpoint(), &prefix).publish(&Sample::new(190), OPEN).await;
            kills += usize::from(came_to.is_err());
            server.lock().unwrap().restart();
            let size = check(&bucket.join(&prefix), &Sample::new(190));
            assert!(size == 190 || came_to.is_err() && size == 40, "{prefix}: {came_to:?}");
            direct.publish(&Sample::new(195), OPEN).await.unwrap();
            assert_eq!(download_and_check(&direct, &Sample::new(195)).await, 195, "{prefix}");
        }
    }
    assert_eq!(kills, 14, "every publication met a dead server");
}
