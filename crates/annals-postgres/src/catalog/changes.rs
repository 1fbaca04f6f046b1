//! What of the catalog has changed since it was read last.
//!
//! A row that was written since has an `xmin` no older than the oldest transaction that was running
//! then. A row that is gone is missed by its catalog's count: of the rows written before, fewer are
//! left than there were in all.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::prepared::{Query, execute};
use super::written::Tally;
use crate::fault::Fault;
use crate::session::Session;

/// What a catalog's rows belong to.
struct Watched {
    catalog: &'static str,
    /// The object a row belongs to: its own catalog, its OID.
    class: &'static str,
    id: &'static str,
    filter: &'static str,
    /// Its rows go without any other row of the object being written: which ones went is found out.
    goes_alone: bool,
    since: u32,
}

const fn watched(catalog: &'static str, class: &'static str, id: &'static str) -> Watched {
    Watched { catalog, class, id, filter: "true", goes_alone: false, since: 0 }
}

const fn alone(catalog: &'static str, class: &'static str, id: &'static str) -> Watched {
    Watched { goes_alone: true, ..watched(catalog, class, id) }
}

impl Watched {
    /// Whether its rows belong to what is neither a relation nor a function nor a type. A comment
    /// says by itself what it is on.
    fn is_around(&self) -> bool {
        !matches!(
            self.class,
            "'pg_class'::regclass" | "'pg_proc'::regclass" | "'pg_type'::regclass" | "t.classoid"
        )
    }
}

/// Queries that give nothing but for objects that have rows in a catalog whose rows go alone.
const NEEDS: &[(&str, &str)] = &[
    ("sequences", "pg_sequence"),
    ("constraints", "pg_constraint"),
    ("indexes", "pg_index"),
    ("triggers", "pg_trigger"),
    ("rules", "pg_rewrite"),
    ("policies", "pg_policy"),
    ("statistics", "pg_statistic_ext"),
    ("functions", "pg_proc"),
    ("domain_constraints", "pg_constraint"),
];

/// Members of extensions come and go with these rows.
const MEMBERS: usize = 0;

