//! Waiting for a lock: the lock between runners, and locks on tables (X1, X2, X10).

use annals_testkit::Server;

use crate::client::Client;
use crate::indexes::is_valid;

/// X1: a runner that waits inside `pg_advisory_lock` deadlocks with the concurrent build of the
/// runner that holds it, and the index stays INVALID.
///
/// The wait is a statement, a statement has a snapshot, and the build waits for every older
/// snapshot. So runners never wait for their lock inside a statement.
#[test]
fn x01_waiting_inside_a_statement_for_the_lock_deadlocks_with_a_concurrent_build() {
    let server = Server::start();
    let (holder, waiter, seen) = (Client::new(&server), Client::new(&server), Client::new(&server));
    seen.ok("CREATE TABLE t (id int)");
    holder.ok("SELECT pg_advisory_lock(42)");
    // Either side may be the victim; here the one that builds is the first to look.
    holder.ok("SET deadlock_timeout = '10ms'");
    waiter.ok("SET deadlock_timeout = '10min'");
    let waiting = waiter.start("SELECT pg_advisory_lock(42)");
    seen.until_waiting(waiter.pid, "Lock:advisory");

    let said = holder.refused("CREATE INDEX CONCURRENTLY t_id ON t (id)", "40P01");
    assert_eq!(said, "deadlock detected");
    assert_eq!(is_valid(&seen, "t_id"), "false");
    assert_eq!(seen.sees_waiting(waiter.pid), "Lock:advisory", "the lock is still the holder's");

    holder.ok("SELECT pg_advisory_unlock(42)");
    waiting.ok();
}

/// X2: a runner that asks with `pg_try_advisory_lock` in autocommit, again and again, is in nobody's
/// way: the build succeeds, and the lock is his afterwards.
///
/// The lock is polled, in autocommit, on the session that will do the work.
#[test]
fn x02_polling_for_the_lock_lets_a_concurrent_build_succeed() {
    let server = Server::start();
    let (holder, poller, seen) = (Client::new(&server), Client::new(&server), Client::new(&server));
    let writer = Client::new(&server);
    seen.ok("CREATE TABLE t (id int)");
    holder.ok("SELECT pg_advisory_lock(42)");
    // The writer keeps the build going for as long as the test looks at it.
    writer.ok("BEGIN");
    writer.ok("INSERT INTO t VALUES (1)");
    let build = holder.start("CREATE INDEX CONCURRENTLY t_id ON t (id)");
    seen.until_waiting(holder.pid, "Lock:virtualxid");
    for _ in 0..5 {
        assert_eq!(poller.value("SELECT pg_try_advisory_lock(42)"), "f");
    }
    assert_eq!(seen.sees_waiting(holder.pid), "Lock:virtualxid");
    writer.ok("COMMIT");
    for _ in 0..5 {
        poller.ok("SELECT pg_try_advisory_lock(7), pg_advisory_unlock(7)");
    }
    build.ok();
    assert_eq!(is_valid(&seen, "t_id"), "true");
    holder.ok("SELECT pg_advisory_unlock(42)");
    assert_eq!(poller.value("SELECT pg_try_advisory_lock(42)"), "t");
}

/// X10: an `ALTER TABLE` that waits behind a reader makes every later reader wait behind itself.
///
/// A statement of a migration never waits for a lock without a limit.
#[test]
fn x10_an_alter_table_that_waits_stops_every_later_reader() {
    let server = Server::start();
    let (reader, change, late) = (Client::new(&server), Client::new(&server), Client::new(&server));
    let seen = Client::new(&server);
    seen.ok("CREATE TABLE t (id int)");
    reader.ok("BEGIN");
    reader.ok("SELECT count(*) FROM t");

    let changing = change.start("ALTER TABLE t ADD COLUMN more int");
    seen.until_waiting(change.pid, "Lock:relation");
    let reading = late.start("SELECT count(*) FROM t");
    seen.until_waiting(late.pid, "Lock:relation");
    let blockers = format!("SELECT pg_blocking_pids({})::text", late.pid);
    assert_eq!(seen.value(&blockers), format!("{{{}}}", change.pid), "a lock that is only wanted");

    reader.ok("COMMIT");
    changing.ok();
    assert_eq!(reading.ok(), ["0"]);
}

/// X10, the other half: with a `lock_timeout` the change gives up, and readers go on while the first
/// reader is still there.
#[test]
fn x10_with_a_lock_timeout_the_change_gives_up_and_readers_go_on() {
    let server = Server::start();
    let (reader, change, late) = (Client::new(&server), Client::new(&server), Client::new(&server));
    reader.ok("CREATE TABLE t (id int)");
    reader.ok("BEGIN");
    reader.ok("SELECT count(*) FROM t");

    change.ok("SET lock_timeout = '50ms'");
    change.refused("ALTER TABLE t ADD COLUMN more int", "55P03");
    assert_eq!(late.ok("SELECT count(*) FROM t"), ["0"]);
    assert_eq!(reader.ok("SELECT count(*) FROM t"), ["0"], "its transaction is still open");
}
