//! The ledger: one row for each step that took effect, written in the step's own transaction.

use annals_events::{Digest, Direction, LeafHash, RunId, Version};
use annals_projections::LedgerRow;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row, raw_sql};

use crate::batch::literal;
use crate::commit::Begun;
use crate::fault::Fault;
use crate::session::Session;

/// The schema annals keeps in a target.
pub const LEDGER_SCHEMA: &str = "annals";

/// Version of the ledger's tables, kept in the comments of its first table and of the schema.
///
/// The schema may belong to the event store, which came first: then only the table says it.
const LEDGER_FORMAT: u32 = 3;

/// The first format that keeps signed heads of the log.
const KEEPS_CHECKPOINTS: u32 = 2;

/// The first format that keeps the progress of backfills.
const KEEPS_BACKFILLS: u32 = 3;

/// Where the ledger is the first to come.
const CREATE_SCHEMA: &str = "
CREATE SCHEMA annals;
REVOKE ALL ON SCHEMA annals FROM PUBLIC;
COMMENT ON SCHEMA annals IS 'annals ledger format 3';
";

/// `version_key` is the number a version spells, so that two spellings are one version. The primary
/// key makes a step happen once: who comes second waits for the first and is then refused.
const INSTALL: &str = "
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
    'annals ledger format 3: one row for each migration or rollback that took effect, written in its own transaction. The history is the event log; this is its witness in the database.';
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

/// What format 2 adds: the signed heads of the log, kept where whoever alters the log's files does
/// not reach.
const CHECKPOINTS: &str = "
CREATE TABLE annals.checkpoints (
    origin      text        NOT NULL,
    size        bigint      NOT NULL CHECK (size > 0),
    leaf        text        NOT NULL CHECK (leaf ~ '^[0-9a-f]{64}$'),
    note        text        NOT NULL CHECK (length(note) <= 65536),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (origin, size)
);
COMMENT ON TABLE annals.checkpoints IS
    'Signed heads of the event log as runs left it: C2SP checkpoints. A log that does not fit them was cut, replaced or forked.';
";

/// What format 3 adds: how far a backfill is. Its row changes with every batch, in that batch's
/// transaction.
const BACKFILLS: &str = "
CREATE TABLE annals.backfills (
    workspace   text        NOT NULL,
    version_key text        NOT NULL,
    ordinal     integer     NOT NULL,
    statement   integer     NOT NULL CHECK (statement > 0),
    key_column  text        NOT NULL,
    key_type    text        NOT NULL,
    upper_key   text        NOT NULL,
    last_key    text,
    batches     bigint      NOT NULL DEFAULT 0 CHECK (batches >= 0),
    keys_done   bigint      NOT NULL DEFAULT 0 CHECK (keys_done >= 0),
    rows_done   bigint      NOT NULL DEFAULT 0 CHECK (rows_done >= 0),
    keys_about  bigint,
    sql_sha256  text        NOT NULL CHECK (sql_sha256 ~ '^[0-9a-f]{64}$'),
    run         uuid        NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace, version_key, ordinal, statement)
);
COMMENT ON TABLE annals.backfills IS
    'One row for each backfill that was begun: the largest key there was then, the last key that is done, and the count of batches, keys and rows. It changes in the transaction of each batch.';
";

/// Says the newest format of an older ledger.
const UPGRADE: &str = "
COMMENT ON TABLE annals.ledger IS
    'annals ledger format 3: one row for each migration or rollback that took effect, written in its own transaction. The history is the event log; this is its witness in the database.';
DO $$ BEGIN
    IF obj_description('annals'::regnamespace, 'pg_namespace') LIKE 'annals ledger format %' THEN
        COMMENT ON SCHEMA annals IS 'annals ledger format 3';
    END IF;
END $$;
";
/// What stands in the schema.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// There is no such schema.
    Nothing,
    /// The event store, without a ledger.
    Store,
    /// The ledger of this format, with or without an event store.
    Ledger(u32),
}

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

/// A signed head of a log, as the target keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCheckpoint {
    /// Events it vouches for.
    pub size: u64,
    /// Leaf hash of the last of them.
    pub leaf: LeafHash,
    /// The signed note.
    pub note: String,
}

