//! Which rows of a backup a target does not have: both sides are read in one order and compared row by
//! row, by the hash of the key. Memory does not depend on the number of rows.

use annals_postgres::{ConnectionSpec, Fault, Session, SessionSettings};
use futures_util::future::try_join3;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::catalog::SETTINGS;
use crate::error::ArchiveError;
use crate::pairs::TablePair;
use crate::pieces::gone;
use crate::{Phase, Watcher};

/// Keys of one kind that are named for each table.
const NAMED: usize = 5;

/// Characters of a key that are shown.
const KEY_CHARACTERS: usize = 80;

/// What is handed over at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks that wait on each side.
const WAITING: usize = 4;

/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 64;

/// How a table in the target differs from the backup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowDifferences {
    /// The table, as SQL spells it.
    pub table: String,
    /// Its rows in the backup.
    pub backup_rows: u64,
    /// Its rows in the target.
    pub target_rows: u64,
    /// Rows whose key the target does not have.
    pub missing: KeysFound,
    /// Rows the target has with another content.
    pub changed: KeysFound,
    /// Rows whose key the backup does not have.
    pub extra: KeysFound,
}

/// Rows, and the keys of the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeysFound {
    /// How many.
    pub rows: u64,
    /// Some of their keys.
    pub keys: Vec<String>,
}

impl KeysFound {
    fn add(&mut self, key: &[u8]) {
        self.rows += 1;
        if self.keys.len() < NAMED {
            self.keys.push(shown(key));
        }
    }
}

