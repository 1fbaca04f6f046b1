//! A migration on tables with as many rows as its file asks for: how long it takes, and how long it
//! keeps others out.
//!
//! Rows are made by the server, one statement a table. What they hold is made up: a duration here is that
//! of the amount, not of the data.

use annals_migrations::Migration;
use annals_postgres::{Fault, Session};
use serde::Serialize;

use crate::errand::Eyes;
use crate::group::{Group, Manner, Walk};
use crate::place::RehearsalError;
use crate::relations::{Relations, rank};
use crate::report::{FileFailure, FileSeen, Skipped};
use crate::sample::{Table, attempt, read_tables, write_rows};

/// Rows that are tried before all of them are made.
const FIRST: u64 = 10;

/// A table and the rows that are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filled {
    /// The table.
    pub table: String,
    /// Rows that were really made.
    pub rows: u64,
}

/// A lock, and how long others would have met it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockHeld {
    /// As `LOCK TABLE` spells it.
    pub mode: &'static str,
    /// The relation.
    pub relation: String,
    /// From the statement that took it to the end of its transaction, in microseconds.
    pub us: u64,
}

/// One way, with these rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ScaledWay {
    /// How long all of it took, in microseconds.
    pub us: u64,
    /// The strongest lock on each relation that was there, longest first.
    pub locks: Vec<LockHeld>,
    /// Statements whose locks cannot be seen: they stand outside a transaction.
    pub unseen: u64,
}

/// A migration and its rollback, on many rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ScaleReport {
    /// Rows the file asks for in each table.
    pub asked: u64,
    /// Tables, with what is in them.
    pub tables: Vec<Filled>,
    /// Tables that got no rows.
    pub skipped: Vec<Skipped>,
    /// The migration.
    pub up: ScaledWay,
    /// The rollback; none where there is none, or nothing came to it.
    pub down: Option<ScaledWay>,
    /// What one of both fails with on these rows.
    pub failure: Option<FileFailure>,
}

impl ScaleReport {
    /// It in one sentence.
    pub fn sentence(&self) -> String {
        let tables = self.tables.iter().map(|filled| format!("{} {}", filled.table, filled.rows));
        let tables: Vec<String> = tables.collect();
        let of = match tables.is_empty() {
            true => "no table of it got rows".to_owned(),
            false => format!("rows: {}", tables.join(", ")),
        };
        let mut parts = vec![of];
        let ways = [("up", Some(&self.up)), ("down", self.down.as_ref())];
        for (name, way) in ways.into_iter().filter_map(|(name, way)| Some((name, way?))) {
            let mut text = format!("{name} {}", ms(way.us));
            if let Some(lock) = way.longest() {
                let mode = lock.mode.to_lowercase();
                text.push_str(&format!(", {mode} on {} for {}", lock.relation, ms(lock.us)));
            }
            if way.unseen > 0 {
                text.push_str(", locks outside a transaction are not seen");
            }
            parts.push(text);
        }
        let skipped =
            self.skipped.iter().map(|left| format!("no rows in {}: {}", left.table, left.reason));
        parts.extend(skipped);
        parts.extend(self.failure.as_ref().map(|failure| format!("it fails: {failure}")));
        format!("asked for {} rows a table: {}", self.asked, parts.join("; "))
    }
}

impl ScaledWay {
    /// Of the strongest locks the one that was held longest.
    pub fn longest(&self) -> Option<&LockHeld> {
        self.locks.iter().max_by_key(|lock| (rank(lock.mode), lock.us))
    }

    fn of(seen: &FileSeen, is_transaction: bool) -> Self {
        let mut way = Self { us: seen.us, ..Self::default() };
        let mut passed_us = 0;
        for statement in &seen.statements {
            let held = match is_transaction {
                true => seen.us.saturating_sub(passed_us),
                false => statement.us,
            };
            passed_us += statement.us;
            way.unseen += u64::from(statement.locks.is_none());
            for lock in statement.locks.iter().flatten() {
                let here = LockHeld { mode: lock.mode, relation: lock.relation.clone(), us: held };
                match way.locks.iter_mut().find(|known| known.relation == here.relation) {
                    Some(known) if (rank(here.mode), here.us) > (rank(known.mode), known.us) => {
                        *known = here;
                    }
                    Some(_) => {}
                    None => way.locks.push(here),
                }
            }
        }
        way.locks.sort_by(|a, b| b.us.cmp(&a.us).then_with(|| a.relation.cmp(&b.relation)));
        way
    }
}

