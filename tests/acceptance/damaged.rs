//! `annals log verify` on the golden log and on every damaged copy: the same verdicts as those of
//! `annals-verify`, and nobody writes behind a log of a newer annals.

#[path = "../golden/cases.rs"]
mod cases;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use annals_event_store::{FileLog, Layout, OpenError, OpenOptions};
use annals_events::{Actor, Draft, EventId, TailRepaired, Timestamp};
use annals_keys::load_ring;
use annals_verify::{Trust, kept_note, verify_path};
use cases::{Damaged, Form, golden};
use serde_json::Value;

/// The program, in a folder that is no workspace.
fn annals(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.current_dir(place).env_clear();
    command
}

fn verify(case: &Damaged, form: Form) -> Output {
    let mut command = annals(case.log.parent().unwrap());
    command.args(["log", "verify", "--json", "--evidence-out"]).arg(case.place("evidence"));
    command.args(case.arguments(form, Some("--log")));
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
fn every_damaged_copy_is_named_for_what_it_is_in_every_form() {
    for case in Damaged::all() {
        for form in case.forms() {
            let output = verify(&case, form);
            case.check(form, &document(&output), output.status.code());
        }
    }
}

#[test]
fn both_programs_write_the_same_document() {
    let ring = load_ring(&Damaged::keys()).unwrap();
    for case in Damaged::all() {
        let kept = case.known.iter().map(|path| kept_note(path).unwrap()).collect();
        let required = case.expected["require_known"].as_u64().unwrap() as usize;
        let trust = Trust { ring: ring.clone(), kept, required };
        // What `annals-verify` prints as it is.
        let (mut report, evidence) = verify_path(&case.log, None, &trust);
        if let Some(text) = evidence {
            let path = case.place("evidence");
            report.note_evidence(&path, fs::write(&path, text));
        }
        let theirs = serde_json::to_value(report).unwrap();
        assert_eq!(document(&verify(&case, Form::Folder)), theirs, "{}", case.name);
    }
}

#[test]
fn a_damaged_copy_is_read_by_no_command_as_if_it_were_whole() {
    // What only a kept head can show is not seen without one.
    let unseen = |case: &Damaged| !case.known.is_empty() && case.name != "fork-of-heads";
    // Tiles and blobs are not read where only the lines are.
    let beside = ["wrong-tile", "short-tile", "wrong-bundle", "blob-missing", "blob-altered"];
    let is_beside = |name: &str| beside.iter().any(|known| name.starts_with(known));
    for case in Damaged::all() {
        let intact = case.expected["verdict"] == "intact";
        if unseen(&case) || is_beside(&case.name) || case.name == "bundles-only" {
            continue;
        }
        for line in ["history", "state", "log show --limit 1"] {
            let mut command = annals(case.log.parent().unwrap());
            command.args(line.split(' ')).arg("--json").arg("--log").arg(&case.log);
            let output = command.arg("--key").arg(Damaged::keys()).output().unwrap();
            let code = output.status.code();
            assert_eq!(code == Some(0), intact, "{line} on {}: {code:?}", case.name);
            assert!(intact || output.stdout.is_empty(), "{line} on {} says something", case.name);
        }
    }
}

#[test]
fn a_log_of_a_newer_annals_is_never_written() {
    let case = Damaged::all().into_iter().find(|case| case.name == "newer-format").unwrap();
    let ring = load_ring(&golden().join("log.pub")).unwrap();
    let repair = |fact: TailRepaired| Draft {
        event: fact.into(),
        id: EventId(uuid::Uuid::nil()),
        occurred_at: Timestamp::from_micros(0),
        actor: Actor { host: "h".into(), name: "n".into(), tool: "t".into() },
        target: None,
        incarnation: 0,
    };
    let options = OpenOptions {
        ring: &ring,
        known: &[],
        now: "2027-01-01T00:00:00.000000Z".parse().unwrap(),
        holder: "a test",
        repair: &repair,
    };
    let segment = case.log.join("segments/00000000000000000000.jsonl");
    let before = fs::read(&segment).unwrap();
    let opened = FileLog::open(Layout::new(&case.log), &options, &mut |_| {});
    assert!(matches!(opened, Err(OpenError::Newer { .. })), "it was opened for writing");
    assert!(fs::read(&segment).unwrap() == before);
}
