//! How many rows would be lost: counted on the live target, within a limit.

use std::time::{Duration, Instant};

use sqlx::Row;

use crate::fault::Fault;
use crate::session::Session;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// The rows of a table; its name as SQL spells it.
    Rows(String),
    /// The values of a column that are not null.
    Values {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// Rows of a table that a query chooses: `FROM … WHERE …`.
    Chosen {
        /// The table.
        table: String,
        /// The query behind `SELECT count(*)`.
        from: String,
    },
}

/// How many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowCount {
    /// So many, counted.
    Exactly(u64),
    /// There was no time to count: so many by the server's statistics.
    About(u64),
    /// It is not known, and why.
    Unknown(String),
}

impl Counted {
    /// The table.
    pub const fn table(&self) -> &String {
        match self {
            Self::Rows(table) | Self::Values { table, .. } | Self::Chosen { table, .. } => table,
        }
    }

    fn query(&self) -> String {
        match self {
            Self::Rows(table) => format!("SELECT count(*) AS n FROM {table}"),
            Self::Values { table, column } => format!("SELECT count({column}) AS n FROM {table}"),
            Self::Chosen { from, .. } => format!("SELECT count(*) AS n {from}"),
        }
    }
}

/// Of a table that could not be counted in time: what the last `ANALYZE` saw, with its partitions.
const ABOUT: &str = "SELECT sum(greatest(c.reltuples, 0))::int8 AS n, bool_or(c.reltuples >= 0) AS known \
    FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'm', 'f') AND c.oid IN \
    (SELECT pg_catalog.to_regclass(@1) UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(@1)) t)";

/// The longest wait for a lock: whoever alters the table now is not kept waiting behind a count.
const LOCK_MS: u64 = 500;

impl Session {
    /// Counts, each in a transaction of its own that writes nothing. All of them take no longer than
    /// `limit`; what is behind it is estimated.
    ///
    /// # Errors
    ///
    /// The loss of the connection. What cannot be counted says why.
    pub async fn count_losses(
        &mut self,
        losses: &[Counted],
        limit: Duration,
    ) -> Result<Vec<RowCount>, Fault> {
        let began = Instant::now();
        let mut counts = Vec::with_capacity(losses.len());
        for counted in losses {
            let left = limit.saturating_sub(began.elapsed()).as_millis();
            counts.push(match left {
                0 => self.about(counted).await?,
                _ => self.count(counted, left).await?,
            });
        }
        Ok(counts)
    }

    /// The tables of a schema, quoted.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn tables_of_schema(&mut self, schema: &str) -> Result<Vec<String>, Fault> {
        let query = format!(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.oid = pg_catalog.to_regnamespace({})::oid AND c.relkind IN ('r', 'p') \
             AND NOT c.relispartition ORDER BY 1",
            literal(schema)
        );
        self.rows(&query).await?.iter().map(|row| Ok(row.try_get("name")?)).collect()
    }

    async fn count(&mut self, counted: &Counted, left: u128) -> Result<RowCount, Fault> {
        let sql = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {LOCK_MS}; \
             SET LOCAL row_security = off",
            left.max(1)
        );
        self.run(&sql).await?;
        let rows = self.rows(&counted.query()).await;
        if !rows.as_ref().is_err_and(Fault::ends_session) {
            self.roll_back().await?;
        }
        match rows {
            Ok(rows) => {
                let n: i64 = rows.first().map_or(Ok(0), |row| row.try_get("n"))?;
                Ok(RowCount::Exactly(u64::try_from(n).unwrap_or_default()))
            }
            Err(fault) if fault.ends_session() => Err(fault),
            Err(fault) => match fault.code() {
                Some("57014" | "55P03") => self.about(counted).await,
                Some("42P01" | "3F000") => {
                    Ok(RowCount::Unknown("there is no such table now".to_owned()))
                }
                Some("42703") => Ok(RowCount::Unknown("there is no such column now".to_owned())),
                _ => Ok(RowCount::Unknown(fault.to_string())),
            },
        }
    }

    async fn about(&mut self, counted: &Counted) -> Result<RowCount, Fault> {
        let table = counted.table();
        let rows = self.rows(&ABOUT.replace("@1", &literal(table))).await?;
        let Some(row) = rows.first() else {
            return Ok(RowCount::Unknown("there was no time to count".to_owned()));
        };
        let (n, known): (Option<i64>, Option<bool>) = (row.try_get("n")?, row.try_get("known")?);
        Ok(match (n, known) {
            (Some(n), Some(true)) => RowCount::About(u64::try_from(n).unwrap_or_default()),
            _ => RowCount::Unknown(
                "there was no time to count, and the table was never analyzed".to_owned(),
            ),
        })
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
