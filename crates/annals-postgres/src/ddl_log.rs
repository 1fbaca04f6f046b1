//! Who changes the schema: event triggers of ours that write down every DDL command, where the role
//! may create them.
//!
//! What is kept names the object and who did it, never the SQL, which may hold values.

use std::time::Duration;

use annals_events::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::batch::literal;
use crate::fault::Fault;
use crate::session::Session;

/// How sessions of annals begin their application's name.
pub const OWN_APPLICATION: &str = "annals/";

/// Entries older than this are removed when somebody looks.
const KEPT_DAYS: u32 = 90;

/// Of the newest ones so many stay, however fast they came.
const KEPT_ROWS: u32 = 100_000;

/// SQLSTATE of a role that may not.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// The functions run as their owner, with a search path nobody else can put anything into, and swallow
/// every error but a cancelled statement: no log entry is worth somebody's DDL. Inside them
/// `current_user` is the owner, so who acts is read from the setting `role`.
const INSTALL: &str = "
CREATE TABLE IF NOT EXISTS annals.ddl_log (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid          xid8        NOT NULL DEFAULT pg_current_xact_id(),
    pid          integer     NOT NULL DEFAULT pg_backend_pid(),
    session_role text        NOT NULL,
    acting_role  text        NOT NULL,
    application  text        NOT NULL,
    client       text,
    tag          text        NOT NULL,
    object_type  text,
    identity     text
);
CREATE INDEX IF NOT EXISTS ddl_log_xid ON annals.ddl_log (xid);
REVOKE ALL ON annals.ddl_log FROM PUBLIC;
COMMENT ON TABLE annals.ddl_log IS
    'One row for each object a DDL command has touched: who and when, never the SQL. Written by event triggers of annals (annals drift track); old rows are removed when annals looks.';

CREATE OR REPLACE FUNCTION annals.log_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $annals$
BEGIN
    INSERT INTO annals.ddl_log
        (session_role, acting_role, application, client, tag, object_type, identity)
    SELECT session_user,
           CASE current_setting('role') WHEN 'none' THEN session_user
                ELSE current_setting('role') END,
           current_setting('application_name'), host(inet_client_addr()),
           c.command_tag, c.object_type, c.object_identity
      FROM pg_event_trigger_ddl_commands() c
     WHERE c.schema_name IS DISTINCT FROM 'pg_temp'
       AND c.schema_name IS DISTINCT FROM 'annals' AND NOT c.in_extension;
EXCEPTION WHEN OTHERS THEN
    NULL;
END $annals$;

CREATE OR REPLACE FUNCTION annals.log_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $annals$
BEGIN
    INSERT INTO annals.ddl_log
        (session_role, acting_role, application, client, tag, object_type, identity)
    SELECT session_user,
           CASE current_setting('role') WHEN 'none' THEN session_user
                ELSE current_setting('role') END,
           current_setting('application_name'), host(inet_client_addr()),
           tg_tag, d.object_type, d.object_identity
      FROM pg_event_trigger_dropped_objects() d
     WHERE NOT d.is_temporary AND d.schema_name IS DISTINCT FROM 'annals'
       AND d.object_type NOT IN ('type', 'toast table', 'default value')
       AND (d.original OR d.normal);
EXCEPTION WHEN OTHERS THEN
    NULL;
END $annals$;

REVOKE ALL ON FUNCTION annals.log_ddl(), annals.log_drop() FROM PUBLIC;
DROP EVENT TRIGGER IF EXISTS annals_log_ddl;
DROP EVENT TRIGGER IF EXISTS annals_log_drop;
CREATE EVENT TRIGGER annals_log_ddl ON ddl_command_end EXECUTE FUNCTION annals.log_ddl();
CREATE EVENT TRIGGER annals_log_drop ON sql_drop EXECUTE FUNCTION annals.log_drop();
";

const UNINSTALL: &str = "
DROP EVENT TRIGGER IF EXISTS annals_log_ddl;
DROP EVENT TRIGGER IF EXISTS annals_log_drop;
DROP FUNCTION IF EXISTS annals.log_ddl();
DROP FUNCTION IF EXISTS annals.log_drop();
DROP TABLE IF EXISTS annals.ddl_log;
";

/// Whether somebody writes down who changes the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// Both event triggers are there and fire.
    On,
    /// The log is there, but an event trigger is missing or disabled: it has gaps.
    Broken,
    /// The role may not read the log.
    Hidden,
    /// There is no log.
    Off,
}

