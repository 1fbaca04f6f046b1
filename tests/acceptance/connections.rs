//! Ways to a target: what libpq's users have set up, poolers, standbys, networks that fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use annals_testkit::{
    Annals, At, Cut, Failing, Network, Outcome, PoolMode, Pooler, PoolerOptions, Proxy, Server,
    ServerOptions, Standby, Trouble, Workspace, wait_for,
};

use crate::bad_input::{ON_A_TARGET, catalog, keeps_secret, no_trace, refuses};

fn tcp_server() -> Server {
    Server::start_with(ServerOptions { tcp: true, ..Default::default() })
}

/// A workspace with tables to make, whose patience is short.
fn impatient(url: &str, tables: usize) -> Workspace {
    patient_for("1s", url, tables)
}

fn patient_for(silence: &str, url: &str, tables: usize) -> Workspace {
    let workspace = Workspace::with_url(url);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let timeouts = format!("[timeouts]\nsilence = \"{silence}\"\n");
    workspace.write("annals.toml", config.replace("[timeouts]\n", &timeouts));
    workspace.tables(tables);
    workspace
}

fn through(network: &Network, server: &Server) -> String {
    server.tcp_url().replace(&format!(":{}/", server.tcp_port()), &format!(":{}/", network.port()))
}

/// Through a network one waits for no more than a second for a connection.
fn annals(workspace: &Workspace, line: &str) -> Annals {
    workspace.annals(line).env("PGCONNECT_TIMEOUT", "1")
}

#[track_caller]
fn tables(server: &Server, expected: &[&str]) {
    let query = "SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]$' ORDER BY 1";
    assert_eq!(server.rows(query), expected);
}

/// Everything is applied, once, and log, ledger and schema agree on it.
#[track_caller]
fn all_is_well(workspace: &Workspace, server: &Server) {
    tables(server, &["t1", "t2", "t3"]);
    assert_eq!(server.rows("SELECT version FROM annals.ledger ORDER BY 1"), ["1", "2", "3"]);
    annals(workspace, "verify").run().expect(0);
    annals(workspace, "log verify").run().expect(0);
}

// --- networks that fail --------------------------------------------------------------------------

#[test]
fn a_black_hole_is_left_within_the_time_that_was_set() {
    let server = tcp_server();
    let failing = Failing { trouble: Trouble::BlackHole, at: At::Once, arrives: false };
    let network = Network::before(server.tcp_port(), failing);
    let workspace = impatient(&through(&network, &server), 1);
    let pattern = format!(
        "cannot reach 127.0.0.1:{}: no answer within 1 s … check host, port",
        network.port()
    );
    for line in ON_A_TARGET {
        refuses(|| annals(&workspace, line), 7, &pattern);
    }
    no_trace(&workspace);
    assert_eq!(catalog(&server), [""; 0]);
}

#[test]
fn a_network_that_dies_in_the_middle_of_a_step_leaves_nothing_of_it() {
    for (trouble, arrives) in [
        (Trouble::BlackHole, false),
        (Trouble::BlackHole, true),
        (Trouble::DeadConnection, false),
        (Trouble::DeadConnection, true),
        (Trouble::HalfOpen, true),
        (Trouble::Reset, true),
    ] {
        let server = tcp_server();
        let failing = Failing { trouble, at: At::Text("CREATE TABLE t2"), arrives };
        let network = Network::before(server.tcp_port(), failing);
        let workspace = impatient(&through(&network, &server), 3);
        let stopped = annals(&workspace, "migrate").run();
        // The session was lost before its transaction was known to be open, or in a statement; an
        // answer that was on its way already leads to a commit nobody answers.
        let codes = if arrives { &[4, 6, 7][..] } else { &[4, 7] };
        assert!(codes.contains(&stopped.code), "{failing:?}: {} {}", stopped.code, stopped.err);
        assert!(stopped.err.contains("the connection was lost"), "{failing:?}: {}", stopped.err);
        network.heal();
        annals(&workspace, "migrate").run().expect(0);
        all_is_well(&workspace, &server);
    }
}

/// A run of three whose network fails at the commit of the second; what it said.
fn at_the_second_commit(trouble: Trouble, arrives: bool) -> (Server, Network, Workspace, Outcome) {
    let server = tcp_server();
    let failing = Failing { trouble, at: At::Commit(2), arrives };
    let network = Network::before(server.tcp_port(), failing);
    let workspace = impatient(&through(&network, &server), 3);
    let stopped = annals(&workspace, "migrate").run();
    assert!(network.has_failed());
    (server, network, workspace, stopped)
}

