//! A log in memory, published with segments, tiles, entry bundles and blobs.

use std::path::Path;
use std::sync::OnceLock;

use annals_anchor::{BoxError, Exhibit, Object, ObjectPath, OpenNote};
use annals_events::{CompactRange, Digest, LeafHash, Seq, TreeHash};
use annals_keys::{Checkpoint, CheckpointError, SecretKey, load_secret};

/// Lines in a segment of the sample.
const SEGMENT_LINES: usize = 100;

const TILE: usize = 256;

/// Names the file with the key, in a process that a test has started.
pub(crate) const KEY_FILE: &str = "ANNALS_TEST_KEY_FILE";

/// The key all samples of a test are signed with.
pub(crate) fn key() -> &'static SecretKey {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    KEY.get_or_init(|| match std::env::var_os(KEY_FILE) {
        Some(path) => load_secret(Path::new(&path)).unwrap(),
        None => SecretKey::generate("shop").unwrap(),
    })
}

fn open_note(note: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::open(note, &key().verifier().into())
}

/// Opens notes signed with [`key`].
pub(crate) const OPEN: OpenNote<'static> = &open_note;

/// A log of `size` events. From event `turn` on its lines tell another story.
#[derive(Clone)]
pub(crate) struct Sample {
    lines: Vec<Vec<u8>>,
    leaves: Vec<LeafHash>,
    roots: Vec<TreeHash>,
    checkpoint: Checkpoint,
    note: Vec<u8>,
    /// What the log side does wrong.
    pub(crate) fault: Option<Fault>,
}

/// What a log side does wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A line in the middle is not shown.
    Gap,
    /// The last segment is not shown.
    Short,
    /// One line more than the checkpoint speaks of.
    Long,
    /// The checkpoint is among the objects.
    Checkpoint,
    /// Reading fails in the middle.
    Error,
    /// A segment's last line has no end.
    Torn,
}

impl Sample {
    pub(crate) fn new(size: usize) -> Self {
        Self::telling(size, usize::MAX, "shop/production")
    }

    /// Another history from event `turn` on.
    pub(crate) fn fork(size: usize, turn: usize) -> Self {
        Self::telling(size, turn, "shop/production")
    }

    pub(crate) fn telling(size: usize, turn: usize, origin: &str) -> Self {
        let story = |seq: usize| if seq < turn { "true" } else { "false" };
        let line = |seq| format!("{{\"seq\":{seq},\"story\":\"{}\"}}", story(seq)).into_bytes();
        let lines: Vec<Vec<u8>> = (0..size).map(line).collect();
        let leaves: Vec<LeafHash> = lines.iter().map(|line| LeafHash::of_line(line)).collect();
        let mut range = CompactRange::default();
        let mut roots = vec![range.root()];
        for leaf in &leaves {
            range.push(*leaf);
            roots.push(range.root());
        }
        let origin = origin.parse().unwrap();
        let checkpoint = Checkpoint { origin, size: size as u64, root: range.root() };
        let note = checkpoint.sign(key()).into_bytes();
        Self { lines, leaves, roots, checkpoint, note, fault: None }
    }

    /// The same log, with a note of `key`'s.
    pub(crate) fn signed_by(mut self, key: &SecretKey) -> Self {
        self.note = self.checkpoint.sign(key).into_bytes();
        self
    }

