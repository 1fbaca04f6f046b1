//! The target's ledger against the log: neither can be changed without the other noticing.

use std::collections::BTreeMap;

use annals_events::{LeafHash, Version};
use annals_projections::{Change, History, LedgerRow};

use crate::finding::{CheckFamily, Finding, Severity};

/// The finding of a target that has lost what the log says took effect.
pub const DIVERGED: &str = "ledger.diverged";

/// How ledger and log disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerMismatch {
    /// The log says it took effect; the target knows nothing of it.
    NotInLedger(Box<Change>),
    /// The target says it took effect; the log knows nothing of it.
    NotInLog(Box<LedgerRow>),
    /// Both know it, differently.
    Different {
        /// The version.
        version: Version,
        /// Which change of it.
        ordinal: u64,
        /// What differs: name, ledger's value, log's value.
        what: &'static str,
        /// In the ledger.
        ledger: String,
        /// In the log.
        log: String,
    },
    /// The ledger names an event behind the end of this log: the log is an older copy.
    OlderLog {
        /// The event the ledger names.
        ledger_seq: u64,
        /// Its leaf hash there.
        ledger_hash: LeafHash,
        /// Events in the log.
        log_size: u64,
    },
    /// The ledger was written with another log.
    OtherLog {
        /// That log's name.
        ledger_origin: String,
        /// This log's name.
        log_origin: String,
    },
}

/// Compares the ledger's rows with the history folded from the log `origin` of `log_size` events.
pub fn compare_ledger(
    rows: &[LedgerRow],
    history: &History,
    origin: &str,
    log_size: u64,
) -> Vec<LedgerMismatch> {
    let mut mismatches = Vec::new();
    let changes: BTreeMap<(&Version, u64), &Change> = history
        .changes()
        .iter()
        .map(|change| ((&change.version, change.ordinal), change))
        .collect();
    for row in rows {
        match changes.get(&(&row.version, row.ordinal)) {
            _ if row.log_origin != origin => mismatches.push(LedgerMismatch::OtherLog {
                ledger_origin: row.log_origin.clone(),
                log_origin: origin.to_owned(),
            }),
            Some(change) => mismatches.extend(compare_row(row, change)),
            None if row.intent_seq >= log_size => {
                mismatches.push(LedgerMismatch::OlderLog {
                    ledger_seq: row.intent_seq,
                    ledger_hash: row.intent_hash,
                    log_size,
                });
            }
            None => mismatches.push(LedgerMismatch::NotInLog(Box::new(row.clone()))),
        }
    }
    let known: std::collections::BTreeSet<(&Version, u64)> =
        rows.iter().map(|row| (&row.version, row.ordinal)).collect();
    let unknown = history.changes().iter().filter(|c| !known.contains(&(&c.version, c.ordinal)));
    mismatches.extend(unknown.map(|c| LedgerMismatch::NotInLedger(Box::new(c.clone()))));
    mismatches
}

/// What differs, spelled: only where something does, as there are many rows.
fn differs<T: PartialEq + ToString>(
    what: &'static str,
    ledger: &T,
    log: &T,
) -> Option<(&'static str, String, String)> {
    (ledger != log).then(|| (what, ledger.to_string(), log.to_string()))
}

fn compare_row(row: &LedgerRow, change: &Change) -> Option<LedgerMismatch> {
    let transaction =
        || change.transaction.as_ref().and_then(|log| differs("transaction", &row.xid, log));
    let (what, ledger, log) = differs("direction", &row.direction, &change.direction)
        .or_else(|| differs("name", &row.name, &change.name))
        .or_else(|| differs("file digest", &row.file_raw, &change.file.raw))
        .or_else(|| differs("run", &row.run, &change.key.run))
        .or_else(|| differs("step", &row.step, &change.key.step))
        .or_else(|| differs("intent", &row.intent_hash, &change.intent_hash))
        .or_else(|| differs("intent seq", &row.intent_seq, &change.intent_seq.0))
        .or_else(transaction)?;
    let (version, ordinal) = (row.version.clone(), row.ordinal);
    Some(LedgerMismatch::Different { version, ordinal, what, ledger, log })
}

/// The mismatches as findings.
pub fn check_ledger(mismatches: &[LedgerMismatch]) -> Vec<Finding> {
    mismatches.iter().map(LedgerMismatch::finding).collect()
}

impl LedgerMismatch {
    /// The mismatch as a finding.
    pub fn finding(&self) -> Finding {
        let (id, subject, evidence, remedy) = match self {
            Self::NotInLedger(change) => (
                DIVERGED,
                change.id(),
                format!(
                    "the log says its change {} ({}) took effect at {}, the target's ledger has no \
                     row of it",
                    change.ordinal,
                    change.direction,
                    change.at.to_human()
                ),
                "the target lost acknowledged work (failover, restore, deleted row): go back to the \
                 server that has it, restore it, or record the loss with: annals adopt --lost",
            ),
            Self::NotInLog(row) => (
                "ledger.unknown_row",
                format!("{}_{}", row.version, row.name),
                format!(
                    "the target's ledger has its change {} ({}) by run {}, the log has no such \
                     event",
                    row.ordinal, row.direction, row.run
                ),
                "a row was added by hand, or the log was replaced: compare with a copy of the log",
            ),
            Self::Different { version, ordinal, what, ledger, log } => (
                "ledger.different",
                format!("version {version}"),
                format!("change {ordinal}: {what} is {ledger} in the ledger and {log} in the log"),
                "one of the two was edited: compare both with a copy of the log",
            ),
            Self::OlderLog { ledger_seq, ledger_hash, log_size } => (
                "log.older",
                "event log".to_owned(),
                format!(
                    "the target's ledger names event {ledger_seq} ({}…), this log ends with {} \
                     events",
                    ledger_hash.short(12),
                    log_size
                ),
                "this is an older copy of the log: fetch the newest one",
            ),
            Self::OtherLog { ledger_origin, log_origin } => (
                "log.other",
                "event log".to_owned(),
                format!(
                    "the target was migrated with log {ledger_origin:?}, this log is {log_origin:?}"
                ),
                "fetch the log this target was migrated with; a new one never takes over silently",
            ),
        };
        Finding {
            id,
            family: CheckFamily::History,
            severity: Severity::Error,
            subject,
            evidence,
            remedy: remedy.to_owned(),
        }
    }
}
