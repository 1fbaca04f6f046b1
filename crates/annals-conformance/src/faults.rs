//! A store that fails where it is told to, having kept what it was given or not.

use annals_event_store::{
    AppendError, BlobError, EventStore, Head, OpenError, OpenOptions, StoreError,
};
use annals_events::{BlobRef, Digest, Draft, Origin, Recorded, Seq, Timestamp};
use annals_keys::{Checkpoint, SecretKey};

use std::cell::Cell;

use crate::drafts::fact;
use crate::home::{Clock, Home, Log, Stored, Writers};

/// The call that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// [`EventStore::append`].
    Append,
    /// [`EventStore::publish`].
    Publish,
    /// [`EventStore::put_blob`].
    PutBlob,
    /// [`EventStore::read`].
    Read,
    /// [`EventStore::get_blob`].
    GetBlob,
}

/// What became of the call's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The home never saw it.
    No,
    /// The home has it, and the caller was not told.
    Yes,
}

/// One failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub point: Point,
    /// At which call of this kind, from 0.
    pub nth: usize,
    /// What became of it.
    pub kept: Kept,
}

/// A store around another that fails once.
pub struct Faulty<S> {
    inner: S,
    fault: Option<Fault>,
    stopped: bool,
}

fn injected() -> Box<dyn std::error::Error + Send + Sync> {
    "injected".into()
}

impl<S: EventStore> Faulty<S> {
    /// Fails as `fault` says, or never.
    pub fn new(inner: S, fault: Option<Fault>) -> Self {
        Self { inner, fault, stopped: false }
    }

    /// Whether this call is the one.
    fn hits(&mut self, point: Point) -> Option<Kept> {
        let fault = self.fault.as_mut().filter(|fault| fault.point == point)?;
        if fault.nth > 0 {
            fault.nth -= 1;
            return None;
        }
        self.fault.take().map(|fault| fault.kept)
    }

    fn io(&self) -> StoreError {
        StoreError::Io { place: self.inner.place(), source: injected() }
    }
}

impl<S: EventStore> EventStore for Faulty<S> {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn origin(&self) -> &Origin {
        self.inner.origin()
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn checkpoint(&self) -> Checkpoint {
        self.inner.checkpoint()
    }

    fn signed(&self) -> u64 {
        self.inner.signed()
    }

    async fn append(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        if self.stopped {
            return Err(AppendError::Stopped);
        }
        let hit = self.hits(Point::Append);
        if hit == Some(Kept::No) {
            self.stopped = true;
            return Err(AppendError::NotDurable(injected()));
        }
        let recorded = self.inner.append(expected, drafts, now).await?;
        if hit == Some(Kept::Yes) {
            self.stopped = true;
            return Err(AppendError::NotDurable(injected()));
        }
        Ok(recorded)
    }

    async fn publish(&mut self, checkpoint: &Checkpoint, note: &str) -> Result<(), StoreError> {
        match self.hits(Point::Publish) {
            None => self.inner.publish(checkpoint, note).await,
            Some(Kept::No) => Err(self.io()),
            Some(Kept::Yes) => {
                self.inner.publish(checkpoint, note).await?;
                Err(self.io())
            }
        }
    }

    async fn read(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, &[u8]),
    ) -> Result<(), StoreError> {
        match self.hits(Point::Read) {
            None => self.inner.read(from, visit).await,
            Some(_) => Err(self.io()),
        }
    }

    async fn put_blob(&mut self, content: &[u8]) -> Result<BlobRef, BlobError> {
        let failed = |place| BlobError::Io { place, source: injected() };
        match self.hits(Point::PutBlob) {
            None => self.inner.put_blob(content).await,
            Some(Kept::No) => Err(failed(self.inner.place())),
            Some(Kept::Yes) => {
                self.inner.put_blob(content).await?;
                Err(failed(self.inner.place()))
            }
        }
    }

    async fn get_blob(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        match self.hits(Point::GetBlob) {
            None => self.inner.get_blob(reference).await,
            Some(_) => Err(BlobError::Io { place: self.inner.place(), source: injected() }),
        }
    }
}

/// A home whose stores are [`Faulty`]: the next one that is opened fails as was said.
pub struct FaultyHome<'h, H> {
    inner: &'h H,
    next: Cell<Option<Fault>>,
}

impl<'h, H: Home> FaultyHome<'h, H> {
    /// A home around `inner`, without a fault yet.
    pub fn new(inner: &'h H) -> Self {
        Self { inner, next: Cell::new(None) }
    }

    /// The next store that is opened fails once.
    pub fn fail_next(&self, fault: Fault) {
        self.next.set(Some(fault));
    }
}