fn ms(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

/// How many rows a migration asks for, in its own file or that of its rollback.
pub(crate) fn asked(migration: &Migration) -> Option<u64> {
    let files = std::iter::once(&migration.up).chain(&migration.down);
    files.filter_map(|file| file.script().ok()?.directives.test_rows).max()
}

/// Fills the tables `names`, and goes up and down once: a report for each member of the group.
pub(crate) async fn at_scale(
    session: &mut Session,
    group: &Group<'_>,
    names: &[String],
    asked: u64,
) -> Result<Vec<ScaleReport>, RehearsalError> {
    let mut report = ScaleReport { asked, ..ScaleReport::default() };
    session.reset().await?;
    let tables = read_tables(session, names).await?;
    fill(session, &tables, &mut report).await?;
    let mut relations = Relations::read(session).await?;
    let up = group.up(session, Manner::Committing, Eyes::Open, &mut relations).await?;
    let mut down = Walk::default();
    let goes_back = up.failure.is_none() && group.irreversible.is_none() && group.has_downs();
    if goes_back {
        down = group.down(session, Manner::Committing, Eyes::Open, &mut relations).await?;
    }
    report.failure = up.failure.or(down.failure);
    let members = group.members.iter().enumerate().map(|(at, member)| {
        let way = |seen: &[FileSeen], file: Option<&annals_migrations::SourceFile>| {
            let script = file.and_then(|file| file.script().ok());
            let is_transaction = script.is_none_or(|script| script.directives.transaction);
            seen.get(at).map(|seen| ScaledWay::of(seen, is_transaction))
        };
        ScaleReport {
            up: way(&up.seen, Some(&member.up)).unwrap_or_default(),
            down: way(&down.seen, member.down.as_ref()).filter(|_| goes_back),
            ..report.clone()
        }
    });
    Ok(members.collect())
}

async fn fill(
    session: &mut Session,
    tables: &[Table],
    report: &mut ScaleReport,
) -> Result<(), Fault> {
    if tables.is_empty() {
        return Ok(());
    }
    session.run("BEGIN").await?;
    for table in tables {
        match fill_one(session, table, report.asked).await? {
            Ok(rows) => report.tables.push(Filled { table: table.name.clone(), rows }),
            Err(reason) => {
                report.skipped.push(Skipped { table: table.name.clone(), reason });
            }
        }
    }
    if let Err(fault) = session.commit().await {
        crate::errand::check_alive(&fault)?;
        // A deferred constraint has refused all of them.
        let all = report
            .tables
            .drain(..)
            .map(|filled| Skipped { table: filled.table, reason: fault.to_string() });
        report.skipped.extend(all);
        return Ok(());
    }
    let names: Vec<&str> = report.tables.iter().map(|filled| filled.table.as_str()).collect();
    match names.is_empty() {
        true => Ok(()),
        false => session.run(&format!("ANALYZE {}", names.join(", "))).await,
    }
}

/// Rows of a table, however many of them could be made; the reason where there are none.
async fn fill_one(
    session: &mut Session,
    table: &Table,
    asked: u64,
) -> Result<Result<u64, String>, Fault> {
    let mut reason = "its rows exclude each other".to_owned();
    let before = count(session, table).await?;
    for insert in table.series(session).await? {
        let (mut first, mut left) = (1, FIRST.min(asked));
        while left > 0 {
            let sql = insert.replace("$FIRST$", &first.to_string());
            let sql = sql.replace("$LAST$", &(first + left - 1).to_string());
            if let Err(fault) = attempt(session, &sql).await? {
                reason = fault.to_string();
                break;
            }
            (first, left) = (first + left, asked.saturating_sub(first + left - 1));
        }
        let made = count(session, table).await?.saturating_sub(before);
        // What one way cannot make the next one may.
        if made >= asked || (made > 0 && left == 0) {
            return Ok(Ok(made));
        }
    }
    let made = count(session, table).await?.saturating_sub(before);
    if made > 0 {
        return Ok(Ok(made));
    }
    // A few rows, as the proof makes them, are more than none.
    let written = write_rows(session, std::slice::from_ref(table), 1).await?;
    Ok(match written.rows {
        0 => Err(reason),
        rows => Ok(rows),
    })
}

async fn count(session: &mut Session, table: &Table) -> Result<u64, Fault> {
    let query = format!("SELECT pg_catalog.count(*) FROM ONLY {}", table.name);
    let rows = session.texts(&query).await?;
    let first = rows.into_iter().flatten().flatten().next();
    Ok(first.and_then(|text| text.parse().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{LockSeen, StatementSeen};

    fn statement(us: u64, locks: &[(&'static str, &str)]) -> StatementSeen {
        let locks =
            locks.iter().map(|(mode, relation)| LockSeen { mode, relation: (*relation).into() });
        StatementSeen { line: 1, us, locks: Some(locks.collect()), rewrites: Vec::new() }
    }

    #[test]
    fn a_lock_is_held_from_its_statement_to_the_end_of_the_transaction() {
        let statements = vec![
            statement(100, &[("SHARE", "t")]),
            statement(30, &[("ACCESS EXCLUSIVE", "t"), ("ACCESS SHARE", "u")]),
        ];
        let seen = FileSeen { us: 150, statements };
        let held = |is_transaction| {
            let way = ScaledWay::of(&seen, is_transaction);
            let all = way.locks.iter().map(|lock| (lock.mode, lock.relation.clone(), lock.us));
            all.collect::<Vec<_>>()
        };
        let both =
            |us| vec![("ACCESS EXCLUSIVE", "t".to_owned(), us), ("ACCESS SHARE", "u".into(), us)];
        assert_eq!(held(true), both(50));
        assert_eq!(held(false), both(30));
    }
}
