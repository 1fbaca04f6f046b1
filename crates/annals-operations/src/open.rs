//! Opens a target for work: lock, ledger, log, and whatever an interrupted run has left.

use std::time::{Duration, Instant};

use annals_event_store::{EventStore, FileLog, OpenError, OpenOptions};
use annals_events::{
    Event, FORMAT_VERSION, LogCreated, ReconciledAs, Recorded, RunFinished, RunId, RunOutcome,
    SchemaRecorded, TargetIdentity, TargetRegistered, Timestamp,
};
use annals_executor::{Interrupt, reconcile};
use annals_integrity::{LedgerMismatch, compare_ledger};
use annals_keys::{Checkpoint, SecretKey, VerifierKey};
use annals_postgres::{ConnectionSpec, Fault, LockHolder, LockKey, Session, read_schema};
use annals_projections::{History, LedgerRow, RecoveryState, replay};
use annals_schema::{Snapshot, carry_forward};

use crate::environment::Environment;
use crate::error::{Failure, LogFailure, TargetFailure};
use crate::logs::{ReadLog, bad_blobs};
use crate::recorder::{Envelopes, LogRecorder};
use crate::targets::Target;
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
    /// The step that was in doubt, `<version>_<name>`, and what the evidence says of it.
    pub step: Option<(String, ReconciledAs)>,
}

/// A session on a target, its facts checked.
pub(crate) struct Reached {
    pub(crate) session: Session,
    pub(crate) spec: ConnectionSpec,
}

/// A look at a target that writes nothing and waits for nobody: log and ledger of one moment.
pub(crate) struct Look {
    pub(crate) session: Session,
    pub(crate) spec: ConnectionSpec,
    pub(crate) events: Vec<Recorded>,
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
    // A damaged log is said to be damaged before anybody reaches for the target.
    let (mut bytes, mut log) = (log_bytes(target), read_log(target)?);
    let Reached { mut session, spec } = reach(environment, workspace, target, application).await?;
    let lock = LockKey::of(&workspace.config().workspace);
    let mut attempt = 1;
    loop {
        let ledger = read_ledger(&mut session, workspace).await?;
        let holder = session.lock_holder(lock).await.map_err(fault(target))?;
        // The log was read first: what the ledger has beyond it is the work of the run that holds
        // the lock. If that run has ended meanwhile, the log has grown, and all is read anew.
        let stands_still = log_bytes(target) == bytes;
        let is_busy = holder.is_some() && attempt >= LOOKS;
        if stands_still || is_busy || attempt >= 4 * LOOKS {
            check_log_is_here(target, &ledger)?;
            let known: RecoveryState = replay(&log);
            check_identity(target, &session.facts().identity, known.target.as_ref())?;
            return Ok(Look { session, spec, events: log, ledger, holder });
        }
        (bytes, log) = (log_bytes(target), read_log(target)?);
        attempt += 1;
    }
}

/// Bytes of a target's segments: a log only grows.
fn log_bytes(target: &Target) -> u64 {
    let entries = std::fs::read_dir(target.layout.segments()).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

/// All events of a target's log, verified; none where there is no log yet.
fn read_log(target: &Target) -> Result<Vec<Recorded>, Failure> {
    if !target.layout.segments().exists() {
        return Ok(Vec::new());
    }
    let log = ReadLog::open(target.layout.clone(), target.verifier()?)?;
    Ok(log.events()?.to_vec())
}

/// A target opened for work: its lock held, its log open, nothing in doubt.
pub(crate) struct Opened<'a> {
    pub(crate) session: Session,
    pub(crate) spec: ConnectionSpec,
    pub(crate) recorder: LogRecorder<'a>,
    pub(crate) lock: LockKey,
    pub(crate) history: History,
    pub(crate) recovery: RecoveryState,
    pub(crate) ledger: Vec<LedgerRow>,
    pub(crate) mismatches: Vec<LedgerMismatch>,
    pub(crate) recovered: Vec<Recovered>,
    platform: annals_postgres::Platform,
    secret: SecretKey,
}

pub(crate) fn fault(target: &Target) -> impl Fn(Fault) -> Failure + '_ {
    |fault| TargetFailure::Fault { target: target.name.clone(), fault }.into()
}

/// Opens a session on the target.
pub(crate) async fn reach(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    application: &str,
) -> Result<Reached, Failure> {
    let spec = target.spec(environment, workspace).await?;
    let session = spec.connect(application, &target.settings(workspace)).await?;
    Ok(Reached { session, spec })
}

