//! Keys of annals: signed notes, checkpoints, SSH signatures, and the key files they are made with.
//!
//! Nothing here reads a clock or an environment variable. Formats are C2SP's: `signed-note`
//! (<https://c2sp.org/signed-note>) and `tlog-checkpoint` (<https://c2sp.org/tlog-checkpoint>),
//! signatures are Ed25519 (RFC 8032).

mod agent;
mod checkpoint;
mod files;
mod note;
mod ring;
mod ssh;
mod tlog_proof;

pub use agent::{Agent, AgentError, AgentKey};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use files::{
    KeyFileError, load_ring, load_secret, replace_ring, write_pair, write_public, write_secret,
};
pub use note::{NoteError, ParseKeyError, SecretKey, SignedNote, VerifierKey};
pub use ring::{KeyRing, ParseRingError, RingKey};
pub use ssh::{SIGNATURE_BYTES, Signature, armored, signed_bytes};
pub use tlog_proof::{MAX_TLOG_PROOF_BYTES, TlogProof, TlogProofError};
