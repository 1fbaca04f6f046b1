//! One session on a target: its guards, and what is known of the server.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row, raw_sql};

use annals_events::TargetIdentity;

use crate::connect::ConnectionSpec;
use crate::fault::Fault;
use crate::line::{Line, Vigil};

/// What every session of annals is set to.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// Longest wait for a lock outside a step, in milliseconds.
    pub lock_timeout_ms: u64,
    /// Longest silence of the server, in milliseconds: while an answer is awaited and a second
    /// connection gets none either, the session is declared lost after it.
    pub silence_ms: u64,
    /// Longest pause between two messages inside a transaction, in milliseconds; 0 is none.
    pub idle_in_transaction_ms: u64,
    /// Longest transaction of a step, in milliseconds; 0 is none. PostgreSQL 17 and later; outside
    /// of steps there is no such limit.
    pub transaction_ms: u64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            lock_timeout_ms: 2_000,
            silence_ms: 30_000,
            idle_in_transaction_ms: 60_000,
            transaction_ms: 0,
        }
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
    line: Line,
    settings: SessionSettings,
    facts: ServerFacts,
    pub(crate) application: String,
    /// Known to be in no transaction, where one was to be begun or ended: there is nothing to roll
    /// back, and the server would warn of it.
    pub(crate) nothing_open: bool,
    /// Nothing has run since it was reset.
    is_reset: bool,
    /// What goes along with the next file, behind it, and what that answered.
    pub(crate) rider: Rider,
}

/// SQL behind a file in one message.
#[derive(Default)]
pub(crate) struct Rider {
    pub(crate) sql: Option<String>,
    pub(crate) answer: Option<PgRow>,
}

/// What a file's SQL left in the session behind its transaction must not reach the next one.
const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP";
const RESET_LEN: usize = 4;

const FACTS: &str = "SELECT (pg_control_system()).system_identifier::text AS system_identifier, \
    (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline, \
    current_database()::text AS database, \
    current_setting('server_version_num')::int4 AS version_num, \
    current_setting('server_version') AS version, pg_is_in_recovery() AS in_recovery, \
    current_setting('transaction_read_only') = 'on' AS read_only, \
    current_user::text AS user_name, pg_backend_pid() AS pid";

/// PostgreSQL 14 and later notice a dead client while a statement runs.
const CHECKS_CLIENT_SINCE: u32 = 140_000;

/// PostgreSQL 17 and later end a transaction that lasts too long.
const LIMITS_TRANSACTIONS_SINCE: u32 = 17;

impl Session {
    /// Asks the server who it is; nothing is set yet. `spec` leads to the same server.
    pub(crate) async fn greet(
        connection: PgConnection,
        spec: ConnectionSpec,
        application: &str,
        settings: &SessionSettings,
    ) -> Result<Self, Fault> {
        let mut line = Line::new(connection);
        let silence = Duration::from_millis(settings.silence_ms);
        // Who cannot be asked for is not known yet: this answer has its own limit.
        let row = tokio::time::timeout(silence, raw_sql(FACTS).fetch_one(&mut line)).await;
        let row = row.map_err(|_| {
            Fault::Connection(format!("no answer within {} ms", settings.silence_ms))
        })??;
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
        let watcher = match application.ends_with("/watch") {
            true => application.to_owned(),
            false => format!("{application}/watch"),
        };
        let pid = facts.backend_pid;
        line.watched_by(Vigil { spec, settings: *settings, application: watcher, pid });
        let application = application.to_owned();
        let (is_reset, rider) = (false, Rider::default());
        let nothing_open = false;
        Ok(Self { line, settings: *settings, facts, application, nothing_open, is_reset, rider })
    }

    /// Sets what every session is set to. Returns the backend that did.
    pub(crate) async fn set_up(&mut self) -> Result<i32, Fault> {
        let sql = format!("{}, pg_catalog.pg_backend_pid() AS pid", self.own_settings());
        Ok(raw_sql(AssertSqlSafe(sql)).fetch_one(&mut self.line).await?.try_get("pid")?)
    }

    /// Opens a transaction that reads and sets nothing beyond its end: whatever stands between here
    /// and the server, all of it is asked of one backend, and no setting is left there.
    pub(crate) async fn set_up_to_read(&mut self) -> Result<(), Fault> {
        let sql = format!(
            "BEGIN READ ONLY; SELECT pg_catalog.set_config('lock_timeout', '{}', true), \
             pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true)",
            self.settings.lock_timeout_ms
        );
        self.run(&sql).await
    }

    /// The backend that answers now.
    pub(crate) async fn backend_pid(&mut self) -> Result<i32, Fault> {
        let row = raw_sql("SELECT pg_catalog.pg_backend_pid() AS pid").fetch_one(&mut self.line);
        Ok(row.await?.try_get("pid")?)
    }

