//! One database on its way forward.
//!
//! Everything goes forward once. What can be undone by `ROLLBACK` is rehearsed
//! there, in transactions; that way concludes nothing but "all is well". Whatever else is seen there,
//! and what cannot run in a transaction, is rehearsed again as a run would do it, with commits, in
//! clones of the database as it was.

use std::collections::BTreeSet;

use annals_events::{Digest, ProofVerdict, Version};
use annals_migrations::Migration;
use annals_postgres::{SchemaReader, Session, SessionSettings, read_schema};
use annals_schema::Snapshot;

use crate::chain::{Below, Descent};
use crate::errand::{Eyes, check_alive};
use crate::group::{Group, Manner, Walk};
use crate::judge::{Likeness, Seen, judge};
use crate::place::{Place, RehearsalError};
use crate::rehearsal::{Item, RehearsalOptions};
use crate::relations::Relations;
use crate::report::{
    FileFailure, FileSeen, ObjectDifference, REPORT_FORMAT, RowsReport, StepProof, likeness,
};
use crate::sample::prepare_tables;
use crate::scale::{ScaleReport, at_scale};
use crate::touched::{Touched, with_rows};

/// The databases of a lane.
pub(crate) struct Names {
    /// The one that goes forward.
    pub(crate) main: String,
    clone: String,
    other: String,
}

impl Names {
    /// Those of lane `at`, from 0.
    pub(crate) fn of_lane(at: usize) -> Self {
        let lane = if at == 0 { String::new() } else { format!("_{}", at + 1) };
        let name = |end: &str| format!("annals_proof{lane}{end}");
        Self { main: name(""), clone: name("_clone"), other: name("_other") }
    }

    pub(crate) fn all(&self) -> [&str; 3] {
        [&self.main, &self.clone, &self.other]
    }
}

/// The largest group that is tried where a migration differs alone.
const LARGEST_GROUP: usize = 5;

const APPLICATION: &str = "annals/proof";

async fn connect<P: Place>(place: &P, database: &str) -> Result<Session, RehearsalError> {
    let settings = SessionSettings {
        lock_timeout_ms: 0,
        idle_in_transaction_ms: 0,
        ..SessionSettings::default()
    };
    let mut session = place.spec(database).connect(APPLICATION, &settings).await?;
    session.prepare_traces().await?;
    prepare_tables(&mut session).await?;
    Ok(session)
}

fn reader(options: &RehearsalOptions<'_>, alone: bool) -> SchemaReader {
    let scope = options.scope.clone();
    if alone { SchemaReader::alone(scope) } else { SchemaReader::preparing(scope) }
}

/// The main database on its way forward.
pub(crate) struct Stage<'p, 'a, P: Place> {
    place: &'p P,
    names: &'p Names,
    options: RehearsalOptions<'a>,
    /// None while somebody clones the database.
    session: Option<Session>,
    /// A transaction is open in which nothing has happened yet.
    open: bool,
    relations: Relations,
    /// Reads of the main database what has changed since it did so last.
    reader: SchemaReader,
    /// Whether nothing but the session writes.
    alone: bool,
    /// The schema as it is, where it has been read.
    now: Option<Snapshot>,
    /// Whether clones have left roles behind.
    pub(crate) has_dropped_roles: bool,
}

/// What was seen of a group that went up, down and up.
#[derive(Default)]
struct Sight {
    seen: Seen,
    up: Walk,
    down: Walk,
    after: Option<Digest>,
    differences: Vec<ObjectDifference>,
    again: Vec<ObjectDifference>,
    unstable: Vec<ObjectDifference>,
    failure: Option<FileFailure>,
    rows: Option<RowsReport>,
    /// For each member, where one asks for it.
    scale: Vec<ScaleReport>,
    notes: Vec<String>,
}

impl<'p, 'a, P: Place> Stage<'p, 'a, P> {
    /// A database that is there, as it is to begin with.
    pub(crate) fn new(
        place: &'p P,
        names: &'p Names,
        options: RehearsalOptions<'a>,
        alone: bool,
    ) -> Self {
        Self {
            place,
            names,
            relations: Relations::default(),
            reader: reader(&options, alone),
            alone,
            now: None,
            options,
            session: None,
            open: false,
            has_dropped_roles: false,
        }
    }

    /// The session, outside of transactions.
    pub(crate) async fn session(&mut self) -> Result<&mut Session, RehearsalError> {
        let open = std::mem::take(&mut self.open);
        let session = self.session_in(open).await?;
        if open {
            session.roll_back().await?;
        }
        Ok(session)
    }

