//! What would give less than there is, is refused.

use annals_archive::{ArchiveError, FileStore};
use annals_testkit::Server;

use crate::common::{Source, files};

#[test]
fn a_role_that_does_not_see_every_row_takes_no_backup() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE a (id int); CREATE TABLE b (id int); ALTER TABLE a ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY one ON a USING (id = 1); INSERT INTO a VALUES (1), (2); \
         CREATE ROLE clerk LOGIN; GRANT SELECT ON a, b TO clerk; CREATE SEQUENCE s; \
         GRANT SELECT ON s TO clerk",
    );
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().to_owned());
    let clerk = Source { user: Some("clerk"), ..Source::of(&server) };
    match clerk.take(&store).unwrap_err() {
        ArchiveError::Hidden(tables) => assert_eq!(tables, ["public.a"]),
        other => panic!("{other}"),
    }
    server.sql("REVOKE SELECT ON b FROM clerk; REVOKE SELECT ON s FROM clerk");
    match clerk.take(&store).unwrap_err() {
        ArchiveError::NotReadable(names) => assert_eq!(names, ["public.b", "public.s"]),
        other => panic!("{other}"),
    }
    server.sql("ALTER ROLE clerk BYPASSRLS; GRANT SELECT ON b, s TO clerk");
    let (manifest, _) = clerk.take(&store).unwrap();
    assert_eq!(manifest.rows(), 2);
    assert_eq!(files(folder.path()).len(), 1, "what was refused left something");
}

#[test]
fn a_table_somebody_holds_is_waited_for_no_longer_than_allowed() {
    let server = Server::start();
    server.sql("CREATE TABLE a (id int)");
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().to_owned());
    let held = server.hold("LOCK TABLE a IN ACCESS EXCLUSIVE MODE");
    let error = Source::of(&server).take(&store).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("holds a lock")), "{error}");
    drop(held);
    assert_eq!(files(folder.path()), [""; 0]);
    Source::of(&server).take(&store).unwrap();
}
