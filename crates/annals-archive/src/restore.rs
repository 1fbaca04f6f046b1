//! Brings a backup into an empty database.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use annals_backup::{BackupId, KeyEncryptionKey};
use annals_postgres::{ConnectionSpec, Fault, Session, SessionSettings};
use futures_util::future::try_join_all;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::attached::attached;
use crate::catalog::literal;
use crate::contents::{Record, RecordKind};
use crate::error::ArchiveError;
use crate::large_objects::{
    CREATE_ALL, MAKE_OWNERS_TABLE, MAKE_PAGES_TABLE, OWN_ALL, OWNERS_TABLE, PAGES_TABLE, PUT_PAGES,
};
use crate::manifest::{Kind, Manifest, SequenceState};
use crate::platform::{make_bare, make_platform};
use crate::read::{Archive, unseal};
use crate::sections::{
    ATTACHED, POST_DATA, PRE_DATA, Sorted, Statement, cut, is_about_owners, make_side_by_side,
    referred_to, schema_of, send, sort, statements_of,
};
use crate::sql::copy_in;
use crate::tables::leaves_of;
use crate::{Phase, Watcher};

/// What sessions are set to that restore. What `pg_dump` sets at the head of a section is set here,
/// because sections are sent over several sessions.
pub(crate) const SETTINGS: &str = "SET search_path = ''; SET row_security = off; SET DateStyle = 'ISO'; \
    SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET client_encoding = 'UTF8'; \
    SET xmloption = 'content'; SET check_function_bodies = false; SET statement_timeout = 0; \
    SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
    SET client_min_messages = warning; SET synchronous_commit = off; \
    SET maintenance_work_mem = '256MB'; SET standard_conforming_strings = on";

/// Pieces that wait to be loaded, for each connection.
const WAITING: usize = 2;

/// Where a backup is restored to, and with what.
pub struct RestoreOptions<'a> {
    /// The empty database, as a role that may give what is in it to its owners.
    pub spec: &'a ConnectionSpec,
    /// What sessions are set to.
    pub settings: SessionSettings,
    /// Connections that load rows at a time.
    pub jobs: usize,
    /// Only the rows of these tables, as SQL spells them, and none of what comes behind rows: no index,
    /// no constraint, no trigger. All of it where there is nothing.
    pub only: Option<&'a [String]>,
    /// To what extent it is the database of before.
    pub extent: Extent,
    /// SQL for schemas that the platform manages and the backup leaves out, statement by statement. What
    /// the server refuses of it is left out.
    pub platform: &'a str,
}

/// To what extent a restored database is the one of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it. What the server refuses ends the restore.
    Whole,
    /// Without what takes a right this role does not have: it is told. On a managed platform no role of
    /// a project may do everything, and yet rows and tables are all there.
    AsAllowed,
    /// Tables, without owners and rights, and as much besides as the server lets this role make: for who only
    /// looks at rows.
    Tables,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The tables whose rows were restored, by their place in the manifest.
    pub chosen: BTreeSet<usize>,
    /// Tables.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
    /// Statements of the schema.
    pub statements: u64,
    /// What was left out because this role may not do it, each with the server's words.
    pub left_out: Vec<String>,
}

/// Restores a container that was read through before, from `source` once more.
///
/// Everything is authenticated a second time as it passes; what `archive` says was found in the first
/// pass must be found again. Where this fails, the database is of no use.
///
/// # Errors
///
/// When the container is not the one that was read, or the database refuses something.
pub async fn restore<R: Read + Send + 'static>(
    archive: &Archive,
    source: R,
    keys: Arc<Vec<KeyEncryptionKey>>,
    backup: BackupId,
    options: &RestoreOptions<'_>,
    watcher: &mut dyn Watcher,
) -> Result<Restored, ArchiveError> {
    let manifest = &archive.manifest;
    let mut reading = Reading::begin(archive, (source, keys, backup), options.jobs);
    let loaded = load(manifest, &mut reading.records, options, watcher).await;
    let read = reading.end().await;
    let Loaded { mut session, behind, statements, chosen, mut left_out } = match (read, loaded) {
        (Err(error), _) => return Err(error),
        (Ok(()), loaded) => loaded?,
    };
    if options.only.is_none() {
        watcher.begins(Phase::Indexes, 0);
        let Sorted { side_by_side, in_order } = sort(behind);
        let mut sessions = vec![session];
        connect_more(&mut sessions, side_by_side.len(), options).await;
        make_side_by_side(&mut sessions, side_by_side).await?;
        session = sessions.swap_remove(0);
        for other in sessions {
            other.close().await;
        }
        send_as(&mut session, &in_order, POST_DATA, options.extent, &mut left_out).await?;
        let (there, _) =
            attached(&mut session, &archive.schema, &manifest.excluded_schemas).await?;
        let sql = there.into_iter().flat_map(|it| it.sql).collect();
        send_as(&mut session, &statements_of(sql), ATTACHED, options.extent, &mut left_out).await?;
    }
    session.close().await;
    let rows = chosen.iter().map(|at| manifest.tables[*at].content.rows).sum();
    Ok(Restored { tables: chosen.len() as u64, rows, statements, chosen, left_out })
}

