//! Backups that do not hold everything: what they say of themselves, what they are good for, and that nobody
//! takes them for more.

use std::process::Command;

use annals_testkit::{Outcome, Server, Workspace};
use serde_json::Value;

struct Shop {
    server: Server,
    workspace: Workspace,
    url: String,
}

const TABLES: &str = "
CREATE TYPE colour AS ENUM ('red', 'blue');
CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, colour colour);
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers);
CREATE TABLE sales (at date NOT NULL, id int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');
CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM ('2025-07-01') TO ('2026-01-01');
";

const ROWS: &str = "
INSERT INTO customers (colour) SELECT 'red' FROM generate_series(1, 50);
INSERT INTO orders SELECT n, 1 + n % 50 FROM generate_series(1, 300) n;
INSERT INTO sales SELECT date '2025-01-01' + n, n FROM generate_series(0, 360) n;
SELECT lo_from_bytea(7001, 'a letter');
";

impl Shop {
    fn begun() -> Self {
        let server = Server::start();
        server.sql("CREATE DATABASE shop");
        let url = server.url().rsplit_once('/').unwrap().0.to_owned() + "/shop";
        let workspace = Workspace::with_url(&url);
        let shop = Self { server, workspace, url };
        shop.workspace.migration("1_all", TABLES, "SELECT 1;");
        shop.run("migrate").expect(0);
        shop.sql(ROWS);
        shop
    }

    fn run(&self, line: &str) -> Outcome {
        self.workspace.annals(line).run()
    }

    fn take(&self, line: &str) -> Value {
        self.run(&format!("backup {line} --json")).expect(0).json()
    }

    fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }

    fn of(&self, database: &str, sql: &str) -> String {
        psql(&self.url.replace("/shop", &format!("/{database}")), sql)
    }
}

fn psql(url: &str, sql: &str) -> String {
    let done =
        Command::new("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c", sql]).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn name(document: &Value) -> &str {
    document["backup"].as_str().unwrap()
}

#[test]
fn a_backup_of_some_tables_says_so_and_is_nothing_more() {
    let shop = Shop::begun();
    let full = shop.take("");
    let some = shop.take("--tables customers,public.sales");
    assert_eq!(
        (&some["kind"], &some["tables"], &some["rows"]),
        (&"tables".into(), &3.into(), &411.into())
    );
    let absent = some["not_included"].to_string();
    assert!(
        absent.contains("rows of all other tables") && absent.contains("large objects"),
        "{absent}"
    );
    shop.run("backup list").expect(0).says(&["full", "tables"]);
    shop.run(&format!("backup show {}", name(&some))).expect(0).says(&[
        "holds the schema, and only the rows of public.customers, public.sales",
        "public.sales_1 181 rows",
        "not in it: rows of all other tables",
    ]);
    shop.run("backup verify").expect(0);
    shop.run("backup verify --deep").expect(0).says(&["only rows were compared"]);

    // Latest is the newest that can do what is asked for.
    let shown = shop.run("restore latest --json").expect(0).json();
    assert_eq!(shown["backup"], full["backup"]);
    let line = format!("restore {} --json", name(&some));
    let refused = shop.run(&line).expect(3).json();
    let obstacle = refused["obstacles"][0].as_str().unwrap();
    assert!(obstacle.contains("does not hold everything (tables)"), "{obstacle}");
    let confirmed = refused["fingerprint"].as_str().unwrap();
    shop.run(&format!("restore {} --yes-restore {confirmed}", name(&some))).expect(3);

    shop.sql("DELETE FROM sales WHERE id < 100; DELETE FROM orders WHERE id < 10");
    let rows = |tables: &str| {
        let shown = shop.run(&format!("restore latest --tables {tables} --json")).expect(0).json();
        (shown["backup"].clone(), shown["wanted_rows"].clone())
    };
    assert_eq!(rows("sales"), (some["backup"].clone(), 100.into()));
    assert_eq!(rows("sales_1,customers"), (some["backup"].clone(), 100.into()));
    assert_eq!(rows("sales,orders"), (full["backup"].clone(), 109.into()));
    let line = format!("restore {} --tables orders", name(&some));
    shop.run(&line).expect(3).says(&["the rows of public.orders are not in the backup"]);

    // Beside the target, with what there is of it.
    shop.run(&format!("restore {} --into some", name(&some)))
        .expect(0)
        .says(&["411 rows", "it is a backup of tables"]);
    assert_eq!(shop.of("some", "SELECT count(*) FROM sales"), "361");
    assert_eq!(shop.of("some", "SELECT count(*) FROM orders"), "0");
    shop.run("status").expect(0);
    shop.run("log verify").expect(0);
}

#[test]
fn a_backup_of_the_rows_brings_rows_back() {
    let shop = Shop::begun();
    let rows = shop.take("--data");
    assert_eq!((&rows["kind"], rows["tables"].as_u64() > Some(3)), (&"data".into(), true));
    shop.run(&format!("backup show {}", name(&rows)))
        .expect(0)
        .says(&["holds rows only", "not in it: indexes, constraints, triggers"]);
    shop.run("backup verify --deep").expect(0);
    shop.sql("TRUNCATE orders, customers");
    let shown = shop.run("restore latest --tables orders,customers --json").expect(0).json();
    assert_eq!((&shown["backup"], &shown["wanted_rows"]), (&rows["backup"], &350.into()));
    let confirmed = shown["fingerprint"].as_str().unwrap();
    shop.run(&format!("restore latest --tables orders,customers --yes-restore {confirmed}"))
        .expect(0)
        .says(&["350 rows put back"]);
    assert_eq!(shop.sql("SELECT count(*) FROM orders JOIN customers c ON c.id = customer"), "300");
    shop.run("restore latest --into beside").expect(0).says(&["it is a backup of data"]);
    assert_eq!(shop.of("beside", "SELECT count(*) FROM orders"), "300");
    assert_eq!(shop.server.rows("SELECT 1 FROM pg_database WHERE datname ~ '^annals'").len(), 0);

    // It is none to go back to.
    shop.run("restore latest").expect(3).says(&["does not hold everything (data)"]);
}

#[test]
fn what_is_asked_for_wrongly_is_refused_and_leaves_nothing() {
    let shop = Shop::begun();
    shop.run("backup --tables nowhere").expect(3).says(&["there is no table nowhere"]);
    shop.sql("CREATE SCHEMA other; CREATE TABLE other.orders (id int)");
    shop.run("backup --tables orders").expect(3).says(&["may be any of", "name its schema"]);
    shop.run("backup --tables a..b").expect(3).says(&["--tables"]);
    shop.run("backup --tables orders --schema").expect(2);
    let list = shop.run("backup list --json").expect(0).json();
    assert_eq!(list["backups"].as_array().unwrap().len(), 0);
}

#[test]
fn pruning_never_lets_a_part_stand_for_the_whole() {
    let shop = Shop::begun();
    let full = shop.take("");
    shop.run("backup verify --deep").expect(0);
    let parts: Vec<Value> = (0..3).map(|_| shop.take("--tables orders")).collect();
    shop.run("backup verify --deep").expect(0);
    let pruned = shop.run("backup prune --keep-last 1 --json").expect(0).json();
    let removed: Vec<&str> = pruned["removed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["backup"].as_str().unwrap())
        .collect();
    assert_eq!(removed.len(), 2, "{pruned}");
    assert!(!removed.contains(&name(&full)) && !removed.contains(&name(&parts[2])), "{pruned}");
    let shown = shop.run("restore latest --json").expect(0).json();
    assert_eq!(shown["backup"], full["backup"]);
}
