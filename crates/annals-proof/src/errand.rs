//! One file on its way through a sandbox, as the executor would send it.

use std::path::Path;
use std::time::Instant;

use annals_migrations::{
    Cut, Problem, Script, SourceFile, Statement, StatementClass, open_streamed, with_bounds,
};
use annals_postgres::{Fault, HeldLock, Session, StepFault, Trace, TransactionLimits};

use crate::place::RehearsalError;
use crate::relations::Relations;
use crate::report::{FileFailure, FileSeen, StatementSeen};

/// A file that is to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Errand<'a> {
    pub(crate) file: &'a SourceFile,
    pub(crate) script: &'a Script,
    /// The workspace, for a file that is read while it is sent.
    folder: &'a Path,
}

/// Whether every statement is looked behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eyes {
    /// Locks, rewrites and durations.
    Open,
    /// Only whether it works.
    Closed,
}

/// What came of sending a file.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) seen: FileSeen,
    /// Every lock that was held at its end.
    pub(crate) locks: Vec<HeldLock>,
    pub(crate) failure: Option<FileFailure>,
}

/// A rehearsal waits for nobody and is in nobody's way.
const LIMITS: TransactionLimits = TransactionLimits { lock_ms: 0, statement_ms: 0 };

/// What is deferred to the end of a transaction happens.
const DEFERRED: &str = "SET CONSTRAINTS ALL IMMEDIATE";

/// The SQL of statements that change rows, or may do anything.
const MOVES_ROWS: &[&str] = &[
    "insert", "update", "delete", "merge", "truncate", "copy", "do", "select", "call", "with",
    "table", "values", "execute",
];

impl<'a> Errand<'a> {
    pub(crate) fn new(file: &'a SourceFile, folder: &'a Path) -> Result<Self, RehearsalError> {
        let script = file.script().map_err(|problems| {
            let first: Option<&Problem> = problems.first();
            RehearsalError::File(first.cloned().expect("a file that cannot be read says why"))
        })?;
        Ok(Self { file, script, folder })
    }

    /// Whether all of it is one transaction that can be part of a larger one.
    pub(crate) fn is_transactional(&self) -> bool {
        self.script.directives.transaction && self.script.streamed.is_none()
    }

    /// Whether it leaves rows alone, as far as its statements tell.
    pub(crate) fn leaves_rows_alone(&self) -> bool {
        self.script.statements.iter().all(|statement| {
            let word = statement.text.trim_start_matches('(').split(|c: char| !c.is_alphabetic());
            let word = word.map(str::to_ascii_lowercase).next().unwrap_or_default();
            !MOVES_ROWS.contains(&word.as_str())
        })
    }

    pub(crate) fn failure(&self, at: Option<usize>, fault: &Fault) -> FileFailure {
        let statement = at.and_then(|at| self.script.statements.get(at));
        let (code, message) = match fault {
            Fault::Server(error) => (Some(error.code.clone()), error.message.clone()),
            other => (None, other.to_string()),
        };
        let line = statement.map(|statement| line_of(fault, statement));
        FileFailure { file: self.file.path().display().to_string(), line, code, message }
    }

    /// Sends it in the transaction that is open, to its end: what is deferred happens.
    pub(crate) async fn send_inside(
        &self,
        session: &mut Session,
        eyes: Eyes,
        relations: &Relations,
    ) -> Result<Sent, Fault> {
        session.reset().await?;
        let began = Instant::now();
        let (mut sent, mut is_at_its_end) = match &self.script.streamed {
            Some(_) => (self.stream(session).await?, false),
            None => self.send_statements(session, eyes, relations).await?,
        };
        is_at_its_end |= sent.failure.is_some();
        if !is_at_its_end && let Err(fault) = session.run(DEFERRED).await {
            check_alive(&fault)?;
            sent.failure = Some(self.failure(None, &fault));
        }
        sent.seen.us = micros(began);
        Ok(sent)
    }

    /// Sends it as a run would, and commits.
    pub(crate) async fn send_committing(
        &self,
        session: &mut Session,
        eyes: Eyes,
        relations: &Relations,
    ) -> Result<Sent, Fault> {
        if !self.script.directives.transaction {
            return self.send_one_by_one(session, eyes, relations).await;
        }
        session.begin(LIMITS).await?;
        let mut sent = self.send_inside(session, eyes, relations).await?;
        let committed = match sent.failure {
            None => session.commit().await,
            Some(_) => session.roll_back().await,
        };
        if let Err(fault) = committed {
            check_alive(&fault)?;
            sent.failure.get_or_insert(self.failure(None, &fault));
        }
        Ok(sent)
    }

