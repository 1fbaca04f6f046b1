//! The damaged copies of the golden log, put together from their few files for a program to read.
//!
//! Included by the tests of both programs that verify logs, and of the scripts that do.

#![allow(dead_code, reason = "each of them uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A damaged copy, laid out in a folder of its own.
pub(crate) struct Damaged {
    pub(crate) name: String,
    /// What must be said of it: `case.json`.
    pub(crate) expected: Value,
    /// The whole copy.
    pub(crate) log: PathBuf,
    /// Heads that were kept elsewhere.
    pub(crate) known: Vec<PathBuf>,
    folder: tempfile::TempDir,
}

/// A way to hand a log to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Folder,
    Export,
    Stream,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The golden log: a published copy, and its keys, kept heads and proofs beside it.
pub(crate) fn golden() -> PathBuf {
    root().join("event-store/vectors/log")
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-R").arg(from).arg(to).status();
    assert!(copied.unwrap().success(), "{}", from.display());
}

/// A copy of the golden log without what only lies beside it.
pub(crate) fn copy_golden(to: &Path) {
    fs::create_dir_all(to).unwrap();
    for part in ["checkpoint", "segments", "tile", "blobs"] {
        copy(&golden().join(part), &to.join(part));
    }
}

impl Damaged {
    /// Every one of them, in the order of their names.
    pub(crate) fn all() -> Vec<Self> {
        let folder = root().join("tests/golden/damaged");
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        folders.sort();
        assert!(folders.len() > 60, "{} damaged copies", folders.len());
        folders.iter().map(|folder| Self::build(folder)).collect()
    }

    fn build(case: &Path) -> Self {
        let expected = fs::read(case.join("case.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        copy_golden(&log);
        for removed in expected["remove"].as_array().unwrap() {
            let path = log.join(removed.as_str().unwrap());
            let gone =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        if case.join("log").is_dir() {
            copy(&case.join("log/."), &log);
        }
        let known = expected["known"].as_array().unwrap().iter();
        let known = known.map(|path| case.join(path.as_str().unwrap())).collect();
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        Self { name, expected, log, known, folder }
    }

    /// The public keys, which come from elsewhere than the copy.
    pub(crate) fn keys() -> PathBuf {
        golden().join("log.pub")
    }

    /// The forms in which the damage is there.
    pub(crate) fn forms(&self) -> Vec<Form> {
        let names = self.expected["forms"].as_array().unwrap().iter();
        let form = |name: &Value| match name.as_str() {
            Some("folder") => Form::Folder,
            Some("export") => Form::Export,
            Some("stream") => Form::Stream,
            other => panic!("{}: form {other:?}", self.name),
        };
        names.map(form).collect()
    }

    /// The same as an export: the signed head, an empty line, the lines.
    pub(crate) fn export(&self) -> PathBuf {
        let path = self.folder.path().join("export");
        let mut bytes = fs::read(self.log.join("checkpoint")).unwrap_or_default();
        if !bytes.is_empty() {
            bytes.push(b'\n');
        }
        let segments = fs::read_dir(self.log.join("segments")).into_iter().flatten();
        let mut segments: Vec<PathBuf> = segments.map(|entry| entry.unwrap().path()).collect();
        segments.sort();
        segments.iter().for_each(|segment| bytes.extend(fs::read(segment).unwrap()));
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A place for what a program writes.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The arguments of a verification in this form: the log, the keys, the kept heads.
    pub(crate) fn arguments(&self, form: Form, log_flag: Option<&str>) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let log = match form {
            Form::Folder => text(&self.log),
            Form::Export => text(&self.export()),
            Form::Stream => "-".to_owned(),
        };
        let mut arguments: Vec<String> = log_flag.map(str::to_owned).into_iter().collect();
        arguments.extend([log, "--key".into(), text(&Self::keys())]);
        for known in &self.known {
            arguments.extend(["--known".into(), text(known)]);
        }
        let required = self.expected["require_known"].as_u64().unwrap();
        if required > 0 {
            arguments.extend(["--require-known".into(), required.to_string()]);
        }
        arguments
    }

    /// Whether the document of `annals log verify --json` or `annals-verify --json` says what must
    /// be said.
    #[track_caller]
    pub(crate) fn check(&self, form: Form, document: &Value, code: Option<i32>) {
        let shown = format!("{} as {form:?}: {document:#}", self.name);
        for member in ["verdict", "exit_code", "first_bad_seq", "not_understood", "torn_bytes"] {
            assert_eq!(document[member], self.expected[member], "{member} of {shown}");
        }
        assert_eq!(code.map(i64::from), self.expected["exit_code"].as_i64(), "{shown}");
        let intact = document["verdict"] == "intact";
        assert_eq!(document["damages"].as_array().unwrap().is_empty(), intact, "{shown}");
        // The decisive damage stands first.
        assert!(intact || document["damages"][0]["class"] == document["verdict"], "{shown}");
    }
}
