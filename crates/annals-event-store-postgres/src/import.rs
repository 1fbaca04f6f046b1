//! Moves a log into a database byte for byte.

use annals_event_store::{Admission, Cause, Head, OpenError, OpenOptions};
use annals_events::{BlobRef, Digest, Origin, Recorded, Scanner};
use annals_postgres::{ConnectionSpec, Session};

use crate::link::{Limits, Link, Mode, StoreFault, home_of};
use crate::log::{Outcome, PgLog, commit_new, place, put_blob, refused};
use crate::rows::{self, HeadRow};

/// Lines sent at once.
const BATCH_LINES: usize = 256;

/// Bytes after which lines are sent, however few they are.
const BATCH_BYTES: usize = 1 << 20;

/// Longest pause between two pieces of the source, in milliseconds: it may be a slow disk.
const IDLE_MS: u64 = 60_000;

/// A log that is being moved here, invisible to others until [`finish`](Self::finish).
///
/// All of it is one transaction: a crash leaves nothing. Every line passes the same function of the
/// database as an append, and the same admission as an open: what ends up here can be opened, and
/// verifies under the checkpoint it came with.
pub struct Import<'a> {
    link: Link,
    session: Session,
    place: String,
    origin: Origin,
    note: Vec<u8>,
    admission: Admission<'a>,
    scanner: Scanner,
    pending: Vec<Vec<u8>>,
    pending_bytes: usize,
    sent: Head,
}

impl<'a> Import<'a> {
    /// Begins a log of this name, to be vouched for by `note`.
    ///
    /// # Errors
    ///
    /// When there is one, the note is not acceptable, the store is not installed, or the database
    /// says no.
    pub async fn begin(
        spec: &ConnectionSpec,
        origin: &Origin,
        note: &[u8],
        limits: Limits,
        options: &'a OpenOptions<'a>,
    ) -> Result<Self, OpenError> {
        let place = place(spec, origin);
        let io = |fault: StoreFault| refused(&place, fault);
        let limits = Limits { idle_ms: limits.idle_ms.max(IDLE_MS), ..limits };
        let mut link = Link::open_to_write(spec, limits).await.map_err(io)?;
        let home = home_of(link.database());
        let admission = Admission::new(place.clone(), home, Some(note), options)?;
        let scanner = Scanner::new(&[admission.signed()]);
        let mut session = link.begin(Mode::Append).await.map_err(io)?;
        let begun = rows::begin(&mut session, origin).await;
        if !matches!(begun, Ok(true)) {
            link.roll_back(session).await;
            let exists = OpenError::Exists { place: place.clone() };
            return Err(begun.map_or_else(io, |_| exists));
        }
        Ok(Self {
            link,
            session,
            place,
            origin: origin.clone(),
            note: note.to_vec(),
            admission,
            scanner,
            pending: Vec::new(),
            pending_bytes: 0,
            sent: Head { size: 0, leaf: annals_events::LeafHash::ZERO },
        })
    }

    /// Takes the next line, given without its LF; `visit` sees the event.
    ///
    /// # Errors
    ///
    /// When it does not continue the log, or the database does not take it. Nothing is stored then.
    pub async fn line(
        &mut self,
        line: &[u8],
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<(), OpenError> {
        if self.pending.len() >= BATCH_LINES || self.pending_bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        let mut with_end = Vec::with_capacity(line.len() + 1);
        with_end.extend_from_slice(line);
        with_end.push(b'\n');
        let admission = &mut self.admission;
        let fed = self.scanner.feed(&with_end, &mut |recorded, _| {
            admission.watch(recorded);
            visit(recorded);
        });
        fed.map_err(|damage| OpenError::Damaged { place: self.place.clone(), damage })?;
        self.pending_bytes += line.len();
        with_end.pop();
        self.pending.push(with_end);
        Ok(())
    }

    /// Stores content the lines name; it becomes visible with the log.
    ///
    /// # Errors
    ///
    /// When the database does not take it, or holds something else under its name.
    pub async fn blob(&mut self, content: &[u8]) -> Result<BlobRef, OpenError> {
        let digest = Digest::of(content);
        let put = put_blob(&mut self.session, &digest, content).await;
        put.map_err(|fault| refused(&self.place, fault))?;
        Ok(BlobRef { digest, size: content.len() as u64 })
    }

    async fn flush(&mut self) -> Result<(), OpenError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let lines: Vec<&[u8]> = self.pending.iter().map(Vec::as_slice).collect();
        let appended = rows::append(&mut self.session, &self.origin, self.sent, &lines).await;
        let stored = appended.map_err(|fault| refused(&self.place, fault))?;
        if stored != HeadRow::of(self.scanner.chain()) {
            let what = "the database reckons another head than annals".to_owned();
            return Err(refused(&self.place, StoreFault::Row(what)));
        }
        self.sent = stored.head();
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Makes the log visible, open for writing.
    ///
    /// # Errors
    ///
    /// When the note does not vouch for what came, or for the reasons of [`PgLog::open`]. Unless
    /// the connection was lost in the commit and nobody tells its outcome, nothing is stored then.
    pub async fn finish(mut self) -> Result<PgLog, OpenError> {
        self.flush().await?;
        let head = HeadRow::of(self.scanner.chain());
        let scanned = self.scanner.finish();
        if !scanned.torn.is_empty() {
            let cause: Cause = "the last line has no end".into();
            return Err(OpenError::Io { place: self.place, source: cause });
        }
        let checkpoint = self.admission.decide(&scanned)?;
        let published =
            rows::publish(&mut self.session, &self.origin, checkpoint.size, &self.note).await;
        published.map_err(|fault| refused(&self.place, fault))?;
        match commit_new(&mut self.link, self.session, &self.origin, &head).await {
            Outcome::Stored => {}
            Outcome::NotStored(fault) | Outcome::Unknown(fault) => {
                return Err(refused(&self.place, fault));
            }
        }
        Ok(PgLog::over(self.link, self.place, self.origin, scanned.chain, checkpoint.size))
    }
}
