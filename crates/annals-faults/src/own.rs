//! Cases that bring their own moment: cut commits, a crowded server, altered logs, files and ledgers.

use std::fs;
use std::process::Command;

use annals_events::{Chain, Draft, Event, Segment, Seq, UnknownEvent, scan, seal};
use annals_testkit::{
    Annals, At, Failing, Network, PoolMode, Pooler, PoolerOptions, Server, Standby, Trouble,
    wait_for,
};

use crate::case::{Case, Deed, FaultNumber, Moment, PointNumber, Way};
use crate::drive::{signal_backend, somebody};
use crate::link::Link;
use crate::migrations::DEPLOYER;
use crate::oracle::Invariant;
use crate::scene::{Scene, program, under_another_clock};
use crate::wire::{AtCommit, Wire};

type Deeds = fn(&mut Scene<'_>);

const fn own(fault: FaultNumber, point: PointNumber, name: &'static str, deed: Deeds) -> Case {
    let (at, deed) = (Moment::Own(name), Deed::Own(deed));
    Case { fault, point, way: Way::Up, at, deed, short: true }
}

const fn long(case: Case) -> Case {
    Case { short: false, ..case }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        own(1, 10, "committed, and waiting for a standby", |s| at_standby(s, "KILL", &[-1])),
        own(2, 10, "committed, and waiting for a standby", |s| at_standby(s, "INT", &[0, 7, 130])),
        own(5, 10, "one connection dies at the fourth commit", |s| {
            silence(s, Trouble::DeadConnection, At::Commit(4), true);
        }),
        long(own(5, 9, "black hole before the fourth commit", |s| {
            silence(s, Trouble::BlackHole, At::Commit(4), false);
        })),
        long(own(5, 10, "black hole behind the fourth commit", |s| {
            silence(s, Trouble::BlackHole, At::Commit(4), true);
        })),
        own(5, 8, "one connection dies in a statement", |s| {
            silence(s, Trouble::DeadConnection, At::Text("effect('up 12')"), true);
        }),
        long(own(5, 8, "black hole in a statement", |s| {
            silence(s, Trouble::BlackHole, At::Text("effect('up 12')"), true);
        })),
        long(own(5, 13, "one connection dies in a concurrent build", |s| {
            silence(s, Trouble::DeadConnection, At::Text("CONCURRENTLY orders_n"), true);
        })),
        long(own(5, 13, "half-open in a concurrent build", |s| {
            silence(s, Trouble::HalfOpen, At::Text("CONCURRENTLY orders_n"), false);
        })),
        own(6, 10, "first commit", |s| cut(s, AtCommit::NeverAnswered(1))),
        own(6, 10, "fourth commit", |s| cut(s, AtCommit::NeverAnswered(4))),
        long(own(6, 10, "second commit", |s| cut(s, AtCommit::NeverAnswered(2)))),
        long(own(6, 10, "ninth commit", |s| cut(s, AtCommit::NeverAnswered(9)))),
        long(own(6, 10, "tenth commit", |s| cut(s, AtCommit::NeverAnswered(10)))),
        long(own(6, 10, "fifteenth commit", |s| cut(s, AtCommit::NeverAnswered(15)))),
        own(7, 9, "first commit", |s| cut(s, AtCommit::NeverArrives(1))),
        own(7, 9, "fourth commit", |s| cut(s, AtCommit::NeverArrives(4))),
        long(own(7, 9, "second commit", |s| cut(s, AtCommit::NeverArrives(2)))),
        long(own(7, 9, "ninth commit", |s| cut(s, AtCommit::NeverArrives(9)))),
        long(own(7, 9, "tenth commit", |s| cut(s, AtCommit::NeverArrives(10)))),
        long(own(7, 9, "fifteenth commit", |s| cut(s, AtCommit::NeverArrives(15)))),
        own(9, 18, "a standby takes over without the last commits", failover),
        own(10, 4, "read-only at the start", read_only_at_start),
        own(10, 10, "read-only when asked about a commit", read_only_at_reconnect),
        own(10, 4, "a standby's address", standby),
        own(14, 4, "a pooler of transactions", pooler),
        own(14, 10, "a pooler of sessions hides that the runner is gone", pooler_hides),
        own(14, 10, "a pooler of sessions is gone at the commit", pooler_gone),
        own(12, 8, "a reader holds the table", lock_timeout),
        own(12, 8, "deadlock with the application", deadlock),
        own(12, 13, "deadlock with a concurrent build", deadlock_outside),
        own(11, 13, "builder ended by an administrator", builder_ended),
        own(15, 4, "no connection left for the role", no_connection),
        own(15, 4, "wrong password", wrong_password),
        own(15, 4, "no TLS where it is asked for", no_tls),
        long(own(15, 10, "no connection left to ask about a commit", no_connection_to_ask)),
        own(17, 5, "first sync", |s| sync_fails(s, 1)),
        own(17, 5, "fifth sync", |s| sync_fails(s, 5)),
        own(17, 12, "fifteenth sync", |s| sync_fails(s, 15)),
        long(own(17, 5, "every sync in turn", every_sync_fails)),
        own(19, 18, "between runs", flipped_bits),
        own(20, 18, "between runs", older_log),
        own(21, 18, "between runs", fork),
        own(25, 5, "hours back and forth between runs", clock_between_runs),
        own(25, 8, "hours back in a run", |s| clock_in_a_run(s, "-7h", &[10], None)),
        own(25, 8, "days ahead in a run", |s| {
            clock_in_a_run(s, "+3d", &[0], Some("+4d"));
        }),
        own(26, 1, "edited after it was read first", edited_before_the_lock),
        own(26, 2, "edited behind the plan", edited_behind_the_plan),
        own(26, 2, "swapped for a link behind the plan", swapped_behind_the_plan),
        own(26, 5, "removed behind the plan", removed_behind_the_plan),
        own(27, 18, "row deleted", |s| {
            ledger_edited(s, "DELETE FROM annals.ledger WHERE version = '2'")
        }),
        own(27, 18, "row edited", |s| {
            ledger_edited(s, "UPDATE annals.ledger SET name = 'other' WHERE version = '2'");
        }),
        own(27, 18, "row added", |s| {
            ledger_edited(
                s,
                "INSERT INTO annals.ledger SELECT workspace, '9', 1, 'up', '9', 'x', file_raw, \
                 gen_random_uuid(), 0, log_origin, 1, intent_hash, actor FROM annals.ledger \
                 WHERE version = '2'",
            );
        }),
        own(27, 18, "table gone", ledger_gone),
        own(28, 4, "a column by hand", schema_by_hand),
        own(28, 4, "a table in the way", table_in_the_way),
        own(29, 8, "ends its own backend", |s| {
            hostile(s, "SELECT pg_terminate_backend(pg_backend_pid());", &[3, 4, 7]);
        }),
        own(29, 8, "commits in a block", |s| {
            hostile(s, "CREATE TABLE app.x (a int);\nDO $$ BEGIN COMMIT; END $$;", &[3, 4]);
        }),
        own(29, 8, "commits in a procedure", |s| {
            hostile(
                s,
                "CREATE PROCEDURE app.p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;\n\
                 CALL app.p();",
                &[3, 4],
            );
        }),
        own(29, 1, "COMMIT in the file", |s| hostile(s, "SELECT 1;\nCOMMIT;\nSELECT 2;", &[3])),
        own(29, 1, "a NUL byte", |s| hostile(s, "SELECT 1;\0", &[3])),
        own(29, 1, "deep nesting", |s| {
            let sql = format!("SELECT {}1{};", "(".repeat(20_000), ")".repeat(20_000));
            hostile(s, &sql, &[3, 4]);
        }),
        own(29, 8, "a megabyte of notices", |s| harmless(s, NOTICES)),
        own(29, 8, "five thousand statements", |s| harmless(s, &"SELECT 1;\n".repeat(5_000))),
        own(29, 8, "gives the lock away", |s| {
            hostile(s, "SELECT pg_advisory_unlock_all();", &[4]);
        }),
        own(29, 8, "takes a lock of the session", |s| harmless(s, "SELECT pg_advisory_lock(99);")),
        own(29, 8, "changes the role", |s| {
            harmless(
                s,
                "SET ROLE pg_monitor;\nSET synchronous_commit = off;\nSET search_path = '';",
            );
        }),
        own(29, 8, "an endless loop", endless_loop),
        own(30, 8, "from the beginning", event_trigger),
        own(30, 8, "in the middle of a file", event_trigger_in_between),
        own(33, 8, "the backend stands still", rollback_while_it_lives),
        own(35, 18, "between runs", newer_log),
    ]
}

