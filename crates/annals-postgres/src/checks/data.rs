//! What there is to check in the rows: tables with what their rows are held to, foreign keys, unique
//! keys, sequences. Every name and expression is printed, and quoted, by the server.

use serde_json::Value;
use sqlx::Row;

use super::catalog::complete;
use super::statement::{Guard, Statements};
use super::{CheckOptions, Why};
use crate::fault::Fault;

/// The checks that read rows.
pub(super) const CHECKS: &[&str] = &[
    "data.foreign_key",
    "data.unvalidated_check",
    "data.sequence_behind",
    "data.check",
    "data.not_null",
    "data.unique",
    "data.exclusion",
    "data.partition_bound",
    "data.enum_value",
    "data.domain_value",
    "data.unreadable",
    "data.heap",
    "data.checksum",
    "index.corrupt",
];

/// A table or materialized view, its rows read as `t`.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) oid: u64,
    pub(super) pages: u64,
    pub(super) unlogged: bool,
    /// An expression that says which row it is.
    pub(super) place: String,
    /// The partition's constraint.
    pub(super) bound: Option<String>,
    pub(super) columns: Vec<Column>,
    pub(super) checks: Vec<TableCheck>,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Quoted.
    pub(super) name: String,
    pub(super) not_null: bool,
    /// What is hashed of it.
    pub(super) hashed: String,
    /// The enum type of it, or of its elements.
    pub(super) enum_type: Option<String>,
    pub(super) is_array: bool,
    pub(super) domain: Option<Domain>,
}

#[derive(Debug, Clone)]
pub(super) struct Domain {
    pub(super) name: String,
    pub(super) base: String,
    pub(super) not_null: bool,
    /// Conditions on `VALUE`.
    pub(super) checks: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct TableCheck {
    pub(super) name: String,
    pub(super) expression: String,
    /// Validated and enforced, as far as the catalog knows.
    pub(super) trusted: bool,
}

#[derive(Debug, Clone)]
pub(super) struct ForeignKey {
    pub(super) subject: String,
    pub(super) child: String,
    pub(super) child_oid: u64,
    pub(super) child_pages: u64,
    pub(super) child_is_plain: bool,
    pub(super) parent: String,
    pub(super) parent_is_plain: bool,
    pub(super) match_full: bool,
    /// The last column is a range that parents must cover together.
    pub(super) period: bool,
    /// The child's column, and the condition that makes `p` its parent.
    pub(super) columns: Vec<(String, String, String)>,
}

#[derive(Debug, Clone)]
pub(super) struct UniqueKey {
    pub(super) subject: String,
    pub(super) table: String,
    pub(super) pages: u64,
    pub(super) keys: Vec<String>,
    pub(super) predicate: Option<String>,
    pub(super) nulls_are_equal: bool,
}

/// A constraint that lets no two rows meet under all of its operators.
#[derive(Debug, Clone, Default)]
pub(super) struct Exclusion {
    pub(super) subject: String,
    pub(super) table: String,
    pub(super) table_oid: u64,
    pub(super) pages: u64,
    pub(super) predicate: Option<String>,
    /// The last key is a range that may not be empty: `WITHOUT OVERLAPS`.
    pub(super) forbids_empty: bool,
    pub(super) keys: Vec<ExcludedKey>,
}

#[derive(Debug, Clone)]
pub(super) struct ExcludedKey {
    /// As the index says it.
    pub(super) name: String,
    /// The same, to be read of a row.
    pub(super) value: String,
    /// `OPERATOR(schema.op)`.
    pub(super) operator: String,
    /// The equality rows of its type are grouped and sorted by.
    pub(super) is_equality: bool,
    pub(super) is_overlap_of_ranges: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) column: String,
    pub(super) increment: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) name: String,
    /// `btree` or `gin`.
    pub(super) method: String,
    pub(super) oid: u64,
    pub(super) pages: u64,
    pub(super) table: String,
    pub(super) unlogged: bool,
}

/// All there is to check.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) tables: Vec<Table>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    pub(super) unique_keys: Vec<UniqueKey>,
    pub(super) exclusions: Vec<Exclusion>,
    pub(super) sequences: Vec<Sequence>,
    pub(super) indexes: Vec<Index>,
}

