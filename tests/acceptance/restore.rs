//! A backup in the place of its target: shown, confirmed, put there, killed at every point.

use std::fs;
use std::process::Command;

use annals_testkit::{Outcome, Server, ServerOptions, Workspace};
use serde_json::Value;

/// A database that may be renamed, with its workspace.
struct Shop {
    server: Server,
    workspace: Workspace,
    url: String,
}

impl Shop {
    /// Three migrations, rows, a full backup; then a fourth migration, and other rows.
    fn with_a_past() -> Self {
        let shop = Self::begun();
        shop.run("backup").expect(0);
        shop.workspace.migration("4_t4", "CREATE TABLE t4 (id int);", "DROP TABLE t4;");
        shop.run("migrate").expect(0);
        shop.sql(
            "DELETE FROM t1 WHERE id > 600; INSERT INTO t2 VALUES (7); INSERT INTO t4 VALUES (1)",
        );
        shop
    }

    fn begun() -> Self {
        let server = Server::start();
        server.sql("CREATE DATABASE shop CONNECTION LIMIT 40");
        let url = server.url().rsplit_once('/').unwrap().0.to_owned() + "/shop";
        let workspace = Workspace::with_url(&url);
        let shop = Self { server, workspace, url };
        for n in 1..=3 {
            let up = format!("CREATE TABLE t{n} (id int PRIMARY KEY);");
            shop.workspace.migration(&format!("{n}_t{n}"), &up, &format!("DROP TABLE t{n};"));
        }
        shop.run("migrate").expect(0);
        shop.sql("INSERT INTO t1 SELECT generate_series(1, 1000)");
        shop
    }

    fn run(&self, line: &str) -> Outcome {
        self.workspace.annals(line).run()
    }

    fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }

    fn look(&self) -> Value {
        self.run("restore latest --json").expect(0).json()
    }

    /// The command that does it, as the preview prints it.
    fn confirmed(&self) -> String {
        format!("restore latest --yes-restore {}", self.look()["fingerprint"].as_str().unwrap())
    }

    fn databases(&self) -> Vec<String> {
        let all = "SELECT datname FROM pg_database WHERE datname ~ 'shop|restore' ORDER BY 1";
        self.server.rows(all)
    }

    /// Everything annals can say of target and log, after what was done.
    #[track_caller]
    fn is_sound(&self) {
        self.run("status").expect(0);
        self.run("verify").expect(0);
        self.run("log verify").expect(0);
        self.run("drift").expect(0);
    }

    #[track_caller]
    fn has_pending(&self, wanted: &[&str]) {
        let status = self.run("status --json").expect(0).json();
        let rows = status["migrations"].as_array().unwrap();
        let pending = rows.iter().filter(|row| row["state"] == "pending");
        let pending: Vec<&str> = pending.map(|row| row["version"].as_str().unwrap()).collect();
        assert_eq!(pending, wanted, "{status}");
    }

    /// The target as it was before the restore.
    #[track_caller]
    fn is_as_before(&self) {
        assert_eq!(self.sql("SELECT count(*) FROM t1"), "600");
        self.has_pending(&[]);
        // A command that writes, or status, drops what was not wanted.
        assert_eq!(self.databases(), ["shop"]);
        self.is_sound();
    }

    /// The target as the backup has it; what was before is beside it.
    #[track_caller]
    fn is_restored(&self) {
        assert_eq!(self.sql("SELECT count(*) FROM t1"), "1000");
        assert_eq!(self.sql("SELECT to_regclass('t4') IS NULL"), "t");
        let databases = self.databases();
        assert_eq!(databases.len(), 2, "{databases:?}");
        assert!(databases[1].starts_with("shop_before_restore_"), "{databases:?}");
        let limit =
            "SELECT datconnlimit || ' ' || datallowconn FROM pg_database WHERE datname = 'shop'";
        assert_eq!(self.server.value(limit), "40 true");
        self.has_pending(&["4"]);
        self.is_sound();
    }
}

