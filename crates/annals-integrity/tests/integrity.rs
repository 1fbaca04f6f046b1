//! What the verifiers of ledger, files and schema find, and that they find nothing where nothing
//! is wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, HashMap};
use std::fs;

use annals_events::{
    Actor, Chain, CheckLevel, CheckOutcome, Digest, Direction, Draft, Event, EventId,
    FORMAT_VERSION, FileRef, LeafHash, LogCreated, Origin, Recorded, RunId, StepMode, StepStarted,
    StepSucceeded, Timestamp, Version, seal,
};
use annals_integrity::{
    CheckFamily, CheckScope, Finding, LedgerMismatch, NotMade, Severity, check_files, check_ledger,
    check_schema, compare_files, compare_ledger, family_outcomes,
};
use annals_migrations::{LoadOptions, MigrationSet, load};
use annals_projections::{History, LedgerRow, replay};
use annals_schema::{Family, Object, ObjectKind, Snapshot, diff};
use uuid::Uuid;

const ORIGIN: &str = "demo/production";

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

/// A log in the making: `log_created`, then each step as a run of its own.
struct Log {
    origin: Origin,
    chain: Chain,
    events: Vec<Recorded>,
    bytes: Vec<u8>,
    ordinals: HashMap<Version, u64>,
    first_run: u128,
}

impl Log {
    fn named(origin: &str, first_run: u128) -> Self {
        let mut log = Self {
            origin: origin.parse().unwrap(),
            chain: Chain::default(),
            events: Vec::new(),
            bytes: Vec::new(),
            ordinals: HashMap::new(),
            first_run,
        };
        log.record(LogCreated {
            checkpoint_key: "demo+00000000+AQ==".into(),
            format: FORMAT_VERSION,
            target: "production".into(),
            workspace: "demo".into(),
        });
        log
    }

    /// `+1 +2 -2`: applied and rolled back, each with the digest of its name as its file.
    fn of(past: &str) -> Self {
        Self::named(ORIGIN, 100).after(past)
    }

    fn after(mut self, past: &str) -> Self {
        for word in past.split_whitespace() {
            let file = FileRef {
                canonical: Digest::of(word.as_bytes()),
                name: format!("{word}.sql"),
                raw: Digest::of(word.as_bytes()),
            };
            self.step(word, file);
        }
        self
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
        let sealed = seal(&mut self.chain, &self.origin, &draft, now, &mut self.bytes).unwrap();
        self.events.push(sealed);
    }

    fn step(&mut self, word: &str, file: FileRef) {
        let (sign, version) = word.split_at(1);
        let run = RunId(Uuid::from_u128(self.first_run + self.events.len() as u128));
        let ordinal = self.ordinals.entry(v(version)).or_default();
        *ordinal += 1;
        let started = StepStarted {
            direction: if sign == "+" { Direction::Up } else { Direction::Down },
            file,
            mode: StepMode::Transactional,
            name: format!("m{version}"),
            ordinal: *ordinal,
            rollback: None,
            run,
            statements: 1,
            step: 0,
            version: v(version),
        };
        self.record(started);
        self.record(StepSucceeded { duration_us: 1, run, step: 0, transaction: "742".into() });
    }

    fn history(&self) -> History {
        replay(&self.events)
    }

    /// The ledger of a target that was migrated with this log.
    fn rows(&self) -> Vec<LedgerRow> {
        let history = self.history();
        let row = |change: &annals_projections::Change| LedgerRow {
            version: change.version.clone(),
            ordinal: change.ordinal,
            direction: change.direction,
            name: change.name.clone(),
            file_raw: change.file.raw,
            run: change.key.run,
            step: change.key.step,
            log_origin: self.origin.to_string(),
            intent_seq: change.intent_seq.0,
            intent_hash: change.intent_hash,
            xid: "742".into(),
        };
        history.changes().iter().map(row).collect()
    }

    fn compare(&self, rows: &[LedgerRow]) -> Vec<LedgerMismatch> {
        compare_ledger(rows, &self.history(), ORIGIN, self.chain.size())
    }
}

#[test]
fn a_ledger_and_its_log_agree() {
    for past in ["", "+1", "+1 +2 +3", "+1 +2 -2 +2 -2", "+1 +3 +2 -3 -2 -1"] {
        let log = Log::of(past);
        assert_eq!(log.compare(&log.rows()), [], "{past}");
        let reversed: Vec<LedgerRow> = log.rows().into_iter().rev().collect();
        assert_eq!(log.compare(&reversed), [], "{past}");
    }
    assert_eq!(compare_ledger(&[], &History::default(), ORIGIN, 0), []);
}

