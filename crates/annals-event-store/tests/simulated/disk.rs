//! A disk in memory that forgets what was not synced, as real ones do when the power fails.
//!
//! What a process sees (the cache) and what the platter holds are kept apart, block by block for
//! files and entry by entry for folders. The power failing keeps any subset of the difference: blocks
//! of 512 bytes or of 4 KiB in any order, lengths, entries, renames. A failed sync of a file marks
//! its blocks clean without writing them (Rebello et al., "Can Applications Recover from fsync
//! Failures?", USENIX ATC 2020); a failed sync of a folder leaves its entries to be written later.
//! Sectors of 512 bytes are whole: a disk that tears those destroys what was synced long ago too.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::rc::Rc;

use annals_event_store::{Disk, DiskFile, DiskFolder};

const BLOCK: usize = 512;

/// Random numbers from a seed (splitmix64), the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What happens to one operation on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// EIO, and nothing was done.
    Error,
    /// EIO, and it was done all the same.
    ErrorThoughDone,
    /// ENOSPC; of a write, a part was done.
    NoRoom,
    /// The power fails before it is done.
    PowerBefore,
    /// The power fails after it was done.
    PowerAfter,
}

/// How a disk deceives: to see that the tests notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lies {
    /// `fdatasync` does nothing.
    pub data: bool,
    /// `fsync` of a file does nothing.
    pub all: bool,
    /// `fsync` of a folder does nothing.
    pub folder: bool,
    /// A segment is never replaced: as if a log were opened without writing it anew.
    pub rewrite: bool,
}

/// What a power failure keeps of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// Whatever the dice say.
    Some,
}

#[derive(Default)]
struct FileNode {
    cached: Vec<u8>,
    platter: Vec<u8>,
    dirty: BTreeSet<usize>,
}

type Edits = Vec<(String, Option<usize>)>;

#[derive(Default)]
struct FolderNode {
    cached: BTreeMap<String, usize>,
    platter: BTreeMap<String, usize>,
    /// Changes of entries that were not synced, oldest first; the edits of one are made together.
    pending: Vec<Edits>,
}

enum Node {
    File(FileNode),
    Folder(FolderNode),
}

struct World {
    nodes: Vec<Node>,
    rng: Rng,
    lies: Lies,
    /// Counts power failures and restarts: handles of an earlier life are dead.
    life: u64,
    locked: Option<usize>,
    is_off: bool,
    is_full: bool,
    /// Operations until the fault.
    fault: Option<(usize, Fault)>,
    /// Files opened to read until one bit is read wrong.
    flip: Option<usize>,
    flipped: bool,
    /// Something was armed since it was last disarmed.
    is_tainted: bool,
    trace: Vec<String>,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Rc<RefCell<World>>);

pub(crate) struct SimFile {
    world: Rc<RefCell<World>>,
    node: usize,
    life: u64,
    name: String,
}

pub(crate) struct SimFolder {
    world: Rc<RefCell<World>>,
    node: usize,
    life: u64,
    name: String,
}

pub(crate) struct SimLock {
    world: Rc<RefCell<World>>,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        if world.life == self.life {
            world.locked = None;
        }
    }
}

fn error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EEXIST: i32 = 17;
const ENOSPC: i32 = 28;

fn show(path: &Path) -> String {
    path.display().to_string()
}

