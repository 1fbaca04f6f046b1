//! Backups: taken, verified by being restored, brought back, pruned; and what becomes of them when
//! something goes wrong.

use std::fs;
use std::path::{Path, PathBuf};

use annals_testkit::{Outcome, Server, SmallDisk, Workspace, wait_for};
use serde_json::Value;

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).run()
}

fn take(workspace: &Workspace) -> Value {
    run(workspace, "backup --json").expect(0).json()
}

/// The files in the target's folder.
fn files(workspace: &Workspace) -> Vec<String> {
    files_in(&workspace.path("backups/db"))
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn file(backup: &Value) -> PathBuf {
    backup["path"].as_str().unwrap().into()
}

fn last_kinds(workspace: &Workspace, n: usize) -> Vec<String> {
    let kinds = workspace.kinds();
    kinds[kinds.len() - n..].to_vec()
}

/// A workspace with two tables that were migrated, and rows.
fn shop(server: &Server) -> Workspace {
    let workspace = Workspace::new(server);
    workspace.tables(2);
    run(&workspace, "migrate").expect(0);
    server.sql(
        "ALTER TABLE t1 ADD note text; \
         INSERT INTO t1 SELECT n, 'CANARY-5512 ' || n FROM generate_series(1, 5000) n",
    );
    run(&workspace, "drift accept --reason test").expect(0);
    workspace
}

/// Enough rows that a backup takes a while.
fn much(server: &Server) {
    server.sql(
        "CREATE TABLE much AS SELECT n, md5(n::text) || md5((n + 1)::text) AS a \
         FROM generate_series(1, 600000) n",
    );
}

#[test]
fn a_backup_is_taken_verified_by_being_restored_and_brought_back() {
    let server = Server::start();
    let workspace = shop(&server);
    run(&workspace, "backup list").expect(0).says(&["no backups", "annals backup"]);

    let first = run(&workspace, "backup").expect(0);
    first.says(&["backup", "6 tables", "its key was made", "backup.key", "verify --deep"]);
    assert_eq!(last_kinds(&workspace, 1), ["backup_taken"]);
    let list = run(&workspace, "backup list --json").expect(0).json();
    let backup = &list["backups"][0];
    assert_eq!(backup["recorded"]["condition"], "not verified");
    let name = backup["backup"].as_str().unwrap();
    assert_eq!(files(&workspace), [format!("{name}.sealed")]);

    // Nothing of the rows can be read in the file, nor of the schema.
    let bytes = fs::read(backup["path"].as_str().unwrap()).unwrap();
    for word in ["CANARY-5512", "CREATE TABLE", "t1", "note"] {
        let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!found || word.len() < 3, "{word} is in the file");
    }

    let show = run(&workspace, &format!("backup show {}", &name[24..])).expect(0);
    show.says(&["public.t1 5000 rows", "annals.ledger 2 rows", "not in it: roles", "sha256"]);

    run(&workspace, "backup verify --without-key").expect(0).says(&["the log has"]);
    let sealed = run(&workspace, "backup verify latest --json").expect(0).json();
    assert_eq!((&sealed["depth"], &sealed["result"]), (&"sealed".into(), &"passed".into()));
    let deep = run(&workspace, "backup verify --deep --json").expect(0).json();
    assert_eq!((&deep["depth"], &deep["result"]), (&"restored".into(), &"passed".into()));
    assert_eq!((&deep["rows"], &deep["recorded"]), (&5004.into(), &true.into()));
    assert_eq!(last_kinds(&workspace, 2), ["backup_verified"; 2]);
    run(&workspace, "backup list").expect(0).says(&["verified: restored and compared"]);
    run(&workspace, "state").expect(0).says(&["usable backup", name]);

    server.sql("DELETE FROM t1");
    let restored = run(&workspace, "restore latest --into back --json").expect(0).json();
    assert_eq!((&restored["rows"], &restored["recorded"]), (&5004.into(), &true.into()));
    assert_eq!(restored["schema_compared"], true);
    let databases = "SELECT datname FROM pg_database WHERE datname ~ 'back|restore' ORDER BY 1";
    assert_eq!(server.rows(databases), ["back"]);
    run(&workspace, "restore latest --into back").expect(3).says(&["a database \"back\" already"]);
    run(&workspace, "log verify").expect(0);
}

