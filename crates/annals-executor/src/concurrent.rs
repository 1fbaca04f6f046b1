//! Statements that cannot run in a transaction: look, act, look again.

use annals_migrations::{PlannedStatement, StatementClass, Timeouts};
use annals_postgres::{Fault, IndexState, drop_index_concurrently, index_on_table, index_state};

use crate::run::Stage;
use crate::transaction::{Stopped, run_cancellable};

/// Runs one statement and checks its postcondition. Returns what made running it unnecessary.
pub(crate) async fn run<R, P>(
    stage: &mut Stage<'_, R, P>,
    statement: &PlannedStatement,
    begun: bool,
    limits: Timeouts,
) -> Result<Option<String>, Stopped> {
    match &statement.class {
        StatementClass::ConcurrentIndexBuild { index, table, .. } => {
            build(stage, (statement, limits), (index, table), begun).await
        }
        StatementClass::ConcurrentIndexDrop { index } => {
            drop(stage, (statement, limits), index, begun).await
        }
        StatementClass::Repeatable | StatementClass::Transactional => {
            send(stage, statement, limits).await.map(|()| None)
        }
    }
}

/// Says, before the intent of a build is recorded, what stands in its way: an index of that name.
/// Afterwards nobody could tell ours from somebody else's.
pub(crate) async fn name_taken<R, P>(
    stage: &mut Stage<'_, R, P>,
    statement: &PlannedStatement,
) -> Result<Option<String>, Fault> {
    let StatementClass::ConcurrentIndexBuild { index, table, if_not_exists } = &statement.class
    else {
        return Ok(None);
    };
    let state = match index_on_table(stage.session, index, table).await? {
        IndexState::Missing => return Ok(None),
        IndexState::Valid if *if_not_exists => return Ok(None),
        IndexState::Valid => "valid",
        IndexState::Invalid => "INVALID",
    };
    Ok(Some(format!(
        "index {index} is there already, {state}, and annals did not begin it; drop it, or give \
         the new one another name"
    )))
}

fn broken(message: String) -> Stopped {
    Stopped::Fault(Fault::Protocol(message))
}

async fn build<R, P>(
    stage: &mut Stage<'_, R, P>,
    (statement, limits): (&PlannedStatement, Timeouts),
    (index, table): (&str, &str),
    begun: bool,
) -> Result<Option<String>, Stopped> {
    let look = |state: Result<IndexState, Fault>| state.map_err(Stopped::Fault);
    match look(index_on_table(stage.session, index, table).await)? {
        IndexState::Valid if begun => {
            return Ok(Some(format!("index {index} is there and valid")));
        }
        IndexState::Invalid if begun => {
            tracing::info!(index, "dropping the index an interrupted build left INVALID");
            drop_index_concurrently(stage.session, index, table).await.map_err(Stopped::Fault)?;
        }
        IndexState::Missing | IndexState::Valid | IndexState::Invalid => {}
    }
    send(stage, statement, limits).await?;
    match look(index_on_table(stage.session, index, table).await)? {
        IndexState::Valid => Ok(None),
        state => Err(broken(format!("after the build index {index} is {state:?}, not valid"))),
    }
}

async fn drop<R, P>(
    stage: &mut Stage<'_, R, P>,
    (statement, limits): (&PlannedStatement, Timeouts),
    index: &str,
    begun: bool,
) -> Result<Option<String>, Stopped> {
    let before = index_state(stage.session, index).await.map_err(Stopped::Fault)?;
    if begun && before == IndexState::Missing {
        return Ok(Some(format!("index {index} is gone")));
    }
    send(stage, statement, limits).await?;
    match index_state(stage.session, index).await.map_err(Stopped::Fault)? {
        IndexState::Missing => Ok(None),
        state => Err(broken(format!("after the drop index {index} is {state:?}"))),
    }
}

/// Sends it under the limits of what cannot run in a transaction.
async fn send<R, P>(
    stage: &mut Stage<'_, R, P>,
    statement: &PlannedStatement,
    limits: Timeouts,
) -> Result<(), Stopped> {
    let own = format!(
        "SET lock_timeout = {}; SET statement_timeout = {}",
        limits.lock_outside_ms, limits.statement_ms
    );
    stage.session.run(&own).await.map_err(Stopped::Fault)?;
    let sent = run_cancellable(stage.session, &statement.sql, stage.context, stage.interrupt).await;
    let normal = stage.context.settings.lock_timeout_ms;
    let normal = format!("SET lock_timeout = {normal}; SET statement_timeout = 0");
    let reset = stage.session.run(&normal).await;
    sent?;
    reset.map_err(Stopped::Fault)
}
