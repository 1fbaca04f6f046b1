//! The picture of a schema of 2,000 tables against `pg_dump --schema-only` of the same; its
//! fingerprint and a comparison; a picture of 300 tables brought up to date. Prints ratios; judges
//! nothing.
//!
//! `schema [--tables N] [--rounds N]`

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use annals_postgres::{
    ConnectionSpec, SchemaReader, SchemaScope, Session, SessionSettings, read_schema,
};
use annals_schema::{Object, Snapshot, Stored, diff};
use annals_testkit::Server;

struct Options {
    tables: usize,
    rounds: usize,
}

fn options() -> Options {
    let mut options = Options { tables: 2_000, rounds: 7 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().and_then(|text| text.parse().ok()).expect("a number");
        match word.as_str() {
            "--tables" => options.tables = value(),
            "--rounds" => options.rounds = value(),
            // What cargo adds.
            "--bench" => {}
            other => panic!("{other} is not known"),
        }
    }
    options
}

/// Table `n` with what a table of an application has: eleven columns, a key, a check, a foreign
/// key, two indexes and comments; every fourth a policy and a trigger, every fifth a view and a
/// function.
fn table(n: usize) -> String {
    let mut sql = format!(
        "CREATE TABLE t{n} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
         name text NOT NULL CHECK (name <> ''), parent bigint REFERENCES t{} ON DELETE CASCADE, \
         state text NOT NULL DEFAULT 'new', amount numeric(12, 2) DEFAULT 0, notes text, \
         tags text[] DEFAULT '{{}}', data jsonb, made timestamptz NOT NULL DEFAULT now(), \
         changed timestamptz, done boolean NOT NULL DEFAULT false);\n\
         CREATE INDEX t{n}_parent ON t{n} (parent);\n\
         CREATE INDEX t{n}_open ON t{n} (lower(name)) WHERE NOT done;\n\
         COMMENT ON TABLE t{n} IS 'table {n}';\nCOMMENT ON COLUMN t{n}.state IS 'where it is';\n\
         GRANT SELECT, INSERT ON t{n} TO reader;\n",
        n.saturating_sub(1)
    );
    if n.is_multiple_of(4) {
        let _ = write!(
            sql,
            "ALTER TABLE t{n} ENABLE ROW LEVEL SECURITY;\n\
             CREATE POLICY own ON t{n} FOR SELECT TO reader USING (name = current_user);\n\
             CREATE TRIGGER touched BEFORE UPDATE ON t{n} FOR EACH ROW EXECUTE FUNCTION touch();\n"
        );
    }
    if n.is_multiple_of(5) {
        let _ = write!(
            sql,
            "CREATE VIEW v{n} AS SELECT t.id, t.name, count(*) FILTER (WHERE t.done) AS done \
             FROM t{n} t GROUP BY t.id, t.name;\n\
             CREATE FUNCTION f{n}(a bigint, b text DEFAULT '') RETURNS bigint LANGUAGE plpgsql \
             STABLE AS $$ BEGIN RETURN (SELECT count(*) FROM t{n} WHERE id > a AND name <> b); \
             END $$;\n"
        );
    }
    sql
}

async fn fill(session: &mut Session, tables: usize) {
    let head = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS \
                'BEGIN NEW.changed := now(); RETURN NEW; END'";
    session.run(head).await.expect("a function");
    for start in (0..tables).step_by(100) {
        let sql: String = (start..tables.min(start + 100)).map(table).collect();
        session.run(&format!("BEGIN;\n{sql}COMMIT")).await.expect("tables");
    }
    session.run("VACUUM ANALYZE").await.expect("statistics");
}

/// `pg_dump` itself: what Debian has on the PATH is a script that looks for it first.
fn pg_dump() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin/pg_dump"));
    let newest = programs.filter(|program| program.is_file()).max();
    newest.unwrap_or_else(|| "pg_dump".into())
}

/// CPU time of this thread in milliseconds; the kernel counts nanoseconds.
fn cpu_ms() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts");
    let first = text.split(' ').next().and_then(|text| text.parse::<f64>().ok());
    first.expect("a number") / 1e6
}

fn median(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[0], values[values.len() - 1]);
    format!("{:.2} ({low:.2}–{high:.2})", values[values.len() / 2])
}

fn cpu_of<T>(rounds: usize, mut work: impl FnMut() -> T) -> String {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let before = cpu_ms();
        black_box(work());
        times.push(cpu_ms() - before);
    }
    median(times)
}

