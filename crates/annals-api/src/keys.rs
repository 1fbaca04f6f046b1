//! `keys`.

use std::collections::BTreeMap;

use annals_operations::{BackupKeyView, GeneratedKey, KeyStanding, KeyView, Rotation};
use serde::Serialize;

use crate::rekey::BackupKeyDocument;

/// One key.
#[derive(Debug, Clone, Serialize)]
pub struct KeyDocument {
    /// `log` or `approver`.
    pub purpose: &'static str,
    /// The name it signs as.
    pub name: String,
    /// Its C2SP key id.
    pub id: String,
    /// The whole verifier key.
    pub key: String,
    /// `in_force` or `retired`.
    pub standing: &'static str,
    /// A retired log key: for each log, the largest size its signature counts for.
    pub until: BTreeMap<String, u64>,
    /// Whether its secret half is here.
    pub secret_is_here: bool,
}

impl From<&KeyView> for KeyDocument {
    fn from(view: &KeyView) -> Self {
        let (standing, until) = match &view.standing {
            KeyStanding::InForce => ("in_force", BTreeMap::new()),
            KeyStanding::Retired(until) => {
                let until = until.iter().map(|(origin, size)| (origin.to_string(), *size));
                ("retired", until.collect())
            }
        };
        Self {
            purpose: view.purpose.as_str(),
            name: view.name.clone(),
            id: view.id.clone(),
            key: view.key.clone(),
            standing,
            until,
            secret_is_here: view.secret_is_here,
        }
    }
}

/// `annals keys list`.
#[derive(Debug, Clone, Serialize)]
pub struct KeysDocument {
    /// `annals.keys/1`.
    pub format: &'static str,
    /// Log keys, oldest first, then approvers.
    pub keys: Vec<KeyDocument>,
    /// Keys of backups in files: those that seal, then those that only open.
    pub backup_keys: Vec<BackupKeyDocument>,
}

impl From<(&[KeyView], &[BackupKeyView])> for KeysDocument {
    fn from((keys, backup_keys): (&[KeyView], &[BackupKeyView])) -> Self {
        Self {
            format: "annals.keys/1",
            keys: keys.iter().map(KeyDocument::from).collect(),
            backup_keys: backup_keys.iter().map(BackupKeyDocument::from).collect(),
        }
    }
}

/// `annals keys generate` and `annals keys retire`.
#[derive(Debug, Clone, Serialize)]
pub struct KeyChangeDocument {
    /// `annals.key/1`.
    pub format: &'static str,
    /// The key.
    pub key: KeyDocument,
    /// Where its secret half is, for its owner alone.
    pub secret: Option<String>,
    /// Where its public half is, to be committed.
    pub public: Option<String>,
}

impl From<&GeneratedKey> for KeyChangeDocument {
    fn from(generated: &GeneratedKey) -> Self {
        Self {
            format: "annals.key/1",
            key: KeyDocument::from(&generated.view),
            secret: Some(generated.secret.display().to_string()),
            public: Some(generated.public.display().to_string()),
        }
    }
}

impl From<&KeyView> for KeyChangeDocument {
    fn from(view: &KeyView) -> Self {
        let key = KeyDocument::from(view);
        Self { format: "annals.key/1", key, secret: None, public: None }
    }
}

/// `annals keys rotate`.
#[derive(Debug, Clone, Serialize)]
pub struct RotationDocument {
    /// `annals.key_rotation/1`.
    pub format: &'static str,
    /// The key that is retired.
    pub old: String,
    /// The key that signs from now on.
    pub new: String,
    /// The logs it was rotated in, each with the largest size the old key counts for.
    pub logs: BTreeMap<String, u64>,
    /// Where the public keys are, to be committed.
    pub public: String,
}

impl From<&Rotation> for RotationDocument {
    fn from(rotation: &Rotation) -> Self {
        let logs = rotation.logs.iter().map(|log| (log.origin.to_string(), log.size));
        Self {
            format: "annals.key_rotation/1",
            old: rotation.old.clone(),
            new: rotation.new.clone(),
            logs: logs.collect(),
            public: rotation.public.display().to_string(),
        }
    }
}
