//! Rows of a backup back by their key: shown, confirmed, put back in one transaction, killed at every
//! point.

use std::process::Command;

use annals_testkit::{Cut, Outcome, Proxy, Server, ServerOptions, Workspace};
use serde_json::Value;

/// Tables of every kind that matters: keys of several columns, names that need quotes, identities, what is
/// computed, partitions, tables that refer to each other, triggers, a table without a key.
const TABLES: &str = r#"
CREATE TABLE customers (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mail text NOT NULL UNIQUE,
    shout text GENERATED ALWAYS AS (upper(mail)) STORED
);
CREATE SCHEMA "Odd, one";
CREATE TABLE "Odd, one"."Order ""lines""" (
    "Order" int NOT NULL, "line no" int NOT NULL, customer int NOT NULL REFERENCES customers,
    what jsonb, PRIMARY KEY ("Order", "line no")
);
CREATE TABLE people (
    id serial PRIMARY KEY, boss int REFERENCES people, team int NOT NULL
);
CREATE TABLE teams (id int PRIMARY KEY, head int REFERENCES people DEFERRABLE);
ALTER TABLE people ADD FOREIGN KEY (team) REFERENCES teams DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE sales (at date NOT NULL, id bigint NOT NULL, euros numeric, PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
CREATE TABLE sales_2025 PARTITION OF sales FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE sales_2026 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE notes (body text);
CREATE TABLE tags (word text NOT NULL, n int);
CREATE UNIQUE INDEX ON tags (word);
CREATE TABLE told (what text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.told VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NEW; END $$;
CREATE TRIGGER telling BEFORE INSERT OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER asleep BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER counting AFTER INSERT ON sales FOR EACH ROW EXECUTE FUNCTION tell();
ALTER TABLE customers DISABLE TRIGGER asleep;
ALTER TABLE customers ENABLE ALWAYS TRIGGER telling;
"#;

const ROWS: &str = r#"
INSERT INTO customers (mail) SELECT 'c' || n || '@shop' FROM generate_series(1, 40) n;
INSERT INTO "Odd, one"."Order ""lines""" SELECT n, l, n, jsonb_build_object('tab', E'\t', 'n', n)
    FROM generate_series(1, 40) n, generate_series(1, 3) l;
INSERT INTO teams SELECT generate_series(1, 4);
INSERT INTO people (boss, team) SELECT nullif(n - 1, 0), 1 + n % 4 FROM generate_series(1, 20) n;
UPDATE teams SET head = id;
INSERT INTO sales SELECT date '2025-06-01' + n, n, n / 4.0 FROM generate_series(1, 400) n;
INSERT INTO notes VALUES ('a'), ('a');
INSERT INTO tags VALUES ('x', 1), ('y', 2);
TRUNCATE told;
"#;

struct Shop {
    server: Server,
    workspace: Workspace,
    url: String,
}

impl Shop {
    fn with(tables: &str, rows: &str) -> Self {
        let server = Server::start();
        server.sql("CREATE DATABASE shop");
        server.sql("COMMENT ON DATABASE shop IS 'the shop''s own'");
        let url = server.url().rsplit_once('/').unwrap().0.to_owned() + "/shop";
        let workspace = Workspace::with_url(&url);
        let shop = Self { server, workspace, url };
        shop.workspace.migration("1_all", tables, "SELECT 1;");
        shop.run("migrate").expect(0);
        shop.sql(rows);
        shop.run("backup").expect(0);
        shop
    }

    fn begun() -> Self {
        Self::with(TABLES, ROWS)
    }

    fn run(&self, line: &str) -> Outcome {
        self.workspace.annals(line).run()
    }

    fn restore(&self, tables: &str, more: &str) -> Outcome {
        self.workspace.annals("restore latest --tables").arg(tables).args(more).run()
    }

    fn look(&self, tables: &str, more: &str) -> Value {
        let shown = self.restore(tables, &format!("{more} --json")).expect(0).json();
        assert!(shown["done"].is_null(), "{shown}");
        shown
    }

    /// What `more` does once it is confirmed, as `annals` prints it.
    fn put_back(&self, tables: &str, more: &str) -> Value {
        let fingerprint = self.look(tables, more)["fingerprint"].as_str().unwrap().to_owned();
        let line = format!("{more} --json --yes-restore {fingerprint}");
        self.restore(tables, &line).expect(0).json()
    }

    #[track_caller]
    fn is_refused(&self, tables: &str, more: &str, words: &[&str]) {
        self.restore(tables, more).expect(3).says(words).says(&["nothing was changed"]);
        let shown = self.restore(tables, &format!("{more} --json")).expect(3).json();
        let fingerprint = shown["fingerprint"].as_str().unwrap();
        let done = self.restore(tables, &format!("{more} --yes-restore {fingerprint}"));
        done.expect(3).says(words);
        assert_eq!(self.databases(), ["shop"]);
    }

    fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }

    fn databases(&self) -> Vec<String> {
        self.server.rows("SELECT datname FROM pg_database WHERE datname ~ 'shop|annals' ORDER BY 1")
    }

    #[track_caller]
    fn is_sound(&self) {
        assert_eq!(self.databases(), ["shop"]);
        self.run("status").expect(0);
        self.run("verify").expect(0);
        self.run("log verify").expect(0);
        self.run("drift").expect(0);
    }
}

fn psql(url: &str, sql: &str) -> String {
    let done =
        Command::new("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c", sql]).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// `inserted/replaced` of each table that was named.
fn done(document: &Value) -> Vec<String> {
    let tables = document["done"]["tables"].as_array().unwrap().iter();
    tables.map(|table| format!("{}/{}", table["inserted"], table["replaced"])).collect()
}

/// `missing/changed/extra` of each table that was named.
fn found(document: &Value) -> Vec<String> {
    let tables = document["tables"].as_array().unwrap().iter();
    let rows = |table: &Value, kind: &str| table[kind]["rows"].to_string();
    tables
        .map(|table| ["missing", "changed", "extra"].map(|kind| rows(table, kind)).join("/"))
        .collect()
}

const LINES: &str = r#""Odd, one"."Order ""lines""""#;

/// Everything of a table, in one line.
fn content(shop: &Shop, table: &str) -> String {
    shop.sql(&format!("SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {table} t"))
}

#[test]
fn rows_that_were_deleted_come_back_and_what_is_new_stays() {
    let shop = Shop::begun();
    let before = (content(&shop, "customers"), content(&shop, LINES));
    shop.sql(&format!(
        "DELETE FROM {LINES} WHERE \"Order\" <= 10; DELETE FROM customers WHERE id <= 10; \
         INSERT INTO customers (mail) VALUES ('new@shop'); TRUNCATE told; \
         UPDATE {LINES} SET what = '{{}}' WHERE \"Order\" = 40 AND \"line no\" = 1"
    ));
    // Whichever is named first: parents go first.
    let tables = format!("{LINES},Customers");
    let shown = shop.look(&tables, "");
    assert_eq!(found(&shown), ["30/1/0", "10/0/1"]);
    assert_eq!(shown["tables"][0]["key"], "(\"Order\", \"line no\")");
    assert_eq!(shown["tables"][1]["missing"]["keys"].as_array().unwrap().len(), 5);
    let text = shop.restore(&tables, "").expect(0).says(&[
        "30 missing in the target",
        "1 with another content",
        "1 only in the target, and stay",
        "to put 40 rows back: annals restore",
        "--yes-restore",
        "nothing was changed",
        "telling on public.customers",
    ]);
    assert!(text.out.contains("'\"Odd, one\""), "{}", text.out);
    assert_eq!(shop.sql("SELECT count(*) FROM customers"), "31");
    shop.is_sound();

    let kinds = shop.workspace.kinds().len();
    let put = shop.put_back(&tables, "");
    assert_eq!(done(&put), ["30/0", "10/0"]);
    let wanted = ["run_started", "rows_restore_started", "rows_restored", "run_finished"];
    assert_eq!(shop.workspace.kinds()[kinds..], wanted);
    // What is new and what was changed is as it was; no trigger fired, and each is as it was.
    assert_eq!(shop.sql("SELECT count(*), max(id) FROM customers"), "41|41");
    assert_eq!(shop.sql("SELECT count(*) FROM told"), "0");
    assert_eq!(
        shop.sql("SELECT string_agg(tgname || ' ' || tgenabled::text, ', ' ORDER BY tgname) FROM pg_trigger \
                  WHERE NOT tgisinternal AND tgrelid = 'customers'::regclass"),
        "asleep D, telling A"
    );
    assert_eq!(shop.sql("SELECT count(*) FROM customers WHERE shout = upper(mail)"), "41");
    shop.is_sound();

    // What changed comes back only when it is asked for.
    assert_eq!(done(&shop.put_back(&tables, "--rows changed")), ["0/1", "0/0"]);
    shop.sql("DELETE FROM customers WHERE mail = 'new@shop'");
    assert_eq!((content(&shop, "customers"), content(&shop, LINES)), before);
    shop.restore(&tables, "").expect(0).says(&["there is nothing to put back"]);
    shop.run("timeline").expect(0).says(&["rows put back from backup", "public.customers 10"]);
    shop.is_sound();
}

#[test]
fn triggers_fire_where_somebody_says_so() {
    let shop = Shop::begun();
    shop.sql(&format!("DELETE FROM {LINES}; DELETE FROM customers WHERE id <= 3"));
    shop.put_back("customers", "--fire-triggers");
    assert_eq!(shop.sql("SELECT count(*) FROM told WHERE what = 'INSERT customers'"), "3");
    shop.is_sound();
}

#[test]
fn tables_that_refer_to_each_other_and_to_themselves_come_back_at_once() {
    let shop = Shop::begun();
    let before = (content(&shop, "people"), content(&shop, "teams"));
    shop.sql("UPDATE teams SET head = NULL; TRUNCATE people, teams");
    let put = shop.put_back("people,teams", "");
    assert_eq!(done(&put), ["20/0", "4/0"]);
    assert_eq!((content(&shop, "people"), content(&shop, "teams")), before);

    // A row whose parent is missing too is refused, as a whole, and the log says so.
    shop.sql("UPDATE teams SET head = NULL; TRUNCATE people, teams");
    let fingerprint = shop.look("people", "")["fingerprint"].as_str().unwrap().to_owned();
    shop.restore("people", "").expect(0).says(&["public.people refers to public.teams"]);
    let refused = shop.restore("people", &format!("--yes-restore {fingerprint}"));
    refused.expect(18).says(&["people_team_fkey"]);
    assert_eq!(shop.sql("SELECT count(*) FROM people"), "0");
    assert_eq!(shop.workspace.kinds().last().unwrap(), "run_finished");
    shop.is_sound();
}

#[test]
fn sequences_go_forward_and_never_back() {
    let shop = Shop::begun();
    shop.sql(
        "TRUNCATE people, teams RESTART IDENTITY; SELECT nextval('people_id_seq'); \
         SELECT setval('customers_id_seq', 1000)",
    );
    shop.sql(&format!("DELETE FROM {LINES}; DELETE FROM customers"));
    shop.put_back("people,teams,customers", "");
    assert_eq!(shop.sql("SELECT nextval('people_id_seq'), nextval('customers_id_seq')"), "21|1001");
    shop.sql("INSERT INTO people (team) VALUES (1); INSERT INTO customers (mail) VALUES ('z')");
    shop.is_sound();
}

#[test]
fn rows_of_partitions_go_where_they_belong() {
    let shop = Shop::begun();
    let before = content(&shop, "sales");
    let triggers =
        "SELECT string_agg(tgenabled::text, '') FROM pg_trigger WHERE tgname = 'counting'";
    shop.sql("DELETE FROM sales WHERE id % 3 = 0; UPDATE sales SET euros = 0 WHERE id = 4");
    let shown = shop.look("public.sales", "");
    assert_eq!(found(&shown), ["133/1/0"]);
    assert_eq!(done(&shop.put_back("sales", "--rows all")), ["133/1"]);
    assert_eq!(content(&shop, "sales"), before);
    assert_eq!(shop.sql(triggers), "OOO");
    assert_eq!(shop.sql("SELECT count(*) FROM told"), "0");
    shop.sql("DELETE FROM sales_2025");
    let rows = shop.put_back("sales_2025", "");
    assert_eq!(done(&rows).len(), 1);
    assert_eq!(content(&shop, "sales"), before);
    shop.is_sound();
}

/// The sequence of docs/guide/recovery.md, from the alarm to the proof that it is repaired.
#[test]
fn corrupted_rows_are_repaired_as_the_guide_says() {
    let shop = Shop::begun();
    let before = (content(&shop, "customers"), content(&shop, LINES));
    shop.sql(&format!(
        "DELETE FROM {LINES} WHERE \"Order\" > 30; UPDATE {LINES} SET what = NULL; \
         DELETE FROM customers WHERE id > 30"
    ));
    shop.run("backup").expect(0);
    let list = shop.run("backup list --json").expect(0).json();
    let last_good = list["backups"][0]["backup"].as_str().unwrap();
    let tables = format!("customers,{LINES}");
    let restore = |more: &str| {
        let line = format!("restore {last_good} --tables");
        shop.workspace.annals(&line).arg(&tables).args(more).run()
    };
    let shown = restore("--rows all --json").expect(0).json();
    assert_eq!(found(&shown), ["10/0/0", "30/90/0"]);
    let fingerprint = shown["fingerprint"].as_str().unwrap();
    let done = restore(&format!("--rows all --yes-restore {fingerprint}")).expect(0);
    println!("{}", done.out);
    done.says(&["40 rows put back, 90 rows replaced"]);
    shop.run("verify --full").expect(0);
    shop.run("timeline").expect(0).says(&["rows put back from backup"]);
    assert_eq!((content(&shop, "customers"), content(&shop, LINES)), before);
    shop.is_sound();
}

#[test]
fn what_cannot_be_put_back_is_refused_with_the_way_that_is_left() {
    let shop = Shop::begun();
    shop.is_refused("notes", "", &["public.notes has no primary key", "--into"]);
    shop.is_refused("nowhere", "", &["no table nowhere"]);
    shop.restore("a.b.c", "").expect(3);
    // A unique index tells rows apart too.
    shop.sql("DELETE FROM tags WHERE word = 'y'");
    let shown = shop.look("tags", "");
    assert_eq!(
        (&shown["tables"][0]["primary_key"], &shown["wanted_rows"]),
        (&false.into(), &1.into())
    );
    assert_eq!(done(&shop.put_back("tags", "")), ["1/0"]);

    // Another table than then.
    shop.workspace.migration(
        "2_other",
        "ALTER TABLE customers ADD COLUMN age int NOT NULL DEFAULT 7; \
         ALTER TABLE sales DROP COLUMN euros; ALTER TABLE teams ALTER COLUMN head TYPE bigint; \
         ALTER TABLE tags ADD COLUMN must int NOT NULL; CREATE TABLE later (id int PRIMARY KEY);",
        "SELECT 1;",
    );
    shop.sql("TRUNCATE tags");
    shop.run("migrate").expect(0);
    shop.is_refused("customers", "", &["age is not in the backup", "--common-columns"]);
    shop.is_refused("sales", "", &["euros is not in the target any more", "--common-columns"]);
    shop.is_refused("teams", "", &["head was integer and is bigint", "--common-columns"]);
    shop.is_refused("tags", "--common-columns", &["a row needs a value for it"]);
    shop.is_refused("later", "", &["public.later was not there when the backup was taken"]);
    shop.sql(&format!("DELETE FROM {LINES}; DELETE FROM customers WHERE id < 5; TRUNCATE sales"));
    let shown = shop.look("sales", "--common-columns");
    assert_eq!(shown["tables"][0]["left_out_columns"][0], "euros");
    assert_eq!(done(&shop.put_back("customers,sales", "--common-columns")), ["4/0", "400/0"]);
    assert_eq!(shop.sql("SELECT count(*) FROM customers WHERE age = 7"), "40");

    // A word that confirms something else; a schema that changed meanwhile.
    let line = "--yes-restore pg15:000000000000";
    shop.sql("DELETE FROM sales WHERE id = 1");
    shop.restore("sales", &format!("--common-columns {line}"))
        .expect(3)
        .says(&["does not confirm"]);
    shop.run("restore latest --rows all").expect(2);
    shop.run("restore latest --tables sales --into other").expect(2);
    shop.is_sound();
}

#[test]
fn rows_that_policies_hide_do_not_seem_to_be_missing() {
    let shop = Shop::with(
        "CREATE TABLE a (id int PRIMARY KEY, whose text); \
         ALTER TABLE a ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY own ON a USING (whose = current_user);",
        "INSERT INTO a SELECT n, 'x' FROM generate_series(1, 9) n",
    );
    shop.server.sql("CREATE ROLE clerk LOGIN CREATEDB; GRANT pg_monitor TO clerk");
    shop.sql(
        "GRANT ALL ON a TO clerk; GRANT ALL ON SCHEMA annals TO clerk; \
         GRANT ALL ON ALL TABLES IN SCHEMA annals TO clerk",
    );
    let url = shop.url.replace("postgres://postgres@", "postgres://clerk@");
    let line = "restore latest --tables a";
    let refused = shop.workspace.annals(line).env("TEST_URL", &url).run();
    refused.expect(3).says(&["row-level security hides rows of public.a"]);
}

#[test]
fn a_lock_that_is_not_granted_is_waited_for_and_then_nothing_has_happened() {
    let shop = Shop::begun();
    shop.sql("DELETE FROM sales WHERE id < 50");
    let config = std::fs::read_to_string(shop.workspace.path("annals.toml")).unwrap();
    let impatient = config.replace("[timeouts]\n", "[timeouts]\nlock = \"200ms\"\n");
    shop.workspace.write("annals.toml", impatient + "[policy]\nlock_retries = 1\n");
    let look = shop.restore("sales", "--json");
    let fingerprint = look.expect(0).json()["fingerprint"].as_str().unwrap().to_owned();
    let mut holder = Command::new("psql")
        .args([
            "-Xq",
            &shop.url,
            "-c",
            "SET application_name = 'holder'; BEGIN; \
            INSERT INTO sales VALUES ('2025-02-02', 9999, 1); SELECT pg_sleep(600)",
        ])
        .spawn()
        .unwrap();
    annals_testkit::wait_for("the holder holds", || {
        let there = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
            WHERE a.application_name = 'holder' AND l.mode = 'RowExclusiveLock' \
            AND l.locktype = 'relation'";
        (shop.server.value(there) != "0").then_some(())
    });
    let refused = shop.restore("sales", &format!("--yes-restore {fingerprint}"));
    refused.expect(18).says(&["the lock on public.sales"]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    shop.server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'",
    );
    assert_eq!(done(&shop.put_back("sales", "")), ["49/0"]);
    shop.is_sound();
}

#[test]
fn rows_that_are_killed_on_their_way_came_back_or_not_and_the_next_command_knows() {
    for (point, happened) in [
        ("scratch_made", false),
        ("rows_restore_prepared", false),
        ("rows_restore_announced", false),
        ("rows_restore_written", false),
        ("rows_restore_committed", true),
        ("rows_restore_recorded", true),
    ] {
        let shop = Shop::with(
            "CREATE TABLE a (id serial PRIMARY KEY, b text);",
            "INSERT INTO a (b) SELECT 'b' || n FROM generate_series(1, 300) n",
        );
        shop.sql("DELETE FROM a WHERE id <= 100");
        let fingerprint = shop.look("a", "")["fingerprint"].as_str().unwrap().to_owned();
        let line = format!("restore latest --tables a --yes-restore {fingerprint}");
        shop.workspace.annals(&line).env("ANNALS_FAILPOINT", point).run().expect(-1);
        assert_eq!(shop.databases().len(), 2, "{point}");
        // Says what it found, and drops what was left.
        let status = shop.run("status").expect(0);
        status.says(&["a restore that was killed has left the scratch database annals_restore_"]);
        assert_eq!(shop.databases(), ["shop"], "{point}");
        let rows = if happened { "300" } else { "200" };
        assert_eq!(shop.sql("SELECT count(*) FROM a"), rows, "{point}");
        let kinds = shop.workspace.kinds();
        let said = kinds.iter().filter(|kind| *kind == "rows_restored").count();
        assert_eq!(said, usize::from(happened), "{point}: {kinds:?}");
        if !happened {
            shop.run(&line).expect(0).says(&["100 rows put back"]);
        }
        assert_eq!(shop.sql("SELECT count(*), sum(id) FROM a"), "300|45150", "{point}");
        shop.is_sound();
    }
}

#[test]
fn whether_rows_came_back_is_asked_for_where_the_answer_to_their_commit_is_lost() {
    for (cut, code, rows) in [(Cut::AfterCommit, 0, "300"), (Cut::BeforeCommit, 7, "200")] {
        let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
        let workspace = Workspace::new(&server);
        workspace.migration("1_a", "CREATE TABLE a (id int PRIMARY KEY);", "DROP TABLE a;");
        let run = |line: &str| workspace.annals(line).run();
        run("migrate").expect(0);
        server.sql("INSERT INTO a SELECT generate_series(1, 300)");
        run("backup").expect(0);
        server.sql("DELETE FROM a WHERE id <= 100");
        let look = run("restore latest --tables a --json").expect(0).json();
        let fingerprint = look["fingerprint"].as_str().unwrap();
        let line = format!("restore latest --tables a --yes-restore {fingerprint}");
        let proxy = Proxy::start(server.tcp_port(), cut, 1);
        let (from, to) = (server.tcp_port().to_string(), proxy.port().to_string());
        let url = server.tcp_url().replace(&from, &to);
        let outcome = workspace.annals(&line).env("TEST_URL", &url).run();
        assert_eq!(outcome.code, code, "{outcome:?}");
        outcome.says(&[match code {
            0 => "the answer to its commit was lost; it was asked for, and it is there",
            _ => "nothing of it was committed",
        }]);
        assert_eq!(server.value("SELECT count(*) FROM a"), rows);
        let said = workspace.kinds().iter().filter(|kind| *kind == "rows_restored").count();
        assert_eq!(said, usize::from(code == 0));
        let databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'annals%'";
        assert_eq!(server.value(databases), "0");
        run("status").expect(0);
        run("log verify").expect(0);
    }
}

#[test]
fn a_scratch_database_is_dropped_only_when_it_is_ours_and_nobody_is_at_work_in_it() {
    let shop = Shop::begun();
    let kill = |line: &str| {
        shop.workspace.annals(line).env("ANNALS_FAILPOINT", "restore_prepared").run().expect(-1)
    };
    let fingerprint = shop.run("restore latest --json").json()["fingerprint"].clone();
    let line = format!("restore latest --yes-restore {}", fingerprint.as_str().unwrap());
    kill(&line);
    let left = shop.databases()[0].clone();
    assert!(left.starts_with("annals_restore_"), "{left}");
    // Of the same form, and somebody else's.
    let foreign = "annals_restore_0123456789abcdef0123456789abcdef";
    shop.server.sql(&format!("CREATE DATABASE {foreign}"));
    shop.server.sql(&format!("COMMENT ON DATABASE {foreign} IS 'mine'"));
    // Somebody looks around in ours.
    let url = shop.url.replace("/shop", &format!("/{left}"));
    let mut guest = Command::new("psql").args(["-Xq", &url, "-c", "SELECT pg_sleep(600)"]).spawn();
    let there = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{left}'");
    annals_testkit::wait_for("the guest is there", || {
        (shop.server.value(&there) == "1").then_some(())
    });
    shop.run("status").expect(0);
    assert!(shop.databases().contains(&left));
    shop.server.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{left}'"
    ));
    guest.as_mut().unwrap().wait().unwrap();
    annals_testkit::wait_for("the guest is gone", || {
        (shop.server.value(&there) == "0").then_some(())
    });
    // The next restore finds it, and its own database is the shop's own behind it.
    let done = shop.run(&line).expect(0);
    done.says(&["has left the scratch database", left.as_str()]);
    let databases = shop.databases();
    assert!(databases.contains(&foreign.to_owned()) && !databases.contains(&left));
    let comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database \
        WHERE datname = 'shop'";
    assert_eq!(shop.server.value(comment), "the shop's own");
    shop.server.sql(&format!("DROP DATABASE {foreign}"));
    shop.run("drift").expect(0);
    shop.run("restore latest --into beside").expect(0);
    let comment = comment.replace("'shop'", "'beside'");
    assert_eq!(shop.server.value(&comment), "the shop's own");
}

