//! What a check saw.

use annals_events::{CheckLevel, CheckOutcome, CheckResults};
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

impl Severity {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The family a check belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckFamily {
    /// Log, ledger and files.
    History,
    /// Rows, and what keeps them.
    Data,
    /// One of the families of the schema.
    Schema(Family),
}

impl CheckFamily {
    /// Every family, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::History,
        Self::Schema(Family::TableStructure),
        Self::Data,
        Self::Schema(Family::Constraints),
        Self::Schema(Family::Indexes),
        Self::Schema(Family::Permissions),
    ];

    /// The word in reports and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Data => "data_consistency",
            Self::Schema(Family::TableStructure) => "table_structure",
            Self::Schema(Family::Constraints) => "constraints",
            Self::Schema(Family::Indexes) => "indexes",
            Self::Schema(Family::Permissions) => "permissions",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.as_str() == word)
    }
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

/// A check that could not be made, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotMade {
    /// The check.
    pub id: &'static str,
    /// The family it belongs to.
    pub family: CheckFamily,
    /// What was not looked at.
    pub subject: String,
    /// The kind of reason, such as `privilege` or `time_budget`.
    pub kind: &'static str,
    /// Why, and how much of it was looked at.
    pub reason: String,
}

/// What was to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckScope {
    /// How thoroughly.
    pub level: CheckLevel,
    /// The families asked for.
    pub families: Vec<CheckFamily>,
    /// Whether there was a picture of the schema to compare with.
    pub schema_compared: bool,
}

impl CheckScope {
    /// Whether a family was asked for.
    pub fn has(&self, family: CheckFamily) -> bool {
        self.families.contains(&family)
    }
}

/// The verdict of each family: failed with an error, passed when all its checks of the level were
/// made, else not checked. Data is passed only where rows were read, never on the catalog alone.
pub fn family_outcomes(
    findings: &[Finding],
    not_made: &[NotMade],
    scope: &CheckScope,
) -> CheckResults {
    let of = |family: CheckFamily| {
        let failed = findings.iter().any(|f| f.family == family && f.severity == Severity::Error);
        let whole = match family {
            CheckFamily::History => true,
            CheckFamily::Data => scope.level != CheckLevel::Quick,
            CheckFamily::Schema(_) => scope.schema_compared,
        };
        let made = scope.has(family) && whole && !not_made.iter().any(|n| n.family == family);
        match (failed, made) {
            (true, _) => CheckOutcome::Failed,
            (false, true) => CheckOutcome::Passed,
            (false, false) => CheckOutcome::NotChecked,
        }
    };
    CheckResults {
        constraints: of(CheckFamily::Schema(Family::Constraints)),
        data_consistency: of(CheckFamily::Data),
        history: of(CheckFamily::History),
        indexes: of(CheckFamily::Schema(Family::Indexes)),
        permissions: of(CheckFamily::Schema(Family::Permissions)),
        table_structure: of(CheckFamily::Schema(Family::TableStructure)),
    }
}
