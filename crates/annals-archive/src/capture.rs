//! Takes a backup: one snapshot, several connections, one container.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{Receiver, sync_channel};

use annals_backup::{Receipt, SealedWriter};
use annals_postgres::sandbox::read_likeness;
use annals_postgres::{
    ConnectionSpec, DumpProgram, Fault, SchemaScope, Section, Session, SessionSettings,
    read_schema_inside,
};
use annals_schema::Snapshot;
use futures_util::future::try_join_all;

use crate::catalog::{Catalog, SETTINGS, Table, words};
use crate::contents::{self, Record, RecordKind};
use crate::error::ArchiveError;
use crate::large_objects::{COPY_OWNERS, COPY_PAGES};
use crate::manifest::{
    Content, DATABASE, DatabaseForm, Kind, LargeObjects, LogHead, Manifest, ServerState, TableEntry,
};
use crate::pieces::{Destination, Pieces, compressor, gone};
use crate::rows::RowSum;
use crate::sql::{Range, copy_out};
use crate::tables::TableName;
use crate::{Phase, Watcher};

/// How often a snapshot is taken anew because tables were rewritten before they could be locked.
const ATTEMPTS: u32 = 5;

/// A range of blocks is read without reading the rest since 14.
const READS_RANGES_SINCE: u32 = 14;

/// Blocks of one part of a table: 64 MiB.
const PART_BLOCKS: u64 = 8192;

/// Pieces that wait to be sealed, for each connection.
const WAITING: usize = 2;

const SNAPSHOT: &str = "SELECT pg_catalog.pg_export_snapshot(), \
    pg_catalog.pg_current_snapshot()::text, \
    (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
    ELSE pg_catalog.pg_current_wal_lsn() END)::text";

const ROLES: &str =
    "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY 1";

/// What is taken, from where, and by whom.
pub struct CaptureOptions<'a> {
    /// The backup's name.
    pub backup: String,
    /// How much.
    pub kind: Kind,
    /// Of [`Kind::Tables`]: which tables; of a partitioned one, all its partitions.
    pub tables: Vec<TableName>,
    /// When, RFC 3339.
    pub taken_at: String,
    /// Who, such as `annals 0.1.0`.
    pub tool: String,
    /// The log's head.
    pub log: Option<LogHead>,
    /// Where.
    pub spec: &'a ConnectionSpec,
    /// What sessions are set to.
    pub settings: SessionSettings,
    /// What belongs to the schema.
    pub scope: &'a SchemaScope,
    /// Schemas that are left out.
    pub excluded: Vec<String>,
    /// What writes the text of the schema.
    pub dump: &'a DumpProgram,
    /// Connections that copy rows at a time.
    pub jobs: usize,
}

/// A backup that was taken, and where it was written to.
#[derive(Debug)]
pub struct Captured<W> {
    /// What it holds.
    pub manifest: Manifest,
    /// The measures of its container.
    pub receipt: Receipt,
    /// The sink.
    pub sink: W,
}

/// What is known of the moment the snapshot was taken.
struct Moment {
    session: Session,
    exported: String,
    snapshot: String,
    lsn: String,
    catalog: Catalog,
    scope: Vec<String>,
}

/// Takes a backup into `writer`.
///
/// The sink holds a container that opens only when this has returned `Ok`; making it durable is the
/// caller's part.
///
/// # Errors
///
/// When anything cannot be read as it is, or not be written. See [`ArchiveError`].
pub async fn capture<W: Write + Send + 'static>(
    options: &CaptureOptions<'_>,
    writer: SealedWriter<W>,
    watcher: &mut dyn Watcher,
) -> Result<Captured<W>, ArchiveError> {
    watcher.begins(Phase::Schema, 0);
    let mut moment = begin(options).await?;
    // The very server the snapshot is of, where several are named.
    let spec = moment.session.spec().ok_or(ArchiveError::NoSpec)?;
    let (sender, receiver) = sync_channel::<Record>(WAITING * options.jobs.max(1));
    let sealer = std::thread::spawn(move || seal(writer, &receiver));
    let work = copy_all(options, &spec, &mut moment, &Destination::Sealed(sender), watcher).await;
    // With the last sender gone, the sealer ends; it knows best what went wrong with the sink.
    let sealed = tokio::task::spawn_blocking(move || sealer.join()).await;
    let sealed = sealed
        .map_err(|error| ArchiveError::Stopped(error.to_string()))?
        .map_err(|_| ArchiveError::Stopped("the thread that seals broke off".to_owned()))?;
    match (sealed, work) {
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(None), Ok(_)) => Err(gone()),
        (Ok(Some((sink, receipt))), Ok(manifest)) => {
            moment.session.close().await;
            Ok(Captured { manifest, receipt, sink })
        }
    }
}

