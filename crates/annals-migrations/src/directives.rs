//! `-- annals: key=value` lines at the top of a file.

use crate::backfill::{self, BackfillDirective};

/// What a file asks of the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `backfill=<table>.<column>`: the statement is run for batch after batch of that key.
    pub backfill: Option<BackfillDirective>,
    /// `irreversible="reason"`: there is no way back from this migration, and why.
    pub irreversible: Option<String>,
    /// `transaction=on|off`: whether the whole file is one transaction. Default on.
    pub transaction: bool,
    /// `lock_timeout=<duration>`: longest wait for a lock, in milliseconds; 0 waits for ever.
    pub lock_timeout_ms: Option<u64>,
    /// `statement_timeout=<duration>`: longest run of one statement, in milliseconds; 0 for ever.
    pub statement_timeout_ms: Option<u64>,
    /// `test_rows=<count>`: rows in each table when the migration is rehearsed once more.
    pub test_rows: Option<u64>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            backfill: None,
            irreversible: None,
            transaction: true,
            lock_timeout_ms: None,
            statement_timeout_ms: None,
            test_rows: None,
        }
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

const KNOWN: &str = "transaction=on|off, lock_timeout=<duration>, statement_timeout=<duration>, \
    backfill=<table>.<column>, batch=<rows>, pause=<duration>, irreversible=\"<reason>\", test_rows=<count>";

/// The most rows a rehearsal makes in a table: some seconds each million.
const MAX_TEST_ROWS: u64 = 5_000_000;

/// The longest reason that is read.
const MAX_REASON_CHARS: usize = 500;

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

/// Reads a reason: words between quotation marks.
fn parse_reason(value: &str) -> Result<String, String> {
    let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let reason = inside.map(str::trim).filter(|reason| !reason.is_empty());
    match reason {
        Some(reason) if reason.contains('"') => {
            Err("a reason has no quotation marks in it".to_owned())
        }
        Some(reason) if reason.chars().count() > MAX_REASON_CHARS => {
            Err(format!("a reason has at most {MAX_REASON_CHARS} characters"))
        }
        Some(reason) => Ok(reason.to_owned()),
        None => Err("say why: irreversible=\"the old values are not kept\"".to_owned()),
    }
}

/// Reads a number of rows: digits alone.
fn parse_test_rows(value: &str) -> Result<u64, String> {
    let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let rows =
        value.parse::<u64>().ok().filter(|rows| is_plain && (1..=MAX_TEST_ROWS).contains(rows));
    rows.ok_or_else(|| format!("test_rows is a number from 1 to {MAX_TEST_ROWS}, got {value:?}"))
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
    let mut pace = Pace::default();
    let mut seen: Vec<String> = Vec::new();
    let mut errors = Vec::new();
    let mut last = 0;
    for (offset, comment) in comments {
        let Some(text) = directive_text(comment) else {
            continue;
        };
        let mut refuse = |reason: String| errors.push(DirectiveError { offset, reason });
        if offset >= header_end {
            refuse("a directive stands at the top of the file, before the first statement".into());
            continue;
        }
        last = offset;
        for pair in pairs(text) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.iter().any(|seen| seen == key) {
                refuse(format!("directive {key:?} stands twice"));
            } else if let Err(reason) = apply(&mut directives, &mut pace, key, value) {
                refuse(reason);
            }
            seen.push(key.to_owned());
        }
    }
    let (asked, alone) = (directives.backfill.is_some(), pace != Pace::default());
    if asked && seen.iter().any(|key| key == "transaction") {
        let reason = "a backfill has a transaction for each batch; leave the directive transaction \
                      out";
        errors.push(DirectiveError { offset: last, reason: reason.to_owned() });
    } else if alone && !asked && errors.is_empty() {
        let reason = "batch and pause belong to a backfill; name its key with \
                      backfill=<table>.<column>";
        errors.push(DirectiveError { offset: last, reason: reason.to_owned() });
    }
    if let Some(backfill) = &mut directives.backfill {
        directives.transaction = false;
        backfill.batch = pace.batch.unwrap_or(backfill::DEFAULT_BATCH);
        backfill.pause_ms = pace.pause_ms.unwrap_or(backfill::DEFAULT_PAUSE_MS);
    }
    (directives, errors)
}

