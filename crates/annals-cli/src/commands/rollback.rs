//! `annals rollback`.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use annals_api::{EmergencyDocument, ExitCode, FailureDocument, LookWithoutLogDocument};
use annals_events::{Direction, Version};
use annals_operations::{
    BackupWatcher, ChangeOptions, DrillOptions, EmergencyLook, EmergencyOptions, Environment,
    Failure, RolledGoal, carry_out_plan, emergency, emergency_look, parse_time, plan, plan_out,
    rollback, target_name,
};

use super::backup::Follows;
use super::migrate::finish;
use super::plan::{show, written};
use super::progress::Lines;
use super::target::{AuthorityArguments, ChangeArguments};
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE};

/// Roll back, the last applied first; history keeps both the migration and its rollback
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    change: ChangeArguments,

    #[command(flatten)]
    goal: GoalArguments,

    #[command(flatten)]
    authority: AuthorityArguments,

    /// Write the plan to a file, to be approved, and touch nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan", "dry_run", "break_glass"])]
    out: Option<PathBuf>,

    /// Print the SQL in order and touch nothing
    #[arg(long, conflicts_with = "plan")]
    dry_run: bool,

    /// Back to the last version behind which a verification passed: what is in doubt is settled
    /// first, drift and a missing backup do not stop it, and the target is verified afterwards
    #[arg(long, group = "why", conflicts_with_all = ["plan", "out"])]
    emergency: bool,

    /// Go through it on a private server, from the newest backup, and record how long it took; the
    /// target is not touched
    #[arg(long, requires = "emergency", conflicts_with_all = ["dry_run", "yes", "reason"])]
    rehearse: bool,

    /// Do not ask for the target's name
    #[arg(long, requires = "emergency")]
    yes: bool,
}

/// How far to roll back.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
struct GoalArguments {
    /// Until this version is the last one applied; 0 rolls back everything
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,

    /// The last so many, in the reverse of the order they were applied
    #[arg(
        long,
        value_name = "COUNT",
        required_unless_present_any = ["to", "to_time", "plan", "emergency"],
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    last: Option<u64>,

    /// Until what was applied at this time is: 2026-01-31T16:30:00Z, or 2026-01-31 16:30 in UTC
    #[arg(long, value_name = "TIME")]
    to_time: Option<String>,

    /// Carry out exactly this plan, as annals rollback --out wrote it, or refuse
    #[arg(long, value_name = "FILE", conflicts_with = "single_transaction")]
    plan: Option<PathBuf>,
}