/// Types whose hash means the same on another server: no enum or composite type, whose hashes are
/// those of object numbers.
const HASHED: &str = "ARRAY['bool', 'char', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', \
    'text', 'varchar', 'bpchar', 'name', 'bytea', 'date', 'time', 'timetz', 'timestamp', \
    'timestamptz', 'interval', 'uuid', 'jsonb', 'inet', 'cidr', 'macaddr', 'macaddr8']::name[]";

const DOMAINS: &str = ", dom (oid, level, level_oid, base) AS (
    SELECT t.oid, 0, t.oid, t.typbasetype FROM pg_type t WHERE t.typtype = 'd'
    UNION ALL
    SELECT dom.oid, dom.level + 1, t.oid, t.typbasetype
      FROM dom JOIN pg_type t ON t.oid = dom.base AND t.typtype = 'd'
), domains AS (
    SELECT dom.oid, bool_or(l.typnotnull) AS not_null,
           (array_agg(dom.base ORDER BY dom.level DESC))[1] AS base
      FROM dom JOIN pg_type l ON l.oid = dom.level_oid GROUP BY dom.oid
)";

const TABLES: &str = " SELECT jsonb_build_object('name', rel.name, 'oid', rel.oid::int8,
    'pages', rel.relpages, 'unlogged', rel.relpersistence = 'u',
    'bound', CASE WHEN rel.relispartition THEN pg_get_partition_constraintdef(rel.oid) END,
    'place', coalesce((
        SELECT CASE WHEN bool_and(a.atttypid IN (20, 21, 23, 2950)) THEN string_agg(
                   format('%L || t.%I::text', quote_ident(a.attname) || ' = ', a.attname),
                   ' || '', '' || ' ORDER BY k.at) END
          FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k (num, at)
          JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum = k.num
         WHERE i.indrelid = rel.oid AND i.indisprimary AND k.at <= i.indnkeyatts), 'NULL'),
    'checks', coalesce((
        SELECT jsonb_agg(jsonb_build_object('name', quote_ident(k.conname),
                   'expression', pg_get_expr(k.conbin, k.conrelid), 'trusted', k.convalidated
                   AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)) ORDER BY k.conname)
          FROM pg_constraint k WHERE k.conrelid = rel.oid AND k.contype = 'c'), '[]'),
    'columns', coalesce((
        SELECT jsonb_agg(jsonb_build_object('name', quote_ident(a.attname),
                   'not_null', a.attnotnull, 'is_array', arr.is,
                   'hashed', 't.' || quote_ident(a.attname) || CASE
                       WHEN NOT (e.typname = ANY ({hashed}) AND e.typnamespace = 'pg_catalog'::regnamespace)
                           THEN '::text'
                       WHEN NOT coalesce(c.collisdeterministic, true) THEN ' COLLATE pg_catalog.\"C\"'
                       ELSE '' END,
                   'enum', CASE WHEN e.typtype = 'e' THEN format_type(e.oid, NULL) END,
                   'domain', CASE WHEN d.oid IS NOT NULL THEN jsonb_build_object(
                       'name', format_type(d.oid, NULL), 'base', format_type(d.base, NULL),
                       'not_null', d.not_null,
                       'checks', coalesce((SELECT jsonb_agg(pg_get_expr(k.conbin, 0) ORDER BY k.conname)
                           FROM dom JOIN pg_constraint k ON k.contypid = dom.level_oid
                          WHERE dom.oid = d.oid AND k.contype = 'c'), '[]')) END)
               ORDER BY a.attname)
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
          LEFT JOIN domains over ON over.oid = t.oid
          JOIN pg_type b ON b.oid = coalesce(over.base, t.oid)
         CROSS JOIN LATERAL (SELECT b.typcategory = 'A' AND b.typelem <> 0 AS is) arr
          LEFT JOIN domains elem ON arr.is AND elem.oid = b.typelem
          LEFT JOIN domains d ON d.oid = coalesce(over.oid, elem.oid)
          JOIN pg_type e ON e.oid = CASE WHEN arr.is THEN coalesce(elem.base, b.typelem) ELSE b.oid END
          LEFT JOIN pg_collation c ON c.oid = a.attcollation
         WHERE a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'))::text AS value
  FROM rel WHERE rel.relkind IN ('r', 'm') AND rel.relispopulated ORDER BY rel.name";

const FOREIGN_KEYS: &str = " SELECT jsonb_build_object('subject', con.subject, 'child', con.table_name,
    'child_oid', con.conrelid::int8, 'child_pages', ch.relpages, 'child_is_plain', ch.relkind = 'r',
    'parent', format('%I.%I', pn.nspname, pc.relname), 'parent_is_plain', pc.relkind = 'r',
    'match_full', con.confmatchtype = 'f',
    'period', coalesce((to_jsonb(con) ->> 'conperiod')::boolean, false),
    'columns', (SELECT jsonb_agg(jsonb_build_array('t.' || quote_ident(ca.attname),
            format('p.%I%s OPERATOR(%I.%s) t.%I', pa.attname, CASE
                   WHEN pa.attcollation <> ca.attcollation AND pa.attcollation <> 0
                   THEN format(' COLLATE %I.%I', cn.nspname, c.collname) ELSE '' END,
                   opn.nspname, o.oprname, ca.attname), 'p.' || quote_ident(pa.attname)) ORDER BY k.at)
        FROM unnest(con.conkey, con.confkey, con.conpfeqop) WITH ORDINALITY k (own, other, op, at)
        JOIN pg_attribute ca ON ca.attrelid = con.conrelid AND ca.attnum = k.own
        JOIN pg_attribute pa ON pa.attrelid = con.confrelid AND pa.attnum = k.other
        JOIN pg_operator o ON o.oid = k.op JOIN pg_namespace opn ON opn.oid = o.oprnamespace
        LEFT JOIN pg_collation c ON c.oid = pa.attcollation
        LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace))::text AS value
  FROM con JOIN pg_class ch ON ch.oid = con.conrelid JOIN pg_class pc ON pc.oid = con.confrelid
  JOIN pg_namespace pn ON pn.oid = pc.relnamespace
 WHERE con.contype = 'f' AND con.conparentid = 0 ORDER BY con.subject";

const UNIQUE_KEYS: &str =
    " SELECT jsonb_build_object('subject', 'index ' || rel.name, 'table', r.name,
    'pages', r.relpages, 'predicate', pg_get_expr(i.indpred, i.indrelid),
    'nulls_are_equal', coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
    'keys', (SELECT jsonb_agg(format('(%s)%s', pg_get_indexdef(i.indexrelid, k.at::int, false),
                CASE WHEN c.oid IS NOT NULL THEN format(' COLLATE %I.%I', cn.nspname, c.collname)
                ELSE '' END) ORDER BY k.at)
          FROM unnest(i.indcollation::oid[]) WITH ORDINALITY k (coll, at)
          LEFT JOIN pg_collation c ON c.oid = k.coll AND k.coll <> 100
          LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace
         WHERE k.at <= i.indnkeyatts))::text AS value
  FROM pg_index i JOIN rel ON rel.oid = i.indexrelid JOIN rel r ON r.oid = i.indrelid
 WHERE i.indisunique AND i.indisvalid AND NOT i.indisexclusion AND rel.relkind = 'i'
   AND r.relkind IN ('r', 'm') ORDER BY rel.name";

