//! What rows are, in numbers that do not depend on their order.

use twox_hash::XxHash3_128;

use crate::manifest::Content;

/// Counts rows in the text format of `COPY`, and sums their hashes.
///
/// A sum modulo 2^128 of the 128-bit XXH3 of each line without its line feed: the same rows in any
/// order give the same sum, and a row that is there twice counts twice. It shows what a restore lost
/// or changed; that nobody changed the backup is shown by the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RowSum {
    rows: u64,
    bytes: u64,
    sum: u128,
}

impl RowSum {
    /// Takes lines, each with its line feed.
    pub(crate) fn add(&mut self, lines: &[u8]) {
        self.bytes += lines.len() as u64;
        // In the text format a line feed within a value is written as `\n`.
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            self.rows += 1;
            self.sum = self.sum.wrapping_add(XxHash3_128::oneshot(line));
        }
    }

    /// Takes what somebody else has counted.
    pub(crate) fn join(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub(crate) fn content(self) -> Content {
        Content { rows: self.rows, bytes: self.bytes, digest: format!("{:032x}", self.sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Content {
        let mut sum = RowSum::default();
        sum.add(lines.as_bytes());
        sum.content()
    }

    #[test]
    fn the_order_does_not_matter_and_everything_else_does() {
        assert_eq!(of("1\ta\n2\tb\n"), of("2\tb\n1\ta\n"));
        for other in ["1\ta\n2\tB\n", "1\ta\n", "1\ta\n2\tb\n2\tb\n", "1\tb\n2\ta\n", "\n\n"] {
            assert_ne!(of("1\ta\n2\tb\n"), of(other), "{other:?}");
        }
        assert_eq!(of("\n").rows, 1, "a row without columns is a row");
        // Fixed for ever: it is stored.
        assert_eq!(of("1\ta\n2\tb\n").digest, "562a8f305b5735d60f3e2124590cb2cc");
    }

    #[test]
    fn parts_that_are_joined_are_the_whole() {
        let mut first = RowSum::default();
        first.add(b"1\n2\n");
        let mut second = RowSum::default();
        second.add(b"3\n");
        first.join(second);
        assert_eq!(first.content(), of("3\n1\n2\n"));
    }
}
