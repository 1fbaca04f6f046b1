//! A backup that replaces what is in the target's own database, as on Supabase: nothing of the platform is
//! touched, and it has happened or not.

use std::fs;
use std::process::{Command, Stdio};

use annals_testkit::{Cut, Outcome, Proxy, Server, ServerOptions, Workspace, wait_for};
use serde_json::Value;

use crate::restore::ON_PLATFORM;

/// A project on Supabase.
struct Project {
    server: Server,
    workspace: Workspace,
}

/// Everything a project may have besides tables in `public`.
const SHOP: &str = "CREATE SCHEMA shop;\n\
    GRANT USAGE ON SCHEMA shop TO authenticated;\n\
    CREATE TYPE shop.mood AS ENUM ('good', 'bad');\n\
    CREATE DOMAIN shop.euros AS numeric CHECK (VALUE >= 0);\n\
    CREATE TYPE public.pair AS (a int, b text);\n\
    CREATE TYPE public.span AS RANGE (subtype = int);\n\
    CREATE SEQUENCE shop.numbers START 100;\n\
    CREATE FUNCTION shop.twice(n numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT n * 2 $$;\n\
    CREATE AGGREGATE public.total (numeric) (SFUNC = numeric_add, STYPE = numeric, INITCOND = '0');\n\
    CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);\n\
    CREATE TABLE shop.sales (n bigint DEFAULT nextval('shop.numbers'), day date NOT NULL, price shop.euros, \
        twice numeric GENERATED ALWAYS AS (shop.twice(price)) STORED, mood shop.mood, PRIMARY KEY (n, day)) \
        PARTITION BY RANGE (day);\n\
    CREATE TABLE shop.sales_old PARTITION OF shop.sales FOR VALUES FROM (MINVALUE) TO ('2026-01-01');\n\
    CREATE TABLE shop.sales_new PARTITION OF shop.sales FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);\n\
    CREATE INDEX sales_twice ON shop.sales (twice);\n\
    CREATE STATISTICS shop.of_sales ON price, mood FROM shop.sales_new;\n\
    CREATE VIEW public.daily AS SELECT day, sum(price) AS euros FROM shop.sales GROUP BY day;\n\
    CREATE MATERIALIZED VIEW public.moods AS SELECT mood, count(*) FROM shop.sales GROUP BY mood;\n\
    CREATE UNIQUE INDEX moods_key ON public.moods (mood);\n\
    CREATE FUNCTION shop.noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;\n\
    CREATE TRIGGER noted BEFORE UPDATE ON shop.sales FOR EACH ROW EXECUTE FUNCTION shop.noted();\n\
    CREATE RULE quiet AS ON DELETE TO shop.sales_old DO INSTEAD NOTHING;\n\
    COMMENT ON SCHEMA shop IS 'what is sold';\n\
    ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA shop GRANT SELECT ON TABLES TO authenticated;\n\
    ALTER DEFAULT PRIVILEGES FOR ROLE postgres REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;";

/// What catalog and rows say: the same before and after.
const SAYS: [&str; 12] = [
    "SELECT n.nspname, c.relname, c.relkind, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) a), pg_get_userbyid(c.relowner), c.relrowsecurity \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname IN ('public', 'shop')",
    "SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), p.prokind, p.prosrc, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(p.proacl) a) \
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
        WHERE n.nspname IN ('public', 'shop')",
    "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint \
        WHERE connamespace IN ('public'::regnamespace, 'shop'::regnamespace)",
    "SELECT tgrelid::regclass, pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT polrelid::regclass, polname, polcmd, polpermissive, pg_get_expr(polqual, polrelid), \
        pg_get_expr(polwithcheck, polrelid), polroles::regrole[], obj_description(oid) FROM pg_policy",
    "SELECT defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype, unnest(defaclacl)::text \
        FROM pg_default_acl",
    "SELECT nspname, unnest(nspacl)::text FROM pg_namespace \
        WHERE nspname !~ '^(pg_|annals$)'",
    "SELECT pubname, schemaname, tablename FROM pg_publication_tables",
    "SELECT count(*), count(owner), sum(hashtext(o::text)) FROM public.orders o",
    "SELECT count(*), sum(hashtext(s::text)) FROM shop.sales s",
    "SELECT last_value, is_called FROM shop.numbers",
    "SELECT m.oid, lo_get(m.oid) FROM pg_largeobject_metadata m",
];

