//! `plan --out`, `approve`, `keys approver`.

use annals_operations::{Approved, ApproversView, PlanFile, PlanReview, Review};
use serde::Serialize;

use crate::change::PlanStep;

/// `annals plan --out` and `annals rollback --out`.
#[derive(Debug, Clone, Serialize)]
pub struct PlanFileDocument {
    /// `annals.plan_file/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Where the plan was written.
    pub path: String,
    /// The plan's hash: what an approval signs.
    pub hash: String,
    /// Steps.
    pub steps: usize,
    /// `low`, `medium`, `high` or `critical`.
    pub risk: &'static str,
    /// Why, a line for each thing.
    pub risk_reasons: Vec<String>,
    /// How many people must approve it.
    pub approvals_needed: u64,
    /// Roles of which each must have one; any if empty.
    pub roles: Vec<String>,
    /// Who made it.
    pub author: String,
    /// When it lapses.
    pub expires_at: String,
    /// Things that are allowed but should be known.
    pub notes: Vec<String>,
}

impl From<&PlanFile> for PlanFileDocument {
    fn from(file: &PlanFile) -> Self {
        Self {
            format: "annals.plan_file/1",
            target: file.target.clone(),
            path: file.path.display().to_string(),
            hash: file.hash.to_string(),
            steps: file.steps,
            risk: file.risk.level.as_str(),
            risk_reasons: file.risk.reasons(),
            approvals_needed: file.people,
            roles: file.roles.clone(),
            author: file.terms.author.clone(),
            expires_at: file.terms.expires_at.to_string(),
            notes: file.notes.clone(),
        }
    }
}

/// One thing a plan can break.
#[derive(Debug, Clone, Serialize)]
pub struct HazardDocument {
    /// Its line of the table of risks.
    pub danger: &'static str,
    /// The level it gives the plan.
    pub level: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The file; of the plan as a whole, none.
    pub file: Option<String>,
    /// The line the statement starts at, from 1; 0 where there is none.
    pub line: u32,
    /// The relations it is about.
    pub relations: Vec<String>,
    /// The strongest lock it takes on them.
    pub lock: Option<&'static str>,
    /// Whether something is gone afterwards.
    pub loses_data: bool,
}

/// A plan as its approver sees it: `annals approve --show`.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReviewDocument {
    /// `annals.plan_review/1`.
    pub format: &'static str,
    /// The plan's hash.
    pub hash: String,
    /// The target.
    pub target: String,
    /// The database.
    pub database: String,
    /// The server's `system_identifier`.
    pub system_identifier: String,
    /// The log.
    pub origin: String,
    /// Events in it when the plan was made.
    pub log_size: u64,
    /// Who made it.
    pub author: String,
    /// When.
    pub made_at: String,
    /// When it lapses.
    pub expires_at: String,
    /// `low`, `medium`, `high` or `critical`.
    pub risk: &'static str,
    /// How many people must approve it.
    pub approvals_needed: u64,
    /// Roles of which each must have one; any if empty.
    pub roles: Vec<String>,
    /// The steps with their whole SQL.
    pub steps: Vec<PlanStep>,
    /// What it can break, statement by statement.
    pub hazards: Vec<HazardDocument>,
}

impl From<&PlanReview> for PlanReviewDocument {
    fn from(review: &PlanReview) -> Self {
        let (plan, terms) = (&review.plan, &review.terms);
        let mut steps: Vec<PlanStep> = plan.steps.iter().map(PlanStep::from).collect();
        for (step, planned) in steps.iter_mut().zip(&plan.steps) {
            let proof = terms.proofs.iter().find(|(id, _)| *id == planned.id());
            step.proof = proof.map(|(_, state)| match state.as_str() {
                "proven" => "proven",
                _ => "unproven",
            });
        }
        let lost = |hazard| review.risk.losses().any(|loss| loss == hazard);
        Self {
            format: "annals.plan_review/1",
            hash: review.hash.to_string(),
            target: plan.target.clone(),
            database: plan.precondition.database.clone(),
            system_identifier: plan.precondition.system_identifier.clone(),
            origin: terms.origin.clone(),
            log_size: plan.precondition.log_size,
            author: terms.author.clone(),
            made_at: terms.made_at.to_string(),
            expires_at: terms.expires_at.to_string(),
            risk: review.level.as_str(),
            approvals_needed: review.people,
            roles: review.roles.clone(),
            steps,
            hazards: review
                .risk
                .hazards
                .iter()
                .map(|hazard| HazardDocument {
                    danger: hazard.danger.id(),
                    level: hazard.danger.level().as_str(),
                    what: hazard.danger.what(),
                    file: hazard.file.clone(),
                    line: hazard.line,
                    relations: hazard.relations.clone(),
                    lock: hazard.lock,
                    loses_data: lost(hazard),
                })
                .collect(),
        }
    }
}

