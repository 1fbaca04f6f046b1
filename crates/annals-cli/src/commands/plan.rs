//! `annals plan`.

use annals_api::{ExitCode, PlanDocument};
use annals_events::Version;
use annals_operations::{Environment, Failure, PlanPreview, UpGoal, plan};

use super::render;
use super::target::ChangeArguments;
use crate::output::Output;

/// Show what migrate would do: the steps, their statements, and what the safety rules say
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    change: ChangeArguments,

    #[command(flatten)]
    goal: GoalArguments,

    /// Print the whole SQL instead of the beginning of each statement
    #[arg(long)]
    sql: bool,
}

/// How far to migrate.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GoalArguments {
    /// Up to and including this version
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,

    /// Apply this version although later ones are applied (may be repeated)
    #[arg(long, value_name = "VERSION")]
    allow_out_of_order: Vec<Version>,
}

impl GoalArguments {
    /// As an operation takes it.
    pub(crate) fn goal(self) -> UpGoal {
        UpGoal { to: self.to, out_of_order: self.allow_out_of_order }
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: Arguments,
) -> Result<ExitCode, Failure> {
    let preview = plan(environment, arguments.goal.goal(), &arguments.change.options()).await?;
    Ok(show(output, &preview, arguments.sql))
}

/// Shows a plan that is not carried out; with the whole SQL, or the beginning of each statement.
pub(crate) fn show(output: &Output, preview: &PlanPreview, sql: bool) -> ExitCode {
    output.show(&PlanDocument::from(preview), |document| render::plan(document, sql));
    ExitCode::Success
}
