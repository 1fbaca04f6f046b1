//! The schema as a value: shown, named and compared, from wherever it is known.

use std::fs;

use annals_testkit::{Outcome, Server, Workspace};

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).run()
}

fn fingerprint(workspace: &Workspace, of: &str) -> String {
    run(workspace, &format!("schema fingerprint {of}")).expect(0).out.trim().to_owned()
}

#[test]
fn every_version_has_its_own_schema_and_the_log_alone_knows_it() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(4);
    run(&workspace, "migrate --to 3").expect(0);
    let live = fingerprint(&workspace, "");
    assert!(live.starts_with("pg") && live.len() > 66, "{live}");
    run(&workspace, "migrate").expect(0);
    let versions: Vec<String> =
        (1..=4).map(|n| fingerprint(&workspace, &format!("--at-version {n}"))).collect();
    assert_eq!(versions[2], live);
    assert_eq!(versions[3], fingerprint(&workspace, "--expected"));
    for (n, one) in versions.iter().enumerate() {
        assert!(!versions[n + 1..].contains(one), "{versions:?}");
    }
    run(&workspace, "rollback --last 2").expect(0);
    assert_eq!(fingerprint(&workspace, ""), versions[1]);
    // What was is told by the log, without a server.
    let alone = |line: &str| {
        let line = format!("{line} --log event-store/db --key keys/log.pub");
        workspace.annals(&line).env("TEST_URL", "postgres://nobody@127.0.0.1:1/none").run()
    };
    assert_eq!(alone("schema fingerprint --at-version 4").expect(0).out.trim(), versions[3]);
    let changed = alone("schema diff version:2 version:4").expect(11);
    changed.says(&["+ table public.t3", "+ column public.t4.id", "differ"]);
    alone("schema diff version:2 expected").expect(0).says(&["the same schema"]);
    alone("schema show --at-version 1").expect(0).says(&["t1", "recorded at", "by event"]);
    alone("schema show").expect(3).says(&["--log", "holds no server"]);
    let expected = alone("schema fingerprint --expected --json").expect(0).json();
    let seq = expected["recorded"]["seq"].as_u64().unwrap();
    assert_eq!(expected["recorded"]["verified"], true);
    let at = format!("schema fingerprint --at-seq {seq}");
    assert_eq!(alone(&at).expect(0).out.trim(), versions[1]);
    let time = expected["recorded"]["recorded_at"].as_str().unwrap();
    assert_eq!(alone(&format!("schema fingerprint --at {time}")).expect(0).out.trim(), versions[1]);
    alone("schema show --at 2001-01-01").expect(3).says(&["was not recorded"]);
    alone("schema show --at-version 9").expect(3).says(&["version 9", "never saw it applied"]);
    // A version applied anew is the newest of its kind.
    workspace.migration("3_t3", "CREATE TABLE t3 (other int);", "DROP TABLE t3;");
    run(&workspace, "migrate").expect(0);
    assert_ne!(fingerprint(&workspace, "--at-version 3"), versions[2]);
}

#[test]
fn a_difference_names_the_object_and_each_attribute_and_a_file_is_a_source() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(1);
    workspace.migration(
        "2_f",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT\n1';",
        "DROP FUNCTION f();",
    );
    run(&workspace, "migrate").expect(0);
    run(&workspace, "schema diff").expect(0).says(&["the same schema"]);
    let document = run(&workspace, "schema show --json").expect(0);
    fs::write(workspace.path("before.json"), &document.out).unwrap();
    assert_eq!(document.json()["fingerprint"], fingerprint(&workspace, "--file before.json"));
    server.sql("ALTER TABLE t1 ALTER id SET DEFAULT 7; CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT\n2'");
    let text = run(&workspace, "schema diff file:before.json live").expect(11);
    text.says(&[
        "~ column public.t1.id",
        "+ default: 7",
        "~ function public.f()",
        "-   1",
        "+   2",
    ]);
    let json = run(&workspace, "schema diff --json").expect(11).json();
    assert_eq!(json["sameness"], "differs");
    let column = json["differences"].as_array().unwrap().iter().find(|d| d["kind"] == "column");
    let column = column.unwrap();
    assert_eq!(
        (column["name"].as_str(), column["what"].as_str()),
        (Some("public.t1.id"), Some("changed"))
    );
    assert!(column["attributes"].to_string().contains("\"after\":\"7\""), "{column}");
    let other = document.out.replacen("\"server_major\": 1", "\"server_major\": 2", 1);
    fs::write(workspace.path("other.json"), other).unwrap();
    let refused = run(&workspace, "schema diff file:other.json live").expect(3);
    refused.says(&["two major versions are not compared"]);
    fs::write(workspace.path("none.json"), "{}").unwrap();
    run(&workspace, "schema show --file none.json").expect(3).says(&["annals schema show --json"]);
    run(&workspace, "schema show --file nowhere.json").expect(3).says(&["cannot be read"]);
    run(&workspace, "schema diff lives").expect(3).says(&["none of live, expected"]);
}

