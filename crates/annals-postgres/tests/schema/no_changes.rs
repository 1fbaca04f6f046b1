//! What changes nothing: SQL behind which the schema is what it was.

/// SQL that leaves the schema as it was.
pub(crate) struct NoChange {
    pub(crate) what: &'static str,
    /// Each is sent by itself: some do not run in a transaction.
    pub(crate) sql: &'static [&'static str],
    pub(crate) since: u32,
}

const fn n(what: &'static str, sql: &'static [&'static str]) -> NoChange {
    NoChange { what, sql, since: 13 }
}

const fn since(since: u32, no_change: NoChange) -> NoChange {
    NoChange { since, ..no_change }
}

pub(crate) const NO_CHANGES: &[NoChange] = &[
    n(
        "a column added and dropped",
        &["ALTER TABLE app.orders ADD COLUMN x integer; ALTER TABLE app.orders DROP COLUMN x"],
    ),
    n(
        "a table added and dropped",
        &["CREATE TABLE app.x (id serial PRIMARY KEY); DROP TABLE app.x"],
    ),
    n(
        "an index dropped and made again",
        &[
            "DROP INDEX app.orders_customer_idx; CREATE INDEX orders_customer_idx ON app.orders USING btree (customer ASC NULLS LAST); COMMENT ON INDEX app.orders_customer_idx IS 'For the foreign key'",
        ],
    ),
    n("an index reindexed", &["REINDEX INDEX app.orders_note_idx"]),
    n("an index reindexed concurrently", &["REINDEX INDEX CONCURRENTLY app.orders_customer_idx"]),
    n(
        "a table reindexed concurrently, with comments and clustering",
        &["REINDEX TABLE CONCURRENTLY app.orders"],
    ),
    n(
        "an index made concurrently instead of not",
        &[
            "DROP INDEX app.totals_customer_idx",
            "CREATE INDEX CONCURRENTLY totals_customer_idx ON app.totals (customer)",
        ],
    ),
    n(
        "a constraint dropped and made again",
        &[
            "ALTER TABLE app.customers DROP CONSTRAINT customers_born_past; ALTER TABLE app.customers ADD CONSTRAINT customers_born_past CHECK (born > '1900-01-01')",
        ],
    ),
    n(
        "a function replaced by itself",
        &[
            "CREATE OR REPLACE FUNCTION app.twice(n integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n * 2'",
        ],
    ),
    n(
        "a view replaced by itself",
        &["CREATE OR REPLACE VIEW app.plain_view AS SELECT id, label FROM app.base_thing"],
    ),
    n(
        "a trigger dropped and made again",
        &[
            "DROP TRIGGER customers_late ON app.customers; CREATE CONSTRAINT TRIGGER customers_late AFTER INSERT ON app.customers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.touch()",
        ],
    ),
    n(
        "a trigger disabled and enabled",
        &[
            "ALTER TABLE app.customers DISABLE TRIGGER ALL; ALTER TABLE app.customers ENABLE TRIGGER ALL",
        ],
    ),
    n(
        "a policy dropped and made again",
        &[
            "DROP POLICY customers_write ON app.customers; CREATE POLICY customers_write ON app.customers AS RESTRICTIVE FOR ALL USING (true) WITH CHECK (id > 0)",
        ],
    ),
    n(
        "a grant repeated",
        &[
            "GRANT SELECT, INSERT ON app.customers TO schema_reader; GRANT UPDATE (name) ON app.customers TO schema_reader",
        ],
    ),
    n(
        "a grant given and taken",
        &[
            "GRANT DELETE ON app.orders TO schema_reader; REVOKE DELETE ON app.orders FROM schema_reader",
        ],
    ),
    n("the owner's own rights written down", &["GRANT ALL ON app.lonely_thing TO CURRENT_USER"]),
    n(
        "the owner's own rights written down, on a function",
        &["GRANT EXECUTE ON FUNCTION app.rows_of(integer) TO PUBLIC"],
    ),
    n(
        "a grant on another table in another order",
        &[
            "REVOKE ALL ON app.customers FROM schema_reader; GRANT INSERT ON app.customers TO schema_reader; GRANT UPDATE (name) ON app.customers TO schema_reader; GRANT SELECT ON app.customers TO schema_reader",
        ],
    ),
    n(
        "a comment set and cleared",
        &["COMMENT ON TABLE app.orders IS 'x'; COMMENT ON TABLE app.orders IS NULL"],
    ),
    n("a comment that is empty", &["COMMENT ON TABLE app.orders IS ''"]),
    n(
        "a default set and dropped",
        &[
            "ALTER TABLE app.orders ALTER COLUMN note SET DEFAULT 'x'; ALTER TABLE app.orders ALTER COLUMN note DROP DEFAULT",
        ],
    ),
    n("a default set to the same", &["ALTER TABLE app.orders ALTER COLUMN amount SET DEFAULT 0"]),
    n(
        "a name changed and changed back",
        &["ALTER TABLE app.orders RENAME TO x; ALTER TABLE app.x RENAME TO orders"],
    ),
    n(
        "a type changed to itself",
        &["ALTER TABLE app.lonely_thing ALTER COLUMN label TYPE text USING label || ''"],
    ),
    n(
        "rows written",
        &[
            "INSERT INTO app.lonely_thing SELECT g, 'x' FROM generate_series(1, 500) AS g; INSERT INTO app.customers (email, name) VALUES ('a', 'b')",
        ],
    ),
    n(
        "rows removed and the table rewritten",
        &[
            "INSERT INTO app.lonely_thing VALUES (1, 'x'); TRUNCATE app.lonely_thing",
            "VACUUM FULL app.lonely_thing",
        ],
    ),
    n("the statistics of the planner", &["ANALYZE"]),
    n("a vacuum", &["VACUUM app.orders"]),
    n("a clustering by the index it is clustered on", &["CLUSTER app.orders"]),
    n("the value of a sequence", &["SELECT nextval('app.ticket'), setval('app.ticket', 77)"]),
    n("the restart of a sequence", &["ALTER SEQUENCE app.ticket RESTART"]),
    n("a materialized view refreshed", &["REFRESH MATERIALIZED VIEW app.totals"]),
    n(
        "what another session holds",
        &["CREATE TEMPORARY TABLE x (id integer); CREATE TEMPORARY VIEW y AS SELECT * FROM x"],
    ),
    n("a large object", &["SELECT lo_create(0)"]),
    n(
        "a setting of the session",
        &[
            "SET search_path = other; SET datestyle = 'SQL, DMY'; SET quote_all_identifiers = on; SET extra_float_digits = -5",
        ],
    ),
    n("an object of an extension used", &["SELECT other.gen_random_bytes(1)"]),
    n(
        "an extension dropped and made again",
        &["DROP EXTENSION pgcrypto; CREATE EXTENSION pgcrypto WITH SCHEMA other"],
    ),
    n(
        "a partition detached and attached",
        &[
            "ALTER TABLE app.events DETACH PARTITION app.events_2025; ALTER TABLE app.events ATTACH PARTITION app.events_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        ],
    ),
    n(
        "a publication's table taken and given back",
        &[
            "ALTER PUBLICATION outgoing DROP TABLE app.orders; ALTER PUBLICATION outgoing ADD TABLE app.orders",
        ],
    ),
    n(
        "default privileges given and taken",
        &[
            "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT INSERT ON TABLES TO schema_writer; ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE INSERT ON TABLES FROM schema_writer",
        ],
    ),
    n(
        "a storage parameter set and reset",
        &[
            "ALTER TABLE app.lonely_thing SET (fillfactor = 50); ALTER TABLE app.lonely_thing RESET (fillfactor)",
        ],
    ),
    n(
        "the storage of a type's default",
        &["ALTER TABLE app.orders ALTER COLUMN note SET STORAGE EXTENDED"],
    ),
    since(
        14,
        n(
            "a partition detached concurrently and attached",
            &[
                "ALTER TABLE app.events DETACH PARTITION app.events_2025 CONCURRENTLY",
                "ALTER TABLE app.events_2025 DROP CONSTRAINT IF EXISTS events_2025_at_check",
                "ALTER TABLE app.events ATTACH PARTITION app.events_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
            ],
        ),
    ),
    n(
        "a setting of the database set and reset",
        &[
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 99', current_database()); EXECUTE format('ALTER DATABASE %I RESET work_mem', current_database()); END $$",
        ],
    ),
];
