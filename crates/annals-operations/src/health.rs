//! `serve`: how targets are doing, for whoever asks often.
//!
//! Nothing here takes a lock or writes, and nothing is waited for longer than `health.timeout`: what
//! is not known by then is said to be so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use annals_events::{BackupDepth, CheckLevel, CheckResults, EmergencyRehearsed, Timestamp};
use annals_integrity::{FileState, LedgerMismatch, compare_files, count_half_done};
use annals_migrations::MigrationSet;
use annals_postgres::{
    Activity, LockHolder, LockKey, ServerFacts, Session, SessionSettings, Storage, TableChoice,
    TableState,
};
use annals_projections::{LedgerRow, OpenRun, RunSummary};
use tokio::time::timeout;

use crate::config::ConfigError;
use crate::environment::Environment;
use crate::error::Failure;
use crate::judge;
use crate::log_keeper::{LogFacts, LogKeeper, LogReading, told, with_causes};
use crate::logs::LogSource;
use crate::monitoring::{DEFAULT_TARGET_WORD, Monitoring};
use crate::open::{check_identity, describe_holder, fault, read_ledger};
use crate::targets::{SANDBOX_TARGET, Target};
use crate::timeline::{TimelineOptions, TimelineView, timeline};
use crate::workspace::Workspace;

/// Events in a timeline.
const NEWEST_EVENTS: usize = 200;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As it should.
    Ok,
    /// It works, and somebody should look.
    Degraded,
    /// It does not work, or cannot be relied on.
    Failing,
}

impl Standing {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }

    /// What several things come to: the worst of them.
    pub fn of(reasons: &[Reason]) -> Self {
        reasons.iter().map(|reason| reason.standing).max().unwrap_or(Self::Ok)
    }
}

/// Why something does not stand as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What it is about: `database`, `log`, `files`, `backups`, …
    pub area: &'static str,
    /// What it makes of the whole.
    pub standing: Standing,
    /// What is so.
    pub what: String,
    /// What to do next.
    pub next: Option<String>,
}

impl Reason {
    pub(crate) fn failing(area: &'static str, what: impl Into<String>) -> Self {
        Self { area, standing: Standing::Failing, what: what.into(), next: None }
    }

    pub(crate) fn degraded(area: &'static str, what: impl Into<String>) -> Self {
        Self { area, standing: Standing::Degraded, what: what.into(), next: None }
    }

    pub(crate) fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }
}

/// The database as it answered.
#[derive(Debug, Clone)]
pub struct DatabaseHealth {
    /// Its name.
    pub database: String,
    /// The server's version.
    pub version: String,
    /// It is a standby.
    pub standby: bool,
    /// It takes no writes.
    pub read_only: bool,
    /// How long it took to log in and to read the ledger, in microseconds.
    pub answered_us: u64,
}

/// The log.
#[derive(Debug, Clone)]
pub struct LogHealth {
    /// Whether there is one.
    pub exists: bool,
    /// Whether its signed head was verified; without public keys its links alone are.
    pub verified: bool,
    /// Events.
    pub size: u64,
    /// Bytes.
    pub bytes: u64,
    /// Leaf hash of the last event.
    pub head: Option<String>,
    /// Events the signed head vouches for.
    pub signed: u64,
    /// Events no anchor holds, as the log itself claims.
    pub unanchored: u64,
    /// When its last event was recorded.
    pub last_event_at: Option<Timestamp>,
    /// When it was read.
    pub read_at: Timestamp,
}

/// Backups, as the log knows them.
#[derive(Debug, Clone, Default)]
pub struct BackupHealth {
    /// Those nothing is known against.
    pub usable: u64,
    /// Their bytes.
    pub usable_bytes: u64,
    /// The newest of them: name, kind, bytes, when.
    pub last: Option<(String, String, u64, Timestamp)>,
    /// The last verification of one of them that passed.
    pub last_verified: Option<(BackupDepth, Timestamp)>,
    /// The last one that could not be taken, if none was taken since.
    pub failed: Option<(String, Timestamp)>,
}

/// The last verification.
#[derive(Debug, Clone)]
pub struct IntegrityHealth {
    /// When.
    pub at: Timestamp,
    /// Whether it passed.
    pub passed: bool,
    /// How much it looked at.
    pub level: CheckLevel,
    /// What it found.
    pub findings: u64,
    /// By family.
    pub checks: CheckResults,
}