/// A statement outside a transaction that took effect, as the target knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRow {
    /// Place in the file, from 1.
    pub statement: u64,
    /// SHA-256 of its text.
    pub sql: Digest,
}

impl NewLedgerRow<'_> {
    /// Writes the row and returns the transaction's id and the row's place.
    pub(crate) fn insert_sql(&self) -> String {
        format!(
            "INSERT INTO annals.ledger (workspace, version_key, ordinal, direction, version, name, \
             file_raw, run, step, log_origin, intent_seq, intent_hash, actor) VALUES ({}, {}, {}, \
             {}, {}, {}, {}, {}, {}, {}, {}, {}, {}) RETURNING xid, ctid::text",
            literal(self.workspace),
            literal(self.version.number()),
            self.ordinal,
            literal(self.direction.as_str()),
            literal(self.version.as_str()),
            literal(self.name),
            literal(&self.file_raw.to_string()),
            literal(&self.run.to_string()),
            self.step,
            literal(self.log_origin),
            self.intent_seq,
            literal(&self.intent_hash.to_string()),
            literal(self.actor),
        )
    }
}

pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Session {
    /// Whether the ledger is there, and of a format this annals knows.
    ///
    /// # Errors
    ///
    /// When something else stands in its place.
    pub async fn has_ledger(&mut self) -> Result<bool, LedgerError> {
        Ok(self.ledger_format().await?.is_some())
    }

    async fn ledger_format(&mut self) -> Result<Option<u32>, LedgerError> {
        match self.find_ledger().await? {
            Place::Ledger(format) => Ok(Some(format)),
            Place::Nothing | Place::Store => Ok(None),
        }
    }

    /// Whether the ledger is there, and of a format that keeps the progress of backfills.
    ///
    /// # Errors
    ///
    /// When something else stands in its place.
    pub async fn keeps_backfills(&mut self) -> Result<bool, LedgerError> {
        Ok(self.ledger_format().await? >= Some(KEEPS_BACKFILLS))
    }

    async fn find_ledger(&mut self) -> Result<Place, LedgerError> {
        // Looked up in the catalog: to_regclass would fail for whoever may not use the schema.
        let found = "SELECT l.oid IS NOT NULL AS present, s.oid IS NOT NULL AS has_store, \
            coalesce(substring(obj_description(l.oid, 'pg_class') FROM f.pattern), \
                substring(obj_description(n.oid, 'pg_namespace') FROM f.pattern)) AS format \
            FROM pg_namespace n CROSS JOIN (VALUES ('^annals ledger format ([0-9]+)')) f(pattern) \
            LEFT JOIN pg_class l ON l.relnamespace = n.oid AND l.relname = 'ledger' \
            LEFT JOIN pg_class s ON s.relnamespace = n.oid AND s.relname = 'log_store' \
            WHERE n.nspname = 'annals'";
        let rows = self.rows(found).await?;
        let Some(row) = rows.first() else { return Ok(Place::Nothing) };
        let present: bool = row.try_get("present").map_err(Fault::from)?;
        let has_store: bool = row.try_get("has_store").map_err(Fault::from)?;
        let format: Option<String> = row.try_get("format").map_err(Fault::from)?;
        match format.and_then(|format| format.parse::<u32>().ok()) {
            Some(format @ 1..=LEDGER_FORMAT) if present => Ok(Place::Ledger(format)),
            Some(newer) if newer > LEDGER_FORMAT => {
                Err(LedgerError::Foreign(format!("its format is {newer}, made by a newer annals")))
            }
            None if has_store && !present => Ok(Place::Store),
            _ => Err(LedgerError::Foreign("it has no ledger of ours in it".to_owned())),
        }
    }

    /// Creates the ledger where it is missing and brings an older one up to date, in one
    /// transaction.
    ///
    /// # Errors
    ///
    /// When the role may not create it, or something else stands in its place.
    pub async fn install_ledger(&mut self) -> Result<(), LedgerError> {
        match self.find_ledger().await? {
            Place::Ledger(LEDGER_FORMAT) => {}
            Place::Ledger(format) => {
                let checkpoints = if format < KEEPS_CHECKPOINTS { CHECKPOINTS } else { "" };
                self.run(&format!("{UPGRADE}{checkpoints}{BACKFILLS}")).await?;
            }
            Place::Store => self.run(&format!("{INSTALL}{CHECKPOINTS}{BACKFILLS}")).await?,
            Place::Nothing => {
                self.run(&format!("{CREATE_SCHEMA}{INSTALL}{CHECKPOINTS}{BACKFILLS}")).await?;
            }
        }
        Ok(())
    }

    /// All rows of a workspace, in the order they were written.
    ///
    /// # Errors
    ///
    /// When a row is not one annals writes.
    pub async fn read_ledger(&mut self, workspace: &str) -> Result<Vec<LedgerRow>, LedgerError> {
        let rows = format!(
            "SELECT version, ordinal, direction, name, file_raw, run::text AS run, step, \
             log_origin, intent_seq, intent_hash, xid FROM annals.ledger \
             WHERE workspace = {} \
             ORDER BY min(recorded_at) OVER (PARTITION BY log_origin), intent_seq, recorded_at",
            literal(workspace)
        );
        self.rows(&rows).await?.iter().map(read_row).collect()
    }

    /// The newest signed head of a log that the target keeps; none in a ledger of an older format.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or the row is not one annals writes.
    pub async fn newest_checkpoint(
        &mut self,
        origin: &str,
    ) -> Result<Option<KeptCheckpoint>, LedgerError> {
        if self.ledger_format().await? < Some(KEEPS_CHECKPOINTS) {
            return Ok(None);
        }
        let newest = format!(
            "SELECT size, leaf, note FROM annals.checkpoints WHERE origin = {} \
             ORDER BY size DESC LIMIT 1",
            literal(origin)
        );
        let rows = self.rows(&newest).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let size: i64 = row.try_get("size").map_err(Fault::from)?;
        let leaf: String = row.try_get("leaf").map_err(Fault::from)?;
        let odd = |what| Fault::Protocol(format!("{what} of a kept checkpoint"));
        Ok(Some(KeptCheckpoint {
            size: u64::try_from(size).map_err(|_| odd("the size"))?,
            leaf: leaf.parse().map_err(|_| odd("the leaf hash"))?,
            note: row.try_get("note").map_err(Fault::from)?,
        }))
    }

    /// Keeps a signed head of a log; one that is kept already stays as it is.
    ///
    /// # Errors
    ///
    /// When the server says no.
    pub async fn keep_checkpoint(
        &mut self,
        origin: &str,
        kept: &KeptCheckpoint,
    ) -> Result<(), Fault> {
        let insert = "INSERT INTO annals.checkpoints (origin, size, leaf, note) \
            VALUES ($1, $2, $3, $4) ON CONFLICT (origin, size) DO NOTHING";
        sqlx::query(insert)
            .bind(origin)
            .bind(number(kept.size))
            .bind(kept.leaf.to_string())
            .bind(&kept.note)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Writes a row inside the open transaction; returns that transaction and the row's place.
    ///
    /// # Errors
    ///
    /// SQLSTATE 23505 when somebody else has taken the step.
    pub async fn insert_ledger_row(&mut self, row: &NewLedgerRow<'_>) -> Result<Begun, Fault> {
        let inserted = raw_sql(AssertSqlSafe(row.insert_sql())).fetch_one(self.connection());
        Begun::read(&inserted.await?)
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

    /// Notes a statement as done: inside the open transaction, or in one of its own. Returns that
    /// transaction and the row's place.
    ///
    /// # Errors
    ///
    /// SQLSTATE 23505 when it was noted before.
    pub async fn insert_statement_row(
        &mut self,
        row: &NewLedgerRow<'_>,
        statement: &StatementRow,
    ) -> Result<Begun, Fault> {
        let insert = "INSERT INTO annals.statements (workspace, version_key, ordinal, statement, \
            sql_sha256, run) VALUES ($1, $2, $3::int8::int4, $4::int8::int4, $5, $6::text::uuid) \
            RETURNING pg_current_xact_id()::text, ctid::text";
        let inserted = sqlx::query(insert)
            .bind(row.workspace)
            .bind(row.version.number())
            .bind(number(row.ordinal))
            .bind(number(statement.statement))
            .bind(statement.sql.to_string())
            .bind(row.run.to_string())
            .fetch_one(self.connection())
            .await?;
        Begun::read(&inserted)
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
