//! Which backups there are, and what is known of each.

use std::collections::BTreeMap;

use annals_events::{
    BackupDepth, BackupFailed, BackupId, BackupRekeyed, BackupRemoved, BackupTaken, BackupVerified,
    BlobRef, CheckOutcome, Event, Recorded, RunId, Seq, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::replay::Projection;

/// A verification of a backup, with a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupCheck {
    /// Whether it passed.
    pub passed: bool,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// The removal of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// Why.
    pub reason: String,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// What a backup is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupCondition {
    /// Its last verification passed.
    Verified,
    /// It was taken; nobody has looked at it since.
    NotVerified,
    /// A verification failed, and none that goes as deep has passed since.
    Failed,
    /// It is gone.
    Removed,
}

impl BackupCondition {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::NotVerified => "not verified",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Bytes of the sealed container.
    pub bytes: u64,
    /// What it holds: `full`, `schema`, `data`, `tables`.
    pub kind: String,
    /// The manifest.
    pub manifest: BlobRef,
    /// The run it was taken for.
    pub run: Option<RunId>,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who took it.
    pub by: String,
    /// The last time its bytes were authenticated.
    pub sealed: Option<BackupCheck>,
    /// The last time it was restored and compared.
    pub restored: Option<BackupCheck>,
    /// Its removal.
    pub removed: Option<Removal>,
    /// What it was before the last change of who can open it, if there was one. It may still be what is
    /// there: the change is recorded before it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_rekeying: Option<Rekeyed>,
}

/// What a backup was until others could open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rekeyed {
    /// Bytes of the sealed container until then.
    pub bytes: u64,
    /// The manifest until then.
    pub manifest: BlobRef,
    /// The event that changed it.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

impl Backup {
    /// What it is good for.
    ///
    /// Whoever restores it has authenticated its bytes too: a restore that passed answers an
    /// earlier doubt about them, not the other way round.
    pub fn condition(&self) -> BackupCondition {
        if self.removed.is_some() {
            return BackupCondition::Removed;
        }
        match (self.restored, self.sealed) {
            (Some(restored), _) if !restored.passed => BackupCondition::Failed,
            (Some(restored), Some(sealed)) if !sealed.passed && sealed.seq > restored.seq => {
                BackupCondition::Failed
            }
            (None, Some(sealed)) if !sealed.passed => BackupCondition::Failed,
            (None, None) => BackupCondition::NotVerified,
            (Some(_), _) | (None, Some(_)) => BackupCondition::Verified,
        }
    }

    /// Whether it holds everything: only of such a backup the database can be made again.
    pub fn is_full(&self) -> bool {
        self.kind == "full"
    }

    /// The deepest verification that passed, and when.
    pub fn verified(&self) -> Option<(BackupDepth, Timestamp)> {
        let passed = |check: Option<BackupCheck>| check.filter(|check| check.passed);
        let restored = passed(self.restored).map(|check| (BackupDepth::Restored, check.at));
        restored.or_else(|| passed(self.sealed).map(|check| (BackupDepth::Sealed, check.at)))
    }

    /// Whether it is there and nothing is known against it. Whether anything is known **for** it
    /// says [`Self::verified`].
    pub fn is_usable(&self) -> bool {
        match self.condition() {
            BackupCondition::Verified | BackupCondition::NotVerified => true,
            BackupCondition::Failed | BackupCondition::Removed => false,
        }
    }
}

/// A backup that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFailure {
    /// Why.
    pub reason: String,
    /// The run it was meant for.
    pub run: Option<RunId>,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// Every backup ever taken. What was removed stays removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupCatalog {
    backups: BTreeMap<BackupId, Backup>,
    last_failure: Option<BackupFailure>,
}

impl Projection for BackupCatalog {
    fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::BackupTaken(taken) => self.taken(recorded, taken),
            Event::BackupVerified(verified) => self.verified(recorded, verified),
            Event::BackupFailed(failed) => self.failed(recorded, failed),
            Event::BackupRemoved(removed) => self.removed(recorded, removed),
            Event::BackupRekeyed(rekeyed) => self.rekeyed(recorded, rekeyed),
            _ => {}
        }
    }
}

impl BackupCatalog {
    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (BackupId, &Backup)> {
        self.backups.iter().map(|(id, backup)| (*id, backup))
    }

    /// The backup of that name.
    pub fn get(&self, id: BackupId) -> Option<&Backup> {
        self.backups.get(&id)
    }

    /// Those that are there, and nothing is known against them.
    pub fn usable(&self) -> impl Iterator<Item = (BackupId, &Backup)> {
        self.iter().filter(|(_, backup)| backup.is_usable())
    }

    /// The last backup that could not be taken.
    pub fn last_failure(&self) -> Option<&BackupFailure> {
        self.last_failure.as_ref()
    }

    pub(crate) fn taken(&mut self, recorded: &Recorded, taken: &BackupTaken) {
        // A name names one backup: a second one of that name changes nothing.
        self.backups.entry(taken.backup).or_insert_with(|| Backup {
            bytes: taken.bytes,
            kind: taken.kind.clone(),
            manifest: taken.manifest,
            run: taken.run,
            seq: recorded.seq,
            at: recorded.recorded_at,
            by: recorded.actor.name.clone(),
            sealed: None,
            restored: None,
            removed: None,
            before_rekeying: None,
        });
    }

    pub(crate) fn verified(&mut self, recorded: &Recorded, verified: &BackupVerified) {
        let passed = match verified.result {
            CheckOutcome::Passed => true,
            CheckOutcome::Failed => false,
            CheckOutcome::NotChecked => return,
        };
        let Some(backup) = self.backups.get_mut(&verified.backup) else { return };
        let check = Some(BackupCheck { passed, seq: recorded.seq, at: recorded.recorded_at });
        match verified.depth {
            BackupDepth::Sealed => backup.sealed = check,
            BackupDepth::Restored => backup.restored = check,
        }
    }

    pub(crate) fn failed(&mut self, recorded: &Recorded, failed: &BackupFailed) {
        self.last_failure = Some(BackupFailure {
            reason: failed.reason.clone(),
            run: failed.run,
            seq: recorded.seq,
            at: recorded.recorded_at,
        });
    }

    pub(crate) fn rekeyed(&mut self, recorded: &Recorded, rekeyed: &BackupRekeyed) {
        let Some(backup) = self.backups.get_mut(&rekeyed.backup) else { return };
        let before = Rekeyed {
            bytes: backup.bytes,
            manifest: backup.manifest,
            seq: recorded.seq,
            at: recorded.recorded_at,
        };
        backup.before_rekeying = Some(before);
        (backup.bytes, backup.manifest) = (rekeyed.bytes, rekeyed.manifest);
    }

    pub(crate) fn removed(&mut self, recorded: &Recorded, removed: &BackupRemoved) {
        let Some(backup) = self.backups.get_mut(&removed.backup) else { return };
        backup.removed.get_or_insert_with(|| Removal {
            reason: removed.reason.clone(),
            seq: recorded.seq,
            at: recorded.recorded_at,
        });
    }
}
