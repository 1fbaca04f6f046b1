//! The ledger: one row for each step that took effect, written in the step's own transaction.

use annals_events::{Digest, Direction, LeafHash, RunId, Version};
use annals_projections::LedgerRow;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::fault::Fault;
use crate::session::Session;

/// The schema annals keeps in a target.
pub const LEDGER_SCHEMA: &str = "annals";

/// Version of the ledger's tables, kept in the comment of the schema.
const LEDGER_FORMAT: u32 = 1;

/// `version_key` is the number a version spells, so that two spellings are one version. The primary
/// key makes a step happen once: who comes second waits for the first and is then refused.
const INSTALL: &str = "
CREATE SCHEMA annals;
REVOKE ALL ON SCHEMA annals FROM PUBLIC;
COMMENT ON SCHEMA annals IS 'annals ledger format 1';
CREATE TABLE annals.ledger (
    workspace   text        NOT NULL,
    version_key text        NOT NULL CHECK (version_key ~ '^(0|[1-9][0-9]*)$'),
    ordinal     integer     NOT NULL CHECK (ordinal > 0),
    direction   text        NOT NULL CHECK (direction IN ('up', 'down')),
    version     text        NOT NULL,
    name        text        NOT NULL,
    file_raw    text        NOT NULL CHECK (file_raw ~ '^[0-9a-f]{64}$'),
    run         uuid        NOT NULL,
    step        integer     NOT NULL CHECK (step >= 0),
    log_origin  text        NOT NULL,
    intent_seq  bigint      NOT NULL,
    intent_hash text        NOT NULL CHECK (intent_hash ~ '^[0-9a-f]{64}$'),
    actor       text        NOT NULL,
    xid         text        NOT NULL DEFAULT pg_current_xact_id()::text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace, version_key, ordinal),
    UNIQUE (run, step)
);
COMMENT ON TABLE annals.ledger IS
    'One row for each migration or rollback that took effect, written in its own transaction. The history is the event log; this is its witness in the database.';
CREATE TABLE annals.statements (
    workspace   text        NOT NULL,
    version_key text        NOT NULL,
    ordinal     integer     NOT NULL,
    statement   integer     NOT NULL CHECK (statement > 0),
    sql_sha256  text        NOT NULL CHECK (sql_sha256 ~ '^[0-9a-f]{64}$'),
    run         uuid        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace, version_key, ordinal, statement)
);
COMMENT ON TABLE annals.statements IS
    'One row for each statement that took effect of a file that runs outside a transaction.';
";

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The server.
    #[error("cannot use the ledger (schema {LEDGER_SCHEMA}): {0}")]
    Server(#[from] Fault),
    /// Made by a newer annals, or something else under the same name.
    #[error("the schema {LEDGER_SCHEMA} in the target is not a ledger this annals knows: {0}")]
    Foreign(String),
    /// A row annals would not write.
    #[error(
        "the ledger row of version {version}, change {ordinal}, is not one annals writes: {reason}"
    )]
    Row {
        /// Its version.
        version: String,
        /// Its ordinal.
        ordinal: i32,
        /// Why.
        reason: String,
    },
}

/// A row to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewLedgerRow<'a> {
    /// The workspace.
    pub workspace: &'a str,
    /// The version.
    pub version: &'a Version,
    /// Which change of this version, from 1.
    pub ordinal: u64,
    /// Which way.
    pub direction: Direction,
    /// The migration's name.
    pub name: &'a str,
    /// SHA-256 of the file's bytes.
    pub file_raw: Digest,
    /// The run.
    pub run: RunId,
    /// Place in the plan, from 0.
    pub step: u64,
    /// The log that holds the intent.
    pub log_origin: &'a str,
    /// The intent's place in it.
    pub intent_seq: u64,
    /// The intent's leaf hash.
    pub intent_hash: LeafHash,
    /// Who acts.
    pub actor: &'a str,
}

