//! One run: every step of a plan, in order, until one does not take effect.

use std::time::Instant;

use annals_events::{
    Direction, Effect, Event, ReconciledAs, RecordedError, RunFinished, RunOutcome, RunStarted,
    StepFailed, StepKey, StepMode, StepStarted, StepSucceeded,
};
use annals_migrations::{Plan, PlannedStep};
use annals_postgres::{Fault, MayHave, NewLedgerRow, Session, TransactionLimits};

use crate::at_once::{self, Together};
use crate::context::{Intent, Progress, Recorder, RecorderError, RunContext};
use crate::failpoint;
use crate::interrupt::Interrupt;
use crate::retry::Retries;
use crate::send::line_of;
use crate::watch::Watcher;
use crate::{statements, transaction};

/// The longest message an event keeps, in bytes.
const MAX_MESSAGE_BYTES: usize = 2_000;

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    /// Every step took effect.
    Succeeded,
    /// This step did not take effect; the ones before it stand.
    Failed {
        /// Its place, from 0.
        step: usize,
        /// Why.
        error: RecordedError,
        /// What is left of it.
        effect: Effect,
        /// What the server suggests.
        hint: Option<String>,
    },
    /// Stopped on request.
    Interrupted {
        /// The step it was in or before.
        step: usize,
        /// Why.
        reason: String,
    },
    /// The session or its lock was lost; what took effect is known and recorded.
    Disconnected {
        /// The step it was in or before.
        step: usize,
        /// Why.
        reason: String,
    },
    /// The connection was lost around this step's commit, and the target cannot be asked.
    InDoubt {
        /// Its place, from 0.
        step: usize,
        /// Why it cannot be asked.
        reason: String,
    },
    /// An event could not be recorded. Nothing was begun after that.
    NotRecorded {
        /// The step it is about, from 0.
        step: usize,
        /// What is true of that step and not in the log.
        unrecorded: Unrecorded,
        /// Why.
        error: RecorderError,
    },
}

/// What is true of a step and could not be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrecorded {
    /// It was about to begin, and did not.
    NotBegun,
    /// It took effect.
    TookEffect,
    /// It failed or was stopped.
    Stopped,
    /// Outside a transaction: some of its statements took effect.
    HalfDone,
}

/// What a run came to.
#[derive(Debug)]
pub struct RunReport {
    /// How it ended.
    pub end: RunEnd,
    /// Steps that took effect.
    pub done: usize,
    /// Whether the session can still be used.
    pub session_alive: bool,
    /// What its files left in the session, and was taken away.
    pub notes: Vec<String>,
}

impl RunReport {
    fn of(end: RunEnd, done: usize, session_alive: bool) -> Self {
        Self { end, done, session_alive, notes: Vec::new() }
    }
}

/// How one step ended.
pub(crate) enum StepEnd {
    /// It took effect in this transaction.
    Done { transaction: String },
    /// It did not.
    Failed { error: RecordedError, effect: Effect, hint: Option<String> },
    /// It was stopped on request and left nothing (or, outside a transaction, its beginning).
    Interrupted { effect: Effect, reason: String },
    /// Settled after the connection was lost around the commit.
    Settled { event: Event, found: ReconciledAs },
    /// Nobody can say yet.
    InDoubt { reason: String },
    /// An event could not be recorded.
    NotRecorded(RecorderError),
    /// Its intent did not become durable; what it had begun is rolled back.
    IntentNotDurable(RecorderError),
    /// Nothing of it was begun: the session or its lock was lost.
    NotBegun { reason: String, is_session_over: bool },
}

impl StepEnd {
    /// A failure that left nothing.
    pub(crate) fn failed(fault: &Fault, step: &PlannedStep, statement: Option<usize>) -> Self {
        let (error, hint) = describe(fault, step, statement);
        Self::Failed { error, effect: Effect::None, hint }
    }
}

