//! The last emergency rollback, and how it ended.

use annals_events::{
    EmergencyDeclared, Recorded, RunFinished, RunId, RunOutcome, Seq, Timestamp, Version,
};
use serde::{Deserialize, Serialize};

/// The end of the run that was declared an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyEnd {
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why, unless it succeeded.
    pub reason: Option<String>,
    /// When that was recorded.
    pub at: Timestamp,
}

/// A rollback that was declared an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    /// Why.
    pub reason: String,
    /// The run that rolls back.
    pub run: RunId,
    /// The version that is to be the last one applied; none for nothing applied.
    pub to_version: Option<Version>,
    /// Who declared it.
    pub by: String,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
    /// How its run ended; none while that is not known.
    pub end: Option<EmergencyEnd>,
}

impl Emergency {
    pub(crate) fn declared(recorded: &Recorded, declared: &EmergencyDeclared) -> Self {
        Self {
            reason: declared.reason.clone(),
            run: declared.run,
            to_version: declared.to_version.clone(),
            by: recorded.actor.name.clone(),
            seq: recorded.seq,
            at: recorded.recorded_at,
            end: None,
        }
    }

    pub(crate) fn run_finished(&mut self, recorded: &Recorded, finished: &RunFinished) {
        if self.run == finished.run {
            self.end.get_or_insert_with(|| EmergencyEnd {
                outcome: finished.outcome,
                reason: finished.reason.clone(),
                at: recorded.recorded_at,
            });
        }
    }
}
