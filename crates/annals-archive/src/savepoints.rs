//! Statements inside of a transaction, of which the server may refuse some without the others being lost.

use annals_postgres::{Fault, Session};

use crate::error::ArchiveError;
use crate::sections::{Statement, is_set_by_us, name, referred_to, table_of_index};

/// The most SQL that is sent in one message, unless one statement is longer.
const BATCH_BYTES: usize = 64 << 10;

/// Codes of what is there already.
const IS_THERE: [&str; 4] = ["42P06", "42710", "42723", "42P16"];

const INSUFFICIENT_PRIVILEGE: &str = "42501";

const FOREIGN_KEY_VIOLATION: &str = "23503";

/// What was not made as it is written.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    /// What this role may not make, or what is there already, each with the server's words.
    pub(crate) left_out: Vec<String>,
    /// Foreign keys that do not hold, and are made without a look at the rows: `<table>.<name>`.
    pub(crate) unvalidated: Vec<String>,
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
    Ok(())
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
    if is_forbidden(&fault) || IS_THERE.contains(&code) {
        let words: Vec<&str> = sql.split_whitespace().collect();
        let begins: String = words.join(" ").chars().take(100).collect();
        exceptions.left_out.push(format!("{begins}: {fault}"));
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
