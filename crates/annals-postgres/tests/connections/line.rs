//! A session whose network fails: it is given up when the server is lost, and never before.

use std::time::Duration;

use annals_postgres::{ConnectionSpec, Fault, Session, SessionSettings};
use annals_testkit::{At, Failing, Network, Server, ServerOptions, Trouble};

use crate::{block_on, elsewhere};

fn server() -> Server {
    Server::start_with(ServerOptions { tcp: true, ..Default::default() })
}

fn spec(port: u16) -> ConnectionSpec {
    let password = Server::PASSWORD;
    let text = format!(
        "host=127.0.0.1 port={port} user=postgres password={password} sslmode=disable \
         connect_timeout=1"
    );
    ConnectionSpec::read(&text, &|_| None).unwrap_or_else(|error| panic!("{error}"))
}

async fn session(port: u16, silence_ms: u64) -> Session {
    let settings = SessionSettings { lock_timeout_ms: 0, silence_ms, ..SessionSettings::default() };
    spec(port).connect("annals/line", &settings).await.unwrap()
}

/// Runs `sql` while the network fails at it; what the session says of that.
fn fault(failing: Failing, sql: &str) -> String {
    let server = server();
    let network = Network::before(server.tcp_port(), failing);
    block_on(async {
        let mut session = session(network.port(), 1500).await;
        let fault = session.run(sql).await.unwrap_err();
        assert!(network.has_failed());
        assert!(matches!(fault, Fault::Connection(_)), "{fault}");
        // It stays lost, and nobody waits for it again.
        assert!(session.roll_back().await.unwrap_err().ends_session());
        assert!(sqlx::query("SELECT 1").fetch_one(session.connection()).await.is_err());
        session.close().await;
        fault.to_string()
    })
}

const STATEMENT: &str = "SELECT 'the statement'";

fn at_the_statement(trouble: Trouble, arrives: bool) -> Failing {
    Failing { trouble, at: At::Text("the statement"), arrives }
}

#[test]
fn a_network_that_swallows_everything_is_noticed() {
    for arrives in [false, true] {
        let told = fault(at_the_statement(Trouble::BlackHole, arrives), STATEMENT);
        assert!(told.contains("no answer for 1500 ms, and none on a second connection"), "{told}");
    }
}

#[test]
fn a_connection_that_died_alone_is_noticed() {
    for arrives in [false, true] {
        let told = fault(at_the_statement(Trouble::DeadConnection, arrives), STATEMENT);
        assert!(told.contains("has had nothing to do for"), "{told}");
    }
}

#[test]
fn a_connection_of_which_only_half_is_left_is_noticed() {
    let told = fault(at_the_statement(Trouble::HalfOpen, true), STATEMENT);
    assert!(told.contains("is gone, and its answer with it"), "{told}");
}

#[test]
fn a_connection_that_is_reset_is_noticed() {
    fault(at_the_statement(Trouble::Reset, true), STATEMENT);
}

#[test]
fn a_server_that_works_for_long_or_waits_or_is_late_is_not_given_up() {
    let server = server();
    server.sql("CREATE TABLE things (id int)");
    let late = at_the_statement(Trouble::Delay(Duration::from_millis(200)), false);
    let network = Network::before(server.tcp_port(), late);
    block_on(async {
        let mut session = session(network.port(), 2000).await;
        session.run(STATEMENT).await.unwrap();
        session.run("SELECT pg_sleep(3)").await.unwrap();
        let held = elsewhere(|| server.hold("LOCK TABLE things"));
        let free = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            elsewhere(|| drop(held));
        };
        let (waited, ()) = tokio::join!(session.run("INSERT INTO things VALUES (1)"), free);
        waited.unwrap();
        // Many answers to one message, with time between them.
        session.run("SELECT 1; SELECT pg_sleep(1); SELECT 2; SELECT pg_sleep(1)").await.unwrap();
        session.close().await;
    });
}

#[test]
fn a_server_that_cannot_be_looked_at_is_not_given_up() {
    let server = server();
    // PostgreSQL 13 would store it as MD5, which its rules for TCP refuse.
    server.sql(
        "SET password_encryption = 'scram-sha-256'; \
         CREATE ROLE single LOGIN PASSWORD 'x' CONNECTION LIMIT 1",
    );
    block_on(async {
        let text = format!(
            "host=127.0.0.1 port={} user=single password=x sslmode=disable dbname=postgres",
            server.tcp_port()
        );
        let spec = ConnectionSpec::read(&text, &|_| None).unwrap_or_else(|e| panic!("{e}"));
        let settings =
            SessionSettings { lock_timeout_ms: 0, silence_ms: 2000, ..SessionSettings::default() };
        let granted =
            "GRANT EXECUTE ON FUNCTION pg_control_system, pg_control_checkpoint TO single";
        elsewhere(|| server.sql(granted));
        let mut session = spec.connect("annals/line", &settings).await.unwrap();
        session.run("SELECT pg_sleep(2)").await.unwrap();
    });
}

#[test]
fn a_backend_that_is_ended_is_lost_at_once() {
    let server = server();
    block_on(async {
        let mut session = session(server.tcp_port(), 600).await;
        let pid = session.facts().backend_pid;
        let end = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            elsewhere(|| server.sql(&format!("SELECT pg_terminate_backend({pid})")));
        };
        let (ended, ()) = tokio::join!(session.run("SELECT pg_sleep(60)"), end);
        assert!(ended.unwrap_err().ends_session());
    });
}

#[test]
fn a_copy_whose_data_is_swallowed_is_given_up() {
    let server = server();
    server.sql("CREATE TABLE things (id int)");
    let failing = Failing { trouble: Trouble::BlackHole, at: At::Text("4711"), arrives: false };
    let network = Network::before(server.tcp_port(), failing);
    block_on(async {
        let mut session = session(network.port(), 600).await;
        let (connection, mut attendance) = session.connection().apart();
        let begun = connection.copy_in_raw("COPY things FROM stdin");
        let mut copy = attendance.attend(begun).await.unwrap().unwrap();
        attendance.attend(copy.send(b"1\n4711\n".as_slice())).await.unwrap().unwrap();
        assert!(attendance.attend(copy.finish()).await.is_err());
        assert!(session.run("SELECT 1").await.unwrap_err().ends_session());
    });
    network.heal();
    assert_eq!(server.value("SELECT count(*) FROM things"), "0");
}
