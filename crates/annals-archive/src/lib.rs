//! What a sealed backup holds: taken from one snapshot of a database, brought back, compared.
//!
//! Nothing here decides when, reads a clock or a configuration, or writes plaintext to a disk.
//!
//! [`capture`] reads a database over several connections on one exported snapshot, and streams what it
//! finds, compressed in pieces that open alone, into a sealed container. [`read_through`] reads a
//! container to its authenticated end and checks all of it against its [`Manifest`]; [`restore`] brings
//! it into an empty database; [`compare`] says where that database is not what the manifest says.
//! The bytes are specified in `docs/reference/backup-format.md`.

mod capture;
mod catalog;
mod compare;
mod contents;
mod count;
mod error;
mod large_objects;
mod manifest;
mod objects;
mod pieces;
mod read;
mod restore;
mod rows;
mod sql;
mod store;
mod stores;

pub use capture::{CaptureOptions, Captured, capture};
pub use compare::{Comparison, Unequal, compare};
pub use count::{TableCount, count_tables};
pub use error::ArchiveError;
pub use manifest::{
    Content, Kind, LargeObjects, LogHead, Manifest, NotIncluded, SequenceState, ServerState,
    TableEntry,
};
pub use objects::{ObjectFolder, ObjectReader, ObjectUpload};
pub use read::{Archive, read_through};
pub use restore::{RestoreOptions, Restored, restore};
pub use store::{FileStore, PartialFile, StoreError, StoredBackup};
pub use stores::{Naming, Sink, Source, Store};

/// Watches how far it is, in bytes of rows before compression.
pub trait Watcher {
    /// A phase begins; `bytes` is what it is about to move, as far as is known.
    fn begins(&mut self, phase: Phase, bytes: u64);

    /// So many bytes more have been moved.
    fn advances(&mut self, bytes: u64);
}

/// Nobody watches.
pub struct NoWatcher;

impl Watcher for NoWatcher {
    fn begins(&mut self, _: Phase, _: u64) {}
    fn advances(&mut self, _: u64) {}
}

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The schema is read.
    Schema,
    /// Rows are copied out of the database.
    Rows,
    /// The container is authenticated.
    Authenticate,
    /// Rows are copied into the new database.
    Load,
    /// Indexes and constraints are made.
    Indexes,
    /// What was restored is compared.
    Compare,
}
