//! `state`: everything that was known at a moment.

use std::collections::BTreeMap;

use annals_events::{BackupDepth, BackupId, RunOutcome, Version};
use annals_operations::{Pending, StateView};
use annals_projections::{
    AnchoredHead, Approval, Backup, BackupCondition, Emergency, KnownKey, Move, OpenRun, OpenStep,
    RunSummary, SeenMigration, Sighting, State, StatementState,
};
use serde::Serialize;

use crate::replay::{Place, TimeBoundsDocument, place, time_bounds};
use crate::verify::checks;

/// A migration that is applied.
#[derive(Debug, Clone, Serialize)]
pub struct AppliedMigration {
    /// The version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// When it was applied.
    pub at: String,
    /// Who applied it.
    pub by: String,
    /// SHA-256 of the file that ran.
    pub sha256: String,
    /// The file that ran.
    pub file: String,
    /// The run.
    pub run: String,
    /// The event that says it took effect.
    pub seq: u64,
}

/// A migration that was not applied.
#[derive(Debug, Clone, Serialize)]
pub struct PendingMigration {
    /// The version.
    pub version: String,
    /// The file that applies it.
    pub file: String,
    /// SHA-256 of that.
    pub sha256: String,
    /// The file that rolls it back.
    pub rollback: Option<String>,
}

impl From<&SeenMigration> for PendingMigration {
    fn from(seen: &SeenMigration) -> Self {
        Self {
            version: seen.version.to_string(),
            file: seen.name.clone(),
            sha256: seen.raw.to_string(),
            rollback: seen.rollback.as_ref().map(|file| file.name.clone()),
        }
    }
}

/// The migrations of the workspace, as they were last read.
#[derive(Debug, Clone, Serialize)]
pub struct MigrationsSeenState {
    /// Their number.
    pub count: u64,
    /// Digest of the list of them.
    pub set: String,
    /// The event that says so.
    pub seq: u64,
    /// When it was recorded.
    pub at: String,
}

impl From<&Sighting> for MigrationsSeenState {
    fn from(seen: &Sighting) -> Self {
        Self {
            count: seen.files,
            set: seen.set.digest.to_string(),
            seq: seen.seq.0,
            at: seen.at.to_string(),
        }
    }
}

/// A run, open or ended.
#[derive(Debug, Clone, Serialize)]
pub struct RunState {
    /// Its id.
    pub run: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// How it ended; none while it is open.
    pub outcome: Option<&'static str>,
    /// Why, unless it succeeded.
    pub reason: Option<String>,
    /// Steps that took effect.
    pub steps_done: u64,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Who ran it.
    pub by: String,
}

impl From<&OpenRun> for RunState {
    fn from(run: &OpenRun) -> Self {
        Self {
            run: run.run.to_string(),
            direction: run.direction.as_str(),
            outcome: None,
            reason: None,
            steps_done: run.steps_done,
            started_at: run.at.to_string(),
            finished_at: None,
            by: run.by.clone(),
        }
    }
}

impl From<&RunSummary> for RunState {
    fn from(run: &RunSummary) -> Self {
        Self {
            run: run.run.to_string(),
            direction: run.direction.as_str(),
            outcome: Some(run.outcome.as_str()),
            reason: run.reason.clone(),
            steps_done: run.steps_done,
            started_at: run.started_at.to_string(),
            finished_at: Some(run.finished_at.to_string()),
            by: run.by.clone(),
        }
    }
}

/// Who holds the target, as far as the log knows: whoever runs the run that has not ended.
#[derive(Debug, Clone, Serialize)]
pub struct LockHolder {
    /// Who.
    pub by: String,
    /// On which machine.
    pub host: String,
    /// For which run.
    pub run: String,
    /// Since when.
    pub since: String,
}

/// A step that was announced, and whose outcome is not known or not whole.
#[derive(Debug, Clone, Serialize)]
pub struct StepState {
    /// `<version>_<name>`.
    pub migration: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// The run.
    pub run: String,
    /// The event that announced it.
    pub seq: u64,
    /// When that was recorded.
    pub since: String,
    /// Statements in the file.
    pub statements: u64,
    /// Outside a transaction: statements known to have taken effect.
    pub statements_done: u64,
}

impl From<&OpenStep> for StepState {
    fn from(step: &OpenStep) -> Self {
        let done = step.progress.values().filter(|state| **state == StatementState::Succeeded);
        Self {
            migration: step.id(),
            direction: step.direction.as_str(),
            run: step.key.run.to_string(),
            seq: step.seq.0,
            since: step.at.to_string(),
            statements: step.statements,
            statements_done: done.count() as u64,
        }
    }
}

