//! C2SP tlog-tiles: a tree as immutable tiles of 256 hashes, its entries as bundles of 256 lines.
//!
//! <https://c2sp.org/tlog-tiles>. Only names and bytes; who reads and writes them is elsewhere.

use std::fmt;
use std::str::FromStr;

use crate::envelope::MAX_LINE_BYTES;
use crate::merkle::node;

/// Hashes in a complete tile, lines in a complete bundle.
pub const TILE_WIDTH: u16 = 256;

/// The height of the subtree that one tile represents: 2^8 = [`TILE_WIDTH`].
pub const TILE_HEIGHT: u32 = 8;

/// The highest level a path may name. A tree of 2^64 − 1 leaves ends at level 7.
const MAX_LEVEL: u8 = 63;

/// The longest bundle: 256 entries of 65,535 bytes with two bytes of length each, about 16 MiB.
pub const MAX_BUNDLE_BYTES: usize = TILE_WIDTH as usize * (2 + MAX_LINE_BYTES);

/// One tile of hashes: `tile/<level>/<index>[.p/<width>]`.
///
/// Its hash *i* is the RFC 6962 root over the leaves from `(index · 256 + i) · 256^level` on,
/// `256^level` of them. So level 0 holds leaf hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// Height in steps of eight, 0 to 63.
    pub level: u8,
    /// Place within the level.
    pub index: u64,
    /// Number of hashes, 1 to 256; a tile of fewer than 256 is partial.
    pub width: u16,
}

/// One bundle of lines: `tile/entries/<index>[.p/<width>]`, beside the level 0 tile of that index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    /// Place of the bundle: its first line is event `index · 256`.
    pub index: u64,
    /// Number of lines, 1 to 256; a bundle of fewer than 256 is partial.
    pub width: u16,
}

/// Why a path names no tile, or bytes are not what their name says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// Not the one spelling of a tile's or bundle's path.
    #[error("not the path of a tile: {0:?}")]
    Path(String),
    /// A tile of another length than its width says.
    #[error("{id}: {found} bytes, a tile of {} hashes has {}", id.width, usize::from(id.width) * 32)]
    Length {
        /// The tile.
        id: TileId,
        /// Its bytes.
        found: usize,
    },
    /// A bundle that ends inside an entry, or before its last one.
    #[error("{id}: ends within entry {entry}")]
    Short {
        /// The bundle.
        id: BundleId,
        /// The entry that is cut, from 0.
        entry: usize,
    },
    /// A bundle with bytes after its last entry.
    #[error("{id}: {bytes} bytes after the last of {} entries", id.width)]
    Trailing {
        /// The bundle.
        id: BundleId,
        /// How many.
        bytes: usize,
    },
    /// Lines that are more or fewer than the bundle's width.
    #[error("{id}: {found} lines for a bundle of {}", id.width)]
    Lines {
        /// The bundle.
        id: BundleId,
        /// How many there are.
        found: usize,
    },
    /// A line that two bytes of length cannot say.
    #[error("{id}: entry {entry} has {bytes} bytes, at most 65535 are allowed")]
    TooLong {
        /// The bundle.
        id: BundleId,
        /// The entry, from 0.
        entry: usize,
        /// Its length.
        bytes: usize,
    },
}

impl TileId {
    /// The path below the log's folder or prefix.
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Reads a path, of which each tile has one spelling.
    ///
    /// # Errors
    ///
    /// On any other text: a level above 63, leading zeroes, a width of 0 or of 256 and more.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        parse_tile(path).filter(|id| id.path() == path).ok_or_else(|| TileError::Path(path.into()))
    }

    /// Whether it holds 256 hashes and so never changes.
    pub fn is_complete(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Reads the hashes of this tile.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly `width` hashes.
    pub fn decode(self, bytes: &[u8]) -> Result<Vec<[u8; 32]>, TileError> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        if hashes.len() == usize::from(self.width) && rest.is_empty() {
            Ok(hashes.to_vec())
        } else {
            Err(TileError::Length { id: self, found: bytes.len() })
        }
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_place(f, self.index, self.width)
    }
}

impl FromStr for TileId {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Self::parse(path)
    }
}

