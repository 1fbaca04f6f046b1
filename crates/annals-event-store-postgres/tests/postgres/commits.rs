//! Connections and servers that are lost around a commit.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use annals_conformance::{Log, fact};
use annals_event_store::{AppendError, EventStore, OpenError};
use annals_event_store_postgres::Limits;
use annals_events::Recorded;
use annals_postgres::ConnectionSpec;
use annals_testkit::{Cut, Proxy, Server, ServerOptions, wait_for};

use crate::home::{PgHome, in_database, limits, prepare, runtime};

/// A server by TCP.
struct Cutting {
    server: Server,
    home: PgHome,
}

impl Cutting {
    fn new() -> Self {
        let server = Server::start_with(ServerOptions { tcp: true, ..ServerOptions::default() });
        let home = prepare(&server);
        Self { server, home }
    }

    /// The same home, its writers going through a proxy that cuts at the `nth` commit of all.
    fn through(&self, cut: Cut, nth: usize) -> PgHome {
        let port = self.server.tcp_port();
        let proxy = Proxy::start(port, cut, nth).port();
        let url = self.server.tcp_url().replace(&format!(":{port}/"), &format!(":{proxy}/"));
        PgHome { writer: ConnectionSpec::from_url(&url).unwrap(), ..self.home.again() }
    }
}

/// A log called `name` with one event.
async fn with_one<'h>(home: &'h PgHome, name: &str) -> Log<'h, PgHome> {
    Log::create(home, name).await.0
}

/// The same log by another home.
fn by<'h>(home: &'h PgHome, log: &Log<'_, PgHome>, name: &str) -> Log<'h, PgHome> {
    Log::with_key(home, name, Arc::clone(log.key()))
}

#[test]
fn an_append_whose_commit_never_arrives_is_rejected_and_the_next_one_works() {
    let cutting = Cutting::new();
    runtime().block_on(async {
        let log = with_one(&cutting.home, "before").await;
        let home = cutting.through(Cut::BeforeCommit, 2);
        let cut = by(&home, &log, "before");
        let mut store = cut.open().await.unwrap();
        cut.must_append(&mut store, &[fact(1)]).await;
        let head = store.head();
        let lost = cut.append(&mut store, &[fact(2), fact(3)]).await;
        assert!(matches!(lost, Err(AppendError::Rejected(_))), "{lost:?}");
        assert_eq!(store.head(), head);
        assert_eq!(log.verify().await.len(), 2);
        // The store has connected again by itself.
        cut.must_append(&mut store, &[fact(4)]).await;
        assert_eq!(cut.verify().await.len(), 3);
        log.goes_on().await;
    });
}

#[test]
fn an_append_whose_answer_is_lost_is_found_and_acknowledged() {
    let cutting = Cutting::new();
    runtime().block_on(async {
        let log = with_one(&cutting.home, "after").await;
        let home = cutting.through(Cut::AfterCommit, 2);
        let cut = by(&home, &log, "after");
        let mut store = cut.open().await.unwrap();
        cut.must_append(&mut store, &[fact(1)]).await;
        let recorded = cut.must_append(&mut store, &[fact(2), fact(3)]).await;
        assert_eq!((recorded.len(), store.head().size), (2, 4));
        assert_eq!(cut.verify().await.len(), 4);
        cut.must_append(&mut store, &[fact(4)]).await;
        assert_eq!(cut.verify().await.len(), 5);
        log.goes_on().await;
    });
}

#[test]
fn a_log_whose_first_commit_is_cut_is_there_whole_or_not_at_all() {
    let cutting = Cutting::new();
    runtime().block_on(async {
        let home = cutting.through(Cut::BeforeCommit, 1);
        let log = Log::named(&home, "first-before");
        let Err(error) = log.begin().await else { panic!("the commit never arrived") };
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        assert!(matches!(log.refused("no log").await, OpenError::Read(_)));
        drop(log.begin().await.unwrap());
        log.goes_on().await;

        let home = cutting.through(Cut::AfterCommit, 1);
        let (log, mut store) = Log::create(&home, "first-after").await;
        log.must_append(&mut store, &[fact(1)]).await;
        log.goes_on().await;
    });
}

#[test]
fn publishing_and_storing_content_ask_again_after_a_cut() {
    let cutting = Cutting::new();
    runtime().block_on(async {
        for (name, cut) in [("again-1", Cut::BeforeCommit), ("again-2", Cut::AfterCommit)] {
            let log = with_one(&cutting.home, name).await;
            let home = cutting.through(cut, 2);
            let cut_log = by(&home, &log, name);
            let mut store = cut_log.open().await.unwrap();
            cut_log.must_append(&mut store, &[fact(1)]).await;
            cut_log.publish(&mut store).await;
            let notes = format!(
                "SELECT string_agg(size::text, ' ' ORDER BY number) FROM annals.log_checkpoint \
                 WHERE origin = '{}'",
                log.origin()
            );
            assert_eq!(cutting.home.value(&notes).await, "1 2", "{cut:?}");

            let home = cutting.through(cut, 1);
            let mut store = by(&home, &log, name).open().await.unwrap();
            let blob = store.put_blob(name.as_bytes()).await.unwrap();
            assert_eq!(store.get_blob(&blob).await.unwrap(), name.as_bytes());
            log.goes_on().await;
        }
    });
}

