//! 32-byte digests with a purpose each, so that a leaf hash is never mistaken for a file digest.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A string that is not 64 lowercase hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 lowercase hexadecimal digits, got {0:?}")]
pub struct ParseDigestError(String);

const HEX: &[u8; 16] = b"0123456789abcdef";

fn to_hex(bytes: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    out
}

/// What a byte is worth as a digit; more than 15 if it is none.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[HEX[value as usize] as usize] = value;
        value += 1;
    }
    nibbles
};

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let (mut out, mut all) = ([0; 32], 0);
    for (byte, pair) in out.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| NIBBLES[usize::from(digit)]);
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all < 16).then_some(out)
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(std::str::from_utf8(&to_hex(&self.0)).expect("hex digits are ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                from_hex(text).map(Self).ok_or_else(|| ParseDigestError(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer
                    .serialize_str(std::str::from_utf8(&to_hex(&self.0)).expect("hex is ASCII"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::parsed(deserializer)
            }
        }
    };
}

digest_type! {
    /// Plain SHA-256 of some content: a file, a blob, a plan.
    Digest
}
digest_type! {
    /// RFC 6962 leaf hash of one stored event: `SHA-256(0x00 ‖ line without LF)`.
    ///
    /// It is also the link: an event's `prev` is the leaf hash of the event before it.
    LeafHash
}
digest_type! {
    /// RFC 6962 root of the tree over a log's leaf hashes.
    TreeHash
}

impl Digest {
    /// Digests `content` in one pass.
    pub fn of(content: &[u8]) -> Self {
        let digest = ring::digest::digest(&SHA256, content);
        Self(digest.as_ref().try_into().expect("SHA-256 is 32 bytes"))
    }

    /// The first `len` hexadecimal digits, for people to read.
    pub fn short(&self, len: usize) -> String {
        self.to_string()[..len.min(64)].to_owned()
    }
}

/// SHA-256 of content that arrives in parts.
#[derive(Clone)]
pub struct DigestBuilder(Context);

impl Default for DigestBuilder {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl DigestBuilder {
    /// Takes the next part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The digest of all parts.
    pub fn finish(self) -> Digest {
        Digest(self.0.finish().as_ref().try_into().expect("SHA-256 is 32 bytes"))
    }
}

impl LeafHash {
    /// The `prev` of the first event: 64 zeroes.
    pub const ZERO: Self = Self([0; 32]);

    /// Hashes one stored line, given without its LF.
    pub fn of_line(line: &[u8]) -> Self {
        Self(sha256_parts(&[&[0x00], line]))
    }

    /// The first `len` hexadecimal digits, for people to read.
    pub fn short(&self, len: usize) -> String {
        self.to_string()[..len.min(64)].to_owned()
    }
}

/// SHA-256 over the concatenation of `parts`.
pub(crate) fn sha256_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 is 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_and_parses_as_lowercase_hex() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        assert!(text.to_uppercase().parse::<Digest>().is_err());
        assert!(text[1..].parse::<Digest>().is_err());
    }

    #[test]
    fn the_leaf_hash_of_nothing_is_the_rfc_6962_vector() {
        assert_eq!(
            LeafHash::of_line(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }
}
