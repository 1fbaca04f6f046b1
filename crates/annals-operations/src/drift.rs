//! `drift`: the live schema against the expected one, and what is known of who and when.
//!
//! The expected schema is the picture last recorded. A run on a target that has drifted is refused
//! before anything is written for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use annals_event_store::EventStore;
use annals_events::{BlobRef, DriftAccepted, DriftFound, Event, Timestamp, canonical_json};
use annals_executor::Interrupt;
use annals_postgres::{DdlEntry, Tracking};
use annals_projections::SchemaPicture;
use annals_schema::{Difference, Fingerprint, ObjectKind, Snapshot, diff, parts_in_words, wholes};
use serde::{Deserialize, Serialize};

use crate::config::DriftPolicy;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure, TargetFailure};
use crate::open::{self, Opened, Recovered};
use crate::pictures::{Placed, keep};
use crate::targets::Target;
use crate::workspace::Workspace;

/// Version of the stored report.
const REPORT_FORMAT: u32 = 1;

/// Objects a refusal names.
const NAMED: usize = 10;

/// Commands that are told of one object, the newest ones.
const COMMANDS: usize = 5;

/// How one attribute of an object differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftedAttribute {
    /// The attribute.
    pub attribute: String,
    /// As it is expected; none if it should not be there.
    pub before: Option<String>,
    /// As it is; none if it is gone.
    pub after: Option<String>,
}

/// A DDL command somebody ran on an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DdlCommand {
    /// When, by the server's clock.
    pub at: String,
    /// The command, such as `ALTER TABLE`.
    pub command: String,
    /// The role that acted.
    pub role: String,
    /// The role that had logged in.
    pub login: String,
    /// The application's name, as it calls itself.
    pub application: String,
    /// The client's address; none on a socket.
    pub client: Option<String>,
    /// The object it touched, as the server spells it; none where it does not say.
    pub object: Option<String>,
    /// The transaction.
    pub transaction: String,
}

/// An object that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftedObject {
    /// What it is, such as `index`.
    pub kind: String,
    /// Its name as SQL would spell it.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub what: String,
    /// Each attribute that differs.
    pub attributes: Vec<DriftedAttribute>,
    /// When it was last as expected, as far as is known.
    pub after: String,
    /// What was looked at then: `picture`, `check`.
    pub after_what: String,
    /// When it was first seen to be different.
    pub until: String,
    /// Commands of others that touched it in that time, where DDL is written down.
    pub commands: Vec<DdlCommand>,
}

impl DriftedObject {
    /// What differs, whoever did it and whenever.
    fn difference(&self) -> (&str, &str, &str, &[DriftedAttribute]) {
        (&self.kind, &self.name, &self.what, &self.attributes)
    }

    /// One line: the object, its parts in words, and what changed.
    fn line(&self, parts: &str) -> String {
        let kind = self.kind.replace('_', " ");
        let with = if parts.is_empty() { String::new() } else { format!(" (with {parts})") };
        let changes = match self.what.as_str() {
            "added" => format!("is there and not expected{with}"),
            "removed" => format!("is gone{with}"),
            _ => self.attributes.iter().map(attribute_line).collect::<Vec<_>>().join("; "),
        };
        let who =
            self.commands.last().map(|c| format!(" ({} by {} at {})", c.command, c.role, c.at));
        format!("{kind} {}: {changes}{}", self.name, who.unwrap_or_default())
    }
}

/// Objects that stand for themselves, each with the parts that came or went with it, in words.
pub fn with_parts(objects: &[DriftedObject]) -> Vec<(&DriftedObject, String)> {
    let mut told = Vec::new();
    for what in ["added", "removed"] {
        let all: Vec<_> = objects
            .iter()
            .filter(|object| object.what == what)
            .filter_map(|object| Some((ObjectKind::parse(&object.kind)?, object)))
            .collect();
        let names: Vec<_> =
            all.iter().map(|(kind, object)| (*kind, object.name.as_str())).collect();
        let found = wholes(&names);
        for (at, (_, object)) in all.iter().enumerate().filter(|(at, _)| found[*at].is_none()) {
            let parts = all.iter().zip(&found).filter(|(_, whole)| **whole == Some(at));
            told.push((*object, parts_in_words(parts.map(|((kind, _), _)| *kind))));
        }
    }
    let changed = objects.iter().filter(|object| !matches!(&*object.what, "added" | "removed"));
    told.extend(changed.map(|object| (object, String::new())));
    told
}

