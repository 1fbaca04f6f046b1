//! `serve`, and `status --performance`.

use annals_operations::{DurationRow, DurationsView};
use serde::Serialize;

use crate::exit::ExitCode;

/// `annals serve`, as soon as it listens.
#[derive(Debug, Clone, Serialize)]
pub struct ServeDocument {
    /// `annals.serve/1`.
    pub format: &'static str,
    /// Where it listens: `http://127.0.0.1:8009`.
    pub url: String,
    /// Whether a bearer token is asked for.
    pub token: bool,
    /// The targets it looks at.
    pub targets: Vec<String>,
}

/// The slowest step of a run.
#[derive(Debug, Clone, Serialize)]
pub struct SlowestStep {
    /// `<version>_<name>`.
    pub migration: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// The last one of a kind.
#[derive(Debug, Clone, Serialize)]
pub struct LastMeasured {
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// When it was over.
    pub at: String,
    /// The event that says so.
    pub seq: u64,
    /// Of a run: its slowest step.
    pub slowest: Option<SlowestStep>,
}

/// One kind of thing, and how long it takes.
#[derive(Debug, Clone, Serialize)]
pub struct DurationDocument {
    /// `migration`, `rollback`, `backup` or `verification`.
    pub what: &'static str,
    /// How long it may take, in milliseconds; `null` where there is no limit.
    pub budget_ms: Option<u64>,
    /// Whether the last one was within it; `null` where there is no limit, or none.
    pub within_budget: Option<bool>,
    /// How many were measured.
    pub count: u64,
    /// How many came to their end and were not.
    pub not_measured: u64,
    /// The last one.
    pub last: Option<LastMeasured>,
    /// The one half of them are not slower than, in microseconds.
    pub p50_us: Option<u64>,
    /// The one of a hundred 95 are not slower than, in microseconds.
    pub p95_us: Option<u64>,
    /// The slowest, in microseconds.
    pub max_us: Option<u64>,
    /// How many took longer than they may.
    pub breaches: u64,
    /// When that last happened.
    pub last_breach_at: Option<String>,
}

impl From<&DurationRow> for DurationDocument {
    fn from(row: &DurationRow) -> Self {
        let judged = row.budget_ms.is_some() && row.last.is_some();
        Self {
            what: row.measure.as_str(),
            budget_ms: row.budget_ms,
            within_budget: judged.then(|| !row.is_breached()),
            count: row.count,
            not_measured: row.not_measured,
            last: row.last.as_ref().map(|last| LastMeasured {
                duration_us: last.us,
                at: last.at.to_string(),
                seq: last.seq.0,
                slowest: last.slowest.as_ref().map(|(migration, us)| SlowestStep {
                    migration: migration.clone(),
                    duration_us: *us,
                }),
            }),
            p50_us: row.p50_us,
            p95_us: row.p95_us,
            max_us: row.max_us,
            breaches: row.breaches,
            last_breach_at: row.last_breach.map(|at| at.to_string()),
        }
    }
}

/// `annals status --performance`.
#[derive(Debug, Clone, Serialize)]
pub struct DurationsDocument {
    /// `annals.durations/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Events in its log.
    pub log_size: u64,
    /// One for each kind.
    pub durations: Vec<DurationDocument>,
    /// 0; 11 if the last one of a kind took longer than it may.
    pub exit_code: u8,
}

impl From<&DurationsView> for DurationsDocument {
    fn from(view: &DurationsView) -> Self {
        let breached = view.rows.iter().any(DurationRow::is_breached);
        let code = if breached { ExitCode::Findings } else { ExitCode::Success };
        Self {
            format: "annals.durations/1",
            target: view.target.clone(),
            log_size: view.log_size,
            durations: view.rows.iter().map(DurationDocument::from).collect(),
            exit_code: code.code(),
        }
    }
}