impl BundleId {
    /// The path below the log's folder or prefix.
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Reads a path, of which each bundle has one spelling.
    ///
    /// # Errors
    ///
    /// On any other text: leading zeroes, a width of 0 or of 256 and more.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        parse_bundle(path)
            .filter(|id| id.path() == path)
            .ok_or_else(|| TileError::Path(path.into()))
    }

    /// Whether it holds 256 lines and so never changes.
    pub fn is_complete(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Writes `lines` (without LF), each behind its length as a big-endian `u16`.
    ///
    /// # Errors
    ///
    /// When there are not `width` lines, or one is longer than 65,535 bytes.
    pub fn encode<L: AsRef<[u8]>>(self, lines: &[L]) -> Result<Vec<u8>, TileError> {
        if lines.len() != usize::from(self.width) {
            return Err(TileError::Lines { id: self, found: lines.len() });
        }
        let mut bytes = Vec::new();
        for (entry, line) in lines.iter().map(AsRef::as_ref).enumerate() {
            let too_long = TileError::TooLong { id: self, entry, bytes: line.len() };
            let length = u16::try_from(line.len()).map_err(|_| too_long)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(line);
        }
        Ok(bytes)
    }

    /// Reads the lines of this bundle.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly `width` entries.
    pub fn decode(self, bytes: &[u8]) -> Result<Vec<&[u8]>, TileError> {
        let (mut lines, mut rest) = (Vec::new(), bytes);
        for entry in 0..usize::from(self.width) {
            let short = TileError::Short { id: self, entry };
            let Some((length, behind)) = rest.split_first_chunk::<2>() else {
                return Err(short);
            };
            let length = usize::from(u16::from_be_bytes(*length));
            let (line, behind) = behind.split_at_checked(length).ok_or(short)?;
            lines.push(line);
            rest = behind;
        }
        match rest.len() {
            0 => Ok(lines),
            bytes => Err(TileError::Trailing { id: self, bytes }),
        }
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/entries/")?;
        write_place(f, self.index, self.width)
    }
}

impl FromStr for BundleId {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Self::parse(path)
    }
}

/// The index in groups of three digits, all but the last behind an `x`, so that no name is both
/// a file and a folder.
fn write_place(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    // 2^64 − 1 has 20 digits: at most seven groups.
    let mut divisor = 1000u64.pow(6);
    while divisor > 1 {
        if index >= divisor {
            write!(f, "x{:03}/", index / divisor % 1000)?;
        }
        divisor /= 1000;
    }
    write!(f, "{:03}", index % 1000)?;
    if width == TILE_WIDTH { Ok(()) } else { write!(f, ".p/{width}") }
}

/// What `path` says if it is well spelled, which the caller checks by spelling it again.
fn parse_tile(path: &str) -> Option<TileId> {
    let (level, place) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = level.parse().ok().filter(|level| *level <= MAX_LEVEL)?;
    let (index, width) = parse_place(place)?;
    Some(TileId { level, index, width })
}

fn parse_bundle(path: &str) -> Option<BundleId> {
    let (index, width) = parse_place(path.strip_prefix("tile/entries/")?)?;
    Some(BundleId { index, width })
}

fn parse_place(place: &str) -> Option<(u64, u16)> {
    let (groups, width) = match place.split_once(".p/") {
        None => (place, TILE_WIDTH),
        Some((groups, width)) => {
            (groups, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?)
        }
    };
    let index = groups.split('/').try_fold(0u64, |index, group| {
        let digits: u64 = group.trim_start_matches('x').parse().ok()?;
        index.checked_mul(1000)?.checked_add(digits)
    })?;
    Some((index, width))
}

/// The tiles of a tree of `size` leaves, level by level; none for an empty tree.
pub fn tiles_of(size: u64) -> impl Iterator<Item = TileId> {
    new_tiles(0, size)
}

/// The bundles of a log of `size` events, in order.
pub fn bundles_of(size: u64) -> impl Iterator<Item = BundleId> {
    new_bundles(0, size)
}

