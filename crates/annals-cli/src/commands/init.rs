//! `annals init`.

use std::path::PathBuf;

use annals_api::{ExitCode, InitDocument};
use annals_operations::{Environment, Failure, PipelineKind, init, init_pipelines};

use crate::output::Output;
use crate::style::{self, FAINT, GOOD, HINT, NOTE};

/// Make a folder a workspace: annals.toml, folders, and the keys; and write what a team's pipeline needs
///
/// With --github, --gitlab or --hook a workspace that is there gets those files alone. What is there
/// is never written over.
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

    /// A GitHub workflow: validated, tested, staging, production, back in an emergency
    #[arg(long)]
    github: bool,

    /// The same for GitLab
    #[arg(long)]
    gitlab: bool,

    /// A hook of git: no commit of migrations that the pipeline would refuse
    #[arg(long)]
    hook: bool,
}

impl Arguments {
    fn kinds(&self) -> Vec<PipelineKind> {
        let all = [
            (self.github, PipelineKind::GitHub),
            (self.gitlab, PipelineKind::GitLab),
            (self.hook, PipelineKind::Hook),
        ];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect()
    }
}

pub(crate) fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let kinds = arguments.kinds();
    let is_workspace = environment.folder.join(&arguments.folder).join("annals.toml").exists();
    let named = arguments.name.is_some() || arguments.supabase;
    let done = match is_workspace && !kinds.is_empty() && !named {
        true => None,
        false => {
            let (folder, name) = (&arguments.folder, arguments.name.as_deref());
            let stages = arguments.github || arguments.gitlab;
            Some(init(environment, folder, name, arguments.supabase, stages)?)
        }
    };
    let pipelines = init_pipelines(environment, &arguments.folder, &kinds)?;
    output.show(&InitDocument::new(done.as_ref(), &pipelines), |document| {
        let (workspace, folder) = (&document.workspace, style::safe(&document.folder));
        let mut text = format!("{GOOD}✓{GOOD:#} workspace {workspace} in {folder}\n");
        for path in &document.written {
            text.push_str(&format!("    {}\n", style::safe(path)));
        }
        for path in &document.unchanged {
            text.push_str(&format!("    {} {FAINT}is there already{FAINT:#}\n", style::safe(path)));
        }
        for path in &document.kept {
            text.push_str(&format!(
                "{NOTE}note{NOTE:#}: {} is another one and was left alone; remove it to have it written anew\n",
                style::safe(path)
            ));
        }
        if done.is_some() {
            text.push_str(
                "\nkeys/log.key signs the event logs, keys/backup.key opens the backups: both stay out of version\n\
                 control. Keep a copy of them elsewhere: without its key no backup can be opened by anybody.\n",
            );
        }
        if !document.todo.is_empty() {
            text.push_str("\nto be set by somebody:\n");
        }
        for line in &document.todo {
            text.push_str(&format!("  - {}\n", style::safe(line)));
        }
        if done.is_some() {
            text.push_str(&format!("{HINT}next{HINT:#}: annals create <name>\n"));
        }
        text
    });
    Ok(ExitCode::Success)
}
