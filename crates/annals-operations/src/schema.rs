//! `schema`: the schema as a value, of the live target, a moment of the log, a file, or a fresh server
//! with all migrations applied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annals_events::{BlobRef, Digest, Direction, Event, Recorded, RunId, Timestamp, Version};
use annals_executor::{Interrupt, NoProgress, RunEnd};
use annals_postgres::{SchemaScope, SessionSettings, read_schema};
use annals_projections::{History, Projection, RecoveryState, SchemaPicture};
use annals_schema::{Difference, Sameness, Snapshot, Stored, diff, sameness};

use crate::config::CONFIG_FILE;
use crate::environment::Environment;
use crate::error::{Failure, TargetFailure};
use crate::home::BlobReader;
use crate::logs::{LogSource, ReadLog};
use crate::migrate::{ChangeOptions, UpGoal, migrate};
use crate::moment::{Moment, parse_moment};
use crate::open;
use crate::pictures::load;
use crate::replay::fold_watched;
use crate::sandbox::PrivateServer;
use crate::targets::Target;
use crate::workspace::Workspace;

/// Which picture of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogMoment {
    /// The one expected at this moment.
    At(Moment),
    /// The one taken behind the migration of this version.
    Version(Version),
}

/// Where a schema comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaSource {
    /// The target as it is.
    Live,
    /// The log alone; the database may be gone.
    Log(LogMoment),
    /// A file that `schema show --json` has written.
    File(PathBuf),
    /// A fresh server with all migrations of the workspace applied.
    Migrations,
}

/// The event that recorded a schema.
#[derive(Debug, Clone, Copy)]
pub struct RecordedPicture {
    /// Its place in the log.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Whether the log was verified up to it.
    pub verified: bool,
}

/// A schema and where it is from.
#[derive(Debug)]
pub struct SchemaView {
    /// Where it is from, as [`parse_schema_source`] reads it.
    pub source: String,
    /// The schema.
    pub snapshot: Snapshot,
    /// What recorded it, if it is from the log.
    pub recorded: Option<RecordedPicture>,
}

/// Two schemas, compared.
#[derive(Debug)]
pub struct SchemaDiff {
    /// The first.
    pub from: SchemaView,
    /// The second.
    pub to: SchemaView,
    /// What they do not share.
    pub differences: Vec<Difference>,
    /// How much that is.
    pub sameness: Sameness,
}

fn refused(subject: impl Into<String>, reason: impl Into<String>) -> Failure {
    Failure::Argument { subject: subject.into(), reason: reason.into() }
}

/// Reads a source: `live`, `expected`, `migrations`, `version:003`, `time:2026-01-31T16:30:00Z`,
/// `seq:17`, `checkpoint:FILE` or `file:FILE`.
///
/// # Errors
///
/// When the text is none of these.
pub fn parse_schema_source(text: &str) -> Result<SchemaSource, Failure> {
    let subject = || format!("schema {text:?}");
    let at = |moment| SchemaSource::Log(LogMoment::At(moment));
    Ok(match text.split_once(':') {
        None => match text {
            "live" => SchemaSource::Live,
            "expected" => at(Moment::Now),
            "migrations" => SchemaSource::Migrations,
            _ => {
                let words = "is none of live, expected, migrations, version:003, time:…, seq:17, \
                             checkpoint:FILE and file:FILE";
                return Err(refused(subject(), words));
            }
        },
        Some(("version", version)) => {
            let version = version.parse().map_err(|_| refused(subject(), "names no version"))?;
            SchemaSource::Log(LogMoment::Version(version))
        }
        Some(("time", time)) => at(parse_moment(time)?),
        Some(("seq", seq)) => {
            let seq = seq.parse().map_err(|_| refused(subject(), "names no place in the log"))?;
            at(Moment::Seq(seq))
        }
        Some(("checkpoint", path)) => at(Moment::Checkpoint(path.into())),
        Some(("file", path)) => SchemaSource::File(path.into()),
        Some((word, _)) => {
            return Err(refused(subject(), format!("{word:?} is no kind of source")));
        }
    })
}

/// As [`parse_schema_source`] reads it.
fn spelled(source: &SchemaSource) -> String {
    match source {
        SchemaSource::Live => "live".to_owned(),
        SchemaSource::Migrations => "migrations".to_owned(),
        SchemaSource::File(path) => format!("file:{}", path.display()),
        SchemaSource::Log(LogMoment::Version(version)) => format!("version:{version}"),
        SchemaSource::Log(LogMoment::At(moment)) => match moment {
            Moment::Now => "expected".to_owned(),
            Moment::At(time) => format!("time:{time}"),
            Moment::Seq(seq) => format!("seq:{seq}"),
            Moment::Checkpoint(path) => format!("checkpoint:{}", path.display()),
        },
    }
}

