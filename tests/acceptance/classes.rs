//! How statements meet the transaction boundary: what annals says, and what the server does.

use std::fmt::Write as _;
use std::fs;

use annals_migrations::{StatementClass, parse};
use annals_testkit::Server;

use crate::psql::psql;

/// What annals makes of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// Part of a file that is one transaction.
    Inside,
    /// Needs a file of its own, or is refused altogether.
    Outside,
    /// Refused although the server would run it in a transaction: with what it depends on.
    Stricter,
    /// Taken for transactional, because only the catalog knows better: the server refuses it and
    /// nothing is left; with `transaction=off` it runs outside.
    Catalog,
}
use Says::{Catalog, Inside, Outside, Stricter};

const SETUP: &str = "\
CREATE TABLE t (a int); CREATE INDEX i ON t (a); CLUSTER t USING i;
CREATE TABLE p (a int) PARTITION BY RANGE (a); CREATE INDEX pi ON p (a);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE MATERIALIZED VIEW m AS SELECT 1 AS a; CREATE UNIQUE INDEX mi ON m (a);
CREATE TYPE e AS ENUM ('x'); CREATE SCHEMA s; CREATE ROLE r; CREATE VIEW v AS SELECT 1 AS a;
CREATE PROCEDURE plain() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1); END $$;
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
CREATE PUBLICATION pub; CREATE DATABASE other;
CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere dbname=none' PUBLICATION pub, pub2
    WITH (connect = false, slot_name = 'a_slot');
CREATE SUBSCRIPTION idle CONNECTION 'host=/nowhere dbname=none' PUBLICATION pub
    WITH (connect = false, slot_name = NONE);
ALTER SUBSCRIPTION sub ENABLE;
CREATE SUBSCRIPTION off CONNECTION 'host=/nowhere dbname=none' PUBLICATION pub
    WITH (connect = false, slot_name = 'another');
";

