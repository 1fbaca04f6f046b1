//! One function for each verb: wires the crates; owns the clock, the identifiers and the workspace.
//!
//! Nothing here reads the process environment or touches the terminal: both come in as arguments.

mod clock;
mod config;
mod create;
mod environment;
mod error;
mod init;
mod logs;
mod migrate;
mod moment;
mod open;
mod recorder;
mod sandbox;
mod show;
mod status;
mod targets;
mod verify;
mod workspace;

pub use annals_executor::{
    Interrupt, InterruptHandle, NoProgress, Progress, RunEnd, RunReport, Unrecorded,
};
pub use clock::{Clock, IdSource, SystemClock, SystemIds};
pub use config::{Config, ConfigError};
pub use create::{Created, create};
pub use environment::Environment;
pub use error::{Failure, LogFailure, TargetFailure};
pub use init::{Initialized, init};
pub use logs::LogSource;
pub use migrate::{
    ChangeOptions, ChangeOutcome, PlanPreview, RolledGoal, UpGoal, migrate, plan, rollback,
};
pub use moment::{Moment, parse_moment};
pub use open::Recovered;
pub use sandbox::{PrivateServer, SandboxInfo, sandbox_start, sandbox_stop};
pub use show::{HistoryView, LogCheck, LogView, StateView, history, log_show, log_verify, state};
pub use status::StatusRow;
pub use status::{Condition, StatusView, status};
pub use targets::SANDBOX_TARGET;
pub use verify::{VerifyView, verify};
pub use workspace::Workspace;
