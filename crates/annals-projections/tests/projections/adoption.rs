//! Adoptions: they count when their run has succeeded, and every read model says the same of them.

use annals_events::*;
use annals_projections::{Change, History, RecoveryState, State, replay};

use crate::made::*;

/// What is applied, and the same as every other read model has it.
#[track_caller]
fn applied(events: &[Recorded]) -> Vec<(u64, u64)> {
    let (history, state): (History, State) = (replay(events), replay(events));
    assert_eq!(history.applied(), state.applied.applied());
    let recovery: RecoveryState = replay(events);
    assert_eq!(state.recovery, recovery);
    let place = |change: &Change| (change.version.number().parse().unwrap(), change.ordinal);
    history.applied().iter().map(place).collect()
}

/// Runs 1 and 2 have applied migrations 1 and 2, run 3 has rolled back 2.
fn past() -> Vec<Event> {
    let steps = [step(1, 1, 1), step(2, 2, 1), step(3, 2, 2)];
    steps
        .into_iter()
        .zip(1..)
        .flat_map(|(step, n)| {
            let direction = step.direction;
            let end = run_finished(n, RunOutcome::Succeeded, None, 1);
            [vec![run_started(n, direction, 1)], step.whole(), vec![end]].concat()
        })
        .collect()
}

fn with(entries: &[Event], outcome: RunOutcome) -> Vec<Recorded> {
    let begin = [run_started(9, Direction::Up, entries.len() as u64)];
    let end = [run_finished(9, outcome, None, entries.len() as u64)];
    Log::of([past(), begin.to_vec(), entries.to_vec(), end.to_vec()].concat())
}

/// The change of migration `version` with that ordinal, as an event keeps it.
fn earlier(version: u64, ordinal: u64) -> EarlierChange {
    let history: History = replay(&Log::of(past()));
    let known = |change: &&Change| change.version == v(version) && change.ordinal == ordinal;
    let change = history.changes().iter().find(known).unwrap().clone();
    EarlierChange {
        at: change.at,
        by: change.by,
        direction: change.direction,
        duration_us: change.duration_us,
        file: change.file,
        intent_hash: change.intent_hash,
        intent_seq: change.intent_seq,
        name: change.name,
        ordinal: change.ordinal,
        rollback: change.rollback,
        run: change.key.run,
        seq: change.seq,
        step: change.key.step,
        transaction: change.transaction,
    }
}

#[test]
fn an_adoption_counts_when_its_run_has_succeeded_and_not_before() {
    let entry = adopted(step(9, 3, 1), AdoptionBasis::Declared, true, None);
    for outcome in [RunOutcome::Interrupted, RunOutcome::Failed] {
        assert_eq!(applied(&with(std::slice::from_ref(&entry), outcome)), [(1, 1)]);
    }
    let whole = with(&[entry], RunOutcome::Succeeded);
    assert_eq!(applied(&whole[..whole.len() - 1]), [(1, 1)]);
    assert_eq!(applied(&whole), [(1, 1), (3, 1)]);
    let recovery: RecoveryState = replay(&whole);
    assert!(recovery.adopting.is_empty() && recovery.open_run.is_none());
}

#[test]
fn a_lost_rollback_leaves_what_it_had_rolled_back_where_it_was() {
    let lost = adopted(step(9, 2, 2), AdoptionBasis::Lost, false, Some(earlier(2, 1)));
    let events = with(&[lost], RunOutcome::Succeeded);
    assert_eq!(applied(&events), [(1, 1), (2, 1)]);
    let history: History = replay(&events);
    assert_eq!((history.changes().len(), history.ordinal(&v(2))), (2, 1));
    assert_eq!(history.applied()[1].key, StepKey { run: run(2), step: 0 });
}

#[test]
fn two_lost_changes_of_one_version_leave_nothing_of_it() {
    let entries = [
        adopted(step(9, 2, 1), AdoptionBasis::Lost, false, None),
        adopted(Step { step: 1, ..step(9, 2, 2) }, AdoptionBasis::Lost, false, None),
    ];
    let events = with(&entries, RunOutcome::Succeeded);
    assert_eq!(applied(&events), [(1, 1)]);
    let history: History = replay(&events);
    // It can be applied again, as if it never had been.
    assert_eq!(history.ordinal(&v(2)), 0);
    let state: State = replay(&events);
    assert_eq!(state.applied.rolled_back().count(), 0);
}

#[test]
fn a_row_that_was_put_back_changes_nothing() {
    let entry = adopted(step(9, 1, 1), AdoptionBasis::Lost, true, None);
    let events = with(&[entry], RunOutcome::Succeeded);
    assert_eq!(applied(&events), [(1, 1)]);
    let history: History = replay(&events);
    assert_eq!(history.changes().len(), 3);
}

#[test]
fn a_restored_backup_takes_changes_away_and_brings_earlier_ones_back() {
    // The rollback of 2 goes: what it had rolled back is applied again, without a word about it.
    let gone = adopted(step(9, 2, 2), AdoptionBasis::Restored, false, Some(earlier(2, 1)));
    assert_eq!(applied(&with(&[gone], RunOutcome::Succeeded)), [(1, 1), (2, 1)]);

    // A first restore took both changes of 2; a second one brings them back, one behind the other.
    let take = [
        adopted(step(9, 2, 2), AdoptionBasis::Restored, false, None),
        adopted(Step { step: 1, ..step(9, 2, 1) }, AdoptionBasis::Restored, false, None),
    ];
    let mut events: Vec<Event> = [past(), vec![run_started(9, Direction::Up, 2)]].concat();
    events.extend(take);
    events.push(run_finished(9, RunOutcome::Succeeded, None, 2));
    let taken: History = replay(&Log::of(events.clone()));
    assert_eq!((taken.changes().len(), taken.ordinal(&v(2))), (1, 0));
    let bring = [
        adopted(step(8, 2, 1), AdoptionBasis::Restored, true, Some(earlier(2, 1))),
        adopted(
            Step { step: 1, ..step(8, 2, 2) },
            AdoptionBasis::Restored,
            true,
            Some(earlier(2, 2)),
        ),
    ];
    events.push(run_started(8, Direction::Up, 2));
    events.extend(bring);
    let cut = events.clone();
    events.push(run_finished(8, RunOutcome::Succeeded, None, 2));
    assert_eq!(applied(&Log::of(cut)), [(1, 1)]);
    let events = Log::of(events);
    assert_eq!(applied(&events), [(1, 1)]);
    let (history, state): (History, State) = (replay(&events), replay(&events));
    let past: History = replay(&Log::of(past()));
    assert_eq!(history.changes(), past.changes());
    assert_eq!(state.applied.rolled_back().count(), 1);
}