impl Project {
    fn begun(store: &str) -> Self {
        let server =
            Server::start_with(ServerOptions { supabase: true, tcp: true, ..Default::default() });
        let workspace = Workspace::new(&server);
        let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
        workspace.write("annals.toml", config + "platform = \"supabase\"\n" + store);
        workspace.migration(
            "1_orders",
            "REVOKE USAGE ON SCHEMA public FROM anon;\n\
             CREATE TABLE public.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
                 owner uuid DEFAULT auth.uid() REFERENCES auth.users (id), \
                 key uuid DEFAULT extensions.uuid_generate_v4());\n\
             ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;\n\
             CREATE POLICY own ON public.orders TO authenticated USING (owner = (SELECT auth.uid()));\n\
             ALTER PUBLICATION supabase_realtime ADD TABLE public.orders;",
            "DROP TABLE public.orders;",
        );
        workspace.migration("2_users", ON_PLATFORM.0, ON_PLATFORM.1);
        workspace.migration("3_shop", SHOP, "DROP SCHEMA shop CASCADE;");
        let project = Self { server, workspace };
        project.run("migrate").expect(0);
        project.sql(
            "INSERT INTO auth.users (id, email) SELECT gen_random_uuid(), n || '@example.com' \
                 FROM generate_series(1, 50) n; \
             INSERT INTO public.orders (owner) SELECT id FROM auth.users, generate_series(1, 10); \
             INSERT INTO shop.sales (day, price, mood) \
                 SELECT date '2025-06-01' + n, n, 'good' FROM generate_series(1, 400) n; \
             REFRESH MATERIALIZED VIEW public.moods; \
             SELECT lo_from_bytea(4711, 'a letter')",
        );
        project
    }

    /// A full backup; then another migration, other rows, and somebody who has signed up.
    fn with_a_past() -> (Self, Vec<String>) {
        Self::with_a_past_in("")
    }

    fn with_a_past_in(store: &str) -> (Self, Vec<String>) {
        let project = Self::begun(store);
        project.run("backup").expect(0);
        let said = project.says();
        project.goes_on();
        (project, said)
    }

    fn goes_on(&self) {
        self.workspace.migration(
            "4_more",
            "CREATE EXTENSION citext SCHEMA extensions;\n\
             CREATE TABLE public.more (id int, name extensions.citext);\n\
             ALTER TYPE shop.mood ADD VALUE 'odd';\n\
             GRANT USAGE ON SCHEMA public TO anon;\n\
             ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public REVOKE ALL ON TABLES FROM anon;\n\
             ALTER POLICY claimed ON storage.objects USING (true);\n\
             CREATE FUNCTION public.newer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;\n\
             CREATE TRIGGER newer AFTER UPDATE ON auth.users FOR EACH ROW EXECUTE FUNCTION public.newer();",
            "DROP TABLE public.more;",
        );
        self.run("migrate").expect(0);
        self.sql(
            "DELETE FROM public.orders WHERE id > 100; UPDATE shop.sales SET price = 1; \
             SELECT lo_unlink(4711); SELECT lo_from_bytea(4712, 'another one'); \
             INSERT INTO auth.users (id, email) VALUES (gen_random_uuid(), 'new@example.com'); \
             INSERT INTO storage.buckets (id, name) VALUES ('files', 'files')",
        );
    }

    fn run(&self, line: &str) -> Outcome {
        self.workspace.annals(line).run()
    }

    fn sql(&self, sql: &str) -> String {
        let url = self.server.url();
        let done =
            Command::new("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", &url, "-c", sql]).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn says(&self) -> Vec<String> {
        let sorted = |said: String| {
            let mut lines: Vec<&str> = said.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        SAYS.iter().map(|query| sorted(self.sql(query))).collect()
    }

    fn look(&self) -> Value {
        self.run("restore latest --json").expect(0).json()
    }

    fn confirmed(&self) -> String {
        let look = self.look();
        let (backup, fingerprint) = (look["backup"].as_str(), look["fingerprint"].as_str());
        format!("restore {} --yes-restore {}", backup.unwrap(), fingerprint.unwrap())
    }

    fn is_restored(&self, said: &[String]) {
        for ((query, was), is) in SAYS.iter().zip(said).zip(self.says()) {
            assert_eq!(*was, is, "{query}");
        }
        // The platform's own rows are those of now.
        assert_eq!(self.sql("SELECT count(*) FROM auth.users"), "51");
        assert_eq!(self.sql("SELECT count(*) FROM storage.buckets"), "1");
        self.is_sound();
    }

    fn is_as_before(&self) {
        assert_eq!(self.sql("SELECT count(*) FROM public.orders"), "100");
        assert_eq!(self.sql("SELECT to_regclass('public.more')"), "more");
        assert_eq!(self.sql("SELECT count(*) FROM auth.users"), "51");
        self.is_sound();
    }

    fn is_sound(&self) {
        self.run("status").expect(0);
        self.run("verify --full").expect(0);
        self.run("log verify").expect(0);
        self.run("drift").expect(0);
    }
}

