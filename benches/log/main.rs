//! What a log costs as it grows: verifying it, replaying it, asking it for a state in the middle.
//!
//! Logs of 10^3 to 10^6 events are made in a temporary folder and given to the programs as built.
//! Prints CPU times, peaks of memory and ratios, and draws them; judges nothing.
//!
//! `log [--sizes N,N…] [--plot FILE] [--in FOLDER]`

mod children;
mod made;
mod plot;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use annals_events::{LeafHash, MemoryTree, Seq, inclusion_proof, tree_root, verify_inclusion};

use children::{Usage, median, usage};
use made::MadeLog;
use plot::Series;

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// States asked for in each log, evenly over its events: by time and by event in turns.
const MOMENTS: u64 = 16;

const LEAVES: u64 = 100_000;

struct Options {
    sizes: Vec<u64>,
    plot: PathBuf,
    folder: PathBuf,
}

fn options() -> Options {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/log-size.svg");
    let (sizes, folder) = (SIZES.to_vec(), std::env::temp_dir());
    let mut options = Options { sizes, plot: docs, folder };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} takes a value"));
        match word.as_str() {
            "--sizes" => {
                let numbers = value();
                let numbers = numbers.split(',').map(|number| number.parse().expect("a number"));
                options.sizes = numbers.collect();
            }
            "--plot" => options.plot = value().into(),
            "--in" => options.folder = value().into(),
            // What cargo adds.
            "--bench" => {}
            other => panic!("{other} is not known"),
        }
    }
    options
}

/// The program `annals`.
fn annals() -> Command {
    Command::new(env!("CARGO_BIN_EXE_annals"))
}

/// The program `annals-verify`, which is built beside it.
fn annals_verify() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_annals")).with_file_name("annals-verify");
    assert!(
        program.is_file(),
        "{} is not built: cargo build --release -p annals-verify",
        program.display()
    );
    Command::new(program)
}

fn verify(log: &MadeLog) -> Usage {
    let mut command = annals_verify();
    command.arg(&log.folder).arg("--key").arg(&log.key).arg("--json");
    let usage = usage(&mut command);
    let report: serde_json::Value = serde_json::from_slice(&usage.out).expect("a document");
    assert_eq!((&report["verdict"], &report["events"]), (&"intact".into(), &log.events.into()));
    usage
}

fn floor(log: &MadeLog) -> Usage {
    usage(&mut children::floor(&log.folder))
}

/// A state, and what it rests on.
fn state(log: &MadeLog, moment: &[&str]) -> (Usage, String) {
    let mut command = annals();
    // Of a log of one's own workspace: stored states of somebody else's copy are not used.
    let workspace = log.folder.parent().expect("a log lies in a folder");
    let config = "workspace = \"bench\"\ndefault_target = \"log\"\n\n[folders]\nkeys = \".\"\n\
                  event_store = \".\"\n\n[targets.log]\nurl_env = \"NOT_NEEDED\"\n";
    std::fs::write(workspace.join("annals.toml"), config).expect("the disk takes it");
    command.current_dir(workspace).args(["state", "--json"]);
    let usage = usage(command.args(moment));
    let document: serde_json::Value = serde_json::from_slice(&usage.out).expect("a document");
    assert_eq!(document["verified"], true);
    let trust = document["trust"].as_str().expect("it says what it rests on").to_owned();
    (usage, trust)
}

fn replay(log: &MadeLog) -> Usage {
    let _ = std::fs::remove_dir_all(log.folder.join("cache"));
    let (usage, trust) = state(log, &[]);
    assert_eq!(trust, "replay");
    usage
}

/// What is known of a log of one size.
struct Figures {
    log: MadeLog,
    verify: Vec<Usage>,
    floor: Vec<Usage>,
    replay: Vec<Usage>,
    at: Vec<Usage>,
    from_caches: usize,
}

fn ms(cpu: Duration) -> f64 {
    cpu.as_secs_f64() * 1e3
}

fn cpu(usages: &[Usage]) -> Duration {
    median(usages.iter().map(|usage| usage.cpu))
}

fn peak_mib(usages: &[Usage]) -> f64 {
    let peak = usages.iter().map(|usage| usage.peak_bytes).max();
    peak.unwrap_or_default() as f64 / f64::from(1 << 20)
}

