//! What `annals serve` answers: health, tables, performance.

use std::collections::BTreeMap;

use annals_events::CheckResults;
use annals_operations::{
    HealthView, IntegrityHealth, PerformanceView, Reason, Standing, TableState, TablesView,
};
use serde::Serialize;

/// Why something does not stand as it should.
#[derive(Debug, Clone, Serialize)]
pub struct ReasonDocument {
    /// What it is about.
    pub area: &'static str,
    /// `degraded` or `failing`.
    pub status: &'static str,
    /// What is so.
    pub reason: String,
    /// What to do next.
    pub next: Option<String>,
}

impl From<&Reason> for ReasonDocument {
    fn from(reason: &Reason) -> Self {
        Self {
            area: reason.area,
            status: reason.standing.as_str(),
            reason: reason.what.clone(),
            next: reason.next.clone(),
        }
    }
}

fn reasons(reasons: &[Reason]) -> Vec<ReasonDocument> {
    reasons.iter().map(ReasonDocument::from).collect()
}

/// Whether the program itself is there, or can answer.
#[derive(Debug, Clone, Serialize)]
pub struct LivenessDocument {
    /// `annals.live/1`, or `annals.ready/1`.
    pub format: &'static str,
    /// `ok` or `failing`.
    pub status: &'static str,
    /// Why.
    pub reasons: Vec<ReasonDocument>,
}

impl LivenessDocument {
    /// The program is there.
    pub const LIVE: Self =
        Self { format: "annals.live/1", status: Standing::Ok.as_str(), reasons: Vec::new() };

    /// Whether it can answer; `trouble` says why not.
    pub fn ready(trouble: Option<String>) -> Self {
        let (status, reason) = match trouble {
            None => (Standing::Ok, None),
            Some(reason) => (Standing::Failing, Some(reason)),
        };
        let reason = reason.map(|reason| ReasonDocument {
            area: "configuration",
            status: status.as_str(),
            reason,
            next: Some("correct annals.toml".to_owned()),
        });
        Self {
            format: "annals.ready/1",
            status: status.as_str(),
            reasons: reason.into_iter().collect(),
        }
    }
}

/// What was asked for is not to be had.
#[derive(Debug, Clone, Serialize)]
pub struct NotServedDocument {
    /// `annals.error/1`.
    pub format: &'static str,
    /// What is wrong.
    pub errors: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl NotServedDocument {
    /// An error and what to do next.
    pub fn new(error: impl Into<String>, hint: Option<String>) -> Self {
        Self { format: "annals.error/1", errors: vec![error.into()], hint }
    }
}

/// The database.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseHealthDocument {
    /// Whether it answered.
    pub reachable: bool,
    /// Its name.
    pub database: Option<String>,
    /// The server's version.
    pub server_version: Option<String>,
    /// It is a standby.
    pub standby: Option<bool>,
    /// It takes no writes.
    pub read_only: Option<bool>,
    /// How long login and ledger took, in microseconds.
    pub answered_us: Option<u64>,
}

/// The log.
#[derive(Debug, Clone, Serialize)]
pub struct LogHealthDocument {
    /// Whether there is one.
    pub exists: bool,
    /// Whether its signed head was verified.
    pub verified: bool,
    /// Events.
    pub events: u64,
    /// Bytes of its lines.
    pub bytes: u64,
    /// Leaf hash of the last event.
    pub head: Option<String>,
    /// Events the signed head vouches for.
    pub signed: u64,
    /// The newest events no anchor holds, as the log itself claims.
    pub unanchored: u64,
    /// When the last event was recorded.
    pub last_event_at: Option<String>,
    /// When it was read.
    pub read_at: String,
}

/// The newest usable backup.
#[derive(Debug, Clone, Serialize)]
pub struct LastBackupDocument {
    /// Its name.
    pub backup: String,
    /// What it holds.
    pub kind: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// When it was taken.
    pub at: String,
    /// How long ago, in seconds.
    pub age_s: u64,
}

/// When a backup was verified.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedBackupDocument {
    /// `sealed` or `restored`.
    pub depth: &'static str,
    /// When.
    pub at: String,
    /// How long ago, in seconds.
    pub age_s: u64,
}

/// A backup that could not be taken.
#[derive(Debug, Clone, Serialize)]
pub struct FailedBackupDocument {
    /// Why.
    pub reason: String,
    /// When.
    pub at: String,
}

