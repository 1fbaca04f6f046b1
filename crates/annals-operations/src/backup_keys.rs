//! The keys of backups: where they come from, who seals, who opens.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use annals_archive::Store;
use annals_backup::{Argon2Cost, Header, KeyEncryptionKey, KeyId, PassphraseRecipe, SecretText};
use annals_events::BackupId;

use crate::backup_config::{KeySource, PassphraseSource};
use crate::backups::BackupTrouble;
use crate::environment::{Environment, Question};
use crate::error::Failure;
use crate::targets::Target;

/// How long a command that gives a key may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// How often its end is looked for.
const COMMAND_LOOK: Duration = Duration::from_millis(20);

/// Reads keys of backups; what was given once is not asked for again.
pub(crate) struct KeyReader<'a> {
    environment: &'a Environment,
    target: &'a Target,
    passphrases: BTreeMap<usize, SecretText>,
}

/// Names a source, never what it holds.
fn describe(source: &KeySource) -> String {
    match source {
        KeySource::File(path) => path.display().to_string(),
        KeySource::Variable(name) => format!("the variable {name}"),
        KeySource::Command(words) => format!("the command {}", words[0]),
        KeySource::Passphrase(PassphraseSource::Asked) => "the passphrase".to_owned(),
        KeySource::Passphrase(PassphraseSource::Variable(name)) => {
            format!("the passphrase in the variable {name}")
        }
        KeySource::Passphrase(PassphraseSource::Descriptor(number)) => {
            format!("the passphrase on descriptor {number}")
        }
    }
}

fn unusable(source: &KeySource, reason: impl Into<String>) -> Failure {
    BackupTrouble::KeySource { source_name: describe(source), reason: reason.into() }.into()
}

impl<'a> KeyReader<'a> {
    pub(crate) fn new(environment: &'a Environment, target: &'a Target) -> Self {
        Self { environment, target, passphrases: BTreeMap::new() }
    }

    /// Every key a backup is sealed for. One that is not at hand is an error: nothing is sealed for
    /// fewer than was asked for.
    pub(crate) fn for_sealing(&mut self) -> Result<Vec<KeyEncryptionKey>, Failure> {
        let mut keys = Vec::new();
        for (at, source) in self.target.backup_recipients.iter().enumerate() {
            let key = match source {
                KeySource::Passphrase(_) => {
                    let recipe = PassphraseRecipe::generate(Argon2Cost::default());
                    let recipe = recipe.map_err(BackupTrouble::from)?;
                    let passphrase = self.passphrase(at, source, true)?;
                    if passphrase.len() < PassphraseRecipe::MIN_PASSPHRASE_BYTES {
                        let least = PassphraseRecipe::MIN_PASSPHRASE_BYTES;
                        return Err(unusable(source, format!("it has fewer than {least} bytes")));
                    }
                    recipe.derive(passphrase).map_err(BackupTrouble::from)?
                }
                other => self.key(other)?,
            };
            keys.push(key);
        }
        Ok(keys)
    }

    /// A key that opens what has this header. Those that cost nothing are tried first.
    pub(crate) fn for_opening(
        &mut self,
        name: &str,
        header: &Header,
    ) -> Result<Arc<Vec<KeyEncryptionKey>>, Failure> {
        let fits = |key: &KeyEncryptionKey| header.recipients.contains(&key.id());
        let mut tried = Vec::new();
        let files = self.further_files();
        let plain = self.target.backup_recipients.iter();
        let plain = plain.filter(|source| !matches!(source, KeySource::Passphrase(_)));
        for source in plain.chain(&files) {
            match self.key(source) {
                Ok(key) if fits(&key) => return Ok(Arc::new(vec![key])),
                Ok(key) => tried.push(format!("{} holds key {}", describe(source), key.id())),
                Err(Failure::Backup(trouble)) => tried.push(trouble.to_string()),
                Err(other) => return Err(other),
            }
        }
        let target = self.target;
        for (at, source) in target.backup_recipients.iter().enumerate() {
            if !matches!(source, KeySource::Passphrase(_)) || header.passphrases.is_empty() {
                continue;
            }
            let passphrase = match self.passphrase(at, source, false) {
                Ok(passphrase) => passphrase,
                Err(Failure::Backup(trouble)) => {
                    tried.push(trouble.to_string());
                    continue;
                }
                Err(other) => return Err(other),
            };
            for recipe in &header.passphrases {
                let key = recipe.derive(passphrase).map_err(BackupTrouble::from)?;
                if fits(&key) {
                    return Ok(Arc::new(vec![key]));
                }
            }
            tried.push(format!("{} is not the one it is sealed for", describe(source)));
        }
        let nothing_here = |source: &KeySource| match source {
            KeySource::File(path) => !path.exists(),
            _ => false,
        };
        if let ([source @ KeySource::File(path)], true) =
            (target.backup_recipients.as_slice(), files.is_empty())
            && nothing_here(source)
        {
            return Err(BackupTrouble::NoKey(path.clone()).into());
        }
        Err(BackupTrouble::NoKeyOpens {
            backup: name.to_owned(),
            sealed_for: header.recipients.iter().map(KeyId::to_string).collect(),
            tried,
        }
        .into())
    }

