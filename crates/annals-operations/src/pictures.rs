//! Pictures of the schema: how they are kept beside the log, and how those of a run are taken.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use annals_event_store::{BlobError, EventStore};
use annals_events::{BlobRef, Digest, Event, RunId, SchemaRecorded, StepKey};
use annals_executor::lost_to_others;
use annals_postgres::{DdlEntry, Fault, SchemaReader, Session, Tracking};
use annals_projections::SchemaPicture;
use annals_schema::{Object, ObjectKey, Snapshot, Stored, carry_forward, diff};

use crate::error::{Failure, LogFailure, TargetFailure};
use crate::home::{BlobReader, Log};
use crate::open::Opened;
use crate::recorder::LogRecorder;

/// So many differences follow a whole picture before the next whole one.
const MAX_LINKS: usize = 32;

/// A run of at most so many steps gets a picture behind each, as long as one takes at most
/// [`FEW_STEPS_COST`].
const FEW_STEPS: u64 = 8;

/// What a picture behind each of a few steps may take.
const FEW_STEPS_COST: Duration = Duration::from_secs(1);

/// Of longer runs: pictures take at most this part of the time. The picture behind the last step is
/// always taken; those before it only say which step of several has changed what.
const COST_PART: u32 = 100;

/// The pause between two attempts to read a schema that others are changing.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Where content beside a log is fetched from.
pub(crate) trait Blobs {
    async fn fetch(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError>;
}

impl Blobs for Log {
    async fn fetch(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        self.get_blob(reference).await
    }
}

impl Blobs for BlobReader {
    async fn fetch(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        self.get(reference).await
    }
}

/// A picture, and where its content lies: what the next one is kept as a difference from.
pub(crate) struct Placed {
    pub(crate) snapshot: Snapshot,
    blob: BlobRef,
    /// Differences between it and the last whole picture.
    links: usize,
    links_bytes: u64,
    whole_bytes: u64,
}

/// Reads a recorded picture: the whole one it rests on, and every difference behind that.
///
/// `named` finds the content of a digest among what the log's events name.
pub(crate) async fn load<B: Blobs>(
    blobs: &mut B,
    place: &str,
    named: &dyn Fn(&Digest) -> Option<BlobRef>,
    picture: &SchemaPicture,
) -> Result<Placed, LogFailure> {
    let damaged = |reason: String| LogFailure::Damaged { place: place.to_owned(), reason };
    let (mut deltas, mut links_bytes, mut next) = (Vec::new(), 0, picture.snapshot);
    // A difference holds the digest of what it rests on, so there is no circle.
    let (mut snapshot, whole_bytes) = loop {
        let content = blobs.fetch(&next).await?;
        match Stored::parse(&content).map_err(|error| damaged(error.to_string()))? {
            Stored::Full(whole) => break (whole, next.size),
            Stored::Delta(delta) => {
                links_bytes += next.size;
                let base = delta.base();
                next = named(&base).ok_or_else(|| {
                    let (this, base) = (next.digest.short(12), base.short(12));
                    damaged(format!("the picture {this}… rests on {base}…, which no event names"))
                })?;
                deltas.push(delta);
            }
        }
    };
    let links = deltas.len();
    for delta in deltas.into_iter().rev() {
        snapshot = delta.onto(snapshot).map_err(|error| damaged(error.to_string()))?;
    }
    let fingerprint = snapshot.fingerprint();
    if fingerprint.digest != picture.fingerprint || fingerprint.server_major != picture.server_major
    {
        return Err(damaged(format!(
            "the picture recorded by event {} is not the one its fingerprint names",
            picture.seq
        )));
    }
    Ok(Placed { snapshot, blob: picture.snapshot, links, links_bytes, whole_bytes })
}

/// Keeps a picture beside the log: what differs from the one `before`, unless the whole is little
/// more.
pub(crate) async fn keep(
    log: &mut Log,
    before: Option<&Placed>,
    snapshot: Snapshot,
) -> Result<Placed, BlobError> {
    let before = before.filter(|before| before.snapshot.comparable_with(&snapshot));
    if let Some(before) = before {
        let Placed { blob, links, links_bytes, whole_bytes, .. } = *before;
        if before.snapshot == snapshot {
            return Ok(Placed { snapshot, blob, links, links_bytes, whole_bytes });
        }
        if links < MAX_LINKS {
            let delta = snapshot.to_delta(&before.snapshot, blob.digest);
            let links_bytes = links_bytes + delta.len() as u64;
            if links_bytes <= whole_bytes {
                let blob = log.put_blob(delta.as_bytes()).await?;
                return Ok(Placed { snapshot, blob, links: links + 1, links_bytes, whole_bytes });
            }
        }
    }
    let blob = log.put_blob(snapshot.to_stored().as_bytes()).await?;
    Ok(Placed { snapshot, blob, links: 0, links_bytes: 0, whole_bytes: blob.size })
}

impl Placed {
    /// The event that records it.
    pub(crate) fn event(&self, run: Option<RunId>, step: Option<u64>) -> Event {
        SchemaRecorded {
            fingerprint: self.snapshot.fingerprint().digest,
            objects: self.snapshot.len() as u64,
            run,
            server_major: self.snapshot.server_major(),
            snapshot: self.blob,
            step,
        }
        .into()
    }
}

/// The pictures of a run under way.
pub(crate) struct Pictures {
    reader: SchemaReader,
    /// How the schema is expected to be.
    expected: Placed,
    /// How it was last seen.
    found: Snapshot,
    /// Where DDL is written down: the transactions that had ended when it was last seen.
    seen: Option<String>,
    /// Steps of the run.
    steps: u64,
    /// How long the last picture took, and when it was taken.
    cost: Duration,
    taken: Instant,
}

impl Pictures {
    /// Of a run of so many steps, that begins with what is `expected` and what was `found`, by a
    /// `reading` that took so long.
    pub(crate) async fn begin(
        session: &mut Session,
        reader: SchemaReader,
        (expected, found): (Placed, Snapshot),
        (steps, reading): (u64, Duration),
    ) -> Result<Self, Fault> {
        let seen = match session.tracking().await? {
            Tracking::On | Tracking::Broken => Some(session.transactions_seen().await?),
            Tracking::Hidden | Tracking::Off => None,
        };
        // What has just been read as a whole is read again for the part that has changed: what that
        // takes is known behind the first of a few steps. Of many it is not found out at once: what
        // a run installs in its target may have made another whole reading of it.
        let cost = if steps <= FEW_STEPS { Duration::ZERO } else { reading };
        let taken = Instant::now();
        Ok(Self { reader, expected, found, seen, steps, cost, taken })
    }