/// Backups, as the log knows them: the files themselves are not looked at.
#[derive(Debug, Clone, Serialize)]
pub struct BackupHealthDocument {
    /// Those nothing is known against.
    pub usable: u64,
    /// Their bytes.
    pub usable_bytes: u64,
    /// The newest of them.
    pub last: Option<LastBackupDocument>,
    /// The last verification that passed.
    pub last_verified: Option<VerifiedBackupDocument>,
    /// The last one that could not be taken, if none was taken since.
    pub failed: Option<FailedBackupDocument>,
}

/// The newest drill of an emergency.
#[derive(Debug, Clone, Serialize)]
pub struct DrillHealthDocument {
    /// `passed`, `failed` or `not_checked`: the verification at its end.
    pub result: &'static str,
    /// `rollback`, or `backup`.
    pub way: &'static str,
    /// The backup it began from.
    pub backup: String,
    /// The version it led back to; none for nothing applied.
    pub to_version: Option<String>,
    /// Time of bringing the backup back, in microseconds.
    pub restore_us: u64,
    /// From there to the verified end, in microseconds.
    pub duration_us: u64,
    /// When.
    pub at: String,
    /// How long ago, in seconds.
    pub age_s: u64,
}

/// The last verification of the target.
#[derive(Debug, Clone, Serialize)]
pub struct IntegrityHealthDocument {
    /// `passed` or `failed`.
    pub result: &'static str,
    /// How much was looked at.
    pub level: &'static str,
    /// What was found.
    pub findings: u64,
    /// By family: `passed`, `failed` or `not_checked`.
    pub checks: BTreeMap<&'static str, &'static str>,
    /// When.
    pub at: String,
    /// How long ago, in seconds.
    pub age_s: u64,
}

impl IntegrityHealthDocument {
    fn new(integrity: &IntegrityHealth, age_s: u64) -> Self {
        Self {
            result: if integrity.passed { "passed" } else { "failed" },
            level: integrity.level.as_str(),
            findings: integrity.findings,
            checks: families(&integrity.checks),
            at: integrity.at.to_string(),
            age_s,
        }
    }
}

/// Each family of checks with its verdict, by name.
pub fn families(checks: &CheckResults) -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("constraints", checks.constraints.as_str()),
        ("data_consistency", checks.data_consistency.as_str()),
        ("history", checks.history.as_str()),
        ("indexes", checks.indexes.as_str()),
        ("permissions", checks.permissions.as_str()),
        ("table_structure", checks.table_structure.as_str()),
    ])
}

/// Migrations.
#[derive(Debug, Clone, Serialize)]
pub struct MigrationHealthDocument {
    /// Applied.
    pub applied: u64,
    /// Not applied, in order.
    pub pending: Vec<String>,
    /// Applied, and their file says something else now.
    pub changed: Vec<String>,
    /// Applied, and their file is gone.
    pub missing: Vec<String>,
    /// Not applied, although a later one is.
    pub out_of_order: Vec<String>,
    /// Stopped half-way.
    pub half_done: Vec<String>,
}

