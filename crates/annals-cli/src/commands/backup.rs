//! `annals backup`.

use std::time::{Duration, Instant};

use annals_api::{
    BackupAdoptDocument, BackupDocument, BackupEntry, BackupListDocument, BackupShowDocument,
    BackupVerifyDocument, ExitCode, PruneDocument, RekeyDocument,
};
use annals_operations::{
    BackupKind, BackupOptions, BackupPhase, BackupWatcher, Environment, Failure, PruneOptions,
    RekeyOptions, VerifyBackupOptions, backup, backup_adopt, backup_list, backup_prune,
    backup_rekey, backup_show, backup_verify,
};

use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Connections, unless more or fewer are asked for.
const MAX_JOBS: usize = 4;

/// Without a terminal, one line in so much time says how far it is.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Take a backup: schema and rows of one moment, compressed, encrypted, recorded
///
/// Rows are copied over several connections on one snapshot, the schema is written by pg_dump, and
/// nothing of either touches the disk before it is encrypted. The key is keys/backup.key (or the file
/// in ANNALS_BACKUP_KEY), or what [backup] recipients in annals.toml names: further files, variables,
/// commands, passphrases. Without one of them no backup can be opened.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,

    /// The schema and where its sequences stand; no rows
    #[arg(long, conflicts_with_all = ["data", "tables"])]
    schema: bool,

    /// Rows and the tables they stand in; no indexes, constraints, triggers, large objects
    #[arg(long, conflicts_with = "tables")]
    data: bool,

    /// The schema, and the rows of these tables only
    #[arg(long, value_name = "TABLE,…")]
    tables: Option<String>,

    #[command(flatten)]
    jobs: Jobs,

    #[command(subcommand)]
    command: Option<Command>,
}

/// How many connections.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Jobs {
    /// Connections at a time [default: as many as there are processors, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
}

impl Jobs {
    /// The number.
    pub(crate) fn count(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or(processors.min(MAX_JOBS), usize::from)
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// All backups, and what each is good for
    List {
        #[command(flatten)]
        target: TargetArguments,
    },
    /// One backup: what is in it, and what is not
    Show {
        #[command(flatten)]
        target: TargetArguments,

        /// Its name, the beginning or the end of it, or latest
        #[arg(value_name = "BACKUP")]
        backup: String,
    },
    /// Check a backup: every byte authenticated, every row counted and compared with its manifest
    ///
    /// The result is recorded.
    Verify {
        #[command(flatten)]
        target: TargetArguments,

        /// Its name, the beginning or the end of it, or latest
        #[arg(value_name = "BACKUP", default_value = "latest")]
        backup: String,

        /// Restore it on a private PostgreSQL of the same major version, and compare schema, rows,
        /// sequences and large objects
        #[arg(long)]
        deep: bool,

        /// Only what can be said without the key: presence, size and digest as the log has them
        #[arg(long, conflicts_with_all = ["deep", "no_record"])]
        without_key: bool,

        /// Compute only: record nothing
        #[arg(long)]
        no_record: bool,

        #[command(flatten)]
        jobs: Jobs,
    },
    /// Remove backups that are not to be kept; each is recorded
    ///
    /// The newest one that passed a verification stays in any case, and so do newer ones and those a
    /// rollback may need. What is not said here is as [backup] in annals.toml says.
    Prune {
        #[command(flatten)]
        target: TargetArguments,

        /// The newest N stay
        #[arg(long, value_name = "N")]
        keep_last: Option<u64>,

        /// Those not older than N days stay
        #[arg(long, value_name = "N")]
        keep_days: Option<u64>,

        /// Those taken before the N migrations applied last stay [default: 5]
        #[arg(long, value_name = "N")]
        keep_rollbacks: Option<u64>,

        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Let others open backups: the recipients annals.toml names now, and nobody else
    ///
    /// The key of a backup's data is wrapped anew; nothing is encrypted anew, and not one byte of the data
    /// changes. It is recorded, so that the digests of both files can be checked. Whoever has kept an old
    /// key and an old copy of the file can still open that.
    Rekey {
        #[command(flatten)]
        target: TargetArguments,

        /// Its name, the beginning or the end of it, or latest
        #[arg(value_name = "BACKUP", required_unless_present = "all")]
        backup: Option<String>,

        /// All of them
        #[arg(long, conflicts_with = "backup")]
        all: bool,
    },
    /// Take in a backup the log does not know, such as one whose taking was killed in its last moment
    ///
    /// Every byte is authenticated and every row counted, and it must have been taken at a moment of this
    /// log.
    Adopt {
        #[command(flatten)]
        target: TargetArguments,

        /// Its name, or the beginning or the end of it
        #[arg(value_name = "BACKUP")]
        backup: String,
    },
}

/// Shows how far it is: a bar on a terminal, else a line now and then.
pub(crate) struct Follows<'a> {
    output: &'a Output,
    phase: &'static str,
    total: u64,
    done: u64,
    began: Instant,
    said: Instant,
}

impl<'a> Follows<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        let now = Instant::now();
        Self { output, phase: "", total: 0, done: 0, began: now, said: now }
    }

    fn text(&self) -> String {
        pace(self.phase, (self.done, self.total), self.began.elapsed())
    }
}

