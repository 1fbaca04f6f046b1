//! Poolers: what hands out sessions is used, what hands out less is found out before a write.

use annals_postgres::{ConnectError, ConnectionSpec, SessionSettings, TransactionLimits};
use annals_testkit::{PoolMode, Pooler, PoolerOptions, Server};

use crate::{block_on, elsewhere};

fn pooler(server: &Server, mode: PoolMode, size: usize, in_turn: bool) -> Pooler {
    Pooler::before(server, PoolerOptions { mode, size, in_turn })
}

async fn connect_to_work(url: &str) -> Result<i32, ConnectError> {
    let spec = ConnectionSpec::from_url(url).unwrap();
    let mut session = spec.connect_to_work("annals/work", &SessionSettings::default()).await?;
    // It is a session: what is set stays, on the same backend.
    session.run("SET my.mark = 'here'").await.unwrap();
    session.run("DO $$ BEGIN ASSERT current_setting('my.mark') = 'here'; END $$").await.unwrap();
    let pid = session.facts().backend_pid;
    session.close().await;
    Ok(pid)
}

/// Nobody may be left with what a refused connection has set.
fn leaves_nothing(pooler: &Pooler) {
    block_on(async {
        let spec = ConnectionSpec::from_url(&pooler.url()).unwrap();
        let settings = SessionSettings::default();
        let mut session = spec.connect_to_read("annals/look", &settings).await.unwrap();
        let check =
            "DO $$ BEGIN ASSERT current_setting('tcp_keepalives_idle') <> '10', 'left'; END $$";
        session.run(check).await.unwrap();
        session.close().await;
    });
}

#[test]
fn a_server_itself_and_a_pool_of_sessions_are_no_poolers_of_transactions() {
    let server =
        Server::start_with(annals_testkit::ServerOptions { tcp: true, ..Default::default() });
    for url in [server.url(), server.tcp_url()] {
        for _ in 0..5 {
            block_on(connect_to_work(&url)).unwrap();
        }
    }
    // With one backend the second connection has to queue.
    for size in [1, 2, 5] {
        for in_turn in [false, true] {
            let pooler = pooler(&server, PoolMode::Session, size, in_turn);
            for _ in 0..if size == 1 { 1 } else { 3 } {
                block_on(connect_to_work(&pooler.url())).unwrap();
            }
        }
    }
}

#[test]
fn a_pooler_that_hands_out_transactions_is_refused_however_it_chooses() {
    let server = Server::start();
    for size in [1, 2, 3, 5] {
        for in_turn in [false, true] {
            let pooler = pooler(&server, PoolMode::Transaction, size, in_turn);
            // The second time there are backends at rest.
            for _ in 0..4 {
                let refused = block_on(connect_to_work(&pooler.url())).unwrap_err();
                let said = format!("{refused} [{}]", refused.hint().unwrap());
                assert!(matches!(refused, ConnectError::Pooled { .. }), "{size} {in_turn}: {said}");
                assert!(said.contains("hands out single transactions, not sessions"), "{said}");
                assert!(said.contains("PgBouncer: pool_mode = session"), "{said}");
            }
            if !in_turn {
                leaves_nothing(&pooler);
            }
        }
    }
    assert_eq!(server.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"), [""; 0]);
}

#[test]
fn a_pooler_that_hands_out_transactions_is_refused_while_others_use_it() {
    let server = Server::start();
    let pooler = pooler(&server, PoolMode::Transaction, 4, true);
    let spec = ConnectionSpec::from_url(&pooler.url()).unwrap();
    block_on(async {
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(spec.connect("others", &SessionSettings::default()).await.unwrap());
        }
        // Two are in a transaction, so that backends differ in age and turn.
        for other in others.iter_mut().take(2) {
            other.run("BEGIN").await.unwrap();
        }
        for _ in 0..4 {
            let refused = connect_to_work(&pooler.url()).await.unwrap_err();
            assert!(matches!(refused, ConnectError::Pooled { .. }), "{refused}");
        }
    });
}

