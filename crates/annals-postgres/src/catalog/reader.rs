//! The picture of a schema, brought up to date instead of taken anew.

use std::collections::{BTreeMap, BTreeSet};

use annals_schema::{ObjectKey, ObjectKind, Snapshot};
use sqlx::Row;

use super::changes::{Asked, Changes, Count, Id};
use super::prepared::{Prepared, Query, execute};
use super::queries::{Catalog, Group, Only, oids};
use super::rows::Read;
use super::written::{Follower, Said};
use super::{BEGIN, BEGIN_INSIDE, END_INSIDE, Opening, SchemaScope};
use super::{begin, begin_sql, fetch, is_a_race, note, read_groups, skipped};
use crate::fault::Fault;
use crate::session::Session;

const DEPENDENTS: &str = include_str!("dependents.sql");

/// With more units than this to be read again, all are.
const MANY: usize = 400;

/// Reads a schema again and again, and each time only what has changed, and what depends on it.
///
/// What it gives is what [`super::read_schema`] gives. Where it cannot tell what has changed it
/// reads everything: after another role, schema or tablespace has appeared or has another name,
/// after an extension was made or altered, after a grant on what belongs to the server.
#[derive(Debug)]
pub struct SchemaReader {
    scope: SchemaScope,
    last: Option<Picture>,
    full_reads: u64,
    /// Where sessions belong to nobody else, what is asked is prepared there.
    prepared: Option<Prepared>,
    /// Where nobody else writes, what the session has written is followed.
    follower: Option<Follower>,
}

/// The last picture.
#[derive(Debug)]
struct Picture {
    /// Of this database.
    database: String,
    count: Count,
    unreadable: Vec<ObjectKind>,
    snapshot: Snapshot,
    /// The objects of each unit.
    units: BTreeMap<(Group, u32), Vec<ObjectKey>>,
}

/// In which transaction is read.
#[derive(Clone, Copy)]
enum Place {
    /// One of its own.
    Own,
    /// The one that is open.
    Inside,
}

impl Place {
    const fn end(self) -> &'static str {
        match self {
            Self::Own => "ROLLBACK",
            Self::Inside => END_INSIDE,
        }
    }
}

impl SchemaReader {
    /// A reader that has read nothing yet.
    pub const fn new(scope: SchemaScope) -> Self {
        Self { scope, last: None, full_reads: 0, prepared: None, follower: None }
    }

    /// A reader that prepares its queries in the sessions it reads by: worth it near the server,
    /// and for many pictures. They stay there as prepared statements, `annals_catalog_…`.
    pub fn preparing(scope: SchemaScope) -> Self {
        Self { prepared: Some(Prepared::default()), ..Self::new(scope) }
    }

    /// As [`Self::preparing`], where the session is alone: nobody else changes the schema of its
    /// database or of the cluster, and it does not switch off and on again that the server counts
    /// what it writes. In transactions that follow upon each other by [`Self::turn`] nothing is
    /// looked at but the catalogs it has written to since the last picture.
    pub fn alone(scope: SchemaScope) -> Self {
        Self { follower: Some(Follower::new()), ..Self::preparing(scope) }
    }

    /// How often everything was read.
    pub const fn full_reads(&self) -> u64 {
        self.full_reads
    }

    /// The schema as it is now.
    ///
    /// # Errors
    ///
    /// As [`super::read_schema`].
    pub async fn read(&mut self, session: &mut Session) -> Result<Snapshot, Fault> {
        let mut attempt = 1;
        loop {
            match self.read_in(session, Place::Own).await {
                Err(fault) if attempt < super::ATTEMPTS && is_a_race(&fault) => attempt += 1,
                read => return read,
            }
        }
    }

    /// The schema as the open transaction sees it, which stays open.
    ///
    /// # Errors
    ///
    /// As [`super::read_schema_inside`].
    pub async fn read_inside(&mut self, session: &mut Session) -> Result<Snapshot, Fault> {
        self.read_in(session, Place::Inside).await
    }

