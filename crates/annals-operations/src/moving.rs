//! `log migrate`: a log goes on in another home, byte for byte.

use std::path::PathBuf;

use annals_event_store::{FILE_HOME, FileLog, Layout, LogFiles, OpenOptions, move_aside};
use annals_event_store_postgres::{Import, Limits, home_of};
use annals_events::{Event, LogMoved, Recorded, Scanned};
use annals_executor::Interrupt;
use annals_integrity::{LogAudit, Trust};
use annals_keys::{Checkpoint, KeyRing};
use annals_postgres::{ConnectionSpec, SessionSettings};

use crate::config::ConfigError;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::home::{BlobReader, FolderCopy, LogHome, PostgresHome};
use crate::logs::ReadLog;
use crate::open;
use crate::recorder::Envelopes;
use crate::targets::Target;
use crate::workspace::Workspace;

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveTo {
    /// Into the workspace's folder.
    File,
    /// Into the target's own database.
    Target,
    /// Into another database; the URL is not shown.
    Url(String),
}

/// A log that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedLog {
    /// The target.
    pub target: String,
    /// The home it has left.
    pub from: String,
    /// The home it goes on in.
    pub to: String,
    /// The signed head both hold.
    pub checkpoint: Checkpoint,
    /// Where the older copy in the folder went, if one was in the way.
    pub moved_aside: Option<PathBuf>,
    /// What to write into `annals.toml`.
    pub event_store: &'static str,
}

/// Moves the log of a target: records it, copies every byte, and verifies the copy.
///
/// A move that was cut short is finished by the next.
///
/// # Errors
///
/// When the target cannot be opened for work, there is a log in the new home already, or the copy
/// does not verify. Until the copy is complete it cannot be seen, and the old home stays.
pub async fn log_migrate(
    environment: &Environment,
    target: Option<&str>,
    to: &MoveTo,
    interrupt: &mut Interrupt,
) -> Result<MovedLog, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    check_name(&workspace, &target)?;
    let Destination { home, name, store } =
        destination(environment, &workspace, &target, to).await?;
    let source = target.home();
    let from = source.place();
    let ring = target.ring()?.ok_or_else(|| LogFailure::NoPublicKey(target.public_path()))?;
    let is_recorded = check_movable(&target, &home, &name).await?;
    if !is_recorded {
        // Before anything is recorded: a home that will not take the log must not strand it.
        check_destination(environment, &source, &home, &ring).await?;
        record_move(environment, &workspace, &target, &name, store, interrupt).await?;
    }
    let copy = source.folder().await?;
    let (mut moved_aside, is_there) = (None, is_recorded && holds(&home, &copy, &ring).await?);
    if !is_there {
        moved_aside = make_room(&home, &copy, &ring).await?;
        carry(environment, &copy, &home, &source, &ring).await?;
    }
    let checkpoint = compare(&home, &copy, &ring).await?;
    let event_store = match to {
        MoveTo::File => "file",
        MoveTo::Target => "postgres",
        MoveTo::Url(_) => "<the URL of that database, without a password>",
    };
    Ok(MovedLog {
        target: target.name,
        from,
        to: home.place(),
        checkpoint,
        moved_aside,
        event_store,
    })
}

/// A log that took over says its name itself, in its folder; in a database it is looked for by the
/// name the configuration gives.
fn check_name(workspace: &Workspace, target: &Target) -> Result<(), Failure> {
    let configured = format!("{}/{}", workspace.config().workspace, target.name);
    if target.origin.as_str() == configured {
        return Ok(());
    }
    Err(Failure::Argument {
        subject: format!("the log {}", target.origin),
        reason: "it took over from another one and is kept in a folder".to_owned(),
    })
}

/// The new home, what `log_moved` events call it, and what is to be recorded of its tables.
struct Destination {
    home: LogHome,
    name: String,
    store: Option<Event>,
}

