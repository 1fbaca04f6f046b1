//! Puts rows of a restored backup back into a target, in one transaction.

use std::collections::BTreeSet;

use annals_events::{RestoredTable, RowsWanted};
use annals_postgres::{Fault, Session};

use crate::catalog::{SETTINGS, words};
use crate::error::ArchiveError;
use crate::manifest::Manifest;
use crate::pairs::{Allowed, TablePair};
use crate::search::{CHANGED, MISSING, RowSearch, found_table};
use crate::tables::SequenceUse;

/// What is handed over at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Names nobody gives a column.
const MARK: &str = "\"annals: mark\"";
const ROW: &str = "\"annals: row\"";

/// The table of the session on the target that holds rows for table `at`.
fn staged_table(at: usize) -> String {
    format!("pg_temp.annals_rows_{at}")
}

fn refused(what: impl Into<String>) -> impl FnOnce(Fault) -> ArchiveError {
    let what = what.into();
    move |fault| match fault.ends_session() {
        true => ArchiveError::Fault(fault),
        false => ArchiveError::Refused { what, fault },
    }
}

/// Brings the rows that were found into temporary tables of a session on the target.
///
/// # Errors
///
/// When either side does not do it.
pub async fn stage_rows(
    search: &mut RowSearch,
    target: &mut Session,
    rows: RowsWanted,
) -> Result<(), ArchiveError> {
    target.run(SETTINGS).await?;
    for (at, pair) in search.pairs.iter().enumerate() {
        let staged = staged_table(at);
        let name = staged.trim_start_matches("pg_temp.");
        let (columns, source) = (pair.columns.join(", "), pair.target.source());
        let make = format!(
            "CREATE TEMP TABLE {name} AS SELECT 0::pg_catalog.int2 AS {MARK}, \
             NULL::pg_catalog.bytea AS {ROW}, {columns} FROM {source} WITH NO DATA"
        );
        let what = || format!("rows of {}", pair.target.name);
        target.run(&make).await.map_err(refused(what()))?;
        let of_backup = TablePair::list("s", &pair.columns);
        let marks = match rows {
            RowsWanted::Missing => format!("f.mark = {MISSING}"),
            RowsWanted::Changed => format!("f.mark = {CHANGED}"),
            RowsWanted::All => "true".to_owned(),
        };
        let read = format!(
            "COPY (SELECT f.mark, f.row, {of_backup} FROM {} s JOIN {} f ON f.key = {} WHERE {marks}) \
             TO STDOUT",
            pair.backup.source(),
            found_table(at),
            TablePair::hash("s", &pair.key.columns),
        );
        let mut copy =
            target.copy_in(&format!("COPY {staged} FROM STDIN")).await.map_err(refused(what()))?;
        let mut chunk = Vec::new();
        let reading = search.session.copy_out(&read, async |row| {
            chunk.extend_from_slice(row);
            if chunk.len() >= CHUNK_BYTES {
                copy.send(&chunk).await?;
                chunk.clear();
            }
            Ok::<(), ArchiveError>(())
        });
        reading.await?;
        copy.send(&chunk).await.map_err(refused(what()))?;
        copy.finish().await.map_err(refused(what()))?;
        target.run(&format!("ANALYZE {staged}")).await?;
    }
    Ok(())
}

/// What was put back, in a transaction that is still open.
#[derive(Debug)]
pub struct PutBack {
    /// Every table that was named.
    pub tables: Vec<RestoredTable>,
    /// What should be known besides.
    pub notes: Vec<String>,
}

