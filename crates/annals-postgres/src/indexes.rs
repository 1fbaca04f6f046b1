//! What the catalog says of one index: the postcondition of a concurrent build or drop.

use sqlx::Row;

use crate::fault::Fault;
use crate::session::Session;

/// The state of an index by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    /// There is none of that name.
    Missing,
    /// It is usable.
    Valid,
    /// It is there, but not usable: a concurrent build or drop did not finish.
    Invalid,
}

fn state(row: Option<sqlx::postgres::PgRow>) -> Result<IndexState, Fault> {
    let Some(row) = row else {
        return Ok(IndexState::Missing);
    };
    let usable: bool = row.try_get("usable")?;
    Ok(if usable { IndexState::Valid } else { IndexState::Invalid })
}

/// The state of the index spelled `index` on the table spelled `table`, as a statement names them.
///
/// # Errors
///
/// When the server does not answer, or the names cannot be read.
pub async fn index_on_table(
    session: &mut Session,
    index: &str,
    table: &str,
) -> Result<IndexState, Fault> {
    let query = "SELECT i.indisvalid AND i.indisready AS usable FROM pg_class c \
        JOIN pg_index i ON i.indexrelid = c.oid \
        WHERE c.relname = (parse_ident($1))[1] AND i.indrelid = to_regclass($2)";
    let row =
        sqlx::query(query).bind(index).bind(table).fetch_optional(session.connection()).await?;
    state(row)
}

/// The state of the index spelled `index`, found through the search path as the server would.
///
/// # Errors
///
/// When the server does not answer, or the name cannot be read.
pub async fn index_state(session: &mut Session, index: &str) -> Result<IndexState, Fault> {
    let query = "SELECT indisvalid AND indisready AS usable FROM pg_index \
        WHERE indexrelid = to_regclass($1)";
    let row = sqlx::query(query).bind(index).fetch_optional(session.connection()).await?;
    state(row)
}

/// Drops an index a concurrent build of ours left unusable, without blocking its table.
///
/// # Errors
///
/// When the server refuses.
pub async fn drop_index_concurrently(
    session: &mut Session,
    index: &str,
    table: &str,
) -> Result<(), Fault> {
    let query = "SELECT format('DROP INDEX CONCURRENTLY %s', i.indexrelid::regclass) AS sql \
        FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid \
        WHERE c.relname = (parse_ident($1))[1] AND i.indrelid = to_regclass($2) \
        AND NOT i.indisvalid";
    let row = sqlx::query(query).bind(index).bind(table).fetch_one(session.connection()).await?;
    let sql: String = row.try_get("sql")?;
    session.run(&sql).await
}
