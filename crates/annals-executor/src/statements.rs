//! A step outside a transaction: one statement at a time, effectively once.
//!
//! What can run in a transaction does, together with its row in `annals.statements`: exactly once.
//! What cannot has a recorded intent, a postcondition the catalog can answer, and a repair. The
//! step's ledger row follows its last statement.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use annals_events::{Digest, Effect, Event, RecordedError, StatementStarted, StatementSucceeded};
use annals_migrations::{PlannedStatement, PlannedStep, StatementClass};
use annals_postgres::{Fault, StatementRow};

use crate::context::{Intent, Recorder};
use crate::failpoint;
use crate::objection::{Objection, objection};
use crate::run::{Stage, StepEnd, UNIQUE_VIOLATION, already_taken, describe, ledger_row, limits};
use crate::transaction::{Lost, Stopped, again, commit, commit_alone, regain, run_giving_way};
use crate::{backfill, concurrent};

pub(crate) async fn run<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
) -> StepEnd {
    match all(stage, step, at, intent).await {
        Ok(end) | Err(end) => end,
    }
}

/// Every statement that is not done yet, then the ledger row.
async fn all<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
) -> Result<StepEnd, StepEnd> {
    let done = done_before(stage, step).await?;
    backfill::check_progress(stage, step).await?;
    for (n, statement) in step.statements.iter().enumerate() {
        if done.contains(&(n as u64 + 1)) {
            continue;
        }
        if n > 0 {
            check_lock(stage).await?;
        }
        stage.progress.statement_started(statement, n + 1, step.statements.len());
        run_statement(stage, step, at, intent, n).await?;
    }
    check_lock(stage).await?;
    Ok(write_ledger_row(stage, step, at, intent).await)
}

/// A file that has released the lock of its run has let others in: nothing more of it is run.
async fn check_lock<R, P>(stage: &mut Stage<'_, R, P>) -> Result<(), StepEnd> {
    let message = match stage.session.holds_lock(stage.context.lock).await {
        Ok(true) => return Ok(()),
        Ok(false) => {
            regain(stage).await.map_err(StepEnd::NotRecorded)?;
            "a statement of the file has released the lock of the run (pg_advisory_unlock_all, DISCARD \
             ALL): nothing behind it was run"
                .to_owned()
        }
        Err(fault) => fault.to_string(),
    };
    Err(refused(message, Effect::Partial))
}

/// Statements the target shows as done, each checked against the file.
async fn done_before<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
) -> Result<BTreeSet<u64>, StepEnd> {
    let rows = stage.session.read_statements(stage.context.workspace, &step.version, step.ordinal);
    let rows = rows.await.map_err(|error| refused(error.to_string(), Effect::None))?;
    let rows: BTreeMap<u64, Digest> =
        rows.into_iter().map(|row| (row.statement, row.sql)).collect();
    for (statement, digest) in &rows {
        let planned = usize::try_from(*statement - 1).ok().and_then(|n| step.statements.get(n));
        if planned.map(sql_digest) != Some(*digest) {
            let reason = format!(
                "statement {statement} has been done in another form; restore it in the file and \
                 change only the statements behind it"
            );
            return Err(refused(reason, Effect::Partial));
        }
        if begun_as(stage, step, *statement) != Some(*digest) {
            let reason = format!(
                "the target shows statement {statement} as done, but the log has no intent of it: \
                 a row of annals.statements was added by hand"
            );
            return Err(refused(reason, Effect::Partial));
        }
    }
    Ok(rows.into_keys().collect())
}

/// The form in which an earlier run recorded the intent of a statement.
pub(crate) fn begun_as<R, P>(
    stage: &Stage<'_, R, P>,
    step: &PlannedStep,
    number: u64,
) -> Option<Digest> {
    stage.context.begun.get(&step.version)?.get(&number).copied()
}

fn sql_digest(statement: &PlannedStatement) -> Digest {
    Digest::of(statement.sql.as_bytes())
}

pub(crate) fn refused(message: String, effect: Effect) -> StepEnd {
    let error = RecordedError::of_message(message);
    StepEnd::Failed { error, effect, hint: None }
}

/// Refuses what stands in the way of the statement. Nothing of it is recorded then, so what is there
/// is never taken for ours.
async fn check_objection<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    n: usize,
    begun: bool,
) -> Result<(), StepEnd> {
    let statement = &step.statements[n];
    let effect = if n == 0 && !begun { Effect::None } else { Effect::Partial };
    match objection(stage.session, statement, begun, limits(step)).await {
        Ok(None) => Ok(()),
        Ok(Some(Objection { reason: message, instead: hint })) => {
            let (line, statement) = (Some(statement.line.into()), Some(n as u64 + 1));
            let error = RecordedError { code: None, line, message, statement };
            Err(StepEnd::Failed { error, effect, hint })
        }
        Err(fault) => Err(Stopped::Fault(fault).into_end(step, n, effect)),
    }
}

