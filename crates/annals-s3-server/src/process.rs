//! The server as a child of the test.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::serve::{ACCESS_KEY_ID, BUCKETS, CERTIFICATE, LISTENS, SECRET_ACCESS_KEY, serve};

/// The bucket every server has.
pub const BUCKET: &str = "annals-anchor";

const FOLDER: &str = "ANNALS_S3_SERVER_FOLDER";
const PORT: &str = "ANNALS_S3_SERVER_PORT";
const ENCRYPTED: &str = "ANNALS_S3_SERVER_ENCRYPTED";

/// An S3 server on loopback, with one bucket. It goes with this value, and with the test.
pub struct S3Server {
    folder: TempDir,
    test: String,
    encrypted: bool,
    address: SocketAddr,
    process: Option<Child>,
}

/// Serves, if this process was started to; else starts such a process and connects to it.
///
/// `test` is the name of the calling test, as the test binary lists it.
pub fn play_or_try(test: &str) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let port = std::env::var(PORT).ok().and_then(|port| port.parse().ok());
        let encrypted = std::env::var_os(ENCRYPTED).is_some();
        return serve(Path::new(&folder), port.expect("a port is given"), encrypted);
    }
    let mut server = S3Server::start(test);
    TcpStream::connect(server.address()).expect("a started server takes connections");
    server.kill();
    assert!(TcpStream::connect(server.address()).is_err(), "a killed server takes none");
}

impl S3Server {
    /// Starts one that speaks HTTP. `test` is the test of this binary that calls [`play_or_try`].
    pub fn start(test: &str) -> Self {
        Self::start_with(test, false)
    }

    /// Starts one that speaks HTTPS with a certificate of its own, see [`Self::certificate`].
    pub fn start_encrypted(test: &str) -> Self {
        Self::start_with(test, true)
    }

    fn start_with(test: &str, encrypted: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::create_dir_all(folder.path().join(BUCKETS).join(BUCKET)).expect("the folder is ours");
        let (process, address) = launch(folder.path(), test, 0, encrypted);
        let process = Some(process);
        Self { folder, test: test.to_owned(), encrypted, address, process }
    }

    /// Kills the process at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child can be killed");
            process.wait().expect("a killed child ends");
        }
    }

    /// Starts it again on the same objects and the same port.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.address.port();
        let (process, _) = launch(self.folder.path(), &self.test, port, self.encrypted);
        self.process = Some(process);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The file with its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    /// The folder in which it keeps the objects of [`BUCKET`], a file each.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join(BUCKETS).join(BUCKET)
    }

    /// The variables whoever speaks to it needs.
    pub fn variables() -> HashMap<String, String> {
        let pairs = [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
            ("AWS_REGION", "us-east-1"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts the process and waits until it says where it listens.
fn launch(folder: &Path, test: &str, port: u16, encrypted: bool) -> (Child, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().expect("a test has a binary"));
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    command.env(FOLDER, folder).env(PORT, port.to_string());
    if encrypted {
        command.env(ENCRYPTED, "1");
    }
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a test binary can be started again");
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        line.strip_prefix(LISTENS).map(|address| address.parse().expect("it says its address"))
    });
    let address = address.unwrap_or_else(|| {
        panic!("the S3 server did not start: is {test} the name of the test that plays it?")
    });
    // The server says nothing more; its output may be closed.
    (process, address)
}
