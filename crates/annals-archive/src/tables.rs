//! Tables by the names people type, and as a database has them: what rows are found by, and what is
//! in the way of putting them back.

use annals_postgres::{Fault, Session};
use serde::Deserialize;

use crate::catalog::{literal, words};

/// A table's name as somebody typed it: `orders`, `shop.orders`, `"Odd, name"`.
///
/// As in SQL, what is not quoted is in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl TableName {
    /// Whether that may be the table that SQL spells `table`.
    pub fn may_mean(&self, table: &str) -> bool {
        let Ok(names) = parse_table_names(table) else { return false };
        let [other] = names.as_slice() else { return false };
        self.name == other.name && (self.schema.is_none() || self.schema == other.schema)
    }
}

/// Reads names with commas between them.
///
/// # Errors
///
/// What is wrong, in words.
pub fn parse_table_names(text: &str) -> Result<Vec<TableName>, String> {
    let mut names = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut parts = Vec::new();
        loop {
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            let mut part = String::new();
            if chars.next_if_eq(&'"').is_some() {
                loop {
                    match chars.next() {
                        Some('"') if chars.next_if_eq(&'"').is_some() => part.push('"'),
                        Some('"') => break,
                        Some(other) => part.push(other),
                        None => return Err(format!("a quote in {text:?} does not end")),
                    }
                }
            } else {
                while let Some(c) = chars.next_if(|c| !matches!(c, '.' | ',' | '"')) {
                    part.push(c);
                }
                part = part.trim().to_lowercase();
            }
            if part.is_empty() {
                return Err(format!("a name in {text:?} is empty"));
            }
            parts.push(part);
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            if chars.next_if_eq(&'.').is_none() {
                break;
            }
        }
        match (parts.pop(), parts.pop(), parts.pop()) {
            (Some(name), schema, None) => names.push(TableName { schema, name }),
            _ => return Err(format!("a name in {text:?} has more than a schema and a table")),
        }
        match chars.next() {
            None => return Ok(names),
            Some(',') => {}
            Some(other) => return Err(format!("{other:?} in {text:?} stands where it cannot")),
        }
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ColumnForm {
    /// As SQL spells it.
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    /// It is computed from others.
    pub(crate) generated: bool,
    /// An identity nobody may set to anything.
    pub(crate) always: bool,
    /// A row needs a value for it, and nothing gives one.
    pub(crate) required: bool,
}

/// What tells a row from every other row of its table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct KeyForm {
    /// The index.
    pub(crate) name: String,
    pub(crate) primary: bool,
    /// As SQL spells them.
    pub(crate) columns: Vec<String>,
    /// By which each of them is equal; none where the index knows of no such.
    pub(crate) operators: Vec<Option<String>>,
}

/// A trigger somebody made, that fires.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct TriggerForm {
    /// The table or partition.
    pub(crate) table: String,
    pub(crate) name: String,
    /// `O`: unless replicating; `A`: always.
    pub(crate) enabled: String,
}

/// A sequence a column takes its values from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct SequenceUse {
    pub(crate) name: String,
    pub(crate) column: String,
    pub(crate) increment: i64,
    /// Whether this role may lock it.
    pub(crate) owned: bool,
}

/// A table as a database has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TableForm {
    /// Its name, as SQL spells it.
    pub name: String,
    /// `r`: a table; `p`: one whose rows are in partitions.
    pub(crate) kind: String,
    pub(crate) columns: Vec<ColumnForm>,
    pub(crate) key: Option<KeyForm>,
    pub(crate) hidden: bool,
    pub(crate) may_read: bool,
    pub(crate) may_insert: bool,
    pub(crate) may_update: bool,
    pub(crate) owned: bool,
    pub(crate) triggers: Vec<TriggerForm>,
    pub(crate) sequences: Vec<SequenceUse>,
    /// The tables its foreign keys refer to.
    pub(crate) references: Vec<String>,
}

