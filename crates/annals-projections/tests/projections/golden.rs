//! The same log gives the same bytes of state: on every machine, after every release.
//!
//! `ANNALS_UPDATE_GOLDEN=1` writes the files anew. A stored state may change only together with
//! `PROJECTION_VERSION`, which is part of the file's name.

use std::fmt::Write as _;
use std::path::PathBuf;

use annals_events::*;
use annals_projections::{
    History, MigrationHistoryExport, PROJECTION_VERSION, Projection, RecoveryLog,
    RecoveryLogExport, State, Timeline, replay,
};
use serde_json::json;

use crate::story::{seen, story};

/// Compares `actual` with the golden file of that name.
#[track_caller]
fn is_golden(name: &str, actual: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/replay");
    let path = PathBuf::from(folder).join(name);
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == actual, "{} is not what was folded now:\n{actual}", path.display());
}

fn stored(state: &State) -> String {
    String::from_utf8(state.to_stored().unwrap()).unwrap()
}

fn pretty<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

fn history_json(history: &History) -> String {
    let value = json!({ "changes": history.changes(), "failures": history.failures() });
    canonical_json(&value).unwrap()
}

#[test]
fn the_story_itself_stays_as_it_is() {
    is_golden("log.jsonl", std::str::from_utf8(&story().lines).unwrap());
}

#[test]
fn the_lists_of_migrations_the_story_names_stay_as_they_are() {
    for n in 3..=5 {
        let blob = seen(n).to_blob();
        let name = format!("blobs/sha256/{}", Digest::of(&blob));
        is_golden(&name, std::str::from_utf8(&blob).unwrap());
    }
}

#[test]
fn every_kind_of_event_is_part_of_the_story() {
    let events = story().events;
    let told = |kind: &&&str| events.iter().any(|recorded| recorded.event.kind() == **kind);
    let missing: Vec<_> = Event::KINDS.iter().filter(|kind| !told(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_state_of_the_story_stays_as_it_is() {
    let state: State = replay(&story().events);
    is_golden(&format!("state-{PROJECTION_VERSION}.json"), &(stored(&state) + "\n"));
}

#[test]
fn the_state_after_every_event_stays_as_it_is() {
    let (mut state, mut checks, mut text) =
        (State::default(), RecoveryLog::default(), String::new());
    for recorded in story().events {
        state.apply(&recorded);
        checks.apply(&recorded);
        let history = pretty(&MigrationHistoryExport::from(&state));
        let recovery = pretty(&RecoveryLogExport::from(&checks));
        let [state, history, recovery] =
            [stored(&state), history, recovery].map(|text| Digest::of(text.as_bytes()));
        writeln!(text, "{} {state} {history} {recovery}", recorded.seq).unwrap();
    }
    is_golden(&format!("states-{PROJECTION_VERSION}.txt"), &text);
}

#[test]
fn the_state_of_the_vector_with_every_kind_stays_as_it_is() {
    let bytes = include_bytes!("../../../../event-store/vectors/every-kind.jsonl");
    let scan = scan(&[Segment { first: Seq(0), bytes }], &[]);
    assert_eq!((scan.end.damage, scan.end.torn.len()), (None, 0));
    assert_eq!(scan.events.len(), Event::KINDS.len());
    let state: State = replay(&scan.events);
    is_golden(&format!("every-kind-state-{PROJECTION_VERSION}.json"), &(stored(&state) + "\n"));
    let history = history_json(&replay(&scan.events));
    is_golden("every-kind-history.json", &(history + "\n"));
}

#[test]
fn the_history_and_the_exports_of_the_story_stay_as_they_are() {
    let events = story().events;
    is_golden("history.json", &(history_json(&replay(&events)) + "\n"));
    let state: State = replay(&events);
    is_golden("migration_history.json", &pretty(&MigrationHistoryExport::from(&state)));
    let checks: RecoveryLog = replay(&events);
    is_golden("recovery_log.json", &pretty(&RecoveryLogExport::from(&checks)));
}

#[test]
fn the_timeline_of_the_story_stays_as_it_is() {
    let (mut timeline, mut text) = (Timeline::default(), String::new());
    for recorded in story().events {
        let entry = timeline.next(&recorded);
        let (seq, at, by) = (entry.seq, entry.at.to_human(), &entry.by);
        writeln!(text, "{seq:>3} {at} {by:<5} {:<5} {}", entry.tone.as_str(), entry.text).unwrap();
    }
    is_golden("timeline.txt", &text);
}

#[test]
fn of_nothing_the_exports_hold_null_in_their_fixed_shape() {
    let history = MigrationHistoryExport::from(&State::default());
    let expected = r#"{"executed":[],"last_migration":null,"last_execution":null,"last_rollback":null,"last_rollback_time":null}"#;
    assert_eq!(serde_json::to_string(&history).unwrap(), expected);
    let recovery = RecoveryLogExport::from(&RecoveryLog::default());
    let expected = r#"{"last_known_good_version":null,"last_emergency_rollback":{"timestamp":null,"target_version":null,"success":null},"integrity_checks":[]}"#;
    assert_eq!(serde_json::to_string(&recovery).unwrap(), expected);
}