/// How many bytes of how many are done, how fast, and how long the rest takes at that rate.
pub(crate) fn pace(what: &str, (done, total): (u64, u64), elapsed: Duration) -> String {
    if done == 0 {
        return what.to_owned();
    }
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_mul(1000) / elapsed_ms;
    let mut text = format!("{what} {} · {}/s", size(done), size(rate));
    if total > done && rate > 0 {
        text.push_str(&format!(" · ~{} s left", (total - done) / rate));
    }
    text
}

impl BackupWatcher for Follows<'_> {
    fn begins(&mut self, phase: BackupPhase, bytes: u64) {
        self.phase = match phase {
            BackupPhase::Schema => "schema",
            BackupPhase::Rows => "rows",
            BackupPhase::Authenticate => "authenticating",
            BackupPhase::Load => "loading rows",
            BackupPhase::Indexes => "indexes and constraints",
            BackupPhase::Compare => "comparing",
        };
        (self.total, self.done, self.began) = (bytes, 0, Instant::now());
        self.output.screen().bar(self.phase, None);
    }

    fn advances(&mut self, bytes: u64) {
        self.done += bytes;
        // What a table takes is not what its rows are as text.
        let part = (self.total > 0).then_some((self.done.min(self.total), self.total));
        let screen = self.output.screen();
        if screen.has_bar() {
            screen.bar(&self.text(), part);
        } else if self.said.elapsed() >= BETWEEN_LINES {
            self.said = Instant::now();
            self.output.say(&format!("  {FAINT}… {}{FAINT:#}", self.text()));
        }
    }
}

impl Drop for Follows<'_> {
    fn drop(&mut self) {
        self.output.screen().clear();
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    match &arguments.command {
        None => take(environment, output, arguments).await,
        Some(Command::List { target }) => {
            let view = backup_list(environment, target.name()).await?;
            output.show(&BackupListDocument::from(&view), list_text);
            Ok(ExitCode::Success)
        }
        Some(Command::Show { target, backup }) => {
            let view = backup_show(environment, target.name(), backup).await?;
            output.show(&BackupShowDocument::from(&view), show_text);
            Ok(ExitCode::Success)
        }
        Some(Command::Verify { target, backup, deep, without_key, no_record, jobs }) => {
            let options = VerifyBackupOptions {
                target: target.name().map(str::to_owned),
                backup: backup.clone(),
                deep: *deep,
                without_key: *without_key,
                no_record: *no_record,
                jobs: jobs.count(),
            };
            let mut interrupt = signals::listen();
            let mut follows = Follows::new(output);
            let view = backup_verify(environment, &options, &mut follows, &mut interrupt).await;
            drop(follows);
            let document = BackupVerifyDocument::from(&view?);
            output.show(&document, verify_text);
            Ok(ExitCode::of_number(document.exit_code))
        }
        Some(Command::Prune { target, keep_last, keep_days, keep_rollbacks, dry_run }) => {
            let options = PruneOptions {
                target: target.name().map(str::to_owned),
                keep_last: *keep_last,
                keep_days: *keep_days,
                keep_rollbacks: *keep_rollbacks,
                dry_run: *dry_run,
            };
            let view = backup_prune(environment, &options, &mut signals::listen()).await?;
            output.show(&PruneDocument::from(&view), prune_text);
            Ok(ExitCode::Success)
        }
        Some(Command::Rekey { target, backup, all: _ }) => {
            let target = target.name().map(str::to_owned);
            let options = RekeyOptions { target, backup: backup.clone() };
            let view = backup_rekey(environment, &options, &mut signals::listen()).await?;
            output.show(&RekeyDocument::from(&view), rekey_text);
            Ok(ExitCode::Success)
        }
        Some(Command::Adopt { target, backup }) => {
            let mut interrupt = signals::listen();
            let mut follows = Follows::new(output);
            let adopted =
                backup_adopt(environment, target.name(), backup, &mut follows, &mut interrupt);
            let adopted = adopted.await;
            drop(follows);
            output.show(&BackupAdoptDocument::from(&adopted?), adopt_text);
            Ok(ExitCode::Success)
        }
    }
}

