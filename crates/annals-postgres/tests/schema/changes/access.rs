//! Who may what, whose it is, what is said of it.

use super::{Change, c};

pub(super) const SECURITY: &[Change] = &[
    c(
        "row level security",
        "enabled",
        "ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY",
        "row_security",
    ),
    c(
        "row level security",
        "disabled",
        "ALTER TABLE app.customers DISABLE ROW LEVEL SECURITY",
        "row_security",
    ),
    c(
        "row level security",
        "forced",
        "ALTER TABLE app.customers FORCE ROW LEVEL SECURITY",
        "row_security",
    ),
    c("policy", "added", "CREATE POLICY fresh ON app.customers USING (true)", "policy"),
    c("policy", "dropped", "DROP POLICY customers_own ON app.customers", "policy"),
    c("policy", "renamed", "ALTER POLICY customers_own ON app.customers RENAME TO own", "policy"),
    c(
        "policy",
        "condition changed",
        "ALTER POLICY customers_own ON app.customers USING (true)",
        "policy",
    ),
    c(
        "policy",
        "check changed",
        "ALTER POLICY customers_write ON app.customers WITH CHECK (id > 1)",
        "policy",
    ),
    c(
        "policy",
        "roles changed",
        "ALTER POLICY customers_own ON app.customers TO schema_writer",
        "policy",
    ),
    c(
        "policy",
        "for another command",
        "DROP POLICY customers_own ON app.customers; CREATE POLICY customers_own ON app.customers FOR UPDATE TO schema_reader USING (email = current_user)",
        "policy",
    ),
    c(
        "policy",
        "permissive or restrictive",
        "DROP POLICY customers_write ON app.customers; CREATE POLICY customers_write ON app.customers FOR ALL USING (true) WITH CHECK (id > 0)",
        "policy",
    ),
];

/// No provider of labels comes with the server: the row is what `SECURITY LABEL` writes.
pub(super) const LABELS: &[Change] = &[
    c(
        "security label",
        "on a table",
        "INSERT INTO pg_seclabel VALUES ('app.orders'::regclass, 'pg_class'::regclass, 0, 'guard', 'secret')",
        "security_label",
    ),
    c(
        "security label",
        "on a column",
        "INSERT INTO pg_seclabel VALUES ('app.orders'::regclass, 'pg_class'::regclass, 1, 'guard', 'secret')",
        "security_label",
    ),
    c(
        "security label",
        "on a function",
        "INSERT INTO pg_seclabel VALUES ('app.twice(integer)'::regprocedure, 'pg_proc'::regclass, 0, 'guard', 'trusted')",
        "security_label",
    ),
    c(
        "security label",
        "on the database",
        "INSERT INTO pg_shseclabel SELECT oid, 'pg_database'::regclass, 'guard', 'secret' FROM pg_database WHERE datname = current_database()",
        "security_label",
    ),
    c("security label", "changed", "UPDATE pg_seclabel SET label = 'open'", "security_label")
        .before(LABEL),
    c(
        "security label",
        "of another provider",
        "UPDATE pg_seclabel SET provider = 'other'",
        "security_label",
    )
    .before(LABEL),
    c("security label", "removed", "DELETE FROM pg_seclabel", "security_label").before(LABEL),
];

const LABEL: &str = "INSERT INTO pg_seclabel VALUES ('app.orders'::regclass, 'pg_class'::regclass, 0, 'guard', 'secret')";

pub(super) const GRANTS: &[Change] = &[
    c("grant", "on a table", "GRANT DELETE ON app.customers TO schema_reader", "grant"),
    c(
        "grant",
        "revoked from a table",
        "REVOKE INSERT ON app.customers FROM schema_reader",
        "grant",
    ),
    c("grant", "to everybody", "GRANT SELECT ON app.orders TO PUBLIC", "grant"),
    c("grant", "of the owner revoked", "REVOKE ALL ON app.lonely_thing FROM CURRENT_USER", "grant"),
    c(
        "grant",
        "with grant option",
        "GRANT SELECT ON app.customers TO schema_reader WITH GRANT OPTION",
        "grant",
    ),
    c(
        "grant",
        "grant option revoked",
        "REVOKE GRANT OPTION FOR SELECT ON app.orders FROM schema_writer",
        "grant",
    ),
    c("grant", "on a column", "GRANT SELECT (email) ON app.customers TO schema_writer", "grant"),
    c(
        "grant",
        "revoked from a column",
        "REVOKE UPDATE (name) ON app.customers FROM schema_reader",
        "grant",
    ),
    c("grant", "on a view", "GRANT SELECT ON app.plain_view TO schema_reader", "grant"),
    c("grant", "on a sequence", "GRANT SELECT ON SEQUENCE app.ticket TO schema_reader", "grant"),
    c("grant", "on a schema", "GRANT CREATE ON SCHEMA app TO schema_writer", "grant"),
    c(
        "grant",
        "on a function",
        "REVOKE EXECUTE ON FUNCTION app.twice(integer) FROM PUBLIC",
        "grant",
    ),
    c(
        "grant",
        "on a procedure",
        "GRANT EXECUTE ON PROCEDURE app.clean(integer) TO schema_reader",
        "grant",
    ),
    c("grant", "on a type", "REVOKE USAGE ON TYPE app.mood FROM PUBLIC", "grant"),
    c("grant", "on a domain", "GRANT USAGE ON DOMAIN app.word TO schema_writer", "grant"),
    c("grant", "on a language", "GRANT USAGE ON LANGUAGE plother TO schema_writer", "grant")
        .before("UPDATE pg_language SET lanpltrusted = true WHERE lanname = 'plother'"),
    c(
        "grant",
        "on a foreign data wrapper",
        "GRANT USAGE ON FOREIGN DATA WRAPPER nowhere TO schema_writer",
        "grant",
    ),
    c(
        "grant",
        "on a foreign server",
        "GRANT USAGE ON FOREIGN SERVER far TO schema_writer",
        "grant",
    ),
    c(
        "grant",
        "on the database",
        "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO schema_writer', current_database()); END $$",
        "grant",
    ),
];

