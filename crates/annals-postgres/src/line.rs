//! A connection whose answers are never awaited for ever.
//!
//! A peer that goes silent, behind a dead link say, ends nothing: the socket stays open. While an
//! answer is awaited for longer than a moment, a second connection asks whether the backend still
//! works. If that one is not answered either, or the backend is gone or idle, the line is lost.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use sqlx::postgres::{PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres};
use sqlx::{Connection, Either, Error, Execute, Executor, SqlStr};
use tokio::time::{Instant, sleep, timeout};

use crate::connect::{ConnectError, ConnectionSpec};
use crate::fault::Fault;
use crate::session::SessionSettings;
use crate::watch::{Observed, Watch};

/// How long an answer is awaited before anybody looks.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);

/// A connection, and who watches over it. As an executor of queries it gives up when the server is
/// lost, and from then on answers nothing but that.
pub struct Line {
    connection: PgConnection,
    vigil: Option<Vigil>,
    lost: Option<String>,
}

/// How a second connection finds out about the first.
pub(crate) struct Vigil {
    /// The very server the first one leads to.
    pub(crate) spec: ConnectionSpec,
    pub(crate) settings: SessionSettings,
    pub(crate) application: String,
    pub(crate) pid: i32,
}

impl Line {
    /// A connection nobody watches over yet.
    pub(crate) fn new(connection: PgConnection) -> Self {
        Self { connection, vigil: None, lost: None }
    }

    pub(crate) fn watched_by(&mut self, vigil: Vigil) {
        self.vigil = Some(vigil);
    }

    /// How whoever watches reaches the very same server.
    pub(crate) fn watched(&self) -> Option<&ConnectionSpec> {
        self.vigil.as_ref().map(|vigil| &vigil.spec)
    }

    /// The driver's connection, for what is no query, and who waits for it.
    pub fn apart(&mut self) -> (&mut PgConnection, Attendance<'_>) {
        let Self { connection, vigil, lost } = self;
        (connection, Attendance { vigil: vigil.as_ref(), lost })
    }

    /// Says goodbye, if anybody is there.
    pub(crate) async fn close(self) {
        if self.lost.is_none() {
            let _ = timeout(PATIENCE, self.connection.close()).await;
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// For what only the driver's own connection can do. Nobody watches over that: see [`Line::apart`].
impl Deref for Line {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Line {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

fn lost_error(reason: &str) -> Error {
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason.to_owned()))
}

/// Who waits for what a line's connection does.
pub struct Attendance<'a> {
    vigil: Option<&'a Vigil>,
    lost: &'a mut Option<String>,
}

impl Attendance<'_> {
    /// Waits for `work` of the connection, unless the server is lost meanwhile or was before.
    ///
    /// # Errors
    ///
    /// That it is lost; what became of `work` is not known then.
    pub async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        if let Some(reason) = self.lost {
            return Err(lost_error(reason));
        }
        let Some(vigil) = self.vigil else { return Ok(work.await) };
        tokio::select! {
            biased;
            done = work => Ok(done),
            reason = vigil.loss() => {
                let error = lost_error(&reason);
                *self.lost = Some(reason);
                Err(error)
            }
        }
    }
}

impl<'c> Executor<'c> for &'c mut Line {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (connection, attendance) = self.apart();
        let answers = connection.fetch_many(query);
        let state = (answers, attendance, false);
        Box::pin(stream::unfold(state, |(mut answers, mut attendance, over)| async move {
            if over {
                return None;
            }
            match attendance.attend(answers.next()).await {
                Ok(answer) => Some((answer?, (answers, attendance, false))),
                Err(error) => Some((Err(error), (answers, attendance, true))),
            }
        }))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (connection, mut attendance) = self.apart();
        let answer = connection.fetch_optional(query);
        Box::pin(async move { attendance.attend(answer).await? })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        let (connection, mut attendance) = self.apart();
        let answer = connection.prepare_with(sql, parameters);
        Box::pin(async move { attendance.attend(answer).await? })
    }
}

/// What the looks have shown so far, each with the moment since which it holds.
#[derive(Default)]
struct Suspicion {
    gone: Option<Instant>,
    idle: Option<Instant>,
}

impl Vigil {
    fn silence(&self) -> Duration {
        Duration::from_millis(self.settings.silence_ms)
    }

    fn pause(&self) -> Duration {
        PAUSE.min(self.silence() / 6)
    }

    /// Returns when the backend is lost, with the reason; for as long as it works, it does not.
    async fn loss(&self) -> String {
        sleep(PATIENCE.min(self.silence() / 2)).await;
        // Every answer makes one of these, few get here: what it takes is made only now.
        Box::pin(self.look_until_lost()).await
    }

    async fn look_until_lost(&self) -> String {
        let silence = self.silence();
        // The last sign of life, from anybody at that address.
        let mut heard = Instant::now();
        let (mut watch, mut suspicion) = (None, Suspicion::default());
        loop {
            let Some(left) = silence.checked_sub(heard.elapsed()).filter(|left| !left.is_zero())
            else {
                return format!(
                    "no answer for {} ms, and none on a second connection",
                    silence.as_millis()
                );
            };
            if watch.is_none() {
                let start = Watch::start(&self.spec, &self.settings, &self.application, self.pid);
                match timeout(left, start).await {
                    Ok(Ok(started)) => {
                        heard = Instant::now();
                        watch = Some(started);
                    }
                    // Somebody there says no: that is an answer too.
                    Ok(Err(ConnectError::Login { .. } | ConnectError::Unusable { .. })) => {
                        heard = Instant::now();
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            if let Some(mut at_work) = watch.take() {
                // A pooler may let a second connection wait: half the time is left for another.
                match timeout(silence / 2, at_work.look()).await {
                    Ok(Ok(seen)) => {
                        heard = Instant::now();
                        if let Some(reason) = suspicion.confirmed(self, &seen) {
                            at_work.end_idle().await;
                            at_work.close().await;
                            return reason;
                        }
                        watch = Some(at_work);
                    }
                    Ok(Err(Fault::Server(_))) => heard = Instant::now(),
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            sleep(self.pause()).await;
        }
    }
}

impl Suspicion {
    /// Why the backend is lost, if what is seen has been seen for long enough: an answer may still be
    /// on its way.
    fn confirmed(&mut self, vigil: &Vigil, seen: &Observed) -> Option<String> {
        let is_idle = seen.state.as_deref().is_some_and(|state| state.starts_with("idle"));
        let since =
            |held: bool, since: Option<Instant>| held.then(|| since.unwrap_or_else(Instant::now));
        self.gone = since(!seen.alive, self.gone);
        self.idle = since(seen.alive && is_idle, self.idle);
        if self.gone.is_some_and(|since| since.elapsed() >= vigil.pause()) {
            return Some(format!("the backend {} is gone, and its answer with it", vigil.pid));
        }
        let idle = self.idle.filter(|since| since.elapsed() >= vigil.silence() / 2)?;
        Some(format!(
            "the backend {} has had nothing to do for {} ms: what was sent to it, or its answer, was \
             lost",
            vigil.pid,
            idle.elapsed().as_millis()
        ))
    }
}
