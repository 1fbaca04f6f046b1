//! A target by name: how to reach it, where its log and keys are.

use std::path::PathBuf;

use annals_event_store::Layout;
use annals_events::Origin;
use annals_keys::{SecretKey, VerifierKey, load_secret, load_verifier, write_pair, write_public};
use annals_postgres::{ConnectionSpec, Platform, SessionSettings};

use crate::config::{ConfigError, UrlSource};
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::sandbox;
use crate::workspace::Workspace;

/// The name of the built-in target: a private PostgreSQL annals starts itself.
pub const SANDBOX_TARGET: &str = "sandbox";

/// A target, resolved.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) platform: Platform,
    pub(crate) layout: Layout,
    pub(crate) origin: Origin,
    keys: PathBuf,
    secret_override: Option<PathBuf>,
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
        let (platform, log, keys) = if name == SANDBOX_TARGET {
            let folder = sandbox::folder(environment, workspace);
            (config.sandbox_platform, folder.join("event-store"), folder.join("keys"))
        } else {
            let Some(target) = config.targets.get(name) else {
                let known = known_targets(workspace);
                return Err(ConfigError::UnknownTarget { name: name.to_owned(), known }.into());
            };
            let log = workspace.folder().join(&config.folders.event_store).join(name);
            (target.platform, log, workspace.folder().join(&config.folders.keys))
        };
        let origin = format!("{}/{name}", config.workspace);
        Ok(Self {
            name: name.to_owned(),
            platform,
            layout: Layout::new(log),
            origin: origin.parse().expect("invariant: both names were checked"),
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
        let target = &workspace.config().targets[&self.name];
        let (url, place) = match &target.url {
            UrlSource::Text(url) => (url.as_str(), format!("targets.{}.url", self.name)),
            UrlSource::Variable(variable) => {
                let url = environment.variable(variable).ok_or_else(|| ConfigError::NoUrl {
                    target: self.name.clone(),
                    variable: variable.clone(),
                })?;
                (url, format!("the variable {variable}"))
            }
        };
        let spec = ConnectionSpec::from_url(url)
            .map_err(|_| ConfigError::BadUrl { target: self.name.clone(), place })?;
        Ok(spec)
    }

    /// What sessions on it are set to.
    pub(crate) fn settings(&self, workspace: &Workspace) -> SessionSettings {
        SessionSettings { lock_timeout_ms: workspace.config().lock_timeout_ms }
    }

    fn public_path(&self) -> PathBuf {
        self.keys.join("log.pub")
    }

    fn secret_path(&self) -> PathBuf {
        self.secret_override.clone().unwrap_or_else(|| self.keys.join("log.key"))
    }

    /// The key checkpoints are verified with, if it is here.
    pub(crate) fn verifier(&self) -> Result<Option<VerifierKey>, LogFailure> {
        let path = self.public_path();
        if path.exists() { Ok(Some(load_verifier(&path)?)) } else { Ok(None) }
    }

    /// Both halves. Where neither exists yet, and no log either, they are made.
    pub(crate) fn keys(&self) -> Result<(SecretKey, VerifierKey), LogFailure> {
        let (secret, public) = (self.secret_path(), self.public_path());
        match (secret.exists(), public.exists()) {
            (true, true) => {}
            (false, true) => return Err(LogFailure::NoSecretKey(secret)),
            // Their making was cut short between the two files: one follows from the other.
            (true, false) if !self.layout.segments().exists() => {
                write_public(&load_secret(&secret)?, &public)?;
            }
            (true, false) => return Err(LogFailure::NoPublicKey(public)),
            (false, false) if self.layout.segments().exists() => {
                return Err(LogFailure::NoPublicKey(public));
            }
            (false, false) => self.make_keys(&secret, &public)?,
        }
        Ok((load_secret(&secret)?, load_verifier(&public)?))
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

fn known_targets(workspace: &Workspace) -> String {
    let names: Vec<&str> = workspace.config().targets.keys().map(String::as_str).collect();
    match names.as_slice() {
        [] => "there is only the built-in sandbox".to_owned(),
        names => format!("there are {} and the built-in sandbox", names.join(", ")),
    }
}
