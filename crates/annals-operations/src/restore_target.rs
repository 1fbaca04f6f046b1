//! `restore` onto the target: what would be lost, and, once its fingerprint was typed, the backup in
//! its place.

use std::collections::BTreeMap;
use std::time::Instant;

use annals_archive::{ArchiveError, Extent, Watcher, count_tables, of_others, read_as_named};
use annals_events::{
    AdoptionBasis, AdoptionEvidence, BackupDepth, BackupId, BackupVerified, BaselineAdopted,
    CheckOutcome, Digest, Direction, Event, FileStanding, LeafHash, Recorded, RestoreStarted,
    RunId, RunStarted, Timestamp,
};
use annals_executor::{Interrupt, failpoint};
use annals_integrity::compare_ledger;
use annals_postgres::{ConnectionSpec, LEDGER_SCHEMA, Session, read_schema};
use annals_projections::{Backup, Change, History, LedgerRow};
use annals_schema::{Fingerprint, Snapshot};
use serde_json::Value;

use crate::adoptable::as_earlier;
use crate::backup_keys::KeyReader;
use crate::backups::{BackupTrouble, public_manifest, read_all, resolve_full};
use crate::book::Book;
use crate::environment::Environment;
use crate::error::Failure;
use crate::home::LogHome;
use crate::logs::ReadLog;
use crate::open::{self, Opened, Recovered};
use crate::restore::{Brought, Place, drop_database, into_database, make, told};
use crate::restore_gate::{self, RestoreGate, RestoreRight};
use crate::restore_in_place::replace;
use crate::restore_surroundings::{in_place_notes, left_out, surroundings};
use crate::scratch;
use crate::swap::{self, Stage};
use crate::targets::Target;
use crate::workspace::Workspace;

/// The longest name PostgreSQL keeps, in bytes.
const NAME_BYTES: usize = 63;

/// Digits of a fingerprint that are enough to mean it.
const TYPED_DIGITS: usize = 12;

/// Which backup is to take the place of which target.
#[derive(Debug, Clone)]
pub struct TargetRestoreOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// Which backup.
    pub backup: String,
    /// The fingerprint of the target's schema as it was shown, or its first twelve digits; without it
    /// everything is only shown.
    pub confirm: Option<String>,
    /// By which right.
    pub right: RestoreRight,
    /// Where what is there is not kept under another name: not even in a backup that is taken before.
    pub without_backup: bool,
    /// Connections at a time.
    pub jobs: usize,
}

/// The rows of a table now, and in the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLoss {
    /// The table.
    pub name: String,
    /// Its rows now; none of a table that is not there.
    pub now: Option<u64>,
    /// Whether they were counted, or are the server's estimate.
    pub is_exact: bool,
    /// Its rows in the backup; none of a table that is not in it.
    pub backup: Option<u64>,
}

/// What it would come to, and what it came to.
#[derive(Debug, Clone)]
pub struct TargetRestore {
    /// The target.
    pub target: String,
    /// Its database.
    pub database: String,
    /// The backup.
    pub backup: String,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// How long ago, in microseconds.
    pub age_us: u64,
    /// The fingerprint of the target's schema before: what confirms.
    pub fingerprint: String,
    /// The fingerprint of the schema in the backup.
    pub backup_fingerprint: String,
    /// Tables whose number of rows is another one.
    pub tables: Vec<TableLoss>,
    /// Tables whose number of rows is the same. Their content may differ.
    pub same_tables: u64,
    /// Migrations that are applied and will not be, `<version>_<name>`, the newest last.
    pub undone: Vec<String>,
    /// Migrations that are not applied and will be.
    pub redone: Vec<String>,
    /// Whether it replaces what is in the target's own database, in one transaction; else a database beside it
    /// takes its name.
    pub in_place: bool,
    /// Who is connected, and would be cut off; nobody is where it is done in place.
    pub sessions: Vec<String>,
    /// What should be known besides.
    pub notes: Vec<String>,
    /// Why it cannot be done; nothing if it can.
    pub obstacles: Vec<String>,
    /// What was done.
    pub done: Option<RestoreDone>,
}