// `WITHOUT OVERLAPS` has operators like any other exclusion, and a unique index none else has.
const EXCLUSIONS: &str =
    " SELECT jsonb_build_object('subject', con.subject, 'table', r.name, 'table_oid', r.oid::int8,
    'pages', r.relpages, 'predicate', pg_get_expr(i.indpred, i.indrelid),
    'forbids_empty', coalesce((to_jsonb(con) ->> 'conperiod')::boolean, false),
    'keys', (SELECT jsonb_agg(jsonb_build_object(
                'name', pg_get_indexdef(i.indexrelid, k.at::int, false),
                'value', format('(%s)%s', pg_get_indexdef(i.indexrelid, k.at::int, false),
                    CASE WHEN c.oid IS NOT NULL THEN format(' COLLATE %I.%I', cn.nspname, c.collname)
                    ELSE '' END),
                'operator', format('OPERATOR(%I.%s)', opn.nspname, o.oprname),
                'equality', o.oprname = '=' AND o.oprcanmerge AND opn.nspname = 'pg_catalog',
                'overlap', o.oprname = '&&' AND o.oprleft = 'anyrange'::regtype
                    AND o.oprright = 'anyrange'::regtype) ORDER BY k.at)
          FROM unnest(con.conexclop, i.indcollation::oid[]) WITH ORDINALITY k (op, coll, at)
          JOIN pg_operator o ON o.oid = k.op JOIN pg_namespace opn ON opn.oid = o.oprnamespace
          LEFT JOIN pg_collation c ON c.oid = k.coll AND k.coll <> 100
          LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace))::text AS value
  FROM con JOIN pg_index i ON i.indexrelid = con.conindid JOIN rel r ON r.oid = con.conrelid
 WHERE con.conexclop IS NOT NULL AND i.indisvalid AND r.relkind = 'r' ORDER BY con.subject";

