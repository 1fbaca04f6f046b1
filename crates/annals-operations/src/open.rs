//! Opens a target for work: lock, ledger, log, and whatever an interrupted run has left.

use std::time::{Duration, Instant};

use annals_event_store::{EventStore, FileLog, KnownHead, OpenError, OpenOptions};
use annals_event_store_postgres::{Installed, Limits, PgLog, install};
use annals_events::{
    Draft, Event, FORMAT_VERSION, LogCreated, ReconciledAs, Recorded, RunId, StoreInstalled,
    StoreUpgraded, TargetIdentity, Timestamp,
};
use annals_executor::{Interrupt, Patience};
use annals_integrity::LedgerMismatch;
use annals_keys::{Checkpoint, KeyRing, SecretKey};
use annals_postgres::{
    ConnectionSpec, Fault, KeptCheckpoint, LockHolder, LockKey, SchemaReader, ServerFacts, Session,
};
use annals_projections::{History, LedgerRow, RecoveryState};

use crate::book::Book;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure, TargetFailure};
use crate::home::{Log, LogHome, PostgresHome};
use crate::journal::{self, Journal};
use crate::ledger::known_heads;
pub(crate) use crate::ledger::{check_log_is_here, check_log_is_whole, read_ledger};
use crate::logs::{ReadLog, bad_blobs};
use crate::recorder::{Envelopes, LogRecorder};
use crate::swap;
use crate::targets::Target;
use crate::traces::Traces;
use crate::workspace::Workspace;

/// What became of a run that was killed.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The run.
    pub run: RunId,
    /// When it began.
    pub started_at: Timestamp,
    /// Who ran it.
    pub by: String,
    /// The steps that were in doubt, `<version>_<name>`, and what the evidence says of each.
    pub steps: Vec<(String, ReconciledAs)>,
}

/// A session on a target, its facts checked.
pub(crate) struct Reached {
    pub(crate) session: Session,
    spec: ConnectionSpec,
}

/// A look at a target that writes nothing and waits for nobody: log and ledger of one moment.
pub(crate) struct Look {
    pub(crate) session: Session,
    pub(crate) spec: ConnectionSpec,
    pub(crate) book: Book,
    pub(crate) ledger: Vec<LedgerRow>,
    /// Who is at work on the target: what that run has committed may be in the ledger before it is
    /// in the log.
    pub(crate) holder: Option<LockHolder>,
}

/// How often log and ledger are read again while somebody appends between the two.
const LOOKS: u32 = 5;

/// Looks at a target.
pub(crate) async fn look(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    application: &str,
) -> Result<Look, Failure> {
    if journal::beside(environment, workspace, target).await?.is_some() {
        // What it says happened before everything that is looked at.
        let interrupt = &mut Interrupt::new().1;
        open(environment, workspace, target, application, interrupt).await?.close().await;
    }
    let home = target.home();
    let mut extent = home.extent().await?;
    let reaching = async {
        let spec = target.spec(environment, workspace).await?;
        let settings = target.settings(workspace);
        let session = match spec.connect_to_read(application, &settings).await {
            Ok(session) => session,
            Err(refusal) => {
                swap::reopen(target, &spec, &settings, refusal).await?;
                spec.connect_to_read(application, &settings).await?
            }
        };
        Ok::<_, Failure>((spec, session))
    };
    let (mut book, (spec, mut session)) = both(read_book_apart(target), reaching).await?;
    let lock = LockKey::of(&workspace.config().workspace);
    let mut attempt = 1;
    loop {
        let ledger = read_ledger(&mut session, workspace).await?;
        let holder = session.lock_holder(lock).await.map_err(fault(target))?;
        // The log was read first: what the ledger has beyond it is the work of the run that holds
        // the lock. If that run has ended meanwhile, the log has grown, and all is read anew.
        let stands_still = home.extent().await? == extent;
        let is_busy = holder.is_some() && attempt >= LOOKS;
        if stands_still || is_busy || attempt >= 4 * LOOKS {
            check_log_is_here(target, &ledger).await?;
            let known = book.recovery.target.as_ref();
            check_identity(target, &session.facts().identity, known)?;
            return Ok(Look { session, spec, book, ledger, holder });
        }
        (extent, book) = (home.extent().await?, read_book(target).await?);
        attempt += 1;
    }
}

