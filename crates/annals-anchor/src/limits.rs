//! How much an anchor may hand over.

/// The longest checkpoint read, in bytes: the limit of a note in `event-store/FORMAT.md`.
pub const MAX_NOTE_BYTES: u64 = 64 * 1024;

/// The largest object published or compared, in bytes. One of ours and one of theirs are in memory
/// at the same time, never more.
pub const MAX_OBJECT_BYTES: u64 = 256 * 1024 * 1024;

/// How often a publication begins again because another publisher was faster.
pub(crate) const MAX_ROUNDS: u32 = 5;
