//! `keys`: log keys and approver keys: generate, rotate, list, retire.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use annals_event_store::EventStore;
use annals_events::{KeyAdded, KeyPurpose, KeyRetired, Origin};
use annals_executor::Interrupt;
use annals_keys::{
    KeyFileError, KeyRing, SecretKey, VerifierKey, load_ring, load_secret, replace_ring,
    write_pair, write_secret,
};

use crate::config::check_name;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::open;
use crate::targets::{SANDBOX_TARGET, Target};
use crate::workspace::Workspace;

/// How a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStanding {
    /// It signs.
    InForce,
    /// It signs no more; of a log key, what its signatures count for.
    Retired(BTreeMap<Origin, u64>),
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// The name it signs as; of an approver, the person.
    pub name: String,
    /// Its C2SP key id, eight hexadecimal digits.
    pub id: String,
    /// The whole verifier key.
    pub key: String,
    /// How it stands.
    pub standing: KeyStanding,
    /// Whether its secret half is here.
    pub secret_is_here: bool,
}

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// The key.
    pub view: KeyView,
    /// Where the secret half is; for its owner alone.
    pub secret: PathBuf,
    /// Where the public half is; to be committed.
    pub public: PathBuf,
}

/// A log whose key was rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotatedLog {
    /// The log.
    pub origin: Origin,
    /// The largest size the old key counts for: the checkpoint both have signed.
    pub size: u64,
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The key that is retired.
    pub old: String,
    /// The key that signs from now on.
    pub new: String,
    /// The logs it was rotated in.
    pub logs: Vec<RotatedLog>,
    /// Where the public keys are; to be committed.
    pub public: PathBuf,
}

fn key_id(key: &VerifierKey) -> String {
    format!("{:08x}", key.id())
}

fn argument(subject: impl Into<String>, reason: impl Into<String>) -> Failure {
    Failure::Argument { subject: subject.into(), reason: reason.into() }
}

/// Where the keys of a workspace are.
struct KeyFolder {
    root: PathBuf,
}

impl KeyFolder {
    fn of(workspace: &Workspace) -> Self {
        Self { root: workspace.folder().join(&workspace.config().folders.keys) }
    }

    fn approvers(&self) -> PathBuf {
        self.root.join("approvers")
    }

    fn retired_approvers(&self) -> PathBuf {
        self.approvers().join("retired")
    }
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|source| Failure::Write { path: path.to_owned(), source })
}

fn generated(name: &str) -> Result<SecretKey, Failure> {
    SecretKey::generate(name).map_err(|error| argument(format!("key {name:?}"), error.to_string()))
}

/// Makes the log key of a workspace that has none.
///
/// # Errors
///
/// When there is one, or the files cannot be written.
pub fn generate_log_key(environment: &Environment) -> Result<GeneratedKey, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let folder = KeyFolder::of(&workspace);
    make_folder(&folder.root)?;
    let (secret, public) = (folder.root.join("log.key"), folder.root.join("log.pub"));
    if secret.exists() || public.exists() {
        let reason = "there is a log key already; replace it with: annals keys rotate";
        return Err(argument(folder.root.display().to_string(), reason));
    }
    write_key(&workspace.config().workspace, KeyPurpose::Log, secret, public)
}

/// Makes the key pair of a person who approves.
///
/// # Errors
///
/// When there is one of that name, or the files cannot be written.
pub fn generate_approver_key(
    environment: &Environment,
    name: &str,
    secret: Option<&Path>,
) -> Result<GeneratedKey, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    check_name("approver", name)?;
    let folder = KeyFolder::of(&workspace);
    make_folder(&folder.approvers())?;
    let public = folder.approvers().join(format!("{name}.pub"));
    let own = folder.approvers().join(format!("{name}.key"));
    let secret = secret.map_or(own, |path| environment.folder.join(path));
    for path in [&public, &secret, &folder.retired_approvers().join(format!("{name}.pub"))] {
        if path.exists() {
            let reason = "there is such a key already; choose another name, or retire it first";
            return Err(argument(path.display().to_string(), reason));
        }
    }
    write_key(name, KeyPurpose::Approver, secret, public)
}