#[test]
fn a_session_that_was_ended_between_two_appends_is_made_anew() {
    in_database(async |home: &PgHome| {
        let (log, mut store) = Log::create(home, "ended").await;
        log.must_append(&mut store, &[fact(1)]).await;
        end_sessions(home).await;
        log.must_append(&mut store, &[fact(2)]).await;
        end_sessions(home).await;
        log.publish(&mut store).await;
        log.goes_on().await;
    });
}

/// Ends every session of the store, and sees them gone.
async fn end_sessions(home: &PgHome) {
    let of_the_store = "FROM pg_stat_activity WHERE application_name = 'annals/log'";
    let ended = format!("SELECT count(pg_terminate_backend(pid)) > 0 {of_the_store}");
    assert_eq!(home.value(&ended).await, "true");
    while home.value(&format!("SELECT count(*) {of_the_store}")).await != "0" {}
}

#[test]
fn an_append_that_cannot_get_the_head_in_time_is_rejected() {
    let server = Server::start();
    let mut home = prepare(&server);
    home.limits.lock_ms = 200;
    let runtime = runtime();
    let (log, mut store) = runtime.block_on(Log::create(&home, "locked"));
    let held = server.hold("SELECT annals.log_lock('conformance/locked')");
    let rejected = runtime.block_on(log.append(&mut store, &[fact(1)]));
    let Err(AppendError::Rejected(cause)) = rejected else { panic!("{rejected:?}") };
    assert!(cause.to_string().contains("55P03"), "{cause}");
    drop(held);
    runtime.block_on(async {
        assert_eq!(log.verify().await.len(), 1);
        log.must_append(&mut store, &[fact(1)]).await;
        log.goes_on().await;
    });
}

#[test]
fn an_append_that_is_abandoned_half_way_leaves_nothing() {
    let server = Server::start();
    let home = prepare(&server);
    let runtime = runtime();
    let (log, mut store) = runtime.block_on(Log::create(&home, "abandoned"));
    let held = server.hold("SELECT annals.log_lock('conformance/abandoned')");
    let short = Duration::from_millis(50);
    let abandoned = runtime.block_on(async {
        tokio::time::timeout(short, log.append(&mut store, &[fact(1)])).await.is_err()
    });
    assert!(abandoned, "the head was locked");
    drop(held);
    runtime.block_on(async {
        log.must_append(&mut store, &[fact(2)]).await;
        assert_eq!(log.verify().await.len(), 2);
        log.goes_on().await;
    });
}

#[test]
fn settings_of_a_role_do_not_weaken_an_append() {
    in_database(async |home: &PgHome| {
        let (log, store) = Log::create(home, "settings").await;
        drop(store);
        home.run(
            "ALTER ROLE app SET synchronous_commit = off; \
             ALTER ROLE app SET default_transaction_isolation = 'serializable'; \
             ALTER ROLE app SET bytea_output = 'escape'; \
             ALTER ROLE app SET DateStyle = 'German, DMY'; \
             ALTER ROLE app SET TimeZone = 'Pacific/Chatham'; \
             ALTER ROLE app SET lock_timeout = 0; \
             CREATE TABLE public.seen (settings text); GRANT ALL ON public.seen TO PUBLIC; \
             CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 INSERT INTO public.seen SELECT string_agg(current_setting(name), ' ' ORDER BY n) \
                 FROM unnest(ARRAY['synchronous_commit', 'lock_timeout', 'statement_timeout', \
                     'idle_in_transaction_session_timeout']) WITH ORDINALITY s(name, n); \
                 RETURN NULL; END $$; \
             CREATE TRIGGER look AFTER INSERT ON annals.log_event \
                 FOR EACH ROW EXECUTE FUNCTION public.look()",
        )
        .await;
        let (mut first, mut second) = (log.open().await.unwrap(), log.open().await.unwrap());
        log.must_append(&mut first, &[fact(1)]).await;
        let late = log.append(&mut second, &[fact(2)]).await;
        assert!(matches!(late, Err(AppendError::HeadMoved { .. })), "{late:?}");
        log.must_append(&mut second, &[fact(2)]).await;
        let seen = "SELECT string_agg(DISTINCT settings, ', ') FROM public.seen";
        assert_eq!(home.value(seen).await, "on 10s 1min 4s");
        log.goes_on().await;
    });
}

/// A commit waits for a standby that is never there: it is on disk, and its answer is not given.
const WAIT_FOR_STANDBY: &str = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";

