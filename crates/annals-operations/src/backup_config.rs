//! The table `[backup]` of `annals.toml`.

use std::path::PathBuf;

use annals_anchor::S3Place;
use serde::Deserialize;

use crate::config::{ConfigError, is_variable_name, value_error};

/// Applied migrations whose backups stay when nothing is said.
const KEEP_ROLLBACKS: u64 = 5;

/// The most recipients a container takes.
const MAX_RECIPIENTS: usize = annals_backup::MAX_RECIPIENTS;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct BackupTable {
    store: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    allow_http: bool,
    recipients: Option<Vec<RecipientTable>>,
    keep_last: Option<u64>,
    keep_days: Option<u64>,
    keep_rollbacks: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, such as { file = \"keys/backup.key\" }")]
struct RecipientTable {
    file: Option<PathBuf>,
    env: Option<String>,
    command: Option<Vec<String>>,
    passphrase: Option<String>,
    passphrase_env: Option<String>,
    passphrase_fd: Option<i32>,
}

/// Where a key of backups comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file, relative to the workspace.
    File(PathBuf),
    /// An environment variable that holds the line of a key file.
    Variable(String),
    /// A program, with its arguments, that writes the line of a key file.
    Command(Vec<String>),
    /// A passphrase.
    Passphrase(PassphraseSource),
}

/// Where a passphrase comes from. Never from an argument: those are seen by everybody on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassphraseSource {
    /// Somebody at a terminal.
    Asked,
    /// An environment variable.
    Variable(String),
    /// A file descriptor that is open when annals starts.
    Descriptor(i32),
}

/// How backups are kept.
#[derive(Debug, Clone)]
pub struct BackupConfig {
    /// The S3-compatible store they are kept in. Default none: a folder.
    pub store: Option<S3Place>,
    /// For whom they are sealed; any of them opens one. Default the file `backup.key` beside the keys.
    pub recipients: Option<Vec<KeySource>>,
    /// What `backup prune` keeps by number. Default nothing is said.
    pub keep_last: Option<u64>,
    /// What it keeps by age, in days. Default nothing is said.
    pub keep_days: Option<u64>,
    /// The migrations applied last whose backups stay. Default 5.
    pub keep_rollbacks: u64,
}

pub(crate) fn read_backup(table: BackupTable) -> Result<BackupConfig, ConfigError> {
    let store = read_store(&table)?;
    let recipients = match table.recipients {
        None => None,
        Some(tables) if tables.is_empty() || tables.len() > MAX_RECIPIENTS => {
            let reason = format!("takes 1 to {MAX_RECIPIENTS} of them");
            return Err(value_error("backup.recipients", reason));
        }
        Some(tables) => {
            let sources: Vec<KeySource> =
                tables.into_iter().map(read_recipient).collect::<Result<_, _>>()?;
            let twice = (1..sources.len()).any(|at| sources[..at].contains(&sources[at]));
            if twice {
                return Err(value_error("backup.recipients", "names one of them twice"));
            }
            Some(sources)
        }
    };
    Ok(BackupConfig {
        store,
        recipients,
        keep_last: table.keep_last,
        keep_days: table.keep_days,
        keep_rollbacks: table.keep_rollbacks.unwrap_or(KEEP_ROLLBACKS),
    })
}

fn read_store(table: &BackupTable) -> Result<Option<S3Place>, ConfigError> {
    let refused =
        |error: annals_anchor::ParsePlaceError| value_error("backup.store", error.to_string());
    let BackupTable { endpoint, region, allow_http, .. } = table;
    let Some(url) = &table.store else {
        if endpoint.is_some() || region.is_some() || *allow_http {
            return Err(value_error("backup", "endpoint, region and allow_http belong to a store"));
        }
        return Ok(None);
    };
    let place: S3Place = url.parse().map_err(refused)?;
    let (endpoint, region, allow_http) = (endpoint.clone(), region.clone(), *allow_http);
    let place = S3Place { endpoint, region, allow_http, ..place };
    place.check().map_err(refused)?;
    Ok(Some(place))
}

