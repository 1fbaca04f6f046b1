//! A backup replaces what is the project's in the target's own database: where a database beside it cannot take
//! its name, because the platform has schemas in it that no backup holds.
//!
//! Everything happens in one transaction on the session that holds the lock: what is there goes, the backup comes, it is
//! compared, and a row about the run stands beside it. So that row says what has happened, to this process
//! after a lost answer, and to the next one after a crash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_archive::{
    Archive, ArchiveError, InPlace, InPlaceOptions, Kind, Watcher, restore_in_place,
};
use annals_backup::KeyEncryptionKey;
use annals_events::{
    BackupDepth, BackupId, BackupVerified, CheckOutcome, ReconciledAs, RestoreStarted,
    RestoredTable, RunId, RunOutcome, TargetRestored,
};
use annals_executor::{Interrupt, failpoint, lost_to_others};
use annals_postgres::{Fault, Session};
use annals_schema::Fingerprint;

use crate::backup::take_for_run;
use crate::backup_keys::KeyReader;
use crate::backups::{self, BackupTrouble, container_id, read_all};
use crate::error::{Failure, TargetFailure};
use crate::open::{self, Opened};
use crate::restore::told;
use crate::restore_gate::RestoreGate;
use crate::restore_target::{
    Around, Considered, Moments, RestoreDone, TargetRestore, TargetRestoreOptions, check_confirmed,
    entries, intent, is_of_then,
};
use crate::swap::{self, Settled};
use crate::targets::Target;

/// The pause before a transaction that lost against others is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked who is in the way.
const LOOKS_EVERY: Duration = Duration::from_millis(400);

/// The longest reason an event holds, in characters.
const REASON_CHARACTERS: usize = 1000;

/// A backup that has been read through, and what opens it.
struct Opener {
    archive: Archive,
    key: Arc<Vec<KeyEncryptionKey>>,
    id: BackupId,
    run: RunId,
}

/// What has been committed.
struct Committed {
    found: InPlace,
    locked_us: u64,
}