    /// Commits the open transaction and begins another one, which goes on from the last picture.
    ///
    /// # Errors
    ///
    /// As [`Session::commit`]; there is no transaction then.
    pub async fn turn(&mut self, session: &mut Session) -> Result<(), Fault> {
        let tally = self.last.as_mut().and_then(|last| last.count.tally.take());
        let (Some(follower), Some(tally)) = (&self.follower, tally) else {
            return session.run("COMMIT; BEGIN").await;
        };
        let (goes_on, columns) = (follower.goes_on(), follower.columns());
        let (leave, reset) = (follower.leave(false), session.reset_sql());
        let sql = format!(
            "SELECT {goes_on}; COMMIT; BEGIN; SELECT pg_catalog.set_config('search_path', '', true); \
             SELECT {columns}; {leave}; {reset}"
        );
        let rows = session.rows(&sql).await?;
        session.note_reset();
        let [before, _, behind, _] = rows.as_slice() else {
            return Err(Fault::Protocol("the answers of a commit".to_owned()));
        };
        let behind = follower.said(behind)?;
        let goes_on: bool = before.try_get("goes_on")?;
        if let Some(last) = self.last.as_mut().filter(|_| goes_on) {
            // What a commit itself does is written behind the picture.
            let is_all = behind.tally.as_ref() == Some(&tally);
            last.count.committed(is_all.then_some(behind.oldest));
            last.count.tally = Some(tally);
        }
        Ok(())
    }

    /// Sends the beginning of the next picture with the next file of the transaction that is open,
    /// which ends with it: a message less.
    pub fn ride(&self, session: &mut Session) {
        session.rider.answer = None;
        session.rider.sql = self
            .follower
            .as_ref()
            .filter(|follower| follower.is_ready())
            .map(|follower| begin_sql(BEGIN_INSIDE, &follower.columns()));
    }

    async fn read_in(&mut self, session: &mut Session, place: Place) -> Result<Snapshot, Fault> {
        let began = std::mem::take(&mut session.rider).answer;
        let columns = match (&mut self.follower, place) {
            (Some(follower), Place::Inside) => {
                follower.get_ready(session, began.is_some()).await?;
                follower.columns()
            }
            _ => String::new(),
        };
        let opening = match (place, began) {
            (Place::Own, _) => {
                session.reset().await?;
                begin(session, BEGIN, "").await?
            }
            (Place::Inside, Some(began)) => Opening::read(Some(began))?,
            (Place::Inside, None) => begin(session, BEGIN_INSIDE, &columns).await?,
        };
        let said = match &self.follower {
            Some(follower) if !columns.is_empty() => follower.said(&opening.row)?,
            _ => Said::default(),
        };
        let last = self.last.take();
        let mut end = match (place, &self.follower) {
            (Place::Own, _) => "ROLLBACK".to_owned(),
            (Place::Inside, Some(follower)) => {
                let leave = follower.leave(said.goes_on);
                format!("{END_INSIDE}; {leave}; {}", session.reset_sql())
            }
            (Place::Inside, None) => END_INSIDE.to_owned(),
        };
        let read = self.bring_up_to_date(session, last, opening, (place, &mut end), &said).await;
        let mut ended = Ok(());
        if !end.is_empty() {
            ended = session.run(if read.is_ok() { &end } else { place.end() }).await;
        }
        let mut picture = read?;
        ended?;
        if matches!(place, Place::Inside) && self.follower.is_some() {
            session.note_reset();
        }
        picture.count.tally = said.tally;
        let snapshot = picture.snapshot.clone();
        self.last = Some(picture);
        Ok(snapshot)
    }

