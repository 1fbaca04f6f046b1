//! `annals restore --tables`: rows back by their key.

use annals_api::{
    ExitCode, RowsFoundDocument, RowsRestoreDocument, RowsRestoreDoneDocument, TableRowsDocument,
};
use annals_operations::{
    Environment, Failure, RestoreRight, RowsRestoreOptions, WantedRows, restore_rows,
};

use super::backup::Follows;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Which tables, and what of them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RowArguments {
    /// Only rows of these tables, found by their primary key and put back where they are missing
    #[arg(long, value_name = "TABLE,…", conflicts_with = "into")]
    pub(crate) tables: Option<String>,

    /// Which rows of them [default: missing]
    #[arg(long, value_name = "WHICH", requires = "tables")]
    rows: Option<Which>,

    /// Leave alone the columns that only one side has, or has with another type
    #[arg(long, requires = "tables")]
    common_columns: bool,

    /// Let the tables' triggers fire; without it they do not
    #[arg(long, requires = "tables")]
    fire_triggers: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Which {
    /// Those whose key the target does not have
    Missing,
    /// Those the target has with another content: they get the backup's
    Changed,
    /// Both
    All,
}

/// What is the same for every restore.
pub(crate) struct Common<'a> {
    pub(crate) target: Option<String>,
    pub(crate) backup: &'a str,
    pub(crate) confirm: Option<&'a str>,
    pub(crate) right: RestoreRight,
    pub(crate) jobs: usize,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &RowArguments,
    tables: &str,
    common: Common<'_>,
) -> Result<ExitCode, Failure> {
    let named = common.target.clone();
    let options = RowsRestoreOptions {
        target: common.target,
        backup: common.backup.to_owned(),
        tables: tables.to_owned(),
        rows: match arguments.rows {
            None | Some(Which::Missing) => WantedRows::Missing,
            Some(Which::Changed) => WantedRows::Changed,
            Some(Which::All) => WantedRows::All,
        },
        common_columns: arguments.common_columns,
        fire_triggers: arguments.fire_triggers,
        confirm: common.confirm.map(str::to_owned),
        right: common.right,
        jobs: common.jobs,
    };
    let mut interrupt = signals::listen();
    let mut follows = Follows::new(output);
    let view = restore_rows(environment, &options, &mut follows, &mut interrupt).await;
    drop(follows);
    let document = RowsRestoreDocument::from(&view?);
    let again = command(arguments, tables, &document, named.as_deref());
    output.show(&document, |document| human(document, &again));
    Ok(if document.obstacles.is_empty() { ExitCode::Success } else { ExitCode::Refused })
}

/// The command that does what was shown.
fn command(
    arguments: &RowArguments,
    tables: &str,
    document: &RowsRestoreDocument,
    target: Option<&str>,
) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.,".contains(c);
    let tables = match tables.chars().all(is_plain) {
        true => tables.to_owned(),
        false => format!("'{}'", tables.replace('\'', "'\\''")),
    };
    let mut line = format!("annals restore {} --tables {tables}", document.backup);
    if document.rows != "missing" {
        line.push_str(&format!(" --rows {}", document.rows));
    }
    for (given, word) in [
        (arguments.common_columns, " --common-columns"),
        (arguments.fire_triggers, " --fire-triggers"),
    ] {
        line.push_str(if given { word } else { "" });
    }
    if let Some(target) = target {
        line.push_str(&format!(" --target {target}"));
    }
    format!("{line} --yes-restore {}", document.fingerprint)
}

fn human(document: &RowsRestoreDocument, again: &str) -> String {
    let mut text = format!(
        "rows of backup {STRONG}{}{STRONG:#} of {}, {} old, and the database {STRONG}{}{STRONG:#}:\n",
        document.backup,
        style::time(&document.taken_at),
        style::duration(document.age_us),
        style::safe(&document.database),
    );
    document.tables.iter().for_each(|table| text.push_str(&table_lines(table)));
    for line in &document.notes {
        text.push_str(&format!("{NOTE}note{NOTE:#}: {}\n", style::safe(line)));
    }
    for obstacle in &document.obstacles {
        text.push_str(&format!("{BAD}it cannot be done{BAD:#}: {}\n", style::safe(obstacle)));
    }
    match &document.done {
        Some(done) => text.push_str(&done_lines(done)),
        None if !document.obstacles.is_empty() => {
            text.push_str(&format!("{FAINT}nothing was changed{FAINT:#}\n"));
        }
        None if document.wanted_rows == 0 => {
            let others: u64 =
                document.tables.iter().map(|table| table.missing.rows + table.changed.rows).sum();
            text.push_str(&format!("{GOOD}✓{GOOD:#} there is nothing to put back\n"));
            if others > 0 {
                text.push_str(&format!(
                    "{HINT}next{HINT:#}: other rows differ: --rows missing, changed or all says which \
                     of them are put back\n"
                ));
            }
        }
        None => {
            text.push_str(&format!(
                "fingerprint of the target's schema: {}\n{FAINT}nothing was changed{FAINT:#}\n\
                 {HINT}next{HINT:#}: to put {} back: {}\n",
                document.fingerprint,
                counted(document.wanted_rows),
                style::safe(again),
            ));
        }
    }
    text
}

fn counted(rows: u64) -> String {
    style::count(usize::try_from(rows).unwrap_or(usize::MAX), "row")
}

fn table_lines(table: &TableRowsDocument) -> String {
    let mut text = format!(
        "  {STRONG}{}{STRONG:#}  {} in the backup, {} in the target; told apart by {}{}\n",
        style::safe(&table.table),
        table.backup_rows,
        table.target_rows,
        style::safe(&table.key),
        if table.primary_key { "" } else { ", a unique index: there is no primary key" },
    );
    text.push_str(&found("missing in the target", &table.missing));
    text.push_str(&found("with another content", &table.changed));
    text.push_str(&found("only in the target, and stay", &table.extra));
    if !table.left_out_columns.is_empty() {
        let columns = table.left_out_columns.join(", ");
        text.push_str(&format!("    columns left out: {}\n", style::safe(&columns)));
    }
    text
}

fn found(what: &str, found: &RowsFoundDocument) -> String {
    if found.rows == 0 {
        return String::new();
    }
    let more = if found.rows > found.keys.len() as u64 { ", …" } else { "" };
    let keys = found.keys.iter().map(|key| style::safe(key).to_string());
    let keys = keys.collect::<Vec<_>>().join(", ");
    format!("    {} {what} {FAINT}· {keys}{more}{FAINT:#}\n", found.rows)
}

fn done_lines(done: &RowsRestoreDoneDocument) -> String {
    let (inserted, replaced) = done.tables.iter().fold((0, 0), |(inserted, replaced), table| {
        (inserted + table.inserted, replaced + table.replaced)
    });
    let also = match replaced {
        0 => String::new(),
        rows => format!(", {} replaced", counted(rows)),
    };
    let mut text = format!(
        "{GOOD}✓{GOOD:#} {} put back{also} {FAINT}· {}, nobody else could write to these tables for \
         {}{FAINT:#}\n",
        counted(inserted),
        style::duration(done.duration_us),
        style::duration(done.locked_us),
    );
    for table in &done.tables {
        let replaced = match table.replaced {
            0 => String::new(),
            rows => format!(", {rows} replaced"),
        };
        text.push_str(&format!(
            "  {}  {} put back{replaced}\n",
            style::safe(&table.table),
            table.inserted
        ));
    }
    text
}
