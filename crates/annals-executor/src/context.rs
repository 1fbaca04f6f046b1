//! What a run is given: where events go, who watches, who acts.

use std::collections::BTreeMap;

use annals_events::{
    Digest, Event, LeafHash, ReconciledAs, RecordedError, RunId, Seq, Timestamp, Version,
};
use annals_migrations::{PlannedStatement, PlannedStep};
use annals_postgres::{ConnectionSpec, LockKey, SessionSettings};

/// An event could not be made durable.
#[derive(Debug, thiserror::Error)]
#[error("the event log could not record it: {message}")]
pub struct RecorderError {
    /// Why.
    pub message: String,
}

/// A recorded intent: the ledger row keeps a copy of its place and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// Its place in the log.
    pub seq: Seq,
    /// Its leaf hash.
    pub hash: LeafHash,
}

/// Where events go.
///
/// When [`record`](Self::record) returns `Ok`, all of `events` are durable, next to each other and
/// in this order; the result has their places. When it returns an error, nothing is known of them.
pub trait Recorder {
    /// Records `events`.
    fn record(
        &mut self,
        events: Vec<Event>,
    ) -> impl Future<Output = Result<Vec<Intent>, RecorderError>>;
}

/// Who watches a run.
pub trait Progress {
    /// Before anything else: a run that was killed has been settled. `step` is the migration whose
    /// outcome was unknown, and what the evidence says of it.
    fn recovered(&mut self, _by: &str, _began: Timestamp, _step: Option<(&str, ReconciledAs)>) {}
    /// A step begins: its place from 0, of how many.
    fn step_started(&mut self, _step: &PlannedStep, _at: usize, _of: usize) {}
    /// A statement outside a transaction begins: its place from 1.
    fn statement_started(&mut self, _statement: &PlannedStatement, _at: usize, _of: usize) {}
    /// A step took effect.
    fn step_succeeded(&mut self, _step: &PlannedStep, _duration_us: u64) {}
    /// A step did not take effect, or not wholly.
    fn step_failed(&mut self, _step: &PlannedStep, _error: &RecordedError) {}
    /// The connection was lost around a commit; evidence is being looked for.
    fn in_doubt(&mut self, _step: &PlannedStep) {}
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}

/// Who runs what, where.
pub struct RunContext<'a> {
    /// The run.
    pub run: RunId,
    /// The workspace; part of every ledger row.
    pub workspace: &'a str,
    /// The log's name; part of every ledger row.
    pub origin: &'a str,
    /// Who acts; part of every ledger row.
    pub actor: &'a str,
    /// The lock this run holds.
    pub lock: LockKey,
    /// How to reach the target again.
    pub spec: &'a ConnectionSpec,
    /// What sessions are set to.
    pub settings: SessionSettings,
    /// Events recorded together with the run's beginning, before anything touches the target.
    pub preamble: Vec<Event>,
    /// Statements outside a transaction an earlier run has begun: by version and place in the file
    /// from 1, SHA-256 of the text.
    pub begun: BTreeMap<Version, BTreeMap<u64, Digest>>,
}

impl RunContext<'_> {
    /// The name sessions of this run go by.
    pub fn application_name(&self) -> String {
        format!("annals/{}", self.run)
    }
}