fn objects(snapshot: &Snapshot) -> Vec<Object> {
    let object = |(key, attributes): (&annals_schema::ObjectKey, &_)| Object {
        attributes: Clone::clone(attributes),
        kind: key.kind,
        name: key.name.clone(),
    };
    snapshot.iter().map(object).collect()
}

async fn connect(server: &Server, database: &str) -> Session {
    let spec = ConnectionSpec::from_socket(server.folder(), "postgres", database);
    spec.connect("annals-bench", &SessionSettings::default()).await.expect("a server that answers")
}

async fn whole(server: &Server, options: &Options) {
    let mut session = connect(server, "postgres").await;
    fill(&mut session, options.tables).await;
    let scope = SchemaScope::default();
    let url = server.url();
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..options.rounds {
        let clock = Instant::now();
        let snapshot = read_schema(&mut session, &scope).await.expect("a picture");
        let read = clock.elapsed().as_secs_f64() * 1e3;
        let clock = Instant::now();
        let mut dump = Command::new(pg_dump());
        let status = dump.args(["--schema-only", "-d", &url]).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "pg_dump");
        let dumped = clock.elapsed().as_secs_f64() * 1e3;
        ratios.push(read / dumped);
        ours.push(read);
        theirs.push(dumped);
        last = Some(snapshot);
    }
    let before = last.expect("a round");
    println!("{} tables, {} objects; medians (lowest–highest)", options.tables, before.len());
    println!("read_schema                {} ms", median(ours));
    println!("pg_dump --schema-only      {} ms", median(theirs));
    println!("ratio of the walls         {}", median(ratios));
    let change =
        "ALTER TABLE t7 ADD COLUMN late int; DROP INDEX t8_open; COMMENT ON TABLE t9 IS 'x'";
    session.run(change).await.expect("a change");
    let after = read_schema(&mut session, &scope).await.expect("a picture");
    let rounds = options.rounds;
    println!("CPU of a comparison        {} ms", cpu_of(rounds, || diff(&before, &after)));
    println!("CPU of the fingerprint     {} ms", cpu_of(rounds, || after.fingerprint()));
    let mut copies: Vec<Vec<Object>> = (0..rounds).map(|_| objects(&after)).collect();
    let anew = cpu_of(rounds, || {
        let objects = copies.pop().expect("one a round");
        Snapshot::new(after.server_major(), objects).fingerprint()
    });
    println!("… with every object anew   {anew} ms");
    let text = after.to_stored();
    let blob = annals_events::Digest::of(text.as_bytes());
    let delta = after.to_delta(&before, blob);
    println!("stored whole, as change    {} KiB, {} bytes", text.len() / 1024, delta.len());
    println!("CPU of storing             {} ms", cpu_of(rounds, || after.to_stored()));
    println!("CPU of reading that        {} ms", cpu_of(rounds, || Stored::parse(text.as_bytes())));
    session.close().await;
}

/// A schema of 300 tables, read again after nothing and after a change.
async fn again(server: &Server, rounds: usize) {
    let mut session = connect(server, "postgres").await;
    session.run("CREATE DATABASE small").await.expect("a database");
    session.close().await;
    let mut session = connect(server, "small").await;
    fill(&mut session, 300).await;
    let mut reader = SchemaReader::new(SchemaScope::default());
    reader.read(&mut session).await.expect("a picture");
    let (mut full, mut nothing, mut column, mut ratios) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        let clock = Instant::now();
        read_schema(&mut session, &SchemaScope::default()).await.expect("a picture");
        full.push(clock.elapsed().as_secs_f64() * 1e3);
        let clock = Instant::now();
        reader.read(&mut session).await.expect("a picture");
        nothing.push(clock.elapsed().as_secs_f64() * 1e3);
        let sql = format!("ALTER TABLE t{} ADD COLUMN late int", 10 + round);
        session.run(&sql).await.expect("a column");
        let clock = Instant::now();
        reader.read(&mut session).await.expect("a picture");
        column.push(clock.elapsed().as_secs_f64() * 1e3);
        ratios.push(column[round] / full[round]);
    }
    println!("300 tables, read whole     {} ms", median(full));
    println!("… after nothing            {} ms", median(nothing));
    println!("… after a new column       {} ms", median(column));
    println!("… ratio of that to whole   {}", median(ratios));
    assert_eq!(reader.full_reads(), 1, "it was brought up to date each time");
    session.close().await;
}

fn main() {
    let options = options();
    let server = Server::start();
    server.sql("CREATE ROLE reader");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(async {
        whole(&server, &options).await;
        again(&server, options.rounds).await;
    });
}
