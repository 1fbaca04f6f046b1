//! What a statement does when its client has been killed (X11, X12).

use std::process::{Child, Command, Stdio};

use annals_testkit::Server;

use crate::client::{Client, major};

/// Writes its row, then works until somebody says `go`; each turn leaves a trace that no rollback
/// takes back.
const WORK: &str = "DO $$ BEGIN
    INSERT INTO effect VALUES (1);
    LOOP
        PERFORM nextval('turns');
        EXIT WHEN EXISTS (SELECT FROM go);
        PERFORM pg_sleep(0.005);
    END LOOP;
END $$";

/// A server with what [`WORK`] needs, for the role `ordinary`.
fn server() -> Server {
    let server = Server::start();
    server.sql(
        "CREATE TABLE effect (id int); CREATE TABLE go (id int); CREATE SEQUENCE turns; \
         CREATE ROLE ordinary LOGIN; GRANT ALL ON effect, go, turns TO ordinary",
    );
    server
}

/// `psql` as `ordinary`: takes the lock 42 for its session, then does [`WORK`].
fn runner(server: &Server, options: &str) -> Child {
    let url = server.url().replace("//postgres@", "//ordinary@");
    Command::new("psql")
        .args(["-X", "-q", "-c", "SELECT pg_advisory_lock(42)", "-c", WORK, "-d", &url])
        .env("PGAPPNAME", "runner")
        .env("PGOPTIONS", options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("psql is installed (apt-get install -y postgresql-client)")
}

const BACKENDS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'runner'";

/// Looks until the work has done `more` turns than now.
fn until_further(seen: &Client, more: u64) {
    let turns = || -> u64 { seen.value("SELECT last_value FROM turns").parse().unwrap() };
    let goal = turns() + more;
    annals_testkit::wait_for("the work to go on", || (turns() >= goal).then_some(()));
}

/// Kills the client where it stands and sees it gone.
fn kill(mut client: Child) {
    client.kill().unwrap();
    client.wait().unwrap();
}

/// X11: the backend of a client that was killed goes on with its statement and commits it, and the
/// session's advisory lock is held until then.
///
/// The death of a runner is not the death of its statement. The lock belongs to the backend that
/// works, so whoever gets it knows that the statement is over; a lease that ends by the clock would
/// not say so.
#[test]
fn x11_the_statement_of_a_killed_client_goes_on_and_commits() {
    let server = server();
    let seen = Client::new(&server);
    let client = runner(&server, "");
    until_further(&seen, 3);
    kill(client);

    until_further(&seen, 50);
    assert_eq!(seen.value(BACKENDS), "1");
    assert_eq!(seen.value("SELECT pg_try_advisory_lock(42)"), "f", "the dead client's lock");
    assert_eq!(seen.value("SELECT count(*) FROM effect"), "0");

    seen.ok("INSERT INTO go VALUES (1)");
    seen.until(BACKENDS, "0");
    assert_eq!(seen.value("SELECT count(*) FROM effect"), "1", "nobody was there to be told");
    assert_eq!(seen.value("SELECT pg_try_advisory_lock(42)"), "t");
}

/// X12: with `client_connection_check_interval` (PostgreSQL 14 and later) the backend notices, ends
/// its statement and rolls it back. PostgreSQL 13 does not know the setting.
///
/// Every session of annals sets it where it exists.
#[test]
fn x12_with_a_connection_check_the_statement_of_a_killed_client_is_rolled_back() {
    let server = server();
    let seen = Client::new(&server);
    if major(&seen) < 14 {
        seen.refused("SET client_connection_check_interval = '100ms'", "42704");
        return;
    }
    let client = runner(&server, "-c client_connection_check_interval=100ms");
    until_further(&seen, 3);
    kill(client);

    // Nobody says `go`.
    seen.until(BACKENDS, "0");
    assert_eq!(seen.value("SELECT count(*) FROM effect"), "0");
    assert_eq!(seen.value("SELECT pg_try_advisory_lock(42)"), "t");
}

/// X12: an ordinary role may set the connection check, the keepalives, the TCP user timeout and
/// `synchronous_commit` for itself.
///
/// The guards of a session need no rights beyond those of the role that migrates.
#[test]
fn x12_an_ordinary_role_may_set_the_guards_of_a_session() {
    let server = server();
    let client = Client::of_role(&server, "ordinary");
    let mut guards = vec![
        "tcp_keepalives_idle = 10",
        "tcp_keepalives_interval = 5",
        "tcp_keepalives_count = 4",
        "tcp_user_timeout = 20000",
        "synchronous_commit = on",
        "lock_timeout = '2s'",
        "statement_timeout = '1min'",
        "idle_in_transaction_session_timeout = '1min'",
    ];
    if major(&client) >= 14 {
        guards.push("client_connection_check_interval = '1s'");
    }
    for guard in guards {
        client.ok(&format!("SET {guard}"));
        let name = guard.split(' ').next().unwrap();
        let context = format!("SELECT context FROM pg_settings WHERE name = '{name}'");
        assert_eq!(client.value(&context), "user", "{name}");
    }
}
