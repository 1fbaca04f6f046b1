//! What a verification says, for people and for programs.

use std::io;
use std::path::Path;

use annals_integrity::{DamageClass, LogDamage, LogVerification};
use serde::Serialize;

use crate::approvals::ApprovalCounts;
use crate::tree::TileCounts;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamageReport {
    /// The class; see [`DamageClass::as_str`].
    pub class: &'static str,
    /// The first bad event, where there is one.
    pub first_bad_seq: Option<u64>,
    /// What, in words.
    pub reason: String,
}

/// A head kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptReport {
    /// Where it was kept.
    pub name: String,
    /// Events it vouches for; none where it is refused.
    pub size: Option<u64>,
    /// Whether the log begins with exactly these events.
    pub fits: bool,
}

/// Content beside the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BlobCounts {
    /// Named by an event, there, and what its name says.
    pub checked: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Named by an event and not checked: a stream has none, and of damaged ones a hundred are
    /// enough.
    pub not_checked: u64,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `annals.log_verify/2`.
    pub format: &'static str,
    /// What was verified.
    pub place: String,
    /// The log's name, once it has an event.
    pub origin: Option<String>,
    /// `intact`, or the class of the decisive damage.
    pub verdict: &'static str,
    /// Everything that is wrong, the decisive thing first.
    pub damages: Vec<DamageReport>,
    /// The first bad event of the decisive damage.
    pub first_bad_seq: Option<u64>,
    /// Whole events, up to the end or the first damage.
    pub events: u64,
    /// Bytes of the lines.
    pub bytes: u64,
    /// Hashes computed over events and tree.
    pub hashes: u64,
    /// Signatures verified.
    pub signatures: u64,
    /// Content beside the log.
    pub blobs: BlobCounts,
    /// Tiles and entry bundles compared with the lines.
    pub tiles: u64,
    /// Of them, those that go on behind the last event.
    pub tiles_beyond: u64,
    /// States stored beside the log that were folded anew and are what it says.
    pub caches: u64,
    /// Approvals and lists of approvers that were checked against a pinned list; none without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<ApprovalCounts>,
    /// Events the log's own checkpoint vouches for.
    pub signed: u64,
    /// Events behind the signed ones: nothing vouches for their being complete.
    pub unsigned: u64,
    /// RFC 6962 root over the events read.
    pub root: String,
    /// Bytes behind the last event: an append that was cut short, or is under way.
    pub torn_bytes: u64,
    /// Events a newer annals has written: verified, not understood.
    pub not_understood: u64,
    /// Heads kept elsewhere.
    pub kept: Vec<KeptReport>,
    /// The first event nothing kept elsewhere vouches for; none if all are.
    pub unanchored_from: Option<u64>,
    /// Events the log says an anchor holds: a claim until that anchor is asked.
    pub claimed_anchored: u64,
    /// Anchors that could not be asked, and why.
    pub not_asked: Vec<String>,
    /// Where the evidence of a fork was written.
    pub evidence: Option<String>,
    /// Why it was not, if it was not. The verdict stands without it.
    pub evidence_unwritten: Option<String>,
    /// The process's exit code.
    pub exit_code: u8,
}

/// How a line of a report is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// The log is what it should be.
    Good,
    /// It is not.
    Bad,
    /// To be known.
    Note,
    /// A figure.
    Plain,
    /// What to do.
    Next,
}

impl Report {
    /// A report about a log in `place` that has no tiles. `extra` is damage found beside the lines.
    pub fn without_tiles(
        place: String,
        verification: &LogVerification,
        extra: Vec<LogDamage>,
        blobs: BlobCounts,
    ) -> Self {
        Self::new(place, verification, extra, blobs, TileCounts::default())
    }

