//! What is known about the target's condition: runs, steps in doubt, checks, pictures.

use std::collections::{BTreeMap, HashSet};

use annals_events::{
    BlobRef, CheckLevel, CheckResults, Digest, Direction, Effect, Event, FileRef, LeafHash,
    ReconciledAs, Recorded, RestoreStarted, RowsRestoreStarted, RunFinished, RunId, RunOutcome,
    RunStarted, Seq, StepKey, StepMode, StepStarted, TargetIdentity, Timestamp, Version,
};
use serde::{Deserialize, Serialize};

use crate::adoption::{Adopted, Announced, announce, ended};
use crate::replay::Projection;

/// What the log knows of one statement outside a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatementState {
    /// Its intent is recorded, its outcome is not.
    Started,
    /// It took effect.
    Succeeded,
}

/// A step whose intent is recorded and whose outcome is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenStep {
    /// The run and the place in it.
    pub key: StepKey,
    /// Which way.
    pub direction: Direction,
    /// The version.
    pub version: Version,
    /// The migration's name.
    pub name: String,
    /// Which change of this version, from 1.
    pub ordinal: u64,
    /// How it meets the transaction boundary.
    pub mode: StepMode,
    /// The file that runs.
    pub file: FileRef,
    /// Going up: the file that would undo it.
    pub rollback: Option<FileRef>,
    /// Statements in the file.
    pub statements: u64,
    /// Outside a transaction: what is known of each statement, by its place from 1.
    pub progress: BTreeMap<u64, StatementState>,
    /// Outside a transaction: SHA-256 of each statement's text when its intent was recorded.
    pub intents: BTreeMap<u64, Digest>,
    /// The intent.
    pub seq: Seq,
    /// Its leaf hash; the target's ledger holds a copy once the step took effect.
    pub leaf: LeafHash,
    /// When it was recorded.
    pub at: Timestamp,
}

impl OpenStep {
    /// `<version>_<name>`.
    pub fn id(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRun {
    /// The run.
    pub run: RunId,
    /// Which way.
    pub direction: Direction,
    /// Number of steps.
    pub steps: u64,
    /// Steps that took effect so far.
    pub steps_done: u64,
    /// When it began.
    pub at: Timestamp,
    /// Who runs it.
    pub by: String,
    /// On which machine.
    pub host: String,
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// Which way.
    pub direction: Direction,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why, unless it succeeded.
    pub reason: Option<String>,
    /// Steps that took effect.
    pub steps_done: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Who ran it.
    pub by: String,
}

/// The schema as a run left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaPicture {
    /// What it is told by.
    pub fingerprint: Digest,
    /// The stored picture.
    pub snapshot: BlobRef,
    /// Number of objects.
    pub objects: u64,
    /// Server major version.
    pub server_major: u32,
    /// The event that recorded it.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
}

/// What the live schema was last found to differ in from the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftSummary {
    /// Number of objects.
    pub differences: u64,
    /// Fingerprint of the live schema.
    pub found: Digest,
    /// The differences.
    pub report: BlobRef,
    /// The event that says so.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
}

/// A verification and its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntegritySummary {
    /// By family.
    pub checks: CheckResults,
    /// Whether any family failed.
    pub passed: bool,
    /// Number of findings.
    pub findings: u64,
    /// How much was looked at.
    pub level: CheckLevel,
    /// The findings.
    pub report: BlobRef,
    /// The event that says so.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
}

/// Versions in the order in which they were applied, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Version>", into = "Vec<Version>")]
struct Newest {
    order: Vec<Version>,
    /// The same: most steps are the first of their version, and are not looked for in the order.
    known: HashSet<Version>,
}

impl Newest {
    fn remove(&mut self, version: &Version) {
        if self.known.remove(version) {
            self.order.retain(|known| known != version);
        }
    }

    /// Puts a version last that is not there.
    fn push(&mut self, version: Version) {
        self.known.insert(version.clone());
        self.order.push(version);
    }
}

impl From<Vec<Version>> for Newest {
    fn from(order: Vec<Version>) -> Self {
        let known = order.iter().cloned().collect();
        Self { order, known }
    }
}

impl From<Newest> for Vec<Version> {
    fn from(newest: Newest) -> Self {
        newest.order
    }
}

