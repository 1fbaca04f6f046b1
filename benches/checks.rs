//! The data checks of `verify --full` against the same checks as SQL written by hand: a query for
//! each, on one connection. Prints ratios of wall time in one run, for one connection and for two;
//! judges nothing.
//!
//! `checks [--rows N] [--rounds N]`

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use annals_events::CheckLevel;
use annals_integrity::{Check, CheckFamily};
use annals_postgres::{
    CheckLimits, CheckOptions, CheckProgress, ConnectionSpec, Session, SessionSettings,
    check_integrity, check_names,
};
use annals_testkit::Server;

/// Two halves of equal size, so that two connections have something to share.
const HALVES: [&str; 2] = ["a", "b"];

/// As somebody writes them down: one query for each constraint and key, and one for the content.
const BY_HAND: &[&str] = &[
    "SELECT count(*) FROM child_x c WHERE parent IS NOT NULL \
     AND NOT EXISTS (SELECT FROM parent_x p WHERE p.id = c.parent)",
    "SELECT count(*) FROM child_x WHERE NOT (n >= 0)",
    "SELECT count(*) FROM child_x WHERE NOT (length(note) < 100)",
    "SELECT count(*) FROM child_x WHERE id IS NULL OR n IS NULL OR note IS NULL",
    "SELECT count(*) FROM child_x WHERE NOT (amount::int > 0)",
    "SELECT count(*) FROM (SELECT FROM child_x GROUP BY id HAVING count(*) > 1) q",
    "SELECT count(*) FROM (SELECT FROM child_x GROUP BY note HAVING count(*) > 1) q",
    "SELECT count(*) FROM (SELECT FROM parent_x GROUP BY id HAVING count(*) > 1) q",
    "SELECT count(*) FROM parent_x WHERE id IS NULL OR name IS NULL",
    "SELECT max(id) FROM child_x",
    "SELECT count(*), sum(hash_record_extended(t, 0)), sum(hash_record_extended(t, 1)) FROM child_x t",
    "SELECT count(*), sum(hash_record_extended(t, 0)), sum(hash_record_extended(t, 1)) FROM parent_x t",
];

const TABLES: &str = "CREATE TABLE parent_x (id int PRIMARY KEY, name text NOT NULL); \
    CREATE TABLE child_x (id bigserial PRIMARY KEY, parent int REFERENCES parent_x, \
        n int NOT NULL CHECK (n >= 0), note text NOT NULL UNIQUE CHECK (length(note) < 100), \
        amount positive, at timestamptz DEFAULT '2026-01-01'); \
    INSERT INTO parent_x SELECT i, 'parent ' || i FROM generate_series(1, {rows} / 10) i; \
    INSERT INTO child_x (parent, n, note, amount) SELECT 1 + i % ({rows} / 10), i, 'note ' || i, i \
        FROM generate_series(1, {rows}) i;";

struct Silent;

impl CheckProgress for Silent {
    fn advanced(&mut self, _: usize, _: usize, _: &str) {}
}

async fn connect(spec: &ConnectionSpec) -> Session {
    let session = spec.connect("bench", &SessionSettings::default()).await;
    session.unwrap_or_else(|error| panic!("{error}"))
}

async fn by_hand(spec: &ConnectionSpec) -> Duration {
    let mut session = connect(spec).await;
    // What is to be checked cannot be asked of the index that may be wrong.
    let past_indexes = "SET enable_indexscan = off; SET enable_indexonlyscan = off; \
                        SET enable_bitmapscan = off";
    session.run(past_indexes).await.unwrap_or_else(|fault| panic!("{fault}"));
    let clock = Instant::now();
    for half in HALVES {
        for query in BY_HAND {
            let query = query.replace("_x", &format!("_{half}"));
            session.run(&query).await.unwrap_or_else(|fault| panic!("{query}: {fault}"));
        }
    }
    let wall = clock.elapsed();
    session.close().await;
    wall
}

async fn by_annals(spec: &ConnectionSpec, jobs: usize) -> Duration {
    let names = check_names();
    let wanted = Check::all().filter(|check| {
        check.family == CheckFamily::Data
            && check.level != CheckLevel::Quick
            && names.contains(check.id)
            // By hand nobody looks at the files.
            && check.id != "data.heap"
    });
    let checks: BTreeSet<&'static str> = wanted.map(|check| check.id).collect();
    let options = CheckOptions {
        checks: &checks,
        excluded: &[],
        limits: CheckLimits::default(),
        lock_timeout_ms: 2_000,
        statement_timeout_ms: 0,
        budget: None,
    };
    let mut sessions = Vec::new();
    for _ in 0..jobs {
        sessions.push(connect(spec).await);
    }
    let clock = Instant::now();
    let report = check_integrity(sessions, &options, &mut Silent).await;
    let report = report.unwrap_or_else(|fault| panic!("{fault}"));
    let wall = clock.elapsed();
    assert!(report.seen.is_empty() && report.unmade.is_empty(), "{report:?}");
    assert_eq!(report.contents.len(), 4);
    wall
}

fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn main() {
    let (mut rows, mut rounds) = (400_000, 5);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse().ok()).expect("a number");
        match word.as_str() {
            "--rows" => rows = number(),
            "--rounds" => rounds = number(),
            // What cargo adds.
            "--bench" => {}
            other => panic!("{other} is not known"),
        }
    }
    let server = Server::start();
    server.sql("CREATE DOMAIN positive AS int CHECK (VALUE > 0)");
    for half in HALVES {
        server.sql(&TABLES.replace("{rows}", &rows.to_string()).replace("_x", &format!("_{half}")));
    }
    server.sql("VACUUM ANALYZE");
    let spec = ConnectionSpec::from_url(&server.url()).expect("a server's own URL");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (mut one, mut two, mut walls) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let hand = runtime.block_on(by_hand(&spec)).as_secs_f64();
        let single = runtime.block_on(by_annals(&spec, 1)).as_secs_f64();
        let double = runtime.block_on(by_annals(&spec, 2)).as_secs_f64();
        // The first round fills the caches.
        if round > 0 {
            one.push(single / hand);
            two.push(double / single);
            walls.push(hand);
        }
    }
    let (hand, ..) = median(&mut walls);
    let (ratio, low, high) = median(&mut one);
    println!(
        "{} rows, {rounds} rounds; by hand on one connection {hand:.2} s",
        2 * (rows + rows / 10)
    );
    println!("  annals on one connection / by hand        {ratio:.2} ({low:.2}–{high:.2})");
    let (ratio, low, high) = median(&mut two);
    println!("  annals on two connections / on one        {ratio:.2} ({low:.2}–{high:.2})");
}