const NOTICES: &str = "DO $$ BEGIN FOR n IN 1..1000 LOOP RAISE NOTICE '%', repeat('x', 1000); END LOOP; \
                       END $$;";

fn cut(scene: &mut Scene<'_>, at: AtCommit) {
    let port = scene.stage.server.tcp_port();
    let wire = Wire::start(port, at);
    scene.through(wire.port());
    let code = scene.run("migrate --json");
    if !wire.has_cut() {
        scene.broken(Invariant::Recoverable, "no commit was cut: the case strikes nothing");
    }
    // Found applied behind the last step it is a success.
    if ![0, 4, 5, 7].contains(&code) {
        let what = format!("a cut commit ended the run with {code}: {}", scene.last());
        scene.broken(Invariant::NoLie, what);
    }
    scene.through(port);
}

/// A signal while a commit that is already in the server's log waits for a standby there is not.
fn at_standby(scene: &mut Scene<'_>, signal: &str, codes: &[i32]) {
    // The application waits for the locks of whoever waits.
    scene.wait_bound_ms += 60_000;
    let before = scene.effects();
    let running = scene.annals_at("migrate --json", "before_commit:4=pause").start();
    scene.at_pause();
    scene.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    scene.sql("SELECT pg_reload_conf()");
    scene.go();
    let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                   AND application_name LIKE 'annals%' AND datname = current_database()";
    wait_for("a commit that waits", || scene.rows(waiting).pop());
    running.signal(signal);
    if signal == "INT" {
        // Cancelled, the commit no longer waits; it cannot be taken back.
        let there = |effects: Vec<String>| effects.contains(&"up 4".to_owned()).then_some(());
        wait_for("the end of the commit", || there(scene.effects()));
    }
    scene.sql("ALTER SYSTEM RESET synchronous_standby_names");
    scene.sql("SELECT pg_reload_conf()");
    let outcome = running.wait();
    let code = scene.take("migrate --json", before, outcome);
    if !codes.contains(&code) {
        let what = format!("migrate ended with {code}, none of {codes:?}: {}", scene.last());
        scene.broken(Invariant::NoLie, what);
    }
    if !scene.effects().contains(&"up 4".to_owned()) {
        scene.broken(Invariant::NoLie, "a commit that waited for a standby is not there");
    }
}

