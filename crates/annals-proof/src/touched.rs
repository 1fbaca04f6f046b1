//! The tables a group is about, and the walk with rows in them.

use annals_migrations::{Migration, SourceFile};
use annals_postgres::Session;

use crate::errand::{Eyes, check_alive};
use crate::group::{Group, Manner, Walk};
use crate::place::RehearsalError;
use crate::relations::Relations;
use crate::report::{RowsReport, Skipped};
use crate::rows::{read_rows, read_rows_of};
use crate::sample::{ROWS, Table, read_tables, write_rows};

/// Tables that a group is about.
pub(crate) struct Touched {
    /// By the names they have before it.
    pub(crate) before: Vec<String>,
    /// By the names they have behind it.
    behind: Vec<String>,
}

impl Touched {
    pub(crate) fn of(then: &Relations, behind: &Relations, up: &Walk, down: &Walk) -> Self {
        let before = then.touched(&up.locks).into_iter().chain(then.touched(&down.locks));
        let (mut before, mut behind): (Vec<String>, Vec<String>) = (
            before.collect(),
            behind.touched(&up.locks).into_iter().chain(behind.touched(&down.locks)).collect(),
        );
        for names in [&mut before, &mut behind] {
            names.sort();
            names.dedup();
        }
        Self { before, behind }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.behind.is_empty()
    }
}

/// Goes up and down once more with rows in the tables the group is about.
pub(crate) async fn with_rows(
    session: &mut Session,
    group: &Group<'_>,
    touched: &Touched,
    manner: Manner,
) -> Result<Option<RowsReport>, RehearsalError> {
    if touched.is_empty() {
        return Ok(None);
    }
    let mut report = RowsReport::default();
    let mut relations = Relations::default();
    let tables = read_tables(session, &touched.before).await?;
    report.before = write(session, &tables, 1, manner, &mut report.skipped).await?;
    let before = read_rows_of(session, &tables).await?;
    let up = group.up(session, manner, Eyes::Closed, &mut relations).await?;
    if let Some(failure) = up.failure {
        report.up_failure = Some(failure);
        return Ok(Some(report));
    }
    let behind = read_tables(session, &touched.behind).await?;
    let earlier = read_rows_of(session, &behind).await?;
    report.behind = write(session, &behind, 1 + ROWS, manner, &mut report.skipped).await?;
    let written = read_rows_of(session, &behind).await?.beyond(&earlier);
    let down = group.down(session, manner, Eyes::Closed, &mut relations).await?;
    if let Some(failure) = down.failure {
        report.down_failure = Some(failure);
        return Ok(Some(report));
    }
    report.lost = before.lost_in(&read_rows(session, &tables).await?);
    report.would_be_lost = written.lost_in(&read_rows(session, &behind).await?);
    Ok(Some(report))
}

/// Writes sample rows; returns how many.
async fn write(
    session: &mut Session,
    tables: &[Table],
    first: u64,
    manner: Manner,
    skipped: &mut Vec<Skipped>,
) -> Result<u64, RehearsalError> {
    if tables.is_empty() {
        return Ok(0);
    }
    if manner == Manner::Committing {
        session.run("BEGIN").await?;
    }
    let written = write_rows(session, tables, first).await?;
    if manner == Manner::Committing
        && let Err(fault) = session.commit().await
    {
        check_alive(&fault)?;
        // A deferred constraint has refused all of them.
        let refused =
            |table: &Table| Skipped { table: table.name.clone(), reason: fault.to_string() };
        skipped.extend(tables.iter().map(refused));
        return Ok(0);
    }
    let is_new = written.skipped.into_iter().filter(|found| !skipped.contains(found));
    let new: Vec<Skipped> = is_new.collect();
    skipped.extend(new);
    Ok(written.rows)
}

/// Words of files that may write behind the back of the session they run in: by another one, or
/// while the server is told not to count.
const ELSEWHERE: &[&str] = &["track_counts", "dblink", "pg_background", "program"];

/// Whether what the files write is counted by the session they run in.
pub(crate) fn is_followed(migration: &Migration) -> bool {
    let files = std::iter::once(&migration.up).chain(&migration.down);
    files.map(SourceFile::script).all(|script| {
        script.is_ok_and(|script| {
            let mut statements = script.statements.iter();
            script.streamed.is_none()
                && statements.all(|statement| {
                    let text = statement.text.to_ascii_lowercase();
                    !ELSEWHERE.iter().any(|word| text.contains(word))
                })
        })
    })
}
