//! A step that is one transaction: exactly once.
//!
//! The ledger row comes first, so whoever runs the same step at the same time waits here and is then
//! refused; it commits with the SQL or not at all. A crash before `COMMIT` reaches the server leaves
//! nothing; a crash after leaves the row, and the next command finds it.
//!
//! The intent is in the log before the transaction begins, and durable before `COMMIT` is sent:
//! the disk works while the server does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use annals_events::{Effect, Evidence, ReconciledAs, RecordedError, StepMode, StepReconciled};
use annals_migrations::{PlannedStep, relations};
use annals_postgres::{
    Begun, Blocker, Fault, Session, StepBeginning, StepCommit, StepFault, Witness,
};

use crate::context::{Intent, Recorder, RecorderError};
use crate::failpoint;
use crate::reconcile::{ReconcileError, settle_commit};
use crate::retry::{Enough, LOCK_NOT_AVAILABLE, lost_to_others};
use crate::run::{
    Stage, StepEnd, UNIQUE_VIOLATION, already_taken, describe, key, ledger_row, limits, may_have,
    shorten,
};
use crate::send::{SendFault, send};
use crate::watch::{Ended, Eyes, Manner, named, watched};

/// Runs the step; when it loses against others, rolls it back and runs all of it again, as often and
/// as long as the run's patience allows. Between two attempts no transaction is open.
pub(crate) async fn run<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
) -> StepEnd {
    stage.watcher.forget();
    let mut tried = 0;
    loop {
        tried += 1;
        let began = Instant::now();
        let lost = match attempt(stage, step, at, intent).await {
            Ok(end) => return end,
            Err(lost) => lost,
        };
        if let Err(end) = before_another(stage, step, lost, tried, began).await {
            return end;
        }
    }
}

/// Pauses before another attempt; the step's end where there is to be none.
pub(crate) async fn before_another<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    lost: Lost,
    tried: u32,
    began: Instant,
) -> Result<(), StepEnd> {
    again(stage, step, lost, tried, began).await.map_err(|no_more| match no_more {
        NoMore::GivenUp(error, hint) => StepEnd::Failed { error, effect: Effect::None, hint },
        NoMore::Stopped => {
            let reason = "stopped on request before another attempt".to_owned();
            StepEnd::Interrupted { effect: Effect::None, reason }
        }
    })
}

/// Why there is no other attempt.
pub(crate) enum NoMore {
    /// There were as many as allowed, or for as long.
    GivenUp(RecordedError, Option<String>),
    /// A stop was asked for.
    Stopped,
}

/// Pauses before another attempt of what was `tried` so often, the last time since `began`.
pub(crate) async fn again<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    lost: Lost,
    tried: u32,
    began: Instant,
) -> Result<(), NoMore> {
    let pause = match stage.retries.after(tried, began.elapsed()) {
        Ok(pause) => pause,
        Err(enough) => return Err(given_up(stage, step, lost, tried, enough).await),
    };
    stage
        .progress
        .notice("note", &format!("{} was rolled back: {}", step.id(), lost.error.message));
    stage.progress.retrying(step, tried + 1, stage.retries.allowed() + 1, pause);
    failpoint::hit("before_retry");
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = stage.interrupt.wait() => Err(NoMore::Stopped),
    }
}

/// An attempt that others are to blame for: rolled back, and as good as never made.
pub(crate) struct Lost {
    error: RecordedError,
    hint: Option<String>,
    /// Who had to wait, if it gave way to them.
    gave_way_to: Vec<Blocker>,
}

impl Lost {
    /// A statement that lost, if others are to blame.
    pub(crate) fn statement(fault: &Fault, step: &PlannedStep, at: usize) -> Option<Self> {
        lost_to_others(fault.code()).then(|| {
            let (error, hint) = describe(fault, step, Some(at));
            Self { error, hint, gave_way_to: Vec::new() }
        })
    }
}

