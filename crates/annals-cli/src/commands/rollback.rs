//! `annals rollback`.

use annals_api::ExitCode;
use annals_events::Version;
use annals_operations::{Environment, Failure, RolledGoal, plan, rollback};

use super::migrate::finish;
use super::plan::show;
use super::progress::Lines;
use super::target::ChangeArguments;
use crate::output::Output;
use crate::signals;

/// Roll back, the last applied first; history keeps both the migration and its rollback
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

/// How far to roll back.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct GoalArguments {
    /// Until this version is the last one applied; 0 rolls back everything
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,

    /// The last so many, in the reverse of the order they were applied
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
}

impl GoalArguments {
    fn goal(self) -> RolledGoal {
        match (self.to, self.last) {
            (Some(version), _) => RolledGoal::To(version),
            (None, count) => RolledGoal::Last(count.unwrap_or(1)),
        }
    }
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
    let outcome = rollback(environment, goal, &options, &mut lines, &mut interrupt).await?;
    Ok(finish(output, &outcome))
}
