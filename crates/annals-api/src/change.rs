//! `plan`, `migrate`, `rollback`.

use annals_events::{Direction, Effect, ReconciledAs, StepMode};
use annals_migrations::{Plan, PlannedStatement, PlannedStep, StatementClass};
use annals_operations::{ChangeOutcome, Failure, PlanPreview, Recovered, RunEnd, Unrecorded};
use serde::Serialize;

use crate::copies::AnchorOutcome;
use crate::exit::ExitCode;

/// One statement of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanStatement {
    /// `transactional`, `concurrent_index_build`, `concurrent_index_drop` or `repeatable`.
    pub class: &'static str,
    /// Line of the file, from 1.
    pub line: u32,
    /// Its text.
    pub sql: String,
}

impl From<&PlannedStatement> for PlanStatement {
    fn from(statement: &PlannedStatement) -> Self {
        let class = match statement.class {
            StatementClass::Transactional => "transactional",
            StatementClass::ConcurrentIndexBuild { .. } => "concurrent_index_build",
            StatementClass::ConcurrentIndexDrop { .. } => "concurrent_index_drop",
            StatementClass::Repeatable => "repeatable",
        };
        Self { class, line: statement.line, sql: statement.sql.clone() }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanStep {
    /// The version.
    pub version: String,
    /// The migration's name.
    pub name: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// The file that runs.
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// `transactional` or `statement_by_statement`.
    pub mode: &'static str,
    /// Longest wait for a lock; 0 is none.
    pub lock_timeout_ms: u64,
    /// The same for a statement that cannot run in a transaction.
    pub lock_timeout_outside_ms: u64,
    /// Longest run of one statement; 0 is none.
    pub statement_timeout_ms: u64,
    /// What is sent, in order.
    pub statements: Vec<PlanStatement>,
}

impl From<&PlannedStep> for PlanStep {
    fn from(step: &PlannedStep) -> Self {
        Self {
            version: step.version.to_string(),
            name: step.name.clone(),
            direction: step.direction.as_str(),
            file: step.file.name.clone(),
            sha256: step.file.raw.to_string(),
            mode: match step.mode {
                StepMode::Transactional => "transactional",
                StepMode::StatementByStatement => "statement_by_statement",
            },
            lock_timeout_ms: step.timeouts.lock_ms,
            lock_timeout_outside_ms: step.timeouts.lock_outside_ms,
            statement_timeout_ms: step.timeouts.statement_ms,
            statements: step.statements.iter().map(PlanStatement::from).collect(),
        }
    }
}

/// What a safety rule found.
#[derive(Debug, Clone, Serialize)]
pub struct LintDocument {
    /// The rule.
    pub rule: &'static str,
    /// `blocking`, `breaking` or `data loss`.
    pub risk: &'static str,
    /// The file.
    pub file: String,
    /// Line of the statement, from 1.
    pub line: u32,
    /// The object.
    pub subject: String,
    /// What the statement does to it.
    pub effect: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

/// `annals plan`, and `--dry-run`.
#[derive(Debug, Clone, Serialize)]
pub struct PlanDocument {
    /// `annals.plan/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// The plan's hash.
    pub hash: String,
    /// The steps, in order.
    pub steps: Vec<PlanStep>,
    /// What the safety rules found.
    pub lints: Vec<LintDocument>,
    /// Things that are allowed but should be known.
    pub notes: Vec<String>,
}

fn steps(plan: &Plan) -> Vec<PlanStep> {
    plan.steps.iter().map(PlanStep::from).collect()
}

impl From<&PlanPreview> for PlanDocument {
    fn from(preview: &PlanPreview) -> Self {
        let lints = preview.lints.iter().map(|finding| LintDocument {
            rule: finding.rule,
            risk: finding.risk.as_str(),
            file: finding.file.clone(),
            line: finding.line,
            subject: finding.subject.clone(),
            effect: finding.effect,
            instead: finding.instead,
        });
        Self {
            format: "annals.plan/1",
            target: preview.target.clone(),
            direction: preview.plan.direction.as_str(),
            hash: preview.hash.to_string(),
            steps: steps(&preview.plan),
            lints: lints.collect(),
            notes: preview.notes.clone(),
        }
    }
}

/// A run that was killed earlier and has been settled by this command.
#[derive(Debug, Clone, Serialize)]
pub struct RecoveredRun {
    /// The run.
    pub run: String,
    /// When it began.
    pub started_at: String,
    /// Who ran it.
    pub by: String,
    /// The migration whose outcome was unknown, if any.
    pub step: Option<String>,
    /// `took_effect`, `no_effect` or `partial`.
    pub found: Option<&'static str>,
}

impl From<&Recovered> for RecoveredRun {
    fn from(recovered: &Recovered) -> Self {
        Self {
            run: recovered.run.to_string(),
            started_at: recovered.started_at.to_string(),
            by: recovered.by.clone(),
            step: recovered.step.as_ref().map(|(id, _)| id.clone()),
            found: recovered.step.as_ref().map(|(_, found)| ReconciledAs::as_str(*found)),
        }
    }
}

/// The step a run ended in.
#[derive(Debug, Clone, Serialize)]
pub struct StepFailure {
    /// `<version>_<name>`.
    pub step: String,
    /// The file.
    pub file: String,
    /// Line of the file, from 1.
    pub line: Option<u64>,
    /// Statement of the file, from 1.
    pub statement: Option<u64>,
    /// SQLSTATE.
    pub code: Option<String>,
    /// Why.
    pub message: String,
    /// `none` or `partial`: what is left of it in the target.
    pub effect: &'static str,
    /// What to do next.
    pub hint: String,
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct RunDocument {
    /// Its id.
    pub run: String,
    /// `succeeded`, `failed`, `interrupted`, `in_doubt` or `not_recorded`.
    pub outcome: &'static str,
    /// Steps that took effect.
    pub steps_done: usize,
    /// Why it did not succeed.
    pub failure: Option<StepFailure>,
}

/// `annals migrate` and `annals rollback`.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeDocument {
    /// `annals.change/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<RecoveredRun>,
    /// The plan's hash.
    pub plan: String,
    /// The steps that were planned.
    pub steps: Vec<PlanStep>,
    /// The run; none if there was nothing to do.
    pub run: Option<RunDocument>,
    /// Things that are allowed but should be known.
    pub notes: Vec<String>,
    /// Events in the log.
    pub log_size: u64,
    /// Events the published checkpoint vouches for, if one was published.
    pub signed: Option<u64>,
    /// What the target's anchors hold now, if the head has moved.
    pub anchors: Vec<AnchorOutcome>,
    /// The first event nothing outside vouches for; none if an anchor or the target's ledger holds
    /// a head over all of them.
    pub unanchored_from: Option<u64>,
    /// The process's exit code.
    pub exit_code: u8,
}

impl From<&ChangeOutcome> for ChangeDocument {
    fn from(outcome: &ChangeOutcome) -> Self {
        let run = outcome.run.as_ref();
        let code = ExitCode::of_change(outcome);
        let mut notes = outcome.notes.clone();
        notes.extend(outcome.unfinished.as_ref().map(|failure| {
            let hint = failure.hint().unwrap_or_default();
            let what = match failure {
                Failure::Anchor(_) | Failure::FewAnchors { .. } => "its end is not anchored",
                _ => "its end is not signed",
            };
            format!("the run is over and recorded, but {what}: {failure}; {hint}")
        }));
        Self {
            format: "annals.change/1",
            target: outcome.target.clone(),
            direction: outcome.plan.direction.as_str(),
            recovered: outcome.recovered.iter().map(RecoveredRun::from).collect(),
            plan: outcome.plan.hash().to_string(),
            steps: steps(&outcome.plan),
            run: run.map(|(run, report)| RunDocument {
                run: run.to_string(),
                outcome: outcome_word(&report.end),
                steps_done: report.done,
                failure: failure(&report.end, &outcome.plan),
            }),
            notes,
            log_size: outcome.log_size,
            signed: outcome.checkpoint.as_ref().map(|checkpoint| checkpoint.size),
            anchors: outcome.anchors.iter().map(AnchorOutcome::from).collect(),
            unanchored_from: Some(outcome.anchored).filter(|size| *size < outcome.log_size),
            exit_code: code.code(),
        }
    }
}

fn outcome_word(end: &RunEnd) -> &'static str {
    match end {
        RunEnd::Succeeded => "succeeded",
        RunEnd::Failed { .. } => "failed",
        RunEnd::Interrupted { .. } | RunEnd::Disconnected { .. } => "interrupted",
        RunEnd::InDoubt { .. } => "in_doubt",
        RunEnd::NotRecorded { .. } => "not_recorded",
    }
}

fn failure(end: &RunEnd, plan: &Plan) -> Option<StepFailure> {
    let at = |step: usize, message: &str, effect: Effect, hint: &str| {
        let planned = plan.steps.get(step)?;
        Some(StepFailure {
            step: planned.id(),
            file: planned.file.name.clone(),
            line: None,
            statement: None,
            code: None,
            message: message.to_owned(),
            effect: effect.as_str(),
            hint: hint.to_owned(),
        })
    };
    let again = match plan.direction {
        Direction::Up => "annals migrate",
        Direction::Down => "the same rollback",
    };
    match end {
        RunEnd::Succeeded => None,
        RunEnd::Failed { step, error, effect, hint } => {
            let next = failed_hint(error.code.as_deref(), *effect, again);
            let hint = hint.as_ref().map_or_else(|| next.clone(), |hint| format!("{hint}; {next}"));
            let failure = at(*step, &error.message, *effect, &hint)?;
            let (line, statement, code) = (error.line, error.statement, error.code.clone());
            Some(StepFailure { line, statement, code, ..failure })
        }
        RunEnd::Interrupted { step, reason } | RunEnd::Disconnected { step, reason } => {
            at(*step, reason, Effect::None, &format!("continue with: {again}"))
        }
        RunEnd::InDoubt { step, reason } => at(
            *step,
            &format!("the connection was lost around its commit: {reason}"),
            Effect::None,
            "when the target can be reached, the next command settles it: annals status",
        ),
        RunEnd::NotRecorded { step, unrecorded, error } => at(
            *step,
            &format!("{}: {error}", unrecorded_words(*unrecorded, plan.direction)),
            match unrecorded {
                Unrecorded::HalfDone => Effect::Partial,
                _ => Effect::None,
            },
            "make room for the event log; the next command completes the record from evidence",
        ),
    }
}

fn unrecorded_words(unrecorded: Unrecorded, direction: Direction) -> &'static str {
    match (unrecorded, direction) {
        (Unrecorded::NotBegun, _) => "not begun",
        (Unrecorded::TookEffect, Direction::Up) => "applied, not yet recorded",
        (Unrecorded::TookEffect, Direction::Down) => "rolled back, not yet recorded",
        (Unrecorded::Stopped, _) => "stopped, not yet recorded",
        (Unrecorded::HalfDone, _) => "half done, not yet recorded",
    }
}

/// SQLSTATE of a lock that was not granted in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

fn failed_hint(code: Option<&str>, effect: Effect, again: &str) -> String {
    match (code, effect) {
        (Some(LOCK_NOT_AVAILABLE), Effect::None) => format!(
            "somebody holds a lock on the table; nothing was changed: try again with {again}"
        ),
        // Not the server's verdict on the file.
        (None, Effect::None) => {
            format!("nothing of this step was kept: when the cause is gone, {again}")
        }
        (None, Effect::Partial) => {
            format!("what took effect before stands: when the cause is gone, {again} continues")
        }
        (_, Effect::None) => {
            format!("nothing of this step was kept: correct the file, then {again}")
        }
        (_, Effect::Partial) => format!(
            "what took effect before stands: correct the file behind it, then {again} continues there"
        ),
    }
}
