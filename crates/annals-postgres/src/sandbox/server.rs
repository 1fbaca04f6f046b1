//! Starts and stops a private server.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use annals_events::Digest;
use rustix::process::{Pid, geteuid, test_kill_process};

use super::binaries::{Binaries, INSTALL_LINE};
use crate::connect::{ConnectError, ConnectionSpec};
use crate::fault::Fault;
use crate::platform::Platform;
use crate::session::SessionSettings;

/// How long a server may take to get ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The role and the database of a sandbox.
const SUPERUSER: &str = "postgres";

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
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No server is installed.
    #[error("no PostgreSQL server is installed (looked in PATH and the usual folders)")]
    NotInstalled,
    /// As root, the server needs another user.
    #[error("PostgreSQL does not run as root, and there is no user {SUPERUSER:?} to run it as")]
    NoUser,
    /// The folder belongs to somebody else.
    #[error("the sandbox folder {} belongs to another user", .0.display())]
    ForeignFolder(PathBuf),
    /// The file system or the operating system says no.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program of the server failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Which.
        program: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The server did not get ready.
    #[error("the sandbox server did not get ready: {0}")]
    NotReady(String),
    /// It runs, but cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Its preparation failed.
    #[error("preparing the sandbox failed: {0}")]
    Prepare(#[from] Fault),
}

impl SandboxError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotInstalled => Some(format!(
                "install one (Debian, Ubuntu: {INSTALL_LINE}), or set ANNALS_PG_BIN to the folder \
                 with initdb and postgres"
            )),
            Self::NoUser => Some("run annals as an ordinary user".to_owned()),
            Self::ForeignFolder(_) => Some("remove it, or set ANNALS_SANDBOX_DIR".to_owned()),
            _ => None,
        }
    }
}

