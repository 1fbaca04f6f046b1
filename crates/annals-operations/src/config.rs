//! `annals.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annals_anchor::AnchorPlace;
use annals_approvals::Policy as ApprovalPolicy;
use annals_events::ProofVerdict;
use annals_executor::Patience;
use annals_migrations::{Position, parse_duration_ms};
use annals_postgres::{ConnectionSpec, Platform, SpecError};
use serde::Deserialize;

use crate::backup_config::{BackupConfig, BackupTable, read_backup};
use crate::monitoring::{BudgetTable, GroupTable, HealthTable, Monitoring};
use crate::safeguard::BackupPolicy;
use crate::targets::SANDBOX_TARGET;

mod anchors;
mod approvals;
mod ci;

use anchors::{AnchorTable, read_anchor};
use approvals::{ApprovalsTable, read_approvals};
pub use ci::CiConfig;

/// The file that makes a folder a workspace.
pub(crate) const CONFIG_FILE: &str = "annals.toml";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No workspace here or above.
    #[error("no {CONFIG_FILE} in {} or any folder above it", .0.display())]
    NoWorkspace(PathBuf),
    /// There is a workspace already.
    #[error("{} is a workspace already ({CONFIG_FILE} is there)", .0.display())]
    IsWorkspace(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a key that does not exist. The line is not repeated: it may hold a password.
    #[error("{}:{position}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        position: Position,
        /// What.
        message: String,
    },
    /// A value that makes no sense.
    #[error("{CONFIG_FILE}: {key}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// No target was named, and there is no default.
    #[error("no target is named, and {CONFIG_FILE} has no default_target; {known}")]
    NoTarget {
        /// What there is.
        known: String,
    },
    /// No target of that name.
    #[error("there is no target {name:?}; {known}")]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// What should say how to reach a target does not. It is not repeated: it may hold a password.
    #[error("target {target:?}: {place}{} {error}", if matches!(error, SpecError::Text) { "" } else { ":" })]
    BadUrl {
        /// The target.
        target: String,
        /// The variable, or the key in the file.
        place: String,
        /// What is wrong.
        error: SpecError,
    },
    /// The variable with the URL is not set.
    #[error("target {target:?}: the variable {variable} is not set")]
    NoUrl {
        /// The target.
        target: String,
        /// The variable.
        variable: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Document {
    workspace: String,
    default_target: Option<String>,
    default_backup: Option<String>,
    #[serde(default)]
    folders: Folders,
    #[serde(default)]
    policy: Policy,
    #[serde(default)]
    timeouts: TimeoutTexts,
    #[serde(default)]
    sandbox: SandboxTable,
    #[serde(default)]
    schemas: SchemasTable,
    #[serde(default)]
    backup: BackupTable,
    #[serde(default)]
    anchors: BTreeMap<String, AnchorTable>,
    #[serde(default)]
    targets: BTreeMap<String, TargetTable>,
    #[serde(default)]
    health: HealthTable,
    #[serde(default)]
    budgets: BudgetTable,
    #[serde(default)]
    groups: BTreeMap<String, GroupTable>,
    #[serde(default)]
    ci: ci::CiTable,
}

/// Where the parts of a workspace lie, relative to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Folders {
    /// Migrations. Default `migrations`.
    pub migrations: PathBuf,
    /// Rollbacks. Default `rollbacks`.
    pub rollbacks: PathBuf,
    /// Event logs, a folder for each target. Default `event-store`.
    pub event_store: PathBuf,
    /// Keys. Default `keys`.
    pub keys: PathBuf,
    /// Sealed backups, a folder for each target. Default `backups`.
    pub backups: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            migrations: "migrations".into(),
            rollbacks: "rollbacks".into(),
            event_store: "event-store".into(),
            keys: "keys".into(),
            backups: "backups".into(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
struct Policy {
    require_rollback: bool,
    require_anchors: usize,
    lock_retries: u32,
    drift: DriftPolicy,
    terminate_blockers: bool,
    emergency_restore: bool,
}

/// What becomes of a run on a target whose schema is not as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftPolicy {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes on, and the log says so.
    Warn,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
struct SchemasTable {
    managed: Vec<String>,
    include: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            require_rollback: true,
            require_anchors: 0,
            lock_retries: 5,
            drift: DriftPolicy::default(),
            terminate_blockers: false,
            emergency_restore: true,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
struct TimeoutTexts {
    lock: String,
    statement: String,
    wait_for_lock: String,
    transaction: String,
    idle_in_transaction: String,
    max_blocked: String,
    max_blocking: String,
    long_transaction: String,
    silence: String,
}

impl Default for TimeoutTexts {
    fn default() -> Self {
        Self {
            lock: "2s".into(),
            statement: "0".into(),
            wait_for_lock: "60s".into(),
            transaction: "0".into(),
            idle_in_transaction: "60s".into(),
            max_blocked: "60s".into(),
            max_blocking: "10s".into(),
            long_transaction: "1min".into(),
            silence: "30s".into(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
struct SandboxTable {
    platform: Option<String>,
    like: Option<String>,
    major: Option<u32>,
    servers: BTreeMap<String, PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct TargetTable {
    url: Option<String>,
    url_env: Option<String>,
    platform: Option<String>,
    #[serde(default)]
    anchors: Vec<String>,
    event_store: Option<String>,
    event_store_env: Option<String>,
    proof: Option<String>,
    proof_accepts: Option<Vec<String>>,
    backup: Option<String>,
    approvals: Option<ApprovalsTable>,
}

/// Where a target's URL comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlSource {
    /// In the file, without a password.
    Text(String),
    /// In this environment variable.
    Variable(String),
}

/// Where a target's log lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// In a folder of the workspace.
    File,
    /// In the target itself.
    Target,
    /// In another database.
    Database(UrlSource),
}

/// What rehearsals of pending migrations mean for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProofDemand {
    /// Nothing.
    Off,
    /// Those that are missing are told.
    #[default]
    Warn,
    /// Without them nothing is run.
    Require,
}

impl ProofDemand {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "off" => Some(Self::Off),
            "warn" => Some(Self::Warn),
            "require" => Some(Self::Require),
            _ => None,
        }
    }
}

/// Which rehearsals a target asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPolicy {
    /// Whether. Default `warn`.
    pub demand: ProofDemand,
    /// The verdicts that do. Default `exact`, `column_order` and `irreversible`.
    pub accepts: Vec<ProofVerdict>,
}

impl Default for ProofPolicy {
    fn default() -> Self {
        let accepts =
            vec![ProofVerdict::Exact, ProofVerdict::ColumnOrder, ProofVerdict::Irreversible];
        Self { demand: ProofDemand::default(), accepts }
    }
}

impl ProofPolicy {
    /// Whether a verdict does.
    pub fn accepts(&self, verdict: ProofVerdict) -> bool {
        self.accepts.contains(&verdict)
    }
}

/// A named database.
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// Where it is.
    pub url: UrlSource,
    /// What it is.
    pub platform: Platform,
    /// Where its log lives.
    pub event_store: StorePlace,
    /// The anchors that hold copies of its log, by name.
    pub anchors: Vec<String>,
    /// What a run needs to know of rehearsals.
    pub proof: ProofPolicy,
    /// The backup that is taken before a run; without it the run does not start. Default everything.
    pub backup: Option<BackupPolicy>,
    /// The approvals a run needs. Default none.
    pub approvals: Option<ApprovalPolicy>,
}

/// What the sandbox is to be like.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// What its database is prepared like. Default that of the target it is like, else plain.
    pub platform: Platform,
    /// The target whose major version it has. Default the default target, else the only one.
    pub like: Option<String>,
    /// The major version it has, whatever the target's.
    pub major: Option<u32>,
    /// Folders with the servers of single major versions.
    pub servers: BTreeMap<u32, PathBuf>,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The workspace's name: part of the log's origin and of the lock's key.
    pub workspace: String,
    /// The target used when none is named.
    pub default_target: Option<String>,
    /// Where the parts lie.
    pub folders: Folders,
    /// Refuse a migration without rollback. Default true.
    pub require_rollback: bool,
    /// Anchors that must hold all that is signed before a run begins. Default 0.
    pub require_anchors: usize,
    /// What becomes of a run on a target that has drifted. Default refuse.
    pub drift: DriftPolicy,
    /// Whether an emergency rollback ends clients that stand in its way. Default no.
    pub terminate_blockers: bool,
    /// Whether an emergency rollback brings a backup back where the rollbacks do not lead back. Default
    /// yes.
    pub emergency_restore: bool,
    /// Schemas that something else manages, besides those of the platform: no part of the picture.
    pub managed_schemas: Vec<String>,
    /// Schemas that are the project's own although the platform manages them.
    pub included_schemas: Vec<String>,
    /// How backups are kept.
    pub backup: BackupConfig,
    /// Places that hold copies of logs, by name.
    pub anchors: BTreeMap<String, AnchorPlace>,
    /// Longest wait for a lock in a step, in milliseconds. Default 2 s.
    pub lock_timeout_ms: u64,
    /// Longest run of one statement, in milliseconds; 0 is none. Default 0.
    pub statement_timeout_ms: u64,
    /// Longest wait for another run to end, in milliseconds. Default 60 s.
    pub wait_for_lock_ms: u64,
    /// Longest transaction of a step, in milliseconds; 0 is none. Default 0; PostgreSQL 17 and later.
    pub transaction_timeout_ms: u64,
    /// Longest pause between two messages inside a transaction, in milliseconds. Default 60 s.
    pub idle_in_transaction_ms: u64,
    /// How a run meets locks of others, and others its own.
    pub patience: Patience,
    /// From which age on the transactions of others are told before a run, in milliseconds.
    /// Default 1 min.
    pub long_transaction_ms: u64,
    /// Longest silence of a target that is awaited, in milliseconds. Default 30 s.
    pub silence_timeout_ms: u64,
    /// The sandbox.
    pub sandbox: SandboxConfig,
    /// Health, groups of tables, limits of time.
    pub monitoring: Monitoring,
    /// What the pipeline is told.
    pub ci: CiConfig,
    /// The targets.
    pub targets: BTreeMap<String, TargetConfig>,
}

