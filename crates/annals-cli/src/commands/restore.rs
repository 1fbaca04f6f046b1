//! `annals restore`.

use annals_api::{ExitCode, RestoreDocument};
use annals_operations::{Environment, Failure, RestoreOptions, restore};

use super::backup::{Follows, Jobs};
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, FAINT, GOOD, NOTE, STRONG};

/// Restore a backup into a new database on the target's server, compared before it has its name
///
/// The backup is authenticated to its end before anything is made. Schema, rows, sequences and large
/// objects are compared with its manifest; where anything differs, nothing is left. The target's own
/// database is not touched, and need not be there.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,

    /// Its name, the beginning or the end of it, or latest
    #[arg(value_name = "BACKUP")]
    backup: String,

    /// The database that is made
    #[arg(long, value_name = "DATABASE")]
    into: String,

    #[command(flatten)]
    jobs: Jobs,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let options = RestoreOptions {
        target: arguments.target.name().map(str::to_owned),
        backup: arguments.backup.clone(),
        into: arguments.into.clone(),
        jobs: arguments.jobs.count(),
    };
    let mut interrupt = signals::listen();
    let mut follows = Follows::new(output);
    let view = restore(environment, &options, &mut follows, &mut interrupt).await;
    drop(follows);
    output.show(&RestoreDocument::from(&view?), human);
    Ok(ExitCode::Success)
}

fn human(document: &RestoreDocument) -> String {
    let rows = usize::try_from(document.rows).unwrap_or(usize::MAX);
    let mut text = format!(
        "{GOOD}✓{GOOD:#} backup {} of {} is restored as database {STRONG}{}{STRONG:#}: {}, all compared \
         {FAINT}· {}{FAINT:#}\n",
        document.backup,
        style::time(&document.taken_at),
        style::safe(&document.database),
        style::count(rows, "row"),
        style::duration(document.duration_us)
    );
    if !document.schema_compared {
        text.push_str(&format!(
            "{NOTE}note{NOTE:#}: the schema was not compared: the server has another major version\n"
        ));
    }
    if let Some(why) = &document.not_recorded {
        text.push_str(&format!(
            "{NOTE}note{NOTE:#}: this is not recorded in the log: {}\n",
            style::safe(why)
        ));
    }
    text
}
