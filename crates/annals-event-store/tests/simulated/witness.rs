//! Somebody who remembers what the log has promised, and looks whether it is still so.

use annals_event_store::{
    AppendError, EventStore, FileLog, Layout, OpenError, OpenOptions, ReadError,
};
use annals_events::{
    BlobRef, Chain, Digest, Draft, Event, LeafHash, Segment, Seq, TailRepaired, decode, scan, seal,
};
use annals_keys::Checkpoint;

use crate::disk::{Keep, SimDisk};
use crate::fixture::{beginning, draft, fact, key, origin, ready, repair, ring, time};

/// What the log broke, in words.
pub(crate) type Verdict<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

pub(crate) struct Witness {
    pub disk: SimDisk,
    log: Option<FileLog<SimDisk>>,
    is_created: bool,
    /// The lines that were acknowledged, and the chain over them.
    acked: Vec<Vec<u8>>,
    chain: Chain,
    /// Lines of an append whose end nobody knows.
    maybe: Vec<Vec<u8>>,
    /// Attempts to open since the last that succeeded: each may have recorded a repair.
    attempts: usize,
    /// Events the last acknowledged checkpoint vouches for.
    published: u64,
    blobs: Vec<(BlobRef, Vec<u8>)>,
    next: u64,
    now: i64,
}

/// A log as found on the disk.
struct Found {
    lines: Vec<Vec<u8>>,
    chain: Chain,
    leaves: Vec<LeafHash>,
}

/// What came of something that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
}
use Outcome::{Done, Failed};

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect()
}

pub(crate) fn layout() -> Layout {
    Layout::new("/w/logs/demo")
}

impl Witness {
    pub(crate) fn new(disk: SimDisk) -> Self {
        Self {
            disk,
            log: None,
            is_created: false,
            acked: Vec::new(),
            chain: Chain::default(),
            maybe: Vec::new(),
            attempts: 0,
            published: 0,
            blobs: Vec::new(),
            next: 1,
            now: 0,
        }
    }

    /// The clock goes on, or back a little.
    pub(crate) fn pass(&mut self, micros: i64) {
        self.now += micros;
    }

    pub(crate) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    pub(crate) fn close(&mut self) {
        self.log = None;
    }

    pub(crate) fn lose_power(&mut self, keep: Keep) {
        self.log = None;
        self.disk.lose_power(keep);
    }

    pub(crate) fn lose_process(&mut self) {
        self.log = None;
        self.disk.lose_process();
    }

    pub(crate) fn facts(&mut self, count: usize, more: usize) -> Vec<Draft> {
        let first = self.next;
        self.next += count as u64;
        (first..self.next).map(|n| fact(n, more)).collect()
    }

    /// Opens the log, or creates it where none was promised yet.
    pub(crate) fn start(&mut self) -> Verdict<Outcome> {
        self.log = None;
        match self.open()? {
            Ok(()) => Ok(Done),
            Err(OpenError::Read(ReadError::Missing(_))) if !self.is_created => self.create(),
            Err(error) if self.disk.is_healthy() => {
                Err(format!("a sound log does not open: {error}: {}", cause(&error)))
            }
            Err(_) => Ok(Failed),
        }
    }

    /// Opens it and says what the log says; what opens is compared with what was promised.
    pub(crate) fn open(&mut self) -> Verdict<Result<(), OpenError>> {
        if self.is_created && !self.disk.has_flip_to_come() {
            self.look()?;
        }
        let ring = ring();
        let now = time(self.now);
        let options = OpenOptions { ring: &ring, known: &[], now, holder: "me", repair: &repair };
        let mut seen = Vec::new();
        self.attempts += 1;
        let opened = FileLog::open_on(self.disk.clone(), layout(), &options, &mut |recorded| {
            seen.push(recorded.leaf);
        });
        let log = match opened {
            Ok(log) => log,
            Err(error) => return Ok(Err(error)),
        };
        let Found { lines, chain, leaves } = self.look()?;
        ensure!(seen == leaves, "the events shown are not the events stored");
        ensure!(log.head().size == chain.size(), "the head is not the last event");
        ensure!(log.head().leaf == chain.last(), "the head is not the last event");
        self.is_created = true;
        (self.acked, self.chain, self.maybe, self.attempts) = (lines, chain, Vec::new(), 0);
        self.log = Some(log);
        Ok(Ok(()))
    }

