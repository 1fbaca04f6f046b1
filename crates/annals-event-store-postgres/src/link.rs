//! The store's own session: begun for each transaction, made anew when it was lost.

use std::time::Duration;

use annals_event_store::Cause;
use annals_events::TargetIdentity;
use annals_postgres::{ConnectError, ConnectionSpec, Fault, Session, SessionSettings};
use sqlx::Row;

use crate::install::STORE_FORMAT;

/// Bounds of what the store asks of a database, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest wait for a lock: for the head of a log that another writer is appending to.
    pub lock_ms: u64,
    /// Longest run of one statement.
    pub statement_ms: u64,
    /// Longest pause inside an appending transaction. Nobody else can append meanwhile, so a client
    /// that stands still loses its transaction.
    pub idle_ms: u64,
    /// How long the outcome of a commit is looked for after the connection was lost. Longer than
    /// `idle_ms`, or a server that has not noticed the loss outlasts the search.
    pub settle_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lock_ms: 10_000, statement_ms: 60_000, idle_ms: 15_000, settle_ms: 20_000 }
    }
}

/// Pause between two attempts to reach a server again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// `application_name` of the store's sessions.
const APPLICATION: &str = "annals/log";

/// Why the store's database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It answers with an error, or not any more.
    #[error(transparent)]
    Server(#[from] Fault),
    /// The tables are not there.
    #[error("the tables of the event store are not installed")]
    NotInstalled,
    /// The tables were made by a newer annals.
    #[error("the tables of the event store have format {found}, this annals knows {STORE_FORMAT}")]
    Newer {
        /// Their format.
        found: u32,
    },
    /// The log is not there.
    #[error("there is no log {0}")]
    Missing(String),
    /// It cannot be written to.
    #[error("the server is a standby or read-only")]
    ReadOnly,
    /// Another server or database answers at the same address.
    #[error("another database answers: {found}, expected {expected}")]
    OtherDatabase {
        /// The one the log was opened in.
        expected: String,
        /// The one that answers.
        found: String,
    },
    /// A row is not one annals writes.
    #[error("a row of the event store is not one annals writes: {0}")]
    Row(String),
}

impl StoreFault {
    /// Whether the session is over.
    pub(crate) fn ends_session(&self) -> bool {
        matches!(self, Self::Server(fault) if fault.ends_session())
    }
}

impl From<sqlx::Error> for StoreFault {
    fn from(error: sqlx::Error) -> Self {
        Self::Server(error.into())
    }
}

/// What `log_moved` events call the logs of a database.
pub fn home_of(database: &TargetIdentity) -> String {
    format!("postgres:{}/{}", database.system_identifier, database.database)
}

/// How a transaction of the store is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sees one moment, writes nothing.
    Snapshot,
    /// Appends; its commit is durable when it is acknowledged.
    Append,
}

/// A database and the store's one session on it.
///
/// A transaction takes the session out and gives it back when it is over. One that is abandoned
/// half way takes the session with it, and the server rolls back.
pub(crate) struct Link {
    spec: ConnectionSpec,
    limits: Limits,
    session: Option<Session>,
    database: TargetIdentity,
}

async fn connect(spec: &ConnectionSpec, limits: &Limits) -> Result<Session, ConnectError> {
    spec.connect(
        APPLICATION,
        &SessionSettings { lock_timeout_ms: limits.lock_ms, ..SessionSettings::default() },
    )
    .await
}

impl Link {
    /// Connects to a database that has the store's tables.
    pub(crate) async fn open(spec: &ConnectionSpec, limits: Limits) -> Result<Self, StoreFault> {
        let mut session = connect(spec, &limits).await?;
        let database = session.facts().identity.clone();
        match format(&mut session).await? {
            None => return Err(StoreFault::NotInstalled),
            Some(found) if found > STORE_FORMAT => return Err(StoreFault::Newer { found }),
            Some(_) => {}
        }
        Ok(Self { spec: spec.clone(), limits, session: Some(session), database })
    }

    /// As [`Self::open`], to write: not on a standby.
    pub(crate) async fn open_to_write(
        spec: &ConnectionSpec,
        limits: Limits,
    ) -> Result<Self, StoreFault> {
        let link = Self::open(spec, limits).await?;
        let facts = link.session.as_ref().map(Session::facts);
        if facts.is_some_and(|facts| facts.in_recovery || facts.read_only) {
            return Err(StoreFault::ReadOnly);
        }
        Ok(link)
    }

