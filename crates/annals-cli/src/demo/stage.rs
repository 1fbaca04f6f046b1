//! Runs the program in the tour's folder and tells what is seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use annals_api::ExitCode;
use annals_operations::{Environment, Failure, PrivateServer};
use serde::Serialize;

use super::files;
use crate::output::Output;
use crate::style::{FAINT, GOOD, HINT, STRONG};

/// What the tour did, for `--json`.
#[derive(Debug, Serialize)]
struct Document {
    /// `annals.demo/1`.
    format: &'static str,
    /// The folder that is left.
    folder: String,
    /// Each command and how it ended.
    commands: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    command: String,
    exit_code: u8,
}

/// The tour's folder, server and voice.
pub(super) struct Stage<'a> {
    environment: &'a Environment,
    output: &'a Output,
    folder: PathBuf,
    program: PathBuf,
    url: String,
    server: Option<PrivateServer>,
    commands: Vec<Step>,
    chapter: usize,
    began: Instant,
}

fn unexpected(subject: impl Into<String>, reason: impl Into<String>) -> Failure {
    Failure::Argument { subject: subject.into(), reason: reason.into() }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let error = |source| Failure::Write { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(error)?;
    }
    fs::write(path, text).map_err(error)
}

impl<'a> Stage<'a> {
    pub(super) async fn set_up(
        environment: &'a Environment,
        output: &'a Output,
        folder: PathBuf,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| unexpected("this program", error.to_string()))?;
        let began = Instant::now();
        let server = PrivateServer::start(environment).await?;
        write(&folder.join("annals.toml"), files::CONFIG)?;
        for (name, text) in files::EXAMPLE {
            write(&folder.join(name), text)?;
        }
        let stage = Self {
            environment,
            output,
            folder,
            program,
            url: server.url(),
            server: Some(server),
            commands: Vec::new(),
            chapter: 0,
            began,
        };
        stage.line(&format!(
            "{STRONG}annals demo{STRONG:#}: a private PostgreSQL {} is running, prepared like \
             Supabase;\neverything below is this program at work in {}",
            stage.server.as_ref().map(PrivateServer::version).unwrap_or_default(),
            stage.folder.display()
        ));
        Ok(stage)
    }

    fn line(&self, text: &str) {
        if !self.output.is_json() {
            anstream::println!("{text}");
        }
    }

    /// Begins a chapter.
    pub(super) fn tell(&mut self, title: &str, text: &str) {
        self.chapter += 1;
        self.line(&format!("\n{STRONG}{}. {title}.{STRONG:#} {text}", self.chapter));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).env("ANNALS_DEMO_URL", &self.url);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command for all to see and wants it to end as told.
    pub(super) fn annals(&mut self, arguments: &[&str], wanted: ExitCode) -> Result<(), Failure> {
        let line = format!("annals {}", quoted(arguments));
        self.line(&format!("\n{HINT}${HINT:#} {STRONG}{line}{STRONG:#}"));
        let mut command = self.command(arguments);
        if self.output.is_json() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let status = command.status().map_err(|error| unexpected(&line, error.to_string()))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        if code != Some(wanted.code()) {
            let reason = format!("ended with {status}, the tour expects {}", wanted.code());
            return Err(unexpected(line, reason));
        }
        if wanted != ExitCode::Success {
            let meaning = ExitCode::ALL.iter().find(|(code, _)| *code == wanted);
            let meaning = meaning.map(|(_, meaning)| *meaning).unwrap_or_default();
            self.line(&format!("{FAINT}exit code {}:{meaning}{FAINT:#}", wanted.code()));
        }
        self.commands.push(Step { command: line, exit_code: wanted.code() });
        Ok(())
    }

    /// Runs a command and reads its document.
    pub(super) fn annals_json(&mut self, arguments: &[&str]) -> Result<serde_json::Value, Failure> {
        let line = format!("annals {}", quoted(arguments));
        self.line(&format!("\n{HINT}${HINT:#} {STRONG}{line}{STRONG:#}"));
        let output = self.command(arguments).arg("--json").stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| unexpected(&line, error.to_string()))?;
        let document = serde_json::from_slice(&output.stdout)
            .map_err(|error| unexpected(&line, error.to_string()))?;
        self.commands.push(Step { command: line, exit_code: 0 });
        Ok(document)
    }

    /// Writes SQL behind the headers of a created pair.
    pub(super) fn fill_in(
        &self,
        created: &serde_json::Value,
        up: &str,
        down: &str,
    ) -> Result<(), Failure> {
        for (member, sql) in [("migration", up), ("rollback", down)] {
            let name = created[member].as_str().unwrap_or_default();
            let path = self.folder.join(name);
            let text = fs::read_to_string(&path).unwrap_or_default();
            let header: String = text
                .lines()
                .take_while(|line| line.starts_with("--"))
                .map(|l| format!("{l}\n"))
                .collect();
            write(&path, &format!("{header}\n{sql}"))?;
            self.line(&format!("{GOOD}✓{GOOD:#} {name}"));
        }
        for line in up.lines() {
            self.line(&format!("    {FAINT}{line}{FAINT:#}"));
        }
        Ok(())
    }

    /// Now, as `--at` takes it.
    pub(super) fn now(&self) -> String {
        self.environment.clock.now().to_string()
    }

    fn segment(&self) -> PathBuf {
        self.folder.join("event-store/demo/segments/00000000000000000000.jsonl")
    }

    fn count(&self, kind: &str) -> usize {
        let log = fs::read_to_string(self.segment()).unwrap_or_default();
        log.matches(&format!("\"kind\":\"{kind}\"")).count()
    }

    /// Starts a migrate, waits until its step has begun, and kills it.
    pub(super) fn kill_in_the_middle(&mut self) -> Result<(), Failure> {
        let line = "annals migrate";
        self.line(&format!(
            "\n{HINT}${HINT:#} {STRONG}{line} &{STRONG:#}   {FAINT}its statement begins …{FAINT:#}"
        ));
        let before = self.count("step_started");
        let mut child = self
            .command(&["migrate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| unexpected(line, error.to_string()))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.count("step_started") == before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        let killed = child.kill().and_then(|()| child.wait());
        killed.map_err(|error| unexpected(line, error.to_string()))?;
        self.line(&format!("{HINT}${HINT:#} {STRONG}kill -9 {}{STRONG:#}", child.id()));
        self.commands.push(Step { command: format!("{line} (killed)"), exit_code: 137 });
        Ok(())
    }

    /// Copies the log and changes one byte of it.
    pub(super) fn tamper(&self) -> Result<(), Failure> {
        let (from, to) = (self.folder.join("event-store/demo"), self.folder.join("tampered-log"));
        let read = |path: &Path| {
            fs::read_to_string(path)
                .map_err(|error| unexpected(path.display().to_string(), error.to_string()))
        };
        write(&to.join("checkpoint"), &read(&from.join("checkpoint"))?)?;
        let blobs = from.join("blobs/sha256");
        let listed = fs::read_dir(&blobs)
            .map_err(|error| unexpected(blobs.display().to_string(), error.to_string()))?;
        for entry in listed.flatten() {
            let copy = to.join("blobs/sha256").join(entry.file_name());
            write(&copy, &read(&entry.path())?)?;
        }
        let log = read(&self.segment())?;
        let changed = log.replacen("\"outcome\":\"succeeded\"", "\"outcome\":\"Succeeded\"", 1);
        let name = self.segment();
        let name = name.file_name().unwrap_or_default();
        write(&to.join("segments").join(name), &changed)
    }

    /// Stops the server and removes everything in it.
    pub(super) fn stop_server(&mut self) {
        self.server = None;
    }

    /// Says what is left.
    pub(super) fn finish(self) -> ExitCode {
        let folder = self.folder.display().to_string();
        let place = self.environment.folder.clone();
        let shown = self.folder.strip_prefix(&place).unwrap_or(&self.folder).display();
        self.line(&format!(
            "\n{GOOD}✓{GOOD:#} That was the tour, in {:.1} s. It leaves {STRONG}{folder}{STRONG:#}:\n    \
             cd {shown}\n    annals log show            the events, one line each\n    \
             annals state --at-seq 10   what was true after event 10\n    \
             annals migrate --sandbox   the same on a PostgreSQL of your own to play with\n    \
             annals sandbox stop        and gone it is",
            self.began.elapsed().as_secs_f32()
        ));
        if self.output.is_json() {
            let document = Document { format: "annals.demo/1", folder, commands: self.commands };
            self.output.show(&document, |_| String::new());
        }
        ExitCode::Success
    }
}

/// The arguments as a shell would take them.
fn quoted(arguments: &[&str]) -> String {
    let quote = |argument: &&str| match argument.contains(' ') {
        true => format!("\"{argument}\""),
        false => (*argument).to_owned(),
    };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}
