//! Which backup leads back: the newest that was taken while nothing of what is to be undone was
//! applied. Found by replay of the log, not by looking at the target.

use annals_events::{BackupId, Event, Recorded, Timestamp, Version};
use annals_planner::Goal;
use annals_projections::History;

use crate::book::Book;
use crate::error::Failure;
use crate::logs::ReadLog;
use crate::targets::Target;
use crate::wish::{RolledGoal, Wish};

/// A backup that leads back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBack {
    /// The backup.
    pub backup: BackupId,
    /// When it was taken.
    pub at: Timestamp,
    /// Whether its bytes were authenticated since, or it was restored and compared.
    pub is_verified: bool,
    /// What is applied now and was not then, the newest last.
    pub undone: Vec<String>,
}

/// Finds it; none where no backup of before is there.
///
/// # Errors
///
/// When the log cannot be read, or the goal means nothing with this history.
pub(crate) async fn way_back(
    target: &Target,
    goal: &RolledGoal,
) -> Result<Option<WayBack>, Failure> {
    let (mut book, mut moments) = (Book::default(), Vec::new());
    let log = ReadLog::of_target(target)?;
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        book.apply(recorded);
        if let Event::BackupTaken(taken) = &recorded.event {
            let applied = versions(&book.history);
            // A backup is of what was there before the run it was taken for.
            moments.push((taken.backup, applied));
        }
    };
    log.read(&mut visit).await?.check()?;
    let undone = undone(&book, goal)?;
    let leads_back = |id: &BackupId| {
        let then = moments.iter().find(|(backup, _)| backup == id);
        then.is_some_and(|(_, applied)| undone.iter().all(|version| !applied.contains(version)))
    };
    let usable = book.backups.usable().filter(|(id, backup)| backup.is_full() && leads_back(id));
    let newest = usable.max_by_key(|(_, backup)| (backup.at, backup.seq.0));
    Ok(newest.map(|(id, backup)| {
        let then = moments.iter().find(|(known, _)| *known == id);
        let applied = then.map_or(&[][..], |(_, applied)| applied);
        let now = book.history.applied().iter();
        let missing = now.filter(|change| !applied.contains(&change.version));
        WayBack {
            backup: id,
            at: backup.at,
            is_verified: backup.verified().is_some(),
            undone: missing.map(annals_projections::Change::id).collect(),
        }
    }))
}

fn versions(history: &History) -> Vec<Version> {
    history.applied().iter().map(|change| change.version.clone()).collect()
}

/// The versions that are to be undone.
pub(crate) fn undone(book: &Book, goal: &RolledGoal) -> Result<Vec<Version>, Failure> {
    let applied = versions(&book.history);
    let goal = Wish::Rolled(goal.clone()).goal(&book.history, &book.recovery)?;
    let kept = match goal {
        Goal::DownTo(version) => {
            applied.iter().position(|known| *known == version).map_or(0, |at| at + 1)
        }
        Goal::DownLast(count) => {
            applied.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX))
        }
        _ => applied.len(),
    };
    Ok(applied[kept..].to_vec())
}
