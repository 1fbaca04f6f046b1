//! The journal of an emergency whose event log cannot be reached: a log of its own beside the workspace,
//! which stands on what the target's ledger says, and becomes part of the log as soon as both are here.
//!
//! The rows of the log it stands in for are not touched; its own name the journal until it is merged.
//! A journal is merged under the lock of its target, in three steps that each may be the last: its events
//! are durable in the log; its rows name the log, in one transaction; its folder has another name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use annals_event_store::{AppendError, EventStore, Layout, LogFiles, OpenError, ReadError};
use annals_event_store_postgres::{InstallError, StoreFault};
use annals_events::{
    BaselineAdopted, BreakGlassUsed, Digest, Direction, Draft, Event, EventId, LeafHash, Origin,
    Recorded, RunFinished, RunId, RunOutcome, RunStarted, WithoutSafeguard,
};
use annals_executor::{Interrupt, failpoint};
use annals_postgres::TakenOver;
use annals_projections::LedgerRow;

use crate::adoptable::{Accepted, of_ledger};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure, TargetFailure};
use crate::home::LogHome;
use crate::logs::ReadLog;
use crate::open::{self, Opened};
use crate::targets::Target;
use crate::wish::RolledGoal;
use crate::workspace::Workspace;

/// The folder of a workspace that holds journals.
pub(crate) const FOLDER: &str = "journal";

/// What stands between the name of a log and the digits of a journal that stands in for it.
const MARK: &str = "/journal-";

/// A journal that stands in for the log of a target.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) target: String,
    pub(crate) layout: Layout,
    pub(crate) origin: Origin,
    /// Events its signed head vouches for.
    signed: u64,
}

/// The log a journal of this name stands in for.
pub(crate) fn stands_for(origin: &str) -> Option<&str> {
    let (log, digits) = origin.rsplit_once(MARK)?;
    let is_number = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_number && log.contains('/')).then_some(log)
}

fn folder(workspace: &Workspace, target: &str) -> PathBuf {
    workspace.folder().join(FOLDER).join(target)
}

/// The journal of a target that is not part of its log yet, and all of its events.
pub(crate) async fn beside(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
) -> Result<Option<(Journal, Vec<Recorded>)>, Failure> {
    let layout = Layout::new(folder(workspace, &target.name));
    if environment.journal.is_some() || !layout.segments().exists() {
        return Ok(None);
    }
    let home = LogHome::Folder(layout.clone());
    let log = ReadLog { home, ring: target.ring()?, is_own: false };
    let mut events = Vec::new();
    let read = log.read(&mut |recorded, _| events.push(recorded.clone())).await?;
    // Its beginning was cut short: nobody has built on it.
    let Some(first) = events.first() else { return Ok(None) };
    read.check()?;
    let (target, origin) = (target.name.clone(), first.origin.clone());
    let signed = read.verification.as_ref().map_or(0, |verification| verification.signed);
    Ok(Some((Journal { target, layout, origin, signed }, events)))
}

/// Whether it is the log that is in the way of an emergency, not what it says.
pub(crate) fn is_log_away(failure: &Failure, target: &Target) -> bool {
    let fault_ends = |fault: &StoreFault| match fault {
        StoreFault::Connect(_) | StoreFault::ReadOnly => true,
        StoreFault::Server(fault) => fault.ends_session(),
        _ => false,
    };
    match failure {
        Failure::Log(log) => match log {
            LogFailure::Read(error) | LogFailure::Open(OpenError::Read(error)) => {
                matches!(error, ReadError::Io { .. } | ReadError::Missing(_))
            }
            LogFailure::Open(OpenError::Io { .. }) | LogFailure::Publish(_) => true,
            LogFailure::Append(error) => matches!(
                error,
                AppendError::Rejected(_) | AppendError::NotDurable(_) | AppendError::Stopped
            ),
            LogFailure::Store { fault, .. } => fault_ends(fault),
            LogFailure::Install { error, .. } => matches!(error, InstallError::Connect(_)),
            _ => false,
        },
        // Nothing is where it should be.
        Failure::Target(TargetFailure::LogElsewhere { origin, here: None, .. }) => {
            *origin == target.origin.as_str()
        }
        _ => false,
    }
}

