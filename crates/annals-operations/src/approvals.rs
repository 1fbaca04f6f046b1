//! Whether a run is approved: what its target asks for, what the plan risks, and what the log holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use annals_approvals::{Approvers, Gate, Policy, Register, check_change, check_head, check_plan};
use annals_event_store::EventStore;
use annals_events::{
    ApprovalGiven, BreakGlassUsed, Digest, Direction, Event, LeafHash, RunId, RunOutcome, Seq,
    Timestamp, WithoutSafeguard,
};
use annals_lint::{LARGE_BYTES, RiskFacts, RiskReport, risk};
use annals_migrations::{MigrationSet, Plan, Terms, differences, first_hidden};
use annals_planner::Goal;
use annals_postgres::Session;
use annals_projections::{History, ProofBook};
use serde::{Deserialize, Serialize};

use crate::config::{ProofDemand, ProofPolicy};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::home::BlobReader;
use crate::open::{self, Opened};
use crate::proven::{self, ProofState};
use crate::targets::Target;
use crate::workspace::Workspace;

/// The list of approvers, in the folder of keys.
pub(crate) const APPROVERS_FILE: &str = "approvers.toml";

/// Version of a detached approval.
const DETACHED_FORMAT: &str = "annals.approval/1";

/// The longest plan, approval or list read: 64 MiB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// An approval in a file of its own, for a machine that does not have the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Detached {
    pub(crate) format: String,
    pub(crate) given: ApprovalGiven,
    pub(crate) origin: String,
}

impl Detached {
    pub(crate) fn new(origin: &str, given: ApprovalGiven) -> Self {
        Self { format: DETACHED_FORMAT.to_owned(), given, origin: origin.to_owned() }
    }
}

/// What a run is to be carried out by.
#[derive(Debug, Clone, Default)]
pub enum Authority {
    /// Nothing but the command.
    #[default]
    None,
    /// A plan that was written down, and approvals in files of their own.
    Plan {
        /// The plan.
        plan: PathBuf,
        /// Approvals the log may not hold yet.
        approvals: Vec<PathBuf>,
    },
    /// One person's word, where the policy allows it.
    BreakGlass {
        /// Why.
        reason: String,
    },
}

/// A plan that was written down.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    pub(crate) plan: Plan,
    pub(crate) terms: Terms,
    pub(crate) hash: Digest,
    pub(crate) approvals: Vec<ApprovalGiven>,
}

/// What the gate let pass.
#[derive(Debug, Default)]
pub(crate) struct Cleared {
    /// Under which hash the run is known, where it is not that of what is executed.
    pub(crate) plan: Option<Plan>,
    /// The schema it must find.
    pub(crate) schema: Option<Digest>,
    /// What is recorded with the run's beginning.
    pub(crate) events: Vec<Event>,
    pub(crate) notes: Vec<String>,
}

/// The policy of a target; the built-in sandbox asks for nothing.
pub(crate) fn policy(workspace: &Workspace, target: &Target) -> Option<Policy> {
    workspace.config().targets.get(&target.name)?.approvals.clone()
}

/// The policy of a target; of one that asks for nothing, a policy that does so.
pub(crate) fn policy_or_none(workspace: &Workspace, target: &Target) -> Policy {
    let nothing = || Policy { required: 0, ..Policy::default() };
    policy(workspace, target).unwrap_or_else(nothing)
}

pub(crate) fn approvers_path(workspace: &Workspace) -> PathBuf {
    workspace.folder().join(&workspace.config().folders.keys).join(APPROVERS_FILE)
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let argument =
        |reason: String| Failure::Argument { subject: path.display().to_string(), reason };
    let about = std::fs::metadata(path).map_err(|error| argument(error.to_string()))?;
    if !about.is_file() || about.len() > MAX_FILE_BYTES {
        return Err(argument("is no file of a size it may have".to_owned()));
    }
    std::fs::read(path).map_err(|error| argument(error.to_string()))
}

fn parse_list(path: &Path, bytes: &[u8]) -> Result<Approvers, Failure> {
    let argument =
        |reason: String| Failure::Argument { subject: path.display().to_string(), reason };
    let text = std::str::from_utf8(bytes).map_err(|error| argument(error.to_string()))?;
    Approvers::parse(text).map_err(|error| argument(error.to_string()))
}

