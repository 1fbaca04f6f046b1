//! `explain`: every event about one thing, with what it rests on.

use annals_events::{Recorded, Seq, Timestamp};
use annals_projections::{Explanation, Question, Search};

use crate::environment::Environment;
use crate::error::Failure;
use crate::logs::{LogSource, ReadLog};
use crate::replay::Basis;

/// What a word is to be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The version of a migration.
    Version,
    /// The name of a run, in full or its last eight digits.
    Run,
    /// A place in the log.
    Seq,
}

impl Reading {
    fn of(question: &Question) -> Self {
        match question {
            Question::Version(_) => Self::Version,
            Question::Run(_) | Question::ShortRun(_) => Self::Run,
            Question::Seq(_) => Self::Seq,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Run => "run",
            Self::Seq => "seq",
        }
    }
}

/// Everything a log says of one thing.
#[derive(Debug)]
pub struct ExplainView {
    /// The log's name.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The last event of the log: place and time.
    pub last: Option<(Seq, Timestamp)>,
    /// Whether a checkpoint and a key were there to verify the log with.
    pub verified: bool,
    /// What it rests on.
    pub basis: Basis,
    /// What the word was read as.
    pub reading: Reading,
    /// What else it could have been read as: the log speaks of that too.
    pub also: Vec<Reading>,
    /// The events.
    pub explanation: Explanation,
}

/// Every event about `text`: a version, a run or a place in the log.
///
/// # Errors
///
/// When there is no log, it is damaged, or it does not speak of `text`.
pub async fn explain(
    environment: &Environment,
    source: &LogSource,
    text: &str,
    reading: Option<Reading>,
) -> Result<ExplainView, Failure> {
    let refused = |reason: &str| Failure::Argument {
        subject: format!("{text:?}"),
        reason: reason.to_owned(),
    };
    let mut searches: Vec<Search> = Question::readings(text)
        .into_iter()
        .filter(|question| reading.is_none_or(|wanted| wanted == Reading::of(question)))
        .map(Search::new)
        .collect();
    if searches.is_empty() {
        return Err(refused("is no version, no run (its last eight digits) and no place in a log"));
    }
    let log = ReadLog::from_source(environment, source)?;
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        searches.iter_mut().for_each(|search| search.take(recorded));
    };
    let read = log.read(&mut visit).await?;
    read.check()?;
    let (log_size, last) = (read.scanned.chain.size(), read.scanned.chain.recorded_at());
    searches.retain(Search::has_found);
    let mut found = searches.into_iter();
    let search = found.next().ok_or_else(|| refused("the log does not speak of it"))?;
    let reading = Reading::of(search.question());
    let also = found.map(|search| Reading::of(search.question())).collect();
    let mut explanation = Explanation::of(search);
    // What was appended meanwhile was not searched.
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        if recorded.seq.0 < log_size {
            explanation.take(recorded);
        }
    };
    let read = log.read(&mut visit).await?;
    read.check()?;
    read.unfinished.say();
    let chain = &read.scanned.chain;
    Ok(ExplainView {
        origin: chain.origin().map(ToString::to_string).unwrap_or_default(),
        log_size,
        last: last.map(|at| (Seq(log_size.saturating_sub(1)), at)),
        verified: read.vouches_for(log_size),
        basis: Basis::Replay,
        reading,
        also,
        explanation,
    })
}
