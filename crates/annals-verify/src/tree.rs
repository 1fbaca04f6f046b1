//! The tiles beside a log, compared with the tree over its lines.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use annals_event_store::{Disk, RealDisk};
use annals_events::{
    BundleId, LeafHash, MAX_BUNDLE_BYTES, Seq, TILE_WIDTH, Tile, TileBuilder, TileId,
};
use annals_integrity::{DamageClass, LogDamage};

/// Compares what lies below `tile/` with the leaves as they go by.
///
/// A tile that is not there is none that is wrong: a writer keeps complete ones only.
pub(crate) struct TileCheck {
    folder: PathBuf,
    builder: TileBuilder,
    pub(crate) counts: TileCounts,
    pub(crate) damages: Vec<LogDamage>,
}

/// Tiles and entry bundles.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TileCounts {
    /// Compared with the lines.
    pub(crate) checked: u64,
    /// Of them, those that go on behind the last line.
    pub(crate) beyond: u64,
}

/// So many damages are named of what lies beside the lines; the rest is counted.
pub(crate) const MAX_NAMED: usize = 100;

/// The content of a regular file of at most `limit` bytes; of a longer one, one byte more.
pub(crate) fn read_at_most(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match RealDisk.open_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, limit + 1), &mut bytes)?;
    Ok(Some(bytes))
}

impl TileCheck {
    /// Checks the tiles in `folder`; nothing if there are none.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        folder.join("tile").is_dir().then(|| Self {
            folder: folder.to_owned(),
            builder: TileBuilder::default(),
            counts: TileCounts::default(),
            damages: Vec::new(),
        })
    }

    /// The next leaf.
    pub(crate) fn push(&mut self, leaf: LeafHash) {
        for tile in self.builder.push(leaf) {
            self.compare_all(&tile);
        }
    }

    /// There are no more leaves.
    pub(crate) fn finish(mut self) -> (TileCounts, Vec<LogDamage>) {
        let partial: Vec<Tile> = self.builder.partial().collect();
        for tile in &partial {
            self.compare_all(tile);
        }
        (self.counts, self.damages)
    }

    /// The file of a tile, and those of its narrower earlier forms.
    fn compare_all(&mut self, tile: &Tile) {
        if self.damages.len() >= MAX_NAMED {
            // Enough is known of them.
            return;
        }
        let complete = TileId { width: TILE_WIDTH, ..tile.id };
        let mut widths = partial_widths(&self.folder, &complete.path());
        widths.push(TILE_WIDTH);
        for width in widths {
            self.compare(&TileId { width, ..tile.id }, tile);
        }
        if tile.id.level == 0 {
            let complete = BundleId { index: tile.id.index, width: TILE_WIDTH };
            let mut widths = partial_widths(&self.folder, &complete.path());
            widths.push(TILE_WIDTH);
            for width in widths {
                self.compare_bundle(BundleId { width, ..complete }, tile);
            }
        }
    }

    fn wrong(&mut self, tile: &Tile, path: &str, reason: impl std::fmt::Display) {
        // The first event the tile speaks of.
        let shift = 8 * (u32::from(tile.id.level) + 1);
        let first = tile.id.index.checked_shl(shift).unwrap_or(0);
        let reason = format!("{path}: {reason}");
        self.damages.push(LogDamage { class: DamageClass::Content, at: Some(Seq(first)), reason });
    }

    fn compare(&mut self, id: &TileId, tile: &Tile) {
        let path = id.path();
        let limit = 32 * u64::from(TILE_WIDTH);
        let bytes = match read_at_most(&self.folder.join(&path), limit) {
            Ok(None) => return,
            Ok(Some(bytes)) => bytes,
            Err(error) => return self.wrong(tile, &path, error),
        };
        self.counts.checked += 1;
        match id.decode(&bytes) {
            Err(error) => self.wrong(tile, &path, error),
            Ok(hashes) => self.compare_hashes(tile, &path, &hashes, "hashes"),
        }
    }

    /// A tile may go on behind the last line: the log was longer once, or grows meanwhile.
    fn compare_hashes(&mut self, tile: &Tile, path: &str, found: &[[u8; 32]], what: &str) {
        let both = found.len().min(tile.hashes.len());
        if found[..both] != tile.hashes[..both] {
            self.wrong(tile, path, format_args!("these are not the {what} of the log"));
        } else if both < found.len() {
            self.counts.beyond += 1;
        }
    }

    fn compare_bundle(&mut self, id: BundleId, tile: &Tile) {
        let path = id.path();
        let bytes = match read_at_most(&self.folder.join(&path), MAX_BUNDLE_BYTES as u64) {
            Ok(None) => return,
            Ok(Some(bytes)) => bytes,
            Err(error) => return self.wrong(tile, &path, error),
        };
        self.counts.checked += 1;
        match id.decode(&bytes) {
            Err(error) => self.wrong(tile, &path, error),
            Ok(lines) => {
                let leaves = lines.iter().map(|line| *LeafHash::of_line(line).as_bytes());
                let leaves: Vec<[u8; 32]> = leaves.collect();
                self.compare_hashes(tile, &path, &leaves, "lines");
            }
        }
    }
}

/// The widths of the partial forms of the tile or bundle at `path` that are there.
pub(crate) fn partial_widths(folder: &Path, path: &str) -> Vec<u16> {
    let entries = fs::read_dir(folder.join(format!("{path}.p"))).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    // Other names are no tiles: a writer's unfinished files, or somebody else's.
    let width = |name: String| name.parse().ok().filter(|width: &u16| width.to_string() == name);
    let mut widths: Vec<u16> =
        names.filter_map(width).filter(|width| (1..TILE_WIDTH).contains(width)).collect();
    widths.sort_unstable();
    widths
}
