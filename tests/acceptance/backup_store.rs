//! Backups in an S3-compatible store, on a real server beside the test.

use std::fs;
use std::path::{Path, PathBuf};

use annals_s3_server::{BUCKET, S3Server};
use annals_testkit::{Annals, Outcome, Server, Workspace, wait_for};
use serde_json::Value;

#[test]
fn s3_server() {
    annals_s3_server::play_or_try("backup_store::s3_server");
}

struct Kept {
    store: S3Server,
    server: Server,
    workspace: Workspace,
}

impl Kept {
    fn new() -> Self {
        let store = S3Server::start("backup_store::s3_server");
        let server = Server::start();
        let workspace = Workspace::new(&server);
        let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
        let table = format!(
            "\n[backup]\nstore = \"s3://{BUCKET}/kept\"\nendpoint = \"{}\"\nallow_http = true\n",
            store.endpoint()
        );
        workspace.write("annals.toml", config + &table);
        workspace.tables(1);
        workspace.annals("migrate").run().expect(0);
        server.sql("INSERT INTO t1 SELECT n FROM generate_series(1, 2000) n");
        Self { store, server, workspace }
    }

    fn annals(&self, line: &str) -> Annals {
        let variables = S3Server::variables();
        variables
            .iter()
            .fold(self.workspace.annals(line), |annals, (name, value)| annals.env(name, value))
    }

    fn run(&self, line: &str) -> Outcome {
        self.annals(line).run()
    }

    /// Rows that do not compress, so that a backup has several parts.
    fn much(&self) {
        self.server.sql(
            "CREATE TABLE much AS SELECT n, gen_random_uuid() AS a, gen_random_uuid() AS b, \
             gen_random_uuid() AS c FROM generate_series(1, 360000) n",
        );
        self.run("drift accept --reason test").expect(0);
    }

    /// What the server holds of backups, parts under way included.
    fn held(&self) -> Vec<PathBuf> {
        fn all(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => all(&path, found),
                    path => found.push(path),
                }
            }
        }
        let mut found = Vec::new();
        all(self.store.bucket().parent().unwrap(), &mut found);
        found.retain(|path| fs::metadata(path).is_ok_and(|file| file.len() > 8192));
        found
    }
}

#[test]
fn a_backup_in_a_store_is_taken_verified_restored_rekeyed_and_pruned() {
    let kept = Kept::new();
    let taken = kept.run("backup --json").expect(0).json();
    let name = taken["backup"].as_str().unwrap();
    assert_eq!(taken["path"], format!("s3://{BUCKET}/kept/db/{name}.sealed"));
    assert!(!kept.workspace.path("backups").exists(), "nothing of it is here");
    let list = kept.run("backup list --json").expect(0).json();
    assert_eq!(list["backups"][0]["file_bytes"], taken["bytes"]);
    kept.run("backup show latest").expect(0).says(&["s3://", "public.t1 2000 rows"]);
    kept.run("backup verify --without-key").expect(0);
    kept.run("backup verify").expect(0);
    kept.run("backup verify --deep").expect(0).says(&["restored and compared"]);
    let restored = kept.run("restore latest --into back --json").expect(0).json();
    assert_eq!(restored["rows"], taken["rows"]);

    kept.run("keys rotate --backup").expect(0);
    let rekeyed = kept.run("backup rekey --all --json").expect(0).json();
    assert_eq!(rekeyed["rekeyed"][0]["backup"], name);
    let earlier = rekeyed["earlier_keys"][0].as_str().unwrap();
    fs::remove_file(earlier).unwrap();
    kept.run("backup verify").expect(0);

    // Damage in the store is found there.
    let object = kept.store.bucket().join(format!("kept/db/{name}.sealed"));
    let whole = fs::read(&object).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    fs::write(&object, &damaged).unwrap();
    kept.run("backup verify").expect(11);
    fs::write(&object, &whole).unwrap();
    kept.run("backup verify").expect(0);

    kept.run("backup --json").expect(0);
    kept.run("backup verify --deep").expect(0);
    let pruned = kept.run("backup prune --keep-last 1 --json").expect(0).json();
    assert_eq!(pruned["removed"][0]["backup"], name);
    assert!(!object.exists());
    kept.run("log verify").expect(0);
}

#[test]
fn a_backup_into_a_store_that_is_killed_or_stopped_leaves_nothing_behind() {
    let kept = Kept::new();
    kept.much();
    // A part of its own: what an earlier one left is there until this one has begun.
    let under_way = || {
        let left = kept.held();
        let running = kept.annals("backup --jobs 1").start();
        let new = |held: Vec<PathBuf>| held.iter().any(|part| !left.contains(part)).then_some(());
        wait_for("a part is there", || new(kept.held()));
        running
    };
    for signal in ["KILL", "INT"] {
        let running = under_way();
        running.signal(signal);
        running.wait();
        kept.run("backup list").expect(0).says(&["no backups"]);
        if signal == "INT" {
            assert_eq!(kept.held(), [""; 0].map(PathBuf::from), "what was stopped was given up");
        }
    }
    let running = under_way();
    running.signal("KILL");
    running.wait();
    assert!(!kept.held().is_empty());
    // The next one gives up what was left, and is the only thing there.
    let taken = kept.run("backup --json").expect(0).json();
    let name = taken["backup"].as_str().unwrap();
    let object = kept.store.bucket().join(format!("kept/db/{name}.sealed"));
    assert_eq!(kept.held(), [object]);
    assert!(taken["bytes"].as_u64().unwrap() > 17 << 20, "it has more than one part");
    kept.run("backup verify").expect(0);
}

#[test]
fn a_store_that_cannot_be_reached_stops_a_backup_and_says_why() {
    let mut kept = Kept::new();
    let unset = kept.workspace.annals("backup").run();
    unset.expect(18).says(&["AWS_ACCESS_KEY_ID"]);
    let wrong = kept.annals("backup").env("AWS_SECRET_ACCESS_KEY", "n0t-it").run().expect(18);
    let wrong = wrong.says(&["403"]);
    assert!(!wrong.err.contains("n0t-it"));
    kept.store.kill();
    kept.run("backup").expect(18).says(&["cannot connect", "s3://"]);
    assert_eq!(kept.workspace.kinds().last().unwrap(), "backup_failed");
    kept.run("backup list").expect(18);
    kept.store.restart();
    kept.run("backup list").expect(0).says(&["no backups"]);
    let taken: Value = kept.run("backup --json").expect(0).json();
    assert!(taken["rows"].as_u64().unwrap() > 2000);
}