pub(crate) fn value_error(key: impl Into<String>, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.into(), reason: reason.into() }
}

/// Names in an origin: `[a-z0-9._-]`, 1 to 60 of them.
pub(crate) fn check_name(key: &str, name: &str) -> Result<(), ConfigError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    if (1..=60).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.') {
        Ok(())
    } else {
        Err(value_error(
            key,
            format!("{name:?} is not 1 to 60 characters of a-z, 0-9, '.', '_' and '-'"),
        ))
    }
}

fn platform(key: &str, word: Option<&str>) -> Result<Platform, ConfigError> {
    word.map_or(Some(Platform::Plain), Platform::parse)
        .ok_or_else(|| value_error(key, "is \"plain\" or \"supabase\""))
}

/// At least a tenth of a second: nobody waits for ever for a server that says nothing.
fn silence(
    duration: &impl Fn(&str, &str) -> Result<u64, ConfigError>,
    text: &str,
) -> Result<u64, ConfigError> {
    let key = "timeouts.silence";
    match duration(key, text)? {
        0..100 => Err(value_error(key, format!("{text:?} is too short: 100ms is the least"))),
        silence => Ok(silence),
    }
}

impl Config {
    /// Reads `annals.toml` from `folder`.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`]; an unknown key is one.
    pub fn load(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Io { path: path.clone(), source })?;
        Self::parse(&text, &path)
    }

    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let document: Document = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            position: Position::of(text, error.span().map_or(0, |span| span.start)),
            message: without_value(error.message()),
        })?;
        check_name("workspace", &document.workspace)?;
        let duration = |key: &str, text: &str| {
            parse_duration_ms(text).ok_or_else(|| {
                value_error(
                    key,
                    format!("{text:?} is not a duration like 500ms, 2s, 5min, 1h or 0"),
                )
            })
        };
        let timeouts = &document.timeouts;
        let default_backup = match document.default_backup.as_deref() {
            None => Some(BackupPolicy::Full),
            Some(word) => read_backup_policy("default_backup", word)?,
        };
        let mut targets = BTreeMap::new();
        for (name, table) in document.targets {
            let target = read_target(&name, table, default_backup)?;
            targets.insert(name, target);
        }
        let mut anchors = BTreeMap::new();
        for (name, table) in document.anchors {
            let place = read_anchor(&name, table)?;
            anchors.insert(name, place);
        }
        let tables = (document.health, document.budgets, document.groups);
        let monitoring =
            Monitoring::read(tables, |name| name == SANDBOX_TARGET || targets.contains_key(name))?;
        let default_target = document.default_target;
        let config = Self {
            workspace: document.workspace,
            folders: document.folders,
            require_rollback: document.policy.require_rollback,
            require_anchors: document.policy.require_anchors,
            drift: document.policy.drift,
            terminate_blockers: document.policy.terminate_blockers,
            emergency_restore: document.policy.emergency_restore,
            managed_schemas: document.schemas.managed,
            included_schemas: document.schemas.include,
            backup: read_backup(document.backup)?,
            anchors,
            lock_timeout_ms: duration("timeouts.lock", &timeouts.lock)?,
            statement_timeout_ms: duration("timeouts.statement", &timeouts.statement)?,
            wait_for_lock_ms: duration("timeouts.wait_for_lock", &timeouts.wait_for_lock)?,
            transaction_timeout_ms: duration("timeouts.transaction", &timeouts.transaction)?,
            idle_in_transaction_ms: duration(
                "timeouts.idle_in_transaction",
                &timeouts.idle_in_transaction,
            )?,
            patience: Patience {
                retries: document.policy.lock_retries,
                max_blocked_ms: duration("timeouts.max_blocked", &timeouts.max_blocked)?,
                max_blocking_ms: duration("timeouts.max_blocking", &timeouts.max_blocking)?,
            },
            long_transaction_ms: duration("timeouts.long_transaction", &timeouts.long_transaction)?,
            silence_timeout_ms: silence(&duration, &document.timeouts.silence)?,
            sandbox: read_sandbox(document.sandbox, default_target.as_deref(), &targets)?,
            default_target,
            monitoring,
            ci: ci::read_ci(document.ci)?,
            targets,
        };
        for (name, target) in &config.targets {
            config.check_anchors(name, &target.anchors)?;
        }
        if let Some(name) = &config.default_target {
            config.check_target("default_target", name)?;
        }
        Ok(config)
    }

    fn check_anchors(&self, target: &str, anchors: &[String]) -> Result<(), ConfigError> {
        let key = format!("targets.{target}.anchors");
        if let Some(name) = anchors.iter().find(|name| !self.anchors.contains_key(*name)) {
            return Err(value_error(key, format!("there is no [anchors.{name}]")));
        }
        let distinct: std::collections::BTreeSet<&String> = anchors.iter().collect();
        if distinct.len() < anchors.len() {
            return Err(value_error(key, "an anchor is named twice"));
        }
        if distinct.len() < self.require_anchors {
            let reason = format!(
                "names {} anchors, policy.require_anchors asks for {}",
                distinct.len(),
                self.require_anchors
            );
            return Err(value_error(key, reason));
        }
        Ok(())
    }

    fn check_target(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        if name == SANDBOX_TARGET || self.targets.contains_key(name) {
            Ok(())
        } else {
            Err(value_error(key, format!("there is no target {name:?}")))
        }
    }
}

