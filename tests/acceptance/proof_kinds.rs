//! Rollbacks that are wrong, each in another way, and what names each of them.

use annals_testkit::{Server, Workspace};
use serde_json::{Value, json};

/// A wrong rollback: what is there before, the migration, its rollback, and what is not as it was.
struct Wrong {
    what: &'static str,
    before: &'static str,
    up: &'static str,
    down: &'static str,
    /// In the name of the object that differs.
    names: &'static str,
}

const fn wrong(
    what: &'static str,
    before: &'static str,
    up: &'static str,
    down: &'static str,
    names: &'static str,
) -> Wrong {
    Wrong { what, before, up, down, names }
}

const WRONG: &[Wrong] = &[
    wrong(
        "a lost index",
        "CREATE TABLE lost_index (a int); CREATE INDEX lost_index_a ON lost_index (a);",
        "DROP INDEX lost_index_a;",
        "SELECT 1;",
        "public.lost_index_a",
    ),
    wrong(
        "a lost grant",
        "CREATE TABLE lost_grant (a int); GRANT SELECT, INSERT ON lost_grant TO reader;",
        "REVOKE ALL ON lost_grant FROM reader;",
        "GRANT SELECT ON lost_grant TO reader;",
        "public.lost_grant",
    ),
    wrong(
        "a grant on one column",
        "CREATE TABLE column_grant (a int, b int); GRANT SELECT (a) ON column_grant TO reader;",
        "REVOKE SELECT (a) ON column_grant FROM reader;",
        "GRANT SELECT (b) ON column_grant TO reader;",
        "public.column_grant",
    ),
    wrong(
        "a policy's condition",
        "CREATE TABLE policied (a int); CREATE POLICY only_own ON policied USING (a > 0);",
        "ALTER POLICY only_own ON policied USING (a > 1);",
        "ALTER POLICY only_own ON policied USING (a >= 0);",
        "only_own",
    ),
    wrong(
        "a comment",
        "CREATE TABLE commented (a int); COMMENT ON TABLE commented IS 'what it is';",
        "COMMENT ON TABLE commented IS 'something else';",
        "COMMENT ON TABLE commented IS NULL;",
        "public.commented",
    ),
    wrong(
        "a default",
        "CREATE TABLE defaulted (a int DEFAULT 1);",
        "ALTER TABLE defaulted ALTER a DROP DEFAULT;",
        "ALTER TABLE defaulted ALTER a SET DEFAULT 2;",
        "public.defaulted.a",
    ),
    wrong(
        "an enum's label",
        "CREATE TYPE labelled AS ENUM ('old');",
        "ALTER TYPE labelled ADD VALUE 'new';",
        "SELECT 1;",
        "public.labelled",
    ),
    wrong(
        "an enum's order",
        "CREATE TYPE ordered AS ENUM ('a', 'b');",
        "ALTER TYPE ordered RENAME VALUE 'a' TO 'x';",
        "ALTER TYPE ordered RENAME VALUE 'x' TO 'c';",
        "public.ordered",
    ),
    wrong(
        "a sequence's owner",
        "CREATE TABLE owning (a int); CREATE SEQUENCE owned OWNED BY owning.a;",
        "ALTER SEQUENCE owned OWNED BY NONE;",
        "SELECT 1;",
        "public.owned",
    ),
    wrong(
        "a trigger's state",
        "CREATE TABLE triggered (a int); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql \
         AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER fires AFTER INSERT ON triggered \
         FOR EACH ROW EXECUTE FUNCTION nothing();",
        "ALTER TABLE triggered DISABLE TRIGGER fires;",
        "ALTER TABLE triggered ENABLE ALWAYS TRIGGER fires;",
        "fires",
    ),
    wrong(
        "a constraint that is not validated",
        "CREATE TABLE validated (a int, CONSTRAINT positive CHECK (a > 0));",
        "ALTER TABLE validated DROP CONSTRAINT positive;",
        "ALTER TABLE validated ADD CONSTRAINT positive CHECK (a > 0) NOT VALID;",
        "positive",
    ),
    wrong(
        "row level security that stays on",
        "CREATE TABLE secured (a int);",
        "ALTER TABLE secured ENABLE ROW LEVEL SECURITY;",
        "SELECT 1;",
        "public.secured",
    ),
    wrong(
        "row level security that stays forced",
        "CREATE TABLE forced (a int);",
        "ALTER TABLE forced FORCE ROW LEVEL SECURITY;",
        "SELECT 1;",
        "public.forced",
    ),
    wrong(
        "an owner",
        "CREATE TABLE another_owner (a int);",
        "ALTER TABLE another_owner OWNER TO reader;",
        "SELECT 1;",
        "public.another_owner",
    ),
    wrong(
        "a function's body",
        "CREATE FUNCTION answers() RETURNS int LANGUAGE sql AS 'SELECT 1';",
        "CREATE OR REPLACE FUNCTION answers() RETURNS int LANGUAGE sql AS 'SELECT 2';",
        "CREATE OR REPLACE FUNCTION answers() RETURNS int LANGUAGE sql AS 'SELECT 3';",
        "public.answers",
    ),
    wrong(
        "a function's volatility",
        "CREATE FUNCTION constant() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';",
        "CREATE OR REPLACE FUNCTION constant() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1';",
        "CREATE OR REPLACE FUNCTION constant() RETURNS int LANGUAGE sql AS 'SELECT 1';",
        "public.constant",
    ),
    wrong(
        "a view's option",
        "CREATE VIEW viewed WITH (security_barrier) AS SELECT 1 AS a;",
        "DROP VIEW viewed;",
        "CREATE VIEW viewed AS SELECT 1 AS a;",
        "public.viewed",
    ),
    wrong(
        "a unique index that comes back plain",
        "CREATE TABLE uniquely (a int); CREATE UNIQUE INDEX uniquely_a ON uniquely (a);",
        "DROP INDEX uniquely_a;",
        "CREATE INDEX uniquely_a ON uniquely (a);",
        "public.uniquely_a",
    ),
    wrong(
        "a collation",
        "CREATE TABLE collated (a text COLLATE \"C\");",
        "ALTER TABLE collated ALTER a TYPE text COLLATE \"POSIX\";",
        "ALTER TABLE collated ALTER a TYPE text;",
        "public.collated.a",
    ),
    wrong(
        "a kind of identity",
        "CREATE TABLE identified (a int GENERATED ALWAYS AS IDENTITY);",
        "ALTER TABLE identified ALTER a SET GENERATED BY DEFAULT;",
        "SELECT 1;",
        "public.identified.a",
    ),
    wrong(
        "a column's storage",
        "CREATE TABLE stored (a text);",
        "ALTER TABLE stored ALTER a SET STORAGE EXTERNAL;",
        "ALTER TABLE stored ALTER a SET STORAGE MAIN;",
        "public.stored.a",
    ),
    wrong(
        "a column's statistics target",
        "CREATE TABLE counted (a int);",
        "ALTER TABLE counted ALTER a SET STATISTICS 500;",
        "ALTER TABLE counted ALTER a SET STATISTICS 100;",
        "public.counted.a",
    ),
    wrong(
        "a table's options",
        "CREATE TABLE optioned (a int) WITH (fillfactor = 70);",
        "ALTER TABLE optioned SET (fillfactor = 80);",
        "ALTER TABLE optioned RESET (fillfactor);",
        "public.optioned",
    ),
    wrong(
        "a foreign key's action",
        "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (id int, \
         CONSTRAINT of_parent FOREIGN KEY (id) REFERENCES parents ON DELETE CASCADE);",
        "ALTER TABLE children DROP CONSTRAINT of_parent;",
        "ALTER TABLE children ADD CONSTRAINT of_parent FOREIGN KEY (id) REFERENCES parents;",
        "of_parent",
    ),
    wrong(
        "a constraint that was deferrable",
        "CREATE TABLE deferring (a int, CONSTRAINT one_each UNIQUE (a) DEFERRABLE);",
        "ALTER TABLE deferring DROP CONSTRAINT one_each;",
        "ALTER TABLE deferring ADD CONSTRAINT one_each UNIQUE (a);",
        "one_each",
    ),
    wrong(
        "a domain's condition",
        "CREATE DOMAIN small AS int CONSTRAINT is_small CHECK (VALUE < 10);",
        "ALTER DOMAIN small DROP CONSTRAINT is_small;",
        "ALTER DOMAIN small ADD CONSTRAINT is_small CHECK (VALUE < 100);",
        "small",
    ),
    wrong(
        "a replica identity",
        "CREATE TABLE replicated (a int PRIMARY KEY);",
        "ALTER TABLE replicated REPLICA IDENTITY FULL;",
        "ALTER TABLE replicated REPLICA IDENTITY NOTHING;",
        "public.replicated",
    ),
    wrong(
        "a member of a publication",
        "CREATE TABLE published (a int PRIMARY KEY); CREATE PUBLICATION gazette FOR TABLE published;",
        "ALTER PUBLICATION gazette DROP TABLE published;",
        "SELECT 1;",
        "gazette",
    ),
    wrong(
        "a column that may be empty now",
        "CREATE TABLE filled (a int NOT NULL);",
        "ALTER TABLE filled ALTER a DROP NOT NULL;",
        "SELECT 1;",
        "public.filled.a",
    ),
    wrong(
        "a column's type",
        "CREATE TABLE typed (a numeric(10, 2));",
        "ALTER TABLE typed ALTER a TYPE text;",
        "ALTER TABLE typed ALTER a TYPE numeric USING a::numeric;",
        "public.typed.a",
    ),
    wrong(
        "a column that is not generated any more",
        "CREATE TABLE generated (a int, b int GENERATED ALWAYS AS (a * 2) STORED);",
        "ALTER TABLE generated DROP COLUMN b;",
        "ALTER TABLE generated ADD COLUMN b int;",
        "public.generated.b",
    ),
    wrong(
        "a schema that stays",
        "SELECT 1;",
        "CREATE SCHEMA left_behind;",
        "SELECT 1;",
        "left_behind",
    ),
    wrong(
        "a partition that stays detached",
        "CREATE TABLE whole (a int) PARTITION BY RANGE (a); \
         CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (100);",
        "ALTER TABLE whole DETACH PARTITION part;",
        "SELECT 1;",
        "public.part",
    ),
    wrong(
        "extended statistics",
        "CREATE TABLE estimated (a int, b int); CREATE STATISTICS together ON a, b FROM estimated;",
        "DROP STATISTICS together;",
        "SELECT 1;",
        "together",
    ),
    wrong(
        "a rule",
        "CREATE TABLE ruled (a int); CREATE RULE quietly AS ON DELETE TO ruled DO INSTEAD NOTHING;",
        "DROP RULE quietly ON ruled;",
        "SELECT 1;",
        "quietly",
    ),
    // Of objects that are made from now on: last, so that it is about nothing else.
    wrong(
        "default privileges",
        "SELECT 1;",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;",
        "SELECT 1;",
        "for tables in public",
    ),
];

