//! The log by itself: content, links, order, tail, signature, and the heads others have kept.

use std::collections::BTreeSet;

use annals_events::{ChainError, Damage, Event, Recorded, Scanned, Seq, TreeHash};
use annals_keys::{Checkpoint, CheckpointError, KeyRing, NoteError};

/// What is wrong with a log. The order is that of the verdict: the first that was found decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DamageClass {
    /// A file cannot be read, or does not belong there.
    Unreadable,
    /// There is no whole event.
    Nothing,
    /// A line, a tile or a blob is not what it must be by itself.
    Content,
    /// An event does not name the one before it.
    Link,
    /// An event, a file, a time or a name stands where it cannot.
    Order,
    /// There is no checkpoint, it is no signed note, or a known key's signature does not fit.
    Signature,
    /// No key that counts has signed the checkpoint.
    UnknownKey,
    /// The log is shorter than its checkpoint says.
    CutTail,
    /// Every line links, but they are not the ones that were signed.
    NotSigned,
    /// Two signed heads do not fit each other.
    Fork,
    /// A head kept elsewhere is larger than the log.
    OlderCopy,
    /// Fewer heads kept elsewhere fit than are asked for.
    FewAnchors,
}

impl DamageClass {
    /// Every class, in the order of the verdict.
    pub const ALL: [Self; 12] = [
        Self::Unreadable,
        Self::Nothing,
        Self::Content,
        Self::Link,
        Self::Order,
        Self::Signature,
        Self::UnknownKey,
        Self::CutTail,
        Self::NotSigned,
        Self::Fork,
        Self::OlderCopy,
        Self::FewAnchors,
    ];

    /// The word for it, as documents spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Nothing => "nothing_to_check",
            Self::Content => "content",
            Self::Link => "link",
            Self::Order => "order",
            Self::Signature => "signature",
            Self::UnknownKey => "unknown_key",
            Self::CutTail => "cut_tail",
            Self::NotSigned => "not_signed",
            Self::Fork => "fork",
            Self::OlderCopy => "older_copy",
            Self::FewAnchors => "not_enough_anchors",
        }
    }

    /// The exit code of a program that found it. The numbers never change their meaning.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Content => 20,
            Self::Link => 21,
            Self::Order => 22,
            Self::CutTail => 23,
            Self::OlderCopy => 24,
            Self::Fork => 25,
            Self::Signature => 26,
            Self::UnknownKey => 27,
            Self::FewAnchors => 28,
            Self::Unreadable => 29,
            Self::Nothing => 30,
            Self::NotSigned => 31,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDamage {
    /// What kind.
    pub class: DamageClass,
    /// The first bad place, where there is one.
    pub at: Option<Seq>,
    /// What, in words.
    pub reason: String,
}

/// A checkpoint that was kept elsewhere than the log: by an auditor, in an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptNote {
    /// Where it was kept.
    pub name: String,
    /// The signed note.
    pub note: Vec<u8>,
}

/// What a verification relies on. All of it comes from elsewhere than the log.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The keys that count.
    pub ring: KeyRing,
    /// Heads kept elsewhere.
    pub kept: Vec<KeptNote>,
    /// How many of them must fit.
    pub required: usize,
}

/// A head kept elsewhere, compared with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHead {
    /// Where it was kept.
    pub name: String,
    /// Events it vouches for; none where the note itself is refused.
    pub size: Option<u64>,
    /// Whether the log begins with exactly these events.
    pub fits: bool,
}

/// Two signed heads of one log that cannot both be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkedHeads {
    /// Where the other head was kept.
    pub kept_in: String,
    /// The other head, signed.
    pub kept: Vec<u8>,
    /// Its size.
    pub kept_size: u64,
    /// This log's head, signed.
    pub own: Vec<u8>,
    /// Its size.
    pub own_size: u64,
}

/// What was checked, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogVerification {
    /// Everything that is wrong, the decisive thing first; nothing if the log is intact.
    pub damages: Vec<LogDamage>,
    /// The log's name, once it has an event.
    pub origin: Option<String>,
    /// Whole events up to the end or the first damage.
    pub events: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Hashes computed: a leaf for each event, the nodes of the tree over them.
    pub hashes: u64,
    /// Signatures verified.
    pub signatures: u64,
    /// Events the log's own checkpoint vouches for.
    pub signed: u64,
    /// Root over all events read.
    pub root: TreeHash,
    /// Bytes behind the last line: an append that was cut short, or is under way.
    pub torn_bytes: u64,
    /// Events a newer annals has written: verified, not understood.
    pub not_understood: u64,
    /// Heads kept elsewhere.
    pub kept: Vec<KeptHead>,
    /// Events from here on are vouched for by nothing outside.
    pub unanchored_from: u64,
    /// The largest head the log itself says an anchor holds: a claim, until that anchor is asked.
    pub claimed_anchored: u64,
    /// Signed heads that contradict each other.
    pub forks: Vec<ForkedHeads>,
}

impl LogVerification {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.damages.is_empty()
    }
}

