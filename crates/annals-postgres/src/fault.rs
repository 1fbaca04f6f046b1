//! What goes wrong when talking to a server, without values and without secrets.

use std::fmt;

use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

/// An error the server sent. Its `DETAIL` is left out: it quotes rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// SQLSTATE.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// What the server suggests.
    pub hint: Option<String>,
    /// Character of the statement it points at, from 1.
    pub position: Option<usize>,
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

/// Why a conversation with a server failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server answered with an error; the connection lives.
    #[error("{0}")]
    Server(ServerError),
    /// The connection is gone; what was under way may or may not have happened.
    #[error("the connection was lost: {0}")]
    Connection(String),
    /// The answer has another form than expected.
    #[error("unexpected answer from the server: {0}")]
    Protocol(String),
}

impl Fault {
    /// The SQLSTATE, if the server sent one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            Self::Connection(_) | Self::Protocol(_) => None,
        }
    }

    /// Whether the server itself has said no, and goes on serving this session: then nothing of what
    /// was refused took effect.
    pub fn is_verdict(&self) -> bool {
        matches!(self, Self::Server(_)) && !self.ends_session()
    }

    /// Whether the session is over, so that nothing is known of what was under way.
    pub fn ends_session(&self) -> bool {
        match self {
            // Class 57P: the server is shutting down or an administrator ended the session.
            Self::Server(error) => error.code.starts_with("57P"),
            Self::Connection(_) => true,
            Self::Protocol(_) => false,
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => Self::Server(ServerError {
                    code: error.code().to_owned(),
                    message: without_values(error.code(), error.message()),
                    hint: error.hint().map(str::to_owned),
                    position: match error.position() {
                        Some(PgErrorPosition::Original(at)) => Some(at),
                        Some(PgErrorPosition::Internal { .. }) | None => None,
                    },
                }),
                None => Self::Protocol(error.message().to_owned()),
            },
            sqlx::Error::Io(error) => Self::Connection(error.to_string()),
            sqlx::Error::Tls(error) => Self::Connection(format!("TLS: {error}")),
            // Sent by the driver when the server closes the connection between messages.
            sqlx::Error::Protocol(message) => Self::Connection(message),
            other => Self::Protocol(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_the_server_stumbled_over_is_left_out() {
        let message = "invalid input syntax for type integer: \"secret@example.com\"";
        assert_eq!(
            without_values("22P02", message),
            "invalid input syntax for type integer: \"…\""
        );
        assert_eq!(without_values("42P01", "relation: \"x\""), "relation: \"x\"");
    }
}
