//! What a run is given: where events go, who watches, who acts.

use std::collections::BTreeMap;
use std::time::Duration;

use annals_events::{
    Digest, Event, LeafHash, ReconciledAs, RecordedError, RunId, Seq, StepKey, Timestamp, Version,
};
use annals_migrations::{PlannedStatement, PlannedStep};
use annals_postgres::{Blocker, ConnectionSpec, LockKey, Session, SessionSettings};

use crate::retry::Patience;

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
pub trait Recorder {
    /// Writes `events` next to each other and in this order, and returns their places. They are
    /// durable when [`settle`](Self::settle) returns `Ok`, or with the next [`record`](Self::record)
    /// that does.
    ///
    /// # Errors
    ///
    /// Nothing is known of them then.
    fn announce(
        &mut self,
        events: Vec<Event>,
    ) -> impl Future<Output = Result<Vec<Intent>, RecorderError>>;

    /// Makes what was announced durable.
    ///
    /// # Errors
    ///
    /// Nothing is known of what was announced then.
    fn settle(&mut self) -> impl Future<Output = Result<(), RecorderError>>;

    /// Both: when this returns `Ok`, all of `events` are durable.
    ///
    /// # Errors
    ///
    /// As those.
    fn record(
        &mut self,
        events: Vec<Event>,
    ) -> impl Future<Output = Result<Vec<Intent>, RecorderError>> {
        async {
            let intents = self.announce(events).await?;
            self.settle().await?;
            Ok(intents)
        }
    }

    /// Looks at the target right behind a step that took effect, before the next one: nothing is
    /// locked now but the target itself. What it returns is recorded behind the step's outcome.
    ///
    /// It has no error: the step has taken effect, whatever is seen of it.
    fn behind_step(
        &mut self,
        _session: &mut Session,
        _step: StepKey,
    ) -> impl Future<Output = Vec<Event>> {
        async { Vec::new() }
    }
}

/// How far something long has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance<'a> {
    /// What it is.
    pub what: &'a str,
    /// How much is done.
    pub done: u64,
    /// How much there is, where that is known; about, if it is an estimate.
    pub total: Option<u64>,
    /// What is counted, such as `rows`.
    pub unit: &'a str,
}

/// Who watches a run.
pub trait Progress {
    /// Before anything else: a run that was killed has been settled. `steps` are the migrations
    /// whose outcome was unknown, and what the evidence says of each.
    fn recovered(&mut self, _by: &str, _began: Timestamp, _steps: &[(String, ReconciledAs)]) {}
    /// The backup before the run has copied `done` bytes of rows, of about `total`.
    fn backing_up(&mut self, _done: u64, _total: u64) {}
    /// A step begins: its place from 0, of how many.
    fn step_started(&mut self, _step: &PlannedStep, _at: usize, _of: usize) {}
    /// A statement outside a transaction begins: its place from 1.
    fn statement_started(&mut self, _statement: &PlannedStatement, _at: usize, _of: usize) {}
    /// Something long within a step has come further.
    fn advanced(&mut self, _step: &PlannedStep, _advance: &Advance<'_>) {}
    /// A step took effect.
    fn step_succeeded(&mut self, _step: &PlannedStep, _duration_us: u64) {}
    /// A step did not take effect, or not wholly.
    fn step_failed(&mut self, _step: &PlannedStep, _error: &RecordedError) {}
    /// The connection was lost around a commit; evidence is being looked for.
    fn in_doubt(&mut self, _step: &PlannedStep) {}
    /// The step waits for a lock of `by`; nobody: it waits no longer.
    fn blocked(&mut self, _step: &PlannedStep, _by: &[Blocker]) {}
    /// The step was rolled back and is tried again after `pause`: attempt `attempt` of `of`.
    fn retrying(&mut self, _step: &PlannedStep, _attempt: u32, _of: u32, _pause: Duration) {}
    /// Something is to be said in passing: `note`, or the server's severity.
    fn notice(&mut self, _severity: &str, _message: &str) {}
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}

/// Who runs what, where.
pub struct RunContext<'a> {
    /// Hash of the plan the run carries out: all of it, or what an earlier run of it has left.
    pub plan: Digest,
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
    /// The folder of the workspace: where streamed files are read from.
    pub folder: &'a std::path::Path,
    /// How to reach the target again.
    pub spec: &'a ConnectionSpec,
    /// What sessions are set to.
    pub settings: SessionSettings,
    /// How the run meets locks of others, and others its own.
    pub patience: Patience,
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
