//! What can be read of a server, and how a schema can be compared (X18, X20).

use std::process::Command;

use annals_testkit::Server;

use crate::client::{Client, major};

const MISSING: &str = "pg_dump is installed (apt-get install -y postgresql-client)";

/// Standard output and standard error of `pg_dump`.
fn pg_dump(arguments: &[&str]) -> (String, String) {
    let output = Command::new("pg_dump").args(arguments).output().expect(MISSING);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// X18: two dumps of the same schema by a `pg_dump` that writes `\restrict` differ in their bytes,
/// by a random token; with a `--restrict-key` of one's own they are equal. An older `pg_dump`, from
/// before August 2025, writes no token, and its dumps are equal. A `pg_dump` of a lower major
/// version than the server's gives none at all.
///
/// Schemas are compared by a picture of the catalog, never by the bytes of a dump.
#[test]
fn x18_two_dumps_of_the_same_schema_differ_by_a_random_token() {
    let server = Server::start();
    server.sql("CREATE TABLE t (id int PRIMARY KEY, name text)");
    let url = server.url();
    let version = pg_dump(&["--version"]).0;
    let own: u32 = version.split([' ', '.']).find_map(|word| word.parse().ok()).expect("a version");
    let writes_a_token = pg_dump(&["--help"]).0.contains("--restrict-key");

    let dump = |more: &[&str]| pg_dump(&[&["-s", "-d", &url], more].concat());
    let (one, said) = dump(&[]);
    if own < major(&Client::new(&server)) {
        assert_eq!(one, "");
        assert!(said.contains("server version mismatch"), "{said}");
        return;
    }
    assert!(one.contains("CREATE TABLE public.t"), "{said}");
    let (two, _) = dump(&[]);
    assert_eq!(one != two, writes_a_token);
    if writes_a_token {
        let without = |dump: &str| -> Vec<String> {
            let lines = dump.lines().filter(|line| !line.contains("restrict "));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(without(&one), without(&two), "nothing but the token differs");
        let key = "--restrict-key=annals";
        assert_eq!(dump(&[key]).0, dump(&[key]).0);
    }
}

/// X20: an ordinary role may read the system identifier, the timeline and the WAL position.
///
/// Which server this is, and whether it was rewound, is asked at the start of every command with
/// the rights of the role that migrates.
#[test]
fn x20_an_ordinary_role_may_read_who_the_server_is_and_how_far_it_is() {
    let server = Server::start();
    let superuser = Client::new(&server);
    superuser.ok("CREATE ROLE ordinary LOGIN");
    let ordinary = Client::of_role(&server, "ordinary");
    let who = "SELECT concat_ws(' ', system_identifier, timeline_id) \
               FROM pg_control_system(), pg_control_checkpoint()";
    let found = ordinary.value(who);
    assert_eq!(found, superuser.value(who));
    assert!(found.ends_with(" 1"), "the first timeline: {found}");

    let before = ordinary.value("SELECT pg_current_wal_insert_lsn()");
    superuser.ok("CREATE TABLE t (id int)");
    let moved = format!("SELECT pg_current_wal_insert_lsn() > '{before}'::pg_lsn");
    assert_eq!(ordinary.value(&moved), "t");
    assert!(ordinary.value("SELECT pg_current_wal_lsn()").contains('/'));
}