#[test]
fn a_wrong_rollback_of_any_kind_is_caught_and_names_the_object() {
    let server = Server::start();
    server.sql("CREATE ROLE reader");
    let workspace = Workspace::new(&server);
    let before: String = WRONG.iter().map(|wrong| format!("{}\n", wrong.before)).collect();
    let declared = format!("-- annals: irreversible=\"the beginning\"\n{before}");
    workspace.migration("1_before", &declared, "SELECT 1;");
    for (n, wrong) in WRONG.iter().enumerate() {
        workspace.migration(&format!("{}_wrong", n + 2), wrong.up, wrong.down);
    }
    let proof = workspace.annals("proof --json --jobs 3").run().expect(17).json();
    let steps = proof["steps"].as_array().unwrap();
    assert_eq!(steps.len(), WRONG.len() + 1);
    assert_eq!(steps[0]["verdict"], "irreversible");
    let mut missed = Vec::new();
    for (wrong, step) in WRONG.iter().zip(&steps[1..]) {
        let differences = step["report"]["differences"].as_array().unwrap();
        let name = |found: &Value| found["name"].as_str().unwrap_or_default().to_owned();
        let named = differences.iter().any(|found| name(found).contains(wrong.names));
        if step["verdict"] != "differs" || step["accepted"] != false || !named {
            let failure = &step["report"]["failure"];
            missed.push(format!("{}: {} {differences:?} {failure}", wrong.what, step["verdict"]));
        }
    }
    assert!(missed.is_empty(), "{} of {}:\n{}", missed.len(), WRONG.len(), missed.join("\n"));
    // The target was only read; the verdicts are in its log.
    assert_eq!(server.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    let recorded = workspace.kinds().iter().filter(|kind| *kind == "proof_recorded").count();
    assert_eq!(recorded, WRONG.len() + 1);
    // In one database the same is seen of all of them as in several at a time.
    let alone = workspace.annals("proof --json --no-record --jobs 1").run().expect(17).json();
    assert_eq!((&proof["lanes"], &alone["lanes"]), (&json!(3), &json!(1)));
    assert_eq!(without_times(&proof["steps"]), without_times(&alone["steps"]));
}

/// A document without durations.
fn without_times(document: &Value) -> Value {
    match document {
        Value::Object(fields) => {
            let others = fields.iter().filter(|(name, _)| !name.ends_with("us"));
            others.map(|(name, value)| (name.clone(), without_times(value))).collect()
        }
        Value::Array(values) => values.iter().map(without_times).collect(),
        other => other.clone(),
    }
}

#[test]
fn lanes_that_fail_or_contradict_each_other_end_as_one_lane_does() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let table = |n: usize| {
        let (up, down) = (format!("CREATE TABLE t{n} (id int);"), format!("DROP TABLE t{n};"));
        workspace.migration(&format!("{n}_t"), &up, &down);
    };
    (1..=6).for_each(table);
    let same_with = |lanes: u64, exit: i32| {
        let proof = |jobs: u64| {
            let jobs = format!("proof --json --no-record --jobs {jobs}");
            workspace.annals(&jobs).run().expect(exit).json()
        };
        let (one, several) = (proof(1), proof(3));
        assert_eq!((&one["lanes"], &several["lanes"]), (&json!(1), &json!(lanes)));
        for part in ["steps", "not_reached"] {
            assert_eq!(without_times(&several[part]), without_times(&one[part]));
        }
        several
    };
    let all = same_with(3, 0);
    let chains = all["steps"].as_array().unwrap().iter().map(|step| &step["chain"]);
    assert_eq!(chains.collect::<Vec<_>>(), ["exact"; 6]);
    workspace.annals("proof --no-record --jobs 2").run().expect(0).says(&["in 2 databases"]);
    // A migration that fails ends a lane before others, and the last one.
    for n in [3, 6] {
        workspace.write(&format!("migrations/{n}_t.sql"), "SELECT 1 / 0;");
        let failed = same_with(3, 17);
        assert_eq!(failed["steps"].as_array().unwrap().len(), n);
        assert_eq!(failed["not_reached"].as_array().unwrap().len(), 6 - n);
        table(n);
    }
    // What differs in the chain is counted from the schema the lanes have left together.
    workspace.write("rollbacks/2_t_rollback.sql", "ALTER TABLE t2 RENAME TO t_two;");
    same_with(3, 17);
    // Another schema each time: the lanes do not meet.
    workspace.migration("2_t", "CREATE VIEW t2 AS SELECT 'now'::timestamp AS at;", "DROP VIEW t2;");
    let verdicts = |jobs: u64| {
        let jobs = format!("proof --json --no-record --jobs {jobs}");
        let proof = workspace.annals(&jobs).run().expect(0).json();
        let steps = proof["steps"].as_array().unwrap().iter();
        let told = steps.map(|step| [step["verdict"].clone(), step["chain"].clone()]);
        (proof["lanes"].clone(), told.collect::<Vec<_>>())
    };
    assert_eq!(verdicts(3), (json!(1), vec![[json!("exact"), json!("exact")]; 6]));
    // A role belongs to the server, and the words do not tell.
    workspace.migration(
        "2_t",
        "DO $$ BEGIN EXECUTE 'CREATE ' || 'ROLE lane_r'; END $$;",
        "DO $$ BEGIN EXECUTE 'DROP ' || 'ROLE lane_r'; END $$;",
    );
    same_with(1, 0);
}
