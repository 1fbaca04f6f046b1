//! Connection parameters as libpq reads them: a URL or `key=value` text, a service file, the `PG*`
//! variables, in this order of precedence.
//!
//! No error repeats a value: it may be a password.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What says the value of an environment variable.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a text does not say how to reach a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither a URL nor `key=value` text.
    #[error("holds no PostgreSQL URL (postgres://user@host:port/database) and no key=value text")]
    Text,
    /// A parameter libpq does not know either.
    #[error("{name:?} is no connection parameter")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A parameter that asks for what annals cannot do.
    #[error("annals cannot do what the connection parameter {name:?} asks for")]
    Unsupported {
        /// Its name.
        name: String,
        /// Values that ask for nothing it cannot do.
        possible: &'static [&'static str],
    },
    /// A value that makes no sense.
    #[error("the connection parameter {name:?} {reason}")]
    Value {
        /// Its name.
        name: String,
        /// What is wrong, without the value.
        reason: String,
    },
    /// A service that is not to be found.
    #[error("the service {name:?} is defined in none of: {}", files.join(", "))]
    NoService {
        /// Its name.
        name: String,
        /// Where it was looked for.
        files: Vec<String>,
    },
    /// A service file that cannot be read.
    #[error("{file}: {reason}")]
    ServiceFile {
        /// The file, with the line if it is about one.
        file: String,
        /// Why.
        reason: String,
    },
    /// A key of Supabase's API in the place of the password.
    #[error("the password{place} is {what}, not the password of a database role")]
    ApiKey {
        /// What it is.
        what: &'static str,
        /// Where it stands, with a space before it; empty for the URL.
        place: &'static str,
    },
}

impl SpecError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Text => "correct the URL".to_owned(),
            Self::Unknown { .. } => "remove it, or correct its name".to_owned(),
            Self::Unsupported { possible: [], .. } => "remove it".to_owned(),
            Self::Unsupported { possible, .. } => {
                format!("remove it, or give it one of: {}", possible.join(", "))
            }
            Self::Value { .. } => "correct it".to_owned(),
            Self::NoService { .. } | Self::ServiceFile { .. } => {
                "correct the service file, or name another with PGSERVICEFILE".to_owned()
            }
            Self::ApiKey { .. } => {
                "the database password was shown when the project was made; set \
                a new one in the Supabase dashboard: Project Settings, Database, Reset database \
                password. A key that was pasted where it does not belong should be rotated"
                    .to_owned()
            }
        }
    }
}

/// What becomes of a parameter.
enum Use {
    /// It is honoured.
    Honoured,
    /// It asks for nothing that matters here.
    Harmless,
    /// Only these of its values can be honoured.
    Only(&'static [&'static str]),
}

use Use::{Harmless, Honoured, Only};

/// Every parameter of libpq 18 but those of logical replication and OAuth: its variable, its use.
const PARAMETERS: &[(&str, &str, Use)] = &[
    ("host", "PGHOST", Honoured),
    ("hostaddr", "PGHOSTADDR", Honoured),
    ("port", "PGPORT", Honoured),
    ("dbname", "PGDATABASE", Honoured),
    ("user", "PGUSER", Honoured),
    ("password", "PGPASSWORD", Honoured),
    ("passfile", "PGPASSFILE", Honoured),
    ("connect_timeout", "PGCONNECT_TIMEOUT", Honoured),
    ("sslmode", "PGSSLMODE", Honoured),
    ("sslrootcert", "PGSSLROOTCERT", Honoured),
    ("sslcert", "PGSSLCERT", Honoured),
    ("sslkey", "PGSSLKEY", Honoured),
    ("options", "PGOPTIONS", Honoured),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", Honoured),
    ("service", "PGSERVICE", Honoured),
    ("servicefile", "PGSERVICEFILE", Honoured),
    // Sessions have names, an encoding and keepalives of their own.
    ("application_name", "PGAPPNAME", Harmless),
    ("fallback_application_name", "", Harmless),
    ("client_encoding", "PGCLIENTENCODING", Harmless),
    ("keepalives", "", Harmless),
    ("keepalives_idle", "", Harmless),
    ("keepalives_interval", "", Harmless),
    ("keepalives_count", "", Harmless),
    ("tcp_user_timeout", "", Harmless),
    // There is no compression and no GSSAPI; a server's name is always sent.
    ("sslcompression", "PGSSLCOMPRESSION", Harmless),
    ("sslsni", "PGSSLSNI", Harmless),
    ("krbsrvname", "PGKRBSRVNAME", Harmless),
    ("gsslib", "PGGSSLIB", Harmless),
    ("gssencmode", "PGGSSENCMODE", Only(&["disable", "prefer"])),
    ("gssdelegation", "PGGSSDELEGATION", Only(&["0"])),
    ("channel_binding", "PGCHANNELBINDING", Only(&["disable", "prefer"])),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", Only(&["disable"])),
    ("sslnegotiation", "PGSSLNEGOTIATION", Only(&["postgres"])),
    ("sslcertmode", "PGSSLCERTMODE", Only(&["allow"])),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Only(&["TLSv1", "TLSv1.1", "TLSv1.2"])),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Only(&["TLSv1.3"])),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", Only(&["3.0"])),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", Only(&["3.0", "latest"])),
    ("replication", "", Only(&["false", "off", "no", "0"])),
    ("sslcrl", "PGSSLCRL", Only(&[])),
    ("sslcrldir", "PGSSLCRLDIR", Only(&[])),
    ("sslpassword", "", Only(&[])),
    ("require_auth", "PGREQUIREAUTH", Only(&[])),
    ("requirepeer", "PGREQUIREPEER", Only(&[])),
];

