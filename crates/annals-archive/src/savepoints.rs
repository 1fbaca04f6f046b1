//! Statements inside of a transaction, of which the server may refuse some without the others being lost.

use std::collections::BTreeMap;

use annals_postgres::{Fault, Session};

use crate::catalog::{literal, words};
use crate::error::ArchiveError;
use crate::sections::{
    Statement, is_about_owners, is_set_by_us, name, referred_to, table_of_index, unquoted,
};

/// The most SQL that is sent in one message, unless one statement is longer.
const BATCH_BYTES: usize = 64 << 10;

/// Codes of what is there already; the last one is of a right somebody else has given to this role, which it
/// cannot give to itself.
const IS_THERE: [&str; 5] = ["42P06", "42710", "42723", "42P16", "0LP01"];

/// Codes of what is not there: tables, functions, schemas, everything else.
const IS_MISSING: [&str; 4] = ["42P01", "42883", "3F000", "42704"];

const INSUFFICIENT_PRIVILEGE: &str = "42501";

const FOREIGN_KEY_VIOLATION: &str = "23503";

/// What was not made as it is written.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    /// What this role may not make, or what is there already, each with the server's words.
    pub(crate) left_out: Vec<String>,
    /// Foreign keys that do not hold, and are made without a look at the rows: `<table>.<name>`.
    pub(crate) unvalidated: Vec<String>,
    /// Statements that give something to its owner, who may not have anything in that schema yet.
    owners: Vec<String>,
}

impl Exceptions {
    fn leave_out(&mut self, sql: &str, fault: &Fault) {
        let words: Vec<&str> = sql.split_whitespace().collect();
        let begins: String = words.join(" ").chars().take(100).collect();
        self.left_out.push(format!("{begins}: {fault}"));
    }
}

pub(crate) fn refused(what: impl Into<String>) -> impl FnOnce(Fault) -> ArchiveError {
    let what = what.into();
    move |fault| match fault.ends_session() {
        true => ArchiveError::Fault(fault),
        false => ArchiveError::Refused { what, fault },
    }
}

/// Whether the server has said that this role may not.
pub(crate) fn is_forbidden(fault: &Fault) -> bool {
    fault.code() == Some(INSUFFICIENT_PRIVILEGE)
}

async fn guarded(session: &mut Session, sql: &str) -> Result<(), Fault> {
    // By itself: a message that cannot be parsed is refused whole.
    session.run("SAVEPOINT annals").await?;
    match session.run(&format!("{sql}\n; RELEASE annals")).await {
        Err(fault) if !fault.ends_session() => {
            session.run("ROLLBACK TO annals; RELEASE annals").await?;
            Err(fault)
        }
        run => run,
    }
}

/// Runs a statement the server may refuse.
pub(crate) async fn attempt(session: &mut Session, sql: &str) -> Result<(), ArchiveError> {
    match guarded(session, sql).await {
        Err(fault) if fault.is_verdict() => {
            tracing::debug!(%fault, "is left out: {}", sql.lines().next().unwrap_or_default());
            Ok(())
        }
        run => Ok(run?),
    }
}

/// Sends statements, many at a time; where one of them is refused, each of those by itself.
pub(crate) async fn send(
    session: &mut Session,
    statements: &[Statement],
    section: &str,
    exceptions: &mut Exceptions,
) -> Result<(), ArchiveError> {
    let mut from = 0;
    while from < statements.len() {
        let (mut batch, mut to) = (String::new(), from);
        let work = work_of(&statements[from].sql);
        while let Some(statement) = statements.get(to) {
            let is_full = batch.len() + statement.sql.len() > BATCH_BYTES;
            // No index is made twice because of what stands behind it.
            if to > from && (is_full || work_of(&statement.sql) != work) {
                break;
            }
            if !is_set_by_us(&statement.sql) {
                batch.push_str(&statement.sql);
                batch.push('\n');
            }
            to += 1;
        }
        match guarded(session, &batch).await {
            Ok(()) => {}
            Err(fault) if fault.ends_session() => return Err(fault.into()),
            Err(fault) => {
                tracing::debug!(%fault, "one statement at a time");
                for statement in &statements[from..to] {
                    send_one(session, statement, section, exceptions).await?;
                }
            }
        }
        from = to;
    }
    give_to_owners(session, exceptions).await
}

