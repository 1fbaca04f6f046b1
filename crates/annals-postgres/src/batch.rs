//! Several statements in one message: one round trip, and still it is known which of them failed.

use std::fmt::Write as _;

use futures_util::StreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, raw_sql};

use crate::commit::Begun;
use crate::fault::Fault;
use crate::ledger::NewLedgerRow;
use crate::lock::LockKey;
use crate::session::{Session, TransactionLimits};

/// What a message of several statements came to.
pub(crate) struct BatchEnd {
    /// Statements that were completed.
    pub(crate) completed: usize,
    /// The first row of the statement that was asked for.
    pub(crate) row: Option<PgRow>,
    /// What the statement behind them failed with; its position counts from the message's start.
    pub(crate) fault: Option<Fault>,
}

/// Why the transaction of a step is not open, or has failed.
#[derive(Debug)]
pub enum StepFault {
    /// The workspace's lock is not this backend's any more. Nothing of the step was sent.
    LockLost,
    /// Before the first statement of the file: the session, `BEGIN`, or the ledger row (SQLSTATE
    /// 23505 when somebody else has taken the step).
    Beginning(Fault),
    /// This statement of the file, from 0; a position counts from its own start.
    Statement(usize, Fault),
}

/// How the transaction of a step begins.
#[derive(Debug, Clone, Copy)]
pub struct StepBeginning<'a> {
    /// Its limits.
    pub limits: TransactionLimits,
    /// The lock this backend must hold.
    pub lock: LockKey,
    /// The step's ledger row.
    pub row: &'a NewLedgerRow<'a>,
    /// Whether an earlier step has opened the transaction, which this one shares.
    pub is_open: bool,
}

/// SQLSTATE of a setting with a value it cannot have: how a check inside a message stops it.
pub(crate) const INVALID_PARAMETER: &str = "22023";

/// `text` as a constant, whatever `standard_conforming_strings` is set to.
pub(crate) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 3);
    out.push_str("E'");
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
    out
}

impl Session {
    /// Sends several statements as one message and waits for all of them; keeps the first row of
    /// statement `wanted`.
    pub(crate) async fn run_batch(&mut self, sql: String, wanted: Option<usize>) -> BatchEnd {
        let mut end = BatchEnd { completed: 0, row: None, fault: None };
        if sql.contains('\0') {
            end.fault = Some(Fault::Protocol("SQL with a NUL character cannot be sent".into()));
            return end;
        }
        let mut answers = raw_sql(AssertSqlSafe(sql)).fetch_many(self.connection());
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Either::Left(_)) => end.completed += 1,
                Ok(Either::Right(row)) if wanted == Some(end.completed) && end.row.is_none() => {
                    end.row = Some(row);
                }
                Ok(Either::Right(_)) => {}
                Err(error) => end.fault = Some(error.into()),
            }
        }
        end
    }

    /// Opens the transaction of a step and runs `statements` in it, in one message: the session as
    /// it began, whatever ran on it before, `BEGIN`, the limits, the check that the lock is still
    /// this backend's, the ledger row, then the file. Returns the transaction and where that
    /// row stands.
    ///
    /// A commit will be durable when it is acknowledged: `synchronous_commit` is raised to `on`
    /// where it is weaker, and left where it is stricter.
    ///
    /// # Errors
    ///
    /// Says how far it came. The transaction is still open then, and failed, if the connection is.
    pub async fn begin_step(
        &mut self,
        beginning: &StepBeginning<'_>,
        statements: &[&str],
    ) -> Result<Begun, StepFault> {
        let mut sql = self.reset_sql();
        // Statements before the file's own, counted as the server completes them.
        let mut before = self.reset_len();
        if !beginning.is_open {
            sql.push_str("; BEGIN");
            before += 1;
        }
        let lock_check = before;
        let limits = beginning.limits;
        let _ = write!(
            sql,
            "; SELECT pg_catalog.set_config('lock_timeout', CASE WHEN {} THEN '{}' \
             ELSE 'the lock of annals is lost' END, true), \
             pg_catalog.set_config('statement_timeout', '{}', true), {}\
             CASE WHEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local') \
             THEN pg_catalog.set_config('synchronous_commit', 'on', true) END; {}",
            beginning.lock.is_kept_sql(),
            limits.lock_ms,
            limits.statement_ms,
            self.transaction_timeout_sql(),
            beginning.row.insert_sql(),
        );
        let row = before + 1;
        before += 2;
        sql.push_str(";\n");
        let mut starts = Vec::with_capacity(statements.len());
        let mut chars = sql.chars().count();
        for statement in statements {
            starts.push(chars);
            sql.push_str(statement);
            // A last statement may lack its semicolon; of an empty one the server says nothing.
            sql.push_str("\n;\n");
            chars += statement.chars().count() + 3;
        }
        let end = self.run_batch(sql, Some(row)).await;
        // Refused before BEGIN: of a message that cannot be parsed, say, nothing is executed.
        self.nothing_open = !beginning.is_open && end.fault.is_some() && end.completed < lock_check;
        let Some(fault) = end.fault else {
            let expected = before + statements.len();
            if end.completed != expected {
                let odd = format!("{} of {expected} statements were completed", end.completed);
                return Err(StepFault::Beginning(Fault::Protocol(odd)));
            }
            return begun_by(end.row).map_err(StepFault::Beginning);
        };
        match end.completed.checked_sub(before) {
            Some(at) if at < statements.len() => {
                Err(StepFault::Statement(at, fault.behind(starts[at])))
            }
            _ if end.completed == lock_check && fault.code() == Some(INVALID_PARAMETER) => {
                Err(StepFault::LockLost)
            }
            // A message that cannot be parsed is refused whole: by a server whose grammar is not
            // the one the file was read with.
            _ if end.completed == 0 && fault.position().is_some() => {
                let position = fault.position().unwrap_or_default();
                match starts.iter().rposition(|start| *start < position) {
                    Some(at) => Err(StepFault::Statement(at, fault.behind(starts[at]))),
                    None => Err(StepFault::Beginning(fault)),
                }
            }
            _ => Err(StepFault::Beginning(fault)),
        }
    }
}

fn begun_by(row: Option<PgRow>) -> Result<Begun, Fault> {
    let row = row.ok_or_else(|| Fault::Protocol("the ledger row has no transaction".to_owned()))?;
    Begun::read(&row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("plain"), "E'plain'");
        assert_eq!(literal("it's"), "E'it''s'");
        assert_eq!(literal("\\'; DROP TABLE t; --"), "E'\\\\''; DROP TABLE t; --'");
    }
}
