//! Files and history in, a plan or a refusal out.
//!
//! Nothing here performs IO, reads a clock, draws randomness, or knows a database: what is decided
//! here can be decided again, and comes out the same.

mod down;
mod refusal;
mod up;

use annals_events::{Direction, StepMode, Version};
use annals_integrity::LedgerMismatch;
use annals_migrations::{
    MigrationSet, PLAN_FORMAT, Plan, PlannedStatement, PlannedStep, Precondition, SourceFile,
    Timeouts,
};
use annals_projections::{History, RecoveryState};

pub use refusal::{Reason, Refusal};

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Apply what is pending.
    Up {
        /// Up to and including this version; everything if none.
        to: Option<Version>,
        /// Versions that may be applied although later ones are.
        out_of_order: Vec<Version>,
    },
    /// Roll back until this version is the last one applied; `0` rolls back everything.
    DownTo(Version),
    /// Roll back the last so many, in the order they were applied.
    DownLast(u64),
}

/// Everything a decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The files.
    pub set: &'a MigrationSet,
    /// The history.
    pub history: &'a History,
    /// What is open or half done.
    pub recovery: &'a RecoveryState,
    /// How ledger and log disagree.
    pub ledger: &'a [LedgerMismatch],
    /// The workspace's name.
    pub workspace: &'a str,
    /// The target's name.
    pub target: &'a str,
    /// What must hold when the plan is carried out.
    pub precondition: &'a Precondition,
    /// Limits where a file does not say otherwise.
    pub timeouts: Timeouts,
    /// All steps in one transaction.
    pub single_transaction: bool,
}

/// A plan with what is worth saying about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The plan; it may have no steps.
    pub plan: Plan,
    /// For people: things that are allowed but should be known.
    pub notes: Vec<String>,
}

/// Decides how to reach `goal`.
///
/// # Errors
///
/// Everything that stands in the way, not only the first thing.
pub fn plan(goal: &Goal, inputs: &Inputs<'_>) -> Result<Planned, Refusal> {
    let mut reasons: Vec<Reason> =
        inputs.ledger.iter().map(|mismatch| Reason::Ledger(mismatch.finding())).collect();
    let in_doubt = inputs.recovery.open_steps.iter();
    reasons.extend(in_doubt.map(|step| Reason::InDoubt { id: step.id() }));
    if !inputs.recovery.adopting.is_empty() {
        let id = format!("the adoption of {} changes", inputs.recovery.adopting.len());
        reasons.push(Reason::InDoubt { id });
    }
    let mut notes = Vec::new();
    let (direction, out_of_order, steps) = match goal {
        Goal::Up { to, out_of_order } => {
            let steps = up::steps(inputs, to.as_ref(), out_of_order, &mut reasons, &mut notes);
            (Direction::Up, out_of_order.clone(), steps)
        }
        Goal::DownTo(version) => {
            let steps = down::steps_to(inputs, version, &mut reasons, &mut notes);
            (Direction::Down, Vec::new(), steps)
        }
        Goal::DownLast(count) => {
            let steps = down::steps_last(inputs, *count, &mut reasons, &mut notes);
            (Direction::Down, Vec::new(), steps)
        }
    };
    if inputs.single_transaction {
        let outside = steps.iter().filter(|step| step.mode != StepMode::Transactional);
        reasons.extend(outside.map(|step| Reason::OutsideTransaction { id: step.id() }));
    }
    for (step, file) in steps.iter().filter_map(|step| Some((step, step.streamed.as_ref()?))) {
        notes.push(format!(
            "{}: its {} bytes stand in the plan by their digests and are read while it runs; the \
             safety rules have not seen its SQL",
            step.id(),
            file.bytes
        ));
    }
    if !reasons.is_empty() {
        return Err(Refusal { reasons });
    }
    let plan = Plan {
        format: PLAN_FORMAT,
        workspace: inputs.workspace.to_owned(),
        target: inputs.target.to_owned(),
        direction,
        precondition: inputs.precondition.clone(),
        out_of_order,
        single_transaction: inputs.single_transaction,
        steps,
        terms: None,
    };
    Ok(Planned { plan, notes })
}

/// Renders one file as a step; what is wrong with its SQL becomes reasons.
fn render(
    inputs: &Inputs<'_>,
    what: (&Version, &str, Direction),
    file: &SourceFile,
    rollback: Option<&SourceFile>,
    reasons: &mut Vec<Reason>,
) -> Option<PlannedStep> {
    let (version, name, direction) = what;
    let script = match file.script() {
        Ok(script) => script,
        Err(problems) => {
            reasons.extend(problems.iter().cloned().map(Reason::File));
            return None;
        }
    };
    let directives = &script.directives;
    let mode = if directives.transaction {
        StepMode::Transactional
    } else {
        StepMode::StatementByStatement
    };
    let half_done = inputs.recovery.partial.get(version);
    if half_done.is_some_and(|step| step.direction == direction && step.mode != mode) {
        let (id, file) = (format!("{version}_{name}"), file.name().to_owned());
        reasons.push(Reason::HalfDoneOtherwise { id, file });
        return None;
    }
    let statements = script.statements.iter().map(|statement| PlannedStatement {
        class: statement.class.clone(),
        line: statement.line,
        sql: statement.text.clone(),
        data: statement.data.clone(),
    });
    Some(PlannedStep {
        direction,
        file: file.reference(),
        mode,
        name: name.to_owned(),
        ordinal: inputs.history.ordinal(version) + 1,
        rollback: rollback.map(SourceFile::reference),
        statements: statements.collect(),
        streamed: script.streamed.clone(),
        timeouts: Timeouts {
            lock_ms: directives.lock_timeout_ms.unwrap_or(inputs.timeouts.lock_ms),
            // A concurrent build that gives up waiting leaves an INVALID index behind.
            lock_outside_ms: directives.lock_timeout_ms.unwrap_or(0),
            statement_ms: directives.statement_timeout_ms.unwrap_or(inputs.timeouts.statement_ms),
        },
        version: version.clone(),
    })
}

/// A step half-way in the other direction, or without its file, must be finished before anything
/// else.
fn check_partial(inputs: &Inputs<'_>, direction: Direction, reasons: &mut Vec<Reason>) {
    for step in inputs.recovery.partial.values() {
        if inputs.set.get(&step.version).is_none() {
            reasons.push(Reason::HalfDoneMissing { id: step.id() });
        } else if step.direction != direction {
            reasons.push(Reason::HalfDone { id: step.id(), direction: step.direction });
        }
    }
}
