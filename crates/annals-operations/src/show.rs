//! `history`, `state`, `log show` and `log verify`: from the log alone, the database may be gone.

use annals_events::{Event, Recorded, Seq};
use annals_integrity::LogVerification;
use annals_projections::{AsOf, History, RecoveryState, Selection, replay, select};

use crate::environment::Environment;
use crate::error::Failure;
use crate::logs::{LogSource, ReadLog, bad_blobs};
use crate::moment::Moment;

/// The migration history as of a moment.
#[derive(Debug)]
pub struct HistoryView {
    /// The log's name.
    pub origin: String,
    /// Which prefix of the log was folded.
    pub selection: Selection,
    /// Whether a checkpoint and a key were there to verify the log with.
    pub verified: bool,
    /// The history.
    pub history: History,
}

/// The full state as of a moment.
#[derive(Debug)]
pub struct StateView {
    /// The log's name.
    pub origin: String,
    /// Which prefix of the log was folded.
    pub selection: Selection,
    /// Events in the whole log.
    pub log_size: u64,
    /// Whether a checkpoint and a key were there to verify the log with.
    pub verified: bool,
    /// The history.
    pub history: History,
    /// Runs, doubts, checks.
    pub recovery: RecoveryState,
}

/// Events, and the log they are from.
#[derive(Debug)]
pub struct LogView {
    /// The log's name.
    pub origin: String,
    /// The events asked for.
    pub events: Vec<Recorded>,
    /// Events in the whole log.
    pub log_size: u64,
}

fn origin(events: &[Recorded]) -> String {
    events.first().map(|event| event.origin.to_string()).unwrap_or_default()
}

fn choose<'a>(events: &'a [Recorded], moment: &Moment) -> (Selection, &'a [Recorded]) {
    let selection = select(events, moment.as_of());
    (selection, &events[..selection.len])
}

/// The migration history as of `moment`.
///
/// # Errors
///
/// When there is no log, it is damaged, or the moment lies behind its last event.
pub fn history(
    environment: &Environment,
    source: &LogSource,
    moment: &Moment,
) -> Result<HistoryView, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let events = log.events()?;
    let (selection, prefix) = choose(events, moment);
    check_reach(events, moment)?;
    let verified = log.is_verified();
    Ok(HistoryView { origin: origin(events), selection, verified, history: replay(prefix) })
}

/// The state as of `moment`.
///
/// # Errors
///
/// When there is no log, it is damaged, or the moment lies behind its last event.
pub fn state(
    environment: &Environment,
    source: &LogSource,
    moment: &Moment,
) -> Result<StateView, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let events = log.events()?;
    let (selection, prefix) = choose(events, moment);
    check_reach(events, moment)?;
    Ok(StateView {
        origin: origin(events),
        selection,
        log_size: events.len() as u64,
        verified: log.is_verified(),
        history: replay(prefix),
        recovery: replay(prefix),
    })
}

/// A place behind the end is a slip, not a state.
fn check_reach(events: &[Recorded], moment: &Moment) -> Result<(), Failure> {
    match (moment.as_of(), events.last()) {
        (AsOf::Seq(seq), Some(last)) if seq > last.seq => Err(Failure::Argument {
            subject: format!("event {seq}"),
            reason: format!("the log ends with event {}", last.seq),
        }),
        _ => Ok(()),
    }
}

/// Events from place `from` on, at most `limit` of them.
///
/// # Errors
///
/// When there is no log, or it is damaged.
pub fn log_show(
    environment: &Environment,
    source: &LogSource,
    from: u64,
    limit: usize,
    kind: Option<&str>,
) -> Result<LogView, Failure> {
    if let Some(kind) = kind.filter(|kind| !Event::KINDS.contains(kind)) {
        let subject = format!("event kind {kind:?}");
        return Err(Failure::Argument {
            subject,
            reason: format!("there are {}", Event::KINDS.join(", ")),
        });
    }
    let log = ReadLog::from_source(environment, source)?;
    let events = log.events()?;
    let chosen = events
        .iter()
        .filter(|event| event.seq.0 >= from && kind.is_none_or(|kind| event.event.kind() == kind))
        .take(limit);
    Ok(LogView {
        origin: origin(events),
        events: chosen.cloned().collect(),
        log_size: events.len() as u64,
    })
}

/// What `log verify` found.
#[derive(Debug)]
pub struct LogCheck {
    /// Where the log is.
    pub folder: std::path::PathBuf,
    /// The log's name.
    pub origin: String,
    /// The verdict and its counts.
    pub verification: LogVerification,
    /// Blobs that are missing or altered, each with the event that names it.
    pub blobs: Vec<(Seq, String)>,
    /// Bytes read.
    pub bytes: u64,
}

/// Verifies a log against its checkpoint and the public key.
///
/// # Errors
///
/// When there is no log or no key. What is wrong with the log is in the result.
pub fn log_verify(environment: &Environment, source: &LogSource) -> Result<LogCheck, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let verification = log.verify()?;
    let blobs = bad_blobs(&log.layout, &log.scan.events);
    Ok(LogCheck {
        blobs,
        folder: log.layout.root().to_owned(),
        origin: origin(&log.scan.events),
        verification,
        bytes: log.bytes,
    })
}