/// A verification under way: begins with the notes, watches the events, ends with the verdict.
#[derive(Debug)]
pub struct LogAudit<'a> {
    trust: &'a Trust,
    note: Option<&'a [u8]>,
    own: Option<Result<Checkpoint, CheckpointError>>,
    kept: Vec<Result<Checkpoint, CheckpointError>>,
    claimed_anchored: u64,
}

/// The class of a note that is refused.
fn note_class(error: &CheckpointError) -> DamageClass {
    match error {
        CheckpointError::Note(NoteError::UnknownKey(_)) | CheckpointError::Retired { .. } => {
            DamageClass::UnknownKey
        }
        CheckpointError::Note(_) | CheckpointError::Malformed(_) => DamageClass::Signature,
    }
}

/// The class of a damage of the lines.
fn line_class(damage: &Damage) -> DamageClass {
    match damage {
        Damage::Line(ChainError::Content { .. })
        | Damage::CutSegment { .. }
        | Damage::Bundle { .. } => DamageClass::Content,
        Damage::Line(ChainError::Link { .. }) => DamageClass::Link,
        Damage::Line(
            ChainError::Order { .. } | ChainError::Time { .. } | ChainError::Origin { .. },
        )
        | Damage::Gap { .. }
        | Damage::SecondBeginning { .. }
        | Damage::NoBeginning { .. } => DamageClass::Order,
        Damage::Empty => DamageClass::Nothing,
    }
}

impl<'a> LogAudit<'a> {
    /// Begins with the log's own signed head, if it has one.
    pub fn new(trust: &'a Trust, note: Option<&'a [u8]>) -> Self {
        let open = |note: &[u8]| Checkpoint::open(note, &trust.ring);
        Self {
            trust,
            note,
            own: note.map(open),
            kept: trust.kept.iter().map(|kept| open(&kept.note)).collect(),
            claimed_anchored: 0,
        }
    }

    /// The sizes whose roots the scanner must note.
    pub fn marks(&self) -> Vec<u64> {
        let own = self.own.iter().flatten();
        own.chain(self.kept.iter().flatten()).map(|checkpoint| checkpoint.size).collect()
    }

    /// Looks at one event.
    pub fn watch(&mut self, recorded: &Recorded) {
        if let Event::CheckpointAnchored(anchored) = &recorded.event {
            self.claimed_anchored = self.claimed_anchored.max(anchored.size);
        }
    }

    /// Notes how many events the log says an anchor holds, where somebody else watched.
    pub fn claim(&mut self, size: u64) {
        self.claimed_anchored = self.claimed_anchored.max(size);
    }

    /// The verdict over what was read.
    pub fn finish(self, scanned: &Scanned) -> LogVerification {
        let mut damages = Vec::new();
        if let Some(damage) = &scanned.damage {
            let (class, text) = (line_class(damage), damage.to_string());
            let prefix = format!("event {}: ", damage.at());
            let reason = text.strip_prefix(&prefix).unwrap_or(&text).to_owned();
            damages.push(LogDamage { class, at: Some(damage.at()), reason });
        }
        let size = scanned.chain.size();
        self.check_own(scanned, &mut damages);
        let (mut heads, mut forks) = (Vec::new(), Vec::new());
        for (kept, opened) in self.trust.kept.iter().zip(&self.kept) {
            let fits = match opened {
                Ok(checkpoint) => {
                    self.check_kept(kept, checkpoint, scanned, &mut damages, &mut forks)
                }
                Err(error) => {
                    let reason = format!("the head kept in {}: {error}", kept.name);
                    damages.push(LogDamage { class: note_class(error), at: None, reason });
                    false
                }
            };
            let size = opened.as_ref().ok().map(|checkpoint| checkpoint.size);
            heads.push(KeptHead { name: kept.name.clone(), size, fits });
        }
        // The same head from two places is one witness, however often it is named, and whatever
        // signatures were added to its note.
        let fits = heads.iter().filter(|head| head.fits).filter_map(|head| head.size);
        let fitting = fits.collect::<BTreeSet<u64>>().len();
        if fitting < self.trust.required {
            let reason = format!(
                "{fitting} heads kept elsewhere fit this log, {} are asked for",
                self.trust.required
            );
            damages.push(LogDamage { class: DamageClass::FewAnchors, at: None, reason });
        }
        damages.sort_by_key(|damage| damage.class);
        let own = self.own.as_ref().and_then(|own| own.as_ref().ok());
        let opened = self.own.iter().chain(&self.kept).filter(|opened| opened.is_ok());
        let anchored = heads.iter().filter(|head| head.fits).filter_map(|head| head.size).max();
        LogVerification {
            damages,
            origin: scanned.chain.origin().map(ToString::to_string),
            events: size,
            bytes: scanned.bytes,
            hashes: size + size.saturating_sub(u64::from(size.count_ones())),
            signatures: opened.count() as u64,
            signed: own.map_or(0, |checkpoint| checkpoint.size),
            root: scanned.chain.root(),
            torn_bytes: scanned.torn.len() as u64,
            not_understood: scanned.unknown,
            kept: heads,
            unanchored_from: anchored.unwrap_or(0).min(size),
            claimed_anchored: self.claimed_anchored,
            forks,
        }
    }