    fn create(&mut self) -> Verdict<Outcome> {
        let (ring, key, now) = (ring(), key(), time(self.now));
        let options = OpenOptions { ring: &ring, known: &[], now, holder: "me", repair: &repair };
        let (mut chain, mut line) = (Chain::default(), Vec::new());
        seal(&mut chain, &origin(), &beginning(), now, &mut line).unwrap();
        self.maybe = vec![line];
        let created = FileLog::create_on(
            self.disk.clone(),
            layout(),
            &origin(),
            &beginning(),
            &key,
            &options,
        );
        match created {
            Ok((log, _)) => {
                self.log = Some(log);
                (self.is_created, self.published) = (true, 1);
                (self.acked, self.chain) = (std::mem::take(&mut self.maybe), chain);
                self.look()?;
                Ok(Done)
            }
            Err(error) if self.disk.is_healthy() => {
                Err(format!("a log cannot be created: {error}: {}", cause(&error)))
            }
            Err(_) => Ok(Failed),
        }
    }

    /// Appends `requests` with one write.
    pub(crate) fn append(&mut self, requests: &[Vec<Draft>]) -> Verdict<Outcome> {
        let now = time(self.now);
        let (mut chain, mut expected) = (self.chain.clone(), Vec::new());
        let mut results = Vec::new();
        for drafts in requests {
            let (before, length) = (chain.clone(), expected.len());
            let sealed: Result<Vec<_>, _> = drafts
                .iter()
                .map(|draft| seal(&mut chain, &origin(), draft, now, &mut expected))
                .collect();
            if sealed.is_err() {
                chain = before;
                expected.truncate(length);
            }
            results.push(sealed.ok());
        }
        let log = self.log.as_mut().expect("an append needs an open log");
        let slices: Vec<&[Draft]> = requests.iter().map(Vec::as_slice).collect();
        match log.append_each(&slices, now) {
            Ok(appended) => {
                let appended: Vec<_> = appended.into_iter().map(Result::ok).collect();
                ensure!(appended == results, "other events were acknowledged than were asked for");
                self.acked.extend(lines(&expected));
                self.chain = chain;
                Ok(Done)
            }
            Err(AppendError::NotDurable(_)) => {
                ensure!(!self.disk.is_healthy(), "an append failed");
                self.maybe = lines(&expected);
                let again = log.append_each(&[&[fact(u64::MAX - 1, 0)]], now);
                ensure!(
                    matches!(again, Err(AppendError::Stopped)),
                    "a log whose end is unknown took more"
                );
                self.log = None;
                Ok(Failed)
            }
            Err(error) => Err(format!("an append ended as {error}")),
        }
    }

    /// Writes twice, then makes both durable.
    pub(crate) fn write_twice(&mut self, facts: [Vec<Draft>; 2]) -> Verdict<Outcome> {
        let now = time(self.now);
        let (mut chain, mut expected) = (self.chain.clone(), Vec::new());
        let log = self.log.as_mut().expect("writing needs an open log");
        let mut written = Ok(());
        for drafts in &facts {
            let seal_one = |draft| seal(&mut chain, &origin(), draft, now, &mut expected);
            let sealed: Result<Vec<_>, _> = drafts.iter().map(seal_one).collect();
            let sealed = sealed.map_err(|error| format!("a fact is refused: {error}"))?;
            if written.is_ok() {
                let head = log.head();
                match ready(log.write(head, drafts, now)) {
                    Ok(recorded) => ensure!(recorded == sealed, "other events were written"),
                    Err(error) => written = Err(error),
                }
            }
        }
        let checkpoint = log.checkpoint();
        if written.is_ok() && checkpoint.size > self.chain.size() {
            let early = log.publish_now(&checkpoint, &checkpoint.sign(&key()));
            ensure!(early.is_err(), "a head was published before its events were durable");
        }
        match written.and_then(|()| ready(log.sync())) {
            Ok(()) => {
                self.acked.extend(lines(&expected));
                self.chain = chain;
                Ok(Done)
            }
            Err(AppendError::NotDurable(_)) => {
                ensure!(!self.disk.is_healthy(), "writing failed");
                self.maybe = lines(&expected);
                let again = ready(log.sync());
                ensure!(matches!(again, Err(AppendError::Stopped)), "a sync was tried again");
                self.log = None;
                Ok(Failed)
            }
            Err(error) => Err(format!("writing ended as {error}")),
        }
    }