/// The pinned list with its bytes; none where there is no file.
pub(crate) fn pinned(workspace: &Workspace) -> Result<Option<(Approvers, Vec<u8>)>, Failure> {
    let path = approvers_path(workspace);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_file(&path)?;
    Ok(Some((parse_list(&path, &bytes)?, bytes)))
}

/// The pinned list, or one with nobody on it.
pub(crate) fn pinned_or_nobody(workspace: &Workspace) -> Result<Approvers, Failure> {
    let nobody = || Approvers { quorum: 0, people: Vec::new(), digest: Digest::of(b"") };
    Ok(pinned(workspace)?.map_or_else(nobody, |(list, _)| list))
}

/// Reads a plan that was written down.
pub(crate) fn read_plan(path: &Path, approvals: &[PathBuf]) -> Result<Written, Failure> {
    let bytes = read_file(path)?;
    let not_approved = |reason: String| Failure::NotApproved {
        what: format!("{} cannot be relied on", path.display()),
        reasons: vec![reason],
        hint: "make the plan anew with: annals plan --out <file>; nothing was done".to_owned(),
    };
    let (plan, terms) =
        Plan::from_stored(&bytes).map_err(|error| not_approved(error.to_string()))?;
    let mut read = Vec::new();
    for path in approvals {
        let bytes = read_file(path)?;
        let detached: Detached = serde_json::from_slice(&bytes).map_err(|error| {
            let subject = path.display().to_string();
            Failure::Argument { subject, reason: format!("is no approval: {error}") }
        })?;
        if detached.format != DETACHED_FORMAT || detached.origin != terms.origin {
            let subject = path.display().to_string();
            let reason = format!("is an approval for the log {:?}", detached.origin);
            return Err(Failure::Argument { subject, reason });
        }
        read.push(detached.given);
    }
    let hash = plan.hash();
    Ok(Written { path: path.to_owned(), plan, terms, hash, approvals: read })
}

/// Refuses SQL that shows otherwise than it is.
pub(crate) fn check_hidden(plan: &Plan, policy: &Policy) -> Result<(), Failure> {
    match hidden(plan, policy).into_iter().next() {
        None => Ok(()),
        Some((place, reason)) => Err(Failure::Argument {
            subject: place,
            reason: format!(
                "{reason}; write it as an escape, or name the file in approvals.hidden_text of the \
                 target"
            ),
        }),
    }
}

/// Where a plan's SQL shows otherwise than it is.
pub(crate) fn hidden(plan: &Plan, policy: &Policy) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for step in &plan.steps {
        let file = &step.file.name;
        let is_allowed = |allowed: &String| {
            Path::new(allowed).file_name().is_some_and(|name| name.to_str() == Some(file))
        };
        if policy.hidden_text.iter().any(is_allowed) {
            continue;
        }
        for statement in &step.statements {
            let texts = std::iter::once(&statement.sql).chain(&statement.data);
            let first = texts.into_iter().find_map(|text| first_hidden(text));
            found.extend(first.map(|(place, c)| {
                let line = statement.line.saturating_add(place.line - 1);
                let at = format!("{file}:{line}");
                (at, format!("its SQL holds the hidden character {}", c.escape_unicode()))
            }));
        }
    }
    found
}

/// Computes how risky a plan is on this target.
pub(crate) async fn assess(
    session: &mut Session,
    target: &Target,
    plan: &Plan,
    proofs: &[(String, ProofState)],
) -> Result<RiskReport, Failure> {
    let statements = plan.steps.iter().flat_map(|step| &step.statements);
    let names: BTreeSet<String> =
        statements.flat_map(|statement| annals_migrations::relations(&statement.sql)).collect();
    let large = session.large_relations(&names, LARGE_BYTES).await.map_err(open::fault(target))?;
    let normal = |name: &String| {
        let name = name.to_lowercase();
        name.strip_prefix("public.").unwrap_or(&name).to_owned()
    };
    let unproven = proofs.iter().filter(|(_, state)| *state != ProofState::Proven);
    let facts = RiskFacts {
        large: large.iter().map(normal).collect(),
        unproven: unproven.map(|(id, _)| id.clone()).collect(),
    };
    Ok(risk(plan, &facts))
}

