//! `ci validate` and `ci test`: what a pipeline asks before a change is merged.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use annals_ci as ci;
use annals_ci::rules;
use annals_ci::{Deviation, Finding, Known, Place, Report, Tried, Verb, deviations, secrets};
use annals_events::{ProofVerdict, Version};
use annals_migrations::{MigrationSet, Problem, SourceFile};
use annals_projections::{Measure, ProofBook};
use annals_proof::{
    Audience, Batch, FileFailure, ObjectDifference, ScaleReport, ScaledWay, StepProof,
};

use crate::config::{CiConfig, StorePlace};
use crate::durations::durations;
use crate::environment::Environment;
use crate::error::Failure;
use crate::git;
use crate::home::BlobReader;
use crate::logs::ReadLog;
use crate::pipelines::repository_path;
use crate::proof::{ProofFrom, ProofOf, ProofOptions, ProofView, proof};
use crate::proven::declared;
use crate::targets::Target;
use crate::workspace::Workspace;

/// The largest file whose text is searched: what is larger is data.
const MAX_SEARCHED_BYTES: u64 = 1 << 20;

/// What `ci validate` is told.
#[derive(Debug, Clone, Default)]
pub struct CiValidateOptions {
    /// A commit, branch or tag whose files others rely on.
    pub against: Option<String>,
}

/// What `ci test` is told.
#[derive(Debug, Clone, Default)]
pub struct CiTestOptions {
    /// The target the sandbox is like; the default one if none.
    pub target: Option<String>,
    /// Every migration instead of those that are not applied.
    pub all: bool,
    /// Record the proofs in the target's log.
    pub record: bool,
}

/// The folder of the workspace in its repository, with a slash behind it; empty at the top, and where
/// there is no repository.
///
/// # Errors
///
/// When there is no workspace.
pub fn ci_folder(environment: &Environment) -> Result<String, Failure> {
    Ok(repository_path(Workspace::find(&environment.folder)?.folder()))
}