/// Why a step was not carried out.
pub(crate) enum Unworked {
    End(StepEnd),
    Lost(Lost),
    /// The session is over, and must not be spoken to.
    Gone(Fault),
}

impl From<StepEnd> for Unworked {
    fn from(end: StepEnd) -> Self {
        match end {
            StepEnd::Failed { error, effect: Effect::None, hint }
                if lost_to_others(error.code.as_deref()) =>
            {
                Self::Lost(Lost { error, hint, gave_way_to: Vec::new() })
            }
            end => Self::End(end),
        }
    }
}

/// Rolls back. The server has done so already, or does when it notices that we are gone.
pub(crate) async fn roll_back(session: &mut Session) {
    let _ = tokio::time::timeout(ROLLBACK_PATIENCE, session.roll_back()).await;
}

/// The whole transaction, once.
async fn attempt<R: Recorder, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    intent: Intent,
) -> Result<StepEnd, Lost> {
    let Stage { session, context, recorder, progress, interrupt, watcher, .. } = stage;
    let durable = async {
        failpoint::hit("while_working");
        recorder.settle().await
    };
    let pid = session.facts().backend_pid;
    let manner = Manner::GivesWay;
    let eyes = Eyes { watcher, context, progress: *progress, interrupt, step, pid, manner };
    let work = inside(session, eyes, (step, at, intent), false);
    // In this order: the message is on its way when the disk is asked.
    let (worked, durable) = tokio::join!(work, durable);
    let begun = match (worked, durable) {
        (Ok(begun), Ok(())) => begun,
        (worked, durable) => {
            if !matches!(worked, Err(Unworked::Gone(_))) {
                roll_back(session).await;
            }
            return match (durable, worked) {
                (Err(error), _) => Ok(StepEnd::IntentNotDurable(error)),
                (Ok(()), Err(Unworked::End(end))) => Ok(end),
                (Ok(()), Err(Unworked::Lost(lost))) => Err(lost),
                (Ok(()), Err(Unworked::Gone(fault))) => Ok(gone(&fault)),
                (Ok(()), Ok(_)) => unreachable!("both went well"),
            };
        }
    };
    failpoint::hit("before_commit");
    let refused = match commit(stage, step, at, begun).await {
        Ok(end) => return Ok(end),
        Err(fault) => StepEnd::failed(&fault, step, None),
    };
    match Unworked::from(refused) {
        Unworked::Lost(lost) => Err(lost),
        Unworked::End(end) => Ok(end),
        Unworked::Gone(_) => unreachable!("made from a refusal"),
    }
}

/// The end of a step whose session was lost before its commit.
pub(crate) fn gone(fault: &Fault) -> StepEnd {
    let reason = format!("the session ended, nothing of this step was kept: {fault}");
    StepEnd::NotBegun { reason, is_session_over: true }
}

/// The end of a step that has lost as often or as long as it may: who was in the way, and what to do.
async fn given_up<R, P>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    lost: Lost,
    tried: u32,
    enough: Enough,
) -> NoMore {
    let Lost { mut error, hint, gave_way_to } = lost;
    let spent = stage.retries.spent().as_secs_f64();
    let limit = match enough {
        Enough::Attempts => "policy.lock_retries",
        Enough::Time => "timeouts.max_blocked",
    };
    let times = if tried == 1 { "attempt" } else { "attempts" };
    let _ = write!(error.message, "; given up after {tried} {times} in {spent:.1} s ({limit})");
    let mut blockers: Vec<Blocker> = stage.watcher.blockers.values().cloned().collect();
    if blockers.is_empty() && error.code.as_deref() == Some(LOCK_NOT_AVAILABLE) {
        // Nobody looked in time: whoever has locks there now is likely to be who had them then.
        let names: BTreeSet<String> =
            step.statements.iter().flat_map(|statement| relations(&statement.sql)).collect();
        let names: Vec<String> = names.into_iter().collect();
        blockers = stage.session.lock_holders_on(&names).await.unwrap_or_default();
    }
    if !blockers.is_empty() {
        let _ = write!(error.message, "; blocked by {}", named(&blockers));
    }
    error.message = shorten(error.message);
    let next = match blockers.iter().find(|blocker| !blocker.is_prepared()) {
        Some(blocker) if gave_way_to.is_empty() => format!(
            "see who is in the way with annals locks and pg_stat_activity; whether to end it is your \
             decision: SELECT pg_terminate_backend({})",
            blocker.pid
        ),
        _ if !gave_way_to.is_empty() => {
            "give the step a quieter moment, make it smaller, or allow it more time \
             (timeouts.max_blocking)"
                .to_owned()
        }
        _ => "see who is in the way with annals locks and pg_stat_activity".to_owned(),
    };
    let hint = Some(
        hint.map_or_else(|| next.clone(), |hint| format!("{}; {next}", hint.trim_end_matches('.'))),
    );
    NoMore::GivenUp(error, hint)
}

