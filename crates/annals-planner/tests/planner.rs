//! What is planned and what is refused, for each state of files and history.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, HashMap};
use std::fs;

use annals_events::{
    Actor, Chain, Digest, Direction, Draft, Effect, Event, EventId, LeafHash, Recorded,
    RecordedError, RunId, StatementStarted, StatementSucceeded, StepFailed, StepMode, StepStarted,
    StepSucceeded, Timestamp, Version, seal,
};
use annals_integrity::LedgerMismatch;
use annals_migrations::{
    LoadOptions, Migration, MigrationSet, PlannedStep, Precondition, StatementClass, Timeouts, load,
};
use annals_planner::{Goal, Inputs, Planned, Reason, Refusal, plan};
use annals_projections::replay;
use uuid::Uuid;

/// A file that runs outside a transaction, in two statements.
const OUTSIDE: &str = "-- annals: transaction=off\ncreate table b ();\nvacuum b;";

/// The two folders of a workspace, by path.
#[derive(Clone, Default)]
struct Files(BTreeMap<String, String>);

impl Files {
    /// `1_a 2_b`: each migration creates a table, its rollback drops it.
    fn of(ids: &str) -> Self {
        ids.split_whitespace().fold(Self::default(), |files, id| {
            let table = format!("t{}", &id[id.rfind('_').unwrap()..]);
            files
                .up(id, &format!("create table {table} ();"))
                .down(id, &format!("drop table {table};"))
        })
    }

    fn put(mut self, path: String, text: &str) -> Self {
        self.0.insert(path, text.to_owned());
        self
    }

    fn up(self, id: &str, text: &str) -> Self {
        self.put(format!("migrations/{id}.sql"), text)
    }

    fn down(self, id: &str, text: &str) -> Self {
        self.put(format!("rollbacks/{id}_rollback.sql"), text)
    }

    fn pinned(self, order: &str) -> Self {
        self.put("migrations/order".to_owned(), order)
    }

    fn without_down(mut self, id: &str) -> Self {
        self.0.remove(&format!("rollbacks/{id}_rollback.sql")).unwrap();
        self
    }

    fn without(self, id: &str) -> Self {
        let mut files = self.without_down(id);
        files.0.remove(&format!("migrations/{id}.sql")).unwrap();
        files
    }

    fn load(&self) -> MigrationSet {
        let folder = tempfile::tempdir().unwrap();
        for part in ["migrations", "rollbacks"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        for (path, text) in &self.0 {
            fs::write(folder.path().join(path), text).unwrap();
        }
        let options = LoadOptions {
            workspace: folder.path().to_owned(),
            migrations: "migrations".into(),
            rollbacks: "rollbacks".into(),
            require_rollback: false,
        };
        load(&options).unwrap()
    }
}

/// A log in the making: each step is a run of its own.
#[derive(Default)]
struct Log {
    chain: Chain,
    events: Vec<Recorded>,
    ordinals: HashMap<Version, u64>,
}

impl Log {
    /// `+1` applied, `-1` rolled back; then `!` failed, `~` half done, `?` in doubt.
    fn of(set: &MigrationSet, past: &str) -> Vec<Recorded> {
        let mut log = Self::default();
        for word in past.split_whitespace() {
            let direction = if word.starts_with('+') { Direction::Up } else { Direction::Down };
            let version = v(word.trim_matches(['+', '-', '!', '~', '?']));
            let run = log.start(set.get(&version).unwrap(), direction);
            log.end(run, word);
            if !word.ends_with(['!', '~', '?']) {
                *log.ordinals.entry(version).or_default() += 1;
            }
        }
        log.events
    }