/// Reads a log while the target is reached for. What is wrong with the log is said first, and then
/// nobody waits for the target.
async fn both<T>(
    reading: impl Future<Output = Result<Book, LogFailure>>,
    reaching: impl Future<Output = Result<(T, Session), Failure>>,
) -> Result<(Book, (T, Session)), Failure> {
    tokio::pin!(reading, reaching);
    let (book, reached) = tokio::select! {
        biased;
        book = &mut reading => (book, None),
        reached = &mut reaching => (reading.await, Some(reached)),
    };
    match (book, reached) {
        (Ok(book), None) => Ok((book, reaching.await?)),
        (Ok(book), Some(reached)) => Ok((book, reached?)),
        (Err(failure), Some(Ok((_, session)))) => {
            session.close().await;
            Err(failure.into())
        }
        (Err(failure), _) => Err(failure.into()),
    }
}

/// As [`read_book`], with other work going on meanwhile where the log is a folder.
async fn read_book_apart(target: &Target) -> Result<Book, LogFailure> {
    let home = target.home();
    if !matches!(home, LogHome::Folder(_)) || !home.exists().await? {
        return read_book(target).await;
    }
    let log = ReadLog::of_target(target)?;
    let runtime = tokio::runtime::Handle::current();
    let read = tokio::task::spawn_blocking(move || runtime.block_on(log.book()));
    match read.await {
        // The key of a rotation since the keys were read: that is looked at anew.
        Ok(Err(LogFailure::Unverified { .. })) => read_book(target).await,
        Ok(read) => read,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}

/// A target's log, verified and folded; nothing where there is no log yet.
pub(crate) async fn read_book(target: &Target) -> Result<Book, LogFailure> {
    // In this order: whoever makes a log has made its keys before.
    if !target.home().exists().await? {
        return Ok(Book::default());
    }
    let log = ReadLog::of_target(target)?;
    match log.book().await {
        // The key of a rotation since the keys were read.
        Err(LogFailure::Unverified { .. }) if target.ring()? != log.ring => {
            ReadLog::of_target(target)?.book().await
        }
        read => read,
    }
}

/// A target opened for work: its lock held, its log open, nothing in doubt.
pub(crate) struct Opened<'a> {
    pub(crate) session: Session,
    pub(crate) spec: ConnectionSpec,
    pub(crate) recorder: LogRecorder<'a>,
    pub(crate) lock: LockKey,
    pub(crate) ledger: Vec<LedgerRow>,
    pub(crate) mismatches: Vec<LedgerMismatch>,
    pub(crate) recovered: Vec<Recovered>,
    /// Those of them no collector was told of.
    pub(crate) untold: Vec<RunId>,
    /// The step that was in doubt when another server took over, with the timelines of both.
    pub(crate) taken_over: Option<(String, u32, u32)>,
    /// Events the newest signed head in the target's ledger vouches for.
    kept: u64,
    pub(crate) platform: annals_postgres::Platform,
    /// Reads its schema.
    pub(crate) reader: SchemaReader,
    /// How long the last reading took.
    pub(crate) reading: Duration,
    /// How long others are waited for.
    pub(crate) patience: Patience,
    secret: SecretKey,
    ring: KeyRing,
}

pub(crate) fn fault(target: &Target) -> impl Fn(Fault) -> Failure + '_ {
    |fault| TargetFailure::Fault { target: target.name.clone(), fault }.into()
}

/// Opens a session on the target that may take the lock and write.
pub(crate) async fn reach(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    application: &str,
) -> Result<Reached, Failure> {
    let spec = target.spec(environment, workspace).await?;
    let settings = target.settings(workspace);
    let session = match spec.connect_to_work(application, &settings).await {
        Ok(session) => session,
        Err(refusal) => {
            swap::reopen(target, &spec, &settings, refusal).await?;
            spec.connect_to_work(application, &settings).await?
        }
    };
    Ok(Reached { session, spec })
}

