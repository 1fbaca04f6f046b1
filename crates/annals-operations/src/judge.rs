//! What makes a target, its tables or its work degraded or failing: pure, from what was seen.

use annals_postgres::{Activity, Storage, TableState};

use crate::health::{HealthView, Reason};
use crate::monitoring::Monitoring;

/// From which share of the connections on there are few left, in percent.
const FEW_LEFT_PERCENT: i64 = 90;

/// The age from which on nobody may rely on autovacuum to come in time: half of all there is.
const OLD_XID: i64 = 1_000_000_000;

/// The age at which the server is about to stop taking writes: it does at 2,147,483,647 less
/// 3,000,000 (since 14; 1,000,000 before).
const OLDEST_XID: i64 = 2_000_000_000;

/// Names, the first few of them.
fn names(all: &[String]) -> String {
    let shown: Vec<&str> = all.iter().take(3).map(String::as_str).collect();
    match all.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn are(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what} is") } else { format!("{n} {what}s are") }
}

/// What a limit in milliseconds is in words.
fn limit(ms: u64) -> String {
    match ms {
        ms if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

/// What a target's migrations, runs, backups and checks come to.
pub(crate) fn reasons(view: &HealthView, settings: &Monitoring, wants_backup: bool) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(log) = &view.log
        && log.exists
        && !log.verified
    {
        let what = "its links hold, and no signature was verified: keys/log.pub is not here";
        reasons.push(Reason::degraded("log", what).next("fetch keys/log.pub"));
    }
    runs(view, &mut reasons);
    migrations(view, &mut reasons);
    if let Some((objects, at)) = view.drift {
        let what = format!("{} not as expected, found at {}", are_objects(objects), at.to_human());
        reasons.push(Reason::degraded("drift", what).next("look with: annals drift"));
    }
    let age_ms = |at: annals_events::Timestamp| {
        u64::try_from((view.at.micros() - at.micros()) / 1_000).unwrap_or_default()
    };
    if let Some(integrity) = &view.integrity {
        if !integrity.passed {
            let what = format!(
                "the last verification, at {}, failed with {} findings",
                integrity.at.to_human(),
                integrity.findings
            );
            reasons.push(Reason::degraded("integrity", what).next("look with: annals verify"));
        }
        let max = settings.max_integrity_age_ms;
        if max > 0 && age_ms(integrity.at) > max {
            let what = format!(
                "the last verification is of {}, more than {} ago",
                integrity.at.to_human(),
                limit(max)
            );
            reasons.push(Reason::degraded("integrity", what).next("annals verify"));
        }
    } else if settings.max_integrity_age_ms > 0 && view.log.is_some() {
        let reason = Reason::degraded("integrity", "it was never verified");
        reasons.push(reason.next("annals verify"));
    }
    let Some(backups) = &view.backups else { return reasons };
    if let Some((why, at)) = &backups.failed {
        let what = format!("the last backup, at {}, could not be taken: {why}", at.to_human());
        reasons.push(Reason::degraded("backups", what).next("annals backup"));
    }
    let max = settings.max_backup_age_ms;
    match &backups.last {
        Some((.., at)) if max > 0 && age_ms(*at) > max => {
            let what =
                format!("the last one is of {}, more than {} ago", at.to_human(), limit(max));
            reasons.push(Reason::degraded("backups", what).next("annals backup"));
        }
        None if max > 0 || (wants_backup && view.log.as_ref().is_some_and(|log| log.size > 0)) => {
            reasons.push(Reason::degraded("backups", "there is none").next("annals backup"));
        }
        _ => {}
    }
    reasons
}

fn are_objects(n: u64) -> String {
    if n == 1 { "1 object is".to_owned() } else { format!("{n} objects are") }
}

fn runs(view: &HealthView, reasons: &mut Vec<Reason>) {
    let Some(run) = view.runs.open.as_ref().filter(|_| view.runs.at_work.is_none()) else { return };
    // Without an answer of the database nobody knows who holds the lock.
    if view.database.is_none() {
        let what = format!("a run by {} of {} has not ended", run.by, run.at.to_human());
        reasons.push(Reason::degraded("runs", what));
        return;
    }
    let doubt = match view.runs.in_doubt.as_slice() {
        [] => "it was between two steps".to_owned(),
        steps => format!("{} in doubt", names(steps)),
    };
    let what = format!("a run by {} of {} was cut short: {doubt}", run.by, run.at.to_human());
    reasons.push(Reason::degraded("runs", what).next("settle it with: annals status"));
}

fn migrations(view: &HealthView, reasons: &mut Vec<Reason>) {
    let Some(migrations) = &view.migrations else { return };
    let mut told = |all: &[String], what: &str, next: &str| {
        if !all.is_empty() {
            let what = format!("{} {what}: {}", are(all.len(), "migration"), names(all));
            reasons.push(Reason::degraded("migrations", what).next(next));
        }
    };
    told(&migrations.half_done, "half done", "the same command continues it: annals migrate");
    told(&migrations.changed, "applied, and the file says something else now", "annals status");
    told(&migrations.missing, "applied, and the file is gone", "annals status");
    told(&migrations.pending, "pending", "annals plan, then annals migrate");
}

/// What tables come to. Those that are missing were asked for by name.
pub(crate) fn tables(tables: &[TableState], missing: &[String]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if !missing.is_empty() {
        let what = format!("{} not there: {}", are(missing.len(), "table"), names(missing));
        reasons.push(Reason::failing("tables", what).next("annals status, annals drift"));
    }
    let locked: Vec<String> = tables
        .iter()
        .filter(|table| !table.locked_by.is_empty())
        .map(|table| {
            let by: Vec<String> = table.locked_by.iter().map(ToString::to_string).collect();
            format!("{}.{} (backend {})", table.schema, table.name, by.join(", "))
        })
        .collect();
    if !locked.is_empty() {
        let what =
            format!("{} locked against reading: {}", are(locked.len(), "table"), names(&locked));
        reasons.push(Reason::degraded("tables", what).next("annals locks"));
    }
    reasons
}

/// What goes on at a server, and what its tables and indexes come to.
pub(crate) fn performance(
    activity: &Activity,
    storage: &Storage,
    long_query_ms: u64,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut degraded = |area, what: String| reasons.push(Reason::degraded(area, what));
    let connections = &activity.connections;
    let free_for_all = (connections.max - connections.reserved).max(1);
    if connections.used * 100 >= free_for_all * FEW_LEFT_PERCENT {
        let what = format!("{} of {free_for_all} are used", connections.used);
        degraded("connections", what);
    }
    if activity.long_count > 0 {
        let (n, limit) = (activity.long_count, limit(long_query_ms));
        degraded("queries", format!("{n} last longer than {limit}"));
    }
    if activity.wait_count > 0 {
        degraded("locks", format!("{} sessions wait for one", activity.wait_count));
    }
    if !storage.invalid.is_empty() {
        let invalid: Vec<String> = storage.invalid.iter().map(|i| i.index.clone()).collect();
        let what = format!(
            "{} not valid: {}",
            if invalid.len() == 1 { "1 is" } else { "some are" },
            names(&invalid)
        );
        degraded("indexes", what);
    }
    let age = activity.xid_age.max(activity.multixact_age);
    let what = format!("the oldest row that is not frozen is {age} transactions old");
    let next = "vacuum the oldest tables: SELECT relname, age(relfrozenxid) FROM pg_class \
                ORDER BY 2 DESC";
    match age {
        OLDEST_XID.. => reasons.push(Reason::failing("wraparound", what).next(next)),
        OLD_XID.. => reasons.push(Reason::degraded("wraparound", what).next(next)),
        _ => {}
    }
    reasons
}