fn check_writable(reached: &Reached, target: &Target) -> Result<(), Failure> {
    let facts = reached.session.facts();
    let why = match (facts.in_recovery, facts.read_only) {
        (true, _) => "a standby",
        (false, true) => "read-only",
        (false, false) => return Ok(()),
    };
    let (target, address) = (target.name.clone(), reached.spec.address());
    Err(TargetFailure::ReadOnly { target, address, why }.into())
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
    let show = |identity: &TargetIdentity| {
        format!("database {:?} of system {}", identity.database, identity.system_identifier)
    };
    let (found, expected) = (show(found), show(expected));
    Err(TargetFailure::OtherDatabase { target: target.name.clone(), found, expected }.into())
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
    let wait = Duration::from_millis(workspace.config().wait_for_lock_ms);
    let deadline = Instant::now() + wait;
    let mut reached = reach(environment, workspace, target, application).await?;
    check_writable(&reached, target)?;
    let lock = LockKey::of(&workspace.config().workspace);
    let session = &mut reached.session;
    take_lock(environment, target, session, lock, deadline, interrupt).await?;
    let ledger = read_ledger(session, workspace).await?;
    check_log_is_here(target, &ledger)?;
    // Made, where there are none yet, under the lock and for nobody who is refused; those of a
    // sandbox lie in its folder, which is there only now.
    let (secret, verifier) = target.keys()?;
    let identity = session.facts().identity.clone();
    let envelopes = Envelopes::new(environment, Some(identity.clone()));
    let log = loop {
        let opened =
            open_log(workspace, target, session, &envelopes, (&secret, &verifier), &ledger);
        match opened {
            Err(Failure::Locked { what, holder }) => {
                if !pause(environment, interrupt, deadline).await? {
                    return Err(Failure::Locked { what, holder });
                }
            }
            Err(older) => {
                // A longer ledger may be that of another database: then this is what is wrong.
                let log = ReadLog::open(target.layout.clone(), target.verifier()?);
                let events = log.map(|log| log.scan.events).unwrap_or_default();
                let known: RecoveryState = replay(&events);
                check_identity(target, &identity, known.target.as_ref())?;
                return Err(older);
            }
            Ok(log) => break log,
        }
    };
    let Reached { session, spec } = reached;
    let mut opened = Opened {
        session,
        spec,
        recorder: LogRecorder { log, envelopes },
        lock,
        history: History::default(),
        recovery: RecoveryState::default(),
        ledger,
        mismatches: Vec::new(),
        recovered: Vec::new(),
        platform: target.platform,
        secret,
    };
    if let Some((_, reason)) = bad_blobs(opened.recorder.log.layout(), opened.events()).first() {
        let folder = opened.recorder.log.layout().root().to_owned();
        return Err(LogFailure::Damaged { folder, reason: reason.clone() }.into());
    }
    opened.fold();
    check_identity(target, &identity, opened.recovery.target.as_ref())?;
    opened.settle(workspace).await?;
    Ok(opened)
}

pub(crate) async fn read_ledger(
    session: &mut Session,
    workspace: &Workspace,
) -> Result<Vec<LedgerRow>, Failure> {
    if !session.has_ledger().await? {
        return Ok(Vec::new());
    }
    Ok(session.read_ledger(&workspace.config().workspace).await?)
}

/// A target that was migrated with a log that is not here gets no second one, and no other one.
pub(crate) fn check_log_is_here(target: &Target, ledger: &[LedgerRow]) -> Result<(), Failure> {
    let own = target.origin.as_str();
    let other = ledger.iter().find(|row| row.log_origin != own);
    let missing = ledger.last().filter(|_| !target.layout.segments().exists());
    match other.or(missing) {
        None => Ok(()),
        Some(row) => Err(TargetFailure::LogElsewhere {
            target: target.name.clone(),
            origin: row.log_origin.clone(),
            rows: ledger.len(),
            folder: target.layout.root().to_owned(),
        }
        .into()),
    }
}

/// What is planned on an older copy of the log would be refused when it is carried out.
pub(crate) fn check_log_is_whole(
    target: &Target,
    ledger: &[LedgerRow],
    size: u64,
) -> Result<(), Failure> {
    let known = known_size(ledger);
    if size >= known {
        return Ok(());
    }
    let folder = target.layout.root().to_owned();
    Err(OpenError::Older { folder, size, known }.into())
}

/// Each row names the event that announced it, so the log has at least that one.
fn known_size(ledger: &[LedgerRow]) -> u64 {
    ledger.iter().map(|row| row.intent_seq + 1).max().unwrap_or(0)
}

fn open_log(
    workspace: &Workspace,
    target: &Target,
    session: &Session,
    envelopes: &Envelopes<'_>,
    (secret, verifier): (&SecretKey, &VerifierKey),
    ledger: &[LedgerRow],
) -> Result<FileLog, Failure> {
    let repair = |fact| envelopes.draft(Event::TailRepaired(fact));
    let options = OpenOptions {
        verifier,
        known_size: known_size(ledger),
        now: envelopes.now(),
        holder: envelopes.holder(),
        repair: &repair,
    };
    if target.layout.segments().exists() {
        return Ok(FileLog::open(target.layout.clone(), &options)?);
    }
    let created = LogCreated {
        checkpoint_key: verifier.to_string(),
        format: FORMAT_VERSION,
        target: target.name.clone(),
        workspace: workspace.config().workspace.clone(),
    };
    let first = envelopes.draft(created.into());
    let created = FileLog::create(target.layout.clone(), &target.origin, &first, secret, &options);
    tracing::info!(log = %target.origin, version = session.facts().version_num, "began a log");
    match created {
        // Somebody was faster: theirs is opened instead.
        Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(FileLog::open(target.layout.clone(), &options)?)
        }
        created => Ok(created?),
    }
}

