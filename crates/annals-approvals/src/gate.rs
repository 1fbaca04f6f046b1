//! The gate: whether a plan may be carried out.

use std::collections::BTreeMap;

use annals_events::{ApprovalId, Digest, LeafHash, RunOutcome, Timestamp};
use annals_migrations::{Plan, RiskLevel, Terms};

use crate::approvers::{Approvers, Person};
use crate::policy::Policy;
use crate::register::{GivenApproval, Register, check_approval};

/// Everything the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'a> {
    /// The log.
    pub origin: &'a str,
    /// What the target asks for.
    pub policy: &'a Policy,
    /// The pinned list.
    pub approvers: &'a Approvers,
    /// What the log says.
    pub register: &'a Register,
    /// The moment.
    pub now: Timestamp,
    /// How risky the plan is, computed now.
    pub risk: RiskLevel,
}

/// A person whose approval counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The name.
    pub approver: String,
    /// The approval.
    pub approval: ApprovalId,
}

/// Why a plan is not approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// People whose approval counts.
    pub have: Vec<String>,
    /// People there must be.
    pub need: u64,
    /// Roles of which each must have one.
    pub roles: Vec<String>,
    /// Approvals of this plan that do not count, and why.
    pub not_counted: Vec<String>,
    /// Who could still approve it.
    pub could: Vec<String>,
}

/// Whether `person` is who made the plan.
pub fn author_is(terms: &Terms, person: &Person) -> bool {
    person.is_actor(&terms.author)
}

/// What voids the plan, apart from its steps: nothing, if it stands.
///
/// `is_pinned` says whether the pinned list is the one the log says counts.
pub fn check_plan(gate: &Gate<'_>, plan: &Plan, hash: &Digest, terms: &Terms) -> Vec<String> {
    let mut void = Vec::new();
    if terms.origin != gate.origin {
        void.push(format!("it was made for the log {:?}", terms.origin));
    }
    if gate.now >= terms.expires_at {
        void.push(format!("it lapsed at {}", terms.expires_at.to_human()));
    }
    if terms.made_at > gate.now {
        void.push(format!("it says it was made at {}, which is to come", terms.made_at.to_human()));
    }
    let span_us = i64::try_from(gate.policy.expires_after_ms).unwrap_or(i64::MAX / 1000) * 1000;
    if terms.expires_at > terms.made_at.plus_micros(span_us) {
        void.push("it counts for longer than the policy allows".to_owned());
    }
    if terms.policy != gate.policy.digest() {
        void.push("the policy of the target was changed".to_owned());
    }
    if terms.approvers != gate.approvers.digest {
        void.push("the list of approvers was changed".to_owned());
    }
    if gate.risk > terms.risk {
        let (now, then) = (gate.risk.as_str(), terms.risk.as_str());
        void.push(format!("its risk is {now} now, and was {then}"));
    }
    if let Some((seq, kind)) = gate.register.voided_behind(plan.precondition.log_size, hash) {
        void.push(format!("the log went on: event {seq} is {kind}"));
    }
    if let Some(spent) = gate.register.spent(hash) {
        let resumable = matches!(spent.outcome, None | Some(RunOutcome::Interrupted));
        if !resumable {
            void.push(format!(
                "it was carried out already, by {} at {} (run {})",
                spent.by,
                spent.at.to_human(),
                spent.run.short()
            ));
        }
    }
    void
}

/// What is wrong with the place in the log a plan was made at; `leaf` is that of the event there.
pub fn check_head(plan: &Plan, size: u64, leaf: Option<LeafHash>) -> Option<String> {
    let then = &plan.precondition;
    if then.log_size > size {
        return Some(format!("it was made on {} events, the log has {size}", then.log_size));
    }
    let here = if then.log_size == 0 { LeafHash::ZERO } else { leaf.unwrap_or(LeafHash::ZERO) };
    (here != then.log_head).then(|| "it was made on another history of the log".to_owned())
}

impl Gate<'_> {
    /// Whether an approval counts for a plan by `terms`; who has given it.
    fn counts(
        &self,
        approval: &GivenApproval,
        terms: &Terms,
        roles: &[String],
    ) -> Result<String, String> {
        let given = &approval.given;
        let name = &given.approver;
        if let Some((at, reason)) = &approval.revoked {
            return Err(format!("{name}: taken back at {} ({reason})", at.to_human()));
        }
        if given.expires_at.is_none_or(|at| at > terms.expires_at) {
            return Err(format!("{name}: it counts for longer than the plan"));
        }
        if given.expires_at.is_some_and(|at| self.now >= at) {
            return Err(format!("{name}: it has lapsed"));
        }
        let key = check_approval(self.origin, given).map_err(|error| format!("{name}: {error}"))?;
        let person = match self.approvers.of_key(&key) {
            Some(person) if person.name == *name => person,
            _ => return Err(format!("{name}: the key is not theirs in keys/approvers.toml")),
        };
        self.may_count(person, terms, roles).map_err(|why| format!("{name}: {why}"))?;
        Ok(name.clone())
    }

    /// Whether `person` may approve a plan by `terms`.
    fn may_count(&self, person: &Person, terms: &Terms, roles: &[String]) -> Result<(), String> {
        if author_is(terms, person) && !self.policy.author_may_approve {
            return Err("has made the plan".to_owned());
        }
        if !self.policy.of.is_empty() && !self.policy.of.contains(&person.name) {
            return Err("is not among those the policy names".to_owned());
        }
        if !roles.is_empty() && !person.roles.iter().any(|role| roles.contains(role)) {
            return Err(format!("has none of the roles {}", roles.join(", ")));
        }
        Ok(())
    }

    /// Whether `person` may approve the plan.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_approve(&self, person: &Person, plan: &Plan, terms: &Terms) -> Result<(), String> {
        let roles = self.policy.requirement(self.risk.max(terms.risk), plan.direction).roles;
        self.may_count(person, terms, &roles)
    }

    /// Whether enough people have approved the plan with this hash.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn judge(&self, plan: &Plan, hash: &Digest, terms: &Terms) -> Result<Vec<Counted>, Denied> {
        let risk = self.risk.max(terms.risk);
        let need = self.policy.requirement(risk, plan.direction);
        let (mut counted, mut not_counted) = (BTreeMap::new(), Vec::new());
        for approval in self.register.given.iter().filter(|known| known.given.plan == *hash) {
            match self.counts(approval, terms, &need.roles) {
                // However many keys: one person.
                Ok(name) => {
                    counted.entry(name).or_insert(approval.given.approval);
                }
                Err(why) => not_counted.push(why),
            }
        }
        if counted.len() as u64 >= need.people {
            let counted = counted.into_iter();
            return Ok(counted
                .map(|(approver, approval)| Counted { approver, approval })
                .collect());
        }
        let could = self.approvers.people.iter().filter(|person| {
            !counted.contains_key(&person.name)
                && self.may_count(person, terms, &need.roles).is_ok()
        });
        Err(Denied {
            could: could.map(|person| person.name.clone()).collect(),
            have: counted.into_keys().collect(),
            need: need.people,
            roles: need.roles,
            not_counted,
        })
    }
}
