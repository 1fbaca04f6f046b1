//! Whole trees: their tiles as leaves arrive, and all their hashes in memory.

use crate::digest::{LeafHash, TreeHash};
use crate::merkle::{CompactRange, node};
use crate::proof::{HashSource, ReadError, Subtree, read_tile};
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, perfect_root};

/// A tile with its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Which one.
    pub id: TileId,
    /// As many as its width says.
    pub hashes: Vec<[u8; 32]>,
}

impl Tile {
    /// The bytes of its file.
    pub fn bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }
}

/// Makes the tiles of a tree while its leaves arrive in order.
///
/// Holds the open tile of each level: at most eight times 255 hashes, 64 KiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TileBuilder {
    size: u64,
    /// The hashes of the partial tile at each level, lowest first.
    open: Vec<Vec<[u8; 32]>>,
}

impl TileBuilder {
    /// Goes on from a tree of `size` leaves, whose partial tiles it reads from `source`.
    ///
    /// Compare [`Self::root`] with the root that is known for that size.
    ///
    /// # Errors
    ///
    /// When a tile cannot be read or has another number of hashes than its name says.
    pub fn resume<S: HashSource>(size: u64, source: &S) -> Result<Self, ReadError<S::Error>> {
        let mut builder = Self { size, open: Vec::new() };
        let mut hashes = size;
        for level in 0.. {
            if hashes == 0 {
                break;
            }
            let id = TileId {
                level,
                index: hashes / u64::from(TILE_WIDTH),
                width: (hashes % u64::from(TILE_WIDTH)) as u16,
            };
            builder.open.push(match id.width {
                0 => Vec::new(),
                _ => read_tile(source, id)?,
            });
            hashes = id.index;
        }
        Ok(builder)
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next leaf and returns the tiles it completes, lowest level first.
    pub fn push(&mut self, leaf: LeafHash) -> Vec<Tile> {
        let mut complete = Vec::new();
        let (mut hash, mut index) = (*leaf.as_bytes(), self.size);
        self.size += 1;
        for level in 0u8.. {
            if self.open.len() == usize::from(level) {
                self.open.push(Vec::new());
            }
            let open = &mut self.open[usize::from(level)];
            open.push(hash);
            if open.len() < usize::from(TILE_WIDTH) {
                break;
            }
            index /= u64::from(TILE_WIDTH);
            let id = TileId { level, index, width: TILE_WIDTH };
            complete.push(Tile { id, hashes: std::mem::take(open) });
            hash = perfect_root(&complete[usize::from(level)].hashes);
        }
        complete
    }

    /// The partial tiles of the tree as it is, lowest level first.
    pub fn partial(&self) -> impl Iterator<Item = Tile> + '_ {
        let levels = self.open.iter().zip(0u8..).filter(|(hashes, _)| !hashes.is_empty());
        levels.map(|(hashes, level)| {
            let index = self.size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
            let id = TileId { level, index, width: hashes.len() as u16 };
            Tile { id, hashes: hashes.clone() }
        })
    }

    /// The root over all leaves so far.
    pub fn root(&self) -> TreeHash {
        let mut right: Option<[u8; 32]> = None;
        for open in &self.open {
            // The one bits of the width are the perfect subtrees of a partial tile, right to left.
            let mut end = open.len();
            while end > 0 {
                let start = end & (end - 1);
                let left = perfect_root(&open[start..end]);
                right = Some(right.map_or(left, |right| node(&left, &right)));
                end = start;
            }
        }
        right.map_or_else(|| CompactRange::default().root(), TreeHash::from_bytes)
    }
}

/// All hashes of a tree, 64 bytes for each leaf: proofs without hashing whole tiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryTree {
    /// The roots of the perfect subtrees of each height, leaves first.
    heights: Vec<Vec<[u8; 32]>>,
}

impl MemoryTree {
    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.heights.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: LeafHash) {
        let mut hash = *leaf.as_bytes();
        for height in 0.. {
            if self.heights.len() == height {
                self.heights.push(Vec::new());
            }
            let row = &mut self.heights[height];
            row.push(hash);
            match row[..] {
                [.., left, right] if row.len().is_multiple_of(2) => hash = node(&left, &right),
                _ => break,
            }
        }
    }

    fn hashes(&self, height: u32, first: u64, count: u16) -> Option<&[[u8; 32]]> {
        let row = self.heights.get(height as usize)?;
        let first = usize::try_from(first).ok()?;
        row.get(first..first.checked_add(usize::from(count))?)
    }
}

/// A tree in memory that has not grown that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree in memory has only {size} leaves")]
pub struct NotGrown {
    /// Leaves it has.
    pub size: u64,
}

impl HashSource for MemoryTree {
    type Error = NotGrown;

    fn tile(&self, id: TileId) -> Result<Vec<[u8; 32]>, NotGrown> {
        let first = id.index.checked_mul(u64::from(TILE_WIDTH));
        first
            .and_then(|first| self.hashes(TILE_HEIGHT * u32::from(id.level), first, id.width))
            .map(<[_]>::to_vec)
            .ok_or(NotGrown { size: self.size() })
    }

    fn subtrees(
        &self,
        wanted: &[Subtree],
        size: u64,
    ) -> Result<Vec<[u8; 32]>, ReadError<NotGrown>> {
        let look_up = |subtree: &Subtree| {
            let hash = self.hashes(subtree.height, subtree.index, 1).map(|hash| hash[0]);
            let source = NotGrown { size: self.size() };
            hash.ok_or_else(|| ReadError::Source { id: subtree.tile(size), source })
        };
        wanted.iter().map(look_up).collect()
    }
}

impl FromIterator<LeafHash> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = LeafHash>>(leaves: I) -> Self {
        let mut tree = Self::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

/// A source beside which only complete tiles are kept, and the leaves that fill none.
///
/// Partial tiles above the leaves are computed from the complete ones below, at most 255 each; a
/// partial tile of leaves is asked of the source. So a log need not store what it will replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompleteTiles<S>(pub S);

impl<S: HashSource> HashSource for CompleteTiles<S> {
    type Error = ReadError<S::Error>;

    fn tile(&self, id: TileId) -> Result<Vec<[u8; 32]>, Self::Error> {
        let Some(below) = id.level.checked_sub(1).filter(|_| !id.is_complete()) else {
            return read_tile(&self.0, id);
        };
        let first = id.index.saturating_mul(u64::from(TILE_WIDTH));
        let root = |n: u16| {
            let index = first.saturating_add(u64::from(n));
            let tile = read_tile(&self.0, TileId { level: below, index, width: TILE_WIDTH })?;
            Ok(perfect_root(&tile))
        };
        (0..id.width).map(root).collect()
    }
}
