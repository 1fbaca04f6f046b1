//! The end of a log some of whose blocks the disk never wrote.
//!
//! Nothing orders the blocks of one append: where the power fails inside it, a later block may be
//! there and an earlier one not, and what is not there reads as zeroes. Canonical lines hold no
//! byte 0x00, so such a hole is told from text at once. What is asked here besides is whether all
//! of it can be **one** append: nobody was told of that one, but of every append before it.

use crate::envelope::decode;

/// No disk writes less at once; holes begin and end at multiples of it.
const SECTOR_BYTES: u64 = 512;

/// The most bytes of lines one append writes: 8 MiB.
///
/// So a reader knows how much may lie behind the last event, and holds no more.
pub const MAX_APPEND_BYTES: usize = 8 << 20;

/// Whether `bytes`, the end of a segment from its offset `start` on, can be an append of which the
/// disk wrote only some blocks.
pub(crate) fn is_one_append(start: u64, bytes: &[u8]) -> bool {
    bytes.len() <= MAX_APPEND_BYTES && holes_are_blocks(start, bytes) && lines_are_one_batch(bytes)
}

fn holes_are_blocks(start: u64, bytes: &[u8]) -> bool {
    let is_hole = |at: usize| bytes.get(at) == Some(&0);
    let is_edge = |at: usize| (start + at as u64).is_multiple_of(SECTOR_BYTES);
    // A hole at the very beginning: the sector was there, and was longer only in memory.
    let begins = |at: usize| at == 0 || is_edge(at) || is_hole(at - 1);
    let ends = |at: usize| at + 1 == bytes.len() || is_edge(at + 1) || is_hole(at + 1);
    (0..bytes.len()).filter(|at| is_hole(*at)).all(|at| begins(at) && ends(at))
}

