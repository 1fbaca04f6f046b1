//! A restored database takes the place of the target; what a crash in between left is settled.
//!
//! The intent names both databases by their numbers, which they keep when they are renamed. Both
//! names change in one transaction, so one of three things is true at any moment: nothing has
//! happened, nobody may connect to the target, or the restored database has its name. Whoever comes
//! next sees which, from a database that is neither.

use std::time::{Duration, Instant};

use annals_events::{
    Event, ReconciledAs, RestoreStarted, RunFinished, RunId, RunOutcome, TargetRestored,
};
use annals_executor::failpoint;
use annals_postgres::{
    ConnectError, ConnectionSpec, DatabaseEntry, Fault, Guest, LockKey, Session, SessionSettings,
};

use crate::backups::BackupTrouble;
use crate::environment::Environment;
use crate::error::{Failure, TargetFailure};
use crate::open::{self, Opened};
use crate::targets::Target;
use crate::workspace::Workspace;

/// The databases from which others are renamed, in the order in which they are tried.
const STAGES: [&str; 2] = ["postgres", "template1"];

/// How long sessions that were told to end are waited for.
const ENDING: Duration = Duration::from_secs(30);

/// How long one restore waits for another one's end.
const SETTLING: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(50);

/// A session beside the target. Nobody else restores onto that database while it is open.
pub(crate) struct Stage {
    pub(crate) session: Session,
    database: String,
    /// Gives the restored database its own comment, in the place of the one that says whose it is.
    pub(crate) comment: String,
}

/// How the databases of a restore stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The target is the one it was.
    Before,
    /// The restored one has its name.
    Behind,
}

fn fault(database: &str) -> impl Fn(Fault) -> Failure + '_ {
    |fault| TargetFailure::Fault { target: database.to_owned(), fault }.into()
}

