//! Rows of a backup that were put back: a row about each such run, in the transaction that put them
//! back. Whether it is there says what has happened.

use annals_events::{BackupId, RestoredTable, RunId};

use crate::batch::literal;
use crate::fault::Fault;
use crate::session::Session;

/// Made when the first rows are put back.
const MAKE: &str = "CREATE TABLE IF NOT EXISTS annals.restored_rows (
    run         uuid        PRIMARY KEY,
    log_origin  text        NOT NULL,
    backup      uuid        NOT NULL,
    tables      jsonb       NOT NULL,
    xid         text        NOT NULL DEFAULT pg_current_xact_id()::text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON annals.restored_rows FROM PUBLIC;
COMMENT ON TABLE annals.restored_rows IS
    'One row for each run that put rows of a backup back, written in its own transaction: how many into which table. The history is the event log.'";

impl Session {
    /// Makes the table of such runs where it is missing; the ledger is there.
    ///
    /// # Errors
    ///
    /// When the role may not.
    pub async fn make_restored_rows(&mut self) -> Result<(), Fault> {
        if self.has_restored_rows().await? { Ok(()) } else { self.run(MAKE).await }
    }

    async fn has_restored_rows(&mut self) -> Result<bool, Fault> {
        let found = "SELECT 1 WHERE pg_catalog.to_regclass('annals.restored_rows') IS NOT NULL";
        Ok(!self.rows(found).await?.is_empty())
    }

    /// Inside the open transaction: says what it has put back.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn insert_restored_rows(
        &mut self,
        run: RunId,
        origin: &str,
        backup: BackupId,
        tables: &[RestoredTable],
    ) -> Result<(), Fault> {
        let tables = serde_json::to_string(tables)
            .map_err(|error| Fault::Protocol(format!("tables cannot be written: {error}")))?;
        let (run, backup) = (literal(&run.to_string()), literal(&backup.to_string()));
        let (origin, tables) = (literal(origin), literal(&tables));
        self.run(&format!(
            "INSERT INTO annals.restored_rows (run, log_origin, backup, tables) \
             VALUES ({run}, {origin}, {backup}, {tables})"
        ))
        .await
    }

    /// What a run has put back; nothing if its transaction was not committed.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or the row is not one annals writes.
    pub async fn restored_rows_of(
        &mut self,
        run: RunId,
    ) -> Result<Option<Vec<RestoredTable>>, Fault> {
        if !self.has_restored_rows().await? {
            return Ok(None);
        }
        let run = literal(&run.to_string());
        let query =
            format!("SELECT tables::pg_catalog.text FROM annals.restored_rows WHERE run = {run}");
        let found = self.texts(&query).await?;
        let parse = |text: String| {
            let odd = |error| Fault::Protocol(format!("annals.restored_rows: {error}"));
            serde_json::from_str(&text).map_err(odd)
        };
        found.into_iter().flatten().flatten().next().map(parse).transpose()
    }
}