fn write_key(
    name: &str,
    purpose: KeyPurpose,
    secret: PathBuf,
    public: PathBuf,
) -> Result<GeneratedKey, Failure> {
    let key = generated(name)?;
    write_pair(&key, &secret, &public).map_err(LogFailure::from)?;
    let view = view(purpose, &key.verifier(), KeyStanding::InForce, true);
    Ok(GeneratedKey { view, secret, public })
}

fn view(
    purpose: KeyPurpose,
    key: &VerifierKey,
    standing: KeyStanding,
    secret_is_here: bool,
) -> KeyView {
    KeyView {
        purpose,
        name: key.name().to_owned(),
        id: key_id(key),
        key: key.to_string(),
        standing,
        secret_is_here,
    }
}

/// Every key of the workspace: log keys oldest first, then approvers by name.
///
/// # Errors
///
/// When a key file cannot be read.
pub fn list_keys(environment: &Environment) -> Result<Vec<KeyView>, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let folder = KeyFolder::of(&workspace);
    let mut views = Vec::new();
    let public = folder.root.join("log.pub");
    if public.exists() {
        let ring = load_ring(&public).map_err(LogFailure::from)?;
        let own = environment.variable("ANNALS_LOG_KEY").map(PathBuf::from);
        let own = load_secret(&own.unwrap_or_else(|| folder.root.join("log.key"))).ok();
        let own = own.map(|key| key.verifier());
        for entry in ring.keys() {
            let standing = entry.until.clone().map_or(KeyStanding::InForce, KeyStanding::Retired);
            let is_here = own.as_ref() == Some(&entry.key);
            views.push(view(KeyPurpose::Log, &entry.key, standing, is_here));
        }
    }
    let retired = KeyStanding::Retired(BTreeMap::new());
    for (path, standing) in
        [(folder.approvers(), KeyStanding::InForce), (folder.retired_approvers(), retired)]
    {
        for public in public_files(&path)? {
            let ring = load_ring(&public).map_err(LogFailure::from)?;
            let is_here = public.with_extension("key").exists();
            let keys = ring.keys().iter();
            views.extend(
                keys.map(|entry| view(KeyPurpose::Approver, &entry.key, standing.clone(), is_here)),
            );
        }
    }
    Ok(views)
}

fn public_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            let error = KeyFileError::Io { path: folder.to_owned(), source };
            return Err(LogFailure::from(error).into());
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "pub")).collect();
    paths.sort();
    Ok(paths)
}

/// Retires an approver's key: it approves nothing any more.
///
/// # Errors
///
/// When there is no such key, or it is a log key: those are rotated.
pub fn retire_key(environment: &Environment, name: &str) -> Result<KeyView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let folder = KeyFolder::of(&workspace);
    let keys = list_keys(environment)?;
    let found = keys.iter().find(|key| key.name == name || key.id == name);
    let subject = || format!("key {name:?}");
    let found = match found {
        None => return Err(argument(subject(), "there is no such key; see: annals keys list")),
        Some(key) if key.purpose == KeyPurpose::Log => {
            let reason = "is a log key: a new one takes its place with: annals keys rotate";
            return Err(argument(subject(), reason));
        }
        Some(key) if key.standing != KeyStanding::InForce => {
            return Err(argument(subject(), "is retired already"));
        }
        Some(key) => key.clone(),
    };
    let retired = folder.retired_approvers();
    make_folder(&retired)?;
    let file = format!("{}.pub", found.name);
    let (from, to) = (folder.approvers().join(&file), retired.join(&file));
    fs::rename(&from, &to).map_err(|source| Failure::Write { path: to, source })?;
    Ok(KeyView { standing: KeyStanding::Retired(BTreeMap::new()), ..found })
}

