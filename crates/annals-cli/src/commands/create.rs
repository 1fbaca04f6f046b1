//! `annals create`.

use annals_api::{CreateDocument, ExitCode};
use annals_operations::{Environment, Failure, create};

use crate::output::Output;
use crate::style::{GOOD, HINT};

/// Write the two files of a new migration: the migration and its rollback
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Its name, such as add_agent_metrics_table
    name: String,

    /// One line for the header; by default the name in title case
    #[arg(long, short)]
    description: Option<String>,
}

pub(crate) fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let created = create(environment, &arguments.name, arguments.description.as_deref())?;
    output.show(&CreateDocument::from(&created), |document| {
        format!(
            "{GOOD}✓{GOOD:#} {}\n{GOOD}✓{GOOD:#} {}\n{HINT}next{HINT:#}: write the SQL into both, \
             then annals plan\n",
            document.migration, document.rollback
        )
    });
    Ok(ExitCode::Success)
}