/// A verification and its verdict.
#[derive(Debug, Clone, Serialize)]
pub struct IntegrityState {
    /// When.
    pub at: String,
    /// `passed` or `failed`.
    pub result: &'static str,
    /// By family.
    pub checks: BTreeMap<&'static str, &'static str>,
    /// Number of findings.
    pub findings: u64,
    /// The event that says so.
    pub seq: u64,
    /// Digest of the report.
    pub report: String,
}

/// The database, as the server said.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseState {
    /// Its name.
    pub database: String,
    /// The server's system identifier.
    pub system_identifier: String,
    /// The server's version when the log was tied to it.
    pub server_version: Option<String>,
    /// `plain` or `supabase`.
    pub platform: Option<String>,
}

/// An approval in force.
#[derive(Debug, Clone, Serialize)]
pub struct ApprovalState {
    /// Its name.
    pub approval: String,
    /// Who approves.
    pub approver: String,
    /// Hash of the plan.
    pub plan: String,
    /// When it was recorded.
    pub at: String,
    /// When it lapses.
    pub expires_at: Option<String>,
    /// The event.
    pub seq: u64,
}

impl ApprovalState {
    pub(crate) fn new(id: annals_events::ApprovalId, approval: &Approval) -> Self {
        Self {
            approval: id.to_string(),
            approver: approval.approver.clone(),
            plan: approval.plan.to_string(),
            at: approval.at.to_string(),
            expires_at: approval.expires_at.map(|at| at.to_string()),
            seq: approval.seq.0,
        }
    }
}

/// A backup.
#[derive(Debug, Clone, Serialize)]
pub struct BackupState {
    /// Its name.
    pub backup: String,
    /// What it holds: `full`, `schema`, `tables`.
    pub kind: String,
    /// Bytes of the sealed container.
    pub bytes: u64,
    /// When its being taken was recorded.
    pub at: String,
    /// Who took it.
    pub by: String,
    /// The run it was taken for.
    pub run: Option<String>,
    /// `verified`, `not verified`, `failed` or `removed`.
    pub condition: &'static str,
    /// How deeply it was verified: `sealed` (its bytes were authenticated) or `restored`.
    pub verified: Option<&'static str>,
    /// When that was recorded.
    pub verified_at: Option<String>,
    /// The event that says it was taken.
    pub seq: u64,
}

impl BackupState {
    pub(crate) fn new(id: BackupId, backup: &Backup) -> Self {
        let verified = backup.verified();
        Self {
            backup: id.to_string(),
            kind: backup.kind.clone(),
            bytes: backup.bytes,
            at: backup.at.to_string(),
            by: backup.by.clone(),
            run: backup.run.map(|run| run.to_string()),
            condition: backup.condition().as_str(),
            verified: verified.map(|(depth, _): (BackupDepth, _)| depth.as_str()),
            verified_at: verified.map(|(_, at)| at.to_string()),
            seq: backup.seq.0,
        }
    }
}

/// A key, as the log tells. What a verifier trusts comes from elsewhere.
#[derive(Debug, Clone, Serialize)]
pub struct KeyState {
    /// C2SP verifier key.
    pub key: String,
    /// `log` or `approver`.
    pub purpose: &'static str,
    /// The event that added it.
    pub added_seq: Option<u64>,
    /// The event that retired it; none of a key in force.
    pub retired_seq: Option<u64>,
    /// Of a retired log key: the largest log its signature counts for.
    pub counts_up_to: Option<u64>,
}

impl From<&KnownKey> for KeyState {
    fn from(known: &KnownKey) -> Self {
        Self {
            key: known.key.clone(),
            purpose: known.purpose.as_str(),
            added_seq: known.added.map(|(seq, _)| seq.0),
            retired_seq: known.retired.map(|retired| retired.seq.0),
            counts_up_to: known.retired.and_then(|retired| retired.size),
        }
    }
}

/// The largest head an anchor holds, as the log claims.
#[derive(Debug, Clone, Serialize)]
pub struct AnchorState {
    /// The anchor's name.
    pub anchor: String,
    /// What it is.
    pub kind: String,
    /// Events it is said to hold.
    pub size: u64,
    /// The event that says so.
    pub seq: u64,
    /// When that was recorded.
    pub at: String,
}