/// Commits the transaction that holds the step's ledger row; where the answer is lost, the target is
/// asked for that row.
///
/// # Errors
///
/// The server's refusal (a deferred constraint, say): it has rolled back.
pub(crate) async fn commit<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    Begun { transaction, place }: Begun,
) -> Result<StepEnd, Fault> {
    let (places, lock) = ([place], stage.context.lock);
    let may = may_have(step);
    let witness = Witness::Ledger(&places);
    let commit = StepCommit { transaction: &transaction, lock, witness, may };
    match sent_commit(stage, step, &commit).await {
        Ok(true) => Ok(StepEnd::Done { transaction }),
        Ok(false) => Ok(settle(stage, step, at, &transaction).await),
        Err(fault) if is_cancelled(stage, &fault) => {
            let effect = match step.mode {
                StepMode::Transactional => Effect::None,
                // Its statements took effect before; only its ledger row did not.
                StepMode::StatementByStatement => Effect::Partial,
            };
            Ok(StepEnd::Interrupted { effect, reason: CANCELLED_COMMIT.to_owned() })
        }
        Err(Fault::LockReleased) => match regain(stage).await {
            Ok(()) => Err(Fault::LockReleased),
            Err(taken) => Ok(StepEnd::NotRecorded(taken)),
        },
        Err(fault) => Err(fault),
    }
}

/// Takes the lock again that a file has given back.
///
/// # Errors
///
/// Somebody else has it: the log is theirs now, and they settle what this run has left open.
pub(crate) async fn regain<R, P>(stage: &mut Stage<'_, R, P>) -> Result<(), RecorderError> {
    let lock = stage.context.lock;
    match stage.session.try_lock(lock).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(RecorderError {
            message:
                "the file has released the lock of the run, and another run holds it now; that \
                      one settles this step"
                    .to_owned(),
        }),
        Err(fault) => Err(RecorderError { message: fault.to_string() }),
    }
}

/// What is said of a commit that was cancelled on request.
pub(crate) const CANCELLED_COMMIT: &str = "stopped on request in the commit";

/// SQLSTATE of what was cancelled.
const QUERY_CANCELED: &str = "57014";

/// Whether `fault` is what a request to stop has brought about.
pub(crate) fn is_cancelled<R, P>(stage: &Stage<'_, R, P>, fault: &Fault) -> bool {
    stage.interrupt.requested() && fault.code() == Some(QUERY_CANCELED)
}

