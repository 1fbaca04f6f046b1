//! Merkle proofs: that an event is in a log, and that a log continues an older one.
//!
//! RFC 6962 §2.1.1 and §2.1.2 define the proofs, RFC 9162 §2.1.3.2 and §2.1.4.2 how to verify them.

use crate::digest::{LeafHash, TreeHash};
use crate::ids::Seq;
use crate::merkle::{CompactRange, node};
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, perfect_root};

/// Why a proof does not hold, or cannot exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No tree of that size has such a leaf.
    #[error("event {seq} is not one of the first {size}")]
    NotInTree {
        /// The event.
        seq: Seq,
        /// Leaves of the tree.
        size: u64,
    },
    /// A tree continues only smaller ones, and of an empty one there is nothing to prove.
    #[error("a log of {new_size} events does not continue one of {old_size}")]
    NotAPrefix {
        /// Leaves of the older tree.
        old_size: u64,
        /// Leaves of the newer one.
        new_size: u64,
    },
    /// A proof for these sizes has another length.
    #[error("the proof has {found} hashes, one for these sizes has {expected}")]
    Length {
        /// What the sizes ask for.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// The proof leads to another root than the given one.
    #[error("the proof leads to root {found}, not to {expected} of the first {size} events")]
    Root {
        /// Leaves of the tree whose root it is.
        size: u64,
        /// The given root.
        expected: TreeHash,
        /// The root that was computed.
        found: TreeHash,
    },
}

/// Why the hashes of a tree cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// The source says no.
    #[error("cannot read {id}")]
    Source {
        /// The tile.
        id: TileId,
        /// Why.
        source: E,
    },
    /// The source gave another number of hashes than the tile has.
    #[error("{id} has {found} hashes")]
    Width {
        /// The tile.
        id: TileId,
        /// How many came.
        found: usize,
    },
}

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// None can exist.
    #[error(transparent)]
    Impossible(#[from] ProofError),
    /// The hashes for it cannot be had.
    #[error(transparent)]
    Read(#[from] ReadError<E>),
}

/// A perfect subtree: the leaves from `index · 2^height` on, `2^height` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtree {
    /// Height above the leaves, 0 to 63.
    pub height: u32,
    /// Place within its height.
    pub index: u64,
}

impl Subtree {
    /// The tile of a tree of `size` leaves that holds its foot, and where in it the foot begins.
    ///
    /// The subtree must lie within the tree.
    fn place(&self, size: u64) -> (TileId, usize) {
        let level = self.height / TILE_HEIGHT;
        let first = self.index << (self.height % TILE_HEIGHT);
        let (width, index) = (u64::from(TILE_WIDTH), first / u64::from(TILE_WIDTH));
        let held = (size >> (TILE_HEIGHT * level)) - index * width;
        let id = TileId { level: level as u8, index, width: held.min(width) as u16 };
        (id, (first % width) as usize)
    }

    /// The tile of a tree of `size` leaves that answers for it.
    pub(crate) fn tile(&self, size: u64) -> TileId {
        self.place(size).0
    }

    /// Hashes of its tile that it stands on: 1 to 128.
    fn foot(&self) -> usize {
        1 << (self.height % TILE_HEIGHT)
    }
}

/// Where the hashes of a tree come from: a folder of tiles, a web server, memory.
///
/// Nothing here checks them: what is proven with wrong hashes does not verify.
pub trait HashSource {
    /// Why a tile cannot be had.
    type Error;

    /// The hashes of a tile, as many as its width says.
    ///
    /// # Errors
    ///
    /// When there is no such tile, or it cannot be read.
    fn tile(&self, id: TileId) -> Result<Vec<[u8; 32]>, Self::Error>;

    /// The roots of subtrees of the tree of `size` leaves, each within it.
    ///
    /// Reads each tile it needs once. A source that holds such roots may look them up instead.
    ///
    /// # Errors
    ///
    /// When a tile cannot be had or has another width.
    fn subtrees(
        &self,
        wanted: &[Subtree],
        size: u64,
    ) -> Result<Vec<[u8; 32]>, ReadError<Self::Error>> {
        let mut tiles: Vec<(TileId, Vec<[u8; 32]>)> = Vec::new();
        let mut roots = Vec::with_capacity(wanted.len());
        for subtree in wanted {
            let (id, first) = subtree.place(size);
            let known = tiles.iter().position(|(known, _)| *known == id);
            let at = match known {
                Some(at) => at,
                None => {
                    tiles.push((id, read_tile(self, id)?));
                    tiles.len() - 1
                }
            };
            roots.push(perfect_root(&tiles[at].1[first..first + subtree.foot()]));
        }
        Ok(roots)
    }
}

