//! What cannot be seen or would take too long is not checked, and says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use annals_events::CheckLevel::{Full, Quick, Standard};
use annals_postgres::{CheckLimits, CheckReport, ConnectionSpec, SessionSettings, Why};

use crate::ground::{Asked, Ground};

/// The kinds of reasons, by check.
fn reasons(report: &CheckReport) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut reasons: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    for unmade in &report.unmade {
        reasons.entry(unmade.check).or_default().push(unmade.why.kind());
    }
    reasons
}

#[test]
fn what_a_role_may_not_see_is_not_checked() {
    let ground = Ground::new();
    ground.sql(
        "sound",
        "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA app TO reader; \
        GRANT SELECT ON app.guarded, app.part, app.part_1 TO reader",
    );
    let asked = Asked { role: Some("reader"), ..Asked::at(Full) };
    let report = ground.check("sound", &asked);
    assert_eq!(report.seen, []);
    let why = |check: &str, subject: &str| {
        let unmade = report.unmade.iter().find(|u| u.check == check && u.subject == subject);
        unmade.map(|unmade| unmade.why.clone())
    };
    let denied = |why: Option<Why>| matches!(why, Some(Why::Privilege(_)));
    assert!(denied(why("data.check", "table app.child")), "{:?}", report.unmade);
    assert!(denied(why("data.foreign_key", "constraint app.child.child_parent_fkey")));
    assert!(denied(why("data.unique", "index app.child_pkey")));
    assert!(denied(why("data.sequence_behind", "sequence app.parent_id_seq")));
    assert!(denied(why("sequence.exhausted", "sequence app.parent_id_seq")));
    assert!(denied(why("index.corrupt", "extension amcheck")));
    assert_eq!(why("data.not_null", "table app.guarded"), Some(Why::RowSecurity));
    // What it may read is checked.
    assert_eq!(why("data.not_null", "table app.part_1"), None);
    assert!(report.contents.iter().any(|content| content.table == "app.part_1"));
    assert!(!report.contents.iter().any(|content| content.table == "app.guarded"));
    // The catalog is everybody's.
    let quick = Asked { role: Some("reader"), ..Asked::at(Quick) };
    let report = ground.check("sound", &quick);
    assert_eq!(reasons(&report).into_keys().collect::<Vec<_>>(), ["sequence.exhausted"]);
}

#[test]
fn without_amcheck_files_are_not_checked() {
    let ground = Ground::new();
    ground.copy("bare");
    ground.sql("bare", "DROP EXTENSION amcheck");
    let report = ground.check("bare", &Asked::at(Full));
    let heap = if ground.major() < 14 { "version" } else { "extension" };
    let expected =
        BTreeMap::from([("data.heap", vec![heap]), ("index.corrupt", vec!["extension"])]);
    assert_eq!(reasons(&report), expected);
    assert_eq!(report.seen, []);
}

/// Checks while another session holds locks.
fn check_held(ground: &Ground, sql: &str, asked: &Asked) -> CheckReport {
    let spec = ConnectionSpec::from_url(&ground.url("sound")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = SessionSettings::default();
    let mut session = runtime.block_on(spec.connect("holder", &settings)).unwrap();
    runtime.block_on(session.run(&format!("BEGIN; {sql}"))).unwrap();
    let report = ground.check("sound", asked);
    runtime.block_on(session.close());
    report
}

#[test]
fn reading_takes_no_lock_that_keeps_anybody_waiting() {
    let ground = Ground::new();
    let asked = Asked { lock_timeout_ms: 200, ..Asked::at(Full) };
    // EXCLUSIVE goes with ACCESS SHARE and with nothing stronger.
    let all = "LOCK TABLE app.parent, app.child, app.part, app.part_1, app.part_2, app.guarded, \
               app.\"odd \"\"name\" IN EXCLUSIVE MODE";
    let report = check_held(&ground, all, &asked);
    assert_eq!(report.seen, []);
    let major = ground.major();
    assert_eq!(report.unmade.len(), usize::from(major < 14), "{:?}", report.unmade);
    // Whoever rewrites a table is waited for, but not for long.
    let report = check_held(&ground, "LOCK TABLE app.child IN ACCESS EXCLUSIVE MODE", &asked);
    assert_eq!(report.seen, []);
    let reasons = reasons(&report);
    assert_eq!(reasons["data.foreign_key"], ["locked"]);
    assert_eq!(reasons["data.check"], ["locked"]);
}

#[test]
fn what_the_time_did_not_suffice_for_says_how_far_it_came() {
    let ground = Ground::new();
    ground.copy("large");
    ground.sql(
        "large",
        "CREATE FUNCTION app.slow(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS \
        $$ BEGIN PERFORM pg_sleep(0.01); RETURN true; END $$; \
        CREATE TABLE app.many (id int PRIMARY KEY); \
        INSERT INTO app.many SELECT generate_series(1, 2000); \
        ALTER TABLE app.many ADD CONSTRAINT slow CHECK (app.slow(id)) NOT VALID",
    );
    let asked = Asked {
        budget: Some(Duration::from_secs(4)),
        limits: CheckLimits { part_blocks: 1, ..CheckLimits::default() },
        ..Asked::at(Standard)
    };
    let began = Instant::now();
    let report = ground.check("large", &asked);
    assert!(began.elapsed() < Duration::from_secs(8));
    let unmade = report.unmade.iter().find(|u| u.check == "data.unvalidated_check").unwrap();
    let Why::TimeBudget(text) = &unmade.why else { panic!("{unmade:?}") };
    assert_eq!(unmade.subject, "table app.many");
    assert!(text.contains("rows were looked at, ") && text.contains("cut off"), "{text}");
    if ground.major() >= 14 {
        // 9 blocks, of which one takes two seconds.
        assert!(text.contains("rows were looked at, 11 % of the table"), "{text}");
    }
    // Nothing at all is said to be done without time.
    let none = Asked { budget: Some(Duration::ZERO), ..Asked::at(Quick) };
    let report = ground.check("large", &none);
    assert!(report.unmade.iter().all(|unmade| unmade.why.kind() == "time_budget"));
    assert!(report.unmade.len() >= 30, "{}", report.unmade.len());
}
