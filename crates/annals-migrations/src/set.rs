//! All migrations of a workspace, in order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use annals_events::{Digest, FileRef, Version};

use crate::cut::{NOT_UTF8, hidden_character};
use crate::position::Position;
use crate::sql::{self, Script};
use crate::stream::{self, LargeFile};

/// Something wrong with a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder, relative to the workspace where it lies inside.
    pub path: PathBuf,
    /// Where in the file.
    pub position: Option<Position>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(position) = self.position {
            write!(f, ":{position}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What is kept of a file.
#[derive(Debug, Clone)]
enum Content {
    /// Its text, without byte order mark.
    Text(String),
    /// Where it lies and what it was.
    Large(LargeFile),
}

/// A migration or rollback file: its bytes as read, its SQL on demand.
#[derive(Debug, Clone)]
pub struct SourceFile {
    path: PathBuf,
    name: String,
    raw: Digest,
    content: Content,
    script: OnceLock<Result<Script, Vec<Problem>>>,
}

impl SourceFile {
    /// Takes the bytes of the file at `path`.
    ///
    /// # Errors
    ///
    /// When they are not UTF-8 or hold characters SQL text cannot have.
    pub fn new(path: &Path, bytes: Vec<u8>) -> Result<Self, Problem> {
        let raw = Digest::of(&bytes);
        let problem = |position, reason: &str| Problem {
            path: path.to_owned(),
            position: Some(position),
            reason: reason.to_owned(),
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
            problem(Position::of(&text, valid), NOT_UTF8)
        })?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        if let Some((at, reason)) = hidden_character(&text) {
            return Err(problem(Position::of(&text, at), &reason));
        }
        Ok(Self::of(path, raw, Content::Text(text)))
    }

    /// A file that is read again, piece by piece, whenever its SQL is asked for.
    pub(crate) fn large(path: &Path, raw: Digest, file: LargeFile) -> Self {
        Self::of(path, raw, Content::Large(file))
    }

    fn of(path: &Path, raw: Digest, content: Content) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { path: path.to_owned(), name, raw, content, script: OnceLock::new() }
    }

    /// Takes over the SQL `older` has read, if it is the same file.
    fn take_over(&mut self, older: Self) {
        if self.path == older.path && self.raw == older.raw {
            self.script = older.script;
        }
    }

    /// Its path, relative to the workspace.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name without folders.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its bytes.
    pub fn raw(&self) -> Digest {
        self.raw
    }

    /// Whether its SQL has been read.
    pub(crate) fn is_read(&self) -> bool {
        self.script.get().is_some()
    }

    /// Its SQL, read on the first call.
    ///
    /// # Errors
    ///
    /// Everything wrong with it, each with its place.
    pub fn script(&self) -> Result<&Script, &[Problem]> {
        let script = self.script.get_or_init(|| {
            let read = match &self.content {
                Content::Text(text) => sql::parse(text).map_err(|problems| {
                    let place = |offset| Some(Position::of(text, offset));
                    problems.into_iter().map(|(offset, why)| (place(offset), why)).collect()
                }),
                Content::Large(file) => stream::survey(&self.path, file),
            };
            read.map_err(|complaints: Vec<_>| {
                let mut problems: Vec<Problem> = complaints
                    .into_iter()
                    .map(|(position, reason)| Problem { path: self.path.clone(), position, reason })
                    .collect();
                problems.sort_by_key(|problem| problem.position);
                problems
            })
        });
        script.as_ref().map_err(Vec::as_slice)
    }

    /// SHA-256 over its statements alone; of a file that cannot be read as SQL, over its text.
    pub fn canonical(&self) -> Digest {
        match (self.script(), &self.content) {
            (Ok(script), _) => script.canonical,
            (Err(_), Content::Text(text)) => Digest::of(text.as_bytes()),
            (Err(_), Content::Large(_)) => self.raw,
        }
    }

    /// How the log refers to it.
    pub fn reference(&self) -> FileRef {
        FileRef { canonical: self.canonical(), name: self.name.clone(), raw: self.raw }
    }
}

/// A migration and its rollback.
#[derive(Debug, Clone)]
pub struct Migration {
    /// Its version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// The file that applies it.
    pub up: SourceFile,
    /// The file that rolls it back.
    pub down: Option<SourceFile>,
}

impl Migration {
    /// `<version>_<name>`.
    pub fn id(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }
}

/// All migrations of a workspace, in the order they are applied.
#[derive(Debug, Clone, Default)]
pub struct MigrationSet {
    migrations: Vec<Migration>,
}

impl MigrationSet {
    /// Wraps migrations that are in order already.
    pub(crate) fn in_order(migrations: Vec<Migration>) -> Self {
        Self { migrations }
    }

    /// The same migrations: of files that are byte for byte what they were in `older`, the SQL that
    /// was read there is not read again.
    #[must_use]
    pub fn knowing(mut self, older: Self) -> Self {
        let older = older.migrations.into_iter().map(|known| (known.version.clone(), known));
        let mut older: std::collections::BTreeMap<Version, Migration> = older.collect();
        for migration in &mut self.migrations {
            let Some(known) = older.remove(&migration.version) else { continue };
            migration.up.take_over(known.up);
            if let (Some(down), Some(known)) = (&mut migration.down, known.down) {
                down.take_over(known);
            }
        }
        self
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.migrations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.migrations.is_empty()
    }

    /// In the order they are applied.
    pub fn iter(&self) -> std::slice::Iter<'_, Migration> {
        self.migrations.iter()
    }

    /// The place of `version` in the order, from 0.
    pub fn position(&self, version: &Version) -> Option<usize> {
        self.migrations.iter().position(|migration| migration.version == *version)
    }

    /// The migration of that version.
    pub fn get(&self, version: &Version) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.version == *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(up: &str) -> MigrationSet {
        let file = |text: &str| {
            SourceFile::new(Path::new("migrations/1_a.sql"), text.as_bytes().to_vec()).unwrap()
        };
        let (version, name) = ("1".parse().unwrap(), "a".to_owned());
        let down = Some(file("SELECT 0;"));
        MigrationSet::in_order(vec![Migration { version, name, up: file(up), down }])
    }

    #[test]
    fn what_was_read_of_a_file_is_known_as_long_as_its_bytes_are_the_same() {
        let older = || {
            let older = set("SELECT 1;");
            for migration in older.iter() {
                migration.up.script().unwrap();
                migration.down.as_ref().unwrap().script().unwrap();
            }
            older
        };
        let same = set("SELECT 1;").knowing(older());
        assert!(same.migrations[0].up.script.get().is_some());
        assert!(same.migrations[0].down.as_ref().unwrap().script.get().is_some());
        let changed = set("SELECT 2;").knowing(older());
        assert!(changed.migrations[0].up.script.get().is_none());
        assert_eq!(changed.migrations[0].up.script().unwrap().statements[0].text, "SELECT 2;");
    }
}