impl From<&AnchoredHead> for AnchorState {
    fn from(head: &AnchoredHead) -> Self {
        Self {
            anchor: head.anchor.clone(),
            kind: head.kind.clone(),
            size: head.size,
            seq: head.seq.0,
            at: head.at.to_string(),
        }
    }
}

/// Where the log went on.
#[derive(Debug, Clone, Serialize)]
pub struct HomeState {
    /// The home it left.
    pub from: String,
    /// The home it is in.
    pub to: String,
    /// The event.
    pub seq: u64,
    /// When it was recorded.
    pub at: String,
}

impl From<&Move> for HomeState {
    fn from(moved: &Move) -> Self {
        Self {
            from: moved.from.clone(),
            to: moved.to.clone(),
            seq: moved.seq.0,
            at: moved.at.to_string(),
        }
    }
}

/// The last emergency rollback.
#[derive(Debug, Clone, Serialize)]
pub struct EmergencyState {
    /// Why.
    pub reason: String,
    /// The run that rolls back.
    pub run: String,
    /// The version that was to be the last one applied; none for nothing applied.
    pub to_version: Option<String>,
    /// Who declared it.
    pub by: String,
    /// When that was recorded.
    pub at: String,
    /// How its run ended; none while that is not known.
    pub outcome: Option<&'static str>,
}

impl From<&Emergency> for EmergencyState {
    fn from(emergency: &Emergency) -> Self {
        Self {
            reason: emergency.reason.clone(),
            run: emergency.run.to_string(),
            to_version: emergency.to_version.as_ref().map(ToString::to_string),
            by: emergency.by.clone(),
            at: emergency.at.to_string(),
            outcome: emergency.end.as_ref().map(|end| RunOutcome::as_str(end.outcome)),
        }
    }
}

/// `annals state`.
#[derive(Debug, Clone, Serialize)]
pub struct StateDocument {
    /// `annals.state/3`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The last event that was folded.
    pub as_of: Option<Place>,
    /// The first event behind it.
    pub next: Option<Place>,
    /// What bounds these times beyond the writer's clock.
    pub time_bounds: TimeBoundsDocument,
    /// The time for which approvals count.
    pub judged_at: String,
    /// Whether the log was verified against its checkpoint; without one, or without the public
    /// key, only its links were.
    pub verified: bool,
    /// What it rests on: `replay`, or `cache@<seq>`.
    pub trust: String,
    /// Events a newer annals has written: this document does not know what they say.
    pub not_understood: u64,
    /// The database the log speaks of.
    pub target: Option<DatabaseState>,
    /// The migrations applied, in the order they were applied.
    pub applied: Vec<AppliedMigration>,
    /// The migrations the workspace held that were not applied; none where that is not known.
    pub pending: Option<Vec<PendingMigration>>,
    /// Why it is not known.
    pub pending_unknown: Option<String>,
    /// The migrations of the workspace, as they were last read.
    pub migrations_seen: Option<MigrationsSeenState>,
    /// The run under way.
    pub open_run: Option<RunState>,
    /// Who holds the target, as far as the log knows.
    pub lock_holder: Option<LockHolder>,
    /// The migration whose outcome is unknown.
    pub in_doubt: Vec<String>,
    /// The same step, with what is known of it.
    pub steps_in_doubt: Vec<StepState>,
    /// Migrations outside a transaction that stopped half-way.
    pub half_done: Vec<String>,
    /// The same steps, with what is known of them.
    pub steps_half_done: Vec<StepState>,
    /// The last run that ended.
    pub last_run: Option<RunState>,
    /// The last emergency rollback.
    pub last_emergency: Option<EmergencyState>,
    /// The newest version applied when a verification last passed.
    pub last_known_good: Option<String>,
    /// The last verification.
    pub last_integrity: Option<IntegrityState>,
    /// Fingerprint of the schema as the last run left it.
    pub schema_fingerprint: Option<String>,
    /// Approvals in force.
    pub approvals: Vec<ApprovalState>,
    /// Backups that are there, and nothing is known against them.
    pub usable_backups: Vec<BackupState>,
    /// Backups that are there and failed their verification.
    pub failed_backups: Vec<BackupState>,
    /// The keys the log speaks of.
    pub keys: Vec<KeyState>,
    /// The largest head each anchor holds, as the log claims.
    pub anchors: Vec<AnchorState>,
    /// Where the log went on, if it was moved.
    pub home: Option<HomeState>,
}

