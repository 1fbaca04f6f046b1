//! `log export`, `log anchor`, `log prove`, `log check-proof`: what leaves the house.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use annals_anchor::{Anchor, AnchorPlace, Limits, Receipt};
use annals_event_store::LogFiles;
use annals_events::{MemoryTree, Seq, inclusion_proof};
use annals_executor::Interrupt;
use annals_keys::{Checkpoint, KeyRing, TlogProof, load_ring};
use annals_verify::{ProvenEvent, check_proof};

use crate::anchors::{Anchored, exhibit_of};
use crate::environment::Environment;
use crate::error::{AnchorFailure, Failure, LogFailure};
use crate::logs::{LogSource, ReadLog};
use crate::open;
use crate::targets::Target;
use crate::workspace::Workspace;

/// Where a copy of a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTo {
    /// A folder: lines, tiles, entry bundles, blobs, checkpoint. One that holds an older copy is
    /// brought up to date.
    Folder(PathBuf),
    /// One file: the checkpoint, an empty line, the lines.
    File(PathBuf),
}

/// A copy that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Where.
    pub place: PathBuf,
    /// The signed head it holds.
    pub checkpoint: Checkpoint,
    /// Objects written; 0 if it was up to date.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
    |source| Failure::Write { path: path.to_owned(), source }
}

fn pinned(log: &ReadLog) -> Result<KeyRing, LogFailure> {
    log.ring.clone().ok_or_else(|| LogFailure::NoPublicKey("log.pub".into()))
}

/// Copies a log, verified, up to its signed head.
///
/// # Errors
///
/// When it does not verify, the copy holds another history, or cannot be written.
pub async fn log_export(
    environment: &Environment,
    source: &LogSource,
    to: &ExportTo,
) -> Result<Exported, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let ring = pinned(&log)?;
    log.read(&mut |_, _| {}).await?.check()?;
    let exhibit = exhibit_of(&log.home, &ring).await?;
    let checkpoint = annals_anchor::Exhibit::checkpoint(&exhibit).clone();
    let exported = match to {
        ExportTo::Folder(folder) => {
            let folder = environment.folder.join(folder);
            let receipt = export_folder(&folder, &exhibit, &ring).await?;
            let (objects, bytes) = (receipt.objects_written, receipt.bytes_written);
            Exported { place: folder, checkpoint, objects, bytes }
        }
        ExportTo::File(path) => {
            let path = environment.folder.join(path);
            check_replaceable(&path, &checkpoint)?;
            let bytes = export_file(&path, exhibit.files(), &checkpoint)?;
            Exported { place: path, checkpoint, objects: 1, bytes }
        }
    };
    Ok(exported)
}

async fn export_folder(
    folder: &Path,
    exhibit: &crate::exhibit::FolderExhibit,
    ring: &KeyRing,
) -> Result<Receipt, Failure> {
    fs::create_dir_all(folder).map_err(write_error(folder))?;
    let name = || folder.display().to_string();
    let failed = |error| AnchorFailure { anchor: name(), error };
    let place = AnchorPlace::Directory { path: folder.to_owned() };
    let variables = std::collections::HashMap::new();
    let copy = Anchor::open(&place, &variables, Limits::default()).map_err(failed)?;
    let open = |note: &[u8]| Checkpoint::open(note, ring);
    Ok(copy.publish(exhibit, &open).await.map_err(failed)?)
}

/// A file that is there makes room only if it is an export of this very log.
fn check_replaceable(path: &Path, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let refused = |reason: &str| Failure::Argument {
        subject: path.display().to_string(),
        reason: reason.to_owned(),
    };
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(refused("is no file; name another")),
    }
    let mut file = fs::File::open(path).map_err(write_error(path))?;
    let note = annals_event_store::split_export(&mut file).map(|(note, _)| note);
    let older = note.ok().and_then(|note| Checkpoint::claimed(&note).ok());
    let is_export = path.metadata().is_ok_and(|file| file.len() > 1024);
    match older.filter(|older| is_export && older.origin == checkpoint.origin) {
        Some(_) => Ok(()),
        None => Err(refused("is there already and is no export of this log; name another")),
    }
}

