//! Append-only homes for the log, and the signed checkpoints beside it.
//!
//! Nothing here reads a clock, draws identifiers, or interprets events: it keeps their bytes.

mod blobs;
mod disk;
mod file;
mod layout;
mod read;
mod store;

pub use blobs::BlobError;
pub use file::{FileLog, OpenError, OpenOptions};
pub use layout::Layout;
pub use read::{LogFiles, ReadError, read_files};
pub use store::{AppendError, EventStore, Head};
