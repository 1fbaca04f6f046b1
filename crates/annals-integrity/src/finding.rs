//! What a check saw.

use annals_events::{CheckOutcome, CheckResults};
use annals_schema::Family;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Something to look at; nothing is wrong yet.
    Warning,
    /// Something is wrong.
    Error,
}

/// The family a check belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckFamily {
    /// Log, ledger and files.
    History,
    /// One of the families of the schema.
    Schema(Family),
}

/// One thing a verifier saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check, such as `index.invalid`.
    pub id: &'static str,
    /// The family it belongs to.
    pub family: CheckFamily,
    /// How bad it is.
    pub severity: Severity,
    /// The object, file or version.
    pub subject: String,
    /// What was seen.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

/// The verdict of each family, from everything found; `data_consistency` is not checked here.
pub fn family_outcomes(findings: &[Finding], schema_checked: bool) -> CheckResults {
    let of = |family: CheckFamily, checked: bool| {
        let failed = findings.iter().any(|f| f.family == family && f.severity == Severity::Error);
        match (failed, checked) {
            (true, _) => CheckOutcome::Failed,
            (false, true) => CheckOutcome::Passed,
            (false, false) => CheckOutcome::NotChecked,
        }
    };
    let schema = |family| of(CheckFamily::Schema(family), schema_checked);
    CheckResults {
        constraints: schema(Family::Constraints),
        data_consistency: CheckOutcome::NotChecked,
        history: of(CheckFamily::History, true),
        indexes: schema(Family::Indexes),
        permissions: schema(Family::Permissions),
        table_structure: schema(Family::TableStructure),
    }
}
