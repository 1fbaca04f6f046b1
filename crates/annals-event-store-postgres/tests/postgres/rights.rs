//! Who may do what, whatever client is used.

use annals_conformance::{Log, created, draft, fact};
use annals_events::{Chain, Event, LeafHash, Origin, Timestamp, UnknownEvent, seal};
use annals_keys::Checkpoint;

use crate::home::{PgHome, bytea, chain_over, in_database};

/// SQL that changes something, with the table or function it goes by.
const CHANGES: [&str; 12] = [
    "INSERT INTO annals.log_event VALUES ('a/b', 9, gen_random_uuid(), '{}', sha256(''))",
    "UPDATE annals.log_event SET line = line",
    "DELETE FROM annals.log_event",
    "TRUNCATE annals.log_event",
    "UPDATE annals.log_head SET size = size + 1",
    "DELETE FROM annals.log_head",
    "INSERT INTO annals.log_checkpoint VALUES ('a/b', 9, 9, '')",
    "DELETE FROM annals.log_checkpoint",
    "INSERT INTO annals.log_blob VALUES (sha256(''), '')",
    "UPDATE annals.log_store SET format = 9",
    "ALTER TABLE annals.log_event DISABLE TRIGGER ALL",
    "DROP SCHEMA annals CASCADE",
];

/// What the functions are called with.
const CALLS: [&str; 5] = [
    "SELECT annals.log_begin('a/b')",
    "SELECT annals.log_lock('a/b')",
    "SELECT annals.log_append('a/b', 0, '', ARRAY['{}'::bytea])",
    "SELECT annals.log_publish('a/b', 1, '')",
    "SELECT annals.log_put_blob(sha256('x'), 'x')",
];

const READS: [&str; 5] = [
    "TABLE annals.log_store",
    "TABLE annals.log_head",
    "TABLE annals.log_event",
    "TABLE annals.log_checkpoint",
    "TABLE annals.log_blob",
];

async fn denied(home: &PgHome, user: &str, sql: &str) {
    let refused = home.try_as(user, sql).await.expect_err(sql);
    assert!(refused.starts_with("42501"), "{user}: {sql}: {refused}");
}

#[test]
fn each_role_may_do_its_part_and_no_more() {
    in_database(async |home: &PgHome| {
        let (log, _) = Log::create(home, "rights").await;
        for sql in CHANGES {
            for user in ["app", "auditor", "stranger"] {
                denied(home, user, sql).await;
            }
        }
        for sql in CALLS {
            denied(home, "auditor", sql).await;
            denied(home, "stranger", sql).await;
        }
        for sql in READS {
            denied(home, "stranger", sql).await;
            for user in ["app", "auditor"] {
                home.try_as(user, sql).await.unwrap();
            }
        }
        // The parts the functions are made of are nobody's.
        for sql in ["SELECT annals.log_node('', '')", "SELECT annals.log_envelope('')"] {
            denied(home, "app", sql).await;
        }
        denied(home, "app", "SET ROLE annals_owner").await;
        let members = "SELECT count(*) FROM pg_auth_members WHERE roleid = 'annals_owner'::regrole";
        assert_eq!(home.value(members).await, "0");
        let logins = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'annals%' AND rolcanlogin";
        assert_eq!(home.value(logins).await, "0");
        log.goes_on().await;
    });
}

#[test]
fn even_a_superuser_trips_over_the_wires_first() {
    in_database(async |home: &PgHome| {
        let (log, _) = Log::create(home, "wires").await;
        for prefix in ["", "SET session_replication_role = replica; "] {
            for sql in [
                "UPDATE annals.log_event SET line = line",
                "DELETE FROM annals.log_event WHERE seq = 0",
                "TRUNCATE annals.log_event",
                "TRUNCATE annals.log_event, annals.log_head, annals.log_checkpoint",
                "UPDATE annals.log_head SET size = size",
                "UPDATE annals.log_head SET size = size - 1",
                "DELETE FROM annals.log_head",
                "UPDATE annals.log_checkpoint SET size = 1",
                "DELETE FROM annals.log_checkpoint",
                "TRUNCATE annals.log_blob",
            ] {
                let refused = home.try_as("postgres", &format!("{prefix}{sql}")).await;
                let refused = refused.expect_err(sql);
                assert!(refused.starts_with("AN007"), "{prefix}{sql}: {refused}");
            }
        }
        log.goes_on().await;
    });
}

