//! Keys of annals: signed notes, checkpoints, and the key files they are made with.
//!
//! Nothing here reads a clock or an environment variable. Formats are C2SP's: `signed-note`
//! (<https://c2sp.org/signed-note>) and `tlog-checkpoint` (<https://c2sp.org/tlog-checkpoint>),
//! signatures are Ed25519 (RFC 8032).

mod checkpoint;
mod files;
mod note;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use files::{KeyFileError, load_secret, load_verifier, write_pair, write_public};
pub use note::{NoteError, ParseKeyError, SecretKey, SignedNote, VerifierKey};