/// A container that is read once more, on a thread of its own.
pub(crate) struct Reading {
    pub(crate) records: mpsc::Receiver<Record>,
    reads: JoinHandle<Result<(), ArchiveError>>,
}

impl Reading {
    pub(crate) fn begin<R: Read + Send + 'static>(
        archive: &Archive,
        (source, keys, backup): (R, Arc<Vec<KeyEncryptionKey>>, BackupId),
        jobs: usize,
    ) -> Self {
        let (to_us, records) = mpsc::channel::<Record>(WAITING * jobs.max(1));
        let expected = archive.receipt;
        let reads = tokio::task::spawn_blocking(move || {
            let mut records = unseal(source, &keys, backup)?;
            while let Some(record) = records.next()? {
                // What has become of who takes it is said by itself.
                if to_us.blocking_send(record).is_err() {
                    return Ok(());
                }
            }
            match records.into_source().finish()? == expected {
                true => Ok(()),
                false => {
                    Err(ArchiveError::NotAsSaid("it was replaced while it was read".to_owned()))
                }
            }
        });
        Self { records, reads }
    }

    /// Whether it was the container that was read before; with nobody to take records, the thread ends.
    pub(crate) async fn end(self) -> Result<(), ArchiveError> {
        drop(self.records);
        self.reads.await.map_err(|error| ArchiveError::Stopped(error.to_string()))?
    }
}

/// Sends statements. Where not everything is to be had, one at a time: what this role may not do is left out,
/// and what needs something that was left out. There is no table without which its rows could be.
async fn send_as(
    session: &mut Session,
    statements: &[Statement],
    name: &str,
    extent: Extent,
    left_out: &mut Vec<String>,
) -> Result<(), ArchiveError> {
    if extent == Extent::Whole {
        return send(session, statements, name).await;
    }
    for statement in statements {
        match send(session, std::slice::from_ref(statement), name).await {
            Err(ArchiveError::Refused { fault, .. })
                if !makes_table(&statement.sql)
                    && (is_forbidden(&fault) || !left_out.is_empty() && is_missing(&fault)) =>
            {
                left_out.push(told(&statement.sql, &fault));
            }
            sent => sent?,
        }
    }
    Ok(())
}

/// Whether the server has said that this role may not.
fn is_forbidden(fault: &Fault) -> bool {
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    fault.code() == Some(INSUFFICIENT_PRIVILEGE)
}

fn makes_table(sql: &str) -> bool {
    sql.starts_with("CREATE TABLE ") || sql.starts_with("CREATE UNLOGGED TABLE ")
}

/// Whether the server does not know what a statement refers to.
fn is_missing(fault: &Fault) -> bool {
    // A schema, a column, a function, a table, and any other object.
    matches!(fault.code(), Some("3F000" | "42703" | "42883" | "42P01" | "42704"))
}

/// The beginning of a statement, on one line, and what the server said of it.
fn told(sql: &str, fault: &Fault) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let line = words.join(" ");
    let begins: String = line.trim_end_matches(';').chars().take(100).collect();
    format!("{begins}: {fault}")
}

/// Whether a statement makes a foreign key to a table of a schema that is not in the backup, such as Supabase's
/// `auth.users`.
fn is_outward(statement: &Statement, excluded: &[String]) -> bool {
    let schema = referred_to(&statement.sql).and_then(schema_of);
    schema.is_some_and(|schema| excluded.contains(&schema))
}