/// The events of one append are recorded one microsecond apart, as the clock is read once for it.
fn lines_are_one_batch(bytes: &[u8]) -> bool {
    let whole = bytes.split_inclusive(|byte| *byte == b'\n');
    let whole = whole.filter_map(|line| line.strip_suffix(b"\n"));
    let mut base = None;
    whole.filter(|line| !line.contains(&0)).all(|line| {
        let Ok(recorded) = decode(line) else { return false };
        let Ok(seq) = i64::try_from(recorded.seq.0) else { return false };
        let own = recorded.recorded_at.micros() - seq;
        *base.get_or_insert(own) == own
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Actor, Chain, Damage, Draft, Event, EventId, FORMAT_VERSION, LogCreated, RunFinished,
        RunId, RunOutcome, Segment, Seq, Timestamp, scan, seal,
    };

    /// The lines of a log: its beginning, then appends of so many events each, a second apart.
    fn log(appends: &[usize]) -> Vec<Vec<u8>> {
        let (mut chain, origin) = (Chain::default(), "demo/production".parse().unwrap());
        let mut lines = Vec::new();
        let created = LogCreated {
            checkpoint_key: String::new(),
            format: FORMAT_VERSION,
            target: "production".into(),
            workspace: "demo".into(),
        };
        let fact = RunFinished {
            outcome: RunOutcome::Failed,
            reason: Some("x".repeat(700)),
            run: RunId(uuid::Uuid::nil()),
            steps_done: 0,
        };
        let events = std::iter::once((0, Event::from(created))).chain(
            (1..)
                .zip(appends)
                .flat_map(|(append, count)| vec![(append, fact.clone().into()); *count]),
        );
        for (append, event) in events {
            let now = Timestamp::from_micros(append * 1_000_000);
            let draft = Draft {
                event,
                id: EventId(uuid::Uuid::nil()),
                occurred_at: now,
                actor: Actor { host: "h".into(), name: "n".into(), tool: "t".into() },
                target: None,
                incarnation: 0,
            };
            let mut line = Vec::new();
            seal(&mut chain, &origin, &draft, now, &mut line).unwrap();
            lines.push(line);
        }
        lines
    }

    /// Scans `bytes` in pieces of every length that could matter: events, bytes behind them.
    fn verdict(bytes: &[u8]) -> Result<(usize, usize), Damage> {
        let whole = scan(&[Segment { first: Seq(0), bytes }], &[]);
        for piece in [1, 511, 512, 4_096] {
            let (mut scanner, mut events) = (crate::Scanner::new(&[]), 0);
            scanner.begin_segment(Seq(0)).unwrap();
            for piece in bytes.chunks(piece) {
                if scanner.feed(piece, &mut |_, _| events += 1).is_err() {
                    break;
                }
            }
            let end = scanner.finish();
            assert_eq!((events, &end.damage), (whole.events.len(), &whole.end.damage), "{piece}");
            assert_eq!(end.torn, whole.end.torn, "{piece}");
        }
        match whole.end.damage {
            None => Ok((whole.events.len(), whole.end.torn.len())),
            Some(damage) => Err(damage),
        }
    }

    #[test]
    fn a_lost_block_of_the_last_append_is_a_torn_tail_whatever_stands_behind_it() {
        let lines = log(&[1, 5]);
        let (whole, start) = (lines.concat(), lines[..2].concat().len());
        for block in start / 512..=whole.len() / 512 {
            let mut bytes = whole.clone();
            let end = ((block + 1) * 512).min(whole.len());
            bytes[(block * 512).max(start)..end].fill(0);
            let (events, torn) = verdict(&bytes).unwrap();
            assert_eq!(lines[..events].concat().len() + torn, whole.len(), "block {block}");
            assert!(events >= 2, "block {block}");
        }
        let mut bytes = whole.clone();
        bytes[start..].fill(0);
        assert_eq!(verdict(&bytes), Ok((2, whole.len() - start)));
    }

    #[test]
    fn zeroes_in_front_of_a_later_append_are_damage() {
        let lines = log(&[4, 1]);
        let mut bytes = lines.concat();
        bytes[1024..1536].fill(0);
        assert!(matches!(verdict(&bytes), Err(Damage::Line(error)) if error.at() == Seq(1)));
        // Without the later append they are what a crash inside the first leaves.
        bytes.truncate(lines[..5].concat().len());
        assert!(verdict(&bytes).is_ok());
    }

    #[test]
    fn a_zero_that_is_no_lost_block_is_damage() {
        let lines = log(&[3]);
        let whole = lines.concat();
        for (from, to) in [(1024, 1025), (1000, 1536), (1024, 1500), (1023, 1024)] {
            let mut bytes = whole.clone();
            bytes[from..to].fill(0);
            assert!(verdict(&bytes).is_err(), "{from}..{to}");
        }
    }

    #[test]
    fn a_changed_line_behind_a_lost_block_is_damage() {
        let lines = log(&[5]);
        let mut bytes = lines.concat();
        bytes[1024..1536].fill(0);
        let last = bytes.len() - 20;
        bytes[last] = b'\t';
        assert!(verdict(&bytes).is_err());
    }

    #[test]
    fn lost_blocks_in_a_closed_segment_are_damage() {
        let lines = log(&[5]);
        let mut bytes = lines.concat();
        bytes[1024..1536].fill(0);
        let next = Segment { first: Seq(6), bytes: b"" };
        let scan = scan(&[Segment { first: Seq(0), bytes: &bytes }, next], &[]);
        assert!(matches!(scan.end.damage, Some(Damage::Line(error)) if error.at() == Seq(1)));
    }

    #[test]
    fn more_zeroes_than_one_append_has_bytes_are_damage() {
        let mut bytes = log(&[1]).concat();
        bytes.resize(bytes.len() + MAX_APPEND_BYTES, 0);
        let torn = scan(&[Segment { first: Seq(0), bytes: &bytes }], &[]).end;
        assert_eq!((torn.damage, torn.torn.len()), (None, MAX_APPEND_BYTES));
        bytes.push(0);
        assert!(scan(&[Segment { first: Seq(0), bytes: &bytes }], &[]).end.damage.is_some());
    }
}
