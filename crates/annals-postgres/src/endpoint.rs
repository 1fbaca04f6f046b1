//! One server a connection may lead to: its address, its TLS, its login.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use crate::connect::ConnectError;
use crate::fault::{Fault, without_source};
use crate::parameters::{Parameters, SpecError, Variables};
use crate::password_file::{self, Login};

/// Where PostgreSQL listens on this machine, by distribution.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// One server.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) options: PgConnectOptions,
    pub(crate) timeout: Duration,
    /// What `sslmode` asked for, in words, where it is carried out more strictly.
    raised: Option<&'static str>,
    /// What the driver keeps to itself, for programs of PostgreSQL.
    login: LibpqLogin,
}

/// What libpq needs and the driver does not give back: the password, and files of certificates.
#[derive(Clone, Default)]
pub(crate) struct LibpqLogin {
    pub(crate) password: Option<String>,
    /// `system` for the system's authorities alone.
    pub(crate) root_certificate: Option<String>,
    /// Certificate and key of the client.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

/// Host, address and port, as they were said.
pub(crate) struct Place<'a> {
    pub(crate) host: &'a str,
    pub(crate) hostaddr: &'a str,
    pub(crate) port: u16,
}

fn value(name: &str, reason: impl Into<String>) -> SpecError {
    SpecError::Value { name: name.to_owned(), reason: reason.into() }
}

/// A file below `~/.postgresql`, if it is there.
fn default_file(variables: Variables<'_>, name: &str) -> Option<PathBuf> {
    let path = Path::new(&variables("HOME")?).join(".postgresql").join(name);
    path.is_file().then_some(path)
}

impl Endpoint {
    /// The server at `place`, with everything else `parameters` say.
    pub(crate) fn new(
        parameters: &Parameters,
        place: &Place<'_>,
        timeout: Duration,
        variables: Variables<'_>,
    ) -> Result<Self, SpecError> {
        let mut options = PgConnectOptions::new_without_pgpass().port(place.port);
        let default = default_host(place.port);
        let host = match (place.host, place.hostaddr) {
            ("", "") => default.as_str(),
            (host, _) => host,
        };
        let user = parameters.get("user").map_or_else(|| user_name(variables), str::to_owned);
        options = options.username(&user);
        if let Some(database) = parameters.get("dbname") {
            options = options.database(database);
        }
        let mut raised = None;
        let mut login = LibpqLogin::default();
        if host.starts_with('/') && place.hostaddr.is_empty() {
            options = options.host(host).socket(host).ssl_mode(PgSslMode::Disable);
        } else {
            let tls;
            (tls, raised) = tls_mode(parameters, place, host, variables)?;
            options = options.host(connect_to(place, host, tls)?).ssl_mode(tls);
            if !matches!(tls, PgSslMode::Disable) {
                options = with_certificates(options, &mut login, parameters, tls, variables)?;
            }
        }
        if let Some(text) = parameters.get("options") {
            // The driver has taken PGOPTIONS by itself; what is said here comes behind it.
            if variables("PGOPTIONS").as_deref() != Some(text) {
                options = options.options(server_options(text)?);
            }
        }
        let mut stands = "";
        let password = parameters.get("password").map(str::to_owned).or_else(|| {
            let login = Login {
                host: match (host, place.host) {
                    ("", _) => place.hostaddr,
                    (_, "") if host.starts_with('/') => "localhost",
                    _ => host,
                },
                port: place.port,
                database: parameters.get("dbname").unwrap_or(&user),
                user: &user,
            };
            let named = parameters.get("passfile").map(PathBuf::from);
            let own = || Some(Path::new(&variables("HOME")?).join(".pgpass"));
            stands = " in the password file";
            password_file::password(&named.or_else(own)?, &login)
        });
        if let Some(password) = password {
            if variables("PGPASSWORD").as_deref() == Some(password.as_str()) {
                stands = " in PGPASSWORD";
            }
            check_password(&password, stands)?;
            options = options.password(&password);
            login.password = Some(password);
        }
        Ok(Self { options: options.disable_statement_logging(), timeout, raised, login })
    }

    /// A server of which everything is known.
    pub(crate) fn plain(options: PgConnectOptions, timeout: Duration) -> Self {
        Self { options, timeout, raised: None, login: LibpqLogin::default() }
    }

    /// What libpq needs besides.
    pub(crate) fn login(&self) -> &LibpqLogin {
        &self.login
    }

