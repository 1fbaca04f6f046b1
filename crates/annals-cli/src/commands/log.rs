//! `annals log`.

use annals_api::{ExitCode, LogShowDocument, LogVerifyDocument};
use annals_operations::{Environment, Failure, log_show, log_verify};

use super::source::SourceArguments;
use crate::output::Output;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Look at the event log itself
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Verify content, links, order, tail and checkpoint of the whole log
    Verify(VerifyArguments),
    /// Show events, oldest first
    Show(ShowArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    source: SourceArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    source: SourceArguments,

    /// The first event to show
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,

    /// The most events to show
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: usize,

    /// Only events of this kind, such as step_succeeded
    #[arg(long)]
    kind: Option<String>,
}

pub(crate) fn run(
    environment: &Environment,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Failure> {
    match command {
        Command::Verify(arguments) => {
            let check = log_verify(environment, &arguments.source.source())?;
            let document = LogVerifyDocument::from(&check);
            output.show(&document, verified);
            Ok(if document.verdict == "intact" { ExitCode::Success } else { ExitCode::LogRefused })
        }
        Command::Show(arguments) => {
            let (from, limit) = (arguments.from, arguments.limit);
            let kind = arguments.kind.as_deref();
            let view = log_show(environment, &arguments.source.source(), from, limit, kind)?;
            output.show(&LogShowDocument::from(&view), shown);
            Ok(ExitCode::Success)
        }
    }
}

fn verified(document: &LogVerifyDocument) -> String {
    let events = usize::try_from(document.events).unwrap_or(usize::MAX);
    let counts = format!("{}, {} bytes", style::count(events, "event"), document.bytes);
    let mut text = match &document.reason {
        None => format!("{GOOD}✓ {} is intact{GOOD:#}: {counts}\n", document.origin),
        Some(reason) => {
            let place = document.first_bad_seq.map(|seq| format!(" at event {seq}"));
            format!(
                "{BAD}✗ {} is not intact{BAD:#}{}: {}\n    {HINT}next{HINT:#}: keep this copy as \
                 evidence; restore the log from a copy that verifies\n",
                document.origin,
                place.unwrap_or_default(),
                style::safe(reason)
            )
        }
    };
    text.push_str(&format!("  {FAINT}signed{FAINT:#}    {} events\n", document.signed));
    if document.unsigned > 0 {
        text.push_str(&format!(
            "  {NOTE}unsigned{NOTE:#}  {} events behind them: nothing vouches for their number\n",
            document.unsigned
        ));
    }
    if document.torn_bytes > 0 {
        text.push_str(&format!(
            "  {NOTE}tail{NOTE:#}      {} bytes of an append that was cut short, or is under way\n",
            document.torn_bytes
        ));
    }
    // Of a log that is not intact it is the root of what could be read, which nobody has signed.
    if document.reason.is_none() {
        text.push_str(&format!("  {FAINT}root{FAINT:#}      {}\n", document.root));
    }
    text
}

fn shown(document: &LogShowDocument) -> String {
    let mut text = String::new();
    for event in &document.events {
        text.push_str(&format!(
            "{FAINT}{:>5}  {}  {}{FAINT:#}  {STRONG}{:<19}{STRONG:#} {}\n",
            event.seq,
            event.recorded_at,
            &event.leaf[..8],
            event.kind,
            style::safe(&event.summary)
        ));
    }
    text.push_str(&format!(
        "{} of {} events of {}\n",
        document.events.len(),
        document.log_size,
        document.origin
    ));
    text
}
