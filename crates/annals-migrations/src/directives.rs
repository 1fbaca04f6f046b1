//! `-- annals: key=value` lines at the top of a file.

/// What a file asks of the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directives {
    /// `transaction=on|off`: whether the whole file is one transaction. Default on.
    pub transaction: bool,
    /// `lock_timeout=<duration>`: longest wait for a lock, in milliseconds; 0 waits for ever.
    pub lock_timeout_ms: Option<u64>,
    /// `statement_timeout=<duration>`: longest run of one statement, in milliseconds; 0 for ever.
    pub statement_timeout_ms: Option<u64>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { transaction: true, lock_timeout_ms: None, statement_timeout_ms: None }
    }
}

/// A directive that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DirectiveError {
    /// Byte of the file.
    pub offset: usize,
    /// What is wrong.
    pub reason: String,
}

const KNOWN: &str = "transaction=on|off, lock_timeout=<duration>, statement_timeout=<duration>";

/// The longest timeout PostgreSQL takes: 2^31 − 1 ms, about 24 days.
const MAX_TIMEOUT_MS: u64 = i32::MAX as u64;

/// Reads `500ms`, `2s`, `5min`, `1h` or `0` as milliseconds.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let factor = match unit {
        "" if number == 0 => 0,
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor).filter(|&ms| ms <= MAX_TIMEOUT_MS)
}

/// The text behind `-- annals:` if `comment` is a directive.
fn directive_text(comment: &str) -> Option<&str> {
    comment.strip_prefix("--")?.trim_start().strip_prefix("annals:")
}

/// Collects the directives among `comments`, each with its offset; those from `header_end` on
/// stand behind a statement and are refused.
pub(crate) fn collect<'a>(
    comments: impl Iterator<Item = (usize, &'a str)>,
    header_end: usize,
) -> (Directives, Vec<DirectiveError>) {
    let mut directives = Directives::default();
    let mut seen: Vec<String> = Vec::new();
    let mut errors = Vec::new();
    for (offset, comment) in comments {
        let Some(text) = directive_text(comment) else {
            continue;
        };
        let mut refuse = |reason: String| errors.push(DirectiveError { offset, reason });
        if offset >= header_end {
            refuse("a directive stands at the top of the file, before the first statement".into());
            continue;
        }
        for pair in text.split(',').map(str::trim) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.iter().any(|seen| seen == key) {
                refuse(format!("directive {key:?} stands twice"));
            } else if let Err(reason) = apply(&mut directives, key, value) {
                refuse(reason);
            }
            seen.push(key.to_owned());
        }
    }
    (directives, errors)
}

fn apply(directives: &mut Directives, key: &str, value: &str) -> Result<(), String> {
    let duration = || {
        parse_duration_ms(value)
            .map(Some)
            .ok_or_else(|| format!("{key}={value:?}: a duration is like 500ms, 2s, 5min, 1h or 0"))
    };
    match (key, value) {
        ("transaction", "on") => directives.transaction = true,
        ("transaction", "off") => directives.transaction = false,
        ("transaction", _) => return Err(format!("transaction is on or off, got {value:?}")),
        ("lock_timeout", _) => directives.lock_timeout_ms = duration()?,
        ("statement_timeout", _) => directives.statement_timeout_ms = duration()?,
        _ => return Err(format!("unknown directive {key:?}; known are {KNOWN}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Directives, String> {
        let (directives, errors) = collect(lines.iter().map(|line| (0, *line)), 1);
        match errors.first() {
            None => Ok(directives),
            Some(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn directives_are_read_strictly() {
        let all = read(&[
            "-- annals: transaction=off, lock_timeout=500ms",
            "-- annals: statement_timeout=5min",
        ]);
        let expected = Directives {
            transaction: false,
            lock_timeout_ms: Some(500),
            statement_timeout_ms: Some(300_000),
        };
        assert_eq!(all, Ok(expected));
        assert_eq!(read(&["-- annals are nice", "-- Migration: x"]), Ok(Directives::default()));
        for bad in [
            "-- annals: txn=off",
            "-- annals: transaction=maybe",
            "-- annals:",
            "-- annals: lock_timeout=2",
            "-- annals: lock_timeout=999h",
            "-- annals: transaction=on,transaction=off",
        ] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
        assert!(read(&["-- annals: lock_timeout=1s", "-- annals: lock_timeout=2s"]).is_err());
    }
}