/// Writes records as they come. Only behind the manifest the container is finished: whatever ends the
/// work before leaves one that no reader accepts.
fn seal<W: Write>(
    mut writer: SealedWriter<W>,
    records: &Receiver<Record>,
) -> Result<Option<(W, Receipt)>, ArchiveError> {
    contents::begin(&mut writer)?;
    for record in records {
        record.write(&mut writer)?;
        if record.kind == RecordKind::Manifest {
            return Ok(Some(writer.finish()?));
        }
    }
    Ok(None)
}

/// A snapshot in which nobody has rewritten a table that is copied, with all of them locked.
async fn begin(options: &CaptureOptions<'_>) -> Result<Moment, ArchiveError> {
    let mut session = options.spec.connect("annals/backup", &options.settings).await?;
    session.run(&settings(&session)).await?;
    let mut rewritten = Vec::new();
    for _ in 0..ATTEMPTS {
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let row = session.texts(SNAPSHOT).await?.into_iter().next().unwrap_or_default();
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || row.next().unwrap_or_default();
        let (exported, snapshot, lsn) = (next(), next(), next());
        let mut catalog = Catalog::read(&mut session, &options.excluded).await?;
        let mut scope = Vec::new();
        match options.kind {
            Kind::Full => {}
            Kind::Schema => catalog.tables.clear(),
            Kind::Data => catalog.leave_out_schema(),
            Kind::Tables => scope = catalog.keep_only(&mut session, &options.tables).await?,
        }
        catalog.check()?;
        rewritten = catalog.lock(&mut session).await?;
        if rewritten.is_empty() {
            return Ok(Moment { session, exported, snapshot, lsn, catalog, scope });
        }
        session.roll_back().await?;
    }
    Err(ArchiveError::Rewritten(rewritten))
}

/// What a session is set to for as long as the work may take.
fn settings(session: &Session) -> String {
    match session.facts().major() {
        17.. => format!("{SETTINGS}; SET transaction_timeout = 0"),
        _ => SETTINGS.to_owned(),
    }
}

async fn copy_all(
    options: &CaptureOptions<'_>,
    spec: &ConnectionSpec,
    moment: &mut Moment,
    to: &Destination,
    watcher: &mut dyn Watcher,
) -> Result<Manifest, ArchiveError> {
    let schema = read_schema_inside(&mut moment.session, options.scope).await?;
    let section = |section| {
        let timeout = options.settings.lock_timeout_ms;
        options.dump.section(spec, &moment.exported, section, &options.excluded, timeout)
    };
    // Both at once: they hold their locks on the same snapshot.
    let (before, behind) =
        futures_util::future::try_join(section(Section::PreData), section(Section::PostData))
            .await?;
    send(to, RecordKind::PreData, before.into_bytes()).await?;
    let behind = if options.kind == Kind::Data { Vec::new() } else { behind.into_bytes() };
    send(to, RecordKind::PostData, behind).await?;
    send(to, RecordKind::Schema, schema.to_stored().into_bytes()).await?;
    let sequences = moment.catalog.sequences(&mut moment.session).await?;
    let has_large = moment.catalog.large_objects > 0 && options.kind == Kind::Full;
    let mut owners = RowSum::default();
    if has_large {
        let mut pieces = Pieces::new(to.clone())?;
        owners = copy(
            &mut moment.session,
            COPY_OWNERS,
            RecordKind::LargeObjectOwners,
            &mut pieces,
            &|_| {},
        )
        .await?;
    }
    let tables: Vec<TableEntry> = moment.catalog.tables.iter().map(entry).collect();
    let tasks = tasks(&moment.catalog.tables, &moment.session, has_large);
    let bytes = moment.catalog.tables.iter().map(|table| table.bytes).sum();
    watcher.begins(Phase::Rows, bytes);
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
        moment.exported
    );
    let (settings, jobs) = (options.settings, options.jobs);
    let copies = Copies { spec, settings, begin: &begin, jobs, tables: &tables };
    let sums = copy_by_tasks(&copies, tasks, to, watcher).await?;
    let mut manifest = describe(options, moment, &schema, tables).await?;
    for (table, sum) in manifest.tables.iter_mut().zip(&sums.tables) {
        table.content = sum.content();
    }
    manifest.sequences = sequences;
    manifest.large_objects =
        has_large.then(|| LargeObjects { owners: owners.content(), pages: sums.pages.content() });
    let text = serde_json::to_vec(&manifest)
        .map_err(|error| ArchiveError::Malformed(error.to_string()))?;
    moment.session.roll_back().await?;
    send(to, RecordKind::Manifest, text).await?;
    Ok(manifest)
}