/// `annals approve`.
#[derive(Debug, Clone, Serialize)]
pub struct ApprovedDocument {
    /// `annals.approved/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Names the approval.
    pub approval: String,
    /// Who has approved.
    pub approver: String,
    /// The plan's hash.
    pub plan: String,
    /// When it lapses.
    pub expires_at: Option<String>,
    /// Where it was written, where that is not the log.
    pub path: Option<String>,
    /// Whose approvals count now; nothing where only a file was written.
    pub approved_by: Vec<String>,
    /// How many people must approve it.
    pub approvals_needed: u64,
}

impl From<&Approved> for ApprovedDocument {
    fn from(approved: &Approved) -> Self {
        let given = &approved.given;
        Self {
            format: "annals.approved/1",
            target: approved.target.clone(),
            approval: given.approval.to_string(),
            approver: given.approver.clone(),
            plan: given.plan.to_string(),
            expires_at: given.expires_at.map(|at| at.to_string()),
            path: approved.out.as_ref().map(|path| path.display().to_string()),
            approved_by: approved.counted.iter().map(|one| one.approver.clone()).collect(),
            approvals_needed: approved.people,
        }
    }
}

/// `annals approve --revoke`.
#[derive(Debug, Clone, Serialize)]
pub struct RevokedDocument {
    /// `annals.approval_revoked/1`.
    pub format: &'static str,
    /// The approval.
    pub approval: String,
    /// Whose it was.
    pub approver: String,
    /// The plan's hash.
    pub plan: String,
}

impl From<&annals_events::ApprovalGiven> for RevokedDocument {
    fn from(given: &annals_events::ApprovalGiven) -> Self {
        Self {
            format: "annals.approval_revoked/1",
            approval: given.approval.to_string(),
            approver: given.approver.clone(),
            plan: given.plan.to_string(),
        }
    }
}

/// `annals approve --review`.
#[derive(Debug, Clone, Serialize)]
pub struct GlassReviewDocument {
    /// `annals.break_glass_review/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The run.
    pub run: String,
    /// Who ran it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Who looked at it.
    pub reviewed_by: String,
}

impl From<&Review> for GlassReviewDocument {
    fn from(review: &Review) -> Self {
        Self {
            format: "annals.break_glass_review/1",
            target: review.target.clone(),
            run: review.broken.run.to_string(),
            by: review.broken.by.clone(),
            reason: review.broken.reason.clone(),
            reviewed_by: review.by.clone(),
        }
    }
}

/// Somebody who may approve.
#[derive(Debug, Clone, Serialize)]
pub struct ApproverDocument {
    /// The name.
    pub name: String,
    /// What the person is trusted with.
    pub roles: Vec<String>,
    /// What else the person is called in logs.
    pub actors: Vec<String>,
    /// The keys.
    pub keys: Vec<String>,
    /// Whether the person has signed the change of the list.
    pub has_signed: bool,
}

/// `annals keys approver`.
#[derive(Debug, Clone, Serialize)]
pub struct ApproversDocument {
    /// `annals.approvers/1`.
    pub format: &'static str,
    /// The file.
    pub path: String,
    /// SHA-256 of it.
    pub digest: String,
    /// The people on it.
    pub approvers: Vec<ApproverDocument>,
    /// The target whose log was asked.
    pub target: Option<String>,
    /// SHA-256 of the list that log says counts.
    pub in_log: Option<String>,
    /// `admitted`, `not_admitted` (the log knows another or none) or `not_asked`.
    pub standing: &'static str,
    /// Who has signed the change.
    pub signers: Vec<String>,
    /// How many must.
    pub quorum: usize,
    /// What is wrong.
    pub problems: Vec<String>,
}

impl From<&ApproversView> for ApproversDocument {
    fn from(view: &ApproversView) -> Self {
        let standing = match (&view.target, view.in_log) {
            (None, _) => "not_asked",
            (Some(_), Some(known)) if known == view.list.digest => "admitted",
            (Some(_), _) => "not_admitted",
        };
        Self {
            format: "annals.approvers/1",
            path: view.path.display().to_string(),
            digest: view.list.digest.to_string(),
            approvers: view
                .list
                .people
                .iter()
                .map(|person| ApproverDocument {
                    name: person.name.clone(),
                    roles: person.roles.clone(),
                    actors: person.actors.clone(),
                    keys: person.keys.iter().map(ToString::to_string).collect(),
                    has_signed: view.signers.contains(&person.name),
                })
                .collect(),
            target: view.target.clone(),
            in_log: view.in_log.map(|digest| digest.to_string()),
            standing,
            signers: view.signers.clone(),
            quorum: view.quorum,
            problems: view.problems.clone(),
        }
    }
}
