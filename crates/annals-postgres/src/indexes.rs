//! What the catalog says of indexes: the postcondition of a concurrent build, drop or rebuild.

use annals_migrations::ReindexScope;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};

use crate::fault::Fault;
use crate::session::{Session, TransactionLimits};

/// What an index is, whatever it and its table are called.
#[derive(Debug, Clone)]
pub struct IndexDefinition {
    facts: String,
    /// As the server writes it.
    pub text: String,
}

impl IndexDefinition {
    /// Whether both are the same index: method, key columns and expressions, operator classes and
    /// their options, collations, order, included columns, predicate, uniqueness, storage options
    /// and tablespace.
    pub fn is_same(&self, other: &Self) -> bool {
        self.facts == other.facts
    }
}

/// What stands under the name of an index.
#[derive(Debug, Clone)]
pub enum UnderName {
    /// Nothing.
    Nothing,
    /// An index of the table.
    Index {
        /// Usable; otherwise a concurrent build or drop of it did not finish.
        valid: bool,
        /// What it is.
        definition: IndexDefinition,
        /// Its name with the schema, quoted.
        qualified: String,
    },
    /// Something else, such as an index of another table.
    Other(String),
}

/// Each part is compared as the catalog has it; names of columns instead of their numbers, which
/// differ between a table and its clone.
const DEFINITION: &str = "i.indisvalid AND i.indisready AS valid, \
    format('%I.%I', n.nspname, c.relname) AS qualified, \
    pg_get_indexdef(i.indexrelid) || coalesce((SELECT format(' TABLESPACE %I', s.spcname) \
        FROM pg_tablespace s WHERE s.oid = c.reltablespace), '') AS text, \
    jsonb_build_object('method', c.relam, 'unique', i.indisunique, \
        'nulls_not_distinct', to_jsonb(i) -> 'indnullsnotdistinct', 'keys', i.indnkeyatts, \
        'columns', (SELECT jsonb_agg(a.attname ORDER BY k.n) \
            FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(number, n) \
            LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number), \
        'classes', i.indclass::text, 'collations', i.indcollation::text, \
        'order', i.indoption::text, \
        'class_options', (SELECT jsonb_agg(to_jsonb(a) -> 'attoptions' ORDER BY a.attnum) \
            FROM pg_attribute a WHERE a.attrelid = i.indexrelid), \
        'expressions', pg_get_expr(i.indexprs, i.indrelid), \
        'predicate', pg_get_expr(i.indpred, i.indrelid), \
        'options', (SELECT jsonb_agg(o ORDER BY o) FROM unnest(c.reloptions) o), \
        'tablespace', c.reltablespace)::text AS facts";

fn definition(row: &PgRow) -> Result<IndexDefinition, Fault> {
    Ok(IndexDefinition { facts: row.try_get("facts")?, text: row.try_get("text")? })
}

/// What stands under the name spelled `index` in the schema of the table spelled `table`, where a
/// build would put it.
///
/// # Errors
///
/// When the server does not answer, or the names cannot be read.
pub async fn under_name(
    session: &mut Session,
    index: &str,
    table: &str,
) -> Result<UnderName, Fault> {
    let query = format!(
        "SELECT {DEFINITION}, i.indrelid = t.oid AS ours, CASE WHEN i.indexrelid IS NULL \
         THEN format('%I.%I is no index', n.nspname, c.relname) \
         ELSE format('it is an index of %s', i.indrelid::regclass) END AS other \
         FROM pg_class t JOIN pg_class c ON c.relnamespace = t.relnamespace \
         JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid \
         WHERE t.oid = to_regclass($2) AND c.relname = (parse_ident($1))[1]"
    );
    let query = sqlx::query(AssertSqlSafe(query)).bind(index).bind(table);
    let Some(row) = query.fetch_optional(session.connection()).await? else {
        return Ok(UnderName::Nothing);
    };
    let ours: Option<bool> = row.try_get("ours")?;
    if ours != Some(true) {
        return Ok(UnderName::Other(row.try_get("other")?));
    }
    Ok(UnderName::Index {
        valid: row.try_get("valid")?,
        definition: definition(&row)?,
        qualified: row.try_get("qualified")?,
    })
}

/// A table as the catalog has it.
#[derive(Debug, Clone)]
pub struct TableLook {
    /// Its name with the schema, quoted.
    pub qualified: String,
    /// Its name alone, quoted.
    pub name: String,
    /// Whether it is partitioned.
    pub partitioned: bool,
}

/// The relation spelled `table`, if there is one.
///
/// # Errors
///
/// When the server does not answer, or the name cannot be read.
pub async fn look_at_table(session: &mut Session, table: &str) -> Result<Option<TableLook>, Fault> {
    let query = "SELECT format('%I.%I', n.nspname, c.relname) AS qualified, \
        quote_ident(c.relname) AS name, c.relkind = 'p' AS partitioned \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.oid = to_regclass($1)";
    let row = sqlx::query(query).bind(table).fetch_optional(session.connection()).await?;
    let look = row.map(|row| -> Result<_, Fault> {
        Ok(TableLook {
            qualified: row.try_get("qualified")?,
            name: row.try_get("name")?,
            partitioned: row.try_get("partitioned")?,
        })
    });
    look.transpose()
}

