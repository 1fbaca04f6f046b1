//! The file log: JSONL segments in a folder, one writer.

use std::io::{self, Write};
use std::path::Path;

use annals_events::{
    BlobRef, Chain, Digest, Draft, MAX_APPEND_BYTES, Origin, Recorded, Scanner, Seq, TailRepaired,
    Tile, TileBuilder, Timestamp, seal,
};
use annals_keys::{Checkpoint, SecretKey};
use ring::digest::{Context, SHA256};

use crate::admit::{Admission, OpenError, OpenOptions};
use crate::blobs::{self, BlobError};
use crate::disk::{self, Disk, DiskFile, DiskFolder, RealDisk};
use crate::layout::Layout;
use crate::read::{LogFiles, ReadError, read_note};
use crate::store::{AppendError, EventStore, Head, StoreError};

/// A segment is closed when it has grown beyond this. Rewriting the open one takes milliseconds.
pub(crate) const SEGMENT_BYTES: u64 = 1 << 20;

/// What `log_moved` events call this home.
pub const FILE_HOME: &str = "file";

/// A log in a folder, open for writing, locked against other writers until dropped.
pub struct FileLog<D: Disk = RealDisk> {
    disk: D,
    layout: Layout,
    origin: Origin,
    chain: Chain,
    segment: D::File,
    segment_first: Seq,
    segment_bytes: u64,
    signed: u64,
    /// The folder of blobs is there, durably.
    has_blobs: bool,
    /// Set while something is written, and for good when that fails.
    stopped: bool,
    /// Lines are written that are not durable yet.
    unsynced: bool,
    tiles: Tiles,
    _lock: D::Lock,
}

/// The tree as tiles: complete ones that may not be in the folder yet, and the edge.
#[derive(Default)]
struct Tiles {
    builder: TileBuilder,
    due: Vec<Tile>,
}

impl Tiles {
    fn push(&mut self, recorded: &Recorded) {
        self.due.extend(self.builder.push(recorded.leaf));
    }
}

fn place(layout: &Layout) -> String {
    layout.root().display().to_string()
}

fn io_in(layout: &Layout) -> impl FnOnce(io::Error) -> OpenError + '_ {
    |source| OpenError::Io { place: place(layout), source: source.into() }
}

pub(crate) fn take_lock<D: Disk>(
    disk: &D,
    layout: &Layout,
    holder: &str,
) -> Result<D::Lock, OpenError> {
    disk.lock(&layout.lock(), holder).map_err(io_in(layout))?.map_err(|text| OpenError::Locked {
        place: place(layout),
        holder: if text.is_empty() { "another process".to_owned() } else { text },
    })
}

impl FileLog<RealDisk> {
    /// [`Self::create_on`] this machine's file system.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create(
        layout: Layout,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        options: &OpenOptions<'_>,
    ) -> Result<(Self, Recorded), OpenError> {
        Self::create_on(RealDisk, layout, origin, first, key, options)
    }

    /// [`Self::open_on`] this machine's file system.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open(
        layout: Layout,
        options: &OpenOptions<'_>,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<Self, OpenError> {
        Self::open_on(RealDisk, layout, options, visit)
    }
}

impl<D: Disk> FileLog<D> {
    /// Starts a log with its first event, signed. The folder must not hold one yet.
    ///
    /// The checkpoint is there before the first segment is, so a log without one has lost it.
    ///
    /// # Errors
    ///
    /// When there is one, it is locked, or the disk says no.
    pub fn create_on(
        disk: D,
        layout: Layout,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        options: &OpenOptions<'_>,
    ) -> Result<(Self, Recorded), OpenError> {
        disk::create_folders(&disk, layout.root()).map_err(io_in(&layout))?;
        let lock = take_lock(&disk, &layout, options.holder)?;
        let (mut chain, mut lines) = (Chain::default(), Vec::new());
        let recorded = seal(&mut chain, origin, first, options.now, &mut lines)
            .map_err(|source| OpenError::Repair { place: place(&layout), source })?;
        let checkpoint =
            Checkpoint { origin: origin.clone(), size: chain.size(), root: chain.root() };
        begin(&disk, &layout, checkpoint.sign(key).as_bytes(), |file| file.write_all(&lines))?;
        let (last, mut tiles) = ((Seq(0), lines.len() as u64), Tiles::default());
        tiles.push(&recorded);
        let log = Self::over(disk, layout, lock, last, chain, (checkpoint.size, tiles))?;
        Ok((log, recorded))
    }

