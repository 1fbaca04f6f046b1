//! `annals sandbox`.

use std::os::unix::process::CommandExt;
use std::process::Command as Process;

use annals_api::{ExitCode, SandboxDocument};
use annals_operations::{Environment, Failure, Workspace, sandbox_start, sandbox_stop};

use crate::output::Output;
use crate::style::{FAINT, GOOD, HINT};

/// A private PostgreSQL for this workspace, in its own folder, on a socket
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start it, or find it running
    Start {
        /// Its PostgreSQL's major version; else sandbox.major, else that of the target it is like
        #[arg(long, value_name = "VERSION")]
        major: Option<u32>,
    },
    /// Stop it and remove everything in it, its event log too
    Stop,
    /// Print its URL, starting it if need be
    Url,
    /// Open psql on it, starting it if need be; arguments behind -- go to psql
    Psql {
        /// Arguments for psql
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    match command {
        Command::Start { major } => {
            let info = sandbox_start(environment, &workspace, *major).await?;
            output.show(&SandboxDocument::from(&info), started);
        }
        Command::Stop => {
            let was_there = sandbox_stop(environment, &workspace)?;
            output.show(&SandboxDocument::STOPPED, |_| {
                let said = if was_there { "the sandbox is gone" } else { "there was no sandbox" };
                format!("{GOOD}✓{GOOD:#} {said}\n")
            });
        }
        Command::Url => {
            let info = sandbox_start(environment, &workspace, None).await?;
            output.show(&SandboxDocument::from(&info), |document| {
                format!("{}\n", document.url.as_deref().unwrap_or_default())
            });
        }
        Command::Psql { arguments } => {
            let info = sandbox_start(environment, &workspace, None).await?;
            // Replaces this process; it returns only if psql cannot be started.
            let error = Process::new("psql").arg(&info.url).args(arguments).exec();
            return Err(Failure::Argument {
                subject: "psql".to_owned(),
                reason: format!(
                    "cannot be started ({error}); install it: apt-get install -y postgresql-client"
                ),
            });
        }
    }
    Ok(ExitCode::Success)
}

fn started(document: &SandboxDocument) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let note = document.note.as_ref().map(|note| format!("  {HINT}note{HINT:#}    {note}\n"));
    format!(
        "{GOOD}✓{GOOD:#} the sandbox is running: PostgreSQL {}, prepared as {}\n{}  \
         {FAINT}folder{FAINT:#}  {}\n  {FAINT}url{FAINT:#}     {}\n{HINT}next{HINT:#}: annals migrate --sandbox, or annals sandbox psql\n",
        text(&document.server_version),
        text(&document.platform),
        note.unwrap_or_default(),
        text(&document.folder),
        text(&document.url)
    )
}
