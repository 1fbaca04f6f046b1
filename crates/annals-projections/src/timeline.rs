//! One line for each event, for people, with what came before in mind.

use std::collections::{BTreeMap, VecDeque};

use annals_events::{
    AdoptionBasis, ApprovalId, BaselineAdopted, CheckOutcome, CheckResults, Digest, Direction,
    DriftAccepted, Effect, Event, LeafHash, ProofRecorded, ProofVerdict, ReconciledAs, Recorded,
    RecordedError, RowsRestored, RowsWanted, RunFinished, RunId, RunOutcome, Seq, StepKey,
    Timestamp,
};

use crate::replay::Projection;

/// How an event is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something took effect, or passed.
    Good,
    /// Something went wrong.
    Bad,
    /// Something to know.
    Note,
    /// A detail on the way.
    Plain,
}

impl Tone {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Note => "note",
            Self::Plain => "plain",
        }
    }
}

/// An event in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Its place.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
    /// Its kind.
    pub kind: String,
    /// Who acted.
    pub by: String,
    /// How it is to be read.
    pub tone: Tone,
    /// What happened.
    pub text: String,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// The migration it speaks of: `<version>_<name>`.
    pub migration: Option<String>,
}

/// A step as its intent announced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownStep {
    pub(crate) id: String,
    pub(crate) direction: Direction,
    pub(crate) intent_seq: Seq,
    pub(crate) intent_hash: LeafHash,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownRun {
    run: RunId,
    direction: Option<Direction>,
    planned: u64,
    emergency: bool,
    steps: BTreeMap<u64, KnownStep>,
    done: Vec<String>,
}

/// The timeline: what has to be remembered of earlier events to tell the next one.
///
/// It remembers the last runs, at most [`Timeline::REMEMBERED_RUNS`], and who gave which approval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    runs: VecDeque<KnownRun>,
    approvals: BTreeMap<ApprovalId, (String, Digest)>,
}

impl Timeline {
    /// Runs remembered. One is open at a time; more only if a log makes no sense.
    pub const REMEMBERED_RUNS: usize = 8;

    /// Tells the next event, and remembers it.
    pub fn next(&mut self, recorded: &Recorded) -> TimelineEntry {
        let entry = self.tell(recorded);
        self.apply(recorded);
        entry
    }

    fn run(&self, run: RunId) -> Option<&KnownRun> {
        self.runs.iter().rev().find(|known| known.run == run)
    }

    fn run_mut(&mut self, run: RunId) -> &mut KnownRun {
        if let Some(at) = self.runs.iter().rposition(|known| known.run == run) {
            return &mut self.runs[at];
        }
        if self.runs.len() == Self::REMEMBERED_RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(KnownRun {
            run,
            direction: None,
            planned: 0,
            emergency: false,
            steps: BTreeMap::new(),
            done: Vec::new(),
        });
        self.runs.back_mut().expect("it was pushed just now")
    }

    pub(crate) fn step(&self, key: StepKey) -> Option<&KnownStep> {
        self.run(key.run)?.steps.get(&key.step)
    }

    fn step_name(&self, key: StepKey) -> String {
        let known = self.step(key).map(|step| step.id.clone());
        known.unwrap_or_else(|| format!("step {} of run {}", key.step + 1, key.run.short()))
    }

    fn took_effect(&mut self, key: StepKey) {
        let Some(id) = self.step(key).map(|step| step.id.clone()) else { return };
        self.run_mut(key.run).done.push(id);
    }

