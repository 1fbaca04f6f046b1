//! `annals proof`.

use annals_api::{ExitCode, RehearsalDocument, RehearsedStep};
use annals_events::Version;
use annals_migrations::Migration;
use annals_operations::rehearsal::{Audience, Batch, FileFailure, LostRows, ObjectDifference};
use annals_operations::{Environment, Failure, ProofFrom, ProofOf, ProofOptions, proof};

use super::render;
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Rehearse migrations on a private PostgreSQL: up, down, up, and compare what is left
///
/// The sandbox has the target's major version and settings, and is built from the files. The whole
/// catalog is compared, sample rows are followed, and locks, rewrites and durations are noted. The
/// verdicts are recorded in the target's log, bound to both files. The target itself is only read.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,

    /// These versions
    #[arg(value_name = "VERSION", conflicts_with_all = ["all", "pending"])]
    versions: Vec<Version>,

    /// What is not applied (the default)
    #[arg(long, conflicts_with = "all")]
    pending: bool,

    /// Every migration, from an empty database on
    #[arg(long)]
    all: bool,

    /// Begin with a copy of the target's schema as it is now, instead of applying every file to an
    /// empty database
    #[arg(long, value_name = "empty|target", value_parser = from, default_value = "empty", hide_default_value = true)]
    from: ProofFrom,

    /// Prove so many together; `auto`: where one does not lead back alone, look for the smallest
    /// group of neighbours that does
    #[arg(long, value_name = "N|auto", value_parser = batch)]
    batch: Option<Batch>,

    /// Rehearse in so many databases side by side; as many as there are processors, up to 4, where there is
    /// enough to do. It is one where a file may change what databases share, such as roles
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: Option<u8>,

    /// Compute only: record nothing
    #[arg(long)]
    no_record: bool,
}

fn from(text: &str) -> Result<ProofFrom, String> {
    match text {
        "empty" => Ok(ProofFrom::Empty),
        "target" => Ok(ProofFrom::Target),
        _ => Err("is empty or target".to_owned()),
    }
}

fn batch(text: &str) -> Result<Batch, String> {
    match (text, text.parse::<usize>()) {
        ("auto", _) => Ok(Batch::Auto),
        (_, Ok(size)) if size > 0 => Ok(Batch::Of(size)),
        _ => Err("is a number from 1 on, or auto".to_owned()),
    }
}

/// Shows how far it is.
pub(crate) struct Bar<'a>(pub(crate) &'a Output);

impl Audience for Bar<'_> {
    fn next(&mut self, migration: &Migration, at: usize, of: usize) {
        let text = format!("rehearsing {}", migration.id());
        self.0.screen().bar(&text, Some((at as u64, of as u64)));
    }

    fn chain(&mut self, of: usize) {
        self.0.screen().bar(&format!("going down all {of}, newest first"), None);
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.0.screen().clear();
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: Arguments,
) -> Result<ExitCode, Failure> {
    let mut interrupt = signals::listen();
    let of = match arguments {
        Arguments { all: true, .. } => ProofOf::All,
        Arguments { ref versions, .. } if !versions.is_empty() => {
            ProofOf::Versions(versions.clone())
        }
        _ => ProofOf::Pending,
    };
    let options = ProofOptions {
        target: arguments.target.name().map(str::to_owned),
        of,
        batch: arguments.batch.unwrap_or_default(),
        no_record: arguments.no_record,
        from: arguments.from,
        jobs: arguments.jobs.map(usize::from),
    };
    let view = {
        let mut bar = Bar(output);
        proof(environment, &options, &mut bar, &mut interrupt).await?
    };
    let document = RehearsalDocument::from(&view);
    output.show(&document, human);
    Ok(ExitCode::of_number(document.exit_code))
}

const HEAD: [&str; 8] = ["migration", "verdict", "chain", "lock", "rewrites", "up", "down", "lost"];

fn dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "–".to_owned())
}

fn word(verdict: &str) -> String {
    verdict.replace('_', " ")
}

fn cells(step: &RehearsedStep) -> [String; 8] {
    let group = match step.report.group.len() {
        0 | 1 => String::new(),
        size => format!(" in {size}"),
    };
    let lost = (step.lost_rows > 0).then(|| style::count(as_count(step.lost_rows), "row"));
    [
        style::safe(&format!("{}_{}", step.version, step.name)),
        word(step.verdict) + &group,
        dash(step.chain.map(word)),
        dash(step.strongest_lock.map(str::to_lowercase)),
        dash(Some(style::safe(&step.rewrites.join(", ")))),
        style::duration(step.up_us),
        dash(step.report.rollback.as_ref().map(|_| style::duration(step.down_us))),
        dash(lost),
    ]
}

