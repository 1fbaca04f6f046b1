//! `proof`.

use annals_operations::ProofView;
use annals_operations::rehearsal::StepProof;
use serde::Serialize;

use crate::exit::ExitCode;

/// A migration that was rehearsed.
#[derive(Debug, Clone, Serialize)]
pub struct RehearsedStep {
    /// The version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// `exact`, `column_order`, `differs`, `rollback_fails`, `migration_fails`, `loses_data` or
    /// `irreversible`.
    pub verdict: &'static str,
    /// Whether the target accepts it.
    pub accepted: bool,
    /// The verdict at this place of the whole chain; none if it was not reached.
    pub chain: Option<&'static str>,
    /// The strongest lock on what was there before, such as `ACCESS EXCLUSIVE`.
    pub strongest_lock: Option<&'static str>,
    /// On which relation.
    pub locked: Option<String>,
    /// Tables that were written anew.
    pub rewrites: Vec<String>,
    /// How long the migration took.
    pub up_us: u64,
    /// How long the rollback took.
    pub down_us: u64,
    /// Sample rows that were there before and are not behind the rollback.
    pub lost_rows: u64,
    /// Everything that was seen, as it is recorded.
    pub report: StepProof,
}

/// A migration that was not reached.
#[derive(Debug, Clone, Serialize)]
pub struct UnreachedStep {
    /// The version.
    pub version: String,
    /// Its name.
    pub name: String,
}

/// `annals proof`.
#[derive(Debug, Clone, Serialize)]
pub struct RehearsalDocument {
    /// `annals.proof/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The version of the server it was rehearsed on.
    pub server_version: String,
    /// What the target asks for: `off`, `warn` or `require`.
    pub demand: &'static str,
    /// The verdicts it accepts.
    pub accepts: Vec<&'static str>,
    /// Each migration, in order.
    pub steps: Vec<RehearsedStep>,
    /// Those behind one that fails: nothing is known of them.
    pub not_reached: Vec<UnreachedStep>,
    /// Events that were recorded.
    pub recorded: u64,
    /// Where the sandbox is not like the target.
    pub notes: Vec<String>,
    /// How long all of it took.
    pub us: u64,
    /// In how many databases it was rehearsed side by side: durations are those of a server that had so
    /// much to do.
    pub lanes: u64,
    /// The process's exit code.
    pub exit_code: u8,
}

impl From<&ProofView> for RehearsalDocument {
    fn from(view: &ProofView) -> Self {
        let step = |proof: &StepProof| {
            let lock = proof.strongest_lock();
            RehearsedStep {
                version: proof.version.to_string(),
                name: proof.name.clone(),
                verdict: proof.verdict.as_str(),
                accepted: view.policy.accepts(proof.verdict),
                chain: proof.chain.as_ref().map(|place| place.verdict.as_str()),
                strongest_lock: lock.map(|lock| lock.mode),
                locked: lock.map(|lock| lock.relation.clone()),
                rewrites: proof.rewrites().into_iter().map(str::to_owned).collect(),
                up_us: proof.up.us,
                down_us: proof.down.us,
                lost_rows: proof.lost_rows(),
                report: proof.clone(),
            }
        };
        let unreached = view.rehearsal.not_reached.iter().map(|(version, name)| UnreachedStep {
            version: version.to_string(),
            name: name.clone(),
        });
        let code = if view.is_accepted() { ExitCode::Success } else { ExitCode::NotProven };
        Self {
            format: "annals.proof/1",
            target: view.target.clone(),
            server_version: view.server_version.clone(),
            demand: view.demand(),
            accepts: view.policy.accepts.iter().map(|verdict| verdict.as_str()).collect(),
            steps: view.rehearsal.steps.iter().map(step).collect(),
            not_reached: unreached.collect(),
            recorded: view.recorded,
            notes: view.notes.clone(),
            us: view.us,
            lanes: view.rehearsal.lanes,
            exit_code: code.code(),
        }
    }
}
