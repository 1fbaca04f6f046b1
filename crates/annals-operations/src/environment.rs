//! What the process knows of its surroundings, read once by the caller.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use annals_backup::SecretText;
use annals_events::Actor;

use crate::clock::{Clock, IdSource, SystemClock, SystemIds};
use crate::journal::Journal;

/// What somebody at a terminal is asked for, without an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// The passphrase of a target's backups.
    Passphrase {
        /// The target.
        target: &'a str,
    },
    /// The same again: something is about to be sealed with it.
    PassphraseAgain {
        /// The target.
        target: &'a str,
    },
}

/// Asks somebody; none is an answer that was refused, as by Ctrl-C.
pub type Asks = Arc<dyn Fn(Question<'_>) -> std::io::Result<Option<SecretText>> + Send + Sync>;

/// Surroundings of one command.
#[derive(Clone)]
pub struct Environment {
    /// Where the command was started.
    pub folder: PathBuf,
    /// Environment variables.
    pub variables: HashMap<String, String>,
    /// Who acts.
    pub actor: Actor,
    /// Process, command: shown to whoever finds a log locked.
    pub holder: String,
    /// Asks whoever is at the terminal; none where nobody is.
    pub asks: Option<Asks>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws identifiers.
    pub ids: Arc<dyn IdSource>,
    /// What stands in for the log of a target, in an emergency in which that cannot be reached.
    pub(crate) journal: Option<Journal>,
}

impl Environment {
    /// Surroundings with the machine's clock and random identifiers.
    pub fn new(folder: PathBuf, variables: HashMap<String, String>, command: &str) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let named = ["ANNALS_ACTOR", "LOGNAME", "USER"]
            .iter()
            .find_map(|name| variables.get(*name).filter(|value| !value.is_empty()));
        let name = named.cloned().unwrap_or_else(user_name);
        let actor = Actor {
            host: host.clone(),
            name,
            tool: concat!("annals ", env!("CARGO_PKG_VERSION")).into(),
        };
        let holder = format!("process {} on {host} ({command})", std::process::id());
        Self {
            folder,
            variables,
            actor,
            holder,
            asks: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            journal: None,
        }
    }

    /// A variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where sandboxes are kept ready to be copied.
    pub(crate) fn sandbox_cache(&self) -> Option<PathBuf> {
        let folder = |name| self.variable(name).map(std::path::Path::new);
        annals_postgres::sandbox::cache_folder(folder("XDG_CACHE_HOME"), folder("HOME"))
    }

    /// The folders of `PATH`.
    pub(crate) fn search_path(&self) -> Vec<PathBuf> {
        std::env::split_paths(self.variable("PATH").unwrap_or_default()).collect()
    }
}

/// The name `/etc/passwd` gives to the user, else the number.
fn user_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = users.lines().map(|line| line.split(':'));
    let found = lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| format!("uid {uid}"))
}
