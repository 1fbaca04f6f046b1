//! `timeline`: one line for each event, and for each that is still to come.

use std::collections::VecDeque;
use std::time::Duration;

use annals_events::{Chain, Recorded, Seq, Timestamp};
use annals_projections::{Projection, Timeline, TimelineEntry};

use crate::environment::Environment;
use crate::error::Failure;
use crate::home::LogHome;
use crate::logs::{LogSource, ReadLog};
use crate::replay::Basis;

/// How often a log that is followed is looked at. Looking is one listing of its folder.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// Which part of the timeline.
#[derive(Debug, Clone, Copy)]
pub struct TimelineOptions {
    /// The first event; without it, the last ones.
    pub from: Option<u64>,
    /// The most events.
    pub limit: usize,
}

/// A part of a log's timeline.
#[derive(Debug)]
pub struct TimelineView {
    /// The log's name.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// Whether a checkpoint and a key were there to verify the log with.
    pub verified: bool,
    /// What it rests on.
    pub basis: Basis,
    /// The events, oldest first.
    pub entries: Vec<TimelineEntry>,
    /// The first event behind them.
    pub next: Option<(Seq, Timestamp)>,
}

/// A log that is followed.
pub struct Follower {
    home: LogHome,
    chain: Chain,
    timeline: Timeline,
    extent: Option<u64>,
}

/// Collects the entries asked for while a log goes by.
struct Window {
    options: TimelineOptions,
    entries: VecDeque<TimelineEntry>,
    next: Option<(Seq, Timestamp)>,
}

impl Window {
    fn take(&mut self, timeline: &Timeline, recorded: &Recorded) {
        let full = self.entries.len() >= self.options.limit;
        match self.options.from {
            Some(from) if recorded.seq.0 < from => return,
            Some(_) if full => {
                self.next.get_or_insert((recorded.seq, recorded.recorded_at));
                return;
            }
            None if full => {
                self.entries.pop_front();
            }
            Some(_) | None => {}
        }
        self.entries.push_back(timeline.tell(recorded));
    }
}

/// The timeline of a log.
///
/// # Errors
///
/// When there is no log, or it is damaged.
pub async fn timeline(
    environment: &Environment,
    source: &LogSource,
    options: TimelineOptions,
) -> Result<TimelineView, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    Ok(read(log, options).await?.0)
}

/// The timeline of a log, and what follows it.
///
/// # Errors
///
/// When there is no log, it is damaged, or it is an export file, which does not grow.
pub async fn follow(
    environment: &Environment,
    source: &LogSource,
    options: TimelineOptions,
) -> Result<(TimelineView, Follower), Failure> {
    let log = ReadLog::from_source(environment, source)?;
    if let LogHome::Export(path) = &log.home {
        return Err(Failure::Argument {
            subject: path.display().to_string(),
            reason: "an export file does not grow: there is nothing to follow".to_owned(),
        });
    }
    read(log, options).await
}

async fn read(log: ReadLog, options: TimelineOptions) -> Result<(TimelineView, Follower), Failure> {
    let mut timeline = Timeline::default();
    let mut window = Window { options, entries: VecDeque::new(), next: None };
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        window.take(&timeline, recorded);
        timeline.apply(recorded);
    };
    let read = log.read(&mut visit).await?;
    read.check()?;
    read.unfinished.say();
    let chain = read.scanned.chain.clone();
    let view = TimelineView {
        origin: chain.origin().map(ToString::to_string).unwrap_or_default(),
        log_size: chain.size(),
        verified: read.vouches_for(chain.size()),
        basis: Basis::Replay,
        entries: window.entries.into(),
        next: window.next,
    };
    Ok((view, Follower { home: log.home, chain, timeline, extent: None }))
}

impl Follower {
    /// Waits until there are further events, and gives each of them once, oldest first.
    ///
    /// Their links are verified. Whether a checkpoint vouches for them is not known yet.
    ///
    /// Dropping the future loses nothing: it is waiting when it is not ready.
    ///
    /// # Errors
    ///
    /// When the log is damaged, was replaced, or cannot be read any more.
    pub async fn next(&mut self) -> Result<Vec<TimelineEntry>, Failure> {
        loop {
            let extent = self.home.extent().await?;
            if self.extent != Some(extent) {
                let (chain, timeline) = (&mut self.chain, &mut self.timeline);
                let mut entries = Vec::new();
                let mut visit = |recorded: &Recorded| entries.push(timeline.next(recorded));
                self.home.read_behind(chain, &mut visit).await?;
                self.extent = Some(extent);
                if !entries.is_empty() {
                    return Ok(entries);
                }
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}
