//! Checks a copy as an auditor would, and against what was published.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use annals_anchor::{Anchor, AnchorPlace, Exhibit, Limits};

use crate::sample::{OPEN, Sample};

/// Every file below `folder` with its content.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Checks that `folder` is a whole copy of `log` at the size of its checkpoint, which is returned.
///
/// Lines behind that size must be the log's too; other leftovers may only be objects of its future.
pub(crate) fn check(folder: &Path, log: &Sample) -> u64 {
    let files = files(folder);
    let Some(note) = files.get("checkpoint") else { return 0 };
    let checkpoint = OPEN(note).unwrap();
    let size = usize::try_from(checkpoint.size).unwrap();
    assert_eq!(Some(checkpoint.root), log.root_at(checkpoint.size), "the root is the log's");

    let mut lines = Vec::new();
    let mut count = 0;
    // Unfinished files of a writer are not part of a log.
    let segments = |name: &str| name.starts_with("segments/") && !name.contains("/.");
    for (name, bytes) in files.iter().filter(|(name, _)| segments(name)) {
        assert_eq!(*name, format!("segments/{count:020}.jsonl"), "segments follow one another");
        assert_eq!(bytes.last(), Some(&b'\n'), "{name} has whole lines");
        count += bytes.iter().filter(|byte| **byte == b'\n').count();
        lines.extend_from_slice(bytes);
    }
    assert!(count >= size, "{count} lines for {size} events");
    assert_eq!(lines, log.text(count), "the lines are the log's");

    let signed = Sample::new(size);
    for object in signed.fixed_objects() {
        let found = files.get(object.path.as_str());
        assert_eq!(found, Some(&object.bytes), "{}", object.path);
    }
    checkpoint.size
}

/// Downloads a copy, and checks it.
pub(crate) async fn download_and_check(anchor: &Anchor, log: &Sample) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("copy");
    let brought = anchor.download(&into).await.unwrap();
    let files = files(&into);
    assert_eq!(brought.objects, files.len() as u64);
    assert_eq!(brought.bytes, files.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert_eq!(brought.has_checkpoint, files.contains_key("checkpoint"));
    check(&into, log)
}

/// The directory `path` as an anchor.
pub(crate) fn directory(path: &Path) -> Anchor {
    let place = AnchorPlace::Directory { path: path.to_owned() };
    Anchor::open(&place, &Default::default(), quick()).unwrap()
}

/// Limits for tests: everything is on this machine.
pub(crate) fn quick() -> Limits {
    Limits {
        connect_timeout_ms: 2_000,
        answer_timeout_ms: 10_000,
        retries: 3,
        first_pause_ms: 5,
        lock_timeout_ms: 10_000,
    }
}