/// How the proofs of a plan stand, whether the target asks for them or not.
pub(crate) fn proofs_of(
    plan: &Plan,
    set: &MigrationSet,
    proofs: &ProofBook,
    asked: &ProofPolicy,
    major: u32,
) -> Vec<(String, ProofState)> {
    let asked = ProofPolicy { demand: ProofDemand::Warn, ..asked.clone() };
    proven::of_plan(plan, set, proofs, &asked, major)
}

/// What is left to do of a plan that was begun and cut short.
pub(crate) fn remaining(plan: &Plan, history: &History) -> Plan {
    let is_open =
        |step: &&annals_migrations::PlannedStep| history.ordinal(&step.version) < step.ordinal;
    Plan { steps: plan.steps.iter().filter(is_open).cloned().collect(), ..plan.clone() }
}

/// The goal that leads to the steps of `plan`.
pub(crate) fn goal_of(plan: &Plan) -> Goal {
    match plan.direction {
        Direction::Up => Goal::Up {
            to: plan.steps.last().map(|step| step.version.clone()),
            out_of_order: plan.out_of_order.clone(),
        },
        Direction::Down => Goal::DownLast(plan.steps.len() as u64),
    }
}

/// The leaf hash of the event before event `size`.
async fn leaf_before(opened: &mut Opened<'_>, size: u64) -> Result<Option<LeafHash>, Failure> {
    let Some(at) = size.checked_sub(1) else { return Ok(None) };
    if size > opened.recorder.log.head().size {
        return Ok(None);
    }
    let mut leaf = None;
    let mut visit = |seq: Seq, line: &[u8]| {
        if seq == Seq(at) {
            leaf = Some(LeafHash::of_line(line));
        }
    };
    let read = opened.recorder.log.read(Seq(at), &mut visit).await;
    read.map_err(LogFailure::Publish)?;
    Ok(leaf)
}

/// Why the pinned list is not the one the log says counts; and how the log came to say so.
pub(crate) async fn list_problems(
    workspace: &Workspace,
    target: &Target,
    register: &Register,
    approvers: &Approvers,
) -> Result<Vec<String>, Failure> {
    let Some(current) = register.list() else {
        return Ok(vec!["the log does not know who may approve".to_owned()]);
    };
    let mut problems = Vec::new();
    if current.list.digest != approvers.digest {
        problems.push(format!(
            "{} is not the list the log says counts: it was changed without the signatures of a \
             quorum",
            approvers_path(workspace).display()
        ));
    }
    let mut blobs = BlobReader::of(&target.home()).await?;
    let mut before: Option<Approvers> = None;
    for (seq, change) in &register.lists {
        let name = &workspace.config().workspace;
        if let Err(why) = check_change(name, before.as_ref(), change) {
            problems.push(format!("event {seq} changes the list of approvers, and {why}"));
        }
        let bytes = blobs.get(&change.list).await.map_err(LogFailure::from)?;
        before = Some(parse_list(&approvers_path(workspace), &bytes)?);
    }
    blobs.close().await;
    Ok(problems)
}

/// The plan an authority names.
pub(crate) fn read_authority(
    environment: &Environment,
    authority: &Authority,
) -> Result<Option<Written>, Failure> {
    let Authority::Plan { plan, approvals } = authority else { return Ok(None) };
    let place = |path: &PathBuf| environment.folder.join(path);
    let approvals: Vec<PathBuf> = approvals.iter().map(place).collect();
    let written = read_plan(&place(plan), &approvals)?;
    Ok(Some(Written { path: plan.clone(), ..written }))
}

