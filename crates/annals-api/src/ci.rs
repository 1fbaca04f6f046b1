//! `ci validate`, `ci test` and `ci comment`.

use annals_operations::pipeline::{Report, Verb};
use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;

/// `annals ci validate` and `annals ci test`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CiDocument {
    /// `annals.ci_validate/1` or `annals.ci_test/1`.
    pub format: String,
    /// Whether it may be merged.
    pub passed: bool,
    /// Whether warnings counted.
    pub strict: bool,
    /// Errors.
    pub errors: u64,
    /// Warnings.
    pub warnings: u64,
    /// Notes; what the configuration allows is one.
    pub notes_found: u64,
    /// Everything that was found.
    #[serde(flatten)]
    pub report: Report,
    /// The process's exit code.
    pub exit_code: u8,
}

impl CiDocument {
    /// A report as a document; `strict` lets warnings count.
    pub fn new(report: Report, strict: bool) -> Self {
        let (counts, passed) = (report.counts(), report.passed(strict));
        let format = match report.verb {
            Verb::Validate => "annals.ci_validate/1",
            Verb::Test => "annals.ci_test/1",
        };
        let code = if passed { ExitCode::Success } else { ExitCode::Findings };
        Self {
            format: format.to_owned(),
            passed,
            strict,
            errors: counts.errors,
            warnings: counts.warnings,
            notes_found: counts.notes,
            report,
            exit_code: code.code(),
        }
    }
}

/// `annals ci comment`.
#[derive(Debug, Clone, Serialize)]
pub struct CiCommentDocument {
    /// `annals.ci_comment/1`.
    pub format: &'static str,
    /// Whether it says that the change may be merged.
    pub passed: bool,
    /// The first line of it: how the comment of an earlier run is found again.
    pub marker: &'static str,
    /// The Markdown.
    pub text: String,
}