/// A session from which the database `spec` leads to can be renamed.
pub(crate) async fn beside(
    spec: &ConnectionSpec,
    settings: &SessionSettings,
) -> Result<Session, Failure> {
    let others = STAGES.iter().filter(|name| **name != spec.database());
    let mut refusal = None;
    for name in others {
        match spec.with_database(name).connect("annals/restore", settings).await {
            Ok(session) => return Ok(session),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.expect("invariant: one of two names is another one").into())
}

impl Stage {
    /// Waits for its turn.
    pub(crate) async fn enter(
        spec: &ConnectionSpec,
        settings: &SessionSettings,
    ) -> Result<Self, Failure> {
        let database = spec.database().to_owned();
        let mut session = beside(spec, settings).await?;
        let key = LockKey::of(&format!("restore of {database}"));
        let began = Instant::now();
        while !session.try_lock(key).await.map_err(fault(&database))? {
            if began.elapsed() > SETTLING {
                let holder = session.lock_holder(key).await.map_err(fault(&database))?;
                let what = format!("the place of the database {database:?}");
                let holder = open::describe_holder(holder.as_ref());
                return Err(Failure::Locked { what, holder });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(Self { session, database, comment: String::new() })
    }

    /// The database that has the target's name now.
    pub(crate) async fn target(&mut self) -> Result<Option<DatabaseEntry>, Failure> {
        self.session.database_named(&self.database).await.map_err(fault(&self.database))
    }

    /// Where a restore stands. A target nobody may connect to is opened again.
    async fn settle(&mut self, restore: &RestoreStarted) -> Result<Standing, Failure> {
        let (name, run) = (self.database.clone(), restore.run);
        let unsettled =
            |found: String| BackupTrouble::PlaceUnknown { database: name.clone(), run, found };
        let Some(found) = self.target().await? else {
            return Err(unsettled("there is none of that name".to_owned()).into());
        };
        let standing = match found.oid {
            oid if Some(oid) == restore.restored_oid => Standing::Behind,
            oid if oid == restore.target_oid => Standing::Before,
            oid => return Err(unsettled(format!("number {oid} has that name")).into()),
        };
        if !found.allows_connections {
            let opened = self.session.allow_connections(&found.name, true).await;
            opened.map_err(fault(&self.database))?;
            tracing::warn!(
                "nobody could connect to {:?} since a restore was cut short; it is open again",
                self.database
            );
        }
        Ok(standing)
    }

    /// Drops what was restored and is not wanted any more. It is found by its number.
    async fn drop_restored(&mut self, restore: &RestoreStarted) {
        let Some(oid) = restore.restored_oid else { return };
        let found = self.session.database_numbered(oid).await;
        let Ok(Some(entry)) = found else { return };
        // A number may be given again, to somebody else's database.
        if Some(&entry.name) == restore.scratch.as_ref() {
            crate::restore::drop_database(&mut self.session, &entry.name).await;
        }
    }

    pub(crate) async fn close(self) {
        // Its lock ends with it.
        self.session.close().await;
    }
}

/// After a target could not be connected to: opens it again where a restore that was cut short has
/// left it closed.
///
/// # Errors
///
/// `refusal`, where it is for another reason.
pub(crate) async fn reopen(
    target: &Target,
    spec: &ConnectionSpec,
    settings: &SessionSettings,
    refusal: ConnectError,
) -> Result<(), Failure> {
    let is_answer = matches!(refusal, ConnectError::Unusable { .. } | ConnectError::Login { .. });
    let book = match is_answer {
        true => open::read_book(target).await.ok(),
        false => None,
    };
    let restoring = book.and_then(|book| book.recovery.restoring);
    let Some(restore) = restoring.filter(|restore| !restore.is_in_place()) else {
        return Err(refusal.into());
    };
    let mut stage = Stage::enter(spec, settings).await?;
    let settled = stage.settle(&restore).await;
    stage.close().await;
    settled.map(drop)
}

/// What became of a restore that was cut short.
pub(crate) struct Settled {
    pub(crate) events: Vec<Event>,
    pub(crate) step: (String, ReconciledAs),
    pub(crate) outcome: RunOutcome,
    pub(crate) reason: Option<String>,
}

/// Settles a restore whose process ended, from the numbers of the databases.
pub(crate) async fn settle(
    opened: &Opened<'_>,
    restore: &RestoreStarted,
) -> Result<Settled, Failure> {
    let mut stage = Stage::enter(&opened.spec, &SessionSettings::default()).await?;
    let standing = stage.settle(restore).await;
    if let Ok(Standing::Before) = standing {
        stage.drop_restored(restore).await;
    }
    stage.close().await;
    let what = format!("the restore of backup {}", restore.backup);
    Ok(match standing? {
        Standing::Behind => Settled {
            events: vec![restored(restore).into()],
            step: (what, ReconciledAs::TookEffect),
            outcome: RunOutcome::Succeeded,
            reason: None,
        },
        Standing::Before => Settled {
            events: Vec::new(),
            step: (what, ReconciledAs::NoEffect),
            outcome: RunOutcome::Interrupted,
            reason: Some("its process ended before the databases were renamed".to_owned()),
        },
    })
}

pub(crate) fn restored(restore: &RestoreStarted) -> TargetRestored {
    TargetRestored {
        after: restore.after,
        backup: restore.backup,
        before: Some(restore.before),
        kept_as: restore.keep_as.clone(),
        log_size: restore.log_size,
        run: restore.run,
        server_major: restore.server_major,
    }
}

/// Lets the restored database take the place of the target, whose intent is recorded. Returns the
/// sessions that were ended.
///
/// Where it does not, the target is as it was, and the log says so; unless the server was lost: then
/// the next command finds out.
pub(crate) async fn take_place(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    opened: &mut Opened<'_>,
    stage: &mut Stage,
    restore: &RestoreStarted,
) -> Result<Vec<Guest>, Failure> {
    let settings = target.settings(workspace);
    let application = format!("annals/{}", restore.run);
    let swapped = close_and_swap(opened, stage, restore, &settings).await;
    failpoint::hit("restore_swapped");
    let spec = opened.spec.clone();
    match swapped {
        Ok(ended) => {
            // Whoever is faster than this waits for the log.
            connect_again(environment, target, opened, &spec, &settings, &application).await?;
            let steps_done = opened.recovery().open_run.as_ref().map_or(0, |run| run.steps);
            let finished = finished(restore.run, RunOutcome::Succeeded, None, steps_done);
            opened.record(vec![restored(restore).into(), finished.into()]).await?;
            failpoint::hit("restore_recorded");
            opened.ledger = open::read_ledger(&mut opened.session, workspace).await?;
            opened.compare();
            Ok(ended)
        }
        Err(failure) => {
            // What the numbers say counts, not which answer came.
            if stage.settle(restore).await? == Standing::Behind {
                let why = "the answer was lost; the next command records it: annals status";
                tracing::warn!("the restored database has its name: {why}");
                return Err(failure);
            }
            stage.drop_restored(restore).await;
            connect_again(environment, target, opened, &spec, &settings, &application).await?;
            let reason = failure.to_string().chars().take(1000).collect();
            let finished = finished(restore.run, RunOutcome::Failed, Some(reason), 0);
            opened.record(vec![finished.into()]).await?;
            Err(failure)
        }
    }
}

pub(crate) fn finished(
    run: RunId,
    outcome: RunOutcome,
    reason: Option<String>,
    steps_done: u64,
) -> RunFinished {
    RunFinished { outcome, reason, run, steps_done }
}

/// Opens a session on the target in the place of the one that held the lock.
pub(crate) async fn connect_again(
    environment: &Environment,
    target: &Target,
    opened: &mut Opened<'_>,
    spec: &ConnectionSpec,
    settings: &SessionSettings,
    application: &str,
) -> Result<(), Failure> {
    let mut session = spec.connect_to_work(application, settings).await?;
    open::take_lock_again(environment, target, &mut session, opened.lock).await?;
    std::mem::replace(&mut opened.session, session).close().await;
    Ok(())
}

async fn close_and_swap(
    opened: &mut Opened<'_>,
    stage: &mut Stage,
    restore: &RestoreStarted,
    settings: &SessionSettings,
) -> Result<Vec<Guest>, Failure> {
    let database = stage.database.clone();
    let found = stage.target().await?;
    let found = found.filter(|found| found.oid == restore.target_oid);
    let names = restore.keep_as.as_ref().zip(restore.scratch.as_ref());
    let Some((found, (keep_as, scratch))) = found.zip(names) else {
        let found = "it is not the one that was looked at".to_owned();
        return Err(BackupTrouble::PlaceUnknown { database, run: restore.run, found }.into());
    };
    stage.session.allow_connections(&database, false).await.map_err(fault(&database))?;
    failpoint::hit("restore_closed");
    // Ours goes first: it holds the lock, which nobody can take any more.
    let other = beside(&opened.spec, settings).await?;
    std::mem::replace(&mut opened.session, other).close().await;
    let mut ended: Vec<Guest> = Vec::new();
    let began = Instant::now();
    loop {
        let guests = stage.session.guests(&database).await.map_err(fault(&database))?;
        if guests.is_empty() {
            let comment = stage.comment.clone();
            match stage.session.swap_databases(&found, keep_as, scratch, &comment).await {
                Ok(()) => return Ok(ended),
                // Somebody was on the way in or out, or is cleaning.
                Err(fault) if matches!(fault.code(), Some("55006" | "55P03")) => {
                    if began.elapsed() > ENDING {
                        return Err(self::fault(&database)(fault));
                    }
                }
                Err(other) => return Err(self::fault(&database)(other)),
            }
        }
        if let Some(guest) = guests.first().filter(|_| began.elapsed() > ENDING) {
            let guest = guest.to_string();
            return Err(BackupTrouble::StillConnected { database, guest }.into());
        }
        for guest in guests {
            stage.session.end_backend(guest.pid).await.map_err(fault(&database))?;
            // The session of this run that was closed above may still be on its way out.
            let ours = guest.application == format!("annals/{}", restore.run);
            if !ours && !ended.iter().any(|other| other.pid == guest.pid) {
                ended.push(guest);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