/// Makes foreign keys to what is not in the backup while there are no rows: the rows they refer to may be
/// missing here, and nothing could make the keys behind the rows. Says whether some of them are there, so
/// that rows must not be checked.
async fn make_outward(
    session: &mut Session,
    keys: &[Statement],
    manifest: &Manifest,
    extent: Extent,
    left_out: &mut Vec<String>,
) -> Result<bool, ArchiveError> {
    if keys.is_empty() {
        return Ok(false);
    }
    // Rows that refer to nothing are let in by a session that may look away.
    let look_away = "SET session_replication_role = replica; RESET session_replication_role";
    let allowed = match manifest.rows() {
        0 => Ok(()),
        _ => session.run(look_away).await,
    };
    match allowed {
        Ok(()) => {}
        Err(fault) if extent != Extent::Whole && is_forbidden(&fault) => {
            left_out.extend(keys.iter().map(|key| told(&key.sql, &fault)));
            return Ok(false);
        }
        Err(fault) => {
            let what = "rows whose foreign keys refer to what is not in the backup";
            return Err(refused(what)(fault));
        }
    }
    let before = left_out.len();
    send_as(session, keys, POST_DATA, extent, left_out).await?;
    let are_made = left_out.len() - before < keys.len();
    let tables: BTreeSet<&str> = keys.iter().filter_map(|key| referred_to(&key.sql)).collect();
    let tables: Vec<&str> = tables.into_iter().collect();
    if are_made {
        tracing::warn!(
            "foreign keys to {} were made and not checked: those tables are not in the backup",
            tables.join(", ")
        );
    }
    Ok(are_made)
}

/// A database without what comes behind the rows.
struct Loaded {
    session: Session,
    /// What comes behind the rows, and is not there yet.
    behind: Vec<Statement>,
    /// Statements of the schema, those behind the rows among them.
    statements: u64,
    chosen: BTreeSet<usize>,
    left_out: Vec<String>,
}

async fn choose(
    session: &mut Session,
    manifest: &Manifest,
    only: Option<&[String]>,
) -> Result<BTreeSet<usize>, ArchiveError> {
    let Some(only) = only else { return Ok((0..manifest.tables.len()).collect()) };
    let mut chosen = BTreeSet::new();
    for name in only {
        let leaves = leaves_of(session, name).await?;
        let place = |leaf| manifest.tables.iter().position(|table| table.name == leaf);
        chosen.extend(leaves.into_iter().filter_map(place));
    }
    Ok(chosen)
}

/// Makes as much as the server lets this role make in a database that was not prepared as its platform prepares
/// one. What counts is that the tables are there.
async fn make_tables(
    session: &mut Session,
    manifest: &Manifest,
    statements: &[Statement],
    only: Option<&[String]>,
) -> Result<BTreeSet<usize>, ArchiveError> {
    let mut first = None;
    for statement in statements {
        match send(session, std::slice::from_ref(statement), PRE_DATA).await {
            Ok(()) => {}
            Err(ArchiveError::Refused { what, fault }) if fault.is_verdict() => {
                tracing::debug!(%what, %fault, "is left out");
                first.get_or_insert(ArchiveError::Refused { what, fault });
            }
            Err(error) => return Err(error),
        }
    }
    let mut missing = Vec::new();
    for table in only.unwrap_or_default() {
        let sql = format!("SELECT pg_catalog.to_regclass({})::text", literal(table));
        let found = session.texts(&sql).await?;
        if !found.into_iter().flatten().any(|name| name.is_some()) {
            missing.push(table.clone());
        }
    }
    match (missing.is_empty(), first) {
        (false, Some(refused)) => Err(refused),
        _ => choose(session, manifest, only).await,
    }
}

