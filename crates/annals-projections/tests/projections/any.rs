//! Any prefix of any log folds, and what can be relied on after any events whatever.

use annals_events::*;
use annals_projections::{
    AsOf, Chooser, History, Projection, RecoveryState, Selection, State, StateDiff, Timeline,
    replay, select,
};
use proptest::prelude::*;

use crate::made::*;
use crate::story::{approval, backup, story};

/// Any event about a handful of runs, steps, versions and statements: mostly nonsense as a log.
fn any_event() -> impl Strategy<Value = Event> {
    let place = (0..3u128, 0..2u64, 1..4u64, 1..5u64, any::<bool>());
    let step = place.prop_map(|(n, step, version, ordinal, up)| {
        let direction = if up { Direction::Up } else { Direction::Down };
        Step { run: run(n), step, version, ordinal, direction }
    });
    (step, 0..48u8, 1..4u64).prop_map(|(step, kind, number)| event_of(step, kind, number))
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
        15 if number == 3 => run_finished(n, RunOutcome::Succeeded, None, number),
        15 => run_finished(n, RunOutcome::Interrupted, None, number),
        16 => schema_recorded(number),
        17 if number == 1 => unheard_of(),
        17 if number == 2 => checked(CheckOutcome::Passed, 0),
        17 => checked(CheckOutcome::Failed, number),
        _ => around(step, kind, number),
    }
}

/// What happens around runs.
fn around(step: Step, kind: u8, number: u64) -> Event {
    let (plan, run, reason) = (blob().digest, step.run, "because".to_owned());
    let (approval, backup) = (approval(number.into()), backup(number.into()));
    let (key, name) = (format!("key+{number}"), format!("anchor {number}"));
    let purpose = if number == 3 { KeyPurpose::Approver } else { KeyPurpose::Log };
    let depth = if number == 3 { BackupDepth::Restored } else { BackupDepth::Sealed };
    let result = if step.step == 0 { CheckOutcome::Passed } else { CheckOutcome::Failed };
    match kind {
        18 => PlanMade { direction: step.direction, plan: blob(), steps: number }.into(),
        19 => KeyAdded { key, purpose }.into(),
        20 => KeyRetired { key, purpose, size: Some(number) }.into(),
        21 => {
            let (size, root) = (step.version * number, CompactRange::default().root());
            CheckpointAnchored { anchor: name, kind: "s3".into(), root, size }.into()
        }
        22 => LogMoved { from: "file".into(), to: name }.into(),
        23 if number == 1 => StoreInstalled { backend: "postgres".into(), format: 1 }.into(),
        23 => StoreUpgraded { backend: "postgres".into(), from: 1, to: 2 }.into(),
        24 => MigrationsSeen { files: number, set: blob() }.into(),
        25 => EmergencyDeclared { reason, run, to_version: Some(v(number)) }.into(),
        26 => {
            let expires_at = Some(Timestamp::from_micros(number as i64 * 20_000_000));
            let (approver, signature) = ("Ada".to_owned(), "AA==".to_owned());
            ApprovalGiven { approval, approver, expires_at, key, plan, signature }.into()
        }
        27 => ApprovalRevoked { approval, reason }.into(),
        28 => {
            let kind = "full".to_owned();
            BackupTaken {
                backup,
                bytes: number,
                duration_us: None,
                kind,
                manifest: blob(),
                run: Some(run),
            }
            .into()
        }
        29 => BackupVerified { backup, depth, result }.into(),
        30 => BackupRemoved { backup, reason }.into(),
        31 => BackupFailed { reason, run: None }.into(),
        34 => DriftFound {
            differences: number - 1,
            expected: plan,
            found: plan,
            report: blob(),
            server_major: 15,
        }
        .into(),
        35 => DriftAccepted {
            differences: number,
            expected_major: None,
            reason,
            report: blob(),
            server_major: 15,
        }
        .into(),
        36 => ProofRecorded {
            after: None,
            batch: number,
            before: plan,
            chain: None,
            file: file("up").into(),
            lost_rows: number,
            name: "made".to_owned(),
            report: blob(),
            rollback: None,
            server_major: 15,
            verdict: ProofVerdict::Exact,
            version: v(number),
        }
        .into(),
        37..=47 => recovery(run, backup, kind, number),
        32 => adopted(step, AdoptionBasis::Declared, true, None),
        _ => adopted(step, AdoptionBasis::Lost, number == 1, None),
    }
}

