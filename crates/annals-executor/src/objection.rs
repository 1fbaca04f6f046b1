//! What stands in the way of a statement outside a transaction, found before its intent is recorded:
//! afterwards nobody could tell what is ours from what is somebody else's.

use annals_migrations::{
    IndexForm, OutsideObject, Plan, PlannedStatement, ReindexScope, StatementClass, index_as,
};
use annals_postgres::{
    Attachment, Existence, Fault, IndexDefinition, IndexState, KeyLook, Session, TableLook,
    TransactionLimits, UnderName, attachment, clone_name, definition_on_clone, existence,
    index_state, look_at_table, reindex_leftovers, under_name,
};

use crate::recipe;

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// What it is.
    pub reason: String,
    /// What to write instead, where it takes more than a line.
    pub instead: Option<String>,
}

impl From<String> for Objection {
    fn from(reason: String) -> Self {
        Self { reason, instead: None }
    }
}

/// An objection, and the statement it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanObjection {
    /// The step, from 0.
    pub step: usize,
    /// The statement in it, from 0.
    pub statement: usize,
    /// What stands in its way.
    pub objection: Objection,
}

/// Looks, before a plan is begun, for what the target will certainly not do.
///
/// What an earlier step of the plan may still bring about is not asked for: each statement is looked
/// at once more before its intent is recorded.
///
/// # Errors
///
/// When the server does not answer.
pub async fn examine(session: &mut Session, plan: &Plan) -> Result<Vec<PlanObjection>, Fault> {
    let mut found = Vec::new();
    for (step, planned) in plan.steps.iter().enumerate() {
        for (n, statement) in planned.statements.iter().enumerate() {
            let objection = match &statement.class {
                StatementClass::ConcurrentIndexBuild { index, table, .. } => {
                    partitioned(session, statement, index, table).await?
                }
                StatementClass::ConcurrentIndexDrop { index, .. } => {
                    let state = index_state(session, index).await?;
                    (state == IndexState::Partitioned).then(|| no_such_drop(index))
                }
                StatementClass::Backfill { column, table, .. } if step == 0 => {
                    key_objection(session, table, column).await?
                }
                _ => None,
            };
            let about = |objection| PlanObjection { step, statement: n, objection };
            found.extend(objection.map(about));
        }
    }
    Ok(found)
}

/// Says what stands in the way of `statement`. `begun`: an earlier run recorded its intent, so what
/// is there may be ours.
pub(crate) async fn objection(
    session: &mut Session,
    statement: &PlannedStatement,
    begun: bool,
    limits: TransactionLimits,
) -> Result<Option<Objection>, Fault> {
    let said = match &statement.class {
        StatementClass::Transactional | StatementClass::Repeatable => None,
        StatementClass::ConcurrentIndexBuild { index, table, if_not_exists } => {
            if let Some(objection) = partitioned(session, statement, index, table).await? {
                return Ok(Some(objection));
            }
            let may_be_there = begun || *if_not_exists;
            build(session, statement, (index, table), (begun, may_be_there), limits).await?
        }
        StatementClass::ConcurrentIndexDrop { if_exists, index } => {
            match index_state(session, index).await? {
                IndexState::Partitioned => return Ok(Some(no_such_drop(index))),
                IndexState::Missing if !begun && !if_exists => {
                    Some(format!("there is no index {index} to drop"))
                }
                IndexState::Missing | IndexState::Valid | IndexState::Invalid => None,
            }
        }
        StatementClass::ConcurrentReindex { .. } if begun => None,
        StatementClass::ConcurrentReindex { name, scope } => {
            reindex(session, *scope, name.as_deref()).await?
        }
        StatementClass::ConcurrentDetach { .. } if begun => None,
        StatementClass::ConcurrentDetach { partition, table } => {
            detach(session, table, partition).await?
        }
        StatementClass::Creation { name, object } => create(session, *object, name, begun).await?,
        StatementClass::Removal { if_exists, name, object } => {
            let there = existence(session, *object, name).await?;
            let missing = there == Existence::Missing && !begun && !if_exists;
            missing.then(|| format!("there is no {} {name} to drop", object.as_str()))
        }
        StatementClass::Backfill { column, table, .. } => {
            return key_objection(session, table, column).await;
        }
    };
    Ok(said.map(Objection::from))
}

