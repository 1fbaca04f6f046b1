//! A backup of an earlier day opens for ever, and comes back.

use std::path::Path;

use annals_archive::FileStore;
use annals_testkit::Server;

use crate::common::{NAME, Source, bring_back, read, sql_in};

/// Sealed for the key of 32 bytes 7, from a server of version 15.
fn golden() -> FileStore {
    FileStore::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1"))
}

const TAKEN_OF: &str = "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    note text, twice bigint GENERATED ALWAYS AS (id * 2) STORED); \
    INSERT INTO notes (note) VALUES ('one'), (NULL), (E'a\\tb\\nc'); \
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM notes; \
    SELECT lo_from_bytea(77, '\\x00ff')";

#[test]
fn the_golden_backup_opens_and_comes_back() {
    let server = Server::start();
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        let store = golden();
        let _ = store.remove(NAME);
        server.sql("CREATE DATABASE source");
        sql_in(&server, "source", TAKEN_OF);
        Source { database: "source", ..Source::of(&server) }.take(&store).unwrap();
    }
    let archive = read(&golden(), 7).unwrap();
    let manifest = &archive.manifest;
    assert_eq!((manifest.rows(), manifest.tables.len()), (3, 1));
    assert_eq!(manifest.tables[0].columns, ["id", "note"]);
    assert_eq!(manifest.sequences[0].last_value, 3);
    // As `sha256sum` says of the committed file: nobody writes it anew by accident.
    assert_eq!(
        archive.receipt.sha256.to_string(),
        "624b19ebc33a1e09493d2542d48b1d5c3b61b5718b5796f98947040961fb9739"
    );

    let major: u32 = server.value("SELECT current_setting('server_version_num')").parse().unwrap();
    if major < 150_000 {
        // What was taken of a newer server does not go into an older one.
        return;
    }
    let comparison = bring_back(&golden(), &server, "back").unwrap();
    assert_eq!(comparison.unequal, []);
    sql_in(
        &server,
        "back",
        "DO $$ BEGIN ASSERT (SELECT n FROM counted) = 3; \
        ASSERT (SELECT sum(twice) FROM notes) = 12; ASSERT lo_get(77) = '\\x00ff'; END $$",
    );
}
