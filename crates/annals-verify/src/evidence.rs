//! Evidence of a fork: two signed heads that cannot both be true, and why, in one file.
//!
//! Who holds the keys can check it without either log.

use std::fmt;

use annals_events::{
    LeafHash, MemoryTree, ProofError, TreeHash, consistency_proof, tree_root, verify_consistency,
};
use annals_integrity::{ForkedHeads, LogVerification};
use annals_keys::{Checkpoint, CheckpointError, KeyRing};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The longest evidence read, in bytes: two notes, 130 hashes, a few words.
pub const MAX_EVIDENCE_BYTES: usize = 256 * 1024;

const FIRST_LINE: &str = "annals.fork-evidence/1";

/// Two signed heads of one log and the consistency proof that fails between them.
///
/// As text: the line `annals.fork-evidence/1`; lines that begin with `#`, for people; `proof` and
/// the number of hashes; the hashes in base64, one a line; an empty line; the note of the smaller
/// head; an empty line; the note of the larger one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The head over fewer events.
    pub smaller: Vec<u8>,
    /// The head over more events, or as many.
    pub larger: Vec<u8>,
    /// RFC 6962 consistency proof between their sizes, from the log of the larger one; empty where
    /// the sizes are equal. Where the smaller size is a power of two, it begins with the root that
    /// log has there, which such a proof leaves out because its verifier knows it.
    pub proof: Vec<[u8; 32]>,
}

/// Why something is no evidence of a fork.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Another form.
    #[error("not fork evidence: {0}")]
    Malformed(&'static str),
    /// A head that does not count.
    #[error("{which} head: {source}")]
    Head {
        /// `the smaller`, `the larger`.
        which: &'static str,
        /// Why.
        source: CheckpointError,
    },
    /// Heads of two logs do not contradict each other.
    #[error("the heads are of two logs, {0} and {1}")]
    TwoLogs(String, String),
    /// They fit each other.
    #[error("the heads fit each other: this is no fork")]
    NoFork,
    /// The proof proves nothing about the larger head.
    #[error("the proof does not belong to the larger head: {0}")]
    Proof(ProofError),
}

impl Evidence {
    /// Reads the text of an evidence file.
    ///
    /// # Errors
    ///
    /// When it has another form.
    pub fn parse(text: &[u8]) -> Result<Self, EvidenceError> {
        let malformed = EvidenceError::Malformed;
        if text.len() > MAX_EVIDENCE_BYTES {
            return Err(malformed("it is too long"));
        }
        let text = std::str::from_utf8(text).map_err(|_| malformed("it is not UTF-8"))?;
        let (head, notes) =
            text.split_once("\n\n").ok_or(malformed("there is no empty line before the heads"))?;
        let mut lines = head.lines().filter(|line| !line.starts_with('#'));
        if lines.next() != Some(FIRST_LINE) {
            return Err(malformed("it begins with another line"));
        }
        let count = lines.next().and_then(|line| line.strip_prefix("proof "));
        let count: usize =
            count.and_then(|n| n.parse().ok()).ok_or(malformed("`proof` and a number follow"))?;
        let hash = |line: &str| BASE64.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
        let proof: Option<Vec<[u8; 32]>> = lines.map(hash).collect();
        let proof = proof.filter(|proof| proof.len() == count);
        let proof = proof.ok_or(malformed("the hashes are 32 bytes in base64, one a line"))?;
        // A note holds an empty line itself: text, signatures.
        let (smaller, larger) = notes
            .match_indices("\n\n")
            .nth(1)
            .map(|(at, _)| (&notes[..=at], &notes[at + 2..]))
            .ok_or(malformed("there are two heads, with an empty line between"))?;
        Ok(Self { smaller: smaller.into(), larger: larger.into(), proof })
    }

