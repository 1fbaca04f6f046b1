//! States of a large log, stored beside it: a state at any moment then costs a bounded tail.
//!
//! A cache is named by the projection, its code version, the size it stands at and the root over so
//! many events. It is never part of the log: what it says is used only while the signed head vouches
//! for the very history it was folded from, whoever uses it says so, and a verification of the log
//! folds every one it meets anew.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use annals_event_store::{Layout, LogFiles};
use annals_events::{
    Chain, CompactRange, CompleteTiles, HashSource, LeafHash, MAX_LINE_BYTES, Origin, Recorded,
    Scanner, Seq, TILE_WIDTH, TileError, TileId, Timestamp, TreeHash, decode, inclusion_proof,
    verify_inclusion,
};
use annals_keys::{Checkpoint, KeyRing};
use annals_projections::{AsOf, Chooser, PROJECTION_VERSION, Projection, State};
use serde::{Deserialize, Serialize};

/// A cache is made at the beginning of every second segment: where appends are small, each stands
/// about 2 MiB of lines behind the next, which are folded in some 10 ms.
const SEGMENTS_BETWEEN: usize = 2;

/// What of the chain goes on behind a cache.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    edge: Vec<TreeHash>,
    last: LeafHash,
    origin: Origin,
    recorded_at: Timestamp,
    size: u64,
}

/// The stored states of one log.
pub(crate) struct StateCaches {
    folder: PathBuf,
}

/// A stored state and the chain it stands at.
pub(crate) struct Stored {
    pub(crate) chain: Chain,
    pub(crate) state: State,
}

/// A state that was not folded from the first event.
pub(crate) struct FromCache {
    pub(crate) state: State,
    pub(crate) chooser: Chooser,
    /// The last event the stored state has folded.
    pub(crate) stored_at: Seq,
    pub(crate) log_size: u64,
    /// Events the signed head vouches for.
    pub(crate) signed: u64,
    pub(crate) origin: String,
}

impl StateCaches {
    pub(crate) fn of(layout: &Layout) -> Self {
        let version = format!("{}-{PROJECTION_VERSION}", State::NAME);
        Self { folder: layout.root().join("cache").join(version) }
    }

    fn path(&self, size: u64, root: TreeHash) -> PathBuf {
        self.folder.join(format!("{size:020}-{root}"))
    }

    /// What there is: size, root, file; in order.
    pub(crate) fn list(&self) -> BTreeMap<u64, (TreeHash, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (size, root) = name.split_once('-')?;
            Some((size.parse().ok()?, (root.parse().ok()?, entry.path())))
        });
        named.collect()
    }

    /// Reads a cache; nothing if it is not what its name says.
    fn load(&self, size: u64, root: TreeHash) -> Option<Stored> {
        let bytes = read_cache(&self.path(size, root))?;
        let end = bytes.iter().position(|&b| b == b'\n')?;
        let edge: Edge = serde_json::from_slice(&bytes[..end]).ok()?;
        let hashes = edge.edge.iter().map(|hash| *hash.as_bytes()).collect();
        let tree = CompactRange::from_parts(edge.size, hashes)?;
        let chain = Chain::resume(tree, edge.last, Some(edge.recorded_at), Some(edge.origin));
        let state = State::from_stored(&bytes[end + 1..]).ok()?;
        (chain.size() == size && chain.root() == root).then_some(Stored { chain, state })
    }

    /// The bytes a cache must have.
    pub(crate) fn bytes(chain: &Chain, state: &State) -> Option<Vec<u8>> {
        let edge = Edge {
            edge: chain.tree().edge().iter().map(|hash| TreeHash::from_bytes(*hash)).collect(),
            last: chain.last(),
            origin: chain.origin()?.clone(),
            recorded_at: chain.recorded_at()?,
            size: chain.size(),
        };
        let mut bytes = serde_json::to_vec(&edge).ok()?;
        bytes.push(b'\n');
        bytes.extend(state.to_stored().ok()?);
        Some(bytes)
    }

    /// Stores a state. A cache that cannot be written is none: the next reader folds the log.
    fn store(&self, chain: &Chain, state: &State) {
        let Some(bytes) = Self::bytes(chain, state) else { return };
        let path = self.path(chain.size(), chain.root());
        let temporary = self.folder.join(format!(".{}-{}", chain.size(), std::process::id()));
        let write = || {
            fs::create_dir_all(&self.folder)?;
            fs::write(&temporary, &bytes)?;
            fs::File::open(&temporary)?.sync_all()?;
            fs::rename(&temporary, &path)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "a state was not stored beside the log");
            let _ = fs::remove_file(&temporary);
        }
    }
}

/// The largest cache that is read: 64 MiB, some hundred thousand migrations.
const MAX_CACHE_BYTES: u64 = 64 << 20;

