//! `annals serve` over real connections: health, tables, performance, and who is answered.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_testkit::{
    Annals, At, Authority, Failing, Network, Running, Server, ServerOptions, Trouble, Workspace,
    wait_for,
};
use serde_json::Value;

use crate::bad_input::{NOBODY, applied, files, fresh};

/// A server under test; it ends with this value.
pub(crate) struct Served {
    running: Option<Running>,
    pub(crate) address: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Wants this code and this status, and gives the document.
    #[track_caller]
    fn is(&self, code: u16, status: &str) -> Value {
        let json = self.json();
        assert_eq!((self.status, json["status"].as_str()), (code, Some(status)), "{}", self.body);
        json
    }

    /// Every reason, `<area>: <what>`.
    fn reasons(&self) -> Vec<String> {
        let json = self.json();
        let reasons = json["reasons"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        reasons.map(|r| format!("{}: {}", text(&r["area"]), text(&r["reason"]))).collect()
    }
}

impl Served {
    /// Starts it and waits until it listens.
    pub(crate) fn start(command: Annals) -> Self {
        let mut running = command.arg("--json").start();
        let line = running.line();
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            panic!("it does not listen: {:?}", running.wait());
        };
        assert_eq!(said["format"], "annals.serve/1");
        let url = said["url"].as_str().unwrap();
        let (_, address) = url.split_once("://").unwrap();
        Self { running: Some(running), address: address.to_owned() }
    }

    pub(crate) fn of(workspace: &Workspace) -> Self {
        Self::start(workspace.annals("serve --listen 127.0.0.1:0"))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends these bytes and reads until the connection ends.
    fn send(&self, text: &str) -> Reply {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        Reply::read(&reply)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, more: &str) -> Reply {
        let host = &self.address;
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
        ))
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "")
    }

    /// Asks it to stop, and wants it to.
    fn stop(mut self) -> String {
        let running = self.running.take().unwrap();
        running.signal("TERM");
        running.wait().expect(0).err
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal("KILL");
            running.wait();
        }
    }
}

/// A workspace whose answers are kept for a tenth of a second only.
pub(crate) fn configured(workspace: &Workspace, more: &str) {
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", format!("{config}\n{more}"));
}

pub(crate) fn quick(workspace: &Workspace) {
    configured(workspace, "[health]\ncache = \"100ms\"\n");
}

/// Asks until the answer is as wanted: what was answered a moment ago may be given again.
#[track_caller]
fn until(served: &Served, path: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
    wait_for(path, || {
        let reply = served.get(path);
        wanted(&reply).then_some(reply)
    })
}

