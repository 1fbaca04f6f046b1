//! What each row is held to, and what the rows are: one reading of a table for all of it.

use sqlx::Row;

use super::data::{Column, Table};
use super::statement::{Guard, Met, Statements, number};
use super::{CheckOptions, Why};
use crate::fault::Fault;

/// So many columns are counted in one call.
const CALL: usize = 90;

/// A condition no row may meet.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) check: &'static str,
    /// What a row that meets it does, such as `break the constraint "c"`.
    pub(super) what: String,
    /// About `t`.
    pub(super) condition: String,
    /// What it is made of, if rows that meet it have to be told apart.
    pub(super) parts: Vec<Item>,
}

/// From block, up to but without block.
pub(super) type Range = (u64, Option<u64>);

/// What a reading of a table, or of a part of it, came to.
pub(super) struct Part {
    pub(super) rows: u64,
    /// For each item: rows that meet its condition, or why they were not counted.
    pub(super) counts: Vec<Result<u64, Why>>,
    pub(super) sums: Result<[u64; 2], Why>,
}

fn item(check: &'static str, what: String, condition: String) -> Item {
    Item { check, what, condition, parts: Vec::new() }
}

/// What the rows of a table are held to, of what is asked for.
pub(super) fn items(table: &Table, options: &CheckOptions<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    for check in &table.checks {
        let name = if check.trusted { "data.check" } else { "data.unvalidated_check" };
        let what = format!("break the constraint {}", check.name);
        items.push(item(name, what, format!("NOT ({})", check.expression)));
    }
    let needed: Vec<&Column> = table.columns.iter().filter(|column| column.not_null).collect();
    for columns in needed.chunks(CALL) {
        // A function, not IS NULL: the planner believes the catalog.
        let nulls = |columns: &[&Column]| {
            let names = columns.iter().map(|column| format!("t.{}", column.name));
            format!("num_nulls({}) <> 0", names.collect::<Vec<_>>().join(", "))
        };
        let of_one = |column: &&Column| {
            let what = format!("have NULL in {}, which is NOT NULL", column.name);
            item("data.not_null", what, nulls(&[column]))
        };
        items.push(Item {
            check: "data.not_null",
            what: String::new(),
            condition: nulls(columns),
            parts: columns.iter().map(of_one).collect(),
        });
    }
    if let Some(bound) = &table.bound {
        let what = "lie outside of the partition's bounds".to_owned();
        items.push(item("data.partition_bound", what, format!("NOT ({bound})")));
    }
    for column in &table.columns {
        items.extend(enum_item(column));
        items.extend(domain_item(column));
    }
    items.retain(|item| options.has(item.check));
    items
}

/// Values are compared by their numbers: one that is gone cannot even be printed.
fn enum_item(column: &Column) -> Option<Item> {
    let of = column.enum_type.as_ref()?;
    let known = format!("(SELECT pg_catalog.enum_range(NULL::{of}))::{of}[]");
    let condition = match column.is_array {
        false => format!("NOT (t.{}::{of} = ANY ({known}))", column.name),
        true => format!(
            "EXISTS (SELECT FROM unnest(t.{}) v (value) WHERE NOT (v.value::{of} = ANY ({known})))",
            column.name
        ),
    };
    let what = format!("hold in {} what is no value of {of}", column.name);
    Some(item("data.enum_value", what, condition))
}

/// The server prints the conditions of a domain about VALUE: the column stands in its place.
fn domain_item(column: &Column) -> Option<Item> {
    let domain = column.domain.as_ref()?;
    let value = match column.is_array {
        false => format!("(t.{}::{})", column.name, domain.base),
        true => format!("(v.value::{})", domain.base),
    };
    let of_value = |check: &String| format!("NOT ({})", with_value(check, &value));
    let mut broken: Vec<String> = domain.checks.iter().map(of_value).collect();
    if domain.not_null {
        broken.push(format!("num_nulls({value}) <> 0"));
    }
    if broken.is_empty() {
        return None;
    }
    let broken = broken.join(" OR ");
    let condition = match column.is_array {
        false => format!("({broken})"),
        true => format!("EXISTS (SELECT FROM unnest(t.{}) v (value) WHERE {broken})", column.name),
    };
    let what = format!("hold in {} what {} does not allow", column.name, domain.name);
    Some(item("data.domain_value", what, condition))
}

/// Puts `value` in the place of the keyword VALUE, wherever it stands outside of quotes.
fn with_value(expression: &str, value: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let (mut text, mut rest, mut before) = (String::new(), expression, ' ');
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            // A doubled quote ends one piece and begins the next.
            '\'' | '"' => rest[1..].find(c).map_or(rest.len(), |at| at + 2),
            _ if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => c.len_utf8(),
        };
        let (piece, tail) = rest.split_at(taken);
        text.push_str(if piece == "VALUE" && before != '.' { value } else { piece });
        (rest, before) = (tail, c);
    }
    text
}

/// Since 14 a row hashes as it is; before that, as text.
pub(super) const HASHES_RECORDS_SINCE: u32 = 14;

/// The sums of the rows' hashes, with two seeds.
fn sums(table: &Table, major: u32) -> [String; 2] {
    if table.columns.is_empty() {
        return ["0".to_owned(), "0".to_owned()];
    }
    let columns: Vec<&str> = table.columns.iter().map(|column| column.hashed.as_str()).collect();
    let row = format!("ROW({})", columns.join(", "));
    [0, 1].map(|seed| match major {
        HASHES_RECORDS_SINCE.. => format!("sum(hash_record_extended({row}, {seed}))"),
        _ => format!("sum(hashtextextended(({row})::text COLLATE \"C\", {seed}))"),
    })
}

