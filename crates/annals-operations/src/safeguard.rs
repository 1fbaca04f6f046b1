//! The backup a target wants before a run: of everything, of the schema, of what the plan reaches, or
//! one that somebody else keeps.

use std::collections::BTreeSet;

use annals_archive::{Kind, Phase, Watcher, parse_table_names};
use annals_events::{ExternalBackupNamed, RunId};
use annals_executor::{Interrupt, Progress};
use annals_migrations::{Loss, MigrationSet, Plan, PlannedStep, losses};
use annals_proof::lock_strength;

use crate::backup::{TakenBackup, take_for_run};
use crate::backups::{Around, BackupTrouble};
use crate::error::Failure;
use crate::home::BlobReader;
use crate::open::{self, Opened};
use crate::targets::Target;
use crate::workspace::Workspace;

/// The backup a target wants before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupPolicy {
    /// Everything.
    Full,
    /// The schema.
    Schema,
    /// The rows of what the plan reaches, as its rehearsal has shown; everything where none has.
    Scoped,
    /// None of ours: a backup of somebody else's is named, with what shows that it is there.
    External,
}

impl BackupPolicy {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Schema => "schema",
            Self::Scoped => "scoped",
            Self::External => "external",
        }
    }

    /// The policy of that name.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Full, Self::Schema, Self::Scoped, Self::External]
            .into_iter()
            .find(|policy| policy.as_str() == word)
    }
}

/// A backup that somebody else keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalBackup {
    /// What its keeper calls it: a restore point, the name of a base backup, the id of a snapshot.
    pub name: String,
    /// What shows that it is there.
    pub evidence: String,
}

fn configured(workspace: &Workspace, target: &Target) -> Option<BackupPolicy> {
    workspace.config().targets.get(&target.name).and_then(|target| target.backup)
}

/// The backup a target wants before a run, in a word.
pub(crate) fn policy(workspace: &Workspace, target: &Target) -> Option<&'static str> {
    configured(workspace, target).map(BackupPolicy::as_str)
}

/// Who wants the backup without which a run does not begin.
pub(crate) fn demand(workspace: &Workspace, target: &Target) -> String {
    format!(
        "no run begins without its backup: targets.{}.backup is {:?}, see annals.toml",
        target.name,
        policy(workspace, target).unwrap_or("off")
    )
}

/// The longest name and the longest evidence an event holds, in characters.
const MAX_CHARACTERS: usize = 1000;

/// Refuses a backup of somebody else's that nobody asks for, or that is none.
pub(crate) fn check(
    workspace: &Workspace,
    target: &Target,
    external: Option<&ExternalBackup>,
) -> Result<(), Failure> {
    let Some(external) = external else { return Ok(()) };
    let refuse = |subject: &str, reason: String| {
        Err(Failure::Argument { subject: subject.to_owned(), reason })
    };
    let wanted = policy(workspace, target).unwrap_or("off");
    if wanted != BackupPolicy::External.as_str() {
        let reason = format!(
            "counts where targets.{}.backup is \"external\"; it is \"{wanted}\"",
            target.name
        );
        return refuse("--external-backup", reason);
    }
    for (subject, text) in
        [("--external-backup", &external.name), ("--backup-evidence", &external.evidence)]
    {
        if text.trim().is_empty() {
            return refuse(subject, "is empty".to_owned());
        }
        if text.chars().count() > MAX_CHARACTERS {
            return refuse(subject, format!("is longer than {MAX_CHARACTERS} characters"));
        }
    }
    Ok(())
}

/// Tells whoever watches a run how far its backup is.
struct Told<'a, P> {
    progress: &'a mut P,
    done: u64,
    total: u64,
}

impl<P: Progress> Watcher for Told<'_, P> {
    fn begins(&mut self, phase: Phase, bytes: u64) {
        (self.done, self.total) = (0, bytes);
        if phase == Phase::Rows {
            self.progress.backing_up(0, bytes);
        }
    }

    fn advances(&mut self, bytes: u64) {
        self.done += bytes;
        self.progress.backing_up(self.done, self.total);
    }
}

/// Sees to the backup the target wants before run `run`, and says what was done; nothing, if it wants
/// none.
pub(crate) async fn before_run<P: Progress>(
    around: Around<'_>,
    opened: &mut Opened<'_>,
    (run, plan, set): (RunId, &Plan, &MigrationSet),
    external: Option<&ExternalBackup>,
    (progress, interrupt): (&mut P, &mut Interrupt),
) -> Result<Vec<String>, Failure> {
    let watcher = &mut Told { progress, done: 0, total: 0 };
    let Some(policy) = configured(around.workspace, around.target) else { return Ok(Vec::new()) };
    let whole = |taken: &TakenBackup| {
        format!("backup {} was taken before the run: {} rows", taken.backup, taken.rows)
    };
    match policy {
        BackupPolicy::Full | BackupPolicy::Schema => {
            let kind = if policy == BackupPolicy::Full { Kind::Full } else { Kind::Schema };
            let taken =
                take_for_run(around, opened, (kind, Vec::new()), run, (watcher, interrupt)).await?;
            Ok(vec![whole(&taken)])
        }
        BackupPolicy::Scoped => match scope(around, opened, plan, set).await? {
            Ok(tables) => {
                let named = match tables.is_empty() {
                    true => Vec::new(),
                    false => parse_table_names(&tables.join(", ")).map_err(|reason| {
                        Failure::Argument { subject: "the plan's tables".to_owned(), reason }
                    })?,
                };
                let what = (Kind::Tables, named);
                let taken = take_for_run(around, opened, what, run, (watcher, interrupt)).await?;
                Ok(vec![match tables.is_empty() {
                    true => format!("{}: the plan reaches no table that is there", whole(&taken)),
                    false => format!("{} of {}", whole(&taken), tables.join(", ")),
                }])
            }
            Err(why) => {
                let what = (Kind::Full, Vec::new());
                let taken = take_for_run(around, opened, what, run, (watcher, interrupt)).await?;
                Ok(vec![whole(&taken), format!("that is a backup of everything, as {why}")])
            }
        },
        BackupPolicy::External => {
            let Some(external) = external else {
                return Err(BackupTrouble::NoExternal(around.target.name.clone()).into());
            };
            let place = opened.session.wal_position().await.map_err(open::fault(around.target))?;
            let event = ExternalBackupNamed {
                evidence: external.evidence.clone(),
                lsn: place,
                name: external.name.clone(),
                run,
            };
            opened.record(vec![event.into()]).await?;
            Ok(vec![format!(
                "the run relies on backup {:?}, which annals does not keep and has not seen",
                external.name
            )])
        }
    }
}

