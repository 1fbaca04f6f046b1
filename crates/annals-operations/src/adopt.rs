//! `adopt`: takes over what a target says of its migrations, with its evidence, on a person's word.
//!
//! First everything is shown; what is recorded is what was shown, or nothing. The events are durable
//! before the ledger is touched, the ledger is touched in one transaction, and the run that does it
//! counts once both have happened: whoever comes after a crash finds the rows of this run, or none.

use annals_events::{
    AdoptionBasis, BaselineAdopted, Direction, Event, FileStanding, Origin, ParentLog, Recorded,
    RunFinished, RunId, RunOutcome, RunStarted, Version,
};
use annals_executor::{Interrupt, failpoint};
use annals_migrations::MigrationSet;
use annals_postgres::{NewLedgerRow, Session, TakenOver};
use annals_projections::LedgerRow;

use crate::adoptable::{Accepted, Adoptable, of_baseline, of_ledger, of_lost, of_supabase};
use crate::book::Book;
use crate::diverged::divergence;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::open::{self, Opened, Purpose, Recovered};
use crate::targets::Target;
use crate::workspace::Workspace;

/// What is adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdoptFrom {
    /// What another log, lost or elsewhere, has left in the ledger.
    Ledger,
    /// That the target has lost what this log says took effect.
    Lost,
    /// Migrations up to this version, applied by hand or by another tool.
    Baseline(Version),
    /// What Supabase's own history says.
    Supabase,
}

/// How it is adopted.
#[derive(Debug, Clone)]
pub struct AdoptOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// What.
    pub from: AdoptFrom,
    /// Why.
    pub reason: Option<String>,
    /// The fingerprint of the list as it was shown.
    pub confirm: Option<String>,
    /// Versions whose file may differ from what ran.
    pub accept: Vec<Version>,
    /// Every file may.
    pub accept_differing: bool,
    /// Show, and record nothing.
    pub dry_run: bool,
}

/// One change of the list.
#[derive(Debug, Clone)]
pub struct AdoptionEntry {
    /// The version.
    pub version: Version,
    /// The migration's name.
    pub name: String,
    /// Which way.
    pub direction: Direction,
    /// Which change of this version.
    pub ordinal: u64,
    /// How the file here stands to it.
    pub file: FileStanding,
    /// Whether it is in effect in the target.
    pub holds: bool,
    /// What was looked at.
    pub found: String,
}

/// What was shown, and whether it is recorded.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The target.
    pub target: String,
    /// What it rests on.
    pub basis: AdoptionBasis,
    /// The list.
    pub entries: Vec<AdoptionEntry>,
    /// What stands in the way.
    pub refusals: Vec<String>,
    /// Names the list.
    pub fingerprint: String,
    /// The log it is, or would be, recorded in.
    pub origin: String,
    /// The log that is left behind.
    pub parent: Option<ParentLog>,
    /// The run that recorded it.
    pub recorded: Option<RunId>,
    /// Whether it is only to be shown.
    pub dry_run: bool,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
}

/// Shows what can be adopted, and records it where it is confirmed.
///
/// # Errors
///
/// When there is nothing to adopt, something stands in the way, or the list is not the one that was
/// confirmed: then nothing was recorded.
pub async fn adopt(
    environment: &Environment,
    options: &AdoptOptions,
    interrupt: &mut Interrupt,
) -> Result<Adoption, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let set = workspace.load()?;
    let mut target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let shown = show(environment, &workspace, &mut target, &set, options).await?;
    let view = view(&target, &shown, options, None, Vec::new());
    if options.dry_run {
        return Ok(view);
    }
    check_arguments(options, &shown)?;
    let Some(confirm) = &options.confirm else { return Ok(view) };
    check_confirmed(confirm, &shown)?;
    let run = environment.ids.run();
    let application = format!("annals/{run}");
    let purpose = match options.from {
        AdoptFrom::Ledger => Purpose::TakeOver,
        AdoptFrom::Lost | AdoptFrom::Baseline(_) | AdoptFrom::Supabase => Purpose::Change,
    };
    let mut opened =
        open::open_for(purpose, environment, &workspace, &target, &application, interrupt).await?;
    // Under the lock everything is looked at again: only what was confirmed is recorded.
    let (book, ledger) = (opened.recorder.book.clone(), opened.ledger.clone());
    let again = look_at(&mut opened.session, &target, &set, options, &book, &ledger).await;
    let confirmed = again.and_then(|again| check_confirmed(confirm, &again).map(|()| again));
    let adoptable = match confirmed {
        Ok(adoptable) => adoptable,
        Err(refused) => {
            opened.publish().await?;
            opened.close().await;
            return Err(refused);
        }
    };
    carry_out(&mut opened, &workspace, &target, run, &adoptable, options.reason.as_deref()).await?;
    opened.record_as_it_is(&target.name, Some(run), Vec::new()).await?;
    opened.publish().await?;
    opened.anchor(environment, &workspace, &target).await?;
    let recovered = std::mem::take(&mut opened.recovered);
    opened.close().await;
    Ok(self::view(&target, &adoptable, options, Some(run), recovered))
}