async fn send(to: &Destination, kind: RecordKind, raw: Vec<u8>) -> Result<(), ArchiveError> {
    let Destination::Sealed(to) = to.clone() else { return Ok(()) };
    let work = tokio::task::spawn_blocking(move || {
        let record = Record::pack(kind, &raw, &mut compressor()?)?;
        to.send(record).map_err(|_| gone())
    });
    work.await.map_err(|error| ArchiveError::Stopped(error.to_string()))?
}

fn entry(table: &Table) -> TableEntry {
    TableEntry {
        name: table.name.clone(),
        columns: table.columns.clone(),
        condition: table.condition.clone(),
        content: Content::default(),
    }
}

/// A piece of work for one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    /// A table's rows, or some of its blocks.
    Rows(usize, Option<Range>),
    /// Bytes of large objects.
    Pages,
}

/// All of it, the largest first.
fn tasks(tables: &[Table], session: &Session, has_large: bool) -> VecDeque<Task> {
    let reads_ranges = session.facts().major() >= READS_RANGES_SINCE;
    let mut sized: Vec<(u64, Task)> = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let splits = reads_ranges
            && table.is_heap
            && table.blocks > PART_BLOCKS
            && !table.columns.is_empty();
        if !splits {
            sized.push((table.bytes, Task::Rows(at, None)));
            continue;
        }
        let parts = table.blocks.div_ceil(PART_BLOCKS);
        for part in 0..parts {
            let from = part * PART_BLOCKS;
            // The last one has no end: the snapshot may know of blocks the size does not.
            let to = (part + 1 < parts).then_some(from + PART_BLOCKS);
            sized.push((table.bytes / parts, Task::Rows(at, Some((from, to)))));
        }
    }
    sized.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let pages = has_large.then_some(Task::Pages);
    pages.into_iter().chain(sized.into_iter().map(|(_, task)| task)).collect()
}

/// What was copied.
pub(crate) struct Sums {
    pub(crate) tables: Vec<RowSum>,
    pub(crate) pages: RowSum,
}

/// Whose rows are copied, and over what.
pub(crate) struct Copies<'a> {
    pub(crate) spec: &'a ConnectionSpec,
    pub(crate) settings: SessionSettings,
    /// What each connection begins with, so that all of them see the same rows.
    pub(crate) begin: &'a str,
    /// Connections at a time.
    pub(crate) jobs: usize,
    pub(crate) tables: &'a [TableEntry],
}

