//! Two runners at the same migration (X17, X21).

use std::sync::Barrier;

use annals_testkit::Server;

use crate::client::{Client, Trouble};

/// How often a race is run.
const ROUNDS: usize = 20;

/// Our way: the row first, and nothing else where it is already there. `true` when this runner's
/// attempt took effect.
fn row_first(client: &Client, version: usize) -> Result<bool, Trouble> {
    client.run("BEGIN")?;
    let row = format!("INSERT INTO ledger VALUES ({version}) ON CONFLICT DO NOTHING RETURNING 1");
    if client.run(&row)?.is_empty() {
        client.run("ROLLBACK")?;
        return Ok(false);
    }
    for statement in body(version) {
        client.run(&statement)?;
    }
    client.run("COMMIT")?;
    Ok(true)
}

/// The way of a runner that records afterwards: the SQL, then the row.
fn row_last(client: &Client, version: usize) -> Result<bool, Trouble> {
    client.run("BEGIN")?;
    for statement in body(version) {
        client.run(&statement)?;
    }
    client.run(&format!("INSERT INTO ledger VALUES ({version})"))?;
    client.run("COMMIT")?;
    Ok(true)
}

/// A migration that would take effect twice if it ran twice, behind a lock on the table.
fn body(version: usize) -> [String; 2] {
    [
        format!("ALTER TABLE work ADD COLUMN IF NOT EXISTS c{version} int"),
        format!("INSERT INTO effect VALUES ({version})"),
    ]
}

/// What the tables hold of a migration: rows of the ledger, effects.
fn held(client: &Client, version: usize) -> (String, String) {
    let count = |table: &str| {
        client.value(&format!("SELECT count(*) FROM {table} WHERE version = {version}"))
    };
    (count("ledger"), count("effect"))
}

fn server() -> (Server, [Client; 3]) {
    let server = Server::start();
    server.sql(
        "CREATE TABLE ledger (version int PRIMARY KEY); CREATE TABLE effect (version int); \
         CREATE TABLE work (id int)",
    );
    let clients = [(); 3].map(|()| Client::new(&server));
    for client in &clients {
        client.ok("SET deadlock_timeout = '20ms'");
    }
    (server, clients)
}

/// Does it again after a deadlock, as the error of a deadlock allows.
fn again_after_a_deadlock(
    client: &Client,
    mut attempt: impl FnMut() -> Result<bool, Trouble>,
) -> (Result<bool, Trouble>, usize) {
    let mut deadlocks = 0;
    loop {
        match attempt() {
            Err(trouble) if trouble.code() == "40P01" => deadlocks += 1,
            other => {
                // Behind a commit there is nothing to roll back, and a warning says so.
                client.ok("ROLLBACK");
                return (other, deadlocks);
            }
        }
        client.ok("ROLLBACK");
    }
}

/// X17: the second runner to insert the key of a step waits for the first, and then gets no row; if
/// the first rolls back, the step is the second's.
///
/// The key of the ledger, inserted before the SQL, is the fence behind the lock: even two runners
/// that both believe to hold the lock cannot both take effect.
#[test]
fn x17_the_second_to_insert_the_key_waits_and_then_loses() {
    let (_server, [first, second, seen]) = server();
    let insert = "INSERT INTO ledger VALUES (1) ON CONFLICT DO NOTHING RETURNING version";
    for (end, expected) in [("ROLLBACK", vec!["1"]), ("COMMIT", vec![])] {
        first.ok("BEGIN");
        assert_eq!(first.ok(insert), ["1"]);
        second.ok("BEGIN");
        let waiting = second.start(insert);
        seen.until_waiting(second.pid, "Lock:transactionid");
        first.ok(end);
        assert_eq!(waiting.ok(), expected, "after the first one's {end}");
        second.ok("ROLLBACK");
    }
    assert_eq!(seen.value("SELECT count(*) FROM ledger"), "1");
}

/// X17 as a race: twenty times two runners start together, and each time exactly one takes effect.
#[test]
fn x17_of_two_runners_that_start_together_exactly_one_takes_effect() {
    let (_server, [first, second, seen]) = server();
    for version in 0..ROUNDS {
        let start = Barrier::new(2);
        let run = |client: &Client| {
            start.wait();
            again_after_a_deadlock(client, || row_first(client, version))
        };
        let (ours, theirs) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| run(&second));
            (run(&first), theirs.join().unwrap())
        });
        let winners = [ours.0.unwrap(), theirs.0.unwrap()].into_iter().filter(|won| *won).count();
        assert_eq!(winners, 1, "round {version}");
        assert_eq!(ours.1 + theirs.1, 0, "the same order of locks never deadlocks");
        assert_eq!(held(&seen, version), ("1".into(), "1".into()), "round {version}");
    }
}

/// X21: a runner that writes its row first against one that writes it last, at the same migration:
/// one row and one effect each time, never two. Some races end with a deadlock, and its victim is
/// rolled back cleanly.
///
/// A row shared with a tool that records afterwards keeps both from applying a migration twice. A
/// deadlock (40P01) is retried from the first statement; the retry finds the row.
#[test]
fn x21_row_first_against_row_last_gives_one_row_and_one_effect() {
    let (_server, [ours, theirs, seen]) = server();
    for version in 0..ROUNDS {
        let start = Barrier::new(2);
        let (us, them) = std::thread::scope(|scope| {
            let them = scope.spawn(|| {
                start.wait();
                again_after_a_deadlock(&theirs, || row_last(&theirs, version))
            });
            start.wait();
            let us = again_after_a_deadlock(&ours, || row_first(&ours, version));
            (us, them.join().unwrap())
        });
        let (we_won, they_won) = (us.0.unwrap(), matches!(them.0, Ok(true)));
        assert!(we_won != they_won, "round {version}: {we_won} {they_won}");
        if let Err(trouble) = &them.0 {
            assert_eq!(trouble.code(), "23505", "the other's only way to lose: {trouble}");
        }
        assert_eq!(held(&seen, version), ("1".into(), "1".into()), "round {version}");
    }
}

/// X21, the deadlock itself: we hold the key and want the table, the other holds the table and wants
/// the key. Whoever is the victim, one row and one effect remain.
#[test]
fn x21_the_victim_of_the_deadlock_is_rolled_back_and_finds_the_row_when_it_tries_again() {
    let (_server, [ours, theirs, seen]) = server();
    // The first to look for a deadlock is its victim.
    ours.ok("SET deadlock_timeout = '10ms'");
    theirs.ok("SET deadlock_timeout = '10min'");
    let [change, effect] = body(1);
    theirs.ok("BEGIN");
    theirs.ok(&change);
    theirs.ok(&effect);
    ours.ok("BEGIN");
    ours.ok("INSERT INTO ledger VALUES (1)");
    let recording = theirs.start("INSERT INTO ledger VALUES (1)");
    seen.until_waiting(theirs.pid, "Lock:transactionid");
    ours.refused(&change, "40P01");
    ours.ok("ROLLBACK");
    recording.ok();
    theirs.ok("COMMIT");

    assert!(!row_first(&ours, 1).unwrap(), "already applied");
    assert_eq!(held(&seen, 1), ("1".into(), "1".into()));
}