/// The commit of the second step goes into a black hole, or comes out at the server only.
fn in_doubt_until_the_network_is_back(arrives: bool, fate: &str, there: &[&str]) {
    let (server, network, workspace, stopped) = at_the_second_commit(Trouble::BlackHole, arrives);
    stopped.expect(6);
    annals(&workspace, "status").run().expect(7);
    network.heal();
    wait_for("the end of the lost backend", || {
        let query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%'";
        server.rows(query).is_empty().then_some(())
    });
    let settled = annals(&workspace, "status").run().expect(0);
    settled.says(&["cut short: 2_t2", fate]);
    tables(&server, there);
    annals(&workspace, "migrate").run().expect(0);
    all_is_well(&workspace, &server);
}

#[test]
fn a_commit_into_a_black_hole_is_in_doubt_until_the_network_is_back() {
    in_doubt_until_the_network_is_back(false, "had left nothing", &["t1"]);
}

#[test]
fn a_commit_whose_answer_a_black_hole_takes_is_in_doubt_until_the_network_is_back() {
    in_doubt_until_the_network_is_back(true, "had taken effect", &["t1", "t2"]);
}

#[test]
fn a_commit_on_a_connection_that_dies_alone_is_settled_at_once() {
    for (trouble, arrives) in [
        (Trouble::DeadConnection, false),
        (Trouble::DeadConnection, true),
        (Trouble::HalfOpen, true),
        (Trouble::HalfOpen, false),
        (Trouble::Reset, true),
    ] {
        let (server, _network, workspace, stopped) = at_the_second_commit(trouble, arrives);
        // It took effect and the run has no session for the next step, or it left nothing.
        let took_effect = server.value("SELECT count(*) FROM annals.ledger") == "2";
        let expected = if took_effect { 7 } else { 4 };
        assert_eq!(stopped.code, expected, "{trouble:?} {arrives}: {}", stopped.err);
        annals(&workspace, "migrate").run().expect(0);
        all_is_well(&workspace, &server);
    }
}

#[test]
fn a_slow_network_is_not_given_up() {
    let server = tcp_server();
    let late = Trouble::Delay(std::time::Duration::from_secs(2));
    let failing = Failing { trouble: late, at: At::Commit(2), arrives: false };
    let network = Network::before(server.tcp_port(), failing);
    let workspace = patient_for("3s", &through(&network, &server), 3);
    workspace.migration("2_t2", "CREATE TABLE t2 (); SELECT pg_sleep(5);", "DROP TABLE t2;");
    annals(&workspace, "migrate").run().expect(0);
    assert!(network.has_failed());
    all_is_well(&workspace, &server);
}

#[test]
fn a_patience_that_is_none_is_refused() {
    let server = Server::start();
    let workspace = impatient(&server.url(), 1);
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config.replace("\"1s\"", "\"0\""));
    let told = workspace.annals("status").run().expect(3);
    told.says(&["timeouts.silence: \"0\" is too short: 100ms is the least"]);
}

// --- poolers -------------------------------------------------------------------------------------

#[test]
fn through_a_pool_of_sessions_everything_works() {
    let server = Server::start();
    let options = PoolerOptions { mode: PoolMode::Session, size: 5, in_turn: false };
    let pooler = Pooler::before(&server, options);
    let workspace = Workspace::with_url(&pooler.url());
    workspace.tables(3);
    for line in ["plan", "migrate", "status", "verify", "rollback --last 1", "migrate"] {
        workspace.annals(line).run().expect(0);
    }
    tables(&server, &["t1", "t2", "t3"]);
    assert_eq!(server.value("SELECT count(*) FROM annals.ledger"), "5");
}

/// What stands between the run and the server, and loses the answer to the second commit.
#[derive(Debug, Clone, Copy)]
enum Between {
    /// A PgBouncer whose server connection is cut: it says so itself, in the place of the answer.
    Pooler,
    /// A server that says that it panics, and is gone.
    Dying,
}

