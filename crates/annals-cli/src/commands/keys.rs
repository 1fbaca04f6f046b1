//! `annals keys`.

use std::path::PathBuf;

use annals_api::{
    BackupKeyDocument, BackupKeyRotationDocument, ExitCode, KeyChangeDocument, KeyDocument,
    KeysDocument, RotationDocument,
};
use annals_operations::{
    Environment, Failure, generate_approver_key, generate_log_key, list_backup_keys, list_keys,
    retire_key, rotate_backup_key, rotate_log_key,
};

use super::approver;
use crate::output::Output;
use crate::signals;
use crate::style::{self, FAINT, GOOD, HINT, NOTE, STRONG};

/// Keys that sign checkpoints of logs, keys of people who approve, and keys of backups
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key pair
    #[command(subcommand)]
    Generate(Generate),
    /// Let a new key sign the logs from now on; the old one counts up to this moment
    ///
    /// Every log of the workspace gets two events that say so, and a checkpoint signed by both
    /// keys. A rotation that was cut short is finished by running it again.
    ///
    /// With --backup it is the key of backups: a new one is made, the old one is kept beside it and opens
    /// what was sealed for it, until annals backup rekey has given that to the new one.
    Rotate {
        /// Rotate the key backups are sealed for instead
        #[arg(long)]
        backup: bool,

        /// Rotate the key of the workspace's private PostgreSQL instead
        #[arg(long)]
        sandbox: bool,
    },
    /// Who may approve: the list in keys/approvers.toml
    #[command(subcommand)]
    Approver(approver::Command),
    /// Show every key and how far it counts
    List,
    /// Retire an approver's key, by name or key id
    Retire {
        /// The name, or the key id
        key: String,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Generate {
    /// The key that signs the logs of a workspace that has none yet
    Log,
    /// The key of a person who approves
    Approver {
        /// Who
        name: String,
        /// Where the secret half goes; by default beside the public one, ignored by git
        #[arg(long, value_name = "FILE")]
        secret: Option<PathBuf>,
    },
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Failure> {
    match command {
        Command::Generate(Generate::Log) => {
            let key = generate_log_key(environment)?;
            output.show(&KeyChangeDocument::from(&key), made);
        }
        Command::Generate(Generate::Approver { name, secret }) => {
            let key = generate_approver_key(environment, name, secret.as_deref())?;
            output.show(&KeyChangeDocument::from(&key), made);
        }
        Command::Rotate { backup: true, sandbox } => {
            let rotation = rotate_backup_key(environment, *sandbox)?;
            output.show(&BackupKeyRotationDocument::from(&rotation), backup_rotated);
        }
        Command::Rotate { backup: false, sandbox } => {
            let rotation = rotate_log_key(environment, *sandbox, &mut signals::listen()).await?;
            output.show(&RotationDocument::from(&rotation), rotated);
        }
        Command::Approver(command) => return approver::run(environment, output, command).await,
        Command::List => {
            let (keys, backup_keys) = (list_keys(environment)?, list_backup_keys(environment)?);
            let both = (keys.as_slice(), backup_keys.as_slice());
            output.show(&KeysDocument::from(both), listed);
        }
        Command::Retire { key } => {
            let key = retire_key(environment, key)?;
            output.show(&KeyChangeDocument::from(&key), |document| {
                format!("{GOOD}✓{GOOD:#} {} approves nothing any more\n", document.key.name)
            });
        }
    }
    Ok(ExitCode::Success)
}

fn made(document: &KeyChangeDocument) -> String {
    let path = |path: &Option<String>| style::safe(path.as_deref().unwrap_or_default());
    format!(
        "{GOOD}✓{GOOD:#} {} key {STRONG}{}{STRONG:#} ({})\n  {FAINT}public{FAINT:#}  {}  (commit \
         it)\n  {FAINT}secret{FAINT:#}  {}  (keep it)\n",
        document.key.purpose,
        document.key.name,
        document.key.id,
        path(&document.public),
        path(&document.secret),
    )
}

fn rotated(document: &RotationDocument) -> String {
    let mut text = format!(
        "{GOOD}✓{GOOD:#} a new key signs from now on\n  {FAINT}old{FAINT:#}  {}\n  \
         {FAINT}new{FAINT:#}  {}\n",
        document.old, document.new
    );
    for (origin, size) in &document.logs {
        text.push_str(&format!("  {origin}: the old key counts up to {size} events\n"));
    }
    text.push_str(&format!(
        "{HINT}next{HINT:#}: commit {}, and give the new secret key to who runs migrations\n",
        style::safe(&document.public)
    ));
    text
}

fn backup_rotated(document: &BackupKeyRotationDocument) -> String {
    format!(
        "{GOOD}✓{GOOD:#} backups are sealed for a new key from now on\n  {FAINT}old{FAINT:#}  {}  {}\n  \
         {FAINT}new{FAINT:#}  {}  {}\n{HINT}next{HINT:#}: keep a copy of the new one elsewhere; then \
         annals backup rekey --all gives it the backups there are\n",
        document.old,
        style::safe(&document.kept),
        document.new,
        style::safe(&document.path),
    )
}

fn backup_line(key: &BackupKeyDocument) -> String {
    let (look, standing) = match key.seals {
        true => (GOOD, "seals and opens"),
        false => (NOTE, "opens what was sealed for it"),
    };
    format!(
        "  {:<9} {STRONG}{:<20}{STRONG:#} {FAINT}{}{FAINT:#}  {look}{standing}{look:#}\n",
        "backup",
        style::safe(key.path.rsplit('/').next().unwrap_or_default()),
        key.id
    )
}

fn line(key: &KeyDocument) -> String {
    let (look, mut standing) = match key.standing {
        "in_force" => (GOOD, "in force".to_owned()),
        _ => (NOTE, "retired".to_owned()),
    };
    for (origin, size) in &key.until {
        standing.push_str(&format!(", counts for {origin} up to {size} events"));
    }
    let here = if key.secret_is_here { "  secret here" } else { "" };
    format!(
        "  {:<9} {STRONG}{:<20}{STRONG:#} {FAINT}{}{FAINT:#}  {look}{standing}{look:#}{FAINT}{here}{FAINT:#}\n",
        key.purpose, key.name, key.id
    )
}

fn listed(document: &KeysDocument) -> String {
    let backup_keys = document.backup_keys.iter().map(backup_line);
    match document.keys.as_slice() {
        [] if document.backup_keys.is_empty() => {
            "there are no keys; annals init or annals keys generate log makes the first\n".into()
        }
        keys => keys.iter().map(line).chain(backup_keys).collect(),
    }
}