/// Refuses a plan that goes the other way, or is of another workspace or target.
pub(crate) fn check_addressed(
    workspace: &Workspace,
    written: &Written,
    direction: Direction,
    target: Option<&str>,
) -> Result<(), Failure> {
    let plan = &written.plan;
    let reason = if plan.direction != direction {
        let (way, command) = match plan.direction {
            Direction::Up => ("up", "annals migrate"),
            Direction::Down => ("down", "annals rollback"),
        };
        format!("goes {way}: carry it out with {command} --plan")
    } else if plan.workspace != workspace.config().workspace {
        format!("is of the workspace {:?}", plan.workspace)
    } else if target.is_some_and(|name| name != plan.target) {
        format!("is for the target {:?}", plan.target)
    } else {
        return Ok(());
    };
    let what = format!("the plan in {}", written.path.display());
    let hint = "nothing was run".to_owned();
    Err(Failure::NotApproved { what, reasons: vec![reason], hint })
}

/// The goal that leads to what is left of a plan.
///
/// # Errors
///
/// When it was carried out, and not cut short.
pub(crate) fn goal_left(
    register: &Register,
    written: &Written,
    history: &History,
) -> Result<Goal, Failure> {
    let Some(spent) = register.spent(&written.hash) else { return Ok(goal_of(&written.plan)) };
    if spent.outcome.is_some_and(|outcome| outcome != RunOutcome::Interrupted) {
        return Err(void(
            written,
            vec![format!(
                "it was carried out already, by {} at {} (run {})",
                spent.by,
                spent.at.to_human(),
                spent.run.short()
            )],
        ));
    }
    let left = remaining(&written.plan, history);
    Ok(goal_of(if left.steps.is_empty() { &written.plan } else { &left }))
}

fn void(written: &Written, reasons: Vec<String>) -> Failure {
    Failure::NotApproved {
        what: format!("the plan {} in {} is void", written.hash.short(12), written.path.display()),
        reasons,
        hint:
            "nothing was run; make it anew with: annals plan --out <file>, and let it be approved \
               again"
                .to_owned(),
    }
}

/// What is to be known of approvals where a plan is only shown.
pub(crate) async fn tell(
    session: &mut Session,
    (workspace, target): (&Workspace, &Target),
    plan: &Plan,
    proofs: &[(String, ProofState)],
) -> Result<Vec<String>, Failure> {
    let asked = policy_or_none(workspace, target);
    let mut notes: Vec<String> = hidden(plan, &asked)
        .into_iter()
        .map(|(place, reason)| format!("{place}: {reason}"))
        .collect();
    if policy(workspace, target).is_none() || plan.steps.is_empty() {
        return Ok(notes);
    }
    let report = assess(session, target, plan, proofs).await?;
    let need = asked.requirement(report.level, plan.direction);
    let reasons = report.reasons();
    notes.push(format!(
        "its risk is {} ({}); the policy asks for {}",
        report.level.as_str(),
        reasons.first().map(String::as_str).unwrap_or("nothing stands out"),
        people(need.people)
    ));
    Ok(notes)
}

/// The gate of a target whose log does not exist: no list of approvers can be known there.
pub(crate) async fn clear_unborn(
    session: &mut Session,
    (workspace, target): (&Workspace, &Target),
    authority: &Authority,
    plan: &Plan,
    proofs: &[(String, ProofState)],
) -> Result<(), Failure> {
    let Some(policy) = policy(workspace, target).filter(|_| !plan.steps.is_empty()) else {
        return Ok(());
    };
    check_hidden(plan, &policy)?;
    let report = assess(session, target, plan, proofs).await?;
    let need = policy.requirement(report.level, plan.direction);
    let by_word = matches!(authority, Authority::BreakGlass { .. }) && policy.break_glass;
    if need.people == 0 || by_word {
        return Ok(());
    }
    Err(Failure::NotApproved {
        what: format!(
            "{:?} asks for {} of a plan of {} risk, and its log does not know who may approve",
            target.name,
            people(need.people),
            report.level.as_str()
        ),
        reasons: report.reasons(),
        hint: format!(
            "nothing was run; list the approvers in {}, then: annals keys approver admit --target {}",
            approvers_path(workspace).display(),
            target.name
        ),
    })
}

/// What the gate is asked about.
pub(crate) struct Asked<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) target: &'a Target,
    pub(crate) authority: &'a Authority,
    pub(crate) written: Option<&'a Written>,
    /// The plan that would be made now.
    pub(crate) live: &'a Plan,
    pub(crate) proofs: &'a [(String, ProofState)],
    pub(crate) now: Timestamp,
    pub(crate) run: RunId,
}

