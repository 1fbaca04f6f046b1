//! `restore`: a backup into a new database beside the target, compared before it has its name.

use std::sync::Arc;
use std::time::Instant;

use annals_archive::{
    Archive, ArchiveError, Comparison, Extent, RestoreOptions as Into, Unequal, Watcher, compare,
    compare_rows, restore as bring_back,
};
use annals_backup::KeyEncryptionKey;
use annals_events::{BackupDepth, BackupId, BackupVerified, CheckOutcome};
use annals_executor::{Interrupt, failpoint};
use annals_postgres::sandbox::{Lifetime, Likeness, Sandbox, SandboxOptions};
use annals_postgres::{ConnectionSpec, Platform, Session, SessionSettings};

use crate::backup_keys::KeyReader;
use crate::backups::{Around, BackupTrouble, container_id, read_all, record, resolve_full};
use crate::environment::Environment;
use crate::error::{Failure, TargetFailure};
use crate::open;
use crate::sandbox;
use crate::scratch;
use crate::targets::Target;
use crate::workspace::Workspace;

/// Differences that are named.
const NAMED: usize = 20;

/// What is restored, and to where.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The target whose backup it is, and on whose server it is restored; the default one if none.
    pub target: Option<String>,
    /// Which backup.
    pub backup: String,
    /// The database that is made of it.
    pub into: String,
    /// Connections at a time.
    pub jobs: usize,
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct RestoreView {
    /// The target.
    pub target: String,
    /// The backup.
    pub backup: String,
    /// When it was taken.
    pub taken_at: String,
    /// The database.
    pub database: String,
    /// Tables.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
    /// The schema's fingerprint; it was compared if the server has the same major version.
    pub schema_fingerprint: String,
    /// Whether the schema was compared.
    pub schema_compared: bool,
    /// The scope of the backup, where it holds rows and not everything: nothing of what comes behind rows
    /// was made.
    pub rows_only: Option<String>,
    /// What was left out because the role may not do it, each with the server's words: on a managed
    /// platform.
    pub left_out: Vec<String>,
    /// How the schema differs for that.
    pub schema_differences: Vec<String>,
    /// Why the result is not in the log, if it is not.
    pub not_recorded: Option<String>,
    /// How long it took, in microseconds.
    pub us: u64,
}

