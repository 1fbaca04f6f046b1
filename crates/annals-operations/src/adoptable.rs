//! What could be adopted: the entries, what stands in the way, and the fingerprint of it all.

use std::path::Path;

use annals_events::{
    AdoptedRow, AdoptionBasis, AdoptionEvidence, BaselineAdopted, Digest, Direction, EarlierChange,
    FileRef, FileStanding, ParentLog, RunId, Version,
};
use annals_migrations::{Migration, MigrationSet, SourceFile};
use annals_postgres::{
    Fate, KeptHead, Session, SupabaseRow, TransactionStatus, head_of_rows, read_schema,
};
use annals_projections::{Change, LedgerRow};

use crate::book::Book;
use crate::diverged::{Divergence, LostChange};
use crate::error::Failure;
use crate::open;
use crate::targets::Target;

/// What may be adopted, as it is shown and as it is compared again under the lock.
pub(crate) struct Adoptable {
    pub(crate) basis: AdoptionBasis,
    /// Without run, place and reason.
    pub(crate) entries: Vec<BaselineAdopted>,
    /// What stands in the way, each with what to do.
    pub(crate) refusals: Vec<String>,
    /// The live schema, as a digest: part of the fingerprint.
    schema: Digest,
}

/// Which differences a person has accepted by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accepted<'a> {
    pub(crate) versions: &'a [Version],
    pub(crate) all_differing: bool,
}

impl Accepted<'_> {
    fn holds(&self, version: &Version) -> bool {
        self.all_differing || self.versions.contains(version)
    }
}

/// The place of an entry before its adoption has begun.
const NOBODY: RunId = RunId(uuid::Uuid::nil());

impl Adoptable {
    /// Eight hexadecimal digits over entries and live schema: what a person confirms.
    pub(crate) fn fingerprint(&self) -> String {
        self.digest().short(8).to_string()
    }

    /// The whole of it.
    pub(crate) fn digest(&self) -> Digest {
        let mut entries = self.entries.clone();
        for entry in entries.iter_mut().filter(|entry| entry.basis == AdoptionBasis::Lost) {
            // A server that goes on working gives out the lost transactions' numbers again.
            entry.evidence.transaction_status = None;
            entry.evidence.found.clear();
        }
        let entries = serde_json::to_string(&entries).expect("entries have string keys only");
        let all = format!("annals adoption 1\n{}\n{}\n{entries}", self.basis, self.schema);
        Digest::of(all.as_bytes())
    }
}

async fn schema(session: &mut Session, target: &Target) -> Result<Digest, Failure> {
    let live = read_schema(session, &target.scope).await.map_err(open::fault(target))?;
    Ok(live.fingerprint().digest)
}

fn entry(
    (version, name): (&Version, &str),
    (direction, ordinal): (Direction, u64),
    (file, rollback): (FileRef, Option<FileRef>),
    (standing, found): (FileStanding, String),
) -> BaselineAdopted {
    BaselineAdopted {
        basis: AdoptionBasis::Declared,
        direction,
        evidence: Box::new(AdoptionEvidence {
            file: standing,
            found,
            row: None,
            timeline: None,
            timeline_then: None,
            transaction_status: None,
        }),
        file,
        holds: true,
        name: name.to_owned(),
        ordinal,
        parent: None,
        reason: None,
        remains: None,
        rollback: rollback.map(Box::new),
        run: NOBODY,
        step: 0,
        version: version.clone(),
    }
}

fn rollback_of(migration: &Migration) -> Option<FileRef> {
    migration.down.as_ref().map(SourceFile::reference)
}