const WATCHED: &[Watched] = &[
    Watched {
        filter: "t.refclassid = 'pg_extension'::regclass AND t.deptype IN ('e', 'x')",
        ..watched("pg_depend", "'pg_extension'::regclass", "t.objid")
    },
    alone("pg_class", "'pg_class'::regclass", "t.oid"),
    Watched {
        filter: "t.attnum > 0",
        ..watched("pg_attribute", "'pg_class'::regclass", "t.attrelid")
    },
    watched("pg_attrdef", "'pg_class'::regclass", "t.adrelid"),
    alone("pg_index", "'pg_class'::regclass", "t.indrelid"),
    Watched {
        filter: "t.conrelid <> 0",
        ..alone("pg_constraint", "'pg_class'::regclass", "t.conrelid")
    },
    Watched {
        filter: "t.contypid <> 0",
        ..alone("pg_constraint", "'pg_type'::regclass", "t.contypid")
    },
    alone("pg_trigger", "'pg_class'::regclass", "t.tgrelid"),
    alone("pg_rewrite", "'pg_class'::regclass", "t.ev_class"),
    alone("pg_policy", "'pg_class'::regclass", "t.polrelid"),
    alone("pg_inherits", "'pg_class'::regclass", "t.inhrelid"),
    watched("pg_partitioned_table", "'pg_class'::regclass", "t.partrelid"),
    alone("pg_sequence", "'pg_class'::regclass", "t.seqrelid"),
    watched("pg_foreign_table", "'pg_class'::regclass", "t.ftrelid"),
    alone("pg_statistic_ext", "'pg_class'::regclass", "t.stxrelid"),
    alone("pg_type", "'pg_type'::regclass", "t.oid"),
    alone("pg_enum", "'pg_type'::regclass", "t.enumtypid"),
    watched("pg_range", "'pg_type'::regclass", "t.rngtypid"),
    alone("pg_proc", "'pg_proc'::regclass", "t.oid"),
    alone("pg_aggregate", "'pg_proc'::regclass", "t.aggfnoid"),
    Watched {
        filter: "(t.objoid >= 16384 OR t.classoid = 'pg_namespace'::regclass)",
        ..alone("pg_description", "t.classoid", "t.objoid")
    },
    // Which column a sequence belongs to.
    Watched {
        filter: "t.classid = 'pg_class'::regclass AND t.refclassid = 'pg_class'::regclass \
                 AND t.deptype IN ('a', 'i') AND t.refobjsubid > 0",
        ..alone("pg_depend", "'pg_class'::regclass", "t.objid")
    },
    watched("pg_namespace", "'pg_namespace'::regclass", "t.oid"),
    watched("pg_extension", "'pg_extension'::regclass", "t.oid"),
    watched("pg_language", "'pg_language'::regclass", "t.oid"),
    watched("pg_am", "'pg_am'::regclass", "t.oid"),
    watched("pg_collation", "'pg_collation'::regclass", "t.oid"),
    watched("pg_conversion", "'pg_conversion'::regclass", "t.oid"),
    watched("pg_foreign_data_wrapper", "'pg_foreign_data_wrapper'::regclass", "t.oid"),
    watched("pg_foreign_server", "'pg_foreign_server'::regclass", "t.oid"),
    watched("pg_operator", "'pg_operator'::regclass", "t.oid"),
    watched("pg_opfamily", "'pg_opfamily'::regclass", "t.oid"),
    watched("pg_opclass", "'pg_opclass'::regclass", "t.oid"),
    watched("pg_amop", "'pg_opfamily'::regclass", "t.amopfamily"),
    watched("pg_amproc", "'pg_opfamily'::regclass", "t.amprocfamily"),
    watched("pg_cast", "'pg_cast'::regclass", "t.oid"),
    watched("pg_transform", "'pg_transform'::regclass", "t.oid"),
    watched("pg_ts_parser", "'pg_ts_parser'::regclass", "t.oid"),
    watched("pg_ts_template", "'pg_ts_template'::regclass", "t.oid"),
    watched("pg_ts_dict", "'pg_ts_dict'::regclass", "t.oid"),
    watched("pg_ts_config", "'pg_ts_config'::regclass", "t.oid"),
    watched("pg_ts_config_map", "'pg_ts_config'::regclass", "t.mapcfg"),
    watched("pg_event_trigger", "'pg_event_trigger'::regclass", "t.oid"),
    watched("pg_publication", "'pg_publication'::regclass", "t.oid"),
    watched("pg_publication_rel", "'pg_publication'::regclass", "t.prpubid"),
    Watched {
        since: 15,
        ..watched("pg_publication_namespace", "'pg_publication'::regclass", "t.pnpubid")
    },
    watched("pg_seclabel", "'pg_publication'::regclass", "0"),
    watched("pg_shseclabel", "'pg_publication'::regclass", "0"),
    watched("pg_default_acl", "'pg_default_acl'::regclass", "t.oid"),
    watched("pg_shdescription", "'pg_database'::regclass", "0"),
    watched("pg_database", "'pg_database'::regclass", "0"),
    watched("pg_init_privs", "'pg_publication'::regclass", "0"),
    watched("pg_db_role_setting", "'pg_database'::regclass", "0"),
];

/// Names and facts of the cluster and of schemas: where they change, everything is read anew. Our own
/// schema appears with the first run, and nothing that is read can have named it before.
const SURROUNDINGS: &str = "SELECT md5(concat_ws('|', current_database(), \
     (SELECT string_agg(r.oid || '=' || r.rolname, ',' ORDER BY r.oid) FROM pg_roles r), \
     (SELECT string_agg(s.oid || '=' || s.spcname, ',' ORDER BY s.oid) FROM pg_tablespace s), \
     (SELECT string_agg(n.oid || '=' || n.nspname, ',' ORDER BY n.oid) FROM pg_namespace n \
      WHERE n.nspname !~ '^pg_(toast_)?temp_' AND n.nspname <> 'annals')))";

