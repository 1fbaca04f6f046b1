//! By which right a restore goes onto a target: what its policy asks for, and what the log is told
//! before anything of the target is touched.

use annals_events::{
    BreakGlassUsed, Direction, EmergencyDeclared, Event, RunId, Version, WithoutSafeguard,
};
use annals_migrations::RiskLevel;

use crate::approvals::{people, policy};
use crate::error::Failure;
use crate::targets::Target;
use crate::workspace::Workspace;

/// By which right a restore is carried out.
#[derive(Debug, Clone, Default)]
pub struct RestoreRight {
    /// Without the approvals the target asks for, on one person's word: why.
    pub break_glass: Option<String>,
    /// As the way out of an emergency: why. It is one person's word as well.
    pub emergency: Option<String>,
}

impl RestoreRight {
    fn word(&self) -> Option<&str> {
        self.break_glass.as_deref().or(self.emergency.as_deref())
    }

    /// What is recorded before the run begins. `back_to` is the last version that will be applied.
    pub(crate) fn events(
        &self,
        gate: &RestoreGate,
        run: RunId,
        back_to: Option<Version>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(reason) = self.emergency.clone() {
            events.push(EmergencyDeclared { reason, run, to_version: back_to }.into());
        }
        if let Some(reason) = gate.broken_for.clone() {
            let without = WithoutSafeguard::Approval;
            events.push(BreakGlassUsed { journal: None, reason, run, without }.into());
        }
        events
    }
}

/// What the gate let pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct RestoreGate {
    /// Why it goes without approvals, where the target asks for some.
    broken_for: Option<String>,
    people: u64,
}

impl RestoreGate {
    /// What whoever does it is told.
    pub(crate) fn note(&self, target: &str, run: RunId) -> Option<String> {
        self.broken_for.as_ref().map(|_| {
            format!(
                "this goes without the {} its target asks for; somebody else must look at it: annals \
                 approve --target {target} --review {run} --reason '…'",
                people(self.people)
            )
        })
    }
}

/// How many people the target asks for before rows of it are replaced by those of a backup: nothing a
/// plan can do takes away more.
fn asked(workspace: &Workspace, target: &Target) -> u64 {
    let policy = policy(workspace, target);
    policy.map_or(0, |policy| policy.requirement(RiskLevel::Critical, Direction::Down).people)
}

/// What is to be known before it is done.
pub(crate) fn told(workspace: &Workspace, target: &Target) -> Option<String> {
    let people = match asked(workspace, target) {
        0 => return None,
        asked => people(asked),
    };
    Some(format!(
        "the target asks for {people}, and there is no plan of a restore to approve: it takes one \
         person's word (--break-glass --reason '…'), and somebody else to look at it afterwards"
    ))
}

/// Lets a restore pass, or says what stands in its way.
pub(crate) fn clear(
    workspace: &Workspace,
    target: &Target,
    right: &RestoreRight,
) -> Result<RestoreGate, Failure> {
    let asked = asked(workspace, target);
    if asked == 0 {
        return Ok(RestoreGate::default());
    }
    let name = &target.name;
    let may_break = policy(workspace, target).is_some_and(|policy| policy.break_glass);
    match right.word() {
        Some(reason) if may_break => {
            Ok(RestoreGate { broken_for: Some(reason.to_owned()), people: asked })
        }
        Some(_) => Err(Failure::NotApproved {
            what: format!("the policy of {name:?} does not let one person restore without approvals"),
            reasons: vec![format!("targets.{name}.approvals.break_glass is not true")],
            hint: "nothing was changed; bring the backup into a database beside it: annals restore \
                   <backup> --into <database>; or change the policy"
                .to_owned(),
        }),
        None => Err(Failure::NotApproved {
            what: format!("{name:?} asks for {} before it is restored", people(asked)),
            reasons: vec![
                "a restore has no plan that could be approved: it takes one person's word".to_owned(),
            ],
            hint: "nothing was changed; with --break-glass --reason '…' it is done, and somebody else \
                   looks at it afterwards"
                .to_owned(),
        }),
    }
}
