//! Settles a step whose outcome is unknown, from evidence in the target.

use std::time::{Duration, Instant};

use annals_events::{Evidence, ReconciledAs, StepKey, StepMode, TargetIdentity};
use annals_postgres::{ConnectError, Fault, LedgerError, Session, TransactionStatus};
use annals_projections::OpenStep;

use crate::context::RunContext;

/// For how long, and how often, the target is asked after a lost connection.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);

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
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask(context, identity, key, transaction).await {
            Ok(settled) => return Ok(settled),
            Err(error @ ReconcileError::OtherDatabase { .. }) => return Err(error),
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
    let status = session.transaction_status(transaction).await?;
    if status == TransactionStatus::InProgress {
        session.close().await;
        return Err(ReconcileError::InProgress(transaction.to_owned()));
    }
    let ledger_row = has_row(&mut session, context.workspace, key).await?;
    session.close().await;
    let found = if ledger_row { ReconciledAs::TookEffect } else { ReconciledAs::NoEffect };
    let evidence = Evidence {
        ledger_row,
        statements_done: 0,
        transaction: Some(transaction.to_owned()),
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

/// Settles the open step of an earlier run that was killed.
///
/// `session` holds the workspace's lock: the backend of that run is gone, so its transaction is
/// over, and the ledger row alone decides.
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
