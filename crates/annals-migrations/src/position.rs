//! Places in a text.

use std::fmt;

/// A place in a file: line and column, both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Character of the line, from 1.
    pub column: u32,
}

impl Position {
    /// The place of byte `offset` in `text`; past the end, the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
        Self {
            line: count(before.bytes().filter(|&b| b == b'\n').count()),
            column: count(before[line_start..].chars().count()),
        }
    }
}

impl Position {
    /// The place behind `passed`, which begins here.
    pub(crate) fn behind(self, passed: &str) -> Self {
        let lines = passed.bytes().filter(|&b| b == b'\n').count();
        let last = passed.rfind('\n').map_or(passed, |at| &passed[at + 1..]);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let column = if lines > 0 { 1 } else { self.column };
        Self {
            line: self.line.saturating_add(count(lines)),
            column: column.saturating_add(count(last.chars().count())),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
