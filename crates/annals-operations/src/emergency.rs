//! `rollback --emergency`: back to the last version that was known to be good, without a decision
//! by whoever is awake.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use annals_archive::Watcher;
use annals_events::{
    CheckLevel, CheckOutcome, EmergencyFinished, EmergencyWay, ProofVerdict, ReconciledAs,
    RecordedError, Timestamp,
};
use annals_executor::{Advance, Interrupt, Progress, RunEnd, lost_to_others};
use annals_migrations::{MigrationSet, PlannedStatement, PlannedStep};
use annals_postgres::{Blocker, Ended, Session, SessionSettings};
use tokio::sync::mpsc;

use crate::approvals::Authority;
use crate::backups::record;
use crate::environment::Environment;
use crate::error::Failure;
use crate::journal;
use crate::losses::rows_lost;
use crate::migrate::{ChangeOptions, ChangeOutcome, PlanPreview, plan, rollback};
use crate::proven::{self, ProofState};
use crate::restore_gate::RestoreRight;
use crate::restore_target::{TargetRestore, TargetRestoreOptions, restore_target};
use crate::targets::Target;
use crate::traces::TracesTo;
use crate::verify::{IntegrityOptions, VerifyView, verify};
use crate::way_back::{WayBack, way_back};
use crate::wish::RolledGoal;
use crate::workspace::Workspace;

/// An emergency.
#[derive(Debug, Clone, Default)]
pub struct EmergencyOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// Why; goes into the log.
    pub reason: String,
    /// How far; to the last known good version if none.
    pub goal: Option<RolledGoal>,
    /// Connections of a restore at a time.
    pub jobs: usize,
    /// Where the trace of the run goes.
    pub traces: TracesTo,
}

impl EmergencyOptions {
    fn change(&self) -> ChangeOptions {
        ChangeOptions {
            target: self.target.clone(),
            allow_drift: true,
            emergency: Some(self.reason.clone()),
            // Where approvals are asked for: one person's word, if the policy lets that be enough.
            authority: Authority::BreakGlass { reason: self.reason.clone() },
            traces: self.traces.clone(),
            ..ChangeOptions::default()
        }
    }
}

/// What an emergency would do now.
#[derive(Debug)]
pub enum EmergencyLook {
    /// The migrations' own rollbacks.
    Rollback(Box<PlanPreview>),
    /// A backup; or nothing, where none leads back.
    Backup(Box<EmergencyOutcome>),
    /// The event log cannot be reached: what the target's ledger says.
    WithoutLog(Box<LookWithoutLog>),
}

/// What an emergency would take back without its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookWithoutLog {
    /// The target.
    pub target: String,
    /// Why the log cannot be reached.
    pub why: String,
    /// What would be rolled back, the newest first.
    pub steps: Vec<StepWithoutLog>,
}

/// A migration that would be rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepWithoutLog {
    /// `<version>_<name>`.
    pub id: String,
    /// The file that leads back, as it is here now.
    pub rollback: Option<PathBuf>,
    /// Why there is no way back, as far as the files say.
    pub no_way_back: Option<String>,
}

/// What an emergency came to.
#[derive(Debug)]
pub struct EmergencyOutcome {
    /// The target.
    pub target: String,
    /// The rollback, if one was begun.
    pub change: Option<ChangeOutcome>,
    /// Why the rollbacks do not lead back, if they do not.
    pub no_rollback: Option<Box<Failure>>,
    /// The backup that leads back where the rollbacks do not.
    pub backup: Option<WayBack>,
    /// What came of bringing it back, where that was begun.
    pub restored: Option<TargetRestore>,
    /// What the verification behind it says.
    pub verified: Option<VerifyView>,
    /// Why it could not be made, or not be recorded.
    pub unfinished: Option<Failure>,
    /// Backends that stood in the way and were ended.
    pub terminated: Vec<Ended>,
    /// Rows that are lost, as far as they were counted.
    pub lost_rows: Option<u64>,
    /// What was written instead of the log, where that could not be reached.
    pub journal: Option<Journaled>,
    /// From the beginning to here, in microseconds.
    pub us: u64,
}

