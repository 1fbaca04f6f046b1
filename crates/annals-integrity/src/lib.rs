//! Verifies log, ledger, files and schema; collects typed findings.
//!
//! Nothing here performs IO, reads a clock, or needs a store: bytes and values in, findings out.
//! A check that could not be made is said to be not checked, never passed.

mod files;
mod finding;
mod ledger;
mod log;
mod schema;

pub use files::{FileState, FileStatus, check_files, compare_files, count_half_done};
pub use finding::{CheckFamily, Finding, Severity, family_outcomes};
pub use ledger::{DIVERGED, LedgerMismatch, check_ledger, compare_ledger};
pub use log::{
    DamageClass, ForkedHeads, KeptHead, KeptNote, LogAudit, LogDamage, LogVerification, Trust,
};
pub use schema::{check_schema, check_validity};
