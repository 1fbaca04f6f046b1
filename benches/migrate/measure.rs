//! What a process has used: time, CPU time, memory; measured one process at a time.

use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use annals_testkit::{Server, wait_for};
use nix::sys::resource::{UsageWho, getrusage};

/// This program, as the parent of the one process it measures.
const MEASURE: &str = "--measure";

/// What a program and the processes it waited for have used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    /// In user and in kernel mode.
    pub(crate) cpu: Duration,
    /// The most memory one of them had resident at once.
    pub(crate) peak_bytes: u64,
}

/// The middle of some figures, and how far they went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        Self { low: values[0], median, high: values[values.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.low, self.high)
    }
}

/// Whether this process is the parent of a measured one; it has then been played.
pub(crate) fn was_called() -> bool {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_none_or(|word| word != MEASURE) {
        return false;
    }
    let result = words.next().expect("a file for the result");
    let program = words.next().expect("a program");
    let clock = Instant::now();
    let status = Command::new(program).args(words).status().expect("the program is there");
    let wall = clock.elapsed();
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let micros = |value: nix::sys::time::TimeVal| value.tv_sec() * 1_000_000 + value.tv_usec();
    let cpu = micros(used.user_time()) + micros(used.system_time());
    let text = format!("{} {cpu} {}", wall.as_micros(), used.max_rss());
    std::fs::write(result, text).expect("the result is written");
    assert!(status.success(), "it ended with {status}");
    true
}

/// Runs a program to its end. What it prints is shown only if it fails.
pub(crate) fn run(command: &Command) -> Used {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (result, said) = (folder.path().join("result"), folder.path().join("said"));
    let out = File::create(&said).expect("a temporary file");
    let mut parent = Command::new(std::env::current_exe().expect("a program has a path"));
    parent.arg(MEASURE).arg(&result).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => parent.env(name, value),
            None => parent.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        parent.current_dir(folder);
    }
    let errors = out.try_clone().expect("a temporary file");
    let status = parent.stdin(Stdio::null()).stdout(out).stderr(errors).process_group(0).status();
    if !status.is_ok_and(|status| status.success()) {
        let said = std::fs::read(&said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        panic!("{command:?}\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
    }
    let text = std::fs::read_to_string(&result).expect("it was written");
    let mut numbers = text.split(' ').map(|number| number.parse::<u64>().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    Used {
        wall: Duration::from_micros(next()),
        cpu: Duration::from_micros(next()),
        peak_bytes: next() * 1024,
    }
}

/// CPU time of all sessions of a server that have ended, once all but ours have.
///
/// Fields 16 and 17 of `/proc/<pid>/stat` are the time of the children that were waited for, in
/// hundredths of a second.
pub(crate) fn sessions_cpu(server: &Server) -> Duration {
    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    wait_for("the end of all sessions", || (server.value(others) == "0").then_some(()));
    let path = Path::new("/proc").join(server.pid().to_string()).join("stat");
    let text = std::fs::read_to_string(path).expect("the server runs");
    let (_, fields) = text.rsplit_once(')').expect("the name stands in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // The first behind the name is field 3.
    let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(16) + ticks(17)) * 10)
}
