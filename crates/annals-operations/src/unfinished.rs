//! A run that has not ended, as commands that only read the log say it.

use std::collections::BTreeMap;

use annals_events::{Event, Recorded, RunId, StepKey, Timestamp};

/// What is open at the end of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unfinished {
    run: Option<(RunId, String, Timestamp)>,
    /// Steps whose intent is recorded and whose outcome is not: `<version>_<name>`.
    steps: BTreeMap<StepKey, String>,
}

impl Unfinished {
    pub(crate) fn watch(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::RunStarted(started) => {
                let (by, at) = (recorded.actor.name.clone(), recorded.recorded_at);
                self.run = Some((started.run, by, at));
            }
            Event::RunFinished(finished) => {
                self.run.take_if(|(run, ..)| *run == finished.run);
                self.steps.retain(|key, _| key.run != finished.run);
            }
            Event::StepStarted(started) => {
                let id = format!("{}_{}", started.version, started.name);
                self.steps.insert(started.key(), id);
            }
            Event::StepSucceeded(done) => {
                self.steps.remove(&done.key());
            }
            Event::StepFailed(failed) => {
                self.steps.remove(&failed.key());
            }
            Event::StepReconciled(settled) => {
                self.steps.remove(&settled.key());
            }
            _ => {}
        }
    }

    /// Says what is open and what settles it.
    pub(crate) fn say(&self) {
        let Some((_, by, at)) = &self.run else { return };
        let steps: Vec<&str> = self.steps.values().map(String::as_str).collect();
        let what = match steps.as_slice() {
            [] => "it is between two steps".to_owned(),
            steps => format!("{} has no outcome yet", steps.join(", ")),
        };
        tracing::warn!(
            "a run by {by} of {} has not ended: {what}; unless somebody is at work, it is settled \
             by: annals status",
            at.to_human()
        );
    }
}