const SEQUENCES: &str = " SELECT DISTINCT jsonb_build_object('name', rel.name, 'table', t.name,
    'column', quote_ident(a.attname), 'increment', s.seqincrement)::text AS value
  FROM rel JOIN pg_sequence s ON s.seqrelid = rel.oid
  JOIN (SELECT d.objid AS seq, d.refobjid AS tab, d.refobjsubid AS num FROM pg_depend d
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
           AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
        UNION
        SELECT d.refobjid, f.adrelid, f.adnum FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
         WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass) u
    ON u.seq = rel.oid
  JOIN rel t ON t.oid = u.tab AND t.relkind IN ('r', 'p')
  JOIN pg_attribute a ON a.attrelid = u.tab AND a.attnum = u.num
 WHERE a.atttypid IN (20, 21, 23) AND NOT s.seqcycle ORDER BY 1";

const INDEXES: &str = " SELECT jsonb_build_object('name', rel.name, 'oid', rel.oid::int8,
    'pages', rel.relpages, 'table', r.name, 'unlogged', rel.relpersistence = 'u',
    'method', am.amname)::text AS value
  FROM pg_index i JOIN rel ON rel.oid = i.indexrelid JOIN rel r ON r.oid = i.indrelid
  JOIN pg_am am ON am.oid = rel.relam AND am.amname IN ('btree', 'gin')
 WHERE rel.relkind = 'i' AND i.indisvalid AND i.indisready AND i.indislive
   AND r.relkind IN ('r', 'm') ORDER BY rel.name";

