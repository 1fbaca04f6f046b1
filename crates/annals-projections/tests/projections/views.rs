//! What the state, the timeline, an explanation and a difference say of the story.

use annals_events::*;
use annals_projections::*;

use crate::made::{Log, v};
use crate::story::{approval, backup, run, seen, story};

fn state_after(len: usize) -> State {
    replay(&story().events[..len])
}

/// Events of the story up to and with the last one `wanted` names.
fn until(wanted: impl Fn(&Event) -> bool) -> usize {
    story().events.iter().rposition(|recorded| wanted(&recorded.event)).unwrap() + 1
}

fn applied(state: &State) -> Vec<&str> {
    state.applied.applied().iter().map(|change| change.version.as_str()).collect()
}

#[test]
fn the_state_at_the_end_of_the_story_is_told_in_full() {
    let state: State = replay(&story().events);
    assert_eq!(applied(&state), ["001", "002", "003", "004"]);
    let gone: Vec<_> = state.applied.rolled_back().map(|change| change.version.as_str()).collect();
    assert_eq!(gone, ["005"]);
    assert_eq!(state.applied.last_applied().unwrap().file, "004_index.sql");
    assert_eq!(state.applied.last_rolled_back().unwrap().file, "004_index_rollback.sql");
    assert_eq!(state.recovery.open_steps.first().as_ref().unwrap().id(), "005_audit");
    let open = state.recovery.open_run.as_ref().unwrap();
    assert_eq!((open.by.as_str(), open.host.as_str()), ("Ada", "build-7"));
    assert_eq!(state.recovery.last_known_good.as_ref().unwrap().as_str(), "003");
    let emergency = state.emergency.as_ref().unwrap();
    assert_eq!(emergency.run, run(7));
    assert_eq!(emergency.end.as_ref().unwrap().outcome, RunOutcome::Succeeded);
    assert_eq!(state.home.moved.as_ref().unwrap().to, "postgres:7412345678901234567/app");
    assert_eq!(state.home.store.as_ref().unwrap().format, 2);
    let counts = state.counts;
    assert_eq!([counts.runs_succeeded, counts.runs_failed, counts.runs_interrupted], [5, 2, 3]);
    assert_eq!([counts.verifications_passed, counts.verifications_failed], [3, 1]);
    let pending: Vec<_> = seen(5).pending(&state.applied).map(|m| m.name.clone()).collect();
    assert_eq!(pending, ["005_audit.sql"]);
}

#[test]
fn a_state_agrees_with_the_history_wherever_one_step_is_open_at_a_time() {
    let events = story().events;
    for len in 0..=events.len() {
        let (state, history) = replay::<(State, History)>(&events[..len]);
        assert_eq!(state.applied.applied(), history.applied(), "after {len} events");
        let recovery: RecoveryState = replay(&events[..len]);
        assert_eq!(state.recovery, recovery);
    }
}

#[test]
fn an_approval_counts_until_it_lapses_or_is_taken_back() {
    let state = state_after(story().events.len());
    let first = state.approvals.get(approval(1)).unwrap();
    let lapses = first.expires_at.unwrap();
    let names = |time: Timestamp| -> Vec<ApprovalId> {
        state.approvals.in_force(time).map(|(id, _)| id).collect()
    };
    assert_eq!(names(lapses.plus_micros(-1)), [approval(1), approval(2)]);
    assert_eq!(names(lapses), [approval(2)]);
    let third = state.approvals.get(approval(3)).unwrap();
    assert_eq!(third.revoked.as_ref().unwrap().reason, "the plan was wrong");
}

#[test]
fn a_revoked_approval_is_not_given_again_under_its_name() {
    let given = ApprovalGiven {
        approval: approval(1),
        approver: "Łucja".into(),
        expires_at: None,
        key: "k".into(),
        plan: Digest::of(b"plan"),
        signature: "AA==".into(),
    };
    let revoked = ApprovalRevoked { approval: approval(1), reason: "no".into() };
    let facts: [Event; 3] = [given.clone().into(), revoked.into(), given.into()];
    let state: State = replay(&Log::of(facts));
    assert_eq!(state.approvals.in_force(Timestamp::from_micros(0)).count(), 0);
}

