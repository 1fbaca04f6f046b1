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
    /// The file, relative to the repository's top, or to the workspace where there is none.
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
    let place = Place::of(&workspace);
    for kind in kinds {
        let (path, text, mode) = match kind {
            PipelineKind::GitHub => {
                (place.file(".github/workflows"), place.rendered(&workspace, GITHUB)?, 0o644)
            }
            PipelineKind::GitLab => {
                (place.file(".gitlab"), place.rendered(&workspace, GITLAB)?, 0o644)
            }
            PipelineKind::Hook => {
                let failed = |reason| Failure::Argument { subject: "--hook".to_owned(), reason };
                let hooks = git::hooks(workspace.folder()).map_err(failed)?;
                (hooks.join("pre-commit"), place.hook(&workspace), 0o755)
            }
        };
        let written = write(&path, &text, mode)?;
        let shown = path.strip_prefix(&place.top).unwrap_or(&path).to_owned();
        done.files.push(PipelineFile { path: shown, written });
        todo(&workspace, &place, *kind, &mut done.todo);
    }
    Ok(done)
}

/// Where a workspace lies in its repository: workflows lie at the top of that, and speak of files from
/// there.
struct Place {
    top: PathBuf,
    /// `db/`, or nothing at the top.
    below: String,
    /// `-<workspace>` below the top, where there may be several workspaces; nothing at the top.
    suffix: String,
}

impl Place {
    fn of(workspace: &Workspace) -> Self {
        let below = repository_path(workspace.folder());
        let (Ok(top), false) = (git::top(workspace.folder()), below.is_empty()) else {
            let top = workspace.folder().to_owned();
            return Self { top, below: String::new(), suffix: String::new() };
        };
        let name = workspace.config().workspace.chars();
        let name: String = name.map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Self { top, below, suffix: format!("-{name}") }
    }

    fn file(&self, folder: &str) -> PathBuf {
        self.top.join(folder).join(format!("database-migrations{}.yml", self.suffix))
    }

    /// The folder of the workspace, where it is not the top.
    fn directory(&self) -> Option<&str> {
        self.below.strip_suffix('/')
    }

    fn filled(&self, workspace: &Workspace, text: &str, enter: &str) -> String {
        let (of, directory) = match self.directory() {
            None => (String::new(), String::new()),
            Some(directory) => (
                format!(" of {}", workspace.config().workspace),
                format!("\n    working-directory: {directory:?}"),
            ),
        };
        let text = text
            .replace("@BELOW@", &self.below)
            .replace("@SUFFIX@", &self.suffix)
            .replace("@OF@", &of)
            .replace("@DIRECTORY@", &directory)
            .replace("@ENTER@", enter);
        of_files(workspace, &text)
    }

    /// A template with what the workspace is called and has.
    fn rendered(&self, workspace: &Workspace, template: &str) -> Result<String, Failure> {
        if self.below.contains(['\'', '"', '\\', '\n', '$', '`', '*', '?', '[', '!']) {
            return Err(Failure::Argument {
                subject: workspace.folder().display().to_string(),
                reason: "its path in the repository has characters that mean something else in a \
                         workflow; rename the folder"
                    .to_owned(),
            });
        }
        let enter = self.directory().map(|directory| format!("\n    - cd \"{directory}\""));
        let mut text = self.filled(workspace, template, &enter.unwrap_or_default());
        for name in STAGES {
            let variable = variable(workspace, name)?;
            text = text.replace(&format!("@{}_URL@", name.to_uppercase()), &variable);
        }
        Ok(text)
    }

    fn hook(&self, workspace: &Workspace) -> String {
        let quoted = |text: &str| text.replace('\'', "'\\''");
        let place =
            Self { top: self.top.clone(), below: quoted(&self.below), suffix: self.suffix.clone() };
        let enter = place.directory().map(|directory| format!("cd '{directory}' || exit 1\n"));
        place.filled(workspace, HOOK, &enter.unwrap_or_default())
    }
}

/// The path of `folder` in its repository, with a slash behind it: empty at the top, and where there is
/// no repository.
pub(crate) fn repository_path(folder: &Path) -> String {
    let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let Ok(top) = git::top(folder) else { return String::new() };
    let (top, folder) = (whole(&top), whole(folder));
    let Ok(below) = folder.strip_prefix(top) else { return String::new() };
    let parts = below.components().map(|part| part.as_os_str().to_string_lossy());
    parts.map(|part| format!("{part}/")).collect()
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

fn todo(workspace: &Workspace, place: &Place, kind: PipelineKind, todo: &mut Vec<String>) {
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
                "secrets ANNALS_LOG_KEY and ANNALS_BACKUP_KEY: gh secret set ANNALS_LOG_KEY < {}{}/log.key",
                place.below,
                config.folders.keys.display()
            ));
            todo.push("variable ANNALS_INSTALL, how annals is installed; without it: cargo install --locked annals-cli".to_owned());
        }
        PipelineKind::GitLab => {
            todo.push(format!(
                "variables {}, ANNALS_LOG_KEY and ANNALS_BACKUP_KEY (type File), protected",
                urls.join(", ")
            ));
            todo.push(format!(
                "include: [{{ local: .gitlab/database-migrations{}.yml }}] in .gitlab-ci.yml",
                place.suffix
            ));
        }
        PipelineKind::Hook => {}
    }
}
