//! `status`: files, log and ledger side by side.

use annals_events::{Direction, Timestamp};
use annals_executor::Interrupt;
use annals_integrity::{FileState, Finding, LedgerMismatch, compare_files};
use annals_migrations::MigrationSet;
use annals_projections::{History, RecoveryState};

use crate::environment::Environment;
use crate::error::Failure;
use crate::open::{self, Recovered, describe_holder};
use crate::targets::Target;
use crate::workspace::Workspace;

/// How a migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Applied; the file is the one that ran.
    Applied,
    /// Applied; the file differs in formatting only.
    Reformatted,
    /// Applied; the file now says something else.
    Changed,
    /// Applied; the file is gone.
    Missing,
    /// Not applied.
    Pending,
    /// Not applied, although a later one is.
    OutOfOrder,
    /// Outside a transaction: some of its statements took effect.
    HalfDone,
    /// Its outcome is not known yet.
    InDoubt,
}

/// One migration.
#[derive(Debug, Clone)]
pub struct StatusRow {
    /// `<version>`.
    pub version: String,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub condition: Condition,
    /// When it was applied.
    pub applied_at: Option<Timestamp>,
    /// Who applied it.
    pub applied_by: Option<String>,
}

/// What `status` shows.
#[derive(Debug)]
pub struct StatusView {
    /// The target.
    pub target: String,
    /// Where it is.
    pub address: String,
    /// The database.
    pub database: String,
    /// The server's version.
    pub server_version: String,
    /// Events in the log.
    pub log_size: u64,
    /// Every migration, in order.
    pub rows: Vec<StatusRow>,
    /// How ledger and log disagree.
    pub mismatches: Vec<Finding>,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
    /// Who is running something on the target right now.
    pub running: Option<String>,
}

/// Compares files, log and ledger. Settles an interrupted run if nobody is at it any more.
///
/// # Errors
///
/// When the files are not in order, the log is damaged, or the target cannot be reached.
pub async fn status(
    environment: &Environment,
    target: Option<&str>,
    interrupt: &mut Interrupt,
) -> Result<StatusView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let set = workspace.load()?;
    let target = Target::resolve(environment, &workspace, target)?;
    let mut look = open::look(environment, &workspace, &target, "annals/status").await?;
    let mut recovered = Vec::new();
    if look.book.recovery.open_run.is_some() && look.holder.is_none() {
        let mut opened =
            open::open(environment, &workspace, &target, "annals/status", interrupt).await?;
        recovered = std::mem::take(&mut opened.recovered);
        opened.close().await;
        // What was in doubt is settled: ledger and log anew.
        look = open::look(environment, &workspace, &target, "annals/status").await?;
    }
    let facts = look.session.facts().clone();
    look.session.close().await;
    let mut mismatches = look.book.mismatches(&look.ledger);
    let at_work = look.book.recovery.open_run.is_some() || !mismatches.is_empty();
    let running = look.holder.filter(|_| at_work).map(|holder| describe_holder(Some(&holder)));
    if running.is_some() {
        // What a run under way has committed is in the ledger before it is in the log.
        mismatches.retain(|mismatch| {
            !matches!(mismatch, LedgerMismatch::NotInLog(_) | LedgerMismatch::OlderLog { .. })
        });
    }
    Ok(StatusView {
        address: look.spec.address(),
        database: facts.identity.database.clone(),
        server_version: facts.short_version().to_owned(),
        log_size: look.book.size,
        rows: rows(&set, &look.book.history, &look.book.recovery),
        mismatches: mismatches.iter().map(LedgerMismatch::finding).collect(),
        recovered,
        running,
        target: target.name,
    })
}

fn rows(set: &MigrationSet, history: &History, recovery: &RecoveryState) -> Vec<StatusRow> {
    let statuses = compare_files(set, history);
    let rows = statuses.iter().map(|status| {
        let half = recovery.partial.contains_key(status.version);
        let doubt = recovery.open_step.as_ref().is_some_and(|s| s.version == *status.version);
        let condition = match status.state {
            _ if doubt => Condition::InDoubt,
            _ if half => Condition::HalfDone,
            FileState::Applied => Condition::Applied,
            FileState::Reformatted => Condition::Reformatted,
            FileState::Changed => Condition::Changed,
            FileState::Missing => Condition::Missing,
            FileState::Pending => Condition::Pending,
            FileState::OutOfOrder => Condition::OutOfOrder,
        };
        let applied = status.applied.filter(|change| change.direction == Direction::Up);
        StatusRow {
            version: status.version.to_string(),
            name: status.name.to_owned(),
            condition,
            applied_at: applied.map(|change| change.at),
            applied_by: applied.map(|change| change.by.clone()),
        }
    });
    let mut rows: Vec<StatusRow> = rows.collect();
    let listed = |version: &str| rows.iter().any(|row| row.version == version);
    let gone = recovery.partial.values().filter(|step| !listed(step.version.as_str()));
    let gone: Vec<StatusRow> = gone
        .map(|step| StatusRow {
            version: step.version.to_string(),
            name: step.name.clone(),
            condition: Condition::HalfDone,
            applied_at: None,
            applied_by: None,
        })
        .collect();
    rows.extend(gone);
    rows
}
