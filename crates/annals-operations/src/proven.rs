//! What is known of rehearsals of migrations that are to be applied.

use annals_events::{Direction, ProofVerdict};
use annals_migrations::{Migration, MigrationSet, Plan};
use annals_projections::{Proof, ProofBook};

use crate::config::{ProofDemand, ProofPolicy};
use crate::error::Failure;
use crate::home::BlobReader;
use crate::targets::Target;
use crate::workspace::Workspace;

/// How the proof of a pending migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofState {
    /// It was rehearsed, with a verdict the target accepts.
    Proven,
    /// It never was.
    Unproven,
    /// It was, with other files.
    OtherFiles,
    /// It was, on a server of another major version.
    OtherMajor,
    /// It was, from a schema that is not the one the migration before it leaves.
    OtherStart,
    /// It was, with a verdict the target does not accept.
    NotAccepted(ProofVerdict),
}

impl ProofState {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
            Self::OtherFiles => "other files",
            Self::OtherMajor => "other major version",
            Self::OtherStart => "other schema",
            Self::NotAccepted(verdict) => verdict.as_str(),
        }
    }
}

/// The policy of a target; the built-in sandbox asks for nothing.
pub(crate) fn policy(workspace: &Workspace, target: &Target) -> ProofPolicy {
    let configured = workspace.config().targets.get(&target.name);
    let off = || ProofPolicy { demand: ProofDemand::Off, ..ProofPolicy::default() };
    configured.map_or_else(off, |target| target.proof.clone())
}

/// Why there is no way back, where the files say so.
pub(crate) fn declared(migration: &Migration) -> Option<String> {
    let files = std::iter::once(&migration.up).chain(&migration.down);
    let mut scripts = files.filter_map(|file| file.script().ok());
    scripts.find_map(|script| script.directives.irreversible.clone())
}

/// How the proof of one migration stands, given that of the one before it.
fn stands(
    migration: &Migration,
    proof: Option<&Proof>,
    earlier: Option<&Proof>,
    policy: &ProofPolicy,
    server_major: Option<u32>,
) -> ProofState {
    let Some(proof) = proof else { return ProofState::Unproven };
    let rollback = migration.down.as_ref().map(|file| file.reference());
    // The declaration stands in a comment, which the statements' digest does not cover.
    let was_declared = proof.verdict == ProofVerdict::Irreversible;
    if !proof.is_of(&migration.up.reference(), rollback.as_ref())
        || was_declared != declared(migration).is_some()
            && proof.verdict != ProofVerdict::MigrationFails
    {
        return ProofState::OtherFiles;
    }
    if server_major.is_some_and(|major| major != proof.server_major) {
        return ProofState::OtherMajor;
    }
    let starts = |earlier: &Proof| {
        // Those of one group share their beginning and their end.
        earlier.after == Some(proof.before) || (proof.batch > 1 && earlier.before == proof.before)
    };
    if earlier.is_some_and(|earlier| !starts(earlier)) {
        return ProofState::OtherStart;
    }
    match policy.accepts(proof.verdict) {
        true => ProofState::Proven,
        false => ProofState::NotAccepted(proof.verdict),
    }
}

/// How the proofs of `pending` stand, in their order.
pub(crate) fn states<'a>(
    pending: impl Iterator<Item = &'a Migration>,
    proofs: &ProofBook,
    policy: &ProofPolicy,
    server_major: Option<u32>,
) -> Vec<(String, ProofState)> {
    let mut earlier: Option<&Proof> = None;
    pending
        .map(|migration| {
            let proof = proofs.of(&migration.version);
            let state = stands(migration, proof, earlier, policy, server_major);
            earlier = proof;
            (migration.id(), state)
        })
        .collect()
}

/// How the proofs of a plan's steps stand; nothing of a target that does not ask. Going down, what
/// the schema was when it was rehearsed does not count: everybody sees the way back by its files.
pub(crate) fn of_plan(
    plan: &Plan,
    set: &MigrationSet,
    proofs: &ProofBook,
    policy: &ProofPolicy,
    server_major: u32,
) -> Vec<(String, ProofState)> {
    if policy.demand == ProofDemand::Off {
        return Vec::new();
    }
    let steps = plan.steps.iter().filter_map(|step| set.get(&step.version));
    if plan.direction == Direction::Down {
        let stands = |step: &Migration| {
            let proof = proofs.of(&step.version);
            stands(step, proof, None, policy, Some(server_major))
        };
        return steps.map(|step| (step.id(), stands(step))).collect();
    }
    states(steps, proofs, policy, Some(server_major))
}

