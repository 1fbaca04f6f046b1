//! `restore --tables`: which rows of a backup the target does not have, and, once its fingerprint was
//! typed, those rows back by their key.

use std::time::{Duration, Instant};

use annals_archive::{
    Allowed, Archive, ArchiveError, Extent, Kind, PutBack, RestoreOptions as Into, RowDifferences,
    RowSearch, TableForm, TableName, TablePair, Watcher, compare_rows, find_rows,
    obstacles_in_target, pair, parse_table_names, put_back, restore as bring_back, stage_rows,
    table_form, tables_named,
};
use annals_events::{
    BackupId, Digest, Direction, RestoredTable, RowsRestoreStarted, RowsRestored, RowsWanted,
    RunFinished, RunId, RunOutcome, RunStarted, Timestamp,
};
use annals_executor::{Interrupt, failpoint, lost_to_others};
use annals_postgres::{ConnectionSpec, Fault, Session, SessionSettings, read_schema};
use serde_json::Value;

use crate::backup_keys::KeyReader;
use annals_projections::BackupCatalog;

use crate::backups::{
    Around, BackupTrouble, container_id, public_manifest, read_all, resolve, rows_newest_first,
};
use crate::environment::Environment;
use crate::error::{Failure, TargetFailure};
use crate::open::{self, Opened, Recovered};
use crate::restore::{drop_database, make, told};
use crate::restore_gate::{self, RestoreGate, RestoreRight};
use crate::restore_in_place::{ASKED, ask_again};
use crate::restore_target::check_confirmed;
use crate::scratch;
use crate::swap;
use crate::targets::Target;
use crate::workspace::Workspace;

pub use annals_archive::KeysFound;
pub use annals_events::RowsWanted as WantedRows;

/// The pause before a transaction that lost against others is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest reason an event holds, in characters.
const REASON_CHARACTERS: usize = 1000;

/// Which rows are to come back from where.
#[derive(Debug, Clone)]
pub struct RowsRestoreOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// Which backup.
    pub backup: String,
    /// The tables, with commas between them.
    pub tables: String,
    /// Which rows.
    pub rows: RowsWanted,
    /// Only the columns that both sides have as they are.
    pub common_columns: bool,
    /// Triggers of the target fire.
    pub fire_triggers: bool,
    /// The fingerprint of the target's schema as it was shown, or its first twelve digits; without it
    /// everything is only shown.
    pub confirm: Option<String>,
    /// By which right.
    pub right: RestoreRight,
    /// Connections at a time.
    pub jobs: usize,
}

/// A table in the backup and in the target.
#[derive(Debug, Clone)]
pub struct TableRows {
    /// How it differs.
    pub rows: RowDifferences,
    /// What its rows are told apart by, such as `(id)`.
    pub key: String,
    /// Whether that is the primary key.
    pub is_primary: bool,
    /// Columns of the backup that stay in it.
    pub left_out: Vec<String>,
    /// Triggers that would fire.
    pub triggers: Vec<String>,
}

/// What it would come to, and what it came to.
#[derive(Debug, Clone)]
pub struct RowsRestore {
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
    /// The fingerprint of the target's schema: what confirms.
    pub fingerprint: String,
    /// Which rows are to come back.
    pub wanted: RowsWanted,
    /// The tables; none where something is in the way.
    pub tables: Vec<TableRows>,
    /// What should be known besides.
    pub notes: Vec<String>,
    /// Why it cannot be done; nothing if it can.
    pub obstacles: Vec<String>,
    /// What was done.
    pub done: Option<RowsRestoreDone>,
}

/// Rows that came back.
#[derive(Debug, Clone)]
pub struct RowsRestoreDone {
    /// The run that did it.
    pub run: RunId,
    /// How many, table by table.
    pub tables: Vec<RestoredTable>,
    /// How long it took, in microseconds.
    pub us: u64,
    /// For how long nobody else could write to these tables, in microseconds.
    pub locked_us: u64,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
}

impl RowsRestore {
    /// Rows that would come back.
    pub fn rows(&self) -> u64 {
        let of = |table: &TableRows| match self.wanted {
            RowsWanted::Missing => table.rows.missing.rows,
            RowsWanted::Changed => table.rows.changed.rows,
            RowsWanted::All => table.rows.missing.rows + table.rows.changed.rows,
        };
        self.tables.iter().map(of).sum()
    }
}

