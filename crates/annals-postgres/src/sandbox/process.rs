//! The processes of a private server: whom they run as, how they start, how they end.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, geteuid, test_kill_process};

use super::binaries::Binaries;
use super::error::{SandboxError, io_error};

/// How long a server may take to get ready, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom the server runs as: nobody else, or as root the user `postgres`.
pub(super) type ServerUser = Option<(u32, u32)>;

pub(super) fn server_user() -> Result<ServerUser, SandboxError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let ask = |flag: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, "postgres"]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    match (ask("-u"), ask("-g")) {
        (Some(uid), Some(gid)) => Ok(Some((uid, gid))),
        _ => Err(SandboxError::NoUser),
    }
}

pub(super) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn server_log(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// `program` as the server's user, in the server's folder, away from the terminal's signals.
pub(super) fn command(program: &Path, folder: &Path, user: ServerUser) -> Command {
    use std::os::unix::process::CommandExt;
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

/// Waits for the end of its input, which comes when this process ends, however it ends; then stops
/// the server and removes its folder. Until then it starts the server, ends it cleanly, or leaves
/// everything as it is and goes. The server itself gets no input and no terminal signals.
///
/// A server it did not start itself, but finds when it ends, is one that was to outlive this process
/// and did not get so far. A shell starts what runs behind it deaf to this signal, until the server
/// listens by itself: so it is sent again. What others still write while they end may make the first removal fail.
const GUARDIAN: &str = "pid=\n\
    while read -r word; do\n\
    case $word in\n\
    start) \"$1\" -D \"$2/data\" </dev/null >\"$2/server.log\" 2>&1 & pid=$!;;\n\
    end) kill -INT $pid; wait $pid; pid=;;\n\
    leave) exit 0;;\n\
    esac\n\
    done 2>/dev/null\n\
    if [ -z \"$pid\" ]; then read -r pid < \"$2/data/postmaster.pid\"; fi 2>/dev/null\n\
    if [ -n \"$pid\" ]; then\n\
    kill -QUIT $pid\n\
    (for again in 1 1 1 5; do sleep $again; kill -QUIT $pid; done; kill -KILL $pid) >/dev/null &\n\
    again=$!; wait $pid; kill $again\n\
    fi 2>/dev/null\n\
    cd /\n\
    for again in 1 2 3 4 5; do rm -rf \"$2\" && break; sleep 1; done 2>/dev/null\n";

/// The process that sees to the end of a server.
pub(super) struct Guardian {
    child: Child,
    /// Taken when the guardian is dismissed: its end is the guardian's sign.
    input: Option<ChildStdin>,
    folder: PathBuf,
}

impl Guardian {
    /// From here on `folder`, which need not be there yet, is removed when this process ends; until
    /// it is gone, `lock` stays locked: nobody sets up anew what is being removed.
    pub(super) fn of(
        folder: &Path,
        binaries: &Binaries,
        user: ServerUser,
        lock: Option<&fs::File>,
    ) -> Result<Self, SandboxError> {
        let shell = Path::new("/bin/sh");
        // A lock of this kind belongs to all who have the open file; the guardian prints nothing.
        let lock = match lock {
            Some(lock) => {
                Stdio::from(lock.try_clone().map_err(io_error("keep the lock of", folder))?)
            }
            None => Stdio::null(),
        };
        let mut child = command(shell, Path::new("/"), user)
            .args(["-c", GUARDIAN, "annals-sandbox"])
            .arg(binaries.program("postgres"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(lock)
            .stderr(Stdio::null())
            .spawn()
            .map_err(io_error("run", shell))?;
        let input = child.stdin.take();
        Ok(Self { child, input, folder: folder.to_owned() })
    }

    fn tell(&mut self, word: &str) -> Result<(), SandboxError> {
        let Some(input) = &mut self.input else { return Ok(()) };
        let path = Path::new("/bin/sh");
        input.write_all(format!("{word}\n").as_bytes()).map_err(io_error("talk to", path))
    }

    /// Starts the server and waits until it is ready.
    pub(super) fn start(&mut self) -> Result<(), SandboxError> {
        // Both are of a server before this one.
        let _ = fs::remove_file(server_log(&self.folder));
        self.tell("start")?;
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(&self.folder) {
            if Instant::now() > deadline || server_failed(&self.folder) {
                return Err(not_ready(&self.folder));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Shuts the server down cleanly and waits for it.
    pub(super) fn end(&mut self) -> Result<(), SandboxError> {
        self.tell("end")?;
        let deadline = Instant::now() + PATIENCE;
        while pid_file(&self.folder).is_some() {
            if Instant::now() > deadline {
                return Err(SandboxError::NotReady("it does not shut down".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Ends the guard; the folder, and a server in it, stay.
    pub(super) fn leave(mut self) -> Result<(), SandboxError> {
        self.tell("leave")?;
        drop(self.input.take());
        let ended = self.child.wait().map_err(io_error("wait for", Path::new("/bin/sh")))?;
        if ended.success() { Ok(()) } else { Err(not_ready(&self.folder)) }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if let Some(input) = self.input.take() {
            // It reads the end of its input, stops the server and removes the folder.
            drop(input);
            let _ = self.child.wait();
            // As root, the guardian may not be allowed to remove the emptied folder itself.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Starts a server that outlives this process.
pub(super) fn start_detached(
    folder: &Path,
    binaries: &Binaries,
    user: ServerUser,
) -> Result<(), SandboxError> {
    let pg_ctl = binaries.program("pg_ctl");
    // Nobody serves this folder, which was checked: what a server that was killed has left would
    // only stop the next one, and may name a process of somebody else by now.
    let _ = fs::remove_file(data(folder).join("postmaster.pid"));
    let _ = fs::remove_file(folder.join(".s.PGSQL.5432.lock"));
    let _ = fs::remove_file(server_log(folder));
    // It would look only every tenth of a second whether the server is ready.
    let started = command(&pg_ctl, folder, user)
        .args(["start", "-W", "-s", "-D"])
        .arg(data(folder))
        .arg("-l")
        .arg(server_log(folder))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(io_error("run", &pg_ctl))?;
    let deadline = Instant::now() + PATIENCE;
    while started.success() && !is_ready(folder) {
        if Instant::now() > deadline || server_failed(folder) {
            return Err(not_ready(folder));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    if started.success() { Ok(()) } else { Err(not_ready(folder)) }
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

pub(super) fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join("; ")
}

/// Lines of `postmaster.pid`: 1 the process, 8 its state (`src/include/utils/pidfile.h`).
fn pid_file(folder: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(data(folder).join("postmaster.pid")).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

fn is_ready(folder: &Path) -> bool {
    pid_file(folder).and_then(|lines| Some(lines.get(7)?.trim() == "ready")) == Some(true)
}

pub(super) fn server_pid(folder: &Path) -> Option<i32> {
    pid_file(folder)?.first()?.trim().parse().ok()
}

pub(super) fn is_running(folder: &Path) -> bool {
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

pub(super) fn kill_server(folder: &Path) {
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
