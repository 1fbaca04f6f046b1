//! The same database on another server, after `pg_upgrade` or a restored dump: the log goes on with it
//! once somebody says so, and the ledger shows that it is the same.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use annals_testkit::{Outcome, Server, Workspace, kill, wait_for};

/// Where the database is now.
struct Moved {
    url: String,
    /// How it came there.
    how: &'static str,
    /// The server it came from, where that goes on.
    old: Option<Server>,
    _new: Option<Server>,
}

/// A server to come from: of `ANNALS_PG_OLD_BIN`, if that is set, so that major versions differ.
fn old_server() -> Server {
    match std::env::var_os("ANNALS_PG_OLD_BIN") {
        None => Server::start(),
        Some(folder) => Server::start_of(&PathBuf::from(folder)),
    }
}

/// A program beside the server of the tests, else on the path.
fn program(name: &str) -> PathBuf {
    let beside = std::env::var_os("ANNALS_PG_BIN").map(|folder| PathBuf::from(folder).join(name));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}

/// Brings the database to another server: by `pg_upgrade`, where the new server has it, else with a
/// dump. Where no `pg_dump` can read the server, the database becomes another one beside itself.
fn bring(old: Server) -> Moved {
    let new = Server::start();
    let folder = std::env::var_os("ANNALS_PG_OLD_BIN").map(PathBuf::from);
    let upgrade = std::env::var_os("ANNALS_PG_BIN").map(PathBuf::from);
    let upgrade = upgrade.map(|folder| folder.join("pg_upgrade")).filter(|path| path.is_file());
    if let (Some(from), Some(upgrade)) = (folder, upgrade) {
        return upgraded(old, &from, new, &upgrade);
    }
    let dump = Command::new(program("pg_dump"))
        .arg("-h")
        .arg(old.folder())
        .args(["-p", &old.socket_port().to_string(), "-U", "postgres", "postgres"])
        .output();
    match dump.ok().filter(|output| output.status.success()) {
        None => {
            old.sql("CREATE DATABASE moved TEMPLATE postgres");
            // What a template does not hand on.
            let comment = "'default administrative connection database'";
            old.sql(&format!("COMMENT ON DATABASE moved IS {comment}"));
            let url = beside(&old, "moved");
            Moved { url, how: "beside itself", old: Some(old), _new: None }
        }
        Some(dump) => {
            let mut restore = Command::new(program("psql"));
            restore.arg("-h").arg(new.folder());
            restore.args(["-p", &new.socket_port().to_string()]);
            restore.args(["-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1", "postgres"]);
            restore.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = restore.spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            // What a later pg_dump sets is not known to an older server.
            let text = String::from_utf8(dump.stdout).unwrap();
            std::io::Write::write_all(&mut input, text.as_bytes()).unwrap();
            drop(input);
            let restored = child.wait_with_output().unwrap();
            assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
            Moved { url: new.url(), how: "a dump", old: Some(old), _new: Some(new) }
        }
    }
}

/// The URL of another database of a server.
fn beside(server: &Server, name: &str) -> String {
    let url = server.url();
    let (start, _) = url.rsplit_once('/').unwrap();
    format!("{start}/{name}")
}

fn stop(server: &Server) {
    let pid_file = server.folder().join("data/postmaster.pid");
    kill(u64::try_from(server.pid()).unwrap(), "INT");
    wait_for("the end of the server", || (!pid_file.exists()).then_some(()));
}

fn upgraded(old: Server, from: &std::path::Path, mut new: Server, upgrade: &PathBuf) -> Moved {
    stop(&old);
    stop(&new);
    let owner = new.folder().metadata().unwrap();
    let mut command = Command::new(upgrade);
    command.arg("-b").arg(from).arg("-B").arg(upgrade.parent().unwrap());
    command.arg("-d").arg(old.folder().join("data")).arg("-D").arg(new.folder().join("data"));
    command.args(["-U", "postgres"]).current_dir(new.folder()).env("LC_ALL", "C");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    new.start_again();
    Moved { url: new.url(), how: "pg_upgrade", old: None, _new: Some(new) }
}

