//! `status`: files, log and ledger side by side.

use annals_approvals::BrokenGlass;
use annals_events::{Direction, StepMode, Timestamp, Version};
use annals_executor::Interrupt;
use annals_integrity::{FileState, Finding, LedgerMismatch, compare_files, count_half_done};
use annals_migrations::MigrationSet;
use annals_postgres::BackfillProgress;
use annals_projections::{DriftSummary, History, OpenStep, RecoveryState};

use crate::book::Book;
use crate::config::ProofDemand;
use crate::diverged;
use crate::environment::Environment;
use crate::error::Failure;
use crate::open::{self, Recovered, describe_holder};
use crate::proven::{self, ProofState};
use crate::scratch;
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
    /// How far the backfill is that it is half-way in.
    pub backfill: Option<BackfillProgress>,
    /// How its rehearsal stands, where it is pending and the target asks.
    pub proof: Option<ProofState>,
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
    /// What the log knows to be other than expected in the schema.
    pub drift: Option<DriftSummary>,
    /// Runs that went without a safeguard and that nobody else has looked at.
    pub unreviewed: Vec<BrokenGlass>,
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
    // The files are read while the log is.
    let files = workspace.load_apart();
    let looked = async {
        let target = Target::resolve(environment, &workspace, target)?;
        let look = open::look(environment, &workspace, &target, "annals/status").await?;
        Ok::<_, Failure>((target, look))
    };
    let looked = looked.await;
    // What is wrong with the files is said first, whatever else is.
    let set = files.wait()?;
    let (target, mut look) = looked?;
    let mut recovered = Vec::new();
    // A standby may be behind, and the lock of a run that works is not there.
    let may_settle = !look.session.facts().in_recovery;
    if look.book.recovery.open_run.is_some() && look.holder.is_none() && may_settle {
        let mut opened =
            open::open(environment, &workspace, &target, "annals/status", interrupt).await?;
        recovered = std::mem::take(&mut opened.recovered);
        opened.close().await;
        // What was in doubt is settled: ledger and log anew.
        look = open::look(environment, &workspace, &target, "annals/status").await?;
    }
    if may_settle {
        scratch::sweep_behind(&mut look.session, &workspace, &target, &look.spec).await;
    }
    let facts = look.session.facts().clone();
    let backfills = match steps_outside(&look.book.recovery).next() {
        Some(_) => look.session.read_backfills(&workspace.config().workspace).await,
        None => Ok(Vec::new()),
    };
    let backfills = backfills?;
    let mut mismatches = look.book.mismatches(&look.ledger);
    let at_work = look.book.recovery.open_run.is_some() || !mismatches.is_empty();
    let running = look.holder.filter(|_| at_work).map(|holder| describe_holder(Some(&holder)));
    if running.is_some() {
        // What a run under way has committed is in the ledger before it is in the log.
        mismatches.retain(|mismatch| {
            !matches!(mismatch, LedgerMismatch::NotInLog(_) | LedgerMismatch::OlderLog { .. })
        });
    }
    let proofs = pending_proofs(&workspace, &target, &set, &look.book, facts.major());
    let findings = diverged::findings(&mut look.session, &target, &look.book, &mismatches).await?;
    look.session.close().await;
    Ok(StatusView {
        address: look.spec.address(),
        database: facts.identity.database.clone(),
        server_version: facts.short_version().to_owned(),
        log_size: look.book.size,
        rows: with_proofs(
            with_backfills(
                rows(&set, &look.book.history, &look.book.recovery),
                backfills,
                &look.book.recovery,
            ),
            &proofs,
        ),
        mismatches: findings,
        recovered,
        running,
        drift: look.book.recovery.drift,
        unreviewed: look.book.register.unreviewed().cloned().collect(),
        target: target.name,
    })
}

/// How the rehearsals of what is pending stand; nothing of a target that does not ask.
fn pending_proofs(
    workspace: &Workspace,
    target: &Target,
    set: &MigrationSet,
    book: &Book,
    server_major: u32,
) -> Vec<(String, ProofState)> {
    let policy = proven::policy(workspace, target);
    if policy.demand == ProofDemand::Off {
        return Vec::new();
    }
    let pending = set.iter().filter(|next| !book.history.is_applied(&next.version));
    proven::states(pending, &book.proofs, &policy, Some(server_major))
}

fn with_proofs(mut rows: Vec<StatusRow>, proofs: &[(String, ProofState)]) -> Vec<StatusRow> {
    for row in &mut rows {
        let id = format!("{}_{}", row.version, row.name);
        row.proof = proofs.iter().find(|(of, _)| *of == id).map(|(_, state)| *state);
    }
    rows
}

/// Steps outside a transaction that are under way or half done.
fn steps_outside(recovery: &RecoveryState) -> impl Iterator<Item = &OpenStep> {
    let steps = recovery.open_steps.iter().chain(recovery.partial.values());
    steps.filter(|step| step.mode == StepMode::StatementByStatement)
}

/// Adds to each migration how far the backfill is that it is in.
fn with_backfills(
    mut rows: Vec<StatusRow>,
    backfills: Vec<BackfillProgress>,
    recovery: &RecoveryState,
) -> Vec<StatusRow> {
    let open: Vec<_> = steps_outside(recovery).map(|step| (&step.version, step.ordinal)).collect();
    for progress in backfills {
        let is_its = |(version, ordinal): &&(&Version, u64)| {
            version.number() == progress.version_key && *ordinal == progress.ordinal
        };
        let Some((version, _)) = open.iter().find(is_its) else { continue };
        let row = rows.iter_mut().find(|row| row.version == version.as_str());
        if let Some(row) = row {
            row.backfill = Some(progress);
        }
    }
    rows
}

fn rows(set: &MigrationSet, history: &History, recovery: &RecoveryState) -> Vec<StatusRow> {
    let mut statuses = compare_files(set, history);
    count_half_done(&mut statuses, |version| {
        recovery.partial.get(version).is_some_and(|step| step.direction == Direction::Up)
    });
    let rows = statuses.iter().map(|status| {
        let half = recovery.partial.contains_key(status.version);
        let doubt = recovery.open_steps.iter().any(|step| step.version == *status.version);
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
            backfill: None,
            proof: None,
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
            backfill: None,
            proof: None,
        })
        .collect();
    rows.extend(gone);
    rows
}