impl FileNode {
    fn write(&mut self, bytes: &[u8]) {
        let start = self.cached.len();
        self.cached.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(start / BLOCK..=(self.cached.len() - 1) / BLOCK);
        }
    }

    fn persist_block(&mut self, block: usize) {
        let range = block * BLOCK..((block + 1) * BLOCK).min(self.cached.len());
        if range.is_empty() {
            return;
        }
        if self.platter.len() < range.end {
            self.platter.resize(range.end, 0);
        }
        self.platter[range.clone()].copy_from_slice(&self.cached[range]);
    }

    fn sync(&mut self) {
        for block in std::mem::take(&mut self.dirty) {
            self.persist_block(block);
        }
        // Blocks an earlier failed sync has marked clean are not written: they stay holes.
        self.platter.resize(self.cached.len(), 0);
    }

    /// The power fails: any of the dirty blocks, and any length between the two, may be there.
    fn lose(&mut self, keep: Keep, rng: &mut Rng) {
        let (before, after) = (self.platter.len(), self.cached.len());
        let dirty = std::mem::take(&mut self.dirty);
        let whole_pages = rng.chance(50);
        let unit = if whole_pages { 8 } else { 1 };
        let mode = rng.below(4);
        let (mut decided, mut stays) = (None, true);
        for block in dirty {
            if decided != Some(block / unit) {
                decided = Some(block / unit);
                stays = match (keep, mode) {
                    (Keep::Nothing, _) | (Keep::Some, 0) => false,
                    (Keep::Everything, _) | (Keep::Some, 1) => true,
                    // All up to one of them, or each by itself.
                    (Keep::Some, 2) => stays && rng.chance(80),
                    (Keep::Some, _) => rng.chance(50),
                };
            }
            if stays {
                self.persist_block(block);
            }
        }
        let length = match keep {
            Keep::Nothing => before,
            Keep::Everything => after,
            Keep::Some => match rng.below(3) {
                0 => before,
                1 => after,
                _ if after > before => {
                    (before / BLOCK + rng.below((after - before) / BLOCK + 1) + 1) * BLOCK
                }
                _ => before,
            },
        };
        self.platter.resize(length.clamp(before.min(after), before.max(after)), 0);
        self.cached.clone_from(&self.platter);
    }

    /// Clean pages leave the cache: what is read next comes from the platter.
    fn evict(&mut self) {
        for start in (0..self.cached.len()).step_by(BLOCK) {
            if !self.dirty.contains(&(start / BLOCK)) {
                let end = (start + BLOCK).min(self.cached.len());
                self.cached[start..end].fill(0);
                if let Some(there) = self.platter.get(start..end.min(self.platter.len())) {
                    self.cached[start..start + there.len()].copy_from_slice(there);
                }
            }
        }
    }
}

impl FolderNode {
    fn edit(&mut self, edits: Edits) {
        apply(&mut self.cached, &edits);
        self.pending.push(edits);
    }

    fn sync(&mut self) {
        self.pending.clear();
        self.platter.clone_from(&self.cached);
    }

    fn lose(&mut self, keep: Keep, rng: &mut Rng) {
        let mode = rng.below(3);
        for edits in std::mem::take(&mut self.pending) {
            let stays = match (keep, mode) {
                (Keep::Nothing, _) | (Keep::Some, 0) => false,
                (Keep::Everything, _) | (Keep::Some, 1) => true,
                (Keep::Some, _) => rng.chance(50),
            };
            if stays {
                apply(&mut self.platter, &edits);
            }
        }
        self.cached.clone_from(&self.platter);
    }
}

fn apply(entries: &mut BTreeMap<String, usize>, edits: &Edits) {
    for (name, node) in edits {
        match node {
            Some(node) => entries.insert(name.clone(), *node),
            None => entries.remove(name),
        };
    }
}

impl World {
    fn folder(&mut self, node: usize) -> &mut FolderNode {
        match &mut self.nodes[node] {
            Node::Folder(folder) => folder,
            Node::File(_) => panic!("a file is no folder"),
        }
    }

