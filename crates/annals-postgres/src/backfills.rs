//! What a backfill asks of a target: its key, the next rows, and how far it is.

use annals_events::{Digest, RunId, Version};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row, raw_sql};

use crate::fault::Fault;
use crate::ledger::{LedgerError, NewLedgerRow, number};
use crate::session::Session;

/// The key a backfill goes by. Every part of it is quoted by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillKey {
    /// The table, with its schema.
    pub table: String,
    /// The column.
    pub column: String,
    /// Its type.
    pub type_name: String,
    /// Rows of the table, as the server's statistics have it; unknown before the first `ANALYZE`.
    pub rows_about: Option<u64>,
}

impl BackfillKey {
    /// Table and column, for people and for the progress row.
    pub fn name(&self) -> String {
        format!("{}.{}", self.table, self.column)
    }

    /// `value` as text that does not depend on the session's settings.
    fn as_text(&self, value: &str) -> String {
        if self.type_name.starts_with("timestamp") || self.type_name == "date" {
            format!("to_json({value}) #>> '{{}}'")
        } else {
            format!("{value}::text")
        }
    }
}

/// What stands where a backfill looks for its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLook {
    /// A key.
    Good(BackfillKey),
    /// No such table.
    NoTable,
    /// Nothing to go by, and why.
    Bad(String),
}

/// How far a backfill is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillProgress {
    /// The version, as its number.
    pub version_key: String,
    /// Which change of the version, from 1.
    pub ordinal: u64,
    /// Place of the statement in the file, from 1.
    pub statement: u64,
    /// [`BackfillKey::name`] of its key.
    pub key_column: String,
    /// The type of that key.
    pub key_type: String,
    /// The largest key there was at the beginning.
    pub upper: String,
    /// The last key that is done.
    pub last: Option<String>,
    /// Batches that are done.
    pub batches: u64,
    /// Keys they went through.
    pub keys: u64,
    /// Rows they changed.
    pub rows: u64,
    /// About how many keys there were at the beginning.
    pub keys_about: Option<u64>,
    /// SHA-256 of the statement that was run last.
    pub sql: Digest,
}

/// The keys of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchBounds {
    /// How many there are.
    pub keys: u64,
    /// The first one, as a literal of the key's type.
    pub from: String,
    /// The last one, in the same way.
    pub to: String,
    /// The last one, as text.
    pub last: String,
}

const LOOK: &str = "SELECT format('%I.%I', n.nspname, c.relname) AS table_name, \
    c.relkind IN ('r', 'p') AS is_table, quote_ident(a.attname) AS column_name, \
    format_type(a.atttypid, a.atttypmod) AS type_name, a.attnotnull AS not_null, \
    coalesce(b.typname, t.typname) IN ('int2', 'int4', 'int8', 'numeric', 'uuid', 'text', \
        'varchar', 'bpchar', 'date', 'timestamp', 'timestamptz') AS is_known, \
    EXISTS (SELECT FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid \
        JOIN pg_am m ON m.oid = ic.relam JOIN pg_opclass o ON o.oid = i.indclass[0] \
        WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND m.amname = 'btree' \
        AND i.indisvalid AND i.indpred IS NULL AND o.opcdefault \
        AND i.indcollation[0] = a.attcollation) AS indexed, \
    CASE WHEN c.relkind = 'p' THEN (SELECT sum(greatest(l.reltuples, 0))::int8 \
        FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf) \
        ELSE c.reltuples::int8 END AS rows_about \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
        AND a.attname = (parse_ident($2))[1] \
    LEFT JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = nullif(t.typbasetype, 0) \
    WHERE c.oid = to_regclass($1)";