/// A backup that has taken the place of the target.
#[derive(Debug, Clone)]
pub struct RestoreDone {
    /// The run that did it.
    pub run: RunId,
    /// The name of the database that was there before; none where it was done in place.
    pub kept_as: Option<String>,
    /// The backup of what was there before, where it was done in place.
    pub backup_before: Option<BackupId>,
    /// Sessions that were ended.
    pub ended: Vec<String>,
    /// Tables that were restored and compared.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
    /// Whether the schema was compared: not across major versions.
    pub schema_compared: bool,
    /// How long it took, in microseconds.
    pub us: u64,
    /// For how long nobody could connect, or read the project's tables where it was done in place; in
    /// microseconds.
    pub closed_us: u64,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
}

/// The log when the backup was taken, and now.
pub(crate) struct Moments {
    pub(crate) then: Book,
    pub(crate) now: Book,
}

/// What a look at everything gives.
pub(crate) struct Considered {
    pub(crate) view: TargetRestore,
    pub(crate) id: BackupId,
    pub(crate) moments: Moments,
    spec: ConnectionSpec,
}

/// Shows what would be lost if a backup took the place of the target, and lets it where that was
/// confirmed.
///
/// The backup is authenticated, restored into a database beside the target, and compared, before
/// anything of the target is touched. Then, under the lock, its intent is recorded, the target is
/// closed, and both databases are renamed in one transaction. What was there stays under another name.
/// Where that cannot be, as on a platform whose own schemas are in the database, the backup replaces what is
/// the project's in the target itself, in one transaction that is compared before it is committed.
/// The log goes on: changes the backup does not have are recorded as not in effect any more.
///
/// # Errors
///
/// When something is in the way, or the fingerprint is another one: then nothing was changed.
pub async fn restore_target(
    environment: &Environment,
    options: &TargetRestoreOptions,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<TargetRestore, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let considered = consider(environment, &workspace, &target, options).await?;
    let Some(confirm) = &options.confirm else {
        let mut view = considered.view;
        view.notes.extend(restore_gate::told(&workspace, &target));
        return Ok(view);
    };
    check_confirmed(&target, confirm, &considered.view.fingerprint)?;
    let gate = restore_gate::clear(&workspace, &target, &options.right)?;
    if !considered.view.obstacles.is_empty() {
        let (target, reasons) = (target.name, considered.view.obstacles);
        return Err(BackupTrouble::CannotTakePlace { target, reasons }.into());
    }
    let around = (environment, &workspace, &target);
    if considered.view.in_place {
        return replace(around, (options, confirm, &gate), considered, watcher, interrupt).await;
    }
    carry_out(around, (options, confirm, &gate), considered, watcher, interrupt).await
}

pub(crate) fn check_confirmed(target: &Target, given: &str, live: &str) -> Result<(), Failure> {
    let digits = live.rsplit(':').next().unwrap_or(live);
    let is_begin = given.len() >= TYPED_DIGITS && digits.starts_with(given);
    if given == live || is_begin {
        return Ok(());
    }
    let (target, given, live) = (target.name.clone(), given.to_owned(), live.to_owned());
    Err(BackupTrouble::NotConfirmed { target, given, live }.into())
}