/// Everything a step needs besides itself.
pub(crate) struct Stage<'a, R, P> {
    pub(crate) session: &'a mut Session,
    pub(crate) context: &'a RunContext<'a>,
    pub(crate) recorder: &'a mut R,
    pub(crate) progress: &'a mut P,
    pub(crate) interrupt: &'a mut Interrupt,
    pub(crate) watcher: Watcher,
    pub(crate) retries: Retries,
    /// What is to be known of the run when it is over.
    pub(crate) notes: Vec<String>,
}

/// Carries out `plan` on `session`, which holds the lock.
///
/// Events, in order: the preamble, `run_started`, for each step its intent before and its outcome
/// after, `run_finished`. The outcome of a step and the intent of the next one are written together,
/// before the target is touched again, and are durable before that next step takes effect: before
/// its `COMMIT` is sent, or before anything is sent of a step outside a transaction.
pub async fn execute<R: Recorder, P: Progress>(
    session: &mut Session,
    plan: &Plan,
    context: &RunContext<'_>,
    recorder: &mut R,
    progress: &mut P,
    interrupt: &mut Interrupt,
) -> RunReport {
    let mut waiting: Vec<Event> = context.preamble.clone();
    waiting.push(
        RunStarted {
            direction: plan.direction,
            plan: context.plan,
            run: context.run,
            steps: plan.steps.len() as u64,
        }
        .into(),
    );
    let (watcher, retries) = (Watcher::new(), Retries::new(context.patience, context.run));
    let notes = Vec::new();
    let mut stage =
        Stage { session, context, recorder, progress, interrupt, watcher, retries, notes };
    let mut report = execute_steps(&mut stage, plan, waiting).await;
    if report.done > 0 && report.session_alive {
        clear_leftovers(&mut stage, "the run").await;
    }
    stage.watcher.close().await;
    report.notes = stage.notes;
    report
}

/// Finds and takes away what `who` has left in the session: a lock of a file's must not outlive its
/// step, and nobody should wonder where a temporary table has gone.
async fn clear_leftovers<R, P: Progress>(stage: &mut Stage<'_, R, P>, who: &str) {
    match stage.session.clear_leftovers(stage.context.lock).await {
        Ok(left) if left.is_empty() => {}
        Ok(left) => stage.notes.push(format!("{who} left in the session: {left}; reset")),
        // What is said to the session next finds out.
        Err(fault) => tracing::debug!(%fault, "the session was not looked at"),
    }
}

async fn execute_steps<R: Recorder, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    plan: &Plan,
    mut waiting: Vec<Event>,
) -> RunReport {
    let context = stage.context;
    let mut alive = true;
    if plan.single_transaction && !plan.steps.is_empty() {
        return execute_at_once(stage, plan, waiting).await;
    }
    for (at, step) in plan.steps.iter().enumerate() {
        if let Some(end) = may_not_go_on(stage, step, at, &mut alive).await {
            return finish(stage, waiting, end, at, alive).await;
        }
        let started = Instant::now();
        waiting.push(step_started(context, step, at).into());
        let about = about(&waiting);
        let events = std::mem::take(&mut waiting);
        let recorded = match step.mode {
            StepMode::Transactional => stage.recorder.announce(events).await,
            StepMode::StatementByStatement => stage.recorder.record(events).await,
        };
        let intent = match recorded {
            Ok(intents) => *intents.last().expect("invariant: one place for each event"),
            Err(error) => {
                let end = not_recorded(about, error);
                return RunReport::of(end, at, alive);
            }
        };
        failpoint::hit("after_intent");
        stage.progress.step_started(step, at, plan.steps.len());
        let end = match step.mode {
            StepMode::Transactional => transaction::run(stage, step, at, intent).await,
            StepMode::StatementByStatement => statements::run(stage, step, at, intent).await,
        };
        let end = match end {
            StepEnd::IntentNotDurable(error) => {
                let end = not_recorded(about, error);
                return RunReport::of(end, at, alive);
            }
            end => end,
        };
        let duration_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let last = at + 1 == plan.steps.len();
        match take_in(stage, step, (at, last), end, duration_us, &mut waiting) {
            None => {
                failpoint::hit("after_commit");
                if leftovers_are_likely(step) {
                    clear_leftovers(stage, &step.id()).await;
                }
                if !last {
                    // Of the last step this is done when the run is recorded as over.
                    let step = key(context, at);
                    waiting.extend(stage.recorder.behind_step(stage.session, step).await);
                    failpoint::hit("after_picture");
                }
            }
            Some((end, done, ends_session)) => {
                return finish(stage, waiting, end, at + done, alive && !ends_session).await;
            }
        }
    }
    finish(stage, waiting, RunEnd::Succeeded, plan.steps.len(), alive).await
}

