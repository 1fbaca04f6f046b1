//! `annals drift`.

use annals_api::{DriftAcceptedDocument, DriftDocument, ExitCode, TrackDocument};
use annals_operations::{
    DdlCommand, DriftedObject, Environment, Failure, drift, drift_accept, drift_track,
    drift_untrack, with_parts,
};

use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Compare the live schema with the one the log expects: what differs, since when, and who did it
///
/// News are recorded. A run on a target that has drifted is refused.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The same: compare, and record news
    Check {
        #[command(flatten)]
        target: TargetArguments,
    },
    /// Take the schema as it is as the expected one from now on
    Accept {
        #[command(flatten)]
        target: TargetArguments,

        /// Why; it becomes part of the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let the target write down who changes its schema: event triggers, in the schema annals
    ///
    /// Kept are role, application, address, time, command and object, never the SQL, for 90 days.
    /// Needs a superuser; on Supabase, postgres.
    Track {
        #[command(flatten)]
        target: TargetArguments,
    },
    /// Stop that, and remove what was written down
    Untrack {
        #[command(flatten)]
        target: TargetArguments,
    },
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let mut interrupt = signals::listen();
    match &arguments.command {
        None => check(environment, output, &arguments.target).await,
        Some(Command::Check { target }) => check(environment, output, target).await,
        Some(Command::Accept { target, reason }) => {
            let accepted = drift_accept(environment, target.name(), reason, &mut interrupt).await?;
            let document = DriftAcceptedDocument::from(&accepted);
            output.recovered(&document.recovered);
            output.show(&document, accepted_text);
            Ok(ExitCode::Success)
        }
        Some(Command::Track { target }) => {
            let view = drift_track(environment, target.name(), &mut interrupt).await?;
            output.show(&TrackDocument::from(&view), |document| {
                format!(
                    "{GOOD}✓{GOOD:#} {} writes down who changes its schema, in annals.ddl_log\n",
                    document.target
                )
            });
            Ok(ExitCode::Success)
        }
        Some(Command::Untrack { target }) => {
            let view = drift_untrack(environment, target.name(), &mut interrupt).await?;
            output.show(&TrackDocument::from(&view), |document| {
                format!("{GOOD}✓{GOOD:#} {} writes nothing down any more\n", document.target)
            });
            Ok(ExitCode::Success)
        }
    }
}

async fn check(
    environment: &Environment,
    output: &Output,
    target: &TargetArguments,
) -> Result<ExitCode, Failure> {
    let view = drift(environment, target.name(), &mut signals::listen()).await?;
    let document = DriftDocument::from(&view);
    output.recovered(&document.recovered);
    output.show(&document, human);
    Ok(ExitCode::of_number(document.exit_code))
}

fn command(command: &DdlCommand) -> String {
    let mut who = command.role.clone();
    if command.login != command.role {
        who.push_str(&format!(" (logged in as {})", command.login));
    }
    if !command.application.is_empty() {
        who.push_str(&format!(", application {}", command.application));
    }
    let from = command.client.as_deref().unwrap_or("a socket");
    format!("{} by {who}, from {from}, at {}", command.command, style::time(&command.at))
}

/// Values are cut where they are long: `--json` has all of them.
fn value(value: Option<&str>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| style::first_line(value, 100))
}

/// Between which two looks it came to be so.
fn interval(object: &DriftedObject) -> String {
    let seen = match object.after_what.as_str() {
        "check" => "was as expected",
        _ => "schema recorded",
    };
    let (after, until) = (style::time(&object.after), style::time(&object.until));
    format!("between {after} ({seen}) and {until}")
}

/// Every object; what is so of all of them is said once.
fn objects(objects: &[DriftedObject]) -> String {
    let told = with_parts(objects);
    let common = objects
        .first()
        .map(interval)
        .filter(|first| told.len() > 1 && objects.iter().all(|object| interval(object) == *first));
    let mut text: String =
        told.iter().map(|(known, parts)| object(known, parts, common.is_none())).collect();
    if let Some(common) = common {
        text.push_str(&format!("  {FAINT}all of it {common}{FAINT:#}\n"));
    }
    text
}

fn object(object: &DriftedObject, parts: &str, is_dated: bool) -> String {
    let (look, mark) = match object.what.as_str() {
        "added" => (GOOD, '+'),
        "removed" => (BAD, '-'),
        _ => (NOTE, '~'),
    };
    let (kind, name) = (object.kind.replace('_', " "), style::safe(&object.name));
    let mut text = format!("{look}{mark} {kind} {name}{look:#}");
    if !parts.is_empty() {
        text.push_str(&format!(" {FAINT}with {parts}{FAINT:#}"));
    }
    text.push('\n');
    for attribute in &object.attributes {
        text.push_str(&format!(
            "    {}: should be {}, is {}\n",
            attribute.attribute.replace('_', " "),
            value(attribute.before.as_deref()),
            value(attribute.after.as_deref())
        ));
    }
    if is_dated {
        text.push_str(&format!("    {FAINT}{}{FAINT:#}\n", interval(object)));
    }
    for known in &object.commands {
        text.push_str(&format!("    {STRONG}{}{STRONG:#}\n", style::safe(&command(known))));
    }
    text
}

fn human(document: &DriftDocument) -> String {
    if let Some(why) = &document.not_compared {
        return format!(
            "{NOTE}–{NOTE:#} {}: not compared: {why}\n{HINT}next{HINT:#}: the next run records it, or take \
             it as it is: annals drift accept --reason '…'\n",
            document.target
        );
    }
    if document.objects.is_empty() {
        return format!("{GOOD}✓{GOOD:#} {}: the schema is as expected\n", document.target);
    }
    let mut text = objects(&document.objects);
    text.push_str(&format!(
        "\n{BAD}✗{BAD:#} {}: {} not as expected\n",
        document.target,
        style::count(document.objects.len(), "object")
    ));
    if document.tracking == "broken" {
        text.push_str(&format!(
            "{NOTE}note{NOTE:#}: an event trigger of ours is missing or disabled, so who it was is not \
             known of everything: annals drift track\n"
        ));
    }
    text.push_str(&format!(
        "{HINT}next{HINT:#}: undo it; or take it over, recorded: annals drift accept --reason '…'\n"
    ));
    text
}

fn accepted_text(document: &DriftAcceptedDocument) -> String {
    if !document.recorded {
        return format!("{GOOD}✓{GOOD:#} {}: the schema is as expected already\n", document.target);
    }
    let objects = objects(&document.objects);
    let what = match (&document.not_compared, document.objects.len()) {
        (Some(_), _) => format!("the schema as it is, {} objects", document.count),
        (None, 0) => format!("the schema as it is, {} objects", document.count),
        (None, n) => style::count(n, "difference"),
    };
    format!(
        "{objects}{GOOD}✓{GOOD:#} {}: accepted {what} {FAINT}· {}…{FAINT:#}\n",
        document.target,
        &document.expected[..17.min(document.expected.len())]
    )
}