/// A call of `log_append` behind `chain`.
fn append(origin: &Origin, chain: &Chain, lines: &[Vec<u8>]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| bytea(line)).collect();
    format!(
        "SELECT annals.log_append('{origin}', {}, {}, ARRAY[{}]::bytea[])",
        chain.size(),
        bytea(chain.last().as_bytes()),
        lines.join(", ")
    )
}

fn replaced(line: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(line).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn a_client_with_the_right_to_append_cannot_write_a_line_that_does_not_link() {
    in_database(async |home: &PgHome| {
        let (log, mut store) = Log::create(home, "links").await;
        log.must_append(&mut store, &[fact(1)]).await;
        drop(store);
        let origin = log.origin().clone();
        let before = log.lines().await;
        let chain = chain_over(&before);
        let clock = home.value("SELECT (extract(epoch FROM now()) * 1000000)::bigint").await;
        let clock = Timestamp::from_micros(clock.parse().unwrap());
        let line_at = |drafted: annals_events::Draft, at: Timestamp| {
            let mut line = Vec::new();
            seal(&mut chain.clone(), &origin, &drafted, at, &mut line).unwrap();
            line.pop();
            line
        };
        let good = line_at(fact(2), clock);
        let text = String::from_utf8(good.clone()).unwrap();
        let id = text.split("\"id\":\"").nth(1).unwrap()[..36].to_owned();
        let at = text.split("\"recorded_at\":\"").nth(1).unwrap()[..27].to_owned();
        let prev = chain.last().to_string();
        let second_beginning = line_at(created(log.key()), clock);
        let first_id = annals_events::decode(&before[1]).unwrap().id.to_string();
        let too_long = {
            let kind = "k".repeat(66_000);
            let unknown = UnknownEvent { kind: "k".into(), schema: 1, data: "{}".into() };
            let line = line_at(draft(Event::Unknown(unknown)), clock);
            replaced(&line, "\"kind\":\"k\"", &format!("\"kind\":\"{kind}\""))
        };
        let with = |from: &str, to: &str| vec![replaced(&good, from, to)];
        let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
            ("no line", vec![]),
            ("no JSON", vec![b"rubbish".to_vec()]),
            ("an array", vec![b"[]".to_vec()]),
            ("not UTF-8", vec![[&good[..30], &[0xff], &good[31..]].concat()]),
            ("NUL", with("\"host\":\"h\"", "\"host\":\"\0\"")),
            ("too long", vec![too_long]),
            ("a line feed behind it", vec![[&good[..], b"\n"].concat()]),
            ("another seq", with("\"seq\":2", "\"seq\":3")),
            ("a place taken", with("\"seq\":2", "\"seq\":1")),
            ("seq as text", with("\"seq\":2", "\"seq\":\"2\"")),
            ("seq with a fraction", with("\"seq\":2", "\"seq\":2.0")),
            ("another prev", with(&prev, &LeafHash::ZERO.to_string())),
            ("prev in capitals", with(&prev, &prev.to_uppercase())),
            ("another log", with("conformance/links", "conformance/other")),
            ("no id", with(&format!("\"id\":\"{id}\","), "")),
            ("an id in capitals", with(&id, &id.to_uppercase())),
            ("an id that is there", with(&id, &first_id)),
            ("a member twice", with("\"seq\":2", "\"seq\":2,\"seq\":2")),
            ("a member more", with("\"seq\":2", "\"seq\":2,\"sequel\":2")),
            ("a space", with("{\"actor\"", "{ \"actor\"")),
            ("an escape", with("\"id\":\"0", "\"id\":\"\\u0030")),
            ("another order", {
                let moved = format!(",\"incarnation\":0,\"id\":\"{id}\"");
                with(&format!(",\"id\":\"{id}\",\"incarnation\":0"), &moved)
            }),
            ("no moment", with(&at, &format!("{}-02-31T00:00:00.000000Z", &at[..4]))),
            ("a moment of another form", with(&at, &format!("{}+00:00", &at[..21]))),
            (
                "not later",
                vec![line_at(fact(2), clock).clone()]
                    .into_iter()
                    .map(|line| replaced(&line, &at, &chain.recorded_at().unwrap().to_string()))
                    .collect(),
            ),
            ("ahead of the clock", with(&at, "9999-12-31T23:59:59.999999Z")),
            ("a second beginning", vec![second_beginning]),
            ("the second one wrong", vec![good.clone(), good.clone()]),
        ];
        for (name, lines) in cases {
            let call = append(&origin, &chain, &lines);
            let refused = home.try_as("app", &call).await;
            assert!(refused.is_err(), "{name} was taken");
            assert_eq!(log.lines().await, before, "{name}");
        }
        // Another head than there is: whatever the line says.
        let mut behind = chain_over(&before[..1]);
        let call = append(&origin, &behind, std::slice::from_ref(&good));
        assert!(home.try_as("app", &call).await.unwrap_err().starts_with("AN001"));
        let mut line = Vec::new();
        seal(&mut behind, &origin, &fact(3), clock, &mut line).unwrap();
        line.pop();
        let call = append(&origin, &behind, &[line]);
        assert!(home.try_as("app", &call).await.unwrap_err().starts_with("AN001"));
        // The good one is good.
        home.try_as("app", &append(&origin, &chain, &[good])).await.unwrap();
        log.goes_on().await;
    });
}