/// Begins the journal of a target, or takes up the one that was begun: the surroundings in which it
/// stands in for the log. `None` where the ledger has nothing that could be taken back.
///
/// # Errors
///
/// When the target cannot be reached, or nothing can be written beside the workspace either.
pub(crate) async fn begin(
    environment: &Environment,
    workspace: &Workspace,
    away: &Target,
    why: &Failure,
    interrupt: &mut Interrupt,
) -> Result<Option<Environment>, Failure> {
    if away.ring()?.is_none() {
        return Err(LogFailure::NoPublicKey(away.public_path()).into());
    }
    let known = beside(environment, workspace, away).await?.map(|(journal, _)| journal);
    let journal = match known {
        Some(journal) => journal,
        None => Journal {
            target: away.name.clone(),
            layout: Layout::new(folder(workspace, &away.name)),
            origin: name_of(environment, away),
            signed: 0,
        },
    };
    let standing_in = Environment { journal: Some(journal), ..environment.clone() };
    let set = workspace.load()?;
    let target = Target::resolve(&standing_in, workspace, Some(&away.name))?;
    let mut session = open::reach(environment, workspace, &target, "annals/journal").await?.session;
    let ledger = open::read_ledger(&mut session, workspace).await?;
    session.close().await;
    if ledger.is_empty() {
        return Ok(None);
    }
    let run = environment.ids.run();
    let application = format!("annals/{run}");
    let opening = open::open_for(
        open::Purpose::Change,
        &standing_in,
        workspace,
        &target,
        &application,
        interrupt,
    );
    let opened = opening.await;
    let taken = match &opened {
        Ok(opened) => opened.recorder.log.origin() != &target.origin,
        Err(_) => {
            let there = beside(environment, workspace, away).await?;
            there.is_some_and(|(journal, _)| journal.origin != target.origin)
        }
    };
    if taken {
        // Somebody has begun one while the lock was waited for: that one is taken up.
        if let Ok(opened) = opened {
            opened.close().await;
        }
        return Box::pin(begin(environment, workspace, away, why, interrupt)).await;
    }
    let mut opened = opened?;
    if opened.history().changes().is_empty() {
        let ledger = opened.ledger.clone();
        let accepted = Accepted { versions: &[], all_differing: true };
        let adoptable = of_ledger(&mut opened.session, &target, &set, &ledger, &accepted).await?;
        let steps = adoptable.entries.len() as u64;
        let started = RunStarted { direction: Direction::Up, plan: adoptable.digest(), run, steps };
        let reason: String = format!("the event log cannot be reached: {why}");
        let reason: String = reason.chars().take(1000).collect();
        let entries = adoptable.entries.iter().zip(0..).map(|(entry, step)| {
            let reason = Some(reason.clone());
            Event::from(BaselineAdopted { reason, run, step, ..entry.clone() })
        });
        let outcome = RunOutcome::Succeeded;
        let finished = RunFinished { outcome, reason: None, run, steps_done: steps };
        let events = std::iter::once(started.into()).chain(entries).chain([finished.into()]);
        // In one: no row says of it that it has happened.
        opened.record(events.collect()).await?;
        opened.record_as_it_is(&target.name, Some(run), Vec::new()).await?;
        opened.compare();
        failpoint::hit("journal_begun");
    }
    opened.publish().await?;
    opened.close().await;
    Ok(Some(standing_in))
}

fn name_of(environment: &Environment, target: &Target) -> Origin {
    let digits = environment.ids.run().to_string().replace('-', "");
    let digits = &digits[digits.len() - 12..];
    let name = format!("{}{MARK}{digits}", target.origin);
    name.parse().expect("invariant: a log's name with hexadecimal digits is one")
}