fn attribute_line(attribute: &DriftedAttribute) -> String {
    let show = |value: &Option<String>| match value {
        None => "nothing".to_owned(),
        Some(value) => {
            let short: String = value.chars().take(60).collect();
            let dots = if short.len() < value.len() { "…" } else { "" };
            format!("{short:?}{dots}")
        }
    };
    let (before, after) = (show(&attribute.before), show(&attribute.after));
    format!("{} should be {before}, is {after}", attribute.attribute.replace('_', " "))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    format: u32,
    objects: Vec<DriftedObject>,
}

/// Why the live schema is compared with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCompared {
    /// No run has changed this target yet, and nobody has accepted its schema.
    NothingRecorded,
    /// The last run was cut short before it took its picture.
    PictureMissing,
}

impl fmt::Display for NotCompared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingRecorded => "no run has changed this target yet",
            Self::PictureMissing => {
                "the last run was cut short before it recorded the schema it left"
            }
        })
    }
}

/// The live schema beside the expected one.
pub(crate) enum Compared {
    /// There is no expectation.
    Not { why: NotCompared, found: Snapshot },
    /// There is one.
    With(Box<Comparison>),
}

/// What a comparison came to.
pub(crate) struct Comparison {
    pub(crate) expected: Placed,
    pub(crate) found: Snapshot,
    pub(crate) objects: Vec<DriftedObject>,
    /// Whether the log says so already.
    pub(crate) is_news: bool,
    pub(crate) tracking: Tracking,
}

impl Comparison {
    /// The event that says so, its report beside the log.
    async fn event(&self, opened: &mut Opened<'_>) -> Result<Event, Failure> {
        let found = self.found.fingerprint();
        Ok(DriftFound {
            differences: self.objects.len() as u64,
            expected: self.expected.snapshot.fingerprint().digest,
            found: found.digest,
            report: opened.keep_report(&self.objects).await?,
            server_major: found.server_major,
        }
        .into())
    }
}

/// What was found to differ, where a run is refused for it.
#[derive(Debug, Clone)]
pub struct DriftRefusal {
    /// The target.
    pub target: String,
    /// What differs.
    pub objects: Vec<DriftedObject>,
}

impl DriftRefusal {
    /// A line for each of the first objects.
    pub fn lines(&self) -> Vec<String> {
        let told = with_parts(&self.objects);
        let named = told.iter().take(NAMED);
        let mut lines: Vec<String> = named.map(|(object, parts)| object.line(parts)).collect();
        if let Some(more) = told.len().checked_sub(NAMED).filter(|more| *more > 0) {
            lines.push(format!("and {more} more"));
        }
        lines
    }
}

impl fmt::Display for DriftRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.objects.len();
        let (objects, are) = if n == 1 { ("object", "is") } else { ("objects", "are") };
        write!(
            f,
            "the schema of {:?} has drifted: {n} {objects} {are} not as expected; nothing was run",
            self.target
        )
    }
}

/// What `drift` found.
#[derive(Debug)]
pub struct DriftView {
    /// The target.
    pub target: String,
    /// What differs; none if nothing was compared.
    pub objects: Option<Vec<DriftedObject>>,
    /// Why nothing was compared.
    pub not_compared: Option<NotCompared>,
    /// The expected schema.
    pub expected: Option<Fingerprint>,
    /// The live one.
    pub found: Fingerprint,
    /// Whether it was recorded now.
    pub recorded: bool,
    /// Whether DDL is written down.
    pub tracking: Tracking,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
}

/// What was accepted.
#[derive(Debug)]
pub struct AcceptedDrift {
    /// The target.
    pub target: String,
    /// Why.
    pub reason: String,
    /// What differed.
    pub objects: Vec<DriftedObject>,
    /// Why nothing was compared, if nothing was.
    pub not_compared: Option<NotCompared>,
    /// Major version of the server the expectation was of, if there was one.
    pub expected_major: Option<u32>,
    /// What is expected from now on.
    pub expected: Fingerprint,
    /// Objects in it.
    pub count: usize,
    /// Whether anything was recorded: not if everything was as expected.
    pub recorded: bool,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
}

