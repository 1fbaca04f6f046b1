//! Files of a commit, asked of the program `git`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file of a commit.
pub(crate) struct CommittedFile {
    /// Relative to the workspace.
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
}

/// A file of a commit, by its name and the name of its content.
type Listed = (PathBuf, String);

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    // Neither a question nor a lock: nothing is written.
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
    command.arg("-C").arg(folder).stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let done = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "git is not installed".to_owned(),
        _ => format!("git cannot be run: {error}"),
    })?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("git says no reason");
    Err(said.trim_start_matches("fatal: ").to_owned())
}

/// The commit a name stands for.
pub(crate) fn commit(folder: &Path, name: &str) -> Result<String, String> {
    let wanted = format!("{name}^{{commit}}");
    let mut command = git(folder);
    command.args(["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]);
    match output(&mut command) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).trim().to_owned()),
        Err(reason) if reason == "git says no reason" => {
            // Is it the name, or is there no repository at all?
            output(git(folder).args(["rev-parse", "--git-dir"]))?;
            Err("there is no such commit here; in a pipeline, fetch it: git fetch origin <branch>"
                .to_owned())
        }
        Err(reason) => Err(reason),
    }
}

/// Every file below `folders` in a commit.
pub(crate) fn files(
    workspace: &Path,
    commit: &str,
    folders: &[&Path],
) -> Result<Vec<CommittedFile>, String> {
    let mut command = git(workspace);
    command.args(["ls-tree", "-r", "-z", commit, "--"]).args(folders);
    let listed = entries(&output(&mut command)?);
    let mut child = git(workspace)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("git cannot be run: {error}"))?;
    let asked: String = listed.iter().map(|(_, id)| format!("{id}\n")).collect();
    let input = child.stdin.take();
    // It answers while it is asked: both at once, or neither ends.
    let asking = std::thread::spawn(move || {
        input.map_or(Ok(()), |mut input| input.write_all(asked.as_bytes()))
    });
    let done = child.wait_with_output().map_err(|error| format!("git: {error}"))?;
    let asked = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    asked.map_err(|error| format!("git: {error}"))?;
    contents(listed, &done.stdout)
}

fn entries(text: &[u8]) -> Vec<Listed> {
    let all = text.split(|byte| *byte == 0).filter_map(|entry| {
        let entry = std::str::from_utf8(entry).ok()?;
        let (head, path) = entry.split_once('\t')?;
        let mut head = head.split(' ').skip(1);
        let (kind, id) = (head.next()?, head.next()?);
        (kind == "blob").then(|| (PathBuf::from(path), id.to_owned()))
    });
    all.collect()
}

/// `<id> blob <size>\n<content>\n`, one behind the other.
fn contents(listed: Vec<Listed>, mut rest: &[u8]) -> Result<Vec<CommittedFile>, String> {
    let mut files = Vec::with_capacity(listed.len());
    for (path, id) in listed {
        let broken = || format!("git does not show {}", path.display());
        let line = rest.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        let head = std::str::from_utf8(&rest[..line]).map_err(|_| broken())?;
        let size = head.strip_prefix(&format!("{id} blob ")).and_then(|size| size.parse().ok());
        let size: usize = size.ok_or_else(broken)?;
        let content = rest.get(line + 1..line + 1 + size).ok_or_else(broken)?.to_vec();
        rest = rest.get(line + 2 + size..).ok_or_else(broken)?;
        files.push(CommittedFile { path, content });
    }
    Ok(files)
}

/// The top folder of the repository a folder lies in.
pub(crate) fn top(folder: &Path) -> Result<PathBuf, String> {
    let text = output(git(folder).args(["rev-parse", "--show-toplevel"]))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&text).trim_end_matches('\n')))
}

/// Where git looks for the hooks of a repository.
pub(crate) fn hooks(folder: &Path) -> Result<PathBuf, String> {
    let text = output(git(folder).args(["rev-parse", "--git-path", "hooks"]))?;
    Ok(folder.join(String::from_utf8_lossy(&text).trim_end_matches('\n')))
}

/// The branch that others build on: that of the remote, else the one that is checked out.
pub(crate) fn branch(folder: &Path) -> Option<String> {
    let ask = |arguments: &[&str]| {
        let text = output(git(folder).args(arguments)).ok()?;
        Some(String::from_utf8_lossy(&text).trim().to_owned()).filter(|name| !name.is_empty())
    };
    let remote = ask(&["symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"]);
    remote.and_then(|name| name.strip_prefix("origin/").map(str::to_owned))
}
