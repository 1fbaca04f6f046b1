//! Brings a backup into the very database it is of, in one transaction: what a project has there goes, what the
//! backup holds comes, and both are there until somebody commits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use annals_backup::{BackupId, KeyEncryptionKey};
use annals_postgres::{Platform, SchemaScope, Session, read_schema_inside};
use annals_schema::{Difference, ObjectKey, ObjectKind, Snapshot, diff};

use crate::attached::{attached, elsewhere};
use crate::capture::copy;
use crate::catalog::{SETTINGS as AS_COPIED, literal, read_sequences};
use crate::clear::{clear, empty_tables_of_extensions, has_log, lock};
use crate::compare::{Comparison, Unequal, is_of_server, of_content, of_difference, of_sequences};
use crate::contents::RecordKind;
use crate::error::ArchiveError;
use crate::kept_log::{is_about_log, is_about_schema, is_of_log};
use crate::large_objects::{COPY_OWNERS, COPY_PAGES, OWN_ALL};
use crate::manifest::SequenceState;
use crate::pieces::{Destination, Pieces};
use crate::read::Archive;
use crate::restore::{
    Reading, SETTINGS, Unpacker, load_piece, make_large_objects, set_sequences, text,
};
use crate::savepoints::{Exceptions, refused, send};
use crate::sections::{ATTACHED, POST_DATA, PRE_DATA, Statement, cut, statements_of};
use crate::sql::copy_out;
use crate::{Phase, Watcher};

/// How a backup is brought into the place it is of.
pub struct InPlaceOptions<'a> {
    /// What belongs to the schema.
    pub scope: &'a SchemaScope,
    /// The longest that anybody's lock is waited for, in milliseconds.
    pub lock_timeout_ms: u64,
}

/// What a transaction that is still open has come to.
#[derive(Debug)]
pub struct InPlace {
    /// What is not as it was, and should be: to be rolled back if there is anything.
    pub comparison: Comparison,
    /// What is not the project's, and would be lost or changed: to be rolled back too.
    pub lost: Vec<String>,
    /// What should be known of it.
    pub notes: Vec<String>,
    /// The schema as it is now.
    pub schema: Snapshot,
}

/// Kinds of objects that stand in no schema of the project's own. One of them that this role may not touch stays
/// as it is.
const OUTSIDE: [ObjectKind; 17] = [
    ObjectKind::Database,
    ObjectKind::Setting,
    ObjectKind::Extension,
    ObjectKind::ExtensionDependency,
    ObjectKind::Language,
    ObjectKind::AccessMethod,
    ObjectKind::ForeignDataWrapper,
    ObjectKind::ForeignServer,
    ObjectKind::UserMapping,
    ObjectKind::Cast,
    ObjectKind::Transform,
    ObjectKind::EventTrigger,
    ObjectKind::Publication,
    ObjectKind::PublicationSchema,
    ObjectKind::Subscription,
    ObjectKind::DefaultPrivileges,
    ObjectKind::Unreadable,
];

