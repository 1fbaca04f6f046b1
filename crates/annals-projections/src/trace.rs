//! The runs of a log as traces: spans with a beginning, an end and a parent, as tracing tools show them.
//!
//! A trace is made from events alone: made again from the same log it has the same ids, times and words.

use std::collections::{BTreeMap, BTreeSet};

use annals_events::{
    Direction, Event, LeafHash, ReconciledAs, Recorded, RecordedError, RunFinished, RunId,
    RunOutcome, RunStarted, Seq, StepKey, StepStarted, Timestamp,
};

use crate::replay::Projection;

/// Names a span within its trace: the first eight bytes of the leaf hash of the event it began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

impl SpanId {
    fn of(leaf: LeafHash) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&leaf.as_bytes()[..8]);
        Self(id)
    }
}

/// What is said of a span under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanValue {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// Names and values.
pub type SpanAttributes = Vec<(&'static str, SpanValue)>;

/// How what a span stands for ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanStatus {
    /// Well.
    Ok,
    /// Nothing is claimed.
    Unset,
    /// Not well, and why.
    Error(String),
}

/// A moment within a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What happened.
    pub name: &'static str,
    /// When.
    pub at: Timestamp,
    /// What is said of it.
    pub attributes: SpanAttributes,
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its name in the trace.
    pub id: SpanId,
    /// The span it is a part of; none for the run.
    pub parent: Option<SpanId>,
    /// What it is, for people.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; not before it began.
    pub end: Timestamp,
    /// How.
    pub status: SpanStatus,
    /// What is said of it.
    pub attributes: SpanAttributes,
    /// What happened in it.
    pub moments: Vec<Moment>,
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTrace {
    /// The run; its sixteen bytes are the id of the trace.
    pub run: RunId,
    /// The run first, then its parts as they began.
    pub spans: Vec<Span>,
}

/// A run under way.
#[derive(Debug, Clone)]
struct Open {
    run: RunId,
    root: Span,
    steps: BTreeMap<StepKey, Span>,
    statements: BTreeMap<(StepKey, u64), Span>,
    parts: Vec<Span>,
}

/// What is recorded for a run before it begins.
#[derive(Debug, Clone, Default)]
struct Before {
    run: Option<RunId>,
    parts: Vec<Span>,
    moments: Vec<Moment>,
}

/// Makes the traces of runs, in memory for one run and for what has ended.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    wanted: Option<BTreeSet<RunId>>,
    before: Before,
    planned: Option<(Timestamp, LeafHash)>,
    open: Option<Open>,
    ended: Vec<RunTrace>,
}

impl Tracer {
    /// Makes the traces of these runs and of no others.
    pub fn of(runs: impl IntoIterator<Item = RunId>) -> Self {
        Self { wanted: Some(runs.into_iter().collect()), ..Self::default() }
    }

    /// The runs that have ended, oldest first.
    pub fn ended(self) -> Vec<RunTrace> {
        self.ended
    }

    fn before(&mut self, run: RunId) -> &mut Before {
        if self.before.run != Some(run) {
            self.before = Before { run: Some(run), ..Before::default() };
        }
        &mut self.before
    }

    /// The run, if it is the one under way.
    fn root(&mut self, run: RunId) -> Option<&mut Open> {
        self.open.as_mut().filter(|open| open.run == run)
    }