/// Looks at log, backup and target. Nothing is written, and no lock is taken.
async fn consider(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    options: &TargetRestoreOptions,
) -> Result<Considered, Failure> {
    let look = open::look(environment, workspace, target, "annals/restore").await?;
    look.session.close().await;
    open::refuse_unsettled_restore(target, &look.book)?;
    let id = resolve_full(target, &look.book.backups, &options.backup).await?;
    let Some(recorded) = look.book.backups.get(id).cloned() else {
        let (target, reason) = (target.name.clone(), "the log does not know it".to_owned());
        return Err(BackupTrouble::CannotTakePlace { target, reasons: vec![reason] }.into());
    };
    let public = public_manifest(target, &recorded.manifest).await?;
    let (moments, mut obstacles) = moments(target, &public).await?;
    obstacles.extend(of_backup(&recorded));
    let settings = target.settings(workspace);
    let mut session = look.spec.connect("annals/restore", &settings).await?;
    let schema = read_schema(&mut session, &target.scope).await.map_err(open::fault(target))?;
    let left_out = left_out(&mut session, target, &public).await?;
    let mut excluded = target.scope.excluded();
    excluded.retain(|schema| schema != LEDGER_SCHEMA);
    let counts = count_tables(&mut session, &excluded).await?;
    let strange = of_others(&mut session, &excluded).await?;
    session.close().await;
    let mut beside = swap::beside(&look.spec, &settings).await?;
    let found = surroundings(&mut beside, target, look.spec.database()).await?;
    beside.close().await;
    let holds_log = holds_log(target, &look.spec);
    let in_place =
        !left_out.is_empty() || (holds_log || !found.no_swap.is_empty()) && strange.is_empty();
    let (sessions, lasting, mut notes) = match in_place {
        true => {
            obstacles.extend(found.no_replacing.clone());
            if !strange.is_empty() {
                let strange = strange.join(", ");
                obstacles
                    .push(format!("this role may not replace what belongs to others: {strange}"));
            }
            let (notes, lasting) = in_place_notes((&left_out, holds_log), &found, options);
            (Vec::new(), lasting, notes)
        }
        false => {
            if holds_log {
                obstacles.push(
                    "the event log lives in the target's own database, and would go back with it: move \
                     it first (annals log copy)"
                        .to_owned(),
                );
            }
            obstacles.extend([found.no_swap, found.no_renaming].concat());
            (found.sessions, found.notes, Vec::new())
        }
    };
    // Once it is done, what was announced is no news.
    match options.confirm {
        Some(_) => notes = lasting,
        None => notes.extend(lasting),
    }
    let counts = counts.into_iter().map(|count| (count.name, (count.rows, count.is_exact)));
    let (tables, same_tables) = losses(counts.collect(), &public);
    let (then, now) = (&moments.then.history, &moments.now.history);
    let named = |changes: &[Change], others: &History| -> Vec<String> {
        let is_missing = |change: &&Change| !others.is_applied(&change.version);
        changes.iter().filter(is_missing).map(Change::id).collect()
    };
    let age_us = environment.clock.now().micros() - recorded.at.micros();
    let view = TargetRestore {
        target: target.name.clone(),
        database: look.spec.database().to_owned(),
        backup: id.to_string(),
        taken_at: recorded.at,
        age_us: u64::try_from(age_us).unwrap_or_default(),
        fingerprint: schema.fingerprint().to_string(),
        backup_fingerprint: text(&public["schema_fingerprint"]),
        tables,
        same_tables,
        undone: named(now.applied(), then),
        redone: named(then.applied(), now),
        in_place,
        sessions,
        notes,
        obstacles,
        done: None,
    };
    Ok(Considered { view, id, moments, spec: look.spec })
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The log when the backup was taken, and now; and why that moment is none to go back to.
async fn moments(target: &Target, public: &Value) -> Result<(Moments, Vec<String>), Failure> {
    let size = public["log"]["size"].as_u64().unwrap_or_default();
    let (mut then, mut now) = (Book::default(), Book::default());
    let log = ReadLog::of_target(target)?;
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        if recorded.seq.0 < size {
            then.apply(recorded);
        }
        now.apply(recorded);
    };
    log.read(&mut visit).await?.check()?;
    let mut obstacles = Vec::new();
    let leaf: Option<LeafHash> = public["log"]["leaf"].as_str().and_then(|leaf| leaf.parse().ok());
    if text(&public["log"]["origin"]) != now.origin || leaf.is_none() || leaf != then.head {
        obstacles.push(
            "it was taken with another log: nothing says which migrations it holds".to_owned(),
        );
    }
    if let Some(step) = then.recovery.partial.values().next() {
        obstacles.push(format!("{} was half done when it was taken", step.id()));
    }
    Ok((Moments { then, now }, obstacles))
}

fn of_backup(backup: &Backup) -> Option<String> {
    let kind = &backup.kind;
    let words =
        || format!("it does not hold everything ({kind}): rows of it come back with --tables");
    (!backup.is_full()).then(words)
}

/// Whether the event log lives in the target's own database.
fn holds_log(target: &Target, spec: &ConnectionSpec) -> bool {
    match target.home() {
        LogHome::Postgres(home) => {
            home.spec.address() == spec.address() && home.spec.database() == spec.database()
        }
        LogHome::Folder(_) | LogHome::Export(_) => false,
    }
}

