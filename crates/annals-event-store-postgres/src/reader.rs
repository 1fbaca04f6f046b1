//! Reads the logs of a database without the right to change anything.

use annals_event_store::{BlobError, Head};
use annals_events::{BlobRef, Origin, Recorded, Scanned, Scanner, Seq};
use annals_postgres::{ConnectionSpec, Session};
use sqlx::Row;

use crate::link::{Limits, Link, Mode, StoreFault, home_of};
use crate::log::get_blob;
use crate::rows::{self, HeadRow, RowScanner};

/// The logs of a database, for whoever may only read them.
///
/// Everything is asked in transactions that are `READ ONLY`; a role with `SELECT` is enough, and so
/// is a standby.
pub struct LogReader {
    link: Link,
}

impl LogReader {
    /// Connects to a database that has the store's tables.
    ///
    /// # Errors
    ///
    /// When it cannot be reached or has none, or was made by a newer annals.
    pub async fn connect(spec: &ConnectionSpec, limits: Limits) -> Result<Self, StoreFault> {
        Ok(Self { link: Link::open(spec, limits).await? })
    }

    /// Names the database for people.
    pub fn place(&self) -> String {
        self.link.place()
    }

    /// What `log_moved` events call this home.
    pub fn home(&self) -> String {
        home_of(self.link.database())
    }

    /// The names of all logs, in order.
    ///
    /// # Errors
    ///
    /// When the database says no.
    pub async fn origins(&mut self) -> Result<Vec<Origin>, StoreFault> {
        let mut session = self.link.begin(Mode::Snapshot).await?;
        let rows = sqlx::query("SELECT origin FROM annals.log_head ORDER BY origin")
            .fetch_all(session.connection())
            .await;
        self.link.roll_back(session).await;
        let origin = |row: &sqlx::postgres::PgRow| {
            let text: &str = row.try_get("origin")?;
            text.parse().map_err(|_| StoreFault::Row(format!("origin {text:?}")))
        };
        rows?.iter().map(origin).collect()
    }

    /// A log as it is now: checkpoint, head and lines of one moment.
    ///
    /// # Errors
    ///
    /// When there is none, or the database says no.
    pub async fn log(&mut self, origin: &Origin) -> Result<LogSnapshot<'_>, StoreFault> {
        let mut session = self.link.begin(Mode::Snapshot).await?;
        let looked = async {
            // The checkpoint first, as a reader of files does.
            let checkpoint = rows::note(&mut session, origin).await?;
            Ok::<_, StoreFault>((checkpoint, rows::head(&mut session, origin).await?))
        };
        let looked = looked.await;
        match looked {
            Ok((checkpoint, Some(head))) => {
                let origin = origin.clone();
                Ok(LogSnapshot { link: &mut self.link, session, origin, checkpoint, head })
            }
            Ok((_, None)) => {
                self.link.roll_back(session).await;
                Err(StoreFault::Missing(origin.to_string()))
            }
            Err(fault) => {
                self.link.roll_back(session).await;
                Err(fault)
            }
        }
    }

    /// Says goodbye to the server.
    pub async fn close(self) {
        self.link.close().await;
    }
}

/// One log at one moment, whatever is appended meanwhile.
pub struct LogSnapshot<'a> {
    link: &'a mut Link,
    session: Session,
    origin: Origin,
    checkpoint: Option<Vec<u8>>,
    head: HeadRow,
}

impl LogSnapshot<'_> {
    /// The signed head, if there is one.
    pub fn checkpoint(&self) -> Option<&[u8]> {
        self.checkpoint.as_deref()
    }

    /// The right edge as the head row gives it: to be held against what [`scan`](Self::scan) finds.
    pub fn head(&self) -> Head {
        self.head.head()
    }

    /// Reads all of it in bounded memory with a fresh `scanner` that notes the roots the caller
    /// needs; `visit` gets every event and its line. Damage is in the result.
    ///
    /// # Errors
    ///
    /// When the database says no.
    pub async fn scan(
        &mut self,
        scanner: Scanner,
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> Result<Scanned, StoreFault> {
        let from = scanner.chain().size();
        let mut scanner = RowScanner::new(scanner);
        let mut take = |row: &rows::EventRow| scanner.take(row, visit);
        rows::events(&mut self.session, &self.origin, from, &mut take).await?;
        Ok(scanner.finish(&self.head))
    }

    /// Gives the stored lines from `from` on to `visit` as they are, without LF, oldest first.
    ///
    /// # Errors
    ///
    /// When the database says no.
    pub async fn lines(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, &[u8]),
    ) -> Result<(), StoreFault> {
        let mut give = |row: &rows::EventRow| {
            visit(Seq(row.seq), &row.line);
            std::ops::ControlFlow::Continue(())
        };
        rows::events(&mut self.session, &self.origin, from.0, &mut give).await
    }

    /// Fetches content and checks it against its name.
    ///
    /// # Errors
    ///
    /// When it is missing or altered.
    pub async fn blob(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        let place = format!("{} in {}", reference.digest, self.link.place());
        get_blob(&mut self.session, reference, || place.clone()).await
    }

    /// Lets the moment go; the reader can be used again without connecting anew.
    pub async fn close(self) {
        self.link.roll_back(self.session).await;
    }
}
