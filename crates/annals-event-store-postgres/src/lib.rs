//! The PostgreSQL home of event logs: tables in the schema `annals` of a target or of a control
//! database, appended to through a function of the database that checks every line itself.
//!
//! Nothing here decides what is recorded, draws identifiers, or reads a clock but the database's.
//! The tables and functions are `event-store/postgres/*.sql`.

mod import;
mod install;
mod link;
mod log;
mod reader;
mod rows;

pub use import::Import;
pub use install::{
    InstallError, Installation, Installed, Ownership, STORE_FORMAT, install, install_up_to,
    installed_format,
};
pub use link::{Limits, StoreFault, home_of};
pub use log::PgLog;
pub use reader::{LogReader, LogSnapshot};
