//! Carries out one case: up to the moment, the fault, what must be restarted, the next commands.

use annals_testkit::{Outcome, Running, SmallDisk, kill, wait_for};

use crate::case::{Case, Deed, Moment, Way};
use crate::link::Link;
use crate::migrations::{DEPLOYER, MIGRATIONS};
use crate::oracle::{Invariant, Violation, judge, longest_wait_ms};
use crate::scene::{Scene, Stage, WEAK, events};
use crate::wire::{AtCommit, Wire};

/// What a case came to.
#[derive(Debug)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// What does not hold.
    pub violations: Vec<Violation>,
    /// Whether the fault struck: a moment that never came is no case.
    pub struck: bool,
    /// The longest wait of the application the server has written down, in milliseconds.
    pub longest_wait_ms: u64,
    /// What was run, with exit codes.
    pub story: Vec<String>,
}

/// Which command settles first: it changes from case to case.
const NEXT: [&str; 3] = ["status", "verify", ""];

/// Runs a case on a server. `turn` chooses what it leaves open.
pub fn run(stage: &mut Stage, case: &Case, turn: u64) -> Verdict {
    set_weak(stage, &[*case]);
    let verdict = run_alone(stage, case, turn);
    reset_weak(stage);
    verdict
}

fn run_alone(stage: &mut Stage, case: &Case, turn: u64) -> Verdict {
    let mut scene = Scene::new(stage);
    let line = case.way.line();
    if matches!(case.deed, Deed::DiskFull) {
        scene.disk = Some(SmallDisk::over(&scene.path("event-store"), 800));
        // What is not there yet is made while there is room.
        scene.must("status", 0);
    }
    if case.way == Way::Down {
        scene.must("migrate --json", 0);
    }
    let struck = match case.deed {
        Deed::Own(deed) => {
            deed(&mut scene);
            true
        }
        _ => strike(&mut scene, case, line),
    };
    // What is finished is everything, in one way or the other.
    let last = if case.way == Way::Down { line } else { Way::Up.line() };
    conclude(scene, case.name(), last, struck, turn)
}

/// Runs several cases one behind the other on one database, each on what the one before it left:
/// the next command may be struck, too. Not every moment comes.
pub fn run_chain(stage: &mut Stage, chain: &[Case], turn: u64) -> Verdict {
    set_weak(stage, chain);
    let verdict = run_all(stage, chain, turn);
    reset_weak(stage);
    verdict
}

/// A role's settings are part of the schema: they are set before anything is expected of it.
fn set_weak(stage: &mut Stage, cases: &[Case]) {
    stage.is_weak = cases.iter().any(Case::is_weak);
    if stage.is_weak {
        stage.server.sql(&format!("ALTER ROLE {DEPLOYER} SET {WEAK} = off"));
    }
}

/// Roles belong to the server: the next case must not inherit it.
fn reset_weak(stage: &mut Stage) {
    if std::mem::take(&mut stage.is_weak) {
        stage.server.sql(&format!("ALTER ROLE {DEPLOYER} RESET {WEAK}"));
    }
}

fn run_all(stage: &mut Stage, chain: &[Case], turn: u64) -> Verdict {
    let mut scene = Scene::new(stage);
    let mut struck = false;
    for case in chain {
        if case.way == Way::Down {
            scene.run("migrate --json");
        }
        struck |= strike(&mut scene, case, case.way.line());
        scene.wait_until_nobody_works();
    }
    let names: Vec<String> = chain.iter().map(Case::name).collect();
    // Half-done rollbacks are finished before anything goes the other way.
    if chain.iter().any(|case| case.way == Way::Down) {
        scene.run("rollback --to 0 --json");
    }
    conclude(scene, names.join(", then "), "migrate --json", struck, turn)
}

fn conclude(mut scene: Scene<'_>, name: String, line: &str, struck: bool, turn: u64) -> Verdict {
    let next = NEXT[usize::try_from(turn % 3).unwrap_or_default()];
    finish(&mut scene, line, if next.is_empty() { line } else { next });
    let violations = judge(&mut scene);
    let story = scene.said.iter().map(|said| format!("{} → {}", said.line, said.outcome.code));
    Verdict {
        name,
        violations,
        struck,
        longest_wait_ms: longest_wait_ms(&scene),
        story: story.collect(),
    }
}

