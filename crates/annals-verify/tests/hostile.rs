//! What lies where a log should lie, made to hang, exhaust or mislead a verifier.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/golden/cases.rs"]
mod cases;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cases::{copy_golden, golden};
use serde_json::Value;

/// Address space of the program in these tests, and seconds of CPU time: with more it is ended.
const MEMORY_KIB: u64 = 64 * 1024;
const CPU_SECONDS: u64 = 20;

/// The program, which is killed if it takes more than it may, or waits for something.
fn bounded(arguments: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_annals-verify");
    let limits = format!("ulimit -v {MEMORY_KIB}; ulimit -t {CPU_SECONDS}");
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(format!("{limits}; exec timeout 60 {program} {arguments} \"$@\""))
        .arg("-");
    command
}

fn verify(log: &Path) -> (i32, Value) {
    let key = golden().join("log.pub");
    let output = bounded("--json").arg(log).arg("--key").arg(key).output().unwrap();
    report(&output)
}

fn report(output: &Output) -> (i32, Value) {
    let code = output.status.code().unwrap_or(-1);
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}, exit {code}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    (code, report)
}

struct Place {
    _folder: tempfile::TempDir,
    log: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    copy_golden(&log);
    Place { _folder: folder, log }
}

fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

const FIRST: &str = "segments/00000000000000000000.jsonl";
const SECOND: &str = "segments/00000000000000000010.jsonl";

