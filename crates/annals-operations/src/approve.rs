//! `approve`: looks at a plan that was written down, signs it, takes an approval back, and looks at
//! what ran without one.

use std::path::{Path, PathBuf};

use annals_approvals::{
    APPROVAL, Approvers, BrokenGlass, Counted, Gate, Person, Policy, approval_message, check_head,
    check_plan, encode_signature,
};
use annals_event_store::EventStore;
use annals_events::{
    ApprovalGiven, ApprovalId, ApprovalRevoked, BreakGlassReviewed, Digest, RunId, Timestamp,
    canonical_json,
};
use annals_executor::Interrupt;
use annals_keys::{Agent, SecretKey, Signature, VerifierKey, load_secret};
use annals_lint::{RiskFacts, RiskReport, risk};
use annals_migrations::{Plan, RiskLevel, Terms};

use crate::approvals::{
    Detached, Written, check_hidden, list_problems, people, pinned, policy_or_none, read_plan,
};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::open::{self, Opened};
use crate::planfile::write_whole;
use crate::targets::Target;
use crate::workspace::Workspace;

/// What somebody signs with.
#[derive(Debug, Clone, Default)]
pub struct Signer {
    /// A secret key in a file; the only one in keys/approvers if nothing is said.
    pub key: Option<PathBuf>,
    /// The ssh-agent at `SSH_AUTH_SOCK` instead.
    pub ssh_agent: bool,
    /// Who; needed where an agent has keys of several people.
    pub name: Option<String>,
}

/// How to approve.
#[derive(Debug, Clone, Default)]
pub struct ApproveOptions {
    /// What it is signed with.
    pub signer: Signer,
    /// How long it counts, in milliseconds; as long as the plan if none.
    pub expires_after_ms: Option<u64>,
    /// Where the approval goes instead of into the log.
    pub out: Option<PathBuf>,
}

/// A plan, as its approver sees it.
#[derive(Debug, Clone)]
pub struct PlanReview {
    /// The file.
    pub path: PathBuf,
    /// The plan.
    pub plan: Plan,
    /// What it was made under.
    pub terms: Terms,
    /// Its hash.
    pub hash: Digest,
    /// How risky it is, computed from the plan itself.
    pub risk: RiskReport,
    /// The higher of that and what the plan says.
    pub level: RiskLevel,
    /// How many people must approve it.
    pub people: u64,
    /// Roles of which each must have one; any if empty.
    pub roles: Vec<String>,
}

/// An approval that was given.
#[derive(Debug, Clone)]
pub struct Approved {
    /// The approval.
    pub given: ApprovalGiven,
    /// The target.
    pub target: String,
    /// Where it was written, where that is not the log.
    pub out: Option<PathBuf>,
    /// Whose approvals count now; nothing where only a file was written.
    pub counted: Vec<Counted>,
    /// How many must.
    pub people: u64,
}

/// What was looked at afterwards.
#[derive(Debug, Clone)]
pub struct Review {
    /// The run.
    pub broken: BrokenGlass,
    /// The target.
    pub target: String,
    /// Who looked at it.
    pub by: String,
}

/// Reads a plan for its approver; reaches for nothing but files.
///
/// # Errors
///
/// When it is none, or its SQL shows otherwise than it is.
pub fn review_plan(environment: &Environment, path: &Path) -> Result<PlanReview, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let written = read_plan(&environment.folder.join(path), &[])?;
    let target = Target::resolve(environment, &workspace, Some(&written.plan.target))?;
    let policy = policy_or_none(&workspace, &target);
    check_hidden(&written.plan, &policy)?;
    let Written { plan, terms, hash, .. } = written;
    let unproven = terms.proofs.iter().filter(|(_, state)| state != "proven");
    let facts = RiskFacts {
        unproven: unproven.map(|(id, _)| id.clone()).collect(),
        ..RiskFacts::default()
    };
    let report = risk(&plan, &facts);
    let level = report.level.max(terms.risk);
    let need = policy.requirement(level, plan.direction);
    Ok(PlanReview {
        path: path.to_owned(),
        plan,
        terms,
        hash,
        risk: report,
        level,
        people: need.people,
        roles: need.roles,
    })
}