#[test]
fn a_target_that_is_well_says_so_everywhere_and_nothing_is_written() {
    let (server, workspace) = applied(2);
    workspace.annals("verify").run().expect(0);
    workspace.annals("backup").run().expect(0);
    let before = files(workspace.folder());
    let rows = server.value("SELECT count(*) FROM annals.ledger");
    let served = Served::start(workspace.annals("serve --listen 127.0.0.1:0 -v"));
    assert_eq!(served.get("/livez").is(200, "ok")["format"], "annals.live/1");
    assert_eq!(served.get("/readyz").is(200, "ok")["format"], "annals.ready/1");
    for path in ["/health", "/health/db", "/health/supabase"] {
        let reply = served.get(path);
        let health = reply.is(200, "ok");
        assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
        assert!(reply.head.contains("cache-control: no-store"), "{}", reply.head);
        assert_eq!(health["format"], "annals.health/1");
        assert_eq!(health["target"], "db");
        assert_eq!(health["database"]["reachable"], true);
        assert_eq!(health["migrations"]["applied"], 2);
        assert_eq!(health["migrations"]["pending"], serde_json::json!([]));
        assert_eq!(health["integrity"]["result"], "passed");
        assert_eq!(health["log"]["verified"], true);
        assert_eq!(health["log"]["signed"], health["log"]["events"]);
        assert_eq!(health["backups"]["usable"], 1);
        assert!(health["backups"]["last"]["bytes"].as_u64().unwrap() > 0);
        assert_eq!(health["last_run"]["outcome"], "succeeded");
    }
    let tables = served.get("/health/db/tables").is(200, "ok");
    let names: Vec<&str> =
        tables["tables"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["t1", "t2"]);
    let performance = served.get("/health/db/performance").is(200, "ok");
    assert!(performance["activity"]["connections"]["max"].as_i64().unwrap() > 0);
    assert!(performance["activity"]["wraparound"]["xid_age"].as_i64().unwrap() > 0);
    assert_eq!(performance["storage"]["invalid_indexes"], serde_json::json!([]));
    let timeline = served.get("/timeline").json();
    assert_eq!(timeline["format"], "annals.timeline/1");
    assert_eq!(timeline["events"][0]["kind"], "log_created");
    let head = served.ask("HEAD", "/health", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let said = served.stop();
    assert!(said.contains("path=\"/health/db\"") && said.contains("status=200"), "{said}");
    assert_eq!(files(workspace.folder()), before, "something was written");
    assert_eq!(server.value("SELECT count(*) FROM annals.ledger"), rows);
}

#[test]
fn what_is_not_there_is_not_found_and_nothing_can_be_changed() {
    let workspace = Workspace::with_url(NOBODY);
    let served = Served::of(&workspace);
    for path in [
        "/",
        "/health/nobody",
        "/health/nobody/tables",
        "/health/db/x",
        "/metrics/",
        "/timeline/x",
        "/health/%00",
    ] {
        let reply = served.get(path);
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.json()["format"], "annals.error/1", "{path}");
        assert!(reply.json()["hint"].as_str().unwrap().contains("there are"), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for path in ["/health", "/nowhere"] {
            let reply = served.ask(method, path, "Content-Length: 0\r\n");
            assert_eq!(reply.status, 405, "{method} {path}");
            assert!(reply.head.contains("allow: get, head"), "{}", reply.head);
            assert_eq!(reply.json()["format"], "annals.error/1");
        }
    }
}

#[test]
fn a_name_that_is_not_ours_is_not_answered() {
    let workspace = Workspace::with_url(NOBODY);
    let served =
        Served::start(workspace.annals("serve --listen 127.0.0.1:0 --host metrics.example"));
    let as_host = |host: &str| {
        let text = format!("GET /livez HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        served.send(&text).status
    };
    for ours in ["localhost", "127.0.0.1:1", "metrics.example:443", "[::1]"] {
        assert_eq!(as_host(&format!("Host: {ours}\r\n")), 200, "{ours}");
    }
    for foreign in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"] {
        assert_eq!(as_host(&format!("Host: {foreign}\r\n")), 421, "{foreign}");
    }
    assert_eq!(as_host(""), 421);
    assert_eq!(as_host("Host: localhost\r\nHost: evil.example\r\n"), 421);
}

#[test]
fn heads_that_are_too_large_or_never_end_are_not_waited_for() {
    let workspace = Workspace::with_url(NOBODY);
    let served = Served::of(&workspace);
    let large = format!("X-Large: {}\r\n", "x".repeat(40_000));
    let mut stream = served.connect();
    let text = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{large}\r\n");
    // It may have hung up before all of it was sent.
    let _ = stream.write_all(text.as_bytes());
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply);
    assert!(!reply.contains("200 OK"), "{reply}");
    let began = Instant::now();
    let mut slow = served.connect();
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").unwrap();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(served.get("/livez").status, 200);
}

