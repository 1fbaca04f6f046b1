//! `backup prune`: what may go.

use annals_archive::{ArchiveError, StoreError};
use annals_events::{BackupDepth, BackupId, BackupRemoved, RunId, Timestamp};
use annals_executor::Interrupt;
use annals_projections::{Backup, BackupCatalog, History};

use crate::backups::record;
use crate::environment::Environment;
use crate::error::Failure;
use crate::open;
use crate::targets::Target;
use crate::workspace::Workspace;

/// Which backups may go.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// The newest so many stay.
    pub keep_last: Option<u64>,
    /// Those not older than so many days stay.
    pub keep_days: Option<u64>,
    /// Those taken before the so many migrations applied last stay.
    pub keep_rollbacks: Option<u64>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// A backup that goes, or stays although it could go by number and age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunedBackup {
    /// Its name.
    pub backup: String,
    /// Why.
    pub reason: String,
}

/// What a pruning did.
#[derive(Debug, Clone)]
pub struct PruneView {
    /// The target.
    pub target: String,
    /// What went, or would go.
    pub removed: Vec<PrunedBackup>,
    /// What stays, and why.
    pub kept: Vec<PrunedBackup>,
    /// Whether anything was done.
    pub dry_run: bool,
    /// Files of backups the log has as removed, which went too.
    pub swept: Vec<String>,
}

/// Removes backups that are not to be kept. Each is recorded before its file is touched.
///
/// The newest backup that passed a verification stays, whatever its age, and so does one that is
/// newer; among several, one that was restored and compared counts. What a rollback may need stays too:
/// the newest one that was taken before a run, and those taken before the runs that applied the newest
/// migrations, `keep_rollbacks` of them, as long as these are applied. Backups that do not hold everything are
/// counted by themselves, in the same way. What is not said is as
/// `annals.toml` says.
///
/// # Errors
///
/// When nothing says what is to be kept, or something cannot be recorded or removed.
pub async fn backup_prune(
    environment: &Environment,
    options: &PruneOptions,
    interrupt: &mut Interrupt,
) -> Result<PruneView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let config = &workspace.config().backup;
    let keep = Keep {
        last: options.keep_last.or(config.keep_last),
        days: options.keep_days.or(config.keep_days),
        rollbacks: options.keep_rollbacks.unwrap_or(config.keep_rollbacks),
    };
    if keep.last.is_none() && keep.days.is_none() {
        let subject = "--keep-last, --keep-days".to_owned();
        let reason = "one of them says what is to be kept, here or in annals.toml ([backup])";
        return Err(Failure::Argument { subject, reason: reason.to_owned() });
    }
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let book = open::read_book(&target).await?;
    let catalog = &book.backups;
    let needed = needed_by_rollbacks(&book.history, keep.rollbacks);
    let now = environment.clock.now();
    // What does not hold everything takes no place from what does, and vouches for none of it.
    let (mut removed, mut kept) = sort_out(catalog, Backup::is_full, &keep, &needed, now);
    let (others, stay) = sort_out(catalog, |backup| !backup.is_full(), &keep, &needed, now);
    removed.extend(others);
    kept.extend(stay);
    let store = target.backup_store()?;
    let mut view = PruneView {
        target: target.name.clone(),
        kept,
        removed: Vec::new(),
        dry_run: options.dry_run,
        swept: Vec::new(),
    };
    let named = |(id, reason): &(BackupId, String)| PrunedBackup {
        backup: id.to_string(),
        reason: reason.clone(),
    };
    view.removed = removed.iter().map(named).collect();
    if options.dry_run {
        return Ok(view);
    }
    if !removed.is_empty() {
        let event = |(backup, reason): &(BackupId, String)| {
            BackupRemoved { backup: *backup, reason: reason.clone() }.into()
        };
        let events = removed.iter().map(event).collect();
        record(environment, &workspace, &target, events, interrupt).await?;
    }
    // What an earlier pruning recorded and did not get to goes too.
    let gone = catalog.iter().filter(|(_, backup)| backup.removed.is_some()).map(|(id, _)| id);
    let (now, before): (Vec<BackupId>, Vec<BackupId>) =
        (removed.iter().map(|(id, _)| *id).collect(), gone.collect());
    for (id, is_before) in
        now.into_iter().map(|id| (id, false)).chain(before.into_iter().map(|id| (id, true)))
    {
        match store.remove(&id.to_string()).await {
            Ok(()) if is_before => view.swept.push(id.to_string()),
            Ok(()) | Err(StoreError::Missing(_)) => {}
            Err(error) => return Err(ArchiveError::from(error).into()),
        }
    }
    Ok(view)
}

