//! The wall: what a log shows to those outside.

use std::fmt;
use std::str::FromStr;

use annals_events::{Digest, Seq, TreeHash};
use annals_keys::Checkpoint;

use crate::error::BoxError;

/// The longest object path, in bytes. The longest of the layout has about 80.
const MAX_PATH_BYTES: usize = 255;

/// What a log shows to an anchor, fixed at one signed size.
///
/// The contract: all answers are about the same history, that of [`Self::checkpoint`]; lines behind
/// its size are not shown. The same `since_size` gives the same lines again, however often it is
/// asked for.
pub trait Exhibit: Sync {
    /// The signed head, as it will stand in the anchor.
    fn note(&self) -> &[u8];

    /// What the note says.
    fn checkpoint(&self) -> &Checkpoint;

    /// The root over the first `size` events, or `None` if the log is shorter than that.
    fn root_at(&self, size: u64) -> Option<TreeHash>;

    /// All of the published layout that is new since `since_size`, one object at a time.
    ///
    /// - `segments/`: the lines from `since_size` up to the checkpoint's size, without a gap and in
    ///   order. A publication may cut them into several segments, so that none grows large.
    /// - `tile/`: hash tiles and entry bundles that were not complete at `since_size`, or not there.
    /// - `blobs/sha256/`: content the new events name.
    ///
    /// The `checkpoint` is not among them: the anchor writes it last.
    fn objects(
        &self,
        since_size: u64,
    ) -> Box<dyn Iterator<Item = Result<Object, BoxError>> + Send + '_>;
}

/// One file of the published layout. Once published it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Where it lies, below the anchor's root.
    pub path: ObjectPath,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A path that is not one of the published layout, shown escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a path of a published log")]
pub struct UnsafePath(pub String);

/// Where an object of the published layout lies below the root of a copy.
///
/// Parts of `a-z 0-9 . _ -` that do not begin with a dot, joined by `/`, below `segments`, `tile` or
/// `blobs`; or `checkpoint` itself. So it names the same file in a directory and in a store, and
/// cannot leave either.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(String);

/// The name of the signed head.
const CHECKPOINT: &str = "checkpoint";

/// The folders of a published log.
const FOLDERS: [&str; 3] = ["segments", "tile", "blobs"];

/// Whether `name` is at the top of a published log.
pub(crate) fn is_layout_root(name: &str) -> bool {
    name == CHECKPOINT || FOLDERS.contains(&name)
}

impl ObjectPath {
    /// The signed head.
    pub fn checkpoint() -> Self {
        Self(CHECKPOINT.to_owned())
    }

    /// The segment that begins with event `first`.
    pub fn segment(first: Seq) -> Self {
        Self(format!("segments/{:020}.jsonl", first.0))
    }

    /// Content by its digest.
    pub fn blob(digest: &Digest) -> Self {
        Self(format!("blobs/sha256/{digest}"))
    }

    /// The first event of the segment, if this is one.
    pub fn segment_first(&self) -> Option<Seq> {
        let digits = self.0.strip_prefix("segments/")?.strip_suffix(".jsonl")?;
        let well_formed = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        if well_formed { digits.parse().ok().map(Seq) } else { None }
    }

    /// Whether this is the signed head.
    pub fn is_checkpoint(&self) -> bool {
        self.0 == CHECKPOINT
    }

    /// The path as text, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts, from the root.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn part_is_safe(part: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
}

impl FromStr for ObjectPath {
    type Err = UnsafePath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let below = text.split_once('/').is_some_and(|(first, _)| FOLDERS.contains(&first));
        let known = text == CHECKPOINT || below;
        if known && text.len() <= MAX_PATH_BYTES && text.split('/').all(part_is_safe) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UnsafePath(text.chars().take(MAX_PATH_BYTES).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_layout_are_accepted_and_read_back() {
        for good in [
            "checkpoint",
            "segments/00000000000000000000.jsonl",
            "tile/0/x001/067.p/5",
            "tile/entries/000",
            "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            assert_eq!(good.parse::<ObjectPath>().unwrap().as_str(), good);
        }
        assert_eq!(ObjectPath::segment(Seq(42)).segment_first(), Some(Seq(42)));
        assert_eq!(ObjectPath::checkpoint().segment_first(), None);
        assert_eq!("segments/7.jsonl".parse::<ObjectPath>().unwrap().segment_first(), None);
    }

    #[test]
    fn a_path_cannot_leave_the_copy_or_name_anything_else() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "segments",
            "segments/",
            "segments//a",
            "segments/../checkpoint",
            "segments/..",
            "segments/.hidden",
            "segments/a\\b",
            "segments/a b",
            "segments/A",
            "segments/a\0",
            "segments/\u{202e}",
            "segments/%2e%2e/a",
            "checkpoint/a",
            "lock",
            "keys/log.key",
            "tile/0/000/",
        ] {
            assert!(bad.parse::<ObjectPath>().is_err(), "{bad:?}");
        }
        let long = format!("tile/{}", "a".repeat(MAX_PATH_BYTES));
        assert!(long.parse::<ObjectPath>().is_err());
    }
}
