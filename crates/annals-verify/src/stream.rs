//! Verifies a stream: an export file, or bare lines.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::Path;

use annals_event_store::{ReadError, split_export};
use annals_events::{
    BundleId, Damage, LeafHash, MAX_BUNDLE_BYTES, Scanned, Scanner, Seq, TILE_WIDTH,
};
use annals_integrity::{KeptNote, LogAudit, Trust};

use crate::evidence;
use crate::folder::{MAX_NOTE_BYTES, Watch};
use crate::report::{BlobCounts, Report};
use crate::tree::{TileCounts, partial_widths, read_at_most};

/// Verifies what `input` gives: an export (a checkpoint, an empty line, lines), or bare lines with
/// the checkpoint in `note`. The second value is the text of the evidence, if it has found a fork.
pub fn verify_stream(
    place: &str,
    mut input: impl Read,
    note: Option<&[u8]>,
    trust: &Trust,
) -> (Report, Option<String>) {
    let unreadable = |error: io::Error| {
        (Report::unreadable(place.to_owned(), format!("cannot read {place}: {error}")), None)
    };
    let (header, first_lines) = match split_export(&mut input) {
        Ok(parts) => parts,
        Err(error) => return unreadable(error),
    };
    let (note, trust) = match (header.is_empty(), note) {
        (true, note) => (note, Cow::Borrowed(trust)),
        (false, given) => (Some(header.as_slice()), also_given(trust, given)),
    };
    let trust = trust.as_ref();
    let mut audit = LogAudit::new(trust, note);
    let mut scanner = Scanner::new(&audit.marks());
    let mut leaves: Option<Vec<LeafHash>> = (!trust.kept.is_empty()).then(Vec::new);
    let mut named = std::collections::HashSet::new();
    let mut visit = |recorded: &annals_events::Recorded, _: &[u8]| {
        audit.watch(recorded);
        if let Some(leaves) = &mut leaves {
            leaves.push(recorded.leaf);
        }
        named.extend(recorded.event.blob().map(|blob| blob.digest));
    };
    let mut fed =
        scanner.begin_segment(Seq(0)).and_then(|()| scanner.feed(&first_lines, &mut visit));
    let mut buffer = vec![0; 128 * 1024];
    while fed.is_ok() {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => fed = scanner.feed(&buffer[..n], &mut visit),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return unreadable(error),
        }
    }
    let verification = audit.finish(&scanner.finish());
    let evidence = evidence::of_forks(&verification, &leaves);
    let blobs = BlobCounts { not_checked: named.len() as u64, ..BlobCounts::default() };
    let tiles = TileCounts::default();
    (Report::new(place.to_owned(), &verification, Vec::new(), blobs, tiles), evidence)
}

/// A checkpoint that was given beside a log that has one is a head kept elsewhere.
pub(crate) fn also_given<'a>(trust: &'a Trust, given: Option<&[u8]>) -> Cow<'a, Trust> {
    let Some(note) = given else { return Cow::Borrowed(trust) };
    let mut trust = trust.clone();
    trust.kept.push(KeptNote { name: "--checkpoint".to_owned(), note: note.to_vec() });
    Cow::Owned(trust)
}

/// Reads a copy of a log that has entry bundles and no segments.
pub(crate) fn read_bundles(
    folder: &Path,
    trust: &Trust,
    watch: &mut Watch<'_>,
) -> Result<(Option<Vec<u8>>, Scanned), ReadError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io { path, source }
    };
    let path = folder.join("checkpoint");
    let note = read_at_most(&path, MAX_NOTE_BYTES).map_err(at(&path))?;
    let mut scanner = Scanner::new(&LogAudit::new(trust, note.as_deref()).marks());
    for index in 0.. {
        let Some(id) = newest_bundle(folder, index) else { break };
        let path = folder.join(id.path());
        let Some(bytes) = read_at_most(&path, MAX_BUNDLE_BYTES as u64).map_err(at(&path))? else {
            break;
        };
        let lines = match id.decode(&bytes) {
            Ok(lines) => lines,
            Err(error) => {
                let (at, reason) = (scanner.chain().next_seq(), error.to_string());
                let mut scanned = scanner.finish();
                scanned.damage = Some(Damage::Bundle { at, reason });
                return Ok((note, scanned));
            }
        };
        let fed = lines.iter().try_for_each(|line| {
            let mut whole = line.to_vec();
            whole.push(b'\n');
            scanner.feed(&whole, &mut |recorded, _| watch.take(recorded))
        });
        if fed.is_err() || !id.is_complete() {
            break;
        }
    }
    Ok((note, scanner.finish()))
}

/// The widest form of a bundle that is there.
fn newest_bundle(folder: &Path, index: u64) -> Option<BundleId> {
    let complete = BundleId { index, width: TILE_WIDTH };
    if folder.join(complete.path()).is_file() {
        return Some(complete);
    }
    let width = partial_widths(folder, &complete.path()).pop()?;
    Some(BundleId { index, width })
}