/// Commits the statement whose row stands at `begun`. When a stop is asked for meanwhile, the commit
/// is cancelled like any statement, and the server's answer decides.
pub(crate) async fn commit_alone<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    begun: &Begun,
) -> Result<(), Stopped> {
    let Stage { session, context, progress, interrupt, watcher, .. } = stage;
    let (pid, manner) = (session.facts().backend_pid, Manner::Stays);
    let eyes = Eyes { watcher, context, progress: *progress, interrupt, step, pid, manner };
    let (transaction, witness) = (begun.transaction.as_str(), Witness::Statement(&begun.place));
    let (lock, may) = (context.lock, may_have(step));
    let commit = StepCommit { transaction, lock, witness, may };
    match answer(watched(session.commit_step(&commit), eyes).await) {
        Err(fault) if is_cancelled(stage, &fault) => Err(Stopped::OnRequest),
        committed => committed.map_err(Stopped::Fault),
    }
}

/// What the server said of a commit, however it came to say it.
fn answer(ended: Ended<Result<(), Fault>>) -> Result<(), Fault> {
    match ended {
        Ended::Done(committed)
        | Ended::Stopped(Some(committed))
        | Ended::GaveWay(Some(committed)) => committed,
        Ended::Stopped(None) | Ended::GaveWay(None) => {
            Err(Fault::Connection("no answer to COMMIT".to_owned()))
        }
    }
}

/// Sends `COMMIT`; says whether the answer has come. Without it nobody can say whether the step
/// took effect.
///
/// A commit can take as long as any statement: deferred triggers run in it, and it waits for
/// standbys. When a stop is asked for, it is cancelled like one; the server's answer decides.
///
/// # Errors
///
/// As [`commit`].
pub(crate) async fn sent_commit<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    commit: &StepCommit<'_>,
) -> Result<bool, Fault> {
    let Stage { session, context, progress, interrupt, watcher, .. } = stage;
    let (pid, manner) = (session.facts().backend_pid, Manner::Stays);
    let eyes = Eyes { watcher, context, progress: *progress, interrupt, step, pid, manner };
    let committed = answer(watched(session.commit_step(commit), eyes).await);
    match committed {
        Ok(()) => Ok(true),
        Err(fault) if is_cancelled(stage, &fault) => {
            // Cancelled before the commit itself, the transaction is still there.
            let _ = stage.session.roll_back().await;
            Err(fault)
        }
        Err(fault) if fault.is_verdict() => Err(fault),
        Err(_) => {
            stage.progress.in_doubt(step);
            Ok(false)
        }
    }
}

/// The step's work up to its commit, in one message where there is no data; returns its
/// transaction and where its ledger row stands. `is_open`: an earlier step has begun it.
pub(crate) async fn inside<P: crate::Progress>(
    session: &mut Session,
    eyes: Eyes<'_, P>,
    (step, at, intent): (&PlannedStep, usize, Intent),
    is_open: bool,
) -> Result<Begun, Unworked> {
    let (context, limit_ms) = (eyes.context, eyes.context.patience.max_blocking_ms);
    let row = ledger_row(context, step, at, intent);
    let beginning = StepBeginning { limits: limits(step), lock: context.lock, row: &row, is_open };
    let asked = eyes.interrupt.clone();
    let work = send(session, &beginning, step, context.folder, &asked);
    let Eyes { watcher, context, progress, interrupt, step, pid, manner } = eyes;
    let eyes = Eyes {
        watcher: &mut *watcher,
        interrupt: &mut *interrupt,
        context,
        progress,
        step,
        pid,
        manner,
    };
    let worked = watched(work, eyes).await;
    match worked {
        Ended::Done(Ok(begun)) if !interrupt.requested() => Ok(begun),
        // It was done when the cancel was on its way: that may still hit the commit.
        Ended::GaveWay(Some(Ok(_))) if !interrupt.requested() => {
            let nothing = (RecordedError::of_message(String::new()), None);
            Err(Unworked::Lost(gave_way(nothing, watcher.kept_waiting(), limit_ms)))
        }
        Ended::Done(Err(fault)) => Err(not_worked(fault, step)),
        Ended::Stopped(Some(Err(fault))) if let Some((error, _)) = fault.described(step) => {
            Err(Unworked::End(stopped_in(error.statement.unwrap_or_default())))
        }
        Ended::GaveWay(Some(Err(fault))) => match fault.described(step) {
            Some(described) => {
                let waiting = watcher.kept_waiting();
                Err(Unworked::Lost(gave_way(described, waiting, limit_ms)))
            }
            None => Err(not_worked(fault, step)),
        },
        Ended::GaveWay(None) => {
            let reason = "a cancelled statement did not end".to_owned();
            Err(Unworked::Gone(Fault::Connection(reason)))
        }
        Ended::Done(Ok(_)) | Ended::GaveWay(Some(Ok(_))) | Ended::Stopped(_) => {
            let reason = "stopped on request before the commit".to_owned();
            Err(Unworked::End(StepEnd::Interrupted { effect: Effect::None, reason }))
        }
    }
}

