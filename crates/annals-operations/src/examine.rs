//! A look at the target before a plan is begun: what it will certainly not do is refused here.

use annals_events::Direction;
use annals_executor::examine;
use annals_migrations::{MigrationSet, Plan, Position, Problem, StatementClass};
use annals_planner::{Reason, Refusal};
use annals_postgres::{KeyLook, Session};

use crate::error::Failure;
use crate::open;
use crate::targets::Target;

/// Refuses a plan that holds a statement the target does not do as it is.
///
/// # Errors
///
/// All of them, each with its file and line.
pub(crate) async fn check(
    session: &mut Session,
    set: &MigrationSet,
    target: &Target,
    plan: &Plan,
) -> Result<(), Failure> {
    let found = examine(session, plan).await.map_err(open::fault(target))?;
    let reasons = found.into_iter().filter_map(|found| {
        let step = plan.steps.get(found.step)?;
        let statement = step.statements.get(found.statement)?;
        let migration = set.get(&step.version)?;
        let file = match step.direction {
            Direction::Up => Some(&migration.up),
            Direction::Down => migration.down.as_ref(),
        };
        let mut reason = found.objection.reason;
        if let Some(instead) = found.objection.instead {
            reason.push_str(&format!("; write into a file of its own:\n\n{instead}"));
        }
        let position = Some(Position { line: statement.line, column: 1 });
        Some(Reason::File(Problem { path: file?.path().to_owned(), position, reason }))
    });
    let reasons: Vec<Reason> = reasons.collect();
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { reasons }.into()) }
}

/// How long the way of each backfill is, as far as the server's statistics tell.
///
/// # Errors
///
/// When the target does not answer.
pub(crate) async fn estimates(
    session: &mut Session,
    target: &Target,
    plan: &Plan,
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for step in &plan.steps {
        for statement in &step.statements {
            let StatementClass::Backfill { batch, column, table, .. } = &statement.class else {
                continue;
            };
            let look = session.backfill_key(table, column).await.map_err(open::fault(target))?;
            // A table an earlier step makes is not there yet.
            let KeyLook::Good(key) = look else { continue };
            notes.push(match key.rows_about {
                Some(rows) => format!(
                    "{}: about {rows} rows of {} to go through, in about {} batches",
                    step.id(),
                    key.table,
                    rows.div_ceil(*batch)
                ),
                None => format!(
                    "{}: how many rows {} has is not known before an ANALYZE",
                    step.id(),
                    key.table
                ),
            });
        }
    }
    Ok(notes)
}
