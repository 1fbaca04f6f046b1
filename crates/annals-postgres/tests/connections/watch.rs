//! What a second connection sees of a backend at work.

use std::time::Duration;

use annals_postgres::{ConnectionSpec, Observed, Session, SessionSettings, Watch};
use annals_testkit::Server;

use crate::{block_on, elsewhere};

/// A server with a role that may do nothing special, and how that role logs in.
fn server() -> (Server, ConnectionSpec) {
    let server = Server::start();
    server.sql(
        "CREATE ROLE worker LOGIN; GRANT CREATE ON SCHEMA public TO worker; \
         CREATE TABLE things (id int, no int); ALTER TABLE things OWNER TO worker; \
         INSERT INTO things SELECT n, n FROM generate_series(1, 20000) n",
    );
    let url = server.url().replacen("postgres@", "worker@", 1);
    (server, ConnectionSpec::from_url(&url).unwrap())
}

async fn session(spec: &ConnectionSpec) -> Session {
    let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
    spec.connect("annals/work", &settings).await.unwrap()
}

async fn watch(spec: &ConnectionSpec, pid: i32) -> Watch {
    Watch::start(spec, &SessionSettings::default(), "annals/watch", pid).await.unwrap()
}

/// Looks until `seen` finds what it wants.
async fn look_until(watch: &mut Watch, seen: impl Fn(&Observed) -> bool) -> Observed {
    for _ in 0..3000 {
        let observed = watch.look().await.unwrap();
        if seen(&observed) {
            return observed;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("looked in vain");
}

#[test]
fn a_backend_at_rest_at_work_and_gone_is_told_apart() {
    let (_server, spec) = server();
    block_on(async {
        let mut work = session(&spec).await;
        let mut watch = watch(&spec, work.facts().backend_pid).await;
        let rest = look_until(&mut watch, |seen| seen.state.as_deref() == Some("idle")).await;
        assert!(rest.alive && rest.blockers.is_empty() && rest.progress.is_none(), "{rest:?}");
        let busy = async {
            let busy = look_until(&mut watch, |seen| seen.wait_event.is_some()).await;
            while watch.look().await.unwrap().wait_event.as_deref() != Some("PgSleep") {}
            busy
        };
        let (slept, _) = tokio::join!(work.run("SELECT pg_sleep(0.5)"), busy);
        slept.unwrap();
        work.close().await;
        let gone = look_until(&mut watch, |seen| !seen.alive).await;
        assert_eq!(gone, Observed::default());
        watch.close().await;
    });
}

#[test]
fn whoever_stands_in_the_way_is_named_without_the_text_of_its_query() {
    let (server, spec) = server();
    let held = server.hold("LOCK TABLE things /* CANARY-secret */");
    block_on(async {
        let mut work = session(&spec).await;
        let pid = work.facts().backend_pid;
        let task = async { work.run("SELECT count(*) FROM things").await };
        let look = async {
            let mut watch = watch(&spec, pid).await;
            let seen = look_until(&mut watch, |seen| !seen.blockers.is_empty()).await;
            elsewhere(|| drop(held));
            seen
        };
        let (done, seen) = tokio::join!(task, look);
        done.unwrap();
        assert_eq!(seen.wait_event_type.as_deref(), Some("Lock"));
        assert_eq!(seen.wait_event.as_deref(), Some("relation"));
        let [blocker] = seen.blockers.as_slice() else { panic!("{seen:?}") };
        assert_eq!((&*blocker.user, &*blocker.application), ("postgres", "annals-test"));
        assert!(!format!("{seen:?}").contains("CANARY"), "{seen:?}");
    });
}

#[test]
fn a_prepared_transaction_in_the_way_is_shown_as_one() {
    let (server, spec) = server();
    server.sql("ALTER SYSTEM SET max_prepared_transactions = 4");
    let mut server = server;
    server.crash();
    server.start_again();
    server.sql("BEGIN; LOCK TABLE things; PREPARE TRANSACTION 'forgotten'");
    block_on(async {
        let mut work = session(&spec).await;
        let pid = work.facts().backend_pid;
        let task = async { work.run("SELECT count(*) FROM things").await };
        let look = async {
            let mut watch = watch(&spec, pid).await;
            let seen = look_until(&mut watch, |seen| !seen.blockers.is_empty()).await;
            elsewhere(|| server.sql("ROLLBACK PREPARED 'forgotten'"));
            seen
        };
        let (done, seen) = tokio::join!(task, look);
        done.unwrap();
        assert_eq!(
            (seen.blockers[0].pid, seen.blockers[0].state.as_deref()),
            (0, Some("prepared transaction"))
        );
    });
}

#[test]
fn a_build_says_how_far_it_is() {
    let (server, spec) = server();
    // A build in the background waits for whoever may still see the old table.
    let held = server.hold("SELECT txid_current(); INSERT INTO things VALUES (0, 0)");
    block_on(async {
        let mut work = session(&spec).await;
        let pid = work.facts().backend_pid;
        let task = async { work.run("CREATE INDEX CONCURRENTLY i ON things (no)").await };
        let look = async {
            let mut watch = watch(&spec, pid).await;
            let seen = look_until(&mut watch, |seen| {
                seen.progress.as_ref().is_some_and(|build| build.lockers_total > 0)
            })
            .await;
            elsewhere(|| drop(held));
            seen
        };
        let (done, seen) = tokio::join!(task, look);
        done.unwrap();
        let build = seen.progress.unwrap();
        assert_eq!(
            (&*build.command, build.relation.as_deref()),
            ("CREATE INDEX CONCURRENTLY", Some("things"))
        );
        assert_eq!(build.phase, "waiting for writers before build");
        assert!(!seen.blockers.is_empty());
    });
}
