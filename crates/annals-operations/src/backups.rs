//! `backup list`, `show` and `verify`: what there is, and what it is good for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals_archive::{Archive, ArchiveError, Phase, StoreError, Watcher, read_through};
use annals_backup::{BackupError, KeyEncryptionKey, Receipt};
use annals_event_store::EventStore;
use annals_events::{BackupDepth, BackupId, BackupVerified, BlobRef, CheckOutcome, Event, RunId};
use annals_executor::Interrupt;
use annals_postgres::Fault;
use annals_projections::{Backup, BackupCatalog};

use crate::backup_keys::KeyReader;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::home::BlobReader;
use crate::open;
use crate::restore::rehearse;
use crate::targets::Target;
use crate::workspace::Workspace;

/// Problems with backups.
#[derive(Debug, thiserror::Error)]
pub enum BackupTrouble {
    /// Taking, reading or restoring it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A key, or a container.
    #[error(transparent)]
    Container(#[from] BackupError),
    /// The key is not here.
    #[error("the key of this workspace's backups is missing ({})", .0.display())]
    NoKey(PathBuf),
    /// What should give a key does not. Nothing of what it gave is repeated.
    #[error("the key of backups from {source_name}: {reason}")]
    KeySource {
        /// It.
        source_name: String,
        /// Why.
        reason: String,
    },
    /// None of the keys at hand fits.
    #[error(
        "no key fits backup {backup}: it is sealed for {}{}",
        if sealed_for.is_empty() { "nobody this annals knows".to_owned() } else { sealed_for.join(", ") },
        tried.iter().map(|tried| format!("; {tried}")).collect::<String>()
    )]
    NoKeyOpens {
        /// The backup.
        backup: String,
        /// The keys that open it.
        sealed_for: Vec<String>,
        /// What was tried, and what came of it.
        tried: Vec<String>,
    },
    /// A file is not the one the log knows.
    #[error("backup {backup} is left as it is: {reason}")]
    NotAsRecorded {
        /// The backup.
        backup: String,
        /// What is not.
        reason: String,
    },
    /// None goes by that name.
    #[error("no backup of {target:?} is called {name:?}")]
    Unknown {
        /// The target.
        target: String,
        /// What was asked for.
        name: String,
    },
    /// Several do.
    #[error("several backups begin or end with {name:?}: {}", found.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Them.
        found: Vec<String>,
    },
    /// There is none at all.
    #[error("there is no backup of {0:?}")]
    None(String),
    /// The database that is to be made is there already.
    #[error("there is a database {0:?} already")]
    DatabaseExists(String),
    /// It cannot take the place of the target.
    #[error("the backup cannot take the place of {target:?}: {}", reasons.join("; "))]
    CannotTakePlace {
        /// The target.
        target: String,
        /// Everything that is in the way.
        reasons: Vec<String>,
    },
    /// The target wants a backup of somebody else's to be named.
    #[error(
        "the target {0:?} wants a backup that somebody else keeps to be named before a run; nothing was run"
    )]
    NoExternal(String),
    /// Rows of it cannot be put back.
    #[error("rows of the backup cannot be put back into {target:?}: {}", reasons.join("; "))]
    CannotPutBack {
        /// The target.
        target: String,
        /// Everything that is in the way.
        reasons: Vec<String>,
    },
    /// What was typed is not the fingerprint of the target's schema.
    #[error(
        "{given:?} does not confirm the target {target:?}, whose schema has the fingerprint {live}; \
         nothing was changed"
    )]
    NotConfirmed {
        /// The target.
        target: String,
        /// What was typed.
        given: String,
        /// The fingerprint of its schema now.
        live: String,
    },
    /// Somebody does not let go of the target.
    #[error("{guest} is still connected to {database:?} and did not end; nothing was changed")]
    StillConnected {
        /// The database.
        database: String,
        /// Who.
        guest: String,
    },
    /// Neither of the databases of a restore that was cut short has the target's name.
    #[error("run {run} was restoring the database {database:?} when it was cut short, and {found}")]
    PlaceUnknown {
        /// The database.
        database: String,
        /// The run.
        run: RunId,
        /// What has its name.
        found: String,
    },
    /// What a restore in place would replace cannot be kept.
    #[error("what is in the target cannot be kept before it is replaced: {0}")]
    NotKept(Box<BackupTrouble>),
    /// What was restored is not what was backed up.
    #[error("what was restored is not what the backup says: {}", .0.join("; "))]
    NotEqual(Vec<String>),
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::Backup(error.into())
    }
}

