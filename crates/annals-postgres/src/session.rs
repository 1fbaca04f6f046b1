//! One session on a target: its guards, and what is known of the server.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row, raw_sql};

use annals_events::TargetIdentity;

use crate::fault::Fault;

/// What every session of annals is set to.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// Longest wait for a lock outside a step, in milliseconds.
    pub lock_timeout_ms: u64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { lock_timeout_ms: 2_000 }
    }
}

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Who it is.
    pub identity: TargetIdentity,
    /// `server_version_num`, such as 150018.
    pub version_num: u32,
    /// As the server spells it, such as `15.18 (Debian …)`.
    pub version: String,
    /// A standby that is replaying.
    pub in_recovery: bool,
    /// New transactions are read-only.
    pub read_only: bool,
    /// The role we are.
    pub user: String,
    /// The backend's process id.
    pub backend_pid: i32,
}

impl ServerFacts {
    /// Major version.
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// Version without the packager's addition, such as `15.18`.
    pub fn short_version(&self) -> &str {
        self.version.split(' ').next().unwrap_or(&self.version)
    }
}

/// Limits of one transaction, in milliseconds; 0 is none.
#[derive(Debug, Clone, Copy)]
pub struct TransactionLimits {
    /// Longest wait for a lock.
    pub lock_ms: u64,
    /// Longest run of one statement.
    pub statement_ms: u64,
}

/// What `pg_xact_status` says of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// It took effect.
    Committed,
    /// It did not and never will.
    Aborted,
    /// Some backend is still at it.
    InProgress,
    /// Too old for the server to remember, or unknown to it.
    Unknown,
}

impl TransactionStatus {
    /// The server's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::InProgress => "in progress",
            Self::Unknown => "unknown",
        }
    }
}

/// A session on a target. Never pooled, never reused: it is closed with the run.
pub struct Session {
    connection: PgConnection,
    settings: SessionSettings,
    facts: ServerFacts,
}

/// What a file's SQL left in the session behind its transaction must not reach the next one.
const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP";

/// The last thing asked inside a transaction: is it still the same one of the same backend, and
/// will its commit be durable when it is acknowledged, whatever the file has set.
const CHECK: &str = "SELECT pg_catalog.pg_backend_pid() AS pid, \
    coalesce(pg_catalog.pg_current_xact_id_if_assigned()::text, '') AS xid, \
    CASE WHEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local') \
    THEN pg_catalog.set_config('synchronous_commit', 'on', true) END AS durable";

const FACTS: &str = "SELECT (pg_control_system()).system_identifier::text AS system_identifier, \
    (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline, \
    current_database()::text AS database, \
    current_setting('server_version_num')::int4 AS version_num, \
    current_setting('server_version') AS version, pg_is_in_recovery() AS in_recovery, \
    current_setting('transaction_read_only') = 'on' AS read_only, \
    current_user::text AS user_name, pg_backend_pid() AS pid";

/// PostgreSQL 14 and later notice a dead client while a statement runs.
const CHECKS_CLIENT_SINCE: u32 = 140_000;

impl Session {
    pub(crate) async fn over(
        mut connection: PgConnection,
        settings: &SessionSettings,
    ) -> Result<Self, Fault> {
        let row = sqlx::query(FACTS).fetch_one(&mut connection).await?;
        let version_num: i32 = row.try_get("version_num")?;
        let timeline: i32 = row.try_get("timeline")?;
        let facts = ServerFacts {
            identity: TargetIdentity {
                database: row.try_get("database")?,
                system_identifier: row.try_get("system_identifier")?,
                timeline: u32::try_from(timeline).unwrap_or_default(),
            },
            version_num: u32::try_from(version_num).unwrap_or_default(),
            version: row.try_get("version")?,
            in_recovery: row.try_get("in_recovery")?,
            read_only: row.try_get("read_only")?,
            user: row.try_get("user_name")?,
            backend_pid: row.try_get("pid")?,
        };
        let mut session = Self { connection, settings: *settings, facts };
        let own = session.own_settings();
        session.run(&own).await?;
        Ok(session)
    }

