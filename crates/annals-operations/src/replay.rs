//! `history`, `state` and `diff`: folded from the log alone, the database may be gone.

use std::fmt;

use annals_events::{Recorded, Seq, Timestamp};
use annals_projections::{
    AsOf, Chooser, History, Projection, SeenMigration, SeenSet, Selection, Sighting, State,
    StateDiff, TimeBounds,
};

use crate::cache::{CacheWriter, FromCache, state_at};
use crate::environment::Environment;
use crate::error::Failure;
use crate::home::{BlobReader, LogHome};
use crate::logs::{LogSource, ReadLog};
use crate::moment::{Asked, Moment};

/// What a state rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Every event from the first on was folded.
    Replay,
    /// A stored state after this event was taken, and what followed was folded.
    Cache(Seq),
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replay => f.write_str("replay"),
            Self::Cache(seq) => write!(f, "cache@{seq}"),
        }
    }
}

/// Where in which log one stands.
#[derive(Debug, Clone)]
pub struct Vantage {
    /// The log's name.
    pub origin: String,
    /// Events in the whole log.
    pub log_size: u64,
    /// What was asked for.
    pub asked: AsOf,
    /// Which prefix of the log was folded.
    pub selection: Selection,
    /// What bounds its times beyond the writer's clock.
    pub bounds: TimeBounds,
    /// The time for which approvals count: the one asked for, else that of the last event; now,
    /// if no moment was asked for.
    pub judged_at: Timestamp,
    /// Whether a checkpoint and a key were there to verify the log with.
    pub verified: bool,
    /// What it rests on.
    pub basis: Basis,
}

/// The migration history as of a moment.
#[derive(Debug)]
pub struct HistoryView {
    /// As of when.
    pub vantage: Vantage,
    /// The history.
    pub history: History,
}

/// What was pending.
#[derive(Debug)]
pub enum Pending {
    /// The log does not say which migrations there were.
    NotRecorded,
    /// It says so in a blob that is not here.
    Unreadable {
        /// Which.
        sighting: Sighting,
        /// Why.
        reason: String,
    },
    /// Migrations of the workspace that were not applied, in order.
    Known {
        /// Since when the workspace held them.
        sighting: Sighting,
        /// They.
        migrations: Vec<SeenMigration>,
    },
}

/// The full state as of a moment.
#[derive(Debug)]
pub struct StateView {
    /// As of when.
    pub vantage: Vantage,
    /// The state.
    pub state: State,
    /// What was pending.
    pub pending: Pending,
}

/// What became of one state until it was another.
#[derive(Debug)]
pub struct DiffView {
    /// The earlier moment.
    pub from: Vantage,
    /// The later moment.
    pub to: Vantage,
    /// The difference.
    pub diff: StateDiff,
}

/// Reads and verifies the whole log, and folds the prefix each of `moments` chooses.
pub(crate) async fn fold<P: Projection>(
    environment: &Environment,
    log: &ReadLog,
    moments: &[&Moment],
) -> Result<Vec<(Vantage, P)>, Failure> {
    fold_watched(environment, log, moments, &mut |_| {}).await
}

pub(crate) async fn fold_watched<P: Projection>(
    environment: &Environment,
    log: &ReadLog,
    moments: &[&Moment],
    watch: &mut dyn FnMut(&Recorded),
) -> Result<Vec<(Vantage, P)>, Failure> {
    let asked: Vec<Asked> =
        moments.iter().map(|moment| moment.asked(log.ring.as_ref())).collect::<Result<_, _>>()?;
    let mut trust = log.trust();
    if let Some(trust) = &mut trust {
        trust.kept = asked.iter().filter_map(|asked| asked.kept.clone()).collect();
    }
    let mut folds: Vec<(Chooser, P)> =
        asked.iter().map(|asked| (Chooser::new(asked.as_of), P::default())).collect();
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        watch(recorded);
        for (chooser, state) in &mut folds {
            if chooser.take(recorded) {
                state.apply(recorded);
            }
        }
    };
    let read = log.read_trusting(trust.as_ref(), &mut visit).await?;
    read.check()?;
    read.unfinished.say();
    let log_size = read.scanned.chain.size();
    let origin = read.scanned.chain.origin().map(ToString::to_string).unwrap_or_default();
    let mut views = Vec::with_capacity(folds.len());
    for ((chooser, state), asked) in folds.into_iter().zip(asked) {
        check_reach(log_size, asked.as_of)?;
        let selection = chooser.selection();
        let vantage = Vantage {
            origin: origin.clone(),
            log_size,
            asked: asked.as_of,
            selection,
            // No time stamp and no witness is asked yet: nothing is proven from outside.
            bounds: chooser.bounds(&[]),
            judged_at: judged_at(environment, asked.as_of, &selection),
            verified: read.vouches_for(selection.len as u64),
            basis: Basis::Replay,
        };
        views.push((vantage, state));
    }
    Ok(views)
}

pub(crate) async fn fold_one<P: Projection>(
    environment: &Environment,
    log: &ReadLog,
    moment: &Moment,
) -> Result<(Vantage, P), Failure> {
    let mut folded = fold(environment, log, &[moment]).await?;
    Ok(folded.pop().expect("one moment gives one state"))
}