/// What was found to be other than expected.
#[derive(Debug, Clone, Serialize)]
pub struct DriftHealthDocument {
    /// Objects.
    pub objects: u64,
    /// When it was found.
    pub found_at: String,
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct RunHealthDocument {
    /// Its name.
    pub run: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// Who runs it.
    pub by: String,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// How it ended.
    pub outcome: Option<&'static str>,
}

/// `/health` and `/health/<target>`.
#[derive(Debug, Clone, Serialize)]
pub struct HealthDocument {
    /// `annals.health/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// `ok`, `degraded` or `failing`.
    pub status: &'static str,
    /// Why, worst first.
    pub reasons: Vec<ReasonDocument>,
    /// When it was looked at.
    pub checked_at: String,
    /// The database.
    pub database: DatabaseHealthDocument,
    /// The log; `null` where it could not be read: then the rest is not known either.
    pub log: Option<LogHealthDocument>,
    /// Backups.
    pub backups: Option<BackupHealthDocument>,
    /// The last verification.
    pub integrity: Option<IntegrityHealthDocument>,
    /// The newest drill of an emergency.
    pub drill: Option<DrillHealthDocument>,
    /// Migrations.
    pub migrations: Option<MigrationHealthDocument>,
    /// What was last recorded of drift; `null` where nothing is.
    pub drift: Option<DriftHealthDocument>,
    /// The run that has not ended.
    pub open_run: Option<RunHealthDocument>,
    /// Who is at work on the target.
    pub at_work: Option<String>,
    /// Steps whose outcome nobody knows.
    pub in_doubt: Vec<String>,
    /// The last run that ended.
    pub last_run: Option<RunHealthDocument>,
}

impl From<&HealthView> for HealthDocument {
    fn from(view: &HealthView) -> Self {
        let age_s = |at: annals_events::Timestamp| {
            u64::try_from((view.at.micros() - at.micros()) / 1_000_000).unwrap_or_default()
        };
        let database = view.database.as_ref();
        Self {
            format: "annals.health/1",
            target: view.target.clone(),
            status: view.standing.as_str(),
            reasons: reasons(&view.reasons),
            checked_at: view.at.to_string(),
            database: DatabaseHealthDocument {
                reachable: database.is_some(),
                database: database.map(|database| database.database.clone()),
                server_version: database.map(|database| database.version.clone()),
                standby: database.map(|database| database.standby),
                read_only: database.map(|database| database.read_only),
                answered_us: database.map(|database| database.answered_us),
            },
            log: view.log.as_ref().map(|log| LogHealthDocument {
                exists: log.exists,
                verified: log.verified,
                events: log.size,
                bytes: log.bytes,
                head: log.head.clone(),
                signed: log.signed,
                unanchored: log.unanchored,
                last_event_at: log.last_event_at.map(|at| at.to_string()),
                read_at: log.read_at.to_string(),
            }),
            backups: view.backups.as_ref().map(|backups| BackupHealthDocument {
                usable: backups.usable,
                usable_bytes: backups.usable_bytes,
                last: backups.last.as_ref().map(|(backup, kind, bytes, at)| LastBackupDocument {
                    backup: backup.clone(),
                    kind: kind.clone(),
                    bytes: *bytes,
                    at: at.to_string(),
                    age_s: age_s(*at),
                }),
                last_verified: backups.last_verified.map(|(depth, at)| VerifiedBackupDocument {
                    depth: depth.as_str(),
                    at: at.to_string(),
                    age_s: age_s(at),
                }),
                failed: backups.failed.as_ref().map(|(reason, at)| FailedBackupDocument {
                    reason: reason.clone(),
                    at: at.to_string(),
                }),
            }),
            drill: view.drill.as_ref().map(|(at, drill)| DrillHealthDocument {
                result: drill.result.as_str(),
                way: drill.way.as_str(),
                backup: drill.backup.to_string(),
                to_version: drill.to_version.as_ref().map(ToString::to_string),
                restore_us: drill.restore_us,
                duration_us: drill.duration_us,
                at: at.to_string(),
                age_s: age_s(*at),
            }),
            integrity: view
                .integrity
                .as_ref()
                .map(|integrity| IntegrityHealthDocument::new(integrity, age_s(integrity.at))),
            migrations: view.migrations.as_ref().map(|migrations| MigrationHealthDocument {
                applied: migrations.applied,
                pending: migrations.pending.clone(),
                changed: migrations.changed.clone(),
                missing: migrations.missing.clone(),
                out_of_order: migrations.out_of_order.clone(),
                half_done: migrations.half_done.clone(),
            }),
            drift: view
                .drift
                .map(|(objects, at)| DriftHealthDocument { objects, found_at: at.to_string() }),
            open_run: view.runs.open.as_ref().map(|run| RunHealthDocument {
                run: run.run.to_string(),
                direction: run.direction.as_str(),
                by: run.by.clone(),
                started_at: run.at.to_string(),
                finished_at: None,
                outcome: None,
            }),
            at_work: view.runs.at_work.clone(),
            in_doubt: view.runs.in_doubt.clone(),
            last_run: view.runs.last.as_ref().map(|run| RunHealthDocument {
                run: run.run.to_string(),
                direction: run.direction.as_str(),
                by: run.by.clone(),
                started_at: run.started_at.to_string(),
                finished_at: Some(run.finished_at.to_string()),
                outcome: Some(run.outcome.as_str()),
            }),
        }
    }
}

/// One table.
#[derive(Debug, Clone, Serialize)]
pub struct TableDocument {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Whether nobody has it locked against reading, or waits to.
    pub accessible: bool,
    /// Backends that have, or do.
    pub locked_by: Vec<i64>,
    /// Whether the role that asks may read it.
    pub readable: bool,
    /// Rows, as the planner estimates them; `null` where it was never analyzed.
    pub rows_about: Option<i64>,
    /// Dead rows, by the statistics.
    pub dead_rows_about: i64,
    /// Bytes with indexes, as of the last vacuum or analyze.
    pub bytes_about: i64,
    /// Row level security is on.
    pub rls: bool,
    /// For its owner too.
    pub rls_forced: bool,
    /// Its policies.
    pub policies: i64,
    /// Last vacuum.
    pub vacuumed_at: Option<String>,
    /// Last analyze.
    pub analyzed_at: Option<String>,
}

impl From<&TableState> for TableDocument {
    fn from(table: &TableState) -> Self {
        Self {
            schema: table.schema.clone(),
            name: table.name.clone(),
            kind: table.kind.clone(),
            accessible: table.locked_by.is_empty(),
            locked_by: table.locked_by.clone(),
            readable: table.readable,
            rows_about: table.rows,
            dead_rows_about: table.dead_rows,
            bytes_about: table.bytes,
            rls: table.rls,
            rls_forced: table.rls_forced,
            policies: table.policies,
            vacuumed_at: table.vacuumed_at.clone(),
            analyzed_at: table.analyzed_at.clone(),
        }
    }
}

/// `/health/<target>/tables` and `/health/<group>`.
#[derive(Debug, Clone, Serialize)]
pub struct TablesDocument {
    /// `annals.health_tables/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The group, where one was asked for.
    pub group: Option<String>,
    /// `ok`, `degraded` or `failing`.
    pub status: &'static str,
    /// Why, worst first.
    pub reasons: Vec<ReasonDocument>,
    /// When it was looked at.
    pub checked_at: String,
    /// How many there are.
    pub count: u64,
    /// Of a group: those that are not there.
    pub missing: Vec<String>,
    /// Tables, by schema and name; at most 2,000.
    pub tables: Vec<TableDocument>,
}

impl From<&TablesView> for TablesDocument {
    fn from(view: &TablesView) -> Self {
        Self {
            format: "annals.health_tables/1",
            target: view.target.clone(),
            group: view.group.clone(),
            status: view.standing.as_str(),
            reasons: reasons(&view.reasons),
            checked_at: view.at.to_string(),
            count: view.count,
            missing: view.missing.clone(),
            tables: view.tables.iter().map(TableDocument::from).collect(),
        }
    }
}

/// `/health/<target>/performance`.
#[derive(Debug, Clone, Serialize)]
pub struct PerformanceDocument {
    /// `annals.health_performance/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// `ok`, `degraded` or `failing`.
    pub status: &'static str,
    /// Why, worst first.
    pub reasons: Vec<ReasonDocument>,
    /// When it was looked at.
    pub checked_at: String,
    /// What goes on; `null` where the database did not answer.
    pub activity: Option<ActivityDocument>,
    /// How tables and indexes are used.
    pub storage: Option<StorageDocument>,
}

/// What goes on at a server.
#[derive(Debug, Clone, Serialize)]
pub struct ActivityDocument {
    /// Connections.
    pub connections: ConnectionsDocument,
    /// From which age on a query is long, in milliseconds.
    pub long_query_ms: u64,
    /// How many there are.
    pub long_count: i64,
    /// The longest, at most 20. Never what they say.
    pub long: Vec<LongQueryDocument>,
    /// Sessions that wait for a lock.
    pub lock_wait_count: i64,
    /// The longest, at most 20.
    pub lock_waits: Vec<LockWaitDocument>,
    /// Share of blocks found in memory, 0 to 1.
    pub cache_hit: Option<f64>,
    /// Deadlocks.
    pub deadlocks: i64,
    /// Since when these two are counted; `null` for ever.
    pub statistics_since: Option<String>,
    /// How far the oldest row that is not frozen is behind.
    pub wraparound: WraparoundDocument,
}

/// Connections.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionsDocument {
    /// Of clients, to any database of the server.
    pub used: i64,
    /// To this one.
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

/// A long query or transaction.
#[derive(Debug, Clone, Serialize)]
pub struct LongQueryDocument {
    /// Backend process id.
    pub pid: i64,
    /// Role.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// `active`, `idle in transaction`, …
    pub state: String,
    /// Seconds since its query began.
    pub query_s: Option<i64>,
    /// Seconds since its transaction began.
    pub transaction_s: Option<i64>,
    /// What it waits for.
    pub waits_for: Option<String>,
}

/// A session that waits for a lock.
#[derive(Debug, Clone, Serialize)]
pub struct LockWaitDocument {
    /// Backend process id.
    pub pid: i64,
    /// Role.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// What kind of lock.
    pub kind: String,
    /// The mode it wants.
    pub mode: String,
    /// The relation.
    pub relation: Option<String>,
    /// Seconds.
    pub waited_s: Option<i64>,
    /// Backends in its way.
    pub blocked_by: Vec<i64>,
}

/// Transaction ids that are used up.
#[derive(Debug, Clone, Serialize)]
pub struct WraparoundDocument {
    /// Transactions since the oldest row that is not frozen.
    pub xid_age: i64,
    /// The same of multixacts.
    pub multixact_age: i64,
    /// From which age on vacuums are forced.
    pub freeze_max_age: i64,
}

/// An index.
#[derive(Debug, Clone, Serialize)]
pub struct IndexDocument {
    /// Its name.
    pub index: String,
    /// Its table.
    pub table: String,
    /// Bytes, as of the last vacuum or analyze.
    pub bytes_about: i64,
}

/// A table with more pages than its rows need.
#[derive(Debug, Clone, Serialize)]
pub struct BloatDocument {
    /// The table.
    pub table: String,
    /// Its bytes.
    pub bytes_about: i64,
    /// Bytes its rows do not need: an estimate from the planner's statistics.
    pub wasted_bytes_about: i64,
}

/// How tables and indexes are used.
#[derive(Debug, Clone, Serialize)]
pub struct StorageDocument {
    /// Of tables over 1 MiB: share of scans that used an index, 0 to 1.
    pub index_scans: Option<f64>,
    /// Indexes over 1 MiB nobody uses; at most 20.
    pub unused_indexes: Vec<IndexDocument>,
    /// Indexes that are not valid; at most 20.
    pub invalid_indexes: Vec<IndexDocument>,
    /// Rows, by the statistics.
    pub live_rows_about: i64,
    /// Dead ones.
    pub dead_rows_about: i64,
    /// Tables over 1 MiB with waste; at most 20.
    pub bloat: Vec<BloatDocument>,
}

impl From<&PerformanceView> for PerformanceDocument {
    fn from(view: &PerformanceView) -> Self {
        let index = |index: &annals_postgres::IndexUse| IndexDocument {
            index: index.index.clone(),
            table: index.table.clone(),
            bytes_about: index.bytes,
        };
        let activity = view.activity.as_ref().map(|activity| ActivityDocument {
            connections: ConnectionsDocument {
                used: activity.connections.used,
                here: activity.connections.here,
                active: activity.connections.active,
                idle_in_transaction: activity.connections.idle_in_transaction,
                hidden: activity.connections.hidden,
                max: activity.connections.max,
                reserved: activity.connections.reserved,
            },
            long_query_ms: view.long_query_ms,
            long_count: activity.long_count,
            long: activity.long.iter().map(long_query).collect(),
            lock_wait_count: activity.wait_count,
            lock_waits: activity.waits.iter().map(lock_wait).collect(),
            cache_hit: activity.cache_hit,
            deadlocks: activity.deadlocks,
            statistics_since: activity.statistics_since.clone(),
            wraparound: WraparoundDocument {
                xid_age: activity.xid_age,
                multixact_age: activity.multixact_age,
                freeze_max_age: activity.freeze_max_age,
            },
        });
        let storage = view.storage.as_ref().map(|storage| StorageDocument {
            index_scans: storage.index_scans,
            unused_indexes: storage.unused.iter().map(index).collect(),
            invalid_indexes: storage.invalid.iter().map(index).collect(),
            live_rows_about: storage.live_rows,
            dead_rows_about: storage.dead_rows,
            bloat: storage
                .bloat
                .iter()
                .map(|bloat| BloatDocument {
                    table: bloat.table.clone(),
                    bytes_about: bloat.bytes,
                    wasted_bytes_about: bloat.wasted_bytes,
                })
                .collect(),
        });
        Self {
            format: "annals.health_performance/1",
            target: view.target.clone(),
            status: view.standing.as_str(),
            reasons: reasons(&view.reasons),
            checked_at: view.at.to_string(),
            activity,
            storage,
        }
    }
}

fn long_query(query: &annals_postgres::LongQuery) -> LongQueryDocument {
    LongQueryDocument {
        pid: query.pid,
        user: query.user.clone(),
        application: query.application.clone(),
        state: query.state.clone(),
        query_s: query.query_s,
        transaction_s: query.transaction_s,
        waits_for: query.waits_for.clone(),
    }
}

fn lock_wait(wait: &annals_postgres::LockWait) -> LockWaitDocument {
    LockWaitDocument {
        pid: wait.pid,
        user: wait.user.clone(),
        application: wait.application.clone(),
        kind: wait.kind.clone(),
        mode: wait.mode.clone(),
        relation: wait.relation.clone(),
        waited_s: wait.waited_s,
        blocked_by: wait.blocked_by.clone(),
    }
}