    /// How many of the recipients in this header are passphrases at hand.
    pub(crate) fn opened_by_passphrases(&mut self, header: &Header) -> Result<usize, Failure> {
        let target = self.target;
        let mut open = 0;
        for (at, source) in target.backup_recipients.iter().enumerate() {
            if !matches!(source, KeySource::Passphrase(_)) {
                continue;
            }
            let passphrase = self.passphrase(at, source, false)?;
            for recipe in &header.passphrases {
                let key = recipe.derive(passphrase).map_err(BackupTrouble::from)?;
                if header.recipients.contains(&key.id()) {
                    open += 1;
                    break;
                }
            }
        }
        Ok(open)
    }

    /// A key that opens a stored backup.
    pub(crate) async fn of_backup(
        &mut self,
        store: &Store,
        id: BackupId,
    ) -> Result<Arc<Vec<KeyEncryptionKey>>, Failure> {
        let name = id.to_string();
        let header = store.header(&name).await?;
        self.for_opening(&name, &header)
    }

    /// Keys that seal nothing any more, and the one that is named for this command alone.
    fn further_files(&self) -> Vec<KeySource> {
        let named = self.target.further_backup_key.clone().into_iter();
        let earlier = self.target.backup_recipients.iter().filter_map(|source| match source {
            KeySource::File(path) => Some(earlier_keys(path)),
            _ => None,
        });
        named.chain(earlier.flatten()).map(KeySource::File).collect()
    }

    fn key(&self, source: &KeySource) -> Result<KeyEncryptionKey, Failure> {
        let text = match source {
            KeySource::File(path) if !path.exists() => {
                return Err(BackupTrouble::NoKey(path.clone()).into());
            }
            KeySource::File(path) => {
                return Ok(KeyEncryptionKey::load(path).map_err(BackupTrouble::from)?);
            }
            KeySource::Variable(name) => {
                let text = self.environment.variable(name);
                let text = text.ok_or_else(|| unusable(source, "it is not set"))?;
                SecretText::new(text.as_bytes().to_vec())
            }
            KeySource::Command(words) => output_of(words, &self.environment.folder, COMMAND_LIMIT)
                .map_err(|reason| unusable(source, reason))?,
            KeySource::Passphrase(_) => return Err(unusable(source, "it is no key")),
        };
        let key = KeyEncryptionKey::from_secret_text(&text);
        key.map_err(|error| unusable(source, error.to_string()))
    }

    fn passphrase(
        &mut self,
        at: usize,
        source: &KeySource,
        to_seal: bool,
    ) -> Result<&SecretText, Failure> {
        if !self.passphrases.contains_key(&at) {
            let text = self.read_passphrase(source, to_seal)?;
            if text.is_empty() {
                return Err(unusable(source, "it is empty"));
            }
            self.passphrases.insert(at, text);
        }
        Ok(&self.passphrases[&at])
    }

    fn read_passphrase(&self, source: &KeySource, to_seal: bool) -> Result<SecretText, Failure> {
        let KeySource::Passphrase(place) = source else {
            return Err(unusable(source, "it is no passphrase"));
        };
        match place {
            PassphraseSource::Variable(name) => {
                let text = self.environment.variable(name);
                let text = text.ok_or_else(|| unusable(source, "it is not set"))?;
                Ok(SecretText::new(text.as_bytes().to_vec()))
            }
            PassphraseSource::Descriptor(number) => {
                read_descriptor(*number).map_err(|reason| unusable(source, reason))
            }
            PassphraseSource::Asked => {
                let asks = self.environment.asks.as_ref();
                let asks = asks.ok_or_else(|| unusable(source, "nobody can be asked here"))?;
                let target = &self.target.name;
                let ask = |question: Question<'_>| {
                    let answer = asks(question);
                    answer
                        .map_err(|error| unusable(source, error.to_string()))?
                        .ok_or(Failure::Interrupted)
                };
                let first = ask(Question::Passphrase { target })?;
                if to_seal && !ask(Question::PassphraseAgain { target })?.is_same(&first) {
                    return Err(unusable(source, "the two are not the same"));
                }
                Ok(first)
            }
        }
    }
}

