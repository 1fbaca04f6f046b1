//! The fixed set of migrations every case runs, and what the database looks like before them.
//!
//! Each file counts itself in `harness.effects`, a table without a key, so that a second time would
//! be seen. `harness.pass(gate)` waits as long as the gate is closed; that is how a case gets into
//! the middle of a statement. The same wait stands at the commit of every counted effect.

/// One migration and its rollback.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Version and name, as its files are named.
    pub id: &'static str,
    /// What it stands for.
    pub class: &'static str,
    /// Whether it is one transaction.
    pub transactional: bool,
    /// The file that goes up.
    pub up: &'static str,
    /// The file that goes back.
    pub down: &'static str,
}

const fn inside(
    id: &'static str,
    class: &'static str,
    up: &'static str,
    down: &'static str,
) -> Migration {
    Migration { id, class, transactional: true, up, down }
}

const fn outside(
    id: &'static str,
    class: &'static str,
    up: &'static str,
    down: &'static str,
) -> Migration {
    Migration { id, class, transactional: false, up, down }
}

impl Migration {
    /// Whether its files count themselves in `harness.effects`.
    pub fn counts_itself(&self) -> bool {
        self.up.contains("harness.effect(")
    }

    /// Its version.
    pub fn version(&self) -> u32 {
        let number = self.id.split_once('_').map_or(self.id, |(number, _)| number);
        number.parse().expect("a fixed migration has a number")
    }
}