    fn file(&mut self, node: usize) -> &mut FileNode {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Folder(_) => panic!("a folder is no file"),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        if self.is_off {
            return Err(error(EIO));
        }
        let mut at = 0;
        for part in path.components().skip(1) {
            let Node::Folder(folder) = &self.nodes[at] else { return Err(error(ENOENT)) };
            let name = part.as_os_str().to_str().unwrap();
            at = *folder.cached.get(name).ok_or_else(|| error(ENOENT))?;
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok((self.find(path.parent().unwrap())?, name))
    }

    fn alive(&self, life: u64) -> io::Result<()> {
        assert_eq!(life, self.life, "a handle of a dead process is used");
        if self.is_off { Err(error(EIO)) } else { Ok(()) }
    }

    /// Carries out one operation, or what the fault makes of it. `spoil` is what failing leaves.
    fn op<T>(
        &mut self,
        what: String,
        act: impl FnOnce(&mut Self) -> io::Result<T>,
        spoil: impl FnOnce(&mut Self, Fault),
    ) -> io::Result<T> {
        if self.is_off {
            return Err(error(EIO));
        }
        self.trace.push(what);
        let fault = match &mut self.fault {
            Some((0, fault)) => {
                let fault = *fault;
                self.fault = None;
                fault
            }
            Some((left, _)) => {
                *left -= 1;
                return act(self);
            }
            None => return act(self),
        };
        match fault {
            Fault::Error | Fault::NoRoom => spoil(self, fault),
            Fault::PowerBefore => {}
            Fault::ErrorThoughDone | Fault::PowerAfter => drop(act(self)?),
        }
        self.is_off = matches!(fault, Fault::PowerBefore | Fault::PowerAfter);
        Err(error(if fault == Fault::NoRoom { ENOSPC } else { EIO }))
    }

    fn has_room(&self) -> io::Result<()> {
        if self.is_full { Err(error(ENOSPC)) } else { Ok(()) }
    }
}

impl SimDisk {
    /// An empty disk whose only folder, synced, is `/w`.
    pub(crate) fn new(seed: u64, lies: Lies) -> Self {
        let mut root = FolderNode::default();
        root.edit(vec![("w".to_owned(), Some(1))]);
        root.sync();
        let world = World {
            nodes: vec![Node::Folder(root), Node::Folder(FolderNode::default())],
            rng: Rng::new(seed ^ 0xd15c),
            lies,
            life: 0,
            locked: None,
            is_off: false,
            is_full: false,
            fault: None,
            flip: None,
            flipped: false,
            is_tainted: false,
            trace: Vec::new(),
        };
        Self(Rc::new(RefCell::new(world)))
    }

    /// After `operations` more, the next one meets `fault`.
    pub(crate) fn arm(&self, operations: usize, fault: Fault) {
        let mut world = self.0.borrow_mut();
        (world.fault, world.is_tainted) = (Some((operations, fault)), true);
    }

    /// No fault is to come.
    pub(crate) fn disarm(&self) {
        let mut world = self.0.borrow_mut();
        world.disarm();
    }

    /// After `files` more were opened to read, one bit of the next is read wrong, once.
    pub(crate) fn flip_a_bit_after(&self, files: usize) {
        let mut world = self.0.borrow_mut();
        (world.flip, world.is_tainted) = (Some(files), true);
    }

    /// Whether a bit was read wrong since the last time this was asked.
    pub(crate) fn has_flipped(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().flipped)
    }

    /// Takes nothing more until disarmed.
    pub(crate) fn fill(&self) {
        let mut world = self.0.borrow_mut();
        (world.is_full, world.is_tainted) = (true, true);
    }

    /// The power is off.
    pub(crate) fn is_off(&self) -> bool {
        self.0.borrow().is_off
    }

    /// Nothing was armed since the last restart or disarming.
    pub(crate) fn is_healthy(&self) -> bool {
        let world = self.0.borrow();
        !(world.is_tainted || world.is_off)
    }

    /// A bit will be read wrong.
    pub(crate) fn has_flip_to_come(&self) -> bool {
        self.0.borrow().flip.is_some()
    }