    /// Opens a log for writing: locks it, verifies all of it while `visit` sees every event, moves
    /// an unacknowledged tail aside, and rewrites the open segment to a new inode unless the signed
    /// head vouches for all of it.
    ///
    /// After a failed `fsync` in an earlier life the page cache may show bytes the disk never got;
    /// writing them anew is the only way to know that what was verified is what is stored.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; any damage but a torn tail refuses.
    pub fn open_on(
        disk: D,
        layout: Layout,
        options: &OpenOptions<'_>,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<Self, OpenError> {
        if !disk.is_folder(&layout.segments()) {
            return Err(ReadError::Missing(place(&layout)).into());
        }
        let lock = take_lock(&disk, &layout, options.holder)?;
        let files = LogFiles::find_on(&disk, &layout)?;
        let note = files.checkpoint.as_deref();
        let mut admission = Admission::new(place(&layout), FILE_HOME.to_owned(), note, options)?;
        let scanner = Scanner::new(&[admission.signed()]);
        let (mut open, mut tiles) = (OpenSegment::default(), Tiles::default());
        let mut watch = |recorded: &Recorded, _: &[u8]| {
            admission.watch(recorded);
            // Those in the folder stand; what is not there is written with the next checkpoint.
            let complete = tiles.builder.push(recorded.leaf).into_iter();
            let is_missing = |tile: &Tile| !disk.is_file(&layout.root().join(tile.id.path()));
            tiles.due.extend(complete.filter(is_missing));
            visit(recorded);
        };
        let scanned =
            files.scan_on(&disk, scanner, 0, &mut watch, &mut |first, b| open.take(first, b))?;
        let checkpoint = admission.decide(&scanned)?;
        // Whoever made what lies here may have been cut before it was durable; from here on
        // events are acknowledged that depend on it.
        disk::sync_folder(&disk, layout.root()).map_err(io_in(&layout))?;
        let mut chain = scanned.chain;
        let origin = chain.origin().expect("a log has a first event").clone();
        let mut added = Vec::new();
        if !scanned.torn.is_empty() {
            let fact = quarantine(&disk, &layout, &chain, &scanned.torn)?;
            let draft = (options.repair)(fact);
            let recorded = seal(&mut chain, &origin, &draft, options.now, &mut added)
                .map_err(|source| OpenError::Repair { place: place(&layout), source })?;
            tracing::warn!(bytes = scanned.torn.len(), "moved a tail of the event log aside");
            tiles.push(&recorded);
            visit(&recorded);
        }
        let newest = files.segments.last().map_or(Seq(0), |(first, _)| *first);
        if open.first != newest {
            // The newest is empty. What was verified last stands in a closed one, which stays.
            read_again(&disk, &layout.segment(open.first), &open, &mut |_| Ok(()))
                .map_err(io_in(&layout))?;
            open = OpenSegment { first: newest, ..OpenSegment::default() };
        }
        let (path, kept) = (layout.segment(open.first), open.bytes - scanned.torn.len() as u64);
        // First the copy in the quarantine became durable, then the segment is replaced by one with
        // the event in place of the torn bytes: a crash between the two finds the torn tail again
        // and does the same again.
        // A head is signed only after a sync of all it vouches for has succeeded: what ends with it
        // is stored as it was verified.
        let is_durable =
            added.is_empty() && scanned.torn.is_empty() && checkpoint.size == chain.size();
        if !is_durable {
            rewrite(&disk, &path, &open, kept, &added).map_err(io_in(&layout))?;
        }
        let last = (open.first, kept + added.len() as u64);
        Self::over(disk, layout, lock, last, chain, (checkpoint.size, tiles))
    }

    fn over(
        disk: D,
        layout: Layout,
        lock: D::Lock,
        (segment_first, segment_bytes): (Seq, u64),
        chain: Chain,
        (signed, tiles): (u64, Tiles),
    ) -> Result<Self, OpenError> {
        let path = layout.segment(segment_first);
        let segment = disk.open_append(&path).map_err(io_in(&layout))?;
        let origin = chain.origin().expect("a log has a first event").clone();
        Ok(Self {
            disk,
            layout,
            origin,
            chain,
            segment,
            segment_first,
            segment_bytes,
            signed,
            has_blobs: false,
            stopped: false,
            unsynced: false,
            tiles,
            _lock: lock,
        })
    }