    /// Empties `end` where it was sent with the last queries.
    async fn bring_up_to_date(
        &mut self,
        session: &mut Session,
        last: Option<Picture>,
        opening: Opening,
        (place, end): (Place, &mut String),
        said: &Said,
    ) -> Result<Picture, Fault> {
        let inside = matches!(place, Place::Inside);
        let Opening { unreadable, mark, row: _ } = opening;
        let catalog = Catalog::new(session.facts().major(), &self.scope);
        let identity = &session.facts().identity;
        let database = format!("{}/{}", identity.system_identifier, identity.database);
        let may = |kind| !unreadable.contains(&kind);
        let uncounted: Vec<&'static str> = [
            (ObjectKind::Subscription, "pg_catalog.pg_subscription"),
            (ObjectKind::UserMapping, "pg_catalog.pg_user_mappings"),
        ]
        .into_iter()
        .filter_map(|(kind, from)| may(kind).then_some(from))
        // A label names what it is on; that has no dependence on it.
        .chain(["pg_catalog.pg_seclabel"])
        .collect();
        let major = session.facts().major();
        let settings = may(ObjectKind::Setting);
        let mut asked = Asked {
            major,
            settings,
            uncounted: &uncounted,
            inside,
            prepared: false,
            transaction: said.transaction.as_deref(),
            tally: said.tally.as_ref().filter(|_| said.goes_on),
        };
        if let Some(prepared) = &mut self.prepared {
            let from = format!("{major} {settings} {uncounted:?} {unreadable:?}");
            if !prepared.are_there(&from, mark.as_deref()) {
                let queries = queries(&catalog, &asked, &skipped(&unreadable));
                prepared.prepare(session, from, queries).await?;
            }
            asked.prepared = true;
        }
        let same = |last: &Picture| last.database == database && last.unreadable == unreadable;
        let mut counted = None;
        if let Some(mut last) = last.filter(same) {
            match last.count.renew(session, &asked).await? {
                Changes::Nothing => return Ok(last),
                Changes::Of { ids, around } => {
                    let units = dependents(session, &ids, around, asked.prepared).await?;
                    if let Some(units) = units {
                        let prepared = self.prepared.as_ref();
                        last.read_again(session, &catalog, &units, prepared, end).await?;
                        return Ok(last);
                    }
                    // Too many to be read one by one, but counted they are.
                    counted = Some(last.count);
                }
                Changes::Unclear => {}
            }
        }
        self.full_reads += 1;
        let count = match counted {
            Some(count) => count,
            None => Count::take(session, &asked).await?,
        };
        let read = read_groups(session, &catalog, &unreadable).await?;
        let mut picture = Picture {
            database,
            count,
            unreadable,
            snapshot: Snapshot::new(major, []),
            units: BTreeMap::new(),
        };
        picture.put(read, &BTreeSet::new());
        Ok(picture)
    }
}

/// Asks for the dependents of objects by their catalogs and OIDs, two arrays.
fn dependents_of(classes: &str, ids: &str) -> String {
    let start = format!(
        "SELECT v.class, v.id FROM unnest({classes}, {ids}) v (class, id) \
         WHERE v.class <> 'pg_namespace'::regclass"
    );
    DEPENDENTS.replacen("    @start", &start, 1)
}

/// Everything that is asked to bring a picture up to date.
fn queries(catalog: &Catalog, asked: &Asked<'_>, skipped: &[&str]) -> Vec<Query> {
    let mut queries = asked.queries();
    let (types, text) = ("oid[], oid[]", dependents_of("$1", "$2"));
    queries.push(Query { name: "dependents".to_owned(), types, text });
    let groups = [
        (Group::Relations, Only::Given, "oid[]"),
        (Group::Routines, Only::Given, "oid[]"),
        (Group::Surroundings, Only::All, ""),
    ];
    for (group, only, types) in groups {
        for (name, text) in catalog.each(group, only, skipped) {
            queries.push(Query { name: format!("{}_{name}", word(group)), types, text });
        }
    }
    queries
}

const fn word(group: Group) -> &'static str {
    match group {
        Group::Relations => "relations",
        Group::Routines => "routines",
        Group::Surroundings => "surroundings",
    }
}

/// What is to be read again.
#[derive(Debug, Default)]
struct Units {
    relations: BTreeSet<u32>,
    routines: BTreeSet<u32>,
    surroundings: bool,
}

