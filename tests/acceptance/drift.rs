//! Drift: what others change in the schema is found, told with all that is known of it, and stops a
//! run until somebody decides.

use std::fs;

use annals_events::{Chain, Draft, Event, EventId, Recorded, seal};
use annals_testkit::{Outcome, Server, ServerOptions, Workspace, wait_for};
use serde_json::{Value, json};

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.annals(line).run()
}

/// A workspace with a table, an index and a comment, all of it applied.
fn applied(server: &Server) -> Workspace {
    let workspace = Workspace::new(server);
    workspace.tables(1);
    workspace.migration("2_i", "CREATE INDEX i ON t1 (id);", "DROP INDEX i;");
    run(&workspace, "migrate").expect(0);
    workspace
}

fn kinds_behind(workspace: &Workspace, before: usize) -> Vec<String> {
    workspace.kinds().split_off(before)
}

fn drift(workspace: &Workspace, code: i32) -> Value {
    run(workspace, "drift --json").expect(code).json()
}

fn names(drift: &Value) -> Vec<String> {
    let objects = drift["objects"].as_array().unwrap().iter();
    objects
        .map(|o| format!("{} {}", o["what"].as_str().unwrap(), o["name"].as_str().unwrap()))
        .collect()
}

#[track_caller]
fn has(names: &[String], wanted: &[&str]) {
    for name in wanted {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
    }
}

#[test]
fn a_run_on_a_target_that_has_drifted_is_refused_before_anything_is_written_for_it() {
    let server = Server::start();
    let workspace = applied(&server);
    workspace.migration("3_t3", "CREATE TABLE t3 ();", "DROP TABLE t3;");
    server.sql("DROP INDEX i; CREATE TABLE stranger (); ALTER TABLE t1 ALTER id SET DEFAULT 7");
    let before = workspace.kinds().len();
    let refused = run(&workspace, "migrate").expect(16);
    refused.says(&[
        "has drifted",
        "index public.i: is gone",
        "table public.stranger: is there and not expected",
        "column public.t1.id: default should be nothing, is \"7\"",
        "annals drift accept",
        "--allow-drift",
    ]);
    assert_eq!(kinds_behind(&workspace, before), ["drift_found"]);
    assert_eq!(server.rows("SELECT 1 FROM pg_class WHERE relname = 't3'").len(), 0);
    // What is known is not recorded once more, by any command.
    run(&workspace, "rollback --last 1").expect(16);
    run(&workspace, "drift").expect(16);
    run(&workspace, "migrate").expect(16);
    assert_eq!(kinds_behind(&workspace, before), ["drift_found"]);
    run(&workspace, "status").expect(0).says(&["drifted", "annals drift"]);
    run(&workspace, "plan").expect(0).says(&["the schema had drifted at"]);
    // Nothing to do is nothing to refuse.
    fs::remove_file(workspace.path("migrations/3_t3.sql")).unwrap();
    fs::remove_file(workspace.path("rollbacks/3_t3_rollback.sql")).unwrap();
    run(&workspace, "migrate").expect(0).says(&["nothing to do"]);
}

#[test]
fn more_drift_is_news_and_so_is_that_it_is_gone() {
    let server = Server::start();
    let workspace = applied(&server);
    assert_eq!(drift(&workspace, 0)["drifted"], false);
    let before = workspace.kinds().len();
    server.sql("DROP INDEX i");
    let first = drift(&workspace, 16);
    assert_eq!(
        (names(&first), &first["recorded"]),
        (vec!["removed public.i".into()], &json!(true))
    );
    assert_eq!(first["objects"][0]["after_what"], "picture");
    assert!(first["objects"][0]["after"].as_str() < first["objects"][0]["until"].as_str());
    let again = drift(&workspace, 16);
    assert_eq!((&again["recorded"], &again["objects"]), (&json!(false), &first["objects"]));
    server.sql("CREATE TABLE stranger ()");
    let more = drift(&workspace, 16);
    has(&names(&more), &["removed public.i", "added public.stranger"]);
    // Each keeps the interval it is known to lie in: the second came behind the first look.
    let objects = more["objects"].as_array().unwrap();
    let find = |name: &str| objects.iter().find(|o| o["name"] == name).unwrap();
    assert_eq!(find("public.i"), &first["objects"][0]);
    assert_eq!(find("public.stranger")["after_what"], "check");
    assert!(find("public.stranger")["after"].as_str() >= first["objects"][0]["until"].as_str());
    server.sql("DROP TABLE stranger; CREATE INDEX i ON t1 (id)");
    assert_eq!(drift(&workspace, 0)["recorded"], true);
    assert_eq!(drift(&workspace, 0)["recorded"], false);
    assert_eq!(kinds_behind(&workspace, before), ["drift_found", "drift_found", "drift_found"]);
    run(&workspace, "timeline").expect(0).says(&["drift found", "as expected again"]);
    let status = run(&workspace, "status").expect(0);
    assert!(!status.out.contains("drifted"), "{}", status.out);
}

