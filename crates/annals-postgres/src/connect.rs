//! How to reach a target.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use crate::endpoint::{Endpoint, Place};
use crate::fault::Fault;
use crate::parameters::{Parameters, SpecError, Variables};
use crate::probe;
use crate::session::{ServerFacts, Session, SessionSettings};

/// Longest wait for one server unless `connect_timeout` says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a target is and how to log in. It cannot be printed: it may hold a password.
#[derive(Clone)]
pub struct ConnectionSpec {
    /// In the order in which they are tried; at least one.
    endpoints: Vec<Endpoint>,
    wanted: Wanted,
}

/// What server of several is wanted: `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It takes the lock and writes.
    Work,
    /// It only reads.
    Reading,
    /// Somebody else has seen to it that it is a session, or it need not be one.
    Anything,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Host and port, or socket.
        address: String,
        /// Why.
        reason: String,
    },
    /// There is no TLS as it was asked for. Neither login nor anything else was sent.
    #[error("no safe connection to {address}: {reason}")]
    Tls {
        /// Host and port.
        address: String,
        /// Why.
        reason: String,
        /// What to do.
        hint: &'static str,
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
    /// Between here and the server stands a pooler that gives a session to several clients.
    #[error(
        "{address} leads to a connection pooler that hands out {unit}, not sessions: {evidence}. \
         The lock and the settings of a run would end up with somebody else"
    )]
    Pooled {
        /// Host and port.
        address: String,
        /// What it hands out: single transactions, or single statements.
        unit: &'static str,
        /// How that showed.
        evidence: String,
        /// The address to use instead.
        instead: String,
    },
}

impl ConnectError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { .. } => "check host, port and whether the server runs",
            Self::Tls { hint, .. } => hint,
            Self::Login { .. } => "check user and password (URL, PGPASSWORD or ~/.pgpass)",
            Self::Unusable { reason, .. } if reason.contains("startup parameter: options") => {
                "the pooler takes no options: leave out options and PGOPTIONS"
            }
            Self::Unusable { reason, .. } if reason.contains("Tenant or user not found") => {
                "the user of Supabase's pooler is postgres.<project>"
            }
            Self::Unusable { .. } => return None,
            Self::Pooled { instead, .. } => return Some(format!("use {instead}")),
        };
        Some(hint.to_owned())
    }

    /// Whether another server could do what this one does not.
    fn goes_on(&self) -> bool {
        !matches!(self, Self::Login { .. } | Self::Pooled { .. })
    }
}

fn value(name: &str, reason: &str) -> SpecError {
    SpecError::Value { name: name.to_owned(), reason: reason.to_owned() }
}