#[test]
fn who_has_lost_the_server_gives_no_verdict_on_a_commit() {
    for (between, cut, arrives) in [
        (Between::Pooler, Cut::AfterCommit, true),
        (Between::Pooler, Cut::BeforeCommit, false),
        (Between::Dying, Cut::Panic, true),
    ] {
        let server = tcp_server();
        let proxy = Proxy::start(server.tcp_port(), cut, 2);
        let options = PoolerOptions { mode: PoolMode::Session, size: 5, in_turn: false };
        let (url, _pooler) = match between {
            Between::Pooler => {
                let pooler = Pooler::before_proxy(&proxy, options);
                (pooler.url(), Some(pooler))
            }
            Between::Dying => {
                let own = format!(":{}/", server.tcp_port());
                (server.tcp_url().replace(&own, &format!(":{}/", proxy.port())), None)
            }
        };
        let workspace = Workspace::with_url(&url);
        workspace.tables(3);
        let stopped = workspace.annals("migrate").run();
        let took_effect = server.value("SELECT count(*) FROM annals.ledger") == "2";
        assert_eq!(took_effect, arrives, "{between:?}, {cut:?}: {}{}", stopped.out, stopped.err);
        let expected = if arrives { 7 } else { 4 };
        assert_eq!(stopped.code, expected, "{between:?}, {cut:?}: {}{}", stopped.out, stopped.err);
        tables(&server, if arrives { &["t1", "t2"] } else { &["t1"] });
        workspace.annals("migrate").run().expect(0);
        all_is_well(&workspace, &server);
    }
}

#[test]
fn a_session_that_somebody_ends_is_not_the_fault_of_the_file() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let ends = "CREATE TABLE t1 (id int);\nSELECT pg_terminate_backend(pg_backend_pid());\n";
    workspace.migration("1_t1", ends, "DROP TABLE t1;\n");
    let stopped = workspace.annals("migrate").run().expect(7);
    stopped.says(&["57P01", "continue with: annals migrate"]);
    tables(&server, &[]);
    workspace.migration("1_t1", "CREATE TABLE t1 (id int);\n", "DROP TABLE t1;\n");
    workspace.annals("migrate").run().expect(0);
    tables(&server, &["t1"]);
}

#[test]
fn through_a_pooler_of_less_one_can_look_and_nothing_else() {
    let server = Server::start();
    for (mode, unit) in
        [(PoolMode::Transaction, "single transactions"), (PoolMode::Statement, "single statements")]
    {
        let options = PoolerOptions { mode, size: 3, in_turn: false };
        let pooler = Pooler::before(&server, options);
        let workspace = Workspace::with_url(&pooler.url());
        workspace.tables(3);
        let pattern = format!(
            "leads to a connection pooler that hands out {unit}, not sessions … use the address of \
             the server itself, or of a pool in session mode"
        );
        for line in ["migrate", "verify"] {
            refuses(|| workspace.annals(line), 7, &pattern);
        }
        no_trace(&workspace);
        assert_eq!(catalog(&server), [""; 0]);
        if mode == PoolMode::Transaction {
            for _ in 0..3 {
                workspace.annals("plan").run().expect(0).says(&["3 steps up"]);
                workspace.annals("status").run().expect(0).says(&["3_t3"]);
            }
        }
    }
    let held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(server.rows(held), [""; 0]);
}

// --- servers that take no writes -----------------------------------------------------------------

#[test]
fn a_standby_can_be_looked_at_and_is_not_written_to() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate").run().expect(0);
    let standby = Standby::of(&server);
    workspace.tables(3);
    let on_standby = |line: &str| workspace.annals(line).env("TEST_URL", standby.url());
    let pattern = "is a standby: it takes no writes … use the URL of the primary";
    let before = workspace.kinds();
    for line in ["migrate", "rollback --last 1"] {
        refuses(|| on_standby(line), 7, pattern);
    }
    assert_eq!(workspace.kinds(), before);
    on_standby("status").run().expect(0).says(&["pending", "3_t3"]);
    on_standby("plan").run().expect(0).says(&["1 step up"]);
    on_standby("history").run().expect(0);
    on_standby("verify").run().expect(0).says(&["passed"]);
    assert_eq!(workspace.kinds().last().unwrap(), "integrity_checked");
    workspace.annals("migrate").run().expect(0);
    standby.catches_up(&server);
    on_standby("verify").run().expect(0);
    all_is_well(&workspace, &server);
}

#[test]
fn a_run_that_was_cut_short_is_not_settled_on_a_standby() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(1);
    workspace.annals("migrate").run().expect(0);
    let standby = Standby::of(&server);
    workspace.tables(3);
    workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_commit").run().expect(-1);
    standby.catches_up(&server);
    let on_standby = |line: &str| workspace.annals(line).env("TEST_URL", standby.url());
    let before = workspace.kinds();
    on_standby("status").run();
    refuses(|| on_standby("verify"), 7, "is a standby: it takes no writes");
    assert_eq!(workspace.kinds(), before);
    workspace.annals("status").run().expect(0).says(&["recovered", "had taken effect"]);
    workspace.annals("migrate").run().expect(0);
    all_is_well(&workspace, &server);
}