    /// Where it lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Appends several requests with one write and one sync: each stands or is refused by itself.
    ///
    /// More than [`MAX_APPEND_BYTES`] are written by turns; a single request of more is refused.
    ///
    /// # Errors
    ///
    /// [`AppendError::Stopped`] and [`AppendError::NotDurable`] concern all of them.
    pub fn append_each(
        &mut self,
        requests: &[&[Draft]],
        now: Timestamp,
    ) -> Result<Vec<Result<Vec<Recorded>, AppendError>>, AppendError> {
        let results = self.write_each(requests, now)?;
        self.sync_now()?;
        Ok(results)
    }

    /// [`Self::append_each`] without the sync.
    fn write_each(
        &mut self,
        requests: &[&[Draft]],
        now: Timestamp,
    ) -> Result<Vec<Result<Vec<Recorded>, AppendError>>, AppendError> {
        if self.stopped {
            return Err(AppendError::Stopped);
        }
        let mut results = Vec::with_capacity(requests.len());
        // Sealed onto a copy: a refused request must leave the chain where it was.
        let (mut chain, mut lines) = (self.chain.clone(), Vec::new());
        for drafts in requests {
            let (before, start) = (chain.clone(), lines.len());
            let seal_one = |draft| seal(&mut chain, &self.origin, draft, now, &mut lines);
            let sealed: Result<Vec<Recorded>, _> = drafts.iter().map(seal_one).collect();
            let bytes = lines.len() - start;
            let result = match sealed {
                Ok(_) if bytes > MAX_APPEND_BYTES => Err(AppendError::Rejected(
                    format!("an append of {bytes} bytes, at most {MAX_APPEND_BYTES} are allowed")
                        .into(),
                )),
                sealed => sealed.map_err(AppendError::from),
            };
            if result.is_err() {
                chain = before;
                lines.truncate(start);
            } else if lines.len() > MAX_APPEND_BYTES {
                // With this one it would be too much for one write: those before it go first.
                let own = lines.split_off(start);
                self.commit(&lines, before)?;
                self.sync_now()?;
                lines = own;
            }
            results.push(result);
        }
        self.commit(&lines, chain)?;
        results.iter().flatten().flatten().for_each(|recorded| self.tiles.push(recorded));
        Ok(results)
    }

    /// Writes `lines`, which lead to `chain`.
    fn commit(&mut self, lines: &[u8], chain: Chain) -> Result<(), AppendError> {
        if lines.is_empty() {
            return Ok(());
        }
        // Until this has succeeded nobody knows what is stored: not after an error, and not after
        // a panic.
        self.stopped = true;
        // One write of whole lines. A crash inside it leaves bytes without a line feed at the end,
        // whole lines nobody was told of, or nothing: all of it an append that was never
        // acknowledged.
        let written = match self.segment_bytes > SEGMENT_BYTES {
            true => self.start_segment().and_then(|()| self.segment.write_all(lines)),
            false => self.segment.write_all(lines),
        };
        written.map_err(|error| AppendError::NotDurable(error.into()))?;
        self.unsynced = true;
        self.segment_bytes += lines.len() as u64;
        self.chain = chain;
        self.stopped = false;
        Ok(())
    }

    /// Makes the written lines durable. A crash before may keep or lose them; nobody has been told
    /// that they are there.
    fn sync_now(&mut self) -> Result<(), AppendError> {
        if self.stopped {
            return Err(AppendError::Stopped);
        }
        if self.unsynced {
            self.stopped = true;
            self.segment.sync_data().map_err(|error| AppendError::NotDurable(error.into()))?;
            (self.stopped, self.unsynced) = (false, false);
        }
        Ok(())
    }

    fn write_now(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        let found = self.head();
        if !self.stopped && found != expected {
            return Err(AppendError::HeadMoved { expected, found });
        }
        let mut results = self.write_each(&[drafts], now)?;
        results.pop().expect("one result for one request")
    }