#[test]
fn a_backup_is_usable_until_a_verification_fails_or_it_is_removed() {
    use BackupDepth::{Restored, Sealed};
    use CheckOutcome::{Failed, NotChecked, Passed};
    let taken = BackupTaken {
        backup: backup(1),
        bytes: 1,
        duration_us: None,
        kind: "full".into(),
        manifest: BlobRef { digest: Digest::of(b"m"), size: 1 },
        run: None,
    };
    let after = |checks: &[(BackupDepth, CheckOutcome)]| {
        let checks = checks.iter().map(|(depth, result)| {
            BackupVerified { backup: backup(1), depth: *depth, result: *result }.into()
        });
        let facts: Vec<Event> = [taken.clone().into()].into_iter().chain(checks).collect();
        let state: State = replay(&Log::of(facts));
        let found = state.backups.get(backup(1)).unwrap();
        assert_eq!(state.backups.usable().count(), usize::from(found.is_usable()));
        (found.condition(), found.verified().map(|(depth, _)| depth))
    };
    let condition = |checks: &[(BackupDepth, CheckOutcome)]| after(checks).0;
    assert_eq!(after(&[]), (BackupCondition::NotVerified, None));
    assert_eq!(after(&[(Restored, NotChecked)]), (BackupCondition::NotVerified, None));
    assert_eq!(after(&[(Sealed, Passed)]), (BackupCondition::Verified, Some(Sealed)));
    assert_eq!(condition(&[(Sealed, Failed)]), BackupCondition::Failed);
    assert_eq!(condition(&[(Restored, Failed), (Sealed, Passed)]), BackupCondition::Failed);
    assert_eq!(condition(&[(Restored, Passed), (Sealed, Failed)]), BackupCondition::Failed);
    let again = after(&[(Sealed, Failed), (Restored, Passed)]);
    assert_eq!(again, (BackupCondition::Verified, Some(Restored)));
    let story = state_after(story().events.len());
    let usable: Vec<_> = story.backups.usable().map(|(id, _)| id).collect();
    assert_eq!(usable, [backup(2)]);
}

#[test]
fn keys_and_anchors_are_as_the_log_tells() {
    let state = state_after(story().events.len());
    let keys: Vec<_> = state.keys.iter().map(|key| (key.purpose, key.retired.is_some())).collect();
    let (log, approver) = (KeyPurpose::Log, KeyPurpose::Approver);
    assert_eq!(keys, [(log, true), (approver, false), (log, false)]);
    let anchors: Vec<_> = state.anchors.iter().map(|head| head.anchor.as_str()).collect();
    assert_eq!(anchors, ["far away", "vault"]);
    let vault = state.anchors.get("vault").unwrap();
    assert_eq!(vault.size, vault.seq.0, "the head before the receipt");
}

#[test]
fn a_smaller_head_does_not_replace_a_larger_one() {
    let anchored = |size| -> Event {
        let (anchor, kind) = ("vault".to_owned(), "s3".to_owned());
        CheckpointAnchored { anchor, kind, root: CompactRange::default().root(), size }.into()
    };
    let state: State = replay(&Log::of([anchored(5), anchored(9), anchored(7)]));
    assert_eq!(state.anchors.get("vault").map(|head| (head.size, head.seq)), Some((9, Seq(1))));
}

#[test]
fn an_emergency_ends_with_its_own_run() {
    let declared = until(|event| matches!(event, Event::EmergencyDeclared(e) if e.run == run(6)));
    let state = state_after(declared);
    let success = |len: usize| {
        let log: RecoveryLog = replay(&story().events[..len]);
        RecoveryLogExport::from(&log).last_emergency_rollback.success
    };
    assert_eq!(state.emergency.unwrap().end, None);
    assert_eq!(success(declared), None);
    let failed = until(|event| matches!(event, Event::RunFinished(e) if e.run == run(6)));
    assert_eq!(success(failed), Some(false));
    let ended = until(|event| matches!(event, Event::RunFinished(e) if e.run == run(7)));
    assert_eq!(success(ended), Some(true));
}