/// Where the keys are that a rotation of the one at `path` has left: `backup-<key id>.key`.
pub(crate) fn earlier_key(path: &Path, id: KeyId) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{}.key", &id.to_string()[..16]))
}

pub(crate) fn earlier_keys(path: &Path) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let is_earlier = |name: &str| {
        let id = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(".key"));
        id.is_some_and(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|e| is_earlier(&e.file_name().to_string_lossy()))
        .map(|e| e.path())
        .collect();
    found.sort();
    found
}

/// What a command writes to its standard output. Nothing of it is in an error, nor of what it says
/// elsewhere: that is thrown away.
fn output_of(words: &[String], folder: &Path, limit: Duration) -> Result<SecretText, String> {
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let output = child.stdout.take().ok_or("it has no output")?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(SecretText::read(output)));
    let until = Instant::now() + limit;
    let end = |child: &mut std::process::Child| {
        let _ = child.kill();
        let _ = child.wait();
    };
    let text = match receiver.recv_timeout(limit) {
        Ok(Ok(Some(text))) => text,
        Ok(Ok(None)) => {
            end(&mut child);
            return Err(format!("it writes more than {} bytes", SecretText::MAX_BYTES));
        }
        Ok(Err(error)) => {
            end(&mut child);
            return Err(format!("its output cannot be read: {error}"));
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            end(&mut child);
            return Err(format!("it was not done within {} s", limit.as_secs_f32()));
        }
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(text),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) if Instant::now() < until => std::thread::sleep(COMMAND_LOOK),
            Ok(None) => {
                end(&mut child);
                return Err(format!("it was not done within {} s", limit.as_secs_f32()));
            }
            Err(error) => return Err(format!("its end is not known: {error}")),
        }
    }
}

fn read_descriptor(number: i32) -> Result<SecretText, String> {
    // Opened anew by its name: nobody is asked to vouch for a number.
    let mut file = fs::File::open(format!("/dev/fd/{number}"))
        .map_err(|error| format!("it cannot be read: {error}"))?;
    if file.is_terminal() {
        return Err("it is a terminal, which would show it: use passphrase = \"ask\"".to_owned());
    }
    let text = SecretText::read(file.by_ref());
    let text = text.map_err(|error| format!("it cannot be read: {error}"))?;
    text.ok_or_else(|| format!("it holds more than {} bytes", SecretText::MAX_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str], limit_ms: u64) -> Result<SecretText, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        output_of(&words, Path::new("/"), Duration::from_millis(limit_ms))
    }

    #[test]
    fn a_command_gives_its_output_or_a_reason_without_it() {
        let text = run(&["printf", "a line\\n"], 10_000);
        assert!(text.ok().unwrap().is_same(&SecretText::new(b"a line".to_vec())));
        for (words, reason) in [
            (&["/does/not/exist"][..], "cannot be started"),
            (&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"], "ended with exit status: 3"),
            (&["sh", "-c", "while :; do echo hunter2; done"], "more than 4096 bytes"),
        ] {
            let error = run(words, 10_000).err().unwrap();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let began = Instant::now();
        let error = run(&["sleep", "60"], 200).err().unwrap();
        assert!(error.contains("not done within 0.2 s"), "{error}");
        // One that has closed its output and stays, and one whose child keeps it open.
        assert!(run(&["sh", "-c", "exec >&-; sleep 60"], 200).is_err());
        assert!(run(&["sh", "-c", "sleep 5 & wait"], 200).is_err());
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_keys_a_rotation_left_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.key");
        let key = KeyEncryptionKey::generate().unwrap();
        let earlier = earlier_key(&path, key.id());
        key.create_file(&earlier).unwrap();
        for other in ["backup.key", "backup-old.key", "log.key", "backup-0123456789abcdef.pub"] {
            fs::write(folder.path().join(other), "").unwrap();
        }
        assert_eq!(earlier_keys(&path), [earlier]);
    }
}
