//! Memory stays bounded, however large the log: measured in a process of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use annals_anchor::{BoxError, Exhibit, Object, ObjectPath};
use annals_events::{Digest, Seq, TreeHash};
use annals_keys::Checkpoint;

use crate::s3::{anchor_at, server};
use crate::sample::{OPEN, key};

const ENDPOINT: &str = "ANNALS_TEST_ENDPOINT";
const BUCKET: &str = "ANNALS_TEST_BUCKET";

const OBJECT_BYTES: usize = 4 << 20;
const OBJECTS: u64 = 24;

/// What is published goes through memory one object at a time: some copies of one, not 24.
const MOST_BYTES: u64 = 60 << 20;

/// One line, and blobs that are drawn as they are asked for.
struct Large {
    checkpoint: Checkpoint,
    note: Vec<u8>,
}

impl Large {
    fn new() -> Self {
        let origin = "shop/production".parse().unwrap();
        let checkpoint = Checkpoint { origin, size: 1, root: TreeHash::from_bytes([7; 32]) };
        let note = checkpoint.sign(key()).into_bytes();
        Self { checkpoint, note }
    }
}

impl Exhibit for Large {
    fn note(&self) -> &[u8] {
        &self.note
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn root_at(&self, _: u64) -> Option<TreeHash> {
        None
    }

    fn objects(&self, _: u64) -> Box<dyn Iterator<Item = Result<Object, BoxError>> + Send + '_> {
        let line = Object { path: ObjectPath::segment(Seq(0)), bytes: b"{}\n".to_vec() };
        let blobs = (0..OBJECTS).map(|n| {
            let bytes = n.to_be_bytes().repeat(OBJECT_BYTES / 8);
            Object { path: ObjectPath::blob(&Digest::of(&bytes)), bytes }
        });
        Box::new(std::iter::once(line).chain(blobs).map(Ok))
    }
}

/// The most memory this process has had, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_large_log_is_published_compared_and_downloaded_in_bounded_memory() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        let anchor = anchor_at(&endpoint, "log");
        let log = Large::new();
        assert_eq!(anchor.publish(&log, OPEN).await.unwrap().objects_written, OBJECTS + 2);
        // The same objects again, each read and compared.
        let bucket = PathBuf::from(std::env::var_os(BUCKET).unwrap());
        std::fs::remove_file(bucket.join("log/checkpoint")).unwrap();
        assert_eq!(anchor.publish(&log, OPEN).await.unwrap().objects_present, OBJECTS + 1);
        let into = tempfile::tempdir().unwrap();
        let brought = anchor.download(into.path()).await.unwrap();
        assert!(brought.bytes > OBJECTS * OBJECT_BYTES as u64);
        let peak = peak_bytes();
        println!("{} MiB at most", peak >> 20);
        assert!(peak < MOST_BYTES, "{peak} bytes at most, not {MOST_BYTES}");
        return;
    }
    let server = server();
    let name = "memory::a_large_log_is_published_compared_and_downloaded_in_bounded_memory";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(ENDPOINT, server.endpoint())
        .env(BUCKET, server.bucket())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    println!("{said}");
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(said.contains("1 passed"), "the test was found: {said}");
}
