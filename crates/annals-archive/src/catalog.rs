//! What there is to copy, read inside of the snapshot everything is copied from.

use std::collections::BTreeSet;

use annals_postgres::{Fault, Session};
use serde_json::Value;

use crate::error::ArchiveError;
use crate::manifest::{NotIncluded, SequenceState};
use crate::tables::{TableName, leaves_of, tables_named};

/// How every session reads rows: one text for one value, whatever a role or a database is set to.
///
/// The same as `pg_dump` sets, for the same reasons.
pub(crate) const SETTINGS: &str = "SET search_path = ''; SET row_security = off; \
    SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; \
    SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; \
    SET xmloption = 'content'; SET lc_monetary = 'C'; SET synchronize_seqscans = off; \
    SET quote_all_identifiers = off; SET statement_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0";

/// A table to copy.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) oid: u64,
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    pub(crate) condition: Option<String>,
    /// Blocks of its main fork.
    pub(crate) blocks: u64,
    /// Bytes with everything stored out of line.
    pub(crate) bytes: u64,
    /// Ranges of its rows can be read by themselves.
    pub(crate) is_heap: bool,
    is_readable: bool,
    is_hidden: bool,
}

/// A sequence to read.
#[derive(Debug, Clone)]
struct Sequence {
    name: String,
    is_readable: bool,
}

/// What there is.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) tables: Vec<Table>,
    sequences: Vec<Sequence>,
    pub(crate) large_objects: u64,
    pub(crate) not_included: Vec<NotIncluded>,
}

/// Relations that are a project's own: not the server's, and of an extension's own those that it
/// leaves to the database, with which of their rows.
const RELATIONS: &str = "WITH rel AS (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS name, x.at,
           nullif(x.conditions[x.at], '') AS condition
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN LATERAL (
           SELECT array_position(e.extconfig, c.oid) AS at, e.extcondition AS conditions
             FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
              AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e') x ON true
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT n.nspname = ANY ({excluded}::text[])
       AND c.relpersistence <> 't'
       AND (x.at IS NOT NULL OR NOT EXISTS (
           SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
              AND d.deptype = 'e')))";

const TABLES: &str = " SELECT jsonb_build_object('oid', rel.oid::int8, 'name', rel.name,
    'columns', (SELECT coalesce(jsonb_agg(quote_ident(a.attname) ORDER BY a.attnum), '[]')
                  FROM pg_attribute a WHERE a.attrelid = rel.oid AND a.attnum > 0
                   AND NOT a.attisdropped AND a.attgenerated = ''),
    'condition', rel.condition,
    'blocks', pg_relation_size(rel.oid) / current_setting('block_size')::int8,
    'bytes', pg_table_size(rel.oid),
    'is_heap', coalesce(am.amname = 'heap', false),
    'is_readable', has_table_privilege(rel.oid, 'SELECT'),
    'is_hidden', row_security_active(rel.oid))::text
  FROM rel LEFT JOIN pg_am am ON am.oid = rel.relam WHERE rel.relkind = 'r' ORDER BY rel.name";

const SEQUENCES: &str = " SELECT jsonb_build_object('name', rel.name,
    'is_readable', has_table_privilege(rel.oid, 'SELECT'))::text
  FROM rel WHERE rel.relkind = 'S' ORDER BY rel.name";

const FOREIGN: &str = " SELECT rel.name FROM rel WHERE rel.relkind = 'f' ORDER BY rel.name";

const MATERIALIZED: &str = " SELECT rel.name FROM rel WHERE rel.relkind = 'm' ORDER BY rel.name";

const LARGE_OBJECTS: &str = "SELECT count(*)::text FROM pg_largeobject_metadata";

/// Tables that were given another file since the snapshot: truncated or rewritten, which a snapshot
/// does not keep apart.
const REWRITTEN: &str = "SELECT c.oid::regclass::text FROM pg_class c \
    WHERE c.oid = ANY ({oids}::oid[]) \
    AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)";

impl Catalog {
    /// Reads it, in the transaction of the snapshot.
    pub(crate) async fn read(
        session: &mut Session,
        excluded: &[String],
    ) -> Result<Self, ArchiveError> {
        let names = excluded.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
        let relations = RELATIONS.replace("{excluded}", &format!("ARRAY[{names}]"));
        let of = |query: &str| format!("{relations}{query}");
        let mut catalog = Self::default();
        for value in documents(session, &of(TABLES)).await? {
            let number = |key: &str| value[key].as_u64().unwrap_or_default();
            let is = |key: &str| value[key].as_bool().unwrap_or_default();
            let columns = value["columns"].as_array().into_iter().flatten();
            catalog.tables.push(Table {
                oid: number("oid"),
                name: text(&value, "name"),
                columns: columns.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
                condition: value["condition"].as_str().map(str::to_owned),
                blocks: number("blocks"),
                bytes: number("bytes"),
                is_heap: is("is_heap"),
                is_readable: is("is_readable"),
                is_hidden: is("is_hidden"),
            });
        }
        for value in documents(session, &of(SEQUENCES)).await? {
            let is_readable = value["is_readable"].as_bool().unwrap_or_default();
            catalog.sequences.push(Sequence { name: text(&value, "name"), is_readable });
        }
        for (query, why) in [
            (FOREIGN, "a foreign table's rows are elsewhere"),
            (MATERIALIZED, "a materialized view's rows are computed anew when it is restored"),
        ] {
            let names = words(session, &of(query)).await?;
            let entries = names.into_iter().map(|name| (format!("rows of {name}"), why));
            catalog.not_included.extend(entries.map(|(what, why)| not_included(what, why)));
        }
        let schemas = excluded.iter().map(|name| format!("schema {name}"));
        let why = "it is managed by the platform, or named in schemas.managed";
        catalog.not_included.extend(schemas.map(|what| not_included(what, why)));
        let server = [
            ("roles and their passwords", "they belong to the server, not to a database"),
            ("tablespaces", "they are places on the server; everything is restored to the default"),
        ];
        catalog.not_included.extend(server.map(|(what, why)| not_included(what.to_owned(), why)));
        let count = words(session, LARGE_OBJECTS).await?;
        catalog.large_objects = count.first().and_then(|n| n.parse().ok()).unwrap_or_default();
        Ok(catalog)
    }

