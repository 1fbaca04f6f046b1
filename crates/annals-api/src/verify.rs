//! `verify`.

use std::collections::BTreeMap;

use annals_events::{CheckOutcome, CheckResults};
use annals_integrity::{Finding, NotMade, TableContent};
use annals_operations::VerifyView;
use serde::Serialize;

use crate::change::RecoveredRun;
use crate::exit::ExitCode;

/// One thing a check saw.
#[derive(Debug, Clone, Serialize)]
pub struct FindingDocument {
    /// The check.
    pub id: &'static str,
    /// `note`, `warning` or `error`.
    pub severity: &'static str,
    /// The object, file or version.
    pub subject: String,
    /// What was seen.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

impl From<&Finding> for FindingDocument {
    fn from(finding: &Finding) -> Self {
        Self {
            id: finding.id,
            severity: finding.severity.as_str(),
            subject: finding.subject.clone(),
            evidence: finding.evidence.clone(),
            remedy: finding.remedy.clone(),
        }
    }
}

/// Something that was not checked, or not to its end.
#[derive(Debug, Clone, Serialize)]
pub struct NotCheckedDocument {
    /// The check.
    pub id: &'static str,
    /// Its family.
    pub family: &'static str,
    /// The object.
    pub subject: String,
    /// `privilege`, `row_security`, `extension`, `version`, `locked`, `time_budget` or `failed`.
    pub kind: &'static str,
    /// Why, and how much of it was looked at.
    pub reason: String,
}

impl From<&NotMade> for NotCheckedDocument {
    fn from(not_made: &NotMade) -> Self {
        Self {
            id: not_made.id,
            family: not_made.family.as_str(),
            subject: not_made.subject.clone(),
            kind: not_made.kind,
            reason: not_made.reason.clone(),
        }
    }
}

/// What a table holds, as numbers that do not depend on the order of its rows.
#[derive(Debug, Clone, Serialize)]
pub struct ContentDocument {
    /// Its name, as SQL spells it.
    pub table: String,
    /// Number of rows.
    pub rows: u64,
    /// Sums of the rows' hashes with two seeds, modulo 2^64, as hexadecimal digits.
    pub sums: [String; 2],
    /// `record` or `text`.
    pub method: &'static str,
    /// Transactions it was read in.
    pub parts: u32,
}

impl From<&TableContent> for ContentDocument {
    fn from(content: &TableContent) -> Self {
        Self {
            table: content.table.clone(),
            rows: content.rows,
            sums: content.sums.map(|sum| format!("{sum:016x}")),
            method: content.method.as_str(),
            parts: content.parts,
        }
    }
}

/// `annals verify`.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyDocument {
    /// `annals.verify/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// `quick` (the catalog), `standard` or `full` (all data).
    pub level: &'static str,
    /// `passed` or `failed`.
    pub result: &'static str,
    /// By family: `passed`, `failed` or `not_checked`.
    pub checks: BTreeMap<&'static str, &'static str>,
    /// Everything seen, worst first.
    pub findings: Vec<FindingDocument>,
    /// What was not checked, or not to its end.
    pub not_checked: Vec<NotCheckedDocument>,
    /// What the tables hold, where all data was read.
    pub contents: Vec<ContentDocument>,
    /// Tables whose rows were read to the end.
    pub tables_read: u64,
    /// Rows read.
    pub rows_read: u64,
    /// Migrations applied.
    pub applied: usize,
    /// Events in the log, all of them verified.
    pub log_size: u64,
    /// Objects in the live schema.
    pub objects: usize,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<RecoveredRun>,
    /// The process's exit code.
    pub exit_code: u8,
}

/// Verdicts by family.
pub(crate) fn checks(results: &CheckResults) -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("constraints", results.constraints.as_str()),
        ("data_consistency", results.data_consistency.as_str()),
        ("history", results.history.as_str()),
        ("indexes", results.indexes.as_str()),
        ("permissions", results.permissions.as_str()),
        ("table_structure", results.table_structure.as_str()),
    ])
}

impl From<&VerifyView> for VerifyDocument {
    fn from(view: &VerifyView) -> Self {
        let code = match view.result {
            CheckOutcome::Failed => ExitCode::of_findings(&view.findings),
            CheckOutcome::Passed | CheckOutcome::NotChecked => ExitCode::Success,
        };
        Self {
            format: "annals.verify/1",
            target: view.target.clone(),
            level: view.level.as_str(),
            result: view.result.as_str(),
            checks: checks(&view.checks),
            findings: view.findings.iter().map(FindingDocument::from).collect(),
            not_checked: view.not_made.iter().map(NotCheckedDocument::from).collect(),
            contents: view.contents.iter().map(ContentDocument::from).collect(),
            tables_read: view.tables_read,
            rows_read: view.rows_read,
            applied: view.applied,
            log_size: view.log_size,
            objects: view.objects,
            recovered: view.recovered.iter().map(RecoveredRun::from).collect(),
            exit_code: code.code(),
        }
    }
}