/// Undoes [`WAIT_FOR_STANDBY`] while the server is down.
fn without_standby(server: &Server) {
    let path = server.folder().join("data/postgresql.auto.conf");
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("synchronous_standby_names")).collect();
    assert!(kept.len() < text.lines().count());
    fs::write(path, kept.join("\n") + "\n").unwrap();
}

/// What a client saw whose server crashed in its commit, and what it saw of the next append.
type Seen = (Result<Vec<Recorded>, AppendError>, Result<Vec<Recorded>, AppendError>);

/// Crashes the server while a commit is under way; it is back while the client looks for the
/// outcome, or after.
fn crash_in_a_commit(settle_ms: u64) -> Seen {
    let durable = ServerOptions { durable: true, ..ServerOptions::default() };
    let mut server = Server::start_with(durable);
    let home = prepare(&server);
    let runtime = runtime();
    let log = runtime.block_on(with_one(&home, "crash"));
    server.sql(WAIT_FOR_STANDBY);
    server.sql("SELECT pg_reload_conf()");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let (drafts, is_over) = ([fact(2), fact(3)], AtomicBool::new(false));
    let key = Arc::clone(log.key());
    let seen: Seen = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let home = PgHome { limits: Limits { settle_ms, ..limits() }, ..home.again() };
            let seen = crate::home::runtime().block_on(async {
                let log = Log::with_key(&home, "crash", key);
                let mut store = log.open().await.unwrap();
                let appended = log.append(&mut store, &drafts).await;
                (appended, log.append(&mut store, &[fact(4)]).await)
            });
            is_over.store(true, Ordering::SeqCst);
            seen
        });
        wait_for("the commit to wait", || (server.value(waiting) == "1").then_some(()));
        server.crash();
        without_standby(&server);
        if settle_ms < 1_000 {
            wait_for("the client to give up", || is_over.load(Ordering::SeqCst).then_some(()));
        }
        server.start_again();
        client.join().unwrap()
    });
    runtime.block_on(async {
        // Kept, whatever the client was told: the commit was on disk.
        let events = log.verify().await;
        for draft in &drafts {
            assert_eq!(events.iter().filter(|event| event.id == draft.id).count(), 1);
        }
        log.goes_on().await;
    });
    seen
}

#[test]
fn a_commit_in_a_server_that_is_back_in_time_is_found_and_acknowledged() {
    let (Ok(first), Ok(second)) = crash_in_a_commit(60_000) else { panic!("not found") };
    assert_eq!((first.len(), second[0].seq.0), (2, 3));
}

#[test]
fn a_commit_in_a_server_that_is_gone_is_in_doubt_and_stops_the_store() {
    let (first, second) = crash_in_a_commit(400);
    assert!(matches!(first, Err(AppendError::NotDurable(_))), "{first:?}");
    assert!(matches!(second, Err(AppendError::Stopped)), "{second:?}");
}

/// Appends until the server is gone; what was acknowledged.
async fn until_the_end(log: &Log<'_, PgHome>, number: u64, count: &AtomicUsize) -> Vec<Recorded> {
    let mut store = log.open().await.unwrap();
    for n in 0.. {
        match log.append(&mut store, &[fact(number), fact(n)]).await {
            Ok(_) => {
                count.fetch_add(1, Ordering::SeqCst);
            }
            Err(AppendError::HeadMoved { .. }) => {}
            Err(AppendError::Rejected(_) | AppendError::NotDurable(_)) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    log.acknowledged()
}

#[test]
fn what_was_acknowledged_survives_the_crash_of_the_server_under_four_writers() {
    let durable = ServerOptions { durable: true, ..ServerOptions::default() };
    let mut server = Server::start_with(durable);
    let home = prepare(&server);
    let runtime = runtime();
    let log = runtime.block_on(with_one(&home, "four"));
    let count = AtomicUsize::new(0);
    let acknowledged: Vec<Recorded> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|number| {
                let (count, key) = (&count, Arc::clone(log.key()));
                let home = PgHome { limits: Limits { settle_ms: 300, ..limits() }, ..home.again() };
                scope.spawn(move || {
                    let log = Log::with_key(&home, "four", key);
                    crate::home::runtime().block_on(until_the_end(&log, number, count))
                })
            })
            .collect();
        wait_for("some appends", || (count.load(Ordering::SeqCst) >= 40).then_some(()));
        server.crash();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    server.start_again();
    runtime.block_on(async {
        let events = log.verify().await;
        assert!(acknowledged.len() >= 80);
        for recorded in &acknowledged {
            let at = usize::try_from(recorded.seq.0).unwrap();
            assert_eq!(events.get(at), Some(recorded));
        }
        // Batches of two behind the beginning: none was cut.
        assert_eq!(events.len() % 2, 1);
        eprintln!("{} events, {} of them acknowledged", events.len(), acknowledged.len());
        log.goes_on().await;
    });
}
