//! `keys/approvers.toml`: the people who may approve, and how many of them change the list.

use std::collections::BTreeSet;

use annals_events::{ApproversChanged, Digest};
use annals_keys::VerifierKey;
use serde::Deserialize;

use crate::message::{APPROVERS, approvers_message, check_signature};

/// Why a list of approvers is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApproversError {
    /// Not TOML of this shape.
    #[error("{0}")]
    Syntax(String),
    /// What it says makes no sense.
    #[error("{subject}: {reason}")]
    Value {
        /// Whose entry, or which key.
        subject: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    quorum: usize,
    #[serde(default, rename = "approver")]
    approvers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    actors: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
    keys: Vec<String>,
}

/// Somebody who may approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: String,
    /// What else the person is called where a log says who did something.
    pub actors: Vec<String>,
    /// What the person is trusted with.
    pub roles: Vec<String>,
    /// The keys, all of one person.
    pub keys: Vec<VerifierKey>,
}

impl Person {
    /// Whether `actor`, as a log spells who did something, is this person.
    pub fn is_actor(&self, actor: &str) -> bool {
        let names = std::iter::once(&self.name).chain(&self.actors);
        names.into_iter().any(|name| name.eq_ignore_ascii_case(actor))
    }
}

/// A list of approvers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvers {
    /// How many of the people on it must sign the list that takes its place.
    pub quorum: usize,
    /// The people, as they stand in the file.
    pub people: Vec<Person>,
    /// SHA-256 of the file.
    pub digest: Digest,
}

fn wrong(subject: impl Into<String>, reason: impl Into<String>) -> ApproversError {
    ApproversError::Value { subject: subject.into(), reason: reason.into() }
}

/// Names of people: what can stand in a line of a signed message and in a key.
fn name_is_valid(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=60).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.')
}

fn read_key(name: &str, text: &str) -> Result<VerifierKey, ApproversError> {
    let refused = |error: &dyn std::fmt::Display| wrong(name, error.to_string());
    if text.starts_with("ssh-") {
        return VerifierKey::from_ssh(name, text).map_err(|error| refused(&error));
    }
    let key: VerifierKey = text.parse().map_err(|error| refused(&error))?;
    if key.name() == name {
        Ok(key)
    } else {
        Err(wrong(name, format!("its key is of {:?}", key.name())))
    }
}

impl Approvers {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// When it is none, names a person or a key twice, or asks for more signatures than people.
    pub fn parse(text: &str) -> Result<Self, ApproversError> {
        let document: Document = toml::from_str(text)
            .map_err(|error| ApproversError::Syntax(error.message().to_owned()))?;
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        let mut people = Vec::new();
        for entry in document.approvers {
            let name = entry.name;
            if !name_is_valid(&name) {
                return Err(wrong(name, "a name is 1 to 60 of a-z, 0-9, '.', '_' and '-'"));
            }
            if entry.keys.is_empty() {
                return Err(wrong(name, "has no key"));
            }
            let own: BTreeSet<String> = std::iter::once(&name)
                .chain(&entry.actors)
                .map(|called| called.to_ascii_lowercase())
                .collect();
            if let Some(twice) = own.iter().find(|called| names.contains(*called)) {
                return Err(wrong(name, format!("{twice:?} is somebody else on the list")));
            }
            names.extend(own);
            let mut read = Vec::new();
            for text in &entry.keys {
                let key = read_key(&name, text)?;
                if !keys.insert(*key.public()) {
                    return Err(wrong(name, "a key stands on the list twice"));
                }
                read.push(key);
            }
            people.push(Person { name, actors: entry.actors, roles: entry.roles, keys: read });
        }
        if document.quorum == 0 || document.quorum > people.len() {
            let reason = format!("is {}, of {} people", document.quorum, people.len());
            return Err(wrong("quorum", reason));
        }
        Ok(Self { quorum: document.quorum, people, digest: Digest::of(text.as_bytes()) })
    }

    /// The person a key belongs to, whatever name it goes by.
    pub fn of_key(&self, key: &VerifierKey) -> Option<&Person> {
        let own = |person: &&Person| person.keys.iter().any(|known| known.public() == key.public());
        self.people.iter().find(own)
    }

    /// The person of that name.
    pub fn named(&self, name: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.name == name)
    }

    /// The person an actor is.
    pub fn of_actor(&self, actor: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.is_actor(actor))
    }

    /// Who of this list has signed that the list `after` takes its place; what does not fit is said.
    pub fn signers(
        &self,
        workspace: &str,
        after: &Digest,
        signatures: &[annals_events::ListSignature],
    ) -> (BTreeSet<String>, Vec<String>) {
        let (mut who, mut problems) = (BTreeSet::new(), Vec::new());
        for signed in signatures {
            let name = &signed.approver;
            let message = approvers_message(workspace, &self.digest, after, name);
            match check_signature(&signed.key, APPROVERS, &message, &signed.signature) {
                Err(error) => problems.push(format!("the signature of {name}: {error}")),
                Ok(key) => match self.of_key(&key) {
                    Some(person) if person.name == *name => {
                        who.insert(name.clone());
                    }
                    _ => problems.push(format!("the key of {name} is not on the list")),
                },
            }
        }
        (who, problems)
    }
}

/// Checks a recorded change of the list: `before` is the list that counted until then.
///
/// # Errors
///
/// Why it does not count.
pub fn check_change(
    workspace: &str,
    before: Option<&Approvers>,
    change: &ApproversChanged,
) -> Result<(), String> {
    let Some(before) = before else {
        return match change.before {
            None => Ok(()),
            Some(_) => Err("it names a list before it that the log does not have".to_owned()),
        };
    };
    if change.before != Some(before.digest) {
        return Err("it does not name the list that counted before it".to_owned());
    }
    let (who, problems) = before.signers(workspace, &change.list.digest, &change.signatures);
    if who.len() >= before.quorum {
        return Ok(());
    }
    let problems: String = problems.iter().map(|problem| format!("; {problem}")).collect();
    Err(format!("{} of {} have signed it{problems}", who.len(), before.quorum))
}
