//! All steps of a run in one transaction: each exactly once, and all or none.
//!
//! The intents stand next to each other in the log; each step's ledger row comes before its
//! statements, and all of them commit together.

use std::time::Instant;

use annals_events::{
    Effect, Event, ReconciledAs, RecordedError, StepFailed, StepReconciled, StepSucceeded,
};
use annals_migrations::{Plan, PlannedStep};
use annals_postgres::{Fault, MayHave, StepCommit, Witness};

use crate::context::{Intent, Recorder};
use crate::failpoint;
use crate::run::{RunEnd, Stage, StepEnd, Unrecorded, may_have};
use crate::transaction::{
    CANCELLED_COMMIT, Lost, Unworked, ask_for_row, before_another, gone, inside, is_cancelled,
    regain, roll_back, sent_commit,
};
use crate::watch::{Eyes, Manner};

/// What the one transaction came to.
pub(crate) struct Together {
    /// How the run ends.
    pub(crate) end: RunEnd,
    /// The outcomes, in the order of the steps; none while they are in doubt.
    pub(crate) outcomes: Vec<Event>,
    /// Steps that took effect.
    pub(crate) done: usize,
    /// The session cannot be used any more.
    pub(crate) is_session_over: bool,
}

impl Together {
    fn ended(end: RunEnd, outcomes: Vec<Event>, done: usize) -> Self {
        Self { end, outcomes, done, is_session_over: false }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Runs all steps of `plan`, whose intents are recorded; when they lose against others, all of them
/// again.
pub(crate) async fn run<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    plan: &Plan,
    intents: &[Intent],
) -> Together {
    stage.watcher.forget();
    let mut tried = 0;
    loop {
        tried += 1;
        let began = Instant::now();
        let (at, lost) = match attempt(stage, plan, intents).await {
            Ok(together) => return together,
            Err(lost) => lost,
        };
        if let Err(end) = before_another(stage, &plan.steps[at], lost, tried, began).await {
            return stopped(stage, plan, at, end);
        }
    }
}

/// The whole transaction, once.
///
/// # Errors
///
/// The step that lost against others; all of it is rolled back.
async fn attempt<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    plan: &Plan,
    intents: &[Intent],
) -> Result<Together, (usize, Lost)> {
    let mut durations = Vec::with_capacity(plan.steps.len());
    let (mut transaction, mut places) = (String::new(), Vec::with_capacity(plan.steps.len()));
    let mut may = MayHave::default();
    for (at, (step, intent)) in plan.steps.iter().zip(intents).enumerate() {
        stage.progress.step_started(step, at, plan.steps.len());
        let clock = Instant::now();
        let Stage { session, context, progress, interrupt, watcher, .. } = stage;
        let (pid, manner) = (session.facts().backend_pid, Manner::GivesWay);
        let eyes = Eyes { watcher, context, progress: *progress, interrupt, step, pid, manner };
        match inside(session, eyes, (step, at, *intent), at > 0).await {
            Ok(begun) => {
                transaction = begun.transaction;
                places.push(begun.place);
                may = may.or(may_have(step));
            }
            Err(Unworked::Gone(fault)) => return Ok(stopped(stage, plan, at, gone(&fault))),
            Err(Unworked::End(end)) => {
                roll_back(stage.session).await;
                return Ok(stopped(stage, plan, at, end));
            }
            Err(Unworked::Lost(lost)) => {
                roll_back(stage.session).await;
                return Err((at, lost));
            }
        }
        durations.push(micros(clock));
    }
    failpoint::hit("before_commit");
    let last = plan.steps.len() - 1;
    let (lock, witness) = (stage.context.lock, Witness::Ledger(&places));
    let commit = StepCommit { transaction: &transaction, lock, witness, may };
    let refused = match sent_commit(stage, &plan.steps[last], &commit).await {
        Ok(true) => return Ok(succeeded(stage, plan, &durations, &transaction)),
        Ok(false) => return Ok(settled(stage, plan, &transaction).await),
        Err(fault) if is_cancelled(stage, &fault) => {
            let reason = CANCELLED_COMMIT.to_owned();
            StepEnd::Interrupted { effect: Effect::None, reason }
        }
        Err(Fault::LockReleased) => match regain(stage).await {
            Ok(()) => StepEnd::failed(&Fault::LockReleased, &plan.steps[last], None),
            Err(error) => {
                let (step, unrecorded) = (last, Unrecorded::Stopped);
                let end = RunEnd::NotRecorded { step, unrecorded, error };
                return Ok(Together::ended(end, Vec::new(), 0));
            }
        },
        Err(fault) => StepEnd::failed(&fault, &plan.steps[last], None),
    };
    match Unworked::from(refused) {
        Unworked::Lost(lost) => Err((last, lost)),
        Unworked::End(end) => Ok(stopped(stage, plan, last, end)),
        Unworked::Gone(fault) => Ok(stopped(stage, plan, last, gone(&fault))),
    }
}

