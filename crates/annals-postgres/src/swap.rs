//! Puts one database in the place of another, on a session to a third one.
//!
//! Both names change in one transaction. Databases keep their numbers (`oid`) when they are renamed,
//! so whoever comes later sees from the numbers what has happened.

use std::fmt;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::fault::Fault;
use crate::session::Session;

/// A database, as the server's list of them has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseEntry {
    /// Its name.
    pub name: String,
    /// Its number, which it keeps when it is renamed.
    pub oid: u32,
    /// Whether anybody may connect to it.
    pub allows_connections: bool,
    /// The most sessions at a time; -1 is any number.
    pub connection_limit: i32,
    /// Whether this role may rename it: as its owner with `CREATEDB`, or as a superuser.
    pub may_rename: bool,
    /// Its size in bytes, where this role may know it.
    pub bytes: Option<i64>,
}

/// A session on a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Backend process id.
    pub pid: i32,
    /// Role; empty for a worker of the server.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// Where from; empty for a socket.
    pub address: String,
    /// What kind of backend, as the server calls it.
    pub kind: String,
    /// Whether this role may end it.
    pub may_end: bool,
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backend {}", self.pid)?;
        let words = [
            (!self.user.is_empty()).then(|| format!("role {}", self.user)),
            (!self.application.is_empty()).then(|| format!("application {}", self.application)),
            (!self.address.is_empty()).then(|| format!("from {}", self.address)),
            (self.kind != "client backend").then(|| self.kind.clone()),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        if words.is_empty() { Ok(()) } else { write!(f, " ({})", words.join(", ")) }
    }
}

/// What keeps to a database and does not move with its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bound {
    /// Prepared transactions in it; while there is one, it cannot be renamed.
    pub prepared: Vec<String>,
    /// Logical replication slots of it.
    pub slots: Vec<String>,
    /// Subscriptions in it.
    pub subscriptions: Vec<String>,
}

const ENTRY: &str = "SELECT d.datname::text AS name, d.oid::int8 AS oid, \
    d.datallowconn AS allows_connections, d.datconnlimit AS connection_limit, \
    (r.rolsuper OR (r.rolcreatedb AND pg_catalog.pg_has_role(d.datdba, 'USAGE'))) AS may_rename, \
    CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
        OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') \
        THEN pg_catalog.pg_database_size(d.oid) END AS bytes \
    FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
    WHERE r.rolname = current_user AND d.";

/// A superuser's session is ended by a superuser only; others by members of its role, or of
/// `pg_signal_backend`. Workers without a role count as a superuser's.
const GUESTS: &str = "SELECT a.pid, coalesce(a.usename::text, '') AS user_name, \
    coalesce(a.application_name, '') AS application, coalesce(a.client_addr::text, '') AS address, \
    coalesce(a.backend_type, '') AS kind, \
    (me.rolsuper OR (NOT coalesce(them.rolsuper, true) \
        AND (pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') \
            OR pg_catalog.pg_has_role(a.usesysid, 'USAGE')))) AS may_end \
    FROM pg_catalog.pg_stat_activity a \
    CROSS JOIN (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) me \
    LEFT JOIN pg_catalog.pg_roles them ON them.oid = a.usesysid \
    WHERE a.datname = $1 AND a.pid <> pg_catalog.pg_backend_pid() \
    AND coalesce(a.backend_type, '') <> 'autovacuum worker' ORDER BY a.pid";