fn explained(question: Question) -> Vec<(u64, String)> {
    let events = story().events;
    let mut search = Search::new(question);
    events.iter().for_each(|recorded| search.take(recorded));
    assert!(search.has_found());
    let mut explanation = Explanation::of(search);
    events.iter().for_each(|recorded| explanation.take(recorded));
    let lines = explanation.events().iter();
    lines.map(|explained| (explained.entry.seq.0, explained.entry.kind.clone())).collect()
}

fn kinds(question: Question) -> Vec<String> {
    explained(question).into_iter().map(|(_, kind)| kind).collect()
}

#[test]
fn a_version_is_explained_by_its_steps_and_what_led_to_them() {
    let kinds = kinds(Question::Version("3".parse().unwrap()));
    let failed = ["approval_given", "backup_taken", "backup_verified", "plan_made", "run_started"];
    let failed = failed.into_iter().chain(["step_started", "step_failed", "run_finished"]);
    let applied = ["plan_made", "run_started", "step_started", "step_succeeded", "run_finished"];
    let removed = ["backup_removed"];
    let expected: Vec<_> = failed.chain(applied).chain(removed).collect();
    assert_eq!(kinds, expected);
}

#[test]
fn a_run_is_explained_by_either_of_its_names() {
    let whole = explained(Question::Run(run(6)));
    assert_eq!(whole, explained(Question::ShortRun(run(6).short())));
    let kinds: Vec<_> = whole.iter().map(|(_, kind)| kind.as_str()).collect();
    let steps = ["step_started", "step_succeeded", "step_started", "step_failed"];
    let begin = ["emergency_declared", "plan_made", "run_started"];
    let expected: Vec<_> = begin.into_iter().chain(steps).chain(["run_finished"]).collect();
    assert_eq!(kinds, expected);
}

#[test]
fn an_event_is_explained_by_what_it_belongs_to() {
    let at = |wanted: &dyn Fn(&Event) -> bool| {
        let events = story().events;
        Question::Seq(events.iter().find(|recorded| wanted(&recorded.event)).unwrap().seq)
    };
    let settled = at(&|event| matches!(event, Event::StepReconciled(e) if e.run == run(5)));
    let expected = [
        "approval_given",
        "plan_made",
        "run_started",
        "step_started",
        "step_reconciled",
        "run_finished",
    ];
    assert_eq!(kinds(settled), expected);
    let revoked = at(&|event| matches!(event, Event::ApprovalRevoked(_)));
    assert_eq!(kinds(revoked), ["approval_given", "approval_revoked"]);
    let removed = at(&|event| matches!(event, Event::BackupVerified(e) if e.backup == backup(3)));
    assert_eq!(kinds(removed), ["backup_taken", "backup_verified"]);
    let retired = at(&|event| matches!(event, Event::KeyRetired(_)));
    assert_eq!(kinds(retired), ["log_created", "key_retired"]);
    let alone = at(&|event| matches!(event, Event::TailRepaired(_)));
    assert_eq!(kinds(alone), ["tail_repaired"]);
    let plan = at(&|event| matches!(event, Event::PlanMade(_)));
    assert_eq!(kinds(plan).first().map(String::as_str), Some("plan_made"));
    assert_eq!(kinds(at(&|event| matches!(event, Event::PlanMade(_)))).len(), 8);
}