/// The schema of a source.
///
/// # Errors
///
/// When the source cannot be read, or has no picture.
pub async fn schema_show(
    environment: &Environment,
    log: &LogSource,
    source: &SchemaSource,
    interrupt: &mut Interrupt,
) -> Result<SchemaView, Failure> {
    let (snapshot, recorded) = match source {
        SchemaSource::Live => (live(environment, log).await?, None),
        SchemaSource::File(path) => (file(path)?, None),
        SchemaSource::Migrations => (migrations(environment, log, interrupt).await?, None),
        SchemaSource::Log(moment) => {
            let (snapshot, recorded) = recorded(environment, log, moment).await?;
            (snapshot, Some(recorded))
        }
    };
    Ok(SchemaView { source: spelled(source), snapshot, recorded })
}

/// Compares the schemas of two sources.
///
/// # Errors
///
/// As [`schema_show`], or when the two are of different major versions of the server.
pub async fn schema_diff(
    environment: &Environment,
    log: &LogSource,
    (from, to): (&SchemaSource, &SchemaSource),
    interrupt: &mut Interrupt,
) -> Result<SchemaDiff, Failure> {
    let from = schema_show(environment, log, from, interrupt).await?;
    let to = schema_show(environment, log, to, interrupt).await?;
    if !from.snapshot.comparable_with(&to.snapshot) {
        let (a, b) = (from.snapshot.server_major(), to.snapshot.server_major());
        return Err(refused(
            format!("{} and {}", from.source, to.source),
            format!(
                "are of PostgreSQL {a} and {b}: schemas of two major versions are not compared"
            ),
        ));
    }
    let differences = diff(&from.snapshot, &to.snapshot);
    let sameness = sameness(&differences);
    Ok(SchemaDiff { from, to, differences, sameness })
}

/// The workspace and the target that a source names.
fn target_of(environment: &Environment, log: &LogSource) -> Result<(Workspace, Target), Failure> {
    let LogSource::Target(name) = log else {
        return Err(refused("--log", "holds no server: only what it records can be shown of it"));
    };
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, name.as_deref())?;
    Ok((workspace, target))
}

async fn live(environment: &Environment, log: &LogSource) -> Result<Snapshot, Failure> {
    let (workspace, target) = target_of(environment, log)?;
    let reached = open::reach(environment, &workspace, &target, "annals/schema").await?;
    let mut session = reached.session;
    let read = read_schema(&mut session, &target.scope).await;
    session.close().await;
    read.map_err(open::fault(&target))
}

fn file(path: &Path) -> Result<Snapshot, Failure> {
    let subject = || path.display().to_string();
    let content = std::fs::read(path)
        .map_err(|error| refused(subject(), format!("cannot be read: {error}")))?;
    let not_one = |error: &dyn std::fmt::Display| {
        refused(subject(), format!("is not what annals schema show --json writes: {error}"))
    };
    let value: serde_json::Value =
        serde_json::from_slice(&content).map_err(|error| not_one(&error))?;
    // The document, or what it holds.
    let stored = value.get("snapshot").unwrap_or(&value).to_string();
    Stored::parse(stored.as_bytes()).and_then(Stored::full).map_err(|error| not_one(&error))
}

/// What of a log's events pictures are found by.
#[derive(Default)]
struct Album {
    history: History,
    blobs: BTreeMap<Digest, BlobRef>,
    /// The first picture behind each change upwards: by version and which change of it.
    behind: BTreeMap<(Version, u64), SchemaPicture>,
}

impl Album {
    fn watch(&mut self, recorded: &Recorded) {
        self.history.apply(recorded);
        self.blobs.extend(recorded.event.blob().map(|blob| (blob.digest, blob)));
        let Event::SchemaRecorded(picture) = &recorded.event else { return };
        let last = self.history.changes().last();
        // One of no run is of a later moment: an accepted drift, or what a later run has found.
        let Some(change) = last.filter(|_| picture.run.is_some()) else { return };
        if change.direction == Direction::Up {
            let key = (change.version.clone(), change.ordinal);
            self.behind.entry(key).or_insert(SchemaPicture {
                fingerprint: picture.fingerprint,
                snapshot: picture.snapshot,
                objects: picture.objects,
                server_major: picture.server_major,
                seq: recorded.seq,
                at: recorded.recorded_at,
            });
        }
    }

    /// The picture behind the newest change of `version` upwards.
    fn of_version(&self, version: &Version) -> Result<SchemaPicture, Failure> {
        let subject = || format!("version {version}");
        let mut ups = self
            .history
            .changes()
            .iter()
            .rev()
            .filter(|change| change.version == *version && change.direction == Direction::Up);
        let change =
            ups.next().ok_or_else(|| refused(subject(), "the log never saw it applied"))?;
        let picture = self.behind.get(&(change.version.clone(), change.ordinal));
        picture.copied().ok_or_else(|| {
            let run: RunId = change.key.run;
            let behind = self.history.changes().iter().find(|next| next.seq > change.seq);
            let why = match behind {
                Some(next) if next.key.run == run => {
                    format!("has no picture: its run went on to {} before one was taken", next.id())
                }
                _ => "has no picture: its run was cut short before one was taken".to_owned(),
            };
            refused(subject(), why)
        })
    }
}

