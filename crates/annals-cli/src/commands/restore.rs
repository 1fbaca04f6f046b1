//! `annals restore`.

use annals_api::{
    ExitCode, RestoreDocument, RestoreDoneDocument, TableLossDocument, TargetRestoreDocument,
};
use annals_operations::{
    Environment, Failure, RestoreOptions, RestoreRight, TargetRestoreOptions, restore,
    restore_target,
};

use super::backup::{Follows, Jobs};
use super::restore_rows::{self, Common, RowArguments};
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Restore a backup in the place of the target, or into a new database beside it
///
/// Without --into it shows what the target would lose and the fingerprint of its schema; with that
/// fingerprint, --yes-restore does it. The backup is authenticated to its end before anything is made,
/// restored into a database beside the target, and compared with its manifest: schema, rows, sequences
/// and large objects. Only then are the sessions on the target ended and both databases renamed, in
/// one transaction. What was there is kept under another name, and the log goes on.
///
/// Where a database beside it could not take its place, as on Supabase, whose own schemas no backup holds,
/// what is the project's in the target is replaced, in one transaction that is compared before it is
/// committed. What was there is kept in a full backup that is taken first.
///
/// With --into the target's own database is not touched, and need not be there.
///
/// With --tables only rows of these tables come back, into the target as it is: those whose primary key
/// it does not have, and with --rows changed or all those it has with another content. Without
/// --yes-restore it says which rows those are. What only the target has is never deleted.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,

    /// Its name, the beginning or the end of it, or latest: the newest that holds what is wanted
    #[arg(value_name = "BACKUP")]
    backup: String,

    /// Make a new database of it instead
    #[arg(long, value_name = "DATABASE")]
    into: Option<String>,

    /// Do it: the fingerprint of the target's schema as it is shown, or its first twelve digits
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "into")]
    yes_restore: Option<String>,

    /// Where the target's own database gets the backup: do not take one of what is there first
    #[arg(long, requires = "yes_restore")]
    without_backup: bool,

    /// Without the approvals the target asks for, where its policy allows that; the log says so until
    /// somebody else has looked at it
    #[arg(long, requires_all = ["reason", "yes_restore"])]
    break_glass: bool,

    /// Why; goes into the log
    #[arg(long, value_name = "TEXT", requires = "break_glass")]
    reason: Option<String>,

    #[command(flatten)]
    rows: RowArguments,

    #[command(flatten)]
    jobs: Jobs,
}