/// How far an emergency goes without its log: to the last version that is known to be good, from the
/// log where it can still be read or from the journal itself; else to before the run that applied
/// something last.
pub(crate) async fn goal(
    away: &Target,
    standing_in: &Environment,
    workspace: &Workspace,
) -> Result<RolledGoal, Failure> {
    if let Ok(book) = open::read_book(away).await
        && let Some(version) = book.recovery.last_known_good
    {
        return Ok(RolledGoal::To(version));
    }
    let target = Target::resolve(standing_in, workspace, Some(&away.name))?;
    if open::read_book(&target).await?.recovery.last_known_good.is_some() {
        return Ok(RolledGoal::LastKnownGood);
    }
    let mut session = open::reach(standing_in, workspace, &target, "annals/journal").await?.session;
    let ledger = open::read_ledger(&mut session, workspace).await?;
    session.close().await;
    Ok(RolledGoal::Last(newest_run(&ledger)))
}

/// The rows of migrations that are applied, as the ledger says, in its order.
fn in_force(ledger: &[LedgerRow]) -> impl Iterator<Item = &LedgerRow> {
    let is_last = |row: &&LedgerRow| {
        let mut others = ledger.iter().filter(|other| other.version == row.version);
        row.direction == Direction::Up && others.all(|other| other.ordinal <= row.ordinal)
    };
    ledger.iter().filter(is_last)
}

/// How many migrations the run has applied that applied one last, and that still are.
fn newest_run(ledger: &[LedgerRow]) -> u64 {
    let newest = in_force(ledger).max_by_key(|row| (row.intent_seq, row.step));
    newest.map_or(0, |newest| in_force(ledger).filter(|row| row.run == newest.run).count() as u64)
}

/// What an emergency without its log would take back, were its journal begun now: the newest first.
/// Nothing is written.
pub(crate) async fn would_undo(
    environment: &Environment,
    workspace: &Workspace,
    away: &Target,
    goal: &RolledGoal,
) -> Result<Vec<LedgerRow>, Failure> {
    let mut session = open::reach(environment, workspace, away, "annals/journal").await?.session;
    let ledger = open::read_ledger(&mut session, workspace).await;
    session.close().await;
    let ledger = ledger?;
    let known_good = match (goal, open::read_book(away).await) {
        (RolledGoal::LastKnownGood, Ok(book)) => book.recovery.last_known_good,
        _ => None,
    };
    let goal = &known_good.map_or_else(|| goal.clone(), RolledGoal::To);
    let applied: Vec<&LedgerRow> = in_force(&ledger).collect();
    let kept = match goal {
        RolledGoal::To(version) if version.as_str() == "0" => 0,
        RolledGoal::To(version) => {
            let place = applied.iter().position(|row| row.version == *version);
            let unknown = || Failure::Argument {
                subject: version.to_string(),
                reason: "is not applied, as the target's ledger says".to_owned(),
            };
            place.ok_or_else(unknown)? + 1
        }
        RolledGoal::Last(count) => {
            applied.len().saturating_sub(usize::try_from(*count).unwrap_or(usize::MAX))
        }
        _ => applied.len().saturating_sub(newest_run(&ledger) as usize),
    };
    Ok(applied[kept..].iter().rev().map(|row| (*row).clone()).collect())
}

/// The surroundings in which a journal that was begun stands in for the log.
pub(crate) async fn begun(
    environment: &Environment,
    workspace: &Workspace,
    away: &Target,
) -> Result<Option<Environment>, Failure> {
    let known = beside(environment, workspace, away).await?;
    Ok(known.map(|(journal, _)| Environment { journal: Some(journal), ..environment.clone() }))
}

/// An emergency does not know what was applied at a time without its log.
pub(crate) fn refuse_time(goal: &RolledGoal) -> Result<(), Failure> {
    let RolledGoal::ToTime(at) = goal else { return Ok(()) };
    let reason = "what was applied then is not known without the log: say how far with --to \
                  VERSION or --last COUNT";
    let subject = format!("the time {}", at.to_human());
    Err(Failure::Argument { subject, reason: reason.to_owned() })
}