/// The rows another log has left.
pub(crate) async fn of_ledger(
    session: &mut Session,
    target: &Target,
    set: &MigrationSet,
    ledger: &[LedgerRow],
    accepted: &Accepted<'_>,
) -> Result<Adoptable, Failure> {
    let timeline = session.timeline().await.map_err(open::fault(target))?;
    let kept = session.kept_heads().await?;
    let mut refusals = Vec::new();
    let entries = ledger.iter().map(|row| {
        let is_last = ledger
            .iter()
            .all(|other| other.version != row.version || other.ordinal <= row.ordinal);
        let in_force = is_last && row.direction == Direction::Up;
        let mut entry = of_row(set, row, in_force);
        if entry.evidence.file == FileStanding::Differs && !accepted.holds(&row.version) {
            let version = &row.version;
            refusals.push(format!(
                "{version}_{}: the file here is not the one that ran; restore it, or take it as it is \
                 with --accept {version} and a --reason",
                row.name
            ));
        }
        entry.basis = AdoptionBasis::Ledger;
        entry.evidence.timeline = Some(timeline);
        entry.parent = parent_of(ledger, &kept, &row.log_origin).map(Box::new);
        entry
    });
    let entries = entries.collect();
    let schema = schema(session, target).await?;
    Ok(Adoptable { basis: AdoptionBasis::Ledger, entries, refusals, schema })
}

fn parent_of(ledger: &[LedgerRow], kept: &[KeptHead], origin: &str) -> Option<ParentLog> {
    let kept = kept.iter().find(|head| head.origin == origin).cloned();
    let newest = kept.into_iter().chain(head_of_rows(ledger, origin)).max_by_key(|head| head.size);
    newest.map(|KeptHead { origin, size, leaf }| ParentLog { leaf, origin, size })
}

fn of_row(set: &MigrationSet, row: &LedgerRow, in_force: bool) -> BaselineAdopted {
    let migration = set.get(&row.version);
    let local = migration.and_then(|migration| match row.direction {
        Direction::Up => Some(&migration.up),
        Direction::Down => migration.down.as_ref(),
    });
    let ran = |suffix: &str| FileRef {
        canonical: row.file_raw,
        name: format!("{}_{}{suffix}.sql", row.version, row.name),
        raw: row.file_raw,
    };
    let suffix = if row.direction == Direction::Up { "" } else { "_rollback" };
    let (standing, file) = match local {
        Some(file) if file.raw() == row.file_raw => (FileStanding::Identical, file.reference()),
        Some(file) if in_force => (FileStanding::Differs, file.reference()),
        None if in_force => (FileStanding::Missing, ran(suffix)),
        _ => (FileStanding::NotCompared, ran(suffix)),
    };
    let rollback = match row.direction {
        Direction::Up => migration.and_then(rollback_of),
        Direction::Down => None,
    };
    let found = format!(
        "ledger row of run {}, announced by event {} of {}",
        row.run, row.intent_seq, row.log_origin
    );
    let what = ((&row.version, row.name.as_str()), (row.direction, row.ordinal));
    let mut entry = entry(what.0, what.1, (file, rollback), (standing, found));
    entry.evidence.row = Some(AdoptedRow {
        file: row.file_raw,
        intent_hash: row.intent_hash,
        intent_seq: row.intent_seq,
        origin: row.log_origin.clone(),
        run: row.run,
        step: row.step,
        transaction: row.xid.clone(),
    });
    entry
}

/// Migrations up to and including `last`, on a person's word.
pub(crate) async fn of_baseline(
    session: &mut Session,
    target: &Target,
    set: &MigrationSet,
    last: &Version,
) -> Result<Adoptable, Failure> {
    let timeline = session.timeline().await.map_err(open::fault(target))?;
    let Some(place) = set.position(last) else {
        return Err(Failure::Argument {
            subject: format!("version {last}"),
            reason: "there is no such migration in this workspace".to_owned(),
        });
    };
    let entries = set.iter().take(place + 1).map(|migration| {
        let files = (migration.up.reference(), rollback_of(migration));
        let found = "declared as applied; nothing was run or compared".to_owned();
        let said = (FileStanding::NotCompared, found);
        let what = (&migration.version, migration.name.as_str());
        let mut entry = entry(what, (Direction::Up, 1), files, said);
        entry.evidence.timeline = Some(timeline);
        entry
    });
    let entries = entries.collect();
    let schema = schema(session, target).await?;
    Ok(Adoptable { basis: AdoptionBasis::Declared, entries, refusals: Vec::new(), schema })
}

