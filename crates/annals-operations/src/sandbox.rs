//! The workspace's own PostgreSQL.

use std::fs::File;
use std::path::{Path, PathBuf};

use annals_events::{Event, Recorded};
use annals_postgres::sandbox::{
    InstalledServers, Lifetime, Sandbox, SandboxError, SandboxOptions, ServerPlaces,
    default_folder, lock_folder, major_of,
};

use annals_postgres::{ConnectionSpec, Platform};

use crate::environment::Environment;
use crate::error::Failure;
use crate::home::LogHome;
use crate::logs::ReadLog;
use crate::targets::Target;
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
    /// The server's version, such as `15.18`.
    pub version: String,
    /// Why it has another major version than was wanted.
    pub other_major: Option<OtherMajor>,
}

/// The sandbox has another major version than was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherMajor {
    /// What was wanted.
    pub wanted: u32,
    /// By whom: `--major`, `sandbox.major` or a target.
    pub wanted_by: String,
    /// Why it has not got it, and what to do.
    pub reason: String,
}

/// A major version and who wants it.
struct Wanted {
    major: u32,
    by: String,
}

/// Where sandboxes live: short, because a socket's path is limited to about 100 bytes.
pub(crate) fn base(environment: &Environment) -> PathBuf {
    let chosen = environment.variable("ANNALS_SANDBOX_DIR").or(environment.variable("TMPDIR"));
    chosen.map_or_else(|| "/tmp".into(), PathBuf::from)
}

pub(crate) fn folder(environment: &Environment, workspace: &Workspace) -> PathBuf {
    let base = base(environment);
    default_folder(&base, workspace.folder())
}

/// The servers that are installed. `ANNALS_PG_BIN` may list several folders, as `PATH` does.
pub(crate) fn servers(
    environment: &Environment,
    workspace: Option<&Workspace>,
) -> InstalledServers {
    InstalledServers::find(&places(environment, workspace))
}

/// Where PostgreSQL's programs are looked for.
pub(crate) fn places(environment: &Environment, workspace: Option<&Workspace>) -> ServerPlaces {
    let only = environment.variable("ANNALS_PG_BIN").unwrap_or_default();
    let configured = workspace.map(|workspace| workspace.config().sandbox.servers.clone());
    ServerPlaces {
        only: std::env::split_paths(only).filter(|path| !path.as_os_str().is_empty()).collect(),
        by_major: configured.unwrap_or_default(),
        search_path: environment.search_path(),
    }
}

/// What the sandbox is to have: asked for, configured, or what the target it is like had when
/// annals last registered it. The target itself is not asked: a sandbox works without it.
async fn wanted_major(
    environment: &Environment,
    workspace: &Workspace,
    asked: Option<u32>,
) -> Option<Wanted> {
    let config = &workspace.config().sandbox;
    if let Some(major) = asked {
        return Some(Wanted { major, by: "--major".to_owned() });
    }
    if let Some(major) = config.major {
        return Some(Wanted { major, by: "sandbox.major".to_owned() });
    }
    let name = config.like.as_deref()?;
    let target = Target::resolve(environment, workspace, Some(name)).ok()?;
    let log = ReadLog::of_target(&target).ok()?;
    if !matches!(log.home, LogHome::Folder(_)) {
        return None;
    }
    let mut version = None;
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        if let Event::TargetRegistered(registered) = &recorded.event {
            version = Some(registered.server_version.clone());
        }
    };
    log.read(&mut visit).await.ok()?.check().ok()?;
    let version = version?;
    let major = major_of(&version)?;
    Some(Wanted { major, by: format!("target {name}") })
}

/// The workspace's sandbox, started if need be, and why it is not of the wanted major version.
async fn ensure_major(
    environment: &Environment,
    workspace: &Workspace,
    asked: Option<u32>,
) -> Result<(Sandbox, Option<OtherMajor>), SandboxError> {
    let folder = folder(environment, workspace);
    // Of several commands at once, one sets the server up and the others find it.
    let lock = lock_folder(&folder)?;
    let found = Sandbox::find(&folder)?;
    let wanted = wanted_major(environment, workspace, asked).await;
    let (sandbox, reason) = match found {
        Some(sandbox) => {
            (sandbox, "it was set up before; annals sandbox stop removes it".to_owned())
        }
        None => set_up(environment, workspace, (&folder, &lock), wanted.as_ref()).await?,
    };
    let other = wanted.filter(|wanted| wanted.major != sandbox.major());
    let other =
        other.map(|Wanted { major, by }| OtherMajor { wanted: major, wanted_by: by, reason });
    Ok((sandbox, other))
}