    /// The session's own settings; `RESET ALL` takes them away.
    fn own_settings(&self) -> String {
        // A client that is gone must not leave a statement running behind it: keepalives find a
        // dead peer in about half a minute, and since 14 the server looks while it works.
        let mut settings = vec![
            // What a client says of itself when it logs in is what `RESET ALL` brings back, unless
            // a pooler logged in for it: then it is the pooler's.
            ("application_name", self.application.replace('\'', "''")),
            ("client_encoding", "UTF8".to_owned()),
            ("DateStyle", "ISO, MDY".to_owned()),
            ("TimeZone", "UTC".to_owned()),
            ("lock_timeout", self.settings.lock_timeout_ms.to_string()),
            ("statement_timeout", "0".to_owned()),
            ("standard_conforming_strings", "on".to_owned()),
            (
                "idle_in_transaction_session_timeout",
                self.settings.idle_in_transaction_ms.to_string(),
            ),
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "4".to_owned()),
        ];
        if self.facts.version_num >= CHECKS_CLIENT_SINCE {
            settings.push(("client_connection_check_interval", "1s".to_owned()));
        }
        if self.facts.major() >= LIMITS_TRANSACTIONS_SINCE {
            // What a role or a database is set to must not end an index build.
            settings.push(("transaction_timeout", "0".to_owned()));
        }
        let calls = settings
            .iter()
            .map(|(name, value)| format!("pg_catalog.set_config('{name}', '{value}', false)"));
        format!("SELECT {}", calls.collect::<Vec<_>>().join(", "))
    }

    /// Behind other calls of `set_config`: the longest transaction of a step.
    pub(crate) fn transaction_timeout_sql(&self) -> String {
        let limit = self.settings.transaction_ms;
        match self.facts.major() {
            LIMITS_TRANSACTIONS_SINCE.. => {
                format!("pg_catalog.set_config('transaction_timeout', '{limit}', true), ")
            }
            _ => String::new(),
        }
    }

    /// Gives the session the state it began with: role, settings, temporary objects.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn reset(&mut self) -> Result<(), Fault> {
        if self.is_reset {
            return Ok(());
        }
        let sql = self.reset_sql();
        self.run(&sql).await
    }

    /// The message that was sent last has ended with [`Self::reset_sql`].
    pub(crate) fn note_reset(&mut self) {
        self.is_reset = true;
    }

    /// The SQL of [`Self::reset`]; [`Self::reset_len`] says how many statements it is.
    pub(crate) fn reset_sql(&self) -> String {
        format!("{RESET}; {}", self.own_settings())
    }

    pub(crate) const fn reset_len(&self) -> usize {
        RESET_LEN + 1
    }

    /// What the server says of itself.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// How to reach the very server this session is on.
    pub fn spec(&self) -> Option<ConnectionSpec> {
        self.line.watched().cloned()
    }

    /// The connection, for queries of the crates that keep something of theirs in a database.
    pub fn connection(&mut self) -> &mut Line {
        self.is_reset = false;
        &mut self.line
    }

    /// Sends `sql` as it is, by the simple protocol, and waits for all of it.
    ///
    /// # Errors
    ///
    /// The server's error, or the loss of the connection.
    pub async fn run(&mut self, sql: &str) -> Result<(), Fault> {
        raw_sql(AssertSqlSafe(sql)).execute(self.connection()).await?;
        Ok(())
    }

    /// The rows of a query that is sent as it stands: one round trip, where one that is prepared
    /// takes two.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<PgRow>, Fault> {
        Ok(raw_sql(AssertSqlSafe(sql)).fetch_all(self.connection()).await?)
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
             pg_catalog.set_config('statement_timeout', '{}', true), {}\
             CASE WHEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local') \
             THEN pg_catalog.set_config('synchronous_commit', 'on', true) END",
            self.reset_sql(),
            limits.lock_ms,
            limits.statement_ms,
            self.transaction_timeout_sql(),
        );
        self.nothing_open = false;
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

    /// Rolls back; does nothing where nothing is open.
    ///
    /// # Errors
    ///
    /// As [`Self::run`]; the server has then rolled back by itself, or will.
    pub async fn roll_back(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.nothing_open) {
            return Ok(());
        }
        self.run("ROLLBACK").await
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
            .fetch_one(&mut self.line)
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
        sqlx::query("SELECT pg_cancel_backend($1)").bind(pid).execute(&mut self.line).await?;
        Ok(())
    }

    /// Says goodbye. A failure changes nothing: the server notices the closed connection.
    pub async fn close(self) {
        self.line.close().await;
    }
}
