//! `plan`, `migrate`, `rollback`.

use annals_events::{Direction, Effect, ReconciledAs, StepMode};
use annals_migrations::{Plan, PlannedStatement, PlannedStep, StatementClass};
use annals_operations::{
    ChangeOutcome, Failure, PlanPreview, Recovered, RowCount, RunEnd, StepLoss, Unrecorded,
    loss_in_words, lost_to_others,
};
use serde::Serialize;

use crate::copies::AnchorOutcome;
use crate::exit::ExitCode;

/// One statement of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanStatement {
    /// `transactional`, `concurrent_index_build`, `concurrent_index_drop`, `concurrent_reindex`,
    /// `concurrent_detach`, `creation`, `removal`, `backfill` or `repeatable`.
    pub class: &'static str,
    /// How a backfill is cut into batches; none for other statements.
    pub batches: Option<PlanBatches>,
    /// Line of the file, from 1.
    pub line: u32,
    /// Its text.
    pub sql: String,
    /// The lines it copies in, if it is a `COPY … FROM stdin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// What stands for the statements of a file that is streamed.
#[derive(Debug, Clone, Serialize)]
pub struct PlanStream {
    /// Its size.
    pub bytes: u64,
    /// Its statements.
    pub statements: u64,
    /// Of these, those that copy in data from the file.
    pub copies: u64,
}

/// The batches of a backfill: each is the statement with the first and the last of its keys for
/// `:from` and `:to`, in a transaction of its own.
#[derive(Debug, Clone, Serialize)]
pub struct PlanBatches {
    /// The table that is gone through.
    pub table: String,
    /// The key it is gone through by.
    pub key: String,
    /// Keys of one batch.
    pub rows: u64,
    /// From one batch to the next.
    pub pause_ms: u64,
}