/// The tables a plan reaches on the target, or why that is not known.
async fn scope(
    Around { target, .. }: Around<'_>,
    opened: &mut Opened<'_>,
    plan: &Plan,
    set: &MigrationSet,
) -> Result<Result<Vec<String>, String>, Failure> {
    let fault = open::fault(target);
    let functions: BTreeSet<String> =
        opened.session.changing_functions().await.map_err(&fault)?.into_iter().collect();
    let mut relations = BTreeSet::new();
    for step in &plan.steps {
        if let Some(why) = says_too_little(step, &functions) {
            return Ok(Err(format!("{}: {why}", step.id())));
        }
        match locked(opened, target, step, set).await {
            Ok(seen) => relations.extend(seen),
            Err(why) => return Ok(Err(format!("{}: {why}", step.id()))),
        }
    }
    let relations: Vec<String> = relations.into_iter().collect();
    if relations.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let reach = opened.session.reach_of(&relations).await.map_err(&fault)?;
    Ok(match reach.beyond.first() {
        Some(what) => Err(format!("{what} may change rows of other tables")),
        None => Ok(reach.tables),
    })
}

/// Why the text of a step does not let a rehearsal without its rows show everything it changes.
fn says_too_little(step: &PlannedStep, functions: &BTreeSet<String>) -> Option<String> {
    if step.streamed.is_some() {
        return Some("a file too large for a plan is not looked at".to_owned());
    }
    for statement in &step.statements {
        for loss in losses(&statement.sql) {
            if let Loss::Unknown(why) = loss {
                return Some(why.to_owned());
            }
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let words: Vec<String> = statement
            .sql
            .split(|c| !is_part(c))
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        let makes_code = words.windows(2).any(|pair| {
            matches!(pair[0].as_str(), "create" | "replace" | "constraint" | "event")
                && matches!(pair[1].as_str(), "function" | "procedure" | "trigger" | "rule")
        });
        if makes_code {
            return Some(
                "it makes a function, trigger or rule, which may change anything".to_owned(),
            );
        }
        if let Some(name) = functions.iter().find(|name| words.contains(&name.to_lowercase())) {
            return Some(format!("it may call the function {name}, which may change anything"));
        }
    }
    None
}

/// The relations a step has locked against writers, or to write, when it was rehearsed with these files.
async fn locked(
    opened: &Opened<'_>,
    target: &Target,
    step: &PlannedStep,
    set: &MigrationSet,
) -> Result<Vec<String>, String> {
    let unknown = || "no rehearsal of these files says what it reaches (annals proof)".to_owned();
    let migration = set.get(&step.version).ok_or_else(unknown)?;
    let proof = opened.book().proofs.of(&step.version).ok_or_else(unknown)?;
    let rollback = migration.down.as_ref().map(|file| file.reference());
    let major = opened.session.facts().major();
    if !proof.is_of(&migration.up.reference(), rollback.as_ref()) || proof.server_major != major {
        return Err(unknown());
    }
    let mut blobs = BlobReader::of(&target.home()).await.map_err(|error| error.to_string())?;
    let content = blobs.get(&proof.report).await;
    blobs.close().await;
    let content = content.map_err(|error| error.to_string())?;
    let report: serde_json::Value =
        serde_json::from_slice(&content).map_err(|error| error.to_string())?;
    let seen = report[step.direction.as_str()]["statements"].as_array().ok_or_else(unknown)?;
    if seen.len() < step.statements.len() {
        return Err("its rehearsal did not come to its end".to_owned());
    }
    let writes = lock_strength("ROW EXCLUSIVE");
    let mut relations = Vec::new();
    for statement in seen {
        let Some(locks) = statement["locks"].as_array() else {
            return Err("what one of its statements locks could not be seen".to_owned());
        };
        for lock in locks {
            let (mode, name) = (lock["mode"].as_str(), lock["relation"].as_str());
            let (Some(mode), Some(name)) = (mode, name) else { return Err(unknown()) };
            if lock_strength(mode) >= writes {
                relations.push(name.to_owned());
            }
        }
    }
    Ok(relations)
}
