//! The whole fault matrix: `cargo xtask matrix`.
//!
//! `--long` runs half of the kills, a quarter of the other cases and chains of random ones, and
//! writes `docs/fault-matrix.md` anew; `--seed N` chooses which and the chains, `--chains N` says how
//! many chains, `--cases PART` runs only what has this in its name. After `--minutes N` nothing more
//! is begun; what comes first is the short part, then the seed decides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use annals_faults::case::{Case, Deed};
use annals_faults::drive::{Verdict, run, run_chain};
use annals_faults::faults::cases;
use annals_faults::oracle::{Invariant, Violation};
use annals_faults::scene::Stage;
use annals_faults::table::{Report, page};

#[derive(Default)]
struct Wanted {
    long: bool,
    seed: u64,
    chains: Option<usize>,
    minutes: Option<u64>,
    part: Option<String>,
}

fn arguments() -> Result<Wanted, String> {
    let mut wanted = Wanted { seed: 1, ..Default::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} takes a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        match argument.as_str() {
            "--long" => wanted.long = true,
            "--seed" => wanted.seed = number(value()?)?,
            "--chains" => wanted.chains = usize::try_from(number(value()?)?).ok(),
            "--minutes" => wanted.minutes = Some(number(value()?)?),
            "--cases" => wanted.part = Some(value()?),
            _ => {
                return Err(format!(
                    "{argument}: --long, --seed N, --chains N, --minutes N or --cases PART"
                ));
            }
        }
    }
    Ok(wanted)
}

/// Numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap_or_default() % below
    }
}

/// Two to four cases that can follow each other.
fn chain(all: &[Case], seed: u64) -> Vec<Case> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let fit: Vec<&Case> = all.iter().filter(|case| can_follow(case)).collect();
    let length = 2 + dice.next(3);
    (0..length).map(|_| *fit[dice.next(fit.len())]).collect()
}

/// What wants its point to come, or a state of its own, cannot follow another fault.
fn can_follow(case: &Case) -> bool {
    matches!(case.fault, 1 | 4 | 8 | 11 | 31 | 36) && !matches!(case.deed, Deed::Own(_))
}

enum Task {
    Case(Case),
    Chain(Vec<Case>),
}

fn main() -> ExitCode {
    let wanted = match arguments() {
        Ok(wanted) => wanted,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let all = cases(wanted.seed);
    let chosen = all.iter().filter(|case| match &wanted.part {
        Some(part) => case.name().contains(part.as_str()),
        None => wanted.long || case.short,
    });
    let mut tasks: Vec<Task> = chosen.map(|case| Task::Case(*case)).collect();
    let chains = wanted.chains.unwrap_or(if wanted.long && wanted.part.is_none() { 60 } else { 0 });
    tasks.extend((0..chains).map(|n| Task::Chain(chain(&all, wanted.seed + n as u64))));
    let mut dice = Dice(wanted.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    tasks.sort_by_cached_key(|task| match task {
        Task::Case(case) if case.short => 0,
        _ => 1 + dice.next(1 << 20),
    });
    let planned = tasks.len();
    let (cases, chains) = carry_out(&tasks, wanted.minutes);
    let verdicts = || cases.iter().map(|(_, verdict)| verdict).chain(&chains);
    let violations: usize = verdicts().map(|verdict| verdict.violations.len()).sum();
    let missed = cases.iter().filter(|(_, verdict)| !verdict.struck).count();
    println!(
        "{} cases and {} chains of {planned}, {violations} violations, {missed} faults that did not \
         strike",
        cases.len(),
        chains.len()
    );
    if wanted.long && wanted.part.is_none() {
        let version = Stage::new().server.value("SELECT current_setting('server_version')");
        let server = version.split(' ').next().unwrap_or_default();
        let (seed, cases, chains) = (wanted.seed, &cases, &chains);
        let report = Report { cases, chains, planned, seed, server };
        let path = docs();
        if let Err(error) = std::fs::write(&path, page(&report)) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("wrote {}", path.display());
    }
    if violations + missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fault-matrix.md")
}

/// As many servers as there are processors, each taking the next task.
fn carry_out(tasks: &[Task], minutes: Option<u64>) -> (Vec<(Case, Verdict)>, Vec<Verdict>) {
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Verdict)>> = Mutex::default();
    let servers = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    std::thread::scope(|scope| {
        for _ in 0..servers {
            scope.spawn(|| {
                let mut stage = Stage::new();
                while end.is_none_or(|end| Instant::now() < end) {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some(task) = tasks.get(at) else { break };
                    let tried = catch_unwind(AssertUnwindSafe(|| match task {
                        Task::Case(case) => run(&mut stage, case, at as u64),
                        Task::Chain(chain) => run_chain(&mut stage, chain, at as u64),
                    }));
                    let verdict = tried.unwrap_or_else(|_| {
                        stage = Stage::new();
                        given_up(task)
                    });
                    tell(&verdict);
                    done.lock().expect("no thread panics in between").push((at, verdict));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panics in between");
    done.sort_by_key(|(at, _)| *at);
    let (mut cases, mut chains) = (Vec::new(), Vec::new());
    for (at, verdict) in done {
        match &tasks[at] {
            Task::Case(case) => cases.push((*case, verdict)),
            Task::Chain(_) => chains.push(verdict),
        }
    }
    (cases, chains)
}

/// A case in which the harness itself came to no end: it counts as a violation.
fn given_up(task: &Task) -> Verdict {
    let name = match task {
        Task::Case(case) => case.name(),
        Task::Chain(chain) => chain.iter().map(Case::name).collect::<Vec<_>>().join(", then "),
    };
    let what = "the harness waited in vain or could not go on; see what it printed".to_owned();
    let violations = vec![Violation { invariant: Invariant::Recoverable, what }];
    Verdict { name, violations, struck: true, longest_wait_ms: 0, story: Vec::new() }
}

fn tell(verdict: &Verdict) {
    let mark = match (verdict.violations.is_empty(), verdict.struck) {
        (true, true) => "✓",
        (true, false) => "·",
        (false, _) => "✗",
    };
    println!("{mark} {}: {}", verdict.name, verdict.story.join(", "));
    for violation in &verdict.violations {
        println!("    {violation}");
    }
}