impl Figures {
    fn measure(folder: &Path, events: u64) -> Self {
        let log = MadeLog::make(folder, events);
        let rounds = match events {
            0..=10_000 => 11,
            10_001..=100_000 => 7,
            _ => 3,
        };
        let (mut verified, mut floors, mut replayed, mut at) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            verified.push(verify(&log));
            floors.push(floor(&log));
            replayed.push(replay(&log));
        }
        let mut from_caches = 0;
        for n in 1..=MOMENTS {
            let seq = events * n / (MOMENTS + 1);
            let moment = match n % 2 {
                0 => ["--at".to_owned(), log.time_of(seq)],
                _ => ["--at-seq".to_owned(), seq.to_string()],
            };
            let (usage, trust) = state(&log, &moment.each_ref().map(String::as_str));
            from_caches += usize::from(trust.starts_with("cache@"));
            at.push(usage);
        }
        Self { log, verify: verified, floor: floors, replay: replayed, at, from_caches }
    }

    fn print(&self) {
        let (events, bytes) = (self.log.events, self.log.bytes);
        println!("\n{events} events, {} bytes each, {} MiB", bytes / events, bytes >> 20);
        let rounds = self.verify.len();
        let (verify, floor, replay) = (cpu(&self.verify), cpu(&self.floor), cpu(&self.replay));
        let line = |name: &str, usages: &[Usage], rest: String| {
            let (cpu, peak) = (ms(cpu(usages)), peak_mib(usages));
            println!("  {name:<28}{cpu:>10.1} ms CPU {peak:>7.1} MiB at most   {rest}");
        };
        let speed = |cpu: Duration| format!("{:.2} × the floor's speed", ratio(floor, cpu));
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / events as f64;
        line("floor: SHA-256 and parse", &self.floor, format!("{:.2} µs an event", each(floor)));
        let rest = format!("{:.2} µs an event, {}", each(verify), speed(verify));
        line("annals-verify", &self.verify, rest);
        let rest = format!("{:.2} µs an event, {}", each(replay), speed(replay));
        line("annals state, nothing stored", &self.replay, rest);
        let slowest = self.at.iter().map(|usage| usage.cpu).max().unwrap_or_default();
        let from = format!("{} of {MOMENTS} from a stored state", self.from_caches);
        let rest = format!("{:.1} ms the slowest; {from}", ms(slowest));
        line("annals state at a moment", &self.at, rest);
        println!("  medians of {rounds} interleaved rounds; of {MOMENTS} moments");
    }
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// Proofs in a tree whose hashes are in memory.
fn proofs() {
    let leaves = (0..LEAVES).map(|n| LeafHash::of_line(&n.to_be_bytes()));
    let tree: MemoryTree = leaves.clone().collect();
    let root = tree_root(LEAVES, &tree).expect("the tree has grown that far");
    // Every place once, in an order that jumps.
    let places = || (0..LEAVES).map(|n| n.wrapping_mul(7_919) % LEAVES);
    let prove = |n| inclusion_proof(Seq(n), LEAVES, &tree).expect("a leaf of the tree");
    let each = |clock: Instant| clock.elapsed().as_secs_f64() * 1e6 / LEAVES as f64;
    let (mut made, mut checked) = (Vec::new(), Vec::new());
    let leaves: Vec<LeafHash> = leaves.collect();
    for _ in 0..7 {
        let clock = Instant::now();
        places().for_each(|n| drop(black_box(prove(n))));
        made.push(each(clock));
        let proofs: Vec<_> = places().map(|n| (n, prove(n))).collect();
        let clock = Instant::now();
        for (n, proof) in &proofs {
            let leaf = leaves[usize::try_from(*n).expect("it is small")];
            let fits = verify_inclusion(leaf, Seq(*n), LEAVES, proof, root);
            assert!(fits.is_ok(), "the proof of {n} does not fit");
        }
        checked.push(each(clock));
    }
    let (made, checked) = (median(made), median(checked));
    println!("\ninclusion proof among {LEAVES} leaves in memory");
    println!("  made in {made:.2} µs, checked in {checked:.2} µs; medians of 7 rounds");
}

/// What an acknowledged batch asks of the disk.
fn syncs() {
    println!("\nbatches, counted by strace on the segment");
    for (batches, events) in [(100, 1), (100, 24)] {
        match children::count_appends(batches, events) {
            Some((writes, syncs)) => println!(
                "  {batches} batches of {events} events: {writes} write, {syncs} fdatasync"
            ),
            None => println!("  not counted: strace is not installed"),
        }
    }
}

fn draw(figures: &[Figures], path: &Path) {
    type Of = fn(&Figures) -> &[Usage];
    let series = |name, class, of: Of| {
        let points = figures.iter().map(|f| (f.log.events as f64, ms(cpu(of(f)))));
        Series { name, class, points: points.collect() }
    };
    let all = [
        series("annals state, nothing stored", "replay", |f| &f.replay),
        series("annals-verify", "verify", |f| &f.verify),
        series("SHA-256 and JSON parse", "floor", |f| &f.floor),
        series("annals state at a moment", "at", |f| &f.at),
    ];
    let svg = plot::svg(&all);
    std::fs::write(path, svg).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    println!("\ndrawn: {}", path.display());
}

fn main() {
    if children::was_called() {
        return;
    }
    let options = options();
    proofs();
    syncs();
    let measure = |events: &u64| {
        let folder = tempfile::tempdir_in(&options.folder).expect("a temporary folder");
        let figures = Figures::measure(folder.path(), *events);
        figures.print();
        figures
    };
    let figures: Vec<Figures> = options.sizes.iter().map(measure).collect();
    draw(&figures, &options.plot);
}
