//! `diff`: what became of one state until it was another.

use annals_operations::DiffView;
use annals_projections::{Shift, StateDiff};
use serde::Serialize;

use crate::replay::VantageDocument;
use crate::state::{ApprovalState, BackupState, KeyState};

/// A value on both sides, where it is not the same.
#[derive(Debug, Clone, Serialize)]
pub struct ShiftDocument<T> {
    /// At the earlier moment.
    pub before: Option<T>,
    /// At the later moment.
    pub after: Option<T>,
}

fn shift<T, U>(shift: Option<&Shift<T>>, show: impl Fn(&T) -> U) -> Option<ShiftDocument<U>> {
    shift.map(|shift| ShiftDocument {
        before: shift.before.as_ref().map(&show),
        after: shift.after.as_ref().map(&show),
    })
}

/// A migration that changed.
#[derive(Debug, Clone, Serialize)]
pub struct TurnedMigration {
    /// The version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// `applied`, `rolled back`, `rolled back and applied again` or `applied and rolled back`.
    pub what: &'static str,
    /// How often it changed in between.
    pub changes: u64,
    /// The event of its last change.
    pub seq: u64,
    /// When that was recorded.
    pub at: String,
    /// Who made it.
    pub by: String,
    /// The run.
    pub run: String,
}

/// How often something happened in between.
#[derive(Debug, Clone, Serialize)]
pub struct BetweenDocument {
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

/// A run, and how it ended.
#[derive(Debug, Clone, Serialize)]
pub struct EndedRun {
    /// Its id.
    pub run: String,
    /// How it ended; none while that is not known.
    pub outcome: Option<&'static str>,
}

/// A verification.
#[derive(Debug, Clone, Serialize)]
pub struct VerificationAt {
    /// When.
    pub at: String,
    /// `passed` or `failed`.
    pub result: &'static str,
}

/// An approval, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct TurnedApproval {
    /// `given`, `given and over again`, `revoked` or `lapsed`.
    pub what: &'static str,
    /// The approval.
    pub approval: ApprovalState,
}

/// A backup, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct TurnedBackup {
    /// Its condition before; none if it was not taken yet.
    pub before: Option<&'static str>,
    /// The backup as it is at the later moment.
    pub backup: BackupState,
}

/// A key, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct TurnedKey {
    /// `added` or `retired`.
    pub what: &'static str,
    /// The key.
    pub key: KeyState,
}

/// An anchor that holds more than before.
#[derive(Debug, Clone, Serialize)]
pub struct GrownAnchor {
    /// Its name.
    pub anchor: String,
    /// Events it held before, as the log claims.
    pub before: u64,
    /// Events it holds, as the log claims.
    pub after: u64,
}

/// `annals diff`.
#[derive(Debug, Clone, Serialize)]
pub struct DiffDocument {
    /// `annals.diff/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The earlier moment.
    pub from: VantageDocument,
    /// The later moment.
    pub to: VantageDocument,
    /// Whether the log was verified against its checkpoint; without one, or without the public
    /// key, only its links were.
    pub verified: bool,
    /// What it rests on: `replay`, or `cache@<seq>`.
    pub trust: String,
    /// How often what happened in between.
    pub between: BetweenDocument,
    /// Migrations that changed, in the order of their last change.
    pub migrations: Vec<TurnedMigration>,
    /// The run under way.
    pub open_run: Option<ShiftDocument<String>>,
    /// The migration in doubt.
    pub in_doubt: Option<ShiftDocument<Vec<String>>>,
    /// The migrations that are half done.
    pub half_done: Option<ShiftDocument<Vec<String>>>,
    /// The last run that ended.
    pub last_run: Option<ShiftDocument<EndedRun>>,
    /// The last emergency rollback.
    pub last_emergency: Option<ShiftDocument<EndedRun>>,
    /// The last verification.
    pub last_integrity: Option<ShiftDocument<VerificationAt>>,
    /// The last known good version.
    pub last_known_good: Option<ShiftDocument<String>>,
    /// Fingerprint of the schema, where it is known.
    pub schema_fingerprint: Option<ShiftDocument<String>>,
    /// Digest of the migrations the workspace held.
    pub migrations_seen: Option<ShiftDocument<String>>,
    /// The home of the log.
    pub home: Option<ShiftDocument<String>>,
    /// Approvals.
    pub approvals: Vec<TurnedApproval>,
    /// Backups.
    pub backups: Vec<TurnedBackup>,
    /// Keys.
    pub keys: Vec<TurnedKey>,
    /// Anchors.
    pub anchors: Vec<GrownAnchor>,
}