impl Scene<'_> {
    /// Runs a command; another exit code is a broken promise.
    pub fn must(&mut self, line: &str, code: i32) {
        let found = self.run(line);
        if found != code {
            let what = format!("{line} ended with {found}, not {code}: {}", self.last());
            self.broken(Invariant::Recoverable, what);
        }
    }

    /// Runs a command that must be refused with one of `codes` and change nothing.
    pub fn must_refuse(&mut self, line: &str, codes: &[i32], words: &[&str]) {
        let (before, log) = (self.effects(), self.log());
        let code = self.run(line);
        let said = self.last();
        if !codes.contains(&code) || self.effects() != before || self.log() != log {
            let what = format!("{line} ended with {code}, not refused ({codes:?}): {said}");
            self.broken(Invariant::Recoverable, what);
        }
        for word in words.iter().filter(|word| !said.contains(**word)) {
            self.broken(Invariant::NoLie, format!("{line} does not say {word:?}: {said}"));
        }
    }

    /// Ends the server as a crash would, and starts it again.
    pub fn crash_server(&mut self) {
        self.stage.server.crash();
        self.stage.server.start_again();
    }

    /// Waits for a command and remembers it; another exit code than one of these is a broken
    /// promise.
    pub fn end(&mut self, line: &str, before: Vec<String>, running: Running, codes: &[i32]) -> i32 {
        let code = self.take(line, before, running.wait());
        if !codes.is_empty() && !codes.contains(&code) {
            let what = format!("{line} ended with {code}, none of {codes:?}: {}", self.last());
            self.broken(Invariant::NoLie, what);
        }
        code
    }
}

/// What runs and is held at the moment of its case.
struct Held {
    running: Running,
    before: Vec<String>,
    /// The backend, where a statement is being run.
    backend: Option<u64>,
}

/// Starts `line` and waits until it has come to the moment; none if it ends before.
fn hold(scene: &mut Scene<'_>, line: &str, at: Moment, action: &str) -> Option<Held> {
    let before = scene.effects();
    let running = match at {
        Moment::Failpoint(name, nth) => {
            for file in ["pause/arrived", "pause/go"] {
                let _ = std::fs::remove_file(scene.path(file));
            }
            scene.annals_at(line, &format!("{name}:{nth}={action}")).start()
        }
        Moment::Gate(name) => {
            scene.close_gate(name);
            scene.annals(line).start()
        }
        Moment::Own(name) => unreachable!("{name} brings its own moment"),
    };
    scene.note_arguments(&running);
    let mut backend = None;
    let there = wait_for("a run at the moment", || {
        let state = state(&running);
        let arrived = match at {
            Moment::Gate(_) => {
                backend = scene.asleep();
                backend.is_some()
            }
            _ if action == "pause" => scene.path("pause/arrived").exists(),
            _ => state == 'T',
        };
        (arrived || state == 'Z').then_some(arrived)
    });
    if there {
        return Some(Held { running, before, backend });
    }
    scene.take(line, before, running.wait());
    scene.open_gates();
    None
}

/// What the system says a process is doing: `Z` when it has ended and nobody has asked yet.
fn state(running: &Running) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid()));
    let stat = stat.unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('Z')
}

fn release(scene: &Scene<'_>, at: Moment) {
    match at {
        Moment::Failpoint(..) => scene.go(),
        Moment::Gate(_) => scene.open_gates(),
        Moment::Own(_) => {}
    }
}

/// The backend that holds the lock on the target, if any.
fn backend(scene: &Scene<'_>, held: &Held) -> Option<String> {
    let asked = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
        WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()";
    held.backend.map(|pid| pid.to_string()).or_else(|| scene.rows(asked).pop())
}

