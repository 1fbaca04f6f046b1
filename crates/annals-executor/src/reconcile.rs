//! Settles a step whose outcome is unknown, from evidence in the target.

use std::time::{Duration, Instant};

use annals_events::{Evidence, ReconciledAs, StepKey, StepMode, TargetIdentity};
use annals_postgres::{ConnectError, Fate, Fault, LedgerError, Session, TransactionStatus};
use annals_projections::OpenStep;

use crate::context::RunContext;

/// How often the target is asked after a lost connection: as long as its silence is put up with.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a backend is waited for that has outlived its run and lost its lock.
const BACKEND_PATIENCE: Duration = Duration::from_secs(20);

/// Why a step cannot be settled now.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The target cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The target cannot be asked.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What answers is another database.
    #[error("the database that answers now is another one: {found}, not {expected}")]
    OtherDatabase {
        /// Where the step ran.
        expected: String,
        /// What answers.
        found: String,
    },
    /// A backend is still at it.
    #[error("transaction {0} is still in progress in the target")]
    InProgress(String),
    /// What answers replays another server.
    #[error("the server that answers is a standby: it cannot say yet what was lost")]
    Standby,
    /// What answers has never reached the step's transaction.
    #[error(
        "the server that answers has never reached transaction {transaction} and has no ledger row \
         of it: another server has taken over, or this one was rewound"
    )]
    Rewound {
        /// The step's transaction.
        transaction: String,
    },
    /// The step's transaction has committed, and its ledger row is not there.
    #[error(
        "transaction {transaction} has committed, and the ledger row it wrote is not there: something \
         has removed it, and the step it was for has taken effect"
    )]
    RowRemoved {
        /// The step's transaction.
        transaction: String,
    },
    /// A backend of the run outlives its process, and has lost the lock.
    #[error("backend {pid} of run {run} is still there ({state}): its step may still take effect")]
    StillAtWork {
        /// Its process id.
        pid: i32,
        /// The run.
        run: annals_events::RunId,
        /// What it does, where this role may see it.
        state: String,
    },
}

/// Settles the commit of a transactional step after the connection was lost around it.
///
/// The ledger row decides; `pg_xact_status` says when it is safe to conclude from its absence.
pub(crate) async fn settle_commit(
    context: &RunContext<'_>,
    identity: &TargetIdentity,
    key: StepKey,
    transaction: &str,
) -> Result<(ReconciledAs, Evidence), ReconcileError> {
    let deadline = Instant::now() + Duration::from_millis(context.settings.silence_ms);
    loop {
        match ask(context, identity, key, transaction).await {
            Ok(settled) => return Ok(settled),
            Err(
                error @ (ReconcileError::OtherDatabase { .. }
                | ReconcileError::Rewound { .. }
                | ReconcileError::RowRemoved { .. }),
            ) => return Err(error),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) => tracing::info!(%error, "asking again what became of a commit"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(
    context: &RunContext<'_>,
    identity: &TargetIdentity,
    key: StepKey,
    transaction: &str,
) -> Result<(ReconciledAs, Evidence), ReconcileError> {
    let mut session = context.spec.connect(&context.application_name(), &context.settings).await?;
    check_identity(&session, identity)?;
    if session.facts().in_recovery {
        session.close().await;
        return Err(ReconcileError::Standby);
    }
    // The row first: where it is, nothing else matters. Where it is not, it is asked for again once
    // the transaction is known to be over: it may have committed between the two.
    let installed = session.has_ledger().await?;
    let ledger_row = installed && has_row(&mut session, context.workspace, key).await?;
    let status = session.transaction_fate(transaction).await?;
    let transaction = transaction.to_owned();
    let ledger_row = match status {
        _ if ledger_row => true,
        Fate::Known(TransactionStatus::InProgress) => {
            session.close().await;
            return Err(ReconcileError::InProgress(transaction));
        }
        Fate::InTheFuture => {
            session.close().await;
            return Err(ReconcileError::Rewound { transaction });
        }
        Fate::Known(status) => {
            let stands = installed && has_row(&mut session, context.workspace, key).await?;
            if !stands && status == TransactionStatus::Committed {
                session.close().await;
                return Err(ReconcileError::RowRemoved { transaction });
            }
            stands
        }
    };
    session.close().await;
    let found = if ledger_row { ReconciledAs::TookEffect } else { ReconciledAs::NoEffect };
    let evidence = Evidence {
        ledger_row,
        statements_done: 0,
        transaction: Some(transaction),
        transaction_status: Some(status.as_str().to_owned()),
    };
    Ok((found, evidence))
}

fn check_identity(session: &Session, expected: &TargetIdentity) -> Result<(), ReconcileError> {
    let found = &session.facts().identity;
    if found.is_same_database(expected) {
        return Ok(());
    }
    let show = |identity: &TargetIdentity| {
        format!("{} on system {}", identity.database, identity.system_identifier)
    };
    Err(ReconcileError::OtherDatabase { expected: show(expected), found: show(found) })
}

async fn has_row(
    session: &mut Session,
    workspace: &str,
    key: StepKey,
) -> Result<bool, LedgerError> {
    let rows = session.read_ledger(workspace).await?;
    Ok(rows.iter().any(|row| row.run == key.run && row.step == key.step))
}

/// Waits until no backend of `run` is at work any more.
async fn wait_for_backends(
    session: &mut Session,
    run: annals_events::RunId,
) -> Result<(), ReconcileError> {
    let (deadline, mut said) = (Instant::now() + BACKEND_PATIENCE, false);
    loop {
        let backends = session.backends_of(&format!("annals/{run}")).await?;
        let Some(backend) = backends.into_iter().next() else { return Ok(()) };
        let (pid, state) = (backend.pid, backend.state);
        if Instant::now() >= deadline {
            return Err(ReconcileError::StillAtWork { pid, run, state });
        }
        if !said {
            tracing::warn!(
                "backend {pid} of run {run} is still there ({state}), although its lock is gone: \
                 waiting up to {} s for its end",
                BACKEND_PATIENCE.as_secs()
            );
            said = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Settles the open step of an earlier run that was killed.
///
/// `session` holds the workspace's lock, so the backend of that run is gone, unless it has lost the
/// lock: a backend that goes by the run's name is waited for. Then its transaction is over, and the
/// ledger row alone decides.
///
/// # Errors
///
/// When the target cannot be asked, or is another database.
pub async fn reconcile(
    session: &mut Session,
    workspace: &str,
    step: &OpenStep,
    identity: Option<&TargetIdentity>,
) -> Result<(ReconciledAs, Evidence), ReconcileError> {
    if let Some(identity) = identity {
        check_identity(session, identity)?;
    }
    wait_for_backends(session, step.key.run).await?;
    let installed = session.has_ledger().await?;
    let ledger_row = installed && has_row(session, workspace, step.key).await?;
    let mut statements_done = 0;
    if installed && step.mode == StepMode::StatementByStatement {
        let rows = session.read_statements(workspace, &step.version, step.ordinal).await?;
        statements_done = rows.len() as u64;
    }
    let begun = !step.progress.is_empty();
    let found = match (ledger_row, statements_done > 0 || begun) {
        (true, _) => ReconciledAs::TookEffect,
        (false, true) => ReconciledAs::Partial,
        (false, false) => ReconciledAs::NoEffect,
    };
    let evidence =
        Evidence { ledger_row, statements_done, transaction: None, transaction_status: None };
    Ok((found, evidence))
}
