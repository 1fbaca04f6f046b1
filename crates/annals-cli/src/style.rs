//! How things look on a terminal.

use anstyle::{AnsiColor, Style};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const NOTE: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default().bold();
pub(crate) const STRONG: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// `text` without characters that could steer a terminal or hide: control characters, bidirectional
/// marks and what has no width are shown as `\u{…}`; line feeds and tabs stay.
pub(crate) fn safe(text: &str) -> String {
    let steers = |c: char| c == '\r' || annals_migrations::is_hidden(c);
    if !text.contains(steers) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| if steers(c) { c.escape_unicode().to_string() } else { c.into() })
        .collect()
}

/// A stored time for people: `2026-01-31 16:30:00Z`.
pub(crate) fn time(stored: &str) -> String {
    match stored.split_once('.') {
        Some((seconds, _)) => format!("{}Z", seconds.replace('T', " ")),
        None => stored.to_owned(),
    }
}

/// A duration for people.
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// `1 step`, `2 steps`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A limit in milliseconds for people.
pub(crate) fn limit(ms: u64) -> String {
    match ms {
        0 => "none".to_owned(),
        ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

/// A time between two things, for people.
pub(crate) fn pause(ms: u64) -> String {
    match ms {
        0 => "no time".to_owned(),
        ms => limit(ms),
    }
}

/// The first line of a statement, without comments before it, at most `width` characters.
pub(crate) fn first_line(sql: &str, width: usize) -> String {
    let joined = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let joined = safe(joined.trim_end_matches(';'));
    if joined.chars().count() <= width {
        return joined;
    }
    let cut: String = joined.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_printed_can_steer_a_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\u{202e}c\nd"), "a\\u{1b}[2Jb\\u{202e}c\nd");
        assert_eq!(safe("plain ü"), "plain ü");
    }

    #[test]
    fn durations_and_times_are_short() {
        assert_eq!(duration(999), "999 µs");
        assert_eq!(duration(23_456), "23 ms");
        assert_eq!(duration(1_950_000), "1.9 s");
        assert_eq!(time("2026-01-31T16:30:00.000123Z"), "2026-01-31 16:30:00Z");
        assert_eq!(first_line("CREATE TABLE\n  t (a int);", 40), "CREATE TABLE t (a int)");
        assert_eq!(first_line("SELECT 12345", 8), "SELECT …");
    }
}
