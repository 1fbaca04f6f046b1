//! Many small migrations with the whole record, against one `psql` session that runs each file
//! between BEGIN and COMMIT on the same durable server. Prints ratios; judges nothing.
//!
//! `migrate [--sizes N,N…] [--rounds N]` · `migrate peers [--sizes N,N…] [--rounds N]` ·
//! `migrate proof [--sizes N,N…] [--rounds N]` · `migrate startup [--rounds N]`

mod counts;
mod measure;
mod peers;
mod proof;
mod startup;
mod workload;

use annals_testkit::{Server, ServerOptions, Workspace};

use measure::{Spread, Used, run, sessions_cpu};
use workload::{annals, drop_database, fill, forget, fresh_database, psql, with_database};

/// A part of this program.
#[derive(Clone, Copy)]
enum Part {
    /// annals and `psql`, and what a migration asks for.
    Floor,
    /// The same with other runners.
    Peers,
    /// Rehearsals, and `psql` with the same files.
    Proof,
    /// Commands that find nothing to do.
    Startup,
}

/// What to measure.
pub(crate) struct Options {
    part: Part,
    pub(crate) sizes: Option<Vec<usize>>,
    pub(crate) rounds: Option<usize>,
}

fn options() -> Options {
    let mut options = Options { part: Part::Floor, sizes: None, rounds: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} takes a value"));
        let number = |text: &str| text.parse::<usize>().expect("a number");
        match word.as_str() {
            "peers" => options.part = Part::Peers,
            "proof" => options.part = Part::Proof,
            "startup" => options.part = Part::Startup,
            "--sizes" => options.sizes = Some(value().split(',').map(number).collect()),
            "--rounds" => options.rounds = Some(number(&value())),
            // What cargo adds.
            "--bench" => {}
            other => panic!("{other} is not known"),
        }
    }
    options
}

/// One run, and what the server's sessions used for it, in seconds.
pub(crate) fn with_sessions(server: &Server, run: impl FnOnce() -> Used) -> (Used, f64) {
    let before = sessions_cpu(server);
    let used = run();
    (used, (sessions_cpu(server) - before).as_secs_f64())
}

fn measure(server: &Server, count: usize, rounds: usize) {
    let workspace = Workspace::new(server);
    fill(&workspace, count);
    let folder = workspace.folder();
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let [a, p] = ["a", "p"].map(|who| format!("{who}{count}_{round}"));
        let mut annals_once = || {
            forget(folder);
            fresh_database(server, &a);
            let command = annals(folder, &with_database(&server.url(), &a), "migrate");
            ours.push(with_sessions(server, || run(&command)));
        };
        let mut psql_once = || {
            fresh_database(server, &p);
            let command = psql(folder, &with_database(&server.url(), &p));
            floor.push(with_sessions(server, || run(&command)));
        };
        // Who goes second finds the disk as the first has left it.
        if round % 2 == 0 {
            annals_once();
            psql_once();
        } else {
            psql_once();
            annals_once();
        }
        [a, p].iter().for_each(|database| drop_database(server, database));
    }
    let pairs = || ours.iter().zip(&floor);
    let wall = |used: &Used| used.wall.as_secs_f64();
    let ratio = Spread::of(pairs().map(|((a, _), (p, _))| wall(a) / wall(p)));
    let all = |(used, server): &(Used, f64)| used.cpu.as_secs_f64() + server;
    let cpu = Spread::of(pairs().map(|(a, p)| all(a) / all(p)));
    println!(
        "{count:>5} migrations, {rounds} rounds: wall {ratio}, CPU of client and server {cpu}"
    );
    for (who, runs) in [("annals", &ours), ("psql", &floor)] {
        let median =
            |value: &dyn Fn(&(Used, f64)) -> f64| Spread::of(runs.iter().map(value)).median;
        println!(
            "      {who:<7} wall {:>8.3} s   CPU {:>7.3} s   server {:>6.2} s   peak {:>5.1} MiB",
            median(&|(used, _)| wall(used)),
            median(&|(used, _)| used.cpu.as_secs_f64()),
            median(&|(_, server)| *server),
            median(&|(used, _)| used.peak_bytes as f64) / f64::from(1 << 20),
        );
    }
}

fn main() {
    if measure::was_called() {
        return;
    }
    let options = options();
    if matches!(options.part, Part::Proof) {
        return proof::print(&options);
    }
    let server =
        Server::start_with(ServerOptions { durable: true, tcp: true, ..Default::default() });
    println!(
        "a table and two indexes each; fsync on; medians of interleaved rounds (lowest–highest)"
    );
    match options.part {
        Part::Floor => floor(&server, &options),
        Part::Peers => peers::print(&server, &options),
        Part::Proof => unreachable!("it has a server of its own"),
        Part::Startup => startup::print(&server, options.rounds.unwrap_or(startup::ROUNDS)),
    }
}

fn floor(server: &Server, options: &Options) {
    let sizes = options.sizes.clone().unwrap_or_else(|| vec![1, 100, 1000]);
    for count in sizes {
        let usual = match count {
            0..10 => 15,
            10..500 => 9,
            _ => 5,
        };
        measure(server, count, options.rounds.unwrap_or(usual));
    }
    counts::print(server);
}
