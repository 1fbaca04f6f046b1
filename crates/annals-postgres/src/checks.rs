//! Integrity checks of a live database: what the catalog says, and what the rows say.
//!
//! Every query is a read-only transaction of its own, takes no lock stronger than `ACCESS SHARE`, and
//! waits for none longer than it may. Which checks there are, how bad they are and what to do is said
//! elsewhere: here they are names. What a role may not see is said to be not checked.

mod catalog;
mod data;
mod exclusion;
mod keys;
mod physical;
mod rows;
mod statement;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::fault::Fault;
use crate::session::Session;

use statement::Statements;

/// From where on a check finds something.
#[derive(Debug, Clone, Copy)]
pub struct CheckLimits {
    /// Age of transaction and multixact numbers.
    pub wraparound_age: u64,
    /// Age of a prepared transaction, in seconds.
    pub prepared_s: u64,
    /// Used part of a sequence, in percent.
    pub sequence_percent: u32,
    /// Used column numbers of a table, of 1600.
    pub column_numbers: u32,
    /// Larger tables are read in parts of so many blocks, each in a transaction of its own
    /// (PostgreSQL 14 and later).
    pub part_blocks: u64,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self {
            // `vacuum_failsafe_age`: from here on the server itself drops all else.
            wraparound_age: 1_600_000_000,
            prepared_s: 300,
            sequence_percent: 75,
            column_numbers: 1_400,
            // 1 GiB: a snapshot is held for seconds, and what is done anew for each part is little.
            part_blocks: 131_072,
        }
    }
}

/// What is checked, and how long it may take.
#[derive(Debug, Clone)]
pub struct CheckOptions<'a> {
    /// The names of the checks to make.
    pub checks: &'a BTreeSet<&'static str>,
    /// Schemas that are not the project's own.
    pub excluded: &'a [String],
    /// From where on something is found.
    pub limits: CheckLimits,
    /// Longest wait for a lock, in milliseconds.
    pub lock_timeout_ms: u64,
    /// Longest run of one statement, in milliseconds; 0 is none but the budget.
    pub statement_timeout_ms: u64,
    /// For all of it.
    pub budget: Option<Duration>,
}

impl CheckOptions<'_> {
    fn has(&self, check: &str) -> bool {
        self.checks.contains(check)
    }
}

/// Why something was not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The role may not read it.
    Privilege(String),
    /// Row level security would hide rows from the role.
    RowSecurity,
    /// An extension is needed.
    Extension(String),
    /// The server is too old for it.
    Version(String),
    /// Somebody holds a lock that does not go with reading.
    Locked,
    /// The time was up; how far it was.
    TimeBudget(String),
    /// The query failed.
    Failed(String),
}

impl Why {
    /// The word in reports.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Privilege(_) => "privilege",
            Self::RowSecurity => "row_security",
            Self::Extension(_) => "extension",
            Self::Version(_) => "version",
            Self::Locked => "locked",
            Self::TimeBudget(_) => "time_budget",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privilege(text)
            | Self::Extension(text)
            | Self::Version(text)
            | Self::TimeBudget(text)
            | Self::Failed(text) => f.write_str(text),
            Self::RowSecurity => f.write_str("row level security hides rows from this role"),
            Self::Locked => f.write_str("another session held a lock on it for too long"),
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The check.
    pub check: &'static str,
    /// The object.
    pub subject: String,
    /// Counts and places; no values but keys that are numbers or UUIDs.
    pub evidence: String,
}

/// What was not checked, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmade {
    /// The check.
    pub check: &'static str,
    /// The object.
    pub subject: String,
    /// Why.
    pub why: Why,
}

/// What a table holds: see `TableContent` of the verifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its name, as SQL spells it.
    pub table: String,
    /// The columns, in the order they were hashed in.
    pub columns: Vec<String>,
    /// Whether rows were hashed as text: before PostgreSQL 14.
    pub as_text: bool,
    /// Number of rows.
    pub rows: u64,
    /// Sums of the rows' hashes modulo 2^64, with two seeds.
    pub sums: [u64; 2],
    /// Transactions it was read in.
    pub parts: u32,
}

/// All that was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The checks that were made, or begun.
    pub made: BTreeSet<&'static str>,
    /// What was found, in order.
    pub seen: Vec<Seen>,
    /// What was not checked.
    pub unmade: Vec<Unmade>,
    /// What the tables hold, by name.
    pub contents: Vec<Content>,
    /// Tables whose rows were read to the end.
    pub tables: u64,
    /// Rows read in them.
    pub rows: u64,
}

impl Report {
    fn see(&mut self, check: &'static str, subject: String, evidence: String) {
        // Several checks may meet the same damage.
        if !self.seen.iter().any(|seen| seen.check == check && seen.subject == subject) {
            self.seen.push(Seen { check, subject, evidence });
        }
    }

    fn miss(&mut self, check: &'static str, subject: &str, why: Why) {
        self.unmade.push(Unmade { check, subject: subject.to_owned(), why });
    }
}

/// Follows the checks.
pub trait CheckProgress: Send {
    /// `done` of `total` pieces of work are done, and `what` is the newest of them.
    fn advanced(&mut self, done: usize, total: usize, what: &str);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCheckProgress;

impl CheckProgress for NoCheckProgress {
    fn advanced(&mut self, _done: usize, _total: usize, _what: &str) {}
}

/// Every check that is made here, by name: each is a check of the verifiers.
pub fn check_names() -> BTreeSet<&'static str> {
    catalog::probes().map(|probe| probe.check).chain(data::CHECKS.iter().copied()).collect()
}

/// Makes the checks on the database of `sessions`, as many at a time as there are of them, and says
/// goodbye.
///
/// # Errors
///
/// When a server does not answer as expected or is lost. What a check meets is in the report.
pub async fn check(
    sessions: Vec<Session>,
    options: &CheckOptions<'_>,
    progress: &mut dyn CheckProgress,
) -> Result<Report, Fault> {
    let mut lines: Vec<Statements> =
        sessions.into_iter().map(|session| Statements::new(session, options)).collect();
    let mut report = Report::default();
    let checked = match lines.first_mut() {
        None => Ok(()),
        Some(first) => match catalog::examine(first, options, &mut report).await {
            Ok(()) => work::examine(&mut lines, options, &mut report, progress).await,
            Err(fault) => Err(fault),
        },
    };
    for line in lines {
        line.close().await;
    }
    checked?;
    report.seen.sort();
    report.unmade.sort_by(|a, b| (a.check, &a.subject).cmp(&(b.check, &b.subject)));
    report.contents.sort_by(|a, b| a.table.cmp(&b.table));
    Ok(report)
}
