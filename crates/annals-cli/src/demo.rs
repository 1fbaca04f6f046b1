//! `annals demo`: the whole tour on a private server, told step by step.
//!
//! Every step is this very program, run as a user would run it; what is seen is what it printed.

mod files;
mod stage;

use std::path::PathBuf;

use annals_api::ExitCode;
use annals_operations::{Environment, Failure};

use crate::output::Output;
use stage::Stage;

/// Take the whole tour on a private PostgreSQL, and leave a folder to explore
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The folder to make; it must not exist
    #[arg(default_value = "annals-demo")]
    folder: PathBuf,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let folder = environment.folder.join(&arguments.folder);
    if folder.exists() {
        return Err(Failure::Argument {
            subject: folder.display().to_string(),
            reason: "is there already; remove it, or name another folder: annals demo FOLDER"
                .into(),
        });
    }
    let mut stage = Stage::set_up(environment, output, folder).await?;
    stage.tell(
        "A new workspace",
        "Four migrations of an agent platform on Supabase, each with its rollback.",
    );
    stage.annals(&["status"], ExitCode::Success)?;

    stage.tell("A fifth one", "annals writes the pair of files; we fill in the SQL.");
    let created = stage.annals_json(&["create", "add_agent_notes"])?;
    stage.fill_in(&created, files::NOTES_UP, files::NOTES_DOWN)?;
    stage.annals(&["plan", "--to", "002"], ExitCode::Success)?;

    stage.tell("Migrate", "Each migration once, in its own transaction, recorded before it acts.");
    stage.annals(&["migrate"], ExitCode::Success)?;
    stage.annals(&["verify"], ExitCode::Success)?;

    stage.tell("Roll back", "First see the SQL, then do it. History keeps both.");
    let before_rollback = stage.now();
    stage.annals(&["rollback", "--last", "1", "--dry-run"], ExitCode::Success)?;
    stage.annals(&["rollback", "--last", "1"], ExitCode::Success)?;

    stage.tell("A mistake", "The second statement fails: nothing of the file is kept.");
    let wrong = stage.annals_json(&["create", "add_tags"])?;
    stage.fill_in(&wrong, files::WRONG_UP, files::TAGS_DOWN)?;
    stage.annals(&["migrate"], ExitCode::StepFailed)?;
    stage.fill_in(&wrong, files::SLOW_UP, files::TAGS_DOWN)?;

    stage.tell(
        "kill -9 in the middle",
        "The corrected file takes two seconds; the process is killed while the server works.",
    );
    stage.kill_in_the_middle()?;
    stage.annals(&["migrate"], ExitCode::Success)?;

    stage.tell(
        "Somebody edits the history",
        "One byte of a copy of the event log is changed: \"succeeded\" becomes \"Succeeded\".",
    );
    stage.tamper()?;
    let tampered = ["log", "verify", "--log", "tampered-log", "--key", "keys/log.pub"];
    stage.annals(&tampered, ExitCode::LogContent)?;
    stage.annals(&["log", "verify"], ExitCode::Success)?;

    stage.tell("The database is gone", "The log alone still says what was true, now and then.");
    stage.stop_server();
    stage.annals(&["history"], ExitCode::Success)?;
    stage.annals(&["state", "--at", &before_rollback], ExitCode::Success)?;
    Ok(stage.finish())
}