/// The reader's message without the value it quotes: that may hold a password.
fn without_value(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((_, expected))
            if message.starts_with("invalid type: ") || message.starts_with("invalid value: ") =>
        {
            format!("the value does not belong here, expected {expected}")
        }
        _ => message.to_owned(),
    }
}

pub(crate) fn is_variable_name(name: &str) -> bool {
    let starts = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(starts) && name.bytes().all(|b| starts(b) || b.is_ascii_digit())
}

/// The backup that a word asks for.
fn read_backup_policy(
    key: impl Into<String>,
    word: &str,
) -> Result<Option<BackupPolicy>, ConfigError> {
    let reason = "is \"off\", \"schema\", \"full\", \"scoped\" or \"external\"";
    match BackupPolicy::parse(word) {
        None if word != "off" => Err(value_error(key, reason)),
        policy => Ok(policy),
    }
}

fn read_target(
    name: &str,
    table: TargetTable,
    default_backup: Option<BackupPolicy>,
) -> Result<TargetConfig, ConfigError> {
    let key = format!("targets.{name}");
    check_name(&key, name)?;
    if name == SANDBOX_TARGET {
        return Err(value_error(key, "this name belongs to the built-in sandbox; choose another"));
    }
    let url = match (table.url, table.url_env) {
        (Some(url), None) if ConnectionSpec::url_has_password(&url) => {
            let reason = "holds a password; keep it out of the file: use url_env, PGPASSWORD or \
                          ~/.pgpass";
            return Err(value_error(format!("{key}.url"), reason));
        }
        (Some(url), None) => UrlSource::Text(url),
        (None, Some(variable)) if is_variable_name(&variable) => UrlSource::Variable(variable),
        // What stands there is not repeated: a URL, perhaps with its password.
        (None, Some(_)) => {
            let reason = "is not the name of an environment variable (A-Z, a-z, 0-9 and _)";
            return Err(value_error(format!("{key}.url_env"), reason));
        }
        _ => return Err(value_error(key, "needs either url or url_env")),
    };
    let platform = platform(&format!("{key}.platform"), table.platform.as_deref())?;
    let event_store = read_store(&key, table.event_store, table.event_store_env)?;
    let proof = read_proof_policy(&key, table.proof.as_deref(), table.proof_accepts)?;
    let backup = match table.backup.as_deref() {
        None => default_backup,
        Some(word) => read_backup_policy(format!("{key}.backup"), word)?,
    };
    let approvals = table.approvals.map(|table| read_approvals(&key, table)).transpose()?;
    let anchors = table.anchors;
    Ok(TargetConfig { url, platform, event_store, anchors, proof, backup, approvals })
}

