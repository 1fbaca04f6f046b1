//! `proof`: rehearses migrations and their rollbacks on a private server, and records what came of it.

use std::collections::BTreeSet;

use annals_event_store::EventStore;
use annals_events::{Event, ProofRecorded, ProofVerdict, Version};
use annals_executor::Interrupt;
use annals_migrations::{MigrationSet, Problem};
use annals_postgres::sandbox::{
    Databases, Lifetime, Likeness, Sandbox, SandboxOptions, read_likeness,
};
use annals_postgres::{ConnectionSpec, Session, SessionSettings};
use annals_projections::History;
use annals_proof::{
    Audience, Batch, Item, Place, PlaceError, Rehearsal, RehearsalOptions, StepProof, rehearse,
};

use tokio::sync::Mutex;

use crate::config::{ProofDemand, ProofPolicy};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure, TargetFailure};
use crate::open;
use crate::proven::policy;
use crate::sandbox;
use crate::targets::Target;
use crate::twin::copy_target;
use crate::workspace::Workspace;

/// Which migrations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProofOf {
    /// Those that are not applied.
    #[default]
    Pending,
    /// All of them.
    All,
    /// These.
    Versions(Vec<Version>),
}

/// What the rehearsal begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProofFrom {
    /// Nothing: every file is applied, in the order of the log.
    #[default]
    Empty,
    /// A copy of the target's schema as it is now.
    Target,
}

/// How to prove.
#[derive(Debug, Clone, Default)]
pub struct ProofOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// Which migrations.
    pub of: ProofOf,
    /// What is proven together.
    pub batch: Batch,
    /// Compute only.
    pub no_record: bool,
    /// What it begins with.
    pub from: ProofFrom,
    /// How many databases are rehearsed in side by side at most; as many as there are processors, where
    /// there is enough to do, if none.
    pub jobs: Option<usize>,
}

/// What came of it.
#[derive(Debug)]
pub struct ProofView {
    /// The target.
    pub target: String,
    /// The version of the server it was rehearsed on, such as `15.18`.
    pub server_version: String,
    /// The rehearsal.
    pub rehearsal: Rehearsal,
    /// Which verdicts the target accepts, and what it asks for.
    pub policy: ProofPolicy,
    /// Events that were recorded.
    pub recorded: u64,
    /// Where the sandbox is not like the target, and what else should be known.
    pub notes: Vec<String>,
    /// How long the rehearsal took, in microseconds.
    pub us: u64,
}

impl ProofView {
    /// Whether the target accepts every verdict.
    pub fn is_accepted(&self) -> bool {
        let all = self.rehearsal.steps.iter();
        self.rehearsal.not_reached.is_empty()
            && all.map(|step| step.verdict).all(|verdict| self.policy.accepts(verdict))
    }
}

/// The database a rehearsal begins with.
const START: &str = "annals_start";

/// A private server that goes with this value.
struct Stage {
    sandbox: Sandbox,
    /// One at a time makes or drops one.
    databases: Mutex<Databases>,
}

impl Place for Stage {
    fn spec(&self, database: &str) -> ConnectionSpec {
        self.sandbox.database_spec(database)
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), PlaceError> {
        self.databases.lock().await.create_from(from, to).await.map_err(|error| PlaceError {
            what: format!("clone {from}"),
            reason: error.to_string(),
        })
    }

    async fn discard(&self, database: &str) -> Result<(), PlaceError> {
        let mut databases = self.databases.lock().await;
        Databases::drop(&mut databases, database).await.map_err(|error| PlaceError {
            what: format!("drop {database}"),
            reason: error.to_string(),
        })
    }
}

/// What is known of the target before anything is rehearsed.
struct Known {
    history: History,
    likeness: Likeness,
    roles: Vec<String>,
    major: u32,
}

