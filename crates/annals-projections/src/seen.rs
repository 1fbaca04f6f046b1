//! The migrations a workspace held when it was last read: what was pending at a moment.

use annals_events::{BlobRef, Digest, FileRef, Seq, Timestamp, Version, canonical_json};
use serde::{Deserialize, Serialize};

use crate::applied::AppliedSet;

/// Version of the blob a `migrations_seen` event names.
pub const SEEN_FORMAT: u32 = 1;

/// The last time other migrations than before were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// Number of migrations.
    pub files: u64,
    /// The list of them: a [`SeenSet`].
    pub set: BlobRef,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// A migration as it was read. `canonical`, `name` and `raw` are those of the file that applies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenMigration {
    /// SHA-256 over its statements alone.
    pub canonical: Digest,
    /// File name, without folders.
    pub name: String,
    /// SHA-256 of its bytes.
    pub raw: Digest,
    /// The file that rolls it back.
    pub rollback: Option<FileRef>,
    /// The version.
    pub version: Version,
}

impl SeenMigration {
    /// A migration and its two files.
    pub fn new(version: Version, file: FileRef, rollback: Option<FileRef>) -> Self {
        Self { canonical: file.canonical, name: file.name, raw: file.raw, rollback, version }
    }
}

/// The migrations of a workspace in the order they are applied: a blob beside the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenSet {
    format: u32,
    migrations: Vec<SeenMigration>,
}

/// Why a blob is not a set of migrations.
#[derive(Debug, thiserror::Error)]
pub enum SeenError {
    /// Another shape.
    #[error("not a list of migrations")]
    Malformed(#[from] serde_json::Error),
    /// A newer annals has written it.
    #[error("a list of migrations of format {0}; this annals reads 1")]
    Newer(u32),
}

impl SeenSet {
    /// Migrations in the order they are applied.
    pub fn new(migrations: Vec<SeenMigration>) -> Self {
        Self { format: SEEN_FORMAT, migrations }
    }

    /// In the order they are applied.
    pub fn migrations(&self) -> &[SeenMigration] {
        &self.migrations
    }

    /// The blob's bytes.
    pub fn to_blob(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).expect("it has string keys only");
        let text = canonical_json(&value).expect("invariant: digests, names and a small number");
        text.into_bytes()
    }

    /// Reads a blob.
    ///
    /// # Errors
    ///
    /// When it is something else, or newer.
    pub fn from_blob(blob: &[u8]) -> Result<Self, SeenError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(blob)?;
        if head.format != SEEN_FORMAT {
            return Err(SeenError::Newer(head.format));
        }
        Ok(serde_json::from_slice(blob)?)
    }

    /// Those that are not applied, in order.
    pub fn pending<'a>(
        &'a self,
        applied: &'a AppliedSet,
    ) -> impl Iterator<Item = &'a SeenMigration> {
        self.migrations.iter().filter(|migration| !applied.holds(&migration.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> FileRef {
        let digest = Digest::of(name.as_bytes());
        FileRef { canonical: digest, name: name.into(), raw: digest }
    }

    #[test]
    fn a_set_has_one_spelling_and_reads_back() {
        let version = |text: &str| text.parse().unwrap();
        let set = SeenSet::new(vec![
            SeenMigration::new(version("001"), file("001_a.sql"), Some(file("001_a_rollback.sql"))),
            SeenMigration::new(version("002"), file("002_b.sql"), None),
        ]);
        let blob = set.to_blob();
        let text = String::from_utf8(blob.clone()).unwrap();
        let digest = Digest::of(b"002_b.sql");
        let last = format!(
            ",{{\"canonical\":\"{digest}\",\"name\":\"002_b.sql\",\"raw\":\"{digest}\",\
             \"rollback\":null,\"version\":\"002\"}}]}}"
        );
        assert!(text.starts_with("{\"format\":1,\"migrations\":[{\"canonical\":\""), "{text}");
        assert!(text.ends_with(&last), "{text}");
        assert_eq!(SeenSet::from_blob(&blob).unwrap(), set);
    }

    #[test]
    fn another_blob_is_refused() {
        let refused = |text: &str| SeenSet::from_blob(text.as_bytes()).unwrap_err();
        assert!(matches!(refused("{\"format\":2,\"migrations\":7}"), SeenError::Newer(2)));
        for bad in ["", "[]", "{}", "{\"format\":1}", "{\"format\":1,\"migrations\":[],\"x\":1}"] {
            assert!(matches!(refused(bad), SeenError::Malformed(_)), "{bad}");
        }
    }
}