/// Whether an event of a journal becomes one of the log: what made the journal does not.
fn is_news(event: &Event, adoptions: &[RunId]) -> bool {
    match event {
        Event::LogCreated(_)
        | Event::TargetRegistered(_)
        | Event::BaselineAdopted(_)
        | Event::CheckpointAnchored(_)
        | Event::TailRepaired(_) => false,
        Event::RunStarted(started) => !adoptions.contains(&started.run),
        Event::RunFinished(finished) => !adoptions.contains(&finished.run),
        _ => true,
    }
}

/// Makes a journal part of the log: its events, its rows in the ledger, its name.
pub(crate) async fn merge(
    opened: &mut Opened<'_>,
    workspace: &Workspace,
    target: &Target,
    (journal, events): (&Journal, &[Recorded]),
    rows: &[LedgerRow],
) -> Result<(), Failure> {
    let log = target.origin.as_str();
    if stands_for(journal.origin.as_str()) != Some(log) {
        if rows.is_empty() {
            // Its rows were taken over, with those of the log it stood in for.
            let kept = put_away(workspace, journal, "left")?;
            tracing::warn!(
                "the journal of an emergency, left behind by annals adopt, is kept in {}",
                kept.display()
            );
            return Ok(());
        }
        let place = journal.layout.root().display().to_string();
        let reason =
            format!("it is the journal {}, which does not stand in for {log}", journal.origin);
        return Err(LogFailure::Damaged { place, reason }.into());
    }
    let adoptions: Vec<RunId> = events
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::BaselineAdopted(adopted) => Some(adopted.run),
            _ => None,
        })
        .collect();
    let news: Vec<&Recorded> =
        events.iter().filter(|recorded| is_news(&recorded.event, &adoptions)).collect();
    let digest = digest(journal)?;
    let (from, count) = match opened.book().journals.get(&digest) {
        Some(seq) => (seq.0, news.len()),
        None => {
            // Of a journal that went on after a merge was cut short, the beginning is there.
            let known = places(target, &news).await?;
            let mut missing = news.clone();
            missing.retain(|recorded| !known.contains_key(&recorded.id));
            let from = append(opened, journal, &missing, digest, &adoptions).await?;
            (from, missing.len())
        }
    };
    failpoint::hit("journal_in_log");
    let places = places(target, &news).await?;
    let mut moved = Vec::new();
    for row in rows {
        let intent = events.iter().find(|recorded| recorded.leaf == row.intent_hash);
        let place = intent.and_then(|recorded| places.get(&recorded.id));
        let Some((intent_seq, intent_hash)) = place.copied() else {
            let place = journal.layout.root().display().to_string();
            let reason = format!(
                "the ledger has change {} of version {}, which it does not announce",
                row.ordinal, row.version
            );
            return Err(LogFailure::Damaged { place, reason }.into());
        };
        let (run, step, file_raw) = (row.run, row.step, row.file_raw);
        let log_origin = log;
        moved.push(TakenOver { row, run, step, log_origin, intent_seq, intent_hash, file_raw });
    }
    if !moved.is_empty() {
        let name = &workspace.config().workspace;
        opened.session.take_over(name, &moved).await.map_err(open::fault(target))?;
    }
    failpoint::hit("journal_in_ledger");
    opened.ledger = open::read_ledger(&mut opened.session, workspace).await?;
    opened.compare();
    opened.publish().await?;
    let kept = put_away(workspace, journal, "merged")?;
    let unsigned = (events.len() as u64).saturating_sub(journal.signed);
    if unsigned > 0 {
        tracing::warn!(
            "{unsigned} of its events were behind its signed head: whoever wrote them was cut short, or \
             somebody has added lines that link"
        );
    }
    tracing::warn!(
        "an emergency went without this log: its journal is events {from} to {} now, and is kept in {} \
         (SHA-256 {digest}); somebody else must look at it: annals status",
        from + count as u64,
        kept.display()
    );
    Ok(())
}