async fn destination(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    to: &MoveTo,
) -> Result<Destination, Failure> {
    let spec =
        match to {
            MoveTo::File => {
                let home = LogHome::Folder(target.layout.clone());
                return Ok(Destination { home, name: FILE_HOME.to_owned(), store: None });
            }
            MoveTo::Target => target.spec(environment, workspace).await?,
            MoveTo::Url(url) => ConnectionSpec::from_url(url).map_err(|error| {
                ConfigError::BadUrl { target: target.name.clone(), place: "--to".to_owned(), error }
            })?,
        };
    let place = PostgresHome {
        spec: spec.clone(),
        origin: target.origin.clone(),
        scratch: target.scratch(),
    };
    let store = open::install_store(&place).await?;
    let session = spec.connect("annals/log", &SessionSettings::default()).await?;
    let name = home_of(&session.facts().identity);
    session.close().await;
    Ok(Destination { home: LogHome::Postgres(Box::new(place)), name, store })
}

/// Whether the move is recorded already, by one that was cut short; refuses what is no move.
async fn check_movable(target: &Target, home: &LogHome, to: &str) -> Result<bool, Failure> {
    let here = |reason: &str| Failure::Argument {
        subject: format!("the log of {:?}", target.name),
        reason: reason.to_owned(),
    };
    let source = target.home();
    if !source.exists().await? {
        return Err(here("does not exist yet; set event_store, and the first run begins it there"));
    }
    let mut last = None;
    let log = ReadLog::of_target(target)?;
    let mut watch = |recorded: &Recorded, _: &[u8]| match &recorded.event {
        Event::LogMoved(moved) => last = Some(moved.to.clone()),
        _ => last = last.take().filter(|_| false),
    };
    log.read(&mut watch).await?.check()?;
    let own = source.home_name().await?;
    if own == to {
        return Err(here("lives there already"));
    }
    if last.as_deref() == Some(to) {
        return Ok(true);
    }
    // A database keeps what it holds: only its owner can take an older copy away.
    if matches!(home, LogHome::Postgres(_)) && home.exists().await? {
        return Err(here(&format!(
            "has an older copy in {} that would have to make room; choose another home",
            home.place()
        )));
    }
    Ok(false)
}

/// Whether the new home holds the very log already: its import was acknowledged to nobody.
async fn holds(home: &LogHome, copy: &FolderCopy, ring: &KeyRing) -> Result<bool, Failure> {
    Ok(home.exists().await? && compare(home, copy, ring).await.is_ok())
}

/// Tries the new home with the log as it is, and leaves nothing there.
async fn check_destination(
    environment: &Environment,
    source: &LogHome,
    home: &LogHome,
    ring: &KeyRing,
) -> Result<(), Failure> {
    let LogHome::Postgres(home) = home else { return Ok(()) };
    let (note, _) = source.read(|_| Vec::new(), &mut |_, _| {}).await?;
    let envelopes = Envelopes::new(environment, None);
    let repair = |fact| envelopes.draft(Event::TailRepaired(fact));
    let (now, holder) = (envelopes.now(), envelopes.holder());
    let options = OpenOptions { ring, known: &[], now, holder, repair: &repair };
    let (note, limits) = (note.unwrap_or_default(), Limits::default());
    // Its transaction ends with it, and nothing was committed.
    drop(Import::begin(&home.spec, &home.origin, &note, limits, &options).await?);
    Ok(())
}

/// Says in the log that it moves, and signs that: the last thing its old home takes.
async fn record_move(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    to: &str,
    store: Option<Event>,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let own = target.home().home_name().await?;
    let mut opened = open::open(environment, workspace, target, "annals/log", interrupt).await?;
    opened.say_what_was_found();
    opened.publish().await?;
    let moved = LogMoved { from: own, to: to.to_owned() };
    opened.record(store.into_iter().chain([moved.into()]).collect()).await?;
    opened.publish().await?;
    opened.close().await;
    Ok(())
}

/// A folder that holds what the log was before it moved away from it makes room.
async fn make_room(
    home: &LogHome,
    copy: &FolderCopy,
    ring: &KeyRing,
) -> Result<Option<PathBuf>, Failure> {
    let LogHome::Folder(layout) = home else { return Ok(None) };
    if !home.exists().await? {
        return Ok(None);
    }
    let older = audit(layout, ring, &[])?;
    let size = older.chain.size();
    let whole = audit(&copy.layout, ring, &[size])?;
    if older.damage.is_some() || whole.root_at(size) != Some(older.chain.root()) {
        return Err(annals_event_store::OpenError::Exists { place: home.place() }.into());
    }
    let name = layout.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = layout.root().with_file_name(format!(".{name}.before-{size}"));
    move_aside(layout, &Layout::new(&aside))
        .map_err(|source| Failure::Write { path: aside.clone(), source })?;
    Ok(Some(aside))
}

