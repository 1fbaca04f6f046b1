//! A step that is one transaction: exactly once.
//!
//! The ledger row comes first, so whoever runs the same step at the same time waits here and is then
//! refused; it commits with the SQL or not at all. A crash before `COMMIT` reaches the server leaves
//! nothing; a crash after leaves the row, and the next command finds it.

use annals_events::{Effect, ReconciledAs, StepMode, StepReconciled};
use annals_migrations::PlannedStep;
use annals_postgres::{Fault, Session};

use crate::context::{Intent, Recorder, RunContext};
use crate::reconcile::settle_commit;
use crate::run::{
    Stage, StepEnd, UNIQUE_VIOLATION, already_taken, describe, key, ledger_row, limits,
};
use crate::{failpoint, interrupt::Interrupt};

pub(crate) async fn run<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
) -> StepEnd {
    let transaction = match inside(stage, step, at, intent).await {
        Ok(transaction) => transaction,
        Err(end) => {
            // The server has rolled back already, or does when it notices that we are gone.
            let _ = stage.session.roll_back().await;
            return end;
        }
    };
    failpoint::hit("before_commit");
    commit(stage, step, at, transaction)
        .await
        .unwrap_or_else(|fault| StepEnd::failed(&fault, step, None))
}

/// Commits `transaction`, which holds the step's ledger row; where the answer is lost, the target is
/// asked for that row.
///
/// # Errors
///
/// The server's refusal (a deferred constraint, say): it has rolled back.
pub(crate) async fn commit<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    transaction: String,
) -> Result<StepEnd, Fault> {
    // From here to the answer nobody can say whether the step took effect.
    match stage.session.commit().await {
        Ok(()) => Ok(StepEnd::Done { transaction }),
        Err(fault) if fault.is_verdict() => Err(fault),
        Err(_) => {
            stage.progress.in_doubt(step);
            Ok(settle(stage, step, at, &transaction).await)
        }
    }
}

/// The step's work up to its commit; returns its transaction.
async fn inside<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
) -> Result<String, StepEnd> {
    let failed = |fault: Fault| StepEnd::failed(&fault, step, None);
    stage.session.begin(limits(step)).await.map_err(failed)?;
    failpoint::hit("after_begin");
    let row = ledger_row(stage.context, step, at, intent);
    let transaction = match stage.session.insert_ledger_row(&row).await {
        Ok(transaction) => transaction,
        Err(fault) if fault.code() == Some(UNIQUE_VIOLATION) => {
            return Err(already_taken(step));
        }
        Err(fault) => return Err(failed(fault)),
    };
    failpoint::hit("after_ledger_row");
    for (n, statement) in step.statements.iter().enumerate() {
        run_cancellable(stage.session, &statement.sql, stage.context, stage.interrupt)
            .await
            .map_err(|stopped| stopped.into_end(step, n, Effect::None))?;
        failpoint::hit("after_statement");
    }
    stage.session.check_transaction(&transaction).await.map_err(failed)?;
    if stage.interrupt.requested() {
        let reason = "stopped on request before the commit".to_owned();
        return Err(StepEnd::Interrupted { effect: Effect::None, reason });
    }
    Ok(transaction)
}

/// Settles the commit of a step after the connection was lost around it.
async fn settle<R, P>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    transaction: &str,
) -> StepEnd {
    let key = key(stage.context, at);
    let identity = stage.session.facts().identity.clone();
    match settle_commit(stage.context, &identity, key, transaction).await {
        Ok((found, mut evidence)) => {
            let outside = step.mode == StepMode::StatementByStatement;
            if outside {
                // Only its ledger row is committed last; its statements took effect before.
                evidence.statements_done = step.statements.len() as u64;
            }
            let found = match found {
                ReconciledAs::NoEffect if outside => ReconciledAs::Partial,
                found => found,
            };
            let event = StepReconciled { evidence, found, run: key.run, step: key.step };
            StepEnd::Settled { event: event.into(), found }
        }
        Err(error) => StepEnd::InDoubt { reason: error.to_string() },
    }
}

/// How long a cancelled statement may take to end.
const CANCEL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// Why a statement did not finish.
pub(crate) enum Stopped {
    /// The server's error or the loss of the connection.
    Fault(Fault),
    /// A stop was asked for, and the statement was cancelled.
    OnRequest,
}

impl Stopped {
    /// The step's end, given what is left of it.
    pub(crate) fn into_end(self, step: &PlannedStep, statement: usize, effect: Effect) -> StepEnd {
        match self {
            Self::Fault(fault) => {
                let (error, hint) = describe(&fault, step, Some(statement));
                StepEnd::Failed { error, effect, hint }
            }
            Self::OnRequest => {
                let reason = format!("stopped on request in statement {}", statement + 1);
                StepEnd::Interrupted { effect, reason }
            }
        }
    }
}

/// Sends `sql`; when a stop is asked for meanwhile, cancels it and waits for the server's answer.
pub(crate) async fn run_cancellable(
    session: &mut Session,
    sql: &str,
    context: &RunContext<'_>,
    interrupt: &mut Interrupt,
) -> Result<(), Stopped> {
    let pid = session.facts().backend_pid;
    let work = session.run(sql);
    tokio::pin!(work);
    let finished = tokio::select! {
        biased;
        finished = &mut work => Some(finished),
        () = interrupt.wait() => None,
    };
    match finished {
        Some(result) => result.map_err(Stopped::Fault),
        None => {
            if let Ok(mut other) =
                context.spec.connect(&context.application_name(), &context.settings).await
            {
                // If it has just finished, there is nothing to cancel: also fine.
                let _ = other.cancel_backend(pid).await;
                other.close().await;
            }
            // A server that cannot be heard any more must not keep us: nothing is committed here.
            let _ = tokio::time::timeout(CANCEL_PATIENCE, work).await;
            Err(Stopped::OnRequest)
        }
    }
}