impl GoalArguments {
    /// Without one it is an emergency.
    fn goal(self) -> Result<RolledGoal, Failure> {
        Ok(match (self.to, self.last, self.to_time) {
            (Some(version), ..) => RolledGoal::To(version),
            (None, Some(count), _) => RolledGoal::Last(count),
            (None, None, Some(time)) => RolledGoal::ToTime(parse_time(&time)?),
            (None, None, None) => RolledGoal::LastKnownGood,
        })
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: Arguments,
) -> Result<ExitCode, Failure> {
    let authority = arguments.authority.authority(arguments.goal.plan.as_ref());
    let options = ChangeOptions { authority, ..arguments.change.options() };
    let is_planned = arguments.goal.plan.is_some();
    let goal = arguments.goal.clone().goal()?;
    if let Some(out) = &arguments.out {
        let file = plan_out(environment, goal, &options, out).await?;
        return Ok(written(output, &file));
    }
    if arguments.rehearse {
        let EmergencyOptions { target, goal, jobs, .. } = arguments.emergency(goal);
        return super::drill::run(environment, output, &DrillOptions { target, goal, jobs }).await;
    }
    if arguments.dry_run && arguments.emergency {
        return look(environment, output, &arguments, goal).await;
    }
    if arguments.dry_run {
        return Ok(show(output, &plan(environment, goal, &options).await?, true));
    }
    if !arguments.emergency {
        let mut interrupt = signals::listen();
        let mut lines = Lines::new(output);
        let outcome = match is_planned {
            true => {
                let (way, lines) = (Direction::Down, &mut lines);
                carry_out_plan(environment, way, &options, lines, &mut interrupt).await?
            }
            false => rollback(environment, goal, &options, &mut lines, &mut interrupt).await?,
        };
        return Ok(finish(output, &outcome));
    }
    let name = target_name(environment, arguments.change.target())?;
    if !arguments.yes {
        confirm(output, &name)?;
    }
    let asked = EmergencyOptions { target: Some(name), ..arguments.emergency(goal) };
    let mut interrupt = signals::listen();
    let (mut lines, mut follows) = (Lines::new(output), Follows::new(output));
    let watching = (&mut lines, &mut follows as &mut dyn BackupWatcher);
    let outcome = emergency(environment, &asked, watching, &mut interrupt).await;
    drop((lines, follows));
    let outcome = outcome?;
    output.show(&EmergencyDocument::from(&outcome), human);
    Ok(ExitCode::of_emergency(&outcome))
}

impl Arguments {
    fn emergency(&self, goal: RolledGoal) -> EmergencyOptions {
        EmergencyOptions {
            target: self.change.target().map(str::to_owned),
            reason: self.authority.reason().unwrap_or("no reason was given").to_owned(),
            goal: Some(goal),
            traces: self.change.traces(),
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// What an emergency would do now.
async fn look(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
    goal: RolledGoal,
) -> Result<ExitCode, Failure> {
    match emergency_look(environment, &arguments.emergency(goal)).await? {
        EmergencyLook::Rollback(preview) => Ok(show(output, &preview, true)),
        EmergencyLook::Backup(outcome) => {
            output.show(&EmergencyDocument::from(&*outcome), way_back);
            Ok(ExitCode::Success)
        }
        EmergencyLook::WithoutLog(look) => {
            output.show(&LookWithoutLogDocument::from(&*look), without_log);
            Ok(ExitCode::Success)
        }
    }
}

/// What an emergency would take back without the event log.
fn without_log(document: &LookWithoutLogDocument) -> String {
    let mut text = format!(
        "{NOTE}warning{NOTE:#}: the event log cannot be reached ({}): this is what the ledger of {} says\n",
        style::safe(&document.why),
        style::safe(&document.target)
    );
    for step in &document.steps {
        let how = step.no_way_back.as_ref().or(step.rollback.as_ref());
        text.push_str(&format!(
            "  roll back {}  {FAINT}{}{FAINT:#}\n",
            style::safe(&step.id),
            style::safe(how.map_or("", String::as_str))
        ));
    }
    if document.steps.is_empty() {
        text.push_str("nothing is applied, as it says\n");
    }
    text.push_str(&format!(
        "{FAINT}nothing was changed; what happens without the log is kept in a journal{FAINT:#}\n"
    ));
    text
}

/// The backup an emergency would bring back.
fn way_back(document: &EmergencyDocument) -> String {
    let mut text: String = document
        .no_rollback
        .iter()
        .flat_map(|failure| &failure.errors)
        .map(|error| format!("{NOTE}no way back{NOTE:#}: {}\n", style::safe(error)))
        .collect();
    if let Some(backup) = &document.backup {
        text.push_str(&format!(
            "{} of {} leads back{}; not applied then: {}\n{FAINT}nothing was changed{FAINT:#}\n{HINT}\
             next{HINT:#}: what would be lost: annals restore {} --target {}\n",
            backup.backup,
            style::time(&backup.taken_at),
            if backup.verified { ", verified" } else { "" },
            style::safe(&backup.undone.join(", ")),
            backup.backup,
            style::safe(&document.target)
        ));
    }
    text
}

/// Whoever sits at a terminal types the target's name.
fn confirm(output: &Output, name: &str) -> Result<(), Failure> {
    let refused = |reason: &str| Failure::Argument {
        subject: format!("an emergency rollback of {name}"),
        reason: reason.to_owned(),
    };
    if output.is_json() || !stdin().is_terminal() {
        return Err(refused("nobody can be asked here: say --yes"));
    }
    output.say(&format!(
        "{BAD}emergency{BAD:#}: {} goes back to its last known good version, by the rollbacks or, where \
         they do not lead back, by the backup of before, without a further question. What it would be: \
         --dry-run. Type its name to go on:\n",
        style::safe(name)
    ));
    let mut line = String::new();
    let read = stdin().read_line(&mut line);
    if read.is_err() || line.trim() != name {
        return Err(refused("its name was not typed: nothing was done"));
    }
    Ok(())
}

fn human(document: &EmergencyDocument) -> String {
    let mut text = String::new();
    let target = style::safe(&document.target);
    let steps = document.rollback.as_ref().map_or(0, |change| change.steps.len());
    if let Some(run) = document.rollback.as_ref().and_then(|change| change.run.as_ref()) {
        text.push_str(&format!(
            "{FAINT}run {}: {}, {} of {steps}{FAINT:#}\n",
            &run.run[..8],
            run.outcome,
            style::count(run.steps_done, "step"),
        ));
        if let Some(failure) = &run.failure {
            text.push_str(&format!("{BAD}failed{BAD:#}: {}\n", style::safe(&failure.message)));
        }
    }
    let rollback = document.rollback.as_ref();
    for loss in rollback.into_iter().flat_map(|change| &change.losses) {
        text.push_str(&format!("{BAD}lost{BAD:#} {}\n", style::safe(&loss.text)));
    }
    for note in rollback.into_iter().flat_map(|change| &change.notes) {
        text.push_str(&format!("{NOTE}note{NOTE:#}: {}\n", style::safe(note)));
    }
    for ended in &document.terminated {
        text.push_str(&format!(
            "{NOTE}ended{NOTE:#} backend {} (role {}, application {}): it stood in the way\n",
            ended.pid,
            style::safe(&ended.user),
            style::safe(&ended.application)
        ));
    }
    for finding in &document.findings {
        text.push_str(&format!("{NOTE}finding{NOTE:#} {}\n", style::safe(finding)));
    }
    for failure in [&document.no_rollback, &document.unfinished].into_iter().flatten() {
        text.push_str(&trouble(failure));
    }
    if let Some(journal) = &document.journal {
        text.push_str(&format!(
            "{NOTE}journal{NOTE:#} of what was done without the event log: {}; it becomes part of the log \
             with the next command here that reaches it: annals status\n",
            style::safe(&journal.folder)
        ));
    }
    let took = style::duration(document.duration_us);
    if document.over {
        let lost = match document.lost_rows {
            Some(rows) => {
                format!("{} lost", style::count(usize::try_from(rows).unwrap_or(usize::MAX), "row"))
            }
            None => "rows lost: not all could be counted".to_owned(),
        };
        if let Some(done) = document.restore.as_ref().and_then(|restore| restore.done.as_ref()) {
            let backup = document.restore.as_ref().map_or("", |restore| restore.backup.as_str());
            let kept = match (&done.kept_as, &done.backup_before) {
                (Some(name), _) => format!("what was there is kept as {}", style::safe(name)),
                (None, Some(before)) => format!("what was there is kept in backup {before}"),
                (None, None) => "what was there is not kept".to_owned(),
            };
            text.push_str(&format!("{NOTE}restored{NOTE:#} from backup {backup}; {kept}\n"));
        }
        text.push_str(&format!(
            "{GOOD}✓{GOOD:#} {target} is back and verified after {took} · {lost}\n"
        ));
        return text;
    }
    text.push_str(&format!(
        "{BAD}✗{BAD:#} {target} is not known to be good after {took} · verification {}\n",
        document.verified.replace('_', " ")
    ));
    if let Some(backup) = document.backup.as_ref().filter(|_| document.restore.is_none()) {
        text.push_str(&format!(
            "{HINT}next{HINT:#}: the rollbacks do not lead back; backup {} of {} does: annals restore {} \
             --target {target}\n",
            backup.backup, backup.taken_at, backup.backup
        ));
    }
    text
}

fn trouble(failure: &FailureDocument) -> String {
    let mut text: String = failure
        .errors
        .iter()
        .map(|error| format!("{BAD}error{BAD:#}: {}\n", style::safe(error)))
        .collect();
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("{HINT}next{HINT:#}: {}\n", style::safe(hint)));
    }
    text
}
