//! `timeline` and `explain`: events, for people.

use std::collections::BTreeMap;

use annals_operations::{ExplainView, TimelineView};
use annals_projections::{Explained, TimelineEntry};
use serde::Serialize;

use crate::replay::{Place, place};

/// An event in one line.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineEvent {
    /// Its place.
    pub seq: u64,
    /// When it was recorded.
    pub recorded_at: String,
    /// Its kind.
    pub kind: String,
    /// Who acted.
    pub by: String,
    /// How it is to be read: `good`, `bad`, `note` or `plain`.
    pub tone: &'static str,
    /// What happened.
    pub text: String,
    /// The run it belongs to.
    pub run: Option<String>,
    /// The migration it speaks of: `<version>_<name>`.
    pub migration: Option<String>,
}

impl From<&TimelineEntry> for TimelineEvent {
    fn from(entry: &TimelineEntry) -> Self {
        Self {
            seq: entry.seq.0,
            recorded_at: entry.at.to_string(),
            kind: entry.kind.clone(),
            by: entry.by.clone(),
            tone: entry.tone.as_str(),
            text: entry.text.clone(),
            run: entry.run.map(|run| run.to_string()),
            migration: entry.migration.clone(),
        }
    }
}

/// A line of `annals timeline --follow --json`: one event.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineLine {
    /// `annals.timeline_event/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// The event.
    pub event: TimelineEvent,
}

impl TimelineLine {
    /// An event of the log `origin`.
    pub fn new(origin: &str, entry: &TimelineEntry) -> Self {
        let (origin, event) = (origin.to_owned(), entry.into());
        Self { format: "annals.timeline_event/1", origin, event }
    }
}

/// `annals timeline`.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineDocument {
    /// `annals.timeline/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The last event that is shown.
    pub as_of: Option<Place>,
    /// The first event behind it.
    pub next: Option<Place>,
    /// Whether the log was verified against its checkpoint; without one, or without the public
    /// key, only its links were.
    pub verified: bool,
    /// What it rests on: `replay`, or `cache@<seq>`.
    pub trust: String,
    /// The events, oldest first.
    pub events: Vec<TimelineEvent>,
}

impl From<&TimelineView> for TimelineDocument {
    fn from(view: &TimelineView) -> Self {
        Self {
            format: "annals.timeline/1",
            origin: view.origin.clone(),
            log_size: view.log_size,
            as_of: place(view.entries.last().map(|entry| (entry.seq, entry.at))),
            next: place(view.next),
            verified: view.verified,
            trust: view.basis.to_string(),
            events: view.entries.iter().map(TimelineEvent::from).collect(),
        }
    }
}

/// An event, and what it rests on.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedEvent {
    /// The event in one line.
    pub event: TimelineEvent,
    /// Leaf hash of its line.
    pub leaf: String,
    /// When it happened by the writer's clock.
    pub occurred_at: String,
    /// The machine it was recorded on.
    pub host: String,
    /// The program that recorded it.
    pub tool: String,
    /// What else it states, by name.
    pub evidence: BTreeMap<&'static str, String>,
}

impl From<&Explained> for ExplainedEvent {
    fn from(explained: &Explained) -> Self {
        Self {
            event: (&explained.entry).into(),
            leaf: explained.leaf.to_string(),
            occurred_at: explained.occurred_at.to_string(),
            host: explained.host.clone(),
            tool: explained.tool.clone(),
            evidence: explained.evidence.iter().cloned().collect(),
        }
    }
}

/// `annals explain`.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainDocument {
    /// `annals.explain/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The last event that was looked at.
    pub as_of: Option<Place>,
    /// Whether the log was verified against its checkpoint; without one, or without the public
    /// key, only its links were.
    pub verified: bool,
    /// What it rests on: `replay`, or `cache@<seq>`.
    pub trust: String,
    /// What was asked for.
    pub subject: String,
    /// What that was read as: `version`, `run` or `seq`.
    pub read_as: &'static str,
    /// What else it can be read as: the log speaks of that too.
    pub also: Vec<&'static str>,
    /// The runs that have to do with it.
    pub runs: Vec<String>,
    /// Every event about it, oldest first.
    pub events: Vec<ExplainedEvent>,
}

impl ExplainDocument {
    /// Everything the log says of `subject`.
    pub fn new(subject: &str, view: &ExplainView) -> Self {
        Self {
            format: "annals.explain/1",
            origin: view.origin.clone(),
            log_size: view.log_size,
            as_of: place(view.last),
            verified: view.verified,
            trust: view.basis.to_string(),
            subject: subject.to_owned(),
            read_as: view.reading.as_str(),
            also: view.also.iter().map(|reading| reading.as_str()).collect(),
            runs: view.explanation.runs().map(|run| run.to_string()).collect(),
            events: view.explanation.events().iter().map(ExplainedEvent::from).collect(),
        }
    }
}