/// What stands between the commas; a comma in a quoted name is part of it.
fn pairs(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let at_comma = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    text.split(at_comma).map(str::trim).collect()
}

/// How fast a backfill goes, as far as the file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pace {
    batch: Option<u64>,
    pause_ms: Option<u64>,
}

fn apply(
    directives: &mut Directives,
    pace: &mut Pace,
    key: &str,
    value: &str,
) -> Result<(), String> {
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
        ("backfill", _) => {
            let (table, column) = backfill::parse_key(value)?;
            let (batch, pause_ms) = (backfill::DEFAULT_BATCH, backfill::DEFAULT_PAUSE_MS);
            directives.backfill = Some(BackfillDirective { table, column, batch, pause_ms });
        }
        ("irreversible", _) => directives.irreversible = Some(parse_reason(value)?),
        ("test_rows", _) => directives.test_rows = Some(parse_test_rows(value)?),
        ("batch", _) => pace.batch = Some(backfill::parse_batch(value)?),
        ("pause", _) => pace.pause_ms = duration()?,
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
            backfill: None,
            irreversible: None,
            transaction: false,
            lock_timeout_ms: Some(500),
            statement_timeout_ms: Some(300_000),
            test_rows: None,
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

    #[test]
    fn what_has_no_way_back_says_why() {
        let reason = |line: &str| read(&[line]).map(|read| read.irreversible);
        let said =
            reason("-- annals: irreversible=\"drops the old, unused rows\", lock_timeout=1s");
        assert_eq!(said, Ok(Some("drops the old, unused rows".to_owned())));
        for bad in [
            "-- annals: irreversible",
            "-- annals: irreversible=",
            "-- annals: irreversible=\"\"",
            "-- annals: irreversible=\"  \"",
            "-- annals: irreversible=yes",
            "-- annals: irreversible=\"a\" because",
            "-- annals: irreversible=\"a\", irreversible=\"b\"",
        ] {
            assert!(reason(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rows_for_a_rehearsal_are_a_number_within_bounds() {
        let rows = |line: &str| read(&[line]).map(|read| read.test_rows);
        assert_eq!(rows("-- annals: test_rows=100000, lock_timeout=1s"), Ok(Some(100_000)));
        assert_eq!(rows("-- annals: test_rows=5000000"), Ok(Some(5_000_000)));
        for bad in ["", "0", "5000001", "1e5", "+5", "-1", "many", "99999999999999999999"] {
            let said = rows(&format!("-- annals: test_rows={bad}")).unwrap_err();
            assert!(said.contains("from 1 to 5000000"), "{said}");
        }
    }

    #[test]
    fn a_backfill_names_its_key_and_its_pace() {
        let backfill = |lines: &[&str]| read(lines).unwrap().backfill.unwrap();
        let of = |table: &str, column: &str, batch, pause_ms| BackfillDirective {
            table: table.to_owned(),
            column: column.to_owned(),
            batch,
            pause_ms,
        };
        let plain = ["-- annals: backfill=orders.id"];
        assert_eq!(backfill(&plain), of("orders", "id", 1_000, 100));
        assert!(!read(&plain).unwrap().transaction);
        let paced = ["-- annals: pause=0, batch=5000", "-- annals: backfill=s.\"a, b\".\"=\""];
        assert_eq!(backfill(&paced), of("s.\"a, b\"", "\"=\"", 5_000, 0));
        for bad in [
            "-- annals: backfill=orders",
            "-- annals: backfill=",
            "-- annals: backfill=a.b, batch=0",
            "-- annals: backfill=a.b, batch=+5",
            "-- annals: backfill=a.b, batch=1000001",
            "-- annals: backfill=a.b, pause=fast",
            "-- annals: backfill=a.b, transaction=off",
            "-- annals: backfill=a.b, backfill=a.c",
            "-- annals: batch=5",
            "-- annals: pause=1s",
        ] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }
}
