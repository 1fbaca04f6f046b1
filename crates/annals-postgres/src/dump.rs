//! `pg_dump`, for the text of a schema: found where PostgreSQL's programs are, run on a snapshot that
//! a session exports.
//!
//! It reads no rows. What it is told of a login goes through its environment, never its arguments.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::postgres::PgSslMode;

use crate::connect::ConnectionSpec;
use crate::sandbox::{ServerPlaces, distribution_folders, major_of};

/// The longest text of a section that is read, and of what the program complains of.
const MAX_SECTION_BYTES: u64 = 256 << 20;
const MAX_COMPLAINT_BYTES: u64 = 4096;

/// Where distributions keep the authorities everybody trusts.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Since 16 libpq knows the system's authorities by a word.
const SYSTEM_AUTHORITIES_SINCE: u32 = 16;

/// A part of a schema, by when it is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What must be there before rows: schemas, types, functions, tables.
    PreData,
    /// What comes behind them: indexes, constraints, triggers, rules, refreshed views.
    PostData,
}

impl Section {
    /// The program's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreData => "pre-data",
            Self::PostData => "post-data",
        }
    }
}

/// Why there is no text of a schema.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// There is none.
    #[error("pg_dump is not installed (looked in PATH and the usual folders)")]
    NotInstalled {
        /// The server's major version.
        wanted: u32,
    },
    /// What there is cannot read so new a server.
    #[error("pg_dump {found} cannot dump a server of version {wanted}")]
    TooOld {
        /// The newest there is.
        found: String,
        /// The server's major version.
        wanted: u32,
    },
    /// It cannot be run.
    #[error("cannot run {}", path.display())]
    Io {
        /// The program.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It failed.
    #[error("pg_dump failed: {0}")]
    Failed(String),
}

impl DumpError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        let wanted = match self {
            Self::NotInstalled { wanted } | Self::TooOld { wanted, .. } => wanted,
            Self::Io { .. } | Self::Failed(_) => return None,
        };
        Some(format!(
            "install it (Debian, Ubuntu: apt-get install -y postgresql-client-{wanted}; versions the \
             distribution does not have: https://apt.postgresql.org)"
        ))
    }
}

/// The program `pg_dump` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpProgram {
    path: PathBuf,
    version: String,
    major: u32,
}

impl DumpProgram {
    /// Looks for a program that can dump a server of major version `server`: of that version, else of
    /// the nearest newer one.
    ///
    /// The folders that are named come first; where none of those has the program, which comes in a
    /// package of its own, the others are looked at too.
    ///
    /// # Errors
    ///
    /// When there is none, or none that is new enough.
    pub fn find(places: &ServerPlaces, server: u32) -> Result<Self, DumpError> {
        let named = places.only.iter().chain(places.by_major.values());
        let usual = distribution_folders();
        let folders = named.chain(&places.search_path).chain(&usual);
        let mut all: Vec<Self> = folders.filter_map(|folder| Self::in_folder(folder)).collect();
        all.sort_by_key(|program| program.major);
        match all.iter().find(|program| program.major >= server) {
            Some(fits) => Ok(fits.clone()),
            None => Err(match all.pop() {
                Some(newest) => DumpError::TooOld { found: newest.version, wanted: server },
                None => DumpError::NotInstalled { wanted: server },
            }),
        }
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        // Debian's `/usr/bin/pg_dump` is a script that chooses by a cluster, not by a server.
        let path = std::fs::canonicalize(folder.join("pg_dump")).ok()?;
        if path.file_name()? != "pg_dump" {
            return None;
        }
        let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
        let (_, rest) = text.split_once("(PostgreSQL) ")?;
        let version = rest.split_whitespace().next()?.to_owned();
        let major = major_of(&version)?;
        Some(Self { path, version, major })
    }

    /// Its version, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The SQL of a section as of an exported snapshot, without the schemas `excluded`.
    ///
    /// psql's commands around it are left out; everything else is SQL for any connection.
    ///
    /// # Errors
    ///
    /// When the program cannot be run or fails, with its last words.
    pub async fn section(
        &self,
        spec: &ConnectionSpec,
        snapshot: &str,
        section: Section,
        excluded: &[String],
        lock_timeout_ms: u64,
    ) -> Result<String, DumpError> {
        let mut command = Command::new(&self.path);
        command.arg(format!("--section={}", section.as_str()));
        command.arg(format!("--snapshot={snapshot}"));
        command.arg(format!("--lock-wait-timeout={lock_timeout_ms}"));
        command.args(["--no-password", "--no-blobs", "--no-tablespaces", "--encoding=UTF8"]);
        command.args(excluded.iter().map(|name| format!("--exclude-schema={}", pattern(name))));
        self.log_in(&mut command, spec);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let io = |source| DumpError::Io { path: self.path.clone(), source };
        let mut running = Running(command.spawn().map_err(io)?);
        let (out, complaints) = (running.0.stdout.take(), running.0.stderr.take());
        let reads = tokio::task::spawn_blocking(move || {
            let complaints = std::thread::spawn(move || read(complaints, MAX_COMPLAINT_BYTES));
            let text = read(out, MAX_SECTION_BYTES)?;
            let complaints = complaints.join().unwrap_or_else(|_| Ok(Vec::new()))?;
            Ok((text, complaints))
        });
        // Whoever stops waiting here ends the program with its guard.
        let (text, complaints) = match reads.await {
            Ok(read) => read.map_err(io)?,
            Err(stopped) => return Err(io(std::io::Error::other(stopped))),
        };
        let status = running.0.wait().map_err(io)?;
        if !status.success() {
            let said = String::from_utf8_lossy(&complaints).trim().to_owned();
            let said = if said.is_empty() { status.to_string() } else { said };
            return Err(DumpError::Failed(said));
        }
        if text.len() as u64 == MAX_SECTION_BYTES {
            let reason = format!("its {} is longer than 256 MiB", section.as_str());
            return Err(DumpError::Failed(reason));
        }
        let text = String::from_utf8(text)
            .map_err(|_| DumpError::Failed("its output is not UTF-8".to_owned()))?;
        Ok(without_psql(&text))
    }

