//! A picture of a database's schema: a snapshot as a value, its fingerprint, and the difference
//! between two of them.
//!
//! Nothing here performs IO or talks to a server; `annals-postgres` takes the picture.

mod diff;
mod snapshot;

pub use diff::{Change, Difference, carry_forward, diff};
pub use snapshot::{
    Family, Object, ObjectKey, ObjectKind, SNAPSHOT_FORMAT, Snapshot, SnapshotError,
};