async fn run_statement<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
    n: usize,
) -> Result<(), StepEnd> {
    let statement = &step.statements[n];
    let (run, place, number) = (stage.context.run, at as u64, n as u64 + 1);
    let sql = sql_digest(statement);
    // Begun in another form is another statement: what stands there is not what this one builds.
    let begun = begun_as(stage, step, number) == Some(sql);
    check_objection(stage, step, n, begun).await?;
    let started: Event = StatementStarted { run, sql, statement: number, step: place }.into();
    stage.recorder.record(vec![started]).await.map_err(StepEnd::NotRecorded)?;
    failpoint::hit("after_statement_intent");
    let clock = Instant::now();
    let row = StatementRow { statement: number, sql };
    let found = match &statement.class {
        StatementClass::Transactional => {
            in_transaction(stage, step, at, intent, n, &row).await.map(|()| None)
        }
        _ => outside(stage, step, at, intent, n, (&row, begun)).await,
    };
    let found = found.map_err(|stopped| {
        let effect = effect(step, n, &stopped);
        stopped.into_end(step, n, effect)
    })?;
    let duration_us = u64::try_from(clock.elapsed().as_micros()).unwrap_or(u64::MAX);
    let succeeded: Event =
        StatementSucceeded { duration_us, found, run, statement: number, step: place }.into();
    stage.recorder.record(vec![succeeded]).await.map_err(StepEnd::NotRecorded)?;
    failpoint::hit("after_statement_outcome");
    Ok(())
}

/// What a failure of statement `n` leaves: the statements before it, an unfinished index, or what a
/// lost connection leaves unknown; the rows in the target tell the next run.
fn effect(step: &PlannedStep, n: usize, stopped: &Stopped) -> Effect {
    let alone = n == 0 && step.statements[n].class == StatementClass::Transactional;
    let lost = matches!(stopped, Stopped::Fault(fault) if fault.ends_session());
    if alone && !lost { Effect::None } else { Effect::Partial }
}

/// The statement and its row in one transaction; again where it loses against others.
async fn in_transaction<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
    n: usize,
    row: &StatementRow,
) -> Result<(), Stopped> {
    stage.watcher.forget();
    let mut tried = 0;
    loop {
        tried += 1;
        let began = Instant::now();
        let lost = match attempt(stage, step, at, intent, n, row).await {
            Err(Stopped::Lost(lost)) => lost,
            Err(Stopped::Fault(fault)) => match Lost::statement(&fault, step, n) {
                Some(lost) => lost,
                None => return Err(Stopped::Fault(fault)),
            },
            ended => return ended,
        };
        again(stage, step, lost, tried, began).await?;
    }
}

/// The transaction of one statement, once.
async fn attempt<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
    n: usize,
    row: &StatementRow,
) -> Result<(), Stopped> {
    stage.session.begin(limits(step)).await.map_err(Stopped::Fault)?;
    let ledger = ledger_row(stage.context, step, at, intent);
    let work = async {
        let begun = stage.session.insert_statement_row(&ledger, row).await;
        let begun = begun.map_err(Stopped::Fault)?;
        run_giving_way(stage, step, n).await.map(|()| begun)
    };
    let begun = match work.await {
        Ok(begun) => begun,
        Err(stopped) => {
            // The server has rolled back already, or does when it notices that we are gone.
            let _ = stage.session.roll_back().await;
            return Err(stopped);
        }
    };
    failpoint::hit("after_statement_effect");
    match commit_alone(stage, step, &begun).await {
        Err(Stopped::Fault(Fault::LockReleased)) => match regain(stage).await {
            Ok(()) => Err(Stopped::Fault(Fault::LockReleased)),
            Err(taken) => Err(Stopped::Taken(taken)),
        },
        committed => committed,
    }
}

/// The statement alone, then its row. `begun`: an earlier run recorded its intent.
async fn outside<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
    n: usize,
    (row, begun): (&StatementRow, bool),
) -> Result<Option<String>, Stopped> {
    let statement = &step.statements[n];
    let found = match &statement.class {
        StatementClass::Backfill { .. } => {
            backfill::run(stage, step, (at, intent), n, row).await.map(|()| None)?
        }
        _ => concurrent::run(stage, step, statement, begun).await?,
    };
    failpoint::hit("after_statement_effect");
    let ledger = ledger_row(stage.context, step, at, intent);
    stage.session.insert_statement_row(&ledger, row).await.map_err(Stopped::Fault)?;
    failpoint::hit("after_statement_row");
    Ok(found)
}

/// The ledger row of the whole step, in a transaction of its own.
async fn write_ledger_row<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
) -> StepEnd {
    let row = ledger_row(stage.context, step, at, intent);
    let written = async {
        stage.session.begin(limits(step)).await?;
        stage.session.insert_ledger_row(&row).await
    };
    let begun = match written.await {
        Ok(begun) => begun,
        Err(fault) => return row_not_written(stage, step, &fault).await,
    };
    failpoint::hit("before_commit");
    match commit(stage, step, at, begun).await {
        Ok(end) => end,
        Err(fault) => row_not_written(stage, step, &fault).await,
    }
}

async fn row_not_written<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    fault: &Fault,
) -> StepEnd {
    let _ = stage.session.roll_back().await;
    if fault.code() == Some(UNIQUE_VIOLATION) {
        return already_taken(step);
    }
    // Every statement is noted in the target; the next run writes the row.
    let (error, hint) = describe(fault, step, None);
    StepEnd::Failed { error, effect: Effect::Partial, hint }
}