impl Opened<'_> {
    async fn keep_report(&mut self, objects: &[DriftedObject]) -> Result<BlobRef, Failure> {
        let report = Report { format: REPORT_FORMAT, objects: objects.to_vec() };
        let value = serde_json::to_value(&report).expect("a report has string keys only");
        let report = canonical_json(&value);
        let report =
            report.expect("invariant: its members have ASCII names, its values are strings");
        let blob = self.recorder.log.put_blob(report.as_bytes()).await;
        Ok(blob.map_err(LogFailure::from)?)
    }

    /// What differed when drift was last recorded.
    async fn last_report(&mut self) -> Vec<DriftedObject> {
        let Some((_, report)) = self.book().drift_told else { return Vec::new() };
        let content = self.recorder.log.get_blob(&report).await.unwrap_or_default();
        // A report of a newer annals tells nothing here; the comparison does not need it.
        let report: Option<Report> = serde_json::from_slice(&content).ok();
        let report = report.filter(|report| report.format == REPORT_FORMAT);
        report.map(|report| report.objects).unwrap_or_default()
    }

    /// Reads the live schema and compares it with the expected one.
    ///
    /// # Errors
    ///
    /// A picture of another major version is not compared: [`TargetFailure::OtherMajor`].
    pub(crate) async fn compare_schema(&mut self, target: &Target) -> Result<Compared, Failure> {
        let live = self.session.facts().major();
        let is_other = |picture: &SchemaPicture| picture.server_major != live;
        if let Some(picture) = self.recovery().schema.filter(is_other) {
            let (target, expected) = (target.name.clone(), picture.server_major);
            return Err(TargetFailure::OtherMajor { target, expected, live }.into());
        }
        let found = self.live_schema(&target.name).await?;
        if !self.expects_a_schema() {
            return Ok(Compared::Not { why: NotCompared::NothingRecorded, found });
        }
        let Some(expected) = self.recorder.expected().await? else {
            return Ok(Compared::Not { why: NotCompared::PictureMissing, found });
        };
        let differences = diff(&expected.snapshot, &found);
        let tracking = self.session.tracking().await.map_err(open::fault(target))?;
        let before = self.last_report().await;
        let is_open = self.recovery().drift.is_some();
        let objects = self.tell(target, &differences, &before, is_open, tracking).await?;
        let same = |a: &[DriftedObject], b: &[DriftedObject]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.difference() == b.difference())
        };
        let is_news = match (objects.is_empty(), is_open) {
            (true, was_open) => was_open,
            (false, false) => true,
            (false, true) => !same(&objects, &before),
        };
        let comparison = Comparison { expected, found, objects, is_news, tracking };
        Ok(Compared::With(Box::new(comparison)))
    }

    /// What is known of each difference: who, and between which two looks.
    async fn tell(
        &mut self,
        target: &Target,
        differences: &[Difference],
        before: &[DriftedObject],
        is_open: bool,
        tracking: Tracking,
    ) -> Result<Vec<DriftedObject>, Failure> {
        if differences.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.recorder.envelopes.now();
        let picture = self.recovery().schema.map(|picture| picture.at).unwrap_or(now);
        let told = self.book().drift_told.map(|(at, _)| at).filter(|at| *at > picture);
        let verified =
            self.recovery().last_integrity.filter(|last| last.passed && last.at > picture);
        let entries = match tracking {
            Tracking::On | Tracking::Broken => {
                let ago = now.micros().saturating_sub(picture.micros());
                let ago = Duration::from_micros(u64::try_from(ago).unwrap_or_default());
                let entries = self.session.ddl_within(ago).await.map_err(open::fault(target))?;
                self.session.prune_ddl().await;
                entries
            }
            Tracking::Hidden | Tracking::Off => Vec::new(),
        };
        let known: BTreeMap<(&str, &str), &DriftedObject> = before
            .iter()
            .filter(|_| is_open)
            .map(|object| ((object.kind.as_str(), object.name.as_str()), object))
            .collect();
        let objects = differences.iter().map(|difference| {
            let mut object = DriftedObject::of(difference, now);
            match known.get(&(object.kind.as_str(), object.name.as_str())) {
                Some(earlier) if earlier.difference() == object.difference() => {
                    return (*earlier).clone();
                }
                // It has changed once more since it was last looked at.
                Some(_) | None => {
                    let verified = verified.map(|last| last.at);
                    let check = told.into_iter().chain(verified).max();
                    object.after = check.unwrap_or(picture).to_string();
                    object.after_what =
                        if check.is_some() { "check" } else { "picture" }.to_owned();
                }
            }
            object.commands = commands(difference, &entries);
            object
        });
        Ok(objects.collect())
    }

    /// Compares before a run. Refuses to go on with a target that has drifted, unless that is
    /// allowed.
    pub(crate) async fn check_drift(
        &mut self,
        target: &Target,
        policy: DriftPolicy,
    ) -> Result<BeforeRun, Failure> {
        let compared = match self.compare_schema(target).await? {
            Compared::With(compared) => compared,
            Compared::Not { why, found } => {
                // What is there now is expected from now on: whatever happens to it before the first
                // picture of the run can then be told.
                let expected = keep(&mut self.recorder.log, None, found).await;
                let expected = expected.map_err(LogFailure::from)?;
                let notes = match why {
                    NotCompared::NothingRecorded => Vec::new(),
                    NotCompared::PictureMissing => vec![format!(
                        "the schema was not compared before this run: {why}; what was found is \
                         expected from now on"
                    )],
                };
                let events = vec![expected.event(None, None)];
                let found = expected.snapshot.clone();
                return Ok(BeforeRun { expected, found, events, notes });
            }
        };
        let mut events = Vec::new();
        let mut notes = Vec::new();
        if compared.objects.is_empty() {
            if compared.is_news {
                events.push(compared.event(self).await?);
            }
        } else if policy == DriftPolicy::Refuse && self.recovery().partial.is_empty() {
            if compared.is_news {
                let event = compared.event(self).await?;
                self.record(vec![event]).await?;
            }
            let (target, objects) = (target.name.clone(), compared.objects);
            return Err(TargetFailure::Drifted(Box::new(DriftRefusal { target, objects })).into());
        } else {
            // The log says of this run that it was allowed on a target that has drifted. What a half
            // done migration stands before is somebody's to repair, and the step's own to judge.
            events.push(compared.event(self).await?);
            let n = compared.objects.len();
            notes.push(format!(
                "{n} {} not as expected (annals drift names {}); what this run does not touch stays so",
                if n == 1 { "object is" } else { "objects are" },
                if n == 1 { "it" } else { "them" }
            ));
        }
        let Comparison { expected, found, .. } = *compared;
        Ok(BeforeRun { expected, found, events, notes })
    }
}

