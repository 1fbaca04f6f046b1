//! What gave nothing is left out of a picture brought up to date, until it could give something.

use annals_postgres::{Platform, SchemaReader, SchemaScope, read_schema_inside};
use annals_schema::{Snapshot, diff};
use annals_testkit::Server;

use crate::client::Client;

/// Each brings the first of its kind; nothing of it is there before.
const FIRSTS: &[&str] = &[
    "CREATE COLLATION public.mine FROM \"C\"",
    "CREATE CONVERSION public.mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    "CREATE FOREIGN DATA WRAPPER mine",
    "CREATE FOREIGN DATA WRAPPER other; CREATE SERVER mine FOREIGN DATA WRAPPER other; \
     CREATE USER MAPPING FOR PUBLIC SERVER mine",
    "CREATE OPERATOR public.### (FUNCTION = int4pl, LEFTARG = int4, RIGHTARG = int4)",
    "CREATE OPERATOR FAMILY public.mine USING btree",
    "CREATE OPERATOR CLASS public.mine FOR TYPE int4 USING hash AS OPERATOR 1 =",
    "CREATE CAST (int4 AS point) WITH INOUT",
    "CREATE TEXT SEARCH TEMPLATE public.mine (LEXIZE = dsimple_lexize, INIT = dsimple_init)",
    "CREATE TEXT SEARCH DICTIONARY public.mine (TEMPLATE = simple)",
    "CREATE TEXT SEARCH PARSER public.mine (START = prsd_start, GETTOKEN = prsd_nexttoken, \
     END = prsd_end, LEXTYPES = prsd_lextype)",
    "CREATE TEXT SEARCH CONFIGURATION public.mine (COPY = simple)",
    "CREATE PUBLICATION mine FOR TABLE t",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "CREATE FUNCTION public.noticed() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
     CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION public.noticed()",
    "CREATE ACCESS METHOD mine TYPE INDEX HANDLER bthandler",
    "CREATE LANGUAGE mine HANDLER plpgsql_call_handler",
    "GRANT SELECT ON pg_catalog.pg_statistic TO PUBLIC",
    "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC",
    "COMMENT ON SCHEMA public IS 'mine'",
];

/// Another change, which leaves all of these alone.
const ELSEWHERE: &str = "ALTER TABLE t ADD COLUMN more int";

fn same(client: &mut Client, reader: &mut SchemaReader, after: &str) -> Snapshot {
    let scope = SchemaScope::of(Platform::Plain);
    let fresh = client.runtime.block_on(read_schema_inside(&mut client.session, &scope)).unwrap();
    let read = client.runtime.block_on(reader.read_inside(&mut client.session)).unwrap();
    assert_eq!(diff(&fresh, &read), [], "{after}");
    read
}

#[test]
fn the_first_of_each_kind_is_seen_and_so_is_that_it_is_gone() {
    let server = Server::start();
    let mut client = Client::new(&server);
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut reader = SchemaReader::new(SchemaScope::of(Platform::Plain));
    for first in FIRSTS {
        client.run("BEGIN");
        let before = same(&mut client, &mut reader, "the beginning");
        client.run("SAVEPOINT first");
        client.run(first);
        assert_ne!(same(&mut client, &mut reader, first), before, "{first}");
        client.run(ELSEWHERE);
        same(&mut client, &mut reader, first);
        client.run("ROLLBACK TO first");
        assert_eq!(same(&mut client, &mut reader, first), before, "{first}");
        client.run(ELSEWHERE);
        same(&mut client, &mut reader, "elsewhere");
        client.run("ROLLBACK");
    }
}

#[test]
fn side_by_side_each_is_there_in_the_next_picture() {
    let server = Server::start();
    let mut client = Client::new(&server);
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    let mut reader = SchemaReader::new(SchemaScope::of(Platform::Plain));
    for (at, first) in FIRSTS.iter().enumerate() {
        let elsewhere = format!("ALTER TABLE t ALTER COLUMN id SET STATISTICS {}", at + 7);
        for sql in [*first, &elsewhere] {
            client.run(sql);
            let fresh = client.read();
            let read = client.runtime.block_on(reader.read(&mut client.session)).unwrap();
            assert_eq!(diff(&fresh, &read), [], "{sql}");
        }
    }
    let full = reader.full_reads();
    client.run("DROP OPERATOR public.### (int4, int4)");
    let fresh = client.read();
    let read = client.runtime.block_on(reader.read(&mut client.session)).unwrap();
    assert_eq!(diff(&fresh, &read), []);
    assert_eq!(reader.full_reads(), full);
}
