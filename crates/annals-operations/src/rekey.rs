//! `backup rekey`, and the rotation of the key of backups: others open them, nothing is encrypted anew.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use annals_archive::{ArchiveError, Naming, Source, Store};
use annals_backup::{Header, KeyEncryptionKey, Rewrapped, rewrap};
use annals_event_store::EventStore;
use annals_events::{BackupId, BackupRekeyed, BlobRef, canonical_json};
use annals_executor::{Interrupt, failpoint};
use annals_projections::Backup;

use crate::backup_config::KeySource;
use crate::backup_keys::{KeyReader, earlier_key, earlier_keys};
use crate::backups::{BackupTrouble, public_manifest, resolve, unlike};
use crate::drift::give_up;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::open::{self, Opened};
use crate::targets::{SANDBOX_TARGET, Target};
use crate::workspace::Workspace;

/// Whose recipients are changed.
#[derive(Debug, Clone)]
pub struct RekeyOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// Which backup; all of them if none.
    pub backup: Option<String>,
}

/// A backup that others open from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RekeyedBackup {
    /// Its name.
    pub backup: String,
    /// The keys that opened it until now.
    pub before: Vec<String>,
    /// The keys that open it from now on.
    pub after: Vec<String>,
    /// Bytes of its file from now on.
    pub bytes: u64,
    /// SHA-256 of its file from now on.
    pub sha256: String,
}

/// What a change of recipients did.
#[derive(Debug, Clone)]
pub struct RekeyView {
    /// The target.
    pub target: String,
    /// Those that others open from now on.
    pub rekeyed: Vec<RekeyedBackup>,
    /// Those that were for these recipients already.
    pub unchanged: Vec<String>,
    /// Those the log knows and whose file is not there.
    pub missing: Vec<String>,
    /// Files of the workspace with keys of earlier rotations: they seal nothing any more.
    pub earlier_keys: Vec<PathBuf>,
    /// How long it took, in microseconds.
    pub us: u64,
    /// Events in the log.
    pub log_size: u64,
}

/// Changes who can open backups: for each the data key is wrapped anew for the recipients the
/// configuration names, and what is encrypted with it is copied as it is.
///
/// What a backup will be is written, durable and in the log before it takes the place of what it was, at
/// once: whenever the process ends, the file is one or the other, and the log knows both.
///
/// # Errors
///
/// When a key is missing, a file is not the one the log knows, or something cannot be written. Those
/// that are done stay done.
pub async fn backup_rekey(
    environment: &Environment,
    options: &RekeyOptions,
    interrupt: &mut Interrupt,
) -> Result<RekeyView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let began = Instant::now();
    let catalog = open::read_book(&target).await?.backups;
    let ids = match &options.backup {
        Some(name) => vec![resolve(&target, &catalog, name).await?],
        None => {
            let there = catalog.iter().filter(|(_, backup)| backup.removed.is_none());
            there.map(|(id, _)| id).collect()
        }
    };
    // Before the target's lock is taken: somebody may have to be asked.
    let mut keys = KeyReader::new(environment, &target);
    let recipients = Arc::new(keys.for_sealing()?);
    let mut opened =
        open::open_to_verify(environment, &workspace, &target, "annals/backup", interrupt).await?;
    let mut view = RekeyView {
        target: target.name.clone(),
        rekeyed: Vec::new(),
        unchanged: Vec::new(),
        missing: Vec::new(),
        earlier_keys: Vec::new(),
        us: 0,
        log_size: 0,
    };
    let there = target.backup_store()?.list().await.map_err(ArchiveError::from);
    let there = match there {
        Ok(there) => there.into_iter().map(|stored| stored.name).collect(),
        Err(error) => return Err(give_up(opened, error.into()).await?),
    };
    let mut work = Work { target: &target, keys: &mut keys, recipients, there };
    for id in ids {
        if let Err(failure) = work.rekey(&mut opened, id, &mut view, interrupt).await {
            return Err(give_up(opened, failure).await?);
        }
    }
    for source in &target.backup_recipients {
        if let KeySource::File(path) = source {
            view.earlier_keys.extend(earlier_keys(path));
        }
    }
    if !view.rekeyed.is_empty() {
        opened.publish().await?;
        opened.anchor(environment, &workspace, &target).await?;
    }
    view.log_size = opened.recorder.log.head().size;
    opened.close().await;
    view.us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(view)
}

struct Work<'w, 'k> {
    target: &'w Target,
    keys: &'w mut KeyReader<'k>,
    recipients: Arc<Vec<KeyEncryptionKey>>,
    /// The backups whose files are there.
    there: BTreeSet<String>,
}

