//! Reads a log's bytes from its first event to the first thing that is wrong with them.

use crate::chain::{Chain, ChainError};
use crate::digest::TreeHash;
use crate::envelope::{DecodeError, FORMAT_VERSION, MAX_LINE_BYTES, Recorded};
use crate::event::Event;
use crate::ids::Seq;
use crate::unwritten::{MAX_APPEND_BYTES, is_one_append};

/// Part of a log: whole lines, the first of them at `first`.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// The place its name gives to its first line.
    pub first: Seq,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The kind of the first event of a log, and of no other.
const BEGINNING: &str = "log_created";

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
    /// An entry bundle is not what its name says.
    #[error("event {at}: {reason}")]
    Bundle {
        /// The place of the first entry that cannot be had.
        at: Seq,
        /// Why.
        reason: String,
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
            | Self::Bundle { at, .. }
            | Self::SecondBeginning { at } => *at,
            Self::Empty | Self::NoBeginning { .. } => Seq(0),
        }
    }
}

/// Reads a log in pieces of any size, in bounded memory, up to the first thing that is wrong.
///
/// Nothing is kept of the events but the chain over them: who calls folds what it needs.
#[derive(Debug, Clone)]
pub struct Scanner {
    chain: Chain,
    /// Sizes still to be reached, largest first.
    marks: Vec<u64>,
    roots: Vec<(u64, TreeHash)>,
    /// A line whose end has not been seen yet; at most one byte more than a line may have.
    open_line: Vec<u8>,
    /// Where in its segment the line begins that is read next.
    offset: u64,
    /// What follows the last event, once it holds a line with a hole in it.
    holed: Option<Holed>,
    bytes: u64,
    unknown: u64,
    newer: Option<Newer>,
    damage: Option<Damage>,
}

/// The end of a segment from a line on that holds zeroes.
#[derive(Debug, Clone)]
struct Holed {
    offset: u64,
    bytes: Vec<u8>,
    /// What it is if it is not an append whose blocks were lost.
    otherwise: Damage,
}

/// The first thing in a log that a newer annals has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// Where it stands.
    pub at: Seq,
    /// What it is.
    pub what: String,
}

/// What is left when the bytes of a log have ended.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// The chain over all whole events.
    pub chain: Chain,
    /// The root at each size asked for, where the log reaches it.
    pub roots: Vec<(u64, TreeHash)>,
    /// What follows the last event: an append that was cut short, or one of whose blocks the disk
    /// wrote only some.
    pub torn: Vec<u8>,
    /// Bytes read.
    pub bytes: u64,
    /// Events this version of annals does not understand.
    pub unknown: u64,
    /// The first thing a newer annals has written.
    pub newer: Option<Newer>,
    /// The first thing that is wrong.
    pub damage: Option<Damage>,
}

impl Scanned {
    /// The root at `size`, if it was asked for and reached.
    pub fn root_at(&self, size: u64) -> Option<TreeHash> {
        self.roots.iter().find(|(at, _)| *at == size).map(|(_, root)| *root)
    }
}

impl Scanner {
    /// Starts before the first event; notes the root at each of `marks`.
    pub fn new(marks: &[u64]) -> Self {
        Self::resume(Chain::default(), marks)
    }

    /// Goes on behind a chain that was verified before.
    pub fn resume(chain: Chain, marks: &[u64]) -> Self {
        let mut marks: Vec<u64> = marks.iter().copied().filter(|m| *m >= chain.size()).collect();
        marks.sort_unstable_by(|a, b| b.cmp(a));
        marks.dedup();
        let mut scanner = Self {
            chain,
            marks,
            roots: Vec::new(),
            open_line: Vec::new(),
            offset: 0,
            holed: None,
            bytes: 0,
            unknown: 0,
            newer: None,
            damage: None,
        };
        scanner.note_root();
        scanner
    }

    /// The chain over the events so far.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// A file begins that, by its name, holds the lines from `first` on.
    ///
    /// # Errors
    ///
    /// When it is not what comes next. After an error nothing more is accepted.
    pub fn begin_segment(&mut self, first: Seq) -> Result<(), Damage> {
        self.check_sound()?;
        let expected = self.chain.next_seq();
        self.offset = 0;
        if let Some(holed) = self.holed.take() {
            return self.broken(holed.otherwise);
        }
        if !self.open_line.is_empty() {
            return self.broken(Damage::CutSegment { at: expected });
        }
        if first != expected {
            return self.broken(Damage::Gap { expected, found: first });
        }
        Ok(())
    }

