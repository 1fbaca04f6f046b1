//! What a plan takes away: named by its text, counted on the target as it is now.

use std::time::Duration;

use annals_events::Direction;
use annals_migrations::{Loss, Plan, losses};
use annals_postgres::{Counted, RowCount, Session};

use crate::error::Failure;
use crate::open;
use crate::targets::Target;

/// Counting takes no longer than this, in all.
const LIMIT: Duration = Duration::from_secs(5);

/// Something a step takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLoss {
    /// `<version>_<name>`.
    pub step: String,
    /// The file.
    pub file: String,
    /// Line of the statement, from 1.
    pub line: u32,
    /// What goes: `table t`, `column t.c`, `rows of t`.
    pub what: String,
    /// How many rows.
    pub rows: RowCount,
    /// The table they are of; none where that is not known.
    pub table: Option<String>,
    /// Whether it is all rows of the table.
    pub whole: bool,
}

/// What the steps of a plan take away. Going up, what is not there yet is nobody's loss.
pub(crate) async fn of_plan(
    session: &mut Session,
    target: &Target,
    plan: &Plan,
) -> Result<Vec<StepLoss>, Failure> {
    let mut found = Vec::new();
    for step in &plan.steps {
        for statement in &step.statements {
            for loss in losses(&statement.sql) {
                found.push((step.id(), step.file.name.clone(), statement.line, loss));
            }
        }
        if step.streamed.is_some() {
            let loss = Loss::Unknown("a file too large for a plan is not looked at");
            found.push((step.id(), step.file.name.clone(), 1, loss));
        }
    }
    let (mut all, mut asked) = (Vec::new(), Vec::new());
    for (step, file, line, loss) in found {
        for (what, counted) in told(session, target, loss).await? {
            asked.extend(counted.clone().ok());
            all.push((step.clone(), file.clone(), line, what, counted));
        }
    }
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let counts = session.count_losses(&asked, LIMIT).await.map_err(open::fault(target))?;
    let mut counts = counts.into_iter();
    let losses = all.into_iter().map(|(step, file, line, what, counted)| StepLoss {
        step,
        file,
        line,
        what,
        rows: match &counted {
            Ok(_) => counts.next().unwrap_or(RowCount::Unknown("it was not counted".to_owned())),
            Err(reason) => RowCount::Unknown(reason.clone()),
        },
        table: counted.as_ref().ok().map(|counted| counted.table().clone()),
        whole: matches!(counted, Ok(Counted::Rows(_))),
    });
    let is_there = |loss: &StepLoss| {
        let absent = matches!(&loss.rows, RowCount::Unknown(why) if why.starts_with("there is no"));
        plan.direction == Direction::Down || !absent
    };
    Ok(losses.filter(is_there).collect())
}

type Told = (String, Result<Counted, String>);

async fn told(session: &mut Session, target: &Target, loss: Loss) -> Result<Vec<Told>, Failure> {
    Ok(match loss {
        Loss::Table(table) => vec![(format!("table {table}"), Ok(Counted::Rows(table)))],
        Loss::Rows(table) => vec![(format!("rows of {table}"), Ok(Counted::Rows(table)))],
        Loss::Chosen { table, from } => {
            vec![(format!("some rows of {table}"), Ok(Counted::Chosen { table, from }))]
        }
        Loss::Column { table, column } => {
            let what = format!("column {table}.{column}");
            vec![(what, Ok(Counted::Values { table, column }))]
        }
        Loss::Schema(schema) => {
            let tables = session.tables_of_schema(&schema).await.map_err(open::fault(target))?;
            let tables = tables.into_iter();
            tables.map(|table| (format!("table {table}"), Ok(Counted::Rows(table)))).collect()
        }
        Loss::Unknown(why) => vec![("unknown".to_owned(), Err(why.to_owned()))],
    })
}

/// Rows that are lost, each once: what goes with its table is not counted by itself. None where not
/// all of it could be counted.
pub fn rows_lost(losses: &[StepLoss]) -> Option<u64> {
    let counts = losses.iter().enumerate().filter(|(at, loss)| {
        // Counted with its table: here, or by an earlier statement.
        let with = if loss.whole { &losses[..*at] } else { losses };
        let known = loss.table.is_some();
        !(known && with.iter().any(|other| other.whole && other.table == loss.table))
    });
    let rows = counts.map(|(_, loss)| match loss.rows {
        RowCount::Exactly(rows) | RowCount::About(rows) => Some(rows),
        RowCount::Unknown(_) => None,
    });
    rows.sum()
}

/// In words, for people: `table t: 12 rows`.
pub fn loss_in_words(loss: &StepLoss) -> String {
    let rows = |n: u64| if n == 1 { "1 row".to_owned() } else { format!("{n} rows") };
    match &loss.rows {
        RowCount::Exactly(n) => format!("{}: {}", loss.what, rows(*n)),
        RowCount::About(n) => format!("{}: about {} (by statistics)", loss.what, rows(*n)),
        RowCount::Unknown(why) if loss.what == "unknown" => why.clone(),
        RowCount::Unknown(why) => format!("{}: not counted: {why}", loss.what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(table: Option<&str>, whole: bool, rows: RowCount) -> StepLoss {
        StepLoss {
            step: "1_a".to_owned(),
            file: "1_a_rollback.sql".to_owned(),
            line: 1,
            what: "rows".to_owned(),
            rows,
            table: table.map(str::to_owned),
            whole,
        }
    }

    #[test]
    fn a_row_is_lost_once() {
        let some = loss(Some("t"), false, RowCount::Exactly(10));
        let all = loss(Some("t"), true, RowCount::Exactly(50));
        let other = loss(Some("u"), false, RowCount::About(7));
        let unknown = loss(None, false, RowCount::Unknown("a DO block".to_owned()));
        assert_eq!(rows_lost(&[some.clone(), all.clone(), all.clone(), other.clone()]), Some(57));
        assert_eq!(rows_lost(&[some, other]), Some(17));
        assert_eq!(rows_lost(&[all, unknown]), None);
        assert_eq!(rows_lost(&[]), Some(0));
    }
}
