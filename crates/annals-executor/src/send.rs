//! Sends the statements of a step inside its transaction: in as few messages as they allow.
//!
//! Data for `COPY … FROM stdin` breaks a message. A streamed file is read while it is sent; every
//! block of it is compared with the plan before a byte of it is cut, so what reaches the server was
//! planned, and a file that has changed ends the step.

use std::path::Path;

use annals_events::RecordedError;
use annals_migrations::{Cut, PlannedStatement, PlannedStep, StreamedFile, open_streamed};
use annals_postgres::{Begun, CopyIn, Fault, Session, StepBeginning, StepFault};

use crate::failpoint;
use crate::interrupt::Interrupt;
use crate::run::describe;

/// The most SQL of a streamed file that is sent in one message, in bytes and in statements.
const MESSAGE_BYTES: usize = 256 << 10;
const MESSAGE_STATEMENTS: usize = 2_000;

/// Why not everything was sent.
pub(crate) enum SendFault {
    /// The beginning, or a statement that stands in the plan.
    Step(StepFault),
    /// A statement of a streamed file, from 0.
    Piece { number: u64, line: u64, fault: Fault },
    /// A streamed file is not what was planned, or cannot be read.
    File { line: Option<u64>, message: String },
    /// A stop was asked for; so many statements were sent.
    OnRequest { sent: u64 },
}

impl SendFault {
    /// What has ended the session, if that is what happened.
    pub(crate) fn ends_session(&self) -> Option<&Fault> {
        match self {
            Self::Step(StepFault::Beginning(fault) | StepFault::Statement(_, fault))
            | Self::Piece { fault, .. } => Some(fault).filter(|fault| fault.ends_session()),
            Self::Step(StepFault::LockLost) | Self::File { .. } | Self::OnRequest { .. } => None,
        }
    }

    /// What failed as an event keeps it, and the server's hint, if it was a statement of the file.
    pub(crate) fn described(&self, step: &PlannedStep) -> Option<(RecordedError, Option<String>)> {
        match self {
            Self::Step(StepFault::Statement(at, fault)) => Some(describe(fault, step, Some(*at))),
            Self::Piece { number, line, fault } => {
                let (error, hint) = describe(fault, step, None);
                let (line, statement) = (Some(*line), Some(number + 1));
                Some((RecordedError { line, statement, ..error }, hint))
            }
            Self::Step(_) | Self::File { .. } | Self::OnRequest { .. } => None,
        }
    }
}

/// The line of the file a fault of a statement points at.
pub(crate) fn line_of(fault: &Fault, line: u32, sql: &str) -> u64 {
    let Fault::Server(error) = fault else { return line.into() };
    let lines = |text: &str| text.bytes().filter(|&byte| byte == b'\n').count() as u64;
    let within = match (error.data_line, error.position) {
        // Data begins on the line behind its statement.
        (Some(data_line), _) => lines(sql) + data_line,
        (None, Some(at)) => {
            sql.chars().take(at.saturating_sub(1)).filter(|&c| c == '\n').count() as u64
        }
        (None, None) => 0,
    };
    u64::from(line) + within
}

/// Begins the transaction of a step and sends all of its statements; returns the transaction and
/// where its ledger row stands.
pub(crate) async fn send(
    session: &mut Session,
    beginning: &StepBeginning<'_>,
    step: &PlannedStep,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<Begun, SendFault> {
    if let Some(file) = &step.streamed {
        let begun = session.begin_step(beginning, &[]).await.map_err(SendFault::Step)?;
        Stream::new(session, interrupt).send(folder, file).await?;
        return Ok(begun);
    }
    let takes_data = |statement: &PlannedStatement| statement.data.is_some();
    let first = step.statements.iter().position(takes_data).unwrap_or(step.statements.len());
    let (at_once, mut rest) = step.statements.split_at(first);
    let begun = session.begin_step(beginning, &texts(at_once)).await.map_err(SendFault::Step)?;
    while let Some((statement, behind)) = rest.split_first() {
        let number = step.statements.len() - rest.len();
        if interrupt.requested() {
            return Err(SendFault::OnRequest { sent: number as u64 });
        }
        let failed = |at, fault| SendFault::Step(StepFault::Statement(at, fault));
        if let Some(data) = &statement.data {
            copy(session, &statement.sql, data).await.map_err(|fault| failed(number, fault))?;
            rest = behind;
        } else {
            let many = rest.iter().position(takes_data).unwrap_or(rest.len());
            let (message, behind) = rest.split_at(many);
            session.continue_step(&texts(message)).await.map_err(|fault| match fault {
                StepFault::Statement(at, fault) => failed(number + at, fault),
                fault => SendFault::Step(fault),
            })?;
            rest = behind;
        }
        failpoint::hit("after_message");
    }
    Ok(begun)
}

fn texts(statements: &[PlannedStatement]) -> Vec<&str> {
    statements.iter().map(|statement| statement.sql.as_str()).collect()
}

async fn copy(session: &mut Session, sql: &str, data: &str) -> Result<(), Fault> {
    let mut copy = session.copy_in(sql).await?;
    for part in data.as_bytes().chunks(MESSAGE_BYTES) {
        copy.send(part).await?;
    }
    copy.finish().await
}

/// A streamed file under way.
struct Stream<'a> {
    session: &'a mut Session,
    interrupt: &'a Interrupt,
    /// Statements that wait to be sent in one message, each with its line.
    waiting: Vec<(u32, String)>,
    waiting_bytes: usize,
    sent: u64,
}

