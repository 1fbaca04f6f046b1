//! Keys of backups: where they come from, for whom a backup is sealed, and how that is changed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use annals_testkit::{Outcome, Server, Workspace};
use serde_json::Value;

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).run()
}

/// A workspace with a migrated table and rows, and this in its configuration.
fn shop(server: &Server, backup: &str) -> Workspace {
    let workspace = Workspace::new(server);
    configure(&workspace, backup);
    workspace.tables(1);
    run(&workspace, "migrate").expect(0);
    server.sql("INSERT INTO t1 SELECT n FROM generate_series(1, 3000) n");
    workspace
}

fn configure(workspace: &Workspace, backup: &str) {
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let config = config.split("\n[backup]").next().unwrap();
    workspace.write("annals.toml", format!("{config}\n[backup]\n{backup}\n"));
}

/// A key's line, as `annals init` writes it.
fn key_line(workspace: &Workspace, name: &str) -> String {
    let folder = workspace.path(&format!("made-{name}"));
    run(workspace, &format!("init {}", folder.display())).expect(0);
    fs::read_to_string(folder.join("keys/backup.key")).unwrap().trim().to_owned()
}

fn take(workspace: &Workspace) -> Value {
    run(workspace, "backup --json").expect(0).json()
}

fn file(backup: &Value) -> PathBuf {
    backup["path"].as_str().unwrap().into()
}

/// What stands between header and trailer, of a backup for so many keys.
fn payload(bytes: &[u8], keys: usize) -> &[u8] {
    let metadata = u32::from_be_bytes(bytes[26..30].try_into().unwrap()) as usize;
    &bytes[30 + metadata + 2 + 124 * keys + 32..bytes.len() - 80]
}

fn opens(workspace: &Workspace) -> bool {
    run(workspace, "backup verify --no-record").code == 0
}

#[test]
fn init_makes_the_key_for_its_owner_alone_out_of_the_repository_and_says_to_keep_a_copy() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let said = Workspace::with_url("postgres://nobody@127.0.0.1:1/none")
        .annals(&format!("init {}", folder.path().join("w").display()))
        .run()
        .expect(0);
    let said = said.says(&["keys/backup.key", "Keep a copy", "no backup can be opened"]);
    let key = folder.path().join("w/keys/backup.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let ignored = fs::read_to_string(folder.path().join("w/keys/.gitignore")).unwrap();
    assert!(ignored.contains("*.key\n"), "{ignored}");
    let secret = fs::read_to_string(key).unwrap();
    assert!(!said.out.contains(secret.split_whitespace().nth(2).unwrap()));
}

