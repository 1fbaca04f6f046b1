//! A target by name: how to reach it, where its log and keys are.

use std::path::PathBuf;

use annals_anchor::{S3Place, Variables};
use annals_archive::{FileStore, ObjectFolder, Store};
use annals_event_store::Layout;
use annals_events::Origin;
use annals_keys::{KeyRing, SecretKey, load_ring, load_secret, write_pair, write_public};
use annals_postgres::sandbox::Sandbox;
use annals_postgres::{ConnectionSpec, Platform, SchemaScope, SessionSettings};

use crate::backup_config::KeySource;
use crate::backups::BackupTrouble;
use crate::config::{ConfigError, StorePlace, TargetConfig, UrlSource};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::home::{LogHome, PostgresHome};
use crate::sandbox;
use crate::workspace::Workspace;

/// The name of the built-in target: a private PostgreSQL annals starts itself.
pub const SANDBOX_TARGET: &str = "sandbox";

/// Where backups are.
enum BackupPlace {
    /// A folder.
    Folder(PathBuf),
    /// A store of objects, and who speaks to it.
    Objects(Box<(S3Place, Variables)>),
}

/// A target, resolved.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) platform: Platform,
    /// What belongs to its schema.
    pub(crate) scope: SchemaScope,
    /// Its log's folder, where the log lives in one.
    pub(crate) layout: Layout,
    home: LogHome,
    pub(crate) origin: Origin,
    /// In an emergency without its log: the log that a journal stands in for.
    pub(crate) stands_for: Option<Origin>,
    keys: PathBuf,
    secret_override: Option<PathBuf>,
    /// Where its backups are.
    backups: BackupPlace,
    /// For whom they are sealed; paths are whole.
    pub(crate) backup_recipients: Vec<KeySource>,
    /// A file with one more key that may open them.
    pub(crate) further_backup_key: Option<PathBuf>,
    workspace: String,
}

impl Target {
    /// Resolves `name` (or the default) without reaching for it: enough for what reads logs only.
    pub(crate) fn resolve(
        environment: &Environment,
        workspace: &Workspace,
        name: Option<&str>,
    ) -> Result<Self, Failure> {
        let config = workspace.config();
        let name = name.or(config.default_target.as_deref());
        let Some(name) = name else {
            let known = known_targets(workspace);
            return Err(ConfigError::NoTarget { known }.into());
        };
        let backups = workspace.folder().join(&config.folders.backups).join(name);
        let (platform, log, keys, store) = if name == SANDBOX_TARGET {
            let folder = sandbox::folder(environment, workspace);
            let (log, keys) = (folder.join("event-store"), folder.join("keys"));
            (config.sandbox.platform, log, keys, &StorePlace::File)
        } else {
            let Some(target) = config.targets.get(name) else {
                let known = known_targets(workspace);
                return Err(ConfigError::UnknownTarget { name: name.to_owned(), known }.into());
            };
            let log = workspace.folder().join(&config.folders.event_store).join(name);
            let keys = workspace.folder().join(&config.folders.keys);
            (target.platform, log, keys, &target.event_store)
        };
        let is_sandbox = name == SANDBOX_TARGET;
        let backups = match config.backup.store.clone().filter(|_| !is_sandbox) {
            Some(place) => {
                let of_store = |name: &String| name.starts_with("AWS_");
                let variables = environment.variables.iter().filter(|(name, _)| of_store(name));
                let variables = variables.map(|(name, value)| (name.clone(), value.clone()));
                BackupPlace::Objects(Box::new((place, variables.collect())))
            }
            None => BackupPlace::Folder(backups),
        };
        let named = environment.variable("ANNALS_BACKUP_KEY").map(PathBuf::from);
        let recipients = config.backup.recipients.clone().filter(|_| !is_sandbox);
        let (backup_recipients, further_backup_key) = match recipients {
            None => (vec![KeySource::File(named.unwrap_or_else(|| keys.join("backup.key")))], None),
            Some(mut sources) => {
                for source in &mut sources {
                    if let KeySource::File(path) = source {
                        *path = workspace.folder().join(&path);
                    }
                }
                (sources, named)
            }
        };
        let origin = format!("{}/{name}", config.workspace);
        let origin: Origin = origin.parse().expect("invariant: both names were checked");
        let stand_in = environment.journal.as_ref().filter(|journal| journal.target == name);
        let (layout, store) = match stand_in {
            Some(journal) => (journal.layout.clone(), &StorePlace::File),
            None => (Layout::new(&log), store),
        };
        let origin = match store {
            _ if stand_in.is_some() => origin,
            StorePlace::File => adopted_origin(&layout, &origin).unwrap_or(origin),
            StorePlace::Target | StorePlace::Database(_) => origin,
        };
        let (origin, stands_for) = match stand_in {
            Some(journal) => (journal.origin.clone(), Some(origin)),
            None => (origin, None),
        };
        let url = match store {
            StorePlace::File => None,
            StorePlace::Target => Some(&config.targets[name].url),
            StorePlace::Database(url) => Some(url),
        };
        let home = match url {
            None => LogHome::Folder(layout.clone()),
            Some(url) => LogHome::Postgres(Box::new(PostgresHome {
                spec: read_url(environment, name, url)?,
                origin: origin.clone(),
                scratch: scratch_of(&log),
            })),
        };
        Ok(Self {
            name: name.to_owned(),
            platform,
            scope: SchemaScope {
                platform,
                managed: config.managed_schemas.clone(),
                include: config.included_schemas.clone(),
            },
            layout,
            home,
            origin,
            stands_for,
            backups,
            backup_recipients,
            further_backup_key,
            keys,
            secret_override: environment.variable("ANNALS_LOG_KEY").map(PathBuf::from),
            workspace: config.workspace.clone(),
        })
    }