fn migrations(diff: &StateDiff) -> Vec<TurnedMigration> {
    let turned = diff.migrations.iter().map(|turned| TurnedMigration {
        version: turned.last.version.to_string(),
        name: turned.last.name.clone(),
        what: turned.turn.as_str(),
        changes: turned.changes,
        seq: turned.last.seq.0,
        at: turned.last.at.to_string(),
        by: turned.last.by.clone(),
        run: turned.last.key.run.to_string(),
    });
    turned.collect()
}

impl From<&DiffView> for DiffDocument {
    fn from(view: &DiffView) -> Self {
        let DiffView { from, to, diff } = view;
        let between = &diff.between;
        let approvals = diff.approvals.iter().map(|(turn, id, approval)| TurnedApproval {
            what: turn.as_str(),
            approval: ApprovalState::new(*id, approval),
        });
        let backups = diff.backups.iter().map(|(id, before, backup)| TurnedBackup {
            before: before.map(|condition| condition.as_str()),
            backup: BackupState::new(*id, backup),
        });
        let keys = diff.keys.iter();
        let keys = keys.map(|(turn, key)| TurnedKey { what: turn.as_str(), key: key.into() });
        let anchors = diff.anchors.iter().map(|(anchor, before, after)| GrownAnchor {
            anchor: anchor.clone(),
            before: *before,
            after: *after,
        });
        Self {
            format: "annals.diff/1",
            origin: to.origin.clone(),
            log_size: to.log_size,
            from: from.into(),
            to: to.into(),
            verified: to.verified,
            trust: to.basis.to_string(),
            between: BetweenDocument {
                events: between.events,
                runs_succeeded: between.runs_succeeded,
                runs_failed: between.runs_failed,
                runs_interrupted: between.runs_interrupted,
                verifications_passed: between.verifications_passed,
                verifications_failed: between.verifications_failed,
                tails_repaired: between.tails_repaired,
                not_understood: between.not_understood,
            },
            migrations: migrations(diff),
            open_run: shift(diff.open_run.as_ref(), ToString::to_string),
            in_doubt: shift(diff.in_doubt.as_ref(), Clone::clone),
            half_done: shift(diff.half_done.as_ref(), Clone::clone),
            last_run: shift(diff.last_run.as_ref(), |(run, outcome)| EndedRun {
                run: run.to_string(),
                outcome: Some(outcome.as_str()),
            }),
            last_emergency: shift(diff.emergency.as_ref(), |(run, outcome)| EndedRun {
                run: run.to_string(),
                outcome: outcome.map(|outcome| outcome.as_str()),
            }),
            last_integrity: shift(diff.last_integrity.as_ref(), |(passed, at)| VerificationAt {
                at: at.to_string(),
                result: if *passed { "passed" } else { "failed" },
            }),
            last_known_good: shift(diff.last_known_good.as_ref(), ToString::to_string),
            schema_fingerprint: shift(diff.schema.as_ref(), Clone::clone),
            migrations_seen: shift(diff.seen.as_ref(), Clone::clone),
            home: shift(diff.home.as_ref(), Clone::clone),
            approvals: approvals.collect(),
            backups: backups.collect(),
            keys: keys.collect(),
            anchors: anchors.collect(),
        }
    }
}
