//! Verifies what lies at a path: a log's folder, or an export file.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use annals_event_store::{Disk, Layout, LogFiles, ReadError, RealDisk};
use annals_events::{BlobRef, Digest, LeafHash, Recorded, Scanned, Seq};
use annals_integrity::{DamageClass, KeptNote, LogAudit, LogDamage, Trust};

use crate::evidence;
use crate::report::{BlobCounts, Report};
use crate::stream::{self, also_given};
use crate::tree::{MAX_NAMED, TileCheck, TileCounts};

/// The longest note read, in bytes.
pub(crate) const MAX_NOTE_BYTES: u64 = 64 * 1024;

/// Verifies what lies at `path`: the folder of a log, a copy of one in tlog-tiles, or an export
/// file. `note` is a checkpoint given beside a file of bare lines.
///
/// What is wrong is in the report, and so is that nothing could be read.
pub fn verify_path(path: &Path, note: Option<&[u8]>, trust: &Trust) -> (Report, Option<String>) {
    let place = path.display().to_string();
    if path.is_dir() {
        return verify_folder(path, place, note, trust);
    }
    match fs::File::open(path) {
        Ok(file) => stream::verify_stream(&place, file, note, trust),
        Err(error) => {
            let reason = format!("cannot read {place}: {error}");
            (Report::unreadable(place, reason), None)
        }
    }
}

/// Whether `kept` is the log's own signed head, in place: it cannot vouch for itself.
pub fn is_own_head(log: &Path, kept: &Path) -> bool {
    let place = |path: &Path| {
        let file = if path.is_dir() { path.join("checkpoint") } else { path.to_owned() };
        fs::canonicalize(file).ok()
    };
    place(kept).is_some_and(|kept| place(log) == Some(kept))
}

/// Reads a head that was kept: a note in a file, or the `checkpoint` of a copy of the log.
///
/// # Errors
///
/// When it cannot be read.
pub fn kept_note(path: &Path) -> io::Result<KeptNote> {
    let mut note = Vec::new();
    let file: Box<dyn io::Read> = match path.is_dir() {
        // In a folder that somebody else may have filled, a pipe would be waited for.
        true => RealDisk.open_read(&path.join("checkpoint"))?,
        false => RealDisk.open_read(path)?,
    };
    io::Read::read_to_end(&mut io::Read::take(file, MAX_NOTE_BYTES + 1), &mut note)?;
    Ok(KeptNote { name: path.display().to_string(), note })
}

fn verify_folder(
    folder: &Path,
    place: String,
    given: Option<&[u8]>,
    trust: &Trust,
) -> (Report, Option<String>) {
    let layout = Layout::new(folder);
    let trust = match layout.checkpoint().exists() {
        true => also_given(trust, given),
        false => Cow::Borrowed(trust),
    };
    let trust = trust.as_ref();
    let mut watch = Watch::new(&layout, trust);
    let read = match LogFiles::find(&layout) {
        Ok(mut files) => {
            files.checkpoint = files.checkpoint.or_else(|| given.map(<[u8]>::to_vec));
            read_segments(&files, trust, &mut watch)
        }
        Err(ReadError::Missing(_)) if folder.join("tile/entries").is_dir() => {
            stream::read_bundles(folder, trust, &mut watch)
        }
        Err(error) => Err(error),
    };
    let (note, scanned) = match read {
        Ok(read) => read,
        Err(error) => return (Report::unreadable(place, describe(&error)), None),
    };
    let mut audit = LogAudit::new(trust, note.as_deref());
    audit.claim(watch.claimed);
    let verification = audit.finish(&scanned);
    let evidence = evidence::of_forks(&verification, &watch.leaves);
    let (tiles, mut extra) = match watch.tiles {
        // Behind the first damage the tiles are compared with nothing.
        Some(check) if scanned.damage.is_none() => check.finish(),
        Some(check) => (check.counts, check.damages),
        None => (TileCounts::default(), Vec::new()),
    };
    extra.extend(watch.damages);
    // Blobs and tiles in the order of the events they belong to.
    extra.sort_by_key(|damage| damage.at);
    (Report::new(place, &verification, extra, watch.blobs, tiles), evidence)
}

fn describe(error: &ReadError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn read_segments(
    files: &LogFiles,
    trust: &Trust,
    watch: &mut Watch<'_>,
) -> Result<(Option<Vec<u8>>, Scanned), ReadError> {
    let note = files.checkpoint.clone();
    let marks = LogAudit::new(trust, note.as_deref()).marks();
    let scanned = files.scan(&marks, &mut |recorded, _| watch.take(recorded))?;
    Ok((note, scanned))
}

/// What is looked at while the lines of a folder go by.
pub(crate) struct Watch<'a> {
    layout: &'a Layout,
    seen: HashSet<Digest>,
    blobs: BlobCounts,
    tiles: Option<TileCheck>,
    damages: Vec<LogDamage>,
    claimed: u64,
    /// Kept only where another head may contradict this log.
    leaves: Option<Vec<LeafHash>>,
}

impl<'a> Watch<'a> {
    fn new(layout: &'a Layout, trust: &Trust) -> Self {
        Self {
            layout,
            seen: HashSet::new(),
            blobs: BlobCounts::default(),
            tiles: TileCheck::of(layout.root()),
            damages: Vec::new(),
            claimed: 0,
            leaves: (!trust.kept.is_empty()).then(Vec::new),
        }
    }

    pub(crate) fn take(&mut self, recorded: &Recorded) {
        if let Some(leaves) = &mut self.leaves {
            leaves.push(recorded.leaf);
        }
        if let Some(tiles) = &mut self.tiles {
            tiles.push(recorded.leaf);
        }
        if let annals_events::Event::CheckpointAnchored(anchored) = &recorded.event {
            self.claimed = self.claimed.max(anchored.size);
        }
        if let Some(blob) = recorded.event.blob()
            && self.seen.insert(blob.digest)
        {
            self.check_blob(recorded.seq, recorded.event.kind(), &blob);
        }
    }

    fn check_blob(&mut self, seq: Seq, kind: &str, blob: &BlobRef) {
        if self.damages.len() >= MAX_NAMED {
            // Enough is known of them: a copy without any blobs is not described one by one.
            self.blobs.not_checked += 1;
            return;
        }
        match self.layout.check_blob(blob) {
            Ok(()) => {
                self.blobs.checked += 1;
                self.blobs.bytes += blob.size;
            }
            Err(error) => {
                let name = blob.digest.short(12);
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                let reason =
                    format!("{kind} names blob {name}…: {error}{}", cause.unwrap_or_default());
                self.damages.push(LogDamage { class: DamageClass::Content, at: Some(seq), reason });
            }
        }
    }
}
