//! `init --github`, `--gitlab`, `--hook`: what takes a team from a change to production.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::{StorePlace, TargetConfig, UrlSource};
use crate::environment::Environment;
use crate::error::Failure;
use crate::git;
use crate::workspace::Workspace;

/// Where a pipeline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineKind {
    /// A workflow of GitHub Actions.
    GitHub,
    /// A part of a GitLab pipeline.
    GitLab,
    /// A hook of git, before each commit.
    Hook,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was written.
    New,
    /// It is there as it should be.
    Same,
    /// Another one is there, and was left alone.
    Kept,
}

/// What was written for a pipeline.
#[derive(Debug, Clone)]
pub struct PipelineFile {
    /// The file, relative to the workspace where it lies in it.
    pub path: PathBuf,
    /// What became of it.
    pub written: Written,
}

/// What was written, and what is left for people to do.
#[derive(Debug, Clone, Default)]
pub struct Pipelines {
    /// The workspace's folder.
    pub folder: PathBuf,
    /// The workspace's name.
    pub workspace: String,
    /// Each file.
    pub files: Vec<PipelineFile>,
    /// What is to be set where annals has no hands.
    pub todo: Vec<String>,
}

const GITHUB: &str = include_str!("pipelines/github.yml");
const GITLAB: &str = include_str!("pipelines/gitlab.yml");
const HOOK: &str = include_str!("pipelines/pre-commit.sh");

/// The targets of a pipeline.
const STAGES: [&str; 2] = ["staging", "production"];

/// The two targets of a pipeline, for a new `annals.toml`.
pub(crate) fn targets(supabase: bool) -> String {
    let platform = if supabase { "supabase" } else { "plain" };
    let target = |name: &str| {
        format!(
            "\n[targets.{name}]\nurl_env = \"{}_DATABASE_URL\"\nplatform = \"{platform}\"\n\
             # The machine that runs a pipeline is gone afterwards: the log lives in the target.\n\
             event_store = \"postgres\"\nbackup = \"full\"\n",
            name.to_uppercase()
        )
    };
    STAGES.map(target).concat()
}

/// Writes the files of pipelines into a workspace. What is there is never written over.
///
/// # Errors
///
/// When the workspace cannot be found, has no targets for them, or a file cannot be written.
pub fn init_pipelines(
    environment: &Environment,
    folder: &Path,
    kinds: &[PipelineKind],
) -> Result<Pipelines, Failure> {
    // Without the `.` that stands for "here".
    let folder: PathBuf = environment.folder.join(folder).components().collect();
    let workspace = Workspace::find(&folder)?;
    let mut done = Pipelines {
        folder: workspace.folder().to_owned(),
        workspace: workspace.config().workspace.clone(),
        ..Pipelines::default()
    };
    for kind in kinds {
        let (path, text, mode) = match kind {
            PipelineKind::GitHub => {
                at_the_top(&workspace, "GitHub reads workflows")?;
                let path = workspace.folder().join(".github/workflows/database-migrations.yml");
                (path, rendered(&workspace, GITHUB)?, 0o644)
            }
            PipelineKind::GitLab => {
                at_the_top(&workspace, "GitLab reads pipelines")?;
                let path = workspace.folder().join(".gitlab/database-migrations.yml");
                (path, rendered(&workspace, GITLAB)?, 0o644)
            }
            PipelineKind::Hook => {
                let failed = |reason| Failure::Argument { subject: "--hook".to_owned(), reason };
                let hooks = git::hooks(workspace.folder()).map_err(failed)?;
                (hooks.join("pre-commit"), of_files(&workspace, HOOK), 0o755)
            }
        };
        let written = write(&path, &text, mode)?;
        let shown = path.strip_prefix(workspace.folder()).unwrap_or(&path).to_owned();
        done.files.push(PipelineFile { path: shown, written });
        todo(&workspace, *kind, &mut done.todo);
    }
    Ok(done)
}

/// Both read the top folder of a repository only.
fn at_the_top(workspace: &Workspace, who: &str) -> Result<(), Failure> {
    let Ok(top) = git::top(workspace.folder()) else { return Ok(()) };
    let here =
        fs::canonicalize(workspace.folder()).unwrap_or_else(|_| workspace.folder().to_owned());
    if fs::canonicalize(&top).is_ok_and(|top| top == here) {
        return Ok(());
    }
    Err(Failure::Argument {
        subject: workspace.folder().display().to_string(),
        reason: format!(
            "{who} in the top folder of a repository, {}, and the workspace lies below it; write the \
             workflow into a workspace at the top, and adapt paths and working-directory",
            top.display()
        ),
    })
}