#[test]
fn the_evidence_of_a_step_names_files_intent_and_transaction() {
    let events = story().events;
    let mut search = Search::new(Question::Version("005".parse().unwrap()));
    events.iter().for_each(|recorded| search.take(recorded));
    let mut explanation = Explanation::of(search);
    events.iter().for_each(|recorded| explanation.take(recorded));
    let of = |kind: &str| {
        let found = explanation.events().iter().find(|explained| explained.entry.kind == kind);
        found.unwrap_or_else(|| panic!("{kind}")).clone()
    };
    let fact = |explained: &Explained, name: &str| {
        let found = explained.evidence.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{name}")).1.clone()
    };
    let (intent, settled, plan) = (of("step_started"), of("step_reconciled"), of("plan_made"));
    let seq = intent.entry.seq;
    assert_eq!(intent.leaf, events[seq.0 as usize].leaf);
    assert_eq!(fact(&intent, "ledger_intent_hash"), intent.leaf.to_string());
    assert_eq!(fact(&intent, "file_sha256"), Digest::of(b"005_audit.sql").to_string());
    assert_eq!(fact(&settled, "intent_seq"), seq.to_string());
    assert_eq!(fact(&settled, "transaction"), "9001");
    assert_eq!(fact(&settled, "transaction_status"), "committed");
    assert_eq!(fact(&plan, "plan"), Digest::of(b"plan 5").to_string());
}

#[test]
fn a_question_is_read_in_every_way_it_can_mean() {
    let readings = Question::readings;
    assert_eq!(readings("3"), [Question::Version(v(3)), Question::Seq(Seq(3))]);
    let digits = [
        Question::ShortRun("20250921".into()),
        Question::Version(v(20_250_921)),
        Question::Seq(Seq(20_250_921)),
    ];
    assert_eq!(readings("20250921"), digits);
    assert_eq!(readings("DEADBEEF"), [Question::ShortRun("deadbeef".into())]);
    assert_eq!(readings(&run(1).to_string()), [Question::Run(run(1))]);
    let stamp: Version = "20250921_171500".parse().unwrap();
    assert_eq!(readings("20250921_171500"), [Question::Version(stamp)]);
    assert!(readings("yesterday").is_empty());
}

fn diff(from: usize, to: usize) -> StateDiff {
    let (a, b) = (state_after(from), state_after(to));
    let time = |state: &State| state.last.map_or(Timestamp::from_micros(0), |last| last.at);
    let (a_time, b_time) = (time(&a), time(&b));
    StateDiff::between((&a, a_time), (&b, b_time))
}

#[test]
fn a_state_differs_from_itself_in_nothing() {
    let state = state_after(60);
    let time = state.last.unwrap().at;
    let nothing = StateDiff::between((&state, time), (&state, time));
    let empty = (State::default(), State::default());
    assert_eq!(nothing, StateDiff::between((&empty.0, time), (&empty.1, time)));
    assert_eq!(nothing.between, Between::default());
    assert!(nothing.migrations.is_empty() && nothing.keys.is_empty());
}

#[test]
fn the_difference_over_the_emergency_says_what_came_and_went() {
    let before = until(|event| matches!(event, Event::BackupRemoved(_)));
    let after = until(|event| matches!(event, Event::RunFinished(e) if e.run == run(7)));
    let diff = diff(before, after);
    let turned: Vec<_> = diff
        .migrations
        .iter()
        .map(|turned| (turned.last.version.as_str(), turned.turn, turned.changes))
        .collect();
    assert_eq!(turned, [("005", Turn::AppliedAndRolledBack, 2), ("004", Turn::RolledBack, 1)]);
    let between = diff.between;
    assert_eq!([between.runs_succeeded, between.runs_failed, between.runs_interrupted], [1, 1, 1]);
    assert_eq!(between.events, (after - before) as u64);
    let approvals: Vec<_> = diff.approvals.iter().map(|(turn, id, _)| (*turn, *id)).collect();
    let (given, over) = (ApprovalTurn::Given, ApprovalTurn::GivenAndOver);
    assert_eq!(approvals, [(given, approval(2)), (over, approval(3))]);
    assert_eq!(diff.schema.unwrap().after, None, "no picture of it yet");
    let emergency = Some((run(7), Some(RunOutcome::Succeeded)));
    assert_eq!(diff.emergency, Some(Shift { before: None, after: emergency }));
}

