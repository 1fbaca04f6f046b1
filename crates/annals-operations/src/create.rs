//! `create`: the pair of files of a new migration.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use annals_events::{Timestamp, Version};
use annals_migrations::{ORDER_FILE, migration_file_name, name_is_valid, rollback_file_name};

use crate::environment::Environment;
use crate::error::Failure;
use crate::workspace::Workspace;

/// The files that were written, relative to the workspace.
#[derive(Debug, Clone)]
pub struct Created {
    /// The version.
    pub version: Version,
    /// The migration.
    pub migration: PathBuf,
    /// Its rollback.
    pub rollback: PathBuf,
}

/// Writes a migration and its rollback from the templates, versioned with the UTC time.
///
/// # Errors
///
/// When the name cannot name a migration, the version is taken, or a file cannot be written.
pub fn create(
    environment: &Environment,
    name: &str,
    description: Option<&str>,
) -> Result<Created, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let name = normalize(name)?;
    let description = description.map_or_else(|| title(&name), str::to_owned);
    if description.chars().any(char::is_control) {
        let subject = "description".to_owned();
        return Err(Failure::Argument { subject, reason: "stands on one line".to_owned() });
    }
    let set = workspace.load()?;
    let now = environment.clock.now();
    let version: Version = free_version(now, |version| set.get(version).is_none());
    let folders = &workspace.config().folders;
    let migration = folders.migrations.join(migration_file_name(&version, &name));
    let rollback = folders.rollbacks.join(rollback_file_name(&version, &name));
    let created = now.datetime().format("%Y-%m-%dT%H:%M:%SZ");
    let up =
        format!("-- Migration: {name}\n-- Created: {created}\n-- Description: {description}\n\n");
    let down = format!(
        "-- Rollback for: {version}_{name}\n-- Created: {created}\n-- Description: {description}\n\n"
    );
    write_new(&workspace.folder().join(&migration), &up)?;
    if let Err(error) = write_new(&workspace.folder().join(&rollback), &down) {
        // A migration without its rollback would stop every other command.
        let _ = std::fs::remove_file(workspace.folder().join(&migration));
        return Err(error);
    }
    append_order(&workspace.folder().join(folders.migrations.join(ORDER_FILE)), &version)?;
    Ok(Created { version, migration, rollback })
}

/// `Add agents` and `add-agents` mean `add_agents`.
fn normalize(name: &str) -> Result<String, Failure> {
    let normalized = name.trim().to_lowercase().replace([' ', '-'], "_");
    if name_is_valid(&normalized) {
        return Ok(normalized);
    }
    Err(Failure::Argument {
        subject: format!("migration name {name:?}"),
        reason: "is not 1 to 100 characters of a-z, 0-9 and _".to_owned(),
    })
}

/// `add_agent_metrics_table` is described as `Add Agent Metrics Table`.
fn title(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty()).map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The moment as a version; a second later as often as it is taken.
fn free_version(now: Timestamp, is_free: impl Fn(&Version) -> bool) -> Version {
    let spelled = |time: Timestamp| -> Version {
        let text = time.datetime().format("%Y%m%d_%H%M%S").to_string();
        text.parse().expect("invariant: the format is one of the two spellings")
    };
    let mut time = now;
    while !is_free(&spelled(time)) {
        time = time.plus_micros(1_000_000);
    }
    spelled(time)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Failure::Write { path: path.to_owned(), source })
}

/// A pinned order must name every migration.
fn append_order(path: &Path, version: &Version) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let write = || {
        let text = std::fs::read_to_string(path)?;
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.write_all(format!("{gap}{version}\n").as_bytes())
    };
    write().map_err(|source| Failure::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_titles_follow_from_each_other() {
        assert_eq!(normalize("Add agent-metrics table").unwrap(), "add_agent_metrics_table");
        assert_eq!(title("add_agent_metrics_table"), "Add Agent Metrics Table");
        for bad in ["", "ä", "a/b", "../x", "a.b"] {
            assert!(normalize(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_version_that_is_taken_moves_on_by_a_second() {
        let now: Timestamp = "2026-01-31T23:59:59.500000Z".parse().unwrap();
        let taken: Version = "20260131_235959".parse().unwrap();
        assert_eq!(free_version(now, |v| *v != taken).as_str(), "20260201_000000");
    }
}