/// The recovery state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryState {
    /// The database the log speaks of.
    pub target: Option<TargetIdentity>,
    /// The run that has not ended, if any.
    pub open_run: Option<OpenRun>,
    /// The steps whose outcome is unknown, in the order of their intents: one, or all steps of a run
    /// that is one transaction.
    pub open_steps: Vec<OpenStep>,
    /// Steps outside a transaction that stopped half-way and have not been finished since, by
    /// version: the next run continues behind their last statement.
    pub partial: BTreeMap<Version, OpenStep>,
    /// The last run that ended.
    pub last_run: Option<RunSummary>,
    /// The schema as the last run left it; `None` while a newer change has no picture yet.
    pub schema: Option<SchemaPicture>,
    /// What was found to differ from it since, and not accepted or undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSummary>,
    /// The last verification.
    pub last_integrity: Option<IntegritySummary>,
    /// The newest version applied when a verification last passed.
    pub last_known_good: Option<Version>,
    newest_applied: Newest,
    /// Entries of an adoption that has not ended: they do not count yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopting: Vec<Announced>,
    /// A restored backup that is about to take the place of the target, or has and nobody has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<RestoreStarted>,
    /// Rows of a backup that are about to be put back, or have been and nobody has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring_rows: Option<RowsRestoreStarted>,
}

impl RecoveryState {
    fn step_started(&mut self, recorded: &Recorded, started: &StepStarted) {
        // It stays half done until it has taken effect: this attempt may end before it begins.
        let half_done = self.partial.remove(&started.version);
        let same = half_done.filter(|step| step.ordinal == started.ordinal);
        let (progress, intents) = same
            .as_ref()
            .map(|step| (step.progress.clone(), step.intents.clone()))
            .unwrap_or_default();
        self.partial.extend(same.map(|step| (step.version.clone(), step)));
        self.open_steps.retain(|step| step.key != started.key());
        self.open_steps.push(OpenStep {
            key: started.key(),
            direction: started.direction,
            version: started.version.clone(),
            name: started.name.clone(),
            ordinal: started.ordinal,
            mode: started.mode,
            file: started.file.clone(),
            rollback: started.rollback.clone(),
            statements: started.statements,
            progress,
            intents,
            seq: recorded.seq,
            leaf: recorded.leaf,
            at: recorded.recorded_at,
        });
    }

    /// The open step, if it is `key` and has a statement of that number.
    fn speaks_of(&mut self, key: StepKey, statement: u64) -> Option<&mut OpenStep> {
        let known = |step: &&mut OpenStep| (1..=step.statements).contains(&statement);
        self.open_steps.iter_mut().find(|step| step.key == key).filter(known)
    }

    /// The open step of this key.
    pub fn open_step(&self, key: StepKey) -> Option<&OpenStep> {
        self.open_steps.iter().find(|step| step.key == key)
    }

    fn close_step(&mut self, key: StepKey) -> Option<OpenStep> {
        let at = self.open_steps.iter().position(|step| step.key == key)?;
        Some(self.open_steps.remove(at))
    }

    fn took_effect(&mut self, key: StepKey) {
        let Some(step) = self.close_step(key) else {
            return;
        };
        self.partial.remove(&step.version);
        self.newest_applied.remove(&step.version);
        if step.direction == Direction::Up {
            self.newest_applied.push(step.version);
        }
        if let Some(run) = self.open_run.as_mut() {
            run.steps_done += 1;
        }
        self.schema = None;
    }

    fn stopped(&mut self, key: StepKey, partial: bool) {
        let Some(step) = self.close_step(key) else {
            return;
        };
        if partial {
            self.schema = None;
            self.partial.insert(step.version.clone(), step);
        }
    }

    fn adopt(&mut self, entry: &Announced) {
        let (version, applied) = match entry.effect() {
            None => return,
            Some(Adopted::Change(change)) => {
                self.partial.remove(&change.version);
                (change.version, change.direction == Direction::Up)
            }
            Some(Adopted::Lost { version, remains, .. }) => {
                (version, remains.is_some_and(|change| change.direction == Direction::Up))
            }
            Some(Adopted::Regained(change)) => (change.version, change.direction == Direction::Up),
        };
        self.newest_applied.remove(&version);
        if applied {
            self.newest_applied.push(version);
        }
        self.schema = None;
    }

    /// A backup has taken the place of the target.
    fn restored(&mut self, run: RunId, outcome: RunOutcome) {
        let Some(restore) = self.restoring.take_if(|restore| restore.run == run) else {
            return;
        };
        if outcome == RunOutcome::Succeeded {
            // What was half done when the backup was taken is half done in it, nothing else.
            self.partial.retain(|_, step| step.seq.0 < restore.log_size);
            (self.schema, self.drift) = (None, None);
        }
    }

    fn run_started(&mut self, recorded: &Recorded, started: &RunStarted) {
        self.open_run = Some(OpenRun {
            run: started.run,
            direction: started.direction,
            steps: started.steps,
            steps_done: 0,
            at: recorded.recorded_at,
            by: recorded.actor.name.clone(),
            host: recorded.actor.host.clone(),
        });
    }