    /// Takes the next bytes; `visit` gets each whole event and its line, without LF.
    ///
    /// # Errors
    ///
    /// At the first damage. After an error nothing more is accepted.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> Result<(), Damage> {
        self.check_sound()?;
        self.bytes += bytes.len() as u64;
        if self.holed.is_some() {
            return self.feed_hole(bytes);
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            let open = std::mem::take(&mut self.open_line);
            let taken = if open.is_empty() {
                self.line(line, visit)
            } else {
                let room = MAX_LINE_BYTES + 1 - open.len();
                self.line(&[&open, &line[..line.len().min(room)]].concat(), visit)
            };
            if let Err(damage) = taken {
                return self.stop_or_go_on(damage, &open, bytes, end);
            }
            self.offset += (open.len() + line.len() + 1) as u64;
            bytes = rest;
        }
        let room = MAX_LINE_BYTES + 1 - self.open_line.len();
        if bytes.len() < room {
            self.open_line.extend_from_slice(bytes);
            return Ok(());
        }
        // Not even an append that was cut short: no line is that long.
        let source = DecodeError::TooLong(MAX_LINE_BYTES + 1);
        let damage = ChainError::Content { at: self.chain.next_seq(), source }.into();
        let open = std::mem::take(&mut self.open_line);
        self.stop_or_go_on(damage, &open, bytes, bytes.len())
    }

    /// A line, `open` and then `end` of the `bytes`, is not the next event. Where a block of it may
    /// be missing, what follows tells what it is.
    fn stop_or_go_on(
        &mut self,
        damage: Damage,
        open: &[u8],
        bytes: &[u8],
        end: usize,
    ) -> Result<(), Damage> {
        let mut line = open.iter().chain(&bytes[..end]).take(MAX_LINE_BYTES + 1);
        let has_hole = line.any(|&byte| byte == 0);
        let is_line = matches!(damage, Damage::Line(ChainError::Content { .. }));
        if !(has_hole && is_line) {
            return self.broken(damage);
        }
        let bytes = [open, bytes].concat();
        self.holed = Some(Holed { offset: self.offset, bytes: Vec::new(), otherwise: damage });
        self.feed_hole(&bytes)
    }

    fn feed_hole(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let holed = self.holed.as_mut().expect("invariant: called where there is a hole");
        if holed.bytes.len() + bytes.len() > MAX_APPEND_BYTES {
            let damage = holed.otherwise.clone();
            return self.broken(damage);
        }
        holed.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The bytes have ended.
    pub fn finish(mut self) -> Scanned {
        if let Some(holed) = self.holed.take() {
            match is_one_append(holed.offset, &holed.bytes) {
                true => self.open_line = holed.bytes,
                false => self.damage = self.damage.or(Some(holed.otherwise)),
            }
        }
        if self.damage.is_none() && self.chain.size() == 0 {
            self.damage = Some(Damage::Empty);
        }
        Scanned {
            chain: self.chain,
            roots: self.roots,
            torn: if self.damage.is_none() { self.open_line } else { Vec::new() },
            bytes: self.bytes,
            unknown: self.unknown,
            newer: self.newer,
            damage: self.damage,
        }
    }

    fn check_sound(&self) -> Result<(), Damage> {
        self.damage.clone().map_or(Ok(()), Err)
    }

    fn broken(&mut self, damage: Damage) -> Result<(), Damage> {
        self.damage = Some(damage.clone());
        Err(damage)
    }

    fn line(&mut self, line: &[u8], visit: &mut dyn FnMut(&Recorded, &[u8])) -> Result<(), Damage> {
        let recorded = self.chain.accept(line)?;
        match (&recorded.event, recorded.seq) {
            (Event::LogCreated(created), Seq(0)) if created.format > FORMAT_VERSION => {
                self.note_newer(Seq(0), format!("format {}", created.format));
            }
            (Event::LogCreated(_), Seq(0)) => {}
            // Whatever its schema: a newer annals begins a log by the same word.
            (event, at) if event.kind() == BEGINNING && at != Seq(0) => {
                return Err(Damage::SecondBeginning { at });
            }
            (event, Seq(0)) if event.kind() != BEGINNING => {
                return Err(Damage::NoBeginning { kind: event.kind().to_owned() });
            }
            (Event::Unknown(event), at) => {
                self.unknown += 1;
                self.note_newer(at, format!("{}, schema {}", event.kind, event.schema));
            }
            _ => {}
        }
        visit(&recorded, line);
        self.note_root();
        Ok(())
    }

    fn note_newer(&mut self, at: Seq, what: String) {
        if self.newer.is_none() {
            self.newer = Some(Newer { at, what });
        }
    }

    fn note_root(&mut self) {
        let size = self.chain.size();
        if self.marks.last() == Some(&size) {
            self.marks.pop();
            self.roots.push((size, self.chain.root()));
        }
    }
}

/// A log as far as it could be read, its events in memory.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The events before any damage.
    pub events: Vec<Recorded>,
    /// What else there is to say.
    pub end: Scanned,
}

/// Scans `segments` in order, noting the root at each of `sizes`.
pub fn scan(segments: &[Segment<'_>], sizes: &[u64]) -> Scan {
    let (mut events, mut scanner) = (Vec::new(), Scanner::new(sizes));
    for segment in segments {
        let read = scanner.begin_segment(segment.first).and_then(|()| {
            scanner.feed(segment.bytes, &mut |recorded, _| events.push(recorded.clone()))
        });
        if read.is_err() {
            break;
        }
    }
    Scan { events, end: scanner.finish() }
}
