//! A log in a database, open for writing.

use annals_event_store::{
    Admission, AppendError, BlobError, EventStore, Head, KnownHead, OpenError, OpenOptions,
    ReadError, StoreError,
};
use annals_events::{
    BlobRef, Chain, CompactRange, Digest, Draft, Event, LeafHash, Origin, Recorded, Scanned,
    Scanner, Seq, Timestamp, seal,
};
use annals_keys::{Checkpoint, SecretKey};
use annals_postgres::{ConnectionSpec, Session};
use sqlx::Row;

use crate::link::{Limits, Link, Mode, StoreFault, cause, home_of, place_of};
use crate::rows::{self, HeadRow, RowScanner};

/// A log in a database.
///
/// Many may be open on one log at once: an append locks the head row, and only one that builds on
/// the head as it is succeeds. After [`AppendError::HeadMoved`] the events of the others have been
/// read and verified, and [`head`](EventStore::head) is behind them.
///
/// `recorded_at` is the database's clock, read while the head is locked: the `now` of
/// [`append`](EventStore::append) is not used.
pub struct PgLog {
    link: Link,
    place: String,
    origin: Origin,
    chain: Chain,
    signed: u64,
    stopped: bool,
}

/// Why an append did not come about, before anything was committed.
enum NotTaken {
    Append(AppendError),
    Fault(StoreFault),
}

impl From<StoreFault> for NotTaken {
    fn from(fault: StoreFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<AppendError> for NotTaken {
    fn from(error: AppendError) -> Self {
        Self::Append(error)
    }
}

/// Names a log for people.
pub(crate) fn place(spec: &ConnectionSpec, origin: &Origin) -> String {
    format!("{} ({origin})", place_of(spec))
}

/// Why a log cannot be opened, in the words of the contract.
pub(crate) fn refused(place: &str, fault: StoreFault) -> OpenError {
    let place = place.to_owned();
    match fault {
        StoreFault::NotInstalled | StoreFault::Missing(_) => ReadError::Missing(place).into(),
        StoreFault::Newer { found } => {
            OpenError::Newer { place, what: format!("format {found} of the event store") }
        }
        fault => OpenError::Io { place, source: Box::new(fault) },
    }
}

/// Lines sealed onto a chain, and where each begins and ends.
#[derive(Default)]
struct Sealed {
    bytes: Vec<u8>,
    events: Vec<Recorded>,
    ends: Vec<usize>,
}

impl Sealed {
    fn lines(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        // The last byte of each is its LF.
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..end - 1]).collect()
    }
}

fn seal_all(
    chain: &mut Chain,
    origin: &Origin,
    drafts: &[Draft],
    clock: Timestamp,
) -> Result<Sealed, annals_events::SealError> {
    let mut sealed = Sealed::default();
    for draft in drafts {
        sealed.events.push(seal(chain, origin, draft, clock, &mut sealed.bytes)?);
        sealed.ends.push(sealed.bytes.len());
    }
    Ok(sealed)
}

/// What became of a commit.
pub(crate) enum Outcome {
    /// It took effect.
    Stored,
    /// It did not, and never will.
    NotStored(StoreFault),
    /// Nobody can tell.
    Unknown(StoreFault),
}

/// The lines must reach to where the head row says. It is no head somebody else has seen: whoever
/// replaces the lines replaces it too.
fn check_head(place: &str, row: &HeadRow, scanned: &Scanned) -> Result<(), OpenError> {
    let (size, found, place) = (scanned.chain.size(), scanned.chain.last(), place.to_owned());
    let head = row.head();
    let known = KnownHead { size: head.size, leaf: head.leaf };
    match head.size.cmp(&size) {
        std::cmp::Ordering::Greater => Err(OpenError::Older { place, size, found, known }),
        std::cmp::Ordering::Equal if head.leaf == found => Ok(()),
        _ => Err(OpenError::Forked { place, found, known }),
    }
}

