//! What is known of the time of events beyond the writer's own clock.

use annals_events::{Event, Recorded, Seq, Timestamp};

use crate::replay::{AsOf, Selection};

/// Somebody outside says: at this time there was a signed head over so many events.
///
/// It comes from outside the log: from a time stamp or a witness whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenTime {
    /// Events below that head: all of them were there by then.
    pub size: u64,
    /// The time.
    pub at: Timestamp,
    /// Who says so.
    pub by: String,
    /// The event that holds the token, if one does: it and all behind it are not older.
    pub held_by: Option<Seq>,
}

/// The log says that an anchor holds its first events: a claim, until that anchor is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorClaim {
    /// The anchor's name.
    pub anchor: String,
    /// What it is: `directory`, `s3`.
    pub kind: String,
    /// Events it is said to hold.
    pub size: u64,
    /// The event that says so.
    pub seq: Seq,
    /// When that was recorded, by the writer's clock.
    pub at: Timestamp,
}

/// What bounds the times on both sides of a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeBounds {
    /// The last event of the prefix was there by then: the earliest proven time over it.
    pub last_not_after: Option<ProvenTime>,
    /// The first event behind the prefix was not there yet: the latest proven time it or one before it
    /// holds.
    pub next_not_before: Option<ProvenTime>,
    /// The first claim of the log that an anchor holds the whole prefix. It proves no time.
    pub claim: Option<AnchorClaim>,
}

impl TimeBounds {
    /// The bounds around `selection` that `proven` gives.
    pub fn around(
        selection: &Selection,
        proven: &[ProvenTime],
        claim: Option<AnchorClaim>,
    ) -> Self {
        let len = selection.len as u64;
        let above = proven.iter().filter(|time| len > 0 && time.size >= len);
        let held = |time: &&ProvenTime| match (time.held_by, selection.next) {
            (Some(held_by), Some((next, _))) => held_by <= next,
            _ => false,
        };
        let below = proven.iter().filter(held);
        Self {
            last_not_after: above.min_by_key(|time| time.at).cloned(),
            next_not_before: below.max_by_key(|time| time.at).cloned(),
            claim,
        }
    }

    /// Whether it is proven that at `time` exactly the prefix had happened: its last event by
    /// then, the one behind it not before.
    pub fn separate_at(&self, time: Timestamp) -> bool {
        let past = self.last_not_after.as_ref().is_some_and(|proven| proven.at <= time);
        past && self.next_not_before.as_ref().is_some_and(|proven| proven.at > time)
    }
}

/// Chooses the prefix while a log goes by, event after event.
#[derive(Debug, Clone)]
pub struct Chooser {
    as_of: AsOf,
    selection: Selection,
    claim: Option<AnchorClaim>,
}

impl Chooser {
    /// Before the first event.
    pub fn new(as_of: AsOf) -> Self {
        Self { as_of, selection: Selection::default(), claim: None }
    }

    /// Behind `len` events, the last of which is `last`, all of which belong to the prefix.
    pub fn resume(as_of: AsOf, len: usize, last: Option<(Seq, Timestamp)>) -> Self {
        Self { as_of, selection: Selection { len, last, next: None }, claim: None }
    }

    /// Looks at the next event: whether it belongs to the prefix.
    pub fn take(&mut self, recorded: &Recorded) -> bool {
        let belongs = self.selection.take(self.as_of, recorded);
        // An anchor holds only what was there before it was written to: a claim that covers the
        // prefix stands behind it.
        if !belongs
            && self.claim.is_none()
            && let Event::CheckpointAnchored(anchored) = &recorded.event
            && self.selection.len > 0
            && anchored.size >= self.selection.len as u64
        {
            self.claim = Some(AnchorClaim {
                anchor: anchored.anchor.clone(),
                kind: anchored.kind.clone(),
                size: anchored.size,
                seq: recorded.seq,
                at: recorded.recorded_at,
            });
        }
        belongs
    }

    /// What was chosen.
    pub fn selection(&self) -> Selection {
        self.selection
    }

    /// What bounds its times, given what is proven from outside.
    pub fn bounds(self, proven: &[ProvenTime]) -> TimeBounds {
        TimeBounds::around(&self.selection, proven, self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn proven(size: u64, at: i64, held_by: Option<u64>) -> ProvenTime {
        ProvenTime { size, at: t(at), by: "witness".into(), held_by: held_by.map(Seq) }
    }

    /// Ten events in the prefix, an eleventh behind it.
    fn ten() -> Selection {
        Selection { len: 10, last: Some((Seq(9), t(90))), next: Some((Seq(10), t(100))) }
    }

    #[test]
    fn without_outside_proof_nothing_is_separated() {
        let bounds = TimeBounds::around(&ten(), &[], None);
        assert_eq!(bounds, TimeBounds::default());
        assert!((0..200).all(|time| !bounds.separate_at(t(time))));
    }

    #[test]
    fn the_tightest_proof_on_each_side_counts() {
        let times = [
            proven(9, 80, None),
            proven(10, 95, None),
            proven(30, 300, None),
            proven(3, 97, Some(9)),
        ];
        let bounds = TimeBounds::around(&ten(), &times, None);
        assert_eq!(bounds.last_not_after, Some(times[1].clone()));
        assert_eq!(bounds.next_not_before, Some(times[3].clone()));
        assert!(bounds.separate_at(t(95)) && bounds.separate_at(t(96)));
        assert!(!bounds.separate_at(t(94)) && !bounds.separate_at(t(97)));
    }

    #[test]
    fn a_token_behind_the_moment_says_nothing_of_what_follows_it() {
        let times = [proven(10, 95, Some(11))];
        assert_eq!(TimeBounds::around(&ten(), &times, None).next_not_before, None);
    }
}