/// Migrations, files and log side by side.
#[derive(Debug, Clone, Default)]
pub struct MigrationHealth {
    /// Applied.
    pub applied: u64,
    /// Not applied, in order: `<version>_<name>`.
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

/// Runs.
#[derive(Debug, Clone, Default)]
pub struct RunHealth {
    /// The one that has not ended.
    pub open: Option<OpenRun>,
    /// Who is at work on the target.
    pub at_work: Option<String>,
    /// Steps whose outcome nobody knows: `<version>_<name>`.
    pub in_doubt: Vec<String>,
    /// The last one that ended.
    pub last: Option<RunSummary>,
}

/// How a target is doing.
#[derive(Debug, Clone)]
pub struct HealthView {
    /// The target.
    pub target: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// How it stands, all in all.
    pub standing: Standing,
    /// Why, worst first.
    pub reasons: Vec<Reason>,
    /// The database; none where it did not answer.
    pub database: Option<DatabaseHealth>,
    /// The log; none where it could not be read, and nothing below it is known either.
    pub log: Option<LogHealth>,
    /// Backups.
    pub backups: Option<BackupHealth>,
    /// The last verification; none where there was none.
    pub integrity: Option<IntegrityHealth>,
    /// The newest drill of an emergency, and when it was recorded.
    pub drill: Option<(Timestamp, EmergencyRehearsed)>,
    /// Migrations; none where the files cannot be read.
    pub migrations: Option<MigrationHealth>,
    /// Objects that were not as expected when somebody last looked, and when that was.
    pub drift: Option<(u64, Timestamp)>,
    /// Runs.
    pub runs: RunHealth,
    /// What the log says.
    pub facts: Option<Arc<LogFacts>>,
}

/// Tables of a target.
#[derive(Debug, Clone)]
pub struct TablesView {
    /// The target.
    pub target: String,
    /// The group, where one was asked for.
    pub group: Option<String>,
    /// When they were looked at.
    pub at: Timestamp,
    /// How they stand.
    pub standing: Standing,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Tables.
    pub tables: Vec<TableState>,
    /// How many there are; more than are shown where there are very many.
    pub count: u64,
    /// Of a group: those that are not there, `schema.table`.
    pub missing: Vec<String>,
}

/// How busy a target is.
#[derive(Debug, Clone)]
pub struct PerformanceView {
    /// The target.
    pub target: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// How it stands.
    pub standing: Standing,
    /// Why.
    pub reasons: Vec<Reason>,
    /// From which age on a query is long, in milliseconds.
    pub long_query_ms: u64,
    /// What goes on; none where the database did not answer.
    pub activity: Option<Activity>,
    /// How tables and indexes are used.
    pub storage: Option<Storage>,
}

/// What a name in an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A target.
    Target(String),
    /// A group of tables.
    Group(String),
}

/// Answers how targets are doing.
pub struct Monitor {
    pub(crate) environment: Environment,
    workspace: Workspace,
    keepers: Mutex<BTreeMap<String, Arc<LogKeeper>>>,
}

/// What a database says of itself in a look.
pub(crate) struct Answer {
    facts: ServerFacts,
    pub(crate) ledger: Vec<LedgerRow>,
    pub(crate) holder: Option<LockHolder>,
    us: u64,
}

impl Monitor {
    /// A monitor of the workspace `environment` is in. Its configuration is read once.
    ///
    /// # Errors
    ///
    /// When there is no workspace, or its configuration is broken.
    pub fn new(environment: Environment) -> Result<Self, Failure> {
        let workspace = Workspace::find(&environment.folder)?;
        Ok(Self { environment, workspace, keepers: Mutex::default() })
    }

    /// What the configuration says of it.
    pub fn settings(&self) -> &Monitoring {
        &self.workspace.config().monitoring
    }

    /// The target that is meant where none is named.
    pub fn default_target(&self) -> Option<&str> {
        self.workspace.config().default_target.as_deref()
    }

    /// Every target that is looked at for the metrics: those of the configuration, and the sandbox
    /// where it is the default.
    pub fn targets(&self) -> Vec<String> {
        let config = self.workspace.config();
        let sandbox = self.default_target().filter(|name| *name == SANDBOX_TARGET);
        config.targets.keys().cloned().chain(sandbox.map(str::to_owned)).collect()
    }

