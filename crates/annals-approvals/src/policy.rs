//! What a target asks of approvals.

use std::collections::BTreeMap;

use annals_events::{Digest, Direction, canonical_json};
use annals_migrations::RiskLevel;
use serde::Serialize;

/// What a target asks of approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Whether who made the plan may approve it. Default false.
    pub author_may_approve: bool,
    /// Whether one person with a reason may run without approvals. Default false.
    pub break_glass: bool,
    /// People who must approve a plan of this risk; what is not named asks for `required`.
    pub by_risk: BTreeMap<RiskLevel, u64>,
    /// How long a plan and its approvals count, in milliseconds. Default a day.
    pub expires_after_ms: u64,
    /// Files whose SQL may hold hidden characters.
    pub hidden_text: Vec<String>,
    /// The only people who count; everybody on the list if empty.
    pub of: Vec<String>,
    /// People who must approve. Default 1.
    pub required: u64,
    /// Roles of which a person must have one to count; any if empty.
    pub roles: Vec<String>,
    /// People who must approve a rollback, where that is more.
    pub rollback_required: u64,
    /// Roles of which a person must have one to count for a rollback, instead of `roles`.
    pub rollback_roles: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            author_may_approve: false,
            break_glass: false,
            by_risk: BTreeMap::new(),
            expires_after_ms: 24 * 60 * 60 * 1000,
            hidden_text: Vec::new(),
            of: Vec::new(),
            required: 1,
            roles: Vec::new(),
            rollback_required: 0,
            rollback_roles: Vec::new(),
        }
    }
}

/// What one plan needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Distinct people.
    pub people: u64,
    /// Roles of which each must have one; any if empty.
    pub roles: Vec<String>,
}

impl Policy {
    /// SHA-256 over its canonical JSON.
    pub fn digest(&self) -> Digest {
        let value = serde_json::to_value(self).expect("a policy has string keys only");
        let text = canonical_json(&value).expect("invariant: a policy has no large numbers");
        Digest::of(text.as_bytes())
    }

    /// What a plan of this risk that goes this way needs.
    pub fn requirement(&self, risk: RiskLevel, direction: Direction) -> Requirement {
        let people = self.by_risk.get(&risk).copied().unwrap_or(self.required);
        match direction {
            Direction::Up => Requirement { people, roles: self.roles.clone() },
            Direction::Down => Requirement {
                people: people.max(self.rollback_required),
                roles: match self.rollback_roles.is_empty() {
                    true => self.roles.clone(),
                    false => self.rollback_roles.clone(),
                },
            },
        }
    }

    /// The first level that asks for fewer people than one below it.
    pub fn falls_at(&self) -> Option<RiskLevel> {
        let at = |level| self.requirement(level, Direction::Up).people;
        let pairs = RiskLevel::ALL.windows(2);
        pairs.filter(|pair| at(pair[1]) < at(pair[0])).map(|pair| pair[1]).next()
    }
}
