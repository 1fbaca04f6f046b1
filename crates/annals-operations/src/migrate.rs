//! `plan`, `migrate` and `rollback`: decide, then do.

use std::iter;

use annals_event_store::EventStore;
use annals_events::{
    BreakGlassUsed, Digest, Direction, EmergencyDeclared, Event, PlanMade, RunId, TargetIdentity,
    Version, WithoutSafeguard,
};
use annals_executor::{Interrupt, Progress, RunContext, RunReport, execute, failpoint};
use annals_integrity::LedgerMismatch;
use annals_keys::Checkpoint;
use annals_lint::{LintFinding, lint};
use annals_migrations::{Migration, MigrationSet, Plan, Precondition, Timeouts, read_ahead};
use annals_planner::{Goal, Inputs, Planned};
use annals_postgres::{LockHolder, SchemaReader, Session};
use annals_projections::{History, LedgerRow, RecoveryState};

use crate::anchors::Anchored;
use crate::approvals::{self, Asked, Authority, Cleared};
use crate::backups::Around;
use crate::book::Book;
use crate::config::DriftPolicy;
use crate::diverged::check_not_diverged;
use crate::drift::{BeforeRun, give_up};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::examine;
use crate::losses::{self, StepLoss, loss_in_words};
use crate::open::{self, Opened, Recovered};
use crate::pictures::Pictures;
use crate::preflight::{Touched, preflight};
use crate::proven::{self, ProofState};
use crate::safeguard::{self, ExternalBackup};
use crate::targets::Target;
use crate::traces::{Traces, TracesTo};
use crate::wish::{RolledGoal, Wish};
use crate::workspace::Workspace;

/// How far to migrate.
#[derive(Debug, Clone, Default)]
pub struct UpGoal {
    /// Up to and including this version; everything if none.
    pub to: Option<Version>,
    /// Versions that may be applied although later ones are.
    pub out_of_order: Vec<Version>,
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
    /// Why this is an emergency, if it is one: it is announced as one, drift does not stop it, and
    /// neither does a backup that cannot be taken.
    pub emergency: Option<String>,
    /// A plan that was approved, or one person's word.
    pub authority: Authority,
    /// The backup of somebody else's the run relies on, where the target wants one.
    pub external: Option<ExternalBackup>,
    /// Where the trace of the run goes.
    pub traces: TracesTo,
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
    /// The strongest lock each step took when it was rehearsed, where it was.
    pub locks: Vec<(String, String)>,
    /// What its steps take away, counted now.
    pub losses: Vec<StepLoss>,
    /// The backup that would be seen to first: `full`, `schema`, `scoped`, `external`.
    pub backup: Option<&'static str>,
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
    /// What a rollback took away, as it was counted before.
    pub losses: Vec<StepLoss>,
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

impl From<UpGoal> for Wish {
    fn from(goal: UpGoal) -> Self {
        Self::Goal(Goal::Up { to: goal.to, out_of_order: goal.out_of_order })
    }
}

/// Plans without touching anything: what [`migrate`] or [`rollback`] would do now.
///
/// # Errors
///
/// As those would fail.
pub async fn plan(
    environment: &Environment,
    goal: impl Into<Wish>,
    options: &ChangeOptions,
) -> Result<PlanPreview, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let set = workspace.load()?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    preview(environment, &workspace, &set, &target, &goal.into(), options).await
}

/// A plan that nothing stands in the way of, on a look at its target.
pub(crate) struct Considered {
    pub(crate) plan: Plan,
    pub(crate) notes: Vec<String>,
    pub(crate) session: Session,
    pub(crate) book: Book,
}

