//! Random programs against a log on the simulated disk: what was promised is kept.
//!
//! `ANNALS_FAULT_RUNS=10000` runs more of them; a failure prints its seed, and
//! `ANNALS_FAULT_SEED=<seed>` runs that one alone.

use crate::disk::{Fault, Keep, Lies, Rng, SimDisk};
use crate::witness::{Outcome, Verdict, Witness};

const RUNS: u64 = 600;

const FAULTS: [Fault; 7] = [
    Fault::Error,
    Fault::Error,
    Fault::ErrorThoughDone,
    Fault::NoRoom,
    Fault::PowerBefore,
    Fault::PowerBefore,
    Fault::PowerAfter,
];

/// One program: it creates, appends, publishes, fails, loses power and comes back.
fn run(seed: u64, lies: Lies) -> Verdict {
    let mut rng = Rng::new(seed);
    let mut witness = Witness::new(SimDisk::new(seed, lies));
    // Every sixteenth writes enough to begin new segments.
    let is_long = seed % 16 == 7;
    let steps = if is_long { 10 } else { 12 + rng.below(24) };
    for _ in 0..steps {
        witness.pass(rng.below(3_000) as i64 - 500);
        if rng.chance(40) {
            let after = rng.below(if witness.has_log() { 8 } else { 30 });
            witness.disk.arm(after, FAULTS[rng.below(FAULTS.len())]);
        } else if rng.chance(5) {
            witness.disk.fill();
        }
        let outcome = match (witness.has_log(), rng.below(100)) {
            (false, _) => witness.start()?,
            (true, 0..40) => append(&mut witness, &mut rng, is_long)?,
            (true, 40..55) => {
                let more = [0, 40, 700, 5_000][rng.below(4)];
                let facts = [witness.facts(rng.below(3), more), witness.facts(rng.below(3), more)];
                witness.write_twice(facts)?
            }
            (true, 55..67) => witness.publish()?,
            (true, 67..77) => witness.put_blob(&vec![b'b'; 300 * rng.below(5)])?,
            (true, 77..90) => {
                witness.lose_power(Keep::Some);
                Outcome::Done
            }
            (true, 90..96) => {
                witness.lose_process();
                Outcome::Done
            }
            (true, _) => {
                witness.disk.disarm();
                witness.intrude()?;
                witness.read()?;
                Outcome::Done
            }
        };
        match outcome {
            _ if witness.disk.is_off() => witness.lose_power(Keep::Some),
            Outcome::Failed if rng.chance(30) => witness.lose_power(Keep::Some),
            Outcome::Failed if rng.chance(30) => witness.lose_process(),
            _ => {}
        }
        witness.disk.disarm();
    }
    finish(&mut witness)
}

fn append(witness: &mut Witness, rng: &mut Rng, is_long: bool) -> Verdict<Outcome> {
    let mut requests = Vec::new();
    if is_long && rng.chance(40) {
        requests.push(witness.facts(20, 58_000));
    }
    for _ in 0..=rng.below(3) {
        let (count, more) = (rng.below(3), [0, 40, 700, 5_000][rng.below(4)]);
        requests.push(witness.facts(count, more));
    }
    if rng.chance(10) {
        let refused = witness.too_long();
        requests.insert(rng.below(requests.len() + 1), refused);
    }
    witness.append(&requests)
}

/// All is well again: what was promised is there, and the log goes on.
fn finish(witness: &mut Witness) -> Verdict {
    witness.disk.disarm();
    for keep in [Keep::Some, Keep::Nothing] {
        if !witness.has_log() && witness.start()? == Outcome::Failed {
            return Err("a log does not open on a healthy disk".to_owned());
        }
        let more = witness.facts(2, 10);
        if witness.append(&[more])? == Outcome::Failed || witness.publish()? == Outcome::Failed {
            return Err("a log does not go on on a healthy disk".to_owned());
        }
        witness.read()?;
        witness.lose_power(keep);
    }
    match witness.start()? {
        Outcome::Done => Ok(()),
        Outcome::Failed => Err("a log does not open on a healthy disk".to_owned()),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seeds() -> std::ops::Range<u64> {
    match number("ANNALS_FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANNALS_FAULT_RUNS").unwrap_or(RUNS),
    }
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    for seed in seeds() {
        if let Err(broken) = run(seed, Lies::default()) {
            panic!("{broken}; again with ANNALS_FAULT_SEED={seed}");
        }
    }
}

#[test]
fn a_bit_read_wrong_while_opening_is_refused_or_changes_nothing() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in seeds().take(200) {
        let mut rng = Rng::new(seed);
        let mut witness = Witness::new(SimDisk::new(seed, Lies::default()));
        let tried = (0..8).try_for_each(|_| {
            witness.disk.disarm();
            if witness.start()? == Outcome::Failed {
                return Err("a log does not open on a healthy disk".to_owned());
            }
            append(&mut witness, &mut rng, false)?;
            if rng.chance(50) {
                witness.publish()?;
            }
            witness.close();
            witness.disk.flip_a_bit_after(rng.below(3));
            let outcome = witness.start()?;
            match (witness.disk.has_flipped(), outcome) {
                (true, Outcome::Failed) => refused += 1,
                (true, Outcome::Done) => harmless += 1,
                (false, _) => {}
            }
            Ok(())
        });
        if let Err(broken) = tried {
            panic!("{broken}; again with ANNALS_FAULT_SEED={seed}");
        }
    }
    println!("{refused} refused, {harmless} harmless");
    assert!(refused > 0 || seeds().count() == 1, "no bit was read wrong where it matters");
}

#[test]
fn a_bit_that_has_rotten_in_front_of_the_last_event_is_refused_at_every_opening() {
    for seed in seeds().take(200) {
        let mut rng = Rng::new(seed);
        let mut witness = Witness::new(SimDisk::new(seed, Lies::default()));
        for n in 0..4 {
            witness.start().unwrap();
            append(&mut witness, &mut rng, false).unwrap();
            let more = witness.facts(1, 0);
            witness.append(&[more]).unwrap();
            if rng.chance(60) && n > 0 {
                witness.publish().unwrap();
            }
        }
        witness.close();
        // What is signed, and what another event stands behind; the link shows the rest.
        let (path, end) = (witness.newest_segment(), witness.bytes_that_are_vouched_for());
        let (at, bit) = (rng.below(end), u8::try_from(rng.below(8)).unwrap());
        witness.disk.rot(&path, at, bit);
        let opened = witness.open_rotten();
        assert!(opened.is_err(), "byte {at}, bit {bit}; again with ANNALS_FAULT_SEED={seed}");
        witness.disk.rot(&path, at, bit);
        assert_eq!(witness.start(), Ok(Outcome::Done), "again with ANNALS_FAULT_SEED={seed}");
    }
}

/// The first seed whose program notices that the disk lies.
fn noticed(lies: Lies) -> String {
    let found = (0..RUNS).find_map(|seed| run(seed, lies).err().map(|broken| (seed, broken)));
    let Some((seed, broken)) = found else { panic!("nobody noticed {lies:?}") };
    format!("seed {seed}: {broken}")
}

#[test]
fn a_disk_that_skips_a_sync_or_a_log_that_is_not_written_anew_is_noticed() {
    let honest = Lies::default();
    for lies in [
        Lies { data: true, ..honest },
        Lies { all: true, ..honest },
        Lies { folder: true, ..honest },
        Lies { rewrite: true, ..honest },
    ] {
        println!("{lies:?}: {}", noticed(lies));
    }
}