fn entry(row: &PgRow) -> Result<DatabaseEntry, Fault> {
    let oid: i64 = row.try_get("oid")?;
    Ok(DatabaseEntry {
        name: row.try_get("name")?,
        oid: u32::try_from(oid).unwrap_or_default(),
        allows_connections: row.try_get("allows_connections")?,
        connection_limit: row.try_get("connection_limit")?,
        may_rename: row.try_get("may_rename")?,
        bytes: row.try_get("bytes")?,
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Session {
    /// The database of that name.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn database_named(&mut self, name: &str) -> Result<Option<DatabaseEntry>, Fault> {
        let query = format!("{ENTRY}datname = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(name);
        query.fetch_optional(self.connection()).await?.as_ref().map(entry).transpose()
    }

    /// The database of that number.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn database_numbered(&mut self, oid: u32) -> Result<Option<DatabaseEntry>, Fault> {
        let query = format!("{ENTRY}oid = $1::int8::oid");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(i64::from(oid));
        query.fetch_optional(self.connection()).await?.as_ref().map(entry).transpose()
    }

    /// Who is connected to a database, this session and the server's own cleaning aside.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn guests(&mut self, database: &str) -> Result<Vec<Guest>, Fault> {
        let rows = sqlx::query(GUESTS).bind(database).fetch_all(self.connection()).await?;
        let guest = |row: &PgRow| {
            Ok(Guest {
                pid: row.try_get("pid")?,
                user: row.try_get("user_name")?,
                application: row.try_get("application")?,
                address: row.try_get("address")?,
                kind: row.try_get("kind")?,
                may_end: row.try_get("may_end")?,
            })
        };
        rows.iter().map(guest).collect()
    }

    /// What keeps to a database and does not move with its name.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn bound_to(&mut self, database: &str) -> Result<Bound, Fault> {
        let of = |query| sqlx::query_scalar::<_, String>(query).bind(database.to_owned());
        let prepared =
            of("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = $1 ORDER BY 1");
        let prepared = prepared.fetch_all(self.connection()).await?;
        let slots = of("SELECT slot_name::text FROM pg_catalog.pg_replication_slots \
             WHERE database = $1 ORDER BY 1");
        let slots = slots.fetch_all(self.connection()).await?;
        let subscriptions = of("SELECT s.subname::text FROM pg_catalog.pg_subscription s \
             JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1 ORDER BY 1");
        let subscriptions = subscriptions.fetch_all(self.connection()).await?;
        Ok(Bound { prepared, slots, subscriptions })
    }

    /// Asks the server to end a backend.
    ///
    /// # Errors
    ///
    /// As [`Self::run`]; also where this role may not.
    pub async fn end_backend(&mut self, pid: i32) -> Result<(), Fault> {
        let end = sqlx::query("SELECT pg_catalog.pg_terminate_backend($1)").bind(pid);
        end.execute(self.connection()).await?;
        Ok(())
    }

    /// Lets nobody connect to a database any more, or anybody who may again.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn allow_connections(&mut self, database: &str, may: bool) -> Result<(), Fault> {
        self.run(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS {may}", quoted(database))).await
    }

    /// Gives `target` the name `keep_as`, and `restored` the name of `target`, with its limit of
    /// connections: both, or neither. `comment` is the SQL that gives that one its own comment, by the name it has
    /// until then. Nobody may be connected to either. `target` may be connected to
    /// again afterwards, under its new name.
    ///
    /// # Errors
    ///
    /// As [`Self::run`]. After [`Fault::Connection`] the numbers of the databases say what happened.
    pub async fn swap_databases(
        &mut self,
        target: &DatabaseEntry,
        keep_as: &str,
        restored: &str,
        comment: &str,
    ) -> Result<(), Fault> {
        let (name, keep_as, restored) = (quoted(&target.name), quoted(keep_as), quoted(restored));
        let limit = target.connection_limit;
        let swap = format!(
            "BEGIN; {comment}; ALTER DATABASE {name} RENAME TO {keep_as}; \
             ALTER DATABASE {restored} RENAME TO {name}; \
             ALTER DATABASE {name} CONNECTION LIMIT {limit}; \
             ALTER DATABASE {keep_as} ALLOW_CONNECTIONS true; COMMIT"
        );
        let swapped = self.run(&swap).await;
        if let Err(fault) = &swapped
            && fault.is_verdict()
        {
            self.roll_back().await?;
        }
        swapped
    }
}
