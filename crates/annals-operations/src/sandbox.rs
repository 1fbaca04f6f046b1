//! The workspace's own PostgreSQL.

use std::path::{Path, PathBuf};

use annals_postgres::sandbox::{
    Binaries, Lifetime, Sandbox, SandboxError, SandboxOptions, default_folder, find_binaries,
    lock_folder,
};

use annals_postgres::{Platform, SessionSettings};

use crate::environment::Environment;
use crate::error::Failure;
use crate::workspace::Workspace;

/// What to know of a running sandbox.
#[derive(Debug, Clone)]
pub struct SandboxInfo {
    /// Where it lives.
    pub folder: PathBuf,
    /// How other programs reach it.
    pub url: String,
    /// The server's process id.
    pub pid: Option<i32>,
    /// `plain` or `supabase`.
    pub platform: &'static str,
}

/// Where sandboxes live: short, because a socket's path is limited to about 100 bytes.
fn base(environment: &Environment) -> PathBuf {
    let chosen = environment.variable("ANNALS_SANDBOX_DIR").or(environment.variable("TMPDIR"));
    chosen.map_or_else(|| "/tmp".into(), PathBuf::from)
}

pub(crate) fn folder(environment: &Environment, workspace: &Workspace) -> PathBuf {
    let base = base(environment);
    default_folder(&base, workspace.folder())
}

/// The server's programs.
pub(crate) fn binaries(environment: &Environment) -> Result<Binaries, SandboxError> {
    let chosen = environment.variable("ANNALS_PG_BIN").map(Path::new);
    find_binaries(chosen, &environment.search_path()).ok_or(SandboxError::NotInstalled)
}

/// The workspace's sandbox, started if need be.
pub(crate) async fn ensure(
    environment: &Environment,
    workspace: &Workspace,
) -> Result<Sandbox, SandboxError> {
    let (folder, binaries) = (folder(environment, workspace), binaries(environment)?);
    let options = SandboxOptions {
        folder: &folder,
        binaries: &binaries,
        platform: workspace.config().sandbox_platform,
        lifetime: Lifetime::UntilStopped,
        tcp_port: None,
        settings: &[],
    };
    // Of several commands at once, one sets the server up and the others find it.
    let _lock = lock_folder(&folder)?;
    match Sandbox::find(&options)? {
        Some(sandbox) => Ok(sandbox),
        None => Sandbox::start(&options).await,
    }
}

fn info(workspace: &Workspace, sandbox: &Sandbox) -> SandboxInfo {
    SandboxInfo {
        folder: sandbox.folder().to_owned(),
        url: sandbox.url(),
        pid: sandbox.server_pid(),
        platform: workspace.config().sandbox_platform.as_str(),
    }
}

/// Starts the workspace's sandbox, or finds it running.
///
/// # Errors
///
/// When no server is installed or it does not start.
pub async fn sandbox_start(
    environment: &Environment,
    workspace: &Workspace,
) -> Result<SandboxInfo, Failure> {
    Ok(info(workspace, &ensure(environment, workspace).await?))
}

/// Stops it and removes everything in it, its event log too. Says whether there was one.
///
/// # Errors
///
/// When its folder cannot be removed.
pub fn sandbox_stop(environment: &Environment, workspace: &Workspace) -> Result<bool, Failure> {
    let folder = folder(environment, workspace);
    let _lock = lock_folder(&folder)?;
    Ok(Sandbox::stop(&folder)?)
}

/// A PostgreSQL that lives as long as this value, prepared like Supabase, outside any workspace.
pub struct PrivateServer {
    sandbox: Sandbox,
    version: String,
}

impl PrivateServer {
    /// Starts it in a new temporary folder; the folder goes with it.
    ///
    /// # Errors
    ///
    /// When no server is installed or it does not start.
    pub async fn start(environment: &Environment) -> Result<Self, Failure> {
        let binaries = binaries(environment)?;
        let name = format!("annals-private-{}", environment.ids.next().simple());
        let base = base(environment);
        let sandbox = Sandbox::start(&SandboxOptions {
            folder: &base.join(name),
            binaries: &binaries,
            platform: Platform::Supabase,
            lifetime: Lifetime::OfThisProcess,
            tcp_port: None,
            settings: &[],
        })
        .await?;
        let session = sandbox.spec().connect("annals/private", &SessionSettings::default()).await?;
        let version = session.facts().short_version().to_owned();
        session.close().await;
        Ok(Self { sandbox, version })
    }

    /// How other programs reach it.
    pub fn url(&self) -> String {
        self.sandbox.url()
    }

    /// The server's version, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }
}
