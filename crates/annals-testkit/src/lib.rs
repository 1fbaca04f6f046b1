//! Servers, workspaces and faults for the tests of annals.
//!
//! Every server is a real PostgreSQL, started by the test that needs it in a temporary folder and
//! gone with it. Nothing here skips: an absent PostgreSQL is a failure that says how to install it.

mod annals;
mod disk;
mod proxy;
mod server;
mod workspace;

pub use annals::{Annals, Outcome, Running, kill, program, wait_for};
pub use disk::{PAGE_BYTES, SmallDisk};
pub use proxy::{Cut, Proxy};
pub use server::{Held, Server, ServerOptions};
pub use workspace::Workspace;
