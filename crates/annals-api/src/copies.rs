//! `log export`, `log anchor`, `log prove`, `log check-proof`.

use annals_operations::{Anchored, EventProofError, Exported, MovedLog, ProvenEvent};
use serde::Serialize;

use crate::log::summary;

/// What an anchor holds.
#[derive(Debug, Clone, Serialize)]
pub struct AnchorOutcome {
    /// Its name in the workspace.
    pub anchor: String,
    /// Where it is.
    pub place: String,
    /// Events it holds; none if it could not be published to.
    pub size: Option<u64>,
    /// Why not, and what to do.
    pub problem: Option<String>,
}

impl From<&Anchored> for AnchorOutcome {
    fn from(anchored: &Anchored) -> Self {
        Self {
            anchor: anchored.anchor.clone(),
            place: anchored.place.clone(),
            size: anchored.size,
            problem: anchored.problem.clone(),
        }
    }
}

/// `annals log anchor`.
#[derive(Debug, Clone, Serialize)]
pub struct AnchorsDocument {
    /// `annals.anchors/1`.
    pub format: &'static str,
    /// Each anchor of the target.
    pub anchors: Vec<AnchorOutcome>,
}

impl From<&[Anchored]> for AnchorsDocument {
    fn from(anchored: &[Anchored]) -> Self {
        Self {
            format: "annals.anchors/1",
            anchors: anchored.iter().map(AnchorOutcome::from).collect(),
        }
    }
}

/// `annals log export`.
#[derive(Debug, Clone, Serialize)]
pub struct ExportDocument {
    /// `annals.log_export/1`.
    pub format: &'static str,
    /// The folder or the file.
    pub place: String,
    /// The log.
    pub origin: String,
    /// Events in the copy.
    pub events: u64,
    /// RFC 6962 root over them.
    pub root: String,
    /// Files written; 0 if the copy was up to date.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
}

impl From<&Exported> for ExportDocument {
    fn from(exported: &Exported) -> Self {
        Self {
            format: "annals.log_export/1",
            place: exported.place.display().to_string(),
            origin: exported.checkpoint.origin.to_string(),
            events: exported.checkpoint.size,
            root: exported.checkpoint.root.to_string(),
            files_written: exported.objects,
            bytes_written: exported.bytes,
        }
    }
}

/// `annals log migrate`.
#[derive(Debug, Clone, Serialize)]
pub struct MovedDocument {
    /// `annals.log_moved/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The log.
    pub origin: String,
    /// The home it has left.
    pub from: String,
    /// The home it goes on in.
    pub to: String,
    /// Events that were moved.
    pub events: u64,
    /// RFC 6962 root over them.
    pub root: String,
    /// Where the older copy in the folder went, if one was in the way.
    pub moved_aside: Option<String>,
    /// What `event_store` of the target is now.
    pub event_store: &'static str,
}

impl From<&MovedLog> for MovedDocument {
    fn from(moved: &MovedLog) -> Self {
        Self {
            format: "annals.log_moved/1",
            target: moved.target.clone(),
            origin: moved.checkpoint.origin.to_string(),
            from: moved.from.clone(),
            to: moved.to.clone(),
            events: moved.checkpoint.size,
            root: moved.checkpoint.root.to_string(),
            moved_aside: moved.moved_aside.as_ref().map(|path| path.display().to_string()),
            event_store: moved.event_store,
        }
    }
}

/// `annals log prove` and `annals log check-proof`.
#[derive(Debug, Clone, Serialize)]
pub struct ProofDocument {
    /// `annals.event_proof/1`.
    pub format: &'static str,
    /// Whether the event is proven to be under the signed head.
    pub proven: bool,
    /// Why it is not.
    pub reason: Option<String>,
    /// The class of what is wrong.
    pub class: Option<&'static str>,
    /// The log.
    pub origin: Option<String>,
    /// The event.
    pub seq: Option<u64>,
    /// When it was recorded.
    pub recorded_at: Option<String>,
    /// Its kind.
    pub kind: Option<String>,
    /// The fact in one line.
    pub summary: Option<String>,
    /// Its leaf hash.
    pub leaf: Option<String>,
    /// Events the signed head vouches for.
    pub signed: Option<u64>,
    /// The file that was written.
    pub file: Option<String>,
    /// The process's exit code.
    pub exit_code: u8,
}

impl From<&Result<ProvenEvent, EventProofError>> for ProofDocument {
    fn from(checked: &Result<ProvenEvent, EventProofError>) -> Self {
        let proven = checked.as_ref().ok();
        let error = checked.as_ref().err();
        let recorded = proven.map(|proven| &proven.recorded);
        Self {
            format: "annals.event_proof/1",
            proven: proven.is_some(),
            reason: error.map(ToString::to_string),
            class: error.map(|error| error.class().as_str()),
            origin: recorded.map(|recorded| recorded.origin.to_string()),
            seq: recorded.map(|recorded| recorded.seq.0),
            recorded_at: recorded.map(|recorded| recorded.recorded_at.to_string()),
            kind: recorded.map(|recorded| recorded.event.kind().to_owned()),
            summary: recorded.map(summary),
            leaf: recorded.map(|recorded| recorded.leaf.to_string()),
            signed: proven.map(|proven| proven.checkpoint.size),
            file: None,
            exit_code: error.map_or(0, |error| error.class().exit_code()),
        }
    }
}
