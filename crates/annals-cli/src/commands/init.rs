//! `annals init`.

use std::path::PathBuf;

use annals_api::{ExitCode, InitDocument};
use annals_operations::{Environment, Failure, init};

use crate::output::Output;
use crate::style::{GOOD, HINT};

/// Make a folder a workspace: annals.toml, folders, and the key that signs its logs
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The folder; created if need be
    #[arg(default_value = ".")]
    folder: PathBuf,

    /// The workspace's name; by default the folder's
    #[arg(long)]
    name: Option<String>,

    /// The databases are Supabase's: prepare the sandbox like it, leave its own schemas alone
    #[arg(long)]
    supabase: bool,
}

pub(crate) fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let done = init(environment, &arguments.folder, arguments.name.as_deref(), arguments.supabase)?;
    output.show(&InitDocument::from(&done), |document| {
        let mut text =
            format!("{GOOD}✓{GOOD:#} workspace {} in {}\n", document.workspace, document.folder);
        for path in &document.written {
            text.push_str(&format!("    {path}\n"));
        }
        text.push_str(&format!(
            "\nkeys/log.key signs the event logs, keys/backup.key opens the backups: both stay out of version\n\
             control. Keep a copy of them elsewhere: without its key no backup can be opened by anybody.\n\
             {HINT}next{HINT:#}: annals create <name>\n"
        ));
        text
    });
    Ok(ExitCode::Success)
}
