//! `annals explain`.

use annals_api::{ExitCode, ExplainDocument, ExplainedEvent};
use annals_operations::{Environment, Failure, Reading, explain};
use clap::ValueEnum;

use super::render;
use super::source::SourceArguments;
use crate::output::Output;
use crate::style::{self, FAINT, STRONG};

/// Tell everything the log says of a migration, a run or an event, with its evidence
///
/// Needs the log alone; the database may be gone. The evidence are hashes of lines, files and plans,
/// the place of a step's announcement that the target's ledger repeats, its transaction, its error,
/// and what a step in doubt was settled from.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A version, a run (its id, or the last eight digits of it), or the place of an event
    #[arg(value_name = "VERSION|RUN|SEQ")]
    subject: String,

    /// What that is, where it can be more than one
    #[arg(long = "as", value_name = "KIND", value_enum)]
    kind: Option<Kind>,

    #[command(flatten)]
    source: SourceArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Version,
    Run,
    Seq,
}

impl From<Kind> for Reading {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Version => Self::Version,
            Kind::Run => Self::Run,
            Kind::Seq => Self::Seq,
        }
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let (source, reading) = (arguments.source.source(), arguments.kind.map(Reading::from));
    let view = explain(environment, &source, &arguments.subject, reading).await?;
    let document = ExplainDocument::new(&arguments.subject, &view);
    output.show(&document, human);
    for other in &document.also {
        let (subject, thing) = (style::safe(&document.subject), thing(other));
        output
            .say(&format!("there is {thing} {subject} too: annals explain {subject} --as {other}"));
    }
    if !document.verified {
        output.say(render::UNVERIFIED);
    }
    Ok(ExitCode::Success)
}

fn thing(reading: &str) -> &'static str {
    match reading {
        "version" => "a migration",
        "run" => "a run",
        _ => "an event",
    }
}

fn event(explained: &ExplainedEvent) -> String {
    let mut text = render::event(&explained.event);
    let mut fact = |name: &str, value: &str| {
        let value = style::safe(value);
        text.push_str(&format!("         {FAINT}{name:<27}{FAINT:#}{value}\n"));
    };
    fact("leaf", &explained.leaf);
    for (name, value) in &explained.evidence {
        fact(name, value);
    }
    text
}

fn human(document: &ExplainDocument) -> String {
    let mut text = format!(
        "{STRONG}{} {}{STRONG:#}: {} of {}  {FAINT}trust: {}{FAINT:#}\n",
        document.read_as,
        style::safe(&document.subject),
        style::count(document.events.len(), "event"),
        document.origin,
        document.trust
    );
    text.extend(document.events.iter().map(event));
    text
}
