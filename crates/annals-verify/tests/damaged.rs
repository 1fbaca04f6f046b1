//! `annals-verify` on the golden log and on every damaged copy of it, and its evidence of forks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/golden/cases.rs"]
mod cases;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cases::{Damaged, Form, golden};
use serde_json::Value;

fn verifier() -> Command {
    Command::new(env!("CARGO_BIN_EXE_annals-verify"))
}

fn run(case: &Damaged, form: Form, json: bool) -> Output {
    let mut command = verifier();
    command.args(case.arguments(form, None)).arg("--evidence-out").arg(case.place("evidence"));
    if json {
        command.arg("--json");
    }
    if form == Form::Stream {
        command.stdin(fs::File::open(case.export()).unwrap());
    }
    command.output().unwrap()
}

fn document(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

#[test]
fn the_golden_log_is_intact_with_all_its_counts() {
    let output = verifier()
        .arg(golden())
        .args(["--json", "--require-known", "3", "--key"])
        .arg(golden().join("log.pub"))
        .args(
            ["10", "123", "307"]
                .map(|size| golden().join("kept").join(size))
                .iter()
                .flat_map(|path| [Path::new("--known"), path.as_path()]),
        )
        .output()
        .unwrap();
    let report = document(&output);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(0), &"intact".into()));
    for (member, expected) in [
        ("events", 307),
        ("signed", 307),
        ("unsigned", 0),
        // 307 leaves and the 302 nodes between the leaves and the roots of 5 perfect subtrees.
        ("hashes", 307 + 302),
        ("signatures", 4),
        ("tiles", 7),
        ("tiles_beyond", 0),
        ("claimed_anchored", 285),
        ("torn_bytes", 0),
        ("not_understood", 0),
    ] {
        assert_eq!(report[member], expected, "{member}: {report:#}");
    }
    assert_eq!(report["unanchored_from"], Value::Null, "{report:#}");
    let segments = fs::read_dir(golden().join("segments")).unwrap();
    let bytes: u64 = segments.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(report["bytes"], bytes);
    let blobs = fs::read_dir(golden().join("blobs/sha256")).unwrap().count();
    assert_eq!(
        (&report["blobs"]["checked"], &report["blobs"]["not_checked"]),
        (&blobs.into(), &0.into())
    );
}

#[test]
fn the_golden_export_is_intact_and_says_that_blobs_were_not_checked() {
    let export = golden().join("export");
    let key = golden().join("log.pub");
    let output = verifier().arg(export).arg("--json").arg("--key").arg(key).output().unwrap();
    let report = document(&output);
    assert_eq!((&report["verdict"], &report["events"]), (&"intact".into(), &28.into()));
    assert!(report["blobs"]["not_checked"].as_u64().unwrap() > 0);
}

#[test]
fn every_damaged_copy_is_named_for_what_it_is_in_every_form() {
    for case in Damaged::all() {
        for form in case.forms() {
            let output = run(&case, form, true);
            case.check(form, &document(&output), output.status.code());
        }
    }
}

#[test]
fn what_is_said_to_people_names_the_class_and_cannot_steer_their_terminal() {
    for case in Damaged::all() {
        let output = run(&case, Form::Folder, false);
        let text = String::from_utf8(output.stdout).unwrap();
        let verdict = case.expected["verdict"].as_str().unwrap();
        let said = if verdict == "intact" { " is intact".into() } else { format!("({verdict})") };
        assert!(text.contains(&said), "{}: {text}", case.name);
        let steers = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(steers), "{}: {text:?}", case.name);
    }
}

#[test]
fn evidence_of_a_fork_convinces_whoever_has_nothing_but_the_keys() {
    let mut forks = 0;
    for case in Damaged::all() {
        let output = run(&case, Form::Folder, true);
        let report = document(&output);
        let damages = report["damages"].as_array().unwrap().iter();
        let is_fork = damages.into_iter().any(|damage| damage["class"] == "fork");
        assert_eq!(report["evidence"].is_string(), is_fork, "{}", case.name);
        if !is_fork {
            continue;
        }
        forks += 1;
        let evidence = case.place("evidence");
        let check = |keys: &Path| {
            verifier().arg("--evidence").arg(&evidence).arg("--key").arg(keys).output().unwrap()
        };
        let convinced = check(&Damaged::keys());
        assert_eq!(convinced.status.code(), Some(25), "{}: {convinced:?}", case.name);
        // With the keys of somebody else it proves nothing.
        let other = case.place("other.pub");
        let key = annals_keys::SecretKey::generate("shop").unwrap();
        fs::write(&other, format!("{}\n", key.verifier())).unwrap();
        assert_eq!(check(&other).status.code(), Some(2), "{}", case.name);
        // Whatever is changed in it, it proves nothing any more, or still the same.
        let text = fs::read(&evidence).unwrap();
        for at in (0..text.len()).step_by(11) {
            let mut changed = text.clone();
            changed[at] ^= 1;
            fs::write(&evidence, &changed).unwrap();
            let code = check(&Damaged::keys()).status.code();
            let line = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |n| n + 1);
            // A note may have two signatures: an unknown one beside a good one is skipped.
            let skipped =
                text[line..].starts_with(b"#") || text[line..].starts_with("\u{2014}".as_bytes());
            assert!(
                code == Some(2) || (code == Some(25) && skipped),
                "{}: byte {at}: {code:?}",
                case.name
            );
        }
    }
    assert_eq!(forks, 4);
}

#[test]
fn a_fork_is_a_fork_also_where_its_evidence_cannot_be_written() {
    let case = Damaged::all().into_iter().find(|case| case.name == "fork").unwrap();
    let output = verifier()
        .args(case.arguments(Form::Folder, None))
        .arg("--evidence-out")
        .arg(case.place("no/such/folder"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(25));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("not written") && text.contains("--evidence-out"), "{text}");
}
