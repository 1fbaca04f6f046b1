//! A schema in one line.

use std::fmt;
use std::str::FromStr;

use annals_events::Digest;

/// The digest of a schema with the server major version it was read on.
///
/// Spelled `pg15:` and 64 hexadecimal digits. Fingerprints of two major versions are never equal,
/// and say nothing about each other: servers of two majors describe one schema differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Major version of the server.
    pub server_major: u32,
    /// SHA-256 over the digests of all objects.
    pub digest: Digest,
}

impl Fingerprint {
    /// The text form with only the first `len` digits, for people to read.
    pub fn short(&self, len: usize) -> String {
        format!("pg{}:{}", self.server_major, &self.digest.to_string()[..len.min(64)])
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("pg{}:{}", self.server_major, self.digest))
    }
}

/// Why a text is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint such as pg15: and 64 hexadecimal digits")]
pub struct NoFingerprint(String);

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let read = || {
            let (major, digest) = text.strip_prefix("pg")?.split_once(':')?;
            let canonical = !major.starts_with('0') && major.bytes().all(|b| b.is_ascii_digit());
            let server_major = major.parse().ok().filter(|_| canonical)?;
            Some(Self { server_major, digest: digest.parse().ok()? })
        };
        read().ok_or_else(|| NoFingerprint(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_has_one_spelling() {
        let fingerprint = Fingerprint { server_major: 15, digest: Digest::of(b"abc") };
        let text = fingerprint.to_string();
        assert_eq!(text, format!("pg15:{}", Digest::of(b"abc")));
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(fingerprint.short(12), text[..17]);
        let digest = Digest::of(b"abc");
        for wrong in ["", "pg15", "15:", "pg:", "pg015:", "pg+15:", "pgx:", "pg15 :"] {
            let text = format!("{wrong}{digest}");
            assert_eq!(text.parse::<Fingerprint>(), Err(NoFingerprint(text)));
        }
        assert!(text[..68].parse::<Fingerprint>().is_err());
        assert!(text.to_uppercase().parse::<Fingerprint>().is_err());
    }
}