    fn start_segment(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.segment.sync_data()?;
            self.unsynced = false;
        }
        self.disk.make_read_only(&self.layout.segment(self.segment_first))?;
        let first = self.chain.next_seq();
        let path = self.layout.segment(first);
        // An empty last segment is a valid end of a log, so a crash after this changes nothing.
        disk::replace(&self.disk, &path, b"")?;
        self.segment = self.disk.open_append(&path)?;
        (self.segment_first, self.segment_bytes) = (first, 0);
        tracing::debug!(segment = %self.segment_first, "started a log segment");
        Ok(())
    }

    /// Publishes a signed head.
    ///
    /// # Errors
    ///
    /// When it would go back, or the disk does not take it.
    pub fn publish_now(&mut self, checkpoint: &Checkpoint, note: &str) -> Result<(), StoreError> {
        let (size, signed) = (checkpoint.size, self.signed);
        if size < signed {
            return Err(StoreError::OlderCheckpoint { size, signed });
        }
        if self.unsynced {
            let (place, source) = (place(&self.layout), "events are not durable yet".into());
            return Err(StoreError::Io { place, source });
        }
        let publish = || {
            self.write_tiles()?;
            disk::replace(&self.disk, &self.layout.checkpoint(), note.as_bytes())
        };
        publish().map_err(|source| StoreError::Io {
            place: place(&self.layout),
            source: source.into(),
        })?;
        self.tiles.due.clear();
        self.signed = size;
        Ok(())
    }

    /// Writes the complete tiles that are not in the folder: one in 256 events, and never again.
    ///
    /// Before the checkpoint: a crash between the two leaves tiles of events that are not signed
    /// yet, which is what they are made of in any case.
    fn write_tiles(&self) -> io::Result<()> {
        for tile in &self.tiles.due {
            let path = self.layout.root().join(tile.id.path());
            if let Some(folder) = path.parent() {
                disk::create_folders(&self.disk, folder)?;
            }
            disk::replace(&self.disk, &path, &tile.bytes())?;
        }
        Ok(())
    }

    /// Gives the stored lines from `from` on to `visit`, oldest first.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn read_now(&self, from: Seq, visit: &mut dyn FnMut(Seq, &[u8])) -> Result<(), StoreError> {
        let failed = |source: ReadError| StoreError::Io {
            place: place(&self.layout),
            source: source.into(),
        };
        let files = LogFiles::find_on(&self.disk, &self.layout).map_err(failed)?;
        let mut give = |recorded: &Recorded, line: &[u8]| {
            if recorded.seq >= from {
                visit(recorded.seq, line);
            }
        };
        let scanned = files
            .scan_on(&self.disk, Scanner::new(&[]), 0, &mut give, &mut |_, _| {})
            .map_err(failed)?;
        match scanned.damage {
            None => Ok(()),
            Some(damage) => {
                Err(StoreError::Io { place: place(&self.layout), source: damage.into() })
            }
        }
    }
}

/// The newest segment, as it goes by.
struct OpenSegment {
    first: Seq,
    bytes: u64,
    digest: Context,
}

impl Default for OpenSegment {
    fn default() -> Self {
        Self { first: Seq(0), bytes: 0, digest: Context::new(&SHA256) }
    }
}

impl OpenSegment {
    fn take(&mut self, first: Seq, bytes: &[u8]) {
        if self.first != first {
            *self = Self { first, ..Self::default() };
        }
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
    }
}

/// Makes a fresh log appear at once: a crash before the last rename leaves a folder that counts as
/// no log at all.
pub(crate) fn begin<D: Disk>(
    disk: &D,
    layout: &Layout,
    note: &[u8],
    write: impl FnOnce(&mut D::File) -> io::Result<()>,
) -> Result<(), OpenError> {
    if disk.is_folder(&layout.segments()) {
        return Err(OpenError::Exists { place: place(layout) });
    }
    let staging = layout.root().join(".segments.new");
    let is_new = !disk.is_folder(&staging);
    if is_new {
        check_none_was_lost(disk, layout)?;
    }
    let make = || {
        if is_new {
            disk.create_folder(&staging)?;
        }
        // A checkpoint without segments is one that is being begun only where the staging folder
        // is: so that is durable first, and is never removed.
        disk::sync_folder(disk, layout.root())?;
        disk::replace(disk, &layout.checkpoint(), note)?;
        disk::replace_with(disk, &staging.join(format!("{:020}.jsonl", 0)), write)?;
        let mut folder = disk.open_folder(layout.root())?;
        disk.rename(&staging, &layout.segments())?;
        folder.sync()
    };
    make().map_err(io_in(layout))
}

