//! Verifies an event log offline: a folder, an export file, or a stream.
//!
//! Nothing here speaks to a database or a network, waits for anything but a file, or trusts what
//! lies beside the log: keys and kept heads come from the caller. Memory and time are bounded by
//! the bytes given, and a line is never longer in memory than a line may be.

mod approvals;
mod evidence;
mod folder;
mod proof;
mod report;
mod stream;
mod tree;

pub use annals_integrity::{DamageClass, KeptNote, LogVerification, Trust};
pub use approvals::{ApprovalAudit, ApprovalCounts};
pub use evidence::{Evidence, EvidenceError, MAX_EVIDENCE_BYTES, fork_evidence};
pub use folder::{is_own_head, kept_note, verify_path};
pub use proof::{EventProofError, ProvenEvent, check_proof};
pub use report::{BlobCounts, DamageReport, KeptReport, Report, Tone};
pub use stream::verify_stream;
