//! `history` and `state`: what the log alone says.

use std::collections::BTreeMap;

use annals_events::{Seq, Timestamp};
use annals_operations::{HistoryView, StateView};
use annals_projections::{Change, Failure, OpenStep, Selection};
use serde::Serialize;

use crate::verify::checks;

/// A place in the log.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// The event.
    pub seq: u64,
    /// When it was recorded.
    pub recorded_at: String,
}

fn place(place: Option<(Seq, Timestamp)>) -> Option<Place> {
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

/// `annals history`.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryDocument {
    /// `annals.history/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// The last event that was folded.
    pub as_of: Option<Place>,
    /// The first event behind it.
    pub next: Option<Place>,
    /// Whether the log was verified against its checkpoint; without one, or without the public
    /// key, only its links were.
    pub verified: bool,
    /// Everything that happened, oldest first.
    pub entries: Vec<HistoryEntry>,
}

impl From<&HistoryView> for HistoryDocument {
    fn from(view: &HistoryView) -> Self {
        let Selection { last, next, .. } = view.selection;
        let mut entries: Vec<HistoryEntry> =
            view.history.changes().iter().map(HistoryEntry::from).collect();
        entries.extend(view.history.failures().iter().map(HistoryEntry::from));
        entries.sort_by_key(|entry| entry.seq);
        Self {
            format: "annals.history/1",
            origin: view.origin.clone(),
            as_of: place(last),
            next: place(next),
            verified: view.verified,
            entries,
        }
    }
}

/// A migration that is applied.
#[derive(Debug, Clone, Serialize)]
pub struct AppliedMigration {
    /// The version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// When it was applied.
    pub at: String,
    /// Who applied it.
    pub by: String,
    /// SHA-256 of the file that ran.
    pub sha256: String,
}

/// A run, open or ended.
#[derive(Debug, Clone, Serialize)]
pub struct RunState {
    /// Its id.
    pub run: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// How it ended; none while it is open.
    pub outcome: Option<&'static str>,
    /// Why, unless it succeeded.
    pub reason: Option<String>,
    /// Steps that took effect.
    pub steps_done: u64,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Who ran it.
    pub by: String,
}

/// A verification and its verdict.
#[derive(Debug, Clone, Serialize)]
pub struct IntegrityState {
    /// When.
    pub at: String,
    /// `passed` or `failed`.
    pub result: &'static str,
    /// By family.
    pub checks: BTreeMap<&'static str, &'static str>,
    /// Number of findings.
    pub findings: u64,
}

/// The database, as the server said.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseState {
    /// Its name.
    pub database: String,
    /// The server's system identifier.
    pub system_identifier: String,
}

/// `annals state`.
#[derive(Debug, Clone, Serialize)]
pub struct StateDocument {
    /// `annals.state/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The last event that was folded.
    pub as_of: Option<Place>,
    /// The first event behind it.
    pub next: Option<Place>,
    /// Whether the log was verified against its checkpoint; without one, or without the public
    /// key, only its links were.
    pub verified: bool,
    /// The database the log speaks of.
    pub target: Option<DatabaseState>,
    /// The migrations applied, in the order they were applied.
    pub applied: Vec<AppliedMigration>,
    /// The run under way.
    pub open_run: Option<RunState>,
    /// The migration whose outcome is unknown.
    pub in_doubt: Option<String>,
    /// Migrations outside a transaction that stopped half-way.
    pub half_done: Vec<String>,
    /// The last run that ended.
    pub last_run: Option<RunState>,
    /// The newest version applied when a verification last passed.
    pub last_known_good: Option<String>,
    /// The last verification.
    pub last_integrity: Option<IntegrityState>,
    /// Fingerprint of the schema as the last run left it.
    pub schema_fingerprint: Option<String>,
}

impl From<&StateView> for StateDocument {
    fn from(view: &StateView) -> Self {
        let recovery = &view.recovery;
        // While its continuation is under way, a half done step is in doubt.
        let doubtful = recovery.open_step.as_ref().map(|step| &step.version);
        let half_done = recovery.partial.values().filter(|step| Some(&step.version) != doubtful);
        let applied = view.history.applied().iter().map(|change| AppliedMigration {
            version: change.version.to_string(),
            name: change.name.clone(),
            at: change.at.to_string(),
            by: change.by.clone(),
            sha256: change.file.raw.to_string(),
        });
        Self {
            format: "annals.state/1",
            origin: view.origin.clone(),
            log_size: view.log_size,
            as_of: place(view.selection.last),
            next: place(view.selection.next),
            verified: view.verified,
            target: recovery.target.as_ref().map(|target| DatabaseState {
                database: target.database.clone(),
                system_identifier: target.system_identifier.clone(),
            }),
            applied: applied.collect(),
            open_run: recovery.open_run.as_ref().map(|run| RunState {
                run: run.run.to_string(),
                direction: run.direction.as_str(),
                outcome: None,
                reason: None,
                steps_done: run.steps_done,
                started_at: run.at.to_string(),
                finished_at: None,
                by: run.by.clone(),
            }),
            in_doubt: recovery.open_step.as_ref().map(OpenStep::id),
            half_done: half_done.map(OpenStep::id).collect(),
            last_run: recovery.last_run.as_ref().map(|run| RunState {
                run: run.run.to_string(),
                direction: run.direction.as_str(),
                outcome: Some(run.outcome.as_str()),
                reason: run.reason.clone(),
                steps_done: run.steps_done,
                started_at: run.started_at.to_string(),
                finished_at: Some(run.finished_at.to_string()),
                by: run.by.clone(),
            }),
            last_known_good: recovery.last_known_good.as_ref().map(ToString::to_string),
            last_integrity: recovery.last_integrity.as_ref().map(|checked| IntegrityState {
                at: checked.at.to_string(),
                result: if checked.passed { "passed" } else { "failed" },
                checks: checks(&checked.checks),
                findings: checked.findings,
            }),
            schema_fingerprint: recovery.schema.map(|picture| picture.snapshot.digest.to_string()),
        }
    }
}
