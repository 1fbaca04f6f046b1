//! `annals history`.

use annals_api::{ExitCode, HistoryDocument, HistoryEntry};
use annals_operations::{Environment, Failure, history};

use super::render;
use super::source::SourceArguments;
use super::state::MomentArguments;
use crate::output::Output;
use crate::style::{self, BAD, FAINT, GOOD, NOTE};

/// Replay the log: every migration applied, rolled back or failed, oldest first
///
/// Needs the log alone; the database may be gone.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,

    #[command(flatten)]
    moment: MomentArguments,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let view =
        history(environment, &arguments.source.source(), &arguments.moment.moment()?).await?;
    let document = HistoryDocument::from(&view);
    output.show(&document, human);
    if !document.verified {
        output.say(render::UNVERIFIED);
    }
    Ok(ExitCode::Success)
}

fn line(entry: &HistoryEntry) -> String {
    let look = match entry.what {
        "applied" => GOOD,
        "failed" => BAD,
        _ => NOTE,
    };
    let more = match (&entry.error, &entry.by, entry.duration_us) {
        (Some(error), ..) => style::first_line(error, 60),
        (None, Some(by), Some(us)) => format!("{}  {}", style::safe(by), style::duration(us)),
        (None, Some(by), None) => format!("{}  settled from evidence", style::safe(by)),
        (None, None, _) => String::new(),
    };
    format!(
        "  {FAINT}{:>5}  {}{FAINT:#}  {look}{:<11}{look:#} {}_{}  {FAINT}{more}{FAINT:#}\n",
        entry.seq,
        style::time(&entry.at),
        entry.what,
        entry.version,
        entry.name
    )
}

fn human(document: &HistoryDocument) -> String {
    let mut text: String = document.entries.iter().map(line).collect();
    if document.entries.is_empty() {
        text.push_str("nothing had happened yet\n");
    }
    if let Some(as_of) = &document.as_of {
        text.push_str(&format!(
            "{FAINT}after event {} of {}, trust: {}; {}{FAINT:#}\n",
            as_of.seq,
            document.log_size,
            document.trust,
            style::safe(&document.time_bounds.says)
        ));
    }
    text
}