#[test]
fn many_rows_come_back_in_little_memory() {
    let shop = Shop::with(
        "CREATE TABLE many (id bigint PRIMARY KEY, a text, b text);",
        "INSERT INTO many SELECT n, repeat(md5(n::text), 8), repeat(md5((-n)::text), 4)
           FROM generate_series(1, 120000) n",
    );
    shop.sql("DELETE FROM many WHERE id % 6 <> 0; UPDATE many SET a = '' WHERE id % 12 = 0");
    let fingerprint = shop.look("many", "")["fingerprint"].as_str().unwrap().to_owned();
    let line = format!("restore latest --tables many --rows all --yes-restore {fingerprint}");
    let running = shop.workspace.annals(&line).start();
    let status = format!("/proc/{}/status", running.pid());
    let mut peak_kib = 0;
    while let Some(kib) = crate::sql_files::own_memory(&status) {
        peak_kib = peak_kib.max(kib);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    running.wait().expect(0).says(&["100000 rows put back", "10000 rows replaced"]);
    assert_eq!(
        shop.sql("SELECT count(*), sum(id), sum(length(a) + length(b)) FROM many"),
        "120000|7200060000|46080000"
    );
    // The rows alone are 46 MB.
    assert!((1..24 << 10).contains(&peak_kib), "{peak_kib} KiB");
    println!("120000 rows, at most {peak_kib} KiB");
    shop.is_sound();
}

#[test]
fn a_type_of_a_schema_that_others_manage_is_there_where_rows_are_looked_for() {
    let server = Server::start();
    server.sql("CREATE DATABASE shop");
    let url = server.url().rsplit_once('/').unwrap().0.to_owned() + "/shop";
    psql(&url, "CREATE SCHEMA theirs; CREATE EXTENSION citext SCHEMA theirs");
    let workspace = Workspace::with_url(&url);
    let config = std::fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config + "\n[schemas]\nmanaged = [\"theirs\"]\n");
    let up = "CREATE TABLE people (id int PRIMARY KEY, mail theirs.citext);";
    workspace.migration("1_people", up, "DROP TABLE people;");
    let shop = Shop { server, workspace, url };
    shop.run("migrate").expect(0);
    shop.sql("INSERT INTO people VALUES (1, 'A@shop'), (2, 'B@shop')");
    shop.run("backup").expect(0);
    shop.sql("DELETE FROM people WHERE id = 2");
    shop.put_back("people", "");
    assert_eq!(shop.sql("SELECT mail FROM people ORDER BY id"), "A@shop\nB@shop");
    shop.is_sound();
}
