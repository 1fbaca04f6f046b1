//! Why an anchor has not done what it was asked to.

use std::io;
use std::path::PathBuf;

use annals_events::{Origin, TreeHash};
use annals_keys::CheckpointError;

use crate::exhibit::UnsafePath;

/// Any error of the log side.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an anchor has not done what it was asked to. [`Self::next_step`] says what to do.
///
/// No variant holds a credential, and none an answer of a server as it came.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The place cannot be used as it is configured.
    #[error("anchor {place}: {reason}")]
    Configuration {
        /// The anchor.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The place itself is not there: no such directory, no such bucket.
    #[error("anchor {place} does not exist")]
    NoPlace {
        /// The anchor.
        place: String,
    },
    /// The store does not answer, or with an error of its own.
    #[error("anchor {place}: cannot {act} {path}: {reason}")]
    Unreachable {
        /// The anchor.
        place: String,
        /// What was asked.
        act: &'static str,
        /// The object.
        path: String,
        /// Why.
        reason: String,
    },
    /// The store says no.
    #[error("anchor {place} refuses to {act} {path}: {reason}")]
    Refused {
        /// The anchor.
        place: String,
        /// What was asked.
        act: &'static str,
        /// The object.
        path: String,
        /// Why.
        reason: String,
    },
    /// The file system says no.
    #[error("anchor {place}: cannot {act} {path}")]
    Io {
        /// The anchor.
        place: String,
        /// What was asked.
        act: &'static str,
        /// The object.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Another publisher holds the lock of the place.
    #[error("anchor {place} was locked by another publisher for {waited_ms} ms")]
    Busy {
        /// The anchor.
        place: String,
        /// How long it was waited for, in milliseconds.
        waited_ms: u64,
    },
    /// The log's own signed head does not open. Nothing was published.
    #[error("the log's own checkpoint is not what it says, it was not published to anchor {place}")]
    OwnNote {
        /// The anchor.
        place: String,
        /// Why, if it does not open at all.
        source: Option<CheckpointError>,
    },
    /// The log side cannot produce what is to be published.
    #[error("the log cannot be read for anchor {place}")]
    Log {
        /// The anchor.
        place: String,
        /// Why.
        source: BoxError,
    },
    /// The log side shows other lines than its checkpoint speaks of. The checkpoint was not
    /// published.
    #[error("the log shows anchor {place} lines up to {shown}, its checkpoint says {size}")]
    Incomplete {
        /// The anchor.
        place: String,
        /// The size of the checkpoint.
        size: u64,
        /// Lines shown, without a gap.
        shown: u64,
    },
    /// The checkpoint in the anchor is not signed by a key of this log.
    #[error("the checkpoint in anchor {place} cannot be trusted: {source}")]
    Unverified {
        /// The anchor.
        place: String,
        /// The note, as found.
        note: Vec<u8>,
        /// Why.
        source: CheckpointError,
    },
    /// The anchor belongs to another log.
    #[error("anchor {place} holds the log {theirs}, not {ours}")]
    ForeignOrigin {
        /// The anchor.
        place: String,
        /// Whose it is.
        theirs: Origin,
        /// Who asked.
        ours: Origin,
    },
    /// The anchor has seen a later head: the log here is an older copy, or another history.
    #[error("anchor {place} holds a signed head of {size} events, this log has {ours}")]
    Ahead {
        /// The anchor.
        place: String,
        /// The note it holds, verified.
        note: Vec<u8>,
        /// Events it speaks of.
        size: u64,
        /// Events of the log here.
        ours: u64,
    },
    /// While this publication was under way, another one anchored a later head.
    #[error(
        "anchor {place}: another publication anchored {size} events meanwhile, this one had {ours}"
    )]
    Overtaken {
        /// The anchor.
        place: String,
        /// The note it holds now, verified.
        note: Vec<u8>,
        /// Events it speaks of.
        size: u64,
        /// Events of the log here.
        ours: u64,
    },
    /// Two signed heads that do not fit: the history here is not the one the anchor has seen.
    #[error(
        "anchor {place} holds a signed head of {size} events with root {theirs}, here it is {ours}"
    )]
    Fork {
        /// The anchor.
        place: String,
        /// The note it holds, verified.
        note: Vec<u8>,
        /// Events it speaks of.
        size: u64,
        /// Its root.
        theirs: TreeHash,
        /// The root of the log here at that size.
        ours: TreeHash,
    },
    /// An object is there already and holds something else. Nothing was changed.
    #[error("anchor {place}: {path} is there already and holds something else")]
    Conflict {
        /// The anchor.
        place: String,
        /// The object.
        path: String,
    },
    /// The anchor holds lines, not yet signed for, that go on beyond this log.
    #[error("anchor {place}: {path} goes on by {bytes} bytes beyond the {ours} events of this log")]
    Beyond {
        /// The anchor.
        place: String,
        /// The last segment.
        path: String,
        /// How many bytes more.
        bytes: u64,
        /// Events of the log here.
        ours: u64,
    },
    /// Something in the place is not what it may be: a link, a folder in place of a file.
    #[error("anchor {place}: {path} is {what}")]
    Stray {
        /// The anchor.
        place: String,
        /// The name, escaped.
        path: String,
        /// What it is.
        what: String,
    },
    /// An object is larger than what is read or written.
    #[error("anchor {place}: {path} has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// The anchor.
        place: String,
        /// The object.
        path: String,
        /// Its length in bytes.
        bytes: u64,
        /// The most there may be.
        limit: u64,
    },
    /// An object is not there.
    #[error("anchor {place} has no {path}")]
    Absent {
        /// The anchor.
        place: String,
        /// The object.
        path: String,
    },
    /// Other publishers were faster again and again.
    #[error("anchor {place}: other publishers were faster {rounds} times")]
    Contended {
        /// The anchor.
        place: String,
        /// How often it was tried.
        rounds: u32,
    },
    /// The folder of a download cannot be written.
    #[error("cannot write the download to {}", path.display())]
    Target {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl AnchorError {
    /// What to do now, as a sentence of its own.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Configuration { .. } => "correct the anchor's configuration",
            Self::NoPlace { .. } => {
                "create it or mount it; annals does not, so that an absent disk is not mistaken for an empty anchor"
            }
            Self::Unreachable { .. } => {
                "look at the store and the network, then publish again; nothing is lost, the next publication completes this one"
            }
            Self::Refused { .. } => {
                "the credentials need the right to list the bucket, to get and to put objects; deleting is never needed"
            }
            Self::Io { .. } => {
                "look at the disk, its free space and the rights of the folder, then publish again; the next publication completes this one"
            }
            Self::Busy { .. } | Self::Contended { .. } => {
                "wait for the other publisher, then publish again"
            }
            Self::OwnNote { .. } | Self::Log { .. } | Self::Incomplete { .. } => {
                "verify the log here before anything is published"
            }
            Self::Unverified { .. } => {
                "find out who wrote the anchor's checkpoint; if the key was replaced, the keys file must still name the old one"
            }
            Self::ForeignOrigin { .. } => "give each log an anchor of its own",
            Self::Ahead { .. } => {
                "the log here is an older copy or another history: download the anchor's copy and compare before anything is appended"
            }
            Self::Overtaken { .. } => "read the log again and publish again",
            Self::Fork { .. } | Self::Conflict { .. } => {
                "one of the two histories is false: keep both, download the anchor's copy and compare"
            }
            Self::Beyond { .. } => {
                "read the log again and publish again; if that does not help, the log here is an older copy: download the anchor's copy and compare"
            }
            Self::Stray { .. } => "somebody else writes to this place: find out who",
            Self::TooLarge { .. } => "find out who wrote it",
            Self::Absent { .. } => "name an object that the anchor holds",
            Self::Target { .. } => "name an empty folder that can be written",
        }
    }

    pub(crate) fn stray(place: String, UnsafePath(path): UnsafePath) -> Self {
        let path = path.escape_debug().to_string();
        Self::Stray { place, path, what: "not a name of a published log".to_owned() }
    }
}
