//! Metrics as OpenMetrics 1.0 text.
//!
//! What is counted or put into histograms is folded from the log: it is the same after a restart.

use std::sync::atomic::AtomicU64;

use annals_api::families;
use annals_events::{CheckOutcome, Direction, RunOutcome, Timestamp};
use annals_operations::{Durations, Measure, Standing, TargetMetrics};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// What the text is, as OpenMetrics asks for.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;
type Times = Family<Labels, Histogram, fn() -> Histogram>;

/// Bounds of histograms in seconds: the default budgets, 10, 30 and 60, are among them.
const BOUNDS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

struct Gauges<'a>(&'a mut Registry);

impl Gauges<'_> {
    fn plain(&mut self, name: &str, help: &str) -> Family<Labels, Number> {
        let family = Family::<Labels, Number>::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn of(&mut self, name: &str, help: &str, unit: Unit) -> Family<Labels, Number> {
        let family = Family::<Labels, Number>::default();
        self.0.register_with_unit(name, help, unit, family.clone());
        family
    }

    fn counter(&mut self, name: &str, help: &str) -> Family<Labels, Counter> {
        let family = Family::<Labels, Counter>::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn times(&mut self, name: &str, help: &str) -> Times {
        let family: Times = Family::new_with_constructor(histogram as fn() -> Histogram);
        // The unit is in the name alone: there are readers that take none of a histogram.
        self.0.register(format!("{name}_seconds"), help, family.clone());
        family
    }
}

struct Metrics {
    up: Family<Labels, Number>,
    status: Family<Labels, Number>,
    log_readable: Family<Labels, Number>,
    applied: Family<Labels, Number>,
    pending: Family<Labels, Number>,
    altered: Family<Labels, Number>,
    steps: Family<Labels, Counter>,
    runs: Family<Labels, Counter>,
    run_times: Times,
    step_times: Times,
    backup_times: Times,
    verification_times: Times,
    budget: Family<Labels, Number>,
    last: Family<Labels, Number>,
    breaches: Family<Labels, Counter>,
    breached: Family<Labels, Number>,
    backups: Family<Labels, Number>,
    backup_age: Family<Labels, Number>,
    backup_size: Family<Labels, Number>,
    backup_verified_age: Family<Labels, Number>,
    backup_failed: Family<Labels, Number>,
    drill_age: Family<Labels, Number>,
    drill_time: Family<Labels, Number>,
    drill_passed: Family<Labels, Number>,
    integrity: Family<Labels, Number>,
    integrity_age: Family<Labels, Number>,
    integrity_findings: Family<Labels, Number>,
    drift: Family<Labels, Number>,
    events: Family<Labels, Number>,
    log_size: Family<Labels, Number>,
    unanchored: Family<Labels, Number>,
    unsigned: Family<Labels, Number>,
    in_doubt: Family<Labels, Number>,
    open_runs: Family<Labels, Number>,
    lock_waits: Family<Labels, Number>,
    long_queries: Family<Labels, Number>,
    connections: Family<Labels, Number>,
    max_connections: Family<Labels, Number>,
    xid_age: Family<Labels, Number>,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        let mut gauges = Gauges(registry);
        let (seconds, bytes) = (|| Unit::Seconds, || Unit::Bytes);
        Self {
            up: gauges.plain("up", "Whether the target answers"),
            status: gauges.plain("health_status", "1 for the status the target has"),
            log_readable: gauges.plain("log_readable", "Whether the log was read and verified"),
            applied: gauges.plain("migrations_applied", "Migrations that are applied"),
            pending: gauges.plain("migrations_pending", "Migrations that are not"),
            altered: gauges
                .plain("migrations_altered", "Applied migrations whose file changed or is gone"),
            steps: gauges.counter("steps", "Steps that were begun and ended, by outcome"),
            runs: gauges.counter("runs", "Runs that ended, by outcome"),
            run_times: gauges.times("run_duration", "How long runs took that succeeded"),
            step_times: gauges.times("step_duration", "How long steps took that took effect"),
            backup_times: gauges.times("backup_duration", "How long backups took"),
            verification_times: gauges
                .times("verification_duration", "How long verifications of the target took"),
            budget: gauges.of("duration_budget", "How long it may take", seconds()),
            last: gauges.of("duration_last", "How long the last one took", seconds()),
            breaches: gauges.counter("budget_breaches", "How many took longer than they may"),
            breached: gauges.plain("budget_breached", "Whether the last one took longer"),
            backups: gauges.plain("backups_usable", "Backups nothing is known against"),
            backup_age: gauges.of("backup_age", "Age of the newest usable backup", seconds()),
            backup_size: gauges.of("backup_size", "Size of the newest usable backup", bytes()),
            backup_verified_age: gauges.of(
                "backup_verified_age",
                "Time since a usable backup was verified and passed",
                seconds(),
            ),
            backup_failed: gauges
                .plain("backup_failed", "Whether the last backup could not be taken"),
            drill_age: gauges.of("drill_age", "Time since an emergency was rehearsed", seconds()),
            drill_time: gauges.of(
                "drill_recovery",
                "How long the rehearsed emergency took to its verified end",
                seconds(),
            ),
            drill_passed: gauges
                .plain("drill_passed", "Whether the rehearsed emergency ended verified"),
            integrity: gauges
                .plain("integrity_passed", "The last verdict of a family of checks that was made"),
            integrity_age: gauges.of(
                "integrity_age",
                "Time since the target was last verified",
                seconds(),
            ),
            integrity_findings: gauges
                .plain("integrity_findings", "What the last verification found"),
            drift: gauges.plain("drift_objects", "Objects last found not to be as expected"),
            events: gauges.plain("log_events", "Events in the log"),
            log_size: gauges.of("log_size", "Size of the log's lines", bytes()),
            unanchored: gauges
                .plain("log_unanchored_events", "Newest events no anchor holds, as the log claims"),
            unsigned: gauges
                .plain("log_unsigned_events", "Newest events the signed head does not vouch for"),
            in_doubt: gauges
                .plain("in_doubt_steps", "Steps whose outcome nobody knows and nobody is at"),
            open_runs: gauges.plain("open_runs", "Runs that have not ended"),
            lock_waits: gauges.plain("lock_waits", "Sessions of the target that wait for a lock"),
            long_queries: gauges.plain("long_queries", "Queries and transactions that are long"),
            connections: gauges.plain("connections_used", "Connections of clients to the server"),
            max_connections: gauges.plain("connections_max", "Connections the server allows"),
            xid_age: gauges
                .plain("transaction_id_age", "Transactions since the oldest row not frozen"),
        }
    }

    fn tell(&self, target: &TargetMetrics) {
        let (health, of) = (&target.health, Of(&target.health.target));
        of.set(&self.up, f64::from(u8::from(health.database.is_some())));
        for standing in [Standing::Ok, Standing::Degraded, Standing::Failing] {
            let is_it = f64::from(u8::from(health.standing == standing));
            of.and("status", standing.as_str()).set_in(&self.status, is_it);
        }
        of.set(&self.log_readable, f64::from(u8::from(health.log.is_some())));
        self.tell_log(target, of);
        if let Some(activity) = &target.activity {
            of.set(&self.lock_waits, whole(activity.wait_count));
            of.set(&self.long_queries, whole(activity.long_count));
            of.set(&self.connections, whole(activity.connections.used));
            of.set(&self.max_connections, whole(activity.connections.max));
            of.set(&self.xid_age, whole(activity.xid_age));
        }
    }

    fn tell_log(&self, target: &TargetMetrics, of: Of<'_>) {
        let health = &target.health;
        let age = |at: Timestamp| {
            let us = (health.at.micros() - at.micros()).max(0);
            seconds(u64::try_from(us).unwrap_or_default())
        };
        if let Some(log) = &health.log {
            of.set(&self.events, count(log.size));
            of.set(&self.log_size, count(log.bytes));
            of.set(&self.unanchored, count(log.unanchored));
            of.set(&self.unsigned, count(log.size.saturating_sub(log.signed)));
            of.set(&self.drift, count(health.drift.map_or(0, |(objects, _)| objects)));
            of.set(&self.in_doubt, count(health.runs.in_doubt.len() as u64));
            of.set(&self.open_runs, f64::from(u8::from(health.runs.open.is_some())));
        }
        if let Some(migrations) = &health.migrations {
            let altered = migrations.changed.len() + migrations.missing.len();
            of.set(&self.applied, count(migrations.applied));
            of.set(&self.pending, count(migrations.pending.len() as u64));
            of.set(&self.altered, count(altered as u64));
        }
        if let Some(backups) = &health.backups {
            of.set(&self.backups, count(backups.usable));
            of.set(&self.backup_failed, f64::from(u8::from(backups.failed.is_some())));
            if let Some((_, _, bytes, at)) = &backups.last {
                of.set(&self.backup_age, age(*at));
                of.set(&self.backup_size, count(*bytes));
            }
            if let Some((_, at)) = backups.last_verified {
                of.set(&self.backup_verified_age, age(at));
            }
        }
        if let Some((at, drill)) = &health.drill {
            of.set(&self.drill_age, age(*at));
            of.set(&self.drill_time, seconds(drill.duration_us));
            let passed = drill.result == CheckOutcome::Passed;
            of.set(&self.drill_passed, f64::from(u8::from(passed)));
        }
        if let Some(integrity) = &health.integrity {
            of.set(&self.integrity_age, age(integrity.at));
            of.set(&self.integrity_findings, count(integrity.findings));
            for (family, verdict) in families(&integrity.checks) {
                let passed = match verdict {
                    "passed" => 1.0,
                    "failed" => 0.0,
                    // No verdict without a check.
                    _ => continue,
                };
                of.and("family", family).set_in(&self.integrity, passed);
            }
        }
        if let Some(facts) = &health.facts {
            self.tell_durations(&facts.durations, of);
        }
        for row in &target.durations {
            let of = of.and("kind", row.measure.as_str());
            if let Some(budget_ms) = row.budget_ms {
                of.set_in(&self.budget, seconds(budget_ms * 1_000));
                of.count_in(&self.breaches, row.breaches);
                of.set_in(&self.breached, f64::from(u8::from(row.is_breached())));
            }
            if let Some(last) = &row.last {
                of.set_in(&self.last, seconds(last.us));
            }
        }
    }

    fn tell_durations(&self, durations: &Durations, of: Of<'_>) {
        for (direction, measure) in
            [(Direction::Up, Measure::Migration), (Direction::Down, Measure::Rollback)]
        {
            let of = of.and("direction", direction.as_str());
            for run in durations.of(measure) {
                of.observe_in(&self.run_times, run.us);
            }
            for us in durations.steps(direction) {
                of.observe_in(&self.step_times, *us);
            }
            let done = durations.steps(direction).len() as u64;
            of.and("outcome", "succeeded").count_in(&self.steps, done);
            let failed = durations.failed_steps(direction);
            of.and("outcome", "failed").count_in(&self.steps, failed);
        }
        // Nothing is there from the beginning: what appears with one has not grown.
        for direction in Direction::ALL {
            for outcome in RunOutcome::ALL {
                let n = durations.ends().get(&(*direction, *outcome)).copied().unwrap_or_default();
                let of = of.and("direction", direction.as_str()).and("outcome", outcome.as_str());
                of.count_in(&self.runs, n);
            }
        }
        for backup in durations.of(Measure::Backup) {
            of.observe(&self.backup_times, backup.us);
        }
        for verification in durations.of(Measure::Verification) {
            of.observe(&self.verification_times, verification.us);
        }
    }
}

