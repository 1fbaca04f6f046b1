//! `annals status` and a `migrate` with nothing to do, with 1,000 migrations applied, against
//! `psql -c 'select 1'` on the same server. Prints ratios; judges nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use annals_testkit::{Annals, Server, Workspace};

const APPLIED: usize = 1_000;
const ROUNDS: usize = 21;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn annals(workspace: &Workspace, url: &str, line: &str) -> Duration {
    let run = Annals::new(Path::new(env!("CARGO_BIN_EXE_annals")), workspace.folder());
    let run = run.env("TEST_URL", url).args(line);
    let clock = Instant::now();
    let outcome = run.run();
    let taken = clock.elapsed();
    outcome.expect(0);
    taken
}

fn psql(url: &str) -> Duration {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-c", "select 1", "-d", url]).stdout(Stdio::null());
    let clock = Instant::now();
    let status = command.status();
    let taken = clock.elapsed();
    assert!(status.is_ok_and(|status| status.success()), "psql");
    taken
}

fn main() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(APPLIED);
    let url = server.url();
    annals(&workspace, &url, "migrate");
    let (mut status, mut nothing, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        status.push(annals(&workspace, &url, "status"));
        nothing.push(annals(&workspace, &url, "migrate"));
        floor.push(psql(&url));
    }
    let (status, nothing, floor) = (median(status), median(nothing), median(floor));
    println!("{APPLIED} applied, medians of {ROUNDS} interleaved rounds");
    println!("psql -c 'select 1'      {floor:>7.1} ms");
    println!("annals status           {status:>7.1} ms   ratio {:.2}", status / floor);
    println!("annals migrate (no-op)  {nothing:>7.1} ms   ratio {:.2}", nothing / floor);
}
