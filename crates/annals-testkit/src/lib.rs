//! Servers, workspaces and faults for the tests of annals.
//!
//! Every server is a real PostgreSQL, started by the test that needs it in a temporary folder and
//! gone with it. Nothing here skips: an absent PostgreSQL is a failure that says how to install it.

mod annals;
mod disk;
mod network;
mod pooler;
mod proxy;
mod server;
mod standby;
mod tls;
mod transcript;
mod workspace;

pub use annals::{Annals, Outcome, Running, kill, program, wait_for};
pub use disk::{PAGE_BYTES, SmallDisk};
pub use network::{At, Failing, Network, Trouble};
pub use pooler::{PoolMode, Pooler, PoolerOptions};
pub use proxy::{Cut, Proxy};
pub use server::{Held, Server, ServerOptions};
pub use standby::Standby;
pub use tls::{Authority, Certificate};
pub use transcript::{Block, Page, Shell};
pub use workspace::Workspace;