#[test]
fn a_database_that_is_gone_comes_back_and_its_ledger_with_it() {
    let server = Server::start();
    server.sql("CREATE DATABASE shop");
    let url = server.url().rsplit_once('/').unwrap().0.to_owned() + "/shop";
    let workspace = Workspace::with_url(&url);
    workspace.tables(3);
    run(&workspace, "migrate").expect(0);
    take(&workspace);
    server.sql("DROP DATABASE shop");
    run(&workspace, "status").expect(7);
    let restored = run(&workspace, "restore latest --into shop --json").expect(0).json();
    assert_eq!(restored["recorded"], true, "{restored}");
    run(&workspace, "verify").expect(0);
    workspace.migration("4_t4", "CREATE TABLE t4 ();", "DROP TABLE t4;");
    run(&workspace, "migrate").expect(0);
}

#[test]
fn a_backup_of_the_schema_is_one_of_the_schema() {
    let server = Server::start();
    let workspace = shop(&server);
    let taken = run(&workspace, "backup --schema --json").expect(0).json();
    assert_eq!((&taken["kind"], &taken["rows"]), (&"schema".into(), &0.into()));
    run(&workspace, "backup verify --deep").expect(0).says(&["restored and compared"]);
}

#[test]
fn damage_is_found_recorded_and_nothing_is_restored_from_it() {
    let server = Server::start();
    let workspace = shop(&server);
    let backup = take(&workspace);
    let path = file(&backup);
    let whole = fs::read(&path).unwrap();
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle] ^= 0x10;
    let cut = whole[..whole.len() - 5].to_vec();
    for damaged in [flipped, cut] {
        fs::write(&path, &damaged).unwrap();
        run(&workspace, "backup verify --without-key").expect(11);
        let found = run(&workspace, "backup verify --json").expect(11).json();
        assert_eq!(found["result"], "failed");
        assert_eq!(last_kinds(&workspace, 1), ["backup_verified"]);
        run(&workspace, "backup list").expect(0).says(&["its verification failed"]);
        run(&workspace, "restore latest --into back").expect(18);
    }
    let databases = "SELECT datname FROM pg_database WHERE datname ~ 'back|restore'";
    assert_eq!(server.rows(databases), [""; 0]);

    // Another backup under this name is authentic in itself, and not the one that was taken.
    let other = take(&workspace);
    fs::copy(file(&other), &path).unwrap();
    let name = backup["backup"].as_str().unwrap();
    run(&workspace, &format!("backup verify {name}")).expect(11).says(&["holds another backup"]);
    run(&workspace, &format!("restore {name} --into back")).expect(18);

    fs::remove_file(&path).unwrap();
    run(&workspace, &format!("backup verify {name}")).expect(11).says(&["there is no file"]);
    run(&workspace, "backup list").expect(0).says(&["its file is missing"]);

    fs::write(&path, &whole).unwrap();
    run(&workspace, &format!("backup verify {name}")).expect(0);
}

#[test]
fn without_its_key_a_backup_opens_to_nobody_and_no_second_key_is_made() {
    let server = Server::start();
    let workspace = shop(&server);
    take(&workspace);
    let key = workspace.path("keys/backup.key");
    let kept = workspace.path("kept.key");
    fs::rename(&key, &kept).unwrap();
    for line in ["backup", "backup verify", "restore latest --into back"] {
        run(&workspace, line).expect(3).says(&["the key of this workspace's backups is missing"]);
    }
    assert!(!key.exists());
    workspace.annals("backup verify").env("ANNALS_BACKUP_KEY", &kept).run().expect(0);

    // Another key.
    server.sql("CREATE DATABASE elsewhere");
    let url = server.url().rsplit_once('/').unwrap().0.to_owned() + "/elsewhere";
    let elsewhere = Workspace::with_url(&url);
    take(&elsewhere);
    let other = elsewhere.path("keys/backup.key");
    let refused = workspace.annals("backup verify").env("ANNALS_BACKUP_KEY", &other).run();
    refused.expect(18).says(&["no key fits"]);

    // A key that others may read.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = workspace.annals("backup verify").env("ANNALS_BACKUP_KEY", &kept).run();
    refused.expect(18).says(&["group or others have access"]);
}