#[test]
fn a_line_of_a_gigabyte_is_refused_at_once_in_little_memory() {
    let place = place();
    let begin = fs::read(place.log.join(FIRST)).unwrap();
    // Sparse: a gigabyte of NUL bytes behind the first ten events, with no line feed in it.
    let segment = place.log.join(SECOND);
    let mut file = fs::File::create(&segment).unwrap();
    file.write_all(b"{\"actor\":\"").unwrap();
    file.set_len(1 << 30).unwrap();
    let (code, report) = verify(&place.log);
    assert_eq!((code, &report["first_bad_seq"]), (20, &10.into()), "{report:#}");
    // As an export and as bare lines on standard input, from a pipe that would go on.
    let note = fs::read_to_string(place.log.join("checkpoint")).unwrap();
    let key = golden().join("log.pub");
    for header in [format!("{note}\n").into_bytes(), Vec::new()] {
        let mut child = bounded("- --json --key")
            .arg(&key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn({
            let start = [header, begin.clone(), b"{\"actor\":\"".to_vec()].concat();
            move || {
                let piece = vec![b'x'; 1 << 20];
                let mut sent = 0;
                let mut result = input.write_all(&start);
                while result.is_ok() && sent < 1024 {
                    result = input.write_all(&piece);
                    sent += 1;
                }
                sent
            }
        });
        let (code, report) = report_of(child);
        assert_eq!((code, &report["first_bad_seq"]), (20, &10.into()), "{report:#}");
        assert!(writer.join().unwrap() < 1024, "it did not wait for the end of the line");
    }
}

fn report_of(child: std::process::Child) -> (i32, Value) {
    report(&child.wait_with_output().unwrap())
}

#[test]
fn what_gives_bytes_for_ever_is_left() {
    let key = golden().join("log.pub");
    // Of random bytes some may look like the end of a note: then what follows is no event.
    let cases = [("/dev/zero", vec![29]), ("/dev/urandom", vec![20, 29]), ("/dev/null", vec![30])];
    for (device, codes) in cases {
        let output = bounded("--json --key").arg(&key).arg(device).output().unwrap();
        assert!(codes.contains(&report(&output).0), "{device}: {output:?}");
        let output = bounded("- --json --key")
            .arg(&key)
            .stdin(fs::File::open(device).unwrap())
            .output()
            .unwrap();
        assert!(codes.contains(&report(&output).0), "{device} on standard input: {output:?}");
    }
}

#[test]
fn a_pipe_or_a_device_in_the_place_of_any_file_is_not_waited_for() {
    let blob = fs::read_dir(golden().join("blobs/sha256")).unwrap().next().unwrap().unwrap();
    let blob = format!("blobs/sha256/{}", blob.file_name().to_str().unwrap());
    let files = [
        ("checkpoint", 29),
        (FIRST, 29),
        (SECOND, 29),
        ("tile/0/000", 20),
        ("tile/0/000.p/10", 20),
        ("tile/entries/000", 20),
        ("tile/entries/001.p/51", 20),
        (blob.as_str(), 20),
    ];
    for (name, expected) in files {
        for device in [None, Some("/dev/zero"), Some("/dev/full")] {
            let place = place();
            let path = place.log.join(name);
            match device {
                None => pipe(&path),
                Some(device) => {
                    fs::remove_file(&path).unwrap();
                    symlink(device, &path).unwrap();
                }
            }
            let (code, report) = verify(&place.log);
            assert_eq!(code, expected, "{name} as {device:?}: {report:#}");
        }
    }
}

#[test]
fn a_folder_in_the_place_of_a_file_is_named() {
    for (name, expected) in
        [("checkpoint", 29), (FIRST, 29), ("tile/0/000", 20), ("tile/entries/000", 20)]
    {
        let place = place();
        fs::remove_file(place.log.join(name)).unwrap();
        fs::create_dir(place.log.join(name)).unwrap();
        let (code, report) = verify(&place.log);
        assert_eq!(code, expected, "{name}: {report:#}");
    }
}

#[test]
fn bundles_alone_are_read_with_the_same_care() {
    for (name, expected) in [("checkpoint", 29), ("tile/entries/000.p/10", 23)] {
        let place = place();
        fs::remove_dir_all(place.log.join("segments")).unwrap();
        if name != "checkpoint" {
            // The complete one is gone: only ten entries are left, and a pipe beside them.
            fs::remove_file(place.log.join("tile/entries/000")).unwrap();
            pipe(&place.log.join("tile/entries/000.p/9"));
        } else {
            pipe(&place.log.join(name));
        }
        let (code, report) = verify(&place.log);
        assert_eq!(code, expected, "{name}: {report:#}");
    }
    let place = place();
    fs::remove_dir_all(place.log.join("segments")).unwrap();
    fs::remove_file(place.log.join("checkpoint")).unwrap();
    symlink("/dev/zero", place.log.join("checkpoint")).unwrap();
    assert_eq!(verify(&place.log).0, 29);
}

#[test]
fn a_huge_note_is_no_note() {
    let place = place();
    let note = fs::read(place.log.join("checkpoint")).unwrap();
    let file = fs::File::options().write(true).open(place.log.join("checkpoint")).unwrap();
    file.set_len(1 << 34).unwrap();
    assert_eq!(verify(&place.log).0, 26);
    // A hundred signatures are read, one more is too many.
    let line = String::from_utf8(note.clone()).unwrap();
    let line = line.lines().last().unwrap().replacen("shop", "other", 1);
    for (more, expected) in [(99, 0), (100, 26)] {
        let many = [note.clone(), format!("{line}\n").repeat(more).into_bytes()].concat();
        fs::write(place.log.join("checkpoint"), many).unwrap();
        assert_eq!(verify(&place.log).0, expected, "{more}");
    }
}

#[test]
fn a_huge_blob_is_not_read_to_its_end() {
    let place = place();
    let blobs = place.log.join("blobs/sha256");
    for blob in fs::read_dir(&blobs).unwrap() {
        let file = fs::File::options().write(true).open(blob.unwrap().path()).unwrap();
        // More than could be hashed in the time it has.
        file.set_len(1 << 40).unwrap();
    }
    let (code, report) = verify(&place.log);
    assert_eq!((code, &report["verdict"]), (20, &"content".into()), "{report:#}");
}

#[test]
fn thousands_of_files_beside_the_tiles_cost_little() {
    let place = place();
    for n in 0..3000 {
        fs::write(place.log.join(format!("tile/0/000.p/{}", n + 300)), "x").unwrap();
        fs::write(place.log.join(format!("tile/entries/000.p/x{n}")), "x").unwrap();
        fs::write(place.log.join(format!("segments/.{n}.tmp")), "x").unwrap();
    }
    let (code, report) = verify(&place.log);
    assert_eq!((code, &report["tiles"]), (0, &7.into()), "{report:#}");
}

#[test]
fn a_tile_that_goes_on_behind_the_last_event_is_said_and_is_no_damage() {
    let place = place();
    // The last publication is gone but for its tiles: an older state, signed.
    fs::remove_file(place.log.join("segments/00000000000000000285.jsonl")).unwrap();
    fs::copy(golden().join("kept/285"), place.log.join("checkpoint")).unwrap();
    let (code, report) = verify(&place.log);
    assert_eq!((code, &report["tiles_beyond"]), (0, &2.into()), "{report:#}");
    // Where it contradicts the lines that are there, it is wrong.
    let tile = place.log.join("tile/0/001.p/51");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[3] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let (code, report) = verify(&place.log);
    assert_eq!((code, &report["first_bad_seq"]), (20, &256.into()), "{report:#}");
}

#[test]
fn a_copy_without_any_blobs_is_described_in_few_words() {
    let place = place();
    fs::remove_dir_all(place.log.join("blobs")).unwrap();
    let (code, report) = verify(&place.log);
    assert_eq!(code, 20);
    let damages = report["damages"].as_array().unwrap().len() as u64;
    assert!(damages > 10 && damages <= 100, "{damages}");
    assert_eq!(report["blobs"]["checked"], 0);
}

#[test]
fn a_segment_by_a_link_is_read_and_one_that_leads_nowhere_is_named() {
    let place = place();
    let (path, aside) = (place.log.join(SECOND), place.log.join("aside"));
    fs::rename(&path, &aside).unwrap();
    symlink(&aside, &path).unwrap();
    assert_eq!(verify(&place.log).0, 0);
    fs::remove_file(&aside).unwrap();
    assert_eq!(verify(&place.log).0, 29);
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    assert_eq!(verify(&place.log).0, 29);
}

#[test]
fn an_export_in_any_other_form_is_not_taken_for_one() {
    let place = place();
    let note = fs::read_to_string(place.log.join("checkpoint")).unwrap();
    let mut lines = String::new();
    let segments = fs::read_dir(place.log.join("segments")).unwrap();
    let mut segments: Vec<PathBuf> = segments.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments.iter().for_each(|segment| lines.push_str(&fs::read_to_string(segment).unwrap()));
    let export = place.log.join("export");
    for (text, expected, at) in [
        (format!("{note}\n{lines}"), 0, None),
        // No line between head and lines, one too many, one before, a mark of a byte order.
        (format!("{note}{lines}"), 29, None),
        (format!("{note}\n\n{lines}"), 20, Some(0)),
        (format!("\n{note}\n{lines}"), 26, None),
        (format!("\u{feff}{note}\n{lines}"), 26, None),
        (format!("{note}\nx{lines}"), 20, Some(0)),
        (format!("{note}\n"), 30, Some(0)),
        (note.clone(), 30, Some(0)),
        (lines.clone(), 26, None),
        ("hello\n".repeat(9), 29, None),
    ] {
        fs::write(&export, &text).unwrap();
        let (code, report) = verify(&export);
        assert_eq!(code, expected, "{:?}…: {report:#}", &text[..20]);
        assert_eq!(report["first_bad_seq"].as_u64(), at, "{:?}…: {report:#}", &text[..20]);
    }
}

#[test]
fn a_checkpoint_that_is_given_is_never_ignored() {
    let place = place();
    let (key, other) = (golden().join("log.pub"), place.log.join("other"));
    let run = |log: &Path, note: &Path| {
        let output = bounded("--json --key")
            .arg(&key)
            .arg("--checkpoint")
            .arg(note)
            .arg(log)
            .output()
            .unwrap();
        report(&output)
    };
    fs::write(&other, "nothing").unwrap();
    // Beside a log that has its own, it is one more head that must fit.
    for log in [place.log.clone(), golden().join("export")] {
        assert_eq!(run(&log, &other).0, 26, "{}", log.display());
        let (code, report) = run(&log, &golden().join("kept/10"));
        assert_eq!((code, &report["unanchored_from"]), (0, &10.into()), "{report:#}");
    }
    fs::remove_file(place.log.join("checkpoint")).unwrap();
    let (code, report) = run(&place.log, &golden().join("kept/307"));
    assert_eq!((code, &report["signed"]), (0, &307.into()), "{report:#}");
}

#[test]
fn a_head_kept_in_a_folder_that_was_filled_by_others_is_not_waited_for() {
    let place = place();
    pipe(&place.log.join("checkpoint"));
    let output = bounded("--key")
        .arg(golden().join("log.pub"))
        .arg(golden())
        .arg("--known")
        .arg(&place.log)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