/// Schemas a role may not make anything in.
const FORBIDDEN: &str = "SELECT format('CREATE ON SCHEMA %I', nspname) FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    AND NOT has_schema_privilege({role}, oid, 'CREATE') AND has_schema_privilege(oid, 'CREATE WITH GRANT OPTION')";

/// Gives what is left to its owners, now that rights to schemas are given: who has none there may still own
/// something, which a superuser has made, or which was made before a right was taken back.
async fn give_to_owners(
    session: &mut Session,
    exceptions: &mut Exceptions,
) -> Result<(), ArchiveError> {
    let mut by_owner: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for sql in std::mem::take(&mut exceptions.owners) {
        let owner = owner_of(&sql).unwrap_or_default().to_owned();
        by_owner.entry(owner).or_default().push(sql);
    }
    for (owner, statements) in by_owner {
        let forbidden = FORBIDDEN.replace("{role}", &literal(&unquoted(&owner)));
        let rights = words(session, &forbidden).await?;
        for right in &rights {
            attempt(session, &format!("GRANT {right} TO {owner}")).await?;
        }
        for sql in statements {
            match guarded(session, &sql).await {
                Err(fault) if fault.ends_session() => return Err(fault.into()),
                Err(fault) => exceptions.leave_out(&sql, &fault),
                Ok(()) => {}
            }
        }
        for right in &rights {
            attempt(session, &format!("REVOKE {right} FROM {owner}")).await?;
        }
    }
    Ok(())
}

/// The role something is given to, as it is written.
fn owner_of(sql: &str) -> Option<&str> {
    is_about_owners(sql).then_some(name(sql.rsplit_once(" OWNER TO ")?.1))
}

/// What a statement has to do: statements of one kind go together.
fn work_of(sql: &str) -> u8 {
    match (table_of_index(sql), referred_to(sql)) {
        (Some(_), _) => 1,
        (None, Some(_)) => 2,
        (None, None) => 0,
    }
}

async fn send_one(
    session: &mut Session,
    Statement { sql, line }: &Statement,
    section: &str,
    exceptions: &mut Exceptions,
) -> Result<(), ArchiveError> {
    if is_set_by_us(sql) {
        return Ok(());
    }
    let Err(fault) = guarded(session, sql).await else { return Ok(()) };
    let code = fault.code().unwrap_or_default();
    if code == FOREIGN_KEY_VIOLATION
        && let Some((key, later)) = unvalidated(sql)
    {
        // Rows refer to what is gone since: the key counts for what comes.
        guarded(session, &later).await.map_err(refused(key.clone()))?;
        exceptions.unvalidated.push(key);
        return Ok(());
    }
    // Whether it is there as it should be, a comparison says.
    // What is about something that could not be made has nothing to be about.
    let follows = !exceptions.left_out.is_empty() && IS_MISSING.contains(&code);
    if is_forbidden(&fault) && owner_of(sql).is_some() {
        exceptions.owners.push(sql.clone());
        return Ok(());
    }
    if is_forbidden(&fault) || IS_THERE.contains(&code) || follows {
        exceptions.leave_out(sql, &fault);
        return Ok(());
    }
    let begins: String = sql.lines().next().unwrap_or_default().chars().take(100).collect();
    Err(refused(format!("{section}, line {line}: {begins}"))(fault))
}

/// The name of a foreign key, and its statement without a look at the rows.
fn unvalidated(sql: &str) -> Option<(String, String)> {
    referred_to(sql)?;
    let rest = sql.strip_prefix("ALTER TABLE ")?;
    let table = name(rest.strip_prefix("ONLY ").unwrap_or(rest));
    let key = name(sql.split_once("ADD CONSTRAINT ")?.1);
    let end = sql.trim_end().trim_end_matches(';');
    Some((format!("{table}.{key}"), format!("{end} NOT VALID;")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_key_that_does_not_hold_is_made_for_what_comes() {
        let sql = "ALTER TABLE ONLY public.\"a t\"\n    ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES auth.users(id) ON DELETE CASCADE;";
        let (key, later) = unvalidated(sql).unwrap();
        assert_eq!(key, "public.\"a t\".k");
        assert!(later.ends_with("ON DELETE CASCADE NOT VALID;"), "{later}");
        assert!(unvalidated("CREATE INDEX i ON public.t USING btree (a);").is_none());
    }
}
