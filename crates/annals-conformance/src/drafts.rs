//! Events to append.

use annals_events::{
    Actor, Digest, Direction, Draft, Event, EventId, FORMAT_VERSION, LogCreated, RunFinished,
    RunId, RunOutcome, RunStarted, Timestamp,
};
use annals_keys::SecretKey;
use uuid::Uuid;

/// A caller's clock: `n` milliseconds into 2026.
pub fn now(n: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + n * 1_000)
}

/// A draft of `event` with a name of its own.
pub fn draft(event: impl Into<Event>) -> Draft {
    Draft {
        event: event.into(),
        id: EventId(Uuid::now_v7()),
        occurred_at: now(0),
        actor: Actor { host: "h".into(), name: "n".into(), tool: "annals 0.1.0".into() },
        target: None,
        incarnation: 0,
    }
}

/// The beginning of a log.
pub fn created(key: &SecretKey) -> Draft {
    draft(LogCreated {
        checkpoint_key: key.verifier().to_string(),
        format: FORMAT_VERSION,
        target: "production".into(),
        workspace: "demo".into(),
    })
}

/// Some fact, told from others by `n`.
pub fn fact(n: u64) -> Draft {
    let run = RunId(Uuid::from_u128(u128::from(n)));
    let plan = Digest::of(&n.to_be_bytes());
    draft(RunStarted { direction: Direction::Up, plan, run, steps: 1 })
}

/// A fact with `text` in it.
pub fn padded(text: String) -> Draft {
    let run = RunId(Uuid::from_u128(1));
    let outcome = RunOutcome::Failed;
    draft(RunFinished { outcome, reason: Some(text), run, steps_done: 0 })
}
