//! One damage for each check that SQL can do.

use annals_events::CheckLevel::{self, Full, Quick, Standard};

pub(crate) struct Case {
    /// The check it is for.
    pub(crate) check: &'static str,
    pub(crate) level: CheckLevel,
    /// The first major version it can be done on.
    pub(crate) since: u32,
    pub(crate) damage: &'static str,
    /// The subjects of its findings, and what else is wrong then.
    pub(crate) subjects: &'static [&'static str],
    pub(crate) besides: &'static [(&'static str, &'static str)],
    /// What the evidence says.
    pub(crate) says: &'static str,
    /// What would otherwise stay on the server.
    pub(crate) repair: &'static str,
}

const fn case(
    check: &'static str,
    level: CheckLevel,
    damage: &'static str,
    subjects: &'static [&'static str],
    says: &'static str,
) -> Case {
    Case { check, level, since: 13, damage, subjects, besides: &[], says, repair: "" }
}

pub(crate) const CASES: &[Case] = &[
    case("table.no_primary_key", Quick, "CREATE TABLE app.bare (id int)", &["table app.bare"], "no primary key"),
    case("table.unlogged", Full, "ALTER TABLE app.\"odd \"\"name\" SET UNLOGGED",
        &["table app.\"odd \"\"name\""], "UNLOGGED"),
    case("table.column_budget", Quick,
        "CREATE TABLE app.wide (id int PRIMARY KEY);
         DO $$ BEGIN
           EXECUTE (SELECT 'ALTER TABLE app.wide ' || string_agg(format('ADD c%s bool', i), ', ')
                      FROM generate_series(1, 1405) i);
           EXECUTE (SELECT 'ALTER TABLE app.wide ' || string_agg(format('DROP c%s', i), ', ')
                      FROM generate_series(1, 1405) i);
         END $$", &["table app.wide"], "1406 of 1600"),
    case("view.unpopulated", Full, "REFRESH MATERIALIZED VIEW app.sums WITH NO DATA",
        &["view app.sums"], "never populated"),
    Case { since: 14, ..case("partition.detach_pending", Quick,
        "UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'app.part_2'::regclass",
        &["table app.part_2"], "detached from app.part") },
    case("extension.outdated", Quick,
        "DROP EXTENSION amcheck; CREATE EXTENSION amcheck VERSION '1.0'", &["extension amcheck"],
        "version 1.0 is installed"),
    case("constraint.not_validated", Full,
        "ALTER TABLE app.child ADD CONSTRAINT late CHECK (n < 100) NOT VALID",
        &["constraint app.child.late"], "NOT VALID"),
    case("constraint.not_validated", Full,
        "ALTER DOMAIN app.fine ADD CONSTRAINT late CHECK (VALUE < 100) NOT VALID",
        &["constraint late of domain app.fine"], "NOT VALID"),
    Case { since: 18, ..case("constraint.not_enforced", Full,
        "ALTER TABLE app.child ADD CONSTRAINT late CHECK (n < 100) NOT ENFORCED",
        &["constraint app.child.late"], "NOT ENFORCED") },
    case("constraint.trigger_disabled", Full, "ALTER TABLE app.child DISABLE TRIGGER ALL",
        &["constraint app.child.child_parent_fkey"], "2 of its triggers are disabled"),
    case("trigger.disabled", Full, "ALTER TABLE app.\"odd \"\"name\" DISABLE TRIGGER touch",
        &["trigger app.\"odd \"\"name\".touch"], "disabled"),
    case("constraint.duplicate", Full,
        "ALTER TABLE app.child ADD CONSTRAINT twice FOREIGN KEY (parent) REFERENCES app.parent",
        &["constraint app.child.twice"], "child_parent_fkey says the same"),
    case("constraint.type_mismatch", Full,
        "CREATE TABLE app.wider (id int PRIMARY KEY, parent bigint REFERENCES app.parent);
         CREATE INDEX ON app.wider (parent)", &["constraint app.wider.wider_parent_fkey"],
        "parent is bigint, the column it refers to is integer"),
    case("index.invalid", Full,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.child_parent_idx'::regclass",
        &["index app.child_parent_idx"], "INVALID"),
    case("index.not_ready", Quick, "UPDATE pg_index SET indisvalid = false, indisready = false
         WHERE indexrelid = 'app.child_parent_idx'::regclass", &["index app.child_parent_idx"],
        "not ready"),
    case("index.not_ready", Quick, "UPDATE pg_index SET indisvalid = false, indislive = false
         WHERE indexrelid = 'app.child_parent_idx'::regclass", &["index app.child_parent_idx"],
        "being dropped"),
    case("index.partition_missing", Full, "CREATE INDEX partial ON ONLY app.part (day)",
        &["index app.partial"], "not every partition"),
    case("index.leftover", Full, "CREATE INDEX child_note_ccnew ON app.child (note);
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.child_note_ccnew'::regclass",
        &["index app.child_note_ccnew"], "not valid"),
    case("index.duplicate", Full, "CREATE INDEX again ON app.child (parent)", &["index app.again"],
        "app.child_parent_idx has the same keys"),
    case("index.missing_for_foreign_key", Full, "DROP INDEX app.child_parent_idx",
        &["constraint app.child.child_parent_fkey"], "no index of app.child begins with parent"),
    case("policy.without_row_security", Quick, "ALTER TABLE app.guarded DISABLE ROW LEVEL SECURITY",
        &["policy app.guarded.own"], "it protects nothing"),
    case("policy.always_true", Quick, "CREATE POLICY all_of_them ON app.guarded FOR UPDATE USING (true)",
        &["policy app.guarded.all_of_them"], "lets PUBLIC update every row"),
    case("row_security.without_policy", Full, "ALTER TABLE app.child ENABLE ROW LEVEL SECURITY",
        &["table app.child"], "no policy"),
    case("grant.exposed", Full, "GRANT SELECT ON app.child TO PUBLIC", &["table app.child"],
        "PUBLIC (SELECT)"),
    case("grant.create_in_schema", Quick, "GRANT CREATE ON SCHEMA app TO PUBLIC", &["schema app"],
        "PUBLIC may create"),
    case("grant.unknown_role", Full, "CREATE ROLE ghost; GRANT SELECT ON app.child TO ghost;
         DELETE FROM pg_authid WHERE rolname = 'ghost'", &["relation app.child"], "role number"),
    case("default_privileges.exposed", Quick,
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC",
        &["default privileges of postgres in schema app"], "PUBLIC gets SELECT on tables"),
    case("owner.missing", Quick, "UPDATE pg_class SET relowner = 99999 WHERE oid = 'app.child'::regclass",
        &["table app.child"], "role number 99999"),
    case("owner.different", Full, "CREATE ROLE stranger; ALTER TABLE app.child OWNER TO stranger",
        &["relation app.child"], "belongs to stranger"),
    case("function.definer_search_path", Quick,
        "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
         REVOKE EXECUTE ON FUNCTION app.f() FROM PUBLIC", &["function app.f()"],
        "the search_path of whoever calls it"),
    case("function.definer_exposed", Quick, "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql
         SECURITY DEFINER SET search_path = '' AS 'SELECT 1'", &["function app.f()"],
        "PUBLIC may call it"),
    case("view.bypasses_row_security", Quick, "GRANT SELECT ON app.seen TO PUBLIC",
        &["view app.seen"], "reads app.guarded as its owner postgres"),
    case("data.foreign_key", Standard,
        "SET session_replication_role = replica; DELETE FROM app.parent WHERE id = 2",
        &["constraint app.child.child_parent_fkey"],
        "1 row of app.child have no parent in app.parent (id = 2)"),
    Case { besides: &[("constraint.not_validated", "constraint app.child.child_parent_fkey")],
        ..case("data.foreign_key", Full,
        "ALTER TABLE app.child DROP CONSTRAINT child_parent_fkey; DELETE FROM app.parent WHERE id = 1;
         ALTER TABLE app.child ADD FOREIGN KEY (parent) REFERENCES app.parent NOT VALID",
        &["constraint app.child.child_parent_fkey"], "id = 1") },
    Case { besides: &[("constraint.not_validated", "constraint app.child.late")],
        ..case("data.unvalidated_check", Standard,
        "ALTER TABLE app.child ADD CONSTRAINT late CHECK (n > 1) NOT VALID", &["table app.child"],
        "1 row break the constraint late (id = 1)") },
    case("data.sequence_behind", Standard, "SELECT setval('app.parent_id_seq', 2)",
        &["sequence app.parent_id_seq"], "it gives out 3 next, and app.parent.id has gone as far as 3"),
    case("data.check", Full, "CREATE OR REPLACE FUNCTION app.is_good(int) RETURNS boolean LANGUAGE sql
         IMMUTABLE AS 'SELECT $1 > 1'", &["table app.child"], "child_n_check (id = 1)"),
    case("data.not_null", Full, "UPDATE pg_attribute SET attnotnull = true
         WHERE attrelid = 'app.child'::regclass AND attname = 'note'", &["table app.child"],
        "1 row have NULL in note, which is NOT NULL (id = 3)"),
    // The index is taught that it is not unique for as long as it takes.
    case("data.unique", Full, "UPDATE pg_index SET indisunique = false
         WHERE indexrelid = 'app.parent_code_key'::regclass <<<
         INSERT INTO app.parent (code) VALUES ('b') <<<
         UPDATE pg_index SET indisunique = true WHERE indexrelid = 'app.parent_code_key'::regclass",
        &["index app.parent_code_key"], "1 key stands more than once in app.parent (row (0,2) and row (0,4))"),
    // The index is not told of a row: it cannot see the double.
    Case { besides: &[("index.corrupt", "index app.parent_code_key")], ..case("data.unique", Full,
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'app.parent_code_key'::regclass <<<
         INSERT INTO app.parent (code) VALUES ('b') <<<
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'app.parent_code_key'::regclass",
        &["index app.parent_code_key"], "more than once") },
    case("data.exclusion", Full,
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'app.booked_room_span_excl'::regclass <<<
         INSERT INTO app.booked VALUES (9, 1, '[4,6)') <<<
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'app.booked_room_span_excl'::regclass",
        &["constraint app.booked.booked_room_span_excl"],
        "at least 2 pairs of rows of app.booked exclude each other (id = 1 and id = 9, id = 9 and id = 2)"),
    case("data.exclusion", Full,
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'app.booked_place_excl'::regclass <<<
         INSERT INTO app.booked VALUES (9, 5, 'empty', '((1,1),2)') <<<
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'app.booked_place_excl'::regclass",
        &["constraint app.booked.booked_place_excl"],
        "1 pair of rows of app.booked exclude each other (id = 1 and id = 9)"),
    Case { since: 18, ..case("data.exclusion", Full,
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'app.stay_pkey'::regclass <<<
         INSERT INTO app.stay VALUES (1, '[3,4)') <<<
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'app.stay_pkey'::regclass",
        &["constraint app.stay.stay_pkey"],
        "at least 1 pair of rows of app.stay exclude each other (row (0,1) and row (0,4))") },
    Case { since: 18, ..case("data.exclusion", Full,
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'app.stay_pkey'::regclass <<<
         INSERT INTO app.stay VALUES (3, 'empty') <<<
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'app.stay_pkey'::regclass",
        &["constraint app.stay.stay_pkey"],
        "1 row of app.stay have an empty span, which no other row could overlap (row (0,4))") },
    Case { since: 18, ..case("data.foreign_key", Standard,
        "SET session_replication_role = replica; DELETE FROM app.stay WHERE span = '[5,9)'",
        &["constraint app.visit.visit_stay_span_fkey"],
        "1 row of app.visit have no parent in app.stay (id = 1)") },
    case("index.corrupt", Full,
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'app.child_parent_idx'::regclass <<<
         INSERT INTO app.child (parent) VALUES (3) <<<
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'app.child_parent_idx'::regclass",
        &["index app.child_parent_idx"], "lacks matching index tuple"),
    case("data.partition_bound", Full,
        "UPDATE pg_class c SET relpartbound = o.relpartbound FROM pg_class o
          WHERE (c.oid, o.oid) IN (('app.part_1'::regclass, 'app.part_2'::regclass),
                                   ('app.part_2'::regclass, 'app.part_1'::regclass))",
        &["table app.part_1"], "50 rows lie outside of the partition's bounds"),
    case("data.enum_value", Full, "DELETE FROM pg_enum WHERE enumlabel = 'cross'",
        &["table app.child"], "hold in mood what is no value of app.mood (id = 2)"),
    case("data.domain_value", Full, "CREATE OR REPLACE FUNCTION app.is_fine(int) RETURNS boolean
         LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 1'", &["table app.child"],
        "hold in fine what app.fine does not allow (id = 1)"),
    // Rows that are older than their table says.
    Case { since: 14, ..case("data.heap", Full, "UPDATE pg_class SET relfrozenxid = pg_current_xact_id()::xid
         WHERE oid = 'app.guarded'::regclass", &["table app.guarded"], "block 0, row 1") },
    case("database.wraparound", Quick, "UPDATE pg_class SET relfrozenxid =
         ((pg_current_xact_id()::text::numeric + 2594967296) % 4294967296)::text::xid
         WHERE oid = 'app.child'::regclass", &["table app.child"], "is 170000000"),
    case("sequence.exhausted", Full, "SELECT setval('app.parent_id_seq', 2000000000)",
        &["sequence app.parent_id_seq"], "93 % of its values"),
    Case { repair: "ROLLBACK PREPARED 'left'", ..case("transaction.prepared", Quick,
        "BEGIN; INSERT INTO app.parent (code) VALUES ('p'); PREPARE TRANSACTION 'left'",
        &["prepared transaction 'left'"], "of postgres") },
    Case { repair: "SELECT pg_drop_replication_slot('unread')", ..case("slot.holds_wal", Quick,
        "SELECT pg_create_physical_replication_slot('unread', true)", &["replication slot unread"],
        "nobody reads from it") },
];
