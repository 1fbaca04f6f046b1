//! Functions, types, and what stands beside tables.

use super::{Change, c};

pub(super) const FUNCTIONS: &[Change] = &[
    c("function", "added", "CREATE FUNCTION app.fresh() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "function"),
    c("function", "overload added", "CREATE FUNCTION app.twice(n text) RETURNS text LANGUAGE sql AS 'SELECT n || n'", "function"),
    c("function", "dropped", "DROP FUNCTION app.rows_of(integer)", "function"),
    c("function", "body changed", "CREATE OR REPLACE FUNCTION app.twice(n integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n + n'", "function"),
    c("function", "body of an SQL-standard one", "CREATE OR REPLACE FUNCTION app.twice(n integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE RETURN n + n", "function").since(14),
    c("function", "default of an argument", "CREATE OR REPLACE FUNCTION app.twice(n integer DEFAULT 2) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n * 2'", "function"),
    c("function", "name of an argument", "DROP FUNCTION app.rows_of(integer); CREATE FUNCTION app.rows_of(m integer) RETURNS TABLE (i integer, t text) LANGUAGE sql STABLE ROWS 10 AS 'SELECT g, g::text FROM generate_series(1, m) AS g'", "function"),
    c("function", "result changed", "DROP FUNCTION app.rows_of(integer); CREATE FUNCTION app.rows_of(n integer) RETURNS TABLE (i bigint, t text) LANGUAGE sql STABLE ROWS 10 AS 'SELECT g, g::text FROM generate_series(1, n) AS g'", "function"),
    c("function", "volatility changed", "ALTER FUNCTION app.twice(integer) STABLE", "function"),
    c("function", "strict", "ALTER FUNCTION app.twice(integer) STRICT", "function"),
    c("function", "security definer", "ALTER FUNCTION app.twice(integer) SECURITY DEFINER", "function"),
    c("function", "leakproof", "ALTER FUNCTION app.twice(integer) LEAKPROOF", "function"),
    c("function", "parallel safe", "ALTER FUNCTION app.twice(integer) PARALLEL SAFE", "function"),
    c("function", "cost changed", "ALTER FUNCTION app.twice(integer) COST 7", "function"),
    c("function", "rows changed", "ALTER FUNCTION app.rows_of(integer) ROWS 99", "function"),
    c("function", "setting added", "ALTER FUNCTION app.twice(integer) SET search_path = ''", "function"),
    c("function", "support function", "ALTER FUNCTION app.rows_of(integer) SUPPORT generate_series_int4_support", "function"),
    c("function", "language changed", "CREATE OR REPLACE FUNCTION app.touch() RETURNS trigger LANGUAGE plother AS $$ BEGIN NEW.changed_at := now(); RETURN NEW; END $$", "function"),
    c("procedure", "dropped", "DROP PROCEDURE app.clean(integer)", "function"),
    c("procedure", "body changed", "CREATE OR REPLACE PROCEDURE app.clean(days integer) LANGUAGE sql AS 'DELETE FROM other.archive WHERE true'", "function"),
    c("aggregate", "dropped", "DROP AGGREGATE app.first_of(anyelement)", "function"),
    c("aggregate", "parallel safe", "DROP AGGREGATE app.first_of(anyelement); CREATE AGGREGATE app.first_of(anyelement) (SFUNC = app.first, STYPE = anyelement, PARALLEL = safe)", "function"),
];

pub(super) const TRIGGERS: &[Change] = &[
    c(
        "trigger",
        "added",
        "CREATE TRIGGER fresh BEFORE INSERT ON app.customers FOR EACH ROW EXECUTE FUNCTION app.touch()",
        "trigger",
    ),
    c("trigger", "dropped", "DROP TRIGGER customers_touch ON app.customers", "trigger"),
    c(
        "trigger",
        "renamed",
        "ALTER TRIGGER customers_touch ON app.customers RENAME TO touched",
        "trigger",
    ),
    c(
        "trigger",
        "disabled",
        "ALTER TABLE app.customers DISABLE TRIGGER customers_touch",
        "trigger",
    ),
    c(
        "trigger",
        "enabled always",
        "ALTER TABLE app.customers ENABLE ALWAYS TRIGGER customers_touch",
        "trigger",
    ),
    c(
        "trigger",
        "enabled on a replica",
        "ALTER TABLE app.customers ENABLE REPLICA TRIGGER customers_touch",
        "trigger",
    ),
    c(
        "trigger",
        "condition changed",
        "DROP TRIGGER customers_touch ON app.customers; CREATE TRIGGER customers_touch BEFORE UPDATE ON app.customers FOR EACH ROW EXECUTE FUNCTION app.touch()",
        "trigger",
    ),
    c(
        "trigger",
        "on other columns",
        "DROP TRIGGER customers_touch ON app.customers; CREATE TRIGGER customers_touch BEFORE UPDATE OF name ON app.customers FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION app.touch()",
        "trigger",
    ),
    c(
        "trigger",
        "deferred no more",
        "DROP TRIGGER customers_late ON app.customers; CREATE CONSTRAINT TRIGGER customers_late AFTER INSERT ON app.customers DEFERRABLE FOR EACH ROW EXECUTE FUNCTION app.touch()",
        "trigger",
    ),
    c(
        "trigger",
        "those of constraints disabled",
        "ALTER TABLE app.orders DISABLE TRIGGER ALL",
        "trigger|constraint|table",
    ),
    c(
        "event trigger",
        "added",
        "CREATE EVENT TRIGGER schema_base_fresh ON sql_drop EXECUTE FUNCTION app.on_drop()",
        "event_trigger",
    ),
    c("event trigger", "dropped", "DROP EVENT TRIGGER schema_base_watch", "event_trigger"),
    c(
        "event trigger",
        "disabled",
        "ALTER EVENT TRIGGER schema_base_watch DISABLE",
        "event_trigger",
    ),
];

pub(super) const TYPES: &[Change] = &[
    c("enum", "added", "CREATE TYPE app.fresh AS ENUM ('a')", "type"),
    c("enum", "dropped", "DROP TYPE app.extra", "type").before("CREATE TYPE app.extra AS ENUM ('a')"),
    c("enum", "value added at the end", "ALTER TYPE app.mood ADD VALUE 'elated'", "type"),
    c("enum", "value added in between", "ALTER TYPE app.mood ADD VALUE 'poor' AFTER 'sad'", "type"),
    c("enum", "value renamed", "ALTER TYPE app.mood RENAME VALUE 'glad' TO 'happy'", "type"),
    c("enum", "order of values", "DROP TYPE app.extra; CREATE TYPE app.extra AS ENUM ('b', 'a')", "type").before("CREATE TYPE app.extra AS ENUM ('a', 'b')"),
    c("domain", "added", "CREATE DOMAIN app.fresh AS integer", "type"),
    c("domain", "constraint added", "ALTER DOMAIN app.word ADD CONSTRAINT word_short CHECK (length(VALUE) < 9)", "type|constraint"),
    c("domain", "constraint dropped", "ALTER DOMAIN app.word DROP CONSTRAINT word_filled", "type|constraint"),
    c("domain", "constraint not valid", "ALTER DOMAIN app.word DROP CONSTRAINT word_filled; ALTER DOMAIN app.word ADD CONSTRAINT word_filled CHECK (VALUE <> '') NOT VALID", "type|constraint"),
    c("domain", "default changed", "ALTER DOMAIN app.percent SET DEFAULT 50", "type"),
    c("domain", "not null dropped", "ALTER DOMAIN app.percent DROP NOT NULL", "type"),
    c("composite type", "attribute added", "ALTER TYPE app.loose ADD ATTRIBUTE c text", "type|column").before("CREATE TYPE app.loose AS (a integer, b text)"),
    c("composite type", "attribute dropped", "ALTER TYPE app.loose DROP ATTRIBUTE b", "type|column").before("CREATE TYPE app.loose AS (a integer, b text)"),
    c("composite type", "attribute's type changed", "ALTER TYPE app.loose ALTER ATTRIBUTE a TYPE bigint", "type|column").before("CREATE TYPE app.loose AS (a integer, b text)"),
    c("range type", "added", "CREATE TYPE app.fresh AS RANGE (subtype = text)", "type"),
    c("range type", "subtype changed", "DROP TYPE app.span; CREATE TYPE app.span AS RANGE (subtype = float8)", "type"),
    c("type", "renamed", "ALTER TYPE app.span RENAME TO stretch", "type"),
    c("type", "moved to another schema", "ALTER TYPE app.span SET SCHEMA other", "type"),
    c("collation", "added", "CREATE COLLATION app.fresh (provider = libc, locale = 'POSIX')", "collation"),
    c("collation", "renamed", "ALTER COLLATION app.plain RENAME TO simple", "collation"),
    c("collation", "another locale", "ALTER COLLATION app.spare RENAME TO old; CREATE COLLATION app.spare (provider = libc, locale = 'POSIX'); DROP COLLATION app.old", "collation").before("CREATE COLLATION app.spare (provider = libc, locale = 'C')"),
    c("conversion", "dropped", "DROP CONVERSION app.latin", "conversion"),
];

// Functions of the server that have the right arguments: none of them is called.
const FROM_MOOD: &str = "CREATE FUNCTION app.from_mood(internal) RETURNS internal LANGUAGE internal IMMUTABLE STRICT AS 'prsd_lextype'";

const TRANSFORM: &str = "CREATE FUNCTION app.from_mood(internal) RETURNS internal LANGUAGE internal IMMUTABLE STRICT AS 'prsd_lextype'; \
    CREATE FUNCTION app.from_point(internal) RETURNS internal LANGUAGE internal IMMUTABLE STRICT AS 'prsd_lextype'; \
    CREATE FUNCTION app.to_point(internal) RETURNS app.point3 LANGUAGE internal IMMUTABLE STRICT AS 'prsd_lextype'; \
    CREATE FUNCTION app.of_point(p app.point3) RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; \
    CREATE TRANSFORM FOR app.point3 LANGUAGE plpgsql (FROM SQL WITH FUNCTION app.from_point(internal))";

const PARSER: &str = "CREATE TEXT SEARCH PARSER app.parts (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline)";

pub(super) const OPERATORS: &[Change] = &[
    c("operator", "added", "CREATE OPERATOR app.!== (LEFTARG = app.point3, RIGHTARG = app.point3, FUNCTION = app.p3_same)", "operator"),
    c("operator", "estimator set", "ALTER OPERATOR app.=== (app.point3, app.point3) SET (RESTRICT = eqsel)", "operator"),
    c("operator", "dropped", "DROP OPERATOR app.=== (app.point3, app.point3) CASCADE", "operator"),
    c("operator class", "dropped", "DROP OPERATOR CLASS app.p3_ops USING btree", "operator_class"),
    c("operator family", "member added", "ALTER OPERATOR FAMILY app.p3_family USING btree ADD FUNCTION 2 (app.point3, app.point3) btint4sortsupport(internal)", "operator_family|operator_class"),
    c("cast", "added", "CREATE CAST (app.point3 AS integer) WITH FUNCTION app.p3_int(app.point3)", "cast").before("CREATE FUNCTION app.p3_int(app.point3) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1'"),
    c("cast", "implicit", "DROP CAST (integer AS app.mood); CREATE CAST (integer AS app.mood) WITH FUNCTION app.mood_of(integer) AS IMPLICIT", "cast"),
    c("cast", "dropped", "DROP CAST (integer AS app.mood)", "cast"),
    c("transform", "added", "CREATE TRANSFORM FOR app.mood LANGUAGE plpgsql (FROM SQL WITH FUNCTION app.from_mood(internal))", "transform").before(FROM_MOOD),
    c("transform", "function changed", "CREATE OR REPLACE TRANSFORM FOR app.point3 LANGUAGE plpgsql (FROM SQL WITH FUNCTION app.from_mood(internal))", "transform").before(TRANSFORM),
    c("transform", "direction added", "CREATE OR REPLACE TRANSFORM FOR app.point3 LANGUAGE plpgsql (FROM SQL WITH FUNCTION app.from_point(internal), TO SQL WITH FUNCTION app.to_point(internal))", "transform").before(TRANSFORM),
    c("transform", "comment", "COMMENT ON TRANSFORM FOR app.point3 LANGUAGE plpgsql IS 'x'", "transform").before(TRANSFORM),
    c("transform", "dropped", "DROP TRANSFORM FOR app.point3 LANGUAGE plpgsql", "transform").before(TRANSFORM),
    c("transform", "used by a function", "CREATE OR REPLACE FUNCTION app.of_point(p app.point3) RETURNS integer TRANSFORM FOR TYPE app.point3 LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'", "function").before(TRANSFORM),
    c("language", "dropped", "DROP LANGUAGE plother", "language"),
    c("access method", "dropped", "DROP ACCESS METHOD heap_too", "access_method"),
];

pub(super) const TEXT_SEARCH: &[Change] = &[
    c(
        "text search configuration",
        "added",
        "CREATE TEXT SEARCH CONFIGURATION app.fresh (COPY = pg_catalog.english)",
        "text_search_configuration",
    ),
    c(
        "text search configuration",
        "mapping changed",
        "ALTER TEXT SEARCH CONFIGURATION app.words ALTER MAPPING FOR asciiword WITH app.short, simple",
        "text_search_configuration",
    ),
    c(
        "text search configuration",
        "mapping dropped",
        "ALTER TEXT SEARCH CONFIGURATION app.words DROP MAPPING FOR email",
        "text_search_configuration",
    ),
    c(
        "text search dictionary",
        "option changed",
        "ALTER TEXT SEARCH DICTIONARY app.short (Accept = false)",
        "text_search_dictionary",
    ),
    c(
        "text search dictionary",
        "dropped",
        "DROP TEXT SEARCH DICTIONARY app.short",
        "text_search_dictionary",
    ),
    c("text search parser", "added", PARSER, "text_search_parser"),
    c(
        "text search parser",
        "function dropped",
        "DROP TEXT SEARCH PARSER app.parts; CREATE TEXT SEARCH PARSER app.parts (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
        "text_search_parser",
    )
    .before(PARSER),
    c(
        "text search parser",
        "renamed",
        "ALTER TEXT SEARCH PARSER app.parts RENAME TO pieces",
        "text_search_parser",
    )
    .before(PARSER),
    c(
        "text search parser",
        "moved to another schema",
        "ALTER TEXT SEARCH PARSER app.parts SET SCHEMA other",
        "text_search_parser",
    )
    .before(PARSER),
    c("text search parser", "dropped", "DROP TEXT SEARCH PARSER app.parts", "text_search_parser")
        .before(PARSER),
    c(
        "text search template",
        "added",
        "CREATE TEXT SEARCH TEMPLATE app.fresh (INIT = dsimple_init, LEXIZE = dsimple_lexize)",
        "text_search_template",
    ),
    c(
        "text search template",
        "dropped",
        "DROP TEXT SEARCH TEMPLATE app.plain",
        "text_search_template",
    )
    .before("CREATE TEXT SEARCH TEMPLATE app.plain (LEXIZE = dsimple_lexize)"),
];

pub(super) const EXTENSIONS: &[Change] = &[
    c("extension", "added", "CREATE EXTENSION citext WITH SCHEMA app", "extension"),
    c("extension", "dropped", "DROP EXTENSION pgcrypto", "extension"),
    c(
        "extension",
        "moved to another schema",
        "ALTER EXTENSION pgcrypto SET SCHEMA app",
        "extension",
    ),
    c(
        "extension",
        "another version",
        "UPDATE pg_extension SET extversion = '1.2' WHERE extname = 'pgcrypto'",
        "extension",
    ),
    c(
        "extension",
        "an object leaves it",
        "ALTER EXTENSION pgcrypto DROP FUNCTION other.digest(text, text)",
        "function",
    ),
];

pub(super) const FOREIGN: &[Change] = &[
    c(
        "foreign data wrapper",
        "option changed",
        "ALTER FOREIGN DATA WRAPPER nowhere OPTIONS (SET a '2')",
        "foreign_data_wrapper",
    ),
    c(
        "foreign data wrapper",
        "added",
        "CREATE FOREIGN DATA WRAPPER elsewhere",
        "foreign_data_wrapper",
    ),
    c(
        "foreign server",
        "option changed",
        "ALTER SERVER far OPTIONS (SET host 'i')",
        "foreign_server",
    ),
    c("foreign server", "version changed", "ALTER SERVER far VERSION '2'", "foreign_server"),
    c(
        "foreign server",
        "added",
        "CREATE SERVER near FOREIGN DATA WRAPPER nowhere",
        "foreign_server",
    ),
    c("user mapping", "added", "CREATE USER MAPPING FOR PUBLIC SERVER far", "user_mapping"),
    c("user mapping", "dropped", "DROP USER MAPPING FOR schema_reader SERVER far", "user_mapping"),
    c("foreign table", "added", "CREATE FOREIGN TABLE app.fresh (id integer) SERVER far", "table"),
    c(
        "foreign table",
        "option changed",
        "ALTER FOREIGN TABLE app.remote OPTIONS (SET name 's')",
        "table",
    ),
    c(
        "foreign table",
        "option of a column",
        "ALTER FOREIGN TABLE app.remote ALTER COLUMN id OPTIONS (SET c '2')",
        "column",
    ),
];

pub(super) const REPLICATION: &[Change] = &[
    c("publication", "added", "CREATE PUBLICATION fresh FOR ALL TABLES", "publication"),
    c("publication", "dropped", "DROP PUBLICATION outgoing", "publication"),
    c("publication", "table added", "ALTER PUBLICATION outgoing ADD TABLE app.customers", "publication_table"),
    c("publication", "table dropped", "ALTER PUBLICATION outgoing DROP TABLE app.orders", "publication_table"),
    c("publication", "operations changed", "ALTER PUBLICATION outgoing SET (publish = 'delete')", "publication"),
    c("publication", "through the root", "ALTER PUBLICATION outgoing SET (publish_via_partition_root = true)", "publication"),
    c("publication", "column list", "ALTER PUBLICATION outgoing SET TABLE app.orders (id, note)", "publication_table").since(15),
    c("publication", "row filter", "ALTER PUBLICATION outgoing SET TABLE app.orders WHERE (id > 1)", "publication_table").since(15),
    c("publication", "schema added", "ALTER PUBLICATION outgoing ADD TABLES IN SCHEMA other", "publication_schema").since(15),
    c("subscription", "added", "CREATE SUBSCRIPTION from_far CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE, enabled = false, create_slot = false)", "subscription"),
    c("subscription", "publications changed", "ALTER SUBSCRIPTION from_far SET PUBLICATION q WITH (refresh = false)", "subscription").before("CREATE SUBSCRIPTION from_far CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE, enabled = false, create_slot = false)"),
];
