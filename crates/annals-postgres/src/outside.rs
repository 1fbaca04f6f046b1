//! What the catalog says of partitions, databases, tablespaces and subscriptions.

use annals_migrations::OutsideObject;
use sqlx::Row;

use crate::fault::Fault;
use crate::session::Session;

/// How a table is attached to a partitioned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// Not at all.
    None,
    /// As a partition.
    Partition,
    /// As one that is being detached concurrently: rows go to it no more, and `FINALIZE` ends it.
    DetachPending,
}

/// How the table spelled `partition` is attached to the one spelled `table`.
///
/// # Errors
///
/// When the server does not answer, or the names cannot be read.
pub async fn attachment(
    session: &mut Session,
    table: &str,
    partition: &str,
) -> Result<Attachment, Fault> {
    // Before PostgreSQL 14 there is no such column, and nothing is ever pending.
    let query = "SELECT coalesce((to_jsonb(h) ->> 'inhdetachpending')::bool, false) AS pending \
        FROM pg_inherits h WHERE h.inhparent = to_regclass($1) AND h.inhrelid = to_regclass($2)";
    let row =
        sqlx::query(query).bind(table).bind(partition).fetch_optional(session.connection()).await?;
    let Some(row) = row else { return Ok(Attachment::None) };
    let pending: bool = row.try_get("pending")?;
    Ok(if pending { Attachment::DetachPending } else { Attachment::Partition })
}

/// Whether a database, tablespace or subscription is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// It is not.
    Missing,
    /// It is.
    There,
    /// A `DROP DATABASE` of it was interrupted: it can only be dropped.
    HalfDropped,
}

/// Looks for the object spelled `name`.
///
/// # Errors
///
/// When the server does not answer, or the name cannot be read.
pub async fn existence(
    session: &mut Session,
    object: OutsideObject,
    name: &str,
) -> Result<Existence, Fault> {
    let query = match object {
        OutsideObject::Database => {
            "SELECT datconnlimit = -2 AS half FROM pg_database WHERE datname = (parse_ident($1))[1]"
        }
        OutsideObject::Tablespace => {
            "SELECT false AS half FROM pg_tablespace WHERE spcname = (parse_ident($1))[1]"
        }
        OutsideObject::Subscription => {
            "SELECT false AS half FROM pg_subscription WHERE subname = (parse_ident($1))[1] \
             AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        }
    };
    let row = sqlx::query(query).bind(name).fetch_optional(session.connection()).await?;
    let Some(row) = row else { return Ok(Existence::Missing) };
    let half: bool = row.try_get("half")?;
    Ok(if half { Existence::HalfDropped } else { Existence::There })
}

/// One table of a partitioned one, itself included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionNode {
    /// Its schema, quoted.
    pub schema: String,
    /// Its name, bare.
    pub name: String,
    /// Its name with the schema, quoted.
    pub qualified: String,
    /// What it is a partition of, in the same form; none for the root.
    pub parent: Option<String>,
    /// Whether it has rows of its own.
    pub is_leaf: bool,
}

/// The partitions of the table spelled `table`, parents before children. What has no indexes, such
/// as a foreign table, is left out.
///
/// # Errors
///
/// When the server does not answer.
pub async fn partition_tree(
    session: &mut Session,
    table: &str,
) -> Result<Vec<PartitionNode>, Fault> {
    let query = "SELECT quote_ident(n.nspname) AS schema, c.relname::text AS name, \
        format('%I.%I', n.nspname, c.relname) AS qualified, t.isleaf AS is_leaf, \
        (SELECT format('%I.%I', pn.nspname, p.relname) FROM pg_class p \
            JOIN pg_namespace pn ON pn.oid = p.relnamespace \
            WHERE p.oid = t.parentrelid AND t.level > 0) AS parent \
        FROM pg_partition_tree(to_regclass($1)) t JOIN pg_class c ON c.oid = t.relid \
        JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p') ORDER BY t.level, n.nspname, c.relname";
    let rows = sqlx::query(query).bind(table).fetch_all(session.connection()).await?;
    rows.iter()
        .map(|row| {
            Ok(PartitionNode {
                schema: row.try_get("schema")?,
                name: row.try_get("name")?,
                qualified: row.try_get("qualified")?,
                parent: row.try_get("parent")?,
                is_leaf: row.try_get("is_leaf")?,
            })
        })
        .collect()
}

/// A name of at most 63 bytes that begins with `wanted` and that no relation of `schema` has; both
/// names come back quoted where they have to be. `taken` are names already given away.
///
/// # Errors
///
/// When the server does not answer.
pub async fn free_name(
    session: &mut Session,
    schema: &str,
    wanted: &str,
    taken: &[String],
) -> Result<String, Fault> {
    const MAX_BYTES: usize = 63;
    for n in 0.. {
        let suffix = if n == 0 { String::new() } else { format!("_{n}") };
        let mut end = wanted.len().min(MAX_BYTES - suffix.len());
        while !wanted.is_char_boundary(end) {
            end -= 1;
        }
        let name = format!("{}{suffix}", &wanted[..end]);
        let query = "SELECT quote_ident($2) AS quoted, EXISTS (SELECT FROM pg_class \
            WHERE relname = $2 AND relnamespace = to_regnamespace($1)) AS used";
        let row =
            sqlx::query(query).bind(schema).bind(&name).fetch_one(session.connection()).await?;
        let (quoted, used): (String, bool) = (row.try_get("quoted")?, row.try_get("used")?);
        if !used && !taken.contains(&quoted) {
            return Ok(quoted);
        }
    }
    Err(Fault::Protocol("there is no free name".to_owned()))
}