/// What a target is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is going to be written to.
    Change,
    /// The same, and the ledger names another log, which this one takes over from.
    TakeOver,
    /// The same, and another server may be the target's from now on, on a person's word.
    Upgrade,
    /// Only the log is: the target may be one that takes no writes.
    Verify,
}

/// What a server that takes no writes is.
fn read_only(facts: &ServerFacts) -> Option<&'static str> {
    match (facts.in_recovery, facts.read_only) {
        (true, _) => Some("a standby"),
        (false, true) => Some("read-only (default_transaction_read_only is on)"),
        (false, false) => None,
    }
}

fn check_writable(reached: &Reached, target: &Target, purpose: Purpose) -> Result<(), Failure> {
    let Some(why) = read_only(reached.session.facts()) else { return Ok(()) };
    let log_is_there = match target.home() {
        LogHome::Postgres(home) => home.spec.address() == reached.spec.address(),
        LogHome::Folder(_) | LogHome::Export(_) => false,
    };
    if purpose == Purpose::Verify && !log_is_there {
        return Ok(());
    }
    Err(takes_no_writes(target, &reached.spec, why))
}

fn takes_no_writes(target: &Target, spec: &ConnectionSpec, why: &'static str) -> Failure {
    let (target, address) = (target.name.clone(), spec.address());
    TargetFailure::ReadOnly { target, address, why }.into()
}

/// The log speaks of one database; another one under the same URL is not it.
pub(crate) fn check_identity(
    target: &Target,
    found: &TargetIdentity,
    expected: Option<&TargetIdentity>,
) -> Result<(), Failure> {
    let Some(expected) = expected else {
        return Ok(());
    };
    if found.is_same_database(expected) {
        return Ok(());
    }
    let (found, expected) = (show_identity(found), show_identity(expected));
    Err(TargetFailure::OtherDatabase { target: target.name.clone(), found, expected }.into())
}

/// A database as messages name it.
pub(crate) fn show_identity(identity: &TargetIdentity) -> String {
    format!("database {:?} of system {}", identity.database, identity.system_identifier)
}

pub(crate) fn describe_holder(holder: Option<&LockHolder>) -> String {
    match holder {
        None => "another session".to_owned(),
        Some(holder) => format!(
            "{} (backend {}, role {}, for {} s)",
            holder.application, holder.pid, holder.user, holder.age_s
        ),
    }
}

/// Polls with a pause of 50 to 150 ms until `deadline`.
async fn pause(
    environment: &Environment,
    interrupt: &mut Interrupt,
    deadline: Instant,
) -> Result<bool, Failure> {
    if Instant::now() >= deadline {
        return Ok(false);
    }
    let jitter = environment.ids.next().as_u128() % 100;
    let jitter = u64::try_from(jitter).unwrap_or_default();
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(50 + jitter)) => Ok(true),
        () = interrupt.wait() => Err(Failure::Interrupted),
    }
}

/// Another run is at work on the target.
pub(crate) fn locked(target: &Target, holder: Option<&LockHolder>) -> Failure {
    let what = format!("the target {:?}", target.name);
    Failure::Locked { what, holder: describe_holder(holder) }
}

/// Refuses to judge a target whose restore has not ended: log and ledger are of two moments until
/// somebody records what happened.
pub(crate) fn refuse_unsettled_restore(target: &Target, book: &Book) -> Result<(), Failure> {
    let Some(restore) = &book.recovery.restoring else { return Ok(()) };
    let what = format!("the target {:?}", target.name);
    let holder = format!(
        "the restore of backup {}; unless it is at work, it was cut short, and is settled by: annals \
         status",
        restore.backup
    );
    Err(Failure::Locked { what, holder })
}

/// Takes the lock of a run under way on another session. Nobody can keep it for long: the log is held.
pub(crate) async fn take_lock_again(
    environment: &Environment,
    target: &Target,
    session: &mut Session,
    lock: LockKey,
) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(60);
    take_lock(environment, target, session, lock, deadline, &mut Interrupt::new().1).await
}