impl Work<'_, '_> {
    async fn rekey(
        &mut self,
        opened: &mut Opened<'_>,
        id: BackupId,
        view: &mut RekeyView,
        interrupt: &mut Interrupt,
    ) -> Result<(), Failure> {
        let name = id.to_string();
        let store = self.target.backup_store()?;
        let Some(recorded) = opened.book().backups.get(id).cloned() else {
            let reason = "the log does not know it; take it in with: annals backup adopt";
            return Err(not_as_recorded(&name, reason));
        };
        if !self.there.contains(&name) {
            view.missing.push(name);
            return Ok(());
        }
        let header = store.header(&name).await?;
        if self.is_for_the_recipients(&header)? {
            if recorded.before_rekeying.is_none() {
                view.unchanged.push(name);
                return Ok(());
            }
            // A change that was not finished may have left it as it was, and for the same recipients:
            // then it is made again, so that the log's last word is what is there.
            let found = store.examine(&name).await?.receipt;
            if unlike(self.target, &found, recorded.bytes, &recorded.manifest).await?.is_empty() {
                view.unchanged.push(name);
                return Ok(());
            }
        }
        let rekeyed = self.copy(opened, (&store, id, &header), &recorded, interrupt).await?;
        view.rekeyed.push(rekeyed);
        Ok(())
    }

    /// Whether it is sealed for all of them, and for nobody else.
    fn is_for_the_recipients(&mut self, header: &Header) -> Result<bool, Failure> {
        let mut open = 0;
        for key in self.recipients.iter().filter(|key| key.recipe().is_none()) {
            if !header.recipients.contains(&key.id()) {
                return Ok(false);
            }
            open += 1;
        }
        open += self.keys.opened_by_passphrases(header)?;
        let wanted = self.recipients.len();
        Ok(open == wanted && header.recipients.len() == wanted)
    }

    async fn copy(
        &mut self,
        opened: &mut Opened<'_>,
        (store, id, header): (&Store, BackupId, &Header),
        recorded: &Backup,
        interrupt: &mut Interrupt,
    ) -> Result<RekeyedBackup, Failure> {
        let name = id.to_string();
        let key = self.keys.for_opening(&name, header)?;
        let source = store.open(&name).await.map_err(ArchiveError::from)?;
        let sink = store.begin(&name).await.map_err(ArchiveError::from)?;
        let stop = Arc::new(AtomicBool::new(false));
        let source = Stoppable { source, stop: Arc::clone(&stop) };
        let recipients = Arc::clone(&self.recipients);
        let work = tokio::task::spawn_blocking(move || {
            rewrap(source, key.iter(), recipients.iter(), sink)
        });
        let done = tokio::select! {
            biased;
            () = interrupt.wait() => None,
            done = work => Some(done),
        };
        let Some(done) = done else {
            stop.store(true, Ordering::Relaxed);
            store.discard(&name).await;
            return Err(Failure::Interrupted);
        };
        let done = done.map_err(|error| ArchiveError::Stopped(error.to_string()))?;
        let (mut sink, done) = match done {
            Ok(done) => done,
            Err(error) => {
                store.discard(&name).await;
                return Err(ArchiveError::from(error).into());
            }
        };
        let manifest = self.check(opened, id, recorded, &done).await?;
        sink.settle(&done.after).await?;
        failpoint::hit("rekey_settled");
        let after: Vec<String> = self.recipients.iter().map(|key| key.id().to_string()).collect();
        let blob = put_manifest(opened, manifest, &done, &after).await?;
        let event = BackupRekeyed {
            backup: id,
            bytes: done.after.sealed_bytes,
            manifest: blob,
            recipients: after.clone(),
        };
        opened.record(vec![event.into()]).await?;
        failpoint::hit("rekey_recorded");
        // From here on the log knows both; a crash leaves the file of before, and is told as that.
        sink.publish(&done.after, Naming::Replace).await?;
        failpoint::hit("rekey_published");
        Ok(RekeyedBackup {
            backup: name,
            before: header.recipients.iter().map(ToString::to_string).collect(),
            after,
            bytes: done.after.sealed_bytes,
            sha256: done.after.sha256.to_string(),
        })
    }

    /// The public manifest of what was copied, if that is what the log knows. Where it is what the log
    /// knew before a change that was not finished, the log is told so first: what it says last and
    /// before that must be all a file can be.
    async fn check(
        &self,
        opened: &mut Opened<'_>,
        id: BackupId,
        recorded: &Backup,
        done: &Rewrapped,
    ) -> Result<serde_json::Value, Failure> {
        let problems =
            unlike(self.target, &done.before, recorded.bytes, &recorded.manifest).await?;
        if problems.is_empty() {
            return public_manifest(self.target, &recorded.manifest).await;
        }
        if let Some(before) = &recorded.before_rekeying
            && unlike(self.target, &done.before, before.bytes, &before.manifest).await?.is_empty()
        {
            let manifest = public_manifest(self.target, &before.manifest).await?;
            let names = manifest["container"]["key_ids"].as_array().into_iter().flatten();
            let names = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
            let event = BackupRekeyed {
                backup: id,
                bytes: before.bytes,
                manifest: before.manifest,
                recipients: names,
            };
            opened.record(vec![event.into()]).await?;
            return Ok(manifest);
        }
        Err(not_as_recorded(&id.to_string(), &problems.join("; ")))
    }
}

