//! The rows of the store as values, and the scan that judges them.

use std::ops::ControlFlow;

use annals_event_store::Head;
use annals_events::{
    Chain, ChainError, Damage, DecodeError, EventId, LeafHash, Origin, Recorded, Scanned, Scanner,
    Seq, Timestamp,
};
use annals_postgres::Session;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::link::StoreFault;

/// Rows fetched at once: with the longest lines 16 MiB.
const PAGE_ROWS: i64 = 256;

/// The head row of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadRow {
    size: u64,
    leaf: LeafHash,
    edge: Vec<u8>,
    recorded_at_us: Option<i64>,
}

/// The head row, locked until the transaction ends.
pub(crate) struct LockedHead {
    pub(crate) row: HeadRow,
    pub(crate) signed: u64,
    pub(crate) clock: Timestamp,
}

/// A row of `annals.log_event`.
pub(crate) struct EventRow {
    pub(crate) seq: u64,
    id: EventId,
    leaf: LeafHash,
    pub(crate) line: Vec<u8>,
}

fn odd(what: &str) -> StoreFault {
    StoreFault::Row(what.to_owned())
}

pub(crate) fn unsigned(number: i64, what: &str) -> Result<u64, StoreFault> {
    u64::try_from(number).map_err(|_| StoreFault::Row(format!("{what} {number}")))
}

/// A number of events as the database keeps it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn leaf_of(bytes: &[u8]) -> Result<LeafHash, StoreFault> {
    bytes.try_into().map(LeafHash::from_bytes).map_err(|_| odd("a leaf hash is 32 bytes"))
}

/// The database's microseconds; beyond year 9999 no line can say them.
fn moment(micros: i64) -> Result<Timestamp, StoreFault> {
    const BEHIND_9999: i64 = 253_402_300_800_000_000;
    if (0..BEHIND_9999).contains(&micros) {
        Ok(Timestamp::from_micros(micros))
    } else {
        Err(odd("a time is not between 1970 and 9999"))
    }
}

impl HeadRow {
    /// Reads the columns `size`, `leaf`, `edge` and `recorded_at`.
    pub(crate) fn read(row: &PgRow) -> Result<Self, StoreFault> {
        Ok(Self {
            size: unsigned(row.try_get("size")?, "size")?,
            leaf: leaf_of(row.try_get("leaf")?)?,
            edge: row.try_get("edge")?,
            recorded_at_us: row.try_get("recorded_at")?,
        })
    }

    /// The row a log with this chain has.
    pub(crate) fn of(chain: &Chain) -> Self {
        Self {
            size: chain.size(),
            leaf: chain.last(),
            edge: chain.tree().edge().concat(),
            recorded_at_us: chain.recorded_at().map(Timestamp::micros),
        }
    }

    pub(crate) fn head(&self) -> Head {
        Head { size: self.size, leaf: self.leaf }
    }
}

/// Locks the head row of a log; none if there is no such log.
pub(crate) async fn lock(
    session: &mut Session,
    origin: &Origin,
) -> Result<Option<LockedHead>, StoreFault> {
    let lock = "SELECT size, leaf, edge, recorded_at, signed, clock FROM annals.log_lock($1)";
    let row = sqlx::query(lock).bind(origin.as_str()).fetch_optional(session.connection()).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(LockedHead {
        row: HeadRow::read(&row)?,
        signed: unsigned(row.try_get("signed")?, "signed")?,
        clock: moment(row.try_get("clock")?)?,
    }))
}

/// The head row as it is in the transaction's snapshot.
pub(crate) async fn head(
    session: &mut Session,
    origin: &Origin,
) -> Result<Option<HeadRow>, StoreFault> {
    let head = "SELECT size, leaf, edge, recorded_at FROM annals.log_head WHERE origin = $1";
    let row = sqlx::query(head).bind(origin.as_str()).fetch_optional(session.connection()).await?;
    row.map(|row| HeadRow::read(&row)).transpose()
}

/// The checkpoint in force.
pub(crate) async fn note(
    session: &mut Session,
    origin: &Origin,
) -> Result<Option<Vec<u8>>, StoreFault> {
    let note = "SELECT note FROM annals.log_checkpoint WHERE origin = $1 \
        ORDER BY number DESC LIMIT 1";
    let row = sqlx::query(note).bind(origin.as_str()).fetch_optional(session.connection()).await?;
    Ok(row.map(|row| row.try_get("note")).transpose()?)
}

/// Calls `annals.log_append`; the head behind the new lines, as the database reckons it.
pub(crate) async fn append(
    session: &mut Session,
    origin: &Origin,
    behind: Head,
    lines: &[&[u8]],
) -> Result<HeadRow, StoreFault> {
    let append = "SELECT size, leaf, edge, recorded_at FROM annals.log_append($1, $2, $3, $4)";
    let row = sqlx::query(append)
        .bind(origin.as_str())
        .bind(signed(behind.size))
        .bind(&behind.leaf.as_bytes()[..])
        .bind(lines)
        .fetch_one(session.connection())
        .await?;
    HeadRow::read(&row)
}