/// Who signs, ready to sign.
pub(crate) enum Hand {
    File(SecretKey),
    Agent(Box<Agent>, VerifierKey),
}

impl Hand {
    pub(crate) fn sign(&mut self, namespace: &str, message: &str) -> Result<Signature, Failure> {
        match self {
            Self::File(key) => Ok(key.sign_message(namespace, message.as_bytes())),
            Self::Agent(agent, key) => agent
                .sign(key, namespace, message.as_bytes())
                .map_err(|error| agent_failure(&error)),
        }
    }
}

fn agent_failure(error: &annals_keys::AgentError) -> Failure {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    Failure::Argument {
        subject: "SSH_AUTH_SOCK".to_owned(),
        reason: format!("{error}{}", cause.unwrap_or_default()),
    }
}

fn argument(subject: impl Into<String>, reason: impl Into<String>) -> Failure {
    Failure::Argument { subject: subject.into(), reason: reason.into() }
}

/// The key somebody signs with, as the list knows it, and who that is.
pub(crate) fn hand<'a>(
    environment: &Environment,
    workspace: &Workspace,
    approvers: &'a Approvers,
    signer: &Signer,
) -> Result<(Hand, VerifierKey, &'a Person), Failure> {
    let own = |person: &&Person| signer.name.as_ref().is_none_or(|name| *name == person.name);
    let people: Vec<&Person> = approvers.people.iter().filter(own).collect();
    let found = |public: &[u8; 32]| {
        let keys =
            people.iter().flat_map(|person| person.keys.iter().map(move |key| (key, *person)));
        keys.into_iter().find(|(key, _)| key.public() == public)
    };
    if signer.ssh_agent {
        let Some(socket) = environment.variable("SSH_AUTH_SOCK") else {
            return Err(argument("SSH_AUTH_SOCK", "is not set: no ssh-agent is known"));
        };
        let mut agent = Agent::connect(Path::new(socket)).map_err(|e| agent_failure(&e))?;
        let held = agent.keys().map_err(|error| agent_failure(&error))?;
        let Some((key, person)) = held.iter().find_map(|held| found(&held.public)) else {
            let reason = format!(
                "the agent holds {} Ed25519 keys, and none of them is on the list of approvers",
                held.len()
            );
            return Err(argument("SSH_AUTH_SOCK", reason));
        };
        return Ok((Hand::Agent(Box::new(agent), key.clone()), key.clone(), person));
    }
    let path = match &signer.key {
        Some(path) => environment.folder.join(path),
        None => only_key(workspace, signer.name.as_deref())?,
    };
    let secret = load_secret(&path).map_err(LogFailure::from)?;
    let public = secret.verifier();
    match found(public.public()) {
        Some((key, person)) => Ok((Hand::File(secret), key.clone(), person)),
        None => Err(Failure::NotApproved {
            what: format!("{} signs nothing that counts", path.display()),
            reasons: vec![format!("{public} is not on the list of approvers")],
            hint: "let the list be changed: annals keys approver add; then sign and admit it"
                .to_owned(),
        }),
    }
}

/// The only secret key of an approver that is here.
fn only_key(workspace: &Workspace, name: Option<&str>) -> Result<PathBuf, Failure> {
    let folder = workspace.folder().join(&workspace.config().folders.keys).join("approvers");
    if let Some(name) = name {
        return Ok(folder.join(format!("{name}.key")));
    }
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut keys: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "key"))
        .collect();
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        _ => Err(argument("--key", "name the key to sign with, or use --ssh-agent")),
    }
}