/// The bytes of a cache, if it is a file of a size a cache may have.
fn read_cache(path: &Path) -> Option<Vec<u8>> {
    let found = fs::symlink_metadata(path).ok()?;
    let is_usable = found.is_file() && found.len() <= MAX_CACHE_BYTES;
    is_usable.then(|| fs::read(path).ok()).flatten()
}

/// Stores states while a whole log goes by, at the places where there are none yet.
pub(crate) struct CacheWriter {
    caches: StateCaches,
    /// Sizes at which a state is stored, largest first.
    due: Vec<u64>,
    tree: CompactRange,
    last: Option<(LeafHash, Timestamp)>,
    origin: Option<Origin>,
    state: State,
}

impl CacheWriter {
    /// For the log in `layout`; does nothing for one that is not large.
    pub(crate) fn of(layout: &Layout) -> Self {
        let caches = StateCaches::of(layout);
        let known = caches.list();
        let segments = LogFiles::find(layout).map(|files| files.segments).unwrap_or_default();
        let places = segments.iter().step_by(SEGMENTS_BETWEEN).skip(1).map(|(first, _)| first.0);
        let mut due: Vec<u64> = places.filter(|size| !known.contains_key(size)).collect();
        due.reverse();
        Self {
            caches,
            due,
            tree: CompactRange::default(),
            last: None,
            origin: None,
            state: State::default(),
        }
    }

    /// Looks at the next event.
    pub(crate) fn watch(&mut self, recorded: &Recorded) {
        if self.due.is_empty() {
            return;
        }
        if self.due.last() == Some(&recorded.seq.0) {
            self.due.pop();
            if let (Some((leaf, at)), Some(origin)) = (self.last, self.origin.clone()) {
                let chain = Chain::resume(self.tree.clone(), leaf, Some(at), Some(origin));
                self.caches.store(&chain, &self.state);
            }
        }
        self.state.apply(recorded);
        self.tree.push(recorded.leaf);
        self.last = Some((recorded.leaf, recorded.recorded_at));
        if self.origin.is_none() {
            self.origin = Some(recorded.origin.clone());
        }
    }
}

/// The first event of each segment, as far as a search asks for it.
fn first_event(files: &LogFiles, segment: usize) -> Option<Recorded> {
    let (_, path) = files.segments.get(segment)?;
    let mut line = Vec::new();
    let file = fs::File::open(path).ok()?;
    let limit = MAX_LINE_BYTES as u64 + 1;
    BufReader::new(std::io::Read::take(file, limit)).read_until(b'\n', &mut line).ok()?;
    line.pop_if(|end| *end == b'\n')?;
    decode(&line).ok()
}

/// The segment that holds the last event of the prefix `as_of` means.
fn segment_of(files: &LogFiles, as_of: AsOf) -> Option<usize> {
    let begins_after = |segment: usize| {
        let (first, _) = files.segments[segment];
        match as_of {
            AsOf::Time(_) => first_event(files, segment)
                .map(|event| !as_of.includes(event.seq, event.recorded_at)),
            AsOf::Now | AsOf::Seq(_) | AsOf::Size(_) => {
                Some(!as_of.includes(first, Timestamp::from_micros(0)))
            }
        }
    };
    let (mut low, mut high) = (0, files.segments.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if begins_after(middle)? { high = middle } else { low = middle + 1 }
    }
    low.checked_sub(1)
}

/// The tiles of a folder, and the leaves behind the last complete one.
struct FolderTiles<'a> {
    files: &'a LogFiles,
    root: PathBuf,
}

impl HashSource for FolderTiles<'_> {
    type Error = TileError;

    fn tile(&self, id: TileId) -> Result<Vec<[u8; 32]>, TileError> {
        if id.is_complete() {
            let bytes = fs::read(self.root.join(id.path())).unwrap_or_default();
            return id.decode(&bytes);
        }
        let first = id.index * u64::from(TILE_WIDTH);
        let segment = self.files.segments.partition_point(|(begin, _)| begin.0 <= first);
        let mut files = self.files.clone();
        files.segments.drain(..segment.saturating_sub(1));
        let begin = files.segments.first().map_or(0, |(begin, _)| begin.0);
        let skip = usize::try_from(first - begin).unwrap_or(usize::MAX);
        let lines = files.lines().skip(skip).take(usize::from(id.width)).map_while(Result::ok);
        let bytes: Vec<u8> = lines.flat_map(|line| *LeafHash::of_line(&line).as_bytes()).collect();
        id.decode(&bytes)
    }
}

