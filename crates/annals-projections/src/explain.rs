//! Every event about one thing, with what it rests on.
//!
//! A log is read twice: a [`Search`] finds what belongs to the thing asked for, because a plan and
//! its approvals stand before the step that makes them matter; then an [`Explanation`] collects.

use std::collections::BTreeSet;

use annals_events::{
    ApprovalId, BackupId, Digest, Event, FileRef, LeafHash, ParentLog, Recorded, RecordedError,
    RunId, Seq, StepKey, Timestamp, Version,
};

use crate::replay::Projection;
use crate::timeline::{Timeline, TimelineEntry, failed_families, subject};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A migration.
    Version(Version),
    /// A run, by its whole name.
    Run(RunId),
    /// A run, by its short name: the last eight hexadecimal digits.
    ShortRun(String),
    /// An event, and what it belongs to.
    Seq(Seq),
}

impl Question {
    /// Everything `text` can mean, the likeliest first: a run's name in full, a run's short name,
    /// a version, a place in the log.
    pub fn readings(text: &str) -> Vec<Self> {
        let run = text.parse().ok().filter(|_| text.contains('-'));
        let is_short = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let short = is_short.then(|| Self::ShortRun(text.to_ascii_lowercase()));
        let version = text.parse().ok().map(Self::Version);
        let seq = text.parse().ok().map(|seq| Self::Seq(Seq(seq)));
        [run.map(Self::Run), short, version, seq].into_iter().flatten().collect()
    }
}

/// What belongs to the thing asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Scope {
    runs: BTreeSet<RunId>,
    /// Of these runs, only these steps; all of them if there are none.
    steps: BTreeSet<StepKey>,
    plans: BTreeSet<Digest>,
    approvals: BTreeSet<ApprovalId>,
    backups: BTreeSet<BackupId>,
    keys: BTreeSet<String>,
    events: BTreeSet<Seq>,
}

/// The first reading of the log: what belongs to the thing asked for.
#[derive(Debug, Clone)]
pub struct Search {
    question: Question,
    scope: Scope,
    /// The run that began last, and its plan.
    last_run: Option<(RunId, Digest)>,
    found: bool,
}

impl Search {
    /// Before the first event.
    pub fn new(question: Question) -> Self {
        Self { question, scope: Scope::default(), last_run: None, found: false }
    }

    /// What is asked for.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Whether the log speaks of it.
    pub fn has_found(&self) -> bool {
        self.found
    }

    /// Looks at the next event.
    pub fn take(&mut self, recorded: &Recorded) {
        if let Event::RunStarted(started) = &recorded.event {
            self.last_run = Some((started.run, started.plan));
            if self.scope.plans.contains(&started.plan) {
                self.add_run(started.run);
            }
        }
        match &self.question {
            Question::Version(version) => {
                let step = match &recorded.event {
                    Event::StepStarted(e) if e.version == *version => Some(e.key()),
                    Event::BaselineAdopted(e) if e.version == *version => Some(e.key()),
                    Event::ProofRecorded(e) if e.version == *version => {
                        self.found = true;
                        self.scope.events.insert(recorded.seq);
                        None
                    }
                    _ => None,
                };
                if let Some(step) = step {
                    self.found = true;
                    self.add_step(step);
                }
            }
            Question::Run(run) => {
                let run = *run;
                self.run_if(recorded, |of| of == run);
            }
            Question::ShortRun(short) => {
                let short = short.clone();
                self.run_if(recorded, |of| of.short() == short);
            }
            Question::Seq(seq) if *seq == recorded.seq => {
                self.found = true;
                self.scope.events.insert(recorded.seq);
                self.add_what_it_belongs_to(&recorded.event);
            }
            Question::Seq(_) => {}
        }
    }

    fn run_if(&mut self, recorded: &Recorded, wanted: impl Fn(RunId) -> bool) {
        let (run, _) = subject(&recorded.event);
        if let Some(run) = run.filter(|run| wanted(*run)) {
            self.found = true;
            self.add_run(run);
        }
    }

    fn add_run(&mut self, run: RunId) {
        self.scope.runs.insert(run);
        let plan = self.last_run.filter(|(last, _)| *last == run).map(|(_, plan)| plan);
        self.scope.plans.extend(plan);
    }

