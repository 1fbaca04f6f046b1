//! C2SP proofs of inclusion: one file that shows, offline, that a log holds an event.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::note::{NoteError, SignedNote};

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The longest proof read or written, in bytes. One with a line of 65,535 bytes has about 91,000.
pub const MAX_TLOG_PROOF_BYTES: usize = 1024 * 1024;

/// The height of a tree of 2^64 leaves.
const MAX_HASHES: usize = 64;

/// A C2SP tlog-proof (<https://c2sp.org/tlog-proof>): where an event stands in a signed tree.
///
/// It is only its parts: verify the checkpoint's signature, then the hashes against its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<[u8; 32]>,
    checkpoint: String,
}

/// Why bytes are not a tlog-proof, or its parts cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Longer than [`MAX_TLOG_PROOF_BYTES`].
    #[error("the proof has {0} bytes, at most 1048576 are allowed")]
    TooLong(usize),
    /// Another form than C2SP's.
    #[error("not a tlog-proof: {0}")]
    Malformed(&'static str),
    /// The checkpoint is not a signed note.
    #[error("the checkpoint in the proof: {0}")]
    Checkpoint(#[from] NoteError),
}

use TlogProofError::Malformed;

impl TlogProof {
    /// Puts a proof together; `checkpoint` is the signed note as the log published it.
    ///
    /// `extra` is not covered by any signature. A proof without it is not one whose `extra` is
    /// empty, so that is refused.
    ///
    /// # Errors
    ///
    /// When there are more than 64 hashes, `extra` is empty, the checkpoint is not a signed note,
    /// or it all is longer than [`MAX_TLOG_PROOF_BYTES`].
    pub fn new(
        extra: Option<Vec<u8>>,
        index: u64,
        hashes: Vec<[u8; 32]>,
        checkpoint: String,
    ) -> Result<Self, TlogProofError> {
        if extra.as_ref().is_some_and(Vec::is_empty) {
            return Err(Malformed("empty extra data"));
        }
        if hashes.len() > MAX_HASHES {
            return Err(Malformed("more than 64 hashes"));
        }
        SignedNote::parse(checkpoint.as_bytes())?;
        let proof = Self { extra, index, hashes, checkpoint };
        match proof.length() {
            length if length > MAX_TLOG_PROOF_BYTES => Err(TlogProofError::TooLong(length)),
            _ => Ok(proof),
        }
    }

    /// Bytes of its text.
    fn length(&self) -> usize {
        let base64 = |bytes: usize| bytes.div_ceil(3) * 4;
        let extra = self.extra.as_ref().map_or(0, |extra| "extra \n".len() + base64(extra.len()));
        let index = "index \n".len() + self.index.checked_ilog10().unwrap_or(0) as usize + 1;
        let hashes = self.hashes.len() * (base64(32) + 1);
        HEADER.len() + 1 + extra + index + hashes + 1 + self.checkpoint.len()
    }

    /// Reads a `.tlog-proof` file, of which each proof has one spelling.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly what [`fmt::Display`] writes for some proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > MAX_TLOG_PROOF_BYTES {
            return Err(TlogProofError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed("not UTF-8"))?;
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(Malformed("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(Malformed("the first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.and_then(|line| line.strip_prefix("extra ")).map(parse_extra);
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = parse_index(index.ok_or(Malformed("no index"))?)?;
        // One line more than allowed is enough to refuse them all.
        let hashes = lines.take(MAX_HASHES + 1).map(parse_hash).collect::<Result<_, _>>()?;
        Self::new(extra.transpose()?, index, hashes, checkpoint.to_owned())
    }

    /// What the prover gives along, with a meaning of the application. No signature covers it.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// The place of the event.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The siblings from the leaf to the root (RFC 6962 §2.1.1).
    pub fn hashes(&self) -> &[[u8; 32]] {
        &self.hashes
    }

    /// The checkpoint as the log published it: a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }
}

fn parse_extra(data: &str) -> Result<Vec<u8>, TlogProofError> {
    BASE64.decode(data).map_err(|_| Malformed("the extra data is not base64"))
}

fn parse_index(text: &str) -> Result<u64, TlogProofError> {
    let index: u64 = text.parse().map_err(|_| Malformed("the index is not a decimal number"))?;
    let is_canonical = index.to_string() == text;
    is_canonical.then_some(index).ok_or(Malformed("the index is not spelled as a plain number"))
}

fn parse_hash(line: &str) -> Result<[u8; 32], TlogProofError> {
    // Longer lines are not decoded only to be refused.
    let bytes =
        Some(line).filter(|line| line.len() == 44).and_then(|line| BASE64.decode(line).ok());
    let hash = bytes.and_then(|bytes| bytes.try_into().ok());
    hash.ok_or(Malformed("a hash is not 32 bytes in base64"))
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the C2SP text. Its signatures are shortened for the eye there, so they stand
    /// here with other bytes behind the key ids.
    const EXAMPLE: &str = "c2sp.org/tlog-proof@v1\n\
        extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\n\
        index 73894\n\
        gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n\
        B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\
        EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\n\
        RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n\
        AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\
        \n\
        example.com/fancylog\n\
        109482\n\
        sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\
        \n\
        — example.com/fancylog hI2DJwABAgMEBQ==\n\
        — witness1.example mJirIgABAgMEBQ==\n";

    fn proof(extra: Option<&[u8]>, index: u64, hashes: usize) -> TlogProof {
        let checkpoint = "a/b\n0\nAA==\n\n— k AAAAAAA=\n".to_owned();
        let extra = extra.map(<[u8]>::to_vec);
        TlogProof::new(extra, index, vec![[7; 32]; hashes], checkpoint).unwrap()
    }

    #[test]
    fn the_example_of_c2sp_is_read_and_written_back() {
        let proof = TlogProof::parse(EXAMPLE.as_bytes()).unwrap();
        assert!(proof.extra().unwrap().starts_with(b"age-v1.2.1-darwin-arm64.tar.gz"));
        assert_eq!((proof.index(), proof.hashes().len()), (73_894, 5));
        assert_eq!(proof.hashes()[0][..4], [0x81, 0x22, 0xb2, 0x5e]);
        assert!(proof.checkpoint().starts_with("example.com/fancylog\n109482\n"));
        assert!(proof.checkpoint().ends_with("AgMEBQ==\n"));
        assert_eq!(proof.to_string(), EXAMPLE);
    }

    #[test]
    fn proofs_survive_their_text() {
        let all: Vec<u8> = (0..=255).collect();
        for extra in [None, Some(&b"x"[..]), Some(b"\n\nindex 5\n"), Some(&all)] {
            for index in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
                for hashes in [0, 1, 63, 64] {
                    let proof = proof(extra, index, hashes);
                    let text = proof.to_string();
                    assert_eq!(proof.length(), text.len());
                    assert_eq!(TlogProof::parse(text.as_bytes()), Ok(proof));
                }
            }
        }
    }

    #[test]
    fn another_spelling_is_refused() {
        for (from, to) in [
            ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
            ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v1\r\n"),
            ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v1\n\n"),
            ("c2sp.org", "\nc2sp.org"),
            ("extra YWdl", "extra  YWdl"),
            ("extra YWdl", "Extra YWdl"),
            ("4tYXJ\n", "4tYXJ\nextra YWdl\n"),
            ("4tYXJ\n", "4tY=\n"),
            ("4tYXJ\n", "4tYX==\n"),
            ("4tYXJ\n", "4tYXJ \n"),
            ("extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\n", "extra \n"),
            ("extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\n", "extra\n"),
            ("index 73894", "index 073894"),
            ("index 73894", "index +73894"),
            ("index 73894", "index -1"),
            ("index 73894", "index "),
            ("index 73894", "index  73894"),
            ("index 73894", "index 73894 "),
            ("index 73894", "index 18446744073709551616"),
            ("index 73894\n", ""),
            ("index 73894\n", "index 73894\nindex 73894\n"),
            ("dPlQ=\n", "dPlQ\n"),
            ("dPlQ=\n", "dPlR=\n"),
            ("dPlQ=\n", "dPlQ==\n"),
            ("dPlQ=\n", "dPlQ= \n"),
            ("gSKy", "gSK-"),
            ("gSKyXoYZ", "gSKy"),
            ("\n\nexample", "\nexample"),
            ("\n\nexample", "\n\n\nexample\u{7}"),
            ("AgMEBQ==\n", ""),
            ("\n\n— example", "\n— example"),
        ] {
            let changed = EXAMPLE.replacen(from, to, 1);
            assert_ne!(changed, EXAMPLE, "{from:?} to {to:?}");
            assert!(TlogProof::parse(changed.as_bytes()).is_err(), "{from:?} to {to:?}");
        }
        assert!(TlogProof::parse(b"").is_err());
        assert!(TlogProof::parse(b"\xff").is_err());
        for cut in 0..EXAMPLE.len() - "— witness1.example mJirIgABAgMEBQ==\n".len() {
            assert!(TlogProof::parse(&EXAMPLE.as_bytes()[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_too_much_is_refused_on_both_sides() {
        let checkpoint = || "a/b\n0\nAA==\n\n— k AAAAAAA=\n".to_owned();
        let many = TlogProof::new(None, 0, vec![[0; 32]; 65], checkpoint());
        assert_eq!(many, Err(Malformed("more than 64 hashes")));
        let hash = format!("{}\n", BASE64.encode([0; 32]));
        let text = |hashes| format!("{HEADER}\nindex 0\n{}\n{}", hash.repeat(hashes), checkpoint());
        assert!(TlogProof::parse(text(64).as_bytes()).is_ok());
        assert_eq!(TlogProof::parse(text(65).as_bytes()), many);
        assert_eq!(TlogProof::parse(text(20_000).as_bytes()), many);
        let long = vec![0; 3 * MAX_TLOG_PROOF_BYTES / 4];
        let refused = TlogProof::new(Some(long), 0, Vec::new(), checkpoint());
        assert!(matches!(refused, Err(TlogProofError::TooLong(_))), "{refused:?}");
        let text = vec![b'x'; MAX_TLOG_PROOF_BYTES + 1];
        assert_eq!(TlogProof::parse(&text), Err(TlogProofError::TooLong(text.len())));
        let empty = TlogProof::new(Some(Vec::new()), 0, Vec::new(), checkpoint());
        assert_eq!(empty, Err(Malformed("empty extra data")));
        let unsigned = TlogProof::new(None, 0, Vec::new(), "a/b\n".into());
        assert!(matches!(unsigned, Err(TlogProofError::Checkpoint(_))));
    }
}
