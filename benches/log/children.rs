//! Processes that are measured, among them this program in other parts.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use annals_event_store::{Layout, LogFiles};

use crate::made::MadeLog;

const FLOOR: &str = "--floor-of";
const APPEND: &str = "--append";

/// What a process has used, and said.
pub(crate) struct Usage {
    /// In user and in kernel mode.
    pub(crate) cpu: Duration,
    /// The most memory that was resident at once.
    pub(crate) peak_bytes: u64,
    pub(crate) out: Vec<u8>,
}

pub(crate) fn median<T: PartialOrd + Copy>(values: impl IntoIterator<Item = T>) -> T {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).expect("a figure"));
    values[values.len() / 2]
}

/// The number in a line of `/proc/<pid>/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs a program of one thread to its end.
///
/// Its CPU time, in nanoseconds, is read when it has ended and before it is waited for; its memory
/// while it runs.
pub(crate) fn usage(command: &mut Command) -> Usage {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    command.stdout(File::create(&out).expect("a temporary file")).stdin(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let proc = Path::new("/proc").join(child.id().to_string());
    let read = |name: &str| std::fs::read_to_string(proc.join(name)).expect("it is not waited for");
    let mut peak_bytes = 0;
    loop {
        let status = read("status");
        let Some(peak_kib) = field(&status, "VmHWM:") else { break };
        peak_bytes = peak_bytes.max(peak_kib * 1024);
        assert_eq!(field(&status, "Threads:"), Some(1), "the time of one thread is read");
        std::thread::sleep(Duration::from_micros(500));
    }
    // Memory goes first; the rest of the end is accounted, too.
    while field(&read("status").replace("State:\tZ", "State: 1"), "State:") != Some(1) {
        std::thread::yield_now();
    }
    let ran = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok());
    let cpu = Duration::from_nanos(ran.expect("a number of nanoseconds"));
    let ended = child.wait().expect("it is a child");
    assert!(ended.success(), "{command:?}: {ended}");
    Usage { cpu, peak_bytes, out: std::fs::read(&out).expect("it was written") }
}

/// This program as the floor of a verification.
pub(crate) fn floor(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
    command.arg(FLOOR).arg(folder);
    command
}

/// Writes and syncs of the segment while `batches` are appended, counted from outside; nothing
/// where there is no `strace`.
pub(crate) fn count_appends(batches: usize, events: usize) -> Option<(usize, usize)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=write,pwrite64,writev,fdatasync,fsync", "-o"]);
    command.arg(&trace).arg(std::env::current_exe().expect("a program has a path"));
    command.arg(APPEND).arg(folder.path()).args([batches.to_string(), events.to_string()]);
    let ended = command.stdout(Stdio::null()).status().ok()?;
    assert!(ended.success(), "{command:?}: {ended}");
    let trace = std::fs::read_to_string(&trace).expect("strace has written it");
    // The segment is made under another name; what is done to it under its own are the appends.
    let calls = trace.lines().filter(|line| line.contains("/segments/0"));
    let (syncs, writes): (Vec<&str>, Vec<&str>) = calls.partition(|call| call.contains("sync("));
    Some((writes.len(), syncs.len()))
}

/// Whether this process is one of those parts; it has then been played.
pub(crate) fn was_called() -> bool {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [FLOOR, folder] => hash_and_parse(Path::new(folder)),
        [APPEND, folder, batches, events] => {
            let number = |text: &str| text.parse().expect("a number");
            MadeLog::append(Path::new(folder), number(batches), number(events));
        }
        _ => return false,
    }
    true
}

/// The least a verification must do: one SHA-256 pass and one parse of the same bytes.
fn hash_and_parse(folder: &Path) {
    let files = LogFiles::find(&Layout::new(folder)).expect("a log");
    let mut line = Vec::new();
    for (_, path) in &files.segments {
        let mut file = BufReader::with_capacity(128 * 1024, File::open(path).expect("a segment"));
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).expect("a segment is read") == 0 {
                break;
            }
            black_box(ring::digest::digest(&ring::digest::SHA256, &line));
            let value: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
            black_box(value);
        }
    }
}
