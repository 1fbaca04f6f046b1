//! What an adoption reads in a target and changes in its ledger; never anything of the users.

use annals_events::{Digest, LeafHash, RunId};
use annals_projections::LedgerRow;
use sqlx::Row;

use crate::fault::Fault;
use crate::ledger::{LedgerError, NewLedgerRow};
use crate::session::{Session, TransactionLimits, TransactionStatus};

/// Limits of the transactions here: they touch nothing but the ledger.
const LIMITS: TransactionLimits = TransactionLimits { lock_ms: 2_000, statement_ms: 60_000 };

/// A ledger row as the log that takes over names it.
#[derive(Debug, Clone)]
pub struct TakenOver<'a> {
    /// The row as it was read.
    pub row: &'a LedgerRow,
    /// The run that adopts.
    pub run: RunId,
    /// Place in the adoption, from 0.
    pub step: u64,
    /// The log.
    pub log_origin: &'a str,
    /// Its event of this change.
    pub intent_seq: u64,
    /// That event's leaf hash.
    pub intent_hash: LeafHash,
    /// SHA-256 of the bytes of the file the change stands for from now on.
    pub file_raw: Digest,
}

/// The newest head of a log the target keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHead {
    /// The log.
    pub origin: String,
    /// Events it vouches for.
    pub size: u64,
    /// Leaf hash of the last of them.
    pub leaf: LeafHash,
}

/// A row of `supabase_migrations.schema_migrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupabaseRow {
    /// The version, as text.
    pub version: String,
    /// The name, where it has one.
    pub name: Option<String>,
    /// The statements that ran, where they were kept.
    pub statements: Option<Vec<String>>,
}

/// A session of a run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldBackend {
    /// Its process id.
    pub pid: i32,
    /// What it does, where this role may see it.
    pub state: String,
}

/// What a server says of a transaction id that another one, or itself earlier, has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It knows the id.
    Known(TransactionStatus),
    /// It has not reached the id: it is another server, or was rewound.
    InTheFuture,
}

impl Fate {
    /// The server's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Known(status) => status.as_str(),
            Self::InTheFuture => "in the future",
        }
    }
}

/// SQLSTATE of `pg_xact_status` for an id the server has not reached.
pub const IN_THE_FUTURE: &str = "22023";