/// What a name may mean.
const NAMED: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
   AND n.nspname NOT IN ('information_schema', 'annals') AND c.relname = {name} {schema}
 ORDER BY 1";

/// Everything about some tables. A trigger that came to a partition from its table counts as internal
/// before 15, so what is somebody's own is told by its constraint.
const FORMS: &str = "SELECT pg_catalog.jsonb_build_object(
  'name', format('%I.%I', n.nspname, c.relname), 'kind', c.relkind,
  'hidden', row_security_active(c.oid),
  'may_read', has_table_privilege(c.oid, 'SELECT'),
  'may_insert', has_table_privilege(c.oid, 'INSERT'),
  'may_update', has_table_privilege(c.oid, 'UPDATE'),
  'owned', pg_has_role(c.relowner, 'USAGE'),
  'columns', (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'name', quote_ident(a.attname), 'type', format_type(a.atttypid, a.atttypmod),
        'generated', a.attgenerated <> '', 'always', a.attidentity = 'a',
        'required', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '') ORDER BY a.attnum), '[]')
     FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'key', (SELECT jsonb_build_object('name', quote_ident(ic.relname), 'primary', i.indisprimary,
        'columns', k.columns, 'operators', k.operators)
     FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
     CROSS JOIN LATERAL (SELECT
          jsonb_agg(quote_ident(a.attname) ORDER BY u.at) AS columns,
          bool_and(a.attnotnull AND a.attgenerated = '') AS tells,
          jsonb_agg((SELECT format('OPERATOR(%I.%s)', q.nspname, o.oprname)
             FROM pg_opclass p
             JOIN pg_amop m ON m.amopfamily = p.opcfamily AND m.amopmethod = 403
              AND m.amoplefttype = p.opcintype AND m.amoprighttype = p.opcintype
              AND m.amopstrategy = 3
             JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace q ON q.oid = o.oprnamespace
            WHERE p.oid = u.opclass) ORDER BY u.at) AS operators
       FROM unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY u (attnum, opclass, at)
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
      WHERE u.at <= i.indnkeyatts) k
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
      AND i.indexprs IS NULL AND (i.indisprimary OR i.indimmediate) AND k.tells
    ORDER BY i.indisprimary DESC, i.indnkeyatts, ic.relname LIMIT 1),
  'triggers', (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'table', format('%I.%I', tn.nspname, t.relname), 'name', quote_ident(g.tgname),
        'enabled', g.tgenabled) ORDER BY tn.nspname, t.relname, g.tgname), '[]')
     FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
     JOIN pg_namespace tn ON tn.oid = t.relnamespace
    WHERE g.tgenabled IN ('O', 'A') AND (g.tgtype & 20) <> 0
      AND coalesce((SELECT x.contype FROM pg_constraint x WHERE x.oid = g.tgconstraint), 't') = 't'
      AND g.tgrelid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p UNION SELECT c.oid)),
  'sequences', (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'name', format('%I.%I', sn.nspname, sc.relname), 'column', quote_ident(a.attname),
        'increment', s.seqincrement, 'owned', pg_has_role(sc.relowner, 'USAGE'))
        ORDER BY sn.nspname, sc.relname), '[]')
     FROM (SELECT d.objid AS seq, d.refobjsubid AS attnum FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = c.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
           UNION
           SELECT d.refobjid, f.adnum FROM pg_attrdef f JOIN pg_depend d
               ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
              AND d.refclassid = 'pg_class'::regclass
            WHERE f.adrelid = c.oid) u
     JOIN pg_sequence s ON s.seqrelid = u.seq JOIN pg_class sc ON sc.oid = u.seq
     JOIN pg_namespace sn ON sn.oid = sc.relnamespace
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum),
  'references', (SELECT coalesce(jsonb_agg(DISTINCT format('%I.%I', rn.nspname, r.relname)), '[]')
     FROM pg_constraint x JOIN pg_class r ON r.oid = x.confrelid
     JOIN pg_namespace rn ON rn.oid = r.relnamespace
    WHERE x.contype = 'f' AND x.conrelid = c.oid AND x.confrelid <> c.oid))::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND format('%I.%I', n.nspname, c.relname) = {table}";

