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
}

/// The prefix a moment chooses, and its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Events in the prefix.
    pub len: usize,
    /// The last event of the prefix: place and time.
    pub last: Option<(Seq, Timestamp)>,
    /// The first event behind it.
    pub next: Option<(Seq, Timestamp)>,
}

/// Chooses the prefix of `events` (a whole log from its first event) as of a moment.
pub fn select(events: &[Recorded], as_of: AsOf) -> Selection {
    let len = match as_of {
        AsOf::Now => events.len(),
        AsOf::Time(time) => events.partition_point(|recorded| recorded.recorded_at <= time),
        AsOf::Seq(seq) => events.partition_point(|recorded| recorded.seq <= seq),
    };
    let place = |recorded: &Recorded| (recorded.seq, recorded.recorded_at);
    Selection {
        len,
        last: len.checked_sub(1).map(|at| place(&events[at])),
        next: events.get(len).map(place),
    }
}