    fn add_step(&mut self, key: StepKey) {
        self.add_run(key.run);
        self.scope.steps.insert(key);
    }

    fn add_what_it_belongs_to(&mut self, event: &Event) {
        match subject(event) {
            (Some(run), Some(step)) => self.add_step(StepKey { run, step }),
            (Some(run), None) => self.add_run(run),
            (None, _) => {}
        }
        let scope = &mut self.scope;
        match event {
            Event::PlanMade(made) => {
                scope.plans.insert(made.plan.digest);
            }
            Event::KeyAdded(added) => {
                scope.keys.insert(added.key.clone());
            }
            Event::KeyRetired(retired) => {
                scope.keys.insert(retired.key.clone());
            }
            Event::ApprovalGiven(given) => {
                scope.approvals.insert(given.approval);
                scope.plans.insert(given.plan);
            }
            Event::ApprovalRevoked(revoked) => {
                scope.approvals.insert(revoked.approval);
            }
            Event::BackupTaken(taken) => {
                scope.backups.insert(taken.backup);
            }
            Event::BackupVerified(verified) => {
                scope.backups.insert(verified.backup);
            }
            Event::BackupRemoved(removed) => {
                scope.backups.insert(removed.backup);
            }
            Event::RestoreStarted(started) => {
                scope.backups.insert(started.backup);
            }
            Event::TargetRestored(restored) => {
                scope.backups.insert(restored.backup);
            }
            Event::RowsRestoreStarted(started) => {
                scope.backups.insert(started.backup);
            }
            Event::RowsRestored(restored) => {
                scope.backups.insert(restored.backup);
            }
            Event::BackupRekeyed(rekeyed) => {
                scope.backups.insert(rekeyed.backup);
            }
            Event::EmergencyRehearsed(rehearsed) => {
                scope.backups.insert(rehearsed.backup);
            }
            Event::LogCreated(_)
            | Event::TargetRegistered(_)
            | Event::RunStarted(_)
            | Event::StepStarted(_)
            | Event::StatementStarted(_)
            | Event::StatementSucceeded(_)
            | Event::StepSucceeded(_)
            | Event::StepFailed(_)
            | Event::StepReconciled(_)
            | Event::RunFinished(_)
            | Event::SchemaRecorded(_)
            | Event::IntegrityChecked(_)
            | Event::DriftFound(_)
            | Event::DriftAccepted(_)
            | Event::ProofRecorded(_)
            | Event::TailRepaired(_)
            | Event::CheckpointAnchored(_)
            | Event::LogMoved(_)
            | Event::StoreInstalled(_)
            | Event::StoreUpgraded(_)
            | Event::MigrationsSeen(_)
            | Event::EmergencyDeclared(_)
            | Event::BaselineAdopted(_)
            | Event::BackupFailed(_)
            | Event::EmergencyFinished(_)
            | Event::BreakGlassUsed(_)
            | Event::BreakGlassReviewed(_)
            | Event::ApproversChanged(_)
            | Event::ExternalBackupNamed(_)
            | Event::Unknown(_) => {}
        }
    }
}

/// An event, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The event in one line.
    pub entry: TimelineEntry,
    /// Leaf hash of its line: whoever holds the line can compute it.
    pub leaf: LeafHash,
    /// When it happened by the writer's clock.
    pub occurred_at: Timestamp,
    /// The machine it was recorded on.
    pub host: String,
    /// The program that recorded it.
    pub tool: String,
    /// What else it states, by name.
    pub evidence: Vec<(&'static str, String)>,
}

/// The second reading of the log: every event about the thing asked for.
#[derive(Debug, Clone)]
pub struct Explanation {
    question: Question,
    scope: Scope,
    timeline: Timeline,
    events: Vec<Explained>,
}

impl Explanation {
    /// Of what `search` has found, before the first event.
    pub fn of(search: Search) -> Self {
        let Search { question, scope, .. } = search;
        Self { question, scope, timeline: Timeline::default(), events: Vec::new() }
    }

    /// What is asked for.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The runs that have to do with it.
    pub fn runs(&self) -> impl Iterator<Item = RunId> {
        self.scope.runs.iter().copied()
    }

