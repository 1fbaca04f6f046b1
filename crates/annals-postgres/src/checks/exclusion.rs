//! Exclusion constraints: rows that must not meet, and do. Keys `WITHOUT OVERLAPS` are such too.

use sqlx::Row;

use super::data::{ExcludedKey, Exclusion};
use super::keys::Verdict;
use super::rows::evidence;
use super::statement::{Guard, Statements, number};
use crate::fault::Fault;

/// How rows that exclude each other are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Rows of equal columns are sorted by this key, a range. Of two that overlap, the first overlaps
    /// the one right behind it too: that one begins no later than the second.
    Sorted(usize),
    /// Each row is compared with each.
    Compared,
}

impl Exclusion {
    fn way(&self) -> Way {
        let mut others = self.keys.iter().enumerate().filter(|(_, key)| !key.is_equality);
        match (others.next(), others.next()) {
            (Some((at, key)), None) if key.is_overlap_of_ranges => Way::Sorted(at),
            _ => Way::Compared,
        }
    }

    /// The rows that count, with their keys as `k0`, `k1`, and which row each is as `place`.
    fn rows(&self, place: &str) -> String {
        let keys = self.keys.iter().zip(0..).map(|(key, at)| format!(", {} AS k{at}", key.value));
        let keys: String = keys.collect();
        // A row with NULL in a key meets nobody.
        let values: Vec<&str> = self.keys.iter().map(|key| key.value.as_str()).collect();
        let present = format!("num_nulls({}) = 0", values.join(", "));
        let predicate = self.predicate.iter().map(|predicate| format!("({predicate})"));
        let conditions: Vec<String> = std::iter::once(present).chain(predicate).collect();
        format!(
            "SELECT t.ctid AS at, {place} AS place{keys} FROM ONLY {} t WHERE {}",
            self.table,
            conditions.join(" AND ")
        )
    }

    /// Pairs of rows, as `first` and `second`.
    fn pairs(&self, place: &str) -> String {
        let rows = self.rows(place);
        let meets = |(at, key): (usize, &ExcludedKey)| format!("a.k{at} {} b.k{at}", key.operator);
        match self.way() {
            Way::Sorted(range) => {
                let equal = (0..self.keys.len()).filter(|at| *at != range);
                let equal: Vec<String> = equal.map(|at| format!("r.k{at}")).collect();
                let partition = match equal.as_slice() {
                    [] => String::new(),
                    equal => format!("PARTITION BY {} ", equal.join(", ")),
                };
                format!(
                    "SELECT w.first, w.second FROM (SELECT lag(r.place) OVER own AS first, r.place \
                     AS second, lag(r.k{range}) OVER own AS before, r.k{range} AS here FROM ({rows}) r \
                     WHERE NOT isempty(r.k{range}) WINDOW own AS ({partition}ORDER BY r.k{range})) w \
                     WHERE w.here {} w.before",
                    self.keys[range].operator
                )
            }
            Way::Compared => {
                let meets: Vec<String> = self.keys.iter().enumerate().map(meets).collect();
                format!(
                    "SELECT a.place AS first, b.place AS second FROM ({rows}) a JOIN ({rows}) b \
                     ON a.at < b.at AND {}",
                    meets.join(" AND ")
                )
            }
        }
    }

    /// Looks for pairs of rows that exclude each other, and for ranges no other could overlap where
    /// there must be none.
    pub(super) async fn look(&self, line: &mut Statements, place: &str) -> Result<Verdict, Fault> {
        let mut texts = Vec::new();
        let pairs = format!(
            "SELECT format('%s and %s', p.first, p.second) AS place, row_number() OVER () AS n \
             FROM ({}) p",
            self.pairs(place)
        );
        match count(line, &pairs).await? {
            Ok((0, _)) => {}
            Ok((pairs, places)) => {
                let at_least = if self.way() == Way::Compared { "" } else { "at least " };
                let word = if pairs == 1 { "pair" } else { "pairs" };
                let dots = if pairs > 3 { ", …" } else { "" };
                texts.push(format!(
                    "{at_least}{pairs} {word} of rows of {} exclude each other ({places}{dots})",
                    self.table
                ));
            }
            Err(met) => return Ok(Err(met)),
        }
        if let Some(key) = self.keys.last().filter(|_| self.forbids_empty) {
            let empty = format!(
                "SELECT {place} AS place, row_number() OVER () AS n FROM ONLY {} t WHERE isempty({})",
                self.table, key.value
            );
            match count(line, &empty).await? {
                Ok((0, _)) => {}
                Ok((rows, places)) => {
                    let what = format!(
                        "of {} have an empty {}, which no other row could overlap",
                        self.table, key.name
                    );
                    texts.push(evidence(rows, &what, &places));
                }
                Err(met) => return Ok(Err(met)),
            }
        }
        Ok(Ok((!texts.is_empty()).then(|| texts.join("; "))))
    }
}

/// How many rows a query gives, and the places of the first of them.
async fn count(
    line: &mut Statements,
    sql: &str,
) -> Result<Result<(u64, String), super::statement::Met>, Fault> {
    let sql = format!(
        "SELECT count(*)::int8 AS n, string_agg(q.place, ', ' ORDER BY q.n) FILTER (WHERE q.n <= 3) \
         AS places FROM ({sql}) q"
    );
    match line.row(Guard::Rows, &sql).await? {
        Err(met) => Ok(Err(met)),
        Ok(row) => {
            let places: Option<String> = row.try_get("places")?;
            Ok(Ok((number(&row, "n")?, places.unwrap_or_default())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(is_equality: bool, is_overlap_of_ranges: bool) -> ExcludedKey {
        let (name, value) = ("k".to_owned(), "(k)".to_owned());
        let operator = "OPERATOR(pg_catalog.=)".to_owned();
        ExcludedKey { name, value, operator, is_equality, is_overlap_of_ranges }
    }

    #[test]
    fn one_range_beside_equal_columns_is_sorted() {
        let way = |keys: Vec<ExcludedKey>| Exclusion { keys, ..Exclusion::default() }.way();
        assert_eq!(way(vec![key(true, false), key(false, true)]), Way::Sorted(1));
        assert_eq!(way(vec![key(false, true)]), Way::Sorted(0));
        assert_eq!(way(vec![key(false, true), key(false, true)]), Way::Compared);
        assert_eq!(way(vec![key(true, false), key(false, false)]), Way::Compared);
        assert_eq!(way(vec![key(true, false)]), Way::Compared);
    }
}
