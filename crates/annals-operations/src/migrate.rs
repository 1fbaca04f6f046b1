//! `plan`, `migrate` and `rollback`: decide, then do.

use std::iter;

use annals_event_store::EventStore;
use annals_events::{Digest, Event, PlanMade, RunId, TargetIdentity, Version};
use annals_executor::{Interrupt, Progress, RunContext, RunReport, execute, failpoint};
use annals_integrity::LedgerMismatch;
use annals_keys::Checkpoint;
use annals_lint::{LintFinding, lint};
use annals_migrations::{Migration, MigrationSet, Plan, Precondition, Timeouts, read_ahead};
use annals_planner::{Goal, Inputs, Planned};
use annals_postgres::{LockHolder, SchemaReader, Session};
use annals_projections::{History, LedgerRow, RecoveryState};

use crate::anchors::Anchored;
use crate::backup;
use crate::backups::Around;
use crate::book::Book;
use crate::config::DriftPolicy;
use crate::diverged::check_not_diverged;
use crate::drift::{BeforeRun, give_up};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::examine;
use crate::open::{self, Opened, Recovered};
use crate::pictures::Pictures;
use crate::preflight::{Touched, preflight};
use crate::proven::{self, ProofState};
use crate::targets::Target;
use crate::workspace::Workspace;

/// How far to migrate.
#[derive(Debug, Clone, Default)]
pub struct UpGoal {
    /// Up to and including this version; everything if none.
    pub to: Option<Version>,
    /// Versions that may be applied although later ones are.
    pub out_of_order: Vec<Version>,
}

/// How far to roll back.
#[derive(Debug, Clone)]
pub enum RolledGoal {
    /// Until this version is the last one applied; `0` for everything.
    To(Version),
    /// The last so many.
    Last(u64),
}

/// On which target.
#[derive(Debug, Clone, Default)]
pub struct ChangeOptions {
    /// Its name; the default one if none.
    pub target: Option<String>,
    /// All steps in one transaction: each takes effect, or none does.
    pub single_transaction: bool,
    /// Go on although the schema is not as expected.
    pub allow_drift: bool,
}

/// A plan that was made and not carried out.
#[derive(Debug, Clone)]
pub struct PlanPreview {
    /// The target.
    pub target: String,
    /// The plan.
    pub plan: Plan,
    /// Its hash.
    pub hash: Digest,
    /// Things that are allowed but should be known.
    pub notes: Vec<String>,
    /// What stands around the tables of the plan.
    pub surroundings: Vec<String>,
    /// What the safety rules say of its statements.
    pub lints: Vec<LintFinding>,
    /// How the rehearsals of its steps stand, by `<version>_<name>`; nothing where nobody asks.
    pub proofs: Vec<(String, ProofState)>,
}

/// What a change came to.
#[derive(Debug)]
pub struct ChangeOutcome {
    /// The target.
    pub target: String,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
    /// The plan that was carried out.
    pub plan: Plan,
    /// Things that are allowed but should be known.
    pub notes: Vec<String>,
    /// What stood around the tables of the plan before the run; told as it began.
    pub surroundings: Vec<String>,
    /// The run; none if there was nothing to do.
    pub run: Option<(RunId, RunReport)>,
    /// The signed head.
    pub checkpoint: Option<Checkpoint>,
    /// What the target's anchors hold now; nothing if the head has not moved.
    pub anchors: Vec<Anchored>,
    /// Events the largest head kept outside vouches for: in an anchor, in the target's ledger.
    pub anchored: u64,
    /// Why the schema could not be recorded or the head not signed after the run.
    pub unfinished: Option<Failure>,
    /// Events in the log.
    pub log_size: u64,
}

impl From<UpGoal> for Goal {
    fn from(goal: UpGoal) -> Self {
        Self::Up { to: goal.to, out_of_order: goal.out_of_order }
    }
}

impl From<RolledGoal> for Goal {
    fn from(goal: RolledGoal) -> Self {
        match goal {
            RolledGoal::To(version) => Self::DownTo(version),
            RolledGoal::Last(count) => Self::DownLast(count),
        }
    }
}

