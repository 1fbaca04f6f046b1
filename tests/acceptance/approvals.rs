//! Approvals: what one person may not do alone, and each way around it that does not work.

use std::fs;
use std::process::{Child, Command, Stdio};

use annals_testkit::{Outcome, Server, Workspace, kill, wait_for};

const HEAD: &str = "workspace = \"test\"\ndefault_target = \"db\"\n\n[timeouts]\nwait_for_lock = \
    \"20s\"\n\n[targets.db]\nurl_env = \"TEST_URL\"\n\n[targets.db.approvals]\n";

/// A workspace with two migrations whose target asks for approvals as `policy` says; ada and ben are
/// DBAs, cyd is not, and the list counts.
fn scene(policy: &str) -> (Server, Workspace) {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.write("annals.toml", format!("{HEAD}{policy}\n"));
    for (name, role) in [("ada", " --role dba"), ("ben", " --role dba"), ("cyd", "")] {
        workspace.annals(&format!("keys generate approver {name}")).run().expect(0);
        workspace.annals(&format!("keys approver add {name}{role}")).run().expect(0);
    }
    let list = fs::read_to_string(workspace.path("keys/approvers.toml")).unwrap();
    workspace.write("keys/approvers.toml", list.replace("quorum = 1", "quorum = 2"));
    workspace.annals("keys approver admit").run().expect(0).says(&["this list counts"]);
    (server, workspace)
}

fn write_plan(workspace: &Workspace) {
    workspace.annals("plan --out plan.json").run().expect(0);
}

fn approve(workspace: &Workspace, name: &str) -> Outcome {
    workspace.annals(&format!("approve plan.json --yes --as {name}")).run()
}

fn approved(workspace: &Workspace) {
    write_plan(workspace);
    approve(workspace, "ada").expect(0);
    approve(workspace, "ben").expect(0).says(&["annals migrate --plan plan.json"]);
}

fn migrate(workspace: &Workspace) -> Outcome {
    workspace.annals("migrate --plan plan.json").run()
}

fn tables(server: &Server) -> String {
    server.value("SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'")
}

#[test]
fn a_run_needs_its_plan_and_two_people_and_the_plan_is_spent() {
    let (server, workspace) = scene("required = 2");
    workspace.annals("migrate").run().expect(19).says(&[
        "asks for 2 approvals",
        "annals plan --target db --out plan.json",
        "annals approve plan.json",
    ]);
    write_plan(&workspace);
    migrate(&workspace).expect(19).says(&["needs 2 approvals, 2 missing", "ada, ben, cyd"]);
    approve(&workspace, "ada").expect(0).says(&[
        "CREATE TABLE t1",
        "locks",
        "proof",
        "gone afterwards",
        "1 of 2 approvals",
    ]);
    // The same person again is the same person.
    approve(&workspace, "ada").expect(0);
    migrate(&workspace).expect(19).says(&["1 missing", "approved by ada"]);
    assert_eq!(tables(&server), "0");
    approve(&workspace, "cyd").expect(0);
    migrate(&workspace).expect(0).says(&["approved by ada, cyd"]);
    assert_eq!(tables(&server), "2");
    migrate(&workspace).expect(19).says(&["carried out already, by tester"]);
    workspace.annals("rollback --last 1").run().expect(19);
    let verified = workspace.annals("log verify --json").run().expect(0).json();
    assert_eq!(verified["approvals"]["approvals"], 3);
    assert_eq!(verified["approvals"]["lists"], 1);
    // The plan in the log is the one that was approved, byte for byte.
    let log = fs::read_to_string(workspace.segment()).unwrap();
    let hash = workspace.annals("approve plan.json --show --json").run().expect(0).json();
    let made = log.lines().find(|line| line.contains("\"plan_made\"")).unwrap();
    assert!(made.contains(hash["hash"].as_str().unwrap()), "{made}");
}

