//! Runs the appender under `strace`, which fails or kills it at one chosen system call.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::appender::{Said, program};

/// What a run under `strace` came to.
pub(crate) struct Traced {
    pub(crate) said: Said,
    pub(crate) status: ExitStatus,
    /// The calls in the order of their beginning and ends, each line with its process.
    pub(crate) lines: Vec<String>,
}

impl Traced {
    pub(crate) fn was_killed(&self) -> bool {
        // `strace` ends as its child did.
        self.status.signal() == Some(9)
    }
}

/// Runs the appender in `place` under `strace` with `options`.
pub(crate) fn strace(place: &Path, options: &[&str], arguments: &[&str]) -> Traced {
    let out = place.join("trace");
    let started = Command::new("strace")
        .args(["-f", "-y", "-qq", "-o"])
        .arg(&out)
        .args(options)
        .arg("--")
        .arg(program())
        .args(arguments)
        .current_dir(place)
        .output();
    let output = match started {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("strace is not installed; install it: apt-get install -y strace")
        }
        started => started.unwrap(),
    };
    let trace = fs::read(&out).unwrap_or_default();
    let trace = String::from_utf8_lossy(&trace).into_owned();
    assert!(!trace.is_empty(), "strace cannot trace: {}", String::from_utf8_lossy(&output.stderr));
    Traced {
        said: Said::of(&String::from_utf8(output.stdout).unwrap()),
        status: output.status,
        lines: trace.lines().map(str::to_owned).collect(),
    }
}

/// One call of a trace: its name, how manieth of that name it is, and its line.
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) when: usize,
    pub(crate) line: String,
}

/// The calls of one thread.
pub(crate) fn calls(lines: &[String]) -> Vec<Call> {
    let mut counts = std::collections::BTreeMap::new();
    let named = lines.iter().filter_map(|line| {
        let call = line.split_once(' ')?.1.trim_start();
        let (name, _) = call.split_once('(')?;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| (name.to_owned(), call.to_owned()))
    });
    named
        .map(|(name, line)| {
            let when = counts.entry(name.clone()).or_insert(0);
            *when += 1;
            Call { name, when: *when, line }
        })
        .collect()
}
