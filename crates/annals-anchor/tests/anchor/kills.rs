//! A publishing process that is killed, or whose system calls fail, at each of them: with `strace`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use annals_keys::write_pair;
use tempfile::TempDir;

use crate::crashes::in_memory;
use crate::sample::{KEY_FILE, OPEN, Sample, key};
use crate::whole::{check, directory};

/// The directory a child publishes to.
const ROOT: &str = "ANNALS_TEST_ROOT";

/// Events before the child publishes, and those it publishes.
const BEFORE: usize = 3;
const AFTER: usize = 25;

/// One segment, two blobs, a tile, a bundle, the checkpoint.
const OBJECTS: usize = 6;

/// Plays the child of the other tests of this file; else checks that such a child publishes.
#[tokio::test]
async fn publisher() {
    if let Some(root) = std::env::var_os(ROOT) {
        let published = directory(Path::new(&root)).publish(&Sample::new(AFTER), OPEN).await;
        return match published {
            Ok(_) => println!("\npublished"),
            Err(error) => println!("\nrefused: {error}"),
        };
    }
    let place = Place::new().await;
    assert!(place.publisher_says(&[], "published"));
    assert_eq!(check(&place.root(), &Sample::new(AFTER)), AFTER as u64);
}

/// An anchor that holds the first events, and the key it is signed with.
struct Place {
    folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        let folder = in_memory();
        let secret = folder.path().join("log.key");
        write_pair(key(), &secret, &folder.path().join("log.pub")).unwrap();
        let place = Self { folder };
        fs::create_dir(place.root()).unwrap();
        directory(&place.root()).publish(&Sample::new(BEFORE), OPEN).await.unwrap();
        place
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("anchor")
    }

    /// Runs the child under `strace` with these arguments.
    fn run(&self, strace: &[&str]) -> Output {
        Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(self.folder.path().join("trace"))
            .args(strace)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "kills::publisher", "--nocapture", "--test-threads", "1"])
            .env(ROOT, self.root())
            .env(KEY_FILE, self.folder.path().join("log.key"))
            .output()
            .expect("strace is installed")
    }

    fn publisher_says(&self, strace: &[&str], what: &str) -> bool {
        let output = self.run(strace);
        let said = String::from_utf8_lossy(&output.stdout);
        said.lines().any(|line| line.starts_with(what))
    }

    /// Checks that the copy is whole at the old or the new size, which is returned, and that the
    /// next publication completes it.
    async fn is_whole_and_goes_on(&self, what: &str) -> u64 {
        let size = check(&self.root(), &Sample::new(AFTER));
        assert!(size == BEFORE as u64 || size == AFTER as u64, "{what}: {size}");
        let next = Sample::new(AFTER + 4);
        directory(&self.root())
            .publish(&next, OPEN)
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(check(&self.root(), &next), (AFTER + 4) as u64, "{what}");
        size
    }
}

/// The calls a publication changes the disk with, and how often at least.
const CALLS: [(&str, usize); 6] = [
    ("write", OBJECTS),
    ("fsync", 2 * OBJECTS),
    ("renameat2", OBJECTS - 1),
    ("rename", 1),
    ("mkdir", 1),
    ("flock", 1),
];

#[tokio::test]
async fn a_publisher_may_be_killed_at_any_system_call() {
    for (call, least) in CALLS {
        let mut kills = 0;
        loop {
            let place = Place::new().await;
            let inject = format!("inject={call}:signal=SIGKILL:when={}", kills + 1);
            let done = place.publisher_says(&["-e", &inject], "published");
            let what = format!("{call} {}", kills + 1);
            let size = place.is_whole_and_goes_on(&what).await;
            assert!(!done || size == AFTER as u64, "{what}");
            if done {
                break;
            }
            kills += 1;
        }
        println!("killed at each of {kills} calls of {call}");
        assert!(kills >= least, "{kills} calls of {call}");
    }
}

#[tokio::test]
async fn no_failed_system_call_goes_unnoticed() {
    for (call, error, least) in [
        ("fsync", "EIO", 2 * OBJECTS),
        ("renameat2", "ENOSPC", OBJECTS - 1),
        ("rename", "EIO", 1),
        ("mkdir", "ENOSPC", 1),
        ("flock", "ENOLCK", 1),
    ] {
        let mut failures = 0;
        loop {
            let place = Place::new().await;
            let inject = format!("inject={call}:error={error}:when={}", failures + 1);
            let refused = place.publisher_says(&["-e", &inject], "refused");
            let what = format!("{call} {}: {error}", failures + 1);
            let size = place.is_whole_and_goes_on(&what).await;
            // A publication that is not refused met no failure.
            if !refused {
                assert_eq!(size, AFTER as u64, "{what}");
                break;
            }
            failures += 1;
        }
        println!("{call} failed {failures} times with {error}");
        assert!(failures >= least, "{failures} calls of {call}");
    }
}

#[tokio::test]
async fn every_file_is_durable_before_it_has_its_name_and_the_name_before_the_next() {
    let place = Place::new().await;
    let traced = "trace=openat,fsync,rename,renameat2";
    assert!(place.publisher_says(&["-y", "-e", traced], "published"));
    let trace = fs::read_to_string(place.folder.path().join("trace")).unwrap();
    let root = place.root().to_string_lossy().into_owned();
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains(&root)).collect();
    let quoted = |line: &str| -> Vec<String> {
        line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut moved = Vec::new();
    for (n, line) in calls.iter().enumerate().filter(|(_, line)| line.contains("rename")) {
        let [from, to] = &quoted(line)[..] else { panic!("{line}") };
        let folder = Path::new(to).parent().unwrap().to_string_lossy().into_owned();
        let opened = |line: &str| line.contains("openat(") && quoted(line) == [folder.clone()];
        let syncs =
            |line: &str, path: &str| line.contains("fsync(") && line.contains(&format!("<{path}>"));
        let file_synced = calls[..n].iter().rposition(|line| syncs(line, from));
        let folder_opened = calls[..n].iter().rposition(|line| opened(line));
        assert_eq!(file_synced, Some(n - 1), "{from} is synced before it is moved");
        assert!(folder_opened.is_some(), "{folder} is opened before anything moves in it");
        assert!(syncs(calls[n + 1], &folder), "{folder} is synced next: {}", calls[n + 1]);
        moved.push(to.clone());
    }
    assert_eq!(moved.len(), OBJECTS, "{moved:?}");
    assert_eq!(moved.last(), Some(&format!("{root}/checkpoint")), "the checkpoint is last");
}
