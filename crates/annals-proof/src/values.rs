//! Sample values by type: as SQL, different for each number.

use crate::sample::Column;

/// What a column's value may be in sample row `n`, likeliest first; nothing where no sample is
/// known for the type. Where the type allows, values of different rows differ.
pub(crate) fn candidates(column: &Column, n: u64) -> Vec<String> {
    let base = match column.kind.as_str() {
        "e" => labels(column, n),
        "r" => range(column.subtype.as_deref().unwrap_or_default(), n),
        "m" => vec!["'{}'".to_owned()],
        "c" => Vec::new(),
        _ => match &column.element {
            Some(element) => of_type(element, n).into_iter().map(in_array).collect(),
            None => of_type(&column.base, n),
        },
    };
    let mined = column.mined.iter().cloned();
    let all = base.into_iter().chain(mined);
    all.map(|value| format!("CAST({value} AS {})", column.base_type)).collect()
}

/// A column's value as an expression over `g.g`, the number of a row; rows where it is none get one
/// of three sample values in turn. None where no sample is known for the type.
pub(crate) fn series(column: &Column) -> Option<String> {
    let made = match (column.kind.as_str(), &column.element) {
        ("e", _) if !column.labels.is_empty() => {
            let labels: Vec<String> = column.labels.iter().map(|label| quote(label)).collect();
            let (all, of) = (labels.join(", "), labels.len());
            Some(format!("(ARRAY[{all}])[1 + g.g % {of}]"))
        }
        ("b", None) => series_of(&column.base, &column.base_type),
        ("b", Some(element)) => {
            series_of(element, element).map(|element| format!("ARRAY[{element}]"))
        }
        _ => None,
    };
    match made {
        Some(made) => Some(format!("CAST({made} AS {})", column.base_type)),
        None => in_turn(
            &(1..=3)
                .map(|n| candidates(column, n).into_iter().next())
                .collect::<Option<Vec<_>>>()?,
        ),
    }
}

/// These values, one after the other and from the beginning again.
pub(crate) fn in_turn(values: &[String]) -> Option<String> {
    let (last, others) = values.split_last()?;
    if others.is_empty() {
        return Some(last.clone());
    }
    let arms = others.iter().enumerate().map(|(at, value)| format!("WHEN {at} THEN {value} "));
    Some(format!("CASE g.g % {} {}ELSE {last} END", values.len(), arms.collect::<String>()))
}

fn series_of(base: &str, full: &str) -> Option<String> {
    // Of numeric(7,2) the digits before the point.
    let digits = full.split_once('(').and_then(|(_, rest)| {
        let mut numbers = rest.trim_end_matches(')').split(',');
        let precision: u32 = numbers.next()?.trim().parse().ok()?;
        let scale: u32 = numbers.next().unwrap_or("0").trim().parse().ok()?;
        Some(precision.saturating_sub(scale).min(15))
    });
    Some(match base {
        "int4" | "int8" | "oid" => "g.g".to_owned(),
        "int2" => "g.g % 30000".to_owned(),
        "numeric" => match digits {
            Some(digits) => format!("g.g % {}", 10_u64.pow(digits)),
            None => "g.g + 0.5".to_owned(),
        },
        "float4" | "float8" => "g.g + 0.5".to_owned(),
        "text" | "varchar" | "bpchar" | "citext" => "'a' || g.g".to_owned(),
        "bool" => "g.g % 2 = 1".to_owned(),
        "uuid" => {
            "'00000000-0000-4000-8000-' || pg_catalog.lpad(CAST(g.g AS pg_catalog.text), 12, '0')"
                .to_owned()
        }
        "date" => "DATE '2020-01-01' + CAST(g.g % 3000 AS pg_catalog.int4)".to_owned(),
        "timestamp" => "TIMESTAMP '2020-01-01' + g.g * INTERVAL '1 second'".to_owned(),
        "timestamptz" => "TIMESTAMPTZ '2020-01-01 UTC' + g.g * INTERVAL '1 second'".to_owned(),
        "interval" => "g.g * INTERVAL '1 second'".to_owned(),
        "json" | "jsonb" => "'{\"sample\": ' || g.g || '}'".to_owned(),
        "bytea" => {
            "pg_catalog.decode(pg_catalog.lpad(pg_catalog.to_hex(g.g), 16, '0'), 'hex')".to_owned()
        }
        "inet" => "INET '10.0.0.0' + g.g % 16000000".to_owned(),
        _ => return None,
    })
}

/// Labels in turn.
fn labels(column: &Column, n: u64) -> Vec<String> {
    let quoted: Vec<String> = column.labels.iter().map(|label| quote(label)).collect();
    let count = quoted.len().max(1);
    let first = usize::try_from(n).unwrap_or_default().saturating_sub(1) % count;
    quoted.iter().cycle().skip(first).take(quoted.len()).cloned().collect()
}

fn in_array(element: String) -> String {
    format!("ARRAY[{element}]")
}

fn range(subtype: &str, n: u64) -> Vec<String> {
    let bounds = match subtype {
        "int4" | "int8" | "numeric" => format!("'[{},{})'", n * 10, n * 10 + 5),
        "date" => format!("'[2020-01-{:02},2020-01-{:02})'", n % 27 + 1, n % 27 + 2),
        "timestamp" | "timestamptz" => {
            format!("'[2020-01-{:02} 00:00,2020-01-{:02} 12:00)'", n % 27 + 1, n % 27 + 1)
        }
        _ => "'empty'".to_owned(),
    };
    vec![bounds, "'empty'".to_owned()]
}

