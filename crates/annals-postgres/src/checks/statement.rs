//! One query as one message: its guards, itself, and the end of its transaction.

use std::time::{Duration, Instant};

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{CheckOptions, Why};
use crate::fault::{Fault, ServerError};
use crate::session::Session;

/// What a query is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// The catalog, or what an index may answer.
    Catalog,
    /// Rows as they lie in the table, past every index; and as text they look the same everywhere.
    Rows,
}

const PAST_INDEXES: &str = "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; \
    SET LOCAL enable_bitmapscan = off; SET LOCAL constraint_exclusion = off; \
    SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; \
    SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1; \
    SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; ";

/// What a query came to.
pub(super) enum Met {
    /// It could not be asked, or not to its end.
    Not(Why),
    /// The server found its own files damaged.
    Damage(String),
}

/// A session that asks one query at a time.
pub(super) struct Statements {
    session: Session,
    lock_ms: u64,
    statement_ms: u64,
    deadline: Option<Instant>,
}

impl Statements {
    pub(super) fn new(session: Session, options: &CheckOptions<'_>) -> Self {
        Self {
            session,
            lock_ms: options.lock_timeout_ms,
            statement_ms: options.statement_timeout_ms,
            deadline: options.budget.map(|budget| Instant::now() + budget),
        }
    }

    pub(super) fn major(&self) -> u32 {
        self.session.facts().major()
    }

    pub(super) fn in_recovery(&self) -> bool {
        self.session.facts().in_recovery
    }

    /// The longest the next query may take, in milliseconds; 0 is for ever. Nothing if time is up.
    fn limit_ms(&self) -> Option<u64> {
        let Some(deadline) = self.deadline else { return Some(self.statement_ms) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left < Duration::from_millis(1) {
            return None;
        }
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        // More than a setting can hold is for ever.
        let left = left.min(2_000_000_000);
        Some(if self.statement_ms == 0 { left } else { left.min(self.statement_ms) })
    }

    /// Asks a query of the catalog; damage there is a failure like any other.
    pub(super) async fn rows(
        &mut self,
        guard: &Guard,
        sql: &str,
    ) -> Result<Result<Vec<PgRow>, Why>, Fault> {
        Ok(self.ask(*guard, sql).await?.map_err(|met| match met {
            Met::Not(why) => why,
            Met::Damage(message) => Why::Failed(message),
        }))
    }

    /// Asks a query whose answer is one row.
    pub(super) async fn row(
        &mut self,
        guard: Guard,
        sql: &str,
    ) -> Result<Result<PgRow, Met>, Fault> {
        match self.ask(guard, sql).await? {
            Err(met) => Ok(Err(met)),
            Ok(mut rows) => match rows.pop() {
                Some(row) => Ok(Ok(row)),
                None => Err(Fault::Protocol("a check without an answer".to_owned())),
            },
        }
    }

    /// Sends the guards and the query as one message, which is one transaction: it ends with the
    /// message, whatever happens, and nothing of it is left in the session.
    pub(super) async fn ask(
        &mut self,
        guard: Guard,
        sql: &str,
    ) -> Result<Result<Vec<PgRow>, Met>, Fault> {
        let Some(limit) = self.limit_ms() else {
            return Ok(Err(Met::Not(Why::TimeBudget(
                "the time was up before it began".to_owned(),
            ))));
        };
        let message = format!(
            "SET TRANSACTION READ ONLY; SET LOCAL search_path = ''; SET LOCAL row_security = off; \
             SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {limit}; {}{sql}",
            self.lock_ms,
            if guard == Guard::Rows { PAST_INDEXES } else { "" },
        );
        match self.session.rows(&message).await {
            Ok(rows) => Ok(Ok(rows)),
            Err(Fault::Server(error)) if !error.code.starts_with("57P") => {
                Ok(Err(met(&error, limit)))
            }
            Err(fault) => Err(fault),
        }
    }

    pub(super) async fn close(self) {
        self.session.close().await;
    }
}

/// What an error says of a check. Messages of a project's own functions may quote rows: of those the
/// code alone is told.
fn met(error: &ServerError, limit_ms: u64) -> Met {
    let why = match error.code.as_str() {
        "XX001" | "XX002" | "58P01" | "58030" => return Met::Damage(error.message.clone()),
        "42501" if error.message.contains("row-level security") => Why::RowSecurity,
        "42501" => Why::Privilege(error.message.clone()),
        "55P03" => Why::Locked,
        "57014" => Why::TimeBudget(format!("it was cut off after {limit_ms} ms")),
        code if ["42", "0A", "53", "54", "XX", "25"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            Why::Failed(error.to_string())
        }
        code => Why::Failed(format!("the query failed (SQLSTATE {code})")),
    };
    Met::Not(why)
}

/// A number the server gives as `int8`.
pub(super) fn number(row: &PgRow, column: &str) -> Result<u64, Fault> {
    let value: Option<i64> = row.try_get(column)?;
    Ok(value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default())
}