/// What a run begins with.
pub(crate) struct BeforeRun {
    pub(crate) expected: Placed,
    pub(crate) found: Snapshot,
    /// What is recorded together with the run's beginning.
    pub(crate) events: Vec<Event>,
    pub(crate) notes: Vec<String>,
}

impl DriftedObject {
    fn of(difference: &Difference, now: Timestamp) -> Self {
        let (what, attributes) = match difference {
            Difference::Added(_) => ("added", Vec::new()),
            Difference::Removed(_) => ("removed", Vec::new()),
            Difference::Changed(_, changes) => ("changed", changes.clone()),
        };
        let attribute = |change: annals_schema::Change| DriftedAttribute {
            attribute: change.attribute,
            before: change.before,
            after: change.after,
        };
        let key = difference.key();
        Self {
            kind: key.kind.as_str().to_owned(),
            name: key.name.clone(),
            what: what.to_owned(),
            attributes: attributes.into_iter().map(attribute).collect(),
            after: String::new(),
            after_what: String::new(),
            until: now.to_string(),
            commands: Vec::new(),
        }
    }
}

/// The commands of others that may have made a difference, the newest last.
fn commands(difference: &Difference, entries: &[DdlEntry]) -> Vec<DdlCommand> {
    let key = difference.key();
    let is_grant = key.kind == ObjectKind::Grant;
    let concerns = |entry: &&DdlEntry| {
        // Of a GRANT the server does not say on what.
        let unnamed_grant = is_grant
            && entry.identity.is_none()
            && matches!(entry.tag.as_str(), "GRANT" | "REVOKE");
        !entry.is_ours() && (unnamed_grant || entry.may_concern(&key.name))
    };
    let mut seen = BTreeSet::new();
    let concerning = entries.iter().filter(concerns);
    // A command touches an object and what is part of it.
    let distinct = concerning.filter(|entry| {
        seen.insert((entry.transaction.clone(), entry.tag.clone(), entry.identity.clone()))
    });
    let distinct: Vec<&DdlEntry> = distinct.collect();
    distinct[distinct.len().saturating_sub(COMMANDS)..]
        .iter()
        .map(|entry| DdlCommand {
            at: entry.at.to_string(),
            command: entry.tag.clone(),
            role: entry.acting_role.clone(),
            login: entry.session_role.clone(),
            application: entry.application.clone(),
            client: entry.client.clone(),
            object: entry.identity.clone(),
            transaction: entry.transaction.clone(),
        })
        .collect()
}