/// Plans on a look at the target, and asks it what it will not do.
pub(crate) async fn consider(
    environment: &Environment,
    workspace: &Workspace,
    set: &MigrationSet,
    target: &Target,
    goal: &Wish,
    options: &ChangeOptions,
) -> Result<Considered, Failure> {
    let look = open::look(environment, workspace, target, "annals/plan").await?;
    let (book, ledger) = (look.book, look.ledger.as_slice());
    let mut session = look.session;
    if let Err(refused) = open::refuse_unsettled_restore(target, &book) {
        session.close().await;
        return Err(refused);
    }
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
    goal: &Wish,
    options: &ChangeOptions,
) -> Result<PlanPreview, Failure> {
    let considered = consider(environment, workspace, set, target, goal, options).await?;
    let Considered { plan, mut notes, mut session, book } = considered;
    let server_major = session.facts().major();
    let long_ms = workspace.config().long_transaction_ms;
    let surroundings = preflight(&mut session, Touched::by(&plan), long_ms).await;
    let losses = losses::of_plan(&mut session, target, &plan).await;
    let policy = proven::policy(workspace, target);
    let all = approvals::proofs_of(&plan, set, &book.proofs, &policy, server_major);
    let told = approvals::tell(&mut session, (workspace, target), &plan, &all).await;
    session.close().await;
    notes.extend(told?);
    let losses = losses?;
    let proofs = proven::of_plan(&plan, set, &book.proofs, &policy, server_major);
    let locks = proven::locks(target, &plan, set, &book.proofs).await;
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
        locks,
        losses,
        backup: safeguard::policy(workspace, target),
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
    goal: &Wish,
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
    goal: &Wish,
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
    let goal = &goal.goal(known.history, known.recovery)?;
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

/// Carries out exactly the plan that was written down, up or down, or refuses; the authority of
/// `options` names it.
///
/// # Errors
///
/// As [`migrate`]; and when anything the plan was made under is otherwise now.
pub async fn carry_out_plan<P: Progress>(
    environment: &Environment,
    direction: Direction,
    options: &ChangeOptions,
    progress: &mut P,
    interrupt: &mut Interrupt,
) -> Result<ChangeOutcome, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let written = approvals::read_authority(environment, &options.authority)?;
    let Some(written) = written else {
        let reason = "is needed: what is carried out is a plan".to_owned();
        return Err(Failure::Argument { subject: "--plan".to_owned(), reason });
    };
    approvals::check_addressed(&workspace, &written, direction, options.target.as_deref())?;
    let options = ChangeOptions {
        target: Some(written.plan.target.clone()),
        single_transaction: written.plan.single_transaction,
        ..options.clone()
    };
    let goal = approvals::goal_of(&written.plan);
    change(environment, &Wish::Goal(goal), &options, progress, interrupt).await
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
    goal: &Wish,
    options: &ChangeOptions,
    progress: &mut P,
    interrupt: &mut Interrupt,
) -> Result<ChangeOutcome, Failure> {
    let mut traces = Traces::to(environment, &options.traces)?;
    let changed = change_on(environment, goal, options, (progress, &mut traces), interrupt).await;
    // Nobody waits for the target any more.
    traces.send().await;
    changed
}

