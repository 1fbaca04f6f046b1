//! Brings a log's signed head, and all it speaks of, to a place for copies.

use annals_events::TreeHash;
use annals_keys::{Checkpoint, CheckpointError};

use crate::error::AnchorError;
use crate::exhibit::Exhibit;
use crate::limits::MAX_ROUNDS;
use crate::segments::{SegmentWriter, Tally, add_object, check_length};
use crate::shelf::{Held, Shelf, Swap};

/// Opens a note: checks its signature by a known key and reads what it says.
pub type OpenNote<'a> = &'a (dyn Fn(&[u8]) -> Result<Checkpoint, CheckpointError> + Sync);

/// What a publication came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The anchor, in words.
    pub place: String,
    /// Its kind, in one word.
    pub kind: &'static str,
    /// Events the anchor vouches for now.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
    /// Events it vouched for before.
    pub since_size: u64,
    /// Objects written, the checkpoint included; 0 if the anchor was up to date.
    pub objects_written: u64,
    /// Their length, in bytes.
    pub bytes_written: u64,
    /// Objects that were there already, compared and found identical.
    pub objects_present: u64,
}

/// What the anchor's checkpoint asks for.
#[derive(Debug, Clone, Copy)]
enum Decision {
    /// It is ours already.
    UpToDate,
    /// What is new since this size.
    Publish { since_size: u64 },
}

/// Compares the anchor's checkpoint with the log. Everything that tells of tampering is told here.
fn decide(
    place: &str,
    held: Option<&Held>,
    exhibit: &dyn Exhibit,
    open: OpenNote<'_>,
) -> Result<Decision, AnchorError> {
    let Some(held) = held else { return Ok(Decision::Publish { since_size: 0 }) };
    let (place, note) = (place.to_owned(), held.note.clone());
    let theirs = match open(&held.note) {
        Ok(theirs) => theirs,
        Err(source) => return Err(AnchorError::Unverified { place, note, source }),
    };
    let ours = exhibit.checkpoint();
    if theirs.origin != ours.origin {
        let (theirs, ours) = (theirs.origin, ours.origin.clone());
        return Err(AnchorError::ForeignOrigin { place, theirs, ours });
    }
    let size = theirs.size;
    if size > ours.size {
        return Err(AnchorError::Ahead { place, note, size, ours: ours.size });
    }
    let root = if size == ours.size { ours.root } else { root_at(&place, exhibit, size)? };
    if root != theirs.root {
        return Err(AnchorError::Fork { place, note, size, theirs: theirs.root, ours: root });
    }
    Ok(if size == ours.size { Decision::UpToDate } else { Decision::Publish { since_size: size } })
}

fn root_at(place: &str, exhibit: &dyn Exhibit, size: u64) -> Result<TreeHash, AnchorError> {
    exhibit.root_at(size).ok_or_else(|| AnchorError::Log {
        place: place.to_owned(),
        source: format!("no root at {size} events").into(),
    })
}

/// Refuses to publish a note that nobody could open later.
fn check_own_note(
    place: &str,
    exhibit: &dyn Exhibit,
    open: OpenNote<'_>,
) -> Result<(), AnchorError> {
    let place = place.to_owned();
    match open(exhibit.note()) {
        Ok(said) if said == *exhibit.checkpoint() => Ok(()),
        Ok(_) => Err(AnchorError::OwnNote { place, source: None }),
        Err(source) => Err(AnchorError::OwnNote { place, source: Some(source) }),
    }
}

/// Writes everything new since `since_size`, but not the checkpoint.
async fn write_objects<S: Shelf>(
    shelf: &S,
    exhibit: &dyn Exhibit,
    since_size: u64,
    tally: &mut Tally,
) -> Result<(), AnchorError> {
    let mut segments = SegmentWriter::new(shelf, since_size);
    for object in exhibit.objects(since_size) {
        let object = object.map_err(|source| AnchorError::Log { place: shelf.name(), source })?;
        let (path, bytes) = (&object.path, &object.bytes);
        check_length(shelf, path, bytes.len() as u64)?;
        if path.is_checkpoint() {
            let source = "the checkpoint is not one of the objects".into();
            return Err(AnchorError::Log { place: shelf.name(), source });
        }
        match path.segment_first() {
            Some(first) => segments.add(first, bytes, tally).await?,
            None => add_object(shelf, path, bytes, tally).await?,
        }
    }
    segments.finish(exhibit.checkpoint().size)
}

