//! Why a command did not begin.

use annals_operations::{Failure, TargetFailure};
use serde::Serialize;

use crate::exit::ExitCode;

/// An error: thing, reason, next step.
#[derive(Debug, Clone, Serialize)]
pub struct FailureDocument {
    /// `annals.error/1`.
    pub format: &'static str,
    /// What is wrong; several things where several were found.
    pub errors: Vec<String>,
    /// The causes behind it, outermost first.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// The process's exit code.
    pub exit_code: u8,
}

impl From<&Failure> for FailureDocument {
    fn from(failure: &Failure) -> Self {
        let errors = match failure {
            Failure::Files(problems) => problems.iter().map(ToString::to_string).collect(),
            Failure::Refused(refusal) => refusal.reasons.iter().map(ToString::to_string).collect(),
            Failure::Target(TargetFailure::Diverged(divergence)) => {
                std::iter::once(divergence.to_string()).chain(divergence.lines()).collect()
            }
            Failure::Target(TargetFailure::Drifted(refusal)) => {
                std::iter::once(refusal.to_string()).chain(refusal.lines()).collect()
            }
            Failure::NotApproved { what, reasons, .. } => {
                std::iter::once(what.clone()).chain(reasons.iter().cloned()).collect()
            }
            other => vec![other.to_string()],
        };
        let mut causes = Vec::new();
        let mut cause = match failure {
            // Their lists say everything.
            Failure::Files(_) | Failure::Refused(_) => None,
            other => std::error::Error::source(other),
        };
        while let Some(error) = cause {
            let text = error.to_string();
            let said = errors.iter().chain(&causes).any(|said: &String| said.contains(&text));
            if !said {
                causes.push(text);
            }
            cause = error.source();
        }
        Self {
            format: "annals.error/1",
            errors,
            causes,
            hint: failure.hint(),
            exit_code: ExitCode::of_failure(failure).code(),
        }
    }
}