fn for_the_role(scene: &Scene<'_>, what: &str) {
    scene.sql(&format!("ALTER ROLE {DEPLOYER} {what}"));
}

fn read_only_at_start(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    for_the_role(scene, "SET default_transaction_read_only = on");
    scene.must_refuse("migrate --json", &[7], &[]);
    for_the_role(scene, "RESET default_transaction_read_only");
}

fn read_only_at_reconnect(scene: &mut Scene<'_>) {
    let port = scene.stage.server.tcp_port();
    let wire = Wire::start(port, AtCommit::NeverAnswered(3));
    scene.through(wire.port());
    let before = scene.effects();
    let running = scene.annals_at("migrate --json", "before_commit:3=pause").start();
    scene.at_pause();
    for_the_role(scene, "SET default_transaction_read_only = on");
    scene.go();
    scene.end("migrate --json", before, running, &[4, 6, 7]);
    for_the_role(scene, "RESET default_transaction_read_only");
    scene.through(port);
}

fn lock_timeout(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    let reader = somebody(scene, "SELECT count(*) FROM app.orders");
    let code = scene.run("migrate --json");
    if code == 0 {
        scene.broken(Invariant::NoLie, "the table was altered under a reader's lock");
    }
    drop(reader);
}

fn deadlock(scene: &mut Scene<'_>) {
    scene.close_gate("up 13");
    let before = scene.effects();
    let running = scene.annals("migrate --json").start();
    scene.at_gate();
    let mut other = somebody(scene, "LOCK TABLE app.orders IN ACCESS SHARE MODE");
    let asking = std::thread::spawn(move || {
        // It is willing to wait longer than anybody: the deadlock is annals' to lose.
        let _ = other.run("SET deadlock_timeout = '30s'; LOCK TABLE app.items IN SHARE MODE");
        let _ = other.run("COMMIT");
    });
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'app.items'::regclass \
                 AND mode = 'ShareLock'";
    wait_for("somebody who waits for the second table", || scene.rows(waits).pop());
    scene.open_gates();
    // The whole transaction may be tried again; what counts is that it is done once or not at all.
    scene.end("migrate --json", before, running, &[0, 4]);
    asking.join().expect("it only asks");
}

