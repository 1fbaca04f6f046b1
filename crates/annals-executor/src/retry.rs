//! How often, and when, a transaction that lost against others is tried again.

use std::time::Duration;

use annals_events::{Digest, RunId};

/// What a run does when others are in its way, and when it is in theirs. Durations in
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often a transaction is tried again after a lock timeout, a deadlock or a serialization
    /// failure.
    pub retries: u32,
    /// The longest a run spends in attempts that were lost, and in the pauses between them; 0 is
    /// no limit.
    pub max_blocked_ms: u64,
    /// The longest others may wait for a lock of a transaction of ours before it gives way; 0 only
    /// tells.
    pub max_blocking_ms: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { retries: 5, max_blocked_ms: 60_000, max_blocking_ms: 10_000 }
    }
}

/// The first pause, before jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause, before jitter.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A lock that was not granted in time.
pub(crate) const LOCK_NOT_AVAILABLE: &str = "55P03";
/// The victim of a deadlock.
const DEADLOCK: &str = "40P01";
/// A serialization failure.
const SERIALIZATION: &str = "40001";

/// Whether the server's verdict says nothing of the file: the same transaction may succeed later.
pub fn lost_to_others(code: Option<&str>) -> bool {
    matches!(code, Some(LOCK_NOT_AVAILABLE | DEADLOCK | SERIALIZATION))
}

/// Why a transaction is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enough {
    /// As often as allowed.
    Attempts,
    /// The run has spent as long as allowed.
    Time,
}

/// The retries of a run: attempts are counted for each transaction, time for the whole run.
#[derive(Debug)]
pub(crate) struct Retries {
    patience: Patience,
    run: RunId,
    spent: Duration,
    drawn: u64,
}

impl Retries {
    pub(crate) fn new(patience: Patience, run: RunId) -> Self {
        Self { patience, run, spent: Duration::ZERO, drawn: 0 }
    }

    /// How often a transaction may be tried again.
    pub(crate) fn allowed(&self) -> u32 {
        self.patience.retries
    }

    /// What the run has spent on lost attempts and pauses.
    pub(crate) fn spent(&self) -> Duration {
        self.spent
    }

    /// The pause before attempt `tried + 1` of a transaction whose last attempt took `lost`.
    ///
    /// Exponential, with the upper half drawn: runners that lost against each other do not meet
    /// again at once.
    ///
    /// # Errors
    ///
    /// When there is to be none.
    pub(crate) fn after(&mut self, tried: u32, lost: Duration) -> Result<Duration, Enough> {
        self.spent += lost;
        if tried > self.patience.retries {
            return Err(Enough::Attempts);
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << tried.saturating_sub(1).min(16));
        let pause = doubled.min(LONGEST_PAUSE);
        let pause = pause / 2 + pause.mul_f64(self.draw() / 2.0);
        let limit = Duration::from_millis(self.patience.max_blocked_ms);
        if !limit.is_zero() && self.spent + pause >= limit {
            return Err(Enough::Time);
        }
        self.spent += pause;
        Ok(pause)
    }

    /// Between 0 and 1. A run's id is random, so its digest is as good as a die.
    fn draw(&mut self) -> f64 {
        self.drawn += 1;
        let digest = Digest::of(format!("{} pause {}", self.run, self.drawn).as_bytes());
        let first = digest.as_bytes().first_chunk::<4>().expect("a digest has four bytes");
        f64::from(u32::from_be_bytes(*first)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(retries: u32, max_blocked_ms: u64) -> Retries {
        let run: RunId = "0192f0c1-2345-7000-8000-000000000001".parse().unwrap();
        Retries::new(Patience { retries, max_blocked_ms, ..Patience::default() }, run)
    }

    #[test]
    fn pauses_grow_and_are_drawn_and_bounded() {
        let mut state = retries(12, 0);
        let mut pauses = Vec::new();
        for tried in 1..=12 {
            let pause = state.after(tried, Duration::ZERO).unwrap();
            let full = FIRST_PAUSE.saturating_mul(1 << (tried - 1)).min(LONGEST_PAUSE);
            assert!(pause >= full / 2 && pause <= full, "{tried}: {pause:?}");
            pauses.push(pause);
        }
        assert_eq!(state.after(13, Duration::ZERO), Err(Enough::Attempts));
        let total: Duration = pauses.iter().sum();
        assert_eq!(state.spent(), total);
        pauses.dedup();
        assert_eq!(pauses.len(), 12, "drawn, not fixed");
    }

    #[test]
    fn time_is_counted_over_the_whole_run() {
        let mut state = retries(5, 5_000);
        assert!(state.after(1, Duration::from_secs(2)).is_ok());
        // Another transaction of the same run.
        assert!(state.after(1, Duration::from_secs(2)).is_ok());
        assert_eq!(state.after(1, Duration::from_secs(2)), Err(Enough::Time));
        assert_eq!(retries(0, 0).after(1, Duration::ZERO), Err(Enough::Attempts));
    }

    #[test]
    fn only_what_says_nothing_of_the_file_is_tried_again() {
        for code in ["55P03", "40P01", "40001"] {
            assert!(lost_to_others(Some(code)));
        }
        for code in [Some("23505"), Some("42P01"), Some("57014"), None] {
            assert!(!lost_to_others(code));
        }
    }
}
