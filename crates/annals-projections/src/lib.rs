//! Read models folded from events, as of any moment.
//!
//! Nothing here performs IO, reads a clock, or draws randomness: the same events give the same
//! state on every machine. `apply` is total: a recorded fact is never rejected.

mod history;
mod ledger;
mod recovery;
mod replay;

pub use history::{Applied, Change, Failure, History};
pub use ledger::LedgerRow;
pub use recovery::{
    IntegritySummary, OpenRun, OpenStep, RecoveryState, RunSummary, SchemaPicture, StatementState,
};
pub use replay::{AsOf, Projection, Selection, replay, select};