/// What is said of a step that was cancelled for the sake of others.
pub(crate) fn gave_way(
    (error, hint): (RecordedError, Option<String>),
    waiting: Vec<Blocker>,
    limit_ms: u64,
) -> Lost {
    let message = format!(
        "gave way to others who would have waited for it longer than {limit_ms} ms \
         (timeouts.max_blocking): {}",
        named(&waiting)
    );
    Lost { error: RecordedError { message, code: None, ..error }, hint, gave_way_to: waiting }
}

fn stopped_in(statement: u64) -> StepEnd {
    let reason = format!("stopped on request in statement {statement}");
    StepEnd::Interrupted { effect: Effect::None, reason }
}

fn not_worked(fault: SendFault, step: &PlannedStep) -> Unworked {
    match fault.ends_session() {
        Some(fault) => Unworked::Gone(fault.clone()),
        None => refusal(fault, step).into(),
    }
}

fn refusal(fault: SendFault, step: &PlannedStep) -> StepEnd {
    if let Some((error, hint)) = fault.described(step) {
        return StepEnd::Failed { error, effect: Effect::None, hint };
    }
    let fault = match fault {
        SendFault::Step(fault) => fault,
        SendFault::Piece { fault, .. } => return StepEnd::failed(&fault, step, None),
        SendFault::File { line, message } => {
            let error = RecordedError { line, ..RecordedError::of_message(message) };
            return StepEnd::Failed { error, effect: Effect::None, hint: None };
        }
        SendFault::OnRequest { sent } => return stopped_in(sent + 1),
    };
    match fault {
        StepFault::LockLost => {
            let reason = "the lock on the target was lost".to_owned();
            StepEnd::NotBegun { reason, is_session_over: false }
        }
        StepFault::Beginning(fault) if fault.code() == Some(UNIQUE_VIOLATION) => {
            already_taken(step)
        }
        StepFault::Beginning(fault) => StepEnd::failed(&fault, step, None),
        StepFault::Statement(at, fault) => StepEnd::failed(&fault, step, Some(at)),
    }
}

/// Settles the commit of a step after the connection was lost around it.
async fn settle<R, P>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    at: usize,
    transaction: &str,
) -> StepEnd {
    let key = key(stage.context, at);
    match ask_for_row(stage, at, transaction).await {
        Ok((found, mut evidence)) => {
            let outside = step.mode == StepMode::StatementByStatement;
            if outside {
                // Only its ledger row is committed last; its statements took effect before.
                evidence.statements_done = step.statements.len() as u64;
            }
            let found = match found {
                ReconciledAs::NoEffect if outside => ReconciledAs::Partial,
                found => found,
            };
            let event = StepReconciled { evidence, found, run: key.run, step: key.step };
            StepEnd::Settled { event: event.into(), found }
        }
        Err(error) => StepEnd::InDoubt { reason: error.to_string() },
    }
}

/// Asks the target for the ledger row of step `at`, which `transaction` was to commit.
pub(crate) async fn ask_for_row<R, P>(
    stage: &mut Stage<'_, R, P>,
    at: usize,
    transaction: &str,
) -> Result<(ReconciledAs, Evidence), ReconcileError> {
    let identity = stage.session.facts().identity.clone();
    settle_commit(stage.context, &identity, key(stage.context, at), transaction).await
}

