//! A picture of a database's schema: a snapshot as a value, its fingerprint, its stored form, its
//! text, and the difference between two of them.
//!
//! Nothing here performs IO or talks to a server; `annals-postgres` takes the picture.
//! `docs/reference/schema.md` describes kinds, attributes and formulas.

mod diff;
mod fingerprint;
mod kind;
mod parts;
mod render;
mod snapshot;
mod stored;

pub use diff::{Change, Difference, Sameness, carry_forward, diff, sameness};
pub use fingerprint::{Fingerprint, NoFingerprint};
pub use kind::{Family, ObjectKind};
pub use parts::{parts_in_words, wholes};
pub use render::{Attachment, attachments, render};
pub use snapshot::{Object, ObjectKey, SNAPSHOT_FORMAT, Snapshot};
pub use stored::{Delta, SnapshotError, Stored};