fn audit(layout: &Layout, ring: &KeyRing, marks: &[u64]) -> Result<Scanned, Failure> {
    let files = LogFiles::find(layout).map_err(LogFailure::from)?;
    let trust = Trust { ring: ring.clone(), kept: Vec::new(), required: 0 };
    let own = LogAudit::new(&trust, files.checkpoint.as_deref()).marks();
    let marks: Vec<u64> = own.iter().chain(marks).copied().collect();
    Ok(files.scan(&marks, &mut |_, _| {}).map_err(LogFailure::from)?)
}

/// Brings every byte into the new home, where it appears at once.
async fn carry(
    environment: &Environment,
    copy: &FolderCopy,
    home: &LogHome,
    source: &LogHome,
    ring: &KeyRing,
) -> Result<(), Failure> {
    let files = LogFiles::find(&copy.layout).map_err(LogFailure::from)?;
    let note = files.checkpoint.clone().unwrap_or_default();
    let envelopes = Envelopes::new(environment, None);
    let repair = |fact| envelopes.draft(Event::TailRepaired(fact));
    let (now, holder) = (envelopes.now(), envelopes.holder());
    let options = OpenOptions { ring, known: &[], now, holder, repair: &repair };
    let mut blobs = std::collections::BTreeMap::new();
    files
        .scan(&[], &mut |recorded, _| {
            blobs.extend(recorded.event.blob().map(|blob| (blob.digest, blob)));
        })
        .map_err(LogFailure::from)?;
    let mut reader = BlobReader::of(source).await?;
    match home {
        LogHome::Folder(layout) => {
            for blob in blobs.values() {
                let content = reader.get(blob).await.map_err(LogFailure::from)?;
                layout.put_blob(&content).map_err(LogFailure::from)?;
            }
            FileLog::import(layout.clone(), &note, files.lines(), &options, &mut |_| {})?;
        }
        LogHome::Postgres(home) => {
            let limits = Limits::default();
            let begun = Import::begin(&home.spec, &home.origin, &note, limits, &options).await;
            let mut import = begun?;
            for blob in blobs.values() {
                let content = reader.get(blob).await.map_err(LogFailure::from)?;
                import.blob(&content).await?;
            }
            for line in files.lines() {
                import.line(&line.map_err(LogFailure::from)?, &mut |_| {}).await?;
            }
            import.finish().await?;
        }
        LogHome::Export(_) => unreachable!("no log goes on in an export file"),
    }
    reader.close().await;
    Ok(())
}

/// Reads the new home from its first byte: it must hold the same lines under the same signed head.
async fn compare(home: &LogHome, copy: &FolderCopy, ring: &KeyRing) -> Result<Checkpoint, Failure> {
    let old = LogFiles::find(&copy.layout).map_err(LogFailure::from)?;
    let log = ReadLog { home: home.clone(), ring: Some(ring.clone()), is_own: true };
    let mut lines = old.lines();
    let mut differs = None;
    let mut same = |recorded: &Recorded, line: &[u8]| {
        let is_same = matches!(lines.next(), Some(Ok(old)) if old == line);
        if !is_same && differs.is_none() {
            differs = Some(recorded.seq);
        }
    };
    let read = log.read(&mut same).await?;
    read.check()?;
    let place = home.place();
    let damaged = |reason: String| LogFailure::Damaged { place: place.clone(), reason };
    if let Some(seq) = differs {
        return Err(damaged(format!("event {seq}: not the bytes that were moved")).into());
    }
    if read.note != old.checkpoint {
        return Err(damaged("its checkpoint is not the one that was moved".to_owned()).into());
    }
    let note = read.note.unwrap_or_default();
    let opened = Checkpoint::open(&note, ring);
    Ok(opened.map_err(|error| damaged(error.to_string()))?)
}