/// An object by its catalog and OID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) class: u32,
    pub(super) id: u32,
}

/// OIDs of `pg_class`, `pg_proc` and `pg_type`, the same on every server.
const UNITS: [u32; 3] = [1259, 1255, 1247];

impl Id {
    /// Whether it is neither a relation nor a function nor a type.
    fn is_around(&self) -> bool {
        !UNITS.contains(&self.class)
    }

    /// Whether it can be told what depends on it. Nothing says that of an object of the server
    /// itself; a schema, and what has no OID, has nothing that does unless its name changes.
    fn is_followed(&self) -> bool {
        self.id == 0 || self.id >= FIRST_NORMAL || self.id == PUBLIC_SCHEMA
    }
}

/// The catalog as it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Count {
    surroundings: String,
    /// The oldest transaction that was running.
    oldest: u32,
    /// Rows of each watched catalog, and for those that go alone what they belong to, sorted.
    catalogs: Vec<(u64, Vec<Id>)>,
    /// What cannot be counted is there: it is read each time.
    uncounted: bool,
    /// What an open transaction has written: it can be rolled back, and old rows come back then.
    suspects: BTreeSet<Id>,
    /// The same of what was removed from the surroundings.
    suspicious: bool,
    /// It was counted inside of such a transaction.
    inside: bool,
    /// That transaction, if it had written.
    transaction: Option<String>,
    /// What the session had written, where it is alone and goes on from here.
    pub(super) tally: Option<Tally>,
}

/// What has changed between two counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changes {
    /// Nothing.
    Nothing,
    /// Only what these are and what depends on them.
    Of {
        /// They.
        ids: BTreeSet<Id>,
        /// Whether what is neither a relation nor a function nor a type is among them.
        around: bool,
    },
    /// It cannot be told.
    Unclear,
}

/// A transaction this much older than the last is not compared any more.
const OLDEST: u32 = 1 << 30;

/// Below it are objects that came with the server; on those no dependence is recorded.
pub(super) const FIRST_NORMAL: u32 = 16_384;

fn select(at: usize, of: &Watched, which: &str) -> String {
    let Watched { catalog, class, id, filter, .. } = of;
    format!(
        "SELECT {at} AS at, count(*) AS rows, array_to_string(array_agg(\
         (({class})::oid::int8 << 32) | ({id})::oid::int8) FILTER (WHERE {which}), ',') AS ids \
         FROM pg_catalog.{catalog} t WHERE {filter}"
    )
}

/// Objects that did not come with the server, and schemas: those whose rows are remembered.
fn kept(of: &Watched) -> String {
    let Watched { class, id, .. } = of;
    format!("({id})::oid::int8 >= {FIRST_NORMAL} OR ({class})::oid = 'pg_namespace'::regclass")
}

/// Asks a catalog whose rows go alone for all that are kept; those written since `oldest` have a
/// minus sign.
fn all_and_fresh(at: usize, of: &Watched, oldest: &str) -> String {
    let Watched { catalog, class, id, filter, .. } = of;
    let kept = kept(of);
    // The age of the oldest is found once.
    format!(
        "SELECT {at} AS at, count(*) AS rows, array_to_string(array_agg(\
         CASE WHEN age(t.xmin) <= (SELECT age({oldest})) THEN -1 ELSE 1 END \
         * ((({class})::oid::int8 << 32) | ({id})::oid::int8)) \
         FILTER (WHERE {kept} OR age(t.xmin) <= (SELECT age({oldest}))), ',') AS ids \
         FROM pg_catalog.{catalog} t WHERE {filter}"
    )
}

/// The catalogs whose rows are watched, with what is read of them as a whole.
pub(super) fn catalogs(major: u32) -> impl Iterator<Item = &'static str> {
    let watched = WATCHED.iter().filter(move |of| of.since <= major).map(|of| of.catalog);
    watched.chain(CLUSTER.iter().chain(UNCOUNTED).copied())
}