async fn take(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let options = BackupOptions {
        target: arguments.target.name().map(str::to_owned),
        kind: match (arguments.schema, arguments.data, &arguments.tables) {
            (true, ..) => BackupKind::Schema,
            (_, true, _) => BackupKind::Data,
            (.., Some(_)) => BackupKind::Tables,
            (.., None) => BackupKind::Full,
        },
        tables: arguments.tables.clone(),
        jobs: arguments.jobs.count(),
    };
    let mut interrupt = signals::listen();
    let mut follows = Follows::new(output);
    let taken = backup(environment, &options, &mut follows, &mut interrupt).await;
    drop(follows);
    let document = BackupDocument::from(&taken?);
    output.recovered(&document.recovered);
    output.show(&document, taken_text);
    Ok(ExitCode::Success)
}

fn taken_text(document: &BackupDocument) -> String {
    let what = match document.kind {
        "schema" => "schema".to_owned(),
        kind => format!(
            "{}{}, {}",
            match kind {
                "data" => "rows only, of ",
                "tables" => "only the rows of ",
                _ => "",
            },
            style::count(usize::try_from(document.tables).unwrap_or(usize::MAX), "table"),
            style::count(usize::try_from(document.rows).unwrap_or(usize::MAX), "row")
        ),
    };
    let mut text = format!(
        "{GOOD}✓{GOOD:#} {}: backup {STRONG}{}{STRONG:#} · {what} · {} {FAINT}· {}{FAINT:#}\n  {FAINT}{}{FAINT:#}\n",
        document.target,
        document.backup,
        size(document.bytes),
        style::duration(document.duration_us),
        style::safe(&document.path),
    );
    if let Some(path) = &document.made_key {
        let path = style::safe(path);
        text.push_str(&format!(
            "{NOTE}note{NOTE:#}: its key was made: {path}; keep a copy elsewhere, without it no backup can \
             be opened\n"
        ));
    }
    text.push_str(&format!(
        "{HINT}next{HINT:#}: it counts as verified once it was restored: annals backup verify --deep\n"
    ));
    text
}

fn rekey_text(document: &RekeyDocument) -> String {
    let mut text = String::new();
    for rekeyed in &document.rekeyed {
        let short = |ids: &[String]| {
            let ids = ids.iter().map(|id| id.chars().take(8).collect());
            ids.collect::<Vec<String>>().join(", ")
        };
        text.push_str(&format!(
            "{GOOD}✓{GOOD:#} {} is opened by {} {FAINT}(until now {}){FAINT:#}\n",
            rekeyed.backup,
            short(&rekeyed.after),
            short(&rekeyed.before)
        ));
    }
    for unchanged in &document.unchanged {
        text.push_str(&format!("  {unchanged} {FAINT}is for these recipients already{FAINT:#}\n"));
    }
    for missing in &document.missing {
        text.push_str(&format!("  {missing} {BAD}its file is missing{BAD:#}\n"));
    }
    if document.rekeyed.is_empty() {
        text.push_str(&format!("{GOOD}✓{GOOD:#} {}: nothing to change\n", document.target));
    }
    if let ([first, ..], false) = (document.earlier_keys.as_slice(), document.rekeyed.is_empty()) {
        text.push_str(&format!(
            "{HINT}next{HINT:#}: where no other copy of a backup needs them, remove keys that seal nothing \
             any more, such as {}\n",
            style::safe(first)
        ));
    }
    text
}

fn adopt_text(document: &BackupAdoptDocument) -> String {
    format!(
        "{GOOD}✓{GOOD:#} {}: backup {STRONG}{}{STRONG:#} of {} is in the log, authenticated · {} \
         {FAINT}· {}{FAINT:#}\n",
        document.target,
        document.backup,
        style::time(&document.taken_at),
        style::count(usize::try_from(document.rows).unwrap_or(usize::MAX), "row"),
        style::duration(document.duration_us),
    )
}

