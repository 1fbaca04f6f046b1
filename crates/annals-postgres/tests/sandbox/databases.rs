//! Databases made like another one, cloned and dropped.

use annals_postgres::Platform;
use annals_postgres::sandbox::{Likeness, LocaleProvider, SandboxError, read_likeness};

use crate::{Place, session, value};

const SET: [&str; 7] = [
    "CREATE ROLE app; CREATE ROLE gone",
    "ALTER DATABASE target SET search_path = \"$user\", \"a,b\", public",
    "ALTER DATABASE target SET \"DateStyle\" = 'SQL, DMY'",
    "ALTER DATABASE target SET app.tenant = 'it''s, one'",
    "ALTER ROLE app IN DATABASE target SET work_mem = '7MB'",
    "ALTER ROLE gone IN DATABASE target SET work_mem = '8MB'",
    "ALTER SYSTEM SET default_text_search_config = 'pg_catalog.german'",
];

/// The target's likeness, once its server has read its configuration.
async fn likeness_of(place: &Place, target: &annals_postgres::sandbox::Sandbox) -> Likeness {
    let mut admin = session(&target.spec()).await;
    let create = "CREATE DATABASE target TEMPLATE template0 ENCODING 'SQL_ASCII' \
                  LC_COLLATE 'POSIX' LC_CTYPE 'C'";
    admin.run(create).await.unwrap();
    for sql in SET {
        admin.run(sql).await.unwrap();
    }
    admin.run("SELECT pg_reload_conf()").await.unwrap();
    admin.close().await;
    let mut live = session(&target.database_spec("target")).await;
    let german = ("default_text_search_config".to_owned(), "pg_catalog.german".to_owned());
    for _ in 0..1000 {
        let likeness = read_likeness(&mut live).await.unwrap();
        if likeness.server_settings.contains(&german) {
            live.close().await;
            return likeness;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{} does not read its configuration", place.folder.path().display());
}

#[test]
fn a_database_is_made_like_the_target_and_says_where_it_is_not() {
    let place = Place::new();
    let target = place.start("target", Platform::Plain);
    let sandbox = place.start("sandbox", Platform::Plain);
    place.run(async {
        let likeness = likeness_of(&place, &target).await;
        assert!(likeness.provider == LocaleProvider::Libc && likeness.settings.len() == 3);
        let mut admin = session(&sandbox.spec()).await;
        admin.run("CREATE ROLE app").await.unwrap();
        admin.close().await;

        let mut databases = sandbox.databases().await.unwrap();
        let unlike = databases.create_like("rehearsal", &likeness).await.unwrap();
        let what: Vec<&str> = unlike.iter().map(|unlike| unlike.what.as_str()).collect();
        assert_eq!(what, ["setting work_mem of role gone"]);
        let refused = databases.create_like("rehearsal", &likeness).await.unwrap_err();
        assert!(matches!(refused, SandboxError::Prepare(fault) if fault.code() == Some("42P04")));

        let mut here = session(&sandbox.database_spec("rehearsal")).await;
        let mut read = read_likeness(&mut here).await.unwrap();
        // What the server's configuration says there, the database says here.
        read.settings.retain(|(name, _)| likeness.settings.iter().any(|(known, _)| known == name));
        assert_eq!(read.settings, likeness.settings);
        assert_eq!(read.role_settings.len(), 1);
        assert_eq!(read.encoding, "SQL_ASCII");
        assert_eq!((read.collate, read.ctype), (likeness.collate, likeness.ctype));
        let config = value(&mut here, "SELECT current_setting('default_text_search_config')").await;
        assert_eq!(config, "pg_catalog.german");
        here.run("CREATE TABLE t (x int)").await.unwrap();
        here.close().await;

        // The clone has the content and the settings.
        databases.create_from("rehearsal", "clone").await.unwrap();
        let mut clone = session(&sandbox.database_spec("clone")).await;
        assert_eq!(value(&mut clone, "to_regclass('t')").await, "t");
        let path = value(&mut clone, "SELECT current_setting('search_path')").await;
        assert_eq!(path, "\"$user\", \"a,b\", public");
        assert_eq!(value(&mut clone, "SELECT current_setting('app.tenant')").await, "it's, one");
        let cloned = read_likeness(&mut clone).await.unwrap();
        assert!(cloned.role_settings == read.role_settings);

        // Somebody is in it: it goes all the same.
        databases.drop("clone").await.unwrap();
        databases.drop("clone").await.unwrap();
        assert!(clone.run("SELECT 1").await.is_err());
        databases.close().await;
    });
}

#[test]
fn a_locale_that_is_not_there_is_replaced_and_told() {
    let place = Place::new();
    let sandbox = place.start("sandbox", Platform::Supabase);
    place.run(async {
        let likeness = Likeness {
            server_major: sandbox.major(),
            encoding: "UTF8".into(),
            collate: "xx_XX.UTF-8".into(),
            ctype: "xx_XX.UTF-8".into(),
            provider: LocaleProvider::Libc,
            locale: None,
            icu_rules: None,
            server_settings: vec![],
            settings: vec![("no_such_setting".into(), "CANARY-1".into())],
            role_settings: vec![],
        };
        let mut databases = sandbox.databases().await.unwrap();
        let unlike = databases.create_like("odd \"name\"", &likeness).await.unwrap();
        assert_eq!(unlike.len(), 2, "{unlike:?}");
        assert!(unlike[0].what.contains("LC_COLLATE 'C") && unlike[0].reason.contains("xx_XX"));
        assert_eq!(unlike[1].what, "setting no_such_setting");
        assert!(!format!("{unlike:?}").contains("CANARY"));
        // It is prepared like the first database of the sandbox, and belongs to the same role.
        let mut session = session(&sandbox.database_spec("odd \"name\"")).await;
        session.run("CREATE TABLE t (u uuid REFERENCES auth.users)").await.unwrap();
        session.close().await;
        databases.drop("odd \"name\"").await.unwrap();
        databases.close().await;
    });
}
