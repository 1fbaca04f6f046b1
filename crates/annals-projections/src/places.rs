//! Where the log is kept, and where copies of it are, as the log itself tells it.

use annals_events::{
    CheckpointAnchored, LogMoved, Recorded, Seq, StoreInstalled, StoreUpgraded, Timestamp, TreeHash,
};
use serde::{Deserialize, Serialize};

/// The largest head an anchor holds, as the log claims: only the anchor itself proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchoredHead {
    /// The anchor's name in the workspace.
    pub anchor: String,
    /// What it is: `directory`, `s3`.
    pub kind: String,
    /// Events it vouches for.
    pub size: u64,
    /// Root over them.
    pub root: TreeHash,
    /// The event that claims it.
    pub seq: Seq,
    /// When that was recorded.
    pub at: Timestamp,
}

/// For each anchor the largest head it holds, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Anchors {
    heads: Vec<AnchoredHead>,
}

impl Anchors {
    /// All of them, by name.
    pub fn iter(&self) -> std::slice::Iter<'_, AnchoredHead> {
        self.heads.iter()
    }

    /// The largest head that anchor holds.
    pub fn get(&self, anchor: &str) -> Option<&AnchoredHead> {
        self.heads.iter().find(|head| head.anchor == anchor)
    }

    pub(crate) fn anchored(&mut self, recorded: &Recorded, anchored: &CheckpointAnchored) {
        let head = AnchoredHead {
            anchor: anchored.anchor.clone(),
            kind: anchored.kind.clone(),
            size: anchored.size,
            root: anchored.root,
            seq: recorded.seq,
            at: recorded.recorded_at,
        };
        match self.heads.binary_search_by(|known| known.anchor.cmp(&head.anchor)) {
            Ok(at) if self.heads[at].size < head.size => self.heads[at] = head,
            Ok(_) => {}
            Err(at) => self.heads.insert(at, head),
        }
    }
}

/// The last move of the log to another home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The home it left.
    pub from: String,
    /// The home it went on in.
    pub to: String,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// The tables and functions that keep a log in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Which back-end: `postgres`.
    pub backend: String,
    /// Their version.
    pub format: u32,
    /// The event that installed or upgraded them.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// Where the log is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// The last move; without one the log is where it began.
    pub moved: Option<Move>,
    /// What was installed for it, if it lives in a database.
    pub store: Option<Store>,
}

impl Home {
    pub(crate) fn moved(&mut self, recorded: &Recorded, moved: &LogMoved) {
        self.moved = Some(Move {
            from: moved.from.clone(),
            to: moved.to.clone(),
            seq: recorded.seq,
            at: recorded.recorded_at,
        });
    }

    pub(crate) fn installed(&mut self, recorded: &Recorded, installed: &StoreInstalled) {
        self.store = Some(store(recorded, &installed.backend, installed.format));
    }

    pub(crate) fn upgraded(&mut self, recorded: &Recorded, upgraded: &StoreUpgraded) {
        self.store = Some(store(recorded, &upgraded.backend, upgraded.to));
    }
}

fn store(recorded: &Recorded, backend: &str, format: u32) -> Store {
    let backend = backend.to_owned();
    Store { backend, format, seq: recorded.seq, at: recorded.recorded_at }
}