fn succeeded<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    plan: &Plan,
    durations: &[u64],
    transaction: &str,
) -> Together {
    let run = stage.context.run;
    let mut outcomes = Vec::with_capacity(plan.steps.len());
    for (at, (step, &duration_us)) in plan.steps.iter().zip(durations).enumerate() {
        let transaction = transaction.to_owned();
        let done = StepSucceeded { duration_us, run, step: at as u64, transaction };
        outcomes.push(done.into());
        stage.progress.step_succeeded(step, duration_us);
    }
    Together::ended(RunEnd::Succeeded, outcomes, plan.steps.len())
}

/// Step `at` has ended as `end`, and all are rolled back with it.
fn stopped<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    plan: &Plan,
    at: usize,
    end: StepEnd,
) -> Together {
    let step = &plan.steps[at];
    let (error, end, is_session_over) = match end {
        StepEnd::Failed { error, effect, hint } => {
            stage.progress.step_failed(step, &error);
            (error.clone(), RunEnd::Failed { step: at, error, effect, hint }, false)
        }
        StepEnd::Interrupted { reason, .. } => {
            (RecordedError::of_message(&reason), RunEnd::Interrupted { step: at, reason }, false)
        }
        StepEnd::NotBegun { reason, is_session_over } => {
            let error = RecordedError::of_message(&reason);
            (error, RunEnd::Disconnected { step: at, reason }, is_session_over)
        }
        StepEnd::Done { .. }
        | StepEnd::Settled { .. }
        | StepEnd::InDoubt { .. }
        | StepEnd::NotRecorded(_)
        | StepEnd::IntentNotDurable(_) => {
            unreachable!("inside the transaction nothing is committed and nothing recorded")
        }
    };
    let with_it = format!("rolled back together with {}, which did not take effect", step.id());
    let outcomes = (0..plan.steps.len()).map(|place| {
        let error = match place == at {
            true => error.clone(),
            false => RecordedError::of_message(&with_it),
        };
        let (run, step) = (stage.context.run, place as u64);
        StepFailed { duration_us: 0, effect: Effect::None, error, run, step }.into()
    });
    let outcomes = outcomes.collect();
    Together { is_session_over, ..Together::ended(end, outcomes, 0) }
}

/// The connection was lost around the commit.
async fn settled<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    plan: &Plan,
    transaction: &str,
) -> Together {
    let (found, evidence) = match ask_for_row(stage, 0, transaction).await {
        Ok(settled) => settled,
        Err(error) => {
            let end = RunEnd::InDoubt { step: 0, reason: error.to_string() };
            return Together { is_session_over: true, ..Together::ended(end, Vec::new(), 0) };
        }
    };
    let run = stage.context.run;
    let outcomes = (0..plan.steps.len()).map(|at| {
        StepReconciled { evidence: evidence.clone(), found, run, step: at as u64 }.into()
    });
    let outcomes = outcomes.collect();
    let (end, done) = match found {
        ReconciledAs::TookEffect => {
            plan.steps.iter().for_each(|step: &PlannedStep| stage.progress.step_succeeded(step, 0));
            (RunEnd::Succeeded, plan.steps.len())
        }
        ReconciledAs::NoEffect | ReconciledAs::Partial => {
            let error = RecordedError::of_message(
                "the connection was lost around the commit, which did not take effect",
            );
            stage.progress.step_failed(&plan.steps[0], &error);
            (RunEnd::Failed { step: 0, error, effect: Effect::None, hint: None }, 0)
        }
    };
    Together { is_session_over: true, ..Together::ended(end, outcomes, done) }
}
