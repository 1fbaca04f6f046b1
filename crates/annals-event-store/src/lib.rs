//! Append-only homes for the log: the contract they keep, and the one in a folder.
//!
//! Nothing here reads a clock, draws identifiers, interprets events beyond what decides whether a
//! log may be written, or speaks to a network.

mod admit;
mod blobs;
mod disk;
mod file;
mod group;
mod import;
mod layout;
mod read;
mod store;

pub use admit::{Admission, KnownHead, OpenError, OpenOptions};
pub use blobs::BlobError;
pub use disk::{Disk, DiskFile, DiskFolder, RealDisk};
pub use file::{FILE_HOME, FileLog};
pub use group::GroupLog;
pub use import::move_aside;
pub use layout::Layout;
pub use read::{Lines, LogFiles, ReadError, split_export};
pub use store::{AppendError, Cause, EventStore, Head, StoreError};