/// The target something is told of.
#[derive(Clone, Copy)]
struct Of<'a>(&'a str);

/// The same, with more labels.
#[derive(Clone)]
struct With(Labels);

impl Of<'_> {
    fn labels(self) -> With {
        With(vec![("target", self.0.to_owned())])
    }

    fn and(self, name: &'static str, value: &str) -> With {
        self.labels().and(name, value)
    }

    fn set(self, family: &Family<Labels, Number>, value: f64) {
        self.labels().set_in(family, value);
    }

    fn observe(self, family: &Times, us: u64) {
        self.labels().observe_in(family, us);
    }
}

impl With {
    fn and(&self, name: &'static str, value: &str) -> Self {
        let mut labels = self.0.clone();
        labels.push((name, value.to_owned()));
        Self(labels)
    }

    fn set_in(&self, family: &Family<Labels, Number>, value: f64) {
        family.get_or_create(&self.0).set(value);
    }

    fn count_in(&self, family: &Family<Labels, Counter>, n: u64) {
        family.get_or_create(&self.0).inc_by(n);
    }

    fn observe_in(&self, family: &Times, us: u64) {
        family.get_or_create(&self.0).observe(seconds(us));
    }
}

/// Below 2^53 exactly, and nobody has more microseconds, bytes or events than that.
#[allow(clippy::cast_precision_loss, reason = "curves are drawn of it")]
fn count(n: u64) -> f64 {
    n as f64
}

#[allow(clippy::cast_precision_loss, reason = "curves are drawn of it")]
fn whole(n: i64) -> f64 {
    n as f64
}

fn seconds(us: u64) -> f64 {
    count(us) / 1_000_000.0
}

/// All that was measured, as text.
pub(crate) fn text(targets: &[TargetMetrics]) -> String {
    let mut registry = Registry::with_prefix("annals");
    let metrics = Metrics::new(&mut registry);
    for target in targets {
        metrics.tell(target);
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes all that is written to it");
    text
}
