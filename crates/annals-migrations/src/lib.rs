//! Migration files and plans as values.
//!
//! Nothing here performs IO (only `load` reads the two folders), reads a clock, or draws randomness.

mod directives;
mod load;
mod names;
mod plan;
mod position;
mod set;
mod sql;

pub use directives::{DirectiveError, Directives, parse_duration_ms};
pub use load::{LoadOptions, MAX_FILE_BYTES, ORDER_FILE, load};
pub use names::{NameError, migration_file_name, name_is_valid, rollback_file_name};
pub use plan::{PLAN_FORMAT, Plan, PlannedStatement, PlannedStep, Precondition, Timeouts};
pub use position::Position;
pub use set::{Migration, MigrationSet, Problem, SourceFile};
pub use sql::{Script, Statement, StatementClass, parse};
