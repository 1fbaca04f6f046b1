//! The picture of a schema, brought up to date instead of taken anew.

use std::collections::{BTreeMap, BTreeSet};

use annals_schema::{ObjectKey, ObjectKind, Snapshot};
use sqlx::Row;

use super::changes::{Asked, Changes, Count, Id};
use super::queries::{Catalog, Group, Only};
use super::rows::Read;
use super::{BEGIN, BEGIN_INSIDE, END_INSIDE, SchemaScope};
use super::{begin, fetch, is_a_race, note, read_groups, skipped};
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

impl SchemaReader {
    /// A reader that has read nothing yet.
    pub const fn new(scope: SchemaScope) -> Self {
        Self { scope, last: None, full_reads: 0 }
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

    async fn read_in(&mut self, session: &mut Session, place: Place) -> Result<Snapshot, Fault> {
        let unreadable = match place {
            Place::Own => {
                session.reset().await?;
                begin(session, BEGIN).await?
            }
            Place::Inside => begin(session, BEGIN_INSIDE).await?,
        };
        let last = self.last.take();
        let inside = matches!(place, Place::Inside);
        let read = self.bring_up_to_date(session, last, unreadable, inside).await;
        let ended = match place {
            Place::Own => session.roll_back().await,
            Place::Inside => session.run(END_INSIDE).await,
        };
        let picture = read?;
        ended?;
        let snapshot = picture.snapshot.clone();
        self.last = Some(picture);
        Ok(snapshot)
    }

    async fn bring_up_to_date(
        &mut self,
        session: &mut Session,
        last: Option<Picture>,
        unreadable: Vec<ObjectKind>,
        inside: bool,
    ) -> Result<Picture, Fault> {
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
        .collect();
        let major = session.facts().major();
        let settings = may(ObjectKind::Setting);
        let asked = Asked { major, settings, uncounted: &uncounted, inside };
        let same = |last: &Picture| last.database == database && last.unreadable == unreadable;
        let mut counted = None;
        if let Some(mut last) = last.filter(same) {
            match last.count.renew(session, &asked).await? {
                Changes::Nothing => return Ok(last),
                Changes::Of(changed) => {
                    if let Some(units) = dependents(session, &changed).await? {
                        last.read_again(session, &catalog, &units).await?;
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

/// Units to be read again: relations, routines.
type Units = (BTreeSet<u32>, BTreeSet<u32>);

/// The units of what has changed and of what depends on it; none if they are too many.
async fn dependents(session: &mut Session, changed: &BTreeSet<Id>) -> Result<Option<Units>, Fault> {
    if changed.len() > MANY {
        return Ok(None);
    }
    let (mut relations, mut routines) = (BTreeSet::new(), BTreeSet::new());
    // A schema is what everything in it depends on, for its name alone.
    let ids = changed.iter().filter(|id| id.id >= super::changes::FIRST_NORMAL);
    let ids: Vec<String> = ids.map(|id| format!("({}::oid, {}::oid)", id.class, id.id)).collect();
    if ids.is_empty() {
        return Ok(Some((relations, routines)));
    }
    let start = format!(
        "SELECT * FROM (VALUES {}) v (class, id) WHERE class <> 'pg_namespace'::regclass",
        ids.join(", ")
    );
    for row in &session.rows(&DEPENDENTS.replacen("    @start", &start, 1)).await? {
        let id: i64 = row.try_get("id")?;
        let id = u32::try_from(id).map_err(|_| Fault::Protocol("an OID".to_owned()))?;
        let units = if row.try_get("routine")? { &mut routines } else { &mut relations };
        units.insert(id);
    }
    let few = relations.len() + routines.len() <= MANY;
    Ok(few.then_some((relations, routines)))
}

impl Picture {
    /// Reads some units anew, and all that belongs to none.
    async fn read_again(
        &mut self,
        session: &mut Session,
        catalog: &Catalog,
        (relations, routines): &Units,
    ) -> Result<(), Fault> {
        let mut sql = String::new();
        let mut units = BTreeSet::from([(Group::Surroundings, 0)]);
        for (group, ids) in [(Group::Relations, relations), (Group::Routines, routines)] {
            units.extend(ids.iter().map(|id| (group, *id)));
            let ids: Vec<u32> = ids.iter().copied().collect();
            if !ids.is_empty() {
                sql.push_str(&catalog.queries(group, Only::Units(&ids), &[]));
            }
        }
        let skipped = skipped(&self.unreadable);
        sql.push_str(&catalog.queries(Group::Surroundings, Only::All, &skipped));
        let mut read = fetch(session, &sql).await?;
        read.extend(self.unreadable.iter().map(|kind| note(*kind)));
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