/// All steps in one transaction; their intents are durable before it begins.
async fn execute_at_once<R: Recorder, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    plan: &Plan,
    mut waiting: Vec<Event>,
) -> RunReport {
    if stage.interrupt.requested() {
        let end = RunEnd::Interrupted { step: 0, reason: "stopped on request".to_owned() };
        return finish(stage, waiting, end, 0, true).await;
    }
    let started = plan.steps.iter().enumerate();
    waiting.extend(started.map(|(at, step)| step_started(stage.context, step, at).into()));
    let mut intents = match stage.recorder.record(waiting).await {
        Ok(intents) => intents,
        Err(error) => {
            let end = not_recorded((0, Unrecorded::NotBegun), error);
            return RunReport::of(end, 0, true);
        }
    };
    failpoint::hit("after_intent");
    let steps = intents.split_off(intents.len() - plan.steps.len());
    let Together { end, outcomes, done, is_session_over } = at_once::run(stage, plan, &steps).await;
    if done > 0 {
        failpoint::hit("after_commit");
    }
    finish(stage, outcomes, end, done, !is_session_over).await
}

/// Words of SQL that leaves something in a session.
const LEAVING: &[&str] = &["advisory", "temp", "listen", "hold", "set_config", "execute"];

/// Of a statement so much is searched for them; a longer one is likely to be rows.
const SEARCHED_BYTES: usize = 16 << 10;

/// Whether the session is looked at right behind this step, for one round trip more. What a function
/// leaves that no word tells of is found at the end of the run.
fn leftovers_are_likely(step: &PlannedStep) -> bool {
    searched(step).any(|text| {
        text.trim_start().starts_with("set") || LEAVING.iter().any(|word| text.contains(word))
    })
}

/// What the step's statements are searched for, in lower case.
fn searched(step: &PlannedStep) -> impl Iterator<Item = String> {
    step.statements.iter().map(|statement| {
        statement.sql[..statement.sql.floor_char_boundary(SEARCHED_BYTES)].to_ascii_lowercase()
    })
}

/// What the step may have done to the session when it commits. Of a streamed file, of which nothing
/// is kept here, everything.
pub(crate) fn may_have(step: &PlannedStep) -> MayHave {
    if step.streamed.is_some() {
        return MayHave::ALL;
    }
    searched(step).fold(MayHave::default(), |may, text| may.or(MayHave::of(&text)))
}

/// Before each step: a stop was asked for, or the lock is no longer ours, which a step in a
/// transaction asks in the message that begins it.
async fn may_not_go_on<R, P>(
    stage: &mut Stage<'_, R, P>,
    planned: &PlannedStep,
    step: usize,
    alive: &mut bool,
) -> Option<RunEnd> {
    if stage.interrupt.requested() {
        return Some(RunEnd::Interrupted { step, reason: "stopped on request".to_owned() });
    }
    if planned.mode == StepMode::Transactional {
        return None;
    }
    let reason = match stage.session.holds_lock(stage.context.lock).await {
        Ok(true) => return None,
        Ok(false) => "the lock on the target was lost".to_owned(),
        Err(fault) => {
            *alive = !fault.ends_session();
            fault.to_string()
        }
    };
    Some(RunEnd::Disconnected { step, reason })
}