impl From<&PlannedStatement> for PlanStatement {
    fn from(statement: &PlannedStatement) -> Self {
        let class = match statement.class {
            StatementClass::Transactional => "transactional",
            StatementClass::ConcurrentIndexBuild { .. } => "concurrent_index_build",
            StatementClass::ConcurrentIndexDrop { .. } => "concurrent_index_drop",
            StatementClass::ConcurrentReindex { .. } => "concurrent_reindex",
            StatementClass::ConcurrentDetach { .. } => "concurrent_detach",
            StatementClass::Creation { .. } => "creation",
            StatementClass::Removal { .. } => "removal",
            StatementClass::Backfill { .. } => "backfill",
            StatementClass::Repeatable => "repeatable",
        };
        let batches = match &statement.class {
            StatementClass::Backfill { batch, column, pause_ms, table } => Some(PlanBatches {
                table: table.clone(),
                key: column.clone(),
                rows: *batch,
                pause_ms: *pause_ms,
            }),
            _ => None,
        };
        Self {
            class,
            batches,
            line: statement.line,
            sql: statement.sql.clone(),
            data: statement.data.clone(),
        }
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
    /// What is said instead of a file too large for a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streamed: Option<PlanStream>,
    /// In a plan that is shown: how its rehearsal stands, where the target asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<&'static str>,
    /// In a plan that is shown: the strongest lock it took when it was rehearsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
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
            streamed: step.streamed.as_ref().map(|file| PlanStream {
                bytes: file.bytes,
                statements: file.statements,
                copies: file.copies,
            }),
            proof: None,
            lock: None,
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
    /// What stands around the tables of the plan: long transactions, prepared ones, event triggers,
    /// publications, replication slots.
    pub surroundings: Vec<String>,
    /// What the steps take away, counted on the target now.
    pub losses: Vec<LossDocument>,
    /// The backup that would be seen to first: `full`, `schema`, `scoped`, `external`; none where the target asks for none.
    pub backup: Option<&'static str>,
}

/// Something a step takes away.
#[derive(Debug, Clone, Serialize)]
pub struct LossDocument {
    /// `<version>_<name>`.
    pub step: String,
    /// The file.
    pub file: String,
    /// Line of the statement, from 1.
    pub line: u32,
    /// What goes: `table t`, `column t.c`, `rows of t`, `some rows of t`; `unknown`.
    pub what: String,
    /// Rows, values of a column; none where they could not be counted.
    pub rows: Option<u64>,
    /// Whether `rows` is what the server's statistics say: there was no time to count.
    pub estimated: bool,
    /// Why `rows` is not known.
    pub reason: Option<String>,
    /// All of it in words.
    pub text: String,
}

impl From<&StepLoss> for LossDocument {
    fn from(loss: &StepLoss) -> Self {
        let (rows, estimated, reason) = match &loss.rows {
            RowCount::Exactly(rows) => (Some(*rows), false, None),
            RowCount::About(rows) => (Some(*rows), true, None),
            RowCount::Unknown(why) => (None, false, Some(why.clone())),
        };
        Self {
            step: loss.step.clone(),
            file: loss.file.clone(),
            line: loss.line,
            what: loss.what.clone(),
            rows,
            estimated,
            reason,
            text: loss_in_words(loss),
        }
    }
}

fn with_rehearsals(mut steps: Vec<PlanStep>, preview: &PlanPreview) -> Vec<PlanStep> {
    for step in &mut steps {
        let id = format!("{}_{}", step.version, step.name);
        let state = preview.proofs.iter().find(|(of, _)| *of == id);
        step.proof = state.map(|(_, state)| state.as_str());
        step.lock = preview.locks.iter().find(|(of, _)| *of == id).map(|(_, mode)| mode.clone());
    }
    steps
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
            steps: with_rehearsals(steps(&preview.plan), preview),
            lints: lints.collect(),
            notes: preview.notes.clone(),
            surroundings: preview.surroundings.clone(),
            losses: preview.losses.iter().map(LossDocument::from).collect(),
            backup: preview.backup,
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
    /// The migrations whose outcome was unknown: none, one, or all of one transaction.
    pub steps: Vec<SettledStep>,
}

/// A step whose outcome was unknown, and what the evidence says of it.
#[derive(Debug, Clone, Serialize)]
pub struct SettledStep {
    /// `<version>_<name>`.
    pub migration: String,
    /// `took_effect`, `no_effect` or `partial`.
    pub found: &'static str,
}

impl From<&Recovered> for RecoveredRun {
    fn from(recovered: &Recovered) -> Self {
        Self {
            run: recovered.run.to_string(),
            started_at: recovered.started_at.to_string(),
            by: recovered.by.clone(),
            steps: settled_steps(&recovered.steps),
        }
    }
}

/// What the evidence says of each step, as a document tells it.
pub fn settled_steps(steps: &[(String, ReconciledAs)]) -> Vec<SettledStep> {
    let settled = steps.iter().map(|(migration, found)| SettledStep {
        migration: migration.clone(),
        found: found.as_str(),
    });
    settled.collect()
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
    /// What stood around the tables of the plan before the run.
    pub surroundings: Vec<String>,
    /// What a rollback took away, as it was counted before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossDocument>,
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
            surroundings: outcome.surroundings.clone(),
            losses: outcome.losses.iter().map(LossDocument::from).collect(),
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
            let hint = match hint {
                None => next,
                // What is to be pasted stands alone.
                Some(hint) if hint.contains('\n') => format!("{next}\n{}", hint.trim_end()),
                Some(hint) => format!("{}; {next}", hint.trim_end_matches('.')),
            };
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

fn failed_hint(code: Option<&str>, effect: Effect, again: &str) -> String {
    match (code, effect) {
        (Some("25001" | "2D000"), Effect::None) => format!(
            "nothing of this step was kept: move the statement to a file of its own with `-- annals: \
             transaction=off` at the top, then {again}"
        ),
        (code, Effect::None) if lost_to_others(code) => {
            format!("the file is fine and nothing was changed: at a better moment, {again}")
        }
        (code, Effect::Partial) if lost_to_others(code) => {
            format!(
                "the file is fine and what took effect before stands: at a better moment, {again}"
            )
        }
        // The server or a pooler has ended the session: no verdict on the file either.
        (Some(code), effect) if code.starts_with("57P") || code.starts_with("08") => match effect {
            Effect::None => format!("nothing of this step was kept: {again}"),
            Effect::Partial => format!("what took effect before stands: {again} continues there"),
        },
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