/// Reads what there is to check. What could not be read is in the second part, with the checks that
/// cannot be made for it.
pub(super) async fn read_plan(
    statements: &mut Statements,
    options: &CheckOptions<'_>,
) -> Result<(Plan, Vec<(&'static str, Why)>), Fault> {
    let mut plan = Plan::default();
    let mut missed = Vec::new();
    let of_rows = CHECKS.iter().copied().filter(|check| {
        ![
            "data.foreign_key",
            "data.sequence_behind",
            "data.unique",
            "data.exclusion",
            "index.corrupt",
        ]
        .contains(check)
    });
    let tables: Vec<&'static str> = of_rows.collect();
    let parts: [(&[&'static str], String); 6] = [
        (&tables, format!("{DOMAINS}{}", TABLES.replace("{hashed}", HASHED))),
        (&["data.foreign_key"], FOREIGN_KEYS.to_owned()),
        (&["data.unique"], UNIQUE_KEYS.to_owned()),
        (&["data.exclusion"], EXCLUSIONS.to_owned()),
        (&["data.sequence_behind"], SEQUENCES.to_owned()),
        (&["index.corrupt"], INDEXES.to_owned()),
    ];
    for (at, (checks, sql)) in parts.iter().enumerate() {
        let wanted = || checks.iter().copied().filter(|check| options.has(check));
        // Places of rows come with the tables.
        let needs_places = options.has("data.foreign_key") || options.has("data.exclusion");
        if wanted().next().is_none() && !(at == 0 && needs_places) {
            continue;
        }
        let values = match statements.rows(&Guard::Catalog, &complete(sql, options)).await? {
            Ok(rows) => rows,
            Err(why) => {
                missed.extend(wanted().map(|check| (check, why.clone())));
                continue;
            }
        };
        for row in values {
            let text: String = row.try_get("value")?;
            let value: Value =
                serde_json::from_str(&text).map_err(|e| Fault::Protocol(e.to_string()))?;
            match at {
                0 => plan.tables.push(Table::of(&value)),
                1 => plan.foreign_keys.push(ForeignKey::of(&value)),
                2 => plan.unique_keys.push(UniqueKey::of(&value)),
                3 => plan.exclusions.push(Exclusion::of(&value)),
                4 => plan.sequences.push(Sequence::of(&value)),
                _ => plan.indexes.push(Index::of(&value)),
            }
        }
    }
    Ok((plan, missed))
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn maybe(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn is(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or_default()
}

fn list<T>(value: &Value, key: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    value[key].as_array().map(|values| values.iter().map(read).collect()).unwrap_or_default()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Table {
    fn of(value: &Value) -> Self {
        Self {
            name: text(value, "name"),
            oid: count(value, "oid"),
            pages: count(value, "pages"),
            unlogged: is(value, "unlogged"),
            // A key that is NULL where it cannot be says nothing.
            place: format!("coalesce({}, 'row ' || t.ctid::text)", text(value, "place")),
            bound: maybe(value, "bound"),
            checks: list(value, "checks", |check| TableCheck {
                name: text(check, "name"),
                expression: text(check, "expression"),
                trusted: is(check, "trusted"),
            }),
            columns: list(value, "columns", |column| Column {
                name: text(column, "name"),
                not_null: is(column, "not_null"),
                hashed: text(column, "hashed"),
                enum_type: maybe(column, "enum"),
                is_array: is(column, "is_array"),
                domain: column["domain"].is_object().then(|| {
                    let domain = &column["domain"];
                    Domain {
                        name: text(domain, "name"),
                        base: text(domain, "base"),
                        not_null: is(domain, "not_null"),
                        checks: list(domain, "checks", word),
                    }
                }),
            }),
        }
    }
}

impl ForeignKey {
    fn of(value: &Value) -> Self {
        Self {
            subject: text(value, "subject"),
            child: text(value, "child"),
            child_oid: count(value, "child_oid"),
            child_pages: count(value, "child_pages"),
            child_is_plain: is(value, "child_is_plain"),
            parent: text(value, "parent"),
            parent_is_plain: is(value, "parent_is_plain"),
            match_full: is(value, "match_full"),
            period: is(value, "period"),
            columns: list(value, "columns", |c| (word(&c[0]), word(&c[1]), word(&c[2]))),
        }
    }
}

impl UniqueKey {
    fn of(value: &Value) -> Self {
        Self {
            subject: text(value, "subject"),
            table: text(value, "table"),
            pages: count(value, "pages"),
            keys: list(value, "keys", word),
            predicate: maybe(value, "predicate"),
            nulls_are_equal: is(value, "nulls_are_equal"),
        }
    }
}

impl Exclusion {
    fn of(value: &Value) -> Self {
        Self {
            subject: text(value, "subject"),
            table: text(value, "table"),
            table_oid: count(value, "table_oid"),
            pages: count(value, "pages"),
            predicate: maybe(value, "predicate"),
            forbids_empty: is(value, "forbids_empty"),
            keys: list(value, "keys", |key| ExcludedKey {
                name: text(key, "name"),
                value: text(key, "value"),
                operator: text(key, "operator"),
                is_equality: is(key, "equality"),
                is_overlap_of_ranges: is(key, "overlap"),
            }),
        }
    }
}

impl Sequence {
    fn of(value: &Value) -> Self {
        Self {
            name: text(value, "name"),
            table: text(value, "table"),
            column: text(value, "column"),
            increment: value["increment"].as_i64().unwrap_or(1),
        }
    }
}

impl Index {
    fn of(value: &Value) -> Self {
        Self {
            name: text(value, "name"),
            oid: count(value, "oid"),
            pages: count(value, "pages"),
            method: text(value, "method"),
            table: text(value, "table"),
            unlogged: is(value, "unlogged"),
        }
    }
}
