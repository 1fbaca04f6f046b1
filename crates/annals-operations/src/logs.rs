//! Logs as reading commands see them: no lock, nothing written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use annals_event_store::Layout;
use annals_events::{BlobRef, Recorded, Scanned, Seq};
use annals_integrity::{DamageClass, LogAudit, LogVerification, Trust};
use annals_keys::{KeyRing, load_ring};

use crate::book::Book;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::home::{BlobReader, LogHome};
use crate::targets::Target;
use crate::unfinished::Unfinished;
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
        /// The public keys it is verified with.
        key: Option<PathBuf>,
    },
}

/// A log somebody wants to read, and the keys to verify it with.
pub(crate) struct ReadLog {
    pub(crate) home: LogHome,
    pub(crate) ring: Option<KeyRing>,
    /// Whether states stored beside it may be used: of a log of this workspace. A copy somebody
    /// else has handed over brings theirs with it.
    pub(crate) is_own: bool,
}

/// A log that was read: every whole event went by.
pub(crate) struct LogRead {
    /// What was found of signatures and lines. Without keys, of lines alone.
    pub(crate) verification: Option<LogVerification>,
    pub(crate) scanned: Scanned,
    /// The signed head, as it stood when the lines were read.
    pub(crate) note: Option<Vec<u8>>,
    pub(crate) place: String,
    /// What is open at its end.
    pub(crate) unfinished: Unfinished,
}

impl ReadLog {
    pub(crate) fn of_target(target: &Target) -> Result<Self, LogFailure> {
        Ok(Self { home: target.home(), ring: target.ring()?, is_own: true })
    }

    pub(crate) fn from_source(
        environment: &Environment,
        source: &LogSource,
    ) -> Result<Self, Failure> {
        match source {
            LogSource::Target(name) => {
                let workspace = Workspace::find(&environment.folder)?;
                let target = Target::resolve(environment, &workspace, name.as_deref())?;
                Ok(Self::of_target(&target)?)
            }
            LogSource::Folder { folder, key } => {
                let ring = key.as_deref().map(load_ring).transpose();
                let home = match folder.is_file() {
                    true => LogHome::Export(folder.clone()),
                    false => LogHome::Folder(Layout::new(folder)),
                };
                Ok(Self { home, ring: ring.map_err(LogFailure::from)?, is_own: false })
            }
        }
    }

    /// What a verification with these keys alone relies on.
    pub(crate) fn trust(&self) -> Option<Trust> {
        self.ring.clone().map(|ring| Trust { ring, kept: Vec::new(), required: 0 })
    }

    /// Reads the log, verifying it as far as there are keys.
    ///
    /// Every whole event before the first damage goes to `visit`: what it has folded counts only
    /// when [`LogRead::check`] has found nothing.
    pub(crate) async fn read(
        &self,
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> Result<LogRead, LogFailure> {
        self.read_trusting(self.trust().as_ref(), visit).await
    }

    pub(crate) async fn read_trusting(
        &self,
        trust: Option<&Trust>,
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> Result<LogRead, LogFailure> {
        let (mut claimed, mut unfinished) = (0, Unfinished::default());
        let marks = |note: Option<&[u8]>| {
            trust.map(|trust| LogAudit::new(trust, note).marks()).unwrap_or_default()
        };
        let mut both = |recorded: &Recorded, line: &[u8]| {
            if let annals_events::Event::CheckpointAnchored(anchored) = &recorded.event {
                claimed = claimed.max(anchored.size);
            }
            unfinished.watch(recorded);
            visit(recorded, line);
        };
        let (note, scanned) = self.home.read(marks, &mut both).await?;
        let verification = trust.map(|trust| {
            let mut verification = LogAudit::new(trust, note.as_deref()).finish(&scanned);
            verification.claimed_anchored = claimed;
            verification
        });
        Ok(LogRead { verification, scanned, note, place: self.home.place(), unfinished })
    }

    /// Reads the log into its read models.
    ///
    /// # Errors
    ///
    /// When it is damaged, or not what was signed.
    pub(crate) async fn book(&self) -> Result<Book, LogFailure> {
        let mut book = Book::default();
        self.read(&mut |recorded, _| book.apply(recorded)).await?.check()?;
        Ok(book)
    }
}

impl LogRead {
    /// Whether the signed head vouches for the first `len` events: behind it anybody who can write
    /// the files may have added lines that link.
    pub(crate) fn vouches_for(&self, len: u64) -> bool {
        self.verification.as_ref().is_some_and(|verification| verification.signed >= len)
    }

    /// Refuses a log that is damaged or not what was signed.
    pub(crate) fn check(&self) -> Result<(), LogFailure> {
        let place = self.place.clone();
        let Some(verification) = &self.verification else {
            return match &self.scanned.damage {
                Some(damage) => Err(LogFailure::Damaged { place, reason: damage.to_string() }),
                None => Ok(()),
            };
        };
        let Some(damage) = verification.damages.first() else { return Ok(()) };
        let place_in_log = damage.at.map(|at| format!("event {at}: ")).unwrap_or_default();
        let reason = format!("{place_in_log}{}", damage.reason);
        match damage.class {
            DamageClass::Unreadable
            | DamageClass::Nothing
            | DamageClass::Content
            | DamageClass::Link
            | DamageClass::Order => Err(LogFailure::Damaged { place, reason }),
            DamageClass::Signature
            | DamageClass::UnknownKey
            | DamageClass::CutTail
            | DamageClass::NotSigned
            | DamageClass::Fork
            | DamageClass::OlderCopy
            | DamageClass::FewAnchors => Err(LogFailure::Unverified { place, reason }),
        }
    }
}

/// Every blob the events name must be there and be what its name says.
pub(crate) async fn bad_blobs(
    home: &LogHome,
    named: &[(Seq, &'static str, BlobRef)],
) -> Result<Vec<(Seq, String)>, LogFailure> {
    let mut bad = Vec::new();
    let (mut reader, mut seen) = (BlobReader::of(home).await?, BTreeSet::new());
    for (seq, kind, blob) in named {
        if !seen.insert(blob.digest) {
            continue;
        }
        if let Err(error) = reader.get(blob).await {
            let name = blob.digest.short(12);
            bad.push((*seq, format!("{kind} names blob {name}…: {error}")));
        }
    }
    reader.close().await;
    Ok(bad)
}