#[test]
fn what_is_accepted_with_a_reason_is_expected_from_then_on() {
    let server = Server::start();
    let workspace = applied(&server);
    workspace.migration("3_t3", "CREATE TABLE t3 ();", "DROP TABLE t3;");
    server.sql("DROP INDEX i");
    run(&workspace, "migrate").expect(16);
    let before = workspace.kinds().len();
    workspace.annals("drift accept --reason").arg("  ").run().expect(3).says(&["--reason"]);
    run(&workspace, "drift accept").expect(2);
    let accepted = workspace.annals("drift accept --reason").arg("the index was not used").run();
    accepted.expect(0).says(&["index public.i", "accepted 1 difference"]);
    assert_eq!(kinds_behind(&workspace, before), ["drift_accepted", "schema_recorded"]);
    assert_eq!(drift(&workspace, 0)["drifted"], false);
    run(&workspace, "verify").expect(0);
    run(&workspace, "timeline").expect(0).says(&["drift accepted", "the index was not used"]);
    run(&workspace, "migrate").expect(0);
    let before = workspace.kinds().len();
    workspace.annals("drift accept --reason").arg("again").run().expect(0).says(&["already"]);
    assert!(kinds_behind(&workspace, before).is_empty());
    run(&workspace, "log verify").expect(0);
}

#[test]
fn a_run_may_be_allowed_on_a_drifted_target_and_the_log_says_so() {
    let server = Server::start();
    let workspace = applied(&server);
    workspace.migration("3_t3", "CREATE TABLE t3 ();", "DROP TABLE t3;");
    server.sql("DROP INDEX i");
    run(&workspace, "drift").expect(16);
    let before = workspace.kinds().len();
    run(&workspace, "migrate --allow-drift").expect(0).says(&["1 object is not as expected"]);
    let kinds = kinds_behind(&workspace, before);
    let at = |kind: &str| kinds.iter().position(|found| found == kind);
    assert!(at("drift_found") < at("run_started") && at("drift_found").is_some(), "{kinds:?}");
    // The run has not made it its own.
    assert_eq!(names(&drift(&workspace, 16)), ["removed public.i"]);
    let policy = "workspace = \"test\"\ndefault_target = \"db\"\n[policy]\ndrift = \"warn\"\n\
        [targets.db]\nurl_env = \"TEST_URL\"\n";
    workspace.write("annals.toml", policy);
    run(&workspace, "rollback --last 1").expect(0).says(&["1 object is not as expected"]);
    assert_eq!(names(&drift(&workspace, 16)), ["removed public.i"]);
}

#[test]
fn what_was_there_before_annals_is_no_drift_and_is_missed_when_it_goes() {
    let server = Server::start();
    server.sql("CREATE TABLE elder (id int)");
    let workspace = Workspace::new(&server);
    workspace.tables(1);
    run(&workspace, "drift").expect(0).says(&["not compared", "no run has changed"]);
    run(&workspace, "migrate").expect(0);
    assert_eq!(drift(&workspace, 0)["drifted"], false);
    server.sql("DROP TABLE elder");
    has(&names(&drift(&workspace, 16)), &["removed public.elder", "removed public.elder.id"]);
}

#[test]
fn until_a_run_has_changed_something_nothing_is_expected_of_the_schema() {
    let server = Server::start();
    server.sql("CREATE TABLE elder (id int)");
    let workspace = Workspace::new(&server);
    workspace.migration("1_t1", "CREATE TABLE t1 (id int REFERENCES missing);", "DROP TABLE t1;");
    run(&workspace, "migrate").expect(4);
    // What it takes to let the first migration succeed is no drift.
    server.sql("DROP TABLE elder; CREATE TABLE missing (id int PRIMARY KEY)");
    run(&workspace, "migrate").expect(0);
    assert_eq!(drift(&workspace, 0)["drifted"], false);
    // From then on a run that leaves nothing leaves what is expected, too.
    workspace.migration("2_bad", "SELECT nothing;", "SELECT 1;");
    run(&workspace, "migrate").expect(4);
    server.sql("DROP TABLE missing CASCADE");
    run(&workspace, "migrate").expect(16).says(&["table public.missing: is gone"]);
}

