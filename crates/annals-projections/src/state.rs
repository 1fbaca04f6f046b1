//! Everything that was known at a moment, in bounded size.
//!
//! The size of a [`State`] follows the number of migrations, approvals, backups, keys and anchors
//! there ever were, not the number of events.

use annals_events::{
    CanonicalError, CheckOutcome, Event, Origin, ReconciledAs, Recorded, RunOutcome, Seq, StepKey,
    Timestamp, canonical_json,
};
use serde::{Deserialize, Serialize};

use crate::adoption::ended;
use crate::applied::AppliedSet;
use crate::approvals::ApprovalBook;
use crate::backups::BackupCatalog;
use crate::emergency::Emergency;
use crate::keys::KnownKeys;
use crate::places::{Anchors, Home};
use crate::proofs::ProofBook;
use crate::recovery::RecoveryState;
use crate::replay::Projection;
use crate::seen::Sighting;

/// Version of [`State`] as stored.
///
/// It rises with every change after which some log folds to other bytes: a member more, less or
/// spelled otherwise, a kind of event that is understood from then on, or the same event
/// understood otherwise. A cache of another version is not read. The golden state in
/// `tests/golden/replay/` changes exactly when this number does.
pub const PROJECTION_VERSION: u32 = 4;

/// The last event that was folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastEvent {
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// The server, as it was when the log was tied to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `plain` or `supabase`.
    pub platform: String,
    /// Its version.
    pub version: String,
}

/// How often something has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Events, whatever they say.
    pub events: u64,
    /// Runs that failed.
    pub runs_failed: u64,
    /// Runs that were interrupted.
    pub runs_interrupted: u64,
    /// Runs that succeeded.
    pub runs_succeeded: u64,
    /// Tails that were repaired.
    pub tails_repaired: u64,
    /// Events a newer annals has written: this state does not know what they say.
    pub not_understood: u64,
    /// Verifications that did not pass.
    pub verifications_failed: u64,
    /// Verifications that passed.
    pub verifications_passed: u64,
}

/// The state of a target and its log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Which heads anchors hold, as the log claims.
    pub anchors: Anchors,
    /// Which migrations are applied.
    pub applied: AppliedSet,
    /// Approvals, in force and not.
    pub approvals: ApprovalBook,
    /// Backups, usable and not.
    pub backups: BackupCatalog,
    /// How often what has happened.
    pub counts: Counts,
    /// The last emergency rollback.
    pub emergency: Option<Emergency>,
    /// Where the log is kept.
    pub home: Home,
    /// Which keys the log speaks of.
    pub keys: KnownKeys,
    /// The last event that was folded.
    pub last: Option<LastEvent>,
    /// The log's name.
    pub origin: Option<Origin>,
    /// Which migrations were rehearsed with their rollbacks.
    #[serde(default, skip_serializing_if = "ProofBook::is_empty")]
    pub proofs: ProofBook,
    /// Runs, doubts, checks, the picture of the schema.
    pub recovery: RecoveryState,
    /// The migrations as they were last read.
    pub seen: Option<Sighting>,
    /// The server, as it was when the log was tied to it.
    pub server: Option<Server>,
}

/// Why bytes are not a stored state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another shape.
    #[error("not a stored state")]
    Malformed(#[from] serde_json::Error),
    /// The same state is stored in other bytes.
    #[error("not a stored state as this annals writes it")]
    OtherSpelling,
}

impl State {
    /// Names the read model where it is stored.
    pub const NAME: &'static str = "state";

    /// Its bytes: canonical JSON, the same for the same events on every machine.
    ///
    /// # Errors
    ///
    /// When an event held a number that no line of a log can hold.
    pub fn to_stored(&self) -> Result<Vec<u8>, CanonicalError> {
        let value = serde_json::to_value(self).expect("its keys are strings");
        canonical_json(&value).map(String::into_bytes)
    }

    /// Reads what [`Self::to_stored`] has written with this [`PROJECTION_VERSION`].
    ///
    /// # Errors
    ///
    /// When the bytes are anything else.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, StateError> {
        let state: Self = serde_json::from_slice(bytes)?;
        match state.to_stored() {
            Ok(written) if written == bytes => Ok(state),
            Ok(_) | Err(_) => Err(StateError::OtherSpelling),
        }
    }

    fn took_effect(&mut self, key: StepKey, recorded: &Recorded, measured: Option<(u64, String)>) {
        if let Some(step) = self.recovery.open_step(key) {
            self.applied.take(step, recorded, measured);
        }
    }
}