/// Everything but what comes behind the rows.
async fn load(
    manifest: &Manifest,
    records: &mut mpsc::Receiver<Record>,
    options: &RestoreOptions<'_>,
    watcher: &mut dyn Watcher,
) -> Result<Loaded, ArchiveError> {
    let mut session = connect(options).await?;
    let mut chosen = BTreeSet::new();
    let mut unpacker = Unpacker::default();
    let (mut post_data, mut statements, mut left_out) = (String::new(), 0, Vec::new());
    watcher.begins(Phase::Schema, 0);
    let mut first = None;
    let mut owners: Vec<u8> = Vec::new();
    while let Some(record) = records.recv().await {
        match record.kind {
            RecordKind::PreData => {
                let sql = text(unpacker.unpack(record).await?)?;
                let mut all = cut(&sql, PRE_DATA)?;
                let (excluded, platform) = (&manifest.excluded_schemas, options.platform);
                if !platform.is_empty() || options.extent == Extent::Tables {
                    // Where extensions are, and what defaults and policies refer to.
                    make_platform(&mut session, excluded, platform).await?;
                }
                if !platform.is_empty() {
                    make_bare(&mut session).await?;
                }
                if options.extent == Extent::Tables {
                    all.retain(|statement| !is_about_owners(&statement.sql));
                    chosen = make_tables(&mut session, manifest, &all, options.only).await?;
                } else {
                    send_as(&mut session, &all, PRE_DATA, options.extent, &mut left_out).await?;
                    chosen = choose(&mut session, manifest, options.only).await?;
                }
                statements = all.len() as u64;
            }
            RecordKind::PostData => post_data = text(unpacker.unpack(record).await?)?,
            RecordKind::Schema => {}
            RecordKind::LargeObjectOwners => owners.extend(unpacker.unpack(record).await?),
            RecordKind::Rows(_) | RecordKind::LargeObjectPages => {
                first = Some(record);
                break;
            }
            RecordKind::Manifest => break,
        }
    }
    if !owners.is_empty() && options.only.is_none() {
        make_large_objects(&mut session, &owners).await?;
    }
    let (mut behind, mut unchecked) = (Vec::new(), false);
    if options.only.is_none() {
        behind = cut(&post_data, POST_DATA)?;
        statements += behind.len() as u64;
        let (keys, others) = behind
            .into_iter()
            .partition::<Vec<_>, _>(|statement| is_outward(statement, &manifest.excluded_schemas));
        behind = others;
        unchecked =
            make_outward(&mut session, &keys, manifest, options.extent, &mut left_out).await?;
    }
    let bytes = chosen.iter().map(|at| manifest.tables[*at].content.bytes).sum();
    watcher.begins(Phase::Load, bytes);
    if let Some(first) = first {
        load_rows(manifest, &chosen, (first, records), unchecked, options, watcher).await?;
    }
    if manifest.large_objects.is_some() && options.only.is_none() {
        // Their owners last: who is none of them may not write to them.
        let what = "large objects' owners and rights";
        match session.run(OWN_ALL).await {
            Err(fault) if options.extent != Extent::Whole && is_forbidden(&fault) => {
                left_out.push(told(what, &fault));
            }
            owned => owned.map_err(refused(what))?,
        }
    }
    if options.only.is_none() {
        set_sequences(&mut session, &manifest.sequences).await?;
    }
    Ok(Loaded { session, behind, statements, chosen, left_out })
}

async fn connect(options: &RestoreOptions<'_>) -> Result<Session, ArchiveError> {
    let mut session = options.spec.connect("annals/restore", &options.settings).await?;
    session.run(SETTINGS).await?;
    if session.facts().major() >= 17 {
        session.run("SET transaction_timeout = 0").await?;
    }
    Ok(session)
}

/// Opens further sessions, as many as there is work for, and as there is room for on the server.
async fn connect_more(sessions: &mut Vec<Session>, work: usize, options: &RestoreOptions<'_>) {
    while sessions.len() < options.jobs.min(work) {
        match connect(options).await {
            Ok(session) => sessions.push(session),
            Err(error) => {
                tracing::warn!(%error, connections = sessions.len(), "goes on with fewer connections");
                break;
            }
        }
    }
}