    /// What `done` did with a step.
    fn verb(&self, key: StepKey) -> &'static str {
        match self.step(key).map(|step| step.direction) {
            Some(Direction::Up) => "applied",
            Some(Direction::Down) => "rolled back",
            None => "done:",
        }
    }

    fn run_finished(&self, finished: &RunFinished) -> (Tone, String) {
        let known = self.run(finished.run);
        let done = known.map(|run| in_short(&run.done)).filter(|done| !done.is_empty());
        let verb = match known.and_then(|run| run.direction) {
            Some(Direction::Up) => "applied ",
            Some(Direction::Down) => "rolled back ",
            None => "",
        };
        let done = done.map(|done| format!(": {verb}{done}")).unwrap_or_default();
        let run = finished.run.short();
        let kind = if known.is_some_and(|run| run.emergency) { "emergency run" } else { "run" };
        let reason = finished.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
        let planned = known.map(|run| run.planned).filter(|planned| *planned > 0);
        let after = match planned {
            Some(planned) => format!("after {} of {}", finished.steps_done, steps(planned)),
            None => format!("after {}", steps(finished.steps_done)),
        };
        match finished.outcome {
            RunOutcome::Succeeded => (Tone::Good, format!("{kind} {run} succeeded{done}")),
            RunOutcome::Failed => (Tone::Bad, format!("{kind} {run} failed {after}{reason}")),
            RunOutcome::Interrupted => {
                (Tone::Note, format!("{kind} {run} was interrupted {after}{reason}"))
            }
        }
    }

    fn words(&self, recorded: &Recorded) -> (Tone, String) {
        use Event as E;
        use Tone::{Bad, Good, Note, Plain};
        match &recorded.event {
            E::LogCreated(e) => {
                (Plain, format!("log of workspace {}, target {} began", e.workspace, e.target))
            }
            E::TargetRegistered(e) => {
                let database = recorded.target.as_ref().map(|target| target.database.as_str());
                let database = database.unwrap_or("a database");
                let server = format!("PostgreSQL {}, {}", e.server_version, e.platform);
                match &e.reason {
                    None => (Plain, format!("tied to {database}: {server}")),
                    Some(why) => (Note, format!("tied to {database} anew: {server}: {why}")),
                }
            }
            E::PlanMade(e) => {
                let (plan, steps) = (e.plan.digest.short(12), steps(e.steps));
                (Plain, format!("plan {plan}… made: {}, {steps}", e.direction))
            }
            E::RunStarted(e) => {
                let (run, steps) = (e.run.short(), steps(e.steps));
                let plan = e.plan.short(12);
                (Plain, format!("run {run} began: {}, {steps}, plan {plan}…", e.direction))
            }
            E::StepStarted(e) => {
                let verb = match e.direction {
                    Direction::Up => "applying",
                    Direction::Down => "rolling back",
                };
                (Plain, format!("{verb} {}_{} in run {}", e.version, e.name, e.run.short()))
            }
            E::StatementStarted(e) => {
                (Plain, format!("{}: statement {} began", self.step_name(e.key()), e.statement))
            }
            E::StatementSucceeded(e) => {
                let found = e.found.as_ref().map(|found| format!(", found: {found}"));
                let (step, found) = (self.step_name(e.key()), found.unwrap_or_default());
                (Plain, format!("{step}: statement {} took effect{found}", e.statement))
            }
            E::StepSucceeded(e) => {
                let (verb, step) = (self.verb(e.key()), self.step_name(e.key()));
                (Good, format!("{verb} {step} in {}", duration(e.duration_us)))
            }
            E::StepFailed(e) => {
                let step = self.step_name(e.key());
                let left = match e.effect {
                    Effect::None => "failed and left nothing",
                    Effect::Partial => "stopped half-way",
                };
                (Bad, format!("{step} {left}: {}", error(&e.error)))
            }
            E::StepReconciled(e) => {
                let step = self.step_name(e.key());
                let (tone, found) = match e.found {
                    ReconciledAs::TookEffect => (Good, "had taken effect"),
                    ReconciledAs::NoEffect => (Note, "had left nothing"),
                    ReconciledAs::Partial => (Bad, "had stopped half-way"),
                };
                (tone, format!("settled from evidence: {step} {found}"))
            }
            E::RunFinished(e) => self.run_finished(e),
            E::SchemaRecorded(e) => {
                let after = e.run.zip(e.step).map(|(run, step)| StepKey { run, step });
                let after = after.map(|key| format!(" after {}", self.step_name(key)));
                let (fingerprint, after) = (e.fingerprint.short(12), after.unwrap_or_default());
                (Plain, format!("schema recorded{after}: {} objects, {fingerprint}…", e.objects))
            }
            E::IntegrityChecked(e) => match e.result {
                CheckOutcome::Passed => (Good, "verification passed".to_owned()),
                CheckOutcome::Failed => {
                    let families = failed_families(&e.checks);
                    let families = Some(families).filter(|families| !families.is_empty());
                    let place = families.map(|families| format!(" in {}", families.join(", ")));
                    let (findings, place) = (e.findings, place.unwrap_or_default());
                    (Bad, format!("verification failed: {findings} findings{place}"))
                }
                CheckOutcome::NotChecked => (Note, "verification: nothing checked".to_owned()),
            },
            E::TailRepaired(e) => {
                let (bytes, to) = (e.bytes, &e.quarantined_as);
                (Note, format!("tail repaired: {bytes} bytes moved to quarantine/{to}"))
            }
            E::KeyAdded(e) => (Note, format!("{} key {} added", e.purpose, key_name(&e.key))),
            E::KeyRetired(e) => {
                let size = e.size.map(|size| format!("; it counts up to {size} events"));
                let (key, size) = (key_name(&e.key), size.unwrap_or_default());
                (Note, format!("{} key {key} retired{size}", e.purpose))
            }
            E::CheckpointAnchored(e) => {
                (Plain, format!("first {} events anchored in {} ({})", e.size, e.anchor, e.kind))
            }
            E::LogMoved(e) => (Note, format!("log moved from {} to {}", e.from, e.to)),
            E::StoreInstalled(e) => {
                (Note, format!("{} store installed, format {}", e.backend, e.format))
            }
            E::StoreUpgraded(e) => {
                let (backend, from, to) = (&e.backend, e.from, e.to);
                (Note, format!("{backend} store upgraded from format {from} to {to}"))
            }
            E::MigrationsSeen(e) => {
                (Plain, format!("migrations read: {} in the workspace", e.files))
            }
            E::EmergencyDeclared(e) => {
                let to = e.to_version.as_ref().map(|version| format!("to {version}"));
                let to = to.unwrap_or_else(|| "of everything".to_owned());
                let (run, reason) = (e.run.short(), &e.reason);
                (Bad, format!("emergency rollback {to} declared for run {run}: {reason}"))
            }
            E::ApprovalGiven(e) => {
                let until = e.expires_at.map(|at| format!(" until {}", at.to_human()));
                let (plan, until) = (e.plan.short(12), until.unwrap_or_default());
                (Good, format!("{} approved plan {plan}…{until}", e.approver))
            }
            E::ApprovalRevoked(e) => {
                let known = self.approvals.get(&e.approval);
                let whose =
                    known.map(|(who, plan)| format!("by {who} of plan {}…", plan.short(12)));
                let whose = whose.unwrap_or_else(|| e.approval.to_string());
                (Note, format!("approval {whose} revoked: {}", e.reason))
            }
            E::BackupTaken(e) => {
                let run = e.run.map(|run| format!(" for run {}", run.short())).unwrap_or_default();
                let backup = short(&e.backup);
                (Good, format!("backup {backup} taken{run}: {}, {} bytes", e.kind, e.bytes))
            }
            E::BackupVerified(e) => {
                let (tone, verdict) = match e.result {
                    CheckOutcome::Passed => (Good, "passed"),
                    CheckOutcome::Failed => (Bad, "failed"),
                    CheckOutcome::NotChecked => (Note, "was not made"),
                };
                let backup = short(&e.backup);
                (tone, format!("backup {backup}: verification ({}) {verdict}", e.depth))
            }
            E::BackupFailed(e) => {
                let run = e.run.map(|run| format!(" for run {}", run.short())).unwrap_or_default();
                (Bad, format!("no backup could be taken{run}: {}", e.reason))
            }
            E::BackupRemoved(e) => {
                (Note, format!("backup {} removed: {}", short(&e.backup), e.reason))
            }
            E::BaselineAdopted(e) => adopted(e),
            E::DriftFound(e) if e.differences == 0 => {
                (Good, "the schema is as expected again".to_owned())
            }
            E::DriftFound(e) => {
                (Bad, format!("drift found: {} objects are not as expected", e.differences))
            }
            E::DriftAccepted(e) => (Note, drift_accepted(e)),
            E::ProofRecorded(e) => proof(e),
            E::RestoreStarted(e) => {
                let backup = short(&e.backup);
                let text = match &e.keep_as {
                    Some(name) => format!(
                        "backup {backup} is to take the place of the target; what is there is kept as {name}"
                    ),
                    None => format!("backup {backup} is to replace what is in the target"),
                };
                (Note, text)
            }
            E::TargetRestored(e) => {
                let kept = e.kept_as.as_ref().map(|name| format!("; what was there is {name}"));
                let (backup, kept) = (short(&e.backup), kept.unwrap_or_default());
                (Note, format!("backup {backup} took the place of the target{kept}"))
            }
            E::RowsRestoreStarted(e) => {
                let (backup, tables) = (short(&e.backup), e.tables.join(", "));
                let rows = match e.rows {
                    RowsWanted::Missing => "missing rows",
                    RowsWanted::Changed => "changed rows",
                    RowsWanted::All => "missing and changed rows",
                };
                (Plain, format!("{rows} of {tables} are to be put back from backup {backup}"))
            }
            E::RowsRestored(e) => (Note, rows_restored(e)),
            E::ExternalBackupNamed(e) => {
                let (run, name, lsn) = (e.run.short(), &e.name, &e.lsn);
                (Note, format!("run {run} relies on backup {name:?}, kept elsewhere, at {lsn}"))
            }
            E::BackupRekeyed(e) => {
                let (backup, names) = (short(&e.backup), e.recipients.join(", "));
                (Note, format!("backup {backup} is opened by {names} from now on"))
            }
            E::EmergencyFinished(e) => {
                let lost = e.lost_rows.map(|rows| format!(", {rows} rows lost"));
                let (run, lost) = (e.run.short(), lost.unwrap_or_default());
                let text = format!("emergency of run {run} over, by {}{lost}", e.way);
                (by_result(e.result), text)
            }
            E::EmergencyRehearsed(e) => {
                let text = format!("emergency rehearsed by {}: {}", e.way, e.result);
                (by_result(e.result), text)
            }
            E::BreakGlassUsed(e) => {
                let (run, without, reason) = (e.run.short(), e.without, &e.reason);
                (Bad, format!("glass broken: run {run} went without {without}: {reason}"))
            }
            E::BreakGlassReviewed(e) => {
                (Note, format!("run {} without a safeguard reviewed: {}", e.run.short(), e.note))
            }
            E::ApproversChanged(e) => (Note, format!("who may approve: {} people", e.approvers)),
            E::Unknown(e) => {
                let (kind, schema) = (&e.kind, e.schema);
                (Note, format!("{kind}, schema {schema}: from a newer annals, not understood"))
            }
        }
    }

    /// Tells an event in the light of those before it.
    pub fn tell(&self, recorded: &Recorded) -> TimelineEntry {
        let (tone, text) = self.words(recorded);
        let (run, step) = subject(&recorded.event);
        let announced = match &recorded.event {
            Event::StepStarted(started) => Some(format!("{}_{}", started.version, started.name)),
            _ => None,
        };
        let key = run.zip(step).map(|(run, step)| StepKey { run, step });
        let known = || key.and_then(|key| self.step(key)).map(|step| step.id.clone());
        TimelineEntry {
            seq: recorded.seq,
            at: recorded.recorded_at,
            kind: recorded.event.kind().to_owned(),
            by: recorded.actor.name.clone(),
            tone,
            text,
            run,
            migration: announced.or_else(known),
        }
    }
}