/// The strongest lock each step took when it was rehearsed with these files, by its report. What
/// cannot be read is left out: it is told for information alone.
pub(crate) async fn locks(
    target: &Target,
    plan: &Plan,
    set: &MigrationSet,
    proofs: &ProofBook,
) -> Vec<(String, String)> {
    let of_step = |step: &annals_migrations::PlannedStep| {
        let migration = set.get(&step.version)?;
        let proof = proofs.of(&step.version)?;
        let rollback = migration.down.as_ref().map(|file| file.reference());
        let same = proof.is_of(&migration.up.reference(), rollback.as_ref());
        same.then_some((step.id(), step.direction, proof.report))
    };
    let known: Vec<_> = plan.steps.iter().filter_map(of_step).collect();
    if known.is_empty() {
        return Vec::new();
    }
    let Ok(mut blobs) = BlobReader::of(&target.home()).await else { return Vec::new() };
    let mut locks = Vec::new();
    for (id, direction, report) in known {
        let Ok(content) = blobs.get(&report).await else { continue };
        let Ok(report) = serde_json::from_slice::<serde_json::Value>(&content) else { continue };
        let seen = &report[direction.as_str()]["statements"];
        let all = seen.as_array().into_iter().flatten().flat_map(|statement| {
            statement["locks"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|lock| lock["mode"].as_str())
        });
        if let Some(mode) = all.max_by_key(|mode| annals_proof::lock_strength(mode)) {
            locks.push((id, mode.to_lowercase()));
        }
    }
    locks
}

/// Refuses what the policy does not let pass; what it only tells is returned.
pub(crate) fn check(
    target: &Target,
    policy: &ProofPolicy,
    states: &[(String, ProofState)],
) -> Result<Option<String>, Failure> {
    let open = states.iter().filter(|(_, state)| *state != ProofState::Proven);
    let unproven: Vec<(String, &'static str)> =
        open.map(|(id, state)| (id.clone(), state.as_str())).collect();
    if unproven.is_empty() {
        return Ok(None);
    }
    if policy.demand == ProofDemand::Require {
        return Err(Failure::NotProven { target: target.name.clone(), unproven });
    }
    let named: Vec<String> =
        unproven.iter().take(5).map(|(id, why)| format!("{id} ({why})")).collect();
    let more = match unproven.len().saturating_sub(5) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Ok(Some(format!(
        "no accepted proof that a rollback leads back: {}{more}; rehearse with: annals proof --target {}",
        named.join(", "),
        target.name
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_events::{BlobRef, Digest, Seq};

    /// Two migrations in a folder, the second one declared irreversible.
    fn files(folder: &std::path::Path) -> MigrationSet {
        for part in ["migrations", "rollbacks"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        std::fs::write(folder.join("migrations/1_a.sql"), "SELECT 1;").unwrap();
        std::fs::write(folder.join("rollbacks/1_a_rollback.sql"), "SELECT 2;").unwrap();
        let declared = "-- annals: irreversible=\"gone\"\nSELECT 3;";
        std::fs::write(folder.join("migrations/2_b.sql"), declared).unwrap();
        annals_migrations::load(&annals_migrations::LoadOptions {
            workspace: folder.to_owned(),
            migrations: "migrations".into(),
            rollbacks: "rollbacks".into(),
            require_rollback: true,
        })
        .unwrap()
    }

    fn proof(migration: &Migration, from: &str, to: &str, verdict: ProofVerdict) -> Proof {
        Proof {
            after: Some(Digest::of(to.as_bytes())),
            batch: 1,
            before: Digest::of(from.as_bytes()),
            chain: None,
            file: migration.up.reference(),
            lost_rows: 0,
            name: migration.name.clone(),
            report: BlobRef { digest: Digest::of(b""), size: 0 },
            rollback: migration.down.as_ref().map(|file| file.reference()),
            server_major: 15,
            verdict,
            seq: Seq(1),
            at: "2026-01-01T00:00:00.000000Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_proof_holds_for_these_files_this_server_and_this_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let set = files(folder.path());
        let (a, b) = (&set.iter().next().unwrap(), &set.iter().nth(1).unwrap());
        let policy = ProofPolicy::default();
        let first = proof(a, "empty", "one", ProofVerdict::Exact);
        let state = |proof: &Proof| stands(a, Some(proof), None, &policy, Some(15));
        assert_eq!(state(&first), ProofState::Proven);
        assert_eq!(stands(a, None, None, &policy, None), ProofState::Unproven);
        assert_eq!(stands(a, Some(&first), None, &policy, Some(16)), ProofState::OtherMajor);
        let differs = Proof { verdict: ProofVerdict::Differs, ..first.clone() };
        assert_eq!(state(&differs), ProofState::NotAccepted(ProofVerdict::Differs));
        let other = Proof { rollback: None, ..first.clone() };
        assert_eq!(state(&other), ProofState::OtherFiles);
        // What was declared when it was proven must still be, and the other way round.
        let declared = Proof { verdict: ProofVerdict::Irreversible, ..first.clone() };
        assert_eq!(state(&declared), ProofState::OtherFiles);
        let second = proof(b, "one", "two", ProofVerdict::Irreversible);
        let behind = |earlier: &Proof, proof: &Proof| {
            stands(b, Some(proof), Some(earlier), &policy, Some(15))
        };
        assert_eq!(behind(&first, &second), ProofState::Proven);
        let exact = Proof { verdict: ProofVerdict::Exact, ..second.clone() };
        assert_eq!(behind(&first, &exact), ProofState::OtherFiles);
        let elsewhere = Proof { after: Some(Digest::of(b"else")), ..first };
        assert_eq!(behind(&elsewhere, &second), ProofState::OtherStart);
    }
}
