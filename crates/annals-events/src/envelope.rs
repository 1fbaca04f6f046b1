//! One event, one line: the envelope around a fact and its stored bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canonical::{self, CanonicalError};
use crate::chain::{Chain, MAX_CLOCK_REGRESSION_US};
use crate::digest::LeafHash;
use crate::event::Event;
use crate::ids::{EventId, Origin, Seq};
use crate::time::Timestamp;

/// Version of the byte format this crate writes.
pub const FORMAT_VERSION: u32 = 1;

/// The longest line without its LF: what an entry of a C2SP tlog-tiles bundle can hold.
pub const MAX_LINE_BYTES: usize = 65_535;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The machine.
    pub host: String,
    /// The person or the pipeline.
    pub name: String,
    /// Program and version.
    pub tool: String,
}

/// Which database, as the server itself says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetIdentity {
    /// Database name.
    pub database: String,
    /// `pg_control_system().system_identifier`, in decimal.
    pub system_identifier: String,
    /// Timeline of the last checkpoint; rises with each promotion or recovery.
    pub timeline: u32,
}

impl TargetIdentity {
    /// Whether both name one database of one server; its timeline rises with each promotion.
    pub fn is_same_database(&self, other: &Self) -> bool {
        self.system_identifier == other.system_identifier && self.database == other.database
    }
}

/// An event before it has a place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The fact.
    pub event: Event,
    /// Its name, drawn by the caller so that a retry can be recognised.
    pub id: EventId,
    /// When it happened, as the recorder saw it.
    pub occurred_at: Timestamp,
    /// Who acted.
    pub actor: Actor,
    /// On which database, where it concerns one.
    pub target: Option<TargetIdentity>,
    /// The incarnation of the database: rises with each restore.
    pub incarnation: u64,
}

/// An event with its place, as read from a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Place in the log.
    pub seq: Seq,
    /// Leaf hash of the event before.
    pub prev: LeafHash,
    /// Leaf hash of this event's line.
    pub leaf: LeafHash,
    /// Name for ever.
    pub id: EventId,
    /// The log.
    pub origin: Origin,
    /// The incarnation of the database.
    pub incarnation: u64,
    /// When it was appended; strictly increasing.
    pub recorded_at: Timestamp,
    /// When it happened, as the recorder saw it.
    pub occurred_at: Timestamp,
    /// Who acted.
    pub actor: Actor,
    /// On which database.
    pub target: Option<TargetIdentity>,
    /// The fact.
    pub event: Event,
}

/// Why a line is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("the line has {0} bytes, at most 65535 are allowed")]
    TooLong(usize),
    /// Not the canonical spelling of an object.
    #[error("not canonical JSON at {0}")]
    NotCanonical(#[from] CanonicalError),
    /// An event, but not spelled as [`seal`] spells it.
    #[error("not an event: an identifier or a member is spelled otherwise than annals writes it")]
    OtherSpelling,
    /// Canonical, but not an envelope or not a payload of its kind.
    #[error("not an event: {0}")]
    Malformed(String),
}

/// Why an event cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The payload does not fit or cannot be written canonically.
    #[error("the {kind} event cannot be stored: {source}")]
    Unstorable {
        /// Kind of the event.
        kind: String,
        /// Why.
        source: DecodeError,
    },
    /// The clock moved back further than is plausible for a correction.
    #[error("the clock says {now}, but the last event was recorded at {last}")]
    ClockWentBack {
        /// The clock.
        now: Timestamp,
        /// The last event.
        last: Timestamp,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    actor: Actor,
    #[serde(borrow)]
    data: &'a RawValue,
    id: EventId,
    incarnation: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    occurred_at: Timestamp,
    origin: Origin,
    prev: LeafHash,
    recorded_at: Timestamp,
    schema: u32,
    seq: Seq,
    target: Option<TargetIdentity>,
}