    /// Whether there is time for a picture now.
    fn is_due(&self) -> bool {
        let little = self.cost.saturating_mul(COST_PART) <= self.taken.elapsed();
        little || (self.steps <= FEW_STEPS && self.cost <= FEW_STEPS_COST)
    }

    /// Takes a picture: what the run has changed since the last one is expected from now on.
    ///
    /// What differed before, and what others are known to have changed meanwhile, goes on differing.
    async fn take(&mut self, session: &mut Session, log: &mut Log) -> Result<(), PictureError> {
        let began = Instant::now();
        let left = self.reader.read(session).await?;
        let changed = diff(&self.found, &left);
        if let (Some(seen), false) = (&self.seen, changed.is_empty()) {
            let now = session.transactions_seen().await?;
            let entries = session.ddl_since(seen).await?;
            let keys = changed.iter().map(|difference| difference.key());
            let others: BTreeSet<ObjectKey> =
                keys.filter(|key| by_others(key, &entries)).cloned().collect();
            if !others.is_empty() {
                self.found = as_if_found(&self.found, &left, &others);
            }
            self.seen = Some(now);
        }
        let expected = carry_forward(&self.expected.snapshot, &self.found, &left);
        self.expected = keep(log, Some(&self.expected), expected).await?;
        self.found = left;
        (self.cost, self.taken) = (began.elapsed(), Instant::now());
        Ok(())
    }
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
enum PictureError {
    /// The target.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The log's home.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Whether somebody else is known to have changed an object, and no session of annals.
fn by_others(key: &ObjectKey, entries: &[DdlEntry]) -> bool {
    let mut concerning = entries.iter().filter(|entry| entry.may_concern(&key.name)).peekable();
    concerning.peek().is_some() && concerning.all(|entry| !entry.is_ours())
}

/// How the schema would have been `found` had others made their changes a moment earlier.
fn as_if_found(found: &Snapshot, left: &Snapshot, others: &BTreeSet<ObjectKey>) -> Snapshot {
    let theirs = left.iter().filter(|(key, _)| others.contains(*key));
    let objects = theirs.map(|(key, attributes)| Object {
        attributes: attributes.clone(),
        kind: key.kind,
        name: key.name.clone(),
    });
    found.with(objects, others)
}

impl LogRecorder<'_> {
    /// Takes the picture behind a step, if it costs little; the event that records it.
    pub(crate) async fn picture(&mut self, session: &mut Session, step: StepKey) -> Option<Event> {
        if !self.pictures.as_ref().is_some_and(Pictures::is_due) {
            return None;
        }
        self.take_picture(session, step.run, Some(step.step)).await
    }

    /// Takes a picture of a run. Where it cannot be taken the read model knows that it is missing,
    /// and whoever compares says so.
    async fn take_picture(
        &mut self,
        session: &mut Session,
        run: RunId,
        step: Option<u64>,
    ) -> Option<Event> {
        let pictures = self.pictures.as_mut()?;
        match pictures.take(session, &mut self.log).await {
            Ok(()) => Some(pictures.expected.event(Some(run), step)),
            Err(error) => {
                tracing::warn!(%error, "no picture of the schema could be taken");
                None
            }
        }
    }