fn psql(url: &str, sql: &str) -> String {
    let done =
        Command::new("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c", sql]).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_backup_takes_the_place_of_its_target_and_the_log_goes_on() {
    let shop = Shop::with_a_past();
    let shown = shop.look();
    assert_eq!(shown["undone"][0], "4_t4");
    let tables: Vec<String> = shown["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| format!("{} {} {}", table["table"], table["now"], table["backup"]))
        .collect();
    let wanted = ["\"public.t1\" 600 1000", "\"public.t2\" 1 0", "\"public.t4\" 1 null"];
    assert_eq!(tables, wanted);
    shop.run("restore latest").expect(0).says(&["nothing was changed", "600 → 1000", "4_t4"]);
    let before = shop.workspace.kinds().len();

    let done = shop.run(&(shop.confirmed() + " --json")).expect(0).json();
    let kinds = shop.workspace.kinds()[before..].to_vec();
    let wanted = [
        "run_started",
        "restore_started",
        "baseline_adopted",
        "target_restored",
        "run_finished",
        "backup_verified",
        "schema_recorded",
    ];
    assert_eq!(kinds, wanted);
    shop.is_restored();
    let kept = done["done"]["kept_as"].as_str().unwrap();
    assert_eq!(shop.databases()[1], kept);
    // What was there before can still be looked at.
    assert_eq!(
        psql(&shop.url.replace("/shop", &format!("/{kept}")), "SELECT count(*) FROM t4"),
        "1"
    );

    // The past is the past, and what was lost can be done again.
    shop.run(&format!("state --at-seq {}", before - 1)).expect(0).says(&["4_t4"]);
    shop.run("history").expect(0);
    shop.run("timeline")
        .expect(0)
        .says(&["took the place of the target", "is not applied any more"]);
    shop.run("plan").expect(0).says(&["4_t4"]);
    shop.run("migrate").expect(0);
    shop.has_pending(&[]);
    shop.is_sound();
    shop.run("rollback --last 1").expect(0);
    shop.is_sound();
}

#[test]
fn a_newer_backup_brings_back_what_an_older_one_took() {
    let shop = Shop::with_a_past();
    let older = shop.run("backup list --json").expect(0).json()["backups"][0]["backup"].clone();
    let newer = shop.run("backup --json").expect(0).json()["backup"].clone();
    let onto = |name: &Value| {
        let name = name.as_str().unwrap();
        let shown = shop.run(&format!("restore {name} --json")).expect(0).json();
        let fingerprint = shown["fingerprint"].as_str().unwrap().to_owned();
        shop.run(&format!("restore {name} --yes-restore {fingerprint}")).expect(0);
        shown
    };
    onto(&older);
    shop.has_pending(&["4"]);
    // Another fourth migration is applied meanwhile, and goes.
    shop.run("migrate").expect(0);
    shop.sql("INSERT INTO t4 VALUES (5), (6)");
    onto(&older);
    let shown = onto(&newer);
    assert_eq!(shown["redone"][0], "4_t4");
    assert_eq!(shop.sql("SELECT count(*) FROM t4"), "1");
    shop.has_pending(&[]);
    shop.is_sound();
    shop.run("rollback --last 1").expect(0);
    shop.is_sound();
}

#[test]
fn what_is_not_confirmed_or_in_the_way_is_refused_and_changes_nothing() {
    let shop = Shop::with_a_past();
    let line = shop.confirmed();
    let events = shop.workspace.kinds().len();
    shop.run("restore latest --yes-restore pg15:0000").expect(3).says(&["does not confirm"]);
    shop.sql("CREATE TABLE later ()");
    shop.run(&line).expect(3).says(&["does not confirm", "nothing was changed"]);
    shop.sql("DROP TABLE later");

    // A backup of the schema alone, which latest does not mean.
    let full = shop.look()["backup"].clone();
    let schema = shop.run("backup --schema --json").expect(0).json()["backup"].clone();
    assert_eq!(shop.look()["backup"], full);
    let schema = schema.as_str().unwrap();
    let shown = shop.run(&format!("restore {schema} --json")).expect(3).json();
    assert!(
        shown["obstacles"][0].as_str().unwrap().contains("does not hold everything"),
        "{shown}"
    );
    let fingerprint = shown["fingerprint"].as_str().unwrap();
    let line = format!("restore {schema} --yes-restore {fingerprint}");
    shop.run(&line).expect(3).says(&["cannot take the place"]);
    assert_eq!(shop.workspace.kinds().len(), events + 1);
    shop.is_as_before();
}

#[test]
fn a_role_that_may_not_rename_the_database_is_told_before_anything_is_done() {
    let shop = Shop::with_a_past();
    shop.server
        .sql("CREATE ROLE clerk LOGIN CREATEDB; GRANT pg_read_all_data, pg_monitor TO clerk");
    shop.sql(
        "GRANT ALL ON SCHEMA annals TO clerk; GRANT ALL ON ALL TABLES IN SCHEMA annals TO clerk",
    );
    let url = shop.url.replace("postgres://postgres@", "postgres://clerk@");
    let shown = shop.workspace.annals("restore latest --json").env("TEST_URL", &url).run();
    let shown = shown.expect(3).json();
    let obstacles = shown["obstacles"].to_string();
    assert!(obstacles.contains("may not rename the database"), "{obstacles}");
}

#[test]
fn sessions_of_others_are_ended_and_named() {
    let shop = Shop::with_a_past();
    let sleeper = Command::new("psql")
        .args(["-Xq", &shop.url, "-c", "SET application_name = 'till'; SELECT pg_sleep(600)"])
        .spawn();
    let mut sleeper = sleeper.unwrap();
    let there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'till'";
    annals_testkit::wait_for("the till is open", || {
        (shop.server.value(there) == "1").then_some(())
    });
    shop.run("restore latest")
        .expect(0)
        .says(&["sessions that would be ended", "application till"]);
    let done = shop.run(&(shop.confirmed() + " --json")).expect(0).json();
    let ended = done["done"]["ended_sessions"].to_string();
    assert!(ended.contains("application till"), "{ended}");
    sleeper.wait().unwrap();
    shop.is_restored();
}

#[test]
fn a_restore_that_is_killed_has_happened_or_not_and_the_next_command_knows() {
    for (point, happened) in [
        ("restore_prepared", false),
        ("restore_announced", false),
        ("restore_closed", false),
        ("restore_swapped", true),
        ("restore_recorded", true),
    ] {
        for next in ["status", "plan", "migrate", "verify", "backup"] {
            if next != "status" && !matches!(point, "restore_closed" | "restore_swapped") {
                continue;
            }
            let shop = Shop::with_a_past();
            let line = shop.confirmed();
            shop.workspace.annals(&line).env("ANNALS_FAILPOINT", point).run().expect(-1);
            if point == "restore_closed" {
                let open = "SELECT datallowconn FROM pg_database WHERE datname = 'shop'";
                assert_eq!(shop.server.value(open), "false");
            }
            let outcome = shop.run(next);
            // `plan` writes nothing: it says who settles it, and opens what was left closed.
            let wanted = if next == "plan" { 8 } else { 0 };
            assert_eq!(outcome.code, wanted, "{next} after {point}: {outcome:?}");
            if next == "migrate" && happened {
                shop.run("rollback --last 1").expect(0);
            }
            match happened {
                true => shop.is_restored(),
                false => shop.is_as_before(),
            }
            // And it can be done again.
            if point == "restore_closed" && next != "backup" {
                shop.run(&line).expect(0);
                shop.is_restored();
            }
        }
    }
}

#[test]
fn partitions_policies_large_objects_and_the_database_s_own_settings_come_back() {
    let shop = Shop::begun();
    shop.server.sql("CREATE ROLE owner_of_shop; CREATE ROLE till");
    shop.sql(
        "CREATE TABLE sale (id int GENERATED ALWAYS AS IDENTITY, day date, cents int, \
         euros numeric GENERATED ALWAYS AS (cents / 100.0) STORED) PARTITION BY RANGE (day); \
         CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM (MINVALUE) TO ('2026-01-01'); \
         CREATE TABLE sale_2 PARTITION OF sale DEFAULT; \
         INSERT INTO sale (day, cents) SELECT date '2025-12-01' + n % 90, n FROM generate_series(1, 900) n; \
         ALTER TABLE t2 ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON t2 TO till USING (id > 3); \
         CREATE MATERIALIZED VIEW much AS SELECT day, sum(cents) FROM sale GROUP BY day; \
         SELECT lo_from_bytea(77001, 'a letter'); \
         GRANT SELECT ON sale TO till; GRANT CONNECT ON DATABASE shop TO till; \
         ALTER DATABASE shop OWNER TO owner_of_shop; ALTER DATABASE shop SET work_mem = '9MB'; \
         COMMENT ON DATABASE shop IS 'the shop'",
    );
    shop.run("drift accept --reason test").expect(0);
    shop.run("backup").expect(0);
    let was = shop.look()["fingerprint"].clone();
    shop.sql("DROP MATERIALIZED VIEW much; DROP TABLE sale; SELECT lo_unlink(77001)");
    shop.server.sql("ALTER DATABASE shop RESET work_mem; ALTER DATABASE shop OWNER TO postgres");
    let shown = shop.look();
    assert_eq!(shown["backup_fingerprint"], was);
    assert_ne!(shown["fingerprint"], was);
    shop.run(&shop.confirmed()).expect(0);
    assert_eq!(shop.look()["fingerprint"], was);
    assert_eq!(shop.sql("SELECT count(*), sum(euros)::int FROM sale"), "900|4055");
    assert_eq!(shop.sql("SELECT convert_from(lo_get(77001), 'UTF8')"), "a letter");
    assert_eq!(shop.sql("SHOW work_mem"), "9MB");
    assert_eq!(shop.sql("SELECT count(*) > 0 FROM much"), "t");
    shop.is_sound();
}

/// What most projects have on tables of the platform: a profile for each user who signs up, and who may see
/// which file.
pub(crate) const ON_PLATFORM: (&str, &str) = (
    "CREATE TABLE public.profiles (id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE, email text);\n\
     CREATE FUNCTION public.sign_up() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS \
         $$ BEGIN INSERT INTO public.profiles VALUES (NEW.id, NEW.email); RETURN NEW; END $$;\n\
     CREATE TRIGGER on_sign_up AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION public.sign_up();\n\
     CREATE FUNCTION public.may_see(file text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT file LIKE 'free/%' $$;\n\
     CREATE POLICY \"read what is free\" ON storage.objects FOR SELECT TO anon, authenticated \
         USING (bucket_id = 'files' AND public.may_see(name));\n\
     CREATE POLICY claimed ON storage.objects AS RESTRICTIVE FOR UPDATE TO authenticated \
         USING ((auth.jwt() ->> 'may')::boolean) WITH CHECK ((owner = auth.uid()) OR (owner IS NULL));\n\
     COMMENT ON POLICY claimed ON storage.objects IS 'whose is it?';",
    "DROP POLICY claimed ON storage.objects;\n\
     DROP POLICY \"read what is free\" ON storage.objects;\n\
     DROP TRIGGER on_sign_up ON auth.users;\n\
     DROP FUNCTION public.sign_up(), public.may_see(text);\n\
     DROP TABLE public.profiles;",
);

#[test]
fn a_backup_of_a_supabase_database_is_verified_brought_back_and_rehearsed() {
    let server = Server::start_with(ServerOptions { supabase: true, ..Default::default() });
    let workspace = Workspace::new(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write(
        "annals.toml",
        config + "platform = \"supabase\"\nbackup = \"full\"\nevent_store = \"postgres\"\n",
    );
    workspace.migration(
        "1_orders",
        "CREATE TABLE public.orders (id int PRIMARY KEY, owner uuid REFERENCES auth.users (id));\n\
         ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;\n\
         CREATE POLICY own ON public.orders USING (owner = (SELECT auth.uid()));",
        "DROP TABLE public.orders;",
    );
    workspace.migration("2_users", ON_PLATFORM.0, ON_PLATFORM.1);
    let run = |line: &str| workspace.annals(line).run();
    run("migrate").expect(0);
    run("verify").expect(0);
    server.sql(
        "INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, 50); \
         INSERT INTO public.orders SELECT row_number() OVER (), id FROM auth.users, generate_series(1, 10)",
    );
    // A publication of the platform itself, with a table of the project.
    server.sql("ALTER PUBLICATION supabase_realtime ADD TABLE public.orders");
    run("drift accept --reason realtime").expect(0);
    run("backup").expect(0);
    let verified = run("backup verify latest --deep").expect(0);
    verified.says(&["restored and compared", "foreign keys to auth.users", "not in the backup"]);
    workspace.migration(
        "3_items",
        "CREATE TABLE public.items (id int);",
        "DROP TABLE public.items;",
    );
    run("migrate").expect(0);
    let drill = run("rollback --emergency --rehearse --json");
    assert_eq!(drill.code, 0, "{}{}", drill.out, drill.err);
    run("rollback --emergency --yes --reason test").expect(0).says(&["is back and verified"]);
    assert_eq!(server.value("SELECT count(*) FROM public.orders"), "500");
    // The database beside it is bare, and this role owns neither the log nor what the platform has.
    server.sql("DELETE FROM public.orders WHERE id > 100; UPDATE public.orders SET owner = NULL WHERE id < 4");
    let shown = run("restore latest --tables orders").expect(0);
    let text = format!("{}{}", shown.out, shown.err);
    assert!(
        text.contains("400 missing in the target") && text.contains("3 with another content"),
        "{text}"
    );
    let fingerprint =
        text.split("--yes-restore ").nth(1).unwrap().split_whitespace().next().unwrap();
    run(&format!("restore latest --tables orders --rows all --yes-restore {fingerprint}"))
        .expect(0);
    assert_eq!(
        server.value("SELECT count(*) || ' ' || count(owner) FROM public.orders"),
        "500 500"
    );
    run("verify --full").expect(0);
    run("log verify").expect(0);
}

#[test]
fn a_backup_of_a_supabase_database_is_brought_into_one_beside_it() {
    for place in ["", "event_store = \"postgres\"\n"] {
        let server = Server::start_with(ServerOptions { supabase: true, ..Default::default() });
        let workspace = Workspace::new(&server);
        let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
        workspace.write("annals.toml", config + "platform = \"supabase\"\n" + place);
        // What the platform recommends: nothing new is open to everybody.
        workspace.migration(
            "1_hardened",
            "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public \
                 REVOKE ALL ON TABLES FROM anon, authenticated;\n\
             REVOKE USAGE ON SCHEMA public FROM anon;",
            "GRANT USAGE ON SCHEMA public TO anon;\n\
             ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public \
                 GRANT ALL ON TABLES TO anon, authenticated;",
        );
        workspace.migration(
            "2_orders",
            "CREATE TABLE public.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
                 owner uuid DEFAULT auth.uid() REFERENCES auth.users (id), \
                 key uuid DEFAULT extensions.uuid_generate_v4());\n\
             ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;\n\
             CREATE POLICY own ON public.orders TO authenticated USING (owner = (SELECT auth.uid()));\n\
             ALTER PUBLICATION supabase_realtime ADD TABLE public.orders;",
            "DROP TABLE public.orders;",
        );
        workspace.migration("3_users", ON_PLATFORM.0, ON_PLATFORM.1);
        let run = |line: &str| workspace.annals(line).run();
        run("migrate").expect(0);
        server.sql(
            "INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, 50); \
             INSERT INTO public.orders (owner) SELECT id FROM auth.users, generate_series(1, 10)",
        );
        run("backup").expect(0);
        run("backup verify latest --deep").expect(0).says(&["restored and compared"]);

        // Its role may not make everything, and what it may make is all there.
        run("restore latest --into beside").expect(0).says(&[
            "is restored as database beside",
            "all compared",
            "this role may not make all of it; what differs:\n  extension pg_stat_statements: is missing",
            "foreign keys to auth.users",
            "not recorded in the log: parts of the schema were left out",
        ]);
        let (own, beside) = (server.url(), server.url().replace(":5432/postgres", ":5432/beside"));
        assert_ne!(own, beside);
        for what in [
            "SELECT count(*), count(owner), sum(hashtext(o::text)) FROM public.orders o",
            "SELECT polrelid::regclass, polname, polcmd, polpermissive, pg_get_expr(polqual, polrelid), \
                pg_get_expr(polwithcheck, polrelid), polroles::regrole[], obj_description(oid) \
                FROM pg_policy ORDER BY 1, 2",
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass ORDER BY 1",
            "SELECT pubname, tablename FROM pg_publication_tables",
            "SELECT unnest(relacl)::text FROM pg_class WHERE relname = 'orders' ORDER BY 1",
            "SELECT unnest(nspacl)::text FROM pg_namespace WHERE nspname = 'public' ORDER BY 1",
            "SELECT defaclobjtype, unnest(defaclacl)::text FROM pg_default_acl WHERE defaclrole = 'postgres'::regrole ORDER BY 1, 2",
        ] {
            let said = psql(&own, what);
            assert_ne!(said, "", "{what}");
            assert_eq!(psql(&beside, what), said, "{what}");
        }

        // Rows are looked for in a database beside it, too, which needs the platform's functions.
        server.sql("DELETE FROM public.orders WHERE id > 100");
        run("restore latest --tables orders").expect(0).says(&["400 missing in the target"]);
    }
}