/// A relative path as findings name it.
fn named(path: &Path) -> String {
    let parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

fn empty(verb: Verb, workspace: &Workspace) -> Report {
    Report {
        verb,
        workspace: workspace.config().workspace.clone(),
        target: None,
        against: None,
        server_version: None,
        files: Vec::new(),
        migrations: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
        us: 0,
    }
}

/// Puts a report in order, as the configuration says.
fn settled(mut report: Report, config: &CiConfig, began: Instant) -> Report {
    let unused: Vec<String> = report
        .settle(&config.allow)
        .into_iter()
        .map(|allowed| format!("ci.allow: {} was not found in {}", allowed.rule, allowed.file))
        .collect();
    // Each command looks at its own rules: what is allowed for the other one is not spoken of.
    if report.verb == Verb::Validate {
        let of_tests = [
            "migration",
            "rollback",
            "rows",
            "column-order",
            "irreversible",
            "chain",
            "not-",
            "table-",
            "slower",
            "over-",
        ];
        report.notes.extend(unused.into_iter().filter(|note| {
            !of_tests.iter().any(|rule| note.starts_with(&format!("ci.allow: {rule}")))
        }));
    }
    report.us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    report
}

/// Looks at the files of the workspace as a reviewer would; no server is asked.
///
/// # Errors
///
/// When there is no workspace, or what it is to be compared with cannot be read.
pub async fn ci_validate(
    environment: &Environment,
    options: &CiValidateOptions,
) -> Result<Report, Failure> {
    let began = Instant::now();
    let workspace = Workspace::find(&environment.folder)?;
    let mut report = empty(Verb::Validate, &workspace);
    let theirs = match &options.against {
        None => None,
        Some(name) => {
            let (commit, files) = of_commit(&workspace, name)?;
            report.against = Some(format!("{name} ({})", commit.get(..12).unwrap_or(&commit)));
            Some(files)
        }
    };
    let set = match workspace.load() {
        Ok(set) => Some(set),
        Err(Failure::Files(problems)) => {
            report
                .findings
                .extend(problems.iter().map(|found| problem(&rules::FILE_REFUSED, found)));
            None
        }
        Err(other) => return Err(other),
    };
    report.files = paths(&workspace);
    let same = |path: &str, raw| {
        let theirs = theirs.as_deref().unwrap_or_default();
        theirs.iter().any(|file| file.path == path && file.raw == Some(raw))
    };
    for path in &report.files {
        let full = workspace.folder().join(path);
        let small = std::fs::metadata(&full).is_ok_and(|meta| meta.len() <= MAX_SEARCHED_BYTES);
        let Some(bytes) = small.then(|| std::fs::read(&full).ok()).flatten() else {
            report.notes.push(format!("{path}: not searched for secrets, it has more than 1 MiB"));
            continue;
        };
        // What the branch has already is not the doing of this change.
        if !same(path, annals_events::Digest::of(&bytes)) {
            search(path, &String::from_utf8_lossy(&bytes), &mut report.findings);
        }
    }
    if let Some(set) = &set {
        let ours = known_of(set);
        read_sql(set, &mut report.findings);
        if let Some(theirs) = &theirs {
            let whose = options.against.as_deref().unwrap_or_default();
            let of = Deviation { ours: &ours, theirs, whose, all: true };
            report.findings.extend(deviations(&of));
        }
        applied(environment, &workspace, &ours, &mut report).await;
        let is_new = |file: &SourceFile| !same(&named(file.path()), file.raw());
        lint(set, &is_new, &mut report.findings);
    }
    budgets(environment, &workspace, &mut report).await;
    let config = workspace.config().ci.clone();
    Ok(settled(report, &config, began))
}

fn problem(rule: &'static ci::Rule, problem: &Problem) -> Finding {
    let mut place = Place::file(named(&problem.path));
    if let Some(position) = problem.position {
        (place.line, place.column) = (Some(position.line), Some(position.column));
    }
    Finding::of(rule, place, &*problem.reason)
}

/// The files of both folders, in the order of their names.
fn paths(workspace: &Workspace) -> Vec<String> {
    let folders = &workspace.config().folders;
    let mut paths = Vec::new();
    for folder in [&folders.migrations, &folders.rollbacks] {
        let entries = std::fs::read_dir(workspace.folder().join(folder)).into_iter().flatten();
        let files = entries.flatten().map(|entry| folder.join(entry.file_name()));
        paths.extend(files.filter(|path| path.extension().is_some_and(|end| end == "sql")));
    }
    paths.sort();
    paths.iter().map(|path| named(path)).collect()
}

/// What stands in a text and should not.
fn search(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for secret in secrets(text) {
        let place = Place {
            file: Some(path.to_owned()),
            line: Some(secret.position.line),
            column: Some(secret.position.column),
        };
        findings.push(Finding::of(&rules::SECRET, place, format!("{} stands here", secret.what)));
    }
}

fn known_of(set: &MigrationSet) -> Vec<Known> {
    let known = |file: &SourceFile, version: Option<&Version>| Known {
        path: named(file.path()),
        version: version.cloned(),
        raw: Some(file.raw()),
        canonical: file.script().ok().map(|_| file.canonical()),
    };
    let ups = set.iter().map(|migration| known(&migration.up, Some(&migration.version)));
    let downs = set.iter().filter_map(|migration| migration.down.as_ref());
    ups.chain(downs.map(|file| known(file, None))).collect()
}

fn read_sql(set: &MigrationSet, findings: &mut Vec<Finding>) {
    for migration in set.iter() {
        for file in std::iter::once(&migration.up).chain(&migration.down) {
            if let Err(problems) = file.script() {
                findings
                    .extend(problems.iter().map(|found| problem(&rules::SQL_UNREADABLE, found)));
            }
        }
        if let Some(reason) = declared(migration) {
            let place = Place::file(named(migration.up.path()));
            findings.push(Finding::of(
                &rules::NO_WAY_BACK,
                place,
                format!("irreversible: {reason}"),
            ));
        }
    }
}

/// The files of a commit.
fn of_commit(workspace: &Workspace, name: &str) -> Result<(String, Vec<Known>), Failure> {
    let failed =
        |reason: String| Failure::Argument { subject: format!("--against {name}"), reason };
    let commit = git::commit(workspace.folder(), name).map_err(failed)?;
    let folders = &workspace.config().folders;
    let wanted: [&Path; 2] = [&folders.migrations, &folders.rollbacks];
    let files = git::files(workspace.folder(), &commit, &wanted).map_err(failed)?;
    let sql =
        files.into_iter().filter(|file| file.path.extension().is_some_and(|end| end == "sql"));
    let known = sql.map(|file| {
        let raw = annals_events::Digest::of(&file.content);
        let path = named(&file.path);
        let is_up = file.path.starts_with(&folders.migrations);
        let version = version_of(&file.path);
        let source = SourceFile::new(&file.path, file.content).ok();
        let canonical =
            source.as_ref().filter(|file| file.script().is_ok()).map(SourceFile::canonical);
        Known { path, version: version.filter(|_| is_up), raw: Some(raw), canonical }
    });
    Ok((commit, known.collect()))
}

fn version_of(path: &Path) -> Option<Version> {
    annals_migrations::version_of(path.file_name()?.to_str()?)
}

/// Compares the files with what the logs that can be read here say is applied.
async fn applied(
    environment: &Environment,
    workspace: &Workspace,
    ours: &[Known],
    report: &mut Report,
) {
    let folders = &workspace.config().folders;
    for name in workspace.config().targets.keys() {
        let Some(target) = readable(environment, workspace, name, report).await else { continue };
        let book = match ReadLog::of_target(&target) {
            Ok(log) => log.book().await,
            Err(error) => Err(error),
        };
        let history = match book {
            Ok(book) => book.history,
            Err(error) => {
                report.notes.push(format!("{name}: its log was not compared: {error}"));
                continue;
            }
        };
        let theirs: Vec<Known> = history
            .applied()
            .iter()
            .map(|change| Known {
                path: named(&folders.migrations.join(&change.file.name)),
                version: Some(change.version.clone()),
                raw: Some(change.file.raw),
                canonical: Some(change.file.canonical),
            })
            .collect();
        let whose = format!("applied to {name}");
        let of = Deviation { ours, theirs: &theirs, whose: &whose, all: false };
        for found in deviations(&of) {
            let is_same =
                |other: &Finding| (&other.rule, &other.place) == (&found.rule, &found.place);
            if !report.findings.iter().any(is_same) {
                report.findings.push(found);
            }
        }
    }
}

/// A target whose log lies in a folder here; the others are not asked.
async fn readable(
    environment: &Environment,
    workspace: &Workspace,
    name: &str,
    report: &mut Report,
) -> Option<Target> {
    // One that lives in a database is not asked: a change may come from anybody.
    let configured = workspace.config().targets.get(name)?;
    if !matches!(configured.event_store, StorePlace::File) {
        return None;
    }
    let target = match Target::resolve(environment, workspace, Some(name)) {
        Ok(target) => target,
        Err(error) => {
            report.notes.push(format!("{name}: its log was not compared: {error}"));
            return None;
        }
    };
    target.home().exists().await.is_ok_and(|exists| exists).then_some(target)
}

/// The safety rules over what is new. What older files have created is there already, with rows.
fn lint(set: &MigrationSet, is_new: &dyn Fn(&SourceFile) -> bool, findings: &mut Vec<Finding>) {
    let new = set.iter().map(|migration| &migration.up).filter(|file| is_new(file));
    let files: BTreeMap<&str, &SourceFile> = new.clone().map(|file| (file.name(), file)).collect();
    let scripts = new.filter_map(|file| Some((file.name(), file.script().ok()?)));
    for found in annals_lint::lint_scripts(scripts) {
        let Some(file) = files.get(&*found.file) else { continue };
        let place = Place::line(named(file.path()), Some(found.line));
        let what = format!("{}: {} ({})", found.subject, found.effect, found.risk.as_str());
        let mut finding = Finding::of(&rules::LINT, place, what);
        finding.rule = format!("{}/{}", finding.rule, found.rule);
        finding.remedy = found.instead.to_owned();
        findings.push(finding);
    }
}

fn limit(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

fn took(us: u64) -> String {
    if us >= 1_000_000 { format!("{:.1} s", us as f64 / 1e6) } else { format!("{} ms", us / 1_000) }
}

/// The last runs of each target against their budgets, as its log says.
async fn budgets(environment: &Environment, workspace: &Workspace, report: &mut Report) {
    let mut unseen = Report { notes: Vec::new(), ..report.clone() };
    for name in workspace.config().targets.keys() {
        if readable(environment, workspace, name, &mut unseen).await.is_none() {
            continue;
        }
        // A log that cannot be read was spoken of already.
        let Ok(view) = durations(environment, Some(name)).await else { continue };
        for row in view.rows.iter().filter(|row| row.is_breached()) {
            let (Some(last), Some(budget)) = (&row.last, row.budget_ms) else { continue };
            let what = format!(
                "the last {} of {name} took {}, its budget is {}",
                row.measure.as_str(),
                took(last.us),
                limit(budget)
            );
            report.findings.push(Finding::of(&rules::OVER_BUDGET, Place::default(), what));
        }
    }
}

/// Tries the migrations on a private server: all from nothing, each with its way back.
///
/// # Errors
///
/// When they cannot be tried. What is wrong with one of them is in the report.
pub async fn ci_test(
    environment: &Environment,
    options: &CiTestOptions,
    audience: &mut impl Audience,
    interrupt: &mut crate::Interrupt,
) -> Result<Report, Failure> {
    let began = Instant::now();
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let mut report = empty(Verb::Test, &workspace);
    report.target = Some(target.name.clone());
    let earlier = earlier(&target, &mut report.notes).await;
    let proof_options = ProofOptions {
        target: options.target.clone(),
        of: if options.all { ProofOf::All } else { ProofOf::Pending },
        batch: Batch::default(),
        no_record: !options.record,
        from: ProofFrom::Empty,
        // Durations are compared with budgets and with earlier ones.
        jobs: Some(1),
    };
    let view = proof(environment, &proof_options, audience, interrupt).await?;
    report.server_version = Some(view.server_version.clone());
    report.notes.extend(view.notes.iter().cloned());
    report.files = paths(&workspace);
    for step in &view.rehearsal.steps {
        let mut tried = tried(step, &view);
        if let Some(times) = earlier.get(&step.version).filter(|times| times.is_of(step)) {
            tried.earlier_up_us = times.up_us;
            tried.earlier_down_us = times.down_us;
        }
        if let Some(scale) = &step.scale {
            report.notes.push(format!("{}: {}", step.id(), scale.sentence()));
        }
        judge(&workspace, step, &view, &mut report.findings);
        measure(&workspace, step, &tried, &mut report.findings);
        report.migrations.push(tried);
    }
    for (version, name) in &view.rehearsal.not_reached {
        let file = annals_migrations::migration_file_name(version, name);
        let place = Place::file(named(&workspace.config().folders.migrations.join(file)));
        report.findings.push(Finding::of(&rules::NOT_REACHED, place, "was not tried"));
    }
    let config = workspace.config().ci.clone();
    Ok(settled(report, &config, began))
}

/// How long a migration took when it was last recorded.
struct Earlier {
    proof: annals_projections::Proof,
    up_us: Option<u64>,
    down_us: Option<u64>,
}

impl Earlier {
    fn is_of(&self, step: &StepProof) -> bool {
        self.proof.is_of(&step.file, step.rollback.as_ref())
            && self.proof.server_major == step.server_major
    }
}

async fn earlier(target: &Target, notes: &mut Vec<String>) -> BTreeMap<Version, Earlier> {
    match read_earlier(target).await {
        Ok(found) => found,
        Err(error) => {
            notes.push(format!("durations were not compared with recorded ones: {error}"));
            BTreeMap::new()
        }
    }
}

async fn read_earlier(target: &Target) -> Result<BTreeMap<Version, Earlier>, Failure> {
    let mut found = BTreeMap::new();
    if !target.home().exists().await? {
        return Ok(found);
    }
    let proofs: ProofBook = ReadLog::of_target(target)?.book().await?.proofs;
    let mut blobs = BlobReader::of(&target.home()).await?;
    for (version, proof) in proofs.iter() {
        let Ok(content) = blobs.get(&proof.report).await else { continue };
        let report: serde_json::Value = serde_json::from_slice(&content).unwrap_or_default();
        let us = |way: &str| report[way]["us"].as_u64();
        let times = Earlier { proof: proof.clone(), up_us: us("up"), down_us: us("down") };
        found.insert(version.clone(), times);
    }
    Ok(found)
}

fn tried(step: &StepProof, view: &ProofView) -> Tried {
    let lock = step.strongest_lock();
    Tried {
        id: step.id(),
        verdict: step.verdict.as_str().to_owned(),
        accepted: view.policy.accepts(step.verdict),
        lock: lock.map(|lock| lock.mode.to_owned()),
        locked: lock.map(|lock| lock.relation.clone()),
        rewrites: step.rewrites().into_iter().map(str::to_owned).collect(),
        up_us: step.up.us,
        down_us: step.down.us,
        earlier_up_us: None,
        earlier_down_us: None,
        lost_rows: step.lost_rows(),
        test_rows: step.scale.as_ref().map(test_rows),
    }
}

fn test_rows(report: &ScaleReport) -> ci::TestRows {
    let way = |way: &ScaledWay| {
        let locks = way.locks.iter().map(|lock| ci::TestLock {
            mode: lock.mode.to_owned(),
            relation: lock.relation.clone(),
            us: lock.us,
        });
        ci::TestWay { us: way.us, locks: locks.collect(), unseen: way.unseen }
    };
    let skipped = report.skipped.iter().map(|left| (left.table.clone(), left.reason.clone()));
    ci::TestRows {
        asked: report.asked,
        tables: report.tables.iter().map(|of| (of.table.clone(), of.rows)).collect(),
        skipped: skipped.collect(),
        up: way(&report.up),
        down: report.down.as_ref().map(way),
        failure: report.failure.as_ref().map(ToString::to_string),
    }
}

/// The paths of a migration and of its rollback.
fn files_of(workspace: &Workspace, step: &StepProof) -> (String, String) {
    let folders = &workspace.config().folders;
    let up = named(&folders.migrations.join(&step.file.name));
    let down = step.rollback.as_ref().map(|file| named(&folders.rollbacks.join(&file.name)));
    let down = down.unwrap_or_else(|| up.clone());
    (up, down)
}

fn rule_of(verdict: ProofVerdict) -> Option<&'static ci::Rule> {
    match verdict {
        ProofVerdict::Exact => None,
        ProofVerdict::ColumnOrder => Some(&rules::COLUMN_ORDER),
        ProofVerdict::Differs => Some(&rules::ROLLBACK_DIFFERS),
        ProofVerdict::RollbackFails => Some(&rules::ROLLBACK_FAILS),
        ProofVerdict::MigrationFails => Some(&rules::MIGRATION_FAILS),
        ProofVerdict::LosesData => Some(&rules::ROWS_LOST),
        ProofVerdict::Irreversible => Some(&rules::IRREVERSIBLE),
    }
}

/// What the verdict of a rehearsal says, with its evidence.
fn judge(workspace: &Workspace, step: &StepProof, view: &ProofView, findings: &mut Vec<Finding>) {
    let (up, down) = files_of(workspace, step);
    if let Some(rule) = rule_of(step.verdict) {
        let file = if step.verdict == ProofVerdict::MigrationFails { &up } else { &down };
        let fails =
            matches!(step.verdict, ProofVerdict::MigrationFails | ProofVerdict::RollbackFails);
        let failure = failure_of(step).filter(|_| fails);
        let line =
            failure.and_then(|failure| failure.line).and_then(|line| u32::try_from(line).ok());
        let found = Finding::of(rule, Place::line(&**file, line), evidence(step, failure));
        let accepted = view.policy.accepts(step.verdict);
        findings.push(if accepted { found.as_note() } else { found });
    }
    if let Some(chain) = step.chain.as_ref().filter(|chain| !view.policy.accepts(chain.verdict))
        && view.policy.accepts(step.verdict)
    {
        let what = match (&chain.failure, chain.differences.first()) {
            (Some(failure), _) => failure.to_string(),
            (None, Some(difference)) => shown(difference),
            (None, None) => chain.verdict.as_str().replace('_', " "),
        };
        findings.push(Finding::of(&rules::CHAIN_DIFFERS, Place::file(down), what));
    }
}

fn failure_of(step: &StepProof) -> Option<&FileFailure> {
    let rows = step.rows.as_ref();
    let with_rows = rows.and_then(|rows| rows.down_failure.as_ref().or(rows.up_failure.as_ref()));
    step.failure.as_ref().or(with_rows)
}

/// A difference in a few words.
fn shown(difference: &ObjectDifference) -> String {
    let ObjectDifference { difference: what, kind, name, changes } = difference;
    let attributes: Vec<String> =
        changes.iter().map(|change| change.attribute.replace('_', " ")).collect();
    match attributes.is_empty() {
        true => format!("{kind} {name} {what}"),
        false => format!("{kind} {name} {what}: {}", attributes.join(", ")),
    }
}

/// The differences that are named of each step.
const MAX_NAMED: usize = 3;

fn evidence(step: &StepProof, failure: Option<&FileFailure>) -> String {
    if let Some(failure) = failure {
        let code = failure.code.as_ref().map(|code| format!(" (SQLSTATE {code})"));
        return format!("{}{}", failure.message, code.unwrap_or_default());
    }
    if let Some(reason) = &step.irreversible {
        return format!("irreversible: {reason}");
    }
    let lost = step.rows.iter().flat_map(|rows| &rows.lost);
    let mut all: Vec<String> =
        lost.map(|lost| format!("{}: {} of {} rows", lost.table, lost.rows, lost.of)).collect();
    let differences = step.differences.iter().chain(&step.again);
    all.extend(differences.map(shown));
    let more = all.len().saturating_sub(MAX_NAMED);
    all.truncate(MAX_NAMED);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    match all.is_empty() {
        true => step.verdict.as_str().replace('_', " "),
        false => all.join("; "),
    }
}

/// What it costs: rewrites, budgets, and how long it took before.
fn measure(workspace: &Workspace, step: &StepProof, tried: &Tried, findings: &mut Vec<Finding>) {
    let (up, down) = files_of(workspace, step);
    for statement in &step.up.statements {
        for table in &statement.rewrites {
            let place = Place::line(&*up, Some(statement.line));
            findings.push(Finding::of(
                &rules::TABLE_REWRITTEN,
                place,
                format!("{table} is written anew"),
            ));
        }
    }
    let config = workspace.config();
    let ways = [
        (&up, Measure::Migration, tried.up_us, tried.earlier_up_us),
        (&down, Measure::Rollback, tried.down_us, tried.earlier_down_us),
    ];
    for (file, measure, us, earlier) in ways {
        if let Some(budget) = config.monitoring.budgets.of(measure).filter(|ms| us > ms * 1_000) {
            let what = format!("took {}, its budget is {}", took(us), limit(budget));
            findings.push(Finding::of(&rules::OVER_BUDGET, Place::file(&**file), what));
        }
        let Some(earlier) = earlier else { continue };
        let by = us.saturating_sub(earlier);
        let factor = us as f64 / earlier.max(1) as f64;
        if factor > config.ci.slower_factor && by > config.ci.slower_by_ms * 1_000 {
            let what = format!("took {}, {} when it was last recorded", took(us), took(earlier));
            findings.push(Finding::of(&rules::SLOWER, Place::file(&**file), what));
        }
    }
}