/// Why tracking cannot be switched.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// The role may not create event triggers.
    #[error("the role {role:?} may not create or remove event triggers ({message})")]
    NotAllowed {
        /// The role.
        role: String,
        /// What the server says.
        message: String,
    },
    /// The server.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A DDL command somebody has run, by one of the objects it touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DdlEntry {
    /// Its place in the log.
    pub id: i64,
    /// When, by the server's clock.
    pub at: Timestamp,
    /// The role that had logged in.
    pub session_role: String,
    /// The role that acted.
    pub acting_role: String,
    /// Its application's name.
    pub application: String,
    /// Its address; none on a socket.
    pub client: Option<String>,
    /// The command, such as `ALTER TABLE`.
    pub tag: String,
    /// What the object is; none where the server does not say, such as for `GRANT`.
    pub object_type: Option<String>,
    /// Its name as the server spells it.
    pub identity: Option<String>,
    /// The transaction.
    pub transaction: String,
}

impl DdlEntry {
    /// Whether a session of annals ran it. Anybody can call theirs so: it is a hint, not a proof.
    pub fn is_ours(&self) -> bool {
        self.application.starts_with(OWN_APPLICATION)
    }

    /// Whether it may have changed the object of this name, as SQL spells it.
    ///
    /// A change of a table is one of its columns and constraints too. An entry without a name is
    /// none of any object.
    pub fn may_concern(&self, name: &str) -> bool {
        let Some(identity) = &self.identity else { return false };
        // The server says `x on public.t` of a trigger, a rule, a policy and a constraint.
        let spelled = match identity.split_once(" on ") {
            Some((own, table)) => format!("{table}.{own}"),
            None => identity.clone(),
        };
        // A function's arguments are spelled in more than one way.
        let bare = |text: &str| text.split('(').next().unwrap_or_default().to_owned();
        let (spelled, name) = (bare(&spelled), bare(name));
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '"' | '$');
        let mut places = name.match_indices(&spelled).map(|(at, _)| at);
        !spelled.is_empty()
            && places.any(|at| {
                let before = name[..at].chars().next_back();
                let after = name[at + spelled.len()..].chars().next();
                !before.is_some_and(|c| is_word(c) || c == '.') && !after.is_some_and(is_word)
            })
    }
}

fn read_entry(row: &PgRow) -> Result<DdlEntry, Fault> {
    let micros: i64 = row.try_get("micros")?;
    Ok(DdlEntry {
        id: row.try_get("id")?,
        at: Timestamp::from_micros(micros),
        session_role: row.try_get("session_role")?,
        acting_role: row.try_get("acting_role")?,
        application: row.try_get("application")?,
        client: row.try_get("client")?,
        tag: row.try_get("tag")?,
        object_type: row.try_get("object_type")?,
        identity: row.try_get("identity")?,
        transaction: row.try_get("xid")?,
    })
}

const ENTRY: &str = "id, (extract(epoch FROM at) * 1000000)::bigint AS micros, session_role, \
    acting_role, application, client, tag, object_type, identity, xid::text AS xid";

