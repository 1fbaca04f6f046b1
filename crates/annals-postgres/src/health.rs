//! How a server and its tables are doing: catalog and statistics, read in one short transaction.
//!
//! No query of anybody is read: it may hold values. No relation is opened, so nothing here waits for
//! a lock or makes others wait; sizes are those of the catalog, as of the last vacuum or analyze.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};

use crate::fault::Fault;
use crate::session::Session;

const ACTIVITY: &str = include_str!("health/activity.sql");
const STORAGE: &str = include_str!("health/storage.sql");
const TABLES: &str = include_str!("health/tables.sql");

/// Connections to the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionUse {
    /// Of clients, to any of its databases.
    pub used: i64,
    /// To this database.
    pub here: i64,
    /// At work.
    pub active: i64,
    /// In a transaction, and waiting for their client.
    pub idle_in_transaction: i64,
    /// Whose state this role may not see.
    pub hidden: i64,
    /// `max_connections`.
    pub max: i64,
    /// Of these, kept for superusers.
    pub reserved: i64,
}

/// A session that has been at it for long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LongQuery {
    /// Backend process id.
    pub pid: i64,
    /// Role.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// As `pg_stat_activity` says it.
    pub state: String,
    /// Seconds since its query began.
    pub query_s: Option<i64>,
    /// Seconds since its transaction began.
    pub transaction_s: Option<i64>,
    /// What it waits for, such as `Lock: relation`.
    pub waits_for: Option<String>,
}

/// A session that waits for a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockWait {
    /// Backend process id.
    pub pid: i64,
    /// Role.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// What kind of lock, such as `relation`.
    pub kind: String,
    /// The mode it wants.
    pub mode: String,
    /// The relation, where it is one of this database.
    pub relation: Option<String>,
    /// Seconds it has waited, at most: of a server before 14, since its query began.
    pub waited_s: Option<i64>,
    /// Backends in its way; 0 is a prepared transaction.
    pub blocked_by: Vec<i64>,
}

/// What goes on at this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Activity {
    /// Connections.
    pub connections: ConnectionUse,
    /// The longest queries and transactions, at most 20.
    pub long: Vec<LongQuery>,
    /// How many there are.
    pub long_count: i64,
    /// Who waits for a lock, at most 20.
    pub waits: Vec<LockWait>,
    /// How many there are.
    pub wait_count: i64,
    /// Share of blocks that were found in memory since the statistics were reset, 0 to 1.
    pub cache_hit: Option<f64>,
    /// Deadlocks since then.
    pub deadlocks: i64,
    /// Since when; none for ever.
    pub statistics_since: Option<String>,
    /// Transactions since the oldest row that is not frozen.
    pub xid_age: i64,
    /// The same of multixacts.
    pub multixact_age: i64,
    /// `autovacuum_freeze_max_age`: from which age on vacuums are forced.
    pub freeze_max_age: i64,
}

/// An index, and what it costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexUse {
    /// Its name.
    pub index: String,
    /// Its table.
    pub table: String,
    /// Bytes, as of the last vacuum or analyze.
    pub bytes: i64,
}

/// A table with more pages than its rows need.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bloat {
    /// The table.
    pub table: String,
    /// Its bytes, as of the last vacuum or analyze.
    pub bytes: i64,
    /// Bytes its rows do not need, as the planner's statistics say: an estimate.
    pub wasted_bytes: i64,
}

/// How tables and indexes of this database are used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Storage {
    /// Of tables over 1 MiB: share of scans that used an index, 0 to 1.
    pub index_scans: Option<f64>,
    /// Indexes over 1 MiB nobody has used since the statistics were reset; the largest 20. Those
    /// that keep a promise (unique, exclusion) are not among them.
    pub unused: Vec<IndexUse>,
    /// Indexes that are not valid.
    pub invalid: Vec<IndexUse>,
    /// Rows.
    pub live_rows: i64,
    /// Dead ones no vacuum has removed yet.
    pub dead_rows: i64,
    /// Tables over 1 MiB, most waste first; at most 20.
    pub bloat: Vec<Bloat>,
}

/// How a table stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `table`, `partitioned`, `materialized view` or `foreign table`.
    pub kind: String,
    /// Whether the role that asks may read it.
    pub readable: bool,
    /// Backends that have it locked against reading, or wait to.
    pub locked_by: Vec<i64>,
    /// Rows, as the planner estimates them; none where it was never analyzed.
    pub rows: Option<i64>,
    /// Dead rows, as counted by the statistics.
    pub dead_rows: i64,
    /// Bytes with its indexes and what is stored beside it, as of the last vacuum or analyze.
    pub bytes: i64,
    /// Row level security is on.
    pub rls: bool,
    /// For its owner too.
    pub rls_forced: bool,
    /// Its policies.
    pub policies: i64,
    /// Last vacuum, by hand or by itself.
    pub vacuumed_at: Option<String>,
    /// Last analyze, by hand or by itself.
    pub analyzed_at: Option<String>,
}

/// Which tables are looked at.
#[derive(Debug, Clone)]
pub enum TableChoice {
    /// All but those in these schemas.
    AllBut(Vec<String>),
    /// These: schema and name.
    Named(Vec<(String, String)>),
}

