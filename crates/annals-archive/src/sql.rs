//! The SQL of copies, the same when rows are taken and when they are compared.

use crate::manifest::TableEntry;

/// Blocks of a table, from the first to before the second; to the end where there is none.
pub(crate) type Range = (u64, Option<u64>);

fn columns(table: &TableEntry) -> String {
    // Without any, and for a table whose columns are all computed, COPY itself knows.
    match table.columns.is_empty() {
        true => String::new(),
        false => format!(" ({})", table.columns.join(", ")),
    }
}

/// Copies a table's own rows, or some of its blocks, out.
pub(crate) fn copy_out(table: &TableEntry, range: Option<Range>) -> String {
    let name = &table.name;
    let mut conditions = Vec::new();
    if let Some(condition) = &table.condition {
        // An extension's begins with WHERE; it may end in more than a condition.
        let bare = condition.trim_start();
        let bare = bare
            .get(..5)
            .filter(|word| word.eq_ignore_ascii_case("where"))
            .map_or(bare, |_| &bare[5..]);
        conditions.push(format!("({bare})"));
    }
    if let Some((from, to)) = range {
        conditions.push(format!("ctid >= '({from},0)'"));
        conditions.extend(to.map(|to| format!("ctid < '({to},0)'")));
    }
    if conditions.is_empty() {
        return format!("COPY {name}{} TO STDOUT", columns(table));
    }
    let (some, conditions) = (table.columns.join(", "), conditions.join(" AND "));
    format!("COPY (SELECT {some} FROM ONLY {name} WHERE {conditions}) TO STDOUT")
}

/// Copies rows into a table.
pub(crate) fn copy_in(table: &TableEntry) -> String {
    format!("COPY {}{} FROM STDIN", table.name, columns(table))
}