    /// What `name` means in an address.
    pub fn named(&self, name: &str) -> Option<Named> {
        let config = self.workspace.config();
        if config.targets.contains_key(name) || name == SANDBOX_TARGET {
            return Some(Named::Target(name.to_owned()));
        }
        if name == DEFAULT_TARGET_WORD {
            return self.default_target().map(|name| Named::Target(name.to_owned()));
        }
        let group = config.monitoring.groups.contains_key(name);
        group.then(|| Named::Group(name.to_owned()))
    }

    /// Every name an address may have.
    pub fn names(&self) -> Vec<String> {
        let groups = self.settings().groups.keys().cloned();
        self.targets().into_iter().chain(groups).collect()
    }

    /// Whether the workspace can still be read.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn check_ready(&self) -> Result<(), ConfigError> {
        Workspace::find(&self.environment.folder).map(|_| ())
    }

    pub(crate) fn limit(&self) -> Duration {
        Duration::from_millis(self.settings().timeout_ms)
    }

    fn keeper(&self, target: &str) -> Arc<LogKeeper> {
        let mut keepers = self.keepers.lock().unwrap_or_else(|broken| broken.into_inner());
        Arc::clone(keepers.entry(target.to_owned()).or_default())
    }

    fn target(&self, name: &str) -> Result<Target, Failure> {
        Target::resolve(&self.environment, &self.workspace, Some(name))
    }

    /// A session that reads, and that the server itself ends when it takes too long.
    async fn reach(&self, target: &Target) -> Result<Session, Failure> {
        let limit_ms = self.settings().timeout_ms;
        let Some(spec) = target.spec_if_running(&self.environment, &self.workspace)? else {
            let reason = "it does not run; start it with: annals sandbox start".to_owned();
            return Err(Failure::Argument { subject: "the sandbox".to_owned(), reason });
        };
        let settings = SessionSettings {
            lock_timeout_ms: limit_ms.min(500),
            silence_ms: limit_ms,
            ..target.settings(&self.workspace)
        };
        let mut session = spec.connect_to_read("annals/serve", &settings).await?;
        session.limit_statements(limit_ms).await.map_err(fault(target))?;
        Ok(session)
    }

    /// Waits for `work` no longer than it may take.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Reason> {
        match timeout(self.limit(), work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(failure)) => Err(unreachable_reason(&failure)),
            Err(_) => {
                let what = format!("no answer within {} ms", self.settings().timeout_ms);
                Err(Reason::failing("database", what)
                    .next("check the server, the network, and health.timeout"))
            }
        }
    }

    async fn database(&self, target: &Target) -> Result<Answer, Failure> {
        let began = Instant::now();
        let mut session = self.reach(target).await?;
        let ledger = read_ledger(&mut session, &self.workspace).await?;
        let lock = LockKey::of(&self.workspace.config().workspace);
        let holder = session.lock_holder(lock).await.map_err(fault(target))?;
        let facts = session.facts().clone();
        session.close().await;
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Answer { facts, ledger, holder, us })
    }

    /// What the log says: the reading, and why there is none or an old one.
    async fn log(&self, target: &Target) -> (Option<Arc<LogReading>>, Option<Reason>) {
        let keeper = self.keeper(&target.name);
        let read = timeout(self.limit(), keeper.reading(&self.environment, target)).await;
        let trouble = |(what, next): (String, Option<String>)| Reason {
            area: "log",
            standing: Standing::Failing,
            what,
            next,
        };
        match read {
            Ok(Ok(reading)) => match &reading.facts {
                Ok(_) => (Some(reading), None),
                Err(told) => (None, Some(trouble(told.clone()))),
            },
            Ok(Err(failure)) => (None, Some(trouble(told(failure)))),
            Err(_) => {
                let last = keeper.last().filter(|last| last.facts.is_ok());
                let what = match &last {
                    Some(last) => format!(
                        "it is still being read; what is shown is of {}",
                        last.at.to_human()
                    ),
                    None => "it is still being read".to_owned(),
                };
                let standing = if last.is_some() { Standing::Degraded } else { Standing::Failing };
                (last, Some(Reason { area: "log", standing, what, next: None }))
            }
        }
    }

    async fn files(&self) -> Result<MigrationSet, Reason> {
        let workspace = self.workspace.clone();
        let load = tokio::task::spawn_blocking(move || workspace.load_apart().wait());
        match timeout(self.limit(), load).await {
            Ok(Ok(Ok(set))) => Ok(set),
            Ok(Ok(Err(failure))) => Err(Reason::degraded("files", failure.to_string())
                .next("correct the files; annals plan names each")),
            Ok(Err(stopped)) => std::panic::resume_unwind(stopped.into_panic()),
            Err(_) => Err(Reason::degraded("files", "they are still being read")),
        }
    }

    /// How a target is doing.
    ///
    /// # Errors
    ///
    /// When there is no such target. Whatever is wrong with it is in the result.
    pub async fn health(&self, name: &str) -> Result<HealthView, Failure> {
        let target = self.target(name)?;
        let database = async { self.within(self.database(&target)).await };
        let ((mut reading, mut log_reason), mut answer, files) =
            tokio::join!(self.log(&target), database, self.files());
        if let (Some(read), Ok(answered)) = (&reading, &answer)
            && self.have_moved(&target, read, answered).await
        {
            (reading, log_reason) = self.log(&target).await;
            answer = self.within(self.database(&target)).await;
        }
        let facts = reading.as_ref().and_then(|reading| reading.facts.clone().ok());
        let mut view = HealthView {
            target: target.name.clone(),
            at: self.environment.clock.now(),
            standing: Standing::Ok,
            reasons: log_reason.into_iter().collect(),
            database: None,
            log: None,
            backups: None,
            integrity: None,
            drill: None,
            migrations: None,
            drift: None,
            runs: RunHealth::default(),
            facts: facts.clone(),
        };
        let answer = match answer {
            Ok(answer) => {
                view.database = Some(DatabaseHealth {
                    database: answer.facts.identity.database.clone(),
                    version: answer.facts.short_version().to_owned(),
                    standby: answer.facts.in_recovery,
                    read_only: answer.facts.read_only,
                    answered_us: answer.us,
                });
                Some(answer)
            }
            Err(reason) => {
                view.reasons.push(reason);
                None
            }
        };
        let set = files.map_err(|reason| view.reasons.push(reason)).ok();
        if let (Some(facts), Some(reading)) = (&facts, &reading) {
            tell(&mut view, facts, reading.at, set.as_ref(), answer.as_ref());
            if let Some(answer) = &answer {
                view.reasons.extend(compare(&target, facts, answer));
            }
        }
        let wants_backup = self.workspace.config().targets.get(name);
        let wants_backup = wants_backup.is_some_and(|target| target.backup.is_some());
        view.reasons.extend(judge::reasons(&view, self.settings(), wants_backup));
        view.reasons.sort_by_key(|reason| std::cmp::Reverse(reason.standing));
        view.standing = Standing::of(&view.reasons);
        Ok(view)
    }

    /// Log and ledger were not read at one moment: where they do not fit, and the log has grown since
    /// or somebody is at work, it is looked at once more.
    async fn have_moved(&self, target: &Target, read: &LogReading, answer: &Answer) -> bool {
        let Ok(facts) = &read.facts else { return false };
        if facts.book.mismatches(&answer.ledger).is_empty() && facts.exists {
            return false;
        }
        let extent = timeout(self.limit(), target.home().extent()).await;
        matches!(extent, Ok(Ok(extent)) if extent != read.extent)
    }

    /// The tables of a target.
    ///
    /// # Errors
    ///
    /// When there is no such target.
    pub async fn tables(&self, name: &str) -> Result<TablesView, Failure> {
        let target = self.target(name)?;
        let choice = TableChoice::AllBut(target.scope.excluded());
        Ok(self.look_at_tables(&target, None, &choice).await)
    }

    /// The tables of a group.
    ///
    /// # Errors
    ///
    /// When there is no such group, or no target it could be in.
    pub async fn group(&self, name: &str) -> Result<TablesView, Failure> {
        let group = self.settings().groups.get(name).ok_or_else(|| Failure::Argument {
            subject: format!("the group {name:?}"),
            reason: "annals.toml has no such [groups.…]".to_owned(),
        })?;
        let target = group.target.as_deref();
        let target = Target::resolve(&self.environment, &self.workspace, target)?;
        let choice = TableChoice::Named(group.tables.clone());
        Ok(self.look_at_tables(&target, Some(name), &choice).await)
    }

    async fn look_at_tables(
        &self,
        target: &Target,
        group: Option<&str>,
        choice: &TableChoice,
    ) -> TablesView {
        let read = async {
            let mut session = self.reach(target).await?;
            let found = session.read_tables(choice).await.map_err(fault(target))?;
            session.close().await;
            Ok(found)
        };
        let (mut reasons, mut missing) = (Vec::new(), Vec::new());
        let (tables, count) = match self.within(read).await {
            Ok((tables, count)) => {
                if let TableChoice::Named(named) = choice {
                    let is_there = |(schema, name): &&(String, String)| {
                        tables.iter().any(|t| t.schema == *schema && t.name == *name)
                    };
                    let gone = named.iter().filter(|named| !is_there(named));
                    missing = gone.map(|(schema, name)| format!("{schema}.{name}")).collect();
                }
                reasons.extend(judge::tables(&tables, &missing));
                (tables, u64::try_from(count).unwrap_or_default())
            }
            Err(reason) => {
                reasons.push(reason);
                (Vec::new(), 0)
            }
        };
        TablesView {
            target: target.name.clone(),
            group: group.map(str::to_owned),
            at: self.environment.clock.now(),
            standing: Standing::of(&reasons),
            reasons,
            tables,
            count,
            missing,
        }
    }

    /// How busy a target is.
    ///
    /// # Errors
    ///
    /// When there is no such target.
    pub async fn performance(&self, name: &str) -> Result<PerformanceView, Failure> {
        let (target, long_query_ms) = (self.target(name)?, self.settings().long_query_ms);
        let read = async {
            let mut session = self.reach(&target).await?;
            let activity = session.read_activity(long_query_ms).await.map_err(fault(&target))?;
            let storage = session.read_storage().await.map_err(fault(&target))?;
            session.close().await;
            Ok((activity, storage))
        };
        let (activity, storage, reasons) = match self.within(read).await {
            Ok((activity, storage)) => {
                let reasons = judge::performance(&activity, &storage, long_query_ms);
                (Some(activity), Some(storage), reasons)
            }
            Err(reason) => (None, None, vec![reason]),
        };
        Ok(PerformanceView {
            target: target.name,
            at: self.environment.clock.now(),
            standing: Standing::of(&reasons),
            reasons,
            long_query_ms,
            activity,
            storage,
        })
    }

    /// The newest events of a target's log, in words.
    ///
    /// # Errors
    ///
    /// When there is no log, or it is damaged.
    pub async fn timeline(self: Arc<Self>, name: &str) -> Result<TimelineView, Failure> {
        let (runtime, source) =
            (tokio::runtime::Handle::current(), LogSource::Target(Some(name.to_owned())));
        let options = TimelineOptions { from: None, limit: NEWEST_EVENTS };
        let read = tokio::task::spawn_blocking(move || {
            runtime.block_on(timeline(&self.environment, &source, options))
        });
        read.await.unwrap_or_else(|stopped| std::panic::resume_unwind(stopped.into_panic()))
    }

    /// What goes on at a target at this moment; none where it does not answer.
    pub(crate) async fn activity(&self, name: &str) -> Option<Activity> {
        let target = self.target(name).ok()?;
        let read = async {
            let mut session = self.reach(&target).await?;
            let long_query_ms = self.settings().long_query_ms;
            let activity = session.read_activity(long_query_ms).await.map_err(fault(&target))?;
            session.close().await;
            Ok(activity)
        };
        self.within(read).await.ok()
    }
}

