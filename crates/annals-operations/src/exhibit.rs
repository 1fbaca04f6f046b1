//! A log as it is shown outside: its published layout up to one signed head.

use std::collections::{HashSet, VecDeque};

use annals_anchor::{BoxError, Exhibit, Object, ObjectPath};
use annals_event_store::{Lines, LogFiles, ReadError};
use annals_events::{
    BundleId, Digest, LeafHash, Seq, TILE_WIDTH, Tile, TileBuilder, TreeHash, decode,
};
use annals_keys::Checkpoint;

use crate::home::FolderCopy;

/// A segment of a copy is closed when it has grown beyond this.
const SEGMENT_BYTES: usize = 1 << 20;

/// A log in a folder, fixed at a signed head.
pub(crate) struct FolderExhibit {
    folder: FolderCopy,
    files: LogFiles,
    note: Vec<u8>,
    checkpoint: Checkpoint,
}

impl FolderExhibit {
    /// Shows the log in `folder` up to `checkpoint`, which `note` signs.
    pub(crate) fn new(
        folder: FolderCopy,
        note: Vec<u8>,
        checkpoint: Checkpoint,
    ) -> Result<Self, ReadError> {
        let files = LogFiles::find(&folder.layout)?;
        Ok(Self { folder, files, note, checkpoint })
    }

    /// Its files.
    pub(crate) fn files(&self) -> &LogFiles {
        &self.files
    }
}

impl Exhibit for FolderExhibit {
    fn note(&self) -> &[u8] {
        &self.note
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn root_at(&self, size: u64) -> Option<TreeHash> {
        let scanned = self.files.scan(&[size], &mut |_, _| {}).ok()?;
        scanned.root_at(size)
    }

    fn objects(
        &self,
        since_size: u64,
    ) -> Box<dyn Iterator<Item = Result<Object, BoxError>> + Send + '_> {
        Box::new(Objects {
            exhibit: self,
            lines: self.files.lines(),
            since: since_size,
            seq: 0,
            tree: TileBuilder::default(),
            bundle: Vec::new(),
            segment: Vec::new(),
            segment_first: since_size,
            blobs: HashSet::new(),
            ready: VecDeque::new(),
            is_over: false,
        })
    }
}

/// The objects of a copy, made while the lines go by.
struct Objects<'a> {
    exhibit: &'a FolderExhibit,
    lines: Lines<'a>,
    since: u64,
    seq: u64,
    tree: TileBuilder,
    /// Lines since the last complete bundle.
    bundle: Vec<Vec<u8>>,
    segment: Vec<u8>,
    segment_first: u64,
    blobs: HashSet<Digest>,
    ready: VecDeque<Object>,
    is_over: bool,
}

impl Objects<'_> {
    fn line(&mut self, line: Vec<u8>) -> Result<(), BoxError> {
        let is_new = self.seq >= self.since;
        if is_new {
            self.segment.extend_from_slice(&line);
            self.segment.push(b'\n');
            self.blob(&line)?;
        }
        let complete = self.tree.push(LeafHash::of_line(&line));
        self.bundle.push(line);
        self.seq += 1;
        if self.bundle.len() == usize::from(TILE_WIDTH) {
            let bundle = std::mem::take(&mut self.bundle);
            self.bundle_object(&bundle)?;
        }
        for tile in complete {
            self.tile_object(&tile)?;
        }
        if self.segment.len() > SEGMENT_BYTES {
            self.close_segment();
        }
        Ok(())
    }

    fn blob(&mut self, line: &[u8]) -> Result<(), BoxError> {
        let Some(blob) = decode(line)?.event.blob() else { return Ok(()) };
        if self.blobs.insert(blob.digest) {
            let bytes = self.exhibit.folder.layout.get_blob(&blob)?;
            self.ready.push_back(Object { path: ObjectPath::blob(&blob.digest), bytes });
        }
        Ok(())
    }

    fn bundle_object(&mut self, lines: &[Vec<u8>]) -> Result<(), BoxError> {
        if self.seq <= self.since {
            return Ok(());
        }
        let width = u16::try_from(lines.len()).expect("a bundle has at most 256 lines");
        let id = BundleId { index: (self.seq - 1) / u64::from(TILE_WIDTH), width };
        let (path, bytes) = (id.path().parse()?, id.encode(lines)?);
        self.ready.push_back(Object { path, bytes });
        Ok(())
    }

    fn tile_object(&mut self, tile: &Tile) -> Result<(), BoxError> {
        if self.seq > self.since {
            self.ready.push_back(Object { path: tile.id.path().parse()?, bytes: tile.bytes() });
        }
        Ok(())
    }

    fn close_segment(&mut self) {
        if self.segment.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.segment);
        let path = ObjectPath::segment(Seq(self.segment_first));
        self.ready.push_back(Object { path, bytes });
        self.segment_first = self.seq;
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        let checkpoint = &self.exhibit.checkpoint;
        if self.seq != checkpoint.size || self.tree.root() != checkpoint.root {
            // What is read now is not what was signed: nothing of it is shown.
            return Err("the log is not what its checkpoint vouches for".into());
        }
        self.close_segment();
        let bundle = std::mem::take(&mut self.bundle);
        if !bundle.is_empty() {
            self.bundle_object(&bundle)?;
        }
        let partial: Vec<Tile> = self.tree.partial().collect();
        partial.iter().try_for_each(|tile| self.tile_object(tile))
    }

    fn step(&mut self) -> Result<(), BoxError> {
        if self.seq < self.exhibit.checkpoint.size
            && let Some(line) = self.lines.next()
        {
            return self.line(line?);
        }
        self.is_over = true;
        self.finish()
    }
}

impl Iterator for Objects<'_> {
    type Item = Result<Object, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(object) = self.ready.pop_front() {
                return Some(Ok(object));
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.step() {
                self.is_over = true;
                self.ready.clear();
                return Some(Err(error));
            }
        }
    }
}
