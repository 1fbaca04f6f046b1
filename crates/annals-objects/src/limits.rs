//! How long a store is waited for.

use std::time::Duration;

/// The slowest transfer that is waited for, in bytes a second, beyond [`Limits::answer_timeout_ms`].
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;

/// How long a store, or a folder in the place of one, is waited for.
///
/// With the defaults a store that refuses connections is given up within ten seconds, one whose
/// machine does not answer within half a minute, and one that takes requests and never answers
/// them within two minutes. No limit is on a transfer as a whole: it may have much to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to the store, TLS not counted. Default: 5,000.
    pub connect_timeout_ms: u64,
    /// For the answer to one request, its transfer at 256 KiB/s not counted. Default: 30,000.
    pub answer_timeout_ms: u64,
    /// How often a request is repeated after a lost connection or a server error. Default: 3.
    pub retries: u32,
    /// The first pause before a repetition; each further one is twice as long, at most two
    /// seconds. Default: 100.
    pub first_pause_ms: u64,
    /// For the lock of a directory that somebody else holds. Default: 30,000.
    pub lock_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 5_000,
            answer_timeout_ms: 30_000,
            retries: 3,
            first_pause_ms: 100,
            lock_timeout_ms: 30_000,
        }
    }
}

/// No pause is longer.
const MAX_PAUSE: Duration = Duration::from_secs(2);

impl Limits {
    /// The pause before repetition `attempt`, from 0.
    pub fn pause(&self, attempt: u32) -> Duration {
        let factor = 1u64 << attempt.min(20);
        Duration::from_millis(self.first_pause_ms.saturating_mul(factor)).min(MAX_PAUSE)
    }

    /// The longest pause.
    pub(crate) fn max_pause() -> Duration {
        MAX_PAUSE
    }

    /// How long a transfer of `bytes` is waited for.
    pub(crate) fn transfer(&self, bytes: u64) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
            + Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST_BYTES_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_two_seconds_and_transfers_get_time_by_size() {
        let limits = Limits::default();
        let pauses: Vec<u128> = (0..7).map(|n| limits.pause(n).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(limits.pause(u32::MAX), MAX_PAUSE);
        assert_eq!(limits.transfer(0).as_secs(), 30);
        assert_eq!(limits.transfer(1024 * 1024).as_secs(), 34);
    }
}