/// The most tables one answer has.
pub const MAX_TABLES: i64 = 2_000;

async fn ask(session: &mut Session, sql: String) -> Result<Value, Fault> {
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(session.connection()).await?;
    value_of(&row)
}

fn value_of(row: &sqlx::postgres::PgRow) -> Result<Value, Fault> {
    let text: String = row.try_get("found")?;
    serde_json::from_str(&text).map_err(|error| Fault::Protocol(error.to_string()))
}

impl Session {
    /// Lets the server itself end what takes longer, for the rest of the transaction.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn limit_statements(&mut self, ms: u64) -> Result<(), Fault> {
        self.run(&format!("SELECT pg_catalog.set_config('statement_timeout', '{ms}', true)")).await
    }

    /// Looks at connections, long queries, lock waits and wraparound.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn read_activity(&mut self, long_ms: u64) -> Result<Activity, Fault> {
        let found = ask(self, ACTIVITY.replace("$LONG_MS", &long_ms.to_string())).await?;
        let connections = &found["connections"];
        Ok(Activity {
            connections: ConnectionUse {
                used: number(connections, "used"),
                here: number(connections, "here"),
                active: number(connections, "active"),
                idle_in_transaction: number(connections, "idle_in_transaction"),
                hidden: number(connections, "hidden"),
                max: number(&found, "max"),
                reserved: number(&found, "reserved"),
            },
            long: list(&found, "long", |value| LongQuery {
                pid: number(value, "pid"),
                user: text(value, "user"),
                application: text(value, "application"),
                state: text(value, "state"),
                query_s: value["query_s"].as_i64(),
                transaction_s: value["transaction_s"].as_i64(),
                waits_for: value["waits_for"].as_str().map(str::to_owned),
            }),
            long_count: number(&found, "long_count"),
            waits: list(&found, "waits", |value| LockWait {
                pid: number(value, "pid"),
                user: text(value, "user"),
                application: text(value, "application"),
                kind: text(value, "kind"),
                mode: text(value, "mode"),
                relation: value["relation"].as_str().map(str::to_owned),
                waited_s: value["waited_s"].as_i64(),
                blocked_by: numbers(value, "blocked_by"),
            }),
            wait_count: number(&found, "wait_count"),
            cache_hit: found["cache_hit"].as_f64(),
            deadlocks: number(&found, "deadlocks"),
            statistics_since: found["statistics_since"].as_str().map(str::to_owned),
            xid_age: number(&found, "xid_age"),
            multixact_age: number(&found, "multixact_age"),
            freeze_max_age: number(&found, "freeze_max_age"),
        })
    }

    /// Looks at how tables and indexes are used, and at what they waste.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn read_storage(&mut self) -> Result<Storage, Fault> {
        let found = ask(self, STORAGE.to_owned()).await?;
        let index = |value: &Value| IndexUse {
            index: text(value, "index"),
            table: text(value, "table"),
            bytes: number(value, "bytes"),
        };
        Ok(Storage {
            index_scans: found["index_scans"].as_f64(),
            unused: list(&found, "unused", index),
            invalid: list(&found, "invalid", index),
            live_rows: number(&found, "live_rows"),
            dead_rows: number(&found, "dead_rows"),
            bloat: list(&found, "bloat", |value| Bloat {
                table: text(value, "table"),
                bytes: number(value, "bytes"),
                wasted_bytes: number(value, "wasted_bytes"),
            }),
        })
    }

    /// Looks at tables, by name; at most [`MAX_TABLES`], and how many there are.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn read_tables(
        &mut self,
        choice: &TableChoice,
    ) -> Result<(Vec<TableState>, i64), Fault> {
        let (excluded, schemas, names) = match choice {
            TableChoice::AllBut(excluded) => (excluded.clone(), None, None),
            TableChoice::Named(named) => {
                let (schemas, names): (Vec<String>, Vec<String>) = named.iter().cloned().unzip();
                (Vec::new(), Some(schemas), Some(names))
            }
        };
        let query = sqlx::query(TABLES).bind(excluded).bind(schemas).bind(names).bind(MAX_TABLES);
        let found = value_of(&query.fetch_one(self.connection()).await?)?;
        let tables = list(&found, "tables", |value| TableState {
            schema: text(value, "schema"),
            name: text(value, "name"),
            kind: text(value, "kind"),
            readable: value["readable"].as_bool().unwrap_or_default(),
            locked_by: numbers(value, "locked_by"),
            rows: value["rows"].as_i64(),
            dead_rows: number(value, "dead_rows"),
            bytes: number(value, "bytes"),
            rls: value["rls"].as_bool().unwrap_or_default(),
            rls_forced: value["rls_forced"].as_bool().unwrap_or_default(),
            policies: number(value, "policies"),
            vacuumed_at: value["vacuumed_at"].as_str().map(str::to_owned),
            analyzed_at: value["analyzed_at"].as_str().map(str::to_owned),
        });
        Ok((tables, number(&found, "count")))
    }
}

fn list<T>(found: &Value, key: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    found[key].as_array().map(|values| values.iter().map(read).collect()).unwrap_or_default()
}

fn numbers(value: &Value, key: &str) -> Vec<i64> {
    list(value, key, |value| value.as_i64().unwrap_or_default())
}

fn number(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_default()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
