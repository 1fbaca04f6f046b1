//! What the suite asks of a home, and a log in it under test.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use annals_event_store::{AppendError, EventStore, KnownHead, OpenError, OpenOptions};
use annals_events::{
    BlobRef, Digest, Draft, Origin, Recorded, Scanned, Scanner, Seq, TailRepaired, Timestamp,
};
use annals_keys::{Checkpoint, KeyRing, SecretKey};

use crate::drafts::{created, draft, fact, now};

/// How many may have one log open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// One; a second is told who it is.
    One,
    /// Many; each append wins or is told that the head has moved.
    Many,
}

/// Whose clock the events of a home are recorded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The reading given to each append.
    Callers,
    /// The home's own.
    Own,
}

/// What lies in a home, as somebody reads it who is not the store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The lines, without LF.
    pub lines: Vec<Vec<u8>>,
    /// The signed head.
    pub note: Option<Vec<u8>>,
}

/// A kind of home, and everything the suite does to it behind its back.
///
/// The methods that alter what is stored do what somebody with every right over it could do.
#[allow(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait Home {
    /// An open log.
    type Store: EventStore;

    /// How many writers a log has.
    const WRITERS: Writers;

    /// Whose clock it goes by.
    const CLOCK: Clock;

    /// What `log_moved` events call it.
    async fn name(&self) -> String;

    /// Starts a log.
    async fn create(
        &self,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        options: &OpenOptions<'_>,
    ) -> Result<(Self::Store, Recorded), OpenError>;

    /// Opens a log.
    async fn open(
        &self,
        origin: &Origin,
        options: &OpenOptions<'_>,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<Self::Store, OpenError>;

    /// Reads a log.
    async fn stored(&self, origin: &Origin) -> Stored;

    /// Puts other lines in the place of all of a log's, as skilfully as can be: whatever else the
    /// home keeps of them fits.
    async fn replace_lines(&self, origin: &Origin, lines: &[Vec<u8>]);

    /// Puts another signed head in the place of a log's, or none.
    async fn replace_note(&self, origin: &Origin, note: Option<&[u8]>);

    /// Puts other content in the place of a blob's, or none.
    async fn replace_blob(&self, origin: &Origin, digest: &Digest, content: Option<&[u8]>);
}

/// A log under test: its key, its clock, and what was acknowledged.
pub struct Log<'h, H: Home> {
    home: &'h H,
    origin: Origin,
    key: Arc<SecretKey>,
    ring: KeyRing,
    ticks: Cell<i64>,
    acknowledged: RefCell<Vec<Recorded>>,
}

fn repair(fact: TailRepaired) -> Draft {
    draft(fact)
}

impl<'h, H: Home> Log<'h, H> {
    /// A log called `conformance/<name>`, not there yet.
    pub fn named(home: &'h H, name: &str) -> Self {
        let key = SecretKey::generate("conformance").expect("there is randomness");
        Self::with_key(home, name, Arc::new(key))
    }

    /// As [`Self::named`], signed with a key that others have, too.
    pub fn with_key(home: &'h H, name: &str, key: Arc<SecretKey>) -> Self {
        Self {
            home,
            origin: format!("conformance/{name}").parse().expect("a case's name fits"),
            ring: KeyRing::from(key.verifier()),
            key,
            ticks: Cell::new(0),
            acknowledged: RefCell::default(),
        }
    }

    /// A log with its first event.
    pub async fn create(home: &'h H, name: &str) -> (Self, H::Store) {
        let log = Self::named(home, name);
        let store = log.begin().await.unwrap_or_else(|error| panic!("{error}"));
        (log, store)
    }

    /// Starts it.
    pub async fn begin(&self) -> Result<H::Store, OpenError> {
        let first = created(&self.key);
        let options = self.options(&[]);
        let (store, recorded) = self.home.create(&self.origin, &first, &self.key, &options).await?;
        self.acknowledged.borrow_mut().push(recorded);
        Ok(store)
    }

    fn options<'a>(&'a self, known: &'a [KnownHead]) -> OpenOptions<'a> {
        let now = self.tick();
        OpenOptions { ring: &self.ring, known, now, holder: "the first", repair: &repair }
    }

    /// Where it lies.
    pub fn home(&self) -> &H {
        self.home
    }

    /// Its name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key it is signed with.
    pub fn key(&self) -> &Arc<SecretKey> {
        &self.key
    }

    /// The caller's clock, a millisecond later each time.
    pub fn tick(&self) -> Timestamp {
        self.ticks.set(self.ticks.get() + 1);
        now(self.ticks.get())
    }

    /// Opens it.
    pub async fn open(&self) -> Result<H::Store, OpenError> {
        self.open_knowing(&[]).await
    }

