//! The faults, the cases they make at each point, and those that are not run.

use crate::case::{Case, Deed, FaultNumber, Moment, PointNumber, Way};
use crate::{kept, own};

/// F1 to F36.
pub const FAULTS: [&str; 36] = [
    "the runner is killed",
    "SIGTERM, SIGINT",
    "the runner stands still and goes on",
    "TCP reset",
    "black hole",
    "cut between COMMIT and its answer",
    "cut before COMMIT arrives",
    "the server crashes and starts again",
    "failover that loses commits",
    "the server turns read-only",
    "backend ended or statement cancelled by an administrator",
    "lock timeout, deadlock",
    "several runners at once",
    "transaction pooler",
    "too many connections, refused login, no TLS",
    "no space for the event log",
    "fsync of the event log fails",
    "torn, lost or reordered writes of the event log",
    "a flipped bit in the event log",
    "an older copy of the event log",
    "a fork of the event log",
    "the dump of a backup fails",
    "a damaged backup",
    "the server's disk is full",
    "the clock jumps",
    "a file is edited, swapped or removed",
    "the ledger is edited by hand",
    "the schema is changed by hand",
    "hostile SQL",
    "an event trigger raises",
    "the runner panics",
    "approvals that no longer hold",
    "rollback while the forward run's backend lives",
    "restore into the wrong target",
    "a log of a newer annals",
    "power loss of both: kill and crash",
];

/// Cases that are not run.
pub struct NotRun {
    /// The fault.
    pub fault: FaultNumber,
    /// The points, all of them if none is named.
    pub points: &'static [PointNumber],
    /// Why not.
    pub reason: &'static str,
}

/// What the matrix does not run, and why.
pub const NOT_RUN: &[NotRun] = &[
    NotRun {
        fault: 18,
        points: &[],
        reason: "run on the store itself, on a simulated disk that keeps any part of what was not \
                 synced: crates/annals-event-store/tests/simulated",
    },
    NotRun {
        fault: 24,
        points: &[],
        reason: "needs a file system of its own below the server's data, mounted where the server \
                 sees it",
    },
    NotRun {
        fault: 32,
        points: &[],
        reason: "refusals, not faults: tests/acceptance/approvals.rs tries each way to cheat",
    },
    NotRun {
        fault: 34,
        points: &[],
        reason: "refusals, not faults: tests/acceptance/restore.rs, with a kill at each point of the \
                 swap",
    },
    NotRun {
        fault: 1,
        points: &[3],
        reason: "an approval is one append to the log, as the intent of P5 is",
    },
    NotRun {
        fault: 13,
        points: &[],
        reason: "only the part with `supabase db push` at the same time: that program is not \
                 installed",
    },
    NotRun {
        fault: 12,
        points: &[],
        reason: "only serialization failures: no migration asks for a stricter isolation",
    },
    NotRun {
        fault: 31,
        points: &[],
        reason: "only the end by lack of memory: it is the kill of F1 to everybody else",
    },
];

/// A failpoint: its name, the point it is, and how often each command comes by.
pub struct Place {
    /// Its name.
    pub name: &'static str,
    /// The point.
    pub point: PointNumber,
    /// Times, in the order of [`Way::ALL`].
    pub times: [usize; 3],
}

const fn place(name: &'static str, point: PointNumber, times: [usize; 3]) -> Place {
    Place { name, point, times }
}

/// Every failpoint. How often a run comes by is checked: a case that strikes nothing fails.
pub const PLACES: &[Place] = &[
    place("after_files", 1, [1, 1, 1]),
    place("after_files_again", 1, [1, 1, 1]),
    place("after_plan", 2, [1, 1, 1]),
    place("after_lock", 4, [1, 1, 1]),
    place("after_intent", 5, [15, 15, 1]),
    place("while_working", 8, [11, 11, 0]),
    place("before_commit", 9, [14, 14, 1]),
    place("after_commit", 11, [15, 15, 1]),
    place("after_picture", 11, [14, 14, 0]),
    place("after_outcome", 12, [1, 1, 1]),
    place("after_schema", 12, [1, 1, 1]),
    place("before_unlock", 12, [1, 1, 1]),
    place("after_backfill_begun", 15, [1, 1, 0]),
    place("in_batch", 15, [5, 5, 0]),
    place("before_batch_commit", 15, [5, 5, 0]),
    place("after_batch", 15, [5, 5, 0]),
    place("after_statement_intent", 13, [9, 9, 0]),
    place("after_statement_effect", 14, [9, 9, 0]),
    place("after_statement_row", 14, [4, 4, 0]),
    place("after_statement_outcome", 14, [9, 9, 0]),
];