/// Carries out tasks over several connections.
pub(crate) async fn copy_by_tasks(
    copies: &Copies<'_>,
    tasks: VecDeque<Task>,
    to: &Destination,
    watcher: &mut dyn Watcher,
) -> Result<Sums, ArchiveError> {
    let Copies { spec, settings, begin, jobs, tables } = *copies;
    let mut sessions: Vec<Session> = Vec::new();
    for _ in 0..jobs.max(1).min(tasks.len()) {
        match open(spec, &settings, begin).await {
            Ok(session) => sessions.push(session),
            Err(error) if sessions.is_empty() => return Err(error),
            // The server has no room for more of them: fewer do it too.
            Err(error) => {
                tracing::warn!(%error, connections = sessions.len(), "goes on with fewer connections");
                break;
            }
        }
    }
    let sums = Sums { tables: vec![RowSum::default(); tables.len()], pages: RowSum::default() };
    let shared = (RefCell::new(tasks), RefCell::new(sums), RefCell::new(watcher));
    let (tasks, sums, watcher) = (&shared.0, &shared.1, &shared.2);
    let advances = &|bytes| watcher.borrow_mut().advances(bytes);
    let works = sessions.into_iter().map(|mut session| async move {
        let mut pieces = Pieces::new(to.clone())?;
        loop {
            let Some(task) = tasks.borrow_mut().pop_front() else { break };
            let (sql, kind) = match task {
                Task::Rows(at, range) => {
                    let number = u32::try_from(at).unwrap_or(u32::MAX);
                    (copy_out(&tables[at], range), RecordKind::Rows(number))
                }
                Task::Pages => (COPY_PAGES.to_owned(), RecordKind::LargeObjectPages),
            };
            let sum = copy(&mut session, &sql, kind, &mut pieces, advances).await?;
            let mut sums = sums.borrow_mut();
            match task {
                Task::Rows(at, _) => sums.tables[at].join(sum),
                Task::Pages => sums.pages.join(sum),
            }
        }
        session.close().await;
        Ok::<(), ArchiveError>(())
    });
    try_join_all(works).await?;
    Ok(shared.1.into_inner())
}

async fn open(
    spec: &ConnectionSpec,
    options: &SessionSettings,
    begin: &str,
) -> Result<Session, ArchiveError> {
    let mut session = spec.connect("annals/backup", options).await?;
    let sql = format!("{}; {begin}", settings(&session));
    // What is sent as one message is one transaction; the beginning of ours is another message.
    let (settings, begin) = sql.split_at(sql.len() - begin.len());
    session.run(settings.trim_end_matches("; ")).await?;
    session.run(begin).await?;
    Ok(session)
}

/// Copies rows out; memory is what `pieces` holds.
pub(crate) async fn copy(
    session: &mut Session,
    sql: &str,
    kind: RecordKind,
    pieces: &mut Pieces,
    advances: &dyn Fn(u64),
) -> Result<RowSum, ArchiveError> {
    pieces.begin(kind);
    let taken = session.copy_out(sql, async |row| {
        if pieces.take(row) {
            advances(pieces.send().await?);
        }
        Ok::<(), ArchiveError>(())
    });
    taken.await?;
    let (sum, bytes) = pieces.finish().await?;
    advances(bytes);
    Ok(sum)
}

/// Everything of the manifest but what was counted.
async fn describe(
    options: &CaptureOptions<'_>,
    moment: &mut Moment,
    schema: &Snapshot,
    tables: Vec<TableEntry>,
) -> Result<Manifest, ArchiveError> {
    let roles = words(&mut moment.session, ROLES).await?;
    let likeness = read_likeness(&mut moment.session).await?;
    let owner = words(&mut moment.session, DATABASE).await?.pop().unwrap_or_default();
    let owner = serde_json::from_str(&owner).map_err(|error| Fault::Protocol(error.to_string()))?;
    let facts = moment.session.facts();
    Ok(Manifest {
        format: options.kind.manifest_format(),
        backup: options.backup.clone(),
        kind: options.kind,
        taken_at: options.taken_at.clone(),
        tool: options.tool.clone(),
        pg_dump: options.dump.version().to_owned(),
        server: ServerState {
            major: facts.major(),
            version: facts.version.clone(),
            system_identifier: facts.identity.system_identifier.clone(),
            database: facts.identity.database.clone(),
            timeline: facts.identity.timeline,
            lsn: moment.lsn.clone(),
            snapshot: moment.snapshot.clone(),
        },
        log: options.log.clone(),
        schema_fingerprint: schema.fingerprint().to_string(),
        schema_objects: schema.iter().count() as u64,
        scope: std::mem::take(&mut moment.scope),
        excluded_schemas: options.excluded.clone(),
        tables,
        sequences: Vec::new(),
        large_objects: None,
        not_included: std::mem::take(&mut moment.catalog.not_included),
        roles,
        database: DatabaseForm::of(likeness, owner),
    })
}
