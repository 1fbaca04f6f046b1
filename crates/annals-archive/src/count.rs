//! How many rows tables have now.

use annals_postgres::{Fault, Session};

use crate::catalog::{Catalog, words};
use crate::error::ArchiveError;

/// Tables that are larger are not counted, but estimated.
const COUNTED_BYTES: u64 = 1 << 30;

/// Rows of a table as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCount {
    /// Its name, as SQL spells it.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Whether they were counted; else the server's last estimate.
    pub is_exact: bool,
}

/// Counts the rows of every table a backup of this database would hold.
///
/// # Errors
///
/// When a table may not be read, or the server does not answer.
pub async fn count_tables(
    session: &mut Session,
    excluded: &[String],
) -> Result<Vec<TableCount>, ArchiveError> {
    session.run("SET search_path = ''; SET row_security = off").await?;
    let catalog = Catalog::read(session, excluded).await?;
    catalog.check()?;
    let mut counts = Vec::with_capacity(catalog.tables.len());
    for table in &catalog.tables {
        let is_exact = table.bytes <= COUNTED_BYTES;
        let query = match is_exact {
            true => {
                let condition = table.condition.as_deref().unwrap_or_default();
                format!("SELECT count(*)::text FROM ONLY {} {condition}", table.name)
            }
            false => format!(
                "SELECT greatest(reltuples, 0)::int8::text FROM pg_catalog.pg_class WHERE oid = {}",
                table.oid
            ),
        };
        let rows = words(session, &query).await?.first().and_then(|rows| rows.parse().ok());
        let odd = || Fault::Protocol(format!("table {} has no number of rows", table.name));
        counts.push(TableCount { name: table.name.clone(), rows: rows.ok_or_else(odd)?, is_exact });
    }
    Ok(counts)
}
