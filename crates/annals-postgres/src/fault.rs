//! What goes wrong when talking to a server, without values and without secrets.

use std::fmt;

use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgSeverity};

/// An error the server sent. Its `DETAIL` is left out: it quotes rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// SQLSTATE.
    pub code: String,
    /// Its severity is FATAL or PANIC: whoever sent it has ended the session with it.
    pub is_fatal: bool,
    /// The primary message.
    pub message: String,
    /// What the server suggests.
    pub hint: Option<String>,
    /// Character of the statement it points at, from 1.
    pub position: Option<usize>,
    /// Line of the data of a `COPY` it is about, from 1.
    pub data_line: Option<u64>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

/// Data exceptions (class 22) quote the value they stumble over; it is left out.
fn without_values(code: &str, message: &str) -> String {
    match message.split_once(": \"") {
        Some((what, _)) if code.starts_with("22") => format!("{what}: \"…\""),
        _ => message.to_owned(),
    }
}

/// The driver names the line of its own source that noticed, as ` (module::path:12)` at the end: it
/// says nothing to who reads it.
pub(crate) fn without_source(mut message: String) -> String {
    let Some((before, behind)) = message.rsplit_once(" (sqlx") else { return message };
    let is_place = behind.strip_suffix(')').and_then(|place| place.rsplit_once(':'));
    if is_place.is_some_and(|(_, line)| line.bytes().all(|byte| byte.is_ascii_digit())) {
        let end = before.len();
        message.truncate(end);
    }
    message
}

/// Why a conversation with a server failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server answered with an error; the connection lives.
    #[error("{0}")]
    Server(ServerError),
    /// The connection is gone; what was under way may or may not have happened.
    #[error("the connection was lost: {0}")]
    Connection(String),
    /// The transaction was ended, or another one begun, by something else than annals.
    #[error("transaction {transaction} was ended behind the back of annals")]
    Ended {
        /// The one that should be open (`xid8`, in decimal).
        transaction: String,
    },
    /// Something in the transaction has given the run's lock back. Nothing was committed.
    #[error(
        "it has released the lock of the run (pg_advisory_unlock_all, DISCARD ALL): others could have \
         begun beside it"
    )]
    LockReleased,
    /// Something in the transaction has removed or changed the row annals wrote in it. Nothing was
    /// committed.
    #[error(
        "it has removed or changed the row annals wrote for it in the schema annals: nobody could \
         say later that it took effect"
    )]
    RowChanged,
    /// The transaction ends as a role that may not read the ledger. Nothing was committed.
    #[error("it ends as another role, which may not read the schema annals")]
    RoleLeft,
    /// The answer has another form than expected.
    #[error("unexpected answer from the server: {0}")]
    Protocol(String),
}

impl Fault {
    /// The SQLSTATE, if the server sent one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            _ => None,
        }
    }

    /// Character of what was sent that the server points at, from 1.
    pub(crate) fn position(&self) -> Option<usize> {
        match self {
            Self::Server(error) => error.position,
            _ => None,
        }
    }

    /// The same with a position that counts behind so many characters.
    pub(crate) fn behind(mut self, characters: usize) -> Self {
        if let Self::Server(error) = &mut self {
            error.position = error.position.and_then(|at| at.checked_sub(characters));
        }
        self
    }

    /// What to write instead, where a file has done to its transaction what it must not.
    pub fn way_out(&self) -> Option<&'static str> {
        Some(match self {
            Self::LockReleased => {
                "give back the locks the file has taken, by their keys: pg_advisory_unlock(key)"
            }
            Self::RowChanged => "what is in the schema annals is for annals alone to change",
            Self::RoleLeft => "end the function that changes the role with RESET ROLE",
            Self::Ended { .. } => {
                "each file is one transaction, which annals begins and ends; take COMMIT and ROLLBACK \
                 out of its blocks and procedures"
            }
            Self::Server(_) | Self::Connection(_) | Self::Protocol(_) => return None,
        })
    }

    /// Whether the server itself has said no, and goes on serving this session: then nothing of what
    /// was refused took effect.
    ///
    /// Class 08 is about a connection: a pooler sends it when it has lost the server, which may have
    /// committed before.
    pub fn is_verdict(&self) -> bool {
        match self {
            Self::Server(error) => !error.code.starts_with("08") && !self.ends_session(),
            Self::Ended { .. } | Self::LockReleased | Self::RowChanged | Self::RoleLeft => true,
            Self::Connection(_) | Self::Protocol(_) => false,
        }
    }

    /// Whether the session is over, so that nothing is known of what was under way.
    pub fn ends_session(&self) -> bool {
        match self {
            // Class 57P: the server is shutting down or an administrator ended the session.
            Self::Server(error) => error.is_fatal || error.code.starts_with("57P"),
            Self::Connection(_) => true,
            Self::Ended { .. }
            | Self::LockReleased
            | Self::RowChanged
            | Self::RoleLeft
            | Self::Protocol(_) => false,
        }
    }
}

