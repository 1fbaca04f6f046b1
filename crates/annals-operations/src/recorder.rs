//! Gives events their envelope and appends them to a log.

use annals_event_store::{AppendError, EventStore};
use annals_events::{Actor, Draft, Event, Recorded, StepKey, TargetIdentity, Timestamp};
use annals_executor::{Intent, Recorder, RecorderError};
use annals_postgres::Session;

use crate::book::Book;
use crate::environment::Environment;
use crate::home::Log;
use crate::pictures::Pictures;

/// The incarnation of a database that was never restored.
pub(crate) const FIRST_INCARNATION: u64 = 0;

/// Who acts, when, on what: the part of an envelope a command fills in.
pub(crate) struct Envelopes<'a> {
    environment: &'a Environment,
    target: Option<TargetIdentity>,
}

impl<'a> Envelopes<'a> {
    pub(crate) fn new(environment: &'a Environment, target: Option<TargetIdentity>) -> Self {
        Self { environment, target }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.environment.clock.now()
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.environment.actor
    }

    pub(crate) fn environment(&self) -> &Environment {
        self.environment
    }

    pub(crate) fn holder(&self) -> &str {
        &self.environment.holder
    }

    pub(crate) fn draft(&self, event: Event) -> Draft {
        Draft {
            event,
            id: self.environment.ids.event(),
            occurred_at: self.now(),
            actor: self.actor().clone(),
            target: self.target.clone(),
            incarnation: FIRST_INCARNATION,
        }
    }
}

/// Appends events to an open log.
pub(crate) struct LogRecorder<'a> {
    pub(crate) log: Log,
    pub(crate) envelopes: Envelopes<'a>,
    /// Everything that is in the log, folded.
    pub(crate) book: Book,
    /// Those of the run under way.
    pub(crate) pictures: Option<Pictures>,
}

impl LogRecorder<'_> {
    pub(crate) async fn append(
        &mut self,
        events: Vec<Event>,
    ) -> Result<Vec<Recorded>, AppendError> {
        let recorded = self.write(events).await?;
        self.log.sync().await?;
        Ok(recorded)
    }

    async fn write(&mut self, events: Vec<Event>) -> Result<Vec<Recorded>, AppendError> {
        let mut incarnation = self.book.incarnation;
        let draft = |event: Event| {
            // What was restored is another database under the same name from here on.
            incarnation += u64::from(matches!(event, Event::TargetRestored(_)));
            Draft { incarnation, ..self.envelopes.draft(event) }
        };
        let drafts: Vec<Draft> = events.into_iter().map(draft).collect();
        self.write_drafts(&drafts).await
    }

    async fn write_drafts(&mut self, drafts: &[Draft]) -> Result<Vec<Recorded>, AppendError> {
        let (head, now) = (self.log.head(), self.envelopes.now());
        let recorded = self.log.write(head, drafts, now).await?;
        recorded.iter().for_each(|event| self.book.apply(event));
        Ok(recorded)
    }

    /// Appends what was written down elsewhere, with its own actors, times and identifiers.
    pub(crate) async fn append_drafts(
        &mut self,
        drafts: &[Draft],
    ) -> Result<Vec<Recorded>, AppendError> {
        let recorded = self.write_drafts(drafts).await?;
        self.log.sync().await?;
        Ok(recorded)
    }
}

fn unrecorded(error: AppendError) -> RecorderError {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    RecorderError { message: format!("{error}{}", cause.unwrap_or_default()) }
}

impl Recorder for LogRecorder<'_> {
    async fn announce(&mut self, events: Vec<Event>) -> Result<Vec<Intent>, RecorderError> {
        let recorded = self.write(events).await.map_err(unrecorded)?;
        Ok(recorded.iter().map(|event| Intent { seq: event.seq, hash: event.leaf }).collect())
    }

    async fn settle(&mut self) -> Result<(), RecorderError> {
        self.log.sync().await.map_err(unrecorded)
    }

    async fn behind_step(&mut self, session: &mut Session, step: StepKey) -> Vec<Event> {
        self.picture(session, step).await.into_iter().collect()
    }
}
