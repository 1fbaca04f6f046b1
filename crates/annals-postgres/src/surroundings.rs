//! What stands around the tables a run touches: who could keep it waiting, and what its changes set
//! off. One query, read-only, of the catalog and the statistics of sessions.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::Row;

use crate::fault::Fault;
use crate::session::Session;

/// A transaction that has been open for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongTransaction {
    /// Backend process id.
    pub pid: i32,
    /// Role.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// As `pg_stat_activity` says it.
    pub state: String,
    /// Seconds since it began.
    pub age_s: i64,
    /// The touched relations it has locks on.
    pub holds: Vec<String>,
}

/// A prepared transaction of this database: it keeps its locks until somebody ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedTransaction {
    /// Its name.
    pub name: String,
    /// Role.
    pub owner: String,
    /// Seconds since it was prepared.
    pub age_s: i64,
    /// The touched relations it has locks on.
    pub holds: Vec<String>,
}

/// An event trigger that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTrigger {
    /// Its name.
    pub name: String,
    /// Such as `ddl_command_end`.
    pub event: String,
    /// What it calls.
    pub function: String,
    /// Role.
    pub owner: String,
}

/// A publication that has touched tables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// `FOR ALL TABLES`: new ones too.
    pub all_tables: bool,
    /// The touched tables in it.
    pub tables: Vec<String>,
}

/// A slot of logical replication of this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationSlot {
    /// Its name.
    pub name: String,
    /// Whether somebody reads from it.
    pub active: bool,
    /// Bytes of WAL it has not confirmed.
    pub lag_bytes: Option<i64>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Open for longer than asked for, oldest first.
    pub transactions: Vec<LongTransaction>,
    /// Sessions with locks on touched relations whose age this role may not see.
    pub hidden: i64,
    /// Prepared transactions, oldest first.
    pub prepared: Vec<PreparedTransaction>,
    /// Event triggers that fire, by name.
    pub event_triggers: Vec<EventTrigger>,
    /// Publications with touched tables, by name.
    pub publications: Vec<Publication>,
    /// Where there are such publications: the slots, by name.
    pub slots: Vec<ReplicationSlot>,
}

/// The relations with their partitions, children and tables of indexes.
const TOUCHED: &str = "WITH RECURSIVE named AS (
    SELECT DISTINCT coalesce(i.indrelid, c.oid) AS oid
      FROM pg_catalog.unnest($1::text[]) AS n (name)
      JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n.name)
      LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
), touched AS (
    SELECT oid FROM named
    UNION
    SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN touched t ON h.inhparent = t.oid
), held AS (
    SELECT l.pid, l.virtualtransaction, l.relation::pg_catalog.regclass::text AS relation
      FROM pg_catalog.pg_locks l JOIN touched t ON t.oid = l.relation
     WHERE l.locktype = 'relation' AND l.granted
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
)";

const TRANSACTIONS: &str =
    "SELECT jsonb_build_object('pid', a.pid, 'user', coalesce(a.usename, ''),
    'application', coalesce(a.application_name, ''), 'state', coalesce(a.state, ''),
    'age_s', extract(epoch FROM clock_timestamp() - a.xact_start)::int8,
    'holds', coalesce((SELECT jsonb_agg(DISTINCT h.relation) FROM held h WHERE h.pid = a.pid),
                      '[]')) AS value
  FROM pg_catalog.pg_stat_activity a
 WHERE a.pid <> pg_backend_pid() AND a.datname = current_database()
   AND a.backend_type <> 'autovacuum worker'
   AND a.xact_start < clock_timestamp() - $2::int8 * interval '1 millisecond'
 ORDER BY a.xact_start LIMIT 20";

const HIDDEN: &str = "SELECT count(DISTINCT h.pid) FROM held h
  JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid
 WHERE h.pid <> pg_backend_pid() AND a.xact_start IS NULL AND a.state IS NULL";

const PREPARED: &str = "SELECT jsonb_build_object('name', p.gid, 'owner', p.owner,
    'age_s', extract(epoch FROM clock_timestamp() - p.prepared)::int8,
    'holds', coalesce((SELECT jsonb_agg(DISTINCT h.relation) FROM held h
                        WHERE h.pid IS NULL AND h.virtualtransaction IN (
                              SELECT l.virtualtransaction FROM pg_catalog.pg_locks l
                               WHERE l.locktype = 'transactionid' AND l.pid IS NULL
                                 AND l.transactionid = p.transaction)), '[]')) AS value
  FROM pg_catalog.pg_prepared_xacts p WHERE p.database = current_database()
 ORDER BY p.prepared LIMIT 20";

const EVENT_TRIGGERS: &str = "SELECT jsonb_build_object('name', e.evtname, 'event', e.evtevent,
    'function', e.evtfoid::pg_catalog.regproc::text, 'owner', r.rolname) AS value
  FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_roles r ON r.oid = e.evtowner
 WHERE e.evtenabled NOT IN ('D', 'R')
   AND e.evtfoid::pg_catalog.regproc::text NOT LIKE 'annals.%' ORDER BY e.evtname";