    fn record(&mut self, event: impl Into<Event>) {
        let n = self.events.len();
        let draft = Draft {
            event: event.into(),
            id: EventId(Uuid::from_u128(n as u128)),
            occurred_at: Timestamp::from_micros(0),
            actor: Actor { host: "h".into(), name: "n".into(), tool: "t".into() },
            target: None,
            incarnation: 0,
        };
        let now = Timestamp::from_micros(n as i64);
        let origin = "demo/production".parse().unwrap();
        let sealed = seal(&mut self.chain, &origin, &draft, now, &mut Vec::new()).unwrap();
        self.events.push(sealed);
    }

    fn start(&mut self, migration: &Migration, direction: Direction) -> RunId {
        let run = RunId(Uuid::from_u128(self.events.len() as u128));
        let file = match direction {
            Direction::Up => &migration.up,
            Direction::Down => migration.down.as_ref().unwrap(),
        };
        let script = file.script().unwrap();
        let outside = !script.directives.transaction;
        let rollback = migration.down.as_ref().filter(|_| direction == Direction::Up);
        self.record(StepStarted {
            direction,
            file: file.reference(),
            mode: if outside { StepMode::StatementByStatement } else { StepMode::Transactional },
            name: migration.name.clone(),
            ordinal: self.ordinals.get(&migration.version).copied().unwrap_or_default() + 1,
            rollback: rollback.map(|file| file.reference()),
            run,
            statements: script.statements.len() as u64,
            step: 0,
            version: migration.version.clone(),
        });
        run
    }

    fn end(&mut self, run: RunId, word: &str) {
        match word.chars().next_back() {
            Some('?') => {}
            Some('!') => self.fail(run, Effect::None),
            Some('~') => {
                let sql = Digest::of(b"1");
                self.record(StatementStarted { run, sql, statement: 1, step: 0 });
                let done =
                    StatementSucceeded { duration_us: 1, found: None, run, statement: 1, step: 0 };
                self.record(done);
                self.fail(run, Effect::Partial);
            }
            _ => self.record(StepSucceeded {
                duration_us: 1,
                run,
                step: 0,
                transaction: "742".into(),
            }),
        }
    }

    fn fail(&mut self, run: RunId, effect: Effect) {
        let error = RecordedError { code: None, line: None, message: "no".into(), statement: None };
        self.record(StepFailed { duration_us: 1, effect, error, run, step: 0 });
    }
}

/// Files as they were when history was made, and as they are now.
#[derive(Clone)]
struct Case {
    then: Files,
    now: Files,
    past: &'static str,
    ledger: Vec<LedgerMismatch>,
    precondition: Precondition,
    timeouts: Timeouts,
    single_transaction: bool,
}

impl Case {
    fn of(files: Files, past: &'static str) -> Self {
        let precondition = Precondition {
            log_size: 7,
            log_head: LeafHash::of_line(b"head"),
            system_identifier: "7412345678901234567".into(),
            database: "app".into(),
        };
        let timeouts = Timeouts { lock_ms: 5_000, lock_outside_ms: 77, statement_ms: 60_000 };
        let (then, now) = (files.clone(), files);
        let (ledger, single_transaction) = (Vec::new(), false);
        Self { then, now, past, ledger, precondition, timeouts, single_transaction }
    }

    fn now(self, change: impl FnOnce(Files) -> Files) -> Self {
        Self { now: change(self.now.clone()), ..self }
    }

    fn plan(&self, goal: &Goal) -> Result<Planned, Refusal> {
        let events = Log::of(&self.then.load(), self.past);
        let (set, history, recovery) = (self.now.load(), replay(&events), replay(&events));
        let inputs = Inputs {
            set: &set,
            history: &history,
            recovery: &recovery,
            ledger: &self.ledger,
            workspace: "demo",
            target: "production",
            precondition: &self.precondition,
            timeouts: self.timeouts,
            single_transaction: self.single_transaction,
        };
        plan(goal, &inputs)
    }

    fn hash(&self) -> Digest {
        self.plan(&up()).unwrap().plan.hash()
    }