fn sql(
    table: &Table,
    conditions: &[&str],
    sums: Option<&[String; 2]>,
    range: Option<Range>,
) -> String {
    let counts =
        conditions.iter().map(|condition| format!(", count(*) FILTER (WHERE {condition})"));
    let counts: String = counts.collect();
    let none = ["0".to_owned(), "0".to_owned()];
    let [first, second] = sums.unwrap_or(&none);
    let place = match range {
        None => String::new(),
        Some((from, None)) => format!(" WHERE t.ctid >= '({from},0)'::tid"),
        Some((from, Some(to))) => {
            format!(" WHERE t.ctid >= '({from},0)'::tid AND t.ctid < '({to},0)'::tid")
        }
    };
    format!(
        "SELECT ARRAY[count(*){counts}]::text AS counts, ({first})::text AS first, \
         ({second})::text AS second FROM ONLY {} t{place}",
        table.name
    )
}

struct Answer {
    counts: Vec<u64>,
    sums: [u64; 2],
}

async fn ask(line: &mut Statements, sql: &str) -> Result<Result<Answer, Met>, Fault> {
    let row = match line.row(Guard::Rows, sql).await? {
        Ok(row) => row,
        Err(met) => return Ok(Err(met)),
    };
    let counts: String = row.try_get("counts")?;
    let counts = counts.trim_matches(['{', '}']).split(',');
    let counts: Vec<u64> = counts.map(|count| count.parse().unwrap_or_default()).collect();
    let sum = |column: &str| -> Result<u64, Fault> {
        let text: Option<String> = row.try_get(column)?;
        let sum: i128 = text.as_deref().unwrap_or("0").parse().unwrap_or_default();
        // Modulo 2^64.
        Ok(u64::try_from(sum.rem_euclid(1 << 64)).unwrap_or_default())
    };
    Ok(Ok(Answer { counts, sums: [sum("first")?, sum("second")?] }))
}

/// Reads a table or a part of it once. If that fails for a reason of its own, each item is asked for
/// by itself: a function that raises an error hides nothing else.
pub(super) async fn read(
    line: &mut Statements,
    table: &Table,
    items: &[Item],
    with_sums: bool,
    range: Option<Range>,
) -> Result<Result<Part, Met>, Fault> {
    let sums = with_sums.then(|| sums(table, line.major()));
    let conditions: Vec<&str> = items.iter().map(|item| item.condition.as_str()).collect();
    match ask(line, &sql(table, &conditions, sums.as_ref(), range)).await? {
        Ok(Answer { counts, sums }) => {
            let (rows, counts) = counts.split_first().unwrap_or((&0, &[]));
            let counts = counts.iter().copied().map(Ok).collect();
            return Ok(Ok(Part { rows: *rows, counts, sums: Ok(sums) }));
        }
        Err(Met::Not(Why::Failed(_))) => {}
        Err(met) => return Ok(Err(met)),
    }
    let rows = match ask(line, &sql(table, &[], None, range)).await? {
        Ok(answer) => answer.counts.first().copied().unwrap_or_default(),
        Err(met) => return Ok(Err(met)),
    };
    let mut counts = Vec::new();
    for condition in conditions {
        counts.push(match ask(line, &sql(table, &[condition], None, range)).await? {
            Ok(answer) => Ok(answer.counts.last().copied().unwrap_or_default()),
            Err(Met::Not(why)) => Err(why),
            Err(damage) => return Ok(Err(damage)),
        });
    }
    let sums = match &sums {
        None => Ok([0, 0]),
        Some(sums) => match ask(line, &sql(table, &[], Some(sums), range)).await? {
            Ok(answer) => Ok(answer.sums),
            Err(Met::Not(why)) => Err(why),
            Err(damage) => return Ok(Err(damage)),
        },
    };
    Ok(Ok(Part { rows, counts, sums }))
}

/// How many rows of `from` there are under `condition`, and which the first of them are.
pub(super) async fn places(
    line: &mut Statements,
    from: &str,
    place: &str,
    condition: &str,
) -> Result<Option<(u64, String)>, Fault> {
    let sql = format!(
        "SELECT count(*)::int8 AS n, string_agg(q.place, ', ' ORDER BY q.n) FILTER (WHERE q.n <= 3) \
         AS places FROM (SELECT row_number() OVER () AS n, {place} AS place FROM {from} \
         WHERE {condition}) q"
    );
    match line.row(Guard::Rows, &sql).await? {
        Err(_) => Ok(None),
        Ok(row) => {
            let places: Option<String> = row.try_get("places")?;
            Ok(Some((number(&row, "n")?, places.unwrap_or_default())))
        }
    }
}

/// `2 rows lie outside (id = 3, id = 4)`.
pub(super) fn evidence(count: u64, what: &str, places: &str) -> String {
    let rows = if count == 1 { "row" } else { "rows" };
    let dots = if count > 3 { ", …" } else { "" };
    match places {
        "" => format!("{count} {rows} {what}"),
        places => format!("{count} {rows} {what} ({places}{dots})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_alone_is_replaced() {
        let cases = [
            ("(VALUE > 0)", "(x > 0)"),
            ("((VALUE)::text <> 'VALUE'::text)", "((x)::text <> 'VALUE'::text)"),
            (
                "(f(VALUE, 'it''s VALUE') AND s.\"VALUE\"(VALUE))",
                "(f(x, 'it''s VALUE') AND s.\"VALUE\"(x))",
            ),
            ("(VALUES_OF(VALUE))", "(VALUES_OF(x))"),
        ];
        for (printed, expected) in cases {
            assert_eq!(with_value(printed, "x"), expected);
        }
    }
}