impl Opened<'_> {
    pub(crate) fn events(&self) -> &[Recorded] {
        self.recorder.log.events()
    }

    /// Folds the log anew and compares it with the ledger.
    pub(crate) fn fold(&mut self) {
        self.history = replay(self.recorder.log.events());
        self.recovery = replay(self.recorder.log.events());
        self.mismatches = compare_ledger(&self.ledger, &self.history, self.recorder.log.events());
    }

    async fn record(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        self.recorder.append(events).await.map_err(LogFailure::from)?;
        Ok(())
    }

    /// Registers the target in a fresh log, and settles what an interrupted run left.
    async fn settle(&mut self, workspace: &Workspace) -> Result<(), Failure> {
        if self.recorder.log.head().size == 1 {
            let registered = TargetRegistered {
                platform: self.platform.as_str().to_owned(),
                server_version: self.session.facts().short_version().to_owned(),
            };
            self.record(vec![registered.into()]).await?;
        }
        if let Some(run) = self.recovery.open_run.clone() {
            let (mut events, mut steps_done) = (Vec::new(), run.steps_done);
            let mut settled = None;
            if let Some(step) = &self.recovery.open_step {
                let name = &workspace.config().workspace;
                let identity = self.recovery.target.as_ref();
                let (found, evidence) = reconcile(&mut self.session, name, step, identity)
                    .await
                    .map_err(TargetFailure::from)?;
                steps_done += u64::from(found == ReconciledAs::TookEffect);
                settled = Some((step.id(), found));
                let event = annals_events::StepReconciled {
                    evidence,
                    found,
                    run: step.key.run,
                    step: step.key.step,
                };
                events.push(event.into());
            }
            let reason = Some("its process ended; settled by the next command".to_owned());
            let outcome = RunOutcome::Interrupted;
            events.push(RunFinished { outcome, reason, run: run.run, steps_done }.into());
            self.record(events).await?;
            self.recovered.push(Recovered {
                run: run.run,
                started_at: run.at,
                by: run.by,
                step: settled,
            });
            self.fold();
        }
        if !self.recovered.is_empty() {
            self.publish()?;
        }
        Ok(())
    }

    /// The schema as it is.
    pub(crate) async fn live_schema(&mut self) -> Result<Snapshot, Fault> {
        read_schema(&mut self.session, self.platform).await
    }

    /// The schema as the last run left it, where there is a picture of this server's major version.
    pub(crate) fn expected_schema(&self) -> Result<Option<Snapshot>, Failure> {
        let major = self.session.facts().major();
        let Some(picture) = self.recovery.schema.filter(|picture| picture.server_major == major)
        else {
            return Ok(None);
        };
        let layout = self.recorder.log.layout();
        let stored = layout.get_blob(&picture.snapshot).map_err(LogFailure::from)?;
        Snapshot::from_json(&stored).map(Some).map_err(|error| {
            let folder = layout.root().to_owned();
            LogFailure::Damaged { folder, reason: error.to_string() }.into()
        })
    }

    /// Records the schema a run has left. `before` is what was expected and what was found when it
    /// began: what differed then, and was not touched, goes on being a finding.
    pub(crate) async fn record_schema(
        &mut self,
        run: RunId,
        before: Option<&(Snapshot, Snapshot)>,
    ) -> Result<(), Failure> {
        let left = match self.live_schema().await {
            Ok(left) => left,
            Err(fault) => {
                // The read model knows that the picture is missing, and verify says so.
                tracing::warn!(%fault, "the schema could not be read after the run");
                return Ok(());
            }
        };
        let expected = match before {
            Some((expected, found)) => carry_forward(expected, found, &left),
            None => left,
        };
        let stored = expected.to_canonical_json();
        let blob = self.recorder.log.put_blob(stored.as_bytes()).map_err(LogFailure::from)?;
        let event = SchemaRecorded {
            objects: expected.len() as u64,
            run: Some(run),
            server_major: self.session.facts().major(),
            snapshot: blob,
        };
        self.record(vec![event.into()]).await?;
        self.fold();
        Ok(())
    }

    /// Signs the head, unless the published checkpoint vouches for it already.
    pub(crate) fn publish(&mut self) -> Result<Option<Checkpoint>, Failure> {
        if self.recorder.log.signed() == self.recorder.log.head().size {
            return Ok(None);
        }
        let published = self.recorder.log.publish_checkpoint(&self.secret);
        Ok(Some(published.map_err(LogFailure::Publish)?))
    }

    /// Gives the lock back and says goodbye.
    pub(crate) async fn close(mut self) {
        // The lock ends with the session in any case.
        let _ = self.session.unlock(self.lock).await;
        self.session.close().await;
    }
}
