//! One object of every kind with everything it can have.

use std::collections::BTreeSet;

use annals_postgres::{Platform, SchemaScope};
use annals_schema::{ObjectKind, Snapshot, Stored, diff, render};
use annals_testkit::Server;

use crate::client::{Client, attribute, statements, text};

const EVERYTHING: &str = include_str!("everything.sql");

fn assert_attributes(snapshot: &Snapshot, major: u32) {
    use ObjectKind::*;
    let wanted: &[(u32, ObjectKind, &str, &str, Option<&str>)] = &[
        (13, Schema, "shop", "owner", Some("alice")),
        (13, Column, "shop.customers.email", "position", Some("10")),
        (13, Column, "shop.customers.email", "storage", Some("external")),
        (13, Column, "shop.customers.email", "statistics", Some("500")),
        (13, Column, "shop.customers.email", "options", Some("n_distinct=-0.5")),
        (13, Column, "shop.customers.born", "options", None),
        (13, Column, "shop.customers.name", "collation", Some("\"C\"")),
        (14, Column, "shop.customers.name", "compression", Some("pglz")),
        (13, Column, "shop.customers.id", "identity", Some("always")),
        (13, Column, "shop.customers.twice", "generated", Some("stored")),
        (13, Column, "shop.pair.first", "collation", Some("\"C\"")),
        (13, Column, "shop.names.name", "default", Some("'nobody'::text")),
        (13, Column, "shop.measured_2024.at", "inherited", Some("true")),
        (13, Sequence, "shop.customers_id_seq", "increment", Some("5")),
        (13, Sequence, "shop.customers_id_seq", "identity", Some("true")),
        (13, Sequence, "shop.numbers", "owned_by", Some("shop.fleeting.id")),
        (13, Table, "shop.customers", "options", Some("fillfactor=70")),
        (13, Table, "shop.customers", "toast_options", Some("autovacuum_enabled=false")),
        (13, Table, "shop.fleeting", "persistence", Some("unlogged")),
        (13, Table, "shop.on_second_heap", "access_method", Some("second_heap")),
        (13, Table, "shop.orders", "replica_identity", Some("full")),
        (13, Table, "shop.typed", "of_type", Some("shop.pair")),
        (13, Table, "shop.child", "inherits", Some("shop.parent")),
        (13, Constraint, "shop.orders.orders_customer_fkey", "deferrable", Some("true")),
        (
            13,
            Constraint,
            "shop.orders.orders_customer_fkey",
            "triggers",
            Some("disabled on this table"),
        ),
        (13, Constraint, "shop.customers.has_name", "validated", Some("false")),
        (
            13,
            Constraint,
            "shop.customers.has_name",
            "definition",
            Some("CHECK ((name <> ''::text))"),
        ),
        (13, Constraint, "shop.positive.below_many", "validated", Some("false")),
        (18, Constraint, "shop.newest.b_small", "enforced", Some("false")),
        (18, Constraint, "shop.periods.periods_pkey", "period", Some("true")),
        (18, Column, "shop.newest.a", "not_null_constraint", Some("a_there")),
        (18, Column, "shop.newest.a", "not_null_no_inherit", Some("true")),
        (18, Column, "shop.newest.a", "not_null_comment", Some("there")),
        (18, Column, "shop.newest.b", "not_null_validated", Some("false")),
        (18, Column, "shop.newest.v", "generated", Some("virtual")),
        (13, Index, "shop.customers_pkey", "clustered", Some("true")),
        (13, Index, "shop.customers_lower", "statistics", Some("1: 300")),
        (13, Index, "shop.measured_2024_value_idx", "parent", Some("shop.measured_value")),
        (13, View, "shop.names", "options", Some("check_option=local, security_barrier=true")),
        (13, View, "shop.counted", "populated", Some("false")),
        (13, Trigger, "shop.customers.touched", "enabled", Some("no")),
        (13, Trigger, "shop.measured_2024.measured_touched", "enabled", Some("always")),
        (13, Trigger, "shop.measured_rest.every_part", "inherited", Some("true")),
        (13, EventTrigger, "notices", "enabled", Some("on replicas")),
        (13, Function, "shop.touch()", "security", Some("definer")),
        (13, Function, "shop.touch()", "settings", Some("search_path=\"\"\nwork_mem=8MB")),
        (13, Function, "shop.total(integer)", "combine", Some("int4pl(integer,integer)")),
        (13, Type, "shop.mood", "labels", Some("'sad', 'meh', 'ok', 'happy'")),
        (13, Type, "shop.letters", "subtype_collation", Some("\"C\"")),
        (13, Type, "shop.letters", "subtype_operator_class", Some("pg_catalog.text_pattern_ops")),
        (14, Type, "shop.span", "multirange", Some("shop.span_multirange")),
        (13, Type, "shop.span", "subtype_diff", Some("shop.int_distance(integer,integer)")),
        (13, Type, "shop.unfinished", "is", Some("shell")),
        (13, Policy, "shop.customers.own", "permissive", Some("false")),
        (13, RowSecurity, "shop.customers", "forced", Some("true")),
        (13, Grant, "column shop.customers.email to \"Bob b\"", "privileges", Some("UPDATE*")),
        (13, Grant, "schema shop to \"Bob b\"", "grantor", Some("alice")),
        (13, Grant, "function pg_catalog.pg_ls_waldir() to carol", "privileges", Some("EXECUTE")),
        (13, DefaultPrivileges, "of alice for functions", "privileges", Some("alice: EXECUTE")),
        (13, Setting, "lock_timeout of carol", "value", Some("3s")),
        (13, Setting, "work_mem of carol in every database", "value", Some("5MB")),
        (13, Setting, "\"app.jwt_secret\"", "value", Some("(hidden)")),
        (13, Statistics, "shop.customers_both", "columns", Some("email, name")),
        (15, PublicationTable, "filtered: shop.customers", "filter", Some("(id > 5)")),
        (15, PublicationTable, "filtered: shop.customers", "columns", Some("id, name")),
        (13, ForeignServer, "elsewhere", "type", Some("x")),
        (13, Table, "shop.remote", "foreign_options", Some("password '(hidden)', table_name 't'")),
        (13, Database, "current", "comment", Some("the database")),
    ];
    for (since, kind, name, what, value) in wanted.iter().filter(|(since, ..)| *since <= major) {
        let found = attribute(snapshot, *kind, name, what);
        assert_eq!(found, *value, "{what} of {kind} {name} since {since}");
    }
}