/// Rehearses, and records the verdicts in the target's log.
///
/// # Errors
///
/// When the rehearsal cannot be held. What is wrong with a migration is in the result.
pub async fn proof(
    environment: &Environment,
    options: &ProofOptions,
    audience: &mut impl Audience,
    interrupt: &mut Interrupt,
) -> Result<ProofView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let set = workspace.load()?;
    check_readable(&set)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let known = know(environment, &workspace, &target).await?;
    let items = match options.from {
        ProofFrom::Empty => items(&set, &known.history, &options.of)?,
        ProofFrom::Target => pending(&set, &known.history, &options.of)?,
    };
    let policy = policy(&workspace, &target);
    let mut notes = Vec::new();
    let began = std::time::Instant::now();
    let stage = set_up(environment, &workspace, &target, &known, &set, &mut notes).await?;
    if options.from == ProofFrom::Target && !items.is_empty() {
        let into = (&stage.sandbox, START);
        notes.extend(copy_target(environment, &workspace, &target, into).await?);
    }
    let rehearsal_options = RehearsalOptions {
        folder: workspace.folder(),
        scope: &target.scope,
        batch: options.batch,
        start: START,
        lanes: lanes(options.jobs, &items),
    };
    let rehearsing = rehearse(&stage, &items, &rehearsal_options, audience);
    let mut rehearsal = tokio::select! {
        done = rehearsing => done?,
        () = interrupt.wait() => return Err(Failure::Interrupted),
    };
    if options.from == ProofFrom::Target {
        let note =
            format!("rehearsed on a copy of the schema of {}, not from nothing", target.name);
        rehearsal.steps.iter_mut().for_each(|step| step.notes.push(note.clone()));
    }
    let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let server_version = stage.sandbox.version().to_owned();
    stage.databases.into_inner().close().await;
    drop(stage.sandbox);
    let recorded = match options.no_record || rehearsal.steps.is_empty() {
        true => 0,
        false => {
            record(environment, &workspace, &target, &set, &rehearsal.steps, interrupt).await?
        }
    };
    let target = target.name;
    Ok(ProofView { target, server_version, rehearsal, policy, recorded, notes, us })
}

/// Lanes a rehearsal has by itself, at most: each is one more session that works all the time.
const LANES: usize = 4;

/// What a lane proves at least, for that more than making its databases is saved.
const OF_A_LANE: usize = 12;

fn lanes(asked: Option<usize>, items: &[Item<'_>]) -> usize {
    asked.unwrap_or_else(|| {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let proven = items.iter().filter(|item| item.prove).count();
        processors.min(LANES).min(proven / OF_A_LANE).max(1)
    })
}

/// What is wrong with files is said of all of them at once.
fn check_readable(set: &MigrationSet) -> Result<(), Failure> {
    let files =
        set.iter().flat_map(|migration| std::iter::once(&migration.up).chain(&migration.down));
    let problems: Vec<Problem> =
        files.filter_map(|file| file.script().err()).flatten().cloned().collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure::Files(problems)) }
}

const ROLES: &str = "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY 1";

async fn know(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
) -> Result<Known, Failure> {
    let mut look = open::look(environment, workspace, target, "annals/proof").await?;
    let read = async {
        let likeness = read_likeness(&mut look.session).await?;
        let roles = look.session.texts(ROLES).await?;
        Ok((likeness, roles.into_iter().flatten().flatten().collect()))
    };
    let (likeness, roles) = read.await.map_err(open::fault(target))?;
    let major = look.session.facts().major();
    look.session.close().await;
    Ok(Known { history: look.book.history, likeness, roles, major })
}