#[test]
fn what_is_accepted_before_the_first_run_is_expected_by_it() {
    let server = Server::start();
    server.sql("CREATE TABLE elder (id int)");
    let workspace = Workspace::new(&server);
    workspace.tables(1);
    let accepted = workspace.annals("drift accept --reason").arg("as it was handed over").run();
    accepted.expect(0).says(&["the schema as it is"]);
    server.sql("DROP TABLE elder");
    run(&workspace, "migrate").expect(16).says(&["table public.elder: is gone"]);
}

#[test]
fn behind_a_run_that_was_killed_before_its_picture_nothing_is_compared_and_that_is_said() {
    let server = Server::start();
    let workspace = applied(&server);
    workspace.tables(3);
    fs::remove_file(workspace.path("migrations/2_t2.sql")).unwrap();
    fs::remove_file(workspace.path("rollbacks/2_t2_rollback.sql")).unwrap();
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_outcome").run().expect(-1);
    server.sql("DROP INDEX i");
    let words = "cut short before it recorded the schema";
    let unknown = run(&workspace, "drift").expect(0);
    unknown.says(&["not compared", words]);
    let document = drift(&workspace, 0);
    assert_eq!((&document["drifted"], &document["expected"]), (&Value::Null, &Value::Null));
    workspace.migration("4_t4", "CREATE TABLE t4 ();", "DROP TABLE t4;");
    run(&workspace, "migrate").expect(0).says(&["was not compared before this run", words]);
    // From here on everything is known again.
    assert_eq!(drift(&workspace, 0)["drifted"], false);
    server.sql("DROP TABLE t1");
    run(&workspace, "drift").expect(16).says(&["- table public.t1"]);
}

#[test]
fn behind_a_step_of_a_killed_run_its_own_picture_is_expected() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(3);
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "before_commit:3").run().expect(-1);
    let backends = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%'";
    wait_for("the end of its backend", || server.rows(backends).is_empty().then_some(()));
    assert_eq!(drift(&workspace, 0)["drifted"], false);
    server.sql("DROP TABLE t2");
    let refused = run(&workspace, "migrate").expect(16);
    refused.says(&["table public.t2: is gone"]);
    server.sql("CREATE TABLE t2 (id int PRIMARY KEY)");
    run(&workspace, "migrate").expect(0);
    run(&workspace, "verify").expect(0);
}

#[test]
fn who_did_it_is_known_where_the_target_writes_it_down() {
    let server = Server::start_with(ServerOptions { tcp: true, ..ServerOptions::default() });
    let workspace = applied(&server);
    run(&workspace, "drift track").expect(0).says(&["writes down"]);
    assert_eq!(drift(&workspace, 0)["tracking"], "on");
    let kinds = workspace.kinds();
    server.sql(
        "CREATE ROLE ada LOGIN; GRANT ALL ON SCHEMA public TO ada; SET application_name = 'editor'; \
         SET ROLE ada; CREATE TABLE stranger (secret text DEFAULT 'CANARY-1'); RESET ROLE; \
         DROP INDEX i",
    );
    let found = drift(&workspace, 16);
    let objects = found["objects"].as_array().unwrap();
    let find = |kind: &str, name: &str| {
        let is = |o: &&Value| o["name"] == name && o["kind"] == kind;
        objects.iter().find(is).unwrap_or_else(|| panic!("{kind} {name}: {found}"))
    };
    let made = &find("table", "public.stranger")["commands"][0];
    assert_eq!((&made["command"], &made["role"]), (&json!("CREATE TABLE"), &json!("ada")));
    assert_eq!((&made["login"], &made["application"]), (&json!("postgres"), &json!("editor")));
    let dropped = &find("index", "public.i")["commands"][0];
    assert_eq!((&dropped["command"], &dropped["role"]), (&json!("DROP INDEX"), &json!("postgres")));
    run(&workspace, "drift").expect(16).says(&["CREATE TABLE by ada (logged in as postgres)"]);
    // Names are kept, never values.
    assert_eq!(server.value("SELECT count(*) FROM annals.ddl_log l WHERE l::text ~ 'CANARY'"), "0");
    assert_eq!(workspace.kinds().len(), kinds.len() + 1);
    // Runs of annals are no somebody.
    server.sql("DROP TABLE stranger; CREATE INDEX i ON t1 (id)");
    workspace.annals("drift accept --reason").arg("a new role").run().expect(0);
    workspace.migration("3_t3", "CREATE TABLE t3 ();", "DROP TABLE t3;");
    run(&workspace, "migrate").expect(0);
    assert_eq!(drift(&workspace, 0)["drifted"], false);
    server.sql("COMMENT ON TABLE t3 IS 'x'");
    let commented = drift(&workspace, 16);
    let commands = commented["objects"][0]["commands"].as_array().unwrap();
    let tags: Vec<&Value> = commands.iter().map(|command| &command["command"]).collect();
    assert_eq!(tags, ["COMMENT"]);
    server.sql("COMMENT ON TABLE t3 IS NULL");
    run(&workspace, "drift untrack").expect(0);
    assert_eq!(server.value("SELECT count(*) FROM pg_event_trigger"), "0");
    assert_eq!(drift(&workspace, 0)["tracking"], "off");
}