    pub(crate) fn publish(&mut self) -> Verdict<Outcome> {
        let log = self.log.as_mut().expect("publishing needs an open log");
        let checkpoint = log.checkpoint();
        match log.publish_now(&checkpoint, &checkpoint.sign(&key())) {
            Ok(()) => {
                self.published = checkpoint.size;
                Ok(Done)
            }
            Err(_) => Ok(Failed),
        }
    }

    pub(crate) fn put_blob(&mut self, content: &[u8]) -> Verdict<Outcome> {
        let log = self.log.as_mut().expect("a blob needs an open log");
        match ready(log.put_blob(content)) {
            Ok(reference) => {
                ensure!(reference.digest == Digest::of(content), "a blob has another name");
                self.blobs.push((reference, content.to_vec()));
                Ok(Done)
            }
            Err(_) => Ok(Failed),
        }
    }

    /// Reads through the log itself.
    pub(crate) fn read(&mut self) -> Verdict {
        let log = self.log.as_ref().expect("reading needs an open log");
        let from = self.acked.len() / 2;
        let mut found = Vec::new();
        log.read_now(Seq(from as u64), &mut |_, line| found.push([line, b"\n"].concat()))
            .map_err(|error| format!("{error}: {}", cause(&error)))?;
        ensure!(found == self.acked[from..], "reading gives other lines than were acknowledged");
        for (reference, content) in &self.blobs {
            let found = ready(self.log.as_mut().unwrap().get_blob(reference));
            ensure!(found.is_ok_and(|found| found == *content), "a blob is gone");
        }
        Ok(())
    }

    /// A second writer, while this one is there.
    pub(crate) fn intrude(&mut self) -> Verdict {
        let (ring, now) = (ring(), time(self.now));
        let options = OpenOptions { ring: &ring, known: &[], now, holder: "them", repair: &repair };
        match FileLog::open_on(self.disk.clone(), layout(), &options, &mut |_| {}) {
            Err(OpenError::Locked { holder, .. }) if holder == "me" => Ok(()),
            Err(error) => Err(format!("a second writer is told {error}")),
            Ok(_) => Err("a second writer was let in".to_owned()),
        }
    }

    fn segments(&self) -> Vec<(Seq, Vec<u8>)> {
        let folder = layout().segments();
        let names = self.disk.names(&folder).into_iter().filter(|name| !name.starts_with('.'));
        names
            .map(|name| {
                let first = name.strip_suffix(".jsonl").unwrap().parse().unwrap();
                (Seq(first), self.disk.peek(&folder.join(name)).unwrap())
            })
            .collect()
    }

    /// Reads the log without its own code, and compares it with what was promised.
    ///
    /// Gives what is there.
    fn look(&self) -> Verdict<Found> {
        let segments = self.segments();
        let parts: Vec<Segment<'_>> =
            segments.iter().map(|(first, bytes)| Segment { first: *first, bytes }).collect();
        let note = self.disk.peek(&layout().checkpoint()).ok_or("the checkpoint is gone")?;
        let signed = Checkpoint::open(&note, &ring())
            .map_err(|error| format!("the checkpoint does not verify: {error}"))?;
        let scan = scan(&parts, &[signed.size]);
        ensure!(scan.end.damage.is_none(), "damage after a crash: {}", scan.end.damage.unwrap());
        ensure!(
            signed.size >= self.published,
            "the checkpoint over {} events is one over {} again",
            self.published,
            signed.size
        );
        ensure!(
            scan.end.root_at(signed.size) == Some(signed.root),
            "the checkpoint over {} events does not fit the {} of the log",
            signed.size,
            scan.events.len()
        );
        let whole = scan.events.len();
        let bytes: Vec<u8> =
            segments.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>().concat();
        let mut found = lines(&bytes);
        found.truncate(whole);
        self.compare(&found)?;
        for (reference, content) in &self.blobs {
            let found = self.disk.peek(&layout().blob(&reference.digest));
            ensure!(found.as_ref() == Some(content), "blob {} is gone", reference.digest);
        }
        let leaves = scan.events.iter().map(|event| event.leaf).collect();
        Ok(Found { lines: found, chain: scan.end.chain, leaves })
    }

