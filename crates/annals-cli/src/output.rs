//! Data to standard output, status and errors to standard error.

use std::io::{self, Write};
use std::sync::Arc;

use annals_api::{ExitCode, FailureDocument, RecoveredRun, SettledStep};
use annals_operations::Failure;
use anstream::ColorChoice;
use anstream::adapter::strip_str;
use serde::Serialize;

use crate::screen::Screen;
use crate::style::{self, ERROR, HINT, NOTE};

/// Writes all of a text to standard output, colours only where they are seen.
///
/// Taken out while it is written, they would cut it into a write for each of its lines.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout();
    match stdout.current_choice() {
        ColorChoice::Never => {
            let mut plain = stdout.into_inner();
            plain.write_all(strip_str(text).to_string().as_bytes())?;
            plain.flush()
        }
        _ => stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()),
    }
}

/// Where and how results go.
pub(crate) struct Output {
    json: bool,
    screen: Arc<Screen>,
}

impl Output {
    pub(crate) fn new(json: bool, screen: Arc<Screen>) -> Self {
        Self { json, screen }
    }

    /// Where things are said while a command works.
    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Whether documents are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a document: as JSON, or as `human` writes it.
    pub(crate) fn show<T: Serialize>(&self, document: &T, human: impl FnOnce(&T) -> String) {
        let text = if self.json { to_json(document) } else { human(document) };
        // Nobody is left to tell when the reader of the pipe has gone.
        let _ = print(&text);
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
        print(&text).is_ok()
    }

    /// Shows a file's content as it is, for people and programs alike.
    pub(crate) fn content(&self, text: &str) {
        let _ = print(text);
    }

    /// Says something in passing, to people only.
    pub(crate) fn say(&self, text: &str) {
        self.screen.say(text);
    }

    /// Says what became of runs that had been killed.
    pub(crate) fn recovered(&self, runs: &[RecoveredRun]) {
        for run in runs {
            self.recovered_run(&run.by, &run.started_at, &run.steps);
        }
    }

    /// Says what became of one run that had been killed.
    pub(crate) fn recovered_run(&self, by: &str, began: &str, steps: &[SettledStep]) {
        let fates = steps.iter().map(|SettledStep { migration, found }| match *found {
            "took_effect" => format!("{migration} had taken effect"),
            "partial" => format!("{migration} is half done; the same command continues it"),
            _ => format!("{migration} had left nothing"),
        });
        let fate = match fates.collect::<Vec<_>>() {
            none if none.is_empty() => "it was between two steps".to_owned(),
            fates => fates.join(", "),
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
