//! What a commit means to whoever asked for it (X13 to X16).

use annals_testkit::{Cut, Proxy, Server, ServerOptions, kill, wait_for};

use crate::client::{Client, Trouble};

/// A server, and a client behind a proxy that has written a row in a transaction still open.
fn before_the_cut(cut: Cut) -> (Server, Client, String) {
    let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
    server.sql("CREATE TABLE effect (id int); CREATE ROLE ordinary LOGIN");
    server.sql("GRANT SELECT ON effect TO ordinary");
    let proxy = Proxy::start(server.tcp_port(), cut, 1);
    let (direct, by_proxy) = (format!(":{}/", server.tcp_port()), format!(":{}/", proxy.port()));
    let client = Client::at(&server.tcp_url().replace(&direct, &by_proxy));
    client.ok("BEGIN");
    client.ok("INSERT INTO effect VALUES (1)");
    let xid = client.value("SELECT pg_current_xact_id()::text");
    (server, client, xid)
}

/// What an ordinary role is told of a transaction, once it is over.
fn status_in_the_end(client: &Client, xid: &str) -> String {
    wait_for("the end of the transaction", || {
        let status = client.value(&format!("SELECT pg_xact_status('{xid}'::xid8)"));
        (status != "in progress").then_some(status)
    })
}

/// X13: the answer to a `COMMIT` is lost on its way. The client sees a broken connection; the row is
/// there, and `pg_xact_status` says `committed`, to an ordinary role and later.
///
/// An error at the commit does not mean that nothing was committed: the outcome is in doubt until
/// it has been asked for.
#[test]
fn x13_a_commit_whose_answer_is_lost_has_happened() {
    let (server, client, xid) = before_the_cut(Cut::AfterCommit);
    let answer = client.run("COMMIT");
    assert!(matches!(answer, Err(Trouble::Lost(_))), "{answer:?}");

    let ordinary = Client::of_role(&server, "ordinary");
    assert_eq!(status_in_the_end(&ordinary, &xid), "committed");
    assert_eq!(ordinary.value("SELECT count(*) FROM effect"), "1");
}

/// X14: the connection breaks before the `COMMIT` arrives. The client sees the same as in X13; the
/// row is absent, and `pg_xact_status` says `aborted`.
///
/// The same error, the opposite outcome: only the server knows.
#[test]
fn x14_a_commit_that_never_arrives_has_not_happened() {
    let (server, client, xid) = before_the_cut(Cut::BeforeCommit);
    let answer = client.run("COMMIT");
    assert!(matches!(answer, Err(Trouble::Lost(_))), "{answer:?}");

    let ordinary = Client::of_role(&server, "ordinary");
    assert_eq!(status_in_the_end(&ordinary, &xid), "aborted");
    assert_eq!(ordinary.value("SELECT count(*) FROM effect"), "0");
}

/// X15: `pg_xact_status` of an id the server has not reached is an error.
///
/// An id that was given out and is now in the future is the sign of another server, or of one that
/// was rewound.
#[test]
fn x15_the_status_of_an_id_in_the_future_is_an_error() {
    let server = Server::start();
    let client = Client::new(&server);
    let now: u64 = client.value("SELECT pg_current_xact_id()::text").parse().unwrap();
    let later = now + 1_000_000;
    let said = client.refused(&format!("SELECT pg_xact_status('{later}'::xid8)"), "22023");
    assert!(said.contains("is in the future"), "{said}");
}

const VERSIONS: &str = "SELECT coalesce(string_agg(version::text, ' ' ORDER BY version), '') \
    FROM ledger";

/// Lets nothing reach the disk behind the commits: the process that writes the log of a server is
/// stopped. Without this a crash has to come before its next round.
fn stop_the_wal_writer(server: &Server) {
    let pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let pid = wait_for("the WAL writer", || server.rows(pid).pop());
    kill(pid.parse().unwrap(), "STOP");
}

/// X16: with `synchronous_commit=off`, which may stand in the settings of a role or a database,
/// commits that were acknowledged are lost in a crash of the server. With
/// `SET LOCAL synchronous_commit=on` none is.
///
/// An acknowledged commit is durable only if it was asked to be: each transaction of annals raises
/// the setting itself, and raises it again before it commits.
#[test]
fn x16_acknowledged_commits_are_lost_unless_they_were_asked_to_be_durable() {
    let mut server = Server::start_with(ServerOptions { durable: true, ..Default::default() });
    server.sql("CREATE TABLE ledger (version int PRIMARY KEY)");
    server.sql("CREATE ROLE careless LOGIN; ALTER ROLE careless SET synchronous_commit = off");
    server.sql("GRANT ALL ON ledger TO careless");

    stop_the_wal_writer(&server);
    let client = Client::of_role(&server, "careless");
    assert_eq!(client.value("SHOW synchronous_commit"), "off");
    for version in 1..=3 {
        client.ok(&format!("BEGIN; INSERT INTO ledger VALUES ({version}); COMMIT"));
    }
    assert_eq!(client.value(VERSIONS), "1 2 3");
    server.crash();
    server.start_again();
    assert_eq!(server.value(VERSIONS), "", "all three were acknowledged");

    stop_the_wal_writer(&server);
    let client = Client::of_role(&server, "careless");
    for version in 4..=6 {
        let insert = format!("INSERT INTO ledger VALUES ({version})");
        client.ok(&format!("BEGIN; SET LOCAL synchronous_commit = on; {insert}; COMMIT"));
    }
    server.crash();
    server.start_again();
    assert_eq!(server.value(VERSIONS), "4 5 6");
}