    fn reasons(&self, goal: &Goal) -> Vec<Reason> {
        self.plan(goal).unwrap_err().reasons
    }
}

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

fn up() -> Goal {
    Goal::Up { to: None, out_of_order: Vec::new() }
}

fn up_to(version: &str) -> Goal {
    Goal::Up { to: Some(v(version)), out_of_order: Vec::new() }
}

fn allowing(to: Option<&str>, versions: &[&str]) -> Goal {
    Goal::Up { to: to.map(v), out_of_order: versions.iter().map(|text| v(text)).collect() }
}

fn down_to(version: &str) -> Goal {
    Goal::DownTo(v(version))
}

fn step_line(step: &PlannedStep) -> String {
    format!("{} {} #{}: {}", step.direction, step.id(), step.ordinal, step.file.name)
}

fn rendered(outcome: Result<Planned, Refusal>) -> Vec<String> {
    match outcome {
        Ok(Planned { plan, notes }) => {
            let steps = plan.steps.iter().map(step_line);
            steps.chain(notes.into_iter().map(|note| format!("note: {note}"))).collect()
        }
        Err(refusal) => refusal.reasons.iter().map(|reason| format!("no: {reason}")).collect(),
    }
}

#[track_caller]
fn check(case: &Case, goal: Goal, expected: &[&str]) {
    assert_eq!(rendered(case.plan(&goal)), expected, "{goal:?} after {:?}", case.past);
}

fn three(past: &'static str) -> Case {
    Case::of(Files::of("1_a 2_b 3_c"), past)
}

/// `2_b` and its rollback run outside a transaction.
fn outside(past: &'static str) -> Case {
    let down = "-- annals: transaction=off\ndrop table b;\nvacuum;";
    Case::of(Files::of("1_a 2_b 3_c").up("2_b", OUTSIDE).down("2_b", down), past)
}

#[test]
fn pending_migrations_are_applied_in_order() {
    check(&three(""), up(), &["up 1_a #1: 1_a.sql", "up 2_b #1: 2_b.sql", "up 3_c #1: 3_c.sql"]);
    check(&three("+1"), up(), &["up 2_b #1: 2_b.sql", "up 3_c #1: 3_c.sql"]);
    check(&three("+1 +2 +3"), up(), &[]);
    check(&Case::of(Files::default(), ""), up(), &[]);
    let spelled = Case::of(Files::of("10_c 9_b 20250921_171500_d 008_a"), "+8");
    let expected = [
        "up 9_b #1: 9_b.sql",
        "up 10_c #1: 10_c.sql",
        "up 20250921_171500_d #1: 20250921_171500_d.sql",
    ];
    check(&spelled, up(), &expected);
}

#[test]
fn a_failed_step_is_pending_again_with_the_same_ordinal() {
    check(&three("+1 +2!"), up_to("2"), &["up 2_b #1: 2_b.sql"]);
    check(&three("+1 -1!"), Goal::DownLast(1), &["down 1_a #2: 1_a_rollback.sql"]);
}

#[test]
fn applying_stops_at_the_version_asked_for() {
    check(&three(""), up_to("2"), &["up 1_a #1: 1_a.sql", "up 2_b #1: 2_b.sql"]);
    check(&three("+1"), up_to("002"), &["up 2_b #1: 2_b.sql"]);
    check(&three("+1 +2"), up_to("1"), &[]);
}

#[test]
fn a_pinned_order_is_the_order() {
    let pinned = |past| Case::of(Files::of("1_a 2_b 3_c").pinned("3\n1\n2\n"), past);
    check(&pinned(""), up_to("1"), &["up 3_c #1: 3_c.sql", "up 1_a #1: 1_a.sql"]);
    check(&pinned("+3"), up(), &["up 1_a #1: 1_a.sql", "up 2_b #1: 2_b.sql"]);
    check(&pinned("+1"), up(), &["no: 3_c: it is not applied, although the later 1_a is"]);
    check(
        &pinned("+3 +1 +2"),
        down_to("3"),
        &["down 2_b #2: 2_b_rollback.sql", "down 1_a #2: 1_a_rollback.sql"],
    );
}

#[test]
fn what_is_out_of_order_is_refused_unless_it_is_allowed_by_name() {
    let case = Case::of(Files::of("1_a 2_b 3_c 4_d"), "+1 +4");
    check(
        &case,
        up(),
        &[
            "no: 2_b: it is not applied, although the later 4_d is",
            "no: 3_c: it is not applied, although the later 4_d is",
        ],
    );
    check(
        &case,
        allowing(None, &["3"]),
        &["no: 2_b: it is not applied, although the later 4_d is"],
    );
    check(
        &case,
        allowing(None, &["003", "2"]),
        &[
            "up 2_b #1: 2_b.sql",
            "up 3_c #1: 3_c.sql",
            "note: 2_b: applied after the later 4_d, as allowed",
            "note: 3_c: applied after the later 4_d, as allowed",
        ],
    );
    let planned = case.plan(&allowing(None, &["2", "3"])).unwrap();
    assert_eq!(planned.plan.out_of_order, [v("2"), v("3")]);
}

#[test]
fn a_note_speaks_only_of_what_the_plan_does() {
    let case = Case::of(Files::of("1_a 2_b 3_c 4_d"), "+1 +4");
    check(
        &case,
        allowing(Some("2"), &["2", "3"]),
        &["up 2_b #1: 2_b.sql", "note: 2_b: applied after the later 4_d, as allowed"],
    );
}

#[test]
fn a_changed_file_is_refused_and_a_reformatted_one_noted() {
    let changed = three("+1").now(|files| files.up("1_a", "create table t_a (id int);"));
    check(&changed, up(), &["no: 1_a: its SQL was changed after it was applied"]);
    let text = "-- a comment\ncreate   table t_a();\r\n";
    let reformatted = three("+1 +2").now(|files| files.up("1_a", text));
    check(
        &reformatted,
        up(),
        &[
            "up 3_c #1: 3_c.sql",
            "note: 1_a: formatted anew since it was applied; its SQL is the same",
        ],
    );
}

#[test]
fn an_applied_file_that_cannot_be_read_any_more_is_changed() {
    let broken = three("+1 +2 +3").now(|files| files.up("2_b", "creat table t_b ();"));
    check(&broken, up(), &["no: 2_b: its SQL was changed after it was applied"]);
}

#[test]
fn an_applied_file_that_is_gone_is_refused_in_both_directions() {
    let gone = three("+1 +2").now(|files| files.without("1_a"));
    check(&gone, up(), &["no: 1_a: it is applied, but its file is gone"]);
    check(&gone, Goal::DownLast(2), &["no: 1_a: it is applied, but its file is gone"]);
    check(&gone, down_to("0"), &["no: 1_a: it is applied, but its file is gone"]);
    check(&gone, Goal::DownLast(1), &["down 2_b #2: 2_b_rollback.sql"]);
    check(
        &gone,
        down_to("1"),
        &["no: version 1: there is no such migration (there are 2, 2 to 3)"],
    );
}

#[test]
fn an_unknown_version_is_refused_with_those_there_are() {
    let many = "(there are 3, 1 to 3)";
    let no = |version: &str, known: &str| {
        format!("no: version {version}: there is no such migration {known}")
    };
    check(&three("+1"), up_to("7"), &[&no("7", many)]);
    check(&three("+1"), down_to("7"), &[&no("7", many)]);
    check(&three("+1"), allowing(None, &["7"]), &[&no("7", many)]);
    check(&Case::of(Files::of("1_a"), ""), up_to("2"), &[&no("2", "(there are 1)")]);
    check(&Case::of(Files::default(), ""), up_to("2"), &[&no("2", "(there are none)")]);
}

#[test]
fn every_reason_is_collected() {
    let mut case = Case::of(Files::of("1_a 2_b 3_c 4_d 5_e 6_f"), "+1 +2 +4 +5?").now(|files| {
        let files = files.without("2_b").up("1_a", "drop table x;");
        files.up("5_e", "\\d a\n\\d b\n").down("6_f", "select 1;\n\\q\n")
    });
    case.ledger = vec![other_log()];
    check(
        &case,
        allowing(None, &["9"]),
        &[
            OTHER_LOG,
            "no: 5_e: its outcome is not known yet",
            "no: 1_a: its SQL was changed after it was applied",
            "no: 3_c: it is not applied, although the later 4_d is",
            "no: migrations/5_e.sql:1:1: \\d is a psql meta-command, not SQL; remove it",
            "no: rollbacks/6_f_rollback.sql:2:1: \\q is a psql meta-command, not SQL; remove it",
            "no: 2_b: it is applied, but its file is gone",
            "no: version 9: there is no such migration (there are 5, 1 to 6)",
        ],
    );
    let refusal = case.plan(&up()).unwrap_err();
    let joined: Vec<String> = refusal.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(refusal.to_string(), joined.join("; "));
}

const OTHER_LOG: &str = "no: event log: the target was migrated with log \"demo/staging\", \
     this log is \"demo/production\"";

fn other_log() -> LedgerMismatch {
    LedgerMismatch::OtherLog {
        ledger_origin: "demo/staging".into(),
        log_origin: "demo/production".into(),
    }
}

#[test]
fn a_ledger_that_disagrees_stops_every_direction() {
    let case = Case { ledger: vec![other_log()], ..three("+1 +2") };
    for goal in [up(), up_to("2"), down_to("1"), down_to("0"), Goal::DownLast(0)] {
        check(&case, goal, &[OTHER_LOG]);
    }
}

#[test]
fn a_step_in_doubt_stops_every_direction() {
    for case in [three("+1 +2 +3?"), three("+1 +2 +3 -3?")] {
        for goal in [up(), up_to("1"), down_to("1"), Goal::DownLast(0)] {
            check(&case, goal, &["no: 3_c: its outcome is not known yet"]);
        }
    }
}

#[test]
fn rolling_back_to_a_version_undoes_all_that_is_behind_it() {
    check(
        &three("+1 +2 +3"),
        down_to("1"),
        &["down 3_c #2: 3_c_rollback.sql", "down 2_b #2: 2_b_rollback.sql"],
    );
    check(&three("+1 +2 +3"), down_to("3"), &[]);
    let behind = three("+1 +3 +2");
    check(&behind, down_to("2"), &["down 3_c #2: 3_c_rollback.sql"]);
    check(
        &behind,
        down_to("1"),
        &["down 2_b #2: 2_b_rollback.sql", "down 3_c #2: 3_c_rollback.sql"],
    );
}

#[test]
fn rolling_back_to_zero_undoes_everything() {
    let all = [
        "down 3_c #2: 3_c_rollback.sql",
        "down 2_b #2: 2_b_rollback.sql",
        "down 1_a #2: 1_a_rollback.sql",
    ];
    check(&three("+1 +2 +3"), down_to("0"), &all);
    check(&three("+1 +2 +3"), down_to("000"), &all);
    check(&three(""), down_to("0"), &[]);
    let zero_is_a_version = Case::of(Files::of("0_zero 1_a"), "+0 +1");
    check(&zero_is_a_version, down_to("0"), &["down 1_a #2: 1_a_rollback.sql"]);
}

#[test]
fn the_last_ones_are_rolled_back_in_reverse_order_of_application() {
    let case = three("+1 +3 +2");
    check(&case, Goal::DownLast(0), &[]);
    check(&case, Goal::DownLast(1), &["down 2_b #2: 2_b_rollback.sql"]);
    check(
        &case,
        Goal::DownLast(2),
        &["down 2_b #2: 2_b_rollback.sql", "down 3_c #2: 3_c_rollback.sql"],
    );
    check(&three("+1 +2 -1 +1"), Goal::DownLast(1), &["down 1_a #4: 1_a_rollback.sql"]);
}

#[test]
fn what_is_not_applied_cannot_be_returned_to_or_rolled_back() {
    check(&three("+1"), down_to("2"), &["no: version 2: it is not applied"]);
    check(&three("+1 +2 -2"), down_to("2"), &["no: version 2: it is not applied"]);
    check(&three("+1 +2"), Goal::DownLast(3), &["no: cannot roll back the last 3: only 2 applied"]);
    let many = Goal::DownLast(u64::MAX);
    check(
        &three(""),
        many,
        &["no: cannot roll back the last 18446744073709551615: only 0 applied"],
    );
}

#[test]
fn each_migration_without_a_rollback_file_is_named() {
    let case = three("+1 +2 +3").now(|files| files.without_down("1_a").without_down("3_c"));
    check(
        &case,
        down_to("0"),
        &[
            "no: 3_c: there is no file to roll it back with",
            "no: 1_a: there is no file to roll it back with",
        ],
    );
    check(&three("").now(|files| files.without_down("1_a")), up_to("1"), &["up 1_a #1: 1_a.sql"]);
}

#[test]
fn a_rollback_that_is_not_the_one_that_was_applied_is_noted() {
    let changed = three("+1").now(|files| files.down("1_a", "drop table t_a cascade;"));
    check(
        &changed,
        Goal::DownLast(1),
        &[
            "down 1_a #2: 1_a_rollback.sql",
            "note: 1_a: its rollback was changed since it was applied",
        ],
    );
    let mut added = three("+1");
    added.then = added.then.without_down("1_a");
    check(
        &added,
        Goal::DownLast(1),
        &[
            "down 1_a #2: 1_a_rollback.sql",
            "note: 1_a: its rollback was added after it was applied",
        ],
    );
    let reformatted = three("+1").now(|files| files.down("1_a", "drop   table t_a ;"));
    check(&reformatted, Goal::DownLast(1), &["down 1_a #2: 1_a_rollback.sql"]);
}

#[test]
fn ordinals_count_every_change_of_a_version() {
    check(&three("+1 -1"), up_to("1"), &["up 1_a #3: 1_a.sql"]);
    check(&three("+1 -1 +1"), Goal::DownLast(1), &["down 1_a #4: 1_a_rollback.sql"]);
    check(&three("+1 -1 +1 -1"), up_to("2"), &["up 1_a #5: 1_a.sql", "up 2_b #1: 2_b.sql"]);
}

#[test]
fn a_run_that_is_one_transaction_takes_no_file_outside_of_one() {
    let at_once = |case: Case| Case { single_transaction: true, ..case };
    let refused = "no: 2_b: it cannot run in a transaction, and the whole run is to be one";
    check(&at_once(outside("+1")), up(), &[refused]);
    check(&at_once(outside("")), up_to("1"), &["up 1_a #1: 1_a.sql"]);
    assert!(at_once(outside("")).plan(&up_to("1")).unwrap().plan.single_transaction);
}

#[test]
fn a_half_done_step_is_continued_in_its_own_direction_only() {
    check(&outside("+1 +2~"), up_to("2"), &["up 2_b #1: 2_b.sql"]);
    check(&outside("+1 +2~"), Goal::DownLast(1), &["no: 2_b: it is applied half-way"]);
    check(&outside("+1 +2~"), down_to("0"), &["no: 2_b: it is applied half-way"]);
    check(&outside("+1 +2 -2~"), Goal::DownLast(1), &["down 2_b #2: 2_b_rollback.sql"]);
    check(&outside("+1 +2 -2~"), up(), &["no: 2_b: it is rolled back half-way"]);
    check(&outside("+1 +2~ +2"), Goal::DownLast(1), &["down 2_b #2: 2_b_rollback.sql"]);
    check(&outside("+1 +2 -2~ -2"), up_to("2"), &["up 2_b #3: 2_b.sql"]);
}

#[test]
fn a_half_done_step_whose_continuation_never_began_is_still_half_done() {
    check(&outside("+1 +2~ +2!"), Goal::DownLast(1), &["no: 2_b: it is applied half-way"]);
    check(&outside("+1 +2~ +2!"), up_to("2"), &["up 2_b #1: 2_b.sql"]);
}

#[test]
fn what_is_rolled_back_half_way_is_the_last_one_whenever_it_was_applied() {
    let down = "-- annals: transaction=off\ndrop table t_c;\nvacuum;";
    let case = Case::of(Files::of("1_a 2_b 3_c").down("3_c", down), "+1 +3 +2 -3~");
    check(&case, up(), &["no: 3_c: it is rolled back half-way"]);
    assert_eq!(case.reasons(&up())[0].hint(), "finish it with: annals rollback --last 1");
    check(&case, down_to("2"), &["down 3_c #2: 3_c_rollback.sql"]);
    check(&case, Goal::DownLast(1), &["down 3_c #2: 3_c_rollback.sql"]);
    let two = ["down 3_c #2: 3_c_rollback.sql", "down 2_b #2: 2_b_rollback.sql"];
    check(&case, Goal::DownLast(2), &two);
}

#[test]
fn what_is_applied_half_way_counts_as_newest() {
    let case = Case::of(Files::of("1_a 2_b 3_c").up("2_b", OUTSIDE), "+2~");
    let no = "no: 1_a: it is not applied, although the later 2_b (half done) is";
    check(&case, up(), &[no]);
    let allowed = Goal::Up { to: Some(v("2")), out_of_order: vec![v("1")] };
    let plan = rendered(case.plan(&allowed));
    assert!(plan.iter().any(|line| line.starts_with("up 1_a")), "{plan:?}");
    // It is continued although something later is applied, and nobody has to allow it twice.
    let files =
        Files::of("1_a 2_b 3_c").up("1_a", "-- annals: transaction=off\ncreate table t_a ();");
    check(&Case::of(files, "+2 +3 +1~"), up(), &["up 1_a #1: 1_a.sql"]);
}

#[test]
fn a_half_done_step_keeps_its_mode() {
    let up_now = outside("+1 +2~").now(|files| files.up("2_b", "create table b ();"));
    let no = "no: 2_b: some of its statements are done, one by one, and its file asks for one \
              transaction now";
    let back =
        "put `-- annals: transaction=off`, or the directives of its backfill, back at the top of";
    check(&up_now, up(), &[no]);
    let hint = up_now.reasons(&up())[0].hint();
    assert_eq!(hint, format!("{back} 2_b.sql"));
    let down_now = outside("+1 +2 -2~").now(|files| files.down("2_b", "drop table b;"));
    check(&down_now, Goal::DownLast(1), &[no]);
    let hint = down_now.reasons(&Goal::DownLast(1))[0].hint();
    assert_eq!(hint, format!("{back} 2_b_rollback.sql"));
    check(
        &outside("+1").now(|files| files.up("2_b", "select 1;")),
        up_to("2"),
        &["up 2_b #1: 2_b.sql"],
    );
}

#[test]
fn a_rollback_nobody_could_run_is_found_before_it_is_needed() {
    let broken = |past| three(past).now(|files| files.down("2_b", "\ndrop tabel t_b;"));
    for (case, goal) in [(broken("+1"), up()), (broken("+1 +2"), Goal::DownLast(1))] {
        let found = rendered(case.plan(&goal));
        let about = |line: &String| line.starts_with("no: rollbacks/2_b_rollback.sql:2:");
        assert!(!found.is_empty() && found.iter().all(about), "{found:?}");
    }
    check(&broken(""), up_to("1"), &["up 1_a #1: 1_a.sql"]);
}

#[test]
fn limits_come_from_the_file_and_otherwise_from_the_configuration() {
    let timeouts = |directive: &str| {
        let text = format!("{directive}\ncreate table t_a ();");
        let case = Case::of(Files::of("1_a").up("1_a", &text), "");
        let Timeouts { lock_ms, lock_outside_ms, statement_ms } =
            case.plan(&up()).unwrap().plan.steps[0].timeouts;
        (lock_ms, lock_outside_ms, statement_ms)
    };
    assert_eq!(timeouts("-- nothing asked"), (5_000, 0, 60_000));
    assert_eq!(timeouts("-- annals: lock_timeout=2s"), (2_000, 2_000, 60_000));
    assert_eq!(timeouts("-- annals: statement_timeout=5min"), (5_000, 0, 300_000));
    assert_eq!(timeouts("-- annals: lock_timeout=0, statement_timeout=0"), (0, 0, 0));
}

#[test]
fn a_step_carries_its_statements_mode_and_files() {
    let plan = outside("+1").plan(&up_to("2")).unwrap().plan;
    let [step] = plan.steps.as_slice() else { panic!("{plan:?}") };
    let statements: Vec<_> = step.statements.iter().map(|s| (s.line, s.sql.as_str())).collect();
    assert_eq!(statements, [(2, "create table b ();"), (3, "vacuum b;")]);
    let classes: Vec<_> = step.statements.iter().map(|s| s.class.clone()).collect();
    assert_eq!(classes, [StatementClass::Transactional, StatementClass::Repeatable]);
    assert_eq!(step.mode, StepMode::StatementByStatement);
    assert_eq!(step.file.raw, Digest::of(OUTSIDE.as_bytes()));
    let rollback = step.rollback.as_ref().map(|file| file.name.as_str());
    assert_eq!(rollback, Some("2_b_rollback.sql"));
    let back = outside("+1 +2").plan(&Goal::DownLast(1)).unwrap().plan;
    assert_eq!((back.direction, &back.steps[0].rollback), (Direction::Down, &None));
}

#[test]
fn a_reason_says_what_to_do() {
    let hint = |case: &Case, goal: &Goal| case.reasons(goal)[0].hint();
    let out_of_order = hint(&three("+1 +3"), &up());
    assert!(out_of_order.ends_with("--allow-out-of-order 2"), "{out_of_order}");
    assert_eq!(hint(&outside("+2~"), &down_to("0")), "finish it with: annals migrate");
    let without = three("+1").now(|files| files.without_down("1_a"));
    assert_eq!(hint(&without, &Goal::DownLast(1)), "write rollbacks/1_a_rollback.sql");
}

#[test]
fn the_same_input_gives_the_same_plan() {
    let case = outside("+1");
    let (first, second) = (case.plan(&up()).unwrap(), case.clone().plan(&up()).unwrap());
    assert_eq!(first, second);
    assert_eq!(first.plan.hash(), second.plan.hash());
    assert_eq!(first.plan.to_canonical_json(), second.plan.to_canonical_json());
}

#[test]
fn every_part_of_the_input_reaches_the_hash() {
    let case = || three("+1");
    let timeouts = Timeouts { lock_ms: 1, ..case().timeouts };
    let precondition = Precondition { log_size: 8, ..case().precondition };
    let others = [
        case().now(|files| files.up("2_b", "create table t_b (id int);")),
        case().now(|files| files.down("2_b", "drop table if exists t_b;")),
        case().now(|files| files.up("2_b", "create table t_b (); ")),
        case().now(|files| files.pinned("1\n3\n2\n")),
        case().now(|files| files.without("3_c")),
        three(""),
        three("+1 +2 -2"),
        Case { timeouts, ..case() },
        Case { precondition, ..case() },
    ];
    let hashes: std::collections::BTreeSet<Digest> = others.iter().map(Case::hash).collect();
    assert_eq!(hashes.len(), others.len());
    assert!(!hashes.contains(&case().hash()));
}
