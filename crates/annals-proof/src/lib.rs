//! The rollback proof: every migration goes up, down and up again on a sandbox, and what is left is
//! compared with what was there.
//!
//! Nothing here chooses a server, reads a configuration or writes a log. A verdict follows from what
//! was seen alone ([`judge`]); [`rehearse`] does the seeing.

mod chain;
mod engine;
mod errand;
mod group;
mod judge;
mod lanes;
mod place;
mod rehearsal;
mod relations;
mod report;
mod rows;
mod sample;
mod scale;
mod touched;
mod values;

pub use judge::{Seen, judge};
pub use place::{Place, PlaceError, RehearsalError};
pub use rehearsal::{Audience, Batch, Item, NoAudience, RehearsalOptions, rehearse};
pub use relations::rank as lock_strength;
pub use report::{
    ChainPlace, FileFailure, FileSeen, LockSeen, LostColumn, LostRows, ObjectChange,
    ObjectDifference, REPORT_FORMAT, Rehearsal, RowsReport, Skipped, StatementSeen, StepProof,
};
pub use scale::{Filled, LockHeld, ScaleReport, ScaledWay};