/// Plans without touching anything: what [`migrate`] or [`rollback`] would do now.
///
/// # Errors
///
/// As those would fail.
pub async fn plan(
    environment: &Environment,
    goal: impl Into<Goal>,
    options: &ChangeOptions,
) -> Result<PlanPreview, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let set = workspace.load()?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    preview(environment, &workspace, &set, &target, &goal.into(), options).await
}

/// A plan that nothing stands in the way of, on a look at its target.
struct Considered {
    plan: Plan,
    notes: Vec<String>,
    session: Session,
    book: Book,
}

/// Plans on a look at the target, and asks it what it will not do.
async fn consider(
    environment: &Environment,
    workspace: &Workspace,
    set: &MigrationSet,
    target: &Target,
    goal: &Goal,
    options: &ChangeOptions,
) -> Result<Considered, Failure> {
    let look = open::look(environment, workspace, target, "annals/plan").await?;
    let (book, ledger) = (look.book, look.ledger.as_slice());
    let mut session = look.session;
    let planned = plan_on(goal, workspace, (target, options), set, &{
        PlanInputs {
            book: &book,
            ledger,
            holder: look.holder.as_ref(),
            identity: session.facts().identity.clone(),
        }
    });
    if let Err(Failure::Refused(_)) = &planned {
        check_not_diverged(&mut session, target, &book, &book.mismatches(ledger)).await?;
    }
    let looked = match &planned {
        Ok(planned) => look_at(&mut session, set, target, &planned.plan).await,
        Err(_) => Ok(Vec::new()),
    };
    match (planned, looked) {
        (Ok(Planned { plan, mut notes }), Ok(looked)) => {
            notes.extend(looked);
            Ok(Considered { plan, notes, session, book })
        }
        (Err(refused), _) | (_, Err(refused)) => {
            session.close().await;
            Err(refused)
        }
    }
}

async fn preview(
    environment: &Environment,
    workspace: &Workspace,
    set: &MigrationSet,
    target: &Target,
    goal: &Goal,
    options: &ChangeOptions,
) -> Result<PlanPreview, Failure> {
    let considered = consider(environment, workspace, set, target, goal, options).await?;
    let Considered { plan, mut notes, mut session, book } = considered;
    let server_major = session.facts().major();
    let long_ms = workspace.config().long_transaction_ms;
    let surroundings = preflight(&mut session, Touched::by(&plan), long_ms).await;
    session.close().await;
    let policy = proven::policy(workspace, target);
    let proofs = proven::of_plan(&plan, set, &book.proofs, &policy, server_major);
    // A plan only shows what would be refused.
    match proven::check(target, &policy, &proofs) {
        Ok(note) => notes.extend(note),
        Err(refused) => notes.push(refused.to_string()),
    }
    if let Some(drift) = book.recovery.drift.filter(|_| !plan.steps.is_empty()) {
        notes.push(format!(
            "the schema had drifted at {}: {} objects; while it has, a run is refused (annals drift)",
            drift.at.to_human(),
            drift.differences
        ));
    }
    let lints = lint(&plan);
    Ok(PlanPreview {
        target: target.name.clone(),
        hash: plan.hash(),
        plan,
        notes,
        surroundings,
        lints,
        proofs,
    })
}

/// What a plan that is not carried out rests on.
struct PlanInputs<'a> {
    book: &'a Book,
    ledger: &'a [LedgerRow],
    holder: Option<&'a LockHolder>,
    identity: TargetIdentity,
}

fn plan_on(
    goal: &Goal,
    workspace: &Workspace,
    (target, options): (&Target, &ChangeOptions),
    set: &MigrationSet,
    inputs: &PlanInputs<'_>,
) -> Result<Planned, Failure> {
    let book = inputs.book;
    let mismatches = book.mismatches(inputs.ledger);
    let may_change = book.recovery.open_run.is_some() || !mismatches.is_empty();
    if let Some(holder) = inputs.holder.filter(|_| may_change) {
        return Err(open::locked(target, Some(holder)));
    }
    open::check_log_is_whole(target, inputs.ledger, book)?;
    let precondition = Precondition {
        log_size: book.size,
        log_head: book.head.unwrap_or(annals_events::LeafHash::ZERO),
        system_identifier: inputs.identity.system_identifier.clone(),
        database: inputs.identity.database.clone(),
    };
    let known = Known {
        set,
        history: &book.history,
        recovery: &book.recovery,
        mismatches: &mismatches,
        precondition: &precondition,
    };
    decide(goal, workspace, (target, options), &known)
}