/// Lets the backup replace what is in the target.
pub(crate) async fn replace(
    around: Around<'_>,
    (options, confirm, gate): (&TargetRestoreOptions, &str, &RestoreGate),
    considered: Considered,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<TargetRestore, Failure> {
    let (environment, workspace, target) = around;
    let Considered { mut view, id, mut moments, .. } = considered;
    let (began, run) = (Instant::now(), environment.ids.run());
    let store = target.backup_store()?;
    let key = KeyReader::new(environment, target).of_backup(&store, id).await?;
    let archive = read_all(target, id, &key, watcher, interrupt).await?;
    let opener = Opener { archive, key, id, run };
    let application = format!("annals/{run}");
    let mut opened = open::open(environment, workspace, target, &application, interrupt).await?;
    let done = carry_out(
        around,
        (options, confirm, gate),
        (&mut opened, &opener, &mut moments),
        (watcher, interrupt),
        &mut view,
    );
    let (committed, backup_before, ended) = match done.await {
        Ok(done) => done,
        Err(failure) => {
            // Where its outcome is not known, the next command finds out.
            if opened.recovery().restoring.is_none() {
                opened.publish().await?;
            }
            opened.close().await;
            return Err(failure);
        }
    };
    opened.record_as_it_is(&target.name, Some(run), Vec::new()).await?;
    opened.publish().await?;
    opened.anchor(environment, workspace, target).await?;
    view.notes.extend(gate.note(&target.name, run));
    view.notes.extend(committed.found.notes);
    let comparison = committed.found.comparison;
    view.done = Some(RestoreDone {
        run,
        kept_as: None,
        backup_before,
        ended,
        tables: comparison.tables,
        rows: comparison.rows,
        schema_compared: comparison.schema_compared,
        us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        closed_us: committed.locked_us,
        log_size: opened.book().size,
        recovered: std::mem::take(&mut opened.recovered),
    });
    opened.close().await;
    Ok(view)
}

/// Under the lock: looks again, keeps what is there, records the intent, does it, and records that.
async fn carry_out(
    around: Around<'_>,
    (options, confirm, gate): (&TargetRestoreOptions, &str, &RestoreGate),
    (opened, opener, moments): (&mut Opened<'_>, &Opener, &mut Moments),
    (watcher, interrupt): (&mut dyn Watcher, &mut Interrupt),
    view: &mut TargetRestore,
) -> Result<(Committed, Option<BackupId>, Vec<String>), Failure> {
    let (environment, workspace, target) = around;
    let Opener { archive, id, run, .. } = opener;
    let live = opened.live_schema(&target.name).await?.fingerprint();
    check_confirmed(target, confirm, &live.to_string())?;
    moments.now.history.clone_from(opened.history());
    let mut backup_before = None;
    if !options.without_backup {
        let of_backup = backups::Around { environment, workspace, target };
        let what = (Kind::Full, Vec::new());
        match take_for_run(of_backup, opened, what, *run, (watcher, interrupt)).await {
            Ok(taken) => backup_before = Some(taken.backup),
            Err(failure) if options.right.emergency.is_some() => {
                view.notes.push(format!("what was there is not kept: {failure}"));
            }
            Err(Failure::Backup(trouble)) => {
                return Err(BackupTrouble::NotKept(Box::new(trouble)).into());
            }
            Err(failure) => return Err(failure),
        }
    }
    failpoint::hit("in_place_kept");
    let database = opened.spec.database().to_owned();
    let entry = opened.session.database_named(&database).await.map_err(open::fault(target))?;
    let gone = || ArchiveError::Stopped(format!("the database {database} is gone"));
    let Fingerprint { digest: after, server_major } = archive.schema.fingerprint();
    let restore = RestoreStarted {
        after,
        backup: *id,
        before: live.digest,
        keep_as: None,
        log_size: moments.then.size,
        restored_oid: None,
        run: *run,
        scratch: None,
        server_major,
        target_oid: entry.ok_or_else(gone)?.oid,
    };
    let back_to = moments.then.history.applied().last().map(|change| change.version.clone());
    let mut events = options.right.events(gate, *run, back_to);
    events.extend(intent(&restore, entries(moments, *id, *run)));
    opened.record(events).await?;
    failpoint::hit("restore_announced");
    let may_end = options.right.emergency.is_some() && workspace.config().terminate_blockers;
    let way = Way { may_end, ..Way::default() };
    let work = persist(around, opened, (opener, &*moments), &way, (watcher, interrupt));
    let committed = match work.await {
        Ok(committed) => committed,
        Err(Unfinished { failure, is_known }) => {
            if is_known {
                let outcome = match failure {
                    Failure::Interrupted => RunOutcome::Interrupted,
                    _ => RunOutcome::Failed,
                };
                let reason = failure.to_string().chars().take(REASON_CHARACTERS).collect();
                let finished = swap::finished(*run, outcome, Some(reason), 0);
                opened.record(vec![finished.into()]).await?;
            } else {
                tracing::warn!("whether the backup is there is not known: annals status finds out");
            }
            return Err(failure);
        }
    };
    failpoint::hit("restore_swapped");
    let after = committed.found.schema.fingerprint();
    let restored = TargetRestored {
        after: after.digest,
        server_major: after.server_major,
        ..swap::restored(&restore)
    };
    let steps_done = opened.recovery().open_run.as_ref().map_or(0, |run| run.steps);
    let finished = swap::finished(*run, RunOutcome::Succeeded, None, steps_done);
    opened.record(vec![restored.into(), finished.into()]).await?;
    failpoint::hit("restore_recorded");
    opened.session.reset().await.map_err(open::fault(target))?;
    // Without it the first queries are planned as if everything were empty.
    if let Err(fault) = opened.session.run("ANALYZE").await {
        tracing::warn!(%fault, "statistics were not made: ANALYZE");
    }
    opened.ledger = open::read_ledger(&mut opened.session, workspace).await?;
    opened.compare();
    if committed.found.comparison.schema_compared && committed.found.notes.is_empty() {
        let (depth, result) = (BackupDepth::Restored, CheckOutcome::Passed);
        opened.record(vec![BackupVerified { backup: *id, depth, result }.into()]).await?;
    }
    Ok((committed, backup_before, way.ended.into_inner()))
}

/// Why it has not been done, and whether that is known.
struct Unfinished {
    failure: Failure,
    is_known: bool,
}

impl Unfinished {
    fn known(failure: Failure) -> Self {
        Self { failure, is_known: true }
    }
}

/// Attempts, until one is committed, or lost for another reason than the locks of others.
async fn persist(
    around: Around<'_>,
    opened: &mut Opened<'_>,
    (opener, moments): (&Opener, &Moments),
    way: &Way,
    (watcher, interrupt): (&mut dyn Watcher, &mut Interrupt),
) -> Result<Committed, Unfinished> {
    let (_, workspace, target) = around;
    let (settings, patience) = (target.settings(workspace), opened.patience);
    let (began, mut attempts) = (Instant::now(), 0);
    loop {
        // It watches over one backend: that of the session as it is now.
        let looking = opened.spec.connect("annals/restore", &settings).await;
        let looking = looking.map_err(|error| Unfinished::known(error.into()))?;
        let pid = opened.session.facts().backend_pid;
        let locked = Instant::now();
        let done = tokio::select! {
            biased;
            () = interrupt.wait() => Err(Failure::Interrupted),
            done = attempt(around, &mut opened.session, (opener, moments), watcher) => done,
            never = look(looking, pid, way) => match never {},
        };
        let failure = match done {
            Ok(found) => {
                let locked_us = u64::try_from(locked.elapsed().as_micros()).unwrap_or(u64::MAX);
                return Ok(Committed { found, locked_us });
            }
            Err(failure) => failure,
        };
        let code = fault_of(&failure).and_then(Fault::code).map(str::to_owned);
        let is_cut = matches!(failure, Failure::Interrupted)
            || fault_of(&failure).is_some_and(Fault::ends_session);
        if is_cut {
            // What was sent last may have come through: the row about the run says whether it did.
            return match find_out(around, opened, opener).await {
                Ok(Some(found)) => {
                    let locked_us = u64::try_from(locked.elapsed().as_micros()).unwrap_or(u64::MAX);
                    Ok(Committed { found, locked_us })
                }
                Ok(None) => Err(Unfinished::known(failure)),
                Err(error) => {
                    tracing::warn!(%error, "the target cannot be asked");
                    Err(Unfinished { failure, is_known: false })
                }
            };
        }
        // Whatever the transaction did is undone.
        let undone = async {
            opened.session.roll_back().await?;
            opened.session.reset().await
        };
        if let Err(fault) = undone.await {
            tracing::warn!(%fault, "the session was lost behind an attempt");
            return Err(Unfinished { failure, is_known: false });
        }
        let is_long = patience.max_blocked_ms > 0
            && began.elapsed() > Duration::from_millis(patience.max_blocked_ms);
        let is_lost = lost_to_others(code.as_deref());
        if !is_lost || attempts >= patience.retries || is_long {
            let seen = way.seen.borrow();
            let failure = match is_lost && !seen.is_empty() {
                true => Failure::Locked {
                    what: format!("a table of the target {:?}", target.name),
                    holder: seen.values().cloned().collect::<Vec<_>>().join(", "),
                },
                false => failure,
            };
            return Err(Unfinished::known(failure));
        }
        attempts += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// One attempt, up to its commit.
async fn attempt(
    (_, workspace, target): Around<'_>,
    session: &mut Session,
    (opener, moments): (&Opener, &Moments),
    watcher: &mut dyn Watcher,
) -> Result<InPlace, Failure> {
    let Opener { archive, key, id, run } = opener;
    let source = target.backup_store()?.open(&id.to_string()).await.map_err(ArchiveError::from)?;
    let lock_timeout_ms = target.settings(workspace).lock_timeout_ms;
    let options = InPlaceOptions { scope: &target.scope, lock_timeout_ms };
    let from = (source, Arc::clone(key), container_id(*id));
    let found = restore_in_place(archive, from, session, &options, watcher).await?;
    if !found.lost.is_empty() {
        let (target, reasons) = (target.name.clone(), found.lost);
        return Err(BackupTrouble::CannotTakePlace { target, reasons }.into());
    }
    if !found.comparison.unequal.is_empty() {
        return Err(BackupTrouble::NotEqual(told(&found.comparison.unequal)).into());
    }
    is_of_then(target, &open::read_ledger(session, workspace).await?, &moments.then)?;
    session.install_ledger().await.map_err(TargetFailure::from)?;
    session.make_restored_rows().await.map_err(ArchiveError::from)?;
    let tables = archive.manifest.tables_without_log();
    let tables: Vec<RestoredTable> = tables
        .map(|(_, table)| RestoredTable {
            inserted: table.content.rows,
            replaced: 0,
            table: table.name.clone(),
        })
        .collect();
    let told = session.insert_restored_rows(*run, target.origin.as_str(), *id, &tables).await;
    told.map_err(ArchiveError::from)?;
    failpoint::hit("in_place_written");
    session.commit().await.map_err(ArchiveError::from)?;
    Ok(found)
}

/// Who is in the way.
#[derive(Default)]
struct Way {
    /// Whether they may be ended.
    may_end: bool,
    /// Who was.
    ended: RefCell<Vec<String>>,
    /// Who has been seen there, by backend.
    seen: RefCell<BTreeMap<i32, String>>,
}

/// Says who is in the way, and ends them where that is allowed.
async fn look(mut session: Session, pid: i32, way: &Way) -> Infallible {
    loop {
        tokio::time::sleep(LOOKS_EVERY).await;
        let blockers = match session.blockers_of(pid).await {
            Ok(blockers) => blockers,
            Err(fault) => {
                tracing::warn!(%fault, "who is in the way cannot be seen");
                return std::future::pending().await;
            }
        };
        let mut new = Vec::new();
        for blocker in blockers {
            let words = blocker.to_string();
            if way.seen.borrow_mut().insert(blocker.pid, words).is_none() {
                tracing::warn!("waits for {blocker}");
                new.push(blocker.pid);
            }
        }
        if new.is_empty() || !way.may_end {
            continue;
        }
        match session.end_clients(&new).await {
            Ok(gone) => way.ended.borrow_mut().extend(gone.into_iter().map(|one| {
                format!("backend {} (role {}, application {})", one.pid, one.user, one.application)
            })),
            Err(fault) => tracing::warn!("who stands in the way could not be ended: {fault}"),
        }
    }
}

/// What a run has put back, after the session was lost: asked on a new one, which gets the lock when the old
/// one's backend has ended. Nothing, if its transaction was not committed.
pub(crate) async fn ask_again(
    (environment, workspace, target): Around<'_>,
    opened: &mut Opened<'_>,
    run: RunId,
) -> Result<Option<Vec<RestoredTable>>, Failure> {
    let settings = target.settings(workspace);
    let session = opened.spec.connect_to_work(&format!("annals/{run}"), &settings).await?;
    // Whatever it still does ends with its connection.
    drop(std::mem::replace(&mut opened.session, session));
    open::take_lock_again(environment, target, &mut opened.session, opened.lock).await?;
    let found = opened.session.restored_rows_of(run).await.map_err(open::fault(target))?;
    if found.is_none() {
        tracing::warn!("nothing of it was committed: whatever was done was undone");
    }
    Ok(found)
}

/// What a note says of a commit whose answer never came.
pub(crate) const ASKED: &str =
    "the answer to its commit was lost; it was asked for, and it is there";

/// Whether the backup is there, after the session was lost.
async fn find_out(
    around: Around<'_>,
    opened: &mut Opened<'_>,
    Opener { archive, run, .. }: &Opener,
) -> Result<Option<InPlace>, Failure> {
    let (_, _, target) = around;
    if ask_again(around, opened, *run).await?.is_none() {
        return Ok(None);
    }
    let schema = opened.live_schema(&target.name).await?;
    let manifest = &archive.manifest;
    let comparison = annals_archive::Comparison {
        unequal: Vec::new(),
        schema_compared: schema.comparable_with(&archive.schema),
        tables: manifest.tables_without_log().count() as u64,
        rows: manifest.tables_without_log().map(|(_, table)| table.content.rows).sum(),
    };
    let notes = vec![ASKED.to_owned()];
    Ok(Some(InPlace { comparison, lost: Vec::new(), notes, schema }))
}

/// Settles a restore whose process ended, from the row about its run.
pub(crate) async fn settle(
    opened: &mut Opened<'_>,
    target: &Target,
    restore: &RestoreStarted,
) -> Result<Settled, Failure> {
    let what = format!("the restore of backup {}", restore.backup);
    let row = opened.session.restored_rows_of(restore.run).await.map_err(open::fault(target))?;
    if row.is_none() {
        return Ok(Settled {
            events: Vec::new(),
            step: (what, ReconciledAs::NoEffect),
            outcome: RunOutcome::Interrupted,
            reason: Some("its process ended before it was committed".to_owned()),
        });
    }
    let Fingerprint { digest: after, server_major } =
        opened.live_schema(&target.name).await?.fingerprint();
    let restored = TargetRestored { after, server_major, ..swap::restored(restore) };
    Ok(Settled {
        events: vec![restored.into()],
        step: (what, ReconciledAs::TookEffect),
        outcome: RunOutcome::Succeeded,
        reason: None,
    })
}

fn fault_of(failure: &Failure) -> Option<&Fault> {
    match failure {
        Failure::Backup(BackupTrouble::Archive(
            ArchiveError::Fault(fault) | ArchiveError::Refused { fault, .. },
        ))
        | Failure::Target(TargetFailure::Fault { fault, .. }) => Some(fault),
        _ => None,
    }
}