impl Session {
    /// Whether DDL is written down here, and may be read.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn tracking(&mut self) -> Result<Tracking, Fault> {
        let query = "SELECT has_schema_privilege(n.oid, 'USAGE') AND \
            has_table_privilege(c.oid, 'SELECT') AS readable, (SELECT count(*) FROM \
            pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid WHERE p.pronamespace = n.oid AND \
            t.evtname IN ('annals_log_ddl', 'annals_log_drop') AND t.evtenabled IN ('O', 'A')) AS \
            triggers FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND \
            c.relname = 'ddl_log' AND c.relkind = 'r' WHERE n.nspname = 'annals'";
        let rows = self.rows(query).await?;
        let Some(row) = rows.first() else { return Ok(Tracking::Off) };
        let (readable, triggers): (bool, i64) =
            (row.try_get("readable")?, row.try_get("triggers")?);
        Ok(match (readable, triggers) {
            (false, _) => Tracking::Hidden,
            (true, 2) => Tracking::On,
            (true, _) => Tracking::Broken,
        })
    }

    async fn switch(&mut self, sql: &str) -> Result<(), TrackError> {
        let done = self.run(&format!("BEGIN; {sql} COMMIT")).await;
        let Err(fault) = done else { return Ok(()) };
        if !fault.ends_session() {
            self.roll_back().await?;
        }
        match fault {
            Fault::Server(error) if error.code == INSUFFICIENT_PRIVILEGE => {
                let role = self.facts().user.clone();
                Err(TrackError::NotAllowed { role, message: error.message })
            }
            fault => Err(fault.into()),
        }
    }

    /// Writes DDL down from now on. The ledger must be there.
    ///
    /// # Errors
    ///
    /// When the role may not create event triggers.
    pub async fn track(&mut self) -> Result<(), TrackError> {
        self.switch(INSTALL).await
    }

    /// Stops it, and removes what was written.
    ///
    /// # Errors
    ///
    /// When the role may not remove event triggers.
    pub async fn untrack(&mut self) -> Result<(), TrackError> {
        self.switch(UNINSTALL).await
    }

    /// What was written down within the last `ago`, the oldest first. Measured in the server's time:
    /// its clock may be another than ours.
    ///
    /// # Errors
    ///
    /// When the role may not read it.
    pub async fn ddl_within(&mut self, ago: Duration) -> Result<Vec<DdlEntry>, Fault> {
        let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        let query = format!(
            "SELECT {ENTRY} FROM annals.ddl_log WHERE at >= clock_timestamp() - \
             least({micros}, 3153600000000000) * interval '1 microsecond' ORDER BY id"
        );
        self.rows(&query).await?.iter().map(read_entry).collect()
    }

    /// Which transactions have ended by now, as [`Self::ddl_since`] takes it.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn transactions_seen(&mut self) -> Result<String, Fault> {
        let rows = self.rows("SELECT pg_current_snapshot()::text AS seen").await?;
        let row = rows.first().ok_or_else(|| Fault::Protocol("no row of a function".into()))?;
        Ok(row.try_get("seen")?)
    }

    /// What was written down by transactions that had not ended when `seen` was asked for: places in
    /// the log are given out before a transaction ends, so they would miss some.
    ///
    /// # Errors
    ///
    /// When the role may not read it.
    pub async fn ddl_since(&mut self, seen: &str) -> Result<Vec<DdlEntry>, Fault> {
        let seen = format!("{}::pg_snapshot", literal(seen));
        let query = format!(
            "SELECT {ENTRY} FROM annals.ddl_log WHERE xid >= pg_snapshot_xmin({seen}) AND NOT \
             pg_visible_in_snapshot(xid, {seen}) ORDER BY id"
        );
        self.rows(&query).await?.iter().map(read_entry).collect()
    }

    /// Removes entries that are too old, or too many. Who may not remove them leaves them.
    pub async fn prune_ddl(&mut self) {
        let sql = format!(
            "DELETE FROM annals.ddl_log WHERE at < clock_timestamp() - interval '{KEPT_DAYS} days' \
             OR id <= (SELECT max(id) - {KEPT_ROWS} FROM annals.ddl_log)"
        );
        if let Err(fault) = self.run(&sql).await {
            tracing::debug!(%fault, "the log of DDL was not shortened");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(identity: &str) -> DdlEntry {
        DdlEntry {
            id: 1,
            at: Timestamp::from_micros(0),
            session_role: "ada".into(),
            acting_role: "ada".into(),
            application: "psql".into(),
            client: None,
            tag: "ALTER TABLE".into(),
            object_type: Some("table".into()),
            identity: Some(identity.into()),
            transaction: "1".into(),
        }
    }

    #[test]
    fn an_entry_concerns_the_object_it_names_and_what_is_part_of_it() {
        let yes = [
            ("public.t", "public.t"),
            ("public.t", "public.t.id"),
            ("public.t.id", "public.t.id"),
            ("looks on public.t", "public.t.looks"),
            ("public.f(integer)", "public.f(a integer)"),
            ("public.t", "table public.t to reader"),
        ];
        for (identity, name) in yes {
            assert!(entry(identity).may_concern(name), "{identity} {name}");
        }
        let no = [
            ("public.t", "public.t2"),
            ("public.t", "other.public.t"),
            ("public.t.id", "public.t"),
            ("t", "public.t"),
            ("public.\"t\"", "public.\"t\"\"s\""),
        ];
        for (identity, name) in no {
            assert!(!entry(identity).may_concern(name), "{identity} {name}");
        }
        let unnamed = DdlEntry { identity: None, ..entry("") };
        assert!(!unnamed.may_concern("public.t"));
    }
}