/// Every place in a document that holds a value, as a JSON pointer.
fn places(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                places(member, &format!("{at}/{name}"), found);
            }
        }
        serde_json::Value::Array(items) if !items.is_empty() => {
            for (n, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{n}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn an_edited_plan_is_refused_whatever_was_edited() {
    let (server, workspace) = scene("required = 1");
    write_plan(&workspace);
    approve(&workspace, "ada").expect(0);
    let text = fs::read_to_string(workspace.path("plan.json")).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut all = Vec::new();
    places(&plan, "", &mut all);
    assert!(all.len() > 40, "{all:?}");
    for place in all {
        let mut edited = plan.clone();
        let value = edited.pointer_mut(&place).unwrap();
        *value = match value.clone() {
            serde_json::Value::String(text) if text.len() == 64 => {
                text.replace(|c: char| c != '0', "1").into()
            }
            serde_json::Value::String(text) if text.ends_with('Z') => {
                text.replacen("20", "21", 1).into()
            }
            serde_json::Value::String(text) => format!("{text}x").into(),
            serde_json::Value::Number(n) => (n.as_u64().unwrap() + 1).into(),
            serde_json::Value::Bool(yes) => (!yes).into(),
            _ => serde_json::json!(["1"]),
        };
        assert_ne!(edited, plan, "{place}");
        workspace.write("plan.json", edited.to_string());
        let told = migrate(&workspace);
        assert!([3, 19].contains(&told.code), "{place}: {} {}", told.code, told.err);
    }
    assert_eq!(tables(&server), "0");
    workspace.write("plan.json", text);
    migrate(&workspace).expect(0);
}

#[test]
fn what_changes_behind_the_approval_voids_it_and_is_named() {
    let (server, workspace) = scene("required = 2");
    approved(&workspace);
    let up = fs::read_to_string(workspace.path("migrations/1_t1.sql")).unwrap();
    workspace.write("migrations/1_t1.sql", format!("{up} -- harmless"));
    migrate(&workspace).expect(19).says(&["1_t1: 1_t1.sql was changed"]);
    workspace.write("migrations/1_t1.sql", &up);
    workspace.write("rollbacks/1_t1_rollback.sql", "DROP TABLE IF EXISTS t1;");
    migrate(&workspace).expect(19).says(&["1_t1: its rollback was changed"]);
    workspace.write("rollbacks/1_t1_rollback.sql", "DROP TABLE t1;");
    // What comes later is no part of it.
    workspace.migration("9_x", "SELECT 1;", "SELECT 1;");
    migrate(&workspace).expect(0).says(&["approved by"]);
    assert_eq!(tables(&server), "2");
    fs::remove_file(workspace.path("migrations/9_x.sql")).unwrap();
    fs::remove_file(workspace.path("rollbacks/9_x_rollback.sql")).unwrap();

    workspace.migration("3_t3", "CREATE TABLE t3 ();", "DROP TABLE t3;");
    workspace.migration("5_t5", "CREATE TABLE t5 ();", "DROP TABLE t5;");
    approved(&workspace);
    workspace.migration("4_t4", "CREATE TABLE t4 ();", "DROP TABLE t4;");
    migrate(&workspace).expect(19).says(&["4_t4: it is not in the plan"]);
    fs::remove_file(workspace.path("migrations/4_t4.sql")).unwrap();
    fs::remove_file(workspace.path("rollbacks/4_t4_rollback.sql")).unwrap();
    workspace.write("annals.toml", format!("{HEAD}required = 1\n"));
    migrate(&workspace).expect(19).says(&["the policy of the target was changed"]);
    workspace.write("annals.toml", format!("{HEAD}required = 2\n"));
    server.sql("ALTER TABLE t1 ADD COLUMN sneaky int");
    migrate(&workspace).expect(16);
    workspace
        .annals("migrate --plan plan.json --allow-drift")
        .run()
        .expect(19)
        .says(&["the schema of the target is another one"]);
    workspace.annals("drift accept --reason so").run().expect(0);
    migrate(&workspace).expect(19).says(&["the log went on", "drift_accepted"]);
    server.sql("ALTER TABLE t1 DROP COLUMN sneaky");
    workspace.annals("drift accept --reason back").run().expect(0);
    migrate(&workspace).expect(19).says(&["the log went on"]);
    approved(&workspace);
    migrate(&workspace).expect(0);
}

#[test]
fn the_author_approves_nothing_and_roles_are_asked_for() {
    let (_server, workspace) = scene("required = 1\nroles = [\"dba\"]");
    workspace.annals("plan --out plan.json").env("ANNALS_ACTOR", "ada").run().expect(0);
    approve(&workspace, "ada").expect(19).says(&["ada has made the plan"]);
    approve(&workspace, "cyd").expect(19).says(&["cyd has none of the roles dba"]);
    migrate(&workspace).expect(19).says(&["each must have one of the roles dba"]);
    let told = approve(&workspace, "ben").expect(0);
    assert!(told.out.contains("ben approves"));
    migrate(&workspace).expect(0);
}

#[test]
fn an_approval_is_taken_back_and_lapses() {
    let (server, workspace) = scene("required = 1\nexpires_after = \"4s\"");
    write_plan(&workspace);
    let given = workspace.annals("approve plan.json --yes --as ada --json").run().expect(0).json();
    let id = given["approval"].as_str().unwrap().to_owned();
    workspace.annals(&format!("approve --revoke {id} --reason wrong")).run().expect(0);
    let told = migrate(&workspace).expect(19);
    assert!(told.err.contains("taken back") || told.err.contains("lapsed"), "{}", told.err);
    workspace.annals(&format!("approve --revoke {id} --reason wrong")).run().expect(3);
    wait_for("the plan to lapse", || {
        migrate(&workspace).err.contains("it lapsed at").then_some(())
    });
    approve(&workspace, "ben").expect(19).says(&["it lapsed at"]);
    assert_eq!(tables(&server), "0");
}

#[test]
fn the_list_of_approvers_is_changed_by_a_quorum_only() {
    let (_server, workspace) = scene("required = 1");
    let pinned = fs::read_to_string(workspace.path("keys/approvers.toml")).unwrap();
    workspace.annals("keys generate approver eve").run().expect(0);
    workspace.annals("keys approver add eve --role dba").run().expect(0);
    write_plan(&workspace);
    approve(&workspace, "eve").expect(19).says(&["without the signatures of a quorum"]);
    approve(&workspace, "ada").expect(19).says(&["without the signatures of a quorum"]);
    workspace.annals("keys approver admit").run().expect(19).says(&["0 of 2 have signed"]);
    // Who is on the new list alone signs nothing that counts.
    workspace.annals("keys approver sign --as eve").run().expect(19);
    workspace.annals("keys approver sign --as ada").run().expect(0).says(&["1 of 2"]);
    workspace.annals("keys approver sign --as ada").run().expect(0).says(&["1 of 2"]);
    workspace.annals("keys approver admit").run().expect(19).says(&["1 of 2 have signed"]);
    workspace.annals("log verify").run().expect(27).says(&["pinned list of approvers"]);
    workspace.annals("keys approver sign --as cyd").run().expect(0).says(&["2 of 2"]);
    workspace.annals("keys approver admit").run().expect(0).says(&["this list counts"]);
    workspace.annals("log verify").run().expect(0);
    approve(&workspace, "eve").expect(19).says(&["the log went on", "approvers_changed"]);
    write_plan(&workspace);
    approve(&workspace, "eve").expect(0);
    // Back to the list before, by hand.
    workspace.write("keys/approvers.toml", pinned);
    migrate(&workspace).expect(19).says(&["the list of approvers was changed"]);
}

#[test]
fn hidden_text_is_shown_and_refused_unless_its_file_is_named() {
    let (server, workspace) = scene("required = 1");
    // What reorders text is in no file at all.
    let sql = |c: char| format!("COMMENT ON TABLE t1 IS 'safe{c}DROP';");
    workspace.migration("3_comment", &sql('\u{202e}'), "SELECT 1;");
    workspace.annals("plan --out plan.json").run().expect(3).says(&["U+202E"]);
    workspace.migration("3_comment", &sql('\u{200b}'), "SELECT 1;");
    let shown = workspace.annals("plan --sql").run().expect(0);
    assert!(!shown.out.contains('\u{200b}'), "{}", shown.out);
    shown.says(&["safe\\u{200b}DROP", "hidden character \\u{200b}"]);
    let refused = workspace.annals("plan --out plan.json").run().expect(3);
    refused.says(&["3_comment.sql:1", "hidden character \\u{200b}", "approvals.hidden_text"]);
    assert!(!workspace.path("plan.json").exists());
    let allow = "required = 1\nhidden_text = [\"migrations/3_comment.sql\"]";
    workspace.write("annals.toml", format!("{HEAD}{allow}\n"));
    write_plan(&workspace);
    approve(&workspace, "ada").expect(0).says(&["safe\\u{200b}DROP"]);
    migrate(&workspace).expect(0);
    assert_eq!(tables(&server), "2");
}

#[test]
fn risk_is_what_the_statements_do_and_no_comment_lowers_it() {
    let (server, workspace) =
        scene("required = 0\n[targets.db.approvals.by_risk]\nhigh = 1\ncritical = 2");
    approved_by(&workspace, &["ada"]);
    migrate(&workspace).expect(0);
    let quiet = "-- risk: low\n-- annals: lock_timeout=1s\n/* NOT VALID */ DROP TABLE t2;";
    workspace.migration("3_drop", quiet, "CREATE TABLE t2 (id int PRIMARY KEY);");
    workspace.annals("migrate").run().expect(19).says(&["2 approvals of a plan of critical risk"]);
    let made = workspace.annals("plan --out plan.json --json").run().expect(0).json();
    assert_eq!((&made["risk"], &made["approvals_needed"]), (&"critical".into(), &2.into()));
    approve(&workspace, "ada").expect(0).says(&["gone afterwards", "data-loss"]);
    migrate(&workspace).expect(19).says(&["1 missing"]);
    assert_eq!(tables(&server), "2");
}

fn approved_by(workspace: &Workspace, names: &[&str]) {
    write_plan(workspace);
    for name in names {
        approve(workspace, name).expect(0);
    }
}

#[test]
fn one_person_breaks_the_glass_loudly_and_another_looks_at_it() {
    let (server, workspace) = scene("required = 2");
    let broken =
        || workspace.annals("migrate --break-glass --reason").arg("the site is down").run();
    broken().expect(19).says(&["break_glass is not true"]);
    assert_eq!(tables(&server), "0");
    workspace.write("annals.toml", format!("{HEAD}required = 2\nbreak_glass = true\n"));
    workspace.annals("migrate --break-glass").run().expect(2);
    broken().expect(0).says(&["goes without the 2 approvals", "--review"]);
    let kinds = workspace.kinds();
    let at = |kind: &str| kinds.iter().position(|known| known == kind).unwrap();
    assert!(at("break_glass_used") < at("run_started"), "{kinds:?}");
    let status = workspace.annals("status --json").run().expect(0).json();
    let run = status["unreviewed"][0]["run"].as_str().unwrap().to_owned();
    workspace.annals("status").run().expect(0).says(&["break glass", "the site is down", &run]);
    let review = format!("approve --review {run} --reason fine");
    workspace.annals(&review).run().expect(3).says(&["somebody else must look at it"]);
    workspace.annals(&review).env("ANNALS_ACTOR", "ada").run().expect(0);
    let status = workspace.annals("status --json").run().expect(0).json();
    assert_eq!(status["unreviewed"], serde_json::json!([]));
    workspace.annals("timeline").run().expect(0).says(&["the site is down"]);
}

#[test]
fn a_backup_does_not_go_around_the_approvals() {
    let (server, workspace) = scene("required = 2\nbreak_glass = true");
    approved(&workspace);
    migrate(&workspace).expect(0);
    server.sql("INSERT INTO t1 SELECT generate_series(1, 10)");
    workspace.annals("backup").run().expect(0);
    server.sql("DELETE FROM t1 WHERE id > 4");
    let policy = |line: &str| workspace.write("annals.toml", format!("{HEAD}{line}\n"));
    for restore in ["restore latest", "restore latest --tables t1"] {
        policy("required = 2\nbreak_glass = true");
        let preview = workspace.annals(restore).run().expect(0);
        preview.says(&["asks for 2 approvals", "--break-glass"]);
        let preview = workspace.annals(&format!("{restore} --json")).run().expect(0).json();
        let fingerprint = preview["fingerprint"].as_str().unwrap();
        let line = format!("{restore} --yes-restore {fingerprint}");
        workspace
            .annals(&line)
            .run()
            .expect(19)
            .says(&["asks for 2 approvals before it is restored"]);
        let word = format!("{line} --break-glass --reason");
        let word = || workspace.annals(&word).arg("rows are gone").run();
        policy("required = 2");
        word().expect(19).says(&["break_glass is not true"]);
        assert_eq!(server.value("SELECT count(*) FROM t1"), "4");
        policy("required = 2\nbreak_glass = true");
        word().expect(0).says(&["goes without the 2 approvals", "--review"]);
        assert_eq!(server.value("SELECT count(*) FROM t1"), "10");
        let kinds = workspace.kinds();
        let at = |kind: &str| kinds.iter().rposition(|known| known == kind).unwrap();
        assert!(at("break_glass_used") < at("run_started"), "{kinds:?}");
        let status = workspace.annals("status --json").run().expect(0).json();
        let run = status["unreviewed"][0]["run"].as_str().unwrap().to_owned();
        let review = format!("approve --review {run} --reason fine");
        workspace.annals(&review).env("ANNALS_ACTOR", "ada").run().expect(0);
        server.sql("DELETE FROM t1 WHERE id > 4");
    }
    // Beside the target nobody is asked.
    workspace.annals("restore latest --into beside").run().expect(0);
}

/// An agent of the test's own.
struct OwnAgent {
    child: Child,
    socket: std::path::PathBuf,
}

impl OwnAgent {
    fn start(folder: &std::path::Path, key: &std::path::Path) -> Self {
        let socket = folder.join("agent");
        let mut program = Command::new("ssh-agent");
        program.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
        let child = program.spawn().expect("openssh-client is installed");
        let agent = Self { child, socket };
        wait_for("the agent", || agent.socket.exists().then_some(()));
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket).stderr(Stdio::null());
        assert!(add.status().unwrap().success());
        agent
    }
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_key_in_an_ssh_agent_approves_and_brings_its_approval_in_a_file() {
    let (_server, workspace) = scene("required = 2");
    let key = workspace.path("id");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    assert!(keygen.status().unwrap().success());
    let agent = OwnAgent::start(workspace.folder(), &key);
    workspace.annals("keys approver add dee --public-key id.pub --role dba").run().expect(0);
    for name in ["ada", "ben"] {
        workspace.annals(&format!("keys approver sign --as {name}")).run().expect(0);
    }
    workspace.annals("keys approver admit").run().expect(0);
    write_plan(&workspace);
    let by_agent = |more: &str| {
        let line = format!("approve plan.json --yes --ssh-agent {more}");
        workspace.annals(&line).env("SSH_AUTH_SOCK", &agent.socket)
    };
    by_agent("--as ada").run().expect(3).says(&["none of them is on the list"]);
    by_agent("--out dee.json").run().expect(0).says(&["dee approves", "--approval dee.json"]);
    workspace.annals("approve plan.json --yes --as ben --out ben.json").run().expect(0);
    assert!(!workspace.kinds().contains(&"approval_given".to_owned()));
    let both = "migrate --plan plan.json --approval dee.json --approval ben.json";
    let good = fs::read_to_string(workspace.path("ben.json")).unwrap();
    let forged = good.replace("\"approver\":\"ben\"", "\"approver\":\"cyd\"");
    workspace.write("ben.json", forged);
    workspace.annals(both).run().expect(19).says(&["does not fit"]);
    workspace.write("ben.json", good);
    workspace.annals(both).run().expect(0).says(&["approved by ben, dee"]);
    workspace.annals("log verify").run().expect(0).says(&["2 against the pinned list"]);
}

#[test]
fn an_approval_for_another_log_is_not_taken() {
    let (_one, first) = scene("required = 1");
    let (_two, second) = scene("required = 1");
    write_plan(&first);
    first.annals("approve plan.json --yes --as ada --out ada.json").run().expect(0);
    for file in ["plan.json", "ada.json"] {
        fs::copy(first.path(file), second.path(file)).unwrap();
    }
    let told = second.annals("migrate --plan plan.json --approval ada.json").run().expect(19);
    told.says(&["another history of the log", "the server", "the list of approvers was changed"]);
}

#[test]
fn a_plan_whose_run_was_cut_short_is_gone_on_with_and_nothing_else_is() {
    let (server, workspace) = scene("required = 1");
    let wait = "CREATE TABLE t2 (id int);\nSELECT pg_advisory_xact_lock(7);";
    workspace.migration("2_t2", wait, "DROP TABLE t2;");
    approved_by(&workspace, &["ada"]);
    let gate = server.hold("SELECT pg_advisory_xact_lock(7)");
    let running = workspace.annals("migrate --plan plan.json").start();
    wait_for("the second step", || {
        let waits = "SELECT 1::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        server.rows(waits).pop()
    });
    kill(u64::from(running.pid()), "KILL");
    running.wait();
    drop(gate);
    wait_for("the backend to end", || {
        let busy = "SELECT 1::text FROM pg_stat_activity WHERE application_name LIKE 'annals/%'";
        server.rows(busy).is_empty().then_some(())
    });
    workspace.annals("migrate").run().expect(19);
    migrate(&workspace).expect(0).says(&["approved by ada"]);
    assert_eq!(tables(&server), "2");
    migrate(&workspace).expect(19).says(&["carried out already"]);
}

#[test]
fn a_rollback_has_a_plan_of_its_own_and_its_own_roles() {
    let (server, workspace) = scene("required = 1\nrollback_roles = [\"dba\"]");
    approved_by(&workspace, &["cyd"]);
    migrate(&workspace).expect(0);
    workspace.annals("rollback --last 1 --out plan.json").run().expect(0).says(&["critical"]);
    workspace.annals("migrate --plan plan.json").run().expect(19).says(&["goes down"]);
    approve(&workspace, "cyd").expect(19).says(&["cyd has none of the roles dba"]);
    approve(&workspace, "ben").expect(0);
    workspace.annals("rollback --plan plan.json").run().expect(0);
    assert_eq!(tables(&server), "1");
}
