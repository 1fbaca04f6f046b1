//! The lock of a workspace on a target: a session advisory lock of the backend that does the work.
//!
//! A lease in a table would outlive a paused holder; this lock ends with the backend, and a
//! statement that outlives its client keeps it.

use annals_events::Digest;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::fault::Fault;
use crate::ledger::LEDGER_SCHEMA;
use crate::session::Session;

/// The advisory lock key of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockKey(i64);

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Backend process id.
    pub pid: i32,
    /// Role.
    pub user: String,
    /// `application_name`; of a run of annals, `annals/<run>`.
    pub application: String,
    /// Seconds since its session began.
    pub age_s: i64,
}

impl LockKey {
    /// The first 64 bits of SHA-256 over product, ledger schema and workspace.
    ///
    /// Unrelated applications in one database must not share a key, and two targets of one
    /// workspace in one database must.
    pub fn of(workspace: &str) -> Self {
        let digest = Digest::of(format!("annals lock 1\n{LEDGER_SCHEMA}\n{workspace}").as_bytes());
        let first = digest.as_bytes().first_chunk::<8>().expect("a digest has eight bytes");
        Self(i64::from_be_bytes(*first))
    }

    /// The key as `pg_advisory_lock` takes it.
    pub const fn number(self) -> i64 {
        self.0
    }
}

impl LockKey {
    /// A condition: this very backend has held the lock all along, and holds it still.
    ///
    /// The lock is held twice, so one hold can be given back and taken again while the other one
    /// keeps everybody out. Who does not hold it cannot give it back. Should a file have given one
    /// hold back, there is a moment without any: whoever takes the lock then keeps it, and this is
    /// false. The backend answers from its own memory: a look into `pg_locks` collects the locks of
    /// all sessions.
    pub(crate) fn is_kept_sql(self) -> String {
        format!(
            "CASE WHEN pg_catalog.pg_advisory_unlock({0}) THEN \
             pg_catalog.pg_try_advisory_lock({0}) ELSE false END",
            self.0
        )
    }

    /// A condition on a row `l` of `pg_locks`: somebody holds the lock there.
    fn is_taken_sql(self) -> String {
        format!(
            "l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
             AND l.classid::int8 << 32 | l.objid::int8 = {} AND l.database = (SELECT oid \
             FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
            self.0
        )
    }

    /// A condition: this very backend holds the lock.
    pub(crate) fn is_held_sql(self) -> String {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE {} \
             AND l.pid = pg_catalog.pg_backend_pid())",
            self.is_taken_sql()
        )
    }
}

impl Session {
    /// Takes the lock if it is free, twice: see [`LockKey::is_kept_sql`]. Never waits: a waiting
    /// session holds a snapshot, and deadlocks with `CREATE INDEX CONCURRENTLY`.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn try_lock(&mut self, key: LockKey) -> Result<bool, Fault> {
        let take = format!("pg_catalog.pg_try_advisory_lock({})", key.0);
        let both = format!("SELECT CASE WHEN {take} THEN {take} ELSE false END");
        let locked = self.rows(&both).await?;
        first(&locked)?.try_get(0).map_err(Fault::from)
    }

    /// Gives the lock back, as often as it was taken.
    ///
    /// # Errors
    ///
    /// When the server does not answer; the lock ends with the session then.
    pub async fn unlock(&mut self, key: LockKey) -> Result<(), Fault> {
        let give = format!("pg_catalog.pg_advisory_unlock({})", key.0);
        self.run(&format!("SELECT {give}, {give}")).await
    }

    /// Whether this very backend holds the lock: asked before each step.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn holds_lock(&mut self, key: LockKey) -> Result<bool, Fault> {
        let held = self.rows(&format!("SELECT {}", key.is_held_sql())).await?;
        first(&held)?.try_get(0).map_err(Fault::from)
    }

    /// Who holds the lock.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn lock_holder(&mut self, key: LockKey) -> Result<Option<LockHolder>, Fault> {
        // Mostly nobody: who it is takes the server longer to plan than whether there is anybody.
        let held = format!("SELECT FROM pg_locks l WHERE {} LIMIT 1", key.is_taken_sql());
        if self.rows(&held).await?.is_empty() {
            return Ok(None);
        }
        let holder = format!(
            "SELECT l.pid, coalesce(a.usename::text, '') AS user_name, \
            coalesce(a.application_name, '') AS application, \
            coalesce(extract(epoch FROM clock_timestamp() - a.backend_start)::int8, 0) AS age_s \
            FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid WHERE {}",
            key.is_taken_sql()
        );
        let rows = self.rows(&holder).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(LockHolder {
            pid: row.try_get("pid")?,
            user: row.try_get("user_name")?,
            application: row.try_get("application")?,
            age_s: row.try_get("age_s")?,
        }))
    }
}

fn first(rows: &[PgRow]) -> Result<&PgRow, Fault> {
    rows.first().ok_or_else(|| Fault::Protocol("a query that gives one row gave none".to_owned()))
}
