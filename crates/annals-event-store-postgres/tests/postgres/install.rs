//! Installing and upgrading the store, beside the ledger and in other people's databases.

use annals_conformance::{Log, fact};
use annals_event_store::{EventStore, OpenError};
use annals_event_store_postgres::{
    InstallError, Installation, Installed, LogReader, Ownership, STORE_FORMAT, StoreFault, install,
    install_up_to, installed_format,
};
use annals_postgres::{ConnectionSpec, LedgerError, SessionSettings};
use annals_testkit::{Server, ServerOptions};

use crate::home::{PgHome, chain_over, in_database, limits, on_server, runtime};

/// A server without the store.
fn on_empty_server(case: impl AsyncFnOnce(&PgHome)) {
    let server = Server::start();
    let home = PgHome::at(&server.url());
    runtime().block_on(case(&home));
}

fn separate() -> Ownership {
    Ownership::Separate { owner: "annals_owner".to_owned() }
}

#[test]
fn installing_twice_does_nothing_the_second_time() {
    on_empty_server(async |home: &PgHome| {
        let spec = home.spec_of("postgres");
        assert_eq!(installed_format(&spec).await.unwrap(), None);
        let first = install(&spec).await.unwrap();
        let done = Installed::Installed { format: STORE_FORMAT };
        assert_eq!(first, Installation { done, ownership: separate() });
        let objects = "SELECT string_agg(o, E'\\n' ORDER BY o) FROM ( \
            SELECT format('%s %s %s %s', relname, relowner, relacl, xmin) FROM pg_class \
                WHERE relnamespace = 'annals'::regnamespace \
            UNION ALL SELECT format('%s %s %s %s', proname, proowner, proacl, xmin) FROM pg_proc \
                WHERE pronamespace = 'annals'::regnamespace) s(o)";
        let before = home.value(objects).await;
        let done = Installed::UpToDate { format: STORE_FORMAT };
        let again = install(&spec).await.unwrap();
        assert_eq!(again, Installation { done, ownership: separate() });
        assert_eq!(home.value(objects).await, before);
        assert_eq!(installed_format(&spec).await.unwrap(), Some(STORE_FORMAT));
    });
}

#[test]
fn two_who_install_at_once_do_not_disturb_each_other() {
    let server = Server::start();
    let results: Vec<Installed> = std::thread::scope(|scope| {
        let url = server.url();
        let installers: Vec<_> = (0..4)
            .map(|_| {
                let spec = ConnectionSpec::from_url(&url).unwrap();
                scope.spawn(move || runtime().block_on(install(&spec)).unwrap().done)
            })
            .collect();
        installers.into_iter().map(|installer| installer.join().unwrap()).collect()
    });
    let installed = Installed::Installed { format: STORE_FORMAT };
    assert_eq!(results.iter().filter(|done| **done == installed).count(), 1, "{results:?}");
}