    /// Says besides whether what is deferred has happened.
    async fn send_statements(
        &self,
        session: &mut Session,
        eyes: Eyes,
        relations: &Relations,
    ) -> Result<(Sent, bool), Fault> {
        let statements = &self.script.statements;
        let is_at_its_end = statements.last().is_some_and(|last| last.data.is_none());
        let (mut traces, mut failure, mut at) = (Vec::new(), None, 0);
        while at < statements.len() && failure.is_none() {
            let plain = statements[at..].iter().take_while(|next| next.data.is_none()).count();
            if plain == 0 {
                match self.copy(session, &statements[at], eyes).await? {
                    Ok(trace) => traces.extend(trace),
                    Err(fault) => failure = Some(self.failure(Some(at), &fault)),
                }
                at += 1;
                continue;
            }
            let mut texts: Vec<&str> =
                statements[at..at + plain].iter().map(|next| next.text.as_str()).collect();
            let is_last = at + plain == statements.len();
            let fault = match eyes {
                Eyes::Open => {
                    let traced = match is_last {
                        true => session.run_traced_to_end(&texts).await?,
                        false => session.run_traced(&texts).await?,
                    };
                    traces.extend(traced.traces);
                    traced.fault
                }
                Eyes::Closed => {
                    if is_last {
                        texts.push(DEFERRED);
                    }
                    untraced(session, &texts).await?
                }
            };
            failure = fault.map(|(n, fault)| self.failure((n < plain).then_some(at + n), &fault));
            at += plain;
        }
        let lines: Vec<u32> = statements.iter().map(|statement| statement.line).collect();
        let seen = FileSeen { us: 0, statements: relations.seen(&lines, &traces) };
        let locks = traces.pop().map(|trace| trace.locks).unwrap_or_default();
        Ok((Sent { seen, locks, failure }, is_at_its_end))
    }

    /// A `COPY … FROM stdin` with its lines.
    async fn copy(
        &self,
        session: &mut Session,
        statement: &Statement,
        eyes: Eyes,
    ) -> Result<Result<Option<Trace>, Fault>, Fault> {
        let began = Instant::now();
        let data = statement.data.as_deref().unwrap_or_default();
        let copied = async {
            let mut copy = session.copy_in(&statement.text).await?;
            copy.send(data.as_bytes()).await?;
            copy.finish().await
        };
        if let Err(fault) = copied.await {
            check_alive(&fault)?;
            return Ok(Err(fault));
        }
        if eyes == Eyes::Closed {
            return Ok(Ok(None));
        }
        let us = micros(began);
        let traced = session.run_traced(&["SELECT"]).await?;
        Ok(Ok(traced.traces.into_iter().next().map(|trace| Trace { us, ..trace })))
    }

    /// A file that is read while it is sent.
    async fn stream(&self, session: &mut Session) -> Result<Sent, Fault> {
        let file = self.script.streamed.as_ref().expect("invariant: asked for a streamed file");
        let odd = |error: String| Fault::Protocol(error);
        let mut pieces =
            open_streamed(self.folder, file).map_err(|error| odd(error.to_string()))?;
        let mut waiting: Option<(u32, String, String)> = None;
        loop {
            let cut = pieces.next_cut().map_err(|error| odd(error.reason))?;
            let next = match cut {
                Some(Cut::Gap(_)) => continue,
                Some(Cut::Data(lines)) => {
                    if let Some((_, _, data)) = &mut waiting {
                        data.push_str(lines);
                    }
                    continue;
                }
                Some(Cut::Statement { text, at, .. }) => {
                    Some((at.line, text.to_owned(), String::new()))
                }
                None => None,
            };
            if let Some((line, sql, data)) = waiting.take()
                && let Some(failure) = self.send_piece(session, line, &sql, &data).await?
            {
                return Ok(Sent { failure: Some(failure), ..Sent::default() });
            }
            if next.is_none() {
                return Ok(Sent::default());
            }
            waiting = next;
        }
    }

    async fn send_piece(
        &self,
        session: &mut Session,
        line: u32,
        sql: &str,
        data: &str,
    ) -> Result<Option<FileFailure>, Fault> {
        let sent = async {
            if data.is_empty() {
                return session.run(sql).await;
            }
            let mut copy = session.copy_in(sql).await?;
            copy.send(data.as_bytes()).await?;
            copy.finish().await
        };
        let Err(fault) = sent.await else { return Ok(None) };
        check_alive(&fault)?;
        let line = Some(u64::from(line));
        Ok(Some(FileFailure { line, ..self.failure(None, &fault) }))
    }

