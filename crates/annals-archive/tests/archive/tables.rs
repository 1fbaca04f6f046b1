//! Tables as a server of any version describes them, and whether rows of them can be put back.

use annals_archive::{Allowed, TableForm, obstacles_in_target, pair, table_form};
use annals_events::RowsWanted;
use annals_postgres::SessionSettings;
use annals_testkit::Server;

use crate::common::{runtime, spec};

const TABLES: &str = "
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE SEQUENCE shared;
CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY, b varchar(9) NOT NULL DEFAULT 'x',
    c int DEFAULT nextval('shared'), d int GENERATED ALWAYS AS (id) STORED, PRIMARY KEY (id, b));
CREATE TABLE p (id int, at date, a int, b varchar(9), PRIMARY KEY (at, id),
    FOREIGN KEY (a, b) REFERENCES a) PARTITION BY RANGE (at);
CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TRIGGER t AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER gone AFTER DELETE ON a FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON a DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TABLE later (id int PRIMARY KEY DEFERRABLE, e int UNIQUE);
CREATE TABLE bare (id int, e int);
CREATE UNIQUE INDEX ON bare (e);
CREATE UNIQUE INDEX ON bare ((id + 1));
CREATE TABLE other (id bigint PRIMARY KEY, must int NOT NULL);";

fn form(server: &Server, name: &str) -> TableForm {
    let look = async {
        let spec = spec(&server.url());
        let mut session = spec.connect("annals/test", &SessionSettings::default()).await.unwrap();
        let form = table_form(&mut session, name).await.unwrap();
        session.close().await;
        form
    };
    runtime().block_on(look).unwrap()
}

fn allowed(rows: RowsWanted, common_columns: bool) -> Allowed {
    Allowed { rows, common_columns, triggers: false }
}

#[test]
fn tables_are_described_the_same_on_every_version() {
    let server = Server::start();
    server.sql(TABLES);
    let (a, p) = (form(&server, "public.a"), form(&server, "public.p"));
    assert_eq!(a.triggers(), ["late on public.a"]);
    // The one on the partition came with that of its table.
    assert_eq!(p.triggers(), ["t on public.p", "t on public.p_1"]);
    assert_eq!(p.references(), ["public.a"]);
    assert!(p.is_partitioned() && !a.is_partitioned());
    let all = allowed(RowsWanted::Missing, false);
    let paired = pair(a.clone(), a, all).unwrap();
    assert_eq!((paired.key().as_str(), paired.is_primary()), ("(id, b)", true));
    let paired = pair(p.clone(), p, all).unwrap();
    assert_eq!(paired.key(), "(at, id)");
    let later = form(&server, "public.later");
    assert!(pair(later.clone(), later, all).unwrap().is_primary());
}

#[test]
fn what_does_not_fit_is_named_with_all_its_reasons() {
    let server = Server::start();
    server.sql(TABLES);
    let (bare, later) = (form(&server, "public.bare"), form(&server, "public.later"));
    let missing = allowed(RowsWanted::Missing, false);
    let [why] = obstacles_in_target(&bare, missing).try_into().unwrap();
    assert!(why.contains("no primary key"), "{why}");
    let other = form(&server, "public.other");
    let reasons = pair(other.clone(), later.clone(), missing).unwrap_err();
    let words = ["needs a value for it", "id was integer and is bigint", "nothing tells which row"];
    for word in words {
        assert!(reasons.iter().any(|reason| reason.contains(word)), "{word}: {reasons:?}");
    }
    // The key itself is another one: no permission helps.
    let reasons = pair(other, later, allowed(RowsWanted::Changed, true)).unwrap_err();
    assert!(reasons.iter().any(|reason| reason.contains("nothing tells which row")), "{reasons:?}");
    server.sql("DROP INDEX bare_e_idx; ALTER TABLE bare ALTER e SET NOT NULL; CREATE UNIQUE INDEX ON bare (e)");
    let bare = form(&server, "public.bare");
    assert!(!pair(bare.clone(), bare, missing).unwrap().is_primary());
}
