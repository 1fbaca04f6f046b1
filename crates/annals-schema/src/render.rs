//! A snapshot as SQL for people.

mod parts;
mod relations;

use std::collections::BTreeMap;

use crate::kind::ObjectKind;
use crate::snapshot::{ObjectKey, Snapshot};

use parts::{Attributes, get, literal};

/// The schema as DDL, in the order a person reads it: what a table consists of stands together.
///
/// It is written to be read, and mostly runs; what cannot be said in SQL, or is hidden, is a comment.
pub fn render(snapshot: &Snapshot) -> String {
    let mut page = Page { text: String::new() };
    let tables = relations::Tables::of(snapshot);
    for kind in ORDER {
        match kind {
            ObjectKind::Table => tables.render(&mut page),
            kind => page.kind(snapshot, *kind, &tables),
        }
    }
    comments(snapshot, &mut page);
    page.text
}

/// A trigger or policy on a table of somebody else's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is.
    pub key: ObjectKey,
    /// The table it is on, as SQL spells it.
    pub table: String,
    /// What makes it: itself, whether it is enabled, its comment.
    pub sql: Vec<String>,
}

/// The triggers and policies on tables of `schemas`, such as Supabase's `auth.users`: they are a project's own,
/// and no dump that leaves those schemas out has them.
pub fn attachments(snapshot: &Snapshot, schemas: &[String]) -> Vec<Attachment> {
    let mut all = Vec::new();
    for (key, attributes) in snapshot.iter() {
        let is_kind = matches!(key.kind, ObjectKind::Trigger | ObjectKind::Policy);
        // A partition has those of its table with it.
        if !is_kind || parts::is(attributes, "inherited") {
            continue;
        }
        let schema = parts::first(&key.name);
        if !schemas.contains(&schema) {
            continue;
        }
        let made = parts::statement(key.kind, &key.name, attributes);
        let comment = attributes.get("comment").map(|comment| {
            let (what, name) =
                (parts::words(key.kind, attributes), parts::addressed(key.kind, &key.name));
            format!("COMMENT ON {what} {name} IS {};", literal(comment))
        });
        let table = parts::split(&key.name).0.to_owned();
        all.push(Attachment {
            key: key.clone(),
            table,
            sql: made.into_iter().chain(comment).collect(),
        });
    }
    all
}

/// The order of kinds. Columns and constraints stand with their tables, row security with policies,
/// and comments at the end.
const ORDER: &[ObjectKind] = &[
    ObjectKind::Database,
    ObjectKind::Setting,
    ObjectKind::Schema,
    ObjectKind::Extension,
    ObjectKind::Language,
    ObjectKind::AccessMethod,
    ObjectKind::Collation,
    ObjectKind::Conversion,
    ObjectKind::Type,
    ObjectKind::ForeignDataWrapper,
    ObjectKind::ForeignServer,
    ObjectKind::UserMapping,
    ObjectKind::Sequence,
    ObjectKind::Function,
    ObjectKind::Operator,
    ObjectKind::OperatorFamily,
    ObjectKind::OperatorClass,
    ObjectKind::Cast,
    ObjectKind::Transform,
    ObjectKind::TextSearchParser,
    ObjectKind::TextSearchTemplate,
    ObjectKind::TextSearchDictionary,
    ObjectKind::TextSearchConfiguration,
    ObjectKind::Table,
    ObjectKind::Index,
    ObjectKind::Statistics,
    ObjectKind::View,
    ObjectKind::Rule,
    ObjectKind::Trigger,
    ObjectKind::EventTrigger,
    ObjectKind::RowSecurity,
    ObjectKind::Policy,
    ObjectKind::Publication,
    ObjectKind::PublicationTable,
    ObjectKind::PublicationSchema,
    ObjectKind::Subscription,
    ObjectKind::ExtensionDependency,
    ObjectKind::DefaultPrivileges,
    ObjectKind::Grant,
    ObjectKind::SecurityLabel,
    ObjectKind::Unreadable,
];

/// What has been written.
pub(crate) struct Page {
    text: String,
}

impl Page {
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn kind(&mut self, snapshot: &Snapshot, kind: ObjectKind, tables: &relations::Tables<'_>) {
        let before = self.text.len();
        for (name, attributes) in snapshot.of_kind(kind) {
            let statement = match kind {
                ObjectKind::View => relations::view(name, attributes),
                ObjectKind::Type => tables.data_type(name, attributes),
                _ => parts::statement(kind, name, attributes),
            };
            if let Some(statement) = statement {
                self.line(&statement);
                self.owner(kind, name, attributes);
            }
        }
        if self.text.len() > before {
            self.text.push('\n');
        }
    }

    pub(crate) fn owner(&mut self, kind: ObjectKind, name: &str, attributes: &Attributes) {
        let owned = !matches!(kind, ObjectKind::Schema | ObjectKind::Database);
        if let Some(owner) = attributes.get("owner").filter(|_| owned) {
            let what = parts::words(kind, attributes);
            let name = parts::addressed(kind, name);
            self.line(&format!("ALTER {what} {name} OWNER TO {owner};"));
        }
    }
}

