//! Carries out a plan, recording each step before it acts.
//!
//! Nothing here plans, reads files, or knows where events are kept: a plan has no choices left, and
//! events go to a [`Recorder`].

mod at_once;
mod backfill;
mod concurrent;
mod context;
#[doc(hidden)]
pub mod failpoint;
mod interrupt;
mod objection;
mod recipe;
mod reconcile;
mod retry;
mod run;
mod send;
mod statements;
mod transaction;
mod watch;

pub use context::{Advance, Intent, NoProgress, Progress, Recorder, RecorderError, RunContext};
pub use interrupt::{Interrupt, InterruptHandle};
pub use objection::{Objection, PlanObjection, examine};
pub use reconcile::{ReconcileError, reconcile};
pub use retry::{Patience, lost_to_others};
pub use run::{RunEnd, RunReport, Unrecorded, execute};