fn of_type(base: &str, n: u64) -> Vec<String> {
    let day = format!("2020-{:02}-{:02}", n % 12 + 1, n % 27 + 1);
    let all: &[String] = match base {
        "int2" | "int4" | "int8" | "oid" => &[
            format!("{}", 1000 + n),
            format!("{n}"),
            format!("{}", 100 + n),
            "0".into(),
            format!("-{n}"),
        ],
        "numeric" | "float4" | "float8" | "money" => &[
            format!("{n}.5"),
            format!("{n}"),
            format!("0.0{n}"),
            format!("{}", 100 + n),
            "0".into(),
            format!("-{n}"),
        ],
        "text" | "varchar" | "bpchar" | "name" | "citext" => &[
            format!("'a{n}'"),
            format!("'sample text {n}'"),
            format!("'a{n}@example.com'"),
            format!("'https://example.com/{n}'"),
            format!("'A{n}'"),
            format!("'{n}'"),
            format!("'00000000-0000-4000-8000-{n:012}'"),
            format!("'+4930{n:07}'"),
            format!("'{day}'"),
            format!("'{}'", "abcdefghij".repeat(4) + &n.to_string()),
            "'DE'".into(),
            "'EUR'".into(),
            "''".into(),
        ],
        "bool" => match n % 2 {
            1 => &["true".into(), "false".into()],
            _ => &["false".into(), "true".into()],
        },
        "uuid" => &[format!("'00000000-0000-4000-8000-{n:012}'")],
        "date" => &[format!("'{day}'"), "CURRENT_DATE".into(), "'2099-01-01'".into()],
        "timestamp" | "timestamptz" => &[
            format!("'{day} 12:00:00'"),
            "CURRENT_TIMESTAMP".into(),
            format!("'2099-01-01 00:00:{:02}'", n % 60),
        ],
        "time" | "timetz" => &[format!("'12:00:{:02}'", n % 60)],
        "interval" => &[format!("'{n} hours'")],
        "json" | "jsonb" => &[
            format!("'{{\"sample\": {n}}}'"),
            "'{}'".into(),
            format!("'[{n}]'"),
            "'[]'".into(),
            format!("'\"{n}\"'"),
            format!("'{n}'"),
        ],
        "bytea" => &[format!("'\\x{n:08x}'"), format!("'\\x{n:064x}'")],
        "inet" => &[format!("'192.0.2.{}'", n % 250)],
        "cidr" => &[format!("'192.0.2.{}/32'", n % 250)],
        "macaddr" => &[format!("'08:00:2b:01:02:{:02x}'", n % 250)],
        "macaddr8" => &[format!("'08:00:2b:01:02:03:04:{:02x}'", n % 250)],
        "bit" | "varbit" => &[format!("B'{}'", if n % 2 == 1 { "1" } else { "0" })],
        "xml" => &[format!("'<sample n=\"{n}\"/>'")],
        "tsvector" | "tsquery" => &[format!("'sample{n}'")],
        "point" => &[format!("'({n},{n})'")],
        "line" => &[format!("'{{1,{n},1}}'")],
        "lseg" | "box" => &[format!("'({n},0),(0,{n})'")],
        "path" | "polygon" => &[format!("'((0,0),({n},0),({n},{n}))'")],
        "circle" => &[format!("'<(0,0),{n}>'")],
        "hstore" => &[format!("'sample=>{n}'")],
        "ltree" => &[format!("'sample.a{n}'")],
        "pg_lsn" => &[format!("'0/{n:X}'")],
        "regclass" => &["'pg_catalog.pg_class'".into()],
        "regtype" => &["'pg_catalog.int4'".into()],
        _ => &[],
    };
    all.to_vec()
}

/// Constants in the conditions of a table: what they compare with may be what they want.
pub(crate) fn mine(conditions: &[&str]) -> (Vec<String>, Vec<i64>) {
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    for condition in conditions {
        let mut rest = *condition;
        while let Some(start) = rest.find('\'') {
            let inside = &rest[start + 1..];
            let Some(end) = inside.find('\'') else { break };
            let text = inside[..end].to_owned();
            if let Ok(number) = text.parse() {
                numbers.push(number);
            }
            texts.push(text);
            rest = &inside[end + 1..];
        }
        let words = condition.split(|c: char| !c.is_ascii_digit());
        let found = words.filter_map(|word| word.parse::<i64>().ok());
        numbers.extend(found.filter(|number| *number < i64::from(i32::MAX)));
    }
    texts.sort();
    texts.dedup();
    numbers.sort_unstable();
    numbers.dedup();
    (texts, numbers)
}

/// Text as an SQL constant.
pub(crate) fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(base: &str) -> Column {
        Column { base: base.to_owned(), base_type: base.to_owned(), ..Column::default() }
    }

    #[test]
    fn rows_get_different_values_where_the_type_has_them() {
        for base in ["int4", "text", "uuid", "numeric", "jsonb", "timestamptz", "inet", "bytea"] {
            let first = |n| candidates(&column(base), n).first().cloned().unwrap();
            assert_ne!(first(1), first(2), "{base}");
        }
        assert!(candidates(&column("no such type"), 1).is_empty());
    }

    #[test]
    fn enum_labels_come_in_turn() {
        let labels = vec!["new".to_owned(), "it's".to_owned()];
        let column =
            Column { kind: "e".into(), labels, base_type: "mood".into(), ..column("mood") };
        let first: Vec<String> = (1..=3).map(|n| candidates(&column, n)[0].clone()).collect();
        let new = "CAST(E'new' AS mood)";
        assert_eq!(first, [new, "CAST(E'it''s' AS mood)", new]);
    }

    #[test]
    fn conditions_are_searched_for_what_they_compare_with() {
        let (texts, numbers) =
            mine(&["(status = ANY (ARRAY['new'::text, 'done'::text]))", "a > 17"]);
        assert_eq!(texts, ["done", "new"]);
        assert_eq!(numbers, [17]);
    }
}