async fn take_lock(
    environment: &Environment,
    target: &Target,
    session: &mut Session,
    lock: LockKey,
    deadline: Instant,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    loop {
        if session.try_lock(lock).await.map_err(fault(target))? {
            return Ok(());
        }
        if !pause(environment, interrupt, deadline).await? {
            let holder = session.lock_holder(lock).await.map_err(fault(target))?;
            return Err(locked(target, holder.as_ref()));
        }
    }
}

/// Opens a target for work. Another run is waited for as long as the configuration says.
pub(crate) async fn open<'a>(
    environment: &'a Environment,
    workspace: &Workspace,
    target: &Target,
    application: &str,
    interrupt: &mut Interrupt,
) -> Result<Opened<'a>, Failure> {
    let purpose = Purpose::Change;
    let opened = open_for(purpose, environment, workspace, target, application, interrupt).await?;
    refuse_retired(opened)
}

/// Opens a target to verify it: it may be a standby, or read-only.
pub(crate) async fn open_to_verify<'a>(
    environment: &'a Environment,
    workspace: &Workspace,
    target: &Target,
    application: &str,
    interrupt: &mut Interrupt,
) -> Result<Opened<'a>, Failure> {
    let purpose = Purpose::Verify;
    let opened = open_for(purpose, environment, workspace, target, application, interrupt).await?;
    refuse_retired(opened)
}

/// As [`open`]; `locked` is called as soon as the lock is held.
pub(crate) async fn open_and<'a>(
    environment: &'a Environment,
    workspace: &Workspace,
    target: &Target,
    application: &str,
    interrupt: &mut Interrupt,
    locked: impl FnOnce(),
) -> Result<Opened<'a>, Failure> {
    let on = (environment, workspace, target);
    refuse_retired(open_then(Purpose::Change, on, application, interrupt, locked).await?)
}

fn refuse_retired(opened: Opened<'_>) -> Result<Opened<'_>, Failure> {
    let key = opened.secret.verifier().to_string();
    match opened.book().retired_keys.get(&key) {
        None => Ok(opened),
        // What it signs behind that size would not count.
        Some(size) => Err(LogFailure::KeyRetired { key, size: *size }.into()),
    }
}

/// Opens a target for work with a key the log may say is retired: only to finish its rotation.
pub(crate) async fn open_rotating<'a>(
    environment: &'a Environment,
    workspace: &Workspace,
    target: &Target,
    application: &str,
    interrupt: &mut Interrupt,
) -> Result<Opened<'a>, Failure> {
    open_for(Purpose::Change, environment, workspace, target, application, interrupt).await
}

pub(crate) async fn open_for<'a>(
    purpose: Purpose,
    environment: &'a Environment,
    workspace: &Workspace,
    target: &Target,
    application: &str,
    interrupt: &mut Interrupt,
) -> Result<Opened<'a>, Failure> {
    open_then(purpose, (environment, workspace, target), application, interrupt, || ()).await
}

/// Whose target is opened: the environment, the workspace, the target.
pub(crate) type On<'a, 'w> = (&'a Environment, &'w Workspace, &'w Target);

async fn open_then<'a>(
    purpose: Purpose,
    on: On<'a, '_>,
    application: &str,
    interrupt: &mut Interrupt,
    locked: impl FnOnce(),
) -> Result<Opened<'a>, Failure> {
    let (_, workspace, target) = on;
    let unsettled = open_unsettled(purpose, on, application, interrupt, locked).await?;
    let Unsettled { mut opened, identity, store, journal } = unsettled;
    check_identity(target, &identity, opened.recovery().target.as_ref())?;
    let seen = opened.recovery().target.as_ref().map(|known| known.timeline);
    if opened.session.facts().in_recovery && opened.recovery().open_run.is_some() {
        // Its rows may be behind those of the primary, and its locks are not the primary's.
        return Err(takes_no_writes(target, &opened.spec, "a standby"));
    }
    if let Some(event) = store {
        opened.record(vec![event]).await?;
    }
    opened.settle(workspace, target, (seen, identity.timeline)).await?;
    if let Some((journal, events, rows)) = journal {
        journal::merge(&mut opened, workspace, target, (&journal, &events), &rows).await?;
        let seen = opened.recovery().target.as_ref().map(|known| known.timeline);
        opened.settle(workspace, target, (seen, identity.timeline)).await?;
    }
    Ok(opened)
}

