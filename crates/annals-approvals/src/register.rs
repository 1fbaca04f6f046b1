//! What a log says of approvals: a fold over its events, in a size that follows the approvals and
//! the plans, not the events.

use std::collections::BTreeMap;

use annals_events::{
    ApprovalGiven, ApprovalId, ApproversChanged, Digest, Event, Recorded, RunId, RunOutcome, Seq,
    Timestamp,
};
use annals_keys::VerifierKey;

use crate::message::{APPROVAL, SignatureError, approval_message, check_signature};

/// An approval a log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenApproval {
    /// What was signed, and the signature.
    pub given: ApprovalGiven,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
    /// When and why it was taken back.
    pub revoked: Option<(Timestamp, String)>,
}

/// Checks the signature of an approval that the log `origin` holds.
///
/// # Errors
///
/// When it does not fit.
pub fn check_approval(origin: &str, given: &ApprovalGiven) -> Result<VerifierKey, SignatureError> {
    let (id, expires) = (given.approval, given.expires_at);
    let message = approval_message(origin, &given.plan, id, &given.approver, expires);
    check_signature(&given.key, APPROVAL, &message, &given.signature)
}

/// A plan that a run was begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentPlan {
    /// When the run began.
    pub at: Timestamp,
    /// Who ran it.
    pub by: String,
    /// The run.
    pub run: RunId,
    /// How it ended; none while nobody knows.
    pub outcome: Option<RunOutcome>,
}

/// A run that went without a safeguard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenGlass {
    /// The run.
    pub run: RunId,
    /// Who ran it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// What it went without.
    pub without: &'static str,
    /// Who looked at it, and when.
    pub reviewed: Option<(String, Timestamp)>,
}

/// An event that voids the plans made before it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Voiding {
    seq: Seq,
    kind: String,
    /// The plan it belongs to, which it does not void.
    plan: Option<Digest>,
}

/// What a log says of approvals.
#[derive(Debug, Clone, Default)]
pub struct Register {
    /// Every approval, in the order they were given.
    pub given: Vec<GivenApproval>,
    /// Every list of approvers, in the order they came to count.
    pub lists: Vec<(Seq, ApproversChanged)>,
    /// Runs without a safeguard.
    pub broken: Vec<BrokenGlass>,
    spent: BTreeMap<Digest, SpentPlan>,
    at_work: Option<Digest>,
    last: Option<Voiding>,
    last_of_others: Option<Voiding>,
}

impl Register {
    /// The list that counts.
    pub fn list(&self) -> Option<&ApproversChanged> {
        self.lists.last().map(|(_, change)| change)
    }

    /// The approval of that name.
    pub fn approval(&self, id: ApprovalId) -> Option<&GivenApproval> {
        self.given.iter().find(|known| known.given.approval == id)
    }

    /// The run a plan was begun with last.
    pub fn spent(&self, plan: &Digest) -> Option<&SpentPlan> {
        self.spent.get(plan)
    }

    /// Runs without approvals that nobody has looked at.
    pub fn unreviewed(&self) -> impl Iterator<Item = &BrokenGlass> {
        self.broken.iter().filter(|broken| broken.reviewed.is_none())
    }

    /// The last event from `size` on that voids `plan`: its place and kind.
    pub fn voided_behind(&self, size: u64, plan: &Digest) -> Option<(Seq, &str)> {
        let newest = self.last.iter().chain(&self.last_of_others);
        let mut foreign = newest.filter(|event| event.plan.as_ref() != Some(plan));
        let event = foreign.find(|event| event.seq.0 >= size)?;
        Some((event.seq, &event.kind))
    }

    fn voiding(&mut self, recorded: &Recorded, plan: Option<Digest>) {
        let kind = recorded.event.kind().to_owned();
        let event = Voiding { seq: recorded.seq, kind, plan };
        if let Some(last) = self.last.take().filter(|last| last.plan != event.plan) {
            self.last_of_others = Some(last);
        }
        self.last = Some(event);
    }