/// Rotates the log key: a new one signs from now on, in every log of the workspace.
///
/// In each log two events say so, and the checkpoint over them is signed by both keys: it is the
/// last the old one counts for. A rotation that was cut short is finished by the next.
///
/// # Errors
///
/// When a log or its target cannot be opened for work: then nothing was done in that log.
pub async fn rotate_log_key(
    environment: &Environment,
    sandbox: bool,
    interrupt: &mut Interrupt,
) -> Result<Rotation, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let targets = rotated_targets(environment, &workspace, sandbox).await?;
    let files = targets.first().map(|target| (target.secret_path(), target.public_path()));
    let folder = KeyFolder::of(&workspace).root;
    let (secret, public) =
        files.unwrap_or_else(|| (folder.join("log.key"), folder.join("log.pub")));
    let ring = load_ring(&public).map_err(LogFailure::from)?;
    let old = load_secret(&secret).map_err(LogFailure::from)?;
    let next = secret.with_extension("key.next");
    let old_signs = ring.is_in_force(&old.verifier());
    if !old_signs && !next.exists() {
        // Somebody else has rotated it: their new key is wanted, not one more.
        return Err(LogFailure::KeyNotInForce { secret, public }.into());
    }
    if !next.exists() {
        let key = generated(old.verifier().name())?;
        write_secret(&key, &next).map_err(LogFailure::from)?;
    }
    let new = load_secret(&next).map_err(LogFailure::from)?;
    let (old_text, new_text) = (old.verifier().to_string(), new.verifier().to_string());
    let mut logs = Vec::new();
    if old_signs {
        for target in &targets {
            logs.push(rotate_in(environment, &workspace, target, (&old, &new), interrupt).await?);
        }
        write_ring(ring, (&old, &new), &logs, &public)?;
    }
    // Last: until now the old key could still sign, and a next rotation finds the new one.
    fs::rename(&next, &secret).map_err(|source| Failure::Write { path: secret, source })?;
    Ok(Rotation { old: old_text, new: new_text, logs, public })
}

/// The targets that have a log signed with the key in question.
async fn rotated_targets(
    environment: &Environment,
    workspace: &Workspace,
    sandbox: bool,
) -> Result<Vec<Target>, Failure> {
    let names: Vec<&str> = match sandbox {
        true => vec![SANDBOX_TARGET],
        false => workspace.config().targets.keys().map(String::as_str).collect(),
    };
    let mut targets = Vec::new();
    for name in names {
        let target = Target::resolve(environment, workspace, Some(name))?;
        if target.home().exists().await? {
            targets.push(target);
        }
    }
    Ok(targets)
}

fn write_ring(
    mut ring: KeyRing,
    (old, new): (&SecretKey, &SecretKey),
    logs: &[RotatedLog],
    public: &Path,
) -> Result<(), Failure> {
    let until = logs.iter().map(|log| (log.origin.clone(), log.size)).collect();
    ring.add(new.verifier());
    ring.retire(&old.verifier(), until);
    replace_ring(public, &ring).map_err(LogFailure::from)?;
    Ok(())
}

async fn rotate_in(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    (old, new): (&SecretKey, &SecretKey),
    interrupt: &mut Interrupt,
) -> Result<RotatedLog, Failure> {
    let mut opened =
        open::open_rotating(environment, workspace, target, "annals/keys", interrupt).await?;
    opened.say_what_was_found();
    let origin = target.origin.clone();
    let (old_text, new_text) = (old.verifier().to_string(), new.verifier().to_string());
    let size = match opened.book().retired_keys.get(&old_text) {
        // An earlier rotation came this far.
        Some(size) => *size,
        None => {
            let log = &opened.recorder.log;
            let size = log.head().size + 2;
            let purpose = KeyPurpose::Log;
            let added = KeyAdded { key: new_text, purpose };
            let retired = KeyRetired { key: old_text, purpose, size: Some(size) };
            opened.record(vec![added.into(), retired.into()]).await?;
            size
        }
    };
    opened.publish_by(&[old, new]).await?;
    opened.close().await;
    Ok(RotatedLog { origin, size })
}