fn unreachable_reason(failure: &Failure) -> Reason {
    let next = failure.hint();
    Reason { area: "database", standing: Standing::Failing, what: with_causes(failure), next }
}

/// Fills in what the log says.
fn tell(
    view: &mut HealthView,
    facts: &LogFacts,
    read_at: Timestamp,
    set: Option<&MigrationSet>,
    answer: Option<&Answer>,
) {
    let book = &facts.book;
    view.log = Some(LogHealth {
        exists: facts.exists,
        verified: facts.verified,
        size: book.size,
        bytes: facts.bytes,
        head: book.head.map(|head| head.to_string()),
        signed: facts.signed,
        unanchored: book.size.saturating_sub(facts.anchored),
        last_event_at: facts.last_at,
        read_at,
    });
    view.backups = Some(backups(facts));
    view.integrity = book.recovery.last_integrity.map(|last| IntegrityHealth {
        at: last.at,
        passed: last.passed,
        level: last.level,
        findings: last.findings,
        checks: last.checks,
    });
    view.drill = book.drill.clone();
    view.migrations = set.map(|set| migrations(set, facts));
    view.drift = book.recovery.drift.map(|drift| (drift.differences, drift.at));
    let open = book.recovery.open_run.clone();
    let holder = answer.and_then(|answer| answer.holder.as_ref());
    let at_work = holder.map(|holder| describe_holder(Some(holder)));
    view.runs = RunHealth {
        in_doubt: match at_work {
            // Whoever is at work knows.
            Some(_) => Vec::new(),
            None => book.recovery.open_steps.iter().map(|step| step.id()).collect(),
        },
        open,
        at_work,
        last: book.recovery.last_run.clone(),
    };
}

