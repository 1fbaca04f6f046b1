//! What a session has written to the catalogs, by the server's own count.
//!
//! A backend counts the rows it inserts, updates and deletes in each relation, those of transactions
//! that are rolled back too, and hands its counts over when it is idle outside of a transaction. So
//! two counts can be compared as long as there was always a transaction open: in one transaction, or
//! in several of which each began in the message the one before it was committed in.
//!
//! That it was so the server shows by itself. Behind each picture a cursor is left in the transaction:
//! it ends with it, and with a rollback to a savepoint from before the picture, behind which old rows
//! are back that nobody has counted. Where the cursor is gone, or the server does not count, nothing is
//! said, and every row is looked at.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::changes;
use crate::fault::Fault;
use crate::session::Session;

/// Of each catalog, in the order it was asked for: rows inserted, rows updated or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tally(Vec<(&'static str, u64, u64)>);

impl Tally {
    /// The catalogs written to since an earlier count.
    pub(super) fn beyond(&self, then: &Self) -> impl Iterator<Item = &'static str> {
        let both = self.0.iter().zip(&then.0);
        both.filter(|(now, then)| now != then).map(|(now, _)| now.0)
    }
}

/// What tells one reader's cursors from another's.
static READERS: AtomicU64 = AtomicU64::new(0);

/// Follows one session that is alone in its database.
#[derive(Debug)]
pub(super) struct Follower {
    cursor: String,
    catalogs: Vec<&'static str>,
    /// Their OIDs, once they were asked for.
    oids: Option<String>,
}

/// What a session says of itself when a picture begins.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// What it has written; none where the server does not count.
    pub(super) tally: Option<Tally>,
    /// Whether it goes on from the last picture.
    pub(super) goes_on: bool,
    /// Its transaction, if that has written.
    pub(super) transaction: Option<String>,
    /// The oldest transaction that may still write.
    pub(super) oldest: u32,
}

impl Follower {
    pub(super) fn new() -> Self {
        let cursor = format!("annals_picture_{}", READERS.fetch_add(1, Ordering::Relaxed));
        Self { cursor, catalogs: Vec::new(), oids: None }
    }

    /// Whether it knows the catalogs.
    pub(super) fn is_ready(&self) -> bool {
        self.oids.is_some()
    }

    /// Asks once which catalogs there are; whoever is asking already knows them.
    pub(super) async fn get_ready(
        &mut self,
        session: &mut Session,
        is_asking: bool,
    ) -> Result<(), Fault> {
        if is_asking || self.oids.is_some() {
            return Ok(());
        }
        let catalogs: BTreeSet<&'static str> = changes::catalogs(session.facts().major()).collect();
        self.catalogs = catalogs.into_iter().collect();
        let names: Vec<String> =
            self.catalogs.iter().map(|name| format!("pg_catalog.{name}")).collect();
        let sql = format!(
            "SELECT pg_catalog.array_to_string('{{{}}}'::pg_catalog.regclass[]::pg_catalog.oid[], \
             ',') AS oids",
            names.join(",")
        );
        let rows = session.rows(&sql).await?;
        let row = rows.first().ok_or_else(|| Fault::Protocol("no answer".to_owned()))?;
        self.oids = Some(row.try_get("oids")?);
        Ok(())
    }

    /// As a column: whether the cursor is there.
    pub(super) fn goes_on(&self) -> String {
        let cursor = &self.cursor;
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_cursors \
             WHERE name OPERATOR(pg_catalog.=) '{cursor}') AS goes_on"
        )
    }

    /// As columns: everything of [`Said`].
    pub(super) fn columns(&self) -> String {
        let (oids, goes_on) = (self.oids.as_deref().unwrap_or_default(), self.goes_on());
        format!(
            "CASE WHEN pg_catalog.current_setting('track_counts') = 'on' THEN \
             (SELECT pg_catalog.string_agg(pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) || ' ' \
             || pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) \
             + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid), ',' ORDER BY c.at) \
             FROM pg_catalog.unnest('{{{oids}}}'::pg_catalog.oid[]) WITH ORDINALITY c (oid, at)) END \
             AS tally, {goes_on}, \
             pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text AS transaction, \
             (pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text\
             ::pg_catalog.numeric % 4294967296)::pg_catalog.int8 AS oldest"
        )
    }

    /// Reads what [`Self::columns`] ask for.
    pub(super) fn said(&self, row: &PgRow) -> Result<Said, Fault> {
        let oldest: i64 = row.try_get("oldest")?;
        let tally: Option<&str> = row.try_get("tally")?;
        Ok(Said {
            tally: tally.map(|text| self.parse(text)).transpose()?,
            goes_on: row.try_get("goes_on")?,
            transaction: row.try_get("transaction")?,
            oldest: u32::try_from(oldest).unwrap_or_default(),
        })
    }

    fn parse(&self, text: &str) -> Result<Tally, Fault> {
        let counts = |(catalog, text): (&&'static str, &str)| {
            let (inserted, removed) = text.split_once(' ')?;
            Some((*catalog, inserted.parse().ok()?, removed.parse().ok()?))
        };
        let all: Option<Vec<_>> = self.catalogs.iter().zip(text.split(',')).map(counts).collect();
        let all = all.filter(|all| all.len() == self.catalogs.len());
        Ok(Tally(all.ok_or_else(|| Fault::Protocol("counts of rows".to_owned()))?))
    }

    /// SQL that leaves the cursor in the transaction; `there` where one was left before.
    pub(super) fn leave(&self, there: bool) -> String {
        let close = if there { format!("CLOSE {}; ", self.cursor) } else { String::new() };
        format!("{close}DECLARE {} NO SCROLL CURSOR FOR SELECT 1", self.cursor)
    }
}