fn read_sandbox(
    table: SandboxTable,
    default_target: Option<&str>,
    targets: &BTreeMap<String, TargetConfig>,
) -> Result<SandboxConfig, ConfigError> {
    let like = match (table.like, default_target) {
        (Some(name), _) if targets.contains_key(&name) => Some(name),
        (Some(name), _) => {
            return Err(value_error("sandbox.like", format!("there is no target {name:?}")));
        }
        (None, Some(name)) if targets.contains_key(name) => Some(name.to_owned()),
        (None, _) if targets.len() == 1 => targets.keys().next().cloned(),
        (None, _) => None,
    };
    let platform = match (table.platform, like.as_ref().and_then(|name| targets.get(name))) {
        (None, Some(target)) => target.platform,
        (word, _) => platform("sandbox.platform", word.as_deref())?,
    };
    let mut servers = BTreeMap::new();
    for (major, folder) in table.servers {
        let key = format!("sandbox.servers.{major}");
        let Ok(major) = major.parse() else {
            return Err(value_error(key, "is not a major version, such as 15"));
        };
        if !folder.is_absolute() {
            return Err(value_error(key, "is not an absolute path"));
        }
        servers.insert(major, folder);
    }
    Ok(SandboxConfig { platform, like, major: table.major, servers })
}

