//! Alterations that are less skilful than the suite's: somebody with every right changes one table
//! and leaves the others as they were.

use annals_conformance::{Home, Log, fact};
use annals_event_store::{AppendError, EventStore, OpenError};
use annals_events::{LeafHash, Seq, seal};

use crate::home::{PgHome, bytea, chain_over, in_database};

fn class(error: &OpenError) -> &'static str {
    match error {
        OpenError::Read(_) => "missing",
        OpenError::Damaged { .. } => "damaged",
        OpenError::CutTail { .. } => "cut tail",
        OpenError::OtherHistory { .. } => "other history",
        OpenError::Older { .. } => "older",
        OpenError::Forked { .. } => "forked",
        _ => "another",
    }
}

/// A log of six events, four of them signed.
async fn log_of_six(home: &PgHome) -> Log<'_, PgHome> {
    let (log, mut store) = Log::create(home, "altered").await;
    log.must_append(&mut store, &[fact(1), fact(2), fact(3)]).await;
    log.publish(&mut store).await;
    log.must_append(&mut store, &[fact(4), fact(5)]).await;
    log
}

#[test]
fn an_alteration_of_one_table_alone_is_refused() {
    in_database(async |home: &PgHome| {
        let log = log_of_six(home).await;
        let lines = log.lines().await;
        let mut chain = chain_over(&lines);
        let mut seventh = Vec::new();
        let now = chain.recorded_at().unwrap();
        seal(&mut chain, log.origin(), &fact(6), now, &mut seventh).unwrap();
        seventh.pop();
        let mut other_last = lines[5].clone();
        let at = other_last.windows(8).position(|part| part == b"\"host\":\"").unwrap();
        other_last[at + 8] = b'i';
        let two_in_one = [&lines[2][..], b"\n", &lines[3][..]].concat();
        let set_line = |seq: usize, line: &[u8]| {
            format!("UPDATE annals.log_event SET line = {} WHERE seq = {seq}", bytea(line))
        };
        let altered = lines[2].iter().map(|b| if *b == b'h' { b'i' } else { *b });
        let altered: Vec<u8> = altered.collect();
        let other_leaf = bytea(LeafHash::of_line(&other_last).as_bytes());
        let insert = format!(
            "INSERT INTO annals.log_event VALUES ('{}', 6, gen_random_uuid(), {}, {})",
            log.origin(),
            bytea(&seventh),
            bytea(LeafHash::of_line(&seventh).as_bytes())
        );
        let cases = [
            ("a line", set_line(2, &altered), "damaged"),
            ("the last line", set_line(5, &other_last), "damaged"),
            (
                "the last line and its hash",
                format!(
                    "{}; UPDATE annals.log_event SET leaf = {other_leaf} WHERE seq = 5",
                    set_line(5, &other_last)
                ),
                "forked",
            ),
            (
                "two lines in one row",
                format!("DELETE FROM annals.log_event WHERE seq = 3; {}", set_line(2, &two_in_one)),
                "damaged",
            ),
            (
                "a line of a megabyte",
                format!(
                    "ALTER TABLE annals.log_event DROP CONSTRAINT log_event_line_check; {}",
                    "UPDATE annals.log_event SET line = decode(repeat('20', 1 << 20), 'hex') WHERE seq = 2"
                ),
                "damaged",
            ),
            (
                "a hash",
                "UPDATE annals.log_event SET leaf = sha256('x') WHERE seq = 2".into(),
                "damaged",
            ),
            (
                "an id",
                "UPDATE annals.log_event SET id = gen_random_uuid() WHERE seq = 2".into(),
                "damaged",
            ),
            ("a place", "UPDATE annals.log_event SET seq = 60 WHERE seq = 5".into(), "damaged"),
            ("a row in the middle", "DELETE FROM annals.log_event WHERE seq = 2".into(), "damaged"),
            ("the last row", "DELETE FROM annals.log_event WHERE seq = 5".into(), "older"),
            ("a signed tail", "DELETE FROM annals.log_event WHERE seq >= 3".into(), "cut tail"),
            ("every row", "DELETE FROM annals.log_event".into(), "damaged"),
            ("a row behind the head", insert, "damaged"),
            (
                "the head's tree",
                "UPDATE annals.log_head SET edge = decode(repeat('00', 64), 'hex')".into(),
                "damaged",
            ),
            ("a tree of another size", "UPDATE annals.log_head SET edge = ''".into(), "damaged"),
            ("the head's time", "UPDATE annals.log_head SET recorded_at = 1".into(), "damaged"),
            ("the head's hash", "UPDATE annals.log_head SET leaf = sha256('x')".into(), "forked"),
            ("a head further on", "UPDATE annals.log_head SET size = 7".into(), "older"),
            ("a head further back", "UPDATE annals.log_head SET size = 5".into(), "damaged"),
            ("no head", "DELETE FROM annals.log_head".into(), "missing"),
        ];
        let keep = "CREATE SCHEMA kept; CREATE TABLE kept.event AS TABLE annals.log_event; \
            CREATE TABLE kept.head AS TABLE annals.log_head";
        home.run(keep).await;
        let restore = "DELETE FROM annals.log_event; DELETE FROM annals.log_head; \
            INSERT INTO annals.log_head TABLE kept.head; \
            INSERT INTO annals.log_event TABLE kept.event";
        for (name, sql, expected) in cases {
            home.run_past_tripwires(&sql).await;
            let error = log.refused(name).await;
            assert_eq!(class(&error), expected, "{name}: {error}");
            home.run_past_tripwires(restore).await;
            drop(log.open().await.unwrap_or_else(|error| panic!("{name}, restored: {error}")));
        }
        log.goes_on().await;
    });
}