/// The step the first of `events` says something about, and what it says: an outcome stands before
/// the intent of the next step.
fn about(events: &[Event]) -> (u64, Unrecorded) {
    let said = events.iter().find_map(|event| match event {
        Event::StepSucceeded(done) => Some((done.step, Unrecorded::TookEffect)),
        Event::StepReconciled(settled) if settled.found == ReconciledAs::TookEffect => {
            Some((settled.step, Unrecorded::TookEffect))
        }
        Event::StepReconciled(settled) => Some((settled.step, Unrecorded::Stopped)),
        Event::StepFailed(failed) => Some((failed.step, Unrecorded::Stopped)),
        Event::StepStarted(started) => Some((started.step, Unrecorded::NotBegun)),
        _ => None,
    });
    said.unwrap_or((0, Unrecorded::NotBegun))
}

fn not_recorded((step, unrecorded): (u64, Unrecorded), error: RecorderError) -> RunEnd {
    let step = usize::try_from(step).expect("a plan's steps are counted in memory");
    RunEnd::NotRecorded { step, unrecorded, error }
}

/// Turns a step's end into events; says how the run ends if it does, how many more steps are done,
/// and whether the session is over.
fn take_in<R, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    (at, last): (usize, bool),
    end: StepEnd,
    duration_us: u64,
    waiting: &mut Vec<Event>,
) -> Option<(RunEnd, usize, bool)> {
    let (run, place) = (stage.context.run, at as u64);
    let failed = |error: &RecordedError, effect| -> Event {
        StepFailed { duration_us, effect, error: error.clone(), run, step: place }.into()
    };
    match end {
        StepEnd::Done { transaction } => {
            waiting.push(StepSucceeded { duration_us, run, step: place, transaction }.into());
            stage.progress.step_succeeded(step, duration_us);
            None
        }
        StepEnd::Failed { error, effect, hint } => {
            waiting.push(failed(&error, effect));
            stage.progress.step_failed(step, &error);
            Some((RunEnd::Failed { step: at, error, effect, hint }, 0, false))
        }
        StepEnd::Interrupted { effect, reason } => {
            let error = RecordedError::of_message(&reason);
            waiting.push(failed(&error, effect));
            Some((RunEnd::Interrupted { step: at, reason }, 0, false))
        }
        StepEnd::Settled { event, found } => {
            waiting.push(event);
            let end = match found {
                ReconciledAs::TookEffect => {
                    stage.progress.step_succeeded(step, duration_us);
                    let reason = format!("the connection was lost behind {}", step.id());
                    match last {
                        true => RunEnd::Succeeded,
                        false => RunEnd::Disconnected { step: at + 1, reason },
                    }
                }
                ReconciledAs::NoEffect | ReconciledAs::Partial => {
                    let error = RecordedError::of_message(
                        "the connection was lost around its commit, which did not take effect",
                    );
                    stage.progress.step_failed(step, &error);
                    let effect = match found {
                        ReconciledAs::Partial => Effect::Partial,
                        _ => Effect::None,
                    };
                    RunEnd::Failed { step: at, error, effect, hint: None }
                }
            };
            Some((end, usize::from(found == ReconciledAs::TookEffect), true))
        }
        StepEnd::InDoubt { reason } => Some((RunEnd::InDoubt { step: at, reason }, 0, true)),
        StepEnd::NotRecorded(error) | StepEnd::IntentNotDurable(error) => {
            let unrecorded = match step.mode {
                StepMode::Transactional => Unrecorded::Stopped,
                StepMode::StatementByStatement => Unrecorded::HalfDone,
            };
            Some((not_recorded((place, unrecorded), error), 0, false))
        }
        StepEnd::NotBegun { reason, is_session_over } => {
            let error = RecordedError::of_message(&reason);
            waiting.push(failed(&error, Effect::None));
            Some((RunEnd::Disconnected { step: at, reason }, 0, is_session_over))
        }
    }
}

