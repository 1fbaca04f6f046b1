//! `history`, and what every document says that is folded from the log alone.

use annals_events::{Seq, Timestamp};
use annals_operations::{HistoryView, Vantage};
use annals_projections::{AsOf, Change, Failure, ProvenTime, TimeBounds};
use serde::Serialize;

/// A place in the log.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// The event.
    pub seq: u64,
    /// When it was recorded.
    pub recorded_at: String,
}

pub(crate) fn place(place: Option<(Seq, Timestamp)>) -> Option<Place> {
    place.map(|(seq, at)| Place { seq: seq.0, recorded_at: at.to_string() })
}

/// One entry of the history.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryEntry {
    /// The event that says so.
    pub seq: u64,
    /// When it was recorded.
    pub at: String,
    /// `applied`, `rolled back` or `failed`.
    pub what: &'static str,
    /// The version.
    pub version: String,
    /// The migration's name.
    pub name: String,
    /// The run.
    pub run: String,
    /// Who ran it; known of what took effect.
    pub by: Option<String>,
    /// Microseconds it took, where measured.
    pub duration_us: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

impl From<&Change> for HistoryEntry {
    fn from(change: &Change) -> Self {
        Self {
            seq: change.seq.0,
            at: change.at.to_string(),
            what: match change.direction {
                annals_events::Direction::Up => "applied",
                annals_events::Direction::Down => "rolled back",
            },
            version: change.version.to_string(),
            name: change.name.clone(),
            run: change.key.run.to_string(),
            by: Some(change.by.clone()),
            duration_us: change.duration_us,
            error: None,
        }
    }
}

impl From<&Failure> for HistoryEntry {
    fn from(failure: &Failure) -> Self {
        let settled = "its process ended before the commit";
        let error = failure.error.as_ref().map_or(settled, |error| &error.message);
        Self {
            seq: failure.seq.0,
            at: failure.at.to_string(),
            what: "failed",
            version: failure.version.to_string(),
            name: failure.name.clone(),
            run: failure.run.to_string(),
            by: None,
            duration_us: None,
            error: Some(error.to_owned()),
        }
    }
}

/// A time that somebody outside vouches for.
#[derive(Debug, Clone, Serialize)]
pub struct ProvenTimeDocument {
    /// The time.
    pub at: String,
    /// Who says so.
    pub by: String,
    /// Events that were there by then.
    pub size: u64,
}

impl From<&ProvenTime> for ProvenTimeDocument {
    fn from(proven: &ProvenTime) -> Self {
        Self { at: proven.at.to_string(), by: proven.by.clone(), size: proven.size }
    }
}

/// The log's own word that an anchor holds the events up to the moment. It proves no time.
#[derive(Debug, Clone, Serialize)]
pub struct AnchorClaimDocument {
    /// The anchor's name.
    pub anchor: String,
    /// What it is.
    pub kind: String,
    /// Events it is said to hold.
    pub size: u64,
    /// The event that says so.
    pub seq: u64,
    /// When that was recorded, by the writer's clock.
    pub recorded_at: String,
}

/// What bounds the times around a moment beyond the writer's own clock.
#[derive(Debug, Clone, Serialize)]
pub struct TimeBoundsDocument {
    /// The last event was there by then.
    pub last_not_after: Option<ProvenTimeDocument>,
    /// The event behind it was not there before.
    pub next_not_before: Option<ProvenTimeDocument>,
    /// Of a time asked for: whether it is proven that exactly these events had happened by then.
    pub separated: Option<bool>,
    /// The first claim of the log that an anchor holds these events.
    pub anchored: Option<AnchorClaimDocument>,
    /// The same in words.
    pub says: String,
}

impl TimeBoundsDocument {
    fn new(bounds: &TimeBounds, asked: AsOf) -> Self {
        let separated = match asked {
            AsOf::Time(time) => Some(bounds.separate_at(time)),
            AsOf::Now | AsOf::Seq(_) | AsOf::Size(_) => None,
        };
        Self {
            last_not_after: bounds.last_not_after.as_ref().map(ProvenTimeDocument::from),
            next_not_before: bounds.next_not_before.as_ref().map(ProvenTimeDocument::from),
            separated,
            anchored: bounds.claim.as_ref().map(|claim| AnchorClaimDocument {
                anchor: claim.anchor.clone(),
                kind: claim.kind.clone(),
                size: claim.size,
                seq: claim.seq.0,
                recorded_at: claim.at.to_string(),
            }),
            says: in_words(bounds),
        }
    }
}

fn in_words(bounds: &TimeBounds) -> String {
    let after = bounds.last_not_after.as_ref();
    let before = bounds.next_not_before.as_ref();
    let after = after.map(|proven| format!("there by {}, says {}", proven.at, proven.by));
    let before =
        before.map(|proven| format!("the next one not before {}, says {}", proven.at, proven.by));
    let proven: Vec<String> = [after, before].into_iter().flatten().collect();
    let proven = match proven.is_empty() {
        true => "no proven bounds: the times are the writer's own".to_owned(),
        false => proven.join("; "),
    };
    match &bounds.claim {
        Some(claim) => format!(
            "{proven}; the log says that {} held these events before event {}",
            claim.anchor, claim.seq
        ),
        None => proven,
    }
}

/// Where in which log a document stands.
#[derive(Debug, Clone, Serialize)]
pub struct VantageDocument {
    /// The last event that was folded.
    pub as_of: Option<Place>,
    /// The first event behind it.
    pub next: Option<Place>,
    /// The time for which approvals count.
    pub judged_at: String,
    /// What bounds these times beyond the writer's clock.
    pub time_bounds: TimeBoundsDocument,
}

impl From<&Vantage> for VantageDocument {
    fn from(vantage: &Vantage) -> Self {
        Self {
            as_of: place(vantage.selection.last),
            next: place(vantage.selection.next),
            judged_at: vantage.judged_at.to_string(),
            time_bounds: time_bounds(vantage),
        }
    }
}

pub(crate) fn time_bounds(vantage: &Vantage) -> TimeBoundsDocument {
    TimeBoundsDocument::new(&vantage.bounds, vantage.asked)
}

/// `annals history`.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryDocument {
    /// `annals.history/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The last event that was folded.
    pub as_of: Option<Place>,
    /// The first event behind it.
    pub next: Option<Place>,
    /// What bounds these times beyond the writer's clock.
    pub time_bounds: TimeBoundsDocument,
    /// Whether the log was verified against its checkpoint; without one, or without the public
    /// key, only its links were.
    pub verified: bool,
    /// What it rests on: `replay`, or `cache@<seq>`.
    pub trust: String,
    /// Everything that happened, oldest first.
    pub entries: Vec<HistoryEntry>,
}

impl From<&HistoryView> for HistoryDocument {
    fn from(view: &HistoryView) -> Self {
        let vantage = &view.vantage;
        let mut entries: Vec<HistoryEntry> =
            view.history.changes().iter().map(HistoryEntry::from).collect();
        entries.extend(view.history.failures().iter().map(HistoryEntry::from));
        entries.sort_by_key(|entry| entry.seq);
        Self {
            format: "annals.history/1",
            origin: vantage.origin.clone(),
            log_size: vantage.log_size,
            as_of: place(vantage.selection.last),
            next: place(vantage.selection.next),
            time_bounds: time_bounds(vantage),
            verified: vantage.verified,
            trust: vantage.basis.to_string(),
            entries,
        }
    }
}
