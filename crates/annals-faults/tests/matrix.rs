//! The part of the fault matrix that belongs to every change: fixed cases, fixed seeds.
//!
//! `ANNALS_FAULT_CASE` names the cases to run, by a part of their names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use annals_faults::drive::run;
use annals_faults::faults::{FAULTS, NOT_RUN, cases};
use annals_faults::scene::Stage;

/// Chooses nothing in the short part; the same for everybody.
const SEED: u64 = 1;

/// How many tests share the work, each with a server of its own.
const SHARES: usize = 8;

fn share(own: usize) {
    let wanted = std::env::var("ANNALS_FAULT_CASE").ok();
    let chosen = cases(SEED).into_iter().filter(|case| match &wanted {
        Some(part) => case.name().contains(part),
        None => case.short,
    });
    let mut stage = Stage::new();
    let mut broken = Vec::new();
    for (turn, case) in chosen.enumerate().filter(|(turn, _)| turn % SHARES == own) {
        let verdict = run(&mut stage, &case, turn as u64);
        println!("{}: {}", verdict.name, verdict.story.join(", "));
        if !verdict.struck {
            broken.push(format!("{}: the fault did not strike", verdict.name));
        }
        let violations = verdict.violations.iter();
        broken.extend(violations.map(|violation| format!("{}: {violation}", verdict.name)));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

macro_rules! shares {
    ($($name:ident $number:literal)*) => {
        $(#[test] fn $name() { share($number); })*

        #[test]
        fn every_share_is_run() {
            assert_eq!([$($number),*].len(), SHARES);
        }
    };
}

shares! { first 0 second 1 third 2 fourth 3 fifth 4 sixth 5 seventh 6 eighth 7 }

#[test]
fn every_fault_has_cases_or_a_reason() {
    let cases = cases(SEED);
    for (fault, name) in (1..).zip(FAULTS) {
        let run = cases.iter().any(|case| case.fault == fault && case.short);
        let reason = NOT_RUN.iter().any(|not_run| not_run.fault == fault);
        assert!(run || reason, "F{fault} {name} has neither a case nor a reason");
    }
}

#[test]
fn cases_have_names_of_their_own() {
    let mut names: Vec<String> = cases(SEED).iter().map(annals_faults::case::Case::name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}