/// Puts staged rows back: what is missing in an order in which foreign keys hold, then what has changed,
/// then sequences. The transaction is left open, for whoever has something to add to it.
///
/// A row that came back meanwhile, or changed once more, is left as it is.
///
/// # Errors
///
/// What the server refuses; the transaction is to be rolled back then.
pub async fn put_back(
    search: &RowSearch,
    target: &mut Session,
    manifest: &Manifest,
    allowed: Allowed,
    lock_timeout_ms: u64,
) -> Result<PutBack, ArchiveError> {
    target.run("BEGIN").await?;
    target
        .run(&format!(
            "SET LOCAL lock_timeout = {lock_timeout_ms}; SET LOCAL synchronous_commit = on"
        ))
        .await?;
    // Nobody writes to them until it is done; all commands take the locks in one order.
    let mut names: Vec<&str> = search.pairs.iter().map(|pair| pair.target.name.as_str()).collect();
    names.sort_unstable();
    for name in &names {
        let lock = format!("LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE");
        target.run(&lock).await.map_err(refused(format!("the lock on {name}")))?;
    }
    let triggers: Vec<_> = match allowed.triggers {
        true => Vec::new(),
        false => search.pairs.iter().flat_map(|pair| &pair.target.triggers).collect(),
    };
    for it in &triggers {
        let off = format!("ALTER TABLE ONLY {} DISABLE TRIGGER {}", it.table, it.name);
        let what = format!("the trigger {} of {}", it.name, it.table);
        target.run(&off).await.map_err(refused(what))?;
    }
    let mut tables: Vec<RestoredTable> = search.pairs.iter().map(nothing).collect();
    if allowed.rows != RowsWanted::Changed {
        for group in in_order(&search.pairs) {
            for (at, rows) in insert(search, target, &group).await? {
                tables[at].inserted = rows;
            }
        }
    }
    if allowed.rows != RowsWanted::Missing {
        for (at, pair) in search.pairs.iter().enumerate() {
            tables[at].replaced = replace(target, pair, at).await?;
        }
    }
    let mut notes = Vec::new();
    for (at, pair) in search.pairs.iter().enumerate() {
        for sequence in pair.target.sequences.iter().filter(|_| tables[at].inserted > 0) {
            notes.extend(move_forward(target, pair, at, sequence, manifest).await?);
        }
    }
    // Deferred checks would fail at the commit, where nobody says which.
    target.run("SET CONSTRAINTS ALL IMMEDIATE").await.map_err(refused("a deferred constraint"))?;
    for it in &triggers {
        let on = if it.enabled == "A" { "ENABLE ALWAYS" } else { "ENABLE" };
        let on = format!("ALTER TABLE ONLY {} {on} TRIGGER {}", it.table, it.name);
        target
            .run(&on)
            .await
            .map_err(refused(format!("the trigger {} of {}", it.name, it.table)))?;
    }
    Ok(PutBack { tables, notes })
}

fn nothing(pair: &TablePair) -> RestoredTable {
    RestoredTable { inserted: 0, replaced: 0, table: pair.target.name.clone() }
}

/// Tables in groups, each behind those its foreign keys refer to. Tables that refer to each other are one
/// group: the checks of one statement are made at its end.
fn in_order(pairs: &[TablePair]) -> Vec<Vec<usize>> {
    let names: BTreeSet<&str> = pairs.iter().map(|pair| pair.target.name.as_str()).collect();
    let (mut done, mut groups) = (BTreeSet::new(), Vec::new());
    let mut left: Vec<usize> = (0..pairs.len()).collect();
    while !left.is_empty() {
        let is_free = |at: &usize| {
            let mut needs = pairs[*at].target.references.iter().map(String::as_str);
            needs.all(|name| !names.contains(name) || done.contains(name))
        };
        let (free, rest): (Vec<usize>, Vec<usize>) = left.iter().partition(|at| is_free(at));
        left = rest;
        // Nobody can begin: all that is left, in one statement.
        let group = if free.is_empty() { std::mem::take(&mut left) } else { free };
        done.extend(group.iter().map(|at| pairs[*at].target.name.as_str()));
        groups.push(group);
    }
    groups
}

/// Inserts what is missing in the tables of a group, in one statement.
async fn insert(
    search: &RowSearch,
    target: &mut Session,
    group: &[usize],
) -> Result<Vec<(usize, u64)>, ArchiveError> {
    let one = |at: &usize| {
        let pair = &search.pairs[*at];
        let (name, columns) = (&pair.target.name, pair.columns.join(", "));
        format!(
            "i{at} AS (INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE \
             SELECT {} FROM {} b WHERE b.{MARK} = {MISSING} \
             AND NOT EXISTS (SELECT FROM {} x WHERE {}) RETURNING 1)",
            TablePair::list("b", &pair.columns),
            staged_table(*at),
            pair.target.source(),
            pair.same("x", "b"),
        )
    };
    let all: Vec<String> = group.iter().map(one).collect();
    let counts: Vec<String> =
        group.iter().map(|at| format!("(SELECT count(*) FROM i{at})::text")).collect();
    let sql = format!("WITH {} SELECT {}", all.join(", "), counts.join(", "));
    let names: Vec<&str> = group.iter().map(|at| search.pairs[*at].target.name.as_str()).collect();
    let what = format!("missing rows of {}", names.join(", "));
    let rows = target.texts(&sql).await.map_err(refused(what))?;
    let row = rows.into_iter().next().unwrap_or_default();
    let counts = row.into_iter().map(|count| count.and_then(|n| n.parse().ok()).unwrap_or(0));
    Ok(group.iter().copied().zip(counts).collect())
}

