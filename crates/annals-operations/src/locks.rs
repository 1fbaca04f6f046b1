//! `locks`: who is at work on a target, whom it waits for, whom it keeps waiting.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use annals_postgres::{LockKey, Occupancy};
use annals_projections::OpenRun;

use crate::book::Book;
use crate::environment::Environment;
use crate::error::Failure;
use crate::home::LogHome;
use crate::open::{fault, read_book};
use crate::targets::Target;
use crate::workspace::Workspace;

/// The lock of a log's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLock {
    /// The folder.
    pub place: String,
    /// Who took it last, in its own words.
    pub holder: Option<String>,
    /// Whether a process of this machine has it now; none where the machine does not say.
    pub held: Option<bool>,
}

/// Where the run is, according to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepAt {
    /// `<version>_<name>`.
    pub id: String,
    /// How it meets the transaction boundary.
    pub mode: annals_events::StepMode,
    /// Its statements.
    pub statements: u64,
    /// Outside a transaction: the statement under way, from 1.
    pub statement: Option<u64>,
}

/// What `locks` shows.
#[derive(Debug, Clone)]
pub struct LocksView {
    /// The target.
    pub target: String,
    /// The workspace.
    pub workspace: String,
    /// Who holds the workspace's lock on the target.
    pub holder: Option<Occupancy>,
    /// The run the log knows to be under way, or cut short.
    pub run: Option<OpenRun>,
    /// The steps it has begun and not ended.
    pub steps: Vec<StepAt>,
    /// Why the log does not say.
    pub unread: Option<String>,
    /// The lock of the log's folder, where the log is in one.
    pub log: Option<LogLock>,
}

/// Looks who holds what. Takes no lock, writes nothing, and needs neither ledger nor log.
///
/// # Errors
///
/// When the target cannot be reached.
pub async fn locks(environment: &Environment, target: Option<&str>) -> Result<LocksView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let spec = target.spec(environment, &workspace).await?;
    let mut session = spec.connect_to_read("annals/locks", &target.settings(&workspace)).await?;
    let name = workspace.config().workspace.clone();
    let holder = session.occupancy(LockKey::of(&name)).await.map_err(fault(&target))?;
    session.close().await;
    let (book, unread) = match read_book(&target).await {
        Ok(book) => (book, None),
        Err(failure) => (Book::default(), Some(failure.to_string())),
    };
    let log = match target.home() {
        LogHome::Folder(layout) => {
            Some(log_lock(&layout.lock(), layout.root().display().to_string()))
        }
        LogHome::Export(_) | LogHome::Postgres(_) => None,
    };
    Ok(LocksView {
        steps: steps(&book),
        run: book.recovery.open_run,
        target: target.name,
        workspace: name,
        holder,
        unread,
        log,
    })
}

fn steps(book: &Book) -> Vec<StepAt> {
    let open = book.recovery.open_steps.iter();
    let at = open.map(|step| StepAt {
        id: step.id(),
        mode: step.mode,
        statements: step.statements,
        statement: step.progress.iter().next_back().map(|(number, _)| *number),
    });
    at.collect()
}

fn log_lock(path: &Path, place: String) -> LogLock {
    let holder = std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let inode = path.metadata().map(|found| found.ino());
    let held = match inode {
        Err(_) => Some(false),
        Ok(inode) => std::fs::read_to_string("/proc/locks").ok().map(|list| holds(&list, inode)),
    };
    LogLock { place, holder: holder.filter(|text| !text.is_empty()), held }
}

/// Whether `/proc/locks` has an advisory lock on a whole file of this inode, granted.
fn holds(list: &str, inode: u64) -> bool {
    list.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = words.get(5).and_then(|place| place.rsplit(':').next());
        words.get(1) == Some(&"FLOCK") && place == Some(inode.to_string().as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_file_is_found_by_its_inode() {
        let list = "1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF\n\
            2: POSIX  ADVISORY  WRITE 4242 08:01:77 0 EOF\n\
            3: -> FLOCK  ADVISORY  WRITE 4243 08:01:99 0 EOF\n";
        assert!(holds(list, 131));
        for other in [77, 99, 13, 1] {
            assert!(!holds(list, other), "{other}");
        }
    }

    #[test]
    fn a_lock_held_in_this_process_shows() {
        let folder = std::env::temp_dir().join(format!("annals-locks-{}", std::process::id()));
        let file = std::fs::File::create(&folder).unwrap();
        assert_eq!(log_lock(&folder, String::new()).held, Some(false));
        file.lock().unwrap();
        assert_eq!(log_lock(&folder, String::new()).held, Some(true));
        drop(file);
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(log_lock(&folder, String::new()).held, Some(false));
    }
}