impl Projection for State {
    fn apply(&mut self, recorded: &Recorded) {
        self.counts.events += 1;
        self.last = Some(LastEvent { seq: recorded.seq, at: recorded.recorded_at });
        if self.origin.is_none() {
            self.origin = Some(recorded.origin.clone());
        }
        match &recorded.event {
            Event::LogCreated(created) => self.keys.began_with(recorded, &created.checkpoint_key),
            Event::TargetRegistered(registered) => {
                let (platform, version) =
                    (registered.platform.clone(), registered.server_version.clone());
                self.server = Some(Server { platform, version });
            }
            Event::StepSucceeded(done) => {
                let measured = (done.duration_us, done.transaction.clone());
                self.took_effect(done.key(), recorded, Some(measured));
            }
            Event::StepReconciled(settled) => match settled.found {
                ReconciledAs::TookEffect => self.took_effect(settled.key(), recorded, None),
                ReconciledAs::NoEffect | ReconciledAs::Partial => {}
            },
            Event::RunFinished(finished) => {
                // The recovery state holds them until it learns the same, below.
                for entry in ended(&mut self.recovery.adopting.clone(), finished) {
                    self.applied.adopt(&entry);
                }
                match finished.outcome {
                    RunOutcome::Succeeded => self.counts.runs_succeeded += 1,
                    RunOutcome::Failed => self.counts.runs_failed += 1,
                    RunOutcome::Interrupted => self.counts.runs_interrupted += 1,
                }
                if let Some(emergency) = &mut self.emergency {
                    emergency.run_finished(recorded, finished);
                }
            }
            Event::IntegrityChecked(checked) => match checked.result {
                CheckOutcome::Passed => self.counts.verifications_passed += 1,
                CheckOutcome::Failed | CheckOutcome::NotChecked => {
                    self.counts.verifications_failed += 1;
                }
            },
            Event::TailRepaired(_) => self.counts.tails_repaired += 1,
            Event::KeyAdded(added) => self.keys.added(recorded, added),
            Event::KeyRetired(retired) => self.keys.retired(recorded, retired),
            Event::CheckpointAnchored(anchored) => self.anchors.anchored(recorded, anchored),
            Event::LogMoved(moved) => self.home.moved(recorded, moved),
            Event::StoreInstalled(installed) => self.home.installed(recorded, installed),
            Event::StoreUpgraded(upgraded) => self.home.upgraded(recorded, upgraded),
            Event::MigrationsSeen(seen) => {
                let (seq, at) = (recorded.seq, recorded.recorded_at);
                self.seen = Some(Sighting { files: seen.files, set: seen.set, seq, at });
            }
            Event::EmergencyDeclared(declared) => {
                self.emergency = Some(Emergency::declared(recorded, declared));
            }
            Event::ApprovalGiven(given) => self.approvals.given(recorded, given),
            Event::ApprovalRevoked(revoked) => self.approvals.revoked(recorded, revoked),
            Event::BackupTaken(taken) => self.backups.taken(recorded, taken),
            Event::BackupVerified(verified) => self.backups.verified(recorded, verified),
            Event::BackupFailed(failed) => self.backups.failed(recorded, failed),
            Event::BackupRemoved(removed) => self.backups.removed(recorded, removed),
            Event::BackupRekeyed(rekeyed) => self.backups.rekeyed(recorded, rekeyed),
            Event::ProofRecorded(proof) => self.proofs.recorded(recorded, proof),
            // Whoever writes them gives them a place here.
            Event::EmergencyFinished(_)
            | Event::EmergencyRehearsed(_)
            | Event::BreakGlassUsed(_)
            | Event::BreakGlassReviewed(_)
            | Event::ApproversChanged(_) => {}
            Event::Unknown(_) => self.counts.not_understood += 1,
            // The recovery state takes these alone.
            Event::PlanMade(_)
            | Event::RunStarted(_)
            | Event::StepStarted(_)
            | Event::StatementStarted(_)
            | Event::StatementSucceeded(_)
            | Event::StepFailed(_)
            | Event::BaselineAdopted(_)
            | Event::DriftFound(_)
            | Event::RestoreStarted(_)
            | Event::TargetRestored(_)
            | Event::RowsRestoreStarted(_)
            | Event::RowsRestored(_)
            | Event::ExternalBackupNamed(_)
            | Event::DriftAccepted(_)
            | Event::SchemaRecorded(_) => {}
        }
        // Last: it forgets the step in doubt that has just taken effect.
        self.recovery.apply(recorded);
    }
}
