//! The lock of a workspace on a target: a session advisory lock of the backend that does the work.
//!
//! A lease in a table would outlive a paused holder; this lock ends with the backend, and a
//! statement that outlives its client keeps it.

use annals_events::Digest;
use sqlx::Row;

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
}

impl Session {
    /// Takes the lock if it is free. Never waits: a waiting session holds a snapshot, and deadlocks
    /// with `CREATE INDEX CONCURRENTLY`.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn try_lock(&mut self, key: LockKey) -> Result<bool, Fault> {
        let row = sqlx::query("SELECT pg_try_advisory_lock($1) AS locked")
            .bind(key.0)
            .fetch_one(self.connection())
            .await?;
        Ok(row.try_get("locked")?)
    }

    /// Gives the lock back.
    ///
    /// # Errors
    ///
    /// When the server does not answer; the lock ends with the session then.
    pub async fn unlock(&mut self, key: LockKey) -> Result<(), Fault> {
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(key.0).execute(self.connection()).await?;
        Ok(())
    }

    /// Whether this very backend holds the lock: asked before each step.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn holds_lock(&mut self, key: LockKey) -> Result<bool, Fault> {
        let held = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' \
            AND pid = pg_backend_pid() AND granted AND objsubid = 1 \
            AND classid::int8 << 32 | objid::int8 = $1 \
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS held";
        let row = sqlx::query(held).bind(key.0).fetch_one(self.connection()).await?;
        Ok(row.try_get("held")?)
    }

    /// Who holds the lock.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn lock_holder(&mut self, key: LockKey) -> Result<Option<LockHolder>, Fault> {
        let holder = "SELECT l.pid, coalesce(a.usename::text, '') AS user_name, \
            coalesce(a.application_name, '') AS application, \
            coalesce(extract(epoch FROM clock_timestamp() - a.backend_start)::int8, 0) AS age_s \
            FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
            AND l.classid::int8 << 32 | l.objid::int8 = $1 \
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let row = sqlx::query(holder).bind(key.0).fetch_optional(self.connection()).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(LockHolder {
            pid: row.try_get("pid")?,
            user: row.try_get("user_name")?,
            application: row.try_get("application")?,
            age_s: row.try_get("age_s")?,
        }))
    }
}