#[test]
fn each_recipient_alone_opens_what_was_sealed_for_all_of_them() {
    let server = Server::start();
    let all = "recipients = [{ file = \"keys/own.key\" }, { env = \"BACKUP_KEY_LINE\" }, \
               { command = [\"cat\", \"vault/key\"] }, { passphrase_env = \"BACKUP_WORDS\" }]";
    let workspace = shop(&server, all);
    let lines = ["own", "env", "vault"].map(|name| key_line(&workspace, name));
    fs::create_dir_all(workspace.path("vault")).unwrap();
    workspace.write("vault/key", format!("{}\n", lines[2]));
    run(&workspace, "keys generate approver x").expect(0);
    let made = workspace.path("made-own/keys/backup.key");
    fs::copy(made, workspace.path("keys/own.key")).unwrap();
    let words = "correct horse battery staple";

    // All of them must be at hand to seal: nothing is sealed for fewer than was asked for.
    let partly = workspace.annals("backup").env("BACKUP_KEY_LINE", &lines[1]).run().expect(3);
    partly.says(&["the passphrase in the variable BACKUP_WORDS", "it is not set"]);
    assert_eq!(workspace.kinds().last().unwrap(), "backup_failed");
    let short = workspace.annals("backup").env("BACKUP_KEY_LINE", &lines[1]);
    let short = short.env("BACKUP_WORDS", "short words").run().expect(3);
    let short = short.says(&["fewer than 12 bytes"]);
    assert!(!short.err.contains("short words"));

    let taken = workspace.annals("backup --json").env("BACKUP_KEY_LINE", &lines[1]);
    let taken = taken.env("BACKUP_WORDS", words).run().expect(0).json();
    assert_eq!(taken["key_ids"].as_array().unwrap().len(), 4);

    // Each of them alone, the others being out of reach.
    let sources = [
        ("{ file = \"keys/own.key\" }", None),
        ("{ env = \"BACKUP_KEY_LINE\" }", Some(("BACKUP_KEY_LINE", lines[1].as_str()))),
        ("{ command = [\"cat\", \"vault/key\"] }", None),
        ("{ passphrase_env = \"BACKUP_WORDS\" }", Some(("BACKUP_WORDS", words))),
    ];
    for (source, variable) in sources {
        configure(&workspace, &format!("recipients = [{source}]"));
        let mut verify = workspace.annals("backup verify --no-record");
        if let Some((name, value)) = variable {
            verify = verify.env(name, value);
        }
        verify.run().expect(0).says(&["every row counted"]);
    }
    configure(&workspace, "recipients = [{ passphrase_env = \"BACKUP_WORDS\" }]");
    let wrong = workspace.annals("restore latest --into back").env("BACKUP_WORDS", "not the words");
    let wrong = wrong.run().expect(18);
    let wrong = wrong.says(&["no key fits", "is not the one it is sealed for"]);
    assert!(!wrong.err.contains("not the words"));

    // From a descriptor, as a script gives it.
    configure(&workspace, "recipients = [{ passphrase_fd = 3 }]");
    workspace.write("words", format!("{words}\n"));
    let program = env!("CARGO_BIN_EXE_annals");
    let line = format!("exec '{program}' backup verify --no-record 3< words");
    let by_descriptor = Command::new("sh")
        .args(["-c", &line])
        .current_dir(workspace.folder())
        .env("TEST_URL", server.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&by_descriptor.stderr);
    assert!(by_descriptor.status.success(), "{said}");
}

#[test]
fn a_passphrase_is_asked_for_at_a_terminal_and_not_shown() {
    let server = Server::start();
    let workspace = shop(&server, "recipients = [{ passphrase = \"ask\" }]");
    // Without a terminal nobody is asked.
    let line = format!("setsid '{}' backup", env!("CARGO_BIN_EXE_annals"));
    let alone = Command::new("sh")
        .args(["-c", &format!("{line} < /dev/null")])
        .current_dir(workspace.folder())
        .env("TEST_URL", server.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&alone.stderr);
    assert!(!alone.status.success() && said.contains("no terminal to ask at"), "{said}");

    // `script` gives it one.
    let at_terminal = |line: &str, typed: &str| {
        let program = env!("CARGO_BIN_EXE_annals");
        let mut session = Command::new("script")
            .args(["-qec", &format!("'{program}' {line}"), "/dev/null"])
            .current_dir(workspace.folder())
            .env("TEST_URL", server.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut keys = session.stdin.take().unwrap();
        let mut shown = session.stdout.take().unwrap();
        let mut seen = Vec::new();
        // Typed when it is asked for: what is typed before is dropped.
        for line in typed.split_inclusive('\r') {
            let asked = seen.len();
            while !String::from_utf8_lossy(&seen[asked..]).contains(": ") {
                let mut part = [0; 256];
                let read = std::io::Read::read(&mut shown, &mut part).unwrap();
                if read == 0 {
                    break;
                }
                seen.extend_from_slice(&part[..read]);
            }
            keys.write_all(line.as_bytes()).unwrap();
        }
        std::io::Read::read_to_end(&mut shown, &mut seen).unwrap();
        drop(keys);
        (session.wait().unwrap().code(), String::from_utf8_lossy(&seen).into_owned())
    };
    let (code, seen) = at_terminal("backup", "orange envelope\rorange envelope\r");
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("passphrase of the backups of db") && !seen.contains("orange"), "{seen}");
    let (code, seen) = at_terminal("backup", "orange envelope\rorange envelopes\r");
    assert_eq!(code, Some(3), "{seen}");
    assert!(seen.contains("the two are not the same") && !seen.contains("orange"), "{seen}");
    let (code, seen) = at_terminal("backup verify --no-record", "orange envelope\r");
    assert_eq!(code, Some(0), "{seen}");
    let (code, seen) = at_terminal("backup verify --no-record", "orange\x03");
    assert_eq!(code, Some(130), "{seen}");
}