fn major(url: &str, workspace: &Workspace) -> u64 {
    let shown = run(url, workspace, "adopt --upgraded --dry-run --json").expect(0).json();
    shown["found_major"].as_u64().unwrap()
}

fn run(url: &str, workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).env("TEST_URL", url).run()
}

/// Confirms what is shown there, with a reason.
fn confirm(url: &str, workspace: &Workspace) -> Outcome {
    let shown = run(url, workspace, "adopt --upgraded --dry-run --json").expect(0).json();
    let line = format!("adopt --upgraded --confirm {}", shown["fingerprint"].as_str().unwrap());
    workspace.annals(&line).arg("--reason").arg("new server, CHG-7").env("TEST_URL", url).run()
}

#[test]
fn a_database_on_an_upgraded_server_is_gone_on_with_once_somebody_says_so() {
    let old = old_server();
    let workspace = Workspace::new(&old);
    workspace.tables(2);
    workspace.annals("migrate").run().expect(0);
    workspace.annals("rollback --last 1").run().expect(0);
    workspace.annals("migrate").run().expect(0);
    workspace.migration("3_t3", "CREATE TABLE t3 ();", "DROP TABLE t3;");
    let old_major = u64::from(old.major());
    let moved = bring(old);
    let there = |line: &str| run(&moved.url, &workspace, line);
    let new_major = major(&moved.url, &workspace);
    println!("from PostgreSQL {old_major} to {new_major} by {}", moved.how);

    let kinds = workspace.kinds();
    for line in ["migrate", "status", "plan", "verify", "drift"] {
        there(line).expect(3).says(&["but its log speaks of", "annals adopt --upgraded"]);
    }
    there("adopt --lost").expect(3);
    let shown = there("adopt --upgraded").expect(3);
    let copy = "A copy that was made to be one looks the same";
    shown.says(&["ledger      4 changes, as in the log", "nothing recorded yet", copy]);
    let other = "adopt --upgraded --reason r --confirm 00000000";
    there(other).expect(3).says(&["does not confirm what is there now"]);
    let shown = there("adopt --upgraded --dry-run --json").expect(0).json();
    let fingerprint = shown["fingerprint"].as_str().unwrap();
    there(&format!("adopt --upgraded --confirm {fingerprint}")).expect(3).says(&["--reason"]);
    assert_eq!(workspace.kinds(), kinds);

    confirm(&moved.url, &workspace).expect(0).says(&["is the target's from now on"]);
    assert_eq!(workspace.kinds()[kinds.len()..], ["target_registered"]);
    there("timeline").expect(0).says(&["anew: PostgreSQL ", "new server, CHG-7"]);
    there("status").expect(0).says(&["applied      1_t1", "pending      3_t3"]);
    if new_major != old_major {
        let words = format!("recorded on PostgreSQL {old_major}, the server is {new_major} now");
        there("migrate").expect(16).says(&[&words, "annals drift accept"]);
        let accept = workspace.annals("drift accept --reason").arg("upgraded");
        accept.env("TEST_URL", &moved.url).run().expect(0);
    }
    there("migrate").expect(0).says(&["applied 3_t3"]);
    there("rollback --last 3").expect(0);
    there("migrate").expect(0);
    there("verify").expect(0);
    there("drift").expect(0);
    there("log verify").expect(0).says(&["is intact"]);
    there("adopt --upgraded").expect(3).says(&["there is nothing to adopt"]);

    // The server it came from is another history now.
    if moved.old.is_some() {
        workspace.annals("migrate").run().expect(3).says(&["but its log speaks of"]);
        let refused = workspace.annals("adopt --upgraded --reason r --confirm 0").run().expect(3);
        refused
            .says(&["the ledger there and the log differ", "an older copy, or another database"]);
    }
}

#[test]
fn what_a_run_left_in_doubt_is_settled_from_the_ledger_of_the_new_server() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(3);
    workspace.annals("migrate --to 1").run().expect(0);
    let killed = workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_commit").run();
    assert_ne!(killed.code, 0);
    server.sql("CREATE DATABASE moved TEMPLATE postgres");
    let url = beside(&server, "moved");
    confirm(&url, &workspace).expect(0).says(&["2_t2"]);
    let status = run(&url, &workspace, "status").expect(0);
    status.says(&["applied      2_t2", "pending      3_t3"]);
    run(&url, &workspace, "migrate").expect(0).says(&["applied 3_t3"]);
    run(&url, &workspace, "verify").expect(0);
}