/// Lets a run pass, or says everything that stands in its way.
pub(crate) async fn clear(opened: &mut Opened<'_>, asked: &Asked<'_>) -> Result<Cleared, Failure> {
    let (workspace, target) = (asked.workspace, asked.target);
    let configured = policy(workspace, target);
    if (configured.is_none() && asked.written.is_none())
        || asked.live.steps.is_empty() && asked.written.is_none()
    {
        return Ok(Cleared::default());
    }
    let policy = policy_or_none(workspace, target);
    check_hidden(asked.live, &policy)?;
    let report = assess(&mut opened.session, target, asked.live, asked.proofs).await?;
    match asked.written {
        Some(written) => clear_plan(opened, asked, &policy, written, &report).await,
        None => clear_bare(asked, &policy, &report),
    }
}

/// A run without a plan: only where nobody must approve it, or on one person's word.
fn clear_bare(asked: &Asked<'_>, policy: &Policy, report: &RiskReport) -> Result<Cleared, Failure> {
    let need = policy.requirement(report.level, asked.live.direction);
    let mut cleared = Cleared::default();
    if need.people == 0 {
        return Ok(cleared);
    }
    let name = &asked.target.name;
    if let Authority::BreakGlass { reason } = asked.authority {
        if !policy.break_glass {
            return Err(Failure::NotApproved {
                what: format!(
                    "the policy of {name:?} does not let one person run without approvals"
                ),
                reasons: vec![format!("targets.{name}.approvals.break_glass is not true")],
                hint: next_steps(name, asked.live.direction),
            });
        }
        let used = BreakGlassUsed {
            journal: None,
            reason: reason.clone(),
            run: asked.run,
            without: WithoutSafeguard::Approval,
        };
        cleared.events.push(used.into());
        cleared.notes.push(format!(
            "this run goes without the {} its target asks for; somebody else must look at it: annals \
             approve --target {name} --review {} --reason '…'",
            people(need.people),
            asked.run
        ));
        return Ok(cleared);
    }
    Err(Failure::NotApproved {
        what: format!(
            "{name:?} asks for {} of a plan of {} risk, and there is no plan",
            people(need.people),
            report.level.as_str()
        ),
        reasons: report.reasons(),
        hint: next_steps(name, asked.live.direction),
    })
}

pub(crate) fn people(n: u64) -> String {
    if n == 1 { "1 approval".to_owned() } else { format!("{n} approvals") }
}

fn next_steps(target: &str, direction: Direction) -> String {
    let (make, run) = match direction {
        Direction::Up => ("annals plan", "annals migrate"),
        Direction::Down => ("annals rollback …", "annals rollback"),
    };
    let make = format!("{make} --target {target} --out plan.json");
    format!(
        "nothing was run; write the plan down: {make}; let it be approved: annals approve plan.json; \
         then: {run} --plan plan.json"
    )
}