/// The units of what has changed and of what depends on it; none if they are too many.
async fn dependents(
    session: &mut Session,
    changed: &BTreeSet<Id>,
    around: bool,
    prepared: bool,
) -> Result<Option<Units>, Fault> {
    if changed.len() > MANY {
        return Ok(None);
    }
    let mut units = Units { surroundings: around, ..Units::default() };
    // A schema is what everything in it depends on, for its name alone.
    let ids = changed.iter().filter(|id| id.id >= super::changes::FIRST_NORMAL);
    let (classes, ids): (Vec<u32>, Vec<u32>) = ids.map(|id| (id.class, id.id)).unzip();
    if ids.is_empty() {
        return Ok(Some(units));
    }
    let (classes, ids) = (oids(&classes), oids(&ids));
    let mut sql = String::new();
    match prepared {
        true => {
            // Plans are made once, and the catalog grows.
            sql.push_str("SET LOCAL enable_seqscan = off; ");
            execute(&mut sql, "dependents", &format!("{classes}, {ids}"));
        }
        false => sql = dependents_of(&classes, &ids),
    }
    for row in &session.rows(&sql).await? {
        let Some(id) = row.try_get::<Option<i64>, _>("id")? else {
            units.surroundings = true;
            continue;
        };
        let id = u32::try_from(id).map_err(|_| Fault::Protocol("an OID".to_owned()))?;
        let of = if row.try_get("routine")? { &mut units.routines } else { &mut units.relations };
        of.insert(id);
    }
    let few = units.relations.len() + units.routines.len() <= MANY;
    Ok(few.then_some(units))
}

impl Picture {
    /// Reads some units anew.
    async fn read_again(
        &mut self,
        session: &mut Session,
        catalog: &Catalog,
        again: &Units,
        prepared: Option<&Prepared>,
        end: &mut String,
    ) -> Result<(), Fault> {
        let ask = |sql: &mut String, group: Group, only: Only<'_>| {
            let Some(prepared) = prepared else {
                return sql.push_str(&catalog.queries(group, only, &skipped(&self.unreadable)));
            };
            let Only::Units(units) = only else {
                return prepared.of(word(group)).for_each(|name| execute(sql, name, ""));
            };
            for name in prepared.of(word(group)) {
                let rows_of = name.split_once('_').map_or("", |(_, name)| name);
                if self.count.may_have(rows_of, units) {
                    execute(sql, name, &oids(units));
                }
            }
        };
        let mut sql = String::new();
        let mut units = BTreeSet::new();
        for (group, ids) in
            [(Group::Relations, &again.relations), (Group::Routines, &again.routines)]
        {
            units.extend(ids.iter().map(|id| (group, *id)));
            let ids: Vec<u32> = ids.iter().copied().collect();
            if !ids.is_empty() {
                ask(&mut sql, group, Only::Units(&ids));
            }
        }
        if again.surroundings {
            units.insert((Group::Surroundings, 0));
            ask(&mut sql, Group::Surroundings, Only::All);
        }
        if units.is_empty() {
            return Ok(());
        }
        sql.push_str(end);
        let mut read = fetch(session, &sql).await?;
        end.clear();
        if again.surroundings {
            read.extend(self.unreadable.iter().map(|kind| note(*kind)));
        }
        self.put(read, &units);
        Ok(())
    }

    /// Puts what was read in the place of what the units were.
    fn put(&mut self, read: Vec<Read>, units: &BTreeSet<(Group, u32)>) {
        let old = units.iter().filter_map(|unit| self.units.remove(unit)).flatten();
        let old: BTreeSet<ObjectKey> = old.collect();
        for Read { group, unit, object } in &read {
            let key = ObjectKey { kind: object.kind, name: object.name.clone() };
            self.units.entry((*group, *unit)).or_default().push(key);
        }
        self.snapshot = self.snapshot.with(read.into_iter().map(|read| read.object), &old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dependents_are_asked_for_from_a_start() {
        assert_eq!(DEPENDENTS.matches("    @start").count(), 1);
    }
}