/// Statements, what annals says of them, and the first version that knows them.
const TABLE: &[(&str, Says, u32)] = &[
    ("CREATE INDEX CONCURRENTLY i2 ON t (a)", Outside, 13),
    ("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i2 ON t (a)", Outside, 13),
    ("CREATE INDEX i2 ON t (a)", Inside, 13),
    ("DROP INDEX CONCURRENTLY i", Outside, 13),
    ("DROP INDEX CONCURRENTLY IF EXISTS i", Outside, 13),
    ("DROP INDEX i", Inside, 13),
    ("REINDEX INDEX i", Inside, 13),
    ("REINDEX TABLE t", Inside, 13),
    ("REINDEX (VERBOSE) TABLE t", Inside, 13),
    ("REINDEX INDEX CONCURRENTLY i", Outside, 13),
    ("REINDEX TABLE CONCURRENTLY t", Outside, 13),
    ("REINDEX (CONCURRENTLY) TABLE t", Outside, 14),
    ("REINDEX (CONCURRENTLY true, VERBOSE) INDEX i", Outside, 14),
    ("REINDEX SCHEMA s", Outside, 13),
    ("REINDEX SCHEMA CONCURRENTLY s", Outside, 13),
    ("REINDEX DATABASE postgres", Outside, 13),
    ("REINDEX SYSTEM postgres", Outside, 13),
    ("REINDEX DATABASE", Outside, 16),
    ("REINDEX TABLE p", Catalog, 14),
    ("REINDEX INDEX pi", Catalog, 14),
    ("VACUUM", Outside, 13),
    ("VACUUM t", Outside, 13),
    ("VACUUM FULL t", Outside, 13),
    ("VACUUM FREEZE VERBOSE ANALYZE t", Outside, 13),
    ("VACUUM (ANALYZE, PARALLEL 2) t (a)", Outside, 13),
    ("VACUUM (SKIP_DATABASE_STATS) t", Outside, 16),
    ("VACUUM ONLY p", Outside, 18),
    ("ANALYZE", Inside, 13),
    ("ANALYZE t", Inside, 13),
    ("CLUSTER", Outside, 13),
    ("CLUSTER VERBOSE", Outside, 13),
    ("CLUSTER (VERBOSE)", Outside, 17),
    ("CLUSTER t", Inside, 13),
    ("CLUSTER t USING i", Inside, 13),
    ("CLUSTER p USING pi", Catalog, 15),
    ("CREATE DATABASE another", Outside, 13),
    ("CREATE DATABASE another TEMPLATE template0", Outside, 13),
    ("DROP DATABASE other", Outside, 13),
    ("DROP DATABASE IF EXISTS other WITH (FORCE)", Outside, 13),
    ("ALTER DATABASE other SET TABLESPACE pg_default", Outside, 13),
    ("ALTER DATABASE other SET work_mem = '5MB'", Inside, 13),
    ("ALTER DATABASE other RENAME TO another", Inside, 13),
    ("ALTER DATABASE other OWNER TO r", Inside, 13),
    ("ALTER DATABASE other CONNECTION LIMIT 5", Inside, 13),
    ("ALTER DATABASE other REFRESH COLLATION VERSION", Inside, 15),
    ("CREATE TABLESPACE ts LOCATION '/nowhere'", Outside, 13),
    ("DROP TABLESPACE ts", Outside, 13),
    ("ALTER TABLE t SET TABLESPACE pg_default", Inside, 13),
    ("ALTER SYSTEM SET work_mem = '5MB'", Outside, 13),
    ("ALTER SYSTEM RESET work_mem", Outside, 13),
    ("ALTER SYSTEM RESET ALL", Outside, 13),
    ("CREATE SUBSCRIPTION new CONNECTION 'host=/nowhere' PUBLICATION pub", Outside, 13),
    (
        "CREATE SUBSCRIPTION new CONNECTION 'host=/nowhere' PUBLICATION pub WITH (connect = false)",
        Stricter,
        13,
    ),
    ("DROP SUBSCRIPTION sub", Outside, 13),
    ("DROP SUBSCRIPTION idle", Stricter, 13),
    ("ALTER SUBSCRIPTION sub REFRESH PUBLICATION", Outside, 14),
    ("ALTER SUBSCRIPTION sub SET PUBLICATION pub", Outside, 14),
    ("ALTER SUBSCRIPTION sub SET PUBLICATION pub WITH (refresh = false)", Stricter, 13),
    ("ALTER SUBSCRIPTION sub ADD PUBLICATION pub3", Outside, 14),
    ("ALTER SUBSCRIPTION sub DROP PUBLICATION pub2", Outside, 14),
    ("ALTER SUBSCRIPTION off SET (failover = true)", Outside, 17),
    ("ALTER SUBSCRIPTION off SET (two_phase = false)", Outside, 18),
    ("ALTER SUBSCRIPTION sub DISABLE", Inside, 13),
    ("ALTER SUBSCRIPTION sub SET (binary = true)", Inside, 14),
    ("ALTER SUBSCRIPTION sub RENAME TO subject", Inside, 13),
    ("CREATE PUBLICATION pub3 FOR ALL TABLES", Inside, 13),
    ("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY", Outside, 14),
    ("ALTER TABLE p DETACH PARTITION p1", Inside, 13),
    ("ALTER TYPE e ADD VALUE 'y'", Inside, 13),
    ("ALTER TYPE e RENAME VALUE 'x' TO 'z'", Inside, 13),
    ("CALL plain()", Inside, 13),
    ("CALL commits()", Catalog, 13),
    ("DO $$ BEGIN INSERT INTO t VALUES (1); END $$", Inside, 13),
    ("DO $$ BEGIN COMMIT; END $$", Catalog, 13),
    ("REFRESH MATERIALIZED VIEW m", Inside, 13),
    ("REFRESH MATERIALIZED VIEW CONCURRENTLY m", Inside, 13),
    ("CREATE TABLE t2 AS SELECT 1 AS a", Inside, 13),
    ("ALTER TABLE t ADD COLUMN b int", Inside, 13),
    ("TRUNCATE t", Inside, 13),
    ("LOCK TABLE t", Inside, 13),
    ("DROP TABLE t", Inside, 13),
    ("DROP ROLE r", Inside, 13),
    ("ALTER ROLE r SET work_mem = '5MB'", Inside, 13),
    ("GRANT SELECT ON t TO r", Inside, 13),
    ("COMMENT ON TABLE t IS 'vacuum'", Inside, 13),
    ("NOTIFY c, 'x'", Inside, 13),
    ("SET LOCAL work_mem = '5MB'", Inside, 13),
    ("CHECKPOINT", Inside, 13),
    ("COPY t TO '/dev/null'", Inside, 13),
    ("COPY t FROM PROGRAM 'true'", Inside, 13),
    ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", Inside, 13),
    ("CREATE STATISTICS st ON a, (a + 1) FROM t", Inside, 14),
    ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", Inside, 14),
    ("MERGE INTO t USING v ON t.a = v.a WHEN NOT MATCHED THEN INSERT VALUES (v.a)", Inside, 15),
    ("CREATE TABLE u (a int, UNIQUE NULLS NOT DISTINCT (a))", Inside, 15),
    ("ALTER TABLE t ALTER a SET STORAGE DEFAULT", Inside, 16),
    (
        "MERGE INTO t USING v ON t.a = v.a WHEN MATCHED THEN DELETE RETURNING merge_action()",
        Inside,
        17,
    ),
    ("CREATE TABLE g (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL)", Inside, 18),
    ("UPDATE t SET a = 1 RETURNING old.a, new.a", Inside, 18),
];