/// What is kept.
struct Keep {
    last: Option<u64>,
    days: Option<u64>,
    rollbacks: u64,
}

/// The runs that applied the newest migrations, each with one of these: going back behind one may need
/// what was backed up before it.
fn needed_by_rollbacks(history: &History, newest: u64) -> Vec<(RunId, String)> {
    let newest = usize::try_from(newest).unwrap_or(usize::MAX);
    let applied = history.applied().iter().rev().take(newest);
    applied.map(|change| (change.key.run, change.id())).collect()
}

type Sorted = (Vec<(BackupId, String)>, Vec<PrunedBackup>);

/// What goes, and what stays with the reason.
fn sort_out(
    catalog: &BackupCatalog,
    is_meant: impl Fn(&Backup) -> bool,
    keep: &Keep,
    needed: &[(RunId, String)],
    now: Timestamp,
) -> Sorted {
    const DAY_US: i64 = 86_400_000_000;
    let mut there: Vec<(BackupId, &Backup)> =
        catalog.iter().filter(|(_, it)| it.removed.is_none() && is_meant(it)).collect();
    there.sort_by_key(|(_, backup)| std::cmp::Reverse(backup.seq));
    let restored = |backup: &Backup| matches!(backup.verified(), Some((BackupDepth::Restored, _)));
    let usable = |backup: &Backup| backup.is_usable();
    let newest = |wanted: &dyn Fn(&Backup) -> bool| {
        there.iter().position(|(_, backup)| usable(backup) && wanted(backup))
    };
    let before_run = newest(&|backup| backup.run.is_some());
    let anchor = newest(&restored).or_else(|| newest(&|backup| backup.verified().is_some()));
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for (at, (id, backup)) in there.iter().enumerate() {
        let age_days = (now.micros() - backup.at.micros()) / DAY_US;
        let by_count = keep.last.is_some_and(|last| (at as u64) < last);
        let by_age =
            keep.days.is_some_and(|days| i64::try_from(days).is_ok_and(|days| age_days < days));
        let for_rollback = needed.iter().find(|(run, _)| backup.run == Some(*run));
        let why = match anchor {
            _ if by_count => Some(format!("one of the newest {}", keep.last.unwrap_or(0))),
            _ if by_age => Some(format!("{age_days} days old")),
            _ if usable(backup) && for_rollback.is_some() => {
                for_rollback.map(|(_, id)| format!("a rollback of {id} may need it"))
            }
            _ if before_run == Some(at) => Some("the newest taken before a run".to_owned()),
            Some(anchor) if at == anchor => {
                Some("the newest that passed a verification".to_owned())
            }
            Some(anchor) if at < anchor => Some("newer than the newest verified one".to_owned()),
            None => Some("none has passed a verification yet".to_owned()),
            Some(_) => None,
        };
        match why {
            Some(reason) => kept.push(PrunedBackup { backup: id.to_string(), reason }),
            None => {
                let limits = [
                    keep.last.map(|last| format!("not one of the newest {last}")),
                    keep.days.map(|_| format!("{age_days} days old")),
                ];
                let reason = limits.into_iter().flatten().collect::<Vec<_>>().join(", ");
                removed.push((*id, format!("pruned: {reason}")));
            }
        }
    }
    (removed, kept)
}