/// Reads a tile and checks its width.
pub(crate) fn read_tile<S: HashSource + ?Sized>(
    source: &S,
    id: TileId,
) -> Result<Vec<[u8; 32]>, ReadError<S::Error>> {
    let hashes = source.tile(id).map_err(|source| ReadError::Source { id, source })?;
    if hashes.len() == usize::from(id.width) {
        Ok(hashes)
    } else {
        Err(ReadError::Width { id, found: hashes.len() })
    }
}

/// The leaves of one hash of a proof, from `start` until before `end`.
#[derive(Debug, Clone, Copy)]
struct Leaves {
    start: u64,
    end: u64,
}

impl Leaves {
    fn count(self) -> u64 {
        self.end - self.start
    }

    /// Both children of an inner node, split at the largest power of two below its leaves.
    fn split(self) -> (Self, Self) {
        let middle = self.start + (1 << (u64::BITS - 1 - (self.count() - 1).leading_zeros()));
        (Self { end: middle, ..self }, Self { start: middle, ..self })
    }

    /// The perfect subtrees it consists of, largest first.
    fn subtrees(self) -> impl Iterator<Item = Subtree> {
        let mut start = self.start;
        std::iter::from_fn(move || {
            let height = (self.end - start).checked_ilog2()?;
            let subtree = Subtree { height, index: start >> height };
            start += 1 << height;
            Some(subtree)
        })
    }
}

/// RFC 6962 §2.1.1: the siblings on the way from the leaf to the root.
fn inclusion_path(seq: Seq, size: u64) -> Result<Vec<Leaves>, ProofError> {
    if seq.0 >= size {
        return Err(ProofError::NotInTree { seq, size });
    }
    let (mut at, mut path) = (Leaves { start: 0, end: size }, Vec::new());
    while at.count() > 1 {
        let (left, right) = at.split();
        let (inside, sibling) = if seq.0 < right.start { (left, right) } else { (right, left) };
        path.push(sibling);
        at = inside;
    }
    path.reverse();
    Ok(path)
}

/// RFC 6962 §2.1.2: what the older tree has, then what completes it to the newer one.
fn consistency_path(old_size: u64, new_size: u64) -> Result<Vec<Leaves>, ProofError> {
    if old_size == 0 || old_size > new_size {
        return Err(ProofError::NotAPrefix { old_size, new_size });
    }
    let (mut at, mut path) = (Leaves { start: 0, end: new_size }, Vec::new());
    while at.end != old_size {
        let (left, right) = at.split();
        let (inside, sibling) = if old_size <= right.start { (left, right) } else { (right, left) };
        path.push(sibling);
        at = inside;
    }
    // What remains ends where the older tree ends. If it is that tree, the verifier has its root.
    if at.start > 0 {
        path.push(at);
    }
    path.reverse();
    Ok(path)
}

/// The hash over each of `path`, from one look at `source`.
fn hashes<S: HashSource>(
    path: &[Leaves],
    size: u64,
    source: &S,
) -> Result<Vec<[u8; 32]>, ReadError<S::Error>> {
    let wanted: Vec<Subtree> = path.iter().flat_map(|leaves| leaves.subtrees()).collect();
    let roots = source.subtrees(&wanted, size)?;
    assert_eq!(roots.len(), wanted.len(), "invariant: a source answers for every subtree");
    let mut rest = &roots[..];
    let proof = path.iter().map(|leaves| {
        let (own, behind) = rest.split_at(leaves.count().count_ones() as usize);
        rest = behind;
        fold(own).expect("invariant: a hash of a proof covers leaves")
    });
    Ok(proof.collect())
}

/// The root over perfect subtrees of falling size.
fn fold(subtrees: &[[u8; 32]]) -> Option<[u8; 32]> {
    subtrees.iter().rev().copied().reduce(|right, left| node(&left, &right))
}

/// Proves that event `seq` is one of the first `size` (RFC 6962 §2.1.1), sibling of the leaf first.
///
/// Reads at most two tiles of each level.
///
/// # Errors
///
/// When `seq` is not below `size`, or the hashes cannot be had.
pub fn inclusion_proof<S: HashSource>(
    seq: Seq,
    size: u64,
    source: &S,
) -> Result<Vec<[u8; 32]>, ProveError<S::Error>> {
    Ok(hashes(&inclusion_path(seq, size)?, size, source)?)
}