/// An emergency that went without the log.
#[derive(Debug, Clone)]
pub struct Journaled {
    /// The folder of its journal.
    pub folder: PathBuf,
    /// Why the log could not be reached.
    pub why: String,
}

impl EmergencyOutcome {
    fn of(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            change: None,
            no_rollback: None,
            backup: None,
            restored: None,
            verified: None,
            unfinished: None,
            terminated: Vec::new(),
            lost_rows: None,
            journal: None,
            us: 0,
        }
    }

    /// Whether the target is back where it was good, and verified.
    pub fn is_over(&self) -> bool {
        let rolled = self.change.as_ref().is_some_and(|change| match &change.run {
            None => true,
            Some((_, report)) => matches!(report.end, RunEnd::Succeeded),
        });
        let rolled = rolled || self.is_restored();
        let good = self.verified.as_ref().is_some_and(|view| view.result == CheckOutcome::Passed);
        rolled && good
    }

    /// Whether a backup has taken the place of the target.
    pub fn is_restored(&self) -> bool {
        self.restored.as_ref().is_some_and(|restored| restored.done.is_some())
    }
}

/// The name of a target: the default one's where none is named.
///
/// # Errors
///
/// When there is no such target.
pub fn target_name(environment: &Environment, name: Option<&str>) -> Result<String, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    Ok(Target::resolve(environment, &workspace, name)?.name)
}

/// Rolls back to the last version behind which a verification passed, and verifies it.
///
/// What was in doubt is settled first. Drift and a backup that cannot be taken are told and do not
/// stop it. Where the rollbacks do not lead back (one is missing, declared irreversible, known to fail,
/// or fails now for a reason of its own), the newest backup of before takes the place of the target,
/// where `policy.emergency_restore` lets it; what was there is kept under another name.
///
/// Where the log cannot be reached, a journal beside the workspace stands in for it, which the next
/// command that reaches both makes part of the log. What was known to be good is not known then: it goes
/// back to before the run that applied something last.
///
/// # Errors
///
/// When nothing could be begun, and no backup is known either.
pub async fn emergency<P: Progress>(
    environment: &Environment,
    options: &EmergencyOptions,
    (progress, watcher): (&mut P, &mut dyn Watcher),
    interrupt: &mut Interrupt,
) -> Result<EmergencyOutcome, Failure> {
    let why = match with_log(environment, options, (progress, watcher), interrupt).await {
        Err(failure) => failure,
        outcome => return outcome,
    };
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    if !journal::is_log_away(&why, &target) {
        return Err(why);
    }
    let standing_in = journal::begin(environment, &workspace, &target, &why, interrupt).await?;
    let Some(standing_in) = standing_in else { return Err(why) };
    let why = why.to_string();
    progress.notice(
        "warning",
        &format!("the event log cannot be reached ({why}): what happens now is kept in a journal"),
    );
    let goal = match &options.goal {
        None | Some(RolledGoal::LastKnownGood) => {
            journal::goal(&target, &standing_in, &workspace).await?
        }
        Some(goal) => {
            journal::refuse_time(goal)?;
            goal.clone()
        }
    };
    let options = EmergencyOptions { goal: Some(goal), ..options.clone() };
    let folder = Target::resolve(&standing_in, &workspace, Some(&target.name))?.layout;
    let mut outcome = with_log(&standing_in, &options, (progress, watcher), interrupt).await?;
    outcome.journal = Some(Journaled { folder: folder.root().to_owned(), why });
    Ok(outcome)
}