fn view(
    target: &Target,
    adoptable: &Adoptable,
    options: &AdoptOptions,
    recorded: Option<RunId>,
    recovered: Vec<Recovered>,
) -> Adoption {
    let entry = |entry: &BaselineAdopted| AdoptionEntry {
        version: entry.version.clone(),
        name: entry.name.clone(),
        direction: entry.direction,
        ordinal: entry.ordinal,
        file: entry.evidence.file,
        holds: entry.holds,
        found: entry.evidence.found.clone(),
    };
    Adoption {
        target: target.name.clone(),
        basis: adoptable.basis,
        entries: adoptable.entries.iter().map(entry).collect(),
        refusals: adoptable.refusals.clone(),
        fingerprint: adoptable.fingerprint(),
        origin: target.origin.to_string(),
        parent: adoptable.entries.iter().find_map(|entry| entry.parent.as_deref().cloned()),
        recorded,
        dry_run: options.dry_run,
        recovered,
    }
}

fn refused(reason: impl Into<String>) -> Failure {
    Failure::Argument { subject: "annals adopt".to_owned(), reason: reason.into() }
}

fn check_arguments(options: &AdoptOptions, shown: &Adoptable) -> Result<(), Failure> {
    if !shown.refusals.is_empty() {
        return Err(refused(shown.refusals.join("; ")));
    }
    let differs = |entry: &BaselineAdopted| {
        matches!(entry.evidence.file, FileStanding::Differs)
            || (shown.basis == AdoptionBasis::Supabase
                && entry.evidence.file == FileStanding::NotCompared)
    };
    let by_word = matches!(shown.basis, AdoptionBasis::Lost | AdoptionBasis::Declared);
    let needs_reason = by_word || shown.entries.iter().any(differs);
    let reason = options.reason.as_deref().unwrap_or_default().trim();
    if needs_reason && options.confirm.is_some() && reason.is_empty() {
        return Err(refused("say why, with --reason: it becomes part of the log"));
    }
    Ok(())
}

fn check_confirmed(confirm: &str, shown: &Adoptable) -> Result<(), Failure> {
    let fingerprint = shown.fingerprint();
    if confirm == fingerprint {
        return Ok(());
    }
    Err(refused(format!(
        "{confirm:?} does not confirm the list as it is now ({fingerprint}): ledger, schema or files \
         have changed since it was shown, or it was mistyped; look at it again with --dry-run"
    )))
}

/// The list, without the lock.
async fn show(
    environment: &Environment,
    workspace: &Workspace,
    target: &mut Target,
    set: &MigrationSet,
    options: &AdoptOptions,
) -> Result<Adoptable, Failure> {
    let application = "annals/adopt";
    if options.from == AdoptFrom::Ledger {
        let mut session = open::reach(environment, workspace, target, application).await?.session;
        let ledger = open::read_ledger(&mut session, workspace).await?;
        let book = open::read_book(target).await?;
        take_name(&mut session, target, &book, &ledger).await?;
        let shown = look_at(&mut session, target, set, options, &book, &ledger).await;
        session.close().await;
        return shown;
    }
    let look = open::look(environment, workspace, target, application).await?;
    look.session.close().await;
    open::check_log_is_whole(target, &look.ledger, &look.book)?;
    // The picture of the schema is taken in a transaction of its own.
    let mut session = open::reach(environment, workspace, target, application).await?.session;
    let shown = look_at(&mut session, target, set, options, &look.book, &look.ledger).await;
    session.close().await;
    shown
}