    /// Host and port, or the socket's folder.
    pub(crate) fn address(&self) -> String {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None if host.contains(':') => format!("[{host}]:{port}"),
            None => format!("{host}:{port}"),
        }
    }

    /// The socket's file.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        let folder = self.options.get_socket()?;
        Some(folder.join(format!(".s.PGSQL.{}", self.options.get_port())))
    }

    /// A connection on which nothing has been said yet. Never waits longer than the time limit:
    /// name, address, TLS and login together.
    pub(crate) async fn open(&self, application_name: &str) -> Result<PgConnection, ConnectError> {
        // A pooler refuses a start with settings it does not know.
        let options =
            self.options.clone().application_name(application_name).extra_float_digits(None);
        let attempt = <PgConnection as sqlx::Connection>::connect_with(&options);
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.refused(error)),
            Err(_) => {
                let reason = format!("no answer within {} s", self.timeout.as_secs());
                Err(ConnectError::Unreachable { address: self.address(), reason })
            }
        }
    }

    fn refused(&self, error: sqlx::Error) -> ConnectError {
        let address = self.address();
        if let Some((reason, hint)) = self.tls_refusal(&error) {
            return ConnectError::Tls { address, reason, hint };
        }
        match Fault::from(error) {
            // Class 28: invalid authorization.
            Fault::Server(error) if error.code.starts_with("28") => ConnectError::Login {
                address,
                user: self.options.get_username().to_owned(),
                reason: error.message,
            },
            Fault::Connection(reason) | Fault::Protocol(reason) => {
                ConnectError::Unreachable { address, reason }
            }
            fault => ConnectError::Unusable { address, reason: fault.to_string() },
        }
    }

    /// Why TLS did not come about, and what to do.
    fn tls_refusal(&self, error: &sqlx::Error) -> Option<(String, &'static str)> {
        let text = error.to_string();
        let of_certificate = |text: &str| {
            text.split_once("invalid peer certificate: ").map(|(_, why)| why.to_owned())
        };
        if let Some(why) = of_certificate(&text) {
            let asked = self.raised.unwrap_or_default();
            return Some(
                if ["UnknownIssuer", "BadSignature", "CaUsedAsEndEntity"]
                    .iter()
                    .any(|w| why.contains(w))
                {
                    let reason = "its certificate is signed by nobody who is trusted".to_owned();
                    (
                        reason,
                        "name the file of the authority's certificate with sslrootcert \
                    (Supabase: Project Settings, Database, SSL)",
                    )
                } else if why.contains("not valid for name") {
                    let host = self.options.get_host();
                    (
                        format!("its certificate is not for the host {host:?}{asked}"),
                        "use the host name the certificate is for",
                    )
                } else {
                    (
                        format!("its certificate is not valid: {why}"),
                        "give the server a valid certificate, and check the clocks",
                    )
                },
            );
        }
        if text.contains("server does not support TLS") {
            let reason = "it does not speak TLS; nothing was sent to it".to_owned();
            return Some((
                reason,
                "switch TLS on there. Only where the network between is trusted, say \
                sslmode=disable",
            ));
        }
        match error {
            sqlx::Error::Tls(error) => {
                let reason = without_source(error.to_string());
                Some((reason, "check sslmode, sslrootcert, sslcert and sslkey"))
            }
            _ => None,
        }
    }
}

/// The folder a local server listens in, else this machine.
fn default_host(port: u16) -> String {
    let here = |folder: &&&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    SOCKET_FOLDERS.iter().find(here).map_or("localhost", |folder| folder).to_owned()
}

fn user_name(variables: Variables<'_>) -> String {
    let own = PgConnectOptions::new_without_pgpass().get_username().to_owned();
    variables("PGUSER").unwrap_or(own)
}

/// Whether `host` is this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn strictness(mode: PgSslMode) -> u8 {
    match mode {
        PgSslMode::Disable => 0,
        PgSslMode::Allow => 1,
        PgSslMode::Prefer => 2,
        PgSslMode::Require => 3,
        PgSslMode::VerifyCa => 4,
        PgSslMode::VerifyFull => 5,
    }
}

/// What TLS there will be, and in words what was asked for where that is less.
///
/// The driver trusts the system's authorities besides `sslrootcert`. Without a look at the host name
/// anybody with a public certificate would pass, so wherever libpq would verify the chain alone, the
/// name is verified too.
fn tls_mode(
    parameters: &Parameters,
    place: &Place<'_>,
    host: &str,
    variables: Variables<'_>,
) -> Result<(PgSslMode, Option<&'static str>), SpecError> {
    let known = "is one of: disable, allow, prefer, require, verify-ca, verify-full";
    let asked = match parameters.get("sslmode") {
        None => None,
        Some(word) => Some(word.parse::<PgSslMode>().map_err(|_| value("sslmode", known))?),
    };
    let is_local = is_loopback(if place.hostaddr.is_empty() { host } else { place.hostaddr });
    let system = parameters.get("sslrootcert") == Some("system");
    let mode = match asked {
        None if is_local && !system => PgSslMode::Prefer,
        None => PgSslMode::VerifyFull,
        Some(mode) => mode,
    };
    if system && strictness(mode) < strictness(PgSslMode::VerifyFull) {
        return Err(value("sslmode", "is too weak for sslrootcert=system; say verify-full"));
    }
    let has_root =
        parameters.get("sslrootcert").is_some() || default_file(variables, "root.crt").is_some();
    Ok(match mode {
        PgSslMode::VerifyCa => {
            (PgSslMode::VerifyFull, Some(" (annals carries verify-ca out as verify-full)"))
        }
        PgSslMode::Require if has_root => (
            PgSslMode::VerifyFull,
            Some(" (annals carries require with a root certificate out as verify-full)"),
        ),
        // The other way round than libpq: TLS first.
        PgSslMode::Allow => (PgSslMode::Prefer, None),
        mode => (mode, None),
    })
}