/// A target whose lock is held and whose log is open: nothing is compared with the database the log
/// speaks of, and what an earlier run left open still is.
pub(crate) struct Unsettled<'a> {
    pub(crate) opened: Opened<'a>,
    /// The database that answers.
    pub(crate) identity: TargetIdentity,
    /// What is to be recorded of the log's home.
    pub(crate) store: Option<Event>,
    /// The journal of an emergency that is not part of the log yet, with its rows of the ledger.
    pub(crate) journal: Option<(Journal, Vec<Recorded>, Vec<LedgerRow>)>,
}

pub(crate) async fn open_unsettled<'a>(
    purpose: Purpose,
    (environment, workspace, target): On<'a, '_>,
    application: &str,
    interrupt: &mut Interrupt,
    locked: impl FnOnce(),
) -> Result<Unsettled<'a>, Failure> {
    let wait = Duration::from_millis(workspace.config().wait_for_lock_ms);
    let deadline = Instant::now() + wait;
    let mut reached = reach(environment, workspace, target, application).await?;
    check_writable(&reached, target, purpose)?;
    let lock = LockKey::of(&workspace.config().workspace);
    let session = &mut reached.session;
    take_lock(environment, target, session, lock, deadline, interrupt).await?;
    locked();
    let ledger = read_ledger(session, workspace).await?;
    let beside = match purpose {
        // What a log has lost for good left behind is taken over with the rest.
        Purpose::TakeOver => None,
        _ => journal::beside(environment, workspace, target).await?,
    };
    let (journal, ledger) = match beside {
        None => (None, ledger),
        Some((journal, events)) => {
            let its = |row: &LedgerRow| row.log_origin == journal.origin.as_str();
            let (rows, ledger) = ledger.into_iter().partition(its);
            (Some((journal, events, rows)), ledger)
        }
    };
    let kept = session.newest_checkpoint(target.origin.as_str()).await?;
    if purpose != Purpose::TakeOver {
        check_log_is_here(target, &ledger).await?;
    }
    // Made, where there are none yet, under the lock and for nobody who is refused; those of a
    // sandbox lie in its folder, which is there only now.
    let (secret, ring) = target.keys(target.home().exists().await?)?;
    let mut identity = session.facts().identity.clone();
    // What the control file says may be one checkpoint behind a promotion.
    identity.timeline = session.timeline().await.map_err(fault(target))?;
    let envelopes = Envelopes::new(environment, Some(identity.clone()));
    let own = target.origin.as_str();
    let mut known: Vec<KnownHead> = known_heads(ledger.iter().filter(|row| row.log_origin == own));
    known.extend(kept.as_ref().map(|kept| KnownHead { size: kept.size, leaf: kept.leaf }));
    let (log, book, store) = loop {
        let keys = (&secret, &ring);
        let opened = open_log(workspace, target, session, &envelopes, keys, &known);
        match opened.await {
            Err(Failure::Locked { what, holder }) => {
                if !pause(environment, interrupt, deadline).await? {
                    return Err(Failure::Locked { what, holder });
                }
            }
            Err(older) => {
                // A longer ledger may be that of another database: then this is what is wrong.
                let (log, mut book) = (ReadLog::of_target(target)?, Book::default());
                let read = log.read(&mut |recorded, _| book.apply(recorded)).await;
                // What a damaged log says of its database is worth nothing.
                if purpose != Purpose::Upgrade && read.is_ok_and(|read| read.check().is_ok()) {
                    check_identity(target, &identity, book.recovery.target.as_ref())?;
                }
                return Err(older);
            }
            Ok(opened) => break opened,
        }
    };
    let (signed, size) = (log.signed(), log.head().size);
    if signed < size && book.recovery.open_run.is_none() {
        // Of a run that was cut short it is said that it is settled. Otherwise it was a crash
        // behind a run, or somebody who adds lines that link.
        tracing::warn!(
            "the log had {} events behind its signed head, from event {signed} on: they are signed \
             from now on (annals log show --from {signed})",
            size - signed
        );
    }
    let Reached { session, spec } = reached;
    let mut opened = Opened {
        session,
        spec,
        recorder: LogRecorder { log, envelopes, book, pictures: None },
        lock,
        ledger,
        mismatches: Vec::new(),
        recovered: Vec::new(),
        untold: Vec::new(),
        taken_over: None,
        kept: kept.map_or(0, |kept| kept.size),
        platform: target.platform,
        reader: SchemaReader::new(target.scope.clone()),
        reading: Duration::ZERO,
        patience: workspace.config().patience,
        secret,
        ring,
    };
    if let Some((_, reason)) = bad_blobs(&target.home(), &opened.book().blobs).await?.first() {
        let place = opened.recorder.log.place();
        return Err(LogFailure::Damaged { place, reason: reason.clone() }.into());
    }
    opened.compare();
    Ok(Unsettled { opened, identity, store, journal })
}

