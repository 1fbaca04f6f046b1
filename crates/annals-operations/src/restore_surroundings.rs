//! Who and what is at a target that a backup is to be brought to: what decides how that is done, and what is in
//! the way.

use annals_postgres::{Bound, Session};
use serde_json::Value;

use crate::error::Failure;
use crate::open;
use crate::restore_target::{TargetRestoreOptions, text};
use crate::targets::Target;

/// Schemas that the backup leaves out and the target has: they would be gone.
pub(crate) async fn left_out(
    session: &mut Session,
    target: &Target,
    public: &Value,
) -> Result<Vec<String>, Failure> {
    let query = "SELECT nspname::text FROM pg_catalog.pg_namespace ORDER BY 1";
    let there = session.texts(query).await.map_err(open::fault(target))?;
    let there: Vec<String> = there.into_iter().flatten().flatten().collect();
    let left_out = public["excluded_schemas"].as_array().into_iter().flatten().map(text);
    let lost: Vec<String> = left_out.filter(|name| there.contains(name)).collect();
    Ok(lost)
}

/// Who and what is at the target.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Who is connected.
    pub(crate) sessions: Vec<String>,
    /// What is to be known of it where the database is renamed.
    pub(crate) notes: Vec<String>,
    /// Why this role can never rename it.
    pub(crate) no_swap: Vec<String>,
    /// What keeps it from being renamed now.
    pub(crate) no_renaming: Vec<String>,
    /// What keeps its contents from being replaced.
    pub(crate) no_replacing: Vec<String>,
    pub(crate) slots: Vec<String>,
}

/// What is to be known where what is in the target is replaced: before, and afterwards too.
pub(crate) fn in_place_notes(
    (left_out, holds_log): (&[String], bool),
    found: &Surroundings,
    options: &TargetRestoreOptions,
) -> (Vec<String>, Vec<String>) {
    let why = match left_out {
        [] if holds_log => "the event log lives in it, and stays".to_owned(),
        [] => found.no_swap.join("; "),
        schemas => format!("the platform's schemas stay as they are: {}", schemas.join(", ")),
    };
    let how = format!(
        "what is in the database is replaced, in one transaction that is compared before it is committed ({why}); \
         nobody can read or write the project's tables meanwhile, nor tables its foreign keys refer to"
    );
    let kept = match options.without_backup {
        true => "what is there now is not kept (--without-backup)".to_owned(),
        false => "what is there now is kept in a full backup that is taken first".to_owned(),
    };
    let slots = (!found.slots.is_empty()).then(|| {
        let slots = found.slots.join(", ");
        format!("who follows logical replication slots gets all rows anew: {slots}")
    });
    (vec![how, kept], slots.into_iter().collect())
}

/// Looks who and what is at the target, from a session beside it.
pub(crate) async fn surroundings(
    session: &mut Session,
    target: &Target,
    database: &str,
) -> Result<Surroundings, Failure> {
    let mut found = Surroundings::default();
    let fault = open::fault(target);
    let guests = session.guests(database).await.map_err(&fault)?;
    let Bound { prepared, slots, subscriptions } =
        session.bound_to(database).await.map_err(&fault)?;
    if let Some(entry) = session.database_named(database).await.map_err(&fault)?
        && !entry.may_rename
    {
        found.no_swap.push(format!(
            "the role {} may not rename the database {database:?}: that takes its owner with CREATEDB, \
             or a superuser",
            session.facts().user
        ));
    }
    let kept: Vec<String> =
        guests.iter().filter(|guest| !guest.may_end).map(ToString::to_string).collect();
    if !kept.is_empty() {
        found.no_renaming.push(format!("this role may not end {}", kept.join(", ")));
    }
    if !prepared.is_empty() {
        found.no_renaming.push(format!(
            "prepared transactions are in it ({}): commit them or roll them back",
            prepared.join(", ")
        ));
    }
    if !slots.is_empty() {
        found.notes.push(format!(
            "logical replication slots stay with the database of before: {}",
            slots.join(", ")
        ));
    }
    if !subscriptions.is_empty() {
        let names = subscriptions.join(", ");
        found.notes.push(format!(
            "subscriptions are restored switched off, and go on in the database of before: {names}"
        ));
        found.no_replacing.push(format!("subscriptions write into it ({names}): drop them first"));
    }
    found.slots = slots;
    found.sessions = guests.iter().map(ToString::to_string).collect();
    Ok(found)
}
