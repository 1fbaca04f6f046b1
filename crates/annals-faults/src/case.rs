//! What a case is: a fault, where it strikes, and what is done.

use std::fmt;

use crate::scene::Scene;

/// The points of a run, by number; [`POINTS`] has their names.
pub type PointNumber = u8;

/// The faults, by number; [`crate::faults::FAULTS`] has their names.
pub type FaultNumber = u8;

/// Points of a run: P1 to P18.
pub const POINTS: [&str; 18] = [
    "files read",
    "plan stored",
    "approval stored",
    "lock taken",
    "intent in the log",
    "backup running",
    "backup sealed",
    "in the transaction",
    "COMMIT not sent",
    "COMMIT sent, no answer",
    "answer seen, outcome not in the log",
    "outcome in the log, lock held",
    "a statement outside a transaction runs",
    "it has ended, not recorded",
    "between batches of a backfill",
    "the same points of a rollback",
    "a restore runs",
    "nothing runs",
];

/// Where in a run the fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At the n-th time of a failpoint.
    Failpoint(&'static str, usize),
    /// While a statement waits at a gate.
    Gate(&'static str),
    /// Nothing runs, or the deed brings its own moment.
    Own(&'static str),
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failpoint(name, nth) => write!(formatter, "{name}:{nth}"),
            Self::Gate(name) => write!(formatter, "gate {name}"),
            Self::Own(name) => formatter.write_str(name),
        }
    }
}

/// Which command the fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `migrate`.
    Up,
    /// `rollback` of everything.
    Down,
    /// `migrate --single-transaction` of the first eight.
    Together,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Together];

    /// The command.
    pub const fn line(self) -> &'static str {
        match self {
            Self::Up => "migrate --json",
            Self::Down => "rollback --to 0 --json",
            Self::Together => "migrate --to 8 --single-transaction --json",
        }
    }
}

/// What is done at the moment.
#[derive(Clone, Copy)]
pub enum Deed {
    /// The process is killed.
    Kill,
    /// It panics.
    Panic,
    /// It gets a signal.
    Signal(&'static str),
    /// It stands still while a second runner comes, and goes on.
    Still,
    /// It stands still, its backend is ended, a second runner comes, and it goes on.
    StillAndEnded,
    /// The server crashes and starts again.
    Crash,
    /// The same, for a role that does not wait for durable commits.
    CrashWeak,
    /// The process is killed and the server crashes.
    KillAndCrash,
    /// Its backend is ended by an administrator.
    Terminate,
    /// Its statement is cancelled by an administrator.
    Cancel,
    /// Every connection is reset.
    Reset,
    /// So many other runners start.
    Runners(usize),
    /// The log's disk fills.
    DiskFull,
    /// Something of its own, for a case that brings its own moment.
    Own(fn(&mut Scene<'_>)),
}

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    /// The fault.
    pub fault: FaultNumber,
    /// The point.
    pub point: PointNumber,
    /// Which command it strikes.
    pub way: Way,
    /// Where.
    pub at: Moment,
    /// What.
    pub deed: Deed,
    /// Whether it belongs to the short run.
    pub short: bool,
}

impl Case {
    /// Its name, by which it can be asked for.
    pub fn name(&self) -> String {
        let way = match self.way {
            Way::Up => "",
            Way::Down => " of the rollback",
            Way::Together => " of a single transaction",
        };
        let what = match self.deed {
            Deed::Signal(name) => format!(" SIG{name}"),
            Deed::StillAndEnded => " and backend ended".to_owned(),
            Deed::CrashWeak => " with synchronous_commit=off".to_owned(),
            Deed::Cancel => " cancelled".to_owned(),
            Deed::Terminate => " terminated".to_owned(),
            Deed::Runners(n) => format!(" {n} runners"),
            _ => String::new(),
        };
        format!("F{}@P{} {}{way}{what}", self.fault, self.point, self.at)
    }

    /// Whether its role does not wait for durable commits.
    pub const fn is_weak(&self) -> bool {
        matches!(self.deed, Deed::CrashWeak)
    }

    /// The points it counts for: a point of a rollback is P16, too.
    pub fn points(&self) -> Vec<PointNumber> {
        if self.way == Way::Down { vec![self.point, 16] } else { vec![self.point] }
    }
}