#[test]
fn a_role_that_may_only_read_is_told_why() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(3);
    server.sql("ALTER ROLE postgres SET default_transaction_read_only = on");
    let pattern = "is read-only (default_transaction_read_only is on): it takes no writes";
    refuses(|| workspace.annals("migrate"), 7, pattern);
    workspace.annals("plan").run().expect(0);
    server.sql("BEGIN READ WRITE; ALTER ROLE postgres RESET default_transaction_read_only; COMMIT");
    workspace.annals("migrate").run().expect(0);
    all_is_well(&workspace, &server);
}

// --- as libpq's users expect ---------------------------------------------------------------------

#[test]
fn a_service_a_password_file_and_variables_are_found_where_psql_finds_them() {
    let server = tcp_server();
    let workspace = Workspace::with_url("service=shop");
    workspace.tables(3);
    let port = server.tcp_port();
    // The home of a command in a test is its folder.
    workspace.write(
        ".pg_service.conf",
        format!("[shop]\nhost=127.0.0.1\nport={port}\nuser=postgres\ndbname=postgres\n"),
    );
    let login = "refuses the login of \"postgres\" … ~/.pgpass";
    refuses(|| workspace.annals("status"), 7, login);
    workspace.write(".pgpass", format!("127.0.0.1:{port}:*:postgres:{}\n", Server::PASSWORD));
    let file = workspace.path(".pgpass");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = workspace.annals("status").run().expect(7);
    exposed.says(&["is not used: others may read it; chmod 600"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    workspace.annals("migrate").run().expect(0);
    all_is_well(&workspace, &server);

    let port = port.to_string();
    let by_variables = |line: &str| {
        let command =
            workspace.annals(line).env("TEST_URL", "postgres://").env("PGHOST", "127.0.0.1");
        command.env("PGPORT", &port).env("PGUSER", "postgres").env("PGDATABASE", "postgres")
    };
    by_variables("status").run().expect(0);
    by_variables("status").env("PGPASSWORD", "wrong").run().expect(7);
    let refused = by_variables("status").env("PGSSLMODE", "verify-full").run().expect(7);
    refused.says(&["does not speak TLS; nothing was sent to it"]);
    fs::remove_file(&file).unwrap();
    by_variables("status").env("PGPASSWORD", Server::PASSWORD).run().expect(0);
    let text = format!("host=127.0.0.1 port={port} user=postgres password='{}'", Server::PASSWORD);
    workspace.annals("status").env("TEST_URL", text).run().expect(0);
}

#[test]
fn what_is_not_understood_of_a_connection_is_named_and_no_value_is() {
    let workspace = Workspace::with_url("service=shop");
    workspace.tables(1);
    let mut told = Vec::new();
    for (text, pattern) in [
        ("host=h sslmod=CANARY", "the variable TEST_URL: \"sslmod\" is no connection parameter"),
        ("postgres://u:CANARY@h/d?pgbouncer=true", "\"pgbouncer\" is no connection parameter"),
        ("postgres://u:CANARY@h/d?channel_binding=require", "give it one of: disable, prefer"),
        ("service=nowhere", "the service \"nowhere\" is defined in none of"),
        ("host=h password=two CANARY words", "TEST_URL holds no PostgreSQL URL"),
    ] {
        for line in ON_A_TARGET {
            told.extend(refuses(|| workspace.annals(line).env("TEST_URL", text), 7, pattern));
        }
        told.push(workspace.annals("status -vv").env("TEST_URL", text).run().expect(7));
    }
    keeps_secret("CANARY", &told);
    no_trace(&workspace);
}

#[test]
fn a_key_of_supabase_in_place_of_the_password_is_not_sent_and_not_printed() {
    let server = tcp_server();
    let network = Network::sound(server.tcp_port());
    let keys = [
        ("eyJhbGciOiJIUzI1NiJ9.CANARY.c2lnbmF0dXJl", "service_role key of the Supabase API"),
        ("sb_secret_CANARY", "a secret key of the Supabase API"),
        ("sbp_CANARY", "an access token of the Supabase API"),
    ];
    let mut told = Vec::new();
    for (key, what) in keys {
        let url = through(&network, &server).replace(Server::PASSWORD, key);
        let workspace = Workspace::with_url(&url);
        workspace.tables(1);
        let pattern = format!("{what}, not the password of a database role … Reset database");
        for line in ON_A_TARGET {
            told.extend(refuses(|| workspace.annals(line), 7, &pattern));
        }
        told.push(workspace.annals("migrate -vv").run().expect(7));
        no_trace(&workspace);
    }
    keeps_secret("CANARY", &told);
    assert_eq!(network.sent(), b"");
}
