//! Migration files and plans as values.
//!
//! Nothing here performs IO (only `load` reads the two folders, and `stream` large files),
//! reads a clock, or draws randomness.

mod backfill;
mod canonical;
mod class;
mod complaints;
mod cut;
mod directives;
mod enum_values;
mod hidden;
mod index_form;
mod load;
mod losses;
mod names;
mod outside;
mod plan;
mod position;
mod relations;
mod reserved;
mod set;
mod sql;
mod stream;
mod terms;

pub use backfill::{BackfillDirective, with_bounds};
pub use class::{OutsideObject, ReindexScope, StatementClass};
pub use cut::{Cut, CutError, Cutter, MAX_STATEMENT_BYTES};
pub use directives::{DirectiveError, Directives, parse_duration_ms};
pub use hidden::{first_hidden, is_hidden, shown};
pub use index_form::{IndexForm, index_as};
pub use load::{
    INLINE_FILE_BYTES, LoadOptions, MAX_FILE_BYTES, ORDER_FILE, STACK_BYTES, load, read_ahead,
};
pub use losses::{Loss, losses};
pub use names::{NameError, migration_file_name, name_is_valid, rollback_file_name, version_of};
pub use plan::{
    BLOCK_BYTES, PLAN_FORMAT, Plan, PlannedStatement, PlannedStep, Precondition, StreamedFile,
    Timeouts,
};
pub use position::Position;
pub use relations::relations;
pub use set::{Migration, MigrationSet, Problem, SourceFile};
pub use sql::{Script, Statement, parse};
pub use stream::{StreamedPieces, open_streamed};
pub use terms::{PlanError, RiskLevel, Terms, differences};
