//! A sandbox that begins as a copy of the target's schema.

use annals_archive::{ArchiveError, TwinOptions, copy_schema};
use annals_postgres::sandbox::Sandbox;
use annals_postgres::{DumpProgram, SessionSettings, read_schema};
use annals_schema::{Difference, Snapshot, diff};

use crate::environment::Environment;
use crate::error::{Failure, TargetFailure};
use crate::open;
use crate::sandbox;
use crate::targets::Target;
use crate::workspace::Workspace;

/// The role migrations run as in a sandbox.
const OWNER: &str = "postgres";

/// Differences that are named one by one.
const MAX_NAMED: usize = 20;

/// Copies the target's schema into an empty database of the sandbox, and returns what is not as it is
/// there.
pub(crate) async fn copy_target(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    (sandbox, database): (&Sandbox, &str),
) -> Result<Vec<String>, Failure> {
    let look = open::look(environment, workspace, target, "annals/proof").await?;
    let places = sandbox::places(environment, Some(workspace));
    let dump = DumpProgram::find(&places, look.session.facts().major());
    let dump = dump.map_err(ArchiveError::from)?;
    let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
    let spec = sandbox.superuser_spec(database);
    let to = spec.connect("annals/proof", &settings).await.map_err(TargetFailure::from)?;
    look.session.close().await;
    // A look holds one transaction from its beginning on; this one begins with a snapshot.
    let own = target.settings(workspace);
    let from = look.spec.connect("annals/proof", &own).await.map_err(TargetFailure::from)?;
    let (mut from, mut to) = (from, to);
    let user = from.facts().user.clone();
    let options = TwinOptions {
        dump: &dump,
        scope: &target.scope,
        lock_timeout_ms: workspace.config().lock_timeout_ms,
        owner: (&user, OWNER),
    };
    let copied = copy_schema(&mut from, &mut to, &options).await;
    from.close().await;
    to.close().await;
    let (there, left) = copied?;
    // A session as migrations get it: what the copying one was set to is not looked through.
    let spec = sandbox.database_spec(database);
    let mut to = spec.connect("annals/proof", &settings).await.map_err(TargetFailure::from)?;
    let here = read_schema(&mut to, &target.scope).await;
    to.close().await;
    let here = here.map_err(ArchiveError::from)?;
    let mut notes: Vec<String> = left
        .into_iter()
        .map(|left| format!("not copied from the target: {} ({})", left.statement, left.reason))
        .collect();
    notes.extend(unlike(&there, &here, &user));
    Ok(notes)
}

/// Object by object, what the copy has otherwise; that its owner has another name here is no difference.
fn unlike(there: &Snapshot, here: &Snapshot, user: &str) -> Vec<String> {
    let renamed = |before: &Option<String>, after: &Option<String>| match (before, after) {
        (Some(before), Some(after)) => before.replace(user, OWNER) == after.replace(user, OWNER),
        _ => false,
    };
    // The database itself was made like the target's, and what is not so was told.
    let is_own = |difference: &Difference| {
        let (Difference::Added(key) | Difference::Removed(key) | Difference::Changed(key, _)) =
            difference;
        !matches!(key.kind.as_str(), "database" | "setting")
    };
    let differences =
        diff(there, here).into_iter().filter(is_own).filter_map(|difference| match difference {
            Difference::Added(key) => {
                Some(format!("{} {} is not in the target", key.kind.as_str(), key.name))
            }
            Difference::Removed(key) => {
                Some(format!("{} {} is missing", key.kind.as_str(), key.name))
            }
            Difference::Changed(key, changes) => {
                let others =
                    changes.iter().filter(|change| !renamed(&change.before, &change.after));
                let names: Vec<&str> = others.map(|change| change.attribute.as_str()).collect();
                let text =
                    format!("{} {} differs: {}", key.kind.as_str(), key.name, names.join(", "));
                (!names.is_empty()).then_some(text)
            }
        });
    let mut all: Vec<String> =
        differences.map(|text| format!("the copy is not as the target: {text}")).collect();
    let more = all.len().saturating_sub(MAX_NAMED);
    all.truncate(MAX_NAMED);
    if more > 0 {
        all.push(format!("the copy is not as the target in {more} more objects"));
    }
    all
}
