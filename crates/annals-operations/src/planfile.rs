//! `plan --out`: a plan that is written down, to be approved and carried out as it is.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use annals_events::{Digest, LeafHash};
use annals_lint::RiskReport;
use annals_migrations::{Plan, Terms};
use annals_postgres::SchemaReader;

use crate::approvals::{assess, check_hidden, pinned_or_nobody, policy, policy_or_none, proofs_of};
use crate::environment::Environment;
use crate::error::Failure;
use crate::migrate::{ChangeOptions, Considered, consider};
use crate::open;
use crate::proven;
use crate::targets::Target;
use crate::wish::Wish;
use crate::workspace::Workspace;

/// A plan that was written down.
#[derive(Debug, Clone)]
pub struct PlanFile {
    /// Where.
    pub path: PathBuf,
    /// The target.
    pub target: String,
    /// Its hash.
    pub hash: Digest,
    /// What it was made under.
    pub terms: Terms,
    /// How risky it is, and why.
    pub risk: RiskReport,
    /// How many people must approve it.
    pub people: u64,
    /// Roles of which each must have one; any if empty.
    pub roles: Vec<String>,
    /// Steps.
    pub steps: usize,
    /// Things that are allowed but should be known.
    pub notes: Vec<String>,
}

/// Makes a plan and writes it to `out`.
///
/// # Errors
///
/// As the run would fail; when there is nothing to do; when the file cannot be written.
pub async fn plan_out(
    environment: &Environment,
    goal: impl Into<Wish>,
    options: &ChangeOptions,
    out: &Path,
) -> Result<PlanFile, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let set = workspace.load()?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let considered =
        consider(environment, &workspace, &set, &target, &goal.into(), options).await?;
    let Considered { plan, mut notes, mut session, book } = considered;
    if plan.steps.is_empty() {
        session.close().await;
        let reason = "there is nothing to do, and so nothing to write down";
        return Err(Failure::Argument { subject: target.name, reason: reason.to_owned() });
    }
    let (asked, approvals) =
        (proven::policy(&workspace, &target), policy_or_none(&workspace, &target));
    let looked = async {
        check_hidden(&plan, &approvals)?;
        let major = session.facts().major();
        let proofs = proofs_of(&plan, &set, &book.proofs, &asked, major);
        proven::check(&target, &asked, &proven::of_plan(&plan, &set, &book.proofs, &asked, major))?;
        let risk = assess(&mut session, &target, &plan, &proofs).await?;
        let schema = SchemaReader::new(target.scope.clone()).read_inside(&mut session).await;
        let schema = schema.map_err(open::fault(&target))?.fingerprint().digest;
        Ok::<_, Failure>((proofs, risk, schema))
    };
    let looked = looked.await;
    session.close().await;
    let (proofs, risk, schema) = looked?;
    let now = environment.clock.now();
    let span_us = i64::try_from(approvals.expires_after_ms).unwrap_or(i64::MAX / 1000) * 1000;
    let terms = Terms {
        approvers: pinned_or_nobody(&workspace)?.digest,
        author: environment.actor.name.clone(),
        expires_at: now.plus_micros(span_us),
        made_at: now,
        origin: target.origin.as_str().to_owned(),
        policy: approvals.digest(),
        proofs: proofs.iter().map(|(id, state)| (id.clone(), state.as_str().to_owned())).collect(),
        risk: risk.level,
        risk_reasons: risk.reasons(),
        schema,
    };
    let plan = Plan { terms: Some(terms.clone()), ..plan };
    if plan.precondition.log_head == LeafHash::ZERO && policy(&workspace, &target).is_some() {
        notes.push(format!(
            "the log of {0:?} does not exist yet; begin it with the list of approvers: annals keys \
             approver admit --target {0}",
            target.name
        ));
    }
    let need = approvals.requirement(risk.level, plan.direction);
    let path = environment.folder.join(out);
    write_whole(&path, plan.to_canonical_json().as_bytes())?;
    Ok(PlanFile {
        path: out.to_owned(),
        target: target.name,
        hash: plan.hash(),
        terms,
        risk,
        people: need.people,
        roles: need.roles,
        steps: plan.steps.len(),
        notes,
    })
}

/// Writes a file: a crash leaves what was there before, or all of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{}.{name}.tmp", std::process::id()));
    let write = || {
        let handle = std::fs::File::open(folder)?;
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o644).open(&temporary)?;
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        handle.sync_all()
    };
    write().map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        Failure::Write { path: path.to_owned(), source }
    })
}
