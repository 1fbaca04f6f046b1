//! Keys between rows: foreign keys, unique keys, and sequences that give keys out.

use sqlx::Row;

use super::data::{ForeignKey, Sequence, UniqueKey};
use super::rows::{Range, evidence};
use super::statement::{Guard, Met, Statements, number};
use crate::fault::Fault;

/// A subject and what was seen of it, or nothing, or why it was not looked at.
pub(super) type Verdict = Result<Option<String>, Met>;

impl ForeignKey {
    fn child(&self) -> String {
        format!("{}{} t", if self.child_is_plain { "ONLY " } else { "" }, self.child)
    }

    fn parent(&self) -> String {
        format!("{}{} p", if self.parent_is_plain { "ONLY " } else { "" }, self.parent)
    }

    /// Rows that point at nobody.
    fn orphans(&self) -> String {
        let present = self.columns.iter().map(|(own, ..)| format!("num_nulls({own}) = 0"));
        let present = present.collect::<Vec<_>>();
        let points = match self.match_full {
            // With some of it NULL it matches nobody, and must not be.
            true => format!("({})", present.join(" OR ")),
            false => present.join(" AND "),
        };
        let (last, equal) = match self.columns.split_last() {
            Some((last, equal)) if self.period => (Some(last), equal),
            _ => (None, self.columns.as_slice()),
        };
        let fits: Vec<&str> = equal.iter().map(|(_, fits, _)| fits.as_str()).collect();
        match last {
            None => format!(
                "{points} AND NOT EXISTS (SELECT FROM {} WHERE {})",
                self.parent(),
                fits.join(" AND ")
            ),
            Some((own, _, other)) => format!(
                "{points} AND NOT coalesce({own} OPERATOR(pg_catalog.<@) (SELECT \
                 pg_catalog.range_agg({other}) FROM {} WHERE {}), false)",
                self.parent(),
                fits.iter().copied().chain(["true"]).collect::<Vec<_>>().join(" AND ")
            ),
        }
    }

    /// The anti-join, of all rows or of those in some blocks.
    pub(super) async fn look(
        &self,
        line: &mut Statements,
        place: &str,
        range: Option<Range>,
    ) -> Result<Verdict, Fault> {
        let within = match range {
            None => String::new(),
            Some((from, None)) => format!("t.ctid >= '({from},0)'::tid AND "),
            Some((from, Some(to))) => {
                format!("t.ctid >= '({from},0)'::tid AND t.ctid < '({to},0)'::tid AND ")
            }
        };
        let place = match self.child_is_plain {
            true => place,
            false => "t.tableoid::pg_catalog.regclass::text || ' row ' || t.ctid::text",
        };
        let sql = format!(
            "SELECT count(*)::int8 AS n, string_agg(q.place, ', ' ORDER BY q.n) \
             FILTER (WHERE q.n <= 3) AS places FROM (SELECT row_number() OVER () AS n, {place} AS \
             place FROM {} WHERE {within}{}) q",
            self.child(),
            self.orphans()
        );
        let row = match line.row(Guard::Rows, &sql).await? {
            Ok(row) => row,
            Err(met) => return Ok(Err(met)),
        };
        let (count, places): (u64, Option<String>) = (number(&row, "n")?, row.try_get("places")?);
        let what = format!("of {} have no parent in {}", self.child, self.parent);
        // Of a table that is read in parts, the first part with orphans tells of them.
        let at_least = if range.is_some() { "at least " } else { "" };
        let found = || evidence(count, &what, &places.unwrap_or_default());
        Ok(Ok((count > 0).then(|| format!("{at_least}{}", found()))))
    }

    /// The two tables as they are read, to find out which of them cannot be.
    pub(super) fn tables(&self) -> [(&str, String); 2] {
        [(&self.child, self.child()), (&self.parent, self.parent())]
    }
}

impl UniqueKey {
    /// Groups the table by the key, without its index.
    pub(super) async fn look(&self, line: &mut Statements) -> Result<Verdict, Fault> {
        let keys = self.keys.join(", ");
        let mut conditions = Vec::new();
        if !self.nulls_are_equal {
            conditions.push(format!("num_nulls({keys}) = 0"));
        }
        conditions.extend(self.predicate.iter().map(|predicate| format!("({predicate})")));
        let filter = match conditions.as_slice() {
            [] => String::new(),
            all => format!(" WHERE {}", all.join(" AND ")),
        };
        let doubles = |what: &str| {
            format!(
                "SELECT {what} FROM ONLY {} t{filter} GROUP BY {keys} HAVING count(*) > 1",
                self.table
            )
        };
        let sql = format!("SELECT count(*)::int8 AS n FROM ({}) q", doubles(""));
        let count = match line.row(Guard::Rows, &sql).await? {
            Ok(row) => number(&row, "n")?,
            Err(met) => return Ok(Err(met)),
        };
        if count == 0 {
            return Ok(Ok(None));
        }
        let groups =
            doubles("string_agg('row ' || t.ctid::text, ' and ' ORDER BY t.ctid) AS places");
        let sql = format!("SELECT string_agg(q.places, '; ') AS places FROM ({groups} LIMIT 3) q");
        let places: Option<String> = match line.row(Guard::Rows, &sql).await? {
            Ok(row) => row.try_get("places")?,
            Err(_) => None,
        };
        let keys = if count == 1 { "key stands" } else { "keys stand" };
        Ok(Ok(Some(format!(
            "{count} {keys} more than once in {} ({})",
            self.table,
            places.unwrap_or_default()
        ))))
    }
}

impl Sequence {
    /// Compares what it gives out next with what is there.
    pub(super) async fn look(&self, line: &mut Statements) -> Result<Verdict, Fault> {
        let (largest, reached) = if self.increment > 0 { ("max", ">=") } else { ("min", "<=") };
        let sql = format!(
            "SELECT q.next::text AS next, q.top::text AS top, coalesce(q.top {reached} q.next, false) \
             AS behind FROM (SELECT s.last_value::numeric + CASE WHEN s.is_called THEN {} ELSE 0 END \
             AS next, m.top FROM {} s, (SELECT {largest}(t.{}) AS top FROM {} t) m) q",
            self.increment, self.name, self.column, self.table
        );
        // An index may answer; a damaged one is gone round.
        let row = match line.row(Guard::Catalog, &sql).await? {
            Err(Met::Damage(_)) => line.row(Guard::Rows, &sql).await?,
            answered => answered,
        };
        let row = match row {
            Ok(row) => row,
            Err(met) => return Ok(Err(met)),
        };
        if !row.try_get::<bool, _>("behind")? {
            return Ok(Ok(None));
        }
        let (next, top): (String, String) = (row.try_get("next")?, row.try_get("top")?);
        Ok(Ok(Some(format!(
            "it gives out {next} next, and {}.{} has gone as far as {top}",
            self.table, self.column
        ))))
    }
}
