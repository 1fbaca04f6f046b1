//! How long things took: runs, steps, backups, verifications, as the log has them.

use std::collections::BTreeMap;

use annals_events::{Direction, Event, Recorded, RunId, RunOutcome, Seq, StepKey, Timestamp};

use crate::replay::Projection;

/// What is measured, and held to a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// A run that applies migrations, from its beginning to its end.
    Migration,
    /// A run that rolls back.
    Rollback,
    /// A backup.
    Backup,
    /// A verification of the target.
    Verification,
}

impl Measure {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Migration, Self::Rollback, Self::Backup, Self::Verification];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Migration => "migration",
            Self::Rollback => "rollback",
            Self::Backup => "backup",
            Self::Verification => "verification",
        }
    }

    /// What a run of this direction is.
    const fn of_run(direction: Direction) -> Self {
        match direction {
            Direction::Up => Self::Migration,
            Direction::Down => Self::Rollback,
        }
    }
}

/// One thing that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// How long, in microseconds.
    pub us: u64,
    /// The event that says it is over.
    pub seq: Seq,
    /// When that was recorded.
    pub at: Timestamp,
    /// Of a run: its slowest step, `<version>_<name>`, and how long that took, in microseconds.
    pub slowest: Option<(String, u64)>,
}

/// How many runs ended how.
pub type RunEnds = BTreeMap<(Direction, RunOutcome), u64>;

/// A run that has not ended.
#[derive(Debug, Clone)]
struct Open {
    run: RunId,
    direction: Direction,
    at: Timestamp,
    steps: u64,
    slowest: Option<(String, u64)>,
    /// Its end, or that of a step, was found out later by somebody else.
    settled: bool,
}

/// All that was measured, oldest first.
///
/// A run counts when it succeeded and somebody saw its end: what a run took that failed says nothing
/// of the plan, and when one ended whose process was killed nobody knows. Adoptions are no runs here.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    measured: BTreeMap<Measure, Vec<Measured>>,
    not_measured: BTreeMap<Measure, u64>,
    steps: BTreeMap<Direction, Vec<u64>>,
    ends: RunEnds,
    failed_steps: BTreeMap<Direction, u64>,
    open: Option<Open>,
    names: BTreeMap<StepKey, (Direction, String)>,
}

impl Durations {
    /// What was measured of one kind.
    pub fn of(&self, measure: Measure) -> &[Measured] {
        self.measured.get(&measure).map_or(&[], Vec::as_slice)
    }

    /// How many of a kind came to their end and were not measured.
    pub fn not_measured(&self, measure: Measure) -> u64 {
        self.not_measured.get(&measure).copied().unwrap_or_default()
    }

    /// How long each step took that took effect, in microseconds.
    pub fn steps(&self, direction: Direction) -> &[u64] {
        self.steps.get(&direction).map_or(&[], Vec::as_slice)
    }

    /// Steps that did not take effect, or not wholly.
    pub fn failed_steps(&self, direction: Direction) -> u64 {
        self.failed_steps.get(&direction).copied().unwrap_or_default()
    }

    /// How runs ended.
    pub fn ends(&self) -> &RunEnds {
        &self.ends
    }

    fn measured(&mut self, measure: Measure, recorded: &Recorded, us: Option<u64>) {
        self.measured_run(measure, recorded, us, None);
    }

    fn measured_run(
        &mut self,
        measure: Measure,
        recorded: &Recorded,
        us: Option<u64>,
        slowest: Option<(String, u64)>,
    ) {
        match us {
            Some(us) => self.measured.entry(measure).or_default().push(Measured {
                us,
                seq: recorded.seq,
                at: recorded.recorded_at,
                slowest,
            }),
            None => *self.not_measured.entry(measure).or_default() += 1,
        }
    }

    fn run_finished(&mut self, recorded: &Recorded, run: RunId, outcome: RunOutcome) {
        let Some(open) = self.open.take_if(|open| open.run == run) else { return };
        self.names.clear();
        if open.steps == 0 {
            return;
        }
        *self.ends.entry((open.direction, outcome)).or_default() += 1;
        if outcome != RunOutcome::Succeeded {
            return;
        }
        let us = recorded.recorded_at.micros() - open.at.micros();
        let us = (!open.settled).then(|| u64::try_from(us).unwrap_or_default());
        self.measured_run(Measure::of_run(open.direction), recorded, us, open.slowest);
    }

    fn step_ended(&mut self, key: StepKey, took: Option<u64>) {
        let Some((direction, name)) = self.names.remove(&key) else { return };
        let Some(us) = took else {
            *self.failed_steps.entry(direction).or_default() += 1;
            return;
        };
        self.steps.entry(direction).or_default().push(us);
        if let Some(open) = self.open.as_mut()
            && open.slowest.as_ref().is_none_or(|(_, slowest)| us > *slowest)
        {
            open.slowest = Some((name, us));
        }
    }
}

impl Projection for Durations {
    fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::RunStarted(started) => {
                self.names.clear();
                self.open = Some(Open {
                    run: started.run,
                    direction: started.direction,
                    at: recorded.recorded_at,
                    steps: 0,
                    slowest: None,
                    settled: false,
                });
            }
            Event::StepStarted(started) => {
                let name = format!("{}_{}", started.version, started.name);
                self.names.insert(started.key(), (started.direction, name));
                if let Some(open) = self.open.as_mut() {
                    open.steps += 1;
                }
            }
            Event::StepSucceeded(done) => self.step_ended(done.key(), Some(done.duration_us)),
            Event::StepFailed(failed) => self.step_ended(failed.key(), None),
            Event::StepReconciled(settled) => {
                match settled.found {
                    // It counts, and nobody knows how long it took.
                    annals_events::ReconciledAs::TookEffect => {
                        self.names.remove(&settled.key());
                    }
                    _ => self.step_ended(settled.key(), None),
                }
                if let Some(open) = self.open.as_mut() {
                    open.settled = true;
                }
            }
            Event::RunFinished(finished) => {
                self.run_finished(recorded, finished.run, finished.outcome);
            }
            Event::BackupTaken(taken) => {
                self.measured(Measure::Backup, recorded, taken.duration_us);
            }
            Event::IntegrityChecked(checked) => {
                self.measured(Measure::Verification, recorded, checked.duration_us);
            }
            _ => {}
        }
    }
}