impl PgLog {
    /// Starts a log with its first event, signed. The database must not hold one of this name.
    ///
    /// First event and checkpoint become visible together. The clock is the database's;
    /// `options.now` is not used.
    ///
    /// # Errors
    ///
    /// When there is one, the store is not installed, or the database says no.
    pub async fn create(
        spec: &ConnectionSpec,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        limits: Limits,
    ) -> Result<(Self, Recorded), OpenError> {
        let place = place(spec, origin);
        let io = |fault: StoreFault| refused(&place, fault);
        let mut link = Link::open_to_write(spec, limits).await.map_err(io)?;
        let mut session = link.begin(Mode::Append).await.map_err(io)?;
        let mut chain = Chain::default();
        let made = Self::make(&mut session, &place, origin, first, key, &mut chain).await;
        let recorded = match made {
            Ok(recorded) => recorded,
            Err(error) => {
                link.roll_back(session).await;
                return Err(error);
            }
        };
        match commit_new(&mut link, session, origin, &HeadRow::of(&chain)).await {
            Outcome::Stored => {}
            Outcome::NotStored(fault) | Outcome::Unknown(fault) => return Err(io(fault)),
        }
        let signed = chain.size();
        Ok((Self::over(link, place, origin.clone(), chain, signed), recorded))
    }

    async fn make(
        session: &mut Session,
        place: &str,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        chain: &mut Chain,
    ) -> Result<Recorded, OpenError> {
        let io = |fault: StoreFault| refused(place, fault);
        if !rows::begin(session, origin).await.map_err(io)? {
            return Err(OpenError::Exists { place: place.to_owned() });
        }
        let head = rows::lock(session, origin).await.map_err(io)?;
        let head = head.ok_or_else(|| io(StoreFault::Missing(origin.to_string())))?;
        let before = head.row.head();
        let mut sealed = seal_all(chain, origin, std::slice::from_ref(first), head.clock)
            .map_err(|source| OpenError::Repair { place: place.to_owned(), source })?;
        rows::append(session, origin, before, &sealed.lines()).await.map_err(io)?;
        let checkpoint =
            Checkpoint { origin: origin.clone(), size: chain.size(), root: chain.root() };
        let note = checkpoint.sign(key);
        rows::publish(session, origin, checkpoint.size, note.as_bytes()).await.map_err(io)?;
        Ok(sealed.events.remove(0))
    }