/// The rows of `supabase_migrations.schema_migrations`.
pub(crate) async fn of_supabase(
    session: &mut Session,
    target: &Target,
    set: &MigrationSet,
    accepted: &Accepted<'_>,
) -> Result<Adoptable, Failure> {
    let timeline = session.timeline().await.map_err(open::fault(target))?;
    let rows = session.supabase_rows().await.map_err(open::fault(target))?;
    let (mut entries, mut refusals) = (Vec::new(), Vec::new());
    for row in &rows {
        let Ok(version) = row.version.parse::<Version>() else {
            refusals.push(format!(
                "version {:?} of supabase_migrations.schema_migrations: not a version annals reads \
                 (digits, or YYYYMMDD_HHMMSS)",
                row.version
            ));
            continue;
        };
        let mut entry = of_supabase_row(set, row, &version);
        let standing = entry.evidence.file;
        let unsure = matches!(standing, FileStanding::Differs | FileStanding::NotCompared);
        if unsure && !accepted.holds(&version) {
            let why = match standing {
                FileStanding::Differs => "the statements that ran are not those of the file",
                _ => "nothing says which statements ran",
            };
            refusals.push(format!(
                "{version}_{}: {why}; correct the file, or take it as it is with --accept {version} \
                 (or --accept-differing for all) and a --reason",
                entry.name
            ));
        }
        entry.basis = AdoptionBasis::Supabase;
        entry.evidence.timeline = Some(timeline);
        entries.push(entry);
    }
    let schema = schema(session, target).await?;
    Ok(Adoptable { basis: AdoptionBasis::Supabase, entries, refusals, schema })
}

fn of_supabase_row(set: &MigrationSet, row: &SupabaseRow, version: &Version) -> BaselineAdopted {
    let migration = set.get(version);
    let text = row.statements.as_ref().map(|statements| joined(statements));
    let ran = text.as_ref().and_then(|text| {
        let name = format!("{version}.sql");
        SourceFile::new(Path::new(&name), text.clone().into_bytes()).ok()
    });
    let name = match (migration, &row.name) {
        (Some(migration), _) => migration.name.clone(),
        (None, Some(name)) => name.clone(),
        (None, None) => String::new(),
    };
    let (standing, file) = match (migration, &ran) {
        (Some(here), Some(ran)) if here.up.canonical() == ran.canonical() => {
            (FileStanding::Identical, here.up.reference())
        }
        (Some(here), Some(_)) => (FileStanding::Differs, here.up.reference()),
        (Some(here), None) => (FileStanding::NotCompared, here.up.reference()),
        (None, ran) => {
            let nothing = Digest::of(b"");
            let (canonical, raw) =
                ran.as_ref().map_or((nothing, nothing), |ran| (ran.canonical(), ran.raw()));
            (
                FileStanding::Missing,
                FileRef { canonical, name: format!("{version}_{name}.sql"), raw },
            )
        }
    };
    let found = match (&row.statements, &text) {
        (Some(statements), Some(text)) => format!(
            "row of supabase_migrations.schema_migrations, {} statements, SHA-256 {}",
            statements.len(),
            Digest::of(text.as_bytes())
        ),
        _ => "row of supabase_migrations.schema_migrations, without statements".to_owned(),
    };
    let files = (file, migration.and_then(rollback_of));
    entry((version, &name), (Direction::Up, 1), files, (standing, found))
}

/// Statements as one text, each with its semicolon.
fn joined(statements: &[String]) -> String {
    let one = |statement: &String| {
        let bare = statement.trim_end();
        // A line of its own: the statement may end in a comment.
        if bare.ends_with(';') { format!("{bare}\n") } else { format!("{bare}\n;\n") }
    };
    statements.iter().filter(|statement| !statement.trim().is_empty()).map(one).collect()
}