    /// A report about `place`. `extra` is damage found beside the lines.
    pub(crate) fn new(
        place: String,
        verification: &LogVerification,
        extra: Vec<LogDamage>,
        blobs: BlobCounts,
        tiles: TileCounts,
    ) -> Self {
        // What lies beside the lines follows from them: where both are wrong, the lines decide.
        let mut damages: Vec<LogDamage> = verification.damages.clone();
        damages.extend(extra);
        damages.sort_by_key(|damage| damage.class == DamageClass::FewAnchors);
        let decisive = damages.first();
        let events = verification.events;
        let unanchored = verification.unanchored_from;
        Self {
            format: "annals.log_verify/2",
            place,
            origin: verification.origin.clone(),
            verdict: decisive.map_or("intact", |damage| damage.class.as_str()),
            first_bad_seq: decisive.and_then(|damage| damage.at).map(|at| at.0),
            exit_code: decisive.map_or(0, |damage| damage.class.exit_code()),
            damages: damages
                .iter()
                .map(|damage| DamageReport {
                    class: damage.class.as_str(),
                    first_bad_seq: damage.at.map(|at| at.0),
                    reason: damage.reason.clone(),
                })
                .collect(),
            events,
            bytes: verification.bytes,
            hashes: verification.hashes,
            signatures: verification.signatures,
            blobs,
            tiles: tiles.checked,
            tiles_beyond: tiles.beyond,
            caches: 0,
            approvals: None,
            signed: verification.signed,
            unsigned: events.saturating_sub(verification.signed),
            root: verification.root.to_string(),
            torn_bytes: verification.torn_bytes,
            not_understood: verification.not_understood,
            kept: verification
                .kept
                .iter()
                .map(|head| KeptReport {
                    name: head.name.clone(),
                    size: head.size,
                    fits: head.fits,
                })
                .collect(),
            unanchored_from: (unanchored < events).then_some(unanchored),
            claimed_anchored: verification.claimed_anchored,
            not_asked: Vec::new(),
            evidence: None,
            evidence_unwritten: None,
        }
    }

    /// A report about what cannot even be read.
    pub(crate) fn unreadable(place: String, reason: String) -> Self {
        let verification = LogVerification {
            damages: vec![LogDamage { class: DamageClass::Unreadable, at: None, reason }],
            origin: None,
            events: 0,
            bytes: 0,
            hashes: 0,
            signatures: 0,
            signed: 0,
            root: annals_events::CompactRange::default().root(),
            torn_bytes: 0,
            not_understood: 0,
            kept: Vec::new(),
            unanchored_from: 0,
            claimed_anchored: 0,
            forks: Vec::new(),
        };
        Self::new(place, &verification, Vec::new(), BlobCounts::default(), TileCounts::default())
    }

    /// Notes where the evidence of a fork was written, or why it was not.
    pub fn note_evidence(&mut self, path: &Path, written: io::Result<()>) {
        let path = path.display().to_string();
        match written {
            Ok(()) => self.evidence = Some(path),
            Err(error) => self.evidence_unwritten = Some(format!("{path}: {error}")),
        }
    }

    /// Adds what became of the approvals.
    pub fn add_approvals(&mut self, counts: ApprovalCounts, wrong: Vec<LogDamage>) {
        self.approvals = Some(counts);
        self.add(wrong);
    }

    /// Adds what became of the states stored beside the log.
    pub fn add_caches(&mut self, checked: u64, wrong: Vec<LogDamage>) {
        self.caches = checked;
        self.add(wrong);
    }

