//! Where the parts of a log lie. Normative: `event-store/FORMAT.md`.

use std::path::{Path, PathBuf};

use annals_events::{Digest, Seq};

/// The folder of one log.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// A log in the folder `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Locked by the one writer.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The lines.
    pub fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// The segment that begins with event `first`.
    pub fn segment(&self, first: Seq) -> PathBuf {
        self.segments().join(format!("{first:020}.jsonl", first = first.0))
    }

    /// The signed head.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// Content named by digest.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    /// One piece of content.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.to_string())
    }

    /// Bytes that were moved aside.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}

/// The first event of the segment with this file name.
pub(crate) fn segment_first(file_name: &str) -> Option<Seq> {
    let digits = file_name.strip_suffix(".jsonl")?;
    let well_formed = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if well_formed { digits.parse().ok().map(Seq) } else { None }
}