/// The parameters of one connection, by libpq's names.
#[derive(Default)]
pub(crate) struct Parameters(BTreeMap<&'static str, String>);

impl Parameters {
    /// Reads `text` alone.
    pub(crate) fn of_text(text: &str) -> Result<Self, SpecError> {
        let mut parameters = Self::default();
        match without_scheme(text) {
            Some(rest) => parameters.read_url(rest)?,
            None => parameters.read_pairs(text)?,
        }
        Ok(parameters)
    }

    /// Reads `text`, and what it leaves out from its service and from `variables`.
    pub(crate) fn read(text: &str, variables: Variables<'_>) -> Result<Self, SpecError> {
        let mut parameters = Self::of_text(text)?;
        let name = parameters.get("service").map(str::to_owned).or_else(|| variables("PGSERVICE"));
        if let Some(name) = name {
            parameters.read_service(&name, variables)?;
        }
        for (key, variable, _) in PARAMETERS.iter().filter(|(_, variable, _)| !variable.is_empty())
        {
            if let Some(value) = variables(variable).filter(|_| parameters.get(key).is_none()) {
                parameters.set(key, variable, value)?;
            }
        }
        Ok(parameters)
    }

    /// A value that is set and not empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets `key`, which the caller knows as `name`.
    fn set(&mut self, key: &str, name: &str, value: String) -> Result<(), SpecError> {
        let Some((key, _, kind)) = PARAMETERS.iter().find(|(known, ..)| *known == key) else {
            // What does not look like a name may be the rest of a password.
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-.[]".contains(&b);
            let name = if name.bytes().all(is_name) { name.to_owned() } else { "…".to_owned() };
            return Err(SpecError::Unknown { name });
        };
        if value.contains('\0') {
            let reason = "holds a zero byte".to_owned();
            return Err(SpecError::Value { name: name.to_owned(), reason });
        }
        match kind {
            _ if value.is_empty() => {}
            Harmless => {}
            Only(possible) if !possible.contains(&value.as_str()) => {
                return Err(SpecError::Unsupported { name: name.to_owned(), possible });
            }
            Only(_) => {}
            Honoured => {
                self.0.insert(key, value);
            }
        }
        Ok(())
    }

    /// `[user[:password]@][host[:port],…][/database][?key=value&…]`.
    fn read_url(&mut self, rest: &str) -> Result<(), SpecError> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        // A password with a bare '/' in it would end up in a name that is shown.
        if database.contains('@') {
            return Err(SpecError::Text);
        }
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user, None),
        };
        self.set("user", "user", decoded(user)?)?;
        self.set("password", "password", decoded(password.unwrap_or_default())?)?;
        self.set("dbname", "dbname", decoded(database)?)?;
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in hosts.split(',') {
            let (name, port) = split_port(host)?;
            names.push(decoded(name)?);
            ports.push(port);
        }
        let said = |list: &[String]| list.iter().any(|one| !one.is_empty());
        if said(&names) {
            self.set("host", "host", names.join(","))?;
        }
        if ports.iter().any(|port| !port.is_empty()) {
            self.set("port", "port", ports.join(","))?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or(SpecError::Text)?;
            let (key, value) = (decoded(key)?, decoded(value)?);
            // As JDBC spells it; libpq takes it too.
            let (key, value) = match (key.as_str(), value.as_str()) {
                ("ssl", "true") => ("sslmode", "require".to_owned()),
                (key, _) => (key, value),
            };
            self.set(key, key, value)?;
        }
        Ok(())
    }

    /// `key = value key = 'a value'`.
    fn read_pairs(&mut self, text: &str) -> Result<(), SpecError> {
        let mut rest = text.trim();
        if rest.is_empty() || !rest.contains('=') {
            return Err(SpecError::Text);
        }
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=').ok_or(SpecError::Text)?;
            let key = key.trim_end();
            if key.is_empty() || key.contains(char::is_whitespace) {
                return Err(SpecError::Text);
            }
            let (value, after) = pair_value(after.trim_start())?;
            self.set(key, key, value)?;
            rest = after.trim_start();
        }
        Ok(())
    }

    /// Fills in what the service `name` says.
    fn read_service(&mut self, name: &str, variables: Variables<'_>) -> Result<(), SpecError> {
        let named = self.get("servicefile").map(str::to_owned);
        let named = named.or_else(|| variables("PGSERVICEFILE")).map(PathBuf::from);
        let own = variables("HOME").map(|home| PathBuf::from(home).join(".pg_service.conf"));
        // Where Debian's libpq looks unless PGSYSCONFDIR says otherwise.
        let system = variables("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".into());
        let system = PathBuf::from(system).join("pg_service.conf");
        let must_exist = named.is_some();
        let mut files = Vec::new();
        for (at, path) in named.or(own).into_iter().chain([system]).enumerate() {
            let shown = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    if let Some(lines) = section(&text, name) {
                        return self.read_section(&shown, &lines);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if must_exist && at == 0 {
                        let reason = error.to_string();
                        return Err(SpecError::ServiceFile { file: shown, reason });
                    }
                }
                Err(error) => {
                    let reason = error.to_string();
                    return Err(SpecError::ServiceFile { file: shown, reason });
                }
            }
            files.push(shown);
        }
        Err(SpecError::NoService { name: name.to_owned(), files })
    }

    fn read_section(&mut self, file: &str, lines: &[(usize, &str)]) -> Result<(), SpecError> {
        let mut said = Self::default();
        for (number, line) in lines {
            let file = format!("{file}:{number}");
            let bad = |reason: String| SpecError::ServiceFile { file: file.clone(), reason };
            let Some((key, value)) = line.split_once('=') else {
                return Err(bad("is not key=value".to_owned()));
            };
            if matches!(key, "service" | "servicefile") {
                return Err(bad("a service cannot name another".to_owned()));
            }
            said.set(key, key, value.to_owned()).map_err(|error| bad(error.to_string()))?;
        }
        for (key, value) in said.0 {
            self.0.entry(key).or_insert(value);
        }
        Ok(())
    }
}