fn of_files(workspace: &Workspace, text: &str) -> String {
    let config = workspace.config();
    let folders = &config.folders;
    let path = |path: &Path| path.display().to_string();
    text.replace("@WORKSPACE@", &config.workspace)
        .replace("@MIGRATIONS@", &path(&folders.migrations))
        .replace("@ROLLBACKS@", &path(&folders.rollbacks))
        .replace("@KEYS@", &path(&folders.keys))
        .replace("@BACKUPS@", &path(&folders.backups))
        .replace("@EVENT_STORE@", &path(&folders.event_store))
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@BRANCH@", &git::branch(workspace.folder()).unwrap_or_else(|| "main".to_owned()))
}

/// A template with what the workspace is called and has.
fn rendered(workspace: &Workspace, template: &str) -> Result<String, Failure> {
    let mut text = of_files(workspace, template);
    for name in STAGES {
        let variable = variable(workspace, name)?;
        text = text.replace(&format!("@{}_URL@", name.to_uppercase()), &variable);
    }
    Ok(text)
}

fn stage<'a>(workspace: &'a Workspace, name: &str) -> Option<&'a TargetConfig> {
    workspace.config().targets.get(name)
}

/// The variable that has the URL of a stage.
fn variable(workspace: &Workspace, name: &str) -> Result<String, Failure> {
    let reason = match stage(workspace, name).map(|target| &target.url) {
        Some(UrlSource::Variable(variable)) => return Ok(variable.clone()),
        Some(_) => "has its URL in annals.toml; a pipeline takes it from a secret: url_env",
        None => "is not in annals.toml, and a pipeline goes from staging to production",
    };
    let add = targets(false);
    let add = add.split("\n[").find(|part| part.starts_with(&format!("targets.{name}]")));
    Err(Failure::Argument {
        subject: format!("[targets.{name}]"),
        reason: format!("{reason}; write for example:\n\n[{}", add.unwrap_or_default()),
    })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<Written, Failure> {
    let failed = |source| Failure::Write { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(there) if there == text.as_bytes() => return Ok(Written::Same),
        Ok(_) => return Ok(Written::Kept),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // Whole or not at all: a hook that was cut short would let everything through.
    let part = path.with_extension("annals-part");
    fs::write(&part, text).map_err(failed)?;
    fs::set_permissions(&part, fs::Permissions::from_mode(mode)).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)?;
    Ok(Written::New)
}

fn todo(workspace: &Workspace, kind: PipelineKind, todo: &mut Vec<String>) {
    if kind == PipelineKind::Hook {
        return;
    }
    let config = workspace.config();
    for name in STAGES {
        let Some(target) = stage(workspace, name) else { continue };
        if matches!(target.event_store, StorePlace::File) && target.anchors.is_empty() {
            todo.push(format!(
                "[targets.{name}]: event_store = \"postgres\", for the machine that runs the pipeline is gone afterwards"
            ));
        }
        if target.backup.is_none() {
            todo.push(format!(
                "[targets.{name}]: backup = \"full\", so that each run is backed up first"
            ));
        }
    }
    if config.backup.store.is_none() {
        todo.push("[backup] store = \"s3://…\" keeps backups; until then the pipeline keeps them as artifacts for 90 days".to_owned());
    }
    let urls: Vec<String> =
        STAGES.iter().filter_map(|name| variable(workspace, name).ok()).collect();
    match kind {
        PipelineKind::GitHub => {
            todo.push(format!(
                "environments staging and production, the latter with required reviewers; their secrets: {}",
                urls.join(", ")
            ));
            todo.push(format!(
                "secrets ANNALS_LOG_KEY and ANNALS_BACKUP_KEY: gh secret set ANNALS_LOG_KEY < {}/log.key",
                config.folders.keys.display()
            ));
            todo.push("variable ANNALS_INSTALL, how annals is installed; without it: cargo install --locked annals-cli".to_owned());
        }
        PipelineKind::GitLab => {
            todo.push(format!(
                "variables {}, ANNALS_LOG_KEY and ANNALS_BACKUP_KEY (type File), protected",
                urls.join(", ")
            ));
            todo.push(
                "include: [{ local: .gitlab/database-migrations.yml }] in .gitlab-ci.yml"
                    .to_owned(),
            );
        }
        PipelineKind::Hook => {}
    }
}
