//! A picture that is brought up to date is the one read anew, whatever happened in between.

use annals_postgres::{Platform, SchemaReader, SchemaScope, read_schema_inside};
use annals_schema::diff;
use annals_testkit::Server;

use crate::client::{Client, statements};

const EVERYTHING: &str = include_str!("everything.sql");
const CHANGES: &str = include_str!("changes.sql");

fn read_again(client: &mut Client, reader: &mut SchemaReader, after: &str) {
    let fresh = client.read();
    let read = client.runtime.block_on(reader.read(&mut client.session));
    let read = read.unwrap_or_else(|fault| panic!("{after}: {fault}"));
    assert_eq!(diff(&fresh, &read), [], "{after}");
    assert_eq!(fresh, read, "{after}");
    assert_eq!(fresh.fingerprint(), read.fingerprint(), "{after}");
}

#[test]
fn after_every_statement_the_picture_is_the_one_read_anew() {
    let server = Server::start();
    let mut client = Client::new(&server);
    let scope = SchemaScope::of(Platform::Plain);
    let mut reader = SchemaReader::new(scope.clone());
    let mut preparing = SchemaReader::preparing(scope);
    let major = client.major();
    let all = [statements(EVERYTHING, major), statements(CHANGES, major)].concat();
    let (mut shown, mut wrong, mut at) = (0, Vec::new(), 0);
    let mut last = client.read();
    for statement in &all {
        if let Err(fault) = client.try_run(statement) {
            wrong.push(format!("{statement}\n    {fault}"));
            continue;
        }
        let now = client.read();
        let read = client.runtime.block_on(reader.read(&mut client.session));
        let read = read.unwrap_or_else(|fault| panic!("{statement}: {fault}"));
        if read != now {
            wrong.push(format!("{statement}\n    {:?}", diff(&now, &read)));
        }
        // Half of them see the changes of two statements at once.
        at += 1;
        if at % 2 == 0 {
            let read = client.runtime.block_on(preparing.read(&mut client.session));
            let read = read.unwrap_or_else(|fault| panic!("{statement}: {fault}"));
            if read != now {
                wrong.push(format!("prepared: {statement}\n    {:?}", diff(&now, &read)));
            }
        }
        shown += usize::from(now != last);
        last = now;
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    let (full, all) = (reader.full_reads(), all.len() as u64);
    assert!(shown as u64 > all * 9 / 10, "{shown} of {all} showed");
    assert!(full < all / 6, "{full} of {all} were full reads");
}

#[test]
fn a_transaction_is_read_from_inside_and_what_is_rolled_back_is_gone() {
    let server = Server::start();
    let mut client = Client::new(&server);
    client
        .run("CREATE TABLE t (id int PRIMARY KEY, name text); CREATE VIEW v AS SELECT name FROM t");
    let scope = SchemaScope::of(Platform::Plain);
    let mut reader = SchemaReader::new(scope.clone());
    client.run("BEGIN; SET LOCAL search_path = public; SAVEPOINT before");
    let mut check = |client: &mut Client, after: &str| {
        let fresh = client.runtime.block_on(read_schema_inside(&mut client.session, &scope));
        let read = client.runtime.block_on(reader.read_inside(&mut client.session)).unwrap();
        assert_eq!(diff(&fresh.unwrap(), &read), [], "{after}");
        read
    };
    let before = check(&mut client, "nothing");
    let steps: &[&[&str]] = &[
        &["ALTER TABLE t RENAME COLUMN name TO label"],
        &["ALTER TABLE t ALTER COLUMN name SET STATISTICS 7"],
        &["CREATE INDEX i ON t (name)", "COMMENT ON TABLE t IS 'x'", "DROP VIEW v"],
        &["ALTER TABLE t DROP CONSTRAINT t_pkey", "CREATE TABLE w (id int)", "DROP TABLE w"],
        &["CREATE SCHEMA s", "CREATE TABLE s.t (id int)", "DROP TABLE t CASCADE"],
    ];
    for step in steps {
        for sql in *step {
            client.run(sql);
            assert_ne!(check(&mut client, sql), before, "{sql}");
        }
        client.run("ROLLBACK TO before");
        assert_eq!(check(&mut client, "rolled back"), before, "{step:?}");
    }
    // One that is dropped for each that comes back.
    client.run("DROP VIEW v");
    check(&mut client, "dropped");
    client.run("ROLLBACK TO before; ALTER TABLE t DROP CONSTRAINT t_pkey");
    check(&mut client, "another dropped");
    // The names of the transaction still are what they were.
    client.run("SELECT 1 FROM t; ROLLBACK");
    let fresh = client.read();
    assert_eq!(fresh, before);
    let read = client.runtime.block_on(reader.read(&mut client.session));
    assert_eq!(read.unwrap(), fresh);
}

#[test]
fn what_is_removed_inside_and_comes_back_is_not_missed() {
    let server = Server::start();
    let mut client = Client::new(&server);
    client.run(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION a FOR TABLE t; \
         CREATE PUBLICATION b FOR TABLE t; CREATE SCHEMA s",
    );
    let scope = SchemaScope::of(Platform::Plain);
    for mut reader in [SchemaReader::new(scope.clone()), SchemaReader::preparing(scope.clone())] {
        client.run("BEGIN; SAVEPOINT before");
        for sql in [
            "DROP PUBLICATION a",
            "DROP PUBLICATION b",
            "ALTER TABLE t RENAME TO u",
            "ALTER TABLE t SET SCHEMA s",
            "GRANT USAGE ON SCHEMA s TO PUBLIC",
            "COMMENT ON PUBLICATION a IS 'x'",
        ] {
            client.run(sql);
            let fresh = client.runtime.block_on(read_schema_inside(&mut client.session, &scope));
            let read = client.runtime.block_on(reader.read_inside(&mut client.session)).unwrap();
            assert_eq!(diff(&fresh.unwrap(), &read), [], "{sql}");
            client.run("ROLLBACK TO before");
        }
        client.run("ROLLBACK");
    }
}

#[test]
fn prepared_queries_a_file_takes_away_or_replaces_are_prepared_again() {
    let server = Server::start();
    let mut client = Client::new(&server);
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut reader = SchemaReader::preparing(SchemaScope::of(Platform::Plain));
    read_again(&mut client, &mut reader, "nothing");
    client.run(
        "DO $$ BEGIN ASSERT (SELECT count(*) FROM pg_prepared_statements \
         WHERE name ~ '^annals_catalog_relations_') = 10; END $$",
    );
    for sql in [
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "DEALLOCATE annals_catalog_relations_tables",
        "DEALLOCATE annals_catalog_relations_tables; PREPARE annals_catalog_relations_tables (oid[]) AS SELECT 1",
        "DEALLOCATE annals_catalog_fresh; PREPARE annals_catalog_fresh (xid) AS SELECT 1",
        "PREPARE annals_catalog_another AS SELECT 1",
        "SET search_path = 't'; CREATE SCHEMA t",
    ] {
        client.run(sql);
        client.run("ALTER TABLE public.t ADD COLUMN c int");
        read_again(&mut client, &mut reader, sql);
        client.run("ALTER TABLE public.t DROP COLUMN c; CREATE TYPE public.e AS ENUM ('a')");
        read_again(&mut client, &mut reader, sql);
        client.run("DROP TYPE public.e");
        read_again(&mut client, &mut reader, sql);
    }
    assert!(reader.full_reads() <= 2, "{}", reader.full_reads());
}

#[test]
fn what_others_do_meanwhile_is_not_missed() {
    let server = Server::start();
    let mut client = Client::new(&server);
    let mut other = Client::new(&server);
    client.run("CREATE TABLE t (id int, name text); CREATE TABLE u (id int)");
    let mut reader = SchemaReader::new(SchemaScope::of(Platform::Plain));
    read_again(&mut client, &mut reader, "the beginning");
    // It is under way during two readings and ends before the third.
    other.run("BEGIN; ALTER TABLE t ADD COLUMN late int; COMMENT ON TABLE t IS 'late'");
    read_again(&mut client, &mut reader, "under way");
    client.run("ALTER TABLE u ADD COLUMN early int");
    read_again(&mut client, &mut reader, "another change");
    other.run("COMMIT");
    read_again(&mut client, &mut reader, "committed");
    assert_eq!(reader.full_reads(), 1);
    let full = reader.full_reads();
    read_again(&mut client, &mut reader, "nothing");
    assert_eq!(reader.full_reads(), full);
    let mut elsewhere = Client::of_role(&server, "postgres", "template1");
    read_again(&mut elsewhere, &mut reader, "another database");
    read_again(&mut client, &mut reader, "and back");
}

/// In one transaction after the other, as a rehearsal goes, and half of them rolled back.
fn alone_in(client: &mut Client, reader: &mut SchemaReader, scope: &SchemaScope, after: &str) {
    let fresh = client.runtime.block_on(read_schema_inside(&mut client.session, scope)).unwrap();
    let read = client.runtime.block_on(reader.read_inside(&mut client.session));
    let read = read.unwrap_or_else(|fault| panic!("{after}: {fault}"));
    assert_eq!(diff(&fresh, &read), [], "{after}");
    assert_eq!(fresh.fingerprint(), read.fingerprint(), "{after}");
}

#[test]
fn alone_a_session_is_followed_through_its_transactions() {
    let server = Server::start();
    let mut client = Client::new(&server);
    let scope = SchemaScope::of(Platform::Plain);
    let mut reader = SchemaReader::alone(scope.clone());
    let major = client.major();
    let all = [statements(EVERYTHING, major), statements(CHANGES, major)].concat();
    client.run("BEGIN");
    let (mut made, mut refused) = (0, 0);
    for (at, statement) in all.iter().enumerate() {
        client.run("SAVEPOINT before");
        if client.try_run(statement).is_err() {
            // Not in a transaction, or not in that of a value of an enum.
            refused += 1;
            client.run("ROLLBACK TO before; RELEASE before");
            alone_in(&mut client, &mut reader, &scope, statement);
            client.run("COMMIT");
            client.run(statement);
            client.run("BEGIN");
            continue;
        }
        made += 1;
        alone_in(&mut client, &mut reader, &scope, statement);
        if at % 3 == 0 {
            client.run("ROLLBACK TO before");
            alone_in(&mut client, &mut reader, &scope, &format!("without {statement}"));
            client.run(statement);
            alone_in(&mut client, &mut reader, &scope, &format!("again {statement}"));
        }
        client.run("RELEASE before");
        if at % 2 == 0 {
            let Client { runtime, session } = &mut client;
            runtime.block_on(reader.turn(session)).unwrap();
            if at % 4 == 0 {
                alone_in(&mut client, &mut reader, &scope, &format!("committed {statement}"));
            }
        }
    }
    assert!(made > refused * 10, "{made} made, {refused} refused");
    let (full, all) = (reader.full_reads(), all.len() as u64);
    assert!(full < all / 3, "{full} of {all} were full reads");
}

#[test]
fn where_the_server_does_not_count_every_row_is_looked_at() {
    let server = Server::start();
    let mut client = Client::new(&server);
    client.run("CREATE TABLE t (id int PRIMARY KEY, name text)");
    let scope = SchemaScope::of(Platform::Plain);
    let mut reader = SchemaReader::alone(scope.clone());
    client.run("BEGIN");
    alone_in(&mut client, &mut reader, &scope, "the beginning");
    for sql in [
        "SET track_counts = off; ALTER TABLE t ADD COLUMN a int",
        "ALTER TABLE t ADD COLUMN b int",
        "SET track_counts = on; ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t DROP COLUMN b",
        // It is committed without being told, and the counts begin anew.
        "COMMIT; BEGIN; ALTER TABLE t ADD COLUMN c int",
        "DROP TABLE t",
    ] {
        client.run(sql);
        alone_in(&mut client, &mut reader, &scope, sql);
    }
}
