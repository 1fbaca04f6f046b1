//! Folding, and the choice of the moment.

use annals_events::{Recorded, Seq, Timestamp};

/// A read model: starts empty, takes every event in order.
pub trait Projection: Default {
    /// Takes one event. Total: any event in any state gives a state.
    fn apply(&mut self, recorded: &Recorded);
}

/// Folds `events` into a fresh read model.
pub fn replay<P: Projection>(events: &[Recorded]) -> P {
    events.iter().fold(P::default(), |mut state, recorded| {
        state.apply(recorded);
        state
    })
}

/// The moment a state is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// After everything recorded so far.
    Now,
    /// After every event recorded at or before this time.
    Time(Timestamp),
    /// After this event.
    Seq(Seq),
    /// After so many events: what a checkpoint of that size vouches for.
    Size(u64),
}

impl AsOf {
    /// Whether the event at `seq`, recorded at `at`, had happened by then.
    pub fn includes(&self, seq: Seq, at: Timestamp) -> bool {
        match self {
            Self::Now => true,
            Self::Time(time) => at <= *time,
            Self::Seq(last) => seq <= *last,
            Self::Size(size) => seq.0 < *size,
        }
    }
}

/// The prefix a moment chooses, and its neighbours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// Events in the prefix.
    pub len: usize,
    /// The last event of the prefix: place and time.
    pub last: Option<(Seq, Timestamp)>,
    /// The first event behind it.
    pub next: Option<(Seq, Timestamp)>,
}

impl Selection {
    /// Looks at the next event of a log, from its first: whether it belongs to the prefix.
    pub fn take(&mut self, as_of: AsOf, recorded: &Recorded) -> bool {
        let place = (recorded.seq, recorded.recorded_at);
        let belongs = as_of.includes(recorded.seq, recorded.recorded_at);
        if belongs {
            self.len += 1;
            self.last = Some(place);
        } else if self.next.is_none() {
            self.next = Some(place);
        }
        belongs
    }
}

/// Two read models of the same events.
impl<A: Projection, B: Projection> Projection for (A, B) {
    fn apply(&mut self, recorded: &Recorded) {
        self.0.apply(recorded);
        self.1.apply(recorded);
    }
}

/// Chooses the prefix of `events` (a whole log from its first event) as of a moment.
pub fn select(events: &[Recorded], as_of: AsOf) -> Selection {
    let len = events.partition_point(|event| as_of.includes(event.seq, event.recorded_at));
    let place = |recorded: &Recorded| (recorded.seq, recorded.recorded_at);
    Selection {
        len,
        last: len.checked_sub(1).map(|at| place(&events[at])),
        next: events.get(len).map(place),
    }
}