#[test]
fn on_supabase_a_backup_replaces_what_is_the_project_s_and_nothing_else() {
    let (project, said) = Project::with_a_past();
    project.run("restore latest").expect(0).says(&[
        "into the database postgres",
        "the platform's schemas stay as they are: auth, extensions",
        "kept in a full backup that is taken first",
        "public.orders  100 → 500",
        "would be pending again:\n  4_more",
    ]);
    let look = project.look();
    assert_eq!((&look["in_place"], &look["sessions"]), (&true.into(), &Value::Array(Vec::new())));
    let done = project.run(&(project.confirmed() + " --json")).expect(0).json();
    let done = &done["done"];
    assert_eq!((&done["kept_as"], &done["schema_compared"]), (&Value::Null, &true.into()));
    project.is_restored(&said);
    // Who signs up gets a profile, as before.
    project
        .sql("INSERT INTO auth.users (id, email) VALUES (gen_random_uuid(), 'newer@example.com')");
    assert_eq!(project.sql("SELECT count(*) FROM public.profiles"), "51");
    // What was there is in the backup that was taken first.
    let before = done["backup_before"].as_str().unwrap();
    project
        .run(&format!("backup verify {before} --deep"))
        .expect(0)
        .says(&["restored and compared"]);
    project.run("migrate").expect(0);
    project.run("verify --full").expect(0);
}

#[test]
fn a_restore_in_place_that_is_killed_has_happened_or_not_and_the_next_command_knows() {
    for (point, happened, next) in [
        ("in_place_kept", false, "status"),
        ("restore_announced", false, "migrate"),
        ("in_place_written", false, "plan"),
        ("in_place_written", false, "verify"),
        ("restore_swapped", true, "plan"),
        ("restore_swapped", true, "status"),
        ("restore_recorded", true, "backup"),
    ] {
        let (project, said) = Project::with_a_past();
        let line = project.confirmed();
        project.workspace.annals(&line).env("ANNALS_FAILPOINT", point).run().expect(-1);
        // `plan` writes nothing: it says who settles it.
        let wanted = if next == "plan" { 8 } else { 0 };
        let outcome = project.run(next);
        assert_eq!(outcome.code, wanted, "{next} after {point}: {outcome:?}");
        match happened {
            true => project.is_restored(&said),
            false => project.is_as_before(),
        }
        if (point, next) == ("in_place_written", "plan") {
            project.run(&line).expect(0);
            project.is_restored(&said);
        }
    }
}

#[test]
fn whether_a_commit_without_an_answer_took_effect_is_asked_for() {
    for (cut, code) in [(Cut::AfterCommit, 0), (Cut::BeforeCommit, 7)] {
        let (project, said) = Project::with_a_past();
        let line = project.confirmed() + " --without-backup";
        let proxy = Proxy::start(project.server.tcp_port(), cut, 1);
        let (from, to) = (project.server.tcp_port().to_string(), proxy.port().to_string());
        let url = project.server.tcp_url().replace(&from, &to);
        let outcome = project.workspace.annals(&line).env("TEST_URL", &url).run();
        assert_eq!(outcome.code, code, "{outcome:?}");
        match cut {
            Cut::AfterCommit => {
                outcome.says(&["the answer to its commit was lost", "all compared"]);
                project.is_restored(&said);
            }
            _ => project.is_as_before(),
        }
    }
}