async fn clear_plan(
    opened: &mut Opened<'_>,
    asked: &Asked<'_>,
    policy: &Policy,
    written: &Written,
    report: &RiskReport,
) -> Result<Cleared, Failure> {
    let Written { plan, terms, hash, .. } = written;
    let approvers = pinned_or_nobody(asked.workspace)?;
    let origin = asked.target.origin.as_str().to_owned();
    let size = plan.precondition.log_size;
    let leaf = leaf_before(opened, size).await?;
    let was_begun = opened.book().register.spent(hash).is_some();
    let gate = Gate {
        origin: &origin,
        policy,
        approvers: &approvers,
        register: &opened.book().register,
        now: asked.now,
        risk: report.level,
    };
    let mut problems = check_plan(&gate, plan, hash, terms);
    problems.extend(check_head(plan, opened.recorder.log.head().size, leaf));
    let left = if was_begun { remaining(plan, opened.history()) } else { plan.clone() };
    problems.extend(differences(&left, asked.live));
    if !problems.is_empty() {
        return Err(void(written, problems));
    }
    // What risk the plan says it has counts, if it says more: then it was decided on that.
    let need = policy.requirement(report.level.max(terms.risk), plan.direction);
    let mut notes = Vec::new();
    if need.people > 0 {
        let register = opened.book().register.clone();
        let known = list_problems(asked.workspace, asked.target, &register, &approvers).await?;
        if !known.is_empty() {
            return Err(Failure::NotApproved {
                what: format!("nobody knows who may approve on {:?}", asked.target.name),
                reasons: known,
                hint: format!(
                    "look with: annals keys approver list --target {0}; let a quorum sign the list: \
                     annals keys approver sign --target {0}; then: annals keys approver admit \
                     --target {0}",
                    asked.target.name
                ),
            });
        }
        record_detached(opened, written, &approvers).await?;
        let gate = Gate {
            origin: &origin,
            policy,
            approvers: &approvers,
            register: &opened.book().register,
            now: asked.now,
            risk: report.level,
        };
        let counted = gate
            .judge(plan, hash, terms)
            .map_err(|denied| denial(written, &asked.target.name, &denied))?;
        let names: Vec<&str> = counted.iter().map(|person| person.approver.as_str()).collect();
        notes.push(format!("approved by {}", names.join(", ")));
    }
    Ok(Cleared {
        plan: Some(plan.clone()),
        schema: (!was_begun).then_some(terms.schema),
        events: Vec::new(),
        notes,
    })
}

pub(crate) fn denial(
    written: &Written,
    target: &str,
    denied: &annals_approvals::Denied,
) -> Failure {
    let missing = denied.need.saturating_sub(denied.have.len() as u64);
    let mut reasons = denied.not_counted.clone();
    if !denied.have.is_empty() {
        reasons.push(format!("approved by {}", denied.have.join(", ")));
    }
    if !denied.roles.is_empty() {
        reasons.push(format!("each must have one of the roles {}", denied.roles.join(", ")));
    }
    reasons.push(match denied.could.as_slice() {
        [] => "nobody else on the list of approvers may approve it".to_owned(),
        could => format!("could approve it: {}", could.join(", ")),
    });
    Failure::NotApproved {
        what: format!(
            "the plan {} for {target:?} needs {}, {missing} missing",
            written.hash.short(12),
            people(denied.need)
        ),
        reasons,
        hint: format!(
            "nothing was run; let it be approved: annals approve {}",
            written.path.display()
        ),
    }
}

/// Takes approvals that were brought in files into the log.
async fn record_detached(
    opened: &mut Opened<'_>,
    written: &Written,
    approvers: &Approvers,
) -> Result<(), Failure> {
    let register = &opened.book().register;
    let is_new = |given: &&ApprovalGiven| register.approval(given.approval).is_none();
    let new: Vec<ApprovalGiven> = written.approvals.iter().filter(is_new).cloned().collect();
    // What could not count is not taken in: a verifier would find it there.
    let why = |given: &ApprovalGiven| {
        if given.plan != written.hash {
            return Some("it is of another plan".to_owned());
        }
        match annals_approvals::check_approval(&written.terms.origin, given) {
            Err(error) => Some(error.to_string()),
            Ok(key) if approvers.of_key(&key).is_none_or(|it| it.name != given.approver) => {
                Some("its key is not theirs on the list of approvers".to_owned())
            }
            Ok(_) => None,
        }
    };
    if let Some((given, reason)) = new.iter().find_map(|given| Some((given, why(given)?))) {
        return Err(Failure::NotApproved {
            what: format!("the approval of {} does not count", given.approver),
            reasons: vec![reason],
            hint: format!("let it be approved: annals approve {}", written.path.display()),
        });
    }
    if !new.is_empty() {
        opened.record(new.into_iter().map(Event::from).collect()).await?;
    }
    Ok(())
}

/// Refuses a run on another schema than the plan was made on.
pub(crate) fn check_schema(expected: Option<Digest>, found: Digest) -> Result<(), Failure> {
    match expected.filter(|expected| *expected != found) {
        None => Ok(()),
        Some(_) => Err(Failure::NotApproved {
            what: "the plan is void".to_owned(),
            reasons: vec!["the schema of the target is another one than it was made on".to_owned()],
            hint: "nothing was run; look with: annals drift; then make the plan anew".to_owned(),
        }),
    }
}