/// Calls `annals.log_publish`; the size in force before, if that is larger.
pub(crate) async fn publish(
    session: &mut Session,
    origin: &Origin,
    size: u64,
    note: &[u8],
) -> Result<Option<u64>, StoreFault> {
    let publish = "SELECT published, signed FROM annals.log_publish($1, $2, $3)";
    let row = sqlx::query(publish)
        .bind(origin.as_str())
        .bind(signed(size))
        .bind(note)
        .fetch_one(session.connection())
        .await?;
    let published: bool = row.try_get("published")?;
    let newer = unsigned(row.try_get("signed")?, "signed")?;
    Ok((!published).then_some(newer))
}

/// Calls `annals.log_begin`; whether the log was not there.
pub(crate) async fn begin(session: &mut Session, origin: &Origin) -> Result<bool, StoreFault> {
    let begin = "SELECT annals.log_begin($1) AS begun";
    let row = sqlx::query(begin).bind(origin.as_str()).fetch_one(session.connection()).await?;
    Ok(row.try_get("begun")?)
}

/// Gives the rows from `from` on to `take`, oldest first, in pages, until it has enough.
pub(crate) async fn events(
    session: &mut Session,
    origin: &Origin,
    from: u64,
    take: &mut dyn FnMut(&EventRow) -> ControlFlow<()>,
) -> Result<(), StoreFault> {
    // A line that somebody has made longer than any may be is cut to one byte too many: enough to
    // refuse it.
    let page = "SELECT seq, id::text AS id, leaf, \
        CASE WHEN octet_length(line) > 65536 THEN substring(line FROM 1 FOR 65536) ELSE line END \
        AS line FROM annals.log_event WHERE origin = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
    let mut next = from;
    loop {
        let rows = sqlx::query(page)
            .bind(origin.as_str())
            .bind(signed(next))
            .bind(PAGE_ROWS)
            .fetch_all(session.connection())
            .await?;
        for row in &rows {
            let row = event(row)?;
            next = row.seq + 1;
            if take(&row).is_break() {
                return Ok(());
            }
        }
        if rows.len() < usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}

fn event(row: &PgRow) -> Result<EventRow, StoreFault> {
    let id: &str = row.try_get("id")?;
    Ok(EventRow {
        seq: unsigned(row.try_get("seq")?, "seq")?,
        id: id.parse().map_err(|_| odd("an id is a UUID"))?,
        leaf: leaf_of(row.try_get("leaf")?)?,
        line: row.try_get("line")?,
    })
}

fn content(at: u64, what: &str) -> Damage {
    let source = DecodeError::Malformed(what.to_owned());
    ChainError::Content { at: Seq(at), source }.into()
}

/// A scan over rows: what [`Scanner`] asks of lines, and that each row says what its line does.
pub(crate) struct RowScanner {
    scanner: Scanner,
    damage: Option<Damage>,
    line: Vec<u8>,
}

impl RowScanner {
    pub(crate) fn new(scanner: Scanner) -> Self {
        Self { scanner, damage: None, line: Vec::new() }
    }

    /// Takes the next row; stops at the first damage.
    pub(crate) fn take(
        &mut self,
        row: &EventRow,
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> ControlFlow<()> {
        let at = self.scanner.chain().size();
        self.line.clear();
        self.line.extend_from_slice(&row.line);
        self.line.push(b'\n');
        let mut fits = true;
        // Called once, unless there is a line feed in the row: then for a second line, which is not
        // at the row's place.
        let mut check = |recorded: &Recorded, line: &[u8]| {
            fits &= (recorded.seq.0, recorded.id, recorded.leaf) == (row.seq, row.id, row.leaf);
            if fits {
                visit(recorded, line);
            }
        };
        let fed = self.scanner.feed(&self.line, &mut check);
        if !fits {
            self.damage = Some(content(at, "its row names another place, id or leaf hash"));
        }
        if fed.is_ok() && fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Ends the scan and compares it with the head row of the same moment.
    ///
    /// A head row over more events than there are is not damage here: it is a head somebody has
    /// seen, and the caller holds the log against it.
    pub(crate) fn finish(self, head: &HeadRow) -> Scanned {
        let mut scanned = self.scanner.finish();
        if self.damage.is_some() {
            scanned.damage = self.damage;
        }
        let (size, found) = (scanned.chain.size(), HeadRow::of(&scanned.chain));
        if scanned.damage.is_none() && size > head.size {
            scanned.damage = Some(content(head.size, "it stands behind the head row"));
        } else if scanned.damage.is_none() && found.head() == head.head() && found != *head {
            scanned.damage = Some(content(size - 1, "the head row holds another tree or time"));
        }
        scanned
    }
}