    fn segment(&self, first: usize, end: usize) -> Object {
        let mut bytes = Vec::new();
        for line in &self.lines[first..end] {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        Object { path: ObjectPath::segment(Seq(first as u64)), bytes }
    }

    fn segments(&self, since: usize) -> Vec<Object> {
        let size = self.lines.len();
        let firsts = (since..size).step_by(SEGMENT_LINES);
        firsts.map(|first| self.segment(first, size.min(first + SEGMENT_LINES))).collect()
    }

    fn bundles(&self, since: usize) -> impl Iterator<Item = Object> {
        self.lines.chunks(TILE).enumerate().skip(since / TILE).map(|(n, lines)| {
            let mut bytes = Vec::new();
            for line in lines {
                bytes.extend_from_slice(&u16::try_from(line.len()).unwrap().to_be_bytes());
                bytes.extend_from_slice(line);
            }
            Object { path: tile_path("entries", n, lines.len()), bytes }
        })
    }

    fn tiles(&self, since: usize) -> Vec<Object> {
        let (mut level, mut span, mut found) = (0, 1, Vec::new());
        while self.leaves.len() >= span {
            let nodes: Vec<[u8; 32]> = self.leaves.chunks_exact(span).map(root).collect();
            for (n, tile) in nodes.chunks(TILE).enumerate().skip(since / span / TILE) {
                let path = tile_path(&level.to_string(), n, tile.len());
                found.push(Object { path, bytes: tile.concat() });
            }
            (level, span) = (level + 1, span * TILE);
        }
        found
    }

    /// Every tenth event names a blob.
    fn blobs(&self, since: usize) -> impl Iterator<Item = Object> {
        let blobs = (since..self.lines.len()).filter(|seq| seq % 10 == 0);
        blobs.map(|seq| {
            let bytes = [b"blob of ", &self.lines[seq][..]].concat();
            Object { path: ObjectPath::blob(&Digest::of(&bytes)), bytes }
        })
    }

    /// Everything of this size but the segments, which are cut as publications were.
    pub(crate) fn fixed_objects(&self) -> Vec<Object> {
        self.bundles(0).chain(self.tiles(0)).chain(self.blobs(0)).collect()
    }

    /// The first `size` lines, each with its end.
    pub(crate) fn text(&self, size: usize) -> Vec<u8> {
        self.segment(0, size).bytes
    }
}

fn root(leaves: &[LeafHash]) -> [u8; 32] {
    if let [leaf] = leaves {
        return *leaf.as_bytes();
    }
    let mut range = CompactRange::default();
    for leaf in leaves {
        range.push(*leaf);
    }
    *range.root().as_bytes()
}

/// C2SP tlog-tiles: groups of three digits, all but the last behind an `x`; `.p/` and the width of
/// a tile that is not full.
fn tile_path(level: &str, n: usize, width: usize) -> ObjectPath {
    let mut index = format!("{:03}", n % 1000);
    let mut rest = n / 1000;
    while rest > 0 {
        index = format!("x{:03}/{index}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width == TILE { String::new() } else { format!(".p/{width}") };
    format!("tile/{level}/{index}{partial}").parse().unwrap()
}

impl Exhibit for Sample {
    fn note(&self) -> &[u8] {
        &self.note
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn root_at(&self, size: u64) -> Option<TreeHash> {
        self.roots.get(usize::try_from(size).unwrap()).copied()
    }

    fn objects(
        &self,
        since_size: u64,
    ) -> Box<dyn Iterator<Item = Result<Object, BoxError>> + Send + '_> {
        let since = usize::try_from(since_size).unwrap();
        let mut segments = self.segments(since);
        let mut more: Vec<Result<Object, BoxError>> = Vec::new();
        match self.fault {
            None => {}
            Some(Fault::Gap) => drop(segments.remove(1)),
            Some(Fault::Short) => drop(segments.pop()),
            Some(Fault::Long) => {
                let path = ObjectPath::segment(Seq(self.lines.len() as u64));
                segments.push(Object { path, bytes: b"{}\n".to_vec() });
            }
            Some(Fault::Checkpoint) => {
                let path = ObjectPath::checkpoint();
                segments.push(Object { path, bytes: self.note.clone() });
            }
            Some(Fault::Error) => more.push(Err("the disk is gone".into())),
            Some(Fault::Torn) => drop(segments[0].bytes.pop()),
        }
        let tiles = self.tiles(since).into_iter();
        let fixed = self.blobs(since).chain(self.bundles(since)).chain(tiles);
        Box::new(segments.into_iter().map(Ok).chain(more).chain(fixed.map(Ok)))
    }
}
