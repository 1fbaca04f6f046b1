//! All migrations of a workspace, in order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use annals_events::{Digest, FileRef, Version};

use crate::position::Position;
use crate::sql::{self, Script};

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

/// A migration or rollback file: its bytes as read, its SQL on demand.
#[derive(Debug, Clone)]
pub struct SourceFile {
    path: PathBuf,
    name: String,
    raw: Digest,
    text: String,
    script: OnceLock<Result<Script, Vec<Problem>>>,
}

/// Characters that make text read otherwise than it runs (Unicode's bidirectional controls).
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
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
            problem(Position::of(&text, valid), "not UTF-8; save the file as UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        if let Some((at, c)) = text.char_indices().find(|&(_, c)| c == '\0' || is_bidi_control(c)) {
            let reason = format!("hidden character U+{:04X}; remove it", u32::from(c));
            return Err(problem(Position::of(&text, at), &reason));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { path: path.to_owned(), name, raw, text, script: OnceLock::new() })
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

    /// Its text, without byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its SQL, read on the first call.
    ///
    /// # Errors
    ///
    /// Everything wrong with it, each with its place.
    pub fn script(&self) -> Result<&Script, &[Problem]> {
        let script = self.script.get_or_init(|| {
            sql::parse(&self.text).map_err(|problems| {
                let mut problems: Vec<Problem> = problems
                    .into_iter()
                    .map(|(offset, reason)| Problem {
                        path: self.path.clone(),
                        position: Some(Position::of(&self.text, offset)),
                        reason,
                    })
                    .collect();
                problems.sort_by_key(|problem| problem.position);
                problems
            })
        });
        script.as_ref().map_err(Vec::as_slice)
    }

    /// SHA-256 over its statements alone; of a file that cannot be read as SQL, over its text.
    pub fn canonical(&self) -> Digest {
        self.script().map_or_else(|_| Digest::of(self.text.as_bytes()), |script| script.canonical)
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
