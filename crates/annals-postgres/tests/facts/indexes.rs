//! Concurrent index builds and what they leave (X3, X4, X5, X19).

use annals_testkit::Server;

use crate::client::Client;

/// `indisvalid` of an index.
pub(crate) fn is_valid(client: &Client, index: &str) -> String {
    client.value(&format!(
        "SELECT indisvalid::text FROM pg_index WHERE indexrelid = '{index}'::regclass"
    ))
}

/// A table `t`, and an INVALID index `t_id` on it: its build was cancelled while it waited for a
/// writer.
fn with_an_invalid_index(client: &Client, writer: &Client) {
    client.ok("CREATE TABLE t (id int)");
    writer.ok("BEGIN");
    writer.ok("INSERT INTO t VALUES (1)");
    client.ok("SET statement_timeout = '100ms'");
    client.refused("CREATE INDEX CONCURRENTLY t_id ON t (id)", "57014");
    client.ok("RESET statement_timeout");
    writer.ok("COMMIT");
    assert_eq!(is_valid(client, "t_id"), "false");
}

/// X3: a runner that keeps its lock in an open transaction on a second connection stops its own
/// build as soon as that transaction has a snapshot: the build ends at its timeout, and the index
/// stays INVALID.
///
/// The lock belongs to the session that works, and no transaction of ours is open beside a step.
#[test]
fn x03_an_open_transaction_of_the_runner_itself_stops_its_concurrent_build() {
    let server = Server::start();
    let (second, build, seen) = (Client::new(&server), Client::new(&server), Client::new(&server));
    seen.ok("CREATE TABLE t (id int)");
    second.ok("BEGIN ISOLATION LEVEL REPEATABLE READ");
    second.ok("SELECT pg_advisory_xact_lock(42)");

    build.ok("SET statement_timeout = '1s'");
    let building = build.start("CREATE INDEX CONCURRENTLY t_id ON t (id)");
    seen.until_waiting(build.pid, "Lock:virtualxid");
    building.refused("57014");
    assert_eq!(is_valid(&seen, "t_id"), "false");
}

/// X3, its limit: at READ COMMITTED a transaction between two statements has no snapshot and stops
/// no build. That is luck of the moment, not a protocol: its next statement has one.
#[test]
fn x03_between_two_statements_a_read_committed_transaction_is_not_waited_for() {
    let server = Server::start();
    let (second, build, seen) = (Client::new(&server), Client::new(&server), Client::new(&server));
    seen.ok("CREATE TABLE t (id int)");
    second.ok("BEGIN");
    second.ok("SELECT pg_advisory_xact_lock(42)");
    build.ok("CREATE INDEX CONCURRENTLY t_first ON t (id)");
    assert_eq!(is_valid(&seen, "t_first"), "true");

    // The same transaction, inside a statement.
    seen.ok("SELECT pg_advisory_lock(7)");
    let statement = second.start("SELECT pg_advisory_xact_lock(7)");
    seen.until_waiting(second.pid, "Lock:advisory");
    build.ok("SET statement_timeout = '100ms'");
    build.refused("CREATE INDEX CONCURRENTLY t_second ON t (id)", "57014");
    assert_eq!(is_valid(&seen, "t_second"), "false");
    seen.ok("SELECT pg_advisory_unlock(7)");
    statement.ok();
}

/// X4: `CREATE INDEX CONCURRENTLY IF NOT EXISTS` passes over an INVALID index of that name without
/// an error, and leaves it INVALID.
///
/// The success of the statement proves nothing: `indisvalid` is looked at afterwards.
#[test]
fn x04_if_not_exists_passes_over_an_invalid_index() {
    let server = Server::start();
    let (client, writer) = (Client::new(&server), Client::new(&server));
    with_an_invalid_index(&client, &writer);
    client.ok("CREATE INDEX CONCURRENTLY IF NOT EXISTS t_id ON t (id)");
    assert_eq!(is_valid(&client, "t_id"), "false");

    // What annals does instead.
    client.ok("DROP INDEX CONCURRENTLY t_id");
    client.ok("CREATE INDEX CONCURRENTLY t_id ON t (id)");
    assert_eq!(is_valid(&client, "t_id"), "true");
}

/// X5: with a short `lock_timeout` a concurrent build gives up at the first open writer and leaves
/// an INVALID index.
///
/// Concurrent statements have limits of their own: the short `lock_timeout` of other steps is not
/// theirs.
#[test]
fn x05_a_short_lock_timeout_makes_a_concurrent_build_leave_an_invalid_index() {
    let server = Server::start();
    let (client, writer) = (Client::new(&server), Client::new(&server));
    client.ok("CREATE TABLE t (id int)");
    writer.ok("BEGIN");
    writer.ok("INSERT INTO t VALUES (1)");
    client.ok("SET lock_timeout = '50ms'");
    client.refused("CREATE INDEX CONCURRENTLY t_id ON t (id)", "55P03");
    assert_eq!(is_valid(&client, "t_id"), "false");
    assert_eq!(writer.ok("SELECT id FROM t"), ["1"], "the writer was there all the time");
}

/// X19: `CREATE INDEX CONCURRENTLY` on a partitioned parent is always an error, and leaves nothing;
/// the index is built on each partition and attached.
///
/// Such a statement is never sent as it stands.
#[test]
fn x19_a_concurrent_build_on_a_partitioned_parent_is_always_an_error() {
    let server = Server::start();
    let client = Client::new(&server);
    client.ok("CREATE TABLE p (id int) PARTITION BY RANGE (id)");
    client.refused("CREATE INDEX CONCURRENTLY p_id ON p (id)", "0A000");
    client.ok("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)");
    client.refused("CREATE INDEX CONCURRENTLY p_id ON p (id)", "0A000");
    client.refused("CREATE INDEX CONCURRENTLY IF NOT EXISTS p_id ON p (id)", "0A000");
    assert_eq!(client.value("SELECT to_regclass('p_id') IS NULL"), "t");

    client.ok("CREATE INDEX p_id ON ONLY p (id)");
    assert_eq!(is_valid(&client, "p_id"), "false", "until every partition has its part");
    client.ok("CREATE INDEX CONCURRENTLY p1_id ON p1 (id)");
    client.ok("ALTER INDEX p_id ATTACH PARTITION p1_id");
    assert_eq!(is_valid(&client, "p_id"), "true");
}
