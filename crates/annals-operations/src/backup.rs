//! `backup`: a sealed backup of the target, recorded in its log.

use std::path::{Path, PathBuf};
use std::time::Instant;

use annals_archive::{
    ArchiveError, CaptureOptions, Kind, LogHead, Manifest, Naming, NotIncluded, Store, TableName,
    Watcher, capture, parse_table_names,
};
use annals_backup::{KeyEncryptionKey, Receipt, SealParams, seal};
use annals_event_store::EventStore;
use annals_events::{BackupFailed, BackupId, BackupTaken, BlobRef, RunId, canonical_json};
use annals_executor::{Interrupt, failpoint};
use annals_postgres::{DumpProgram, LEDGER_SCHEMA};

use crate::backup_config::KeySource;
use crate::backup_keys::KeyReader;
use crate::backups::{Around, BackupTrouble, container_id};
use crate::drift::give_up;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::open::{self, Opened, Recovered};
use crate::sandbox;
use crate::targets::Target;
use crate::workspace::Workspace;

/// The longest reason an event holds, in characters.
const REASON_CHARACTERS: usize = 1000;

pub use annals_archive::Kind as BackupKind;

/// What is backed up.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// How much of it.
    pub kind: Kind,
    /// Of [`Kind::Tables`]: the tables, with commas between them.
    pub tables: Option<String>,
    /// Connections at a time.
    pub jobs: usize,
}

/// A backup that was taken.
#[derive(Debug)]
pub struct TakenBackup {
    /// The target.
    pub target: String,
    /// Its name.
    pub backup: BackupId,
    /// How much it holds.
    pub kind: Kind,
    /// Where it is.
    pub path: String,
    /// The measures of its container.
    pub receipt: Receipt,
    /// Tables in it.
    pub tables: u64,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of rows before compression.
    pub raw_bytes: u64,
    /// The schema's fingerprint.
    pub schema_fingerprint: String,
    /// The place in the WAL.
    pub lsn: String,
    /// What is not in it.
    pub not_included: Vec<NotIncluded>,
    /// The public manifest, beside the log.
    pub manifest: BlobRef,
    /// The keys it is sealed for.
    pub key_ids: Vec<String>,
    /// Where that key was made just now: there was none.
    pub made_key: Option<PathBuf>,
    /// How long it took, in microseconds.
    pub us: u64,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
}