/// The log of a target, open for writing, and what is to be recorded of its home.
async fn open_log(
    workspace: &Workspace,
    target: &Target,
    session: &Session,
    envelopes: &Envelopes<'_>,
    (secret, ring): (&SecretKey, &KeyRing),
    known: &[KnownHead],
) -> Result<(Log, Book, Option<Event>), Failure> {
    // It is about the log alone, whatever database answers.
    let repair = |fact| Draft { target: None, ..envelopes.draft(Event::TailRepaired(fact)) };
    let options = OpenOptions {
        ring,
        known,
        now: envelopes.now(),
        holder: envelopes.holder(),
        repair: &repair,
    };
    let created = LogCreated {
        checkpoint_key: secret.verifier().to_string(),
        format: FORMAT_VERSION,
        target: target.name.clone(),
        workspace: workspace.config().workspace.clone(),
    };
    let first = envelopes.draft(created.into());
    let begin = || {
        let version = session.facts().version_num;
        tracing::info!(log = %target.origin, version, "begins a log");
    };
    match target.home() {
        LogHome::Postgres(home) => {
            let store = install_store(&home).await?;
            let exists = target.home().exists().await?;
            if !exists {
                begin();
            }
            let (log, book) = open_in_database(&home, exists, &first, secret, &options).await?;
            Ok((log, book, store))
        }
        LogHome::Folder(_) | LogHome::Export(_) => {
            let exists = target.layout.segments().exists();
            if !exists {
                begin();
            }
            let (log, book) = open_in_folder(target, exists, &first, secret, &options)?;
            Ok((log, book, None))
        }
    }
}

fn open_in_folder(
    target: &Target,
    exists: bool,
    first: &Draft,
    secret: &SecretKey,
    options: &OpenOptions<'_>,
) -> Result<(Log, Book), OpenError> {
    let (mut book, layout) = (Book::default(), target.layout.clone());
    if !exists {
        match FileLog::create(layout.clone(), &target.origin, first, secret, options) {
            // Somebody was faster: theirs is opened instead.
            Err(OpenError::Exists { .. }) => {}
            created => {
                let (log, first) = created?;
                book.apply(&first);
                return Ok((Log::File(Box::new(log)), book));
            }
        }
    }
    let log = FileLog::open(layout, options, &mut |event| book.apply(event))?;
    Ok((Log::File(Box::new(log)), book))
}

