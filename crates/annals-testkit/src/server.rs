//! A real server of a test's own.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use annals_postgres::sandbox::{
    Binaries, INSTALL_LINE, Lifetime, Sandbox, SandboxOptions, cache_folder, find_binaries,
};
use annals_postgres::{ConnectionSpec, Platform, Session, SessionSettings};
use sqlx::Row;

use crate::annals::wait_for;

/// What server a test needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerOptions {
    /// Prepared like Supabase.
    pub supabase: bool,
    /// Also reachable by TCP on 127.0.0.1, with the password [`Server::PASSWORD`].
    pub tcp: bool,
    /// `fsync` and full-page writes as in production.
    pub durable: bool,
}

/// A server that lives as long as this value, or as the process if that is killed.
pub struct Server {
    again: Option<Child>,
    sandbox: Sandbox,
    port: Option<u16>,
    runtime: tokio::runtime::Runtime,
    _parent: tempfile::TempDir,
}

pub(crate) fn binaries() -> Binaries {
    let chosen = std::env::var_os("ANNALS_PG_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    find_binaries(chosen.as_deref(), &path)
        .unwrap_or_else(|| panic!("no PostgreSQL server is installed; install it: {INSTALL_LINE}"))
}

/// `XDG_CACHE_HOME` of the tests: what makes a server quick to start outlives them.
pub(crate) fn cache_home() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("annals-test-cache-{uid}"))
}

impl Server {
    /// The superuser's password on TCP.
    pub const PASSWORD: &str = "CANARY-7f3a9c";

    /// A plain server on a socket.
    pub fn start() -> Self {
        Self::start_with(ServerOptions::default())
    }

    /// A server of the programs in `bin`.
    pub fn start_of(bin: &std::path::Path) -> Self {
        let binaries = find_binaries(Some(bin), &[]);
        let binaries = binaries.unwrap_or_else(|| panic!("{} has no server", bin.display()));
        Self::begin(ServerOptions::default(), &binaries)
    }

    /// A server as `options` say.
    pub fn start_with(options: ServerOptions) -> Self {
        Self::begin(options, &binaries())
    }

