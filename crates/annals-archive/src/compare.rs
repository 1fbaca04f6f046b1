//! Says where a database is not what a backup's manifest says.

use std::collections::{BTreeSet, VecDeque};

use annals_postgres::{ConnectionSpec, SchemaScope, Session, SessionSettings, read_schema_inside};
use annals_schema::{Difference, ObjectKind, Snapshot, diff};

use crate::attached::elsewhere;
use crate::capture::{Copies, Task, copy, copy_by_tasks};
use crate::catalog::{SETTINGS, read_sequences};
use crate::contents::RecordKind;
use crate::error::ArchiveError;
use crate::large_objects::COPY_OWNERS;
use crate::manifest::{Content, Manifest, SequenceState};
use crate::pieces::{Destination, Pieces};
use crate::read::Archive;
use crate::{NoWatcher, Phase, Watcher};

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unequal {
    /// What, such as `table public.a`.
    pub subject: String,
    /// How.
    pub evidence: String,
    /// Whether it is the schema, and no rows, sequences or large objects.
    pub of_schema: bool,
}

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Everything that is not as it was.
    pub unequal: Vec<Unequal>,
    /// Whether the schema was compared: it is not between major versions.
    pub schema_compared: bool,
    /// Tables whose rows were compared.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
}

/// Compares a database nobody changes with what a backup says: the schema, every row of every table,
/// sequences and large objects.
///
/// # Errors
///
/// When the database cannot be read.
pub async fn compare(
    archive: &Archive,
    spec: &ConnectionSpec,
    settings: &SessionSettings,
    scope: &SchemaScope,
    jobs: usize,
    watcher: &mut dyn Watcher,
) -> Result<Comparison, ArchiveError> {
    let manifest = &archive.manifest;
    watcher.begins(Phase::Compare, manifest.bytes());
    let mut session = spec.connect("annals/restore", settings).await?;
    let live = read_as_named(&mut session, manifest, scope).await?;
    let mut comparison = Comparison {
        schema_compared: live.comparable_with(&archive.schema),
        tables: manifest.tables.len() as u64,
        rows: manifest.rows(),
        ..Comparison::default()
    };
    if comparison.schema_compared {
        let elsewhere =
            elsewhere(&mut session, &archive.schema, &manifest.excluded_schemas).await?;
        let differences = diff(&archive.schema, &live);
        let of_database = differences.iter().filter(|difference| {
            !is_of_server(difference) && !elsewhere.contains(difference.key())
        });
        comparison.unequal.extend(of_database.map(of_difference));
    }
    session.run(SETTINGS).await?;
    let names: Vec<&str> = manifest.sequences.iter().map(|state| state.name.as_str()).collect();
    let stand = read_sequences(&mut session, &names).await?;
    comparison.unequal.extend(of_sequences(&manifest.sequences, stand));
    let mut tasks: VecDeque<Task> =
        (0..manifest.tables.len()).map(|at| Task::Rows(at, None)).collect();
    if let Some(large) = &manifest.large_objects {
        tasks.push_front(Task::Pages);
        let mut pieces = Pieces::new(Destination::Nowhere)?;
        let kind = RecordKind::LargeObjectOwners;
        let owners = copy(&mut session, COPY_OWNERS, kind, &mut pieces, &|_| {}).await?;
        let found = owners.content();
        comparison.unequal.extend(of_content(
            "large objects' owners and rights",
            &large.owners,
            &found,
        ));
    }
    session.close().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let nowhere = Destination::Nowhere;
    let tables = &manifest.tables;
    let copies = Copies { spec, settings: *settings, begin, jobs, tables };
    let sums = copy_by_tasks(&copies, tasks, &nowhere, watcher).await?;
    for (table, sum) in tables.iter().zip(&sums.tables) {
        let subject = format!("table {}", table.name);
        comparison.unequal.extend(of_content(&subject, &table.content, &sum.content()));
    }
    if let Some(large) = &manifest.large_objects {
        let found = sums.pages.content();
        comparison.unequal.extend(of_content("large objects' bytes", &large.pages, &found));
    }
    Ok(comparison)
}

/// Reads the schema of a scratch database as it will be: with the comment of the database it is of, not
/// with the one that says whose scratch it is.
///
/// # Errors
///
/// When the database cannot be read, or is not this role's.
pub async fn read_as_named(
    session: &mut Session,
    manifest: &Manifest,
    scope: &SchemaScope,
) -> Result<Snapshot, ArchiveError> {
    let name = session.facts().identity.database.clone();
    session.run("BEGIN").await?;
    session.run(&manifest.comment_sql(&name)).await?;
    let live = read_schema_inside(session, scope).await?;
    session.roll_back().await?;
    Ok(live)
}

/// Compares the rows of some tables of a restored database with what the backup says.
///
/// # Errors
///
/// When the database cannot be read.
pub async fn compare_rows(
    archive: &Archive,
    spec: &ConnectionSpec,
    settings: &SessionSettings,
    chosen: &BTreeSet<usize>,
    jobs: usize,
) -> Result<Vec<Unequal>, ArchiveError> {
    let tables = &archive.manifest.tables;
    let tasks: VecDeque<Task> = chosen.iter().map(|at| Task::Rows(*at, None)).collect();
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let copies = Copies { spec, settings: *settings, begin, jobs, tables };
    let sums = copy_by_tasks(&copies, tasks, &Destination::Nowhere, &mut NoWatcher).await?;
    let unequal = |at: &usize| {
        let (table, found) = (&tables[*at], sums.tables[*at].content());
        of_content(&format!("table {}", table.name), &table.content, &found)
    };
    Ok(chosen.iter().filter_map(unequal).collect())
}

/// What a role is set to in every database is the server's, whatever is restored to it.
pub(crate) fn is_of_server(difference: &Difference) -> bool {
    let key = difference.key();
    key.kind == ObjectKind::Setting && key.name.ends_with(" in every database")
}

/// Sequences that do not stand where they stood.
pub(crate) fn of_sequences(was: &[SequenceState], stand: Vec<SequenceState>) -> Vec<Unequal> {
    let differ = was.iter().zip(stand).filter(|(before, now)| *before != now);
    let unequal = differ.map(|(before, now)| {
        let (was, is) = (before.last_value, now.last_value);
        let evidence = format!("it stands at {is}, not at {was}");
        Unequal { subject: format!("sequence {}", now.name), evidence, of_schema: false }
    });
    unequal.collect()
}

pub(crate) fn of_content(subject: &str, expected: &Content, found: &Content) -> Option<Unequal> {
    let evidence = match (expected.rows == found.rows, expected == found) {
        (_, true) => return None,
        (true, false) => format!("{} rows on both sides, with other content", found.rows),
        (false, _) => format!("{} rows, the backup holds {}", found.rows, expected.rows),
    };
    Some(Unequal { subject: subject.to_owned(), evidence, of_schema: false })
}

pub(crate) fn of_difference(difference: &Difference) -> Unequal {
    let evidence = match difference {
        Difference::Added(_) => "is there and was not".to_owned(),
        Difference::Removed(_) => "is missing".to_owned(),
        Difference::Changed(_, changes) => {
            let names: Vec<&str> = changes.iter().map(|change| change.attribute.as_str()).collect();
            format!("differs in {}", names.join(", "))
        }
    };
    Unequal { subject: difference.key().to_string(), evidence, of_schema: true }
}
