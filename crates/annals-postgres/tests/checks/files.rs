//! Damage in the files of a server that stands still.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use annals_events::CheckLevel::{Full, Quick};

use crate::ground::{Asked, Ground, found};

/// The checks whose damage is done here, to files; and by SQL only where a catalog has it.
pub(crate) const CHECKS: [&str; 6] = [
    "index.corrupt",
    "data.unreadable",
    "storage.missing_file",
    "storage.checksum_failures",
    "index.collation_changed",
    // Two contents are compared: see `contents`.
    "data.checksum",
];

/// A new cluster with checksums in the place of the server's own, with its settings.
fn begin_with_checksums(data: &Path) {
    use std::os::unix::process::CommandExt;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = std::env::var_os("ANNALS_PG_BIN").map(PathBuf::from);
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders = folders.chain(versions.map(|version| version.path().join("bin")));
    let major = fs::read_to_string(data.join("PG_VERSION")).unwrap();
    let initdb = folders.find_map(|folder| {
        let output = Command::new(folder.join("initdb")).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let of = text.split_whitespace().nth(2)?.split('.').next()?.to_owned();
        (of == major.trim()).then(|| folder.join("initdb"))
    });
    let before = data.with_extension("before");
    fs::rename(data, &before).unwrap();
    let owner = before.metadata().unwrap();
    let mut command = Command::new(initdb.unwrap());
    command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
    command.args(["--data-checksums", "-D"]).arg(data).current_dir("/");
    if owner.uid() != 0 && fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf"] {
        // What is written keeps its owner.
        fs::write(data.join(name), fs::read(before.join(name)).unwrap()).unwrap();
    }
}

fn overwrite(data: &Path, file: &str, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(data.join(file)).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

/// Turns the order of the keys of an index's first leaf page upside down.
fn turn_over_first_leaf(data: &Path, index: &str) {
    let bytes = fs::read(data.join(index)).unwrap();
    let leaf = 8192;
    let items: Vec<u8> = bytes[leaf + 24..leaf + 24 + 12].to_vec();
    let turned: Vec<u8> = items.chunks(4).rev().flatten().copied().collect();
    assert_ne!(items, turned);
    overwrite(data, index, leaf as u64 + 24, &turned);
}

/// Adds a line to the server's settings; the last one counts.
fn set(data: &Path, line: &str) {
    let path = data.join("postgresql.auto.conf");
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).unwrap();
}

#[test]
fn a_damaged_file_is_found_and_the_right_one() {
    let mut ground = Ground::new();
    let file = |ground: &Ground, database: &str, name: &str| {
        ground.value(database, &format!("SELECT pg_relation_filepath('{name}')"))
    };
    for database in ["index_page", "table_page", "file_gone"] {
        ground.copy(database);
    }
    // A GIN index whose entries are in its tree, not in the list of those that wait.
    ground.copy("gin_page");
    let words = "CREATE INDEX child_body_idx ON app.child USING gin (body jsonb_path_ops, note) \
                 WITH (fastupdate = off)";
    ground.sql("gin_page", &format!("CREATE EXTENSION btree_gin; {words}"));
    let gin = file(&ground, "gin_page", "app.child_body_idx");
    let index = file(&ground, "index_page", "app.child_parent_idx");
    let table = file(&ground, "table_page", "app.child");
    let gone = file(&ground, "file_gone", "app.\"odd \"\"name\"");
    ground.while_stopped(|data| {
        // As if there were no checksums: they would tell of the page before anybody looks into it.
        set(data, "ignore_checksum_failure = on");
        turn_over_first_leaf(data, &index);
        turn_over_first_leaf(data, &gin);
        // The header of a table's first page.
        overwrite(data, &table, 0, &[0xff; 24]);
        fs::remove_file(data.join(&gone)).unwrap();
    });
    let full = Asked::at(Full);
    let report = ground.check("index_page", &full);
    assert_eq!(found(&report), [("index.corrupt", "index app.child_parent_idx")], "{report:?}");
    // What looks into GIN indexes came with 18; before it nobody says that they are right.
    let report = ground.check("gin_page", &full);
    match ground.major() {
        18.. => {
            assert_eq!(
                found(&report),
                [("index.corrupt", "index app.child_body_idx")],
                "{report:?}"
            );
        }
        _ => assert_eq!(found(&report), [], "{report:?}"),
    }
    let report = ground.check("table_page", &full);
    assert_eq!(found(&report), [("data.unreadable", "table app.child")], "{report:?}");
    // What could not be read is not said to be right.
    for check in ["data.foreign_key", "data.check", "data.checksum", "index.corrupt"] {
        assert!(report.unmade.iter().any(|unmade| unmade.check == check), "{check}: {report:?}");
    }
    let report = ground.check("file_gone", &Asked::at(Quick));
    assert_eq!(found(&report), [("storage.missing_file", "table app.\"odd \"\"name\"")]);
}

