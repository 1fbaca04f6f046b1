//! `annals approve`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use annals_api::{
    ApprovedDocument, ExitCode, GlassReviewDocument, HazardDocument, PlanReviewDocument,
    RevokedDocument,
};
use annals_events::{ApprovalId, RunId};
use annals_operations::{
    ApproveOptions, Environment, Failure, Signer, approve, approve_revoke, glass_review,
    review_plan,
};

use super::render;
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Look at a plan that was written down and sign it; take an approval back; review a run without one
///
/// Shows the whole SQL, the locks, the proofs, what is gone afterwards and the target, and asks before
/// it signs the plan's hash. Only files are needed for --out; else the approval goes into the log.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The plan, as annals plan --out wrote it
    #[arg(required_unless_present_any = ["revoke", "review"])]
    plan: Option<PathBuf>,

    #[command(flatten)]
    signer: SignerArguments,

    /// Let the approval lapse earlier than the plan, such as 2h
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,

    /// Write the approval to a file instead of into the log
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Show the plan and sign nothing
    #[arg(long, conflicts_with_all = ["out", "yes"])]
    show: bool,

    /// Sign without asking
    #[arg(long)]
    yes: bool,

    /// Take this approval back
    #[arg(long, value_name = "APPROVAL", requires = "reason", conflicts_with_all = ["plan", "review"])]
    revoke: Option<ApprovalId>,

    /// Say that this run, which went without approvals, was looked at
    #[arg(long, value_name = "RUN", requires = "reason", conflicts_with = "plan")]
    review: Option<RunId>,

    /// Why it is taken back; what the look at the run has shown
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    target: TargetArguments,
}

/// What is signed with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SignerArguments {
    /// The secret key to sign with; the only one in keys/approvers if not given
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Sign with the ssh-agent at SSH_AUTH_SOCK, which keeps the key
    #[arg(long, conflicts_with = "key")]
    ssh_agent: bool,

    /// Who signs, where there are keys of several people
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
}