/// Compares the live schema with the expected one; news are recorded.
///
/// # Errors
///
/// When it could not be compared. What differs is in the result.
pub async fn drift(
    environment: &Environment,
    target: Option<&str>,
    interrupt: &mut Interrupt,
) -> Result<DriftView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let mut opened =
        open::open_to_verify(environment, &workspace, &target, "annals/drift", interrupt).await?;
    let compared = match opened.compare_schema(&target).await {
        Ok(compared) => compared,
        Err(refused) => return Err(give_up(opened, refused).await?),
    };
    let (mut expected, mut not_compared, mut objects) = (None, None, None);
    let (found, mut recorded, tracking);
    match compared {
        Compared::Not { why, found: live, .. } => {
            (found, recorded, not_compared) = (live.fingerprint(), false, Some(why));
            tracking = opened.session.tracking().await.map_err(open::fault(&target))?;
        }
        Compared::With(compared) => {
            recorded = compared.is_news;
            if compared.is_news {
                let event = compared.event(&mut opened).await?;
                opened.record(vec![event]).await?;
            }
            expected = Some(compared.expected.snapshot.fingerprint());
            (found, tracking) = (compared.found.fingerprint(), compared.tracking);
            objects = Some(compared.objects);
        }
    }
    recorded &= not_compared.is_none();
    opened.publish().await?;
    opened.anchor(environment, &workspace, &target).await?;
    let view = DriftView {
        target: target.name,
        objects,
        not_compared,
        expected,
        found,
        recorded,
        tracking,
        log_size: opened.recorder.log.head().size,
        recovered: std::mem::take(&mut opened.recovered),
    };
    opened.close().await;
    Ok(view)
}

/// Takes the schema as it is as the expected one.
///
/// # Errors
///
/// When there is no reason, or it could not be read or recorded.
pub async fn drift_accept(
    environment: &Environment,
    target: Option<&str>,
    reason: &str,
    interrupt: &mut Interrupt,
) -> Result<AcceptedDrift, Failure> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Failure::Argument {
            subject: "--reason".to_owned(),
            reason: "says why the schema is accepted as it is; it becomes part of the log"
                .to_owned(),
        });
    }
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let mut opened =
        open::open(environment, &workspace, &target, "annals/drift", interrupt).await?;
    if let Err(refused) = opened.check_same_server(&target).await {
        return Err(give_up(opened, refused).await?);
    }
    let accepted = accept(&mut opened, &target, reason).await;
    let mut accepted = match accepted {
        Ok(accepted) => accepted,
        Err(refused) => return Err(give_up(opened, refused).await?),
    };
    opened.publish().await?;
    opened.anchor(environment, &workspace, &target).await?;
    accepted.log_size = opened.recorder.log.head().size;
    accepted.recovered = std::mem::take(&mut opened.recovered);
    opened.close().await;
    Ok(accepted)
}

async fn accept(
    opened: &mut Opened<'_>,
    target: &Target,
    reason: &str,
) -> Result<AcceptedDrift, Failure> {
    let expected_major = opened.recovery().schema.map(|picture| picture.server_major);
    let (mut objects, mut not_compared, mut before) = (Vec::new(), None, None);
    let found = match opened.compare_schema(target).await {
        // The schema of another major version is taken as it is: that is what is accepted.
        Err(Failure::Target(TargetFailure::OtherMajor { .. })) => {
            opened.live_schema(&target.name).await?
        }
        Err(failure) => return Err(failure),
        Ok(Compared::Not { why, found, .. }) => {
            not_compared = Some(why);
            found
        }
        Ok(Compared::With(compared)) => {
            let Comparison { expected, found, objects: differing, .. } = *compared;
            (objects, before) = (differing, Some(expected));
            found
        }
    };
    let expected = found.fingerprint();
    let mut accepted = AcceptedDrift {
        target: target.name.clone(),
        reason: reason.to_owned(),
        objects,
        not_compared,
        expected_major,
        expected,
        count: found.len(),
        recorded: true,
        log_size: 0,
        recovered: Vec::new(),
    };
    let nothing_differs = before.is_some() && accepted.objects.is_empty();
    if nothing_differs && opened.recovery().drift.is_none() {
        accepted.recorded = false;
        return Ok(accepted);
    }
    let report = opened.keep_report(&accepted.objects).await?;
    let fact = DriftAccepted {
        differences: accepted.objects.len() as u64,
        expected_major,
        reason: reason.to_owned(),
        report,
        server_major: expected.server_major,
    };
    let placed = keep(&mut opened.recorder.log, before.as_ref(), found).await;
    let placed = placed.map_err(LogFailure::from)?;
    opened.record(vec![fact.into(), placed.event(None, None)]).await?;
    Ok(accepted)
}

/// Leaves the target as it is, and what was recorded signed.
pub(crate) async fn give_up(mut opened: Opened<'_>, why: Failure) -> Result<Failure, Failure> {
    opened.publish().await?;
    opened.close().await;
    Ok(why)
}
