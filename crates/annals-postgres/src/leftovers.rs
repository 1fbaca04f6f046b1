//! What a file's SQL has left in the session behind its commit, and how it is taken away.

use std::fmt;

use serde_json::Value;
use sqlx::Row;

use crate::fault::Fault;
use crate::lock::LockKey;
use crate::session::Session;

/// What a file left. Names only, never values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Session advisory locks that are not ours: each as the arguments that unlock it, and whether
    /// it is shared.
    locks: Vec<(String, bool)>,
    /// Temporary relations.
    temporary: Vec<String>,
    /// The role it works as, where that is not ours.
    role: Option<String>,
    /// Settings that are not as they were.
    settings: Vec<String>,
    /// Channels it listens on.
    channels: Vec<String>,
    /// Cursors that outlive their transaction.
    cursors: Vec<String>,
}

/// Settings annals makes itself for a session.
const OWN_SETTINGS: &[&str] = &[
    "lock_timeout",
    "statement_timeout",
    "standard_conforming_strings",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
    "tcp_user_timeout",
    "client_connection_check_interval",
    "synchronous_commit",
    "client_encoding",
    // What they mean has been told already.
    "role",
    "session_authorization",
];

const QUERY: &str = "SELECT pg_catalog.jsonb_build_object(
    'locks', (SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_object(
            'key', CASE l.objsubid WHEN 1 THEN (l.classid::int8 << 32 | l.objid::int8)::text
                   ELSE (l.classid::int8::bit(32)::int4)::text || ', '
                        || (l.objid::int8::bit(32)::int4)::text END,
            'shared', l.mode = 'ShareLock'))
        FROM pg_catalog.pg_locks l
       WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'advisory' AND l.granted
         AND NOT (l.objsubid = 1 AND (l.classid::int8 << 32 | l.objid::int8) = $1)),
    'temporary', (SELECT pg_catalog.jsonb_agg(c.relname ORDER BY c.relname)
        FROM pg_catalog.pg_class c
       WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND c.relkind IN ('r', 'v', 'S', 'p')),
    'role', CASE WHEN current_user::text <> $2 THEN current_user::text END,
    'settings', (SELECT pg_catalog.jsonb_agg(s.name ORDER BY s.name) FROM pg_catalog.pg_settings s
       WHERE s.source = 'session' AND s.name <> ALL ($3::text[]) AND (s.name, s.setting) NOT IN
       (('application_name', $4), ('client_encoding', 'UTF8'), ('DateStyle', 'ISO, MDY'),
        ('TimeZone', 'UTC'))),
    'channels', (SELECT pg_catalog.jsonb_agg(c) FROM pg_catalog.pg_listening_channels() c),
    'cursors', (SELECT pg_catalog.jsonb_agg(c.name ORDER BY c.name) FROM pg_catalog.pg_cursors c
       WHERE c.is_holdable))::text AS found";

/// How often one lock may have been taken before its release is left to the end of the session.
const RELEASES: usize = 100;

impl Leftovers {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(found: &Value) -> Self {
        let texts = |key: &str| -> Vec<String> {
            let values = found[key].as_array().into_iter().flatten();
            values.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let locks = found["locks"].as_array().into_iter().flatten().map(|lock| {
            let key = lock["key"].as_str().unwrap_or_default().to_owned();
            (key, lock["shared"].as_bool().unwrap_or_default())
        });
        Self {
            locks: locks.collect(),
            temporary: texts("temporary"),
            role: found["role"].as_str().map(str::to_owned),
            settings: texts("settings"),
            channels: texts("channels"),
            cursors: texts("cursors"),
        }
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.locks.iter().map(|(key, _)| format!("({key})")).collect();
        let lists = [
            ("session advisory lock", &keys),
            ("temporary relation", &self.temporary),
            ("setting", &self.settings),
            ("LISTEN on", &self.channels),
            ("cursor WITH HOLD", &self.cursors),
        ];
        let role = self.role.iter().map(|role| format!("role {role}"));
        let lists = lists.iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> =
            role.chain(lists.map(|(what, names)| format!("{what} {}", names.join(", ")))).collect();
        f.write_str(&parts.join("; "))
    }
}

impl Session {
    /// Says what SQL of others has left in this session, which holds the lock `ours`, and takes it
    /// away. One round trip when there is nothing.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn clear_leftovers(&mut self, ours: LockKey) -> Result<Leftovers, Fault> {
        let own = OWN_SETTINGS.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let user = self.facts().user.clone();
        let application = self.application.clone();
        let row = sqlx::query(QUERY)
            .bind(ours.number())
            .bind(user)
            .bind(own)
            .bind(application)
            .fetch_one(self.connection())
            .await?;
        let found: String = row.try_get("found")?;
        let found = serde_json::from_str(&found).map_err(|e| Fault::Protocol(e.to_string()))?;
        let left = Leftovers::of(&found);
        for (key, shared) in &left.locks {
            self.release(key, *shared).await?;
        }
        if !left.is_empty() {
            self.run("CLOSE ALL; UNLISTEN *").await?;
            self.reset().await?;
        }
        Ok(left)
    }

    /// Releases an advisory lock as often as it was taken.
    async fn release(&mut self, key: &str, shared: bool) -> Result<(), Fault> {
        let shared = if shared { "_shared" } else { "" };
        // The key is digits, written by the server itself.
        let query = format!("SELECT pg_catalog.pg_advisory_unlock{shared}({key}) AS released");
        for _ in 0..RELEASES {
            let row = sqlx::query(sqlx::AssertSqlSafe(query.clone()));
            if !row.fetch_one(self.connection()).await?.try_get::<bool, _>("released")? {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_named_without_values() {
        let found = serde_json::json!({
            "locks": [{"key": "1, 2", "shared": true}], "temporary": ["scratch"],
            "role": "other", "settings": ["work_mem"], "channels": null, "cursors": ["c"],
        });
        let left = Leftovers::of(&found);
        assert!(!left.is_empty());
        assert_eq!(
            left.to_string(),
            "role other; session advisory lock (1, 2); temporary relation scratch; setting work_mem; \
             cursor WITH HOLD c"
        );
        assert!(Leftovers::of(&serde_json::json!({"locks": null, "role": null})).is_empty());
    }
}
