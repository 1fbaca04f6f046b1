//! Who has approved which plan, and whether it still counts.

use std::collections::BTreeMap;

use annals_events::{ApprovalGiven, ApprovalId, ApprovalRevoked, Digest, Recorded, Seq, Timestamp};
use serde::{Deserialize, Serialize};

/// The taking back of an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Why.
    pub reason: String,
    /// Who recorded it.
    pub by: String,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// An approval of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who approves.
    pub approver: String,
    /// Verifier key it is signed with. The signature itself is not checked here.
    pub key: String,
    /// Hash of the plan.
    pub plan: Digest,
    /// When it lapses.
    pub expires_at: Option<Timestamp>,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
    /// Its being taken back.
    pub revoked: Option<Revocation>,
}

impl Approval {
    /// Whether it counts at `time`: not taken back, and `time` is before it lapses.
    pub fn is_in_force(&self, time: Timestamp) -> bool {
        self.revoked.is_none() && self.expires_at.is_none_or(|expires_at| time < expires_at)
    }
}

/// Every approval ever given. What was taken back stays taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApprovalBook {
    approvals: BTreeMap<ApprovalId, Approval>,
}

impl ApprovalBook {
    /// All of them, whether they count or not.
    pub fn iter(&self) -> impl Iterator<Item = (ApprovalId, &Approval)> {
        self.approvals.iter().map(|(id, approval)| (*id, approval))
    }

    /// The approval of that name.
    pub fn get(&self, id: ApprovalId) -> Option<&Approval> {
        self.approvals.get(&id)
    }

    /// Those that count at `time`.
    pub fn in_force(&self, time: Timestamp) -> impl Iterator<Item = (ApprovalId, &Approval)> {
        self.iter().filter(move |(_, approval)| approval.is_in_force(time))
    }

    pub(crate) fn given(&mut self, recorded: &Recorded, given: &ApprovalGiven) {
        // A name names one approval: a second one of that name changes nothing.
        self.approvals.entry(given.approval).or_insert_with(|| Approval {
            approver: given.approver.clone(),
            key: given.key.clone(),
            plan: given.plan,
            expires_at: given.expires_at,
            seq: recorded.seq,
            at: recorded.recorded_at,
            revoked: None,
        });
    }

    pub(crate) fn revoked(&mut self, recorded: &Recorded, revoked: &ApprovalRevoked) {
        let Some(approval) = self.approvals.get_mut(&revoked.approval) else { return };
        approval.revoked.get_or_insert_with(|| Revocation {
            reason: revoked.reason.clone(),
            by: recorded.actor.name.clone(),
            seq: recorded.seq,
            at: recorded.recorded_at,
        });
    }
}