/// A transaction of the application a concurrent build has to wait for, and the build that waits.
fn build_that_waits(scene: &mut Scene<'_>) -> (Link, annals_testkit::Running, String) {
    scene.must("migrate --to 8 --json", 0);
    let holder = somebody(scene, "INSERT INTO app.orders (writer, n) VALUES (99, 1)");
    let running = scene.annals("migrate --json").start();
    let builder = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals%' \
                   AND datname = current_database() AND query LIKE 'CREATE INDEX%' \
                   AND wait_event_type = 'Lock'";
    let pid = wait_for("a build that waits", || scene.rows(builder).pop());
    (holder, running, pid)
}

fn deadlock_outside(scene: &mut Scene<'_>) {
    let before: Vec<String> = (1..=8).map(|n| format!("up {n}")).collect();
    let (mut holder, running, _) = build_that_waits(scene);
    let asked = holder.run("SET deadlock_timeout = '30s'; LOCK TABLE app.orders IN SHARE MODE");
    if asked.is_err() {
        scene.broken(Invariant::NoPileUp, "the application lost the deadlock");
    }
    drop(holder);
    scene.end("migrate --json", before, running, &[0, 5]);
}

fn builder_ended(scene: &mut Scene<'_>) {
    let before: Vec<String> = (1..=8).map(|n| format!("up {n}")).collect();
    let (holder, running, pid) = build_that_waits(scene);
    scene.rows(&format!("SELECT pg_terminate_backend({pid})"));
    scene.end("migrate --json", before, running, &[5, 7]);
    drop(holder);
}

fn no_connection(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    for_the_role(scene, "CONNECTION LIMIT 0");
    scene.must_refuse("migrate --json", &[7], &[]);
    for_the_role(scene, "CONNECTION LIMIT -1");
}

fn no_connection_to_ask(scene: &mut Scene<'_>) {
    let port = scene.stage.server.tcp_port();
    let wire = Wire::start(port, AtCommit::NeverAnswered(3));
    scene.through(wire.port());
    let before = scene.effects();
    let running = scene.annals_at("migrate --json", "before_commit:3=pause").start();
    scene.at_pause();
    for_the_role(scene, "CONNECTION LIMIT 0");
    scene.go();
    scene.end("migrate --json", before, running, &[6]);
    for_the_role(scene, "CONNECTION LIMIT -1");
    scene.through(port);
}

/// A command with another URL; it must be refused without an effect.
fn refused_at(scene: &mut Scene<'_>, url: &str) {
    scene.must("migrate --to 3 --json", 0);
    let before = scene.effects();
    let outcome = scene.annals("migrate --json").env("FAULTS_URL", url).run();
    if ![3, 7].contains(&scene.take("migrate --json", before, outcome)) {
        let what = format!("not refused as unavailable: {}", scene.last());
        scene.broken(Invariant::NoLie, what);
    }
}

/// The same server by another way, as the superuser, in the case's database.
fn in_database(scene: &Scene<'_>, url: &str) -> String {
    let (server, rest) = url.rsplit_once('/').expect("a URL names its database");
    format!("{server}/{}", rest.replacen("postgres", &scene.database, 1))
}

fn standby(scene: &mut Scene<'_>) {
    let standby = Standby::of(&scene.stage.server);
    let url = in_database(scene, &standby.url());
    refused_at(scene, &url);
}

