//! The log by itself: content, links, order, tail, checkpoint.

use annals_events::{Scan, Seq, TreeHash};
use annals_keys::{Checkpoint, CheckpointError, VerifierKey};

/// What a verification of a log came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogVerdict {
    /// Every event is what was written, as far as anything vouches for it.
    Intact,
    /// An event was altered, added, removed or moved.
    Damaged {
        /// The first bad place.
        at: Seq,
        /// What is wrong there.
        reason: String,
    },
    /// The log is shorter than its checkpoint says.
    CutTail {
        /// Whole events.
        size: u64,
        /// Events the checkpoint vouches for.
        signed: u64,
    },
    /// The checkpoint is not acceptable.
    Checkpoint(CheckpointError),
    /// Events below the signed size are not those that were signed.
    OtherHistory {
        /// Events the checkpoint vouches for.
        signed: u64,
    },
    /// There is no checkpoint, so nothing vouches for anything.
    NeverSigned,
}

impl std::fmt::Display for LogVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Intact => f.write_str("intact"),
            Self::Damaged { reason, .. } => f.write_str(reason),
            Self::CutTail { size, signed } => write!(
                f,
                "the tail is cut: {size} whole events, the checkpoint vouches for {signed}"
            ),
            Self::Checkpoint(error) => error.fmt(f),
            Self::OtherHistory { signed } => write!(
                f,
                "event {}, or one before it together with every link behind it, is not what the \
                 checkpoint vouches for",
                signed.saturating_sub(1)
            ),
            Self::NeverSigned => f.write_str("there is no checkpoint: nothing vouches for it"),
        }
    }
}

/// What was checked, and the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogVerification {
    /// The verdict.
    pub verdict: LogVerdict,
    /// Events read up to the end or the first damage.
    pub events: u64,
    /// Events the checkpoint vouches for.
    pub signed: u64,
    /// Root over all events read.
    pub root: TreeHash,
    /// Bytes behind the last line: an append that was cut short, or is under way.
    pub torn_bytes: u64,
}

/// Verifies a scanned log against its checkpoint; `scan` must have noted the root at its size.
///
/// `key` must come from elsewhere than the log itself.
pub fn verify_log(scan: &Scan, checkpoint: Option<&[u8]>, key: &VerifierKey) -> LogVerification {
    let signed = checkpoint.map(|note| Checkpoint::open(note, key));
    let (size, torn_bytes) = (scan.chain.size(), scan.torn.len() as u64);
    let verdict = match (&scan.damage, &signed) {
        (Some(damage), _) => LogVerdict::Damaged { at: damage.at(), reason: damage.to_string() },
        (None, None) => LogVerdict::NeverSigned,
        (None, Some(Err(error))) => LogVerdict::Checkpoint(error.clone()),
        (None, Some(Ok(checkpoint))) => signed_verdict(scan, checkpoint),
    };
    LogVerification {
        verdict,
        events: size,
        signed: signed.and_then(Result::ok).map_or(0, |checkpoint| checkpoint.size),
        root: scan.chain.root(),
        torn_bytes,
    }
}

fn signed_verdict(scan: &Scan, checkpoint: &Checkpoint) -> LogVerdict {
    let signed = checkpoint.size;
    match scan.root_at(signed) {
        None => LogVerdict::CutTail { size: scan.chain.size(), signed },
        Some(root)
            if root == checkpoint.root && scan.chain.origin() == Some(&checkpoint.origin) =>
        {
            LogVerdict::Intact
        }
        Some(_) => LogVerdict::OtherHistory { signed },
    }
}
