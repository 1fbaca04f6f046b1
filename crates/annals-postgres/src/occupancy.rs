//! Who has a workspace's lock, in full: for whoever asks what is going on.

use sqlx::Row;

use crate::blockers::SESSION_COLUMNS;
use crate::fault::Fault;
use crate::lock::LockKey;
use crate::session::Session;
use crate::watch::Blocker;

/// The session that holds the lock of a workspace. What a role may not see of it is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupancy {
    /// Who.
    pub holder: Blocker,
    /// Where it connected from: an address, or nothing for a socket.
    pub client: Option<String>,
    /// When its session began, as `2026-01-31T16:30:00Z`.
    pub since: Option<String>,
    /// Seconds since then.
    pub session_age_s: Option<i64>,
    /// What it waits for at this moment, in the server's words, such as `Lock: relation`.
    pub waits: Option<String>,
    /// Who keeps it from a lock.
    pub waits_for: Vec<Blocker>,
    /// Who waits for a lock it has.
    pub blocks: Vec<Blocker>,
}

impl Session {
    /// Who holds the lock, and whom it waits for and blocks. Takes nothing.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn occupancy(&mut self, key: LockKey) -> Result<Option<Occupancy>, Fault> {
        let query = format!(
            "SELECT {SESSION_COLUMNS}, l.pid, a.client_addr::text AS client, \
             to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since, \
             extract(epoch FROM clock_timestamp() - a.backend_start)::int8 AS session_age_s, \
             a.wait_event_type || ': ' || a.wait_event AS waits \
             FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
             AND l.classid::int8 << 32 | l.objid::int8 = $1 AND l.database = \
             (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(key.number())
            .fetch_optional(self.connection())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let holder = Blocker::of(&row)?;
        let (waits_for, blocks) =
            (self.blockers_of(holder.pid).await?, self.waiting_for(holder.pid).await?);
        Ok(Some(Occupancy {
            client: row.try_get("client")?,
            since: row.try_get("since")?,
            session_age_s: row.try_get("session_age_s")?,
            waits: row.try_get("waits")?,
            holder,
            waits_for,
            blocks,
        }))
    }
}
