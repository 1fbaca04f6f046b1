//! `rollback --emergency --rehearse`: the emergency as it would be now, on a private server, from the
//! newest backup.
//!
//! The backup is restored and compared, what was applied since is applied, and then the way of an
//! emergency is gone by the executor, under its protocol. The target is not touched, nor asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use annals_archive::{ArchiveError, Watcher};
use annals_events::{
    CheckLevel, CheckOutcome, Digest, EmergencyRehearsed, EmergencyWay, Event, LeafHash, Recorded,
    Seq, Timestamp, Version,
};
use annals_executor::{
    Intent, Interrupt, Progress, Recorder, RecorderError, RunContext, RunEnd, execute,
};
use annals_integrity::{Check, Finding, Severity, check_schema};
use annals_migrations::{MigrationSet, Plan, Precondition, Timeouts};
use annals_planner::{Goal, Inputs, Refusal};
use annals_postgres::{
    CheckLimits, CheckOptions, ConnectionSpec, LockKey, NoCheckProgress, Seen, Session,
    SessionSettings, check_integrity, read_schema,
};
use annals_schema::{Snapshot, diff};

use crate::backup_keys::KeyReader;
use crate::backups::{Around, BackupTrouble, read_all, record, resolve_full};
use crate::book::Book;
use crate::environment::Environment;
use crate::error::Failure;
use crate::logs::ReadLog;
use crate::open;
use crate::proven;
use crate::restore::on_sandbox;
use crate::targets::Target;
use crate::way_back::undone;
use crate::wish::RolledGoal;
use crate::workspace::Workspace;

/// A drill.
#[derive(Debug, Clone, Default)]
pub struct DrillOptions {
    /// The target whose emergency it is; the default one if none.
    pub target: Option<String>,
    /// How far; to the last known good version if none.
    pub goal: Option<RolledGoal>,
    /// Connections of the restore at a time.
    pub jobs: usize,
}

/// What a drill came to.
#[derive(Debug, Clone)]
pub struct Drill {
    /// The target.
    pub target: String,
    /// The backup it began from.
    pub backup: String,
    /// When that was taken.
    pub taken_at: Timestamp,
    /// Rows that were restored and compared.
    pub rows: u64,
    /// Time of bringing the backup back, in microseconds.
    pub restore_us: u64,
    /// Migrations that were applied since, and were applied here.
    pub applied: Vec<String>,
    /// Migrations that were rolled back, the first one first.
    pub rolled_back: Vec<String>,
    /// The way.
    pub way: EmergencyWay,
    /// Why the rollbacks do not lead back, where they do not.
    pub no_rollback: Option<String>,
    /// The version that is the last one applied then.
    pub to_version: Option<Version>,
    /// Time of the way and of the verification behind it, in microseconds.
    pub us: u64,
    /// What the verification says.
    pub result: CheckOutcome,
    /// Everything that was found.
    pub findings: Vec<Finding>,
    /// Why it did not come to its end.
    pub failed: Option<String>,
    /// What should be known besides.
    pub notes: Vec<String>,
}

impl Drill {
    /// Whether an emergency would have ended well.
    pub fn has_passed(&self) -> bool {
        self.failed.is_none() && self.result == CheckOutcome::Passed
    }
}

/// Rehearses the emergency of a target, and records how it went.
///
/// # Errors
///
/// When it could not be begun: no backup, no server of its version, no version that was ever verified.
pub async fn drill<P: Progress>(
    environment: &Environment,
    options: &DrillOptions,
    (progress, watcher): (&mut P, &mut dyn Watcher),
    interrupt: &mut Interrupt,
) -> Result<Drill, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let around = Around { environment, workspace: &workspace, target: &target };
    let set = workspace.load()?;
    let catalog = open::read_book(&target).await?.backups;
    let id = resolve_full(&target, &catalog, "latest").await?;
    let Some(recorded) = catalog.get(id).cloned() else {
        let (target, reason) = (target.name.clone(), "the log does not know it".to_owned());
        return Err(BackupTrouble::CannotTakePlace { target, reasons: vec![reason] }.into());
    };
    let goal = options.goal.clone().unwrap_or(RolledGoal::LastKnownGood);
    let moments = Moments::read(&target, recorded.seq).await?;
    let back = undone(&moments.now, &goal)?;
    let store = target.backup_store()?;
    let key = KeyReader::new(environment, &target).of_backup(&store, id).await?;
    let began = Instant::now();
    let archive = read_all(&target, id, &key, watcher, interrupt).await?;
    let standing = on_sandbox(around, &archive, &key, options.jobs.max(1), watcher);
    let stood = tokio::select! {
        biased;
        () = interrupt.wait() => return Err(Failure::Interrupted),
        stood = standing => stood?,
    };
    let mut drill = Drill {
        target: target.name.clone(),
        backup: id.to_string(),
        taken_at: recorded.at,
        rows: stood.rows,
        restore_us: micros(began),
        applied: Vec::new(),
        rolled_back: Vec::new(),
        way: EmergencyWay::Rollback,
        no_rollback: None,
        to_version: None,
        us: 0,
        result: CheckOutcome::NotChecked,
        findings: Vec::new(),
        failed: None,
        notes: stood.notes.clone(),
    };
    if !stood.unequal.is_empty() {
        drill.failed = Some(format!("the backup is not what it was: {}", stood.unequal.join("; ")));
    } else {
        let walk = Walk { around, set: &set, moments: &moments, spec: &stood.spec };
        walk.all(&mut drill, &back, progress, interrupt).await?;
    }
    let event = EmergencyRehearsed {
        backup: id,
        duration_us: drill.us,
        restore_us: drill.restore_us,
        result: match drill.failed {
            None => drill.result,
            Some(_) => CheckOutcome::Failed,
        },
        steps: drill.rolled_back.len() as u64,
        to_version: drill.to_version.clone(),
        way: drill.way,
    };
    record(environment, &workspace, &target, vec![event.into()], interrupt).await?;
    Ok(drill)
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The log when the backup was taken, and now.
struct Moments {
    then: Book,
    now: Book,
}