/// What follows `postgres://` or `postgresql://`.
fn without_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))
}

/// Host and port of one host of a URL.
fn split_port(host: &str) -> Result<(&str, String), SpecError> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or(SpecError::Text)?;
            let port = rest.strip_prefix(':').unwrap_or(rest);
            (name, port)
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if port.bytes().all(|b| b.is_ascii_digit()) {
        Ok((name, port.to_owned()))
    } else {
        Err(SpecError::Text)
    }
}

/// The value at the beginning of `text`, and what follows it.
fn pair_value(text: &str) -> Result<(String, &str), SpecError> {
    let quoted = text.strip_prefix('\'');
    let (body, mut value) = (quoted.unwrap_or(text), String::new());
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            character if quoted.is_none() && character.is_whitespace() => {
                return Ok((value, &body[at..]));
            }
            character => value.push(character),
        }
    }
    // Only a bare value may end with the text.
    if quoted.is_some() { Err(SpecError::Text) } else { Ok((value, "")) }
}

/// `%41` is `A`.
fn decoded(text: &str) -> Result<String, SpecError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = after.first_chunk::<2>().and_then(|two| std::str::from_utf8(two).ok());
            let digits = digits.filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
            let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
            bytes.push(byte.ok_or(SpecError::Text)?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).map_err(|_| SpecError::Text)
}

/// The lines of the service `name`, with their numbers.
fn section<'a>(text: &'a str, name: &str) -> Option<Vec<(usize, &'a str)>> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let header = format!("[{name}]");
    lines.by_ref().find(|(_, line)| *line == header)?;
    Some(lines.take_while(|(_, line)| !line.starts_with('[')).collect())
}