fn backups(facts: &LogFacts) -> BackupHealth {
    let catalog = &facts.book.backups;
    let mut health = BackupHealth::default();
    // One that does not hold everything brings no database back.
    for (id, backup) in catalog.usable().filter(|(_, backup)| backup.is_full()) {
        health.usable += 1;
        health.usable_bytes += backup.bytes;
        if health.last.as_ref().is_none_or(|(.., at)| backup.at > *at) {
            health.last = Some((id.to_string(), backup.kind.clone(), backup.bytes, backup.at));
        }
        if let Some((depth, at)) = backup.verified()
            && health.last_verified.is_none_or(|(_, newest)| at > newest)
        {
            health.last_verified = Some((depth, at));
        }
    }
    let newest = health.last.as_ref().map(|(.., at)| *at);
    let failed = catalog.last_failure().filter(|failed| newest.is_none_or(|at| failed.at > at));
    health.failed = failed.map(|failed| (failed.reason.clone(), failed.at));
    health
}

fn migrations(set: &MigrationSet, facts: &LogFacts) -> MigrationHealth {
    let (history, recovery) = (&facts.book.history, &facts.book.recovery);
    let mut statuses = compare_files(set, history);
    count_half_done(&mut statuses, |version| recovery.partial.contains_key(version));
    let mut health = MigrationHealth::default();
    for status in &statuses {
        let id = format!("{}_{}", status.version, status.name);
        match status.state {
            FileState::Applied | FileState::Reformatted => health.applied += 1,
            FileState::Changed => {
                health.applied += 1;
                health.changed.push(id);
            }
            FileState::Missing => {
                health.applied += 1;
                health.missing.push(id);
            }
            FileState::Pending => health.pending.push(id),
            FileState::OutOfOrder => {
                health.pending.push(id.clone());
                health.out_of_order.push(id);
            }
        }
    }
    health.half_done = recovery.partial.values().map(|step| step.id()).collect();
    health
}