/// The run an event belongs to, and the step of it.
pub(crate) fn subject(event: &Event) -> (Option<RunId>, Option<u64>) {
    let step = |key: StepKey| (Some(key.run), Some(key.step));
    match event {
        Event::RunStarted(e) => (Some(e.run), None),
        Event::StepStarted(e) => step(e.key()),
        Event::StatementStarted(e) => step(e.key()),
        Event::StatementSucceeded(e) => step(e.key()),
        Event::StepSucceeded(e) => step(e.key()),
        Event::StepFailed(e) => step(e.key()),
        Event::StepReconciled(e) => step(e.key()),
        Event::RunFinished(e) => (Some(e.run), None),
        Event::BaselineAdopted(e) => step(e.key()),
        Event::SchemaRecorded(e) => (e.run, e.step),
        Event::EmergencyDeclared(e) => (Some(e.run), None),
        Event::BackupTaken(e) => (e.run, None),
        Event::BackupFailed(e) => (e.run, None),
        Event::RestoreStarted(e) => (Some(e.run), None),
        Event::TargetRestored(e) => (Some(e.run), None),
        Event::RowsRestoreStarted(e) => (Some(e.run), None),
        Event::RowsRestored(e) => (Some(e.run), None),
        Event::ExternalBackupNamed(e) => (Some(e.run), None),
        Event::EmergencyFinished(e) => (Some(e.run), None),
        Event::BreakGlassUsed(e) => (Some(e.run), None),
        Event::BreakGlassReviewed(e) => (Some(e.run), None),
        Event::LogCreated(_)
        | Event::TargetRegistered(_)
        | Event::PlanMade(_)
        | Event::IntegrityChecked(_)
        | Event::DriftFound(_)
        | Event::DriftAccepted(_)
        | Event::ProofRecorded(_)
        | Event::TailRepaired(_)
        | Event::KeyAdded(_)
        | Event::KeyRetired(_)
        | Event::CheckpointAnchored(_)
        | Event::LogMoved(_)
        | Event::StoreInstalled(_)
        | Event::StoreUpgraded(_)
        | Event::MigrationsSeen(_)
        | Event::ApprovalGiven(_)
        | Event::ApprovalRevoked(_)
        | Event::BackupVerified(_)
        | Event::BackupRemoved(_)
        | Event::BackupRekeyed(_)
        | Event::EmergencyRehearsed(_)
        | Event::ApproversChanged(_)
        | Event::Unknown(_) => (None, None),
    }
}