impl BackupTrouble {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Archive(error) => return error.hint(),
            Self::Container(_) => return None,
            Self::NoKey(_) => {
                "put the key file back, or name it in ANNALS_BACKUP_KEY; without it no backup can be \
                 opened"
            }
            Self::KeySource { .. } => {
                "give the key as [backup] recipients in annals.toml says; nothing was sealed or opened"
            }
            Self::NoKeyOpens { .. } => {
                "put one of these keys back, or name its file in ANNALS_BACKUP_KEY"
            }
            Self::NotAsRecorded { .. } => "look at it with: annals backup verify",
            Self::Unknown { .. } | Self::Ambiguous { .. } => {
                "see them all with: annals backup list"
            }
            Self::None(_) => "take one with: annals backup",
            Self::CannotTakePlace { .. } => {
                "bring it into a database beside it: annals restore <backup> --into <database>"
            }
            Self::NoExternal(_) => {
                "name it, and what shows that it is there: --external-backup <name> --backup-evidence <text>"
            }
            Self::CannotPutBack { .. } => {
                "nothing was changed; bring the backup beside the target to look at it: annals restore \
                 <backup> --into <database>"
            }
            Self::NotConfirmed { .. } => {
                "look again at what would be lost: annals restore <backup>, without --yes-restore"
            }
            Self::StillConnected { .. } => "end that session, and run the command again",
            Self::PlaceUnknown { .. } => {
                "somebody renamed or dropped a database meanwhile: give the right one the name back \
                 (ALTER DATABASE … RENAME TO …), then run annals status"
            }
            Self::NotKept(_) => {
                "nothing was changed; without keeping it: annals restore <backup> --without-backup"
            }
            Self::DatabaseExists(_) => "name one that is not there; nothing was changed",
            Self::NotEqual(_) => {
                "nothing was left behind; keep the backup, and take another one with: annals backup"
            }
        };
        Some(hint.to_owned())
    }
}

/// Whose backups, and with what at hand.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) workspace: &'a Workspace,
    pub(crate) target: &'a Target,
}

/// A backup's name as its container spells it.
pub(crate) fn container_id(backup: BackupId) -> annals_backup::BackupId {
    annals_backup::BackupId::from_bytes(*backup.0.as_bytes())
}

/// One backup, as log and store know it.
#[derive(Debug, Clone)]
pub struct BackupRow {
    /// Its name.
    pub backup: String,
    /// As the log tells; none of a file the log knows nothing of.
    pub recorded: Option<Backup>,
    /// Bytes of its file; none if it is not there.
    pub file_bytes: Option<u64>,
    /// Where it is, or would be.
    pub path: String,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct BackupListView {
    /// The target.
    pub target: String,
    /// First taken first.
    pub backups: Vec<BackupRow>,
}

/// Lists the backups of a target. Nothing is reached for but its log and its folder.
///
/// # Errors
///
/// When the log or the folder cannot be read.
pub async fn backup_list(
    environment: &Environment,
    target: Option<&str>,
) -> Result<BackupListView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let catalog = open::read_book(&target).await?.backups;
    Ok(BackupListView { target: target.name.clone(), backups: rows(&target, &catalog).await? })
}

pub(crate) async fn rows(
    target: &Target,
    catalog: &BackupCatalog,
) -> Result<Vec<BackupRow>, Failure> {
    let store = target.backup_store()?;
    let stored = store.list().await.map_err(ArchiveError::from)?;
    let files: BTreeMap<String, u64> =
        stored.into_iter().map(|file| (file.name, file.bytes)).collect();
    let known: BTreeMap<String, &Backup> =
        catalog.iter().map(|(id, backup)| (id.to_string(), backup)).collect();
    let names: BTreeSet<&String> = files.keys().chain(known.keys()).collect();
    // A UUIDv7 begins with the time.
    let row = |name: &String| BackupRow {
        backup: name.clone(),
        recorded: known.get(name).map(|backup| (*backup).clone()),
        file_bytes: files.get(name).copied(),
        path: store.path(name),
    };
    Ok(names.into_iter().map(row).collect())
}