/// How long a rollback is waited for: a server that cannot be heard any more must not keep us.
const ROLLBACK_PATIENCE: Duration = Duration::from_secs(15);

/// Why a statement did not finish.
pub(crate) enum Stopped {
    /// The server's error or the loss of the connection.
    Fault(Fault),
    /// Others are to blame; it left nothing and can be tried again.
    Lost(Lost),
    /// It lost against others as often or as long as allowed.
    GivenUp(RecordedError, Option<String>),
    /// A stop was asked for, and the statement was cancelled.
    OnRequest,
    /// It left nothing, and another run holds the lock.
    Taken(RecorderError),
}

impl From<NoMore> for Stopped {
    fn from(no_more: NoMore) -> Self {
        match no_more {
            NoMore::GivenUp(error, hint) => Self::GivenUp(error, hint),
            NoMore::Stopped => Self::OnRequest,
        }
    }
}

impl Stopped {
    /// The step's end, given what is left of it.
    pub(crate) fn into_end(self, step: &PlannedStep, statement: usize, effect: Effect) -> StepEnd {
        match self {
            Self::Fault(fault) => {
                let (error, hint) = describe(&fault, step, Some(statement));
                StepEnd::Failed { error, effect, hint }
            }
            Self::Lost(Lost { error, hint, .. }) | Self::GivenUp(error, hint) => {
                StepEnd::Failed { error, effect, hint }
            }
            Self::OnRequest => {
                let reason = format!("stopped on request in statement {}", statement + 1);
                StepEnd::Interrupted { effect, reason }
            }
            Self::Taken(error) => StepEnd::NotRecorded(error),
        }
    }
}

/// Runs statement `n` inside the transaction that is open, and gives way to those it keeps waiting.
pub(crate) async fn run_giving_way<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    n: usize,
) -> Result<(), Stopped> {
    let Stage { session, context, progress, interrupt, watcher, .. } = stage;
    let (pid, manner) = (session.facts().backend_pid, Manner::GivesWay);
    let seen = &mut *watcher;
    let eyes = Eyes { watcher: seen, context, progress: *progress, interrupt, step, pid, manner };
    match watched(session.run(&step.statements[n].sql), eyes).await {
        Ended::Done(result) => result.map_err(Stopped::Fault),
        Ended::GaveWay(Some(result)) => {
            // What was done when the cancel came is taken back too: it may still hit the commit.
            let described = result.err().map(|fault| describe(&fault, step, Some(n)));
            let nothing = || (RecordedError::of_message(String::new()), None);
            let described = described.unwrap_or_else(nothing);
            let limit_ms = context.patience.max_blocking_ms;
            Err(Stopped::Lost(gave_way(described, watcher.kept_waiting(), limit_ms)))
        }
        Ended::GaveWay(None) => {
            let reason = "a cancelled statement did not end".to_owned();
            Err(Stopped::Fault(Fault::Connection(reason)))
        }
        Ended::Stopped(_) => Err(Stopped::OnRequest),
    }
}

/// Sends `sql`, looks after it once it takes long, and cancels it when a stop is asked for.
pub(crate) async fn run_cancellable<R, P: crate::Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    sql: &str,
) -> Result<(), Stopped> {
    let Stage { session, context, progress, interrupt, watcher, .. } = stage;
    let (pid, manner) = (session.facts().backend_pid, Manner::Stays);
    let eyes = Eyes { watcher, context, progress: *progress, interrupt, step, pid, manner };
    match watched(session.run(sql), eyes).await {
        Ended::Done(result) => result.map_err(Stopped::Fault),
        Ended::Stopped(_) | Ended::GaveWay(_) => Err(Stopped::OnRequest),
    }
}