/// The catalogs of [`SURROUNDINGS`].
const CLUSTER: &[&str] = &["pg_authid", "pg_tablespace", "pg_namespace", "pg_database"];

/// Catalogs whose objects are read whenever there are any, or one of them was written.
const UNCOUNTED: &[&str] = &["pg_subscription", "pg_user_mapping", "pg_seclabel"];

/// The watched catalogs this server has and this role may read.
fn readable(major: u32, settings: bool) -> impl Iterator<Item = (usize, &'static Watched)> {
    let readable = move |(_, of): &(usize, &Watched)| {
        of.since <= major && (settings || of.catalog != "pg_db_role_setting")
    };
    WATCHED.iter().enumerate().filter(readable)
}

/// What a message of counting asks besides: as of which transaction, and what surrounds it.
fn preamble(uncounted: &[&str]) -> String {
    let uncounted: Vec<String> =
        uncounted.iter().map(|from| format!("EXISTS (SELECT FROM {from})")).collect();
    let uncounted = if uncounted.is_empty() { "false".to_owned() } else { uncounted.join(" OR ") };
    format!(
        "SELECT -1 AS at, (pg_snapshot_xmin(pg_current_snapshot())::text::numeric % 4294967296)::int8 \
         AS rows, ({SURROUNDINGS}) || CASE WHEN {uncounted} THEN '+' ELSE '-' END AS ids"
    )
}

/// What is asked of a server.
pub(super) struct Asked<'a> {
    pub(super) major: u32,
    /// Whether settings may be read.
    pub(super) settings: bool,
    /// Readable catalogs whose rows do not say when they were written.
    pub(super) uncounted: &'a [&'static str],
    /// Whether the transaction has begun before, and may have written.
    pub(super) inside: bool,
    /// Whether the session has what [`Asked::queries`] names.
    pub(super) prepared: bool,
    /// The transaction that is open, if it has written.
    pub(super) transaction: Option<&'a str>,
    /// What the session has written, where nothing was rolled back or forgotten since the last count.
    pub(super) tally: Option<&'a Tally>,
}

impl Asked<'_> {
    /// What is asked again and again.
    pub(super) fn queries(&self) -> Vec<Query> {
        let fresh = Query { name: "fresh".to_owned(), types: "xid", text: fresh(self, "$1") };
        let alone = readable(self.major, self.settings).filter(|(_, of)| of.goes_alone);
        let alone = alone.map(|(at, of)| {
            let text = select(at, of, &kept(of));
            Query { name: format!("alone_{at}"), types: "", text }
        });
        let one = readable(self.major, self.settings).map(|(at, of)| {
            let text = match of.goes_alone {
                true => all_and_fresh(at, of, "$1"),
                false => select(at, of, "age(t.xmin) <= (SELECT age($1))"),
            };
            Query { name: format!("one_{at}"), types: "xid", text }
        });
        std::iter::once(fresh).chain(alone).chain(one).collect()
    }
}

/// Asks for the rows written since a transaction, an expression.
fn fresh(asked: &Asked<'_>, oldest: &str) -> String {
    let fresh = format!("age(t.xmin) <= (SELECT age({oldest}))");
    let mut sql = preamble(asked.uncounted);
    for (at, of) in readable(asked.major, asked.settings) {
        let _ = write!(sql, " UNION ALL {}", select(at, of, &fresh));
    }
    sql
}