#[test]
fn pending_changed_and_missing_files_are_degraded_and_named() {
    let (_server, workspace) = applied(2);
    quick(&workspace);
    let served = Served::of(&workspace);
    served.get("/health").is(200, "ok");
    workspace.tables(3);
    let reply = until(&served, "/health", |reply| reply.json()["status"] == "degraded");
    let health = reply.is(200, "degraded");
    assert_eq!(health["migrations"]["pending"], serde_json::json!(["3_t3"]));
    assert_eq!(reply.reasons(), ["migrations: 1 migration is pending: 3_t3"]);
    workspace.write("migrations/1_t1.sql", "CREATE TABLE other (id int);");
    fs::remove_file(workspace.path("migrations/2_t2.sql")).unwrap();
    fs::remove_file(workspace.path("rollbacks/2_t2_rollback.sql")).unwrap();
    let reply = until(&served, "/health", |reply| reply.body.contains("the file is gone"));
    assert_eq!(reply.status, 200);
    assert!(
        reply.body.contains("1 migration is applied, and the file says something else now: 1_t1")
    );
    workspace.write("migrations/4 wrong.sql", "SELECT 1;");
    let reply = until(&served, "/health", |reply| reply.body.contains("\"files\""));
    reply.is(200, "degraded");
}

#[test]
fn a_database_that_is_down_is_failing_and_the_log_still_speaks() {
    let (mut server, workspace) = applied(1);
    quick(&workspace);
    let served = Served::of(&workspace);
    served.get("/health").is(200, "ok");
    server.crash();
    let reply = until(&served, "/health", |reply| reply.status == 503);
    let health = reply.is(503, "failing");
    assert_eq!(health["database"]["reachable"], false);
    assert_eq!(health["migrations"]["applied"], 1);
    assert!(reply.reasons()[0].starts_with("database: cannot reach"), "{:?}", reply.reasons());
    served.get("/health/db/tables").is(503, "failing");
    served.get("/health/db/performance").is(503, "failing");
    assert_eq!(served.get("/livez").status, 200);
    assert_eq!(served.get("/readyz").status, 200);
    server.start_again();
    until(&served, "/health", |reply| reply.status == 200).is(200, "ok");
}

#[test]
fn a_database_that_says_nothing_hangs_nobody() {
    let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
    let failing = Failing { trouble: Trouble::BlackHole, at: At::Once, arrives: false };
    let network = Network::before(server.tcp_port(), failing);
    let url = server
        .tcp_url()
        .replace(&format!(":{}/", server.tcp_port()), &format!(":{}/", network.port()));
    let workspace = Workspace::with_url(&url);
    configured(&workspace, "[health]\ncache = \"100ms\"\ntimeout = \"500ms\"\n");
    let served = Served::of(&workspace);
    for path in ["/health", "/health/db/tables", "/health/db/performance"] {
        let began = Instant::now();
        let reply = served.get(path);
        reply.is(503, "failing");
        assert!(began.elapsed() < Duration::from_secs(10), "{path}: {:?}", began.elapsed());
        assert!(reply.reasons().contains(&"database: no answer within 500 ms".to_owned()));
    }
    network.heal();
    until(&served, "/health", |reply| reply.status == 200).is(200, "ok");
}

#[test]
fn drift_that_was_recorded_is_told() {
    let (server, workspace) = applied(1);
    quick(&workspace);
    let served = Served::of(&workspace);
    served.get("/health").is(200, "ok");
    server.sql("ALTER TABLE t1 ADD COLUMN by_hand int");
    workspace.annals("drift").run().expect(16);
    let reply = until(&served, "/health", |reply| reply.json()["drift"].is_object());
    let health = reply.is(200, "degraded");
    assert!(health["drift"]["objects"].as_u64().unwrap() >= 1);
    assert!(reply.reasons()[0].starts_with("drift: "), "{:?}", reply.reasons());
}

#[test]
fn a_run_that_was_killed_is_told_and_not_settled() {
    let (server, workspace) = fresh();
    workspace.tables(2);
    let killed = workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_intent");
    killed.run().expect(-1);
    quick(&workspace);
    let served = Served::of(&workspace);
    // The server may still be rolling back for the client that is gone.
    let reply = until(&served, "/health", |reply| reply.body.contains("was cut short"));
    let health = reply.is(200, "degraded");
    assert_eq!(health["in_doubt"], serde_json::json!(["1_t1"]));
    assert!(health["open_run"]["by"] == "tester", "{health}");
    assert!(!workspace.kinds().contains(&"step_reconciled".to_owned()));
    workspace.annals("status").run().expect(0);
    until(&served, "/health", |reply| !reply.body.contains("was cut short"));
    drop(server);
}