/// Gives the log that takes over a name no log of this target has had.
///
/// Two logs of one name and one key would be a fork: anchors and auditors could not tell them apart.
async fn take_name(
    session: &mut Session,
    target: &mut Target,
    book: &Book,
    ledger: &[LedgerRow],
) -> Result<(), Failure> {
    if ledger.is_empty() {
        return Err(refused(
            "the target's ledger has no rows of this workspace: there is no log to take over from. \
             What another tool has applied is adopted with --baseline or --from-supabase",
        ));
    }
    let kept = session.kept_heads().await?;
    let own = book.origin.as_str();
    if book.size > 0 && ledger.iter().any(|row| row.log_origin == own) {
        return Err(refused(format!(
            "the log the target was migrated with, {own:?}, is here: there is nothing to take over. An \
             older copy of it is not enough: fetch the newest; if that is lost for good, move {} aside \
             first",
            target.home().place()
        )));
    }
    if !book.history.changes().is_empty() {
        return Err(refused(format!(
            "the log in {} has changes of its own: it cannot take over from another one as well",
            target.home().place()
        )));
    }
    let used = |name: &str| {
        kept.iter().any(|head| head.origin == name) || ledger.iter().any(|r| r.log_origin == name)
    };
    if book.size > 0 || !used(target.origin.as_str()) {
        return Ok(());
    }
    let base = target.origin.to_string();
    let free = (2u32..).map(|n| format!("{base}/{n}")).find(|name| !used(name));
    let free: Origin = free
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| refused(format!("no name is left for a log that takes over from {base}")))?;
    if !target.take_origin(free) {
        return Err(refused(
            "a log that takes over is begun in a folder: set event_store = \"file\" for this target",
        ));
    }
    Ok(())
}

async fn look_at(
    session: &mut Session,
    target: &Target,
    set: &MigrationSet,
    options: &AdoptOptions,
    book: &Book,
    ledger: &[LedgerRow],
) -> Result<Adoptable, Failure> {
    let accepted = Accepted { versions: &options.accept, all_differing: options.accept_differing };
    let is_fresh = || match (ledger.first(), book.history.changes().first()) {
        (None, None) => Ok(()),
        (Some(row), _) => Err(refused(format!(
            "the target's ledger has {} rows already ({}_{} and others): annals has migrated it",
            ledger.len(),
            row.version,
            row.name
        ))),
        (None, Some(change)) => Err(refused(format!(
            "the log has changes already ({}), the target has none of them: see annals status",
            change.id()
        ))),
    };
    let adoptable = match &options.from {
        AdoptFrom::Ledger => {
            let own = target.origin.as_str();
            if ledger.iter().any(|row| row.log_origin == own) {
                return Err(refused(format!("{own:?} has taken over already: see annals status")));
            }
            of_ledger(session, target, set, ledger, &accepted).await?
        }
        AdoptFrom::Lost => {
            let mismatches = book.mismatches(ledger);
            let divergence = divergence(session, target, book, &mismatches).await?;
            let expected = book.recovery.schema.map(|picture| picture.fingerprint);
            of_lost(session, target, book, divergence.as_ref(), expected.as_ref()).await?
        }
        AdoptFrom::Baseline(last) => {
            is_fresh()?;
            of_baseline(session, target, set, last).await?
        }
        AdoptFrom::Supabase => {
            is_fresh()?;
            of_supabase(session, target, set, &accepted).await?
        }
    };
    if adoptable.entries.is_empty() && adoptable.refusals.is_empty() {
        return Err(refused(match adoptable.basis {
            AdoptionBasis::Lost => "the target has everything the log says took effect",
            AdoptionBasis::Supabase => "supabase_migrations.schema_migrations has no rows",
            AdoptionBasis::Ledger | AdoptionBasis::Declared | AdoptionBasis::Restored => {
                "there is nothing to adopt"
            }
        }));
    }
    Ok(adoptable)
}