    fn check_own(&self, scanned: &Scanned, damages: &mut Vec<LogDamage>) {
        let mut add = |class, at: Option<u64>, reason: String| {
            damages.push(LogDamage { class, at: at.map(Seq), reason });
        };
        let checkpoint = match &self.own {
            None => {
                let reason = "there is no checkpoint: nothing vouches for it".to_owned();
                return add(DamageClass::Signature, None, reason);
            }
            Some(Err(error)) => return add(note_class(error), None, error.to_string()),
            // It would fit any log of this name.
            Some(Ok(checkpoint)) if checkpoint.size == 0 => {
                let reason = "the checkpoint vouches for no event".to_owned();
                return add(DamageClass::Nothing, None, reason);
            }
            Some(Ok(checkpoint)) => checkpoint,
        };
        let (size, signed) = (scanned.chain.size(), checkpoint.size);
        if scanned.chain.origin().is_some_and(|origin| *origin != checkpoint.origin) {
            let reason = format!("the checkpoint is of log {}", checkpoint.origin);
            return add(DamageClass::Order, Some(0), reason);
        }
        match scanned.root_at(signed) {
            Some(root) if root == checkpoint.root => {}
            Some(_) => add(
                DamageClass::NotSigned,
                Some(signed.saturating_sub(1)),
                "this event, or one before it together with every link behind it, is not what the \
                 checkpoint vouches for"
                    .to_owned(),
            ),
            // Where the lines are damaged, their end is not known.
            None if scanned.damage.is_some() && scanned.chain.size() > 0 => {}
            None => add(
                DamageClass::CutTail,
                Some(size),
                format!(
                    "the tail is cut: {size} whole events, the checkpoint vouches for {signed}"
                ),
            ),
        }
    }

    fn check_kept(
        &self,
        kept: &KeptNote,
        checkpoint: &Checkpoint,
        scanned: &Scanned,
        damages: &mut Vec<LogDamage>,
        forks: &mut Vec<ForkedHeads>,
    ) -> bool {
        let mut add = |class, at: Option<u64>, reason: String| {
            damages.push(LogDamage { class, at: at.map(Seq), reason });
            false
        };
        let size = scanned.chain.size();
        if scanned.chain.origin().is_some_and(|origin| *origin != checkpoint.origin) {
            let reason = format!("the head kept in {} is of log {}", kept.name, checkpoint.origin);
            return add(DamageClass::Order, Some(0), reason);
        }
        // Two signed heads over as many events contradict each other whatever the lines say.
        let own = self.own.as_ref().and_then(|own| own.as_ref().ok());
        let other = own.zip(self.note).filter(|(own, _)| {
            own.origin == checkpoint.origin
                && own.size == checkpoint.size
                && own.root != checkpoint.root
        });
        if let Some((own, note)) = other {
            forks.push(ForkedHeads {
                kept_in: kept.name.clone(),
                kept: kept.note.clone(),
                kept_size: checkpoint.size,
                own: note.to_vec(),
                own_size: own.size,
            });
            let reason = format!(
                "the checkpoint and the signed head kept in {} name two roots of {} events: two \
                 histories exist",
                kept.name, own.size
            );
            add(DamageClass::Fork, Some(own.size.saturating_sub(1)), reason);
            return scanned.root_at(checkpoint.size) == Some(checkpoint.root);
        }
        match scanned.root_at(checkpoint.size) {
            Some(_) if checkpoint.size == 0 => false,
            Some(root) if root == checkpoint.root => true,
            Some(_) => {
                // Only what this log has signed itself contradicts the other head.
                let own = own.filter(|own| own.size >= checkpoint.size);
                let signed =
                    own.filter(|own| scanned.root_at(own.size) == Some(own.root)).zip(self.note);
                let at = Some(checkpoint.size.saturating_sub(1));
                let Some((own, note)) = signed else {
                    let reason = format!(
                        "the first {} events are not those of the signed head kept in {}",
                        checkpoint.size, kept.name
                    );
                    return add(DamageClass::NotSigned, at, reason);
                };
                forks.push(ForkedHeads {
                    kept_in: kept.name.clone(),
                    kept: kept.note.clone(),
                    kept_size: checkpoint.size,
                    own: note.to_vec(),
                    own_size: own.size,
                });
                let reason = format!(
                    "the first {} events are not those of the signed head kept in {}: two \
                     histories exist",
                    checkpoint.size, kept.name
                );
                add(DamageClass::Fork, at, reason)
            }
            None if scanned.damage.is_some() => false,
            None => add(
                DamageClass::OlderCopy,
                Some(size),
                format!(
                    "the head kept in {} vouches for {} events, this log has {size}",
                    kept.name, checkpoint.size
                ),
            ),
        }
    }
}
