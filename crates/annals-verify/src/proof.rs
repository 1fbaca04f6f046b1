//! The proof of one event: a C2SP tlog-proof file with the event's line in it.

use annals_events::{DecodeError, LeafHash, ProofError, Recorded, Seq, decode, verify_inclusion};
use annals_integrity::DamageClass;
use annals_keys::{Checkpoint, CheckpointError, KeyRing, NoteError, TlogProof, TlogProofError};

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum EventProofError {
    /// Another form.
    #[error("not a tlog-proof: {0}")]
    Malformed(#[from] TlogProofError),
    /// The line of the event is not in it.
    #[error("the event's line is not in it (`extra`)")]
    NoLine,
    /// The line is no event.
    #[error("its line: {0}")]
    Line(#[from] DecodeError),
    /// The line is another event, or of another log, than the proof says.
    #[error("its line is event {seq} of {origin}, the proof is about event {index} of {log}")]
    OtherEvent {
        /// Place in the line.
        seq: Seq,
        /// Log in the line.
        origin: String,
        /// Place the proof is about.
        index: u64,
        /// Log the proof is about.
        log: String,
    },
    /// The signed head does not count.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The path does not lead to the signed root.
    #[error("the line is not in the signed log: {0}")]
    Path(#[from] ProofError),
}

impl EventProofError {
    /// The class of damage, for the exit code.
    pub fn class(&self) -> DamageClass {
        match self {
            Self::Malformed(_) | Self::NoLine => DamageClass::Unreadable,
            Self::Line(_) => DamageClass::Content,
            Self::OtherEvent { .. } => DamageClass::Order,
            Self::Checkpoint(
                CheckpointError::Note(NoteError::UnknownKey(_)) | CheckpointError::Retired { .. },
            ) => DamageClass::UnknownKey,
            Self::Checkpoint(_) => DamageClass::Signature,
            Self::Path(_) => DamageClass::NotSigned,
        }
    }
}

/// An event and the signed head it is proven to be under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenEvent {
    /// The event.
    pub recorded: Recorded,
    /// Its line.
    pub line: Vec<u8>,
    /// The signed head.
    pub checkpoint: Checkpoint,
}

/// Checks the proof of one event with the pinned keys.
///
/// # Errors
///
/// When it proves nothing; see [`EventProofError`].
pub fn check_proof(proof: &[u8], ring: &KeyRing) -> Result<ProvenEvent, EventProofError> {
    let proof = TlogProof::parse(proof)?;
    let line = proof.extra().ok_or(EventProofError::NoLine)?.to_vec();
    let checkpoint = Checkpoint::open(proof.checkpoint().as_bytes(), ring)?;
    let recorded = decode(&line)?;
    if recorded.seq.0 != proof.index() || recorded.origin != checkpoint.origin {
        return Err(EventProofError::OtherEvent {
            seq: recorded.seq,
            origin: recorded.origin.to_string(),
            index: proof.index(),
            log: checkpoint.origin.to_string(),
        });
    }
    let leaf = LeafHash::of_line(&line);
    let (seq, size, root) = (recorded.seq, checkpoint.size, checkpoint.root);
    verify_inclusion(leaf, seq, size, proof.hashes(), root)?;
    Ok(ProvenEvent { recorded, line, checkpoint })
}
