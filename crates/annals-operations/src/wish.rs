//! What somebody wants, as long as it is not known what it means: that hangs on the history.

use annals_events::{Direction, Timestamp, Version};
use annals_planner::Goal;
use annals_projections::{History, RecoveryState};

use crate::error::Failure;

/// How far to roll back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolledGoal {
    /// Until this version is the last one applied; `0` for everything.
    To(Version),
    /// The last so many.
    Last(u64),
    /// Until that is applied which was at this time, by the times of the log.
    ToTime(Timestamp),
    /// Until the last version is the newest behind which a verification passed.
    LastKnownGood,
}

/// A goal, or what becomes one: [`crate::UpGoal`], [`RolledGoal`].
#[derive(Debug, Clone)]
pub enum Wish {
    /// One that needs no history.
    Goal(Goal),
    /// A way back.
    Rolled(RolledGoal),
}

impl From<RolledGoal> for Wish {
    fn from(goal: RolledGoal) -> Self {
        Self::Rolled(goal)
    }
}

impl Wish {
    /// What it means with this history.
    pub(crate) fn goal(
        &self,
        history: &History,
        recovery: &RecoveryState,
    ) -> Result<Goal, Failure> {
        Ok(match self {
            Self::Goal(goal) => goal.clone(),
            Self::Rolled(RolledGoal::To(version)) => Goal::DownTo(version.clone()),
            Self::Rolled(RolledGoal::Last(count)) => Goal::DownLast(*count),
            Self::Rolled(RolledGoal::ToTime(at)) => Goal::DownLast(since(history, *at)?),
            Self::Rolled(RolledGoal::LastKnownGood) => match &recovery.last_known_good {
                Some(version) => Goal::DownTo(version.clone()),
                None => {
                    return Err(Failure::Argument {
                        subject: "the last known good version".to_owned(),
                        reason: "no verification has ever passed on this target; say how far: \
                                 annals rollback --to VERSION"
                            .to_owned(),
                    });
                }
            },
        })
    }
}

/// How many of the applied came after a time, which then was the end of what is applied now.
fn since(history: &History, at: Timestamp) -> Result<u64, Failure> {
    let mut then: Vec<&Version> = Vec::new();
    for change in history.changes().iter().filter(|change| change.at <= at) {
        match change.direction {
            Direction::Up => then.push(&change.version),
            Direction::Down => then.retain(|version| **version != change.version),
        }
    }
    let now: Vec<&Version> = history.applied().iter().map(|change| &change.version).collect();
    let refused = |reason: String| Failure::Argument {
        subject: format!("the time {}", at.to_human()),
        reason,
    };
    if let Some(gone) = then.iter().find(|version| !now.contains(version)) {
        return Err(refused(format!(
            "{gone} was applied then and is not now: going back alone does not lead there; see: \
             annals diff --from '{at}'"
        )));
    }
    if now[..then.len()].iter().any(|version| !then.contains(version)) {
        return Err(refused(
            "what was applied since is not all newer than what was applied then: say how far: \
             annals rollback --last COUNT"
                .to_owned(),
        ));
    }
    Ok((now.len() - then.len()) as u64)
}