fn read_proof_policy(
    key: &str,
    demand: Option<&str>,
    accepts: Option<Vec<String>>,
) -> Result<ProofPolicy, ConfigError> {
    let mut policy = ProofPolicy::default();
    if let Some(word) = demand {
        policy.demand = ProofDemand::parse(word).ok_or_else(|| {
            value_error(format!("{key}.proof"), "is \"off\", \"warn\" or \"require\"")
        })?;
    }
    if let Some(words) = accepts {
        let verdict = |word: &String| {
            let known = ProofVerdict::ALL.iter().find(|verdict| verdict.as_str() == word);
            known.copied().ok_or_else(|| {
                let all: Vec<&str> = ProofVerdict::ALL.iter().map(|known| known.as_str()).collect();
                let reason = format!("{word:?} is no verdict; there are {}", all.join(", "));
                value_error(format!("{key}.proof_accepts"), reason)
            })
        };
        policy.accepts = words.iter().map(verdict).collect::<Result<_, _>>()?;
    }
    Ok(policy)
}

fn read_store(
    key: &str,
    text: Option<String>,
    variable: Option<String>,
) -> Result<StorePlace, ConfigError> {
    match (text, variable) {
        (None, None) => Ok(StorePlace::File),
        (None, Some(variable)) if is_variable_name(&variable) => {
            Ok(StorePlace::Database(UrlSource::Variable(variable)))
        }
        (None, Some(_)) => {
            let reason = "is not the name of an environment variable (A-Z, a-z, 0-9 and _)";
            Err(value_error(format!("{key}.event_store_env"), reason))
        }
        (Some(_), Some(_)) => {
            Err(value_error(key, "takes event_store or event_store_env, not both"))
        }
        (Some(text), None) => match text.as_str() {
            "file" => Ok(StorePlace::File),
            "postgres" => Ok(StorePlace::Target),
            url if ConnectionSpec::url_has_password(url) => {
                let reason = "holds a password; keep it out of the file: use event_store_env, \
                              PGPASSWORD or ~/.pgpass";
                Err(value_error(format!("{key}.event_store"), reason))
            }
            url if ConnectionSpec::check(url).is_ok() => {
                Ok(StorePlace::Database(UrlSource::Text(text)))
            }
            _ => {
                let reason =
                    "is \"file\", \"postgres\" (in the target itself) or the URL of a database";
                Err(value_error(format!("{key}.event_store"), reason))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("annals.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_stand_where_nothing_is_said() {
        let config = parse("workspace = \"demo\"").unwrap();
        assert_eq!(config.lock_timeout_ms, 2_000);
        assert_eq!(config.wait_for_lock_ms, 60_000);
        assert_eq!(config.patience, Patience::default());
        let said =
            "[timeouts]\nmax_blocked = \"5s\"\nmax_blocking = \"0\"\n[policy]\nlock_retries = 2";
        let config = parse(&format!("workspace = \"demo\"\n{said}")).unwrap();
        let expected = Patience { retries: 2, max_blocked_ms: 5_000, max_blocking_ms: 0 };
        assert_eq!(config.patience, expected);
        assert!(config.require_rollback);
        assert_eq!(config.folders.migrations, Path::new("migrations"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let cases = [
            ("workspace = \"Demo\"", "workspace"),
            ("workspace = \"d\"\ncolour = 1", "colour"),
            ("workspace = \"d\"\n[timeouts]\nlock = \"2\"", "timeouts.lock"),
            ("workspace = \"d\"\n[targets.p]\nplatform = \"plain\"", "targets.p"),
            ("workspace = \"d\"\n[targets.p]\nurl = \"a\"\nurl_env = \"b\"", "targets.p"),
            ("workspace = \"d\"\n[targets.sandbox]\nurl = \"a\"", "built-in sandbox"),
            ("workspace = \"d\"\ndefault_target = \"p\"", "default_target"),
            ("workspace = \"d\"\n[targets.p]\nurl = \"a\"\nplatform = \"oracle\"", "platform"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_target_says_which_proofs_it_wants() {
        let target = |more: &str| {
            let text = format!("workspace = \"d\"\n[targets.p]\nurl = \"a\"\n{more}");
            parse(&text).map(|config| config.targets["p"].proof.clone())
        };
        let usual = target("").unwrap();
        assert_eq!(usual.demand, ProofDemand::Warn);
        assert!(usual.accepts(ProofVerdict::Exact) && !usual.accepts(ProofVerdict::LosesData));
        let strict = target("proof = \"require\"\nproof_accepts = [\"exact\"]").unwrap();
        assert_eq!(strict.demand, ProofDemand::Require);
        assert_eq!(strict.accepts, [ProofVerdict::Exact]);
        assert!(target("proof = \"maybe\"").unwrap_err().contains("targets.p.proof"));
        assert!(target("proof_accepts = [\"fine\"]").unwrap_err().contains("no verdict"));
        assert!(target("prove = true").is_err());
    }

    #[test]
    fn a_password_in_the_file_is_refused_and_not_repeated() {
        let error =
            parse("workspace = \"d\"\n[targets.p]\nurl = \"postgres://u:s3cret@h/d\"").unwrap_err();
        assert!(error.contains("password") && !error.contains("s3cret"), "{error}");
    }
}
