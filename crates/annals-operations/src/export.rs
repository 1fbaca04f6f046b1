//! `export`: the two files other tools read.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use annals_projections::{MigrationHistoryExport, RecoveryLog, RecoveryLogExport, State};

use crate::environment::Environment;
use crate::error::Failure;
use crate::logs::{LogSource, ReadLog};
use crate::moment::Moment;
use crate::replay::{Vantage, fold_one};

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportKind {
    /// `migration_history.json`.
    History,
    /// `recovery_log.json`.
    Recovery,
}

impl ExportKind {
    /// The file's usual name.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::History => "migration_history.json",
            Self::Recovery => "recovery_log.json",
        }
    }
}

/// The content of a file.
#[derive(Debug)]
pub enum Export {
    /// `migration_history.json`.
    History(MigrationHistoryExport),
    /// `recovery_log.json`.
    Recovery(RecoveryLogExport),
}

/// Folds what the file of that kind holds as of `moment`.
///
/// # Errors
///
/// When there is no log, it is damaged, or the moment lies behind its last event.
pub async fn export(
    environment: &Environment,
    source: &LogSource,
    kind: ExportKind,
    moment: &Moment,
) -> Result<(Vantage, Export), Failure> {
    let log = ReadLog::from_source(environment, source)?;
    Ok(match kind {
        ExportKind::History => {
            let (vantage, state) = fold_one::<State>(environment, &log, moment).await?;
            (vantage, Export::History(MigrationHistoryExport::from(&state)))
        }
        ExportKind::Recovery => {
            let (vantage, log) = fold_one::<RecoveryLog>(environment, &log, moment).await?;
            (vantage, Export::Recovery(RecoveryLogExport::from(&log)))
        }
    })
}

/// Writes `text` to `path`, or under its usual name into the folder `path`: all of it or nothing.
/// Returns where it is.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_export(path: &Path, kind: ExportKind, text: &str) -> Result<PathBuf, Failure> {
    let path = if path.is_dir() { path.join(kind.file_name()) } else { path.to_owned() };
    match replace(&path, text) {
        Ok(()) => Ok(path),
        Err(source) => Err(Failure::Write { path, source }),
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = fs::File::create(&unfinished).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&unfinished, path));
    if done.is_err() {
        // Whoever reads the error is not helped by a second one.
        let _ = fs::remove_file(&unfinished);
    }
    done
}