/// The way from nothing to the last migration that is to be proven.
fn items<'a>(
    set: &'a MigrationSet,
    history: &History,
    of: &ProofOf,
) -> Result<Vec<Item<'a>>, Failure> {
    let argument =
        |subject: String, reason: &str| Failure::Argument { subject, reason: reason.to_owned() };
    if let ProofOf::Versions(versions) = of
        && let Some(unknown) = versions.iter().find(|version| set.get(version).is_none())
    {
        return Err(argument(unknown.to_string(), "there is no migration of this version"));
    }
    for applied in history.applied() {
        if set.get(&applied.version).is_none() {
            let subject = format!("{}_{}", applied.version, applied.name);
            let reason = "is applied, and its file is gone: the sandbox cannot be built without it";
            return Err(argument(subject, reason));
        }
    }
    let is_applied = |version: &Version| history.is_applied(version);
    // What is applied was applied in the order of the log, what is pending follows in that of the
    // files.
    let applied = history.applied().iter().filter_map(|applied| set.get(&applied.version));
    let pending = set.iter().filter(|migration| !is_applied(&migration.version));
    let mut items: Vec<Item<'a>> = applied
        .chain(pending)
        .map(|migration| {
            let prove = match of {
                ProofOf::All => true,
                ProofOf::Pending => !is_applied(&migration.version),
                ProofOf::Versions(versions) => versions.contains(&migration.version),
            };
            Item { migration, prove }
        })
        .collect();
    let end = items.iter().rposition(|item| item.prove).map_or(0, |at| at + 1);
    items.truncate(end);
    Ok(items)
}

/// What is not applied: what is, is in the copy.
fn pending<'a>(
    set: &'a MigrationSet,
    history: &History,
    of: &ProofOf,
) -> Result<Vec<Item<'a>>, Failure> {
    let argument =
        |subject: String, reason: &str| Failure::Argument { subject, reason: reason.to_owned() };
    let named: &[Version] = match of {
        ProofOf::Versions(versions) => versions,
        ProofOf::Pending => &[],
        ProofOf::All => {
            let reason = "begins from nothing: from a copy of the target is what is not applied";
            return Err(argument("--all".to_owned(), reason));
        }
    };
    for version in named {
        if set.get(version).is_none() {
            return Err(argument(version.to_string(), "there is no migration of this version"));
        }
        if history.is_applied(version) {
            let reason = "is applied, and so in the copy of the target: prove it from nothing";
            return Err(argument(version.to_string(), reason));
        }
    }
    let open = set.iter().filter(|migration| !history.is_applied(&migration.version));
    let mut items: Vec<Item<'a>> = open
        .map(|migration| {
            let prove = named.is_empty() || named.contains(&migration.version);
            Item { migration, prove }
        })
        .collect();
    let end = items.iter().rposition(|item| item.prove).map_or(0, |at| at + 1);
    items.truncate(end);
    Ok(items)
}

/// A private server with an empty database like the target's.
async fn set_up(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    known: &Known,
    set: &MigrationSet,
    notes: &mut Vec<String>,
) -> Result<Stage, Failure> {
    let servers = sandbox::servers(environment, Some(workspace));
    let server = servers.nearest(Some(known.major)).map_err(TargetFailure::from)?;
    if server.major != known.major {
        notes.push(format!(
            "the target is PostgreSQL {}, and none is installed here: rehearsed on {}, which proves \
             nothing for the target",
            known.major, server.major
        ));
    }
    let name = format!("annals-proof-{}", environment.ids.next().simple());
    let folder = sandbox::base(environment).join(name);
    let cache = environment.sandbox_cache();
    let sandbox_options = SandboxOptions {
        folder: &folder,
        binaries: &server.binaries,
        platform: target.platform,
        lifetime: Lifetime::OfThisProcess,
        tcp_port: None,
        settings: &[],
        cache: cache.as_deref(),
        lock: None,
    };
    let sandbox = Sandbox::start(&sandbox_options).await.map_err(TargetFailure::from)?;
    make_roles(&sandbox, known, set).await?;
    let mut databases = sandbox.databases().await.map_err(TargetFailure::from)?;
    let unlike =
        databases.create_like(START, &known.likeness).await.map_err(TargetFailure::from)?;
    notes.extend(unlike.into_iter().map(|unlike| {
        format!("the sandbox is not like the target: {} ({})", unlike.what, unlike.reason)
    }));
    Ok(Stage { sandbox, databases: Mutex::new(databases) })
}