/// Empties the database of what is the project's, brings a backup into it that was read through before, and
/// compares, all in a transaction that is left open for whoever has something to add to it.
///
/// What the platform manages stays as it is, with its rows, and so does an event log that lives here; foreign keys, triggers and policies between both are
/// made anew. Nobody else reads or writes any table of the project from the beginning on.
///
/// # Errors
///
/// When the container is not the one that was read, or the database refuses something: the transaction is to be
/// rolled back.
pub async fn restore_in_place<R: Read + Send + 'static>(
    archive: &Archive,
    (source, keys, backup): (R, Arc<Vec<KeyEncryptionKey>>, BackupId),
    session: &mut Session,
    options: &InPlaceOptions<'_>,
    watcher: &mut dyn Watcher,
) -> Result<InPlace, ArchiveError> {
    let (manifest, wait) = (&archive.manifest, options.lock_timeout_ms);
    session.run(SETTINGS).await?;
    if session.facts().major() >= 17 {
        session.run("SET transaction_timeout = 0").await?;
    }
    session.run("BEGIN").await?;
    session
        .run(&format!("SET LOCAL lock_timeout = {wait}; SET LOCAL synchronous_commit = on"))
        .await?;
    watcher.begins(Phase::Schema, 0);
    lock(session, &manifest.excluded_schemas).await?;
    let before = Pictures::read(session, options.scope).await?;
    let keeps_log = has_log(session).await?;
    clear(session, &manifest.excluded_schemas, (&before.own, &archive.schema)).await?;
    let mut exceptions = Exceptions::default();
    let mut reading = Reading::begin(archive, (source, keys, backup), 1);
    let loaded = load(archive, &mut reading, session, (keeps_log, &mut exceptions), watcher).await;
    let read = reading.end().await;
    let post_data = match (read, loaded) {
        (Err(error), _) => return Err(error),
        (Ok(()), loaded) => loaded?,
    };
    watcher.begins(Phase::Indexes, 0);
    let behind = of_project(cut(&post_data, POST_DATA)?, keeps_log);
    send(session, &behind, POST_DATA, &mut exceptions).await?;
    let (there, _) = attached(session, &archive.schema, &manifest.excluded_schemas).await?;
    let sql = statements_of(there.into_iter().flat_map(|it| it.sql).collect());
    send(session, &sql, ATTACHED, &mut exceptions).await?;
    // Else it would be the commit that fails.
    session.run("SET CONSTRAINTS ALL IMMEDIATE").await.map_err(refused("a deferred constraint"))?;
    let after = Pictures::read(session, options.scope).await?;
    let mut found = InPlace {
        comparison: Comparison {
            schema_compared: after.own.comparable_with(&archive.schema),
            tables: manifest.tables_without_log().count() as u64,
            rows: manifest.tables_without_log().map(|(_, table)| table.content.rows).sum(),
            ..Comparison::default()
        },
        lost: Vec::new(),
        notes: Vec::new(),
        schema: after.own.clone(),
    };
    compare_schema(session, archive, (&before, &after), &exceptions, &mut found).await?;
    compare_rows(session, archive, &mut found.comparison.unequal, watcher).await?;
    if !found.comparison.unequal.is_empty() {
        for left_out in &exceptions.left_out {
            tracing::info!("was not made: {left_out}");
        }
    }
    Ok(found)
}

/// The schema of the project, and everything else that is there.
struct Pictures {
    own: Snapshot,
    platform: BTreeMap<ObjectKey, BTreeMap<String, String>>,
}

impl Pictures {
    async fn read(session: &mut Session, scope: &SchemaScope) -> Result<Self, ArchiveError> {
        let own = read_schema_inside(session, scope).await?;
        let all = read_schema_inside(session, &SchemaScope::of(Platform::Plain)).await?;
        let mine: BTreeSet<&ObjectKey> = own.iter().map(|(key, _)| key).collect();
        let others = all.iter().filter(|(key, _)| !mine.contains(key));
        let platform = others.map(|(key, attributes)| (key.clone(), attributes.clone())).collect();
        Ok(Self { own, platform })
    }
}