/// All of them, in order.
pub const MIGRATIONS: &[Migration] = &[
    inside(
        "1_customers",
        "transactional DDL",
        "CREATE TABLE app.customers (id bigint PRIMARY KEY, name text NOT NULL);\n\
         SELECT harness.effect('up 1');\n",
        "DROP TABLE app.customers;\nSELECT harness.effect('down 1');\n",
    ),
    inside(
        "2_totals",
        "several statements",
        "SELECT harness.effect('up 2');\n\
         CREATE TABLE app.totals (day int PRIMARY KEY, amount int NOT NULL);\n\
         SELECT harness.pass('up 2');\n\
         CREATE INDEX totals_amount ON app.totals (amount);\n\
         COMMENT ON TABLE app.totals IS 'one row a day; written at night';\n",
        "SELECT harness.effect('down 2');\nSELECT harness.pass('down 2');\nDROP TABLE app.totals;\n",
    ),
    inside(
        "3_totals_rows",
        "data",
        "INSERT INTO app.totals SELECT n, n * n FROM generate_series(1, 500) n;\n\
         UPDATE app.totals SET amount = amount + 1 WHERE day % 2 = 0;\n\
         DELETE FROM app.totals WHERE day > 490;\n\
         SELECT harness.effect('up 3');\n",
        "DELETE FROM app.totals;\nSELECT harness.effect('down 3');\n",
    ),
    inside(
        "4_orders_state",
        "alteration of a busy table",
        "ALTER TABLE app.orders ADD COLUMN state text NOT NULL DEFAULT 'new';\n\
         SELECT harness.effect('up 4');\n",
        "ALTER TABLE app.orders DROP COLUMN state;\nSELECT harness.effect('down 4');\n",
    ),
    inside(
        "5_mood",
        "enum",
        "CREATE TYPE app.mood AS ENUM ('calm', 'glad');\n\
         CREATE TABLE app.moods (id int, mood app.mood);\n\
         SELECT harness.effect('up 5');\n",
        "DROP TABLE app.moods;\nDROP TYPE app.mood;\nSELECT harness.effect('down 5');\n",
    ),
    inside(
        "6_mood_value",
        "enum value added",
        "SELECT harness.effect('up 6');\nALTER TYPE app.mood ADD VALUE 'wild';\n",
        "ALTER TYPE app.mood RENAME TO mood_before;\n\
         CREATE TYPE app.mood AS ENUM ('calm', 'glad');\n\
         ALTER TABLE app.moods ALTER COLUMN mood TYPE app.mood USING mood::text::app.mood;\n\
         DROP TYPE app.mood_before;\n\
         SELECT harness.effect('down 6');\n",
    ),
    inside(
        "7_greet",
        "function with dollar quotes in dollar quotes",
        "CREATE FUNCTION app.greet(who text) RETURNS text LANGUAGE plpgsql AS $outer$\n\
         DECLARE said text; BEGIN\n\
         EXECUTE $inner$ SELECT 'hello; ' || $1 $inner$ INTO said USING who;\n\
         RETURN said; END; $outer$;\n\
         SELECT harness.effect('up 7');\n",
        "DROP FUNCTION app.greet(text);\nSELECT harness.effect('down 7');\n",
    ),
    inside(
        "8_visits",
        "partitioned table",
        "CREATE TABLE app.visits (day int NOT NULL, page text) PARTITION BY RANGE (day);\n\
         CREATE TABLE app.visits_1 PARTITION OF app.visits FOR VALUES FROM (0) TO (100);\n\
         CREATE TABLE app.visits_2 PARTITION OF app.visits FOR VALUES FROM (100) TO (200);\n\
         CREATE INDEX visits_page ON app.visits (page);\n\
         INSERT INTO app.visits SELECT n, 'page ' || n FROM generate_series(0, 199) n;\n\
         SELECT harness.effect('up 8');\n",
        "DROP TABLE app.visits;\nSELECT harness.effect('down 8');\n",
    ),
    outside(
        "9_orders_index",
        "concurrent index",
        "-- annals: transaction=off\n\
         SELECT harness.effect('up 9');\n\
         CREATE INDEX CONCURRENTLY orders_n ON app.orders (n);\n",
        "-- annals: transaction=off\n\
         DROP INDEX CONCURRENTLY app.orders_n;\n\
         SELECT harness.effect('down 9');\n",
    ),
    outside(
        "10_items_old",
        "concurrent drop of an index",
        "-- annals: transaction=off\n\
         DROP INDEX CONCURRENTLY app.items_old;\n\
         SELECT harness.effect('up 10');\n",
        "-- annals: transaction=off\n\
         SELECT harness.effect('down 10');\n\
         CREATE INDEX CONCURRENTLY items_old ON app.items (n);\n",
    ),
    outside(
        "11_mix",
        "statements of both kinds outside a transaction",
        "-- annals: transaction=off\n\
         SELECT harness.effect('up 11');\n\
         VACUUM app.totals;\n\
         SELECT harness.pass('up 11');\n\
         CREATE INDEX CONCURRENTLY items_writer ON app.items (writer);\n\
         COMMENT ON COLUMN app.items.writer IS 'who';\n",
        "-- annals: transaction=off\n\
         COMMENT ON COLUMN app.items.writer IS NULL;\n\
         SELECT harness.pass('down 11');\n\
         DROP INDEX CONCURRENTLY app.items_writer;\n\
         VACUUM app.items;\n\
         SELECT harness.effect('down 11');\n",
    ),
    inside(
        "12_long",
        "a long statement",
        "SELECT harness.effect('up 12');\n\
         INSERT INTO app.customers SELECT n, 'customer ' || n FROM generate_series(1, 300) n, \
         LATERAL (SELECT CASE WHEN n = 150 THEN harness.pass('up 12') END) AS waits;\n",
        "SELECT harness.pass('down 12');\nDELETE FROM app.customers;\n\
         SELECT harness.effect('down 12');\n",
    ),
    inside(
        "13_two_tables",
        "locks on two busy tables",
        "ALTER TABLE app.items ADD COLUMN weight int;\n\
         SELECT harness.pass('up 13');\n\
         ALTER TABLE app.orders ADD COLUMN weight int;\n\
         SELECT harness.effect('up 13');\n",
        "ALTER TABLE app.items DROP COLUMN weight;\n\
         SELECT harness.pass('down 13');\n\
         ALTER TABLE app.orders DROP COLUMN weight;\n\
         SELECT harness.effect('down 13');\n",
    ),
    inside(
        "14_settings",
        "settings that must not outlive the file",
        "SET search_path TO app, public;\nSET work_mem = '1MB';\n\
         CREATE VIEW busy AS SELECT writer, count(*) AS orders FROM orders GROUP BY writer;\n\
         SELECT harness.effect('up 14');\n",
        "DROP VIEW app.busy;\nSELECT harness.effect('down 14');\n",
    ),
    // It cannot count itself beside its one statement: each row of each batch is counted instead.
    outside(
        "15_backfill",
        "backfill",
        "-- annals: backfill=app.totals.day, batch=100, pause=1ms\n\
         INSERT INTO harness.batches (what, day)\n\
         SELECT 'up 15', day FROM app.totals WHERE day BETWEEN :from AND :to;\n",
        "-- annals: backfill=app.totals.day, batch=100, pause=1ms\n\
         INSERT INTO harness.batches (what, day)\n\
         SELECT 'down 15', day FROM app.totals WHERE day BETWEEN :from AND :to;\n",
    ),
];