fn export_file(path: &Path, files: &LogFiles, checkpoint: &Checkpoint) -> Result<u64, Failure> {
    let temporary = path.with_extension("part");
    let write = || -> Result<u64, Failure> {
        let failed = |source| Failure::Write { path: temporary.clone(), source };
        let mut file = io::BufWriter::new(fs::File::create(&temporary).map_err(failed)?);
        let note = files.checkpoint.as_deref().unwrap_or_default();
        let mut bytes = note.len() as u64 + 1;
        file.write_all(note).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        let size = usize::try_from(checkpoint.size).unwrap_or(usize::MAX);
        for line in files.lines().take(size) {
            let line = line.map_err(LogFailure::from)?;
            file.write_all(&line).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
            bytes += line.len() as u64 + 1;
        }
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok(bytes)
    };
    let bytes = write()?;
    fs::rename(&temporary, path).map_err(write_error(path))?;
    Ok(bytes)
}

/// Publishes the signed head to every anchor of a target now.
///
/// # Errors
///
/// When the target cannot be opened for work, or an anchor contradicts its log.
pub async fn log_anchor(
    environment: &Environment,
    target: Option<&str>,
    interrupt: &mut Interrupt,
) -> Result<Vec<Anchored>, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    if !target.has_anchors(&workspace) {
        return Err(Failure::Argument {
            subject: format!("target {:?}", target.name),
            reason: "has no anchors; name them in annals.toml: anchors = [\"…\"] and [anchors.…]"
                .to_owned(),
        });
    }
    let mut opened =
        open::open(environment, &workspace, &target, "annals/anchor", interrupt).await?;
    opened.say_what_was_found();
    opened.publish().await?;
    let outcomes = opened.anchor(environment, &workspace, &target).await?;
    opened.close().await;
    Ok(outcomes)
}

/// Proves one event: a file for whoever has the public keys and nothing else.
///
/// # Errors
///
/// When the log does not verify, or the event is not below its signed head.
pub async fn log_prove(
    environment: &Environment,
    source: &LogSource,
    seq: u64,
    out: &Path,
) -> Result<ProvenEvent, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let ring = pinned(&log)?;
    let (mut tree, mut wanted) = (MemoryTree::default(), None);
    let read = log
        .read(&mut |recorded, line| {
            tree.push(recorded.leaf);
            if recorded.seq == Seq(seq) {
                wanted = Some(line.to_vec());
            }
        })
        .await?;
    read.check()?;
    let note = read.note.clone().unwrap_or_default();
    let size = read.verification.as_ref().map_or(0, |verification| verification.signed);
    let refused = |reason: String| Failure::Argument { subject: format!("event {seq}"), reason };
    let line = wanted.filter(|_| seq < size).ok_or_else(|| {
        refused(format!("the signed head vouches for events 0 to {}", size.saturating_sub(1)))
    })?;
    let hashes = inclusion_proof(Seq(seq), size, &tree).map_err(|e| refused(e.to_string()))?;
    let note = String::from_utf8_lossy(&note).into_owned();
    let proof = TlogProof::new(Some(line), seq, hashes, note);
    let text = proof.map_err(|error| refused(error.to_string()))?.to_string();
    // The pair of the check by whoever gets it.
    let proven = check_proof(text.as_bytes(), &ring).map_err(|e| refused(e.to_string()))?;
    let out = environment.folder.join(out);
    fs::write(&out, text).map_err(write_error(&out))?;
    Ok(proven)
}

/// Checks the proof of one event with the public keys alone.
///
/// # Errors
///
/// When the file or the keys cannot be read. That it proves nothing is in the result.
pub fn log_check_proof(
    environment: &Environment,
    proof: &Path,
    key: &Path,
) -> Result<Result<ProvenEvent, annals_verify::EventProofError>, Failure> {
    let path = environment.folder.join(proof);
    let ring = load_ring(&environment.folder.join(key)).map_err(LogFailure::from)?;
    let unreadable = |error: io::Error| Failure::Argument {
        subject: path.display().to_string(),
        reason: format!("cannot be read: {error}"),
    };
    let file = fs::File::open(&path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let limit = annals_keys::MAX_TLOG_PROOF_BYTES as u64 + 1;
    io::Read::read_to_end(&mut io::Read::take(file, limit), &mut bytes).map_err(unreadable)?;
    Ok(check_proof(&bytes, &ring))
}
