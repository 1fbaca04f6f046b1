//! What stays in a session, and what one message with several statements is (X6 to X9).

use annals_testkit::Server;

use crate::client::{Client, major};

/// X6: a plain `SET` in a transaction outlives its commit; `SET LOCAL` does not.
///
/// Limits of a step are local to its transaction, and each transaction begins by resetting what the
/// one before may have set.
#[test]
fn x06_a_plain_set_outlives_its_transaction_and_a_local_one_does_not() {
    let server = Server::start();
    let client = Client::new(&server);
    let before = client.value("SHOW lock_timeout");
    client.ok("BEGIN; SET LOCAL lock_timeout = '7s'; COMMIT");
    assert_eq!(client.value("SHOW lock_timeout"), before);
    client.ok("BEGIN; SELECT set_config('lock_timeout', '7s', true); COMMIT");
    assert_eq!(client.value("SHOW lock_timeout"), before);
    client.ok("BEGIN; SET lock_timeout = '7s'; ROLLBACK");
    assert_eq!(client.value("SHOW lock_timeout"), before);
    client.ok("BEGIN; SET lock_timeout = '7s'; COMMIT");
    assert_eq!(client.value("SHOW lock_timeout"), "7s");
}

/// X7: `RESET ALL` takes back neither the role nor temporary tables nor prepared statements.
/// `DISCARD ALL` takes back all of them, and does not work inside a transaction.
///
/// Sessions are not reused between runs, and between steps role, settings and temporary objects are
/// each reset by name.
#[test]
fn x07_reset_all_leaves_role_temporary_tables_and_prepared_statements() {
    let server = Server::start();
    let client = Client::new(&server);
    client.ok("CREATE ROLE other; GRANT other TO postgres");
    client.ok("CREATE TEMP TABLE left_behind (id int)");
    client.ok("PREPARE left_prepared AS SELECT 1");
    client.ok("SET work_mem = '7MB'");
    client.ok("SET ROLE other");
    client.ok("RESET ALL");
    assert_ne!(client.value("SHOW work_mem"), "7MB");
    assert_eq!(client.value("SELECT current_user"), "other");
    let leftovers = "SELECT (SELECT count(*) FROM pg_class WHERE relname = 'left_behind')
                         || ' ' || (SELECT count(*) FROM pg_prepared_statements)";
    assert_eq!(client.value(leftovers), "1 1");

    client.ok("BEGIN");
    client.refused("DISCARD ALL", "25001");
    client.ok("ROLLBACK");
    client.ok("DISCARD ALL");
    assert_eq!(client.value("SELECT current_user"), "postgres");
    assert_eq!(client.value(leftovers), "0 0");
}

/// X7, what is done instead: a reset of role, settings and temporary objects works in the message
/// that opens the transaction.
#[test]
fn x07_role_settings_and_temporary_tables_can_be_reset_in_the_message_that_begins() {
    let server = Server::start();
    let client = Client::new(&server);
    client.ok("CREATE ROLE other; GRANT other TO postgres");
    client.ok("CREATE TEMP TABLE left_behind (id int); SET work_mem = '7MB'; SET ROLE other");
    client.ok("RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP; BEGIN");
    assert_eq!(client.value("SELECT current_user"), "postgres");
    assert_ne!(client.value("SHOW work_mem"), "7MB");
    assert_eq!(client.value("SELECT count(*) FROM pg_class WHERE relname = 'left_behind'"), "0");
    client.ok("COMMIT");
}

/// X8: a body with a `COMMIT` of its own, sent as one message with the row that records it: what
/// stands before the `COMMIT` is committed although a later statement fails, and there is no row.
///
/// Transaction control in a file is refused when it is planned, and the row comes first, in a
/// transaction that is still the same one at its end.
#[test]
fn x08_a_commit_inside_the_body_commits_half_of_it_without_its_row() {
    let server = Server::start();
    let client = Client::new(&server);
    client.ok("CREATE TABLE ledger (version int PRIMARY KEY)");
    client.refused(
        "CREATE TABLE first_half (); COMMIT; CREATE TABLE second_half (); SELECT 1 / 0; \
         INSERT INTO ledger VALUES (1)",
        "22012",
    );
    let found = "SELECT concat_ws(' ', to_regclass('first_half'), to_regclass('second_half'))";
    assert_eq!(client.value(found), "first_half");
    assert_eq!(client.value("SELECT count(*) FROM ledger"), "0");

    // Without the COMMIT the message is one transaction.
    client.refused("CREATE TABLE third (); SELECT 1 / 0; INSERT INTO ledger VALUES (1)", "22012");
    assert_eq!(client.value("SELECT to_regclass('third') IS NULL"), "t");
}

/// X9: a value that `ALTER TYPE … ADD VALUE` adds cannot be used before its transaction has
/// committed. Only PostgreSQL 17 and later allow it where the type was made in that transaction.
///
/// Adding a value and using it belong in two migrations; a file with both fails and leaves nothing.
#[test]
fn x09_a_new_enum_value_cannot_be_used_in_the_transaction_that_adds_it() {
    let server = Server::start();
    let client = Client::new(&server);
    client.ok("CREATE TYPE mood AS ENUM ('good')");
    client.ok("BEGIN; ALTER TYPE mood ADD VALUE 'better'");
    client.refused("SELECT 'better'::mood", "55P04");
    client.ok("ROLLBACK");

    client.ok("ALTER TYPE mood ADD VALUE 'better'");
    assert_eq!(client.value("SELECT 'better'::mood"), "better");
    client.ok("BEGIN; CREATE TYPE fresh AS ENUM ('a'); ALTER TYPE fresh ADD VALUE 'b'");
    if major(&client) >= 17 {
        assert_eq!(client.value("SELECT 'b'::fresh"), "b");
    } else {
        client.refused("SELECT 'b'::fresh", "55P04");
    }
}