type Edit = (&'static str, fn(&mut LedgerRow));

const EDITS: &[Edit] = &[
    ("direction", |row| row.direction = Direction::Down),
    ("name", |row| row.name.push('x')),
    ("file digest", |row| row.file_raw = Digest::of(b"another file")),
    ("run", |row| row.run = RunId(Uuid::from_u128(9))),
    ("step", |row| row.step += 1),
    ("intent", |row| row.intent_hash = LeafHash::of_line(b"another line")),
    ("intent seq", |row| row.intent_seq += 1),
];

#[test]
fn each_edited_column_is_named_with_both_values() {
    let log = Log::of("+1 +2 +3");
    for (column, edit) in EDITS {
        let mut rows = log.rows();
        edit(&mut rows[1]);
        let found = log.compare(&rows);
        let [LedgerMismatch::Different { version, ordinal, what, ledger, log }] = &*found else {
            panic!("{column}: {found:?}");
        };
        assert_eq!((version, *ordinal, what), (&v("2"), 1, column));
        assert_ne!(ledger, log, "{column}");
    }
}

#[test]
fn the_values_of_both_sides_are_given() {
    let log = Log::of("+1");
    let mut rows = log.rows();
    rows[0].file_raw = Digest::of(b"another file");
    let expected = LedgerMismatch::Different {
        version: v("1"),
        ordinal: 1,
        what: "file digest",
        ledger: Digest::of(b"another file").to_string(),
        log: Digest::of(b"+1").to_string(),
    };
    assert_eq!(log.compare(&rows), [expected]);
}

#[test]
fn a_deleted_row_is_missed_wherever_it_stood() {
    let log = Log::of("+1 +2 -2");
    for at in 0..3 {
        let mut rows = log.rows();
        rows.remove(at);
        let change = Box::new(log.history().changes()[at].clone());
        assert_eq!(log.compare(&rows), [LedgerMismatch::NotInLedger(change)]);
    }
    assert_eq!(log.compare(&[]).len(), 3);
}

#[test]
fn an_added_row_is_unknown_to_the_log() {
    let log = Log::of("+1 +2");
    let mut rows = log.rows();
    rows.push(LedgerRow { version: v("9"), ..rows[1].clone() });
    rows.push(LedgerRow { ordinal: 2, direction: Direction::Down, ..rows[0].clone() });
    let unknown = |at: usize| LedgerMismatch::NotInLog(Box::new(rows[at].clone()));
    assert_eq!(log.compare(&rows), [unknown(2), unknown(3)]);
}

#[test]
fn a_row_ahead_of_the_log_means_an_older_copy() {
    let (older, newer) = (Log::of("+1 +2"), Log::of("+1 +2 +3 -3"));
    let rows = newer.rows();
    let ahead = |at: usize| LedgerMismatch::OlderLog {
        ledger_seq: rows[at].intent_seq,
        ledger_hash: rows[at].intent_hash,
        log_size: older.events.len() as u64,
    };
    assert_eq!(older.compare(&rows), [ahead(2), ahead(3)]);
    assert_eq!(rows[2].intent_seq, older.events.len() as u64, "the very next place");
}

#[test]
fn a_log_of_the_same_length_with_other_rows_is_not_taken_for_this_one() {
    let (here, there) = (Log::of("+1 +2"), Log::named(ORIGIN, 500).after("+1 +3"));
    assert_eq!(here.events.len(), there.events.len());
    let rows = there.rows();
    let found = here.compare(&rows);
    let [first, unknown, missing] = &*found else { panic!("{found:?}") };
    assert!(matches!(first, LedgerMismatch::Different { what: "run", .. }), "{first:?}");
    assert_eq!(*unknown, LedgerMismatch::NotInLog(Box::new(rows[1].clone())));
    let change = Box::new(here.history().changes()[1].clone());
    assert_eq!(*missing, LedgerMismatch::NotInLedger(change));
}

fn other_log(ledger: &str) -> LedgerMismatch {
    LedgerMismatch::OtherLog { ledger_origin: ledger.into(), log_origin: ORIGIN.into() }
}

#[test]
fn a_row_of_another_log_is_named_as_that() {
    let (here, there) = (Log::of("+1"), Log::named("demo/staging", 500).after("+1 +2 +3"));
    let rows = [here.rows(), there.rows()[1..].to_vec()].concat();
    assert_eq!(here.compare(&rows), [other_log("demo/staging"), other_log("demo/staging")]);
}

#[test]
fn a_row_of_another_log_is_named_as_that_also_where_this_log_knows_the_change() {
    let (here, there) = (Log::of("+1"), Log::named("demo/staging", 500).after("+1"));
    assert_eq!(here.compare(&there.rows()), [other_log("demo/staging")]);
    let mut edited = here.rows();
    edited[0].log_origin = "demo/other".into();
    assert_eq!(here.compare(&edited), [other_log("demo/other")]);
}

#[test]
fn every_ledger_mismatch_is_an_error_of_the_history() {
    let log = Log::of("+1 +2");
    let rows = log.rows();
    let (change, row) = (Box::new(log.history().changes()[0].clone()), Box::new(rows[1].clone()));
    let different = LedgerMismatch::Different {
        version: v("1"),
        ordinal: 1,
        what: "name",
        ledger: "a".into(),
        log: "b".into(),
    };
    let older = LedgerMismatch::OlderLog {
        ledger_seq: 9,
        ledger_hash: LeafHash::of_line(b"x"),
        log_size: 5,
    };
    let mismatches = [
        LedgerMismatch::NotInLedger(change),
        LedgerMismatch::NotInLog(row),
        different,
        older,
        other_log("demo/staging"),
    ];
    let findings = check_ledger(&mismatches);
    let named: Vec<_> = findings.iter().map(|f| (f.id, f.subject.as_str())).collect();
    let expected = [
        ("ledger.diverged", "1_m1"),
        ("ledger.unknown_row", "2_m2"),
        ("ledger.different", "version 1"),
        ("log.older", "event log"),
        ("log.other", "event log"),
    ];
    assert_eq!(named, expected);
    assert_eq!(findings[2].evidence, "change 1: name is a in the ledger and b in the log");
    for finding in findings {
        assert_eq!((finding.family, finding.severity), (CheckFamily::History, Severity::Error));
        assert!(!finding.evidence.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
    }
}

/// Loads migrations of these ids, each with `select <id>;` unless its text is given.
fn files(ids: &str, texts: &[(&str, &str)], order: Option<&str>) -> MigrationSet {
    let folder = tempfile::tempdir().unwrap();
    let migrations = folder.path().join("migrations");
    fs::create_dir(&migrations).unwrap();
    fs::create_dir(folder.path().join("rollbacks")).unwrap();
    for id in ids.split_whitespace() {
        let given = texts.iter().find(|(given, _)| *given == id);
        let text = given.map_or_else(|| format!("select '{id}';"), |(_, text)| text.to_string());
        fs::write(migrations.join(format!("{id}.sql")), text).unwrap();
    }
    if let Some(order) = order {
        fs::write(migrations.join("order"), order).unwrap();
    }
    let options = LoadOptions {
        workspace: folder.path().to_owned(),
        migrations: "migrations".into(),
        rollbacks: "rollbacks".into(),
        require_rollback: false,
    };
    load(&options).unwrap()
}

/// The history in which `applied` were applied, in that order, as they are in `set`.
fn history_of(set: &MigrationSet, applied: &[&str]) -> History {
    let mut log = Log::of("");
    for version in applied {
        log.step(&format!("+{version}"), set.get(&v(version)).unwrap().up.reference());
    }
    log.history()
}

fn states(set: &MigrationSet, history: &History) -> Vec<String> {
    let statuses = compare_files(set, history);
    statuses.iter().map(|status| format!("{} {:?}", status.version, status.state)).collect()
}

#[test]
fn each_state_of_a_file_is_told() {
    let then = files("1_a 2_b 3_c 4_d 6_f", &[], None);
    let history = history_of(&then, &["1", "2", "3", "4", "6"]);
    let texts =
        [("2_b", "-- new\nselect   '2_b' ;\r\n"), ("3_c", "select 'x';"), ("6_f", "select '6_f';")];
    let now = files("1_a 2_b 3_c 5_e 6_f 7_g 8_h", &texts, None);
    let expected = [
        "1 Applied",
        "2 Reformatted",
        "3 Changed",
        "5 OutOfOrder",
        "6 Applied",
        "7 Pending",
        "8 Pending",
        "4 Missing",
    ];
    assert_eq!(states(&now, &history), expected);
}

#[test]
fn a_status_carries_the_file_and_the_change() {
    let then = files("1_a 2_b", &[], None);
    let history = history_of(&then, &["1", "2"]);
    let now = files("1_a 3_c", &[], None);
    let statuses = compare_files(&now, &history);
    let parts: Vec<_> =
        statuses.iter().map(|s| (s.name, s.migration.is_some(), s.applied.is_some())).collect();
    // The history calls the second one m2, and no file says otherwise any more.
    assert_eq!(parts, [("a", true, true), ("c", true, false), ("m2", false, true)]);
}

#[test]
fn nothing_applied_means_everything_is_pending() {
    let set = files("1_a 2_b", &[], None);
    assert_eq!(states(&set, &History::default()), ["1 Pending", "2 Pending"]);
    assert!(compare_files(&MigrationSet::default(), &History::default()).is_empty());
}

#[test]
fn what_was_rolled_back_is_pending_again_or_out_of_order() {
    let set = files("1_a 2_b 3_c", &[], None);
    let mut log = Log::of("");
    for word in ["+1", "+2", "+3", "-2", "-3"] {
        log.step(word, set.get(&v(&word[1..])).unwrap().up.reference());
    }
    assert_eq!(states(&set, &log.history()), ["1 Applied", "2 Pending", "3 Pending"]);
    log.step("+3", set.get(&v("3")).unwrap().up.reference());
    assert_eq!(states(&set, &log.history()), ["1 Applied", "2 OutOfOrder", "3 Applied"]);
}

#[test]
fn out_of_order_goes_by_the_pinned_order() {
    let pinned = files("1_a 2_b 3_c", &[], Some("3\n1\n2\n"));
    let after = |applied| states(&pinned, &history_of(&pinned, applied));
    assert_eq!(after(&["3"]), ["3 Applied", "1 Pending", "2 Pending"]);
    assert_eq!(after(&["1"]), ["3 OutOfOrder", "1 Applied", "2 Pending"]);
    assert_eq!(after(&["2"]), ["3 OutOfOrder", "1 OutOfOrder", "2 Applied"]);
    assert_eq!(after(&["3", "2"]), ["3 Applied", "1 OutOfOrder", "2 Applied"]);
    assert_eq!(after(&["2", "3"]), ["3 Applied", "1 OutOfOrder", "2 Applied"]);
}

#[test]
fn a_version_spelled_otherwise_is_the_same_migration() {
    let then = files("1_a", &[], None);
    let now = files("001_a", &[("001_a", "select '1_a';")], None);
    assert_eq!(states(&now, &history_of(&then, &["1"])), ["001 Applied"]);
}

#[test]
fn what_is_wrong_with_files_is_found() {
    let then = files("1_a 2_b 3_c 5_e", &[], None);
    let history = history_of(&then, &["1", "2", "3", "5"]);
    let texts = [("1_a", "select '1_a'"), ("2_b", "select 'x';")];
    let now = files("1_a 2_b 4_d 5_e 6_f", &texts, None);
    let findings = check_files(&compare_files(&now, &history));
    let found: Vec<_> =
        findings.iter().map(|f| (f.id, f.severity, f.subject.as_str(), f.family)).collect();
    let family = CheckFamily::History;
    let expected = [
        ("file.reformatted", Severity::Warning, "1_a", family),
        ("file.changed", Severity::Error, "2_b", family),
        ("file.out_of_order", Severity::Warning, "4_d", family),
        ("file.missing", Severity::Error, "3_m3", family),
    ];
    assert_eq!(found, expected);
    assert!(findings[1].evidence.contains("1970-01-01 00:00:00Z"), "{}", findings[1].evidence);
    assert!(check_files(&compare_files(&then, &history)).is_empty());
}

/// Kind, name and attributes of an object.
type Drawn<'a> = (ObjectKind, &'a str, &'a [(&'a str, &'a str)]);

fn picture(objects: &[Drawn<'_>]) -> Snapshot {
    let attributes = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    Snapshot::new(
        15,
        objects.iter().map(|(kind, name, pairs)| Object {
            attributes: attributes(pairs),
            kind: *kind,
            name: name.to_string(),
        }),
    )
}

fn found(findings: &[Finding]) -> Vec<(&str, Severity, &str)> {
    findings.iter().map(|f| (f.id, f.severity, f.subject.as_str())).collect()
}

#[test]
fn every_difference_of_the_schema_is_an_error_of_its_family() {
    use ObjectKind::{Column, Grant, Index, Table};
    let before = picture(&[
        (Table, "public.gone", &[]),
        (Column, "public.a.id", &[("type", "integer"), ("default", "1")]),
        (Index, "public.i", &[]),
    ]);
    let long = "x".repeat(81);
    let after = picture(&[
        (Column, "public.a.id", &[("type", "bigint"), ("comment", &long)]),
        (Index, "public.i", &[]),
        (Grant, "public.a to bob", &[]),
    ]);
    let findings = check_schema(&diff(&before, &after));
    let expected = [
        ("schema.missing", Severity::Error, "table public.gone"),
        ("schema.changed", Severity::Error, "column public.a.id"),
        ("schema.unexpected", Severity::Error, "grant public.a to bob"),
    ];
    assert_eq!(found(&findings), expected);
    assert_eq!(findings[2].family, CheckFamily::Schema(Family::Permissions));
    let changes = format!(
        "comment was nothing, is \"{}\"…; default was \"1\", is nothing; \
         type was \"integer\", is \"bigint\"",
        "x".repeat(80)
    );
    assert_eq!(findings[1].evidence, changes);
    assert_eq!(check_schema(&diff(&after, &after)), []);
}

fn finding(family: CheckFamily, severity: Severity) -> Finding {
    let (subject, evidence, remedy) = (String::new(), String::new(), String::new());
    Finding { id: "x", family, severity, subject, evidence, remedy }
}

fn scope(level: CheckLevel, schema_compared: bool) -> CheckScope {
    CheckScope { level, families: CheckFamily::ALL.to_vec(), schema_compared }
}

#[test]
fn a_family_fails_on_errors_only_and_passes_only_when_it_was_checked() {
    use CheckOutcome::{Failed, NotChecked, Passed};
    let indexes = CheckFamily::Schema(Family::Indexes);
    let findings = [
        finding(indexes, Severity::Error),
        finding(CheckFamily::Schema(Family::Constraints), Severity::Warning),
        finding(CheckFamily::History, Severity::Note),
    ];
    let checked = family_outcomes(&findings, &[], &scope(CheckLevel::Standard, true));
    assert_eq!([checked.history, checked.indexes, checked.constraints], [Passed, Failed, Passed]);
    assert_eq!([checked.permissions, checked.table_structure], [Passed, Passed]);
    assert_eq!(checked.data_consistency, Passed);
    let unchecked = family_outcomes(&findings, &[], &scope(CheckLevel::Standard, false));
    assert_eq!([unchecked.history, unchecked.indexes], [Passed, Failed]);
    let rest = [unchecked.constraints, unchecked.permissions, unchecked.table_structure];
    assert_eq!(rest, [NotChecked; 3]);
    let error = [finding(CheckFamily::History, Severity::Error)];
    let history = family_outcomes(&error, &[], &scope(CheckLevel::Quick, false));
    assert_eq!(history.history, Failed);
}

#[test]
fn data_is_not_passed_without_reading_rows_and_no_family_with_something_not_made() {
    use CheckOutcome::{Failed, NotChecked, Passed};
    let quick = family_outcomes(&[], &[], &scope(CheckLevel::Quick, true));
    assert_eq!([quick.data_consistency, quick.indexes], [NotChecked, Passed]);
    let not_made = |family| NotMade {
        id: "x",
        family,
        subject: "table public.t".to_owned(),
        kind: "privilege",
        reason: "permission denied".to_owned(),
    };
    let cut = [not_made(CheckFamily::Data)];
    let full = scope(CheckLevel::Full, true);
    let checked = family_outcomes(&[], &cut, &full);
    assert_eq!([checked.data_consistency, checked.indexes], [NotChecked, Passed]);
    let error = [finding(CheckFamily::Data, Severity::Error)];
    assert_eq!(family_outcomes(&error, &cut, &full).data_consistency, Failed);
    let only = CheckScope { families: vec![CheckFamily::Data], ..full };
    let checked = family_outcomes(&[], &[], &only);
    assert_eq!([checked.data_consistency, checked.indexes], [Passed, NotChecked]);
}