/// A place behind the end is a slip, not a state.
fn check_reach(log_size: u64, as_of: AsOf) -> Result<(), Failure> {
    match as_of {
        AsOf::Seq(seq) if seq.0 >= log_size => Err(Failure::Argument {
            subject: format!("event {seq}"),
            reason: format!("the log ends with event {}", log_size.saturating_sub(1)),
        }),
        _ => Ok(()),
    }
}

/// The migration history as of `moment`.
///
/// # Errors
///
/// When there is no log, it is damaged, or the moment lies behind its last event.
pub async fn history(
    environment: &Environment,
    source: &LogSource,
    moment: &Moment,
) -> Result<HistoryView, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let (vantage, history) = fold_one(environment, &log, moment).await?;
    Ok(HistoryView { vantage, history })
}

/// The state as of `moment`.
///
/// # Errors
///
/// When there is no log, it is damaged, or the moment lies behind its last event.
pub async fn state(
    environment: &Environment,
    source: &LogSource,
    moment: &Moment,
) -> Result<StateView, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let (vantage, state) = match cached_state(environment, &log, moment)? {
        Some(view) => view,
        None => {
            let mut writer = match &log.home {
                LogHome::Folder(layout) if log.is_own => Some(CacheWriter::of(layout)),
                LogHome::Folder(_) | LogHome::Export(_) | LogHome::Postgres(_) => None,
            };
            let mut watch = |recorded: &Recorded| {
                if let Some(writer) = &mut writer {
                    writer.watch(recorded);
                }
            };
            let folded = fold_watched(environment, &log, &[moment], &mut watch).await?;
            folded.into_iter().next().expect("one moment gives one state")
        }
    };
    let pending = pending(&log, &state).await;
    Ok(StateView { vantage, state, pending })
}

/// The state from a cache, where the log is in a folder, large, and verified.
fn cached_state(
    environment: &Environment,
    log: &ReadLog,
    moment: &Moment,
) -> Result<Option<(Vantage, State)>, Failure> {
    let (LogHome::Folder(layout), Some(ring), true) = (&log.home, &log.ring, log.is_own) else {
        return Ok(None);
    };
    let as_of = moment.asked(Some(ring))?.as_of;
    // A kept head must be compared with the whole of what it vouches for.
    let found = match as_of {
        AsOf::Size(_) => None,
        AsOf::Now | AsOf::Time(_) | AsOf::Seq(_) => state_at(layout, ring, as_of),
    };
    let Some(FromCache { state, chooser, stored_at, log_size, signed, origin }) = found else {
        return Ok(None);
    };
    if check_reach(log_size, as_of).is_err() {
        return Ok(None);
    }
    let selection = chooser.selection();
    let is_signed = signed >= selection.len as u64;
    let vantage = Vantage {
        origin,
        log_size,
        asked: as_of,
        selection,
        bounds: chooser.bounds(&[]),
        judged_at: judged_at(environment, as_of, &selection),
        verified: is_signed,
        basis: Basis::Cache(stored_at),
    };
    Ok(Some((vantage, state)))
}

/// The time for which approvals count.
fn judged_at(environment: &Environment, as_of: AsOf, selection: &Selection) -> Timestamp {
    let last = selection.last.map_or(Timestamp::from_micros(0), |(_, at)| at);
    match as_of {
        AsOf::Time(time) => time,
        AsOf::Now => environment.clock.now().max(last),
        AsOf::Seq(_) | AsOf::Size(_) => last,
    }
}

async fn pending(log: &ReadLog, state: &State) -> Pending {
    let Some(sighting) = state.seen else { return Pending::NotRecorded };
    let content = match BlobReader::of(&log.home).await {
        Ok(mut reader) => {
            let content = reader.get(&sighting.set).await;
            reader.close().await;
            content.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let set = match content {
        Ok(blob) => SeenSet::from_blob(&blob).map_err(|error| error.to_string()),
        Err(reason) => Err(reason),
    };
    match set {
        Ok(set) => {
            let migrations = set.pending(&state.applied).cloned().collect();
            Pending::Known { sighting, migrations }
        }
        Err(reason) => Pending::Unreadable { sighting, reason },
    }
}

/// What became of the state as of `from` until it was that as of `to`.
///
/// # Errors
///
/// When there is no log, it is damaged, a moment lies behind its last event, or `from` lies behind
/// `to`.
pub async fn diff(
    environment: &Environment,
    source: &LogSource,
    from: &Moment,
    to: &Moment,
) -> Result<DiffView, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let mut folded = fold::<State>(environment, &log, &[from, to]).await?;
    let (Some((to, after)), Some((from, before))) = (folded.pop(), folded.pop()) else {
        unreachable!("two moments give two states");
    };
    if from.selection.len > to.selection.len || from.judged_at > to.judged_at {
        return Err(Failure::Argument {
            subject: "the moment to compare from".to_owned(),
            reason: "lies behind the one to compare to".to_owned(),
        });
    }
    let diff = StateDiff::between((&before, from.judged_at), (&after, to.judged_at));
    Ok(DiffView { from, to, diff })
}