#[test]
fn rows_of_who_is_gone_come_back_and_their_keys_are_said_not_to_be_validated() {
    let (project, _) = Project::with_a_past();
    project.sql(
        "DELETE FROM public.orders WHERE owner = (SELECT id FROM auth.users WHERE email = '7@example.com'); \
         DELETE FROM auth.users WHERE email = '7@example.com'",
    );
    project.run(&project.confirmed()).expect(0).says(&[
        "the foreign key public.orders.orders_owner_fkey is there and not validated",
        "the foreign key public.profiles.profiles_id_fkey is there and not validated",
        "10 rows refer to what is gone from auth.users",
        "1 row refers to what is gone from auth.users",
    ]);
    assert_eq!(project.sql("SELECT count(*) FROM public.orders"), "500");
    assert_eq!(project.sql("SELECT count(*) FROM public.profiles"), "50");
    let valid =
        "SELECT string_agg(conname, ' ' ORDER BY 1) FROM pg_constraint WHERE NOT convalidated";
    assert_eq!(project.sql(valid), "orders_owner_fkey profiles_id_fkey");
    // It counts for what comes, and what is expected from now on is what is there.
    let url = project.server.url();
    let new = "INSERT INTO public.profiles VALUES (gen_random_uuid(), 'nobody')";
    assert!(!Command::new("psql").args(["-Xq", &url, "-c", new]).status().unwrap().success());
    project.run("status").expect(0);
    project.run("drift").expect(0);
    project.run("log verify").expect(0);
}

#[test]
fn what_the_platform_would_lose_is_said_and_nothing_is_changed() {
    let (project, _) = Project::with_a_past();
    let admin = project.server.url().replace("//postgres@", "//supabase_admin@");
    let made = "CREATE VIEW auth.buyers AS SELECT owner FROM public.orders; GRANT SELECT ON auth.buyers TO postgres; \
         CREATE FUNCTION storage.twice(n numeric) RETURNS numeric LANGUAGE sql AS $$ SELECT shop.twice(n) $$; \
         ALTER TABLE storage.buckets ADD COLUMN mood shop.mood DEFAULT 'good'";
    assert!(Command::new("psql").args(["-Xq", &admin, "-c", made]).status().unwrap().success());
    let line = project.confirmed();
    project.run(&line).expect(3).says(&[
        "view auth.buyers is not the project's, depends on what is, and would be lost",
        "column storage.buckets.mood is not the project's, depends on what is, and would be lost",
    ]);
    project.is_as_before();
    assert_eq!(project.sql("SELECT count(*) FROM auth.buyers"), "100");
    assert_eq!(project.sql("SELECT mood FROM storage.buckets"), "good");
}

#[test]
fn who_stands_in_the_way_is_named_and_in_an_emergency_ended() {
    let (project, said) = Project::with_a_past();
    let config = fs::read_to_string(project.workspace.path("annals.toml")).unwrap();
    let config = config + "\n[policy]\nlock_retries = 1\n";
    project.workspace.write("annals.toml", &config);
    let mut holder = Command::new("psql")
        .args(["-Xq", &project.server.url(), "-c"])
        .arg("SET application_name = 'web'; BEGIN; SELECT FROM shop.sales; SELECT pg_sleep(600)")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let held =
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'web' AND wait_event = 'PgSleep'";
    wait_for("a reader with a lock", || project.server.rows(held).pop());
    project.run(&project.confirmed()).expect(8).says(&[
        "waits for backend",
        "application web",
        "is locked by backend",
    ]);
    assert_eq!(project.sql("SELECT count(*) FROM public.orders"), "100");

    // The rollback of the last one is none, and the policy lets whoever is in the way be ended.
    project.workspace.write("annals.toml", &(config + "terminate_blockers = true\n"));
    project.workspace.write(
        "rollbacks/4_more_rollback.sql",
        "-- annals: irreversible=\"an enum does not lose a value\"\nSELECT 1;",
    );
    let over =
        project.run("rollback --emergency --to 3 --yes --reason down --json").expect(0).json();
    assert_eq!(over["over"], true, "{over:#}");
    let done = &over["restore"]["done"];
    assert!(done["ended_sessions"].to_string().contains("application web"), "{over:#}");
    assert!(done["backup_before"].is_string() && done["kept_as"].is_null(), "{over:#}");
    holder.wait().unwrap();
    project.is_restored(&said);
    project.run("state").expect(0).says(&["last emergency", "down"]);
}