#[test]
fn an_older_store_is_upgraded_with_its_logs_in_it() {
    on_empty_server(async |home: &PgHome| {
        let spec = home.spec_of("postgres");
        let first = install_up_to(&spec, 1).await.unwrap();
        assert_eq!(first.done, Installed::Installed { format: 1 });
        home.run("CREATE ROLE app LOGIN; GRANT annals_writer TO app").await;
        home.run("CREATE ROLE auditor LOGIN; GRANT annals_reader TO auditor").await;
        // A log under the older format: an event dated to another hour is taken.
        let (log, mut store) = Log::create(home, "older").await;
        log.must_append(&mut store, &[fact(1)]).await;
        log.publish(&mut store).await;
        let chain = chain_over(&log.lines().await);
        let mut ahead = Vec::new();
        let later = chain.recorded_at().unwrap().plus_micros(3_600_000_000);
        let origin = log.origin();
        annals_events::seal(&mut chain.clone(), origin, &fact(2), later, &mut ahead).unwrap();
        ahead.pop();
        let append = format!(
            "BEGIN; SELECT annals.log_append('{origin}', 2, {}, ARRAY[{}]); ROLLBACK",
            crate::home::bytea(chain.last().as_bytes()),
            crate::home::bytea(&ahead)
        );
        home.try_as("app", &append).await.unwrap();

        let upgraded = install(&spec).await.unwrap();
        let done = Installed::Upgraded { from: 1, to: STORE_FORMAT };
        assert_eq!(upgraded, Installation { done, ownership: separate() });
        // Under the newer one it is not, and a store that was open goes on.
        let refused = home.try_as("app", &append).await.unwrap_err();
        assert!(refused.starts_with("AN002"), "{refused}");
        log.must_append(&mut store, &[fact(2)]).await;
        drop(store);
        log.goes_on().await;
        let owners = "SELECT string_agg(DISTINCT proowner::regrole::text, ' ') FROM pg_proc \
            WHERE pronamespace = 'annals'::regnamespace";
        assert_eq!(home.value(owners).await, "annals_owner");
        let (other, store) = Log::create(home, "newer").await;
        drop(store);
        other.goes_on().await;
    });
}

#[test]
fn a_store_from_a_newer_annals_is_neither_installed_over_nor_opened() {
    in_database(async |home: &PgHome| {
        let (log, store) = Log::create(home, "future").await;
        drop(store);
        home.run("UPDATE annals.log_store SET format = format + 1").await;
        let refused = install(&home.spec_of("postgres")).await;
        assert!(matches!(refused, Err(InstallError::Newer { found: 3 })), "{refused:?}");
        assert!(matches!(log.refused("newer").await, OpenError::Newer { .. }));
        let read = LogReader::connect(&home.spec_of("auditor"), limits()).await;
        assert!(matches!(read, Err(StoreFault::Newer { found: 3 })));
        home.run("UPDATE annals.log_store SET format = format - 1").await;
        log.goes_on().await;
    });
}

/// Installs the ledger as `user`.
async fn install_ledger(home: &PgHome, user: &str) -> Result<bool, LedgerError> {
    let settings = SessionSettings::default();
    let mut session = home.spec_of(user).connect("annals-test", &settings).await.unwrap();
    session.install_ledger().await?;
    let found = session.has_ledger().await;
    session.close().await;
    found
}

async fn has_ledger(home: &PgHome) -> bool {
    let settings = SessionSettings::default();
    let mut session = home.spec_of("postgres").connect("annals-test", &settings).await.unwrap();
    let found = session.has_ledger().await.unwrap();
    session.close().await;
    found
}

const MIGRATOR: &str = "CREATE ROLE migrator LOGIN CREATEROLE; \
    GRANT CREATE ON DATABASE postgres TO migrator; CREATE ROLE app LOGIN; \
    CREATE ROLE auditor LOGIN";

#[test]
fn ledger_and_store_are_installed_in_any_order() {
    for user in ["postgres", "migrator"] {
        on_empty_server(async |home: &PgHome| {
            home.run(MIGRATOR).await;
            let spec = home.spec_of(user);
            assert!(!has_ledger(home).await);
            install(&spec).await.unwrap();
            assert!(!has_ledger(home).await, "a store is no ledger");
            assert!(install_ledger(home, user).await.unwrap());
            assert!(install_ledger(home, user).await.unwrap());
            let again = install(&spec).await.unwrap();
            assert_eq!(again.done, Installed::UpToDate { format: STORE_FORMAT });
        });
        on_empty_server(async |home: &PgHome| {
            home.run(MIGRATOR).await;
            let spec = home.spec_of(user);
            assert!(install_ledger(home, user).await.unwrap());
            assert_eq!(installed_format(&spec).await.unwrap(), None, "a ledger is no store");
            let installed = install(&spec).await.unwrap();
            assert_eq!(installed.ownership, separate());
            assert!(has_ledger(home).await);
            // Whoever keeps the ledger can go on to.
            home.try_as(user, "SELECT count(*) FROM annals.ledger").await.unwrap();
            assert!(install_ledger(home, user).await.unwrap());
            // And cannot drop the log with the schema, unless it is a superuser.
            if user != "postgres" {
                let refused = home.try_as(user, "DROP SCHEMA annals CASCADE").await.unwrap_err();
                assert!(refused.starts_with("42501"), "{refused}");
            }
        });
    }
}