/// Slots of this database, where a publication is concerned at all.
const SLOTS: &str = "SELECT jsonb_build_object('name', s.slot_name, 'active', s.active,
    'lag_bytes', pg_catalog.pg_wal_lsn_diff(
        CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
             ELSE pg_catalog.pg_current_wal_lsn() END, s.confirmed_flush_lsn)::int8) AS value
  FROM pg_catalog.pg_replication_slots s
 WHERE s.slot_type = 'logical' AND s.database = current_database() ORDER BY s.slot_name";

/// Since 15 a publication may hold whole schemas.
const PUBLISHES_SCHEMAS: u32 = 15;

fn publications(major: u32) -> String {
    let by_schema = match major {
        PUBLISHES_SCHEMAS.. => {
            "OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace n \
             WHERE n.pnpubid = p.oid AND n.pnnspid = c.relnamespace)"
        }
        _ => "",
    };
    // A partition is published with its parents.
    format!(
        "SELECT jsonb_build_object('name', p.pubname, 'all_tables', p.puballtables,
    'tables', coalesce(jsonb_agg(DISTINCT c.oid::pg_catalog.regclass::text)
                       FILTER (WHERE c.oid IS NOT NULL), '[]')) AS value
  FROM pg_catalog.pg_publication p
  LEFT JOIN (SELECT k.oid, k.relnamespace FROM touched t
               JOIN pg_catalog.pg_class k ON k.oid = t.oid AND k.relkind IN ('r', 'p')) c
    ON p.puballtables {by_schema}
    OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid
       AND (r.prrelid = c.oid OR r.prrelid IN
            (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(c.oid) AS a (relid))))
 WHERE p.puballtables OR c.oid IS NOT NULL
 GROUP BY p.oid, p.pubname, p.puballtables ORDER BY p.pubname"
    )
}

/// Looks at what stands around `relations`, names as statements spell them. A transaction counts as
/// long from `long_ms` on.
///
/// # Errors
///
/// When the server does not answer.
pub async fn read_surroundings(
    session: &mut Session,
    relations: &BTreeSet<String>,
    long_ms: u64,
) -> Result<Surroundings, Fault> {
    let all = |query: &str| format!("(SELECT coalesce(jsonb_agg(q.value), '[]') FROM ({query}) q)");
    let query = format!(
        "{TOUCHED} SELECT jsonb_build_object('transactions', {}, 'hidden', ({HIDDEN}), \
         'prepared', {}, 'event_triggers', {}, 'publications', {}, 'slots', {})::text AS found",
        all(TRANSACTIONS),
        all(PREPARED),
        all(EVENT_TRIGGERS),
        all(&publications(session.facts().major())),
        all(SLOTS)
    );
    let names: Vec<String> = relations.iter().cloned().collect();
    let long_ms = i64::try_from(long_ms).unwrap_or(i64::MAX);
    let row = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(names)
        .bind(long_ms)
        .fetch_one(session.connection())
        .await?;
    let found: String = row.try_get("found")?;
    let found = serde_json::from_str(&found).map_err(|e| Fault::Protocol(e.to_string()))?;
    Ok(Surroundings::of(&found))
}

impl Surroundings {
    fn of(found: &Value) -> Self {
        let publications = list(found, "publications", |value| Publication {
            name: text(value, "name"),
            all_tables: value["all_tables"].as_bool().unwrap_or_default(),
            tables: texts(value, "tables"),
        });
        let slots = list(found, "slots", |value| ReplicationSlot {
            name: text(value, "name"),
            active: value["active"].as_bool().unwrap_or_default(),
            lag_bytes: value["lag_bytes"].as_i64(),
        });
        Self {
            transactions: list(found, "transactions", |value| LongTransaction {
                pid: value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0),
                user: text(value, "user"),
                application: text(value, "application"),
                state: text(value, "state"),
                age_s: value["age_s"].as_i64().unwrap_or_default(),
                holds: texts(value, "holds"),
            }),
            hidden: found["hidden"].as_i64().unwrap_or_default(),
            prepared: list(found, "prepared", |value| PreparedTransaction {
                name: text(value, "name"),
                owner: text(value, "owner"),
                age_s: value["age_s"].as_i64().unwrap_or_default(),
                holds: texts(value, "holds"),
            }),
            event_triggers: list(found, "event_triggers", |value| EventTrigger {
                name: text(value, "name"),
                event: text(value, "event"),
                function: text(value, "function"),
                owner: text(value, "owner"),
            }),
            slots: if publications.is_empty() { Vec::new() } else { slots },
            publications,
        }
    }
}

fn list<T>(found: &Value, key: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    found[key].as_array().map(|values| values.iter().map(read).collect()).unwrap_or_default()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    list(value, key, |value| value.as_str().unwrap_or_default().to_owned())
}