#[test]
fn a_backup_that_is_killed_leaves_nothing_that_looks_like_one() {
    let server = Server::start();
    let workspace = shop(&server);
    much(&server);
    run(&workspace, "drift accept --reason test").expect(0);
    for n in 0..3 {
        let running = workspace.annals("backup --jobs 1").start();
        wait_for("the file is begun", || {
            let begun = fs::read_dir(workspace.path("backups/db")).ok()?.flatten().any(|entry| {
                let is_partial = entry.file_name().to_string_lossy().ends_with(".partial");
                is_partial && entry.metadata().is_ok_and(|found| found.len() > 50_000 << n)
            });
            begun.then_some(())
        });
        running.signal("KILL");
        running.wait();
        let found = files(&workspace);
        assert!(found.iter().all(|name| name.starts_with('.')), "{found:?}");
        run(&workspace, "backup list").expect(0).says(&["no backups"]);
    }
    let taken = take(&workspace);
    assert_eq!(files(&workspace), [file(&taken).file_name().unwrap().to_str().unwrap()]);
    run(&workspace, "backup verify").expect(0);
}

#[test]
fn a_backup_that_is_stopped_says_so_and_leaves_nothing() {
    let server = Server::start();
    let workspace = shop(&server);
    much(&server);
    let running = workspace.annals("backup --jobs 1").start();
    wait_for("rows are copied", || {
        let query =
            "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^COPY' AND state = 'active'";
        (server.value(query) != "0").then_some(())
    });
    running.signal("INT");
    running.wait().expect(130);
    assert_eq!(files(&workspace), [""; 0]);
    assert_eq!(last_kinds(&workspace, 1), ["backup_failed"]);
    run(&workspace, "log verify").expect(0);
}

#[test]
fn a_full_disk_stops_a_backup_and_the_log_tells_why() {
    let server = Server::start();
    let workspace = shop(&server);
    let key = take(&workspace);
    let disk = SmallDisk::over(&workspace.path("backups"), 64);
    much(&server);
    let failed =
        disk.annals(workspace.folder(), "backup").env("TEST_URL", server.url()).run().expect(18);
    failed.says(&["could not be written", "No space left"]);
    assert_eq!(files_in(&disk.inside().join("db")), [""; 0]);
    assert_eq!(last_kinds(&workspace, 1), ["backup_failed"]);
    // What was there before is untouched.
    assert!(file(&key).exists());
    run(&workspace, "backup verify").expect(0);
}

#[test]
fn a_role_from_which_policies_hide_rows_takes_no_backup() {
    let server = Server::start();
    let workspace = shop(&server);
    server.sql(
        "CREATE ROLE clerk LOGIN; GRANT pg_read_all_data, pg_monitor TO clerk; \
         GRANT CREATE ON DATABASE postgres TO clerk; GRANT ALL ON SCHEMA annals TO clerk; \
         GRANT ALL ON ALL TABLES IN SCHEMA annals TO clerk; \
         ALTER TABLE t1 ENABLE ROW LEVEL SECURITY",
    );
    run(&workspace, "drift accept --reason test").expect(0);
    let url = server.url().replace("postgres://postgres@", "postgres://clerk@");
    let as_clerk = || workspace.annals("backup").env("TEST_URL", &url).run();
    as_clerk().expect(3).says(&["hides rows of public.t1", "BYPASSRLS"]);
    assert_eq!(last_kinds(&workspace, 1), ["backup_failed"]);
    server.sql("ALTER ROLE clerk BYPASSRLS");
    as_clerk().expect(0);
}

