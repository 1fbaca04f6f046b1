//! `verify` as its users run it: levels, families, what is recorded, and how it ends.

use annals_testkit::{Server, Workspace};
use serde_json::Value;

const SHOP: &str = "CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    name text NOT NULL);\n\
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, \
    total int CHECK (total >= 0));\n\
    CREATE INDEX orders_customer ON orders (customer);\n\
    INSERT INTO customers (name) VALUES ('ann'), ('bob');\n\
    INSERT INTO orders VALUES (1, 1, 10), (2, 2, 20);\n";

fn shop(server: &Server) -> Workspace {
    // Before 15 everybody may create there, and the checks say so.
    server.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let workspace = Workspace::new(server);
    workspace.migration("1_shop", SHOP, "DROP TABLE orders, customers;");
    workspace.annals("migrate").run().expect(0);
    workspace
}

/// The newest `integrity_checked`, and the report it names.
fn recorded(workspace: &Workspace) -> (Value, Value) {
    let text = std::fs::read_to_string(workspace.segment()).unwrap();
    let mut events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let event = events.rfind(|event| event["kind"] == "integrity_checked").unwrap();
    let digest = event["data"]["report"]["digest"].as_str().unwrap().to_owned();
    let mut folders = vec![workspace.path("event-store/db/blobs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .to_string_lossy()
                .replace('/', "")
                .contains(digest.trim_start_matches("sha256:"))
            {
                let report = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
                return (event["data"].clone(), report);
            }
        }
    }
    panic!("no blob {digest}");
}

fn ids(document: &Value, key: &str) -> Vec<String> {
    let list = document[key].as_array().unwrap().iter();
    list.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn rows_without_a_parent_are_found_at_the_level_that_reads_rows_and_recorded() {
    let server = Server::start();
    let workspace = shop(&server);
    server.sql("SET session_replication_role = replica; DELETE FROM customers WHERE id = 2");
    // The catalog knows nothing of it, and data is not said to be right.
    let quick = workspace.annals("verify --quick --json").run().expect(0).json();
    assert_eq!(quick["level"], "quick");
    assert_eq!(quick["checks"]["data_consistency"], "not_checked");
    assert_eq!(quick["tables_read"], 0);
    let (event, _) = recorded(&workspace);
    assert_eq!(event["level"], "quick");

    let found = workspace.annals("verify --json").run().expect(11).json();
    assert_eq!((&found["level"], &found["result"]), (&"standard".into(), &"failed".into()));
    assert_eq!(found["checks"]["data_consistency"], "failed");
    assert_eq!(ids(&found, "findings"), ["data.foreign_key"]);
    let finding = &found["findings"][0];
    assert_eq!(finding["subject"], "constraint public.orders.orders_customer_fkey");
    assert!(finding["evidence"].as_str().unwrap().contains("(id = 2)"), "{finding}");
    let (event, report) = recorded(&workspace);
    assert_eq!((&event["level"], &event["findings"]), (&"standard".into(), &1.into()));
    assert_eq!(report["format"], 2);
    assert_eq!(ids(&report, "findings"), ["data.foreign_key"]);
    workspace.annals("verify").run().expect(11).says(&["✗ data consistency", "[data.foreign_key]"]);
    // Who asks for other families is not told of it.
    let other = workspace.annals("verify --only indexes,permissions --json").run().expect(0).json();
    assert_eq!(other["checks"]["data_consistency"], "not_checked");
    assert_eq!(other["checks"]["indexes"], "passed");
    workspace.annals("log verify").run().expect(0);
}

#[test]
fn all_data_is_read_and_what_has_no_means_is_not_passed() {
    let server = Server::start();
    let workspace = shop(&server);
    let bare = workspace.annals("verify --full --jobs 2 --json").run().expect(0).json();
    assert_eq!(ids(&bare, "findings"), Vec::<String>::new());
    assert_eq!(ids(&bare, "not_checked"), ["data.heap", "index.corrupt"]);
    assert_eq!(bare["not_checked"][1]["kind"], "extension");
    assert_eq!(bare["checks"]["indexes"], "not_checked");
    assert_eq!(bare["checks"]["constraints"], "passed");
    assert_eq!((&bare["tables_read"], &bare["rows_read"]), (&2.into(), &4.into()));
    let (event, report) = recorded(&workspace);
    assert_eq!((&event["level"], &event["result"]), (&"full".into(), &"passed".into()));
    let contents = report["contents"].as_array().unwrap();
    assert_eq!(contents.len(), 2);
    assert_eq!((&contents[1]["table"], &contents[1]["rows"]), (&"public.orders".into(), &2.into()));
    let sums = |report: &Value| report["contents"].clone();
    workspace.annals("verify --full").run().expect(0).says(&["4 rows in 2 tables read"]);
    assert_eq!(sums(&recorded(&workspace).1), sums(&report));
    server.sql("UPDATE orders SET total = 11 WHERE id = 1");
    workspace.annals("verify --full").run().expect(0);
    assert_ne!(sums(&recorded(&workspace).1), sums(&report));
}

#[test]
fn warnings_count_where_they_are_meant_to() {
    let server = Server::start();
    let workspace = shop(&server);
    workspace.migration("2_bare", "CREATE TABLE bare (id int);", "DROP TABLE bare;");
    workspace.annals("migrate").run().expect(0);
    let mild = workspace.annals("verify").run().expect(0);
    mild.says(&["warning table public.bare [table.no_primary_key]", "✓ db: passed"]);
    let strict = workspace.annals("verify --strict").run().expect(11);
    strict.says(&["✗ db: failed"]);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_reached_for() {
    let server = Server::start();
    let workspace = shop(&server);
    for line in [
        "verify --quick --full",
        "verify --only colours",
        "verify --time-budget 0",
        "verify --time-budget soon",
        "verify --jobs 0",
    ] {
        workspace.annals(line).run().expect(2);
    }
}