async fn change_on<P: Progress>(
    environment: &Environment,
    goal: &Wish,
    options: &ChangeOptions,
    (progress, traces): (&mut P, &mut Traces),
    interrupt: &mut Interrupt,
) -> Result<ChangeOutcome, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    // Before anything is created for a workspace whose files are not in order.
    let files = workspace.load()?;
    failpoint::hit("after_files");
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    safeguard::check(&workspace, &target, options.external.as_ref())?;
    let written = approvals::read_authority(environment, &options.authority)?;
    if !target.home().exists().await? {
        // A first run that would be refused begins no log and makes no keys.
        match consider(environment, &workspace, &files, &target, goal, options).await {
            // What has no log has no proofs either.
            Ok(Considered { plan, mut session, book, .. }) => {
                let major = session.facts().major();
                let policy = proven::policy(&workspace, &target);
                let all = approvals::proofs_of(&plan, &files, &book.proofs, &policy, major);
                let on = (&workspace, &target);
                let authority = &options.authority;
                let unborn = approvals::clear_unborn(&mut session, on, authority, &plan, &all);
                let unborn = unborn.await;
                session.close().await;
                unborn?;
                let proofs = proven::of_plan(&plan, &files, &book.proofs, &policy, major);
                if plan.direction == Direction::Up {
                    proven::check(&target, &policy, &proofs)?;
                }
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
    traces.settled(&mut opened).await;
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
    let left = written.as_ref().map(|written| {
        let register = &opened.book().register;
        approvals::goal_left(register, written, opened.history())
    });
    let planned = match left.transpose() {
        Ok(left) => {
            let left = left.map(Wish::Goal);
            decide(left.as_ref().unwrap_or(goal), &workspace, (&target, options), &known)
        }
        Err(spent) => Err(spent),
    };
    let mut planned = match planned {
        Ok(planned) => planned,
        Err(refused) => return Err(give_up(opened, refused).await?),
    };
    let policy = proven::policy(&workspace, &target);
    let major = opened.session.facts().major();
    let proofs = proven::of_plan(&planned.plan, &set, &opened.book().proofs, &policy, major);
    // A way back is not kept from anybody for want of a rehearsal.
    let checked = match planned.plan.direction {
        Direction::Up => proven::check(&target, &policy, &proofs),
        Direction::Down => Ok(None),
    };
    let unproven = match checked {
        Ok(note) => note,
        Err(refused) => return Err(give_up(opened, refused).await?),
    };
    let examined = examine::check(&mut opened.session, &set, &target, &planned.plan).await;
    if let Err(refused) = examined {
        return Err(give_up(opened, refused).await?);
    }
    let all = approvals::proofs_of(&planned.plan, &set, &opened.book().proofs, &policy, major);
    let asked = Asked {
        workspace: &workspace,
        target: &target,
        authority: &options.authority,
        written: written.as_ref(),
        live: &planned.plan,
        proofs: &all,
        now: environment.clock.now(),
        run,
    };
    let cleared = match approvals::clear(&mut opened, &asked).await {
        Ok(cleared) => cleared,
        Err(refused) => return Err(give_up(opened, refused).await?),
    };
    if let Some(approved) = &cleared.plan {
        // The steps are compared: what is carried out is what was approved, or what is left of it.
        planned.plan = Plan { steps: planned.plan.steps, ..approved.clone() };
    }
    for note in &cleared.notes {
        progress.notice("note", note);
    }
    let losses = match planned.plan.direction {
        Direction::Up => Vec::new(),
        Direction::Down => {
            match losses::of_plan(&mut opened.session, &target, &planned.plan).await {
                Ok(losses) => losses,
                Err(refused) => return Err(give_up(opened, refused).await?),
            }
        }
    };
    for loss in &losses {
        progress.notice("lost", &format!("{} takes away {}", loss.step, loss_in_words(loss)));
    }
    let touched = Touched::by(&planned.plan);
    let mut notes = planned.notes;
    let mut announced = announced(options, &planned.plan, opened.history(), run);
    if !planned.plan.steps.is_empty() {
        // In front of the backup, which is the first that is written for this run.
        opened.publish().await?;
        if let Err(refused) = opened.require_anchors(environment, &workspace, &target).await {
            return Err(give_up(opened, refused).await?);
        }
        let around = Around { environment, workspace: &workspace, target: &target };
        // In front of the look for drift: between that and the first step is no time for others.
        let what = (run, &planned.plan, &set);
        let external = options.external.as_ref();
        match safeguard::before_run(
            around,
            &mut opened,
            what,
            external,
            (&mut *progress, interrupt),
        )
        .await
        {
            Ok(said) => notes.extend(said),
            // In an emergency the way back is worth more than one more copy of what is broken.
            Err(missing) if options.emergency.is_some() && !is_interrupted(&missing) => {
                let reason =
                    format!("{}: {missing}", options.emergency.clone().unwrap_or_default());
                let without = WithoutSafeguard::Backup;
                announced.push(BreakGlassUsed { journal: None, reason, run, without }.into());
                notes.push(format!("no backup could be taken before this run: {missing}"));
            }
            Err(refused) => {
                progress.notice("note", &safeguard::demand(&workspace, &target));
                return Err(give_up(opened, refused).await?);
            }
        }
    }
    let before = match planned.plan.steps.is_empty() {
        true => None,
        false => match before_run(&mut opened, &workspace, &target, options).await {
            Ok(before) => {
                let found = before.found.fingerprint().digest;
                if let Err(refused) = approvals::check_schema(cleared.schema, found) {
                    return Err(give_up(opened, refused).await?);
                }
                Some(before)
            }
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
            let schema = events.into_iter().chain(announced).collect();
            let begin = RunBeginning { run, sighting, schema, cleared };
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
    traces.ran(&mut opened, head.size, run).await;
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
        losses,
        run: report,
        checkpoint,
        anchors,
        anchored,
        unfinished,
        log_size,
    })
}

const fn is_interrupted(failure: &Failure) -> bool {
    matches!(failure, Failure::Interrupted)
}

/// What is said of an emergency before it begins.
fn announced(options: &ChangeOptions, plan: &Plan, history: &History, run: RunId) -> Vec<Event> {
    let Some(reason) = options.emergency.clone() else { return Vec::new() };
    let goes = |version: &Version| plan.steps.iter().any(|step| step.version == *version);
    let stays = history.applied().iter().rev().find(|applied| !goes(&applied.version));
    let to_version = stays.map(|applied| applied.version.clone());
    vec![EmergencyDeclared { reason, run, to_version }.into()]
}

/// What must be in order before anything is written for a run: the schema is as expected, and the
/// ledger is there.
async fn before_run(
    opened: &mut Opened<'_>,
    workspace: &Workspace,
    target: &Target,
    options: &ChangeOptions,
) -> Result<BeforeRun, Failure> {
    let policy = match options.allow_drift || options.emergency.is_some() {
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
    /// What the gate let pass.
    cleared: Cleared,
}

#[allow(clippy::too_many_arguments, reason = "one call, and every argument is a part of a run")]
async fn carry_out<P: Progress>(
    opened: &mut Opened<'_>,
    workspace: &Workspace,
    target: &Target,
    plan: &Plan,
    RunBeginning { run, sighting, schema, cleared }: RunBeginning,
    progress: &mut P,
    interrupt: &mut Interrupt,
) -> Result<RunReport, Failure> {
    // What an earlier run of an approved plan has left is a run of that plan.
    let whole = cleared.plan.as_ref().unwrap_or(plan);
    let blob = opened
        .recorder
        .log
        .put_blob(whole.to_canonical_json().as_bytes())
        .await
        .map_err(LogFailure::from)?;
    failpoint::hit("after_plan");
    let made = PlanMade { direction: plan.direction, plan: blob, steps: plan.steps.len() as u64 };
    let partial = opened.recovery().partial.iter();
    let begun = partial.map(|(version, step)| (version.clone(), step.intents.clone())).collect();
    let actor = opened.recorder.envelopes.actor().name.clone();
    let context = RunContext {
        plan: blob.digest,
        run,
        workspace: &workspace.config().workspace,
        origin: target.origin.as_str(),
        actor: &actor,
        lock: opened.lock,
        folder: workspace.folder(),
        spec: &opened.spec,
        settings: target.settings(workspace),
        patience: workspace.config().patience,
        preamble: cleared
            .events
            .into_iter()
            .chain(sighting)
            .chain(schema)
            .chain([Event::from(made)])
            .collect(),
        begun,
    };
    let report =
        execute(&mut opened.session, plan, &context, &mut opened.recorder, progress, interrupt)
            .await;
    opened.compare();
    Ok(report)
}