/// Records the list, lets the ledger follow, and records that it did.
async fn carry_out(
    opened: &mut Opened<'_>,
    workspace: &Workspace,
    target: &Target,
    run: RunId,
    adoptable: &Adoptable,
    reason: Option<&str>,
) -> Result<(), Failure> {
    // As for a migration, the tables are there before anything is announced.
    opened.session.install_ledger().await?;
    let steps = adoptable.entries.len() as u64;
    let started = RunStarted { direction: Direction::Up, plan: adoptable.digest(), run, steps };
    let entries = adoptable.entries.iter().zip(0..).map(|(entry, step)| {
        let reason = reason.map(|reason| reason.trim().to_owned());
        Event::from(BaselineAdopted { reason, run, step, ..entry.clone() })
    });
    let events = std::iter::once(started.into()).chain(entries).collect();
    let recorded = opened.recorder.append(events).await.map_err(LogFailure::from)?;
    failpoint::hit("adoption_announced");
    let actor = opened.recorder.envelopes.actor().name.clone();
    let name = workspace.config().workspace.clone();
    let scene = Scene { workspace: &name, target, actor: &actor, run };
    // Where its answer is lost, whoever comes next finds the rows of this run, or none.
    follow(opened, &scene, adoptable, &recorded[1..]).await?;
    failpoint::hit("adoption_in_ledger");
    let outcome = RunOutcome::Succeeded;
    let finished = RunFinished { outcome, reason: None, run, steps_done: steps };
    opened.record(vec![finished.into()]).await?;
    failpoint::hit("adoption_ended");
    opened.ledger = open::read_ledger(&mut opened.session, workspace).await?;
    opened.compare();
    Ok(())
}

struct Scene<'a> {
    workspace: &'a str,
    target: &'a Target,
    actor: &'a str,
    run: RunId,
}

/// Changes the ledger as the events say, in one transaction.
async fn follow(
    opened: &mut Opened<'_>,
    scene: &Scene<'_>,
    adoptable: &Adoptable,
    recorded: &[Recorded],
) -> Result<(), Failure> {
    let fault = open::fault(scene.target);
    let origin = scene.target.origin.as_str();
    let entries = adoptable.entries.iter().zip(recorded);
    match adoptable.basis {
        AdoptionBasis::Ledger => {
            let ledger = opened.ledger.clone();
            let rows =
                entries.zip(&ledger).zip(0..).map(|(((entry, event), row), step)| TakenOver {
                    row,
                    run: scene.run,
                    step,
                    log_origin: origin,
                    intent_seq: event.seq.0,
                    intent_hash: event.leaf,
                    file_raw: entry.file.raw,
                });
            let rows: Vec<TakenOver<'_>> = rows.collect();
            opened.session.take_over(scene.workspace, &rows).await.map_err(fault)
        }
        AdoptionBasis::Declared | AdoptionBasis::Supabase => {
            let rows = entries.zip(0..).map(|((entry, event), step)| NewLedgerRow {
                workspace: scene.workspace,
                version: &entry.version,
                ordinal: entry.ordinal,
                direction: entry.direction,
                name: &entry.name,
                file_raw: entry.file.raw,
                run: scene.run,
                step,
                log_origin: origin,
                intent_seq: event.seq.0,
                intent_hash: event.leaf,
                actor: scene.actor,
            });
            let rows: Vec<NewLedgerRow<'_>> = rows.collect();
            opened.session.write_rows(&rows).await.map_err(fault)
        }
        AdoptionBasis::Lost => {
            let history = opened.recorder.book.history.clone();
            let holds = adoptable.entries.iter().filter(|entry| entry.holds);
            let known = holds.filter_map(|entry| {
                let mut changes = history.changes().iter();
                changes.find(|c| c.version == entry.version && c.ordinal == entry.ordinal)
            });
            let rows = known.map(|change| {
                let row = NewLedgerRow {
                    workspace: scene.workspace,
                    version: &change.version,
                    ordinal: change.ordinal,
                    direction: change.direction,
                    name: &change.name,
                    file_raw: change.file.raw,
                    run: change.key.run,
                    step: change.key.step,
                    log_origin: origin,
                    intent_seq: change.intent_seq.0,
                    intent_hash: change.intent_hash,
                    actor: &change.by,
                };
                (row, change.transaction.clone().unwrap_or_default())
            });
            let rows: Vec<(NewLedgerRow<'_>, String)> = rows.collect();
            if rows.is_empty() {
                return Ok(());
            }
            opened.session.put_back(&rows).await.map_err(fault)
        }
        // The rows came with the backup.
        AdoptionBasis::Restored => Ok(()),
    }
}