fn gate<'a>(
    opened: &'a Opened<'_>,
    target: &'a Target,
    policy: &'a Policy,
    approvers: &'a Approvers,
    (now, risk): (Timestamp, RiskLevel),
) -> Gate<'a> {
    let register = &opened.book().register;
    Gate { origin: target.origin.as_str(), policy, approvers, register, now, risk }
}

/// Signs a plan, and records that, or writes it to a file.
///
/// # Errors
///
/// When the signer may not, the plan does not stand any more, or the log cannot be written.
pub async fn approve(
    environment: &Environment,
    review: &PlanReview,
    options: &ApproveOptions,
    interrupt: &mut Interrupt,
) -> Result<Approved, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, Some(&review.plan.target))?;
    let policy = policy_or_none(&workspace, &target);
    let Some((approvers, _)) = pinned(&workspace)? else {
        return Err(Failure::NotApproved {
            what: "nobody may approve yet".to_owned(),
            reasons: vec!["there is no keys/approvers.toml".to_owned()],
            hint: "make it with: annals keys approver add <name>".to_owned(),
        });
    };
    let (mut hand, key, person) = hand(environment, &workspace, &approvers, &options.signer)?;
    let now = environment.clock.now();
    let register = annals_approvals::Register::default();
    let files_only = Gate {
        origin: target.origin.as_str(),
        policy: &policy,
        approvers: &approvers,
        register: &register,
        now,
        risk: review.level,
    };
    let (plan, terms, hash) = (&review.plan, &review.terms, &review.hash);
    let mut against = check_plan(&files_only, plan, hash, terms);
    if plan.workspace != workspace.config().workspace {
        against.push(format!("it is of the workspace {:?}", plan.workspace));
    }
    if let Err(why) = files_only.may_approve(person, plan, terms) {
        against.push(format!("{} {why}", person.name));
    }
    if !against.is_empty() {
        return Err(refused(review, against));
    }
    let span =
        options.expires_after_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX / 1000) * 1000);
    let expires = span.map_or(terms.expires_at, |us| now.plus_micros(us).min(terms.expires_at));
    let sign = |hand: &mut Hand| -> Result<ApprovalGiven, Failure> {
        let approval = ApprovalId(environment.ids.next());
        let origin = target.origin.as_str();
        let message = approval_message(origin, hash, approval, &person.name, Some(expires));
        let signature = hand.sign(APPROVAL, &message)?;
        Ok(ApprovalGiven {
            approval,
            approver: person.name.clone(),
            expires_at: Some(expires),
            key: key.to_string(),
            plan: *hash,
            signature: encode_signature(&signature),
        })
    };
    if let Some(out) = &options.out {
        let given = sign(&mut hand)?;
        let detached = Detached::new(target.origin.as_str(), given.clone());
        let value = serde_json::to_value(&detached).expect("its keys are strings");
        let text = canonical_json(&value).expect("invariant: an approval has no large numbers");
        write_whole(&environment.folder.join(out), text.as_bytes())?;
        let (out, counted) = (Some(out.clone()), Vec::new());
        return Ok(Approved { given, target: target.name, out, counted, people: review.people });
    }
    let mut opened =
        open::open(environment, &workspace, &target, "annals/approve", interrupt).await?;
    opened.say_what_was_found();
    let against = standing(&mut opened, &workspace, &target, (&policy, &approvers), review, now);
    let against = against.await?;
    if !against.is_empty() {
        opened.close().await;
        return Err(refused(review, against));
    }
    let given = match sign(&mut hand) {
        Ok(given) => given,
        Err(failure) => {
            opened.close().await;
            return Err(failure);
        }
    };
    opened.record(vec![given.clone().into()]).await?;
    opened.publish().await?;
    let judged = gate(&opened, &target, &policy, &approvers, (now, review.level));
    let judged = judged.judge(plan, hash, terms);
    let counted = judged.unwrap_or_else(|denied| {
        let id = given.approval;
        let have = denied.have.into_iter();
        have.map(|approver| Counted { approver, approval: id }).collect()
    });
    opened.close().await;
    Ok(Approved { given, target: target.name, out: None, counted, people: review.people })
}