fn read_key(row: &PgRow, column: &str) -> Result<KeyLook, Fault> {
    let table: String = row.try_get("table_name")?;
    let (is_table, indexed): (bool, bool) = (row.try_get("is_table")?, row.try_get("indexed")?);
    let found: Option<String> = row.try_get("column_name")?;
    let type_name: Option<String> = row.try_get("type_name")?;
    let is_known: Option<bool> = row.try_get("is_known")?;
    let not_null: Option<bool> = row.try_get("not_null")?;
    let (Some(found), Some(type_name), true) = (found, type_name, is_table) else {
        let what = if is_table {
            format!("{table} has no column {column}")
        } else {
            format!("{table} is no table")
        };
        return Ok(KeyLook::Bad(what));
    };
    let bad = |what: &str| Ok(KeyLook::Bad(format!("{table}.{found} {what}")));
    if is_known != Some(true) {
        return bad(&format!(
            "has the type {type_name}; a backfill goes by an integer, numeric, uuid, text, date or \
             timestamp"
        ));
    }
    if not_null != Some(true) {
        return bad("may be NULL, and such a row would never be reached; take a NOT NULL column");
    }
    if !indexed {
        return bad(
            "leads no btree index, so that every batch would read the whole table; take the \
             primary key, or build an index first",
        );
    }
    let rows: Option<i64> = row.try_get("rows_about")?;
    let rows_about = rows.and_then(|rows| u64::try_from(rows).ok()).filter(|rows| *rows > 0);
    Ok(KeyLook::Good(BackfillKey { table, column: found, type_name, rows_about }))
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn read_progress(row: &PgRow) -> Result<BackfillProgress, Fault> {
    let number = |column: &str| -> Result<u64, Fault> { Ok(count(row.try_get(column)?)) };
    let about: Option<i64> = row.try_get("keys_about")?;
    let sql: String = row.try_get("sql_sha256")?;
    Ok(BackfillProgress {
        version_key: row.try_get("version_key")?,
        ordinal: number("ordinal")?,
        statement: number("statement")?,
        key_column: row.try_get("key_column")?,
        key_type: row.try_get("key_type")?,
        upper: row.try_get("upper_key")?,
        last: row.try_get("last_key")?,
        batches: number("batches")?,
        keys: number("keys_done")?,
        rows: number("rows_done")?,
        keys_about: about.map(count),
        sql: sql.parse().map_err(|_| Fault::Protocol(format!("digest {sql:?}")))?,
    })
}

const PROGRESS: &str = "SELECT version_key, ordinal::int8 AS ordinal, statement::int8 AS statement, \
    key_column, key_type, upper_key, last_key, batches, keys_done, rows_done, keys_about, \
    sql_sha256 FROM annals.backfills WHERE workspace = $1";

impl Session {
    /// The key spelled `column` of the table spelled `table`.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or the names cannot be read.
    pub async fn backfill_key(&mut self, table: &str, column: &str) -> Result<KeyLook, Fault> {
        let row =
            sqlx::query(LOOK).bind(table).bind(column).fetch_optional(self.connection()).await?;
        row.map_or(Ok(KeyLook::NoTable), |row| read_key(&row, column))
    }

    /// How far every backfill of a workspace is or was; nothing in a ledger of an older format.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn read_backfills(
        &mut self,
        workspace: &str,
    ) -> Result<Vec<BackfillProgress>, LedgerError> {
        if !self.keeps_backfills().await? {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(PROGRESS).bind(workspace).fetch_all(self.connection()).await;
        let rows = rows.map_err(Fault::from)?;
        Ok(rows.iter().map(read_progress).collect::<Result<_, _>>()?)
    }

    /// How far the backfills of one change of a version are.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn backfills_of(
        &mut self,
        workspace: &str,
        version: &Version,
        ordinal: u64,
    ) -> Result<Vec<BackfillProgress>, LedgerError> {
        let mut rows = self.read_backfills(workspace).await?;
        rows.retain(|row| row.version_key == version.number() && row.ordinal == ordinal);
        Ok(rows)
    }

    /// The largest key there is, as text; none in an empty table.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn largest_key(&mut self, key: &BackfillKey) -> Result<Option<String>, Fault> {
        let BackfillKey { table, column, .. } = key;
        let query = format!(
            "SELECT {} AS key FROM {table} ORDER BY {column} DESC LIMIT 1",
            key.as_text(column)
        );
        let row = sqlx::query(AssertSqlSafe(query)).fetch_optional(self.connection()).await?;
        row.map(|row| Ok(row.try_get("key")?)).transpose()
    }

    /// Notes the beginning of a backfill: up to which key it goes, whatever is added meanwhile.
    ///
    /// # Errors
    ///
    /// SQLSTATE 23505 when it was noted before.
    pub async fn begin_backfill(
        &mut self,
        row: &NewLedgerRow<'_>,
        (statement, sql): (u64, Digest),
        key: &BackfillKey,
        upper: &str,
    ) -> Result<(), Fault> {
        let insert = "INSERT INTO annals.backfills (workspace, version_key, ordinal, statement, \
            key_column, key_type, upper_key, keys_about, sql_sha256, run) VALUES ($1, $2, \
            $3::int8::int4, $4::int8::int4, $5, $6, $7, $8, $9, $10::text::uuid)";
        sqlx::query(insert)
            .bind(row.workspace)
            .bind(row.version.number())
            .bind(number(row.ordinal))
            .bind(number(statement))
            .bind(key.name())
            .bind(&key.type_name)
            .bind(upper)
            .bind(key.rows_about.map(number))
            .bind(sql.to_string())
            .bind(row.run.to_string())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Inside the open transaction: how far the backfill is, its row locked, and the transaction's
    /// id.
    ///
    /// # Errors
    ///
    /// When the row is gone.
    pub async fn lock_backfill(
        &mut self,
        row: &NewLedgerRow<'_>,
        statement: u64,
    ) -> Result<(BackfillProgress, String), Fault> {
        let query = format!(
            "{PROGRESS} AND version_key = $2 AND ordinal = $3::int8::int4 \
             AND statement = $4::int8::int4 FOR UPDATE"
        );
        let found = sqlx::query(AssertSqlSafe(query))
            .bind(row.workspace)
            .bind(row.version.number())
            .bind(number(row.ordinal))
            .bind(number(statement))
            .fetch_optional(self.connection())
            .await?;
        let Some(found) = found else {
            return Err(Fault::Protocol("the progress of the backfill is gone".to_owned()));
        };
        let xid = sqlx::query("SELECT pg_current_xact_id()::text AS xid")
            .fetch_one(self.connection())
            .await?;
        Ok((read_progress(&found)?, xid.try_get("xid")?))
    }

    /// The next keys behind the last one that is done, at most `batch` of them; more where several
    /// rows share the last one. None when the upper bound is reached.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn next_batch(
        &mut self,
        key: &BackfillKey,
        progress: &BackfillProgress,
        batch: u64,
    ) -> Result<Option<BatchBounds>, Fault> {
        let BackfillKey { table, column, type_name, .. } = key;
        let behind = match &progress.last {
            Some(_) => format!("AND {column} > CAST($2::text AS {type_name})"),
            None => String::new(),
        };
        let text = key.as_text("k");
        let spelled = type_name.replace('%', "%%").replace('\'', "''");
        let literal = format!("format('%L::{spelled}', {text})");
        let query = format!(
            "WITH batch AS MATERIALIZED (SELECT {column} AS k FROM {table} \
             WHERE {column} <= CAST($1::text AS {type_name}) {behind} \
             ORDER BY {column} LIMIT {batch}) \
             SELECT (SELECT count(*) FROM batch) AS keys, \
             (SELECT {literal} FROM batch ORDER BY k LIMIT 1) AS first_key, \
             {literal} AS last_key, {text} AS last_text FROM batch ORDER BY k DESC LIMIT 1"
        );
        let mut query = sqlx::query(AssertSqlSafe(query)).bind(&progress.upper);
        if let Some(last) = &progress.last {
            query = query.bind(last);
        }
        let Some(row) = query.fetch_optional(self.connection()).await? else {
            return Ok(None);
        };
        Ok(Some(BatchBounds {
            keys: count(row.try_get("keys")?),
            from: row.try_get("first_key")?,
            to: row.try_get("last_key")?,
            last: row.try_get("last_text")?,
        }))
    }

    /// Sends `sql` as it is and returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_counting(&mut self, sql: &str) -> Result<u64, Fault> {
        let done = raw_sql(AssertSqlSafe(sql)).execute(self.connection()).await?;
        Ok(done.rows_affected())
    }

    /// Inside the open transaction: one more batch is done.
    ///
    /// # Errors
    ///
    /// [`Fault::Protocol`] when somebody else has changed the row.
    pub async fn advance_backfill(
        &mut self,
        row: &NewLedgerRow<'_>,
        before: &BackfillProgress,
        sql: Digest,
        bounds: &BatchBounds,
        rows: u64,
    ) -> Result<(), Fault> {
        let update = "UPDATE annals.backfills SET last_key = $6, batches = batches + 1, \
            keys_done = keys_done + $7, rows_done = rows_done + $8, sql_sha256 = $9, \
            run = $10::text::uuid, recorded_at = clock_timestamp() \
            WHERE workspace = $1 AND version_key = $2 AND ordinal = $3::int8::int4 \
            AND statement = $4::int8::int4 AND batches = $5";
        let run: RunId = row.run;
        let done = sqlx::query(update)
            .bind(row.workspace)
            .bind(row.version.number())
            .bind(number(row.ordinal))
            .bind(number(before.statement))
            .bind(number(before.batches))
            .bind(&bounds.last)
            .bind(number(bounds.keys))
            .bind(number(rows))
            .bind(sql.to_string())
            .bind(run.to_string())
            .execute(self.connection())
            .await?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        Err(Fault::Protocol("the progress of the backfill was changed by somebody else".to_owned()))
    }
}