/// Brings the run to its moment and does the deed; says whether the fault struck.
fn strike(scene: &mut Scene<'_>, case: &Case, line: &str) -> bool {
    match case.deed {
        Deed::Kill | Deed::Panic | Deed::KillAndCrash => return end_process(scene, case, line),
        Deed::Signal(name) => {
            let Some(held) = hold(scene, line, case.at, "pause") else { return false };
            held.running.signal(name);
            if matches!(case.at, Moment::Failpoint(..)) {
                release(scene, case.at);
            }
            let codes: &[i32] = if held.backend.is_some() { &[130] } else { &[0, 130] };
            scene.end(line, held.before, held.running, codes);
            scene.open_gates();
        }
        Deed::Still | Deed::StillAndEnded => return still(scene, case, line),
        Deed::Crash | Deed::CrashWeak => {
            let Some(held) = hold(scene, line, case.at, "pause") else { return false };
            scene.crash_server();
            release(scene, case.at);
            scene.end(line, held.before, held.running, &[0, 4, 5, 6, 7]);
        }
        Deed::Terminate | Deed::Cancel => {
            let Some(held) = hold(scene, line, case.at, "pause") else { return false };
            let how = match case.deed {
                Deed::Terminate => "pg_terminate_backend",
                _ => "pg_cancel_backend",
            };
            let Some(backend) = backend(scene, &held) else { return false };
            scene.rows(&format!("SELECT {how}({backend})"));
            if held.backend.is_none() {
                release(scene, case.at);
            }
            scene.end(line, held.before, held.running, &[0, 4, 5, 6, 7]);
            scene.open_gates();
        }
        Deed::Reset => {
            let wire = Wire::start(scene.stage.server.tcp_port(), AtCommit::Passes);
            scene.through(wire.port());
            let Some(held) = hold(scene, line, case.at, "pause") else { return false };
            wire.reset();
            release(scene, case.at);
            scene.end(line, held.before, held.running, &[0, 4, 5, 6, 7]);
        }
        Deed::Runners(n) => return runners(scene, case, line, n),
        Deed::DiskFull => {
            let Some(held) = hold(scene, line, case.at, "pause") else { return false };
            scene.disk.as_ref().expect("it was just mounted").fill(0);
            release(scene, case.at);
            scene.end(line, held.before, held.running, &[0, 10]);
            scene.disk.as_ref().expect("it was just mounted").make_room();
        }
        Deed::Own(_) => unreachable!("it brings its own moment"),
    }
    true
}

/// The process ends at the moment, without a word.
fn end_process(scene: &mut Scene<'_>, case: &Case, line: &str) -> bool {
    let before = scene.effects();
    let outcome: Outcome = match case.at {
        Moment::Failpoint(name, nth) => {
            let panics = matches!(case.deed, Deed::Panic);
            let action = if panics { "panic" } else { "kill" };
            let running = scene.annals_at(line, &format!("{name}:{nth}={action}")).start();
            scene.note_arguments(&running);
            let outcome = running.wait();
            if outcome.code != if panics { 101 } else { -1 } {
                scene.take(line, before, outcome);
                return false;
            }
            outcome
        }
        at => {
            let Some(held) = hold(scene, line, at, "") else { return false };
            held.running.signal("KILL");
            held.running.wait()
        }
    };
    if matches!(case.deed, Deed::KillAndCrash) {
        scene.crash_server();
    }
    // A backend that waits at a gate notices by itself that its client is gone.
    scene.take(line, before, outcome);
    scene.open_gates();
    true
}