#[test]
fn all_migrations_on_a_fresh_server_come_to_what_the_target_has() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.migration(
        "3_i",
        "-- annals: transaction=off\nCREATE INDEX CONCURRENTLY i ON t1 (id);\n",
        "-- annals: transaction=off\nDROP INDEX CONCURRENTLY i;\n",
    );
    run(&workspace, "migrate").expect(0);
    let before = workspace.kinds();
    run(&workspace, "schema diff migrations live").expect(0).says(&["the same schema"]);
    workspace.migration("4_t4", "CREATE TABLE t4 ();", "DROP TABLE t4;");
    run(&workspace, "schema diff live migrations").expect(11).says(&["+ table public.t4"]);
    workspace.migration("5_bad", "CREATE TABLE t4 ();", "DROP TABLE t4;");
    run(&workspace, "schema show --migrations").expect(3).says(&["5_bad", "already exists"]);
    assert_eq!(workspace.kinds(), before);
}

#[test]
fn of_a_long_run_it_is_said_which_versions_have_no_picture() {
    let server = Server::start();
    // Reading so many objects takes longer than ten small steps.
    server.sql(
        "DO $$ BEGIN FOR n IN 1..400 LOOP EXECUTE format('CREATE TABLE old%s (a int, b text, c \
         timestamptz)', n); END LOOP; END $$",
    );
    let workspace = Workspace::new(&server);
    workspace.tables(12);
    run(&workspace, "migrate").expect(0);
    let without = (1..12).filter(|n| {
        let shown = run(&workspace, &format!("schema fingerprint --at-version {n}"));
        match shown.code {
            0 => false,
            3 => {
                shown.says(&["has no picture", "went on to"]);
                true
            }
            code => panic!("{code}"),
        }
    });
    assert!(without.count() > 0);
    assert_eq!(fingerprint(&workspace, "--at-version 12"), fingerprint(&workspace, ""));
    run(&workspace, "verify").expect(0);
}

#[test]
fn pictures_are_kept_as_differences_and_read_as_what_they_were() {
    let server = Server::start();
    server.sql(
        "DO $$ BEGIN FOR n IN 1..100 LOOP EXECUTE format('CREATE TABLE old%s (a int, b text, c \
         timestamptz)', n); END LOOP; END $$",
    );
    let workspace = Workspace::new(&server);
    workspace.tables(40);
    let mut fingerprints = Vec::new();
    // More than one chain of differences.
    for n in 1..=40 {
        run(&workspace, &format!("migrate --to {n}")).expect(0);
        fingerprints.push(fingerprint(&workspace, ""));
    }
    for (n, live) in fingerprints.iter().enumerate() {
        assert_eq!(&fingerprint(&workspace, &format!("--at-version {}", n + 1)), live);
    }
    let blobs = fs::read_dir(workspace.path("event-store/db/blobs/sha256")).unwrap();
    let sizes = blobs.map(|blob| fs::read(blob.unwrap().path()).unwrap());
    let pictures = sizes.filter(|content| content.windows(14).any(|w| w == b"\"server_major\""));
    let (mut whole, mut parts, mut bytes) = (0, 0, (0, 0));
    for content in pictures {
        match content.starts_with(b"{\"base\"") {
            true => (parts, bytes.1) = (parts + 1, bytes.1 + content.len()),
            false => (whole, bytes.0) = (whole + 1, bytes.0 + content.len()),
        }
    }
    assert!(parts >= 38 && (2..=3).contains(&whole), "{whole} whole, {parts} differences");
    assert!(bytes.1 / parts * 10 < bytes.0 / whole, "{bytes:?}");
}