    /// Opens a log for writing: verifies all of it, as it is at one moment, while `visit` sees
    /// every event.
    ///
    /// Nothing is repaired: a transaction leaves no torn tail. The head row counts as a head
    /// somebody has seen.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(
        spec: &ConnectionSpec,
        origin: &Origin,
        limits: Limits,
        options: &OpenOptions<'_>,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<Self, OpenError> {
        let place = place(spec, origin);
        let io = |fault: StoreFault| refused(&place, fault);
        let mut link = Link::open_to_write(spec, limits).await.map_err(io)?;
        let home = home_of(link.database());
        let mut session = link.begin(Mode::Snapshot).await.map_err(io)?;
        let note = rows::note(&mut session, origin).await.map_err(io)?;
        let head = rows::head(&mut session, origin).await.map_err(io)?;
        let head = head.ok_or_else(|| io(StoreFault::Missing(origin.to_string())))?;
        let mut admission = Admission::new(place.clone(), home, note.as_deref(), options)?;
        let mut scanner = RowScanner::new(Scanner::new(&[admission.signed()]));
        let mut watch = |recorded: &Recorded, _: &[u8]| {
            admission.watch(recorded);
            visit(recorded);
        };
        let mut take = |row: &rows::EventRow| scanner.take(row, &mut watch);
        rows::events(&mut session, origin, 0, &mut take).await.map_err(io)?;
        let scanned = scanner.finish(&head);
        link.roll_back(session).await;
        let checkpoint = admission.decide(&scanned)?;
        check_head(&place, &head, &scanned)?;
        Ok(Self::over(link, place, origin.clone(), scanned.chain, checkpoint.size))
    }

    pub(crate) fn over(
        link: Link,
        place: String,
        origin: Origin,
        chain: Chain,
        signed: u64,
    ) -> Self {
        Self { link, place, origin, chain, signed, stopped: false }
    }

    /// What `log_moved` events call this home: `postgres:<system identifier>/<database>`.
    pub fn home(&self) -> String {
        home_of(self.link.database())
    }

    /// Says goodbye to the server.
    pub async fn close(self) {
        self.link.close().await;
    }

    async fn append_now(
        &mut self,
        expected: Head,
        drafts: &[Draft],
    ) -> Result<Vec<Recorded>, AppendError> {
        if self.stopped {
            return Err(AppendError::Stopped);
        }
        let found = self.head();
        if found != expected {
            return Err(AppendError::HeadMoved { expected, found });
        }
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let mut offered = self.offer(drafts).await;
        // Nothing was committed yet, so what was lost can be offered anew.
        if matches!(&offered, Err(NotTaken::Fault(fault)) if fault.ends_session()) {
            offered = self.offer(drafts).await;
        }
        let (mut session, chain, sealed) = offered.map_err(|error| match error {
            NotTaken::Append(error) => error,
            NotTaken::Fault(fault) => AppendError::Rejected(cause(fault)),
        })?;
        // A crash here leaves all of the lines or none, and nobody has been told.
        match session.commit().await {
            Ok(()) => {
                self.link.keep(session);
                self.chain = chain;
                Ok(sealed.events)
            }
            Err(fault) if fault.is_verdict() => {
                self.link.roll_back(session).await;
                Err(AppendError::Rejected(cause(fault)))
            }
            Err(fault) => {
                drop(session);
                tracing::warn!(%fault, "looking for the outcome of an append");
                match self.settle(&sealed.events, fault.into()).await {
                    Outcome::Stored => {
                        self.chain = chain;
                        Ok(sealed.events)
                    }
                    Outcome::NotStored(fault) => Err(AppendError::Rejected(cause(fault))),
                    Outcome::Unknown(fault) => {
                        self.stopped = true;
                        Err(AppendError::NotDurable(cause(fault)))
                    }
                }
            }
        }
    }

    /// Does all of an append but the commit: the head is locked, the lines are sealed with the time
    /// it was locked at, the database checks and stores them.
    ///
    /// A crash anywhere in here leaves nothing: the server rolls back.
    async fn offer(&mut self, drafts: &[Draft]) -> Result<(Session, Chain, Sealed), NotTaken> {
        let mut session = self.link.begin(Mode::Append).await?;
        let mut chain = self.chain.clone();
        match self.offer_in(&mut session, &mut chain, drafts).await {
            Ok(sealed) => Ok((session, chain, sealed)),
            Err(error) => {
                self.link.roll_back(session).await;
                Err(error)
            }
        }
    }

    async fn offer_in(
        &mut self,
        session: &mut Session,
        chain: &mut Chain,
        drafts: &[Draft],
    ) -> Result<Sealed, NotTaken> {
        let expected = self.head();
        let locked = rows::lock(session, &self.origin).await?;
        let locked = locked.ok_or_else(|| StoreFault::Missing(self.origin.to_string()))?;
        let found = locked.row.head();
        if found != expected {
            self.catch_up(session, &locked.row).await?;
            self.signed = locked.signed.max(self.signed);
            return Err(AppendError::HeadMoved { expected, found }.into());
        }
        if locked.row != HeadRow::of(chain) {
            self.stopped = true;
            let what = "the head row holds another tree or time than the events";
            return Err(StoreFault::Row(what.to_owned()).into());
        }
        let sealed =
            seal_all(chain, &self.origin, drafts, locked.clock).map_err(AppendError::from)?;
        let stored = rows::append(session, &self.origin, expected, &sealed.lines()).await?;
        if stored != HeadRow::of(chain) {
            let what = "the database reckons another head than annals";
            return Err(StoreFault::Row(what.to_owned()).into());
        }
        Ok(sealed)
    }

    /// Reads and verifies what others have appended, up to the locked `head`.
    ///
    /// Where that does not continue what this store has verified, or holds what forbids to write
    /// behind it, the store stops: reopening says what it is.
    async fn catch_up(&mut self, session: &mut Session, head: &HeadRow) -> Result<(), StoreFault> {
        let (from, home) = (self.chain.size(), self.home());
        if head.head().size <= from {
            self.stopped = true;
            return Ok(());
        }
        let mut has_moved = false;
        let mut watch = |recorded: &Recorded, _: &[u8]| {
            if let Event::LogMoved(moved) = &recorded.event {
                has_moved = moved.to != home;
            }
        };
        let mut scanner = RowScanner::new(Scanner::resume(self.chain.clone(), &[]));
        let mut take = |row: &rows::EventRow| scanner.take(row, &mut watch);
        rows::events(session, &self.origin, from, &mut take).await?;
        let Scanned { chain, damage, newer, .. } = scanner.finish(head);
        if damage.is_some() || newer.is_some() || has_moved || HeadRow::of(&chain) != *head {
            self.stopped = true;
            return Ok(());
        }
        tracing::debug!(events = chain.size() - from, "others have appended to the event log");
        self.chain = chain;
        Ok(())
    }

    /// Finds out, after the connection was lost in a commit, whether the events are there.
    ///
    /// The transaction in doubt held the head's lock; who has the lock after it knows that it is
    /// over. That holds for one server: after a promotion nobody knows what the other one did.
    async fn settle(&mut self, events: &[Recorded], lost: StoreFault) -> Outcome {
        let mut session = match self.link.begin_to_settle().await {
            Ok(session) => session,
            Err(fault) => {
                tracing::warn!(%fault, "nobody tells the outcome of an append");
                return Outcome::Unknown(lost);
            }
        };
        let promoted = session.facts().identity.timeline != self.link.database().timeline;
        let found = self.look_up(&mut session, events).await;
        let session_lives = !matches!(&found, Err(fault) if fault.ends_session());
        if session_lives {
            self.link.roll_back(session).await;
        }
        match found {
            Ok((there, _)) if there == events.len() => Outcome::Stored,
            Ok((0, head)) if head == Some(self.head()) && !promoted => Outcome::NotStored(lost),
            _ => Outcome::Unknown(lost),
        }
    }

    /// How many of `events` are stored as they are, and the head.
    async fn look_up(
        &self,
        session: &mut Session,
        events: &[Recorded],
    ) -> Result<(usize, Option<Head>), StoreFault> {
        let head = rows::lock(session, &self.origin).await?.map(|locked| locked.row.head());
        let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
        let found = "SELECT seq, leaf FROM annals.log_event \
            WHERE origin = $1 AND id = ANY ($2::text[]::uuid[]) ORDER BY seq";
        let found = sqlx::query(found)
            .bind(self.origin.as_str())
            .bind(&ids)
            .fetch_all(session.connection())
            .await?;
        let mut there = 0;
        for row in &found {
            let seq = rows::unsigned(row.try_get("seq")?, "seq")?;
            let leaf: &[u8] = row.try_get("leaf")?;
            let is_ours = |event: &&Recorded| event.seq.0 == seq && event.leaf.as_bytes() == leaf;
            if events.iter().find(is_ours).is_none() {
                return Err(StoreFault::Row(format!("event {seq} has an id of ours")));
            }
            there += 1;
        }
        Ok((there, head))
    }

    fn io(&self, fault: StoreFault) -> StoreError {
        StoreError::Io { place: self.place.clone(), source: Box::new(fault) }
    }

    fn blob_place(&self, digest: &Digest) -> String {
        format!("{digest} in {}", self.place)
    }

    async fn publish_once(&mut self, size: u64, note: &[u8]) -> Result<Option<u64>, StoreFault> {
        let mut session = self.link.begin(Mode::Append).await?;
        let published = rows::publish(&mut session, &self.origin, size, note).await;
        finish(&mut self.link, session, published).await
    }

    async fn put_once(&mut self, digest: &Digest, content: &[u8]) -> Result<bool, StoreFault> {
        let mut session = self.link.begin(Mode::Append).await?;
        let put = put_blob(&mut session, digest, content).await;
        finish(&mut self.link, session, put).await
    }

    async fn read_now(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, &[u8]),
    ) -> Result<(), StoreFault> {
        let head = self.head();
        if from.0 >= head.size {
            return Ok(());
        }
        let mut session = self.link.begin(Mode::Snapshot).await?;
        let read = read_between(&mut session, &self.origin, from.0, head, visit).await;
        self.link.roll_back(session).await;
        read
    }
}