/// How log and database fit.
fn compare(target: &Target, facts: &LogFacts, answer: &Answer) -> Vec<Reason> {
    let (book, own) = (&facts.book, target.origin.as_str());
    let known = book.recovery.target.as_ref();
    if let Err(failure) = check_identity(target, &answer.facts.identity, known) {
        return vec![unreachable_reason(&failure)];
    }
    let elsewhere = answer.ledger.iter().any(|row| row.log_origin != own);
    if elsewhere || (!facts.exists && !answer.ledger.is_empty()) {
        let what = format!(
            "the target was migrated with a log that is not here: its ledger has {} rows",
            answer.ledger.len()
        );
        return vec![
            Reason::failing("log", what)
                .next("fetch the log from where it is kept, or look with: annals status"),
        ];
    }
    let mut mismatches = book.mismatches(&answer.ledger);
    if answer.holder.is_some() {
        // What a run under way has committed is in the ledger before it is in the log.
        mismatches.retain(|mismatch| {
            !matches!(mismatch, LedgerMismatch::NotInLog(_) | LedgerMismatch::OlderLog { .. })
        });
    }
    if mismatches.is_empty() {
        return Vec::new();
    }
    let findings: Vec<_> = mismatches.iter().map(LedgerMismatch::finding).collect();
    let first = &findings[0];
    let more = match findings.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let what = format!("log and ledger disagree: {}: {}{more}", first.subject, first.evidence);
    vec![Reason::failing("log", what).next("look with: annals status")]
}
