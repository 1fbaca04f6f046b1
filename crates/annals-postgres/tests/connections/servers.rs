//! Several servers, standbys, servers that say nothing.

use std::net::TcpListener;

use annals_postgres::{ConnectError, ConnectionSpec, Session, SessionSettings};
use annals_testkit::{Server, ServerOptions, Standby};

use crate::block_on;

fn read(text: &str) -> ConnectionSpec {
    ConnectionSpec::read(text, &|_| None).unwrap_or_else(|error| panic!("{error}"))
}

fn connect(text: &str) -> Result<Session, ConnectError> {
    block_on(read(text).connect("annals/servers", &SessionSettings::default()))
}

#[test]
fn of_several_servers_the_one_that_is_wanted_is_taken() {
    let primary = Server::start();
    let standby = Standby::of(&primary);
    let (first, second) = (standby.folder(), primary.folder());
    let hosts = format!("host={},{} user=postgres", first.display(), second.display());
    for (wanted, in_recovery) in [
        ("any", true),
        ("read-write", false),
        ("primary", false),
        ("read-only", true),
        ("standby", true),
        ("prefer-standby", true),
    ] {
        let session = connect(&format!("{hosts} target_session_attrs={wanted}")).unwrap();
        assert_eq!(session.facts().in_recovery, in_recovery, "{wanted}");
    }
    let only = |folder: &std::path::Path, wanted: &str| {
        connect(&format!("host={} user=postgres target_session_attrs={wanted}", folder.display()))
    };
    assert!(only(second, "prefer-standby").is_ok());
    for (folder, wanted, is) in [
        (first.as_path(), "read-write", "it is a standby, which target_session_attrs does not"),
        (second, "standby", "it is a primary, which target_session_attrs does not"),
    ] {
        let refused = only(folder, wanted).err().unwrap().to_string();
        assert!(refused.contains(is), "{refused}");
    }
    // Nobody is at the first.
    let session = connect(&format!("host=/nowhere,{} user=postgres", second.display())).unwrap();
    assert!(!session.facts().in_recovery);
    let nobody = connect("host=/nowhere,/neither user=postgres").err().unwrap().to_string();
    assert!(nobody.contains("/nowhere") && nobody.contains("/neither"), "{nobody}");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let text = format!("host=127.0.0.1 port={port} user=x connect_timeout=1");
    let refused = connect(&text).err().unwrap();
    assert_eq!(refused.to_string(), format!("cannot reach 127.0.0.1:{port}: no answer within 1 s"));
    assert!(matches!(refused, ConnectError::Unreachable { .. }));
}

#[test]
fn who_is_refused_is_not_sent_to_the_next_server() {
    let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
    let port = server.tcp_port();
    let text = format!("host=127.0.0.1,localhost port={port} user=postgres password=wrong");
    let refused = connect(&text).err().unwrap();
    assert!(matches!(refused, ConnectError::Login { .. }), "{refused}");
}
