//! The commit of a step: nothing takes effect of which the target would not keep the trace.
//!
//! What a file does in its transaction it can also do to annals: remove the row that says the step
//! took effect, let others in, end the transaction and begin another. Such a commit could not be
//! settled when its answer is lost, and would be found to differ by every later run. So the message
//! that commits asks first, in the server, in the transaction itself.

use std::fmt::Write as _;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::batch::{INVALID_PARAMETER, literal};
use crate::fault::Fault;
use crate::lock::LockKey;
use crate::session::Session;

/// A transaction in which annals has written a row, and the place of that row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The transaction (`xid8`, in decimal).
    pub transaction: String,
    /// The row's `ctid`. Another version of the row stands elsewhere.
    pub place: String,
}

impl Begun {
    /// Of an answer of two columns.
    pub(crate) fn read(row: &PgRow) -> Result<Self, Fault> {
        Ok(Self { transaction: row.try_get(0)?, place: row.try_get(1)? })
    }
}

/// Rows of annals that a transaction must not end without.
#[derive(Debug, Clone, Copy)]
pub enum Witness<'a> {
    /// Rows of the ledger, by their places: of each step of the transaction one.
    Ledger(&'a [String]),
    /// The row of a statement outside of the file's own transaction, by its place.
    Statement(&'a str),
    /// None that could be told by its place: a row that annals changes with every batch.
    Moving,
}

impl Witness<'_> {
    /// A condition: each of the rows is the one annals wrote in this transaction.
    fn stands_sql(self) -> String {
        let of = |table: &str, places: &[&str]| {
            let list = places.iter().map(|place| format!("{}::tid", literal(place)));
            let list = list.collect::<Vec<_>>().join(", ");
            format!(
                "(SELECT pg_catalog.count(*) FROM annals.{table} WHERE ctid = ANY (ARRAY[{list}]) \
                 AND xmin = pg_catalog.pg_current_xact_id()::xid) = {}",
                places.len()
            )
        };
        match self {
            Self::Ledger(places) => {
                let places: Vec<&str> = places.iter().map(String::as_str).collect();
                of("ledger", &places)
            }
            Self::Statement(place) => of("statements", &[place]),
            Self::Moving => "true".to_owned(),
        }
    }
}

/// What the words of a file say it may have done to its session. What no word tells of (a function
/// that is called) is found out as well, with a less friendly message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MayHave {
    /// Another role: it may not be allowed to read the ledger.
    pub changed_role: bool,
    /// Locks given back: to ask for one that is not there makes the server warn.
    pub released_locks: bool,
}

impl MayHave {
    /// Everything.
    pub const ALL: Self = Self { changed_role: true, released_locks: true };

    /// What `text`, in lower case, may have done.
    pub fn of(text: &str) -> Self {
        let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        Self {
            changed_role: any(&["role", "authorization"]),
            released_locks: any(&["advisory", "discard"]),
        }
    }

    /// What either may have done.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            changed_role: self.changed_role || other.changed_role,
            released_locks: self.released_locks || other.released_locks,
        }
    }
}

/// A commit, and what must be true of its transaction.
#[derive(Debug, Clone, Copy)]
pub struct StepCommit<'a> {
    /// The transaction (`xid8`, in decimal): it is this backend's, still.
    pub transaction: &'a str,
    /// The lock this backend holds, and has held all along.
    pub lock: LockKey,
    /// The rows that stand.
    pub witness: Witness<'a>,
    /// What the file may have done to the session.
    pub may: MayHave,
}

/// Settings that carry the answers: each is set to what it is, or, where a condition does not hold,
/// to what it cannot be. The server names the setting then, in every language.
const OF_TRANSACTION: &str = "synchronous_commit";
const OF_LOCK: &str = "standard_conforming_strings";
const OF_ROWS: &str = "client_encoding";

/// SQLSTATE of a table this role may not read.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// SQLSTATE of a table, a schema or a column that is not there.
const NOT_THERE: &[&str] = &["42P01", "3F000", "42703"];

