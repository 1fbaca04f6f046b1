//! `annals plan`.

use std::path::PathBuf;

use annals_api::{ExitCode, PlanDocument, PlanFileDocument};
use annals_events::Version;
use annals_operations::{Environment, Failure, PlanFile, PlanPreview, UpGoal, plan, plan_out};

use super::render;
use super::target::ChangeArguments;
use crate::output::Output;
use crate::style::{self, FAINT, GOOD, HINT, STRONG};

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

    /// Write the plan to a file, to be approved and carried out as it is
    #[arg(long, value_name = "FILE", conflicts_with = "sql")]
    out: Option<PathBuf>,
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
    if let Some(out) = &arguments.out {
        let (goal, options) = (arguments.goal.goal(), arguments.change.options());
        let file = plan_out(environment, goal, &options, out).await?;
        return Ok(written(output, &file));
    }
    let preview = plan(environment, arguments.goal.goal(), &arguments.change.options()).await?;
    Ok(show(output, &preview, arguments.sql))
}

/// Shows a plan that is not carried out; with the whole SQL, or the beginning of each statement.
pub(crate) fn show(output: &Output, preview: &PlanPreview, sql: bool) -> ExitCode {
    output.show(&PlanDocument::from(preview), |document| render::plan(document, sql));
    ExitCode::Success
}

/// Shows that a plan was written down.
pub(crate) fn written(output: &Output, file: &PlanFile) -> ExitCode {
    output.show(&PlanFileDocument::from(file), |document| {
        let path = style::safe(&document.path);
        let needed = usize::try_from(document.approvals_needed).unwrap_or(usize::MAX);
        let mut text = format!(
            "{GOOD}✓{GOOD:#} plan {STRONG}{}{STRONG:#} for {} in {path}: {}, risk {}, {} needed\n",
            &document.hash[..12],
            document.target,
            style::count(document.steps, "step"),
            document.risk,
            style::count(needed, "approval"),
        );
        for reason in &document.risk_reasons {
            text.push_str(&format!("  {FAINT}{}{FAINT:#}\n", style::safe(reason)));
        }
        text.push_str(&render::notes(&document.notes));
        let next = if needed == 0 { "migrate --plan" } else { "approve" };
        text.push_str(&format!("{HINT}next{HINT:#}: annals {next} {path}\n"));
        text
    });
    ExitCode::Success
}