#[test]
fn a_database_whose_ledger_is_not_the_logs_is_not_gone_on_with() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    for name in ["copy", "bare"] {
        let template = if name == "bare" { "template0" } else { "postgres" };
        server.sql(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
    }
    workspace.annals("migrate").run().expect(0);
    let kinds = workspace.kinds();
    let at = |name: &str| beside(&server, name);
    let line = "adopt --upgraded --reason r --confirm 0";
    let older = run(&at("copy"), &workspace, line).expect(3);
    older.says(&["differ in 1 changes", "2_t2", "an older copy, or another database"]);
    run(&at("bare"), &workspace, line).expect(3).says(&["has no rows of this workspace"]);
    let same = run(&server.url(), &workspace, "adopt --upgraded").expect(3);
    same.says(&["there is nothing to adopt"]);
    // One row that says something else is enough.
    server.sql("UPDATE annals.ledger SET step = step + 7 WHERE version = '2'");
    server.sql("CREATE DATABASE edited TEMPLATE postgres");
    server.sql("UPDATE annals.ledger SET step = step - 7 WHERE version = '2'");
    run(&at("edited"), &workspace, line).expect(3).says(&["differ in 1 changes", "step"]);
    assert_eq!(workspace.kinds(), kinds);
}

#[test]
fn a_log_that_lives_in_the_database_goes_with_it() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config + "event_store = \"postgres\"\n");
    server.sql("COMMENT ON DATABASE postgres IS NULL");
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    server.sql("CREATE DATABASE moved TEMPLATE postgres");
    let url = beside(&server, "moved");
    run(&url, &workspace, "migrate").expect(3).says(&["annals adopt --upgraded"]);
    confirm(&url, &workspace).expect(0);
    run(&url, &workspace, "migrate").expect(0).says(&["applied 2_t2"]);
    run(&url, &workspace, "verify").expect(0);
    // Both have the log now. That of the other one is its own, and ends where it was left.
    let events = |url: &str| run(url, &workspace, "log verify --json").expect(0).out;
    assert_ne!(events(&url), events(&server.url()));
}

#[test]
fn a_log_that_was_brought_into_the_database_leaves_it_before_the_database_moves() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let files = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let database = format!("{files}event_store = \"postgres\"\n");
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    workspace.annals("log migrate --to postgres").run().expect(0);
    workspace.write("annals.toml", database);
    let copy = || {
        server.sql("DROP DATABASE IF EXISTS moved");
        server.sql("CREATE DATABASE moved TEMPLATE postgres");
        let comment = "'default administrative connection database'";
        server.sql(&format!("COMMENT ON DATABASE moved IS {comment}"));
    };
    copy();
    let url = beside(&server, "moved");
    let refused = confirm(&url, &workspace).expect(3);
    refused.says(&["was moved to postgres:", "it goes on there"]);
    workspace.annals("log migrate --to file").run().expect(0);
    workspace.write("annals.toml", files);
    copy();
    confirm(&url, &workspace).expect(0);
    run(&url, &workspace, "migrate").expect(0).says(&["applied 2_t2"]);
}

#[test]
fn a_torn_tail_is_mended_without_taking_another_database_for_ours() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    server.sql("CREATE DATABASE moved TEMPLATE postgres");
    let url = beside(&server, "moved");
    let torn = fs::read_to_string(workspace.segment()).unwrap() + "{\"actor\":";
    fs::write(workspace.segment(), torn).unwrap();
    for _ in 0..2 {
        run(&url, &workspace, "migrate").expect(3).says(&["but its log speaks of"]);
    }
    assert!(workspace.kinds().contains(&"tail_repaired".to_owned()));
    workspace.annals("migrate").run().expect(0).says(&["applied 2_t2"]);
    workspace.annals("log verify").run().expect(0);
}