    /// The operations since the last call.
    pub(crate) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().trace)
    }

    /// The power fails, and comes back.
    pub(crate) fn lose_power(&self, keep: Keep) {
        let mut world = self.0.borrow_mut();
        let world = &mut *world;
        for node in &mut world.nodes {
            match node {
                Node::File(file) => file.lose(keep, &mut world.rng),
                Node::Folder(folder) => folder.lose(keep, &mut world.rng),
            }
        }
        world.restart();
    }

    /// The process is gone; the machine is not. Clean pages may be gone from the cache.
    pub(crate) fn lose_process(&self) {
        let mut world = self.0.borrow_mut();
        let world = &mut *world;
        for node in &mut world.nodes {
            if let Node::File(file) = node
                && world.rng.chance(50)
            {
                file.evict();
            }
        }
        world.restart();
    }

    /// Bytes of a file as a reader sees them, whatever is armed.
    pub(crate) fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let mut world = self.0.borrow_mut();
        let node = world.find(path).ok()?;
        Some(world.file(node).cached.clone())
    }

    /// Names in a folder as a reader sees them.
    pub(crate) fn names(&self, path: &Path) -> Vec<String> {
        let mut world = self.0.borrow_mut();
        let Ok(node) = world.find(path) else { return Vec::new() };
        world.folder(node).cached.keys().cloned().collect()
    }

    /// Writes behind the end of a file, durably.
    pub(crate) fn leave(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.0.borrow_mut();
        let node = world.find(path).unwrap();
        world.file(node).write(bytes);
        world.file(node).sync();
    }

    /// Changes one bit of a file for good, in the cache and on the platter.
    pub(crate) fn rot(&self, path: &Path, at: usize, bit: u8) {
        let mut world = self.0.borrow_mut();
        let node = world.find(path).unwrap();
        let file = world.file(node);
        file.cached[at] ^= 1 << bit;
        file.platter[at] ^= 1 << bit;
    }
}

impl World {
    fn restart(&mut self) {
        self.life += 1;
        (self.locked, self.is_off) = (None, false);
        self.disarm();
    }

    fn disarm(&mut self) {
        (self.fault, self.flip, self.is_full, self.is_tainted) = (None, None, false, false);
    }
}

impl Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut world, node) = (self.world.borrow_mut(), self.node);
        world.alive(self.life)?;
        let part = world.rng.below(bytes.len() + 1);
        let act = |world: &mut World| {
            if world.is_full {
                world.file(node).write(&bytes[..part]);
            }
            world.has_room()?;
            world.file(node).write(bytes);
            Ok(bytes.len())
        };
        let spoil = |world: &mut World, fault| {
            if fault == Fault::NoRoom {
                world.file(node).write(&bytes[..part]);
            }
        };
        world.op(format!("write {}", self.name), act, spoil)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SimFile {
    fn sync(&mut self, what: &str, is_lie: bool) -> io::Result<()> {
        let (mut world, node) = (self.world.borrow_mut(), self.node);
        world.alive(self.life)?;
        let act = |world: &mut World| {
            if !is_lie {
                world.file(node).sync();
            }
            Ok(())
        };
        // The pages are clean now, and were not written.
        let spoil = |world: &mut World, _| world.file(node).dirty.clear();
        world.op(format!("{what} {}", self.name), act, spoil)
    }
}

impl DiskFile for SimFile {
    fn sync_data(&mut self) -> io::Result<()> {
        let is_lie = self.world.borrow().lies.data;
        self.sync("fdatasync", is_lie)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        let is_lie = self.world.borrow().lies.all;
        self.sync("fsync", is_lie)
    }
}

impl DiskFolder for SimFolder {
    fn sync(&mut self) -> io::Result<()> {
        let (mut world, node) = (self.world.borrow_mut(), self.node);
        world.alive(self.life)?;
        let is_lie = world.lies.folder;
        let act = |world: &mut World| {
            if !is_lie {
                world.folder(node).sync();
            }
            Ok(())
        };
        world.op(format!("fsync {}", self.name), act, |_, _| {})
    }
}

impl SimDisk {
    fn file(&self, node: usize, path: &Path) -> SimFile {
        let life = self.0.borrow().life;
        SimFile { world: Rc::clone(&self.0), node, life, name: show(path) }
    }

    /// One change of entries.
    fn change<T>(
        &self,
        what: &str,
        path: &Path,
        act: impl FnOnce(&mut World) -> io::Result<T>,
    ) -> io::Result<T> {
        self.0.borrow_mut().op(format!("{what} {}", show(path)), act, |_, _| {})
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Folder = SimFolder;
    type Lock = SimLock;

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let node = self.change("create", path, |world| {
            world.has_room()?;
            if let Ok(node) = world.find(path) {
                let file = world.file(node);
                file.cached.clear();
                file.dirty.clear();
                return Ok(node);
            }
            let (parent, name) = world.parent(path)?;
            world.nodes.push(Node::File(FileNode::default()));
            let node = world.nodes.len() - 1;
            world.folder(parent).edit(vec![(name, Some(node))]);
            Ok(node)
        })?;
        Ok(self.file(node, path))
    }

