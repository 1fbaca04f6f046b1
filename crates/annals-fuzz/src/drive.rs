//! Drives a target with mutations until it fails or the budget is spent.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::mutate::Mutator;

/// The most inputs that are kept because they were accepted, beside the seeds.
const MAX_KEPT: usize = 500;

/// The longest input that is kept, in bytes.
const MAX_KEPT_BYTES: usize = 20_000;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// After so many inputs.
    Inputs(u64),
    /// After so long.
    Time(Duration),
}

/// An input on which a target panicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that leads to it.
    pub seed: u64,
    /// How many inputs came before it.
    pub after: u64,
    /// The input.
    pub input: Vec<u8>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, input {}: ", self.seed, self.after)?;
        self.input.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, " = b\"{}\"", self.input.escape_ascii())
    }
}

/// What came of a run without failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Inputs tried.
    pub inputs: u64,
    /// Of these, those the target accepted.
    pub accepted: u64,
}

/// Feeds mutations of `corpus` to `target`; what it accepts is mutated further.
///
/// # Errors
///
/// The first input on which `target` panics.
pub fn drive(
    target: impl Fn(&[u8]) -> bool,
    mut corpus: Vec<Vec<u8>>,
    seed: u64,
    budget: Budget,
) -> Result<Outcome, Failure> {
    let (mut mutator, started) = (Mutator::new(seed), Instant::now());
    let mut outcome = Outcome { inputs: 0, accepted: 0 };
    let seeds = corpus.len();
    loop {
        let is_spent = match budget {
            Budget::Inputs(most) => outcome.inputs >= most,
            Budget::Time(longest) => started.elapsed() >= longest,
        };
        if is_spent {
            return Ok(outcome);
        }
        let input = mutator.mutate(&corpus);
        let accepted = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let Ok(accepted) = accepted else {
            return Err(Failure { seed, after: outcome.inputs, input });
        };
        outcome.inputs += 1;
        if accepted {
            outcome.accepted += 1;
            if input.len() <= MAX_KEPT_BYTES {
                // The oldest ones make room; the seeds stay.
                let place = seeds + (outcome.accepted as usize - 1) % MAX_KEPT;
                match corpus.get_mut(place) {
                    Some(kept) => *kept = input,
                    None => corpus.push(input),
                }
            }
        }
    }
}