#[test]
fn a_command_that_gives_no_key_is_named_without_its_output_and_no_run_starts() {
    let server = Server::start();
    let command = "recipients = [{ command = [\"sh\", \"-c\", \"echo hunter2; exit 7\"] }]";
    let workspace = shop(&server, command);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace
        .write("annals.toml", config.replace("[targets.db]", "[targets.db]\nbackup = \"full\""));
    workspace.migration("2_t2", "DROP TABLE t1;", "CREATE TABLE t1 (id int);");
    let refused = run(&workspace, "migrate").expect(3);
    let refused = refused.says(&["from the command sh", "exit status: 7", "next:"]);
    assert!(!refused.err.contains("hunter2"), "{}", refused.err);
    assert_eq!(server.value("SELECT count(*) FROM t1"), "3000");
    let not_a_key = command.replace("; exit 7", "");
    configure(&workspace, &not_a_key);
    let refused = run(&workspace, "backup").expect(3);
    let refused = refused.says(&["from the command sh", "does not start with"]);
    assert!(!refused.err.contains("hunter2"), "{}", refused.err);
}

#[test]
fn a_rotated_key_gets_the_backups_by_a_rekey_and_nothing_is_encrypted_anew() {
    let server = Server::start();
    let workspace = shop(&server, "");
    let backups = [take(&workspace), take(&workspace)];
    let before = fs::read(file(&backups[0])).unwrap();
    let old = fs::read(workspace.path("keys/backup.key")).unwrap();

    let rotated = run(&workspace, "keys rotate --backup --json").expect(0).json();
    let kept = PathBuf::from(rotated["kept"].as_str().unwrap());
    assert_eq!(fs::read(&kept).unwrap(), old);
    assert_ne!(fs::read(workspace.path("keys/backup.key")).unwrap(), old);
    run(&workspace, "keys list").expect(0).says(&["seals and opens", "opens what was sealed"]);
    // The old one still opens what it sealed, new ones are sealed for the new one alone.
    assert!(run(&workspace, "backup verify").code == 0);
    let third = take(&workspace);
    assert_eq!(third["key_ids"][0], rotated["new"]);

    let done = run(&workspace, "backup rekey --all --json").expect(0).json();
    assert_eq!(done["rekeyed"].as_array().unwrap().len(), 2, "{done}");
    assert_eq!(done["unchanged"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&done["rekeyed"][0]["before"][0], &done["rekeyed"][0]["after"][0]),
        (&rotated["old"], &rotated["new"])
    );
    let after = fs::read(file(&backups[0])).unwrap();
    assert!(payload(&before, 1) == payload(&after, 1), "the data is as it was, byte for byte");
    assert_ne!(before, after);
    run(&workspace, "log verify").expect(0);

    // Without the old key everything opens; with it alone nothing does.
    fs::rename(&kept, workspace.path("old.key")).unwrap();
    for backup in [&backups[0], &backups[1], &third] {
        let name = backup["backup"].as_str().unwrap();
        run(&workspace, &format!("backup verify {name}")).expect(0);
        // An auditor without any key finds the file to be the one the log tells of.
        run(&workspace, &format!("backup verify {name} --without-key")).expect(0);
    }
    run(&workspace, "backup verify --deep").expect(0);
    let by_old =
        workspace.annals(&format!("backup verify {}", backups[0]["backup"].as_str().unwrap()));
    by_old
        .env("ANNALS_BACKUP_KEY", workspace.path("old.key"))
        .run()
        .expect(18)
        .says(&["no key fits"]);
    run(&workspace, "backup rekey --all").expect(0).says(&["nothing to change"]);

    // The digest in the log is that of the file now; the file of before is not it any more.
    fs::write(file(&backups[0]), &before).unwrap();
    let name = backups[0]["backup"].as_str().unwrap();
    run(&workspace, &format!("backup verify {name} --without-key"))
        .expect(0)
        .says(&["was not finished"]);
    let mut damaged = after.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(file(&backups[0]), &damaged).unwrap();
    run(&workspace, "keys rotate --backup").expect(0);
    run(&workspace, &format!("backup rekey {name}")).expect(18).says(&["does not match"]);
    assert_eq!(fs::read(file(&backups[0])).unwrap(), damaged, "what is damaged is left as it is");
    // Another backup of the same key in its place is not wrapped as if it were this one.
    fs::write(file(&backups[0]), &after).unwrap();
    run(&workspace, &format!("backup rekey {name}")).expect(0);
}

