//! A sandbox like Supabase runs what projects on Supabase run, and refuses what Supabase refuses.

use annals_postgres::{Platform, Session};

use crate::{Place, session, value};

/// Migrations as they are written for Supabase, in order.
const MIGRATIONS: &str = include_str!("supabase_migrations.sql");

async fn as_user(session: &mut Session, sub: &str, sql: &str) -> Result<String, String> {
    let claims = format!("{{\"sub\":\"{sub}\",\"role\":\"authenticated\",\"email\":\"{sub}@x\"}}");
    session.run("BEGIN").await.unwrap();
    let begin = format!("SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '{claims}'");
    session.run(&begin).await.unwrap();
    let wrapped = format!("SELECT ({sql})::text AS value");
    let row = sqlx::query(sqlx::AssertSqlSafe(wrapped)).fetch_one(session.connection()).await;
    session.roll_back().await.unwrap();
    use sqlx::Row;
    row.map(|row| row.get::<Option<String>, _>("value").unwrap_or_default())
        .map_err(|error| error.to_string())
}

const ALICE: &str = "00000000-0000-0000-0000-00000000000a";
const BOB: &str = "00000000-0000-0000-0000-00000000000b";

#[test]
fn migrations_written_for_supabase_run_and_do_what_they_do_there() {
    let place = Place::new();
    let sandbox = place.start("s", Platform::Supabase);
    place.run(async {
        let mut session = session(&sandbox.spec()).await;
        assert_eq!(value(&mut session, "current_setting('is_superuser')").await, "off");
        for (at, migration) in MIGRATIONS.split("-- next migration\n").enumerate() {
            let ran = session.run(&format!("BEGIN; {migration}; COMMIT")).await;
            ran.unwrap_or_else(|fault| panic!("migration {at}: {fault}"));
        }
        // Before 15 the server has no way to let a role that is no superuser do this.
        if session.facts().major() >= 15 {
            let sql = "ALTER ROLE authenticator SET pgrst.db_schemas = 'public, private'";
            session.run(sql).await.unwrap();
            session.run("SET session_replication_role = replica; RESET ALL").await.unwrap();
        }
        // A sign-up by Supabase's own service fires the trigger.
        let mut admin = crate::session(&sandbox.superuser_spec("postgres")).await;
        for (user, name) in [(ALICE, "Alice"), (BOB, "Bob")] {
            let sql = format!(
                "SET ROLE supabase_auth_admin; INSERT INTO auth.users \
                 (id, email, raw_user_meta_data) \
                 VALUES ('{user}', '{name}@example.org', '{{\"full_name\": \"{name}\"}}'); \
                 RESET ROLE"
            );
            admin.run(&sql).await.unwrap();
        }
        admin.close().await;
        assert_eq!(value(&mut session, "SELECT count(*) FROM public.profiles").await, "2");

        // Policies decide by who asks.
        let mine = "SELECT string_agg(full_name, ',') FROM public.profiles";
        assert_eq!(as_user(&mut session, ALICE, mine).await.unwrap(), "Alice");
        assert_eq!(as_user(&mut session, BOB, mine).await.unwrap(), "Bob");
        let uid = "SELECT auth.uid()::text || ' ' || auth.role() || ' ' || auth.email()";
        let expected = format!("{ALICE} authenticated {ALICE}@x");
        assert_eq!(as_user(&mut session, ALICE, uid).await.unwrap(), expected);
        assert_eq!(as_user(&mut session, ALICE, "auth.jwt() ->> 'sub'").await.unwrap(), ALICE);

        // Storage: each user has a folder.
        let upload = |folder: &str| {
            format!("SELECT count(*) FROM (SELECT public.upload('{folder}/x/me.png')) AS done")
        };
        assert_eq!(as_user(&mut session, ALICE, &upload(ALICE)).await.unwrap(), "1");
        let refused = as_user(&mut session, ALICE, &upload(BOB)).await.unwrap_err();
        assert!(refused.contains("row-level security"), "{refused}");
        let parts = "SELECT array_to_string(storage.foldername('a/b/c.tar.gz'), '|') || ' ' || \
                     storage.filename('a/b/c.tar.gz') || ' ' || storage.extension('a/b/c.tar.gz')";
        assert_eq!(value(&mut session, parts).await, "a|b c.tar.gz gz");

        // Default privileges: a new table is open to the API until policies close it.
        let open = "SELECT has_table_privilege('anon', 'public.notes', 'insert')";
        assert_eq!(value(&mut session, open).await, "true");
        let published = "SELECT string_agg(tablename, ',') FROM pg_publication_tables \
                         WHERE pubname = 'supabase_realtime'";
        assert_eq!(value(&mut session, published).await, "notes");
        session.close().await;
    });
}

#[test]
fn what_supabase_refuses_is_refused() {
    let place = Place::new();
    let sandbox = place.start("s", Platform::Supabase);
    place.run(async {
        let mut session = session(&sandbox.spec()).await;
        for sql in [
            "ALTER TABLE auth.users ADD COLUMN nickname text",
            "DROP TABLE auth.users",
            "CREATE TABLE auth.mine ()",
            "ALTER ROLE postgres SUPERUSER",
            "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/x', 'f'",
            "COPY (SELECT 1) TO PROGRAM 'true'",
        ] {
            let refused = session.run(sql).await.unwrap_err();
            assert_eq!(refused.code(), Some("42501"), "{sql}: {refused}");
        }
        session.close().await;
    });
}
