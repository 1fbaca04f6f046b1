//! The oracle can fail: for each invariant something is broken behind annals' back, and it is found.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use annals_faults::drive::{finish, somebody};
use annals_faults::kept;
use annals_faults::migrations::DATA_CANARY;
use annals_faults::oracle::{Invariant, judge};
use annals_faults::scene::{Scene, Stage};
use annals_testkit::{Server, wait_for};

/// Something broken: what it is, what breaks, how, and what undoes it in the server.
struct Planted {
    name: &'static str,
    breaks: Invariant,
    plant: fn(&mut Scene<'_>),
    undo: &'static str,
}

const fn plant(
    name: &'static str,
    breaks: Invariant,
    plant: fn(&mut Scene<'_>),
    undo: &'static str,
) -> Planted {
    Planted { name, breaks, plant, undo }
}

/// Migrates, breaks something, and wants the oracle to name the invariant.
fn all_found(planted: &[Planted]) {
    let mut stage = Stage::new();
    for planted in planted {
        let mut scene = Scene::new(&mut stage);
        scene.must("migrate --json", 0);
        (planted.plant)(&mut scene);
        let found = judge(&mut scene);
        if !planted.undo.is_empty() {
            scene.sql(planted.undo);
        }
        let named = found.iter().any(|violation| violation.invariant == planted.breaks);
        let name = planted.name;
        assert!(named, "{name}: {} does not stand in {found:?}", planted.breaks);
    }
}

#[test]
fn nothing_is_found_where_nothing_is_broken() {
    let mut stage = Stage::new();
    let mut scene = Scene::new(&mut stage);
    scene.must("migrate --json", 0);
    finish(&mut scene, "migrate --json", "status");
    let found = judge(&mut scene);
    assert_eq!(found, []);
    assert!(!scene.copies.is_empty() && !scene.said.is_empty());
}

#[test]
fn effects_that_ledger_and_log_do_not_know_are_found() {
    all_found(&[
        plant(
            "a ledger row deleted",
            Invariant::Once,
            |s| s.sql("DELETE FROM annals.ledger WHERE version = '3'"),
            "",
        ),
        plant(
            "an effect doubled",
            Invariant::Once,
            |s| s.sql("INSERT INTO harness.effects (what, pid) VALUES ('up 4', 0)"),
            "",
        ),
        plant(
            "an effect gone",
            Invariant::Once,
            |s| s.sql("DELETE FROM harness.effects WHERE what = 'up 9'"),
            "",
        ),
        plant(
            "a row of a batch met twice",
            Invariant::Once,
            |s| s.sql("INSERT INTO harness.batches VALUES ('up 15', 7)"),
            "",
        ),
        plant(
            "a ledger row that names another intent",
            Invariant::NoOrphan,
            |s| s.sql("UPDATE annals.ledger SET intent_seq = 0 WHERE version = '5'"),
            "",
        ),
        plant(
            "a statement nobody announced",
            Invariant::NoOrphan,
            |s| {
                s.sql(
                    "UPDATE annals.statements SET sql_sha256 = repeat('0', 64) WHERE statement = 1",
                )
            },
            "",
        ),
        plant(
            "an effect before its intent",
            Invariant::NoOrphan,
            |s| {
                s.must("rollback --to 13 --json", 0);
                s.sql("INSERT INTO harness.effects (what, pid) VALUES ('down 13', 0)");
                s.run("status");
            },
            "",
        ),
    ]);
}

#[test]
fn lies_are_found() {
    all_found(&[
        plant(
            "done, and absent",
            Invariant::NoLie,
            |s| s.said[0].after.retain(|effect| effect != "up 2"),
            "",
        ),
        plant(
            "failed, and there",
            Invariant::NoLie,
            |s| {
                let out = &mut s.said[0].outcome.out;
                let mut document: serde_json::Value = serde_json::from_str(out).unwrap();
                document["run"]["outcome"] = "failed".into();
                document["run"]["steps_done"] = 3.into();
                document["run"]["failure"] = serde_json::json!({"effect": "none", "message": ""});
                *out = document.to_string();
            },
            "",
        ),
        plant(
            "refused, and done",
            Invariant::NoLie,
            |s| {
                s.said[0].outcome.out.clear();
                s.said[0].outcome.code = 3;
            },
            "",
        ),
    ]);
}

#[test]
fn a_log_that_is_not_what_readers_saw_is_found() {
    all_found(&[
        plant(
            "an event changed",
            Invariant::LogWhole,
            |s| {
                let mut log = s.log();
                let at = log.len() / 2;
                log[at] ^= 1;
                fs::write(s.segment(), log).unwrap();
            },
            "",
        ),
        plant(
            "the last event lost",
            Invariant::LogWhole,
            |s| {
                let log = s.log();
                let last = log[..log.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap();
                fs::write(s.segment(), &log[..=last]).unwrap();
            },
            "",
        ),
        plant(
            "a log that does not verify",
            Invariant::Recoverable,
            |s| {
                let log = s.log();
                fs::write(s.segment(), &log[..log.len() / 2]).unwrap();
                finish(s, "migrate --json", "status");
            },
            "",
        ),
    ]);
}

/// Waits until the application has written a few rows.
fn some_rows(scene: &Scene<'_>) {
    let count = "SELECT count(*) FROM app.orders WHERE writer = 1";
    wait_for("rows of the application", || {
        (scene.rows(count)[0].parse::<u32>().unwrap() > 3).then_some(())
    });
}

#[test]
fn rows_of_the_application_that_are_lost_or_too_many_are_found() {
    all_found(&[
        plant(
            "an acknowledged row lost",
            Invariant::UserRows,
            |s| {
                some_rows(s);
                s.sql("DELETE FROM app.orders WHERE writer = 1 AND n = 2");
            },
            "",
        ),
        plant(
            "a row from before lost",
            Invariant::UserRows,
            |s| s.sql("DELETE FROM app.items WHERE writer = 0 AND n = 7"),
            "",
        ),
        plant(
            "a row doubled",
            Invariant::UserRows,
            |s| {
                some_rows(s);
                s.sql("INSERT INTO app.orders (writer, n) VALUES (1, 1)");
            },
            "",
        ),
        plant(
            "a row nobody sent",
            Invariant::UserRows,
            |s| s.sql("INSERT INTO app.items (writer, n) VALUES (2, 1000000)"),
            "",
        ),
    ]);
}

#[test]
fn what_cannot_be_recovered_is_found() {
    all_found(&[
        plant(
            "a target that refuses",
            Invariant::Recoverable,
            |s| {
                s.sql("DELETE FROM annals.ledger WHERE version = '3'");
                finish(s, "migrate --json", "status");
            },
            "",
        ),
        plant(
            "a target that is not where it was to be",
            Invariant::Recoverable,
            |s| {
                s.sql("DELETE FROM harness.effects WHERE what = 'up 3'");
                finish(s, "migrate --json", "verify");
            },
            "",
        ),
    ]);
}

#[test]
fn an_application_that_waits_too_long_is_found() {
    all_found(&[plant(
        "a table locked",
        Invariant::NoPileUp,
        |s| {
            s.wait_bound_ms = 100;
            let holder = somebody(s, "LOCK TABLE app.orders IN ACCESS EXCLUSIVE MODE");
            // The server writes a wait down when it looks for deadlocks.
            let waits = "still waiting for RowExclusiveLock";
            wait_for("a wait in the server's log", || {
                s.server_says().contains(waits).then_some(())
            });
            drop(holder);
        },
        "",
    )]);
}

#[test]
fn a_step_without_the_lock_is_found() {
    all_found(&[
        plant("no lock", Invariant::OneAtATime, |s| s.sql("SELECT harness.effect('up 1')"), ""),
        plant(
            "another lock",
            Invariant::OneAtATime,
            |s| s.sql("SELECT pg_advisory_lock(5); SELECT harness.effect('up 1')"),
            "",
        ),
    ]);
}

#[test]
fn secrets_are_found() {
    all_found(&[
        plant(
            "a password printed",
            Invariant::NoSecret,
            |s| s.said[0].outcome.err.push_str(Server::PASSWORD),
            "",
        ),
        plant(
            "a row's value in the log's folder",
            Invariant::NoSecret,
            |s| fs::write(s.store().join("db/note"), format!("x{DATA_CANARY}y")).unwrap(),
            "",
        ),
        plant(
            "a password as an argument",
            Invariant::NoSecret,
            |s| s.argv.push(s.url().into_bytes()),
            "",
        ),
    ]);
}

#[test]
fn what_is_left_in_the_server_is_found() {
    all_found(&[
        plant(
            "an INVALID index",
            Invariant::CleanSession,
            |s| {
                s.sql(
                    "UPDATE pg_index SET indisvalid = false \
                     WHERE indexrelid = 'app.orders_n'::regclass",
                );
            },
            "",
        ),
        plant(
            "a setting of the role",
            Invariant::CleanSession,
            |s| s.sql("ALTER ROLE deployer SET work_mem = '1MB'"),
            "ALTER ROLE deployer RESET work_mem",
        ),
    ]);
    // What lives only as long as a session is held while the oracle looks.
    let mut stage = Stage::new();
    for (held, name) in [
        ("SELECT pg_advisory_lock(5); COMMIT", "a lock is left"),
        ("SELECT 1", "a transaction is left"),
        ("SET application_name = 'annals/x'; COMMIT", "a session is left"),
    ] {
        let mut scene = Scene::new(&mut stage);
        let holder = somebody(&scene, held);
        let found = judge(&mut scene);
        drop(holder);
        let named = |what: &str| what.starts_with(name);
        assert!(
            found.iter().any(|v| v.invariant == Invariant::CleanSession && named(&v.what)),
            "{name} does not stand in {found:?}"
        );
    }
}

#[test]
fn a_backup_that_is_missing_or_damaged_is_seen() {
    let mut stage = Stage::new();
    let mut scene = Scene::new(&mut stage);
    kept::keeps_backups(&scene, 1_000);
    kept::is_kept(&scene, 1);
    assert_eq!(scene.seen.borrow().len(), 2, "{:?}", scene.seen.borrow());
    scene.seen.borrow_mut().clear();
    scene.must("migrate --to 1 --json", 0);
    kept::is_kept(&scene, 1);
    assert_eq!(scene.seen.borrow().len(), 0, "{:?}", scene.seen.borrow());
    let file = kept::sealed(&scene).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    kept::is_kept(&scene, 1);
    let seen = scene.seen.borrow();
    assert!(seen.iter().all(|v| v.invariant == Invariant::Backup) && seen.len() == 1, "{seen:?}");
}