/// The state as of a moment from the newest cache before it; nothing where there is none, or where
/// the signed head does not vouch for what it was folded from.
pub(crate) fn state_at(layout: &Layout, ring: &KeyRing, as_of: AsOf) -> Option<FromCache> {
    let mut files = LogFiles::find(layout).ok()?;
    let checkpoint = Checkpoint::open(files.checkpoint.as_deref()?, ring).ok()?;
    let target = segment_of(&files, as_of)?;
    let caches = StateCaches::of(layout);
    let (size, (root, _)) = caches
        .list()
        .range(..=files.segments[target].0.0)
        .next_back()
        .map(|(s, e)| (*s, e.clone()))?;
    let from = files.segments.iter().position(|(first, _)| first.0 == size)?;
    let Stored { chain, mut state } = caches.load(size, root)?;
    let (all, log_size) = (files.clone(), count_events(&files)?);
    // One segment further: the first event behind the moment may stand there.
    files.segments.truncate(target + 2);
    files.segments.drain(..from);
    let behind = chain.recorded_at().map(|at| (Seq(size - 1), at));
    let mut chooser = Chooser::resume(as_of, usize::try_from(size).ok()?, behind);
    let (stored_at, origin) = (Seq(size.checked_sub(1)?), chain.origin()?.to_string());
    if chain.origin() != Some(&checkpoint.origin) {
        return None;
    }
    let mut last_leaf = chain.last();
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        if chooser.take(recorded) {
            state.apply(recorded);
            last_leaf = recorded.leaf;
        }
    };
    let scanner = Scanner::resume(chain, &[checkpoint.size]);
    let scanned = files.scan_from(scanner, &mut visit).ok()?;
    if scanned.damage.is_some() {
        return None;
    }
    let (last, _) = chooser.selection().last?;
    let is_signed = match scanned.root_at(checkpoint.size) {
        // The signed head lies within what was read.
        Some(root) => root == checkpoint.root,
        None if last.0 < checkpoint.size => {
            // Each event names the one before it: if the last of the prefix is under the signed
            // root, so is all of the prefix.
            let tiles = CompleteTiles(FolderTiles { files: &all, root: layout.root().to_owned() });
            let proof = inclusion_proof(last, checkpoint.size, &tiles).ok()?;
            verify_inclusion(last_leaf, last, checkpoint.size, &proof, checkpoint.root).is_ok()
        }
        None => false,
    };
    let signed = checkpoint.size;
    is_signed.then_some(FromCache { state, chooser, stored_at, log_size, signed, origin })
}

/// Events in the whole log: those before the last segment, by its name, and its lines.
fn count_events(files: &LogFiles) -> Option<u64> {
    let (first, path) = files.segments.last()?;
    let mut file = BufReader::with_capacity(128 * 1024, fs::File::open(path).ok()?);
    let mut lines = 0;
    loop {
        let piece = file.fill_buf().ok()?;
        if piece.is_empty() {
            return Some(first.0 + lines);
        }
        lines += piece.iter().filter(|&&b| b == b'\n').count() as u64;
        let read = piece.len();
        file.consume(read);
    }
}

/// Folds every cache of a log anew while the log goes by.
pub(crate) struct CacheAudit {
    due: BTreeMap<u64, (TreeHash, PathBuf)>,
    state: State,
    tree: CompactRange,
    origin: Option<Origin>,
    checked: u64,
    wrong: Vec<(Seq, String)>,
}

impl CacheAudit {
    /// For the log in `layout`; nothing if it has no caches of this version.
    pub(crate) fn of(layout: &Layout) -> Option<Self> {
        let due = StateCaches::of(layout).list();
        (!due.is_empty()).then(|| Self {
            due,
            state: State::default(),
            tree: CompactRange::default(),
            origin: None,
            checked: 0,
            wrong: Vec::new(),
        })
    }

    /// Looks at the next event.
    pub(crate) fn watch(&mut self, recorded: &Recorded) {
        self.state.apply(recorded);
        self.tree.push(recorded.leaf);
        if self.origin.is_none() {
            self.origin = Some(recorded.origin.clone());
        }
        let Some((root, path)) = self.due.remove(&self.tree.size()) else { return };
        let (leaf, at) = (recorded.leaf, recorded.recorded_at);
        let chain = Chain::resume(self.tree.clone(), leaf, Some(at), self.origin.clone());
        let expected = StateCaches::bytes(&chain, &self.state);
        if root == chain.root() && read_cache(&path) == expected {
            self.checked += 1;
        } else {
            self.wrong.push((recorded.seq, path.display().to_string()));
        }
    }

    /// There are no more events: how many caches are what the log says, and those that are not, with
    /// where they stand. What is left speaks of events that are not there.
    pub(crate) fn finish(mut self) -> (u64, Vec<(Seq, String)>) {
        let behind = self
            .due
            .iter()
            .map(|(size, (_, path))| (Seq(size.saturating_sub(1)), path.display().to_string()));
        self.wrong.extend(behind);
        (self.checked, self.wrong)
    }
}