fn comments(snapshot: &Snapshot, page: &mut Page) {
    for (key, attributes) in snapshot.iter() {
        if let Some(comment) = attributes.get("comment") {
            let what = parts::words(key.kind, attributes);
            let name = parts::addressed(key.kind, &key.name);
            page.line(&format!("COMMENT ON {what} {name} IS {};", literal(comment)));
        }
        if let Some(comment) = attributes.get("not_null_comment") {
            let name = get(attributes, "not_null_constraint");
            let table = parts::split(&key.name).0;
            page.line(&format!("COMMENT ON CONSTRAINT {name} ON {table} IS {};", literal(comment)));
        }
    }
}

/// Attributes of the names given, as `name = value` lines.
fn listed(attributes: &BTreeMap<String, String>, but: &[&str]) -> String {
    let shown = attributes.iter().filter(|(name, _)| !but.contains(&name.as_str()));
    let shown: Vec<String> = shown.map(|(name, value)| format!("{name} = {value}")).collect();
    if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Object;

    fn object(kind: ObjectKind, name: &str, attributes: &[(&str, &str)]) -> Object {
        let attributes = attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Object { attributes, kind, name: name.to_owned() }
    }

    #[test]
    fn what_belongs_to_a_table_stands_in_it_and_the_rest_in_the_order_of_reading() {
        use ObjectKind::{
            Column, Constraint, Grant, Index, Policy, RowSecurity, Schema, Table, Type,
        };
        let pk = [("is", "primary key"), ("definition", "PRIMARY KEY (id)")];
        let fk = [
            ("definition", "FOREIGN KEY (\"a.b\") REFERENCES shop.u(id)"),
            ("is", "foreign key"),
            ("deferrable", "true"),
            ("validated", "false"),
        ];
        let snapshot = Snapshot::new(
            15,
            [
                object(Grant, "table shop.t to bob", &[("privileges", "SELECT*, UPDATE")]),
                object(
                    Policy,
                    "shop.t.own",
                    &[
                        ("command", "select"),
                        ("permissive", "true"),
                        ("roles", "bob"),
                        ("using", "(id > 1)"),
                    ],
                ),
                object(RowSecurity, "shop.t", &[("enabled", "true"), ("forced", "false")]),
                object(
                    Index,
                    "shop.t_pkey",
                    &[("constraint", "t_pkey"), ("definition", "CREATE UNIQUE INDEX …")],
                ),
                object(
                    Index,
                    "shop.t_a",
                    &[("definition", "CREATE INDEX t_a ON shop.t USING btree (id)")],
                ),
                object(Constraint, "shop.t.t_pkey", &pk),
                object(Constraint, "shop.t.to_u", &fk),
                object(
                    Column,
                    "shop.t.\"a.b\"",
                    &[
                        ("position", "1"),
                        ("type", "integer"),
                        ("default", "5"),
                        ("comment", "it's"),
                    ],
                ),
                object(
                    Column,
                    "shop.t.id",
                    &[
                        ("position", "10"),
                        ("type", "bigint"),
                        ("not_null", "true"),
                        ("identity", "always"),
                    ],
                ),
                object(Column, "shop.t.z", &[("position", "2"), ("type", "text")]),
                object(Table, "shop.t", &[("is", "table"), ("owner", "alice")]),
                object(
                    Type,
                    "shop.mood",
                    &[("is", "enum"), ("labels", "'a', 'b'"), ("owner", "alice")],
                ),
                object(Schema, "shop", &[("owner", "alice")]),
            ],
        );
        let expected = "\
CREATE SCHEMA shop AUTHORIZATION alice;

CREATE TYPE shop.mood AS ENUM ('a', 'b');
ALTER TYPE shop.mood OWNER TO alice;

CREATE TABLE shop.t (
    \"a.b\" integer DEFAULT 5,
    z text,
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT t_pkey PRIMARY KEY (id)
);
ALTER TABLE shop.t OWNER TO alice;
ALTER TABLE shop.t ADD CONSTRAINT to_u FOREIGN KEY (\"a.b\") REFERENCES shop.u(id) DEFERRABLE NOT VALID;

CREATE INDEX t_a ON shop.t USING btree (id);

ALTER TABLE shop.t ENABLE ROW LEVEL SECURITY;

CREATE POLICY own ON shop.t FOR SELECT TO bob USING (id > 1);

GRANT SELECT, UPDATE ON table shop.t TO bob; -- with grant option: SELECT

COMMENT ON COLUMN shop.t.\"a.b\" IS 'it''s';
";
        assert_eq!(render(&snapshot), expected);
    }

    #[test]
    fn every_kind_is_written_somewhere() {
        for kind in ObjectKind::ALL {
            let inside = matches!(kind, ObjectKind::Column | ObjectKind::Constraint);
            assert_ne!(inside, ORDER.contains(kind), "{kind}");
        }
    }
}