/// Everything but what comes behind the rows; returns that.
async fn load(
    archive: &Archive,
    reading: &mut Reading,
    session: &mut Session,
    (keeps_log, exceptions): (bool, &mut Exceptions),
    watcher: &mut dyn Watcher,
) -> Result<String, ArchiveError> {
    let manifest = &archive.manifest;
    let (mut unpacker, mut post_data, mut owners) =
        (Unpacker::default(), String::new(), Vec::new());
    let mut is_loading = false;
    while let Some(record) = reading.records.recv().await {
        let (kind, bytes) = (record.kind, record.raw_bytes());
        match kind {
            RecordKind::PreData => {
                let sql = text(unpacker.unpack(record).await?)?;
                let all = of_project(cut(&sql, PRE_DATA)?, keeps_log);
                send(session, &all, PRE_DATA, exceptions).await?;
            }
            RecordKind::PostData => post_data = text(unpacker.unpack(record).await?)?,
            RecordKind::Schema => {}
            RecordKind::LargeObjectOwners => owners.extend(unpacker.unpack(record).await?),
            RecordKind::Rows(at)
                if manifest.tables.get(at as usize).is_some_and(|table| is_of_log(&table.name)) => {
            }
            RecordKind::Rows(_) | RecordKind::LargeObjectPages => {
                if !std::mem::replace(&mut is_loading, true) {
                    prepare_rows(archive, session, &owners, watcher).await?;
                }
                let raw = unpacker.unpack(record).await?;
                load_piece(session, manifest, kind, &raw).await?;
                watcher.advances(bytes);
            }
            RecordKind::Manifest => break,
        }
    }
    if !is_loading {
        prepare_rows(archive, session, &owners, watcher).await?;
    }
    if manifest.large_objects.is_some() {
        // Their owners last: who is none of them may not write to them.
        session.run(OWN_ALL).await.map_err(refused("large objects' owners and rights"))?;
    }
    set_sequences(session, &sequences(archive)).await?;
    Ok(post_data)
}

/// What of a backup comes back: all of it but an event log.
fn of_project(mut statements: Vec<Statement>, keeps_log: bool) -> Vec<Statement> {
    statements
        .retain(|Statement { sql, .. }| !(is_about_log(sql) || keeps_log && is_about_schema(sql)));
    statements
}

fn sequences(archive: &Archive) -> Vec<SequenceState> {
    let all = archive.manifest.sequences.iter();
    all.filter(|sequence| !is_of_log(&sequence.name)).cloned().collect()
}

/// What must be there, and what must not, before the first row.
async fn prepare_rows(
    archive: &Archive,
    session: &mut Session,
    owners: &[u8],
    watcher: &mut dyn Watcher,
) -> Result<(), ArchiveError> {
    let tables = &archive.manifest.tables;
    if !owners.is_empty() {
        make_large_objects(session, owners).await?;
    }
    let tables: Vec<(&str, Option<&str>)> =
        tables.iter().map(|table| (table.name.as_str(), table.condition.as_deref())).collect();
    empty_tables_of_extensions(session, &tables).await?;
    let bytes = archive.manifest.tables.iter().map(|table| table.content.bytes).sum();
    watcher.begins(Phase::Load, bytes);
    Ok(())
}

async fn compare_schema(
    session: &mut Session,
    archive: &Archive,
    (before, after): (&Pictures, &Pictures),
    exceptions: &Exceptions,
    found: &mut InPlace,
) -> Result<(), ArchiveError> {
    for (key, was) in &before.platform {
        let evidence = match after.platform.get(key) {
            Some(is) if is == was => continue,
            Some(_) => "is the platform's, and would be changed",
            None => "is not the project's, depends on what is, and would be lost",
        };
        found.lost.push(format!("{key} {evidence}"));
    }
    for key in &exceptions.unvalidated {
        let rows = orphans(session, key).await?;
        found.notes.push(format!("the foreign key {key} is there and not validated: {rows}"));
    }
    if !found.comparison.schema_compared {
        return Ok(());
    }
    let excluded = &archive.manifest.excluded_schemas;
    let elsewhere = elsewhere(session, &archive.schema, excluded).await?;
    let was: BTreeMap<&ObjectKey, &BTreeMap<String, String>> = before.own.iter().collect();
    let is: BTreeMap<&ObjectKey, &BTreeMap<String, String>> = after.own.iter().collect();
    for difference in diff(&archive.schema, &after.own) {
        let key = difference.key();
        if is_of_server(&difference) || elsewhere.contains(key) {
            continue;
        }
        if let Difference::Changed(key, changes) = &difference
            && key.kind == ObjectKind::Constraint
            && exceptions.unvalidated.contains(&key.name)
            && changes.iter().all(|it| matches!(&*it.attribute, "definition" | "validated"))
        {
            continue;
        }
        let unequal = of_difference(&difference);
        if OUTSIDE.contains(&key.kind) && was.get(key) == is.get(key) {
            let subject = unequal.subject;
            found.notes.push(match &difference {
                Difference::Added(_) => format!("{subject} stays, and is not in the backup"),
                Difference::Removed(_) => {
                    format!("{subject} is in the backup, and this role may not make it")
                }
                Difference::Changed(..) => {
                    format!("{subject} stays as it is, which in the backup {}", unequal.evidence)
                }
            });
            continue;
        }
        // It went with what it depends on.
        if OUTSIDE.contains(&key.kind)
            && matches!(difference, Difference::Removed(_))
            && was.contains_key(key)
        {
            found.lost.push(format!("{key} may not be made again by this role, and would be lost"));
            continue;
        }
        found.comparison.unequal.push(unequal);
    }
    Ok(())
}

