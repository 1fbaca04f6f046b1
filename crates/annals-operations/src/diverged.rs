//! A target that has lost what the log says took effect: which changes, and what is known of each.

use std::fmt;

use annals_events::{Direction, RunId, Timestamp};
use annals_integrity::{CheckFamily, DIVERGED, Finding, LedgerMismatch, Severity};
use annals_postgres::{Fate, Session, TransactionStatus};
use annals_projections::Change;

use crate::book::Book;
use crate::error::{Failure, TargetFailure};
use crate::open;
use crate::targets::Target;

/// A change the log says took effect, and the target knows nothing of.
#[derive(Debug, Clone)]
pub struct LostChange {
    /// The change as the log knows it.
    pub change: Change,
    /// The server's timeline when it was recorded.
    pub timeline_then: Option<u32>,
    /// What the server says of its transaction now.
    pub fate: Option<Fate>,
}

/// A target that has lost acknowledged work.
#[derive(Debug, Clone)]
pub struct Divergence {
    /// The target.
    pub target: String,
    /// The server's timeline now.
    pub timeline: u32,
    /// What it has lost, in the order it took effect.
    pub lost: Vec<LostChange>,
}

/// What leads out of it.
pub(crate) const WAYS_OUT: &str = "go back to the server that has them (fail back), or restore it; to \
    go on without them, or where rows alone are missing, record what is so: annals adopt --lost";

impl LostChange {
    /// `<version>_<name>`.
    pub fn id(&self) -> String {
        self.change.id()
    }

    /// When it was acknowledged.
    pub fn acknowledged_at(&self) -> Timestamp {
        self.change.at
    }

    /// The run it was part of.
    pub fn run(&self) -> RunId {
        self.change.key.run
    }

    /// Whether the server still knows its transaction as committed: then no commit was lost, and its
    /// row was deleted since.
    fn is_row_alone(&self, timeline: u32) -> bool {
        let committed = matches!(self.fate, Some(Fate::Known(TransactionStatus::Committed)));
        committed && self.timeline_then == Some(timeline)
    }

    /// What the log says of it and what the server says now, in a sentence without its name.
    pub(crate) fn describe(&self, timeline: u32) -> String {
        let change = &self.change;
        let did = match change.direction {
            Direction::Up => "applied",
            Direction::Down => "rolled back",
        };
        let transaction = change.transaction.as_deref();
        let then = self.timeline_then.map(|then| format!(", timeline {then}")).unwrap_or_default();
        let xid = transaction.map(|xid| format!(", transaction {xid}")).unwrap_or_default();
        let status = transaction.zip(self.fate).map(|(xid, fate)| match fate {
            Fate::InTheFuture => format!("; transaction {xid} is in the future there"),
            Fate::Known(_) if self.is_row_alone(timeline) => format!(
                "; transaction {xid} is committed there: only its row was deleted since, by hand"
            ),
            Fate::Known(status) if self.timeline_then == Some(timeline) => {
                format!("; transaction {xid} is {} there", status.as_str())
            }
            // The number of somebody else's transaction.
            Fate::Known(_) => String::new(),
        });
        format!(
            "{did} at {} by {} in run {}{xid}{then}; the target, on timeline {timeline} now, has no \
             ledger row of change {}{}",
            change.at.to_human(),
            change.by,
            change.key.run,
            change.ordinal,
            status.unwrap_or_default()
        )
    }
}

impl Divergence {
    /// One line for each lost change.
    pub fn lines(&self) -> Vec<String> {
        let line = |lost: &LostChange| format!("{}: {}", lost.id(), lost.describe(self.timeline));
        self.lost.iter().map(line).collect()
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let finding = |lost: &LostChange| Finding {
            id: DIVERGED,
            family: CheckFamily::History,
            severity: Severity::Error,
            subject: lost.id(),
            evidence: format!("DIVERGED: {}", lost.describe(self.timeline)),
            remedy: WAYS_OUT.to_owned(),
        };
        self.lost.iter().map(finding).collect()
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = if self.lost.len() == 1 { "change" } else { "changes" };
        if self.lost.iter().all(|lost| lost.is_row_alone(self.timeline)) {
            return write!(
                f,
                "DIVERGED: the ledger of the target {:?} has no row of {} {changes} that took effect \
                 there; nothing was run",
                self.target,
                self.lost.len()
            );
        }
        write!(
            f,
            "DIVERGED: the target {:?} has lost {} {changes} the log says took effect; nothing was run",
            self.target,
            self.lost.len()
        )
    }
}

/// What the target has lost; nothing if it has all the log knows.
pub(crate) async fn divergence(
    session: &mut Session,
    target: &Target,
    book: &Book,
    mismatches: &[LedgerMismatch],
) -> Result<Option<Divergence>, Failure> {
    let lost = mismatches.iter().filter_map(|mismatch| match mismatch {
        LedgerMismatch::NotInLedger(change) => Some((**change).clone()),
        _ => None,
    });
    let lost: Vec<Change> = lost.collect();
    if lost.is_empty() {
        return Ok(None);
    }
    let fault = open::fault(target);
    let timeline = session.timeline().await.map_err(&fault)?;
    let mut changes = Vec::new();
    for change in lost {
        let fate = match &change.transaction {
            Some(xid) => Some(session.fate_of_acknowledged(xid).await.map_err(&fault)?),
            None => None,
        };
        let timeline_then = book.timeline_at(change.seq);
        changes.push(LostChange { change, timeline_then, fate });
    }
    Ok(Some(Divergence { target: target.name.clone(), timeline, lost: changes }))
}

/// Refuses to go on with a target that has lost something.
pub(crate) async fn check_not_diverged(
    session: &mut Session,
    target: &Target,
    book: &Book,
    mismatches: &[LedgerMismatch],
) -> Result<(), Failure> {
    match divergence(session, target, book, mismatches).await? {
        None => Ok(()),
        Some(divergence) => Err(TargetFailure::Diverged(Box::new(divergence)).into()),
    }
}

/// The mismatches as findings; what was lost with all that is known of it.
pub(crate) async fn findings(
    session: &mut Session,
    target: &Target,
    book: &Book,
    mismatches: &[LedgerMismatch],
) -> Result<Vec<Finding>, Failure> {
    let divergence = divergence(session, target, book, mismatches).await?;
    let others = mismatches.iter().filter(|m| !matches!(m, LedgerMismatch::NotInLedger(_)));
    let lost = divergence.map(|divergence| divergence.findings()).unwrap_or_default();
    Ok(lost.into_iter().chain(others.map(LedgerMismatch::finding)).collect())
}