    fn run_started(&mut self, recorded: &Recorded, started: &RunStarted) {
        self.open = None;
        let before = std::mem::take(&mut self.before);
        let planned = self.planned.take();
        if self.wanted.as_ref().is_some_and(|wanted| !wanted.contains(&started.run)) {
            return;
        }
        let before = if before.run == Some(started.run) { before } else { Before::default() };
        let at = recorded.recorded_at;
        let root_id = SpanId::of(recorded.leaf);
        let begun = begun(started.run, at);
        let (workspace, target) = recorded.origin.as_str().split_once('/').unwrap_or_default();
        let mut attributes: SpanAttributes = vec![
            ("annals.run", started.run.to_string().into()),
            ("annals.workspace", workspace.into()),
            ("annals.target", target.into()),
            ("annals.direction", started.direction.as_str().into()),
            ("annals.plan.hash", started.plan.to_string().into()),
            ("annals.steps", started.steps.into()),
            ("annals.actor", recorded.actor.name.as_str().into()),
            ("annals.tool", recorded.actor.tool.as_str().into()),
            ("annals.host", recorded.actor.host.as_str().into()),
            ("annals.log.seq", recorded.seq.0.into()),
            ("db.system.name", "postgresql".into()),
        ];
        if let Some(target) = &recorded.target {
            attributes.push(("db.namespace", target.database.as_str().into()));
            attributes.push(("annals.server", target.system_identifier.as_str().into()));
        }
        let verb = match started.direction {
            Direction::Up => "migrate",
            Direction::Down => "rollback",
        };
        let root = Span {
            id: root_id,
            parent: None,
            name: format!("{verb} {target}"),
            start: begun,
            end: at,
            status: SpanStatus::Unset,
            attributes,
            moments: before.moments,
        };
        // The run has its name from before the lock was taken; its first event comes behind it.
        let (planned_at, planned) = planned.unwrap_or((at, recorded.prev));
        let mut prepare = part(&root, SpanId::of(planned), "prepare", begun, planned_at.max(begun));
        prepare.attributes.push((
            "annals.covers",
            "waiting for the lock, reading log and files, planning, the backup before".into(),
        ));
        prepare.status = SpanStatus::Ok;
        let inside = before.parts.into_iter().map(|span| Span {
            parent: Some(prepare.id),
            start: span.start.max(begun),
            ..span
        });
        let parts = std::iter::once(prepare.clone()).chain(inside).collect();
        let (steps, statements) = (BTreeMap::new(), BTreeMap::new());
        self.open = Some(Open { run: started.run, root, steps, statements, parts });
    }

    fn run_finished(&mut self, recorded: &Recorded, finished: &RunFinished) {
        if self.root(finished.run).is_none() {
            return;
        }
        let Some(mut open) = self.open.take() else { return };
        open.root.attributes.push(("annals.outcome", finished.outcome.as_str().into()));
        open.root.attributes.push(("annals.steps.done", finished.steps_done.into()));
        open.root.attributes.push(("annals.log.last_seq", recorded.seq.0.into()));
        open.root.status = match finished.outcome {
            RunOutcome::Succeeded => SpanStatus::Ok,
            RunOutcome::Failed | RunOutcome::Interrupted => {
                let reason = finished.reason.clone();
                SpanStatus::Error(reason.unwrap_or_else(|| finished.outcome.to_string()))
            }
        };
        for mut span in open.steps.into_values().chain(open.statements.into_values()) {
            span.end = recorded.recorded_at.max(span.start);
            open.parts.push(span);
        }
        let ends = open.parts.iter().map(|span| span.end);
        open.root.end = ends.fold(recorded.recorded_at.max(open.root.start), Ord::max);
        open.parts.sort_by_key(|span| (span.start, span.id));
        let mut spans = vec![open.root];
        spans.append(&mut open.parts);
        self.ended.push(RunTrace { run: finished.run, spans });
    }

    fn step_started(&mut self, recorded: &Recorded, started: &StepStarted) {
        let Some(open) = self.root(started.run) else { return };
        let id = format!("{}_{}", started.version, started.name);
        let way = started.direction.as_str();
        let name = format!("{way} {id}");
        let at = recorded.recorded_at;
        let mut span = part(&open.root, SpanId::of(recorded.leaf), &name, at, at);
        span.attributes = vec![
            ("annals.version", started.version.to_string().into()),
            ("annals.name", started.name.as_str().into()),
            ("annals.direction", way.into()),
            ("annals.mode", started.mode.as_str().into()),
            ("annals.file", started.file.name.as_str().into()),
            ("annals.file.sha256", started.file.raw.to_string().into()),
            ("annals.step", started.step.into()),
            ("annals.ordinal", started.ordinal.into()),
            ("annals.statements", started.statements.into()),
            ("annals.log.seq", recorded.seq.0.into()),
            ("db.system.name", "postgresql".into()),
        ];
        open.steps.insert(started.key(), span);
    }