fn as_count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn human(document: &RehearsalDocument) -> String {
    let mut text = render::notes(&document.notes);
    if document.steps.is_empty() && document.not_reached.is_empty() {
        return text + &format!("nothing to prove on {}\n", document.target);
    }
    text.push_str(&table(document));
    for step in &document.steps {
        text.push_str(&details(step));
    }
    for step in &document.not_reached {
        let id = style::safe(&format!("{}_{}", step.version, step.name));
        text.push_str(&format!("{NOTE}not reached{NOTE:#}: {id}\n"));
    }
    let accepted = document.steps.iter().filter(|step| step.accepted).count();
    let (look, mark) = if document.exit_code == 0 { (GOOD, "✓") } else { (BAD, "✗") };
    let recorded = match as_count(document.recorded) {
        0 => "nothing recorded".to_owned(),
        count => format!("{} recorded", style::count(count, "proof")),
    };
    text.push_str(&format!(
        "\n{look}{mark} {}: {accepted} of {} accepted{look:#} {FAINT}· PostgreSQL {}, {}{}, \
         {recorded}{FAINT:#}\n",
        document.target,
        document.steps.len() + document.not_reached.len(),
        document.server_version,
        style::duration(document.us),
        match document.lanes {
            1 => String::new(),
            lanes => format!(" in {lanes} databases"),
        }
    ));
    if document.exit_code != 0 {
        text.push_str(&format!(
            "{HINT}next{HINT:#}: correct the rollback, or say in the file why there is no way back: -- \
             annals: irreversible=\"…\"\n"
        ));
    }
    text
}

fn table(document: &RehearsalDocument) -> String {
    let rows: Vec<[String; 8]> = document.steps.iter().map(cells).collect();
    let width = |at: usize| {
        let widths = rows.iter().map(|row| row[at].chars().count());
        widths.max().unwrap_or(0).max(HEAD[at].len()).min(60)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>()
    };
    let head: Vec<String> = HEAD.iter().map(|word| (*word).to_owned()).collect();
    let mut text = format!("  {FAINT}{}{FAINT:#}\n", line(&head).join("  ").trim_end());
    for (row, step) in rows.iter().zip(&document.steps) {
        let mut cells = line(row);
        let look = match (step.accepted, step.verdict) {
            (true, "exact") => GOOD,
            (true, _) => NOTE,
            (false, _) => BAD,
        };
        cells[1] = format!("{look}{}{look:#}", cells[1]);
        text.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
    }
    text
}

/// What a table has no room for.
fn details(step: &RehearsedStep) -> String {
    let report = &step.report;
    let mut text = String::new();
    if let Some(reason) = &report.irreversible {
        text.push_str(&format!("  no way back: {}\n", style::safe(reason)));
    }
    text.push_str(&failure(report.failure.as_ref()));
    text.push_str(&differences("the rollback leaves", &report.differences));
    text.push_str(&differences("going up again leaves", &report.again));
    text.push_str(&differences("applied twice, it differs by itself", &report.unstable));
    if let Some(rows) = &report.rows {
        text.push_str(&lost("lost", &rows.lost));
        if step.verdict != "exact" || !rows.skipped.is_empty() {
            for skipped in &rows.skipped {
                let (table, reason) = (style::safe(&skipped.table), style::safe(&skipped.reason));
                text.push_str(&format!("  {FAINT}no sample rows in {table}: {reason}{FAINT:#}\n"));
            }
        }
        text.push_str(&lost("written behind it, would be lost", &rows.would_be_lost));
    }
    if let Some(chain) = report.chain.as_ref().filter(|_| step.chain != Some(step.verdict)) {
        text.push_str(&failure(chain.failure.as_ref()));
        text.push_str(&differences("in the chain, the rollback leaves", &chain.differences));
    }
    for note in &report.notes {
        text.push_str(&format!("  {NOTE}note{NOTE:#}: {}\n", style::safe(note)));
    }
    if text.is_empty() {
        return text;
    }
    format!("\n{STRONG}{}_{}{STRONG:#}\n{text}", step.version, style::safe(&step.name))
}

fn failure(failure: Option<&FileFailure>) -> String {
    failure.map_or_else(String::new, |failure| {
        format!("  {BAD}failed{BAD:#}: {}\n", style::safe(&failure.to_string()))
    })
}

/// The longest value of an attribute that is shown in a line.
const VALUE_CHARS: usize = 60;

fn differences(what: &str, all: &[ObjectDifference]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut text = format!("  {what}:\n");
    for found in all {
        let (kind, name) = (found.kind.replace('_', " "), style::safe(&found.name));
        let (look, mark) = match found.difference {
            "missing" => (BAD, "-"),
            "left" => (NOTE, "+"),
            _ => (NOTE, "~"),
        };
        text.push_str(&format!("    {look}{mark}{look:#} {kind} {name}\n"));
        for change in &found.changes {
            let value = |value: &Option<String>| match value {
                Some(value) => style::first_line(value, VALUE_CHARS),
                None => "nothing".to_owned(),
            };
            text.push_str(&format!(
                "        {}: {} → {}\n",
                change.attribute,
                value(&change.before),
                value(&change.after)
            ));
        }
    }
    text
}

fn lost(what: &str, all: &[LostRows]) -> String {
    let mut text = String::new();
    for table in all {
        let mut parts = Vec::new();
        if table.rows > 0 {
            parts.push(format!("{} of {}", table.rows, style::count(as_count(table.of), "row")));
        }
        for column in &table.columns {
            let values = style::count(as_count(column.values), "value");
            parts.push(format!("{values} of {}", style::safe(&column.column)));
        }
        let table = style::safe(&table.table);
        text.push_str(&format!("  {NOTE}{what}{NOTE:#}: {table}: {}\n", parts.join(", ")));
    }
    text
}