/// Restores a backup into a new database on the target's server.
///
/// The backup is authenticated to its end before anything is made. It is restored into a database of
/// another name, compared with its manifest, and only then called `into`; where that fails, nothing is
/// left. The target itself is not touched.
///
/// # Errors
///
/// When it is not restored.
pub async fn restore(
    environment: &Environment,
    options: &RestoreOptions,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<RestoreView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let catalog = open::read_book(&target).await?.backups;
    let id = resolve_full(&target, &catalog, &options.backup).await?;
    let store = target.backup_store()?;
    let key = KeyReader::new(environment, &target).of_backup(&store, id).await?;
    let began = Instant::now();
    let archive = read_all(&target, id, &key, watcher, interrupt).await?;
    let spec = target.spec(environment, &workspace).await?;
    let settings = target.settings(&workspace);
    let mut server = administer(&spec, &settings).await?;
    let name = format!("annals_restore_{}", environment.ids.next().simple());
    scratch::sweep(&mut server, &target).await;
    let made = make(&mut server, &target, &archive, &name, &options.into).await;
    let made = match made {
        Ok(()) => {
            // A project's role is no superuser on a platform that has one for itself.
            let extent = match target.platform {
                Platform::Plain => Extent::Whole,
                Platform::Supabase => Extent::AsAllowed,
            };
            let (spec, jobs) = (spec.with_database(&name), options.jobs);
            let place = Place { spec, settings, jobs, extent };
            let work = into_database(&target, &archive, id, &key, &place, watcher);
            tokio::select! {
                biased;
                () = interrupt.wait() => Err(Failure::Interrupted),
                compared = work => compared,
            }
        }
        Err(failure) => Err(failure),
    };
    let named = match made {
        Ok(brought) if brought.comparison.unequal.is_empty() => {
            let rename = format!(
                "BEGIN; {}; ALTER DATABASE {} RENAME TO {}; COMMIT",
                archive.manifest.comment_sql(&name),
                quoted(&name),
                quoted(&options.into)
            );
            let renamed = server.run(&rename).await;
            if renamed.is_err() {
                // Where the connection is gone, so is the transaction.
                let _ = server.roll_back().await;
            }
            renamed.map(|()| brought).map_err(open::fault(&target))
        }
        Ok(brought) => Err(BackupTrouble::NotEqual(told(&brought.comparison.unequal)).into()),
        Err(failure) => Err(failure),
    };
    let Brought { comparison, left_out, differences } = match named {
        Ok(brought) => brought,
        Err(failure) => {
            drop_database(&mut server, &name).await;
            server.close().await;
            return Err(failure);
        }
    };
    server.close().await;
    let kind = archive.manifest.kind;
    let mut view = RestoreView {
        target: target.name.clone(),
        backup: id.to_string(),
        taken_at: archive.manifest.taken_at.clone(),
        database: options.into.clone(),
        tables: archive.manifest.tables.len() as u64,
        rows: archive.manifest.rows(),
        schema_fingerprint: archive.manifest.schema_fingerprint.clone(),
        schema_compared: comparison.schema_compared,
        rows_only: kind.is_of_rows().then(|| kind.as_str().to_owned()),
        left_out,
        schema_differences: differences,
        not_recorded: None,
        us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
    };
    if catalog.get(id).is_none() {
        view.not_recorded = Some("the log does not know this backup".to_owned());
    } else if !view.left_out.is_empty() {
        view.not_recorded = Some("parts of the schema were left out".to_owned());
    } else if comparison.schema_compared {
        let (depth, result) = (BackupDepth::Restored, CheckOutcome::Passed);
        let event = BackupVerified { backup: id, depth, result };
        // The database is there already, and may be all there is: that the log cannot be reached is
        // told, and no failure of the restore.
        let recorded =
            record(environment, &workspace, &target, vec![event.into()], interrupt).await;
        view.not_recorded = recorded.err().map(|failure| failure.to_string());
    } else {
        view.not_recorded = Some("the schema was not compared".to_owned());
    }
    Ok(view)
}

/// A session from which databases are made and dropped. The target's own database may be gone.
async fn administer(spec: &ConnectionSpec, settings: &SessionSettings) -> Result<Session, Failure> {
    let other = spec.with_database("postgres");
    match other.connect("annals/restore", settings).await {
        Ok(session) => Ok(session),
        // Some do without a database of that name.
        Err(_) => Ok(spec.connect("annals/restore", settings).await?),
    }
}

pub(crate) async fn make(
    server: &mut Session,
    target: &Target,
    archive: &Archive,
    name: &str,
    into: &str,
) -> Result<(), Failure> {
    let literal = into.replace('\'', "''");
    let sql =
        format!("SELECT datname::text FROM pg_catalog.pg_database WHERE datname = '{literal}'");
    if !server.texts(&sql).await.map_err(ArchiveError::from)?.is_empty() {
        return Err(BackupTrouble::DatabaseExists(into.to_owned()).into());
    }
    // Before it is there: nobody takes it for one that nobody needs.
    scratch::hold(server, name).await?;
    for (at, sql) in archive.manifest.create_sql(name).into_iter().enumerate() {
        match server.run(&sql).await {
            Ok(()) => {}
            // An owner or a setting that takes a superuser, where a project has none.
            Err(fault) if at > 0 && target.platform != Platform::Plain && fault.is_verdict() => {
                tracing::warn!("the database is made without: {sql} ({fault})");
            }
            Err(fault) => {
                let what = "the database itself".to_owned();
                return Err(ArchiveError::Refused { what, fault }.into());
            }
        }
        if at == 0 {
            failpoint::hit("scratch_made");
            scratch::mark(server, target, name).await?;
        }
    }
    scratch::mark(server, target, name).await
}

