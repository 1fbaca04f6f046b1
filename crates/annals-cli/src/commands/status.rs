//! `annals status`.

use annals_api::{BackfillStatus, ExitCode, MigrationStatus, StatusDocument};
use annals_operations::{Environment, Failure, status};
use anstyle::Style;

use super::render;
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Show every migration: applied, pending, changed, missing, in doubt
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let mut interrupt = signals::listen();
    let view = status(environment, arguments.target.name(), &mut interrupt).await?;
    let document = StatusDocument::from(&view);
    output.recovered(&document.recovered);
    output.show(&document, human);
    Ok(ExitCode::of_number(document.exit_code))
}

fn look(state: &str) -> Style {
    match state {
        "applied" => GOOD,
        "pending" => STRONG,
        "reformatted" | "half done" | "out of order" => NOTE,
        _ => BAD,
    }
}

fn row(migration: &MigrationStatus, width: usize) -> String {
    let look = look(migration.state);
    let id = format!("{}_{}", migration.version, migration.name);
    let state = migration.state;
    let applied = match (&migration.applied_at, &migration.applied_by) {
        (Some(at), Some(by)) => Some(format!("{}  {}", style::time(at), style::safe(by))),
        _ => None,
    };
    let proof = migration.proof.map(str::to_owned);
    let more: Vec<String> =
        applied.into_iter().chain(proof).chain(migration.backfill.as_ref().map(progress)).collect();
    if more.is_empty() {
        return format!("  {look}{state:<12}{look:#} {id}\n");
    }
    let more = more.join("  ");
    format!("  {look}{state:<12}{look:#} {id:<width$}  {FAINT}{more}{FAINT:#}\n")
}

fn progress(backfill: &BackfillStatus) -> String {
    let of = match backfill.keys_about {
        Some(about) => format!(" of about {}", about.max(backfill.keys)),
        None => String::new(),
    };
    let noun = if backfill.batches == 1 { "batch" } else { "batches" };
    format!("{}{of} rows done, in {} {noun}", backfill.keys, backfill.batches)
}

fn human(document: &StatusDocument) -> String {
    let mut text = format!(
        "{STRONG}{}{STRONG:#}  database {} at {}, PostgreSQL {}\n\n",
        document.target, document.database, document.address, document.server_version
    );
    let ids = document.migrations.iter().map(|m| m.version.len() + m.name.len() + 1);
    let width = ids.max().unwrap_or(0).min(70);
    for migration in &document.migrations {
        text.push_str(&row(migration, width));
    }
    let number = |state: &str| document.migrations.iter().filter(|m| m.state == state).count();
    let events = usize::try_from(document.log_size).unwrap_or(usize::MAX);
    text.push_str(&format!(
        "\n{} applied, {} pending · {} in the log\n",
        number("applied") + number("reformatted"),
        number("pending"),
        style::count(events, "event")
    ));
    if let Some(drift) = &document.drift {
        let n = usize::try_from(drift.objects).unwrap_or(usize::MAX);
        text.push_str(&format!(
            "{BAD}drifted{BAD:#}: {} not as expected, found at {}: annals drift\n",
            style::count(n, "object"),
            style::time(&drift.found_at)
        ));
    }
    text.push_str(&render::findings(&document.mismatches));
    if let Some(running) = &document.running {
        text.push_str(&format!("{NOTE}running{NOTE:#}: {}\n", style::safe(running)));
    } else if number("pending") + number("half done") > 0 {
        text.push_str(&format!("{HINT}next{HINT:#}: annals plan, then annals migrate\n"));
    }
    text
}