    /// Nothing of our own surroundings reaches the program but what finds its libraries.
    fn log_in(&self, command: &mut Command, spec: &ConnectionSpec) {
        let inherited = ["PATH", "HOME", "LD_LIBRARY_PATH"];
        let kept: Vec<_> =
            inherited.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))).collect();
        command.env_clear().envs(kept);
        let endpoint = spec.endpoint();
        let (options, login) = (&endpoint.options, endpoint.login());
        match options.get_socket() {
            Some(folder) => command.env("PGHOST", folder),
            None => command.env("PGHOST", options.get_host()),
        };
        command.env("PGPORT", options.get_port().to_string());
        command.env("PGUSER", options.get_username()).env("PGDATABASE", spec.database());
        command.env("PGAPPNAME", "annals/backup").env("PGPASSFILE", "/dev/null");
        command.env("PGCONNECT_TIMEOUT", endpoint.timeout.as_secs().to_string());
        if let Some(settings) = options.get_options() {
            command.env("PGOPTIONS", settings);
        }
        if let Some(password) = &login.password {
            command.env("PGPASSWORD", password);
        }
        if let Some((certificate, key)) = &login.certificate {
            command.env("PGSSLCERT", certificate).env("PGSSLKEY", key);
        }
        let mode = match options.get_ssl_mode() {
            PgSslMode::Disable => "disable",
            PgSslMode::Allow | PgSslMode::Prefer => "prefer",
            PgSslMode::Require => "require",
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => "verify-full",
        };
        command.env("PGSSLMODE", mode);
        if mode == "verify-full" {
            let named = login.root_certificate.clone().filter(|file| file != "system");
            command.env("PGSSLROOTCERT", named.unwrap_or_else(|| self.authorities()));
        }
    }

    fn authorities(&self) -> String {
        let here = AUTHORITIES.iter().find(|file| Path::new(file).is_file());
        match here {
            Some(file) if self.major < SYSTEM_AUTHORITIES_SINCE => (*file).to_owned(),
            _ => "system".to_owned(),
        }
    }
}

/// A program that does not outlive whoever waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(source: Option<impl Read>, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        source.by_ref().take(limit).read_to_end(&mut bytes)?;
        // A pipe nobody reads would stop the program.
        std::io::copy(&mut source, &mut std::io::sink())?;
    }
    Ok(bytes)
}

/// A pattern of psql that means one name.
fn pattern(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Without the two commands that keep psql from obeying others: they frame the text, each on a line
/// of its own.
fn without_psql(text: &str) -> String {
    let is_frame = |line: &str| line.starts_with("\\restrict ");
    let Some(frame) = text.lines().find(|line| !line.is_empty() && !line.starts_with("--")) else {
        return text.to_owned();
    };
    if !is_frame(frame) {
        return text.to_owned();
    }
    let end = frame.replacen("\\restrict", "\\unrestrict", 1);
    let without_start = text.replacen(&format!("{frame}\n"), "", 1);
    match without_start.rfind(&end) {
        Some(at) => format!("{}{}", &without_start[..at], &without_start[at + end.len()..]),
        None => without_start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_for_psql_are_left_out_and_nothing_else() {
        let sql =
            "--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\nSELECT '\n\\restrict no';\n\n";
        let framed = format!("--\n-- head\n--\n\n\\restrict aB3\n\n{sql}\\unrestrict aB3\n\n");
        assert_eq!(without_psql(&framed), format!("--\n-- head\n--\n\n\n{sql}\n\n"));
        assert_eq!(without_psql(sql), sql);
        assert_eq!(without_psql(""), "");
    }

    #[test]
    fn a_program_that_is_too_old_is_refused_with_the_one_to_install() {
        let error = DumpProgram::find(&ServerPlaces::default(), 99).unwrap_err();
        assert!(matches!(&error, DumpError::TooOld { wanted: 99, .. }), "{error}");
        assert!(error.hint().unwrap().contains("apt-get install -y postgresql-client-99"));
    }

    #[test]
    fn a_name_is_a_pattern_of_itself() {
        assert_eq!(pattern("a\"b*"), "\"a\"\"b*\"");
    }
}