#[test]
fn what_is_pruned_is_recorded_and_the_newest_verified_one_stays() {
    let server = Server::start();
    let workspace = shop(&server);
    let names: Vec<String> =
        (0..4).map(|_| take(&workspace)["backup"].as_str().unwrap().to_owned()).collect();
    run(&workspace, "backup prune").expect(3).says(&["--keep-last"]);
    // None is verified: nothing may go.
    run(&workspace, "backup prune --keep-last 1").expect(0).says(&["nothing to remove"]);
    run(&workspace, &format!("backup verify --deep {}", names[1])).expect(0);

    let dry = run(&workspace, "backup prune --keep-last 1 --dry-run --json").expect(0).json();
    assert_eq!(dry["removed"].as_array().unwrap().len(), 1);
    assert_eq!(files(&workspace).len(), 4);
    let pruned = run(&workspace, "backup prune --keep-last 1 --json").expect(0).json();
    assert_eq!(pruned["removed"][0]["backup"], names[0].as_str());
    assert_eq!(files(&workspace).len(), 3);
    assert_eq!(last_kinds(&workspace, 1), ["backup_removed"]);
    run(&workspace, "backup list").expect(0).says(&["removed"]);
    run(&workspace, &format!("backup show {}", names[0])).expect(3);

    // By age nothing goes today.
    run(&workspace, "backup prune --keep-days 1").expect(0).says(&["nothing to remove"]);
    // A file whose removal was recorded, and which is there again, goes.
    let gone = workspace.path(&format!("backups/db/{}.sealed", names[0]));
    fs::write(&gone, b"left over").unwrap();
    let swept = run(&workspace, "backup prune --keep-last 3 --json").expect(0).json();
    assert_eq!(swept["swept"][0], names[0].as_str());
    assert!(!gone.exists());
}

#[test]
fn a_run_takes_the_backup_its_target_wants_and_does_not_start_without_it() {
    let server = Server::start();
    let workspace = shop(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace
        .write("annals.toml", config.replace("[targets.db]", "[targets.db]\nbackup = \"full\""));
    workspace.migration("3_t3", "DROP TABLE t2;", "CREATE TABLE t2 (id int);");
    run(&workspace, "migrate").expect(0).says(&["was taken before the run", "5004 rows"]);
    let kinds = workspace.kinds();
    let at = |kind: &str| kinds.iter().rposition(|found| found == kind).unwrap();
    assert!(at("backup_taken") < at("plan_made"), "{kinds:?}");
    let list = run(&workspace, "backup list --json").expect(0).json();
    let (backup, taken_for) =
        (&list["backups"][0]["backup"], &list["backups"][0]["recorded"]["run"]);
    run(&workspace, "history --json").expect(0).says(&[taken_for.as_str().unwrap()]);
    // What the migration dropped is in it.
    run(&workspace, &format!("restore {} --into back", backup.as_str().unwrap())).expect(0);

    // Nothing to do: no backup.
    run(&workspace, "migrate").expect(0);
    assert_eq!(files(&workspace).len(), 1);

    // Without its key there is no backup, and without a backup no run.
    fs::rename(workspace.path("keys/backup.key"), workspace.path("kept.key")).unwrap();
    let before = workspace.kinds().len();
    run(&workspace, "rollback --last 1").expect(3).says(&["the key of this workspace's backups"]);
    assert_eq!(workspace.kinds()[before..], ["backup_failed"]);
    assert_eq!(server.value("SELECT to_regclass('t2') IS NULL"), "true");
    fs::rename(workspace.path("kept.key"), workspace.path("keys/backup.key")).unwrap();
    run(&workspace, "rollback --last 1").expect(0).says(&["was taken before the run"]);
    assert_eq!(files(&workspace).len(), 2);
}
