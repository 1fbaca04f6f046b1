//! `status --performance`: what was recorded, held against the limits of time.

use annals_events::Timestamp;
use annals_projections::{Durations, Measure, Measured, Projection};

use crate::environment::Environment;
use crate::error::Failure;
use crate::logs::ReadLog;
use crate::monitoring::Budgets;
use crate::targets::Target;
use crate::workspace::Workspace;

/// One kind of thing, and how long it takes.
#[derive(Debug, Clone)]
pub struct DurationRow {
    /// What.
    pub measure: Measure,
    /// How long it may take, in milliseconds; none where there is no limit.
    pub budget_ms: Option<u64>,
    /// How many were measured.
    pub count: u64,
    /// How many came to their end and were not.
    pub not_measured: u64,
    /// The last one.
    pub last: Option<Measured>,
    /// The one half of them are not slower than, in microseconds.
    pub p50_us: Option<u64>,
    /// The one of a hundred 95 are not slower than, in microseconds.
    pub p95_us: Option<u64>,
    /// The slowest, in microseconds.
    pub max_us: Option<u64>,
    /// How many took longer than they may.
    pub breaches: u64,
    /// When that last happened.
    pub last_breach: Option<Timestamp>,
}

impl DurationRow {
    /// Whether the last one took longer than it may.
    pub fn is_breached(&self) -> bool {
        self.last.as_ref().is_some_and(|last| exceeds(last.us, self.budget_ms))
    }
}

fn exceeds(us: u64, budget_ms: Option<u64>) -> bool {
    budget_ms.is_some_and(|budget| us > budget.saturating_mul(1_000))
}

/// How long things took on a target, as its log says.
#[derive(Debug)]
pub struct DurationsView {
    /// The target.
    pub target: String,
    /// Events in its log.
    pub log_size: u64,
    /// One row for each kind.
    pub rows: Vec<DurationRow>,
}

/// Reads how long things took on a target. The target itself is not asked.
///
/// # Errors
///
/// When the log is damaged or cannot be reached.
pub async fn durations(
    environment: &Environment,
    target: Option<&str>,
) -> Result<DurationsView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let (mut durations, mut log_size) = (Durations::default(), 0);
    if target.home().exists().await? {
        let log = ReadLog::of_target(&target)?;
        let read = log.read(&mut |recorded, _| durations.apply(recorded)).await?;
        read.check()?;
        log_size = read.scanned.chain.size();
    }
    let rows = rows(&durations, &workspace.config().monitoring.budgets);
    Ok(DurationsView { target: target.name, log_size, rows })
}

/// Each kind against its limit.
pub(crate) fn rows(durations: &Durations, budgets: &Budgets) -> Vec<DurationRow> {
    Measure::ALL.iter().map(|measure| row(durations, *measure, budgets.of(*measure))).collect()
}

fn row(durations: &Durations, measure: Measure, budget_ms: Option<u64>) -> DurationRow {
    let all = durations.of(measure);
    let mut sorted: Vec<u64> = all.iter().map(|measured| measured.us).collect();
    sorted.sort_unstable();
    let mut over = all.iter().filter(|measured| exceeds(measured.us, budget_ms));
    DurationRow {
        measure,
        budget_ms,
        count: all.len() as u64,
        not_measured: durations.not_measured(measure),
        last: all.last().cloned(),
        p50_us: quantile(&sorted, 50),
        p95_us: quantile(&sorted, 95),
        max_us: sorted.last().copied(),
        breaches: over.clone().count() as u64,
        last_breach: over.next_back().map(|measured| measured.at),
    }
}

/// By nearest rank: a value that was measured, never one between two.
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile(&[], 50), None);
        assert_eq!((quantile(&[7], 50), quantile(&[7], 95)), (Some(7), Some(7)));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&hundred, 50), quantile(&hundred, 95)), (Some(50), Some(95)));
        assert_eq!(quantile(&[1, 2, 3], 50), Some(2));
    }

    #[test]
    fn exactly_the_budget_is_within_it() {
        assert!(!exceeds(10_000_000, Some(10_000)));
        assert!(exceeds(10_000_001, Some(10_000)));
        assert!(!exceeds(u64::MAX, None));
    }
}