/// What the target has lost, and what can be seen of each change.
pub(crate) async fn of_lost(
    session: &mut Session,
    target: &Target,
    book: &Book,
    divergence: Option<&Divergence>,
    expected: Option<&Digest>,
) -> Result<Adoptable, Failure> {
    let schema = schema(session, target).await?;
    let as_left = expected == Some(&schema);
    let (mut entries, mut refusals) = (Vec::new(), Vec::new());
    if let Some(divergence) = divergence {
        let lost: Vec<&Change> = divergence.lost.iter().map(|lost| &lost.change).collect();
        for change in &divergence.lost {
            match verdict(change, divergence.timeline, as_left) {
                Ok(holds) => {
                    let remains = remains(book, &lost, &change.change);
                    entries.push(of_change(change, divergence, (holds, as_left), remains));
                }
                Err(reason) => refusals.push(format!("{}: {reason}", change.id())),
            }
        }
    }
    Ok(Adoptable { basis: AdoptionBasis::Lost, entries, refusals, schema })
}

/// Whether a change without a ledger row is in effect all the same.
fn verdict(lost: &LostChange, timeline: u32, as_left: bool) -> Result<bool, String> {
    // On another timeline a transaction of the same number may be somebody else's.
    let same_timeline = lost.timeline_then == Some(timeline);
    match (same_timeline, lost.fate) {
        (false, _) | (true, Some(Fate::InTheFuture | Fate::Known(TransactionStatus::Aborted))) => {
            Ok(false)
        }
        (true, Some(Fate::Known(TransactionStatus::Committed))) if as_left => Ok(true),
        (true, Some(Fate::Known(TransactionStatus::InProgress))) => {
            Err("its transaction is still in progress: wait for its end".to_owned())
        }
        (true, fate) => Err(format!(
            "its ledger row is gone, but nothing shows whether its effect is: its transaction is {} on \
             the timeline it ran on, and the schema is {}; compare the database with a backup, and put \
             the row back or restore the database",
            fate.map_or("not known", Fate::as_str),
            if as_left { "as the last run left it" } else { "not as the last run left it" }
        )),
    }
}

/// What is left of a version without the changes that were lost.
fn remains(book: &Book, lost: &[&Change], change: &Change) -> Option<EarlierChange> {
    let is_lost = |other: &Change| {
        lost.iter().any(|lost| lost.version == other.version && lost.ordinal == other.ordinal)
    };
    let of_version = book.history.changes().iter().filter(|c| c.version == change.version);
    let last = of_version.filter(|other| !is_lost(other)).max_by_key(|other| other.ordinal)?;
    Some(as_earlier(last))
}

/// A change as an event keeps it.
pub(crate) fn as_earlier(last: &Change) -> EarlierChange {
    EarlierChange {
        at: last.at,
        by: last.by.clone(),
        direction: last.direction,
        duration_us: last.duration_us,
        file: last.file.clone(),
        intent_hash: last.intent_hash,
        intent_seq: last.intent_seq,
        name: last.name.clone(),
        ordinal: last.ordinal,
        rollback: last.rollback.clone(),
        run: last.key.run,
        seq: last.seq,
        step: last.key.step,
        transaction: last.transaction.clone(),
    }
}

fn of_change(
    lost: &LostChange,
    divergence: &Divergence,
    (holds, as_left): (bool, bool),
    remains: Option<EarlierChange>,
) -> BaselineAdopted {
    let change = &lost.change;
    let picture = match as_left {
        true => "the schema is as the last run left it",
        false => "the schema is not as the last run left it",
    };
    let found = match holds {
        true => {
            format!("no ledger row, its transaction committed on this very timeline, {picture}")
        }
        false => format!("{}, {picture}", lost.describe(divergence.timeline)),
    };
    let files = (change.file.clone(), change.rollback.clone());
    let what = (&change.version, change.name.as_str());
    let place = (change.direction, change.ordinal);
    let mut entry = entry(what, place, files, (FileStanding::NotCompared, found));
    entry.basis = AdoptionBasis::Lost;
    entry.holds = holds;
    entry.evidence.timeline = Some(divergence.timeline);
    entry.evidence.timeline_then = lost.timeline_then;
    entry.evidence.transaction_status = lost.fate.map(|fate| fate.as_str().to_owned());
    entry.remains = remains.filter(|_| !holds).map(Box::new);
    entry
}
