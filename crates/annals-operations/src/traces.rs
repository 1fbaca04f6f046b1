//! Traces of runs, made from the log and sent to a collector when a target is free again.
//!
//! Nothing here fails a command: what could not be sent is told in one line.

use annals_event_store::EventStore;
use annals_events::{RunId, Seq, decode};
use annals_otlp::Collector;
use annals_projections::{Projection, RunTrace, Tracer};

use crate::environment::Environment;
use crate::error::Failure;
use crate::home::Log;
use crate::open::Opened;

/// Where the trace of a run goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TracesTo {
    /// Where the variables of OpenTelemetry say, if they do.
    #[default]
    Variables,
    /// To a collector: where the variables say, else on this machine.
    Usual,
    /// To the collector at this URL.
    Url(String),
}

/// What is sent at the end of a command, and to whom.
#[derive(Default)]
pub(crate) struct Traces {
    collector: Option<Collector>,
    traces: Vec<RunTrace>,
}

impl Traces {
    /// To whom traces go.
    ///
    /// What this command was told has to be right. What was said for all programs is no reason not
    /// to migrate.
    pub(crate) fn to(environment: &Environment, to: &TracesTo) -> Result<Self, Failure> {
        let asked = match to {
            TracesTo::Variables => None,
            TracesTo::Usual => Some(None),
            TracesTo::Url(url) => Some(Some(url.as_str())),
        };
        let found = Collector::find(asked, |name| environment.variable(name));
        let collector = match (found, to) {
            (Ok(collector), _) => collector,
            (Err(wrong), TracesTo::Variables) => {
                tracing::warn!("no trace is sent: {wrong}");
                None
            }
            (Err(wrong), _) => {
                return Err(Failure::Argument { subject: wrong.setting, reason: wrong.reason });
            }
        };
        Ok(Self { collector, traces: Vec::new() })
    }

    /// Those of what was settled and nobody has told yet, where the variables say.
    pub(crate) async fn of_settled(opened: &mut Opened<'_>) -> Self {
        if opened.untold.is_empty() {
            return Self::default();
        }
        let environment = opened.recorder.envelopes.environment();
        let mut traces = Self::to(environment, &TracesTo::Variables).unwrap_or_default();
        traces.settled(opened).await;
        traces
    }

    /// Makes the traces of what was settled when the target was opened, from the whole log.
    pub(crate) async fn settled(&mut self, opened: &mut Opened<'_>) {
        let runs = std::mem::take(&mut opened.untold);
        if !runs.is_empty() {
            self.read(&mut opened.recorder.log, Seq(0), runs).await;
        }
    }

    /// Makes the trace of a run of this command, all of whose events stand from `from` on.
    pub(crate) async fn ran(&mut self, opened: &mut Opened<'_>, from: u64, run: RunId) {
        self.read(&mut opened.recorder.log, Seq(from), vec![run]).await;
    }

    async fn read(&mut self, log: &mut Log, from: Seq, runs: Vec<RunId>) {
        if self.collector.is_none() {
            return;
        }
        let mut tracer = Tracer::of(runs);
        let mut visit = |_: Seq, line: &[u8]| {
            if let Ok(recorded) = decode(line) {
                tracer.apply(&recorded);
            }
        };
        match log.read(from, &mut visit).await {
            Ok(()) => self.traces.extend(tracer.ended()),
            Err(error) => tracing::warn!("no trace is sent: {error}"),
        }
    }

    /// Sends what there is.
    pub(crate) async fn send(self) {
        let Some(collector) = self.collector.filter(|_| !self.traces.is_empty()) else { return };
        match collector.send(&self.traces).await {
            Ok(sent) => tracing::info!(spans = sent.spans, "sent to {}", collector.place()),
            Err(error) => tracing::warn!("the trace of this run was not sent: {error}"),
        }
    }
}