/// Gives rows the content they have in the backup, unless they changed since they were compared.
async fn replace(target: &mut Session, pair: &TablePair, at: usize) -> Result<u64, ArchiveError> {
    let is_set = |column: &&String| !pair.key.columns.contains(column);
    let set: Vec<String> =
        pair.columns.iter().filter(is_set).map(|it| format!("{it} = b.{it}")).collect();
    if set.is_empty() {
        return Ok(0);
    }
    let sql = format!(
        "UPDATE {} AS x SET {} FROM {} b WHERE b.{MARK} = {CHANGED} AND {} AND {} = b.{ROW}",
        pair.target.source(),
        set.join(", "),
        staged_table(at),
        pair.same("x", "b"),
        TablePair::hash("x", &pair.columns),
    );
    let what = format!("changed rows of {}", pair.target.name);
    target.run_counting(&sql).await.map_err(refused(what))
}

/// Moves a sequence behind the rows that came back and behind where the backup has it; never back.
async fn move_forward(
    target: &mut Session,
    pair: &TablePair,
    at: usize,
    sequence: &SequenceUse,
    manifest: &Manifest,
) -> Result<Option<String>, ArchiveError> {
    let SequenceUse { name, column, increment, owned } = sequence;
    let further = |a: i64, b: i64| if *increment > 0 { a.max(b) } else { a.min(b) };
    let then = manifest.sequences.iter().find(|state| state.name == *name && state.is_called);
    let mut wanted = then.map(|state| state.last_value);
    let is_whole = |type_name: &str| matches!(type_name, "smallint" | "integer" | "bigint");
    let counted = pair.columns.contains(column)
        && pair.target.column(column).is_some_and(|it| is_whole(&it.type_name));
    if counted {
        let end = if *increment > 0 { "max" } else { "min" };
        let sql = format!(
            "SELECT {end}({column})::text FROM {} WHERE {MARK} = {MISSING}",
            staged_table(at)
        );
        let highest = words(target, &sql).await?.first().and_then(|it| it.parse::<i64>().ok());
        wanted = match (wanted, highest) {
            (Some(a), Some(b)) => Some(further(a, b)),
            (a, b) => a.or(b),
        };
    }
    let Some(wanted) = wanted else { return Ok(None) };
    let stands = format!("SELECT last_value::text || ' ' || is_called::text FROM {name}");
    let is_behind = |stand: &str| {
        let (value, called) = stand.split_once(' ').unwrap_or_default();
        let value: i64 = value.parse().unwrap_or(wanted);
        let moves = further(value, wanted) == wanted && value != wanted;
        moves || (value == wanted && called != "true")
    };
    let what = format!("the sequence {name}");
    let stand = words(target, &stands).await.map_err(refused(what.clone()))?;
    if !stand.first().is_some_and(|stand| is_behind(stand)) {
        return Ok(None);
    }
    if !owned {
        return Ok(Some(format!(
            "the sequence {name} stands before rows that came back, and only its owner may move it: \
             SELECT setval('{}', {wanted})",
            name.replace('\'', "''")
        )));
    }
    // Whoever takes a number waits for this, as it locks what `nextval` needs; nothing is changed.
    let lock = format!("ALTER SEQUENCE {name} INCREMENT BY {increment}");
    target.run(&lock).await.map_err(refused(what.clone()))?;
    let stand = words(target, &stands).await.map_err(refused(what.clone()))?;
    if stand.first().is_some_and(|stand| is_behind(stand)) {
        let literal = crate::catalog::literal(name);
        let set = format!("SELECT pg_catalog.setval({literal}, {wanted}, true)");
        target.run(&set).await.map_err(refused(what))?;
    }
    Ok(None)
}