/// Takes a backup, and records it. One that could not be taken is recorded too.
///
/// # Errors
///
/// When it is not taken. Nothing that looks like a backup is left then.
pub async fn backup(
    environment: &Environment,
    options: &BackupOptions,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<TakenBackup, Failure> {
    let tables = options.tables.as_deref().map(parse_table_names).transpose();
    let tables = tables
        .map_err(|reason| Failure::Argument { subject: "--tables".to_owned(), reason })?
        .unwrap_or_default();
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let mut opened =
        open::open_to_verify(environment, &workspace, &target, "annals/backup", interrupt).await?;
    let began = Instant::now();
    let around = Around { environment, workspace: &workspace, target: &target };
    let wanted = Wanted { kind: options.kind, tables, jobs: options.jobs, run: None };
    let mut taken = match take(around, &mut opened, wanted, watcher, interrupt).await {
        Ok(taken) => taken,
        Err(failure) => return Err(give_up(opened, failure).await?),
    };
    taken.us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    opened.publish().await?;
    opened.anchor(environment, &workspace, &target).await?;
    taken.log_size = opened.recorder.log.head().size;
    taken.recovered = std::mem::take(&mut opened.recovered);
    opened.close().await;
    Ok(taken)
}

/// What is taken, and what for.
#[derive(Debug, Clone)]
struct Wanted {
    kind: Kind,
    tables: Vec<TableName>,
    jobs: usize,
    run: Option<RunId>,
}

/// Connections at a time before a run.
const JOBS_BEFORE_RUN: usize = 2;

/// Takes a backup before run `run`.
pub(crate) async fn take_for_run(
    around: Around<'_>,
    opened: &mut Opened<'_>,
    (kind, tables): (Kind, Vec<TableName>),
    run: RunId,
    (watcher, interrupt): (&mut dyn Watcher, &mut Interrupt),
) -> Result<TakenBackup, Failure> {
    let wanted = Wanted { kind, tables, jobs: JOBS_BEFORE_RUN, run: Some(run) };
    take(around, opened, wanted, watcher, interrupt).await
}

/// Takes a backup, and records it, or why it was not taken.
async fn take(
    around: Around<'_>,
    opened: &mut Opened<'_>,
    wanted: Wanted,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<TakenBackup, Failure> {
    let run = wanted.run;
    let taken = seal_and_record(around, opened, wanted, watcher, interrupt).await;
    if let Err(failure) = &taken {
        let event = BackupFailed { reason: reason(failure), run };
        opened.record(vec![event.into()]).await?;
    }
    taken
}

fn reason(failure: &Failure) -> String {
    let mut text = match failure {
        Failure::Interrupted => "stopped on request".to_owned(),
        other => other.to_string(),
    };
    let mut source = std::error::Error::source(failure);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.chars().take(REASON_CHARACTERS).collect()
}

async fn seal_and_record(
    around: Around<'_>,
    opened: &mut Opened<'_>,
    wanted: Wanted,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<TakenBackup, Failure> {
    let Around { environment, workspace, target } = around;
    let began = Instant::now();
    let major = opened.session.facts().major();
    let places = sandbox::places(environment, Some(workspace));
    let dump = DumpProgram::find(&places, major).map_err(ArchiveError::from)?;
    let knows_backups = opened.book().backups.iter().next().is_some();
    let made_key = make_key(target, knows_backups)?;
    let keys = KeyReader::new(environment, target).for_sealing()?;
    let backup = BackupId(environment.ids.next());
    let (name, id) = (backup.to_string(), container_id(backup));
    let head = opened.recorder.log.head();
    let taken_at = environment.clock.now().to_string();
    let mut excluded = target.scope.excluded();
    // The ledger belongs to what it tells of.
    excluded.retain(|schema| schema != LEDGER_SCHEMA);
    let capture_options = CaptureOptions {
        backup: name.clone(),
        kind: wanted.kind,
        tables: wanted.tables,
        taken_at: taken_at.clone(),
        tool: environment.actor.tool.clone(),
        log: Some(LogHead {
            origin: target.origin.to_string(),
            size: head.size,
            leaf: head.leaf.to_string(),
        }),
        spec: &opened.spec,
        settings: target.settings(workspace),
        scope: &target.scope,
        excluded,
        dump: &dump,
        jobs: wanted.jobs,
    };
    let public = serde_json::json!({
        "format": "annals.backup_header/1",
        "kind": wanted.kind.as_str(),
        "origin": target.origin.as_str(),
        "taken_at": taken_at,
    });
    let public = canonical_json(&public).expect("invariant: the members' names are ASCII");
    let store = store(target)?;
    let sink = store.begin(&name).await.map_err(ArchiveError::from)?;
    let params = SealParams { backup_id: id, public_metadata: public.as_bytes() };
    let writer = seal(sink, &params, &keys).map_err(ArchiveError::from)?;
    let captured = tokio::select! {
        biased;
        () = interrupt.wait() => None,
        captured = capture(&capture_options, writer, watcher) => Some(captured),
    };
    let Some(captured) = captured else {
        // Threads may still be at it for a moment; what they write to has no name any more.
        store.discard(&name).await;
        return Err(Failure::Interrupted);
    };
    let captured = match captured {
        Ok(captured) => captured,
        Err(error) => {
            store.discard(&name).await;
            return Err(error.into());
        }
    };
    let path = captured.sink.publish(&captured.receipt, Naming::New).await?;
    failpoint::hit("backup_named");
    // From here on it is a backup; the log is told only of what is durable.
    let (manifest, receipt) = (captured.manifest, captured.receipt);
    let key_ids: Vec<String> = keys.iter().map(|key| key.id().to_string()).collect();
    let blob = keep_manifest(opened, &manifest, &receipt, &key_ids).await?;
    let event = BackupTaken {
        backup,
        bytes: receipt.sealed_bytes,
        duration_us: Some(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)),
        kind: manifest.kind.as_str().to_owned(),
        manifest: blob,
        run: wanted.run,
    };
    opened.record(vec![event.into()]).await?;
    Ok(TakenBackup {
        target: target.name.clone(),
        backup,
        kind: manifest.kind,
        path,
        receipt,
        tables: manifest.tables.len() as u64,
        rows: manifest.rows(),
        raw_bytes: manifest.bytes(),
        schema_fingerprint: manifest.schema_fingerprint,
        lsn: manifest.server.lsn,
        not_included: manifest.not_included,
        manifest: blob,
        key_ids,
        made_key,
        us: 0,
        log_size: 0,
        recovered: Vec::new(),
    })
}

pub(crate) async fn keep_manifest(
    opened: &mut Opened<'_>,
    manifest: &Manifest,
    receipt: &Receipt,
    key_ids: &[String],
) -> Result<BlobRef, Failure> {
    let public = manifest.public(receipt, key_ids);
    let text = serde_json::to_string(&public)
        .map_err(|error| ArchiveError::Malformed(error.to_string()))?;
    Ok(opened.recorder.log.put_blob(text.as_bytes()).await.map_err(LogFailure::from)?)
}

/// Makes the key backups are sealed for where that is one file and it is not there, unless there are
/// backups already: their key is somewhere, and a second one would hide that it is lost.
fn make_key(target: &Target, knows_backups: bool) -> Result<Option<PathBuf>, Failure> {
    let [KeySource::File(path)] = target.backup_recipients.as_slice() else { return Ok(None) };
    if path.exists() || knows_backups {
        return Ok(None);
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|source| Failure::Write { path: folder.to_owned(), source })?;
    }
    let key = KeyEncryptionKey::generate().map_err(BackupTrouble::from)?;
    key.create_file(path).map_err(BackupTrouble::from)?;
    Ok(Some(path.clone()))
}

/// The place where backups of a target are; a folder is kept out of a repository.
fn store(target: &Target) -> Result<Store, Failure> {
    if let Some(folder) = target.backup_folder() {
        let all = folder.parent().unwrap_or(Path::new("."));
        let ignore = all.join(".gitignore");
        if !all.exists() {
            std::fs::create_dir_all(all)
                .map_err(|source| Failure::Write { path: all.to_owned(), source })?;
            std::fs::write(&ignore, "# Backups are large, and belong elsewhere.\n*\n")
                .map_err(|source| Failure::Write { path: ignore.clone(), source })?;
        }
    }
    target.backup_store()
}
