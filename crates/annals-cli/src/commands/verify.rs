//! `annals verify`.

use std::time::{Duration, Instant};

use annals_api::{ExitCode, VerifyDocument};
use annals_events::CheckLevel;
use annals_migrations::parse_duration_ms;
use annals_operations::{
    CheckFamily, CheckProgress, Environment, Failure, IntegrityOptions, verify,
};

use super::render;
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, NOTE};

/// Connections for all data, unless more or fewer are asked for.
const MAX_JOBS: usize = 4;

/// Without a terminal, one line in so much time says how far it is.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// So many things that were not checked are shown; of the rest the number is said.
const SHOWN: usize = 20;

/// Check that ledger, log and files agree, that the schema is what the last run left, and that the
/// database keeps what it promises
///
/// The result is recorded. What could not be checked is said to be not checked, never passed. Nothing
/// takes a lock stronger than that of a query. The exit code is 0 when there are at most warnings.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,

    /// Look at the catalog only
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// Read all data: every row against what it is held to, contents, files (amcheck)
    #[arg(long)]
    full: bool,

    /// Only these families: history, table_structure, data_consistency, constraints, indexes,
    /// permissions
    #[arg(long, value_name = "FAMILY", value_delimiter = ',', value_parser = family)]
    only: Vec<CheckFamily>,

    /// Longest time for the checks of the database, such as 90s or 1h [default: 60s, with --full
    /// 10min]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time_budget: Option<Duration>,

    /// Connections at a time with --full [default: as many as there are processors, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,

    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
}

fn family(word: &str) -> Result<CheckFamily, String> {
    CheckFamily::parse(word).ok_or_else(|| {
        let words = CheckFamily::ALL.map(CheckFamily::as_str);
        format!("the families are {}", words.join(", "))
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration_ms(text) {
        Some(ms @ 1..) => Ok(Duration::from_millis(ms)),
        _ => Err("is a duration like 500ms, 90s, 5min or 1h".to_owned()),
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let options = IntegrityOptions {
        level: match (arguments.quick, arguments.full) {
            (true, _) => CheckLevel::Quick,
            (false, true) => CheckLevel::Full,
            (false, false) => CheckLevel::Standard,
        },
        only: arguments.only.clone(),
        time_budget: arguments.time_budget,
        jobs: arguments.jobs.map_or(processors.min(MAX_JOBS), usize::from),
        strict: arguments.strict,
    };
    let mut interrupt = signals::listen();
    let mut follows = Follows { output, said: Instant::now() };
    let name = arguments.target.name();
    let view = verify(environment, name, &options, &mut follows, &mut interrupt).await;
    drop(follows);
    let document = VerifyDocument::from(&view?);
    output.recovered(&document.recovered);
    output.show(&document, human);
    Ok(ExitCode::of_number(document.exit_code))
}

/// Follows the checks of rows: a bar on a terminal, else a line now and then.
struct Follows<'a> {
    output: &'a Output,
    said: Instant,
}

impl CheckProgress for Follows<'_> {
    fn advanced(&mut self, done: usize, total: usize, what: &str) {
        let part = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let screen = self.output.screen();
        screen.bar(&format!("{done}/{total} {what}"), Some((part(done), part(total))));
        if !screen.has_bar() && self.said.elapsed() >= BETWEEN_LINES {
            self.said = Instant::now();
            let what = style::safe(what);
            self.output.say(&format!("  {FAINT}… checked {done} of {total}: {what}{FAINT:#}"));
        }
    }
}

impl Drop for Follows<'_> {
    fn drop(&mut self) {
        self.output.screen().clear();
    }
}

fn human(document: &VerifyDocument) -> String {
    let mut text = String::new();
    for (family, verdict) in &document.checks {
        let (look, mark) = match *verdict {
            "passed" => (GOOD, "✓"),
            "failed" => (BAD, "✗"),
            _ => (FAINT, "–"),
        };
        let words = (family.replace('_', " "), verdict.replace('_', " "));
        text.push_str(&format!("  {look}{mark} {:<18}{}{look:#}\n", words.0, words.1));
    }
    text.push('\n');
    let is_known = document.findings.iter().any(|finding| finding.id.starts_with("schema."));
    let is_compared = document.checks.get("table_structure") != Some(&"not_checked");
    if document.applied == 0 && !is_compared && !is_known {
        text.push_str(&format!(
            "{NOTE}note{NOTE:#}: no run has changed this target yet, so there is no schema to compare with\n"
        ));
    }
    text.push_str(&render::findings(&document.findings));
    for missed in document.not_checked.iter().take(SHOWN) {
        text.push_str(&format!(
            "{NOTE}not checked{NOTE:#} {} [{}]\n    {}\n",
            style::safe(&missed.subject),
            missed.id,
            style::safe(&missed.reason)
        ));
    }
    if document.not_checked.len() > SHOWN {
        let more = document.not_checked.len() - SHOWN;
        text.push_str(&format!("  {FAINT}… and {more} more (--json has all of them){FAINT:#}\n"));
    }
    let (look, mark) = if document.result == "failed" { (BAD, "✗") } else { (GOOD, "✓") };
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let read = match document.tables_read {
        0 => String::new(),
        tables => format!(
            ", {} in {} read",
            style::count(number(document.rows_read), "row"),
            style::count(number(tables), "table")
        ),
    };
    text.push_str(&format!(
        "{look}{mark} {}: {}{look:#} {FAINT}· {}: {} applied, {} in the schema, {} in the log{read}{FAINT:#}\n",
        document.target,
        document.result,
        document.level,
        style::count(document.applied, "migration"),
        style::count(document.objects, "object"),
        style::count(number(document.log_size), "event")
    ));
    text
}