/// A statement outside a transaction that took effect, as the target knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRow {
    /// Place in the file, from 1.
    pub statement: u64,
    /// SHA-256 of its text.
    pub sql: Digest,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Session {
    /// Whether the ledger is there, and of a format this annals knows.
    ///
    /// # Errors
    ///
    /// When something else stands in its place.
    pub async fn has_ledger(&mut self) -> Result<bool, LedgerError> {
        let found = "SELECT to_regclass('annals.ledger') IS NOT NULL AS present, \
            obj_description(n.oid, 'pg_namespace') AS comment \
            FROM pg_namespace n WHERE n.nspname = 'annals'";
        let row =
            sqlx::query(found).fetch_optional(self.connection()).await.map_err(Fault::from)?;
        let Some(row) = row else { return Ok(false) };
        let present: bool = row.try_get("present").map_err(Fault::from)?;
        let comment: Option<String> = row.try_get("comment").map_err(Fault::from)?;
        let format = comment.as_deref().and_then(|text| text.strip_prefix("annals ledger format "));
        match format.and_then(|format| format.parse::<u32>().ok()) {
            Some(LEDGER_FORMAT) if present => Ok(true),
            Some(newer) if newer > LEDGER_FORMAT => {
                Err(LedgerError::Foreign(format!("its format is {newer}, made by a newer annals")))
            }
            _ => Err(LedgerError::Foreign("it has no ledger of ours in it".to_owned())),
        }
    }

    /// Creates the ledger where it is missing, in one transaction.
    ///
    /// # Errors
    ///
    /// When the role may not create a schema, or something else stands in its place.
    pub async fn install_ledger(&mut self) -> Result<(), LedgerError> {
        if !self.has_ledger().await? {
            self.run(INSTALL).await?;
        }
        Ok(())
    }

    /// All rows of a workspace, in the order they were written.
    ///
    /// # Errors
    ///
    /// When a row is not one annals writes.
    pub async fn read_ledger(&mut self, workspace: &str) -> Result<Vec<LedgerRow>, LedgerError> {
        let rows = "SELECT version, ordinal, direction, name, file_raw, run::text AS run, step, \
            log_origin, intent_seq, intent_hash, xid FROM annals.ledger \
            WHERE workspace = $1 ORDER BY intent_seq, recorded_at";
        let rows = sqlx::query(rows)
            .bind(workspace)
            .fetch_all(self.connection())
            .await
            .map_err(Fault::from)?;
        rows.iter().map(read_row).collect()
    }

    /// Writes a row inside the open transaction and returns that transaction's id.
    ///
    /// # Errors
    ///
    /// SQLSTATE 23505 when somebody else has taken the step.
    pub async fn insert_ledger_row(&mut self, row: &NewLedgerRow<'_>) -> Result<String, Fault> {
        let insert = "INSERT INTO annals.ledger (workspace, version_key, ordinal, direction, \
            version, name, file_raw, run, step, log_origin, intent_seq, intent_hash, actor) \
            VALUES ($1, $2, $3::int8::int4, $4, $5, $6, $7, $8::text::uuid, $9::int8::int4, $10, \
            $11, $12, $13) RETURNING xid";
        let row = sqlx::query(insert)
            .bind(row.workspace)
            .bind(row.version.number())
            .bind(number(row.ordinal))
            .bind(row.direction.as_str())
            .bind(row.version.as_str())
            .bind(row.name)
            .bind(row.file_raw.to_string())
            .bind(row.run.to_string())
            .bind(number(row.step))
            .bind(row.log_origin)
            .bind(number(row.intent_seq))
            .bind(row.intent_hash.to_string())
            .bind(row.actor)
            .fetch_one(self.connection())
            .await?;
        Ok(row.try_get("xid")?)
    }

    /// The statements of one change of a version that the target shows as done.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn read_statements(
        &mut self,
        workspace: &str,
        version: &Version,
        ordinal: u64,
    ) -> Result<Vec<StatementRow>, LedgerError> {
        let rows = "SELECT statement, sql_sha256 FROM annals.statements WHERE workspace = $1 \
            AND version_key = $2 AND ordinal = $3::int8::int4 ORDER BY statement";
        let rows = sqlx::query(rows)
            .bind(workspace)
            .bind(version.number())
            .bind(number(ordinal))
            .fetch_all(self.connection())
            .await
            .map_err(Fault::from)?;
        rows.iter()
            .map(|row| {
                let statement: i32 = row.try_get("statement").map_err(Fault::from)?;
                let sql: String = row.try_get("sql_sha256").map_err(Fault::from)?;
                let sql = sql.parse().map_err(|_| Fault::Protocol(format!("digest {sql:?}")))?;
                Ok(StatementRow { statement: u64::try_from(statement).unwrap_or_default(), sql })
            })
            .collect()
    }

    /// Notes a statement as done: inside the open transaction, or in one of its own.
    ///
    /// # Errors
    ///
    /// SQLSTATE 23505 when it was noted before.
    pub async fn insert_statement_row(
        &mut self,
        row: &NewLedgerRow<'_>,
        statement: &StatementRow,
    ) -> Result<(), Fault> {
        let insert = "INSERT INTO annals.statements (workspace, version_key, ordinal, statement, \
            sql_sha256, run) VALUES ($1, $2, $3::int8::int4, $4::int8::int4, $5, $6::text::uuid)";
        sqlx::query(insert)
            .bind(row.workspace)
            .bind(row.version.number())
            .bind(number(row.ordinal))
            .bind(number(statement.statement))
            .bind(statement.sql.to_string())
            .bind(row.run.to_string())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

fn read_row(row: &PgRow) -> Result<LedgerRow, LedgerError> {
    let text = |column: &str| -> Result<String, LedgerError> {
        Ok(row.try_get(column).map_err(Fault::from)?)
    };
    let version = text("version")?;
    let ordinal: i32 = row.try_get("ordinal").map_err(Fault::from)?;
    let step: i32 = row.try_get("step").map_err(Fault::from)?;
    let intent_seq: i64 = row.try_get("intent_seq").map_err(Fault::from)?;
    let odd = |reason: String| LedgerError::Row { version: version.clone(), ordinal, reason };
    let direction = match text("direction")?.as_str() {
        "up" => Direction::Up,
        "down" => Direction::Down,
        other => return Err(odd(format!("direction {other:?}"))),
    };
    Ok(LedgerRow {
        version: version.parse().map_err(|_| odd(format!("version {version:?}")))?,
        ordinal: u64::try_from(ordinal).map_err(|_| odd("negative ordinal".into()))?,
        direction,
        name: text("name")?,
        file_raw: text("file_raw")?.parse().map_err(|_| odd("file_raw".into()))?,
        run: text("run")?.parse().map_err(|_| odd("run".into()))?,
        step: u64::try_from(step).map_err(|_| odd("negative step".into()))?,
        log_origin: text("log_origin")?,
        intent_seq: u64::try_from(intent_seq).map_err(|_| odd("negative intent_seq".into()))?,
        intent_hash: text("intent_hash")?.parse().map_err(|_| odd("intent_hash".into()))?,
        xid: text("xid")?,
    })
}