/// Publishes `exhibit` to `shelf`.
///
/// The anchor's own checkpoint is read first, and must be of the same log, not larger, and of the
/// same history. Then new objects are written where there are none, and the checkpoint last, only
/// if it still is the one that was read. What lies there already is read and compared, never
/// replaced.
///
/// A crash leaves, before the last write: the old checkpoint, valid for all it speaks of, and
/// objects that the next publication finds, compares and continues. Behind it: everything. An
/// answer that never came counts as either; the next publication, or the repetition inside this
/// one, reads what is there.
///
/// Of two publishers at once the slower one begins again from what the faster one left; it ends
/// well, or with [`AnchorError::Overtaken`], [`AnchorError::Beyond`], [`AnchorError::Busy`] or
/// [`AnchorError::Contended`], none of which speaks of tampering.
///
/// # Errors
///
/// See [`AnchorError`]. `Ahead` and `Fork` carry the anchor's note: it is evidence, keep it. Where
/// the log is written by several processes, read it again before believing `Ahead`.
pub async fn publish_to<S: Shelf>(
    shelf: &S,
    exhibit: &dyn Exhibit,
    open: OpenNote<'_>,
) -> Result<Receipt, AnchorError> {
    let place = shelf.name();
    check_own_note(&place, exhibit, open)?;
    let mut held = shelf.checkpoint().await?;
    let mut decision = decide(&place, held.as_ref(), exhibit, open)?;
    let first_decision = decision;
    let mut tally = Tally::default();
    if let Decision::Publish { .. } = decision {
        let _turn = shelf.take_turn().await?;
        let mut round = 0;
        while let Decision::Publish { since_size } = decision {
            if round == MAX_ROUNDS {
                return Err(AnchorError::Contended { place, rounds: round });
            }
            match publish_round(shelf, exhibit, held.as_ref(), since_size, &mut tally).await? {
                Swap::Done => break,
                Swap::Lost => {
                    tracing::info!(anchor = %place, round, "begins again: another publisher was faster")
                }
            }
            held = shelf.checkpoint().await?;
            decision = decide(&place, held.as_ref(), exhibit, open).map_err(overtaken)?;
            round += 1;
        }
    }
    let ours = exhibit.checkpoint();
    let since_size = match first_decision {
        Decision::UpToDate => ours.size,
        Decision::Publish { since_size } => since_size,
    };
    Ok(Receipt {
        place,
        kind: shelf.kind(),
        size: ours.size,
        root: ours.root,
        since_size,
        objects_written: tally.written,
        bytes_written: tally.written_bytes,
        objects_present: tally.present,
    })
}

/// The log fitted when this publication began, so whoever is ahead now came meanwhile.
fn overtaken(error: AnchorError) -> AnchorError {
    match error {
        AnchorError::Ahead { place, note, size, ours } => {
            AnchorError::Overtaken { place, note, size, ours }
        }
        error => error,
    }
}

/// Everything new since the anchor's checkpoint `held`, then the checkpoint in its place.
async fn publish_round<S: Shelf>(
    shelf: &S,
    exhibit: &dyn Exhibit,
    held: Option<&Held>,
    since_size: u64,
    tally: &mut Tally,
) -> Result<Swap, AnchorError> {
    match write_objects(shelf, exhibit, since_size, tally).await {
        // The lines of another publisher are no damage: look whom they belong to now.
        Err(error @ (AnchorError::Beyond { .. } | AnchorError::Conflict { .. })) => {
            let moved = shelf.checkpoint().await?.as_ref() != held;
            return if moved { Ok(Swap::Lost) } else { Err(error) };
        }
        written => written?,
    }
    let note = exhibit.note();
    let swap = shelf.swap(held, note).await?;
    if swap == Swap::Done {
        tally.add_written(note);
        tracing::info!(anchor = %shelf.name(), size = exhibit.checkpoint().size, "anchored the log's head");
    }
    Ok(swap)
}