    /// The picture last recorded; none while a newer change has none.
    pub(crate) async fn expected(&mut self) -> Result<Option<Placed>, LogFailure> {
        let Some(picture) = self.book.recovery.schema else { return Ok(None) };
        let (place, book) = (self.log.place(), &self.book);
        let placed = load(&mut self.log, &place, &|digest| book.named(digest), &picture).await?;
        Ok(Some(placed))
    }
}

impl Opened<'_> {
    /// The schema as it is.
    ///
    /// Whoever changes a table keeps its definition from being read: they are waited for as a step
    /// waits, and named when that was not enough.
    pub(crate) async fn live_schema(&mut self, target: &str) -> Result<Snapshot, Failure> {
        let (mut tried, began) = (0, Instant::now());
        let limit = Duration::from_millis(self.patience.max_blocked_ms);
        loop {
            let reading = Instant::now();
            let fault = match self.reader.read(&mut self.session).await {
                Ok(schema) => {
                    self.reading = reading.elapsed();
                    return Ok(schema);
                }
                Err(fault) => fault,
            };
            let target = target.to_owned();
            if !lost_to_others(fault.code()) {
                return Err(TargetFailure::Fault { target, fault }.into());
            }
            let is_long = !limit.is_zero() && began.elapsed() + BETWEEN_LOOKS >= limit;
            if tried == self.patience.retries || is_long {
                let by = self.session.exclusive_lock_holders().await.unwrap_or_default();
                let waited_s = began.elapsed().as_secs();
                return Err(TargetFailure::SchemaHeld { target, waited_s, by, fault }.into());
            }
            tried += 1;
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Whether a picture is an expectation: what a first run has found is nobody's until a run has
    /// changed something, or somebody has accepted it.
    pub(crate) fn expects_a_schema(&self) -> bool {
        let (book, recovery) = (self.book(), self.recovery());
        let is_begun = !book.history.changes().is_empty() || !recovery.partial.is_empty();
        is_begun || book.is_schema_accepted
    }

    /// The schema as it was last recorded, where there is a picture of this server's major version.
    pub(crate) async fn expected_schema(&mut self) -> Result<Option<Snapshot>, Failure> {
        let major = self.session.facts().major();
        let is_comparable = |picture: &SchemaPicture| picture.server_major == major;
        let picture = self.recovery().schema.as_ref().filter(|_| self.expects_a_schema());
        if !picture.is_some_and(is_comparable) {
            return Ok(None);
        }
        Ok(self.recorder.expected().await?.map(|placed| placed.snapshot))
    }

    /// Records the schema a run has left, unless the last picture of a step shows it already.
    pub(crate) async fn record_schema(&mut self, run: RunId) -> Result<(), Failure> {
        if self.recovery().schema.is_none() {
            let picture = self.recorder.take_picture(&mut self.session, run, None).await;
            self.record(picture.into_iter().collect()).await?;
        }
        self.recorder.pictures = None;
        self.compare();
        Ok(())
    }

    /// Records the schema as it is as the expected one: of `run`, or of none.
    pub(crate) async fn record_as_it_is(
        &mut self,
        target: &str,
        run: Option<RunId>,
        before: Vec<Event>,
    ) -> Result<(), Failure> {
        let live = match self.live_schema(target).await {
            Ok(live) => live,
            Err(failure) if run.is_some() => {
                tracing::warn!(%failure, "the schema could not be read after the run");
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let placed = keep(&mut self.recorder.log, None, live).await.map_err(LogFailure::from)?;
        let events = before.into_iter().chain([placed.event(run, None)]).collect();
        self.record(events).await?;
        self.compare();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use annals_events::Timestamp;
    use annals_schema::ObjectKind;

    use super::*;

    fn picture(names: &[(&str, &str)]) -> Snapshot {
        Snapshot::new(
            15,
            names.iter().map(|(name, is)| Object {
                attributes: [("is".to_owned(), (*is).to_owned())].into(),
                kind: ObjectKind::Table,
                name: (*name).to_owned(),
            }),
        )
    }

    fn entry(application: &str, identity: &str) -> DdlEntry {
        DdlEntry {
            id: 1,
            at: Timestamp::from_micros(0),
            session_role: "ada".into(),
            acting_role: "ada".into(),
            application: application.into(),
            client: None,
            tag: "ALTER TABLE".into(),
            object_type: Some("table".into()),
            identity: Some(identity.into()),
            transaction: "1".into(),
        }
    }

    #[test]
    fn what_others_are_known_to_have_changed_during_a_step_goes_on_differing() {
        let expected = picture(&[("public.a", "1"), ("public.b", "1")]);
        let left = picture(&[("public.a", "2"), ("public.b", "2"), ("public.c", "1")]);
        let entries = [
            entry("annals/run", "public.a"),
            entry("psql", "public.b"),
            // Touched by both: nobody can say whose change is seen.
            entry("annals/run", "public.c"),
            entry("psql", "public.c"),
        ];
        let others: BTreeSet<ObjectKey> = diff(&expected, &left)
            .iter()
            .map(|difference| difference.key().clone())
            .filter(|key| by_others(key, &entries))
            .collect();
        assert_eq!(others.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["public.b"]);
        let found = as_if_found(&expected, &left, &others);
        let after = carry_forward(&expected, &found, &left);
        let wanted = picture(&[("public.a", "2"), ("public.b", "1"), ("public.c", "1")]);
        assert_eq!(after, wanted);
    }
}
