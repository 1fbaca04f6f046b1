//! `annals state`.

use annals_api::{ExitCode, StateDocument};
use annals_operations::{Environment, Failure, Moment, parse_moment, state};

use super::render;
use super::source::SourceArguments;
use crate::output::Output;
use crate::style::{self, BAD, FAINT, GOOD, NOTE, STRONG};

/// Replay the log to a moment: what was applied, running, in doubt, verified then
///
/// Needs the log alone; the database may be gone.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,

    #[command(flatten)]
    moment: MomentArguments,
}

/// The moment to look at; now if none is given.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(crate) struct MomentArguments {
    /// After everything recorded at or before this time: 2026-01-31T16:30:00Z, or
    /// "2026-01-31 16:30" for UTC
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// After this event
    #[arg(long, value_name = "N")]
    at_seq: Option<u64>,
}

impl MomentArguments {
    /// As an operation takes it.
    pub(crate) fn moment(&self) -> Result<Moment, Failure> {
        match (&self.at, self.at_seq) {
            (Some(text), _) => parse_moment(text),
            (None, Some(seq)) => Ok(Moment::Seq(seq)),
            (None, None) => Ok(Moment::Now),
        }
    }
}

pub(crate) fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let view = state(environment, &arguments.source.source(), &arguments.moment.moment()?)?;
    let document = StateDocument::from(&view);
    output.show(&document, human);
    if !document.verified {
        output.say(render::UNVERIFIED);
    }
    Ok(ExitCode::Success)
}

fn place(document: &StateDocument) -> String {
    let Some(as_of) = &document.as_of else {
        return "before the first event: nothing was known yet\n".to_owned();
    };
    let next = match &document.next {
        Some(next) => format!("event {} followed at {}", next.seq, next.recorded_at),
        None => "nothing has followed".to_owned(),
    };
    format!(
        "{STRONG}{}{STRONG:#} after event {} of {}, recorded at {}; {next}\n",
        document.origin, as_of.seq, document.log_size, as_of.recorded_at
    )
}

fn human(document: &StateDocument) -> String {
    let mut text = place(document);
    if document.as_of.is_none() {
        return text;
    }
    let mut line = |name: &str, value: String| {
        text.push_str(&format!("  {FAINT}{name:<18}{FAINT:#}{value}\n"));
    };
    if let Some(target) = &document.target {
        let system = &target.system_identifier;
        line("database", format!("{} of system {system}", style::safe(&target.database)));
    }
    line("applied", style::count(document.applied.len(), "migration"));
    for migration in &document.applied {
        let id = format!("{}_{}", migration.version, migration.name);
        let by = style::safe(&migration.by);
        line(
            "",
            format!("{GOOD}{id}{GOOD:#}  {FAINT}{}  {by}{FAINT:#}", style::time(&migration.at)),
        );
    }
    if let Some(run) = &document.open_run {
        line(
            "run under way",
            format!("{} {} since {}", run.direction, run.run, style::time(&run.started_at)),
        );
    }
    if let Some(step) = &document.in_doubt {
        line("in doubt", format!("{NOTE}{step}{NOTE:#}"));
    }
    for step in &document.half_done {
        line("half done", format!("{NOTE}{step}{NOTE:#}"));
    }
    if let Some(run) = &document.last_run {
        let outcome = run.outcome.unwrap_or_default();
        let look = if outcome == "succeeded" { GOOD } else { BAD };
        let reason = run.reason.as_deref().map(|reason| format!(": {}", style::safe(reason)));
        let when = run.finished_at.as_deref().map(style::time).unwrap_or_default();
        let reason = reason.unwrap_or_default();
        line("last run", format!("{look}{outcome}{look:#} {} at {when}{reason}", run.direction));
    }
    if let Some(checked) = &document.last_integrity {
        let look = if checked.result == "passed" { GOOD } else { BAD };
        line(
            "last verification",
            format!("{look}{}{look:#} at {}", checked.result, style::time(&checked.at)),
        );
    }
    if let Some(version) = &document.last_known_good {
        line("last known good", version.clone());
    }
    if let Some(fingerprint) = &document.schema_fingerprint {
        line("schema", format!("{}…", &fingerprint[..16]));
    }
    text
}
