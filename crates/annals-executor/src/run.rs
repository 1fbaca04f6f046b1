//! One run: every step of a plan, in order, until one does not take effect.

use std::time::Instant;

use annals_events::{
    Direction, Effect, Event, RecordedError, RunFinished, RunOutcome, RunStarted, StepFailed,
    StepKey, StepMode, StepStarted, StepSucceeded,
};
use annals_migrations::{Plan, PlannedStep};
use annals_postgres::{Fault, NewLedgerRow, Session};

use crate::context::{Intent, Progress, Recorder, RecorderError, RunContext};
use crate::failpoint;
use crate::interrupt::Interrupt;
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
    /// Stopped on request, or because the session was lost between steps.
    Interrupted {
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
        /// Steps that took effect but whose outcome is not in the log yet.
        unrecorded: Option<usize>,
        /// Why.
        error: RecorderError,
    },
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
    Settled { event: Event, took_effect: bool },
    /// Nobody can say yet.
    InDoubt { reason: String },
    /// An event could not be recorded.
    NotRecorded(RecorderError),
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
    /// Why the session must not be used for another step.
    pub(crate) unusable: Option<String>,
}

/// Carries out `plan` on `session`, which holds the lock.
///
/// Events, in order: the preamble, `run_started`, for each step its intent before and its outcome
/// after, `run_finished`. The outcome of a step and the intent of the next one are made durable
/// together: between the two the target is not touched.
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
            plan: plan.hash(),
            run: context.run,
            steps: plan.steps.len() as u64,
        }
        .into(),
    );
    let mut stage = Stage { session, context, recorder, progress, interrupt, unusable: None };
    let mut alive = true;
    for (at, step) in plan.steps.iter().enumerate() {
        if let Some(reason) = may_not_go_on(&mut stage, &mut alive).await {
            let end = RunEnd::Interrupted { step: at, reason };
            return finish(&mut stage, waiting, end, at, alive).await;
        }
        let started = Instant::now();
        waiting.push(step_started(context, step, at).into());
        let intent = match stage.recorder.record(std::mem::take(&mut waiting)).await {
            Ok(intents) => *intents.last().expect("invariant: one place for each event"),
            Err(error) => {
                let unrecorded = at.checked_sub(1);
                let end = RunEnd::NotRecorded { unrecorded, error };
                return RunReport { end, done: at, session_alive: alive };
            }
        };
        failpoint::hit("after_intent");
        stage.progress.step_started(step, at, plan.steps.len());
        let end = match step.mode {
            StepMode::Transactional => transaction::run(&mut stage, step, at, intent).await,
            StepMode::StatementByStatement => statements::run(&mut stage, step, at, intent).await,
        };
        let duration_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        match take_in(&mut stage, step, at, end, duration_us, &mut waiting) {
            None => failpoint::hit("after_commit"),
            Some((end, done, ends_session)) => {
                return finish(&mut stage, waiting, end, at + done, alive && !ends_session).await;
            }
        }
    }
    finish(&mut stage, waiting, RunEnd::Succeeded, plan.steps.len(), alive).await
}

/// Before each step: a stop was asked for, or the lock is no longer ours.
async fn may_not_go_on<R, P>(stage: &mut Stage<'_, R, P>, alive: &mut bool) -> Option<String> {
    if stage.interrupt.requested() {
        return Some("stopped on request".to_owned());
    }
    if let Some(reason) = stage.unusable.take() {
        return Some(reason);
    }
    match stage.session.holds_lock(stage.context.lock).await {
        Ok(true) => None,
        Ok(false) => Some("the lock on the target was lost".to_owned()),
        Err(fault) => {
            *alive = !fault.ends_session();
            Some(fault.to_string())
        }
    }
}

/// Turns a step's end into events; says how the run ends if it does, how many more steps are done,
/// and whether the session is over.
fn take_in<R, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
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
            let error =
                RecordedError { code: None, line: None, message: reason.clone(), statement: None };
            waiting.push(failed(&error, effect));
            Some((RunEnd::Interrupted { step: at, reason }, 0, false))
        }
        StepEnd::Settled { event, took_effect } => {
            waiting.push(event);
            let reason = "the connection was lost around a commit".to_owned();
            Some((RunEnd::Interrupted { step: at, reason }, usize::from(took_effect), true))
        }
        StepEnd::InDoubt { reason } => Some((RunEnd::InDoubt { step: at, reason }, 0, true)),
        StepEnd::NotRecorded(error) => {
            Some((RunEnd::NotRecorded { unrecorded: None, error }, 0, false))
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
        RunEnd::Interrupted { reason, .. } => (RunOutcome::Interrupted, Some(reason.clone())),
        // The run stays open: whoever comes next settles it from evidence.
        RunEnd::InDoubt { .. } | RunEnd::NotRecorded { .. } => {
            return RunReport { end, done, session_alive: alive };
        }
    };
    let run = stage.context.run;
    waiting.push(RunFinished { outcome, reason, run, steps_done: done as u64 }.into());
    match stage.recorder.record(waiting).await {
        Ok(_) => {
            failpoint::hit("after_outcome");
            RunReport { end, done, session_alive: alive }
        }
        Err(error) => {
            let unrecorded = done.checked_sub(1);
            let end = RunEnd::NotRecorded { unrecorded, error };
            RunReport { end, done, session_alive: alive }
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
        statements: step.statements.len() as u64,
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
    let (code, hint, position, text) = match fault {
        Fault::Server(error) => {
            let text = error.message.clone();
            (Some(error.code.clone()), error.hint.clone(), error.position, text)
        }
        Fault::Connection(_) | Fault::Protocol(_) => (None, None, None, fault.to_string()),
    };
    let line = planned.map(|planned| {
        let before = position.map_or(0, |at| {
            planned.sql.chars().take(at.saturating_sub(1)).filter(|&c| c == '\n').count()
        });
        u64::from(planned.line) + before as u64
    });
    let statement = statement.map(|at| at as u64 + 1);
    (RecordedError { code, line, message: shorten(text), statement }, hint)
}

fn shorten(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
    }
    message
}

/// SQLSTATE of a unique violation: somebody else has written the ledger row.
pub(crate) const UNIQUE_VIOLATION: &str = "23505";

/// Says that somebody else has taken the step.
pub(crate) fn already_taken(step: &PlannedStep) -> RecordedError {
    let did = match step.direction {
        Direction::Up => "applied",
        Direction::Down => "rolled back",
    };
    RecordedError {
        code: Some(UNIQUE_VIOLATION.to_owned()),
        line: None,
        message: format!("{} has been {did} by another runner in the meantime", step.id()),
        statement: None,
    }
}