    /// Every event about it so far, oldest first.
    pub fn events(&self) -> &[Explained] {
        &self.events
    }

    /// Looks at the next event.
    pub fn take(&mut self, recorded: &Recorded) {
        if self.is_about(recorded) {
            self.follow(&recorded.event);
            self.events.push(Explained {
                entry: self.timeline.tell(recorded),
                leaf: recorded.leaf,
                occurred_at: recorded.occurred_at,
                host: recorded.actor.host.clone(),
                tool: recorded.actor.tool.clone(),
                evidence: evidence(&self.timeline, recorded),
            });
        }
        self.timeline.apply(recorded);
    }

    /// What the event names is about it from then on.
    fn follow(&mut self, event: &Event) {
        if let Event::ApprovalGiven(given) = event {
            self.scope.approvals.insert(given.approval);
        }
        if let Event::BackupTaken(taken) = event {
            self.scope.backups.insert(taken.backup);
        }
    }

    /// Whether the event is about it.
    fn is_about(&self, recorded: &Recorded) -> bool {
        let scope = &self.scope;
        let of_run = match subject(&recorded.event) {
            (Some(run), Some(step)) => {
                let steps = &scope.steps;
                let wanted = steps.is_empty() || steps.contains(&StepKey { run, step });
                scope.runs.contains(&run) && wanted
            }
            (Some(run), None) => scope.runs.contains(&run),
            (None, _) => false,
        };
        let otherwise = match &recorded.event {
            Event::LogCreated(created) => scope.keys.contains(&created.checkpoint_key),
            Event::PlanMade(made) => scope.plans.contains(&made.plan.digest),
            Event::KeyAdded(added) => scope.keys.contains(&added.key),
            Event::KeyRetired(retired) => scope.keys.contains(&retired.key),
            Event::ApprovalGiven(given) => {
                scope.plans.contains(&given.plan) || scope.approvals.contains(&given.approval)
            }
            Event::ApprovalRevoked(revoked) => scope.approvals.contains(&revoked.approval),
            Event::BackupTaken(taken) => scope.backups.contains(&taken.backup),
            Event::BackupVerified(verified) => scope.backups.contains(&verified.backup),
            Event::BackupRemoved(removed) => scope.backups.contains(&removed.backup),
            Event::RestoreStarted(started) => scope.backups.contains(&started.backup),
            Event::TargetRestored(restored) => scope.backups.contains(&restored.backup),
            Event::BackupRekeyed(rekeyed) => scope.backups.contains(&rekeyed.backup),
            Event::RowsRestoreStarted(started) => scope.backups.contains(&started.backup),
            Event::RowsRestored(restored) => scope.backups.contains(&restored.backup),
            Event::EmergencyRehearsed(rehearsed) => scope.backups.contains(&rehearsed.backup),
            Event::TargetRegistered(_)
            | Event::RunStarted(_)
            | Event::StepStarted(_)
            | Event::StatementStarted(_)
            | Event::StatementSucceeded(_)
            | Event::StepSucceeded(_)
            | Event::StepFailed(_)
            | Event::StepReconciled(_)
            | Event::RunFinished(_)
            | Event::SchemaRecorded(_)
            | Event::IntegrityChecked(_)
            | Event::DriftFound(_)
            | Event::DriftAccepted(_)
            | Event::ProofRecorded(_)
            | Event::TailRepaired(_)
            | Event::CheckpointAnchored(_)
            | Event::LogMoved(_)
            | Event::StoreInstalled(_)
            | Event::StoreUpgraded(_)
            | Event::MigrationsSeen(_)
            | Event::EmergencyDeclared(_)
            | Event::BaselineAdopted(_)
            | Event::BackupFailed(_)
            | Event::EmergencyFinished(_)
            | Event::BreakGlassUsed(_)
            | Event::BreakGlassReviewed(_)
            | Event::ApproversChanged(_)
            | Event::ExternalBackupNamed(_)
            | Event::Unknown(_) => false,
        };
        of_run || otherwise || scope.events.contains(&recorded.seq)
    }
}