async fn partitioned(
    session: &mut Session,
    statement: &PlannedStatement,
    index: &str,
    table: &str,
) -> Result<Option<Objection>, Fault> {
    match look_at_table(session, table).await? {
        Some(look) if look.partitioned => {}
        _ => return Ok(None),
    }
    let reason = format!(
        "{table} is partitioned, and PostgreSQL builds no index of such a table concurrently; build \
         it partition by partition"
    );
    let instead = Some(recipe::of_build(session, &statement.sql, index, table).await?);
    Ok(Some(Objection { reason, instead }))
}

fn no_such_drop(index: &str) -> Objection {
    format!(
        "index {index} is partitioned, and PostgreSQL drops no such index concurrently; use DROP \
         INDEX in a file that is one transaction: it locks the table and its partitions for a moment"
    )
    .into()
}

async fn build(
    session: &mut Session,
    statement: &PlannedStatement,
    (index, table): (&str, &str),
    (begun, may_be_there): (bool, bool),
    limits: TransactionLimits,
) -> Result<Option<String>, Fault> {
    let (valid, found) = match under_name(session, index, table).await? {
        UnderName::Nothing => return Ok(None),
        UnderName::Other(what) => {
            return Ok(Some(format!("the name {index} is taken: {what}; choose another one")));
        }
        UnderName::Index { valid, definition, .. } => (valid, definition),
    };
    if !may_be_there || (!valid && !begun) {
        let state = if valid { "valid" } else { "INVALID" };
        return Ok(Some(format!(
            "index {index} is there already, {state}, and annals did not begin it; drop it, or give \
             the new one another name"
        )));
    }
    let Some(look) = look_at_table(session, table).await? else { return Ok(None) };
    let wanted = match wanted(session, statement, index, &look, limits).await {
        Ok(wanted) => wanted,
        Err(fault) if fault.ends_session() => return Err(fault),
        Err(fault) => {
            return Ok(Some(format!(
                "index {index} is there already, and whether it is the one of this statement cannot \
                 be found out on an empty copy of the table: {fault}; drop it, or give the new one \
                 another name"
            )));
        }
    };
    if wanted.is_same(&found) {
        return Ok(None);
    }
    Ok(Some(format!(
        "index {index} is there already with another definition; there is: {}; the file wants: {}; \
         drop the one that is there, or give the new one another name",
        found.text, wanted.text
    )))
}

/// What the statement makes, found by making it where there are no rows.
async fn wanted(
    session: &mut Session,
    statement: &PlannedStatement,
    index: &str,
    table: &TableLook,
    limits: TransactionLimits,
) -> Result<IndexDefinition, Fault> {
    let clone = clone_name(table);
    let form = IndexForm { concurrently: false, name: index, relation: &clone };
    let build = index_as(&statement.sql, &form)
        .ok_or_else(|| Fault::Protocol("the statement makes no index".to_owned()))?;
    definition_on_clone(session, table, (index, &build), limits).await
}

async fn reindex(
    session: &mut Session,
    scope: ReindexScope,
    name: Option<&str>,
) -> Result<Option<String>, Fault> {
    let left = reindex_leftovers(session, scope, name).await?;
    Ok(left.first().map(|index| {
        format!(
            "index {index} is INVALID, left by a REINDEX that annals did not begin; when nobody is \
             at it any more, drop it: DROP INDEX CONCURRENTLY {index}"
        )
    }))
}

async fn detach(
    session: &mut Session,
    table: &str,
    partition: &str,
) -> Result<Option<String>, Fault> {
    Ok(match attachment(session, table, partition).await? {
        Attachment::Partition => None,
        Attachment::None => Some(format!("{partition} is no partition of {table}")),
        Attachment::DetachPending => Some(format!(
            "{partition} is being detached from {table} already, and annals did not begin it; end \
             it first: ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE"
        )),
    })
}

async fn create(
    session: &mut Session,
    object: OutsideObject,
    name: &str,
    begun: bool,
) -> Result<Option<String>, Fault> {
    let object_name = object.as_str();
    Ok(match existence(session, object, name).await? {
        Existence::Missing => None,
        Existence::There if begun => None,
        Existence::There => Some(format!(
            "{object_name} {name} is there already, and annals did not begin it; drop it, or choose \
             another name"
        )),
        Existence::HalfDropped => Some(format!(
            "{object_name} {name} is there, half dropped; drop it first: DROP DATABASE {name}"
        )),
    })
}

async fn key_objection(
    session: &mut Session,
    table: &str,
    column: &str,
) -> Result<Option<Objection>, Fault> {
    Ok(match session.backfill_key(table, column).await? {
        KeyLook::Good(_) => None,
        KeyLook::NoTable => Some(format!("there is no table {table} to go through").into()),
        KeyLook::Bad(why) => Some(format!("no key to go by: {why}").into()),
    })
}
