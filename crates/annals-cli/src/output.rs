//! Data to standard output, status and errors to standard error.

use std::io::Write;

use annals_api::{ExitCode, FailureDocument, RecoveredRun};
use annals_operations::Failure;
use serde::Serialize;

use crate::style::{self, ERROR, HINT, NOTE};

/// Where and how results go.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether documents are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a document: as JSON, or as `human` writes it.
    pub(crate) fn show<T: Serialize>(&self, document: &T, human: impl FnOnce(&T) -> String) {
        let text = if self.json { to_json(document) } else { human(document) };
        // Nobody is left to tell when the reader of the pipe has gone.
        let _ = anstream::stdout().write_all(text.as_bytes());
    }

    /// Shows one of many documents on a line of its own, and says whether anybody still reads.
    pub(crate) fn line<T: Serialize>(
        &self,
        document: &T,
        human: impl FnOnce(&T) -> String,
    ) -> bool {
        let text = match self.json {
            true => {
                let json = serde_json::to_string(document);
                json.expect("documents have string keys only") + "\n"
            }
            false => human(document),
        };
        let mut stdout = anstream::stdout();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
    }

    /// Shows a file's content as it is, for people and programs alike.
    pub(crate) fn content(&self, text: &str) {
        let _ = anstream::stdout().write_all(text.as_bytes());
    }

    /// Says something in passing, to people only.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// Says what became of runs that had been killed.
    pub(crate) fn recovered(&self, runs: &[RecoveredRun]) {
        for run in runs {
            self.recovered_run(&run.by, &run.started_at, run.step.as_deref().zip(run.found));
        }
    }

    /// Says what became of one run that had been killed.
    pub(crate) fn recovered_run(&self, by: &str, began: &str, step: Option<(&str, &str)>) {
        let fate = match step {
            Some((step, "took_effect")) => format!("{step} had taken effect"),
            Some((step, "partial")) => {
                format!("{step} is half done; the same command continues it")
            }
            Some((step, _)) => format!("{step} had left nothing"),
            None => "it was between two steps".to_owned(),
        };
        let (who, when) = (style::safe(by), style::time(began));
        self.say(&format!(
            "{NOTE}recovered{NOTE:#} a run by {who} of {when} that was cut short: {fate}"
        ));
    }

    /// Shows why a command did not begin, and returns its exit code.
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        let document = FailureDocument::from(failure);
        let text = if self.json { to_json(&document) } else { describe(&document) };
        let _ = anstream::stderr().write_all(text.as_bytes());
        ExitCode::of_failure(failure)
    }

    /// Shows an error of the surroundings.
    pub(crate) fn unexpected(&self, what: &str, error: &std::io::Error) -> crate::ExitCodeOnly {
        let _ = writeln!(anstream::stderr(), "{ERROR}error{ERROR:#}: {what}: {error}");
        ExitCode::Unexpected.into()
    }
}

/// Shows why the command line cannot be understood; `--help` and `--version` are answers instead.
pub(crate) fn usage(error: &clap::Error) -> crate::ExitCodeOnly {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::Success.into();
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let what = text.split("\n\n").next().unwrap_or_default();
        let document = FailureDocument {
            format: "annals.error/1",
            errors: vec![what.trim_start_matches("error: ").to_owned()],
            causes: Vec::new(),
            hint: Some("see what the command takes with --help".to_owned()),
            exit_code: ExitCode::Usage.code(),
        };
        let _ = anstream::stderr().write_all(to_json(&document).as_bytes());
    } else {
        let _ = error.print();
    }
    ExitCode::Usage.into()
}

/// A document as it is printed and written.
pub(crate) fn to_json<T: Serialize>(document: &T) -> String {
    let mut text = serde_json::to_string_pretty(document).expect("documents have string keys only");
    text.push('\n');
    text
}

fn describe(document: &FailureDocument) -> String {
    let mut text = String::new();
    for error in &document.errors {
        text.push_str(&format!("{ERROR}error{ERROR:#}: {}\n", style::safe(error)));
    }
    for cause in &document.causes {
        text.push_str(&format!("  because: {}\n", style::safe(cause)));
    }
    if let Some(hint) = &document.hint {
        text.push_str(&format!("{HINT}next{HINT:#}: {}\n", style::safe(hint)));
    }
    text
}