/// What in the log stands against approving a plan.
async fn standing(
    opened: &mut Opened<'_>,
    workspace: &Workspace,
    target: &Target,
    (policy, approvers): (&Policy, &Approvers),
    review: &PlanReview,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let register = opened.book().register.clone();
    let mut against = list_problems(workspace, target, &register, approvers).await?;
    let at = gate(opened, target, policy, approvers, (now, review.level));
    against.extend(check_plan(&at, &review.plan, &review.hash, &review.terms));
    let size = opened.recorder.log.head().size;
    if review.plan.precondition.log_size > size {
        against.extend(check_head(&review.plan, size, None));
    }
    Ok(against)
}

fn refused(review: &PlanReview, reasons: Vec<String>) -> Failure {
    Failure::NotApproved {
        what: format!(
            "the plan {} in {} cannot be approved",
            review.hash.short(12),
            review.path.display()
        ),
        reasons,
        hint: "nothing was signed".to_owned(),
    }
}

/// Takes an approval back.
///
/// # Errors
///
/// When the log has no such approval, or it was taken back already.
pub async fn approve_revoke(
    environment: &Environment,
    target: Option<&str>,
    approval: ApprovalId,
    reason: &str,
    interrupt: &mut Interrupt,
) -> Result<ApprovalGiven, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let mut opened =
        open::open(environment, &workspace, &target, "annals/approve", interrupt).await?;
    opened.say_what_was_found();
    let known = opened.book().register.approval(approval).cloned();
    let problem = match &known {
        None => Some("the log has no such approval"),
        Some(known) if known.revoked.is_some() => Some("it was taken back already"),
        Some(_) => None,
    };
    if let Some(problem) = problem {
        opened.close().await;
        return Err(argument(format!("approval {approval}"), problem));
    }
    opened.record(vec![ApprovalRevoked { approval, reason: reason.to_owned() }.into()]).await?;
    opened.publish().await?;
    opened.close().await;
    Ok(known.expect("it was looked at above").given)
}

/// Records that somebody looked at a run that went without approvals.
///
/// # Errors
///
/// When there is no such run, or it is the reviewer's own.
pub async fn glass_review(
    environment: &Environment,
    target: Option<&str>,
    run: RunId,
    note: &str,
    interrupt: &mut Interrupt,
) -> Result<Review, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let mut opened =
        open::open(environment, &workspace, &target, "annals/approve", interrupt).await?;
    opened.say_what_was_found();
    let found = opened.book().register.broken.iter().find(|broken| broken.run == run).cloned();
    let by = environment.actor.name.clone();
    let list = pinned(&workspace)?;
    let same = |one: &str, other: &str| {
        let person = |actor: &str| {
            let person = list.as_ref().and_then(|(list, _)| list.of_actor(actor));
            person.map(|person| person.name.clone())
        };
        one.eq_ignore_ascii_case(other) || person(one).is_some_and(|it| Some(it) == person(other))
    };
    let problem = match &found {
        None => Some("no run of that name went without a safeguard".to_owned()),
        Some(broken) if broken.reviewed.is_some() => Some("it was looked at already".to_owned()),
        Some(broken) if same(&broken.by, &by) => {
            Some(format!("{by} ran it; somebody else must look at it"))
        }
        Some(_) => None,
    };
    if let Some(problem) = problem {
        opened.close().await;
        return Err(argument(format!("run {run}"), problem));
    }
    opened.record(vec![BreakGlassReviewed { note: note.to_owned(), run }.into()]).await?;
    opened.publish().await?;
    opened.close().await;
    Ok(Review { broken: found.expect("it was looked at above"), target: target.name, by })
}

impl PlanReview {
    /// How many people must approve it, in words.
    pub fn need(&self) -> String {
        people(self.people)
    }
}