    fn compare(&self, found: &[Vec<u8>]) -> Verdict {
        for (at, line) in self.acked.iter().enumerate() {
            let (found, acked) = (found.get(at), self.acked.len());
            ensure!(found.is_some(), "event {at} of {acked} acknowledged ones is gone");
            ensure!(found == Some(line), "event {at} is not what was acknowledged");
        }
        let rest = &found[self.acked.len()..];
        let kept = rest.iter().zip(&self.maybe).take_while(|(a, b)| a == b).count();
        let repairs = &rest[kept..];
        ensure!(repairs.len() <= self.attempts, "{} events nobody wrote", repairs.len());
        for line in repairs {
            let recorded = decode(&line[..line.len() - 1]).map_err(|error| error.to_string())?;
            let Event::TailRepaired(repaired) = recorded.event else {
                return Err(format!("an event nobody wrote: {}", String::from_utf8_lossy(line)));
            };
            self.check_quarantine(&repaired, &self.maybe[kept..].concat())?;
        }
        Ok(())
    }

    /// What was moved aside is what was written, or nothing where a block was lost.
    fn check_quarantine(&self, repaired: &TailRepaired, written: &[u8]) -> Verdict {
        let path = layout().quarantine().join(&repaired.quarantined_as);
        let moved = self.disk.peek(&path).ok_or("the bytes of a repair are gone")?;
        ensure!(Digest::of(&moved) == repaired.digest, "a repair holds other bytes than it says");
        ensure!(moved.len() as u64 == repaired.bytes, "a repair holds other bytes than it says");
        ensure!(
            moved.len() <= written.len()
                && moved
                    .iter()
                    .zip(written)
                    .all(|(found, written)| found == written || *found == 0),
            "a repair moved aside what nobody was writing"
        );
        Ok(())
    }

    /// The file of the newest segment.
    pub(crate) fn newest_segment(&self) -> std::path::PathBuf {
        let (first, _) = self.segments().pop().expect("a log has a segment");
        layout().segment(first)
    }

    /// Bytes that the checkpoint or a line behind them speaks for.
    pub(crate) fn bytes_that_are_vouched_for(&self) -> usize {
        let signed = usize::try_from(self.published).unwrap();
        let events = signed.max(self.acked.len() - 1);
        self.acked[..events].iter().map(Vec::len).sum()
    }

    /// What the log says when it is opened, and nothing else is asked.
    pub(crate) fn open_rotten(&mut self) -> Result<(), OpenError> {
        let ring = ring();
        let now = time(self.now);
        let options = OpenOptions { ring: &ring, known: &[], now, holder: "me", repair: &repair };
        FileLog::open_on(self.disk.clone(), layout(), &options, &mut |_| {}).map(drop)
    }

    /// An append that was cut after `part` of its bytes.
    pub(crate) fn tear(&mut self, drafts: &[Draft], part: usize) {
        let (mut chain, mut bytes) = (self.chain.clone(), Vec::new());
        for draft in drafts {
            seal(&mut chain, &origin(), draft, time(self.now), &mut bytes).unwrap();
        }
        self.log = None;
        self.disk.leave(&self.newest_segment(), &bytes[..part]);
        self.maybe = lines(&bytes);
    }

    /// A request that is refused: its line is too long.
    pub(crate) fn too_long(&mut self) -> Vec<Draft> {
        self.next += 1;
        vec![draft(self.next, fact(self.next, 70_000).event)]
    }
}

fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(String::new, ToString::to_string)
}