/// What follows when things went wrong, and who may approve.
fn recovery(run: RunId, backup: BackupId, kind: u8, number: u64) -> Event {
    let (result, way) = (CheckOutcome::Passed, EmergencyWay::Backup);
    let (after, list) = (blob().digest, blob());
    match kind {
        37 => TargetRestored {
            after,
            backup,
            before: None,
            kept_as: Some("kept".to_owned()),
            log_size: number,
            run,
            server_major: 15,
        }
        .into(),
        44 => RestoreStarted {
            after,
            backup,
            before: after,
            keep_as: number.is_multiple_of(2).then(|| "kept".to_owned()),
            log_size: number,
            restored_oid: number.is_multiple_of(2).then_some(2),
            run,
            scratch: number.is_multiple_of(2).then(|| "scratch".to_owned()),
            server_major: 15,
            target_oid: 1,
        }
        .into(),
        38 => {
            BackupRekeyed { backup, bytes: number, manifest: blob(), recipients: Vec::new() }.into()
        }
        39 => EmergencyFinished {
            duration_us: number,
            lost_rows: Some(number),
            result,
            run,
            terminated: number,
            way,
        }
        .into(),
        40 => EmergencyRehearsed {
            backup,
            duration_us: number,
            restore_us: number,
            result,
            steps: number,
            to_version: Some(v(number)),
            way,
        }
        .into(),
        41 => {
            let (reason, without) = ("because".to_owned(), WithoutSafeguard::Approval);
            BreakGlassUsed { journal: None, reason, run, without }.into()
        }
        45 => {
            let (rows, tables) = (RowsWanted::All, vec!["public.a".to_owned()]);
            RowsRestoreStarted { backup, rows, run, tables }.into()
        }
        46 => {
            let table = "public.a".to_owned();
            let table = RestoredTable { inserted: number, replaced: 1, table };
            RowsRestored { backup, run, tables: vec![table] }.into()
        }
        47 => {
            let (evidence, lsn, name) = ("seen".to_owned(), "0/1".to_owned(), "base".to_owned());
            ExternalBackupNamed { evidence, lsn, name, run }.into()
        }
        42 => BreakGlassReviewed { note: "seen".to_owned(), run }.into(),
        _ => ApproversChanged { approvers: number, before: None, list, signatures: Vec::new() }
            .into(),
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
        let key = match &intent.event {
            Event::StepStarted(started) => started.key(),
            Event::BaselineAdopted(adopted) => adopted.key(),
            other => return Err(TestCaseError::fail(format!("{other:?} announces nothing"))),
        };
        prop_assert_eq!(key, change.key);
    }
    let outcomes = events.iter().filter(|recorded| {
        matches!(
            recorded.event,
            Event::StepSucceeded(_)
                | Event::StepFailed(_)
                | Event::StepReconciled(_)
                | Event::BaselineAdopted(_)
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
        prop_assert_eq!(fold::<State>(replay(prefix), suffix), replay(&events));
        prop_assert_eq!(fold::<Timeline>(replay(prefix), suffix), replay(&events));
    }

    #[test]
    fn a_state_that_was_stored_and_read_goes_on_as_if_it_had_not_been(
        events in any_log(), cut in 0..61usize
    ) {
        let (prefix, suffix) = events.split_at(cut.min(events.len()));
        let stored = replay::<State>(prefix).to_stored().unwrap();
        let read = State::from_stored(&stored).unwrap();
        prop_assert_eq!(read.to_stored().unwrap(), stored);
        let (resumed, whole) = (fold(read, suffix), replay::<State>(&events));
        prop_assert_eq!(resumed.to_stored().unwrap(), whole.to_stored().unwrap());
        prop_assert_eq!(resumed, whole);
    }

    #[test]
    fn a_state_does_not_grow_with_the_log(events in any_log()) {
        // The same facts again and again are new events about the same things.
        let once = replay::<State>(&events);
        let often = (0..20).fold(once.clone(), |state, _| fold(state, &events));
        let twice = fold(once, &events);
        let bytes = |state: &State| state.to_stored().unwrap().len();
        // A counter more digits long is all that may be added.
        prop_assert!(bytes(&often) <= bytes(&twice) + 200, "{} {}", bytes(&often), bytes(&twice));
    }

    #[test]
    fn any_two_states_have_a_difference(events in any_log(), cut in 0..61usize, at in 0..99i64) {
        let time = Timestamp::from_micros(at * 1_000_000);
        let (a, b) = (replay::<State>(&events[..cut.min(events.len())]), replay::<State>(&events));
        let diff = StateDiff::between((&a, time), (&b, time));
        prop_assert_eq!(diff.between.events, b.counts.events - a.counts.events);
        let same = StateDiff::between((&b, time), (&b, time));
        prop_assert!(same.migrations.is_empty() && same.approvals.is_empty());
        prop_assert!(same.backups.is_empty() && same.keys.is_empty() && same.anchors.is_empty());
    }

    #[test]
    fn choosing_while_reading_is_choosing_from_the_whole(
        events in any_log(), seq in 0..70u64, from in 0..60usize
    ) {
        let near = events.get(from).or(events.last()).map_or(0, |r| r.recorded_at.micros());
        let time = Timestamp::from_micros(near);
        for as_of in [AsOf::Now, AsOf::Seq(Seq(seq)), AsOf::Size(seq), AsOf::Time(time)] {
            let mut chooser = Chooser::new(as_of);
            let taken = events.iter().filter(|recorded| chooser.take(recorded)).count();
            prop_assert_eq!(chooser.selection(), select(&events, as_of));
            prop_assert_eq!(taken, chooser.selection().len);
        }
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
        prop_assert!(recovery.open_steps.iter().all(|step| started(step.key.run)));
        let state: State = replay(&events);
        prop_assert_eq!(&state.recovery, &recovery);
        prop_assert_eq!(state.counts.events, events.len() as u64);
        prop_assert!(State::from_stored(&state.to_stored().unwrap()).is_ok());
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

#[test]
fn every_split_of_the_story_gives_the_same_state() {
    let events = story().events;
    let whole = replay::<State>(&events).to_stored().unwrap();
    for cut in 0..=events.len() {
        let stored = replay::<State>(&events[..cut]).to_stored().unwrap();
        let resumed = fold(State::from_stored(&stored).unwrap(), &events[cut..]);
        assert_eq!(resumed.to_stored().unwrap(), whole, "split at {cut}");
    }
}

#[test]
fn a_state_in_other_bytes_is_not_read() {
    let stored = replay::<State>(&story().events).to_stored().unwrap();
    let text = String::from_utf8(stored).unwrap();
    assert!(State::from_stored(text.as_bytes()).is_ok());
    for bad in [format!("{text} "), text.replacen(':', ": ", 1), text.replace("events", "event")] {
        assert!(State::from_stored(bad.as_bytes()).is_err());
    }
}