#[test]
fn a_page_with_a_wrong_checksum_is_found() {
    let mut ground = Ground::new();
    ground.while_stopped(begin_with_checksums);
    ground.make_sound();
    ground.copy("checksums");
    let page = ground.value("checksums", "SELECT pg_relation_filepath('app.part_1')");
    ground.while_stopped(|data| overwrite(data, &page, 4096, b"not what was written"));
    let full = Asked::at(Full);
    let quick = Asked::at(Quick);
    assert_eq!(found(&ground.check("checksums", &quick)), []);
    let report = ground.check("checksums", &full);
    assert_eq!(found(&report), [("data.unreadable", "table app.part_1")], "{report:?}");
    // A session counts what it met when it ends.
    let report = annals_testkit::wait_for("the count of checksum failures", || {
        let report = ground.check("checksums", &quick);
        (!report.seen.is_empty()).then_some(report)
    });
    assert_eq!(found(&report), [("storage.checksum_failures", "database checksums")]);
}

#[test]
fn a_collation_that_changed_is_found_where_indexes_depend_on_it() {
    let ground = Ground::new();
    let has_icu = "SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')";
    let create = match ground.server.value(has_icu).as_str() {
        "true" => "CREATE COLLATION app.changed (provider = icu, locale = 'en')",
        // Any locale of the C library that has a version.
        _ => "CREATE COLLATION app.changed (locale = 'en_US.utf8')",
    };
    ground.copy("changed");
    ground.sql("changed", create);
    let quick = Asked::at(Quick);
    ground.sql("changed", "UPDATE pg_collation SET collversion = '0' WHERE collname = 'changed'");
    assert_eq!(found(&ground.check("changed", &quick)), []);
    ground.sql("changed", "CREATE INDEX child_note ON app.child (note COLLATE app.changed)");
    let report = ground.check("changed", &quick);
    assert_eq!(found(&report), [("index.collation_changed", "collation app.changed")]);
    assert!(report.seen[0].evidence.contains("such as app.child_note"), "{report:?}");
}

#[test]
fn a_database_whose_own_collation_changed_is_found() {
    let ground = Ground::new();
    // A database has a version of its collation since 15.
    if ground.major() < 15 {
        return;
    }
    let has_icu = "SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')";
    let locale = match ground.server.value(has_icu).as_str() {
        "true" => "LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'",
        // Any locale of the C library that has a version.
        _ => "LOCALE 'en_US.utf8'",
    };
    let create = format!("CREATE DATABASE changed TEMPLATE template0 ENCODING 'UTF8' {locale}");
    ground.server.sql(&create);
    ground.sql("changed", "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE SCHEMA app");
    let quick = Asked::at(Quick);
    assert_eq!(found(&ground.check("changed", &quick)), []);
    let damage = "UPDATE pg_database SET datcollversion = '0' WHERE datname = 'changed'";
    ground.sql("changed", damage);
    // Nothing is sorted by it, but what says its order itself.
    ground.sql("changed", "CREATE TABLE app.words (word text COLLATE \"C\" PRIMARY KEY)");
    assert_eq!(found(&ground.check("changed", &quick)), []);
    ground.sql("changed", "CREATE TABLE app.names (name text PRIMARY KEY)");
    let report = ground.check("changed", &quick);
    assert_eq!(found(&report), [("index.collation_changed", "database changed")]);
    let evidence = &report.seen[0].evidence;
    assert!(evidence.starts_with("version 0 of its collation was used, "), "{evidence}");
    assert!(evidence.ends_with("; 1 indexes depend on it, such as app.names_pkey"), "{evidence}");
    // The remedy takes it away.
    ground.server.sql("ALTER DATABASE changed REFRESH COLLATION VERSION");
    assert_eq!(found(&ground.check("changed", &quick)), []);
}