/// A standby that has lost acknowledged commits takes over: nothing is run again there, and what is
/// lost is named.
fn failover(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    let standby = Standby::of(&scene.stage.server);
    standby.catches_up(&scene.stage.server);
    let url = in_database(scene, &standby.url());
    let mut link = Link::open(&url).unwrap_or_else(|error| panic!("{error}"));
    let run = |link: &mut Link, sql: &str| link.run(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    run(&mut link, "ALTER SYSTEM SET primary_conninfo = ''");
    run(&mut link, "SELECT pg_reload_conf()");
    let follows = "SELECT pid FROM pg_stat_wal_receiver";
    wait_for("the standby to follow no longer", || {
        link.rows(follows).is_ok_and(|rows| rows.is_empty()).then_some(())
    });
    scene.must("migrate --to 7 --json", 0);
    run(&mut link, "SELECT pg_promote()");
    let effects = "SELECT what FROM harness.effects ORDER BY what";
    let before = link.rows(effects).unwrap_or_default();
    for line in ["migrate --json", "rollback --to 0 --json"] {
        let outcome = scene.annals(line).env("FAULTS_URL", &url).run();
        let text = format!("{}{}", outcome.out, outcome.err);
        let named = (4..=7).all(|version| text.contains(&format!("{version}_")));
        if outcome.code == 0 || !named {
            let what = format!("behind a failover {line} ended with {}: {text}", outcome.code);
            scene.broken(Invariant::NoLie, what);
        }
        scene.take_beside(line, outcome);
    }
    if link.rows(effects).unwrap_or_default() != before || before.len() != 3 {
        scene.broken(Invariant::Once, "something ran again on the server that took over");
    }
}

fn pooler(scene: &mut Scene<'_>) {
    let options = PoolerOptions { mode: PoolMode::Transaction, size: 4, in_turn: true };
    let pooler = Pooler::before(&scene.stage.server, options);
    let url = in_database(scene, &pooler.url());
    refused_at(scene, &url);
}

/// A pooler that hands out sessions, before the server of this case; the way annals goes.
fn pooler_of_sessions(scene: &mut Scene<'_>) -> Pooler {
    let options = PoolerOptions { mode: PoolMode::Session, size: 4, in_turn: false };
    let pooler = Pooler::before_for(&scene.stage.server, DEPLOYER, options);
    scene.through(pooler.port());
    pooler
}

/// The runner is killed while the server commits, and the server talks to the pooler only.
fn pooler_hides(scene: &mut Scene<'_>) {
    let port = scene.stage.server.tcp_port();
    let pooler = pooler_of_sessions(scene);
    let before = scene.effects();
    scene.close_gate("commit up 4");
    let running = scene.annals("migrate --json").start();
    scene.at_gate();
    running.signal("KILL");
    scene.open_gates();
    scene.end("migrate --json", before, running, &[-1]);
    // The first that comes behind it comes by the same way.
    scene.must("migrate --json", 0);
    scene.through(port);
    drop(pooler);
}

/// The pooler dies while the server commits; nobody answers where it was.
fn pooler_gone(scene: &mut Scene<'_>) {
    let port = scene.stage.server.tcp_port();
    let pooler = pooler_of_sessions(scene);
    let before = scene.effects();
    scene.close_gate("commit up 4");
    let running = scene.annals("migrate --json").start();
    scene.at_gate();
    drop(pooler);
    scene.open_gates();
    scene.end("migrate --json", before, running, &[6, 7]);
    scene.through(port);
}

/// The network goes silent; nobody is told.
fn silence(scene: &mut Scene<'_>, trouble: Trouble, at: At, arrives: bool) {
    // What a silent runner holds is held until its server notices.
    scene.wait_bound_ms += 60_000;
    let port = scene.stage.server.tcp_port();
    let network = Network::before(port, Failing { trouble, at, arrives });
    scene.through(network.port());
    scene.set_silence("1s");
    let before = scene.effects();
    let outcome = scene.annals("migrate --json").run();
    if !network.has_failed() {
        scene.broken(Invariant::Recoverable, "the network did not fail: the case strikes nothing");
    }
    network.heal();
    scene.through(port);
    let code = scene.take("migrate --json", before, outcome);
    if ![0, 4, 5, 6, 7].contains(&code) {
        let what = format!("a silent network ended the run with {code}: {}", scene.last());
        scene.broken(Invariant::NoLie, what);
    }
}

fn wrong_password(scene: &mut Scene<'_>) {
    let url = scene.url().replace(Server::PASSWORD, "something-else");
    refused_at(scene, &url);
}

fn no_tls(scene: &mut Scene<'_>) {
    let url = scene.url().replace("sslmode=disable", "sslmode=require");
    refused_at(scene, &url);
}

/// Runs a command with the n-th sync of a file failing; says how it ended, if there was such a sync.
fn failing_sync(scene: &mut Scene<'_>, line: &str, nth: usize) -> Option<i32> {
    let before = scene.effects();
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={nth}");
    let trace = scene.path("trace");
    let command = Annals::new(std::path::Path::new("strace"), scene.folder.path())
        .args("-f -qq -e trace=fsync,fdatasync -e")
        .arg(inject)
        .arg("-o")
        .arg(&trace)
        .arg(program())
        .args(line)
        .env("FAULTS_URL", scene.url());
    let outcome = command.run();
    let struck = fs::read_to_string(&trace).is_ok_and(|text| text.contains("(INJECTED)"));
    let code = scene.take(line, before, outcome);
    struck.then_some(code)
}

fn sync_fails(scene: &mut Scene<'_>, nth: usize) {
    let Some(code) = failing_sync(scene, "migrate --json", nth) else {
        return scene.broken(Invariant::Recoverable, format!("there is no sync {nth}"));
    };
    // The first one is that of a new key: nothing was begun.
    if ![0, 3, 10].contains(&code) {
        let what = format!("sync {nth} failed and the run ended with {code}: {}", scene.last());
        scene.broken(Invariant::NoLie, what);
    }
}

fn every_sync_fails(scene: &mut Scene<'_>) {
    let line = "migrate --to 3 --json";
    scene.must(line, 0);
    for nth in 1.. {
        scene.must("rollback --to 0 --json", 0);
        let code = failing_sync(scene, line, nth);
        match code {
            None if nth > 1 => break,
            Some(0 | 10) => scene.must(line, 0),
            code => {
                let what = format!("sync {nth} failed, end {code:?}: {}", scene.last());
                return scene.broken(Invariant::NoLie, what);
            }
        }
    }
}

fn flipped_bits(scene: &mut Scene<'_>) {
    scene.must("migrate --to 7 --json", 0);
    let log = scene.log();
    for part in 0..4 {
        let at = log.len() * (2 * part + 1) / 8;
        let mut changed = log.clone();
        changed[at] ^= 1 << part;
        fs::write(scene.segment(), &changed).expect("the folder is ours");
        scene.must_refuse_altered("migrate --json");
        fs::write(scene.segment(), &log).expect("the folder is ours");
    }
}

impl Scene<'_> {
    /// A log that was altered is refused; the copy of it is nobody's picture of the log.
    fn must_refuse_altered(&mut self, line: &str) {
        self.altered = true;
        self.must_refuse(line, &[9], &[]);
        self.altered = false;
    }

    /// Copies a folder of the workspace.
    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        let copied = Command::new("cp").arg("-a").arg(self.path(from)).arg(self.path(to)).status();
        assert!(copied.is_ok_and(|status| status.success()), "cp -a {from} {to}");
    }
}

