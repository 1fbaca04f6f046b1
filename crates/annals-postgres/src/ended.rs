//! Ends clients that stand in the way, where the policy of a target allows it.

use sqlx::Row;

use crate::fault::Fault;
use crate::session::Session;

/// A client whose backend was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its backend.
    pub pid: i32,
    /// Its role.
    pub user: String,
    /// Its `application_name`.
    pub application: String,
}

impl Session {
    /// Ends those of `pids` that are ordinary clients of this database: no superuser's, no
    /// replication's (their backends are of another type, whoever's they are: Supabase's `postgres` may
    /// replicate, and is what many applications log in as), none of annals' own, nothing of the server itself.
    ///
    /// # Errors
    ///
    /// As [`Self::run`]: without `pg_signal_backend` a role may end its own backends only.
    pub async fn end_clients(&mut self, pids: &[i32]) -> Result<Vec<Ended>, Fault> {
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        let query = format!(
            "SELECT a.pid, coalesce(a.usename::text, '') AS user_name, \
             coalesce(a.application_name, '') AS application, pg_catalog.pg_terminate_backend(a.pid) AS ended \
             FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid \
             WHERE a.pid = ANY (ARRAY[{}]::int4[]) AND a.backend_type = 'client backend' \
             AND a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid() \
             AND NOT r.rolsuper AND a.application_name NOT LIKE 'annals/%'",
            pids.join(", ")
        );
        let mut ended = Vec::new();
        for row in &self.rows(&query).await? {
            if row.try_get::<bool, _>("ended")? {
                ended.push(Ended {
                    pid: row.try_get("pid")?,
                    user: row.try_get("user_name")?,
                    application: row.try_get("application")?,
                });
            }
        }
        Ok(ended)
    }
}