    fn step_ended(&mut self, key: StepKey, end: End<'_>) {
        let Some(open) = self.root(key.run) else { return };
        let Some(mut step) = open.steps.remove(&key) else { return };
        let start = step.start;
        step.end = match end.duration_us {
            Some(us) => start.plus_micros(i64::try_from(us).unwrap_or(i64::MAX)),
            None => end.recorded.recorded_at.max(start),
        };
        step.attributes.push(("annals.status", end.status.into()));
        step.attributes.extend(end.attributes);
        match end.error {
            None => step.status = SpanStatus::Ok,
            Some(error) => fail(&mut step, error, end.recorded.seq),
        }
        // A statement that was under way ended with its step.
        let under_way = |(of, _): &(StepKey, u64)| *of == key;
        let left: Vec<(StepKey, u64)> =
            open.statements.keys().filter(|statement| under_way(statement)).copied().collect();
        for statement in left {
            let Some(mut span) = open.statements.remove(&statement) else { continue };
            span.end = step.end.max(span.start);
            if let Some(error) = end.error {
                span.status = SpanStatus::Error(error.message.clone());
            }
            open.parts.push(span);
        }
        open.parts.push(step);
    }

    fn statement_ended(&mut self, key: StepKey, statement: u64, us: u64, found: Option<&str>) {
        let Some(open) = self.root(key.run) else { return };
        let Some(mut span) = open.statements.remove(&(key, statement)) else { return };
        span.end = span.start.plus_micros(i64::try_from(us).unwrap_or(i64::MAX));
        span.status = SpanStatus::Ok;
        if let Some(found) = found {
            span.attributes.push(("annals.found", found.into()));
        }
        open.parts.push(span);
    }
}

/// How a step ended.
struct End<'a> {
    recorded: &'a Recorded,
    /// Microseconds, where somebody measured.
    duration_us: Option<u64>,
    status: &'a str,
    attributes: SpanAttributes,
    error: Option<&'a RecordedError>,
}

/// When a run was named: its UUIDv7 begins with milliseconds of the machine's clock.
///
/// Where that is behind its first event, or an hour and more before it, the clocks are not one.
fn begun(run: RunId, started: Timestamp) -> Timestamp {
    const HOUR_US: i64 = 3_600_000_000;
    let ms = i64::try_from(run.0.as_u128() >> 80).unwrap_or_default();
    let named = started.micros().saturating_sub(ms.saturating_mul(1000));
    let is_v7 = run.0.get_version_num() == 7;
    if is_v7 && (0..HOUR_US).contains(&named) { started.plus_micros(-named) } else { started }
}

fn part(root: &Span, id: SpanId, name: &str, start: Timestamp, end: Timestamp) -> Span {
    Span {
        id,
        parent: Some(root.id),
        name: name.to_owned(),
        start,
        end,
        status: SpanStatus::Unset,
        attributes: Vec::new(),
        moments: Vec::new(),
    }
}

fn fail(span: &mut Span, error: &RecordedError, seq: Seq) {
    let kind = error.code.clone().unwrap_or_else(|| "annals".to_owned());
    let mut said: SpanAttributes = vec![
        ("exception.type", kind.clone().into()),
        ("exception.message", error.message.as_str().into()),
        ("annals.log.seq", seq.0.into()),
    ];
    if let Some(line) = error.line {
        said.push(("code.line.number", line.into()));
    }
    if let Some(statement) = error.statement {
        said.push(("annals.statement", statement.into()));
    }
    span.attributes.push(("error.type", kind.into()));
    if let Some(code) = &error.code {
        span.attributes.push(("db.response.status_code", code.as_str().into()));
    }
    span.status = SpanStatus::Error(error.message.clone());
    span.moments.push(Moment { name: "exception", at: span.end, attributes: said });
}

/// A backup that came to its end with this event.
fn backup(recorded: &Recorded, us: Option<u64>, attributes: SpanAttributes) -> Span {
    let us = us.and_then(|us| i64::try_from(us).ok()).unwrap_or_default();
    Span {
        id: SpanId::of(recorded.leaf),
        parent: None,
        name: "backup".to_owned(),
        start: recorded.recorded_at.plus_micros(-us),
        end: recorded.recorded_at,
        status: SpanStatus::Ok,
        attributes,
        moments: Vec::new(),
    }
}