#[test]
fn a_client_cannot_date_an_event_to_another_hour() {
    in_database(async |home: &PgHome| {
        let (log, _) = Log::create(home, "dates").await;
        // A log that has been quiet for a day.
        let day_ago = "UPDATE annals.log_head SET recorded_at = recorded_at - 86400000000";
        home.run_past_tripwires(day_ago).await;
        let origin = log.origin();
        let chain = chain_over(&log.lines().await);
        let now = chain.recorded_at().unwrap();
        // Sealed behind the same event, whatever its time.
        let quiet = Chain::resume(chain.tree().clone(), chain.last(), None, None);
        let line_at = |at: Timestamp| {
            let mut line = Vec::new();
            seal(&mut quiet.clone(), origin, &fact(1), at, &mut line).unwrap();
            line.pop();
            line
        };
        // A leap second: PostgreSQL takes it for the next minute, and no other reader takes it.
        let minute_ago = home.value("SELECT now() AT TIME ZONE 'UTC' - interval '1 minute'").await;
        let leap = format!("\"recorded_at\":\"{}:60.000000Z", minute_ago[..16].replace(' ', "T"));
        let line = replaced(&line_at(now), &format!("\"recorded_at\":\"{now}"), &leap);
        let refused = home.try_as("app", &append(origin, &chain, &[line])).await.unwrap_err();
        assert!(refused.contains("is not a moment"), "{refused}");
        for (shift_s, is_taken) in
            [(-3_600, false), (-70, false), (3_600, false), (10, false), (-2, true)]
        {
            let line = line_at(now.plus_micros(shift_s * 1_000_000));
            let taken = home.try_as("app", &append(origin, &chain, &[line])).await;
            assert_eq!(taken.is_ok(), is_taken, "{shift_s} s: {taken:?}");
        }
    });
}

