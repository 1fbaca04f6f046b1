//! What is taken comes back as it was.

use annals_archive::{FileStore, Kind};
use annals_testkit::Server;

use crate::common::{EVERYTHING, NAME, Source, bring_back, compared, files, read, sql_in};

#[test]
fn everything_comes_back_as_it_was() {
    let server = Server::start();
    server.sql(EVERYTHING);
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("backups"));
    let (manifest, receipt) = Source::of(&server).take(&store).unwrap();
    assert_eq!(files(&folder.path().join("backups")), [format!("{NAME}.sealed")]);
    assert_eq!(store.examine(NAME).unwrap().receipt, receipt);

    let archive = read(&store, 7).unwrap();
    assert_eq!(archive.manifest, manifest);
    let rows = |name: &str| {
        let table = manifest.tables.iter().find(|table| table.name == name);
        table.unwrap_or_else(|| panic!("no {name}")).content.rows
    };
    assert_eq!(rows("shop.customers"), 3000);
    assert_eq!(rows("shop.events_2024") + rows("shop.events_rest"), 500);
    assert_eq!(rows("shop.parent"), 1);
    assert_eq!((rows("public.nothing"), rows("public.empty")), (2, 0));
    assert!(manifest.not_included.iter().any(|it| it.what.contains("shop.totals")));
    assert!(!manifest.tables.iter().any(|table| table.name == "shop.events"));

    let comparison = bring_back(&store, &server, "back").unwrap();
    assert!(comparison.schema_compared);
    assert_eq!(comparison.unequal, []);
    assert_eq!(comparison.tables, manifest.tables.len() as u64);

    // What is not compared by itself.
    let ask = "SELECT string_agg(x, ' ') FROM (SELECT sum(sum)::text AS x FROM shop.totals \
        UNION ALL SELECT nextval('shop.numbers')::text \
        UNION ALL SELECT nextval('shop.orders_id_seq')::text \
        UNION ALL SELECT md5(lo_get(4242)) UNION ALL SELECT length(lo_get(4243))::text \
        UNION ALL SELECT obj_description(4243, 'pg_largeobject') \
        UNION ALL SELECT lomowner::regrole || ' ' || lomacl::text FROM pg_largeobject_metadata \
            WHERE oid = 4242 \
        UNION ALL SELECT current_setting('work_mem')) s";
    let before = server.value(ask);
    sql_in(&server, "back", &format!("CREATE TABLE answer AS {ask}"));
    sql_in(
        &server,
        "back",
        &format!(
            "DO $$ BEGIN IF (SELECT * FROM answer) <> {} THEN RAISE EXCEPTION '%', (SELECT * FROM answer); \
         END IF; END $$",
            format_args!("'{}'", before.replace('\'', "''"))
        ),
    );
}

#[test]
fn whatever_is_changed_behind_a_restore_is_found() {
    let server = Server::start();
    server.sql(EVERYTHING);
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().to_owned());
    Source::of(&server).take(&store).unwrap();
    let archive = read(&store, 7).unwrap();
    for (at, (change, subject)) in [
        ("DELETE FROM shop.events_2024 WHERE id = 200", "table shop.events_2024"),
        ("UPDATE shop.customers SET doc = '{}' WHERE id = 7", "table shop.customers"),
        ("DELETE FROM shop.child", "table shop.child"),
        ("INSERT INTO nothing DEFAULT VALUES", "table public.nothing"),
        (
            "UPDATE \"odd \"\"name\" SET \"select\" = 2 WHERE ctid = '(0,2)'",
            "table public.\"odd \"\"name\"",
        ),
        ("SELECT setval('shop.numbers', 7)", "sequence shop.numbers"),
        ("SELECT lo_put(4242, 300000, 'X')", "large objects' bytes"),
        ("ALTER LARGE OBJECT 4242 OWNER TO postgres", "large objects' owners and rights"),
        ("DROP INDEX shop.totals_customer_idx", "totals_customer_idx"),
        ("ALTER TABLE shop.orders DISABLE TRIGGER noted", "trigger"),
    ]
    .into_iter()
    .enumerate()
    {
        let database = format!("back{at}");
        if at == 0 {
            bring_back(&store, &server, "back").unwrap();
        }
        server.sql(&format!("CREATE DATABASE {database} TEMPLATE back"));
        // What belongs to the database itself is not cloned with it.
        archive.manifest.create_sql(&database)[1..].iter().for_each(|sql| server.sql(sql));
        sql_in(&server, &database, change);
        let found = compared(&archive, &server, &database).unwrap().unequal;
        assert_eq!(found.len(), 1, "{change}: {found:?}");
        assert!(found[0].subject.contains(subject), "{change}: {found:?}");
        server.sql(&format!("DROP DATABASE {database}"));
    }
}

#[test]
fn a_backup_of_the_schema_holds_no_rows() {
    let server = Server::start();
    server.sql(EVERYTHING);
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().to_owned());
    let source = Source { kind: Kind::Schema, ..Source::of(&server) };
    let (manifest, _) = source.take(&store).unwrap();
    assert_eq!((manifest.tables.len(), manifest.rows(), manifest.large_objects), (0, 0, None));
    assert_eq!(bring_back(&store, &server, "back").unwrap().unequal, []);
}

#[test]
fn a_large_table_is_split_and_nobody_who_writes_meanwhile_gets_into_the_snapshot() {
    let server = Server::start();
    // More than one part of 64 MiB.
    server.sql(
        "CREATE TABLE big (id int, filler text); \
         INSERT INTO big SELECT n, repeat(md5(n::text), 24) FROM generate_series(1, 130000) n; \
         CREATE TABLE pairs (a int, b int)",
    );
    assert!(
        server.value("SELECT pg_relation_size('big') / 8192").parse::<u64>().unwrap() > 2 * 4096
    );
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().to_owned());
    let url = server.url();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    // Whatever is seen, both tables are seen at one moment: each transaction changes both.
    let writer = std::thread::spawn(move || {
        crate::common::runtime().block_on(async {
            let spec = crate::common::spec(&url);
            let mut session = spec.connect("writer", &Default::default()).await.unwrap();
            let mut n = 0;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                let sql = format!(
                    "BEGIN; INSERT INTO pairs VALUES ({n}, 0); INSERT INTO big VALUES (-{n}, 'x'); COMMIT"
                );
                session.run(&sql).await.unwrap();
            }
            n
        })
    });
    let source = Source { jobs: 3, ..Source::of(&server) };
    let (manifest, _) = source.take(&store).unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written: u64 = writer.join().unwrap();
    let rows =
        |name: &str| manifest.tables.iter().find(|table| table.name == name).unwrap().content.rows;
    let seen = rows("public.pairs");
    assert!(seen < written, "nothing was written behind the snapshot: {seen} of {written}");
    assert_eq!(rows("public.big"), 130_000 + seen);
    assert_eq!(bring_back(&store, &server, "back").unwrap().unequal, []);
}