    fn open_append(&self, path: &Path) -> io::Result<SimFile> {
        let node = self.change("open", path, |world| world.find(path))?;
        Ok(self.file(node, path))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        let mut bytes = self.change("read", path, |world| {
            let node = world.find(path)?;
            Ok(world.file(node).cached.clone())
        })?;
        let mut world = self.0.borrow_mut();
        match world.flip {
            Some(0) if !bytes.is_empty() => {
                let bit = world.rng.below(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                (world.flip, world.flipped) = (None, true);
            }
            Some(left) => world.flip = Some(left.saturating_sub(1)),
            None => {}
        }
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn open_folder(&self, path: &Path) -> io::Result<SimFolder> {
        let node = self.change("open", path, |world| world.find(path))?;
        let life = self.0.borrow().life;
        Ok(SimFolder { world: Rc::clone(&self.0), node, life, name: show(path) })
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.change("mkdir", path, |world| {
            world.has_room()?;
            if world.find(path).is_ok() {
                return Err(error(EEXIST));
            }
            let (parent, name) = world.parent(path)?;
            world.nodes.push(Node::Folder(FolderNode::default()));
            let node = world.nodes.len() - 1;
            world.folder(parent).edit(vec![(name, Some(node))]);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", to, |world| {
            let ((parent, old), (other, new)) = (world.parent(from)?, world.parent(to)?);
            assert_eq!(parent, other, "a log renames within a folder");
            let node = world.find(from)?;
            let is_segment = new.ends_with(".jsonl");
            if world.lies.rewrite
                && is_segment
                && let Ok(target) = world.find(to)
            {
                // The content as if it had been written where it was; nothing synced.
                let content = world.file(node).cached.clone();
                let file = world.file(target);
                if file.cached != content {
                    let common = file.cached.iter().zip(&content).take_while(|(a, b)| a == b);
                    let common = common.count();
                    file.cached.truncate(common);
                    file.write(&content[common..]);
                    file.sync();
                }
                world.folder(parent).edit(vec![(old, None)]);
                return Ok(());
            }
            world.folder(parent).edit(vec![(old, None), (new, Some(node))]);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change("remove", path, |world| {
            world.find(path)?;
            let (parent, name) = world.parent(path)?;
            world.folder(parent).edit(vec![(name, None)]);
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.change("list", path, |world| {
            let node = world.find(path)?;
            Ok(world.folder(node).cached.keys().cloned().collect())
        })
    }

    fn is_folder(&self, path: &Path) -> bool {
        let world = self.0.borrow();
        world.find(path).is_ok_and(|node| matches!(world.nodes[node], Node::Folder(_)))
    }

    fn is_file(&self, path: &Path) -> bool {
        let world = self.0.borrow();
        world.find(path).is_ok_and(|node| !matches!(world.nodes[node], Node::Folder(_)))
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        self.change("chmod", path, |world| world.find(path).map(|_| ()))
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<SimLock, String>> {
        let taken = self.change("lock", path, |world| {
            let (parent, name) = world.parent(path)?;
            let node = match world.find(path) {
                Ok(node) => node,
                Err(_) => {
                    world.has_room()?;
                    world.nodes.push(Node::File(FileNode::default()));
                    let node = world.nodes.len() - 1;
                    world.folder(parent).edit(vec![(name, Some(node))]);
                    node
                }
            };
            if world.locked.is_some() {
                return Ok(Err(String::from_utf8_lossy(&world.file(node).cached).into_owned()));
            }
            world.locked = Some(node);
            world.file(node).cached = holder.as_bytes().to_vec();
            Ok(Ok(()))
        });
        let life = self.0.borrow().life;
        let world = Rc::clone(&self.0);
        match taken {
            Ok(taken) => Ok(taken.map(|()| SimLock { world, life })),
            Err(error) => {
                // The handle of a failed call is closed, and its lock with it.
                world.borrow_mut().locked = None;
                Err(error)
            }
        }
    }
}
