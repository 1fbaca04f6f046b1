//! What a plan that is written down was made under, and how two plans differ.

use annals_events::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::plan::{PLAN_FORMAT, Plan, PlannedStep};

/// How much a plan can break. The table is in docs/reference/risk.md.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum RiskLevel {
    /// New things that nobody uses yet.
    #[default]
    Low,
    /// What others may notice.
    Medium,
    /// What makes others wait or fail, or what cannot be judged.
    High,
    /// What is gone afterwards.
    Critical,
}

impl RiskLevel {
    /// Every level, the lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The stored word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What a plan that is written down was made under. If any of it is otherwise when the plan is to
/// be carried out, it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// SHA-256 of the list of approvers.
    pub approvers: Digest,
    /// Who made it, as that person called themselves.
    pub author: String,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// When it was made.
    pub made_at: Timestamp,
    /// The log.
    pub origin: String,
    /// Digest of what the target asks of approvals.
    pub policy: Digest,
    /// How its proofs stood, by `<version>_<name>`.
    pub proofs: Vec<(String, String)>,
    /// How risky it is.
    pub risk: RiskLevel,
    /// Why, a line for each thing.
    pub risk_reasons: Vec<String>,
    /// Fingerprint of the schema.
    pub schema: Digest,
}

/// Why bytes are not a plan that can be approved.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Another shape.
    #[error("it is no plan: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The same plan is written in other bytes.
    #[error("it is not written as annals writes it: somebody has edited it")]
    OtherSpelling,
    /// From another annals.
    #[error("it has format {0}, this annals writes {PLAN_FORMAT}")]
    OtherFormat(u32),
    /// Made without being written down.
    #[error("it has no terms: it was not made by plan --out")]
    NoTerms,
}

impl Plan {
    /// Reads what [`Plan::to_canonical_json`] wrote, with its [`Terms`]; a line feed at the end is
    /// allowed.
    ///
    /// # Errors
    ///
    /// When the bytes are anything else.
    pub fn from_stored(bytes: &[u8]) -> Result<(Self, Terms), PlanError> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let plan: Self = serde_json::from_slice(bytes)?;
        if plan.format != PLAN_FORMAT {
            return Err(PlanError::OtherFormat(plan.format));
        }
        if plan.to_canonical_json().as_bytes() != bytes {
            return Err(PlanError::OtherSpelling);
        }
        let terms = plan.terms.clone().ok_or(PlanError::NoTerms)?;
        Ok((plan, terms))
    }
}

/// What is otherwise in `live`, the plan that would be made now, than in `approved`: nothing if
/// `live` would do the same. Where in the log the two were made is not compared, nor their terms.
pub fn differences(approved: &Plan, live: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let mut same = |what: &str, is_same: bool| {
        if !is_same {
            found.push(what.to_owned());
        }
    };
    same("the workspace", approved.workspace == live.workspace);
    same("the target", approved.target == live.target);
    same("the direction", approved.direction == live.direction);
    same("the versions allowed out of order", approved.out_of_order == live.out_of_order);
    same("whether it is one transaction", approved.single_transaction == live.single_transaction);
    let (then, now) = (&approved.precondition, &live.precondition);
    same("the server", then.system_identifier == now.system_identifier);
    same("the database", then.database == now.database);
    for step in &approved.steps {
        match live.steps.iter().find(|other| other.version == step.version) {
            None => found.push(format!("{}: it is not to be done any more", step.id())),
            Some(other) => found.extend(step_difference(step, other)),
        }
    }
    let is_new =
        |step: &&PlannedStep| !approved.steps.iter().any(|known| known.version == step.version);
    let new = live.steps.iter().filter(is_new);
    found.extend(new.map(|step| format!("{}: it is not in the plan", step.id())));
    let order =
        |plan: &Plan| plan.steps.iter().map(|step| step.version.clone()).collect::<Vec<_>>();
    if found.is_empty() && order(approved) != order(live) {
        found.push("the order of its steps".to_owned());
    }
    found
}

fn step_difference(step: &PlannedStep, now: &PlannedStep) -> Option<String> {
    if step == now {
        return None;
    }
    let what = if step.file != now.file {
        format!("{} was changed", step.file.name)
    } else if step.rollback != now.rollback {
        "its rollback was changed".to_owned()
    } else if step.timeouts != now.timeouts {
        "the limits it runs under are others".to_owned()
    } else if step.ordinal != now.ordinal {
        "it was applied or rolled back meanwhile".to_owned()
    } else {
        "what is sent for it is something else".to_owned()
    };
    Some(format!("{}: {what}", step.id()))
}