#[test]
fn a_rekey_that_is_killed_leaves_the_backup_of_before_or_the_new_one() {
    let server = Server::start();
    let workspace = shop(&server, "");
    let backup = take(&workspace);
    let path = file(&backup);
    for point in ["rekey_settled", "rekey_recorded", "rekey_published"] {
        run(&workspace, "keys rotate --backup").expect(0);
        let before = fs::read(&path).unwrap();
        workspace.annals("backup rekey latest").env("ANNALS_FAILPOINT", point).run().expect(-1);
        let now = fs::read(&path).unwrap();
        assert_eq!(now == before, point != "rekey_published", "{point}");
        assert!(opens(&workspace), "{point}");
        let told = run(&workspace, "backup verify latest --without-key").expect(0);
        if point == "rekey_recorded" {
            told.says(&["was not finished", "annals backup rekey"]);
        }
        // Killed once more at the worst moment, and then finished.
        if point == "rekey_recorded" {
            workspace.annals("backup rekey latest").env("ANNALS_FAILPOINT", point).run().expect(-1);
            run(&workspace, "backup verify latest --without-key").expect(0);
            assert!(opens(&workspace), "{point}, twice");
        }
        run(&workspace, "backup rekey --all").expect(0);
        let told = run(&workspace, "backup verify latest --without-key --json").expect(0).json();
        assert_eq!(told["notes"], Value::Array(Vec::new()), "{point}");
        assert_eq!(leftovers(&workspace), [""; 0], "{point}");
    }
    for key in fs::read_dir(workspace.path("keys")).unwrap().flatten() {
        if key.file_name().to_string_lossy().starts_with("backup-") {
            fs::remove_file(key.path()).unwrap();
        }
    }
    run(&workspace, "backup verify --deep").expect(0);
    run(&workspace, "log verify").expect(0);
}

fn leftovers(workspace: &Workspace) -> Vec<String> {
    let entries = fs::read_dir(workspace.path("backups/db")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(".sealed")).collect()
}

