//! C2SP checkpoints: the signed head of a log.

use annals_events::{Origin, TreeHash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::note::{NoteError, SecretKey, SignedNote, VerifierKey};

/// A statement about a log: at this size, the tree has this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: Origin,
    /// Number of events.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: TreeHash,
}

/// Why a checkpoint is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error("the checkpoint: {0}")]
    Note(#[from] NoteError),
    /// Signed, but not a checkpoint.
    #[error("the signed text is not a checkpoint: {0}")]
    Malformed(&'static str),
}

impl Checkpoint {
    /// Signs it as a note.
    pub fn sign(&self, key: &SecretKey) -> String {
        let root = BASE64.encode(self.root.as_bytes());
        key.sign_note(&format!("{}\n{}\n{root}\n", self.origin, self.size))
    }

    /// Reads a signed checkpoint and verifies that `key` signed it.
    ///
    /// # Errors
    ///
    /// When the note is broken, not signed by `key`, or holds another text.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(note)?;
        note.verify(key)?;
        Self::parse(note.text())
    }

    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed("expected origin, size and root"));
        };
        if lines.next().is_some() {
            return Err(malformed("lines after the root"));
        }
        let origin = origin.parse().map_err(|_| malformed("the origin has another form"))?;
        let canonical = size == "0" || !size.starts_with('0');
        let size =
            size.parse().ok().filter(|_| canonical && size.bytes().all(|b| b.is_ascii_digit()));
        let root = BASE64.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            origin,
            size: size.ok_or(malformed("the size is a decimal number"))?,
            root: TreeHash::from_bytes(root.ok_or(malformed("the root is 32 bytes in base64"))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_events::CompactRange;

    #[test]
    fn a_checkpoint_survives_signing_and_refuses_changes() {
        let key = SecretKey::generate("demo/production").unwrap();
        let checkpoint = Checkpoint {
            origin: "demo/production".parse().unwrap(),
            size: 12,
            root: CompactRange::default().root(),
        };
        let note = checkpoint.sign(&key);
        assert_eq!(Checkpoint::open(note.as_bytes(), &key.verifier()), Ok(checkpoint));
        let changed = note.replacen("\n12\n", "\n13\n", 1);
        assert!(Checkpoint::open(changed.as_bytes(), &key.verifier()).is_err());
    }

    #[test]
    fn other_texts_are_not_checkpoints() {
        for bad in ["", "a/b\n", "a/b\n1\n", "a/b\n01\nAA==\n", "a/b\n-1\nAA==\n", "a\n1\nAA==\n"] {
            assert!(Checkpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