    /// Only rows are wanted.
    pub(crate) fn leave_out_schema(&mut self) {
        let what = "indexes, constraints, triggers, rules and policies".to_owned();
        self.not_included.push(not_included(what, "only the rows were asked for"));
        self.leave_out_large_objects("only the rows were asked for");
    }

    fn leave_out_large_objects(&mut self, why: &str) {
        if std::mem::take(&mut self.large_objects) > 0 {
            self.not_included.push(not_included("large objects".to_owned(), why));
        }
    }

    /// Only the rows of these tables are wanted. Returns their names, as SQL spells them.
    pub(crate) async fn keep_only(
        &mut self,
        session: &mut Session,
        names: &[TableName],
    ) -> Result<Vec<String>, ArchiveError> {
        let (mut scope, mut leaves) = (Vec::new(), BTreeSet::new());
        for name in names {
            let found = tables_named(session, name).await?;
            let [one] = found.as_slice() else {
                return Err(ArchiveError::NoTable { name: name.to_string(), found });
            };
            let of_it = leaves_of(session, one).await?;
            if of_it.iter().any(|leaf| self.tables.iter().all(|table| table.name != *leaf)) {
                return Err(ArchiveError::NotOurs(one.clone()));
            }
            leaves.extend(of_it);
            scope.push(one.clone());
        }
        scope.sort();
        scope.dedup();
        let all = self.tables.len();
        self.tables.retain(|table| leaves.contains(&table.name));
        let why = "only some tables were asked for";
        let what = format!("rows of all other tables, {} of {all}", all - self.tables.len());
        self.not_included.push(not_included(what, why));
        self.leave_out_large_objects(why);
        Ok(scope)
    }

    /// Refuses what would give less than there is.
    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        let tables = self.tables.iter().filter(|table| !table.is_readable);
        let sequences = self.sequences.iter().filter(|sequence| !sequence.is_readable);
        let unreadable: Vec<String> = tables
            .map(|table| table.name.clone())
            .chain(sequences.map(|sequence| sequence.name.clone()))
            .collect();
        if !unreadable.is_empty() {
            return Err(ArchiveError::NotReadable(unreadable));
        }
        let hidden = self.tables.iter().filter(|table| table.is_hidden);
        let hidden: Vec<String> = hidden.map(|table| table.name.clone()).collect();
        if hidden.is_empty() { Ok(()) } else { Err(ArchiveError::Hidden(hidden)) }
    }

    /// Keeps others from changing the tables; returns those that were rewritten before.
    pub(crate) async fn lock(&self, session: &mut Session) -> Result<Vec<String>, Fault> {
        for tables in self.tables.chunks(500) {
            let names: Vec<String> =
                tables.iter().map(|table| format!("ONLY {}", table.name)).collect();
            session.run(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "))).await?;
        }
        let oids: Vec<String> = self.tables.iter().map(|table| table.oid.to_string()).collect();
        let oids = format!("'{{{}}}'", oids.join(","));
        words(session, &REWRITTEN.replace("{oids}", &oids)).await
    }

    /// Where the sequences stand. Later than the snapshot, if anything: never behind a row.
    pub(crate) async fn sequences(
        &self,
        session: &mut Session,
    ) -> Result<Vec<SequenceState>, Fault> {
        let names: Vec<&str> =
            self.sequences.iter().map(|sequence| sequence.name.as_str()).collect();
        read_sequences(session, &names).await
    }
}

/// Where sequences stand, in the order they are named.
pub(crate) async fn read_sequences(
    session: &mut Session,
    names: &[&str],
) -> Result<Vec<SequenceState>, Fault> {
    let mut states = Vec::with_capacity(names.len());
    for some in names.chunks(200) {
        let each = some.iter().enumerate().map(|(at, name)| {
            format!("SELECT {at} AS at, last_value::text AS value, is_called::text AS called FROM {name}")
        });
        let all = each.collect::<Vec<_>>().join(" UNION ALL ");
        let rows =
            session.texts(&format!("SELECT value, called FROM ({all}) s ORDER BY at")).await?;
        for (name, row) in some.iter().zip(rows) {
            let odd = || Fault::Protocol(format!("sequence {name} has no state"));
            let mut row = row.into_iter();
            let (value, called) = (row.next().flatten(), row.next().flatten());
            let last_value = value.and_then(|value| value.parse().ok()).ok_or_else(odd)?;
            let is_called = called.as_deref() == Some("true");
            states.push(SequenceState { name: (*name).to_owned(), last_value, is_called });
        }
    }
    Ok(states)
}

fn not_included(what: String, why: &str) -> NotIncluded {
    NotIncluded { what, why: why.to_owned() }
}

/// The first column of a query.
pub(crate) async fn words(session: &mut Session, query: &str) -> Result<Vec<String>, Fault> {
    let rows = session.texts(query).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

async fn documents(session: &mut Session, query: &str) -> Result<Vec<Value>, Fault> {
    let texts = words(session, query).await?;
    let parse = |text: &String| {
        serde_json::from_str(text).map_err(|error| Fault::Protocol(error.to_string()))
    };
    texts.iter().map(parse).collect()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// A string constant.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
