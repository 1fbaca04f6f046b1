//! What the history and the recovery state say of small logs.

use annals_events::*;
use annals_projections::{History, RecoveryState, StatementState, replay};

use crate::made::*;

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
    assert_eq!((recovery.open_steps.len(), recovery.partial.len()), (0, 0));
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
    assert_eq!((recovery.open_steps.len(), recovery.partial.len()), (0, 0));
    assert_eq!(recovery.schema, None);
}

#[test]
fn a_step_in_doubt_without_effect_is_a_failure_without_an_error() {
    let (history, recovery) = settled(ReconciledAs::NoEffect);
    assert!(history.changes().is_empty());
    let [failure] = history.failures() else { panic!("{history:?}") };
    assert_eq!((failure.seq, &failure.error), (Seq(3), &None));
    assert_eq!((recovery.open_steps.len(), recovery.partial.len()), (0, 0));
    assert_eq!(recovery.schema.unwrap().objects, 3);
}

#[test]
fn a_step_in_doubt_with_part_of_its_effect_is_half_done() {
    let (history, recovery) = settled(ReconciledAs::Partial);
    assert!(history.changes().is_empty());
    assert_eq!(history.failures().len(), 1);
    assert_eq!((recovery.open_steps.len(), recovery.schema), (0, None));
    let progress: Vec<_> = recovery.partial[&v(1)].progress.clone().into_iter().collect();
    assert_eq!(progress, [(1, StatementState::Started)]);
}

#[test]
fn an_open_step_is_in_doubt_until_its_own_outcome() {
    let (this, other) = (step(1, 1, 1), step(2, 1, 1));
    let open = |rest: Vec<Event>| {
        let recovery: RecoveryState = replay(&Log::of([vec![this.started()], rest].concat()));
        recovery.open_steps.first().map(|step| step.key.run)
    };
    assert_eq!(open(vec![]), Some(run(1)));
    assert_eq!(open(vec![other.succeeded(), other.failed(Effect::None)]), Some(run(1)));
    assert_eq!(open(vec![Step { step: 1, ..this }.succeeded()]), Some(run(1)));
    assert_eq!(open(vec![other.reconciled(ReconciledAs::NoEffect)]), Some(run(1)));
    assert_eq!(open(vec![this.succeeded()]), None);
}

#[test]
fn steps_of_one_transaction_are_in_doubt_together_and_settled_each_by_its_own_outcome() {
    let (a, b) = (step(1, 1, 1), Step { step: 1, ..step(1, 2, 1) });
    let open = |rest: Vec<Event>| {
        let facts = [vec![a.started(), b.started()], rest].concat();
        let recovery: RecoveryState = replay(&Log::of(facts));
        recovery.open_steps.iter().map(|step| step.key.step).collect::<Vec<_>>()
    };
    assert_eq!(open(vec![]), [0, 1]);
    assert_eq!(open(vec![b.succeeded()]), [0]);
    assert_eq!(open(vec![a.reconciled(ReconciledAs::TookEffect), b.failed(Effect::None)]), [0; 0]);
}

#[test]
fn progress_belongs_to_the_step_that_made_it() {
    let (this, other) = (step(1, 1, 1), step(2, 1, 1));
    let events = Log::of([this.started(), this.statement_started(1), other.statement_started(2)]);
    let recovery: RecoveryState = replay(&events);
    let progress = recovery.open_steps[0].progress.clone();
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
    assert!(half.open_steps.is_empty());
    assert_eq!(progress_of(&half.partial[&v(1)]), [(1, Succeeded), (2, Started)]);
    facts.extend([
        second.started(),
        second.statement_started(2),
        second.statement_succeeded(2),
        second.statement_started(3),
    ]);
    let continued: RecoveryState = replay(&Log::of(facts.clone()));
    let open = continued.open_steps[0].clone();
    assert_eq!(open.key.run, run(2));
    assert_eq!(progress_of(&open), [(1, Succeeded), (2, Succeeded), (3, Started)]);
    facts.extend([second.statement_succeeded(3), second.succeeded()]);
    let done: RecoveryState = replay(&Log::of(facts));
    assert_eq!((done.open_steps.len(), done.partial.len()), (0, 0));
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
        assert!(recovery.open_steps.is_empty());
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
    assert!(recovery.open_steps[0].progress.is_empty());
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