impl Session {
    /// The timeline the server writes on; of a standby, the one of its last checkpoint.
    ///
    /// The control file says it only after the checkpoint behind a promotion, the name of the
    /// segment in use at once.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn timeline(&mut self) -> Result<u32, Fault> {
        if self.facts().in_recovery {
            return Ok(self.facts().identity.timeline);
        }
        let name = "SELECT pg_walfile_name(pg_current_wal_insert_lsn()) AS name";
        let row = sqlx::query(name).fetch_one(self.connection()).await?;
        let name: String = row.try_get("name")?;
        let timeline = name.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        timeline.ok_or_else(|| Fault::Protocol(format!("WAL segment {name:?}")))
    }

    /// What became of a transaction, on this server.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn transaction_fate(&mut self, xid: &str) -> Result<Fate, Fault> {
        match self.transaction_status(xid).await {
            Ok(status) => Ok(Fate::Known(status)),
            Err(fault) if fault.code() == Some(IN_THE_FUTURE) => Ok(Fate::InTheFuture),
            Err(fault) => Err(fault),
        }
    }

    /// The same of a transaction that was acknowledged once, so that it is not in progress: asked
    /// without the error that would end a transaction of our own.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn fate_of_acknowledged(&mut self, xid: &str) -> Result<Fate, Fault> {
        let query = "SELECT CASE WHEN $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot()) \
            THEN coalesce(pg_xact_status($1::text::xid8), 'unknown') ELSE 'future' END AS fate";
        let row = sqlx::query(query).bind(xid).fetch_one(self.connection()).await?;
        let fate: String = row.try_get("fate")?;
        Ok(match fate.as_str() {
            "future" => Fate::InTheFuture,
            "committed" => Fate::Known(TransactionStatus::Committed),
            "aborted" => Fate::Known(TransactionStatus::Aborted),
            "in progress" => Fate::Known(TransactionStatus::InProgress),
            _ => Fate::Known(TransactionStatus::Unknown),
        })
    }

    /// Sessions of other backends that go by the name `application` and may still be at work.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn backends_of(&mut self, application: &str) -> Result<Vec<OldBackend>, Fault> {
        let query = "SELECT pid, coalesce(state, 'unknown') AS state FROM pg_stat_activity \
            WHERE application_name = $1 AND pid <> pg_backend_pid() \
            AND datname = current_database() AND state IS DISTINCT FROM 'idle' ORDER BY pid";
        let rows = sqlx::query(query).bind(application).fetch_all(self.connection()).await?;
        rows.iter()
            .map(|row| Ok(OldBackend { pid: row.try_get("pid")?, state: row.try_get("state")? }))
            .collect()
    }

    /// The newest head of each log the target keeps one of; none in a ledger of an older format.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or a row is not one annals writes.
    pub async fn kept_heads(&mut self) -> Result<Vec<KeptHead>, LedgerError> {
        let table = "SELECT EXISTS (SELECT FROM pg_class c \
            JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = 'annals' AND c.relname = 'checkpoints') AS present";
        let row = sqlx::query(table).fetch_one(self.connection()).await.map_err(Fault::from)?;
        if !row.try_get::<bool, _>("present").map_err(Fault::from)? {
            return Ok(Vec::new());
        }
        let heads = "SELECT DISTINCT ON (origin) origin, size, leaf FROM annals.checkpoints \
            ORDER BY origin, size DESC";
        let rows = sqlx::query(heads).fetch_all(self.connection()).await.map_err(Fault::from)?;
        rows.iter()
            .map(|row| {
                let odd = |what| Fault::Protocol(format!("{what} of a kept checkpoint"));
                let size: i64 = row.try_get("size").map_err(Fault::from)?;
                let leaf: String = row.try_get("leaf").map_err(Fault::from)?;
                Ok(KeptHead {
                    origin: row.try_get("origin").map_err(Fault::from)?,
                    size: u64::try_from(size).map_err(|_| odd("the size"))?,
                    leaf: leaf.parse().map_err(|_| odd("the leaf hash"))?,
                })
            })
            .collect()
    }

    /// Lets the ledger's rows name another log, all in one transaction.
    ///
    /// Whoever still has the log they named finds from then on that the target is not its own.
    ///
    /// # Errors
    ///
    /// When a row is not as it was read, or the server says no: then nothing was changed.
    pub async fn take_over(
        &mut self,
        workspace: &str,
        rows: &[TakenOver<'_>],
    ) -> Result<(), Fault> {
        self.begin(LIMITS).await?;
        for row in rows {
            if let Err(fault) = self.take_over_row(workspace, row).await {
                let _ = self.roll_back().await;
                return Err(fault);
            }
        }
        self.commit().await
    }

    async fn take_over_row(&mut self, workspace: &str, to: &TakenOver<'_>) -> Result<(), Fault> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let update = "UPDATE annals.ledger SET run = $1::text::uuid, step = $2::int8::int4, \
            log_origin = $3, intent_seq = $4, intent_hash = $5, file_raw = $6 \
            WHERE workspace = $7 AND version_key = $8 AND ordinal = $9::int8::int4 \
            AND run = $10::text::uuid AND step = $11::int8::int4 AND log_origin = $12 \
            AND intent_hash = $13 AND file_raw = $14";
        let done = sqlx::query(update)
            .bind(to.run.to_string())
            .bind(number(to.step))
            .bind(to.log_origin)
            .bind(number(to.intent_seq))
            .bind(to.intent_hash.to_string())
            .bind(to.file_raw.to_string())
            .bind(workspace)
            .bind(to.row.version.number())
            .bind(number(to.row.ordinal))
            .bind(to.row.run.to_string())
            .bind(number(to.row.step))
            .bind(&to.row.log_origin)
            .bind(to.row.intent_hash.to_string())
            .bind(to.row.file_raw.to_string())
            .execute(self.connection())
            .await?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        let (version, ordinal) = (&to.row.version, to.row.ordinal);
        Err(Fault::Protocol(format!(
            "the ledger row of version {version}, change {ordinal}, is not as it was read"
        )))
    }

    /// Writes ledger rows without running anything, all in one transaction.
    ///
    /// # Errors
    ///
    /// When there is such a row already, or the server says no: then nothing was written.
    pub async fn write_rows(&mut self, rows: &[NewLedgerRow<'_>]) -> Result<(), Fault> {
        self.begin(LIMITS).await?;
        for row in rows {
            if let Err(fault) = self.insert_ledger_row(row).await {
                let _ = self.roll_back().await;
                return Err(fault);
            }
        }
        self.commit().await
    }

    /// Puts ledger rows back as the log knows them, with their transactions, all in one
    /// transaction.
    ///
    /// # Errors
    ///
    /// As [`Self::write_rows`].
    pub async fn put_back(&mut self, rows: &[(NewLedgerRow<'_>, String)]) -> Result<(), Fault> {
        self.begin(LIMITS).await?;
        for (row, transaction) in rows {
            let put = match self.insert_ledger_row(row).await {
                Ok(_) => self.set_transaction(row, transaction).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = put {
                let _ = self.roll_back().await;
                return Err(fault);
            }
        }
        self.commit().await
    }

    async fn set_transaction(
        &mut self,
        row: &NewLedgerRow<'_>,
        transaction: &str,
    ) -> Result<(), Fault> {
        let update = "UPDATE annals.ledger SET xid = $1 \
            WHERE workspace = $2 AND version_key = $3 AND ordinal = $4::int8::int4";
        sqlx::query(update)
            .bind(transaction)
            .bind(row.workspace)
            .bind(row.version.number())
            .bind(i64::try_from(row.ordinal).unwrap_or(i64::MAX))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The rows of `supabase_migrations.schema_migrations`, in the order of their versions as
    /// text; none where there is no such table.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or the table has other columns.
    pub async fn supabase_rows(&mut self) -> Result<Vec<SupabaseRow>, Fault> {
        let columns = "SELECT a.attname::text AS name FROM pg_attribute a \
            JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = 'supabase_migrations' AND c.relname = 'schema_migrations' \
            AND a.attnum > 0 AND NOT a.attisdropped";
        let columns = sqlx::query(columns).fetch_all(self.connection()).await?;
        let has = |wanted: &str| {
            columns.iter().any(|row| row.try_get::<String, _>("name").is_ok_and(|n| n == wanted))
        };
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        // The first versions of the tool kept the version alone.
        let query = match (has("name"), has("statements")) {
            (true, true) => {
                "SELECT version::text AS version, name::text AS name, statements::text[] AS \
                 statements FROM supabase_migrations.schema_migrations ORDER BY version COLLATE \"C\""
            }
            _ => {
                "SELECT version::text AS version, NULL::text AS name, NULL::text[] AS statements \
                 FROM supabase_migrations.schema_migrations ORDER BY version COLLATE \"C\""
            }
        };
        let rows = sqlx::query(query).fetch_all(self.connection()).await?;
        rows.iter()
            .map(|row| {
                Ok(SupabaseRow {
                    version: row.try_get("version")?,
                    name: row.try_get("name")?,
                    statements: row.try_get("statements")?,
                })
            })
            .collect()
    }
}

/// The heads of another log the ledger's rows speak of: the largest.
pub fn head_of_rows(rows: &[LedgerRow], origin: &str) -> Option<KeptHead> {
    let of_origin = rows.iter().filter(|row| row.log_origin == origin);
    let newest = of_origin.max_by_key(|row| row.intent_seq)?;
    Some(KeptHead {
        origin: origin.to_owned(),
        size: newest.intent_seq + 1,
        leaf: newest.intent_hash,
    })
}