fn entry_text(entry: &BackupEntry) -> String {
    let Some(recorded) = &entry.recorded else {
        return format!(
            "{} {NOTE}the log does not know it{NOTE:#} {FAINT}(take it in with: annals backup adopt \
             {}){FAINT:#}",
            entry.backup, entry.backup
        );
    };
    let mut text = format!(
        "{} {} {} {}",
        entry.backup,
        style::time(&recorded.at),
        recorded.kind,
        size(recorded.bytes)
    );
    let (look, condition) = match recorded.condition {
        "verified" => (
            GOOD,
            match recorded.verified {
                Some("restored") => "verified: restored and compared",
                _ => "verified: authenticated, not restored",
            },
        ),
        "failed" => (BAD, "its verification failed"),
        "removed" => (FAINT, "removed"),
        _ => (NOTE, "not verified"),
    };
    text.push_str(&format!(" {look}{condition}{look:#}"));
    if entry.file_bytes.is_none() && recorded.condition != "removed" {
        text.push_str(&format!(" {BAD}its file is missing{BAD:#}"));
    }
    text
}

fn list_text(document: &BackupListDocument) -> String {
    if document.backups.is_empty() {
        return format!(
            "{NOTE}–{NOTE:#} {}: no backups\n{HINT}next{HINT:#}: take one with: annals backup\n",
            document.target
        );
    }
    document.backups.iter().map(|entry| entry_text(entry) + "\n").collect()
}

fn show_text(document: &BackupShowDocument) -> String {
    let mut text =
        format!("{}\n{}\n", entry_text(&document.backup), style::safe(&document.backup.path));
    let Some(manifest) = &document.manifest else { return text };
    let word = |value: &serde_json::Value| style::safe(value.as_str().unwrap_or_default());
    let (server, log) = (&manifest["server"], &manifest["log"]);
    text.push_str(&format!(
        "taken {} from {} (PostgreSQL {}) at {}, log {} at {} events\n",
        word(&manifest["taken_at"]),
        word(&server["database"]),
        word(&server["version"]),
        word(&server["lsn"]),
        word(&log["origin"]),
        log["size"]
    ));
    text.push_str(&format!("schema {}\n", word(&manifest["schema_fingerprint"])));
    let scope: Vec<String> = manifest["scope"].as_array().into_iter().flatten().map(word).collect();
    let holds = match manifest["kind"].as_str() {
        Some("schema") => "the schema only, no rows".to_owned(),
        Some("data") => "rows only, and the tables they stand in".to_owned(),
        Some("tables") => format!("the schema, and only the rows of {}", scope.join(", ")),
        _ => "everything".to_owned(),
    };
    text.push_str(&format!("holds {holds}\n"));
    text.push_str(&format!("sha256 {}\n", word(&manifest["container"]["sha256"])));
    for table in manifest["tables"].as_array().into_iter().flatten() {
        let content = &table["content"];
        let bytes = content["bytes"].as_u64().unwrap_or_default();
        text.push_str(&format!(
            "  {} {} rows, {}\n",
            word(&table["name"]),
            content["rows"],
            size(bytes)
        ));
    }
    for absent in manifest["not_included"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "  {FAINT}not in it: {} ({}){FAINT:#}\n",
            word(&absent["what"]),
            word(&absent["why"])
        ));
    }
    text
}

fn verify_text(document: &BackupVerifyDocument) -> String {
    let mut text = String::new();
    for note in &document.notes {
        text.push_str(&format!("{NOTE}note{NOTE:#}: {}\n", style::safe(note)));
    }
    for problem in &document.problems {
        text.push_str(&format!("{BAD}✗{BAD:#} {}\n", style::safe(problem)));
    }
    let how = match document.depth {
        "restored" => "restored and compared",
        "sealed" => "authenticated, every row counted",
        _ => "present, of the size and digest the log has",
    };
    let rows = usize::try_from(document.rows).unwrap_or(usize::MAX);
    let took = style::duration(document.duration_us);
    text.push_str(&match document.problems.is_empty() {
        true => format!(
            "{GOOD}✓{GOOD:#} {}: {how} · {} {FAINT}· {took}{FAINT:#}\n",
            document.backup,
            style::count(rows, "row")
        ),
        false => format!("{BAD}✗{BAD:#} {}: not what it must be\n", document.backup),
    });
    text
}

fn prune_text(document: &PruneDocument) -> String {
    let mut text = String::new();
    let word = if document.dry_run { "would go" } else { "removed" };
    for pruned in &document.removed {
        text.push_str(&format!("{NOTE}-{NOTE:#} {} {word} ({})\n", pruned.backup, pruned.reason));
    }
    for kept in &document.kept {
        text.push_str(&format!("  {} {FAINT}stays: {}{FAINT:#}\n", kept.backup, kept.reason));
    }
    for swept in &document.swept {
        text.push_str(&format!(
            "  {swept} {FAINT}was removed before; its file went now{FAINT:#}\n"
        ));
    }
    if document.removed.is_empty() {
        text.push_str(&format!("{GOOD}✓{GOOD:#} {}: nothing to remove\n", document.target));
    }
    text
}