impl Projection for Tracer {
    fn apply(&mut self, recorded: &Recorded) {
        let at = recorded.recorded_at;
        let moment = |name, attributes| Moment { name, at, attributes };
        match &recorded.event {
            Event::BackupTaken(taken) => {
                let Some(run) = taken.run else { return };
                let said = vec![
                    ("annals.backup", taken.backup.to_string().into()),
                    ("annals.backup.kind", taken.kind.as_str().into()),
                    ("annals.backup.bytes", taken.bytes.into()),
                    ("annals.log.seq", recorded.seq.0.into()),
                ];
                self.before(run).parts.push(backup(recorded, taken.duration_us, said));
            }
            Event::BackupFailed(failed) => {
                let Some(run) = failed.run else { return };
                let mut span =
                    backup(recorded, None, vec![("annals.log.seq", recorded.seq.0.into())]);
                span.status = SpanStatus::Error(failed.reason.clone());
                self.before(run).parts.push(span);
            }
            Event::ExternalBackupNamed(named) => {
                let said = vec![("annals.backup.name", named.name.as_str().into())];
                self.before(named.run).moments.push(moment("external backup named", said));
            }
            Event::EmergencyDeclared(declared) => {
                let said = vec![("annals.reason", declared.reason.as_str().into())];
                self.before(declared.run).moments.push(moment("emergency declared", said));
            }
            Event::BreakGlassUsed(used) => {
                let said = vec![
                    ("annals.reason", used.reason.as_str().into()),
                    ("annals.without", used.without.as_str().into()),
                ];
                self.before(used.run).moments.push(moment("break-glass used", said));
            }
            Event::PlanMade(_) => self.planned = Some((at, recorded.leaf)),
            Event::RunStarted(started) => self.run_started(recorded, started),
            Event::StepStarted(started) => self.step_started(recorded, started),
            Event::StatementStarted(started) => {
                let key = started.key();
                let Some(open) = self.root(key.run) else { return };
                let Some(step) = open.steps.get(&key) else { return };
                let name = format!("statement {}", started.statement);
                let mut span = part(step, SpanId::of(recorded.leaf), &name, at, at);
                span.attributes = vec![
                    ("annals.statement", started.statement.into()),
                    ("annals.sql.sha256", started.sql.to_string().into()),
                    ("annals.log.seq", recorded.seq.0.into()),
                ];
                open.statements.insert((key, started.statement), span);
            }
            Event::StatementSucceeded(done) => {
                let (us, found) = (done.duration_us, done.found.as_deref());
                self.statement_ended(done.key(), done.statement, us, found);
            }
            Event::StepSucceeded(done) => {
                let attributes = vec![("annals.transaction", done.transaction.as_str().into())];
                let duration_us = Some(done.duration_us);
                let (status, error) = ("succeeded", None);
                self.step_ended(
                    done.key(),
                    End { recorded, duration_us, status, attributes, error },
                );
            }
            Event::StepFailed(failed) => {
                let effect = match failed.effect {
                    annals_events::Effect::None => "none",
                    annals_events::Effect::Partial => "partial",
                };
                let attributes = vec![("annals.effect", effect.into())];
                let duration_us = Some(failed.duration_us);
                let (status, error) = ("failed", Some(&failed.error));
                self.step_ended(
                    failed.key(),
                    End { recorded, duration_us, status, attributes, error },
                );
            }
            Event::StepReconciled(settled) => {
                let mut attributes: SpanAttributes =
                    vec![("annals.settled_at", at.to_string().into())];
                if let Some(transaction) = &settled.evidence.transaction {
                    attributes.push(("annals.transaction", transaction.as_str().into()));
                }
                let lost = RecordedError::of_message(
                    "its process ended; that it left nothing whole was found out later",
                );
                let took_effect = settled.found == ReconciledAs::TookEffect;
                let (status, duration_us) = (settled.found.as_str(), None);
                let error = (!took_effect).then_some(&lost);
                self.step_ended(
                    settled.key(),
                    End { recorded, duration_us, status, attributes, error },
                );
            }
            Event::RunFinished(finished) => self.run_finished(recorded, finished),
            // Nothing that belongs to a run, or has a length of its own.
            _ => {}
        }
    }
}