/// Gates of the fixed set: the name, the point.
const GATES: &[(&str, PointNumber)] = &[
    ("up 2", 8),
    ("up 12", 8),
    ("up 13", 8),
    ("commit up 4", 10),
    ("commit up 9", 10),
    ("up 11", 13),
];
const GATES_DOWN: &[(&str, PointNumber)] =
    &[("down 2", 8), ("down 13", 8), ("commit down 5", 10), ("down 11", 13)];
const GATES_TOGETHER: &[(&str, PointNumber)] = &[("up 2", 8), ("commit up 4", 10)];

const fn gates(way: Way) -> &'static [(&'static str, PointNumber)] {
    match way {
        Way::Up => GATES,
        Way::Down => GATES_DOWN,
        Way::Together => GATES_TOGETHER,
    }
}

/// A fault at every failpoint and gate from a point on.
struct Sweep {
    fault: FaultNumber,
    deed: Deed,
    /// From which point on.
    from: PointNumber,
    /// One in so many of all occurrences is in the short run.
    one_in: usize,
}

/// Faults that strike at failpoints and gates alike.
const SWEEPS: &[Sweep] = &[
    Sweep { fault: 1, deed: Deed::Kill, from: 1, one_in: 9 },
    Sweep { fault: 2, deed: Deed::Signal("TERM"), from: 1, one_in: 43 },
    Sweep { fault: 2, deed: Deed::Signal("INT"), from: 1, one_in: 49 },
    Sweep { fault: 3, deed: Deed::Still, from: 1, one_in: 41 },
    Sweep { fault: 3, deed: Deed::StillAndEnded, from: 5, one_in: 43 },
    Sweep { fault: 4, deed: Deed::Reset, from: 5, one_in: 35 },
    Sweep { fault: 8, deed: Deed::Crash, from: 5, one_in: 41 },
    Sweep { fault: 8, deed: Deed::CrashWeak, from: 8, one_in: 49 },
    Sweep { fault: 11, deed: Deed::Terminate, from: 5, one_in: 41 },
    Sweep { fault: 13, deed: Deed::Runners(2), from: 1, one_in: 43 },
    Sweep { fault: 16, deed: Deed::DiskFull, from: 2, one_in: 35 },
    Sweep { fault: 31, deed: Deed::Panic, from: 1, one_in: 41 },
    Sweep { fault: 36, deed: Deed::KillAndCrash, from: 5, one_in: 41 },
];

/// Every case there is, in an order that does not change.
///
/// A long run takes one in two of all occurrences for kills, and one in four for every other fault;
/// which ones follows from `seed`: four seeds that follow each other take all of them.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for sweep in SWEEPS {
        let mut met = 0;
        for (at, way) in Way::ALL.into_iter().enumerate() {
            for place in PLACES.iter().filter(|place| place.point >= sweep.from) {
                for nth in 1..=place.times[at] {
                    met += 1;
                    // The first of every kill, and a few behind it.
                    let first = nth == 1 && way == Way::Up && sweep.fault == 1;
                    let short = first || met % sweep.one_in == 0;
                    let one_in = if sweep.fault == 1 { 2 } else { 4 };
                    let long = (met as u64 + seed).is_multiple_of(one_in);
                    if short || long {
                        let at = Moment::Failpoint(place.name, nth);
                        cases.push(case(sweep, place.point, way, at, short));
                    }
                }
            }
            for (n, (gate, point)) in gates(way).iter().enumerate() {
                if gate_makes_sense(sweep.deed) && *point >= sweep.from {
                    let short = way == Way::Up && n == usize::from(sweep.fault) % GATES.len();
                    cases.push(case(sweep, *point, way, Moment::Gate(gate), short));
                }
            }
        }
    }
    // A statement is cancelled while it runs only.
    for way in Way::ALL {
        for (gate, point) in gates(way) {
            let (at, deed) = (Moment::Gate(gate), Deed::Cancel);
            cases.push(Case { fault: 11, point: *point, way, at, deed, short: *gate == "up 12" });
        }
    }
    cases.extend(own::cases());
    cases.extend(kept::cases());
    cases
}

fn gate_makes_sense(deed: Deed) -> bool {
    // A process cannot panic while it only waits for the server.
    !matches!(deed, Deed::Panic)
}

fn case(sweep: &Sweep, point: PointNumber, way: Way, at: Moment, short: bool) -> Case {
    Case { fault: sweep.fault, point, way, at, deed: sweep.deed, short }
}