/// The backup that is meant: its name, a beginning or an end of it of at least four characters, or
/// `latest`.
pub(crate) async fn resolve(
    target: &Target,
    catalog: &BackupCatalog,
    asked: &str,
) -> Result<BackupId, Failure> {
    let there = rows(target, catalog).await?;
    let is_there =
        |row: &&BackupRow| row.recorded.as_ref().is_none_or(|backup| backup.removed.is_none());
    let there: Vec<&BackupRow> = there.iter().filter(is_there).collect();
    let name = asked.to_ascii_lowercase();
    let fits = |row: &&&BackupRow| match name.as_str() {
        "latest" => row.recorded.is_some(),
        part if part.len() >= 4 => row.backup.starts_with(part) || row.backup.ends_with(part),
        _ => false,
    };
    let mut found: Vec<&&BackupRow> = there.iter().filter(fits).collect();
    if name == "latest" {
        found = found.pop().into_iter().collect();
    }
    let unknown = || match there.is_empty() {
        true => BackupTrouble::None(target.name.clone()),
        false => BackupTrouble::Unknown { target: target.name.clone(), name: asked.to_owned() },
    };
    match found.as_slice() {
        [one] => Ok(one.backup.parse().map_err(|_| unknown())?),
        [] => Err(unknown().into()),
        several => {
            let found = several.iter().map(|row| row.backup.clone()).collect();
            Err(BackupTrouble::Ambiguous { name: asked.to_owned(), found }.into())
        }
    }
}

/// As [`resolve`]; `latest` is the newest that holds everything, where there is one.
pub(crate) async fn resolve_full(
    target: &Target,
    catalog: &BackupCatalog,
    asked: &str,
) -> Result<BackupId, Failure> {
    let full = rows_newest_first(target, catalog).await?;
    let full = full.into_iter().find(|(_, backup)| backup.is_full()).map(|(id, _)| id);
    match full.filter(|_| asked.eq_ignore_ascii_case("latest")) {
        Some(id) => Ok(id),
        None => resolve(target, catalog, asked).await,
    }
}

/// Recorded backups that are not removed and whose files are there.
pub(crate) async fn rows_newest_first(
    target: &Target,
    catalog: &BackupCatalog,
) -> Result<Vec<(BackupId, Backup)>, Failure> {
    let rows = rows(target, catalog).await?.into_iter().rev();
    let there = rows.filter(|row| row.file_bytes.is_some()).filter_map(|row| {
        let backup = row.recorded.filter(|backup| backup.removed.is_none())?;
        Some((row.backup.parse().ok()?, backup))
    });
    Ok(there.collect())
}

/// One backup, with what it says of itself for everybody.
#[derive(Debug, Clone)]
pub struct BackupShowView {
    /// The target.
    pub target: String,
    /// The backup.
    pub row: BackupRow,
    /// Its public manifest; none of one the log does not know.
    pub manifest: Option<serde_json::Value>,
}

/// Shows one backup, without any key.
///
/// # Errors
///
/// When there is none of that name, or the log cannot be read.
pub async fn backup_show(
    environment: &Environment,
    target: Option<&str>,
    name: &str,
) -> Result<BackupShowView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let catalog = open::read_book(&target).await?.backups;
    let id = resolve(&target, &catalog, name).await?.to_string();
    let row = rows(&target, &catalog).await?.into_iter().find(|row| row.backup == id);
    let unknown = || BackupTrouble::Unknown { target: target.name.clone(), name: name.to_owned() };
    let row = row.ok_or_else(unknown)?;
    let manifest = match &row.recorded {
        Some(backup) => Some(public_manifest(&target, &backup.manifest).await?),
        None => None,
    };
    Ok(BackupShowView { target: target.name.clone(), row, manifest })
}

/// What the log holds of a backup; its digest is in the event.
pub(crate) async fn public_manifest(
    target: &Target,
    reference: &BlobRef,
) -> Result<serde_json::Value, Failure> {
    let mut reader = BlobReader::of(&target.home()).await?;
    let content = reader.get(reference).await;
    reader.close().await;
    let parsed = serde_json::from_slice(&content.map_err(LogFailure::from)?);
    Ok(parsed.map_err(|error| ArchiveError::Malformed(error.to_string()))?)
}