/// Reads one stored line, given without its LF.
///
/// # Errors
///
/// When the bytes are not exactly what [`seal`] would write for some event. Kinds and payload
/// schemas newer than this crate are read as [`Event::Unknown`].
pub fn decode(line: &[u8]) -> Result<Recorded, DecodeError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(DecodeError::TooLong(line.len()));
    }
    let text = canonical::check_text(line)?;
    let malformed = |error: serde_json::Error| {
        // The place within a line of a line-by-line format helps nobody.
        let error = error.to_string();
        DecodeError::Malformed(error.split(" at line ").next().unwrap_or(&error).to_owned())
    };
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(malformed)?;
    let event = Event::decode(&envelope.kind, envelope.schema, envelope.data).map_err(malformed)?;
    let recorded = Recorded {
        seq: envelope.seq,
        prev: envelope.prev,
        leaf: LeafHash::of_line(line),
        id: envelope.id,
        origin: envelope.origin,
        incarnation: envelope.incarnation,
        recorded_at: envelope.recorded_at,
        occurred_at: envelope.occurred_at,
        actor: envelope.actor,
        target: envelope.target,
        event,
    };
    // One meaning has one spelling: another form of an identifier or a member left out would be
    // another line with the same content.
    let mut written = Vec::with_capacity(line.len());
    write_line(&recorded, &mut written)?;
    if written == line { Ok(recorded) } else { Err(DecodeError::OtherSpelling) }
}

/// Gives `draft` the next place in `chain` and writes its line, LF included, at the end of `lines`.
///
/// `recorded_at` is `now`, or one microsecond after the event before if the clock stands or has
/// moved back by no more than [`MAX_CLOCK_REGRESSION_US`].
///
/// # Errors
///
/// On any error `lines` and `chain` are as before.
pub fn seal(
    chain: &mut Chain,
    origin: &Origin,
    draft: &Draft,
    now: Timestamp,
    lines: &mut Vec<u8>,
) -> Result<Recorded, SealError> {
    let recorded_at = clamp(now, chain.recorded_at())?;
    let start = lines.len();
    let recorded = Recorded {
        seq: chain.next_seq(),
        prev: chain.last(),
        leaf: LeafHash::ZERO,
        id: draft.id,
        origin: origin.clone(),
        incarnation: draft.incarnation,
        recorded_at,
        occurred_at: draft.occurred_at,
        actor: draft.actor.clone(),
        target: draft.target.clone(),
        event: draft.event.clone(),
    };
    let stored = write_line(&recorded, lines).and_then(|()| check_written(&lines[start..]));
    if let Err(source) = stored {
        lines.truncate(start);
        return Err(SealError::Unstorable { kind: draft.event.kind().to_owned(), source });
    }
    let leaf = LeafHash::of_line(&lines[start..]);
    lines.push(b'\n');
    chain.step(leaf, recorded_at, origin);
    Ok(Recorded { leaf, ..recorded })
}

fn clamp(now: Timestamp, last: Option<Timestamp>) -> Result<Timestamp, SealError> {
    match last {
        Some(last) if now.micros() + MAX_CLOCK_REGRESSION_US < last.micros() => {
            Err(SealError::ClockWentBack { now, last })
        }
        Some(last) if now <= last => Ok(last.plus_micros(1)),
        _ => Ok(now),
    }
}

/// The pair of the check on reading: what is written now must be readable for ever.
fn check_written(line: &[u8]) -> Result<(), DecodeError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(DecodeError::TooLong(line.len()));
    }
    Ok(canonical::check(line)?)
}

/// Writes the members in the order RFC 8785 sorts their names.
fn write_line(recorded: &Recorded, line: &mut Vec<u8>) -> Result<(), DecodeError> {
    let malformed = |error: serde_json::Error| DecodeError::Malformed(error.to_string());
    macro_rules! member {
        ($name:literal, $value:expr) => {
            line.extend_from_slice(concat!("\"", $name, "\":").as_bytes());
            serde_json::to_writer(&mut *line, $value).map_err(malformed)?;
        };
    }
    line.push(b'{');
    member!("actor", &recorded.actor);
    line.extend_from_slice(b",\"data\":");
    recorded.event.write_data(line).map_err(malformed)?;
    line.push(b',');
    member!("id", &recorded.id);
    line.push(b',');
    member!("incarnation", &recorded.incarnation);
    line.push(b',');
    member!("kind", recorded.event.kind());
    line.push(b',');
    member!("occurred_at", &recorded.occurred_at);
    line.push(b',');
    member!("origin", &recorded.origin);
    line.push(b',');
    member!("prev", &recorded.prev);
    line.push(b',');
    member!("recorded_at", &recorded.recorded_at);
    line.push(b',');
    member!("schema", &recorded.event.schema());
    line.push(b',');
    member!("seq", &recorded.seq);
    line.push(b',');
    member!("target", &recorded.target);
    line.push(b'}');
    Ok(())
}
