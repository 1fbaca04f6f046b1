//! Reads a log's bytes from its first event to the first thing that is wrong with them.

use crate::chain::{Chain, ChainError};
use crate::digest::TreeHash;
use crate::envelope::Recorded;
use crate::event::Event;
use crate::ids::Seq;

/// Part of a log: whole lines, the first of them at `first`.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// The place its name gives to its first line.
    pub first: Seq,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What stops a scan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A line does not continue the log.
    #[error(transparent)]
    Line(#[from] ChainError),
    /// A segment is missing, or named wrongly.
    #[error("event {expected}: the next segment begins at {found}")]
    Gap {
        /// The place that should come next.
        expected: Seq,
        /// The place the next segment's name gives.
        found: Seq,
    },
    /// A segment that is not the last one ends inside a line.
    #[error("event {at}: a closed segment ends inside a line")]
    CutSegment {
        /// The place of the cut line.
        at: Seq,
    },
    /// There is no whole event at all.
    #[error("event 0: there is no whole event")]
    Empty,
    /// A log begins once.
    #[error("event {at}: a second log_created")]
    SecondBeginning {
        /// Where it stands.
        at: Seq,
    },
    /// The first event is not the beginning of a log.
    #[error("event 0: a log begins with log_created, found {kind}")]
    NoBeginning {
        /// What stands there.
        kind: String,
    },
}

impl Damage {
    /// The first bad place.
    pub fn at(&self) -> Seq {
        match self {
            Self::Line(error) => error.at(),
            Self::Gap { expected: at, .. }
            | Self::CutSegment { at }
            | Self::SecondBeginning { at } => *at,
            Self::Empty | Self::NoBeginning { .. } => Seq(0),
        }
    }
}

/// A log as far as it could be read.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The events before any damage.
    pub events: Vec<Recorded>,
    /// The chain over them.
    pub chain: Chain,
    /// Bytes after the last line feed of the last segment: an append that was cut short.
    pub torn: Vec<u8>,
    /// The first thing that is wrong.
    pub damage: Option<Damage>,
    /// The root at each size asked for, where the log reaches it.
    pub roots: Vec<(u64, TreeHash)>,
}

impl Scan {
    /// The root at `size`, if it was asked for and reached.
    pub fn root_at(&self, size: u64) -> Option<TreeHash> {
        self.roots.iter().find(|(at, _)| *at == size).map(|(_, root)| *root)
    }

    /// The first event this version of annals does not understand.
    pub fn first_unknown(&self) -> Option<&Recorded> {
        self.events.iter().find(|recorded| matches!(recorded.event, Event::Unknown(_)))
    }
}

/// Scans `segments` in order, noting the root at each of `sizes`.
pub fn scan(segments: &[Segment<'_>], sizes: &[u64]) -> Scan {
    let mut scan = Scan {
        events: Vec::new(),
        chain: Chain::default(),
        torn: Vec::new(),
        damage: None,
        roots: Vec::new(),
    };
    note_root(&mut scan, sizes);
    for (n, segment) in segments.iter().enumerate() {
        let is_last = n + 1 == segments.len();
        if let Err(damage) = scan_segment(&mut scan, segment, is_last, sizes) {
            scan.damage = Some(damage);
            return scan;
        }
    }
    if scan.events.is_empty() {
        scan.damage = Some(Damage::Empty);
    }
    scan
}

fn note_root(scan: &mut Scan, sizes: &[u64]) {
    let size = scan.chain.size();
    if sizes.contains(&size) {
        scan.roots.push((size, scan.chain.root()));
    }
}

fn scan_segment(
    scan: &mut Scan,
    segment: &Segment<'_>,
    is_last: bool,
    sizes: &[u64],
) -> Result<(), Damage> {
    let expected = scan.chain.next_seq();
    if segment.first != expected {
        return Err(Damage::Gap { expected, found: segment.first });
    }
    for line in segment.bytes.split_inclusive(|&b| b == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            if !is_last {
                return Err(Damage::CutSegment { at: scan.chain.next_seq() });
            }
            scan.torn = line.to_vec();
            return Ok(());
        };
        let recorded = scan.chain.accept(line)?;
        let begins = matches!(recorded.event, Event::LogCreated(_));
        match (recorded.seq, begins) {
            (Seq(0), false) => {
                return Err(Damage::NoBeginning { kind: recorded.event.kind().to_owned() });
            }
            (at @ Seq(1..), true) => return Err(Damage::SecondBeginning { at }),
            _ => {}
        }
        scan.events.push(recorded);
        note_root(scan, sizes);
    }
    Ok(())
}