impl Count {
    /// Counts everything.
    pub(super) async fn take(session: &mut Session, asked: &Asked<'_>) -> Result<Self, Fault> {
        let mut sql = preamble(asked.uncounted);
        for (at, of) in readable(asked.major, asked.settings) {
            // Of those that never go alone nothing but the number is kept.
            let which = if of.goes_alone { kept(of) } else { "false".to_owned() };
            let _ = write!(sql, " UNION ALL {}", select(at, of, &which));
        }
        let mut count = Self {
            surroundings: String::new(),
            oldest: 0,
            catalogs: vec![(0, Vec::new()); WATCHED.len()],
            uncounted: false,
            suspects: BTreeSet::new(),
            // What was removed before is not known.
            suspicious: asked.inside,
            inside: asked.inside,
            transaction: asked.transaction.map(str::to_owned),
            tally: None,
        };
        for row in &session.rows(&sql).await? {
            let (at, rows, ids) = read(row)?;
            match at {
                Some(at) => count.catalogs[at] = (rows, parse(ids)?),
                None => count.set_preamble(rows, ids),
            }
        }
        if asked.inside {
            for row in &session.rows(&count.fresh(asked)).await? {
                let (at, _, ids) = read(row)?;
                if at.is_some() {
                    count.suspects.extend(parse(ids)?);
                }
            }
        }
        Ok(count)
    }

    /// Asks for the rows written since.
    fn fresh(&self, asked: &Asked<'_>) -> String {
        let oldest = format!("'{}'::xid", self.oldest);
        if !asked.prepared {
            return fresh(asked, &oldest);
        }
        let mut sql = String::new();
        execute(&mut sql, "fresh", &oldest);
        sql
    }

    fn set_preamble(&mut self, oldest: u64, text: &str) {
        self.oldest = u32::try_from(oldest).unwrap_or_default();
        let (surroundings, uncounted) = text.split_at(text.len().saturating_sub(1));
        self.surroundings = surroundings.to_owned();
        self.uncounted = uncounted == "+";
    }

    /// What has changed since this count was taken; it is brought up to date.
    pub(super) async fn renew(
        &mut self,
        session: &mut Session,
        asked: &Asked<'_>,
    ) -> Result<Changes, Fault> {
        if let (Some(then), Some(now)) = (self.tally.take(), asked.tally)
            && asked.prepared
        {
            let written: BTreeSet<&'static str> = now.beyond(&then).collect();
            if !CLUSTER.iter().any(|catalog| written.contains(catalog)) {
                return self.renew_written(session, asked, &written).await;
            }
        }
        self.renew_all(session, asked).await
    }

    /// Looks at the catalogs the session has written to: nobody else writes, and nothing that was
    /// counted has been rolled back.
    async fn renew_written(
        &mut self,
        session: &mut Session,
        asked: &Asked<'_>,
        written: &BTreeSet<&str>,
    ) -> Result<Changes, Fault> {
        self.transaction = asked.transaction.map(str::to_owned);
        self.inside = asked.inside;
        let oldest = format!("'{}'::xid", self.oldest);
        let mut sql = String::new();
        for (at, of) in readable(asked.major, asked.settings) {
            if written.contains(of.catalog) {
                execute(&mut sql, &format!("one_{at}"), &oldest);
            }
        }
        let mut around = UNCOUNTED.iter().any(|catalog| written.contains(catalog));
        self.uncounted |= around;
        let (mut changed, mut something) = (BTreeSet::new(), around);
        let rows = if sql.is_empty() { Vec::new() } else { session.rows(&sql).await? };
        for row in &rows {
            let (Some(at), rows, ids) = read(row)? else { continue };
            let (of, then) = (&WATCHED[at], &self.catalogs[at]);
            let (ids, fresh) = match of.goes_alone {
                true => parse_signed(ids)?,
                false => (Vec::new(), parse(ids)?),
            };
            let gone = rows != then.0;
            if at == MEMBERS && (gone || !fresh.is_empty()) {
                return Ok(Changes::Unclear);
            }
            // What came with the server is not kept by name: that one of it is gone shows here.
            if of.goes_alone && rows - ids.len() as u64 != then.0 - then.1.len() as u64 {
                return Ok(Changes::Unclear);
            }
            let unlike = if of.goes_alone { unlike(&then.1, &ids) } else { Vec::new() };
            something |= gone || !fresh.is_empty() || !unlike.is_empty();
            around |= of.is_around() && gone;
            changed.extend(fresh);
            changed.extend(unlike);
            self.catalogs[at] = (rows, ids);
        }
        if !changed.iter().all(Id::is_followed) {
            return Ok(Changes::Unclear);
        }
        around |= changed.iter().any(Id::is_around);
        // Until it is committed all of it may be taken back.
        self.suspects.extend(changed.iter().copied());
        self.suspicious |= around;
        match something || around {
            true => Ok(Changes::Of { ids: changed, around }),
            false => Ok(Changes::Nothing),
        }
    }

