//! `annals timeline`.

use annals_api::{ExitCode, TimelineDocument, TimelineLine};
use annals_operations::{Environment, Failure, TimelineOptions, follow, timeline};

use super::render;
use super::source::SourceArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, FAINT, STRONG};

/// Tell the log event by event, one line each; with --follow, each new one as it is recorded
///
/// Needs the log alone; the database may be gone.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,

    /// The first event to tell; without it, the last ones are told
    #[arg(long, value_name = "N")]
    from: Option<u64>,

    /// The most events to tell; with --follow, of those that are there
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: usize,

    /// Go on with each event that is recorded from now on, until Ctrl-C; as JSON, one line each
    #[arg(long)]
    follow: bool,
}

impl Arguments {
    fn options(&self) -> TimelineOptions {
        // What is followed has no gap: all from the place that was named.
        let limit = if self.follow && self.from.is_some() { usize::MAX } else { self.limit };
        TimelineOptions { from: self.from, limit }
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let source = arguments.source.source();
    if arguments.follow {
        return run_on(environment, output, arguments).await;
    }
    let view = timeline(environment, &source, arguments.options()).await?;
    let document = TimelineDocument::from(&view);
    output.show(&document, human);
    if !document.verified {
        output.say(render::UNVERIFIED);
    }
    Ok(ExitCode::Success)
}

/// Until a signal, or until nobody reads any more.
async fn run_on(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let stop = signals::stop();
    tokio::pin!(stop);
    let source = arguments.source.source();
    let (view, mut follower) = follow(environment, &source, arguments.options()).await?;
    if !view.verified {
        output.say(render::UNVERIFIED);
    }
    let mut entries = view.entries;
    loop {
        for entry in &entries {
            let line = TimelineLine::new(&view.origin, entry);
            if !output.line(&line, |line| render::event(&line.event)) {
                return Ok(ExitCode::Success);
            }
        }
        entries = tokio::select! {
            next = follower.next() => next?,
            () = &mut stop => return Ok(ExitCode::Success),
        };
    }
}

fn human(document: &TimelineDocument) -> String {
    let mut text: String = document.events.iter().map(render::event).collect();
    text.push_str(&format!(
        "{} of {STRONG}{}{STRONG:#}  {FAINT}trust: {}{FAINT:#}\n",
        style::count(document.events.len(), "event"),
        document.origin,
        document.trust
    ));
    if let Some(next) = &document.next {
        let (seq, at) = (next.seq, style::time(&next.recorded_at));
        text.push_str(&format!("event {seq} followed at {at}: annals timeline --from {seq}\n"));
    }
    text
}
