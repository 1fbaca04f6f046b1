//! What a sealed backup holds: taken from one snapshot of a database, brought back, compared.
//!
//! Nothing here decides when, reads a clock or a configuration, or writes plaintext to a disk.
//!
//! [`capture`] reads a database over several connections on one exported snapshot, and streams what it
//! finds, compressed in pieces that open alone, into a sealed container. [`read_through`] reads a
//! container to its authenticated end and checks all of it against its [`Manifest`]; [`restore`] brings
//! it into an empty database; [`compare`] says where that database is not what the manifest says.
//! [`find_rows`] says which rows of it a target lacks, and [`put_back`] puts them back.
//! The bytes are specified in `docs/reference/backup-format.md`.

mod attached;
mod capture;
mod catalog;
mod clear;
mod compare;
mod contents;
mod count;
mod error;
mod in_place;
mod kept_log;
mod large_objects;
mod manifest;
mod objects;
mod pairs;
mod pieces;
mod platform;
mod put_back;
mod read;
mod restore;
mod rows;
mod savepoints;
mod search;
mod sections;
mod sql;
mod store;
mod stores;
mod tables;
mod twin;

pub use capture::{CaptureOptions, Captured, capture};
pub use clear::of_others;
pub use compare::{Comparison, Unequal, compare, compare_rows, read_as_named};
pub use count::{TableCount, count_tables};
pub use error::ArchiveError;
pub use in_place::{InPlace, InPlaceOptions, restore_in_place};
pub use manifest::{
    Content, Kind, LargeObjects, LogHead, Manifest, NotIncluded, SequenceState, ServerState,
    TableEntry,
};
pub use objects::{ObjectFolder, ObjectReader, ObjectUpload};
pub use pairs::{Allowed, TablePair, obstacles_in_target, pair};
pub use put_back::{PutBack, put_back, stage_rows};
pub use read::{Archive, read_through};
pub use restore::{Extent, RestoreOptions, Restored, restore};
pub use search::{KeysFound, RowDifferences, RowSearch, find_rows};
pub use store::{FileStore, PartialFile, StoreError, StoredBackup};
pub use stores::{Naming, Sink, Source, Store};
pub use tables::{TableForm, TableName, parse_table_names, table_form, tables_named};
pub use twin::{NotCopied, TwinOptions, copy_schema};

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