    /// Whether a query can give anything for these units.
    pub(super) fn may_have(&self, query: &str, units: &[u32]) -> bool {
        let Some((_, catalog)) = NEEDS.iter().find(|(name, _)| *name == query) else {
            return true;
        };
        let of_it = WATCHED.iter().zip(&self.catalogs).filter(|(of, _)| of.catalog == *catalog);
        let mut lists = of_it.map(|(_, (_, ids))| ids);
        units.iter().any(|unit| *unit < FIRST_NORMAL)
            || lists.any(|ids| ids.iter().any(|id| units.contains(&id.id)))
    }

    /// The transaction was committed, and had written nothing since the last count if `oldest`, the
    /// oldest of those that may still write, is given.
    pub(super) fn committed(&mut self, oldest: Option<u32>) {
        self.suspects.clear();
        self.suspicious = false;
        self.transaction = None;
        self.oldest = oldest.unwrap_or(self.oldest);
    }

    /// Looks at every row.
    async fn renew_all(
        &mut self,
        session: &mut Session,
        asked: &Asked<'_>,
    ) -> Result<Changes, Fault> {
        let sql = self.fresh(asked);
        let old_suspects = std::mem::take(&mut self.suspects);
        let was_suspicious = std::mem::take(&mut self.suspicious);
        let (mut changed, mut around) = (BTreeSet::new(), false);
        let mut before = self.clone();
        // One row that came back and one that is gone leave a count as it was.
        let doubtful = asked.inside || self.inside;
        let (mut lost, mut something) = (Vec::new(), was_suspicious || !old_suspects.is_empty());
        for row in &session.rows(&sql).await? {
            let (at, rows, ids) = read(row)?;
            let Some(at) = at else {
                self.set_preamble(rows, ids);
                continue;
            };
            let ids = parse(ids)?;
            let left = rows.saturating_sub(ids.len() as u64);
            let gone = left != before.catalogs[at].0;
            if at == MEMBERS && (gone || !ids.is_empty()) {
                return Ok(Changes::Unclear);
            }
            something |= gone || !ids.is_empty();
            around |= gone && WATCHED[at].is_around();
            changed.extend(ids.iter().copied());
            if WATCHED[at].goes_alone && (gone || doubtful) {
                lost.push(at);
            } else if WATCHED[at].goes_alone {
                self.catalogs[at].1.extend(ids);
                self.catalogs[at].1.sort_unstable();
            }
            self.catalogs[at].0 = rows;
        }
        let aged = self.oldest.wrapping_sub(before.oldest) > OLDEST;
        if aged || self.surroundings != before.surroundings {
            return Ok(Changes::Unclear);
        }
        if !lost.is_empty() {
            let mut sql = String::new();
            for at in &lost {
                match asked.prepared {
                    true => execute(&mut sql, &format!("alone_{at}"), ""),
                    false => {
                        let of = &WATCHED[*at];
                        let _ = writeln!(sql, "{};", select(*at, of, &kept(of)));
                    }
                }
            }
            for row in &session.rows(&sql).await? {
                let (Some(at), rows, ids) = read(row)? else { continue };
                let now = parse(ids)?;
                let then = std::mem::take(&mut before.catalogs[at].1);
                if rows - now.len() as u64 != before.catalogs[at].0 - then.len() as u64 {
                    return Ok(Changes::Unclear);
                }
                let unlike = unlike(&then, &now);
                something |= !unlike.is_empty();
                changed.extend(unlike);
                self.catalogs[at] = (rows, now);
            }
        }
        if !changed.iter().chain(&old_suspects).all(Id::is_followed) {
            return Ok(Changes::Unclear);
        }
        // Of a transaction that has ended nothing comes back once it was read anew.
        let goes_on =
            self.transaction.is_some() && self.transaction.as_deref() == asked.transaction;
        around |= self.uncounted || before.uncounted || changed.iter().any(Id::is_around);
        (self.inside, self.transaction) = (asked.inside, asked.transaction.map(str::to_owned));
        if asked.inside {
            self.suspects.clone_from(&changed);
            self.suspicious = around || (goes_on && was_suspicious);
            if goes_on {
                self.suspects.extend(old_suspects.iter().copied());
            }
        }
        around |= was_suspicious || old_suspects.iter().any(Id::is_around);
        changed.extend(old_suspects);
        match something || around {
            true => Ok(Changes::Of { ids: changed, around }),
            false => Ok(Changes::Nothing),
        }
    }
}