/// What the target says of a plan: what it will not do, and how much there is to do.
async fn look_at(
    session: &mut Session,
    set: &MigrationSet,
    target: &Target,
    plan: &Plan,
) -> Result<Vec<String>, Failure> {
    examine::check(session, set, target, plan).await?;
    examine::estimates(session, target, plan).await
}

struct Known<'a> {
    set: &'a MigrationSet,
    history: &'a History,
    recovery: &'a RecoveryState,
    mismatches: &'a [LedgerMismatch],
    precondition: &'a Precondition,
}

fn decide(
    goal: &Goal,
    workspace: &Workspace,
    (target, options): (&Target, &ChangeOptions),
    known: &Known<'_>,
) -> Result<Planned, Failure> {
    let config = workspace.config();
    let inputs = Inputs {
        set: known.set,
        history: known.history,
        recovery: known.recovery,
        ledger: known.mismatches,
        workspace: &config.workspace,
        target: &target.name,
        precondition: known.precondition,
        timeouts: Timeouts {
            lock_ms: config.lock_timeout_ms,
            lock_outside_ms: 0,
            statement_ms: config.statement_timeout_ms,
        },
        single_transaction: options.single_transaction,
    };
    if matches!(goal, Goal::Up { to: None, .. }) {
        let is_pending = |next: &&Migration| !known.history.is_applied(&next.version);
        let pending = known.set.iter().filter(is_pending);
        read_ahead(pending.flat_map(|next| iter::once(&next.up).chain(next.down.as_ref())));
    }
    Ok(annals_planner::plan(goal, &inputs)?)
}

/// Applies what is pending.
///
/// # Errors
///
/// When nothing was begun: see [`Failure`]. How a run that was begun ended is in the outcome.
pub async fn migrate<P: Progress>(
    environment: &Environment,
    goal: UpGoal,
    options: &ChangeOptions,
    progress: &mut P,
    interrupt: &mut Interrupt,
) -> Result<ChangeOutcome, Failure> {
    change(environment, &goal.into(), options, progress, interrupt).await
}

/// Rolls back.
///
/// # Errors
///
/// As [`migrate`].
pub async fn rollback<P: Progress>(
    environment: &Environment,
    goal: RolledGoal,
    options: &ChangeOptions,
    progress: &mut P,
    interrupt: &mut Interrupt,
) -> Result<ChangeOutcome, Failure> {
    change(environment, &goal.into(), options, progress, interrupt).await
}