fn pending_of(pending: &Pending) -> (Option<Vec<PendingMigration>>, Option<String>) {
    match pending {
        Pending::NotRecorded => {
            (None, Some("the log does not say which migrations there were".to_owned()))
        }
        Pending::Unreadable { sighting, reason } => {
            let list = sighting.set.digest.short(12);
            let reason =
                format!("the list of the {} migrations, {list}…: {reason}", sighting.files);
            (None, Some(reason))
        }
        Pending::Known { migrations, .. } => {
            (Some(migrations.iter().map(PendingMigration::from).collect()), None)
        }
    }
}

fn applied(state: &State) -> Vec<AppliedMigration> {
    let applied = state.applied.applied().iter().map(|change| AppliedMigration {
        version: change.version.to_string(),
        name: change.name.clone(),
        at: change.at.to_string(),
        by: change.by.clone(),
        sha256: change.file.raw.to_string(),
        file: change.file.name.clone(),
        run: change.key.run.to_string(),
        seq: change.seq.0,
    });
    applied.collect()
}

fn backups(state: &State, wanted: impl Fn(&Backup) -> bool) -> Vec<BackupState> {
    let all = state.backups.iter().filter(|(_, backup)| wanted(backup));
    let mut all: Vec<_> = all.map(|(id, backup)| BackupState::new(id, backup)).collect();
    all.sort_by_key(|backup| backup.seq);
    all
}

impl From<&StateView> for StateDocument {
    fn from(view: &StateView) -> Self {
        let (vantage, state) = (&view.vantage, &view.state);
        let recovery = &state.recovery;
        // While its continuation is under way, a half done step is in doubt.
        let in_doubt = &recovery.open_steps;
        let doubtful = |version: &Version| in_doubt.iter().any(|step| step.version == *version);
        let half_done: Vec<&OpenStep> =
            recovery.partial.values().filter(|step| !doubtful(&step.version)).collect();
        let (pending, pending_unknown) = pending_of(&view.pending);
        let mut approvals: Vec<ApprovalState> = state
            .approvals
            .in_force(vantage.judged_at)
            .map(|(id, approval)| ApprovalState::new(id, approval))
            .collect();
        approvals.sort_by_key(|approval| approval.seq);
        Self {
            format: "annals.state/3",
            origin: vantage.origin.clone(),
            log_size: vantage.log_size,
            as_of: place(vantage.selection.last),
            next: place(vantage.selection.next),
            time_bounds: time_bounds(vantage),
            judged_at: vantage.judged_at.to_string(),
            verified: vantage.verified,
            trust: vantage.basis.to_string(),
            not_understood: state.counts.not_understood,
            target: recovery.target.as_ref().map(|target| DatabaseState {
                database: target.database.clone(),
                system_identifier: target.system_identifier.clone(),
                server_version: state.server.as_ref().map(|server| server.version.clone()),
                platform: state.server.as_ref().map(|server| server.platform.clone()),
            }),
            applied: applied(state),
            pending,
            pending_unknown,
            migrations_seen: state.seen.as_ref().map(MigrationsSeenState::from),
            open_run: recovery.open_run.as_ref().map(RunState::from),
            lock_holder: recovery.open_run.as_ref().map(|run| LockHolder {
                by: run.by.clone(),
                host: run.host.clone(),
                run: run.run.to_string(),
                since: run.at.to_string(),
            }),
            in_doubt: in_doubt.iter().map(OpenStep::id).collect(),
            steps_in_doubt: in_doubt.iter().map(StepState::from).collect(),
            half_done: half_done.iter().map(|step| step.id()).collect(),
            steps_half_done: half_done.iter().map(|step| StepState::from(*step)).collect(),
            last_run: recovery.last_run.as_ref().map(RunState::from),
            last_emergency: state.emergency.as_ref().map(EmergencyState::from),
            last_known_good: recovery.last_known_good.as_ref().map(ToString::to_string),
            last_integrity: recovery.last_integrity.as_ref().map(|checked| IntegrityState {
                at: checked.at.to_string(),
                result: if checked.passed { "passed" } else { "failed" },
                checks: checks(&checked.checks),
                findings: checked.findings,
                seq: checked.seq.0,
                report: checked.report.digest.to_string(),
            }),
            schema_fingerprint: recovery.schema.map(|picture| picture.snapshot.digest.to_string()),
            approvals,
            usable_backups: backups(state, Backup::is_usable),
            failed_backups: backups(state, |backup| backup.condition() == BackupCondition::Failed),
            keys: state.keys.iter().map(KeyState::from).collect(),
            anchors: state.anchors.iter().map(AnchorState::from).collect(),
            home: state.home.moved.as_ref().map(HomeState::from),
        }
    }
}
