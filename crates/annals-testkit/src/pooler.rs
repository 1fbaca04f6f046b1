//! A real PgBouncer before a test's server.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::annals::wait_for;
use crate::proxy::Proxy;
use crate::server::{Server, free_port, open_to_pass};

/// What a pooler hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// Sessions.
    Session,
    /// Single transactions.
    Transaction,
    /// Single statements.
    Statement,
}

/// How a pooler is set up.
#[derive(Debug, Clone, Copy)]
pub struct PoolerOptions {
    /// What it hands out.
    pub mode: PoolMode,
    /// How many backends it keeps.
    pub size: usize,
    /// Whether backends are taken in turn instead of the last one first.
    pub in_turn: bool,
}

/// A PgBouncer on a port of loopback; it ends with this value.
pub struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let mut programs = folders.map(|folder: PathBuf| folder.join("pgbouncer"));
    programs.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!("no PgBouncer is installed; install it: apt-get install -y pgbouncer")
    })
}

impl Pooler {
    /// Starts one before `server`, which it reaches by its socket.
    pub fn before(server: &Server, options: PoolerOptions) -> Self {
        let folder = server.folder().display().to_string();
        Self::start(&folder, server.socket_port(), "postgres", "", options)
    }

    /// Starts one before `server` that lets a role other than `postgres` in.
    pub fn before_for(server: &Server, role: &str, options: PoolerOptions) -> Self {
        let folder = server.folder().display().to_string();
        Self::start(&folder, server.socket_port(), role, Server::PASSWORD, options)
    }

    /// The port it listens on, on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts one that reaches its server through `proxy`, with the password of [`Server`].
    pub fn before_proxy(proxy: &Proxy, options: PoolerOptions) -> Self {
        Self::start("127.0.0.1", proxy.port(), "postgres", Server::PASSWORD, options)
    }

    fn start(
        host: &str,
        server_port: u16,
        role: &str,
        password: &str,
        options: PoolerOptions,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("annals-pooler-").tempdir_in("/tmp");
        let folder = folder.expect("a temporary folder can be made");
        open_to_pass(folder.path());
        let port = free_port();
        let mode = match options.mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        };
        let users = folder.path().join("users");
        fs::write(&users, format!("\"{role}\" \"{password}\"\n")).expect("the folder is ours");
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={host} port={server_port}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = {mode}\ndefault_pool_size = {}\nserver_round_robin = {}\n",
            users.display(),
            options.size,
            u8::from(options.in_turn),
        );
        fs::write(&config, text).expect("the folder is ours");
        let log = fs::File::create(folder.path().join("log")).expect("the folder is ours");
        let mut command = Command::new(find());
        command.arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        as_owner_of(&mut command, folder.path());
        let child = command.spawn().unwrap_or_else(|error| panic!("pgbouncer: {error}"));
        let pooler = Self { child, port, _folder: folder };
        wait_for("PgBouncer to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        pooler
    }

    /// A URL through it.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As root, a server's program is run as the user its folder was handed over to.
pub(crate) fn as_owner_of(command: &mut Command, folder: &Path) {
    if rustix::process::geteuid().is_root() {
        let owner = folder.metadata().expect("the folder is there");
        command.uid(owner.uid()).gid(postgres_group());
    }
}

fn postgres_group() -> u32 {
    let output = Command::new("id").args(["-g", "postgres"]).output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    text.and_then(|text| text.trim().parse().ok()).expect("there is a group postgres")
}