impl Moments {
    async fn read(target: &Target, until: Seq) -> Result<Self, Failure> {
        let (mut then, mut now) = (Book::default(), Book::default());
        let log = ReadLog::of_target(target)?;
        let mut visit = |recorded: &Recorded, _: &[u8]| {
            if recorded.seq < until {
                then.apply(recorded);
            }
            now.apply(recorded);
        };
        log.read(&mut visit).await?.check()?;
        Ok(Self { then, now })
    }
}

/// The way on the private server.
struct Walk<'a> {
    around: Around<'a>,
    set: &'a MigrationSet,
    moments: &'a Moments,
    spec: &'a ConnectionSpec,
}

impl Walk<'_> {
    async fn all<P: Progress>(
        &self,
        drill: &mut Drill,
        back: &[Version],
        progress: &mut P,
        interrupt: &mut Interrupt,
    ) -> Result<(), Failure> {
        let Around { workspace, target, .. } = self.around;
        let settings = SessionSettings::default();
        let fault = open::fault(target);
        let mut session = self.spec.connect("annals/drill", &settings).await?;
        let lock = LockKey::of(&workspace.config().workspace);
        session.try_lock(lock).await.map_err(&fault)?;
        let restored = read_schema(&mut session, &target.scope).await.map_err(&fault)?;
        let done = self.forward(&mut session, drill, progress, interrupt).await?;
        let began = Instant::now();
        if done {
            self.backward(&mut session, drill, back, progress, interrupt).await?;
        }
        if drill.failed.is_none() {
            let compared = (self.leads_to_backup(drill, back)).then_some(restored);
            self.verify(&mut session, drill, compared, interrupt).await?;
        }
        drill.us = micros(began);
        session.close().await;
        Ok(())
    }

    /// Applies what was applied since. False when that cannot be done.
    async fn forward<P: Progress>(
        &self,
        session: &mut Session,
        drill: &mut Drill,
        progress: &mut P,
        interrupt: &mut Interrupt,
    ) -> Result<bool, Failure> {
        let then = &self.moments.then.history;
        let now = self.moments.now.history.applied();
        let since: BTreeSet<&Version> =
            now.iter().map(|change| &change.version).filter(|it| !then.is_applied(it)).collect();
        if since.is_empty() {
            return Ok(true);
        }
        let goal = Goal::Up { to: None, out_of_order: since.iter().copied().cloned().collect() };
        let mut plan = match self.plan(&goal, &self.moments.then, session) {
            Ok(plan) => plan,
            Err(refusal) => {
                drill.failed = Some(format!("what was applied since cannot be planned: {refusal}"));
                return Ok(false);
            }
        };
        plan.steps.retain(|step| since.contains(&step.version));
        for step in &plan.steps {
            let applied = now.iter().find(|change| change.version == step.version);
            if applied.is_some_and(|change| change.file.canonical != step.file.canonical) {
                drill
                    .notes
                    .push(format!("{}: the file is not the one that was applied", step.id()));
            }
        }
        if plan.steps.len() < since.len() {
            let known =
                |version: &&&Version| plan.steps.iter().all(|step| step.version != ***version);
            let missing: Vec<String> =
                since.iter().filter(known).map(ToString::to_string).collect();
            let files = missing.join(", ");
            drill.failed = Some(format!("applied since, and there is no file: {files}"));
            return Ok(false);
        }
        drill.applied = plan.steps.iter().map(annals_migrations::PlannedStep::id).collect();
        match self.carry_out(session, &plan, progress, interrupt).await {
            Ok(()) => Ok(true),
            Err(reason) => {
                drill.failed =
                    Some(format!("what was applied since cannot be applied here: {reason}"));
                Ok(false)
            }
        }
    }

    /// Goes back as an emergency would.
    async fn backward<P: Progress>(
        &self,
        session: &mut Session,
        drill: &mut Drill,
        back: &[Version],
        progress: &mut P,
        interrupt: &mut Interrupt,
    ) -> Result<(), Failure> {
        let now = &self.moments.now;
        let stays = now.history.applied().iter().rev();
        let stays = stays.map(|change| &change.version).find(|version| !back.contains(version));
        drill.to_version = stays.cloned();
        if back.is_empty() {
            drill.notes.push(
                "the last known good version is the one that is applied: there is nothing to roll back, \
                 and the way is the backup"
                    .to_owned(),
            );
            drill.way = EmergencyWay::Backup;
            return Ok(());
        }
        let plan = match self.plan(&Goal::DownLast(back.len() as u64), now, session) {
            Ok(plan) => plan,
            Err(refusal) => {
                self.by_backup(drill, back, refusal.to_string());
                return Ok(());
            }
        };
        let declared = plan.steps.iter().find_map(|step| {
            let why = proven::declared(self.set.get(&step.version)?)?;
            Some(format!("{} is declared irreversible: {why}", step.id()))
        });
        if let Some(why) = declared {
            self.by_backup(drill, back, why);
            return Ok(());
        }
        drill.rolled_back = plan.steps.iter().map(annals_migrations::PlannedStep::id).collect();
        if let Err(reason) = self.carry_out(session, &plan, progress, interrupt).await {
            drill.rolled_back.clear();
            drill.failed = Some(format!("the rollbacks do not lead back: {reason}"));
        }
        Ok(())
    }

    /// The rollbacks do not lead back: the backup does, if it is one of before.
    fn by_backup(&self, drill: &mut Drill, back: &[Version], why: String) {
        drill.way = EmergencyWay::Backup;
        let then = &self.moments.then.history;
        if let Some(version) = back.iter().find(|version| then.is_applied(version)) {
            drill.failed = Some(format!(
                "the rollbacks do not lead back ({why}), and this backup was taken when {version} was \
                 applied already"
            ));
        }
        drill.no_rollback = Some(why);
    }

    /// Whether the end of the way is what was backed up.
    fn leads_to_backup(&self, drill: &Drill, back: &[Version]) -> bool {
        let then = self.moments.then.history.applied().iter();
        let then: Vec<&Version> = then.map(|change| &change.version).collect();
        let now = self.moments.now.history.applied().iter();
        let end: Vec<&Version> =
            now.map(|change| &change.version).filter(|version| !back.contains(version)).collect();
        drill.way == EmergencyWay::Rollback && then == end
    }

    /// The plan as a run would make it; nobody carries it out but this drill.
    fn plan(&self, goal: &Goal, book: &Book, session: &Session) -> Result<Plan, Refusal> {
        let Around { workspace, target, .. } = self.around;
        let config = workspace.config();
        let identity = &session.facts().identity;
        let precondition = Precondition {
            log_size: book.size,
            log_head: book.head.unwrap_or(LeafHash::ZERO),
            system_identifier: identity.system_identifier.clone(),
            database: identity.database.clone(),
        };
        let inputs = Inputs {
            set: self.set,
            history: &book.history,
            recovery: &book.recovery,
            ledger: &[],
            workspace: &config.workspace,
            target: &target.name,
            precondition: &precondition,
            timeouts: Timeouts {
                lock_ms: config.lock_timeout_ms,
                lock_outside_ms: 0,
                statement_ms: config.statement_timeout_ms,
            },
            single_transaction: false,
        };
        Ok(annals_planner::plan(goal, &inputs)?.plan)
    }

    async fn carry_out<P: Progress>(
        &self,
        session: &mut Session,
        plan: &Plan,
        progress: &mut P,
        interrupt: &mut Interrupt,
    ) -> Result<(), String> {
        let Around { environment, workspace, target } = self.around;
        let context = RunContext {
            plan: Digest::of(b"annals drill 1"),
            run: environment.ids.run(),
            workspace: &workspace.config().workspace,
            origin: target.origin.as_str(),
            actor: &environment.actor.name,
            lock: LockKey::of(&workspace.config().workspace),
            folder: workspace.folder(),
            spec: self.spec,
            settings: SessionSettings::default(),
            patience: workspace.config().patience,
            preamble: Vec::new(),
            begun: BTreeMap::new(),
        };
        let mut recorder = Unrecorded(self.moments.now.size);
        let report = execute(session, plan, &context, &mut recorder, progress, interrupt).await;
        let named = |step: usize| plan.steps.get(step).map_or_else(String::new, |it| it.id());
        match report.end {
            RunEnd::Succeeded => Ok(()),
            RunEnd::Failed { step, error, .. } => {
                Err(format!("{}: {}", named(step), error.message))
            }
            RunEnd::Interrupted { step, reason }
            | RunEnd::Disconnected { step, reason }
            | RunEnd::InDoubt { step, reason } => Err(format!("{}: {reason}", named(step))),
            RunEnd::NotRecorded { step, error, .. } => Err(format!("{}: {error}", named(step))),
        }
    }

    /// Compares the schema, where what it should be is known, and makes the checks of a verification.
    async fn verify(
        &self,
        session: &mut Session,
        drill: &mut Drill,
        expected: Option<Snapshot>,
        interrupt: &mut Interrupt,
    ) -> Result<(), Failure> {
        let Around { workspace, target, .. } = self.around;
        let fault = open::fault(target);
        match expected {
            Some(expected) => {
                let live = read_schema(session, &target.scope).await.map_err(&fault)?;
                drill.findings.extend(check_schema(&diff(&expected, &live)));
            }
            None if drill.way == EmergencyWay::Rollback => drill.notes.push(
                "the schema of the version it leads to is not that of the backup: it was not compared"
                    .to_owned(),
            ),
            // It was compared with its manifest when it was restored.
            None => {}
        }
        let wanted = Check::all().filter(|check| check.level <= CheckLevel::Standard);
        let checks: BTreeSet<&'static str> = wanted.map(|check| check.id).collect();
        let excluded = target.scope.excluded();
        let asked = CheckOptions {
            checks: &checks,
            excluded: &excluded,
            limits: CheckLimits::default(),
            lock_timeout_ms: SessionSettings::default().lock_timeout_ms,
            statement_timeout_ms: workspace.config().statement_timeout_ms,
            budget: None,
        };
        let settings = SessionSettings::default();
        let beside = self.spec.connect("annals/drill", &settings).await?;
        let mut unseen = NoCheckProgress;
        let report = tokio::select! {
            biased;
            () = interrupt.wait() => return Err(Failure::Interrupted),
            report = check_integrity(vec![beside], &asked, &mut unseen) => {
                report.map_err(&fault)?
            }
        };
        let outward = outward_keys(session, &excluded).await?;
        let is_outward =
            |seen: &Seen| seen.check == "data.foreign_key" && outward.contains(&seen.subject);
        let (outside, seen): (Vec<Seen>, Vec<Seen>) = report.seen.into_iter().partition(is_outward);
        drill.notes.extend(outside.iter().map(|seen| {
            format!("{}: the rows it refers to are not in the backup: not checked", seen.subject)
        }));
        drill.findings.extend(seen.iter().filter_map(|seen| {
            Check::find(seen.check)
                .map(|check| check.finding(seen.subject.clone(), seen.evidence.clone()))
        }));
        let failed = drill.findings.iter().any(|finding| finding.severity >= Severity::Error);
        drill.result = if failed { CheckOutcome::Failed } else { CheckOutcome::Passed };
        Ok(())
    }
}

