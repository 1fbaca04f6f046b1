//! The golden log and its damaged copies: made here, committed, compared byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod damage;
mod published;
mod story;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use annals_events::{Segment, Seq, scan};
use annals_projections::{History, RecoveryState, replay};
use published::Files;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file below `folder`, by its path from there.
fn files_in(folder: &Path) -> Files {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Compares what is committed in `folder` with what was made, or writes it anew.
#[track_caller]
fn compare(folder: &Path, made: &Files) {
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(folder);
        for (name, bytes) in made {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let committed = files_in(folder);
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&committed), names(made), "{}", folder.display());
    for (name, bytes) in made {
        assert!(committed[name] == *bytes, "{}/{name}: other bytes", folder.display());
    }
}

#[test]
fn the_golden_log_is_what_its_generator_makes() {
    compare(&root().join("event-store/vectors/log"), &published::golden());
}

#[test]
fn the_damaged_copies_are_what_their_generator_makes() {
    compare(&root().join("tests/golden/damaged"), &damage::all());
}

#[test]
fn the_golden_log_tells_a_story_that_ends_well() {
    let story = story::Story::told();
    let whole = scan(&[Segment { first: Seq(0), bytes: &story.bytes }], &[]);
    assert_eq!((whole.end.damage, whole.end.unknown), (None, 0));
    let (history, recovery): (History, RecoveryState) =
        (replay(&whole.events), replay(&whole.events));
    assert!(whole.events.len() > 300, "complete and partial tiles, and two levels of them");
    assert!(recovery.open_run.is_none() && recovery.open_steps.is_empty(), "{recovery:#?}");
    assert!(recovery.partial.is_empty());
    let applied: Vec<String> = history.applied().iter().map(|change| change.id()).collect();
    assert!(applied.len() > 20 && applied.is_sorted(), "{applied:?}");
    // Each kind of end a run can have stands in it.
    let kinds = whole.events.iter().map(|recorded| recorded.event.kind());
    let kinds: std::collections::BTreeSet<&str> = kinds.collect();
    for kind in ["step_failed", "step_reconciled", "statement_succeeded", "key_retired"] {
        assert!(kinds.contains(kind), "{kind}");
    }
}
