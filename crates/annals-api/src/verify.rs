//! `verify`.

use std::collections::BTreeMap;

use annals_events::{CheckOutcome, CheckResults};
use annals_integrity::{Finding, Severity};
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
            severity: match finding.severity {
                Severity::Note => "note",
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            subject: finding.subject.clone(),
            evidence: finding.evidence.clone(),
            remedy: finding.remedy.clone(),
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
    /// `passed` or `failed`.
    pub result: &'static str,
    /// By family: `passed`, `failed` or `not_checked`.
    pub checks: BTreeMap<&'static str, &'static str>,
    /// Everything seen, worst first.
    pub findings: Vec<FindingDocument>,
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
            result: view.result.as_str(),
            checks: checks(&view.checks),
            findings: view.findings.iter().map(FindingDocument::from).collect(),
            applied: view.applied,
            log_size: view.log_size,
            objects: view.objects,
            recovered: view.recovered.iter().map(RecoveredRun::from).collect(),
            exit_code: code.code(),
        }
    }
}