    fn run_finished(&mut self, recorded: &Recorded, finished: &RunFinished) {
        let Some(run) = self.open_run.take_if(|run| run.run == finished.run) else {
            return;
        };
        self.last_run = Some(RunSummary {
            run: run.run,
            direction: run.direction,
            outcome: finished.outcome,
            reason: finished.reason.clone(),
            steps_done: finished.steps_done,
            started_at: run.at,
            finished_at: recorded.recorded_at,
            by: run.by,
        });
    }
}

impl Projection for RecoveryState {
    fn apply(&mut self, recorded: &Recorded) {
        if recorded.target.is_some() {
            self.target.clone_from(&recorded.target);
        }
        match &recorded.event {
            Event::RunStarted(started) => self.run_started(recorded, started),
            Event::StepStarted(started) => self.step_started(recorded, started),
            Event::StatementStarted(started) => {
                if let Some(step) = self.speaks_of(started.key(), started.statement) {
                    step.intents.insert(started.statement, started.sql);
                    step.progress.insert(started.statement, StatementState::Started);
                }
            }
            Event::StatementSucceeded(done) => {
                if let Some(step) = self.speaks_of(done.key(), done.statement) {
                    step.progress.insert(done.statement, StatementState::Succeeded);
                }
            }
            Event::StepSucceeded(done) => self.took_effect(done.key()),
            Event::StepFailed(failed) => {
                self.stopped(failed.key(), failed.effect == Effect::Partial);
            }
            Event::StepReconciled(settled) => match settled.found {
                ReconciledAs::TookEffect => self.took_effect(settled.key()),
                ReconciledAs::NoEffect => self.stopped(settled.key(), false),
                ReconciledAs::Partial => self.stopped(settled.key(), true),
            },
            Event::BaselineAdopted(adopted) => {
                announce(&mut self.adopting, Announced::new(recorded, adopted));
            }
            Event::RunFinished(finished) => {
                for entry in ended(&mut self.adopting, finished) {
                    self.adopt(&entry);
                }
                self.restored(finished.run, finished.outcome);
                self.restoring_rows.take_if(|rows| rows.run == finished.run);
                self.run_finished(recorded, finished);
            }
            Event::SchemaRecorded(picture) => {
                if picture.run.is_none() {
                    self.drift = None;
                }
                self.schema = Some(SchemaPicture {
                    fingerprint: picture.fingerprint,
                    snapshot: picture.snapshot,
                    objects: picture.objects,
                    server_major: picture.server_major,
                    seq: recorded.seq,
                    at: recorded.recorded_at,
                });
            }
            Event::IntegrityChecked(checked) => {
                let passed = checked.result == annals_events::CheckOutcome::Passed;
                self.last_integrity = Some(IntegritySummary {
                    checks: checked.checks,
                    passed,
                    findings: checked.findings,
                    level: checked.level,
                    report: checked.report,
                    seq: recorded.seq,
                    at: recorded.recorded_at,
                });
                if passed {
                    self.last_known_good = self.newest_applied.order.last().cloned();
                }
            }
            Event::DriftFound(found) => {
                self.drift = (found.differences > 0).then_some(DriftSummary {
                    differences: found.differences,
                    found: found.found,
                    report: found.report,
                    seq: recorded.seq,
                    at: recorded.recorded_at,
                });
            }
            Event::DriftAccepted(_) => self.drift = None,
            Event::RestoreStarted(started) => self.restoring = Some(started.clone()),
            Event::RowsRestoreStarted(started) => self.restoring_rows = Some(started.clone()),
            Event::LogCreated(_)
            | Event::TargetRegistered(_)
            | Event::PlanMade(_)
            | Event::ProofRecorded(_)
            | Event::TailRepaired(_)
            | Event::KeyAdded(_)
            | Event::KeyRetired(_)
            | Event::CheckpointAnchored(_)
            | Event::LogMoved(_)
            | Event::StoreInstalled(_)
            | Event::StoreUpgraded(_)
            | Event::MigrationsSeen(_)
            | Event::EmergencyDeclared(_)
            | Event::ApprovalGiven(_)
            | Event::ApprovalRevoked(_)
            | Event::BackupTaken(_)
            | Event::BackupVerified(_)
            | Event::BackupFailed(_)
            | Event::BackupRemoved(_)
            | Event::TargetRestored(_)
            | Event::RowsRestored(_)
            | Event::ExternalBackupNamed(_)
            | Event::BackupRekeyed(_)
            | Event::EmergencyFinished(_)
            | Event::EmergencyRehearsed(_)
            | Event::BreakGlassUsed(_)
            | Event::BreakGlassReviewed(_)
            | Event::ApproversChanged(_)
            | Event::Unknown(_) => {}
        }
    }
}
