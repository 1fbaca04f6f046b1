//! `init`, `create`, `sandbox`.

use annals_operations::{Created, Initialized, Pipelines, SandboxInfo, Written};
use serde::Serialize;

/// `annals init`.
#[derive(Debug, Clone, Serialize)]
pub struct InitDocument {
    /// `annals.init/1`.
    pub format: &'static str,
    /// The workspace's folder.
    pub folder: String,
    /// The workspace's name.
    pub workspace: String,
    /// What was written, relative to the folder.
    pub written: Vec<String>,
    /// Files of pipelines that are as they would be written.
    pub unchanged: Vec<String>,
    /// Files of pipelines that are others, and were left alone.
    pub kept: Vec<String>,
    /// What is to be set by somebody.
    pub todo: Vec<String>,
}

impl InitDocument {
    /// What was made, if the folder was no workspace yet, and the files of pipelines.
    pub fn new(made: Option<&Initialized>, pipelines: &Pipelines) -> Self {
        let paths = |of: Written| {
            let files = pipelines.files.iter().filter(move |file| file.written == of);
            files.map(|file| file.path.display().to_string())
        };
        let made_paths = made.iter().flat_map(|made| &made.written);
        let written = made_paths.map(|path| path.display().to_string()).chain(paths(Written::New));
        Self {
            format: "annals.init/1",
            folder: pipelines.folder.display().to_string(),
            workspace: pipelines.workspace.clone(),
            written: written.collect(),
            unchanged: paths(Written::Same).collect(),
            kept: paths(Written::Kept).collect(),
            todo: pipelines.todo.clone(),
        }
    }
}

/// `annals create`.
#[derive(Debug, Clone, Serialize)]
pub struct CreateDocument {
    /// `annals.create/1`.
    pub format: &'static str,
    /// The version.
    pub version: String,
    /// The migration, relative to the workspace.
    pub migration: String,
    /// Its rollback, relative to the workspace.
    pub rollback: String,
}

impl From<&Created> for CreateDocument {
    fn from(created: &Created) -> Self {
        Self {
            format: "annals.create/1",
            version: created.version.to_string(),
            migration: created.migration.display().to_string(),
            rollback: created.rollback.display().to_string(),
        }
    }
}

/// `annals sandbox start`, `stop` and `url`.
#[derive(Debug, Clone, Serialize)]
pub struct SandboxDocument {
    /// `annals.sandbox/1`.
    pub format: &'static str,
    /// Whether its server runs now.
    pub running: bool,
    /// Its folder.
    pub folder: Option<String>,
    /// How other programs reach it.
    pub url: Option<String>,
    /// The server's process id.
    pub pid: Option<i32>,
    /// `plain` or `supabase`.
    pub platform: Option<String>,
    /// The server's version, such as `15.18`.
    pub server_version: Option<String>,
    /// The major version that was wanted, where the server has another one.
    pub wanted_major: Option<u32>,
    /// Who wanted it, why the server has another one, and what to do.
    pub note: Option<String>,
}

impl SandboxDocument {
    /// None is running.
    pub const STOPPED: Self = Self {
        format: "annals.sandbox/1",
        running: false,
        folder: None,
        url: None,
        pid: None,
        platform: None,
        server_version: None,
        wanted_major: None,
        note: None,
    };
}

impl From<&SandboxInfo> for SandboxDocument {
    fn from(info: &SandboxInfo) -> Self {
        Self {
            running: true,
            folder: Some(info.folder.display().to_string()),
            url: Some(info.url.clone()),
            pid: info.pid,
            platform: Some(info.platform.to_owned()),
            server_version: Some(info.version.clone()),
            wanted_major: info.other_major.as_ref().map(|other| other.wanted),
            note: info.other_major.as_ref().map(|other| {
                let annals_operations::OtherMajor { wanted, wanted_by, reason } = other;
                format!("PostgreSQL {wanted} is wanted ({wanted_by}): {reason}")
            }),
            ..Self::STOPPED
        }
    }
}
