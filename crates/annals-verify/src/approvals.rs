//! Whether every approval in a log was signed by somebody who might, against a pinned list.

use annals_approvals::{Approvers, check_approval, check_change};
use annals_event_store::Layout;
use annals_events::{ApprovalGiven, ApproversChanged, Event, Recorded, Seq};
use annals_integrity::{DamageClass, LogDamage};
use serde::Serialize;

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ApprovalCounts {
    /// Approvals whose signature and signer were checked.
    pub approvals: u64,
    /// Lists of approvers whose admission was checked.
    pub lists: u64,
}

/// A check under way.
pub struct ApprovalAudit<'a> {
    pinned: &'a Approvers,
    layout: &'a Layout,
    workspace: String,
    list: Option<Approvers>,
    newest: Option<Seq>,
    counts: ApprovalCounts,
    damages: Vec<LogDamage>,
}

impl<'a> ApprovalAudit<'a> {
    /// Begins to check the log in `layout` against the pinned list.
    pub fn new(layout: &'a Layout, pinned: &'a Approvers) -> Self {
        Self {
            pinned,
            layout,
            workspace: String::new(),
            list: None,
            newest: None,
            counts: ApprovalCounts::default(),
            damages: Vec::new(),
        }
    }

    /// Takes the next event.
    pub fn watch(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::LogCreated(created) => self.workspace = created.workspace.clone(),
            Event::ApproversChanged(change) => self.change(recorded.seq, change),
            Event::ApprovalGiven(given) => {
                let origin = recorded.origin.as_str();
                if let Err((class, reason)) = self.approval(origin, given) {
                    let who = &given.approver;
                    let reason = format!("the approval of {who:?}: {reason}");
                    self.damages.push(LogDamage { class, at: Some(recorded.seq), reason });
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, seq: Seq, change: &ApproversChanged) {
        self.counts.lists += 1;
        self.newest = Some(seq);
        let mut wrong = |class, reason: String| {
            self.damages.push(LogDamage { class, at: Some(seq), reason });
        };
        if let Err(why) = check_change(&self.workspace, self.list.as_ref(), change) {
            wrong(DamageClass::Signature, format!("the list of approvers is changed, and {why}"));
        }
        // A blob that is not there, or not what its name says, is told by the check of blobs.
        let bytes = self.layout.get_blob(&change.list).ok();
        let read = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        match read.map(|text| Approvers::parse(&text)) {
            Some(Ok(list)) => self.list = Some(list),
            Some(Err(error)) => {
                wrong(DamageClass::Content, format!("the list of approvers is none: {error}"));
                self.list = None;
            }
            None => self.list = None,
        }
    }

    fn approval(
        &mut self,
        origin: &str,
        given: &ApprovalGiven,
    ) -> Result<(), (DamageClass, String)> {
        self.counts.approvals += 1;
        let key = check_approval(origin, given)
            .map_err(|error| (DamageClass::Signature, error.to_string()))?;
        let Some(list) = &self.list else {
            let reason = "nobody is known who might approve".to_owned();
            return Err((DamageClass::UnknownKey, reason));
        };
        match list.of_key(&key) {
            Some(person) if person.name == given.approver => Ok(()),
            _ => Err((DamageClass::UnknownKey, "its key is not theirs on the list".to_owned())),
        }
    }

    /// What was checked and what is wrong; nothing of a log that speaks of no approvals.
    pub fn finish(mut self) -> (ApprovalCounts, Vec<LogDamage>) {
        let is_pinned = self.list.as_ref().is_some_and(|list| list.digest == self.pinned.digest);
        if self.counts != ApprovalCounts::default() && !is_pinned {
            let reason = "the pinned list of approvers is not the one that counts here".to_owned();
            self.damages.push(LogDamage {
                class: DamageClass::UnknownKey,
                at: self.newest,
                reason,
            });
        }
        (self.counts, self.damages)
    }
}
