//! Every target under mutation, for a bounded time.
//!
//! `ANNALS_FUZZ_SECONDS` makes each target run so long, `ANNALS_FUZZ_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, SystemTime};

use annals_fuzz::{Budget, all, drive, seeds, targets};

/// Inputs for each target where no time is asked for: a few seconds for all of them in debug.
const INPUTS: u64 = 30_000;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, got {text:?}")))
}

fn budget() -> Budget {
    variable("ANNALS_FUZZ_SECONDS")
        .map_or(Budget::Inputs(INPUTS), |seconds| Budget::Time(Duration::from_secs(seconds)))
}

/// The same by default, so that a failure is of the change that was made; another one for long runs.
fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    variable("ANNALS_FUZZ_SEED").unwrap_or_else(|| match budget() {
        Budget::Inputs(_) => 1,
        Budget::Time(_) => clock() as u64,
    })
}

fn fuzz(name: &str) {
    let (_, target, corpus) = all().into_iter().find(|(known, ..)| *known == name).unwrap();
    for input in &corpus {
        assert!(target(input), "{name} refuses a seed: {}", input.escape_ascii());
    }
    let seed = seed();
    println!("{name}: seed {seed}");
    let outcome = drive(target, corpus, seed, budget())
        .unwrap_or_else(|failure| panic!("{name} broke its word: {failure}"));
    println!("{name}: {outcome:?}");
    // Neither everything nor nothing: the mutations are where the rules are.
    assert!(outcome.accepted > 0 && outcome.accepted < outcome.inputs, "{name}: {outcome:?}");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*

        #[test]
        fn every_target_is_driven() {
            let known: Vec<_> = all().iter().map(|(name, ..)| *name).collect();
            assert_eq!(known, [$(stringify!($name)),*]);
        }
    };
}

targets! {
    canonical_json event_line signed_note checkpoint checkpoint_text verifier_key tile_path
    tile_bytes bundle_bytes tlog_proof sql_pieces merkle_proof
}

/// Mistakes as they are made, each in a parser around a good one: the mutations find them all.
#[test]
fn planted_mistakes_are_found() {
    let lenient_path = |input: &[u8]| {
        let text = String::from_utf8_lossy(input).replacen("x000/", "", 1);
        let accepted = targets::tile_path(text.as_bytes());
        assert!(!accepted || text.as_bytes() == input, "a group of zeroes before the index");
        accepted
    };
    let trailing = |input: &[u8]| {
        let cut =
            (0..input.len().min(4)).find(|cut| targets::bundle_bytes(&input[..input.len() - cut]));
        assert!(cut.is_none_or(|cut| cut == 0), "bytes behind the last entry");
        cut.is_some()
    };
    let leading_zero = |input: &[u8]| {
        let text = String::from_utf8_lossy(input).replacen("index 0", "index ", 1);
        let accepted = targets::tlog_proof(text.as_bytes());
        assert!(!accepted || text.as_bytes() == input, "a zero before the index");
        accepted || targets::tlog_proof(input)
    };
    let capitals = |input: &[u8]| {
        let mut lower = input.to_vec();
        let id = input.windows(6).position(|word| word == b"\"id\":\"").map_or(0, |at| at + 6);
        if let Some(id) = lower.get_mut(id..id + 36) {
            id.make_ascii_lowercase();
        }
        let accepted = targets::event_line(&lower);
        assert!(!accepted || input == lower, "digits of an identifier in capitals");
        accepted
    };
    let long = |input: &[u8]| {
        let length = input.first().map_or(0, |width| usize::from(*width) * 32);
        assert!(input.len() != 1 + length || length == 0, "a width off by one");
        targets::tile_bytes(input)
    };
    type Planted<'a> = (&'a str, &'a dyn Fn(&[u8]) -> bool, Vec<Vec<u8>>);
    let planted: [Planted<'_>; 5] = [
        ("path", &lenient_path, seeds::tile_paths()),
        ("bundle", &trailing, seeds::bundle_bytes()),
        ("proof", &leading_zero, seeds::tlog_proofs()),
        ("line", &capitals, seeds::lines()),
        ("tile", &long, seeds::tile_bytes()),
    ];
    for (name, target, corpus) in planted {
        let failure = drive(target, corpus.clone(), 1, Budget::Inputs(200_000)).unwrap_err();
        println!("{name}: {failure}");
        let again = drive(target, corpus, 1, Budget::Inputs(200_000)).unwrap_err();
        assert_eq!(failure, again, "{name}: a seed leads to the same input again");
    }
}