/// Tables whose numbers of rows differ, and how many others there are.
fn losses(counts: BTreeMap<String, (u64, bool)>, public: &Value) -> (Vec<TableLoss>, u64) {
    let entries = public["tables"].as_array().into_iter().flatten();
    let rows = |table: &Value| table["content"]["rows"].as_u64().unwrap_or_default();
    let there: BTreeMap<String, u64> =
        entries.map(|table| (text(&table["name"]), rows(table))).collect();
    let mut names: Vec<&String> = counts.keys().chain(there.keys()).collect();
    names.sort();
    names.dedup();
    let (mut tables, mut same) = (Vec::new(), 0);
    // What annals keeps there itself is said as migrations.
    for name in names.into_iter().filter(|name| !name.starts_with("annals.")) {
        let (now, backup) = (counts.get(name).copied(), there.get(name).copied());
        let is_exact = now.is_none_or(|(_, is_exact)| is_exact);
        if now.map(|(rows, _)| rows) == backup && is_exact {
            same += 1;
            continue;
        }
        let now = now.map(|(rows, _)| rows);
        tables.push(TableLoss { name: name.clone(), now, is_exact, backup });
    }
    (tables, same)
}

/// The changes that are in effect on one side only, as events: what counts once the run has succeeded.
pub(crate) fn entries(moments: &Moments, backup: BackupId, run: RunId) -> Vec<BaselineAdopted> {
    let (then, now) = (moments.then.history.changes(), moments.now.history.changes());
    let is_in = |changes: &[Change], change: &Change| {
        changes.iter().any(|other| {
            other.key == change.key
                && other.version == change.version
                && other.ordinal == change.ordinal
        })
    };
    let last = |change: &Change| then.iter().rev().find(|other| other.version == change.version);
    let entry = |change: &Change, holds: bool, found: &str| {
        let remains = match holds {
            true => Some(change),
            // One that comes back says so itself, behind this.
            false => last(change).filter(|other| is_in(now, other)),
        };
        BaselineAdopted {
            basis: AdoptionBasis::Restored,
            direction: change.direction,
            evidence: Box::new(AdoptionEvidence {
                file: FileStanding::NotCompared,
                found: format!("the ledger in backup {backup} {found}"),
                row: None,
                timeline: None,
                timeline_then: None,
                transaction_status: None,
            }),
            file: change.file.clone(),
            holds,
            name: change.name.clone(),
            ordinal: change.ordinal,
            parent: None,
            reason: None,
            remains: remains.map(|change| Box::new(as_earlier(change))),
            rollback: change.rollback.clone().map(Box::new),
            run,
            step: 0,
            version: change.version.clone(),
        }
    };
    let lost = now.iter().rev().filter(|change| !is_in(then, change));
    let lost = lost.map(|change| entry(change, false, "has no row of it"));
    let regained = then.iter().filter(|change| !is_in(now, change));
    let regained = regained.map(|change| entry(change, true, "has its row"));
    let mut entries: Vec<BaselineAdopted> = lost.chain(regained).collect();
    entries.iter_mut().zip(0..).for_each(|(entry, step)| entry.step = step);
    entries
}

pub(crate) type Around<'a> = (&'a Environment, &'a Workspace, &'a Target);

/// A restored database beside the target.
struct Restored {
    name: String,
    oid: u32,
    schema: Snapshot,
    comment: String,
    tables: u64,
    rows: u64,
    schema_compared: bool,
}