/// Roles the target has, files may name, and no file makes: without rights, and nobody logs in as one.
async fn make_roles(sandbox: &Sandbox, known: &Known, set: &MigrationSet) -> Result<(), Failure> {
    let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
    let spec = sandbox.superuser_spec("postgres");
    let mut session = spec.connect("annals/proof", &settings).await.map_err(TargetFailure::from)?;
    let made = async {
        let here = session.texts(ROLES).await?;
        let here: BTreeSet<String> = here.into_iter().flatten().flatten().collect();
        let by_files = made_by_files(set);
        let missing =
            known.roles.iter().filter(|role| !here.contains(*role) && !by_files.contains(*role));
        for role in missing {
            make_role(&mut session, role).await?;
        }
        Ok::<_, annals_postgres::Fault>(())
    };
    let made = made.await;
    session.close().await;
    made.map_err(|fault| annals_proof::RehearsalError::from(fault).into())
}

async fn make_role(session: &mut Session, role: &str) -> Result<(), annals_postgres::Fault> {
    session.run(&format!("CREATE ROLE \"{}\" NOLOGIN", role.replace('"', "\"\""))).await
}

/// Names that stand behind `CREATE ROLE`, `USER` or `GROUP` in any file.
fn made_by_files(set: &MigrationSet) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let scripts = set.iter().filter_map(|migration| migration.up.script().ok());
    for statement in scripts.flat_map(|script| &script.statements) {
        let words: Vec<&str> = statement.text.split_whitespace().collect();
        for three in words.windows(3) {
            let is = |word: &str, other: &str| word.eq_ignore_ascii_case(other);
            if is(three[0], "create")
                && ["role", "user", "group"].iter().any(|kind| is(three[1], kind))
            {
                let name = three[2].trim_matches([';', '\'']);
                names.insert(match name.strip_prefix('"') {
                    Some(quoted) => quoted.trim_end_matches('"').to_owned(),
                    None => name.to_ascii_lowercase(),
                });
            }
        }
    }
    names
}

/// Records each verdict with its report; a log that is not there yet begins with them.
async fn record(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    set: &MigrationSet,
    steps: &[StepProof],
    interrupt: &mut Interrupt,
) -> Result<u64, Failure> {
    let mut opened =
        open::open_to_verify(environment, workspace, target, "annals/proof", interrupt).await?;
    let mut events: Vec<Event> = opened.sighting(set).await?.into_iter().collect();
    for step in steps {
        let report = opened.recorder.log.put_blob(step.to_json().as_bytes()).await;
        events.push(event(step, report.map_err(LogFailure::from)?));
    }
    opened.record(events).await?;
    opened.publish().await?;
    opened.anchor(environment, workspace, target).await?;
    opened.close().await;
    Ok(steps.len() as u64)
}

fn event(step: &StepProof, report: annals_events::BlobRef) -> Event {
    ProofRecorded {
        after: step.after,
        batch: step.group.len() as u64,
        before: step.before,
        chain: step.chain.as_ref().map(|place| place.verdict),
        file: Box::new(step.file.clone()),
        lost_rows: step.lost_rows(),
        name: step.name.clone(),
        report,
        rollback: step.rollback.clone().map(Box::new),
        server_major: step.server_major,
        verdict: step.verdict,
        version: step.version.clone(),
    }
    .into()
}

impl ProofView {
    /// What the target asks for, in a word.
    pub fn demand(&self) -> &'static str {
        match self.policy.demand {
            ProofDemand::Off => "off",
            ProofDemand::Warn => "warn",
            ProofDemand::Require => "require",
        }
    }

    /// How many have this verdict.
    pub fn count(&self, verdict: ProofVerdict) -> usize {
        self.rehearsal.steps.iter().filter(|step| step.verdict == verdict).count()
    }
}