fn read_recipient(table: RecipientTable) -> Result<KeySource, ConfigError> {
    const KEY: &str = "backup.recipients";
    let variable = |name: String| match is_variable_name(&name) {
        true => Ok(name),
        // What stands there is not repeated: perhaps the secret itself.
        false => Err(value_error(KEY, "env is not the name of an environment variable")),
    };
    let RecipientTable { file, env, command, passphrase, passphrase_env, passphrase_fd } = table;
    let passphrase_of = KeySource::Passphrase;
    match (file, env, command, passphrase, passphrase_env, passphrase_fd) {
        (Some(path), None, None, None, None, None) => Ok(KeySource::File(path)),
        (None, Some(name), None, None, None, None) => Ok(KeySource::Variable(variable(name)?)),
        (None, None, Some(words), None, None, None) => {
            if words.first().is_none_or(String::is_empty) {
                return Err(value_error(KEY, "a command is a program and its arguments"));
            }
            Ok(KeySource::Command(words))
        }
        (None, None, None, Some(word), None, None) if word == "ask" => {
            Ok(passphrase_of(PassphraseSource::Asked))
        }
        (None, None, None, Some(_), None, None) => Err(value_error(
            KEY,
            "passphrase is \"ask\": the passphrase itself does not belong into a file",
        )),
        (None, None, None, None, Some(name), None) => {
            Ok(passphrase_of(PassphraseSource::Variable(variable(name)?)))
        }
        (None, None, None, None, None, Some(number)) if number >= 3 => {
            Ok(passphrase_of(PassphraseSource::Descriptor(number)))
        }
        (None, None, None, None, None, Some(_)) => {
            Err(value_error(KEY, "passphrase_fd is 3 or more: 0 to 2 are the program's own"))
        }
        _ => Err(value_error(
            KEY,
            "each is one of file, env, command, passphrase, passphrase_env and passphrase_fd",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BackupConfig, String> {
        let table: BackupTable = toml::from_str(text).map_err(|error| error.to_string())?;
        read_backup(table).map_err(|error| error.to_string())
    }

    #[test]
    fn every_source_of_a_key_is_read() {
        let text = "recipients = [{ file = \"k\" }, { env = \"A\" }, { command = [\"p\", \"x\"] }, \
                    { passphrase = \"ask\" }, { passphrase_env = \"B\" }, { passphrase_fd = 3 }]";
        let sources = parse(text).unwrap().recipients.unwrap();
        assert_eq!(sources.len(), 6);
        assert_eq!(sources[2], KeySource::Command(vec!["p".to_owned(), "x".to_owned()]));
        assert_eq!(sources[5], KeySource::Passphrase(PassphraseSource::Descriptor(3)));
        let usual = parse("").unwrap();
        assert!(usual.recipients.is_none() && usual.store.is_none());
        assert_eq!((usual.keep_rollbacks, usual.keep_last), (KEEP_ROLLBACKS, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_no_secret_is_repeated() {
        for text in [
            "recipients = []",
            "recipients = [{}]",
            "recipients = [{ file = \"a\", env = \"A\" }]",
            "recipients = [{ file = \"a\" }, { file = \"a\" }]",
            "recipients = [{ env = \"hunter2 \" }]",
            "recipients = [{ passphrase = \"hunter2\" }]",
            "recipients = [{ passphrase_fd = 1 }]",
            "recipients = [{ command = [] }]",
            "store = \"/mnt/backups\"",
            "store = \"s3://bucket/x\"\nendpoint = \"http://10.0.0.1\"",
            "region = \"eu-west-1\"",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("backup") && !error.contains("hunter2"), "{text}: {error}");
        }
        let store = parse("store = \"s3://bucket/x\"\nendpoint = \"https://h\"").unwrap().store;
        assert_eq!(store.unwrap().prefix, "x");
    }
}
