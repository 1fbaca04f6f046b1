//! How long things took: what is measured, and what is not.

use annals_events::*;
use annals_projections::{Durations, Measure, replay};

use crate::made::{Log, adopted, blob, checked, run_finished, run_started, step};

fn folded(events: impl IntoIterator<Item = Event>) -> Durations {
    replay(&Log::of(events))
}

fn times(durations: &Durations, measure: Measure) -> Vec<u64> {
    durations.of(measure).iter().map(|measured| measured.us).collect()
}

#[test]
fn a_run_lasts_from_its_beginning_to_its_end_and_names_its_slowest_step() {
    let (up, down) = (step(1, 1, 1), step(2, 1, 2));
    let durations = folded([
        run_started(1, Direction::Up, 1),
        up.started(),
        up.succeeded(),
        run_finished(1, RunOutcome::Succeeded, None, 1),
        run_started(2, Direction::Down, 1),
        down.started(),
        down.succeeded(),
        run_finished(2, RunOutcome::Succeeded, None, 1),
    ]);
    // Events are a second apart.
    assert_eq!(times(&durations, Measure::Migration), [3_000_000]);
    assert_eq!(times(&durations, Measure::Rollback), [3_000_000]);
    assert_eq!(durations.steps(Direction::Up), [1200]);
    let slowest = durations.of(Measure::Migration)[0].slowest.clone();
    assert_eq!(slowest, Some(("1_m1".to_owned(), 1200)));
    assert_eq!(durations.ends()[&(Direction::Up, RunOutcome::Succeeded)], 1);
}

#[test]
fn what_failed_or_was_settled_later_is_counted_and_not_measured() {
    let (failed, settled) = (step(1, 1, 1), step(2, 1, 1));
    let durations = folded([
        run_started(1, Direction::Up, 1),
        failed.started(),
        failed.failed(Effect::None),
        run_finished(1, RunOutcome::Failed, Some("no"), 0),
        run_started(2, Direction::Up, 1),
        settled.started(),
        settled.reconciled(ReconciledAs::TookEffect),
        run_finished(2, RunOutcome::Succeeded, None, 1),
    ]);
    assert_eq!(times(&durations, Measure::Migration), [0u64; 0]);
    assert_eq!(durations.not_measured(Measure::Migration), 1);
    assert_eq!(durations.failed_steps(Direction::Up), 1);
    assert_eq!(durations.steps(Direction::Up), [0u64; 0]);
    assert_eq!(durations.ends()[&(Direction::Up, RunOutcome::Failed)], 1);
}

#[test]
fn an_adoption_is_no_run() {
    let entry = adopted(step(1, 1, 1), AdoptionBasis::Declared, true, None);
    let ended = run_finished(1, RunOutcome::Succeeded, None, 1);
    let durations = folded([run_started(1, Direction::Up, 1), entry, ended]);
    assert!(durations.ends().is_empty());
    assert_eq!(times(&durations, Measure::Migration), [0u64; 0]);
}

#[test]
fn backups_and_verifications_say_how_long_they_took_where_somebody_measured() {
    let taken = |duration_us| {
        BackupTaken {
            backup: BackupId(uuid::Uuid::from_u128(1)),
            bytes: 1,
            duration_us,
            kind: "full".into(),
            manifest: blob(),
            run: None,
        }
        .into()
    };
    let durations = folded([taken(Some(7)), taken(None), checked(CheckOutcome::Passed, 0)]);
    assert_eq!(times(&durations, Measure::Backup), [7]);
    assert_eq!(durations.not_measured(Measure::Backup), 1);
    assert_eq!(durations.not_measured(Measure::Verification), 1);
}
