//! Cases of backups: one is taken before the run, is struck, and is looked at afterwards.

use std::fs;
use std::path::PathBuf;

use annals_testkit::{Outcome, wait_for};

use crate::case::{Case, Deed, FaultNumber, Moment, PointNumber, Way};
use crate::migrations::DEPLOYER;
use crate::oracle::Invariant;
use crate::scene::{Scene, files_below};

const fn own(
    fault: FaultNumber,
    point: PointNumber,
    name: &'static str,
    deed: fn(&mut Scene<'_>),
) -> Case {
    let (at, deed) = (Moment::Own(name), Deed::Own(deed));
    Case { fault, point, way: Way::Up, at, deed, short: true }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        own(1, 6, "while the rows are copied", |s| struck_while_copying(s, "KILL", -1)),
        own(2, 6, "while the rows are copied", |s| struck_while_copying(s, "INT", 130)),
        own(1, 7, "behind the backup, before the intent", killed_behind_the_backup),
        own(1, 17, "while a restored database is filled", killed_while_restoring),
        own(22, 6, "pg_dump breaks off", dump_breaks_off),
        own(23, 18, "one bit of it", bit_of_a_backup),
        own(23, 18, "its end is gone", end_of_a_backup),
    ]
}

/// Every run takes a full backup first. `rows` makes that take a while.
pub fn keeps_backups(scene: &Scene<'_>, rows: u32) {
    // The deployer may not read what is not its own; the application waits for nobody in this.
    scene.sql(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA harness TO {DEPLOYER}"));
    scene.sql(&format!(
        "CREATE TABLE app.kept AS SELECT n, md5(n::text) AS a FROM generate_series(1, {rows}) n; \
         ALTER TABLE app.kept OWNER TO {DEPLOYER}"
    ));
    let config = fs::read_to_string(scene.path("annals.toml")).expect("the workspace is ours");
    scene.write("annals.toml", config.replace("[targets.db]", "[targets.db]\nbackup = \"full\""));
}

/// Files that look like whole backups.
pub fn sealed(scene: &Scene<'_>) -> Vec<PathBuf> {
    let mut found = files_below(&scene.path("backups"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "sealed"));
    found
}

/// So many backups are there, and the newest restores to what was recorded.
pub fn is_kept(scene: &Scene<'_>, at_least: usize) {
    let found = sealed(scene).len();
    if found < at_least {
        scene.broken(Invariant::Backup, format!("{found} backups, not {at_least} or more"));
    }
    let outcome = scene.annals("backup verify --deep --no-record").run();
    if outcome.code != 0 {
        let what = format!("the newest backup does not restore: {}{}", outcome.out, outcome.err);
        scene.broken(Invariant::Backup, what);
    }
}

fn struck_while_copying(scene: &mut Scene<'_>, signal: &str, code: i32) {
    keeps_backups(scene, 300_000);
    let before = scene.effects();
    let running = scene.annals("migrate --json").start();
    wait_for("rows in the file", || {
        let partial = files_below(&scene.path("backups")).into_iter().any(|path| {
            let is_partial = path.extension().is_some_and(|extension| extension == "partial");
            is_partial && path.metadata().is_ok_and(|found| found.len() > 100_000)
        });
        partial.then_some(())
    });
    running.signal(signal);
    scene.end("migrate --json", before, running, &[code]);
    if !scene.effects().is_empty() || !sealed(scene).is_empty() {
        scene.broken(
            Invariant::Backup,
            "a run began without its backup, or half of one looks whole",
        );
    }
    scene.must("migrate --json", 0);
    is_kept(scene, 1);
}

fn killed_behind_the_backup(scene: &mut Scene<'_>) {
    keeps_backups(scene, 1_000);
    let before = scene.effects();
    let killed = scene.annals_at("migrate --json", "after_plan:1=kill").start();
    scene.end("migrate --json", before, killed, &[-1]);
    if sealed(scene).len() != 1 {
        scene.broken(Invariant::Backup, "the run came to its plan without a backup");
    }
    scene.must("migrate --json", 0);
    is_kept(scene, 2);
}

/// Restores as the superuser: what the database holds is not all the deployer's.
fn restore(scene: &Scene<'_>, name: &str) -> annals_testkit::Annals {
    let line = format!("restore latest --into {name}");
    scene.annals(&line).env("FAULTS_URL", scene.own_url())
}

fn databases(scene: &Scene<'_>, name: &str) -> Vec<String> {
    scene.rows(&format!("SELECT datname FROM pg_database WHERE datname = '{name}'"))
}

fn killed_while_restoring(scene: &mut Scene<'_>) {
    keeps_backups(scene, 300_000);
    scene.must("migrate --json", 0);
    let name = format!("{}_back", scene.database);
    let running = restore(scene, &name).start();
    let copies = "SELECT datname FROM pg_stat_activity WHERE query ~* '^copy .* from stdin'";
    wait_for("rows on their way back", || {
        scene.rows(copies).iter().any(|database| *database != scene.database).then_some(())
    });
    running.signal("KILL");
    running.wait();
    if !databases(scene, &name).is_empty() {
        scene.broken(Invariant::Backup, "half a restored database has the name of a whole one");
    }
    restored_whole(scene, &name);
}

fn restored_whole(scene: &Scene<'_>, name: &str) {
    let outcome = restore(scene, name).run();
    if outcome.code != 0 || databases(scene, name).len() != 1 {
        let what = format!("a restore ended with {}: {}", outcome.code, outcome.err);
        scene.broken(Invariant::Backup, what);
    }
    scene.sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
}

fn dump_breaks_off(scene: &mut Scene<'_>) {
    keeps_backups(scene, 1_000);
    let real = pg_dump_beside_the_server(scene);
    fs::create_dir_all(scene.path("broken")).expect("the folder is ours");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec {real} --version\n{real} \"$@\" | head -c 200\n\
         echo 'pg_dump: error: the server is gone' >&2\nexit 1\n"
    );
    scene.write("broken/pg_dump", script);
    executable(&scene.path("broken/pg_dump"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", scene.path("broken").display());
    let before = scene.effects();
    let outcome = scene.annals("migrate --json").env("PATH", path).run();
    let said = format!("{}{}", outcome.out, outcome.err);
    let code = scene.take("migrate --json", before, outcome);
    if code != 18 || !said.contains("the server is gone") {
        scene.broken(Invariant::NoLie, format!("a broken dump ended with {code}: {said}"));
    }
    if !scene.effects().is_empty() || !sealed(scene).is_empty() {
        scene.broken(
            Invariant::Backup,
            "a run began without its backup, or half of one looks whole",
        );
    }
    scene.must("migrate --json", 0);
    is_kept(scene, 1);
}

fn pg_dump_beside_the_server(scene: &Scene<'_>) -> String {
    let server = fs::read_link(format!("/proc/{}/exe", scene.stage.server.pid()));
    let server = server.expect("the server runs and is ours");
    server.with_file_name("pg_dump").display().to_string()
}

fn executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
}

/// A backup that was altered is refused by everything, and nothing is restored from it.
fn altered(scene: &mut Scene<'_>, alter: impl Fn(&mut Vec<u8>)) {
    keeps_backups(scene, 5_000);
    scene.must("migrate --json", 0);
    let file = sealed(scene).pop().expect("a run takes a backup");
    let whole = fs::read(&file).expect("the folder is ours");
    let mut bytes = whole.clone();
    alter(&mut bytes);
    fs::write(&file, bytes).expect("the folder is ours");
    let name = format!("{}_back", scene.database);
    let others = "SELECT datname FROM pg_database WHERE datname !~ '^case_' ORDER BY datname";
    let before = scene.rows(others);
    let refused = |outcome: Outcome, line: &str| {
        if ![11, 18].contains(&outcome.code) {
            let what = format!("{line} of a damaged backup ended with {}", outcome.code);
            scene.broken(Invariant::Backup, format!("{what}: {}", outcome.err));
        }
    };
    for line in ["backup verify --no-record", "backup verify --without-key"] {
        refused(scene.annals(line).run(), line);
    }
    refused(restore(scene, &name).run(), "restore");
    let left = scene.rows(others);
    if left != before {
        scene.broken(Invariant::Backup, format!("a refused restore has left {left:?}"));
    }
    fs::write(&file, whole).expect("the folder is ours");
    restored_whole(scene, &name);
    is_kept(scene, 1);
}

fn bit_of_a_backup(scene: &mut Scene<'_>) {
    altered(scene, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
    });
}

fn end_of_a_backup(scene: &mut Scene<'_>) {
    altered(scene, |bytes| bytes.truncate(bytes.len() * 3 / 4));
}
