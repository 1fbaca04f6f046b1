//! C2SP checkpoints: the signed head of a log.

use annals_events::{Origin, TreeHash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::note::{NoteError, SecretKey, SignedNote};
use crate::ring::{KeyRing, RingKey};

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
    /// Signed by a key that no longer counts at this size.
    #[error("{key} signed it, which was retired and counts up to {until} events, not for {size}")]
    Retired {
        /// The key.
        key: String,
        /// The largest size it counts for.
        until: u64,
        /// The size it has signed.
        size: u64,
    },
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

    /// Signs it by every one of `keys`, of which there is at least one.
    pub fn sign_by(&self, keys: &[&SecretKey]) -> String {
        let (first, others) = keys.split_first().expect("invariant: somebody signs");
        let mut note = self.sign(first);
        let text = note.split_once("\n\n").map(|(text, _)| format!("{text}\n"));
        let text = text.expect("a note has an empty line");
        for key in others {
            note.push_str(&key.signature_line(&text));
        }
        note
    }

    /// Reads a signed checkpoint and verifies that a key of `ring` signed it that counts for it.
    ///
    /// Signatures by other keys are ignored. Every signature by a key of the ring must fit.
    ///
    /// # Errors
    ///
    /// When the note is broken, a signature does not fit, no key of the ring has signed it, those
    /// that have are retired and it is larger than they count for, or it holds another text.
    pub fn open(note: &[u8], ring: &KeyRing) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(note)?;
        let mut signers = Vec::new();
        for entry in ring.keys() {
            match note.verify(&entry.key) {
                Ok(()) => signers.push(entry),
                Err(NoteError::UnknownKey(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if signers.is_empty() {
            let mut names: Vec<&str> = ring.keys().iter().map(|entry| entry.key.name()).collect();
            names.dedup();
            return Err(NoteError::UnknownKey(names.join(", ")).into());
        }
        let checkpoint = Self::parse(note.text())?;
        let reach = |entry: &RingKey| match &entry.until {
            None => u64::MAX,
            Some(until) => until.get(&checkpoint.origin).copied().unwrap_or(0),
        };
        let until = signers.iter().map(|entry| reach(entry)).max().unwrap_or(0);
        if checkpoint.size > until {
            let key = signers[0].key.to_string();
            return Err(CheckpointError::Retired { key, until, size: checkpoint.size });
        }
        Ok(checkpoint)
    }

    /// Reads a checkpoint without verifying who signed it: only to show what it claims.
    ///
    /// # Errors
    ///
    /// When it is not a signed checkpoint at all.
    pub fn claimed(note: &[u8]) -> Result<Self, CheckpointError> {
        Self::parse(SignedNote::parse(note)?.text())
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
        let ring = KeyRing::from(key.verifier());
        assert_eq!(Checkpoint::open(note.as_bytes(), &ring), Ok(checkpoint));
        let changed = note.replacen("\n12\n", "\n13\n", 1);
        assert!(Checkpoint::open(changed.as_bytes(), &ring).is_err());
    }

    #[test]
    fn a_retired_key_counts_up_to_its_size_and_no_further() {
        let (old, new) =
            (SecretKey::generate("demo").unwrap(), SecretKey::generate("demo").unwrap());
        let (origin, other): (Origin, Origin) =
            ("demo/production".parse().unwrap(), "demo/staging".parse().unwrap());
        let mut ring = KeyRing::from(old.verifier());
        ring.add(new.verifier());
        ring.retire(&old.verifier(), [(origin.clone(), 10)].into());
        let root = CompactRange::default().root();
        let of = |origin: &Origin, size| Checkpoint { origin: origin.clone(), size, root };
        let open = |note: String| Checkpoint::open(note.as_bytes(), &ring);
        assert!(open(of(&origin, 10).sign(&old)).is_ok());
        assert!(matches!(
            open(of(&origin, 11).sign(&old)),
            Err(CheckpointError::Retired { until: 10, size: 11, .. })
        ));
        assert!(matches!(open(of(&other, 1).sign(&old)), Err(CheckpointError::Retired { .. })));
        assert!(open(of(&origin, 11).sign_by(&[&old, &new])).is_ok());
        assert!(open(of(&origin, 11).sign(&new)).is_ok());
        // One signature that does not fit is enough to refuse.
        let note = of(&origin, 11).sign_by(&[&new, &old]);
        let forged = note.replacen("\u{2014} demo ", "\u{2014} demo A", 1);
        assert!(open(forged).is_err());
    }

    #[test]
    fn other_texts_are_not_checkpoints() {
        for bad in ["", "a/b\n", "a/b\n1\n", "a/b\n01\nAA==\n", "a/b\n-1\nAA==\n", "a\n1\nAA==\n"] {
            assert!(Checkpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