impl Arguments {
    fn right(&self) -> RestoreRight {
        RestoreRight {
            break_glass: self.reason.clone().filter(|_| self.break_glass),
            emergency: None,
        }
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    if let Some(tables) = &arguments.rows.tables {
        let common = Common {
            target: arguments.target.name().map(str::to_owned),
            backup: &arguments.backup,
            confirm: arguments.yes_restore.as_deref(),
            right: arguments.right(),
            jobs: arguments.jobs.count(),
        };
        return restore_rows::run(environment, output, &arguments.rows, tables, common).await;
    }
    let Some(into) = arguments.into.clone() else {
        return onto_target(environment, output, arguments).await;
    };
    let options = RestoreOptions {
        target: arguments.target.name().map(str::to_owned),
        backup: arguments.backup.clone(),
        into,
        jobs: arguments.jobs.count(),
    };
    let mut interrupt = signals::listen();
    let mut follows = Follows::new(output);
    let view = restore(environment, &options, &mut follows, &mut interrupt).await;
    drop(follows);
    output.show(&RestoreDocument::from(&view?), human);
    Ok(ExitCode::Success)
}

async fn onto_target(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let options = TargetRestoreOptions {
        target: arguments.target.name().map(str::to_owned),
        backup: arguments.backup.clone(),
        confirm: arguments.yes_restore.clone(),
        right: arguments.right(),
        without_backup: arguments.without_backup,
        jobs: arguments.jobs.count(),
    };
    let mut interrupt = signals::listen();
    let mut follows = Follows::new(output);
    let view = restore_target(environment, &options, &mut follows, &mut interrupt).await;
    drop(follows);
    let document = TargetRestoreDocument::from(&view?);
    output.show(&document, human_on_target);
    Ok(if document.obstacles.is_empty() { ExitCode::Success } else { ExitCode::Refused })
}

fn human_on_target(document: &TargetRestoreDocument) -> String {
    match &document.done {
        None => shown(document),
        Some(done) => {
            let rows = usize::try_from(done.rows).unwrap_or(usize::MAX);
            let (place, closed) = match document.in_place {
                true => ("is in the database", "locked"),
                false => ("is the database", "closed"),
            };
            let mut text = format!(
                "{GOOD}✓{GOOD:#} backup {} of {} {place} {STRONG}{}{STRONG:#} now: {}, all compared \
                 {FAINT}· {}, {closed} for {}{FAINT:#}\n",
                document.backup,
                style::time(&document.taken_at),
                style::safe(&document.database),
                style::count(rows, "row"),
                style::duration(done.duration_us),
                style::duration(done.closed_us),
            );
            if !done.schema_compared {
                text.push_str(&note(
                    "the schema was not compared: the server has another major version",
                ));
            }
            text.push_str(&listed("no longer applied, and pending again", &document.undone));
            text.push_str(&listed("applied again", &document.redone));
            text.push_str(&listed("sessions that were ended", &done.ended_sessions));
            document.notes.iter().for_each(|line| text.push_str(&note(line)));
            text.push_str(&kept(done, &style::safe(&document.target)));
            text
        }
    }
}

/// Where what was there is now, and what comes next.
fn kept(done: &RestoreDoneDocument, target: &str) -> String {
    if let Some(name) = &done.kept_as {
        let quoted = name.replace('"', "\"\"");
        return format!(
            "what was there is kept as {STRONG}{}{STRONG:#}\n{HINT}next{HINT:#}: look with annals \
             status --target {target}; when nothing of it is needed any more: DROP DATABASE \"{}\"\n",
            style::safe(name),
            style::safe(&quoted),
        );
    }
    match &done.backup_before {
        Some(backup) => format!(
            "what was there is kept in backup {STRONG}{backup}{STRONG:#}\n{HINT}next{HINT:#}: look with \
             annals status --target {target}; rows that came since: annals restore {backup} --target \
             {target} --tables <table>,…\n"
        ),
        None => format!("{HINT}next{HINT:#}: look with annals status --target {target}\n"),
    }
}

fn note(text: &str) -> String {
    format!("{NOTE}note{NOTE:#}: {}\n", style::safe(text))
}

fn listed(title: &str, names: &[String]) -> String {
    const SHOWN: usize = 20;
    if names.is_empty() {
        return String::new();
    }
    let mut text = format!("{title}:\n");
    for name in names.iter().take(SHOWN) {
        text.push_str(&format!("  {}\n", style::safe(name)));
    }
    if let more @ 1.. = names.len().saturating_sub(SHOWN) {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}

/// What would be lost, and what does it.
fn shown(document: &TargetRestoreDocument) -> String {
    let mut text = format!(
        "backup {STRONG}{}{STRONG:#} of {}, {} old, {} {STRONG}{}{STRONG:#}\n",
        document.backup,
        style::time(&document.taken_at),
        style::duration(document.age_us),
        if document.in_place { "into the database" } else { "in the place of the database" },
        style::safe(&document.database),
    );
    let same = usize::try_from(document.same_tables).unwrap_or(usize::MAX);
    match document.tables.as_slice() {
        [] => text.push_str(
            "every table has as many rows as in the backup; what changed in them is lost\n",
        ),
        tables => {
            text.push_str("rows now, and in the backup:\n");
            tables.iter().for_each(|table| text.push_str(&table_line(table)));
            if same > 0 {
                let others = style::count(same, "table");
                text.push_str(&format!("  {FAINT}as many rows: {others}{FAINT:#}\n"));
            }
        }
    }
    text.push_str(&listed(
        "migrations that are not in it, and would be pending again",
        &document.undone,
    ));
    text.push_str(&listed("migrations that would be applied again", &document.redone));
    text.push_str(&listed("sessions that would be ended", &document.sessions));
    document.notes.iter().for_each(|line| text.push_str(&note(line)));
    text.push_str(&format!("fingerprint of the target's schema: {}\n", document.fingerprint));
    if document.obstacles.is_empty() {
        text.push_str(&format!(
            "{FAINT}nothing was changed{FAINT:#}\n{HINT}next{HINT:#}: to do it: annals restore {} \
             --target {} --yes-restore {}\n",
            document.backup,
            style::safe(&document.target),
            document.fingerprint
        ));
    } else {
        for obstacle in &document.obstacles {
            text.push_str(&format!("{BAD}it cannot be done{BAD:#}: {}\n", style::safe(obstacle)));
        }
        text.push_str(&format!(
            "{HINT}next{HINT:#}: bring it into a database beside it: annals restore {} --target \
             {} --into <database>\n",
            document.backup,
            style::safe(&document.target)
        ));
    }
    text
}

fn table_line(table: &TableLossDocument) -> String {
    let about = if table.exact { "" } else { "about " };
    let rows = match (table.now, table.backup) {
        (Some(now), Some(then)) => format!("{about}{now} → {then}"),
        (Some(now), None) => format!("{about}{now} → the table is not in the backup"),
        (None, Some(then)) => format!("the table is not there → {then}"),
        (None, None) => String::new(),
    };
    format!("  {}  {rows}\n", style::safe(&table.table))
}

fn human(document: &RestoreDocument) -> String {
    let rows = usize::try_from(document.rows).unwrap_or(usize::MAX);
    let mut text = format!(
        "{GOOD}✓{GOOD:#} backup {} of {} is restored as database {STRONG}{}{STRONG:#}: {}, all compared \
         {FAINT}· {}{FAINT:#}\n",
        document.backup,
        style::time(&document.taken_at),
        style::safe(&document.database),
        style::count(rows, "row"),
        style::duration(document.duration_us)
    );
    // Some statements make one thing, and some make nothing that counts.
    match document.schema_differences.as_slice() {
        [] => text.push_str(&listed("left out, for this role may not do it", &document.left_out)),
        some => text.push_str(&listed("this role may not make all of it; what differs", some)),
    }
    if let Some(scope) = &document.rows_only {
        text.push_str(&note(&format!(
            "it is a backup of {scope}: rows and their tables are there, and no indexes, constraints \
             and triggers"
        )));
    } else if !document.schema_compared {
        text.push_str(&note("the schema was not compared: the server has another major version"));
    }
    if let Some(why) = &document.not_recorded {
        text.push_str(&format!(
            "{NOTE}note{NOTE:#}: this is not recorded in the log: {}\n",
            style::safe(why)
        ));
    }
    text
}