#[test]
fn an_alteration_under_an_open_store_stops_it() {
    in_database(async |home: &PgHome| {
        let log = log_of_six(home).await;
        let lines = log.lines().await;
        // The log is taken back to its signed part, as by a restored backup.
        let mut store = log.open().await.unwrap();
        home.replace_lines(log.origin(), &lines[..4]).await;
        let moved = log.append(&mut store, &[fact(6)]).await;
        assert!(matches!(moved, Err(AppendError::HeadMoved { found, .. }) if found.size == 4));
        let stopped = log.append(&mut store, &[fact(6)]).await;
        assert!(matches!(stopped, Err(AppendError::Stopped)), "{stopped:?}");
        assert_eq!(log.lines().await, &lines[..4]);

        // The head says another tree: what is appended on it could never be signed.
        home.replace_lines(log.origin(), &lines).await;
        let mut store = log.open().await.unwrap();
        let edge = "UPDATE annals.log_head SET edge = decode(repeat('00', 64), 'hex')";
        home.run_past_tripwires(edge).await;
        let rejected = log.append(&mut store, &[fact(6)]).await;
        assert!(matches!(rejected, Err(AppendError::Rejected(_))), "{rejected:?}");
        assert!(matches!(log.append(&mut store, &[fact(6)]).await, Err(AppendError::Stopped)));
        assert_eq!(log.lines().await, lines);

        // What is read is what was verified, or nothing.
        home.replace_lines(log.origin(), &lines).await;
        let mut store = log.open().await.unwrap();
        let altered = "UPDATE annals.log_event SET line = line || ' ' WHERE seq = 4";
        home.run_past_tripwires(altered).await;
        assert!(store.read(Seq(2), &mut |_, _| {}).await.is_err());
        home.replace_lines(log.origin(), &lines).await;
        assert!(store.read(Seq(2), &mut |_, _| {}).await.is_ok());
        log.goes_on().await;
    });
}

#[test]
fn events_of_others_that_forbid_to_go_on_stop_an_open_store() {
    in_database(async |home: &PgHome| {
        let (log, mut first) = Log::create(home, "others").await;
        let mut second = log.open().await.unwrap();
        let moved = annals_events::LogMoved { from: home.name().await, to: "elsewhere".into() };
        log.must_append(&mut first, &[annals_conformance::draft(moved)]).await;
        let late = log.append(&mut second, &[fact(1)]).await;
        assert!(matches!(late, Err(AppendError::HeadMoved { .. })), "{late:?}");
        let stopped = log.append(&mut second, &[fact(1)]).await;
        assert!(matches!(stopped, Err(AppendError::Stopped)), "{stopped:?}");
        assert!(matches!(log.refused("moved").await, OpenError::Moved { .. }));
        assert_eq!(log.verify().await.len(), 2);
    });
}