#[test]
fn a_restore_in_place_that_is_stopped_leaves_everything_as_it_was() {
    let (project, _) = Project::with_a_past();
    // It waits for this one, in the middle of its transaction.
    let hold = project.server.hold("SELECT FROM shop.sales");
    let running = project.workspace.annals(&project.confirmed()).start();
    let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'";
    wait_for("a restore that waits", || project.server.rows(waits).pop());
    running.signal("INT");
    let outcome = running.wait();
    assert_eq!(outcome.code, 130, "{outcome:?}");
    drop(hold);
    project.is_as_before();
}

#[test]
fn who_may_not_rename_a_database_and_owns_what_is_in_it_replaces_that() {
    let server = Server::start();
    server.sql("CREATE ROLE clerk LOGIN; GRANT pg_monitor TO clerk");
    server.sql("CREATE DATABASE shop OWNER clerk");
    let url = server.url().rsplit_once('/').unwrap().0.replace("//postgres@", "//clerk@") + "/shop";
    let workspace = Workspace::with_url(&url);
    workspace.tables(3);
    let run = |line: &str| workspace.annals(line).run();
    run("migrate --to 2").expect(0);
    let sql = |sql: &str| {
        let done =
            Command::new("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", &url, "-c", sql]).output();
        String::from_utf8(done.unwrap().stdout).unwrap().trim().to_owned()
    };
    sql("INSERT INTO t1 SELECT generate_series(1, 1000)");
    run("backup").expect(0);
    run("migrate").expect(0);
    sql("DELETE FROM t1");
    let look = run("restore latest --json").expect(0).json();
    assert_eq!(look["in_place"], true, "{look}");
    assert!(look["notes"].to_string().contains("may not rename the database"), "{look}");
    let fingerprint = look["fingerprint"].as_str().unwrap();
    run(&format!("restore latest --yes-restore {fingerprint}")).expect(0);
    assert_eq!(sql("SELECT count(*) FROM t1"), "1000");
    assert_eq!(sql("SELECT to_regclass('t3')"), "");
    run("status").expect(0);
    run("verify --full").expect(0);
}

#[test]
fn an_event_log_that_lives_in_the_same_database_stays_and_goes_on() {
    let (project, said) = Project::with_a_past_in("event_store = \"postgres\"\n");
    let log = "SELECT count(*) FROM annals.log_event WHERE seq < 8";
    let events = project.sql("SELECT count(*) FROM annals.log_event").parse::<u64>().unwrap();
    project.run(&project.confirmed()).expect(0);
    assert_eq!(project.sql(log), "8");
    assert!(project.sql("SELECT count(*) FROM annals.log_event").parse::<u64>().unwrap() > events);
    project.is_restored(&said);
    project.run("migrate").expect(0);
    project.run("log verify").expect(0);

    // The same without a platform: the log would go back with a database that is renamed.
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config + "event_store = \"postgres\"\n");
    workspace.tables(2);
    let run = |line: &str| workspace.annals(line).run();
    run("migrate --to 1").expect(0);
    server.sql("INSERT INTO t1 SELECT generate_series(1, 1000)");
    run("backup").expect(0);
    run("migrate").expect(0);
    server.sql("DELETE FROM t1");
    let look = run("restore latest --json").expect(0).json();
    assert!(look["notes"].to_string().contains("the event log lives in it, and stays"), "{look}");
    let fingerprint = look["fingerprint"].as_str().unwrap();
    run(&format!("restore latest --yes-restore {fingerprint}")).expect(0);
    assert_eq!(
        server.value("SELECT count(*) || ' ' || (to_regclass('t2') IS NULL) FROM t1"),
        "1000 true"
    );
    run("status").expect(0).says(&["1 applied, 1 pending"]);
    run("log verify").expect(0);
    run("migrate").expect(0);
}
