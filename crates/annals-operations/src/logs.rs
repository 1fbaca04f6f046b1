//! Logs as reading commands see them: no lock, nothing written.

use std::path::PathBuf;

use annals_event_store::{Layout, read_files};
use annals_events::{Event, Recorded, Scan, Seq};
use annals_integrity::{LogVerdict, LogVerification, verify_log};
use annals_keys::{Checkpoint, VerifierKey, load_verifier};

use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::targets::Target;
use crate::workspace::Workspace;

/// Which log to read.
#[derive(Debug, Clone)]
pub enum LogSource {
    /// The log of a target of the workspace; the default target if none is named.
    Target(Option<String>),
    /// The log in a folder, on a machine that may have nothing else.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The public key it is verified with.
        key: Option<PathBuf>,
    },
}

/// A log, read and scanned.
pub(crate) struct ReadLog {
    pub(crate) layout: Layout,
    pub(crate) scan: Scan,
    pub(crate) checkpoint: Option<Vec<u8>>,
    pub(crate) verifier: Option<VerifierKey>,
    pub(crate) bytes: u64,
}

impl ReadLog {
    pub(crate) fn open(layout: Layout, verifier: Option<VerifierKey>) -> Result<Self, LogFailure> {
        let files = read_files(&layout)?;
        let signed = files.checkpoint.as_ref().zip(verifier.as_ref());
        let size = signed.and_then(|(note, key)| Checkpoint::open(note, key).ok()).map(|c| c.size);
        let scan = files.scan(size.as_slice());
        let bytes = files.bytes();
        Ok(Self { layout, scan, checkpoint: files.checkpoint, verifier, bytes })
    }

    pub(crate) fn from_source(
        environment: &Environment,
        source: &LogSource,
    ) -> Result<Self, Failure> {
        let (layout, verifier) = match source {
            LogSource::Target(name) => {
                let workspace = Workspace::find(&environment.folder)?;
                let target = Target::resolve(environment, &workspace, name.as_deref())?;
                (target.layout.clone(), target.verifier()?)
            }
            LogSource::Folder { folder, key } => {
                let verifier = key.as_deref().map(load_verifier).transpose();
                (Layout::new(folder), verifier.map_err(LogFailure::from)?)
            }
        };
        Ok(Self::open(layout, verifier)?)
    }

    /// The events, provided none of them is damaged and the checkpoint, where there are one and a
    /// key, vouches for them.
    pub(crate) fn events(&self) -> Result<&[Recorded], LogFailure> {
        let folder = self.layout.root().to_owned();
        if let Some(damage) = &self.scan.damage {
            return Err(LogFailure::Damaged { folder, reason: damage.to_string() });
        }
        if let Some(key) = &self.verifier {
            let verdict = verify_log(&self.scan, self.checkpoint.as_deref(), key).verdict;
            if verdict != LogVerdict::Intact {
                return Err(LogFailure::Unverified { folder, reason: verdict.to_string() });
            }
        }
        Ok(&self.scan.events)
    }

    /// Whether a key was there to verify it with.
    pub(crate) fn is_verified(&self) -> bool {
        self.verifier.is_some() && self.checkpoint.is_some()
    }

    /// The verification against the public key.
    pub(crate) fn verify(&self) -> Result<LogVerification, LogFailure> {
        let key = self.verifier.as_ref();
        let key = key.ok_or_else(|| LogFailure::NoPublicKey("log.pub".into()))?;
        Ok(verify_log(&self.scan, self.checkpoint.as_deref(), key))
    }
}

/// Every blob the events name must be there and be what its name says.
pub(crate) fn bad_blobs(layout: &Layout, events: &[Recorded]) -> Vec<(Seq, String)> {
    let named = events.iter().filter_map(|recorded| {
        let blob = match &recorded.event {
            Event::PlanMade(made) => made.plan,
            Event::SchemaRecorded(picture) => picture.snapshot,
            Event::IntegrityChecked(checked) => checked.report,
            _ => return None,
        };
        Some((recorded, blob))
    });
    named
        .filter_map(|(recorded, blob)| {
            let error = layout.get_blob(&blob).err()?;
            let (kind, name) = (recorded.event.kind(), blob.digest.short(12));
            Some((recorded.seq, format!("{kind} names blob {name}…: {error}")))
        })
        .collect()
}
