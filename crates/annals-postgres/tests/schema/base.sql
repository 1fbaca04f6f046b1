-- One database with an object of every kind a picture of a schema knows. It is
-- made by a superuser on PostgreSQL 13 or later, with the roles of roles.sql.
-- What takes a later version is in the changes themselves.

CREATE SCHEMA app;
CREATE SCHEMA other;
CREATE EXTENSION pgcrypto WITH SCHEMA other;
COMMENT ON SCHEMA app IS 'The application';

-- Types.
CREATE TYPE app.mood AS ENUM ('sad', 'fine', 'glad');
CREATE DOMAIN app.percent AS integer DEFAULT 0 NOT NULL CONSTRAINT percent_range CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN app.word AS text CONSTRAINT word_filled CHECK (VALUE <> '');
CREATE TYPE app.point3 AS (x double precision, y double precision, z double precision);
CREATE TYPE app.span AS RANGE (subtype = numeric);
CREATE COLLATION app.plain (provider = libc, locale = 'C');
COMMENT ON TYPE app.mood IS 'How it goes';

CREATE TABLE other.archive (id bigint, body text);

-- Functions, procedures, aggregates.
CREATE FUNCTION app.twice(n integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION app.first(a anyelement, b anyelement) RETURNS anyelement LANGUAGE sql IMMUTABLE STRICT AS 'SELECT a';
CREATE FUNCTION app.rows_of(n integer) RETURNS TABLE (i integer, t text) LANGUAGE sql STABLE ROWS 10 AS 'SELECT g, g::text FROM generate_series(1, n) AS g';
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed_at := now(); RETURN NEW; END $$;
CREATE FUNCTION app.on_command() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION app.on_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE PROCEDURE app.clean(days integer) LANGUAGE sql AS 'DELETE FROM other.archive WHERE false';
CREATE AGGREGATE app.first_of(anyelement) (SFUNC = app.first, STYPE = anyelement);
CREATE FUNCTION app.mood_of(n integer) RETURNS app.mood LANGUAGE sql IMMUTABLE AS $$ SELECT 'fine'::app.mood $$;
CREATE FUNCTION app.p3_same(a app.point3, b app.point3) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT a.x = b.x';
CREATE FUNCTION app.p3_cmp(a app.point3, b app.point3) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 0';
COMMENT ON FUNCTION app.twice(integer) IS 'Doubles';

-- Operators, casts.
CREATE OPERATOR app.=== (LEFTARG = app.point3, RIGHTARG = app.point3, FUNCTION = app.p3_same);
CREATE OPERATOR FAMILY app.p3_family USING btree;
CREATE OPERATOR CLASS app.p3_ops FOR TYPE app.point3 USING btree FAMILY app.p3_family AS OPERATOR 3 app.===, FUNCTION 1 app.p3_cmp(app.point3, app.point3);
CREATE CAST (integer AS app.mood) WITH FUNCTION app.mood_of(integer);

-- Tables.
CREATE SEQUENCE app.ticket AS bigint INCREMENT 1 MINVALUE 1 CACHE 1;
CREATE TABLE app.customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL CONSTRAINT customers_email_key UNIQUE,
    name varchar(80) COLLATE app.plain,
    mood app.mood NOT NULL DEFAULT 'fine',
    share app.percent,
    tags text[] NOT NULL DEFAULT '{}',
    full_name text GENERATED ALWAYS AS (email || name) STORED,
    born date,
    changed_at timestamptz,
    CONSTRAINT customers_born_past CHECK (born > '1900-01-01')
);
CREATE TABLE app.orders (
    id bigint PRIMARY KEY DEFAULT nextval('app.ticket'),
    customer bigint NOT NULL CONSTRAINT orders_customer_fkey REFERENCES app.customers ON DELETE CASCADE,
    parent bigint,
    note text,
    amount numeric(10, 2) NOT NULL DEFAULT 0,
    during tsrange,
    gone integer,
    CONSTRAINT orders_amount_positive CHECK (amount >= 0),
    CONSTRAINT orders_no_overlap EXCLUDE USING gist (during WITH &&)
) WITH (fillfactor = 90);
ALTER TABLE app.orders DROP COLUMN gone;
ALTER TABLE app.orders ADD CONSTRAINT orders_parent_fkey FOREIGN KEY (parent) REFERENCES app.orders DEFERRABLE NOT VALID;
ALTER SEQUENCE app.ticket OWNED BY app.orders.id;
CREATE TABLE app.events (at timestamptz NOT NULL, kind text NOT NULL, body jsonb) PARTITION BY RANGE (at);
CREATE TABLE app.events_2024 PARTITION OF app.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE app.events_2025 PARTITION OF app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE app.events_spare (at timestamptz NOT NULL, kind text NOT NULL, body jsonb);
CREATE TABLE app.base_thing (id integer, label text);
CREATE TABLE app.special_thing (extra text) INHERITS (app.base_thing);
CREATE TABLE app.lonely_thing (id integer, label text);
CREATE UNLOGGED TABLE app.scratch (id integer);
CREATE TABLE app.of_type OF app.point3;
COMMENT ON TABLE app.customers IS 'Who buys';
COMMENT ON COLUMN app.customers.email IS 'Where to write';
COMMENT ON CONSTRAINT orders_amount_positive ON app.orders IS 'No refunds';
ALTER TABLE app.customers ALTER COLUMN name SET STATISTICS 50;
ALTER TABLE app.orders CLUSTER ON orders_pkey;