    /// Opens it, holding it against heads somebody has seen.
    pub async fn open_knowing(&self, known: &[KnownHead]) -> Result<H::Store, OpenError> {
        let options = self.options(known);
        self.home.open(&self.origin, &options, &mut |_| {}).await
    }

    /// Opens it; also every event the store showed.
    pub async fn open_seeing(&self) -> Result<(H::Store, Vec<Recorded>), OpenError> {
        let (options, mut seen) = (self.options(&[]), Vec::new());
        let mut visit = |recorded: &Recorded| seen.push(recorded.clone());
        let store = self.home.open(&self.origin, &options, &mut visit).await?;
        Ok((store, seen))
    }

    /// Opens it and wants to be refused.
    pub async fn refused(&self, what: &str) -> OpenError {
        match self.open().await {
            Ok(_) => panic!("{what}: opened"),
            Err(error) => error,
        }
    }

    /// Appends at the store's head; what is acknowledged is remembered.
    pub async fn append(
        &self,
        store: &mut H::Store,
        drafts: &[Draft],
    ) -> Result<Vec<Recorded>, AppendError> {
        let (head, now) = (store.head(), self.tick());
        let recorded = store.append(head, drafts, now).await?;
        self.acknowledged.borrow_mut().extend(recorded.iter().cloned());
        Ok(recorded)
    }

    /// As [`Self::append`], and wants it to succeed.
    pub async fn must_append(&self, store: &mut H::Store, drafts: &[Draft]) -> Vec<Recorded> {
        let appended = self.append(store, drafts).await;
        appended.unwrap_or_else(|error| panic!("{error} ({error:?})"))
    }

    /// Publishes the head, signed.
    pub async fn publish(&self, store: &mut H::Store) -> Checkpoint {
        let checkpoint = store.checkpoint();
        let note = checkpoint.sign(&self.key);
        let published = store.publish(&checkpoint, &note).await;
        published.unwrap_or_else(|error| panic!("{error}"));
        checkpoint
    }

    /// Events that were acknowledged so far.
    pub fn acknowledged(&self) -> Vec<Recorded> {
        self.acknowledged.borrow().clone()
    }

    /// Reads the log as an auditor does and checks all of it: chain, signature, root, every
    /// acknowledged event where it was and as it was, no event twice. Gives its events.
    pub async fn verify(&self) -> Vec<Recorded> {
        let (events, scanned, checkpoint) = self.read().await;
        assert_eq!(scanned.damage, None);
        assert_eq!(scanned.root_at(checkpoint.size), Some(checkpoint.root), "the signed root");
        assert_eq!(scanned.chain.origin(), Some(&self.origin));
        for recorded in self.acknowledged.borrow().iter() {
            let at = usize::try_from(recorded.seq.0).expect("a small log");
            assert_eq!(events.get(at), Some(recorded), "event {at} was acknowledged");
        }
        let ids: BTreeSet<_> = events.iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), events.len(), "an event stands there twice");
        events
    }

    async fn read(&self) -> (Vec<Recorded>, Scanned, Checkpoint) {
        let Stored { lines, note } = self.home.stored(&self.origin).await;
        let note = note.expect("a log has a checkpoint");
        let checkpoint = Checkpoint::open(&note, &self.ring);
        let checkpoint = checkpoint.unwrap_or_else(|error| panic!("{error}"));
        let (mut scanner, mut events) = (Scanner::new(&[checkpoint.size]), Vec::new());
        for mut line in lines {
            line.push(b'\n');
            let fed = scanner.feed(&line, &mut |recorded, _| events.push(recorded.clone()));
            fed.unwrap_or_else(|damage| panic!("{damage}"));
        }
        (events, scanner.finish(), checkpoint)
    }

    /// Verifies the log, opens it, appends to it, and verifies it again.
    pub async fn goes_on(&self) -> H::Store {
        let before = self.verify().await;
        let (mut store, seen) = self.open_seeing().await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(seen[..before.len()], before[..], "what the store shows is what is there");
        let recorded = self.must_append(&mut store, &[fact(u64::MAX)]).await;
        assert_eq!(recorded[0].seq, Seq(seen.len() as u64));
        self.verify().await;
        store
    }

    /// The stored lines.
    pub async fn lines(&self) -> Vec<Vec<u8>> {
        self.home.stored(&self.origin).await.lines
    }
}

/// Stores content and wants that to succeed.
pub(crate) async fn put<S: EventStore>(store: &mut S, content: &[u8]) -> BlobRef {
    let put = store.put_blob(content).await;
    put.unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a case whose home never waits: it is ready at the first poll.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the home waited"),
    }
}