    /// The session, in a transaction.
    async fn session_inside(&mut self) -> Result<&mut Session, RehearsalError> {
        let open = std::mem::replace(&mut self.open, true);
        let session = self.session_in(open).await?;
        if !open {
            session.run("BEGIN").await?;
        }
        Ok(session)
    }

    async fn session_in(&mut self, open: bool) -> Result<&mut Session, RehearsalError> {
        if self.session.is_none() {
            debug_assert!(!open, "invariant: a transaction is one of a session");
            self.session = Some(connect(self.place, &self.names.main).await?);
        }
        Ok(self.session.as_mut().expect("it was made above"))
    }

    /// The schema of the main database.
    pub(crate) async fn now(&mut self) -> Result<&Snapshot, RehearsalError> {
        if self.now.is_none() {
            let mut reader = self.take_reader();
            let session = self.session().await?;
            let (now, relations) = (reader.read(session).await?, Relations::read(session).await?);
            (self.reader, self.now, self.relations) = (reader, Some(now), relations);
        }
        Ok(self.now.as_ref().expect("it was read above"))
    }

    /// The reader of the main database. One that is not given back is replaced by a new one.
    fn take_reader(&mut self) -> SchemaReader {
        std::mem::replace(&mut self.reader, reader(&self.options, self.alone))
    }

    /// Takes a step down the chain.
    pub(crate) async fn step_down(
        &mut self,
        descent: &mut Descent,
        group: &Group<'_>,
    ) -> Result<Below, RehearsalError> {
        let mut reader = self.take_reader();
        let session = match descent.open {
            true => self.session_in(true).await?,
            false => self.session().await?,
        };
        let below = descent.step(session, &mut reader, group).await?;
        self.reader = reader;
        Ok(below)
    }