/// The tiles of a tree of `new_size` leaves that the tree of `old_size` has not; none unless it
/// has grown.
///
/// Partial tiles count by their width: one that has grown is new.
pub fn new_tiles(old_size: u64, new_size: u64) -> impl Iterator<Item = TileId> {
    (0..=7u8).flat_map(move |level| {
        let hashes = |size: u64| size >> (TILE_HEIGHT * u32::from(level));
        tiles_between(level, hashes(old_size), hashes(new_size))
    })
}

/// The bundles of a log of `new_size` events that the log of `old_size` has not.
pub fn new_bundles(old_size: u64, new_size: u64) -> impl Iterator<Item = BundleId> {
    tiles_between(0, old_size, new_size)
        .map(|TileId { index, width, .. }| BundleId { index, width })
}

/// The tiles of one level that hold its hashes `old..new`, each as wide as `new` makes it.
fn tiles_between(level: u8, old: u64, new: u64) -> impl Iterator<Item = TileId> {
    let width = u64::from(TILE_WIDTH);
    let complete =
        (old / width..new / width).map(move |index| TileId { level, index, width: TILE_WIDTH });
    let rest = (new % width) as u16;
    let partial =
        (old < new && rest > 0).then_some(TileId { level, index: new / width, width: rest });
    complete.chain(partial)
}

