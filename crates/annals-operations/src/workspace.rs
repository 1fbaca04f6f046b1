//! A folder with `annals.toml`.

use std::path::{Path, PathBuf};

use annals_migrations::{LoadOptions, MigrationSet, STACK_BYTES, load};

use crate::config::{CONFIG_FILE, Config, ConfigError};
use crate::error::Failure;

/// A workspace, its configuration read.
#[derive(Debug, Clone)]
pub struct Workspace {
    folder: PathBuf,
    config: Config,
}

impl Workspace {
    /// The workspace `folder` lies in.
    ///
    /// # Errors
    ///
    /// When there is none, or its configuration is broken.
    pub fn find(folder: &Path) -> Result<Self, ConfigError> {
        let home = folder.ancestors().find(|folder| folder.join(CONFIG_FILE).is_file());
        let home = home.ok_or_else(|| ConfigError::NoWorkspace(folder.to_owned()))?;
        Ok(Self { folder: home.to_owned(), config: Config::load(home)? })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its migrations.
    ///
    /// # Errors
    ///
    /// Everything wrong with names, files and pairing.
    pub fn load(&self) -> Result<MigrationSet, Failure> {
        load(&LoadOptions {
            workspace: self.folder.clone(),
            migrations: self.config.folders.migrations.clone(),
            rollbacks: self.config.folders.rollbacks.clone(),
            require_rollback: self.config.require_rollback,
        })
        .map_err(Failure::Files)
    }

    /// Begins to load them while other work goes on.
    pub(crate) fn load_apart(&self) -> Loading {
        let workspace = self.clone();
        // A file without a rollback is read as SQL.
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        match thread.spawn(move || workspace.load()) {
            Ok(thread) => Loading::Apart(thread),
            Err(_) => Loading::Later(Box::new(self.clone())),
        }
    }
}

/// Migrations that are being loaded.
pub(crate) enum Loading {
    Apart(std::thread::JoinHandle<Result<MigrationSet, Failure>>),
    /// There is no thread to be had.
    Later(Box<Workspace>),
}

impl Loading {
    /// Waits for them.
    pub(crate) fn wait(self) -> Result<MigrationSet, Failure> {
        match self {
            Self::Apart(thread) => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            Self::Later(workspace) => workspace.load(),
        }
    }
}
