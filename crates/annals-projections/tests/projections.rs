//! Read models: any prefix of any log folds, and what they say of a log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;

use annals_events::*;
use annals_projections::{
    AsOf, History, Projection, RecoveryState, Selection, StatementState, replay, select,
};
use proptest::prelude::*;
use uuid::Uuid;

fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

fn v(number: u64) -> Version {
    number.to_string().parse().unwrap()
}

fn file(text: &str) -> FileRef {
    let digest = Digest::of(text.as_bytes());
    FileRef { canonical: digest, name: text.into(), raw: digest }
}

fn blob() -> BlobRef {
    BlobRef { digest: Digest::of(b"blob"), size: 4 }
}

/// A log in the making; an event is recorded a second after the one before.
#[derive(Default)]
struct Log {
    chain: Chain,
    events: Vec<Recorded>,
}

impl Log {
    fn of(events: impl IntoIterator<Item = Event>) -> Vec<Recorded> {
        let mut log = Self::default();
        for event in events {
            log.record(event, 1_000_000);
        }
        log.events
    }

    fn record(&mut self, event: Event, after_us: i64) {
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
struct Step {
    run: RunId,
    step: u64,
    version: u64,
    ordinal: u64,
    direction: Direction,
}

/// The only step of run `n`.
fn step(n: u128, version: u64, ordinal: u64) -> Step {
    let direction = if ordinal % 2 == 1 { Direction::Up } else { Direction::Down };
    Step { run: run(n), step: 0, version, ordinal, direction }
}

impl Step {
    fn started(self) -> Event {
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

    fn statement_started(self, statement: u64) -> Event {
        let (run, step) = (self.run, self.step);
        StatementStarted { run, sql: Digest::of(b"sql"), statement, step }.into()
    }

    fn statement_succeeded(self, statement: u64) -> Event {
        let (run, step) = (self.run, self.step);
        StatementSucceeded { duration_us: 5, found: None, run, statement, step }.into()
    }

    fn succeeded(self) -> Event {
        let (run, step) = (self.run, self.step);
        StepSucceeded { duration_us: 1200, run, step, transaction: "742".into() }.into()
    }

    fn failed(self, effect: Effect) -> Event {
        let (run, step) = (self.run, self.step);
        let error = RecordedError {
            code: Some("42P01".into()),
            line: Some(7),
            message: "no".into(),
            statement: Some(2),
        };
        StepFailed { duration_us: 9, effect, error, run, step }.into()
    }

    fn reconciled(self, found: ReconciledAs) -> Event {
        let evidence = Evidence {
            ledger_row: found == ReconciledAs::TookEffect,
            statements_done: 0,
            transaction: None,
            transaction_status: None,
        };
        StepReconciled { evidence, found, run: self.run, step: self.step }.into()
    }

    fn whole(self) -> Vec<Event> {
        vec![self.started(), self.succeeded()]
    }

    /// Its first statement took effect, its second did not.
    fn half(self) -> Vec<Event> {
        vec![
            self.started(),
            self.statement_started(1),
            self.statement_succeeded(1),
            self.statement_started(2),
            self.failed(Effect::Partial),
        ]
    }
}

fn run_started(n: u128, direction: Direction, steps: u64) -> Event {
    RunStarted { direction, plan: blob().digest, run: run(n), steps }.into()
}

fn run_finished(n: u128, outcome: RunOutcome, reason: Option<&str>, steps_done: u64) -> Event {
    RunFinished { outcome, reason: reason.map(Into::into), run: run(n), steps_done }.into()
}

fn schema_recorded(objects: u64) -> Event {
    SchemaRecorded { objects, run: None, server_major: 15, snapshot: blob() }.into()
}

fn checked(result: CheckOutcome, findings: u64) -> Event {
    let checks = CheckResults {
        constraints: result,
        data_consistency: CheckOutcome::NotChecked,
        history: result,
        indexes: result,
        permissions: result,
        table_structure: result,
    };
    IntegrityChecked { checks, findings, report: blob(), result }.into()
}

fn applied(history: &History) -> Vec<&str> {
    history.applied().iter().map(|change| change.version.as_str()).collect()
}

fn changes(history: &History) -> Vec<String> {
    let lines = history.changes().iter();
    lines.map(|c| format!("{} {} #{}", c.direction, c.version, c.ordinal)).collect()
}

#[test]
fn up_down_up_is_three_changes_of_one_version() {
    let parts = [step(1, 1, 1), step(2, 2, 1), step(3, 1, 2), step(4, 1, 3)];
    let events = Log::of(parts.into_iter().flat_map(Step::whole));
    let history: History = replay(&events);
    assert_eq!(changes(&history), ["up 1 #1", "up 2 #1", "down 1 #2", "up 1 #3"]);
    assert_eq!(applied(&history), ["2", "1"]);
    assert_eq!([history.ordinal(&v(1)), history.ordinal(&v(2)), history.ordinal(&v(3))], [3, 1, 0]);
    assert_eq!(history.applied_version(&"001".parse().unwrap()).unwrap().ordinal, 3);
    let rolled_back: History = replay(&events[..6]);
    assert_eq!(applied(&rolled_back), ["2"]);
    assert_eq!(rolled_back.applied_version(&v(1)), None);
    assert_eq!(rolled_back.ordinal(&v(1)), 2);
}

#[test]
fn a_change_names_its_intent_and_its_outcome() {
    let events = Log::of(step(7, 1, 1).whole());
    let history: History = replay(&events);
    let [change] = history.changes() else { panic!("{history:?}") };
    assert_eq!((change.intent_seq, change.intent_hash), (Seq(0), events[0].leaf));
    assert_eq!((change.seq, change.at), (Seq(1), events[1].recorded_at));
    assert_eq!((change.by.as_str(), change.duration_us), ("actor 1", Some(1200)));
    assert_eq!((change.key, change.name.as_str()), (StepKey { run: run(7), step: 0 }, "m1"));
    assert_eq!(change.file, file("1_m1.sql"));
    assert_eq!(change.rollback, Some(file("1_m1_rollback.sql")));
    assert_eq!(history.applied(), history.changes());
}

#[test]
fn a_failed_step_is_a_failure_and_no_change() {
    let parts = [step(1, 1, 1).started(), step(1, 1, 1).failed(Effect::None)];
    let events = Log::of(parts);
    let history: History = replay(&events);
    assert!(history.changes().is_empty() && history.applied().is_empty());
    let [failure] = history.failures() else { panic!("{history:?}") };
    assert_eq!((&failure.version, failure.seq, failure.run), (&v(1), Seq(1), run(1)));
    assert_eq!(failure.error.as_ref().unwrap().code.as_deref(), Some("42P01"));
    let recovery: RecoveryState = replay(&events);
    assert_eq!((recovery.open_step, recovery.partial.len()), (None, 0));
}

/// Started, its first statement done, and then settled as `found`.
fn settled(found: ReconciledAs) -> (History, RecoveryState) {
    let step = step(1, 1, 1);
    let events = Log::of([
        schema_recorded(3),
        step.started(),
        step.statement_started(1),
        step.reconciled(found),
    ]);
    (replay(&events), replay(&events))
}

#[test]
fn a_step_in_doubt_that_took_effect_is_applied_without_a_duration() {
    let (history, recovery) = settled(ReconciledAs::TookEffect);
    let [change] = history.applied() else { panic!("{history:?}") };
    assert_eq!((change.seq, change.duration_us), (Seq(3), None));
    assert!(history.failures().is_empty());
    assert_eq!((recovery.open_step, recovery.partial.len()), (None, 0));
    assert_eq!(recovery.schema, None);
}

#[test]
fn a_step_in_doubt_without_effect_is_a_failure_without_an_error() {
    let (history, recovery) = settled(ReconciledAs::NoEffect);
    assert!(history.changes().is_empty());
    let [failure] = history.failures() else { panic!("{history:?}") };
    assert_eq!((failure.seq, &failure.error), (Seq(3), &None));
    assert_eq!((recovery.open_step, recovery.partial.len()), (None, 0));
    assert_eq!(recovery.schema.unwrap().objects, 3);
}

#[test]
fn a_step_in_doubt_with_part_of_its_effect_is_half_done() {
    let (history, recovery) = settled(ReconciledAs::Partial);
    assert!(history.changes().is_empty());
    assert_eq!(history.failures().len(), 1);
    assert_eq!((&recovery.open_step, recovery.schema), (&None, None));
    let progress: Vec<_> = recovery.partial[&v(1)].progress.clone().into_iter().collect();
    assert_eq!(progress, [(1, StatementState::Started)]);
}

#[test]
fn an_open_step_is_in_doubt_until_its_own_outcome() {
    let (this, other) = (step(1, 1, 1), step(2, 1, 1));
    let open = |rest: Vec<Event>| {
        let recovery: RecoveryState = replay(&Log::of([vec![this.started()], rest].concat()));
        recovery.open_step.map(|step| step.key.run)
    };
    assert_eq!(open(vec![]), Some(run(1)));
    assert_eq!(open(vec![other.succeeded(), other.failed(Effect::None)]), Some(run(1)));
    assert_eq!(open(vec![Step { step: 1, ..this }.succeeded()]), Some(run(1)));
    assert_eq!(open(vec![other.reconciled(ReconciledAs::NoEffect)]), Some(run(1)));
    assert_eq!(open(vec![this.succeeded()]), None);
}

#[test]
fn progress_belongs_to_the_step_that_made_it() {
    let (this, other) = (step(1, 1, 1), step(2, 1, 1));
    let events = Log::of([this.started(), this.statement_started(1), other.statement_started(2)]);
    let recovery: RecoveryState = replay(&events);
    let progress = recovery.open_step.unwrap().progress;
    assert_eq!(progress.into_iter().collect::<Vec<_>>(), [(1, StatementState::Started)]);
}

fn progress_of(step: &annals_projections::OpenStep) -> Vec<(u64, StatementState)> {
    step.progress.clone().into_iter().collect()
}

#[test]
fn partial_progress_is_kept_and_continued() {
    use StatementState::{Started, Succeeded};
    let (first, second) = (step(1, 1, 1), step(2, 1, 1));
    let mut facts = first.half();
    let half: RecoveryState = replay(&Log::of(facts.clone()));
    assert_eq!(half.open_step, None);
    assert_eq!(progress_of(&half.partial[&v(1)]), [(1, Succeeded), (2, Started)]);
    facts.extend([
        second.started(),
        second.statement_started(2),
        second.statement_succeeded(2),
        second.statement_started(3),
    ]);
    let continued: RecoveryState = replay(&Log::of(facts.clone()));
    let open = continued.open_step.unwrap();
    assert_eq!(open.key.run, run(2));
    assert_eq!(progress_of(&open), [(1, Succeeded), (2, Succeeded), (3, Started)]);
    facts.extend([second.statement_succeeded(3), second.succeeded()]);
    let done: RecoveryState = replay(&Log::of(facts));
    assert_eq!((done.open_step, done.partial.len()), (None, 0));
}

#[test]
fn a_step_that_stops_half_way_again_keeps_all_its_progress() {
    use StatementState::{Started, Succeeded};
    let second = step(2, 1, 1);
    let again = [
        second.started(),
        second.statement_succeeded(2),
        second.statement_started(3),
        second.failed(Effect::Partial),
    ];
    let facts = [step(1, 1, 1).half(), again.into()].concat();
    let recovery: RecoveryState = replay(&Log::of(facts));
    let half = &recovery.partial[&v(1)];
    assert_eq!(progress_of(half), [(1, Succeeded), (2, Succeeded), (3, Started)]);
    assert_eq!(half.key.run, run(2));
}

#[test]
fn a_continuation_that_never_began_leaves_the_step_half_done() {
    let second = step(2, 1, 1);
    for end in [second.failed(Effect::None), second.reconciled(ReconciledAs::NoEffect)] {
        let facts = [step(1, 1, 1).half(), vec![second.started(), end]].concat();
        let recovery: RecoveryState = replay(&Log::of(facts));
        assert_eq!(recovery.open_step, None);
        let half = recovery.partial.get(&v(1)).expect("it has not been finished");
        let expected = [(1, StatementState::Succeeded), (2, StatementState::Started)];
        assert_eq!(progress_of(half), expected);
    }
}

#[test]
fn another_change_of_the_version_begins_without_progress() {
    let facts = [step(1, 1, 1).half(), vec![step(2, 1, 2).started()]].concat();
    let recovery: RecoveryState = replay(&Log::of(facts));
    assert!(recovery.partial.is_empty());
    assert!(recovery.open_step.unwrap().progress.is_empty());
}

#[test]
fn half_done_steps_of_two_versions_are_both_kept() {
    let facts = [step(1, 1, 1).half(), step(2, 2, 1).half()].concat();
    let recovery: RecoveryState = replay(&Log::of(facts));
    assert_eq!(recovery.partial.keys().collect::<Vec<_>>(), [&v(1), &v(2)]);
}

#[test]
fn a_later_change_drops_the_picture_of_the_schema() {
    let this = step(1, 1, 1);
    let after = |rest: Vec<Event>| {
        let facts = [vec![schema_recorded(3)], rest].concat();
        let recovery: RecoveryState = replay(&Log::of(facts));
        recovery.schema.map(|picture| (picture.objects, picture.seq))
    };
    let kept = Some((3, Seq(0)));
    assert_eq!(after(vec![]), kept);
    assert_eq!(after(vec![this.started(), this.failed(Effect::None)]), kept);
    assert_eq!(after(vec![this.succeeded()]), kept, "nobody knows that step");
    assert_eq!(after(this.whole()), None);
    assert_eq!(after(this.half()), None);
    assert_eq!(after([this.whole(), vec![schema_recorded(5)]].concat()), Some((5, Seq(3))));
}

#[test]
fn the_last_known_good_is_the_newest_when_a_verification_passed() {
    use CheckOutcome::{Failed, NotChecked, Passed};
    let good = |facts: Vec<Vec<Event>>| {
        let recovery: RecoveryState = replay(&Log::of(facts.concat()));
        recovery.last_known_good.map(|version| version.to_string())
    };
    let (one, two) = (step(1, 1, 1).whole(), step(2, 2, 1).whole());
    let passed = vec![checked(Passed, 0)];
    assert_eq!(good(vec![one.clone(), two.clone()]), None);
    assert_eq!(good(vec![passed.clone(), one.clone()]), None);
    let both = vec![one.clone(), passed.clone(), two.clone()];
    assert_eq!(good(both.clone()).as_deref(), Some("1"));
    for other in [Failed, NotChecked] {
        let not_passed = [both.clone(), vec![vec![checked(other, 2)]]].concat();
        assert_eq!(good(not_passed).as_deref(), Some("1"));
    }
    let again = [both.clone(), vec![passed.clone()]].concat();
    assert_eq!(good(again.clone()).as_deref(), Some("2"));
    let back = [again, vec![step(3, 2, 2).whole(), passed]].concat();
    assert_eq!(good(back).as_deref(), Some("1"));
}

#[test]
fn the_last_verification_is_summed_up() {
    let events = Log::of([checked(CheckOutcome::Passed, 0), checked(CheckOutcome::Failed, 2)]);
    let recovery: RecoveryState = replay(&events);
    let last = recovery.last_integrity.unwrap();
    assert_eq!((last.passed, last.findings, last.at), (false, 2, events[1].recorded_at));
    assert_eq!(last.checks.indexes, CheckOutcome::Failed);
}

#[test]
fn a_run_is_open_until_it_ends_and_counts_its_steps() {
    let (first, second) = (step(1, 1, 1), Step { step: 1, ..step(1, 2, 1) });
    let mut facts = vec![run_started(1, Direction::Up, 2)];
    facts.extend([first.whole(), vec![second.started(), second.failed(Effect::None)]].concat());
    let open: RecoveryState = replay(&Log::of(facts.clone()));
    let run = open.open_run.unwrap();
    assert_eq!((run.steps, run.steps_done, run.by.as_str()), (2, 1, "actor 0"));
    facts.push(run_finished(9, RunOutcome::Succeeded, None, 2));
    facts.push(run_finished(1, RunOutcome::Failed, Some("no"), 1));
    let events = Log::of(facts);
    let other_ended: RecoveryState = replay(&events[..6]);
    assert!(other_ended.open_run.is_some() && other_ended.last_run.is_none());
    let ended: RecoveryState = replay(&events);
    assert_eq!(ended.open_run, None);
    let last = ended.last_run.unwrap();
    assert_eq!((last.outcome, last.reason.as_deref()), (RunOutcome::Failed, Some("no")));
    assert_eq!((last.steps_done, last.by.as_str()), (1, "actor 0"));
    assert_eq!((last.started_at, last.finished_at), (events[0].recorded_at, events[6].recorded_at));
}

#[test]
fn the_target_is_the_one_last_named() {
    let identity = |timeline| TargetIdentity {
        database: "app".into(),
        system_identifier: "7412345678901234567".into(),
        timeline,
    };
    let mut events = Log::of([schema_recorded(1), schema_recorded(2), schema_recorded(3)]);
    events[0].target = Some(identity(1));
    events[1].target = Some(identity(2));
    let recovery: RecoveryState = replay(&events);
    assert_eq!(recovery.target, Some(identity(2)));
}

/// Any event about a handful of runs, steps, versions and statements: mostly nonsense as a log.
fn any_event() -> impl Strategy<Value = Event> {
    let place = (0..3u128, 0..2u64, 1..4u64, 1..5u64, any::<bool>());
    let step = place.prop_map(|(n, step, version, ordinal, up)| {
        let direction = if up { Direction::Up } else { Direction::Down };
        Step { run: run(n), step, version, ordinal, direction }
    });
    (step, 0..18u8, 1..4u64).prop_map(|(step, kind, number)| event_of(step, kind, number))
}

fn event_of(step: Step, kind: u8, number: u64) -> Event {
    let n = step.run.0.as_u128();
    match kind {
        0..=3 => step.started(),
        4 | 5 => step.statement_started(number),
        6 | 7 => step.statement_succeeded(number),
        8 | 9 => step.succeeded(),
        10 => step.failed(Effect::None),
        11 => step.failed(Effect::Partial),
        12 => step.reconciled(ReconciledAs::TookEffect),
        13 if number == 1 => step.reconciled(ReconciledAs::NoEffect),
        13 => step.reconciled(ReconciledAs::Partial),
        14 => run_started(n, step.direction, number),
        15 => run_finished(n, RunOutcome::Interrupted, None, number),
        16 => schema_recorded(number),
        _ if number == 1 => unheard_of(),
        _ if number == 2 => checked(CheckOutcome::Passed, 0),
        _ => checked(CheckOutcome::Failed, number),
    }
}

fn unheard_of() -> Event {
    let (kind, data) = ("moon_landed".to_owned(), "{}".to_owned());
    Event::Unknown(UnknownEvent { kind, schema: 3, data })
}

/// A chained log of such events at uneven distances.
fn any_log() -> impl Strategy<Value = Vec<Recorded>> {
    let gap = prop_oneof![Just(0), Just(1), 2..5_000_000i64];
    proptest::collection::vec((any_event(), gap), 0..60).prop_map(|facts| {
        let mut log = Log::default();
        for (event, gap) in facts {
            log.record(event, gap);
        }
        log.events
    })
}

fn fold<P: Projection>(state: P, events: &[Recorded]) -> P {
    events.iter().fold(state, |mut state, recorded| {
        state.apply(recorded);
        state
    })
}

/// What anybody may rely on after any events whatever.
fn check_history(history: &History, events: &[Recorded]) -> Result<(), TestCaseError> {
    for (n, change) in history.applied().iter().enumerate() {
        let earlier = &history.applied()[..n];
        prop_assert!(earlier.iter().all(|other| other.version != change.version));
        prop_assert_eq!(change.direction, Direction::Up);
        prop_assert_eq!(history.applied_version(&change.version), Some(change));
    }
    for change in history.changes() {
        let intent = events.iter().find(|recorded| recorded.leaf == change.intent_hash).unwrap();
        prop_assert!(matches!(&intent.event, Event::StepStarted(s) if s.key() == change.key));
    }
    let outcomes = events.iter().filter(|recorded| {
        matches!(
            recorded.event,
            Event::StepSucceeded(_) | Event::StepFailed(_) | Event::StepReconciled(_)
        )
    });
    prop_assert!(history.changes().len() + history.failures().len() <= outcomes.count());
    Ok(())
}

/// The choice of a prefix, as one would write it without a thought for its cost.
fn naive(events: &[Recorded], wanted: impl Fn(&Recorded) -> bool) -> Selection {
    let place = |recorded: &&Recorded| (recorded.seq, recorded.recorded_at);
    let (inside, outside): (Vec<_>, Vec<_>) = events.iter().partition(|recorded| wanted(recorded));
    Selection {
        len: inside.len(),
        last: inside.last().map(place),
        next: outside.first().map(place),
    }
}

proptest! {
    #[test]
    fn a_prefix_and_the_rest_fold_to_the_whole(events in any_log(), cut in 0..61usize) {
        let (prefix, suffix) = events.split_at(cut.min(events.len()));
        prop_assert_eq!(fold::<History>(replay(prefix), suffix), replay(&events));
        prop_assert_eq!(fold::<RecoveryState>(replay(prefix), suffix), replay(&events));
    }

    #[test]
    fn any_events_give_a_state_that_can_be_relied_on(events in any_log()) {
        let history: History = replay(&events);
        check_history(&history, &events)?;
    }

    #[test]
    fn events_in_any_order_and_twice_give_a_state(
        events in any_log().prop_map(|events| [events.clone(), events].concat()).prop_shuffle()
    ) {
        let history: History = replay(&events);
        check_history(&history, &events)?;
        let recovery: RecoveryState = replay(&events);
        let started = |run: RunId| {
            events.iter().any(|r| matches!(&r.event, Event::StepStarted(s) if s.run == run))
        };
        prop_assert!(recovery.open_step.is_none_or(|step| started(step.key.run)));
        prop_assert!(recovery.partial.iter().all(|(version, step)| step.version == *version));
    }

    #[test]
    fn the_choice_by_time_is_that_of_a_filter(
        events in any_log(), from in 0..60usize, off in -1..2i64
    ) {
        let near = events.get(from).or(events.last()).map_or(0, |r| r.recorded_at.micros());
        let time = Timestamp::from_micros(near + off);
        let expected = naive(&events, |recorded| recorded.recorded_at <= time);
        prop_assert_eq!(select(&events, AsOf::Time(time)), expected);
    }

    #[test]
    fn the_choice_by_place_is_that_of_a_filter(events in any_log(), seq in 0..70u64) {
        let expected = naive(&events, |recorded| recorded.seq <= Seq(seq));
        prop_assert_eq!(select(&events, AsOf::Seq(Seq(seq))), expected);
        let everything = naive(&events, |_| true);
        prop_assert_eq!(select(&events, AsOf::Now), everything);
        prop_assert_eq!(select(&events, AsOf::Seq(Seq(u64::MAX))), everything);
    }
}

#[test]
fn a_moment_between_two_events_chooses_the_first() {
    let events = Log::of([schema_recorded(1), schema_recorded(2), schema_recorded(3)]);
    let place = |n: usize| Some((events[n].seq, events[n].recorded_at));
    let at = |micros| select(&events, AsOf::Time(Timestamp::from_micros(micros)));
    assert_eq!(at(999_999), Selection { len: 0, last: None, next: place(0) });
    assert_eq!(at(1_000_000), Selection { len: 1, last: place(0), next: place(1) });
    assert_eq!(at(2_999_999), Selection { len: 2, last: place(1), next: place(2) });
    assert_eq!(at(i64::MAX >> 10), Selection { len: 3, last: place(2), next: None });
}

fn vector() -> Vec<Recorded> {
    let bytes = include_bytes!("../../../event-store/vectors/every-kind.jsonl");
    let scan = scan(&[Segment { first: Seq(0), bytes }], &[]);
    assert_eq!((scan.damage, scan.torn.len()), (None, 0));
    scan.events
}

#[test]
fn the_fold_of_the_vector_with_every_kind_stays_as_it_is() {
    let events = vector();
    assert_eq!(events.len(), Event::KINDS.len());
    let mut text = String::new();
    writeln!(text, "{:#?}", replay::<History>(&events)).unwrap();
    writeln!(text, "{:#?}", replay::<RecoveryState>(&events)).unwrap();
    assert_eq!(text, GOLDEN[1..]);
}

const GOLDEN: &str = r#"
History {
    changes: [
        Change {
            direction: Up,
            version: Version {
                spelling: "001",
                digits: "1",
            },
            name: "init",
            ordinal: 1,
            file: FileRef {
                canonical: Digest(2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6),
                name: "001_init.sql",
                raw: Digest(454349e422f05297191ead13e21d3db520e5abef52055e4964b82fb213f593a1),
            },
            rollback: Some(
                FileRef {
                    canonical: Digest(2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6),
                    name: "001_init_rollback.sql",
                    raw: Digest(454349e422f05297191ead13e21d3db520e5abef52055e4964b82fb213f593a1),
                },
            ),
            key: StepKey {
                run: RunId(
                    01970000-0000-7000-8000-000000000001,
                ),
                step: 0,
            },
            intent_seq: Seq(
                4,
            ),
            intent_hash: LeafHash(cdacae94fae30e797595b85983de75d90d513a906010c041f18c36fa855e4f36),
            seq: Seq(
                7,
            ),
            at: Timestamp(
                2026-01-01T00:00:00.007Z,
            ),
            by: "Łucja",
            transaction: Some(
                "742",
            ),
            duration_us: Some(
                1200,
            ),
        },
    ],
    failures: [],
    applied: [
        Change {
            direction: Up,
            version: Version {
                spelling: "001",
                digits: "1",
            },
            name: "init",
            ordinal: 1,
            file: FileRef {
                canonical: Digest(2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6),
                name: "001_init.sql",
                raw: Digest(454349e422f05297191ead13e21d3db520e5abef52055e4964b82fb213f593a1),
            },
            rollback: Some(
                FileRef {
                    canonical: Digest(2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6),
                    name: "001_init_rollback.sql",
                    raw: Digest(454349e422f05297191ead13e21d3db520e5abef52055e4964b82fb213f593a1),
                },
            ),
            key: StepKey {
                run: RunId(
                    01970000-0000-7000-8000-000000000001,
                ),
                step: 0,
            },
            intent_seq: Seq(
                4,
            ),
            intent_hash: LeafHash(cdacae94fae30e797595b85983de75d90d513a906010c041f18c36fa855e4f36),
            seq: Seq(
                7,
            ),
            at: Timestamp(
                2026-01-01T00:00:00.007Z,
            ),
            by: "Łucja",
            transaction: Some(
                "742",
            ),
            duration_us: Some(
                1200,
            ),
        },
    ],
    open: {},
}
RecoveryState {
    target: Some(
        TargetIdentity {
            database: "app",
            system_identifier: "7412345678901234567",
            timeline: 1,
        },
    ),
    open_run: None,
    open_step: None,
    partial: {},
    last_run: Some(
        RunSummary {
            run: RunId(
                01970000-0000-7000-8000-000000000001,
            ),
            direction: Up,
            outcome: Succeeded,
            reason: None,
            steps_done: 1,
            started_at: Timestamp(
                2026-01-01T00:00:00.003Z,
            ),
            finished_at: Timestamp(
                2026-01-01T00:00:00.010Z,
            ),
            by: "Łucja",
        },
    ),
    schema: Some(
        SchemaPicture {
            snapshot: BlobRef {
                digest: Digest(fa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8),
                size: 4,
            },
            objects: 12,
            server_major: 15,
            seq: Seq(
                11,
            ),
            at: Timestamp(
                2026-01-01T00:00:00.011Z,
            ),
        },
    ),
    last_integrity: Some(
        IntegritySummary {
            checks: CheckResults {
                constraints: Passed,
                data_consistency: NotChecked,
                history: Passed,
                indexes: Passed,
                permissions: Passed,
                table_structure: Passed,
            },
            passed: true,
            findings: 0,
            report: BlobRef {
                digest: Digest(fa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8),
                size: 4,
            },
            at: Timestamp(
                2026-01-01T00:00:00.012Z,
            ),
        },
    ),
    last_known_good: Some(
        Version {
            spelling: "001",
            digits: "1",
        },
    ),
    newest_applied: [
        Version {
            spelling: "001",
            digits: "1",
        },
    ],
}
"#;