    /// How to reach it; starts the sandbox if that is the target.
    pub(crate) async fn spec(
        &self,
        environment: &Environment,
        workspace: &Workspace,
    ) -> Result<ConnectionSpec, Failure> {
        if self.name == SANDBOX_TARGET {
            let sandbox = sandbox::ensure(environment, workspace).await?;
            return Ok(sandbox.spec());
        }
        Ok(read_url(environment, &self.name, &workspace.config().targets[&self.name].url)?)
    }

    /// How to reach it; none where it is the sandbox, and that does not run.
    pub(crate) fn spec_if_running(
        &self,
        environment: &Environment,
        workspace: &Workspace,
    ) -> Result<Option<ConnectionSpec>, Failure> {
        if self.name == SANDBOX_TARGET {
            let folder = sandbox::folder(environment, workspace);
            return Ok(Sandbox::find(&folder)?.map(|sandbox| sandbox.spec()));
        }
        let url = &workspace.config().targets[&self.name].url;
        Ok(Some(read_url(environment, &self.name, url)?))
    }

    /// What sessions on it are set to.
    pub(crate) fn settings(&self, workspace: &Workspace) -> SessionSettings {
        let config = workspace.config();
        SessionSettings {
            lock_timeout_ms: config.lock_timeout_ms,
            silence_ms: config.silence_timeout_ms,
            idle_in_transaction_ms: config.idle_in_transaction_ms,
            transaction_ms: config.transaction_timeout_ms,
        }
    }

    /// The place its backups are kept in.
    pub(crate) fn backup_store(&self) -> Result<Store, Failure> {
        Ok(match &self.backups {
            BackupPlace::Folder(folder) => Store::Folder(FileStore::new(folder.clone())),
            BackupPlace::Objects(place) => {
                let opened = ObjectFolder::open(&place.0, &self.name, &place.1);
                Store::Objects(opened.map_err(|error| BackupTrouble::Archive(error.into()))?)
            }
        })
    }

    /// The folder its backups are in, where they are in one.
    pub(crate) fn backup_folder(&self) -> Option<&std::path::Path> {
        match &self.backups {
            BackupPlace::Folder(folder) => Some(folder),
            BackupPlace::Objects(_) => None,
        }
    }

    pub(crate) fn public_path(&self) -> PathBuf {
        self.keys.join("log.pub")
    }

    pub(crate) fn secret_path(&self) -> PathBuf {
        self.secret_override.clone().unwrap_or_else(|| self.keys.join("log.key"))
    }

    /// Whether somebody outside holds copies of its log.
    pub(crate) fn has_anchors(&self, workspace: &Workspace) -> bool {
        let asks = |target: &TargetConfig| !target.anchors.is_empty();
        // Nobody outside is told of a journal: it is told of with the log it becomes part of.
        self.stands_for.is_none() && workspace.config().targets.get(&self.name).is_some_and(asks)
    }

