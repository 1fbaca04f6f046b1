//! Runs the program as a user would: its own environment, its own folder.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A command under construction.
pub struct Annals {
    command: Command,
}

/// What a command came to.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A command that has been started.
pub struct Running {
    line: String,
    child: Child,
}

/// Longest run of one command in a test.
const LIMIT: Duration = Duration::from_secs(120);

impl Annals {
    /// `program` (the built `annals`) in `folder`, with nothing of the caller's environment but
    /// what finding a server takes.
    pub fn new(program: &Path, folder: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(folder).env_clear();
        for name in ["PATH", "ANNALS_PG_BIN", "LD_LIBRARY_PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("XDG_CACHE_HOME", crate::server::cache_home());
        command.env("ANNALS_ACTOR", "tester").env("HOME", folder).env("NO_COLOR", "1");
        Self { command }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds arguments, split at white space.
    #[must_use]
    pub fn args(mut self, line: &str) -> Self {
        self.command.args(line.split_whitespace());
        self
    }

    /// Adds one argument as it is.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    fn line(&self) -> String {
        let mut line = "annals".to_owned();
        for argument in self.command.get_args() {
            let _ = write!(line, " {}", argument.to_string_lossy());
        }
        line
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let line = self.line();
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        Running { line, child }
    }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name, such as `INT`.
    pub fn signal(&self, name: &str) {
        kill(u64::from(self.pid()), name);
    }

    /// The next line it prints, as soon as it is there.
    pub fn line(&mut self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        let out = self.child.stdout.as_mut().expect("its output is read by the test");
        // Byte by byte: what stands behind the line is left for whoever waits for the end.
        while matches!(out.read(&mut byte), Ok(1)) && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Waits for its end.
    pub fn wait(self) -> Outcome {
        let (line, pid) = (self.line.clone(), self.pid());
        let (done, finished) = std::sync::mpsc::channel::<()>();
        // A command that hangs fails its test instead of hanging it.
        let watchdog = std::thread::spawn(move || {
            if finished.recv_timeout(LIMIT).is_err() {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
        });
        let output = self.child.wait_with_output();
        let _ = done.send(());
        let _ = watchdog.join();
        let Output { status, stdout, stderr } = output.unwrap_or_else(|e| panic!("{line}: {e}"));
        Outcome {
            line,
            code: status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&stdout).into_owned(),
            err: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// Wants this exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n--- out\n{}--- err\n{}", self.line, self.out, self.err);
        self
    }

    /// Wants all of `words` somewhere in what was printed.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let text = format!("{}{}", self.out, self.err);
        for word in words {
            assert!(text.contains(word), "{} does not say {word:?}:\n{text}", self.line);
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| {
            panic!("{}: {error}\n--- out\n{}--- err\n{}", self.line, self.out, self.err)
        })
    }

    /// Standard error as JSON.
    #[track_caller]
    pub fn error_json(&self) -> serde_json::Value {
        serde_json::from_str(&self.err)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.line, self.err))
    }
}

/// Sends a signal by name to a process the test has started.
pub fn kill(pid: u64, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Asks again and again, for at most half a minute, until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The built program: beside the running test.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let program = folder.join("annals");
    assert!(program.is_file(), "{} is not built", program.display());
    program
}
