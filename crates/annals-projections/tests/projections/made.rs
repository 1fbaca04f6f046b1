//! Events and logs made up for a test.

use annals_events::*;
use uuid::Uuid;

pub(crate) fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

pub(crate) fn v(number: u64) -> Version {
    number.to_string().parse().unwrap()
}

pub(crate) fn file(text: &str) -> FileRef {
    let digest = Digest::of(text.as_bytes());
    FileRef { canonical: digest, name: text.into(), raw: digest }
}

pub(crate) fn blob() -> BlobRef {
    BlobRef { digest: Digest::of(b"blob"), size: 4 }
}

/// A log in the making; an event is recorded a second after the one before.
#[derive(Default)]
pub(crate) struct Log {
    chain: Chain,
    pub(crate) events: Vec<Recorded>,
}

impl Log {
    pub(crate) fn of(events: impl IntoIterator<Item = Event>) -> Vec<Recorded> {
        let mut log = Self::default();
        for event in events {
            log.record(event, 1_000_000);
        }
        log.events
    }

    pub(crate) fn record(&mut self, event: Event, after_us: i64) {
        let n = self.events.len();
        let last = self.chain.recorded_at().map_or(0, Timestamp::micros);
        let draft = Draft {
            event,
            id: EventId(Uuid::from_u128(n as u128)),
            occurred_at: Timestamp::from_micros(last),
            actor: Actor { host: "build-7".into(), name: format!("actor {n}"), tool: "t".into() },
            target: None,
            incarnation: 0,
        };
        let (origin, now) = ("demo/production".parse().unwrap(), last + after_us);
        let now = Timestamp::from_micros(now);
        let sealed = seal(&mut self.chain, &origin, &draft, now, &mut Vec::new()).unwrap();
        self.events.push(sealed);
    }
}

/// One step of one run, and the events that speak of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) run: RunId,
    pub(crate) step: u64,
    pub(crate) version: u64,
    pub(crate) ordinal: u64,
    pub(crate) direction: Direction,
}

/// The only step of run `n`.
pub(crate) fn step(n: u128, version: u64, ordinal: u64) -> Step {
    let direction = if ordinal % 2 == 1 { Direction::Up } else { Direction::Down };
    Step { run: run(n), step: 0, version, ordinal, direction }
}

impl Step {
    pub(crate) fn started(self) -> Event {
        let name = format!("m{}", self.version);
        StepStarted {
            direction: self.direction,
            file: file(&format!("{}_{name}.sql", self.version)),
            mode: StepMode::StatementByStatement,
            rollback: Some(file(&format!("{}_{name}_rollback.sql", self.version))),
            name,
            ordinal: self.ordinal,
            run: self.run,
            statements: 3,
            step: self.step,
            version: v(self.version),
        }
        .into()
    }

    pub(crate) fn statement_started(self, statement: u64) -> Event {
        let (run, step) = (self.run, self.step);
        StatementStarted { run, sql: Digest::of(b"sql"), statement, step }.into()
    }

    pub(crate) fn statement_succeeded(self, statement: u64) -> Event {
        let (run, step) = (self.run, self.step);
        StatementSucceeded { duration_us: 5, found: None, run, statement, step }.into()
    }

    pub(crate) fn succeeded(self) -> Event {
        let (run, step) = (self.run, self.step);
        StepSucceeded { duration_us: 1200, run, step, transaction: "742".into() }.into()
    }

    pub(crate) fn failed(self, effect: Effect) -> Event {
        let (run, step) = (self.run, self.step);
        let error = RecordedError {
            code: Some("42P01".into()),
            line: Some(7),
            message: "no".into(),
            statement: Some(2),
        };
        StepFailed { duration_us: 9, effect, error, run, step }.into()
    }

    pub(crate) fn reconciled(self, found: ReconciledAs) -> Event {
        let evidence = Evidence {
            ledger_row: found == ReconciledAs::TookEffect,
            statements_done: 0,
            transaction: None,
            transaction_status: None,
        };
        StepReconciled { evidence, found, run: self.run, step: self.step }.into()
    }

    pub(crate) fn whole(self) -> Vec<Event> {
        vec![self.started(), self.succeeded()]
    }

    /// Its first statement took effect, its second did not.
    pub(crate) fn half(self) -> Vec<Event> {
        vec![
            self.started(),
            self.statement_started(1),
            self.statement_succeeded(1),
            self.statement_started(2),
            self.failed(Effect::Partial),
        ]
    }
}

pub(crate) fn run_started(n: u128, direction: Direction, steps: u64) -> Event {
    RunStarted { direction, plan: blob().digest, run: run(n), steps }.into()
}

pub(crate) fn run_finished(
    n: u128,
    outcome: RunOutcome,
    reason: Option<&str>,
    steps_done: u64,
) -> Event {
    RunFinished { outcome, reason: reason.map(Into::into), run: run(n), steps_done }.into()
}

pub(crate) fn schema_recorded(objects: u64) -> Event {
    SchemaRecorded {
        fingerprint: blob().digest,
        objects,
        run: None,
        server_major: 15,
        snapshot: blob(),
        step: None,
    }
    .into()
}

pub(crate) fn checked(result: CheckOutcome, findings: u64) -> Event {
    let checks = CheckResults {
        constraints: result,
        data_consistency: CheckOutcome::NotChecked,
        history: result,
        indexes: result,
        permissions: result,
        table_structure: result,
    };
    let level = CheckLevel::Full;
    IntegrityChecked { checks, duration_us: None, findings, level, report: blob(), result }.into()
}

/// An entry of an adoption in the run of `step`.
pub(crate) fn adopted(
    step: Step,
    basis: AdoptionBasis,
    holds: bool,
    remains: Option<EarlierChange>,
) -> Event {
    let name = format!("m{}", step.version);
    BaselineAdopted {
        basis,
        direction: step.direction,
        evidence: Box::new(AdoptionEvidence {
            file: FileStanding::NotCompared,
            found: "somebody says so".into(),
            row: None,
            timeline: Some(2),
            timeline_then: Some(1),
            transaction_status: None,
        }),
        file: file(&format!("{}_{name}.sql", step.version)),
        holds,
        name,
        ordinal: step.ordinal,
        parent: None,
        reason: Some("because".into()),
        remains: remains.map(Box::new),
        rollback: None,
        run: step.run,
        step: step.step,
        version: v(step.version),
    }
    .into()
}