#[test]
fn a_pooler_that_hands_out_statements_is_refused() {
    let server = Server::start();
    for in_turn in [false, true] {
        let pooler = pooler(&server, PoolMode::Statement, 3, in_turn);
        for _ in 0..3 {
            let refused = block_on(connect_to_work(&pooler.url())).unwrap_err();
            assert!(refused.to_string().contains("hands out single statements"), "{refused}");
        }
        let spec = ConnectionSpec::from_url(&pooler.url()).unwrap();
        let settings = SessionSettings::default();
        let refused = block_on(spec.connect_to_read("annals/look", &settings)).err().unwrap();
        assert!(refused.to_string().contains("hands out single statements"), "{refused}");
    }
}

#[test]
fn whoever_only_reads_can_do_so_through_a_pooler_of_transactions() {
    let server = Server::start();
    server.sql("CREATE TABLE things AS SELECT 1 AS id");
    let pooler = pooler(&server, PoolMode::Transaction, 3, true);
    let spec = ConnectionSpec::from_url(&pooler.url()).unwrap();
    block_on(async {
        for _ in 0..4 {
            let settings = SessionSettings::default();
            let mut session = spec.connect_to_read("annals/look", &settings).await.unwrap();
            for _ in 0..3 {
                // With a parameter: by the protocol that prepares a statement first.
                let query = sqlx::query("SELECT id FROM things WHERE id = $1").bind(1_i32);
                assert!(query.fetch_optional(session.connection()).await.unwrap().is_some());
            }
            assert!(session.run("CREATE TABLE no ()").await.is_err());
            session.close().await;
        }
    });
    let left =
        elsewhere(|| server.rows("SELECT pid FROM pg_stat_activity WHERE state LIKE 'idle in%'"));
    assert_eq!(left, [""; 0]);
}

#[test]
fn options_a_pooler_does_not_take_are_named() {
    let server = Server::start();
    let pooler = pooler(&server, PoolMode::Session, 3, false);
    let url = format!("{}&options=-c%20work_mem%3D8MB", pooler.url());
    // Since PgBouncer 1.20 they are passed on.
    if let Err(refused) = block_on(connect_to_work(&url)) {
        let said = format!("{refused} [{}]", refused.hint().unwrap());
        assert!(said.contains("startup parameter") && said.contains("PGOPTIONS"), "{said}");
    }
}

/// A pooler logs in for its clients: what `RESET ALL` brings back is not what they have asked for.
#[test]
fn a_session_behind_a_pooler_keeps_its_name_and_its_encoding_behind_every_reset() {
    let server = Server::start();
    server.sql(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    server.sql("ALTER DATABASE latin SET TimeZone = 'Asia/Tokyo'");
    server.sql("ALTER DATABASE latin SET DateStyle = 'SQL, DMY'");
    let pooler = pooler(&server, PoolMode::Session, 3, false);
    let url = pooler.url().replace("/postgres?", "/latin?");
    let spec = ConnectionSpec::from_url(&url).unwrap();
    block_on(async {
        let mut session = spec.connect_to_work("annals/work", &SessionSettings::default()).await?;
        let hostile = "SET application_name = 'web'; SET client_encoding = 'LATIN1'; \
                       SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'";
        session.run(hostile).await.unwrap();
        let limits = TransactionLimits { lock_ms: 1_000, statement_ms: 0 };
        session.begin(limits).await.unwrap();
        let check = "DO $$ BEGIN \
             ASSERT current_setting('application_name') = 'annals/work', 'name'; \
             ASSERT length('é') = 1 AND ascii('é') = 233, 'encoding'; \
             ASSERT current_setting('TimeZone') = 'UTC', 'zone'; \
             ASSERT current_setting('DateStyle') = 'ISO, MDY', 'dates'; END $$";
        session.run(check).await.unwrap();
        session.roll_back().await.unwrap();
        session.close().await;
        Ok::<_, ConnectError>(())
    })
    .unwrap();
}
