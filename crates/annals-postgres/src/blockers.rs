//! Who waits for whom: other sessions as the server shows them, never what they run.

use std::fmt;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::fault::Fault;
use crate::session::Session;
use crate::watch::{Blocker, Watch};

impl Blocker {
    /// Whether it is a prepared transaction: no session to look at, and none to end.
    pub fn is_prepared(&self) -> bool {
        self.pid == 0
    }

    pub(crate) fn of(row: &PgRow) -> Result<Self, Fault> {
        Ok(Self {
            pid: row.try_get("pid")?,
            user: row.try_get("user_name")?,
            application: row.try_get("application")?,
            state: row.try_get("state")?,
            query_age_s: row.try_get("query_age_s")?,
            transaction_age_s: row.try_get("transaction_age_s")?,
        })
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_prepared() {
            return f.write_str("a prepared transaction (pg_prepared_xacts)");
        }
        write!(f, "backend {} (role {}", self.pid, self.user)?;
        if !self.application.is_empty() {
            write!(f, ", application {}", self.application)?;
        }
        if let Some(state) = &self.state {
            write!(f, ", {state}")?;
        }
        if let Some(age) = self.query_age_s {
            write!(f, ", query {age} s")?;
        }
        match self.transaction_age_s {
            Some(age) => write!(f, ", transaction {age} s)"),
            None if self.state.is_none() => write!(f, ", more is not visible to this role)"),
            None => write!(f, ")"),
        }
    }
}

/// Columns of a session `a` of `pg_stat_activity`; its query is not among them.
pub(crate) const SESSION_COLUMNS: &str = "coalesce(a.usename::text, '') AS user_name, \
    coalesce(a.application_name, '') AS application, a.state, \
    extract(epoch FROM clock_timestamp() - a.query_start)::int8 AS query_age_s, \
    extract(epoch FROM clock_timestamp() - a.xact_start)::int8 AS transaction_age_s";

async fn sessions(session: &mut Session, from: &str, of: i32) -> Result<Vec<Blocker>, Fault> {
    let query = format!("SELECT {SESSION_COLUMNS}, {from}");
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(of).fetch_all(session.connection());
    rows.await?.iter().map(Blocker::of).collect()
}

impl Session {
    /// Who keeps backend `pid` from a lock it waits for, directly or by waiting before it.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn blockers_of(&mut self, pid: i32) -> Result<Vec<Blocker>, Fault> {
        let from = "b.pid FROM (SELECT DISTINCT unnest(pg_catalog.pg_blocking_pids($1)) AS pid) b \
            LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid ORDER BY b.pid";
        sessions(self, from, pid).await
    }

    /// Who has locks on any of `relations`, named as statements spell them.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or cannot read a name.
    pub async fn lock_holders_on(&mut self, relations: &[String]) -> Result<Vec<Blocker>, Fault> {
        let query = format!(
            "SELECT {SESSION_COLUMNS}, coalesce(h.pid, 0) AS pid FROM (SELECT DISTINCT l.pid \
             FROM pg_catalog.pg_locks l JOIN pg_catalog.unnest($1::text[]) AS n (name) \
             ON l.relation = pg_catalog.to_regclass(n.name) \
             WHERE l.locktype = 'relation' AND l.granted \
             AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()) h \
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid ORDER BY h.pid"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(relations);
        let rows = query.fetch_all(self.connection());
        rows.await?.iter().map(Blocker::of).collect()
    }

    /// Who has a relation of this database so locked that its definition cannot be read.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn exclusive_lock_holders(&mut self) -> Result<Vec<Blocker>, Fault> {
        let query = format!(
            "SELECT {SESSION_COLUMNS}, coalesce(h.pid, 0) AS pid FROM (SELECT DISTINCT l.pid \
             FROM pg_catalog.pg_locks l WHERE l.locktype = 'relation' AND l.granted \
             AND l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() \
             AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
             WHERE d.datname = pg_catalog.current_database())) h \
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid ORDER BY h.pid"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(self.connection());
        rows.await?.iter().map(Blocker::of).collect()
    }

    /// Who waits for a lock backend `pid` has, or wants before them.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn waiting_for(&mut self, pid: i32) -> Result<Vec<Blocker>, Fault> {
        let from = "w.pid FROM (SELECT DISTINCT l.pid FROM pg_catalog.pg_locks l \
            WHERE NOT l.granted AND l.pid <> $1) w \
            LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid \
            WHERE $1 = ANY (pg_catalog.pg_blocking_pids(w.pid)) ORDER BY w.pid";
        sessions(self, from, pid).await
    }
}

impl Watch {
    /// Which sessions wait for a lock the watched backend has, or wants before them. Other runs of
    /// annals and autovacuum are not among them: they wait by design.
    ///
    /// # Errors
    ///
    /// As [`Watch::look`].
    pub async fn waiting(&mut self) -> Result<Vec<Blocker>, Fault> {
        let pid = self.backend();
        let rows = self.ask(format!(
            "SELECT {SESSION_COLUMNS}, w.pid FROM (SELECT DISTINCT l.pid FROM pg_catalog.pg_locks l \
             WHERE NOT l.granted AND l.pid <> {pid}) w \
             JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid \
             WHERE a.application_name NOT LIKE 'annals/%' \
             AND a.backend_type IS DISTINCT FROM 'autovacuum worker' \
             AND {pid} = ANY (pg_catalog.pg_blocking_pids(w.pid)) ORDER BY w.pid"
        ));
        rows.await?.iter().map(Blocker::of).collect()
    }

    /// Cancels what the watched backend does.
    ///
    /// # Errors
    ///
    /// As [`Watch::look`].
    pub async fn cancel(&mut self) -> Result<(), Fault> {
        let pid = self.backend();
        self.ask(format!("SELECT pg_catalog.pg_cancel_backend({pid})")).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocker() -> Blocker {
        Blocker {
            pid: 41,
            user: "app".to_owned(),
            application: "web".to_owned(),
            state: Some("idle in transaction".to_owned()),
            query_age_s: Some(12),
            transaction_age_s: Some(40),
        }
    }

    #[test]
    fn a_blocker_is_named_by_who_it_is_and_how_long_it_has_been_there() {
        assert_eq!(
            blocker().to_string(),
            "backend 41 (role app, application web, idle in transaction, query 12 s, transaction 40 s)"
        );
        let hidden =
            Blocker { state: None, query_age_s: None, transaction_age_s: None, ..blocker() };
        assert_eq!(
            hidden.to_string(),
            "backend 41 (role app, application web, more is not visible to this role)"
        );
        assert!(Blocker { pid: 0, ..blocker() }.to_string().starts_with("a prepared transaction"));
    }
}