#[test]
fn a_rotation_that_is_killed_keeps_a_key_in_its_place_and_is_finished_by_the_next() {
    let server = Server::start();
    let workspace = shop(&server, "");
    take(&workspace);
    let old = fs::read(workspace.path("keys/backup.key")).unwrap();
    let killed =
        workspace.annals("keys rotate --backup").env("ANNALS_FAILPOINT", "backup_key_kept");
    killed.run().expect(-1);
    assert_eq!(fs::read(workspace.path("keys/backup.key")).unwrap(), old);
    assert!(opens(&workspace));
    run(&workspace, "keys rotate --backup").expect(0);
    assert_ne!(fs::read(workspace.path("keys/backup.key")).unwrap(), old);
    assert!(opens(&workspace));
    let names: Vec<String> = fs::read_dir(workspace.path("keys"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("backup"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_backup_that_was_killed_in_its_last_moment_is_taken_in_and_a_strangers_is_not() {
    let server = Server::start();
    let workspace = shop(&server, "");
    workspace.annals("backup").env("ANNALS_FAILPOINT", "backup_named").run().expect(-1);
    let list = run(&workspace, "backup list --json").expect(0).json();
    let name = list["backups"][0]["backup"].as_str().unwrap();
    assert_eq!(list["backups"][0]["recorded"], Value::Null);
    run(&workspace, "backup list").expect(0).says(&["does not know it", "backup adopt"]);
    run(&workspace, &format!("backup rekey {name}")).expect(3).says(&["annals backup adopt"]);
    let adopted = run(&workspace, &format!("backup adopt {}", &name[24..])).expect(0);
    adopted.says(&["is in the log", "rows"]);
    let kinds = workspace.kinds();
    assert_eq!(kinds[kinds.len() - 2..], ["backup_taken", "backup_verified"]);
    run(&workspace, &format!("backup adopt {name}")).expect(3).says(&["knows it already"]);
    run(&workspace, "backup verify --deep").expect(0);

    // One of another database, for the same key, under a name of its own.
    server.sql("CREATE DATABASE elsewhere");
    let url = server.url().rsplit_once('/').unwrap().0.to_owned() + "/elsewhere";
    let elsewhere = Workspace::with_url(&url);
    elsewhere.tables(1);
    run(&elsewhere, "migrate").expect(0);
    copy(&workspace.path("keys/backup.key"), &elsewhere.path("keys/backup.key"));
    let theirs = take(&elsewhere);
    let stranger = theirs["backup"].as_str().unwrap();
    copy(&file(&theirs), &workspace.path(&format!("backups/db/{stranger}.sealed")));
    let refused = run(&workspace, &format!("backup adopt {stranger}")).expect(3);
    refused.says(&["this log has no event"]);
    run(&workspace, "log verify").expect(0);
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

#[test]
fn what_a_rollback_may_need_is_not_pruned() {
    let server = Server::start();
    let workspace = shop(&server, "keep_last = 1\nkeep_rollbacks = 2");
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace
        .write("annals.toml", config.replace("[targets.db]", "[targets.db]\nbackup = \"full\""));
    for n in 2..=5 {
        let up = format!("CREATE TABLE u{n} (id int);");
        workspace.migration(&format!("{n}_u{n}"), &up, &format!("DROP TABLE u{n};"));
        run(&workspace, "migrate").expect(0);
    }
    take(&workspace);
    run(&workspace, "backup verify --deep").expect(0);
    let kept = run(&workspace, "backup prune --dry-run --json").expect(0).json();
    let reasons: Vec<&str> =
        kept["kept"].as_array().unwrap().iter().map(|it| it["reason"].as_str().unwrap()).collect();
    assert_eq!(
        reasons,
        ["one of the newest 1", "a rollback of 5_u5 may need it", "a rollback of 4_u4 may need it"]
    );
    assert_eq!(kept["removed"].as_array().unwrap().len(), 2);
    // What is rolled back is no candidate any more; the one before that is.
    run(&workspace, "rollback --last 1").expect(0);
    let kept = run(&workspace, "backup prune --keep-last 0 --dry-run --json").expect(0).json();
    let text = kept["kept"].to_string();
    assert!(text.contains("4_u4") && text.contains("3_u3") && !text.contains("5_u5"), "{text}");
    let all = run(&workspace, "backup prune --keep-rollbacks 0 --dry-run --json").expect(0).json();
    assert!(!all["kept"].to_string().contains("a rollback of"), "{all}");
}
