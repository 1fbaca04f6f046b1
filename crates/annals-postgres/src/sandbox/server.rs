//! Sets private servers up, finds them again and removes them.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use annals_events::Digest;
use rustix::process::geteuid;

use super::binaries::{Binaries, major_of};
use super::error::{SandboxError, io_error};
use super::process::{
    Guardian, ServerUser, command, data, is_running, kill_server, last_lines, server_pid,
    server_user, start_detached,
};
use super::template::{Found, Making, Template};
use crate::connect::ConnectionSpec;
use crate::platform::Platform;
use crate::session::SessionSettings;

/// The role that logs in, and the database it finds.
pub(super) const USER: &str = "postgres";

/// When a sandbox ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// With this process, however it ends; its folder is removed.
    OfThisProcess,
    /// When [`Sandbox::stop`] is called, by whichever process.
    UntilStopped,
}

/// What sandbox to start.
#[derive(Debug, Clone)]
pub struct SandboxOptions<'a> {
    /// Its folder; must be short enough for a socket path (about 90 bytes).
    pub folder: &'a Path,
    /// The server's programs.
    pub binaries: &'a Binaries,
    /// What its database is prepared like.
    pub platform: Platform,
    /// When it ends.
    pub lifetime: Lifetime,
    /// Also listen on this port of 127.0.0.1, with passwords.
    pub tcp_port: Option<u16>,
    /// Further server settings.
    pub settings: &'a [(&'a str, &'a str)],
    /// Where prepared clusters are kept to be copied ([`cache_folder`](super::cache_folder)); made if
    /// need be. Without it, and where it cannot be used, every start pays for `initdb`.
    pub cache: Option<&'a Path>,
    /// The [lock on the folder](lock_folder), where another process may use the same one.
    pub lock: Option<&'a fs::File>,
}

/// A running private server.
pub struct Sandbox {
    folder: PathBuf,
    platform: Platform,
    version: String,
    /// Ends the server, and removes the folder, when it is dropped.
    _guardian: Option<Guardian>,
}

/// The folder of a workspace's lasting sandbox: short, private to the user, below `base`.
pub fn default_folder(base: &Path, workspace: &Path) -> PathBuf {
    let name = Digest::of(workspace.as_os_str().as_encoded_bytes()).short(12);
    base.join(format!("annals-sandbox-{}-{name}", geteuid().as_raw()))
}

/// Keeps other processes from setting up, starting or stopping the sandbox in `folder` until the
/// result is dropped.
///
/// # Errors
///
/// When the file beside the folder cannot be locked.
pub fn lock_folder(folder: &Path) -> Result<fs::File, SandboxError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let path = folder.with_file_name(format!(".{name}.lock"));
    let mut options = fs::OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.open(&path).map_err(io_error("open", &path))?;
    file.lock().map_err(io_error("lock", &path))?;
    Ok(file)
}

/// The file that says that a sandbox is whole: its platform, its version, the folder of its programs.
fn ready(folder: &Path) -> PathBuf {
    folder.join("ready")
}

impl Sandbox {
    /// The sandbox in `folder`, if one was set up there and not stopped; starts its server again if
    /// it has died.
    ///
    /// # Errors
    ///
    /// When the folder is somebody else's, or the server cannot be started again.
    pub fn find(folder: &Path) -> Result<Option<Self>, SandboxError> {
        let path = ready(folder);
        if !path.exists() {
            return Ok(None);
        }
        let user = server_user()?;
        check_owner(folder, user)?;
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let mut lines = text.lines();
        let (Some(platform), Some(version), Some(programs)) =
            (lines.next().and_then(Platform::parse), lines.next(), lines.next())
        else {
            return Ok(None);
        };
        if !is_running(folder) {
            start_detached(folder, &Binaries::known(programs.into()), user)?;
        }
        let (folder, version) = (folder.to_owned(), version.to_owned());
        Ok(Some(Self { folder, platform, version, _guardian: None }))
    }