fn older_log(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    scene.copy("event-store", "older");
    scene.must("migrate --to 7 --json", 0);
    scene.copy("event-store", "newer");
    scene.copy("older", "event-store");
    scene.must_refuse_altered("migrate --json");
    scene.must_refuse_altered("rollback --to 0 --json");
    scene.copy("newer", "event-store");
}

fn fork(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    scene.copy("event-store", "other");
    scene.must("migrate --to 5 --json", 0);
    // Somebody with a copy signs something else behind the same head.
    scene.copy("event-store", "kept");
    scene.copy("other", "event-store");
    scene.must_refuse_altered("migrate --to 4 --json");
    scene.must_refuse_altered("verify");
    scene.copy("kept", "event-store");
}

/// A clock that was hours ahead: until the time has come the log takes no event that would stand
/// before its last one, and says so; nothing is begun, and nothing is lost.
fn clock_between_runs(scene: &mut Scene<'_>) {
    scene.clock = Some("-9h".to_owned());
    scene.must("migrate --to 3 --json", 0);
    scene.clock = None;
    scene.must("migrate --to 5 --json", 0);
    scene.clock = Some("-9h".to_owned());
    scene.must_refuse("migrate --to 7 --json", &[10], &["the clock says"]);
    scene.clock = Some("+400d".to_owned());
    scene.must("migrate --to 9 --json", 0);
}

/// The clock jumps in the middle of a statement; `codes` is how the run may end. `later` is the
/// clock of every command behind it.
fn clock_in_a_run(scene: &mut Scene<'_>, offset: &str, codes: &[i32], later: Option<&str>) {
    let clock = scene.path("clock");
    fs::write(&clock, "+0").expect("the folder is ours");
    scene.close_gate("up 12");
    let before = scene.effects();
    let command = under_another_clock(scene.annals("migrate --json"));
    let running = command.env("FAKETIME_TIMESTAMP_FILE", &clock).start();
    scene.at_gate();
    fs::write(&clock, offset).expect("the folder is ours");
    scene.open_gates();
    scene.end("migrate --json", before, running, codes);
    scene.clock = later.map(str::to_owned);
}

const EDITED: &str = "SELECT harness.effect('up 12');\nSELECT 'edited';\n";