#[test]
fn a_log_that_was_altered_is_failing() {
    let (_server, workspace) = applied(1);
    let served = Served::of(&workspace);
    let bytes = fs::read(workspace.segment()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    fs::write(workspace.segment(), text.replacen("tester", "nobody", 1)).unwrap();
    let reply = served.get("/health");
    let health = reply.is(503, "failing");
    assert_eq!(health["log"], Value::Null);
    assert!(reply.reasons()[0].starts_with("log: "), "{:?}", reply.reasons());
}

#[test]
fn a_ledger_without_its_log_is_failing() {
    let (_server, workspace) = applied(1);
    fs::rename(workspace.path("event-store"), workspace.path("elsewhere")).unwrap();
    let reply = Served::of(&workspace).get("/health");
    reply.is(503, "failing");
    assert!(reply.body.contains("with a log that is not here"), "{}", reply.body);
}

#[test]
fn groups_of_tables_are_looked_at_by_name_without_waiting_for_a_lock() {
    let (server, workspace) = applied(2);
    server.sql("ALTER TABLE t1 ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t1 USING (true)");
    server.sql("INSERT INTO t1 SELECT generate_series(1, 1000)");
    server.sql("VACUUM ANALYZE t1");
    let groups = "[groups.both]\ntables = [\"public.t1\", \"t2\"]\n\
        [groups.gone]\ntables = [\"public.t1\", \"public.nobody\"]\ntarget = \"db\"\n";
    quick(&workspace);
    configured(&workspace, groups);
    let served = Served::of(&workspace);
    // Statistics come late on a server before 15.
    let both = until(&served, "/health/both", |reply| {
        let table = &reply.json()["tables"][0];
        table["vacuumed_at"].is_string() && table["analyzed_at"].is_string()
    });
    let both = both.is(200, "ok");
    assert_eq!((both["group"].as_str(), both["count"].as_u64()), (Some("both"), Some(2)));
    let first = &both["tables"][0];
    assert_eq!(first["name"], "t1");
    assert_eq!(first["rows_about"], 1000);
    assert_eq!((first["rls"].as_bool(), first["policies"].as_i64()), (Some(true), Some(1)));
    assert!(first["bytes_about"].as_i64().unwrap() > 0);
    assert!(first["vacuumed_at"].is_string() && first["analyzed_at"].is_string(), "{first}");
    assert_eq!(first["accessible"], true);
    let gone = served.get("/health/gone");
    assert_eq!(gone.is(503, "failing")["missing"], serde_json::json!(["public.nobody"]));
    assert_eq!(served.get("/health/both/tables").status, 404);
    // `VACUUM FULL`, `ALTER TABLE`: nothing may read the table now.
    let held = server.hold("LOCK TABLE t1 IN ACCESS EXCLUSIVE MODE");
    let began = Instant::now();
    let reply = until(&served, "/health/both", |reply| reply.json()["status"] == "degraded");
    reply.is(200, "degraded");
    assert!(reply.reasons()[0].contains("locked against reading: public.t1"), "{reply:?}");
    assert_eq!(reply.json()["tables"][0]["accessible"], false);
    assert_eq!(served.get("/health/db/tables").status, 200);
    assert_eq!(served.get("/health/db/performance").status, 200);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(held);
}

#[test]
fn lock_waits_and_long_queries_are_told_without_what_they_say() {
    let (server, workspace) = applied(1);
    configured(&workspace, "[health]\ncache = \"100ms\"\nlong_query = \"500ms\"\n");
    let held = server.hold("LOCK TABLE t1 IN ACCESS EXCLUSIVE MODE; SELECT 'CANARY-1'");
    let served = Served::of(&workspace);
    std::thread::scope(|scope| {
        let url = server.url();
        let waiting = scope.spawn(move || {
            let query = "SELECT 'CANARY-2' FROM t1";
            std::process::Command::new("psql").arg(url).args(["-c", query]).output().unwrap()
        });
        let reply = until(&served, "/health/db/performance", |reply| {
            let activity = &reply.json()["activity"];
            activity["lock_wait_count"] == 1 && activity["long_count"].as_i64() >= Some(2)
        });
        let activity = &reply.is(200, "degraded")["activity"];
        let wait = &activity["lock_waits"][0];
        assert_eq!(
            (wait["relation"].as_str(), wait["mode"].as_str()),
            (Some("t1"), Some("AccessShareLock"))
        );
        assert_eq!(wait["blocked_by"].as_array().unwrap().len(), 1);
        assert!(!reply.body.contains("CANARY"), "{}", reply.body);
        drop(held);
        assert!(waiting.join().unwrap().status.success());
    });
}

#[test]
fn an_index_that_is_not_valid_and_rows_nobody_needs_are_told() {
    let (server, workspace) = applied(1);
    quick(&workspace);
    server.sql(
        "CREATE TABLE wide (id int, text text); \
         INSERT INTO wide SELECT n, repeat('x', 200) FROM generate_series(1, 20000) n; \
         CREATE INDEX wide_text ON wide (text, id); ANALYZE wide; \
         DELETE FROM wide WHERE id % 10 > 0",
    );
    server.sql("VACUUM ANALYZE wide");
    server.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'wide_text'::regclass");
    let served = Served::of(&workspace);
    let reply = until(&served, "/health/db/performance", |reply| {
        reply.json()["storage"]["unused_indexes"][0]["index"] == "public.wide_text"
    });
    let storage = &reply.is(200, "degraded")["storage"];
    assert_eq!(storage["invalid_indexes"][0]["index"], "public.wide_text");
    let bloat = &storage["bloat"][0];
    assert_eq!(bloat["table"], "public.wide");
    let (all, wasted) = (&bloat["bytes_about"], &bloat["wasted_bytes_about"]);
    let share = wasted.as_f64().unwrap() / all.as_f64().unwrap();
    assert!((0.8..0.95).contains(&share), "nine of ten rows are gone: {bloat}");
}

#[test]
fn five_hundred_probes_are_one_look() {
    let (server, workspace) = applied(1);
    configured(&workspace, "[health]\ncache = \"1h\"\n");
    server.sql("ALTER SYSTEM SET log_connections = on");
    server.sql("ALTER SYSTEM SET log_line_prefix = '%a|'");
    server.sql("SELECT pg_reload_conf()");
    let log = server.folder().join("server.log");
    let looks =
        || fs::read_to_string(&log).unwrap().matches("application_name=annals/serve").count();
    let served = Served::of(&workspace);
    wait_for("the new setting", || {
        server.value("SELECT 1");
        fs::read_to_string(&log).unwrap().contains("connection authorized").then_some(())
    });
    let before = looks();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(served.get("/health").status, 200);
                }
            });
        }
    });
    assert_eq!(looks() - before, 1);
    // Whoever asks and goes at once makes no more of them.
    for _ in 0..50 {
        let mut stream = served.connect();
        let text = "GET /health/db/tables HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    assert_eq!(served.get("/health/db/tables").status, 200);
    assert_eq!(looks() - before, 2);
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_token_that_is_asked_for_is_needed_for_everything() {
    let workspace = Workspace::with_url(NOBODY);
    let file = workspace.path("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let serve = || workspace.annals("serve --listen 127.0.0.1:0 -v --token-file").arg(&file);
    serve().run().expect(3).says(&["chmod 600"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "short").unwrap();
    serve().run().expect(3).says(&["16 or more", "openssl rand"]);
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let served = Served::start(serve());
    for path in ["/livez", "/health", "/metrics", "/nowhere"] {
        for more in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic x\r\n"] {
            let reply = served.ask("GET", path, more);
            assert_eq!(reply.status, 401, "{path} {more}");
            assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
        }
    }
    let shown = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(served.ask("GET", "/livez", &shown).status, 200);
    assert_eq!(served.ask("GET", "/nowhere?CANARY=1", &shown).status, 404);
    let said = served.stop();
    assert!(!said.contains(TOKEN) && !said.contains("CANARY"), "{said}");
    let by_variable = || workspace.annals("serve --listen 127.0.0.1:0");
    let served = Served::start(by_variable().env("ANNALS_SERVE_TOKEN", TOKEN));
    assert_eq!(served.get("/livez").status, 401);
    assert_eq!(served.ask("GET", "/livez", &shown).status, 200);
}

#[test]
fn off_this_machine_nobody_listens_without_tls_and_a_token() {
    let workspace = Workspace::with_url(NOBODY);
    let certificate = Authority::new();
    let certified = certificate.certify("db.example");
    let token = |command: Annals| command.env("ANNALS_SERVE_TOKEN", TOKEN);
    let open = || workspace.annals("serve --listen 0.0.0.0:0");
    let tls = |command: Annals| {
        command.arg("--tls-cert").arg(&certified.certificate).arg("--tls-key").arg(&certified.key)
    };
    open().run().expect(3).says(&["no TLS and no token", "--tls-cert", "127.0.0.1"]);
    token(open()).run().expect(3).says(&["no TLS:"]);
    tls(open()).run().expect(3).says(&["no token:"]);
    let served = Served::start(tls(token(open())).args("--host db.example"));
    assert!(served.address.starts_with("0.0.0.0:"), "{}", served.address);
    let swapped = workspace.annals("serve --tls-cert").arg(&certified.key).arg("--tls-key");
    swapped.arg(&certified.certificate).run().expect(3).says(&["no certificate"]);
    workspace.annals("serve --tls-cert x").run().expect(2);
}

#[test]
fn tls_is_spoken_to_whoever_trusts_the_certificate_and_nothing_else() {
    let (_server, workspace) = applied(1);
    let authority = Authority::new();
    let certified = authority.certify("localhost");
    let command = workspace.annals("serve --listen 127.0.0.1:0 --tls-cert");
    let command = command.arg(&certified.certificate).arg("--tls-key").arg(&certified.key);
    let served = Served::start(command.env("ANNALS_SERVE_TOKEN", TOKEN));
    let mut roots = rustls::RootCertStore::empty();
    let text = fs::read(authority.file()).unwrap();
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&text).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let ask = |token: &str| {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, served.connect());
        let text = format!(
            "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        Reply::read(&reply)
    };
    ask(TOKEN).is(200, "ok");
    assert_eq!(ask("wrong").status, 401);
    // Who speaks no TLS gets no HTTP either.
    let mut plain = served.connect();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    let _ = plain.read_to_end(&mut reply);
    assert!(!reply.starts_with(b"HTTP"), "{reply:?}");
}

#[test]
fn a_stop_finishes_what_was_begun() {
    let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
    let failing = Failing { trouble: Trouble::BlackHole, at: At::Once, arrives: false };
    let network = Network::before(server.tcp_port(), failing);
    let port = format!(":{}/", network.port());
    let workspace =
        Workspace::with_url(&server.tcp_url().replace(&format!(":{}/", server.tcp_port()), &port));
    configured(&workspace, "[health]\ntimeout = \"1s\"\n");
    let mut served = Served::of(&workspace);
    let mut stream = served.connect();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    // The look has begun when a probe of another address was answered behind it.
    served.get("/livez");
    let running = served.running.take().unwrap();
    running.signal("TERM");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    Reply::read(&reply).is(503, "failing");
    running.wait().expect(0);
}
