//! Tables, composite types and domains with what they consist of.

use std::collections::BTreeMap;

use super::parts::{Attributes, get, is, split, with};
use super::{Page, listed};
use crate::kind::ObjectKind;
use crate::snapshot::Snapshot;

/// Columns and constraints by the relation or type they belong to.
pub(crate) struct Tables<'a> {
    snapshot: &'a Snapshot,
    columns: BTreeMap<&'a str, Vec<(u64, &'a str, &'a Attributes)>>,
    constraints: BTreeMap<&'a str, Vec<(&'a str, &'a Attributes)>>,
}

impl<'a> Tables<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot) -> Self {
        let mut columns: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (name, attributes) in snapshot.of_kind(ObjectKind::Column) {
            let (relation, own) = split(name);
            let position = get(attributes, "position").parse().unwrap_or(u64::MAX);
            columns.entry(relation).or_default().push((position, own, attributes));
        }
        columns.values_mut().for_each(|columns| columns.sort_by_key(|(position, ..)| *position));
        let mut constraints: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (name, attributes) in snapshot.of_kind(ObjectKind::Constraint) {
            let (relation, own) = split(name);
            constraints.entry(relation).or_default().push((own, attributes));
        }
        Self { snapshot, columns, constraints }
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let (mut later, before) = (Vec::new(), page.text.len());
        for (name, attributes) in self.snapshot.of_kind(ObjectKind::Table) {
            let foreign = get(attributes, "is") == "foreign table";
            let unlogged = if attributes.contains_key("persistence") { "UNLOGGED " } else { "" };
            let what = if foreign { "FOREIGN TABLE" } else { "TABLE" };
            let mut parts: Vec<String> =
                self.columns(name).map(|(own, it)| column(own, it)).collect();
            for (own, constraint) in self.constraints.get(name).into_iter().flatten() {
                let text = format!("CONSTRAINT {own} {}", demand(constraint));
                // A foreign key may lead to a table further down; what is not validated is added.
                let apart = get(constraint, "is") == "foreign key"
                    || get(constraint, "validated") == "false";
                match apart {
                    true => later.push(format!("ALTER TABLE {name} ADD {text};")),
                    false => parts.push(text),
                }
                let rest = listed(constraint, KNOWN);
                if !rest.is_empty() {
                    later.push(format!("-- constraint {own} of {name}:{rest}"));
                }
            }
            let body = match parts.as_slice() {
                [] => "()".to_owned(),
                parts => format!("(\n    {}\n)", parts.join(",\n    ")),
            };
            let (inherits, partition) = match get(attributes, "partition_bound") {
                "" => (with_list(attributes, "INHERITS", "inherits"), String::new()),
                bound => {
                    let parent = get(attributes, "inherits");
                    (String::new(), format!("\n-- partition of {parent} {bound}"))
                }
            };
            page.line(&format!(
                "CREATE {unlogged}{what} {name}{} {body}{inherits}{}{}{}{}{};{partition}",
                with(attributes, "OF", "of_type"),
                with(attributes, "PARTITION BY", "partition_key"),
                match get(attributes, "access_method") {
                    "" | "heap" => String::new(),
                    method => format!(" USING {method}"),
                },
                with_list(attributes, "WITH", "options"),
                with(attributes, "TABLESPACE", "tablespace"),
                with(attributes, "SERVER", "server")
                    + &with_list(attributes, "OPTIONS", "foreign_options"),
            ));
            for (words, attribute) in
                [("toast options", "toast_options"), ("detach pending", "detach_pending")]
            {
                if let Some(value) = attributes.get(attribute) {
                    page.line(&format!("-- {words}: {value}"));
                }
            }
            if let Some(identity) = attributes.get("replica_identity") {
                page.line(&format!(
                    "ALTER TABLE {name} REPLICA IDENTITY {};",
                    identity.to_uppercase()
                ));
            }
            page.owner(ObjectKind::Table, name, attributes);
        }
        later.iter().for_each(|line| page.line(line));
        if page.text.len() > before {
            page.text.push('\n');
        }
    }

    fn columns(&self, relation: &str) -> impl Iterator<Item = (&'a str, &'a Attributes)> {
        let columns = self.columns.get(relation).map(Vec::as_slice).unwrap_or_default();
        columns.iter().map(|(_, own, attributes)| (*own, *attributes))
    }

    pub(crate) fn data_type(&self, name: &str, attributes: &Attributes) -> Option<String> {
        Some(match get(attributes, "is") {
            "enum" => format!("CREATE TYPE {name} AS ENUM ({});", get(attributes, "labels")),
            "composite" => {
                let fields: Vec<String> =
                    self.columns(name).map(|(own, it)| column(own, it)).collect();
                format!("CREATE TYPE {name} AS ({});", fields.join(", "))
            }
            "domain" => {
                let constraints = self.constraints.get(name).into_iter().flatten();
                let constraints: Vec<String> = constraints
                    .map(|(own, it)| format!("\n    CONSTRAINT {own} {}", demand(it)))
                    .collect();
                format!(
                    "CREATE DOMAIN {name} AS {}{}{}{}{};",
                    get(attributes, "base"),
                    with(attributes, "COLLATE", "collation"),
                    with(attributes, "DEFAULT", "default"),
                    not_null(attributes),
                    constraints.concat()
                )
            }
            "shell" => format!("CREATE TYPE {name};"),
            "range" => format!(
                "CREATE TYPE {name} AS RANGE{};",
                listed(attributes, &["is", "owner", "comment"])
            ),
            _ => format!("CREATE TYPE {name}{};", listed(attributes, &["is", "owner", "comment"])),
        })
    }
}