/// The root of a perfect subtree from the hashes at its foot, a power of two of them.
pub(crate) fn perfect_root(hashes: &[[u8; 32]]) -> [u8; 32] {
    assert!(hashes.len().is_power_of_two(), "invariant: a perfect subtree has 2^h hashes");
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
    }
    row[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(level: u8, index: u64, width: u16) -> TileId {
        TileId { level, index, width }
    }

    /// The paths in the text of C2SP tlog-tiles, and those of Go's `sumdb/tlog` without its
    /// height, which tlog-tiles fixes at 8.
    #[test]
    fn paths_are_spelled_as_c2sp_spells_them() {
        for (id, path) in [
            (tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),
            (tile(0, 1, 256), "tile/0/001"),
            (tile(0, 1, 5), "tile/0/001.p/5"),
            (tile(5, 123_456_078, 256), "tile/5/x123/x456/078"),
            (tile(5, 123_456_078, 2), "tile/5/x123/x456/078.p/2"),
            (tile(0, 3_057_500, 256), "tile/0/x003/x057/500"),
            (tile(0, 1_234, 5), "tile/0/x001/234.p/5"),
            (tile(2, 0, 1), "tile/2/000.p/1"),
            (tile(63, u64::MAX, 255), "tile/63/x018/x446/x744/x073/x709/x551/615.p/255"),
        ] {
            assert_eq!(id.path(), path);
            assert_eq!(TileId::parse(path), Ok(id));
            assert!(BundleId::parse(path).is_err());
        }
        let bundle = BundleId { index: 3_057_500, width: 7 };
        assert_eq!(bundle.path(), "tile/entries/x003/x057/500.p/7");
        assert_eq!(BundleId::parse(&bundle.path()), Ok(bundle));
        assert!(TileId::parse(&bundle.path()).is_err());
    }

    #[test]
    fn another_spelling_is_no_path() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/00/001",
            "tile/+0/001",
            "tile/-1/001",
            "tile/64/001",
            "tile/0/1",
            "tile/0/0001",
            "tile/0/x001",
            "tile/0/xx001/000",
            "tile/0/x000/001",
            "tile/3/123/456/078",
            "tile/0/x1/234",
            "tile/0/x001/x234",
            "tile/0/x001/+34",
            "tile/0/001.p/0",
            "tile/0/001.p/01",
            "tile/0/001.p/+1",
            "tile/0/001.p/256",
            "tile/0/001.p/",
            "tile/0/001.p",
            "tile/0/001.p/1/",
            "tile/0/001/",
            "/tile/0/001",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x999/x018/x446/x744/x073/x709/x551/615",
            "tile/data/001",
        ] {
            assert_eq!(TileId::parse(path), Err(TileError::Path(path.into())));
            let entries = path.replacen("/0/", "/entries/", 1);
            assert!(BundleId::parse(&entries).is_err(), "{entries}");
        }
    }

    #[test]
    fn a_tree_has_the_tiles_of_the_specification() {
        let count = |level, complete| {
            tiles_of(70_000).filter(|id| (id.level, id.is_complete()) == (level, complete)).count()
        };
        assert_eq!([0, 1, 2, 3].map(|level| count(level, true)), [273, 1, 0, 0]);
        let partial: Vec<_> = tiles_of(70_000).filter(|id| !id.is_complete()).collect();
        assert_eq!(partial, [tile(0, 273, 112), tile(1, 1, 17), tile(2, 0, 1)]);
        assert_eq!(tiles_of(256).collect::<Vec<_>>(), [tile(0, 0, 256), tile(1, 0, 1)]);
        assert_eq!(tiles_of(0).count(), 0);
        assert_eq!(
            bundles_of(513).map(|id| id.path()).collect::<Vec<_>>(),
            ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/1"]
        );
    }

    #[test]
    fn new_tiles_are_those_the_older_tree_had_not() {
        use std::collections::BTreeSet;
        for old in (0..1100).step_by(17).chain([255, 256, 257, 512, 65_535, 65_536]) {
            for new in [0, 1, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 70_000] {
                let before: BTreeSet<_> = tiles_of(old).collect();
                let expected: BTreeSet<_> = if new > old {
                    tiles_of(new).filter(|id| !before.contains(id)).collect()
                } else {
                    BTreeSet::new()
                };
                let found: Vec<_> = new_tiles(old, new).collect();
                assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected, "{old} {new}");
                assert_eq!(found.len(), expected.len(), "{old} {new}");
            }
        }
    }

    #[test]
    fn the_largest_sizes_are_no_special_case() {
        assert_eq!(
            new_tiles(u64::MAX - 1, u64::MAX).collect::<Vec<_>>(),
            [tile(0, u64::MAX >> 8, 255)]
        );
        let last = new_tiles(u64::MAX - 256, u64::MAX).last();
        assert_eq!(last, Some(tile(1, u64::MAX >> 16, 255)));
        assert_eq!(new_tiles(u64::MAX, 0).count(), 0);
        assert_eq!(new_tiles((1 << 63) - 1, 1 << 63).last(), Some(tile(7, 0, 128)));
    }

    #[test]
    fn a_tile_has_exactly_its_hashes() {
        let bytes: Vec<u8> = (0..96).collect();
        let hashes = tile(0, 0, 3).decode(&bytes).unwrap();
        assert_eq!(hashes.concat(), bytes);
        for wrong in [0, 32, 64, 95] {
            assert_eq!(
                tile(0, 0, 3).decode(&bytes[..wrong]),
                Err(TileError::Length { id: tile(0, 0, 3), found: wrong })
            );
        }
        assert!(tile(0, 0, 2).decode(&bytes).is_err());
    }

    #[test]
    fn a_bundle_is_its_lines_and_nothing_else() {
        let id = BundleId { index: 0, width: 3 };
        let long = vec![b'x'; MAX_LINE_BYTES];
        let lines: [&[u8]; 3] = [b"{}", b"", &long];
        let bytes = id.encode(&lines).unwrap();
        assert_eq!(bytes[..6], [0, 2, b'{', b'}', 0, 0]);
        assert_eq!(id.decode(&bytes).unwrap(), lines);
        let short = |entry| Err(TileError::Short { id, entry });
        assert_eq!(id.decode(&bytes[..bytes.len() - 1]), short(2));
        assert_eq!(id.decode(&bytes[..7]), short(2));
        assert_eq!(id.decode(&bytes[..3]), short(0));
        assert_eq!(id.decode(&[]), short(0));
        let longer = [&bytes[..], b"\0"].concat();
        assert_eq!(id.decode(&longer), Err(TileError::Trailing { id, bytes: 1 }));
        assert_eq!(id.encode(&lines[..2]), Err(TileError::Lines { id, found: 2 }));
        let longer = [&long[..], b"x"].concat();
        let refused = id.encode(&[b"", &longer[..], b""]);
        assert_eq!(refused, Err(TileError::TooLong { id, entry: 1, bytes: 65_536 }));
    }
}