impl<'a> Stream<'a> {
    fn new(session: &'a mut Session, interrupt: &'a Interrupt) -> Self {
        Self { session, interrupt, waiting: Vec::new(), waiting_bytes: 0, sent: 0 }
    }

    async fn send(mut self, folder: &Path, file: &StreamedFile) -> Result<(), SendFault> {
        let unread = |line, reason: String| SendFault::File {
            line,
            message: format!("{}: {reason}", file.path),
        };
        let mut pieces = open_streamed(folder, file)
            .map_err(|error| unread(None, format!("cannot be read: {error}")))?;
        loop {
            let cut = pieces.next_cut();
            let cut =
                cut.map_err(|error| unread(Some(error.position.line.into()), error.reason))?;
            let Some(cut) = cut else { break };
            let Cut::Statement { text, at, takes_data, .. } = cut else { continue };
            if !takes_data {
                self.waiting_bytes += text.len();
                self.waiting.push((at.line, text.to_owned()));
                if self.waiting_bytes >= MESSAGE_BYTES || self.waiting.len() >= MESSAGE_STATEMENTS {
                    self.send_waiting().await?;
                }
                continue;
            }
            let sql = text.to_owned();
            self.send_waiting().await?;
            let fault = |fault: Fault, number| SendFault::Piece {
                number,
                line: line_of(&fault, at.line, &sql),
                fault,
            };
            let number = self.sent;
            let mut copy =
                self.session.copy_in(&sql).await.map_err(|error| fault(error, number))?;
            send_data(&mut copy, &mut pieces, self.interrupt, &unread)
                .await
                .map_err(|stop| stop.into_fault(number, &fault))?;
            copy.finish().await.map_err(|error| fault(error, number))?;
            self.sent += 1;
            failpoint::hit("after_message");
        }
        self.send_waiting().await
    }

    async fn send_waiting(&mut self) -> Result<(), SendFault> {
        if self.interrupt.requested() {
            return Err(SendFault::OnRequest { sent: self.sent });
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        let texts: Vec<&str> = self.waiting.iter().map(|(_, text)| text.as_str()).collect();
        self.session.continue_step(&texts).await.map_err(|fault| match fault {
            StepFault::Statement(at, fault) => {
                let (line, sql) = &self.waiting[at];
                let line = line_of(&fault, *line, sql);
                SendFault::Piece { number: self.sent + at as u64, line, fault }
            }
            fault => SendFault::Step(fault),
        })?;
        self.sent += self.waiting.len() as u64;
        self.waiting.clear();
        self.waiting_bytes = 0;
        failpoint::hit("after_message");
        Ok(())
    }
}

/// Why data was not sent to its end.
enum DataStop {
    Fault(Fault),
    Other(SendFault),
}

impl DataStop {
    fn into_fault(self, number: u64, fault: &impl Fn(Fault, u64) -> SendFault) -> SendFault {
        match self {
            Self::Fault(error) => fault(error, number),
            Self::Other(SendFault::OnRequest { .. }) => SendFault::OnRequest { sent: number },
            Self::Other(stop) => stop,
        }
    }
}

/// Sends the data that follows a `COPY`, up to the line that ends it.
async fn send_data(
    copy: &mut CopyIn<'_>,
    pieces: &mut annals_migrations::StreamedPieces,
    interrupt: &Interrupt,
    unread: &impl Fn(Option<u64>, String) -> SendFault,
) -> Result<(), DataStop> {
    // The first gap is the rest of the statement's line, the second one the line `\.`.
    let mut gaps = 0;
    while gaps < 2 {
        if interrupt.requested() {
            return Err(DataStop::Other(SendFault::OnRequest { sent: 0 }));
        }
        let cut = pieces.next_cut().map_err(|error| {
            DataStop::Other(unread(Some(error.position.line.into()), error.reason))
        })?;
        match cut {
            Some(Cut::Data(lines)) => {
                copy.send(lines.as_bytes()).await.map_err(DataStop::Fault)?;
            }
            _ => gaps += 1,
        }
    }
    Ok(())
}