#[test]
fn the_difference_over_the_move_says_keys_anchors_and_home() {
    let before = until(|event| matches!(event, Event::StatementSucceeded(_)));
    let diff = diff(before, until(|event| matches!(event, Event::BackupRemoved(_))));
    let keys: Vec<_> = diff.keys.iter().map(|(turn, key)| (*turn, &key.key[..13])).collect();
    assert_eq!(keys, [(KeyTurn::Retired, "shop+f123c0b0"), (KeyTurn::Added, "shop+0badcafe")]);
    let anchors: Vec<_> = diff.anchors.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(anchors, ["far away", "vault"]);
    let home = Some("postgres:7412345678901234567/app".to_owned());
    assert_eq!(diff.home, Some(Shift { before: None, after: home }));
    let backups: Vec<_> =
        diff.backups.iter().map(|(id, was, now)| (*id, *was, now.condition())).collect();
    use BackupCondition::{Failed, Removed, Verified};
    let expected = [
        (backup(1), Some(Verified), Removed),
        (backup(2), None, Verified),
        (backup(3), None, Failed),
    ];
    assert_eq!(backups, expected);
}

#[test]
fn a_migration_that_went_and_came_back_is_told_as_such() {
    let before = until(|event| matches!(event, Event::BackupRemoved(_)));
    let diff = diff(before, story().events.len());
    let turned: Vec<_> = diff
        .migrations
        .iter()
        .map(|turned| (turned.last.version.as_str(), turned.turn, turned.changes))
        .collect();
    let again = Turn::RolledBackAndApplied;
    assert_eq!(turned, [("005", Turn::AppliedAndRolledBack, 2), ("004", again, 2)]);
}

#[test]
fn an_approval_that_ran_out_between_two_moments_has_lapsed() {
    let given =
        until(|event| matches!(event, Event::ApprovalGiven(e) if e.approval == approval(1)));
    let later = until(|event| matches!(event, Event::RunFinished(e) if e.run == run(4)));
    let lapsed = diff(given, later).approvals;
    assert_eq!(lapsed.iter().map(|(turn, ..)| *turn).collect::<Vec<_>>(), [ApprovalTurn::Lapsed]);
}

#[test]
fn the_first_claim_over_a_moment_is_that_of_the_first_anchor_behind_it() {
    let events = story().events;
    let claim = |as_of: AsOf| {
        let mut chooser = Chooser::new(as_of);
        events.iter().for_each(|recorded| {
            chooser.take(recorded);
        });
        let bounds = chooser.bounds(&[]);
        assert_eq!((bounds.last_not_after, bounds.next_not_before), (None, None));
        bounds.claim.map(|claim| (claim.anchor, claim.size, claim.seq))
    };
    let first = events.iter().find(|r| matches!(r.event, Event::CheckpointAnchored(_))).unwrap();
    let seq = first.seq;
    let vault = |size: u64, seq: Seq| Some(("vault".to_owned(), size, seq));
    assert_eq!(claim(AsOf::Seq(Seq(0))), vault(seq.0, seq));
    assert_eq!(claim(AsOf::Size(seq.0)), vault(seq.0, seq));
    let next = claim(AsOf::Seq(seq)).unwrap();
    assert!(next.0 == "vault" && next.2 > seq);
    assert_eq!(claim(AsOf::Now), None);
    assert_eq!(claim(AsOf::Size(0)), None, "nothing is older than the first event");
}

#[test]
fn a_name_in_the_timeline_is_that_of_its_migration() {
    let mut timeline = Timeline::default();
    let entries: Vec<_> = story().events.iter().map(|recorded| timeline.next(recorded)).collect();
    let ended = entries.iter().find(|entry| entry.kind == "run_finished").unwrap();
    assert!(ended.text.ends_with("succeeded: applied 001_users, 002_orders"), "{}", ended.text);
    let settled = entries.iter().rfind(|entry| entry.kind == "step_reconciled").unwrap();
    assert_eq!(settled.migration.as_deref(), Some("005_audit"));
}