async fn finish<R: Recorder, P>(
    stage: &mut Stage<'_, R, P>,
    mut waiting: Vec<Event>,
    end: RunEnd,
    done: usize,
    alive: bool,
) -> RunReport {
    let (outcome, reason) = match &end {
        RunEnd::Succeeded => (RunOutcome::Succeeded, None),
        RunEnd::Failed { error, .. } => (RunOutcome::Failed, Some(error.message.clone())),
        RunEnd::Interrupted { reason, .. } | RunEnd::Disconnected { reason, .. } => {
            (RunOutcome::Interrupted, Some(reason.clone()))
        }
        // The run stays open: whoever comes next settles it from evidence.
        RunEnd::InDoubt { .. } | RunEnd::NotRecorded { .. } => {
            return RunReport::of(end, done, alive);
        }
    };
    let run = stage.context.run;
    let about = about(&waiting);
    waiting.push(RunFinished { outcome, reason, run, steps_done: done as u64 }.into());
    match stage.recorder.record(waiting).await {
        Ok(_) => {
            failpoint::hit("after_outcome");
            RunReport::of(end, done, alive)
        }
        Err(error) => {
            let end = not_recorded(about, error);
            RunReport::of(end, done, alive)
        }
    }
}

fn step_started(context: &RunContext<'_>, step: &PlannedStep, at: usize) -> StepStarted {
    StepStarted {
        direction: step.direction,
        file: step.file.clone(),
        mode: step.mode,
        name: step.name.clone(),
        ordinal: step.ordinal,
        rollback: step.rollback.clone(),
        run: context.run,
        statements: step.statement_count(),
        step: at as u64,
        version: step.version.clone(),
    }
}

/// The ledger row of a step.
pub(crate) fn ledger_row<'a>(
    context: &'a RunContext<'_>,
    step: &'a PlannedStep,
    at: usize,
    intent: Intent,
) -> NewLedgerRow<'a> {
    NewLedgerRow {
        workspace: context.workspace,
        version: &step.version,
        ordinal: step.ordinal,
        direction: step.direction,
        name: &step.name,
        file_raw: step.file.raw,
        run: context.run,
        step: at as u64,
        log_origin: context.origin,
        intent_seq: intent.seq.0,
        intent_hash: intent.hash,
        actor: context.actor,
    }
}

/// Names the step `at` of a run.
pub(crate) fn key(context: &RunContext<'_>, at: usize) -> StepKey {
    StepKey { run: context.run, step: at as u64 }
}

/// A fault as an event keeps it, with the line of the file it points at, and the server's hint.
pub(crate) fn describe(
    fault: &Fault,
    step: &PlannedStep,
    statement: Option<usize>,
) -> (RecordedError, Option<String>) {
    let planned = statement.and_then(|at| step.statements.get(at));
    let (code, hint, text) = match fault {
        Fault::Server(error) => {
            (Some(error.code.clone()), error.hint.clone(), error.message.clone())
        }
        fault => (None, fault.way_out().map(str::to_owned), fault.to_string()),
    };
    let line = planned.map(|planned| line_of(fault, planned.line, &planned.sql));
    let statement = statement.map(|at| at as u64 + 1);
    (RecordedError { code, line, message: shorten(text), statement }, hint)
}

pub(crate) fn shorten(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
    }
    message
}

/// SQLSTATE of a unique violation: somebody else has written the ledger row.
pub(crate) const UNIQUE_VIOLATION: &str = "23505";

/// The end of a step that somebody else has taken.
pub(crate) fn already_taken(step: &PlannedStep) -> StepEnd {
    let did = match step.direction {
        Direction::Up => "applied",
        Direction::Down => "rolled back",
    };
    let message = format!("{} has been {did} by another runner in the meantime", step.id());
    let code = Some(UNIQUE_VIOLATION.to_owned());
    let error = RecordedError { code, ..RecordedError::of_message(message) };
    StepEnd::Failed { error, effect: Effect::None, hint: None }
}

/// The limits a step's transactions run under.
pub(crate) fn limits(step: &PlannedStep) -> TransactionLimits {
    TransactionLimits { lock_ms: step.timeouts.lock_ms, statement_ms: step.timeouts.statement_ms }
}