async fn with_log<P: Progress>(
    environment: &Environment,
    options: &EmergencyOptions,
    (progress, watcher): (&mut P, &mut dyn Watcher),
    interrupt: &mut Interrupt,
) -> Result<EmergencyOutcome, Failure> {
    let began = Instant::now();
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let change = options.change();
    let goal = options.goal.clone().unwrap_or(RolledGoal::LastKnownGood);
    let wanted = goal.clone();
    let mut clearing = match workspace.config().terminate_blockers {
        true => Some(Clearing::begin(environment, &workspace, &target).await?),
        false => None,
    };
    // A look first: what is known not to lead back is not begun.
    let known = match plan(environment, goal.clone(), &change).await {
        Ok(preview) => leads_nowhere(&preview, &workspace.load()?),
        // What stands in the way of a look may be settled by the run.
        Err(_) => None,
    };
    let rolled = if let Some(known) = known {
        Err(known)
    } else {
        let way = clearing.as_ref().map(|clearing| clearing.ask.clone());
        let mut watching = Watching { inner: progress, way };
        rollback(environment, goal, &change, &mut watching, interrupt).await
    };
    let terminated = match clearing.take() {
        Some(clearing) => clearing.end().await,
        None => Vec::new(),
    };
    let mut outcome = EmergencyOutcome { terminated, ..EmergencyOutcome::of(&target.name) };
    match rolled {
        Ok(change) => {
            outcome.lost_rows = rows_lost(&change.losses);
            outcome.change = Some(change);
        }
        // The files do not lead back: no rollback, one that is declared impossible.
        Err(failure @ (Failure::Refused(_) | Failure::NoWayBack { .. })) => {
            outcome.no_rollback = Some(Box::new(failure));
        }
        Err(failure) => return Err(failure),
    }
    if !outcome.has_rolled_back() {
        // A look at the log alone: the target may be what is broken.
        outcome.backup = way_back(&target, &wanted).await?;
        if outcome.may_restore() && workspace.config().emergency_restore {
            bring_back(environment, options, &mut outcome, watcher, interrupt).await;
        }
        if !outcome.is_restored() {
            outcome.us = micros(began);
            return match (outcome.no_rollback.take(), &outcome.backup) {
                (Some(refused), None) => Err(*refused),
                (refused, _) => {
                    outcome.no_rollback = refused;
                    Ok(outcome)
                }
            };
        }
    }
    let asked = IntegrityOptions {
        level: CheckLevel::Standard,
        only: Vec::new(),
        time_budget: Some(Duration::from_secs(30)),
        jobs: 1,
        strict: false,
    };
    let name = Some(target.name.as_str());
    match verify(environment, name, &asked, &mut annals_postgres::NoCheckProgress, interrupt).await
    {
        Ok(view) => outcome.verified = Some(view),
        Err(failure) => outcome.unfinished = Some(failure),
    }
    outcome.us = micros(began);
    if let Some(event) = finished(&outcome) {
        let recorded =
            record(environment, &workspace, &target, vec![event.into()], interrupt).await;
        if let Err(failure) = recorded {
            outcome.unfinished.get_or_insert(failure);
        }
    }
    Ok(outcome)
}

/// Says what [`emergency`] would do. Nothing is written.
///
/// # Errors
///
/// When neither leads back, or nothing can be said.
pub async fn emergency_look(
    environment: &Environment,
    options: &EmergencyOptions,
) -> Result<EmergencyLook, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let goal = options.goal.clone().unwrap_or(RolledGoal::LastKnownGood);
    let refused = match plan(environment, goal.clone(), &options.change()).await {
        Ok(preview) => match leads_nowhere(&preview, &workspace.load()?) {
            None => return Ok(EmergencyLook::Rollback(Box::new(preview))),
            Some(failure) => failure,
        },
        Err(failure @ (Failure::Refused(_) | Failure::NoWayBack { .. })) => failure,
        Err(failure) if journal::is_log_away(&failure, &target) => {
            return look_without_log(environment, &workspace, &target, options, &failure).await;
        }
        Err(failure) => return Err(failure),
    };
    let mut outcome = EmergencyOutcome::of(&target.name);
    outcome.backup = way_back(&target, &goal).await?;
    if outcome.backup.is_none() {
        return Err(refused);
    }
    outcome.no_rollback = Some(Box::new(refused));
    Ok(EmergencyLook::Backup(Box::new(outcome)))
}

