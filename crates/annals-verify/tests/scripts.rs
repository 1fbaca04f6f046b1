//! Verifiers that are not ours say the same: Python's standard library, and a shell with jq,
//! OpenSSL and coreutils, on the golden log and on every damaged copy.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/golden/cases.rs"]
mod cases;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use cases::{Damaged, Form, golden, root};
use serde_json::Value;

/// What the scripts need, and the packages that have it.
const TOOLS: &[&str] = &["bash", "python3", "jq", "openssl", "xxd", "sha256sum", "cmp"];
const PACKAGES: &str = "bash python3 jq openssl xxd coreutils diffutils";

/// Copies damaged in what `verify.sh` says of itself that it does not look at: tiles and bundles.
const NOT_BY_SHELL: &[&str] = &[
    "wrong-tile",
    "wrong-tile-above",
    "wrong-bundle",
    "short-tile",
    "bundles-alone",
    "bundles-only",
];

fn script(name: &str) -> Command {
    let path: PathBuf = root().join("event-store/verify").join(name);
    let mut command = Command::new(if name.ends_with(".sh") { "bash" } else { "python3" });
    if name.ends_with(".py") {
        // Without compiled files beside the scripts.
        command.arg("-B");
    }
    command.arg(path);
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|error| panic!("{command:?}: {error}; apt-get install -y {PACKAGES}"))
}

fn text(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

#[test]
fn the_tools_they_need_are_here() {
    for tool in TOOLS {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
        let found = found.is_ok_and(|output| output.status.success());
        assert!(found, "{tool} is missing; install it: apt-get install -y {PACKAGES}");
    }
}

/// Runs `verify.py` on every copy, in this form.
#[track_caller]
fn python_says_the_same(form: Form) {
    let mut other = Vec::new();
    for case in Damaged::all().iter().filter(|case| case.forms().contains(&form)) {
        let mut command = script("verify.py");
        command.args(case.arguments(form, None)).arg("--json");
        if form == Form::Stream {
            command.stdin(fs::File::open(case.export()).unwrap());
        }
        let output = run(&mut command);
        let code = output.status.code().map(i64::from);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let at = report["damages"][0]["seq"].as_u64();
        // It names a place only where the lines are at fault.
        let same_place = at.is_none() || at == case.expected["first_bad_seq"].as_u64();
        if code != case.expected["exit_code"].as_i64() || !same_place {
            other.push(format!("{}: {code:?} {at:?}\n{}", case.name, text(&output)));
        }
    }
    assert!(other.is_empty(), "{}", other.join("\n"));
}

#[test]
fn python_says_the_same_of_every_folder() {
    python_says_the_same(Form::Folder);
}

#[test]
fn python_says_the_same_of_every_export() {
    python_says_the_same(Form::Export);
}

#[test]
fn python_says_the_same_of_every_stream() {
    python_says_the_same(Form::Stream);
}

/// Runs `verify.sh` on every `of`th copy, from the `first` on: it is slow, and tests run beside
/// each other.
#[track_caller]
fn a_shell_says_the_same(first: usize, of: usize) {
    let mut other = Vec::new();
    let cases = Damaged::all();
    let read = cases.iter().filter(|case| !NOT_BY_SHELL.contains(&case.name.as_str()));
    for case in read.skip(first).step_by(of) {
        let output = run(script("verify.sh").args(case.arguments(Form::Folder, None)));
        let code = output.status.code().map(i64::from);
        if code != case.expected["exit_code"].as_i64() {
            other.push(format!("{}: {code:?}\n{}", case.name, text(&output)));
        }
    }
    assert!(other.is_empty(), "{}", other.join("\n"));
}

#[test]
fn a_shell_says_the_same_of_the_first_part_of_the_copies() {
    a_shell_says_the_same(0, 6);
}

#[test]
fn a_shell_says_the_same_of_the_second_part_of_the_copies() {
    a_shell_says_the_same(1, 6);
}

#[test]
fn a_shell_says_the_same_of_the_third_part_of_the_copies() {
    a_shell_says_the_same(2, 6);
}

#[test]
fn a_shell_says_the_same_of_the_fourth_part_of_the_copies() {
    a_shell_says_the_same(3, 6);
}

#[test]
fn a_shell_says_the_same_of_the_fifth_part_of_the_copies() {
    a_shell_says_the_same(4, 6);
}

#[test]
fn a_shell_says_the_same_of_the_last_part_of_the_copies() {
    a_shell_says_the_same(5, 6);
}

#[test]
fn the_golden_log_and_its_export_are_intact_for_all_of_them() {
    let (log, key) = (golden(), golden().join("log.pub"));
    for (name, log) in
        [("verify.py", log.clone()), ("verify.py", log.join("export")), ("verify.sh", log.clone())]
    {
        let mut command = script(name);
        command.arg(log).arg("--key").arg(&key);
        let output = run(&mut command);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
    }
}

#[test]
fn the_golden_proofs_hold_and_no_changed_one_does() {
    let (folder, key) = (golden().join("proofs"), golden().join("log.pub"));
    let place = tempfile::tempdir().unwrap();
    let check = |proof: &PathBuf| run(script("check-proof.py").arg("--key").arg(&key).arg(proof));
    let proofs = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut count = 0;
    for proof in proofs {
        count += 1;
        let output = check(&proof);
        assert_eq!(output.status.code(), Some(0), "{}: {}", proof.display(), text(&output));
        let bytes = fs::read(&proof).unwrap();
        let head = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        // One byte of each part: the line, the place, a hash, the size, the root, the signature.
        for at in [60, head - 100, head - 20, head + 20, head + 30, bytes.len() - 20] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let path = place.path().join("changed.tlog-proof");
            fs::write(&path, &changed).unwrap();
            let code = check(&path).status.code();
            assert!(
                code.is_some_and(|code| code >= 20),
                "{}: byte {at}: {code:?}",
                proof.display()
            );
        }
    }
    assert_eq!(count, 6);
}