    pub(crate) fn database(&self) -> &TargetIdentity {
        &self.database
    }

    /// Names the database for people.
    pub(crate) fn place(&self) -> String {
        place_of(&self.spec)
    }

    /// Opens a transaction on the session. A session that was lost while nothing was under way is
    /// made anew.
    pub(crate) async fn begin(&mut self, mode: Mode) -> Result<Session, StoreFault> {
        let sql = self.begin_sql(mode, self.limits.lock_ms);
        if let Some(mut session) = self.session.take() {
            match session.run(&sql).await {
                Ok(()) => return Ok(session),
                Err(fault) if fault.is_verdict() => return Err(fault.into()),
                // Nothing was asked on it yet, so nothing can have happened.
                Err(fault) => tracing::warn!(%fault, "the event store connects again"),
            }
        }
        let mut session = self.reconnect().await?;
        session.run(&sql).await?;
        Ok(session)
    }

    /// As [`Self::begin`] on a session of its own, trying until the limit: after a commit whose
    /// outcome is unknown.
    pub(crate) async fn begin_to_settle(&mut self) -> Result<Session, StoreFault> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(self.limits.settle_ms);
        let sql = self.begin_sql(Mode::Append, self.limits.settle_ms.max(1));
        loop {
            let attempt = async {
                let mut session = self.reconnect().await?;
                session.run(&sql).await?;
                Ok(session)
            };
            let error = match tokio::time::timeout_at(deadline, attempt).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error @ StoreFault::OtherDatabase { .. })) => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => Fault::Connection("no answer in time".to_owned()).into(),
            };
            if tokio::time::Instant::now() + RETRY_PAUSE >= deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn reconnect(&self) -> Result<Session, StoreFault> {
        let session = connect(&self.spec, &self.limits).await?;
        let found = &session.facts().identity;
        if found.is_same_database(&self.database) {
            return Ok(session);
        }
        Err(StoreFault::OtherDatabase { expected: home_of(&self.database), found: home_of(found) })
    }

    /// Takes a session back on which no transaction is open.
    pub(crate) fn keep(&mut self, session: Session) {
        self.session = Some(session);
    }

    /// Ends a transaction without effect.
    pub(crate) async fn roll_back(&mut self, mut session: Session) {
        // A failure leaves a session nobody uses again: the server rolls back when it is closed.
        if session.roll_back().await.is_ok() {
            self.session = Some(session);
        }
    }

    /// Says goodbye to the server.
    pub(crate) async fn close(self) {
        if let Some(session) = self.session {
            session.close().await;
        }
    }

    fn begin_sql(&self, mode: Mode, lock_ms: u64) -> String {
        let Limits { statement_ms, idle_ms, .. } = self.limits;
        match mode {
            Mode::Snapshot => format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                 SELECT pg_catalog.set_config('statement_timeout', '{statement_ms}', true)"
            ),
            // The isolation is named because a role or a database may default to another, under
            // which waiting for the head's lock ends in an error.
            Mode::Append => format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; \
                 SELECT pg_catalog.set_config('lock_timeout', '{lock_ms}', true), \
                 pg_catalog.set_config('statement_timeout', '{}', true), \
                 pg_catalog.set_config('idle_in_transaction_session_timeout', '{idle_ms}', true), \
                 CASE WHEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local') \
                 THEN pg_catalog.set_config('synchronous_commit', 'on', true) END",
                statement_ms.max(lock_ms)
            ),
        }
    }
}

/// Names a database for people.
pub(crate) fn place_of(spec: &ConnectionSpec) -> String {
    format!("database {} at {}", spec.database(), spec.address())
}

/// Format of the store's tables, if they are there.
pub(crate) async fn format(session: &mut Session) -> Result<Option<u32>, StoreFault> {
    let present = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'annals' AND c.relname = 'log_store') AS present";
    let row = sqlx::query(present).fetch_one(session.connection()).await?;
    if !row.try_get::<bool, _>("present")? {
        return Ok(None);
    }
    let row = sqlx::query("SELECT format FROM annals.log_store")
        .fetch_optional(session.connection())
        .await?;
    let row = row.ok_or_else(|| StoreFault::Row("log_store is empty".to_owned()))?;
    let format: i32 = row.try_get("format")?;
    u32::try_from(format).map(Some).map_err(|_| StoreFault::Row(format!("format {format}")))
}

/// The cause of an error of the contract.
pub(crate) fn cause(error: impl Into<StoreFault>) -> Cause {
    Box::new(error.into())
}
