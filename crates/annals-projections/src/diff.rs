//! What two states of one log do not share.

use std::collections::BTreeMap;

use annals_events::{ApprovalId, BackupId, KeyPurpose, RunId, RunOutcome, Timestamp, Version};

use crate::approvals::Approval;
use crate::backups::{Backup, BackupCondition};
use crate::history::Change;
use crate::keys::KnownKey;
use crate::recovery::{OpenStep, RunSummary};
use crate::state::State;

/// What became of a migration between two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It was not applied and is.
    Applied,
    /// It was applied and is not.
    RolledBack,
    /// It is applied as before, but was rolled back in between.
    RolledBackAndApplied,
    /// It is not applied as before, but was in between.
    AppliedAndRolledBack,
}

impl Turn {
    /// The words for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::RolledBack => "rolled back",
            Self::RolledBackAndApplied => "rolled back and applied again",
            Self::AppliedAndRolledBack => "applied and rolled back",
        }
    }
}

/// A migration that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turned {
    /// What became of it.
    pub turn: Turn,
    /// Its last change.
    pub last: Change,
    /// How often it changed in between.
    pub changes: u64,
}

/// A value on both sides, where it is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift<T> {
    /// In the earlier state.
    pub before: Option<T>,
    /// In the later state.
    pub after: Option<T>,
}

fn shift<T: PartialEq>(before: Option<T>, after: Option<T>) -> Option<Shift<T>> {
    (before != after).then_some(Shift { before, after })
}

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalTurn {
    /// It was given, and counts.
    Given,
    /// It was given and does not count any more.
    GivenAndOver,
    /// It was taken back.
    Revoked,
    /// Its time ran out.
    Lapsed,
}

impl ApprovalTurn {
    /// The words for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::GivenAndOver => "given and over again",
            Self::Revoked => "revoked",
            Self::Lapsed => "lapsed",
        }
    }
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTurn {
    /// It was added, and counts.
    Added,
    /// It was retired.
    Retired,
}

impl KeyTurn {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Retired => "retired",
        }
    }
}

/// How often something happened in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Between {
    /// Events.
    pub events: u64,
    /// Runs that succeeded.
    pub runs_succeeded: u64,
    /// Runs that failed.
    pub runs_failed: u64,
    /// Runs that were interrupted.
    pub runs_interrupted: u64,
    /// Verifications that passed.
    pub verifications_passed: u64,
    /// Verifications that did not pass.
    pub verifications_failed: u64,
    /// Tails that were repaired.
    pub tails_repaired: u64,
    /// Events a newer annals has written: what they say is not part of this difference.
    pub not_understood: u64,
}

/// The difference of two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDiff {
    /// How often what happened in between.
    pub between: Between,
    /// Migrations that changed, in the order of their last change.
    pub migrations: Vec<Turned>,
    /// The run under way.
    pub open_run: Option<Shift<RunId>>,
    /// The migration in doubt.
    pub in_doubt: Option<Shift<Vec<String>>>,
    /// The migrations that are half done.
    pub half_done: Option<Shift<Vec<String>>>,
    /// The last run that ended: which, and how.
    pub last_run: Option<Shift<(RunId, RunOutcome)>>,
    /// Whether the last verification passed, and when it was.
    pub last_integrity: Option<Shift<(bool, Timestamp)>>,
    /// The last known good version.
    pub last_known_good: Option<Shift<Version>>,
    /// Fingerprint of the schema, where it is known.
    pub schema: Option<Shift<String>>,
    /// Approvals.
    pub approvals: Vec<(ApprovalTurn, ApprovalId, Approval)>,
    /// Backups whose condition is another one; `None` of one that was not taken yet.
    pub backups: Vec<(BackupId, Option<BackupCondition>, Backup)>,
    /// Keys.
    pub keys: Vec<(KeyTurn, KnownKey)>,
    /// Anchors that hold more than before: name, size before, size after.
    pub anchors: Vec<(String, u64, u64)>,
    /// The home of the log, once it was moved.
    pub home: Option<Shift<String>>,
    /// Digest of the migrations last read.
    pub seen: Option<Shift<String>>,
    /// The last emergency rollback: its run, and how that ended.
    pub emergency: Option<Shift<(RunId, Option<RunOutcome>)>>,
}

impl StateDiff {
    /// What became of `before` until it was `after`, at the two times for which approvals count.
    pub fn between(before: (&State, Timestamp), after: (&State, Timestamp)) -> Self {
        let ((a, a_time), (b, b_time)) = (before, after);
        let fingerprint = |state: &State| {
            state.recovery.schema.map(|picture| picture.snapshot.digest.to_string())
        };
        let some = |ids: Vec<String>| Some(ids).filter(|ids| !ids.is_empty());
        let in_doubt =
            |state: &State| some(state.recovery.open_steps.iter().map(OpenStep::id).collect());
        let half_done =
            |state: &State| some(state.recovery.partial.values().map(OpenStep::id).collect());
        let run = |run: &RunSummary| (run.run, run.outcome);
        Self {
            between: counts(a, b),
            migrations: migrations(a, b),
            open_run: shift(
                a.recovery.open_run.as_ref().map(|run| run.run),
                b.recovery.open_run.as_ref().map(|run| run.run),
            ),
            in_doubt: shift(in_doubt(a), in_doubt(b)),
            half_done: shift(half_done(a), half_done(b)),
            last_run: shift(
                a.recovery.last_run.as_ref().map(run),
                b.recovery.last_run.as_ref().map(run),
            ),
            last_integrity: shift(
                a.recovery.last_integrity.map(|checked| (checked.passed, checked.at)),
                b.recovery.last_integrity.map(|checked| (checked.passed, checked.at)),
            ),
            last_known_good: shift(
                a.recovery.last_known_good.clone(),
                b.recovery.last_known_good.clone(),
            ),
            schema: shift(fingerprint(a), fingerprint(b)),
            approvals: approvals(a, a_time, b, b_time),
            backups: backups(a, b),
            keys: keys(a, b),
            anchors: anchors(a, b),
            home: shift(
                a.home.moved.as_ref().map(|moved| moved.to.clone()),
                b.home.moved.as_ref().map(|moved| moved.to.clone()),
            ),
            seen: shift(
                a.seen.map(|seen| seen.set.digest.to_string()),
                b.seen.map(|seen| seen.set.digest.to_string()),
            ),
            emergency: shift(emergency(a), emergency(b)),
        }
    }
}

