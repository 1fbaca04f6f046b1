//! What follows the first message of a step: more statements, and data for `COPY … FROM stdin`; and
//! the rows of a `COPY … TO stdout`.

use futures_util::{FutureExt, StreamExt};
use sqlx::postgres::{PgConnection, PgCopyIn};

use crate::batch::StepFault;
use crate::fault::Fault;
use crate::line::Attendance;
use crate::session::Session;

/// A `COPY … FROM stdin` that takes data. Dropped before its end, it fails in the server.
pub struct CopyIn<'a> {
    copy: PgCopyIn<&'a mut PgConnection>,
    attendance: Attendance<'a>,
}

impl CopyIn<'_> {
    /// Sends the next part of the data; lines may be torn.
    ///
    /// # Errors
    ///
    /// The loss of the connection. What the server thinks of the data is heard at the end.
    pub async fn send(&mut self, part: &[u8]) -> Result<(), Fault> {
        self.attendance.attend(self.copy.send(part)).await??;
        Ok(())
    }

    /// Says that there is no more data, and waits until all of it is taken.
    ///
    /// # Errors
    ///
    /// The server's error, or the loss of the connection.
    pub async fn finish(mut self) -> Result<(), Fault> {
        self.attendance.attend(self.copy.finish()).await??;
        Ok(())
    }
}

impl Session {
    /// Begins a `COPY … FROM stdin`.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>, Fault> {
        let (connection, mut attendance) = self.connection().apart();
        let copy = attendance.attend(connection.copy_in_raw(sql)).await??;
        Ok(CopyIn { copy, attendance })
    }

    /// Reads the rows of a `COPY … TO stdout`, one after the other, each with its line feed. The
    /// server waits while `take` works.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], and those of `take`: then the session is of no more use.
    pub async fn copy_out<E: From<Fault>>(
        &mut self,
        sql: &str,
        mut take: impl AsyncFnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (connection, mut attendance) = self.connection().apart();
        let begun = attendance.attend(connection.copy_out_raw(sql)).await;
        let mut rows = begun.and_then(|begun| begun).map_err(Fault::from)?;
        loop {
            // Most rows are there already: nobody has to watch over those.
            let next = match rows.next().now_or_never() {
                Some(next) => next,
                None => attendance.attend(rows.next()).await.map_err(Fault::from)?,
            };
            match next {
                None => return Ok(()),
                Some(row) => take(&row.map_err(Fault::from)?).await?,
            }
        }
    }

    /// Runs more statements in the transaction that [`Self::begin_step`] has opened, in one message.
    ///
    /// # Errors
    ///
    /// [`StepFault::Statement`]: which of them failed, from 0; the transaction has failed with it.
    pub async fn continue_step(&mut self, statements: &[&str]) -> Result<(), StepFault> {
        let mut sql = String::with_capacity(statements.iter().map(|text| text.len() + 3).sum());
        let mut starts = Vec::with_capacity(statements.len());
        let mut chars = 0;
        for statement in statements {
            starts.push(chars);
            sql.push_str(statement);
            sql.push_str("\n;\n");
            chars += statement.chars().count() + 3;
        }
        let end = self.run_batch(sql, None).await;
        let fault = match end.fault {
            None if end.completed == statements.len() => return Ok(()),
            None => {
                let of = statements.len();
                let odd = format!("{} of {of} statements were completed", end.completed);
                Fault::Protocol(odd)
            }
            Some(fault) => fault,
        };
        // A message that cannot be parsed is refused whole.
        let pointed_at = match fault.position() {
            Some(position) if end.completed == 0 => {
                starts.iter().rposition(|start| *start < position)
            }
            _ => None,
        };
        let at = pointed_at.unwrap_or(end.completed).min(statements.len().saturating_sub(1));
        let start = starts.get(at).copied().unwrap_or_default();
        Err(StepFault::Statement(at, fault.behind(start)))
    }
}
