//! Which log.

use std::path::PathBuf;

use annals_operations::LogSource;

use super::target::TargetArguments;

/// Chooses the log: a target's, or one in a folder.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArguments {
    #[command(flatten)]
    target: TargetArguments,

    /// Read the log in this folder or export file; no workspace is needed
    #[arg(long, value_name = "PATH", conflicts_with_all = ["target", "sandbox"])]
    log: Option<PathBuf>,

    /// The public keys of that log (log.pub)
    #[arg(long, value_name = "FILE", requires = "log")]
    key: Option<PathBuf>,
}

impl SourceArguments {
    /// As an operation takes it.
    pub(crate) fn source(&self) -> LogSource {
        match &self.log {
            Some(folder) => LogSource::Folder { folder: folder.clone(), key: self.key.clone() },
            None => LogSource::Target(self.target.name().map(str::to_owned)),
        }
    }
}