/// What was made and is not wanted goes; what cannot be dropped is told.
pub(crate) async fn drop_database(server: &mut Session, name: &str) {
    // Since 13; sessions of ours may be on their way out.
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
    if let Err(fault) = server.run(&sql).await {
        tracing::warn!("the database {name} was left behind: {fault}");
    }
}

/// An empty database, and how to get there.
pub(crate) struct Place {
    pub(crate) spec: ConnectionSpec,
    pub(crate) settings: SessionSettings,
    pub(crate) jobs: usize,
    pub(crate) extent: Extent,
}

/// What has come of a backup in a database.
#[derive(Default)]
pub(crate) struct Brought {
    /// What is not as it was, and should be.
    pub(crate) comparison: Comparison,
    /// What this role may not make.
    pub(crate) left_out: Vec<String>,
    /// How the schema differs for that.
    pub(crate) differences: Vec<String>,
}

pub(crate) async fn into_database(
    target: &Target,
    archive: &Archive,
    id: BackupId,
    key: &Arc<Vec<KeyEncryptionKey>>,
    place: &Place,
    watcher: &mut dyn Watcher,
) -> Result<Brought, Failure> {
    let source = target.backup_store()?.open(&id.to_string()).await.map_err(ArchiveError::from)?;
    let of_rows = archive.manifest.kind.is_of_rows();
    let names: Vec<String> = archive.manifest.tables.iter().map(|it| it.name.clone()).collect();
    let only = of_rows.then_some(names.as_slice());
    let Place { spec, settings, jobs, extent } = place;
    let (jobs, extent, platform) = (*jobs, *extent, target.platform.schemas_sql());
    let options = Into { spec, settings: *settings, jobs, only, extent, platform };
    let restored =
        bring_back(archive, source, Arc::clone(key), container_id(id), &options, watcher).await?;
    if of_rows {
        // There are tables without what comes behind rows: their rows are what can be compared.
        let unequal = compare_rows(archive, spec, settings, &restored.chosen, jobs).await?;
        let (tables, rows) = (restored.tables, restored.rows);
        let comparison = Comparison { unequal, schema_compared: false, tables, rows };
        return Ok(Brought { comparison, ..Brought::default() });
    }
    let comparing = compare(archive, spec, settings, &target.scope, jobs, watcher);
    let (mut comparison, left_out) = (comparing.await?, restored.left_out);
    let mut of_schema = Vec::new();
    if !left_out.is_empty() {
        (of_schema, comparison.unequal) =
            comparison.unequal.into_iter().partition(|unequal| unequal.of_schema);
    }
    Ok(Brought { comparison, left_out, differences: of_schema.iter().map(line_of).collect() })
}

/// Restores a backup on a private server of the same major version, and says what is not as it was.
pub(crate) async fn rehearse(
    around: Around<'_>,
    archive: &Archive,
    key: &Arc<Vec<KeyEncryptionKey>>,
    jobs: usize,
    watcher: &mut dyn Watcher,
    interrupt: &mut Interrupt,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let work = rehearse_on_sandbox(around, archive, key, jobs, watcher);
    tokio::select! {
        biased;
        () = interrupt.wait() => Err(Failure::Interrupted),
        done = work => done,
    }
}

async fn rehearse_on_sandbox(
    around: Around<'_>,
    archive: &Archive,
    key: &Arc<Vec<KeyEncryptionKey>>,
    jobs: usize,
    watcher: &mut dyn Watcher,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let stood = on_sandbox(around, archive, key, jobs, watcher).await?;
    Ok((stood.unequal, stood.notes))
}

/// A backup that was restored on a private server, which ends with this.
pub(crate) struct Stood {
    /// The restored database.
    pub(crate) spec: ConnectionSpec,
    /// How it differs from what was backed up.
    pub(crate) unequal: Vec<String>,
    /// What should be known besides.
    pub(crate) notes: Vec<String>,
    /// Rows.
    pub(crate) rows: u64,
    _sandbox: Sandbox,
}