#[test]
fn every_kind_is_read_with_its_attributes_and_without_secrets() {
    let server = Server::start();
    let mut client = Client::new(&server);
    let major = client.major();
    client.run_all(&statements(EVERYTHING, major));
    let snapshot = client.read();
    let (all, rendered) = (text(&snapshot), render(&snapshot));
    if let Some(folder) = std::env::var_os("ANNALS_SHOW") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::write(folder.join("objects"), &all).unwrap();
        std::fs::write(folder.join("render.sql"), &rendered).unwrap();
    }
    assert_eq!(client.read(), snapshot);
    assert!(!all.contains("CANARY"), "{all}");
    assert_attributes(&snapshot, major);
    let found: BTreeSet<ObjectKind> = snapshot.iter().map(|(key, _)| key.kind).collect();
    for kind in ObjectKind::ALL {
        let absent = match kind {
            // A provider of labels is a library of its own.
            ObjectKind::SecurityLabel | ObjectKind::Unreadable => true,
            ObjectKind::PublicationSchema => major < 15,
            _ => false,
        };
        assert_eq!(found.contains(kind), !absent, "{kind}");
    }
    let stored = Stored::parse(snapshot.to_stored().as_bytes()).unwrap();
    assert_eq!(stored.full().unwrap(), snapshot);
    // Every comment is in the text, and every name.
    for (key, attributes) in snapshot.iter() {
        let last = key.name.rsplit('.').next().unwrap_or(&key.name);
        let last = last.split(&[' ', '('][..]).next().unwrap_or(last);
        assert!(rendered.contains(last), "{key}");
        // An index that makes a constraint is said by that.
        let definition =
            attributes.get("definition").filter(|_| !attributes.contains_key("constraint"));
        for value in attributes.get("comment").into_iter().chain(definition) {
            assert!(rendered.contains(value.trim_end_matches(';')), "{key}: {value}");
        }
    }
}