-- Indexes, statistics.
CREATE INDEX orders_customer_idx ON app.orders (customer);
CREATE INDEX orders_note_idx ON app.orders (lower(note) text_pattern_ops DESC NULLS LAST) INCLUDE (amount) WHERE amount > 10;
CREATE UNIQUE INDEX customers_name_idx ON app.customers (name, id);
CREATE INDEX events_kind_idx ON app.events (kind);
CREATE INDEX customers_tags_idx ON app.customers USING gin (tags);
CREATE STATISTICS app.orders_stats (dependencies, ndistinct) ON customer, amount FROM app.orders;
COMMENT ON INDEX app.orders_customer_idx IS 'For the foreign key';

-- Views, rules.
CREATE VIEW app.glad_customers WITH (security_barrier) AS SELECT id, email FROM app.customers WHERE mood = 'glad';
CREATE VIEW app.plain_view AS SELECT id, label FROM app.base_thing;
CREATE MATERIALIZED VIEW app.totals AS SELECT customer, sum(amount) AS total FROM app.orders GROUP BY customer;
CREATE INDEX totals_customer_idx ON app.totals (customer);
CREATE RULE archive_keeps AS ON DELETE TO other.archive DO INSTEAD NOTHING;
COMMENT ON VIEW app.plain_view IS 'Plain';

-- Triggers.
CREATE TRIGGER customers_touch BEFORE UPDATE ON app.customers FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION app.touch();
CREATE CONSTRAINT TRIGGER customers_late AFTER INSERT ON app.customers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE EVENT TRIGGER schema_base_watch ON ddl_command_end WHEN TAG IN ('CREATE LANGUAGE') EXECUTE FUNCTION app.on_command();
COMMENT ON TRIGGER customers_touch ON app.customers IS 'Keeps the time';

-- Row level security and grants.
ALTER TABLE app.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY customers_own ON app.customers FOR SELECT TO schema_reader USING (email = current_user);
CREATE POLICY customers_write ON app.customers AS RESTRICTIVE FOR ALL USING (true) WITH CHECK (id > 0);
COMMENT ON POLICY customers_own ON app.customers IS 'One sees oneself';
GRANT USAGE ON SCHEMA app TO schema_reader;
GRANT SELECT, INSERT ON app.customers TO schema_reader;
GRANT UPDATE (name) ON app.customers TO schema_reader;
GRANT SELECT ON app.orders TO schema_writer WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION app.twice(integer) TO schema_reader;
GRANT USAGE ON SEQUENCE app.ticket TO schema_writer;
GRANT USAGE ON TYPE app.mood TO schema_reader;
REVOKE EXECUTE ON FUNCTION app.mood_of(integer) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO schema_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE schema_writer REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Text search.
CREATE TEXT SEARCH DICTIONARY app.short (TEMPLATE = simple, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = pg_catalog.simple);

-- Foreign objects, publications, the rest.
CREATE FOREIGN DATA WRAPPER nowhere OPTIONS (a '1');
CREATE SERVER far TYPE 'x' VERSION '1' FOREIGN DATA WRAPPER nowhere OPTIONS (host 'h');
CREATE USER MAPPING FOR schema_reader SERVER far OPTIONS (usr 'u');
CREATE FOREIGN TABLE app.remote (id integer OPTIONS (c '1') NOT NULL, t text) SERVER far OPTIONS (name 'r');
CREATE PUBLICATION outgoing FOR TABLE app.orders WITH (publish = 'insert, update');
CREATE CONVERSION app.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE FUNCTION app.other_call() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION app.other_inline(internal) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION app.other_check(oid) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE LANGUAGE plother HANDLER app.other_call INLINE app.other_inline VALIDATOR app.other_check;
CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;