/// The line in `COPY shop, line 3, column price: …`; what stands behind it quotes data.
fn data_line(context: &str) -> Option<u64> {
    let line = context.lines().find(|line| line.starts_with("COPY "))?;
    let digits = line.split_once(", line ")?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => Self::Server(ServerError {
                    code: error.code().to_owned(),
                    is_fatal: matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic),
                    message: without_values(error.code(), error.message()),
                    hint: error.hint().map(str::to_owned),
                    data_line: error.r#where().and_then(data_line),
                    position: match error.position() {
                        Some(PgErrorPosition::Original(at)) => Some(at),
                        Some(PgErrorPosition::Internal { .. }) | None => None,
                    },
                }),
                None => Self::Protocol(error.message().to_owned()),
            },
            sqlx::Error::Io(error) => Self::Connection(error.to_string()),
            sqlx::Error::Tls(error) => Self::Connection(without_source(format!("TLS: {error}"))),
            // Sent by the driver when the server closes the connection between messages.
            sqlx::Error::Protocol(message) => Self::Connection(without_source(message)),
            other => Self::Protocol(without_source(other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_goes_on_serving_has_given_a_verdict() {
        let fault = |code: &str, is_fatal| {
            let (code, message) = (code.to_owned(), String::new());
            let (hint, position, data_line) = (None, None, None);
            Fault::Server(ServerError { code, is_fatal, message, hint, position, data_line })
        };
        for (code, is_fatal, verdict, ends) in [
            ("23505", false, true, false),
            ("53100", true, false, true),
            ("08P01", true, false, true),
            // From a foreign server, or from a pooler: of a commit it says nothing.
            ("08006", false, false, false),
            ("57P01", false, false, true),
            ("25P04", true, false, true),
        ] {
            let fault = fault(code, is_fatal);
            assert_eq!((fault.is_verdict(), fault.ends_session()), (verdict, ends), "{code}");
        }
    }

    #[test]
    fn where_the_driver_noticed_is_left_out() {
        let message =
            "unexpected response from SSLRequest: 0x00 (sqlx_postgres::connection::tls:43)";
        assert_eq!(without_source(message.to_owned()), "unexpected response from SSLRequest: 0x00");
        for other in ["plain", "of a module (sqlx and more)", "(sqlx:x)"] {
            assert_eq!(without_source(other.to_owned()), other);
        }
    }

    #[test]
    fn a_value_the_server_stumbled_over_is_left_out() {
        let message = "invalid input syntax for type integer: \"secret@example.com\"";
        assert_eq!(
            without_values("22P02", message),
            "invalid input syntax for type integer: \"…\""
        );
        assert_eq!(data_line("COPY t, line 12, column a: \"x, line 3\""), Some(12));
        assert_eq!(data_line("PL/pgSQL function f()\nCOPY t, line 7"), Some(7));
        assert_eq!(data_line("SQL function \"COPY\", line 3"), None);
        assert_eq!(without_values("42P01", "relation: \"x\""), "relation: \"x\"");
    }
}
