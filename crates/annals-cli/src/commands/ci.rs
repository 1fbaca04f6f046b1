//! `annals ci`.

use std::path::{Path, PathBuf};

use annals_api::{CiCommentDocument, CiDocument, ExitCode};
use annals_operations::pipeline::{self, Finding, MARKER, Report, Severity, Tried, Verb};
use annals_operations::{
    CiTestOptions, CiValidateOptions, Environment, Failure, ci_folder, ci_test, ci_validate,
};

use super::proof::Bar;
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// What a pipeline asks before a change is merged
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Look at the files as a reviewer would: names, SQL, secrets, order, what is applied already
    ///
    /// No server is asked. Exit code 11 says that something must not be merged.
    Validate {
        /// The branch the change goes to, such as origin/main: its files are applied somewhere, and
        /// what is new must come behind them
        #[arg(long, value_name = "REF")]
        against: Option<String>,

        #[command(flatten)]
        form: FormArguments,
    },
    /// Try all migrations from nothing on a private server, each with its way back
    ///
    /// Locks, rewrites and durations are noted, and compared with what was recorded last. Exit code 11
    /// says that something must not be merged.
    Test {
        #[command(flatten)]
        target: TargetArguments,

        /// Judge every migration, not only those that are not applied
        #[arg(long)]
        all: bool,

        /// Record the proofs in the target's log
        #[arg(long)]
        record: bool,

        #[command(flatten)]
        form: FormArguments,
    },
    /// Write the comment of a pull request, in Markdown, from what validate and test have written
    Comment {
        /// What annals ci validate --format json has written
        #[arg(long, value_name = "FILE")]
        validate: Option<PathBuf>,

        /// What annals ci test --format json has written
        #[arg(long, value_name = "FILE", required_unless_present = "validate")]
        test: Option<PathBuf>,

        /// Write it to a file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// How findings are written.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FormArguments {
    /// The form of the findings; --json is short for json
    #[arg(long, value_enum, default_value_t = Form::Human)]
    format: Form,

    /// Write them to a file; people are told in short
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Let warnings count
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people
    Human,
    /// A JSON document
    Json,
    /// SARIF 2.1.0, as code scanning reads it
    Sarif,
    /// Annotations of a GitHub workflow
    Github,
    /// A `JUnit` report
    Junit,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    command: Command,
) -> Result<ExitCode, Failure> {
    match command {
        Command::Validate { against, form } => {
            let report = ci_validate(environment, &CiValidateOptions { against }).await?;
            show(environment, output, report, &form)
        }
        Command::Test { target, all, record, form } => {
            let mut interrupt = signals::listen();
            let target = target.name().map(str::to_owned);
            let options = CiTestOptions { target, all, record };
            let report = {
                let mut bar = Bar(output);
                ci_test(environment, &options, &mut bar, &mut interrupt).await?
            };
            show(environment, output, report, &form)
        }
        Command::Comment { validate, test, out } => {
            let mut documents = Vec::new();
            for (path, format) in [(validate, "annals.ci_validate/1"), (test, "annals.ci_test/1")] {
                if let Some(path) = path {
                    documents.push(read(&path, format)?);
                }
            }
            comment(output, documents, out.as_deref())
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|source| Failure::Write { path: path.to_owned(), source })
}

fn show(
    environment: &Environment,
    output: &Output,
    report: Report,
    form: &FormArguments,
) -> Result<ExitCode, Failure> {
    let document = CiDocument::new(report, form.strict);
    let report = &document.report;
    let json = || {
        let text = serde_json::to_string_pretty(&document);
        text.expect("documents have string keys only") + "\n"
    };
    let form_of = if output.is_json() { Form::Json } else { form.format };
    // Who reads these knows the repository, and nothing of a workspace in it.
    let from_the_top = || -> Result<Report, Failure> {
        Ok(report.clone().seen_from_the_top(&ci_folder(environment)?))
    };
    let text = match form_of {
        Form::Human => None,
        Form::Json => Some(json()),
        Form::Sarif => Some(pipeline::sarif(&from_the_top()?, env!("CARGO_PKG_VERSION"))),
        Form::Github => Some(pipeline::github(&from_the_top()?)),
        Form::Junit => Some(pipeline::junit(&from_the_top()?)),
    };
    match (text, &form.out) {
        (None, None) => output.content(&human(&document)),
        (Some(text), None) => output.content(&text),
        (text, Some(path)) => {
            write(path, &text.unwrap_or_else(|| plain(&human(&document))))?;
            output.say(human(&document).trim_end());
        }
    }
    Ok(ExitCode::of_number(document.exit_code))
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn read(path: &Path, format: &str) -> Result<CiDocument, Failure> {
    let refused =
        |reason: String| Failure::Argument { subject: path.display().to_string(), reason };
    let text = std::fs::read(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let document: CiDocument = serde_json::from_slice(&text).map_err(|error| {
        refused(format!("is not what annals ci writes with --format json: {error}"))
    })?;
    if document.format != format {
        return Err(refused(format!("is {:?}, not {format:?}", document.format)));
    }
    Ok(document)
}

fn comment(
    output: &Output,
    documents: Vec<CiDocument>,
    out: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let passed = documents.iter().all(|document| document.passed);
    let strict = documents.iter().any(|document| document.strict);
    let reports: Vec<Report> = documents.into_iter().map(|document| document.report).collect();
    let text = pipeline::comment(&reports, strict);
    if let Some(path) = out {
        write(path, &text)?;
    }
    let document =
        CiCommentDocument { format: "annals.ci_comment/1", passed, marker: MARKER, text };
    output.show(&document, |document| match out {
        Some(path) => format!("written: {}\n", style::safe(&path.display().to_string())),
        None => document.text.clone(),
    });
    Ok(ExitCode::Success)
}

fn human(document: &CiDocument) -> String {
    let report = &document.report;
    let mut text = String::new();
    if !report.migrations.is_empty() {
        text.push_str(&table(&report.migrations));
        text.push('\n');
    }
    for finding in &report.findings {
        text.push_str(&told(finding));
    }
    for note in &report.notes {
        text.push_str(&format!("{NOTE}note{NOTE:#}: {}\n", style::safe(note)));
    }
    let sign = match document.passed {
        true => format!("{GOOD}✓{GOOD:#}"),
        false => format!("{BAD}✗{BAD:#}"),
    };
    let n = |n: u64, noun| style::count(usize::try_from(n).unwrap_or(usize::MAX), noun);
    let what = match report.verb {
        Verb::Validate => {
            let against =
                report.against.as_deref().map(|name| format!(" against {}", style::safe(name)));
            n(report.files.len() as u64, "file") + &against.unwrap_or_default()
        }
        Verb::Test => {
            let server = report.server_version.as_deref().unwrap_or_default();
            let tried = n(report.migrations.len() as u64, "migration");
            format!("{tried} on PostgreSQL {}", style::safe(server))
        }
    };
    text.push_str(&format!(
        "{sign} {STRONG}{}{STRONG:#}: {what}: {}, {}, {} {FAINT}· {}{FAINT:#}\n",
        style::safe(&report.workspace),
        n(document.errors, "error"),
        n(document.warnings, "warning"),
        n(document.notes_found, "note"),
        style::duration(report.us),
    ));
    text
}

fn told(finding: &Finding) -> String {
    let look = match finding.severity {
        Severity::Error => BAD,
        Severity::Warning => NOTE,
        Severity::Note => FAINT,
    };
    let mut place = finding.place.file.as_deref().map(style::safe).unwrap_or_default();
    for number in [finding.place.line, finding.place.column].into_iter().flatten() {
        place.push_str(&format!(":{number}"));
    }
    if !place.is_empty() {
        place.push_str(": ");
    }
    let mut text = format!(
        "{look}{}{look:#} {place}{} {FAINT}[{}]{FAINT:#}\n",
        finding.severity.as_str(),
        style::safe(&finding.message),
        finding.rule
    );
    match &finding.allowed {
        Some(reason) => {
            text.push_str(&format!("  {FAINT}allowed: {}{FAINT:#}\n", style::safe(reason)));
        }
        None if finding.severity > Severity::Note => {
            text.push_str(&format!("  {HINT}next{HINT:#}: {}\n", style::safe(&finding.remedy)));
        }
        None => {}
    }
    text
}

fn table(migrations: &[Tried]) -> String {
    let compared = |now: u64, earlier: Option<u64>| match earlier {
        Some(earlier) => format!("{} (was {})", style::duration(now), style::duration(earlier)),
        None => style::duration(now),
    };
    let row = |migration: &Tried| {
        [
            style::safe(&migration.id),
            migration.verdict.replace('_', " "),
            migration.lock.as_ref().map_or_else(|| "–".to_owned(), |lock| lock.to_lowercase()),
            match migration.rewrites.is_empty() {
                true => "–".to_owned(),
                false => style::safe(&migration.rewrites.join(", ")),
            },
            compared(migration.up_us, migration.earlier_up_us),
            compared(migration.down_us, migration.earlier_down_us),
        ]
    };
    let head = ["migration", "rollback", "lock", "rewrites", "up", "down"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(migrations.iter().map(row)).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        match n {
            0 => text.push_str(&format!("  {FAINT}{line}{FAINT:#}\n")),
            _ => text.push_str(&format!("  {line}\n")),
        }
    }
    text
}