#[test]
fn no_setting_of_a_session_bends_the_functions() {
    in_database(async |home: &PgHome| {
        let (log, _) = Log::create(home, "settings").await;
        let origin = log.origin();
        let before = log.lines().await;
        let chain = chain_over(&before);
        let mut line = Vec::new();
        let at = chain.recorded_at().unwrap().plus_micros(1);
        seal(&mut chain.clone(), origin, &fact(1), at, &mut line).unwrap();
        line.pop();
        let good = append(origin, &chain, std::slice::from_ref(&line));
        let bad = append(origin, &chain, &[replaced(&line, "\"seq\":1", "\"seq\":7")]);
        // Functions and tables of the client's own, which are found first were the path the caller's.
        home.run("CREATE SCHEMA hostile AUTHORIZATION app").await;
        let hostile = "SET standard_conforming_strings = off; SET bytea_output = 'escape'; \
            SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Pacific/Chatham'; \
            SET transform_null_equals = on; SET client_min_messages = error; \
            CREATE OR REPLACE FUNCTION hostile.sha256(bytea) RETURNS bytea LANGUAGE sql \
                AS 'SELECT decode(repeat(''00'', 32), ''hex'')'; \
            CREATE OR REPLACE FUNCTION hostile.octet_length(bytea) RETURNS int LANGUAGE sql \
                AS 'SELECT 9'; \
            CREATE TEMP TABLE log_head (origin text, size bigint, leaf bytea, edge bytea); \
            SET search_path = hostile, pg_temp, pg_catalog; ";
        let refused = home.try_as("app", &format!("{hostile}{bad}")).await.unwrap_err();
        assert!(refused.starts_with("AN002"), "{refused}");
        home.try_as("app", &format!("{hostile}{good}")).await.unwrap();
        assert_eq!(log.lines().await, [before, vec![line]].concat());
        log.goes_on().await;
    });
}

#[test]
fn a_note_must_name_the_log_its_size_and_its_root_and_never_an_older_size() {
    in_database(async |home: &PgHome| {
        let (log, mut store) = Log::create(home, "notes").await;
        log.must_append(&mut store, &[fact(1)]).await;
        let chain = chain_over(&log.lines().await);
        let good = Checkpoint { origin: log.origin().clone(), size: 2, root: chain.root() };
        let older = chain_over(&log.lines().await[..1]);
        let publish = |size: u64, note: &str| {
            let note = bytea(note.as_bytes());
            format!("SELECT annals.log_publish('{}', {size}, {note})", log.origin())
        };
        let other_origin = Checkpoint { origin: "x/y".parse().unwrap(), ..good.clone() };
        let beyond = Checkpoint { size: 3, ..good.clone() };
        let other_root = Checkpoint { root: older.root(), ..good.clone() };
        for (name, size, note) in [
            ("another log", 2, other_origin.sign(log.key())),
            ("beyond the head", 3, beyond.sign(log.key())),
            ("another size", 2, beyond.sign(log.key())),
            ("another root", 2, other_root.sign(log.key())),
            ("nothing", 2, String::new()),
            ("too long", 2, good.sign(log.key()) + &"x".repeat(70_000)),
        ] {
            let refused = home.try_as("app", &publish(size, &note)).await.unwrap_err();
            assert!(refused.starts_with("AN004"), "{name}: {refused}");
        }
        home.try_as("app", &publish(2, &good.sign(log.key()))).await.unwrap();
        let first = Checkpoint { size: 1, root: older.root(), ..good };
        let call = publish(1, &first.sign(log.key()));
        assert_eq!(home.value(&call).await, "(f,2)");
        log.goes_on().await;
    });
}

#[test]
fn a_log_without_events_or_checkpoint_never_becomes_visible() {
    in_database(async |home: &PgHome| {
        let begin = "SELECT annals.log_begin('a/b')";
        let refused = home.try_as("app", begin).await.unwrap_err();
        assert!(refused.starts_with("AN004"), "{refused}");
        for name in ["", "a", "A/b", "a//b", "a/b\n", "a/../ b", &"a/".repeat(150)] {
            let refused = home.try_as("app", &format!("SELECT annals.log_begin('{name}')")).await;
            assert!(refused.unwrap_err().starts_with("23514"), "{name:?}");
        }
        assert_eq!(home.value("SELECT count(*) FROM annals.log_head").await, "0");
        let blob = "SELECT annals.log_put_blob(sha256('x'), 'y')";
        assert!(home.try_as("app", blob).await.unwrap_err().starts_with("AN005"));
    });
}