/// SHA-256 of its lines.
fn digest(journal: &Journal) -> Result<Digest, Failure> {
    let files = LogFiles::find(&journal.layout).map_err(LogFailure::from)?;
    let mut lines = Vec::new();
    for (_, path) in &files.segments {
        let read = std::fs::read(path);
        let path = path.clone();
        lines.extend(read.map_err(|source| LogFailure::from(ReadError::Io { path, source }))?);
    }
    Ok(Digest::of(&lines))
}

/// Appends the events, in one write, behind one that says where they come from.
async fn append(
    opened: &mut Opened<'_>,
    journal: &Journal,
    news: &[&Recorded],
    digest: Digest,
    adoptions: &[RunId],
) -> Result<u64, Failure> {
    for blob in news.iter().filter_map(|recorded| recorded.event.blob()) {
        let content = journal.layout.get_blob(&blob).map_err(LogFailure::from)?;
        opened.recorder.log.put_blob(&content).await.map_err(LogFailure::from)?;
    }
    let mut runs = news.iter().filter_map(|recorded| match &recorded.event {
        Event::RunStarted(started) => Some(started.run),
        _ => None,
    });
    let run = runs.next_back().or(adoptions.first().copied());
    let reason = news.iter().find_map(|recorded| match &recorded.event {
        Event::EmergencyDeclared(declared) => Some(declared.reason.clone()),
        _ => None,
    });
    let used = BreakGlassUsed {
        journal: Some(digest),
        reason: reason.unwrap_or_else(|| "an emergency without its log".to_owned()),
        run: run.unwrap_or(RunId(uuid::Uuid::nil())),
        without: WithoutSafeguard::Log,
    };
    let incarnation = opened.book().incarnation;
    let first = news.first().copied();
    let used = opened.recorder.envelopes.draft(used.into());
    // Said by whoever went without the log, when that was.
    let used = match first {
        Some(first) => Draft {
            occurred_at: first.occurred_at,
            actor: first.actor.clone(),
            target: first.target.clone(),
            ..used
        },
        None => used,
    };
    let drafts = news.iter().map(|recorded| Draft {
        event: recorded.event.clone(),
        id: recorded.id,
        occurred_at: recorded.occurred_at,
        actor: recorded.actor.clone(),
        target: recorded.target.clone(),
        incarnation,
    });
    let drafts: Vec<Draft> = std::iter::once(Draft { incarnation, ..used }).chain(drafts).collect();
    let recorded = opened.recorder.append_drafts(&drafts).await.map_err(LogFailure::from)?;
    Ok(recorded.first().map_or(0, |first| first.seq.0))
}

/// Where the events of a journal are in the log.
async fn places(
    target: &Target,
    news: &[&Recorded],
) -> Result<BTreeMap<EventId, (u64, LeafHash)>, Failure> {
    let wanted: std::collections::BTreeSet<EventId> = news.iter().map(|event| event.id).collect();
    let mut found = BTreeMap::new();
    let mut note = |recorded: &Recorded, _: &[u8]| {
        if wanted.contains(&recorded.id) {
            found.insert(recorded.id, (recorded.seq.0, recorded.leaf));
        }
    };
    ReadLog::of_target(target)?.read(&mut note).await?;
    Ok(found)
}

/// Gives the folder of a journal another name: it stands in for nothing any more.
fn put_away(workspace: &Workspace, journal: &Journal, what: &str) -> Result<PathBuf, Failure> {
    let digits = journal.origin.as_str().rsplit_once(MARK).map_or("", |(_, digits)| digits);
    let kept = workspace.folder().join(FOLDER).join(format!("{}-{digits}-{what}", journal.target));
    let io = |source| {
        let path = journal.layout.root().to_owned();
        Failure::from(LogFailure::from(ReadError::Io { path, source }))
    };
    std::fs::rename(journal.layout.root(), &kept).map_err(io)?;
    Ok(kept)
}