/// The tables that hold the rows of a table: itself, or its partitions.
const LEAVES: &str = "SELECT DISTINCT format('%I.%I', n.nspname, c.relname)
  FROM pg_class t JOIN pg_namespace m ON m.oid = t.relnamespace
  CROSS JOIN LATERAL (SELECT p.relid FROM pg_partition_tree(t.oid) p UNION SELECT t.oid) p
  JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE format('%I.%I', m.nspname, t.relname) = {table} AND c.relkind = 'r'";

/// The tables that hold the rows of a table, as SQL spells both: itself, or its partitions.
pub(crate) async fn leaves_of(session: &mut Session, name: &str) -> Result<Vec<String>, Fault> {
    words(session, &LEAVES.replace("{table}", &literal(name))).await
}

/// The tables that a name may mean, as SQL spells them.
///
/// # Errors
///
/// When the server does not answer.
pub async fn tables_named(session: &mut Session, name: &TableName) -> Result<Vec<String>, Fault> {
    let schema = name.schema.as_ref();
    let schema = schema.map(|schema| format!("AND n.nspname = {}", literal(schema)));
    let query = NAMED.replace("{name}", &literal(&name.name));
    words(session, &query.replace("{schema}", &schema.unwrap_or_default())).await
}

/// A table as the database has it, by its name as SQL spells it; none if it is not there.
///
/// # Errors
///
/// When the server does not answer.
pub async fn table_form(session: &mut Session, name: &str) -> Result<Option<TableForm>, Fault> {
    session.run("SET search_path = ''").await?;
    let found = words(session, &FORMS.replace("{table}", &literal(name))).await?;
    let parse = |text: &String| {
        serde_json::from_str(text).map_err(|error| Fault::Protocol(error.to_string()))
    };
    found.first().map(parse).transpose()
}

impl TableForm {
    pub(crate) fn column(&self, name: &str) -> Option<&ColumnForm> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The table behind FROM: without what inherits from it, but with its partitions.
    pub(crate) fn source(&self) -> String {
        match self.kind.as_str() {
            "p" => self.name.clone(),
            _ => format!("ONLY {}", self.name),
        }
    }

    /// Whether its rows are in partitions.
    pub fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }

    /// The triggers that would fire, by name.
    pub fn triggers(&self) -> Vec<String> {
        self.triggers.iter().map(|it| format!("{} on {}", it.name, it.table)).collect()
    }

    /// The tables its foreign keys refer to.
    pub fn references(&self) -> &[String] {
        &self.references
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: &[(&str, &str)]) {
        let names = parse_table_names(text).unwrap();
        let found: Vec<(String, String)> =
            names.into_iter().map(|it| (it.schema.unwrap_or_default(), it.name)).collect();
        let wanted: Vec<(String, String)> =
            wanted.iter().map(|(schema, name)| ((*schema).into(), (*name).into())).collect();
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn names_are_read_as_sql_reads_them() {
        check("orders", &[("", "orders")]);
        check("Orders, shop.Lines", &[("", "orders"), ("shop", "lines")]);
        check(r#""Odd, name"."a ""b"" .c",x"#, &[("Odd, name", r#"a "b" .c"#), ("", "x")]);
        let [it] = parse_table_names("Odd").unwrap().try_into().unwrap();
        assert!(it.may_mean("public.odd") && !it.may_mean("public.\"Odd\""));
        for bad in ["", "a,", "a..b", "a.b.c", "\"a", "\"a\"b", "a\"b\""] {
            assert!(parse_table_names(bad).is_err(), "{bad}");
        }
    }
}