/// What would end or change the transaction annals keeps: never asked of a server.
const CONTROL: &[&str] = &[
    "BEGIN",
    "START TRANSACTION",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "COMMIT",
    "COMMIT AND CHAIN",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "RELEASE SAVEPOINT a",
    "PREPARE TRANSACTION 'a'",
    "COMMIT PREPARED 'a'",
    "ROLLBACK PREPARED 'a'",
    "SET TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
];

fn said_of(sql: &str) -> Result<StatementClass, String> {
    match parse(sql) {
        Ok(script) => Ok(script.statements[0].class.clone()),
        Err(problems) => Err(problems[0].1.clone()),
    }
}

#[test]
fn what_cannot_run_in_a_transaction_is_known_before_the_server_says_so() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let major = server.value("SELECT current_setting('server_version_num')");
    let major = major.parse::<u32>().unwrap() / 10_000;
    let asked: Vec<_> = TABLE.iter().filter(|(_, _, since)| *since <= major).collect();
    let mut script = format!("\\set ON_ERROR_STOP off\n{SETUP}\\echo ==\n");
    for (sql, ..) in &asked {
        let _ = write!(script, "BEGIN;\n{sql};\n\\echo == :SQLSTATE\nROLLBACK;\n");
    }
    fs::write(folder.path().join("all.sql"), script).unwrap();
    let said = psql(&server, &folder.path().join("all.sql"));
    let mut codes = said.iter().filter_map(|line| line.strip_prefix("=="));
    assert_eq!(codes.next(), Some(""));
    let mut wrong = Vec::new();
    for (sql, says, _) in &asked {
        let code = codes.next().unwrap().trim();
        let said = said_of(sql);
        let off = said_of(&format!("-- annals: transaction=off\n{sql}"));
        let fits = match says {
            Inside => code == "00000" && said == Ok(StatementClass::Transactional),
            Outside => code == "25001" && said.is_err(),
            Stricter => code == "00000" && said.is_err(),
            Catalog => {
                ["25001", "2D000"].contains(&code)
                    && said == Ok(StatementClass::Transactional)
                    && off == Ok(StatementClass::Repeatable)
            }
        };
        // What may run outside is never taken for transactional there.
        let outside = *says != Outside || off != Ok(StatementClass::Transactional);
        if !fits || !outside {
            wrong.push(format!("{sql}: the server says {code}, annals {said:?}, alone {off:?}"));
        }
    }
    assert_eq!(codes.next(), None);
    assert!(wrong.is_empty(), "on PostgreSQL {major}:\n{}", wrong.join("\n"));
    println!("PostgreSQL {major}: {} statements", asked.len());
}

#[test]
fn transaction_control_is_refused_in_every_file() {
    for sql in CONTROL {
        for header in ["", "-- annals: transaction=off\n"] {
            let reason = said_of(&format!("{header}{sql};")).unwrap_err();
            assert!(
                reason.starts_with("transaction control is annals' own task"),
                "{sql}: {reason}"
            );
        }
    }
}

#[test]
fn a_value_added_to_a_type_cannot_be_used_by_the_server_either() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let uses = ["INSERT INTO u VALUES ('y')", "SELECT 'y'::e", "CREATE TABLE w (a e DEFAULT 'y')"];
    let harmless = ["ALTER TYPE e ADD VALUE 'w' BEFORE 'y'", "COMMENT ON TYPE e IS 'y'"];
    let mut script =
        "\\set ON_ERROR_STOP off\nCREATE TYPE e AS ENUM ('x'); CREATE TABLE u (a e);\n".to_owned();
    for sql in uses.iter().chain(&harmless) {
        let add = "ALTER TYPE e ADD VALUE 'y'";
        let _ = write!(script, "BEGIN;\n{add};\n{sql};\n\\echo == :SQLSTATE\nROLLBACK;\n");
    }
    fs::write(folder.path().join("all.sql"), script).unwrap();
    let said = psql(&server, &folder.path().join("all.sql"));
    let codes: Vec<_> = said.iter().filter_map(|line| line.strip_prefix("== ")).collect();
    assert_eq!(codes, ["55P04", "55P04", "55P04", "00000", "00000"]);
    for sql in uses {
        let file = format!("ALTER TYPE e ADD VALUE 'y';\n{sql};");
        let problems = parse(&file).unwrap_err();
        assert_eq!(problems[0].0, file.find('\n').unwrap() + 1, "{sql}");
        assert!(problems[0].1.contains("add it in a migration of its own"), "{problems:?}");
    }
    for sql in harmless {
        assert!(parse(&format!("ALTER TYPE e ADD VALUE 'y';\n{sql};")).is_ok(), "{sql}");
    }
}