/// A new sandbox, and why the wanted version is not installed if it is not.
async fn set_up(
    environment: &Environment,
    workspace: &Workspace,
    (folder, lock): (&Path, &File),
    wanted: Option<&Wanted>,
) -> Result<(Sandbox, String), SandboxError> {
    let servers = servers(environment, Some(workspace));
    let server = servers.nearest(wanted.map(|wanted| wanted.major))?;
    let missing = wanted.and_then(|wanted| servers.exactly(wanted.major).err());
    let reason = missing.map_or_else(String::new, |error| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    });
    let cache = environment.sandbox_cache();
    let options = SandboxOptions {
        folder,
        binaries: &server.binaries,
        platform: workspace.config().sandbox.platform,
        lifetime: Lifetime::UntilStopped,
        tcp_port: None,
        settings: &[],
        cache: cache.as_deref(),
        lock: Some(lock),
    };
    Ok((Sandbox::start(&options).await?, reason))
}

/// The workspace's sandbox, started if need be.
pub(crate) async fn ensure(
    environment: &Environment,
    workspace: &Workspace,
) -> Result<Sandbox, SandboxError> {
    let folder = folder(environment, workspace);
    // What runs already is of whatever version it is: `sandbox start` tells.
    let found = {
        let _lock = lock_folder(&folder)?;
        Sandbox::find(&folder)?
    };
    match found {
        Some(sandbox) => Ok(sandbox),
        None => Ok(ensure_major(environment, workspace, None).await?.0),
    }
}

/// Starts the workspace's sandbox, or finds it running. `major` is the version it should have; where
/// it is not installed the nearest one is taken, and the result says so.
///
/// # Errors
///
/// When no server is installed or it does not start.
pub async fn sandbox_start(
    environment: &Environment,
    workspace: &Workspace,
    major: Option<u32>,
) -> Result<SandboxInfo, Failure> {
    let (sandbox, other_major) = ensure_major(environment, workspace, major).await?;
    Ok(SandboxInfo {
        folder: sandbox.folder().to_owned(),
        url: sandbox.url(),
        pid: sandbox.server_pid(),
        platform: sandbox.platform().as_str(),
        version: sandbox.version().to_owned(),
        other_major,
    })
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
}

impl PrivateServer {
    /// Starts it in a new temporary folder; the folder goes with it.
    ///
    /// # Errors
    ///
    /// When no server is installed or it does not start.
    pub async fn start(environment: &Environment) -> Result<Self, Failure> {
        Self::prepared_like(environment, None, (Platform::Supabase, None)).await
    }

    /// The same, prepared like `platform`, of the major version nearest to `major`.
    pub(crate) async fn prepared_like(
        environment: &Environment,
        workspace: Option<&Workspace>,
        (platform, major): (Platform, Option<u32>),
    ) -> Result<Self, Failure> {
        let servers = servers(environment, workspace);
        let (server, cache) = (servers.nearest(major)?, environment.sandbox_cache());
        let name = format!("annals-private-{}", environment.ids.next().simple());
        let base = base(environment);
        let sandbox = Sandbox::start(&SandboxOptions {
            folder: &base.join(name),
            binaries: &server.binaries,
            platform,
            lifetime: Lifetime::OfThisProcess,
            tcp_port: None,
            settings: &[],
            cache: cache.as_deref(),
            lock: None,
        })
        .await?;
        Ok(Self { sandbox })
    }

    /// Its folder, which goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.sandbox.folder()
    }

    /// How it is reached.
    pub(crate) fn spec(&self) -> ConnectionSpec {
        self.sandbox.spec()
    }

    /// How other programs reach it.
    pub fn url(&self) -> String {
        self.sandbox.url()
    }

    /// The server's version, such as `15.18`.
    pub fn version(&self) -> &str {
        self.sandbox.version()
    }
}