impl Session {
    /// Commits, after checking that the transaction is still the one of this backend, that the lock
    /// was kept, that the rows of annals stand as they were written, and that the commit will be
    /// durable when it is acknowledged, whatever the file has set: one message.
    ///
    /// The next message is read by the server before anything in it is executed, so what decides
    /// how it is read is put right here. Where the file may have taken another role, its deferred
    /// constraints are checked as that role, and then the ledger is read as the session's own. What
    /// is refused is rolled back.
    ///
    /// # Errors
    ///
    /// [`Fault::Ended`], [`Fault::LockReleased`], [`Fault::RowChanged`] and [`Fault::RoleLeft`] when
    /// a condition does not hold: nothing is committed.
    /// After [`Fault::Connection`] the outcome is unknown.
    pub async fn commit_step(&mut self, commit: &StepCommit<'_>) -> Result<(), Fault> {
        let (mut sql, mut before) = (String::new(), 0);
        if commit.may.changed_role {
            sql.push_str(
                "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL SESSION AUTHORIZATION DEFAULT; \
                 SET LOCAL ROLE NONE; ",
            );
            before = 3;
        }
        let kept = match commit.may.released_locks {
            false => commit.lock.is_kept_sql(),
            true => format!(
                "CASE WHEN {} THEN {} ELSE false END",
                commit.lock.is_held_sql(),
                commit.lock.is_kept_sql()
            ),
        };
        let _ = write!(
            sql,
            "SELECT pg_catalog.set_config('synchronous_commit', CASE \
             WHEN pg_catalog.pg_backend_pid() <> {pid} OR \
             pg_catalog.pg_current_xact_id_if_assigned()::text IS DISTINCT FROM {xid} \
             THEN 'not the transaction annals began' \
             WHEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local') THEN 'on' \
             ELSE pg_catalog.current_setting('synchronous_commit') END, true), \
             pg_catalog.set_config('standard_conforming_strings', \
             CASE WHEN {kept} THEN 'on' ELSE 'the lock is released' END, false), \
             pg_catalog.set_config('client_encoding', \
             CASE WHEN {stands} THEN 'UTF8' ELSE 'a row is changed' END, false); COMMIT",
            pid = self.facts().backend_pid,
            xid = literal(commit.transaction),
            stands = commit.witness.stands_sql(),
        );
        let end = self.run_batch(sql, None).await;
        if end.fault.as_ref().is_some_and(Fault::is_verdict) {
            if end.completed <= before {
                // A failure of COMMIT itself has ended the transaction; before, it is still there.
                self.nothing_open = false;
                self.roll_back().await?;
            }
            self.nothing_open = true;
        }
        let fault = match end.fault {
            None if end.completed == before + 2 => return Ok(()),
            None => {
                return Err(Fault::Protocol("the server did not say that it committed".to_owned()));
            }
            Some(fault) if end.completed != before => return Err(fault),
            Some(fault) => fault,
        };
        let Fault::Server(error) = &fault else { return Err(fault) };
        Err(match error.code.as_str() {
            INVALID_PARAMETER if error.message.contains(OF_TRANSACTION) => {
                Fault::Ended { transaction: commit.transaction.to_owned() }
            }
            INVALID_PARAMETER if error.message.contains(OF_LOCK) => Fault::LockReleased,
            INVALID_PARAMETER if error.message.contains(OF_ROWS) => Fault::RowChanged,
            INSUFFICIENT_PRIVILEGE => Fault::RoleLeft,
            code if NOT_THERE.contains(&code) => Fault::RowChanged,
            _ => fault,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_what_a_file_may_have_done() {
        assert_eq!(MayHave::of("create table t (id int)"), MayHave::default());
        assert!(MayHave::of("set role x").changed_role);
        assert!(MayHave::of("set session authorization x").changed_role);
        assert!(MayHave::of("select pg_advisory_unlock_all()").released_locks);
    }
}
