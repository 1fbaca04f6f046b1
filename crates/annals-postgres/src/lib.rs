//! All that is said to a live target: sessions and their guards, the lock, the ledger, the catalog,
//! and the sandbox server.
//!
//! Nothing here decides what is to be done, and no secret leaves a [`ConnectionSpec`].

mod catalog;
mod connect;
mod fault;
mod indexes;
mod ledger;
mod lock;
mod platform;
pub mod sandbox;
mod session;

pub use catalog::read_schema;
pub use connect::{ConnectError, ConnectionSpec};
pub use fault::{Fault, ServerError};
pub use indexes::{IndexState, drop_index_concurrently, index_on_table, index_state};
pub use ledger::{KeptCheckpoint, LEDGER_SCHEMA, LedgerError, NewLedgerRow, StatementRow};
pub use lock::{LockHolder, LockKey};
pub use platform::Platform;
pub use session::{ServerFacts, Session, SessionSettings, TransactionLimits, TransactionStatus};