async fn change<P: Progress>(
    environment: &Environment,
    goal: &Goal,
    options: &ChangeOptions,
    progress: &mut P,
    interrupt: &mut Interrupt,
) -> Result<ChangeOutcome, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    // Before anything is created for a workspace whose files are not in order.
    let files = workspace.load()?;
    failpoint::hit("after_files");
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    if !target.home().exists().await? {
        // A first run that would be refused begins no log and makes no keys.
        match consider(environment, &workspace, &files, &target, goal, options).await {
            // What has no log has no proofs either.
            Ok(Considered { plan, session, book, .. }) => {
                let major = session.facts().major();
                session.close().await;
                let policy = proven::policy(&workspace, &target);
                let proofs = proven::of_plan(&plan, &files, &book.proofs, &policy, major);
                proven::check(&target, &policy, &proofs)?;
            }
            // Somebody was faster, and is waited for below.
            Err(Failure::Locked { .. }) => {}
            Err(refused) => return Err(refused),
        }
    }
    let run = environment.ids.run();
    let application = format!("annals/{run}");
    // Only then, with the lock held, is what is read what will be acted on.
    let mut again = None;
    let locked = || again = Some(workspace.load_apart());
    let opening = open::open_and(environment, &workspace, &target, &application, interrupt, locked);
    let mut opened = opening.await?;
    for run in &opened.recovered {
        progress.recovered(&run.by, run.started_at, &run.steps);
    }
    failpoint::hit("after_lock");
    if let Err(refused) = opened.check_same_server(&target).await {
        return Err(give_up(opened, refused).await?);
    }
    let again = again.expect("invariant: what is open was locked");
    let set = again.wait()?.knowing(files);
    failpoint::hit("after_files_again");
    let head = opened.recorder.log.head();
    let identity = opened.session.facts().identity.clone();
    let precondition = Precondition {
        log_size: head.size,
        log_head: head.leaf,
        system_identifier: identity.system_identifier,
        database: identity.database,
    };
    let known = Known {
        set: &set,
        history: opened.history(),
        recovery: opened.recovery(),
        mismatches: &opened.mismatches,
        precondition: &precondition,
    };
    let planned = match decide(goal, &workspace, (&target, options), &known) {
        Ok(planned) => planned,
        Err(refused) => return Err(give_up(opened, refused).await?),
    };
    let policy = proven::policy(&workspace, &target);
    let major = opened.session.facts().major();
    let proofs = proven::of_plan(&planned.plan, &set, &opened.book().proofs, &policy, major);
    let unproven = match proven::check(&target, &policy, &proofs) {
        Ok(note) => note,
        Err(refused) => return Err(give_up(opened, refused).await?),
    };
    let examined = examine::check(&mut opened.session, &set, &target, &planned.plan).await;
    if let Err(refused) = examined {
        return Err(give_up(opened, refused).await?);
    }
    let touched = Touched::by(&planned.plan);
    let mut notes = planned.notes;
    if !planned.plan.steps.is_empty() {
        let around = Around { environment, workspace: &workspace, target: &target };
        // In front of the look for drift: between that and the first step is no time for others.
        match backup::before_run(around, &mut opened, run, interrupt).await {
            Ok(taken) => notes.extend(taken.map(|taken| {
                format!("backup {} was taken before the run: {} rows", taken.backup, taken.rows)
            })),
            Err(refused) => return Err(give_up(opened, refused).await?),
        }
    }
    let before = match planned.plan.steps.is_empty() {
        true => None,
        false => match before_run(&mut opened, &workspace, &target, options).await {
            Ok(before) => Some(before),
            Err(refused) => return Err(give_up(opened, refused).await?),
        },
    };
    let mut surroundings = Vec::new();
    notes.extend(unproven);
    let sighting = opened.sighting(&set).await?;
    let report = match before {
        None => {
            if let Some(event) = sighting {
                opened.record(vec![event]).await?;
            }
            None
        }
        Some(before) => {
            opened.publish().await?;
            if let Err(refused) = opened.require_anchors(environment, &workspace, &target).await {
                return Err(give_up(opened, refused).await?);
            }
            let long_ms = workspace.config().long_transaction_ms;
            surroundings = preflight(&mut opened.session, touched, long_ms).await;
            for note in &surroundings {
                progress.notice("note", note);
            }
            let plan = &planned.plan;
            let BeforeRun { expected, found, events, notes: said } = before;
            notes.extend(said);
            let fresh = SchemaReader::new(target.scope.clone());
            let reader = std::mem::replace(&mut opened.reader, fresh);
            let of = plan.steps.len() as u64;
            let cost = (of, opened.reading);
            let pictures =
                Pictures::begin(&mut opened.session, reader, (expected, found), cost).await;
            opened.recorder.pictures = Some(pictures.map_err(open::fault(&target))?);
            let begin = RunBeginning { run, sighting, schema: events };
            let ran = carry_out(&mut opened, &workspace, &target, plan, begin, progress, interrupt);
            Some((run, ran.await?))
        }
    };
    notes.extend(report.iter().flat_map(|(_, report)| report.notes.iter().cloned()));
    let closed = close_run(&mut opened, report.as_ref()).await;
    // The run is over and recorded: what goes wrong now is told beside it, not instead of it.
    let (mut checkpoint, mut unfinished) = match (closed, &report) {
        (Ok(checkpoint), _) => (checkpoint, None),
        (Err(failure), Some(_)) => (None, Some(failure)),
        (Err(failure), None) => return Err(failure),
    };
    let mut anchors = Vec::new();
    if checkpoint.is_some() {
        match opened.anchor(environment, &workspace, &target).await {
            Ok(outcomes) => anchors = outcomes,
            Err(failure) => unfinished = Some(failure),
        }
        checkpoint = Some(opened.recorder.log.checkpoint());
    }
    failpoint::hit("before_unlock");
    let log_size = opened.recorder.log.head().size;
    let anchored = opened.anchored();
    let recovered = std::mem::take(&mut opened.recovered);
    opened.close().await;
    Ok(ChangeOutcome {
        target: target.name,
        recovered,
        plan: planned.plan,
        notes,
        surroundings,
        run: report,
        checkpoint,
        anchors,
        anchored,
        unfinished,
        log_size,
    })
}

