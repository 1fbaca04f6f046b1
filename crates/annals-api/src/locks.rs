//! `annals locks`.

use annals_events::StepMode;
use annals_operations::{LocksView, StepAt};
use annals_postgres::{Blocker, Occupancy};
use serde::Serialize;

/// A session as the server shows it. What the role may not see of it is `null`.
#[derive(Debug, Clone, Serialize)]
pub struct SessionDocument {
    /// Backend process id; `null` for a prepared transaction.
    pub pid: Option<i32>,
    /// Role.
    pub user: String,
    /// `application_name`; of a run of annals, `annals/<run>`.
    pub application: String,
    /// Such as `active` or `idle in transaction`.
    pub state: Option<String>,
    /// Seconds since its current or last query began.
    pub query_age_s: Option<i64>,
    /// Seconds since its transaction began.
    pub transaction_age_s: Option<i64>,
}

impl From<&Blocker> for SessionDocument {
    fn from(blocker: &Blocker) -> Self {
        Self {
            pid: Some(blocker.pid).filter(|_| !blocker.is_prepared()),
            user: blocker.user.clone(),
            application: blocker.application.clone(),
            state: blocker.state.clone(),
            query_age_s: blocker.query_age_s,
            transaction_age_s: blocker.transaction_age_s,
        }
    }
}

/// Who holds the workspace's lock on the target.
#[derive(Debug, Clone, Serialize)]
pub struct HolderDocument {
    /// Who.
    pub session: SessionDocument,
    /// Where it connected from; `null` for a socket.
    pub client: Option<String>,
    /// When its session began.
    pub since: Option<String>,
    /// Seconds since then.
    pub session_age_s: Option<i64>,
    /// What it waits for at this moment, in the server's words.
    pub waits: Option<String>,
    /// Who keeps it from a lock.
    pub waits_for: Vec<SessionDocument>,
    /// Who waits for a lock it has.
    pub blocks: Vec<SessionDocument>,
}

impl From<&Occupancy> for HolderDocument {
    fn from(found: &Occupancy) -> Self {
        Self {
            session: SessionDocument::from(&found.holder),
            client: found.client.clone(),
            since: found.since.clone(),
            session_age_s: found.session_age_s,
            waits: found.waits.clone(),
            waits_for: found.waits_for.iter().map(SessionDocument::from).collect(),
            blocks: found.blocks.iter().map(SessionDocument::from).collect(),
        }
    }
}

/// A step the log knows to be under way.
#[derive(Debug, Clone, Serialize)]
pub struct StepDocument {
    /// `<version>_<name>`.
    pub step: String,
    /// `transactional` or `statement_by_statement`.
    pub mode: &'static str,
    /// Its statements.
    pub statements: u64,
    /// Outside a transaction: the statement under way, from 1.
    pub statement: Option<u64>,
}

impl From<&StepAt> for StepDocument {
    fn from(at: &StepAt) -> Self {
        Self {
            step: at.id.clone(),
            mode: match at.mode {
                StepMode::Transactional => "transactional",
                StepMode::StatementByStatement => "statement_by_statement",
            },
            statements: at.statements,
            statement: at.statement,
        }
    }
}

/// A run the log knows to be under way, or cut short.
#[derive(Debug, Clone, Serialize)]
pub struct OpenRunDocument {
    /// Its id.
    pub run: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// Who runs it.
    pub by: String,
    /// On which machine.
    pub host: String,
    /// When it began.
    pub started_at: String,
    /// Its steps.
    pub steps: u64,
    /// Those that took effect.
    pub steps_done: u64,
    /// Those it has begun and not ended.
    pub at: Vec<StepDocument>,
}

/// The lock of the log's folder.
#[derive(Debug, Clone, Serialize)]
pub struct LogLockDocument {
    /// The folder.
    pub place: String,
    /// Whether a process of this machine has it; `null` where that cannot be told.
    pub held: Option<bool>,
    /// Who has it, or had it last.
    pub holder: Option<String>,
}

/// `annals locks`.
#[derive(Debug, Clone, Serialize)]
pub struct LocksDocument {
    /// `annals.locks/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The workspace.
    pub workspace: String,
    /// Who holds the workspace's lock on the target; `null` is nobody.
    pub holder: Option<HolderDocument>,
    /// What the log knows to be under way.
    pub run: Option<OpenRunDocument>,
    /// Why the log does not say.
    pub log_unread: Option<String>,
    /// The lock of the log's folder; `null` where the log is in a database.
    pub log_lock: Option<LogLockDocument>,
}

impl From<&LocksView> for LocksDocument {
    fn from(view: &LocksView) -> Self {
        let run = view.run.as_ref().map(|run| OpenRunDocument {
            run: run.run.to_string(),
            direction: run.direction.as_str(),
            by: run.by.clone(),
            host: run.host.clone(),
            started_at: run.at.to_string(),
            steps: run.steps,
            steps_done: run.steps_done,
            at: view.steps.iter().map(StepDocument::from).collect(),
        });
        let log_lock = view.log.as_ref().map(|log| LogLockDocument {
            place: log.place.clone(),
            held: log.held,
            holder: log.holder.clone(),
        });
        Self {
            format: "annals.locks/1",
            target: view.target.clone(),
            workspace: view.workspace.clone(),
            holder: view.holder.as_ref().map(HolderDocument::from),
            run,
            log_unread: view.unread.clone(),
            log_lock,
        }
    }
}