/// Rows a backfill meets, each once.
pub const BACKFILL_ROWS: usize = 490;

/// The role annals logs in as. It owns the database and nothing else.
pub const DEPLOYER: &str = "deployer";

/// What stands in rows of the application and must never be printed or recorded.
pub const DATA_CANARY: &str = "row-canary-4be1d07a";

/// What a fresh database gets, as the superuser.
pub const SETUP: &str = "
CREATE SCHEMA harness;
GRANT USAGE ON SCHEMA harness TO PUBLIC;
CREATE TABLE harness.effects (what text, pid int, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE harness.gates (name text);
CREATE TABLE harness.batches (what text, day int);
GRANT SELECT, INSERT ON harness.effects, harness.gates, harness.batches TO PUBLIC;
CREATE FUNCTION harness.pass(gate text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WHILE EXISTS (SELECT FROM harness.gates g WHERE g.name = gate) LOOP
    PERFORM pg_catalog.pg_sleep(0.01);
  END LOOP;
END $$;
CREATE FUNCTION harness.effect(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE locks text;
BEGIN
  SELECT coalesce(string_agg(l.classid || '.' || l.objid, ','), 'none') INTO locks
    FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock'
      AND l.pid = pg_catalog.pg_backend_pid();
  RAISE LOG 'harness effect db=% what=% pid=% locks=%',
    pg_catalog.current_database(), replace(what, ' ', '-'), pg_catalog.pg_backend_pid(), locks;
  INSERT INTO harness.effects (what, pid) VALUES (what, pg_catalog.pg_backend_pid());
END $$;
CREATE FUNCTION harness.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM harness.pass('commit ' || NEW.what);
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON harness.effects
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION harness.at_commit();
CREATE FUNCTION harness.no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM harness.gates g WHERE g.name = 'no ddl') THEN
    RAISE EXCEPTION 'no changes today';
  END IF;
END $$;
CREATE EVENT TRIGGER no_ddl ON ddl_command_end EXECUTE FUNCTION harness.no_ddl();
CREATE SCHEMA app AUTHORIZATION deployer;
SET ROLE deployer;
CREATE TABLE app.orders (id bigserial PRIMARY KEY, writer int NOT NULL, n int NOT NULL);
CREATE TABLE app.items (id bigserial PRIMARY KEY, writer int NOT NULL, n int NOT NULL);
CREATE INDEX items_old ON app.items (n);
CREATE TABLE app.people (name text UNIQUE);
INSERT INTO app.people VALUES ('row-canary-4be1d07a');
INSERT INTO app.orders (writer, n) SELECT 0, n FROM generate_series(1, 200) n;
INSERT INTO app.items (writer, n) SELECT 0, n FROM generate_series(1, 200) n;
RESET ROLE;
";
