//! Carries out a plan, recording each step before it acts.
//!
//! Nothing here plans, reads files, or knows where events are kept: a plan has no choices left, and
//! events go to a [`Recorder`].

mod concurrent;
mod context;
mod failpoint;
mod interrupt;
mod reconcile;
mod run;
mod statements;
mod transaction;

pub use context::{Intent, NoProgress, Progress, Recorder, RecorderError, RunContext};
pub use interrupt::{Interrupt, InterruptHandle};
pub use reconcile::{ReconcileError, reconcile};
pub use run::{RunEnd, RunReport, Unrecorded, execute};