#[test]
fn an_ordinary_role_sees_the_same_and_knows_what_it_may_not_see() {
    let server = Server::start();
    let mut superuser = Client::new(&server);
    let major = superuser.major();
    superuser.run_all(&statements(EVERYTHING, major));
    superuser.run("CREATE ROLE ordinary LOGIN");
    let mut ordinary = Client::of_role(&server, "ordinary", "postgres");
    let (whole, seen) = (superuser.read(), ordinary.read());
    assert_eq!(diff(&whole, &seen), []);
    assert_eq!(seen.unreadable().next(), None);
    assert_eq!(whole.fingerprint(), seen.fingerprint());

    superuser.run(
        "REVOKE SELECT ON pg_user_mappings, pg_db_role_setting FROM PUBLIC; \
         REVOKE SELECT (subname) ON pg_subscription FROM PUBLIC",
    );
    let (whole, seen) = (superuser.read(), ordinary.read());
    let unreadable: Vec<ObjectKind> = seen.unreadable().collect();
    let expected = [ObjectKind::Setting, ObjectKind::Subscription, ObjectKind::UserMapping];
    assert_eq!(unreadable, expected);
    assert_eq!(diff(&whole, &seen), []);
    assert_eq!(diff(&seen, &whole), []);
    assert!(whole.len() > seen.len());
}

#[test]
fn constants_look_the_same_whatever_a_role_has_set() {
    let server = Server::start();
    let mut client = Client::new(&server);
    client.run(
        "CREATE TABLE t (at timestamptz DEFAULT '2001-02-03 04:05:06+00', d date DEFAULT \
         '2001-02-03', i interval DEFAULT '1 day 2 hours', f float8 DEFAULT 0.1, b bytea DEFAULT \
         '\\x01'); CREATE VIEW v AS SELECT * FROM t WHERE at > '2001-02-03 04:05:06+00'",
    );
    let before = client.read();
    client.run(
        "ALTER ROLE postgres SET timezone = 'Asia/Tokyo'; ALTER ROLE postgres SET datestyle = \
         'German'; ALTER ROLE postgres SET intervalstyle = 'sql_standard'; ALTER ROLE postgres SET \
         bytea_output = 'escape'; ALTER ROLE postgres SET extra_float_digits = -5; ALTER ROLE \
         postgres SET quote_all_identifiers = on; ALTER ROLE postgres SET search_path = 'x'",
    );
    let mut other = Client::new(&server);
    let differing = diff(&before, &other.read());
    let kinds: BTreeSet<ObjectKind> = differing.iter().map(|found| found.key().kind).collect();
    assert_eq!(kinds, BTreeSet::from([ObjectKind::Setting]), "{differing:?}");
}

#[test]
fn what_the_platform_manages_is_left_out_but_for_what_a_project_puts_on_it() {
    let server = Server::start();
    let mut client = Client::new(&server);
    for sql in [
        "CREATE SCHEMA auth",
        "CREATE SCHEMA partman",
        "CREATE TABLE auth.users (id int PRIMARY KEY)",
        "CREATE TABLE partman.config (id int PRIMARY KEY)",
        "CREATE FUNCTION public.hook() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE FUNCTION auth.own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER hooked AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION public.hook()",
        "CREATE TRIGGER managed AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION auth.own()",
        "CREATE POLICY mine ON auth.users USING (true)",
        "CREATE POLICY theirs ON partman.config USING (true)",
        "CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER annals_watch ON ddl_command_end EXECUTE FUNCTION public.note()",
    ] {
        client.run(sql);
    }
    let supabase = SchemaScope::of(Platform::Supabase);
    let scopes = [
        SchemaScope { managed: vec!["partman".into()], ..supabase.clone() },
        SchemaScope { include: vec!["auth".into()], ..supabase.clone() },
    ];
    let [managed, included] = scopes.map(|scope| client.read_in(&scope));
    let of = |snapshot: &Snapshot, schema: &str| -> Vec<String> {
        let own = snapshot
            .iter()
            .filter(|(key, _)| key.name.contains(schema) && !matches!(key.kind, ObjectKind::Grant));
        own.map(|(key, _)| key.to_string()).collect()
    };
    assert_eq!(of(&managed, "auth"), ["trigger auth.users.hooked", "policy auth.users.mine"]);
    assert_eq!(of(&managed, "partman"), [""; 0]);
    assert!(of(&included, "auth").contains(&"table auth.users".to_owned()));
    assert!(of(&included, "auth").contains(&"trigger auth.users.managed".to_owned()));
    assert!(of(&included, "partman").contains(&"policy partman.config.theirs".to_owned()));
    assert_eq!(of(&included, "annals"), [""; 0]);
}