/// The query that counts the rows of a foreign key that refer to nothing, and the table they refer to.
const ORPHANS: &str = "SELECT format('SELECT count(*)::text FROM %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)',
        k.conrelid::regclass, string_agg(format('c.%I IS NOT NULL', a.attname), ' AND '),
        k.confrelid::regclass, string_agg(format('c.%I = p.%I', a.attname, b.attname), ' AND ')),
        k.confrelid::regclass::text
  FROM pg_constraint k, LATERAL unnest(k.conkey, k.confkey) AS n (here, there)
  JOIN pg_attribute a ON true JOIN pg_attribute b ON true
 WHERE k.contype = 'f' AND format('%s.%I', k.conrelid::regclass, k.conname) = {key}
   AND a.attrelid = k.conrelid AND a.attnum = n.here AND b.attrelid = k.confrelid AND b.attnum = n.there
 GROUP BY k.oid, k.conrelid, k.confrelid";

/// How many rows of a foreign key refer to nothing.
async fn orphans(session: &mut Session, key: &str) -> Result<String, ArchiveError> {
    let asked = session.texts(&ORPHANS.replace("{key}", &literal(key))).await?;
    let mut asked = asked.into_iter().flatten().flatten();
    let (Some(query), Some(table)) = (asked.next(), asked.next()) else {
        return Ok("rows refer to what is gone".to_owned());
    };
    let rows = session.texts(&query).await?.into_iter().flatten().flatten().next();
    let rows = rows.unwrap_or_default();
    Ok(match rows.as_str() {
        "1" => format!("1 row refers to what is gone from {table}"),
        rows => format!("{rows} rows refer to what is gone from {table}"),
    })
}

async fn compare_rows(
    session: &mut Session,
    archive: &Archive,
    unequal: &mut Vec<Unequal>,
    watcher: &mut dyn Watcher,
) -> Result<(), ArchiveError> {
    let manifest = &archive.manifest;
    watcher.begins(Phase::Compare, manifest.bytes());
    session.run(AS_COPIED).await?;
    let sequences = sequences(archive);
    let names: Vec<&str> = sequences.iter().map(|state| state.name.as_str()).collect();
    let stand = read_sequences(session, &names).await?;
    unequal.extend(of_sequences(&sequences, stand));
    let watcher = std::cell::RefCell::new(watcher);
    let advances = |bytes| watcher.borrow_mut().advances(bytes);
    let mut pieces = Pieces::new(Destination::Nowhere)?;
    for (number, table) in manifest.tables_without_log() {
        let (sql, kind) = (copy_out(table, None), RecordKind::Rows(number));
        let sum = copy(session, &sql, kind, &mut pieces, &advances).await?;
        let subject = format!("table {}", table.name);
        unequal.extend(of_content(&subject, &table.content, &sum.content()));
    }
    if let Some(large) = &manifest.large_objects {
        for (sql, kind, wanted, subject) in [
            (
                COPY_OWNERS,
                RecordKind::LargeObjectOwners,
                &large.owners,
                "large objects' owners and rights",
            ),
            (COPY_PAGES, RecordKind::LargeObjectPages, &large.pages, "large objects' bytes"),
        ] {
            let sum = copy(session, sql, kind, &mut pieces, &advances).await?;
            unequal.extend(of_content(subject, wanted, &sum.content()));
        }
    }
    Ok(())
}