pub(super) const DEFAULTS: &[Change] = &[
    c(
        "default privileges",
        "added",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT INSERT ON TABLES TO schema_writer",
        "default_privileges",
    ),
    c(
        "default privileges",
        "revoked",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM schema_reader",
        "default_privileges",
    ),
    c(
        "default privileges",
        "of functions, everywhere",
        "ALTER DEFAULT PRIVILEGES FOR ROLE schema_writer GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
        "default_privileges",
    ),
    c(
        "default privileges",
        "of types",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT USAGE ON TYPES TO schema_writer",
        "default_privileges",
    ),
];

pub(super) const OWNERS: &[Change] = &[
    c("owner", "of a schema", "ALTER SCHEMA other OWNER TO schema_owner", "schema"),
    c("owner", "of a table", "ALTER TABLE app.lonely_thing OWNER TO schema_owner", "table"),
    c("owner", "of a view", "ALTER VIEW app.plain_view OWNER TO schema_owner", "view"),
    c(
        "owner",
        "of a sequence",
        "ALTER SEQUENCE app.ticket OWNED BY NONE; ALTER SEQUENCE app.ticket OWNER TO schema_owner",
        "sequence",
    ),
    c(
        "owner",
        "of a function",
        "ALTER FUNCTION app.twice(integer) OWNER TO schema_owner",
        "function",
    ),
    c("owner", "of a type", "ALTER TYPE app.mood OWNER TO schema_owner", "type"),
    c(
        "owner",
        "of an event trigger",
        "ALTER EVENT TRIGGER schema_base_watch OWNER TO schema_super",
        "event_trigger",
    ),
    c(
        "owner",
        "of a publication",
        "ALTER PUBLICATION outgoing OWNER TO schema_super",
        "publication",
    ),
    c(
        "owner",
        "of statistics",
        "ALTER STATISTICS app.orders_stats OWNER TO schema_owner",
        "statistics",
    ),
    c("owner", "of a foreign server", "ALTER SERVER far OWNER TO schema_super", "foreign_server"),
];

pub(super) const COMMENTS: &[Change] = &[
    c("comment", "on a table", "COMMENT ON TABLE app.orders IS 'What they buy'", "table"),
    c("comment", "changed", "COMMENT ON TABLE app.customers IS 'Who bought'", "table"),
    c("comment", "removed", "COMMENT ON TABLE app.customers IS NULL", "table"),
    c("comment", "on a column", "COMMENT ON COLUMN app.orders.note IS 'Free text'", "column"),
    c("comment", "on a schema", "COMMENT ON SCHEMA other IS 'Old'", "schema"),
    c("comment", "on a function", "COMMENT ON FUNCTION app.twice(integer) IS NULL", "function"),
    c("comment", "on an index", "COMMENT ON INDEX app.orders_customer_idx IS NULL", "index"),
    c(
        "comment",
        "on a constraint",
        "COMMENT ON CONSTRAINT orders_amount_positive ON app.orders IS NULL",
        "constraint",
    ),
    c(
        "comment",
        "on a constraint of a domain",
        "COMMENT ON CONSTRAINT word_filled ON DOMAIN app.word IS 'x'",
        "type|constraint",
    ),
    c(
        "comment",
        "on a trigger",
        "COMMENT ON TRIGGER customers_touch ON app.customers IS NULL",
        "trigger",
    ),
    c(
        "comment",
        "on a policy",
        "COMMENT ON POLICY customers_own ON app.customers IS NULL",
        "policy",
    ),
    c("comment", "on a view", "COMMENT ON VIEW app.plain_view IS NULL", "view"),
    c(
        "comment",
        "on a column of a view",
        "COMMENT ON COLUMN app.plain_view.label IS 'x'",
        "view|column",
    ),
    c("comment", "on a type", "COMMENT ON TYPE app.mood IS NULL", "type"),
    c("comment", "on a sequence", "COMMENT ON SEQUENCE app.ticket IS 'x'", "sequence"),
    c("comment", "on a rule", "COMMENT ON RULE archive_keeps ON other.archive IS 'x'", "rule"),
    c("comment", "on an extension", "COMMENT ON EXTENSION pgcrypto IS 'x'", "extension"),
    c(
        "comment",
        "on an event trigger",
        "COMMENT ON EVENT TRIGGER schema_base_watch IS 'x'",
        "event_trigger",
    ),
    c("comment", "on statistics", "COMMENT ON STATISTICS app.orders_stats IS 'x'", "statistics"),
    c("comment", "on a publication", "COMMENT ON PUBLICATION outgoing IS 'x'", "publication"),
    c(
        "comment",
        "on an operator",
        "COMMENT ON OPERATOR app.=== (app.point3, app.point3) IS 'x'",
        "operator",
    ),
    c(
        "comment",
        "on a text search configuration",
        "COMMENT ON TEXT SEARCH CONFIGURATION app.words IS 'x'",
        "text_search_configuration",
    ),
];

pub(super) const SETTINGS: &[Change] = &[
    c(
        "setting",
        "of the database",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = app, public', current_database()); END $$",
        "setting",
    ),
    c(
        "setting",
        "of a role in the database",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE schema_reader IN DATABASE %I SET statement_timeout = 5', current_database()); END $$",
        "setting",
    ),
];
