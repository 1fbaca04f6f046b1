//! A log for whoever asks often: read again only where it has grown, or after a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_events::{Recorded, Timestamp};
use annals_projections::{Durations, Projection};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::book::Book;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::logs::ReadLog;
use crate::targets::Target;

/// What was altered without a change of size is seen after this long at the latest, unless reading
/// takes so long that it would be most of what is done.
const AGAIN: Duration = Duration::from_secs(60);

/// Reading takes at most one part in so many of the time.
const SHARE: u32 = 50;

/// A log that could not be read, or is not what was signed, is looked at again after this long.
const AGAIN_AFTER_TROUBLE: Duration = Duration::from_secs(10);

/// What a log says, verified.
#[derive(Debug, Clone)]
pub struct LogFacts {
    pub(crate) book: Book,
    /// How long things took.
    pub durations: Durations,
    /// Whether there is a log at all.
    pub exists: bool,
    /// Whether signatures were verified: without public keys, links alone.
    pub verified: bool,
    /// Events the signed head vouches for.
    pub signed: u64,
    /// Events an anchor holds, as the log itself claims.
    pub anchored: u64,
    /// Bytes of its lines.
    pub bytes: u64,
    /// When its last event was recorded.
    pub last_at: Option<Timestamp>,
}

/// One reading of a log.
#[derive(Debug)]
pub(crate) struct LogReading {
    /// What it came to: facts; or what is wrong, and what to do next.
    pub(crate) facts: Result<Arc<LogFacts>, (String, Option<String>)>,
    /// When it was read.
    pub(crate) at: Timestamp,
    pub(crate) extent: u64,
    began: Instant,
    took: Duration,
}

impl LogReading {
    fn is_fresh(&self, extent: u64) -> bool {
        let again = match &self.facts {
            Ok(_) => AGAIN.max(self.took * SHARE),
            Err(_) => AGAIN_AFTER_TROUBLE,
        };
        self.extent == extent && self.began.elapsed() < again
    }
}

#[derive(Default)]
struct Kept {
    last: Option<Arc<LogReading>>,
    /// Goes on where nobody waits for it any more.
    task: Option<JoinHandle<LogReading>>,
}

/// Keeps what one log says.
#[derive(Default)]
pub(crate) struct LogKeeper {
    kept: Mutex<Kept>,
}

impl LogKeeper {
    /// What the log says now. Whoever gives up waiting loses nothing: the reading goes on, and the
    /// next one to ask has it.
    pub(crate) async fn reading(
        &self,
        environment: &Environment,
        target: &Target,
    ) -> Result<Arc<LogReading>, LogFailure> {
        let mut kept = self.kept.lock().await;
        let mut is_ours = false;
        loop {
            if let Some(task) = kept.task.as_mut() {
                let read = task.await;
                kept.task = None;
                match read {
                    Ok(reading) => kept.last = Some(Arc::new(reading)),
                    Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
                }
            }
            let extent = target.home().extent().await?;
            if let Some(last) = kept.last.as_ref().filter(|last| is_ours || last.is_fresh(extent)) {
                return Ok(Arc::clone(last));
            }
            let (log, now) = (ReadLog::of_target(target)?, environment.clock.now());
            let runtime = tokio::runtime::Handle::current();
            is_ours = true;
            kept.task = Some(tokio::task::spawn_blocking(move || {
                let began = Instant::now();
                let facts = runtime.block_on(read(&log)).map_err(told);
                let facts = facts.map(Arc::new);
                LogReading { facts, at: now, extent, began, took: began.elapsed() }
            }));
        }
    }

    /// What it said last, if nobody is looking at it just now.
    pub(crate) fn last(&self) -> Option<Arc<LogReading>> {
        self.kept.try_lock().ok()?.last.clone()
    }
}

/// What is wrong with a log, in words.
pub(crate) fn told(failure: LogFailure) -> (String, Option<String>) {
    let failure = Failure::from(failure);
    (with_causes(&failure), failure.hint())
}

/// An error and what is behind it, on one line.
pub(crate) fn with_causes(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut source = std::error::Error::source(failure);
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

async fn read(log: &ReadLog) -> Result<LogFacts, LogFailure> {
    let mut facts = LogFacts {
        book: Book::default(),
        durations: Durations::default(),
        exists: log.home.exists().await?,
        verified: false,
        signed: 0,
        anchored: 0,
        bytes: 0,
        last_at: None,
    };
    if !facts.exists {
        return Ok(facts);
    }
    let mut visit = |recorded: &Recorded, line: &[u8]| {
        facts.book.apply(recorded);
        facts.durations.apply(recorded);
        facts.bytes += line.len() as u64 + 1;
        facts.last_at = Some(recorded.recorded_at);
    };
    let read = log.read(&mut visit).await?;
    read.check()?;
    if let Some(verification) = &read.verification {
        facts.verified = true;
        facts.signed = verification.signed;
    }
    facts.anchored = facts.book.anchored.values().copied().max().unwrap_or(0);
    Ok(facts)
}