    /// Checks that both heads count by `ring` and contradict each other.
    ///
    /// # Errors
    ///
    /// When they do not.
    pub fn check(&self, ring: &KeyRing) -> Result<(Checkpoint, Checkpoint), EvidenceError> {
        let open = |which, note: &[u8]| {
            Checkpoint::open(note, ring).map_err(|source| EvidenceError::Head { which, source })
        };
        let (old, new) = (open("the smaller", &self.smaller)?, open("the larger", &self.larger)?);
        if old.origin != new.origin {
            let names = (old.origin.to_string(), new.origin.to_string());
            return Err(EvidenceError::TwoLogs(names.0, names.1));
        }
        let (begins, proof) = match self.proof.split_first() {
            Some((first, path)) if old.size.is_power_of_two() && old.size < new.size => {
                (TreeHash::from_bytes(*first), path)
            }
            _ => (old.root, &self.proof[..]),
        };
        let fits = |root: TreeHash| verify_consistency(old.size, root, new.size, new.root, proof);
        // The larger log begins with `found`; where that is not what the smaller head says, there
        // were two.
        let found = match fits(begins) {
            Ok(()) => begins,
            // Of equal sizes the roots are all there is to show.
            Err(ProofError::Root { .. }) if old.size == new.size => return Ok((old, new)),
            Err(ProofError::Root { size, found, .. }) if size == old.size => found,
            Err(error) => return Err(EvidenceError::Proof(error)),
        };
        if found == old.root {
            return Err(EvidenceError::NoFork);
        }
        fits(found).map_err(EvidenceError::Proof)?;
        Ok((old, new))
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        f.write_str(
            "# Two heads of one log follow, each signed with a key of that log.\n\
             # The RFC 6962 consistency proof from the smaller to the larger one leads to the root\n\
             # of the larger, but not to that of the smaller: the log was shown with two histories.\n\
             # Check it with the log's public keys: annals-verify --evidence <this file> --key <keys>\n",
        )?;
        writeln!(f, "proof {}", self.proof.len())?;
        for hash in &self.proof {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        let text = |note: &[u8]| String::from_utf8_lossy(note).into_owned();
        write!(f, "\n{}\n{}", text(&self.smaller), text(&self.larger))
    }
}

/// The evidence file of the first fork found, where its two heads are signed.
pub(crate) fn of_forks(
    verification: &LogVerification,
    leaves: &Option<Vec<LeafHash>>,
) -> Option<String> {
    fork_evidence(verification, leaves.as_ref()?)
}

/// The text of the evidence of the first fork a verification has found, from the leaves of the log
/// that was verified.
pub fn fork_evidence(verification: &LogVerification, leaves: &[LeafHash]) -> Option<String> {
    let heads = verification.forks.first()?;
    evidence_of(heads, leaves).map(|evidence| evidence.to_string())
}

fn evidence_of(heads: &ForkedHeads, leaves: &[LeafHash]) -> Option<Evidence> {
    let mut tree = MemoryTree::default();
    let proof = if heads.kept_size == heads.own_size {
        Vec::new()
    } else {
        for leaf in leaves.get(..usize::try_from(heads.own_size).ok()?)? {
            tree.push(*leaf);
        }
        let mut proof = consistency_proof(heads.kept_size, heads.own_size, &tree).ok()?;
        if heads.kept_size.is_power_of_two() {
            proof.insert(0, *tree_root(heads.kept_size, &tree).ok()?.as_bytes());
        }
        proof
    };
    Some(Evidence { smaller: heads.kept.clone(), larger: heads.own.clone(), proof })
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_keys::SecretKey;

    #[test]
    fn two_heads_of_any_sizes_are_evidence_if_and_only_if_they_contradict_each_other() {
        let key = SecretKey::generate("shop").unwrap();
        let ring = KeyRing::from(key.verifier());
        let leaves: Vec<LeafHash> = (0..20).map(|n| LeafHash::of_line(&[n])).collect();
        let mut tree = MemoryTree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        let head = |size: u64, root: TreeHash| {
            let origin = "shop/production".parse().unwrap();
            Checkpoint { origin, size, root }.sign(&key).into_bytes()
        };
        let root_at = |size: u64| tree_root(size, &tree).unwrap();
        for own_size in 1..=20 {
            for kept_size in 1..=own_size {
                let evidence = |kept_root| {
                    let heads = ForkedHeads {
                        kept_in: "a drawer".into(),
                        kept: head(kept_size, kept_root),
                        kept_size,
                        own: head(own_size, root_at(own_size)),
                        own_size,
                    };
                    evidence_of(&heads, &leaves).unwrap()
                };
                let other = evidence(TreeHash::from_bytes([7; 32]));
                let read = Evidence::parse(other.to_string().as_bytes()).unwrap();
                assert_eq!(read, other);
                assert!(read.check(&ring).is_ok(), "{kept_size} of {own_size}");
                let same = evidence(root_at(kept_size));
                assert_eq!(same.check(&ring), Err(EvidenceError::NoFork));
            }
        }
    }
}