impl Projection for Timeline {
    fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::RunStarted(started) => {
                let run = self.run_mut(started.run);
                run.direction = Some(started.direction);
                run.planned = started.steps;
            }
            Event::StepStarted(started) => {
                let step = KnownStep {
                    id: format!("{}_{}", started.version, started.name),
                    direction: started.direction,
                    intent_seq: recorded.seq,
                    intent_hash: recorded.leaf,
                };
                self.run_mut(started.run).steps.insert(started.step, step);
            }
            Event::BaselineAdopted(adopted) => {
                let step = KnownStep {
                    id: format!("{}_{}", adopted.version, adopted.name),
                    direction: adopted.direction,
                    intent_seq: recorded.seq,
                    intent_hash: recorded.leaf,
                };
                self.run_mut(adopted.run).steps.insert(adopted.step, step);
            }
            Event::StepSucceeded(done) => self.took_effect(done.key()),
            Event::StepReconciled(settled) => match settled.found {
                ReconciledAs::TookEffect => self.took_effect(settled.key()),
                ReconciledAs::NoEffect | ReconciledAs::Partial => {}
            },
            Event::EmergencyDeclared(declared) => self.run_mut(declared.run).emergency = true,
            Event::RunFinished(finished) => {
                // What follows names the run only.
                self.runs.retain(|known| known.run != finished.run);
            }
            Event::ApprovalGiven(given) => {
                let approval = (given.approver.clone(), given.plan);
                self.approvals.entry(given.approval).or_insert(approval);
            }
            Event::LogCreated(_)
            | Event::TargetRegistered(_)
            | Event::PlanMade(_)
            | Event::StatementStarted(_)
            | Event::StatementSucceeded(_)
            | Event::StepFailed(_)
            | Event::SchemaRecorded(_)
            | Event::IntegrityChecked(_)
            | Event::DriftFound(_)
            | Event::DriftAccepted(_)
            | Event::ProofRecorded(_)
            | Event::TailRepaired(_)
            | Event::KeyAdded(_)
            | Event::KeyRetired(_)
            | Event::CheckpointAnchored(_)
            | Event::LogMoved(_)
            | Event::StoreInstalled(_)
            | Event::StoreUpgraded(_)
            | Event::MigrationsSeen(_)
            | Event::ApprovalRevoked(_)
            | Event::BackupTaken(_)
            | Event::BackupVerified(_)
            | Event::BackupFailed(_)
            | Event::BackupRemoved(_)
            | Event::RestoreStarted(_)
            | Event::TargetRestored(_)
            | Event::RowsRestoreStarted(_)
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

fn drift_accepted(e: &DriftAccepted) -> String {
    let what = match e.expected_major {
        Some(major) if major != e.server_major => {
            format!("schema of PostgreSQL {} taken as it is, after {major}", e.server_major)
        }
        None => "schema taken as it is".to_owned(),
        Some(_) => format!("drift accepted: {} objects", e.differences),
    };
    format!("{what}: {}", e.reason)
}

fn proof(e: &ProofRecorded) -> (Tone, String) {
    use ProofVerdict as V;
    let (tone, verdict) = match e.verdict {
        V::Exact => (Tone::Good, "its rollback is exact".to_owned()),
        V::ColumnOrder => (Tone::Good, "its rollback is exact but for column order".to_owned()),
        V::Differs => (Tone::Bad, "its rollback leaves another schema".to_owned()),
        V::RollbackFails => (Tone::Bad, "its rollback fails".to_owned()),
        V::MigrationFails => (Tone::Bad, "it fails".to_owned()),
        V::LosesData => (Tone::Bad, format!("its rollback loses {} sample rows", e.lost_rows)),
        V::Irreversible => (Tone::Note, "it is declared irreversible".to_owned()),
    };
    let batch = match e.batch {
        0 | 1 => String::new(),
        n => format!(", rolled back with {} others", n - 1),
    };
    (tone, format!("{}_{} rehearsed: {verdict}{batch}", e.version, e.name))
}

/// What a verdict means to whoever reads.
const fn by_result(result: CheckOutcome) -> Tone {
    match result {
        CheckOutcome::Passed => Tone::Good,
        CheckOutcome::Failed => Tone::Bad,
        CheckOutcome::NotChecked => Tone::Note,
    }
}

/// What a person takes the target's word for.
fn adopted(e: &BaselineAdopted) -> (Tone, String) {
    let id = format!("{}_{}", e.version, e.name);
    let change = match e.direction {
        Direction::Up => "applied",
        Direction::Down => "rolled back",
    };
    let reason = e.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match (e.basis, e.holds) {
        (AdoptionBasis::Lost, false) => {
            (Tone::Bad, format!("lost by the target: {id} is not {change} there{reason}"))
        }
        (AdoptionBasis::Lost, true) => {
            (Tone::Note, format!("ledger row put back: {id} is {change} in the target{reason}"))
        }
        (AdoptionBasis::Restored, false) => {
            (Tone::Note, format!("not in the restored backup: {id} is not {change} any more"))
        }
        (AdoptionBasis::Restored, true) => {
            (Tone::Note, format!("back with the restored backup: {id} is {change}"))
        }
        (basis, _) => (Tone::Note, format!("adopted as {change} ({basis}): {id}{reason}")),
    }
}

fn steps(n: u64) -> String {
    if n == 1 { "1 step".to_owned() } else { format!("{n} steps") }
}

/// Up to three by name, else the first, the last and their number.
fn in_short(ids: &[String]) -> String {
    match ids {
        [] => String::new(),
        [first, .., last] if ids.len() > 3 => format!("{first} to {last} ({})", ids.len()),
        some => some.join(", "),
    }
}

fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

fn error(error: &RecordedError) -> String {
    let code = error.code.as_ref().map(|code| format!("SQLSTATE {code}"));
    let line = error.line.map(|line| format!("line {line}"));
    let place: Vec<String> = [code, line].into_iter().flatten().collect();
    if place.is_empty() {
        error.message.clone()
    } else {
        format!("{} ({})", error.message, place.join(", "))
    }
}

/// A verifier key without the key itself: its name and id.
fn key_name(key: &str) -> String {
    key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+")
}

/// A backup's last eight digits, as people tell runs apart.
fn short(id: &annals_events::BackupId) -> String {
    id.0.simple().to_string()[24..].to_owned()
}

/// The families of checks that found something.
pub(crate) fn failed_families(checks: &CheckResults) -> Vec<&'static str> {
    let families = [
        ("constraints", checks.constraints),
        ("data_consistency", checks.data_consistency),
        ("history", checks.history),
        ("indexes", checks.indexes),
        ("permissions", checks.permissions),
        ("table_structure", checks.table_structure),
    ];
    let failed = families.into_iter().filter(|(_, outcome)| *outcome == CheckOutcome::Failed);
    failed.map(|(family, _)| family).collect()
}

/// What came back, table by table.
fn rows_restored(restored: &RowsRestored) -> String {
    let tables = restored.tables.iter().map(|table| match table.replaced {
        0 => format!("{} {}", table.table, table.inserted),
        replaced => format!("{} {} and {replaced} replaced", table.table, table.inserted),
    });
    let tables = tables.collect::<Vec<_>>().join(", ");
    format!("rows put back from backup {}: {tables}", short(&restored.backup))
}
