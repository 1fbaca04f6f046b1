//! Verifies log, ledger, files and schema; collects typed findings.
//!
//! Nothing here performs IO, reads a clock, or needs a store: bytes and values in, findings out.
//! A check that could not be made is said to be not checked, never passed.

mod checks;
mod content;
mod files;
mod finding;
mod ledger;
mod log;
mod schema;

pub use checks::Check;
pub use content::{ContentMethod, TableContent, compare_contents};
pub use files::{FileState, FileStatus, check_files, compare_files, count_half_done};
pub use finding::{CheckFamily, CheckScope, Finding, NotMade, Severity, family_outcomes};
pub use ledger::{DIVERGED, LedgerMismatch, check_ledger, compare_ledger};
pub use log::{
    DamageClass, ForkedHeads, KeptHead, KeptNote, LogAudit, LogDamage, LogVerification, Trust,
};
pub use schema::check_schema;