    /// A file outside a transaction: what can run in one does, the rest stands alone, and nobody sees
    /// what that locks.
    async fn send_one_by_one(
        &self,
        session: &mut Session,
        eyes: Eyes,
        relations: &Relations,
    ) -> Result<Sent, Fault> {
        let (mut sent, all) = (Sent::default(), Instant::now());
        for (at, statement) in self.script.statements.iter().enumerate() {
            session.reset().await?;
            let began = Instant::now();
            let (fault, traces) = match &statement.class {
                StatementClass::Transactional => {
                    self.alone_in_transaction(session, statement, eyes).await?
                }
                StatementClass::Backfill { table, column, .. } => {
                    (backfill(session, statement, table, column).await, Vec::new())
                }
                _ => (session.run(&statement.text).await.err(), Vec::new()),
            };
            if let Some(fault) = fault {
                check_alive(&fault)?;
                sent.failure = Some(self.failure(Some(at), &fault));
                break;
            }
            let unseen = StatementSeen {
                line: statement.line,
                us: micros(began),
                locks: None,
                rewrites: Vec::new(),
            };
            let seen = relations.seen(&[statement.line], &traces).pop().unwrap_or(unseen);
            sent.seen.statements.push(seen);
            sent.locks.extend(traces.into_iter().flat_map(|trace| trace.locks));
        }
        sent.seen.us = micros(all);
        Ok(sent)
    }

    async fn alone_in_transaction(
        &self,
        session: &mut Session,
        statement: &Statement,
        eyes: Eyes,
    ) -> Result<(Option<Fault>, Vec<Trace>), Fault> {
        session.begin(LIMITS).await?;
        let (fault, traces) = match (eyes, statement.data.is_some()) {
            (_, true) => match self.copy(session, statement, eyes).await? {
                Ok(trace) => (None, trace.into_iter().collect()),
                Err(fault) => (Some(fault), Vec::new()),
            },
            (Eyes::Closed, false) => (session.run(&statement.text).await.err(), Vec::new()),
            (Eyes::Open, false) => {
                let traced = session.run_traced(&[&statement.text]).await?;
                (traced.fault.map(|(_, fault)| fault), traced.traces)
            }
        };
        match fault {
            Some(fault) => {
                check_alive(&fault)?;
                session.roll_back().await?;
                Ok((Some(fault), traces))
            }
            None => Ok((session.commit().await.err(), traces)),
        }
    }
}

/// All batches of a backfill as one: a sandbox has few rows.
async fn backfill(
    session: &mut Session,
    statement: &Statement,
    table: &str,
    column: &str,
) -> Option<Fault> {
    let edge = |order: &str| {
        format!(
            "SELECT pg_catalog.format('%L::%s', k.k::pg_catalog.text, pg_catalog.pg_typeof(k.k)) \
             FROM (SELECT {column} AS k FROM {table} WHERE {column} IS NOT NULL \
             ORDER BY {column} {order} LIMIT 1) AS k"
        )
    };
    let mut edges = Vec::new();
    for order in ["ASC", "DESC"] {
        match session.texts(&edge(order)).await {
            Ok(rows) => edges.extend(rows.into_iter().flatten().flatten()),
            Err(fault) => return Some(fault),
        }
    }
    // Without rows there is nothing to do.
    let [from, to] = edges.as_slice() else { return None };
    session.run(&with_bounds(&statement.text, from, to)).await.err()
}

async fn untraced(session: &mut Session, texts: &[&str]) -> Result<Option<(usize, Fault)>, Fault> {
    match session.continue_step(texts).await {
        Ok(()) => Ok(None),
        Err(StepFault::Statement(at, fault)) => {
            check_alive(&fault)?;
            Ok(Some((at, fault)))
        }
        Err(StepFault::Beginning(fault)) => Err(fault),
        Err(StepFault::LockLost) => Err(Fault::Protocol("a lock nobody asked for".to_owned())),
    }
}

/// A fault that ends the session says nothing of the file.
pub(crate) fn check_alive(fault: &Fault) -> Result<(), Fault> {
    if fault.ends_session() { Err(fault.clone()) } else { Ok(()) }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The line of the file a fault of a statement points at.
fn line_of(fault: &Fault, statement: &Statement) -> u64 {
    let start = u64::from(statement.line);
    let Fault::Server(error) = fault else { return start };
    let lines = |text: &str| text.bytes().filter(|&byte| byte == b'\n').count() as u64;
    match (error.data_line, error.position) {
        // Data begins on the line behind its statement.
        (Some(data_line), _) => start + lines(&statement.text) + data_line,
        (None, Some(at)) => {
            let before = statement.text.chars().take(at.saturating_sub(1));
            start + before.filter(|&c| c == '\n').count() as u64
        }
        (None, None) => start,
    }
}
