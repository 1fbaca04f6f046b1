//! Statements that cannot run in a transaction: look, act, look again.
//!
//! What may not be there at all has been refused by [`crate::objection`] before; here, what is found
//! is ours.

use annals_migrations::{PlannedStatement, PlannedStep, ReindexScope, StatementClass};
use annals_postgres::{
    Attachment, Existence, Fault, IndexState, UnderName, attachment, drop_index_concurrently,
    existence, index_state, reindex_leftovers, under_name,
};

use crate::run::Stage;
use crate::transaction::{Stopped, run_cancellable};

/// Runs one statement and checks its postcondition. Returns what made running it unnecessary.
pub(crate) async fn run<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    statement: &PlannedStatement,
    begun: bool,
) -> Result<Option<String>, Stopped> {
    let sql = statement.sql.as_str();
    match &statement.class {
        StatementClass::ConcurrentIndexBuild { index, table, .. } => {
            build(stage, (sql, step), index, table).await
        }
        StatementClass::ConcurrentIndexDrop { index, .. } => {
            drop(stage, (sql, step), index, begun).await
        }
        StatementClass::ConcurrentReindex { name, scope } => {
            reindex(stage, (sql, step), *scope, name.as_deref()).await.map(|()| None)
        }
        StatementClass::ConcurrentDetach { partition, table } => {
            detach(stage, (sql, step), table, partition).await
        }
        StatementClass::Creation { name, object } => {
            let look = existence(stage.session, *object, name).await.map_err(Stopped::Fault)?;
            let word = object.as_str();
            if begun && look == Existence::There {
                return Ok(Some(format!("{word} {name} is there")));
            }
            send(stage, sql, step).await?;
            match existence(stage.session, *object, name).await.map_err(Stopped::Fault)? {
                Existence::There => Ok(None),
                state => Err(broken(format!("after its creation {word} {name} is {state:?}"))),
            }
        }
        StatementClass::Removal { name, object, .. } => {
            let look = existence(stage.session, *object, name).await.map_err(Stopped::Fault)?;
            let word = object.as_str();
            if begun && look == Existence::Missing {
                return Ok(Some(format!("{word} {name} is gone")));
            }
            send(stage, sql, step).await?;
            match existence(stage.session, *object, name).await.map_err(Stopped::Fault)? {
                Existence::Missing => Ok(None),
                state => Err(broken(format!("after its removal {word} {name} is {state:?}"))),
            }
        }
        StatementClass::Repeatable
        | StatementClass::Transactional
        | StatementClass::Backfill { .. } => send(stage, sql, step).await.map(|()| None),
    }
}

fn broken(message: String) -> Stopped {
    Stopped::Fault(Fault::Protocol(message))
}

async fn build<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    (sql, step): (&str, &PlannedStep),
    index: &str,
    table: &str,
) -> Result<Option<String>, Stopped> {
    match under_name(stage.session, index, table).await.map_err(Stopped::Fault)? {
        UnderName::Index { valid: true, .. } => {
            return Ok(Some(format!("index {index} is there and valid")));
        }
        UnderName::Index { valid: false, qualified, .. } => {
            tracing::info!(index, "dropping the index an interrupted build left INVALID");
            send(stage, &drop_index_concurrently(&qualified), step).await?;
        }
        UnderName::Nothing | UnderName::Other(_) => {}
    }
    send(stage, sql, step).await?;
    match under_name(stage.session, index, table).await.map_err(Stopped::Fault)? {
        UnderName::Index { valid: true, .. } => Ok(None),
        UnderName::Index { .. } => Err(broken(format!("after the build index {index} is INVALID"))),
        UnderName::Nothing | UnderName::Other(_) => {
            Err(broken(format!("after the build there is no index {index}")))
        }
    }
}

async fn drop<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    (sql, step): (&str, &PlannedStep),
    index: &str,
    begun: bool,
) -> Result<Option<String>, Stopped> {
    let before = index_state(stage.session, index).await.map_err(Stopped::Fault)?;
    if begun && before == IndexState::Missing {
        return Ok(Some(format!("index {index} is gone")));
    }
    send(stage, sql, step).await?;
    match index_state(stage.session, index).await.map_err(Stopped::Fault)? {
        IndexState::Missing => Ok(None),
        state => Err(broken(format!("after the drop index {index} is {state:?}"))),
    }
}

/// Rebuilding once more what is rebuilt already changes nothing; what an interrupted run of ours
/// has left is dropped first.
async fn reindex<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    (sql, step): (&str, &PlannedStep),
    scope: ReindexScope,
    name: Option<&str>,
) -> Result<(), Stopped> {
    let left = reindex_leftovers(stage.session, scope, name).await.map_err(Stopped::Fault)?;
    for index in left {
        tracing::info!(index, "dropping the index an interrupted REINDEX left INVALID");
        send(stage, &drop_index_concurrently(&index), step).await?;
    }
    send(stage, sql, step).await?;
    let left = reindex_leftovers(stage.session, scope, name).await.map_err(Stopped::Fault)?;
    match left.first() {
        None => Ok(()),
        Some(index) => Err(broken(format!("after the rebuild index {index} is left INVALID"))),
    }
}

async fn detach<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    (sql, step): (&str, &PlannedStep),
    table: &str,
    partition: &str,
) -> Result<Option<String>, Stopped> {
    match attachment(stage.session, table, partition).await.map_err(Stopped::Fault)? {
        Attachment::None => return Ok(Some(format!("{partition} is detached from {table}"))),
        Attachment::Partition => send(stage, sql, step).await?,
        Attachment::DetachPending => {
            tracing::info!(partition, "ending the DETACH an interrupted run has begun");
            let end = format!("ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE");
            send(stage, &end, step).await?;
        }
    }
    match attachment(stage.session, table, partition).await.map_err(Stopped::Fault)? {
        Attachment::None => Ok(None),
        state => Err(broken(format!("after the detach {partition} is {state:?} of {table}"))),
    }
}

/// Sends it under the limits of what cannot run in a transaction.
async fn send<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    sql: &str,
    step: &PlannedStep,
) -> Result<(), Stopped> {
    let limits = step.timeouts;
    let own = format!(
        "SET lock_timeout = {}; SET statement_timeout = {}",
        limits.lock_outside_ms, limits.statement_ms
    );
    stage.session.run(&own).await.map_err(Stopped::Fault)?;
    let sent = run_cancellable(stage, step, sql).await;
    let normal = stage.context.settings.lock_timeout_ms;
    let normal = format!("SET lock_timeout = {normal}; SET statement_timeout = 0");
    let reset = stage.session.run(&normal).await;
    sent?;
    reset.map_err(Stopped::Fault)
}