    fn begin(options: ServerOptions, binaries: &Binaries) -> Self {
        // Below /tmp and open to others' passing through: as root the server is another user.
        let parent = tempfile::Builder::new().prefix("annals-test-").tempdir_in("/tmp");
        let parent = parent.expect("a temporary folder can be made");
        open_to_pass(parent.path());
        let port = options.tcp.then(free_port);
        let durable = [("fsync", "on"), ("full_page_writes", "on")];
        let cache = cache_folder(Some(&cache_home()), None).expect("the path is absolute");
        let folder = parent.path().join("pg");
        let wanted = SandboxOptions {
            folder: &folder,
            binaries,
            platform: if options.supabase { Platform::Supabase } else { Platform::Plain },
            lifetime: Lifetime::OfThisProcess,
            tcp_port: port,
            settings: if options.durable { &durable } else { &[] },
            cache: Some(&cache),
            lock: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let sandbox = runtime.block_on(Sandbox::start(&wanted)).unwrap_or_else(|e| panic!("{e}"));
        let server = Self { again: None, sandbox, port, runtime, _parent: parent };
        if options.tcp {
            // PostgreSQL 13 would store it as MD5, which its own rules for TCP refuse.
            let password = Self::PASSWORD;
            let sql = format!(
                "SET password_encryption = 'scram-sha-256'; \
                 ALTER ROLE postgres PASSWORD '{password}'"
            );
            // On such a platform that role may not change itself.
            let url = match options.supabase {
                true => server.url().replace("//postgres@", "//supabase_admin@"),
                false => server.url(),
            };
            server.sql_at(&url, &sql);
        }
        server
    }

    /// A URL by the socket.
    pub fn url(&self) -> String {
        match self.port {
            None => self.sandbox.url(),
            Some(port) => self.sandbox.url().replace(":5432/", &format!(":{port}/")),
        }
    }

    /// A URL by TCP, with the password.
    pub fn tcp_url(&self) -> String {
        let (port, password) = (self.tcp_port(), Self::PASSWORD);
        format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// The TCP port.
    pub fn tcp_port(&self) -> u16 {
        self.port.expect("the server was started with tcp")
    }

    /// The port in the name of its socket.
    pub fn socket_port(&self) -> u16 {
        self.port.unwrap_or(5432)
    }

    /// Its major version.
    pub fn major(&self) -> u32 {
        let number = self.value("SELECT current_setting('server_version_num')::int / 10000");
        number.parse().expect("a version is a number")
    }

    fn session(&self) -> Session {
        self.session_at(&self.url())
    }

    fn session_at(&self, url: &str) -> Session {
        let spec = ConnectionSpec::from_url(url).expect("the server's own URL is well formed");
        let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
        self.runtime
            .block_on(spec.connect("annals-test", &settings))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs SQL and wants it to succeed.
    pub fn sql(&self, sql: &str) {
        self.sql_at(&self.url(), sql);
    }

    fn sql_at(&self, url: &str, sql: &str) {
        let mut session = self.session_at(url);
        let done = self.runtime.block_on(async {
            let done = session.run(sql).await;
            session.close().await;
            done
        });
        done.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    }

    /// The first column of every row, as text.
    pub fn rows(&self, query: &str) -> Vec<String> {
        use sqlx::Connection;
        self.runtime.block_on(async {
            let url = self.url();
            let mut connection =
                sqlx::PgConnection::connect(&url).await.unwrap_or_else(|e| panic!("{e}"));
            let wrapped = format!("SELECT q.line::text FROM ({query}) q(line)");
            let rows = sqlx::query(sqlx::AssertSqlSafe(wrapped)).fetch_all(&mut connection).await;
            let rows = rows.unwrap_or_else(|error| panic!("{query}: {error}"));
            let rows = rows.iter().map(|row| row.get::<Option<String>, _>(0).unwrap_or_default());
            let rows = rows.collect();
            let _ = connection.close().await;
            rows
        })
    }

    /// The single value a query gives.
    pub fn value(&self, query: &str) -> String {
        let rows = self.rows(query);
        assert_eq!(rows.len(), 1, "{query} gave {rows:?}");
        rows.into_iter().next().unwrap_or_default()
    }

    /// Opens a transaction that runs `sql` and stays open until the result is dropped.
    pub fn hold(&self, sql: &str) -> Held<'_> {
        let mut session = self.session();
        self.runtime
            .block_on(
                session.run(&format!("SET idle_in_transaction_session_timeout = 0; BEGIN; {sql}")),
            )
            .unwrap_or_else(|fault| panic!("{sql}: {fault}"));
        Held { server: self, session: Some(session) }
    }

    /// Ends the server as a crash would: every connection is cut, nothing is put in order.
    pub fn crash(&self) {
        let status = Command::new("kill").args(["-QUIT", &self.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -QUIT");
        let pid_file = self.folder().join("data/postmaster.pid");
        wait_for("the end of the server", || (!pid_file.exists()).then_some(()));
    }

    /// Starts the server again on what a crash left. It ends with this value; if the test is
    /// killed, it ends when it misses its folder.
    pub fn start_again(&mut self) {
        let owner = self.folder().metadata().expect("the folder is there");
        let mut command = Command::new(binaries().program("postgres"));
        // It goes on in the log of the server before it.
        let log = std::fs::OpenOptions::new().append(true).open(self.folder().join("server.log"));
        let log = log.expect("the server before it had a log");
        command
            .arg("-D")
            .arg(self.folder().join("data"))
            .current_dir("/")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0);
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        self.again = Some(command.spawn().expect("the server's program is there"));
        let pid_file = self.folder().join("data/postmaster.pid");
        wait_for("the server to be ready again", || {
            let text = std::fs::read_to_string(&pid_file).ok()?;
            (text.lines().nth(7)?.trim() == "ready").then_some(())
        });
    }

    /// Process id of the server.
    pub fn pid(&self) -> i32 {
        self.sandbox.server_pid().expect("the server runs")
    }

    /// Its folder.
    pub fn folder(&self) -> &std::path::Path {
        self.sandbox.folder()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut again) = self.again.take() {
            let _ = Command::new("kill").args(["-QUIT", &again.id().to_string()]).status();
            let _ = again.wait();
        }
    }
}

/// An open transaction.
pub struct Held<'a> {
    server: &'a Server,
    session: Option<Session>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.server.runtime.block_on(session.close());
        }
    }
}

pub(crate) fn open_to_pass(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder, mode).expect("the folder is ours");
    if rustix::process::geteuid().is_root() {
        let postgres = std::process::Command::new("id").args(["-u", "postgres"]).output();
        let uid = postgres.ok().and_then(|output| String::from_utf8(output.stdout).ok());
        let uid = uid.and_then(|text| text.trim().parse().ok());
        std::os::unix::fs::chown(folder, uid, None).expect("root may hand a folder over");
    }
}

/// A port nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