/// How a backup is verified.
#[derive(Debug, Clone)]
pub struct VerifyBackupOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// Which backup.
    pub backup: String,
    /// Restore it on a private server, and compare.
    pub deep: bool,
    /// Only what can be said without the key: presence, size and digest as the log has them.
    pub without_key: bool,
    /// Record nothing.
    pub no_record: bool,
    /// Connections at a time.
    pub jobs: usize,
}

/// What a verification of a backup found.
#[derive(Debug, Clone)]
pub struct BackupCheckView {
    /// The target.
    pub target: String,
    /// The backup.
    pub backup: String,
    /// How deeply; none if only without the key.
    pub depth: Option<BackupDepth>,
    /// Everything that is wrong.
    pub problems: Vec<String>,
    /// What was not compared, and why.
    pub notes: Vec<String>,
    /// Tables that were read.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
    /// Whether the result is in the log.
    pub recorded: bool,
    /// How long it took, in microseconds.
    pub us: u64,
}

/// Verifies a backup, and records the result.
///
/// # Errors
///
/// When it cannot be verified. What is wrong with it is in the result.
pub async fn backup_verify(
    environment: &Environment,
    options: &VerifyBackupOptions,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<BackupCheckView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let catalog = open::read_book(&target).await?.backups;
    let id = resolve(&target, &catalog, &options.backup).await?;
    let began = Instant::now();
    let mut view = BackupCheckView {
        target: target.name.clone(),
        backup: id.to_string(),
        depth: (!options.without_key).then_some(BackupDepth::Sealed),
        problems: Vec::new(),
        notes: Vec::new(),
        tables: 0,
        rows: 0,
        recorded: false,
        us: 0,
    };
    let recorded = catalog.get(id);
    (view.problems, view.notes) = without_key(&target, id, recorded).await?;
    if recorded.is_none() {
        view.notes.push("the log does not know it: there is nothing to compare it with".to_owned());
    }
    if view.problems.is_empty() && !options.without_key {
        let store = target.backup_store()?;
        let key = KeyReader::new(environment, &target).of_backup(&store, id).await?;
        match read_all(&target, id, &key, watcher, interrupt).await {
            Ok(archive) => {
                view.tables = archive.manifest.tables.len() as u64;
                view.rows = archive.manifest.rows();
                if options.deep {
                    view.depth = Some(BackupDepth::Restored);
                    let around = Around { environment, workspace: &workspace, target: &target };
                    let jobs = options.jobs;
                    let deep = rehearse(around, &archive, &key, jobs, watcher, interrupt);
                    match deep.await {
                        Ok((problems, notes)) => {
                            view.problems = problems;
                            view.notes.extend(notes);
                        }
                        Err(failure) => view.problems.push(damage(failure)?),
                    }
                }
            }
            Err(failure) => view.problems.push(damage(failure)?),
        }
    }
    view.us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    if let (Some(depth), false, true) = (view.depth, options.no_record, recorded.is_some()) {
        let result = match view.problems.is_empty() {
            true => CheckOutcome::Passed,
            false => CheckOutcome::Failed,
        };
        let event = BackupVerified { backup: id, depth, result };
        record(environment, &workspace, &target, vec![event.into()], interrupt).await?;
        view.recorded = true;
    }
    Ok(view)
}

/// What the log says of the file, compared with the file: what is wrong, and what should be known.
async fn without_key(
    target: &Target,
    id: BackupId,
    recorded: Option<&Backup>,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let examined = match target.backup_store()?.examine(&id.to_string()).await {
        Ok(examined) => examined,
        Err(ArchiveError::Store(StoreError::Missing(path))) => {
            return Ok((vec![format!("there is no file {}", path.display())], Vec::new()));
        }
        Err(error) => return Ok((vec![damage(error.into())?], Vec::new())),
    };
    let mut problems = Vec::new();
    if examined.receipt.backup_id != container_id(id) {
        problems.push(format!("the file holds another backup, {}", examined.receipt.backup_id));
    }
    let Some(recorded) = recorded else { return Ok((problems, Vec::new())) };
    let unlike = unlike(target, &examined.receipt, recorded.bytes, &recorded.manifest).await?;
    if unlike.is_empty() {
        return Ok((problems, Vec::new()));
    }
    if let Some(before) = &recorded.before_rekeying {
        let as_before = self::unlike(target, &examined.receipt, before.bytes, &before.manifest);
        if as_before.await?.is_empty() {
            let note = format!(
                "its keys were to be changed at {}, and that was not finished: the file is the one of \
                 before, whole; finish with: annals backup rekey",
                before.at
            );
            return Ok((problems, vec![note]));
        }
    }
    problems.extend(unlike);
    Ok((problems, Vec::new()))
}