fn edited_before_the_lock(scene: &mut Scene<'_>) {
    let before = scene.effects();
    let running = scene.annals_at("migrate --json", "after_files=pause").start();
    scene.at_pause();
    scene.write("migrations/12_long.sql", EDITED);
    scene.go();
    // What is read under the lock is what runs.
    scene.end("migrate --json", before, running, &[0]);
}

/// Changes the file of a step that is planned, lets the run go on, and brings the file back.
fn behind_the_plan(scene: &mut Scene<'_>, failpoint: &str, change: impl Fn(&Scene<'_>)) {
    let before = scene.effects();
    let running = scene.annals_at("migrate --json", &format!("{failpoint}=pause")).start();
    scene.at_pause();
    let path = scene.path("migrations/12_long.sql");
    let original = fs::read(&path).expect("the file is there");
    change(scene);
    scene.go();
    scene.end("migrate --json", before, running, &[0]);
    // The plan was carried out as it was stored: all the customers are there.
    if scene.rows("SELECT count(*) FROM app.customers") != ["300"] {
        scene.broken(Invariant::NoLie, "something else ran than what was planned");
    }
    if scene.run("migrate --json") == 0 {
        scene.broken(Invariant::NoLie, "the changed file was taken for the one that ran");
    }
    let _ = fs::remove_file(&path);
    fs::write(&path, original).expect("the folder is ours");
}

fn edited_behind_the_plan(scene: &mut Scene<'_>) {
    behind_the_plan(scene, "after_plan", |s| s.write("migrations/12_long.sql", EDITED));
}

fn swapped_behind_the_plan(scene: &mut Scene<'_>) {
    behind_the_plan(scene, "after_plan", |scene| {
        scene.write("elsewhere.sql", EDITED);
        let path = scene.path("migrations/12_long.sql");
        fs::remove_file(&path).expect("the file is there");
        std::os::unix::fs::symlink(scene.path("elsewhere.sql"), path).expect("the folder is ours");
    });
}

fn removed_behind_the_plan(scene: &mut Scene<'_>) {
    behind_the_plan(scene, "after_intent:3", |scene| {
        fs::remove_file(scene.path("migrations/12_long.sql")).expect("the file is there");
    });
}

fn ledger_edited(scene: &mut Scene<'_>, edit: &str) {
    scene.must("migrate --to 5 --json", 0);
    scene.sql("CREATE TABLE harness.kept AS SELECT * FROM annals.ledger");
    scene.sql(edit);
    scene.must_refuse("migrate --json", &[3, 14], &["ledger"]);
    scene.must_refuse("rollback --to 0 --json", &[3, 14], &[]);
    scene.sql(
        "DELETE FROM annals.ledger; INSERT INTO annals.ledger SELECT * FROM harness.kept; \
         DROP TABLE harness.kept",
    );
}

fn ledger_gone(scene: &mut Scene<'_>) {
    scene.must("migrate --to 5 --json", 0);
    scene.sql("ALTER TABLE annals.ledger RENAME TO gone");
    scene.must_refuse("migrate --json", &[3, 7, 9], &[]);
    scene.sql("ALTER TABLE annals.gone RENAME TO ledger");
}

fn schema_by_hand(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    let before = scene.effects();
    let running = scene.annals_at("migrate --json", "after_lock=pause").start();
    scene.at_pause();
    scene.sql("ALTER TABLE app.customers ADD COLUMN by_hand int");
    scene.go();
    scene.end("migrate --json", before, running, &[16]);
    scene.must("verify", 11);
    scene.sql("ALTER TABLE app.customers DROP COLUMN by_hand");
}

fn table_in_the_way(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    let before = scene.effects();
    let running = scene.annals_at("migrate --json", "after_intent:1=pause").start();
    scene.at_pause();
    scene.sql("CREATE TABLE app.moods (by_hand int)");
    scene.go();
    scene.end("migrate --json", before, running, &[4]);
    scene.sql("DROP TABLE app.moods");
    // What came and went beside a step is known only where the target writes that down.
    scene.must("drift accept --reason cleared --json", 0);
}