async fn recorded(
    environment: &Environment,
    source: &LogSource,
    moment: &LogMoment,
) -> Result<(Snapshot, RecordedPicture), Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let mut album = Album::default();
    let asked = match moment {
        LogMoment::At(moment) => moment.clone(),
        LogMoment::Version(_) => Moment::Now,
    };
    let mut folded = fold_watched::<RecoveryState>(environment, &log, &[&asked], &mut |recorded| {
        album.watch(recorded);
    })
    .await?;
    let (vantage, state) = folded.pop().expect("one moment gives one state");
    let picture = match moment {
        LogMoment::Version(version) => album.of_version(version)?,
        LogMoment::At(_) => state.schema.ok_or_else(|| {
            refused(
                "the schema at that moment",
                "was not recorded: the last change before it has no picture yet, or there is none at all \
                 (annals timeline shows when the schema was recorded)",
            )
        })?,
    };
    let mut blobs = BlobReader::of(&log.home).await?;
    let named = |digest: &Digest| album.blobs.get(digest).copied();
    let placed = load(&mut blobs, &log.home.place(), &named, &picture).await;
    blobs.close().await;
    let recorded =
        RecordedPicture { seq: picture.seq.0, at: picture.at, verified: vantage.verified };
    Ok((placed?.snapshot, recorded))
}

/// What all migrations come to on a server that has nothing else: applied as they are anywhere.
async fn migrations(
    environment: &Environment,
    log: &LogSource,
    interrupt: &mut Interrupt,
) -> Result<Snapshot, Failure> {
    let (workspace, target) = target_of(environment, log)?;
    // What is wrong with the files is said before a server is started.
    workspace.load()?;
    // The schema of another major version could be compared with nothing of the target.
    let book = open::read_book(&target).await?;
    let like = (target.platform, book.recovery.schema.map(|picture| picture.server_major));
    let server = PrivateServer::prepared_like(environment, Some(&workspace), like).await?;
    // A workspace of its own, which goes with the server.
    let folder = server.folder().join("workspace");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::Write { path, source }
    };
    std::fs::create_dir(&folder).map_err(failed(&folder))?;
    let config = folder.join(CONFIG_FILE);
    std::fs::write(&config, scratch_config(&workspace, &target.scope, &server.url()))
        .map_err(failed(&config))?;
    let mut variables = environment.variables.clone();
    // Its log is signed by a key of its own.
    variables.remove("ANNALS_LOG_KEY");
    let inner = Environment::new(folder, variables, "annals schema");
    let options = ChangeOptions::default();
    // What migrates can ask for a schema, so the future has to be of a known size.
    let outcome =
        Box::pin(migrate(&inner, UpGoal::default(), &options, &mut NoProgress, interrupt)).await?;
    if let Some((_, report)) = &outcome.run {
        let step = |at: &usize| outcome.plan.steps.get(*at).map_or_else(String::new, |s| s.id());
        match &report.end {
            RunEnd::Succeeded => {}
            RunEnd::Interrupted { .. } => return Err(Failure::Interrupted),
            RunEnd::Failed { step: at, error, .. } => {
                let reason = format!("does not apply on a fresh server: {}", error.message);
                return Err(refused(step(at), reason));
            }
            RunEnd::Disconnected { step: at, reason } | RunEnd::InDoubt { step: at, reason } => {
                return Err(refused(step(at), format!("was not applied: {reason}")));
            }
            RunEnd::NotRecorded { error, .. } => {
                return Err(refused("the log of the fresh server", error.to_string()));
            }
        }
    }
    let mut session = server.spec().connect("annals/schema", &SessionSettings::default()).await?;
    let read = read_schema(&mut session, &target.scope).await;
    session.close().await;
    let name = target.name.clone();
    Ok(read.map_err(|fault| TargetFailure::Fault { target: name, fault })?)
}

/// The configuration of that workspace. A JSON string is a TOML string.
fn scratch_config(workspace: &Workspace, scope: &SchemaScope, url: &str) -> String {
    let config = workspace.config();
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let list = |values: &[String]| serde_json::Value::from(values.to_vec()).to_string();
    let folder = |path: &Path| text(&workspace.folder().join(path).display().to_string());
    format!(
        "workspace = {}\ndefault_target = \"fresh\"\n\n[folders]\nmigrations = {}\nrollbacks = {}\n\n\
         [policy]\nrequire_rollback = {}\n\n[schemas]\nmanaged = {}\ninclude = {}\n\n[targets.fresh]\n\
         url = {}\nplatform = {}\n",
        text(&config.workspace),
        folder(&config.folders.migrations),
        folder(&config.folders.rollbacks),
        config.require_rollback,
        list(&scope.managed),
        list(&scope.include),
        text(url),
        text(scope.platform.as_str()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_spelled() {
        for text in [
            "live",
            "expected",
            "migrations",
            "version:003",
            "time:2026-01-31T16:30:00.000000Z",
            "seq:17",
            "checkpoint:a/b",
            "file:C:/x.json",
        ] {
            assert_eq!(spelled(&parse_schema_source(text).unwrap()), text);
        }
        for text in ["", "lives", "version:", "version:x", "seq:-1", "time:noon", "http://x"] {
            assert!(parse_schema_source(text).is_err(), "{text}");
        }
    }
}
