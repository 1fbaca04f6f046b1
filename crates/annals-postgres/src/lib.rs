//! All that is said to a live target: sessions and their guards, the lock, the ledger, the catalog,
//! and the sandbox server.
//!
//! Nothing here decides what is to be done, and no secret leaves a [`ConnectionSpec`].

mod adoption;
mod backfills;
mod batch;
mod blockers;
mod catalog;
mod checks;
mod commit;
mod connect;
mod copy;
mod ddl_log;
mod dump;
mod ended;
mod endpoint;
mod fault;
mod health;
mod indexes;
mod ledger;
mod leftovers;
mod line;
mod lock;
mod losses;
mod occupancy;
mod outside;
mod parameters;
mod password_file;
mod platform;
mod probe;
mod reach;
mod rehearsal;
mod restored_rows;
pub mod sandbox;
mod scratch;
mod session;
mod sizes;
mod surroundings;
mod swap;
mod watch;

pub use adoption::{
    Fate, IN_THE_FUTURE, KeptHead, OldBackend, SupabaseRow, TakenOver, head_of_rows,
};
pub use backfills::{BackfillKey, BackfillProgress, BatchBounds, KeyLook};
pub use batch::{StepBeginning, StepFault};
pub use catalog::{SchemaReader, SchemaScope, read_schema, read_schema_inside};
pub use checks::{
    CheckLimits, CheckOptions, CheckProgress, Content, NoCheckProgress, Report as CheckReport,
    Seen, Unmade, Why, check as check_integrity, check_names,
};
pub use commit::{Begun, MayHave, StepCommit, Witness};
pub use connect::{ConnectError, ConnectionSpec};
pub use copy::CopyIn;
pub use ddl_log::{DdlEntry, OWN_APPLICATION, TrackError, Tracking};
pub use dump::{DumpError, DumpProgram, Section};
pub use ended::Ended;
pub use fault::{Fault, ServerError};
pub use health::{
    Activity, Bloat, ConnectionUse, IndexUse, LockWait, LongQuery, MAX_TABLES, Storage,
    TableChoice, TableState,
};
pub use indexes::{
    IndexDefinition, IndexState, TableLook, UnderName, clone_name, definition_on_clone,
    drop_index_concurrently, index_state, look_at_table, reindex_leftovers, under_name,
};
pub use ledger::{KeptCheckpoint, LEDGER_SCHEMA, LedgerError, NewLedgerRow, StatementRow};
pub use leftovers::Leftovers;
pub use line::{Attendance, Line};
pub use lock::{LockHolder, LockKey};
pub use losses::{Counted, RowCount};
pub use occupancy::Occupancy;
pub use outside::{
    Attachment, Existence, PartitionNode, attachment, existence, free_name, partition_tree,
};
pub use parameters::{SpecError, Variables};
pub use platform::Platform;
pub use reach::Reach;
pub use rehearsal::{HeldLock, Trace, Traced};
pub use scratch::ScratchDatabase;
pub use session::{ServerFacts, Session, SessionSettings, TransactionLimits, TransactionStatus};
pub use surroundings::{
    EventTrigger, LongTransaction, PreparedTransaction, Publication, ReplicationSlot, Surroundings,
    read_surroundings,
};
pub use swap::{Bound, DatabaseEntry, Guest};
pub use watch::{Blocker, BuildProgress, Observed, Watch};