/// Decompresses off the thread that waits for the server.
#[derive(Default)]
pub(crate) struct Unpacker(Option<zstd::bulk::Decompressor<'static>>);

impl Unpacker {
    pub(crate) async fn unpack(&mut self, record: Record) -> Result<Vec<u8>, ArchiveError> {
        let decompressor = self.0.take();
        let stopped = |error: &dyn std::fmt::Display| ArchiveError::Stopped(error.to_string());
        let work = tokio::task::spawn_blocking(move || {
            let mut decompressor = match decompressor {
                Some(decompressor) => decompressor,
                None => zstd::bulk::Decompressor::new().map_err(|error| stopped(&error))?,
            };
            let raw = record.unpack(&mut decompressor)?;
            Ok::<_, ArchiveError>((decompressor, raw))
        });
        let (decompressor, raw) = work.await.map_err(|error| stopped(&error))??;
        self.0 = Some(decompressor);
        Ok(raw)
    }
}

pub(crate) fn text(raw: Vec<u8>) -> Result<String, ArchiveError> {
    String::from_utf8(raw).map_err(|_| ArchiveError::Malformed("SQL is not UTF-8".to_owned()))
}

fn refused(what: impl Into<String>) -> impl FnOnce(Fault) -> ArchiveError {
    let what = what.into();
    move |fault| ArchiveError::Refused { what, fault }
}

/// Makes all large objects, empty.
pub(crate) async fn make_large_objects(
    session: &mut Session,
    owners: &[u8],
) -> Result<(), ArchiveError> {
    let what = "large objects";
    session.run(MAKE_OWNERS_TABLE).await.map_err(refused(what))?;
    let copy = format!("COPY {OWNERS_TABLE} FROM STDIN");
    let mut copy = session.copy_in(&copy).await.map_err(refused(what))?;
    copy.send(owners).await.map_err(refused(what))?;
    copy.finish().await.map_err(refused(what))?;
    session.run(CREATE_ALL).await.map_err(refused(what))
}

pub(crate) async fn set_sequences(
    session: &mut Session,
    sequences: &[SequenceState],
) -> Result<(), ArchiveError> {
    for some in sequences.chunks(200) {
        let calls: Vec<String> = some
            .iter()
            .map(|state| {
                let (name, value, called) = (&state.name, state.last_value, state.is_called);
                format!("SELECT pg_catalog.setval({}, {value}, {called})", literal(name))
            })
            .collect();
        session.run(&calls.join("; ")).await.map_err(refused("sequences"))?;
    }
    Ok(())
}

/// Loads pieces over several connections, each into whatever table it is of. Nothing depends on their
/// order: there are no constraints and no triggers yet.
async fn load_rows(
    manifest: &Manifest,
    chosen: &BTreeSet<usize>,
    (first, records): (Record, &mut mpsc::Receiver<Record>),
    unchecked: bool,
    options: &RestoreOptions<'_>,
    watcher: &mut dyn Watcher,
) -> Result<(), ArchiveError> {
    if manifest.kind == Kind::Schema {
        return Err(ArchiveError::Malformed("a backup of the schema holds rows".to_owned()));
    }
    let mut sessions = vec![connect(options).await?];
    connect_more(&mut sessions, options.jobs, options).await;
    if unchecked {
        for session in &mut sessions {
            let set = session.run("SET session_replication_role = replica").await;
            set.map_err(refused("rows whose foreign keys refer to what is not in the backup"))?;
        }
    }
    let queue = Mutex::new((Some(first), records));
    let watcher = std::cell::RefCell::new(watcher);
    let (queue, watcher) = (&queue, &watcher);
    let works = sessions.into_iter().map(|mut session| async move {
        let mut unpacker = Unpacker::default();
        loop {
            let record = {
                let mut queue = queue.lock().await;
                match queue.0.take() {
                    Some(first) => Some(first),
                    None => queue.1.recv().await,
                }
            };
            let Some(record) = record else { break };
            let (kind, bytes) = (record.kind, record.raw_bytes());
            let is_wanted = match kind {
                RecordKind::Manifest => false,
                RecordKind::Rows(at) => chosen.contains(&(at as usize)),
                _ => options.only.is_none(),
            };
            if !is_wanted {
                continue;
            }
            let raw = unpacker.unpack(record).await?;
            load_piece(&mut session, manifest, kind, &raw).await?;
            watcher.borrow_mut().advances(bytes);
        }
        session.close().await;
        Ok::<(), ArchiveError>(())
    });
    try_join_all(works).await?;
    Ok(())
}

pub(crate) async fn load_piece(
    session: &mut Session,
    manifest: &Manifest,
    kind: RecordKind,
    raw: &[u8],
) -> Result<(), ArchiveError> {
    let (sql, what) = match kind {
        RecordKind::Rows(at) => {
            let table = manifest.tables.get(at as usize);
            let table = table
                .ok_or_else(|| ArchiveError::Malformed("there are rows of no table".to_owned()))?;
            (copy_in(table), format!("rows of {}", table.name))
        }
        RecordKind::LargeObjectPages => {
            let what = "large objects' bytes".to_owned();
            session.run(MAKE_PAGES_TABLE).await.map_err(refused(what.clone()))?;
            (format!("COPY {PAGES_TABLE} FROM STDIN"), what)
        }
        other => return Err(ArchiveError::Malformed(format!("{other:?} stands behind rows"))),
    };
    let mut copy = session.copy_in(&sql).await.map_err(refused(what.clone()))?;
    // The driver cuts messages as it likes, and the server puts them together.
    copy.send(raw).await.map_err(refused(what.clone()))?;
    copy.finish().await.map_err(refused(what.clone()))?;
    if kind == RecordKind::LargeObjectPages {
        session.run(PUT_PAGES).await.map_err(refused(what))?;
    }
    Ok(())
}
