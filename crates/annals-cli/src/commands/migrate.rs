//! `annals migrate`.

use annals_api::{ChangeDocument, ExitCode, StepFailure};
use annals_operations::{ChangeOutcome, Environment, Failure, migrate, plan};

use super::plan::{GoalArguments, show};
use super::progress::Lines;
use super::render;
use super::target::ChangeArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT};

/// Apply what is pending, each migration once, however often this is run and wherever it is killed
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    change: ChangeArguments,

    #[command(flatten)]
    goal: GoalArguments,

    /// Print the SQL in order and touch nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: Arguments,
) -> Result<ExitCode, Failure> {
    let (goal, options) = (arguments.goal.goal(), arguments.change.options());
    if arguments.dry_run {
        return Ok(show(output, &plan(environment, goal, &options).await?, true));
    }
    let mut interrupt = signals::listen();
    let mut lines = Lines::new(output);
    let outcome = migrate(environment, goal, &options, &mut lines, &mut interrupt).await?;
    Ok(finish(output, &outcome))
}

/// Shows how a run ended and returns its exit code.
pub(crate) fn finish(output: &Output, outcome: &ChangeOutcome) -> ExitCode {
    let document = ChangeDocument::from(outcome);
    output.show(&document, human);
    let failure = document.run.as_ref().and_then(|run| run.failure.as_ref());
    if let Some(failure) = failure {
        output.say(&describe(failure));
    }
    ExitCode::of_change(outcome)
}

fn human(document: &ChangeDocument) -> String {
    let notes = render::notes(&document.notes);
    let Some(run) = &document.run else {
        return format!("{notes}{GOOD}✓{GOOD:#} nothing to do on {}\n", document.target);
    };
    let done = style::count(run.steps_done, "step");
    let log = match document.signed {
        Some(signed) => format!("log signed at {signed} events"),
        None => format!("log has {} events, not signed yet", document.log_size),
    };
    let look = if run.outcome == "succeeded" { GOOD } else { BAD };
    let mark = if run.outcome == "succeeded" { "✓" } else { "✗" };
    let anchors: String = document.anchors.iter().map(render::anchor).collect();
    let anchors = anchors + &render::unanchored(document.unanchored_from, document.log_size);
    format!(
        "{notes}{look}{mark}{look:#} run {} on {}: {}, {done} of {} {FAINT}· \
         {log}{FAINT:#}\n{anchors}",
        &run.run[run.run.len() - 8..],
        document.target,
        run.outcome.replace('_', " "),
        document.steps.len()
    )
}

fn describe(failure: &StepFailure) -> String {
    let mut place = failure.file.clone();
    if let Some(line) = failure.line {
        place.push_str(&format!(":{line}"));
    }
    let code = failure.code.as_ref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
    format!(
        "{BAD}error{BAD:#}: {place}: {}{code}\n{HINT}next{HINT:#}: {}",
        style::safe(&failure.message),
        style::safe(&failure.hint)
    )
}
