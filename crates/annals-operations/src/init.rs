//! `init`: a new workspace.

use std::fs;
use std::path::{Path, PathBuf};

use annals_backup::KeyEncryptionKey;
use annals_keys::{SecretKey, write_pair};

use crate::backups::BackupTrouble;
use crate::config::{CONFIG_FILE, Config, ConfigError, check_name};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};

/// What was written, relative to the workspace.
#[derive(Debug, Clone)]
pub struct Initialized {
    /// The workspace.
    pub folder: PathBuf,
    /// Its name.
    pub workspace: String,
    /// Files and folders that were made.
    pub written: Vec<PathBuf>,
}

/// What `annals init` writes into `annals.toml`.
fn template(workspace: &str, supabase: bool, pipeline: bool) -> String {
    let platform = if supabase { "supabase" } else { "plain" };
    let text = format!(
        "# The workspace's name: part of its logs' names and of the lock on a target.\n\
         workspace = \"{workspace}\"\n\
         # The target used when no --target is given; \"sandbox\" is a private PostgreSQL that\n\
         # annals starts itself.\n\
         default_target = \"sandbox\"\n\n\
         [sandbox]\nplatform = \"{platform}\"\n"
    );
    if pipeline {
        return text + &crate::pipelines::targets(supabase);
    }
    text + &format!(
        "\n# [targets.production]\n\
         # url_env = \"DATABASE_URL\"    # the variable that holds postgres://user:password@host:5432/database\n\
         # backup = \"full\"             # before each run; or scoped, external, off\n\
         # platform = \"{platform}\"\n"
    )
}

const IGNORED: &str = "# Secret keys never enter the repository.\n*.key\n*.key.next\n";

/// Makes `folder` a workspace, with targets for a pipeline if there is to be one.
///
/// # Errors
///
/// When it is one already, the name cannot be used, or something cannot be written.
pub fn init(
    environment: &Environment,
    folder: &Path,
    name: Option<&str>,
    supabase: bool,
    pipeline: bool,
) -> Result<Initialized, Failure> {
    // Without the `.` that stands for "here".
    let folder: PathBuf = environment.folder.join(folder).components().collect();
    let config_path = folder.join(CONFIG_FILE);
    if config_path.exists() {
        return Err(ConfigError::IsWorkspace(folder).into());
    }
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::Write { path, source }
    };
    let name = name.map_or_else(|| folder_name(&folder), str::to_owned);
    // Before the name goes into TOML, and before anything is made.
    check_name("workspace", &name)?;
    let text = template(&name, supabase, pipeline);
    let config = Config::parse(&text, &config_path)?;
    fs::create_dir_all(&folder).map_err(write(&folder))?;
    let folder = fs::canonicalize(&folder).map_err(write(&folder))?;
    let mut written = Vec::new();
    let folders = &config.folders;
    for part in [&folders.migrations, &folders.rollbacks, &folders.event_store, &folders.keys] {
        let path = folder.join(part);
        fs::create_dir_all(&path).map_err(write(&path))?;
        if *part == folders.migrations || *part == folders.rollbacks {
            let keep = path.join(".gitkeep");
            fs::write(&keep, "").map_err(write(&keep))?;
        }
        written.push(part.clone());
    }
    let ignore = folders.keys.join(".gitignore");
    fs::write(folder.join(&ignore), IGNORED).map_err(write(&folder.join(&ignore)))?;
    written.push(ignore);
    let (secret, public) = (folders.keys.join("log.key"), folders.keys.join("log.pub"));
    if !folder.join(&secret).exists() && !folder.join(&public).exists() {
        let path = folder.join(&secret);
        let key = SecretKey::generate(&config.workspace)
            .map_err(|source| annals_keys::KeyFileError::Content { path: path.clone(), source })
            .map_err(LogFailure::from)?;
        write_pair(&key, &path, &folder.join(&public)).map_err(LogFailure::from)?;
        written.extend([secret, public]);
    }
    let backup_key = folders.keys.join("backup.key");
    if !folder.join(&backup_key).exists() {
        let key = KeyEncryptionKey::generate().map_err(BackupTrouble::from)?;
        key.create_file(&folder.join(&backup_key)).map_err(BackupTrouble::from)?;
        written.push(backup_key);
    }
    // Last: a folder counts as a workspace only when everything else is there.
    fs::write(&config_path, text).map_err(write(&config_path))?;
    written.push(CONFIG_FILE.into());
    Ok(Initialized { folder, workspace: config.workspace, written })
}

/// The folder's name, with what a name cannot hold replaced by `-`.
fn folder_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).take(60).collect();
    let name = name.trim_start_matches(['.', '-']).to_owned();
    if name.is_empty() { "workspace".to_owned() } else { name }
}