impl ConnectionSpec {
    /// Reads a `postgres://` URL or `key=value` text; what it leaves out comes from its service, the
    /// `PG*` variables of this process and `.pgpass`, as for `psql`.
    ///
    /// A host that is not this machine gets `sslmode=verify-full` unless something says otherwise.
    ///
    /// # Errors
    ///
    /// When the text makes no sense. The error repeats no value.
    pub fn from_url(text: &str) -> Result<Self, SpecError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::read(text, &variable)
    }

    /// As [`from_url`](Self::from_url), with variables from elsewhere.
    ///
    /// # Errors
    ///
    /// As that.
    pub fn read(text: &str, variables: Variables<'_>) -> Result<Self, SpecError> {
        let parameters = Parameters::read(text, variables)?;
        let list = |key: &str| -> Vec<String> {
            let text = parameters.get(key).unwrap_or_default();
            text.split(',').map(|one| one.trim().to_owned()).collect()
        };
        let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = match parameters.get("hostaddr") {
            Some(_) => addresses.len(),
            None => hosts.len(),
        };
        if parameters.get("host").is_some() && hosts.len() != count {
            return Err(value("hostaddr", "names not as many servers as host"));
        }
        if ports.len() != 1 && ports.len() != count {
            return Err(value("port", "names neither one port nor one for each host"));
        }
        let timeout = timeout(parameters.get("connect_timeout"))?;
        let endpoint = |at: usize| {
            let of = |list: &[String]| list.get(at).cloned().unwrap_or_default();
            let port = if ports.len() == 1 { ports[0].clone() } else { of(&ports) };
            let port = match port.as_str() {
                "" => 5432,
                port => match port.parse() {
                    Ok(port @ 1..) => port,
                    _ => return Err(value("port", "is no number from 1 to 65535")),
                },
            };
            let (host, hostaddr) = (of(&hosts), of(&addresses));
            let place = Place { host: &host, hostaddr: &hostaddr, port };
            Endpoint::new(&parameters, &place, timeout, variables)
        };
        let endpoints = (0..count).map(endpoint).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { endpoints, wanted: wanted(parameters.get("target_session_attrs"))? })
    }

    /// Whether `text` by itself has the form of a URL or of `key=value` text.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without its values.
    pub fn check(text: &str) -> Result<(), SpecError> {
        Parameters::of_text(text).map(|_| ())
    }

    /// A server on the socket in `folder`.
    pub fn from_socket(folder: &Path, user: &str, database: &str) -> Self {
        Self::from_socket_of(folder, 5432, user, database)
    }

    /// A server on the socket in `folder` that has this port in its name.
    pub(crate) fn from_socket_of(folder: &Path, port: u16, user: &str, database: &str) -> Self {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(folder)
            .port(port)
            .username(user)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        Self { endpoints: vec![Endpoint::plain(options, CONNECT_TIMEOUT)], wanted: Wanted::Any }
    }

    /// Whether a URL or `key=value` text carries a password.
    pub fn url_has_password(text: &str) -> bool {
        match Parameters::of_text(text) {
            Ok(parameters) => parameters.get("password").is_some(),
            // It is refused later; until then the doubt counts.
            Err(_) => {
                let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
                let authority = authority.split(['/', '?']).next().unwrap_or_default();
                authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
                    || text.contains("password")
            }
        }
    }

    /// Host and port, or the socket's folder; of several servers each.
    pub fn address(&self) -> String {
        let addresses: Vec<String> = self.endpoints.iter().map(Endpoint::address).collect();
        addresses.join(",")
    }

    /// The database's name; by default the user's.
    pub fn database(&self) -> &str {
        let options = &self.endpoints[0].options;
        options.get_database().unwrap_or_else(|| options.get_username())
    }

    /// The same servers and login, another database.
    pub fn with_database(&self, name: &str) -> Self {
        let mut other = self.clone();
        for endpoint in &mut other.endpoints {
            endpoint.options = endpoint.options.clone().database(name);
        }
        other
    }

    /// The role that logs in.
    pub(crate) fn user(&self) -> &str {
        self.endpoints[0].options.get_username()
    }

    /// The first server.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoints[0]
    }

    /// Opens a session under `application_name`.
    ///
    /// Every session has `TimeZone=UTC`, `DateStyle=ISO` and `client_encoding=UTF8`, so that a file
    /// means the same for whoever runs it. Of several servers the first that answers and is what
    /// `target_session_attrs` asks for is taken.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]; none of them contains the password.
    pub async fn connect(
        &self,
        application_name: &str,
        settings: &SessionSettings,
    ) -> Result<Session, ConnectError> {
        self.connect_for(Purpose::Anything, application_name, settings).await
    }

    /// Opens a session that takes a lock and writes, after a probe that it is one: see
    /// [`ConnectError::Pooled`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_to_work(
        &self,
        application_name: &str,
        settings: &SessionSettings,
    ) -> Result<Session, ConnectError> {
        self.connect_for(Purpose::Work, application_name, settings).await
    }

    /// Opens a session in a transaction that only reads, and leaves nothing on a backend that a
    /// pooler may give to somebody else.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_to_read(
        &self,
        application_name: &str,
        settings: &SessionSettings,
    ) -> Result<Session, ConnectError> {
        self.connect_for(Purpose::Reading, application_name, settings).await
    }

    async fn connect_for(
        &self,
        purpose: Purpose,
        application_name: &str,
        settings: &SessionSettings,
    ) -> Result<Session, ConnectError> {
        let rounds: &[Wanted] = match self.wanted {
            Wanted::PreferStandby => &[Wanted::Standby, Wanted::Any],
            _ => std::slice::from_ref(&self.wanted),
        };
        let mut refusals = Vec::new();
        for wanted in rounds {
            refusals.clear();
            for endpoint in &self.endpoints {
                let server = Self { endpoints: vec![endpoint.clone()], wanted: *wanted };
                match server.connect_to(purpose, application_name, settings).await {
                    Ok(session) => return Ok(session),
                    Err(refusal) if refusal.goes_on() => refusals.push(refusal),
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Err(all_of(refusals, self.address()))
    }

    /// A session on the one server this leads to.
    async fn connect_to(
        mut self,
        purpose: Purpose,
        application_name: &str,
        settings: &SessionSettings,
    ) -> Result<Session, ConnectError> {
        if purpose == Purpose::Reading {
            // A named statement would stay on a backend that a pooler gives away.
            probe::note(&self);
            let endpoint = &mut self.endpoints[0];
            endpoint.options = endpoint.options.clone().statement_cache_capacity(0);
        }
        let unusable = |fault: Fault| match probe::refused_by_pooler(&self, &fault) {
            Some(pooled) => pooled,
            None => ConnectError::Unusable { address: self.address(), reason: fault.to_string() },
        };
        let connection = self.open(application_name).await?;
        let greeted = Session::greet(connection, self.clone(), application_name, settings);
        let mut session = greeted.await.map_err(unusable)?;
        if let Some(reason) = self.wanted.misses(session.facts()) {
            session.close().await;
            return Err(ConnectError::Unusable { address: self.address(), reason });
        }
        match purpose {
            Purpose::Reading => session.set_up_to_read().await.map_err(unusable)?,
            Purpose::Anything => {
                session.set_up().await.map_err(unusable)?;
            }
            Purpose::Work => {
                probe::probe(&mut session, &self, application_name).await?;
                let before = session.facts().backend_pid;
                let now = session.set_up().await.map_err(unusable)?;
                probe::check_same(&self, before, now)?;
            }
        }
        Ok(session)
    }

    /// A connection on which nothing has been said yet, to the first server that answers.
    pub(crate) async fn open(&self, application_name: &str) -> Result<PgConnection, ConnectError> {
        let mut refusals = Vec::new();
        for endpoint in &self.endpoints {
            match endpoint.open(application_name).await {
                Ok(connection) => return Ok(connection),
                Err(refusal) if refusal.goes_on() => refusals.push(refusal),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(all_of(refusals, self.address()))
    }
}

/// One refusal as it is; of several, each server's.
fn all_of(mut refusals: Vec<ConnectError>, address: String) -> ConnectError {
    if refusals.len() == 1 {
        return refusals.remove(0);
    }
    let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    ConnectError::Unreachable { address, reason: reasons.join("; ") }
}

impl Wanted {
    /// Why a server is not what is wanted.
    fn misses(self, facts: &ServerFacts) -> Option<String> {
        let fits = match self {
            Self::Any | Self::PreferStandby => true,
            Self::ReadWrite => !facts.in_recovery && !facts.read_only,
            Self::ReadOnly => facts.in_recovery || facts.read_only,
            Self::Primary => !facts.in_recovery,
            Self::Standby => facts.in_recovery,
        };
        let is = match (facts.in_recovery, facts.read_only) {
            (true, _) => "a standby",
            (false, true) => "read-only",
            (false, false) => "a primary",
        };
        (!fits).then(|| format!("it is {is}, which target_session_attrs does not allow"))
    }
}

fn wanted(word: Option<&str>) -> Result<Wanted, SpecError> {
    let known = "is one of: any, read-write, read-only, primary, standby, prefer-standby";
    Ok(match word {
        None | Some("any") => Wanted::Any,
        Some("read-write") => Wanted::ReadWrite,
        Some("read-only") => Wanted::ReadOnly,
        Some("primary") => Wanted::Primary,
        Some("standby") => Wanted::Standby,
        Some("prefer-standby") => Wanted::PreferStandby,
        Some(_) => return Err(value("target_session_attrs", known)),
    })
}

/// Whole seconds. What is for ever for libpq, zero and less, is the default here.
fn timeout(text: Option<&str>) -> Result<Duration, SpecError> {
    let seconds = text.map(|text| text.trim().parse::<i32>()).transpose();
    let seconds = seconds.map_err(|_| value("connect_timeout", "is no number of seconds"))?;
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
    Ok(seconds.map_or(CONNECT_TIMEOUT, Duration::from_secs))
}

#[cfg(test)]
mod tests;