    /// Sets a server up in `options.folder`, starts it and prepares its database; with a template in
    /// the cache, by copying that.
    ///
    /// What a crash left in the folder is removed first. Whatever ends this process before the
    /// sandbox is whole, the folder is removed.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`].
    pub async fn start(options: &SandboxOptions<'_>) -> Result<Self, SandboxError> {
        let folder = options.folder;
        let user = server_user()?;
        clear(folder, user)?;
        let mut guardian = Guardian::of(folder, options.binaries, user, options.lock)?;
        make_folder(folder, user)?;
        let template = Template::of(options).map(|it| it.copy_or_make(&data(folder), user));
        match template {
            Some(Ok(Found::Copied)) => configure(options)?,
            Some(Ok(Found::ToMake(making))) => make(options, user, &mut guardian, making).await?,
            unusable => {
                if let Some(Err(error)) = unusable {
                    tracing::warn!("the cache of sandboxes cannot be used: {error}");
                    remove_data(folder)?;
                }
                initdb(options, user)?;
                configure(options)?;
                if needs_preparation(options.platform) {
                    guardian.start()?;
                    prepare(options).await?;
                    return finish(options, user, guardian, Stage::Running);
                }
            }
        }
        finish(options, user, guardian, Stage::Stopped)
    }

    /// Its folder: data, socket, server log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What its database was prepared like.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// The server's version, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        major_of(&self.version).unwrap_or_default()
    }

    /// How to log in as the role that migrations run as: the superuser, or what the platform lets a
    /// customer be.
    pub fn spec(&self) -> ConnectionSpec {
        self.database_spec(USER)
    }

    /// As [`spec`](Self::spec), to another of its databases.
    pub fn database_spec(&self, database: &str) -> ConnectionSpec {
        ConnectionSpec::from_socket(&self.folder, USER, database)
    }

    /// How the superuser logs in to one of its databases.
    pub fn superuser_spec(&self, database: &str) -> ConnectionSpec {
        ConnectionSpec::from_socket(&self.folder, self.platform.superuser(), database)
    }

    /// A URL for `psql` and other programs.
    pub fn url(&self) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://{USER}@{folder}:5432/{USER}")
    }

    /// The server's process id.
    pub fn server_pid(&self) -> Option<i32> {
        server_pid(&self.folder)
    }

    /// Stops the server in `folder` and removes everything in it. Nothing there is fine too.
    ///
    /// # Errors
    ///
    /// When the folder belongs to somebody else or cannot be removed.
    pub fn stop(folder: &Path) -> Result<bool, SandboxError> {
        if folder.exists() { clear(folder, server_user()?) } else { Ok(false) }
    }
}

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Stopped,
    Running,
}

fn needs_preparation(platform: Platform) -> bool {
    !platform.preparation().is_empty()
}

/// Makes the cluster, keeps it as the template, and leaves it stopped in the sandbox's folder.
async fn make(
    options: &SandboxOptions<'_>,
    user: ServerUser,
    guardian: &mut Guardian,
    making: Making,
) -> Result<(), SandboxError> {
    initdb(options, user)?;
    configure(options)?;
    if needs_preparation(options.platform) {
        guardian.start()?;
        prepare(options).await?;
        guardian.end()?;
    }
    if let Err(error) = making.keep(&data(options.folder)) {
        tracing::warn!("the sandbox could not be kept as a template: {error}");
    }
    Ok(())
}

/// From a whole cluster to a sandbox whose lifetime is as asked for.
fn finish(
    options: &SandboxOptions<'_>,
    user: ServerUser,
    mut guardian: Guardian,
    stage: Stage,
) -> Result<Sandbox, SandboxError> {
    let (folder, platform) = (options.folder, options.platform);
    let version = options.binaries.version()?;
    let programs = options.binaries.folder().display();
    let text = format!("{}\n{version}\n{programs}\n", platform.as_str());
    let write_ready = || {
        let ready = ready(folder);
        fs::write(&ready, &text).map_err(io_error("write", &ready))
    };
    let guardian = match options.lifetime {
        Lifetime::OfThisProcess => {
            if stage == Stage::Stopped {
                guardian.start()?;
            }
            write_ready()?;
            Some(guardian)
        }
        Lifetime::UntilStopped => {
            // A server of the guardian would be in its session, and so in that of this terminal.
            if stage == Stage::Running {
                guardian.end()?;
            }
            start_detached(folder, options.binaries, user)?;
            // A crash before this line: the guardian removes the folder, and the server ends when
            // it misses its pid file. Behind it: the sandbox stays.
            write_ready()?;
            guardian.leave()?;
            None
        }
    };
    Ok(Sandbox { folder: folder.to_owned(), platform, version, _guardian: guardian })
}