/// One more file that must fail with one of `codes` and leave nothing.
fn hostile(scene: &mut Scene<'_>, sql: &str, codes: &[i32]) {
    scene.write("migrations/25_hostile.sql", sql);
    scene.write("rollbacks/25_hostile_rollback.sql", "SELECT 1;\n");
    let code = scene.run("migrate --json");
    if !codes.contains(&code) {
        let what = format!("hostile SQL ended with {code}, none of {codes:?}: {}", scene.last());
        scene.broken(Invariant::NoLie, what);
    }
    for path in ["migrations/25_hostile.sql", "rollbacks/25_hostile_rollback.sql"] {
        fs::remove_file(scene.path(path)).expect("it was just written");
    }
}

/// One more file that is allowed and must not reach the one behind it.
fn harmless(scene: &mut Scene<'_>, sql: &str) {
    unusual(scene, sql);
    scene.must("migrate --json", 0);
}

/// The same; the run may also stop behind it.
fn unusual(scene: &Scene<'_>, sql: &str) {
    for (n, sql) in [(25, sql), (26, "CREATE TABLE app.behind (id int);")] {
        scene.write(&format!("migrations/{n}_unusual.sql"), sql);
        scene.write(&format!("rollbacks/{n}_unusual_rollback.sql"), "SELECT 1;\n");
    }
}

fn endless_loop(scene: &mut Scene<'_>) {
    scene.must("migrate --json", 0);
    let sql = "DO $$ BEGIN LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;";
    scene.write("migrations/25_hostile.sql", sql);
    scene.write("rollbacks/25_hostile_rollback.sql", "SELECT 1;\n");
    let before = scene.effects();
    let running = scene.annals("migrate --json").start();
    scene.at_gate();
    running.signal("INT");
    scene.end("migrate --json", before, running, &[130]);
    for path in ["migrations/25_hostile.sql", "rollbacks/25_hostile_rollback.sql"] {
        fs::remove_file(scene.path(path)).expect("it was just written");
    }
}

fn event_trigger(scene: &mut Scene<'_>) {
    scene.must("migrate --to 3 --json", 0);
    scene.close_gate("no ddl");
    scene.must("migrate --json", 4);
    scene.open_gates();
}

fn event_trigger_in_between(scene: &mut Scene<'_>) {
    scene.close_gate("up 2");
    let before = scene.effects();
    let running = scene.annals("migrate --json").start();
    scene.at_gate();
    scene.sql("UPDATE harness.gates SET name = 'no ddl'");
    scene.end("migrate --json", before, running, &[4]);
    scene.open_gates();
}

fn rollback_while_it_lives(scene: &mut Scene<'_>) {
    // The backend holds locks as long as it stands still.
    scene.wait_bound_ms += 60_000;
    scene.close_gate("up 12");
    let running = scene.annals("migrate --json").start();
    let backend = scene.at_gate();
    // Standing still, it cannot notice that its client is gone.
    signal_backend(backend, "STOP");
    running.signal("KILL");
    running.wait();
    scene.set_patience("300ms");
    let refused = scene.annals("rollback --to 0 --json").run();
    if refused.code != 8 {
        let what = format!("a rollback beside a living backend ended with {}", refused.code);
        scene.broken(Invariant::OneAtATime, what);
    }
    scene.take_beside("rollback --to 0 --json", refused);
    scene.set_patience("30s");
    signal_backend(backend, "CONT");
    scene.must("rollback --to 0 --json", 0);
    scene.open_gates();
}

fn newer_log(scene: &mut Scene<'_>) {
    scene.must("migrate --to 5 --json", 0);
    let log = scene.log();
    let mut events = scan(&[Segment { first: Seq(0), bytes: &log }], &[]).events;
    let mut newer = events.last().expect("the log has events").clone();
    newer.recorded_at = newer.recorded_at.plus_micros(1);
    newer.event = Event::Unknown(UnknownEvent {
        kind: "step_dreamt".into(),
        schema: 1,
        data: "{\"deep\":true}".into(),
    });
    events.push(newer);
    let (mut chain, mut lines) = (Chain::default(), Vec::new());
    for recorded in &events {
        let draft = Draft {
            event: recorded.event.clone(),
            id: recorded.id,
            occurred_at: recorded.occurred_at,
            actor: recorded.actor.clone(),
            target: recorded.target.clone(),
            incarnation: recorded.incarnation,
        };
        seal(&mut chain, &recorded.origin, &draft, recorded.recorded_at, &mut lines)
            .expect("what was sealed once can be sealed again");
    }
    fs::write(scene.segment(), lines).expect("the folder is ours");
    scene.must_refuse_altered("migrate --json");
    fs::write(scene.segment(), log).expect("the folder is ours");
}