/// A signed head whose events are gone is evidence: no new log takes its place.
fn check_none_was_lost<D: Disk>(disk: &D, layout: &Layout) -> Result<(), OpenError> {
    let Some(note) = read_note(disk, layout)? else { return Ok(()) };
    let place = place(layout);
    match Checkpoint::claimed(&note) {
        Ok(lost) => Err(OpenError::CutTail { place, size: 0, signed: lost.size }),
        Err(source) => Err(OpenError::Checkpoint { place, source }),
    }
}

/// Copies `torn` to the quarantine, durably.
fn quarantine<D: Disk>(
    disk: &D,
    layout: &Layout,
    chain: &Chain,
    torn: &[u8],
) -> Result<TailRepaired, OpenError> {
    let digest = Digest::of(torn);
    let name = format!("tail-{}-{}", chain.size(), digest.short(12));
    disk::create_folders(disk, &layout.quarantine())
        .and_then(|()| disk::replace(disk, &layout.quarantine().join(&name), torn))
        .map_err(io_in(layout))?;
    Ok(TailRepaired { bytes: torn.len() as u64, digest, quarantined_as: name })
}

/// Gives the bytes of a segment to `take` once more; they must be the ones that were verified.
fn read_again<D: Disk>(
    disk: &D,
    path: &Path,
    verified: &OpenSegment,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut read, mut digest) = (0, Context::new(&SHA256));
    disk::read_pieces::<D, io::Error>(disk, path, |piece| {
        digest.update(piece);
        read += piece.len() as u64;
        take(piece)
    })?;
    let expected = verified.digest.clone().finish();
    if read == verified.bytes && digest.finish().as_ref() == expected.as_ref() {
        Ok(())
    } else {
        Err(io::Error::other("the segment reads differently the second time"))
    }
}

/// Writes the first `kept` bytes of the segment at `path` and then `added` to a new inode.
///
/// The bytes are read a second time, so that no segment is ever whole in memory.
fn rewrite<D: Disk>(
    disk: &D,
    path: &Path,
    verified: &OpenSegment,
    kept: u64,
    added: &[u8],
) -> io::Result<()> {
    disk::replace_with(disk, path, |file| {
        let mut left = kept;
        read_again(disk, path, verified, &mut |piece| {
            let part = left.min(piece.len() as u64);
            left -= part;
            file.write_all(&piece[..usize::try_from(part).unwrap_or(piece.len())])
        })?;
        file.write_all(added)
    })
}

impl<D: Disk> EventStore for FileLog<D> {
    fn place(&self) -> String {
        place(&self.layout)
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn head(&self) -> Head {
        Head { size: self.chain.size(), leaf: self.chain.last() }
    }

    fn checkpoint(&self) -> Checkpoint {
        let (size, root) = (self.chain.size(), self.chain.root());
        Checkpoint { origin: self.origin.clone(), size, root }
    }

    fn signed(&self) -> u64 {
        self.signed
    }

    async fn append(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        let recorded = self.write_now(expected, drafts, now)?;
        self.sync_now()?;
        Ok(recorded)
    }

    async fn write(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        self.write_now(expected, drafts, now)
    }

    async fn sync(&mut self) -> Result<(), AppendError> {
        self.sync_now()
    }

    async fn publish(&mut self, checkpoint: &Checkpoint, note: &str) -> Result<(), StoreError> {
        self.publish_now(checkpoint, note)
    }

    async fn read(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, &[u8]),
    ) -> Result<(), StoreError> {
        self.read_now(from, visit)
    }

    async fn put_blob(&mut self, content: &[u8]) -> Result<BlobRef, BlobError> {
        if !self.has_blobs {
            let folder = self.layout.blobs();
            disk::create_folders(&self.disk, &folder).map_err(|source| BlobError::Io {
                place: folder.display().to_string(),
                source: source.into(),
            })?;
            self.has_blobs = true;
        }
        blobs::put(&self.disk, &self.layout, content)
    }

    async fn get_blob(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        blobs::get(&self.disk, &self.layout, reference)
    }
}