impl SignerArguments {
    pub(crate) fn signer(&self) -> Signer {
        Signer { key: self.key.clone(), ssh_agent: self.ssh_agent, name: self.name.clone() }
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let mut interrupt = signals::listen();
    let (target, reason) = (arguments.target.name(), arguments.reason.as_deref());
    let reason = reason.unwrap_or_default();
    if let Some(approval) = arguments.revoke {
        let given = approve_revoke(environment, target, approval, reason, &mut interrupt).await?;
        output.show(&RevokedDocument::from(&given), |document| {
            let (who, plan) = (style::safe(&document.approver), &document.plan[..12]);
            format!("{GOOD}✓{GOOD:#} {who} approves the plan {plan} no more\n")
        });
        return Ok(ExitCode::Success);
    }
    if let Some(run) = arguments.review {
        let review = glass_review(environment, target, run, reason, &mut interrupt).await?;
        output.show(&GlassReviewDocument::from(&review), |document| {
            let by = style::safe(&document.by);
            format!("{GOOD}✓{GOOD:#} the run {} of {by} was looked at\n", document.run)
        });
        return Ok(ExitCode::Success);
    }
    let plan = arguments.plan.as_deref().expect("the arguments require it");
    let review = review_plan(environment, plan)?;
    let document = PlanReviewDocument::from(&review);
    if arguments.show {
        output.show(&document, human);
        return Ok(ExitCode::Success);
    }
    output.say(&human(&document));
    if !arguments.yes && !agrees(output)? {
        output.say("nothing was signed");
        return Ok(ExitCode::Refused);
    }
    let expires_after_ms = arguments.expires.as_deref().map(milliseconds).transpose()?;
    let (signer, out) = (arguments.signer.signer(), arguments.out.clone());
    let options = ApproveOptions { signer, expires_after_ms, out };
    let approved = approve(environment, &review, &options, &mut interrupt).await?;
    output.show(&ApprovedDocument::from(&approved), |document| told(document, plan));
    Ok(ExitCode::Success)
}

fn milliseconds(text: &str) -> Result<u64, Failure> {
    annals_migrations::parse_duration_ms(text).filter(|ms| *ms > 0).ok_or_else(|| {
        let reason = format!("{text:?} is not a duration like 30min or 2h");
        Failure::Argument { subject: "--expires".to_owned(), reason }
    })
}

/// Asks a person; nobody is asked where nobody sits.
fn agrees(output: &Output) -> Result<bool, Failure> {
    let stdin = io::stdin();
    if output.is_json() || !stdin.is_terminal() {
        let reason = "is needed where nobody can be asked; look first with --show".to_owned();
        return Err(Failure::Argument { subject: "--yes".to_owned(), reason });
    }
    let _ = write!(io::stderr(), "Sign this plan? Type yes: ");
    let mut answer = String::new();
    let _ = stdin.lock().read_line(&mut answer);
    Ok(answer.trim() == "yes")
}

fn told(document: &ApprovedDocument, plan: &std::path::Path) -> String {
    let who = style::safe(&document.approver);
    let mut text = format!(
        "{GOOD}✓{GOOD:#} {who} approves the plan {} for {}  {FAINT}{}{FAINT:#}\n",
        &document.plan[..12],
        document.target,
        document.approval
    );
    let path = style::safe(&plan.display().to_string());
    let have = document.approved_by.len() as u64;
    text.push_str(&match &document.path {
        Some(file) => format!(
            "{HINT}next{HINT:#}: annals migrate --plan {path} --approval {}\n",
            style::safe(file)
        ),
        None if have < document.approvals_needed => {
            format!("  {have} of {} approvals\n", document.approvals_needed)
        }
        None => format!("{HINT}next{HINT:#}: annals migrate --plan {path}\n"),
    });
    text
}

/// Everything an approver must have seen.
fn human(document: &PlanReviewDocument) -> String {
    let mut text = format!(
        "{STRONG}plan {} for {}{STRONG:#}  database {} on server {}\n  made by {} at {}, on {} \
         events of {}; counts until {}\n\n",
        &document.hash[..12],
        document.target,
        style::safe(&document.database),
        document.system_identifier,
        style::safe(&document.author),
        style::time(&document.made_at),
        document.log_size,
        document.origin,
        style::time(&document.expires_at),
    );
    for (n, planned) in document.steps.iter().enumerate() {
        text.push_str(&render::step(planned, n + 1, true));
        text.push('\n');
    }
    text.push_str(&format!("{STRONG}locks{STRONG:#}\n"));
    let mut locks: Vec<String> = document.hazards.iter().filter_map(lock).collect();
    locks.dedup();
    text.push_str(&listed(locks, "none"));
    text.push_str(&format!("{STRONG}proof{STRONG:#}\n"));
    let proofs = document.steps.iter().filter(|step| step.direction == "up").map(|step| {
        format!("{}_{}: {}", step.version, step.name, step.proof.unwrap_or("unproven"))
    });
    text.push_str(&listed(proofs.collect(), "a rollback has none of its own"));
    let lost: Vec<String> =
        document.hazards.iter().filter(|hazard| hazard.loses_data).map(hazard).collect();
    let look = if lost.is_empty() { STRONG } else { BAD };
    text.push_str(&format!("{look}gone afterwards{look:#}\n"));
    text.push_str(&listed(lost, "nothing that the rules see"));
    let look = if document.risk == "low" { GOOD } else { NOTE };
    text.push_str(&format!("{STRONG}risk{STRONG:#}  {look}{}{look:#}", document.risk));
    text.push_str(&format!(", {} needed", count(document.approvals_needed)));
    if !document.roles.is_empty() {
        let roles: Vec<String> = document.roles.iter().map(|role| style::safe(role)).collect();
        text.push_str(&format!(", each of {}", roles.join(" or ")));
    }
    text.push('\n');
    let mut hazards: Vec<String> = document.hazards.iter().map(hazard).collect();
    hazards.dedup();
    text.push_str(&listed(hazards, "nothing stands out"));
    text
}

fn count(n: u64) -> String {
    style::count(usize::try_from(n).unwrap_or(usize::MAX), "approval")
}

fn listed(lines: Vec<String>, none: &str) -> String {
    match lines.as_slice() {
        [] => format!("  {FAINT}{none}{FAINT:#}\n"),
        lines => lines.iter().map(|line| format!("  {line}\n")).collect(),
    }
}

fn place(hazard: &HazardDocument) -> String {
    match (&hazard.file, hazard.line) {
        (Some(file), 0) => format!("  {FAINT}{}{FAINT:#}", style::safe(file)),
        (Some(file), line) => format!("  {FAINT}{}:{line}{FAINT:#}", style::safe(file)),
        (None, _) => String::new(),
    }
}

fn lock(hazard: &HazardDocument) -> Option<String> {
    let (lock, on) = (hazard.lock?, style::safe(&hazard.relations.join(", ")));
    let on = if on.is_empty() { "what it makes".to_owned() } else { on };
    Some(format!("{lock:<24} {on}{}", place(hazard)))
}

fn hazard(hazard: &HazardDocument) -> String {
    let on = match hazard.relations.as_slice() {
        [] => String::new(),
        names => format!(" [{}]", style::safe(&names.join(", "))),
    };
    format!("{:<8} {}: {}{on}{}", hazard.level, hazard.danger, hazard.what, place(hazard))
}
