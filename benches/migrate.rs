//! Many small migrations with the whole record, against one `psql` session that runs each file
//! between BEGIN and COMMIT on the same durable server. Prints ratios; judges nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use annals_testkit::{Annals, Server, ServerOptions, Workspace};

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn database_url(server: &Server, name: &str) -> String {
    let url = server.url();
    let (start, _) = url.rsplit_once('/').expect("a URL names a database");
    format!("{start}/{name}")
}

fn fresh_database(server: &Server, name: &str) -> String {
    server.sql(&format!("CREATE DATABASE {name} TEMPLATE template0"));
    server.sql("CHECKPOINT");
    database_url(server, name)
}

fn fill(workspace: &Workspace, count: usize) {
    let mut script = String::new();
    for n in 1..=count {
        let up = format!(
            "CREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz);\n\
             CREATE INDEX t{n}_name ON t{n} (name);\nCREATE INDEX t{n}_at ON t{n} (at);\n"
        );
        workspace.migration(&format!("{n:05}_t{n}"), &up, &format!("DROP TABLE t{n};\n"));
        script.push_str(&format!("BEGIN;\n\\i migrations/{n:05}_t{n}.sql\nCOMMIT;\n"));
    }
    workspace.write("all.sql", script);
}

fn timed(command: &mut Command, what: &str) -> Duration {
    let clock = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::inherit()).status();
    let taken = clock.elapsed();
    let ended = status.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(ended.success(), "{what}: {ended}");
    taken
}

fn psql(workspace: &Path, url: &str) -> Duration {
    let mut command = Command::new("psql");
    let flags = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "all.sql", "-d", url];
    timed(command.args(flags).current_dir(workspace), "psql")
}

fn annals(workspace: &Path, url: &str) -> Duration {
    let _ = std::fs::remove_dir_all(workspace.join("event-store"));
    let run = Annals::new(Path::new(env!("CARGO_BIN_EXE_annals")), workspace).env("TEST_URL", url);
    let clock = Instant::now();
    let outcome = run.args("migrate").run();
    let taken = clock.elapsed();
    outcome.expect(0);
    taken
}

fn measure(server: &Server, count: usize, rounds: usize) {
    let workspace = Workspace::new(server);
    fill(&workspace, count);
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let url = fresh_database(server, &format!("a{count}_{round}"));
        ours.push(annals(workspace.folder(), &url));
        let url = fresh_database(server, &format!("p{count}_{round}"));
        floor.push(psql(workspace.folder(), &url));
        for database in [format!("a{count}_{round}"), format!("p{count}_{round}")] {
            server.sql(&format!("DROP DATABASE {database}"));
        }
    }
    let (ours, floor) = (median(ours).as_secs_f64(), median(floor).as_secs_f64());
    println!(
        "{count:>5} migrations   annals {ours:>7.3} s   psql {floor:>7.3} s   ratio {:.2}",
        ours / floor
    );
}

fn main() {
    let server = Server::start_with(ServerOptions { durable: true, ..Default::default() });
    println!("a table and two indexes each; fsync on; medians of interleaved rounds");
    measure(&server, 1, 9);
    measure(&server, 100, 7);
    measure(&server, 1000, 3);
}
