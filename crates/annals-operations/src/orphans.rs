//! `backup adopt`: a whole backup the log does not know is taken in.
//!
//! Between the moment a backup has its name and the moment the log is told, a process can end.

use std::time::Instant;

use annals_archive::{Archive, LogHead, Watcher};
use annals_event_store::EventStore;
use annals_events::{BackupDepth, BackupTaken, BackupVerified, CheckOutcome, LeafHash};
use annals_executor::Interrupt;

use crate::backup::keep_manifest;
use crate::backup_keys::KeyReader;
use crate::backups::{BackupTrouble, read_all, resolve};
use crate::drift::give_up;
use crate::environment::Environment;
use crate::error::Failure;
use crate::logs::ReadLog;
use crate::open::{self, Opened};
use crate::targets::Target;
use crate::workspace::Workspace;

/// A backup that was taken in.
#[derive(Debug, Clone)]
pub struct AdoptedBackup {
    /// The target.
    pub target: String,
    /// The backup.
    pub backup: String,
    /// When it was taken.
    pub taken_at: String,
    /// How much it holds.
    pub kind: &'static str,
    /// Bytes of its file.
    pub bytes: u64,
    /// Tables in it.
    pub tables: u64,
    /// Rows in it.
    pub rows: u64,
    /// How long it took, in microseconds.
    pub us: u64,
    /// Events in the log.
    pub log_size: u64,
}

/// Takes in a backup the log does not know: every byte of it is authenticated, every row counted, and
/// the head of the log it names must be one of this log.
///
/// # Errors
///
/// When the log knows it already, it is damaged, or it is no backup of this target.
pub async fn backup_adopt(
    environment: &Environment,
    target: Option<&str>,
    backup: &str,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<AdoptedBackup, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let began = Instant::now();
    let catalog = open::read_book(&target).await?.backups;
    let id = resolve(&target, &catalog, backup).await?;
    let name = id.to_string();
    if catalog.get(id).is_some() {
        let reason = "the log knows it already".to_owned();
        return Err(BackupTrouble::NotAsRecorded { backup: name, reason }.into());
    }
    let store = target.backup_store()?;
    let header = store.header(&name).await?;
    let key = KeyReader::new(environment, &target).for_opening(&name, &header)?;
    let archive = read_all(&target, id, &key, watcher, interrupt).await?;
    check_origin(&target, &name, &archive).await?;
    let mut opened =
        open::open_to_verify(environment, &workspace, &target, "annals/backup", interrupt).await?;
    let key_ids: Vec<String> = header.recipients.iter().map(ToString::to_string).collect();
    if let Err(failure) = record(&mut opened, &archive, &key_ids).await {
        return Err(give_up(opened, failure).await?);
    }
    opened.publish().await?;
    opened.anchor(environment, &workspace, &target).await?;
    let log_size = opened.recorder.log.head().size;
    opened.close().await;
    Ok(AdoptedBackup {
        target: target.name.clone(),
        backup: name,
        taken_at: archive.manifest.taken_at.clone(),
        kind: archive.manifest.kind.as_str(),
        bytes: archive.receipt.sealed_bytes,
        tables: archive.manifest.tables.len() as u64,
        rows: archive.manifest.rows(),
        us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        log_size,
    })
}

/// Whether the head of the log it was taken at is one of this log's.
async fn check_origin(target: &Target, name: &str, archive: &Archive) -> Result<(), Failure> {
    let stranger =
        |reason: String| BackupTrouble::NotAsRecorded { backup: name.to_owned(), reason };
    let Some(LogHead { origin, size, leaf }) = &archive.manifest.log else {
        return Err(stranger("it names no log".to_owned()).into());
    };
    if *origin != target.origin.as_str() {
        return Err(stranger(format!("it belongs to the log {origin}")).into());
    }
    let mut found: Option<LeafHash> = None;
    let mut look = |recorded: &annals_events::Recorded, _: &[u8]| {
        if recorded.seq.0 + 1 == *size {
            found = Some(recorded.leaf);
        }
    };
    ReadLog::of_target(target)?.read(&mut look).await?.check()?;
    match found {
        Some(found) if found.to_string() == *leaf => Ok(()),
        None if *size == 0 => Ok(()),
        _ => Err(stranger(format!("this log has no event {size} as it was then")).into()),
    }
}

async fn record(
    opened: &mut Opened<'_>,
    archive: &Archive,
    key_ids: &[String],
) -> Result<(), Failure> {
    let (manifest, receipt) = (&archive.manifest, &archive.receipt);
    let backup = manifest.backup.parse();
    let backup = backup.map_err(|_| {
        annals_archive::ArchiveError::Malformed("it has no name of a backup".to_owned())
    })?;
    let blob = keep_manifest(opened, manifest, receipt, key_ids).await?;
    let taken = BackupTaken {
        backup,
        bytes: receipt.sealed_bytes,
        // Nobody measured it.
        duration_us: None,
        kind: manifest.kind.as_str().to_owned(),
        manifest: blob,
        run: None,
    };
    let (depth, result) = (BackupDepth::Sealed, CheckOutcome::Passed);
    let verified = BackupVerified { backup, depth, result };
    opened.record(vec![taken.into(), verified.into()]).await
}