/// A key as `COPY` writes it, for people.
fn shown(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    let (mut all, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        all.push(match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    match all.char_indices().nth(KEY_CHARACTERS) {
        Some((at, _)) => format!("{}…", &all[..at]),
        None => all,
    }
}

/// Rows that were found, in a session that still knows which they are.
pub struct RowSearch {
    /// On the restored backup.
    pub(crate) session: Session,
    /// The tables.
    pub pairs: Vec<TablePair>,
    /// How each of them differs.
    pub found: Vec<RowDifferences>,
}

impl RowSearch {
    /// Says goodbye to the restored backup.
    pub async fn close(self) {
        self.session.close().await;
    }
}

/// The table of the session that holds what was found in table `at`.
pub(crate) fn found_table(at: usize) -> String {
    format!("pg_temp.annals_found_{at}")
}

/// Missing rows, and changed ones, as marks.
pub(crate) const MISSING: u8 = 0;
pub(crate) const CHANGED: u8 = 1;

/// Compares tables of a restored backup with a target, which is read in one snapshot and not written to.
///
/// # Errors
///
/// When either side cannot be read, or two rows of the backup have one key.
pub async fn find_rows(
    backup: &ConnectionSpec,
    target: &ConnectionSpec,
    settings: &SessionSettings,
    pairs: Vec<TablePair>,
    watcher: &mut dyn Watcher,
) -> Result<RowSearch, ArchiveError> {
    watcher.begins(Phase::Compare, 0);
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let mut marks = backup.connect("annals/restore", settings).await?;
    let mut then = backup.connect("annals/restore", settings).await?;
    let mut now = target.connect("annals/restore", settings).await?;
    for session in [&mut marks, &mut then, &mut now] {
        session.run(SETTINGS).await?;
        if session.facts().major() >= 17 {
            session.run("SET transaction_timeout = 0").await?;
        }
    }
    then.run(begin).await?;
    now.run(begin).await?;
    let mut found = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        let table = found_table(at);
        let name = table.trim_start_matches("pg_temp.");
        marks.run(&format!("CREATE TEMP TABLE {name} (mark int2, key bytea, row bytea)")).await?;
        found.push(compare_table((&mut then, &mut now, &mut marks), pair, &table, watcher).await?);
        marks.run(&format!("ANALYZE {table}")).await?;
    }
    then.close().await;
    now.close().await;
    Ok(RowSearch { session: marks, pairs, found })
}

async fn compare_table(
    (then, now, marks): (&mut Session, &mut Session, &mut Session),
    pair: &TablePair,
    into: &str,
    watcher: &mut dyn Watcher,
) -> Result<RowDifferences, ArchiveError> {
    let (to_left, left) = mpsc::channel(WAITING);
    let (to_right, right) = mpsc::channel(WAITING);
    let merge = async {
        let mut copy = marks.copy_in(&format!("COPY {into} FROM STDIN")).await?;
        let mut marked = Vec::new();
        let mut sides = (Side::new(left), Side::new(right));
        let mut found = RowDifferences { table: pair.target.name.clone(), ..Default::default() };
        let (mut l, mut r) = (sides.0.next().await?, sides.1.next().await?);
        loop {
            match (&l, &r) {
                (None, None) => break,
                (Some(then), now) if now.as_ref().is_none_or(|now| then.key() < now.key()) => {
                    found.missing.add(then.name());
                    mark(&mut marked, MISSING, then.key(), None);
                }
                (then, Some(now)) if then.as_ref().is_none_or(|then| now.key() < then.key()) => {
                    found.extra.add(now.name());
                    found.target_rows += 1;
                    r = sides.1.next().await?;
                    continue;
                }
                (Some(then), Some(now)) => {
                    if then.row() != now.row() {
                        found.changed.add(then.name());
                        mark(&mut marked, CHANGED, then.key(), Some(now.row()));
                    }
                    found.target_rows += 1;
                    r = sides.1.next().await?;
                }
                (None, Some(_)) | (Some(_), None) => {
                    unreachable!("invariant: one side alone is before the other")
                }
            }
            found.backup_rows += 1;
            let next = sides.0.next().await?;
            if let (Some(before), Some(next)) = (&l, &next)
                && before.key() == next.key()
            {
                let (table, key) = (&pair.target.name, pair.key());
                let reason = format!("two rows of {table} in it have one key {key}");
                return Err(ArchiveError::NotAsSaid(reason));
            }
            l = next;
            if marked.len() >= CHUNK_BYTES {
                copy.send(&marked).await?;
                watcher.advances(marked.len() as u64);
                marked.clear();
            }
        }
        copy.send(&marked).await?;
        copy.finish().await?;
        Ok(found)
    };
    let sql = |source: &str| {
        let (key, row) =
            (TablePair::hash("s", &pair.key.columns), TablePair::hash("s", &pair.columns));
        let name = match pair.key.columns.as_slice() {
            [one] => format!("s.{one}::pg_catalog.text"),
            several => format!("ROW({})::pg_catalog.text", TablePair::list("s", several)),
        };
        format!(
            "COPY (SELECT pg_catalog.encode(h.k, 'hex'), pg_catalog.encode(h.r, 'hex'), h.n FROM \
             (SELECT {key} AS k, {row} AS r, {name} AS n FROM {source} s) h ORDER BY h.k) TO STDOUT"
        )
    };
    let (of_then, of_now) = (sql(&pair.backup.source()), sql(&pair.target.source()));
    let reads = (read(then, &of_then, to_left), read(now, &of_now, to_right));
    let ((), (), found) = try_join3(reads.0, reads.1, merge).await?;
    Ok(found)
}

fn mark(marked: &mut Vec<u8>, mark: u8, key: &[u8], row: Option<&[u8]>) {
    marked.extend([b'0' + mark, b'\t']);
    marked.extend(b"\\\\x");
    marked.extend(key);
    match row {
        Some(row) => {
            marked.extend(b"\t\\\\x");
            marked.extend(row);
        }
        None => marked.extend(b"\t\\N"),
    }
    marked.push(b'\n');
}

async fn read(session: &mut Session, sql: &str, to: Sender<Vec<u8>>) -> Result<(), ArchiveError> {
    let mut chunk = Vec::new();
    let reading = session.copy_out(sql, async |row| {
        chunk.extend_from_slice(row);
        if chunk.len() >= CHUNK_BYTES {
            to.send(std::mem::take(&mut chunk)).await.map_err(|_| gone())?;
        }
        Ok::<(), ArchiveError>(())
    });
    reading.await?;
    to.send(chunk).await.map_err(|_| gone())
}

/// One row: hash of its key, hash of all of it, and its key for people.
struct Entry(Vec<u8>);

impl Entry {
    fn key(&self) -> &[u8] {
        &self.0[..HASH_DIGITS]
    }

    fn row(&self) -> &[u8] {
        &self.0[HASH_DIGITS + 1..2 * HASH_DIGITS + 1]
    }

    fn name(&self) -> &[u8] {
        &self.0[2 * HASH_DIGITS + 2..]
    }
}

struct Side {
    from: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Side {
    fn new(from: Receiver<Vec<u8>>) -> Self {
        Self { from, chunk: Vec::new(), at: 0 }
    }

    async fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        while self.at == self.chunk.len() {
            match self.from.recv().await {
                Some(chunk) => (self.chunk, self.at) = (chunk, 0),
                None => return Ok(None),
            }
        }
        let rest = &self.chunk[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        let line = rest[..end].to_vec();
        let is_whole = line.len() >= 2 * HASH_DIGITS + 2
            && line[HASH_DIGITS] == b'\t'
            && line[2 * HASH_DIGITS + 1] == b'\t';
        match is_whole {
            true => Ok(Some(Entry(line))),
            false => Err(Fault::Protocol("a row has no hashes".to_owned()).into()),
        }
    }
}