/// What a look at log and target gives.
struct Considered {
    view: RowsRestore,
    id: BackupId,
    spec: ConnectionSpec,
    tables: Vec<TableForm>,
}

/// Shows which rows of some tables a backup has and the target does not, and puts them back where that
/// was confirmed.
///
/// The backup is authenticated to its end, and the rows of these tables are restored into a scratch
/// database beside the target, compared with the manifest, and then with the target, row by row. Rows
/// come back in one transaction. Nothing that only the target has is ever deleted. The scratch database
/// is dropped whatever happens.
///
/// # Errors
///
/// When something is in the way, or the fingerprint is another one: then nothing was changed.
pub async fn restore_rows(
    environment: &Environment,
    options: &RowsRestoreOptions,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<RowsRestore, Failure> {
    let names = parse_table_names(&options.tables)
        .map_err(|reason| Failure::Argument { subject: "--tables".to_owned(), reason })?;
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let around = Around { environment, workspace: &workspace, target: &target };
    let began = Instant::now();
    let mut considered = consider(around, options, &names).await?;
    let gate = match &options.confirm {
        Some(confirm) => {
            check_confirmed(&target, confirm, &considered.view.fingerprint)?;
            restore_gate::clear(&workspace, &target, &options.right)?
        }
        None => {
            considered.view.notes.extend(restore_gate::told(&workspace, &target));
            RestoreGate::default()
        }
    };
    if !considered.view.obstacles.is_empty() {
        return in_the_way(&target, options, considered.view);
    }
    let settings = target.settings(&workspace);
    let mut beside = swap::beside(&considered.spec, &settings).await?;
    scratch::sweep(&mut beside, &target).await;
    let run = environment.ids.run();
    let name = format!("annals_restore_{}", run.0.simple());
    let work = with_scratch(
        around,
        (options, &gate),
        considered,
        (&mut beside, &name, run),
        watcher,
        interrupt,
    );
    let done = work.await;
    drop_database(&mut beside, &name).await;
    beside.close().await;
    let mut view = done?;
    if let Some(done) = &mut view.done {
        done.us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    }
    match view.obstacles.is_empty() {
        true => Ok(view),
        false => in_the_way(&target, options, view),
    }
}

/// What is in the way is shown; it is an error where it was to be done.
fn in_the_way(
    target: &Target,
    options: &RowsRestoreOptions,
    view: RowsRestore,
) -> Result<RowsRestore, Failure> {
    match options.confirm {
        None => Ok(view),
        Some(_) => {
            let (target, reasons) = (target.name.clone(), view.obstacles);
            Err(BackupTrouble::CannotPutBack { target, reasons }.into())
        }
    }
}

/// Looks at log and target. Nothing is written, no lock is taken, no key is needed.
async fn consider(
    Around { environment, workspace, target }: Around<'_>,
    options: &RowsRestoreOptions,
    names: &[TableName],
) -> Result<Considered, Failure> {
    let look = open::look(environment, workspace, target, "annals/restore").await?;
    look.session.close().await;
    open::refuse_unsettled_restore(target, &look.book)?;
    let latest = options.backup.eq_ignore_ascii_case("latest");
    let id = match latest_with_rows(target, &look.book.backups, names).await?.filter(|_| latest) {
        Some(id) => id,
        None => resolve(target, &look.book.backups, &options.backup).await?,
    };
    let Some(recorded) = look.book.backups.get(id).cloned() else {
        let (target, reason) = (target.name.clone(), "the log does not know it".to_owned());
        return Err(BackupTrouble::CannotPutBack { target, reasons: vec![reason] }.into());
    };
    let public = public_manifest(target, &recorded.manifest).await?;
    let mut obstacles = Vec::new();
    if recorded.kind == Kind::Schema.as_str() {
        obstacles.push("the backup holds the schema only: there are no rows in it".to_owned());
    }
    let mut session = look.spec.connect("annals/restore", &target.settings(workspace)).await?;
    let fault = open::fault(target);
    let schema = read_schema(&mut session, &target.scope).await.map_err(&fault)?;
    let mut tables: Vec<TableForm> = Vec::new();
    for name in names {
        let found = tables_named(&mut session, name).await.map_err(&fault)?;
        match found.as_slice() {
            [one] => {
                let form = table_form(&mut session, one).await.map_err(&fault)?;
                tables.extend(form.filter(|form| tables.iter().all(|it| it.name != form.name)));
            }
            [] => obstacles.push(format!(
                "the target has no table {name}: bring the backup beside it (annals restore <backup> --into \
                 <database>) and take the table from there"
            )),
            several => obstacles.push(format!(
                "{name} may be any of {}: name its schema too",
                several.join(", ")
            )),
        }
    }
    session.close().await;
    let allowed = allowed(options);
    obstacles.extend(tables.iter().flat_map(|table| obstacles_in_target(table, allowed)));
    let age_us = environment.clock.now().micros() - recorded.at.micros();
    let view = RowsRestore {
        target: target.name.clone(),
        database: look.spec.database().to_owned(),
        backup: id.to_string(),
        taken_at: recorded.at,
        age_us: u64::try_from(age_us).unwrap_or_default(),
        fingerprint: schema.fingerprint().to_string(),
        wanted: options.rows,
        tables: Vec::new(),
        notes: notes(&tables, options, &public),
        obstacles,
        done: None,
    };
    Ok(Considered { view, id, spec: look.spec, tables })
}

/// The newest backup that holds rows of these tables, as far as their names say.
async fn latest_with_rows(
    target: &Target,
    catalog: &BackupCatalog,
    names: &[TableName],
) -> Result<Option<BackupId>, Failure> {
    for (id, backup) in rows_newest_first(target, catalog).await? {
        let holds = match backup.kind.as_str() {
            "full" | "data" => true,
            "tables" => {
                let public = public_manifest(target, &backup.manifest).await?;
                let scope = public["scope"].as_array().into_iter().flatten();
                let tables = public["tables"].as_array().into_iter().flatten();
                let held: Vec<&str> = scope
                    .chain(tables.map(|table| &table["name"]))
                    .filter_map(Value::as_str)
                    .collect();
                names.iter().all(|name| held.iter().any(|table| name.may_mean(table)))
            }
            _ => false,
        };
        if holds {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

const fn allowed(options: &RowsRestoreOptions) -> Allowed {
    let RowsRestoreOptions { rows, common_columns, fire_triggers: triggers, .. } = *options;
    Allowed { rows, common_columns, triggers }
}

/// What is to be known of these tables whatever is in them.
fn notes(tables: &[TableForm], options: &RowsRestoreOptions, public: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    for table in tables {
        let others = table.references().iter();
        let others: Vec<&str> = others
            .map(String::as_str)
            .filter(|name| tables.iter().all(|table| table.name != *name))
            .collect();
        if !others.is_empty() {
            notes.push(format!(
                "{} refers to {}: if rows of that are missing too, name it as well",
                table.name,
                others.join(", ")
            ));
        }
        let triggers = table.triggers();
        if !triggers.is_empty() {
            let what = match options.fire_triggers {
                true => "fire for every row that comes back",
                false => "do not fire for rows that come back (--fire-triggers lets them)",
            };
            notes.push(format!("triggers {what}: {}", triggers.join(", ")));
        }
    }
    if public["large_objects"].is_object() {
        notes.push("large objects are not put back with rows that name them".to_owned());
    }
    notes
}

/// Everything for which a scratch database is needed. Whoever calls it drops that.
async fn with_scratch(
    around: Around<'_>,
    (options, gate): (&RowsRestoreOptions, &RestoreGate),
    considered: Considered,
    (beside, name, run): (&mut Session, &str, RunId),
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<RowsRestore, Failure> {
    let Around { environment, workspace, target } = around;
    let Considered { mut view, id, spec, tables } = considered;
    let store = target.backup_store()?;
    let key = KeyReader::new(environment, target).of_backup(&store, id).await?;
    let archive = read_all(target, id, &key, watcher, interrupt).await?;
    make(beside, target, &archive, name, name).await?;
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
    let scratch = spec.with_database(name);
    let place = (&scratch, &settings, options.jobs);
    let work = async {
        let source =
            target.backup_store()?.open(&id.to_string()).await.map_err(ArchiveError::from)?;
        let (only, jobs) = (Some(names.as_slice()), options.jobs);
        let (extent, platform) = (Extent::Tables, target.platform.schemas_sql());
        let into = Into { spec: &scratch, settings, jobs, only, extent, platform };
        let restored = bring_back(&archive, source, key, container_id(id), &into, watcher).await?;
        let unequal = compare_rows(&archive, &scratch, &settings, &restored.chosen, jobs).await?;
        if !unequal.is_empty() {
            return Err(BackupTrouble::NotEqual(told(&unequal)).into());
        }
        let pairs = match pairs(&archive, tables, allowed(options), place).await? {
            Ok(pairs) => pairs,
            Err(obstacles) => return Ok(Err(obstacles)),
        };
        let search = find_rows(&scratch, &spec, &settings, pairs, watcher).await?;
        Ok::<_, Failure>(Ok(search))
    };
    let searched = tokio::select! {
        biased;
        () = interrupt.wait() => return Err(Failure::Interrupted),
        done = work => done?,
    };
    let search = match searched {
        Ok(search) => search,
        Err(obstacles) => {
            view.obstacles = obstacles;
            return Ok(view);
        }
    };
    view.tables = search.pairs.iter().zip(&search.found).map(shown).collect();
    let Some(confirm) = options.confirm.as_deref().filter(|_| view.rows() > 0) else {
        search.close().await;
        return Ok(view);
    };
    failpoint::hit("rows_restore_prepared");
    let application = format!("annals/{run}");
    let mut opened = open::open(environment, workspace, target, &application, interrupt).await?;
    view.notes.extend(gate.note(&target.name, run));
    let intent = Intent { id, run, options, gate, archive: &archive, confirm };
    let written = carry_out(around, &mut opened, search, &intent).await;
    let (put, locked_us) = match written {
        Ok(written) => written,
        Err(failure) => {
            // Where the outcome is not known, the next command finds out.
            if opened.recovery().restoring_rows.is_none() {
                opened.publish().await?;
            }
            opened.close().await;
            return Err(failure);
        }
    };
    opened.publish().await?;
    opened.anchor(environment, workspace, target).await?;
    view.notes.extend(put.notes);
    view.done = Some(RowsRestoreDone {
        run,
        tables: put.tables,
        us: 0,
        locked_us,
        log_size: opened.book().size,
        recovered: std::mem::take(&mut opened.recovered),
    });
    opened.close().await;
    Ok(view)
}

fn shown((pair, rows): (&TablePair, &RowDifferences)) -> TableRows {
    TableRows {
        rows: rows.clone(),
        key: pair.key(),
        is_primary: pair.is_primary(),
        left_out: pair.left_out.clone(),
        triggers: pair.target.triggers(),
    }
}

/// Puts the tables of both sides together, or says everything that is in the way.
async fn pairs(
    archive: &Archive,
    tables: Vec<TableForm>,
    allowed: Allowed,
    (spec, settings, _): (&ConnectionSpec, &SessionSettings, usize),
) -> Result<Result<Vec<TablePair>, Vec<String>>, Failure> {
    let mut session = spec.connect("annals/restore", settings).await?;
    let (mut pairs, mut obstacles) = (Vec::new(), Vec::new());
    for table in tables {
        let name = table.name.clone();
        let form = table_form(&mut session, &name).await.map_err(ArchiveError::from)?;
        let Some(form) = form else {
            obstacles.push(format!("{name} was not there when the backup was taken"));
            continue;
        };
        if !archive.manifest.has_rows_of(&name) && !form.is_partitioned() {
            obstacles.push(format!("the rows of {name} are not in the backup"));
            continue;
        }
        match pair(table, form, allowed) {
            Ok(pair) => pairs.push(pair),
            Err(reasons) => obstacles.extend(reasons),
        }
    }
    session.close().await;
    Ok(if obstacles.is_empty() { Ok(pairs) } else { Err(obstacles) })
}

/// What is about to be done.
struct Intent<'a> {
    id: BackupId,
    run: RunId,
    options: &'a RowsRestoreOptions,
    gate: &'a RestoreGate,
    archive: &'a Archive,
    confirm: &'a str,
}

/// Under the lock: looks again, records the intent, and puts the rows back with the row that says so.
async fn carry_out(
    Around { environment, workspace, target }: Around<'_>,
    opened: &mut Opened<'_>,
    mut search: RowSearch,
    intent: &Intent<'_>,
) -> Result<(PutBack, u64), Failure> {
    let Intent { id, run, options, gate, archive, confirm } = *intent;
    let live = opened.live_schema(&target.name).await?.fingerprint();
    check_confirmed(target, confirm, &live.to_string())?;
    opened.session.install_ledger().await.map_err(TargetFailure::from)?;
    opened.session.make_restored_rows().await.map_err(open::fault(target))?;
    stage_rows(&mut search, &mut opened.session, options.rows).await?;
    let tables: Vec<String> = search.pairs.iter().map(|pair| pair.target.name.clone()).collect();
    let plan = format!("annals rows 1\n{id} {}\n{}\n{live}", options.rows, tables.join("\n"));
    let (direction, plan) = (Direction::Up, Digest::of(plan.as_bytes()));
    let started = RunStarted { direction, plan, run, steps: 0 };
    let rows = RowsRestoreStarted { backup: id, rows: options.rows, run, tables };
    let mut events = options.right.events(gate, run, None);
    events.extend([started.into(), rows.into()]);
    opened.record(events).await?;
    failpoint::hit("rows_restore_announced");
    let limit = target.settings(workspace).lock_timeout_ms;
    let (began, mut attempt) = (Instant::now(), 0);
    let written = loop {
        let locked = Instant::now();
        let session = &mut opened.session;
        let written = write(session, target, (&search, archive, intent), limit).await;
        let us = u64::try_from(locked.elapsed().as_micros()).unwrap_or(u64::MAX);
        let failure = match written {
            Ok(put) => break Ok((put, us)),
            Err(failure) => failure,
        };
        let fault = fault_of(&failure);
        if fault.is_some_and(Fault::ends_session) {
            match ask_again((environment, workspace, target), opened, run).await {
                Ok(Some(tables)) => {
                    break Ok((PutBack { tables, notes: vec![ASKED.to_owned()] }, us));
                }
                Ok(None) => break Err(failure),
                Err(error) => {
                    tracing::warn!(
                        "whether the rows came back is not known ({error}): annals status finds out"
                    );
                    return Err(failure);
                }
            }
        }
        let is_lost = fault.is_some_and(|fault| lost_to_others(fault.code()));
        let patience = opened.patience;
        // Whatever the transaction did is undone; what was staged is still there.
        opened.session.roll_back().await.map_err(open::fault(target))?;
        let is_long = patience.max_blocked_ms > 0
            && began.elapsed() > Duration::from_millis(patience.max_blocked_ms);
        if !is_lost || attempt >= patience.retries || is_long {
            break Err(failure);
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    };
    search.close().await;
    failpoint::hit("rows_restore_committed");
    let ended = |outcome, reason| RunFinished { outcome, reason, run, steps_done: 0 };
    match written {
        Ok((put, us)) => {
            let restored = RowsRestored { backup: id, run, tables: put.tables.clone() };
            let finished = ended(RunOutcome::Succeeded, None);
            opened.record(vec![restored.into(), finished.into()]).await?;
            failpoint::hit("rows_restore_recorded");
            opened.session.reset().await.map_err(open::fault(target))?;
            Ok((put, us))
        }
        Err(failure) => {
            let reason = failure.to_string().chars().take(REASON_CHARACTERS).collect();
            opened.record(vec![ended(RunOutcome::Failed, Some(reason)).into()]).await?;
            opened.session.reset().await.map_err(open::fault(target))?;
            Err(failure)
        }
    }
}

/// One attempt, up to its commit.
async fn write(
    session: &mut Session,
    target: &Target,
    (search, archive, intent): (&RowSearch, &Archive, &Intent<'_>),
    lock_timeout_ms: u64,
) -> Result<PutBack, Failure> {
    let allowed = allowed(intent.options);
    let put = put_back(search, session, &archive.manifest, allowed, lock_timeout_ms).await?;
    let (run, origin) = (intent.run, target.origin.as_str());
    let told = session.insert_restored_rows(run, origin, intent.id, &put.tables).await;
    told.map_err(ArchiveError::from)?;
    failpoint::hit("rows_restore_written");
    session.commit().await.map_err(ArchiveError::from)?;
    Ok(put)
}

fn fault_of(failure: &Failure) -> Option<&Fault> {
    match failure {
        Failure::Backup(BackupTrouble::Archive(
            ArchiveError::Fault(fault) | ArchiveError::Refused { fault, .. },
        )) => Some(fault),
        _ => None,
    }
}