/// `public`, which may be granted on.
const PUBLIC_SCHEMA: u32 = 2200;

fn read(row: &PgRow) -> Result<(Option<usize>, u64, &str), Fault> {
    let at: i32 = row.try_get("at")?;
    let rows: i64 = row.try_get("rows")?;
    let ids: Option<&str> = row.try_get("ids")?;
    Ok((usize::try_from(at).ok(), u64::try_from(rows).unwrap_or_default(), ids.unwrap_or_default()))
}

fn parse(ids: &str) -> Result<Vec<Id>, Fault> {
    let id = |text: &str| {
        let both: u64 = text.parse().ok()?;
        Some(Id { class: u32::try_from(both >> 32).ok()?, id: (both & 0xffff_ffff) as u32 })
    };
    let ids = ids.split(',').filter(|text| !text.is_empty());
    let ids: Option<Vec<Id>> = ids.map(id).collect();
    let mut ids = ids.ok_or_else(|| Fault::Protocol("a catalog's objects".to_owned()))?;
    ids.sort_unstable();
    Ok(ids)
}

/// All that are kept, and those with a minus sign, sorted.
fn parse_signed(ids: &str) -> Result<(Vec<Id>, Vec<Id>), Fault> {
    let fresh = ids.split(',').filter_map(|text| text.strip_prefix('-'));
    let fresh = parse(&fresh.collect::<Vec<_>>().join(","))?;
    let mut all = parse(&ids.replace('-', ""))?;
    all.retain(|id| id.id >= FIRST_NORMAL || id.class == NAMESPACES);
    Ok((all, fresh))
}

/// OID of `pg_namespace`.
const NAMESPACES: u32 = 2615;

/// What two sorted lists do not have equally often.
fn unlike(then: &[Id], now: &[Id]) -> Vec<Id> {
    let (mut a, mut b) = (then.iter().peekable(), now.iter().peekable());
    let mut unlike = Vec::new();
    loop {
        match (a.peek(), b.peek()) {
            (None, None) => return unlike,
            (Some(x), Some(y)) if x == y => {
                a.next();
                b.next();
            }
            (Some(x), y) if y.is_none_or(|y| x < y) => unlike.extend(a.next().copied()),
            _ => unlike.extend(b.next().copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_equally_often_is_unlike() {
        let ids =
            |ids: &[u32]| -> Vec<Id> { ids.iter().map(|id| Id { class: 1, id: *id }).collect() };
        assert_eq!(unlike(&ids(&[1, 2, 2, 3]), &ids(&[2, 3, 4])), ids(&[1, 2, 4]));
        assert_eq!(unlike(&ids(&[]), &ids(&[5])), ids(&[5]));
        assert_eq!(unlike(&ids(&[5, 5]), &ids(&[5, 5])), []);
        let read = parse("5411658792962,5411658792961").unwrap();
        assert_eq!(read, [Id { class: 1260, id: 1 }, Id { class: 1260, id: 2 }]);
        assert!(parse("x").is_err());
    }

    #[test]
    fn members_of_extensions_are_the_first_that_is_watched() {
        assert!(WATCHED[MEMBERS].filter.contains("'e'"));
    }
}