/// What a constraint's own text says, or the table.
const KNOWN: &[&str] = &[
    "comment",
    "deferrable",
    "deferred",
    "definition",
    "enforced",
    "is",
    "no_inherit",
    "period",
    "validated",
];

fn with_list(attributes: &Attributes, words: &str, name: &str) -> String {
    attributes.get(name).map_or_else(String::new, |list| format!(" {words} ({list})"))
}

fn demand(constraint: &Attributes) -> String {
    let mut text = get(constraint, "definition").to_owned();
    for (attribute, wanted, words) in [
        ("deferrable", "true", " DEFERRABLE"),
        ("deferred", "true", " INITIALLY DEFERRED"),
        ("enforced", "false", " NOT ENFORCED"),
    ] {
        if get(constraint, attribute) == wanted {
            text.push_str(words);
        }
    }
    // What is not enforced is not validated either.
    if get(constraint, "validated") == "false" && get(constraint, "enforced") != "false" {
        text.push_str(" NOT VALID");
    }
    text
}

fn not_null(attributes: &Attributes) -> String {
    if !is(attributes, "not_null") {
        return String::new();
    }
    let mut text = with(attributes, "CONSTRAINT", "not_null_constraint") + " NOT NULL";
    if is(attributes, "not_null_no_inherit") {
        text.push_str(" NO INHERIT");
    }
    if get(attributes, "not_null_validated") == "false" {
        text.push_str(" /* NOT VALID */");
    }
    text
}

fn column(own: &str, attributes: &Attributes) -> String {
    let generated = match (get(attributes, "generated"), get(attributes, "expression")) {
        ("", _) => String::new(),
        (how, expression) => format!(" GENERATED ALWAYS AS ({expression}) {}", how.to_uppercase()),
    };
    let identity = match get(attributes, "identity") {
        "" => String::new(),
        how => format!(" GENERATED {} AS IDENTITY", how.to_uppercase()),
    };
    let shown = [
        "type",
        "collation",
        "not_null",
        "default",
        "generated",
        "expression",
        "identity",
        "storage",
        "compression",
        "position",
        "comment",
        "not_null_constraint",
        "not_null_no_inherit",
        "not_null_validated",
        "not_null_comment",
        "foreign_options",
    ];
    let rest = listed(attributes, &shown);
    let rest = if rest.is_empty() { rest } else { format!(" /*{rest} */") };
    format!(
        "{own} {}{}{}{}{}{}{}{generated}{identity}{rest}",
        get(attributes, "type"),
        with(attributes, "STORAGE", "storage"),
        with(attributes, "COMPRESSION", "compression"),
        with_list(attributes, "OPTIONS", "foreign_options"),
        with(attributes, "COLLATE", "collation"),
        not_null(attributes),
        with(attributes, "DEFAULT", "default"),
    )
}

pub(crate) fn view(name: &str, attributes: &Attributes) -> Option<String> {
    let what = super::parts::words(ObjectKind::View, attributes);
    let definition = get(attributes, "definition").trim_end_matches(';');
    let empty = if get(attributes, "populated") == "false" { "\n  WITH NO DATA" } else { "" };
    Some(format!(
        "CREATE {what} {name}{} AS\n{definition}{empty};",
        with_list(attributes, "WITH", "options")
    ))
}
