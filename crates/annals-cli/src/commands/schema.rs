//! `annals schema`.

use std::path::PathBuf;

use annals_api::{
    ExitCode, FingerprintDocument, ObjectDifference, PictureDocument, SchemaDiffDocument,
    SchemaDocument,
};
use annals_events::Version;
use annals_operations::{
    Environment, Failure, LogMoment, Moment, SchemaSource, parse_schema_source, schema_diff,
    schema_show,
};

use super::render;
use super::source::SourceArguments;
use super::state::chosen;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, NOTE};

/// The schema as a value: of the live target, a moment of the log, a file, or all migrations
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the schema as DDL, in an order a person reads; --json is a file that --file reads
    Show(Arguments),
    /// Print its fingerprint: one SHA-256 over all objects, with the server's major version
    Fingerprint(Arguments),
    /// Compare two schemas, object by object and attribute by attribute
    ///
    /// A schema is one of live, expected (as the log has it last), version:003 (as it was behind that
    /// migration), time:2026-01-31T16:30:00Z, seq:17, checkpoint:FILE, file:FILE and migrations (a
    /// fresh server with all of them applied).
    Diff {
        #[command(flatten)]
        log: SourceArguments,

        /// The first schema
        #[arg(default_value = "expected")]
        from: String,

        /// The second one
        #[arg(default_value = "live")]
        to: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    log: SourceArguments,

    #[command(flatten)]
    schema: ChosenSchema,
}

/// Which schema; that of the live target if none is named.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct ChosenSchema {
    /// As the log had it at this time: 2026-01-31T16:30:00Z, or "2026-01-31 16:30" for UTC
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// As the log had it after this event
    #[arg(long, value_name = "N")]
    at_seq: Option<u64>,

    /// As the log had it after the events this signed checkpoint, kept elsewhere, vouches for
    #[arg(long, value_name = "FILE")]
    at_checkpoint: Option<PathBuf>,

    /// As it was behind the migration of this version
    #[arg(long, value_name = "VERSION")]
    at_version: Option<Version>,

    /// As the log expects it now
    #[arg(long)]
    expected: bool,

    /// In a file that annals schema show --json has written
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Of a fresh server with all migrations of the workspace applied
    #[arg(long)]
    migrations: bool,
}

impl Arguments {
    fn source(&self) -> Result<SchemaSource, Failure> {
        let schema = &self.schema;
        if let Some(path) = &schema.file {
            return Ok(SchemaSource::File(path.clone()));
        }
        if let Some(version) = &schema.at_version {
            return Ok(SchemaSource::Log(LogMoment::Version(version.clone())));
        }
        if schema.migrations {
            return Ok(SchemaSource::Migrations);
        }
        let moment = chosen(schema.at.as_deref(), schema.at_seq, schema.at_checkpoint.as_deref())?;
        Ok(match (moment, schema.expected) {
            (Moment::Now, false) => SchemaSource::Live,
            (moment, _) => SchemaSource::Log(LogMoment::At(moment)),
        })
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Failure> {
    let mut interrupt = signals::listen();
    match command {
        Command::Show(arguments) => {
            let source = arguments.source()?;
            let log = arguments.log.source();
            let view = schema_show(environment, &log, &source, &mut interrupt).await?;
            let document = SchemaDocument::from(&view);
            output.show(&document, |document| {
                format!(
                    "{FAINT}-- {}: {} objects, {}{}{FAINT:#}\n\n{}",
                    style::safe(&document.source),
                    document.objects,
                    document.fingerprint,
                    document.recorded.as_ref().map(place).unwrap_or_default(),
                    style::safe(&document.text)
                )
            });
            warn(output, document.recorded.as_ref());
            Ok(ExitCode::Success)
        }
        Command::Fingerprint(arguments) => {
            let source = arguments.source()?;
            let log = arguments.log.source();
            let view = schema_show(environment, &log, &source, &mut interrupt).await?;
            let document = FingerprintDocument::from(&view);
            output.show(&document, |document| format!("{}\n", document.fingerprint));
            warn(output, document.recorded.as_ref());
            Ok(ExitCode::Success)
        }
        Command::Diff { log, from, to } => {
            let (from, to) = (parse_schema_source(from)?, parse_schema_source(to)?);
            let two = (&from, &to);
            let view = schema_diff(environment, &log.source(), two, &mut interrupt).await?;
            let document = SchemaDiffDocument::from(&view);
            output.show(&document, difference);
            for recorded in [&document.from.recorded, &document.to.recorded] {
                warn(output, recorded.as_ref());
            }
            Ok(ExitCode::of_number(document.exit_code))
        }
    }
}

fn warn(output: &Output, recorded: Option<&PictureDocument>) {
    if recorded.is_some_and(|recorded| !recorded.verified) {
        output.say(render::UNVERIFIED);
    }
}

fn place(recorded: &PictureDocument) -> String {
    format!(", recorded at {} by event {}", style::time(&recorded.recorded_at), recorded.seq)
}

fn side(document: &FingerprintDocument) -> String {
    format!(
        "{} {FAINT}{}{}{FAINT:#}",
        style::safe(&document.source),
        &document.fingerprint[..17.min(document.fingerprint.len())],
        document.recorded.as_ref().map(place).unwrap_or_default()
    )
}

/// Each line of a value on a line of its own, as in any diff.
fn lines(mark: char, name: &str, value: &str) -> String {
    let look = if mark == '-' { BAD } else { GOOD };
    let value = style::safe(value);
    let mut lines = value.lines();
    let first = lines.next().unwrap_or_default();
    let mut text = format!("    {look}{mark} {name}: {first}{look:#}\n");
    for line in lines {
        text.push_str(&format!("    {look}{mark}   {line}{look:#}\n"));
    }
    text
}

fn object(object: &ObjectDifference) -> String {
    let (look, mark) = match object.what {
        "added" => (GOOD, '+'),
        "removed" => (BAD, '-'),
        _ => (NOTE, '~'),
    };
    let kind = object.kind.replace('_', " ");
    let mut text = format!("{look}{mark} {kind} {}{look:#}\n", style::safe(&object.name));
    if object.what != "changed" {
        return text;
    }
    for attribute in &object.attributes {
        let name = attribute.attribute.replace('_', " ");
        let before = attribute.before.as_deref().map(|value| lines('-', &name, value));
        let after = attribute.after.as_deref().map(|value| lines('+', &name, value));
        text.push_str(&(before.unwrap_or_default() + &after.unwrap_or_default()));
    }
    text
}

fn difference(document: &SchemaDiffDocument) -> String {
    let mut text: String = document.differences.iter().map(object).collect();
    let (look, said) = match document.sameness {
        "equal" => (GOOD, "the same schema".to_owned()),
        "column_order" => (NOTE, "the same but for the order of columns".to_owned()),
        _ => (BAD, format!("{} differ", style::count(document.differences.len(), "object"))),
    };
    let (from, to) = (side(&document.from), side(&document.to));
    text.push_str(&format!("{look}{said}{look:#}\n  from {from}\n  to   {to}\n"));
    text
}