/// Foreign keys to tables of schemas that no backup holds, as findings name them.
async fn outward_keys(session: &mut Session, excluded: &[String]) -> Result<Vec<String>, Failure> {
    let keys = "SELECT format('constraint %I.%I.%I', n.nspname, c.relname, k.conname), pn.nspname::text \
                FROM pg_catalog.pg_constraint k \
                JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                JOIN pg_catalog.pg_class p ON p.oid = k.confrelid \
                JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace WHERE k.contype = 'f'";
    let rows = session.texts(keys).await.map_err(ArchiveError::from)?;
    let keys = rows.into_iter().filter_map(|row| match <[Option<String>; 2]>::try_from(row) {
        Ok([Some(key), Some(schema)]) => excluded.contains(&schema).then_some(key),
        _ => None,
    });
    Ok(keys.collect())
}

/// A drill's own steps are nobody's history: where they would stand is counted, and nothing is written.
struct Unrecorded(u64);

impl Recorder for Unrecorded {
    async fn announce(&mut self, events: Vec<Event>) -> Result<Vec<Intent>, RecorderError> {
        let places = events.iter().map(|_| {
            self.0 += 1;
            Intent { seq: Seq(self.0), hash: LeafHash::ZERO }
        });
        Ok(places.collect())
    }

    async fn settle(&mut self) -> Result<(), RecorderError> {
        Ok(())
    }
}
