//! `log show` and `log verify`.

use annals_events::Recorded;
use annals_operations::LogView;
use serde::Serialize;

/// One event.
#[derive(Debug, Clone, Serialize)]
pub struct LogEvent {
    /// Its place.
    pub seq: u64,
    /// Its leaf hash.
    pub leaf: String,
    /// When it was recorded.
    pub recorded_at: String,
    /// Its kind.
    pub kind: String,
    /// Who acted.
    pub actor: String,
    /// The fact in one line.
    pub summary: String,
}

/// `annals log show`.
#[derive(Debug, Clone, Serialize)]
pub struct LogShowDocument {
    /// `annals.log/1`.
    pub format: &'static str,
    /// The log.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// The events asked for.
    pub events: Vec<LogEvent>,
}

impl From<&LogView> for LogShowDocument {
    fn from(view: &LogView) -> Self {
        let events = view.events.iter().map(|recorded| LogEvent {
            seq: recorded.seq.0,
            leaf: recorded.leaf.to_string(),
            recorded_at: recorded.recorded_at.to_string(),
            kind: recorded.event.kind().to_owned(),
            actor: recorded.actor.name.clone(),
            summary: summary(recorded),
        });
        Self {
            format: "annals.log/1",
            origin: view.origin.clone(),
            log_size: view.log_size,
            events: events.collect(),
        }
    }
}

pub(crate) fn summary(recorded: &Recorded) -> String {
    use annals_events::Event as E;
    let step =
        |run: &annals_events::RunId, step: u64| format!("run {}, step {}", run.short(), step + 1);
    match &recorded.event {
        E::LogCreated(e) => format!("workspace {}, target {}", e.workspace, e.target),
        E::TargetRegistered(e) => format!("PostgreSQL {}, {}", e.server_version, e.platform),
        E::PlanMade(e) => {
            format!("plan {}…, {}, {} steps", e.plan.digest.short(12), e.direction, e.steps)
        }
        E::RunStarted(e) => format!("run {}, {}, {} steps", e.run.short(), e.direction, e.steps),
        E::StepStarted(e) => {
            format!("{}: {} {}_{}", step(&e.run, e.step), e.direction, e.version, e.name)
        }
        E::StatementStarted(e) => format!("{}, statement {}", step(&e.run, e.step), e.statement),
        E::StatementSucceeded(e) => {
            let found = e.found.as_ref().map(|found| format!(" ({found})")).unwrap_or_default();
            format!("{}, statement {}{found}", step(&e.run, e.step), e.statement)
        }
        E::StepSucceeded(e) => format!("{}, transaction {}", step(&e.run, e.step), e.transaction),
        E::StepFailed(e) => {
            format!("{}, effect {}: {}", step(&e.run, e.step), e.effect, e.error.message)
        }
        E::StepReconciled(e) => format!("{}: {}", step(&e.run, e.step), e.found),
        E::RunFinished(e) => {
            format!("run {}, {}, {} steps done", e.run.short(), e.outcome, e.steps_done)
        }
        E::SchemaRecorded(e) => {
            format!("{} objects, fingerprint {}…", e.objects, e.fingerprint.short(12))
        }
        E::IntegrityChecked(e) => format!("{}, {}, {} findings", e.level, e.result, e.findings),
        E::TailRepaired(e) => format!("{} bytes moved to quarantine/{}", e.bytes, e.quarantined_as),
        E::KeyAdded(e) => format!("{} key {}", e.purpose, e.key),
        E::KeyRetired(e) => {
            let until = e.size.map(|size| format!(", counts up to {size} events"));
            format!("{} key {}{}", e.purpose, e.key, until.unwrap_or_default())
        }
        E::CheckpointAnchored(e) => format!("{} ({}) holds {} events", e.anchor, e.kind, e.size),
        E::LogMoved(e) => format!("from {} to {}", e.from, e.to),
        E::StoreInstalled(e) => format!("{}, format {}", e.backend, e.format),
        E::StoreUpgraded(e) => format!("{}, format {} to {}", e.backend, e.from, e.to),
        E::MigrationsSeen(e) => format!("{} migrations, {}…", e.files, e.set.digest.short(12)),
        E::EmergencyDeclared(e) => format!("run {}: {}", e.run.short(), e.reason),
        E::ApprovalGiven(e) => format!("{} approves plan {}…", e.approver, e.plan.short(12)),
        E::ApprovalRevoked(e) => format!("approval {}: {}", e.approval, e.reason),
        E::BackupTaken(e) => format!("{}, {}, {} bytes", e.backup, e.kind, e.bytes),
        E::BackupVerified(e) => format!("{}, {}: {}", e.backup, e.depth, e.result),
        E::BackupFailed(e) => e.reason.clone(),
        E::BackupRemoved(e) => format!("{}: {}", e.backup, e.reason),
        E::DriftFound(e) => format!("{} objects, {}…", e.differences, e.found.short(12)),
        E::DriftAccepted(e) => format!("{} objects: {}", e.differences, e.reason),
        E::ProofRecorded(e) => format!("{}_{}: {}", e.version, e.name, e.verdict),
        E::RestoreStarted(e) => format!("{}, run {}", e.backup, e.run.short()),
        E::TargetRestored(e) => format!("{}, fingerprint {}…", e.backup, e.after.short(12)),
        E::RowsRestoreStarted(e) => format!("{}, run {}", e.backup, e.run.short()),
        E::RowsRestored(e) => {
            let rows: u64 = e.tables.iter().map(|table| table.inserted + table.replaced).sum();
            format!("{}, {rows} rows, run {}", e.backup, e.run.short())
        }
        E::ExternalBackupNamed(e) => format!("{}, run {}", e.name, e.run.short()),
        E::BackupRekeyed(e) => format!("{}: {}", e.backup, e.recipients.join(", ")),
        E::EmergencyFinished(e) => format!("run {}, by {}: {}", e.run.short(), e.way, e.result),
        E::EmergencyRehearsed(e) => format!("{}, by {}: {}", e.backup, e.way, e.result),
        E::BreakGlassUsed(e) => {
            format!("run {} without {}: {}", e.run.short(), e.without, e.reason)
        }
        E::BreakGlassReviewed(e) => format!("run {}: {}", e.run.short(), e.note),
        E::ApproversChanged(e) => {
            format!("{} approvers, {}…", e.approvers, e.list.digest.short(12))
        }
        E::BaselineAdopted(e) => format!(
            "{}: {} {}_{} ({}), {}",
            step(&e.run, e.step),
            e.direction,
            e.version,
            e.name,
            e.basis,
            if e.holds { "in effect" } else { "not in effect" }
        ),
        E::Unknown(e) => format!("from a newer annals (schema {})", e.schema),
    }
}