    /// Takes the next event.
    pub fn apply(&mut self, recorded: &Recorded) {
        let (seq, at) = (recorded.seq, recorded.recorded_at);
        match &recorded.event {
            Event::ApprovalGiven(given) => {
                // A name names one approval: a second one of that name changes nothing.
                if self.approval(given.approval).is_none() {
                    self.given.push(GivenApproval { given: given.clone(), seq, at, revoked: None });
                }
            }
            Event::ApprovalRevoked(revoked) => {
                let mut known = self.given.iter_mut();
                if let Some(known) = known.find(|known| known.given.approval == revoked.approval) {
                    known.revoked.get_or_insert((at, revoked.reason.clone()));
                }
            }
            Event::ApproversChanged(change) => {
                self.lists.push((seq, change.clone()));
                self.voiding(recorded, None);
            }
            Event::BreakGlassUsed(used) => self.broken.push(BrokenGlass {
                run: used.run,
                by: recorded.actor.name.clone(),
                at,
                reason: used.reason.clone(),
                without: used.without.as_str(),
                reviewed: None,
            }),
            Event::BreakGlassReviewed(reviewed) => {
                for broken in self.broken.iter_mut().filter(|broken| broken.run == reviewed.run) {
                    broken.reviewed.get_or_insert((recorded.actor.name.clone(), at));
                }
            }
            Event::PlanMade(made) => self.voiding(recorded, Some(made.plan.digest)),
            Event::RunStarted(started) => {
                self.at_work = Some(started.plan);
                let by = recorded.actor.name.clone();
                let spent = SpentPlan { at, by, run: started.run, outcome: None };
                self.spent.insert(started.plan, spent);
                self.voiding(recorded, Some(started.plan));
            }
            Event::RunFinished(finished) => {
                let mut runs = self.spent.values_mut();
                if let Some(spent) = runs.find(|spent| spent.run == finished.run) {
                    spent.outcome = Some(finished.outcome);
                }
                self.voiding(recorded, self.at_work);
            }
            Event::StepStarted(_)
            | Event::StatementStarted(_)
            | Event::StatementSucceeded(_)
            | Event::StepSucceeded(_)
            | Event::StepFailed(_)
            | Event::StepReconciled(_) => self.voiding(recorded, self.at_work),
            // They change what the plan was made on, or nobody here knows whether they do.
            Event::LogCreated(_)
            | Event::TargetRegistered(_)
            | Event::LogMoved(_)
            | Event::EmergencyDeclared(_)
            | Event::EmergencyFinished(_)
            | Event::BaselineAdopted(_)
            | Event::DriftAccepted(_)
            | Event::RestoreStarted(_)
            | Event::TargetRestored(_)
            | Event::RowsRestoreStarted(_)
            | Event::RowsRestored(_)
            | Event::ExternalBackupNamed(_)
            | Event::Unknown(_) => self.voiding(recorded, None),
            // What they change is looked at itself, or does not matter to a plan.
            Event::SchemaRecorded(_)
            | Event::IntegrityChecked(_)
            | Event::TailRepaired(_)
            | Event::KeyAdded(_)
            | Event::KeyRetired(_)
            | Event::CheckpointAnchored(_)
            | Event::StoreInstalled(_)
            | Event::StoreUpgraded(_)
            | Event::MigrationsSeen(_)
            | Event::BackupTaken(_)
            | Event::BackupVerified(_)
            | Event::BackupFailed(_)
            | Event::BackupRemoved(_)
            | Event::BackupRekeyed(_)
            | Event::DriftFound(_)
            | Event::ProofRecorded(_)
            | Event::EmergencyRehearsed(_) => {}
        }
    }
}

#[cfg(test)]
impl Register {
    /// A run as the log tells it.
    pub(crate) fn tell_run(
        &mut self,
        plan: Digest,
        run: RunId,
        by: &str,
        at: Timestamp,
        outcome: Option<RunOutcome>,
    ) {
        self.spent.insert(plan, SpentPlan { at, by: by.to_owned(), run, outcome });
    }
}