    fn add(&mut self, wrong: Vec<LogDamage>) {
        for damage in wrong {
            if self.damages.is_empty() {
                self.verdict = damage.class.as_str();
                self.first_bad_seq = damage.at.map(|at| at.0);
                self.exit_code = damage.class.exit_code();
            }
            self.damages.push(DamageReport {
                class: damage.class.as_str(),
                first_bad_seq: damage.at.map(|at| at.0),
                reason: damage.reason,
            });
        }
    }

    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.damages.is_empty()
    }

    /// The report for people: a label, a text, and how it is meant.
    pub fn lines(&self) -> Vec<(Tone, &'static str, String)> {
        let mut lines = Vec::new();
        let name = self.origin.as_deref().unwrap_or(&self.place);
        if self.is_intact() {
            let text = format!("{name} is intact: {} events, {} bytes", self.events, self.bytes);
            lines.push((Tone::Good, "✓", text));
        }
        for damage in &self.damages {
            let at = damage.first_bad_seq.map(|at| format!(" at event {at}")).unwrap_or_default();
            let text = format!("{name} is not intact{at}: {} ({})", damage.reason, damage.class);
            lines.push((Tone::Bad, "✗", text));
        }
        let mut plain = |label, text: String| lines.push((Tone::Plain, label, text));
        if self.events > 0 {
            plain(
                "checked",
                format!("{} hashes, {} signatures", self.hashes, self.signatures)
                    + &counted(self.blobs.checked, ", ", " blobs")
                    + &counted(self.tiles, ", ", " tiles")
                    + &counted(self.caches, ", ", " stored states"),
            );
            plain("signed", format!("{} events", self.signed));
        }
        if let Some(counts) = &self.approvals {
            let text = format!("{} against the pinned list", counts.approvals)
                + &counted(counts.lists, ", ", " lists of approvers");
            plain("approvals", text);
        }
        for head in &self.kept {
            let text = match (head.fits, head.size) {
                (true, Some(size)) => {
                    format!("{} holds the head of {size} events: it fits", head.name)
                }
                (_, Some(size)) => {
                    format!("{} holds a head of {size} events: it does not fit", head.name)
                }
                (_, None) => format!("{} holds no head that counts", head.name),
            };
            plain("kept", text);
        }
        // Of a log that is not intact it is the root of what could be read, which nobody signed.
        if self.is_intact() {
            plain("root", self.root.clone());
        }
        let mut note = |label, text: String| lines.push((Tone::Note, label, text));
        if self.unsigned > 0 && self.signed > 0 {
            let text = format!(
                "{} events behind the signed ones: nothing vouches for their number",
                self.unsigned
            );
            note("unsigned", text);
        }
        if let Some(from) = self.unanchored_from {
            let claim = match self.claimed_anchored {
                0 => String::new(),
                size => format!("; the log says an anchor holds its first {size}"),
            };
            let last = self.events - 1;
            let text =
                format!("events {from} to {last}: no head kept elsewhere vouches for them{claim}");
            note("unanchored", text);
        }
        for problem in &self.not_asked {
            note("not asked", problem.clone());
        }
        if self.blobs.not_checked > 0 {
            let text = format!(
                "{} blobs are named by events and were not checked",
                self.blobs.not_checked
            );
            note("blobs", text);
        }
        if self.tiles_beyond > 0 {
            let text = format!(
                "{} go on behind the last event: the log was longer once, or grows meanwhile",
                self.tiles_beyond
            );
            note("tiles", text);
        }
        if self.not_understood > 0 {
            let text = format!(
                "{} events are from a newer annals: verified, not understood",
                self.not_understood
            );
            note("newer", text);
        }
        if self.torn_bytes > 0 {
            let text = format!(
                "{} bytes of an append that was cut short, or is under way",
                self.torn_bytes
            );
            note("tail", text);
        }
        if let Some(path) = &self.evidence {
            note("evidence", format!("both signed heads and their proof: {path}"));
        }
        if let Some(reason) = &self.evidence_unwritten {
            note(
                "evidence",
                format!("not written, name another place with --evidence-out: {reason}"),
            );
        }
        if !self.is_intact() {
            let text = match self.damages.first().map(|damage| damage.class) {
                Some("unreadable") => "name the folder of a log, an export file, or - for a stream",
                Some("nothing_to_check") => "nothing was verified: fetch the log itself",
                Some("unknown_key" | "signature") => {
                    "check that the key is the one the log's owner pinned; keep this copy as \
                     evidence"
                }
                Some("not_enough_anchors") => "name the heads that were kept, with --known",
                _ => "keep this copy as evidence; restore the log from a copy that verifies",
            };
            lines.push((Tone::Next, "next", text.to_owned()));
        }
        lines
    }
}

fn counted(n: u64, before: &str, noun: &str) -> String {
    if n == 0 { String::new() } else { format!("{before}{n}{noun}") }
}