/// What the index would be that `build` makes: tried on an empty clone of the table, in a
/// transaction that is rolled back. `build` names the index as spelled in `index` and puts it on
/// the clone, which is [`clone_name`].
///
/// # Errors
///
/// When the server does not build it.
pub async fn definition_on_clone(
    session: &mut Session,
    table: &TableLook,
    (index, build): (&str, &str),
    limits: TransactionLimits,
) -> Result<IndexDefinition, Fault> {
    session.begin(limits).await?;
    let tried = try_on_clone(session, table, index, build).await;
    let ended = session.roll_back().await;
    let tried = tried?;
    ended?;
    Ok(tried)
}

/// The name of a table's clone: its own, so that expressions may go on naming it.
pub fn clone_name(table: &TableLook) -> String {
    format!("pg_temp.{}", table.name)
}

async fn try_on_clone(
    session: &mut Session,
    table: &TableLook,
    index: &str,
    build: &str,
) -> Result<IndexDefinition, Fault> {
    let clone = clone_name(table);
    // Where no tablespace is named, a temporary index has another default than a lasting one.
    session
        .run(&format!(
            "SELECT set_config('temp_tablespaces', coalesce(quote_ident(nullif(\
             current_setting('default_tablespace'), '')), ''), true); \
             CREATE TEMPORARY TABLE {} (LIKE {}); {build}",
            table.name, table.qualified
        ))
        .await?;
    let query = format!(
        "SELECT {DEFINITION} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_index i ON i.indexrelid = c.oid \
         WHERE i.indrelid = to_regclass($1) AND c.relname = (parse_ident($2))[1]"
    );
    let query = sqlx::query(AssertSqlSafe(query)).bind(&clone).bind(index);
    let row = query.fetch_one(session.connection()).await?;
    let mut found = definition(&row)?;
    // For people, it stands on the table itself.
    if let Some((before, rest)) = found.text.split_once(" ON pg_temp")
        && let Some((_, after)) = rest.split_once(" USING ")
    {
        found.text = format!("{before} ON {} USING {after}", table.qualified);
    }
    Ok(found)
}

/// The state of an index by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    /// There is none of that name.
    Missing,
    /// It is usable.
    Valid,
    /// It is there, but not usable: a concurrent build or drop did not finish.
    Invalid,
    /// It is partitioned: what stands behind it are the indexes of the partitions.
    Partitioned,
}

/// The state of the index spelled `index`, found through the search path as the server would.
///
/// # Errors
///
/// When the server does not answer, or the name cannot be read.
pub async fn index_state(session: &mut Session, index: &str) -> Result<IndexState, Fault> {
    let query = "SELECT i.indisvalid AND i.indisready AS usable, c.relkind = 'I' AS partitioned \
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
        WHERE i.indexrelid = to_regclass($1)";
    let row = sqlx::query(query).bind(index).fetch_optional(session.connection()).await?;
    let Some(row) = row else { return Ok(IndexState::Missing) };
    let (usable, partitioned): (bool, bool) = (row.try_get("usable")?, row.try_get("partitioned")?);
    Ok(match (partitioned, usable) {
        (true, _) => IndexState::Partitioned,
        (false, true) => IndexState::Valid,
        (false, false) => IndexState::Invalid,
    })
}

/// The statement that drops an index a concurrent statement of ours left unusable, without blocking
/// its table. It waits for everybody who uses the table, as long as a build does.
pub fn drop_index_concurrently(qualified: &str) -> String {
    format!("DROP INDEX CONCURRENTLY {qualified}")
}

/// Unusable indexes that an interrupted `REINDEX … CONCURRENTLY` leaves: the copy that was not
/// finished (`_ccnew`), the original it had replaced (`_ccold`). Names with the schema, quoted.
///
/// # Errors
///
/// When the server does not answer, or the name cannot be read.
pub async fn reindex_leftovers(
    session: &mut Session,
    scope: ReindexScope,
    name: Option<&str>,
) -> Result<Vec<String>, Fault> {
    let tables = match scope {
        ReindexScope::Index => {
            "oid = (SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass($1))"
        }
        ReindexScope::Table => "oid = to_regclass($1)",
        ReindexScope::Schema => "relnamespace = to_regnamespace($1) AND relkind IN ('r', 'm', 'p')",
        ReindexScope::Database => "$1::text IS NOT DISTINCT FROM $1 AND relkind IN ('r', 'm', 'p')",
    };
    let query = format!(
        "WITH RECURSIVE tables AS (SELECT oid, reltoastrelid FROM pg_class WHERE {tables} \
         UNION SELECT c.oid, c.reltoastrelid FROM tables t JOIN pg_inherits h ON h.inhparent = t.oid \
         JOIN pg_class c ON c.oid = h.inhrelid AND c.relispartition) \
         SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relname ~ '_cc(new|old)[0-9]*$' \
         AND i.indrelid IN (SELECT oid FROM tables UNION SELECT reltoastrelid FROM tables) \
         ORDER BY 1"
    );
    let rows = sqlx::query(AssertSqlSafe(query)).bind(name).fetch_all(session.connection()).await?;
    rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
}