/// What is connected to: the driver verifies this name.
fn connect_to<'a>(place: &Place<'a>, host: &'a str, tls: PgSslMode) -> Result<&'a str, SpecError> {
    if place.hostaddr.is_empty() {
        return Ok(host);
    }
    if place.hostaddr.parse::<IpAddr>().is_err() {
        return Err(value("hostaddr", "is no IP address"));
    }
    if matches!(tls, PgSslMode::VerifyFull) && !place.host.is_empty() {
        let reason = "cannot be used beside host where the certificate is verified: leave it out";
        return Err(value("hostaddr", reason));
    }
    Ok(place.hostaddr)
}

fn with_certificates(
    mut options: PgConnectOptions,
    login: &mut LibpqLogin,
    parameters: &Parameters,
    tls: PgSslMode,
    variables: Variables<'_>,
) -> Result<PgConnectOptions, SpecError> {
    let default = |name| default_file(variables, name);
    let said = |key| parameters.get(key).map(PathBuf::from);
    options = match parameters.get("sslrootcert") {
        // Nothing besides the system's own.
        Some("system") => {
            login.root_certificate = Some("system".to_owned());
            options.ssl_root_cert_from_pem(Vec::new())
        }
        _ => match said("sslrootcert").or_else(|| default("root.crt")) {
            Some(path) if matches!(tls, PgSslMode::VerifyFull) => {
                login.root_certificate = path.to_str().map(str::to_owned);
                options.ssl_root_cert_from_pem(read_pem("sslrootcert", &path, "CERTIFICATE")?)
            }
            _ => options,
        },
    };
    let both = match (said("sslcert"), said("sslkey")) {
        (None, None) => default("postgresql.crt").zip(default("postgresql.key")),
        (certificate, key) => {
            let certificate = certificate.or_else(|| default("postgresql.crt"));
            let key = key.or_else(|| default("postgresql.key"));
            let certificate = certificate.ok_or_else(|| value("sslkey", "needs sslcert too"))?;
            Some((certificate, key.ok_or_else(|| value("sslcert", "needs sslkey too"))?))
        }
    };
    if let Some((certificate, key)) = both {
        check_key(&key)?;
        login.certificate = Some((certificate.clone(), key.clone()));
        options = options
            .ssl_client_cert_from_pem(read_pem("sslcert", &certificate, "CERTIFICATE")?)
            .ssl_client_key_from_pem(read_pem("sslkey", &key, "PRIVATE KEY")?);
    }
    Ok(options)
}

fn read_pem(name: &str, path: &Path, what: &str) -> Result<Vec<u8>, SpecError> {
    let shown = path.display();
    let text = std::fs::read(path)
        .map_err(|error| value(name, format!("names {shown}, which cannot be read: {error}")))?;
    let begins = String::from_utf8_lossy(&text);
    if begins.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(what)) {
        Ok(text)
    } else {
        Err(value(name, format!("names {shown}, in which there is no {what} in PEM")))
    }
}

/// As libpq: the user's own key is nobody else's; one of root's may be read by its group.
fn check_key(path: &Path) -> Result<(), SpecError> {
    let metadata = path.metadata().map_err(|error| {
        value("sslkey", format!("names {}, which cannot be read: {error}", path.display()))
    })?;
    let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & others == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(value("sslkey", format!("names {shown}, which others may read: chmod 600 {shown}")))
}

/// `-c name=value`, `--name=value`; a backslash takes the next character as it is.
fn server_options(text: &str) -> Result<Vec<(String, String)>, SpecError> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                word.extend(characters.next());
                begun = true;
            }
            character if character.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            character => {
                word.push(character);
                begun = true;
            }
        }
    }
    words.extend(begun.then_some(word));
    let bad = || value("options", "is a list of -c name=value");
    let (mut settings, mut words) = (Vec::new(), words.into_iter());
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next().ok_or_else(bad)?,
            word => {
                let stripped = word.strip_prefix("--").or_else(|| word.strip_prefix("-c"));
                stripped.ok_or_else(bad)?.to_owned()
            }
        };
        let (name, setting) = setting.split_once('=').ok_or_else(bad)?;
        settings.push((name.to_owned(), setting.to_owned()));
    }
    Ok(settings)
}

/// Refuses what is a key of Supabase's API: it opens no database, and must not travel there.
fn check_password(password: &str, place: &'static str) -> Result<(), SpecError> {
    let is_jwt = || {
        let parts: Vec<&str> = password.split('.').collect();
        let of_base64 =
            |part: &&str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b));
        parts.len() == 3 && password.starts_with("eyJ") && parts.iter().all(of_base64)
    };
    let what = match password {
        key if key.starts_with("sb_secret_") => "a secret key of the Supabase API",
        key if key.starts_with("sb_publishable_") => "a publishable key of the Supabase API",
        key if key.starts_with("sbp_") => "an access token of the Supabase API",
        _ if is_jwt() => {
            "a JSON Web Token, such as the anon or service_role key of the Supabase API"
        }
        _ => return Ok(()),
    };
    Err(SpecError::ApiKey { place, what })
}