    /// The session's own settings; `RESET ALL` takes them away.
    fn own_settings(&self) -> String {
        // A client that is gone must not leave a statement running behind it: keepalives find a
        // dead peer in about half a minute, and since 14 the server looks while it works.
        let mut settings = vec![
            ("lock_timeout", self.settings.lock_timeout_ms.to_string()),
            ("statement_timeout", "0".to_owned()),
            ("idle_in_transaction_session_timeout", "60s".to_owned()),
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "4".to_owned()),
        ];
        if self.facts.version_num >= CHECKS_CLIENT_SINCE {
            settings.push(("client_connection_check_interval", "1s".to_owned()));
        }
        let calls = settings
            .iter()
            .map(|(name, value)| format!("pg_catalog.set_config('{name}', '{value}', false)"));
        format!("SELECT {}", calls.collect::<Vec<_>>().join(", "))
    }

    /// Gives the session the state it began with: role, settings, temporary objects.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn reset(&mut self) -> Result<(), Fault> {
        let sql = self.reset_sql();
        self.run(&sql).await
    }

    fn reset_sql(&self) -> String {
        format!("{RESET}; {}", self.own_settings())
    }

    /// What the server says of itself.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// The connection, for queries of the crates that keep something of theirs in a database.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Sends `sql` as it is, by the simple protocol, and waits for all of it.
    ///
    /// # Errors
    ///
    /// The server's error, or the loss of the connection.
    pub async fn run(&mut self, sql: &str) -> Result<(), Fault> {
        raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Opens a transaction whose commit is durable when it is acknowledged, on a session that is as
    /// it began, whatever ran on it before: one message, one round trip.
    ///
    /// Settings are `SET LOCAL`, so they end with it. `synchronous_commit` is raised to `on` where
    /// it is weaker, and left where it is stricter.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn begin(&mut self, limits: TransactionLimits) -> Result<(), Fault> {
        let sql = format!(
            "{}; BEGIN; SELECT pg_catalog.set_config('lock_timeout', '{}', true), \
             pg_catalog.set_config('statement_timeout', '{}', true), \
             CASE WHEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local') \
             THEN pg_catalog.set_config('synchronous_commit', 'on', true) END",
            self.reset_sql(),
            limits.lock_ms,
            limits.statement_ms
        );
        self.run(&sql).await
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// After [`Fault::Connection`] the outcome is unknown.
    pub async fn commit(&mut self) -> Result<(), Fault> {
        self.run("COMMIT").await
    }

    /// Rolls back.
    ///
    /// # Errors
    ///
    /// As [`Self::run`]; the server has then rolled back by itself, or will.
    pub async fn roll_back(&mut self) -> Result<(), Fault> {
        self.run("ROLLBACK").await
    }

    /// Checks, as the last thing inside the transaction `xid`, that it is still the same
    /// transaction of the same backend, and sees to it that its commit is durable.
    ///
    /// # Errors
    ///
    /// [`Fault::Protocol`] when the transaction was ended behind our back.
    pub async fn check_transaction(&mut self, xid: &str) -> Result<(), Fault> {
        let row = sqlx::query(CHECK).fetch_one(&mut self.connection).await?;
        let (pid, found): (i32, String) = (row.try_get("pid")?, row.try_get("xid")?);
        if pid == self.facts.backend_pid && found == xid {
            return Ok(());
        }
        Err(Fault::Protocol(format!(
            "transaction {xid} of backend {} has become transaction {found} of backend {pid}",
            self.facts.backend_pid
        )))
    }

    /// Asks what became of a transaction (`xid8`, in decimal).
    ///
    /// # Errors
    ///
    /// As [`Self::run`]. An id this server has never reached is an error of its own (22023): the
    /// sign of another or a rewound server.
    pub async fn transaction_status(&mut self, xid: &str) -> Result<TransactionStatus, Fault> {
        let row = sqlx::query("SELECT pg_xact_status($1::text::xid8) AS status")
            .bind(xid)
            .fetch_one(&mut self.connection)
            .await?;
        let status: Option<String> = row.try_get("status")?;
        Ok(match status.as_deref() {
            Some("committed") => TransactionStatus::Committed,
            Some("aborted") => TransactionStatus::Aborted,
            Some("in progress") => TransactionStatus::InProgress,
            _ => TransactionStatus::Unknown,
        })
    }

    /// Asks the server to cancel what backend `pid` is doing.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn cancel_backend(&mut self, pid: i32) -> Result<(), Fault> {
        sqlx::query("SELECT pg_cancel_backend($1)").bind(pid).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Says goodbye. A failure changes nothing: the server notices the closed connection.
    pub async fn close(self) {
        let _ = self.connection.close().await;
    }
}
