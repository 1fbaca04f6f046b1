//! TLS: what is verified, what is refused, and that nothing is sent before it is.

use annals_postgres::{ConnectError, ConnectionSpec, SessionSettings};
use annals_testkit::{Authority, Network, Server, ServerOptions};
use sqlx::Row;

use crate::block_on;

fn server() -> Server {
    Server::start_with(ServerOptions { tcp: true, ..Default::default() })
}

/// Connects as `text` says, in a home in which there is nothing; says whether it came to TLS.
fn connect(text: &str, port: u16) -> Result<bool, ConnectError> {
    let text = format!("{text} port={port} user=postgres password={}", Server::PASSWORD);
    let spec = ConnectionSpec::read(&text, &|_| None).unwrap_or_else(|error| panic!("{error}"));
    block_on(async {
        let mut session = spec.connect("annals/tls", &SessionSettings::default()).await?;
        let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let row = sqlx::query(query).fetch_one(session.connection()).await.unwrap();
        let (is_tls, _) = (row.get::<bool, _>(0), session.close().await);
        Ok(is_tls)
    })
}

/// Wants a refusal that says `words`, and that nothing was sent but the wish for TLS and, if the
/// server had that wish too, what belongs to its handshake.
#[track_caller]
fn refused(text: &str, server: &Server, words: [&str; 2], handshake: bool) {
    let network = Network::sound(server.tcp_port());
    let Err(refusal) = connect(text, network.port()) else { panic!("{text} is taken") };
    let said = format!("{refusal} [{}]", refusal.hint().unwrap());
    assert!(matches!(refusal, ConnectError::Tls { .. }), "{text}: {said}");
    assert!(words.iter().all(|word| said.contains(word)), "{text}: {said}");
    let sent = network.sent();
    let (wish, rest) = sent.split_at(8);
    // Length 8, code 80877103: the wish for TLS.
    assert_eq!(wish, [0, 0, 0, 8, 4, 210, 22, 47], "{text}");
    assert_eq!(rest.first() == Some(&22), handshake, "{text}: {rest:?}");
    for secret in ["postgres", Server::PASSWORD, "annals"] {
        let clear = sent.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!clear, "{text}: {secret} was sent in clear");
    }
}

#[test]
fn a_server_whose_certificate_is_verified_is_used() {
    let (server, authority) = (server(), Authority::new());
    server.speaks_tls(&authority, "localhost");
    let root = authority.file().display().to_string();
    for text in [
        format!("host=localhost sslmode=verify-full sslrootcert={root}"),
        format!("host=localhost sslmode=verify-ca sslrootcert={root}"),
        format!("host=localhost sslmode=require sslrootcert={root}"),
        "host=localhost sslmode=require".to_owned(),
        "host=localhost sslmode=prefer".to_owned(),
        "host=localhost sslmode=allow".to_owned(),
        "host=localhost".to_owned(),
    ] {
        assert!(connect(&text, server.tcp_port()).unwrap(), "{text}");
    }
    assert!(!connect("host=localhost sslmode=disable", server.tcp_port()).unwrap());
}

#[test]
fn a_server_whose_certificate_is_not_is_refused_and_hears_nothing() {
    let (server, authority, stranger) = (server(), Authority::new(), Authority::new());
    server.speaks_tls(&authority, "localhost");
    let unknown = ["signed by nobody who is trusted", "name the file of the authority"];
    let root = stranger.file().display().to_string();
    for text in [
        format!("host=localhost sslmode=verify-full sslrootcert={root}"),
        format!("host=localhost sslmode=verify-ca sslrootcert={root}"),
        "host=localhost sslmode=verify-full sslrootcert=system".to_owned(),
        "host=localhost sslmode=verify-full".to_owned(),
    ] {
        refused(&text, &server, unknown, true);
    }

    server.speaks_tls(&authority, "other.example");
    let root = authority.file().display().to_string();
    let other = ["is not for the host \"localhost\"", "use the host name the certificate is for"];
    refused(
        &format!("host=localhost sslmode=verify-full sslrootcert={root}"),
        &server,
        other,
        true,
    );
    let raised = ["annals carries verify-ca out as verify-full", "use the host name"];
    refused(&format!("host=localhost sslmode=verify-ca sslrootcert={root}"), &server, raised, true);
    let raised = ["annals carries require with a root certificate out", "use the host name"];
    refused(&format!("host=localhost sslmode=require sslrootcert={root}"), &server, raised, true);
}

#[test]
fn a_server_without_tls_is_refused_and_hears_nothing_where_tls_was_asked_for() {
    let (server, authority) = (server(), Authority::new());
    let root = authority.file().display().to_string();
    let words = ["does not speak TLS; nothing was sent to it", "switch TLS on there"];
    for text in [
        format!("host=localhost sslmode=verify-full sslrootcert={root}"),
        format!("host=localhost sslmode=verify-ca sslrootcert={root}"),
        "host=localhost sslmode=require".to_owned(),
        "host=127.0.0.1 sslmode=verify-full".to_owned(),
    ] {
        refused(&text, &server, words, false);
    }
    assert!(!connect("host=localhost", server.tcp_port()).unwrap());
}

#[test]
fn a_user_can_show_a_certificate_instead_of_a_password() {
    let (server, authority, stranger) = (server(), Authority::new(), Authority::new());
    server.speaks_tls(&authority, "localhost");
    server.sql("CREATE DATABASE certified");
    let root = authority.file().display().to_string();
    let base = format!("host=localhost sslmode=verify-full sslrootcert={root} dbname=certified");
    let with = |own: &annals_testkit::Certificate| {
        format!("{base} sslcert={} sslkey={}", own.certificate.display(), own.key.display())
    };
    let mine = authority.certify("postgres");
    assert!(connect(&with(&mine), server.tcp_port()).unwrap());
    let none = connect(&base, server.tcp_port()).unwrap_err();
    assert!(matches!(none, ConnectError::Login { .. }), "{none}");
    for wrong in [authority.certify("somebody"), stranger.certify("postgres")] {
        assert!(connect(&with(&wrong), server.tcp_port()).is_err());
    }
}
