//! Keys of annals: signed notes, checkpoints, and the key files they are made with.
//!
//! Nothing here reads a clock or an environment variable. Formats are C2SP's: `signed-note`
//! (<https://c2sp.org/signed-note>) and `tlog-checkpoint` (<https://c2sp.org/tlog-checkpoint>),
//! signatures are Ed25519 (RFC 8032).

mod checkpoint;
mod files;
mod note;
mod ring;
mod tlog_proof;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use files::{
    KeyFileError, load_ring, load_secret, replace_ring, write_pair, write_public, write_secret,
};
pub use note::{NoteError, ParseKeyError, SecretKey, SignedNote, VerifierKey};
pub use ring::{KeyRing, ParseRingError, RingKey};
pub use tlog_proof::{MAX_TLOG_PROOF_BYTES, TlogProof, TlogProofError};