/// A running private server.
pub struct Sandbox {
    folder: PathBuf,
    guardian: Option<Child>,
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

/// Whom the server runs as: nobody else, or as root the user `postgres`.
fn server_user() -> Result<Option<(u32, u32)>, SandboxError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let ask = |flag: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, SUPERUSER]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    match (ask("-u"), ask("-g")) {
        (Some(uid), Some(gid)) => Ok(Some((uid, gid))),
        _ => Err(SandboxError::NoUser),
    }
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SandboxError + 'a {
    move |source| SandboxError::Io { what, path: path.to_owned(), source }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn server_log(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

impl Sandbox {
    /// The sandbox in `folder`, if one was set up there and not stopped; starts its server again if
    /// it has died.
    ///
    /// # Errors
    ///
    /// When the server cannot be started again.
    pub fn find(options: &SandboxOptions<'_>) -> Result<Option<Self>, SandboxError> {
        let folder = options.folder;
        if !folder.join("ready").exists() {
            return Ok(None);
        }
        let user = server_user()?;
        check_owner(folder, user)?;
        let sandbox = Self { folder: folder.to_owned(), guardian: None };
        if !is_running(folder) {
            start_detached(options, user)?;
        }
        Ok(Some(sandbox))
    }

    /// Sets a server up in `options.folder`, starts it and prepares its database.
    ///
    /// What a crash left in the folder is removed first.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`].
    pub async fn start(options: &SandboxOptions<'_>) -> Result<Self, SandboxError> {
        let folder = options.folder;
        let user = server_user()?;
        make_folder(folder, user)?;
        init(options, user)?;
        let guardian = match options.lifetime {
            Lifetime::OfThisProcess => Some(start_guarded(options, user)?),
            Lifetime::UntilStopped => {
                start_detached(options, user)?;
                None
            }
        };
        let mut sandbox = Self { folder: folder.to_owned(), guardian };
        if let Err(error) = sandbox.prepare(options.platform).await {
            sandbox.end();
            return Err(error);
        }
        let ready = folder.join("ready");
        fs::write(&ready, options.platform.as_str()).map_err(io_error("write", &ready))?;
        Ok(sandbox)
    }

    async fn prepare(&self, platform: Platform) -> Result<(), SandboxError> {
        if platform == Platform::Supabase {
            let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
            let mut session = self.spec().connect("annals/sandbox", &settings).await?;
            let prepared = session.run(super::SUPABASE_SQL).await;
            session.close().await;
            prepared?;
        }
        Ok(())
    }

    /// Its folder: data, socket, server log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How to log in.
    pub fn spec(&self) -> ConnectionSpec {
        ConnectionSpec::from_socket(&self.folder, SUPERUSER, SUPERUSER)
    }

    /// A URL for `psql` and other programs.
    pub fn url(&self) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://{SUPERUSER}@{folder}:5432/{SUPERUSER}")
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

    fn end(&mut self) {
        if let Some(mut guardian) = self.guardian.take() {
            // The guardian reads the end of its input, stops the server and removes the folder.
            drop(guardian.stdin.take());
            let _ = guardian.wait();
            // As root, the guardian may not be allowed to remove the emptied folder itself.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end();
    }
}

fn check_owner(folder: &Path, user: Option<(u32, u32)>) -> Result<(), SandboxError> {
    let owner = fs::symlink_metadata(folder).map_err(io_error("read", folder))?;
    let expected = user.map_or_else(|| geteuid().as_raw(), |(uid, _)| uid);
    if owner.is_dir() && owner.uid() == expected {
        Ok(())
    } else {
        Err(SandboxError::ForeignFolder(folder.to_owned()))
    }
}

/// Stops the server in `folder` and removes it; says whether there was one.
fn clear(folder: &Path, user: Option<(u32, u32)>) -> Result<bool, SandboxError> {
    if !folder.exists() {
        return Ok(false);
    }
    check_owner(folder, user)?;
    kill_server(folder);
    fs::remove_dir_all(folder).map_err(io_error("remove", folder))?;
    Ok(true)
}

/// A fresh folder only the server's user (and root) can enter: whoever reaches the socket is in.
fn make_folder(folder: &Path, user: Option<(u32, u32)>) -> Result<(), SandboxError> {
    clear(folder, user)?;
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).create(folder).map_err(io_error("create", folder))?;
    if let Some((uid, gid)) = user {
        chown(folder, Some(uid), Some(gid)).map_err(io_error("hand over", folder))?;
    }
    Ok(())
}

/// `program` as the server's user, in the server's folder, away from the terminal's signals.
fn command(program: &Path, folder: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    // A PG* variable meant for clients must not leak into the server.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).env("LC_ALL", "C").process_group(0);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn init(options: &SandboxOptions<'_>, user: Option<(u32, u32)>) -> Result<(), SandboxError> {
    let folder = options.folder;
    let data = data(folder);
    let initdb = options.binaries.program("initdb");
    let output = command(&initdb, folder, user)
        .args(["--no-sync", "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-locale", "-D"])
        .arg(&data)
        .stdin(Stdio::null())
        .output()
        .map_err(io_error("run", &initdb))?;
    if !output.status.success() {
        let mut text = output.stdout;
        text.extend_from_slice(&output.stderr);
        return Err(SandboxError::Program { program: "initdb", output: last_lines(&text) });
    }
    let mut config = format!(
        "listen_addresses = ''\nunix_socket_directories = '{}'\nport = 5432\n\
         fsync = off\nfull_page_writes = off\nmax_connections = 60\n\
         shared_buffers = '64MB'\nwal_level = logical\n",
        folder.display()
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
    let path = data.join("postgresql.auto.conf");
    let mut file =
        fs::OpenOptions::new().append(true).open(&path).map_err(io_error("write", &path))?;
    file.write_all(config.as_bytes()).map_err(io_error("write", &path))
}

fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join("; ")
}

/// A server that outlives this process.
fn start_detached(
    options: &SandboxOptions<'_>,
    user: Option<(u32, u32)>,
) -> Result<(), SandboxError> {
    let folder = options.folder;
    let pg_ctl = options.binaries.program("pg_ctl");
    // Nobody serves this folder, which was checked: what a server that was killed has left would
    // only stop the next one, and may name a process of somebody else by now.
    let _ = fs::remove_file(data(folder).join("postmaster.pid"));
    let _ = fs::remove_file(folder.join(".s.PGSQL.5432.lock"));
    let output = command(&pg_ctl, folder, user)
        .args(["start", "-w", "-s", "-t", "30", "-D"])
        .arg(data(folder))
        .arg("-l")
        .arg(server_log(folder))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(io_error("run", &pg_ctl))?;
    if output.success() { Ok(()) } else { Err(not_ready(folder)) }
}

/// Waits for the end of its input, which comes when this process ends, however it ends; then stops
/// the server and removes its folder. The server itself gets no input and no terminal signals.
const GUARDIAN: &str = "\"$1\" -D \"$2/data\" </dev/null >\"$2/server.log\" 2>&1 & pid=$!\n\
    read -r _\n\
    kill -QUIT $pid 2>/dev/null\n\
    wait $pid 2>/dev/null\n\
    cd /\n\
    rm -rf \"$2\"\n";

fn start_guarded(
    options: &SandboxOptions<'_>,
    user: Option<(u32, u32)>,
) -> Result<Child, SandboxError> {
    let folder = options.folder;
    let shell = Path::new("/bin/sh");
    let mut guardian = command(shell, folder, user)
        .args(["-c", GUARDIAN, "annals-sandbox"])
        .arg(options.binaries.program("postgres"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io_error("run", shell))?;
    let deadline = Instant::now() + START_TIMEOUT;
    while !is_ready(folder) {
        let ended = guardian.try_wait().map_err(io_error("wait for", shell))?;
        if ended.is_some() || Instant::now() > deadline || server_failed(folder) {
            let error = not_ready(folder);
            drop(guardian.stdin.take());
            let _ = guardian.wait();
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(guardian)
}

fn server_failed(folder: &Path) -> bool {
    fs::read_to_string(server_log(folder)).is_ok_and(|log| log.contains("FATAL:"))
}

fn not_ready(folder: &Path) -> SandboxError {
    let log = fs::read(server_log(folder)).unwrap_or_default();
    SandboxError::NotReady(match last_lines(&log) {
        empty if empty.is_empty() => "it printed nothing".to_owned(),
        lines => lines,
    })
}

/// Lines of `postmaster.pid`: 1 the process, 8 its state (`src/include/utils/pidfile.h`).
fn pid_file(folder: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(data(folder).join("postmaster.pid")).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

fn is_ready(folder: &Path) -> bool {
    pid_file(folder).and_then(|lines| Some(lines.get(7)?.trim() == "ready")) == Some(true)
}

fn server_pid(folder: &Path) -> Option<i32> {
    pid_file(folder)?.first()?.trim().parse().ok()
}

fn is_running(folder: &Path) -> bool {
    let Some(pid) = server_pid(folder).and_then(Pid::from_raw) else {
        return false;
    };
    // The same number may be another process after a restart of the machine, and even another
    // server: ours was told our data folder.
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let data = data(folder);
    let data = data.as_os_str().as_encoded_bytes();
    let is_ours = command.split(|&b| b == 0).any(|argument| argument == data);
    test_kill_process(pid).is_ok() && (is_ours || !Path::new("/proc/self").exists())
}

fn kill_server(folder: &Path) {
    if !is_running(folder) {
        return;
    }
    let Some(pid) = server_pid(folder).and_then(Pid::from_raw) else {
        return;
    };
    // SIGQUIT: at once, without a checkpoint; nothing of it is kept.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
    let deadline = Instant::now() + Duration::from_secs(10);
    while test_kill_process(pid).is_ok() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}
