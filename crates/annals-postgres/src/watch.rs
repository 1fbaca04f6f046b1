//! A second connection that looks at a backend while it works: does it live, what does it wait for,
//! who is in its way, how far is it.
//!
//! It changes nothing, sets nothing and reads no query text: that may hold values.

use std::time::Duration;

use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row, raw_sql};

use crate::connect::{ConnectError, ConnectionSpec};
use crate::fault::Fault;
use crate::session::SessionSettings;

/// The one question; the backend's process id follows.
const LOOK: &str = include_str!("watch.sql");

/// Watches one backend.
pub struct Watch {
    connection: PgConnection,
    pid: i32,
    /// When the backend began, as the server spells it: a process id comes back, this does not.
    began: Option<String>,
    patience: Duration,
}

/// What a look shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The backend is there, and still the same one.
    pub alive: bool,
    /// What it is doing: `active`, `idle`, `idle in transaction`, …
    pub state: Option<String>,
    /// For how long it has been doing that.
    pub state_age: Option<Duration>,
    /// What kind of thing it waits for, such as `Lock`.
    pub wait_event_type: Option<String>,
    /// What it waits for, such as `relation`.
    pub wait_event: Option<String>,
    /// Since when it is at its statement.
    pub query_age: Option<Duration>,
    /// Who stands in its way while it waits for a lock, longest transaction first.
    pub blockers: Vec<Blocker>,
    /// How far it is, where the server says so.
    pub progress: Option<BuildProgress>,
}

/// A session that stands in the way. What the role may not see of it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocker {
    /// Backend process id; 0 is a prepared transaction.
    pub pid: i32,
    /// Role.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// What it is doing.
    pub state: Option<String>,
    /// Seconds since its last statement began.
    pub query_age_s: Option<i64>,
    /// Seconds since its transaction began.
    pub transaction_age_s: Option<i64>,
}

/// How far a long statement is. A total of 0 is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildProgress {
    /// Such as `CREATE INDEX CONCURRENTLY`.
    pub command: String,
    /// The server's word for what it does now.
    pub phase: String,
    /// The table.
    pub relation: Option<String>,
    /// Blocks read.
    pub blocks_done: u64,
    /// Blocks there are.
    pub blocks_total: u64,
    /// Rows done.
    pub tuples_done: u64,
    /// Rows there are.
    pub tuples_total: u64,
    /// Bytes read, of `COPY`.
    pub bytes_done: u64,
    /// Bytes there are, of `COPY`.
    pub bytes_total: u64,
    /// Partitions done.
    pub partitions_done: u64,
    /// Partitions there are.
    pub partitions_total: u64,
    /// Sessions that have been waited for.
    pub lockers_done: u64,
    /// Sessions to wait for.
    pub lockers_total: u64,
}

impl Watch {
    /// Opens a connection of its own, as `application`, to watch backend `pid`.
    ///
    /// # Errors
    ///
    /// As [`ConnectionSpec::connect`].
    pub async fn start(
        spec: &ConnectionSpec,
        settings: &SessionSettings,
        application: &str,
        pid: i32,
    ) -> Result<Self, ConnectError> {
        let connection = spec.open(application).await?;
        let patience = Duration::from_millis(settings.silence_ms.max(1));
        Ok(Self { connection, pid, began: None, patience })
    }

    /// Looks once.
    ///
    /// # Errors
    ///
    /// [`Fault::Connection`] when there is no answer within the silence the settings allow.
    pub async fn look(&mut self) -> Result<Observed, Fault> {
        let sql = format!("{LOOK} {}", self.pid);
        let answer = raw_sql(AssertSqlSafe(sql)).fetch_one(&mut self.connection);
        let Ok(answer) = tokio::time::timeout(self.patience, answer).await else {
            let reason = format!("no answer within {} ms", self.patience.as_millis());
            return Err(Fault::Connection(reason));
        };
        let row = answer?;
        let began: Option<String> = row.try_get("began")?;
        if self.began.is_none() {
            self.began.clone_from(&began);
        }
        let alive: bool = row.try_get("alive")?;
        if !alive || self.began != began {
            return Ok(Observed::default());
        }
        let age = |column| -> Result<Option<Duration>, Fault> {
            let ms: Option<i64> = row.try_get(column)?;
            // Its clock may say that the next thing has begun already.
            Ok(ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
        };
        let json = |column| -> Result<Value, Fault> {
            let text: Option<String> = row.try_get(column)?;
            let text = text.unwrap_or_else(|| "null".to_owned());
            serde_json::from_str(&text).map_err(|error| Fault::Protocol(error.to_string()))
        };
        let blockers = json("blockers")?;
        let blockers = blockers.as_array().into_iter().flatten().map(blocker).collect();
        let progress = json("progress")?;
        Ok(Observed {
            alive,
            state: row.try_get("state")?,
            state_age: age("state_age_ms")?,
            wait_event_type: row.try_get("wait_event_type")?,
            wait_event: row.try_get("wait_event")?,
            query_age: age("query_age_ms")?,
            blockers,
            progress: (!progress.is_null()).then(|| build_progress(&progress)),
        })
    }

    /// Asks one thing more; without an answer in time as [`Self::look`] says.
    pub(crate) async fn ask(&mut self, sql: String) -> Result<Vec<PgRow>, Fault> {
        let answer = raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.connection);
        match tokio::time::timeout(self.patience, answer).await {
            Ok(rows) => Ok(rows?),
            Err(_) => {
                let reason = format!("no answer within {} ms", self.patience.as_millis());
                Err(Fault::Connection(reason))
            }
        }
    }

    /// The backend it watches.
    pub fn backend(&self) -> i32 {
        self.pid
    }

    /// Ends the backend if it is still the same one and rests: nobody can reach it any more, and what
    /// it holds would be held until the server notices that.
    pub(crate) async fn end_idle(&mut self) {
        let Some(began) = &self.began else { return };
        let sql = "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
            WHERE a.pid = $1 AND a.backend_start::text = $2 AND a.state LIKE 'idle%'";
        let ended = sqlx::query(sql).bind(self.pid).bind(began).execute(&mut self.connection);
        let _ = tokio::time::timeout(self.patience, ended).await;
    }

    /// Says goodbye.
    pub async fn close(self) {
        let _ = tokio::time::timeout(self.patience, self.connection.close()).await;
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

fn blocker(value: &Value) -> Blocker {
    Blocker {
        pid: value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default(),
        user: text(value, "user").unwrap_or_default(),
        application: text(value, "application").unwrap_or_default(),
        state: text(value, "state"),
        query_age_s: value["query_age_s"].as_i64(),
        transaction_age_s: value["transaction_age_s"].as_i64(),
    }
}

fn build_progress(value: &Value) -> BuildProgress {
    let count = |key: &str| value[key].as_u64().unwrap_or_default();
    BuildProgress {
        command: text(value, "command").unwrap_or_default(),
        phase: text(value, "phase").unwrap_or_default(),
        relation: text(value, "relation"),
        blocks_done: count("blocks_done"),
        blocks_total: count("blocks_total"),
        tuples_done: count("tuples_done"),
        tuples_total: count("tuples_total"),
        bytes_done: count("bytes_done"),
        bytes_total: count("bytes_total"),
        partitions_done: count("partitions_done"),
        partitions_total: count("partitions_total"),
        lockers_done: count("lockers_done"),
        lockers_total: count("lockers_total"),
    }
}
