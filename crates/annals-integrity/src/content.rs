//! What tables hold, as numbers that do not depend on the order of rows: comparable with those of a
//! backup or of a restored copy.

use std::collections::BTreeMap;

use crate::checks::Check;
use crate::finding::Finding;

/// How the rows of a table were hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentMethod {
    /// `hash_record_extended` of the columns in the order of their names: binary where their type
    /// has a hash that means the same elsewhere, else of their text. PostgreSQL 14 and later.
    Record,
    /// `hashtextextended` of the text of all columns, each quoted.
    Text,
}

impl ContentMethod {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Text => "text",
        }
    }
}

/// The content of one table: a sum, modulo 2^64, of a 64-bit hash of each row, for each of two
/// seeds. It detects accidents, not adversaries, and compares within one major version only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableContent {
    /// Its name, as SQL spells it.
    pub table: String,
    /// The columns, in the order they were hashed in.
    pub columns: Vec<String>,
    /// How.
    pub method: ContentMethod,
    /// Major version of the server.
    pub server_major: u32,
    /// Number of rows.
    pub rows: u64,
    /// The sums, with seeds 0 and 1.
    pub sums: [u64; 2],
    /// Transactions it was read in. With more than one, rows may have changed between them.
    pub parts: u32,
}

/// Compares contents that are said to be the same. What was hashed differently is not compared.
pub fn compare_contents(expected: &[TableContent], found: &[TableContent]) -> Vec<Finding> {
    let check = Check::find("data.checksum").expect("invariant: the check is in the table");
    let found: BTreeMap<&str, &TableContent> =
        found.iter().map(|content| (content.table.as_str(), content)).collect();
    let differs = expected.iter().filter_map(|before| {
        let now = found.get(before.table.as_str())?;
        let comparable = |content: &TableContent| (content.method, content.server_major);
        if comparable(before) != comparable(now) || before.columns != now.columns {
            return None;
        }
        let evidence = match (before.rows == now.rows, before.sums == now.sums) {
            (true, true) => return None,
            (true, false) => format!("{} rows on both sides, with other content", now.rows),
            (false, _) => format!("{} rows, expected {}", now.rows, before.rows),
        };
        Some(check.finding(format!("table {}", before.table), evidence))
    });
    differs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(table: &str, rows: u64, sum: u64) -> TableContent {
        TableContent {
            table: table.to_owned(),
            columns: vec!["id".to_owned()],
            method: ContentMethod::Record,
            server_major: 15,
            rows,
            sums: [sum, 7],
            parts: 1,
        }
    }

    #[test]
    fn contents_differ_in_rows_or_sums_and_only_where_they_compare() {
        let before =
            [content("a", 2, 1), content("b", 2, 1), content("c", 2, 1), content("d", 2, 1)];
        let newer = TableContent { server_major: 16, ..content("d", 9, 9) };
        let now = [content("a", 2, 1), content("b", 2, 5), content("c", 3, 5), newer];
        let found = compare_contents(&before, &now);
        let found: Vec<_> = found.iter().map(|f| (f.id, &*f.subject, &*f.evidence)).collect();
        assert_eq!(
            found,
            [
                ("data.checksum", "table b", "2 rows on both sides, with other content"),
                ("data.checksum", "table c", "3 rows, expected 2"),
            ]
        );
    }
}