/// A second runner, while the first one stands still.
fn still(scene: &mut Scene<'_>, case: &Case, line: &str) -> bool {
    // The application waits as long as whoever holds its locks stands still; the server would end
    // the idle transaction in a minute.
    scene.wait_bound_ms += 60_000;
    let Some(held) = hold(scene, line, case.at, "stop") else { return false };
    if held.backend.is_some() {
        held.running.signal("STOP");
    }
    let ended = matches!(case.deed, Deed::StillAndEnded);
    if ended && let Some(backend) = backend(scene, &held) {
        scene.rows(&format!("SELECT pg_terminate_backend({backend})"));
    }
    scene.set_patience("200ms");
    let second = scene.annals(line).run();
    // Before the lock the second one does everything; behind it, it may do nothing.
    let before_the_lock = case.point == 1 && matches!(case.at, Moment::Failpoint("after_files", _));
    let expected = if before_the_lock { 0 } else { 8 };
    if second.code != expected {
        let what =
            format!("a second runner ended with {}: {}{}", second.code, second.out, second.err);
        scene.broken(Invariant::OneAtATime, what);
    }
    scene.take_beside(line, second);
    scene.set_patience("30s");
    held.running.signal("CONT");
    scene.open_gates();
    let codes: &[i32] = if ended { &[4, 5, 6, 7] } else { &[0] };
    let outcome = held.running.wait();
    if before_the_lock {
        scene.take_beside(line, outcome);
        return true;
    }
    let code = scene.take(line, held.before, outcome);
    // Where the last answer was there already, nothing is asked of the server any more.
    let was_over = ended && code == 0 && case.point >= 11;
    if !was_over && !codes.contains(&code) {
        let what = format!("the woken runner ended with {code}: {}", scene.last());
        scene.broken(Invariant::OneAtATime, what);
    }
    true
}

/// Others start while the first one is held; then all go on.
fn runners(scene: &mut Scene<'_>, case: &Case, line: &str, n: usize) -> bool {
    let Some(held) = hold(scene, line, case.at, "pause") else { return false };
    let others: Vec<Running> = (0..n).map(|_| scene.annals(line).start()).collect();
    if case.at == Moment::Failpoint("after_files", 1) {
        wait_for("the end of the others", || scene.backends().is_empty().then_some(()));
    } else {
        // The one at work, and at least one that asks for its lock.
        wait_for("another runner", || (scene.backends().len() > 1).then_some(()));
    }
    release(scene, case.at);
    let mut all = vec![held.running];
    all.extend(others);
    let mut working = 0;
    for one in all {
        let outcome = one.wait();
        let document: serde_json::Value = serde_json::from_str(&outcome.out).unwrap_or_default();
        working += usize::from(!document["run"].is_null());
        if outcome.code != 0 {
            let what = format!("one of many ended with {}: {}", outcome.code, outcome.err);
            scene.broken(Invariant::OneAtATime, what);
        }
        scene.take_beside(line, outcome);
    }
    if working != 1 {
        scene.broken(Invariant::OneAtATime, format!("{working} of {} runners worked", n + 1));
    }
    true
}

/// What must come behind every fault: settled, finished, and nothing more to do.
pub fn finish(scene: &mut Scene<'_>, line: &str, next: &str) {
    scene.wait_until_nobody_works();
    if next != line {
        let code = scene.run(next);
        // What is half done is a finding.
        if !matches!((next, code), (_, 0) | ("status" | "verify", 11)) {
            let what = format!("{next} ended with {code}: {}", scene.last());
            scene.broken(Invariant::Recoverable, what);
        }
    }
    scene.must(line, 0);
    let size = events(&scene.log()).count();
    scene.must(line, 0);
    scene.must("status", 0);
    if events(&scene.log()).count() != size {
        scene.broken(Invariant::Recoverable, "a second recovery found something to do");
    }
    scene.must("verify", 0);
    scene.must("log verify", 0);
    let effects = scene.effects();
    let down = line.starts_with("rollback");
    for migration in MIGRATIONS.iter().filter(|migration| migration.counts_itself()) {
        let of = |direction: &str| {
            let step = format!("{direction} {}", migration.version());
            effects.iter().filter(|effect| **effect == step).count()
        };
        if of("up") != of("down") + usize::from(!down) {
            let what = format!("{} is not where the last command was to bring it", migration.id);
            scene.broken(Invariant::Recoverable, what);
        }
    }
}

/// Opens a transaction of somebody else that stays open until the result is dropped.
pub fn somebody(scene: &Scene<'_>, sql: &str) -> Link {
    let mut link = Link::open(&scene.own_url()).unwrap_or_else(|error| panic!("{error}"));
    link.run(&format!("BEGIN; {sql}")).unwrap_or_else(|error| panic!("{sql}: {error}"));
    link
}

/// Sends a backend of the server a signal of the operating system.
pub fn signal_backend(pid: u64, name: &str) {
    kill(pid, name);
}