/// Proves that the first `new_size` events begin with the first `old_size` (RFC 6962 §2.1.2).
///
/// Of equal sizes the proof is empty. Reads at most two tiles of each level.
///
/// # Errors
///
/// When `old_size` is 0 or above `new_size`, or the hashes cannot be had.
pub fn consistency_proof<S: HashSource>(
    old_size: u64,
    new_size: u64,
    source: &S,
) -> Result<Vec<[u8; 32]>, ProveError<S::Error>> {
    Ok(hashes(&consistency_path(old_size, new_size)?, new_size, source)?)
}

/// The root over the first `size` leaves, from at most one tile of each level.
///
/// # Errors
///
/// When the hashes cannot be had.
pub fn root<S: HashSource>(size: u64, source: &S) -> Result<TreeHash, ReadError<S::Error>> {
    if size == 0 {
        return Ok(CompactRange::default().root());
    }
    let found = hashes(&[Leaves { start: 0, end: size }], size, source)?;
    Ok(TreeHash::from_bytes(found[0]))
}

fn check_length(expected: usize, proof: &[[u8; 32]]) -> Result<(), ProofError> {
    let found = proof.len();
    if found == expected { Ok(()) } else { Err(ProofError::Length { expected, found }) }
}

fn check_root(size: u64, expected: TreeHash, found: [u8; 32]) -> Result<(), ProofError> {
    let found = TreeHash::from_bytes(found);
    if found == expected { Ok(()) } else { Err(ProofError::Root { size, expected, found }) }
}

/// Verifies that `leaf` is event `seq` of the log whose first `size` events have `root`.
///
/// `size` and `root` must come from one signed head: the proof itself tells sizes apart only where
/// the way from the leaf to the root has another shape.
///
/// # Errors
///
/// When it is not, and when no such proof exists. Ends after at most 64 hashes on any input.
pub fn verify_inclusion(
    leaf: LeafHash,
    seq: Seq,
    size: u64,
    proof: &[[u8; 32]],
    root: TreeHash,
) -> Result<(), ProofError> {
    check_length(inclusion_path(seq, size)?.len(), proof)?;
    // RFC 9162 §2.1.3.2: the places of the node and of the last node of its row.
    let (mut at, mut last) = (seq.0, size - 1);
    let mut hash = *leaf.as_bytes();
    for sibling in proof {
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            // A last node without right sibling stands as it is in the rows above, until it is one.
            let rows = at.trailing_zeros().min(u64::BITS - 1);
            (at, last) = (at >> rows, last >> rows);
        } else {
            hash = node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    check_root(size, root, hash)
}

/// Verifies that the log of `new_size` events with `new_root` begins with that of `old_size` events
/// with `old_root`.
///
/// Each size must come with its root from one signed head, as for [`verify_inclusion`].
///
/// # Errors
///
/// When it does not, and when no such proof exists: `old_size` is 0 or above `new_size`. Ends after
/// at most 130 hashes on any input.
pub fn verify_consistency(
    old_size: u64,
    old_root: TreeHash,
    new_size: u64,
    new_root: TreeHash,
    proof: &[[u8; 32]],
) -> Result<(), ProofError> {
    check_length(consistency_path(old_size, new_size)?.len(), proof)?;
    if old_size == new_size {
        return check_root(new_size, new_root, *old_root.as_bytes());
    }
    // RFC 9162 §2.1.4.2: from the largest perfect subtree at the old right edge upwards.
    let rows = (old_size - 1).trailing_ones();
    let (mut at, mut last) = ((old_size - 1) >> rows, (new_size - 1) >> rows);
    let (start, path) = match proof.split_first() {
        Some((first, path)) if !old_size.is_power_of_two() => (first, path),
        _ => (old_root.as_bytes(), proof),
    };
    let (mut old, mut new) = (*start, *start);
    for sibling in path {
        if at & 1 == 1 || at == last {
            old = node(sibling, &old);
            new = node(sibling, &new);
            let rows = at.trailing_zeros().min(u64::BITS - 1);
            (at, last) = (at >> rows, last >> rows);
        } else {
            new = node(&new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    check_root(old_size, old_root, old)?;
    check_root(new_size, new_root, new)
}