/// Restores a backup on a private server, and compares.
pub(crate) async fn on_sandbox(
    around: Around<'_>,
    archive: &Archive,
    key: &Arc<Vec<KeyEncryptionKey>>,
    jobs: usize,
    watcher: &mut dyn Watcher,
) -> Result<Stood, Failure> {
    const DATABASE: &str = "annals_restored";
    let Around { environment, workspace, target } = around;
    let manifest = &archive.manifest;
    let id: BackupId = manifest
        .backup
        .parse()
        .map_err(|_| ArchiveError::Malformed("it has no name".to_owned()))?;
    let servers = sandbox::servers(environment, Some(workspace));
    let server = servers.exactly(manifest.server.major).map_err(TargetFailure::from)?;
    let name = format!("annals-restore-{}", environment.ids.next().simple());
    let folder = sandbox::base(environment).join(name);
    let cache = environment.sandbox_cache();
    let sandbox_options = SandboxOptions {
        folder: &folder,
        binaries: &server.binaries,
        platform: target.platform,
        lifetime: Lifetime::OfThisProcess,
        tcp_port: None,
        settings: &[],
        cache: cache.as_deref(),
        lock: None,
    };
    let sandbox = Sandbox::start(&sandbox_options).await.map_err(TargetFailure::from)?;
    let settings = SessionSettings { lock_timeout_ms: 0, ..SessionSettings::default() };
    let admin = sandbox.superuser_spec("postgres");
    let mut session = admin.connect("annals/restore", &settings).await?;
    make_roles(&mut session, &manifest.roles).await?;
    let mut databases = sandbox.databases().await.map_err(TargetFailure::from)?;
    // What the server's configuration says there would be the database's own setting here; restoring
    // sets what matters by itself.
    let likeness = Likeness { server_settings: Vec::new(), ..manifest.likeness() };
    let unlike = databases.create_like(DATABASE, &likeness).await;
    databases.close().await;
    let unlike = unlike.map_err(TargetFailure::from)?;
    for sql in manifest.owner_sql(DATABASE) {
        let made = session.run(&sql).await;
        made.map_err(|fault| ArchiveError::Refused {
            what: "the database itself".to_owned(),
            fault,
        })?;
    }
    session.close().await;
    let extent = Extent::Whole;
    let place = Place { spec: sandbox.superuser_spec(DATABASE), settings, jobs, extent };
    let Brought { comparison, .. } =
        into_database(target, archive, id, key, &place, watcher).await?;
    let notes = unlike.into_iter().map(|unlike| {
        format!("the private server is not like the target: {} ({})", unlike.what, unlike.reason)
    });
    let rows_only = manifest.kind.is_of_rows().then(|| {
        format!("only rows were compared: the backup is one of {}", manifest.kind.as_str())
    });
    Ok(Stood {
        spec: place.spec,
        unequal: told(&comparison.unequal),
        notes: notes.chain(rows_only).collect(),
        rows: comparison.rows,
        _sandbox: sandbox,
    })
}

async fn make_roles(session: &mut Session, roles: &[String]) -> Result<(), Failure> {
    let here = "SELECT rolname::text FROM pg_catalog.pg_roles";
    let here = session.texts(here).await.map_err(ArchiveError::from)?;
    let here: Vec<String> = here.into_iter().flatten().flatten().collect();
    for role in roles.iter().filter(|role| !here.contains(role)) {
        let sql = format!("CREATE ROLE {} NOLOGIN", quoted(role));
        session.run(&sql).await.map_err(ArchiveError::from)?;
    }
    Ok(())
}

pub(crate) fn told(unequal: &[Unequal]) -> Vec<String> {
    let mut all: Vec<String> = unequal.iter().take(NAMED).map(line_of).collect();
    if let more @ 1.. = unequal.len().saturating_sub(NAMED) {
        all.push(format!("and {more} more"));
    }
    all
}

fn line_of(it: &Unequal) -> String {
    format!("{}: {}", it.subject, it.evidence)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