#[test]
fn what_writes_ddl_down_never_stands_in_anybodys_way() {
    let server = Server::start();
    server.sql("CREATE ROLE weak LOGIN; GRANT ALL ON SCHEMA public TO weak");
    let workspace = applied(&server);
    run(&workspace, "drift track").expect(0);
    // Whoever may not read the schema annals makes tables all the same.
    server.sql("SET ROLE weak; CREATE TABLE hers (); ALTER TABLE hers ADD a int; DROP TABLE hers");
    server.sql("CREATE TEMP TABLE scratch (); DROP TABLE scratch");
    assert_eq!(server.value("SELECT count(*) FROM annals.ddl_log WHERE identity ~ 'pg_temp'"), "0");
    server.sql("ALTER TABLE annals.ddl_log RENAME COLUMN tag TO label; CREATE TABLE a ()");
    server.sql("DROP TABLE annals.ddl_log; CREATE TABLE b (); DROP TABLE a, b");
    run(&workspace, "drift track").expect(0);
    server.sql("ALTER EVENT TRIGGER annals_log_drop DISABLE");
    let broken = drift(&workspace, 0);
    assert_eq!(broken["tracking"], "broken");
    run(&workspace, "drift track").expect(0);
    assert_eq!(drift(&workspace, 0)["tracking"], "on");
    // Old entries go when somebody looks.
    server.sql(
        "INSERT INTO annals.ddl_log (at, session_role, acting_role, application, tag) \
         VALUES (now() - interval '91 days', 'x', 'x', 'x', 'OLD'); CREATE TABLE c ()",
    );
    run(&workspace, "drift").expect(16);
    assert_eq!(server.value("SELECT count(*) FROM annals.ddl_log WHERE tag = 'OLD'"), "0");
    server.sql("DROP SCHEMA annals CASCADE; CREATE TABLE d ()");
}

#[test]
fn a_role_that_may_not_create_event_triggers_is_told_so() {
    let server = Server::start_with(ServerOptions { tcp: true, ..ServerOptions::default() });
    server.sql(
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE plain LOGIN PASSWORD 'p'; \
         GRANT ALL ON SCHEMA public TO plain; GRANT CREATE ON DATABASE postgres TO plain; \
         GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() TO plain",
    );
    let url =
        format!("postgres://plain:p@127.0.0.1:{}/postgres?sslmode=disable", server.tcp_port());
    let workspace = Workspace::with_url(&url);
    workspace.tables(1);
    run(&workspace, "migrate").expect(0);
    let refused = run(&workspace, "drift track").expect(3);
    refused.says(&["\"plain\" may not create", "superuser"]);
    assert_eq!(server.value("SELECT count(*) FROM pg_class WHERE relname = 'ddl_log'"), "0");
    server.sql("DROP TABLE t1");
    let found = drift(&workspace, 16);
    assert_eq!(found["tracking"], "off");
    has(&names(&found), &["removed public.t1"]);
}

#[test]
fn what_somebody_changes_while_a_step_works_is_not_the_runs_where_it_is_written_down() {
    let server = Server::start();
    let workspace = applied(&server);
    run(&workspace, "drift track").expect(0);
    server.sql("CREATE TABLE gate (); ALTER TABLE gate OWNER TO postgres");
    workspace.annals("drift accept --reason").arg("a gate").run().expect(0);
    let slow = "CREATE TABLE mine (); SELECT pg_sleep(3);";
    workspace.migration("3_mine", slow, "DROP TABLE mine;");
    workspace.migration("4_t4", "CREATE TABLE t4 ();", "DROP TABLE t4;");
    let running = workspace.annals("migrate").start();
    let asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_for("a step at work", || server.rows(asleep).pop());
    server.sql("CREATE TABLE intruder (); DROP INDEX i");
    running.wait().expect(0);
    let found = drift(&workspace, 16);
    has(&names(&found), &["added public.intruder", "removed public.i"]);
    assert!(!found.to_string().contains("public.mine"), "{found}");
    assert!(!found.to_string().contains("public.t4"), "{found}");
}

