//! `annals status`.

use annals_api::{
    BackfillStatus, DurationDocument, DurationsDocument, ExitCode, MigrationStatus, StatusDocument,
};
use annals_operations::{Environment, Failure, durations, status};
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

    /// Show instead how long runs, backups and verifications took, against [budgets] of annals.toml;
    /// exit code 11 if the last one of a kind took longer than it may
    #[arg(long)]
    performance: bool,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    if arguments.performance {
        let view = durations(environment, arguments.target.name()).await?;
        let document = DurationsDocument::from(&view);
        output.show(&document, durations_text);
        return Ok(ExitCode::of_number(document.exit_code));
    }
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
    for broken in &document.unreviewed {
        text.push_str(&format!(
            "{BAD}break glass{BAD:#}: {} ran without {} at {}: {}\n    somebody else must look at it: \
             annals approve --target {} --review {} --reason '…'\n",
            style::safe(&broken.by),
            broken.without,
            style::time(&broken.at),
            style::safe(&broken.reason),
            document.target,
            broken.run
        ));
    }
    text.push_str(&render::findings(&document.mismatches));
    if let Some(running) = &document.running {
        text.push_str(&format!("{NOTE}running{NOTE:#}: {}\n", style::safe(running)));
    } else if document.mismatches.is_empty() && number("pending") + number("half done") > 0 {
        text.push_str(&format!("{HINT}next{HINT:#}: annals plan, then annals migrate\n"));
    }
    text
}

fn durations_text(document: &DurationsDocument) -> String {
    let events = usize::try_from(document.log_size).unwrap_or(usize::MAX);
    let mut text = format!(
        "{STRONG}{}{STRONG:#}  as recorded in {}\n\n  {FAINT}{:<14}{:>9}{:>10}{:>10}{:>10}{:>10}{:>7}  over{FAINT:#}\n",
        document.target,
        style::count(events, "event"),
        "",
        "budget",
        "last",
        "p50",
        "p95",
        "max",
        "count"
    );
    for row in &document.durations {
        text.push_str(&duration_row(row));
    }
    let breached: Vec<&DurationDocument> =
        document.durations.iter().filter(|row| row.within_budget == Some(false)).collect();
    text.push('\n');
    for row in &breached {
        let Some(last) = &row.last else { continue };
        let slowest = last.slowest.as_ref().map(|slowest| {
            format!(
                "; its slowest step was {} with {}",
                slowest.migration,
                style::duration(slowest.duration_us)
            )
        });
        text.push_str(&format!(
            "{BAD}over budget{BAD:#}: the last {} took {} and may take {}{}\n",
            row.what,
            style::duration(last.duration_us),
            style::limit(row.budget_ms.unwrap_or_default()),
            slowest.unwrap_or_default()
        ));
    }
    let is_measured = document.durations.iter().any(|row| row.count > 0);
    if breached.is_empty() && is_measured {
        text.push_str(&format!("{GOOD}✓{GOOD:#} the last of each was within its budget\n"));
    } else if breached.is_empty() {
        text.push_str("nothing was measured yet\n");
    }
    text
}

fn duration_row(row: &DurationDocument) -> String {
    let time = |us: Option<u64>| us.map_or_else(|| "–".to_owned(), style::duration);
    let last = time(row.last.as_ref().map(|last| last.duration_us));
    let look = match row.within_budget {
        Some(true) => GOOD,
        Some(false) => BAD,
        None => FAINT,
    };
    let budget = row.budget_ms.map_or_else(|| "none".to_owned(), style::limit);
    let more = match row.not_measured {
        0 => String::new(),
        n => format!("  {FAINT}{n} not measured{FAINT:#}"),
    };
    format!(
        "  {:<14}{budget:>9}{look}{last:>10}{look:#}{:>10}{:>10}{:>10}{:>7}{:>6}{more}\n",
        row.what,
        time(row.p50_us),
        time(row.p95_us),
        time(row.max_us),
        row.count,
        row.breaches
    )
}
