//! A source, a place for backups, and a copy.

use std::path::Path;
use std::sync::Arc;

use annals_archive::{
    Archive, ArchiveError, CaptureOptions, Comparison, Extent, FileStore, Kind, Manifest,
    NoWatcher, RestoreOptions, capture, compare, read_through, restore,
};
use annals_backup::{BackupId, KeyEncryptionKey, Receipt, SealParams, seal};
use annals_postgres::sandbox::ServerPlaces;
use annals_postgres::{ConnectionSpec, DumpProgram, SchemaScope, SessionSettings};
use annals_testkit::Server;

pub(crate) const ID: BackupId = BackupId::from_bytes([7; 16]);
pub(crate) const NAME: &str = "07070707-0707-0707-0707-070707070707";

pub(crate) fn key(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::from_bytes(&[byte; 32]).unwrap()
}

pub(crate) fn keys(byte: u8) -> Arc<Vec<KeyEncryptionKey>> {
    Arc::new(vec![key(byte)])
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn spec(url: &str) -> ConnectionSpec {
    ConnectionSpec::read(url, &|_| None).unwrap()
}

/// Runs SQL in another database of the server.
pub(crate) fn sql_in(server: &Server, database: &str, sql: &str) {
    runtime().block_on(async {
        let spec = spec(&server.url()).with_database(database);
        let mut session = spec.connect("test", &SessionSettings::default()).await.unwrap();
        session.run(sql).await.unwrap();
        session.close().await;
    });
}

pub(crate) struct Source<'a> {
    pub(crate) server: &'a Server,
    pub(crate) database: &'a str,
    pub(crate) kind: Kind,
    pub(crate) jobs: usize,
    pub(crate) user: Option<&'a str>,
}

impl<'a> Source<'a> {
    pub(crate) fn of(server: &'a Server) -> Self {
        Self { server, database: "postgres", kind: Kind::Full, jobs: 2, user: None }
    }

    fn spec(&self) -> ConnectionSpec {
        let url = self.server.url();
        let url = match self.user {
            Some(user) => url.replace("postgres://postgres@", &format!("postgres://{user}@")),
            None => url,
        };
        spec(&url).with_database(self.database)
    }

    /// Takes a backup into `store`.
    pub(crate) fn take(&self, store: &FileStore) -> Result<(Manifest, Receipt), ArchiveError> {
        let major: u32 =
            self.server.value("SELECT current_setting('server_version_num')").parse().unwrap();
        let dump = DumpProgram::find(&ServerPlaces::default(), major / 10_000).unwrap();
        let (scope, spec) = (SchemaScope::default(), self.spec());
        let options = CaptureOptions {
            backup: NAME.to_owned(),
            kind: self.kind,
            tables: Vec::new(),
            taken_at: "2026-01-01T00:00:00.000000Z".to_owned(),
            tool: "annals test".to_owned(),
            log: None,
            spec: &spec,
            settings: SessionSettings::default(),
            scope: &scope,
            excluded: Vec::new(),
            dump: &dump,
            jobs: self.jobs,
        };
        let params = SealParams { backup_id: ID, public_metadata: b"{}" };
        let writer = seal(store.begin(NAME).unwrap(), &params, [&key(7)]).unwrap();
        let taken = runtime().block_on(capture(&options, writer, &mut NoWatcher))?;
        taken.sink.seal(&taken.receipt)?;
        Ok((taken.manifest, taken.receipt))
    }
}

/// Reads a backup through.
pub(crate) fn read(store: &FileStore, key: u8) -> Result<Archive, ArchiveError> {
    read_through(store.open(NAME)?, &keys(key), ID, &mut NoWatcher)
}

/// Restores a backup into a new database of `server`, and compares it there.
pub(crate) fn bring_back(
    store: &FileStore,
    server: &Server,
    database: &str,
) -> Result<Comparison, ArchiveError> {
    let archive = read(store, 7)?;
    archive.manifest.create_sql(database).iter().for_each(|sql| server.sql(sql));
    restore_into(store, &archive, server, database)?;
    compared(&archive, server, database)
}

pub(crate) fn restore_into(
    store: &FileStore,
    archive: &Archive,
    server: &Server,
    database: &str,
) -> Result<(), ArchiveError> {
    let spec = spec(&server.url()).with_database(database);
    let options = RestoreOptions {
        spec: &spec,
        settings: SessionSettings::default(),
        jobs: 2,
        only: None,
        extent: Extent::Whole,
        platform: "",
    };
    let source = store.open(NAME)?;
    let mut nobody = NoWatcher;
    let work = restore(archive, source, keys(7), ID, &options, &mut nobody);
    let restored = runtime().block_on(work)?;
    assert_eq!(restored.rows, archive.manifest.rows());
    Ok(())
}

