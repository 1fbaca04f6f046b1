//! A place for copies, as little as it takes: the other side of the wall.

use std::future::Future;

use futures_util::stream::BoxStream;

use crate::download::LocalFile;
use crate::error::AnchorError;
use crate::exhibit::ObjectPath;

/// What tells one state of the checkpoint from another: an entity tag, a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// The checkpoint an anchor holds, nothing verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The note.
    pub note: Vec<u8>,
    /// Its state.
    pub version: Version,
}

/// What came of writing a new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// It is there and durable.
    Written,
    /// Something was there already. Nothing was changed, and this is what lies there, durable.
    Present(Vec<u8>),
}

/// What came of replacing the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The new one is there and durable.
    Done,
    /// Somebody else has changed it meanwhile. Nothing was changed.
    Lost,
}

/// One name in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An object of the published layout.
    Object(ObjectPath),
    /// Something beside it: a lock, an unfinished file of a writer.
    Other(String),
}

/// A place that keeps objects by path. One implementation is one kind of anchor that keeps copies.
///
/// The contract: an object is there whole or not at all; when a method returns `Ok`, what it wrote
/// is durable; an `Err` says nothing about whether it was written, and calling again settles it.
/// Nothing is ever deleted, and nothing but the checkpoint is ever replaced.
pub trait Shelf: Sync {
    /// Held by the one publisher, where the place has a lock.
    type Turn: Send;

    /// The kind of place, in one word.
    fn kind(&self) -> &'static str;

    /// The place in words, without any secret.
    fn name(&self) -> String;

    /// Waits for the lock of the place, where it has one.
    fn take_turn(&self) -> impl Future<Output = Result<Self::Turn, AnchorError>> + Send;

    /// Reads the checkpoint, or `None` if there is none.
    fn checkpoint(&self) -> impl Future<Output = Result<Option<Held>, AnchorError>> + Send;

    /// Writes an object where there is none.
    fn place(
        &self,
        path: &ObjectPath,
        bytes: &[u8],
    ) -> impl Future<Output = Result<Placed, AnchorError>> + Send;

    /// Replaces the checkpoint by `note` if it still is `base`; `None` means there was none.
    fn swap(
        &self,
        base: Option<&Held>,
        note: &[u8],
    ) -> impl Future<Output = Result<Swap, AnchorError>> + Send;

    /// Reads an object of at most `limit` bytes, or `None` if it is not there.
    fn fetch(
        &self,
        path: &ObjectPath,
        limit: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, AnchorError>> + Send;

    /// Writes an object into `file` piece by piece and returns its length in bytes, or `None` if it
    /// is not there.
    fn copy_into(
        &self,
        path: &ObjectPath,
        file: &mut LocalFile,
    ) -> impl Future<Output = Result<Option<u64>, AnchorError>> + Send;

    /// Everything that is there, in any order. A name below a folder of the published layout that
    /// is not a safe path is [`AnchorError::Stray`].
    fn list(&self) -> BoxStream<'_, Result<Found, AnchorError>>;
}