    pub(crate) async fn leave(&mut self) {
        self.open = false;
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Applies what only has to be there.
    pub(crate) async fn forward(&mut self, group: &Group<'_>) -> Result<(), RehearsalError> {
        let mut relations = std::mem::take(&mut self.relations);
        let session = self.session().await?;
        let up = group.up(session, Manner::Committing, Eyes::Closed, &mut relations).await?;
        self.now = None;
        match up.failure {
            None => Ok(()),
            Some(failure) => {
                let member = group.members[up.seen.len().saturating_sub(1)];
                let (version, name) = (member.version.clone(), member.name.clone());
                Err(RehearsalError::Before { version, name, reason: failure.to_string() })
            }
        }
    }

    /// Proves a group, and leaves the main database behind it; says whether it could.
    pub(crate) async fn prove(
        &mut self,
        group: &Group<'_>,
    ) -> Result<(Vec<StepProof>, bool), RehearsalError> {
        let before = self.now().await?.clone();
        let fast = match group.leads_back() && group.is_transactional() && group.test_rows.is_none()
        {
            true => self.in_transactions(group, &before).await?,
            false => None,
        };
        let (sight, applied) = match fast {
            Some(sight) => (sight, true),
            None => self.with_commits(group, &before).await?,
        };
        Ok((proofs(group, &before, sight), applied))
    }

    /// All of it in two transactions, or in one where rows are moved; nothing unless all is well.
    async fn in_transactions(
        &mut self,
        group: &Group<'_>,
        before: &Snapshot,
    ) -> Result<Option<Sight>, RehearsalError> {
        let (mut relations, mut reader) = (self.relations.clone(), self.take_reader());
        let session = self.session_inside().await?;
        let done = Self::inside(session, group, before, &mut relations, &mut reader).await?;
        let Some((sight, after)) = done else {
            self.reader = reader;
            self.session().await?;
            return Ok(None);
        };
        let committed = reader.turn(session).await;
        self.reader = reader;
        if let Err(fault) = committed {
            check_alive(&fault)?;
            self.open = false;
            return Ok(None);
        }
        (self.relations, self.now) = (relations, Some(after));
        Ok(Some(sight))
    }

    async fn inside(
        session: &mut Session,
        group: &Group<'_>,
        before: &Snapshot,
        relations: &mut Relations,
        reader: &mut SchemaReader,
    ) -> Result<Option<(Sight, Snapshot)>, RehearsalError> {
        let then = relations.clone();
        let ride = |reader: &SchemaReader, session: &mut Session| {
            if group.members.len() == 1 {
                reader.ride(session);
            }
        };
        ride(reader, session);
        let up = group.up(session, Manner::Inside, Eyes::Open, relations).await?;
        if up.failure.is_some() {
            return Ok(None);
        }
        let behind = relations.clone();
        let after = reader.read_inside(session).await?;
        ride(reader, session);
        let down = group.down(session, Manner::Inside, Eyes::Open, relations).await?;
        if down.failure.is_some() {
            return Ok(None);
        }
        let back = reader.read_inside(session).await?;
        if back != *before {
            return Ok(None);
        }
        if group.leaves_rows_alone() {
            // What is left is what was there: going on from it in another transaction shows whether
            // the file says the same each time.
            if let Err(fault) = reader.turn(session).await {
                check_alive(&fault)?;
                session.run("BEGIN").await?;
                return Ok(None);
            }
        }
        let touched = Touched::of(&then, &behind, &up, &down);
        let mut rows = None;
        if !touched.is_empty() {
            session.run("SAVEPOINT annals_step").await?;
            rows = with_rows(session, group, &touched, Manner::Inside).await?;
            session.run("ROLLBACK TO SAVEPOINT annals_step").await?;
        }
        if rows
            .as_ref()
            .is_some_and(|rows| rows.up_failure.is_some() || rows.down_failure.is_some())
        {
            return Ok(None);
        }
        ride(reader, session);
        let again = group.up(session, Manner::Inside, Eyes::Open, relations).await?;
        if again.failure.is_some() || reader.read_inside(session).await? != after {
            return Ok(None);
        }
        let seen = Seen {
            loses: rows.as_ref().is_some_and(|rows| !rows.lost.is_empty()),
            ..Seen::default()
        };
        let digest = Some(after.fingerprint().digest);
        Ok(Some((Sight { seen, up, down, after: digest, rows, ..Sight::default() }, after)))
    }

    /// As a run would do it, in clones.
    async fn with_commits(
        &mut self,
        group: &Group<'_>,
        before: &Snapshot,
    ) -> Result<(Sight, bool), RehearsalError> {
        let roles = self.roles().await?;
        self.leave().await;
        let sight = match self.in_clones(group, before).await {
            Ok(sight) => self.with_many_rows(group, sight).await,
            Err(error) => Err(error),
        };
        for database in [&self.names.clone, &self.names.other] {
            self.place.discard(database).await?;
        }
        self.drop_other_roles(&roles).await?;
        let mut sight = sight?;
        if sight.seen.up_fails {
            return Ok((sight, false));
        }
        let mut relations = Relations::default();
        let session = self.session().await?;
        let up = group.up(session, Manner::Committing, Eyes::Closed, &mut relations).await?;
        self.now = None;
        if let Some(failure) = up.failure {
            sight.notes.push(format!("it went up in a clone, and not here: {failure}"));
            sight.failure = Some(failure);
            sight.seen.up_fails = true;
            return Ok((sight, false));
        }
        Ok((sight, true))
    }

    /// Once more in a clone with as many rows as the files ask for.
    async fn with_many_rows(
        &mut self,
        group: &Group<'_>,
        mut sight: Sight,
    ) -> Result<Sight, RehearsalError> {
        let Some(asked) = group.test_rows.filter(|_| !sight.seen.up_fails) else {
            return Ok(sight);
        };
        self.place.discard(&self.names.other).await?;
        self.place.copy(&self.names.main, &self.names.other).await?;
        let mut session = connect(self.place, &self.names.other).await?;
        let work = async {
            // A copy has the numbers of what it was made from.
            let then = Relations::read(&mut session).await?;
            let names = Touched::of(&then, &then, &sight.up, &sight.down).before;
            at_scale(&mut session, group, &names, asked).await
        };
        let scale = work.await;
        session.close().await;
        sight.scale = scale?;
        if let Some(report) = sight.scale.first() {
            // A migration may fail for what the rows hold; a rollback must not.
            sight.seen.down_fails_with_rows |= report.failure.is_some() && report.down.is_some();
            if report.down.is_some() && sight.failure.is_none() {
                sight.failure = report.failure.clone();
            }
        }
        Ok(sight)
    }

    async fn in_clones(
        &mut self,
        group: &Group<'_>,
        before: &Snapshot,
    ) -> Result<Sight, RehearsalError> {
        self.place.copy(&self.names.main, &self.names.clone).await?;
        let mut session = connect(self.place, &self.names.clone).await?;
        let mut reader = SchemaReader::preparing(self.options.scope.clone());
        let then = Relations::read(&mut session).await?;
        let mut sight = Sight::default();
        let mut relations = then.clone();
        let work = async {
            sight.up =
                group.up(&mut session, Manner::Committing, Eyes::Open, &mut relations).await?;
            if let Some(failure) = sight.up.failure.clone() {
                (sight.seen.up_fails, sight.failure) = (true, Some(failure));
                return Ok(None);
            }
            let after = reader.read(&mut session).await?;
            sight.after = Some(after.fingerprint().digest);
            if group.irreversible.is_some() {
                sight.seen.irreversible = true;
                return Ok(None);
            }
            if !group.has_downs() {
                sight.seen.down_fails = true;
                sight.notes.push("there is no rollback".to_owned());
                return Ok(None);
            }
            let behind = Relations::read(&mut session).await?;
            sight.down =
                group.down(&mut session, Manner::Committing, Eyes::Open, &mut relations).await?;
            if let Some(failure) = sight.down.failure.clone() {
                (sight.seen.down_fails, sight.failure) = (true, Some(failure));
                return Ok(None);
            }
            let back = reader.read(&mut session).await?;
            sight.differences = ObjectDifference::between(before, &back);
            sight.seen.back = likeness(&sight.differences);
            let again =
                group.up(&mut session, Manner::Committing, Eyes::Closed, &mut relations).await?;
            match again.failure {
                Some(failure) => {
                    sight.seen.again_fails = true;
                    sight.notes.push(format!("going up again fails: {failure}"));
                    sight.failure = Some(failure);
                }
                None => {
                    let twice = reader.read(&mut session).await?;
                    sight.again = ObjectDifference::between(&after, &twice);
                }
            }
            Ok::<_, RehearsalError>(Some((after, behind)))
        };
        let went = work.await;
        session.close().await;
        let Some((after, behind)) = went? else { return Ok(sight) };
        if !sight.again.is_empty() {
            self.tell_unstable(group, &after, &mut sight).await?;
        }
        sight.seen.again = likeness(&sight.again);
        let touched = Touched::of(&then, &behind, &sight.up, &sight.down);
        if !touched.is_empty() {
            self.place.discard(&self.names.other).await?;
            self.place.copy(&self.names.main, &self.names.other).await?;
            let mut session = connect(self.place, &self.names.other).await?;
            let rows = with_rows(&mut session, group, &touched, Manner::Committing).await;
            session.close().await;
            sight.rows = rows?;
        }
        if let Some(rows) = &sight.rows {
            sight.seen.loses = !rows.lost.is_empty();
            sight.seen.down_fails_with_rows = rows.down_failure.is_some();
            if sight.failure.is_none() {
                sight.failure = rows.down_failure.clone();
            }
        }
        Ok(sight)
    }

    /// Applies the group once more where it was never applied: what differs then comes from the file
    /// itself.
    async fn tell_unstable(
        &mut self,
        group: &Group<'_>,
        after: &Snapshot,
        sight: &mut Sight,
    ) -> Result<(), RehearsalError> {
        self.place.discard(&self.names.other).await?;
        self.place.copy(&self.names.main, &self.names.other).await?;
        let mut session = connect(self.place, &self.names.other).await?;
        let mut relations = Relations::default();
        let up = group.up(&mut session, Manner::Committing, Eyes::Closed, &mut relations).await;
        let fresh = read_schema(&mut session, self.options.scope).await;
        session.close().await;
        up?;
        let differing = ObjectDifference::between(after, &fresh?);
        let names: BTreeSet<(&str, &str)> =
            differing.iter().map(|found| (found.kind, found.name.as_str())).collect();
        let (unstable, again) = std::mem::take(&mut sight.again)
            .into_iter()
            .partition(|found| names.contains(&(found.kind, found.name.as_str())));
        (sight.unstable, sight.again) = (unstable, again);
        if !sight.unstable.is_empty() {
            sight.notes.push(
                "the migration says something else each time it is applied: its own file, not the \
                 rollback, is why going up again differs"
                    .to_owned(),
            );
        }
        Ok(())
    }

    async fn roles(&mut self) -> Result<BTreeSet<String>, RehearsalError> {
        let names = "SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles";
        let rows = self.session().await?.texts(names).await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    /// Roles belong to the server: what clones have made of them goes with the clones.
    async fn drop_other_roles(&mut self, known: &BTreeSet<String>) -> Result<(), RehearsalError> {
        let now = self.roles().await?;
        for role in now.difference(known) {
            self.has_dropped_roles = true;
            self.session().await?.run(&format!("DROP ROLE {role}")).await?;
        }
        Ok(())
    }

    /// For each migration that differs alone: the smallest group of neighbours that does not.
    pub(crate) async fn find_groups(
        &mut self,
        items: &[Item<'_>],
        proven: &mut [StepProof],
    ) -> Result<(), RehearsalError> {
        self.leave().await;
        for proof in proven {
            let alone =
                matches!(proof.verdict, ProofVerdict::Differs | ProofVerdict::RollbackFails);
            if !alone || proof.group.len() > 1 {
                continue;
            }
            let of_it = |item: &Item<'_>| item.migration.version == proof.version;
            let Some(place) = items.iter().position(of_it) else { continue };
            if let Some(versions) = self.mirroring(items, place).await? {
                let names: Vec<String> = versions.iter().map(ToString::to_string).collect();
                proof.notes.push(format!(
                    "alone it does not lead back; {} together do, exactly: roll them back together",
                    names.join(", ")
                ));
                proof.verdict = ProofVerdict::Exact;
                proof.group = versions;
            }
        }
        Ok(())
    }

    async fn mirroring(
        &mut self,
        items: &[Item<'_>],
        place: usize,
    ) -> Result<Option<Vec<Version>>, RehearsalError> {
        for size in 2..=LARGEST_GROUP {
            for first in (place + 1).saturating_sub(size)..=place {
                let Some(window) = items.get(first..first + size).filter(|w| w.len() == size)
                else {
                    continue;
                };
                if place >= first + size || !window.iter().all(|item| item.prove) {
                    continue;
                }
                let members: Vec<&Migration> = window.iter().map(|item| item.migration).collect();
                let group = Group::new(&members, self.options.folder)?;
                if !group.leads_back() {
                    continue;
                }
                if self.mirrors(&items[..first], &group).await? {
                    return Ok(Some(group.versions()));
                }
            }
        }
        Ok(None)
    }

    /// Whether a group leads back to where it began, behind `earlier`.
    async fn mirrors(
        &mut self,
        earlier: &[Item<'_>],
        group: &Group<'_>,
    ) -> Result<bool, RehearsalError> {
        let scope = self.options.scope;
        self.place.discard(&self.names.clone).await?;
        self.place.copy(self.options.start, &self.names.clone).await?;
        let mut session = connect(self.place, &self.names.clone).await?;
        let (mut relations, eyes) = (Relations::default(), Eyes::Closed);
        let work = async {
            for item in earlier {
                let one = Group::new(&[item.migration], self.options.folder)?;
                one.up(&mut session, Manner::Committing, eyes, &mut relations).await?;
            }
            let before = read_schema(&mut session, scope).await?;
            let up = group.up(&mut session, Manner::Committing, eyes, &mut relations).await?;
            if up.failure.is_some() {
                return Ok(false);
            }
            let down = group.down(&mut session, Manner::Committing, eyes, &mut relations).await?;
            Ok::<_, RehearsalError>(
                down.failure.is_none() && read_schema(&mut session, scope).await? == before,
            )
        };
        let mirrors = work.await;
        session.close().await;
        self.place.discard(&self.names.clone).await?;
        mirrors
    }
}

/// One proof for each member of a group.
fn proofs(group: &Group<'_>, before: &Snapshot, sight: Sight) -> Vec<StepProof> {
    let verdict = judge(&sight.seen);
    let versions = group.versions();
    let fingerprint = before.fingerprint().digest;
    let failed = verdict == ProofVerdict::MigrationFails && sight.seen.up_fails;
    let notes = {
        let mut notes = sight.notes;
        if let Some(failure) = sight.rows.as_ref().and_then(|rows| rows.up_failure.as_ref()) {
            notes.push(format!("with sample rows the migration fails: {failure}"));
        }
        if sight.seen.back != Likeness::Differs && sight.seen.down_fails_with_rows {
            notes.push("it leads back on empty tables, and fails once there are rows".to_owned());
        }
        notes
    };
    let (ups, downs) = (sight.up.seen, sight.down.seen);
    let of = |seen: &[FileSeen], at: usize| seen.get(at).cloned().unwrap_or_default();
    group
        .members
        .iter()
        .enumerate()
        .map(|(at, member)| StepProof {
            format: REPORT_FORMAT,
            version: member.version.clone(),
            name: member.name.clone(),
            file: member.up.reference(),
            rollback: member.down.as_ref().map(annals_migrations::SourceFile::reference),
            server_major: before.server_major(),
            before: fingerprint,
            after: sight.after.filter(|_| !failed),
            verdict,
            group: versions.clone(),
            irreversible: group.irreversible.clone(),
            failure: sight.failure.clone(),
            differences: sight.differences.clone(),
            again: sight.again.clone(),
            unstable: sight.unstable.clone(),
            up: of(&ups, at),
            down: of(&downs, at),
            rows: sight.rows.clone(),
            chain: None,
            scale: sight.scale.get(at).cloned(),
            notes: notes
                .iter()
                .cloned()
                .chain(sight.scale.get(at).map(ScaleReport::sentence))
                .collect(),
        })
        .collect()
}