#[test]
fn a_log_in_the_target_and_two_checkouts_know_the_same_drift() {
    let server = Server::start();
    let (here, there) = (Workspace::new(&server), Workspace::new(&server));
    for workspace in [&here, &there] {
        workspace.write(
            "annals.toml",
            "workspace = \"test\"\ndefault_target = \"db\"\ndefault_backup = \"off\"\n\n\
             [targets.db]\nurl_env = \"TEST_URL\"\nevent_store = \"postgres\"\n",
        );
        workspace.tables(4);
    }
    run(&here, "migrate --to 2").expect(0);
    fs::create_dir_all(there.path("keys")).unwrap();
    for key in ["log.key", "log.pub"] {
        fs::copy(here.path(&format!("keys/{key}")), there.path(&format!("keys/{key}"))).unwrap();
    }
    assert_eq!(drift(&there, 0)["drifted"], false);
    server.sql("ALTER TABLE t1 ADD x int");
    run(&there, "migrate --to 3").expect(16).says(&["public.t1.x"]);
    run(&here, "status").expect(0).says(&["drifted"]);
    assert_eq!(drift(&here, 16)["recorded"], false);
    here.annals("drift accept --reason").arg("x is wanted").run().expect(0);
    run(&there, "migrate").expect(0);
    assert_eq!(drift(&here, 0)["drifted"], false);
    // The log needs no server but its home, and tells both versions apart.
    run(&there, "schema diff version:2 version:4").expect(11).says(&["+ table public.t3"]);
    run(&there, "log verify").expect(0);
}

/// The log with one more event: its last picture, said to be of PostgreSQL `major`. As behind a crash
/// before the head was signed.
fn pictured_on(workspace: &Workspace, major: u32) {
    let bytes = fs::read(workspace.segment()).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut events: Vec<Recorded> = Vec::new();
    let mut chain = Chain::default();
    for line in lines {
        events.push(chain.accept(line).unwrap());
    }
    let pictures = events.iter().rev().find(|e| matches!(e.event, Event::SchemaRecorded(_)));
    let mut picture = pictures.unwrap().clone();
    let Event::SchemaRecorded(schema) = &mut picture.event else { unreachable!() };
    schema.server_major = major;
    let at = events.last().unwrap().recorded_at.plus_micros(1);
    let draft = Draft {
        event: picture.event,
        id: EventId(uuid::Uuid::now_v7()),
        occurred_at: at,
        actor: picture.actor,
        target: picture.target,
        incarnation: picture.incarnation,
    };
    let mut log = bytes.clone();
    seal(&mut chain, &picture.origin, &draft, at, &mut log).unwrap();
    fs::write(workspace.segment(), log).unwrap();
}

#[test]
fn a_schema_of_another_major_version_is_compared_with_nothing_until_somebody_takes_it() {
    let server = Server::start();
    let workspace = applied(&server);
    workspace.migration("3_t3", "CREATE TABLE t3 ();", "DROP TABLE t3;");
    pictured_on(&workspace, 12);
    let words = ["recorded on PostgreSQL 12", "cannot be compared", "annals drift accept"];
    for line in ["migrate", "migrate --allow-drift", "rollback --last 1", "drift"] {
        run(&workspace, line).expect(16).says(&words);
    }
    run(&workspace, "schema diff").expect(9);
    let before = workspace.kinds().len();
    workspace.annals("drift accept --reason").arg("upgraded").run().expect(0).says(&["as it is"]);
    assert_eq!(kinds_behind(&workspace, before), ["drift_accepted", "schema_recorded"]);
    let accepted = fs::read_to_string(workspace.segment()).unwrap();
    assert!(accepted.contains("\"expected_major\":12"));
    run(&workspace, "timeline").expect(0).says(&["taken as it is, after 12: upgraded"]);
    run(&workspace, "migrate").expect(0);
    assert_eq!(drift(&workspace, 0)["drifted"], false);
    run(&workspace, "log verify").expect(0);
}