/// In what a container is not the one whose public manifest this is.
pub(crate) async fn unlike(
    target: &Target,
    receipt: &Receipt,
    recorded_bytes: u64,
    manifest: &BlobRef,
) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    let manifest = public_manifest(target, manifest).await?;
    let container = &manifest["container"];
    let (bytes, digest) = (receipt.sealed_bytes, receipt.sha256.to_string());
    if container["bytes"].as_u64() != Some(bytes) || recorded_bytes != bytes {
        problems.push(format!("the file has {bytes} bytes, the log says {recorded_bytes}"));
    }
    if container["sha256"].as_str() != Some(digest.as_str()) {
        let said = container["sha256"].as_str().unwrap_or("nothing");
        problems.push(format!("the file's SHA-256 is {digest}, the log says {said}"));
    }
    Ok(problems)
}

/// What an error says against the backup itself; another one is given back.
fn damage(failure: Failure) -> Result<String, Failure> {
    let Failure::Backup(BackupTrouble::Archive(error)) = &failure else { return Err(failure) };
    let is_damage = match error {
        ArchiveError::Container(error) => !matches!(
            error,
            BackupError::NoKeyFits { .. }
                | BackupError::UnsupportedVersion { .. }
                | BackupError::Read(_)
                | BackupError::KeyFile { .. }
                | BackupError::KeyFileRefused { .. }
        ),
        ArchiveError::Malformed(_) | ArchiveError::NotAsSaid(_) | ArchiveError::Sql(_) => true,
        // An extension or a role that is not there says nothing of the backup.
        ArchiveError::Refused { fault: Fault::Server(error), .. } => {
            !["0A000", "58P01", "42704"].contains(&error.code.as_str())
        }
        _ => false,
    };
    if is_damage { Ok(error.to_string()) } else { Err(failure) }
}

/// Counts in another thread.
struct Counting(Arc<AtomicU64>);

impl Watcher for Counting {
    fn begins(&mut self, _: Phase, _: u64) {}

    fn advances(&mut self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Reads a backup through, in a thread of its own: a stop is heard meanwhile.
pub(crate) async fn read_all(
    target: &Target,
    id: BackupId,
    key: &Arc<Vec<KeyEncryptionKey>>,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<Archive, Failure> {
    let source = target.backup_store()?.open(&id.to_string()).await.map_err(ArchiveError::from)?;
    let (key, read) = (Arc::clone(key), Arc::new(AtomicU64::new(0)));
    let counts = Arc::clone(&read);
    let mut reads = tokio::task::spawn_blocking(move || {
        read_through(source, &key, container_id(id), &mut Counting(counts))
    });
    watcher.begins(Phase::Authenticate, 0);
    let mut told = 0;
    loop {
        tokio::select! {
            biased;
            () = interrupt.wait() => return Err(Failure::Interrupted),
            archive = &mut reads => {
                let archive = archive.map_err(|error| ArchiveError::Stopped(error.to_string()))?;
                return Ok(archive?);
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                let now = read.load(Ordering::Relaxed);
                watcher.advances(now - told);
                told = now;
            }
        }
    }
}

/// Records what became of backups, in the log of a target that can be reached.
pub(crate) async fn record(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    events: Vec<Event>,
    interrupt: &mut Interrupt,
) -> Result<u64, Failure> {
    let mut opened =
        open::open_to_verify(environment, workspace, target, "annals/backup", interrupt).await?;
    opened.record(events).await?;
    opened.publish().await?;
    opened.anchor(environment, workspace, target).await?;
    let size = opened.recorder.log.head().size;
    opened.close().await;
    Ok(size)
}