pub(crate) fn compared(
    archive: &Archive,
    server: &Server,
    database: &str,
) -> Result<Comparison, ArchiveError> {
    let spec = spec(&server.url()).with_database(database);
    let scope = SchemaScope::default();
    let settings = SessionSettings::default();
    runtime().block_on(compare(archive, &spec, &settings, &scope, 2, &mut NoWatcher))
}

/// The files in a folder.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A bit of everything a database may hold.
pub(crate) const EVERYTHING: &str = r#"
CREATE ROLE annals_app; CREATE ROLE annals_reader;
CREATE SCHEMA shop AUTHORIZATION annals_app;
CREATE EXTENSION hstore;
CREATE TYPE shop.mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN shop.email AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE shop.customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email shop.email NOT NULL UNIQUE,
    gone int,
    mood shop.mood DEFAULT 'ok',
    name text, upper_name text GENERATED ALWAYS AS (upper(name)) STORED,
    tags hstore, born date, took interval, price numeric(12,4), ratio float8, data bytea,
    doc jsonb, at timestamptz DEFAULT now(), points int[], x xml);
ALTER TABLE shop.customers DROP COLUMN gone;
INSERT INTO shop.customers (email, name, tags, born, took, price, ratio, data, doc, points, x)
  SELECT 'c' || n || '@x', CASE WHEN n % 7 = 0 THEN NULL ELSE E'a\tb\nc\\d ' || n END,
         hstore('k', n::text), date '2000-01-01' + n, make_interval(days => n), n / 3.0, n / 3.0,
         decode(md5(n::text), 'hex'), jsonb_build_object('n', n), ARRAY[n, n + 1], '<a>&lt;</a>'
    FROM generate_series(1, 3000) n;
CREATE TABLE shop.orders (
    id serial PRIMARY KEY, customer bigint REFERENCES shop.customers, at date NOT NULL, total int)
    ;
INSERT INTO shop.orders (customer, at, total)
  SELECT 1 + n % 3000, date '2024-01-01' + n % 700, n FROM generate_series(1, 20000) n;
CREATE TABLE shop.events (id bigint, at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE shop.events_2024 PARTITION OF shop.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE shop.events_rest PARTITION OF shop.events DEFAULT;
CREATE INDEX ON shop.events (at);
INSERT INTO shop.events SELECT n, date '2023-12-01' + n, repeat('x', n % 50) FROM generate_series(1, 500) n;
CREATE TABLE shop.parent (a int); CREATE TABLE shop.child (b int) INHERITS (shop.parent);
INSERT INTO shop.parent VALUES (1); INSERT INTO shop.child VALUES (2, 3);
CREATE TABLE "odd ""name" ("select" int, "Quoted Column" text);
INSERT INTO "odd ""name" VALUES (1, 'v'), (1, 'v'), (NULL, '\.');
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (id int PRIMARY KEY);
CREATE UNLOGGED TABLE fleeting (a int); INSERT INTO fleeting VALUES (5);
CREATE SEQUENCE shop.numbers INCREMENT 5 START 100; SELECT nextval('shop.numbers');
CREATE VIEW shop.happy AS SELECT * FROM shop.customers WHERE mood = 'happy';
CREATE MATERIALIZED VIEW shop.totals AS SELECT customer, sum(total) FROM shop.orders GROUP BY 1;
CREATE UNIQUE INDEX ON shop.totals (customer);
CREATE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'rows are restored without triggers'; END $$;
CREATE TRIGGER noted BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.note();
CREATE FUNCTION shop.odd_body() RETURNS text LANGUAGE sql AS $f$
--
-- Name: evil; Type: TABLE; Schema: public; Owner: x
--
SELECT 'a;b' $f$;
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.orders FOR SELECT TO annals_reader USING (total > 10);
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO annals_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO annals_reader;
ALTER TABLE shop.customers OWNER TO annals_app;
COMMENT ON TABLE shop.customers IS 'it''s "them"';
CREATE PUBLICATION news FOR TABLE shop.orders;
ALTER DATABASE postgres SET work_mem = '5MB'; COMMENT ON DATABASE postgres IS 'the ''shop''';
REVOKE TEMP ON DATABASE postgres FROM PUBLIC; GRANT CREATE ON DATABASE postgres TO annals_app WITH GRANT OPTION;
SELECT lo_from_bytea(4242, convert_to(repeat('large ', 100000), 'UTF8')), lo_from_bytea(4243, '');
ALTER LARGE OBJECT 4242 OWNER TO annals_app; GRANT SELECT ON LARGE OBJECT 4242 TO annals_reader;
COMMENT ON LARGE OBJECT 4243 IS 'it''s empty';
"#;