async fn prepare(options: &SandboxOptions<'_>) -> Result<(), SandboxError> {
    let superuser = options.platform.superuser();
    let port = options.tcp_port.unwrap_or(5432);
    let spec = ConnectionSpec::from_socket_of(options.folder, port, superuser, USER);
    prepare_database(&spec, options.platform).await
}

/// Gives a database what its platform has from the beginning. `spec` leads there as superuser.
pub(super) async fn prepare_database(
    spec: &ConnectionSpec,
    platform: Platform,
) -> Result<(), SandboxError> {
    if !needs_preparation(platform) {
        return Ok(());
    }
    let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
    let mut session = spec.connect("annals/sandbox", &settings).await?;
    let prepared = session.run(platform.preparation()).await;
    session.close().await;
    Ok(prepared?)
}

fn check_owner(folder: &Path, user: ServerUser) -> Result<(), SandboxError> {
    let owner = fs::symlink_metadata(folder).map_err(io_error("read", folder))?;
    let expected = user.map_or_else(|| geteuid().as_raw(), |(uid, _)| uid);
    if owner.is_dir() && owner.uid() == expected {
        Ok(())
    } else {
        Err(SandboxError::ForeignFolder(folder.to_owned()))
    }
}

/// Stops the server in `folder` and removes it; says whether there was one.
fn clear(folder: &Path, user: ServerUser) -> Result<bool, SandboxError> {
    if !folder.exists() {
        return Ok(false);
    }
    check_owner(folder, user)?;
    kill_server(folder);
    fs::remove_dir_all(folder).map_err(io_error("remove", folder))?;
    Ok(true)
}

fn remove_data(folder: &Path) -> Result<(), SandboxError> {
    let data = data(folder);
    match data.exists() {
        true => fs::remove_dir_all(&data).map_err(io_error("remove", &data)),
        false => Ok(()),
    }
}

/// A fresh folder only the server's user (and root) can enter: whoever reaches the socket is in.
fn make_folder(folder: &Path, user: ServerUser) -> Result<(), SandboxError> {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).create(folder).map_err(io_error("create", folder))?;
    if let Some((uid, gid)) = user {
        chown(folder, Some(uid), Some(gid)).map_err(io_error("hand over", folder))?;
    }
    Ok(())
}

/// An empty cluster.
fn initdb(options: &SandboxOptions<'_>, user: ServerUser) -> Result<(), SandboxError> {
    let program = options.binaries.program("initdb");
    // It reads nothing. When this process is killed it goes on for a moment, and what it removes when
    // it fails must not be the next sandbox's: until it has ended, it has the lock, too.
    let lock = options.lock.map(fs::File::try_clone).transpose();
    let lock = lock.map_err(io_error("keep the lock of", options.folder))?;
    let output = command(&program, options.folder, user)
        .args(["--no-sync", "-A", "trust", "-E", "UTF8", "--no-locale"])
        .args(["-U", options.platform.superuser(), "-D"])
        .arg(data(options.folder))
        .stdin(lock.map_or_else(Stdio::null, Stdio::from))
        .output()
        .map_err(io_error("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = output.stdout;
    text.extend_from_slice(&output.stderr);
    Err(SandboxError::Program { program: "initdb", output: last_lines(&text) })
}

/// What belongs to this sandbox alone.
fn configure(options: &SandboxOptions<'_>) -> Result<(), SandboxError> {
    let data = data(options.folder);
    let mut config = format!(
        "listen_addresses = ''\nunix_socket_directories = '{}'\nport = 5432\n\
         fsync = off\nfull_page_writes = off\nmax_connections = 60\n\
         shared_buffers = '64MB'\nwal_level = logical\n",
        options.folder.display()
    );
    if let Some(port) = options.tcp_port {
        config.push_str(&format!("listen_addresses = '127.0.0.1'\nport = {port}\n"));
        let hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        let path = data.join("pg_hba.conf");
        fs::write(&path, hba).map_err(io_error("write", &path))?;
    }
    for (name, value) in options.settings {
        config.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
    }
    // It is there already, as the server's user's, who writes it too.
    let path = data.join("postgresql.auto.conf");
    fs::write(&path, config).map_err(io_error("write", &path))
}