fn emergency(state: &State) -> Option<(RunId, Option<RunOutcome>)> {
    let emergency = state.emergency.as_ref()?;
    Some((emergency.run, emergency.end.as_ref().map(|end| end.outcome)))
}

fn counts(a: &State, b: &State) -> Between {
    let (a, b) = (&a.counts, &b.counts);
    Between {
        events: b.events.saturating_sub(a.events),
        runs_succeeded: b.runs_succeeded.saturating_sub(a.runs_succeeded),
        runs_failed: b.runs_failed.saturating_sub(a.runs_failed),
        runs_interrupted: b.runs_interrupted.saturating_sub(a.runs_interrupted),
        verifications_passed: b.verifications_passed.saturating_sub(a.verifications_passed),
        verifications_failed: b.verifications_failed.saturating_sub(a.verifications_failed),
        tails_repaired: b.tails_repaired.saturating_sub(a.tails_repaired),
        not_understood: b.not_understood.saturating_sub(a.not_understood),
    }
}

fn migrations(a: &State, b: &State) -> Vec<Turned> {
    let changed = b.applied.applied().iter().chain(b.applied.rolled_back());
    let mut turned: Vec<Turned> = changed
        .filter_map(|last| {
            let earlier = a.applied.last_change(&last.version);
            if earlier.is_some_and(|earlier| earlier.seq == last.seq) {
                return None;
            }
            let turn = match (a.applied.holds(&last.version), b.applied.holds(&last.version)) {
                (false, true) => Turn::Applied,
                (true, false) => Turn::RolledBack,
                (true, true) => Turn::RolledBackAndApplied,
                (false, false) => Turn::AppliedAndRolledBack,
            };
            let before = earlier.map_or(0, |earlier| earlier.ordinal);
            let changes = last.ordinal.saturating_sub(before);
            Some(Turned { turn, last: last.clone(), changes })
        })
        .collect();
    turned.sort_by_key(|turned| turned.last.seq);
    turned
}

fn approvals(
    a: &State,
    a_time: Timestamp,
    b: &State,
    b_time: Timestamp,
) -> Vec<(ApprovalTurn, ApprovalId, Approval)> {
    let turn = |id: ApprovalId, now: &Approval| {
        let was = a.approvals.get(id);
        let counted = was.is_some_and(|approval| approval.is_in_force(a_time));
        match (was.is_some(), counted, now.is_in_force(b_time)) {
            (false, _, true) => Some(ApprovalTurn::Given),
            (false, _, false) => Some(ApprovalTurn::GivenAndOver),
            (true, true, false) if now.revoked.is_some() => Some(ApprovalTurn::Revoked),
            (true, true, false) => Some(ApprovalTurn::Lapsed),
            (true, true, true) | (true, false, _) => None,
        }
    };
    let all = b.approvals.iter();
    all.filter_map(|(id, now)| Some((turn(id, now)?, id, now.clone()))).collect()
}

fn backups(a: &State, b: &State) -> Vec<(BackupId, Option<BackupCondition>, Backup)> {
    let before: BTreeMap<BackupId, BackupCondition> =
        a.backups.iter().map(|(id, backup)| (id, backup.condition())).collect();
    let changed = b.backups.iter().map(|(id, backup)| (id, before.get(&id).copied(), backup));
    let changed = changed.filter(|(_, before, backup)| *before != Some(backup.condition()));
    changed.map(|(id, before, backup)| (id, before, backup.clone())).collect()
}

fn keys(a: &State, b: &State) -> Vec<(KeyTurn, KnownKey)> {
    let counts = |state: &State, purpose: KeyPurpose, key: &str| {
        state.keys.get(purpose, key).map(|known| known.retired.is_none())
    };
    let changed = b.keys.iter().filter_map(|known| {
        match (counts(a, known.purpose, &known.key), known.retired.is_none()) {
            (Some(true) | None, false) => Some((KeyTurn::Retired, known.clone())),
            (Some(false) | None, true) => Some((KeyTurn::Added, known.clone())),
            (Some(true), true) | (Some(false), false) => None,
        }
    });
    changed.collect()
}

fn anchors(a: &State, b: &State) -> Vec<(String, u64, u64)> {
    let grown = b.anchors.iter().filter_map(|head| {
        let before = a.anchors.get(&head.anchor).map_or(0, |head| head.size);
        (before < head.size).then(|| (head.anchor.clone(), before, head.size))
    });
    grown.collect()
}