async fn open_in_database(
    home: &PostgresHome,
    exists: bool,
    first: &Draft,
    secret: &SecretKey,
    options: &OpenOptions<'_>,
) -> Result<(Log, Book), OpenError> {
    let (mut book, limits) = (Book::default(), Limits::default());
    if !exists {
        match PgLog::create(&home.spec, &home.origin, first, secret, limits).await {
            // Somebody was faster: theirs is opened instead.
            Err(OpenError::Exists { .. }) => {}
            created => {
                let (log, first) = created?;
                book.apply(&first);
                return Ok((Log::Postgres(Box::new(log)), book));
            }
        }
    }
    let visit = &mut |event: &annals_events::Recorded| book.apply(event);
    let log = PgLog::open(&home.spec, &home.origin, limits, options, visit).await?;
    Ok((Log::Postgres(Box::new(log)), book))
}

/// Makes the tables of the store, or brings them up to date; the event that says so.
pub(crate) async fn install_store(home: &PostgresHome) -> Result<Option<Event>, LogFailure> {
    let backend = "postgres".to_owned();
    let installed = install(&home.spec).await;
    let installed =
        installed.map_err(|error| LogFailure::Install { place: home.place(), error })?;
    Ok(match installed.done {
        Installed::Installed { format } => Some(StoreInstalled { backend, format }.into()),
        Installed::Upgraded { from, to } => Some(StoreUpgraded { backend, from, to }.into()),
        Installed::UpToDate { .. } => None,
    })
}

impl Opened<'_> {
    pub(crate) fn book(&self) -> &Book {
        &self.recorder.book
    }

    pub(crate) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    pub(crate) fn history(&self) -> &History {
        &self.recorder.book.history
    }

    pub(crate) fn recovery(&self) -> &RecoveryState {
        &self.recorder.book.recovery
    }

    /// Compares log and ledger anew.
    pub(crate) fn compare(&mut self) {
        self.mismatches = self.recorder.book.mismatches(&self.ledger);
    }

    pub(crate) async fn record(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        self.recorder.append(events).await.map_err(LogFailure::from)?;
        Ok(())
    }

    /// Signs the head, unless the published checkpoint vouches for it already.
    pub(crate) async fn publish(&mut self) -> Result<Option<Checkpoint>, Failure> {
        let log = &mut self.recorder.log;
        if log.signed() == log.head().size {
            return Ok(None);
        }
        let checkpoint = log.checkpoint();
        let note = checkpoint.sign(&self.secret);
        log.publish(&checkpoint, &note).await.map_err(LogFailure::Publish)?;
        self.keep_in_ledger(&checkpoint, note).await;
        Ok(Some(checkpoint))
    }

    /// Leaves the signed head in the target, where there is a ledger.
    ///
    /// The target may be gone by now: then the next run leaves it, and until then the events are
    /// said to be unanchored.
    async fn keep_in_ledger(&mut self, checkpoint: &Checkpoint, note: String) {
        let nothing_there = self.ledger.is_empty() && self.history().changes().is_empty();
        if nothing_there || read_only(self.session.facts()).is_some() {
            return;
        }
        let (size, leaf) = (checkpoint.size, self.recorder.log.head().leaf);
        let kept = KeptCheckpoint { size, leaf, note };
        match self.session.keep_checkpoint(checkpoint.origin.as_str(), &kept).await {
            Ok(()) => self.kept = size,
            Err(fault) => tracing::warn!(%fault, "the signed head was not left in the target"),
        }
    }

    /// Events the largest head kept outside vouches for.
    pub(crate) fn anchored(&self) -> u64 {
        self.book().anchored.values().copied().max().unwrap_or(0).max(self.kept)
    }

    /// Signs the head with several keys.
    pub(crate) async fn publish_by(&mut self, keys: &[&SecretKey]) -> Result<(), Failure> {
        let log = &mut self.recorder.log;
        let checkpoint = log.checkpoint();
        let note = checkpoint.sign_by(keys);
        log.publish(&checkpoint, &note).await.map_err(LogFailure::Publish)?;
        self.keep_in_ledger(&checkpoint, note).await;
        Ok(())
    }

    /// Gives the lock back and says goodbye.
    pub(crate) async fn close(mut self) {
        let traces = Traces::of_settled(&mut self).await;
        // The lock ends with the session in any case.
        let _ = self.session.unlock(self.lock).await;
        self.session.close().await;
        traces.send().await;
    }
}
