//! What a pipeline says of migrations.
//!
//! Findings in, text out: nothing here reads a file, a clock or a database. The rules stand in
//! [`RULES`]; what one of them found is a [`Finding`]; all that a command found is a [`Report`],
//! which can be written as [`sarif`], [`github`] annotations, [`junit`] and a [`comment`].

mod branch;
mod comment;
mod forms;
mod report;
pub mod rules;
mod secrets;

pub use branch::{Deviation, Known, deviations};
pub use comment::{MARKER, comment};
pub use forms::{github, junit, sarif};
pub use report::{
    Allowance, Counts, Finding, Place, Report, Severity, TestLock, TestRows, TestWay, Tried, Verb,
};
pub use rules::{RULES, Rule, rule};
pub use secrets::{Secret, secrets};