impl<H: Home> Home for FaultyHome<'_, H> {
    type Store = Faulty<H::Store>;
    const WRITERS: Writers = H::WRITERS;
    const CLOCK: Clock = H::CLOCK;

    async fn name(&self) -> String {
        self.inner.name().await
    }

    async fn create(
        &self,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        options: &OpenOptions<'_>,
    ) -> Result<(Self::Store, Recorded), OpenError> {
        let (store, recorded) = self.inner.create(origin, first, key, options).await?;
        Ok((Faulty::new(store, self.next.take()), recorded))
    }

    async fn open(
        &self,
        origin: &Origin,
        options: &OpenOptions<'_>,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<Self::Store, OpenError> {
        let store = self.inner.open(origin, options, visit).await?;
        Ok(Faulty::new(store, self.next.take()))
    }

    async fn stored(&self, origin: &Origin) -> Stored {
        self.inner.stored(origin).await
    }

    async fn replace_lines(&self, origin: &Origin, lines: &[Vec<u8>]) {
        self.inner.replace_lines(origin, lines).await;
    }

    async fn replace_note(&self, origin: &Origin, note: Option<&[u8]>) {
        self.inner.replace_note(origin, note).await;
    }

    async fn replace_blob(&self, origin: &Origin, digest: &Digest, content: Option<&[u8]>) {
        self.inner.replace_blob(origin, digest, content).await;
    }
}

/// Calls of each kind the work below makes.
const CALLS: [(Point, usize); 5] = [
    (Point::Append, 4),
    (Point::Publish, 2),
    (Point::PutBlob, 2),
    (Point::Read, 1),
    (Point::GetBlob, 1),
];

/// One thing a writer does.
enum Step {
    Append(Vec<Draft>),
    Publish,
    Put(&'static [u8]),
    Read,
    Get(&'static [u8]),
}

fn work() -> Vec<Step> {
    vec![
        Step::Append(vec![fact(1)]),
        Step::Put(b"a plan"),
        Step::Append(vec![fact(2), fact(3), fact(4)]),
        Step::Publish,
        Step::Read,
        Step::Append(vec![fact(5)]),
        Step::Put(b"a report"),
        Step::Get(b"a plan"),
        Step::Append(vec![fact(6), fact(7)]),
        Step::Publish,
    ]
}

fn blob(content: &[u8]) -> BlobRef {
    BlobRef { digest: Digest::of(content), size: content.len() as u64 }
}

/// Does one step; whether it was acknowledged.
async fn attempt<H: Home>(log: &Log<'_, H>, store: &mut H::Store, step: &Step) -> bool {
    match step {
        Step::Append(drafts) => match log.append(store, drafts).await {
            Ok(_) => true,
            Err(AppendError::NotDurable(_)) => {
                let after = log.append(store, drafts).await;
                assert!(matches!(after, Err(AppendError::Stopped)), "a store that failed goes on");
                false
            }
            Err(error) => panic!("{error}"),
        },
        Step::Publish => {
            let checkpoint = store.checkpoint();
            store.publish(&checkpoint, &checkpoint.sign(log.key())).await.is_ok()
        }
        Step::Put(content) => store.put_blob(content).await.is_ok(),
        Step::Read => store.read(Seq(0), &mut |_, _| {}).await.is_ok(),
        Step::Get(content) => store.get_blob(&blob(content)).await.is_ok(),
    }
}

/// For each call that can fail, and each fate of what it was given: a writer who reopens, looks for
/// the events by their ids and goes on ends with each of them once, and the log verifies.
pub async fn every_fault_leaves_a_log_that_goes_on<H: Home>(home: &H) {
    let faulty = FaultyHome::new(home);
    for (point, calls) in CALLS {
        for nth in 0..calls {
            for kept in [Kept::No, Kept::Yes] {
                let fault = Fault { point, nth, kept };
                let name = format!("{point:?}-{nth}-{kept:?}").to_lowercase();
                faulty.fail_next(fault);
                goes_on_after(&faulty, &name, fault).await;
            }
        }
    }
}

async fn goes_on_after<H: Home>(home: &FaultyHome<'_, H>, name: &str, fault: Fault) {
    let (log, mut store) = Log::create(home, name).await;
    let mut failures = 0;
    for step in work() {
        if attempt(&log, &mut store, &step).await {
            continue;
        }
        failures += 1;
        drop(store);
        let events = log.verify().await;
        store = log.open().await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        let Step::Append(drafts) = &step else {
            assert!(attempt(&log, &mut store, &step).await, "{fault:?}: the second time");
            continue;
        };
        // All of a batch is there, or nothing of it.
        let there = drafts.iter().filter(|draft| events.iter().any(|e| e.id == draft.id)).count();
        let expected = if fault.kept == Kept::Yes { drafts.len() } else { 0 };
        assert_eq!(there, expected, "{fault:?}");
        if there == 0 {
            log.must_append(&mut store, drafts).await;
        }
    }
    assert_eq!(failures, 1, "{fault:?} did not happen");
    assert_eq!(store.get_blob(&blob(b"a report")).await.expect("acknowledged"), b"a report");
    drop(store);
    let events = log.verify().await;
    assert_eq!(events.len(), 8, "{fault:?}: seven events and the beginning");
    drop(log.goes_on().await);
}
