//! `annals status` and a `migrate` with nothing to do, with 1,000 migrations applied, against
//! `psql -c 'select 1'` on the same server.

use std::ffi::OsString;
use std::process::Command;

use annals_testkit::{Server, Workspace};

use crate::measure::{Spread, Used, run};
use crate::workload::{annals, fill, psql_itself};

const APPLIED: usize = 1_000;
/// Rounds where no other number is asked for.
pub(crate) const ROUNDS: usize = 21;

fn select_1(program: impl Into<OsString>, url: &str) -> Command {
    let mut command = Command::new(program.into());
    command.args(["-X", "-q", "-c", "select 1", "-d", url]);
    command
}

/// Measures it and prints it.
pub(crate) fn print(server: &Server, rounds: usize) {
    let workspace = Workspace::new(server);
    fill(&workspace, APPLIED);
    let url = server.url();
    run(&annals(workspace.folder(), &url, "migrate"));
    let what = [
        ("psql itself", select_1(psql_itself(), &url)),
        ("psql on the PATH", select_1("psql", &url)),
        ("annals status", annals(workspace.folder(), &url, "status")),
        ("annals migrate, nothing to do", annals(workspace.folder(), &url, "migrate")),
    ];
    let mut runs = what.each_ref().map(|_| Vec::<Used>::new());
    for _ in 0..rounds {
        for ((_, command), runs) in what.iter().zip(&mut runs) {
            runs.push(run(command));
        }
    }
    println!("{APPLIED} applied, medians of {rounds} interleaved rounds (lowest–highest)");
    println!(
        "{:<30} {:>9} {:>9} {:>9}   ratio to psql itself, to psql on the PATH",
        "", "wall", "CPU", "peak"
    );
    for ((name, _), own) in what.iter().zip(&runs) {
        let median = |value: fn(&Used) -> f64| Spread::of(own.iter().map(value)).median;
        let [itself, on_path] = [&runs[0], &runs[1]].map(|floor| {
            let pairs = own.iter().zip(floor);
            Spread::of(pairs.map(|(own, floor)| own.wall.as_secs_f64() / floor.wall.as_secs_f64()))
        });
        println!(
            "{name:<30} {:>6.1} ms {:>6.1} ms {:>5.1} MiB   {itself}   {on_path}",
            median(|used| used.wall.as_secs_f64() * 1e3),
            median(|used| used.cpu.as_secs_f64() * 1e3),
            median(|used| used.peak_bytes as f64) / f64::from(1 << 20),
        );
    }
}
