//! Time and identifiers, as arguments so that tests can fix them.

use annals_events::{EventId, RunId, Timestamp};
use uuid::Uuid;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The moment, in UTC.
    fn now(&self) -> Timestamp;
}

/// Draws identifiers.
pub trait IdSource: Send + Sync {
    /// A new UUIDv7.
    fn next(&self) -> Uuid;

    /// A name for an event.
    fn event(&self) -> EventId {
        EventId(self.next())
    }

    /// A name for a run.
    fn run(&self) -> RunId {
        RunId(self.next())
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_datetime(chrono::Utc::now())
    }
}

/// Random identifiers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}