#[test]
fn a_role_that_may_create_roles_installs_and_does_not_own() {
    on_empty_server(async |home: &PgHome| {
        home.run(MIGRATOR).await;
        let spec = home.spec_of("migrator");
        assert_eq!(install_up_to(&spec, 1).await.unwrap().ownership, separate());
        assert_eq!(install(&spec).await.unwrap().ownership, separate());
        for sql in ["DELETE FROM annals.log_event", "ALTER TABLE annals.log_event ADD x int"] {
            let refused = home.try_as("migrator", sql).await.unwrap_err();
            assert!(refused.starts_with("42501"), "{sql}: {refused}");
        }
        // It can append, though.
        let home = PgHome { writer: home.spec_of("migrator"), ..home.again() };
        home.run("GRANT annals_reader TO auditor").await;
        let (log, store) = Log::create(&home, "by-migrator").await;
        drop(store);
        log.goes_on().await;
    });
}

#[test]
fn a_role_that_may_not_create_roles_owns_the_store_and_it_is_told() {
    on_empty_server(async |home: &PgHome| {
        home.run("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app").await;
        let spec = home.spec_of("app");
        let ownership = Ownership::Installer { role: "app".to_owned() };
        let installed = install_up_to(&spec, 1).await.unwrap();
        let done = Installed::Installed { format: 1 };
        assert_eq!(installed, Installation { done, ownership: ownership.clone() });
        let upgraded = install(&spec).await.unwrap();
        assert_eq!(upgraded.ownership, ownership);
        home.run(
            "CREATE ROLE auditor LOGIN; GRANT USAGE ON SCHEMA annals TO auditor; \
            GRANT SELECT ON ALL TABLES IN SCHEMA annals TO auditor; CREATE ROLE other LOGIN",
        )
        .await;
        let (log, store) = Log::create(home, "own").await;
        drop(store);
        log.goes_on().await;
        for sql in ["TABLE annals.log_event", "SELECT annals.log_begin('a/b')"] {
            let refused = home.try_as("other", sql).await.unwrap_err();
            assert!(refused.starts_with("42501"), "{sql}: {refused}");
        }
        // Somebody else who may create roles does not take it over.
        home.run("CREATE ROLE stranger LOGIN CREATEROLE").await;
        let refused = install(&home.spec_of("stranger")).await;
        assert!(matches!(refused, Err(InstallError::Server(_))), "{refused:?}");
        let owners = "SELECT string_agg(DISTINCT relowner::regrole::text, ' ') FROM pg_class \
            WHERE relnamespace = 'annals'::regnamespace";
        assert_eq!(home.value(owners).await, "app");
    });
}

#[test]
fn a_store_of_somebody_else_is_not_upgraded() {
    on_empty_server(async |home: &PgHome| {
        install_up_to(&home.spec_of("postgres"), 1).await.unwrap();
        home.run("CREATE ROLE stranger LOGIN; GRANT annals_reader TO stranger").await;
        let refused = install(&home.spec_of("stranger")).await;
        assert!(matches!(refused, Err(InstallError::NotOwner { .. })), "{refused:?}");
        assert_eq!(installed_format(&home.spec_of("stranger")).await.unwrap(), Some(1));
    });
}