    /// Lets the log of this target go by another name, where it lives in a folder.
    pub(crate) fn take_origin(&mut self, origin: Origin) -> bool {
        let in_folder = matches!(self.home, LogHome::Folder(_));
        if in_folder {
            self.origin = origin;
        }
        in_folder
    }

    /// Where its log is read.
    pub(crate) fn home(&self) -> LogHome {
        self.home.clone()
    }

    /// Where a copy of its log in a folder is made when one is needed.
    pub(crate) fn scratch(&self) -> PathBuf {
        scratch_of(self.layout.root())
    }

    /// The keys checkpoints are verified with, if they are here.
    pub(crate) fn ring(&self) -> Result<Option<KeyRing>, LogFailure> {
        let path = self.public_path();
        if path.exists() { Ok(Some(load_ring(&path)?)) } else { Ok(None) }
    }

    /// Both halves. Where neither exists yet, and no log either, they are made.
    pub(crate) fn keys(&self, log_exists: bool) -> Result<(SecretKey, KeyRing), LogFailure> {
        let (secret, public) = (self.secret_path(), self.public_path());
        match (secret.exists(), public.exists()) {
            (true, true) => {}
            (false, true) => return Err(LogFailure::NoSecretKey(secret)),
            // Their making was cut short between the two files: one follows from the other.
            (true, false) if !log_exists => {
                write_public(&load_secret(&secret)?, &public)?;
            }
            (true, false) => return Err(LogFailure::NoPublicKey(public)),
            (false, false) if log_exists => {
                return Err(LogFailure::NoPublicKey(public));
            }
            (false, false) => self.make_keys(&secret, &public)?,
        }
        let (key, ring) = (load_secret(&secret)?, load_ring(&public)?);
        if ring.is_in_force(&key.verifier()) {
            Ok((key, ring))
        } else {
            Err(LogFailure::KeyNotInForce { secret, public })
        }
    }

    fn make_keys(
        &self,
        secret: &std::path::Path,
        public: &std::path::Path,
    ) -> Result<(), LogFailure> {
        let io = |source| annals_keys::KeyFileError::Io { path: self.keys.clone(), source };
        std::fs::create_dir_all(&self.keys).map_err(io)?;
        let key = SecretKey::generate(&self.workspace).map_err(|source| {
            annals_keys::KeyFileError::Content { path: secret.to_owned(), source }
        })?;
        Ok(write_pair(&key, secret, public)?)
    }
}

/// A log that took over from one of the same name has a number behind it: `<workspace>/<target>/2`.
/// It says so itself, in its signed head.
fn adopted_origin(layout: &Layout, origin: &Origin) -> Option<Origin> {
    let note = std::fs::read_to_string(layout.checkpoint()).ok()?;
    let name = note.lines().next()?;
    let number = name.strip_prefix(origin.as_str())?.strip_prefix('/')?;
    let number: u32 = number.parse().ok()?;
    let adopted = format!("{origin}/{number}");
    (number >= 2 && adopted == name).then(|| adopted.parse().ok()).flatten()
}

fn scratch_of(log: &std::path::Path) -> PathBuf {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    log.with_file_name(format!(".{name}.copy-{}", std::process::id()))
}

/// The database a configuration names: in the file, or in a variable.
fn read_url(
    environment: &Environment,
    target: &str,
    url: &UrlSource,
) -> Result<ConnectionSpec, ConfigError> {
    let (url, place) = match url {
        UrlSource::Text(url) => (url.as_str(), format!("targets.{target}")),
        UrlSource::Variable(variable) => {
            let url = environment.variable(variable).ok_or_else(|| ConfigError::NoUrl {
                target: target.to_owned(),
                variable: variable.clone(),
            })?;
            (url, format!("the variable {variable}"))
        }
    };
    ConnectionSpec::read(url, &|name| environment.variable(name).map(str::to_owned))
        .map_err(|error| ConfigError::BadUrl { target: target.to_owned(), place, error })
}

fn known_targets(workspace: &Workspace) -> String {
    let names: Vec<&str> = workspace.config().targets.keys().map(String::as_str).collect();
    match names.as_slice() {
        [] => "there is only the built-in sandbox".to_owned(),
        names => format!("there are {} and the built-in sandbox", names.join(", ")),
    }
}