/// Commits, or rolls back what failed.
async fn finish<T>(
    link: &mut Link,
    mut session: Session,
    result: Result<T, StoreFault>,
) -> Result<T, StoreFault> {
    let value = match result {
        Ok(value) => value,
        Err(fault) => {
            link.roll_back(session).await;
            return Err(fault);
        }
    };
    match session.commit().await {
        Ok(()) => {
            link.keep(session);
            Ok(value)
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Stores content under its digest.
pub(crate) async fn put_blob(
    session: &mut Session,
    digest: &Digest,
    content: &[u8],
) -> Result<bool, StoreFault> {
    let put = "SELECT annals.log_put_blob($1, $2) AS made";
    let row = sqlx::query(put)
        .bind(&digest.as_bytes()[..])
        .bind(content)
        .fetch_one(session.connection())
        .await?;
    Ok(row.try_get("made")?)
}

/// Content by its name; `Ok(None)` if it is not there. It is fetched only if it has the size it
/// should have.
pub(crate) async fn get_blob(
    session: &mut Session,
    reference: &BlobRef,
    place: impl Fn() -> String,
) -> Result<Vec<u8>, BlobError> {
    let get = "SELECT CASE WHEN octet_length(content) = $2 THEN content END AS content \
        FROM annals.log_blob WHERE digest = $1";
    let row = sqlx::query(get)
        .bind(&reference.digest.as_bytes()[..])
        .bind(rows::signed(reference.size))
        .fetch_optional(session.connection())
        .await;
    let io = |error: sqlx::Error| BlobError::Io { place: place(), source: cause(error) };
    let Some(row) = row.map_err(io)? else { return Err(BlobError::Missing { place: place() }) };
    let content: Option<Vec<u8>> = row.try_get("content").map_err(io)?;
    match content {
        Some(content) => BlobError::check(content, reference, place),
        None => Err(BlobError::Damaged { place: place() }),
    }
}

/// Gives the lines from `from` on, which must lead to `head`, to `visit`.
async fn read_between(
    session: &mut Session,
    origin: &Origin,
    from: u64,
    head: Head,
    visit: &mut dyn FnMut(Seq, &[u8]),
) -> Result<(), StoreFault> {
    let before = match from.checked_sub(1) {
        None => LeafHash::ZERO,
        Some(before) => leaf_at(session, origin, before).await?,
    };
    // Only the links are asked for here: every one of them, back from the head that was verified.
    // The tree over what stands before is not needed, so any will do.
    let bits = usize::try_from(from.count_ones()).unwrap_or_default();
    let tree = CompactRange::from_parts(from, vec![[0; 32]; bits]);
    let tree = tree.ok_or_else(|| StoreFault::Row(format!("size {from}")))?;
    let log = (from > 0).then(|| origin.clone());
    let mut scanner = RowScanner::new(Scanner::resume(Chain::resume(tree, before, None, log), &[]));
    let mut last = before;
    let mut give = |recorded: &Recorded, line: &[u8]| {
        last = recorded.leaf;
        visit(recorded.seq, line);
    };
    let mut damaged = false;
    let mut count = from;
    let mut take = |row: &rows::EventRow| {
        if count == head.size {
            return std::ops::ControlFlow::Break(());
        }
        let taken = scanner.take(row, &mut give);
        damaged = taken.is_break();
        count += u64::from(taken.is_continue());
        taken
    };
    rows::events(session, origin, from, &mut take).await?;
    if damaged || count != head.size || last != head.leaf {
        return Err(StoreFault::Row(format!("event {count} is not the one that was verified")));
    }
    Ok(())
}

async fn leaf_at(session: &mut Session, origin: &Origin, seq: u64) -> Result<LeafHash, StoreFault> {
    let leaf = "SELECT leaf FROM annals.log_event WHERE origin = $1 AND seq = $2";
    let row = sqlx::query(leaf)
        .bind(origin.as_str())
        .bind(rows::signed(seq))
        .fetch_optional(session.connection())
        .await?;
    let row = row.ok_or_else(|| StoreFault::Row(format!("event {seq} is missing")))?;
    let leaf: &[u8] = row.try_get("leaf")?;
    leaf.try_into()
        .map(LeafHash::from_bytes)
        .map_err(|_| StoreFault::Row("a leaf hash is 32 bytes".to_owned()))
}

/// Commits the transaction that begins a log whose head is then `head`.
///
/// After a lost connection the log is begun once more: that waits for the transaction in doubt, and
/// finds its log or none.
pub(crate) async fn commit_new(
    link: &mut Link,
    mut session: Session,
    origin: &Origin,
    head: &HeadRow,
) -> Outcome {
    let lost = match session.commit().await {
        Ok(()) => {
            link.keep(session);
            return Outcome::Stored;
        }
        Err(fault) if fault.is_verdict() => {
            link.roll_back(session).await;
            return Outcome::NotStored(fault.into());
        }
        Err(fault) => StoreFault::from(fault),
    };
    drop(session);
    let Ok(mut session) = link.begin_to_settle().await else { return Outcome::Unknown(lost) };
    let found = match rows::begin(&mut session, origin).await {
        Ok(true) => Ok(None),
        Ok(false) => rows::head(&mut session, origin).await,
        Err(fault) => Err(fault),
    };
    link.roll_back(session).await;
    match found {
        Ok(Some(found)) if found == *head => Outcome::Stored,
        Ok(None) => Outcome::NotStored(lost),
        _ => Outcome::Unknown(lost),
    }
}

impl EventStore for PgLog {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn head(&self) -> Head {
        Head { size: self.chain.size(), leaf: self.chain.last() }
    }

    fn checkpoint(&self) -> Checkpoint {
        let (size, root) = (self.chain.size(), self.chain.root());
        Checkpoint { origin: self.origin.clone(), size, root }
    }

    fn signed(&self) -> u64 {
        self.signed
    }

    /// The clock is the database's: `now` is not used.
    async fn append(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        _now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        self.append_now(expected, drafts).await
    }

    async fn publish(&mut self, checkpoint: &Checkpoint, note: &str) -> Result<(), StoreError> {
        let size = checkpoint.size;
        let mut published = self.publish_once(size, note.as_bytes()).await;
        // The same note twice is published once, so the question may be asked again.
        if published.as_ref().is_err_and(StoreFault::ends_session) {
            published = self.publish_once(size, note.as_bytes()).await;
        }
        match published.map_err(|fault| self.io(fault))? {
            None => {
                self.signed = size;
                Ok(())
            }
            Some(signed) => {
                self.signed = signed;
                Err(StoreError::OlderCheckpoint { size, signed })
            }
        }
    }

    async fn read(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, &[u8]),
    ) -> Result<(), StoreError> {
        self.read_now(from, visit).await.map_err(|fault| self.io(fault))
    }

    async fn put_blob(&mut self, content: &[u8]) -> Result<BlobRef, BlobError> {
        let digest = Digest::of(content);
        let mut put = self.put_once(&digest, content).await;
        // The same content twice is stored once.
        if put.as_ref().is_err_and(StoreFault::ends_session) {
            put = self.put_once(&digest, content).await;
        }
        let place = self.blob_place(&digest);
        match put {
            Ok(_) => Ok(BlobRef { digest, size: content.len() as u64 }),
            Err(StoreFault::Server(fault)) if fault.code() == Some("AN006") => {
                Err(BlobError::Damaged { place })
            }
            Err(fault) => Err(BlobError::Io { place, source: cause(fault) }),
        }
    }

    async fn get_blob(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        let place = self.blob_place(&reference.digest);
        let mut session = match self.link.begin(Mode::Snapshot).await {
            Ok(session) => session,
            Err(fault) => return Err(BlobError::Io { place, source: cause(fault) }),
        };
        let content = get_blob(&mut session, reference, || place.clone()).await;
        self.link.roll_back(session).await;
        content
    }
}