/// What the journal says that was begun, or, before that, the target's ledger.
async fn look_without_log(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    options: &EmergencyOptions,
    why: &Failure,
) -> Result<EmergencyLook, Failure> {
    let goal = options.goal.clone().unwrap_or(RolledGoal::LastKnownGood);
    journal::refuse_time(&goal)?;
    if let Some(standing_in) = journal::begun(environment, workspace, target).await? {
        tracing::warn!("the event log cannot be reached ({why}): its journal says");
        let goal = match goal {
            RolledGoal::LastKnownGood => journal::goal(target, &standing_in, workspace).await?,
            goal => goal,
        };
        let options = EmergencyOptions { goal: Some(goal), ..options.clone() };
        return Box::pin(emergency_look(&standing_in, &options)).await;
    }
    let set = workspace.load()?;
    let rows = journal::would_undo(environment, workspace, target, &goal).await?;
    let steps = rows.into_iter().map(|row| {
        let migration = set.get(&row.version);
        let rollback = migration.and_then(|migration| migration.down.as_ref());
        let declared = migration.and_then(proven::declared);
        let no_way_back = match (declared, rollback) {
            (Some(why), _) => Some(format!("declared irreversible: {why}")),
            (None, None) => Some("there is no rollback".to_owned()),
            (None, Some(_)) => None,
        };
        StepWithoutLog {
            id: format!("{}_{}", row.version, row.name),
            rollback: rollback.map(|file| file.path().to_owned()),
            no_way_back,
        }
    });
    let (target, why, steps) = (target.name.clone(), why.to_string(), steps.collect());
    Ok(EmergencyLook::WithoutLog(Box::new(LookWithoutLog { target, why, steps })))
}

/// A step whose rollback is known not to lead back: it is declared so, or its rehearsal failed.
fn leads_nowhere(preview: &PlanPreview, set: &MigrationSet) -> Option<Failure> {
    preview.plan.steps.iter().find_map(|step| {
        let migration = set.get(&step.version)?;
        let declared = proven::declared(migration);
        let rehearsed = preview.proofs.iter().find(|(id, _)| *id == step.id());
        let reason = match (declared, rehearsed) {
            (Some(why), _) => format!("its rollback is declared irreversible: {why}"),
            (None, Some((_, ProofState::NotAccepted(ProofVerdict::RollbackFails)))) => {
                "its rollback failed when it was rehearsed".to_owned()
            }
            _ => return None,
        };
        Some(Failure::NoWayBack { step: step.id(), reason })
    })
}

impl EmergencyOutcome {
    fn has_rolled_back(&self) -> bool {
        let run = self.change.as_ref().map(|change| change.run.as_ref());
        run.is_some_and(|run| run.is_none_or(|(_, report)| matches!(report.end, RunEnd::Succeeded)))
    }

    /// Whether a backup is the way: the files do not lead back, which another attempt would not
    /// change. Locks of others, a lost connection and a request to stop say nothing of the files.
    fn may_restore(&self) -> bool {
        let failed = self.change.as_ref().and_then(|change| change.run.as_ref());
        let by_itself = failed.is_some_and(|(_, report)| match &report.end {
            RunEnd::Failed { error, .. } => {
                let code = error.code.as_deref();
                code.is_some_and(|code| !code.starts_with("57P") && !code.starts_with("08"))
                    && !lost_to_others(code)
            }
            _ => false,
        });
        self.backup.is_some() && (self.no_rollback.is_some() || by_itself)
    }
}

/// Lets the backup take the place of the target.
async fn bring_back(
    environment: &Environment,
    options: &EmergencyOptions,
    outcome: &mut EmergencyOutcome,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) {
    let Some(way) = &outcome.backup else { return };
    let mut asked = TargetRestoreOptions {
        target: Some(outcome.target.clone()),
        backup: way.backup.to_string(),
        confirm: None,
        right: RestoreRight { break_glass: None, emergency: Some(options.reason.clone()) },
        without_backup: false,
        jobs: options.jobs.max(1),
    };
    let restored = async {
        // What it looks like now is what is given up.
        let look = restore_target(environment, &asked, watcher, interrupt).await?;
        asked.confirm = Some(look.fingerprint);
        restore_target(environment, &asked, watcher, interrupt).await
    };
    match restored.await {
        Ok(restored) => {
            outcome.lost_rows = fewer_rows(&restored);
            outcome.restored = Some(restored);
        }
        Err(failure) => outcome.unfinished = Some(failure),
    }
}