async fn carry_out(
    (environment, workspace, target): Around<'_>,
    (options, confirm, gate): (&TargetRestoreOptions, &str, &RestoreGate),
    considered: Considered,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<TargetRestore, Failure> {
    let Considered { mut view, id, moments, spec } = considered;
    let began = Instant::now();
    let run = environment.ids.run();
    let settings = target.settings(workspace);
    let mut beside = swap::beside(&spec, &settings).await?;
    scratch::sweep(&mut beside, target).await;
    let name = format!("annals_restore_{}", run.0.simple());
    let prepared = prepare(
        (environment, workspace, target),
        (&mut beside, &spec),
        (id, &name, options.jobs),
        watcher,
        interrupt,
    );
    let restored = match prepared.await {
        Ok(restored) => restored,
        Err(failure) => {
            drop_database(&mut beside, &name).await;
            beside.close().await;
            return Err(failure);
        }
    };
    failpoint::hit("restore_prepared");
    let application = format!("annals/{run}");
    let opening = open::open(environment, workspace, target, &application, interrupt);
    let mut opened = match opening.await {
        Ok(opened) => opened,
        Err(failure) => {
            drop_database(&mut beside, &name).await;
            beside.close().await;
            return Err(failure);
        }
    };
    let back_to = moments.then.history.applied().last().map(|change| change.version.clone());
    let before = options.right.events(gate, run, back_to);
    view.notes.extend(gate.note(&target.name, run));
    let plan = Confirmed { confirm, id, moments, restored: &restored, run, before };
    let placed = place((environment, workspace, target), &mut opened, plan).await;
    let placed = match placed {
        Ok(placed) => placed,
        Err(failure) => {
            // Where its intent is recorded, the next command knows what this one does not.
            if opened.recovery().restoring.is_none() {
                drop_database(&mut beside, &name).await;
                opened.publish().await?;
            }
            beside.close().await;
            opened.close().await;
            return Err(failure);
        }
    };
    beside.close().await;
    opened.record_as_it_is(&target.name, Some(run), Vec::new()).await?;
    opened.publish().await?;
    opened.anchor(environment, workspace, target).await?;
    view.done = Some(RestoreDone {
        run,
        kept_as: Some(placed.kept_as),
        backup_before: None,
        ended: placed.ended,
        tables: restored.tables,
        rows: restored.rows,
        schema_compared: restored.schema_compared,
        us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        closed_us: placed.closed_us,
        log_size: opened.book().size,
        recovered: std::mem::take(&mut opened.recovered),
    });
    opened.close().await;
    Ok(view)
}

/// Authenticates the backup, restores it into a database beside the target, and compares.
async fn prepare(
    (environment, _, target): Around<'_>,
    (beside, spec): (&mut Session, &ConnectionSpec),
    (id, name, jobs): (BackupId, &str, usize),
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<Restored, Failure> {
    let store = target.backup_store()?;
    let key = KeyReader::new(environment, target).of_backup(&store, id).await?;
    let archive = read_all(target, id, &key, watcher, interrupt).await?;
    make(beside, target, &archive, name, name).await?;
    let settings = annals_postgres::SessionSettings { lock_timeout_ms: 0, ..Default::default() };
    let place = Place { spec: spec.with_database(name), settings, jobs, extent: Extent::Whole };
    let work = async {
        let Brought { comparison, .. } =
            into_database(target, &archive, id, &key, &place, watcher).await?;
        if !comparison.unequal.is_empty() {
            return Err(BackupTrouble::NotEqual(told(&comparison.unequal)).into());
        }
        let mut session = place.spec.connect("annals/restore", &settings).await?;
        // Without it the first queries are planned as if everything were empty.
        session.run("ANALYZE").await.map_err(ArchiveError::from)?;
        let schema = read_as_named(&mut session, &archive.manifest, &target.scope).await?;
        session.close().await;
        Ok::<_, Failure>((comparison, schema))
    };
    let (comparison, schema) = tokio::select! {
        biased;
        () = interrupt.wait() => return Err(Failure::Interrupted),
        done = work => done?,
    };
    let entry = beside.database_named(name).await.map_err(open::fault(target))?;
    let gone = || ArchiveError::Stopped(format!("the database {name} is gone"));
    Ok(Restored {
        name: name.to_owned(),
        oid: entry.ok_or_else(gone)?.oid,
        schema,
        comment: archive.manifest.comment_sql(name),
        tables: archive.manifest.tables.len() as u64,
        rows: archive.manifest.rows(),
        schema_compared: comparison.schema_compared,
    })
}

/// What is to be done, as it was confirmed.
struct Confirmed<'a> {
    confirm: &'a str,
    id: BackupId,
    moments: Moments,
    restored: &'a Restored,
    run: RunId,
    /// What is recorded before its intent.
    before: Vec<Event>,
}

struct Placed {
    kept_as: String,
    ended: Vec<String>,
    closed_us: u64,
}

/// Under the lock: looks again, records the intent, and lets the restored database take its place.
async fn place(
    around: Around<'_>,
    opened: &mut Opened<'_>,
    plan: Confirmed<'_>,
) -> Result<Placed, Failure> {
    let (environment, workspace, target) = around;
    let Confirmed { confirm, id, mut moments, restored, run, before } = plan;
    let live = opened.live_schema(&target.name).await?.fingerprint();
    check_confirmed(target, confirm, &live.to_string())?;
    moments.now.history.clone_from(opened.history());
    check_ledger(around, &opened.spec, restored, &moments.then).await?;
    let settings = target.settings(workspace);
    let mut stage = Stage::enter(&opened.spec, &settings).await?;
    stage.comment.clone_from(&restored.comment);
    let began = Instant::now();
    let work = async {
        let database = opened.spec.database().to_owned();
        let found = surroundings(&mut stage.session, target, &database).await?;
        let obstacles = [found.no_swap, found.no_renaming].concat();
        if !obstacles.is_empty() {
            let (target, reasons) = (target.name.clone(), obstacles);
            return Err(BackupTrouble::CannotTakePlace { target, reasons }.into());
        }
        let gone = || BackupTrouble::PlaceUnknown { database, run, found: "it is gone".into() };
        let entry = stage.target().await?.ok_or_else(gone)?;
        let keep_as = free_name(&mut stage.session, target, &entry.name, environment).await?;
        let Fingerprint { digest: after, server_major } = restored.schema.fingerprint();
        let restore = RestoreStarted {
            after,
            backup: id,
            before: live.digest,
            keep_as: Some(keep_as.clone()),
            log_size: moments.then.size,
            restored_oid: Some(restored.oid),
            run,
            scratch: Some(restored.name.clone()),
            server_major,
            target_oid: entry.oid,
        };
        let mut events = before;
        events.extend(intent(&restore, entries(&moments, id, run)));
        opened.record(events).await?;
        failpoint::hit("restore_announced");
        let guests =
            swap::take_place(environment, workspace, target, opened, &mut stage, &restore).await?;
        let ended = guests.iter().map(ToString::to_string).collect();
        Ok((keep_as, ended))
    };
    let placed: Result<_, Failure> = work.await;
    stage.close().await;
    let (kept_as, ended) = placed?;
    let closed_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    if restored.schema_compared {
        let (depth, result) = (BackupDepth::Restored, CheckOutcome::Passed);
        opened.record(vec![BackupVerified { backup: id, depth, result }.into()]).await?;
    }
    Ok(Placed { kept_as, ended, closed_us })
}

pub(crate) fn intent(restore: &RestoreStarted, entries: Vec<BaselineAdopted>) -> Vec<Event> {
    let words: Vec<String> = entries
        .iter()
        .map(|entry| format!("{} {} {}\n", entry.version, entry.ordinal, entry.holds))
        .collect();
    let plan =
        format!("annals restore 1\n{} {}\n{}", restore.backup, restore.before, words.concat());
    let started = RunStarted {
        direction: Direction::Down,
        plan: Digest::of(plan.as_bytes()),
        run: restore.run,
        steps: entries.len() as u64,
    };
    let begin = [started.into(), restore.clone().into()];
    begin.into_iter().chain(entries.into_iter().map(Event::from)).collect()
}

/// The ledger that comes with the backup is what the log says of that moment, row by row.
async fn check_ledger(
    (_, workspace, target): Around<'_>,
    spec: &ConnectionSpec,
    restored: &Restored,
    then: &Book,
) -> Result<(), Failure> {
    let settings = target.settings(workspace);
    let spec = spec.with_database(&restored.name);
    let mut session = spec.connect("annals/restore", &settings).await?;
    let ledger = open::read_ledger(&mut session, workspace).await;
    session.close().await;
    is_of_then(target, &ledger?, then)
}

/// Refuses a ledger that is not what the log says of that moment.
pub(crate) fn is_of_then(
    target: &Target,
    ledger: &[LedgerRow],
    then: &Book,
) -> Result<(), Failure> {
    let mismatches = compare_ledger(ledger, &then.history, &then.origin, then.size);
    if mismatches.is_empty() {
        return Ok(());
    }
    let of = |mismatch: &annals_integrity::LedgerMismatch| {
        let finding = mismatch.finding();
        format!(
            "the ledger in it is not what the log says of then: {}: {}",
            finding.subject, finding.evidence
        )
    };
    let (target, reasons) = (target.name.clone(), mismatches.iter().map(of).collect());
    Err(BackupTrouble::CannotTakePlace { target, reasons }.into())
}

/// `<database>_before_restore_<time>`, cut where it would be too long.
async fn free_name(
    session: &mut Session,
    target: &Target,
    database: &str,
    environment: &Environment,
) -> Result<String, Failure> {
    let digits: String =
        environment.clock.now().to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    for n in 1.. {
        let number = if n == 1 { String::new() } else { format!("_{n}") };
        let end = format!("_before_restore_{}_{}{number}", &digits[..8], &digits[8..]);
        let mut name = database.to_owned();
        while name.len() + end.len() > NAME_BYTES {
            name.pop();
        }
        let name = format!("{name}{end}");
        if session.database_named(&name).await.map_err(open::fault(target))?.is_none() {
            return Ok(name);
        }
    }
    unreachable!("invariant: some number is free")
}
