//! How to reach a target.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};

use crate::fault::Fault;
use crate::session::{Session, SessionSettings};

/// Longest wait for a connection to be set up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Where a target is and how to log in. It cannot be printed: it may hold a password.
#[derive(Clone)]
pub struct ConnectionSpec {
    options: PgConnectOptions,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a connection URL. The text is not repeated: it may hold a password.
    #[error("not a PostgreSQL URL (postgres://user@host:port/database)")]
    Url,
    /// Nobody answers.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Host and port, or socket.
        address: String,
        /// Why.
        reason: String,
    },
    /// The server refuses the login.
    #[error("{address} refuses the login of {user:?}: {reason}")]
    Login {
        /// Host and port, or socket.
        address: String,
        /// Who tried.
        user: String,
        /// Why, in the server's words.
        reason: String,
    },
    /// The server answers, but cannot be used.
    #[error("{address} cannot be used: {reason}")]
    Unusable {
        /// Host and port, or socket.
        address: String,
        /// Why.
        reason: String,
    },
}

impl ConnectionSpec {
    /// Reads a `postgres://` URL; what it leaves out comes from the `PG*` variables and `.pgpass`.
    ///
    /// A host that is not this machine gets `sslmode=verify-full` unless the URL or `PGSSLMODE`
    /// says otherwise.
    ///
    /// # Errors
    ///
    /// When the text is not such a URL. The error does not repeat it.
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        let scheme_ok = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = PgConnectOptions::from_str(url).map_err(|_| ConnectError::Url)?;
        if !scheme_ok {
            return Err(ConnectError::Url);
        }
        let host = options.get_host();
        let is_local = options.get_socket().is_some()
            || host.starts_with('/')
            || matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]");
        let says_mode = url.contains("sslmode=") || std::env::var_os("PGSSLMODE").is_some();
        let options =
            if is_local || says_mode { options } else { options.ssl_mode(PgSslMode::VerifyFull) };
        Ok(Self { options: options.disable_statement_logging() })
    }

    /// A server on the socket in `folder`.
    pub fn from_socket(folder: &Path, user: &str, database: &str) -> Self {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(folder)
            .port(5432)
            .username(user)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        Self { options }
    }

    /// Whether a URL carries a password in its text.
    pub fn url_has_password(url: &str) -> bool {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or_default();
        let in_userinfo = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        in_userinfo || url.contains("?password=") || url.contains("&password=")
    }

    /// Host and port, or the socket's folder.
    pub fn address(&self) -> String {
        let host = self.options.get_host();
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None if host.starts_with('/') => host.to_owned(),
            None => format!("{host}:{}", self.options.get_port()),
        }
    }

    /// The database's name; by default the user's.
    pub fn database(&self) -> &str {
        self.options.get_database().unwrap_or_else(|| self.options.get_username())
    }

    /// Opens a session under `application_name`.
    ///
    /// Every session has `TimeZone=UTC`, `DateStyle=ISO` and `client_encoding=UTF8`, so that a file
    /// means the same for whoever runs it.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]; none of them contains the password.
    pub async fn connect(
        &self,
        application_name: &str,
        settings: &SessionSettings,
    ) -> Result<Session, ConnectError> {
        let options =
            self.options.clone().application_name(application_name).extra_float_digits(None);
        let attempt = sqlx::PgConnection::connect_with(&options);
        let address = self.address();
        let connection = match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(self.refused(error.into())),
            Err(_) => {
                let reason = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
                return Err(ConnectError::Unreachable { address, reason });
            }
        };
        Session::over(connection, settings)
            .await
            .map_err(|fault| ConnectError::Unusable { address, reason: fault.to_string() })
    }

    fn refused(&self, fault: Fault) -> ConnectError {
        let address = self.address();
        match fault {
            // Class 28: invalid authorization.
            Fault::Server(error) if error.code.starts_with("28") => ConnectError::Login {
                address,
                user: self.options.get_username().to_owned(),
                reason: error.message,
            },
            Fault::Server(error) => ConnectError::Unusable { address, reason: error.to_string() },
            Fault::Connection(reason) | Fault::Protocol(reason) => {
                ConnectError::Unreachable { address, reason }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_noticed() {
        for url in
            ["postgres://a:b@h/d", "postgres://h/d?password=x", "postgres://h/d?a=b&password=x"]
        {
            assert!(ConnectionSpec::url_has_password(url), "{url}");
        }
        for url in ["postgres://a@h:5432/d", "postgres://h:5432/d", "postgres:///d?host=/tmp"] {
            assert!(!ConnectionSpec::url_has_password(url), "{url}");
        }
    }

    #[test]
    fn a_broken_url_is_refused_without_repeating_it() {
        for url in ["postgres://user:s3cret@host:port/db", "mysql://user:s3cret@host/db", "s3cret"]
        {
            let Err(error) = ConnectionSpec::from_url(url) else { panic!("{url}") };
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }
}