/// How many rows fewer there are in the backup; none where not all were counted.
fn fewer_rows(restored: &TargetRestore) -> Option<u64> {
    restored.tables.iter().try_fold(0, |sum, table| {
        let fewer = table.now.unwrap_or(0).saturating_sub(table.backup.unwrap_or(0));
        table.is_exact.then_some(sum + fewer)
    })
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn finished(outcome: &EmergencyOutcome) -> Option<EmergencyFinished> {
    let done = outcome.restored.as_ref().and_then(|restored| restored.done.as_ref());
    let (run, way) = match done {
        Some(done) => (done.run, EmergencyWay::Backup),
        None => (outcome.change.as_ref()?.run.as_ref()?.0, EmergencyWay::Rollback),
    };
    let result = outcome.verified.as_ref().map_or(CheckOutcome::NotChecked, |view| view.result);
    Some(EmergencyFinished {
        duration_us: outcome.us,
        lost_rows: outcome.lost_rows,
        result,
        run,
        terminated: outcome.terminated.len() as u64,
        way,
    })
}

/// Ends who stands in the way, on a session of its own.
struct Clearing {
    ask: mpsc::UnboundedSender<Vec<i32>>,
    task: tokio::task::JoinHandle<Vec<Ended>>,
}

impl Clearing {
    async fn begin(
        environment: &Environment,
        workspace: &Workspace,
        target: &Target,
    ) -> Result<Self, Failure> {
        let spec = target.spec(environment, workspace).await?;
        let settings: SessionSettings = target.settings(workspace);
        let session = spec.connect("annals/emergency", &settings).await?;
        let (ask, asked) = mpsc::unbounded_channel();
        Ok(Self { ask, task: tokio::spawn(clear(session, asked)) })
    }

    async fn end(self) -> Vec<Ended> {
        drop(self.ask);
        self.task.await.unwrap_or_default()
    }
}

async fn clear(mut session: Session, mut asked: mpsc::UnboundedReceiver<Vec<i32>>) -> Vec<Ended> {
    let (mut ended, mut tried) = (Vec::new(), BTreeSet::new());
    while let Some(pids) = asked.recv().await {
        let new: Vec<i32> = pids.into_iter().filter(|pid| tried.insert(*pid)).collect();
        if new.is_empty() {
            continue;
        }
        match session.end_clients(&new).await {
            Ok(gone) => ended.extend(gone),
            Err(fault) => tracing::warn!("who stands in the way could not be ended: {fault}"),
        }
    }
    session.close().await;
    ended
}

/// Passes everything on, and who is in the way to whoever ends them.
struct Watching<'a, P> {
    inner: &'a mut P,
    way: Option<mpsc::UnboundedSender<Vec<i32>>>,
}

impl<P: Progress> Progress for Watching<'_, P> {
    fn recovered(&mut self, by: &str, began: Timestamp, steps: &[(String, ReconciledAs)]) {
        self.inner.recovered(by, began, steps);
    }
    fn backing_up(&mut self, done: u64, total: u64) {
        self.inner.backing_up(done, total);
    }
    fn step_started(&mut self, step: &PlannedStep, at: usize, of: usize) {
        self.inner.step_started(step, at, of);
    }
    fn statement_started(&mut self, statement: &PlannedStatement, at: usize, of: usize) {
        self.inner.statement_started(statement, at, of);
    }
    fn advanced(&mut self, step: &PlannedStep, advance: &Advance<'_>) {
        self.inner.advanced(step, advance);
    }
    fn step_succeeded(&mut self, step: &PlannedStep, duration_us: u64) {
        self.inner.step_succeeded(step, duration_us);
    }
    fn step_failed(&mut self, step: &PlannedStep, error: &RecordedError) {
        self.inner.step_failed(step, error);
    }
    fn in_doubt(&mut self, step: &PlannedStep) {
        self.inner.in_doubt(step);
    }
    fn blocked(&mut self, step: &PlannedStep, by: &[Blocker]) {
        self.inner.blocked(step, by);
        if let Some(way) = self.way.as_ref().filter(|_| !by.is_empty()) {
            // Nobody listens any more only when it is over.
            let _ = way.send(by.iter().map(|blocker| blocker.pid).collect());
        }
    }
    fn retrying(&mut self, step: &PlannedStep, attempt: u32, of: u32, pause: Duration) {
        self.inner.retrying(step, attempt, of, pause);
    }
    fn notice(&mut self, severity: &str, message: &str) {
        self.inner.notice(severity, message);
    }
}