/// A source that ends when somebody has asked for it.
struct Stoppable {
    source: Source,
    stop: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(io::Error::other("stopped on request")),
            false => self.source.read(out),
        }
    }
}

fn not_as_recorded(backup: &str, reason: &str) -> Failure {
    BackupTrouble::NotAsRecorded { backup: backup.to_owned(), reason: reason.to_owned() }.into()
}

async fn put_manifest(
    opened: &mut Opened<'_>,
    mut manifest: serde_json::Value,
    done: &Rewrapped,
    key_ids: &[String],
) -> Result<BlobRef, Failure> {
    manifest["container"] = serde_json::json!({
        "bytes": done.after.sealed_bytes,
        "key_ids": key_ids,
        "sha256": done.after.sha256.to_string(),
    });
    let text = canonical_json(&manifest);
    let text = text.map_err(|error| ArchiveError::Malformed(error.to_string()))?;
    Ok(opened.recorder.log.put_blob(text.as_bytes()).await.map_err(LogFailure::from)?)
}

/// What a rotation of the key of backups did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupKeyRotation {
    /// The key that seals nothing any more.
    pub old: String,
    /// The key backups are sealed for from now on.
    pub new: String,
    /// Where that is.
    pub path: PathBuf,
    /// Where the old one is kept: it opens the backups that were sealed for it.
    pub kept: PathBuf,
}

/// Makes a new key for backups; the old one is kept beside it, and opens what was sealed for it.
///
/// Whenever the process ends, there is a key under the usual name, and the old one under one of both.
///
/// # Errors
///
/// When no recipient is a file, or there is no key there.
pub fn rotate_backup_key(
    environment: &Environment,
    sandbox: bool,
) -> Result<BackupKeyRotation, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let path = key_file(environment, &workspace, sandbox)?;
    if !path.exists() {
        return Err(BackupTrouble::NoKey(path).into());
    }
    let old = KeyEncryptionKey::load(&path).map_err(BackupTrouble::from)?;
    let next = path.with_extension("key.next");
    if !next.exists() {
        let key = KeyEncryptionKey::generate().map_err(BackupTrouble::from)?;
        key.create_file(&next).map_err(BackupTrouble::from)?;
    }
    let new = KeyEncryptionKey::load(&next).map_err(BackupTrouble::from)?;
    let kept = earlier_key(&path, old.id());
    if !kept.exists() {
        old.create_file(&kept).map_err(BackupTrouble::from)?;
    }
    failpoint::hit("backup_key_kept");
    fs::rename(&next, &path)
        .and_then(|()| fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|source| Failure::Write { path: path.clone(), source })?;
    Ok(BackupKeyRotation { old: old.id().to_string(), new: new.id().to_string(), path, kept })
}

/// The file with the key backups are sealed for.
fn key_file(
    environment: &Environment,
    workspace: &Workspace,
    sandbox: bool,
) -> Result<PathBuf, Failure> {
    let targets = &workspace.config().targets;
    let name = match targets.keys().next() {
        Some(name) if !sandbox => name.as_str(),
        _ => SANDBOX_TARGET,
    };
    let target = Target::resolve(environment, workspace, Some(name))?;
    let files = target.backup_recipients.iter().filter_map(|source| match source {
        KeySource::File(path) => Some(path),
        _ => None,
    });
    match files.collect::<Vec<_>>().as_slice() {
        [path] => Ok((*path).clone()),
        found => Err(Failure::Argument {
            subject: "backup.recipients".to_owned(),
            reason: format!(
                "names {} key files; with one, it is replaced here; keys that are elsewhere are \
                 replaced there, and then: annals backup rekey",
                found.len()
            ),
        }),
    }
}

/// A key of backups in a file of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupKeyView {
    /// Its id.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// Whether backups are sealed for it; else it opens earlier ones.
    pub seals: bool,
}

/// The keys of backups in files of the workspace: what seals, then what only opens.
///
/// # Errors
///
/// When one cannot be read.
pub fn list_backup_keys(environment: &Environment) -> Result<Vec<BackupKeyView>, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let name = workspace.config().targets.keys().next();
    let name = name.map_or(SANDBOX_TARGET, String::as_str);
    let target = Target::resolve(environment, &workspace, Some(name))?;
    let files = target.backup_recipients.iter().filter_map(|source| match source {
        KeySource::File(path) => Some(path),
        _ => None,
    });
    let (mut sealing, mut opening) = (Vec::new(), Vec::new());
    for path in files {
        if path.exists() {
            sealing.push((path.clone(), true));
        }
        opening.extend(earlier_keys(path).into_iter().map(|path| (path, false)));
    }
    let mut views = Vec::new();
    for (path, seals) in sealing.into_iter().chain(opening) {
        let key = KeyEncryptionKey::load(&path).map_err(BackupTrouble::from)?;
        views.push(BackupKeyView { id: key.id().to_string(), path, seals });
    }
    Ok(views)
}
