//! `annals migrate`.

use std::path::PathBuf;

use annals_api::{ChangeDocument, ExitCode, StepFailure};
use annals_events::Direction;
use annals_operations::{
    ChangeOptions, ChangeOutcome, Environment, Failure, carry_out_plan, migrate, plan,
};

use super::plan::{GoalArguments, show};
use super::progress::Lines;
use super::render;
use super::target::{AuthorityArguments, ChangeArguments};
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

    /// Carry out exactly this plan, as annals plan --out wrote it, or refuse
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "allow_out_of_order", "single_transaction", "dry_run"])]
    plan: Option<PathBuf>,

    #[command(flatten)]
    authority: AuthorityArguments,

    /// Print the SQL in order and touch nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: Arguments,
) -> Result<ExitCode, Failure> {
    let authority = arguments.authority.authority(arguments.plan.as_ref());
    let options = ChangeOptions { authority, ..arguments.change.options() };
    let goal = arguments.goal.goal();
    if arguments.dry_run {
        return Ok(show(output, &plan(environment, goal, &options).await?, true));
    }
    let mut interrupt = signals::listen();
    let mut lines = Lines::new(output);
    let outcome = match arguments.plan {
        Some(_) => {
            let (way, lines) = (Direction::Up, &mut lines);
            carry_out_plan(environment, way, &options, lines, &mut interrupt).await?
        }
        None => migrate(environment, goal, &options, &mut lines, &mut interrupt).await?,
    };
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