#[test]
fn somebody_elses_schema_or_a_database_of_another_encoding_is_left_alone() {
    on_empty_server(async |home: &PgHome| {
        home.run("CREATE SCHEMA annals; CREATE TABLE annals.of_my_garden (plant text)").await;
        let refused = install(&home.spec_of("postgres")).await;
        assert!(matches!(refused, Err(InstallError::Foreign)), "{refused:?}");
        home.run("DROP SCHEMA annals CASCADE").await;
        home.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0").await;
        let url = home.url_of("postgres").replace(":5432/postgres", ":5432/latin");
        let refused = install(&ConnectionSpec::from_url(&url).unwrap()).await;
        assert!(matches!(&refused, Err(InstallError::Encoding(found)) if found == "LATIN1"));
        assert_eq!(
            home.value("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'annals%'").await,
            "0"
        );
    });
}

#[test]
fn two_databases_of_one_server_share_the_roles_and_nothing_else() {
    in_database(async |home: &PgHome| {
        home.run("CREATE DATABASE control").await;
        let url = home.url.replace(":5432/postgres", ":5432/control");
        let control = PgHome::at(&url);
        let installed = install(&control.spec_of("postgres")).await.unwrap();
        assert_eq!(installed.ownership, separate());
        let (here, mut store) = Log::create(home, "same").await;
        here.must_append(&mut store, &[fact(1)]).await;
        let (there, other) = Log::create(&control, "same").await;
        assert_eq!((store.head().size, other.head().size), (2, 1));
        assert_ne!(store.home(), other.home());
        drop((store, other));
        here.goes_on().await;
        there.goes_on().await;
    });
}

#[test]
fn a_database_prepared_like_supabase_gives_nothing_away() {
    let supabase = ServerOptions { supabase: true, ..ServerOptions::default() };
    on_server(supabase, async |home: &PgHome| {
        let (log, store) = Log::create(home, "supabase").await;
        drop(store);
        log.goes_on().await;
        for role in ["anon", "authenticated", "service_role"] {
            for sql in ["TABLE annals.log_event", "SELECT annals.log_begin('a/b')"] {
                let refused = home.try_as("postgres", &format!("SET ROLE {role}; {sql}")).await;
                assert!(refused.unwrap_err().starts_with("42501"), "{role}: {sql}");
            }
        }
    });
}

#[test]
fn default_privileges_do_not_open_the_store() {
    on_empty_server(async |home: &PgHome| {
        home.run(MIGRATOR).await;
        home.run(
            "CREATE ROLE anon; CREATE SCHEMA annals AUTHORIZATION migrator; \
             GRANT USAGE ON SCHEMA annals TO PUBLIC, anon; \
             ALTER DEFAULT PRIVILEGES FOR ROLE migrator GRANT ALL ON TABLES TO anon, PUBLIC; \
             ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA annals \
                 GRANT ALL ON TABLES TO anon, PUBLIC; \
             ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA annals \
                 GRANT ALL ON FUNCTIONS TO anon",
        )
        .await;
        // Owned by the role the defaults are for, as where no roles may be created.
        home.run("ALTER ROLE migrator NOCREATEROLE").await;
        let installed = install(&home.spec_of("migrator")).await.unwrap();
        assert_eq!(installed.ownership, Ownership::Installer { role: "migrator".to_owned() });
        let given = "SELECT count(*) FROM ( \
            SELECT relacl FROM pg_class WHERE relnamespace = 'annals'::regnamespace \
            UNION ALL SELECT proacl FROM pg_proc WHERE pronamespace = 'annals'::regnamespace \
            UNION ALL SELECT nspacl FROM pg_namespace WHERE nspname = 'annals' \
            ) o(acl) CROSS JOIN LATERAL aclexplode(o.acl) a \
            WHERE a.grantee IN (0, 'anon'::regrole)";
        assert_eq!(home.value(given).await, "0");
        let defaults = "SELECT count(*) FROM pg_default_acl d \
            CROSS JOIN LATERAL aclexplode(d.defaclacl) a \
            WHERE d.defaclnamespace = 'annals'::regnamespace AND a.grantee <> d.defaclrole";
        assert_eq!(home.value(defaults).await, "0");
    });
}
