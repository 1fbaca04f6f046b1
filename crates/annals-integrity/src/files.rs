//! The files against what was applied.

use std::collections::{BTreeMap, BTreeSet};

use annals_events::Version;
use annals_migrations::{Migration, MigrationSet};
use annals_projections::{Change, History};

use crate::finding::{CheckFamily, Finding, Severity};

/// How a migration's file stands to the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileState {
    /// Applied, and the file is the one that ran.
    Applied,
    /// Applied; the file differs in formatting only.
    Reformatted,
    /// Applied; the file now says something else.
    Changed,
    /// Applied; the file is gone.
    Missing,
    /// Not applied.
    Pending,
    /// Not applied, although a later one is.
    OutOfOrder,
}

/// One migration's file and history side by side.
#[derive(Debug, Clone)]
pub struct FileStatus<'a> {
    /// The version.
    pub version: &'a Version,
    /// The name, of the file where there is one.
    pub name: &'a str,
    /// How they stand to each other.
    pub state: FileState,
    /// The file.
    pub migration: Option<&'a Migration>,
    /// The change that applied it.
    pub applied: Option<&'a Change>,
}

/// Compares every file with the history, in the files' order; those whose file is gone come last.
pub fn compare_files<'a>(set: &'a MigrationSet, history: &'a History) -> Vec<FileStatus<'a>> {
    let applied: BTreeMap<&Version, &Change> =
        history.applied().iter().map(|change| (&change.version, change)).collect();
    let newest = set.iter().rposition(|m| applied.contains_key(&m.version));
    let mut statuses: Vec<FileStatus<'a>> = set
        .iter()
        .enumerate()
        .map(|(place, migration)| {
            let applied = applied.get(&migration.version).copied();
            let state = match applied {
                Some(change) => applied_state(migration, change),
                None if newest.is_some_and(|newest| place < newest) => FileState::OutOfOrder,
                None => FileState::Pending,
            };
            let (version, name) = (&migration.version, migration.name.as_str());
            FileStatus { version, name, state, migration: Some(migration), applied }
        })
        .collect();
    let there: BTreeSet<&Version> = set.iter().map(|migration| &migration.version).collect();
    let gone = history.applied().iter().filter(|change| !there.contains(&change.version));
    statuses.extend(gone.map(|change| FileStatus {
        version: &change.version,
        name: &change.name,
        state: FileState::Missing,
        migration: None,
        applied: Some(change),
    }));
    statuses
}

/// Counts what is applied half-way as applied: it is continued wherever it stands, and what is not
/// applied before it is out of order.
pub fn count_half_done(statuses: &mut [FileStatus<'_>], is_half_done: impl Fn(&Version) -> bool) {
    let newest = statuses.iter().rposition(|s| s.migration.is_some() && is_half_done(s.version));
    let Some(newest) = newest else { return };
    for (place, status) in statuses.iter_mut().enumerate() {
        match status.state {
            FileState::OutOfOrder if is_half_done(status.version) => {
                status.state = FileState::Pending;
            }
            FileState::Pending if place < newest && !is_half_done(status.version) => {
                status.state = FileState::OutOfOrder;
            }
            _ => {}
        }
    }
}

fn applied_state(migration: &Migration, change: &Change) -> FileState {
    if migration.up.raw() == change.file.raw {
        FileState::Applied
    } else if migration.up.canonical() == change.file.canonical {
        FileState::Reformatted
    } else {
        FileState::Changed
    }
}

/// What is wrong between files and history.
pub fn check_files(statuses: &[FileStatus<'_>]) -> Vec<Finding> {
    statuses.iter().filter_map(check_file).collect()
}

fn check_file(status: &FileStatus<'_>) -> Option<Finding> {
    let finding = |id, severity, evidence: String, remedy: &str| {
        Some(Finding {
            id,
            family: CheckFamily::History,
            severity,
            subject: format!("{}_{}", status.version, status.name),
            evidence,
            remedy: remedy.to_owned(),
        })
    };
    let when = status.applied.map(|change| change.at.to_human()).unwrap_or_default();
    match status.state {
        FileState::Applied | FileState::Pending => None,
        FileState::Reformatted => finding(
            "file.reformatted",
            Severity::Warning,
            format!(
                "its formatting was changed since it was applied at {when}; the SQL is the same"
            ),
            "nothing; or restore the file as it was",
        ),
        FileState::Changed => finding(
            "file.changed",
            Severity::Error,
            format!("its SQL was changed since it was applied at {when}"),
            "restore the file from version control and write the change as a new migration",
        ),
        FileState::Missing => finding(
            "file.missing",
            Severity::Error,
            format!("it was applied at {when}, and its file is gone"),
            "restore the file from version control",
        ),
        FileState::OutOfOrder => finding(
            "file.out_of_order",
            Severity::Warning,
            "it is not applied, although a later migration is".to_owned(),
            "give it a newer version, or apply it with --allow-out-of-order",
        ),
    }
}