/// What an event states, for whoever wants to check it.
fn evidence(timeline: &Timeline, recorded: &Recorded) -> Vec<(&'static str, String)> {
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    let mut add = |name, value: String| facts.push((name, value));
    match &recorded.event {
        Event::LogCreated(e) => {
            add("checkpoint_key", e.checkpoint_key.clone());
            add("format", e.format.to_string());
        }
        Event::TargetRegistered(e) => {
            add("platform", e.platform.clone());
            if let Some(reason) = &e.reason {
                add("reason", reason.clone());
            }
            add("server_version", e.server_version.clone());
        }
        Event::PlanMade(e) => {
            add("plan", e.plan.digest.to_string());
            add("plan_bytes", e.plan.size.to_string());
        }
        Event::RunStarted(e) => {
            add("plan", e.plan.to_string());
            add("run", e.run.to_string());
        }
        Event::StepStarted(e) => {
            add_file(&mut add, ["file", "file_sha256", "file_statements_sha256"], &e.file);
            if let Some(rollback) = &e.rollback {
                let names = ["rollback", "rollback_sha256", "rollback_statements_sha256"];
                add_file(&mut add, names, rollback);
            }
            add("mode", e.mode.to_string());
            add("ordinal", e.ordinal.to_string());
            add("statements", e.statements.to_string());
            // What the target's ledger must hold of this step, once it took effect.
            add("ledger_log_origin", recorded.origin.to_string());
            add("ledger_intent_seq", recorded.seq.to_string());
            add("ledger_intent_hash", recorded.leaf.to_string());
        }
        Event::StatementStarted(e) => {
            add("statement", e.statement.to_string());
            add("statement_sha256", e.sql.to_string());
        }
        Event::StatementSucceeded(e) => {
            add("statement", e.statement.to_string());
            add("duration_us", e.duration_us.to_string());
            add_some(&mut add, "found", e.found.as_ref());
        }
        Event::StepSucceeded(e) => {
            add("transaction", e.transaction.clone());
            add("duration_us", e.duration_us.to_string());
            add_intent(&mut add, timeline, e.key());
        }
        Event::StepFailed(e) => {
            add("effect", e.effect.to_string());
            add("duration_us", e.duration_us.to_string());
            add_error(&mut add, &e.error);
            add_intent(&mut add, timeline, e.key());
        }
        Event::StepReconciled(e) => {
            let evidence = &e.evidence;
            add("found", e.found.to_string());
            add("ledger_row", evidence.ledger_row.to_string());
            add("statements_done", evidence.statements_done.to_string());
            add_some(&mut add, "transaction", evidence.transaction.as_ref());
            add_some(&mut add, "transaction_status", evidence.transaction_status.as_ref());
            add_intent(&mut add, timeline, e.key());
        }
        Event::RunFinished(e) => {
            add("outcome", e.outcome.to_string());
            add("steps_done", e.steps_done.to_string());
            add_some(&mut add, "reason", e.reason.as_ref());
        }
        Event::SchemaRecorded(e) => {
            add("schema_fingerprint", e.fingerprint.to_string());
            add("picture", e.snapshot.digest.to_string());
            add("objects", e.objects.to_string());
            add("server_major", e.server_major.to_string());
        }
        Event::IntegrityChecked(e) => {
            add("result", e.result.to_string());
            add("level", e.level.to_string());
            add("report", e.report.digest.to_string());
            add("findings", e.findings.to_string());
            let failed = failed_families(&e.checks);
            if !failed.is_empty() {
                add("failed", failed.join(", "));
            }
        }
        Event::TailRepaired(e) => {
            add("moved_bytes", e.bytes.to_string());
            add("moved_sha256", e.digest.to_string());
            add("quarantined_as", e.quarantined_as.clone());
        }
        Event::KeyAdded(e) => add("key", e.key.clone()),
        Event::KeyRetired(e) => {
            add("key", e.key.clone());
            add_some(&mut add, "counts_up_to", e.size.as_ref());
        }
        Event::CheckpointAnchored(e) => {
            add("anchor", e.anchor.clone());
            add("anchor_kind", e.kind.clone());
            add("size", e.size.to_string());
            add("root", e.root.to_string());
        }
        Event::LogMoved(e) => {
            add("from", e.from.clone());
            add("to", e.to.clone());
        }
        Event::StoreInstalled(e) => add("store_format", e.format.to_string()),
        Event::StoreUpgraded(e) => add("store_format", e.to.to_string()),
        Event::MigrationsSeen(e) => add("migrations", e.set.digest.to_string()),
        Event::EmergencyDeclared(e) => {
            add("run", e.run.to_string());
            add("reason", e.reason.clone());
            add_some(&mut add, "to_version", e.to_version.as_ref());
        }
        Event::ApprovalGiven(e) => {
            add("approval", e.approval.to_string());
            add("plan", e.plan.to_string());
            add("key", e.key.clone());
            add("signature", e.signature.clone());
            add_some(&mut add, "expires_at", e.expires_at.as_ref());
        }
        Event::ApprovalRevoked(e) => {
            add("approval", e.approval.to_string());
            add("reason", e.reason.clone());
        }
        Event::BackupTaken(e) => {
            add("backup", e.backup.to_string());
            add("manifest", e.manifest.digest.to_string());
            add("bytes", e.bytes.to_string());
        }
        Event::BackupVerified(e) => {
            add("backup", e.backup.to_string());
            add("depth", e.depth.to_string());
            add("result", e.result.to_string());
        }
        Event::BackupFailed(e) => add("reason", e.reason.clone()),
        Event::BackupRemoved(e) => {
            add("backup", e.backup.to_string());
            add("reason", e.reason.clone());
        }
        Event::RestoreStarted(e) => {
            add("backup", e.backup.to_string());
            add("before", e.before.to_string());
            add("after", e.after.to_string());
            add_some(&mut add, "keep_as", e.keep_as.as_ref());
            add_some(&mut add, "scratch", e.scratch.as_ref());
            add("target_oid", e.target_oid.to_string());
            add_some(&mut add, "restored_oid", e.restored_oid.as_ref());
            add("log_size", e.log_size.to_string());
            add("server_major", e.server_major.to_string());
        }
        Event::TargetRestored(e) => {
            add("backup", e.backup.to_string());
            add_some(&mut add, "before", e.before.as_ref());
            add("after", e.after.to_string());
            add_some(&mut add, "kept_as", e.kept_as.as_ref());
            add("log_size", e.log_size.to_string());
            add("server_major", e.server_major.to_string());
        }
        Event::RowsRestoreStarted(e) => {
            add("backup", e.backup.to_string());
            add("rows", e.rows.to_string());
            add("tables", e.tables.join(", "));
        }
        Event::RowsRestored(e) => {
            add("backup", e.backup.to_string());
            for table in &e.tables {
                let (name, inserted, replaced) = (&table.table, table.inserted, table.replaced);
                add("table", format!("{name}: {inserted} inserted, {replaced} replaced"));
            }
        }
        Event::ExternalBackupNamed(e) => {
            add("name", e.name.clone());
            add("evidence", e.evidence.clone());
            add("lsn", e.lsn.clone());
        }
        Event::BackupRekeyed(e) => {
            add("backup", e.backup.to_string());
            add("bytes", e.bytes.to_string());
            add("recipients", e.recipients.join(", "));
        }
        Event::EmergencyFinished(e) => {
            add("run", e.run.to_string());
            add("way", e.way.to_string());
            add("result", e.result.to_string());
            add("duration_us", e.duration_us.to_string());
            add_some(&mut add, "lost_rows", e.lost_rows.as_ref());
            add("terminated", e.terminated.to_string());
        }
        Event::EmergencyRehearsed(e) => {
            add("backup", e.backup.to_string());
            add("way", e.way.to_string());
            add("result", e.result.to_string());
            add("duration_us", e.duration_us.to_string());
            add("restore_us", e.restore_us.to_string());
            add("steps", e.steps.to_string());
            add_some(&mut add, "to_version", e.to_version.as_ref());
        }
        Event::BreakGlassUsed(e) => {
            add("run", e.run.to_string());
            add("without", e.without.to_string());
            add("reason", e.reason.clone());
            add_some(&mut add, "journal", e.journal.as_ref());
        }
        Event::BreakGlassReviewed(e) => {
            add("run", e.run.to_string());
            add("note", e.note.clone());
        }
        Event::ApproversChanged(e) => {
            add("approvers", e.approvers.to_string());
            add_some(&mut add, "before", e.before.as_ref());
            add("list", e.list.digest.to_string());
        }
        Event::DriftFound(e) => {
            add("differences", e.differences.to_string());
            add("expected", e.expected.to_string());
            add("found", e.found.to_string());
            add("report", e.report.digest.to_string());
            add("server_major", e.server_major.to_string());
        }
        Event::DriftAccepted(e) => {
            add("differences", e.differences.to_string());
            add("reason", e.reason.clone());
            add("report", e.report.digest.to_string());
            add_some(&mut add, "expected_major", e.expected_major.as_ref());
            add("server_major", e.server_major.to_string());
        }
        Event::ProofRecorded(e) => {
            add("verdict", e.verdict.to_string());
            add_some(&mut add, "chain", e.chain.as_ref());
            add("batch", e.batch.to_string());
            add_file(&mut add, ["file", "file_sha256", "file_statements_sha256"], &e.file);
            if let Some(rollback) = &e.rollback {
                let names = ["rollback", "rollback_sha256", "rollback_statements_sha256"];
                add_file(&mut add, names, rollback);
            }
            add("before", e.before.to_string());
            add_some(&mut add, "after", e.after.as_ref());
            add("lost_rows", e.lost_rows.to_string());
            add("report", e.report.digest.to_string());
            add("server_major", e.server_major.to_string());
        }
        Event::BaselineAdopted(e) => {
            add("basis", e.basis.to_string());
            add("holds", e.holds.to_string());
            add("ordinal", e.ordinal.to_string());
            add_file(&mut add, ["file", "file_sha256", "file_statements_sha256"], &e.file);
            add("file_standing", e.evidence.file.to_string());
            add("found", e.evidence.found.clone());
            if let Some(row) = &e.evidence.row {
                add("earlier_log_origin", row.origin.clone());
                add("earlier_intent_seq", row.intent_seq.to_string());
                add("earlier_intent_hash", row.intent_hash.to_string());
                add("earlier_run", row.run.to_string());
                add("transaction", row.transaction.clone());
            }
            if let Some(parent) = &e.parent {
                let ParentLog { leaf, origin, size } = &**parent;
                add("parent_head", format!("{origin}, {size} events, {leaf}"));
            }
            add_some(&mut add, "timeline_then", e.evidence.timeline_then.as_ref());
            add_some(&mut add, "timeline", e.evidence.timeline.as_ref());
            add_some(&mut add, "transaction_status", e.evidence.transaction_status.as_ref());
            add_some(&mut add, "reason", e.reason.as_ref());
            if e.holds {
                add("ledger_log_origin", recorded.origin.to_string());
                add("ledger_intent_seq", recorded.seq.to_string());
                add("ledger_intent_hash", recorded.leaf.to_string());
            }
        }
        Event::Unknown(e) => add("data", e.data.clone()),
    }
    facts
}

fn add_some(
    add: &mut impl FnMut(&'static str, String),
    name: &'static str,
    value: Option<&impl ToString>,
) {
    if let Some(value) = value {
        add(name, value.to_string());
    }
}

fn add_file(
    add: &mut impl FnMut(&'static str, String),
    [name, raw, canonical]: [&'static str; 3],
    file: &FileRef,
) {
    add(name, file.name.clone());
    add(raw, file.raw.to_string());
    add(canonical, file.canonical.to_string());
}

fn add_error(add: &mut impl FnMut(&'static str, String), error: &RecordedError) {
    add("error", error.message.clone());
    add_some(add, "sqlstate", error.code.as_ref());
    add_some(add, "line", error.line.as_ref());
    add_some(add, "statement", error.statement.as_ref());
}

/// The event that announced a step.
fn add_intent(add: &mut impl FnMut(&'static str, String), timeline: &Timeline, key: StepKey) {
    if let Some(step) = timeline.step(key) {
        add("intent_seq", step.intent_seq.to_string());
        add("intent_hash", step.intent_hash.to_string());
    }
}
