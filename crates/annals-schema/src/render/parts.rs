//! One object as one statement.

use std::collections::BTreeMap;

use super::listed;
use crate::kind::ObjectKind;

pub(crate) type Attributes = BTreeMap<String, String>;

pub(crate) fn get<'a>(attributes: &'a Attributes, name: &str) -> &'a str {
    attributes.get(name).map_or("", String::as_str)
}

pub(crate) fn is(attributes: &Attributes, name: &str) -> bool {
    get(attributes, name) == "true"
}

pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// ` WORDS value` where there is a value.
pub(crate) fn with(attributes: &Attributes, words: &str, name: &str) -> String {
    attributes.get(name).map_or_else(String::new, |value| format!(" {words} {value}"))
}

/// The last part of a qualified name and what stands before it.
pub(crate) fn split(name: &str) -> (&str, &str) {
    let mut quoted = false;
    let mut last = None;
    for (at, character) in name.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => last = Some(at),
            _ => {}
        }
    }
    last.map_or(("", name), |at| (&name[..at], &name[at + 1..]))
}

/// The first part of a qualified name, without quotes.
pub(crate) fn first(name: &str) -> String {
    let mut quoted = false;
    let ends = |c: char| {
        quoted ^= c == '"';
        c == '.' && !quoted
    };
    let part = name.split(ends).next().unwrap_or(name);
    let inner = part.strip_prefix('"').and_then(|part| part.strip_suffix('"'));
    inner.map_or_else(|| part.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// Whether one pair of parentheses stands around all of an expression.
fn is_wrapped(text: &str) -> bool {
    let (mut depth, mut quote) = (0_u32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        if depth == 0 {
            return at > 0 && at + 1 == text.len();
        }
    }
    false
}

/// What SQL calls the object.
pub(crate) fn words(kind: ObjectKind, attributes: &Attributes) -> String {
    let own = get(attributes, "is");
    match (kind, own) {
        (ObjectKind::Table, "foreign table") => "FOREIGN TABLE".to_owned(),
        (ObjectKind::View, "materialized view") => "MATERIALIZED VIEW".to_owned(),
        (ObjectKind::Function, "procedure" | "aggregate") => own.to_uppercase(),
        (ObjectKind::Type, "domain") => "DOMAIN".to_owned(),
        (ObjectKind::ForeignServer, _) => "SERVER".to_owned(),
        _ => kind.to_string().to_uppercase(),
    }
}

/// How a statement names the object: what belongs to a relation stands `ON` it.
pub(crate) fn addressed(kind: ObjectKind, name: &str) -> String {
    match kind {
        ObjectKind::Database => "CURRENT_DATABASE".to_owned(),
        ObjectKind::Constraint | ObjectKind::Trigger | ObjectKind::Rule | ObjectKind::Policy => {
            let (relation, own) = split(name);
            format!("{own} ON {relation}")
        }
        ObjectKind::Cast => format!("({})", name.replacen(" as ", " AS ", 1)),
        ObjectKind::OperatorClass | ObjectKind::OperatorFamily => {
            name.replacen(" using ", " USING ", 1)
        }
        _ => name.to_owned(),
    }
}

pub(crate) fn statement(kind: ObjectKind, name: &str, attributes: &Attributes) -> Option<String> {
    let value = |attribute: &str| get(attributes, attribute);
    let rest = |but: &[&str]| listed(attributes, &[but, &["owner", "comment"]].concat());
    Some(match kind {
        ObjectKind::Database => format!("-- the database belongs to {}", value("owner")),
        ObjectKind::Setting => format!("-- SET {name} = {}", value("value")),
        ObjectKind::Schema => {
            format!("CREATE SCHEMA {name}{};", with(attributes, "AUTHORIZATION", "owner"))
        }
        ObjectKind::Extension => format!(
            "CREATE EXTENSION {name} SCHEMA {} VERSION {};",
            value("schema"),
            literal(value("version"))
        ),
        ObjectKind::Sequence if is(attributes, "identity") => return None,
        ObjectKind::Sequence => sequence(name, attributes),
        ObjectKind::Function => function(name, attributes),
        ObjectKind::Index => {
            let known = ["definition", "table", "unique", "constraint"];
            let state = rest(&known);
            match (attributes.contains_key("constraint"), state.is_empty()) {
                // Its constraint stands in the table.
                (true, true) => return None,
                (true, false) => format!("-- index {name}:{state}"),
                (false, true) => format!("{};", value("definition")),
                (false, false) => format!("{}; --{state}", value("definition")),
            }
        }
        ObjectKind::Statistics => {
            let on = [value("columns"), value("expressions")];
            let on: Vec<&str> = on.into_iter().filter(|part| !part.is_empty()).collect();
            format!(
                "CREATE STATISTICS {name} ({}) ON {} FROM {};{}",
                value("kinds"),
                on.join(", "),
                value("table"),
                attributes.get("target").map_or_else(String::new, |target| {
                    format!("\nALTER STATISTICS {name} SET STATISTICS {target};")
                })
            )
        }
        ObjectKind::Rule | ObjectKind::Trigger => {
            let (relation, own) = split(name);
            let definition = value("definition").trim_end_matches(';');
            let what = if kind == ObjectKind::Rule { "RULE" } else { "TRIGGER" };
            format!(
                "{definition};{}",
                enabled(&format!("TABLE {relation}"), &format!(" {what} {own}"), attributes)
            )
        }
        ObjectKind::EventTrigger => {
            let tags = value("tags");
            let when =
                if tags.is_empty() { String::new() } else { format!(" WHEN TAG IN ({tags})") };
            format!(
                "CREATE EVENT TRIGGER {name} ON {}{when} EXECUTE FUNCTION {};{}",
                value("event"),
                value("function"),
                enabled(&format!("EVENT TRIGGER {name}"), "", attributes)
            )
        }
        ObjectKind::RowSecurity => {
            let states = [("enabled", "ENABLE"), ("forced", "FORCE")];
            let states = states.into_iter().filter(|(state, _)| is(attributes, state));
            let lines: Vec<String> = states
                .map(|(_, word)| format!("ALTER TABLE {name} {word} ROW LEVEL SECURITY;"))
                .collect();
            if lines.is_empty() {
                return None;
            }
            lines.join("\n")
        }
        ObjectKind::Policy => {
            let (relation, own) = split(name);
            let restrictive = if is(attributes, "permissive") { "" } else { " AS RESTRICTIVE" };
            let clause = |words: &str, name: &str| {
                attributes.get(name).map_or_else(String::new, |text| {
                    let text = if is_wrapped(text) { text.clone() } else { format!("({text})") };
                    format!(" {words} {text}")
                })
            };
            format!(
                "CREATE POLICY {own} ON {relation}{restrictive} FOR {} TO {}{}{};",
                value("command").to_uppercase(),
                value("roles"),
                clause("USING", "using"),
                clause("WITH CHECK", "check")
            )
        }
        ObjectKind::Grant => grant(name, value("privileges")),
        ObjectKind::DefaultPrivileges => {
            format!("-- default privileges {name}: {}", value("privileges"))
        }
        ObjectKind::Cast => format!(
            "CREATE CAST ({}) WITH {} AS {};",
            name.replacen(" as ", " AS ", 1),
            match value("method") {
                "function" => format!("FUNCTION {}", value("function")),
                "inout" => "INOUT".to_owned(),
                _ => "NO FUNCTION".to_owned(),
            },
            value("context").to_uppercase()
        ),
        ObjectKind::Unreadable => format!("-- {name}: {}", value("reason")),
        ObjectKind::UserMapping => {
            let (role, server) = name.split_once(" on ").unwrap_or((name, ""));
            format!("CREATE USER MAPPING FOR {role} SERVER {server}; -- options hidden")
        }
        ObjectKind::ForeignDataWrapper | ObjectKind::ForeignServer => format!(
            "CREATE {} {name}{}{}{}{}{};",
            words(kind, attributes),
            attributes
                .get("type")
                .map_or_else(String::new, |kind| format!(" TYPE {}", literal(kind))),
            attributes
                .get("version")
                .map_or_else(String::new, |v| format!(" VERSION {}", literal(v))),
            with(attributes, "FOREIGN DATA WRAPPER", "wrapper"),
            with(attributes, "HANDLER", "handler"),
            attributes.get("options").map_or_else(String::new, |all| format!(" OPTIONS ({all})")),
        ),
        ObjectKind::ExtensionDependency | ObjectKind::SecurityLabel => {
            format!("-- {kind}: {name}{}", rest(&[]))
        }
        _ => format!("CREATE {} {name}{};", words(kind, attributes), rest(&["is", "published"])),
    })
}

/// `ALTER … DISABLE` where it is not enabled as it comes.
fn enabled(what: &str, own: &str, attributes: &Attributes) -> String {
    let state = match get(attributes, "enabled") {
        "" => return String::new(),
        "no" => "DISABLE",
        "always" => "ENABLE ALWAYS",
        _ => "ENABLE REPLICA",
    };
    format!("\nALTER {what} {state}{own};")
}

fn sequence(name: &str, attributes: &Attributes) -> String {
    let get = |attribute| get(attributes, attribute);
    let unlogged = if attributes.contains_key("persistence") { "UNLOGGED " } else { "" };
    let cycle = if is(attributes, "cycle") { " CYCLE" } else { "" };
    let owned = attributes
        .get("owned_by")
        .map_or_else(String::new, |column| format!("\n-- it goes with {column}"));
    format!(
        "CREATE {unlogged}SEQUENCE {name} AS {} START {} INCREMENT {} MINVALUE {} MAXVALUE {} CACHE {}{cycle};{owned}",
        get("type"),
        get("start"),
        get("increment"),
        get("min"),
        get("max"),
        get("cache"),
    )
}

fn function(name: &str, attributes: &Attributes) -> String {
    let value = |attribute| get(attributes, attribute);
    let bare = name.split_once('(').map_or(name, |(bare, _)| bare);
    if value("is") == "aggregate" {
        let but = ["is", "owner", "comment", "arguments", "returns"];
        return format!(
            "CREATE AGGREGATE {bare}({}){};",
            value("arguments"),
            listed(attributes, &but)
        );
    }
    let what = if value("is") == "procedure" { "PROCEDURE" } else { "FUNCTION" };
    let mut lines = vec![format!("CREATE {what} {bare}({})", value("arguments"))];
    if let Some(returns) = attributes.get("returns") {
        lines.push(format!(" RETURNS {returns}"));
    }
    lines.push(format!(" LANGUAGE {}", value("language")));
    let flags = [
        ("window function", "WINDOW", "is"),
        ("true", "STRICT", "strict"),
        ("definer", "SECURITY DEFINER", "security"),
        ("true", "LEAKPROOF", "leakproof"),
    ];
    for (wanted, words, attribute) in flags {
        if value(attribute) == wanted {
            lines.push(format!(" {words}"));
        }
    }
    lines.extend(attributes.get("volatility").map(|word| format!(" {}", word.to_uppercase())));
    for (words, attribute) in [
        ("TRANSFORM FOR TYPE", "transforms"),
        ("PARALLEL", "parallel"),
        ("COST", "cost"),
        ("ROWS", "rows"),
        ("SUPPORT", "support"),
    ] {
        lines.extend(attributes.get(attribute).map(|value| format!(" {words} {value}")));
    }
    lines.extend(value("settings").lines().map(|setting| format!(" SET {setting}")));
    if let Some(body) = attributes.get("sql_body") {
        lines.push(body.clone());
    } else {
        let body = value("body");
        let quote = (0..)
            .map(|n| format!("${}$", "_".repeat(n)))
            .find(|quote| !body.contains(quote.as_str()));
        let quote = quote.unwrap_or_default();
        let library =
            attributes.get("library").map_or_else(String::new, |l| format!("{}, ", literal(l)));
        lines.push(format!("AS {library}{quote}{body}{quote}"));
    }
    lines.join("\n") + ";"
}

/// `table shop.t to bob` and `SELECT*, UPDATE`.
fn grant(name: &str, privileges: &str) -> String {
    let (what, role) = name.rsplit_once(" to ").unwrap_or((name, ""));
    let bare = privileges.replace('*', "");
    let passed: Vec<&str> =
        privileges.split(", ").filter_map(|privilege| privilege.strip_suffix('*')).collect();
    let option = if passed.is_empty() {
        String::new()
    } else {
        format!(" -- with grant option: {}", passed.join(", "))
    };
    let bare = if bare.is_empty() { "NOTHING".to_owned() } else { bare };
    match what.strip_prefix("column ") {
        Some(column) => {
            let (relation, own) = split(column);
            let each: Vec<String> =
                bare.split(", ").map(|privilege| format!("{privilege} ({own})")).collect();
            format!("GRANT {} ON {relation} TO {role};{option}", each.join(", "))
        }
        None => format!("GRANT {bare} ON {what} TO {role};{option}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_wrapped_by_one_pair_around_all_of_it() {
        for wrapped in ["(a = 1)", "((a) OR (b))", "( SELECT ')('::text)", "(a = ')')"] {
            assert!(is_wrapped(wrapped), "{wrapped}");
        }
        for other in ["(a)::boolean", "(a = 1) OR (b)", "true", "", "((a ->> 'x'::text))::boolean"]
        {
            assert!(!is_wrapped(other), "{other}");
        }
    }

    #[test]
    fn the_first_part_of_a_name_is_its_schema() {
        for (name, schema) in [("auth.users.t", "auth"), ("\"a.\"\"b\".t.p", "a.\"b"), ("x", "x")] {
            assert_eq!(first(name), schema);
        }
    }
}