/// What must be in order before anything is written for a run: the schema is as expected, and the
/// ledger is there.
async fn before_run(
    opened: &mut Opened<'_>,
    workspace: &Workspace,
    target: &Target,
    options: &ChangeOptions,
) -> Result<BeforeRun, Failure> {
    let policy = match options.allow_drift {
        true => DriftPolicy::Warn,
        false => workspace.config().drift,
    };
    let before = opened.check_drift(target, policy).await?;
    opened.session.install_ledger().await?;
    Ok(before)
}

/// Records the schema a run has left, and signs the head.
async fn close_run(
    opened: &mut Opened<'_>,
    report: Option<&(RunId, RunReport)>,
) -> Result<Option<Checkpoint>, Failure> {
    if let Some((run, report)) = report {
        if !is_recorded(report) {
            return Ok(None);
        }
        // A run that left nothing says nothing about what it found.
        let touched = report.done > 0 || !opened.recovery().partial.is_empty();
        if report.session_alive && touched {
            opened.record_schema(*run).await?;
        }
        failpoint::hit("after_schema");
    }
    opened.publish().await
}

/// Whether the log holds everything that happened, so that its head may be signed.
fn is_recorded(report: &RunReport) -> bool {
    !matches!(
        report.end,
        annals_executor::RunEnd::NotRecorded { .. } | annals_executor::RunEnd::InDoubt { .. }
    )
}

/// What a run begins with.
struct RunBeginning {
    run: RunId,
    /// Which migrations there are, if the log does not say so yet.
    sighting: Option<Event>,
    /// What is to be recorded of the schema it was found with.
    schema: Vec<Event>,
}

#[allow(clippy::too_many_arguments, reason = "one call, and every argument is a part of a run")]
async fn carry_out<P: Progress>(
    opened: &mut Opened<'_>,
    workspace: &Workspace,
    target: &Target,
    plan: &Plan,
    RunBeginning { run, sighting, schema }: RunBeginning,
    progress: &mut P,
    interrupt: &mut Interrupt,
) -> Result<RunReport, Failure> {
    let blob = opened
        .recorder
        .log
        .put_blob(plan.to_canonical_json().as_bytes())
        .await
        .map_err(LogFailure::from)?;
    failpoint::hit("after_plan");
    let made = PlanMade { direction: plan.direction, plan: blob, steps: plan.steps.len() as u64 };
    let partial = opened.recovery().partial.iter();
    let begun = partial.map(|(version, step)| (version.clone(), step.intents.clone())).collect();
    let actor = opened.recorder.envelopes.actor().name.clone();
    let context = RunContext {
        run,
        workspace: &workspace.config().workspace,
        origin: target.origin.as_str(),
        actor: &actor,
        lock: opened.lock,
        folder: workspace.folder(),
        spec: &opened.spec,
        settings: target.settings(workspace),
        patience: workspace.config().patience,
        preamble: sighting.into_iter().chain(schema).chain([Event::from(made)]).collect(),
        begun,
    };
    let report =
        execute(&mut opened.session, plan, &context, &mut opened.recorder, progress, interrupt)
            .await;
    opened.compare();
    Ok(report)
}
